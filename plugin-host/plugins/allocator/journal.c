/*
 * The journal: every allocation that was answered, in SQLite, on the disk
 * before the answer.  Only the files journal*.c know SQLite.
 *
 * It holds the SHA-256 of a token, never the token, and the client's public
 * key, never the private one.  A file that is damaged, foreign or newer than
 * this program is refused with what to do, and never emptied: it may be the
 * only record of who may use which worker.
 */

#include <assert.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "journal_int.h"


#define BK_JOURNAL_COLUMNS                                                    \
    "token_hash, spki, pool, worker, job_id, requested_by, created_ms, "     \
    "expires_ms, state, reason, changed_ms, answered"


const char *const  bk_journal_sql[BK_SQL_COUNT] = {
    "INSERT INTO allocations (token_hash, spki, pool, worker, job_id,"
    " requested_by, idempotency, metadata, created_ms, expires_ms, state,"
    " changed_ms, answered) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10,"
    " 'live', ?9, ?11)",

    "UPDATE allocations SET state = ?2, reason = ?3, changed_ms = ?4"
    " WHERE token_hash = ?1 AND state = 'live'",

    "UPDATE allocations SET expires_ms = ?2, changed_ms = ?3"
    " WHERE token_hash = ?1 AND state = 'live'",

    "UPDATE allocations SET answered = 1 WHERE token_hash = ?1",

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
    " FROM allocations WHERE state <> 'live' AND changed_ms < ?1 LIMIT 500)",

    "INSERT INTO drained (pool, worker, reason, since_ms)"
    " VALUES (?1, ?2, ?3, ?4) ON CONFLICT (pool, worker)"
    " DO UPDATE SET reason = ?3",

    "DELETE FROM drained WHERE pool = ?1 AND worker = ?2",

    "SELECT pool, worker, reason, since_ms FROM drained"
};


static void bk_journal_row(sqlite3_stmt *s, bk_row_t *row);
static int bk_journal_one(bk_journal_t *j, sqlite3_stmt *s, bk_row_t *row,
    bk_err_t *err);
static int bk_journal_walk(bk_journal_t *j, sqlite3_stmt *s, bk_row_pt fn,
    void *data, bk_err_t *err);


int
bk_journal_error(bk_journal_t *j, bk_err_t *err)
{
    return bk_fail(err, 503, "JournalUnwritable",
                   "look at the disk of the state folder, then try again",
                   "the journal cannot be used: %s", sqlite3_errmsg(j->db));
}


sqlite3_stmt *
bk_journal_stmt(bk_journal_t *j, int n)
{
    (void) sqlite3_reset(j->stmt[n]);
    (void) sqlite3_clear_bindings(j->stmt[n]);

    return j->stmt[n];
}


int
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
    (void) sqlite3_bind_int(s, 11, row->answered);

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


int
bk_journal_answered(bk_journal_t *j, const uint8_t *hash, bk_err_t *err)
{
    sqlite3_stmt  *s;

    s = bk_journal_stmt(j, BK_SQL_ANSWERED);
    (void) sqlite3_bind_blob(s, 1, hash, BK_TABLE_HASH_LEN, NULL);

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
    row->answered = sqlite3_column_int(s, 11);

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
