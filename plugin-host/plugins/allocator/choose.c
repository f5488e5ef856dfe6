/*
 * Which worker?  One that nobody has, unless the pool is shared; a ready one
 * before one that starts before one that must be started first.
 *
 * Called by allocate.c.  Changes nothing: the same thread that chooses puts
 * the allocation before anybody else can look.
 */

#include <string.h>

#include "allocator.h"


static int bk_choose_rank(int state);
static int bk_choose_weigh(const bk_worker_info_t *worker, void *data);


static int
bk_choose_rank(int state)
{
    switch (state) {
    case BK_WORKER_READY:
        return 3;
    case BK_WORKER_STARTING:
        return 2;
    case BK_WORKER_STOPPED:
        return 1;
    default:
        return 0;
    }
}


static int
bk_choose_weigh(const bk_worker_info_t *worker, void *data)
{
    bk_choice_t *c = data;

    int  better, rank;

    c->total++;

    if (c->arch[0] != '\0'
        && (worker->arch.len != strlen(c->arch)
            || memcmp(worker->arch.data, c->arch, worker->arch.len) != 0))
    {
        c->other_arch++;
        return 0;
    }

    if (bk_drain_find(c->a, worker->pool, worker->name) != NULL) {
        c->drained++;
        return 0;
    }

    if (!c->shared
        && (worker->allocations > 0
            || bk_restore_holds(c->a, worker->pool, worker->name)))
    {
        c->busy++;
        return 0;
    }

    rank = bk_choose_rank(worker->state);

    if (rank == 0) {
        if (worker->state == BK_WORKER_FAILED) {
            c->broken++;
            bk_str_copy(c->failed, sizeof(c->failed), worker->name);
            bk_str_copy(c->message, sizeof(c->message), worker->message);
        }

        return 0;
    }

    better = !c->found || rank > bk_choose_rank(c->state)
             || (rank == bk_choose_rank(c->state)
                 && worker->allocations < c->allocations);

    if (better) {
        c->found = 1;
        c->state = worker->state;
        c->allocations = worker->allocations;
        bk_str_copy(c->worker, sizeof(c->worker), worker->name);
    }

    /* nothing beats an idle worker that is ready */
    return c->state == BK_WORKER_READY && c->allocations == 0 && c->found;
}


void
bk_choose(bk_allocator_t *a, const bk_waiter_t *w, bk_choice_t *c)
{
    bk_pool_info_t  pool;

    memset(c, 0, sizeof(bk_choice_t));

    c->a = a;
    c->arch = w->arch;

    if (a->host->pool_find(a->host, bk_str(w->row.pool), &pool) != 0) {
        return;
    }

    c->shared = pool.shared;

    (void) a->host->worker_each(a->host, bk_str(w->row.pool),
                                bk_choose_weigh, c);
}
