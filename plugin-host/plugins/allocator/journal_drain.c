/*
 * The drained workers in the journal: a restart must not give them out.
 */

#include <sqlite3.h>

#include "journal_int.h"


int
bk_journal_drain(bk_journal_t *j, const bk_drain_t *d, bk_err_t *err)
{
    sqlite3_stmt  *s;

    s = bk_journal_stmt(j, BK_SQL_DRAIN);

    (void) sqlite3_bind_text(s, 1, d->pool, -1, NULL);
    (void) sqlite3_bind_text(s, 2, d->worker, -1, NULL);
    (void) sqlite3_bind_text(s, 3, d->reason, -1, NULL);
    (void) sqlite3_bind_int64(s, 4, (sqlite3_int64) d->since_ms);

    return bk_journal_write(j, s, err);
}


int
bk_journal_undrain(bk_journal_t *j, const char *pool, const char *worker,
    bk_err_t *err)
{
    sqlite3_stmt  *s;

    s = bk_journal_stmt(j, BK_SQL_UNDRAIN);

    (void) sqlite3_bind_text(s, 1, pool, -1, NULL);
    (void) sqlite3_bind_text(s, 2, worker, -1, NULL);

    return bk_journal_write(j, s, err);
}


/* fn must not write the journal: it collects. */

int
bk_journal_drained(bk_journal_t *j, void (*fn)(const bk_drain_t *d,
    void *data), void *data, bk_err_t *err)
{
    int            rc;
    bk_drain_t     d;
    sqlite3_stmt  *s;

    s = bk_journal_stmt(j, BK_SQL_DRAINED);

    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {

#define BK_COLUMN(n, field)                                                   \
    bk_str_copy(d.field, sizeof(d.field),                                    \
                (bk_str_t) { (const char *) sqlite3_column_text(s, n),       \
                             (size_t) sqlite3_column_bytes(s, n) })

        d = (bk_drain_t) { .applied = 0 };
        BK_COLUMN(0, pool);
        BK_COLUMN(1, worker);
        BK_COLUMN(2, reason);
        d.since_ms = (uint64_t) sqlite3_column_int64(s, 3);

#undef BK_COLUMN

        fn(&d, data);
    }

    if (rc != SQLITE_DONE) {
        (void) bk_journal_error(j, err);
        (void) sqlite3_reset(s);
        return -1;
    }

    (void) sqlite3_reset(s);
    return 0;
}
