/*
 * oidc.yaml: issuers, static tokens and the TokenReview, and what must fit
 * before any of it is taken.  Knows neither the host nor the network.
 */

#ifndef BK_OIDC_FILE_H_INCLUDED
#define BK_OIDC_FILE_H_INCLUDED

#include "bk_plugin.h"
#include "bk_yaml.h"


#define OIDC_ISSUERS_MAX   256
#define OIDC_STATICS_MAX   4096
#define OIDC_SOURCE_TOKEN  "token"


typedef struct {
    char       *user;           /* the claim that names the caller */
} oidc_map_t;

typedef struct {
    char       *name;
    char       *url;            /* what "iss" must be */
    char      **audience;
    unsigned    audience_count;
    char       *ca_file;        /* NULL: the system's */
    int        *algorithms;     /* OIDC_* + 1: libcyaml takes 0 for none */
    unsigned    algorithms_count;
    oidc_map_t *claims;
    char       *leeway;
    char       *refresh;
    char       *stale;
    /* made of them */
    const char *user;
    unsigned    algs;
    uint64_t    leeway_ms;
    uint64_t    refresh_ms;
    uint64_t    stale_ms;
} oidc_issuer_conf_t;

typedef struct {
    char       *name;
    char       *value;          /* either */
    char      **values;         /* or */
    unsigned    values_count;
} oidc_claim_conf_t;

typedef struct {
    char               *name;
    char               *sha256;
    char               *expires;
    oidc_claim_conf_t  *claims;
    unsigned            claims_count;
    /* made of them */
    uint8_t             hash[32];
    uint64_t            expires_ms;
    char               *text;       /* the claims as JSON */
} oidc_static_t;

typedef struct {
    char       *name;
    char       *server;
    char       *ca_file;
    char       *token_file;
    char       *issuer;         /* NULL: whatever a service account has */
    char      **audiences;
    unsigned    audiences_count;
} oidc_review_conf_t;

typedef struct {
    oidc_issuer_conf_t  *issuers;
    unsigned             issuers_count;
    oidc_static_t       *tokens;
    unsigned             tokens_count;
    oidc_review_conf_t  *review;
} oidc_doc_t;

typedef struct {
    bk_yaml_t   *yaml;
    oidc_doc_t  *doc;
    int          insecure;      /* http to loopback addresses is fine */
} oidc_file_t;


/* Reads and checks everything; *f is filled or untouched. */
int oidc_file_read(oidc_file_t *f, const char *path, int insecure,
    bk_err_t *err);
int oidc_file_parse(oidc_file_t *f, const char *path, const char *text,
    size_t len, int insecure, bk_err_t *err);
void oidc_file_free(oidc_file_t *f);

/*
 * NULL, or what is wrong with this URL: https with a host, no user, query or
 * fragment (a query where one is allowed), or http to a loopback address.
 */
const char *oidc_url_bad(const char *url, int insecure, int query);

#endif /* BK_OIDC_FILE_H_INCLUDED */
