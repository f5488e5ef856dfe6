/* Looking at the model: see model.h. */

#include <string.h>

#include "model_int.h"


static int bk_model_worker_walk(bk_pool_t *p, bk_worker_pt fn, void *data);


static const char *const bk_alloc_names[BK_ALLOC_STATES] = {
    "free", "queued", "starting", "ready", "draining", "expired", "released",
    "revoked", "failed"
};

static const char *const bk_worker_names[BK_WORKER_STATES] = {
    "free", "stopped", "starting", "ready", "draining", "failed"
};


int
bk_model_pool_find(bk_model_t *m, bk_str_t name, bk_pool_info_t *out)
{
    bk_pool_t  *p = bk_model_pool_get(m, name);

    if (p == NULL) {
        return -1;
    }

    bk_model_pool_info(p, out);

    return 0;
}


int
bk_model_worker_find(bk_model_t *m, bk_str_t pool, bk_str_t name,
    bk_worker_info_t *out)
{
    bk_pool_t    *p = bk_model_pool_get(m, pool);
    bk_worker_t  *w;

    if (p == NULL || (w = bk_model_worker_get(p, name)) == NULL) {
        return -1;
    }

    bk_model_worker_info(w, out);

    return 0;
}


int
bk_model_alloc_find(bk_model_t *m, const uint8_t *hash, bk_alloc_info_t *out)
{
    bk_alloc_t  *a;

    HASH_FIND(hh, m->allocs, hash, BK_TABLE_HASH_LEN, a);
    if (a == NULL) {
        return -1;
    }

    bk_model_alloc_info(a, out);

    return 0;
}


/*
 * The next one is held while fn runs, since fn may remove the one that it is
 * given.  When it removed the next one as well, the walk ends there.
 */

#define bk_model_step(x, list_unref)                                          \
    if ((x) != NULL && (x)->gone) {                                           \
        list_unref(x);                                                        \
        (x) = NULL;                                                           \
    }


int
bk_model_pool_each(bk_model_t *m, bk_pool_pt fn, void *data)
{
    int              rc = 0;
    bk_pool_t       *p, *next;
    bk_pool_info_t   info;

    if ((p = m->pools) != NULL) {
        p->refs++;
    }

    for ( /* void */ ; p != NULL; p = next) {
        if ((next = p->hh.next) != NULL) {
            next->refs++;
        }

        if (rc == 0) {
            bk_model_pool_info(p, &info);
            rc = fn(&info, data);
        }

        bk_model_pool_unref(p);
        bk_model_step(next, bk_model_pool_unref);
    }

    return rc;
}


int
bk_model_worker_each(bk_model_t *m, bk_str_t pool, bk_worker_pt fn,
    void *data)
{
    int         rc = 0;
    bk_pool_t  *p, *next;

    if (pool.len != 0) {
        p = bk_model_pool_get(m, pool);
        return p != NULL ? bk_model_worker_walk(p, fn, data) : 0;
    }

    if ((p = m->pools) != NULL) {
        p->refs++;
    }

    for ( /* void */ ; p != NULL; p = next) {
        if ((next = p->hh.next) != NULL) {
            next->refs++;
        }

        if (rc == 0) {
            rc = bk_model_worker_walk(p, fn, data);
        }

        bk_model_pool_unref(p);
        bk_model_step(next, bk_model_pool_unref);
    }

    return rc;
}


static int
bk_model_worker_walk(bk_pool_t *p, bk_worker_pt fn, void *data)
{
    int                rc = 0;
    bk_worker_t       *w, *next;
    bk_worker_info_t   info;

    if ((w = p->workers) != NULL) {
        w->refs++;
    }

    for ( /* void */ ; w != NULL; w = next) {
        if ((next = w->hh.next) != NULL) {
            next->refs++;
        }

        if (rc == 0) {
            bk_model_worker_info(w, &info);
            rc = fn(&info, data);
        }

        bk_model_worker_unref(w);
        bk_model_step(next, bk_model_worker_unref);
    }

    return rc;
}


int
bk_model_alloc_each(bk_model_t *m, bk_str_t pool, bk_alloc_pt fn, void *data)
{
    int               rc = 0;
    bk_pool_t        *p = NULL;
    bk_alloc_t       *a, *next;
    bk_alloc_info_t   info;

    if (pool.len != 0 && (p = bk_model_pool_get(m, pool)) == NULL) {
        return 0;
    }

    if ((a = m->allocs) != NULL) {
        a->refs++;
    }

    for ( /* void */ ; a != NULL; a = next) {
        if ((next = a->hh.next) != NULL) {
            next->refs++;
        }

        if (rc == 0 && (p == NULL || a->pool == p)) {
            bk_model_alloc_info(a, &info);
            rc = fn(&info, data);
        }

        bk_model_alloc_unref(a);
        bk_model_step(next, bk_model_alloc_unref);
    }

    return rc;
}


void
bk_model_stats(const bk_model_t *m, bk_model_stats_t *stats)
{
    *stats = m->stats;
    bk_table_stats(m->table, &stats->table);
}


void
bk_model_counts(bk_model_t *m, bk_str_t pool, bk_model_counts_t *counts)
{
    bk_pool_t    *p = bk_model_pool_get(m, pool);
    bk_worker_t  *w;

    memset(counts, 0, sizeof(bk_model_counts_t));

    if (p == NULL) {
        return;
    }

    memcpy(counts->allocations, p->counts, sizeof(p->counts));

    for (w = p->workers; w != NULL; w = w->hh.next) {
        counts->workers[w->data.state]++;
    }
}


const char *
bk_alloc_state_name(int state)
{
    return state > 0 && state < BK_ALLOC_STATES ? bk_alloc_names[state]
                                                : "unknown";
}


const char *
bk_worker_state_name(int state)
{
    return state > 0 && state < BK_WORKER_STATES ? bk_worker_names[state]
                                                 : "unknown";
}
