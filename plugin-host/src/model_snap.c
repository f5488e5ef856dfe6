/*
 * Snapshots and inheritance: what is no longer said is no longer true.
 *
 * What the table held when this host took it over is in the model as
 * inherited (owner NULL), and goes on being routed.  A put claims it.  When
 * all owners that announced a first snapshot have committed it, what nobody
 * claimed is thrown away, and the table is live.
 */

#include <string.h>

#include "bk_err.h"
#include "log.h"
#include "model_int.h"


typedef struct {
    bk_model_t    *m;
    bk_pool_t    **pools;       /* by index in the table */
    bk_worker_t  **workers;
    uint32_t       npools;
    uint32_t       nworkers;
} bk_inherit_t;


static int bk_inherit_pool(bk_table_ref_t ref,
    const bk_table_pool_data_t *pool, void *data);
static int bk_inherit_worker(bk_table_ref_t ref,
    const bk_table_worker_data_t *worker, void *data);
static int bk_inherit_alloc(uint32_t index, const uint8_t *key,
    const uint8_t *key_hash, const bk_table_alloc_t *alloc,
    const char *reason, void *data);
static void bk_model_sweep(bk_model_t *m, const bk_owner_t *o);
static int bk_model_stale(const bk_owner_t *owner, uint32_t mark,
    const bk_owner_t *o);
static void bk_model_settle(bk_model_t *m);


void
bk_model_snapshot_begin(bk_model_t *m, const void *owner)
{
    bk_owner_t  *o = bk_model_owner(m, owner);

    o->mark++;
    o->in_snapshot = 1;
}


void
bk_model_snapshot_commit(bk_model_t *m, const void *owner)
{
    bk_owner_t  *o = bk_model_owner(m, owner);

    if (!o->in_snapshot) {
        return;
    }

    o->in_snapshot = 0;
    o->committed = 1;

    bk_model_enter(m);
    bk_model_sweep(m, o);
    bk_model_settle(m);
    bk_model_leave(m);
}


void
bk_model_expect(bk_model_t *m, const void *owner)
{
    bk_model_owner(m, owner)->expected = 1;
}


void
bk_model_started(bk_model_t *m)
{
    m->started = 1;

    bk_model_enter(m);
    bk_model_settle(m);
    bk_model_leave(m);
}


int
bk_model_settled(const bk_model_t *m)
{
    return m->settled;
}


int
bk_model_missing(const bk_model_t *m, const void *owner)
{
    const bk_owner_t  *o;

    for (o = m->owners; o != NULL; o = o->next) {
        if (o->id == owner) {
            return o->expected && !o->committed;
        }
    }

    return 0;
}


static void
bk_model_settle(bk_model_t *m)
{
    bk_owner_t  *o;

    if (m->settled || !m->started) {
        return;
    }

    for (o = m->owners; o != NULL; o = o->next) {
        if (o->expected && !o->committed) {
            return;
        }
    }

    m->settled = 1;
    bk_model_sweep(m, NULL);
    m->stats.inherited = 0;
    bk_table_live(m->table);

    bk_log(BK_LOG_INFO, "model", "all first facts are in: %u pools, %u "
           "allocations; the table is live", HASH_COUNT(m->pools),
           HASH_COUNT(m->allocs));
}


/* Ends and removes what o (NULL: an earlier run) has not said again. */

static void
bk_model_sweep(bk_model_t *m, const bk_owner_t *o)
{
    bk_pool_t    *p, *ptmp;
    bk_alloc_t   *a, *atmp;
    bk_worker_t  *w, *wtmp;

    HASH_ITER(hh, m->allocs, a, atmp) {
        if (!bk_alloc_ended(a->state) && bk_model_stale(a->owner, a->mark, o))
        {
            bk_model_alloc_finish(m, a, BK_ALLOC_RELEASED, "no longer listed");
        }
    }

    HASH_ITER(hh, m->pools, p, ptmp) {
        if (bk_model_stale(p->owner, p->mark, o)) {
            bk_model_pool_remove(m, p, "its pool was removed");
            continue;
        }

        HASH_ITER(hh, p->workers, w, wtmp) {
            if (bk_model_stale(w->owner, w->mark, o)) {
                bk_model_worker_remove(m, w, "its worker was removed");
            }
        }
    }
}


static int
bk_model_stale(const bk_owner_t *owner, uint32_t mark, const bk_owner_t *o)
{
    return owner == o && (o == NULL || mark != o->mark);
}


int
bk_model_inherit(bk_model_t *m, bk_err_t *err)
{
    bk_inherit_t  in;

    memset(&in, 0, sizeof(in));
    in.m = m;

    bk_table_stats(m->table, &m->stats.table);
    in.npools = m->stats.table.pools;
    in.nworkers = m->stats.table.workers;
    in.pools = calloc(in.npools + 1, sizeof(bk_pool_t *));
    in.workers = calloc(in.nworkers + 1, sizeof(bk_worker_t *));

    if (in.pools == NULL || in.workers == NULL) {
        abort();
    }

    (void) err;

    bk_model_enter(m);
    (void) bk_table_pool_each(m->table, bk_inherit_pool, &in);
    (void) bk_table_worker_each(m->table, bk_inherit_worker, &in);
    (void) bk_table_alloc_each(m->table, bk_inherit_alloc, &in);
    bk_model_leave(m);

    bk_table_trim(m->table);

    free(in.pools);
    free(in.workers);

    return 0;
}


static int
bk_inherit_pool(bk_table_ref_t ref, const bk_table_pool_data_t *pool,
    void *data)
{
    bk_str_t       name = { pool->name, pool->name_len };
    bk_pool_t     *p;
    bk_inherit_t  *in = data;

    if (ref.index >= in->npools || name.len == 0
        || bk_model_pool_get(in->m, name) != NULL)
    {
        return 0;
    }

    p = bk_model_pool_make(in->m, name);
    p->ref = ref;
    p->shared = (pool->flags & BK_POOL_SHARED) ? 1 : 0;
    in->pools[ref.index] = p;
    in->m->stats.inherited++;

    return 0;
}


static int
bk_inherit_worker(bk_table_ref_t ref, const bk_table_worker_data_t *worker,
    void *data)
{
    bk_str_t       name = { worker->name, worker->name_len };
    bk_pool_t     *p;
    bk_worker_t   *w;
    bk_inherit_t  *in = data;

    if (ref.index >= in->nworkers || worker->pool.index >= in->npools
        || (p = in->pools[worker->pool.index]) == NULL
        || p->ref.gen != worker->pool.gen
        || name.len == 0 || name.len > 253
        || bk_model_worker_get(p, name) != NULL)
    {
        bk_table_worker_delete(in->m->table, ref);
        return 0;
    }

    w = bk_model_worker_make(p, name.data, name.len);
    w->ref = ref;
    w->data = *worker;
    bk_model_worker_endpoint(worker, w->endpoint, sizeof(w->endpoint));
    in->workers[ref.index] = w;
    in->m->stats.inherited++;

    return 0;
}


static int
bk_inherit_alloc(uint32_t index, const uint8_t *key, const uint8_t *key_hash,
    const bk_table_alloc_t *alloc, const char *reason, void *data)
{
    int            lost = 0;
    bk_alloc_t    *a;
    bk_inherit_t  *in = data;

    a = calloc(1, sizeof(bk_alloc_t));
    if (a == NULL) {
        abort();
    }

    memcpy(a->hash, key, BK_TABLE_HASH_LEN);

    if (alloc->flags & BK_ALLOC_KEY_BOUND && key_hash != NULL) {
        memcpy(a->key_hash, key_hash, BK_TABLE_HASH_LEN);
        a->bound = 1;
    }

    a->refs = 1;
    a->index = index;
    a->state = alloc->state;
    a->expires_ms = alloc->expires_ms;
    a->changed_ms = alloc->changed_ms;

    if (reason != NULL && reason[0] != '\0') {
        a->reason = strdup(reason);
    }

    if (alloc->pool.index < in->npools
        && in->pools[alloc->pool.index] != NULL
        && in->pools[alloc->pool.index]->ref.gen == alloc->pool.gen)
    {
        a->pool = in->pools[alloc->pool.index];
        a->pool->refs++;
    }

    if (alloc->worker.index < in->nworkers
        && in->workers[alloc->worker.index] != NULL
        && in->workers[alloc->worker.index]->ref.gen == alloc->worker.gen)
    {
        a->worker = in->workers[alloc->worker.index];
        a->worker->refs++;

    } else if (alloc->worker.index != BK_TABLE_NONE) {
        lost = 1;
    }

    HASH_ADD(hh, in->m->allocs, hash, BK_TABLE_HASH_LEN, a);
    bk_model_alloc_attach(in->m, a);
    in->m->stats.inherited++;

    if (!bk_alloc_ended(a->state) && (lost || a->pool == NULL)) {
        bk_model_alloc_finish(in->m, a, BK_ALLOC_FAILED,
                              "its worker was lost in a restart");
    }

    return 0;
}
