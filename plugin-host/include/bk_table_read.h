/*
 * Reading the route table: used alike by nginx, bkctl and plugin-host.
 *
 * Everything here is inline, takes no lock, makes no system call, allocates
 * nothing and trusts nothing: each value that comes out of the mapping is
 * copied first and then checked against the geometry that was validated when
 * the view was made.  A reader can neither wait for a writer nor be made to
 * loop by one: after BK_TABLE_TRIES changes under its hands it says "busy".
 *
 * Protocol (plugin-host/doc/table.md): an entry holds two copies and a word
 * seq whose low bit names the current one.  The writer fills the other copy
 * and then stores seq + 1.  Every word is loaded with acquire order, so the
 * second load of seq cannot move before the copy.
 */

#ifndef BK_TABLE_READ_H_INCLUDED
#define BK_TABLE_READ_H_INCLUDED

#include <stddef.h>
#include <string.h>

#include "bk_table.h"


#define BK_TABLE_TRIES  3

/* Results of bk_table_lookup() and the bk_table_read_*() functions. */
#define BK_TABLE_OK     0
#define BK_TABLE_MISS   (-1)    /* no such token; reference out of date */
#define BK_TABLE_BUSY   (-2)    /* the writer was faster, three times */
#define BK_TABLE_BAD    (-3)    /* a value that no writer stores: corrupt */


/* A checked mapping; made by bk_table_view_init(), read-only afterwards. */
typedef struct {
    const uint8_t            *base;
    uint64_t                  size;
    const bk_table_header_t  *header;
    const bk_table_bucket_t  *buckets;
    const bk_table_entry_t   *entries;
    const bk_table_worker_t  *workers;
    const bk_table_pool_t    *pools;
    const bk_table_text_t    *texts;
    uint32_t                  nbuckets;
    uint32_t                  nentries;
    uint32_t                  nworkers;
    uint32_t                  npools;
    uint32_t                  ntexts;
} bk_table_view_t;


/* What a look-up found: a consistent copy of one entry. */
typedef struct {
    uint8_t           key[BK_TABLE_HASH_LEN];
    uint8_t           key_hash[BK_TABLE_HASH_LEN];
    bk_table_alloc_t  alloc;
    uint64_t          seq;      /* of the entry, as it was copied */
    uint32_t          index;    /* of the entry: stays while it lives */
} bk_table_found_t;


/* The short loops of a look-up, which compilers leave as they are at -O2. */
#define BK_TABLE_UNROLL  _Pragma("GCC unroll 8")


/* The mapping is read as words, whatever the structures say. */
typedef uint64_t bk_table_word_t __attribute__((may_alias));


static inline uint64_t
bk_table_load(const bk_table_word_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}


/*
 * Copies len bytes (a multiple of 8) word by word.  src is aligned; dst need
 * not be: the structures of workers and pools ask for four bytes only.
 */
static inline void
bk_table_copy(void *dst, const void *src, size_t len)
{
    size_t                  i;
    uint64_t                word;
    const bk_table_word_t  *from = src;

    BK_TABLE_UNROLL
    for (i = 0; i < len / 8; i++) {
        word = bk_table_load(&from[i]);
        memcpy((uint8_t *) dst + i * 8, &word, 8);
    }
}


static inline int
bk_table_range_ok(uint64_t size, uint64_t offset, uint64_t n, uint64_t each)
{
    return offset % 64 == 0
           && offset >= BK_TABLE_HEADER_SIZE
           && offset <= size
           && n <= (size - offset) / each;
}


/*
 * Checks a mapping of size bytes at base (page-aligned) and makes a view.
 *
 * size is what fstat() said when the file was mapped.  Returns NULL when the
 * table can be used, else a static text that says what is wrong with it,
 * without the path.  A table that is being built or was retired is fit to
 * look at: ask bk_table_state().
 */
static inline const char *
bk_table_view_init(bk_table_view_t *v, const void *base, uint64_t size)
{
    bk_table_header_t  h;

    memset(v, 0, sizeof(bk_table_view_t));

    if (size == 0) {
        return "is empty";
    }

    if (size < BK_TABLE_HEADER_SIZE) {
        return "is shorter than a table's header";
    }

    bk_table_copy(&h, base, sizeof(bk_table_header_t));

    if (memcmp(h.magic, BK_TABLE_MAGIC, BK_TABLE_MAGIC_LEN - 1) != 0) {
        return "is not a route table (wrong magic)";
    }

    if (h.magic[BK_TABLE_MAGIC_LEN - 1]
        != BK_TABLE_MAGIC[BK_TABLE_MAGIC_LEN - 1])
    {
        return "has another layout version: nginx module and plugin-host "
               "must be of the same release";
    }

    if (h.endian != BK_TABLE_ENDIAN) {
        return "was written with another byte order";
    }

    if (h.flags_incompat & ~BK_TABLE_INCOMPAT_KNOWN) {
        return "uses features that this reader does not know";
    }

    if (h.header_size != BK_TABLE_HEADER_SIZE
        || h.bucket_size != sizeof(bk_table_bucket_t)
        || h.entry_size != sizeof(bk_table_entry_t)
        || h.worker_size != sizeof(bk_table_worker_t)
        || h.pool_size != sizeof(bk_table_pool_t)
        || h.text_size != sizeof(bk_table_text_t))
    {
        return "has structures of other sizes";
    }

    if (h.total_size != size) {
        return h.total_size > size ? "is truncated"
                                   : "is longer than its header says";
    }

    if (h.nbuckets == 0 || h.nentries == 0
        || h.nbuckets > BK_TABLE_MAX_ENTRIES
        || h.nentries > BK_TABLE_MAX_ENTRIES
        || h.nworkers > BK_TABLE_MAX_WORKERS
        || h.npools > BK_TABLE_MAX_POOLS
        || h.ntexts > BK_TABLE_MAX_ENTRIES)
    {
        return "has a geometry out of bounds";
    }

    if (!bk_table_range_ok(size, h.buckets_offset, h.nbuckets,
                           sizeof(bk_table_bucket_t))
        || !bk_table_range_ok(size, h.entries_offset, h.nentries,
                              sizeof(bk_table_entry_t))
        || !bk_table_range_ok(size, h.workers_offset, h.nworkers,
                              sizeof(bk_table_worker_t))
        || !bk_table_range_ok(size, h.pools_offset, h.npools,
                              sizeof(bk_table_pool_t))
        || !bk_table_range_ok(size, h.texts_offset, h.ntexts,
                              sizeof(bk_table_text_t)))
    {
        return "has arrays outside of the file";
    }

    v->base = base;
    v->size = size;
    v->header = base;
    v->buckets = (const void *) (v->base + h.buckets_offset);
    v->entries = (const void *) (v->base + h.entries_offset);
    v->workers = (const void *) (v->base + h.workers_offset);
    v->pools = (const void *) (v->base + h.pools_offset);
    v->texts = (const void *) (v->base + h.texts_offset);
    v->nbuckets = h.nbuckets;
    v->nentries = h.nentries;
    v->nworkers = h.nworkers;
    v->npools = h.npools;
    v->ntexts = h.ntexts;

    return NULL;
}


/* BK_TABLE_BUILDING, _LIVE or _RETIRED; anything else is a broken table. */
static inline uint64_t
bk_table_state(const bk_table_view_t *v)
{
    return bk_table_load(&v->header->state);
}


/* Changes whenever something that a reader may hold on to did. */
static inline uint64_t
bk_table_revision(const bk_table_view_t *v)
{
    return bk_table_load(&v->header->revision);
}


/* Where a key may be: two buckets and the tag of its index word. */
static inline void
bk_table_place(const uint8_t *key, uint32_t nbuckets, uint32_t bucket[2],
    uint32_t *tag)
{
    uint32_t  h[3];

    memcpy(h, key, sizeof(h));

    bucket[0] = (uint32_t) (((uint64_t) h[0] * nbuckets) >> 32);
    bucket[1] = (uint32_t) (((uint64_t) h[1] * nbuckets) >> 32);

    if (bucket[1] == bucket[0]) {
        bucket[1] = (bucket[0] + 1) % nbuckets;
    }

    *tag = h[2];
}


/*
 * Copies entry number index, whatever it holds.  index < v->nentries.
 * BK_TABLE_OK, or _BUSY, or _BAD when the copy is out of range.
 */
static inline int
bk_table_read_entry(const bk_table_view_t *v, uint32_t index,
    bk_table_found_t *f)
{
    uint64_t                 seq;
    unsigned                 tries;
    const bk_table_entry_t  *e = &v->entries[index];

    for (tries = 0; tries < BK_TABLE_TRIES; tries++) {
        seq = bk_table_load(&e->seq);

        bk_table_copy(f->key, e->key, BK_TABLE_HASH_LEN);
        bk_table_copy(f->key_hash, e->key_hash, BK_TABLE_HASH_LEN);
        bk_table_copy(&f->alloc, &e->copy[seq & 1], sizeof(bk_table_alloc_t));

        if (bk_table_load(&e->seq) != seq) {
            continue;
        }

        f->seq = seq;
        f->index = index;

        if (f->alloc.state >= BK_ALLOC_STATES
            || (f->alloc.flags & ~BK_ALLOC_FLAGS_KNOWN))
        {
            return BK_TABLE_BAD;
        }

        return BK_TABLE_OK;
    }

    return BK_TABLE_BUSY;
}


/*
 * The slow half of bk_table_lookup(): looks at every candidate in turn.  For
 * two entries with the same tag in the same buckets, and for broken tables.
 */
static inline int
bk_table_lookup_all(const bk_table_view_t *v, const uint8_t *want,
    const uint32_t bucket[2], uint32_t tag, bk_table_found_t *f)
{
    int                       rc, result;
    uint32_t                  index;
    uint64_t                  word;
    unsigned                  b, i;
    const bk_table_bucket_t  *bp;

    result = BK_TABLE_MISS;

    for (b = 0; b < 2; b++) {
        bp = &v->buckets[bucket[b]];

        for (i = 0; i < BK_TABLE_BUCKET_SLOTS; i++) {
            word = bk_table_load(&bp->slot[i]);

            if ((uint32_t) (word >> 32) != tag || (uint32_t) word == 0) {
                continue;
            }

            index = (uint32_t) word - 1;

            if (index >= v->nentries) {
                result = BK_TABLE_BAD;
                continue;
            }

            rc = bk_table_read_entry(v, index, f);

            if (rc != BK_TABLE_OK) {
                result = rc;
                continue;
            }

            if (f->alloc.state != BK_ALLOC_FREE
                && memcmp(f->key, want, BK_TABLE_HASH_LEN) == 0)
            {
                return BK_TABLE_OK;
            }
        }
    }

    return result;
}


/*
 * Looks up SHA-256(token).
 *
 * An entry that lives from before the call until after it is always found.
 * *f is valid for BK_TABLE_OK only.  For BK_TABLE_BUSY the entry is there
 * but changed all the time: ask again later.
 *
 * At size this is memory latency and nothing else: the two buckets are
 * loaded at once, the candidate is picked without a branch that depends on
 * where it was (a wrong guess there would wait for the memory), and the three
 * cache lines of its entry are loaded at once.
 */
static inline int
bk_table_lookup(const bk_table_view_t *v, const uint8_t *key,
    bk_table_found_t *f)
{
    uint32_t                  bucket[2], index, mask, tag;
    unsigned                  i;
    _Alignas(8) uint8_t       want[BK_TABLE_HASH_LEN];
    const uint8_t            *line;
    const bk_table_bucket_t  *b[2];

    memcpy(want, key, BK_TABLE_HASH_LEN);
    bk_table_place(want, v->nbuckets, bucket, &tag);

    b[0] = &v->buckets[bucket[0]];
    b[1] = &v->buckets[bucket[1]];

    __builtin_prefetch(b[0]);
    __builtin_prefetch(b[1]);

    mask = 0;

    BK_TABLE_UNROLL
    for (i = 0; i < BK_TABLE_BUCKET_SLOTS; i++) {
        mask |= (uint32_t) (bk_table_load(&b[0]->slot[i]) >> 32 == tag) << i;
    }

    BK_TABLE_UNROLL
    for (i = 0; i < BK_TABLE_BUCKET_SLOTS; i++) {
        mask |= (uint32_t) (bk_table_load(&b[1]->slot[i]) >> 32 == tag)
                << (i + BK_TABLE_BUCKET_SLOTS);
    }

    if (mask == 0) {
        return BK_TABLE_MISS;
    }

    i = (unsigned) __builtin_ctz(mask);
    index = (uint32_t) bk_table_load(&b[i / BK_TABLE_BUCKET_SLOTS]
                                      ->slot[i % BK_TABLE_BUCKET_SLOTS])
            - 1;

    if (index < v->nentries) {
        line = (const uint8_t *) &v->entries[index];

        __builtin_prefetch(line);
        __builtin_prefetch(line + 64);
        __builtin_prefetch(line + 128);

        if (bk_table_read_entry(v, index, f) == BK_TABLE_OK
            && f->alloc.state != BK_ALLOC_FREE
            && memcmp(f->key, want, BK_TABLE_HASH_LEN) == 0)
        {
            return BK_TABLE_OK;
        }
    }

    return bk_table_lookup_all(v, want, bucket, tag, f);
}


/*
 * Copies the worker that ref names.  BK_TABLE_MISS: the slot is free or
 * holds another worker by now.  Strings are checked to be NUL-terminated at
 * their length.
 */
static inline int
bk_table_read_worker(const bk_table_view_t *v, bk_table_ref_t ref,
    bk_table_worker_data_t *w)
{
    uint64_t                  seq;
    unsigned                  tries;
    const bk_table_worker_t  *slot;

    if (ref.index >= v->nworkers) {
        return ref.index == BK_TABLE_NONE ? BK_TABLE_MISS : BK_TABLE_BAD;
    }

    slot = &v->workers[ref.index];

    for (tries = 0; tries < BK_TABLE_TRIES; tries++) {
        seq = bk_table_load(&slot->seq);

        bk_table_copy(w, &slot->copy[seq & 1],
                      sizeof(bk_table_worker_data_t));

        if (bk_table_load(&slot->seq) != seq) {
            continue;
        }

        if (w->state == BK_WORKER_FREE || w->gen != ref.gen) {
            return BK_TABLE_MISS;
        }

        if (w->state >= BK_WORKER_STATES
            || (w->family != BK_TABLE_INET && w->family != BK_TABLE_INET6)
            || w->name_len == 0
            || w->name_len >= BK_TABLE_NAME_LEN
            || w->tls_name_len >= BK_TABLE_TLS_NAME_LEN
            || w->message_len >= BK_TABLE_MESSAGE_LEN
            || w->arch_len >= BK_TABLE_ARCH_LEN
            || w->name[w->name_len] != '\0'
            || w->tls_name[w->tls_name_len] != '\0'
            || w->message[w->message_len] != '\0'
            || w->arch[w->arch_len] != '\0')
        {
            return BK_TABLE_BAD;
        }

        /* A worker that is not running need not have an address. */

        if (w->port == 0
            && (w->state == BK_WORKER_READY || w->state == BK_WORKER_DRAINING))
        {
            return BK_TABLE_BAD;
        }

        return BK_TABLE_OK;
    }

    return BK_TABLE_BUSY;
}


/* The same for a pool. */
static inline int
bk_table_read_pool(const bk_table_view_t *v, bk_table_ref_t ref,
    bk_table_pool_data_t *p)
{
    uint64_t                seq;
    unsigned                tries;
    const bk_table_pool_t  *slot;

    if (ref.index >= v->npools) {
        return ref.index == BK_TABLE_NONE ? BK_TABLE_MISS : BK_TABLE_BAD;
    }

    slot = &v->pools[ref.index];

    for (tries = 0; tries < BK_TABLE_TRIES; tries++) {
        seq = bk_table_load(&slot->seq);

        bk_table_copy(p, &slot->copy[seq & 1], sizeof(bk_table_pool_data_t));

        if (bk_table_load(&slot->seq) != seq) {
            continue;
        }

        if (p->state == BK_POOL_FREE || p->gen != ref.gen) {
            return BK_TABLE_MISS;
        }

        if (p->state != BK_POOL_USED
            || p->name_len == 0
            || p->name_len >= BK_TABLE_POOL_LEN
            || p->name[p->name_len] != '\0')
        {
            return BK_TABLE_BAD;
        }

        return BK_TABLE_OK;
    }

    return BK_TABLE_BUSY;
}


/*
 * Copies the reason that ref names into text, which has room for
 * BK_TABLE_TEXT_LEN bytes; always NUL-terminated.
 */
static inline int
bk_table_read_text(const bk_table_view_t *v, bk_table_ref_t ref, char *text)
{
    uint64_t                gen;
    const bk_table_text_t  *slot;
    _Alignas(8) char        copy[BK_TABLE_TEXT_LEN];

    text[0] = '\0';

    if (ref.index >= v->ntexts) {
        return ref.index == BK_TABLE_NONE ? BK_TABLE_MISS : BK_TABLE_BAD;
    }

    slot = &v->texts[ref.index];

    gen = bk_table_load(&slot->gen);
    bk_table_copy(copy, slot->text, BK_TABLE_TEXT_LEN);

    if ((uint32_t) gen != ref.gen || bk_table_load(&slot->gen) != gen) {
        return BK_TABLE_MISS;
    }

    if (copy[BK_TABLE_TEXT_LEN - 1] != '\0') {
        return BK_TABLE_BAD;
    }

    memcpy(text, copy, BK_TABLE_TEXT_LEN);

    return BK_TABLE_OK;
}

#endif /* BK_TABLE_READ_H_INCLUDED */
