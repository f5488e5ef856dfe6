/*
 * What is behind the journal: the calls of journal.h, of which each backend
 * has its own.  Both are SQLite (journal_open.c and those it shares
 * journal_int.h with) and the host's store (journal_store.c).
 */

#ifndef BK_JOURNAL_BACK_H_INCLUDED
#define BK_JOURNAL_BACK_H_INCLUDED

#include "journal.h"


typedef struct {
    void (*close)(void *back);
    void (*insert)(void *back, const bk_row_t *row, bk_journal_pt done,
        void *data);
    void (*place)(void *back, const uint8_t *hash, const char *worker,
        uint64_t expires_ms, uint64_t now_ms, bk_journal_pt done,
        void *data);
    void (*answered)(void *back, const uint8_t *hash, bk_journal_pt done,
        void *data);
    void (*rekey)(void *back, const uint8_t *hash, const uint8_t *spki,
        size_t len, bk_journal_pt done, void *data);
    void (*extend)(void *back, const uint8_t *hash, uint64_t expires_ms,
        uint64_t now_ms, bk_journal_pt done, void *data);
    void (*end)(void *back, const uint8_t *hash, int state,
        const char *reason, uint64_t now_ms, bk_journal_pt done, void *data);
    void (*note)(void *back, const uint8_t *hash, const char *what,
        const char *who, const char *text, uint64_t now_ms);
    void (*sync)(void *back, bk_journal_pt done, void *data);
    void (*backup)(void *back, const char *path, bk_journal_pt done,
        void *data);
    void (*prune)(void *back, uint64_t before_ms);
    void (*trust)(void *back, const char *pool, const char *worker,
        int untrusted, bk_journal_pt done, void *data);
    int (*trusted)(void *back, bk_trust_pt fn, void *data, bk_err_t *err);
    void (*drain)(void *back, const char *pool, const char *worker,
        const char *reason, uint64_t since_ms, bk_journal_pt done,
        void *data);
    void (*undrain)(void *back, const char *pool, const char *worker,
        bk_journal_pt done, void *data);
    int (*drained)(void *back, bk_drained_pt fn, void *data, bk_err_t *err);
    void (*stats)(void *back, bk_journal_stats_t *out);
    int (*find)(void *back, const uint8_t *hash, bk_row_t *row,
        bk_err_t *err);
    int (*prefix)(void *back, const uint8_t *prefix, size_t len,
        bk_row_t *row, bk_err_t *err);
    int (*each)(void *back, uint64_t since_ms, unsigned nended, bk_row_pt fn,
        void *data, bk_err_t *err);
    int (*history)(void *back, const uint8_t *hash, bk_history_pt fn,
        void *data, bk_err_t *err);
    /* of a store; else NULL */
    int (*is_ready)(void *back);
    void (*ready)(void *back, int ready);
    void (*told)(void *back, const bk_stored_t *row);
} bk_journal_back_t;


/* Takes over what is behind it. */
bk_journal_t *bk_journal_new(const bk_journal_back_t *with, void *back);

/* journal_stats.c: of the histograms in journal.h */
unsigned bk_journal_bucket(const double *limits, double value);

#endif /* BK_JOURNAL_BACK_H_INCLUDED */
