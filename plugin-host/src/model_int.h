/*
 * What the files of the model share: the structures, and the steps that a
 * fact takes.  Included by model*.c only.
 *
 * Pools, workers and allocations are counted references, since an ended
 * allocation outlives its worker and its pool (it still names them), and an
 * event that waits to be told outlives all three.
 */

#ifndef BK_MODEL_INT_H_INCLUDED
#define BK_MODEL_INT_H_INCLUDED

#include <event2/event.h>

#define uthash_fatal(msg)  abort()
#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

#include "heap.h"
#include "model.h"


typedef struct bk_pool_s    bk_pool_t;
typedef struct bk_worker_s  bk_worker_t;
typedef struct bk_alloc_s   bk_alloc_t;
typedef struct bk_note_s    bk_note_t;
typedef struct bk_owner_s   bk_owner_t;
typedef struct bk_name_s    bk_name_t;


struct bk_pool_s {
    UT_hash_handle   hh;
    bk_worker_t     *workers;       /* hash by name */
    bk_owner_t      *owner;         /* NULL: inherited */
    bk_table_ref_t   ref;
    uint32_t         refs;
    uint32_t         mark;
    uint32_t         counts[BK_ALLOC_STATES];   /* allocations */
    uint32_t         shared;        /* as in bk_pool_info_t */
    char            *endpoint;      /* of its gateway: bk_pool_gateway_t; each
                                       NULL where it is empty */
    char            *ca;
    char            *why;
    char            *labels;        /* JSON; NULL: none */
    uint8_t          gone;
    uint16_t         name_len;
    char             name[];
};


struct bk_worker_s {
    UT_hash_handle          hh;
    bk_pool_t              *pool;
    bk_owner_t             *owner;
    bk_alloc_t             *allocs;     /* list of its live ones */
    bk_table_ref_t          ref;
    uint32_t                refs;
    uint32_t                mark;
    uint32_t                live;
    uint16_t                disk;       /* how full, permille */
    uint16_t                inodes;
    uint8_t                 wanted;
    uint8_t                 gone;
    uint8_t                 drained;
    char                   *drain_text;     /* what its allocations say */
    char                    endpoint[64];   /* as it was put */
    bk_table_worker_data_t *said;           /* as its owner put it; NULL: so
                                               it is in the table, too */
    bk_table_worker_data_t  data;           /* as it is in the table */
};


struct bk_alloc_s {
    UT_hash_handle   hh;
    bk_heap_item_t   due;           /* expiry; once ended: end of keeping */
    bk_alloc_t      *prev, *next;   /* of its worker, or of all ended ones */
    bk_pool_t       *pool;          /* NULL: it is gone (inherited, ended) */
    bk_worker_t     *worker;        /* NULL: none yet, or gone as above */
    bk_owner_t      *owner;
    bk_name_t       *whose;         /* NULL: nobody's */
    char            *reason;
    uint64_t         expires_ms;
    uint64_t         changed_ms;
    uint32_t         index;         /* in the table */
    uint32_t         mark;
    uint32_t         refs;
    uint8_t          state;
    uint8_t          bound;
    uint8_t          gone;
    uint8_t          drained;       /* DRAINING because its worker is */
    uint8_t          untrusted;     /* by the rule that it was made under */
    uint8_t          hash[BK_TABLE_HASH_LEN];
    uint8_t          key_hash[BK_TABLE_HASH_LEN];
};


struct bk_owner_s {
    bk_owner_t  *next;
    const void  *id;
    uint32_t     mark;          /* of the snapshot that is under way */
    unsigned     in_snapshot:1;
    unsigned     expected:1;
    unsigned     committed:1;
};


/* The name of somebody who has allocations: once, however many they are. */
struct bk_name_s {
    UT_hash_handle   hh;
    bk_name_t      **names;         /* the hash that it is in */
    uint32_t         refs;
    char             text[];
};


/* An event that waits to be told. */
struct bk_note_s {
    bk_note_t    *next;
    bk_pool_t    *pool;
    bk_worker_t  *worker;
    bk_alloc_t   *alloc;
    uint8_t       gone;
    uint8_t       old_state;
    uint8_t       state;
};


struct bk_model_s {
    bk_model_conf_t   conf;
    bk_table_t       *table;
    bk_pool_t        *pools;        /* hash by name */
    bk_alloc_t       *allocs;       /* hash by SHA-256(token) */
    bk_alloc_t       *ended;        /* list, the oldest first */
    bk_name_t        *names;        /* hash by name */
    bk_alloc_walk_t  *walks;        /* list of those that are not over */
    bk_owner_t       *owners;
    bk_heap_t         due;
    struct event     *due_timer;
    struct event     *beat_timer;
    bk_note_t        *notes;        /* queue */
    bk_note_t       **notes_tail;
    unsigned          depth;        /* facts that are under way */
    unsigned          telling:1;
    unsigned          started:1;
    unsigned          settled:1;
    bk_model_stats_t  stats;
};


/* model.c */
void bk_model_enter(bk_model_t *m);
void bk_model_leave(bk_model_t *m);     /* tells the observers */
void bk_model_note(bk_model_t *m, bk_pool_t *p, bk_worker_t *w,
    bk_alloc_t *a, int old_state, int gone);
bk_owner_t *bk_model_owner(bk_model_t *m, const void *id);
int bk_model_may(const bk_owner_t *mine, const bk_owner_t *theirs,
    const char *what, bk_err_t *err);

/* model_pool.c */
bk_pool_t *bk_model_pool_get(bk_model_t *m, bk_str_t name);
bk_pool_t *bk_model_pool_make(bk_model_t *m, bk_str_t name);
void bk_model_pool_remove(bk_model_t *m, bk_pool_t *p, const char *why);
void bk_model_pool_unref(bk_pool_t *p);
void bk_model_pool_info(const bk_pool_t *p, bk_pool_info_t *out);

/* model_worker.c */
bk_worker_t *bk_model_worker_get(const bk_pool_t *p, bk_str_t name);
bk_worker_t *bk_model_worker_make(bk_pool_t *p, const char *name, size_t len);
void bk_model_worker_remove(bk_model_t *m, bk_worker_t *w, const char *why);
void bk_model_worker_unref(bk_worker_t *w);
void bk_model_worker_info(const bk_worker_t *w, bk_worker_info_t *out);
void bk_model_worker_endpoint(const bk_table_worker_data_t *data, char *buf,
    size_t size);
/* what its owner has said; until he says something else */
const bk_table_worker_data_t *bk_model_worker_said(const bk_worker_t *w);
/* what its owner says, and what follows from it for table, allocations and
 * observers; a copy of the above, where it is that */
int bk_model_worker_say(bk_model_t *m, bk_worker_t *w,
    const bk_table_worker_data_t *said, bk_err_t *err);

/* model_drain.c */
void bk_model_drain_show(const bk_worker_t *w, bk_table_worker_data_t *data);
void bk_model_drain_claimed(bk_model_t *m, bk_worker_t *w);
int bk_model_drain_refuse(const bk_worker_t *w, bk_err_t *err);
bk_str_t bk_model_drain_why(const bk_alloc_info_t *info, const bk_worker_t *w,
    int state, uint8_t *drained);

/* model_alloc.c */
void bk_model_alloc_attach(bk_model_t *m, bk_alloc_t *a);
void bk_model_alloc_finish(bk_model_t *m, bk_alloc_t *a, int state,
    const char *reason);
void bk_model_alloc_state(bk_model_t *m, bk_alloc_t *a, int state);
/* NULL for an empty one; control bytes become spaces; the caller frees */
char *bk_model_alloc_text(bk_str_t s);
void bk_model_alloc_remove(bk_model_t *m, bk_alloc_t *a);
void bk_model_alloc_unref(bk_alloc_t *a);
void bk_model_alloc_info(const bk_alloc_t *a, bk_alloc_info_t *out);

/* model_walk.c */
void bk_model_walk_aside(bk_model_t *m, bk_alloc_t *a);

/* model_name.c */
void bk_model_name_unref(bk_name_t **name);

/* model_check.c: a worker's facts as the table has them; the pool and worker
 * of what is asked for an allocation; the state that it gets, which is what
 * was asked for as far as time and worker allow it */
int bk_model_worker_fill(bk_table_worker_data_t *data,
    const bk_worker_info_t *info, bk_err_t *err);
/* a: the one that is there already, or NULL */
int bk_model_alloc_check(bk_model_t *m, const bk_alloc_info_t *info,
    const bk_alloc_t *a, bk_pool_t **pool, bk_worker_t **worker,
    bk_err_t *err);
int bk_model_alloc_fit(const bk_alloc_info_t *info, const bk_worker_t *w,
    uint64_t now);

/* model_due.c: ends what is due; sets the timer for the next */
void bk_model_due(bk_model_t *m);
void bk_model_arm(bk_model_t *m);

/* model_snap.c */
int bk_model_inherit(bk_model_t *m, bk_err_t *err);

#endif /* BK_MODEL_INT_H_INCLUDED */
