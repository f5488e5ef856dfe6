
/*
 * Takes a session away from the stock proxy.
 */


#include "ngx_stream_buildkit_module.h"


ngx_int_t
ngx_stream_buildkit_takeover(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    return NGX_ERROR;
}
