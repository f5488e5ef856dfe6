/*
 * What became of those that are gone: totals.report, a file of the same
 * layout without sessions.
 *
 * Adding one: the totals with it are written beside, and name it; they take
 * the place of the old ones by rename; then its file is removed.  Killed
 * before the rename, nothing has happened.  Killed after it, the file that
 * is still there is the one that the totals name, and is only removed.  So
 * no other one is added before that has been done.
 */

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bk_err.h"
#include "log.h"
#include "report_int.h"


#define BK_REPORT_TOTALS_NEW  BK_REPORT_TOTALS BK_REPORT_NEW


static void bk_report_totals_begin(bk_reports_t *r);
static int bk_report_totals_write(bk_reports_t *r,
    const bk_report_header_t *head, const bk_report_pool_t *pools,
    bk_err_t *err);
static int bk_report_same(const bk_report_header_t *totals,
    const bk_report_header_t *h);
static int bk_report_remove(bk_reports_t *r, bk_report_file_t *f,
    bk_err_t *err);


int
bk_report_totals_load(bk_reports_t *r, bk_err_t *err)
{
    struct stat  st;

    bk_report_copy_free(&r->totals);

    if (fstatat(r->dir, BK_REPORT_TOTALS, &st, AT_SYMLINK_NOFOLLOW) == -1) {
        if (errno != ENOENT) {
            return bk_err_set(err, 500, "ReportTotals",
                              "cannot look at %s/%s: %s", r->conf.dir,
                              BK_REPORT_TOTALS, strerror(errno));
        }

        bk_report_totals_begin(r);

        return 0;
    }

    /* the folder is open to nginx's processes: they do not write this */
    if (st.st_uid != geteuid()) {
        bk_report_aside(r, BK_REPORT_TOTALS, "somebody else's file");
        bk_report_totals_begin(r);

        return 0;
    }

    if (bk_report_read(r->dir, BK_REPORT_TOTALS, &r->totals, err) != 0) {
        if (err->code != 400) {
            return -1;
        }

        bk_report_aside(r, BK_REPORT_TOTALS, err->text);
        bk_report_copy_free(&r->totals);
        bk_report_totals_begin(r);

    } else if (r->totals.head.nsessions != 0) {
        bk_report_aside(r, BK_REPORT_TOTALS, "it has sessions");
        bk_report_copy_free(&r->totals);
        bk_report_totals_begin(r);
    }

    return 0;
}


static void
bk_report_totals_begin(bk_reports_t *r)
{
    bk_report_header_t  *h = &r->totals.head;

    r->totals.pools = calloc(BK_REPORT_POOLS, sizeof(bk_report_pool_t));
    if (r->totals.pools == NULL) {
        abort();
    }

    r->totals.pools[0].used = 1;

    memset(h, 0, sizeof(*h));
    memcpy(h->magic, BK_REPORT_MAGIC, BK_REPORT_MAGIC_LEN);
    h->header_size = sizeof(*h);
    h->endian = BK_REPORT_ENDIAN;
    h->pool_size = sizeof(bk_report_pool_t);
    h->session_size = sizeof(bk_report_session_t);
    h->npools = BK_REPORT_POOLS;
    h->pools_offset = sizeof(*h);
    h->sessions_offset = sizeof(*h)
                         + BK_REPORT_POOLS * sizeof(bk_report_pool_t);
    h->total_size = h->sessions_offset;
}


/* 1: it is gone now, 0: it is none of those, -1: it could not be removed. */

int
bk_report_finish(bk_reports_t *r, bk_report_file_t *f, bk_err_t *err)
{
    if (!f->folded && !bk_report_same(&r->totals.head, &f->copy.head)) {
        return 0;
    }

    f->folded = 1;

    return bk_report_remove(r, f, err) == 0 ? 1 : -1;
}


int
bk_report_fold(bk_reports_t *r, bk_report_file_t *f, bk_err_t *err)
{
    int                        i, rc;
    bk_report_pool_t          *pools;
    bk_report_header_t         head = r->totals.head;
    const bk_report_header_t  *h = &f->copy.head;

    if (r->blocked) {
        return bk_err_set(err, 409, "ReportBlocked",
                          "another one could not be removed");
    }

    for (i = 0; i < 8; i++) {
        head.handshake[i] += h->handshake[i];
    }

    head.dead_clients += h->dead_clients;
    head.dead_workers += h->dead_workers;
    head.lost += h->lost;
    head.folded_pid = h->pid;
    head.folded_ticks = h->start_ticks;
    head.folded_generation = h->generation;
    memcpy(head.folded_boot, h->boot, sizeof(head.folded_boot));

    pools = malloc(BK_REPORT_POOLS * sizeof(bk_report_pool_t));
    if (pools == NULL) {
        abort();
    }

    memcpy(pools, r->totals.pools,
           BK_REPORT_POOLS * sizeof(bk_report_pool_t));

    for (i = 0; i < BK_REPORT_POOLS; i++) {
        bk_report_add(pools, &f->copy.pools[i]);
    }

    rc = bk_report_totals_write(r, &head, pools, err);

    if (rc != 0) {
        free(pools);
        return -1;
    }

    free(r->totals.pools);
    r->totals.pools = pools;
    r->totals.head = head;
    r->folded++;
    f->folded = 1;

    bk_log(BK_LOG_INFO, "reports", "gateway process %llu is gone; what it "
           "counted is kept", (unsigned long long) h->pid);

    return bk_report_remove(r, f, err);
}


/* Complete under another name, then in place by rename. */

static int
bk_report_totals_write(bk_reports_t *r, const bk_report_header_t *head,
    const bk_report_pool_t *pools, bk_err_t *err)
{
    int           fd, errnum;
    const size_t  size = BK_REPORT_POOLS * sizeof(bk_report_pool_t);

    /* of one of us that was killed, or of somebody who plays with links */
    (void) unlinkat(r->dir, BK_REPORT_TOTALS_NEW, 0);

    fd = openat(r->dir, BK_REPORT_TOTALS_NEW,
                O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);

    if (fd == -1) {
        return bk_err_set(err, 500, "ReportTotals", "cannot make %s/%s: %s",
                          r->conf.dir, BK_REPORT_TOTALS_NEW,
                          strerror(errno));
    }

    if (write(fd, head, sizeof(*head)) != (ssize_t) sizeof(*head)
        || write(fd, pools, size) != (ssize_t) size)
    {
        errnum = errno;
        close(fd);
        goto failed;
    }

    if (close(fd) == -1
        || renameat(r->dir, BK_REPORT_TOTALS_NEW, r->dir, BK_REPORT_TOTALS)
           == -1)
    {
        errnum = errno;
        goto failed;
    }

    return 0;

failed:

    (void) unlinkat(r->dir, BK_REPORT_TOTALS_NEW, 0);

    return bk_err_set(err, 500, "ReportTotals", "cannot write %s/%s: %s",
                      r->conf.dir, BK_REPORT_TOTALS, strerror(errnum));
}


static int
bk_report_same(const bk_report_header_t *totals, const bk_report_header_t *h)
{
    return totals->folded_pid == h->pid
           && totals->folded_ticks == h->start_ticks
           && totals->folded_generation == h->generation
           && strcmp(totals->folded_boot, h->boot) == 0;
}


static int
bk_report_remove(bk_reports_t *r, bk_report_file_t *f, bk_err_t *err)
{
    if (unlinkat(r->dir, f->name, 0) == -1 && errno != ENOENT) {
        r->blocked = 1;

        return bk_err_set(err, 500, "ReportBlocked",
                          "cannot remove %s/%s: %s", r->conf.dir, f->name,
                          strerror(errno));
    }

    r->blocked = 0;

    return 0;
}


/* NAME.bad, for a person to look at; the last one of that name stays. */

void
bk_report_aside(bk_reports_t *r, const char *name, const char *why)
{
    char  to[BK_REPORT_FILE_NAME + sizeof(BK_REPORT_BAD)];

    snprintf(to, sizeof(to), "%s" BK_REPORT_BAD, name);
    r->bad++;

    if (renameat(r->dir, name, r->dir, to) == -1
        && unlinkat(r->dir, name, 0) == -1)
    {
        bk_log(BK_LOG_ERROR, "reports", "%s/%s is bad (%s) and cannot be "
               "set aside: %s", r->conf.dir, name, why, strerror(errno));
        return;
    }

    bk_log(BK_LOG_ERROR, "reports", "%s/%s was set aside as %s: %s",
           r->conf.dir, name, to, why);
}


void
bk_report_add(bk_report_pool_t *to, const bk_report_pool_t *from)
{
    size_t           i, words;
    uint64_t        *sum;
    const uint64_t  *one;

    if (from->used == 0) {
        return;
    }

    if (from->name[0] != '\0') {
        for (i = 1; i < BK_REPORT_POOLS; i++) {
            if (!to[i].used) {
                to[i].used = 1;
                memcpy(to[i].name, from->name, BK_REPORT_POOL_LEN);
                break;
            }

            if (strcmp(to[i].name, from->name) == 0) {
                break;
            }
        }

        to += i < BK_REPORT_POOLS ? i : 0;
    }

    /* all behind the name are counters, but for the room at the end */
    sum = &to->accepted;
    one = &from->accepted;
    words = (offsetof(bk_report_pool_t, reserved)
             - offsetof(bk_report_pool_t, accepted)) / sizeof(uint64_t);

    for (i = 0; i < words; i++) {
        sum[i] += one[i];
    }
}
