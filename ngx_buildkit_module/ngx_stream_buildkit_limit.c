
/*
 * Limits: connections of one allocation, over all worker processes; held
 * connections of one address, in this process; and who was cut just now.
 *
 * Who asks is told yes or no; the words of a refusal are the caller's.
 */


#include "ngx_stream_buildkit_module.h"


ngx_int_t
ngx_stream_buildkit_limit_init(ngx_conf_t *cf)
{
    ngx_stream_buildkit_main_conf_t  *bmcf;

    bmcf = ngx_stream_conf_get_module_main_conf(cf,
                                                ngx_stream_buildkit_module);

    if (bmcf->zone == NULL) {
        return NGX_OK;
    }

    bmcf->limit = ngx_stream_buildkit_shared_create(cf);
    if (bmcf->limit == NULL) {
        return NGX_ERROR;
    }

    bmcf->addresses = ngx_stream_buildkit_addresses_create(cf);
    if (bmcf->addresses == NULL) {
        return NGX_ERROR;
    }

    return ngx_stream_buildkit_handshake_init(cf);
}


void
ngx_stream_buildkit_limit_start(ngx_stream_buildkit_limit_t *limit,
    ngx_log_t *log)
{
    ngx_stream_buildkit_shared_start(limit);
}


ngx_int_t
ngx_stream_buildkit_limit_take(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_int_t                        rc;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    if (bscf->max_connections == 0 || ctx->counted) {
        return NGX_OK;
    }

    rc = ngx_stream_buildkit_shared_take(bscf->main->limit, ctx->key,
                                         bscf->max_connections,
                                         s->connection->log);
    if (rc == NGX_OK) {
        ctx->counted = 1;
    }

    return rc;
}


void
ngx_stream_buildkit_limit_give(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_stream_buildkit_main_conf_t  *bmcf;

    if (!ctx->counted) {
        return;
    }

    bmcf = ngx_stream_get_module_main_conf(s, ngx_stream_buildkit_module);

    ngx_stream_buildkit_shared_give(bmcf->limit, ctx->key);

    ctx->counted = 0;
}


ngx_int_t
ngx_stream_buildkit_limit_hold(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_stream_buildkit_srv_conf_t  *bscf;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    if (bscf->max_held == 0 || ctx->holding) {
        return NGX_OK;
    }

    if (ngx_stream_buildkit_address_get(s, ctx) != NGX_OK) {
        return NGX_BUSY;
    }

    if (ctx->address->held >= (ngx_uint_t) bscf->max_held) {
        ngx_stream_buildkit_address_release(s, ctx);
        return NGX_BUSY;
    }

    ctx->address->held++;
    ctx->holding = 1;

    return NGX_OK;
}


void
ngx_stream_buildkit_limit_unhold(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    if (!ctx->holding) {
        return;
    }

    ctx->address->held--;
    ctx->holding = 0;

    ngx_stream_buildkit_address_release(s, ctx);
}


void
ngx_stream_buildkit_limit_handshake_done(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    if (ctx->shaking || ctx->queuing) {
        ngx_stream_buildkit_handshake_done(s, ctx);
    }
}


void
ngx_stream_buildkit_limit_cut(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_stream_buildkit_mark_t        mark;
    ngx_stream_buildkit_main_conf_t  *bmcf;

    mark = ctx->mark;

    switch (ctx->why) {

    case BK_CUT_GONE:
        mark.index = BK_TABLE_NONE;
        break;

    case BK_CUT_WORKER:
    case BK_CUT_SILENCE:
        break;

    default:
        /* the table knows it as well, or a new connection is welcome */
        return;
    }

    bmcf = ngx_stream_get_module_main_conf(s, ngx_stream_buildkit_module);

    ngx_stream_buildkit_shared_cut(bmcf->limit, ctx->key, &mark, ctx->why);
}


ngx_uint_t
ngx_stream_buildkit_limit_was_cut(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_stream_buildkit_main_conf_t  *bmcf;

    bmcf = ngx_stream_get_module_main_conf(s, ngx_stream_buildkit_module);

    return ngx_stream_buildkit_shared_was_cut(bmcf->limit, ctx->key,
                                              &ctx->mark,
                                              ctx->mark.index != BK_TABLE_NONE
                                              && ctx->state == BK_ALLOC_READY);
}
