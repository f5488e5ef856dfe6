/*
 * Between the files of a pool (ct.h); besides only ct_stats.c includes this.
 *
 *   ct_pool.c           what is done in which order; what others ask
 *   ct_pool_spec.c      its spec as numbers
 *   ct_pool_common.c    what all pools have in common: whom the host's
 *                       authorities are, the gateways' configuration, and a
 *                       timer
 *   ct_pool_item.c      the objects that a pool has: read, applied, removed
 *   ct_pool_cert.c      the three Secrets that its programs mount
 *   ct_pool_issue.c     where their certificates are from
 *   ct_pool_ca.c        its authority, which signs two of them
 *   ct_pool_caller.c    who comes to its workers, and whom clients trust
 *   ct_pool_manager.c   those of cert-manager
 *   ct_pool_host.c      host names that it may not have in them
 *   ct_pool_gateway.c   Deployment, Service, and what they need
 *   ct_pool_endpoint.c  where its clients are sent: Ingress, TLSRoute, address
 *   ct_pool_status.c    its status
 *   ct_pool_cond.c      the conditions of it
 *   ct_pool_hold.c      a pool that is deleted waits for its builds
 *   ct_pool_text.c      texts
 *   ct_x509.c           reading certificates
 *
 * A pool is looked at as a whole (ct_pool_look()), often; everything here may
 * be done again at any time.
 */

#ifndef CT_POOL_H_INCLUDED
#define CT_POOL_H_INCLUDED

#include "ct.h"
#include "mk.h"


/* --- ct_x509.c ------------------------------------------------------------ */

typedef struct {
    uint64_t  not_before_ms;
    uint64_t  not_after_ms;
    char      issuer[17];           /* of its name and key: hex digits */
} ct_x509_t;

typedef struct {
    const char  *cert;              /* PEM: the certificate, those above it */
    const char  *key;               /* PEM */
    const char  *ca;                /* PEM: who must have signed it */
    const char  *names;             /* comma-separated, all to be in it; or
                                       NULL */
    int          server;            /* 1: of a server, 0: of a client */
    int          exact;             /* no other names may be in it */
} ct_pair_t;

/* Is it good at that time?  BadCertificate, BadKey, KeyMismatch, NotYetValid,
 * Expired, NotTrusted, NameMissing, NameExtra; *out is filled as far as it was
 * read. */
int ct_x509_check(const ct_pair_t *p, uint64_t now_ms, ct_x509_t *out,
    bk_err_t *err);
/* The certificates in it, and nothing else of it; to be freed.  NULL:
 * BadCertificate. */
char *ct_x509_bundle(const char *pem, bk_err_t *err);
/* those of that CN (as far as a CN goes), PEM, the caller's: "" none; NULL: it
 * cannot be read */
char *ct_x509_named_so(const char *pem, const char *cn);
/* one certificate and no more, which has signed itself, of that CN (as far as
 * a CN goes) */
int ct_x509_alone(const char *pem, const char *cn);


/* --- ct_pool_common.c ----------------------------------------------------- */

#define CT_BY_GATEWAY  0            /* authorities of the host */
#define CT_BY_WORKER   1

typedef struct {
    char  *ca;                      /* PEM: whom to trust */
    char   issuer[17];              /* who signs now */
} ct_trust_t;

/* An object that a pool has, and how it went with it. */
typedef struct ct_item_s  ct_item_t;

struct ct_item_s {
    ct_item_t  *prev, *next;        /* of all */
    ct_pool_t  *pool;               /* NULL: it is gone */
    ct_obj_t   *at;                 /* which it was, only to be compared */
    unsigned    pending;            /* writes that have not ended */
    uint64_t    read_ms;            /* asked for last (monotonic) */
    uint64_t    again_ms;           /* to be asked for again; 0: as usual */
    uint64_t    retry_ms;           /* not to be written before */
    unsigned    failed;             /* writes, in a row */
    json_t     *body;               /* what is to be written */
    char       *was;                /* its version when that was decided; or
                                       NULL */
    bk_err_t    err;                /* how the last write went; code 0: well */
};

typedef struct ct_common_s {
    ct_t        *ct;
    ct_trust_t   trust[2];
    uint64_t     trust_ms;          /* 0: to be found out */
    char        *nginx_conf;        /* of the template */
    char        *gateway_yaml;
    bk_err_t     template_err;
    uint64_t     template_ms;
    ct_item_t   *items;
    bk_timer_t  *timer;             /* somebody wants to be looked at */
    uint64_t     timer_ms;
    uint64_t     looks;             /* at pools, for who leads */
} ct_common_t;

ct_common_t *ct_pool_common(ct_t *ct);
/* NULL with *err: the host cannot say */
const ct_trust_t *ct_pool_trust(ct_t *ct, int by, bk_err_t *err);
/* -1: the files are not there */
int ct_pool_template(ct_t *ct, const char **nginx_conf,
    const char **gateway_yaml, bk_err_t *err);
/* to be looked at again in ms, or sooner */
void ct_pool_later(ct_pool_t *p, uint64_t ms);


/* --- ct_pool_item.c ------------------------------------------------------- */

enum {
    CT_SERVER = 0,                  /* Secrets: POOL-tls */
    CT_CLIENT,                      /* POOL-client-certs */
    CT_BUILDKITD,                   /* POOL-worker-tls */
    CT_PARTS,

    CT_FROM_SERVER = CT_PARTS,      /* Secrets that somebody else fills */
    CT_FROM_CLIENT,
    CT_FROM_BUILDKITD,
    CT_FROM_CA,
    CT_FROM_CLIENT_CA,
    CT_AUTHORITY,                   /* Secret POOL-authority */
    CT_ASK_SERVER,                  /* Certificates of cert-manager */
    CT_ASK_CLIENT,
    CT_ASK_BUILDKITD,
    CT_TOML,                        /* ConfigMap POOL-buildkitd */
    CT_GW_ACCOUNT,
    CT_GW_BINDING,
    CT_GW_CONFIG,
    CT_GW_DEPLOYMENT,
    CT_GW_SERVICE,
    CT_GW_BUDGET,
    CT_GW_INGRESS,
    CT_GW_ROUTE,
    CT_GW_API,                      /* Gateway */
    CT_ITEMS
};

/* The object, read where it is not watched; NULL: it is not known yet. */
ct_obj_t *ct_item(ct_pool_t *p, int item, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* somebody else is to change it soon: it is read again in ms, once */
void ct_item_again(ct_pool_t *p, int item, uint64_t ms);
/* may it be written now, or is it just being, or was it refused just now? */
int ct_item_may(ct_pool_t *p, int item, const ct_obj_t *o);
/* it is this pool's, if it is there: else 409 NameTaken */
int ct_item_mine(const ct_pool_t *p, const ct_obj_t *o, bk_err_t *err);
/* takes over body (NULL: nothing is done) */
void ct_item_apply(ct_pool_t *p, int item, ct_obj_t *o, json_t *body);
/* a merge patch of what is there */
void ct_item_patch(ct_pool_t *p, int item, ct_obj_t *o, json_t *body);
/* only where there is none */
void ct_item_create(ct_pool_t *p, int item, ct_obj_t *o, json_t *body);
/* only what is ours */
void ct_item_remove(ct_pool_t *p, int item, ct_obj_t *o);
/* its pool is gone */
void ct_item_free(ct_item_t **i);


/* --- a pool's own --------------------------------------------------------- */

/* One of the Secrets that its programs mount. */
typedef struct {
    ct_x509_t   info;               /* of what is in it */
    uint64_t    renew_ms;           /* Unix time; 0: not by us */
    int         good;               /* its programs can work with it */
    char        seen[65];           /* what the check was of: SHA-256 */
    char        print[65];          /* of its certificate and ca */
    bk_err_t    err;                /* what is wrong; code 0: nothing */
} ct_part_t;

enum {
    CT_COND_ACCEPTED = 0,
    CT_COND_CERTIFICATES,
    CT_COND_GATEWAY,
    CT_COND_ENDPOINT,
    CT_COND_SCALING,
    CT_COND_READY,
    CT_CONDS
};

typedef struct {
    int   is;                       /* 1 True, 0 False, -1: not told */
    int   wrong;                    /* False, and by itself it stays so */
    char  reason[48];
    char  message[1024];
} ct_cond_t;

/* Its own authority. */
typedef struct {
    char      *cert;                /* PEM, the first of it signs; NULL: there
                                       is none, or it is not known yet */
    char      *key;                 /* PEM */
    uint64_t   ends_ms;             /* Unix time */
    char       seen[65];            /* of which version of its Secret */
    bk_err_t   err;                 /* why there is none; code 0: it is being
                                       made or read */
} ct_authority_t;

typedef struct ct_pool_own_s {
    ct_item_t  *items[CT_ITEMS];    /* NULL: not used yet */
    ct_part_t   parts[CT_PARTS];
    ct_authority_t  authority;
    int         authority_made;     /* 1: by us, 2: once more; not said yet */
    ct_cond_t   conds[CT_CONDS];

    bk_err_t    unput;              /* why the model does not take it */
    bk_err_t    bad;                /* of its spec: what cannot be made */
    bk_err_t    pods_bad;           /* the same, of its Pods */
    bk_err_t    gateway_bad;

    char       *nudge;              /* generation and annotations: when it is
                                       another one, all is read again */
    uint64_t    nudge_ms;
    uint64_t    due_ms;             /* ct_pool_later(), monotonic; 0: not */
    uint64_t    status_ms;          /* written last, monotonic */
    uint64_t    live_ms;            /* somebody was on a worker; monotonic */
    int         waits;              /* it is deleted then: that was said */
    int         live;               /* somebody is on a worker of its own */

    char       *server_ca;          /* PEM, whom its clients are to trust;
                                       NULL: the host's gateway authority */
    char       *endpoint;           /* "tcp://HOST:PORT", or NULL */
    char       *why;                /* it cannot be used; NULL: it can */
    char       *told;               /* what the host was told of those */
    char       *secret;             /* names, see ct.h */
    char       *config;
    char        hash[17];
    char        hash_told[17];      /* as workers know it */
    int         config_good;
    int         ready;              /* ct_pool_ready() as it was last */
    int         gateway_up;
} ct_pool_own_t;

ct_pool_own_t *ct_pool_own(ct_pool_t *p);
/* spec.gateway.poolRef: NULL with *shared 0: none; NULL with 1: not there */
ct_pool_t *ct_pool_shared(const ct_pool_t *p, int *shared);
/* has it a gateway of its own? */
int ct_pool_has_gateway(const ct_pool_t *p);
/* one that is not ours leads to it, by networking.external.hostname: it gets
 * what a gateway of ours would have */
int ct_pool_fronted(const ct_pool_t *p);

void ct_pool_certs(ct_pool_t *p);               /* ct_pool_cert.c */
int ct_part_needed(const ct_pool_t *p, int part);
void ct_pool_hold(ct_pool_t *p);                /* ct_pool_hold.c */
/* SHA-256 of texts (NULL: none), in hex */
void ct_pool_digest(const char *const *texts, size_t n, char buf[65]);
void ct_pool_gateway(ct_pool_t *p);             /* ct_pool_gateway.c */
void ct_pool_endpoint(ct_pool_t *p);            /* ct_pool_endpoint.c */
/* addresses that its gateways' certificate has to have, besides names:
 * comma-separated, to be freed */
char *ct_pool_addresses(ct_pool_t *p);
void ct_pool_conditions(ct_pool_t *p);          /* ct_pool_cond.c */
void ct_pool_status(ct_pool_t *p);              /* ct_pool_status.c */

/* ct_pool_ca.c */

/* does an authority of its own sign anything? */
int ct_pool_signs(const ct_pool_t *p);
/* reads it, makes it, renews it */
void ct_pool_authority(ct_pool_t *p);
void ct_pool_authority_gone(ct_pool_t *p);
void ct_pool_authority_free(ct_pool_own_t *own);

/* ct_limit.c */

/* named by the option gateways: it leads to all pools, all go by its
 * authority */
int ct_pool_named(const ct_pool_t *p);

/* ct_pool_caller.c */

/* PEM of who may connect to its workers: its gateway, by its authority, or by
 * issuer (NULL: none), and those that lead to all pools; NULL with *err: not
 * known yet */
char *ct_pool_callers(ct_pool_t *p, const char *issuer, bk_err_t *err);
/* text (taken over), and the authorities of gateways that lead to all pools;
 * told: it is for clients.  NULL with *err: not known yet */
char *ct_pool_and_gateways(const ct_pool_t *p, char *text, int told,
    bk_err_t *err);
/* 1: there is one of which it is not known; for people */
int ct_pool_gateways_unknown(const ct_pool_t *p, char *buf, size_t size);

/* ct_pool_issue.c */

/* What is to be in a part's Secret. */
typedef struct {
    char  *cert;                    /* NULL: to be made */
    char  *key;
    char  *signer;                  /* who signed it, or is to: PEM */
    char  *ca;                      /* what its ca.crt is to be */
    char  *told;                    /* CT_SERVER: whom clients are to trust */
    char  *names;                   /* NULL: none are asked for */
    int    kind;                    /* BK_CERT_* */
    int    own;                     /* it is to be signed by the pool's
                                       authority, not by the host's */
    int    waits;                   /* err is no error: somebody else is at
                                       work */
} ct_wanted_t;

/* -1 with *err: not now */
int ct_pool_wanted(ct_pool_t *p, int part, ct_wanted_t *out, bk_err_t *err);
void ct_wanted_free(ct_wanted_t *w);
/* makes one: a Secret's manifest */
json_t *ct_pool_issue(ct_pool_t *p, int part, const ct_wanted_t *w,
    bk_err_t *err);
/* when it is to be made again; Unix time */
uint64_t ct_pool_renewal(const ct_pool_t *p, int part, const ct_x509_t *info);
const char *ct_pool_part_name(int part);        /* "tls": POOL-tls */
const char *ct_pool_part_issued(int part);      /* what cert-manager fills */
const char *ct_pool_part_prefix(int part);      /* "tls" or "client" */


/* ct_pool_manager.c */

/* does cert-manager sign? */
int ct_pool_managed(const ct_pool_t *p);
/* ... by an Issuer that only this namespace can ask? */
int ct_pool_issuer_alone(const ct_pool_t *p);
int ct_pool_manager(ct_pool_t *p, int part, ct_wanted_t *out, bk_err_t *err);
/* ca is to be who signs that part */
int ct_pool_manager_ca(ct_pool_t *p, int part, ct_wanted_t *out,
    bk_err_t *err);
/* a key of somebody else's Secret, to be freed with ct_secret_free() */
char *ct_pool_from(ct_pool_t *p, int item, const char *secret,
    const char *key, bk_err_t *err);


/* ct_pool_host.c */

/* 422 BadHostname, 409 HostnameTaken: names of others */
int ct_pool_hosts(ct_pool_t *p, bk_err_t *err);


/* --- ct_pool_text.c ------------------------------------------------------- */

/* data.KEY of a Secret (NULL: there is none), decoded; to be freed with
 * ct_secret_free(), which wipes it.  NULL: it is not there, or no text. */
char *ct_secret_get(const json_t *secret, const char *key);
void ct_secret_free(char *s);
/* "2026-11-21T20:00:00Z"; returns buf */
char *ct_pool_time(uint64_t ms, char buf[32]);
char *ct_pool_strdup(const char *s);            /* of NULL: NULL */
char *ct_pool_printf(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));

#endif /* CT_POOL_H_INCLUDED */
