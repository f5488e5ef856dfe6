
/*
 * Sessions that have their worker, until they end or are cut.
 */


#include "ngx_stream_buildkit_module.h"


ngx_int_t
ngx_stream_buildkit_live_start(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    return NGX_OK;
}


void
ngx_stream_buildkit_live_tick(ngx_stream_buildkit_main_conf_t *bmcf,
    ngx_uint_t changed)
{
}


void
ngx_stream_buildkit_live_done(ngx_stream_buildkit_ctx_t *ctx)
{
}
