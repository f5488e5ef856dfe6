/*
 * Opening the journal: made when it is missing, looked at when it is there.
 *
 * A file that is damaged, foreign or newer than this program is refused with
 * what to do, and never emptied: it may be the only record of who may use
 * which worker.
 */

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "journal_int.h"


#define BK_JOURNAL_APPLICATION  0x424b474a      /* "BKGJ" */
#define BK_JOURNAL_SCHEMA       2


/* 2: a table more; what is in the other one stays as it is */
#define BK_JOURNAL_DRAINED                                                    \
    "CREATE TABLE drained ("                                                 \
    "  pool     TEXT NOT NULL,"                                              \
    "  worker   TEXT NOT NULL,"                                              \
    "  reason   TEXT NOT NULL DEFAULT '',"                                   \
    "  since_ms INTEGER NOT NULL,"                                           \
    "  PRIMARY KEY (pool, worker)"                                           \
    ") STRICT, WITHOUT ROWID;"                                               \
    "PRAGMA user_version = 2;"                                               \
    "COMMIT;"

static const char  bk_journal_schema[] =
    "BEGIN;"
    "CREATE TABLE allocations ("
    "  token_hash   BLOB PRIMARY KEY NOT NULL CHECK (length(token_hash) = 32),"
    "  spki         BLOB NOT NULL,"
    "  pool         TEXT NOT NULL,"
    "  worker       TEXT NOT NULL,"
    "  job_id       TEXT NOT NULL DEFAULT '',"
    "  requested_by TEXT NOT NULL DEFAULT '',"
    "  idempotency  TEXT NOT NULL DEFAULT '',"
    "  metadata     TEXT NOT NULL DEFAULT '',"
    "  created_ms   INTEGER NOT NULL,"
    "  expires_ms   INTEGER NOT NULL,"
    "  state        TEXT NOT NULL CHECK (state IN"
    "    ('live', 'expired', 'released', 'revoked', 'failed')),"
    "  reason       TEXT NOT NULL DEFAULT '',"
    "  changed_ms   INTEGER NOT NULL,"
    "  answered     INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX live ON allocations (pool, idempotency)"
    "  WHERE state = 'live';"
    "CREATE INDEX ended ON allocations (changed_ms) WHERE state <> 'live';"
    "PRAGMA application_id = 1112229706;"
    BK_JOURNAL_DRAINED;

static const char  bk_journal_upgrade[] =
    "BEGIN IMMEDIATE;"
    BK_JOURNAL_DRAINED;


static int bk_journal_create(const char *dir, const char *path, bk_err_t *err);
static int bk_journal_refuse(bk_err_t *err, const char *path,
    const char *what);
static int bk_journal_check(bk_journal_t *j, const char *path, bk_err_t *err);
static int bk_journal_number(bk_journal_t *j, const char *sql, int *value);


int
bk_journal_open(bk_journal_t **out, const char *dir, bk_err_t *err)
{
    int            i, rc;
    char           path[4096];
    struct stat    st;
    bk_journal_t  *j;

    rc = snprintf(path, sizeof(path), "%s/journal.db", dir);

    if (rc < 0 || (size_t) rc >= sizeof(path) - 16) {
        return bk_fail(err, 500, "PathTooLong", NULL,
                       "the name of the state folder is too long");
    }

    if (stat(path, &st) != 0) {
        if (errno != ENOENT) {
            return bk_fail(err, 500, "JournalUnreadable", NULL, "%s: %s",
                           path, strerror(errno));
        }

        if (bk_journal_create(dir, path, err) != 0) {
            return -1;
        }

    } else if (st.st_size == 0) {
        /* ours is renamed into place when it is whole: never empty */
        return bk_journal_refuse(err, path, "is empty");

    } else if ((st.st_mode & 077) != 0 && chmod(path, 0600) != 0) {
        return bk_fail(err, 500, "JournalUnreadable", NULL,
                       "%s: cannot make it private: %s", path,
                       strerror(errno));
    }

    j = calloc(1, sizeof(bk_journal_t));

    if (j == NULL) {
        abort();
    }

    rc = sqlite3_open_v2(path, &j->db,
                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX
                         | SQLITE_OPEN_PRIVATECACHE, NULL);

    if (rc != SQLITE_OK) {
        (void) bk_fail(err, 500, "JournalUnreadable", NULL, "%s: %s", path,
                       j->db == NULL ? "no memory" : sqlite3_errmsg(j->db));
        goto failed;
    }

    if (bk_journal_check(j, path, err) != 0) {
        goto failed;
    }

    for (i = 0; i < BK_SQL_COUNT; i++) {
        rc = sqlite3_prepare_v3(j->db, bk_journal_sql[i], -1,
                                SQLITE_PREPARE_PERSISTENT, &j->stmt[i], NULL);

        if (rc != SQLITE_OK) {
            (void) bk_journal_refuse(err, path, sqlite3_errmsg(j->db));
            goto failed;
        }
    }

    *out = j;
    return 0;

failed:

    bk_journal_close(&j);
    return -1;
}


/*
 * A new journal is made beside its place and renamed when it is whole, so
 * that one which is there is either good or damaged, and never half made.
 */

static int
bk_journal_create(const char *dir, const char *path, bk_err_t *err)
{
    int       fd, rc;
    char      tmp[4096 + sizeof("-wal")];
    sqlite3  *db;

    (void) snprintf(tmp, sizeof(tmp), "%s-wal", path);

    if (access(tmp, F_OK) == 0) {
        /* SQLite would play it into the new file */
        return bk_journal_refuse(err, path,
                                 "is missing, but journal.db-wal is there");
    }

    (void) snprintf(tmp, sizeof(tmp), "%s.new", path);

    (void) unlink(tmp);
    fd = open(tmp, O_CREAT|O_EXCL|O_RDWR|O_CLOEXEC|O_NOFOLLOW, 0600);

    if (fd == -1) {
        return bk_fail(err, 500, "JournalUnwritable", NULL, "%s: %s", tmp,
                       strerror(errno));
    }

    (void) close(fd);

    db = NULL;
    rc = sqlite3_open_v2(tmp, &db, SQLITE_OPEN_READWRITE, NULL);

    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(db, bk_journal_schema, NULL, NULL, NULL);
    }

    if (rc != SQLITE_OK) {
        (void) bk_fail(err, 500, "JournalUnwritable",
                       "is there space left, and may we write there?",
                       "%s: %s", tmp,
                       db == NULL ? "no memory" : sqlite3_errmsg(db));
        (void) sqlite3_close(db);
        (void) unlink(tmp);
        return -1;
    }

    (void) sqlite3_close(db);

    if (rename(tmp, path) != 0) {
        return bk_fail(err, 500, "JournalUnwritable", NULL, "%s: %s", path,
                       strerror(errno));
    }

    fd = open(dir, O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (fd != -1) {
        (void) fsync(fd);
        (void) close(fd);
    }

    return 0;
}


static int
bk_journal_refuse(bk_err_t *err, const char *path, const char *what)
{
    return bk_fail(err, 500, "JournalDamaged",
                   "put a good copy back, or move it away to start without "
                   "the allocations that it holds", "%s %s", path, what);
}


static int
bk_journal_check(bk_journal_t *j, const char *path, bk_err_t *err)
{
    int            rc, application, version;
    char           text[128];
    sqlite3_stmt  *s;

    if (bk_journal_number(j, "PRAGMA application_id", &application) != 0
        || bk_journal_number(j, "PRAGMA user_version", &version) != 0)
    {
        (void) snprintf(text, sizeof(text), "cannot be read: %s",
                        sqlite3_errmsg(j->db));
        return bk_journal_refuse(err, path, text);
    }

    if (application != BK_JOURNAL_APPLICATION) {
        return bk_journal_refuse(err, path,
                                 "is not a journal of this program");
    }

    if (version < 1 || version > BK_JOURNAL_SCHEMA) {
        return bk_fail(err, 500, "JournalVersion",
                       "install the version that wrote it, or a newer one",
                       "%s has format %d, and this program knows %d", path,
                       version, BK_JOURNAL_SCHEMA);
    }

    /* stops at the first fault; "ok" is the only row of a good file */
    rc = sqlite3_prepare_v2(j->db, "PRAGMA quick_check(1)", -1, &s, NULL);

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(s);
        (void) snprintf(text, sizeof(text), "is damaged: %s",
                        rc == SQLITE_ROW
                        ? (const char *) sqlite3_column_text(s, 0)
                        : sqlite3_errmsg(j->db));
        (void) sqlite3_finalize(s);

        if (rc != SQLITE_ROW || strcmp(text, "is damaged: ok") != 0) {
            return bk_journal_refuse(err, path, text);
        }
    }

    rc = sqlite3_exec(j->db, "PRAGMA journal_mode = WAL;"
                             "PRAGMA synchronous = FULL;"
                             "PRAGMA trusted_schema = OFF;"
                             "PRAGMA secure_delete = OFF;",
                      NULL, NULL, NULL);

    if (rc == SQLITE_OK && version < BK_JOURNAL_SCHEMA) {
        /* one transaction: it has the old format or the new one */
        rc = sqlite3_exec(j->db, bk_journal_upgrade, NULL, NULL, NULL);
    }

    if (rc != SQLITE_OK) {
        (void) snprintf(text, sizeof(text), "cannot be written: %s",
                        sqlite3_errmsg(j->db));
        return bk_journal_refuse(err, path, text);
    }

    return 0;
}


static int
bk_journal_number(bk_journal_t *j, const char *sql, int *value)
{
    int            rc;
    sqlite3_stmt  *s;

    if (sqlite3_prepare_v2(j->db, sql, -1, &s, NULL) != SQLITE_OK) {
        return -1;
    }

    rc = sqlite3_step(s);

    if (rc == SQLITE_ROW) {
        *value = sqlite3_column_int(s, 0);
    }

    (void) sqlite3_finalize(s);

    return rc == SQLITE_ROW ? 0 : -1;
}


void
bk_journal_close(bk_journal_t **j)
{
    int  i;

    if (*j == NULL) {
        return;
    }

    for (i = 0; i < BK_SQL_COUNT; i++) {
        (void) sqlite3_finalize((*j)->stmt[i]);
    }

    (void) sqlite3_close((*j)->db);

    free(*j);
    *j = NULL;
}
