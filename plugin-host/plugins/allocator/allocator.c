/*
 * The allocator plugin: who calls what, and when.
 *
 * Requests come in through routes.c and allocate.c, changes of the model
 * through event().  event() never works at once, since the model is in the
 * middle of its change: it notes what ended and sets a timer that fires as
 * soon as the loop is free.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocator.h"
#include "backup.h"
#include "journal_wait.h"


#define BK_PRUNE_EVERY  BK_HOUR
#define BK_FLUSH_RETRY  BK_SECOND


static int bk_allocator_create(const bk_host_t *host, void **ctx,
    bk_err_t *err);
static int bk_allocator_configure(void *ctx, const char *key,
    const char *value, bk_err_t *err);
static int bk_allocator_check(void *ctx, bk_err_t *err);
static int bk_allocator_start(void *ctx, bk_err_t *err);
static void bk_allocator_stop(void *ctx);
static void bk_allocator_destroy(void *ctx);
static void bk_allocator_event(void *ctx, const bk_event_t *event);
static void bk_allocator_kicked(void *data);
static void bk_allocator_flush(void *data);
static int bk_allocator_flush_all(bk_allocator_t *a, bk_err_t *err);
static void bk_allocator_prune(void *data);
static void bk_allocator_note(bk_allocator_t *a, const uint8_t *hash,
    int state, bk_str_t reason);


static const bk_option_t  bk_allocator_options[] = {
    { "defaultTtl", BK_OPTION_DURATION, "1h",
      "life of an allocation that asks for none" },
    { "maxTtl", BK_OPTION_DURATION, "24h",
      "longest life from now, also when it is renewed" },
    { "defaultWait", BK_OPTION_DURATION, "60s",
      "how long a caller waits for a worker unless it says" },
    { "maxWait", BK_OPTION_DURATION, "10m",
      "longest wait that a caller may ask for" },
    { "maxWaiting", BK_OPTION_INTEGER, "1000",
      "callers that may wait at the same time" },
    { "keep", BK_OPTION_DURATION, "168h",
      "how long the journal keeps ended allocations" },
    { NULL, 0, NULL, NULL }
};


static bk_plugin_t  bk_allocator_plugin = {
    .name = "allocator",
    .version = BK_VERSION,
    .summary = "the allocation API, with a journal in SQLite",
    .options = bk_allocator_options,
    .create = bk_allocator_create,
    .configure = bk_allocator_configure,
    .check = bk_allocator_check,
    .start = bk_allocator_start,
    .stop = bk_allocator_stop,
    .destroy = bk_allocator_destroy,
    .event = bk_allocator_event
};

BK_PLUGIN(bk_allocator_plugin)


static int
bk_allocator_create(const bk_host_t *host, void **ctx, bk_err_t *err)
{
    bk_allocator_t  *a;

    (void) err;

    a = calloc(1, sizeof(bk_allocator_t));

    if (a == NULL) {
        abort();
    }

    a->host = host;
    TAILQ_INIT(&a->waiters);
    TAILQ_INIT(&a->pendings);
    TAILQ_INIT(&a->endeds);
    TAILQ_INIT(&a->drains);
    TAILQ_INIT(&a->endings);

    *ctx = a;
    return 0;
}


static int
bk_allocator_configure(void *ctx, const char *key, const char *value,
    bk_err_t *err)
{
    bk_allocator_t *a = ctx;

    size_t    i;
    uint64_t  n;

    const struct {
        const char  *key;
        uint64_t    *value;
    } fields[] = {
        { "defaultTtl", &a->default_ttl_ms },
        { "maxTtl", &a->max_ttl_ms },
        { "defaultWait", &a->default_wait_ms },
        { "maxWait", &a->max_wait_ms },
        { "maxWaiting", &a->max_waiting },
        { "keep", &a->keep_ms }
    };

    n = strtoull(value, NULL, 10);

    for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (strcmp(fields[i].key, key) == 0) {
            if (value[0] == '-') {
                return bk_fail(err, 400, "BadOption", NULL,
                               "%s must not be negative", key);
            }

            *fields[i].value = n;
            return 0;
        }
    }

    return bk_fail(err, 400, "UnknownOption", NULL, "no option %s", key);
}


static int
bk_allocator_check(void *ctx, bk_err_t *err)
{
    bk_allocator_t *a = ctx;

    if (a->default_ttl_ms < BK_SECOND || a->max_ttl_ms < a->default_ttl_ms) {
        return bk_fail(err, 400, "BadOption", NULL,
                       "defaultTtl must be between 1s and maxTtl");
    }

    if (a->max_wait_ms < a->default_wait_ms) {
        return bk_fail(err, 400, "BadOption", NULL,
                       "defaultWait must not be longer than maxWait");
    }

    if (a->max_waiting == 0) {
        return bk_fail(err, 400, "BadOption", NULL,
                       "maxWaiting must be at least 1");
    }

    return 0;
}


static int
bk_allocator_start(void *ctx, bk_err_t *err)
{
    bk_allocator_t *a = ctx;

    char              dir[4096];
    const bk_host_t  *h;

    h = a->host;

    bk_str_copy(dir, sizeof(dir), h->state_dir(h));

    if (bk_journal_open(&a->journal, h, dir, err) != 0) {
        return -1;
    }

    a->kick = h->timer_new(h, bk_allocator_kicked, a);
    a->flush = h->timer_new(h, bk_allocator_flush, a);
    a->prune = h->timer_new(h, bk_allocator_prune, a);
    h->timer_set(a->prune, 0);

    if (bk_drain_load(a, err) != 0 || bk_routes_add(a, err) != 0
        || bk_backup_add(a, err) != 0)
    {
        return -1;
    }

    return bk_restore_start(a, err);
}


static void
bk_allocator_stop(void *ctx)
{
    bk_allocator_t *a = ctx;

    bk_err_t  err;

    a->stopping = 1;

    bk_allocate_drop_all(a, "the gateway's control process is stopping");
    bk_ending_drop_all(a);
    bk_backup_stop(a);

    if (a->journal != NULL && bk_allocator_flush_all(a, &err) != 0) {
        /* the table says it, and the next start reads it there */
        a->host->log(a->host, BK_LOG_WARN, "%s", err.text);
    }

    a->host->stopped(a->host);
}


static void
bk_allocator_destroy(void *ctx)
{
    bk_allocator_t *a = ctx;

    bk_ended_t       *e;
    bk_timer_t      **timers[4];
    bk_pending_t     *p;
    size_t            i;

    timers[0] = &a->kick;
    timers[1] = &a->flush;
    timers[2] = &a->prune;
    timers[3] = &a->restoring;

    for (i = 0; i < 4; i++) {
        if (*timers[i] != NULL) {
            a->host->timer_free(timers[i]);
        }
    }

    while ((p = TAILQ_FIRST(&a->pendings)) != NULL) {
        bk_restore_drop(a, &p);
    }

    while ((e = TAILQ_FIRST(&a->endeds)) != NULL) {
        TAILQ_REMOVE(&a->endeds, e, link);
        free(e);
    }

    bk_drain_free(a);
    bk_journal_close(&a->journal);
    bk_backup_free(a);
    free(a);
}


static void
bk_allocator_event(void *ctx, const bk_event_t *event)
{
    bk_allocator_t *a = ctx;

    if (a->journal == NULL || a->stopping) {
        /* start() has not come so far, and reads what there is */
        return;
    }

    if (event->what == BK_EVENT_ALLOCATION
        && event->alloc->state >= BK_ALLOC_EXPIRED && !a->quiet)
    {
        bk_allocator_note(a, event->alloc->hash, event->alloc->state,
                          event->alloc->reason);
    }

    if (event->what == BK_EVENT_WORKER
        && (event->gone || event->old_state == BK_WORKER_FREE))
    {
        bk_drain_appeared(a, event->worker);
    }

    if (!TAILQ_EMPTY(&a->waiters) || !TAILQ_EMPTY(&a->pendings)) {
        bk_allocator_kick(a);
    }
}


void
bk_allocator_kick(bk_allocator_t *a)
{
    if (!a->stopping) {
        a->host->timer_set(a->kick, 0);
    }
}


static void
bk_allocator_kicked(void *data)
{
    bk_allocator_t *a = data;

    /* restored ones first: they have older rights to their workers */
    bk_restore_run(a);
    bk_allocate_run(a);
}


/*
 * The journal fails seldom (no space).  Then the gateway is told all the
 * same, for that is the safe side, the journal later, and the caller that
 * this was not written down.
 */

int
bk_allocator_end(bk_allocator_t *a, const uint8_t *hash, int state,
    const char *reason, bk_err_t *err)
{
    int               rc;
    bk_pending_t     *p;
    bk_alloc_info_t   info;
    const bk_host_t  *h;

    h = a->host;

    rc = bk_wait_end(a->journal, hash, state, reason, h->now_ms(h), err);

    p = bk_restore_find(a, hash);

    if (p != NULL) {
        bk_restore_drop(a, &p);
    }

    if (h->alloc_find(h, hash, &info) == 0 && info.state < BK_ALLOC_EXPIRED) {
        a->quiet += rc == 0;
        (void) h->alloc_end(h, hash, state, bk_str(reason), NULL);
        a->quiet -= rc == 0;
    }

    return rc;
}


static void
bk_allocator_note(bk_allocator_t *a, const uint8_t *hash, int state,
    bk_str_t reason)
{
    bk_ended_t  *e;

    e = calloc(1, sizeof(bk_ended_t));

    if (e == NULL) {
        abort();
    }

    memcpy(e->hash, hash, BK_TABLE_HASH_LEN);
    e->state = state;
    e->when_ms = a->host->now_ms(a->host);
    bk_str_copy(e->reason, sizeof(e->reason), reason);

    TAILQ_INSERT_TAIL(&a->endeds, e, link);
    a->host->timer_set(a->flush, 0);
}


static void
bk_allocator_flush(void *data)
{
    bk_allocator_t *a = data;

    bk_err_t  err;

    if (bk_allocator_flush_all(a, &err) != 0) {
        a->host->log(a->host, BK_LOG_ERROR, "%s; trying again", err.text);
        a->host->timer_set(a->flush, BK_FLUSH_RETRY);
    }
}


static int
bk_allocator_flush_all(bk_allocator_t *a, bk_err_t *err)
{
    bk_ended_t  *e;

    if (TAILQ_EMPTY(&a->endeds)) {
        return 0;
    }

    while ((e = TAILQ_FIRST(&a->endeds)) != NULL) {
        if (bk_wait_end(a->journal, e->hash, e->state, e->reason,
                        e->when_ms, err) != 0)
        {
            return -1;
        }

        TAILQ_REMOVE(&a->endeds, e, link);
        free(e);
    }

    return 0;
}


static void
bk_allocator_prune(void *data)
{
    bk_allocator_t *a = data;

    uint64_t          now;
    const bk_host_t  *h;

    h = a->host;
    now = h->now_ms(h);

    bk_journal_prune(a->journal, now > a->keep_ms ? now - a->keep_ms : 0);
    h->timer_set(a->prune, BK_PRUNE_EVERY);
}
