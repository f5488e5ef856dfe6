/*
 * Access rules: who may do what, where (doc/access.md).  Made from the
 * configuration (conf_access.c), asked for every request (identity.c) and by
 * GET /api/v1/explain.  Pure: knows identities and pool names, nothing of
 * HTTP, plugins or the model; never blocks.
 *
 * The first rule that matches decides; the rules of a pool come before the
 * general ones.  No rule is a refusal.
 */

#ifndef BK_ACCESS_H_INCLUDED
#define BK_ACCESS_H_INCLUDED

#include <jansson.h>

#include "bk_plugin.h"
#include "conf.h"


/* Built-in rules, and what a refusal without a rule is counted as. */
#define BK_ACCESS_OPERATORS  "operators"
#define BK_ACCESS_PEERS      "unix-peers"
#define BK_ACCESS_NONE       "none"


typedef struct bk_access_s  bk_access_t;

/* Somebody whose identity is known: counted, shared by requests. */
typedef struct {
    char      *name;            /* "SOURCE:USER" */
    char      *source;
    char      *text;            /* the claims as JSON text */
    json_t    *claims;          /* the same, an object */
    uint64_t   until_ms;
    void      *memo;            /* what each rule said of it, access_match.c */
    unsigned   refs;
    unsigned   peer:1;          /* of a unix socket */
    unsigned   operator:1;      /* of the built-in rule: may do everything */
} bk_who_t;


/*
 * conf: its access section, or none: then every peer of a unix socket may do
 * everything (the socket's mode decides who that is), and nobody else may do
 * anything.  400 BadConfiguration with file, line and key for a rule that is
 * wrong.
 */
int bk_access_new(bk_access_t **a, const bk_conf_t *conf, bk_err_t *err);
/* They are counted: a request goes on with those that it began with, also
 * when others are read meanwhile.  keep: conf ends with the last one. */
bk_access_t *bk_access_ref(bk_access_t *a);
void bk_access_free(bk_access_t **a);
void bk_access_keep(bk_access_t *a, bk_conf_t *conf);
/* of bk_who_t */
void bk_access_forget(void *memo);
int bk_access_configured(const bk_access_t *a);

/* Rules that are likely a mistake, and what it is: they can never match, or
 * are for anybody at all.  Called under -t, at start and on SIGHUP. */
typedef void (*bk_access_doubt_pt)(const char *rule, const char *what,
    void *data);
void bk_access_doubts(const bk_access_t *a, bk_access_doubt_pt fn,
    void *data);

/*
 * 0 and *d, or -1 with 403 Forbidden: which claims were seen (names and
 * values of those that rules look at, bounded), and a hint to bkctl explain.
 * d->rule is borrowed from a.
 */
int bk_access_decide(const bk_access_t *a, const bk_who_t *who, int verb,
    bk_str_t pool, bk_decision_t *d, bk_err_t *err);

/*
 * May it do verb in some pool, or, for admin, in all?  0 or -1 as above; err
 * may be NULL.  For list, release and revoke: is there any rule for it?
 * Everybody whom a rule knows may do these to what is its own, and the handler
 * tells whose it is.
 */
int bk_access_any(const bk_access_t *a, const bk_who_t *who, int verb,
    bk_err_t *err);

/*
 * What each rule said, in order: {"allowed", "rule", "error", "verb", "pool",
 * "identity", "source", "claims", "rules": [{"rule", "pool", "matches",
 * "decides", "why"}]}, and what the rule grants ("maxTtl", ...).  full: also
 * what a rule would have wanted, which is for operators: it names what others
 * have.  The caller frees.
 */
json_t *bk_access_explain(const bk_access_t *a, const bk_who_t *who, int verb,
    bk_str_t pool, int full);

/* Its name for errors. */
void bk_access_name(const bk_who_t *who, char *buf, size_t size);

const char *bk_verb_name(int verb);
/* -1: no such verb */
int bk_verb_number(const char *name);

#endif /* BK_ACCESS_H_INCLUDED */
