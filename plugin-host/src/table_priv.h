/*
 * Inside of the route table's writer: shared by table*.c, by nobody else.
 *
 * Every store to the mapping goes through bk_table_store(): one aligned
 * 64-bit word, release order.  A reader that sees such a word has seen all
 * that was stored before it, on every machine; and a writer that is killed
 * between two stores leaves one of the states that doc/table.md lists.
 */

#ifndef BK_TABLE_PRIV_H_INCLUDED
#define BK_TABLE_PRIV_H_INCLUDED

#include <stdlib.h>

#include <sys/types.h>

#include "bk_table_read.h"
#include "table.h"


/* What goes where in a file of a given geometry. */
typedef struct {
    uint32_t  nbuckets;
    uint32_t  nentries;
    uint32_t  nworkers;
    uint32_t  npools;
    uint32_t  ntexts;
    uint64_t  buckets_offset;
    uint64_t  entries_offset;
    uint64_t  workers_offset;
    uint64_t  pools_offset;
    uint64_t  texts_offset;
    uint64_t  total_size;
} bk_table_layout_t;


/* Free slots of one array, last in, first out. */
typedef struct {
    uint32_t  *index;
    uint32_t   n;
} bk_table_free_t;


typedef struct bk_table_texts_s  bk_table_texts_t;


struct bk_table_s {
    int                 lock_fd;
    uint8_t            *base;       /* NULL: nothing is mapped */
    uint64_t            size;

    /* what readers see of it, and the same arrays for writing */
    bk_table_view_t     view;
    bk_table_header_t  *header;
    bk_table_bucket_t  *buckets;
    bk_table_entry_t   *entries;
    bk_table_worker_t  *workers;
    bk_table_pool_t    *pools;

    bk_table_free_t     free_entries;
    bk_table_free_t     free_workers;
    bk_table_free_t     free_pools;
    bk_table_texts_t   *texts;

    uint32_t            gen_base;   /* first generation of a virgin slot */
    uint32_t            live;
    uint32_t            ended;

    char               *path;
    dev_t               dev;        /* of the file that is mapped */
    ino_t               ino;
};


/* The mapping. */

static inline void
bk_table_store(void *word, uint64_t value)
{
    __atomic_store_n((bk_table_word_t *) word, value, __ATOMIC_RELEASE);
}


/* len is a multiple of 8; dst is aligned to 8, src need not be. */
static inline void
bk_table_store_words(void *dst, const void *src, size_t len)
{
    size_t            i;
    uint64_t          word;
    bk_table_word_t  *to = dst;

    for (i = 0; i < len / 8; i++) {
        memcpy(&word, (const uint8_t *) src + i * 8, 8);
        bk_table_store(&to[i], word);
    }
}


/* Fills the copy that is not current, then makes it the current one. */
static inline void
bk_table_flip(uint64_t *seq, void *copies, const void *data, size_t len)
{
    uint64_t  next = *seq + 1;

    bk_table_store_words((uint8_t *) copies + (next & 1) * len, data, len);
    bk_table_store(seq, next);
}


static inline void
bk_table_bump(uint64_t *word)
{
    bk_table_store(word, *word + 1);
}


static inline const bk_table_alloc_t *
bk_table_alloc_current(const bk_table_t *t, uint32_t index)
{
    const bk_table_entry_t  *e = &t->entries[index];

    return &e->copy[e->seq & 1];
}


/* Allocation failure aborts: the table stays valid, systemd restarts us. */
static inline void *
bk_table_calloc(size_t n, size_t size)
{
    void  *p;

    p = calloc(n ? n : 1, size);

    if (p == NULL) {
        abort();
    }

    return p;
}


/* table.c */

/* The generation after old for a pool or worker slot; never 0. */
uint32_t bk_table_next_gen(const bk_table_t *t, uint32_t old);
void bk_table_alloc_flip(bk_table_t *t, uint32_t index,
    const bk_table_alloc_t *alloc);
void bk_table_counts(bk_table_t *t);

/* table_open.c */

/* Makes t the writer of the mapping; base is a checked table. */
void bk_table_attach(bk_table_t *t, uint8_t *base, uint64_t size);
void bk_table_detach(bk_table_t *t);

/* table_file.c: everything that has a path */

int bk_table_lock(bk_table_t *t, const char *path, bk_err_t *err);

typedef struct {
    int              fd;
    int              exists;
    int              ours;      /* nobody else could have written it */
    const char      *bad;       /* why it cannot be taken over, or NULL */
    uint8_t         *base;      /* mapped unless bad */
    uint64_t         size;
    bk_table_view_t  view;
} bk_table_old_t;

int bk_table_old_open(bk_table_old_t *old, const char *path, bk_err_t *err);
void bk_table_old_close(bk_table_old_t *old);

/* Mode and group of a table that is being created or was taken over. */
int bk_table_access(int fd, const bk_table_conf_t *conf, bk_err_t *err);

/* PATH.new: sweep what a dead writer left, create, put in place. */
int bk_table_sweep(const char *path, bk_err_t *err);
int bk_table_create(const bk_table_conf_t *conf, uint64_t size,
    uint8_t **base, bk_err_t *err);
int bk_table_publish(const char *path, const bk_table_old_t *old,
    bk_err_t *err);
void bk_table_discard(const char *path);

/* table_repair.c */

/* Returns the number of things that had to be put right. */
uint32_t bk_table_repair(bk_table_t *t);
/* Returns -1 and fills err when what is live does not fit. */
int bk_table_migrate(bk_table_t *t, const bk_table_view_t *from,
    uint32_t *repaired, bk_err_t *err);

/* table_text.c: interned reasons with reference counts */

void bk_table_texts_new(bk_table_t *t);
void bk_table_texts_free(bk_table_t *t);
bk_table_ref_t bk_table_text_intern(bk_table_t *t, const char *reason);
void bk_table_text_unref(bk_table_t *t, bk_table_ref_t ref);
/* Take-over: counts a reference found in an entry; -1 when it is no good. */
int bk_table_text_adopt(bk_table_t *t, bk_table_ref_t ref);
/* After the last adopt: everything without a reference is free. */
void bk_table_texts_ready(bk_table_t *t);
const char *bk_table_text_get(const bk_table_t *t, bk_table_ref_t ref);
void bk_table_texts_stats(const bk_table_t *t, bk_table_stats_t *stats);

#endif /* BK_TABLE_PRIV_H_INCLUDED */
