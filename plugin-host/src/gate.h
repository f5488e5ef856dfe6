/*
 * The gate: between a complete HTTP request and its handler.  Finds out who
 * asks (a bearer token: identity.c; a peer of a unix socket without one:
 * peer.c; anybody else gets 401), asks the access rules whether the route's
 * verb is allowed to it anywhere (403), and passes it on; the handler asks for
 * the pool.  Open routes (BK_VERB_NONE) never come here.
 *
 * Writes the audit log: what is refused here, what handlers say, and one line
 * for each request that changes something and of which its handler said
 * nothing.  Called by main.c, httpd (as its gate), host_api.c and api*.c.
 */

#ifndef BK_GATE_H_INCLUDED
#define BK_GATE_H_INCLUDED

#include "host.h"


typedef struct bk_gate_s  bk_gate_t;

/* From core's access and audit; puts itself before core's HTTP server. */
void bk_gate_new(bk_core_t *core);
/* after the HTTP server */
void bk_gate_free(bk_core_t *core);

/* Whoever asks, as long as the request lives; NULL: an open route. */
bk_who_t *bk_gate_who(const bk_request_t *r);
/* Is it an operator, or is the peer of its connection one? */
int bk_gate_operator(const bk_gate_t *g, const bk_request_t *r);

/* As bk_access_decide(); counted, and a refusal is in the audit log, unless
 * err is NULL. */
int bk_gate_allowed(bk_request_t *r, int verb, bk_str_t pool,
    bk_decision_t *d, bk_err_t *err);

/* bk_host_t's audit(); r may be NULL */
void bk_gate_audit(bk_gate_t *g, bk_request_t *r, const char *what,
    const char *outcome, bk_str_t members);

/* Decisions by rule: "operators", "none", ... */
typedef void (*bk_gate_count_pt)(const char *rule, uint64_t allowed,
    uint64_t refused, void *data);
void bk_gate_counts(const bk_gate_t *g, bk_gate_count_pt fn, void *data);

typedef struct {
    uint64_t  known;            /* requests whose caller was found */
    uint64_t  unknown;          /* 401 */
    uint64_t  failed;           /* 503 and the like: nobody could say */
    uint64_t  gone;             /* client went away meanwhile */
    uint64_t  left_out;         /* refusals without a line of their own */
} bk_gate_stats_t;

void bk_gate_stats(const bk_gate_t *g, bk_gate_stats_t *stats);

#endif /* BK_GATE_H_INCLUDED */
