/*
 * Calls of allocate: from the request to the record, and the ways in which a
 * call ends without an answer of 200: refused, or the caller went away.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocator.h"
#include "metrics.h"


#define BK_FAILURES_MAX  3


static int bk_call_full(const bk_call_t *c, const bk_home_t *home);
static void bk_call_timeout(void *data);
static void bk_call_gone(bk_request_t *r, void *data);
static void bk_call_detach(bk_call_t *c);


void
bk_allocate_http(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    bk_allocator_t *a = data;

    json_t     *root;
    bk_err_t    err;
    bk_call_t  *c;

    err = (bk_err_t) { 0 };
    c = bk_call_new(a, r, info, BK_ANSWER_ALLOCATE);
    root = bk_json_read(info->body, &err);

    if (root == NULL || bk_request_read(a, root, c, &err) != 0) {
        bk_json_wipe(&root);
        bk_call_fail(&c, &err);
        return;
    }

    bk_json_wipe(&root);
    bk_call_begin(c, BK_VERB_ALLOCATE);
}


bk_call_t *
bk_call_new(bk_allocator_t *a, bk_request_t *r,
    const bk_request_info_t *info, int format)
{
    char        client[BK_CLIENT_MAX + 1];
    bk_call_t  *c;

    c = calloc(1, sizeof(bk_call_t));

    if (c == NULL) {
        abort();
    }

    bk_str_copy(client, sizeof(client), info->client);

    c->a = a;
    c->r = r;
    c->format = format;
    c->owner = bk_strdup("");
    c->client = bk_strdup(client);

    return c;
}


void
bk_call_begin(bk_call_t *c, int verb)
{
    bk_err_t         err;
    bk_home_t       *home;
    bk_record_t     *rec;
    bk_allocator_t  *a;

    a = c->a;
    err = (bk_err_t) { 0 };

    if (a->stopping) {
        (void) bk_fail(&err, 503, "ShuttingDown", "try again in a moment",
                       "the gateway's control process is stopping");
        bk_call_fail(&c, &err);
        return;
    }

    if (!bk_journal_is_ready(a->journal)) {
        (void) bk_fail(&err, 503, "StoreNotReady",
                       "try again in a moment; another replica may be the "
                       "one that allocates",
                       "the store of allocations is not ready here");
        bk_call_fail(&c, &err);
        return;
    }

    if (bk_request_rule(c, verb, &err) != 0) {
        bk_call_fail(&c, &err);
        return;
    }

    if (c->idempotency != NULL) {
        rec = bk_record_again(a->records, c->owner, c->pool, c->idempotency);

        /* a fork's job may have the name of a trusted one, and its key */
        if (rec != NULL && rec->untrusted != (c->rule.untrusted != 0)) {
            (void) bk_fail(&err, 409, "Duplicate", "use another key",
                           "an allocation that is %s was made with this "
                           "idempotencyKey, and the rule %s says otherwise",
                           rec->untrusted ? "untrusted" : "trusted",
                           c->rule_name);
            bk_call_fail(&c, &err);
            return;
        }

        if (rec != NULL) {
            bk_again(c, rec);
            return;
        }
    }

    home = bk_record_home(a->records, c->pool);

    if (bk_call_full(c, home)) {
        a->stats.queue_full++;
        (void) bk_fail(&err, 429, "QueueFull", "try again later",
                       "%zu allocations of pool %s wait for a worker already",
                       bk_queue_length(home->queue), c->pool);
        bk_call_fail(&c, &err);
        return;
    }

    if (bk_make(c, &err) != 0) {
        bk_call_fail(&c, &err);
        return;
    }

    bk_call_wait(c);
}


/*
 * It may be full of what one caller's rule holds back, while workers are
 * free: whoever has nothing in it may come, up to as many again.
 */

static int
bk_call_full(const bk_call_t *c, const bk_home_t *home)
{
    size_t           n;
    bk_allocator_t  *a;

    a = c->a;
    n = bk_queue_length(home->queue);

    return n >= a->max_queued
           && (n >= 2 * a->max_queued
               || bk_queue_user_waits(a->queue, c->owner, c->rule_name));
}


void
bk_call_wait(bk_call_t *c)
{
    const bk_host_t  *h;

    h = c->a->host;

    TAILQ_INSERT_TAIL(&c->a->calls, c, link);
    c->listed = 1;

    h->http_on_gone(c->r, bk_call_gone, c);
    c->timer = h->timer_new(h, bk_call_timeout, c);
    h->timer_set(c->timer, c->wait_ms);
}


/* rec is there, and c waits for what becomes of it. */

void
bk_call_attach(bk_call_t *c, bk_record_t *rec)
{
    bk_err_t    err;
    bk_ask_t   *ask;
    bk_call_t  *old;

    ask = rec->ask;

    if (ask == NULL) {
        ask = bk_ask_new(rec);
    }

    old = ask->call;

    if (old != NULL) {
        /* most likely its connection broke, and we have not noticed */
        (void) bk_fail(&err, 409, "Superseded", "use the later call's answer",
                       "a later call with this idempotencyKey took its "
                       "place");
        bk_call_detach(old);
        bk_call_fail(&old, &err);
    }

    bk_lease_busy(c->a, ask);
    ask->call = c;
    c->rec = rec;
    bk_record_ref(rec);
}


/* The wait is over: the answer is what there is by then. */

static void
bk_call_timeout(void *data)
{
    bk_call_t *c = data;

    c->due = 1;

    if (c->rec != NULL) {
        bk_settle(c->a, c->rec);
    }
}


/* The request is not ours any more when this is called. */

static void
bk_call_gone(bk_request_t *r, void *data)
{
    bk_call_t *c = data;

    bk_record_t     *rec;
    bk_allocator_t  *a;

    (void) r;

    a = c->a;
    rec = c->rec;
    c->r = NULL;

    if (rec == NULL || rec->ended) {
        bk_call_free(&c);
        return;
    }

    bk_record_ref(rec);
    bk_call_free(&c);

    if (rec->told || rec->idem != NULL) {
        /* it is known to somebody, or he comes back with his key */
        bk_settle_rest(a, rec);

    } else {
        a->stats.gave_up += rec->seat == NULL;
        bk_allocator_end(a, rec->hash, BK_ALLOC_RELEASED, "caller went away",
                         NULL, NULL);
    }

    bk_record_unref(&rec);
}


static void
bk_call_detach(bk_call_t *c)
{
    if (c->rec != NULL) {
        if (c->rec->ask != NULL && c->rec->ask->call == c) {
            c->rec->ask->call = NULL;
        }

        bk_record_unref(&c->rec);
    }
}


void
bk_call_fail(bk_call_t **call, const bk_err_t *err)
{
    bk_call_t        *c;
    const bk_host_t  *h;

    c = *call;
    h = c->a->host;

    if (strcmp(err->reason, "ShuttingDown") == 0) {
        h->http_header(c->r, "Retry-After", "2");
    }

    bk_metrics_refused(c->a->metrics, err->reason);
    h->http_fail(c->r, err);
    c->r = NULL;

    bk_call_free(call);
}


void
bk_call_free(bk_call_t **call)
{
    bk_call_t  *c;

    c = *call;
    *call = NULL;

    bk_call_detach(c);

    if (c->rekey != NULL) {
        bk_again_forget(c->rekey);
    }

    if (c->listed) {
        TAILQ_REMOVE(c->retrying ? &c->a->retries : &c->a->calls, c, link);
    }

    if (c->timer != NULL) {
        c->a->host->timer_free(&c->timer);
    }

    bk_buf_free(&c->cert);
    bk_buf_free(&c->key);
    bk_buf_free(&c->ca);

    free(c->owner);
    free(c->job_id);
    free(c->client);
    free(c->cache_key);
    free(c->idempotency);
    free(c->csr);
    free(c->metadata);
    free(c->spki);
    free(c->why);
    free(c->asked);

    bk_wipe(c, sizeof(bk_call_t));
    free(c);
}


/* Called amid a change of the model: all else is for bk_call_retry(). */

void
bk_call_over(bk_call_t *c, int state, const char *why)
{
    TAILQ_REMOVE(&c->a->calls, c, link);
    TAILQ_INSERT_TAIL(&c->a->retries, c, link);

    c->retrying = 1;
    c->over = state;

    free(c->why);
    c->why = bk_strdup(why == NULL ? "" : why);

    bk_allocator_kick(c->a);
}


/* Nobody has the token of one whose worker failed: it can be another. */

void
bk_call_retry(bk_allocator_t *a)
{
    bk_err_t    err;
    bk_call_t  *c;

    while ((c = TAILQ_FIRST(&a->retries)) != NULL) {
        err = (bk_err_t) { 0 };

        if (c->over == BK_ALLOC_FAILED && ++c->failures < BK_FAILURES_MAX) {
            a->host->log(a->host, BK_LOG_INFO, "pool %s: a worker failed "
                         "before its allocation was answered, trying again: "
                         "%s", c->pool, c->why);

            if (bk_make(c, &err) == 0) {
                TAILQ_REMOVE(&a->retries, c, link);
                TAILQ_INSERT_TAIL(&a->calls, c, link);
                c->retrying = 0;
                continue;
            }

        } else if (c->over == BK_ALLOC_FAILED) {
            (void) bk_fail(&err, 503, "WorkerFailed",
                           "look at the worker's log; bkctl workers shows "
                           "its state",
                           "no worker of pool %s could be used: %s", c->pool,
                           c->why);

        } else {
            (void) bk_fail(&err, 410, "AllocationEnded", "allocate again",
                           "the allocation was %s while it waited%s%s",
                           bk_state_name(c->over),
                           c->why[0] == '\0' ? "" : ": ", c->why);
        }

        bk_call_fail(&c, &err);
    }
}


/*
 * We stop, or cannot write.  What was made for callers with an
 * idempotencyKey stays in the queue, for when they and we come back.
 */

void
bk_call_drop_all(bk_allocator_t *a, const bk_err_t *err)
{
    bk_call_t    *c;
    bk_record_t  *rec;

    while ((c = TAILQ_FIRST(&a->calls)) != NULL
           || (c = TAILQ_FIRST(&a->retries)) != NULL)
    {
        rec = c->rec;

        if (rec != NULL) {
            bk_record_ref(rec);
        }

        bk_call_fail(&c, err);

        if (rec != NULL) {
            if (!rec->told && rec->idem == NULL && !rec->ended) {
                bk_allocator_end(a, rec->hash, BK_ALLOC_RELEASED, err->text,
                                 NULL, NULL);

            } else if (!a->stopping) {
                bk_settle_rest(a, rec);
            }

            bk_record_unref(&rec);
        }
    }
}
