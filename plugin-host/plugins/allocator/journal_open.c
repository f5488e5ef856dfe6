/*
 * Opening the journal: made when it is missing, looked at when it is there.
 *
 * A file that is damaged, foreign or newer than this program is refused with
 * what to do, and never emptied: it may be the only record of who may use
 * which worker.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "journal_int.h"


/* in the writer's thread, when another program has the file */
#define BK_JOURNAL_BUSY_MS  1000


static int bk_journal_there(const char *path, bk_err_t *err);
static int bk_journal_create(const char *path, bk_err_t *err);
static int bk_journal_open_writer(bk_sqlite_t *j, bk_err_t *err);
static int bk_journal_open_reader(bk_sqlite_t *j, bk_err_t *err);
static void bk_sqlite_close(void *back);


static const bk_journal_back_t  bk_sqlite_back = {
    .close = bk_sqlite_close,
    .insert = bk_sqlite_insert,
    .place = bk_sqlite_place,
    .answered = bk_sqlite_answered,
    .rekey = bk_sqlite_rekey,
    .extend = bk_sqlite_extend,
    .end = bk_sqlite_end,
    .note = bk_sqlite_note,
    .sync = bk_sqlite_sync,
    .backup = bk_sqlite_backup,
    .prune = bk_sqlite_prune,
    .trust = bk_sqlite_trust,
    .trusted = bk_sqlite_trusted,
    .drain = bk_sqlite_drain,
    .undrain = bk_sqlite_undrain,
    .drained = bk_sqlite_drained,
    .stats = bk_sqlite_stats,
    .find = bk_sqlite_find,
    .prefix = bk_sqlite_prefix,
    .each = bk_sqlite_each,
    .history = bk_sqlite_history
};


int
bk_journal_open(bk_journal_t **out, const bk_host_t *h, const char *dir,
    bk_err_t *err)
{
    int           rc;
    bk_sqlite_t  *j;

    j = calloc(1, sizeof(bk_sqlite_t));

    if (j == NULL) {
        abort();
    }

    j->host = h;
    j->wake = -1;
    STAILQ_INIT(&j->asked);
    STAILQ_INIT(&j->queue);
    STAILQ_INIT(&j->finished);
    (void) pthread_mutex_init(&j->lock, NULL);
    (void) pthread_cond_init(&j->work, NULL);

    rc = snprintf(j->path, sizeof(j->path), "%s/journal.db", dir);

    if (rc < 0 || (size_t) rc >= sizeof(j->path) - 16) {
        (void) bk_fail(err, 500, "PathTooLong", NULL,
                       "the name of the state folder is too long");
        goto failed;
    }

    if (bk_journal_there(j->path, err) != 0
        || bk_journal_open_writer(j, err) != 0
        || bk_journal_open_reader(j, err) != 0
        || bk_journal_thread_start(j, err) != 0
        || bk_journal_check_start(j, err) != 0)
    {
        goto failed;
    }

    *out = bk_journal_new(&bk_sqlite_back, j);
    return 0;

failed:

    bk_sqlite_close(j);
    return -1;
}


static int
bk_journal_there(const char *path, bk_err_t *err)
{
    struct stat  st;

    if (stat(path, &st) != 0) {
        if (errno != ENOENT) {
            return bk_fail(err, 500, "JournalUnreadable", NULL, "%s: %s",
                           path, strerror(errno));
        }

        return bk_journal_create(path, err);
    }

    if (st.st_size == 0) {
        /* ours is renamed into place when it is whole: never empty */
        return bk_journal_refuse(err, path, "is empty");
    }

    if ((st.st_mode & 077) != 0 && chmod(path, 0600) != 0) {
        return bk_fail(err, 500, "JournalUnreadable", NULL,
                       "%s: cannot make it private: %s", path,
                       strerror(errno));
    }

    return bk_journal_wal_check(path, err);
}


/*
 * A new journal is made beside its place and renamed when it is whole, so
 * that one which is there is either good or damaged, and never half made.
 */

static int
bk_journal_create(const char *path, bk_err_t *err)
{
    int       fd, rc;
    char      tmp[BK_JOURNAL_PATH_MAX + 8];
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

    bk_journal_dir_sync(path);

    return 0;
}


void
bk_journal_dir_sync(const char *path)
{
    int    fd;
    char  *slash, dir[BK_JOURNAL_PATH_MAX + 8];

    (void) snprintf(dir, sizeof(dir), "%s", path);
    slash = strrchr(dir, '/');

    if (slash == NULL) {
        return;
    }

    *slash = '\0';
    fd = open(dir, O_RDONLY|O_DIRECTORY|O_CLOEXEC);

    if (fd != -1) {
        (void) fsync(fd);
        (void) close(fd);
    }
}


int
bk_journal_refuse(bk_err_t *err, const char *path, const char *what)
{
    return bk_fail(err, 500, "JournalDamaged", BK_JOURNAL_DAMAGED, "%s %s",
                   path, what);
}


/* Each connection is used by one thread at a time. */

int
bk_journal_connect(const char *path, sqlite3 **db, bk_err_t *err)
{
    int  rc;

    rc = sqlite3_open_v2(path, db,
                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX
                         | SQLITE_OPEN_PRIVATECACHE, NULL);

    if (rc != SQLITE_OK) {
        (void) bk_fail(err, 500, "JournalUnreadable", NULL, "%s: %s", path,
                       *db == NULL ? "no memory" : sqlite3_errmsg(*db));
        (void) sqlite3_close(*db);
        *db = NULL;
        return -1;
    }

    return 0;
}


int
bk_journal_prepare(sqlite3 *db, const char *const *sql, sqlite3_stmt **stmt,
    int n)
{
    int  i;

    for (i = 0; i < n; i++) {
        if (sqlite3_prepare_v3(db, sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &stmt[i], NULL)
            != SQLITE_OK)
        {
            return -1;
        }
    }

    return 0;
}


static int
bk_journal_open_writer(bk_sqlite_t *j, bk_err_t *err)
{
    int  version;

    if (bk_journal_connect(j->path, &j->db, err) != 0) {
        return -1;
    }

    (void) sqlite3_busy_timeout(j->db, BK_JOURNAL_BUSY_MS);

    if (bk_journal_check(j->db, j->path, &version, err) != 0) {
        return -1;
    }

    if (sqlite3_exec(j->db, "PRAGMA journal_mode = WAL;"
                            "PRAGMA synchronous = FULL;"
                            "PRAGMA wal_autocheckpoint = 0;"
                            "PRAGMA journal_size_limit = 67108864;"
                            "PRAGMA cache_size = -8192;"
                            "PRAGMA trusted_schema = OFF;"
                            "PRAGMA secure_delete = OFF;",
                     NULL, NULL, NULL)
        != SQLITE_OK)
    {
        return bk_journal_trouble(err, j->db, j->path, "written");
    }

    if (version < BK_JOURNAL_SCHEMA) {
        j->host->log(j->host, BK_LOG_INFO, "%s: bringing format %d to %d, "
                     "with a copy in journal.db.v%d", j->path, version,
                     BK_JOURNAL_SCHEMA, version);
    }

    if (bk_journal_migrate(j->db, j->path, version, err) != 0) {
        return -1;
    }

    if (bk_journal_prepare(j->db, bk_journal_write_sql, j->write,
                           BK_OP_STATEMENTS)
        != 0
        || bk_journal_prepare(j->db, bk_journal_prune_sql, j->prune, 2) != 0)
    {
        return bk_journal_trouble(err, j->db, j->path, "used");
    }

    return 0;
}


static int
bk_journal_open_reader(bk_sqlite_t *j, bk_err_t *err)
{
    if (bk_journal_connect(j->path, &j->reader, err) != 0) {
        return -1;
    }

    if (sqlite3_exec(j->reader, "PRAGMA query_only = ON;"
                                "PRAGMA trusted_schema = OFF;"
                                "PRAGMA wal_autocheckpoint = 0;",
                     NULL, NULL, NULL)
        != SQLITE_OK
        || bk_journal_prepare(j->reader, bk_journal_read_sql, j->read,
                              BK_READ_STATEMENTS)
           != 0)
    {
        return bk_journal_trouble(err, j->reader, j->path, "read");
    }

    return 0;
}


static void
bk_sqlite_close(void *back)
{
    bk_sqlite_t *j = back;

    int  i;

    /* done() may still use it */
    bk_journal_thread_stop(j);

    for (i = 0; i < BK_READ_STATEMENTS; i++) {
        (void) sqlite3_finalize(j->read[i]);
    }

    (void) sqlite3_close(j->reader);

    for (i = 0; i < BK_OP_STATEMENTS; i++) {
        (void) sqlite3_finalize(j->write[i]);
    }

    (void) sqlite3_finalize(j->prune[0]);
    (void) sqlite3_finalize(j->prune[1]);

    /* the last connection: what the log holds goes into the file */
    (void) sqlite3_close(j->db);

    (void) pthread_cond_destroy(&j->work);
    (void) pthread_mutex_destroy(&j->lock);
    free(j);
}
