
/*
 * What a client that is held does meanwhile, and what it is told.
 *
 * Its bytes are kept in c->buffer, where the proxy looks for them, up to a
 * bound; then they stay where they are.  They are followed for two things: a
 * client that never asks for anything must go, and one that only has a look
 * (wire.md: its requests have a time-out) is told so and keeps waiting, for
 * it may ask for more.  That it goes away is seen at once.
 */


#include "ngx_stream_buildkit_hold.h"


#define NGX_STREAM_BUILDKIT_HOLD_BUFFER      1024
#define NGX_STREAM_BUILDKIT_HOLD_BUFFER_MAX  (128 * 1024)


static ngx_int_t ngx_stream_buildkit_hold_read(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
static ngx_int_t ngx_stream_buildkit_hold_room(ngx_connection_t *c);
static ngx_int_t ngx_stream_buildkit_hold_parse(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
static ngx_int_t ngx_stream_buildkit_hold_request(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
static ngx_int_t ngx_stream_buildkit_hold_write(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);


/* an empty frame: our SETTINGS are the defaults */

static u_char  ngx_stream_buildkit_hold_frame[] = {
    0, 0, 0, NGX_STREAM_BUILDKIT_H2_SETTINGS, 0, 0, 0, 0, 0
};


ngx_int_t
ngx_stream_buildkit_hold_settings(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_stream_buildkit_hold_t  *h;

    if (ctx->settings) {
        return NGX_OK;
    }

    h = ctx->hold;

    h->pos = ngx_stream_buildkit_hold_frame;
    h->last = h->pos + sizeof(ngx_stream_buildkit_hold_frame);

    ctx->settings = 1;

    return ngx_stream_buildkit_hold_write(s, ctx) == NGX_ERROR
           ? NGX_ERROR : NGX_OK;
}


void
ngx_stream_buildkit_hold_handler(ngx_event_t *ev)
{
    ngx_int_t                   rc;
    ngx_connection_t           *c;
    ngx_stream_session_t       *s;
    ngx_stream_buildkit_ctx_t  *ctx;

    c = ev->data;
    s = c->data;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);

    if (c->close) {

        /* nginx is out of time; nothing can be said any more */

        ngx_stream_buildkit_hold_end(s, ctx, NGX_STREAM_SERVICE_UNAVAILABLE);
        return;
    }

    rc = ngx_stream_buildkit_hold_write(s, ctx);

    if (rc == NGX_OK && ctx->hold->due) {

        /* it was to be looked at, but had not taken its frame */

        ctx->hold->due = 0;

        if (ngx_stream_buildkit_hold_again(s, ctx) != NGX_AGAIN) {
            return;
        }
    }

    if (rc != NGX_ERROR) {
        rc = ngx_stream_buildkit_hold_read(s, ctx);
    }

    if (rc == NGX_DONE) {
        return;
    }

    if (rc == NGX_ERROR
        || ngx_handle_read_event(c->read, 0) != NGX_OK
        || ngx_handle_write_event(c->write, 0) != NGX_OK)
    {
        ngx_log_error(NGX_LOG_INFO, c->log, 0,
                      "buildkit: the client went away");

        ngx_stream_buildkit_hold_end(s, ctx, NGX_STREAM_OK);
    }
}


/*
 * NGX_OK: all that there was, or no more room.  NGX_ERROR: the client is gone.
 * NGX_DONE: not held any more, the session need not even be there.
 */

static ngx_int_t
ngx_stream_buildkit_hold_read(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ssize_t            n;
    ngx_int_t          rc;
    ngx_buf_t         *b;
    ngx_connection_t  *c;

    c = s->connection;

    for ( ;; ) {

        rc = ngx_stream_buildkit_hold_parse(s, ctx);

        if (rc != NGX_OK) {
            return rc;
        }

        rc = ngx_stream_buildkit_hold_room(c);

        if (rc == NGX_BUSY) {
            return (c->read->pending_eof || c->error) ? NGX_ERROR : NGX_OK;
        }

        if (rc != NGX_OK) {
            return NGX_ERROR;
        }

        b = c->buffer;

        n = c->recv(c, b->last, b->end - b->last);

        if (n == NGX_AGAIN) {
            return NGX_OK;
        }

        if (n <= 0) {
            return NGX_ERROR;
        }

        s->received += n;
        b->last += n;
    }
}


/* NGX_BUSY: has as much as is kept */

static ngx_int_t
ngx_stream_buildkit_hold_room(ngx_connection_t *c)
{
    size_t      size, used;
    u_char     *p;
    ngx_buf_t  *b;

    b = c->buffer;

    if (b == NULL) {
        c->buffer = ngx_create_temp_buf(c->pool,
                                        NGX_STREAM_BUILDKIT_HOLD_BUFFER);

        return c->buffer ? NGX_OK : NGX_ERROR;
    }

    if (b->last < b->end) {
        return NGX_OK;
    }

    used = b->last - b->pos;

    if (used >= NGX_STREAM_BUILDKIT_HOLD_BUFFER_MAX) {
        return NGX_BUSY;
    }

    size = ngx_max(2 * used, NGX_STREAM_BUILDKIT_HOLD_BUFFER);
    size = ngx_min(size, NGX_STREAM_BUILDKIT_HOLD_BUFFER_MAX);

    p = ngx_palloc(c->pool, size);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(p, b->pos, used);

    (void) ngx_pfree(c->pool, b->start);

    b->start = p;
    b->pos = p;
    b->last = p + used;
    b->end = p + size;

    return NGX_OK;
}


static ngx_int_t
ngx_stream_buildkit_hold_parse(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    u_char                      *pos;
    ngx_int_t                    rc;
    ngx_buf_t                   *b;
    ngx_stream_buildkit_h2_e     event;
    ngx_stream_buildkit_hold_t  *h;

    h = ctx->hold;

    for ( ;; ) {
        b = s->connection->buffer;

        if (b == NULL || h->opaque
            || h->parsed >= (size_t) (b->last - b->pos))
        {
            return NGX_OK;
        }

        pos = b->pos + h->parsed;

        event = ngx_stream_buildkit_h2_parse(&h->h2, &pos, b->last);

        h->parsed = pos - b->pos;

        switch (event) {

        case ngx_stream_buildkit_h2_headers:
            rc = ngx_stream_buildkit_hold_request(s, ctx);

            if (rc != NGX_OK) {
                return rc;
            }

            break;

        case ngx_stream_buildkit_h2_error:

            /* its worker may understand it; buildkit_header_timeout counts */

            h->opaque = 1;
            break;

        default:
            break;
        }
    }
}


static ngx_int_t
ngx_stream_buildkit_hold_request(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_stream_buildkit_hold_t  *h;

    h = ctx->hold;

    if (h->h2.block & NGX_STREAM_BUILDKIT_H2_TIMEOUT) {
        return ngx_stream_buildkit_hold_looked(s, ctx);
    }

    h->heard = 1;

    if (h->look) {

        /* inspect --bootstrap: its worker may be there since long */

        h->look = 0;
        h->start = ngx_current_msec;

        if (h->limit == ngx_stream_buildkit_hold_wait_e) {
            h->since = h->start;
        }

        ngx_stream_buildkit_report_kind(ctx, BK_KIND_OTHER);

        if (ngx_stream_buildkit_hold_again(s, ctx) != NGX_AGAIN) {
            return NGX_DONE;
        }
    }

    return NGX_OK;
}


ngx_int_t
ngx_stream_buildkit_hold_looked(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_int_t                    rc;
    ngx_stream_buildkit_hold_t  *h;

    h = ctx->hold;

    if (!h->heard) {
        h->heard = 1;
        h->look = 1;

        ngx_stream_buildkit_report_kind(ctx, BK_KIND_LOOK);
    }

    if (h->pos != h->last) {

        /* asks faster than it reads: it has its time-out */

        return NGX_OK;
    }

    ctx->looking = 1;

    rc = ngx_stream_buildkit_route(s, ctx);

    if (rc == NGX_OK && h->backoff) {
        rc = ngx_stream_buildkit_decide_trouble(s, ctx);
    }

    ctx->looking = 0;

    if (rc == NGX_AGAIN) {
        ngx_stream_buildkit_hold_park(s, ctx);

        return s->connection->error ? NGX_ERROR : NGX_OK;
    }

    /* ready just now, or ended */

    ngx_stream_buildkit_hold_end(s, ctx, rc);

    return NGX_DONE;
}


void
ngx_stream_buildkit_hold_look(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, const char *fmt, ...)
{
    va_list                      args;
    ngx_int_t                    rc;
    ngx_str_t                    block, message, reason;
    ngx_pool_t                  *pool;
    ngx_stream_buildkit_hold_t  *h;

    h = ctx->hold;
    pool = s->connection->pool;

    /* it is not refused: the reason is somebody else's */

    reason = ctx->reason;

    va_start(args, fmt);
    rc = ngx_stream_buildkit_refuse_text(s, ctx, &message, fmt, args);
    va_end(args);

    if (rc != NGX_OK) {
        return;
    }

    rc = ngx_stream_buildkit_answer_block(pool, &block,
                                      NGX_STREAM_BUILDKIT_FAILED_PRECONDITION,
                                      &message);

    (void) ngx_pfree(pool, ctx->reason.data);
    ctx->reason = reason;

    if (rc != NGX_OK) {
        return;
    }

    h->answer = ngx_pnalloc(pool, NGX_STREAM_BUILDKIT_H2_HEAD + block.len);

    if (h->answer) {
        h->pos = h->answer;
        h->last = ngx_stream_buildkit_h2_frame(h->answer,
                                          NGX_STREAM_BUILDKIT_H2_HEADERS,
                                          NGX_STREAM_BUILDKIT_H2_END_STREAM
                                          |NGX_STREAM_BUILDKIT_H2_END_HEADERS,
                                          h->h2.stream, block.data,
                                          block.len);
    }

    (void) ngx_pfree(pool, block.data);

    ngx_stream_buildkit_report_add(ctx->row->looks, 1);

    if (ngx_stream_buildkit_hold_write(s, ctx) == NGX_ERROR) {
        s->connection->error = 1;
    }
}


/* NGX_OK: all of it is sent */

static ngx_int_t
ngx_stream_buildkit_hold_write(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ssize_t                      n;
    ngx_connection_t            *c;
    ngx_stream_buildkit_hold_t  *h;

    c = s->connection;
    h = ctx->hold;

    while (h->pos != h->last) {
        n = c->send(c, h->pos, h->last - h->pos);

        if (n == NGX_AGAIN) {
            return NGX_AGAIN;
        }

        if (n <= 0) {
            return NGX_ERROR;
        }

        h->pos += n;
    }

    if (h->answer) {
        (void) ngx_pfree(c->pool, h->answer);

        h->answer = NULL;
        h->pos = NULL;
        h->last = NULL;
    }

    return NGX_OK;
}
