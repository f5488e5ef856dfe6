
/*
 * HTTP/2 to a client that is refused (wire.md, frames 2 and 3): our
 * SETTINGS, then for each stream that it opens one trailers-only response
 * with the gRPC status and the text, until it goes.  The same for one whose
 * live connection was cut, and for the streams that it had open by then.
 *
 * Owns the session's events from the first call on, and finalizes it.  Is
 * bounded in time, bytes and streams.  A client that turns out not to speak
 * HTTP/2 is closed without a word: there is none that it would understand.
 */


#include "ngx_stream_buildkit_cut.h"


/* a client says something within this, or is no gRPC client */
#define NGX_STREAM_BUILDKIT_REPLY_FIRST    5000
/* clients close by themselves; one that does not is closed */
#define NGX_STREAM_BUILDKIT_REPLY_ALL      10000
/* the same for one that was cut: it was in the middle of something */
#define NGX_STREAM_BUILDKIT_REPLY_CUT      2000
/* for its close after ours */
#define NGX_STREAM_BUILDKIT_REPLY_DRAIN    2000

#define NGX_STREAM_BUILDKIT_REPLY_BYTES    (1024 * 1024)
/* an upload that is in flight */
#define NGX_STREAM_BUILDKIT_REPLY_UPLOAD   (64 * 1024 * 1024)
#define NGX_STREAM_BUILDKIT_REPLY_BUFFER   4096
/* are read before others get their turn */
#define NGX_STREAM_BUILDKIT_REPLY_READS    32

/* streams of a live connection that are answered when it is cut */
#define NGX_STREAM_BUILDKIT_REPLY_STREAMS  1024
/* frames that are written at once then */
#define NGX_STREAM_BUILDKIT_REPLY_FRAMES   16


static ngx_stream_buildkit_reply_t *ngx_stream_buildkit_reply_create(
    ngx_stream_session_t *s, ngx_stream_buildkit_ctx_t *ctx, ngx_uint_t code,
    ngx_uint_t status, ngx_str_t *message, ngx_uint_t frames);
static void ngx_stream_buildkit_reply_own(ngx_stream_buildkit_reply_t *r);
static void ngx_stream_buildkit_reply_read_handler(ngx_event_t *rev);
static void ngx_stream_buildkit_reply_write_handler(ngx_event_t *wev);
static void ngx_stream_buildkit_reply_timer_handler(ngx_event_t *ev);
static void ngx_stream_buildkit_reply_process(
    ngx_stream_buildkit_reply_t *r);
static ngx_int_t ngx_stream_buildkit_reply_read(
    ngx_stream_buildkit_reply_t *r);
static ngx_int_t ngx_stream_buildkit_reply_parse(
    ngx_stream_buildkit_reply_t *r, u_char *pos, u_char *last);
static ngx_int_t ngx_stream_buildkit_reply_write(
    ngx_stream_buildkit_reply_t *r);
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

    r = ngx_stream_buildkit_reply_create(s, ctx, code, status, message, 1);
    if (r == NULL) {
        return NGX_ERROR;
    }

    r->limit = NGX_STREAM_BUILDKIT_REPLY_BYTES;

    ngx_stream_buildkit_reply_own(r);

    ngx_add_timer(&r->timer, NGX_STREAM_BUILDKIT_REPLY_FIRST);

    /* not from inside the phase handler: the session may end in there */

    ngx_post_event(c->read, &ngx_posted_events);

    return NGX_DONE;
}


ngx_int_t
ngx_stream_buildkit_reply_speak(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    uint32_t                      last;
    ngx_uint_t                    frames;
    ngx_stream_buildkit_cut_t    *cut;
    ngx_stream_buildkit_reply_t  *r;

    cut = ctx->cut;
    last = ctx->live->track.up.last;
    frames = ngx_min((last + 1) / 2 + 1, NGX_STREAM_BUILDKIT_REPLY_FRAMES);

    if (ctx->live->track.answered) {
        ctx->settings = 1;
    }

    r = ngx_stream_buildkit_reply_create(s, ctx, cut->code, cut->status,
                                         &cut->message, frames);
    if (r == NULL) {
        return NGX_ERROR;
    }

    r->cut = 1;
    r->limit = NGX_STREAM_BUILDKIT_REPLY_UPLOAD;

    r->upto = last;

    if (last > 2 * NGX_STREAM_BUILDKIT_REPLY_STREAMS) {
        r->next = last - 2 * (NGX_STREAM_BUILDKIT_REPLY_STREAMS - 1);
    }

    ngx_stream_buildkit_settle(r, &ctx->live->track);

    if (s->connection->buffered) {
        return NGX_OK;
    }

    return ngx_stream_buildkit_answer_send(r) == NGX_ERROR ? NGX_ERROR
                                                           : NGX_OK;
}


/* goes on where the filter stopped to follow the client's frames */

void
ngx_stream_buildkit_reply_cut(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_stream_buildkit_reply_t  *r;

    if (ctx->reply == NULL
        && ngx_stream_buildkit_reply_speak(s, ctx) != NGX_OK)
    {
        ngx_stream_buildkit_finalize(s, ctx->cut->status);
        return;
    }

    r = ctx->reply;

    /* streams may have been opened since it was begun */

    r->upto = ctx->live->track.up.last;

    r->h2 = ctx->live->track.up;
    r->h2.every = 0;

    ngx_stream_buildkit_reply_own(r);

    ngx_add_timer(&r->timer, NGX_STREAM_BUILDKIT_REPLY_ALL);

    ngx_stream_buildkit_reply_process(r);
}


static ngx_stream_buildkit_reply_t *
ngx_stream_buildkit_reply_create(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_uint_t code, ngx_uint_t status,
    ngx_str_t *message, ngx_uint_t frames)
{
    ngx_connection_t             *c;
    ngx_stream_buildkit_reply_t  *r;

    c = s->connection;

    r = ngx_pcalloc(c->pool, sizeof(ngx_stream_buildkit_reply_t));
    if (r == NULL) {
        return NULL;
    }

    r->session = s;
    r->start = ngx_current_msec;
    r->status = status;
    r->next = 1;

    if (ngx_stream_buildkit_answer_init(r, code, message, frames) != NGX_OK) {
        return NULL;
    }

    if (!ctx->settings) {
        ctx->settings = 1;

        r->last = ngx_stream_buildkit_h2_frame(r->out,
                                           NGX_STREAM_BUILDKIT_H2_SETTINGS, 0,
                                           0, NULL, 0);
    }

    r->timer.handler = ngx_stream_buildkit_reply_timer_handler;
    r->timer.data = c;
    r->timer.log = c->log;

    ctx->reply = r;

    return r;
}


static void
ngx_stream_buildkit_reply_own(ngx_stream_buildkit_reply_t *r)
{
    ngx_connection_t  *c;

    c = r->session->connection;

    c->read->handler = ngx_stream_buildkit_reply_read_handler;
    c->write->handler = ngx_stream_buildkit_reply_write_handler;
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

    if (r->pause) {
        ngx_stream_buildkit_settle_done(r);

        ngx_add_timer(&r->timer, NGX_STREAM_BUILDKIT_REPLY_ALL);

        ngx_stream_buildkit_reply_process(r);
        return;
    }

    if (r->answered && !r->cut
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

    /* c->close: nginx is out of time */

    if (c->close || c->error
        || ngx_stream_buildkit_reply_write(r) != NGX_OK
        || ngx_stream_buildkit_reply_read(r) != NGX_OK
        || ngx_handle_read_event(c->read, 0) != NGX_OK
        || ngx_handle_write_event(c->write, 0) != NGX_OK)
    {
        ngx_stream_buildkit_reply_close(r);
        return;
    }

    ngx_stream_buildkit_settle_look(r);
}


/* NGX_ERROR: the session is to be closed; that need not be an error */

static ngx_int_t
ngx_stream_buildkit_reply_read(ngx_stream_buildkit_reply_t *r)
{
    u_char                 buf[NGX_STREAM_BUILDKIT_REPLY_BUFFER];
    ssize_t                n;
    ngx_buf_t             *b;
    ngx_uint_t             i;
    ngx_connection_t      *c;
    ngx_stream_session_t  *s;

    s = r->session;
    c = s->connection;
    b = c->buffer;

    /* another preread handler may have read a part, or the client was held */

    if (b && b->pos < b->last) {
        n = b->last - b->pos;
        b->pos = b->last;

        if (ngx_stream_buildkit_reply_parse(r, b->last - n, b->last)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    for (i = 0; i < NGX_STREAM_BUILDKIT_REPLY_READS; i++) {

        n = c->recv(c, buf, NGX_STREAM_BUILDKIT_REPLY_BUFFER);

        if (n == NGX_AGAIN) {
            return NGX_OK;
        }

        if (n <= 0) {
            return NGX_ERROR;
        }

        s->received += n;
        r->received += n;

        if (r->received > r->limit) {
            return NGX_ERROR;
        }

        if (r->draining) {
            continue;
        }

        if (ngx_stream_buildkit_reply_parse(r, buf, buf + n) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    ngx_post_event(c->read, &ngx_posted_next_events);

    return NGX_OK;
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
            if (ngx_stream_buildkit_answer_add(r, r->h2.stream, NULL)
                != NGX_OK)
            {
                return NGX_ERROR;
            }

            r->answered = 1;
            break;

        case ngx_stream_buildkit_h2_ping:
            if (ngx_stream_buildkit_answer_add(r, 0, r->h2.ping) != NGX_OK) {
                return NGX_ERROR;
            }

            break;

        default: /* ngx_stream_buildkit_h2_error */
            ngx_log_error(NGX_LOG_INFO, r->session->connection->log, 0,
                          "buildkit: the refused client does not speak "
                          "HTTP/2");
            return NGX_ERROR;
        }

        if (ngx_stream_buildkit_reply_write(r) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_stream_buildkit_reply_write(ngx_stream_buildkit_reply_t *r)
{
    ngx_int_t  rc;

    if (r->draining) {
        return NGX_OK;
    }

    rc = ngx_stream_buildkit_answer_send(r);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (rc == NGX_OK && r->settle) {
        ngx_stream_buildkit_settle_wait(r);
        return NGX_OK;
    }

    if (rc == NGX_OK && r->cut && !r->flushed) {
        r->flushed = 1;
        ngx_add_timer(&r->timer, NGX_STREAM_BUILDKIT_REPLY_CUT);
    }

    return NGX_OK;
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

    /* before its first request a client would only dial again, and again */

    if (r->cut && r->h2.last
        && ngx_stream_buildkit_answer_goaway(r) != NGX_OK)
    {
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
    /* the core's TLS shutdown may take its time: ours is over */

    if (r->timer.timer_set) {
        ngx_del_timer(&r->timer);
    }

    ngx_stream_buildkit_finalize(r->session, r->status);
}


void
ngx_stream_buildkit_reply_done(ngx_stream_buildkit_ctx_t *ctx)
{
    if (ctx->reply == NULL) {
        return;
    }

    if (ctx->reply->timer.timer_set) {
        ngx_del_timer(&ctx->reply->timer);
    }

    ngx_stream_buildkit_settle_done(ctx->reply);
}
