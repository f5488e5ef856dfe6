
/*
 * Connections that wait for their worker.
 */


#include "ngx_stream_buildkit_module.h"


ngx_int_t
ngx_stream_buildkit_hold(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ctx->late = 1;

    return ngx_stream_buildkit_route(s, ctx);
}


void
ngx_stream_buildkit_hold_tick(ngx_stream_buildkit_main_conf_t *bmcf,
    ngx_uint_t changed)
{
}


void
ngx_stream_buildkit_hold_done(ngx_stream_buildkit_ctx_t *ctx)
{
}
