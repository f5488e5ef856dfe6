/*
 * Copies of the journal, made with SQLite's backup: whole and of one moment,
 * whatever is written meanwhile.  A copy gets its name when it is complete
 * and on the disk.
 *
 * The one that is asked for while everything goes on has a thread and a
 * connection of its own.  It keeps one view of the journal until its end
 * (else each transaction would make it begin anew): so long the write-ahead
 * log cannot begin anew and grows.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "journal_int.h"


#define BK_COPY_PAGES  256


static int bk_copy_pages(sqlite3 *db, sqlite3 *to, const int *stop,
    const char *path, bk_err_t *err);
static int bk_copy_name(const char *tmp, const char *path, int replace,
    bk_err_t *err);
static void *bk_copy_main(void *data);
static void bk_copy_done(void *data, const bk_err_t *err);


/* Whom to tell, after the thread was joined. */
typedef struct {
    bk_sqlite_t    *journal;
    bk_journal_pt   done;
    void           *data;
} bk_copy_t;


int
bk_journal_copy(sqlite3 *db, const char *path, int replace, const int *stop,
    bk_err_t *err)
{
    int       fd, rc;
    char      tmp[BK_JOURNAL_PATH_MAX + 8];
    sqlite3  *to;

    (void) snprintf(tmp, sizeof(tmp), "%s.new", path);

    /* a leftover of one that was killed; nobody else writes here */
    (void) unlink(tmp);
    fd = open(tmp, O_CREAT|O_EXCL|O_RDWR|O_CLOEXEC|O_NOFOLLOW, 0600);

    if (fd == -1) {
        return bk_fail(err, 500, "BackupFailed", NULL, "%s: %s", tmp,
                       strerror(errno));
    }

    (void) close(fd);

    to = NULL;

    if (sqlite3_open_v2(tmp, &to, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) {
        rc = bk_fail(err, 500, "BackupFailed", NULL, "%s: %s", tmp,
                     to == NULL ? "no memory" : sqlite3_errmsg(to));

    } else {
        rc = bk_copy_pages(db, to, stop, tmp, err);
    }

    (void) sqlite3_close(to);

    if (rc == 0) {
        rc = bk_copy_name(tmp, path, replace, err);
    }

    if (rc != 0) {
        (void) unlink(tmp);
    }

    return rc;
}


/*
 * The copy is one file that any reader can open: not in WAL mode, of which
 * its header was a copy.  SQLite syncs it at its end.
 */

static int
bk_copy_pages(sqlite3 *db, sqlite3 *to, const int *stop, const char *path,
    bk_err_t *err)
{
    int              rc;
    sqlite3_backup  *b;

    b = sqlite3_backup_init(to, "main", db, "main");

    if (b == NULL) {
        return bk_fail(err, 500, "BackupFailed", NULL, "%s: %s", path,
                       sqlite3_errmsg(to));
    }

    do {
        if (stop != NULL && __atomic_load_n(stop, __ATOMIC_RELAXED)) {
            (void) sqlite3_backup_finish(b);
            return bk_fail(err, 503, "ShuttingDown", "try again in a moment",
                           "%s: this process is stopping", path);
        }

        rc = sqlite3_backup_step(b, BK_COPY_PAGES);

    } while (rc == SQLITE_OK);

    (void) sqlite3_backup_finish(b);

    if (rc == SQLITE_DONE
        && sqlite3_exec(to, "PRAGMA journal_mode = DELETE", NULL, NULL, NULL)
           == SQLITE_OK)
    {
        return 0;
    }

    return bk_fail(err, 500, "BackupFailed",
                   "is there space left?", "%s: %s", path,
                   sqlite3_errstr(rc == SQLITE_DONE ? sqlite3_errcode(to)
                                                    : rc));
}


static int
bk_copy_name(const char *tmp, const char *path, int replace, bk_err_t *err)
{
    /* link() never replaces one that is there */
    if (replace ? rename(tmp, path) != 0 : link(tmp, path) != 0) {
        return bk_fail(err, errno == EEXIST ? 409 : 500,
                       errno == EEXIST ? "BackupExists" : "BackupFailed",
                       errno == EEXIST ? "take another name" : NULL,
                       "%s: %s", path, strerror(errno));
    }

    if (!replace) {
        (void) unlink(tmp);
    }

    bk_journal_dir_sync(path);

    return 0;
}


void
bk_sqlite_backup(void *back, const char *path, bk_journal_pt done,
    void *data)
{
    bk_sqlite_t *j = back;

    bk_err_t      err;
    bk_arg_t      arg;
    bk_copy_t  *b;

    if (j->backup.op != NULL) {
        (void) bk_fail(&err, 409, "BackupRunning", "wait for its end",
                       "another backup is under way");
        done(data, &err);
        return;
    }

    b = malloc(sizeof(bk_copy_t));

    if (b == NULL) {
        abort();
    }

    *b = (bk_copy_t) { j, done, data };

    arg = bk_arg_blob(path, strlen(path) + 1);
    j->backup.op = bk_journal_op(BK_OP_BACKUP, &arg, 1, bk_copy_done, b);

    if (bk_journal_side_start(j, &j->backup, bk_copy_main, &err) != 0) {
        free(j->backup.op);
        j->backup.op = NULL;
        free(b);
        done(data, &err);
        return;
    }

    j->bytes += j->backup.op->size;
    j->nops++;
}


static void *
bk_copy_main(void *data)
{
    bk_side_t *side = data;

    bk_err_t      err;
    const char   *path;
    bk_sqlite_t  *j;

    j = side->journal;
    path = side->op->args[0].data;

    /* a statement that reads, so that the view is there */
    if (sqlite3_exec(side->db, "BEGIN; SELECT count(*) FROM drained;", NULL,
                     NULL, NULL)
        != SQLITE_OK)
    {
        (void) bk_journal_error(side->db, &err);
        bk_op_fail(side->op, &err);

    } else if (bk_journal_copy(side->db, path, 0, &j->stop, &err) != 0) {
        bk_op_fail(side->op, &err);
    }

    bk_journal_finish(j, side->op);

    return NULL;
}


static void
bk_copy_done(void *data, const bk_err_t *err)
{
    bk_copy_t *b = data;

    bk_journal_side_join(&b->journal->backup);

    b->done(b->data, err);
    free(b);
}
