/*
 * HTTP requests on the host's loop: libcurl's multi socket interface.  No
 * redirects, https only (http where the caller says so), answers of at most
 * OIDC_JWKS_MAX bytes, and an end in time whatever the server does.
 */

#ifndef BK_OIDC_FETCH_H_INCLUDED
#define BK_OIDC_FETCH_H_INCLUDED

#include "bk_plugin.h"


typedef struct oidc_fetcher_s  oidc_fetcher_t;
typedef struct oidc_fetch_s    oidc_fetch_t;

typedef struct {
    const char  *url;
    const char  *ca_file;       /* NULL: the system's */
    const char  *bearer;        /* secret; NULL: none */
    const char  *post;          /* JSON; NULL: GET */
    int          insecure;      /* http is fine: to loopback, without proxy */
    uint64_t     timeout_ms;
} oidc_fetch_req_t;

/* status 0: error says what happened, else body is NUL-terminated.  The fetch
 * is gone after it. */
typedef void (*oidc_fetch_pt)(void *data, long status, const char *body,
    size_t len, const char *error);


oidc_fetcher_t *oidc_fetcher_new(const bk_host_t *host);
void oidc_fetcher_free(oidc_fetcher_t **f);     /* cancels all */

/* done() is never called from within. */
oidc_fetch_t *oidc_fetch(oidc_fetcher_t *f, const oidc_fetch_req_t *req,
    oidc_fetch_pt done, void *data);
/* done() is not called any more. */
void oidc_fetch_cancel(oidc_fetch_t **fetch);

#endif /* BK_OIDC_FETCH_H_INCLUDED */
