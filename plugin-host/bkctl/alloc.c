/*
 * The requests of an allocation's life: what allocate asks for, look up,
 * renew, release; and what is in an answer.  Waiting for one is wait.c.
 */

#include <stdlib.h>
#include <string.h>

#include "bkctl.h"


#define BK_ALLOC_LOOKUP_MS  2000


typedef struct {
    int  fd;
    int  signo;
} bk_alloc_guard_t;


static int bk_alloc_stop(void *data);


int
bk_alloc_guarded(const bk_args_t *args, json_t **answer)
{
    int               rc;
    int64_t           skew;
    sigset_t          old;
    bk_api_reply_t    r;
    bk_alloc_guard_t  guard = { -1, 0 };

    *answer = NULL;
    guard.fd = bk_signals_open(&old);

    if (guard.fd == -1) {
        return BK_EXIT_FAILED;
    }

    rc = bk_alloc_new(args, guard.fd, bk_alloc_stop, &guard, answer, &skew);

    if (bk_alloc_stop(&guard) != 0) {
        if (rc == BK_EXIT_OK) {
            /* it came too late */
            bk_alloc_release(args, bk_out_string(*answer, "token"), 0, &r);
            bk_reply_free(&r);
            json_decref(*answer);
            *answer = NULL;
        }

        rc = 128 + guard.signo;
    }

    bk_signals_close(&guard.fd, &old);

    return rc;
}


static int
bk_alloc_stop(void *data)
{
    int                signo;
    bk_alloc_guard_t  *guard = data;

    signo = bk_signals_take(guard->fd);

    if (signo) {
        guard->signo = signo;
    }

    return guard->signo;
}


json_t *
bk_alloc_body(const bk_args_t *args)
{
    int          i;
    json_t      *body, *metadata;
    const char  *equals;

    body = json_pack("{s:s, s:s, s:s*, s:s*, s:s*, s:s*}",
                     "poolName", args->pool,
                     "namespace", args->nspace ? args->nspace : "default",
                     "ttl", args->ttl, "jobId", args->job_id,
                     "arch", args->arch, "cacheKey", args->cache_key);

    if (body == NULL) {     /* not UTF-8: the API could not take it either */
        bk_out_error("a flag's value is not valid UTF-8");
        exit(args->verb->takes & BK_TAKES_COMMAND ? BK_EXIT_NOT_STARTED
                                                  : BK_EXIT_USAGE);
    }

    if (args->nmetadata) {
        metadata = json_object();

        for (i = 0; i < args->nmetadata; i++) {
            equals = strchr(args->metadata[i], '=');
            json_object_setn_new(metadata, args->metadata[i],
                                 (size_t) (equals - args->metadata[i]),
                                 json_string(equals + 1));
        }

        json_object_set_new(body, "metadata", metadata);
    }

    return body;
}


int
bk_alloc_release(const bk_args_t *args, const char *token,
    unsigned timeout_ms, bk_api_reply_t *r)
{
    int               rc;
    json_t           *body;
    bk_api_request_t  req = { .method = "POST", .fd = -1, .own = 1,
                              .path = "/api/v1/workers/release",
                              .timeout_ms = timeout_ms };

    req.body = body = json_pack("{s:s}", "token", token);
    rc = bk_api_call(args, &req, r);
    json_decref(body);

    return rc;
}


int
bk_alloc_lookup(const bk_args_t *args, const char *token,
    unsigned timeout_ms, int fd, int (*stop)(void *data), void *data,
    bk_api_reply_t *r)
{
    int               rc;
    json_t           *body;
    bk_api_request_t  req = { .method = "POST", .own = 1,
                              .path = "/api/v1/workers/lookup"
                                      "?connections=1",
                              .timeout_ms = timeout_ms
                                            ? timeout_ms
                                            : BK_ALLOC_LOOKUP_MS,
                              .fd = fd, .tick = stop, .data = data };

    req.body = body = json_pack("{s:s}", "token", token);
    rc = bk_api_call(args, &req, r);
    json_decref(body);

    return rc;
}


int
bk_alloc_renew(const bk_args_t *args, const char *token, unsigned timeout_ms,
    int fd, int (*stop)(void *data), void *data, bk_api_reply_t *r)
{
    int               rc;
    json_t           *body;
    bk_api_request_t  req = { .method = "POST", .own = 1,
                              .path = "/api/v1/workers/renew",
                              .timeout_ms = timeout_ms,
                              .fd = fd, .tick = stop, .data = data };

    req.body = body = json_pack("{s:s, s:s*}", "token", token,
                                "ttl", args->ttl);
    rc = bk_api_call(args, &req, r);
    json_decref(body);

    return rc;
}


const char *
bk_alloc_endpoint(const json_t *answer)
{
    const char  *endpoint;

    endpoint = bk_out_string(answer, "gatewayEndpoint");

    return *endpoint ? endpoint : bk_out_string(answer, "endpoint");
}


const char *
bk_alloc_id(const json_t *answer, char id[13])
{
    bk_token_id(bk_out_string(answer, "token"), id);

    return id;
}


int
bk_alloc_ready(const json_t *answer)
{
    const char  *state;

    state = bk_out_string(answer, "state");

    return *state == '\0' || strcmp(state, "ready") == 0;
}


void
bk_alloc_warn(const json_t *answer)
{
    if (!bk_alloc_ready(answer)) {
        bk_out_note("bkctl: note: the worker is still %s; bkctl workers says "
                    "when it is ready", bk_out_string(answer, "state"));
    }
}


char *
bk_alloc_pool(const bk_args_t *args, char *buf, size_t size)
{
    if (strchr(args->pool, '/')) {
        snprintf(buf, size, "%s", args->pool);

    } else {
        snprintf(buf, size, "%s/%s",
                 args->nspace ? args->nspace : "default", args->pool);
    }

    return buf;
}
