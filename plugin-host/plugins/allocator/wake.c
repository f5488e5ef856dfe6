/*
 * Wake: somebody will need a worker of this pool soon.
 */

#include <stdio.h>
#include <string.h>

#include "allocator.h"


/* The worker of a pool that is nearest to being ready. */
typedef struct {
    bk_allocator_t  *a;
    bk_home_t       *home;          /* NULL: nobody ever had one of it */
    uint64_t         capacity;      /* of a worker; 0: any number */
    int              rank;
    int              state;
    char             name[BK_TABLE_NAME_LEN];
} bk_best_t;


static int bk_wake_best(const bk_worker_info_t *worker, void *data);
static int bk_wake_taken(const bk_best_t *best,
    const bk_worker_info_t *worker);


/*
 * Finds the worker to wake: a ready one is the best, then a stopped one; one
 * that is taken, and so of no use to whoever comes, is the last.
 */

static int
bk_wake_best(const bk_worker_info_t *worker, void *data)
{
    bk_best_t *best = data;

    int  rank;

    static const int  ranks[BK_WORKER_STATES] = {
        [BK_WORKER_FAILED] = 2, [BK_WORKER_STOPPED] = 3,
        [BK_WORKER_STARTING] = 4, [BK_WORKER_READY] = 5
    };

    rank = ranks[worker->state];

    if (rank > 1 && bk_wake_taken(best, worker)) {
        rank = 1;
    }

    if (rank > best->rank
        && bk_drain_find(best->a, worker->pool, worker->name) == NULL)
    {
        best->rank = rank;
        best->state = worker->state;
        bk_str_copy(best->name, sizeof(best->name), worker->name);
    }

    return 0;
}


static int
bk_wake_taken(const bk_best_t *best, const bk_worker_info_t *worker)
{
    uint64_t    load;
    bk_seat_t  *seat;

    seat = best->home == NULL ? NULL
           : bk_record_seat_find(best->home, worker->name);
    load = worker->allocations + (seat == NULL ? 0 : seat->reserved);

    return best->capacity != 0 && load >= best->capacity;
}


void
bk_wake_http(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    bk_allocator_t *a = data;

    char              name[BK_TABLE_POOL_LEN], space[64];
    char              pool[BK_TABLE_POOL_LEN + 64];
    char              endpoint[BK_TABLE_NAME_LEN];
    bk_buf_t          b;
    bk_err_t          err;
    bk_best_t         best;
    bk_decision_t     d;
    bk_pool_info_t    found;
    const bk_host_t  *h;

    h = a->host;
    err = (bk_err_t) { 0 };

    bk_str_copy(name, sizeof(name), info->param);

    if (h->http_query(r, "namespace", space, sizeof(space)) != 0
        || space[0] == '\0')
    {
        bk_str_copy(space, sizeof(space), BK_STR("default"));
    }

    if (strchr(name, '/') != NULL) {
        (void) snprintf(pool, sizeof(pool), "%s", name);

    } else {
        (void) snprintf(pool, sizeof(pool), "%s/%s", space, name);
    }

    if (h->http_allowed(r, BK_VERB_WAKE, bk_str(pool), &d, sizeof(d), &err)
        != 0)
    {
        goto failed;
    }

    if (!bk_journal_is_ready(a->journal)) {
        (void) bk_fail(&err, 503, "StoreNotReady", "try again in a moment",
                       "the store of allocations is not ready here");
        goto failed;
    }

    if (!bk_text_valid(pool) || h->pool_find(h, bk_str(pool), &found) != 0) {
        (void) bk_fail(&err, 404, "PoolNotFound",
                       "bkctl pools lists them", "there is no pool %s",
                       pool);
        goto failed;
    }

    best = (bk_best_t) { .a = a, .state = BK_WORKER_FREE };
    best.home = bk_record_home_find(a->records, bk_str(pool));
    best.capacity = found.shared == 0 ? 1
                    : found.shared == 1 ? 0 : (uint64_t) found.shared;

    (void) h->worker_each(h, bk_str(pool), bk_wake_best, &best);

    if (best.state == BK_WORKER_FREE) {
        (void) bk_fail(&err, 503, "NoCapacity",
                       "look at bkctl workers and the configuration",
                       "pool %s has no worker that could be started", pool);
        goto failed;
    }

    if (h->worker_want(h, bk_str(pool), bk_str(best.name), 1, &err) != 0
        && best.state != BK_WORKER_READY)
    {
        goto failed;
    }

    b = (bk_buf_t) { NULL, 0, 0 };
    (void) bk_answer_gateway(a, pool, BK_STR(""), endpoint);
    bk_buf_str(&b, "endpoint", endpoint);
    bk_buf_str(&b, "poolName", pool);
    bk_buf_str(&b, "workerName", best.name);
    bk_buf_add(&b, ",\"ready\":", 9);

    if (best.state == BK_WORKER_READY) {
        bk_buf_add(&b, "true}\n", 6);

    } else {
        bk_buf_add(&b, "false}\n", 7);
    }

    h->http_reply(r, 200, "application/json",
                  (bk_str_t) { b.data, b.len });
    bk_buf_free(&b);
    return;

failed:

    h->http_fail(r, &err);
}
