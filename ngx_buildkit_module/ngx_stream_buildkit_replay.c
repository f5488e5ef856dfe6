
/*
 * What the client has said to a worker that has not said anything yet: kept
 * in c->buffer, to be said again to the next one.
 *
 * From TCP and TLS being up until the worker's first byte; that is one round
 * trip and a few hundred bytes.
 */


#include "ngx_stream_buildkit_retry.h"


/* with more than this a worker is not tried again */
#define NGX_STREAM_BUILDKIT_REPLAY_MAX    (128 * 1024)
#define NGX_STREAM_BUILDKIT_REPLAY_FIRST  512


static ngx_int_t ngx_stream_buildkit_replay_keep(ngx_connection_t *c,
    ngx_uint_t own, u_char *p, size_t n);


void
ngx_stream_buildkit_replay_start(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_buf_t                    *b;
    ngx_stream_buildkit_retry_t  *r;

    r = ctx->retry;
    b = s->connection->buffer;

    /* the proxy sends c->buffer first, from where it is */

    r->skip = b ? b->last - b->pos : 0;
    r->own = (b == NULL);

    /* without TLS there may be a PROXY protocol header in front of it */

    ctx->replay = (s->upstream->peer.connection->ssl
                   && r->skip <= NGX_STREAM_BUILDKIT_REPLAY_MAX);

    r->connected = ngx_current_msec;

    if (!ctx->replay) {
        ngx_stream_buildkit_retry_done(ctx);
    }
}


ngx_int_t
ngx_stream_buildkit_replay_passed(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_chain_t *chain)
{
    size_t                        n, skip;
    ngx_buf_t                    *b;
    ngx_chain_t                  *cl;
    ngx_stream_buildkit_retry_t  *r;

    r = ctx->retry;

    for (cl = chain; cl; cl = cl->next) {
        b = cl->buf;
        n = b->last - b->pos;

        skip = ngx_min(n, r->skip);
        r->skip -= skip;

        if (n - skip
            && ngx_stream_buildkit_replay_keep(s->connection, r->own,
                                              b->pos + skip, n - skip)
               != NGX_OK)
        {
            /* too much, or no memory for it: then it is the only try */

            ctx->replay = 0;
            ngx_stream_buildkit_retry_done(ctx);
            ngx_stream_buildkit_report_routed(ctx);
            break;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_stream_buildkit_replay_keep(ngx_connection_t *c, ngx_uint_t own, u_char *p,
    size_t n)
{
    size_t      used, size;
    u_char     *start;
    ngx_buf_t  *b;

    b = c->buffer;

    if (b == NULL) {
        b = ngx_create_temp_buf(c->pool,
                                ngx_max(n, NGX_STREAM_BUILDKIT_REPLAY_FIRST));
        if (b == NULL) {
            return NGX_ERROR;
        }

        c->buffer = b;
    }

    used = b->last - b->pos;

    if (used + n > NGX_STREAM_BUILDKIT_REPLAY_MAX) {
        return NGX_ERROR;
    }

    if ((size_t) (b->end - b->last) < n) {
        size = 2 * (used + n);

        start = ngx_palloc(c->pool, size);
        if (start == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(start, b->pos, used);

        /* the old one may be what the proxy is sending from */

        if (own) {
            (void) ngx_pfree(c->pool, b->start);
        }

        b->start = start;
        b->pos = start;
        b->last = start + used;
        b->end = start + size;
    }

    b->last = ngx_cpymem(b->last, p, n);

    return NGX_OK;
}


void
ngx_stream_buildkit_replay_end(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_buf_t                    *b;
    ngx_connection_t             *c, *pc;
    ngx_stream_upstream_t        *u;
    ngx_stream_buildkit_retry_t  *r;

    c = s->connection;
    r = ctx->retry;
    u = s->upstream;
    pc = u->peer.connection;
    b = c->buffer;

    ctx->replay = 0;
    ngx_stream_buildkit_retry_done(ctx);
    ngx_stream_buildkit_report_routed(ctx);

    if (pc->ssl) {
        SSL_set_msg_callback(pc->ssl->connection, NULL);
    }

    if (b == NULL) {
        return;
    }

    /* not needed any more, unless the proxy is still sending from there */

    if (r->own
        || (u->upstream_busy == NULL && u->upstream_out == NULL
            && !pc->buffered))
    {
        (void) ngx_pfree(c->pool, b->start);
        c->buffer = NULL;
    }
}
