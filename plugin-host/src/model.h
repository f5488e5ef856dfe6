/*
 * The model: every pool, worker and allocation that this host knows.
 *
 * One function for each kind of fact.  Each changes the model, then the
 * table, then tells the observers; what a fact means is written in
 * bk_plugin.h.  Called by host_api.c (for plugins) and api.c (for readers),
 * on the loop's thread only.  Knows owners as opaque pointers, nothing of
 * plugins, HTTP or tokens; never blocks.
 */

#ifndef BK_MODEL_H_INCLUDED
#define BK_MODEL_H_INCLUDED

#include "bk_plugin.h"
#include "bk_table.h"
#include "table.h"


typedef struct bk_model_s  bk_model_t;

struct event_base;

typedef struct {
    bk_table_conf_t  table;
    uint64_t         keep_ended_ms;

    /* told after the table, outside of any change that is under way */
    void           (*event)(const bk_event_t *event, void *data);
    /* asks the owner of a worker */
    int            (*want)(const void *owner, bk_str_t pool, bk_str_t name,
        int wanted, bk_err_t *err, void *data);
    void            *data;
} bk_model_conf_t;

typedef struct {
    bk_table_stats_t  table;
    uint64_t          made;                     /* allocations, by this run */
    uint64_t          ended[BK_ALLOC_STATES];   /* by the state they got */
    uint32_t          inherited;    /* taken over, not claimed so far */
    uint32_t          evicted;      /* ended ones that had to make room */
} bk_model_stats_t;


/* Opens the table and takes over what is in it, as inherited. */
int bk_model_new(bk_model_t **m, struct event_base *base,
    const bk_model_conf_t *conf, bk_err_t *err);
/* Forgets everything; the table stays as it is, for readers. */
void bk_model_free(bk_model_t **m);

uint64_t bk_model_now_ms(void);

/* Facts.  owner: whose they are; never NULL but in alloc_end(). */
int bk_model_pool_put(bk_model_t *m, const void *owner,
    const bk_pool_info_t *info, bk_err_t *err);
int bk_model_pool_delete(bk_model_t *m, const void *owner, bk_str_t name,
    bk_err_t *err);
/* where its clients are sent: see bk_plugin.h */
int bk_model_pool_gateway(bk_model_t *m, const void *owner, bk_str_t name,
    const bk_pool_gateway_t *gateway);
void bk_model_pool_gateway_of(bk_model_t *m, bk_str_t name,
    bk_pool_gateway_t *out);
int bk_model_pool_labels(bk_model_t *m, const void *owner, bk_str_t name,
    bk_str_t labels);
bk_str_t bk_model_pool_labels_of(bk_model_t *m, bk_str_t name);
int bk_model_worker_put(bk_model_t *m, const void *owner,
    const bk_worker_info_t *info, bk_err_t *err);
int bk_model_worker_delete(bk_model_t *m, const void *owner, bk_str_t pool,
    bk_str_t name, bk_err_t *err);
int bk_model_alloc_put(bk_model_t *m, const void *owner,
    const bk_alloc_info_t *info, bk_err_t *err);
int bk_model_alloc_end(bk_model_t *m, const uint8_t *hash, int state,
    bk_str_t reason, bk_err_t *err);
int bk_model_worker_want(bk_model_t *m, bk_str_t pool, bk_str_t name,
    int wanted, bk_err_t *err);
int bk_model_worker_drain(bk_model_t *m, bk_str_t pool, bk_str_t name,
    int drained, bk_str_t reason, bk_err_t *err);
/* 1: it is another figure than before; 0; -1: none such, or not owner's */
int bk_model_worker_disk(bk_model_t *m, const void *owner, bk_str_t pool,
    bk_str_t name, uint32_t disk_permille, uint32_t inode_permille);

/* Whose it is, as a name; empty: nobody's.  -1: no such one of this owner. */
int bk_model_alloc_owner(bk_model_t *m, const void *owner,
    const uint8_t *hash, bk_str_t name, int untrusted);
/* "" for nobody's; borrowed until the model changes; untrusted may be NULL */
const char *bk_model_alloc_whose(bk_model_t *m, const uint8_t *hash,
    int *untrusted);

/*
 * Snapshots.  expect(): the first commit of this owner is waited for before
 * unclaimed inherited things are thrown away and the table goes live.
 * started(): no more expect() will come.
 */
void bk_model_snapshot_begin(bk_model_t *m, const void *owner);
void bk_model_snapshot_commit(bk_model_t *m, const void *owner);
void bk_model_expect(bk_model_t *m, const void *owner);
void bk_model_started(bk_model_t *m);
/* Has everything that was expected been committed?  Who is missing? */
int bk_model_settled(const bk_model_t *m);
int bk_model_missing(const bk_model_t *m, const void *owner);

/* Looking: 0, or -1 for none.  What is handed out is borrowed until the
 * model changes. */
int bk_model_pool_find(bk_model_t *m, bk_str_t name, bk_pool_info_t *out);
int bk_model_worker_find(bk_model_t *m, bk_str_t pool, bk_str_t name,
    bk_worker_info_t *out);
int bk_model_alloc_find(bk_model_t *m, const uint8_t *hash,
    bk_alloc_info_t *out);
/* How full its disk is, as it was said last; 0: nobody said. */
void bk_model_worker_full(bk_model_t *m, bk_str_t pool, bk_str_t name,
    uint32_t *disk_permille, uint32_t *inode_permille);
/* Is it drained, whatever its state is? */
int bk_model_worker_drained(bk_model_t *m, bk_str_t pool, bk_str_t name);

/* What fn returns other than 0 ends it.  fn may change the model, and remove
 * the thing that it was given but no other. */
int bk_model_pool_each(bk_model_t *m, bk_pool_pt fn, void *data);
int bk_model_worker_each(bk_model_t *m, bk_str_t pool, bk_worker_pt fn,
    void *data);
int bk_model_alloc_each(bk_model_t *m, bk_str_t pool, bk_alloc_pt fn,
    void *data);

/*
 * Over the allocations that are there now, in the order of their coming, a few
 * at a time, while the model changes in between: those that are removed
 * meanwhile are left out.  walk(): shows at most max of them, fewer if fn
 * returns other than 0; 1: there are more.  fn must not change the model.
 * end() may be called at any time after begin(), and more than once.
 */
typedef struct bk_alloc_walk_s  bk_alloc_walk_t;

struct bk_alloc_walk_s {
    bk_model_t         *model;      /* NULL: it is over */
    bk_alloc_walk_t    *prev, *next;
    struct bk_alloc_s  *at, *last;
};

void bk_model_walk_begin(bk_model_t *m, bk_alloc_walk_t *w);
int bk_model_walk(bk_alloc_walk_t *w, size_t max, bk_alloc_pt fn, void *data);
void bk_model_walk_end(bk_alloc_walk_t *w);

void bk_model_stats(const bk_model_t *m, bk_model_stats_t *stats);

/* How many of a pool are in each state; cheap for any number of them. */
typedef struct {
    uint32_t  workers[BK_WORKER_STATES];
    uint32_t  allocations[BK_ALLOC_STATES];
} bk_model_counts_t;

void bk_model_counts(bk_model_t *m, bk_str_t pool, bk_model_counts_t *counts);

const char *bk_alloc_state_name(int state);
const char *bk_worker_state_name(int state);

#endif /* BK_MODEL_H_INCLUDED */
