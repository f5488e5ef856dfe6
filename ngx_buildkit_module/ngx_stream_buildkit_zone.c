
/*
 * The route table as this process sees it: a file that plugin-host writes,
 * mapped read-only.
 *
 * Opened lazily, looked at by a timer (gone? replaced? retired? another
 * size?), so that a look-up makes no system call.  Whatever happens to the
 * file must not hurt this process: a table that is absent, broken or cut
 * short under our feet is NGX_ERROR to who asks and one line a while in the
 * log.  Never writes to the table, never blocks, never fails a start.
 */


#include "ngx_stream_buildkit_zone.h"


/* how often one kind of trouble is written to the log */
#define NGX_STREAM_BUILDKIT_ZONE_QUIET  10


static void ngx_stream_buildkit_zone_cleanup(void *data);
static ngx_int_t ngx_stream_buildkit_zone_changed(
    ngx_stream_buildkit_zone_t *zone);
static ngx_int_t ngx_stream_buildkit_zone_open(
    ngx_stream_buildkit_zone_t *zone);
static ngx_int_t ngx_stream_buildkit_zone_map(
    ngx_stream_buildkit_zone_t *zone, ngx_fd_t fd);
static void ngx_stream_buildkit_zone_close(ngx_stream_buildkit_zone_t *zone);


ngx_stream_buildkit_zone_t *
ngx_stream_buildkit_zone_create(ngx_conf_t *cf, ngx_str_t *path,
    ngx_msec_t check)
{
    ngx_pool_cleanup_t          *cln;
    ngx_stream_buildkit_zone_t  *zone;

    cln = ngx_pool_cleanup_add(cf->pool, sizeof(ngx_stream_buildkit_zone_t));
    if (cln == NULL) {
        return NULL;
    }

    zone = cln->data;
    ngx_memzero(zone, sizeof(ngx_stream_buildkit_zone_t));

    zone->path = *path;
    zone->check = check;
    zone->log = &cf->cycle->new_log;

    cln->handler = ngx_stream_buildkit_zone_cleanup;

    return zone;
}


static void
ngx_stream_buildkit_zone_cleanup(void *data)
{
    ngx_stream_buildkit_zone_t  *zone = data;

    ngx_stream_buildkit_zone_close(zone);
}


void
ngx_stream_buildkit_zone_start(ngx_stream_buildkit_zone_t *zone,
    ngx_log_t *log)
{
    zone->log = log;

    ngx_stream_buildkit_fault_catch(log);
}


ngx_uint_t
ngx_stream_buildkit_zone_check(ngx_stream_buildkit_zone_t *zone)
{
    uint64_t    additions, revision, state;
    ngx_uint_t  changed;

    if (zone->range.base == NULL || zone->range.bad
        || ngx_stream_buildkit_zone_changed(zone) == NGX_OK)
    {
        (void) ngx_stream_buildkit_zone_open(zone);
    }

    /* a look-up may have opened another one since then */

    changed = zone->seen != zone->serial;
    zone->seen = zone->serial;

    if (zone->range.base == NULL) {
        return changed;
    }

    revision = bk_table_revision(&zone->view);
    additions = bk_table_load(&zone->view.header->additions);
    state = bk_table_state(&zone->view);

    changed |= revision != zone->revision || additions != zone->additions
               || state != zone->state;

    zone->revision = revision;
    zone->additions = additions;
    zone->state = state;

    return changed;
}


ngx_int_t
ngx_stream_buildkit_zone_owner(ngx_stream_buildkit_zone_t *zone, uid_t *uid)
{
    if (ngx_stream_buildkit_zone_ready(zone) != NGX_OK) {
        return NGX_ERROR;
    }

    *uid = zone->uid;

    return NGX_OK;
}


/* NGX_OK: the path is not what is mapped, or has a successor */

static ngx_int_t
ngx_stream_buildkit_zone_changed(ngx_stream_buildkit_zone_t *zone)
{
    ngx_file_info_t  fi;

    if (ngx_file_info(zone->path.data, &fi) == NGX_FILE_ERROR) {
        return NGX_OK;
    }

    if (fi.st_dev != zone->dev || fi.st_ino != zone->ino
        || (size_t) ngx_file_size(&fi) != zone->range.size)
    {
        return NGX_OK;
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_stream_buildkit_zone_open(ngx_stream_buildkit_zone_t *zone)
{
    ngx_fd_t   fd;
    ngx_int_t  rc;

    ngx_stream_buildkit_zone_close(zone);

    zone->tried = ngx_current_msec;
    zone->was_tried = 1;
    zone->error = ngx_stream_buildkit_zone_open_e;

    /* O_NONBLOCK: a FIFO at the path must not stop the process */

    fd = open((char *) zone->path.data, O_RDONLY|O_NONBLOCK|O_CLOEXEC);

    if (fd == NGX_INVALID_FILE) {
        zone->err = ngx_errno;
        zone->reason = "cannot be opened";
        return NGX_ERROR;
    }

    rc = ngx_stream_buildkit_zone_map(zone, fd);

    /* the mapping stays */

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, zone->log, ngx_errno,
                      ngx_close_file_n " \"%V\" failed", &zone->path);
    }

    if (rc != NGX_OK) {
        ngx_stream_buildkit_zone_close(zone);
    }

    return rc;
}


static ngx_int_t
ngx_stream_buildkit_zone_map(ngx_stream_buildkit_zone_t *zone, ngx_fd_t fd)
{
    void             *base;
    const char       *reason;
    ngx_file_info_t   fi;

    if (ngx_fd_info(fd, &fi) == NGX_FILE_ERROR) {
        zone->err = ngx_errno;
        zone->reason = "cannot be looked at";
        return NGX_ERROR;
    }

    zone->err = 0;
    zone->error = ngx_stream_buildkit_zone_layout_e;

    if (!ngx_is_file(&fi)) {
        zone->reason = "is not a file";
        return NGX_ERROR;
    }

    if (ngx_file_size(&fi) == 0) {
        zone->reason = "is empty";
        return NGX_ERROR;
    }

    base = mmap(NULL, (size_t) ngx_file_size(&fi), PROT_READ, MAP_SHARED, fd,
                0);

    if (base == MAP_FAILED) {
        zone->err = ngx_errno;
        zone->reason = "cannot be mapped";
        return NGX_ERROR;
    }

    /* the range must be known to the SIGBUS handler before the first read */

    zone->dev = fi.st_dev;
    zone->ino = fi.st_ino;
    zone->uid = fi.st_uid;

    zone->serial++;

    zone->range.base = base;
    zone->range.size = (size_t) ngx_file_size(&fi);

    ngx_stream_buildkit_fault_watch(&zone->range);

    reason = bk_table_view_init(&zone->view, zone->range.base,
                                zone->range.size);

    if (zone->range.bad) {
        zone->error = ngx_stream_buildkit_zone_fault_e;
        zone->reason = "was cut short while it was opened";
        return NGX_ERROR;
    }

    if (reason) {
        zone->reason = reason;
        return NGX_ERROR;
    }

    if (zone->complained && bk_table_state(&zone->view) == BK_TABLE_LIVE) {
        zone->complained = 0;

        ngx_log_error(NGX_LOG_NOTICE, zone->log, 0,
                      "buildkit: route table \"%V\" can be used again",
                      &zone->path);
    }

    return NGX_OK;
}


static void
ngx_stream_buildkit_zone_close(ngx_stream_buildkit_zone_t *zone)
{
    if (zone->range.base == NULL) {
        return;
    }

    ngx_stream_buildkit_fault_forget(&zone->range);

    if (munmap(zone->range.base, zone->range.size) == -1) {
        ngx_log_error(NGX_LOG_ALERT, zone->log, ngx_errno,
                      "munmap() of the route table failed");
    }

    zone->range.base = NULL;
}


ngx_int_t
ngx_stream_buildkit_zone_ready(ngx_stream_buildkit_zone_t *zone)
{
    uint64_t  state;

    state = zone->range.base ? bk_table_state(&zone->view) : 0;

    if (zone->range.base == NULL || zone->range.bad
        || state == BK_TABLE_RETIRED)
    {

        /* under load one try in a while must do */

        if ((!zone->was_tried || ngx_current_msec - zone->tried >= zone->check)
            && ngx_stream_buildkit_zone_open(zone) == NGX_OK)
        {
            state = bk_table_state(&zone->view);
        }

        if (zone->range.base == NULL) {
            return NGX_ERROR;
        }
    }

    if (zone->range.bad) {
        return ngx_stream_buildkit_zone_fault(zone);
    }

    if (state != BK_TABLE_LIVE) {
        zone->error = ngx_stream_buildkit_zone_state_e;
        zone->err = 0;
        zone->reason = (state == BK_TABLE_BUILDING) ? "is still being filled"
                     : (state == BK_TABLE_RETIRED) ? "was retired and has no "
                                                     "successor yet"
                     : "is in a state that is none";
        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_int_t
ngx_stream_buildkit_zone_fault(ngx_stream_buildkit_zone_t *zone)
{
    zone->error = ngx_stream_buildkit_zone_fault_e;
    zone->err = 0;
    zone->reason = "was cut short while it was in use";

    return NGX_ERROR;
}


void
ngx_stream_buildkit_zone_complain(ngx_stream_buildkit_zone_t *zone)
{
    time_t  now;

    now = ngx_time();

    zone->complained = 1;

    if (zone->logged[zone->error]
        && now - zone->logged[zone->error] < NGX_STREAM_BUILDKIT_ZONE_QUIET)
    {
        return;
    }

    zone->logged[zone->error] = now;

    ngx_log_error(NGX_LOG_ERR, zone->log, zone->err,
                  "buildkit: route table \"%V\" %s; is "
                  "buildkit-plugin-host running?", &zone->path, zone->reason);
}
