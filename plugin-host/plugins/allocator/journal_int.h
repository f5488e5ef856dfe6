/* What journal.c and journal_open.c share: the only users of SQLite. */

#ifndef BK_JOURNAL_INT_H_INCLUDED
#define BK_JOURNAL_INT_H_INCLUDED

#include <sqlite3.h>

#include "allocator.h"


enum {
    BK_SQL_INSERT = 0,
    BK_SQL_END,
    BK_SQL_EXTEND,
    BK_SQL_ANSWERED,
    BK_SQL_FIND,
    BK_SQL_PREFIX,
    BK_SQL_IDEMPOTENT,
    BK_SQL_LIVE,
    BK_SQL_ENDED,
    BK_SQL_PRUNE,
    BK_SQL_DRAIN,
    BK_SQL_UNDRAIN,
    BK_SQL_DRAINED,
    BK_SQL_COUNT
};


struct bk_journal_s {
    sqlite3       *db;
    sqlite3_stmt  *stmt[BK_SQL_COUNT];
};


/* journal.c; the columns in the order in which it reads them */
extern const char *const  bk_journal_sql[BK_SQL_COUNT];

int bk_journal_error(bk_journal_t *j, bk_err_t *err);   /* -1 */
sqlite3_stmt *bk_journal_stmt(bk_journal_t *j, int n);  /* fit to be bound */
int bk_journal_write(bk_journal_t *j, sqlite3_stmt *s, bk_err_t *err);

#endif /* BK_JOURNAL_INT_H_INCLUDED */
