/*
 * The route table's writer: allocations.  The steps of insert, update and
 * remove, in this order, are the protocol of doc/table.md; a change of order
 * is a change of the protocol.  Called by model.c on the loop, never blocks.
 */

#include <assert.h>
#include <sys/mman.h>

#include "bk_err.h"
#include "table_priv.h"


static void bk_table_alloc_clean(const bk_table_alloc_t *alloc,
    bk_table_alloc_t *clean);
static uint64_t *bk_table_slot_find(bk_table_t *t, const uint8_t *key,
    uint32_t index);
static uint64_t *bk_table_slot_free(bk_table_t *t, const uint8_t *key,
    uint64_t *tag);


void
bk_table_live(bk_table_t *t)
{
    bk_table_store(&t->header->state, BK_TABLE_LIVE);
}


void
bk_table_heartbeat(bk_table_t *t, uint64_t now_ms)
{
    bk_table_store(&t->header->heartbeat_ms, now_ms);
}


int
bk_table_alloc_insert(bk_table_t *t, const uint8_t *key,
    const uint8_t *key_hash, const bk_table_alloc_t *alloc,
    const char *reason, uint32_t *index, bk_err_t *err)
{
    uint32_t                   i;
    uint64_t                  *slot, tag;
    bk_table_entry_t          *e;
    bk_table_found_t           found;
    bk_table_alloc_t           clean;
    _Alignas(8) uint8_t        hash[BK_TABLE_HASH_LEN];

    assert(alloc->state > BK_ALLOC_FREE && alloc->state < BK_ALLOC_STATES);

    if (bk_table_lookup(&t->view, key, &found) == BK_TABLE_OK) {
        return bk_err_set(err, 409, "Exists",
                          "the allocation is in the route table already");
    }

    if (t->free_entries.n == 0) {
        bk_err_set(err, 503, "TableFull",
                   "the route table is full: all of its %u allocations are "
                   "in use", t->view.nentries);
        return bk_err_hint(err, "release allocations or raise "
                           "table.allocations");
    }

    slot = bk_table_slot_free(t, key, &tag);

    if (slot == NULL) {
        bk_err_set(err, 503, "TableFull",
                   "the route table has no room for this token: both of its "
                   "index buckets are full");
        return bk_err_hint(err, "ask again for another allocation");
    }

    i = t->free_entries.index[--t->free_entries.n];
    e = &t->entries[i];

    /*
     * The current copy says FREE, so that a reader who came by an old index
     * word takes nothing from here while the key changes.
     */

    memcpy(hash, key, BK_TABLE_HASH_LEN);
    bk_table_store_words(e->key, hash, BK_TABLE_HASH_LEN);

    memset(hash, 0, BK_TABLE_HASH_LEN);

    if (key_hash != NULL) {
        memcpy(hash, key_hash, BK_TABLE_HASH_LEN);
    }

    bk_table_store_words(e->key_hash, hash, BK_TABLE_HASH_LEN);

    bk_table_alloc_clean(alloc, &clean);
    clean.flags = key_hash != NULL ? BK_ALLOC_KEY_BOUND : 0;
    clean.text = bk_table_text_intern(t, reason);

    bk_table_alloc_flip(t, i, &clean);
    bk_table_store(slot, tag << 32 | (i + 1));

    if (bk_alloc_ended(clean.state)) {
        t->ended++;

    } else {
        t->live++;
    }

    bk_table_counts(t);
    bk_table_bump(&t->header->additions);

    *index = i;

    return 0;
}


void
bk_table_alloc_update(bk_table_t *t, uint32_t index,
    const bk_table_alloc_t *alloc, const char *reason)
{
    bk_table_alloc_t  clean, old;

    assert(index < t->view.nentries);
    assert(alloc->state > BK_ALLOC_FREE && alloc->state < BK_ALLOC_STATES);

    old = *bk_table_alloc_current(t, index);

    assert(old.state != BK_ALLOC_FREE);

    bk_table_alloc_clean(alloc, &clean);
    clean.flags = old.flags;    /* the binding is the entry's, for life */

    /* interned before the old one is let go: mostly they are the same */
    clean.text = bk_table_text_intern(t, reason);

    if (memcmp(&clean, &old, sizeof(bk_table_alloc_t)) == 0) {
        bk_table_text_unref(t, clean.text);
        return;
    }

    bk_table_alloc_flip(t, index, &clean);
    bk_table_text_unref(t, old.text);

    if (bk_alloc_ended(clean.state) != bk_alloc_ended(old.state)) {
        if (bk_alloc_ended(clean.state)) {
            t->live--;
            t->ended++;

        } else {
            t->ended--;
            t->live++;
        }

        bk_table_counts(t);
    }

    bk_table_bump(&t->header->revision);
}


/*
 * Word by word, under an entry that lives: who reads amid it gets a hash that
 * neither the old key nor the new one has, and refuses both.  The old one is
 * to be refused anyway, and nobody has the new one until this has returned.
 * Live connections do not look at it.
 */

void
bk_table_alloc_rekey(bk_table_t *t, uint32_t index, const uint8_t *key_hash)
{
    _Alignas(8) uint8_t  hash[BK_TABLE_HASH_LEN];

    assert(index < t->view.nentries);
    assert(bk_table_alloc_current(t, index)->flags & BK_ALLOC_KEY_BOUND);

    memcpy(hash, key_hash, BK_TABLE_HASH_LEN);
    bk_table_store_words(t->entries[index].key_hash, hash,
                         BK_TABLE_HASH_LEN);

    bk_table_bump(&t->header->revision);
}


void
bk_table_alloc_remove(bk_table_t *t, uint32_t index)
{
    uint64_t                *slot;
    bk_table_alloc_t         none, old;
    const bk_table_entry_t  *e;

    assert(index < t->view.nentries);

    e = &t->entries[index];
    old = *bk_table_alloc_current(t, index);

    assert(old.state != BK_ALLOC_FREE);

    slot = bk_table_slot_find(t, e->key, index);

    if (slot != NULL) {
        bk_table_store(slot, 0);
    }

    memset(&none, 0, sizeof(bk_table_alloc_t));
    bk_table_alloc_flip(t, index, &none);

    bk_table_text_unref(t, old.text);
    t->free_entries.index[t->free_entries.n++] = index;

    if (bk_alloc_ended(old.state)) {
        t->ended--;

    } else {
        t->live--;
    }

    bk_table_counts(t);
    bk_table_bump(&t->header->revision);
}


int
bk_table_alloc_each(bk_table_t *t, bk_table_alloc_pt fn, void *data)
{
    int                      rc;
    uint32_t                 i;
    bk_table_alloc_t         alloc;
    const bk_table_entry_t  *e;

    for (i = 0; i < t->view.nentries; i++) {
        e = &t->entries[i];
        alloc = e->copy[e->seq & 1];

        if (alloc.state == BK_ALLOC_FREE) {
            continue;
        }

        rc = fn(i, e->key,
                alloc.flags & BK_ALLOC_KEY_BOUND ? e->key_hash : NULL,
                &alloc, bk_table_text_get(t, alloc.text), data);

        if (rc != 0) {
            return rc;
        }
    }

    return 0;
}


void
bk_table_trim(bk_table_t *t)
{
    (void) madvise(t->base, t->size, MADV_DONTNEED);
}


void
bk_table_stats(const bk_table_t *t, bk_table_stats_t *stats)
{
    memset(stats, 0, sizeof(bk_table_stats_t));

    stats->entries = t->view.nentries;
    stats->entries_used = t->view.nentries - t->free_entries.n;
    stats->entries_ended = t->ended;
    stats->workers = t->view.nworkers;
    stats->workers_used = t->view.nworkers - t->free_workers.n;
    stats->pools = t->view.npools;
    stats->pools_used = t->view.npools - t->free_pools.n;
    stats->bytes = t->size;

    bk_table_texts_stats(t, stats);
}


uint32_t
bk_table_next_gen(const bk_table_t *t, uint32_t old)
{
    if (old == 0) {
        return t->gen_base;
    }

    return old + 1 != 0 ? old + 1 : 1;
}


void
bk_table_alloc_flip(bk_table_t *t, uint32_t index,
    const bk_table_alloc_t *alloc)
{
    bk_table_entry_t  *e = &t->entries[index];

    bk_table_flip(&e->seq, e->copy, alloc, sizeof(bk_table_alloc_t));
}


void
bk_table_counts(bk_table_t *t)
{
    bk_table_store(&t->header->live, t->live);
    bk_table_store(&t->header->ended, t->ended);
}


/* A copy whose padding is zero: it is compared and stored as bytes. */
static void
bk_table_alloc_clean(const bk_table_alloc_t *alloc, bk_table_alloc_t *clean)
{
    memset(clean, 0, sizeof(bk_table_alloc_t));

    clean->expires_ms = alloc->expires_ms;
    clean->changed_ms = alloc->changed_ms;
    clean->pool = alloc->pool;
    clean->worker = alloc->worker;
    clean->state = alloc->state;
}


/* The index word of an entry. */
static uint64_t *
bk_table_slot_find(bk_table_t *t, const uint8_t *key, uint32_t index)
{
    uint32_t  bucket[2], tag;
    uint64_t  word;
    unsigned  b, i;

    bk_table_place(key, t->view.nbuckets, bucket, &tag);
    word = (uint64_t) tag << 32 | (index + 1);

    for (b = 0; b < 2; b++) {
        for (i = 0; i < BK_TABLE_BUCKET_SLOTS; i++) {
            if (t->buckets[bucket[b]].slot[i] == word) {
                return &t->buckets[bucket[b]].slot[i];
            }
        }
    }

    return NULL;
}


/* An empty word in the emptier one of the key's two buckets. */
static uint64_t *
bk_table_slot_free(bk_table_t *t, const uint8_t *key, uint64_t *tag)
{
    uint32_t   bucket[2], h;
    uint64_t  *first[2];
    unsigned   b, i, room[2];

    bk_table_place(key, t->view.nbuckets, bucket, &h);
    *tag = h;

    for (b = 0; b < 2; b++) {
        first[b] = NULL;
        room[b] = 0;

        for (i = BK_TABLE_BUCKET_SLOTS; i-- > 0; /* void */ ) {
            if (t->buckets[bucket[b]].slot[i] == 0) {
                first[b] = &t->buckets[bucket[b]].slot[i];
                room[b]++;
            }
        }
    }

    return room[1] > room[0] ? first[1] : first[0];
}
