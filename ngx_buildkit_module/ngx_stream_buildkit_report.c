
/*
 * Whom this process serves, for plugin-host to read (bk_report.h): the life
 * of a session's record, and what is counted on its way.
 *
 * A handful of plain 64-bit stores for each change, never a system call:
 * where they go is the business of report_file.c, what else is counted that
 * of report_count.c.  What is decided here depends on the session's ctx
 * alone, never on what the report holds.
 */


#include "ngx_stream_buildkit_module.h"


static void ngx_stream_buildkit_report_leave(bk_report_header_t *h,
    ngx_stream_buildkit_ctx_t *ctx);
static void ngx_stream_buildkit_report_enter(bk_report_header_t *h,
    ngx_stream_buildkit_ctx_t *ctx, ngx_uint_t phase, ngx_uint_t why);
static void ngx_stream_buildkit_report_accept(ngx_stream_buildkit_ctx_t *ctx);
static void ngx_stream_buildkit_report_end(ngx_stream_buildkit_ctx_t *ctx);
static bk_report_session_t *ngx_stream_buildkit_report_take(
    ngx_stream_buildkit_report_t *report);
static ngx_stream_buildkit_report_t *ngx_stream_buildkit_report_get(
    ngx_stream_session_t *s);
static void ngx_stream_buildkit_report_edit(bk_report_session_t *r);
static void ngx_stream_buildkit_report_done(bk_report_session_t *r);
static void ngx_stream_buildkit_report_text(char *dst, size_t size,
    u_char *data, size_t len);
static uint64_t ngx_stream_buildkit_report_now(void);


ngx_stream_buildkit_report_t *
ngx_stream_buildkit_report_create(ngx_conf_t *cf)
{
    ngx_stream_buildkit_report_t  *report;

    report = ngx_pcalloc(cf->pool, sizeof(ngx_stream_buildkit_report_t));
    if (report == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     report->range.base = NULL;
     *     report->nsessions = 0;
     */

    report->header = &report->own_header;
    report->rows = &report->own_row;
    report->sessions = &report->own_session;
    report->nrows = 1;
    report->fd = NGX_INVALID_FILE;

    return report;
}


void
ngx_stream_buildkit_report_open(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    uint64_t                       now;
    ngx_connection_t              *c;
    bk_report_session_t           *r;
    ngx_stream_buildkit_report_t  *report;

    if (ctx->record) {
        return;
    }

    c = s->connection;
    report = ngx_stream_buildkit_report_get(s);
    now = ngx_stream_buildkit_report_now();

    r = ngx_stream_buildkit_report_take(report);

    ctx->record = r;
    ctx->row = &report->rows[0];
    ctx->phase_at = ngx_current_msec;

    ngx_stream_buildkit_report_edit(r);

    r->start_ms = now;
    r->phase_ms = now;
    r->expires_ms = 0;
    r->pool = 0;
    r->phase = BK_PHASE_FREE;
    r->kind = BK_KIND_UNKNOWN;
    r->flags = 0;
    r->reason = 0;

    ngx_memzero(r->allocation, BK_REPORT_ID_LEN);
    ngx_memzero(r->client, BK_REPORT_CLIENT_LEN);
    r->worker[0] = '\0';

    (void) ngx_sock_ntop(c->sockaddr, c->socklen, (u_char *) r->client,
                         BK_REPORT_CLIENT_LEN - 1, 1);

    ngx_stream_buildkit_report_set(r->bytes_up, 0);
    ngx_stream_buildkit_report_set(r->bytes_down, 0);
    ngx_stream_buildkit_report_set(r->last_ms, now);
    ngx_stream_buildkit_report_set(r->hold_ms, 0);

    ngx_stream_buildkit_report_done(r);
}


void
ngx_stream_buildkit_report_route(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    bk_report_session_t           *r;
    ngx_stream_buildkit_report_t  *report;

    r = ctx->record;
    report = ngx_stream_buildkit_report_get(s);

    /* once it was counted it stays where it was */

    if (!ctx->accepted && ctx->pool.len) {
        ctx->row = ngx_stream_buildkit_report_row(report, &ctx->pool);
        ngx_stream_buildkit_report_accept(ctx);
    }

    ngx_stream_buildkit_report_edit(r);

    if (r->expires_ms != ctx->expires_ms) {

        /* renewed, or it has only just been found */

        r->expires_ms = ctx->expires_ms;
        r->flags &= ~BK_SESSION_EXPIRING;
    }

    r->pool = ctx->row - report->rows;

    if (ctx->id_set) {
        ngx_stream_buildkit_report_text(r->allocation, BK_REPORT_ID_LEN,
                                        ctx->id, NGX_STREAM_BUILDKIT_ID_LEN);
    }

    ngx_stream_buildkit_report_text(r->worker, BK_REPORT_NAME_LEN,
                                    ctx->worker.data, ctx->worker.len);

    ngx_stream_buildkit_report_done(r);
}


void
ngx_stream_buildkit_report_phase(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_uint_t phase, ngx_uint_t why)
{
    bk_report_header_t   *h;
    bk_report_session_t  *r;

    if (ctx->phase == phase && ctx->why == why) {
        return;
    }

    r = ctx->record;

    if (r == NULL || ctx->closed) {
        ctx->phase = phase;
        ctx->why = why;
        return;
    }

    ngx_stream_buildkit_report_edit(r);

    if (ctx->phase != phase) {
        h = ngx_stream_buildkit_report_get(s)->header;

        ngx_stream_buildkit_report_leave(h, ctx);
        ngx_stream_buildkit_report_enter(h, ctx, phase, why);

        ctx->phase_at = ngx_current_msec;

        r->phase_ms = ngx_stream_buildkit_report_now();
        ngx_stream_buildkit_report_set(r->hold_ms, ctx->held_ms);
    }

    ctx->phase = phase;
    ctx->why = why;

    r->phase = phase;
    r->reason = why;

    ngx_stream_buildkit_report_done(r);
}


static void
ngx_stream_buildkit_report_leave(bk_report_header_t *h,
    ngx_stream_buildkit_ctx_t *ctx)
{
    if (ctx->phase == BK_PHASE_HELD) {
        ngx_stream_buildkit_report_add(h->held, -1);
        ctx->held_ms = ngx_stream_buildkit_report_held(ctx);

    } else if (ctx->phase == BK_PHASE_LIVE) {
        ngx_stream_buildkit_report_add(h->live, -1);
    }
}


static void
ngx_stream_buildkit_report_enter(bk_report_header_t *h,
    ngx_stream_buildkit_ctx_t *ctx, ngx_uint_t phase, ngx_uint_t why)
{
    switch (phase) {

    case BK_PHASE_HELD:
        ngx_stream_buildkit_report_add(h->held, 1);

        if (!ctx->waited && ctx->accepted) {
            ngx_stream_buildkit_report_add(ctx->row->held, 1);
        }

        ctx->waited = 1;
        break;

    case BK_PHASE_CONNECTING:
        if (ctx->dialled) {
            ngx_stream_buildkit_report_add(ctx->row->retries, 1);
        }

        ctx->dialled = 1;
        break;

    case BK_PHASE_LIVE:
        ngx_stream_buildkit_report_add(h->live, 1);

        /* while it may be tried again, another end is possible: replay.c */

        if (!ctx->replay) {
            ngx_stream_buildkit_report_routed(ctx);
        }

        break;

    case BK_PHASE_REFUSED:
        if (!ctx->ended && why < BK_REFUSED) {
            ngx_stream_buildkit_report_end(ctx);
            ngx_stream_buildkit_report_add(ctx->row->refused[why], 1);
        }

        break;

    case BK_PHASE_CUT:
        ngx_stream_buildkit_report_routed(ctx);

        if (why < BK_CUT) {
            ngx_stream_buildkit_report_add(ctx->row->cut[why], 1);
        }

        break;
    }
}


void
ngx_stream_buildkit_report_routed(ngx_stream_buildkit_ctx_t *ctx)
{
    if (ctx->ended) {
        return;
    }

    ngx_stream_buildkit_report_end(ctx);
    ngx_stream_buildkit_report_add(ctx->row->routed, 1);
}


void
ngx_stream_buildkit_report_kind(ngx_stream_buildkit_ctx_t *ctx,
    ngx_uint_t kind)
{
    if (ctx->kind == kind) {
        return;
    }

    ctx->kind = kind;

    ngx_stream_buildkit_report_edit(ctx->record);
    ctx->record->kind = kind;
    ngx_stream_buildkit_report_done(ctx->record);
}


void
ngx_stream_buildkit_report_expiring(ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_stream_buildkit_report_edit(ctx->record);
    ctx->record->flags |= BK_SESSION_EXPIRING;
    ngx_stream_buildkit_report_done(ctx->record);
}


void
ngx_stream_buildkit_report_close(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    bk_report_session_t           *r;
    ngx_stream_buildkit_report_t  *report;

    report = ngx_stream_buildkit_report_get(s);
    r = ctx->record;

    if (r == NULL || ctx->closed) {
        return;
    }

    ctx->closed = 1;

    ngx_stream_buildkit_report_leave(report->header, ctx);

    /* logs may still ask how long it was held */

    ctx->phase_at = ngx_current_msec;

    if (ctx->phase == BK_PHASE_LIVE) {
        ngx_stream_buildkit_report_routed(ctx);

    } else if (!ctx->ended) {
        ngx_stream_buildkit_report_end(ctx);
        ngx_stream_buildkit_report_add(ctx->row->gone, 1);
    }

    /* who still writes to it does no harm */

    ctx->record = &report->own_session;

    if (r == &report->own_session) {
        return;
    }

    ngx_stream_buildkit_report_edit(r);
    r->phase = BK_PHASE_FREE;
    ngx_stream_buildkit_report_done(r);

    report->free[report->nfree++] = r - report->sessions;
}


ngx_msec_t
ngx_stream_buildkit_report_held(ngx_stream_buildkit_ctx_t *ctx)
{
    return (ctx->phase == BK_PHASE_HELD)
           ? ctx->held_ms + (ngx_current_msec - ctx->phase_at)
           : ctx->held_ms;
}


/* no pool, or too late for one: row 0 */

static void
ngx_stream_buildkit_report_accept(ngx_stream_buildkit_ctx_t *ctx)
{
    if (ctx->accepted) {
        return;
    }

    ctx->accepted = 1;

    ngx_stream_buildkit_report_add(ctx->row->accepted, 1);

    if (ctx->waited) {
        ngx_stream_buildkit_report_add(ctx->row->held, 1);
    }
}


static void
ngx_stream_buildkit_report_end(ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_stream_buildkit_report_accept(ctx);

    ctx->ended = 1;

    if (ctx->waited) {
        ngx_stream_buildkit_report_observe(&ctx->row->hold, ctx->held_ms);
    }
}


static bk_report_session_t *
ngx_stream_buildkit_report_take(ngx_stream_buildkit_report_t *report)
{
    bk_report_session_t  *r;

    if (report->nfree) {
        return &report->sessions[report->free[--report->nfree]];
    }

    if (report->nused < report->nsessions
        && ngx_stream_buildkit_report_room(report) == NGX_OK)
    {
        r = &report->sessions[report->nused++];
        ngx_stream_buildkit_report_set(report->header->nused, report->nused);

        return r;
    }

    ngx_stream_buildkit_report_add(report->header->lost, 1);

    return &report->own_session;
}


static ngx_stream_buildkit_report_t *
ngx_stream_buildkit_report_get(ngx_stream_session_t *s)
{
    ngx_stream_buildkit_srv_conf_t  *bscf;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    return bscf->main->report;
}


/* between these two a reader throws away what it copied */

static void
ngx_stream_buildkit_report_edit(bk_report_session_t *r)
{
    __atomic_store_n(&r->seq, r->seq | 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
}


static void
ngx_stream_buildkit_report_done(bk_report_session_t *r)
{
    __atomic_store_n(&r->seq, (r->seq | 1) + 1, __ATOMIC_RELEASE);
}


static void
ngx_stream_buildkit_report_text(char *dst, size_t size, u_char *data,
    size_t len)
{
    if (len >= size) {
        len = size - 1;
    }

    if (len) {
        ngx_memcpy(dst, data, len);
    }

    dst[len] = '\0';
}


static uint64_t
ngx_stream_buildkit_report_now(void)
{
    ngx_time_t  *tp;

    tp = ngx_timeofday();

    return (uint64_t) tp->sec * 1000 + tp->msec;
}
