/*
 * The allocator plugin: who calls what, and when.
 *
 * Requests come in through routes.c and allocate.c, changes of the model
 * through event().  event() changes our own records and nothing else, since
 * the model is in the middle of its change: what is to be done about it is
 * done by a timer that fires as soon as the loop is free.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocator.h"
#include "backup.h"
#include "metrics.h"


#define BK_PRUNE_EVERY  BK_HOUR


static int bk_allocator_create(const bk_host_t *host, void **ctx,
    bk_err_t *err);
static int bk_allocator_configure(void *ctx, const char *key,
    const char *value, bk_err_t *err);
static int bk_allocator_check(void *ctx, bk_err_t *err);
static int bk_allocator_start(void *ctx, bk_err_t *err);
static void bk_allocator_stop(void *ctx);
static void bk_allocator_destroy(void *ctx);
static void bk_allocator_trusted(const char *pool, const char *worker,
    int untrusted, void *data);
static void bk_allocator_stopped(void *data, const bk_err_t *err);
static void bk_allocator_kicked(void *data);
static void bk_allocator_prune(void *data);


static const bk_option_t  bk_allocator_options[] = {
    { "defaultTtl", BK_OPTION_DURATION, "1h",
      "life of an allocation that asks for none" },
    { "maxTtl", BK_OPTION_DURATION, "24h",
      "longest life from now, also when it is renewed" },
    { "defaultWait", BK_OPTION_DURATION, "60s",
      "how long a caller waits for a worker unless it says" },
    { "maxWait", BK_OPTION_DURATION, "10m",
      "longest wait that a caller may ask for" },
    { "maxQueued", BK_OPTION_INTEGER, "10000",
      "allocations of a pool that may wait for a worker" },
    { "queueLease", BK_OPTION_DURATION, "60s",
      "how long one waits that nobody asks for" },
    { "reconnect", BK_OPTION_DURATION, "30s",
      "how long one waits for a caller with an idempotencyKey who left" },
    { "agingAfter", BK_OPTION_DURATION, "10m",
      "whoever has waited longer goes first" },
    { "diskLimit", BK_OPTION_INTEGER, "90",
      "percent of disk or inodes in use: such a worker gets nothing; 0: any" },
    { "loadLimit", BK_OPTION_INTEGER, "125",
      "percent of the mean load that a cache key's own worker may have" },
    { "history", BK_OPTION_DURATION, "720h",
      "how long the journal keeps ended allocations and what they did" },
    { "journal", BK_OPTION_STRING, "sqlite",
      "where allocations are kept: sqlite, or store: in another plugin's" },
    { NULL, 0, NULL, NULL }
};


static bk_plugin_t  bk_allocator_plugin = {
    .name = "allocator",
    .version = BK_VERSION,
    .summary = "the allocation API, with a journal",
    .options = bk_allocator_options,
    .create = bk_allocator_create,
    .configure = bk_allocator_configure,
    .check = bk_allocator_check,
    .start = bk_allocator_start,
    .stop = bk_allocator_stop,
    .destroy = bk_allocator_destroy,
    .event = bk_allocator_event,
    .stats = bk_metrics_stats,
    .store_ready = bk_adopt_store,
    .store_changed = bk_adopt_told
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
    TAILQ_INIT(&a->calls);
    TAILQ_INIT(&a->retries);
    TAILQ_INIT(&a->idle);
    TAILQ_INIT(&a->pendings);
    TAILQ_INIT(&a->endeds);
    TAILQ_INIT(&a->noting);
    TAILQ_INIT(&a->drains);
    TAILQ_INIT(&a->endings);
    TAILQ_INIT(&a->watchers);
    TAILQ_INIT(&a->later);
    TAILQ_INIT(&a->astray);

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
        { "maxQueued", &a->max_queued },
        { "queueLease", &a->queue_lease_ms },
        { "reconnect", &a->reconnect_ms },
        { "agingAfter", &a->aging_ms },
        { "diskLimit", &a->disk_percent },
        { "loadLimit", &a->load_percent },
        { "history", &a->keep_ms }
    };

    if (strcmp(key, "journal") == 0) {
        a->use_store = strcmp(value, "store") == 0;

        return a->use_store || strcmp(value, "sqlite") == 0 ? 0
               : bk_fail(err, 400, "BadOption", NULL,
                         "must be sqlite or store");
    }

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

    if (a->max_queued == 0) {
        return bk_fail(err, 400, "BadOption", NULL,
                       "maxQueued must be at least 1");
    }

    if (a->disk_percent > 100 || a->load_percent < 100
        || a->load_percent > 1000)
    {
        return bk_fail(err, 400, "BadOption", NULL,
                       "diskLimit must be at most 100, loadLimit between 100 "
                       "and 1000");
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

    a->queue = bk_queue_new(a->aging_ms);
    a->records = bk_records_new(a->queue);
    a->metrics = bk_metrics_new();

    a->kick = h->timer_new(h, bk_allocator_kicked, a);
    a->flush = h->timer_new(h, bk_allocator_flush, a);
    a->prune = h->timer_new(h, bk_allocator_prune, a);
    a->sweep = h->timer_new(h, bk_lease_sweep, a);
    a->watch = h->timer_new(h, bk_watch_fire, a);

    if ((a->use_store
         ? bk_journal_open_store(&a->journal, h, bk_adopt_changed, a, err)
         : bk_journal_open(&a->journal, h, dir, err)) != 0
        || bk_token_secret(dir, a->secret, err) != 0
        || bk_allocator_load(a, err) != 0
        || bk_routes_add(a, err) != 0
        || bk_backup_add(a, err) != 0)
    {
        return -1;
    }

    h->timer_set(a->prune, 0);

    return bk_restore_start(a, err);
}


int
bk_allocator_load(bk_allocator_t *a, bk_err_t *err)
{
    if (bk_journal_trusted(a->journal, bk_allocator_trusted, a, err) != 0) {
        return -1;
    }

    return bk_drain_load(a, err);
}


static void
bk_allocator_trusted(const char *pool, const char *worker, int untrusted,
    void *data)
{
    bk_allocator_t *a = data;

    bk_seat_t  *seat;

    seat = bk_record_seat(bk_record_home(a->records, pool), worker);

    if (untrusted) {
        seat->untrusted = 1;

    } else {
        seat->trusted = 1;
    }

    seat->noted = 1;
}


static void
bk_allocator_stop(void *ctx)
{
    bk_allocator_t *a = ctx;

    bk_err_t  err;

    a->stopping = 1;

    if (a->journal == NULL) {
        a->host->stopped(a->host);
        return;
    }

    (void) bk_fail(&err, 503, "ShuttingDown", "try again in a moment",
                   "the gateway's control process is stopping");
    bk_call_drop_all(a, &err);
    bk_ending_drop_all(a);
    bk_backup_stop(a);
    bk_watch_drop_all(a);
    bk_allocator_flush(a);

    bk_journal_sync(a->journal, bk_allocator_stopped, a);
}


/* What could not be written: the table says it, and the next start reads it
 * there. */

static void
bk_allocator_stopped(void *data, const bk_err_t *err)
{
    bk_allocator_t *a = data;

    if (err != NULL) {
        a->host->log(a->host, BK_LOG_WARN, "%s", err->text);
    }

    a->host->stopped(a->host);
}


static void
bk_allocator_destroy(void *ctx)
{
    bk_allocator_t *a = ctx;

    size_t        i;
    bk_ask_t     *ask;
    bk_step_t    *step;
    bk_ended_t   *e;
    bk_record_t  *rec;

    bk_timer_t  **const  timers[] = {
        &a->kick, &a->flush, &a->prune, &a->restoring, &a->sweep, &a->watch
    };

    a->stopping = 1;

    if (a->journal != NULL) {
        bk_journal_close(&a->journal);
    }

    bk_backup_free(a);

    for (i = 0; i < sizeof(timers) / sizeof(timers[0]); i++) {
        if (*timers[i] != NULL) {
            a->host->timer_free(timers[i]);
        }
    }

    TAILQ_CONCAT(&a->later, &a->astray, link);

    while ((step = TAILQ_FIRST(&a->later)) != NULL) {
        TAILQ_REMOVE(&a->later, step, link);
        bk_step_free(step);
    }

    while ((e = TAILQ_FIRST(&a->endeds)) != NULL) {
        TAILQ_REMOVE(&a->endeds, e, link);
        free(e);
    }

    for (rec = a->records == NULL ? NULL : bk_record_next(a->records, NULL);
         rec != NULL; rec = bk_record_next(a->records, rec))
    {
        if (rec->pending != NULL) {
            bk_restore_drop(a, rec);
        }

        ask = rec->ask;

        if (ask != NULL) {
            bk_queue_drop(&ask->entry);
            bk_lease_busy(a, ask);
            rec->ask = NULL;
            bk_ask_free(&ask);
        }
    }

    bk_drain_free(a);
    bk_records_free(&a->records);
    bk_queue_free(&a->queue);
    bk_metrics_free(&a->metrics);

    free(a->places);
    free(a->seats);
    bk_wipe(a, sizeof(bk_allocator_t));
    free(a);
}


void
bk_allocator_kick(bk_allocator_t *a)
{
    if (!a->stopping) {
        a->host->timer_set(a->kick, 0);
    }
}


void
bk_allocator_later(bk_allocator_t *a, bk_record_t *rec)
{
    bk_step_t  *step;

    step = bk_step_new(a, rec);
    TAILQ_INSERT_TAIL(&a->later, step, link);
    bk_watch_changed(a, rec);
    bk_allocator_kick(a);
}


static void
bk_allocator_kicked(void *data)
{
    bk_allocator_t *a = data;

    bk_step_t  *step;

    /* restored ones first: they have older rights to their workers */
    bk_restore_run(a);

    while ((step = TAILQ_FIRST(&a->later)) != NULL) {
        TAILQ_REMOVE(&a->later, step, link);
        bk_settle(a, step->rec);
        bk_step_free(step);
    }

    bk_call_retry(a);
    bk_run(a);
}


bk_step_t *
bk_step_new(bk_allocator_t *a, bk_record_t *rec)
{
    bk_step_t  *step;

    step = calloc(1, sizeof(bk_step_t));

    if (step == NULL) {
        abort();
    }

    step->a = a;
    step->rec = rec;
    bk_record_ref(rec);

    return step;
}


void
bk_step_free(bk_step_t *step)
{
    bk_record_unref(&step->rec);
    free(step);
}


void
bk_allocator_owner(bk_allocator_t *a, const bk_record_t *rec)
{
    const char  *owner;

    owner = bk_queue_user_owner(rec->user);

    if (owner[0] != '\0') {
        (void) a->host->alloc_owner(a->host, rec->hash, bk_str(owner),
                                    rec->untrusted);
    }
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
