/*
 * What the files ct_store*.c share: allocations (rows) as they are in
 * BuildKitWorkers, and what is being written of them.
 *
 * A row may be in several objects for a moment, since who moves one writes the
 * new place before he empties the old: its best place is what it is, and the
 * others are emptied by whoever leads.
 *
 * All of that is so within its pool.  A place in an object of another pool is
 * not the row's: whoever may write there says nothing of what is here.
 */

#ifndef CT_STORE_H_INCLUDED
#define CT_STORE_H_INCLUDED

#include "ct.h"


#define CT_ENDED_KEEP   (15 * 60 * 1000)    /* ms; k8s/base/crds */
#define CT_OP_LATE      (60 * 1000)     /* ms after its end we end a row */
#define CT_QUEUED       "queued-"           /* name of a row without worker */
#define CT_KEPT         OBJ_GROUP "/kept"   /* annotation: ct_store_put.c */
#define CT_KEY_MAX      (2 * (K8S_NAME_MAX + 1))


typedef struct ct_row_s     ct_row_t;
typedef struct ct_place_s   ct_place_t;
typedef struct ct_seen_s    ct_seen_t;
typedef struct ct_op_s      ct_op_t;


/* A row in an object: its spec.allocation, or one of its spec.ended. */
struct ct_place_s {
    ct_place_t  *prev, *next;           /* of the row */
    ct_place_t  *also;                  /* of the object */
    ct_row_t    *row;
    ct_seen_t   *seen;
    json_t      *json;
    uint64_t     expires_ms;
    int          state;                 /* BK_ALLOC_* */
    int          foreign;               /* with a token, or what else no
                                           allocator of ours has written */
};

/* A BuildKitWorker, as it was when it was looked at last. */
struct ct_seen_s {
    UT_hash_handle   hh;
    json_t          *obj;               /* NULL: gone */
    ct_place_t      *places;
    char            *pool;              /* namespace/name; "": it is none */
    char            *name;              /* in key */
    int              queued;            /* its name says so */
    int              odd;               /* an allocation that is none */
    int              ours;              /* we have written it, and so nothing
                                           that a leader before us has sent
                                           can change it any more */
    char             key[];             /* namespace/name */
};

struct ct_row_s {
    UT_hash_handle   hh;
    ct_place_t      *places;
    ct_op_t         *ops;               /* the first is under way */
    unsigned         changes;           /* by others, of which we told */
    unsigned         held;              /* somebody looks at it */

    char            *pool;              /* for good, once we lead; NULL: it
                                           shows in its places */

    /* as the opener knows it; known_json NULL: not at all */
    json_t          *known_json;
    char            *known_key;
    char            *known_pool;
    int              known_state;
    int              known_foreign;

    uint8_t          hash[OBJ_HASH_LEN];
};

/* How a row is to be. */
struct ct_op_s {
    ct_op_t         *prev, *next;       /* of the row */
    ct_store_t      *store;
    ct_row_t        *row;
    bk_store_pt      done;              /* NULL: our own */
    void            *data;
    json_t          *json;              /* to be there */
    char            *pool;              /* namespace/name */
    char            *key;               /* of the object; "": wherever it is */
    int              state;             /* BK_ALLOC_* */
    int              written;           /* it is there */
    int              sent;              /* and not only looked at */
    int              makes;             /* what is written is a new object */
    int              tries;
    unsigned         changes;           /* of the row, when it was asked for */
};

struct ct_store_s {
    ct_t        *ct;
    ct_row_t    *rows;                  /* by hash */
    ct_seen_t   *seen;                  /* by key */
    bk_timer_t  *sweep;
    int          ready;
};

/* ct_store.c: "namespace/name" of an object of this pool's namespace; -1:
 * none */
int ct_store_key(bk_str_t pool, const char *name, char *key, size_t size);
/* a new object of this pool, with this allocation (or NULL), to be added to;
 * NULL: it cannot be */
json_t *ct_store_object(ct_store_t *s, const char *pool, ct_obj_t *o,
    json_t *allocation, bk_err_t *err);
/* spec.trust, where the object has none */
void ct_store_trust(ct_obj_t *o, json_t *allocation, json_t *spec);


/* --- JSON (ct_store_row.c): knows nothing of the above -------------------- */

/* A row read from JSON; borrows from it. */
typedef struct {
    bk_stored_t  stored;
    uint8_t      hash[OBJ_HASH_LEN];
    uint8_t      key_hash[OBJ_HASH_LEN];
    char        *metadata;
    char        *record;
    char         reason[OBJ_TEXT_MAX];
} ct_stored_t;

/* spec.allocation, or an element of spec.ended, by its state; NULL: a text of
 * it is no UTF-8 or JSON (400) */
json_t *ct_stored_json(const bk_stored_t *row, bk_err_t *err);
/* of either, by its state; worker "": queued.  -1: nothing that we wrote */
int ct_stored_read(json_t *json, int state, const char *pool,
    const char *worker, ct_stored_t *out);
void ct_stored_clear(ct_stored_t *s);
/* is one the other, as far as somebody may change it? */
int ct_stored_same(json_t *a, json_t *b);
/* RFC 3339 with milliseconds; "": later than can be written */
void ct_stored_time(uint64_t ms, char buf[32]);
/* what makes one of the other as a merge patch; is may be NULL */
json_t *ct_stored_patch(json_t *is, json_t *should);
/* spec.ended with one more (NULL: none), without those that are too old or
 * too many */
json_t *ct_stored_ended(json_t *list, json_t *more, uint64_t now_ms);


/* --- what is in the objects (ct_store_seen.c) ----------------------------- */

/* looks at an object; tells what others have changed */
void ct_seen_take(ct_store_t *s, ct_obj_t *o);
ct_seen_t *ct_seen_find(ct_store_t *s, const char *key);
void ct_seen_free(ct_store_t *s);
void ct_seen_set(char **at, const char *text);

/* ct_store_known.c */
ct_row_t *ct_row_find(ct_store_t *s, const uint8_t *hash);
ct_row_t *ct_row_get(ct_store_t *s, const uint8_t *hash);
/* unless somebody needs it */
void ct_row_drop(ct_store_t *s, ct_row_t *r);
/* ended before live, with a worker before queued; NULL: none */
ct_place_t *ct_row_best(const ct_row_t *r);
/* a live place that is not this one (NULL: any), queued ones last */
ct_place_t *ct_row_other(const ct_row_t *r, const ct_place_t *not_this);
ct_place_t *ct_row_at(const ct_row_t *r, const char *key);
/* is it of the row's pool?  All of the above know only those that are. */
int ct_row_its(const ct_row_t *r, const ct_place_t *p);
/* pool NULL: as it is known; it stays what it is */
void ct_row_bind(ct_row_t *r, const char *pool);
/* compares its best place with what is known, and tells */
void ct_row_look(ct_store_t *s, ct_row_t *r);
/* says what is known */
void ct_row_tell(ct_store_t *s, ct_row_t *r);
/* p NULL: nothing */
void ct_row_know(ct_row_t *r, const ct_place_t *p);
/* as it is known; "": none */
const char *ct_row_worker(const ct_row_t *r);
int ct_queued(const char *name);


/* --- writing rows (ct_store_put.c) ---------------------------------------- */

/* takes json, borrows the rest; done NULL: our own */
void ct_op_ask(ct_store_t *s, ct_row_t *r, json_t *json, int state,
    const char *pool, const char *key, bk_store_pt done, void *data);
/* is it what is being written? */
int ct_op_wants(const ct_op_t *op, const ct_place_t *p);
/* places that it should not have any more */
void ct_op_tidy(ct_store_t *s, ct_row_t *r);
void ct_op_sweep(ct_store_t *s, ct_seen_t *x);
void ct_op_free(ct_op_t *op);

/* ct_store_make.c: of ct_write(); data is the ct_op_t, of _sweep and _lapsed
 * the store */
json_t *ct_op_make_new(void *data, ct_obj_t *o, bk_err_t *err);
json_t *ct_op_make_live(void *data, ct_obj_t *o, bk_err_t *err);
json_t *ct_op_make_end(void *data, ct_obj_t *o, bk_err_t *err);
json_t *ct_op_make_empty(void *data, ct_obj_t *o, bk_err_t *err);
json_t *ct_op_make_delete(void *data, ct_obj_t *o, bk_err_t *err);
json_t *ct_op_make_kept(void *data, ct_obj_t *o, bk_err_t *err);
json_t *ct_op_make_nothing(void *data, ct_obj_t *o, bk_err_t *err);
json_t *ct_op_make_sweep(void *data, ct_obj_t *o, bk_err_t *err);
json_t *ct_op_make_lapsed(void *data, ct_obj_t *o, bk_err_t *err);
/* nothing is in it but ends that nobody asks about any more */
int ct_op_ended(const ct_seen_t *x, uint64_t now);

#endif /* CT_STORE_H_INCLUDED */
