
/*
 * What the state of an allocation and of its worker means for a client that
 * wants in now: go on, wait, or a text that says why not and what to do next.
 *
 * Called for each look-up, with what the table said a moment ago; of one that
 * is held again and again.  The words of a wait are made only when they are
 * wanted: when it is over, or for a client that only has a look.
 */


#include "ngx_stream_buildkit_module.h"

#include "bk_lookup.h"


/* for a client that waited no longer than this it is not worth mentioning */
#define NGX_STREAM_BUILDKIT_DECIDE_WAITED  1000


static ngx_int_t ngx_stream_buildkit_decide_wait(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_uint_t why, const char *next,
    const char *fmt, ...);
static u_char *ngx_stream_buildkit_decide_waited(u_char *buf, u_char *last,
    ngx_stream_buildkit_ctx_t *ctx);
static ngx_int_t ngx_stream_buildkit_decide_lookup(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, const char *what);
static ngx_int_t ngx_stream_buildkit_decide_cut(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
static ngx_int_t ngx_stream_buildkit_decide_ended(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_stream_buildkit_route_t *route,
    ngx_uint_t state);
static ngx_int_t ngx_stream_buildkit_decide_worker(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_stream_buildkit_route_t *route);


static ngx_str_t  ngx_stream_buildkit_states[] = {
    ngx_string("unknown"),
    ngx_string("queued"),
    ngx_string("starting"),
    ngx_string("ready"),
    ngx_string("draining"),
    ngx_string("expired"),
    ngx_string("released"),
    ngx_string("revoked"),
    ngx_string("failed")
};

static const char  *ngx_stream_buildkit_worker_states[] = {
    "is gone",
    "is stopped",
    "is starting",
    "is ready",
    "is draining",
    "has failed"
};

/* by BK_CUT_* */

static const char  *ngx_stream_buildkit_cuts[BK_CUT] = {
    "",
    "it expired",
    "it was released",
    "it was revoked",
    "its worker was lost",
    "its worker closed the connection",
    "its worker stopped answering",
    "gateway is shutting down",
    "it is not known here any more",
    "it has another worker now",
    "the client asked for nothing"
};


ngx_int_t
ngx_stream_buildkit_decide(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_stream_buildkit_route_t *route)
{
    uint64_t           now;
    ngx_int_t          rc;
    ngx_time_t        *tp;
    const char        *said;
    bk_table_alloc_t  *alloc;

    alloc = &route->found.alloc;
    said = (route->worker_rc == BK_TABLE_OK) ? route->worker.message : "";

    tp = ngx_timeofday();
    now = (uint64_t) tp->sec * 1000 + tp->msec;

    /* nobody need have told the table yet */

    if (!bk_alloc_ended(alloc->state)
        && alloc->expires_ms && alloc->expires_ms <= now)
    {
        ctx->state = BK_ALLOC_EXPIRED;
        alloc->changed_ms = alloc->expires_ms;
        route->text[0] = '\0';

        return ngx_stream_buildkit_decide_ended(s, ctx, route,
                                                BK_ALLOC_EXPIRED);
    }

    switch (alloc->state) {

    case BK_ALLOC_QUEUED:
    case BK_ALLOC_STARTING:
    case BK_ALLOC_READY:
        rc = ngx_stream_buildkit_decide_cut(s, ctx);

        if (rc == NGX_OK && ctx->ask && alloc->state == BK_ALLOC_STARTING) {
            rc = ngx_stream_buildkit_decide_lookup(s, ctx,
                                                   "may have no worker any "
                                                   "more");
        }

        if (rc != NGX_OK) {
            return rc;
        }

        break;

    default:
        break;
    }

    switch (alloc->state) {

    case BK_ALLOC_READY:
        return ngx_stream_buildkit_decide_worker(s, ctx, route);

    case BK_ALLOC_QUEUED:
        return ngx_stream_buildkit_decide_wait(s, ctx, BK_REFUSED_QUEUED,
                   "try again later",
                   "allocation %*s waits for a free worker of pool %V%s%s",
                   (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id, &ctx->pool,
                   route->text[0] ? ": " : "", route->text);

    case BK_ALLOC_STARTING:
        return ngx_stream_buildkit_decide_wait(s, ctx, BK_REFUSED_STARTING,
                   "try again in a few seconds",
                   "the worker of allocation %*s is starting%s%s",
                   (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id,
                   said[0] ? ": " : "", said);

    case BK_ALLOC_DRAINING:
        return ngx_stream_buildkit_refuse(s, ctx,
                   BK_REFUSED_DRAINING,
                   "allocation %*s is draining: running builds may finish, "
                   "new connections are refused%s%s; run bkctl allocate",
                   (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id,
                   route->text[0] ? ": " : "", route->text);

    default:
        return ngx_stream_buildkit_decide_ended(s, ctx, route, alloc->state);
    }
}


static ngx_int_t
ngx_stream_buildkit_decide_ended(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_stream_buildkit_route_t *route,
    ngx_uint_t state)
{
    u_char      text[NGX_STREAM_BUILDKIT_TEXT_MAX], *last;
    ngx_uint_t  why;

    switch (state) {

    case BK_ALLOC_EXPIRED:
        why = BK_REFUSED_EXPIRED;
        break;

    case BK_ALLOC_RELEASED:
        why = BK_REFUSED_RELEASED;
        break;

    case BK_ALLOC_REVOKED:
        why = BK_REFUSED_REVOKED;
        break;

    default: /* BK_ALLOC_FAILED */
        why = BK_REFUSED_FAILED;
    }

    last = ngx_stream_buildkit_decide_text(text, text + sizeof(text), ctx,
                                           route, state);

    return ngx_stream_buildkit_refuse(s, ctx, why, "%*s", last - text, text);
}


u_char *
ngx_stream_buildkit_decide_text(u_char *buf, u_char *last,
    ngx_stream_buildkit_ctx_t *ctx, ngx_stream_buildkit_route_t *route,
    ngx_uint_t state)
{
    u_char       when[64], *end;
    const char  *verb;

    switch (state) {

    case BK_ALLOC_EXPIRED:
        verb = "expired";
        break;

    case BK_ALLOC_RELEASED:
        verb = "was released";
        break;

    case BK_ALLOC_REVOKED:
        verb = "was revoked";
        break;

    default: /* BK_ALLOC_FAILED */
        verb = "failed";
    }

    end = ngx_stream_buildkit_when(when, when + sizeof(when),
                                   route->found.alloc.changed_ms / 1000);

    return ngx_slprintf(buf, last,
                        "allocation %*s %s at %*s%s%s; run bkctl allocate",
                        (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id, verb,
                        end - when, when,
                        route->text[0] ? ": " : "", route->text);
}


static ngx_int_t
ngx_stream_buildkit_decide_worker(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_stream_buildkit_route_t *route)
{
    bk_table_worker_data_t  *w;

    w = &route->worker;

    if (route->worker_rc != BK_TABLE_OK) {
        return ngx_stream_buildkit_refuse(s, ctx,
                   BK_REFUSED_WORKER,
                   "the worker of allocation %*s is gone; run bkctl allocate",
                   (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id);
    }

    switch (w->state) {

    case BK_WORKER_READY:
    case BK_WORKER_DRAINING:
        return NGX_OK;

    case BK_WORKER_FAILED:
        return ngx_stream_buildkit_refuse(s, ctx,
                   BK_REFUSED_WORKER,
                   "worker %V of allocation %*s %s%s%s; try again, or run "
                   "bkctl allocate for another one",
                   &ctx->worker,
                   (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id,
                   ngx_stream_buildkit_worker_states[w->state],
                   w->message_len ? ": " : "", w->message);

    default:

        /* it was ready once, for it has an allocation that is */

        return ngx_stream_buildkit_decide_wait(s, ctx, BK_REFUSED_WORKER,
                   "try again, or run bkctl allocate for another one",
                   "worker %V of allocation %*s %s%s%s",
                   &ctx->worker,
                   (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id,
                   ngx_stream_buildkit_worker_states[w->state],
                   w->message_len ? ": " : "", w->message);
    }
}


/* there is no entry: rc is what zone_find() returned */

ngx_int_t
ngx_stream_buildkit_decide_missing(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_int_t missing)
{
    ngx_int_t  rc;

    rc = ngx_stream_buildkit_decide_cut(s, ctx);

    if (rc != NGX_OK) {
        return rc;
    }

    if (missing == NGX_DECLINED && ctx->ask) {
        rc = ngx_stream_buildkit_decide_lookup(s, ctx, "is not known here");

        if (rc != NGX_OK) {
            return rc;
        }
    }

    switch (missing) {

    case NGX_DECLINED:
        return ngx_stream_buildkit_decide_wait(s, ctx, BK_REFUSED_UNKNOWN,
                   "it ended long ago, or is of another gateway: run bkctl "
                   "allocate",
                   "allocation %*s is not known here",
                   (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id);

    case NGX_BUSY:
        return ngx_stream_buildkit_decide_wait(s, ctx, BK_REFUSED_TABLE,
                   "try again",
                   "allocation %*s is changing too fast to be read",
                   (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id);

    default: /* NGX_ERROR */
        return ngx_stream_buildkit_decide_wait(s, ctx, BK_REFUSED_TABLE,
                   "try again in a few seconds",
                   "gateway is starting: it has no route table yet "
                   "(allocation %*s)",
                   (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id);
    }
}


/*
 * The controller knows more than the table.  NGX_OK: not any more: it was
 * asked, and the table has what it said.
 */

static ngx_int_t
ngx_stream_buildkit_decide_lookup(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, const char *what)
{
    switch (ctx->verdict) {

    case BK_LOOKUP_KNOWN:
        return NGX_OK;

    case BK_LOOKUP_UNKNOWN:
        return ngx_stream_buildkit_refuse(s, ctx, BK_REFUSED_UNKNOWN,
                   "allocation %*s is not known to the controller: it ended, "
                   "or is of another one; run bkctl allocate",
                   (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id);

    case BK_LOOKUP_POOL:
        return ngx_stream_buildkit_refuse(s, ctx, BK_REFUSED_POOL,
                   "allocation %*s is of pool %V, which is not served at this "
                   "address; connect to the address that bkctl allocate "
                   "printed",
                   (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id, &ctx->said);

    case BK_LOOKUP_TROUBLE:
        return ngx_stream_buildkit_decide_wait(s, ctx, BK_REFUSED_LOOKUP,
                   "try again",
                   "allocation %*s %s, and the controller cannot be asked: %V",
                   (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id, what,
                   &ctx->said);

    default:

        if (ctx->looking) {

            /* it is worth waiting for the answer */

            ctx->waits = BK_REFUSED_LOOKUP;
            ctx->peeking = 1;
            return NGX_AGAIN;
        }

        return ngx_stream_buildkit_decide_wait(s, ctx, BK_REFUSED_LOOKUP,
                   "try again",
                   "allocation %*s %s, and nobody has answered who would know",
                   (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id, what);
    }
}


/* the table sees no reason why not, but nobody answers at its address */

ngx_int_t
ngx_stream_buildkit_decide_trouble(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    return ngx_stream_buildkit_decide_wait(s, ctx, BK_REFUSED_WORKER,
               "try again, or run bkctl allocate for another one",
               "worker %V (%V) of allocation %*s cannot be reached: %V",
               &ctx->worker, &ctx->addr,
               (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id, &ctx->trouble);
}


ngx_int_t
ngx_stream_buildkit_decide_names(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    return ngx_stream_buildkit_decide_wait(s, ctx, BK_REFUSED_TABLE,
               "try again in a few seconds",
               "gateway is starting: it does not know yet which names there "
               "are (allocation %*s)",
               (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id);
}


/* next: what to do when it was in vain */

static ngx_int_t
ngx_stream_buildkit_decide_wait(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_uint_t why, const char *next,
    const char *fmt, ...)
{
    u_char   text[NGX_STREAM_BUILDKIT_TEXT_MAX], waited[64], *last, *end;
    va_list  args;

    ctx->waits = why;

    if (!ctx->looking && ngx_stream_buildkit_hold_may(s, ctx, why)) {
        return NGX_AGAIN;
    }

    va_start(args, fmt);
    last = ngx_vslprintf(text, text + sizeof(text), fmt, args);
    va_end(args);

    if (ctx->looking) {
        ngx_stream_buildkit_hold_look(s, ctx, "%*s; this was only a look",
                                      last - text, text);
        return NGX_AGAIN;
    }

    end = ngx_stream_buildkit_decide_waited(waited, waited + sizeof(waited),
                                            ctx);

    return ngx_stream_buildkit_refuse(s, ctx, why, "%*s%*s; %s",
                                      last - text, text,
                                      end - waited, waited, next);
}


static u_char *
ngx_stream_buildkit_decide_waited(u_char *buf, u_char *last,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_msec_t  ms;

    ms = ngx_current_msec - ctx->started;

    if (ctx->hold == NULL || ms < NGX_STREAM_BUILDKIT_DECIDE_WAITED) {
        return buf;
    }

    if (ms < 120 * 1000) {
        return ngx_slprintf(buf, last, " (waited %Ms)", ms / 1000);
    }

    return ngx_slprintf(buf, last, " (waited %Mm)", ms / 60000);
}


/* a client's last words after a cut must not be held (wire.md, frame 3) */

static ngx_int_t
ngx_stream_buildkit_decide_cut(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_uint_t  why;

    why = ngx_stream_buildkit_limit_was_cut(s, ctx);

    if (why == BK_CUT_NONE || why >= BK_CUT) {
        return NGX_OK;
    }

    return ngx_stream_buildkit_refuse(s, ctx, BK_REFUSED_CUT,
               "connections of allocation %*s were cut a moment ago: %s; "
               "try again in half a minute, or run bkctl allocate for another one",
               (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id,
               ngx_stream_buildkit_cuts[why]);
}


ngx_str_t *
ngx_stream_buildkit_state_name(ngx_uint_t state)
{
    return &ngx_stream_buildkit_states[state < BK_ALLOC_STATES ? state : 0];
}
