/*
 * For callers that cannot wait yet: journal.h's calls, which hold up the
 * loop until they are on the disk.  To be removed with its last caller.
 */

#ifndef BK_JOURNAL_WAIT_H_INCLUDED
#define BK_JOURNAL_WAIT_H_INCLUDED

#include "allocator.h"
#include "journal.h"

int bk_wait_insert(bk_journal_t *j, const bk_row_t *row, bk_err_t *err);
int bk_wait_end(bk_journal_t *j, const uint8_t *hash, int state,
    const char *reason, uint64_t now_ms, bk_err_t *err);
int bk_wait_extend(bk_journal_t *j, const uint8_t *hash,
    uint64_t expires_ms, uint64_t now_ms, bk_err_t *err);
int bk_wait_answered(bk_journal_t *j, const uint8_t *hash, bk_err_t *err);
int bk_wait_idempotent(bk_journal_t *j, const char *pool, const char *key,
    bk_row_t *row, bk_err_t *err);
int bk_wait_drain(bk_journal_t *j, const bk_drain_t *d, bk_err_t *err);
int bk_wait_undrain(bk_journal_t *j, const char *pool, const char *worker,
    bk_err_t *err);

#endif /* BK_JOURNAL_WAIT_H_INCLUDED */
