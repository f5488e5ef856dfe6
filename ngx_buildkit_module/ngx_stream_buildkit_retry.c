
/*
 * A worker that does not answer.
 */


#include "ngx_stream_buildkit_module.h"


ngx_int_t
ngx_stream_buildkit_retry_passed(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_chain_t *chain)
{
    return NGX_OK;
}


void
ngx_stream_buildkit_retry_answered(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ctx->replay = 0;
}


ngx_int_t
ngx_stream_buildkit_retry_closed(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    return NGX_DECLINED;
}
