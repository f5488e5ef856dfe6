
/*
 * What a change of the table means for a live session: nothing, another
 * expiry, or its end, in the words that a new client would be told.
 *
 * Called by live.c for each session whose entry, or whose worker's, is not as
 * it was when it was looked up last.
 */


#include "ngx_stream_buildkit_cut.h"


/* for a table that changes too fast to be read */
#define NGX_STREAM_BUILDKIT_CHANGE_BUSY  10


static ngx_int_t ngx_stream_buildkit_change_found(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_stream_buildkit_route_t *route);
static ngx_uint_t ngx_stream_buildkit_change_moved(
    ngx_stream_buildkit_ctx_t *ctx, ngx_stream_buildkit_route_t *route);


ngx_int_t
ngx_stream_buildkit_change_look(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_event_t                     *ev;
    ngx_stream_buildkit_route_t      route;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    switch (ngx_stream_buildkit_zone_find(bscf->main->zone, ctx->key,
                                          &route))
    {

    case NGX_OK:
        return ngx_stream_buildkit_change_found(s, ctx, &route);

    case NGX_DECLINED:
        ngx_stream_buildkit_cut(s, ctx, BK_CUT_GONE,
                                "allocation %*s is not known here any more; "
                                "run bkctl allocate",
                                (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id);
        return NGX_DONE;

    case NGX_BUSY:
        ev = &ctx->live->event;
        ngx_add_timer(ev, NGX_STREAM_BUILDKIT_CHANGE_BUSY);
        return NGX_BUSY;

    default: /* NGX_ERROR */

        /* no table: builds go on; when it is back, each tick says "changed" */

        return NGX_OK;
    }
}


static ngx_int_t
ngx_stream_buildkit_change_found(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_stream_buildkit_route_t *route)
{
    ngx_uint_t         changed;
    bk_table_alloc_t  *alloc;

    alloc = &route->found.alloc;

    if (bk_alloc_ended(alloc->state)) {
        return ngx_stream_buildkit_change_ended(s, ctx, route, alloc->state);
    }

    changed = alloc->expires_ms != ctx->expires_ms
              || alloc->state != ctx->state;

    ctx->mark = route->mark;
    ctx->state = alloc->state;
    ctx->expires_ms = alloc->expires_ms;

    if (alloc->expires_ms
        && alloc->expires_ms <= ngx_stream_buildkit_change_now())
    {
        alloc->changed_ms = alloc->expires_ms;
        route->text[0] = '\0';

        return ngx_stream_buildkit_change_ended(s, ctx, route,
                                              BK_ALLOC_EXPIRED);
    }

    if (ngx_stream_buildkit_change_moved(ctx, route)) {
        ngx_stream_buildkit_cut(s, ctx, BK_CUT_MOVED,
                                "allocation %*s has another worker now, %s; "
                                "run the build again",
                                (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id,
                                route->worker.name);
        return NGX_DONE;
    }

    if (ctx->live->lost && route->worker_rc == BK_TABLE_OK
        && route->worker.state == BK_WORKER_FAILED)
    {
        ngx_stream_buildkit_cut(s, ctx, BK_CUT_WORKER,
                                "worker %V of allocation %*s has failed in "
                                "the middle of the build%s%s; run bkctl "
                                "allocate", &ctx->worker,
                                (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id,
                                route->worker.message_len ? ": " : "",
                                route->worker.message);
        return NGX_DONE;
    }

    ctx->worker_ref = alloc->worker;

    if (changed) {
        ngx_stream_buildkit_report_route(s, ctx);
    }

    return NGX_OK;
}


ngx_int_t
ngx_stream_buildkit_change_ended(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_stream_buildkit_route_t *route,
    ngx_uint_t state)
{
    u_char      text[NGX_STREAM_BUILDKIT_TEXT_MAX], *last;
    ngx_uint_t  why;

    switch (state) {

    case BK_ALLOC_EXPIRED:
        why = BK_CUT_EXPIRED;
        break;

    case BK_ALLOC_RELEASED:
        why = BK_CUT_RELEASED;
        break;

    case BK_ALLOC_REVOKED:
        why = BK_CUT_REVOKED;
        break;

    default: /* BK_ALLOC_FAILED */
        why = BK_CUT_FAILED;
    }

    ctx->state = state;

    last = ngx_stream_buildkit_decide_text(text, text + sizeof(text), ctx,
                                           route, state);

    ngx_stream_buildkit_cut(s, ctx, why, "%*s", (size_t) (last - text), text);

    return NGX_DONE;
}


/*
 * A worker that only has a new slot in the table is the same one; while it
 * is starting anew, or is not there for a moment, nobody else has its place.
 * How its allocation has ended is written after that, and says why.
 */

static ngx_uint_t
ngx_stream_buildkit_change_moved(ngx_stream_buildkit_ctx_t *ctx,
    ngx_stream_buildkit_route_t *route)
{
    struct sockaddr_in      *sin;
    struct sockaddr_in6     *sin6;
    bk_table_worker_data_t  *w;

    w = &route->worker;

    if (route->worker_rc != BK_TABLE_OK
        || (route->found.alloc.state != BK_ALLOC_READY
            && route->found.alloc.state != BK_ALLOC_DRAINING))
    {
        return 0;
    }

    if (w->name_len != ctx->worker.len
        || ngx_memcmp(w->name, ctx->worker.data, w->name_len) != 0)
    {
        return 1;
    }

    if (w->state != BK_WORKER_READY && w->state != BK_WORKER_DRAINING) {
        return 0;
    }

    switch (w->family) {

    case BK_TABLE_INET:
        sin = &ctx->sockaddr.sockaddr_in;

        return sin->sin_family != AF_INET || sin->sin_port != htons(w->port)
               || ngx_memcmp(&sin->sin_addr, w->addr, 4) != 0;

    case BK_TABLE_INET6:
        sin6 = &ctx->sockaddr.sockaddr_in6;

        return sin6->sin6_family != AF_INET6
               || sin6->sin6_port != htons(w->port)
               || ngx_memcmp(&sin6->sin6_addr, w->addr, 16) != 0;

    default:
        return 0;
    }
}


uint64_t
ngx_stream_buildkit_change_now(void)
{
    ngx_time_t  *tp;

    tp = ngx_timeofday();

    return (uint64_t) tp->sec * 1000 + tp->msec;
}
