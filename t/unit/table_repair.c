/*
 * A table with one thing broken in each way there is, then taken over: what
 * cannot be believed is gone, everything else is as it was, and every slot
 * can be used again.  Prints TAP.
 */

#include "table_test.h"


#define TT_ENTRIES  50
#define TT_USED     30


/* Breaks something of a closed table that is mapped read-write. */
typedef void (*tt_break_pt)(uint8_t *base, const bk_table_view_t *v);

typedef struct {
    const char   *what;
    tt_break_pt   damage;
    int           lost;     /* the key that is gone afterwards, or -1 */
    int           noreason; /* the key that has no reason any more, or -1 */
} tt_case_t;


static void tt_run(const tt_case_t *c);
static bk_table_entry_t *tt_entry(uint8_t *base, const bk_table_view_t *v,
    uint64_t n);
static uint64_t *tt_word(uint8_t *base, const bk_table_view_t *v,
    uint64_t n);
static uint64_t *tt_empty(uint8_t *base, const bk_table_view_t *v,
    uint32_t bucket);
static uint64_t *tt_elsewhere(uint8_t *base, const bk_table_view_t *v,
    uint64_t n);
static bk_table_alloc_t *tt_current(uint8_t *base, const bk_table_view_t *v,
    uint64_t n);

static void tt_orphan(uint8_t *base, const bk_table_view_t *v);
static void tt_free_with_word(uint8_t *base, const bk_table_view_t *v);
static void tt_word_range(uint8_t *base, const bk_table_view_t *v);
static void tt_word_tag(uint8_t *base, const bk_table_view_t *v);
static void tt_word_bucket(uint8_t *base, const bk_table_view_t *v);
static void tt_word_twice(uint8_t *base, const bk_table_view_t *v);
static void tt_word_tag_only(uint8_t *base, const bk_table_view_t *v);
static void tt_key_twice(uint8_t *base, const bk_table_view_t *v);
static void tt_state_bad(uint8_t *base, const bk_table_view_t *v);
static void tt_flags_bad(uint8_t *base, const bk_table_view_t *v);
static void tt_text_range(uint8_t *base, const bk_table_view_t *v);
static void tt_text_gen(uint8_t *base, const bk_table_view_t *v);
static void tt_text_half(uint8_t *base, const bk_table_view_t *v);
static void tt_text_open(uint8_t *base, const bk_table_view_t *v);
static void tt_pool_range(uint8_t *base, const bk_table_view_t *v);
static void tt_worker_range(uint8_t *base, const bk_table_view_t *v);
static void tt_worker_bad(uint8_t *base, const bk_table_view_t *v);
static void tt_pool_bad(uint8_t *base, const bk_table_view_t *v);


static const tt_case_t  tt_cases[] = {
    { "an entry without an index word", tt_orphan, 3, -1 },
    { "an index word of a free entry", tt_free_with_word, 3, -1 },
    { "an index word out of range", tt_word_range, -1, -1 },
    { "an index word with another tag", tt_word_tag, 3, -1 },
    { "an index word in the wrong bucket", tt_word_bucket, 3, -1 },
    { "two index words of one entry", tt_word_twice, -1, -1 },
    { "an index word without an entry", tt_word_tag_only, -1, -1 },
    { "two entries with one key", tt_key_twice, 4, -1 },
    { "a state that is none", tt_state_bad, 3, -1 },
    { "flags that are none", tt_flags_bad, 3, -1 },
    { "a text out of range", tt_text_range, -1, 25 },
    { "a text of another generation", tt_text_gen, -1, 25 },
    { "a text half written", tt_text_half, -1, 25 },
    { "a text without an end", tt_text_open, -1, 25 },
    { "a pool out of range", tt_pool_range, -1, -1 },
    { "a worker out of range", tt_worker_range, -1, -1 },
    { "a worker that makes no sense", tt_worker_bad, -1, -1 },
    { "a pool that makes no sense", tt_pool_bad, -1, -1 },
};


int
main(void)
{
    size_t  i;

    tt_begin();

    for (i = 0; i < sizeof(tt_cases) / sizeof(tt_cases[0]); i++) {
        tt_run(&tt_cases[i]);
        tt_remove();
    }

    return tt_end();
}


static void
tt_run(const tt_case_t *c)
{
    int                     fd, i, state;
    char                    text[32];
    uint8_t                *base;
    bk_err_t                err;
    uint32_t                used;
    bk_table_t             *t;
    bk_table_ref_t          pool, w;
    bk_table_view_t         v;
    bk_table_stats_t        s;
    bk_table_alloc_t        a;
    bk_table_opened_t       opened;
    bk_table_worker_data_t  data;

    t = tt_new(TT_ENTRIES, 2, 2);
    pool.index = BK_TABLE_NONE;
    w.index = BK_TABLE_NONE;
    bk_table_pool_put(t, "default/p", 0, &pool, &err);
    tt_worker(&data, "w", BK_WORKER_READY, 1);
    data.pool = pool;
    bk_table_worker_put(t, &data, &w, &err);

    for (i = 0; i < TT_USED; i++) {
        a = tt_alloc(i < 20 ? BK_ALLOC_READY : BK_ALLOC_FAILED, (uint64_t) i);
        a.pool = pool;
        a.worker = w;
        snprintf(text, sizeof(text), "reason %d", i);
        bk_table_alloc_insert(t, tt_key((uint64_t) i), NULL, &a,
                              i < 20 ? NULL : text, &used, &err);
    }

    bk_table_live(t);
    bk_table_close(&t);

    (void) tt_map(&v);
    fd = open(tt_path, O_RDWR);
    base = mmap(NULL, v.size, PROT_READ|PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    c->damage(base, &v);
    munmap(base, v.size);

    if (!ok(tt_open(&t, TT_ENTRIES, 2, 2, &opened, &err) == 0
            && opened.taken_over == 1 && opened.repaired >= 1,
            "%s: %u repaired", c->what, opened.repaired))
    {
        tt_unmap(&v);
        return;
    }

    for (i = 0; i < TT_USED; i++) {
        state = tt_state(&v, (uint64_t) i);
        snprintf(text, sizeof(text), "reason %d", i);

        if (i == c->lost
            ? state != BK_TABLE_MISS
            : state != (i < 20 ? BK_ALLOC_READY : BK_ALLOC_FAILED)
              || strcmp(tt_reason(&v, (uint64_t) i),
                        i < 20 || i == c->noreason ? "" : text) != 0)
        {
            break;
        }
    }

    ok(i == TT_USED, "%s: all others are as they were", c->what);

    /* every entry can be had once, none twice */

    used = TT_USED - (c->lost != -1);

    for (i = 0; tt_insert(t, 1000 + (uint64_t) i, BK_ALLOC_FAILED, "reason 20",
                          &err) != BK_TABLE_NONE; i++)
    {
        /* void */
    }

    bk_table_stats(t, &s);
    ok((uint32_t) i == TT_ENTRIES - used && s.entries_used == TT_ENTRIES
       && s.texts_used == (c->noreason == -1 ? 10u : 9u),
       "%s: every slot can be used again", c->what);
    bk_table_close(&t);

    ok(tt_open(&t, TT_ENTRIES, 2, 2, &opened, &err) == 0
       && opened.repaired == 0, "%s: repaired once and for all", c->what);
    bk_table_close(&t);
    tt_unmap(&v);
}


static void
tt_orphan(uint8_t *base, const bk_table_view_t *v)
{
    *tt_word(base, v, 3) = 0;
}


static void
tt_free_with_word(uint8_t *base, const bk_table_view_t *v)
{
    tt_current(base, v, 3)->state = BK_ALLOC_FREE;
}


static void
tt_word_range(uint8_t *base, const bk_table_view_t *v)
{
    *tt_elsewhere(base, v, 3) = UINT64_C(1) << 32 | (TT_ENTRIES + 1);
}


static void
tt_word_tag(uint8_t *base, const bk_table_view_t *v)
{
    *tt_word(base, v, 3) ^= UINT64_C(1) << 40;
}


static void
tt_word_bucket(uint8_t *base, const bk_table_view_t *v)
{
    uint64_t  *word = tt_word(base, v, 3);

    *tt_elsewhere(base, v, 3) = *word;
    *word = 0;
}


static void
tt_word_twice(uint8_t *base, const bk_table_view_t *v)
{
    uint32_t  bucket[2], tag;

    bk_table_place(tt_key(3), v->nbuckets, bucket, &tag);
    *tt_empty(base, v, bucket[0]) = *tt_word(base, v, 3);
}


static void
tt_word_tag_only(uint8_t *base, const bk_table_view_t *v)
{
    *tt_elsewhere(base, v, 3) = UINT64_C(77) << 32;
}


/* Entry 4 becomes another one with key 3; readers find one of them. */
static void
tt_key_twice(uint8_t *base, const bk_table_view_t *v)
{
    uint32_t           bucket[2], tag;
    uint64_t          *free_word, *word;
    bk_table_entry_t  *e;

    word = tt_word(base, v, 4);
    e = tt_entry(base, v, 4);
    bk_table_place(tt_key(3), v->nbuckets, bucket, &tag);
    free_word = tt_empty(base, v, bucket[1]);

    *free_word = (uint64_t) tag << 32 | (uint32_t) *word;
    *word = 0;
    memcpy(e->key, tt_key(3), BK_TABLE_HASH_LEN);
}


static void
tt_state_bad(uint8_t *base, const bk_table_view_t *v)
{
    tt_current(base, v, 3)->state = BK_ALLOC_STATES;
}


static void
tt_flags_bad(uint8_t *base, const bk_table_view_t *v)
{
    tt_current(base, v, 3)->flags = 0x80;
}


static void
tt_text_range(uint8_t *base, const bk_table_view_t *v)
{
    tt_current(base, v, 25)->text.index = v->ntexts;
}


static void
tt_text_gen(uint8_t *base, const bk_table_view_t *v)
{
    tt_current(base, v, 25)->text.gen += 2;
}


static void
tt_text_half(uint8_t *base, const bk_table_view_t *v)
{
    bk_table_text_t  *x;

    x = (bk_table_text_t *) (base + v->header->texts_offset);
    x += tt_current(base, v, 25)->text.index;
    x->gen--;
    tt_current(base, v, 25)->text.gen--;
}


static void
tt_text_open(uint8_t *base, const bk_table_view_t *v)
{
    bk_table_text_t  *x;

    x = (bk_table_text_t *) (base + v->header->texts_offset);
    x += tt_current(base, v, 25)->text.index;
    memset(x->text, 'z', BK_TABLE_TEXT_LEN);
}


static void
tt_pool_range(uint8_t *base, const bk_table_view_t *v)
{
    tt_current(base, v, 3)->pool.index = v->npools;
}


static void
tt_worker_range(uint8_t *base, const bk_table_view_t *v)
{
    tt_current(base, v, 3)->worker.index = 0x7fffffff;
}


static void
tt_worker_bad(uint8_t *base, const bk_table_view_t *v)
{
    bk_table_worker_t  *w;

    w = (bk_table_worker_t *) (base + v->header->workers_offset);
    w->copy[w->seq & 1].name_len = 60000;
}


static void
tt_pool_bad(uint8_t *base, const bk_table_view_t *v)
{
    bk_table_pool_t  *p;

    p = (bk_table_pool_t *) (base + v->header->pools_offset);
    p->copy[p->seq & 1].state = 99;
}


static bk_table_entry_t *
tt_entry(uint8_t *base, const bk_table_view_t *v, uint64_t n)
{
    bk_table_found_t   f;
    bk_table_entry_t  *e;

    if (bk_table_lookup(v, tt_key(n), &f) != BK_TABLE_OK) {
        abort();
    }

    e = (bk_table_entry_t *) (base + v->header->entries_offset);

    return e + f.index;
}


static bk_table_alloc_t *
tt_current(uint8_t *base, const bk_table_view_t *v, uint64_t n)
{
    bk_table_entry_t  *e = tt_entry(base, v, n);

    return &e->copy[e->seq & 1];
}


static uint64_t *
tt_word(uint8_t *base, const bk_table_view_t *v, uint64_t n)
{
    uint32_t           b, i;
    uint64_t           index;
    bk_table_bucket_t *bucket;

    index = (uint64_t) (tt_entry(base, v, n)
                        - (bk_table_entry_t *) (base
                                                + v->header->entries_offset));
    bucket = (bk_table_bucket_t *) (base + v->header->buckets_offset);

    for (b = 0; b < v->nbuckets; b++) {
        for (i = 0; i < BK_TABLE_BUCKET_SLOTS; i++) {
            if ((uint32_t) bucket[b].slot[i] == index + 1) {
                return &bucket[b].slot[i];
            }
        }
    }

    abort();
}


static uint64_t *
tt_empty(uint8_t *base, const bk_table_view_t *v, uint32_t bucket)
{
    uint32_t            i;
    bk_table_bucket_t  *b;

    b = (bk_table_bucket_t *) (base + v->header->buckets_offset) + bucket;

    for (i = 0; i < BK_TABLE_BUCKET_SLOTS; i++) {
        if (b->slot[i] == 0) {
            return &b->slot[i];
        }
    }

    abort();
}


/* An empty word in a bucket that is none of key n's. */
static uint64_t *
tt_elsewhere(uint8_t *base, const bk_table_view_t *v, uint64_t n)
{
    uint32_t  b, bucket[2], tag;

    bk_table_place(tt_key(n), v->nbuckets, bucket, &tag);

    for (b = 0; b == bucket[0] || b == bucket[1]; b++) {
        /* void */
    }

    return tt_empty(base, v, b);
}
