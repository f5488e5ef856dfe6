/*
 * What the files journal_store*.c share: the journal in the host's store.
 *
 * Rows are in memory, as the store says that they are; a change is a whole
 * row that is put there, one at a time for each allocation, and counts when
 * the store has it.  All of it is on the loop's thread.
 */

#ifndef BK_JOURNAL_STORE_H_INCLUDED
#define BK_JOURNAL_STORE_H_INCLUDED

#include <sys/queue.h>
#include <uthash.h>

#include "allocator.h"
#include "journal_back.h"


#define BK_STORE_LINES   32         /* of a history that are kept */
#define BK_STORE_WAITS   10000      /* changes; more are refused */
#define BK_STORE_ENDED   BK_HOUR    /* ended rows are remembered */


enum {
    BK_STORE_INSERT = 0,
    BK_STORE_PLACE,
    BK_STORE_ANSWERED,
    BK_STORE_REKEY,
    BK_STORE_EXTEND,
    BK_STORE_END,

    BK_STORE_TRUST,
    BK_STORE_DRAIN,
    BK_STORE_UNDRAIN
};

typedef struct bk_kept_s       bk_kept_t;
typedef struct bk_line_s       bk_line_t;
typedef struct bk_change_s     bk_change_t;
typedef struct bk_keeper_s     bk_keeper_t;
typedef struct bk_store_row_s  bk_store_row_t;
typedef struct bk_store_hand_s bk_store_hand_t;


/* A row but for its hash, as long as it must be; never changed. */
struct bk_kept_s {
    uint64_t  created_ms;
    uint64_t  expires_ms;
    uint64_t  changed_ms;
    uint64_t  ttl_ms;
    uint64_t  max_ttl_ms;
    uint32_t  concurrency;
    int       priority;
    int       untrusted;
    int       state;
    int       answered;
    size_t    spki_len;
    uint8_t   nonce[BK_NONCE_LEN];
    char      data[];               /* the key, then the texts */
};

struct bk_line_s {
    STAILQ_ENTRY(bk_line_s)  link;
    uint64_t                 when_ms;
    char                    *what;
    char                    *who;
    char                    *text;
};

/* Something asked for, of a row or of a worker. */
struct bk_change_s {
    STAILQ_ENTRY(bk_change_s)  link;
    bk_journal_pt              done;
    void                      *data;
    bk_kept_t                 *row;         /* of INSERT */
    char                      *text;        /* worker, reason */
    uint8_t                   *spki;
    size_t                     spki_len;
    uint64_t                   expires_ms;
    uint64_t                   when_ms;
    uint64_t                   began_ms;    /* monotonic */
    int                        kind;
    int                        number;      /* state, untrusted */
    int                        tries;       /* that came too late */
};

STAILQ_HEAD(bk_changes_s, bk_change_s);

/* What rows and workers have in common: changes, one after the other. */
struct bk_keeper_s {
    TAILQ_ENTRY(bk_keeper_s)  link;         /* while it is on a list */
    bk_store_hand_t          *store;
    struct bk_changes_s       changes;      /* the first may be under way */
    bk_err_t                 *err;          /* its outcome, to be told */
    int                       busy;
    int                       worker;       /* 1: a bk_store_worker_t */
};

TAILQ_HEAD(bk_keepers_s, bk_keeper_s);

typedef struct {
    bk_keeper_t           k;                /* must be first */
    UT_hash_handle        hh;
    struct bk_keepers_s   rows;             /* that wait for it */
    char                 *drained;
    char                 *drained_next;
    uint64_t              drained_ms;
    uint64_t              drained_next_ms;
    int                   trust;            /* as in bk_stored_worker_t */
    int                   trust_next;
    size_t                len;
    char                  key[];            /* pool, NUL, worker, NUL */
} bk_store_worker_t;

struct bk_store_row_s {
    bk_keeper_t               k;            /* must be first */
    UT_hash_handle            hh;
    uint8_t                   hash[BK_TABLE_HASH_LEN];
    bk_kept_t                *kept;         /* NULL: it is not there */
    bk_kept_t                *next;         /* is being put */
    STAILQ_HEAD(, bk_line_s)  lines;
    unsigned                  nlines;
    uint64_t                  since_ms;     /* Unix time */
    unsigned                  seen;         /* in which reading of all */
    unsigned                  doubtful:1;   /* nobody has it, if it is there */
    unsigned                  unsure:1;     /* kept may not be what is there */
    unsigned                  told:1;       /* news came amid a change */
};

struct bk_store_hand_s {
    const bk_host_t      *host;
    bk_changed_pt         changed;
    void                 *data;
    bk_store_row_t       *rows;
    bk_store_worker_t    *workers;
    struct bk_keepers_s   over;             /* to be told this turn */
    struct bk_changes_s   syncs;
    bk_timer_t           *turn;
    bk_journal_stats_t    stats;
    size_t                nchanges;         /* under way */
    unsigned              reading;          /* number of it */
    int                   ready;
    int                   loaded;           /* at least once */
    int                   closing;
};


/* journal_store.c */
void bk_store_ask(bk_keeper_t *k, bk_change_t *c);
void bk_store_start(bk_keeper_t *k);
void bk_store_done(void *data, const bk_err_t *err);
/* the first change is over, which is told when the loop is free */
void bk_store_later(bk_keeper_t *k, const bk_err_t *err);
void bk_store_not_ready(bk_err_t *err);
bk_change_t *bk_store_change(int kind, bk_journal_pt done, void *data);
bk_store_row_t *bk_store_row(bk_store_hand_t *s, const uint8_t *hash);
bk_store_row_t *bk_store_row_find(bk_store_hand_t *s, const uint8_t *hash);
/* nothing is known of it any more */
void bk_store_row_drop(bk_store_row_t *r);

/* journal_store_ask.c */
void bk_store_insert(void *back, const bk_row_t *row, bk_journal_pt done,
    void *data);
void bk_store_place(void *back, const uint8_t *hash, const char *worker,
    uint64_t expires_ms, uint64_t now_ms, bk_journal_pt done, void *data);
void bk_store_answered(void *back, const uint8_t *hash, bk_journal_pt done,
    void *data);
void bk_store_rekey(void *back, const uint8_t *hash, const uint8_t *spki,
    size_t len, bk_journal_pt done, void *data);
void bk_store_extend(void *back, const uint8_t *hash, uint64_t expires_ms,
    uint64_t now_ms, bk_journal_pt done, void *data);
void bk_store_end(void *back, const uint8_t *hash, int state,
    const char *reason, uint64_t now_ms, bk_journal_pt done, void *data);
void bk_store_note(void *back, const uint8_t *hash, const char *what,
    const char *who, const char *text, uint64_t now_ms);
/* 1: *row is to be put; 0: nothing is to be done; -1: it cannot be done */
int bk_store_apply(bk_store_row_t *r, const bk_change_t *c, bk_row_t *row,
    bk_err_t *err);
/* it is kept: its line of the history */
void bk_store_kept_line(bk_store_row_t *r, const bk_change_t *c);

/* journal_store_row.c */
bk_kept_t *bk_kept_new(const bk_row_t *row);
/* metadata is the kept row's */
void bk_kept_row(const bk_kept_t *kept, const uint8_t *hash, bk_row_t *row);
/* 1: of what others may change something is not the same */
int bk_kept_news(const bk_kept_t *a, const bk_kept_t *b);
/* as the store has it; *record is to be freed */
void bk_kept_stored(const bk_row_t *row, const uint8_t *key_hash,
    char *record, bk_stored_t *out);
char *bk_kept_record(const bk_row_t *row);
/* NULL: not a row of ours; err says why */
bk_kept_t *bk_kept_read(const bk_stored_t *stored, bk_err_t *err);

/* journal_store_read.c */
void bk_store_ready(void *back, int ready);
void bk_store_told(void *back, const bk_stored_t *stored);
/* no change of it is under way any more */
void bk_store_settled(bk_store_row_t *r);
void bk_store_line(bk_store_row_t *r, const char *what, const char *who,
    const char *text, uint64_t when_ms);
int bk_store_find(void *back, const uint8_t *hash, bk_row_t *row,
    bk_err_t *err);
int bk_store_prefix(void *back, const uint8_t *prefix, size_t len,
    bk_row_t *row, bk_err_t *err);
int bk_store_each(void *back, uint64_t since_ms, unsigned nended,
    bk_row_pt fn, void *data, bk_err_t *err);
int bk_store_history(void *back, const uint8_t *hash, bk_history_pt fn,
    void *data, bk_err_t *err);
void bk_store_prune(void *back, uint64_t before_ms);

/* journal_store_worker.c */
bk_store_worker_t *bk_store_worker_find(bk_store_hand_t *s, const char *pool,
    const char *worker);
void bk_store_worker_put(bk_store_worker_t *w);
void bk_store_worker_over(bk_store_worker_t *w, const bk_err_t *err);
void bk_store_worker_load(bk_store_hand_t *s);
void bk_store_workers_free(bk_store_hand_t *s);
void bk_store_trust(void *back, const char *pool, const char *worker,
    int untrusted, bk_journal_pt done, void *data);
int bk_store_trusted(void *back, bk_trust_pt fn, void *data, bk_err_t *err);
void bk_store_drain(void *back, const char *pool, const char *worker,
    const char *reason, uint64_t since_ms, bk_journal_pt done, void *data);
void bk_store_undrain(void *back, const char *pool, const char *worker,
    bk_journal_pt done, void *data);
int bk_store_drained(void *back, bk_drained_pt fn, void *data,
    bk_err_t *err);

#endif /* BK_JOURNAL_STORE_H_INCLUDED */
