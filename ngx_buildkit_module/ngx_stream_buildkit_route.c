
/*
 * From a verified certificate to a worker or a refusal: the preread handler.
 *
 * The order is that of a person's questions: who are you, what do you have,
 * may it be used here, where does it lead.  Each "no" is a text for the
 * client, each "not yet" goes to hold.c, which comes back here when the table
 * has changed.  Nothing here waits: there is one look-up in the table, and
 * what it says at that moment counts.
 */


#include "ngx_stream_buildkit_module.h"


static ngx_int_t ngx_stream_buildkit_route_pool(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
static ngx_int_t ngx_stream_buildkit_route_count(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_int_t decided);
static ngx_int_t ngx_stream_buildkit_route_keep(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_stream_buildkit_route_t *route);
static ngx_int_t ngx_stream_buildkit_route_address(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, bk_table_worker_data_t *w);
static ngx_int_t ngx_stream_buildkit_route_copy(ngx_pool_t *pool,
    ngx_str_t *dst, const char *src, size_t len);


ngx_int_t
ngx_stream_buildkit_preread_handler(ngx_stream_session_t *s)
{
    ngx_int_t                        rc;
    ngx_connection_t                *c;
    ngx_stream_buildkit_ctx_t       *ctx;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);
    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);

    /* SNI may have led to another server than the one that counted it */

    if (ctx) {
        ngx_stream_buildkit_limit_handshake_done(s, ctx);
    }

    if (!bscf->enable) {
        return NGX_DECLINED;
    }

    c = s->connection;

    if (c->ssl == NULL || !c->ssl->handshaked) {
        return NGX_STREAM_FORBIDDEN;
    }

    ctx = ngx_stream_buildkit_get_ctx(s);
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    /* hold.c resumes here, and other handlers of this phase may */

    if (ctx->routed) {
        return NGX_DECLINED;
    }

    if (ctx->reply || ctx->hold) {
        return NGX_DONE;
    }

    c->log->action = "routing to a buildkit worker";

    ctx->started = ngx_current_msec;

    ngx_stream_buildkit_peer_set(s, c);
    ngx_stream_buildkit_report_open(s, ctx);

    /* who refuses has begun to answer already: DONE, or a status */

    rc = ngx_stream_buildkit_verify_peer(s, ctx);

    if (rc == NGX_OK) {
        rc = ngx_stream_buildkit_identity_token(s, ctx);
    }

    if (rc == NGX_OK) {
        rc = ngx_stream_buildkit_route(s, ctx);
    }

    if (rc == NGX_AGAIN) {
        rc = ngx_stream_buildkit_hold(s, ctx);
    }

    if (rc == NGX_OK) {
        return NGX_DECLINED;
    }

    if (rc != NGX_DONE) {
        c->ssl->no_wait_shutdown = 1;       /* as in finalize() */
    }

    return rc;
}


ngx_int_t
ngx_stream_buildkit_log_handler(ngx_stream_session_t *s)
{
    ngx_stream_buildkit_ctx_t       *ctx;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);
    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);

    if (ctx) {
        ngx_stream_buildkit_limit_handshake_done(s, ctx);
    }

    if (!bscf->enable) {
        return NGX_OK;
    }

    ngx_stream_buildkit_report_handshake(s,
                                       ngx_stream_buildkit_report_failure(s));

    if (ctx == NULL) {
        return NGX_OK;
    }

    /* nothing of ours may fire again */

    ngx_stream_buildkit_hold_done(ctx);
    ngx_stream_buildkit_retry_done(ctx);
    ngx_stream_buildkit_live_done(ctx);
    ngx_stream_buildkit_cut_done(ctx);
    ngx_stream_buildkit_reply_done(ctx);

    ngx_stream_buildkit_limit_unhold(s, ctx);
    ngx_stream_buildkit_limit_give(s, ctx);
    ngx_stream_buildkit_peer_check(s, ctx, s->connection, 0);
    ngx_stream_buildkit_report_close(s, ctx);

    return NGX_OK;
}


void
ngx_stream_buildkit_finalize(ngx_stream_session_t *s, ngx_uint_t rc)
{
    s->connection->ssl->no_wait_shutdown = 1;

    ngx_stream_finalize_session(s, rc);
}


ngx_int_t
ngx_stream_buildkit_route(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_int_t                        rc;
    ngx_stream_buildkit_route_t      route;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    ctx->routed = 0;

    rc = ngx_stream_buildkit_zone_find(bscf->main->zone, ctx->key, &route);

    ctx->mark = route.mark;

    if (rc != NGX_OK) {
        ngx_stream_buildkit_report_route(s, ctx);

        if (rc == NGX_DECLINED) {
            ngx_stream_buildkit_lookup_ask(s, ctx);
        }

        return ngx_stream_buildkit_decide_missing(s, ctx, rc);
    }

    rc = ngx_stream_buildkit_route_keep(s, ctx, &route);

    /* refused from here on: it counts for its pool */

    if (rc == NGX_OK) {
        ngx_stream_buildkit_report_route(s, ctx);
    }

    if (rc == NGX_OK) {
        rc = ngx_stream_buildkit_identity_key(s, ctx, &route);
    }

    if (rc == NGX_OK) {
        rc = ngx_stream_buildkit_route_pool(s, ctx);
    }

    if (rc == NGX_OK) {
        rc = ngx_stream_buildkit_names_check(s, ctx, &route);
    }

    if (rc == NGX_OK) {

        /* not there yet: whoever is asked about it sees that it is */

        if (ctx->state == BK_ALLOC_STARTING || ctx->state == BK_ALLOC_QUEUED) {
            ngx_stream_buildkit_lookup_ask(s, ctx);
        }

        rc = ngx_stream_buildkit_decide(s, ctx, &route);
    }

    /* held ones count as well */

    if (rc == NGX_OK || rc == NGX_AGAIN) {
        rc = ngx_stream_buildkit_route_count(s, ctx, rc);
    }

    if (rc == NGX_OK) {
        rc = ngx_stream_buildkit_route_address(s, ctx, &route.worker);
    }

    if (rc == NGX_OK) {
        ctx->routed = 1;
    }

    return rc;
}


ngx_stream_buildkit_ctx_t *
ngx_stream_buildkit_get_ctx(ngx_stream_session_t *s)
{
    ngx_stream_buildkit_ctx_t  *ctx;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);

    if (ctx == NULL) {
        ctx = ngx_pcalloc(s->connection->pool,
                          sizeof(ngx_stream_buildkit_ctx_t));
        if (ctx == NULL) {
            return NULL;
        }

        ctx->session = s;
        ctx->worker_ref.index = BK_TABLE_NONE;
        ctx->mark.index = BK_TABLE_NONE;

        ngx_stream_set_ctx(s, ctx, ngx_stream_buildkit_module);
    }

    return ctx;
}


/* names for texts, logs and variables: the table is not looked at again */

static ngx_int_t
ngx_stream_buildkit_route_keep(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_stream_buildkit_route_t *route)
{
    ngx_pool_t              *pool;
    bk_table_alloc_t        *alloc;
    bk_table_worker_data_t  *w;

    pool = s->connection->pool;
    alloc = &route->found.alloc;
    w = &route->worker;

    ctx->state = alloc->state;
    ctx->expires_ms = alloc->expires_ms;
    ctx->worker_ref = alloc->worker;

    if (ngx_stream_buildkit_route_copy(pool, &ctx->pool, route->pool.name,
                                       route->pool.name_len)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (route->worker_rc != BK_TABLE_OK) {
        return NGX_OK;
    }

    if (ngx_stream_buildkit_route_copy(pool, &ctx->worker, w->name,
                                       w->name_len)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_stream_buildkit_route_copy(pool, &ctx->tls_name, w->tls_name,
                                          w->tls_name_len);
}


static ngx_int_t
ngx_stream_buildkit_route_pool(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_str_t                        name;
    ngx_uint_t                       i;
    ngx_stream_complex_value_t      *cv;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    if (bscf->pools == NULL) {
        return NGX_OK;
    }

    cv = bscf->pools->elts;

    for (i = 0; i < bscf->pools->nelts; i++) {

        if (ngx_stream_complex_value(s, &cv[i], &name) != NGX_OK) {
            return NGX_ERROR;
        }

        if (name.len && name.len == ctx->pool.len
            && ngx_memcmp(name.data, ctx->pool.data, name.len) == 0)
        {
            return NGX_OK;
        }
    }

    return ngx_stream_buildkit_refuse(s, ctx,
               BK_REFUSED_POOL,
               "allocation %*s is of pool %V, which is not served at this "
               "address; connect to the address that bkctl allocate printed",
               (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id, &ctx->pool);
}


static ngx_int_t
ngx_stream_buildkit_route_count(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_int_t decided)
{
    ngx_int_t                        rc;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    rc = ngx_stream_buildkit_limit_take(s, ctx);

    if (rc == NGX_OK) {
        return decided;
    }

    if (rc == NGX_DECLINED) {
        return ngx_stream_buildkit_refuse(s, ctx, BK_REFUSED_CONNECTIONS,
                   "gateway has connections of too many allocations to count "
                   "those of allocation %*s; try again later",
                   (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id);
    }

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    return ngx_stream_buildkit_refuse(s, ctx, BK_REFUSED_CONNECTIONS,
               "allocation %*s has its %i connections already; wait for one "
               "of its builds to end, or run bkctl allocate for another one",
               (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id,
               bscf->max_connections);
}


static ngx_int_t
ngx_stream_buildkit_route_address(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, bk_table_worker_data_t *w)
{
    u_char               *p;
    struct sockaddr_in   *sin;
    struct sockaddr_in6  *sin6;

    switch (w->family) {

#if (NGX_HAVE_INET6)
    case BK_TABLE_INET6:
        sin6 = &ctx->sockaddr.sockaddr_in6;
        sin6->sin6_family = AF_INET6;
        sin6->sin6_port = htons(w->port);
        ngx_memcpy(&sin6->sin6_addr, w->addr, 16);
        ctx->socklen = sizeof(struct sockaddr_in6);
        break;
#endif

    default: /* BK_TABLE_INET */
        sin = &ctx->sockaddr.sockaddr_in;
        sin->sin_family = AF_INET;
        sin->sin_port = htons(w->port);
        ngx_memcpy(&sin->sin_addr, w->addr, 4);
        ctx->socklen = sizeof(struct sockaddr_in);
    }

    p = ctx->addr.data;

    if (p == NULL) {
        p = ngx_pnalloc(s->connection->pool, NGX_SOCKADDR_STRLEN);
        if (p == NULL) {
            return NGX_ERROR;
        }

        ctx->addr.data = p;
    }

    ctx->addr.len = ngx_sock_ntop(&ctx->sockaddr.sockaddr, ctx->socklen, p,
                                  NGX_SOCKADDR_STRLEN, 1);

    return NGX_OK;
}


/* one that is held is looked up again and again: mostly it is there already */

static ngx_int_t
ngx_stream_buildkit_route_copy(ngx_pool_t *pool, ngx_str_t *dst,
    const char *src, size_t len)
{
    if (dst->len == len && (len == 0 || ngx_memcmp(dst->data, src, len) == 0))
    {
        return NGX_OK;
    }

    dst->len = 0;

    if (len == 0) {
        return NGX_OK;
    }

    dst->data = ngx_pnalloc(pool, len);
    if (dst->data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(dst->data, src, len);
    dst->len = len;

    return NGX_OK;
}
