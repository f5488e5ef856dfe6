/*
 * The folder of reports, once a second: who reports, who is gone.  How a
 * file is read, summed up and found dead is in the files named for it.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bk_err.h"
#include "log.h"
#include "report_int.h"
#include "slow.h"


#define BK_REPORTS_LOCK     "lock"
/* set-group-ID: what nginx makes there is for that group.  Sticky: its
 * processes cannot remove each other's files, nor the totals. */
#define BK_REPORTS_MODE     03770

/* files that were never finished are removed after so many seconds */
#define BK_REPORTS_NEW_AGE  60


static void bk_reports_tick(evutil_socket_t fd, short what, void *data);
static int bk_reports_open(bk_reports_t *r, bk_err_t *err);
static int bk_reports_make(bk_reports_t *r, bk_err_t *err);
static int bk_reports_lock(bk_reports_t *r, bk_err_t *err);
static void bk_reports_close(bk_reports_t *r);
static void bk_reports_trouble(bk_reports_t *r, const bk_err_t *err);
static int bk_reports_list(bk_reports_t *r, bk_err_t *err);
static void bk_reports_entry(bk_reports_t *r, const char *name);
static void bk_reports_file(bk_reports_t *r, const char *name);
static void bk_reports_read(bk_reports_t *r, bk_report_file_t *f);
static int bk_reports_own_name(const bk_report_file_t *f);
static void bk_reports_counted(bk_reports_t *r, bk_report_file_t *f);
static void bk_reports_dead(bk_reports_t *r, bk_report_file_t *f);
static void bk_reports_quietly(bk_report_file_t *f, const bk_err_t *err);
static void bk_reports_drop(bk_reports_t *r, bk_report_file_t *f);


bk_reports_t *
bk_reports_new(struct event_base *base, const bk_reports_conf_t *conf)
{
    bk_reports_t    *r;
    struct timeval   often = { 1, 0 };

    r = calloc(1, sizeof(bk_reports_t));
    if (r == NULL) {
        abort();
    }

    r->conf = *conf;
    r->dir = -1;
    r->lock = -1;
    bk_report_here(r);

    r->timer = event_new(base, -1, EV_PERSIST, bk_reports_tick, r);
    if (r->timer == NULL || event_add(r->timer, &often) != 0) {
        abort();
    }

    bk_reports_scan(r);

    return r;
}


void
bk_reports_free(bk_reports_t **rp)
{
    bk_reports_t  *r = *rp;

    if (r == NULL) {
        return;
    }

    *rp = NULL;

    event_free(r->timer);
    bk_reports_close(r);
    bk_report_use_free(r);
    free(r);
}


static void
bk_reports_tick(evutil_socket_t fd, short what, void *data)
{
    uint64_t  since = bk_host_monotonic_ms();

    (void) fd;
    (void) what;

    bk_reports_scan(data);
    bk_host_slow("reports", "a look", since);
}


void
bk_reports_scan(bk_reports_t *r)
{
    bk_err_t           err;
    bk_report_file_t  *f, *next;

    memset(&err, 0, sizeof(err));

    if (bk_reports_open(r, &err) != 0 || bk_reports_list(r, &err) != 0) {
        bk_reports_trouble(r, &err);
        bk_reports_close(r);

    } else if (r->trouble[0] != '\0') {
        r->trouble[0] = '\0';
        bk_log(BK_LOG_INFO, "reports", "%s can be used now", r->conf.dir);
    }

    r->blocked = 0;
    r->left = BK_REPORTS_RECORDS;

    for (f = r->files; f != NULL; f = next) {
        next = f->hh.next;

        if (!f->seen) {
            bk_reports_drop(r, f);
            continue;
        }

        bk_reports_read(r, f);
    }

    bk_reports_limited(r);

    for (f = r->files; f != NULL; f = next) {
        next = f->hh.next;

        if (f->read) {
            bk_reports_counted(r, f);
        }
    }

    for (f = r->files; f != NULL; f = next) {
        next = f->hh.next;

        if (f->read && !f->folded && !bk_report_alive(r, f)) {
            bk_reports_dead(r, f);
        }
    }

    r->read_ms = bk_host_monotonic_ms();
    bk_report_use_count(r);
    bk_report_use_tell(r);
}


/* The folder may come, go and be replaced at any time. */

static int
bk_reports_open(bk_reports_t *r, bk_err_t *err)
{
    struct stat  st;

    if (r->dir != -1) {
        if (stat(r->conf.dir, &st) == 0 && st.st_dev == r->dev
            && st.st_ino == r->ino)
        {
            return 0;
        }

        bk_reports_close(r);
    }

    r->dir = open(r->conf.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (r->dir == -1 && errno == ENOENT) {
        if (bk_reports_make(r, err) != 0) {
            return -1;
        }

        r->dir = open(r->conf.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }

    if (r->dir == -1 || fstat(r->dir, &st) == -1) {
        return bk_err_set(err, 500, "ReportFolder", "cannot open %s: %s",
                          r->conf.dir, strerror(errno));
    }

    r->dev = st.st_dev;
    r->ino = st.st_ino;

    if (bk_reports_lock(r, err) != 0) {
        return -1;
    }

    return bk_report_totals_load(r, err);
}


static int
bk_reports_make(bk_reports_t *r, bk_err_t *err)
{
    gid_t          gid = (gid_t) -1;
    struct group  *gr;

    if (r->conf.group != NULL) {
        gr = getgrnam(r->conf.group);
        gid = gr != NULL ? gr->gr_gid : (gid_t) -1;
    }

    if (mkdir(r->conf.dir, 0700) == -1) {
        return bk_err_set(err, 500, "ReportFolder", "cannot make %s: %s",
                          r->conf.dir, strerror(errno));
    }

    /* the group first: chown takes the set-group-ID bit away */
    if ((gid != (gid_t) -1 && chown(r->conf.dir, (uid_t) -1, gid) == -1)
        || chmod(r->conf.dir, BK_REPORTS_MODE) == -1)
    {
        bk_err_set(err, 500, "ReportFolder",
                   "cannot open %s to group \"%s\": %s", r->conf.dir,
                   r->conf.group != NULL ? r->conf.group : "-",
                   strerror(errno));
        (void) rmdir(r->conf.dir);
        return -1;
    }

    return 0;
}


/* Two that add up the same files would count them twice. */

static int
bk_reports_lock(bk_reports_t *r, bk_err_t *err)
{
    r->lock = openat(r->dir, BK_REPORTS_LOCK,
                     O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (r->lock == -1) {
        return bk_err_set(err, 500, "ReportFolder", "cannot open %s/%s: %s",
                          r->conf.dir, BK_REPORTS_LOCK, strerror(errno));
    }

    if (flock(r->lock, LOCK_EX | LOCK_NB) == -1) {
        return bk_err_set(err, 409, "ReportFolder",
                          "another buildkit-plugin-host reads %s",
                          r->conf.dir);
    }

    return 0;
}


static void
bk_reports_close(bk_reports_t *r)
{
    while (r->files != NULL) {
        bk_reports_drop(r, r->files);
    }

    bk_report_copy_free(&r->totals);

    if (r->lock != -1) {
        close(r->lock);
        r->lock = -1;
    }

    if (r->dir != -1) {
        close(r->dir);
        r->dir = -1;
    }
}


/* Each kind once. */

static void
bk_reports_trouble(bk_reports_t *r, const bk_err_t *err)
{
    if (strcmp(r->trouble, err->text) == 0) {
        return;
    }

    snprintf(r->trouble, sizeof(r->trouble), "%s", err->text);
    bk_log(BK_LOG_WARN, "reports", "%s: no connections are listed, and idle "
           "times follow from allocations alone", err->text);
}


static int
bk_reports_list(bk_reports_t *r, bk_err_t *err)
{
    int                fd;
    DIR               *d;
    struct dirent     *e;
    bk_report_file_t  *f;

    r->crowded = 0;

    for (f = r->files; f != NULL; f = f->hh.next) {
        f->seen = 0;
    }

    fd = openat(r->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    d = fd != -1 ? fdopendir(fd) : NULL;

    if (d == NULL) {
        if (fd != -1) {
            close(fd);
        }

        return bk_err_set(err, 500, "ReportFolder", "cannot list %s: %s",
                          r->conf.dir, strerror(errno));
    }

    while ((e = readdir(d)) != NULL) {
        bk_reports_entry(r, e->d_name);
    }

    closedir(d);

    return 0;
}


static void
bk_reports_entry(bk_reports_t *r, const char *name)
{
    size_t        len = strlen(name);
    const size_t  suffix = sizeof(BK_REPORT_SUFFIX) - 1;
    const size_t  fresh = sizeof(BK_REPORT_SUFFIX BK_REPORT_NEW) - 1;
    struct stat   st;

    if (strncmp(name, BK_REPORT_PREFIX, sizeof(BK_REPORT_PREFIX) - 1) != 0
        || len >= BK_REPORT_FILE_NAME)
    {
        return;
    }

    if (len > suffix && strcmp(name + len - suffix, BK_REPORT_SUFFIX) == 0) {
        bk_reports_file(r, name);

    } else if (len > fresh
               && strcmp(name + len - fresh, BK_REPORT_SUFFIX BK_REPORT_NEW)
                  == 0
               && fstatat(r->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0
               && st.st_mtime + BK_REPORTS_NEW_AGE < time(NULL))
    {
        /* its maker was killed before it had anything to say */
        (void) unlinkat(r->dir, name, 0);
    }
}


static void
bk_reports_file(bk_reports_t *r, const char *name)
{
    bk_report_file_t  *f;

    HASH_FIND_STR(r->files, name, f);

    if (f == NULL) {
        if (HASH_COUNT(r->files) >= BK_REPORTS_FILES) {
            r->crowded = 1;
            return;
        }

        f = calloc(1, sizeof(bk_report_file_t));
        if (f == NULL) {
            abort();
        }

        snprintf(f->name, sizeof(f->name), "%s", name);
        f->copy.left = &r->left;
        HASH_ADD_STR(r->files, name, f);
    }

    f->seen = 1;
}


static void
bk_reports_read(bk_reports_t *r, bk_report_file_t *f)
{
    int       rc;
    bk_err_t  err;

    rc = bk_report_read(r->dir, f->name, &f->copy, &err);

    if (rc == 0 && !bk_reports_own_name(f)) {
        rc = bk_err_set(&err, 400, "ReportBad",
                        "it says that it is another process's");
    }

    f->read = rc == 0;

    if (f->read) {
        return;
    }

    f->copy.nsessions = 0;

    if (err.code == 400) {
        /* gone from the list with the next look, or there for good */
        if (!f->aside) {
            f->aside = 1;
            bk_report_aside(r, f->name, err.text);
        }

    } else {
        bk_reports_quietly(f, &err);
    }
}


static int
bk_reports_own_name(const bk_report_file_t *f)
{
    char                       name[BK_REPORT_FILE_NAME];
    const bk_report_header_t  *h = &f->copy.head;

    snprintf(name, sizeof(name),
             BK_REPORT_PREFIX "%llu-%llu-%llu" BK_REPORT_SUFFIX,
             (unsigned long long) h->pid,
             (unsigned long long) h->start_ticks,
             (unsigned long long) h->generation);

    return strcmp(name, f->name) == 0;
}


/* In the totals already: somebody was killed before it could remove it. */

static void
bk_reports_counted(bk_reports_t *r, bk_report_file_t *f)
{
    bk_err_t  err;

    switch (bk_report_finish(r, f, &err)) {

    case 1:
        bk_reports_drop(r, f);
        break;

    case -1:
        f->copy.nsessions = 0;
        bk_reports_quietly(f, &err);
        break;
    }
}


static void
bk_reports_dead(bk_reports_t *r, bk_report_file_t *f)
{
    bk_err_t  err;

    /* what it did between our last look and its end */
    bk_reports_read(r, f);

    if (!f->read) {
        return;
    }

    f->copy.nsessions = 0;

    if (bk_report_fold(r, f, &err) == 0) {
        bk_reports_drop(r, f);

    } else {
        bk_reports_quietly(f, &err);
    }
}


/* Once for each file. */

static void
bk_reports_quietly(bk_report_file_t *f, const bk_err_t *err)
{
    if (!f->quiet) {
        f->quiet = 1;
        bk_log(BK_LOG_ERROR, "reports", "%s: %s", f->name, err->text);
    }
}


static void
bk_reports_drop(bk_reports_t *r, bk_report_file_t *f)
{
    HASH_DEL(r->files, f);
    bk_report_copy_free(&f->copy);
    free(f);
}
