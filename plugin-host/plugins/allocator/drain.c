/*
 * Drain: an operator takes a worker out of service without ending a build.
 *
 * The host knows what that means for its allocations; here it is kept, in
 * the journal, so that a worker stays drained when plugin-host restarts and
 * when it goes away and comes back, until somebody takes it back.
 */

#include <stdlib.h>
#include <string.h>

#include "allocator.h"


static void bk_drain_drop(bk_allocator_t *a, bk_drain_t *d);
static void bk_drain_loaded(const char *pool, const char *worker,
    const char *reason, uint64_t since_ms, void *data);


/* Before anything is given out (again). */

int
bk_drain_load(bk_allocator_t *a, bk_err_t *err)
{
    bk_drain_t  *d, *next;

    TAILQ_FOREACH(d, &a->drains, link) {
        d->stale = 1;
    }

    if (bk_journal_drained(a->journal, bk_drain_loaded, a, err) != 0) {
        return -1;
    }

    for (d = TAILQ_FIRST(&a->drains); d != NULL; d = next) {
        next = TAILQ_NEXT(d, link);

        if (d->stale) {
            /* somebody else has taken it back */
            bk_drain_drop(a, d);
        }
    }

    bk_drain_run(a);

    return 0;
}


static void
bk_drain_loaded(const char *pool, const char *worker, const char *reason,
    uint64_t since_ms, void *data)
{
    bk_drain_t  d;

    d = (bk_drain_t) { .since_ms = since_ms };
    bk_str_copy(d.pool, sizeof(d.pool), bk_str(pool));
    bk_str_copy(d.worker, sizeof(d.worker), bk_str(worker));
    bk_str_copy(d.reason, sizeof(d.reason), bk_str(reason));

    bk_drain_add(data, &d);
}


void
bk_drain_add(bk_allocator_t *a, const bk_drain_t *d)
{
    bk_drain_t  *copy;

    copy = bk_drain_find(a, bk_str(d->pool), bk_str(d->worker));

    if (copy == NULL) {
        copy = calloc(1, sizeof(bk_drain_t));

        if (copy == NULL) {
            abort();
        }

        *copy = *d;
        TAILQ_INSERT_TAIL(&a->drains, copy, link);

    } else {
        memcpy(copy->reason, d->reason, sizeof(copy->reason));
        copy->stale = 0;
    }

    bk_record_seat(bk_record_home(a->records, d->pool), d->worker)->drained
        = 1;

    copy->applied = 0;
    a->undrained = 1;
}


/* Tells the host of those that it has not heard of, or has forgotten. */

void
bk_drain_run(bk_allocator_t *a)
{
    bk_drain_t  *d;

    if (!a->undrained) {
        return;
    }

    a->undrained = 0;

    TAILQ_FOREACH(d, &a->drains, link) {
        if (!d->applied
            && a->host->worker_drain(a->host, bk_str(d->pool),
                                     bk_str(d->worker), 1, bk_str(d->reason),
                                     NULL) == 0)
        {
            d->applied = 1;
        }
    }
}


/* From event(): it is new, or gone; the host forgets it with the worker. */

void
bk_drain_appeared(bk_allocator_t *a, const bk_worker_info_t *worker)
{
    bk_drain_t  *d;

    d = bk_drain_find(a, worker->pool, worker->name);

    if (d != NULL) {
        d->applied = 0;
        a->undrained = 1;
        bk_allocator_kick(a);
    }
}


bk_drain_t *
bk_drain_find(bk_allocator_t *a, bk_str_t pool, bk_str_t worker)
{
    bk_drain_t  *d;

    TAILQ_FOREACH(d, &a->drains, link) {
        if (strlen(d->worker) == worker.len && strlen(d->pool) == pool.len
            && memcmp(d->worker, worker.data, worker.len) == 0
            && memcmp(d->pool, pool.data, pool.len) == 0)
        {
            return d;
        }
    }

    return NULL;
}


void
bk_drain_free(bk_allocator_t *a)
{
    bk_drain_t  *d;

    while ((d = TAILQ_FIRST(&a->drains)) != NULL) {
        TAILQ_REMOVE(&a->drains, d, link);
        free(d);
    }
}


static void
bk_drain_drop(bk_allocator_t *a, bk_drain_t *d)
{
    char  pool[BK_TABLE_POOL_LEN], worker[BK_TABLE_NAME_LEN];

    memcpy(pool, d->pool, sizeof(pool));
    memcpy(worker, d->worker, sizeof(worker));
    bk_drain_undo(a, pool, worker);
}


void
bk_drain_undo(bk_allocator_t *a, const char *pool, const char *worker)
{
    bk_home_t   *home;
    bk_drain_t  *d;

    d = bk_drain_find(a, bk_str(pool), bk_str(worker));

    if (d != NULL) {
        TAILQ_REMOVE(&a->drains, d, link);
        free(d);
    }

    home = bk_record_home(a->records, pool);
    bk_record_seat(home, worker)->drained = 0;
    bk_queue_wet(home->queue);

    /* 404: it is gone, and so is the mark */
    (void) a->host->worker_drain(a->host, bk_str(pool), bk_str(worker), 0,
                                 BK_STR(""), NULL);
    bk_allocator_kick(a);
}


int
bk_drain_is(bk_str_t s, const char *name)
{
    return strlen(name) == s.len && memcmp(name, s.data, s.len) == 0;
}
