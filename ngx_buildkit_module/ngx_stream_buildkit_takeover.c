
/*
 * Takes a session away from the stock proxy, which has no way of giving it
 * back: its own finalize is static and ends the client's side as well.
 *
 * Called by retry.c, when the worker did not answer, and by cut.c.  Undoes
 * what the proxy has set up for one worker, so that nothing of it fires any
 * more, and saves the client's bytes that it had read but not passed on.
 * What the write filter still holds for the client stays with it.
 */


#include "ngx_stream_buildkit_module.h"


static ngx_int_t ngx_stream_buildkit_takeover_save(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
static void ngx_stream_buildkit_takeover_close(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
static void ngx_stream_buildkit_takeover_free(ngx_stream_session_t *s,
    ngx_buf_t *b);


/* NGX_ERROR: no memory; then the worker's side is closed all the same */

ngx_int_t
ngx_stream_buildkit_takeover(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_int_t               rc;
    ngx_connection_t       *c;
    ngx_stream_upstream_t  *u;

    c = s->connection;
    u = s->upstream;

    ngx_stream_buildkit_retry_done(ctx);

    rc = ngx_stream_buildkit_takeover_save(s, ctx);

    ngx_stream_buildkit_takeover_close(s, ctx);

    ngx_stream_buildkit_takeover_free(s, &u->downstream_buf);

    if (!u->connected || ctx->replay) {

        /* no byte came from the worker; else the write filter may have some */

        ngx_stream_buildkit_takeover_free(s, &u->upstream_buf);

        /* and what it has for the worker is not for the next one */

        ngx_stream_set_ctx(s, NULL, ngx_stream_write_filter_module);
    }

    u->connected = 0;

    /* proxy_timeout, proxy_upload_rate */

    if (c->write->timer_set) {
        ngx_del_timer(c->write);
    }

    if (c->read->timer_set) {
        ngx_del_timer(c->read);
    }

    c->read->delayed = 0;
    c->read->timedout = 0;
    c->write->timedout = 0;

    return rc;
}


/*
 * In the order in which they came: c->buffer, which the proxy has passed on
 * when it is connected (unless every byte is kept there to be passed on once
 * more), then what it has read itself and not handed to the filters yet.
 */

static ngx_int_t
ngx_stream_buildkit_takeover_save(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    size_t                  size;
    ngx_buf_t              *b, *old;
    ngx_chain_t            *cl;
    ngx_connection_t       *c;
    ngx_stream_upstream_t  *u;

    c = s->connection;
    u = s->upstream;
    old = c->buffer;

    if (old && u->connected && !ctx->replay) {
        old->pos = old->last;
    }

    size = 0;

    for (cl = u->upstream_out; cl; cl = cl->next) {
        size += ngx_buf_size(cl->buf);
    }

    if (size == 0) {
        return NGX_OK;
    }

    if (old) {
        size += old->last - old->pos;
    }

    b = ngx_create_temp_buf(c->pool, ngx_max(size, 1024));
    if (b == NULL) {
        return NGX_ERROR;
    }

    if (old) {
        b->last = ngx_cpymem(b->last, old->pos, old->last - old->pos);
        ngx_stream_buildkit_takeover_free(s, old);
    }

    for (cl = u->upstream_out; cl; cl = cl->next) {
        b->last = ngx_cpymem(b->last, cl->buf->pos, ngx_buf_size(cl->buf));
    }

    c->buffer = b;

    return NGX_OK;
}


/* as the proxy would: the balancer first, then TLS, then the socket */

static void
ngx_stream_buildkit_takeover_close(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_connection_t       *pc;
    ngx_stream_upstream_t  *u;

    u = s->upstream;
    pc = u->peer.connection;

    if (u->state) {
        if (u->state->response_time == (ngx_msec_t) -1) {
            u->state->response_time = ngx_current_msec - u->start_time;
        }

        if (pc) {
            u->state->bytes_received = u->received;
            u->state->bytes_sent = pc->sent;
        }
    }

    if (u->peer.free && u->peer.sockaddr) {
        u->peer.free(&u->peer, u->peer.data, 0);
        u->peer.sockaddr = NULL;
    }

    if (pc == NULL) {
        return;
    }

    if (pc->ssl) {
        pc->ssl->no_wait_shutdown = 1;

        (void) ngx_ssl_shutdown(pc);

        if (pc->ssl) {

            /* its close_notify cannot be sent now: so it will not be */

            SSL_free(pc->ssl->connection);
            pc->ssl = NULL;
        }
    }

    ngx_close_connection(pc);

    u->peer.connection = NULL;
}


static void
ngx_stream_buildkit_takeover_free(ngx_stream_session_t *s, ngx_buf_t *b)
{
    if (b->start == NULL) {
        return;
    }

    (void) ngx_pfree(s->connection->pool, b->start);

    b->start = NULL;
    b->pos = NULL;
    b->last = NULL;
    b->end = NULL;
}
