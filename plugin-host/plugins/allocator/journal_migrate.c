/*
 * The journal's format, and how those of earlier versions become it: in one
 * transaction, after a copy of the whole file was put aside.
 *
 *   1  allocations
 *   2  drained
 *   3  allocations: numbered in the order of their making (the queue's),
 *      owner, rule, cache_key, arch, nonce, ttl_ms, max_ttl_ms,
 *      concurrency, priority, untrusted; history; trust
 */

#include <stdio.h>
#include <string.h>

#include "journal_int.h"


#define BK_SCHEMA_ALLOCATIONS                                                 \
    "CREATE TABLE allocations ("                                             \
    "  id           INTEGER PRIMARY KEY,"                                    \
    "  token_hash   BLOB NOT NULL UNIQUE CHECK (length(token_hash) = 32),"   \
    "  spki         BLOB NOT NULL,"                                          \
    "  nonce        BLOB NOT NULL DEFAULT x'',"                              \
    "  pool         TEXT NOT NULL,"                                          \
    "  worker       TEXT NOT NULL,"                                          \
    "  job_id       TEXT NOT NULL DEFAULT '',"                               \
    "  requested_by TEXT NOT NULL DEFAULT '',"                               \
    "  owner        TEXT NOT NULL DEFAULT '',"                               \
    "  rule         TEXT NOT NULL DEFAULT '',"                               \
    "  cache_key    TEXT NOT NULL DEFAULT '',"                               \
    "  arch         TEXT NOT NULL DEFAULT '',"                               \
    "  idempotency  TEXT NOT NULL DEFAULT '',"                               \
    "  metadata     TEXT NOT NULL DEFAULT '',"                               \
    "  created_ms   INTEGER NOT NULL,"                                       \
    "  expires_ms   INTEGER NOT NULL,"                                       \
    "  ttl_ms       INTEGER NOT NULL DEFAULT 0,"                             \
    "  max_ttl_ms   INTEGER NOT NULL DEFAULT 0,"                             \
    "  concurrency  INTEGER NOT NULL DEFAULT 0,"                             \
    "  priority     INTEGER NOT NULL DEFAULT 0,"                             \
    "  untrusted    INTEGER NOT NULL DEFAULT 0,"                             \
    "  state        TEXT NOT NULL CHECK (state IN"                           \
    "    ('live', 'expired', 'released', 'revoked', 'failed')),"             \
    "  reason       TEXT NOT NULL DEFAULT '',"                               \
    "  changed_ms   INTEGER NOT NULL,"                                       \
    "  answered     INTEGER NOT NULL"                                        \
    ") STRICT;"                                                              \
    "CREATE INDEX live ON allocations (state) WHERE state = 'live';"         \
    "CREATE INDEX ended ON allocations (changed_ms) WHERE state <> 'live';"

#define BK_SCHEMA_DRAINED                                                     \
    "CREATE TABLE drained ("                                                 \
    "  pool     TEXT NOT NULL,"                                              \
    "  worker   TEXT NOT NULL,"                                              \
    "  reason   TEXT NOT NULL DEFAULT '',"                                   \
    "  since_ms INTEGER NOT NULL,"                                           \
    "  PRIMARY KEY (pool, worker)"                                           \
    ") STRICT, WITHOUT ROWID;"

#define BK_SCHEMA_HISTORY                                                     \
    "CREATE TABLE history ("                                                 \
    "  id         INTEGER PRIMARY KEY,"                                      \
    "  token_hash BLOB NOT NULL,"                                            \
    "  at_ms      INTEGER NOT NULL,"                                         \
    "  what       TEXT NOT NULL,"                                            \
    "  who        TEXT NOT NULL DEFAULT '',"                                 \
    "  text       TEXT NOT NULL DEFAULT ''"                                  \
    ") STRICT;"                                                              \
    "CREATE INDEX history_of ON history (token_hash);"                       \
    "CREATE TABLE trust ("                                                   \
    "  pool      TEXT NOT NULL,"                                             \
    "  worker    TEXT NOT NULL,"                                             \
    "  untrusted INTEGER NOT NULL,"                                          \
    "  PRIMARY KEY (pool, worker)"                                           \
    ") STRICT, WITHOUT ROWID;"

#define BK_SCHEMA_END                                                         \
    "PRAGMA user_version = 3;"                                               \
    "COMMIT;"


const char  bk_journal_schema[] =
    "BEGIN;"
    BK_SCHEMA_ALLOCATIONS
    "PRAGMA application_id = 1112229706;"
    BK_SCHEMA_DRAINED
    BK_SCHEMA_HISTORY
    BK_SCHEMA_END;

static const char  bk_journal_rows[] =
    "DROP INDEX live;"
    "DROP INDEX ended;"
    "ALTER TABLE allocations RENAME TO before;"
    BK_SCHEMA_ALLOCATIONS
    "INSERT INTO allocations (token_hash, spki, pool, worker, job_id,"
    " requested_by, idempotency, metadata, created_ms, expires_ms, ttl_ms,"
    " state, reason, changed_ms, answered)"
    " SELECT token_hash, spki, pool, worker, job_id, requested_by,"
    " idempotency, metadata, created_ms, expires_ms,"
    " max(expires_ms - created_ms, 0), state, reason, changed_ms, answered"
    " FROM before ORDER BY created_ms, token_hash;"
    "DROP TABLE before;";

/* before this format nobody was untrusted: whoever had a worker, was not */
static const char  bk_journal_trust_rows[] =
    "INSERT INTO trust (pool, worker, untrusted)"
    " SELECT DISTINCT pool, worker, 0 FROM allocations WHERE worker <> '';";


int
bk_journal_migrate(sqlite3 *db, const char *path, int version, bk_err_t *err)
{
    int   rc;
    char  copy[BK_JOURNAL_PATH_MAX];

    if (version == BK_JOURNAL_SCHEMA) {
        return 0;
    }

    /* path has room for its own suffixes: see bk_journal_open() */
    (void) snprintf(copy, sizeof(copy), "%.4080s.v%d", path, version);

    if (bk_journal_copy(db, copy, 1, NULL, err) != 0) {
        return -1;
    }

    rc = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);

    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(db, bk_journal_rows, NULL, NULL, NULL);
    }

    if (rc == SQLITE_OK && version < 2) {
        rc = sqlite3_exec(db, BK_SCHEMA_DRAINED, NULL, NULL, NULL);
    }

    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(db, BK_SCHEMA_HISTORY, NULL, NULL, NULL);
    }

    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(db, bk_journal_trust_rows, NULL, NULL, NULL);
    }

    if (rc == SQLITE_OK) {
        rc = sqlite3_exec(db, BK_SCHEMA_END, NULL, NULL, NULL);
    }

    if (rc == SQLITE_OK) {
        return 0;
    }

    (void) bk_fail(err, 500, "JournalUnwritable",
                   "it is as it was: make room for twice its size, then "
                   "start again", "%s cannot be brought to format %d: %s",
                   path, BK_JOURNAL_SCHEMA, sqlite3_errmsg(db));

    if (!sqlite3_get_autocommit(db)) {
        (void) sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    }

    return -1;
}
