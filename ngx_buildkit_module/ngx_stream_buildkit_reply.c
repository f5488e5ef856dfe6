
/*
 * HTTP/2 to a client that is refused (wire.md, frame 2): our SETTINGS, then
 * for each stream that it opens one trailers-only response with the gRPC
 * status and the text, until it goes.
 *
 * Owns the session's events from the first call on, and finalizes it.  Is
 * bounded in time, bytes and streams.  A client that turns out not to speak
 * HTTP/2 is closed without a word: there is none that it would understand.
 */


#include "ngx_stream_buildkit_module.h"


/* a client says something within this, or is no gRPC client */
#define NGX_STREAM_BUILDKIT_REPLY_FIRST    5000
/* clients close by themselves; one that does not is closed */
#define NGX_STREAM_BUILDKIT_REPLY_ALL      10000
/* for its close after ours */
#define NGX_STREAM_BUILDKIT_REPLY_DRAIN    2000

#define NGX_STREAM_BUILDKIT_REPLY_BYTES    (1024 * 1024)
#define NGX_STREAM_BUILDKIT_REPLY_BUFFER   4096
#define NGX_STREAM_BUILDKIT_REPLY_PENDING  64


typedef struct {
    uint32_t                    stream;     /* 0: an answer to a PING */
    u_char                      ping[8];
} ngx_stream_buildkit_answer_t;


struct ngx_stream_buildkit_reply_s {
    ngx_stream_session_t          *session;
    ngx_uint_t                     status;  /* of the session, at the end */
    ngx_event_t                    timer;
    ngx_msec_t                     start;
    ngx_stream_buildkit_h2_t       h2;
    size_t                         received;

    ngx_str_t                      block;   /* HPACK, the same every time */

    /* the frame that is being sent: pos, last inside of out */
    u_char                        *out;
    u_char                        *pos;
    u_char                        *last;

    /* answers that wait for it: a ring */
    ngx_stream_buildkit_answer_t   answer[NGX_STREAM_BUILDKIT_REPLY_PENDING];
    ngx_uint_t                     first;
    ngx_uint_t                     n;

    unsigned                       answered:1;
    unsigned                       draining:1;
};


static ngx_int_t ngx_stream_buildkit_reply_block(ngx_pool_t *pool,
    ngx_str_t *block, ngx_uint_t code, ngx_str_t *message);
static void ngx_stream_buildkit_reply_read_handler(ngx_event_t *rev);
static void ngx_stream_buildkit_reply_write_handler(ngx_event_t *wev);
static void ngx_stream_buildkit_reply_timer_handler(ngx_event_t *ev);
static void ngx_stream_buildkit_reply_process(
    ngx_stream_buildkit_reply_t *r);
static ngx_int_t ngx_stream_buildkit_reply_read(
    ngx_stream_buildkit_reply_t *r);
static ngx_int_t ngx_stream_buildkit_reply_parse(
    ngx_stream_buildkit_reply_t *r, u_char *pos, u_char *last);
static ngx_int_t ngx_stream_buildkit_reply_queue(
    ngx_stream_buildkit_reply_t *r, uint32_t stream, u_char *ping);
static ngx_int_t ngx_stream_buildkit_reply_write(
    ngx_stream_buildkit_reply_t *r);
static void ngx_stream_buildkit_reply_frame(ngx_stream_buildkit_reply_t *r,
    ngx_stream_buildkit_answer_t *answer);
static void ngx_stream_buildkit_reply_drain(ngx_stream_buildkit_reply_t *r);
static void ngx_stream_buildkit_reply_close(ngx_stream_buildkit_reply_t *r);


/*
 * NGX_DONE: the session is ours now.  NGX_DECLINED: cannot or need not be
 * answered, the caller ends the session with its status.
 */

ngx_int_t
ngx_stream_buildkit_reply(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_uint_t code, ngx_uint_t status,
    ngx_str_t *message)
{
    ngx_connection_t             *c;
    ngx_stream_buildkit_reply_t  *r;

    c = s->connection;

    if (c->ssl == NULL || c->error || c->close || c->read->pending_eof) {
        return NGX_DECLINED;
    }

    r = ngx_pcalloc(c->pool, sizeof(ngx_stream_buildkit_reply_t));
    if (r == NULL) {
        return NGX_ERROR;
    }

    if (ngx_stream_buildkit_reply_block(c->pool, &r->block, code, message)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    r->out = ngx_pnalloc(c->pool, NGX_STREAM_BUILDKIT_H2_HEAD
                                  + r->block.len);
    if (r->out == NULL) {
        return NGX_ERROR;
    }

    r->session = s;
    r->start = ngx_current_msec;
    r->status = status;

    r->pos = r->out;
    r->last = r->out;

    /* one that was held, or had a worker, has them already */

    if (!ctx->settings) {
        r->last = ngx_stream_buildkit_h2_frame(r->out,
                                               NGX_STREAM_BUILDKIT_H2_SETTINGS,
                                               0, 0, NULL, 0);
        ctx->settings = 1;
    }

    r->timer.handler = ngx_stream_buildkit_reply_timer_handler;
    r->timer.data = c;
    r->timer.log = c->log;

    ctx->reply = r;

    c->read->handler = ngx_stream_buildkit_reply_read_handler;
    c->write->handler = ngx_stream_buildkit_reply_write_handler;

    ngx_add_timer(&r->timer, NGX_STREAM_BUILDKIT_REPLY_FIRST);

    /* not from inside the phase handler: the session may end in there */

    ngx_post_event(c->read, &ngx_posted_events);

    return NGX_DONE;
}


static ngx_int_t
ngx_stream_buildkit_reply_block(ngx_pool_t *pool, ngx_str_t *block,
    ngx_uint_t code, ngx_str_t *message)
{
    u_char  *p, status[NGX_INT_T_LEN];
    size_t   len;

    len = ngx_sprintf(status, "%ui", code) - status;

    /* 1 for the status, names, values; 6 for the lengths of one field */

    p = ngx_pnalloc(pool, 1 + 3 * 6 + sizeof("content-type" "grpc-status"
                          "grpc-message" "application/grpc") + len
                          + message->len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    block->data = p;

    *p++ = 0x88;    /* :status 200 of the static table */

    p = ngx_stream_buildkit_h2_literal(p, "content-type",
                                          (u_char *) "application/grpc",
                                          sizeof("application/grpc") - 1);
    p = ngx_stream_buildkit_h2_literal(p, "grpc-status", status, len);
    p = ngx_stream_buildkit_h2_literal(p, "grpc-message", message->data,
                                          message->len);

    block->len = p - block->data;

    return NGX_OK;
}


static void
ngx_stream_buildkit_reply_read_handler(ngx_event_t *rev)
{
    ngx_connection_t           *c;
    ngx_stream_session_t       *s;
    ngx_stream_buildkit_ctx_t  *ctx;

    c = rev->data;
    s = c->data;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);

    ngx_stream_buildkit_reply_process(ctx->reply);
}


static void
ngx_stream_buildkit_reply_write_handler(ngx_event_t *wev)
{
    ngx_stream_buildkit_reply_read_handler(wev);
}


static void
ngx_stream_buildkit_reply_timer_handler(ngx_event_t *ev)
{
    ngx_connection_t             *c;
    ngx_stream_session_t         *s;
    ngx_stream_buildkit_ctx_t    *ctx;
    ngx_stream_buildkit_reply_t  *r;

    c = ev->data;
    s = c->data;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);
    r = ctx->reply;

    if (r->draining) {
        ngx_stream_buildkit_reply_close(r);
        return;
    }

    if (r->answered
        && ngx_current_msec - r->start < NGX_STREAM_BUILDKIT_REPLY_ALL)
    {
        ngx_add_timer(&r->timer, NGX_STREAM_BUILDKIT_REPLY_ALL
                                 - (ngx_current_msec - r->start));
        return;
    }

    ngx_stream_buildkit_reply_drain(r);
}


static void
ngx_stream_buildkit_reply_process(ngx_stream_buildkit_reply_t *r)
{
    ngx_connection_t  *c;

    c = r->session->connection;

    /* c->close: worker_shutdown_timeout */

    if (c->close || c->error
        || ngx_stream_buildkit_reply_write(r) != NGX_OK
        || ngx_stream_buildkit_reply_read(r) != NGX_OK
        || ngx_handle_read_event(c->read, 0) != NGX_OK
        || ngx_handle_write_event(c->write, 0) != NGX_OK)
    {
        ngx_stream_buildkit_reply_close(r);
    }
}


/* NGX_ERROR: the session is to be closed; that need not be an error */

static ngx_int_t
ngx_stream_buildkit_reply_read(ngx_stream_buildkit_reply_t *r)
{
    u_char                 buf[NGX_STREAM_BUILDKIT_REPLY_BUFFER];
    ssize_t                n;
    ngx_buf_t             *b;
    ngx_connection_t      *c;
    ngx_stream_session_t  *s;

    s = r->session;
    c = s->connection;
    b = c->buffer;

    /* another preread handler may have read a part */

    if (b && b->pos < b->last) {
        n = b->last - b->pos;
        b->pos = b->last;

        if (ngx_stream_buildkit_reply_parse(r, b->last - n, b->last)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    for ( ;; ) {

        n = c->recv(c, buf, NGX_STREAM_BUILDKIT_REPLY_BUFFER);

        if (n == NGX_AGAIN) {
            return NGX_OK;
        }

        if (n <= 0) {
            return NGX_ERROR;
        }

        s->received += n;
        r->received += n;

        if (r->received > NGX_STREAM_BUILDKIT_REPLY_BYTES) {
            return NGX_ERROR;
        }

        if (r->draining) {
            continue;
        }

        if (ngx_stream_buildkit_reply_parse(r, buf, buf + n) != NGX_OK) {
            return NGX_ERROR;
        }
    }
}


static ngx_int_t
ngx_stream_buildkit_reply_parse(ngx_stream_buildkit_reply_t *r, u_char *pos,
    u_char *last)
{
    while (pos < last) {

        switch (ngx_stream_buildkit_h2_parse(&r->h2, &pos, last)) {

        case ngx_stream_buildkit_h2_again:
            return NGX_OK;

        case ngx_stream_buildkit_h2_headers:
            if (ngx_stream_buildkit_reply_queue(r, r->h2.stream, NULL)
                != NGX_OK)
            {
                return NGX_ERROR;
            }

            r->answered = 1;
            break;

        case ngx_stream_buildkit_h2_ping:
            if (ngx_stream_buildkit_reply_queue(r, 0, r->h2.ping) != NGX_OK) {
                return NGX_ERROR;
            }

            break;

        default: /* ngx_stream_buildkit_h2_error */
            ngx_log_error(NGX_LOG_INFO, r->session->connection->log, 0,
                          "buildkit: the refused client does not speak "
                          "HTTP/2");
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_stream_buildkit_reply_queue(ngx_stream_buildkit_reply_t *r,
    uint32_t stream, u_char *ping)
{
    ngx_stream_buildkit_answer_t  *answer;

    if (r->n == NGX_STREAM_BUILDKIT_REPLY_PENDING) {

        /* asks faster than it reads */

        return NGX_ERROR;
    }

    answer = &r->answer[(r->first + r->n) % NGX_STREAM_BUILDKIT_REPLY_PENDING];
    r->n++;

    answer->stream = stream;

    if (ping) {
        ngx_memcpy(answer->ping, ping, sizeof(answer->ping));
    }

    return ngx_stream_buildkit_reply_write(r);
}


static ngx_int_t
ngx_stream_buildkit_reply_write(ngx_stream_buildkit_reply_t *r)
{
    ssize_t            n;
    ngx_connection_t  *c;

    c = r->session->connection;

    if (r->draining) {
        return NGX_OK;
    }

    for ( ;; ) {

        if (r->pos == r->last) {

            if (r->n == 0) {
                return NGX_OK;
            }

            ngx_stream_buildkit_reply_frame(r, &r->answer[r->first]);

            r->first = (r->first + 1) % NGX_STREAM_BUILDKIT_REPLY_PENDING;
            r->n--;
        }

        n = c->send(c, r->pos, r->last - r->pos);

        if (n == NGX_AGAIN) {
            return NGX_OK;
        }

        if (n <= 0) {
            return NGX_ERROR;
        }

        r->pos += n;
    }
}


static void
ngx_stream_buildkit_reply_frame(ngx_stream_buildkit_reply_t *r,
    ngx_stream_buildkit_answer_t *answer)
{
    size_t   len;
    u_char  *payload;

    if (answer->stream) {
        len = r->block.len;
        payload = r->block.data;

    } else {
        len = sizeof(answer->ping);
        payload = answer->ping;
    }

    r->pos = r->out;
    r->last = ngx_stream_buildkit_h2_frame(r->out,
                                 answer->stream
                                 ? NGX_STREAM_BUILDKIT_H2_HEADERS
                                 : NGX_STREAM_BUILDKIT_H2_PING,
                                 answer->stream
                                 ? NGX_STREAM_BUILDKIT_H2_END_STREAM
                                   |NGX_STREAM_BUILDKIT_H2_END_HEADERS
                                 : NGX_STREAM_BUILDKIT_H2_ACK,
                                 answer->stream, payload, len);
}


/*
 * The client stays: close our side and read on until it closes, since an
 * RST for unread bytes would take away what it has not read yet.
 */

static void
ngx_stream_buildkit_reply_drain(ngx_stream_buildkit_reply_t *r)
{
    ngx_connection_t  *c;

    c = r->session->connection;

    /* amid a frame a close_notify would break the TLS record */

    if (r->pos != r->last || c->buffered) {
        ngx_stream_buildkit_reply_close(r);
        return;
    }

    ERR_clear_error();
    (void) SSL_shutdown(c->ssl->connection);

    if (ngx_shutdown_socket(c->fd, NGX_WRITE_SHUTDOWN) == -1) {
        ngx_stream_buildkit_reply_close(r);
        return;
    }

    r->draining = 1;

    ngx_add_timer(&r->timer, NGX_STREAM_BUILDKIT_REPLY_DRAIN);

    ngx_stream_buildkit_reply_process(r);
}


static void
ngx_stream_buildkit_reply_close(ngx_stream_buildkit_reply_t *r)
{
    ngx_connection_t  *c;

    c = r->session->connection;

    /* the core's TLS shutdown may take its time: ours is over */

    if (r->timer.timer_set) {
        ngx_del_timer(&r->timer);
    }

    c->ssl->no_wait_shutdown = 1;

    ngx_stream_finalize_session(r->session, r->status);
}


void
ngx_stream_buildkit_reply_done(ngx_stream_buildkit_ctx_t *ctx)
{
    if (ctx->reply && ctx->reply->timer.timer_set) {
        ngx_del_timer(&ctx->reply->timer);
    }
}
