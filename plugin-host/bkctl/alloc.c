/*
 * The requests of an allocation's life: allocate, look up, renew, release.
 *
 * Waiting for a worker outlives plugin-host: where it goes away and comes
 * back within the wait, the request is made again.  The first attempt to
 * connect is not repeated, so that a wrong address is an error at once.
 */

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "bkctl.h"
#include "duration.h"


#define BK_ALLOC_SLACK_MS   15000   /* for an answer, after the wait */
#define BK_ALLOC_LOOKUP_MS  2000


#define BK_ALLOC_WHY_MS    2000     /* how often it is asked what is up */

typedef struct {
    const bk_args_t *args;
    bk_progress_t    progress;
    uint64_t         why_at;    /* next time; monotonic */
    int              fd;
    int            (*stop)(void *data);
    void            *data;
} bk_alloc_wait_t;


static json_t *bk_alloc_body(const bk_args_t *args);
static int bk_alloc_again(const bk_api_reply_t *r, int met);
static int bk_alloc_tick(void *data);
static int bk_alloc_sleep(bk_alloc_wait_t *w, uint64_t ms);
static int bk_alloc_stop(void *data);
static void bk_alloc_why(bk_alloc_wait_t *w);
static void bk_alloc_why_text(bk_alloc_wait_t *w, const json_t *workers);
static void bk_alloc_waited(const bk_alloc_wait_t *w, const char *pool,
    const json_t *answer);


int
bk_alloc_new(const bk_args_t *args, int fd, int (*stop)(void *data),
    void *data, json_t **answer, int64_t *skew_ms)
{
    int               met, rc;
    char              pool[700], left_text[32];
    json_t           *body;
    uint64_t          wait, end, now, pause;
    bk_api_reply_t    r;
    bk_alloc_wait_t   w;
    bk_api_request_t  req;

    wait = BK_WAIT_DEFAULT_MS;

    if (args->wait) {
        bk_duration_parse(args->wait, strlen(args->wait), &wait);
    }

    memset(&w, 0, sizeof(bk_alloc_wait_t));
    w.args = args;
    w.fd = fd;
    w.stop = stop;
    w.data = data;
    w.why_at = bk_now_ms() + 1000;
    bk_progress_start(&w.progress, "waiting for a worker of pool %s",
                      bk_alloc_pool(args, pool, sizeof(pool)));

    memset(&req, 0, sizeof(bk_api_request_t));
    req.method = "POST";
    req.path = "/api/v1/workers/allocate";
    req.body = body = bk_alloc_body(args);
    req.fd = fd;
    req.tick = bk_alloc_tick;
    req.data = &w;

    end = bk_now_ms() + wait;
    met = 0;

    for ( ;; ) {
        now = bk_now_ms();
        wait = now < end ? end - now : 0;
        req.timeout_ms = (unsigned) (wait < INT_MAX / 2 ? wait : INT_MAX / 2)
                         + BK_ALLOC_SLACK_MS;

        if (args->wait || met) {
            bk_duration_format(wait, left_text, sizeof(left_text));
            json_object_set_new(body, "wait", json_string(left_text));
        }

        rc = bk_api_call(args, &req, &r);

        if (rc == BK_EXIT_OK || !bk_alloc_again(&r, met)) {
            break;
        }

        met = 1;
        pause = r.retry_after > 0 ? (uint64_t) r.retry_after * 1000 : 1000;
        now = bk_now_ms();

        if (now + pause >= end || bk_alloc_sleep(&w, pause) != 0) {
            break;
        }

        bk_reply_free(&r);
    }

    bk_progress_end(&w.progress);
    json_decref(body);

    if (rc != BK_EXIT_OK) {
        rc = bk_reply_complain(&r);
        bk_reply_free(&r);
        return rc;
    }

    if (*bk_out_string(r.json, "token") == '\0') {
        bk_out_error("the API at %s answered without a token",
                     args->endpoint);
        bk_out_hint("is BKCTL_ENDPOINT the gateway's API?");
        bk_reply_free(&r);
        return BK_EXIT_FAILED;
    }

    bk_alloc_waited(&w, pool, r.json);
    *answer = r.json;
    *skew_ms = r.skew_ms;

    return BK_EXIT_OK;
}


static json_t *
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


static int
bk_alloc_again(const bk_api_reply_t *r, int met)
{
    if (r->aborted) {
        return 0;
    }

    if (r->status == 503 || r->status == 429) {
        return r->retry_after >= 0;
    }

    /* it went away while we waited, or is not back yet */

    return r->exit == BK_EXIT_UNREACHABLE && (met || r->sent);
}


static int
bk_alloc_tick(void *data)
{
    bk_alloc_wait_t  *w = data;

    if (bk_now_ms() >= w->why_at) {
        bk_alloc_why(w);
    }

    bk_progress_tick(&w->progress);

    return bk_alloc_stop(w);
}


static int
bk_alloc_stop(void *data)
{
    bk_alloc_wait_t  *w = data;

    return w->stop ? w->stop(w->data) : 0;
}


/*
 * What it waits for, from the list of the pool's workers: the call that
 * waits says nothing until it is over.  Who may not see the list, or asks an
 * API that does not answer, waits without being told.
 */

static void
bk_alloc_why(bk_alloc_wait_t *w)
{
    char              pool[700], *path, *name;
    bk_api_reply_t    r;
    bk_api_request_t  req = { .method = "GET", .fd = w->fd,
                              .tick = bk_alloc_stop, .data = w,
                              .timeout_ms = BK_ALLOC_WHY_MS };

    name = bk_api_escape(bk_alloc_pool(w->args, pool, sizeof(pool)));

    if (asprintf(&path, "/api/v1/workers?pool=%s", name) < 0) {
        abort();
    }

    req.path = path;

    if (bk_api_call(w->args, &req, &r) == BK_EXIT_OK
        && json_is_array(r.json))
    {
        bk_alloc_why_text(w, r.json);
        w->why_at = bk_now_ms() + BK_ALLOC_WHY_MS;

    } else {
        w->why_at = UINT64_MAX;
    }

    bk_reply_free(&r);
    free(name);
    free(path);
}


static void
bk_alloc_why_text(bk_alloc_wait_t *w, const json_t *workers)
{
    char         text[200], name[80];
    size_t       i, n, total, busy, drained, failed;
    json_t      *worker;
    const char  *state, *message, *last;

    total = busy = drained = failed = 0;
    last = "";

    json_array_foreach(workers, i, worker) {
        state = bk_out_string(worker, "state");
        message = bk_out_string(worker, "message");

        if (strcmp(state, "starting") == 0) {
            snprintf(name, sizeof(name), "%s", bk_out_string(worker, "name"));
            bk_progress_why(&w->progress, "worker %s is starting%s%s", name,
                            *message && strcmp(message, state) != 0
                            ? ": " : "",
                            strcmp(message, state) != 0 ? message : "");
            return;
        }

        total++;

        if (strcmp(state, "failed") == 0) {
            failed++;
            last = message;

        } else if (json_is_true(json_object_get(worker, "drained"))) {
            drained++;

        } else if (bk_out_number(worker, "allocations") > 0) {
            busy++;
        }
    }

    n = (size_t) snprintf(text, sizeof(text), "%zu of %zu workers in use",
                          busy, total);

    if (drained > 0) {
        n += (size_t) snprintf(text + n, sizeof(text) - n, ", %zu drained",
                               drained);
    }

    if (failed > 0) {
        snprintf(text + n, sizeof(text) - n, ", %zu failed: %s", failed,
                 last);
    }

    bk_progress_why(&w->progress, "%s", text);
}


/* Said when there was something to wait for, and when it was long. */

static void
bk_alloc_waited(const bk_alloc_wait_t *w, const char *pool,
    const json_t *answer)
{
    char         took[32];
    const char  *name;

    if (bk_now_ms() - w->progress.start_ms < 1000) {
        return;
    }

    name = bk_out_text(answer, "workerName");
    bk_progress_took(&w->progress, took, sizeof(took));
    bk_out_note("bkctl: waited %s for %sworker%s%s of pool %s%s%s", took,
                *name ? "" : "a ", *name ? " " : "", name, pool,
                w->progress.why[0] ? ": " : "", w->progress.why);
}


static int
bk_alloc_sleep(bk_alloc_wait_t *w, uint64_t ms)
{
    uint64_t       now, end;
    struct pollfd  pfd = { .fd = w->fd, .events = POLLIN };

    for (end = bk_now_ms() + ms; (now = bk_now_ms()) < end; /* void */ ) {
        poll(&pfd, 1, (int) (end - now < 1000 ? end - now : 1000));

        bk_progress_tick(&w->progress);

        if (bk_alloc_stop(w) != 0) {
            return -1;
        }
    }

    return 0;
}


int
bk_alloc_release(const bk_args_t *args, const char *token,
    unsigned timeout_ms, bk_api_reply_t *r)
{
    int               rc;
    json_t           *body;
    bk_api_request_t  req = { .method = "POST", .fd = -1,
                              .path = "/api/v1/workers/release",
                              .timeout_ms = timeout_ms };

    req.body = body = json_pack("{s:s}", "token", token);
    rc = bk_api_call(args, &req, r);
    json_decref(body);

    return rc;
}


int
bk_alloc_lookup(const bk_args_t *args, const char *token, int fd,
    int (*stop)(void *data), void *data, bk_api_reply_t *r)
{
    int               rc;
    json_t           *body;
    bk_api_request_t  req = { .method = "POST",
                              .path = "/api/v1/workers/lookup"
                                      "?connections=1",
                              .timeout_ms = BK_ALLOC_LOOKUP_MS,
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
    bk_api_request_t  req = { .method = "POST",
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
