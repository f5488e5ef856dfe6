
/*
 * A worker that does not answer: what is wrong with it, in words, and the
 * way back from the proxy to hold.c, which tries again.
 *
 * "Does not answer" lasts until its first byte: a gRPC server speaks first,
 * so nothing of what the client said was acted upon.  Until then all of it is
 * kept in c->buffer, and goes to whoever is dialled next.  That covers TLS
 * 1.3 as well, where a worker that does not want our certificate says so
 * when the handshake is long over.
 *
 * The proxy reports a failure by asking the balancer for the next peer; what
 * it gets is a socket that connects to nothing, since it must not be taken
 * from it while it runs.  A posted event does that.
 */


#include "ngx_stream_buildkit_retry.h"


/* clients go after 20 seconds without SETTINGS: no try may take as long */
#define NGX_STREAM_BUILDKIT_RETRY_PATIENCE  3000


static void ngx_stream_buildkit_retry_event_handler(ngx_event_t *ev);
static void ngx_stream_buildkit_retry_connect_handler(ngx_event_t *ev);
static void ngx_stream_buildkit_retry_timer_handler(ngx_event_t *ev);
static ngx_int_t ngx_stream_buildkit_retry_settings(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
static void ngx_stream_buildkit_retry_now(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);


/* a worker is going to be dialled */

ngx_int_t
ngx_stream_buildkit_retry_start(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_stream_buildkit_retry_t  *r;

    r = ctx->retry;

    if (r == NULL) {
        r = ngx_pcalloc(s->connection->pool,
                        sizeof(ngx_stream_buildkit_retry_t));
        if (r == NULL) {
            return NGX_ERROR;
        }

        r->event.handler = ngx_stream_buildkit_retry_event_handler;
        r->event.data = s->connection;
        r->event.log = s->connection->log;

        r->timer.handler = ngx_stream_buildkit_retry_timer_handler;
        r->timer.data = s->connection;
        r->timer.log = s->connection->log;

        ctx->retry = r;
    }

    r->failed = 0;
    r->alert = 0;

    /* what ngx_event_connect_peer() does not say: see retry_failed() */

    ngx_set_socket_errno(0);

    /* the proxy sets its handlers when the balancer has returned */

    ngx_post_event(&r->event, &ngx_posted_events);

    ngx_add_timer(&r->timer, NGX_STREAM_BUILDKIT_RETRY_PATIENCE);

    return NGX_OK;
}


ngx_uint_t
ngx_stream_buildkit_retry_wanted(ngx_stream_buildkit_ctx_t *ctx)
{
    return ctx->retry && ctx->retry->failed;
}


/* in place of a worker: a connection to wait with */

ngx_int_t
ngx_stream_buildkit_retry_placeholder(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_peer_connection_t *pc)
{
    ngx_socket_t                  fd;
    ngx_connection_t             *c;
    ngx_stream_buildkit_retry_t  *r;

    r = ctx->retry;

    fd = ngx_socket(AF_INET, SOCK_STREAM, 0);

    if (fd == (ngx_socket_t) -1) {
        ngx_log_error(NGX_LOG_ALERT, pc->log, ngx_socket_errno,
                      ngx_socket_n " failed");
        return NGX_ERROR;
    }

    c = ngx_get_connection(fd, pc->log);

    if (c == NULL) {
        if (ngx_close_socket(fd) == -1) {
            ngx_log_error(NGX_LOG_ALERT, pc->log, ngx_socket_errno,
                          ngx_close_socket_n " failed");
        }

        return NGX_ERROR;
    }

    c->type = SOCK_STREAM;
    c->log = pc->log;
    c->log_error = pc->log_error;
    c->read->log = pc->log;
    c->write->log = pc->log;

    pc->connection = c;

    ngx_post_event(&r->event, &ngx_posted_events);

    return NGX_AGAIN;
}


static void
ngx_stream_buildkit_retry_event_handler(ngx_event_t *ev)
{
    ngx_connection_t             *c, *pc;
    ngx_stream_session_t         *s;
    ngx_stream_upstream_t        *u;
    ngx_stream_buildkit_ctx_t    *ctx;
    ngx_stream_buildkit_retry_t  *r;

    c = ev->data;
    s = c->data;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);

    r = ctx->retry;
    u = s->upstream;

    if (r->failed) {

        /* the placeholder was no try: not for $upstream_addr */

        if (s->upstream_states && s->upstream_states->nelts > 1) {
            s->upstream_states->nelts--;
        }

        ngx_stream_buildkit_retry_now(s, ctx);
        return;
    }

    /* the error of a connect() can be asked for once: before the proxy does */

    pc = u ? u->peer.connection : NULL;

    if (pc == NULL || pc->ssl || u->connected) {
        return;
    }

    r->handler = pc->write->handler;

    pc->read->handler = ngx_stream_buildkit_retry_connect_handler;
    pc->write->handler = ngx_stream_buildkit_retry_connect_handler;
}


static void
ngx_stream_buildkit_retry_connect_handler(ngx_event_t *ev)
{
    int                           err;
    socklen_t                     len;
    ngx_connection_t             *pc;
    ngx_stream_session_t         *s;
    ngx_stream_buildkit_ctx_t    *ctx;

    pc = ev->data;
    s = pc->data;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);

    if (ev->timedout) {
        err = NGX_ETIMEDOUT;

        ngx_stream_buildkit_trouble(ctx, "it did not answer in %Ms",
                      (ngx_current_msec - s->upstream->start_time) / 1000);

    } else {
        err = 0;
        len = sizeof(int);

        if (getsockopt(pc->fd, SOL_SOCKET, SO_ERROR, (void *) &err, &len)
            == -1)
        {
            err = ngx_socket_errno;
        }

        if (err == 0) {
            pc->read->handler = ctx->retry->handler;
            pc->write->handler = ctx->retry->handler;

            ctx->retry->handler(ev);
            return;
        }

        ngx_stream_buildkit_trouble_errno(ctx, err);
    }

    ngx_log_error(NGX_LOG_ERR, s->connection->log, err,
                  "connect() to worker %V failed", &ctx->worker);

    ngx_stream_buildkit_retry_now(s, ctx);
}


/* the proxy has given up on what it has dialled; pc may be NULL */

void
ngx_stream_buildkit_retry_failed(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_connection_t *pc)
{
    ctx->retry->failed = 1;

    if (pc == NULL) {

        /* at once; what succeeded since then has left errno alone */

        ngx_stream_buildkit_trouble_errno(ctx, ngx_socket_errno);

    } else if (pc->ssl == NULL) {
        ngx_stream_buildkit_trouble(ctx, "the connection failed");

    } else {
        ngx_stream_buildkit_trouble_tls(s, ctx, pc);
    }
}


/* nothing was passed to the client yet, so it is still ours to speak first */

static void
ngx_stream_buildkit_retry_timer_handler(ngx_event_t *ev)
{
    ngx_msec_t                    limit, silent;
    ngx_connection_t             *c;
    ngx_stream_session_t         *s;
    ngx_stream_buildkit_ctx_t    *ctx;
    ngx_stream_buildkit_retry_t  *r;

    c = ev->data;
    s = c->data;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);

    if (ctx->cut) {
        return;
    }

    if (ngx_stream_buildkit_retry_settings(s, ctx) != NGX_OK) {

        /* it has not even room for so little */

        (void) ngx_stream_buildkit_takeover(s, ctx);

        ngx_stream_buildkit_finalize(s, NGX_STREAM_OK);
        return;
    }

    r = ctx->retry;

    if (!s->upstream->connected) {

        /* that is limited by proxy_connect_timeout */

        ngx_add_timer(ev, NGX_STREAM_BUILDKIT_RETRY_PATIENCE);
        return;
    }

    silent = ngx_current_msec - r->connected;
    limit = ngx_stream_buildkit_hold_limit(s, BK_REFUSED_WORKER);

    if (silent < limit) {
        ngx_add_timer(ev, limit - silent);
        return;
    }

    if (limit == 0) {
        return;
    }

    ngx_stream_buildkit_trouble(ctx,
                  "it took the connection, but said nothing for %Ms",
                  silent / 1000);

    ngx_log_error(NGX_LOG_ERR, c->log, 0,
                  "buildkit: worker %V did not answer: %V", &ctx->worker,
                  &ctx->trouble);

    ngx_stream_buildkit_live_done(ctx);

    ngx_stream_buildkit_retry_now(s, ctx);
}


static ngx_int_t
ngx_stream_buildkit_retry_settings(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    u_char             frame[NGX_STREAM_BUILDKIT_H2_HEAD];
    ngx_connection_t  *c;

    if (ctx->settings) {
        return NGX_OK;
    }

    ctx->settings = 1;

    c = s->connection;

    (void) ngx_stream_buildkit_h2_frame(frame,
                                        NGX_STREAM_BUILDKIT_H2_SETTINGS, 0, 0,
                                        NULL, 0);

    return c->send(c, frame, sizeof(frame)) == sizeof(frame) ? NGX_OK
                                                             : NGX_ERROR;
}


/* not from inside of the proxy: it finds nothing as it was */

static void
ngx_stream_buildkit_retry_now(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    if (ngx_stream_buildkit_takeover(s, ctx) != NGX_OK) {
        ngx_stream_buildkit_finalize(s, NGX_STREAM_INTERNAL_SERVER_ERROR);
        return;
    }

    ctx->replay = 0;
    ctx->retry->failed = 0;

    ngx_stream_buildkit_hold_retry(s, ctx);
}


ngx_int_t
ngx_stream_buildkit_retry_closed(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    char               byte;
    ngx_connection_t  *pc;

    if (!ctx->replay || ctx->cut) {
        return NGX_DECLINED;
    }

    pc = s->upstream->peer.connection;

    if (pc->ssl) {

        /*
         * When writing failed, what the worker said last was not read yet:
         * why, or something that it would not say twice.
         */

        ERR_clear_error();

        if (SSL_peek(pc->ssl->connection, &byte, 1) > 0) {
            return NGX_DECLINED;
        }

        ERR_clear_error();
    }

    if (!ngx_stream_buildkit_trouble_alert(ctx)) {
        ngx_stream_buildkit_trouble(ctx,
                          "it closed the connection without a word");

        /* with an alert there is a line of the core's */

        ngx_log_error(NGX_LOG_ERR, s->connection->log, 0,
                      "buildkit: worker %V did not answer: %V", &ctx->worker,
                      &ctx->trouble);
    }

    ngx_stream_buildkit_retry_now(s, ctx);

    return NGX_OK;
}


void
ngx_stream_buildkit_retry_done(ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_stream_buildkit_retry_t  *r;

    r = ctx->retry;

    if (r == NULL) {
        return;
    }

    if (r->event.posted) {
        ngx_delete_posted_event(&r->event);
    }

    if (r->timer.timer_set) {
        ngx_del_timer(&r->timer);
    }
}
