/*
 * Who gets which worker: the queue meets the workers.
 *
 * Only reserves, and asks the journal to write it down; the model hears of
 * it in settle.c.  So nothing that is called here ends or answers anything,
 * and everybody may call bk_run().
 */

#include <string.h>

#include "allocator.h"
#include "metrics.h"


#define BK_RUN_MS  10


static int bk_run_one(bk_allocator_t *a, bk_ask_t *ask, uint64_t now);
static void bk_run_take(bk_allocator_t *a, bk_ask_t *ask, const bk_pick_t *p,
    uint64_t now);
static void bk_run_noted(void *data, const bk_err_t *err);


void
bk_run(bk_allocator_t *a)
{
    uint64_t           now, until;
    const bk_host_t   *h;
    bk_queue_pool_t   *pool;
    bk_queue_entry_t  *e;

    if (!bk_journal_is_ready(a->journal)) {
        return;
    }

    h = a->host;
    now = h->now_ms(h);
    until = h->monotonic_ms(h) + BK_RUN_MS;

    /* nobody gets a worker that was drained before it went and came back */
    bk_drain_run(a);

    while ((pool = bk_queue_stirred(a->queue)) != NULL) {
        while ((e = bk_queue_next(pool, now)) != NULL) {
            /* the entry is the first member */
            if (bk_run_one(a, (bk_ask_t *) (void *) e, now) != 0) {
                bk_queue_dry(e);
                continue;
            }

            if (h->monotonic_ms(h) > until) {
                /* others want their turn of the loop */
                bk_queue_stir(pool);
                bk_allocator_kick(a);
                return;
            }
        }
    }
}


static int
bk_run_one(bk_allocator_t *a, bk_ask_t *ask, uint64_t now)
{
    bk_pick_t         p;
    bk_home_t        *home;
    const bk_host_t  *h;

    h = a->host;
    home = ask->rec->home;

    bk_pick(a, home, ask->arch, ask->cache_key, ask->rec->untrusted, &p);

    if (p.seat == NULL) {
        if (p.failed[0] != '\0') {
            /* somebody waits for it: its owner tries again, in its time */
            (void) h->worker_want(h, bk_str(home->name), bk_str(p.failed), 1,
                                  NULL);
        }

        return -1;
    }

    bk_run_take(a, ask, &p, now);

    return 0;
}


static void
bk_run_take(bk_allocator_t *a, bk_ask_t *ask, const bk_pick_t *p,
    uint64_t now)
{
    bk_err_t          err;
    uint64_t          waited;
    bk_record_t      *rec;
    const bk_host_t  *h;

    h = a->host;
    rec = ask->rec;

    waited = now > ask->entry.since_ms ? now - ask->entry.since_ms : 0;

    a->stats.placed++;
    a->stats.waited_ms += waited;
    bk_metrics_waited(a->metrics, rec->home->name, waited);

    if (ask->cache_key != NULL) {
        a->stats.affinity_hits += p->home != 0;
        a->stats.affinity_misses += p->home == 0;
    }

    bk_queue_served(&ask->entry);

    bk_record_sit(rec, p->seat);

    if (!p->seat->noted) {
        /* in one transaction with the row, and again until one succeeds */
        bk_journal_trust(a->journal, rec->home->name, p->seat->name,
                         rec->untrusted, bk_run_noted, p->seat);
    }

    /* whole seconds: the answer has no others */
    rec->expires_ms = (now + rec->ttl_ms + BK_SECOND - 1) / BK_SECOND
                      * BK_SECOND;

    if (p->state == BK_WORKER_STOPPED
        && h->worker_want(h, bk_str(rec->home->name), bk_str(p->seat->name),
                          1, &err) != 0)
    {
        h->log(h, BK_LOG_WARN, "worker %s/%s cannot be started: %s",
               rec->home->name, p->seat->name, err.text);
    }

    if (rec->written) {
        rec->placing = 1;
        bk_journal_place(a->journal, rec->hash, p->seat->name,
                         rec->expires_ms, now, bk_settle_placed,
                         bk_step_new(a, rec));
    }
}


/* A seat of which this is known stays as long as we run. */

static void
bk_run_noted(void *data, const bk_err_t *err)
{
    bk_seat_t *seat = data;

    seat->noted = seat->noted || err == NULL;
}
