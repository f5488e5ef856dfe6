/*
 * What happens in the model.  It is in the middle of its change when we hear
 * of it: our own records follow at once, and whatever else is to be done is
 * done when the loop is free (bk_allocator_kick, bk_allocator_later).
 */

#include <string.h>

#include "allocator.h"


static void bk_allocator_alloc(bk_allocator_t *a, const bk_event_t *event);
static void bk_allocator_worker(bk_allocator_t *a, const bk_event_t *event);
static void bk_allocator_pool(bk_allocator_t *a, const bk_event_t *event);


void
bk_allocator_event(void *ctx, const bk_event_t *event)
{
    bk_allocator_t *a = ctx;

    if (a->journal == NULL || a->stopping) {
        /* start() has not come so far, and reads what there is */
        return;
    }

    switch (event->what) {
    case BK_EVENT_ALLOCATION:
        bk_allocator_alloc(a, event);
        return;

    case BK_EVENT_WORKER:
        bk_allocator_worker(a, event);
        return;

    case BK_EVENT_POOL:
        bk_allocator_pool(a, event);
        return;
    }
}


static void
bk_allocator_pool(bk_allocator_t *a, const bk_event_t *event)
{
    bk_home_t  *home;

    if (event->gone) {
        return;
    }

    if (!TAILQ_EMPTY(&a->idle)) {
        /* restored ones may wait for it */
        a->sweeping = 1;
        a->host->timer_set(a->sweep, 0);
    }

    /* or for its gateway */
    home = bk_record_home_find(a->records, event->pool->name);

    if (home != NULL && bk_queue_length(home->queue) > 0) {
        bk_queue_wet(home->queue);
        bk_allocator_kick(a);
    }
}


static void
bk_allocator_alloc(bk_allocator_t *a, const bk_event_t *event)
{
    char                    why[BK_TABLE_TEXT_LEN];
    bk_home_t              *home;
    bk_record_t            *rec;
    const bk_alloc_info_t  *info;

    info = event->alloc;
    rec = bk_record_find(a->records, info->hash);

    if (info->state < BK_ALLOC_EXPIRED) {
        if (rec != NULL && (rec->ask != NULL || rec->watchers != NULL)) {
            bk_allocator_later(a, rec);
        }

        return;
    }

    if (event->gone) {
        return;
    }

    if (!a->quiet) {
        bk_allocator_note(a, info->hash, info->state, info->reason);
    }

    if (rec != NULL) {
        bk_str_copy(why, sizeof(why), info->reason);
        bk_settle_over(a, rec, info->state, why);
        return;
    }

    /* somebody else's: its worker may be free now */
    home = bk_record_home_find(a->records, info->pool);

    if (home != NULL && bk_queue_length(home->queue) > 0) {
        bk_queue_wet(home->queue);
        bk_allocator_kick(a);
    }
}


static void
bk_allocator_worker(bk_allocator_t *a, const bk_event_t *event)
{
    bk_home_t               *home;
    bk_seat_t               *seat;
    const bk_worker_info_t  *worker;

    worker = event->worker;

    if (event->gone || event->old_state == BK_WORKER_FREE) {
        bk_drain_appeared(a, worker);
    }

    home = bk_record_home_find(a->records, worker->pool);

    if (home == NULL) {
        return;
    }

    seat = bk_record_seat_find(home, worker->name);

    if (seat != NULL && !TAILQ_EMPTY(&seat->pendings)) {
        a->appeared = 1;
        bk_allocator_kick(a);
    }

    if (event->gone && seat != NULL) {
        bk_record_seat_gone(seat);
    }

    if (bk_queue_length(home->queue) > 0) {
        bk_queue_wet(home->queue);
        bk_allocator_kick(a);
    }
}
