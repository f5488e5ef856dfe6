
/*
 * The $buildkit_* variables.
 *
 * Read while a session is routed (proxy_ssl_name), and by log formats for
 * every session, also one whose handshake failed: then there is no ctx.
 */


#include "ngx_stream_buildkit_module.h"


#define NGX_STREAM_BUILDKIT_VAR_ALLOCATION  0
#define NGX_STREAM_BUILDKIT_VAR_STATE       1
#define NGX_STREAM_BUILDKIT_VAR_EXPIRES     2
#define NGX_STREAM_BUILDKIT_VAR_WAIT        3
#define NGX_STREAM_BUILDKIT_VAR_KIND        4


static ngx_int_t ngx_stream_buildkit_str_variable(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_stream_buildkit_variable(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_stream_buildkit_session_variable(
    ngx_stream_session_t *s, ngx_stream_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_stream_buildkit_outcome_variable(
    ngx_stream_session_t *s, ngx_stream_variable_value_t *v, uintptr_t data);


static ngx_stream_variable_t  ngx_stream_buildkit_vars[] = {

    { ngx_string("buildkit_allocation"), NULL,
      ngx_stream_buildkit_variable, NGX_STREAM_BUILDKIT_VAR_ALLOCATION,
      NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("buildkit_pool"), NULL,
      ngx_stream_buildkit_str_variable,
      offsetof(ngx_stream_buildkit_ctx_t, pool),
      NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("buildkit_worker"), NULL,
      ngx_stream_buildkit_str_variable,
      offsetof(ngx_stream_buildkit_ctx_t, worker),
      NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("buildkit_worker_tls_name"), NULL,
      ngx_stream_buildkit_str_variable,
      offsetof(ngx_stream_buildkit_ctx_t, tls_name),
      NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("buildkit_state"), NULL,
      ngx_stream_buildkit_variable, NGX_STREAM_BUILDKIT_VAR_STATE,
      NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("buildkit_reason"), NULL,
      ngx_stream_buildkit_str_variable,
      offsetof(ngx_stream_buildkit_ctx_t, reason),
      NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("buildkit_expires"), NULL,
      ngx_stream_buildkit_variable, NGX_STREAM_BUILDKIT_VAR_EXPIRES,
      NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("buildkit_wait_ms"), NULL,
      ngx_stream_buildkit_session_variable, NGX_STREAM_BUILDKIT_VAR_WAIT,
      NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("buildkit_kind"), NULL,
      ngx_stream_buildkit_session_variable, NGX_STREAM_BUILDKIT_VAR_KIND,
      NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("buildkit_outcome"), NULL,
      ngx_stream_buildkit_outcome_variable, 0,
      NGX_STREAM_VAR_NOCACHEABLE, 0 },

      ngx_stream_null_variable
};


/* the words of bk_report.h: those of the metrics and of the API */

static const char  *ngx_stream_buildkit_refused[] = BK_REFUSED_NAMES;
static const char  *ngx_stream_buildkit_cuts[] = BK_CUT_NAMES;
static const char  *ngx_stream_buildkit_failures[] = BK_HANDSHAKE_NAMES;
static const char  *ngx_stream_buildkit_kinds[] = BK_KIND_NAMES;


ngx_int_t
ngx_stream_buildkit_add_variables(ngx_conf_t *cf)
{
    ngx_stream_variable_t  *var, *v;

    for (v = ngx_stream_buildkit_vars; v->name.len; v++) {
        var = ngx_stream_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_stream_buildkit_str_variable(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data)
{
    ngx_str_t                  *str;
    ngx_stream_buildkit_ctx_t  *ctx;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);
    str = ctx ? (ngx_str_t *) ((u_char *) ctx + data) : NULL;

    if (str == NULL || str->len == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->len = str->len;
    v->data = str->data;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_stream_buildkit_variable(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data)
{
    ngx_str_t                  *name;
    ngx_stream_buildkit_ctx_t  *ctx;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);

    if (ctx == NULL || !ctx->id_set) {
        v->not_found = 1;
        return NGX_OK;
    }

    switch (data) {

    case NGX_STREAM_BUILDKIT_VAR_ALLOCATION:
        v->data = ctx->id;
        v->len = NGX_STREAM_BUILDKIT_ID_LEN;
        break;

    case NGX_STREAM_BUILDKIT_VAR_STATE:
        name = ngx_stream_buildkit_state_name(ctx->state);
        v->data = name->data;
        v->len = name->len;
        break;

    default: /* NGX_STREAM_BUILDKIT_VAR_EXPIRES */

        if (ctx->expires_ms == 0) {
            v->not_found = 1;
            return NGX_OK;
        }

        v->data = ngx_pnalloc(s->connection->pool,
                              NGX_STREAM_BUILDKIT_TIME_LEN);
        if (v->data == NULL) {
            return NGX_ERROR;
        }

        v->len = ngx_stream_buildkit_time(v->data,
                                      (time_t) (ctx->expires_ms / 1000))
                 - v->data;
    }

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


static ngx_int_t
ngx_stream_buildkit_session_variable(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data)
{
    ngx_stream_buildkit_ctx_t  *ctx;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);

    if (ctx == NULL || ctx->record == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    if (data == NGX_STREAM_BUILDKIT_VAR_KIND) {
        v->data = (u_char *) ngx_stream_buildkit_kinds[
                                 ctx->kind < BK_KINDS ? ctx->kind : 0];
        v->len = ngx_strlen(v->data);

    } else {
        v->data = ngx_pnalloc(s->connection->pool, NGX_INT_T_LEN);
        if (v->data == NULL) {
            return NGX_ERROR;
        }

        v->len = ngx_sprintf(v->data, "%M",
                             ngx_stream_buildkit_report_held(ctx))
                 - v->data;
    }

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}


/* how it ended: routed, gone, or refused, cut, handshake and the reason */

static ngx_int_t
ngx_stream_buildkit_outcome_variable(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data)
{
    u_char                          *p;
    ngx_uint_t                       why;
    const char                      *what, *reason;
    ngx_stream_buildkit_ctx_t       *ctx;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);
    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    reason = NULL;

    if (ctx && ctx->record) {

        switch (ctx->phase) {

        case BK_PHASE_LIVE:
            what = "routed";
            break;

        case BK_PHASE_REFUSED:
            what = "refused";
            reason = ngx_stream_buildkit_refused[
                                         ctx->why < BK_REFUSED ? ctx->why : 0];
            break;

        case BK_PHASE_CUT:
            what = "cut";
            reason = ngx_stream_buildkit_cuts[ctx->why < BK_CUT ? ctx->why
                                                                : 0];
            break;

        default:
            what = "gone";
        }

    } else {
        why = (ctx && ctx->failure) ? ctx->failure
              : bscf->enable ? ngx_stream_buildkit_report_failure(s)
              : BK_HANDSHAKE_NONE;

        if (why == BK_HANDSHAKE_NONE) {
            v->not_found = 1;
            return NGX_OK;
        }

        what = "handshake";
        reason = ngx_stream_buildkit_failures[why];
    }

    v->data = ngx_pnalloc(s->connection->pool, 64);
    if (v->data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_sprintf(v->data, "%s", what);

    if (reason) {
        p = ngx_sprintf(p, ":%s", reason);
    }

    v->len = p - v->data;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    return NGX_OK;
}
