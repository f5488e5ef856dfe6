/*
 * Workers in the journal: those that are drained, which a restart must not
 * give out, and those that one kind of allocations has to itself.
 */

#include "journal_int.h"


void
bk_sqlite_drain(void *back, const char *pool, const char *worker,
    const char *reason, uint64_t since_ms, bk_journal_pt done, void *data)
{
    bk_sqlite_t *j = back;

    const bk_arg_t  args[] = {
        bk_arg_text(pool),
        bk_arg_text(worker),
        bk_arg_text(reason),
        bk_arg_number(since_ms)
    };

    bk_journal_ask(j, BK_OP_DRAIN, args, 4, done, data);
}


void
bk_sqlite_undrain(void *back, const char *pool, const char *worker,
    bk_journal_pt done, void *data)
{
    bk_sqlite_t *j = back;

    const bk_arg_t  args[] = { bk_arg_text(pool), bk_arg_text(worker) };

    bk_journal_ask(j, BK_OP_UNDRAIN, args, 2, done, data);
}


int
bk_sqlite_drained(void *back, bk_drained_pt fn, void *data,
    bk_err_t *err)
{
    bk_sqlite_t *j = back;

    int            rc;
    char           pool[BK_TABLE_POOL_LEN], worker[BK_TABLE_NAME_LEN];
    char           reason[BK_TABLE_TEXT_LEN];
    sqlite3_stmt  *s;

    s = bk_journal_query(j, BK_READ_DRAINED);

    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        bk_journal_text(s, 0, pool, sizeof(pool));
        bk_journal_text(s, 1, worker, sizeof(worker));
        bk_journal_text(s, 2, reason, sizeof(reason));

        fn(pool, worker, reason, (uint64_t) sqlite3_column_int64(s, 3), data);
    }

    return bk_journal_over(j, s, rc, err);
}


void
bk_sqlite_trust(void *back, const char *pool, const char *worker,
    int untrusted, bk_journal_pt done, void *data)
{
    bk_sqlite_t *j = back;

    const bk_arg_t  args[] = {
        bk_arg_text(pool),
        bk_arg_text(worker),
        bk_arg_number(untrusted != 0)
    };

    bk_journal_ask(j, BK_OP_TRUST, args, 3, done, data);
}


int
bk_sqlite_trusted(void *back, bk_trust_pt fn, void *data,
    bk_err_t *err)
{
    bk_sqlite_t *j = back;

    int            rc;
    char           pool[BK_TABLE_POOL_LEN], worker[BK_TABLE_NAME_LEN];
    sqlite3_stmt  *s;

    s = bk_journal_query(j, BK_READ_TRUST);

    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        bk_journal_text(s, 0, pool, sizeof(pool));
        bk_journal_text(s, 1, worker, sizeof(worker));

        fn(pool, worker, sqlite3_column_int(s, 2), data);
    }

    return bk_journal_over(j, s, rc, err);
}
