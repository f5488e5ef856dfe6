
/*
 * The filter that every byte of a session goes through, in both directions.
 *
 * A server with "buildkit on" whose proxy_pass leads past our balancer: no
 * byte gets by.  Of a live connection: counts bytes and follows frames as
 * they are handed on, and never changes one.  When it is cut, what comes
 * after the frame that is being sent is dropped here.  A worker that hangs
 * up amid a build is kept from the proxy, which would close the client
 * without a word.  Nothing is ever finalized from in here: that is posted.
 */


#include "ngx_stream_buildkit_cut.h"


/* mere looks send less (wire.md) */
#define NGX_STREAM_BUILDKIT_FILTER_LOOK  4096


static ngx_int_t ngx_stream_buildkit_filter(ngx_stream_session_t *s,
    ngx_chain_t *chain, ngx_uint_t from_upstream);
static ngx_int_t ngx_stream_buildkit_filter_up(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_chain_t *chain);
static ngx_int_t ngx_stream_buildkit_filter_down(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_chain_t *chain);
static ngx_int_t ngx_stream_buildkit_filter_end(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_chain_t *chain);
static ngx_int_t ngx_stream_buildkit_filter_lost(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
static ngx_uint_t ngx_stream_buildkit_filter_notify(ngx_connection_t *c);
static void ngx_stream_buildkit_filter_kind(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
static void ngx_stream_buildkit_filter_moved(ngx_stream_buildkit_ctx_t *ctx);
static void ngx_stream_buildkit_filter_drop(ngx_chain_t *chain);


static ngx_stream_filter_pt  ngx_stream_buildkit_next_filter;


ngx_int_t
ngx_stream_buildkit_filter_init(ngx_conf_t *cf)
{
    ngx_stream_buildkit_next_filter = ngx_stream_top_filter;
    ngx_stream_top_filter = ngx_stream_buildkit_filter;

    return NGX_OK;
}


static ngx_int_t
ngx_stream_buildkit_filter(ngx_stream_session_t *s, ngx_chain_t *chain,
    ngx_uint_t from_upstream)
{
    ngx_stream_buildkit_ctx_t       *ctx;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    if (!bscf->enable) {
        return ngx_stream_buildkit_next_filter(s, chain, from_upstream);
    }

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);

    if (ctx == NULL || !ctx->balanced) {
        ngx_log_error(NGX_LOG_ERR, s->connection->log, 0,
                      "buildkit: \"proxy_pass\" of a server with "
                      "\"buildkit on\" leads past the upstream with "
                      "\"buildkit;\": nothing is passed on");
        return NGX_ERROR;
    }

    if (ctx->live == NULL || ctx->unverified) {

        /* there was no memory for it; upstream.c has said what it is */

        return NGX_ERROR;
    }

    return from_upstream ? ngx_stream_buildkit_filter_down(s, ctx, chain)
                         : ngx_stream_buildkit_filter_up(s, ctx, chain);
}


ngx_int_t
ngx_stream_buildkit_filter_flush(ngx_stream_session_t *s)
{
    return ngx_stream_buildkit_next_filter(s, NULL, 1);
}


static ngx_int_t
ngx_stream_buildkit_filter_up(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_chain_t *chain)
{
    size_t                       n;
    ngx_buf_t                   *b;
    ngx_int_t                    rc;
    ngx_chain_t                 *cl;
    ngx_connection_t            *c;
    ngx_stream_buildkit_live_t  *live;

    c = s->connection;
    live = ctx->live;
    n = 0;

    for (cl = chain; cl; cl = cl->next) {
        b = cl->buf;
        n += b->last - b->pos;

        ngx_stream_buildkit_track_up(&live->track, b->pos, b->last);

        if (b->last_buf) {
            live->client_eof = 1;
        }
    }

    if (n) {
        ngx_stream_buildkit_filter_moved(ctx);
        ngx_stream_buildkit_filter_kind(s, ctx);
    }

    if (ctx->cut || live->lost) {

        if (ctx->replay && !ctx->cut) {

            /* for the worker's next try */

            (void) ngx_stream_buildkit_replay_passed(s, ctx, chain);
        }

        /* a client that goes now: found out when it is answered */

        if (live->client_eof && c->read->eof) {
            c->read->eof = 0;
            c->read->ready = 0;
        }

        ngx_stream_buildkit_filter_drop(chain);

        return NGX_OK;
    }

    ngx_stream_buildkit_report_add(ctx->record->bytes_up, n);
    ngx_stream_buildkit_report_add(ctx->row->bytes_up, n);

    if (ctx->replay
        && ngx_stream_buildkit_replay_passed(s, ctx, chain) != NGX_OK)
    {
        return NGX_ERROR;
    }

    rc = ngx_stream_buildkit_next_filter(s, chain, 0);

    if (rc == NGX_ERROR) {

        if (ngx_stream_buildkit_filter_lost(s, ctx) != NGX_OK) {
            return NGX_ERROR;
        }

        ngx_stream_buildkit_filter_drop(chain);

        return NGX_OK;
    }

    if (live->client_eof && !live->worker_notified) {
        live->worker_notified =
             ngx_stream_buildkit_filter_notify(s->upstream->peer.connection);
    }

    return rc;
}


static ngx_int_t
ngx_stream_buildkit_filter_down(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_chain_t *chain)
{
    size_t                       n;
    ngx_buf_t                   *b;
    ngx_int_t                    rc;
    ngx_uint_t                   eof;
    ngx_chain_t                 *cl;
    ngx_stream_buildkit_live_t  *live;

    live = ctx->live;

    if (ctx->cut) {
        return ngx_stream_buildkit_filter_end(s, ctx, chain);
    }

    eof = 0;
    n = 0;

    for (cl = chain; cl; cl = cl->next) {
        b = cl->buf;
        n += b->last - b->pos;

        (void) ngx_stream_buildkit_track_down(&live->track, b->pos, b->last,
                                              0);

        if (b->last_buf) {
            eof = 1;
        }
    }

    if (n) {
        if (ctx->replay) {
            ngx_stream_buildkit_replay_end(s, ctx);
        }

        ngx_stream_buildkit_filter_moved(ctx);

        ngx_stream_buildkit_report_add(ctx->record->bytes_down, n);
        ngx_stream_buildkit_report_add(ctx->row->bytes_down, n);
    }

    if (eof && ngx_stream_buildkit_filter_lost(s, ctx) == NGX_OK) {

        /* what came with it, if anything, still goes to the client */

        for (cl = chain; cl; cl = cl->next) {

            /* without bytes it is nothing then: newer proxies want no flush */

            if (cl->buf->last_buf) {
                cl->buf->last_buf = 0;
                cl->buf->flush = 1;
            }
        }

    } else if (eof) {
        live->worker_eof = 1;
    }

    rc = ngx_stream_buildkit_next_filter(s, chain, 1);

    if (rc != NGX_ERROR && live->worker_eof && !live->client_notified) {
        live->client_notified =
                             ngx_stream_buildkit_filter_notify(s->connection);
    }

    return rc;
}


/* the rest of the frame that the client has the beginning of, and no more */

static ngx_int_t
ngx_stream_buildkit_filter_end(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_chain_t *chain)
{
    size_t                       n;
    u_char                      *p;
    ngx_int_t                    rc;
    ngx_buf_t                   *b;
    ngx_uint_t                   eof;
    ngx_chain_t                 *cl, *ln, *rest;
    ngx_connection_t            *pc;
    ngx_stream_buildkit_live_t  *live;

    live = ctx->live;
    pc = s->upstream->peer.connection;

    rest = chain;
    ln = NULL;
    eof = 0;
    n = 0;

    for (cl = chain; cl; cl = cl->next) {
        b = cl->buf;

        if (b->last_buf) {
            b->last_buf = 0;
            eof = 1;
        }

        if (!ctx->cut->waiting || b->pos == b->last) {
            continue;
        }

        p = ngx_stream_buildkit_track_down(&live->track, b->pos, b->last, 1);

        n += p - b->pos;
        b->last = p;
        ln = cl;
        rest = cl->next;

        if (live->track.off) {
            continue;
        }

        if (ngx_stream_buildkit_h2_boundary(&live->track.down)) {
            ngx_stream_buildkit_cut_go(s, ctx, 0);
        }
    }

    if (eof) {
        pc->read->eof = 0;
        pc->read->ready = 0;
    }

    if (ctx->cut->waiting && (eof || live->track.off)) {
        ngx_stream_buildkit_cut_go(s, ctx, 1);
    }

    rc = NGX_OK;

    if (n) {
        ngx_stream_buildkit_filter_moved(ctx);

        ngx_stream_buildkit_report_add(ctx->record->bytes_down, n);
        ngx_stream_buildkit_report_add(ctx->row->bytes_down, n);

        ln->next = NULL;
        rc = ngx_stream_buildkit_next_filter(s, chain, 1);
        ln->next = rest;

    } else if (s->connection->buffered) {
        rc = ngx_stream_buildkit_next_filter(s, NULL, 1);
    }

    ngx_stream_buildkit_filter_drop(rest);

    if (rc == NGX_ERROR) {

        /* the proxy would end the session as if nothing had happened */

        ngx_stream_buildkit_cut_go(s, ctx, 1);
        return NGX_OK;
    }

    return rc;
}


/*
 * The worker hung up.  NGX_OK: it should not have, the proxy must not know;
 * what is to be done about it is done outside.
 */

static ngx_int_t
ngx_stream_buildkit_filter_lost(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_connection_t            *pc;
    ngx_stream_buildkit_live_t  *live;

    live = ctx->live;
    pc = s->upstream->peer.connection;

    /* nobody waits for anything, or the client went first */

    if (live->client_eof
        || (!ctx->replay && (live->track.off || live->track.nopen == 0)))
    {
        return NGX_ERROR;
    }

    if (pc->read->eof) {
        pc->read->eof = 0;
        pc->read->ready = 0;
    }

    if (!live->lost) {
        live->lost = 1;
        live->lost_at = ngx_current_msec;

        ngx_stream_buildkit_live_post(s, ctx);
    }

    return NGX_OK;
}


/*
 * All that the other side had to say is on its way to this one: a program
 * that is written in Go takes a mere FIN for a broken connection.
 */

static ngx_uint_t
ngx_stream_buildkit_filter_notify(ngx_connection_t *c)
{
    if (c->ssl == NULL || c->buffered || c->error) {
        return 0;
    }

    ERR_clear_error();
    (void) SSL_shutdown(c->ssl->connection);

    return 1;
}


static void
ngx_stream_buildkit_filter_kind(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_uint_t                    kind;
    ngx_stream_buildkit_track_t  *t;

    t = &ctx->live->track;

    if (ctx->kind == BK_KIND_BUILD || !t->asked) {
        return;
    }

    kind = t->session ? BK_KIND_BUILD
           : (t->timeout && s->received < NGX_STREAM_BUILDKIT_FILTER_LOOK)
           ? BK_KIND_LOOK : BK_KIND_OTHER;

    if (kind != ctx->kind) {
        ngx_stream_buildkit_report_kind(ctx, kind);
    }
}


static void
ngx_stream_buildkit_filter_moved(ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_time_t  *tp;

    tp = ngx_timeofday();

    ctx->live->last = ngx_current_msec;

    ngx_stream_buildkit_report_set(ctx->record->last_ms,
                                   (uint64_t) tp->sec * 1000 + tp->msec);
}


/* as if it had been sent: the proxy gets its buffers back */

static void
ngx_stream_buildkit_filter_drop(ngx_chain_t *chain)
{
    ngx_chain_t  *cl;

    for (cl = chain; cl; cl = cl->next) {
        cl->buf->pos = cl->buf->last;
        cl->buf->last_buf = 0;
    }
}
