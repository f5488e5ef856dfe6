/*
 * Wake: somebody will need a worker of this pool soon.
 */

#include <stdio.h>
#include <string.h>

#include "allocator.h"


/* The worker of a pool that is nearest to being ready. */
typedef struct {
    bk_allocator_t  *a;
    int              state;
    char             name[BK_TABLE_NAME_LEN];
} bk_best_t;


static int bk_wake_best(const bk_worker_info_t *worker, void *data);


/* Finds the worker to wake: a ready one is the best, then a stopped one. */

static int
bk_wake_best(const bk_worker_info_t *worker, void *data)
{
    bk_best_t *best = data;

    static const int  rank[BK_WORKER_STATES] = {
        [BK_WORKER_FAILED] = 1, [BK_WORKER_STOPPED] = 2,
        [BK_WORKER_STARTING] = 3, [BK_WORKER_READY] = 4
    };

    if (rank[worker->state] > rank[best->state]
        && bk_drain_find(best->a, worker->pool, worker->name) == NULL)
    {
        best->state = worker->state;
        bk_str_copy(best->name, sizeof(best->name), worker->name);
    }

    return 0;
}


void
bk_wake_http(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    bk_allocator_t *a = data;

    char              name[BK_TABLE_POOL_LEN], space[64];
    char              pool[BK_TABLE_POOL_LEN + 64];
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

    if (!bk_text_valid(pool) || h->pool_find(h, bk_str(pool), &found) != 0) {
        (void) bk_fail(&err, 404, "PoolNotFound",
                       "bkctl pools lists them", "there is no pool %s",
                       pool);
        goto failed;
    }

    best = (bk_best_t) { .a = a, .state = BK_WORKER_FREE };

    (void) h->worker_each(h, bk_str(pool), bk_wake_best, &best);

    if (best.state == BK_WORKER_FREE) {
        (void) bk_fail(&err, 503, "NoCapacity",
                       "look at bkctl workers and the configuration",
                       "pool %s has no worker that could be started", pool);
        h->http_header(r, "Retry-After", "5");
        goto failed;
    }

    if (h->worker_want(h, bk_str(pool), bk_str(best.name), 1, &err) != 0
        && best.state != BK_WORKER_READY)
    {
        goto failed;
    }

    b = (bk_buf_t) { NULL, 0, 0 };
    bk_str_copy(name, sizeof(name), h->gateway_endpoint(h));
    bk_buf_str(&b, "endpoint", name);
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
