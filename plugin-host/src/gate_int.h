/* What the files of the gate share; nobody else includes this. */

#ifndef BK_GATE_INT_H_INCLUDED
#define BK_GATE_INT_H_INCLUDED

#include <event2/event.h>
#include <jansson.h>
#include <stdlib.h>

#define uthash_fatal(msg)  abort()
#include <uthash.h>

#include "gate.h"
#include "identity.h"
#include "peer.h"


/*
 * Refusals of one caller that have a line of their own in a second; callers
 * are told apart by a hash of what they are known by, so that those who make
 * up addresses get no more room than there is.
 */
#define BK_GATE_REFUSED  10
#define BK_GATE_CALLERS  64


typedef struct {
    UT_hash_handle  hh;
    uint64_t        allowed;
    uint64_t        refused;
    char            rule[];
} bk_gate_rule_t;

struct bk_gate_s {
    bk_core_t        *core;
    bk_peers_t       *peers;
    bk_gate_rule_t   *rules;
    bk_gate_stats_t   stats;
    struct event     *second;   /* pending: refused[] is of this one */
    unsigned          left_out; /* in it */
    uint8_t           refused[BK_GATE_CALLERS];
};

/* What is kept with a request. */
typedef struct {
    bk_gate_t     *gate;
    bk_request_t  *request;
    bk_query_t    *query;       /* under way */
    bk_access_t   *access;      /* the rules that it is judged by */
    bk_who_t      *who;
    char          *rule;        /* of the last decision, or NULL */
    char          *pool;
    int            verb;
    unsigned       audited:1;
} bk_caller_t;


/* gate_audit.c: of bk_httpd_caller_ops_t */
void bk_gate_answered(void *caller, int status, const char *reason);
/* the line of a refusal, to which the caller adds; NULL: none */
json_t *bk_gate_refused(bk_caller_t *c, const char *what,
    const char *outcome);
void bk_gate_second(evutil_socket_t fd, short what, void *gate);
/* c may be NULL: nobody asked; the caller adds, and bk_audit_write() takes */
json_t *bk_gate_line(bk_caller_t *c, const bk_request_t *r, const char *what,
    const char *outcome);

#endif /* BK_GATE_INT_H_INCLUDED */
