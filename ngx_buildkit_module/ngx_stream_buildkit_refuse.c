
/*
 * What a refused client is told, and the line in the log that goes with it.
 *
 * Texts go to a terminal through gRPC: below 1000 bytes, no control bytes,
 * valid UTF-8, "%" escaped.  They may quote the table (reasons, names), so
 * all of that is done here and nowhere else.  Never a token: its id.
 */


#include "ngx_stream_buildkit_module.h"


#define NGX_STREAM_BUILDKIT_PREFIX  "buildkit gateway: "

/* seconds: what happens in a round of the event loop is after ngx_time() */
#define NGX_STREAM_BUILDKIT_ROUND   30


static size_t ngx_stream_buildkit_clean(u_char *dst, size_t size, u_char *src,
    size_t len, ngx_uint_t percent);


/* by BK_REFUSED_*: what a gRPC client is told (wire.md, frame 2) */

static const u_char  ngx_stream_buildkit_codes[BK_REFUSED] = {
    0,
    NGX_STREAM_BUILDKIT_UNAUTHENTICATED,        /* certificate */
    NGX_STREAM_BUILDKIT_UNAUTHENTICATED,        /* no_token */
    NGX_STREAM_BUILDKIT_UNAUTHENTICATED,        /* unknown */
    NGX_STREAM_BUILDKIT_UNAUTHENTICATED,        /* key */
    NGX_STREAM_BUILDKIT_PERMISSION_DENIED,      /* pool */
    NGX_STREAM_BUILDKIT_UNAUTHENTICATED,        /* expired */
    NGX_STREAM_BUILDKIT_UNAUTHENTICATED,        /* released */
    NGX_STREAM_BUILDKIT_UNAUTHENTICATED,        /* revoked */
    NGX_STREAM_BUILDKIT_FAILED_PRECONDITION,    /* failed */
    NGX_STREAM_BUILDKIT_FAILED_PRECONDITION,    /* draining */
    NGX_STREAM_BUILDKIT_RESOURCE_EXHAUSTED,     /* queued */
    NGX_STREAM_BUILDKIT_FAILED_PRECONDITION,    /* starting */
    NGX_STREAM_BUILDKIT_FAILED_PRECONDITION,    /* worker */
    NGX_STREAM_BUILDKIT_FAILED_PRECONDITION,    /* table */
    NGX_STREAM_BUILDKIT_RESOURCE_EXHAUSTED,     /* connections */
    NGX_STREAM_BUILDKIT_RESOURCE_EXHAUSTED,     /* held */
    NGX_STREAM_BUILDKIT_FAILED_PRECONDITION,    /* shutdown */
    NGX_STREAM_BUILDKIT_FAILED_PRECONDITION,    /* cut */
    NGX_STREAM_BUILDKIT_FAILED_PRECONDITION,    /* timeout */
    NGX_STREAM_BUILDKIT_FAILED_PRECONDITION     /* lookup */
};


ngx_int_t
ngx_stream_buildkit_refuse(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_uint_t why, const char *fmt, ...)
{
    va_list            args;
    ngx_int_t          rc;
    ngx_str_t          message;
    ngx_uint_t         code, status;
    ngx_connection_t  *c;

    c = s->connection;

    va_start(args, fmt);
    rc = ngx_stream_buildkit_refuse_text(s, ctx, &message, fmt, args);
    va_end(args);

    if (rc != NGX_OK) {
        return rc;
    }

    c->log->action = "refusing the client";

    code = ngx_stream_buildkit_codes[why];

    ngx_log_error(NGX_LOG_INFO, c->log, 0,
                  "buildkit: refused: code %ui, allocation %*s: %V",
                  code,
                  ctx->id_set ? (size_t) NGX_STREAM_BUILDKIT_ID_LEN : 1,
                  ctx->id_set ? (char *) ctx->id : "-",
                  &ctx->reason);

    ngx_stream_buildkit_report_phase(s, ctx, BK_PHASE_REFUSED, why);
    ngx_stream_buildkit_limit_give(s, ctx);

    status = (code == NGX_STREAM_BUILDKIT_RESOURCE_EXHAUSTED
              || code == NGX_STREAM_BUILDKIT_FAILED_PRECONDITION)
             ? NGX_STREAM_SERVICE_UNAVAILABLE : NGX_STREAM_FORBIDDEN;

    rc = ngx_stream_buildkit_reply(s, ctx, code, status, &message);

    return (rc == NGX_DECLINED) ? (ngx_int_t) status : rc;
}


ngx_int_t
ngx_stream_buildkit_refuse_text(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_str_t *message, const char *fmt,
    va_list args)
{
    size_t   prefix;
    u_char   buf[NGX_STREAM_BUILDKIT_TEXT_MAX], *last, *p;

    prefix = sizeof(NGX_STREAM_BUILDKIT_PREFIX) - 1;
    last = ngx_cpymem(buf, NGX_STREAM_BUILDKIT_PREFIX, prefix);
    last = ngx_vslprintf(last, buf + sizeof(buf) - 1, fmt, args);

    p = ngx_pnalloc(s->connection->pool, 2 * NGX_STREAM_BUILDKIT_TEXT_MAX);
    if (p == NULL) {
        return NGX_ERROR;
    }

    /* for logs as it is read, for gRPC with "%" escaped */

    ctx->reason.data = p;
    ctx->reason.len = ngx_stream_buildkit_clean(p,
                                                NGX_STREAM_BUILDKIT_TEXT_MAX,
                                                buf + prefix,
                                                last - buf - prefix, 0);

    p += NGX_STREAM_BUILDKIT_TEXT_MAX;

    message->data = p;
    message->len = ngx_stream_buildkit_clean(p,
                                             NGX_STREAM_BUILDKIT_TEXT_MAX - 1,
                                             buf, last - buf, 1);

    return NGX_OK;
}


/*
 * Makes text fit for a terminal: control characters (C0, DEL and the C1 ones
 * that UTF-8 can spell) become spaces, what is not UTF-8 becomes "?"; and
 * for grpc-message: "%" becomes "%25".  Stops at the last whole character
 * that fits in size.
 */

static size_t
ngx_stream_buildkit_clean(u_char *dst, size_t size, u_char *src, size_t len,
    ngx_uint_t percent)
{
    size_t     n;
    u_char    *p, *d, *end, *next;
    uint32_t   ch;

    p = src;
    d = dst;
    end = src + len;

    while (p < end) {
        n = size - (d - dst);

        if (*p < 0x80) {

            if (*p == '%' && percent) {
                if (n < 3) {
                    break;
                }

                d = ngx_cpymem(d, "%25", 3);

            } else {
                if (n < 1) {
                    break;
                }

                *d++ = (*p < 0x20 || *p == 0x7f) ? ' ' : *p;
            }

            p++;
            continue;
        }

        next = p;
        ch = ngx_utf8_decode(&next, end - p);

        if (ch > 0x10ffff || (ch >= 0xd800 && ch <= 0xdfff)) {
            if (n < 1) {
                break;
            }

            *d++ = '?';
            p++;
            continue;
        }

        if (ch < 0xa0) {
            if (n < 1) {
                break;
            }

            *d++ = ' ';

        } else {
            if (n < (size_t) (next - p)) {
                break;
            }

            d = ngx_cpymem(d, p, next - p);
        }

        p = next;
    }

    return d - dst;
}


/* ISO 8601 in UTC, NGX_STREAM_BUILDKIT_TIME_LEN bytes, no terminating zero */

u_char *
ngx_stream_buildkit_time(u_char *buf, time_t sec)
{
    ngx_tm_t  tm;

    ngx_gmtime(sec, &tm);

    return ngx_sprintf(buf, "%04d-%02d-%02dT%02d:%02d:%02dZ",
                       tm.ngx_tm_year, tm.ngx_tm_mon, tm.ngx_tm_mday,
                       tm.ngx_tm_hour, tm.ngx_tm_min, tm.ngx_tm_sec);
}


/* the same and how long ago that was: "2026-01-02T03:04:05Z (3m ago)" */

u_char *
ngx_stream_buildkit_when(u_char *buf, u_char *last, time_t sec)
{
    time_t   ago;
    u_char  *p;

    if (last - buf < (ssize_t) NGX_STREAM_BUILDKIT_TIME_LEN) {
        return buf;
    }

    p = ngx_stream_buildkit_time(buf, sec);
    ago = ngx_time() - sec;

    if (ago < -NGX_STREAM_BUILDKIT_ROUND) {
        return p;
    }

    ago = ngx_max(ago, 0);

    if (ago < 120) {
        return ngx_slprintf(p, last, " (%Ts ago)", ago);
    }

    if (ago < 120 * 60) {
        return ngx_slprintf(p, last, " (%Tm ago)", ago / 60);
    }

    if (ago < 48 * 3600) {
        return ngx_slprintf(p, last, " (%Th ago)", ago / 3600);
    }

    return ngx_slprintf(p, last, " (%Td ago)", ago / 86400);
}
