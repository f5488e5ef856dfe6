/*
 * An old journal becomes ours, with kill -9 at each write and with a disk
 * that is full: it is the old one or the new one, and all is in it.  Prints
 * TAP.
 */

#include <sqlite3.h>

#include "journal_test.h"


#define ROWS  500


static const char  schema[] =
    "PRAGMA journal_mode = WAL; BEGIN;"
    "CREATE TABLE allocations (token_hash BLOB PRIMARY KEY NOT NULL,"
    " spki BLOB NOT NULL, pool TEXT NOT NULL, worker TEXT NOT NULL,"
    " job_id TEXT NOT NULL DEFAULT '', requested_by TEXT NOT NULL DEFAULT '',"
    " idempotency TEXT NOT NULL DEFAULT '', metadata TEXT NOT NULL DEFAULT"
    " '', created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL,"
    " state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '',"
    " changed_ms INTEGER NOT NULL, answered INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX live ON allocations (pool, idempotency)"
    " WHERE state = 'live';"
    "CREATE INDEX ended ON allocations (changed_ms) WHERE state <> 'live';"
    "PRAGMA application_id = 1112229706; PRAGMA user_version = 1; COMMIT;"
    "INSERT INTO allocations (token_hash, spki, pool, worker, metadata,"
    " created_ms, expires_ms, state, changed_ms, answered)"
    " WITH n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)"
    " SELECT randomblob(32), x'00', 'p', 'w' || i, hex(randomblob(500)),"
    " 1000 - i, 2000, 'live', 1000, 1 FROM n;";

static int  unopened, lost, disorder;


static void
old_journal(void)
{
    char      path[96];
    sqlite3  *db;

    (void) snprintf(path, sizeof(path), "%s/journal.db", dir);

    if (sqlite3_open(path, &db) != SQLITE_OK
        || sqlite3_exec(db, schema, NULL, NULL, NULL) != SQLITE_OK)
    {
        printf("# %s\n", sqlite3_errmsg(db));
        exit(1);
    }

    (void) sqlite3_close(db);
}


static int
add(const bk_row_t *r, void *data)
{
    int  *n = data;

    /* the last one was made first */
    disorder += r->created_ms != 1000 - ROWS + (uint64_t) *n;
    ++*n;

    return 0;
}


static int
all_there(void)
{
    int            n = 0;
    bk_err_t       err;
    bk_journal_t  *j;

    host_start();
    j = opened();

    if (j != NULL) {
        (void) bk_journal_each(j, UINT64_MAX >> 1, 1, add, &n, &err);
        bk_journal_close(&j);
    }

    host_end();

    return n;
}


/* 1: it came to its end */

static int
killed_at(int at, int half)
{
    int    n, status;
    pid_t  pid;

    folder();
    old_journal();

    pid = fork();

    if (pid == 0) {
        disk_calls = 0;
        disk_die = at;
        disk_how = half ? DISK_HALF : DISK_BEFORE;
        (void) all_there();
        _exit(0);
    }

    (void) waitpid(pid, &status, 0);

    n = all_there();
    unopened += n == 0;
    lost += n != 0 && n != ROWS;
    folder_remove();

    return WIFEXITED(status);
}


static void
test_full(void)
{
    bk_err_t       err;
    bk_journal_t  *j;

    folder();
    old_journal();
    host_start();
    disk_set(DISK_FULL);
    j = NULL;
    ok(bk_journal_open(&j, &host, dir, &err) != 0 && j == NULL,
       "no space: refused");
    printf("# %s (%s)\n", err.text, err.hint);
    ok(strstr(err.hint, "space left") != NULL, "and not called damaged");
    disk_set(DISK_GOOD);
    host_end();
    ok(all_there() == ROWS, "space again: all is there");
    folder_remove();
}


int
main(void)
{
    int  half, n, points = 0;

    for (half = 0; half < 2; half++) {
        for (n = 1 + half; !killed_at(n, half); n += n < 20 ? 2 : 31) {
            points++;

            if (unopened + lost + disorder > 0) {
                break;
            }
        }
    }

    printf("# %d points\n", points);
    ok(points > 30, "it was killed at many points");
    ok(unopened == 0, "it can be opened after each");
    ok(lost == 0, "with all that was in it");
    ok(disorder == 0, "in the order of their making");
    test_full();
    printf("1..%d\n", checks);

    return bad != 0;
}
