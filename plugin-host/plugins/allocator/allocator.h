/*
 * What the files of the allocator plugin share.
 *
 * A request's way: routes.c (HTTP) -> request.c (what is asked for, by whom)
 * -> allocate.c (a record, the queue) -> run.c (who gets which worker) ->
 * journal -> settle.c (model, table) -> answer.c.  again.c gives an answer
 * once more, lease.c ends what nobody waits for, restore.c puts back at start
 * what the journal holds.  Everything that held a token or a key is wiped
 * before it is freed; nothing here logs either.
 */

#ifndef BK_ALLOCATOR_H_INCLUDED
#define BK_ALLOCATOR_H_INCLUDED

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "bk_plugin.h"
#include "bk_table.h"
#include "journal.h"
#include "place.h"
#include "queue.h"
#include "record.h"
#include "text.h"


#define BK_REASON_MAX    (BK_TABLE_TEXT_LEN - 1)

#define BK_SECOND        UINT64_C(1000)
#define BK_HOUR          (3600 * BK_SECOND)
#define BK_GRACE         (24 * BK_HOUR)     /* certificate beyond expiry */
#define BK_QUEUE_MAX     (24 * BK_HOUR)     /* nobody waits for longer */

/* What an answer looks like. */
#define BK_ANSWER_ALLOCATE  0       /* /api/v1/workers/allocate */
#define BK_ANSWER_OLD       1       /* /api/v1/allocate */
#define BK_ANSWER_CERTS     2       /* /api/v1/certs/request */


typedef struct bk_allocator_s  bk_allocator_t;
typedef struct bk_ended_s      bk_ended_t;
typedef struct bk_drain_s      bk_drain_t;
typedef struct bk_ending_s     bk_ending_t;
typedef struct bk_rekey_s      bk_rekey_t;


/* What somebody asked for, until he has the token and a worker. */
struct bk_ask_s {
    bk_queue_entry_t       entry;
    TAILQ_ENTRY(bk_ask_s)  link;        /* when nobody waits for it */
    bk_record_t           *rec;
    bk_call_t             *call;        /* NULL: nobody waits for it */
    char                  *cache_key;
    uint64_t               until_ms;    /* monotonic: then it is let go */
    uint8_t                key_hash[BK_TABLE_HASH_LEN];
    int                    idle;        /* is on the list of those */
    int                    late;        /* it must go, unless it is held */
    int                    backs;       /* workers that went away */
    char                   arch[BK_TABLE_ARCH_LEN];
};

TAILQ_HEAD(bk_asks_s, bk_ask_s);


/* A call of allocate that was not answered yet. */
struct bk_call_s {
    TAILQ_ENTRY(bk_call_s)  link;
    bk_allocator_t         *a;
    bk_request_t           *r;
    bk_timer_t             *timer;
    bk_record_t            *rec;
    char                   *owner;
    char                   *job_id;
    char                   *client;
    char                   *cache_key;
    char                   *idempotency;
    char                   *csr;
    char                   *metadata;
    uint8_t                *spki;
    size_t                  spki_len;
    uint64_t                ttl_ms;
    uint64_t                wait_ms;
    uint64_t                queued_ms;  /* since when; 0: was not */
    uint64_t                seq;        /* its place, when it tries again */
    uint64_t                tag;
    bk_decision_t           rule;       /* its name: below */
    int                     format;     /* BK_ANSWER_* */
    int                     due;        /* its wait is over */
    int                     failures;   /* workers that failed under it */
    bk_rekey_t             *rekey;      /* a new key is being written */
    uint64_t                cert_ms;    /* expiry that cert was made for */
    char                   *asked;      /* the pool's name, as it was given */
    int                     listed;
    int                     retrying;   /* on the other list */
    int                     over;       /* how its allocation ended */
    char                   *why;
    char                    pool[BK_TABLE_POOL_LEN];
    char                    arch[BK_TABLE_ARCH_LEN];
    char                    rule_name[BK_RULE_MAX + 1];
    char                    token[BK_TOKEN_LEN + 1];
    bk_buf_t                cert;       /* PEM; empty: made for the answer */
    bk_buf_t                ca;
    bk_buf_t                key;        /* empty with csr */
};

TAILQ_HEAD(bk_calls_s, bk_call_s);


/* One look at the workers of a pool. */
typedef struct {
    bk_seat_t       *seat;          /* NULL: none */
    int              state;
    int              home;          /* the first choice of the cache key */
    bk_place_why_t   why;
    int              gateway;       /* no worker helps: message says why the
                                       pool's gateway cannot be used */
    int              lost;          /* nor is known where it will be */
    char             failed[BK_TABLE_NAME_LEN]; /* one that could be tried */
    char             message[BK_TABLE_MESSAGE_LEN];
} bk_pick_t;


/* A restored record whose worker is not there yet. */
struct bk_pending_s {
    TAILQ_ENTRY(bk_pending_s)  link;        /* of its seat */
    TAILQ_ENTRY(bk_pending_s)  all;
    bk_record_t               *rec;
    uint8_t                    key_hash[BK_TABLE_HASH_LEN];
};

TAILQ_HEAD(bk_pendings_s, bk_pending_s);


/* What the model ended and the journal does not say yet. */
struct bk_ended_s {
    TAILQ_ENTRY(bk_ended_s)  link;
    bk_allocator_t          *a;
    uint8_t                  hash[BK_TABLE_HASH_LEN];
    int                      state;
    uint64_t                 when_ms;
    char                     reason[BK_TABLE_TEXT_LEN];
};

TAILQ_HEAD(bk_endeds_s, bk_ended_s);


/* A drained worker; it need not be there just now. */
struct bk_drain_s {
    TAILQ_ENTRY(bk_drain_s)  link;
    char                     pool[BK_TABLE_POOL_LEN];
    char                     worker[BK_TABLE_NAME_LEN];
    char                     reason[BK_TABLE_TEXT_LEN];
    uint64_t                 since_ms;
    int                      applied;       /* the host knows */
    int                      stale;         /* the journal may not */
};

TAILQ_HEAD(bk_drains_s, bk_drain_s);


/* The connections of one allocation. */
typedef struct {
    const char  *id;
    unsigned     held;      /* or being connected */
    unsigned     live;
} bk_count_t;


/* A revocation that is answered when its connections are cut. */
struct bk_ending_s {
    TAILQ_ENTRY(bk_ending_s)  link;
    bk_allocator_t           *a;
    bk_request_t             *r;
    bk_timer_t               *timer;
    uint64_t                  deadline;     /* monotonic */
    bk_buf_t                  line;         /* for the audit log */
    unsigned                  before;       /* connections */
    int                       state;        /* BK_ALLOC_* */
    int                       written;      /* its end is in the journal */
    char                      id[BK_ID_LEN + 1];
    char                      reason[BK_TABLE_TEXT_LEN];
};

TAILQ_HEAD(bk_endings_s, bk_ending_s);


/* Somebody who watches an allocation. */
struct bk_watcher_s {
    TAILQ_ENTRY(bk_watcher_s)  link;
    bk_watcher_t              *next;        /* of the same record */
    bk_allocator_t            *a;
    bk_request_t              *r;
    bk_record_t               *rec;         /* NULL: another plugin's */
    int                        owner;       /* it is his */
    uint8_t                    hash[BK_TABLE_HASH_LEN];
    uint64_t                   looked_ms;   /* monotonic */
    uint64_t                   wrote_ms;
    uint64_t                   expires_ms;
    size_t                     position;
    int                        state;
    int                        dirty;
    char                       worker[BK_TABLE_NAME_LEN];
};

TAILQ_HEAD(bk_watchers_s, bk_watcher_s);


/* Something to be done about a record, to which it has a reference. */
typedef struct bk_step_s {
    TAILQ_ENTRY(bk_step_s)  link;
    bk_allocator_t         *a;
    bk_record_t            *rec;
} bk_step_t;

TAILQ_HEAD(bk_steps_s, bk_step_s);


typedef struct {
    uint64_t  made;
    uint64_t  placed;
    uint64_t  affinity_hits;        /* on the first choice of its key */
    uint64_t  affinity_misses;
    uint64_t  queue_full;
    uint64_t  gave_up;              /* nobody waited for it any more */
    uint64_t  waited_ms;            /* in the queue, of those placed */
} bk_allocator_stats_t;


struct bk_allocator_s {
    const bk_host_t       *host;
    bk_journal_t          *journal;
    struct bk_backup_s    *backup;
    struct bk_metrics_s   *metrics;
    bk_queue_t            *queue;
    bk_records_t          *records;

    uint64_t               default_ttl_ms;
    uint64_t               max_ttl_ms;
    uint64_t               default_wait_ms;
    uint64_t               max_wait_ms;
    uint64_t               keep_ms;
    uint64_t               max_queued;
    uint64_t               queue_lease_ms;
    uint64_t               reconnect_ms;
    uint64_t               aging_ms;
    uint64_t               disk_percent;
    uint64_t               load_percent;
    int                    use_store;   /* journal: store */

    struct bk_calls_s      calls;
    struct bk_calls_s      retries;     /* their worker failed */
    struct bk_asks_s       idle;        /* nobody waits for them */
    struct bk_pendings_s   pendings;
    struct bk_endeds_s     endeds;
    struct bk_endeds_s     noting;      /* those that are being written */
    struct bk_drains_s     drains;
    struct bk_endings_s    endings;
    struct bk_watchers_s   watchers;
    struct bk_steps_s      later;       /* changed in the model */
    struct bk_steps_s      astray;      /* in the queue, the journal says no */
    int                    undrained;   /* one of them is not applied */

    bk_place_worker_t     *places;      /* room for a look at a pool */
    bk_seat_t            **seats;
    size_t                 nplaces;

    bk_timer_t            *kick;        /* look at everything again, soon */
    bk_timer_t            *flush;       /* endeds, astray: the journal */
    bk_timer_t            *restoring;   /* waits for workers no longer */
    bk_timer_t            *prune;
    bk_timer_t            *sweep;       /* who is still waited for? */
    bk_timer_t            *watch;
    int                    snapshot;    /* the first one is still open */
    int                    restored;    /* the journal was read */
    int                    reading;     /* it is just being read */
    unsigned               nrestored;   /* live rows that were found */
    int                    appeared;    /* workers of pendings, perhaps */
    int                    quiet;       /* the journal knows already */
    int                    sweeping;    /* its timer is set */
    int                    stopping;
    bk_allocator_stats_t   stats;
    uint8_t                secret[BK_SECRET_LEN];
};


/*
 * buf.c: audit lines, when the outcome is known: the members that all of them
 * have; writes it, frees b.  err: it is "failed", and why.
 */
void bk_buf_allocation(bk_buf_t *b, const uint8_t *hash, const char *pool);
void bk_buf_audit(bk_allocator_t *a, bk_request_t *r, const char *what,
    const char *outcome, const bk_err_t *err, bk_buf_t *b);

/* request.c */
/* "demo" in "default", or a name with a slash as it is */
int bk_request_pool_name(json_t *root, char pool[BK_TABLE_POOL_LEN],
    bk_err_t *err);
/* all but the rule's part */
int bk_request_read(bk_allocator_t *a, json_t *root, bk_call_t *c,
    bk_err_t *err);
/* who asks, and what the rules say */
int bk_request_rule(bk_call_t *c, int verb, bk_err_t *err);
/* repository, target, architecture: where its cache is */
char *bk_request_cache_key(const bk_call_t *c, bk_str_t claims);

/* select.c: c's pool by labels, in a namespace; and by a name without one, that
 * c->pool is in "default": another one, when that is not there */
int bk_select_by_labels(bk_call_t *c, int verb, json_t *selector,
    const char *space, bk_err_t *err);
int bk_select_by_name(bk_call_t *c, int verb, const char *name,
    bk_err_t *err);

/* pick.c: what it found, or why it found nothing */
void bk_pick(bk_allocator_t *a, bk_home_t *home, const char *arch,
    const char *cache_key, int untrusted, bk_pick_t *p);
/* -1: there is no worker that could ever take it */
int bk_pick_possible(bk_allocator_t *a, const bk_call_t *c, bk_err_t *err);
int bk_pick_broken(bk_allocator_t *a, const bk_record_t *rec, bk_err_t *err);

/* allocate.c: calls */
void bk_allocate_http(bk_request_t *r, const bk_request_info_t *info,
    void *data);
/* takes over what was read; verb: of the rules */
bk_call_t *bk_call_new(bk_allocator_t *a, bk_request_t *r,
    const bk_request_info_t *info, int format);
void bk_call_begin(bk_call_t *c, int verb);
void bk_call_fail(bk_call_t **c, const bk_err_t *err);
void bk_call_free(bk_call_t **c);
/* waits with this record */
void bk_call_wait(bk_call_t *c);
/* its allocation has ended: to be tried again or told, in a moment */
void bk_call_over(bk_call_t *c, int state, const char *why);
void bk_call_retry(bk_allocator_t *a);
void bk_call_attach(bk_call_t *c, bk_record_t *rec);
void bk_call_drop_all(bk_allocator_t *a, const bk_err_t *err);

/* make.c: a record of a call, and its row */
int bk_make(bk_call_t *c, bk_err_t *err);
/* its row into the journal */
void bk_make_insert(bk_call_t *c);
/* a certificate, of csr, spki or a new key; fills cert, ca, key, spki */
int bk_make_cert(bk_call_t *c, uint64_t expires_ms, bk_err_t *err);
bk_ask_t *bk_ask_new(bk_record_t *rec);
void bk_ask_free(bk_ask_t **ask);

/* run.c: who gets which worker */
void bk_run(bk_allocator_t *a);

/* settle.c: what is written goes into the model; who waits hears of it */
void bk_settle(bk_allocator_t *a, bk_record_t *rec);
void bk_settle_written(void *data, const bk_err_t *err);
void bk_settle_placed(void *data, const bk_err_t *err);
/* it is in the queue again: the journal must hear of it */
void bk_settle_unplace(bk_allocator_t *a, bk_record_t *rec);
/* nobody waits for it in a call any more */
void bk_settle_rest(bk_allocator_t *a, bk_record_t *rec);
/* it has ended, or never began: forget it */
void bk_settle_over(bk_allocator_t *a, bk_record_t *rec, int state,
    const char *why);

/* again.c: the answer of an earlier call, with a new key */
void bk_again(bk_call_t *c, bk_record_t *rec);
void bk_again_forget(bk_rekey_t *k);    /* its call went away */

/* lease.c */
void bk_lease_idle(bk_allocator_t *a, bk_ask_t *ask);
void bk_lease_busy(bk_allocator_t *a, bk_ask_t *ask);
/* somebody has shown interest */
void bk_lease_touch(bk_allocator_t *a, bk_record_t *rec);
void bk_lease_arm(bk_allocator_t *a);
void bk_lease_sweep(void *data);

/* answer.c: 200 with all that the caller needs */
void bk_answer(bk_call_t *c, int state);
/* where clients of a pool are sent, and the PEM of who they trust there: ca,
 * unless the pool has another one; buf: at least BK_TABLE_NAME_LEN bytes */
bk_str_t bk_answer_gateway(bk_allocator_t *a, const char *pool, bk_str_t ca,
    char *buf);
/* of one that is queued: position and estimate; what it waits for, which is
 * a look at all workers of the pool */
void bk_answer_queue(bk_allocator_t *a, bk_record_t *rec, bk_buf_t *b);
void bk_answer_waits(bk_allocator_t *a, bk_record_t *rec, bk_buf_t *b);

/* routes.c: which request goes where; lookup and release */
int bk_routes_add(bk_allocator_t *a, bk_err_t *err);
/* token: BK_TOKEN_MAX + 1 bytes or NULL; ttl_ms: NULL where there is none */
int bk_routes_token(bk_str_t body, char *token, uint8_t *hash,
    uint64_t *ttl_ms, bk_err_t *err);
/* an allocation as model and journal know it; -1: 404 */
int bk_routes_known(bk_allocator_t *a, const uint8_t *hash, bk_row_t *row,
    bk_err_t *err);
int bk_routes_unknown(bk_err_t *err);
/* answers, and writes the line that the host has not, since nobody asked but
 * a token; row: NULL or without a pool: it is not known what it is about */
void bk_routes_fail(bk_allocator_t *a, bk_request_t *r, const char *what,
    const bk_row_t *row, const bk_err_t *err);
int bk_routes_over(const bk_row_t *row, bk_err_t *err);

/* own.c: by its id, if it is the caller's own, or a rule allows verb */
int bk_own_find(bk_allocator_t *a, bk_request_t *r, bk_str_t id, int verb,
    uint8_t *hash, bk_row_t *row, bk_err_t *err);

/* renew.c, revoke.c, wake.c, old.c, show.c, watch.c */
void bk_renew_http(bk_request_t *r, const bk_request_info_t *info,
    void *data);
void bk_revoke_http(bk_request_t *r, const bk_request_info_t *info,
    void *data);
void bk_release_other_http(bk_request_t *r, const bk_request_info_t *info,
    void *data);
/* somebody else has renewed it */
void bk_renew_adopt(bk_allocator_t *a, bk_record_t *rec, uint64_t until_ms);
void bk_wake_http(bk_request_t *r, const bk_request_info_t *info,
    void *data);
void bk_old_allocate_http(bk_request_t *r, const bk_request_info_t *info,
    void *data);
void bk_old_certs_http(bk_request_t *r, const bk_request_info_t *info,
    void *data);
void bk_show_http(bk_request_t *r, const bk_request_info_t *info,
    void *data);
/* an allocation's members, without the last brace */
void bk_show_members(bk_allocator_t *a, const bk_row_t *row, bk_buf_t *b);
void bk_watch_begin(bk_allocator_t *a, bk_request_t *r, const uint8_t *hash);
/* its owner does */
int bk_watch_wanted(const bk_record_t *rec);
/* something about it changed */
void bk_watch_changed(bk_allocator_t *a, bk_record_t *rec);
void bk_watch_fire(void *data);
void bk_watch_drop_all(bk_allocator_t *a);

/* drain.c, drain_http.c */
void bk_drain_add(bk_allocator_t *a, const bk_drain_t *d);
void bk_drain_undo(bk_allocator_t *a, const char *pool, const char *worker);
int bk_drain_is(bk_str_t s, const char *name);
/* what the journal has; also again, when others may have written it */
int bk_drain_load(bk_allocator_t *a, bk_err_t *err);
void bk_drain_run(bk_allocator_t *a);
void bk_drain_appeared(bk_allocator_t *a, const bk_worker_info_t *worker);
bk_drain_t *bk_drain_find(bk_allocator_t *a, bk_str_t pool, bk_str_t worker);
void bk_drain_free(bk_allocator_t *a);
void bk_drain_http(bk_request_t *r, const bk_request_info_t *info,
    void *data);
void bk_drain_look_http(bk_request_t *r, const bk_request_info_t *info,
    void *data);

/* ending.c */
/* connections of the allocation that the gateways have not cut; their sum */
unsigned bk_ending_count(bk_allocator_t *a, const char *id,
    bk_count_t *count);
/* ends it, and answers when its connections are gone, or after a while */
void bk_ending_begin(bk_allocator_t *a, bk_request_t *r, const uint8_t *hash,
    const char *pool, int state, const char *reason);
/* it has ended so before */
void bk_ending_again(bk_allocator_t *a, bk_request_t *r, const uint8_t *hash,
    int state, const char *reason);
void bk_ending_drop_all(bk_allocator_t *a);

/* restore.c */
int bk_restore_start(bk_allocator_t *a, bk_err_t *err);
/* the journal can be read: called by it, or later */
int bk_restore_begin(bk_allocator_t *a, bk_err_t *err);
/* one that is not known so far */
void bk_restore_row(bk_allocator_t *a, const bk_row_t *row);
/* for model and table, so that the gateway can say why */
void bk_restore_ended(bk_allocator_t *a, const bk_row_t *row);
void bk_restore_run(bk_allocator_t *a);
void bk_restore_give_up(void *data);
void bk_restore_drop(bk_allocator_t *a, bk_record_t *rec);

/* adopt.c: the journal in the host's store */
void bk_adopt_store(void *ctx, int ready);
void bk_adopt_told(void *ctx, const bk_stored_t *row);
void bk_adopt_changed(const bk_row_t *row, void *data);

/* over.c */
/*
 * Journal, then model and table, then done() (which may be NULL).  With an
 * error the journal could not be written: the gateway is told all the same.
 */
void bk_allocator_end(bk_allocator_t *a, const uint8_t *hash, int state,
    const char *reason, bk_journal_pt done, void *data);
/* the model has ended it: the journal hears of it, in the end */
void bk_allocator_note(bk_allocator_t *a, const uint8_t *hash, int state,
    bk_str_t reason);
void bk_allocator_flush(void *data);
/* 1, with why: it has ended, and the journal has not heard of that yet: who
 * asks for its end again is not told that it is so */
int bk_over_unwritten(const bk_allocator_t *a, const uint8_t *hash,
    bk_err_t *err);

/* event.c */
void bk_allocator_event(void *ctx, const bk_event_t *event);

/* allocator.c */
/* what the journal has of workers */
int bk_allocator_load(bk_allocator_t *a, bk_err_t *err);
void bk_allocator_kick(bk_allocator_t *a);
/* the host is told whose it is */
void bk_allocator_owner(bk_allocator_t *a, const bk_record_t *rec);
/* bk_settle() as soon as the loop is free */
void bk_allocator_later(bk_allocator_t *a, bk_record_t *rec);
bk_step_t *bk_step_new(bk_allocator_t *a, bk_record_t *rec);
void bk_step_free(bk_step_t *s);

#endif /* BK_ALLOCATOR_H_INCLUDED */
