
/*
 * The frames of a reply (wire.md, frame 2): SETTINGS, for each stream one
 * trailers-only response with the gRPC status and the text, answers to PINGs
 * and, at the very end, GOAWAY.
 *
 * Bounded: what was open when a live connection was cut is a range of stream
 * numbers, what comes later a ring.
 *
 * Where a client has to settle first (settle.c) a PING goes out before them.
 */


#include "ngx_stream_buildkit_cut.h"


/* the last that a client may open: none is refused by it */
#define NGX_STREAM_BUILDKIT_ANSWER_LAST  0x7fffffff


static void ngx_stream_buildkit_answer_fill(ngx_stream_buildkit_reply_t *r);


/* out: room for so many frames at once */

ngx_int_t
ngx_stream_buildkit_answer_init(ngx_stream_buildkit_reply_t *r,
    ngx_uint_t code, ngx_str_t *message, ngx_uint_t frames)
{
    size_t       size;
    ngx_pool_t  *pool;

    pool = r->session->connection->pool;

    if (ngx_stream_buildkit_answer_block(pool, &r->block, code, message)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    size = frames * (NGX_STREAM_BUILDKIT_H2_HEAD + r->block.len);

    r->out = ngx_pnalloc(pool, size);
    if (r->out == NULL) {
        return NGX_ERROR;
    }

    r->message = *message;

    r->pos = r->out;
    r->last = r->out;
    r->end = r->out + size;

    return NGX_OK;
}


ngx_int_t
ngx_stream_buildkit_answer_block(ngx_pool_t *pool, ngx_str_t *block,
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


ngx_int_t
ngx_stream_buildkit_answer_add(ngx_stream_buildkit_reply_t *r,
    uint32_t stream, u_char *ping)
{
    ngx_stream_buildkit_answer_t  *answer;

    if (stream && r->next <= r->upto) {

        /* the range still grows: no need for room */

        r->upto = stream;

        return NGX_OK;
    }

    if (r->n == NGX_STREAM_BUILDKIT_PENDING) {

        /* asks faster than it reads; of one that is cut: reads what it had */

        return (r->cut && ping) ? NGX_OK : NGX_ERROR;
    }

    answer = &r->answer[(r->first + r->n) % NGX_STREAM_BUILDKIT_PENDING];
    r->n++;

    answer->stream = stream;

    if (ping) {
        ngx_memcpy(answer->ping, ping, sizeof(answer->ping));
    }

    return NGX_OK;
}


ngx_int_t
ngx_stream_buildkit_answer_send(ngx_stream_buildkit_reply_t *r)
{
    ssize_t            n;
    ngx_int_t          rc;
    ngx_connection_t  *c;

    c = r->session->connection;

    /* of a live connection: what the worker said comes first */

    if (r->cut && c->buffered) {
        rc = ngx_stream_buildkit_filter_flush(r->session);

        if (rc != NGX_OK) {
            return rc;
        }
    }

    for ( ;; ) {

        if (r->pos == r->last) {
            ngx_stream_buildkit_answer_fill(r);

            if (r->pos == r->last) {
                return NGX_OK;
            }
        }

        n = c->send(c, r->pos, r->last - r->pos);

        if (n == NGX_AGAIN) {
            return NGX_AGAIN;
        }

        if (n <= 0) {
            return NGX_ERROR;
        }

        r->pos += n;
    }
}


/* as many frames as there is room for: each write is a TLS record */

static void
ngx_stream_buildkit_answer_fill(ngx_stream_buildkit_reply_t *r)
{
    uint32_t                       stream;
    ngx_stream_buildkit_answer_t  *answer;

    r->pos = r->out;
    r->last = r->out;

    while ((size_t) (r->end - r->last)
           >= NGX_STREAM_BUILDKIT_H2_HEAD + r->block.len)
    {
        if (r->settle && !r->pinged) {
            r->pinged = 1;
            r->last = ngx_stream_buildkit_h2_frame(r->last,
                               NGX_STREAM_BUILDKIT_H2_PING, 0, 0,
                               (u_char *) NGX_STREAM_BUILDKIT_H2_MARK, 8);
            continue;
        }

        if (!r->settle && r->next <= r->upto) {
            stream = r->next;
            r->next += 2;

        } else if (r->n) {
            answer = &r->answer[r->first];
            r->first = (r->first + 1) % NGX_STREAM_BUILDKIT_PENDING;
            r->n--;

            stream = answer->stream;

            if (stream == 0) {
                r->last = ngx_stream_buildkit_h2_frame(r->last,
                                               NGX_STREAM_BUILDKIT_H2_PING,
                                               NGX_STREAM_BUILDKIT_H2_ACK, 0,
                                               answer->ping,
                                               sizeof(answer->ping));
                continue;
            }

        } else {
            return;
        }

        r->last = ngx_stream_buildkit_h2_frame(r->last,
                                          NGX_STREAM_BUILDKIT_H2_HEADERS,
                                          NGX_STREAM_BUILDKIT_H2_END_STREAM
                                          |NGX_STREAM_BUILDKIT_H2_END_HEADERS,
                                          stream, r->block.data,
                                          r->block.len);
    }
}


/* NGX_OK: all of it went; a reply ends after it in any case */

ngx_int_t
ngx_stream_buildkit_answer_goaway(ngx_stream_buildkit_reply_t *r)
{
    u_char             buf[NGX_STREAM_BUILDKIT_H2_HEAD + 8
                           + NGX_STREAM_BUILDKIT_TEXT_MAX];
    u_char             payload[8 + NGX_STREAM_BUILDKIT_TEXT_MAX], *p;
    size_t             len;
    ngx_connection_t  *c;

    c = r->session->connection;

    ngx_memzero(payload, 8);

    payload[0] = NGX_STREAM_BUILDKIT_ANSWER_LAST >> 24;
    payload[1] = 0xff;
    payload[2] = 0xff;
    payload[3] = 0xff;

    len = ngx_min(r->message.len, (size_t) NGX_STREAM_BUILDKIT_TEXT_MAX);
    ngx_memcpy(&payload[8], r->message.data, len);

    p = ngx_stream_buildkit_h2_frame(buf, NGX_STREAM_BUILDKIT_H2_GOAWAY, 0, 0,
                                     payload, 8 + len);

    return c->send(c, buf, p - buf) == p - buf ? NGX_OK : NGX_ERROR;
}
