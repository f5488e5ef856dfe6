/*
 * What the files of the allocator plugin share.
 *
 * A request's way: routes.c (HTTP, JSON) -> allocate.c (queue, choice of the
 * worker) -> journal.c (SQLite) -> host (model, table) -> answer.  restore.c
 * puts back at start what the journal holds.  Everything that held a token
 * or a key is wiped before it is freed; nothing here logs either.
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


#define BK_TOKEN_LEN     43         /* 32 bytes, base64url */
#define BK_TOKEN_MAX     256        /* of other issuers */
#define BK_ID_LEN        12
#define BK_REASON_MAX    (BK_TABLE_TEXT_LEN - 1)

#define BK_SECOND        UINT64_C(1000)
#define BK_HOUR          (3600 * BK_SECOND)
#define BK_GRACE         (24 * BK_HOUR)     /* certificate beyond expiry */


/* Text that grows; wiped when it moves and when it is freed. */
typedef struct {
    char    *data;
    size_t   len;
    size_t   size;
} bk_buf_t;


typedef struct bk_allocator_s  bk_allocator_t;
typedef struct bk_waiter_s     bk_waiter_t;
typedef struct bk_pending_s    bk_pending_t;
typedef struct bk_ended_s      bk_ended_t;
typedef struct bk_drain_s      bk_drain_t;
typedef struct bk_ending_s     bk_ending_t;


/* A call of allocate that was not answered yet. */
struct bk_waiter_s {
    TAILQ_ENTRY(bk_waiter_s)  link;
    bk_allocator_t  *a;
    bk_request_t    *r;
    bk_timer_t      *timer;
    bk_row_t         row;           /* pool and so on; hash when allocated */
    char             arch[BK_TABLE_ARCH_LEN];
    char            *csr;
    char            *metadata;
    uint64_t         ttl_ms;
    uint64_t         wait_ms;
    int              allocated;     /* in the journal and in the model */
    int              failures;      /* workers that failed under it */
    char             token[BK_TOKEN_LEN + 1];
    bk_buf_t         cert;          /* PEM */
    bk_buf_t         key;
    bk_buf_t         ca;
};

TAILQ_HEAD(bk_waiters_s, bk_waiter_s);


/* One look at the workers of a pool. */
typedef struct {
    bk_allocator_t  *a;
    const char      *arch;
    int              shared;
    int              found;
    int              state;
    uint32_t         allocations;
    char             worker[BK_TABLE_NAME_LEN];
    char             failed[BK_TABLE_NAME_LEN]; /* one that could be tried */
    char             message[BK_TABLE_MESSAGE_LEN];
    unsigned         total;
    unsigned         busy;
    unsigned         broken;
    unsigned         drained;
    unsigned         other_arch;
} bk_choice_t;


/* A live row whose worker is not known yet. */
struct bk_pending_s {
    TAILQ_ENTRY(bk_pending_s)  link;
    bk_row_t                   row;
};

TAILQ_HEAD(bk_pendings_s, bk_pending_s);


/* What the model ended and the journal does not say yet. */
struct bk_ended_s {
    TAILQ_ENTRY(bk_ended_s)  link;
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
    unsigned                  before;       /* connections */
    char                      id[BK_ID_LEN + 1];
    char                      reason[BK_TABLE_TEXT_LEN];
};

TAILQ_HEAD(bk_endings_s, bk_ending_s);


struct bk_allocator_s {
    const bk_host_t       *host;
    bk_journal_t          *journal;
    struct bk_backup_s    *backup;

    uint64_t               default_ttl_ms;
    uint64_t               max_ttl_ms;
    uint64_t               default_wait_ms;
    uint64_t               max_wait_ms;
    uint64_t               keep_ms;
    uint64_t               max_waiting;

    struct bk_waiters_s    waiters;     /* first come, first served */
    size_t                 nwaiters;
    struct bk_pendings_s   pendings;
    struct bk_endeds_s     endeds;
    struct bk_drains_s     drains;
    struct bk_endings_s    endings;
    int                    undrained;   /* one of them is not applied */

    bk_timer_t            *kick;        /* look at everything again, soon */
    bk_timer_t            *flush;       /* endeds into the journal */
    bk_timer_t            *restoring;   /* waits for workers no longer */
    bk_timer_t            *prune;
    int                    snapshot;    /* the first one is still open */
    unsigned               nrestored;   /* live rows that were found */
    int                    quiet;       /* the journal knows already */
    int                    stopping;
};


/* token.c: secrets, ids, times */
int bk_token_new(char token[BK_TOKEN_LEN + 1]);
int bk_token_valid(const char *token, size_t len);
void bk_token_hash(const char *token, size_t len, uint8_t *hash);
void bk_sha256(const void *data, size_t len, uint8_t *hash);
char *bk_token_id(const uint8_t *hash, char id[BK_ID_LEN + 1]);
void bk_wipe(void *data, size_t len);
char *bk_time_format(uint64_t ms, char *buf, size_t size);
int bk_duration_parse(const char *s, uint64_t *ms);
const char *bk_state_name(int state);
const char *bk_worker_state(int state);
bk_str_t bk_str(const char *s);
void bk_str_copy(char *dst, size_t size, bk_str_t s);

/* json.c: requests in, answers out */
int bk_fail(bk_err_t *err, int code, const char *reason, const char *hint,
    const char *fmt, ...) __attribute__((format(printf, 5, 6)));
json_t *bk_json_read(bk_str_t body, bk_err_t *err);
/* 1: there, 0: absent, -1: refused.  max: bytes without the NUL */
int bk_json_string(json_t *root, const char *key, size_t max, char *out,
    bk_err_t *err);
int bk_json_duration(json_t *root, const char *key, uint64_t *ms,
    bk_err_t *err);
/* malloc'd; *out is NULL when absent */
int bk_json_text(json_t *root, const char *key, size_t max, char **out,
    bk_err_t *err);
int bk_json_metadata(json_t *root, const char *key, char **out,
    bk_err_t *err);
void bk_json_wipe(json_t **root);   /* wipes its token first */
int bk_text_valid(const char *s);   /* no control bytes */

void bk_buf_add(bk_buf_t *b, const char *data, size_t len);
void bk_buf_str(bk_buf_t *b, const char *key, const char *value);
void bk_buf_number(bk_buf_t *b, const char *key, uint64_t value);
void bk_buf_bool(bk_buf_t *b, const char *key, int value);
void bk_buf_time(bk_buf_t *b, const char *key, uint64_t ms);
void bk_buf_base64(bk_buf_t *b, const char *key, bk_str_t data);
void bk_buf_free(bk_buf_t *b);

/* request.c */
/* "demo" in "default", or a name with a slash as it is */
int bk_request_pool_name(json_t *root, char pool[BK_TABLE_POOL_LEN],
    bk_err_t *err);
int bk_request_read(bk_allocator_t *a, json_t *root, bk_waiter_t *w,
    bk_err_t *err);
/* 0: no other call or allocation has the key of w */
int bk_request_idempotent(bk_allocator_t *a, const bk_waiter_t *w,
    bk_err_t *err);

/* choose.c: what it found, or why it found nothing */
void bk_choose(bk_allocator_t *a, const bk_waiter_t *w, bk_choice_t *c);

/* answer.c: 200 with all that the caller needs */
void bk_answer(const bk_waiter_t *w, const bk_alloc_info_t *info);

/* allocate.c: the queue */
void bk_allocate_http(bk_request_t *r, const bk_request_info_t *info,
    void *data);
void bk_allocate_run(bk_allocator_t *a);
void bk_allocate_drop_all(bk_allocator_t *a, const char *why);

/* routes.c: which request goes where; lookup and release */
int bk_routes_add(bk_allocator_t *a, bk_err_t *err);
/* token: BK_TOKEN_MAX + 1 bytes or NULL; ttl_ms: NULL where there is none */
int bk_routes_token(bk_str_t body, char *token, uint8_t *hash,
    uint64_t *ttl_ms, bk_err_t *err);
/* an allocation as model and journal know it; -1: 404 */
int bk_routes_known(bk_allocator_t *a, const uint8_t *hash, bk_row_t *row,
    bk_err_t *err);
int bk_routes_unknown(bk_err_t *err);
int bk_routes_over(const bk_row_t *row, bk_err_t *err);

/* renew.c, revoke.c, wake.c */
void bk_renew_http(bk_request_t *r, const bk_request_info_t *info,
    void *data);
void bk_revoke_http(bk_request_t *r, const bk_request_info_t *info,
    void *data);
void bk_wake_http(bk_request_t *r, const bk_request_info_t *info,
    void *data);

/* drain.c */
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
/* answers when they are gone, or after a while; before: how many there were */
void bk_ending_begin(bk_allocator_t *a, bk_request_t *r, const char *id,
    const char *reason, unsigned before);
void bk_ending_drop_all(bk_allocator_t *a);

/* restore.c */
int bk_restore_start(bk_allocator_t *a, bk_err_t *err);
void bk_restore_run(bk_allocator_t *a);
void bk_restore_give_up(void *data);
bk_pending_t *bk_restore_find(bk_allocator_t *a, const uint8_t *hash);
int bk_restore_holds(bk_allocator_t *a, bk_str_t pool, bk_str_t worker);
void bk_restore_drop(bk_allocator_t *a, bk_pending_t **p);

/* allocator.c */
/* journal, then model and table; -1 when the journal could not be written */
int bk_allocator_end(bk_allocator_t *a, const uint8_t *hash, int state,
    const char *reason, bk_err_t *err);
void bk_allocator_kick(bk_allocator_t *a);

#endif /* BK_ALLOCATOR_H_INCLUDED */
