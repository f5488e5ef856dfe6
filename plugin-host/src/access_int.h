/* What the files of the rule engine share; included by access*.c only. */

#ifndef BK_ACCESS_INT_H_INCLUDED
#define BK_ACCESS_INT_H_INCLUDED

#define PCRE2_CODE_UNIT_WIDTH  8
#include <pcre2.h>

#include "access.h"


/*
 * Claims are what strangers say, and patterns may be clumsy: a match takes at
 * most some milliseconds.  What cannot be decided within these limits is
 * refused, whatever the rule would have said (BK_MATCH_LIMIT).
 */
#define BK_ACCESS_SUBJECT_MAX   4096    /* bytes of a claim's value */
#define BK_ACCESS_ELEMENTS_MAX  256     /* of a claim that is a list */
#define BK_ACCESS_STEPS_MAX     10000   /* PCRE2's match limit */
#define BK_ACCESS_DEPTH_MAX     500
#define BK_ACCESS_HEAP_KIB      1024

#define BK_MATCH_NO     0
#define BK_MATCH_YES    1
#define BK_MATCH_LIMIT  -1


typedef struct bk_rule_s  bk_rule_t;

/* One condition; strings are those of the configuration. */
typedef struct {
    const char          *claim;
    const char *const   *values;
    unsigned             nvalues;
    const char          *pattern;
    pcre2_code          *code;
} bk_cond_t;

struct bk_rule_s {
    unsigned             index;         /* among all */
    const char          *name;
    const char          *pool;          /* whose rule it is; NULL: general */
    const char *const   *sources;
    unsigned             nsources;
    const char *const   *pools;         /* none: all */
    unsigned             npools;
    bk_cond_t           *conds;
    unsigned             nconds;
    unsigned             verbs;         /* 1 << BK_VERB_* */
    uint64_t             max_ttl_ms;
    uint32_t             concurrency;
    int                  priority;
    unsigned             untrusted:1;
    unsigned             deny:1;
};

typedef struct {
    const char  *name;
    bk_rule_t   *rules;
    unsigned     n;
} bk_rules_t;

struct bk_access_s {
    unsigned              refs;
    unsigned              configured:1;
    bk_conf_t            *conf;         /* kept for it, or NULL */
    bk_rules_t            general;
    bk_rules_t           *pools;
    unsigned              npools;
    unsigned              nrules;
    pcre2_match_data     *data;
    pcre2_match_context  *context;
};

/* Why a rule does not match, for people. */
typedef struct {
    char                *text;
    size_t               size;
    unsigned             wanted:1;      /* may say what would have matched */
} bk_why_t;


/* access_rule.c: from the configuration; strings are borrowed from it */
int bk_rules_make(bk_access_t *a, const bk_conf_t *conf, bk_err_t *err);
void bk_rules_free(bk_rules_t *rules);

/* access_match.c: BK_MATCH_*.  Asked once of each identity: neither pool nor
 * verb has a part in it. */
int bk_rule_match(const bk_access_t *a, const bk_rule_t *r,
    const bk_who_t *who);
int bk_rule_why(const bk_access_t *a, const bk_rule_t *r, const bk_who_t *who,
    bk_why_t *why);
int bk_rule_pool(const bk_rule_t *r, bk_str_t pool);
/* does pattern hold what other holds?  Both exact or with a '*' at the end */
int bk_pool_covers(const char *pattern, const char *other);
int bk_cond_value(const bk_access_t *a, const bk_cond_t *c, const char *text,
    size_t len);
/* "NAME=VALUE, ..." of the claims that rules look at */
void bk_access_seen(const bk_access_t *a, const bk_who_t *who, char *buf,
    size_t size);

/* The rules of a pool's own, which come before the general ones, or NULL. */
const bk_rules_t *bk_access_own(const bk_access_t *a, bk_str_t pool);

#endif /* BK_ACCESS_INT_H_INCLUDED */
