
/*
 * Sessions that have their worker, until they end or are cut: a list, walked
 * when the table has changed, and one timer for each, for what a clock says
 * alone: expiry, silence, a client that asks for nothing, a worker that hung
 * up and whose reason is waited for.
 *
 * A table that is gone or broken changes nothing; an expiry that is known
 * already counts all the same, by the wall clock.
 */


#include "ngx_stream_buildkit_cut.h"


/* the wall clock may jump: looked at as often as that */
#define NGX_STREAM_BUILDKIT_LIVE_PERIOD  30000
/* sessions that are cut before others get their turn */
#define NGX_STREAM_BUILDKIT_LIVE_SLICE   100
/* before an expiry a line is logged, or earlier in a short life */
#define NGX_STREAM_BUILDKIT_LIVE_WARN    60000


static void ngx_stream_buildkit_live_handler(ngx_event_t *ev);
static ngx_int_t ngx_stream_buildkit_live_lost(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
static ngx_int_t ngx_stream_buildkit_live_expiry(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_msec_t *next);
static ngx_int_t ngx_stream_buildkit_live_quiet(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_msec_t *next);
static void ngx_stream_buildkit_live_warn(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, uint64_t left, ngx_msec_t *next);
static void ngx_stream_buildkit_live_sooner(ngx_msec_t *next, uint64_t ms);


/* the worker's side is connected; nothing was passed on yet */

ngx_int_t
ngx_stream_buildkit_live_start(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_msec_t                       next;
    ngx_connection_t                *c;
    ngx_stream_upstream_t           *u;
    ngx_stream_buildkit_live_t      *live;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    c = s->connection;
    u = s->upstream;
    live = ctx->live;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    if (live == NULL) {
        live = ngx_palloc(c->pool, sizeof(ngx_stream_buildkit_live_t));
        if (live == NULL) {
            return NGX_ERROR;
        }

        ctx->live = live;
    }

    /* once more, when another worker is tried */

    ngx_memzero(live, sizeof(ngx_stream_buildkit_live_t));

    ngx_stream_buildkit_track_init(&live->track);

    live->start = ngx_current_msec;
    live->last = ngx_current_msec;

    live->event.handler = ngx_stream_buildkit_live_handler;
    live->event.data = c;
    live->event.log = c->log;

    if (!ctx->queued) {
        ngx_queue_insert_tail(&bscf->main->live, &ctx->queue);
        ctx->queued = 1;
    }

    ngx_stream_buildkit_peer_set(s, u->peer.connection);

    ngx_stream_buildkit_report_connected(ctx, u->state->connect_time);
    ngx_stream_buildkit_report_phase(s, ctx, BK_PHASE_LIVE, 0);

    /* ended while its worker was dialled: not one byte is passed on then */

    next = NGX_STREAM_BUILDKIT_LIVE_PERIOD;

    if ((ngx_stream_buildkit_zone_same(bscf->main->zone, &ctx->mark) == NGX_OK
         || ngx_stream_buildkit_change_look(s, ctx) == NGX_OK)
        && ngx_stream_buildkit_live_expiry(s, ctx, &next) == NGX_OK)
    {
        /* arms the timer */

        ngx_stream_buildkit_live_post(s, ctx);
    }

    return NGX_OK;
}


void
ngx_stream_buildkit_live_post(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_event_t  *ev;

    ev = &ctx->live->event;

    ngx_post_event(ev, &ngx_posted_events);
}


void
ngx_stream_buildkit_live_done(ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_event_t  *ev;

    if (ctx->live == NULL) {
        return;
    }

    ev = &ctx->live->event;

    if (ev->timer_set) {
        ngx_del_timer(ev);
    }

    if (ev->posted) {
        ngx_delete_posted_event(ev);
    }

    if (ctx->queued) {
        ngx_queue_remove(&ctx->queue);
        ctx->queued = 0;
    }
}


void
ngx_stream_buildkit_live_tick(ngx_stream_buildkit_main_conf_t *bmcf,
    ngx_uint_t changed)
{
    if (changed || bmcf->ending) {
        ngx_stream_buildkit_live_walk(bmcf);
    }
}


/* when it has to begin anew: who was looked at costs next to nothing */

void
ngx_stream_buildkit_live_walk(ngx_stream_buildkit_main_conf_t *bmcf)
{
    ngx_uint_t                  n;
    ngx_queue_t                *q, *next;
    ngx_stream_session_t       *s;
    ngx_stream_buildkit_ctx_t  *ctx;

    bmcf->walking = 0;
    n = 0;

    for (q = ngx_queue_head(&bmcf->live);
         q != ngx_queue_sentinel(&bmcf->live);
         q = next)
    {
        if (n == NGX_STREAM_BUILDKIT_LIVE_SLICE) {
            bmcf->walking = 1;
            ngx_stream_buildkit_cut_post(bmcf);
            return;
        }

        next = ngx_queue_next(q);

        ctx = ngx_queue_data(q, ngx_stream_buildkit_ctx_t, queue);
        s = ctx->session;

        if (bmcf->ending) {
            ngx_stream_buildkit_cut(s, ctx, BK_CUT_SHUTDOWN,
                                    "gateway is shutting down (allocation "
                                    "%*s); run the build again",
                                    (size_t) NGX_STREAM_BUILDKIT_ID_LEN,
                                    ctx->id);

        } else if (ngx_stream_buildkit_zone_same(bmcf->zone, &ctx->mark)
                   != NGX_OK
                   && ngx_stream_buildkit_change_look(s, ctx) == NGX_OK)
        {
            /* what the timer was for may have moved */

            ngx_stream_buildkit_live_post(s, ctx);
        }

        if (ctx->cut) {
            n++;
        }
    }
}


static void
ngx_stream_buildkit_live_handler(ngx_event_t *ev)
{
    ngx_msec_t                        next;
    ngx_connection_t                 *c;
    ngx_stream_session_t             *s;
    ngx_stream_buildkit_ctx_t        *ctx;
    ngx_stream_buildkit_srv_conf_t   *bscf;

    c = ev->data;
    s = c->data;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);
    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    if (ctx->live->lost && ctx->replay) {

        /* nothing of it may fire in a session that is held again */

        ngx_stream_buildkit_live_done(ctx);

        if (ngx_stream_buildkit_retry_closed(s, ctx) == NGX_OK) {
            return;
        }

        ctx->replay = 0;
    }

    if (ngx_stream_buildkit_zone_same(bscf->main->zone, &ctx->mark) != NGX_OK
        && ngx_stream_buildkit_change_look(s, ctx) != NGX_OK)
    {
        return;
    }

    next = NGX_STREAM_BUILDKIT_LIVE_PERIOD;

    if (ngx_stream_buildkit_live_expiry(s, ctx, &next) != NGX_OK) {
        return;
    }

    if (ctx->live->lost) {

        if (ngx_current_msec - ctx->live->lost_at
            >= bscf->lost)
        {
            (void) ngx_stream_buildkit_live_lost(s, ctx);
            return;
        }

        next = ngx_min(next, bscf->lost
                             - (ngx_current_msec - ctx->live->lost_at));

    } else if (ngx_stream_buildkit_live_quiet(s, ctx, &next) != NGX_OK) {
        return;
    }

    ngx_add_timer(ev, ngx_max(next, 1));
}


static ngx_int_t
ngx_stream_buildkit_live_lost(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_stream_buildkit_cut(s, ctx, BK_CUT_WORKER,
                            "worker %V of allocation %*s closed the "
                            "connection in the middle of the build; run the "
                            "build again", &ctx->worker,
                            (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id);
    return NGX_DONE;
}


static ngx_int_t
ngx_stream_buildkit_live_expiry(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_msec_t *next)
{
    uint64_t                     now;
    ngx_stream_buildkit_route_t  route;

    if (ctx->expires_ms == 0) {
        return NGX_OK;
    }

    now = ngx_stream_buildkit_change_now();

    if (ctx->expires_ms > now) {
        ngx_stream_buildkit_live_sooner(next, ctx->expires_ms - now);
        ngx_stream_buildkit_live_warn(s, ctx, ctx->expires_ms - now, next);
        return NGX_OK;
    }

    /* cut now at the latest, whatever has become of the table */

    ngx_memzero(&route, sizeof(ngx_stream_buildkit_route_t));

    route.found.alloc.changed_ms = ctx->expires_ms;

    return ngx_stream_buildkit_change_ended(s, ctx, &route, BK_ALLOC_EXPIRED);
}


/* in a short life the last tenth of it */

static void
ngx_stream_buildkit_live_warn(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, uint64_t left, ngx_msec_t *next)
{
    ngx_stream_buildkit_live_t  *live;

    live = ctx->live;

    if (live->warn_for != ctx->expires_ms) {

        /* it was routed, or renewed */

        live->warn_for = ctx->expires_ms;
        live->warn = ngx_min(left / 10, NGX_STREAM_BUILDKIT_LIVE_WARN);
        live->warned = 0;
    }

    if (live->warned) {
        return;
    }

    if (left > live->warn) {
        ngx_stream_buildkit_live_sooner(next, left - live->warn);
        return;
    }

    live->warned = 1;

    ngx_log_error(NGX_LOG_WARN, s->connection->log, 0,
                  "buildkit: allocation %*s expires in %uLs and has a live "
                  "connection, which will be cut unless it is renewed",
                  (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id,
                  (left + 999) / 1000);

    ngx_stream_buildkit_report_expiring(ctx);
}


/* who says nothing; NGX_DONE: the session was cut or is closed */

static ngx_int_t
ngx_stream_buildkit_live_quiet(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_msec_t *next)
{
    ngx_uint_t                       waits;
    ngx_msec_t                       age, quiet;
    ngx_stream_buildkit_live_t      *live;
    ngx_stream_buildkit_track_t     *t;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    live = ctx->live;
    t = &live->track;

    age = ngx_current_msec - live->start;
    quiet = ngx_current_msec - live->last;

    if (!t->asked && !t->off && bscf->header_timeout) {

        if (age >= bscf->header_timeout) {
            ngx_stream_buildkit_cut(s, ctx, BK_CUT_TIMEOUT,
                                    "the client asked for nothing within "
                                    "%Mms (allocation %*s)",
                                    bscf->header_timeout,
                                    (size_t) NGX_STREAM_BUILDKIT_ID_LEN,
                                    ctx->id);
            return NGX_DONE;
        }

        ngx_stream_buildkit_live_sooner(next, bscf->header_timeout - age);
    }

    if (bscf->silence == 0) {
        return NGX_OK;
    }

    waits = t->session && t->nopen && !t->off;

    if (!waits && !live->client_eof) {

        /* may begin at any time: not over before then in any case */

        ngx_stream_buildkit_live_sooner(next, bscf->silence);
        return NGX_OK;
    }

    if (quiet < bscf->silence) {
        ngx_stream_buildkit_live_sooner(next, bscf->silence - quiet);
        return NGX_OK;
    }

    if (!waits) {
        ngx_log_error(NGX_LOG_INFO, s->connection->log, 0,
                      "buildkit: closed: the client has nothing more to say, "
                      "and its worker has not said anything for %Mms",
                      bscf->silence);

        ngx_stream_buildkit_live_done(ctx);
        (void) ngx_stream_buildkit_takeover(s, ctx);

        ngx_stream_buildkit_finalize(s, NGX_STREAM_OK);

        return NGX_DONE;
    }

    ngx_stream_buildkit_cut(s, ctx, BK_CUT_SILENCE,
                            "worker %V stopped answering: allocation %*s has "
                            "a build running, and for %Ms no byte came or "
                            "went; run bkctl allocate for another worker",
                            &ctx->worker,
                            (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id,
                            bscf->silence / 1000);
    return NGX_DONE;
}


static void
ngx_stream_buildkit_live_sooner(ngx_msec_t *next, uint64_t ms)
{
    if (ms < *next) {
        *next = (ngx_msec_t) ms;
    }
}
