/*
 * HTTP requests on the host's loop: src/fetch.c and what belongs to it,
 * libcurl's multi socket interface.  For plugins that talk to servers (FETCH
 * and SHARED_name in the Makefile): each has a fetcher of its own.
 *
 * No redirects, TLS 1.2 or later, https only (http where the caller says so),
 * the server's name and chain always verified, answers of at most limit
 * bytes, and an end in time whatever the server does.  Nothing here blocks;
 * files (authority, client certificate, token) are read for each request, so
 * that renewed ones are used without a restart.  Secrets are wiped, never
 * logged, and in no error text.  Proxies are those of the environment
 * (https_proxy, no_proxy).
 *
 * 16 requests at a time go to one server, the others wait for them; streams
 * have connections beside those.
 */

#ifndef BK_FETCH_H_INCLUDED
#define BK_FETCH_H_INCLUDED

#include "bk_plugin.h"


typedef struct bk_fetcher_s  bk_fetcher_t;
typedef struct bk_fetch_s    bk_fetch_t;

typedef struct {
    const char  *method;        /* NULL: GET, or POST with a body */
    const char  *url;
    const char  *accept;        /* NULL: JSON */
    const char  *body;          /* NULL: none; copied */
    size_t       body_len;
    const char  *content_type;  /* of the body; NULL: application/json */
    int          once;          /* the body is never sent twice: without it, a
                                   request on a connection that was used
                                   before is sent again when that was closed
                                   before an answer began */

    const char  *ca_file;       /* NULL: ca, or the system's */
    bk_str_t     ca;            /* PEM; empty: the system's */
    const char  *cert_file;     /* client certificate and key, PEM: both ... */
    const char  *key_file;
    bk_str_t     cert;          /* ... or both as text; empty: none */
    bk_str_t     key;
    const char  *server_name;   /* a DNS name that is asked for and verified
                                   in place of the URL's; or NULL */
    const char  *bearer;        /* secret; NULL: none, or that of ... */
    const char  *bearer_file;   /* ... a file of at most 16 KiB, less blanks
                                   and newlines around it; NULL: none */
    int          insecure;      /* http is fine: to loopback, without proxy */

    size_t       limit;         /* of the answer in bytes; 0: 1 MiB; of a
                                   stream: of an error's answer */
    uint64_t     timeout_ms;    /* for all of it; of a stream: to its head;
                                   0: 30 s */
    uint64_t     silence_ms;    /* of a stream: between two bytes; 0: none */
} bk_fetch_req_t;

/* status 0: error says what happened, in the terms of curl; else body is
 * NUL-terminated (of a stream that began well: empty) and error empty.  The
 * fetch is gone after it.  May begin and cancel others, but not free the
 * fetcher. */
typedef void (*bk_fetch_pt)(void *data, long status, const char *body,
    size_t len, const char *error);

/* a part of a stream, as it comes; before all others one of no bytes, when the
 * head has come and says 200: a stream may have nothing to say for long.  -1:
 * enough, the stream ends with error "stopped".  May begin others and cancel
 * any, its own as well, but not free the fetcher. */
typedef int (*bk_fetch_part_pt)(void *data, const char *part, size_t len);


bk_fetcher_t *bk_fetcher_new(const bk_host_t *host);
void bk_fetcher_free(bk_fetcher_t **f);         /* cancels all */

/* done() is never called from within. */
bk_fetch_t *bk_fetch(bk_fetcher_t *f, const bk_fetch_req_t *req,
    bk_fetch_pt done, void *data);
/* the same for an answer without end: part() for what comes with status 200 */
bk_fetch_t *bk_fetch_stream(bk_fetcher_t *f, const bk_fetch_req_t *req,
    bk_fetch_part_pt part, bk_fetch_pt done, void *data);
/* done() is not called any more. */
void bk_fetch_cancel(bk_fetch_t **fetch);
/* seconds that the answer's Retry-After says, of done() only; 0: none */
unsigned bk_fetch_retry_after(const bk_fetcher_t *f);

#endif /* BK_FETCH_H_INCLUDED */
