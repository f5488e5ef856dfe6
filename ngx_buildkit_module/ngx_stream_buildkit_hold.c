
/*
 * Connections that wait: for their allocation to get a worker, to become
 * known, for a table, or for a worker that does not answer.
 *
 * Entered from the preread phase, or with a session that takeover.c has taken
 * from the proxy.  Left through route(): to the phases again, to the proxy;
 * or to a refusal.  Costs one timer each, the next deadline of all that there
 * are, and one or two loads when something in the table has changed.
 *
 * A client that closes its side, or only half of it, is gone: gRPC clients
 * never half-close, and nobody is left to be told how it ended.  (To a worker
 * a half-close is passed on: "proxy_half_close on".)
 */


#include "ngx_stream_buildkit_hold.h"


#define NGX_STREAM_BUILDKIT_HOLD_TRY_FIRST  100
#define NGX_STREAM_BUILDKIT_HOLD_TRY_MAX    2000

/* the wall clock may jump: an expiry is looked at as often as that */
#define NGX_STREAM_BUILDKIT_HOLD_CLOCK      60000


static void ngx_stream_buildkit_hold_timer_handler(ngx_event_t *ev);
static ngx_msec_int_t ngx_stream_buildkit_hold_expiry(
    ngx_stream_buildkit_ctx_t *ctx);
static void ngx_stream_buildkit_hold_late(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
static void ngx_stream_buildkit_hold_resume(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
static ngx_stream_buildkit_hold_e ngx_stream_buildkit_hold_kind(
    ngx_uint_t why);
static ngx_msec_t ngx_stream_buildkit_hold_since(
    ngx_stream_buildkit_hold_t *h, ngx_stream_buildkit_hold_e limit);


ngx_int_t
ngx_stream_buildkit_hold(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_connection_t            *c;
    ngx_stream_buildkit_hold_t  *h;

    c = s->connection;

    if (c->close) {
        return NGX_STREAM_SERVICE_UNAVAILABLE;
    }

    /* gone already: neither dialled for nor answered */

    if (c->error || c->read->pending_eof || c->read->eof) {
        return NGX_STREAM_OK;
    }

    h = ctx->hold;

    if (h == NULL) {
        h = ngx_pcalloc(c->pool, sizeof(ngx_stream_buildkit_hold_t));
        if (h == NULL) {
            return NGX_ERROR;
        }

        h->timer.handler = ngx_stream_buildkit_hold_timer_handler;
        h->timer.data = c;
        h->timer.log = c->log;

        h->start = ngx_current_msec;

        ctx->hold = h;
    }

    if (ngx_stream_buildkit_limit_hold(s, ctx) != NGX_OK) {
        return ngx_stream_buildkit_refuse(s, ctx, BK_REFUSED_HELD,
                   "too many connections from %V wait for a worker already; "
                   "allocation %*s would be one more: try again later",
                   &c->addr_text, (size_t) NGX_STREAM_BUILDKIT_ID_LEN,
                   ctx->id);
    }

    if (ngx_stream_buildkit_hold_settings(s, ctx) != NGX_OK) {
        return NGX_STREAM_OK;
    }

    c->log->action = "waiting for a buildkit worker";

    c->read->handler = ngx_stream_buildkit_hold_handler;
    c->write->handler = ngx_stream_buildkit_hold_handler;

    ngx_stream_buildkit_hold_park(s, ctx);

    /* what has come already; not from inside of the phase handler */

    ngx_post_event(c->read, &ngx_posted_events);

    return NGX_DONE;
}


void
ngx_stream_buildkit_hold_retry(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_int_t                    rc;
    ngx_msec_t                   delay;
    ngx_stream_buildkit_hold_t  *h;

    ctx->waits = BK_REFUSED_WORKER;

    if (ngx_stream_buildkit_hold_limit(s, BK_REFUSED_WORKER) == 0) {
        rc = ngx_stream_buildkit_decide_trouble(s, ctx);

    } else {
        rc = ngx_stream_buildkit_hold(s, ctx);
    }

    h = ctx->hold;

    if (rc != NGX_DONE || h == NULL || !h->parked) {
        ngx_stream_buildkit_hold_end(s, ctx, rc);
        return;
    }

    delay = NGX_STREAM_BUILDKIT_HOLD_TRY_FIRST << ngx_min(h->tries, 16);
    delay = ngx_min(delay, NGX_STREAM_BUILDKIT_HOLD_TRY_MAX);

    /* those that failed together must not come back together */

    delay = delay * 3 / 4 + ngx_random() % (delay / 2 + 1);

    h->tries++;
    h->backoff = 1;
    h->again = ngx_current_msec + delay;

    ngx_stream_buildkit_hold_timer(s, ctx);
}


/* in the list, until a deadline; what is waited for may be new */

void
ngx_stream_buildkit_hold_park(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_stream_buildkit_hold_e        limit;
    ngx_stream_buildkit_hold_t       *h;
    ngx_stream_buildkit_main_conf_t  *bmcf;

    bmcf = ngx_stream_get_module_main_conf(s, ngx_stream_buildkit_module);

    h = ctx->hold;
    limit = ngx_stream_buildkit_hold_kind(ctx->waits);

    if (limit != h->limit) {

        h->since = ngx_stream_buildkit_hold_since(h, limit);
        h->limit = limit;

        h->backoff = 0;
        h->tries = 0;
        ctx->late = 0;
    }

    if (!h->parked) {
        ngx_queue_insert_tail(&bmcf->held, &ctx->queue);
        ctx->queued = 1;
        h->parked = 1;
    }

    if (ctx->phase != BK_PHASE_HELD || ctx->why != ctx->waits) {
        ngx_stream_buildkit_report_phase(s, ctx, BK_PHASE_HELD, ctx->waits);
    }

    ngx_stream_buildkit_hold_timer(s, ctx);
}


void
ngx_stream_buildkit_hold_timer(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_msec_t                       now;
    ngx_msec_int_t                   left, header;
    ngx_stream_buildkit_hold_t      *h;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    h = ctx->hold;
    now = ngx_current_msec;

    left = h->since + ngx_stream_buildkit_hold_limit(s, ctx->waits) - now;

    if (h->backoff) {
        left = ngx_min(left, (ngx_msec_int_t) (h->again - now));
    }

    if (!h->heard && bscf->header_timeout) {
        header = h->start + bscf->header_timeout - now;
        left = ngx_min(left, header);
    }

    if (ctx->expires_ms && !h->look && !h->due) {
        left = ngx_min(left, ngx_stream_buildkit_hold_expiry(ctx));
    }

    ngx_add_timer(&h->timer, (ngx_msec_t) ngx_max(left, 0));
}


static void
ngx_stream_buildkit_hold_timer_handler(ngx_event_t *ev)
{
    ngx_msec_t                       now;
    ngx_connection_t                *c;
    ngx_stream_session_t            *s;
    ngx_stream_buildkit_ctx_t       *ctx;
    ngx_stream_buildkit_hold_t      *h;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    c = ev->data;
    s = c->data;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);
    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    h = ctx->hold;
    now = ngx_current_msec;

    if (now - h->since >= ngx_stream_buildkit_hold_limit(s, ctx->waits)) {
        ngx_stream_buildkit_hold_late(s, ctx);
        return;
    }

    if (!h->heard && bscf->header_timeout
        && now - h->start >= bscf->header_timeout)
    {
        ngx_stream_buildkit_hold_end(s, ctx,
            ngx_stream_buildkit_refuse(s, ctx, BK_REFUSED_TIMEOUT,
                "no request came in %Ms (allocation %*s)",
                (now - h->start) / 1000,
                (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id));
        return;
    }

    if (h->backoff && (ngx_msec_int_t) (now - h->again) >= 0) {
        h->backoff = 0;
        (void) ngx_stream_buildkit_hold_again(s, ctx);
        return;
    }

    if (ctx->expires_ms && !h->look && !h->due
        && ngx_stream_buildkit_hold_expiry(ctx) == 0)
    {
        /* nobody need have told the table */

        (void) ngx_stream_buildkit_hold_again(s, ctx);
        return;
    }

    ngx_stream_buildkit_hold_timer(s, ctx);
}


/* how long it still lives, by the wall clock, which may have been changed */

static ngx_msec_int_t
ngx_stream_buildkit_hold_expiry(ngx_stream_buildkit_ctx_t *ctx)
{
    uint64_t     now;
    ngx_time_t  *tp;

    tp = ngx_timeofday();
    now = (uint64_t) tp->sec * 1000 + tp->msec;

    if (ctx->mark.index == BK_TABLE_NONE) {

        /* there is no table now to say how it ended */

        return NGX_STREAM_BUILDKIT_HOLD_CLOCK;
    }

    if (ctx->expires_ms <= now) {
        return 0;
    }

    return ngx_min(ctx->expires_ms - now, NGX_STREAM_BUILDKIT_HOLD_CLOCK);
}


/* it waited as long as it may: the last look decides */

static void
ngx_stream_buildkit_hold_late(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_int_t                    rc;
    ngx_stream_buildkit_hold_t  *h;

    h = ctx->hold;

    if (h->pos != h->last) {

        /* does not read: cannot be told anything */

        ngx_stream_buildkit_hold_end(s, ctx, NGX_STREAM_SERVICE_UNAVAILABLE);
        return;
    }

    ctx->late = 1;

    rc = ngx_stream_buildkit_route(s, ctx);

    if (rc == NGX_OK && h->look) {
        rc = ngx_stream_buildkit_refuse(s, ctx, BK_REFUSED_TIMEOUT,
                 "allocation %*s was only looked at",
                 (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id);

    } else if (rc == NGX_OK && ctx->waits == BK_REFUSED_WORKER
               && ctx->trouble.len)
    {
        rc = ngx_stream_buildkit_decide_trouble(s, ctx);
    }

    if (rc == NGX_AGAIN) {

        /* what it waits for is something else since just now */

        ngx_stream_buildkit_hold_park(s, ctx);
        return;
    }

    ngx_stream_buildkit_hold_end(s, ctx, rc);
}


/* rc: NGX_OK, the worker; NGX_DONE, refused; else what it is finalized with */

void
ngx_stream_buildkit_hold_end(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_int_t rc)
{
    ngx_stream_buildkit_hold_done(ctx);
    ngx_stream_buildkit_limit_unhold(s, ctx);

    if (rc == NGX_DONE) {
        return;
    }

    if (rc == NGX_OK) {
        ngx_stream_buildkit_hold_resume(s, ctx);
        return;
    }

    ngx_stream_buildkit_finalize(s, rc == NGX_ERROR
                                    ? NGX_STREAM_INTERNAL_SERVER_ERROR
                                    : (ngx_uint_t) rc);
}


/* on to the next phase, or once more to the proxy */

static void
ngx_stream_buildkit_hold_resume(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_stream_upstream_t  *u;

    ctx->hold->backoff = 0;

    u = s->upstream;

    if (u) {

        /* of the try before; its names stay in s->upstream_states */

        s->log_handler = NULL;
        s->upstream = NULL;

        (void) ngx_pfree(s->connection->pool, u);
    }

    ngx_stream_core_run_phases(s);
}


void
ngx_stream_buildkit_hold_done(ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_stream_buildkit_hold_t  *h;

    ngx_stream_buildkit_lookup_done(ctx);

    h = ctx->hold;

    if (h == NULL) {
        return;
    }

    if (h->timer.timer_set) {
        ngx_del_timer(&h->timer);
    }

    if (h->parked) {
        ngx_queue_remove(&ctx->queue);
        ctx->queued = 0;
        h->parked = 0;
    }
}


ngx_uint_t
ngx_stream_buildkit_hold_may(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_uint_t why)
{
    /* too late for one thing is not too late for another */

    if (ctx->late && ctx->hold->limit == ngx_stream_buildkit_hold_kind(why)) {
        return 0;
    }

    return ngx_stream_buildkit_hold_limit(s, why) > 0;
}


ngx_msec_t
ngx_stream_buildkit_hold_limit(ngx_stream_session_t *s, ngx_uint_t why)
{
    ngx_stream_buildkit_srv_conf_t  *bscf;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    switch (ngx_stream_buildkit_hold_kind(why)) {

    case ngx_stream_buildkit_hold_grace_e:
        return bscf->grace;

    case ngx_stream_buildkit_hold_wait_e:
        return bscf->wait;

    case ngx_stream_buildkit_hold_lookup_e:
        return bscf->lookup_wait;

    case ngx_stream_buildkit_hold_retry_e:
        return bscf->retry;

    default:
        return 0;
    }
}


static ngx_stream_buildkit_hold_e
ngx_stream_buildkit_hold_kind(ngx_uint_t why)
{
    switch (why) {

    case BK_REFUSED_UNKNOWN:
    case BK_REFUSED_TABLE:
        return ngx_stream_buildkit_hold_grace_e;

    case BK_REFUSED_QUEUED:
    case BK_REFUSED_STARTING:
        return ngx_stream_buildkit_hold_wait_e;

    case BK_REFUSED_LOOKUP:
        return ngx_stream_buildkit_hold_lookup_e;

    case BK_REFUSED_WORKER:
        return ngx_stream_buildkit_hold_retry_e;

    default:
        return ngx_stream_buildkit_hold_none_e;
    }
}


/*
 * buildkit_wait is for all the time that a client is held; the others are for
 * trouble that may begin at any time.  That somebody is asked whether the
 * allocation still has that worker is no end of the trouble with it.
 */

static ngx_msec_t
ngx_stream_buildkit_hold_since(ngx_stream_buildkit_hold_t *h,
    ngx_stream_buildkit_hold_e limit)
{
    ngx_msec_t  failing;

    failing = h->failing;
    h->failing = 0;

    switch (limit) {

    case ngx_stream_buildkit_hold_wait_e:
        return h->start;

    case ngx_stream_buildkit_hold_lookup_e:

        if (h->limit == ngx_stream_buildkit_hold_retry_e) {
            h->failing = ngx_max(h->since, 1);
        }

        return ngx_current_msec;

    case ngx_stream_buildkit_hold_retry_e:

        if (h->limit == ngx_stream_buildkit_hold_lookup_e && failing) {
            return failing;
        }

        return ngx_current_msec;

    default:
        return ngx_current_msec;
    }
}
