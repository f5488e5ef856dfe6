
/*
 * The file behind the report: made when the process starts, written through
 * a shared mapping, left to plugin-host when the process ends.
 *
 * First there is memory; when the file has been made it is mapped over that
 * memory, so that no pointer changes and nothing depends on a file being
 * there.  One that cannot be made is tried again by the tick; one that was
 * removed or cut short is followed by another, whose counters begin at zero:
 * whoever took the first away has counted it.  Its blocks are there before
 * anything is written to them: a full tmpfs is an error here, not a SIGBUS.
 */


#include "ngx_stream_buildkit_module.h"


/* how often a file that cannot be made is tried again, one is looked at */
#define NGX_STREAM_BUILDKIT_REPORT_AGAIN  5000
#define NGX_STREAM_BUILDKIT_REPORT_BEAT   1000

/* room is made for so many sessions at a time */
#define NGX_STREAM_BUILDKIT_REPORT_STEP   256

/* other names that are tried when one is taken */
#define NGX_STREAM_BUILDKIT_REPORT_TRIES  16


static ngx_int_t ngx_stream_buildkit_report_memory(
    ngx_stream_buildkit_report_t *report, ngx_cycle_t *cycle);
static void ngx_stream_buildkit_report_again(
    ngx_stream_buildkit_report_t *report);
static void ngx_stream_buildkit_report_renew(
    ngx_stream_buildkit_report_t *report);
static ngx_int_t ngx_stream_buildkit_report_make(
    ngx_stream_buildkit_report_t *report);
static ngx_int_t ngx_stream_buildkit_report_fill(
    ngx_stream_buildkit_report_t *report, ngx_fd_t fd);
static ngx_int_t ngx_stream_buildkit_report_map(
    ngx_stream_buildkit_report_t *report, ngx_fd_t fd);
static ngx_int_t ngx_stream_buildkit_report_failed(
    ngx_stream_buildkit_report_t *report, ngx_err_t err, const char *what);
static size_t ngx_stream_buildkit_report_size(ngx_uint_t nsessions);


void
ngx_stream_buildkit_report_start(ngx_stream_buildkit_main_conf_t *bmcf,
    ngx_cycle_t *cycle)
{
    ngx_stream_buildkit_report_t  *report;

    if (bmcf->reports.len == 0) {
        return;
    }

    report = bmcf->report;

    report->log = cycle->log;
    report->folder = bmcf->reports;

    if (ngx_stream_buildkit_report_memory(report, cycle) != NGX_OK) {
        return;
    }

    ngx_stream_buildkit_report_identify(report);
    ngx_stream_buildkit_report_again(report);
}


/* all of it is address space only, until it is written to */

static ngx_int_t
ngx_stream_buildkit_report_memory(ngx_stream_buildkit_report_t *report,
    ngx_cycle_t *cycle)
{
    void        *base;
    size_t       len, size;
    ngx_uint_t   n;

    n = ngx_min(cycle->connection_n, BK_REPORT_MAX_SESSIONS);
    size = ngx_stream_buildkit_report_size(n);

    report->names = ngx_pcalloc(cycle->pool,
                                BK_REPORT_POOLS * sizeof(ngx_str_t));
    report->free = ngx_pnalloc(cycle->pool, n * sizeof(uint32_t));
    len = report->folder.len + 3 * NGX_INT64_LEN
          + sizeof("/" BK_REPORT_PREFIX "--" BK_REPORT_SUFFIX BK_REPORT_NEW);

    report->path = ngx_pnalloc(cycle->pool, len);
    report->fresh = ngx_pnalloc(cycle->pool, len);

    if (report->names == NULL || report->free == NULL || report->path == NULL
        || report->fresh == NULL)
    {
        return NGX_ERROR;
    }

    base = mmap(NULL, size, PROT_READ|PROT_WRITE,
                MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE, -1, 0);

    if (base == MAP_FAILED) {
        ngx_log_error(NGX_LOG_ERR, report->log, ngx_errno,
                      "buildkit: no memory for the report");
        return NGX_ERROR;
    }

    report->range.base = base;
    report->range.size = size;
    report->range.writable = 1;

    ngx_stream_buildkit_fault_watch(&report->range);

    report->header = base;
    report->rows = (bk_report_pool_t *) (report->header + 1);
    report->sessions = (bk_report_session_t *)
                           (report->rows + BK_REPORT_POOLS);
    report->nsessions = n;
    report->generation = 1;

    report->rows[0].used = 1;

    return NGX_OK;
}


void
ngx_stream_buildkit_report_tick(ngx_stream_buildkit_main_conf_t *bmcf)
{
    ngx_time_t                    *tp;
    ngx_file_info_t                fi;
    ngx_stream_buildkit_report_t  *report;

    report = bmcf->report;

    if (report->range.base == NULL
        || ngx_current_msec - report->beat < NGX_STREAM_BUILDKIT_REPORT_BEAT)
    {
        return;
    }

    report->beat = ngx_current_msec;
    tp = ngx_timeofday();

    ngx_stream_buildkit_report_set(report->header->heartbeat_ms,
                                   (uint64_t) tp->sec * 1000 + tp->msec);
    ngx_stream_buildkit_report_set(report->header->exiting,
                                   ngx_exiting ? 1 : 0);

    if (report->fd != NGX_INVALID_FILE
        && (report->range.bad
            || ngx_file_info(report->path, &fi) == NGX_FILE_ERROR
            || fi.st_dev != report->dev || fi.st_ino != report->ino
            || (size_t) ngx_file_size(&fi) != report->range.size))
    {
        ngx_stream_buildkit_report_renew(report);
        ngx_stream_buildkit_report_again(report);
        return;
    }

    if (report->fd == NGX_INVALID_FILE
        && ngx_current_msec - report->tried
           >= NGX_STREAM_BUILDKIT_REPORT_AGAIN)
    {
        ngx_stream_buildkit_report_again(report);
    }
}


ngx_int_t
ngx_stream_buildkit_report_room(ngx_stream_buildkit_report_t *report)
{
    off_t      from, to;
    ngx_err_t  err;

    if (report->fd == NGX_INVALID_FILE || report->nused < report->nroom) {
        return NGX_OK;
    }

    from = ngx_stream_buildkit_report_size(report->nroom);
    to = ngx_stream_buildkit_report_size(
             ngx_min(report->nroom + NGX_STREAM_BUILDKIT_REPORT_STEP,
                     report->nsessions));

    err = posix_fallocate(report->fd, from, to - from);

    if (err) {

        if (!report->full) {
            report->full = 1;

            ngx_log_error(NGX_LOG_ERR, report->log, err,
                          "buildkit: no room in report \"%s\": some sessions "
                          "are counted, but not listed", report->path);
        }

        return NGX_ERROR;
    }

    report->full = 0;
    report->nroom = ngx_min(report->nroom + NGX_STREAM_BUILDKIT_REPORT_STEP,
                            report->nsessions);

    return NGX_OK;
}


static void
ngx_stream_buildkit_report_again(ngx_stream_buildkit_report_t *report)
{
    report->tried = ngx_current_msec;

    if (ngx_stream_buildkit_report_make(report) != NGX_OK) {
        return;
    }

    if (report->complained) {
        report->complained = 0;

        ngx_log_error(NGX_LOG_NOTICE, report->log, 0,
                      "buildkit: report \"%s\" is written now", report->path);
    }
}


/*
 * The file is not ours any more.  Its pages become memory of this process
 * again (those that are left), and what they had counted is forgotten.
 */

static void
ngx_stream_buildkit_report_renew(ngx_stream_buildkit_report_t *report)
{
    uint64_t           held, live;
    ngx_str_t         *name;
    ngx_uint_t         i;
    bk_report_pool_t  *row;

    ngx_log_error(NGX_LOG_WARN, report->log, 0,
                  "buildkit: report \"%s\" is not there as it was left; "
                  "another one is begun", report->path);

    (void) ngx_close_file(report->fd);
    report->fd = NGX_INVALID_FILE;

    report->generation++;

    held = report->header->held;
    live = report->header->live;

    ngx_memzero(report->header, sizeof(bk_report_header_t));

    report->header->held = held;
    report->header->live = live;

    for (i = 0; i < report->nrows; i++) {
        name = &report->names[i];
        row = &report->rows[i];

        ngx_memzero(row, sizeof(bk_report_pool_t));

        if (name->len) {
            ngx_memcpy(row->name, name->data, name->len);
        }

        row->used = 1;
    }
}


static ngx_int_t
ngx_stream_buildkit_report_make(ngx_stream_buildkit_report_t *report)
{
    u_char           *p;
    ngx_fd_t          fd;
    ngx_err_t         err;
    ngx_file_info_t   fi;

    /* of a process with our pid and our start, in another container */

    do {
        p = ngx_sprintf(report->path, "%V/" BK_REPORT_PREFIX "%P-%uL-%ui"
                        BK_REPORT_SUFFIX, &report->folder, ngx_pid,
                        report->ticks, report->generation);
        *p = '\0';

    } while (ngx_file_info(report->path, &fi) != NGX_FILE_ERROR
             && report->generation++ < NGX_STREAM_BUILDKIT_REPORT_TRIES);

    ngx_sprintf(report->fresh, "%s" BK_REPORT_NEW "%Z", report->path);

    fd = open((char *) report->fresh,
              O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC|O_NOFOLLOW, 0640);

    if (fd == NGX_INVALID_FILE) {
        err = ngx_errno;

        if (err == NGX_EEXIST) {
            (void) ngx_delete_file(report->fresh);
        }

        return ngx_stream_buildkit_report_failed(report, err, "be made");
    }

    if (ngx_stream_buildkit_report_fill(report, fd) == NGX_OK
        && ngx_stream_buildkit_report_map(report, fd) == NGX_OK)
    {
        if (ngx_rename_file(report->fresh, report->path) != NGX_FILE_ERROR) {
            report->fd = fd;
            return NGX_OK;
        }

        (void) ngx_stream_buildkit_report_failed(report, ngx_errno,
                                                 "get its name");
    }

    (void) ngx_delete_file(report->fresh);
    (void) ngx_close_file(fd);

    return NGX_ERROR;
}


/* the file gets what memory holds */

static ngx_int_t
ngx_stream_buildkit_report_fill(ngx_stream_buildkit_report_t *report,
    ngx_fd_t fd)
{
    u_char              *p;
    size_t               size;
    ssize_t              n;
    ngx_err_t            err;
    ngx_uint_t           room;
    ngx_time_t          *tp;
    ngx_file_info_t      fi;
    bk_report_header_t  *h;

    h = report->header;
    tp = ngx_timeofday();

    ngx_memcpy(h->magic, BK_REPORT_MAGIC, BK_REPORT_MAGIC_LEN);
    ngx_memcpy(h->boot, report->boot, sizeof(h->boot));

    h->header_size = sizeof(bk_report_header_t);
    h->endian = BK_REPORT_ENDIAN;
    h->total_size = report->range.size;
    h->pool_size = sizeof(bk_report_pool_t);
    h->session_size = sizeof(bk_report_session_t);
    h->npools = BK_REPORT_POOLS;
    h->nsessions = report->nsessions;
    h->pools_offset = sizeof(bk_report_header_t);
    h->sessions_offset = ngx_stream_buildkit_report_size(0);
    h->pid = ngx_pid;
    h->start_ticks = report->ticks;
    h->pid_ns = report->pid_ns;
    h->generation = report->generation;
    h->start_ms = (uint64_t) tp->sec * 1000 + tp->msec;
    h->heartbeat_ms = h->start_ms;
    h->nused = report->nused;

    room = ngx_min(report->nused + NGX_STREAM_BUILDKIT_REPORT_STEP,
                   report->nsessions);

    if (ftruncate(fd, report->range.size) == -1) {
        return ngx_stream_buildkit_report_failed(report, ngx_errno, "grow");
    }

    err = posix_fallocate(fd, 0, ngx_stream_buildkit_report_size(room));

    if (err) {
        return ngx_stream_buildkit_report_failed(report, err, "grow");
    }

    size = ngx_stream_buildkit_report_size(report->nused);

    /*
     * Where the file before was cut short pages are missing.  The kernel
     * does not raise SIGBUS for those, it just stops: have them made now.
     */

    for (p = (u_char *) h; p < (u_char *) h + size; p += ngx_pagesize) {
        (void) *(volatile u_char *) p;
    }

    n = pwrite(fd, h, size, 0);

    if (n != (ssize_t) size) {
        return ngx_stream_buildkit_report_failed(report,
                                                 n == -1 ? ngx_errno : 0,
                                                 "be written");
    }

    if (ngx_fd_info(fd, &fi) == NGX_FILE_ERROR) {
        return ngx_stream_buildkit_report_failed(report, ngx_errno,
                                                 "be looked at");
    }

    report->dev = fi.st_dev;
    report->ino = fi.st_ino;
    report->nroom = room;

    return NGX_OK;
}


static ngx_int_t
ngx_stream_buildkit_report_map(ngx_stream_buildkit_report_t *report,
    ngx_fd_t fd)
{
    void       *p;
    ngx_err_t   err;

    p = mmap(report->range.base, report->range.size, PROT_READ|PROT_WRITE,
             MAP_SHARED|MAP_FIXED, fd, 0);

    if (p == MAP_FAILED) {

        /* the old mapping may be gone, and sessions point into it */

        err = ngx_errno;

        (void) mmap(report->range.base, report->range.size,
                    PROT_READ|PROT_WRITE,
                    MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE|MAP_FIXED, -1, 0);

        return ngx_stream_buildkit_report_failed(report, err, "be mapped");
    }

    report->range.bad = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_stream_buildkit_report_failed(ngx_stream_buildkit_report_t *report,
    ngx_err_t err, const char *what)
{
    if (!report->complained) {
        report->complained = 1;

        ngx_log_error(NGX_LOG_ERR, report->log, err,
                      "buildkit: report \"%s\" cannot %s; it is tried again "
                      "every few seconds", report->path, what);
    }

    return NGX_ERROR;
}


static size_t
ngx_stream_buildkit_report_size(ngx_uint_t nsessions)
{
    return sizeof(bk_report_header_t)
           + BK_REPORT_POOLS * sizeof(bk_report_pool_t)
           + nsessions * sizeof(bk_report_session_t);
}
