
/*
 * What wakes clients that are held: a change of their entry in the table, or
 * of its worker, other names (names.c), what was said about it (lookup.c), and
 * the end of this process.
 *
 * Called with each tick.  Where nothing changed this costs nothing, else one
 * or two loads for each that is held; thousands that wait for one thing are
 * woken some at a time, so that the others are served in between.
 */


#include "ngx_stream_buildkit_hold.h"


/* dials and refusals between two looks at the other events */
#define NGX_STREAM_BUILDKIT_HOLD_SLICE  100


static void ngx_stream_buildkit_hold_post(
    ngx_stream_buildkit_main_conf_t *bmcf);
static void ngx_stream_buildkit_hold_waker(ngx_event_t *ev);
static ngx_int_t ngx_stream_buildkit_hold_peek(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);


void
ngx_stream_buildkit_hold_tick(ngx_stream_buildkit_main_conf_t *bmcf,
    ngx_uint_t changed)
{
    ngx_queue_t                *q, *next;
    ngx_stream_buildkit_ctx_t  *ctx;

    if (!changed && !bmcf->ending) {
        return;
    }

    for (q = ngx_queue_head(&bmcf->held);
         q != ngx_queue_sentinel(&bmcf->held);
         q = next)
    {
        next = ngx_queue_next(q);
        ctx = ngx_queue_data(q, ngx_stream_buildkit_ctx_t, queue);

        /* a look is not there to be routed */

        if (!bmcf->ending
            && ((ctx->hold->look && !ctx->peeking)
                || (!(changed & NGX_STREAM_BUILDKIT_NAMES)
                    && ngx_stream_buildkit_zone_same(bmcf->zone, &ctx->mark)
                       == NGX_OK)))
        {
            continue;
        }

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&bmcf->waking, q);
    }

    ngx_stream_buildkit_hold_post(bmcf);
}


void
ngx_stream_buildkit_hold_wake(ngx_stream_buildkit_main_conf_t *bmcf,
    ngx_stream_buildkit_ctx_t *ctx)
{
    if (ctx->hold == NULL || !ctx->hold->parked) {
        return;
    }

    ngx_queue_remove(&ctx->queue);
    ngx_queue_insert_tail(&bmcf->waking, &ctx->queue);

    ngx_stream_buildkit_hold_post(bmcf);
}


static void
ngx_stream_buildkit_hold_post(ngx_stream_buildkit_main_conf_t *bmcf)
{
    if (ngx_queue_empty(&bmcf->waking) || bmcf->waker.posted) {
        return;
    }

    bmcf->waker.handler = ngx_stream_buildkit_hold_waker;
    bmcf->waker.data = bmcf;
    bmcf->waker.log = bmcf->tick.log;

    ngx_post_event(&bmcf->waker, &ngx_posted_events);
}


static void
ngx_stream_buildkit_hold_waker(ngx_event_t *ev)
{
    ngx_uint_t                        n;
    ngx_queue_t                      *q;
    ngx_stream_buildkit_ctx_t        *ctx;
    ngx_stream_buildkit_main_conf_t  *bmcf;

    bmcf = ev->data;

    for (n = 0; n < NGX_STREAM_BUILDKIT_HOLD_SLICE; n++) {

        if (ngx_queue_empty(&bmcf->waking)) {
            return;
        }

        q = ngx_queue_head(&bmcf->waking);
        ctx = ngx_queue_data(q, ngx_stream_buildkit_ctx_t, queue);

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&bmcf->held, q);

        (void) ngx_stream_buildkit_hold_again(ctx->session, ctx);
    }

    if (!ngx_queue_empty(&bmcf->waking)) {
        ngx_post_event(ev, &ngx_posted_next_events);
    }
}


ngx_int_t
ngx_stream_buildkit_hold_again(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_int_t                         rc;
    socklen_t                         socklen;
    ngx_sockaddr_t                    sockaddr;
    ngx_stream_buildkit_hold_t       *h;
    ngx_stream_buildkit_main_conf_t  *bmcf;

    bmcf = ngx_stream_get_module_main_conf(s, ngx_stream_buildkit_module);

    h = ctx->hold;

    if (h->pos != h->last) {

        /* amid a TLS record nothing else can be sent, by nobody */

        h->due = 1;
        ngx_stream_buildkit_hold_timer(s, ctx);
        return NGX_AGAIN;
    }

    if (bmcf->ending) {
        ngx_stream_buildkit_hold_end(s, ctx,
            ngx_stream_buildkit_refuse(s, ctx, BK_REFUSED_SHUTDOWN,
                "gateway is shutting down, and allocation %*s has no worker "
                "yet; try again",
                (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id));
        return NGX_DONE;
    }

    if (h->look) {
        return ngx_stream_buildkit_hold_peek(s, ctx);
    }

    sockaddr = ctx->sockaddr;
    socklen = ctx->socklen;

    rc = ngx_stream_buildkit_route(s, ctx);

    if (rc == NGX_AGAIN) {
        ngx_stream_buildkit_hold_park(s, ctx);
        return NGX_AGAIN;
    }

    if (rc == NGX_OK && h->backoff
        && ngx_cmp_sockaddr(&sockaddr.sockaddr, socklen,
                            &ctx->sockaddr.sockaddr, ctx->socklen, 1)
           == NGX_OK)
    {
        /* the same worker as before: its time has not come yet */

        ctx->waits = BK_REFUSED_WORKER;
        ngx_stream_buildkit_hold_park(s, ctx);
        return NGX_AGAIN;
    }

    ngx_stream_buildkit_hold_end(s, ctx, rc);

    return NGX_DONE;
}


/* a look is there to be told something, once there is something to tell */

static ngx_int_t
ngx_stream_buildkit_hold_peek(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_int_t  rc;

    if (!ctx->peeking) {
        ngx_stream_buildkit_hold_timer(s, ctx);
        return NGX_AGAIN;
    }

    ctx->peeking = 0;

    rc = ngx_stream_buildkit_hold_looked(s, ctx);

    if (rc == NGX_OK) {
        return NGX_AGAIN;
    }

    if (rc == NGX_ERROR) {
        ngx_stream_buildkit_hold_end(s, ctx, NGX_STREAM_OK);
    }

    return NGX_DONE;
}
