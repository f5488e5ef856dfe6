
/*
 * What the state of an allocation and of its worker means for a client that
 * wants in now: go on, or a text that says why not and what to do next.
 *
 * Called once per connection, with what the table said a moment ago.
 */


#include "ngx_stream_buildkit_module.h"


static ngx_int_t ngx_stream_buildkit_decide_ended(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_stream_buildkit_route_t *route,
    ngx_uint_t state);
static ngx_int_t ngx_stream_buildkit_decide_worker(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_stream_buildkit_route_t *route);


static ngx_str_t  ngx_stream_buildkit_states[] = {
    ngx_string("unknown"),
    ngx_string("queued"),
    ngx_string("starting"),
    ngx_string("ready"),
    ngx_string("draining"),
    ngx_string("expired"),
    ngx_string("released"),
    ngx_string("revoked"),
    ngx_string("failed")
};

static const char  *ngx_stream_buildkit_worker_states[] = {
    "is gone",
    "is stopped",
    "is starting",
    "is ready",
    "is draining",
    "has failed"
};


ngx_int_t
ngx_stream_buildkit_decide(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_stream_buildkit_route_t *route)
{
    uint64_t           now;
    ngx_time_t        *tp;
    const char        *said;
    bk_table_alloc_t  *alloc;

    alloc = &route->found.alloc;
    said = (route->worker_rc == BK_TABLE_OK) ? route->worker.message : "";

    tp = ngx_timeofday();
    now = (uint64_t) tp->sec * 1000 + tp->msec;

    /* nobody need have told the table yet */

    if (!bk_alloc_ended(alloc->state)
        && alloc->expires_ms && alloc->expires_ms <= now)
    {
        ctx->state = BK_ALLOC_EXPIRED;
        alloc->changed_ms = alloc->expires_ms;
        route->text[0] = '\0';

        return ngx_stream_buildkit_decide_ended(s, ctx, route,
                                                BK_ALLOC_EXPIRED);
    }

    switch (alloc->state) {

    case BK_ALLOC_READY:
        return ngx_stream_buildkit_decide_worker(s, ctx, route);

    case BK_ALLOC_QUEUED:
        return ngx_stream_buildkit_refuse(s, ctx,
                   BK_REFUSED_QUEUED,
                   "allocation %*s waits for a free worker of pool %V%s%s; "
                   "try again later",
                   (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id, &ctx->pool,
                   route->text[0] ? ": " : "", route->text);

    case BK_ALLOC_STARTING:
        return ngx_stream_buildkit_refuse(s, ctx,
                   BK_REFUSED_STARTING,
                   "the worker of allocation %*s is starting%s%s; "
                   "try again in a few seconds",
                   (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id,
                   said[0] ? ": " : "", said);

    case BK_ALLOC_DRAINING:
        return ngx_stream_buildkit_refuse(s, ctx,
                   BK_REFUSED_DRAINING,
                   "allocation %*s is draining: running builds may finish, "
                   "new connections are refused%s%s; run bkctl allocate",
                   (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id,
                   route->text[0] ? ": " : "", route->text);

    default:
        return ngx_stream_buildkit_decide_ended(s, ctx, route, alloc->state);
    }
}


static ngx_int_t
ngx_stream_buildkit_decide_ended(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_stream_buildkit_route_t *route,
    ngx_uint_t state)
{
    u_char       when[64], *last;
    ngx_uint_t   why;
    const char  *verb;

    switch (state) {

    case BK_ALLOC_EXPIRED:
        why = BK_REFUSED_EXPIRED;
        verb = "expired";
        break;

    case BK_ALLOC_RELEASED:
        why = BK_REFUSED_RELEASED;
        verb = "was released";
        break;

    case BK_ALLOC_REVOKED:
        why = BK_REFUSED_REVOKED;
        verb = "was revoked";
        break;

    default: /* BK_ALLOC_FAILED */
        why = BK_REFUSED_FAILED;
        verb = "failed";
    }

    last = ngx_stream_buildkit_when(when, when + sizeof(when),
                                    route->found.alloc.changed_ms / 1000);

    return ngx_stream_buildkit_refuse(s, ctx, why,
               "allocation %*s %s at %*s%s%s; run bkctl allocate",
               (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id, verb,
               last - when, when,
               route->text[0] ? ": " : "", route->text);
}


static ngx_int_t
ngx_stream_buildkit_decide_worker(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_stream_buildkit_route_t *route)
{
    bk_table_worker_data_t  *w;

    w = &route->worker;

    if (route->worker_rc != BK_TABLE_OK) {
        return ngx_stream_buildkit_refuse(s, ctx,
                   BK_REFUSED_WORKER,
                   "the worker of allocation %*s is gone; run bkctl allocate",
                   (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id);
    }

    if (w->state != BK_WORKER_READY && w->state != BK_WORKER_DRAINING) {
        return ngx_stream_buildkit_refuse(s, ctx,
                   BK_REFUSED_WORKER,
                   "worker %V of allocation %*s %s%s%s; try again, or run "
                   "bkctl allocate for another one",
                   &ctx->worker,
                   (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id,
                   ngx_stream_buildkit_worker_states[w->state],
                   w->message_len ? ": " : "", w->message);
    }

    return NGX_OK;
}


ngx_str_t *
ngx_stream_buildkit_state_name(ngx_uint_t state)
{
    return &ngx_stream_buildkit_states[state < BK_ALLOC_STATES ? state : 0];
}
