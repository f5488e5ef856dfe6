
/*
 * Limits: connections of one allocation, over all worker processes; held
 * connections and handshakes of one address, in this process.
 */


#include "ngx_stream_buildkit_module.h"


ngx_int_t
ngx_stream_buildkit_limit_init(ngx_conf_t *cf)
{
    return NGX_OK;
}


void
ngx_stream_buildkit_limit_start(ngx_stream_buildkit_limit_t *limit,
    ngx_log_t *log)
{
}


ngx_int_t
ngx_stream_buildkit_limit_take(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    return NGX_OK;
}


void
ngx_stream_buildkit_limit_give(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
}


ngx_int_t
ngx_stream_buildkit_limit_hold(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    return NGX_OK;
}


void
ngx_stream_buildkit_limit_unhold(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
}


void
ngx_stream_buildkit_limit_handshake_done(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
}


void
ngx_stream_buildkit_limit_cut(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
}


ngx_uint_t
ngx_stream_buildkit_limit_was_cut(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    return BK_CUT_NONE;
}
