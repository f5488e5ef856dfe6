
/*
 * The module's directives, their life, and where it hooks into nginx.
 * Everything else is in the file that is named for it.
 */


#include "ngx_stream_buildkit_module.h"


#define NGX_STREAM_BUILDKIT_CHECK_MIN  10
#define NGX_STREAM_BUILDKIT_CHECK_MAX  10000


static ngx_int_t ngx_stream_buildkit_init(ngx_conf_t *cf);
static ngx_int_t ngx_stream_buildkit_init_module(ngx_cycle_t *cycle);
static ngx_int_t ngx_stream_buildkit_init_process(ngx_cycle_t *cycle);
static void ngx_stream_buildkit_exit_process(ngx_cycle_t *cycle);
static void *ngx_stream_buildkit_create_main_conf(ngx_conf_t *cf);
static char *ngx_stream_buildkit_init_main_conf(ngx_conf_t *cf, void *conf);
static void *ngx_stream_buildkit_create_srv_conf(ngx_conf_t *cf);
static char *ngx_stream_buildkit_merge_srv_conf(ngx_conf_t *cf, void *parent,
    void *child);
static char *ngx_stream_buildkit_path(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_stream_buildkit_pool(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_stream_buildkit_check(ngx_conf_t *cf, void *post, void *data);


static ngx_conf_post_t  ngx_stream_buildkit_check_post =
    { ngx_stream_buildkit_check };


static ngx_command_t  ngx_stream_buildkit_commands[] = {

    { ngx_string("buildkit_table"),
      NGX_STREAM_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_stream_buildkit_path,
      NGX_STREAM_MAIN_CONF_OFFSET,
      offsetof(ngx_stream_buildkit_main_conf_t, table),
      NULL },

    { ngx_string("buildkit_check"),
      NGX_STREAM_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_STREAM_MAIN_CONF_OFFSET,
      offsetof(ngx_stream_buildkit_main_conf_t, check),
      &ngx_stream_buildkit_check_post },

    { ngx_string("buildkit_shutdown_timeout"),
      NGX_STREAM_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_STREAM_MAIN_CONF_OFFSET,
      offsetof(ngx_stream_buildkit_main_conf_t, shutdown_timeout),
      NULL },

    { ngx_string("buildkit"),
      NGX_STREAM_SRV_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_stream_buildkit_srv_conf_t, enable),
      NULL },

    { ngx_string("buildkit"),
      NGX_STREAM_UPS_CONF|NGX_CONF_NOARGS,
      ngx_stream_buildkit_upstream,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("buildkit_pool"),
      NGX_STREAM_SRV_CONF|NGX_CONF_1MORE,
      ngx_stream_buildkit_pool,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("buildkit_names"),
      NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_stream_buildkit_names,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("buildkit_worker_ca"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_stream_buildkit_worker_ca,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("buildkit_report"),
      NGX_STREAM_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_stream_buildkit_path,
      NGX_STREAM_MAIN_CONF_OFFSET,
      offsetof(ngx_stream_buildkit_main_conf_t, reports),
      NULL },

    { ngx_string("buildkit_wait"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_stream_buildkit_srv_conf_t, wait),
      NULL },

    { ngx_string("buildkit_grace"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_stream_buildkit_srv_conf_t, grace),
      NULL },

    { ngx_string("buildkit_lookup"),
      NGX_STREAM_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_stream_buildkit_path,
      NGX_STREAM_MAIN_CONF_OFFSET,
      offsetof(ngx_stream_buildkit_main_conf_t, socket),
      NULL },

    { ngx_string("buildkit_lookup_wait"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_stream_buildkit_srv_conf_t, lookup_wait),
      NULL },

    { ngx_string("buildkit_retry"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_stream_buildkit_srv_conf_t, retry),
      NULL },

    { ngx_string("buildkit_silence"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_stream_buildkit_srv_conf_t, silence),
      NULL },

    { ngx_string("buildkit_lost"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_stream_buildkit_srv_conf_t, lost),
      NULL },

    { ngx_string("buildkit_header_timeout"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_stream_buildkit_srv_conf_t, header_timeout),
      NULL },

    { ngx_string("buildkit_peer_timeout"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_stream_buildkit_srv_conf_t, peer_timeout),
      NULL },

    { ngx_string("buildkit_max_connections"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_stream_buildkit_srv_conf_t, max_connections),
      NULL },

    { ngx_string("buildkit_max_held"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_stream_buildkit_srv_conf_t, max_held),
      NULL },

    { ngx_string("buildkit_max_handshakes"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_stream_buildkit_srv_conf_t, max_handshakes),
      NULL },

      ngx_null_command
};


static ngx_stream_module_t  ngx_stream_buildkit_module_ctx = {
    ngx_stream_buildkit_add_variables,     /* preconfiguration */
    ngx_stream_buildkit_init,              /* postconfiguration */

    ngx_stream_buildkit_create_main_conf,  /* create main configuration */
    ngx_stream_buildkit_init_main_conf,    /* init main configuration */

    ngx_stream_buildkit_create_srv_conf,   /* create server configuration */
    ngx_stream_buildkit_merge_srv_conf     /* merge server configuration */
};


ngx_module_t  ngx_stream_buildkit_module = {
    NGX_MODULE_V1,
    &ngx_stream_buildkit_module_ctx,       /* module context */
    ngx_stream_buildkit_commands,          /* module directives */
    NGX_STREAM_MODULE,                     /* module type */
    NULL,                                  /* init master */
    ngx_stream_buildkit_init_module,       /* init module */
    ngx_stream_buildkit_init_process,      /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_stream_buildkit_exit_process,      /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_int_t
ngx_stream_buildkit_init(ngx_conf_t *cf)
{
    ngx_stream_handler_pt            *h;
    ngx_stream_core_main_conf_t      *cmcf;
    ngx_stream_buildkit_main_conf_t  *bmcf;

    bmcf = ngx_stream_conf_get_module_main_conf(cf,
                                                ngx_stream_buildkit_module);

    if (bmcf->table.len) {
        bmcf->zone = ngx_stream_buildkit_zone_create(cf, &bmcf->table,
                                                     bmcf->check);
        if (bmcf->zone == NULL) {
            return NGX_ERROR;
        }
    }

    if (bmcf->socket.len) {
        bmcf->lookup = ngx_stream_buildkit_lookup_create(cf, &bmcf->socket,
                                                         bmcf);
        if (bmcf->lookup == NULL) {
            return NGX_ERROR;
        }
    }

    if (ngx_stream_buildkit_check_servers(cf) != NGX_OK
        || ngx_stream_buildkit_limit_init(cf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    cmcf = ngx_stream_conf_get_module_main_conf(cf, ngx_stream_core_module);

    /* the first phase in which the TLS handshake is done for certain */

    h = ngx_array_push(&cmcf->phases[NGX_STREAM_PREREAD_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_stream_buildkit_preread_handler;

    h = ngx_array_push(&cmcf->phases[NGX_STREAM_LOG_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_stream_buildkit_log_handler;

    return ngx_stream_buildkit_filter_init(cf);
}


static ngx_int_t
ngx_stream_buildkit_init_module(ngx_cycle_t *cycle)
{
    ngx_stream_buildkit_main_conf_t  *bmcf;

    bmcf = ngx_stream_cycle_get_module_main_conf(cycle,
                                                 ngx_stream_buildkit_module);

    if (bmcf) {
        ngx_stream_buildkit_quit_init(bmcf, cycle->log);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_stream_buildkit_init_process(ngx_cycle_t *cycle)
{
    ngx_stream_buildkit_main_conf_t  *bmcf;

    /* helpers (cache manager) have no connections to route */

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    bmcf = ngx_stream_cycle_get_module_main_conf(cycle,
                                                 ngx_stream_buildkit_module);

    if (bmcf && bmcf->zone) {
        ngx_stream_buildkit_zone_start(bmcf->zone, cycle->log);
        ngx_stream_buildkit_limit_start(bmcf->limit, cycle->log);
        ngx_stream_buildkit_report_start(bmcf, cycle);
        ngx_stream_buildkit_names_start(bmcf, cycle->log);
        ngx_stream_buildkit_quit_start(bmcf);
        ngx_stream_buildkit_tick_start(bmcf, cycle);

        if (bmcf->lookup) {
            ngx_stream_buildkit_lookup_start(bmcf->lookup, cycle->log);
        }
    }

    return NGX_OK;
}


static void
ngx_stream_buildkit_exit_process(ngx_cycle_t *cycle)
{
    ngx_stream_buildkit_main_conf_t  *bmcf;

    bmcf = ngx_stream_cycle_get_module_main_conf(cycle,
                                                 ngx_stream_buildkit_module);

    if (bmcf && bmcf->zone) {
        ngx_stream_buildkit_quit_exit(bmcf);
    }

    if (bmcf && bmcf->lookup) {
        ngx_stream_buildkit_lookup_exit(bmcf->lookup);
    }
}


static void *
ngx_stream_buildkit_create_main_conf(ngx_conf_t *cf)
{
    ngx_stream_buildkit_main_conf_t  *bmcf;

    bmcf = ngx_pcalloc(cf->pool, sizeof(ngx_stream_buildkit_main_conf_t));
    if (bmcf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     bmcf->table = { 0, NULL };
     *     bmcf->zone = NULL;
     *     bmcf->names = NULL;
     *     bmcf->balancers = 0;
     *     bmcf->number = 0;
     */

    bmcf->check = NGX_CONF_UNSET_MSEC;
    bmcf->shutdown_timeout = NGX_CONF_UNSET_MSEC;

    if (ngx_stream_buildkit_quit_create(cf, bmcf) != NGX_OK) {
        return NULL;
    }

    if (ngx_stream_buildkit_digest_init(cf, bmcf) != NGX_OK) {
        return NULL;
    }

    bmcf->sessions = ngx_stream_buildkit_sessions_create(cf);
    if (bmcf->sessions == NULL) {
        return NULL;
    }

    bmcf->report = ngx_stream_buildkit_report_create(cf);
    if (bmcf->report == NULL) {
        return NULL;
    }

    return bmcf;
}


static char *
ngx_stream_buildkit_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_stream_buildkit_main_conf_t  *bmcf = conf;

    ngx_conf_init_msec_value(bmcf->check, 100);
    ngx_conf_init_msec_value(bmcf->shutdown_timeout, 0);

    return NGX_CONF_OK;
}


static void *
ngx_stream_buildkit_create_srv_conf(ngx_conf_t *cf)
{
    ngx_stream_buildkit_srv_conf_t  *bscf;

    bscf = ngx_pcalloc(cf->pool, sizeof(ngx_stream_buildkit_srv_conf_t));
    if (bscf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     bscf->pools = NULL;
     *     bscf->names = NULL;
     *     bscf->verify = 0;
     *     bscf->chains = NULL;
     */

    bscf->enable = NGX_CONF_UNSET;
    bscf->wait = NGX_CONF_UNSET_MSEC;
    bscf->grace = NGX_CONF_UNSET_MSEC;
    bscf->lookup_wait = NGX_CONF_UNSET_MSEC;
    bscf->retry = NGX_CONF_UNSET_MSEC;
    bscf->silence = NGX_CONF_UNSET_MSEC;
    bscf->lost = NGX_CONF_UNSET_MSEC;
    bscf->header_timeout = NGX_CONF_UNSET_MSEC;
    bscf->peer_timeout = NGX_CONF_UNSET_MSEC;
    bscf->max_connections = NGX_CONF_UNSET;
    bscf->max_held = NGX_CONF_UNSET;
    bscf->max_handshakes = NGX_CONF_UNSET;
    bscf->worker_ca = NGX_CONF_UNSET_PTR;

    return bscf;
}


static char *
ngx_stream_buildkit_merge_srv_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_stream_buildkit_srv_conf_t  *prev = parent;
    ngx_stream_buildkit_srv_conf_t  *conf = child;

    ngx_conf_merge_value(conf->enable, prev->enable, 0);
    ngx_conf_merge_msec_value(conf->wait, prev->wait, 300000);
    ngx_conf_merge_msec_value(conf->grace, prev->grace, 2000);
    ngx_conf_merge_msec_value(conf->lookup_wait, prev->lookup_wait, 30000);
    ngx_conf_merge_msec_value(conf->retry, prev->retry, 20000);
    ngx_conf_merge_msec_value(conf->silence, prev->silence, 60000);
    ngx_conf_merge_msec_value(conf->lost, prev->lost, 1000);
    ngx_conf_merge_msec_value(conf->header_timeout, prev->header_timeout,
                              60000);
    ngx_conf_merge_msec_value(conf->peer_timeout, prev->peer_timeout, 90000);
    ngx_conf_merge_value(conf->max_connections, prev->max_connections, 0);
    ngx_conf_merge_value(conf->max_held, prev->max_held, 1000);
    ngx_conf_merge_value(conf->max_handshakes, prev->max_handshakes, 100);
    ngx_conf_merge_ptr_value(conf->worker_ca, prev->worker_ca, NULL);

    conf->main = ngx_stream_conf_get_module_main_conf(cf,
                                                   ngx_stream_buildkit_module);

    return NGX_CONF_OK;
}


static char *
ngx_stream_buildkit_path(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t  *path, *value;

    path = (ngx_str_t *) ((u_char *) conf + cmd->offset);

    if (path->data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "needs a path";
    }

    *path = value[1];

    if (ngx_conf_full_name(cf->cycle, path, 0) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_stream_buildkit_pool(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_stream_buildkit_srv_conf_t  *bscf = conf;

    u_char                              *slash;
    ngx_str_t                           *value;
    ngx_uint_t                           i;
    ngx_stream_complex_value_t          *cv;
    ngx_stream_compile_complex_value_t   ccv;

    if (bscf->pools == NULL) {
        bscf->pools = ngx_array_create(cf->pool, cf->args->nelts - 1,
                                       sizeof(ngx_stream_complex_value_t));
        if (bscf->pools == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        cv = ngx_array_push(bscf->pools);
        if (cv == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_memzero(&ccv, sizeof(ngx_stream_compile_complex_value_t));

        ccv.cf = cf;
        ccv.value = &value[i];
        ccv.complex_value = cv;

        if (ngx_stream_compile_complex_value(&ccv) != NGX_OK) {
            return NGX_CONF_ERROR;
        }

        if (cv->lengths) {
            continue;
        }

        slash = ngx_strlchr(value[i].data, value[i].data + value[i].len, '/');

        if (slash == NULL || slash == value[i].data
            || slash == value[i].data + value[i].len - 1
            || value[i].len >= BK_TABLE_POOL_LEN)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid pool \"%V\": "
                               "pools are named namespace/name", &value[i]);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_stream_buildkit_check(ngx_conf_t *cf, void *post, void *data)
{
    ngx_msec_t  *np = data;

    if (*np < NGX_STREAM_BUILDKIT_CHECK_MIN
        || *np > NGX_STREAM_BUILDKIT_CHECK_MAX)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"buildkit_check\" must be between %dms and %ds",
                           NGX_STREAM_BUILDKIT_CHECK_MIN,
                           NGX_STREAM_BUILDKIT_CHECK_MAX / 1000);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}
