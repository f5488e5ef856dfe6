
/*
 * Turns a live connection into a refused one (wire.md, frame 3).
 */


#include "ngx_stream_buildkit_module.h"


void
ngx_stream_buildkit_cut(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_uint_t why, const char *fmt, ...)
{
}


void
ngx_stream_buildkit_cut_done(ngx_stream_buildkit_ctx_t *ctx)
{
}
