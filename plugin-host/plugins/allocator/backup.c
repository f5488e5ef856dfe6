/*
 * POST /api/v1/journal/backup {"name": "before-upgrade"}: a copy of the
 * journal as STATE/backups/NAME.db, made while everything goes on, answered
 * when it is complete and on the disk.  It holds no token and no private
 * key, but who has what: it stays in the state folder, mode 0600.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "backup.h"


#define BK_BACKUP_NAME_MAX  64


/* One backup; r: NULL when it was answered before its end. */
typedef struct {
    bk_allocator_t  *a;
    bk_request_t    *r;
    char             path[4096 + BK_BACKUP_NAME_MAX + 16];
} bk_job_t;

/* The one that is under way; another one is refused. */
struct bk_backup_s {
    bk_job_t  *job;
};

typedef struct bk_backup_s  bk_backup_t;


static void bk_backup_http(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static int bk_backup_read(bk_allocator_t *a, bk_str_t body, char *name,
    bk_err_t *err);
static int bk_backup_path(bk_allocator_t *a, const char *name, bk_job_t *job,
    bk_err_t *err);
static void bk_backup_done(void *data, const bk_err_t *err);
static void bk_backup_answer(bk_job_t *job);
static void bk_backup_audit(bk_job_t *job, const bk_err_t *err);


int
bk_backup_add(bk_allocator_t *a, bk_err_t *err)
{
    a->backup = calloc(1, sizeof(bk_backup_t));

    if (a->backup == NULL) {
        abort();
    }

    return a->host->http_route_for(a->host, "POST", "/api/v1/journal/backup",
                                   BK_VERB_ADMIN, bk_backup_http, a, err);
}


void
bk_backup_stop(bk_allocator_t *a)
{
    bk_err_t   err;
    bk_job_t  *job;

    job = a->backup != NULL ? a->backup->job : NULL;

    if (job == NULL || job->r == NULL) {
        return;
    }

    (void) bk_fail(&err, 503, "ShuttingDown", "try again in a moment",
                   "the gateway's control process is stopping");
    a->host->http_fail(job->r, &err);
    job->r = NULL;
}


void
bk_backup_free(bk_allocator_t *a)
{
    free(a->backup);
    a->backup = NULL;
}


static void
bk_backup_http(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    bk_allocator_t *a = data;

    char              name[BK_BACKUP_NAME_MAX + 1];
    bk_err_t          err;
    bk_job_t         *job;
    const bk_host_t  *h;

    h = a->host;

    if (a->backup->job != NULL) {
        (void) bk_fail(&err, 409, "BackupRunning", "wait for its end",
                       "another backup is under way");
        h->http_fail(r, &err);
        return;
    }

    job = calloc(1, sizeof(bk_job_t));

    if (job == NULL) {
        abort();
    }

    if (bk_backup_read(a, info->body, name, &err) != 0
        || bk_backup_path(a, name, job, &err) != 0)
    {
        h->http_fail(r, &err);
        free(job);
        return;
    }

    job->a = a;
    job->r = r;
    a->backup->job = job;

    /* the copy is made all the same when the caller goes away meanwhile */
    bk_journal_backup(a->journal, job->path, bk_backup_done, job);
}


/* No name: that of the moment. */

static int
bk_backup_read(bk_allocator_t *a, bk_str_t body, char *name, bk_err_t *err)
{
    int        rc;
    time_t     t;
    json_t    *root;
    struct tm  tm;

    rc = 0;

    if (body.len > 0) {
        root = bk_json_read(body, err);

        if (root == NULL) {
            return -1;
        }

        rc = bk_json_string(root, "name", BK_BACKUP_NAME_MAX, name, err);
        json_decref(root);
    }

    if (rc == -1) {
        return -1;
    }

    if (rc == 0) {
        t = (time_t) (a->host->now_ms(a->host) / 1000);
        (void) strftime(name, BK_BACKUP_NAME_MAX + 1,
                        "journal-%Y%m%dT%H%M%SZ", gmtime_r(&t, &tm));
    }

    if (name[0] == '\0' || name[0] == '.'
        || strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                        "0123456789._-")
           != strlen(name))
    {
        return bk_fail(err, 400, "BadName",
                       "letters, digits, dots, hyphens and underscores, no "
                       "dot in front",
                       "\"name\" is no name of a backup");
    }

    return 0;
}


static int
bk_backup_path(bk_allocator_t *a, const char *name, bk_job_t *job,
    bk_err_t *err)
{
    int          n;
    char        *file;
    bk_str_t     state;
    struct stat  st;

    state = a->host->state_dir(a->host);

    n = snprintf(job->path, sizeof(job->path), "%.*s/backups",
                 (int) state.len, state.data);

    if (n < 0 || (size_t) n >= sizeof(job->path) - BK_BACKUP_NAME_MAX - 8) {
        return bk_fail(err, 500, "PathTooLong", NULL,
                       "the name of the state folder is too long");
    }

    if (mkdir(job->path, 0700) != 0 && errno != EEXIST) {
        return bk_fail(err, 500, "BackupFailed", NULL, "%s: %s", job->path,
                       strerror(errno));
    }

    file = job->path + n;
    (void) snprintf(file, sizeof(job->path) - (size_t) n, "/%s.db", name);

    if (lstat(job->path, &st) == 0) {
        return bk_fail(err, 409, "BackupExists", "take another name",
                       "there is a backup %s", name);
    }

    return 0;
}


static void
bk_backup_done(void *data, const bk_err_t *err)
{
    bk_job_t *job = data;

    const bk_host_t  *h;

    h = job->a->host;
    job->a->backup->job = NULL;

    if (job->a->stopping) {
        /* who asked was told, and the host is at its end */
        free(job);
        return;
    }

    bk_backup_audit(job, err);

    if (err != NULL) {
        h->log(h, BK_LOG_ERROR, "backup of the journal: %s", err->text);
        h->http_fail(job->r, err);

    } else {
        h->log(h, BK_LOG_INFO, "backup of the journal: %s", job->path);
        bk_backup_answer(job);
    }

    free(job);
}


static void
bk_backup_answer(bk_job_t *job)
{
    bk_buf_t          b;
    struct stat       st;
    const bk_host_t  *h;

    h = job->a->host;
    b = (bk_buf_t) { NULL, 0, 0 };

    if (stat(job->path, &st) != 0) {
        /* somebody has taken it away already */
        st.st_size = 0;
    }

    bk_buf_str(&b, "path", job->path);
    bk_buf_number(&b, "bytes", (uint64_t) st.st_size);
    bk_buf_add(&b, "}\n", 2);

    h->http_reply(job->r, 200, "application/json",
                  (bk_str_t) { b.data, b.len });
    bk_buf_free(&b);
}


static void
bk_backup_audit(bk_job_t *job, const bk_err_t *err)
{
    bk_buf_t  b;

    b = (bk_buf_t) { NULL, 0, 0 };
    bk_buf_str(&b, "path", job->path);
    bk_buf_audit(job->a, job->r, "backup", "done", err, &b);
}
