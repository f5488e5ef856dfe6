
/*
 * The filter that every byte of a session goes through, in both directions.
 *
 * A server with "buildkit on" whose proxy_pass leads past our balancer: no
 * byte gets by.
 */


#include "ngx_stream_buildkit_module.h"


static ngx_int_t ngx_stream_buildkit_filter(ngx_stream_session_t *s,
    ngx_chain_t *chain, ngx_uint_t from_upstream);


static ngx_stream_filter_pt  ngx_stream_buildkit_next_filter;


ngx_int_t
ngx_stream_buildkit_filter_init(ngx_conf_t *cf)
{
    ngx_stream_buildkit_next_filter = ngx_stream_top_filter;
    ngx_stream_top_filter = ngx_stream_buildkit_filter;

    return NGX_OK;
}


static ngx_int_t
ngx_stream_buildkit_filter(ngx_stream_session_t *s, ngx_chain_t *chain,
    ngx_uint_t from_upstream)
{
    ngx_stream_buildkit_ctx_t       *ctx;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    if (bscf->enable) {
        ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);

        if (ctx == NULL || !ctx->balanced) {
            ngx_log_error(NGX_LOG_ERR, s->connection->log, 0,
                          "buildkit: \"proxy_pass\" of a server with "
                          "\"buildkit on\" leads past the upstream with "
                          "\"buildkit;\": nothing is passed on");
            return NGX_ERROR;
        }
    }

    return ngx_stream_buildkit_next_filter(s, chain, from_upstream);
}
