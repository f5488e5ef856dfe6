/*
 * The journal: every allocation that was answered, in SQLite, on the disk
 * before the answer.  The only file that knows SQLite.
 *
 * It holds the SHA-256 of a token, never the token, and the client's public
 * key, never the private one.  A file that is damaged, foreign or newer than
 * this program is refused with what to do, and never emptied: it may be the
 * only record of who may use which worker.
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "allocator.h"


#define BK_JOURNAL_APPLICATION  0x424b474a      /* "BKGJ" */
#define BK_JOURNAL_SCHEMA       1

#define BK_JOURNAL_COLUMNS                                                    \
    "token_hash, spki, pool, worker, job_id, requested_by, created_ms, "     \
    "expires_ms, state, reason, changed_ms"


enum {
    BK_SQL_INSERT = 0,
    BK_SQL_END,
    BK_SQL_EXTEND,
    BK_SQL_FIND,
    BK_SQL_PREFIX,
    BK_SQL_IDEMPOTENT,
    BK_SQL_LIVE,
    BK_SQL_ENDED,
    BK_SQL_PRUNE,
    BK_SQL_COUNT
};


struct bk_journal_s {
    sqlite3       *db;
    sqlite3_stmt  *stmt[BK_SQL_COUNT];
};


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
    "  changed_ms   INTEGER NOT NULL"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX live ON allocations (pool, idempotency)"
    "  WHERE state = 'live';"
    "CREATE INDEX ended ON allocations (changed_ms) WHERE state <> 'live';"
    "PRAGMA application_id = 1112229706;"
    "PRAGMA user_version = 1;"
    "COMMIT;";


static const char  *bk_journal_sql[BK_SQL_COUNT] = {
    "INSERT INTO allocations (token_hash, spki, pool, worker, job_id,"
    " requested_by, idempotency, metadata, created_ms, expires_ms, state,"
    " changed_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 'live',"
    " ?9)",

    "UPDATE allocations SET state = ?2, reason = ?3, changed_ms = ?4"
    " WHERE token_hash = ?1 AND state = 'live'",

    "UPDATE allocations SET expires_ms = ?2, changed_ms = ?3"
    " WHERE token_hash = ?1 AND state = 'live'",

    "SELECT " BK_JOURNAL_COLUMNS " FROM allocations WHERE token_hash = ?1",

    "SELECT " BK_JOURNAL_COLUMNS " FROM allocations"
    " WHERE token_hash >= ?1 AND token_hash <= ?2 LIMIT 2",

    "SELECT " BK_JOURNAL_COLUMNS " FROM allocations"
    " WHERE state = 'live' AND pool = ?1 AND idempotency = ?2 LIMIT 1",

    "SELECT " BK_JOURNAL_COLUMNS " FROM allocations WHERE state = 'live'"
    " ORDER BY created_ms",

    "SELECT " BK_JOURNAL_COLUMNS " FROM allocations WHERE state <> 'live'"
    " AND changed_ms >= ?1 ORDER BY changed_ms",

    "DELETE FROM allocations WHERE token_hash IN (SELECT token_hash"
    " FROM allocations WHERE state <> 'live' AND changed_ms < ?1 LIMIT 500)"
};


static int bk_journal_create(const char *dir, const char *path,
    bk_err_t *err);
static int bk_journal_check(bk_journal_t *j, const char *path,
    bk_err_t *err);
static int bk_journal_number(bk_journal_t *j, const char *sql, int *value);
static int bk_journal_refuse(bk_err_t *err, const char *path,
    const char *what);
static int bk_journal_error(bk_journal_t *j, bk_err_t *err);
static sqlite3_stmt *bk_journal_stmt(bk_journal_t *j, int n);
static int bk_journal_write(bk_journal_t *j, sqlite3_stmt *s, bk_err_t *err);
static void bk_journal_row(sqlite3_stmt *s, bk_row_t *row);
static int bk_journal_one(bk_journal_t *j, sqlite3_stmt *s, bk_row_t *row,
    bk_err_t *err);
static int bk_journal_walk(bk_journal_t *j, sqlite3_stmt *s, bk_row_pt fn,
    void *data, bk_err_t *err);


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

    if (version != BK_JOURNAL_SCHEMA) {
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


static int
bk_journal_error(bk_journal_t *j, bk_err_t *err)
{
    return bk_fail(err, 503, "JournalUnwritable",
                   "look at the disk of the state folder, then try again",
                   "the journal cannot be used: %s", sqlite3_errmsg(j->db));
}


static sqlite3_stmt *
bk_journal_stmt(bk_journal_t *j, int n)
{
    (void) sqlite3_reset(j->stmt[n]);
    (void) sqlite3_clear_bindings(j->stmt[n]);

    return j->stmt[n];
}


static int
bk_journal_write(bk_journal_t *j, sqlite3_stmt *s, bk_err_t *err)
{
    int  rc;

    rc = sqlite3_step(s);

    if (rc != SQLITE_DONE) {
        /* before the reset, which would replace the message */
        (void) bk_journal_error(j, err);
        (void) sqlite3_reset(s);
        return -1;
    }

    (void) sqlite3_reset(s);
    return 0;
}


int
bk_journal_insert(bk_journal_t *j, const bk_row_t *row, bk_err_t *err)
{
    const char    *metadata;
    sqlite3_stmt  *s;

    s = bk_journal_stmt(j, BK_SQL_INSERT);
    metadata = row->metadata == NULL ? "" : row->metadata;

    (void) sqlite3_bind_blob(s, 1, row->hash, BK_TABLE_HASH_LEN, NULL);
    (void) sqlite3_bind_blob(s, 2, row->spki, (int) row->spki_len, NULL);
    (void) sqlite3_bind_text(s, 3, row->pool, -1, NULL);
    (void) sqlite3_bind_text(s, 4, row->worker, -1, NULL);
    (void) sqlite3_bind_text(s, 5, row->job_id, -1, NULL);
    (void) sqlite3_bind_text(s, 6, row->client, -1, NULL);
    (void) sqlite3_bind_text(s, 7, row->idempotency, -1, NULL);
    (void) sqlite3_bind_text(s, 8, metadata, -1, NULL);
    (void) sqlite3_bind_int64(s, 9, (sqlite3_int64) row->created_ms);
    (void) sqlite3_bind_int64(s, 10, (sqlite3_int64) row->expires_ms);

    return bk_journal_write(j, s, err);
}


int
bk_journal_end(bk_journal_t *j, const uint8_t *hash, int state,
    const char *reason, uint64_t now_ms, bk_err_t *err)
{
    sqlite3_stmt  *s;

    assert(state >= BK_ALLOC_EXPIRED);

    s = bk_journal_stmt(j, BK_SQL_END);

    (void) sqlite3_bind_blob(s, 1, hash, BK_TABLE_HASH_LEN, NULL);
    (void) sqlite3_bind_text(s, 2, bk_state_name(state), -1, NULL);
    (void) sqlite3_bind_text(s, 3, reason, -1, NULL);
    (void) sqlite3_bind_int64(s, 4, (sqlite3_int64) now_ms);

    return bk_journal_write(j, s, err);
}


int
bk_journal_extend(bk_journal_t *j, const uint8_t *hash, uint64_t expires_ms,
    uint64_t now_ms, bk_err_t *err)
{
    sqlite3_stmt  *s;

    s = bk_journal_stmt(j, BK_SQL_EXTEND);

    (void) sqlite3_bind_blob(s, 1, hash, BK_TABLE_HASH_LEN, NULL);
    (void) sqlite3_bind_int64(s, 2, (sqlite3_int64) expires_ms);
    (void) sqlite3_bind_int64(s, 3, (sqlite3_int64) now_ms);

    return bk_journal_write(j, s, err);
}


static void
bk_journal_row(sqlite3_stmt *s, bk_row_t *row)
{
    int          i;
    size_t       n;
    const void  *blob;
    const char  *state;

    memset(row, 0, sizeof(bk_row_t));

    blob = sqlite3_column_blob(s, 0);
    n = (size_t) sqlite3_column_bytes(s, 0);

    if (blob != NULL && n == BK_TABLE_HASH_LEN) {
        memcpy(row->hash, blob, n);
    }

    blob = sqlite3_column_blob(s, 1);
    n = (size_t) sqlite3_column_bytes(s, 1);

    if (blob != NULL && n <= BK_SPKI_MAX) {
        memcpy(row->spki, blob, n);
        row->spki_len = n;
    }

#define BK_COLUMN(n, field)                                                   \
    bk_str_copy(row->field, sizeof(row->field),                              \
                (bk_str_t) { (const char *) sqlite3_column_text(s, n),       \
                             (size_t) sqlite3_column_bytes(s, n) })

    BK_COLUMN(2, pool);
    BK_COLUMN(3, worker);
    BK_COLUMN(4, job_id);
    BK_COLUMN(5, client);
    BK_COLUMN(9, reason);

#undef BK_COLUMN

    row->created_ms = (uint64_t) sqlite3_column_int64(s, 6);
    row->expires_ms = (uint64_t) sqlite3_column_int64(s, 7);
    row->changed_ms = (uint64_t) sqlite3_column_int64(s, 10);

    state = (const char *) sqlite3_column_text(s, 8);
    row->state = BK_ALLOC_READY;

    for (i = BK_ALLOC_EXPIRED; i < BK_ALLOC_STATES; i++) {
        if (state != NULL && strcmp(state, bk_state_name(i)) == 0) {
            row->state = i;
        }
    }
}


static int
bk_journal_one(bk_journal_t *j, sqlite3_stmt *s, bk_row_t *row,
    bk_err_t *err)
{
    int  n, rc;

    n = 0;

    for ( ;; ) {
        rc = sqlite3_step(s);

        if (rc != SQLITE_ROW) {
            break;
        }

        if (n++ == 0) {
            bk_journal_row(s, row);
        }
    }

    if (rc != SQLITE_DONE) {
        n = bk_journal_error(j, err);
    }

    (void) sqlite3_reset(s);

    return n;
}


int
bk_journal_find(bk_journal_t *j, const uint8_t *hash, bk_row_t *row,
    bk_err_t *err)
{
    sqlite3_stmt  *s;

    s = bk_journal_stmt(j, BK_SQL_FIND);
    (void) sqlite3_bind_blob(s, 1, hash, BK_TABLE_HASH_LEN, NULL);

    return bk_journal_one(j, s, row, err);
}


int
bk_journal_prefix(bk_journal_t *j, const uint8_t *prefix, size_t len,
    bk_row_t *row, bk_err_t *err)
{
    uint8_t        low[BK_TABLE_HASH_LEN], high[BK_TABLE_HASH_LEN];
    sqlite3_stmt  *s;

    assert(len <= BK_TABLE_HASH_LEN);

    memset(low, 0, sizeof(low));
    memset(high, 0xff, sizeof(high));
    memcpy(low, prefix, len);
    memcpy(high, prefix, len);

    s = bk_journal_stmt(j, BK_SQL_PREFIX);
    (void) sqlite3_bind_blob(s, 1, low, sizeof(low), NULL);
    (void) sqlite3_bind_blob(s, 2, high, sizeof(high), NULL);

    return bk_journal_one(j, s, row, err);
}


int
bk_journal_idempotent(bk_journal_t *j, const char *pool, const char *key,
    bk_row_t *row, bk_err_t *err)
{
    sqlite3_stmt  *s;

    s = bk_journal_stmt(j, BK_SQL_IDEMPOTENT);
    (void) sqlite3_bind_text(s, 1, pool, -1, NULL);
    (void) sqlite3_bind_text(s, 2, key, -1, NULL);

    return bk_journal_one(j, s, row, err);
}


static int
bk_journal_walk(bk_journal_t *j, sqlite3_stmt *s, bk_row_pt fn, void *data,
    bk_err_t *err)
{
    int       rc;
    bk_row_t  row;

    for ( ;; ) {
        rc = sqlite3_step(s);

        if (rc != SQLITE_ROW) {
            break;
        }

        bk_journal_row(s, &row);

        if (fn(&row, data) != 0) {
            rc = SQLITE_DONE;
            break;
        }
    }

    if (rc != SQLITE_DONE) {
        (void) bk_journal_error(j, err);
        (void) sqlite3_reset(s);
        return -1;
    }

    (void) sqlite3_reset(s);
    return 0;
}


/* fn must not write the journal: it collects. */

int
bk_journal_each(bk_journal_t *j, uint64_t since_ms, bk_row_pt fn, void *data,
    bk_err_t *err)
{
    sqlite3_stmt  *s;

    s = bk_journal_stmt(j, BK_SQL_LIVE);

    if (bk_journal_walk(j, s, fn, data, err) != 0) {
        return -1;
    }

    s = bk_journal_stmt(j, BK_SQL_ENDED);
    (void) sqlite3_bind_int64(s, 1, (sqlite3_int64) since_ms);

    return bk_journal_walk(j, s, fn, data, err);
}


int
bk_journal_begin(bk_journal_t *j, bk_err_t *err)
{
    if (sqlite3_exec(j->db, "BEGIN IMMEDIATE", NULL, NULL, NULL)
        != SQLITE_OK)
    {
        return bk_journal_error(j, err);
    }

    return 0;
}


int
bk_journal_commit(bk_journal_t *j, bk_err_t *err)
{
    if (sqlite3_exec(j->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK) {
        (void) bk_journal_error(j, err);
        bk_journal_rollback(j);
        return -1;
    }

    return 0;
}


void
bk_journal_rollback(bk_journal_t *j)
{
    (void) sqlite3_exec(j->db, "ROLLBACK", NULL, NULL, NULL);
}


int
bk_journal_prune(bk_journal_t *j, uint64_t before_ms, bk_err_t *err)
{
    sqlite3_stmt  *s;

    s = bk_journal_stmt(j, BK_SQL_PRUNE);
    (void) sqlite3_bind_int64(s, 1, (sqlite3_int64) before_ms);

    if (bk_journal_write(j, s, err) != 0) {
        return -1;
    }

    return sqlite3_changes(j->db);
}
