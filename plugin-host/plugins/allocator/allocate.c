/*
 * Allocate: the queue of callers, the choice of a worker, the steps from
 * there to the answer.
 *
 * Every call goes through the queue, first come, first served within a pool
 * and architecture; whatever changes in the model has the queue looked at
 * again (bk_allocator_kick).  The order of the steps is: journal, model,
 * table, answer.  A caller that goes away gives its place back, and its
 * worker as well when it had got one.
 */

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocator.h"
#include "journal_wait.h"


#define BK_FAILURES_MAX  3
#define BK_DRY_MAX       64


/* A pool and architecture that has nothing to give just now. */
typedef struct {
    const char  *pool;
    const char  *arch;
} bk_dry_t;


static int bk_allocate_try(bk_waiter_t *w);
static int bk_allocate_make(bk_waiter_t *w, const bk_choice_t *c,
    bk_err_t *err);
static int bk_allocate_cert(bk_waiter_t *w, uint8_t *key_hash, bk_err_t *err);
static int bk_allocate_look(bk_waiter_t *w);
static void bk_allocate_answer(bk_waiter_t *w, const bk_alloc_info_t *info);
static void bk_allocate_timeout(void *data);
static void bk_allocate_gone(bk_request_t *r, void *data);
static void bk_allocate_refuse(bk_waiter_t *w, bk_err_t *err,
    const char *retry);
static void bk_allocate_forget(bk_waiter_t *w);
static void bk_allocate_free(bk_waiter_t *w);


void
bk_allocate_http(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    bk_allocator_t *a = data;

    json_t           *root;
    bk_err_t          err;
    bk_waiter_t      *w;
    const bk_host_t  *h;

    h = a->host;
    root = NULL;
    err = (bk_err_t) { 0 };

    w = calloc(1, sizeof(bk_waiter_t));

    if (w == NULL) {
        abort();
    }

    w->a = a;
    w->r = r;

    if (a->stopping) {
        (void) bk_fail(&err, 503, "ShuttingDown", "try again in a moment",
                       "the gateway's control process is stopping");
        h->http_header(r, "Retry-After", "2");
        goto failed;
    }

    root = bk_json_read(info->body, &err);

    if (root == NULL || bk_request_read(a, root, w, &err) != 0
        || bk_request_idempotent(a, w, &err) != 0)
    {
        goto failed;
    }

    if (a->nwaiters >= a->max_waiting) {
        (void) bk_fail(&err, 429, "TooManyWaiting", "try again later",
                       "%zu callers are waiting for a worker already",
                       a->nwaiters);
        h->http_header(r, "Retry-After", "10");
        goto failed;
    }

    bk_json_wipe(&root);

    bk_str_copy(w->row.client, sizeof(w->row.client), info->client);

    TAILQ_INSERT_TAIL(&a->waiters, w, link);
    a->nwaiters++;

    h->http_on_gone(r, bk_allocate_gone, w);
    w->timer = h->timer_new(h, bk_allocate_timeout, w);
    h->timer_set(w->timer, w->wait_ms);

    bk_allocate_run(a);
    return;

failed:

    bk_json_wipe(&root);
    h->http_fail(r, &err);
    bk_allocate_free(w);
}


/* May answer and free any number of waiters. */

void
bk_allocate_run(bk_allocator_t *a)
{
    size_t        i, ndry;
    bk_dry_t      dry[BK_DRY_MAX];
    bk_waiter_t  *w, *next;

    ndry = 0;

    /* nobody gets a worker that was drained before it went and came back */
    bk_drain_run(a);

    for (w = TAILQ_FIRST(&a->waiters); w != NULL; w = next) {
        next = TAILQ_NEXT(w, link);

        if (w->allocated) {
            if (bk_allocate_look(w) != 0) {
                continue;
            }
        }

        for (i = 0; i < ndry; i++) {
            if (strcmp(dry[i].pool, w->row.pool) == 0
                && strcmp(dry[i].arch, w->arch) == 0)
            {
                break;
            }
        }

        if (i < ndry) {
            continue;
        }

        if (bk_allocate_try(w) == 0 && ndry < BK_DRY_MAX) {
            /* it stays in the queue, so what is pointed to stays as well */
            dry[ndry].pool = w->row.pool;
            dry[ndry].arch = w->arch;
            ndry++;
        }
    }
}


/* 0: nothing free, w waits; else w was served or is gone. */

static int
bk_allocate_try(bk_waiter_t *w)
{
    bk_err_t          err;
    bk_choice_t       c;
    bk_allocator_t   *a;
    const bk_host_t  *h;

    a = w->a;
    h = a->host;
    err = (bk_err_t) { 0 };

    bk_choose(a, w, &c);

    if (!c.found) {
        if (c.failed[0] != '\0') {
            /* somebody waits for it: its owner tries again, in its time */
            (void) h->worker_want(h, bk_str(w->row.pool), bk_str(c.failed),
                                  1, NULL);
        }

        return 0;
    }

    if (bk_allocate_make(w, &c, &err) != 0) {
        bk_allocate_refuse(w, &err, err.code == 503 ? "5" : NULL);
        return 1;
    }

    if (c.state == BK_WORKER_STOPPED
        && h->worker_want(h, bk_str(w->row.pool), bk_str(c.worker), 1, &err)
           != 0)
    {
        h->log(h, BK_LOG_WARN, "worker %s/%s cannot be started: %s",
               w->row.pool, c.worker, err.text);
    }

    (void) bk_allocate_look(w);

    return 1;
}


static int
bk_allocate_make(bk_waiter_t *w, const bk_choice_t *c, bk_err_t *err)
{
    char              id[BK_ID_LEN + 1];
    uint8_t           key_hash[32];
    uint64_t          now;
    bk_allocator_t   *a;
    bk_alloc_info_t   info;
    const bk_host_t  *h;

    a = w->a;
    h = a->host;
    now = h->now_ms(h);

    w->row.created_ms = now;
    /* whole seconds: the answer has no others */
    w->row.expires_ms = (now + w->ttl_ms + BK_SECOND - 1) / BK_SECOND
                        * BK_SECOND;
    bk_str_copy(w->row.worker, sizeof(w->row.worker), bk_str(c->worker));

    if (bk_token_new(w->token) != 0) {
        return bk_fail(err, 503, "NoRandomness", NULL,
                       "no random bytes for a token");
    }

    bk_token_hash(w->token, BK_TOKEN_LEN, w->row.hash);
    (void) bk_token_id(w->row.hash, id);

    /* one write for a warm worker */
    w->row.answered = c->state == BK_WORKER_READY;

    if (bk_allocate_cert(w, key_hash, err) != 0
        || bk_wait_insert(a->journal, &w->row, err) != 0)
    {
        return -1;
    }

    info = (bk_alloc_info_t) {
        .hash = w->row.hash,
        .key_hash = key_hash,
        .pool = bk_str(w->row.pool),
        .worker = bk_str(w->row.worker),
        .expires_ms = w->row.expires_ms,
        .state = c->state == BK_WORKER_READY ? BK_ALLOC_READY
                                             : BK_ALLOC_STARTING
    };

    if (h->alloc_put(h, &info, err) != 0) {
        (void) bk_wait_end(a->journal, w->row.hash, BK_ALLOC_FAILED,
                              err->text, now, NULL);
        return -1;
    }

    w->allocated = 1;

    h->log(h, BK_LOG_INFO, "allocation %s: made for %s on %s/%s (%s)", id,
           w->row.client, w->row.pool, w->row.worker,
           info.state == BK_ALLOC_READY ? "ready" : "starting");

    return 0;
}


static int
bk_allocate_cert(bk_waiter_t *w, uint8_t *key_hash, bk_err_t *err)
{
    int                rc;
    char               cn[sizeof("alloc:") + BK_TOKEN_LEN];
    bk_cert_t          cert;
    const bk_host_t   *h;
    bk_cert_request_t  req;

    h = w->a->host;

    (void) snprintf(cn, sizeof(cn), "alloc:%s", w->token);

    req = (bk_cert_request_t) {
        .kind = BK_CERT_CLIENT,
        .cn = bk_str(cn),
        .names = BK_STR(""),
        .csr = w->csr == NULL ? BK_STR("") : bk_str(w->csr),
        .spki = BK_STR(""),
        .not_after_ms = w->row.expires_ms + BK_GRACE
    };

    rc = h->cert_issue(h, &req, &cert, err);
    bk_wipe(cn, sizeof(cn));

    if (rc != 0) {
        return -1;
    }

    if (cert.spki.len == 0 || cert.spki.len > BK_SPKI_MAX) {
        return bk_fail(err, 400, "BadCsr", "use a P-256 key",
                       "the public key has %zu bytes, and %d are allowed",
                       cert.spki.len, BK_SPKI_MAX);
    }

    memcpy(w->row.spki, cert.spki.data, cert.spki.len);
    w->row.spki_len = cert.spki.len;
    memcpy(key_hash, cert.key_hash, 32);

    bk_buf_free(&w->cert);
    bk_buf_free(&w->key);
    bk_buf_free(&w->ca);

    bk_buf_add(&w->cert, cert.cert.data, cert.cert.len);
    bk_buf_add(&w->key, cert.key.data, cert.key.len);
    bk_buf_add(&w->ca, cert.ca.data, cert.ca.len);

    return 0;
}


/*
 * How is the allocation of w doing?  0: it failed, w is back in the queue;
 * else w waits for its worker, or was answered and is gone.
 */

static int
bk_allocate_look(bk_waiter_t *w)
{
    char              id[BK_ID_LEN + 1];
    bk_err_t          err;
    bk_alloc_info_t   info;
    const bk_host_t  *h;

    h = w->a->host;

    if (h->alloc_find(h, w->row.hash, &info) != 0) {
        info = (bk_alloc_info_t) {
            .state = BK_ALLOC_FAILED, .reason = BK_STR("it was removed")
        };
    }

    if (info.state == BK_ALLOC_READY) {
        bk_allocate_answer(w, &info);
        return 1;
    }

    if (info.state < BK_ALLOC_EXPIRED) {
        return 1;
    }

    if (info.state == BK_ALLOC_FAILED && ++w->failures < BK_FAILURES_MAX) {
        /* nobody has its token yet, so it can be another one */
        w->allocated = 0;
        h->log(h, BK_LOG_INFO, "allocation %s: failed before its answer, "
               "trying again: %.*s", bk_token_id(w->row.hash, id),
               (int) info.reason.len, info.reason.data);
        return 0;
    }

    (void) bk_fail(&err, 503, "WorkerFailed",
                   "look at the worker's log; bkctl workers shows its state",
                   "worker %s of pool %s: %.*s", w->row.worker, w->row.pool,
                   (int) info.reason.len, info.reason.data);
    bk_allocate_refuse(w, &err, "5");

    return 1;
}


/* Answers w and forgets it. */

static void
bk_allocate_answer(bk_waiter_t *w, const bk_alloc_info_t *info)
{
    bk_err_t  err;

    if (!w->row.answered
        && bk_wait_answered(w->a->journal, w->row.hash, &err) != 0)
    {
        (void) bk_allocator_end(w->a, w->row.hash, BK_ALLOC_RELEASED,
                                "it could not be journalled", NULL);
        bk_allocate_refuse(w, &err, "5");
        return;
    }

    bk_answer(w, info);
    bk_allocate_forget(w);
}


static void
bk_allocate_timeout(void *data)
{
    bk_waiter_t *w = data;

    size_t            ahead;
    bk_err_t          err;
    bk_choice_t       c;
    bk_waiter_t      *other;
    bk_alloc_info_t   info;
    const bk_host_t  *h;

    h = w->a->host;

    if (w->allocated && h->alloc_find(h, w->row.hash, &info) == 0
        && info.state < BK_ALLOC_EXPIRED)
    {
        bk_allocate_answer(w, &info);
        return;
    }

    ahead = 0;

    TAILQ_FOREACH(other, &w->a->waiters, link) {
        if (other == w) {
            break;
        }

        ahead += !other->allocated
                 && strcmp(other->row.pool, w->row.pool) == 0;
    }

    bk_choose(w->a, w, &c);

    if (c.total == 0) {
        (void) bk_fail(&err, 503, "NoCapacity",
                       "look at bkctl workers and the configuration",
                       "pool %s has no workers", w->row.pool);

    } else if (c.other_arch == c.total) {
        (void) bk_fail(&err, 503, "NoCapacity", "ask for another arch",
                       "pool %s has no worker for %s", w->row.pool, w->arch);

    } else if (c.broken > 0) {
        (void) bk_fail(&err, 503, "NoCapacity",
                       "look at the failed worker's log; bkctl workers "
                       "shows all",
                       "no worker of pool %s is free within the wait: %u of "
                       "%u allocated, %u drained, %u failed (%s: %s), "
                       "position %zu",
                       w->row.pool, c.busy, c.total, c.drained, c.broken,
                       c.failed, c.message, ahead + 1);

    } else if (c.drained > 0) {
        (void) bk_fail(&err, 503, "NoCapacity",
                       "wait longer (\"wait\"), or take a worker back: bkctl "
                       "drain --undo",
                       "no worker of pool %s is free within the wait: %u of "
                       "%u allocated, %u drained, position %zu",
                       w->row.pool, c.busy, c.total, c.drained, ahead + 1);

    } else {
        (void) bk_fail(&err, 503, "NoCapacity",
                       "wait longer (\"wait\"), release what is no longer "
                       "needed, or add workers to the pool",
                       "no worker of pool %s is free within the wait: %u of "
                       "%u allocated, position %zu", w->row.pool, c.busy,
                       c.total, ahead + 1);
    }

    bk_allocate_refuse(w, &err, "5");
}


/* The request is not ours any more when this is called. */

static void
bk_allocate_gone(bk_request_t *r, void *data)
{
    bk_waiter_t *w = data;

    bk_err_t         err;
    bk_allocator_t  *a;

    (void) r;

    a = w->a;

    if (w->allocated
        && bk_allocator_end(a, w->row.hash, BK_ALLOC_RELEASED,
                            "caller went away", &err) != 0)
    {
        a->host->log(a->host, BK_LOG_ERROR, "%s", err.text);
    }

    bk_allocate_forget(w);
    bk_allocator_kick(a);
}


static void
bk_allocate_refuse(bk_waiter_t *w, bk_err_t *err, const char *retry)
{
    const bk_host_t  *h;

    h = w->a->host;

    if (retry != NULL) {
        h->http_header(w->r, "Retry-After", retry);
    }

    h->http_fail(w->r, err);
    bk_allocate_forget(w);
}


static void
bk_allocate_forget(bk_waiter_t *w)
{
    TAILQ_REMOVE(&w->a->waiters, w, link);
    w->a->nwaiters--;
    bk_allocate_free(w);
}


static void
bk_allocate_free(bk_waiter_t *w)
{
    if (w->timer != NULL) {
        w->a->host->timer_free(&w->timer);
    }

    bk_buf_free(&w->cert);
    bk_buf_free(&w->key);
    bk_buf_free(&w->ca);

    free(w->csr);
    free(w->metadata);

    bk_wipe(w, sizeof(bk_waiter_t));
    free(w);
}


void
bk_allocate_drop_all(bk_allocator_t *a, const char *why)
{
    bk_err_t      err;
    bk_waiter_t  *w;

    while ((w = TAILQ_FIRST(&a->waiters)) != NULL) {
        if (w->allocated) {
            (void) bk_allocator_end(a, w->row.hash, BK_ALLOC_RELEASED, why,
                                    &err);
        }

        (void) bk_fail(&err, 503, "ShuttingDown", "try again in a moment",
                       "%s", why);
        bk_allocate_refuse(w, &err, "2");
    }
}
