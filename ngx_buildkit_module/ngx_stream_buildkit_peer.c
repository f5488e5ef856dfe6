
/*
 * Peers that are gone without a word: keepalive and TCP_USER_TIMEOUT.
 */


#include "ngx_stream_buildkit_module.h"


void
ngx_stream_buildkit_peer_set(ngx_stream_session_t *s, ngx_connection_t *c)
{
}


void
ngx_stream_buildkit_peer_check(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_connection_t *c, ngx_uint_t worker)
{
}
