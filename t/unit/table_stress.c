/*
 * Readers against a writer, in threads: ThreadSanitizer sees nothing between
 * processes (t/table_tsan.t runs this under it, and runs broken variants that
 * must fail here).
 *
 *     table_stress [OPERATIONS]
 *
 * The table is tiny, so that everything happens in the same few slots all the
 * time, and half of the keys share their buckets and their tag.  Whatever a
 * reader gets must be of one piece: every field of an entry, its reason and
 * its worker's name follow from one number that the writer used.  A key that
 * is always there must never be missed.  Prints TAP.
 */

#include <pthread.h>
#include <time.h>

#include "table_test.h"
#include "table_priv.h"


#define TT_STABLE   4       /* keys that are always there */
#define TT_KEYS     12      /* those after them come and go */
#define TT_READERS  2
#define TT_PATIENCE 60      /* s, until all of them have had a processor */

/*
 * Entries that just sit there, each with a reason of its own: few texts are
 * left, which are used again at once.
 */
#define TT_SITTING  1010


typedef struct {
    uint64_t  ok;
    uint64_t  miss;
    uint64_t  busy;
    uint64_t  texts;
    uint64_t  workers;
    uint64_t  bad;
    char      why[200];
} tt_seen_t;


static void *tt_reader(void *data);
static void tt_wrong(tt_seen_t *seen, const char *what, uint64_t n,
    const bk_table_found_t *f);
static void tt_entry(tt_seen_t *seen, uint32_t n, const bk_table_found_t *f);
static void tt_writer(uint64_t operations);
static void tt_put(uint32_t n, uint64_t stamp);
static void tt_take(uint32_t n);
static const uint8_t *tt_near(uint32_t n, uint8_t *key);
static bk_table_alloc_t tt_piece(uint32_t n, uint64_t stamp);
static void tt_worker_next(void);


static bk_table_t      *tt_table;
static int              tt_stop;
static int              tt_saw;                 /* readers that saw all */
static uint32_t         tt_index[TT_KEYS];      /* of the writer alone */
static bk_table_ref_t   tt_worker_ref;
static uint64_t         tt_worker_n;


int
main(int argc, char **argv)
{
    int          i;
    char         text[32];
    bk_err_t     err;
    uint64_t     operations;
    uint32_t     n;
    pthread_t    thread[TT_READERS];
    tt_seen_t    seen[TT_READERS];

    operations = argc > 1 ? strtoull(argv[1], NULL, 10) : 300000;

    tt_begin();
    tt_table = tt_new(TT_SITTING + TT_KEYS, 2, 1);
    tt_worker_ref.index = BK_TABLE_NONE;
    tt_worker_next();

    for (n = 0; n < TT_SITTING; n++) {
        snprintf(text, sizeof(text), "sits at %u", n);

        if (tt_insert(tt_table, 1000 + n, BK_ALLOC_FAILED, text, &err) != n) {
            printf("Bail out! insert: %s\n", err.text);
            return 1;
        }
    }

    for (n = 0; n < TT_KEYS; n++) {
        tt_index[n] = BK_TABLE_NONE;
    }

    for (n = 0; n < TT_STABLE; n++) {
        tt_put(n, 1);
    }

    bk_table_live(tt_table);
    memset(seen, 0, sizeof(seen));

    for (i = 0; i < TT_READERS; i++) {
        if (pthread_create(&thread[i], NULL, tt_reader, &seen[i]) != 0) {
            printf("Bail out! pthread_create\n");
            return 1;
        }
    }

    tt_writer(operations);
    __atomic_store_n(&tt_stop, 1, __ATOMIC_RELEASE);

    for (i = 0; i < TT_READERS; i++) {
        pthread_join(thread[i], NULL);
        note("reader %d: found %llu, missed %llu, busy %llu, texts %llu, "
             "workers %llu", i, (unsigned long long) seen[i].ok,
             (unsigned long long) seen[i].miss,
             (unsigned long long) seen[i].busy,
             (unsigned long long) seen[i].texts,
             (unsigned long long) seen[i].workers);

        ok(seen[i].bad == 0, "reader %d saw nothing wrong %s", i,
           seen[i].why);
        ok(seen[i].ok > 0 && seen[i].miss > 0 && seen[i].texts > 0
           && seen[i].workers > 0, "reader %d saw all there is", i);
    }

    bk_table_close(&tt_table);

    return tt_end();
}


static void *
tt_reader(void *data)
{
    int               rc, all = 0;
    uint8_t           key[BK_TABLE_HASH_LEN];
    uint32_t          n;
    uint64_t          i;
    tt_seen_t        *seen = data;
    bk_table_view_t  *v = &tt_table->view;
    bk_table_found_t  f;

    for (i = 0; !__atomic_load_n(&tt_stop, __ATOMIC_ACQUIRE); i++) {
        n = (uint32_t) (tt_mix(i) % TT_KEYS);
        rc = bk_table_lookup(v, tt_near(n, key), &f);

        switch (rc) {

        case BK_TABLE_OK:
            seen->ok++;

            if (memcmp(f.key, key, BK_TABLE_HASH_LEN) != 0) {
                tt_wrong(seen, "another key", n, &f);
                break;
            }

            tt_entry(seen, n, &f);
            break;

        case BK_TABLE_BUSY:
            seen->busy++;
            break;

        case BK_TABLE_MISS:
            seen->miss++;

            if (n < TT_STABLE) {
                tt_wrong(seen, "missed one that is there", n, &f);
            }

            break;

        default:
            tt_wrong(seen, "corrupt", n, &f);
        }

        /* and as those do who keep an index: what is there now? */

        rc = bk_table_read_entry(v, TT_SITTING + (uint32_t) (i % TT_KEYS),
                                 &f);

        if (rc == BK_TABLE_OK && f.alloc.state != BK_ALLOC_FREE) {

            for (n = 0; n < TT_KEYS; n++) {
                if (memcmp(f.key, tt_near(n, key), BK_TABLE_HASH_LEN) == 0) {
                    break;
                }
            }

            if (n == TT_KEYS) {
                tt_wrong(seen, "half a key", n, &f);

            } else {
                tt_entry(seen, n, &f);
            }

        } else if (rc == BK_TABLE_BAD) {
            tt_wrong(seen, "corrupt entry", i, &f);
        }

        if (!all && seen->ok > 0 && seen->miss > 0 && seen->texts > 0
            && seen->workers > 0)
        {
            all = 1;
            __atomic_add_fetch(&tt_saw, 1, __ATOMIC_RELAXED);
        }
    }

    return NULL;
}


/* Everything must follow from the key's number and one stamp. */
static void
tt_entry(tt_seen_t *seen, uint32_t n, const bk_table_found_t *f)
{
    int                      rc;
    char                     text[BK_TABLE_TEXT_LEN], want[64];
    uint64_t                 stamp;
    bk_table_alloc_t         a;
    bk_table_worker_data_t   w;

    stamp = f->alloc.expires_ms >> 8;
    a = tt_piece(n, stamp);

    if (f->alloc.expires_ms != a.expires_ms
        || f->alloc.changed_ms != a.changed_ms
        || f->alloc.pool.index != a.pool.index
        || f->alloc.pool.gen != a.pool.gen
        || f->alloc.state != a.state
        || f->alloc.flags != BK_ALLOC_KEY_BOUND)
    {
        tt_wrong(seen, "a mixed entry", n, f);
    }

    if (f->key_hash[0] != (uint8_t) n || f->key_hash[31] != (uint8_t) n) {
        tt_wrong(seen, "another's key binding", n, f);
    }

    rc = bk_table_read_text(&tt_table->view, f->alloc.text, text);
    snprintf(want, sizeof(want), "reason %llu of many, and on it goes",
             (unsigned long long) (stamp % 3000));

    if (rc == BK_TABLE_OK) {
        seen->texts++;

        if (strcmp(text, want) != 0) {
            tt_wrong(seen, "another's reason", n, f);
        }

    } else if (rc == BK_TABLE_BAD) {
        tt_wrong(seen, "a corrupt reason", n, f);
    }

    rc = bk_table_read_worker(&tt_table->view, f->alloc.worker, &w);

    if (rc == BK_TABLE_OK) {
        seen->workers++;
        snprintf(want, sizeof(want), "w%u", f->alloc.worker.gen);

        if (w.port != (uint16_t) (f->alloc.worker.gen % 60000 + 1)
            || strcmp(w.name, want) != 0
            || strncmp(w.tls_name, want, w.name_len) != 0)
        {
            tt_wrong(seen, "another worker", n, f);
        }

    } else if (rc == BK_TABLE_BAD) {
        tt_wrong(seen, "a corrupt worker", n, f);
    }
}


static void
tt_wrong(tt_seen_t *seen, const char *what, uint64_t n,
    const bk_table_found_t *f)
{
    __atomic_store_n(&tt_stop, 1, __ATOMIC_RELEASE);

    if (seen->bad++ == 0) {
        snprintf(seen->why, sizeof(seen->why), "(%s: %llu, state %u, "
                 "expires %llx, changed %llx)", what, (unsigned long long) n,
                 f->alloc.state, (unsigned long long) f->alloc.expires_ms,
                 (unsigned long long) f->alloc.changed_ms);
    }
}


static void
tt_writer(uint64_t operations)
{
    time_t    end;
    uint32_t  n;
    uint64_t  i;

    end = time(NULL) + TT_PATIENCE;

    /* a reader that saw something wrong ends it */

    for (i = 2; !__atomic_load_n(&tt_stop, __ATOMIC_ACQUIRE); i++) {
        if (i >= operations
            && (__atomic_load_n(&tt_saw, __ATOMIC_RELAXED) == TT_READERS
                || time(NULL) >= end))
        {
            break;
        }

        n = (uint32_t) (tt_mix(i + (UINT64_C(1) << 50)) % TT_KEYS);

        if (n < TT_STABLE || tt_index[n] == BK_TABLE_NONE || i & 1) {
            tt_put(n, i);

        } else {
            tt_take(n);
        }

        if (i % 16 == 0) {
            tt_worker_next();
        }
    }
}


/* Inserts or updates. */
static void
tt_put(uint32_t n, uint64_t stamp)
{
    char              reason[64];
    uint8_t           key[BK_TABLE_HASH_LEN], key_hash[BK_TABLE_HASH_LEN];
    bk_err_t          err;
    bk_table_alloc_t  a;

    a = tt_piece(n, stamp);
    a.worker = tt_worker_ref;
    snprintf(reason, sizeof(reason), "reason %llu of many, and on it goes",
             (unsigned long long) (stamp % 3000));

    if (tt_index[n] != BK_TABLE_NONE) {
        bk_table_alloc_update(tt_table, tt_index[n], &a, reason);
        return;
    }

    memset(key_hash, (int) n, sizeof(key_hash));

    if (bk_table_alloc_insert(tt_table, tt_near(n, key), key_hash, &a, reason,
                              &tt_index[n], &err) != 0)
    {
        printf("Bail out! insert: %s\n", err.text);
        exit(1);
    }
}


static void
tt_take(uint32_t n)
{
    bk_table_alloc_remove(tt_table, tt_index[n]);
    tt_index[n] = BK_TABLE_NONE;
}


/* Even ones differ in their last bytes only: same buckets, same tag. */
static const uint8_t *
tt_near(uint32_t n, uint8_t *key)
{
    uint64_t  word;
    unsigned  i;

    for (i = 0; i < 4; i++) {
        word = tt_mix(n & 1 ? n * 4 + i : i);
        memcpy(key + i * 8, &word, 8);
    }

    key[31] = (uint8_t) n;

    return key;
}


static bk_table_alloc_t
tt_piece(uint32_t n, uint64_t stamp)
{
    bk_table_alloc_t  a;

    memset(&a, 0, sizeof(bk_table_alloc_t));

    a.expires_ms = stamp << 8 | n;
    a.changed_ms = tt_mix(a.expires_ms);
    a.pool.index = (uint32_t) (a.changed_ms >> 7) & 0xffff;
    a.pool.gen = (uint32_t) a.changed_ms;
    a.state = (uint8_t) (1 + a.changed_ms % (BK_ALLOC_STATES - 1));

    return a;
}


/* Another worker in the same slot; its port follows from its generation. */
static void
tt_worker_next(void)
{
    char                     name[32];
    bk_err_t                 err;
    uint32_t                 gen;
    bk_table_worker_data_t   w;

    if (tt_worker_ref.index != BK_TABLE_NONE) {
        bk_table_worker_delete(tt_table, tt_worker_ref);
    }

    gen = tt_worker_n == 0 ? tt_table->gen_base : tt_worker_ref.gen + 1;
    tt_worker_n++;

    snprintf(name, sizeof(name), "w%u", gen);
    tt_worker(&w, name, BK_WORKER_READY, (int) (gen % 60000) + 1);
    tt_worker_ref.index = BK_TABLE_NONE;

    if (bk_table_worker_put(tt_table, &w, &tt_worker_ref, &err) != 0
        || tt_worker_ref.gen != gen)
    {
        printf("Bail out! worker: %s\n", err.text);
        exit(1);
    }
}
