/*
 * FUZZ_SOURCES: plugin-host/src/table.c plugin-host/src/table_file.c
 *   plugin-host/src/table_open.c plugin-host/src/table_repair.c
 *   plugin-host/src/table_slots.c plugin-host/src/table_text.c
 *   plugin-host/src/err.c
 */

/*
 * A route table that somebody else wrote.  The first byte says how the rest
 * becomes a file: as it is, or as changes to a good table (two bytes: where,
 * in words of 8 bytes; one byte: how; eight bytes: what), which gets deeper.
 *
 * Readers look at all there is to see; then a writer takes the file over.
 * What it hands out afterwards must be in order: every entry can be found,
 * every other one can be used, and a second take-over finds nothing to mend.
 */

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bk_table_read.h"
#include "table.h"


#define FUZZ_ENTRIES  12
#define FUZZ_WORKERS  3
#define FUZZ_POOLS    3
#define FUZZ_CHANGE   11
#define FUZZ_SOME     64    /* of each array are looked at */


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_begin(void);
static void fuzz_end(void);
static uint8_t *fuzz_file(const uint8_t *data, size_t size, size_t *len);
static void fuzz_read(const uint8_t *base, size_t size);
static void fuzz_refs(const bk_table_view_t *v, const bk_table_alloc_t *a);
static void fuzz_write(const uint8_t *base, size_t size);
static bk_table_t *fuzz_open(bk_table_opened_t *opened);
static int fuzz_each(uint32_t index, const uint8_t *key,
    const uint8_t *key_hash, const bk_table_alloc_t *alloc,
    const char *reason, void *data);


static char      fuzz_dir[64];
static char      fuzz_path[80];
static uint8_t  *fuzz_good;
static size_t    fuzz_good_size;


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t    len;
    uint8_t  *base;

    if (fuzz_good == NULL) {
        fuzz_begin();
    }

    if (size == 0) {
        return 0;
    }

    base = fuzz_file(data, size, &len);

    fuzz_read(base, len);
    fuzz_write(base, len);

    free(base);

    return 0;
}


/* A good table: two pools, two workers, live and ended entries. */
static void
fuzz_begin(void)
{
    int                     fd;
    uint8_t                 key[BK_TABLE_HASH_LEN];
    bk_err_t                err;
    uint32_t                i, index;
    bk_table_t             *t;
    struct stat             st;
    bk_table_ref_t          pool, worker;
    bk_table_alloc_t        a;
    bk_table_opened_t       opened;
    bk_table_worker_data_t  w;

    snprintf(fuzz_dir, sizeof(fuzz_dir), "%s/bk-fuzz-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert(mkdtemp(fuzz_dir) != NULL);
    snprintf(fuzz_path, sizeof(fuzz_path), "%s/table", fuzz_dir);
    atexit(fuzz_end);

    t = fuzz_open(&opened);
    assert(t != NULL);

    for (i = 0; i < 2; i++) {
        pool.index = BK_TABLE_NONE;
        worker.index = BK_TABLE_NONE;
        bk_table_pool_put(t, i ? "default/a" : "default/b", i, &pool, &err);

        memset(&w, 0, sizeof(bk_table_worker_data_t));
        w.state = BK_WORKER_READY;
        w.family = BK_TABLE_INET;
        w.port = 1234;
        w.pool = pool;
        w.name[0] = (char) ('w' + i);
        w.name_len = 1;
        bk_table_worker_put(t, &w, &worker, &err);
    }

    for (i = 0; i < 8; i++) {
        memset(key, (int) i * 37 + 1, sizeof(key));
        memset(&a, 0, sizeof(bk_table_alloc_t));
        a.state = (uint8_t) (1 + i);
        a.pool = pool;
        a.worker = worker;
        bk_table_alloc_insert(t, key, i & 1 ? key : NULL, &a,
                              i > 4 ? "over and out" : NULL, &index, &err);
    }

    bk_table_live(t);
    bk_table_close(&t);

    fd = open(fuzz_path, O_RDONLY);
    assert(fd != -1 && fstat(fd, &st) == 0);
    fuzz_good_size = (size_t) st.st_size;
    fuzz_good = malloc(fuzz_good_size);
    assert(read(fd, fuzz_good, fuzz_good_size) == st.st_size);
    close(fd);
}


static void
fuzz_end(void)
{
    char  name[100];

    unlink(fuzz_path);
    snprintf(name, sizeof(name), "%s.lock", fuzz_path);
    unlink(name);
    snprintf(name, sizeof(name), "%s.new", fuzz_path);
    unlink(name);
    rmdir(fuzz_dir);
    free(fuzz_good);
}


/* Aligned as a mapping is, and not a byte longer than the file. */
static uint8_t *
fuzz_file(const uint8_t *data, size_t size, size_t *len)
{
    size_t          i, where;
    void           *base;
    uint8_t        *words;
    uint64_t        what, word;
    const uint8_t  *c;

    *len = data[0] & 1 ? fuzz_good_size : size - 1;
    assert(posix_memalign(&base, 64, *len ? *len : 1) == 0);

    if (!(data[0] & 1)) {
        memcpy(base, data + 1, size - 1);
        return base;
    }

    memcpy(base, fuzz_good, fuzz_good_size);
    words = base;

    for (i = 1; i + FUZZ_CHANGE <= size; i += FUZZ_CHANGE) {
        c = data + i;
        where = (size_t) (c[0] | c[1] << 8) % (fuzz_good_size / 8) * 8;
        memcpy(&what, c + 3, sizeof(what));
        memcpy(&word, words + where, sizeof(word));

        switch (c[2] & 3) {

        case 0:
            word = what;
            break;

        case 1:
            word ^= what;
            break;

        case 2:
            word += what;
            break;

        default:
            /* the same word as somewhere else: doubles, swaps */
            memcpy(&word, words + what % (fuzz_good_size / 8) * 8,
                   sizeof(word));
        }

        memcpy(words + where, &word, sizeof(word));
    }

    return base;
}


static void
fuzz_read(const uint8_t *base, size_t size)
{
    uint32_t                i;
    bk_table_ref_t          ref;
    bk_table_view_t         v;
    bk_table_found_t        f, g;
    bk_table_pool_data_t    p;
    bk_table_worker_data_t  w;

    if (bk_table_view_init(&v, base, size) != NULL) {
        return;
    }

    (void) bk_table_state(&v);
    (void) bk_table_revision(&v);

    for (i = 0; i < v.nentries && i < FUZZ_SOME; i++) {

        if (bk_table_read_entry(&v, i, &f) == BK_TABLE_OK) {
            assert(f.alloc.state < BK_ALLOC_STATES);
            fuzz_refs(&v, &f.alloc);
        }

        if (bk_table_lookup(&v, f.key, &g) == BK_TABLE_OK) {
            assert(memcmp(f.key, g.key, BK_TABLE_HASH_LEN) == 0);
            assert(g.index < v.nentries && g.alloc.state != BK_ALLOC_FREE);
            fuzz_refs(&v, &g.alloc);
        }
    }

    for (i = 0; i < v.nworkers && i < FUZZ_SOME; i++) {
        ref.index = i;
        ref.gen = v.workers[i].copy[v.workers[i].seq & 1].gen;
        (void) bk_table_read_worker(&v, ref, &w);
    }

    for (i = 0; i < v.npools && i < FUZZ_SOME; i++) {
        ref.index = i;
        ref.gen = v.pools[i].copy[v.pools[i].seq & 1].gen;
        (void) bk_table_read_pool(&v, ref, &p);
    }
}


static void
fuzz_refs(const bk_table_view_t *v, const bk_table_alloc_t *a)
{
    char                    text[BK_TABLE_TEXT_LEN];
    bk_table_pool_data_t    p;
    bk_table_worker_data_t  w;

    if (bk_table_read_text(v, a->text, text) == BK_TABLE_OK) {
        assert(strlen(text) < sizeof(text));
    }

    if (bk_table_read_pool(v, a->pool, &p) == BK_TABLE_OK) {
        assert(strlen(p.name) <= p.name_len && p.state == BK_POOL_USED);
    }

    if (bk_table_read_worker(v, a->worker, &w) == BK_TABLE_OK) {
        assert(strlen(w.name) <= w.name_len && w.name_len > 0
               && strlen(w.tls_name) <= w.tls_name_len
               && strlen(w.message) <= w.message_len
               && strlen(w.arch) <= w.arch_len);
        assert(w.state < BK_WORKER_STATES);
        assert(w.port != 0 || w.state != BK_WORKER_READY);
    }
}


static void
fuzz_write(const uint8_t *base, size_t size)
{
    int                 fd;
    uint8_t             key[BK_TABLE_HASH_LEN];
    bk_err_t            err;
    uint32_t            i, index, n;
    bk_table_t         *t;
    bk_table_alloc_t    a;
    bk_table_opened_t   opened;

    unlink(fuzz_path);
    fd = open(fuzz_path, O_RDWR|O_CREAT, 0640);
    assert(fd != -1 && write(fd, base, size) == (ssize_t) size);
    close(fd);

    t = fuzz_open(&opened);

    if (t == NULL) {
        return;     /* more is live in it than fits */
    }

    n = 0;
    bk_table_alloc_each(t, fuzz_each, &n);
    assert(n <= FUZZ_ENTRIES);

    memset(&a, 0, sizeof(bk_table_alloc_t));
    a.state = BK_ALLOC_FAILED;

    for (i = 0; i < 4 * FUZZ_ENTRIES && n < FUZZ_ENTRIES; i++) {
        memset(key, 0xee, sizeof(key));
        key[0] = (uint8_t) (i * 5);
        key[4] = (uint8_t) (i * 11);
        n += bk_table_alloc_insert(t, key, NULL, &a, "filled", &index, &err)
             == 0;
    }

    assert(n == FUZZ_ENTRIES);
    bk_table_close(&t);

    t = fuzz_open(&opened);
    assert(t != NULL && opened.taken_over == 1 && opened.repaired == 0);

    n = 0;
    bk_table_alloc_each(t, fuzz_each, &n);
    assert(n == FUZZ_ENTRIES);

    for (i = 0; i < FUZZ_ENTRIES; i++) {
        bk_table_alloc_remove(t, i);
    }

    bk_table_close(&t);
}


static bk_table_t *
fuzz_open(bk_table_opened_t *opened)
{
    bk_err_t         err;
    bk_table_t      *t;
    bk_table_conf_t  conf;

    memset(&conf, 0, sizeof(bk_table_conf_t));
    conf.path = fuzz_path;
    conf.allocations = FUZZ_ENTRIES;
    conf.workers = FUZZ_WORKERS;
    conf.pools = FUZZ_POOLS;

    return bk_table_open(&t, &conf, opened, &err) == 0 ? t : NULL;
}


static int
fuzz_each(uint32_t index, const uint8_t *key, const uint8_t *key_hash,
    const bk_table_alloc_t *alloc, const char *reason, void *data)
{
    (void) key;
    (void) key_hash;

    assert(index < FUZZ_ENTRIES);
    assert(alloc->state > BK_ALLOC_FREE && alloc->state < BK_ALLOC_STATES);
    assert(reason == NULL || strlen(reason) < BK_TABLE_TEXT_LEN);

    ++*(uint32_t *) data;

    return 0;
}
