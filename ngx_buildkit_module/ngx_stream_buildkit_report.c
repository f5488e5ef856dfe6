
/*
 * What this process counts and whom it serves, for plugin-host to read.
 */


#include "ngx_stream_buildkit_module.h"


struct ngx_stream_buildkit_report_s {
    /* where those write that have no record or no row of their own */
    bk_report_session_t         session;
    bk_report_pool_t            row;
};


ngx_stream_buildkit_report_t *
ngx_stream_buildkit_report_create(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_stream_buildkit_report_t));
}


void
ngx_stream_buildkit_report_start(ngx_stream_buildkit_main_conf_t *bmcf,
    ngx_cycle_t *cycle)
{
}


void
ngx_stream_buildkit_report_tick(ngx_stream_buildkit_main_conf_t *bmcf)
{
}


void
ngx_stream_buildkit_report_open(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_stream_buildkit_srv_conf_t  *bscf;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    ctx->record = &bscf->main->report->session;
    ctx->row = &bscf->main->report->row;
}


void
ngx_stream_buildkit_report_route(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
}


void
ngx_stream_buildkit_report_phase(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_uint_t phase, ngx_uint_t why)
{
    ctx->phase = phase;
    ctx->why = why;
}


void
ngx_stream_buildkit_report_kind(ngx_stream_buildkit_ctx_t *ctx,
    ngx_uint_t kind)
{
}


void
ngx_stream_buildkit_report_expiring(ngx_stream_buildkit_ctx_t *ctx)
{
}


void
ngx_stream_buildkit_report_connected(ngx_stream_buildkit_ctx_t *ctx,
    ngx_msec_t ms)
{
}


void
ngx_stream_buildkit_report_dead(ngx_stream_session_t *s, ngx_uint_t worker)
{
}


void
ngx_stream_buildkit_report_close(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
}


void
ngx_stream_buildkit_report_handshake(ngx_stream_session_t *s, ngx_uint_t why)
{
}
