/*
 * The allocations of this allocator that live, in memory: what must be known
 * of each without asking the journal, and nothing more, since there may be a
 * hundred thousand of them.
 *
 * Knows names and numbers, nothing of HTTP, journal or model.  A record is
 * counted: one reference is the list's, each write of the journal that is
 * under way has one.
 */

#ifndef BK_RECORD_H_INCLUDED
#define BK_RECORD_H_INCLUDED

#include <stdint.h>
#include <sys/queue.h>
#include <uthash.h>

#include "journal.h"
#include "queue.h"


typedef struct bk_records_s   bk_records_t;
typedef struct bk_record_s    bk_record_t;
typedef struct bk_idem_s      bk_idem_t;
typedef struct bk_seat_s      bk_seat_t;
typedef struct bk_home_s      bk_home_t;
typedef struct bk_ask_s       bk_ask_t;
typedef struct bk_call_s      bk_call_t;
typedef struct bk_watcher_s   bk_watcher_t;
typedef struct bk_pending_s   bk_pending_t;


/* A pool, as long as we run. */
struct bk_home_s {
    UT_hash_handle    hh;
    bk_seat_t        *seats;
    bk_queue_pool_t  *queue;
    uint32_t          live;         /* records */
    char              name[];
};

/* A worker that we ever had something to do with. */
struct bk_seat_s {
    UT_hash_handle                hh;
    bk_home_t                    *home;
    TAILQ_HEAD(, bk_pending_s)    pendings;
    uint32_t                      live;         /* records on it */
    uint32_t                      reserved;     /* of them not in the model */
    uint64_t                      taken_ms;     /* until then it is, by what
                                                   we do not know; monotonic */
    unsigned                      trusted:1;    /* who was on it, for good */
    unsigned                      untrusted:1;
    unsigned                      noted:1;      /* the journal knows that */
    unsigned                      drained:1;
    char                          arch[BK_TABLE_ARCH_LEN];
    char                          name[];
};

/* Of the records that were made with an idempotencyKey. */
struct bk_idem_s {
    UT_hash_handle    hh;
    bk_record_t      *rec;
    size_t            len;
    size_t            at;           /* where the key itself begins */
    char              key[];        /* owner, pool, key */
};

struct bk_record_s {
    UT_hash_handle    hh;
    uint8_t           hash[BK_TABLE_HASH_LEN];
    uint8_t           nonce[BK_NONCE_LEN];
    bk_home_t        *home;
    bk_seat_t        *seat;         /* NULL: queued */
    bk_queue_user_t  *user;
    bk_idem_t        *idem;
    bk_ask_t         *ask;          /* as long as it is queued, or nobody has
                                       its token yet */
    bk_pending_t     *pending;      /* restored, its worker is not there */
    bk_watcher_t     *watchers;
    uint64_t          created_ms;
    uint64_t          expires_ms;
    uint64_t          ttl_ms;
    uint64_t          max_ttl_ms;   /* of its rule; 0: none */
    uint32_t          refs;
    unsigned          untrusted:1;
    unsigned          written:1;    /* its row is on its way to the journal */
    unsigned          stored:1;     /* and has arrived */
    unsigned          placing:1;    /* its worker is being written */
    unsigned          modelled:1;   /* the model knows it */
    unsigned          reserved:1;   /* counted in its seat */
    unsigned          answered:1;   /* the journal says so */
    unsigned          told:1;       /* somebody has its token */
    unsigned          answering:1;  /* that is being written */
    unsigned          ending:1;     /* its end is being written */
    unsigned          ended:1;      /* not listed any more */
};


bk_records_t *bk_records_new(bk_queue_t *queue);
void bk_records_free(bk_records_t **rs);
size_t bk_records_count(const bk_records_t *rs);

/* Made when it is asked for the first time. */
bk_home_t *bk_record_home(bk_records_t *rs, const char *pool);
bk_home_t *bk_record_home_find(bk_records_t *rs, bk_str_t pool);
bk_home_t *bk_record_homes(bk_records_t *rs);   /* hh.next */
bk_seat_t *bk_record_seat(bk_home_t *home, const char *worker);
bk_seat_t *bk_record_seat_find(bk_home_t *home, bk_str_t worker);

/* it is not in the model any more: forgotten, unless something is known */
void bk_record_seat_gone(bk_seat_t *seat);

/* Takes over the reference of user. */
bk_record_t *bk_record_new(bk_records_t *rs, const uint8_t *hash,
    bk_home_t *home, bk_queue_user_t *user);
bk_record_t *bk_record_find(bk_records_t *rs, const uint8_t *hash);
/* by the first bytes, at least 4; *n: how many there are */
bk_record_t *bk_record_prefix(bk_records_t *rs, const uint8_t *prefix,
    size_t len, size_t *n);
bk_record_t *bk_record_next(bk_records_t *rs, bk_record_t *rec);
/* it is not listed any more; freed with its last reference */
void bk_record_remove(bk_records_t *rs, bk_record_t *rec);
void bk_record_ref(bk_record_t *rec);
void bk_record_unref(bk_record_t **rec);

/* on a worker, or off it; reserved until the model counts it */
void bk_record_sit(bk_record_t *rec, bk_seat_t *seat);
void bk_record_modelled(bk_record_t *rec);
void bk_record_rise(bk_record_t *rec);

/* idempotencyKey: of an identity and a pool */
bk_record_t *bk_record_again(bk_records_t *rs, const char *owner,
    const char *pool, const char *key);
void bk_record_key(bk_records_t *rs, bk_record_t *rec, const char *key);
void bk_record_unkey(bk_records_t *rs, bk_record_t *rec);

#endif /* BK_RECORD_H_INCLUDED */
