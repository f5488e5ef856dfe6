/*
 * The journal's calls, each handed on to what is behind it (journal_back.h).
 * Nothing else is here, so that neither backend knows the other.
 */

#include <stdlib.h>

#include "journal_back.h"


struct bk_journal_s {
    const bk_journal_back_t  *with;
    void                     *back;
};


bk_journal_t *
bk_journal_new(const bk_journal_back_t *with, void *back)
{
    bk_journal_t  *j;

    j = malloc(sizeof(bk_journal_t));

    if (j == NULL) {
        abort();
    }

    *j = (bk_journal_t) { with, back };

    return j;
}


void
bk_journal_close(bk_journal_t **jp)
{
    bk_journal_t  *j;

    j = *jp;

    if (j == NULL) {
        return;
    }

    /* done() may still use it */
    j->with->close(j->back);
    *jp = NULL;
    free(j);
}


void
bk_journal_insert(bk_journal_t *j, const bk_row_t *row, bk_journal_pt done,
    void *data)
{
    j->with->insert(j->back, row, done, data);
}


void
bk_journal_place(bk_journal_t *j, const uint8_t *hash, const char *worker,
    uint64_t expires_ms, uint64_t now_ms, bk_journal_pt done, void *data)
{
    j->with->place(j->back, hash, worker, expires_ms, now_ms, done, data);
}


void
bk_journal_answered(bk_journal_t *j, const uint8_t *hash, bk_journal_pt done,
    void *data)
{
    j->with->answered(j->back, hash, done, data);
}


void
bk_journal_rekey(bk_journal_t *j, const uint8_t *hash, const uint8_t *spki,
    size_t len, bk_journal_pt done, void *data)
{
    j->with->rekey(j->back, hash, spki, len, done, data);
}


void
bk_journal_extend(bk_journal_t *j, const uint8_t *hash, uint64_t expires_ms,
    uint64_t now_ms, bk_journal_pt done, void *data)
{
    j->with->extend(j->back, hash, expires_ms, now_ms, done, data);
}


void
bk_journal_end(bk_journal_t *j, const uint8_t *hash, int state,
    const char *reason, uint64_t now_ms, bk_journal_pt done, void *data)
{
    j->with->end(j->back, hash, state, reason, now_ms, done, data);
}


void
bk_journal_note(bk_journal_t *j, const uint8_t *hash, const char *what,
    const char *who, const char *text, uint64_t now_ms)
{
    j->with->note(j->back, hash, what, who, text, now_ms);
}


void
bk_journal_sync(bk_journal_t *j, bk_journal_pt done, void *data)
{
    j->with->sync(j->back, done, data);
}


void
bk_journal_backup(bk_journal_t *j, const char *path, bk_journal_pt done,
    void *data)
{
    j->with->backup(j->back, path, done, data);
}


void
bk_journal_prune(bk_journal_t *j, uint64_t before_ms)
{
    j->with->prune(j->back, before_ms);
}


void
bk_journal_trust(bk_journal_t *j, const char *pool, const char *worker,
    int untrusted, bk_journal_pt done, void *data)
{
    j->with->trust(j->back, pool, worker, untrusted, done, data);
}


int
bk_journal_trusted(bk_journal_t *j, bk_trust_pt fn, void *data, bk_err_t *err)
{
    return j->with->trusted(j->back, fn, data, err);
}


void
bk_journal_drain(bk_journal_t *j, const char *pool, const char *worker,
    const char *reason, uint64_t since_ms, bk_journal_pt done, void *data)
{
    j->with->drain(j->back, pool, worker, reason, since_ms, done, data);
}


void
bk_journal_undrain(bk_journal_t *j, const char *pool, const char *worker,
    bk_journal_pt done, void *data)
{
    j->with->undrain(j->back, pool, worker, done, data);
}


int
bk_journal_drained(bk_journal_t *j, bk_drained_pt fn, void *data,
    bk_err_t *err)
{
    return j->with->drained(j->back, fn, data, err);
}


void
bk_journal_stats(bk_journal_t *j, bk_journal_stats_t *out)
{
    j->with->stats(j->back, out);
}


int
bk_journal_find(bk_journal_t *j, const uint8_t *hash, bk_row_t *row,
    bk_err_t *err)
{
    return j->with->find(j->back, hash, row, err);
}


int
bk_journal_prefix(bk_journal_t *j, const uint8_t *prefix, size_t len,
    bk_row_t *row, bk_err_t *err)
{
    return j->with->prefix(j->back, prefix, len, row, err);
}


int
bk_journal_each(bk_journal_t *j, uint64_t since_ms, unsigned nended,
    bk_row_pt fn, void *data, bk_err_t *err)
{
    return j->with->each(j->back, since_ms, nended, fn, data, err);
}


int
bk_journal_history(bk_journal_t *j, const uint8_t *hash, bk_history_pt fn,
    void *data, bk_err_t *err)
{
    return j->with->history(j->back, hash, fn, data, err);
}


int
bk_journal_is_ready(bk_journal_t *j)
{
    return j->with->is_ready == NULL || j->with->is_ready(j->back);
}


void
bk_journal_store_is(bk_journal_t *j, int ready)
{
    if (j->with->ready != NULL) {
        j->with->ready(j->back, ready);
    }
}


void
bk_journal_store_told(bk_journal_t *j, const bk_stored_t *row)
{
    if (j->with->told != NULL) {
        j->with->told(j->back, row);
    }
}
