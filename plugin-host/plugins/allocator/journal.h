/*
 * The journal: every allocation that was answered, in SQLite, on the disk
 * before the answer (doc/journal.md).
 *
 * A thread of its own has the connection that writes: what is asked for
 * within one turn of the loop, or while it is busy, is one transaction (WAL,
 * synchronous=FULL).  done() is called on the loop, in the order of the
 * calls, when the transaction is on the disk, or with *err when nothing of
 * it is.  What a call needs is copied.  Reading is done by a connection on
 * the loop's thread and sees what was committed.
 *
 * Only the files journal_*.c know SQLite and threads; see journal_back.h.
 */

#ifndef BK_JOURNAL_H_INCLUDED
#define BK_JOURNAL_H_INCLUDED

#include <stddef.h>
#include <stdint.h>

#include "bk_plugin.h"
#include "bk_table.h"


#define BK_SPKI_MAX      2048       /* an RSA key of 8192 bits has 1062 */
#define BK_JOB_ID_MAX    128
#define BK_CLIENT_MAX    128
#define BK_METADATA_MAX  8192
#define BK_OWNER_MAX     256        /* of an identity's name */
#define BK_RULE_MAX      64
#define BK_CACHE_KEY_MAX 256
#define BK_NONCE_LEN     16

/*
 * A row.  state: BK_ALLOC_QUEUED without a worker, BK_ALLOC_READY with one,
 * as long as it lives; then how it ended.
 */
typedef struct {
    uint8_t     hash[BK_TABLE_HASH_LEN];
    uint8_t     spki[BK_SPKI_MAX];
    size_t      spki_len;
    uint8_t     nonce[BK_NONCE_LEN];    /* of which its token was made, with
                                           the secret of the state folder */
    char        pool[BK_TABLE_POOL_LEN];
    char        worker[BK_TABLE_NAME_LEN];  /* empty: queued */
    char        job_id[BK_JOB_ID_MAX + 1];
    char        client[BK_CLIENT_MAX + 1];  /* address */
    char        owner[BK_OWNER_MAX + 1];    /* the identity's name */
    char        rule[BK_RULE_MAX + 1];
    char        cache_key[BK_CACHE_KEY_MAX + 1];
    char        arch[BK_TABLE_ARCH_LEN];
    char        idempotency[BK_JOB_ID_MAX + 1];
    char        reason[BK_TABLE_TEXT_LEN];
    const char *metadata;           /* JSON text or NULL; not read back */
    uint64_t    created_ms;
    uint64_t    expires_ms;
    uint64_t    changed_ms;
    uint64_t    ttl_ms;             /* from when it has a worker */
    uint64_t    max_ttl_ms;         /* of its rule; 0: none */
    uint32_t    concurrency;        /* of its rule; 0: none */
    int         priority;
    int         untrusted;
    int         state;
    int         answered;           /* somebody has its token, or soon will */
} bk_row_t;

typedef struct bk_journal_s  bk_journal_t;

/* err: NULL when it is on the disk */
typedef void (*bk_journal_pt)(void *data, const bk_err_t *err);
typedef int (*bk_row_pt)(const bk_row_t *row, void *data);


/* Makes it, or opens and checks it, migrates it, starts the thread. */
int bk_journal_open(bk_journal_t **j, const bk_host_t *h, const char *dir,
    bk_err_t *err);
/*
 * In place of SQLite the host's store (doc/journal.md), which need not be
 * ready so soon, nor for good.  While it is not nothing is found, changes get
 * 503 StoreNotReady.  changed(): somebody else wrote a row, or took it away
 * (then it is FAILED); not of rows that are found when it is ready for the
 * first time.
 */
typedef void (*bk_changed_pt)(const bk_row_t *row, void *data);
int bk_journal_open_store(bk_journal_t **j, const bk_host_t *h,
    bk_changed_pt changed, void *data, bk_err_t *err);
/* from the plugin's callbacks; before anybody acts on it */
void bk_journal_store_is(bk_journal_t *j, int ready);
void bk_journal_store_told(bk_journal_t *j, const bk_stored_t *row);
int bk_journal_is_ready(bk_journal_t *j);       /* SQLite: always */

/* Writes what is under way, calls done(), ends the thread. */
void bk_journal_close(bk_journal_t **j);

/* Writing.  done may be NULL: then a failure is logged. */
void bk_journal_insert(bk_journal_t *j, const bk_row_t *row,
    bk_journal_pt done, void *data);
void bk_journal_place(bk_journal_t *j, const uint8_t *hash,
    const char *worker, uint64_t expires_ms, uint64_t now_ms,
    bk_journal_pt done, void *data);
void bk_journal_answered(bk_journal_t *j, const uint8_t *hash,
    bk_journal_pt done, void *data);
/* a new key for an answer that is given again (idempotencyKey, no csr) */
void bk_journal_rekey(bk_journal_t *j, const uint8_t *hash,
    const uint8_t *spki, size_t len, bk_journal_pt done, void *data);
void bk_journal_extend(bk_journal_t *j, const uint8_t *hash,
    uint64_t expires_ms, uint64_t now_ms, bk_journal_pt done, void *data);
void bk_journal_end(bk_journal_t *j, const uint8_t *hash, int state,
    const char *reason, uint64_t now_ms, bk_journal_pt done, void *data);
/* one line of an allocation's history that is not one of the above */
void bk_journal_note(bk_journal_t *j, const uint8_t *hash, const char *what,
    const char *who, const char *text, uint64_t now_ms);
/* calls done() when everything asked for before is on the disk */
void bk_journal_sync(bk_journal_t *j, bk_journal_pt done, void *data);
/* the state folder's copy for later: a whole journal at path (which must not
 * exist), while everything goes on */
void bk_journal_backup(bk_journal_t *j, const char *path, bk_journal_pt done,
    void *data);
/* forgets ended rows and their history, in small transactions */
void bk_journal_prune(bk_journal_t *j, uint64_t before_ms);

/* Workers that untrusted (1) or trusted (0) allocations were on: for good. */
void bk_journal_trust(bk_journal_t *j, const char *pool, const char *worker,
    int untrusted, bk_journal_pt done, void *data);
typedef void (*bk_trust_pt)(const char *pool, const char *worker,
    int untrusted, void *data);
int bk_journal_trusted(bk_journal_t *j, bk_trust_pt fn, void *data,
    bk_err_t *err);

/* Drained workers (journal_drain.c): a restart must not give them out. */
void bk_journal_drain(bk_journal_t *j, const char *pool, const char *worker,
    const char *reason, uint64_t since_ms, bk_journal_pt done, void *data);
void bk_journal_undrain(bk_journal_t *j, const char *pool,
    const char *worker, bk_journal_pt done, void *data);
typedef void (*bk_drained_pt)(const char *pool, const char *worker,
    const char *reason, uint64_t since_ms, void *data);
int bk_journal_drained(bk_journal_t *j, bk_drained_pt fn, void *data,
    bk_err_t *err);

/*
 * How it is doing.  Bucket i of a histogram counts the values of at most
 * bk_journal_sizes[i] (changes of a transaction) or bk_journal_times[i]
 * (seconds that it took); the last bucket those above.
 */
#define BK_JOURNAL_BUCKETS  10
extern const double  bk_journal_sizes[BK_JOURNAL_BUCKETS];
extern const double  bk_journal_times[BK_JOURNAL_BUCKETS];

typedef struct {
    uint64_t  sizes[BK_JOURNAL_BUCKETS + 1];
    uint64_t  times[BK_JOURNAL_BUCKETS + 1];
    uint64_t  batches;
    uint64_t  changes;          /* the sum of the sizes */
    double    seconds;          /* the sum of the times */
    uint64_t  failures;         /* changes that were not written */
    size_t    waiting;          /* changes under way now */
    int       damaged;          /* nothing is written any more */
} bk_journal_stats_t;

void bk_journal_stats(bk_journal_t *j, bk_journal_stats_t *out);

/* Reading.  find: 1, 0 or -1. */
int bk_journal_find(bk_journal_t *j, const uint8_t *hash, bk_row_t *row,
    bk_err_t *err);
/* rows whose hash begins so; at most two; their number or -1 */
int bk_journal_prefix(bk_journal_t *j, const uint8_t *prefix, size_t len,
    bk_row_t *row, bk_err_t *err);
/* live rows in the order of their making, then the ended ones that changed
 * at since_ms or later, the last nended of them; fn may write */
int bk_journal_each(bk_journal_t *j, uint64_t since_ms, unsigned nended,
    bk_row_pt fn, void *data, bk_err_t *err);
/* an allocation's history, the oldest first; of many lines the last 200 */
typedef struct {
    uint64_t    when_ms;
    const char *what;       /* "made", "placed", "renewed", "released", ... */
    const char *who;        /* identity, or empty */
    const char *text;
} bk_history_t;
typedef int (*bk_history_pt)(const bk_history_t *h, void *data);
int bk_journal_history(bk_journal_t *j, const uint8_t *hash,
    bk_history_pt fn, void *data, bk_err_t *err);

#endif /* BK_JOURNAL_H_INCLUDED */
