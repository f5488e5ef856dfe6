/*
 * Is this a journal, is it ours, is it whole?
 *
 * A small file is looked through before anything is done with it.  A large
 * one might hold up the start for long: a thread of its own looks at all of
 * it, and the start waits for that for a moment.  Of one that takes longer
 * the start reads what is alive; when damage is found then, nothing more is
 * written: what lives goes on.
 */

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "journal_int.h"


#define BK_JOURNAL_APPLICATION  0x424b474a      /* "BKGJ" */
#define BK_JOURNAL_SMALL        (64 * 1024 * 1024)
#define BK_JOURNAL_CHECK_MS     2000


static int bk_journal_whole(sqlite3 *db, const char *path, bk_err_t *err);
static int bk_journal_check_wait(bk_sqlite_t *j, bk_err_t *err);
static void *bk_journal_check_main(void *data);
static void bk_journal_checked(void *data, const bk_err_t *err);
static int bk_journal_interrupted(void *data);


int
bk_journal_check(sqlite3 *db, const char *path, int *version, bk_err_t *err)
{
    int64_t      application, n;
    struct stat  st;

    if (bk_journal_number(db, "PRAGMA application_id", &application) != 0
        || bk_journal_number(db, "PRAGMA user_version", &n) != 0)
    {
        return bk_journal_trouble(err, db, path, "read");
    }

    if (application != BK_JOURNAL_APPLICATION) {
        return bk_journal_refuse(err, path,
                                 "is not a journal of this program");
    }

    if (n < 1 || n > BK_JOURNAL_SCHEMA) {
        return bk_fail(err, 500, "JournalVersion",
                       "install the version that wrote it, or a newer one",
                       "%s has format %d, and this program knows %d", path,
                       (int) n, BK_JOURNAL_SCHEMA);
    }

    *version = (int) n;

    if (stat(path, &st) == 0 && st.st_size > BK_JOURNAL_SMALL) {
        return 0;
    }

    return bk_journal_whole(db, path, err);
}


/* Is it the file, or the disk? */

int
bk_journal_trouble(bk_err_t *err, sqlite3 *db, const char *path,
    const char *what)
{
    int   rc;
    char  text[128];

    rc = sqlite3_errcode(db);

    if (rc == SQLITE_CORRUPT || rc == SQLITE_NOTADB || rc == SQLITE_ERROR) {
        (void) snprintf(text, sizeof(text), "cannot be %s: %s", what,
                        sqlite3_errmsg(db));
        return bk_journal_refuse(err, path, text);
    }

    return bk_fail(err, 500, "JournalUnreadable",
                   "it is as it was: is there space left on its disk, and "
                   "may we read and write there?", "%s cannot be %s: %s",
                   path, what, sqlite3_errmsg(db));
}


/* Stops at the first fault; "ok" is the only row of a good file. */

static int
bk_journal_whole(sqlite3 *db, const char *path, bk_err_t *err)
{
    int            rc;
    char           text[128];
    sqlite3_stmt  *s;

    s = NULL;
    rc = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &s, NULL);

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(s);
    }

    if (rc == SQLITE_INTERRUPT) {
        (void) sqlite3_finalize(s);
        return 0;
    }

    (void) snprintf(text, sizeof(text), "is damaged: %s",
                    rc == SQLITE_ROW
                    ? (const char *) sqlite3_column_text(s, 0)
                    : sqlite3_errmsg(db));
    (void) sqlite3_finalize(s);

    if (rc == SQLITE_ROW && strcmp(text, "is damaged: ok") == 0) {
        return 0;
    }

    return bk_journal_refuse(err, path, text);
}


int
bk_journal_number(sqlite3 *db, const char *sql, int64_t *value)
{
    int            rc;
    sqlite3_stmt  *s;

    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK) {
        return -1;
    }

    rc = sqlite3_step(s);

    if (rc == SQLITE_ROW) {
        *value = sqlite3_column_int64(s, 0);
    }

    (void) sqlite3_finalize(s);

    return rc == SQLITE_ROW ? 0 : -1;
}


int
bk_journal_check_start(bk_sqlite_t *j, bk_err_t *err)
{
    struct stat  st;

    if (stat(j->path, &st) != 0 || st.st_size <= BK_JOURNAL_SMALL) {
        return 0;
    }

    j->check.op = bk_journal_op(BK_OP_SYNC, NULL, 0, bk_journal_checked, j);

    if (bk_journal_side_start(j, &j->check, bk_journal_check_main, err) != 0)
    {
        free(j->check.op);
        return -1;
    }

    j->bytes += j->check.op->size;
    j->nops++;

    return bk_journal_check_wait(j, err);
}


/* Nobody else has a reason to wake the loop so far. */

static int
bk_journal_check_wait(bk_sqlite_t *j, bk_err_t *err)
{
    int            n;
    bk_op_t       *op;
    struct pollfd  done;

    done = (struct pollfd) { .fd = j->wake, .events = POLLIN };

    do {
        n = poll(&done, 1, BK_JOURNAL_CHECK_MS);
    } while (n == -1 && errno == EINTR);

    if (n != 1 || !__atomic_load_n(&j->damaged, __ATOMIC_RELAXED)) {
        return 0;
    }

    bk_journal_side_wait(&j->check);

    /* whoever refuses to start says it */
    op = j->check.op;
    *err = *op->err;
    free(op->err);
    op->err = NULL;

    return -1;
}


static void *
bk_journal_check_main(void *data)
{
    bk_side_t *side = data;

    bk_err_t      err;
    bk_sqlite_t  *j;

    j = side->journal;

    if (bk_journal_whole(side->db, j->path, &err) != 0
        && !__atomic_load_n(&j->stop, __ATOMIC_RELAXED))
    {
        __atomic_store_n(&j->damaged, 1, __ATOMIC_RELAXED);
        bk_op_fail(side->op, &err);
    }

    bk_journal_finish(j, side->op);

    return NULL;
}


static void
bk_journal_checked(void *data, const bk_err_t *err)
{
    bk_sqlite_t *j = data;

    if (err != NULL) {
        j->host->log(j->host, BK_LOG_ERROR, "%s; nothing more is written to "
                     "it, and what lives goes on: %s", err->text, err->hint);
    }

    bk_journal_side_join(&j->check);
}


/* On failure the operation is still the caller's. */

int
bk_journal_side_start(bk_sqlite_t *j, bk_side_t *side, void *(*fn)(void *),
    bk_err_t *err)
{
    side->journal = j;

    if (bk_journal_connect(j->path, &side->db, err) != 0) {
        return -1;
    }

    (void) sqlite3_exec(side->db, "PRAGMA query_only = ON", NULL, NULL, NULL);
    sqlite3_progress_handler(side->db, 10000, bk_journal_interrupted, j);

    if (bk_journal_thread_new(&side->thread, fn, side, err) != 0) {
        (void) sqlite3_close(side->db);
        side->db = NULL;
        return -1;
    }

    side->running = 1;
    return 0;
}


static int
bk_journal_interrupted(void *data)
{
    bk_sqlite_t *j = data;

    return __atomic_load_n(&j->stop, __ATOMIC_RELAXED);
}


void
bk_journal_side_wait(bk_side_t *side)
{
    if (side->running) {
        sqlite3_interrupt(side->db);
        (void) pthread_join(side->thread, NULL);
        side->running = 0;
    }
}


void
bk_journal_side_join(bk_side_t *side)
{
    bk_journal_side_wait(side);

    (void) sqlite3_close(side->db);
    side->db = NULL;
    side->op = NULL;
}
