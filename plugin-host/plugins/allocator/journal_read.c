/*
 * Reading the journal, on the loop's thread, by a connection that cannot
 * write.  It sees what was committed; the writer never waits for it, nor it
 * for the writer.
 */

#include <assert.h>
#include <string.h>

#include "journal_int.h"


#define BK_JOURNAL_COLUMNS                                                    \
    "token_hash, spki, nonce, pool, worker, job_id, requested_by, owner, "   \
    "rule, cache_key, arch, idempotency, reason, created_ms, expires_ms, "   \
    "changed_ms, ttl_ms, concurrency, priority, untrusted, answered, state, "  \
    "max_ttl_ms"


/* of an allocation's history that are shown */
#define BK_JOURNAL_LINES  "200"


const char *const  bk_journal_read_sql[BK_READ_STATEMENTS] = {
    "SELECT " BK_JOURNAL_COLUMNS " FROM allocations WHERE token_hash = ?1",

    "SELECT " BK_JOURNAL_COLUMNS " FROM allocations"
    " WHERE token_hash >= ?1 AND token_hash <= ?2 LIMIT 2",

    /* in the order of their making, whatever the clock said */
    "SELECT " BK_JOURNAL_COLUMNS " FROM allocations WHERE state = 'live'"
    " ORDER BY id",

    "SELECT " BK_JOURNAL_COLUMNS " FROM allocations WHERE id IN"
    " (SELECT id FROM allocations WHERE state <> 'live' AND changed_ms >= ?1"
    " ORDER BY changed_ms DESC LIMIT ?2) ORDER BY changed_ms",

    /* its making and its end are not written twice; who renews each second
     * has the last ones, and not all */
    "SELECT at_ms, what, who, text FROM ("
    "SELECT created_ms AS at_ms, 0 AS n, 'made' AS what, owner AS who,"
    " CASE WHEN worker = '' OR 'placed' IN (SELECT what FROM history"
    " WHERE history.token_hash = ?1 ORDER BY id LIMIT " BK_JOURNAL_LINES ")"
    " THEN 'in the queue of ' || pool ELSE 'on ' || pool || '/' || worker END"
    " || CASE WHEN rule = '' THEN '' ELSE ', by rule ' || rule END AS text"
    " FROM allocations WHERE token_hash = ?1"
    " UNION ALL SELECT * FROM (SELECT at_ms, id, what, who, text FROM history"
    " WHERE token_hash = ?1 ORDER BY id DESC LIMIT " BK_JOURNAL_LINES ")"
    " UNION ALL SELECT changed_ms, 9223372036854775807, state, '', reason"
    " FROM allocations WHERE token_hash = ?1 AND state <> 'live'"
    ") ORDER BY at_ms, n",

    "SELECT pool, worker, reason, since_ms FROM drained",

    "SELECT pool, worker, untrusted FROM trust"
};


static void bk_journal_row(sqlite3_stmt *s, bk_row_t *row);
static void bk_journal_blob(sqlite3_stmt *s, int column, uint8_t *buf,
    size_t size, size_t *len);
static int bk_journal_state(const char *name, const char *worker);
static int bk_journal_one(bk_sqlite_t *j, sqlite3_stmt *s, bk_row_t *row,
    bk_err_t *err);
static int bk_journal_walk(bk_sqlite_t *j, sqlite3_stmt *s, bk_row_pt fn,
    void *data, bk_err_t *err);


sqlite3_stmt *
bk_journal_query(bk_sqlite_t *j, int n)
{
    (void) sqlite3_reset(j->read[n]);
    (void) sqlite3_clear_bindings(j->read[n]);

    return j->read[n];
}


int
bk_journal_over(bk_sqlite_t *j, sqlite3_stmt *s, int rc, bk_err_t *err)
{
    if (rc != SQLITE_DONE) {
        /* before the reset, which would replace the message */
        (void) bk_journal_error(j->reader, err);
        (void) sqlite3_reset(s);
        return -1;
    }

    (void) sqlite3_reset(s);
    return 0;
}


void
bk_journal_text(sqlite3_stmt *s, int column, char *buf, size_t size)
{
    bk_str_t  text;

    /* in this order: the first call may convert it */
    text.data = (const char *) sqlite3_column_text(s, column);
    text.len = (size_t) sqlite3_column_bytes(s, column);

    bk_str_copy(buf, size, text);
}


static void
bk_journal_blob(sqlite3_stmt *s, int column, uint8_t *buf, size_t size,
    size_t *len)
{
    size_t       n;
    const void  *blob;

    blob = sqlite3_column_blob(s, column);
    n = (size_t) sqlite3_column_bytes(s, column);

    if (blob == NULL || n > size) {
        n = 0;
    }

    if (n > 0) {
        memcpy(buf, blob, n);
    }

    if (len != NULL) {
        *len = n;
    }
}


static void
bk_journal_row(sqlite3_stmt *s, bk_row_t *row)
{
    char  state[16];

    memset(row, 0, sizeof(bk_row_t));

    bk_journal_blob(s, 0, row->hash, BK_TABLE_HASH_LEN, NULL);
    bk_journal_blob(s, 1, row->spki, BK_SPKI_MAX, &row->spki_len);
    bk_journal_blob(s, 2, row->nonce, BK_NONCE_LEN, NULL);

    bk_journal_text(s, 3, row->pool, sizeof(row->pool));
    bk_journal_text(s, 4, row->worker, sizeof(row->worker));
    bk_journal_text(s, 5, row->job_id, sizeof(row->job_id));
    bk_journal_text(s, 6, row->client, sizeof(row->client));
    bk_journal_text(s, 7, row->owner, sizeof(row->owner));
    bk_journal_text(s, 8, row->rule, sizeof(row->rule));
    bk_journal_text(s, 9, row->cache_key, sizeof(row->cache_key));
    bk_journal_text(s, 10, row->arch, sizeof(row->arch));
    bk_journal_text(s, 11, row->idempotency, sizeof(row->idempotency));
    bk_journal_text(s, 12, row->reason, sizeof(row->reason));

    row->created_ms = (uint64_t) sqlite3_column_int64(s, 13);
    row->expires_ms = (uint64_t) sqlite3_column_int64(s, 14);
    row->changed_ms = (uint64_t) sqlite3_column_int64(s, 15);
    row->ttl_ms = (uint64_t) sqlite3_column_int64(s, 16);
    row->concurrency = (uint32_t) sqlite3_column_int64(s, 17);
    row->priority = sqlite3_column_int(s, 18);
    row->untrusted = sqlite3_column_int(s, 19);
    row->answered = sqlite3_column_int(s, 20);

    row->max_ttl_ms = (uint64_t) sqlite3_column_int64(s, 22);

    bk_journal_text(s, 21, state, sizeof(state));
    row->state = bk_journal_state(state, row->worker);
}


static int
bk_journal_state(const char *name, const char *worker)
{
    int  i;

    for (i = BK_ALLOC_EXPIRED; i < BK_ALLOC_STATES; i++) {
        if (strcmp(name, bk_state_name(i)) == 0) {
            return i;
        }
    }

    return worker[0] == '\0' ? BK_ALLOC_QUEUED : BK_ALLOC_READY;
}


static int
bk_journal_one(bk_sqlite_t *j, sqlite3_stmt *s, bk_row_t *row,
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

    return bk_journal_over(j, s, rc, err) == 0 ? n : -1;
}


int
bk_sqlite_find(void *back, const uint8_t *hash, bk_row_t *row,
    bk_err_t *err)
{
    bk_sqlite_t *j = back;

    sqlite3_stmt  *s;

    s = bk_journal_query(j, BK_READ_FIND);
    (void) sqlite3_bind_blob(s, 1, hash, BK_TABLE_HASH_LEN, NULL);

    return bk_journal_one(j, s, row, err);
}


int
bk_sqlite_prefix(void *back, const uint8_t *prefix, size_t len,
    bk_row_t *row, bk_err_t *err)
{
    bk_sqlite_t *j = back;

    uint8_t        low[BK_TABLE_HASH_LEN], high[BK_TABLE_HASH_LEN];
    sqlite3_stmt  *s;

    assert(len <= BK_TABLE_HASH_LEN);

    memset(low, 0, sizeof(low));
    memset(high, 0xff, sizeof(high));
    memcpy(low, prefix, len);
    memcpy(high, prefix, len);

    s = bk_journal_query(j, BK_READ_PREFIX);
    (void) sqlite3_bind_blob(s, 1, low, sizeof(low), NULL);
    (void) sqlite3_bind_blob(s, 2, high, sizeof(high), NULL);

    return bk_journal_one(j, s, row, err);
}


static int
bk_journal_walk(bk_sqlite_t *j, sqlite3_stmt *s, bk_row_pt fn, void *data,
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

    return bk_journal_over(j, s, rc, err);
}


int
bk_sqlite_each(void *back, uint64_t since_ms, unsigned nended,
    bk_row_pt fn, void *data, bk_err_t *err)
{
    bk_sqlite_t *j = back;

    sqlite3_stmt  *s;

    s = bk_journal_query(j, BK_READ_LIVE);

    if (bk_journal_walk(j, s, fn, data, err) != 0) {
        return -1;
    }

    s = bk_journal_query(j, BK_READ_ENDED);
    (void) sqlite3_bind_int64(s, 1, (sqlite3_int64) since_ms);
    (void) sqlite3_bind_int64(s, 2, (sqlite3_int64) nended);

    return bk_journal_walk(j, s, fn, data, err);
}


int
bk_sqlite_history(void *back, const uint8_t *hash, bk_history_pt fn,
    void *data, bk_err_t *err)
{
    bk_sqlite_t *j = back;

    int            rc;
    bk_history_t   h;
    sqlite3_stmt  *s;

    s = bk_journal_query(j, BK_READ_HISTORY);
    (void) sqlite3_bind_blob(s, 1, hash, BK_TABLE_HASH_LEN, NULL);

    for ( ;; ) {
        rc = sqlite3_step(s);

        if (rc != SQLITE_ROW) {
            break;
        }

        h.when_ms = (uint64_t) sqlite3_column_int64(s, 0);
        h.what = (const char *) sqlite3_column_text(s, 1);
        h.who = (const char *) sqlite3_column_text(s, 2);
        h.text = (const char *) sqlite3_column_text(s, 3);

        if (fn(&h, data) != 0) {
            rc = SQLITE_DONE;
            break;
        }
    }

    return bk_journal_over(j, s, rc, err);
}
