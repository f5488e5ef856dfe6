/*
 * Plugin oidc, between its files: oidc.c (life, the file), identify.c (whose
 * token is it), issuer.c (keys of an issuer), review.c (TokenReview),
 * stats.c.  All on the host's loop; nothing here blocks, no token is logged.
 */

#ifndef BK_OIDC_H_INCLUDED
#define BK_OIDC_H_INCLUDED

#include "bk_fetch.h"
#include "cache.h"
#include "claims.h"


#define OIDC_WAIT_MS     UINT64_C(5000)     /* of a caller, for keys */
#define OIDC_FETCH_MS    UINT64_C(10000)
#define OIDC_REVIEW_MS   UINT64_C(5000)
#define OIDC_REVIEWED_MS UINT64_C(10000)    /* as long as it is believed */
#define OIDC_WAITING_MAX 1024               /* per issuer; reviews as well */

/* What became of a token. */
#define OIDC_ACCEPTED        0
#define OIDC_CACHED          1
#define OIDC_FIRST_REFUSAL   2
#define OIDC_RESULTS         13


typedef struct {
    uint64_t  n[OIDC_RESULTS];
} oidc_count_t;

typedef struct oidc_s         oidc_t;
typedef struct oidc_issuer_s  oidc_issuer_t;
typedef struct oidc_wait_s    oidc_wait_t;
typedef struct oidc_call_s    oidc_call_t;

struct oidc_issuer_s {
    oidc_t              *oidc;
    oidc_issuer_t       *next;
    oidc_issuer_conf_t  *conf;          /* of oidc->file */
    oidc_keys_t         *keys;          /* NULL: none yet */
    uint64_t             fetched_ms;    /* monotonic, as all here */
    uint64_t             failed_ms;
    uint64_t             warned_ms;
    uint64_t             kid_ms;        /* fetched for an unknown key id */
    unsigned             failures;      /* in a row */
    char                 error[256];    /* of the last failure */
    bk_fetch_t          *fetch;
    bk_timer_t          *refresh;
    bk_timer_t          *work;
    oidc_wait_t         *first;         /* callers that wait, by deadline */
    oidc_wait_t        **last;
    unsigned             waiting;
    uint64_t             began;         /* fetches */
    uint64_t             good;
    uint64_t             bad;
    oidc_count_t         count;
};

struct oidc_s {
    const bk_host_t     *host;
    char                *path;
    int                  insecure;
    int                  optional;      /* its file */
    int                  stopping;
    size_t               cache_max;
    oidc_file_t          file;
    bk_fetcher_t        *fetcher;
    oidc_cache_t        *cache;
    oidc_issuer_t       *issuers;
    oidc_call_t         *calls;         /* reviews under way */
    unsigned             ncalls;
    oidc_count_t         token_count;
    oidc_count_t         review_count;
    oidc_count_t         other_count;   /* no source can be told */
    uint64_t             reviews_good;
    uint64_t             reviews_bad;
    struct oidc_look_s  *look;          /* of oidc.c */
};


/* identify.c */

void oidc_identify(void *ctx, bk_query_t *q, const bk_credentials_t *c);

/*
 * 0: *id and *until_ms are filled (its strings are of *jwt and name), -1: it
 * is refused; 1: the keys that it needs must be fetched first, which happens;
 * never when waited is set.
 */
int oidc_judge(oidc_issuer_t *i, const oidc_jwt_t *jwt, int waited,
    char name[OIDC_NAME_MAX + 1], bk_identity_t *id, uint64_t *until_ms,
    bk_err_t *err);

void oidc_accept(oidc_t *o, bk_query_t *q, oidc_count_t *count,
    const bk_identity_t *id, int cached);
void oidc_refuse(oidc_t *o, bk_query_t *q, oidc_count_t *count,
    const bk_err_t *err);
/* For those who wait when what they wait for is taken away. */
void oidc_given_up(const oidc_t *o, bk_err_t *err);
void oidc_hash(bk_str_t token, uint8_t hash[32]);

/* issuer.c */

oidc_issuer_t *oidc_issuer_new(oidc_t *o, oidc_issuer_conf_t *conf);
/* Whoever waits is answered with 503. */
void oidc_issuer_free(oidc_issuer_t **i);
/* Does this one serve what conf says, so that its keys can be kept? */
int oidc_issuer_same(const oidc_issuer_t *i, const oidc_issuer_conf_t *conf);
/* Begins to fetch its keys, unless that is under way. */
void oidc_issuer_fetch(oidc_issuer_t *i);
/* Sets when it is done again, by the configuration of now. */
void oidc_issuer_due(oidc_issuer_t *i);
/* 0: they are there and not too old */
int oidc_issuer_keys(const oidc_issuer_t *i);
/* Judges this token again when the keys are there. */
void oidc_issuer_wait(oidc_issuer_t *i, bk_query_t *q, bk_str_t token);
int oidc_issuer_unreachable(const oidc_issuer_t *i, bk_err_t *err);

/* review.c */

void oidc_review(oidc_t *o, bk_query_t *q, const oidc_jwt_t *jwt,
    const uint8_t hash[32]);
/* Is it a service account's, of the cluster that we ask? */
int oidc_review_fits(const oidc_t *o, const oidc_jwt_t *jwt);
/* All that are under way, with 503. */
void oidc_review_end(oidc_t *o);

/*
 * What a TokenReview says: 0 and the user's name and our claims (both to be
 * freed), or -1 and 401 or 503.  token is for hiding it in texts.
 */
int oidc_review_read(const oidc_review_conf_t *c, long status,
    const char *body, size_t len, bk_str_t token, char **user,
    char **claims, bk_err_t *err);

/* stats.c */

void oidc_stats(void *ctx, bk_stat_pt fn, void *data);
void oidc_count(oidc_count_t *count, const bk_err_t *err);

#endif /* BK_OIDC_H_INCLUDED */
