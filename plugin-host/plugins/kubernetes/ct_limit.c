/*
 * How many pools and workers a namespace may have (ct.h).  The host's table is
 * everybody's: who may make pools in one namespace does not take it from the
 * others.
 *
 * Older pools come first, by creationTimestamp, which nobody can set: what one
 * has is not taken away by another that comes later, and every replica counts
 * the same.
 */

#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "ct_pool.h"


static size_t ct_limit_pools(ct_t *ct, ct_pool_t **list);
static int ct_limit_order(const void *a, const void *b);
static size_t ct_limit_ns(const ct_pool_t *p);
static void ct_limit_set(ct_pool_t *p, int slots, int refused);


int
ct_limit_asks(const ct_pool_t *p)
{
    return p->manual ? p->min : p->max;
}


/* Anew when a pool has changed, and somebody wants to know. */

void
ct_limit(ct_t *ct)
{
    int          slots, room = 0;
    unsigned     pools = 0;
    size_t       i, n;
    ct_pool_t   *p, **list;

    if (!ct->limits) {
        return;
    }

    ct->limits = 0;
    list = calloc(HASH_COUNT(ct->pools) + 1, sizeof(ct_pool_t *));
    if (list == NULL) {
        abort();
    }

    n = ct_limit_pools(ct, list);

    for (i = 0; i < n; i++) {
        p = list[i];

        if (i == 0 || ct_limit_ns(p) != ct_limit_ns(list[i - 1])
            || strncmp(p->key, list[i - 1]->key, ct_limit_ns(p)) != 0)
        {
            pools = 0;
            room = (int) ct->conf->max_workers;
        }

        pools += !ct_pool_named(p);

        if (ct->conf->max_pools != 0 && pools > ct->conf->max_pools
            && !ct_pool_named(p))
        {
            ct_limit_set(p, 0, 1);
            continue;
        }

        slots = ct_limit_asks(p);

        if (ct->conf->max_workers != 0) {
            slots = slots < room ? slots : room;
            room -= slots;
        }

        ct_limit_set(p, slots, 0);
    }

    free(list);
}


/* One that goes makes room, but for who is still there. */

static size_t
ct_limit_pools(ct_t *ct, ct_pool_t **list)
{
    size_t      n = 0;
    ct_pool_t  *p, *tmp;

    HASH_ITER(hh, ct->pools, p, tmp) {
        if (p->o == NULL || p->o->obj == NULL || ct_deleting(p->o)) {
            ct_limit_set(p, 0, 0);
            continue;
        }

        ct_pool_spec(p);
        list[n++] = p;
    }

    qsort(list, n, sizeof(ct_pool_t *), ct_limit_order);

    return n;
}


/* By namespace, age and name. */

static int
ct_limit_order(const void *a, const void *b)
{
    int         d;
    ct_pool_t  *x = *(ct_pool_t *const *) a, *y = *(ct_pool_t *const *) b;
    size_t      n = ct_limit_ns(x), m = ct_limit_ns(y);

    d = strncmp(x->key, y->key, n < m ? n : m);

    if (d != 0 || n != m) {
        return d != 0 ? d : n < m ? -1 : 1;
    }

    d = strcmp(obj_text(json_object_get(x->o->obj, "metadata"),
                        "creationTimestamp"),
               obj_text(json_object_get(y->o->obj, "metadata"),
                        "creationTimestamp"));

    return d != 0 ? d : strcmp(x->key, y->key);
}


/* with its slash */

static size_t
ct_limit_ns(const ct_pool_t *p)
{
    return strcspn(p->key, "/") + 1;
}


/* The administrator has asked for it, so it is not counted. */

int
ct_pool_named(const ct_pool_t *p)
{
    char  **name = p->ct->conf->gateways;

    while (name != NULL && *name != NULL && strcmp(*name, p->key) != 0) {
        name++;
    }

    return name != NULL && *name != NULL;
}


static void
ct_limit_set(ct_pool_t *p, int slots, int refused)
{
    if (p->slots != slots || p->refused != (unsigned) refused) {
        p->slots = slots;
        p->refused = refused ? 1 : 0;
        ct_dirty_pool(p);
    }
}


/* -1: it is one too many */

int
ct_limit_pool(const ct_pool_t *p, bk_err_t *err)
{
    ct_limit(p->ct);

    if (!p->refused) {
        return 0;
    }

    return bk_fail(err, 403, "TooManyPools", "option namespacePools of the "
                   "controller", "its namespace may have %u pools, and there "
                   "are so many older ones", p->ct->conf->max_pools);
}
