
/*
 * TLS handshakes under way from one source address: beyond the cap of
 * buildkit_max_handshakes a connection waits for its turn, by arrival, for
 * a few seconds, and is then told in TLS's own words that it is too many.
 *
 * A handshake costs a millisecond of CPU, and a client that opens one and
 * says nothing keeps its place for ssl_handshake_timeout: neither may be at
 * the expense of other addresses.  Nothing of the client is read while it
 * waits.
 */


#include "ngx_stream_buildkit_module.h"


#define NGX_STREAM_BUILDKIT_HANDSHAKE_WAIT   5000
#define NGX_STREAM_BUILDKIT_HANDSHAKE_QUEUE  1000
#define NGX_STREAM_BUILDKIT_HANDSHAKE_QUIET  10     /* log, seconds */
#define NGX_STREAM_BUILDKIT_HANDSHAKE_READ   16384


static ngx_int_t ngx_stream_buildkit_handshake_handler(
    ngx_stream_session_t *s);
static ngx_int_t ngx_stream_buildkit_handshake_wait(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
static void ngx_stream_buildkit_handshake_read_handler(ngx_event_t *rev);
static void ngx_stream_buildkit_handshake_write_handler(ngx_event_t *wev);
static void ngx_stream_buildkit_handshake_next(
    ngx_stream_buildkit_address_t *address);
static ngx_int_t ngx_stream_buildkit_handshake_refuse(
    ngx_stream_session_t *s, ngx_stream_buildkit_ctx_t *ctx);


/* TLS 1.2 record (1.3 keeps its version): alert, fatal, access_denied */

static u_char  ngx_stream_buildkit_alert[] = {
    0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x31
};


ngx_int_t
ngx_stream_buildkit_handshake_init(ngx_conf_t *cf)
{
    ngx_stream_handler_pt        *h;
    ngx_stream_core_main_conf_t  *cmcf;

    cmcf = ngx_stream_conf_get_module_main_conf(cf, ngx_stream_core_module);

    /* the last phase before the handshake that is open to modules */

    h = ngx_array_push(&cmcf->phases[NGX_STREAM_ACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_stream_buildkit_handshake_handler;

    return NGX_OK;
}


static ngx_int_t
ngx_stream_buildkit_handshake_handler(ngx_stream_session_t *s)
{
    ngx_connection_t                *c;
    ngx_stream_buildkit_ctx_t       *ctx;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    if (!bscf->enable || bscf->max_handshakes == 0) {
        return NGX_DECLINED;
    }

    c = s->connection;

    ctx = ngx_stream_buildkit_get_ctx(s);
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    if (ctx->shaking) {

        /* it is its turn, for which it had to wait */

        return (c->close || c->error || c->read->pending_eof)
               ? NGX_STREAM_BAD_REQUEST : NGX_DECLINED;
    }

    if (ctx->queuing) {
        return NGX_DONE;
    }

    if (ngx_stream_buildkit_address_get(s, ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ctx->address->shaking < (ngx_uint_t) bscf->max_handshakes
        && ctx->address->nqueued == 0)
    {
        ctx->address->shaking++;
        ctx->shaking = 1;

        return NGX_DECLINED;
    }

    if (ctx->address->nqueued < NGX_STREAM_BUILDKIT_HANDSHAKE_QUEUE) {
        return ngx_stream_buildkit_handshake_wait(s, ctx);
    }

    ngx_stream_buildkit_address_release(s, ctx);

    return ngx_stream_buildkit_handshake_refuse(s, ctx);
}


void
ngx_stream_buildkit_handshake_done(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    if (ctx->queuing) {
        ctx->queuing = 0;
        ctx->address->nqueued--;
        ngx_queue_remove(&ctx->queue);
    }

    if (ctx->shaking) {
        ctx->shaking = 0;
        ctx->address->shaking--;
        ngx_stream_buildkit_handshake_next(ctx->address);
    }

    ngx_stream_buildkit_address_release(s, ctx);
}


static ngx_int_t
ngx_stream_buildkit_handshake_wait(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_connection_t  *c;

    c = s->connection;

    c->log->action = "waiting for a TLS handshake";

    ctx->queuing = 1;
    ctx->address->nqueued++;
    ngx_queue_insert_tail(&ctx->address->queued, &ctx->queue);

    c->read->handler = ngx_stream_buildkit_handshake_read_handler;
    c->write->handler = ngx_stream_buildkit_handshake_write_handler;

    ngx_add_timer(c->read, NGX_STREAM_BUILDKIT_HANDSHAKE_WAIT);

    if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    return NGX_DONE;
}


static void
ngx_stream_buildkit_handshake_read_handler(ngx_event_t *rev)
{
    ngx_connection_t           *c;
    ngx_stream_session_t       *s;
    ngx_stream_buildkit_ctx_t  *ctx;

    c = rev->data;
    s = c->data;

    if (c->close || c->error || rev->pending_eof) {
        ngx_stream_finalize_session(s, NGX_STREAM_BAD_REQUEST);
        return;
    }

    if (rev->timedout) {
        ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);

        ngx_stream_finalize_session(s,
                            ngx_stream_buildkit_handshake_refuse(s, ctx));
        return;
    }

    /* its first bytes stay where they are; levels must not fire again */

    if (ngx_handle_read_event(rev, 0) != NGX_OK) {
        ngx_stream_finalize_session(s, NGX_STREAM_INTERNAL_SERVER_ERROR);
    }
}


static void
ngx_stream_buildkit_handshake_write_handler(ngx_event_t *wev)
{
    ngx_connection_t      *c;
    ngx_stream_session_t  *s;

    c = wev->data;
    s = c->data;

    if (ngx_handle_write_event(wev, 0) != NGX_OK) {
        ngx_stream_finalize_session(s, NGX_STREAM_INTERNAL_SERVER_ERROR);
    }
}


/*
 * The place goes to who has waited longest.  That session goes on from the
 * event loop: in the call the one that made room may be half-way closed.
 */

static void
ngx_stream_buildkit_handshake_next(ngx_stream_buildkit_address_t *address)
{
    ngx_queue_t                *q;
    ngx_connection_t           *c;
    ngx_stream_buildkit_ctx_t  *ctx;

    if (ngx_queue_empty(&address->queued)) {
        return;
    }

    q = ngx_queue_head(&address->queued);
    ctx = ngx_queue_data(q, ngx_stream_buildkit_ctx_t, queue);

    ngx_queue_remove(q);
    address->nqueued--;
    ctx->queuing = 0;

    address->shaking++;
    ctx->shaking = 1;

    c = ctx->session->connection;

    if (c->read->timer_set) {
        ngx_del_timer(c->read);
    }

    c->read->handler = ngx_stream_session_handler;

    ngx_post_event(c->read, &ngx_posted_events);
}


static ngx_int_t
ngx_stream_buildkit_handshake_refuse(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    u_char                           *buf;
    ngx_connection_t                 *c;
    ngx_stream_buildkit_srv_conf_t   *bscf;

    static time_t                     logged;
    static ngx_uint_t                 refused;

    c = s->connection;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    refused++;

    if (logged == 0
        || ngx_time() - logged >= NGX_STREAM_BUILDKIT_HANDSHAKE_QUIET)
    {
        logged = ngx_time();

        ngx_log_error(NGX_LOG_WARN, c->log, 0,
                      "buildkit: more than %i TLS handshakes at a time from "
                      "%V: the connection is closed, %ui so far "
                      "(buildkit_max_handshakes)",
                      bscf->max_handshakes, &c->addr_text, refused);
    }

    ngx_str_set(&ctx->reason, "too many TLS handshakes from this address");

    ngx_stream_buildkit_report_handshake(s, BK_HANDSHAKE_LIMIT);

    /* what it said and nobody read would make a reset of our close */

    buf = ngx_pnalloc(c->pool, NGX_STREAM_BUILDKIT_HANDSHAKE_READ);

    if (buf) {
        (void) c->recv(c, buf, NGX_STREAM_BUILDKIT_HANDSHAKE_READ);
    }

    (void) c->send(c, ngx_stream_buildkit_alert,
                   sizeof(ngx_stream_buildkit_alert));

    (void) ngx_shutdown_socket(c->fd, NGX_WRITE_SHUTDOWN);

    return NGX_STREAM_SERVICE_UNAVAILABLE;
}
