/*
 * Which worker?  Looks at the workers of a pool as they are in the model and
 * in our own records, and has place.c choose.
 *
 * Changes nothing: the same thread that chooses takes the worker before
 * anybody else can look.
 */

#include <stdlib.h>
#include <string.h>

#include "allocator.h"


/* A walk along the workers of a pool. */
typedef struct {
    bk_allocator_t  *a;
    bk_home_t       *home;
    bk_pick_t       *pick;
    const char      *arch;
    size_t           n;
} bk_look_t;


static int bk_pick_look(const bk_worker_info_t *worker, void *data);
static void bk_pick_room(bk_allocator_t *a, size_t n);


static void
bk_pick_room(bk_allocator_t *a, size_t n)
{
    if (n < a->nplaces) {
        return;
    }

    a->nplaces = a->nplaces == 0 ? 64 : 2 * a->nplaces;
    a->places = realloc(a->places, a->nplaces * sizeof(bk_place_worker_t));
    a->seats = realloc(a->seats, a->nplaces * sizeof(bk_seat_t *));

    if (a->places == NULL || a->seats == NULL) {
        abort();
    }
}


static int
bk_pick_look(const bk_worker_info_t *worker, void *data)
{
    bk_look_t *look = data;

    char                name[BK_TABLE_NAME_LEN];
    bk_seat_t          *seat;
    bk_allocator_t     *a;
    bk_worker_use_t     use;
    bk_place_worker_t  *p;

    a = look->a;
    bk_pick_room(a, look->n);

    seat = bk_record_seat_find(look->home, worker->name);

    if (seat == NULL) {
        bk_str_copy(name, sizeof(name), worker->name);
        seat = bk_record_seat(look->home, name);
    }

    bk_str_copy(seat->arch, sizeof(seat->arch), worker->arch);

    if (a->host->worker_use(a->host, worker->pool, worker->name, &use,
                            sizeof(use)) != 0)
    {
        memset(&use, 0, sizeof(use));
    }

    a->seats[look->n] = seat;
    p = &a->places[look->n++];

    *p = (bk_place_worker_t) {
        .name = seat->name,
        .arch = seat->arch,
        /* the model counts those of other plugins as well */
        .load = worker->allocations + seat->reserved
                + (seat->taken_ms > a->host->monotonic_ms(a->host)),
        .disk_permille = use.disk_permille,
        .inode_permille = use.inode_permille,
        .state = worker->state,
        .drained = seat->drained,
        .trusted = seat->trusted,
        .untrusted = seat->untrusted
    };

    if (worker->state == BK_WORKER_FAILED && !seat->drained
        && (look->arch[0] == '\0' || strcmp(look->arch, seat->arch) == 0))
    {
        bk_str_copy(look->pick->failed, sizeof(look->pick->failed),
                    worker->name);
        bk_str_copy(look->pick->message, sizeof(look->pick->message),
                    worker->message);
    }

    return 0;
}


void
bk_pick(bk_allocator_t *a, bk_home_t *home, const char *arch,
    const char *cache_key, int untrusted, bk_pick_t *p)
{
    int                i;
    bk_look_t          look;
    bk_place_ask_t     ask;
    bk_pool_info_t     pool;
    bk_pool_gateway_t  gateway;

    memset(p, 0, sizeof(bk_pick_t));

    if (a->host->pool_find(a->host, bk_str(home->name), &pool) != 0) {
        return;
    }

    a->host->pool_gateway_of(a->host, bk_str(home->name), &gateway);

    if (gateway.why.len > 0) {
        /* nobody is to hold a worker that he cannot reach */
        p->gateway = 1;
        p->lost = gateway.endpoint.len == 0;
        bk_str_copy(p->message, sizeof(p->message), gateway.why);
        return;
    }

    look = (bk_look_t) { .a = a, .home = home, .pick = p, .arch = arch };

    (void) a->host->worker_each(a->host, bk_str(home->name), bk_pick_look,
                                &look);

    ask = (bk_place_ask_t) {
        .key = cache_key,
        .arch = arch,
        .untrusted = untrusted,
        /* of a pool: 0: one each, 1: any number, else so many */
        .capacity = pool.shared == 0 ? 1
                    : pool.shared == 1 ? 0 : (uint32_t) pool.shared,
        .disk_max = (uint32_t) a->disk_percent * 10,
        .inode_max = (uint32_t) a->disk_percent * 10,
        .load_percent = (uint32_t) a->load_percent
    };

    i = bk_place(&ask, a->places, look.n, &p->why, &p->home);

    if (i >= 0) {
        p->seat = a->seats[i];
        p->state = a->places[i].state;
    }
}


int
bk_pick_possible(bk_allocator_t *a, const bk_call_t *c, bk_err_t *err)
{
    bk_pick_t   p;
    bk_home_t  *home;

    home = bk_record_home(a->records, c->pool);

    bk_pick(a, home, c->arch, c->cache_key, c->rule.untrusted, &p);

    if (p.seat != NULL || p.gateway) {
        return 0;
    }

    if (p.why.total == 0) {
        return bk_fail(err, 503, "NoCapacity",
                       "look at bkctl workers and the configuration",
                       "pool %s has no workers", c->pool);
    }

    if (p.why.other_arch == p.why.total) {
        return bk_fail(err, 503, "NoCapacity", "ask for another arch",
                       "pool %s has no worker for %s", c->pool, c->arch);
    }

    if (p.why.other_arch + p.why.trust == p.why.total) {
        return bk_fail(err, 503, "NoCapacity",
                       "add workers to the pool: one that had untrusted "
                       "allocations never gets trusted ones, nor the other "
                       "way round",
                       "pool %s has no worker for %s allocations", c->pool,
                       c->rule.untrusted ? "untrusted" : "trusted");
    }

    return 0;
}


/*
 * -1: all that could take it have failed, so to be in the queue is no help; nor
 * is it for who cannot be told where the pool's gateway will be.
 */

int
bk_pick_broken(bk_allocator_t *a, const bk_record_t *rec, bk_err_t *err)
{
    bk_pick_t        p;
    const bk_ask_t  *ask;

    ask = rec->ask;

    bk_pick(a, rec->home, ask->arch, ask->cache_key, rec->untrusted, &p);

    if (p.lost) {
        return bk_fail(err, 503, "GatewayNotReady",
                       "try again in a moment; the pool's status says more",
                       "the gateway of pool %s cannot be used yet: %s",
                       rec->home->name, p.message);
    }

    if (p.seat != NULL || p.why.failed == 0
        || p.why.failed + p.why.other_arch + p.why.trust < p.why.total)
    {
        return 0;
    }

    return bk_fail(err, 503, "WorkerFailed",
                   "look at the worker's log; bkctl workers shows its state",
                   "no worker of pool %s can be used: of %u, %u failed "
                   "(%s: %s)", rec->home->name, p.why.total, p.why.failed,
                   p.failed, p.message);
}
