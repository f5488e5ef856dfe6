/*
 * The only writer of the route table (include/bk_table.h, doc/table.md).
 *
 * Called by model.c alone.  Owns the mapping, the writer lock, the free
 * lists and the interned reasons; knows nothing of tokens, time-outs or
 * plugins.  All calls are O(1) but open and each; none blocks after open.
 */

#ifndef BK_TABLE_WRITER_H_INCLUDED
#define BK_TABLE_WRITER_H_INCLUDED

#include "bk_plugin.h"
#include "bk_table.h"


typedef struct bk_table_s  bk_table_t;

typedef struct {
    const char  *path;
    uint32_t     allocations;   /* slots, ended ones that are kept included */
    uint32_t     workers;
    uint32_t     pools;
    const char  *group;         /* who may read it; NULL: leave the group */
} bk_table_conf_t;

/* What an open found. */
typedef struct {
    int          taken_over;    /* 1: same geometry, 2: copied to a new one */
    uint32_t     repaired;      /* things a dead writer left half-done */
    const char  *replaced;      /* why an old file was thrown away, or NULL */
} bk_table_opened_t;


/*
 * Takes the writer lock (PATH.lock, an flock that dies with us; a second
 * writer gets 409 TableLocked with the holder's pid), then: takes a good
 * table of the same geometry over and repairs it; copies the live entries of
 * a good one of another geometry into a new file; replaces anything else.
 * A new file is filled beside the path and renamed over it, the old one is
 * marked retired.  Room is reserved at once (503 NoSpace, never a SIGBUS
 * later).  The table's state is LIVE afterwards if a live one was taken over,
 * else BUILDING until bk_table_live().
 */
int bk_table_open(bk_table_t **t, const bk_table_conf_t *conf,
    bk_table_opened_t *opened, bk_err_t *err);

/* Unmaps and unlocks; the file stays, live, for readers and successors. */
void bk_table_close(bk_table_t **t);

void bk_table_live(bk_table_t *t);
void bk_table_heartbeat(bk_table_t *t, uint64_t now_ms);

/*
 * Whether the path leads elsewhere by now, or nowhere: somebody removed or
 * replaced the file, readers let go of it, and what is written is lost.
 */
int bk_table_lost(const bk_table_t *t);

/*
 * Pools and workers.  put() with ref->index == BK_TABLE_NONE takes a free
 * slot and fills *ref; otherwise it updates that slot in place.  503
 * TableFull when there is none.  delete() frees the slot and makes every
 * reference to it stale.  data->gen (and state, flags of a pool) are as in
 * bk_table.h; gen is filled in here.  An update that changes nothing does
 * not touch the revision.
 */
int bk_table_pool_put(bk_table_t *t, const char *name, unsigned flags,
    bk_table_ref_t *ref, bk_err_t *err);
void bk_table_pool_delete(bk_table_t *t, bk_table_ref_t ref);

int bk_table_worker_put(bk_table_t *t, const bk_table_worker_data_t *data,
    bk_table_ref_t *ref, bk_err_t *err);
void bk_table_worker_delete(bk_table_t *t, bk_table_ref_t ref);

/*
 * Allocations.  alloc->text is ignored: reason (NULL or at most
 * BK_TABLE_TEXT_LEN - 1 bytes, cut to fit at a UTF-8 boundary) is interned.
 * When no room is left for another reason the entry goes without (*err is
 * not touched; bk_table_stats() counts it).  alloc->flags is ignored as well:
 * an entry is bound to a key if insert() was given one, and stays so.
 *
 * insert(): 503 TableFull when no entry is free or both buckets are full,
 * 409 Exists when the key is there.  *index names the entry until remove().
 */
int bk_table_alloc_insert(bk_table_t *t, const uint8_t *key,
    const uint8_t *key_hash, const bk_table_alloc_t *alloc,
    const char *reason, uint32_t *index, bk_err_t *err);
void bk_table_alloc_update(bk_table_t *t, uint32_t index,
    const bk_table_alloc_t *alloc, const char *reason);
/* another key for the same client; it is bound to one already */
void bk_table_alloc_rekey(bk_table_t *t, uint32_t index,
    const uint8_t *key_hash);
void bk_table_alloc_remove(bk_table_t *t, uint32_t index);

/*
 * What is in the table: for the model, after an open.  Return 0 to go on.
 * reason is NULL or a NUL-terminated string.
 */
typedef int (*bk_table_pool_pt)(bk_table_ref_t ref,
    const bk_table_pool_data_t *pool, void *data);
typedef int (*bk_table_worker_pt)(bk_table_ref_t ref,
    const bk_table_worker_data_t *worker, void *data);
typedef int (*bk_table_alloc_pt)(uint32_t index, const uint8_t *key,
    const uint8_t *key_hash, const bk_table_alloc_t *alloc,
    const char *reason, void *data);

int bk_table_pool_each(bk_table_t *t, bk_table_pool_pt fn, void *data);
int bk_table_worker_each(bk_table_t *t, bk_table_worker_pt fn, void *data);
int bk_table_alloc_each(bk_table_t *t, bk_table_alloc_pt fn, void *data);

/* After all of it was read: only what is used is mapped again, so that this
 * process does not count the room that is free.  Nothing is lost: the pages
 * are the file's. */
void bk_table_trim(bk_table_t *t);

typedef struct {
    uint32_t  entries, entries_used, entries_ended;
    uint32_t  workers, workers_used;
    uint32_t  pools, pools_used;
    uint32_t  texts, texts_used;
    uint64_t  texts_refused;    /* reasons that found no room */
    uint64_t  bytes;
} bk_table_stats_t;

void bk_table_stats(const bk_table_t *t, bk_table_stats_t *stats);

#endif /* BK_TABLE_WRITER_H_INCLUDED */
