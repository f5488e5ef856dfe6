/*
 * What the files of the journal in SQLite share: the only users of SQLite and
 * of threads.
 *
 * The loop's thread has the reader and the list of what was asked for within
 * this turn; the writer's thread has the connection that writes; between
 * them are two lists under one lock.  Nothing else is shared.
 */

#ifndef BK_JOURNAL_INT_H_INCLUDED
#define BK_JOURNAL_INT_H_INCLUDED

#include <pthread.h>
#include <sqlite3.h>
#include <sys/queue.h>

#include "allocator.h"
#include "journal.h"
#include "journal_back.h"


#define BK_JOURNAL_PATH_MAX  4096
#define BK_JOURNAL_DAMAGED   "put a good copy back, or move it away to start " \
                             "without the allocations that it holds"


/* What is written; the statements are in journal_apply.c. */
enum {
    BK_OP_INSERT = 0,
    BK_OP_PLACE,
    BK_OP_ANSWERED,
    BK_OP_REKEY,
    BK_OP_EXTEND,
    BK_OP_END,
    BK_OP_NOTE,
    BK_OP_LINE,             /* a note, if the statement before changed a row */
    BK_OP_TRUST,
    BK_OP_DRAIN,
    BK_OP_UNDRAIN,
    BK_OP_STATEMENTS,

    BK_OP_SYNC = BK_OP_STATEMENTS,
    BK_OP_BACKUP
};

enum {
    BK_READ_FIND = 0,
    BK_READ_PREFIX,
    BK_READ_LIVE,
    BK_READ_ENDED,
    BK_READ_HISTORY,
    BK_READ_DRAINED,
    BK_READ_TRUST,
    BK_READ_STATEMENTS
};


/* A parameter of a statement. */
typedef struct {
    int          type;      /* SQLITE_INTEGER, SQLITE_TEXT, SQLITE_BLOB */
    size_t       len;
    int64_t      number;
    const void  *data;
} bk_arg_t;


/* Something asked for, with copies of its parameters behind it. */
typedef struct bk_op_s  bk_op_t;

struct bk_op_s {
    STAILQ_ENTRY(bk_op_s)  link;
    bk_journal_pt          done;
    void                  *data;
    bk_err_t              *err;     /* NULL: on the disk */
    size_t                 size;    /* of all of it */
    int                    kind;
    unsigned               nargs;
    bk_arg_t               args[];
};

STAILQ_HEAD(bk_ops_s, bk_op_s);
typedef struct bk_ops_s  bk_ops_t;


typedef struct bk_sqlite_s  bk_sqlite_t;

/* A thread that only reads, for one job (journal_check.c). */
typedef struct {
    bk_sqlite_t   *journal;
    pthread_t      thread;
    int            running;     /* to be joined */
    bk_op_t       *op;          /* whose end is told with it */
    sqlite3       *db;
} bk_side_t;


struct bk_sqlite_s {
    const bk_host_t       *host;
    char                   path[BK_JOURNAL_PATH_MAX];

    /* the loop's */
    sqlite3               *reader;
    sqlite3_stmt          *read[BK_READ_STATEMENTS];
    bk_ops_t               asked;       /* within this turn */
    bk_timer_t            *turn;        /* its end */
    bk_watch_t            *watch;
    int                    wake;        /* eventfd: something is finished */
    size_t                 bytes;       /* of all that is under way */
    size_t                 nops;
    bk_side_t              check;
    bk_side_t              backup;

    /* the lock's */
    pthread_mutex_t        lock;
    pthread_cond_t         work;        /* for the writer */
    bk_ops_t               queue;
    bk_ops_t               finished;
    int                    stop;        /* also read without it: atomic */
    int                    damaged;     /* found so by the check */
    int                    pruning;
    uint64_t               prune_ms;
    bk_journal_stats_t     stats;

    /* the writer's */
    pthread_t              thread;
    int                    started;
    sqlite3               *db;
    sqlite3_stmt          *write[BK_OP_STATEMENTS];
    sqlite3_stmt          *prune[2];
    int                    wal_pages;
};


/* journal_open.c */
int bk_journal_connect(const char *path, sqlite3 **db, bk_err_t *err);
int bk_journal_prepare(sqlite3 *db, const char *const *sql,
    sqlite3_stmt **stmt, int n);
int bk_journal_refuse(bk_err_t *err, const char *path, const char *what);
void bk_journal_dir_sync(const char *path);     /* of the folder it is in */

/* journal_migrate.c */
#define BK_JOURNAL_SCHEMA  3
extern const char  bk_journal_schema[];
int bk_journal_migrate(sqlite3 *db, const char *path, int version,
    bk_err_t *err);

/* journal_check.c */
int bk_journal_check(sqlite3 *db, const char *path, int *version,
    bk_err_t *err);
int bk_journal_trouble(bk_err_t *err, sqlite3 *db, const char *path,
    const char *what);
/* a large file, beside what goes on */
int bk_journal_check_start(bk_sqlite_t *j, bk_err_t *err);
int bk_journal_number(sqlite3 *db, const char *sql, int64_t *value);

/* journal_wal.c: before anybody opens it */
int bk_journal_wal_check(const char *path, bk_err_t *err);

/* journal_read.c */
extern const char *const  bk_journal_read_sql[BK_READ_STATEMENTS];
sqlite3_stmt *bk_journal_query(bk_sqlite_t *j, int n);
/* after the last step; -1 unless it was SQLITE_DONE */
int bk_journal_over(bk_sqlite_t *j, sqlite3_stmt *s, int rc, bk_err_t *err);
void bk_journal_text(sqlite3_stmt *s, int column, char *buf, size_t size);

/* journal_write.c */
bk_op_t *bk_journal_op(int kind, const bk_arg_t *args, unsigned nargs,
    bk_journal_pt done, void *data);
void bk_journal_push(bk_sqlite_t *j, bk_op_t *op);
void bk_journal_ask(bk_sqlite_t *j, int kind, const bk_arg_t *args,
    unsigned nargs, bk_journal_pt done, void *data);
bk_arg_t bk_arg_text(const char *s);
bk_arg_t bk_arg_blob(const void *data, size_t len);
bk_arg_t bk_arg_number(uint64_t n);

/* journal_thread.c */
int bk_journal_thread_start(bk_sqlite_t *j, bk_err_t *err);
void bk_journal_thread_stop(bk_sqlite_t *j);
void bk_journal_hand_over(bk_sqlite_t *j);     /* what was asked for */
void bk_journal_deliver(bk_sqlite_t *j);       /* what is finished */
void bk_journal_finish(bk_sqlite_t *j, bk_op_t *op);   /* by any thread */
void bk_op_fail(bk_op_t *op, const bk_err_t *err);
int bk_journal_thread_new(pthread_t *thread, void *(*fn)(void *),
    void *data, bk_err_t *err);

/* journal_stats.c: a transaction, with the lock */
void bk_journal_count(bk_sqlite_t *j, const bk_ops_t *batch,
    double seconds);

/* journal_apply.c: on the writer's thread */
extern const char *const  bk_journal_write_sql[BK_OP_STATEMENTS];
extern const char *const  bk_journal_prune_sql[2];
int bk_journal_batch(bk_sqlite_t *j, bk_ops_t *ops);   /* -1: none of it */
int bk_journal_prune_some(bk_sqlite_t *j, uint64_t before_ms);
int bk_journal_error(sqlite3 *db, bk_err_t *err);       /* -1 */

/* journal_backup.c */
int bk_journal_copy(sqlite3 *db, const char *path, int replace,
    const int *stop, bk_err_t *err);

/* journal_check.c: threads that read */
int bk_journal_side_start(bk_sqlite_t *j, bk_side_t *side,
    void *(*fn)(void *), bk_err_t *err);
void bk_journal_side_wait(bk_side_t *side);
void bk_journal_side_join(bk_side_t *side);

/* journal_write.c, _read.c, _drain.c, _backup.c, _stats.c: see journal.h */
void bk_sqlite_insert(void *back, const bk_row_t *row, bk_journal_pt done,
    void *data);
void bk_sqlite_place(void *back, const uint8_t *hash, const char *worker,
    uint64_t expires_ms, uint64_t now_ms, bk_journal_pt done, void *data);
void bk_sqlite_answered(void *back, const uint8_t *hash, bk_journal_pt done,
    void *data);
void bk_sqlite_rekey(void *back, const uint8_t *hash, const uint8_t *spki,
    size_t len, bk_journal_pt done, void *data);
void bk_sqlite_extend(void *back, const uint8_t *hash, uint64_t expires_ms,
    uint64_t now_ms, bk_journal_pt done, void *data);
void bk_sqlite_end(void *back, const uint8_t *hash, int state,
    const char *reason, uint64_t now_ms, bk_journal_pt done, void *data);
void bk_sqlite_note(void *back, const uint8_t *hash, const char *what,
    const char *who, const char *text, uint64_t now_ms);
void bk_sqlite_sync(void *back, bk_journal_pt done, void *data);
void bk_sqlite_backup(void *back, const char *path, bk_journal_pt done,
    void *data);
void bk_sqlite_prune(void *back, uint64_t before_ms);
void bk_sqlite_trust(void *back, const char *pool, const char *worker,
    int untrusted, bk_journal_pt done, void *data);
int bk_sqlite_trusted(void *back, bk_trust_pt fn, void *data, bk_err_t *err);
void bk_sqlite_drain(void *back, const char *pool, const char *worker,
    const char *reason, uint64_t since_ms, bk_journal_pt done, void *data);
void bk_sqlite_undrain(void *back, const char *pool, const char *worker,
    bk_journal_pt done, void *data);
int bk_sqlite_drained(void *back, bk_drained_pt fn, void *data, bk_err_t *err);
void bk_sqlite_stats(void *back, bk_journal_stats_t *out);
int bk_sqlite_find(void *back, const uint8_t *hash, bk_row_t *row,
    bk_err_t *err);
int bk_sqlite_prefix(void *back, const uint8_t *prefix, size_t len,
    bk_row_t *row, bk_err_t *err);
int bk_sqlite_each(void *back, uint64_t since_ms, unsigned nended,
    bk_row_pt fn, void *data, bk_err_t *err);
int bk_sqlite_history(void *back, const uint8_t *hash, bk_history_pt fn,
    void *data, bk_err_t *err);

#endif /* BK_JOURNAL_INT_H_INCLUDED */
