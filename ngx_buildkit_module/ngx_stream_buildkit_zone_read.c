
/*
 * One look-up in the mapped table, and whether its result still holds.
 *
 * Makes no system call, and copies before it believes anything: the writer
 * does not wait for readers.
 */


#include "ngx_stream_buildkit_zone.h"


static ngx_int_t ngx_stream_buildkit_zone_read(
    ngx_stream_buildkit_zone_t *zone, const u_char *key,
    ngx_stream_buildkit_route_t *route);
static ngx_int_t ngx_stream_buildkit_zone_result(
    ngx_stream_buildkit_zone_t *zone, int rc);


ngx_int_t
ngx_stream_buildkit_zone_find(ngx_stream_buildkit_zone_t *zone,
    const u_char *key, ngx_stream_buildkit_route_t *route)
{
    ngx_int_t  rc;

    route->mark.index = BK_TABLE_NONE;

    if (ngx_stream_buildkit_zone_ready(zone) != NGX_OK) {
        ngx_stream_buildkit_zone_complain(zone);
        return NGX_ERROR;
    }

    rc = ngx_stream_buildkit_zone_read(zone, key, route);

    /* zero pages in place of the file's read as "nothing here" */

    if (zone->range.bad) {
        rc = ngx_stream_buildkit_zone_fault(zone);
    }

    if (rc == NGX_ERROR) {
        ngx_stream_buildkit_zone_complain(zone);
    }

    return rc;
}


static ngx_int_t
ngx_stream_buildkit_zone_read(ngx_stream_buildkit_zone_t *zone,
    const u_char *key, ngx_stream_buildkit_route_t *route)
{
    int       rc;
    uint32_t  worker;

    route->mark.serial = zone->serial;

    rc = bk_table_lookup(&zone->view, key, &route->found);

    if (rc != BK_TABLE_OK) {
        return ngx_stream_buildkit_zone_result(zone, rc);
    }

    route->mark.index = route->found.index;
    route->mark.seq = route->found.seq;

    rc = bk_table_read_pool(&zone->view, route->found.alloc.pool,
                            &route->pool);

    /* a pool may go before the ended allocations that were made of it */

    if (rc == BK_TABLE_MISS) {
        route->pool.name_len = 0;

    } else if (rc != BK_TABLE_OK) {
        return ngx_stream_buildkit_zone_result(zone, rc);
    }

    /* before it is read: a change while it is read must not be missed */

    worker = route->found.alloc.worker.index;
    route->mark.worker = worker;

    if (worker < zone->view.nworkers) {
        route->mark.worker_seq =
                              bk_table_load(&zone->view.workers[worker].seq);
    }

    rc = bk_table_read_worker(&zone->view, route->found.alloc.worker,
                              &route->worker);

    if (rc != BK_TABLE_OK && rc != BK_TABLE_MISS) {
        return ngx_stream_buildkit_zone_result(zone, rc);
    }

    route->worker_rc = rc;

    rc = bk_table_read_text(&zone->view, route->found.alloc.text, route->text);

    if (rc == BK_TABLE_BAD) {
        return ngx_stream_buildkit_zone_result(zone, rc);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_stream_buildkit_zone_result(ngx_stream_buildkit_zone_t *zone, int rc)
{
    switch (rc) {

    case BK_TABLE_MISS:
        return NGX_DECLINED;

    case BK_TABLE_BUSY:
        return NGX_BUSY;

    default: /* BK_TABLE_BAD */
        zone->error = ngx_stream_buildkit_zone_entry_e;
        zone->err = 0;
        zone->reason = "holds values that no writer stores";
        return NGX_ERROR;
    }
}


ngx_int_t
ngx_stream_buildkit_zone_same(ngx_stream_buildkit_zone_t *zone,
    ngx_stream_buildkit_mark_t *mark)
{
    if (zone->range.base == NULL || zone->range.bad
        || mark->serial != zone->serial
        || mark->index >= zone->view.nentries)
    {
        return NGX_DECLINED;
    }

    if (bk_table_load(&zone->view.entries[mark->index].seq) != mark->seq) {
        return NGX_DECLINED;
    }

    if (mark->worker < zone->view.nworkers
        && bk_table_load(&zone->view.workers[mark->worker].seq)
           != mark->worker_seq)
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}
