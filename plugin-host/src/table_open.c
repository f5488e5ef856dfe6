/*
 * Opening the route table for writing: geometry, take-over or a new file, the
 * order in which readers get to know.  Called by model.c at start, before the
 * loop runs; everything here may block on the file system for a moment.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bk_err.h"
#include "table_priv.h"


static int bk_table_remember(bk_table_t *t, const char *path,
    bk_err_t *err);
static int bk_table_layout(const bk_table_conf_t *conf, bk_table_layout_t *l,
    bk_err_t *err);
static int bk_table_same(const bk_table_old_t *old,
    const bk_table_layout_t *l);
static int bk_table_take_over(bk_table_t *t, bk_table_old_t *old,
    const bk_table_conf_t *conf, bk_table_opened_t *opened, bk_err_t *err);
static int bk_table_replace(bk_table_t *t, bk_table_old_t *old,
    const bk_table_layout_t *l, const bk_table_conf_t *conf,
    bk_table_opened_t *opened, bk_err_t *err);
static void bk_table_header_fill(uint8_t *base, const bk_table_layout_t *l);
static void bk_table_sign(bk_table_t *t);
static uint64_t bk_table_now(void);
static void bk_table_free_new(bk_table_free_t *f, uint32_t n);


int
bk_table_open(bk_table_t **tp, const bk_table_conf_t *conf,
    bk_table_opened_t *opened, bk_err_t *err)
{
    int                 rc;
    bk_table_t         *t;
    bk_table_old_t      old;
    bk_table_layout_t   l;

    *tp = NULL;
    memset(opened, 0, sizeof(bk_table_opened_t));
    memset(&old, 0, sizeof(bk_table_old_t));
    old.fd = -1;

    if (bk_table_layout(conf, &l, err) != 0) {
        return -1;
    }

    t = bk_table_calloc(1, sizeof(bk_table_t));
    t->lock_fd = -1;

    /*
     * Generations in a new file begin where those of an earlier one hardly
     * are: a reference from before a replacement must not fit by chance.
     */

    t->gen_base = (uint32_t) (bk_table_now() | 1);

    if (bk_table_lock(t, conf->path, err) != 0) {
        goto failed;
    }

    if (bk_table_sweep(conf->path, err) != 0) {
        goto failed;
    }

    if (bk_table_old_open(&old, conf->path, err) != 0) {
        goto failed;
    }

    if (old.exists && old.bad == NULL && bk_table_same(&old, &l)) {
        rc = bk_table_take_over(t, &old, conf, opened, err);

    } else {
        rc = bk_table_replace(t, &old, &l, conf, opened, err);
    }

    if (rc != 0 || bk_table_remember(t, conf->path, err) != 0) {
        goto failed;
    }

    bk_table_old_close(&old);
    *tp = t;

    return 0;

failed:

    bk_table_old_close(&old);
    bk_table_close(&t);

    return -1;
}


void
bk_table_close(bk_table_t **tp)
{
    bk_table_t  *t = *tp;

    if (t == NULL) {
        return;
    }

    bk_table_detach(t);

    if (t->lock_fd != -1) {
        close(t->lock_fd);
    }

    free(t->path);
    free(t);
    *tp = NULL;
}


static int
bk_table_remember(bk_table_t *t, const char *path, bk_err_t *err)
{
    struct stat  st;

    if (stat(path, &st) == -1) {
        return bk_err_set(err, 500, "TablePath", "cannot look at %s: %s",
                          path, strerror(errno));
    }

    t->dev = st.st_dev;
    t->ino = st.st_ino;
    t->path = strdup(path);

    if (t->path == NULL) {
        abort();
    }

    return 0;
}


int
bk_table_lost(const bk_table_t *t)
{
    struct stat  st;

    return stat(t->path, &st) == -1
           || st.st_dev != t->dev || st.st_ino != t->ino;
}


/* Arrays follow each other, each at a cache line; whole pages in the end. */
static int
bk_table_layout(const bk_table_conf_t *conf, bk_table_layout_t *l,
    bk_err_t *err)
{
    uint64_t  at;

    if (conf->allocations == 0 || conf->allocations > BK_TABLE_MAX_ENTRIES
        || conf->workers == 0 || conf->workers > BK_TABLE_MAX_WORKERS
        || conf->pools == 0 || conf->pools > BK_TABLE_MAX_POOLS)
    {
        return bk_err_set(err, 400, "TableGeometry",
                          "a route table has 1 to %u allocations, %u workers "
                          "and %u pools", BK_TABLE_MAX_ENTRIES,
                          BK_TABLE_MAX_WORKERS, BK_TABLE_MAX_POOLS);
    }

    memset(l, 0, sizeof(bk_table_layout_t));

    /*
     * Three entries for a bucket of eight: with two buckets to choose from,
     * both are full once in about 10^23 inserts (t/unit/table_fill.c), so
     * that "no entry is free" is the only way to be full.
     */

    l->nentries = conf->allocations;
    l->nbuckets = (conf->allocations + 2) / 3;
    l->nworkers = conf->workers;
    l->npools = conf->pools;
    l->ntexts = conf->allocations / 16;

    if (l->nbuckets < 2) {
        l->nbuckets = 2;
    }

    if (l->ntexts < 1024) {
        l->ntexts = 1024;
    }

    at = BK_TABLE_HEADER_SIZE;

    l->buckets_offset = at;
    at += (uint64_t) l->nbuckets * sizeof(bk_table_bucket_t);

    l->entries_offset = at;
    at += (uint64_t) l->nentries * sizeof(bk_table_entry_t);

    l->workers_offset = at;
    at += (uint64_t) l->nworkers * sizeof(bk_table_worker_t);
    at = (at + 63) & ~UINT64_C(63);

    l->pools_offset = at;
    at += (uint64_t) l->npools * sizeof(bk_table_pool_t);

    l->texts_offset = at;
    at += (uint64_t) l->ntexts * sizeof(bk_table_text_t);

    l->total_size = (at + 4095) & ~UINT64_C(4095);

    return 0;
}


static int
bk_table_same(const bk_table_old_t *old, const bk_table_layout_t *l)
{
    const bk_table_header_t  *h = old->view.header;

    return h->total_size == l->total_size
           && h->nbuckets == l->nbuckets
           && h->nentries == l->nentries
           && h->nworkers == l->nworkers
           && h->npools == l->npools
           && h->ntexts == l->ntexts
           && h->buckets_offset == l->buckets_offset
           && h->entries_offset == l->entries_offset
           && h->workers_offset == l->workers_offset
           && h->pools_offset == l->pools_offset
           && h->texts_offset == l->texts_offset;
}


static int
bk_table_take_over(bk_table_t *t, bk_table_old_t *old,
    const bk_table_conf_t *conf, bk_table_opened_t *opened, bk_err_t *err)
{
    if (bk_table_access(old->fd, conf, err) != 0) {
        return -1;
    }

    bk_table_attach(t, old->base, old->size);
    old->base = NULL;

    opened->taken_over = 1;
    opened->repaired = bk_table_repair(t);

    bk_table_bump(&t->header->generation);
    bk_table_sign(t);

    /* a table that its writer had not finished is not finished now */

    if (bk_table_state(&t->view) == BK_TABLE_RETIRED) {
        bk_table_live(t);
    }

    /* the dead writer may have changed something and not said so */

    bk_table_bump(&t->header->additions);
    bk_table_bump(&t->header->revision);

    return 0;
}


/*
 * A new file, with what a good old one of another geometry held.  Readers get
 * to see it when it is complete; until then the old one serves.
 */
static int
bk_table_replace(bk_table_t *t, bk_table_old_t *old,
    const bk_table_layout_t *l, const bk_table_conf_t *conf,
    bk_table_opened_t *opened, bk_err_t *err)
{
    uint8_t            *base;
    bk_table_header_t  *h;

    if (bk_table_create(conf, l->total_size, &base, err) != 0) {
        return -1;
    }

    bk_table_header_fill(base, l);
    bk_table_attach(t, base, l->total_size);
    (void) bk_table_repair(t);

    h = t->header;

    if (old->exists && old->bad == NULL) {

        if (bk_table_migrate(t, &old->view, &opened->repaired, err) != 0) {
            bk_table_discard(conf->path);
            return -1;
        }

        opened->taken_over = 2;

        bk_table_store(&h->generation, old->view.header->generation + 1);
        bk_table_store(&h->additions, old->view.header->additions + 1);
        bk_table_store(&h->revision, old->view.header->revision + 1);

        if (bk_table_state(&old->view) != BK_TABLE_BUILDING) {
            bk_table_live(t);
        }

    } else {
        opened->replaced = old->bad;
        bk_table_store(&h->generation, 1);
    }

    bk_table_sign(t);

    return bk_table_publish(conf->path, old, err);
}


void
bk_table_attach(bk_table_t *t, uint8_t *base, uint64_t size)
{
    t->base = base;
    t->size = size;

    if (bk_table_view_init(&t->view, base, size) != NULL) {
        /* checked, or made by ourselves, a moment ago */
        abort();
    }

    t->header = (void *) base;
    t->buckets = (void *) (base + t->header->buckets_offset);
    t->entries = (void *) (base + t->header->entries_offset);
    t->workers = (void *) (base + t->header->workers_offset);
    t->pools = (void *) (base + t->header->pools_offset);

    bk_table_free_new(&t->free_entries, t->view.nentries);
    bk_table_free_new(&t->free_workers, t->view.nworkers);
    bk_table_free_new(&t->free_pools, t->view.npools);
    bk_table_texts_new(t);
}


void
bk_table_detach(bk_table_t *t)
{
    if (t->base == NULL) {
        return;
    }

    bk_table_texts_free(t);
    free(t->free_entries.index);
    free(t->free_workers.index);
    free(t->free_pools.index);

    munmap(t->base, t->size);
    t->base = NULL;
}


static void
bk_table_header_fill(uint8_t *base, const bk_table_layout_t *l)
{
    bk_table_header_t  h;

    memset(&h, 0, sizeof(bk_table_header_t));

    memcpy(h.magic, BK_TABLE_MAGIC, BK_TABLE_MAGIC_LEN);
    h.header_size = BK_TABLE_HEADER_SIZE;
    h.endian = BK_TABLE_ENDIAN;
    h.total_size = l->total_size;

    h.bucket_size = sizeof(bk_table_bucket_t);
    h.entry_size = sizeof(bk_table_entry_t);
    h.worker_size = sizeof(bk_table_worker_t);
    h.pool_size = sizeof(bk_table_pool_t);
    h.text_size = sizeof(bk_table_text_t);

    h.nbuckets = l->nbuckets;
    h.nentries = l->nentries;
    h.nworkers = l->nworkers;
    h.npools = l->npools;
    h.ntexts = l->ntexts;

    h.buckets_offset = l->buckets_offset;
    h.entries_offset = l->entries_offset;
    h.workers_offset = l->workers_offset;
    h.pools_offset = l->pools_offset;
    h.texts_offset = l->texts_offset;

    h.state = BK_TABLE_BUILDING;

    bk_table_store_words(base, &h, sizeof(bk_table_header_t));
}


/* Who writes, since when. */
static void
bk_table_sign(bk_table_t *t)
{
    uint64_t  now = bk_table_now();

    bk_table_store(&t->header->writer_pid, (uint64_t) getpid());
    bk_table_store(&t->header->writer_start_ms, now);
    bk_table_store(&t->header->heartbeat_ms, now);
}


static uint64_t
bk_table_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_REALTIME, &ts);

    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}


static void
bk_table_free_new(bk_table_free_t *f, uint32_t n)
{
    f->index = bk_table_calloc(n, sizeof(uint32_t));
    f->n = 0;
}
