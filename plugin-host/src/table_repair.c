/*
 * Taking a table over from a writer that is gone.
 *
 * A killed writer leaves at most one thing half-done (doc/table.md lists
 * which); a file may also have been damaged by others.  Nothing that is read
 * here is believed before it was checked, and readers go on all the time: an
 * index word goes before its entry, every change of an entry is a flip.
 */

#include "bk_err.h"
#include "table_priv.h"


static uint32_t bk_table_repair_slots(bk_table_t *t);
static uint32_t bk_table_repair_index(bk_table_t *t, uint8_t *seen);
static uint32_t bk_table_repair_entries(bk_table_t *t, const uint8_t *seen);
static int bk_table_word_ok(const bk_table_view_t *v, uint32_t bucket,
    uint64_t word, bk_table_found_t *f);
static int bk_table_migrate_slots(bk_table_t *t, const bk_table_view_t *from,
    bk_table_ref_t *pools, bk_table_ref_t *workers, bk_err_t *err);
static int bk_table_migrate_allocs(bk_table_t *t, const bk_table_view_t *from,
    const bk_table_ref_t *pools, const bk_table_ref_t *workers, int ended,
    uint32_t *repaired, bk_err_t *err);
static bk_table_ref_t bk_table_migrate_ref(const bk_table_view_t *from,
    bk_table_ref_t ref, int worker, const bk_table_ref_t *map);


/* Called once for a mapping, a new one too: builds the free lists. */
uint32_t
bk_table_repair(bk_table_t *t)
{
    uint8_t   *seen;
    uint32_t   n;

    seen = bk_table_calloc(t->view.nentries, 1);

    n = bk_table_repair_slots(t);
    n += bk_table_repair_index(t, seen);
    n += bk_table_repair_entries(t, seen);

    free(seen);

    bk_table_texts_ready(t);
    bk_table_counts(t);

    return n;
}


/* Free lists are filled from the end: low slots are used first. */
static uint32_t
bk_table_repair_slots(bk_table_t *t)
{
    int                     rc;
    uint32_t                i, n;
    bk_table_ref_t          ref;
    bk_table_pool_t        *pool;
    bk_table_worker_t      *worker;
    bk_table_pool_data_t    p;
    bk_table_worker_data_t  w;

    n = 0;

    for (i = t->view.npools; i-- > 0; /* void */ ) {
        pool = &t->pools[i];
        ref.index = i;
        ref.gen = pool->copy[pool->seq & 1].gen;

        rc = bk_table_read_pool(&t->view, ref, &p);

        if (rc == BK_TABLE_OK && ref.gen != 0) {
            continue;
        }

        if (rc != BK_TABLE_MISS) {
            memset(&p, 0, sizeof(bk_table_pool_data_t));
            p.gen = ref.gen;
            bk_table_flip(&pool->seq, pool->copy, &p, sizeof(p));
            n++;
        }

        t->free_pools.index[t->free_pools.n++] = i;
    }

    for (i = t->view.nworkers; i-- > 0; /* void */ ) {
        worker = &t->workers[i];
        ref.index = i;
        ref.gen = worker->copy[worker->seq & 1].gen;

        rc = bk_table_read_worker(&t->view, ref, &w);

        if (rc == BK_TABLE_OK && ref.gen != 0) {
            continue;
        }

        if (rc != BK_TABLE_MISS) {
            memset(&w, 0, sizeof(bk_table_worker_data_t));
            w.gen = ref.gen;
            bk_table_flip(&worker->seq, worker->copy, &w, sizeof(w));
            n++;
        }

        t->free_workers.index[t->free_workers.n++] = i;
    }

    return n;
}


/*
 * Clears index words that lead nowhere, to the wrong place or to an entry
 * that has one already; marks in seen which entries can be found.
 */
static uint32_t
bk_table_repair_index(bk_table_t *t, uint8_t *seen)
{
    uint32_t          b, n, index;
    uint64_t         *slot;
    unsigned          i;
    bk_table_found_t  f, first;

    n = 0;

    for (b = 0; b < t->view.nbuckets; b++) {
        for (i = 0; i < BK_TABLE_BUCKET_SLOTS; i++) {
            slot = &t->buckets[b].slot[i];

            if (*slot == 0) {
                continue;
            }

            index = (uint32_t) *slot - 1;

            if (!bk_table_word_ok(&t->view, b, *slot, &f) || seen[index]) {
                bk_table_store(slot, 0);
                n++;
                continue;
            }

            seen[index] = 1;
        }
    }

    /* Of two entries with one key only the one that readers find may stay. */

    for (index = 0; index < t->view.nentries; index++) {

        if (!seen[index]
            || bk_table_read_entry(&t->view, index, &f) != BK_TABLE_OK
            || bk_table_lookup(&t->view, f.key, &first) != BK_TABLE_OK)
        {
            continue;
        }

        if (first.index != index) {
            seen[index] = 2;
        }
    }

    for (b = 0; b < t->view.nbuckets; b++) {
        for (i = 0; i < BK_TABLE_BUCKET_SLOTS; i++) {
            slot = &t->buckets[b].slot[i];

            if (*slot != 0 && seen[(uint32_t) *slot - 1] == 2) {
                seen[(uint32_t) *slot - 1] = 0;
                bk_table_store(slot, 0);
                n++;
            }
        }
    }

    return n;
}


/*
 * Frees entries that cannot be found, mends references out of range, counts
 * what is there.
 */
static uint32_t
bk_table_repair_entries(bk_table_t *t, const uint8_t *seen)
{
    uint32_t          i, n, bad;
    bk_table_alloc_t  alloc;

    n = 0;
    t->live = 0;
    t->ended = 0;

    for (i = t->view.nentries; i-- > 0; /* void */ ) {
        alloc = *bk_table_alloc_current(t, i);

        if (!seen[i]) {

            if (alloc.state != BK_ALLOC_FREE) {
                memset(&alloc, 0, sizeof(bk_table_alloc_t));
                bk_table_alloc_flip(t, i, &alloc);
                n++;
            }

            t->free_entries.index[t->free_entries.n++] = i;
            continue;
        }

        bad = 0;

        if (alloc.pool.index >= t->view.npools
            && alloc.pool.index != BK_TABLE_NONE)
        {
            alloc.pool.index = BK_TABLE_NONE;
            bad++;
        }

        if (alloc.worker.index >= t->view.nworkers
            && alloc.worker.index != BK_TABLE_NONE)
        {
            alloc.worker.index = BK_TABLE_NONE;
            bad++;
        }

        if (bk_table_text_adopt(t, alloc.text) != 0) {
            alloc.text.index = BK_TABLE_NONE;
            alloc.text.gen = 0;
            bad++;
        }

        if (bad != 0) {
            bk_table_alloc_flip(t, i, &alloc);
            n += bad;
        }

        if (bk_alloc_ended(alloc.state)) {
            t->ended++;

        } else {
            t->live++;
        }
    }

    return n;
}


/* Whether an index word of a bucket leads to an entry that belongs there. */
static int
bk_table_word_ok(const bk_table_view_t *v, uint32_t bucket, uint64_t word,
    bk_table_found_t *f)
{
    uint32_t  place[2], tag;

    if ((uint32_t) word == 0 || (uint32_t) word - 1 >= v->nentries) {
        return 0;
    }

    if (bk_table_read_entry(v, (uint32_t) word - 1, f) != BK_TABLE_OK
        || f->alloc.state == BK_ALLOC_FREE)
    {
        return 0;
    }

    bk_table_place(f->key, v->nbuckets, place, &tag);

    return (place[0] == bucket || place[1] == bucket)
           && (uint32_t) (word >> 32) == tag;
}


/*
 * Copies pools, workers and allocations of a table of another geometry.
 * Live allocations must fit, ended ones come along while there is room.
 */
int
bk_table_migrate(bk_table_t *t, const bk_table_view_t *from,
    uint32_t *repaired, bk_err_t *err)
{
    int              rc;
    bk_table_ref_t  *pools, *workers;

    pools = bk_table_calloc(from->npools, sizeof(bk_table_ref_t));
    workers = bk_table_calloc(from->nworkers, sizeof(bk_table_ref_t));

    rc = bk_table_migrate_slots(t, from, pools, workers, err);

    if (rc == 0) {
        rc = bk_table_migrate_allocs(t, from, pools, workers, 0, repaired,
                                     err);
    }

    if (rc == 0) {
        rc = bk_table_migrate_allocs(t, from, pools, workers, 1, repaired,
                                     err);
    }

    free(pools);
    free(workers);

    if (rc != 0) {
        bk_err_prefix(err, "the table that is in use does not fit into the "
                      "configured size");
        bk_err_hint(err, "raise table.allocations, table.workers or "
                    "table.pools, or remove the file");
    }

    return rc;
}


static int
bk_table_migrate_slots(bk_table_t *t, const bk_table_view_t *from,
    bk_table_ref_t *pools, bk_table_ref_t *workers, bk_err_t *err)
{
    uint32_t                  i;
    bk_table_ref_t            ref;
    bk_table_pool_data_t      p;
    bk_table_worker_data_t    w;
    const bk_table_pool_t    *pool;
    const bk_table_worker_t  *worker;

    for (i = 0; i < from->npools; i++) {
        pools[i].index = BK_TABLE_NONE;
        pool = &from->pools[i];
        ref.index = i;
        ref.gen = pool->copy[pool->seq & 1].gen;

        if (bk_table_read_pool(from, ref, &p) == BK_TABLE_OK
            && bk_table_pool_put(t, p.name, p.flags, &pools[i], err) != 0)
        {
            return -1;
        }
    }

    for (i = 0; i < from->nworkers; i++) {
        workers[i].index = BK_TABLE_NONE;
        worker = &from->workers[i];
        ref.index = i;
        ref.gen = worker->copy[worker->seq & 1].gen;

        if (bk_table_read_worker(from, ref, &w) != BK_TABLE_OK) {
            continue;
        }

        w.pool = bk_table_migrate_ref(from, w.pool, 0, pools);

        if (bk_table_worker_put(t, &w, &workers[i], err) != 0) {
            return -1;
        }
    }

    return 0;
}


static int
bk_table_migrate_allocs(bk_table_t *t, const bk_table_view_t *from,
    const bk_table_ref_t *pools, const bk_table_ref_t *workers, int ended,
    uint32_t *repaired, bk_err_t *err)
{
    char              reason[BK_TABLE_TEXT_LEN];
    uint32_t          b, index;
    uint64_t          word;
    unsigned          i;
    bk_err_t          e;
    bk_table_found_t  f;

    memset(&e, 0, sizeof(bk_err_t));

    for (b = 0; b < from->nbuckets; b++) {
        for (i = 0; i < BK_TABLE_BUCKET_SLOTS; i++) {
            word = from->buckets[b].slot[i];

            if (word == 0) {
                continue;
            }

            if (!bk_table_word_ok(from, b, word, &f)) {
                *repaired += !ended;
                continue;
            }

            if (!bk_alloc_ended(f.alloc.state) != !ended) {
                continue;
            }

            f.alloc.pool = bk_table_migrate_ref(from, f.alloc.pool, 0, pools);
            f.alloc.worker = bk_table_migrate_ref(from, f.alloc.worker, 1,
                                                  workers);

            if (bk_table_read_text(from, f.alloc.text, reason) != BK_TABLE_OK)
            {
                reason[0] = '\0';
            }

            if (bk_table_alloc_insert(t, f.key,
                                      f.alloc.flags & BK_ALLOC_KEY_BOUND
                                      ? f.key_hash : NULL,
                                      &f.alloc, reason, &index, &e)
                == 0)
            {
                continue;
            }

            if (e.code == 409) {
                (*repaired)++;

            } else if (!ended) {
                return bk_err_set(err, e.code, e.reason, "%s", e.text);
            }
        }
    }

    return 0;
}


/* Where the pool or worker that ref names is now; none if it is gone. */
static bk_table_ref_t
bk_table_migrate_ref(const bk_table_view_t *from, bk_table_ref_t ref,
    int worker, const bk_table_ref_t *map)
{
    bk_table_ref_t          none;
    bk_table_pool_data_t    p;
    bk_table_worker_data_t  w;

    none.index = BK_TABLE_NONE;
    none.gen = 0;

    if (worker) {
        return bk_table_read_worker(from, ref, &w) == BK_TABLE_OK
               ? map[ref.index] : none;
    }

    return bk_table_read_pool(from, ref, &p) == BK_TABLE_OK
           ? map[ref.index] : none;
}
