
/*
 * Turns a live connection into a refused one (wire.md, frame 3).
 *
 * From now on the filter passes nothing on in either direction, but for the
 * rest of a frame that the client has the beginning of.  The client is told
 * why on each of its streams, at once where it can be.  Then, from a posted
 * event and so many of them at a time, the session is taken away from the
 * proxy, which closes the worker's side, and reply.c sees to the rest.  A
 * frame whose rest does not come, and a client that speaks something else, is
 * closed without a word.
 */


#include "ngx_stream_buildkit_cut.h"


/* sessions that are cut before others get their turn */
#define NGX_STREAM_BUILDKIT_CUT_SLICE    100
/* for a worker to say the rest of its frame, while nothing of it comes */
#define NGX_STREAM_BUILDKIT_CUT_STALLED  1000
/* ... and for a client to read it */
#define NGX_STREAM_BUILDKIT_CUT_ALL      10000


static void ngx_stream_buildkit_cut_wait_handler(ngx_event_t *ev);
static void ngx_stream_buildkit_cut_handler(ngx_event_t *ev);
static void ngx_stream_buildkit_cut_run(ngx_stream_buildkit_ctx_t *ctx);


/* by BK_CUT_*: what a gRPC client is told */

static const u_char  ngx_stream_buildkit_cut_codes[BK_CUT] = {
    0,
    NGX_STREAM_BUILDKIT_UNAUTHENTICATED,        /* expired */
    NGX_STREAM_BUILDKIT_UNAUTHENTICATED,        /* released */
    NGX_STREAM_BUILDKIT_UNAUTHENTICATED,        /* revoked */
    NGX_STREAM_BUILDKIT_FAILED_PRECONDITION,    /* failed */
    NGX_STREAM_BUILDKIT_FAILED_PRECONDITION,    /* worker */
    NGX_STREAM_BUILDKIT_FAILED_PRECONDITION,    /* silence */
    NGX_STREAM_BUILDKIT_FAILED_PRECONDITION,    /* shutdown */
    NGX_STREAM_BUILDKIT_FAILED_PRECONDITION,    /* gone */
    NGX_STREAM_BUILDKIT_FAILED_PRECONDITION,    /* moved */
    NGX_STREAM_BUILDKIT_FAILED_PRECONDITION     /* timeout */
};


void
ngx_stream_buildkit_cut(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_uint_t why, const char *fmt, ...)
{
    va_list                       args;
    ngx_int_t                     rc;
    ngx_connection_t             *c;
    ngx_stream_buildkit_cut_t    *cut;
    ngx_stream_buildkit_live_t   *live;
    ngx_stream_buildkit_track_t  *t;

    c = s->connection;
    live = ctx->live;

    if (ctx->phase != BK_PHASE_LIVE || ctx->cut) {
        return;
    }

    ngx_stream_buildkit_live_done(ctx);

    cut = ngx_pcalloc(c->pool, sizeof(ngx_stream_buildkit_cut_t));
    if (cut == NULL) {

        /* then at the next change, or by its timer */

        ngx_add_timer(&live->event, NGX_STREAM_BUILDKIT_CUT_STALLED);
        return;
    }

    va_start(args, fmt);
    rc = ngx_stream_buildkit_refuse_text(s, ctx, &cut->message, fmt, args);
    va_end(args);

    cut->code = ngx_stream_buildkit_cut_codes[why];
    cut->status = (cut->code == NGX_STREAM_BUILDKIT_UNAUTHENTICATED)
                  ? NGX_STREAM_FORBIDDEN : NGX_STREAM_SERVICE_UNAVAILABLE;
    cut->start = ngx_current_msec;
    cut->last = live->last;

    ctx->cut = cut;

    ngx_log_error(NGX_LOG_INFO, c->log, 0,
                  "buildkit: cut: code %ui, allocation %*s: %V",
                  cut->code, (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id,
                  &ctx->reason);

    ngx_stream_buildkit_report_phase(s, ctx, BK_PHASE_CUT, why);
    ngx_stream_buildkit_limit_cut(s, ctx);

    t = &live->track;

    if (rc != NGX_OK || why == BK_CUT_TIMEOUT || t->off || c->error) {
        ngx_stream_buildkit_cut_go(s, ctx, 1);
        return;
    }

    if (ngx_stream_buildkit_h2_boundary(&t->down)) {
        rc = c->buffered ? NGX_OK : ngx_stream_buildkit_reply_speak(s, ctx);

        ngx_stream_buildkit_cut_go(s, ctx, rc != NGX_OK);
        return;
    }

    if (live->lost) {

        /* the rest of that frame will not come */

        ngx_stream_buildkit_cut_go(s, ctx, 1);
        return;
    }

    cut->waiting = 1;

    live->event.handler = ngx_stream_buildkit_cut_wait_handler;

    ngx_add_timer(&live->event, NGX_STREAM_BUILDKIT_CUT_STALLED);
}


static void
ngx_stream_buildkit_cut_wait_handler(ngx_event_t *ev)
{
    ngx_msec_t                   age;
    ngx_connection_t            *c;
    ngx_stream_session_t        *s;
    ngx_stream_buildkit_cut_t   *cut;
    ngx_stream_buildkit_ctx_t   *ctx;
    ngx_stream_buildkit_live_t  *live;

    c = ev->data;
    s = c->data;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);
    cut = ctx->cut;
    live = ctx->live;

    age = ngx_current_msec - cut->start;

    if ((c->buffered || cut->last != live->last)
        && age < NGX_STREAM_BUILDKIT_CUT_ALL)
    {
        /* it comes, or it is the client that is slow */

        cut->last = live->last;

        ngx_add_timer(ev, NGX_STREAM_BUILDKIT_CUT_STALLED);
        return;
    }

    ngx_log_error(NGX_LOG_INFO, c->log, 0,
                  "buildkit: cut amid a frame, the client is not told why");

    ngx_stream_buildkit_cut_go(s, ctx, 1);
}


void
ngx_stream_buildkit_cut_go(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_uint_t mute)
{
    ngx_stream_buildkit_main_conf_t  *bmcf;

    ctx->cut->waiting = 0;

    if (mute) {
        ctx->cut->mute = 1;
    }

    if (ctx->queued) {
        return;
    }

    bmcf = ngx_stream_get_module_main_conf(s, ngx_stream_buildkit_module);

    ngx_queue_insert_tail(&bmcf->cutting, &ctx->queue);
    ctx->queued = 1;

    ngx_stream_buildkit_cut_post(bmcf);
}


void
ngx_stream_buildkit_cut_post(ngx_stream_buildkit_main_conf_t *bmcf)
{
    ngx_event_t  *ev;

    static ngx_connection_t  dumb;

    ev = &bmcf->cutter;

    if (ev->handler == NULL) {
        dumb.fd = (ngx_socket_t) -1;

        ev->handler = ngx_stream_buildkit_cut_handler;
        ev->data = &dumb;       /* what debug logs ask for its fd */
        ev->log = ngx_cycle->log;
    }

    ngx_post_event(ev, &ngx_posted_next_events);
}


/* first all are told, then all are let go of */

static void
ngx_stream_buildkit_cut_handler(ngx_event_t *ev)
{
    ngx_uint_t                        n;
    ngx_queue_t                      *q;
    ngx_stream_buildkit_ctx_t        *ctx;
    ngx_stream_buildkit_main_conf_t  *bmcf;

    bmcf = (ngx_stream_buildkit_main_conf_t *)
               ((u_char *) ev - offsetof(ngx_stream_buildkit_main_conf_t,
                                         cutter));

    if (bmcf->walking) {
        ngx_stream_buildkit_live_walk(bmcf);

        if (bmcf->walking) {
            return;
        }
    }

    for (n = 0; n < NGX_STREAM_BUILDKIT_CUT_SLICE; n++) {

        if (ngx_queue_empty(&bmcf->cutting)) {
            return;
        }

        q = ngx_queue_head(&bmcf->cutting);
        ctx = ngx_queue_data(q, ngx_stream_buildkit_ctx_t, queue);

        ngx_queue_remove(q);
        ctx->queued = 0;

        ngx_stream_buildkit_cut_run(ctx);
    }

    if (!ngx_queue_empty(&bmcf->cutting)) {
        ngx_stream_buildkit_cut_post(bmcf);
    }
}


/* the session may be gone after this */

static void
ngx_stream_buildkit_cut_run(ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_int_t              rc;
    ngx_connection_t      *c;
    ngx_stream_session_t  *s;

    s = ctx->session;
    c = s->connection;

    c->log->action = "cutting the connection";

    ngx_stream_buildkit_live_done(ctx);

    /* all that the worker got is done with */

    ctx->replay = 0;

    rc = ngx_stream_buildkit_takeover(s, ctx);

    ngx_stream_buildkit_limit_give(s, ctx);

    if (rc != NGX_OK || ctx->cut->mute || c->error || c->close) {
        ngx_stream_buildkit_finalize(s, ctx->cut->status);
        return;
    }

    ngx_stream_buildkit_reply_cut(s, ctx);
}


void
ngx_stream_buildkit_cut_done(ngx_stream_buildkit_ctx_t *ctx)
{
    if (ctx->cut && ctx->queued) {
        ngx_queue_remove(&ctx->queue);
        ctx->queued = 0;
    }
}
