/*
 * The writer's thread and SQLite: a batch of operations is one transaction.
 *
 * An operation that SQLite refuses for what is in it (a hash that exists
 * already) fails alone; anything that is wrong with the file or the disk
 * fails all of the batch, and nothing of it is written.
 */

#include <stdlib.h>
#include <string.h>

#include "journal_int.h"


/* small enough to pass between two batches unnoticed */
#define BK_JOURNAL_PRUNE_ROWS  "100"


const char *const  bk_journal_write_sql[BK_OP_STATEMENTS] = {
    "INSERT INTO allocations (token_hash, spki, nonce, pool, worker, job_id,"
    " requested_by, owner, rule, cache_key, arch, idempotency, metadata,"
    " created_ms, expires_ms, ttl_ms, concurrency, priority, untrusted,"
    " answered, max_ttl_ms, state, changed_ms) VALUES (?1, ?2, ?3, ?4, ?5,"
    " ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20,"
    " ?21, 'live', ?14)",

    "UPDATE allocations SET worker = ?2, expires_ms = ?3, changed_ms = ?4"
    " WHERE token_hash = ?1 AND state = 'live'",

    "UPDATE allocations SET answered = 1 WHERE token_hash = ?1",

    "UPDATE allocations SET spki = ?2 WHERE token_hash = ?1"
    " AND state = 'live'",

    "UPDATE allocations SET expires_ms = ?2, changed_ms = ?3"
    " WHERE token_hash = ?1 AND state = 'live'",

    "UPDATE allocations SET state = ?2, reason = ?3, changed_ms = ?4"
    " WHERE token_hash = ?1 AND state = 'live'",

    /* of what there is: so its end takes all of them along */
    "INSERT INTO history (token_hash, at_ms, what, who, text)"
    " SELECT ?1, ?2, ?3, ?4, ?5 WHERE EXISTS"
    " (SELECT 1 FROM allocations WHERE token_hash = ?1)",

    "INSERT INTO history (token_hash, at_ms, what, who, text)"
    " SELECT ?1, ?2, ?3, ?4, ?5 WHERE changes() > 0",

    "INSERT INTO trust (pool, worker, untrusted) VALUES (?1, ?2, ?3)"
    " ON CONFLICT DO NOTHING",

    "INSERT INTO drained (pool, worker, reason, since_ms)"
    " VALUES (?1, ?2, ?3, ?4) ON CONFLICT (pool, worker)"
    " DO UPDATE SET reason = ?3",

    "DELETE FROM drained WHERE pool = ?1 AND worker = ?2"
};


#define BK_JOURNAL_OLD                                                        \
    "(SELECT id FROM allocations WHERE state <> 'live' AND changed_ms < ?1"  \
    " ORDER BY changed_ms LIMIT " BK_JOURNAL_PRUNE_ROWS ")"

const char *const  bk_journal_prune_sql[2] = {
    "DELETE FROM history WHERE token_hash IN"
    " (SELECT token_hash FROM allocations WHERE id IN " BK_JOURNAL_OLD ")",

    "DELETE FROM allocations WHERE id IN " BK_JOURNAL_OLD
};


static int bk_journal_apply(bk_sqlite_t *j, bk_op_t *op);
static void bk_journal_bind(sqlite3_stmt *s, const bk_op_t *op);
static int bk_journal_exec(bk_sqlite_t *j, const char *sql, bk_err_t *err);


int
bk_journal_error(sqlite3 *db, bk_err_t *err)
{
    int  rc;

    rc = sqlite3_errcode(db);

    if (rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB) {
        return bk_fail(err, 503, "JournalDamaged", BK_JOURNAL_DAMAGED,
                       "the journal cannot be used: %s", sqlite3_errmsg(db));
    }

    return bk_fail(err, 503, "JournalUnwritable",
                   rc == SQLITE_FULL
                   ? "make room on the disk of the state folder"
                   : "look at the disk of the state folder, then try again",
                   "the journal cannot be used: %s", sqlite3_errmsg(db));
}


int
bk_journal_batch(bk_sqlite_t *j, bk_ops_t *ops)
{
    int        begun;
    bk_op_t   *op;
    bk_err_t   err;

    begun = 0;

    STAILQ_FOREACH(op, ops, link) {

        if (op->err != NULL || op->kind >= BK_OP_STATEMENTS) {
            continue;
        }

        if (!begun) {
            if (bk_journal_exec(j, "BEGIN IMMEDIATE", &err) != 0) {
                goto failed;
            }

            begun = 1;
        }

        if (bk_journal_apply(j, op) != 0) {
            (void) bk_journal_error(j->db, &err);
            goto failed;
        }
    }

    if (begun && bk_journal_exec(j, "COMMIT", &err) != 0) {
        goto failed;
    }

    return 0;

failed:

    if (!sqlite3_get_autocommit(j->db)) {
        (void) sqlite3_exec(j->db, "ROLLBACK", NULL, NULL, NULL);
    }

    STAILQ_FOREACH(op, ops, link) {
        bk_op_fail(op, &err);
    }

    return -1;
}


/* -1: the transaction cannot go on */

static int
bk_journal_apply(bk_sqlite_t *j, bk_op_t *op)
{
    int            rc;
    bk_err_t       err;
    sqlite3_stmt  *s;

    s = j->write[op->kind];

    bk_journal_bind(s, op);
    rc = sqlite3_step(s);

    if (rc == SQLITE_CONSTRAINT) {
        (void) bk_fail(&err, 409, "JournalConflict", NULL,
                       "the journal refuses this: %s",
                       sqlite3_errmsg(j->db));
        bk_op_fail(op, &err);
        rc = SQLITE_DONE;
    }

    (void) sqlite3_reset(s);
    (void) sqlite3_clear_bindings(s);

    return rc == SQLITE_DONE ? 0 : -1;
}


static void
bk_journal_bind(sqlite3_stmt *s, const bk_op_t *op)
{
    int              n;
    unsigned         i;
    const bk_arg_t  *a;

    for (i = 0; i < op->nargs; i++) {
        a = &op->args[i];
        n = (int) i + 1;

        if (a->type == SQLITE_INTEGER) {
            (void) sqlite3_bind_int64(s, n, a->number);

        } else if (a->type == SQLITE_TEXT) {
            (void) sqlite3_bind_text(s, n, a->data, (int) a->len, NULL);

        } else {
            (void) sqlite3_bind_blob(s, n, a->data, (int) a->len, NULL);
        }
    }
}


static int
bk_journal_exec(bk_sqlite_t *j, const char *sql, bk_err_t *err)
{
    if (sqlite3_exec(j->db, sql, NULL, NULL, NULL) != SQLITE_OK) {
        return bk_journal_error(j->db, err);
    }

    return 0;
}


/* How many rows it removed; there may be more unless it is 0.  -1: none. */

int
bk_journal_prune_some(bk_sqlite_t *j, uint64_t before_ms)
{
    int            i, rows;
    sqlite3_stmt  *s;

    if (sqlite3_exec(j->db, "BEGIN IMMEDIATE", NULL, NULL, NULL)
        != SQLITE_OK)
    {
        return -1;
    }

    rows = 0;

    for (i = 0; i < 2; i++) {
        s = j->prune[i];

        (void) sqlite3_bind_int64(s, 1, (sqlite3_int64) before_ms);

        if (sqlite3_step(s) == SQLITE_DONE) {
            rows += sqlite3_changes(j->db);

        } else {
            rows = -1;
            break;
        }

        (void) sqlite3_reset(s);
    }

    if (rows != -1
        && sqlite3_exec(j->db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK)
    {
        return rows;
    }

    for (i = 0; i < 2; i++) {
        (void) sqlite3_reset(j->prune[i]);
    }

    if (!sqlite3_get_autocommit(j->db)) {
        (void) sqlite3_exec(j->db, "ROLLBACK", NULL, NULL, NULL);
    }

    return -1;
}
