
/*
 * Load-time checks: a configuration that could let an unverified client
 * through, or leave a worker unverified without anybody knowing, does not
 * load or is warned about, with the server's file and line.
 *
 * Called from postconfiguration only: conf merging is done, the SSL_CTX of
 * every server exists.
 */


#include "ngx_stream_buildkit_module.h"


/* times outside of these are mistakes, or are warned about; milliseconds */
#define NGX_STREAM_BUILDKIT_CHECK_SILENCE    10000
#define NGX_STREAM_BUILDKIT_CHECK_HANDSHAKE  60000
#define NGX_STREAM_BUILDKIT_CHECK_PEER_MIN   2000
#define NGX_STREAM_BUILDKIT_CHECK_PEER_MAX   3600000


static ngx_int_t ngx_stream_buildkit_check_server(ngx_conf_t *cf,
    ngx_stream_core_srv_conf_t *cscf);
static ngx_int_t ngx_stream_buildkit_check_listen(ngx_conf_t *cf,
    ngx_stream_core_srv_conf_t *cscf);
static ngx_int_t ngx_stream_buildkit_check_tls(ngx_conf_t *cf,
    ngx_stream_core_srv_conf_t *cscf);
static ngx_int_t ngx_stream_buildkit_check_proxy(ngx_conf_t *cf,
    ngx_stream_core_srv_conf_t *cscf);
static ngx_int_t ngx_stream_buildkit_check_retry(ngx_conf_t *cf,
    ngx_stream_core_srv_conf_t *cscf);
static ngx_int_t ngx_stream_buildkit_check_times(ngx_conf_t *cf,
    ngx_stream_core_srv_conf_t *cscf);
static void *ngx_stream_buildkit_check_value(
    ngx_stream_core_srv_conf_t *cscf, char *name,
    char *(*set)(ngx_conf_t *cf, ngx_command_t *cmd, void *conf));
static ngx_uint_t ngx_stream_buildkit_check_trust(SSL_CTX *ssl_ctx);


ngx_int_t
ngx_stream_buildkit_check_servers(ngx_conf_t *cf)
{
    ngx_uint_t                        i;
    ngx_stream_core_srv_conf_t      **cscfp;
    ngx_stream_core_main_conf_t      *cmcf;
    ngx_stream_buildkit_srv_conf_t   *bscf;
    ngx_stream_buildkit_ssl_conf_t   *sslcf;

    if (ngx_stream_buildkit_upstream_check(cf) != NGX_OK) {
        return NGX_ERROR;
    }

    cmcf = ngx_stream_conf_get_module_main_conf(cf, ngx_stream_core_module);

    cscfp = cmcf->servers.elts;

    for (i = 0; i < cmcf->servers.nelts; i++) {
        bscf = cscfp[i]->ctx->srv_conf[ngx_stream_buildkit_module.ctx_index];

        if (!bscf->enable) {
            continue;
        }

        if (ngx_stream_buildkit_check_server(cf, cscfp[i]) != NGX_OK) {
            return NGX_ERROR;
        }

        sslcf = cscfp[i]->ctx->srv_conf[ngx_stream_ssl_module.ctx_index];

        if (ngx_stream_buildkit_verify_init(cf, bscf, sslcf) != NGX_OK
            || ngx_stream_buildkit_names_init(cf, cscfp[i]) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_stream_buildkit_check_server(ngx_conf_t *cf,
    ngx_stream_core_srv_conf_t *cscf)
{
    ngx_stream_buildkit_main_conf_t  *bmcf;

    bmcf = ngx_stream_conf_get_module_main_conf(cf,
                                                ngx_stream_buildkit_module);

    if (bmcf->zone == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"buildkit on\" needs \"buildkit_table\" "
                      "in the stream block, server in %s:%ui",
                      cscf->file_name, cscf->line);
        return NGX_ERROR;
    }

    if (bmcf->balancers == 0 || cscf->handler == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"buildkit on\" needs \"proxy_pass\" to an upstream "
                      "with \"buildkit;\" inside, and there is no such %s, "
                      "server in %s:%ui",
                      bmcf->balancers ? "directive" : "upstream",
                      cscf->file_name, cscf->line);
        return NGX_ERROR;
    }

    if (ngx_stream_buildkit_check_listen(cf, cscf) != NGX_OK
        || ngx_stream_buildkit_check_tls(cf, cscf) != NGX_OK
        || ngx_stream_buildkit_check_retry(cf, cscf) != NGX_OK
        || ngx_stream_buildkit_check_times(cf, cscf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_stream_buildkit_check_proxy(cf, cscf);
}


/* every listen of the server must be TLS over TCP */

static ngx_int_t
ngx_stream_buildkit_check_listen(ngx_conf_t *cf,
    ngx_stream_core_srv_conf_t *cscf)
{
    ngx_str_t                    *text;
    ngx_uint_t                    i;
    ngx_stream_core_main_conf_t  *cmcf;
#if (nginx_version < 1025005)
    ngx_stream_listen_t          *ls;
#else
    ngx_uint_t                    a, n;
    ngx_stream_conf_addr_t       *addr;
    ngx_stream_conf_port_t       *port;
    ngx_stream_core_srv_conf_t  **servers;
#endif

    cmcf = ngx_stream_conf_get_module_main_conf(cf, ngx_stream_core_module);
    text = NULL;

#if (nginx_version < 1025005)

    ls = cmcf->listen.elts;

    for (i = 0; i < cmcf->listen.nelts; i++) {
        if (ls[i].ctx->srv_conf == cscf->ctx->srv_conf
            && (!ls[i].ssl || ls[i].type != SOCK_STREAM))
        {
            text = &ls[i].addr_text;
        }
    }

#else

    if (cmcf->ports == NULL) {
        return NGX_OK;
    }

    port = cmcf->ports->elts;

    for (i = 0; i < cmcf->ports->nelts; i++) {
        addr = port[i].addrs.elts;

        for (a = 0; a < port[i].addrs.nelts; a++) {
            if (addr[a].opt.ssl && addr[a].opt.type == SOCK_STREAM) {
                continue;
            }

            servers = addr[a].servers.elts;

            for (n = 0; n < addr[a].servers.nelts; n++) {
                if (servers[n] == cscf) {
                    text = &addr[a].opt.addr_text;
                }
            }
        }
    }

#endif

    if (text == NULL) {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                  "\"buildkit on\" needs \"ssl\" in each \"listen\" of its "
                  "server, \"listen %V\" has none, server in %s:%ui",
                  text, cscf->file_name, cscf->line);

    return NGX_ERROR;
}


static ngx_int_t
ngx_stream_buildkit_check_tls(ngx_conf_t *cf, ngx_stream_core_srv_conf_t *cscf)
{
    ngx_stream_buildkit_ssl_conf_t  *sslcf;

    sslcf = cscf->ctx->srv_conf[ngx_stream_ssl_module.ctx_index];

    if (sslcf->ssl.ctx == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"buildkit on\" needs \"listen ... ssl\" and "
                      "\"ssl_certificate\", server in %s:%ui",
                      cscf->file_name, cscf->line);
        return NGX_ERROR;
    }

    if (sslcf->verify == 0) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"buildkit on\" needs \"ssl_verify_client\" "
                      "optional_no_ca (or on), server in %s:%ui",
                      cscf->file_name, cscf->line);
        return NGX_ERROR;
    }

    if (ngx_stream_buildkit_check_trust(sslcf->ssl.ctx) == 0) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"buildkit on\" needs a CA to verify clients with: "
                      "no certificate in \"ssl_trusted_certificate\" or "
                      "\"ssl_client_certificate\", server in %s:%ui",
                      cscf->file_name, cscf->line);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_stream_buildkit_check_proxy(ngx_conf_t *cf,
    ngx_stream_core_srv_conf_t *cscf)
{
    ngx_flag_t                      *ssl, *verify, *reuse;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    bscf = cscf->ctx->srv_conf[ngx_stream_buildkit_module.ctx_index];

    ssl = ngx_stream_buildkit_check_value(cscf, "proxy_ssl",
                                          ngx_conf_set_flag_slot);
    verify = ngx_stream_buildkit_check_value(cscf, "proxy_ssl_verify",
                                             ngx_conf_set_flag_slot);
    reuse = ngx_stream_buildkit_check_value(cscf, "proxy_ssl_session_reuse",
                                            ngx_conf_set_flag_slot);

    if (reuse && !*reuse) {

        /* the core then never calls the balancer's set_session */

        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"proxy_ssl_session_reuse off\" cannot be used with "
                      "\"buildkit on\": workers would see no ALPN, "
                      "server in %s:%ui",
                      cscf->file_name, cscf->line);
        return NGX_ERROR;
    }

    if (bscf->worker_ca && verify && *verify) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"buildkit_worker_ca\" is for workers whose names "
                      "cannot be verified, and \"proxy_ssl_verify on\" "
                      "verifies them: use one of them, server in %s:%ui",
                      cscf->file_name, cscf->line);
        return NGX_ERROR;
    }

    if (bscf->worker_ca && (ssl == NULL || !*ssl)) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"buildkit_worker_ca\" needs \"proxy_ssl on\": "
                      "nothing of a worker can be verified otherwise, "
                      "server in %s:%ui",
                      cscf->file_name, cscf->line);
        return NGX_ERROR;
    }

    if (ssl && !*ssl) {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "\"proxy_ssl\" is off: builds and their secrets go to "
                      "workers in the clear, server in %s:%ui",
                      cscf->file_name, cscf->line);

    } else if (verify && !*verify && bscf->worker_ca == NULL) {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "\"proxy_ssl_verify\" is off: anybody at a worker's "
                      "address is taken for the worker, server in %s:%ui",
                      cscf->file_name, cscf->line);
    }

    return NGX_OK;
}


/* a worker that does not answer is tried again by us, if the proxy asks */

static ngx_int_t
ngx_stream_buildkit_check_retry(ngx_conf_t *cf,
    ngx_stream_core_srv_conf_t *cscf)
{
    ngx_flag_t                      *next;
    ngx_uint_t                      *tries;
    ngx_msec_t                      *timeout, *connect;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    next = ngx_stream_buildkit_check_value(cscf, "proxy_next_upstream",
                                           ngx_conf_set_flag_slot);
    tries = ngx_stream_buildkit_check_value(cscf, "proxy_next_upstream_tries",
                                            ngx_conf_set_num_slot);
    timeout = ngx_stream_buildkit_check_value(cscf,
                                              "proxy_next_upstream_timeout",
                                              ngx_conf_set_msec_slot);
    connect = ngx_stream_buildkit_check_value(cscf, "proxy_connect_timeout",
                                              ngx_conf_set_msec_slot);

    if (next && !*next) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"proxy_next_upstream off\" cannot be used with "
                      "\"buildkit on\", server in %s:%ui",
                      cscf->file_name, cscf->line);
        return NGX_ERROR;
    }

    if ((tries && *tries) || (timeout && *timeout)) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"%s\" cannot be used with \"buildkit on\": for how "
                      "long a worker is tried again is \"buildkit_retry\", "
                      "server in %s:%ui",
                      (tries && *tries) ? "proxy_next_upstream_tries"
                                        : "proxy_next_upstream_timeout",
                      cscf->file_name, cscf->line);
        return NGX_ERROR;
    }

    bscf = cscf->ctx->srv_conf[ngx_stream_buildkit_module.ctx_index];

    if (bscf->retry && connect && *connect > bscf->retry) {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "\"proxy_connect_timeout\" is longer than "
                      "\"buildkit_retry\": a worker that does not answer is "
                      "tried once, server in %s:%ui",
                      cscf->file_name, cscf->line);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_stream_buildkit_check_times(ngx_conf_t *cf,
    ngx_stream_core_srv_conf_t *cscf)
{
    ngx_stream_buildkit_srv_conf_t  *bscf;
    ngx_stream_buildkit_ssl_conf_t  *sslcf;

    bscf = cscf->ctx->srv_conf[ngx_stream_buildkit_module.ctx_index];
    sslcf = cscf->ctx->srv_conf[ngx_stream_ssl_module.ctx_index];

    if (bscf->header_timeout == 0) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"buildkit_header_timeout\" must not be 0: no client "
                      "is that fast, server in %s:%ui",
                      cscf->file_name, cscf->line);
        return NGX_ERROR;
    }

    if (bscf->peer_timeout
        && (bscf->peer_timeout < NGX_STREAM_BUILDKIT_CHECK_PEER_MIN
            || bscf->peer_timeout > NGX_STREAM_BUILDKIT_CHECK_PEER_MAX))
    {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"buildkit_peer_timeout\" must be 0 or between %ds "
                      "and %dh, server in %s:%ui",
                      NGX_STREAM_BUILDKIT_CHECK_PEER_MIN / 1000,
                      NGX_STREAM_BUILDKIT_CHECK_PEER_MAX / 3600000,
                      cscf->file_name, cscf->line);
        return NGX_ERROR;
    }

    if (bscf->silence
        && bscf->silence < NGX_STREAM_BUILDKIT_CHECK_SILENCE)
    {
        /* buildkitd asks after the client every 5 s, a RUN may add nothing */

        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "\"buildkit_silence\" is below %ds: builds that only "
                      "compute say nothing for 5s at a time and may be cut, "
                      "server in %s:%ui",
                      NGX_STREAM_BUILDKIT_CHECK_SILENCE / 1000,
                      cscf->file_name, cscf->line);
    }

    if (sslcf->handshake_timeout > NGX_STREAM_BUILDKIT_CHECK_HANDSHAKE) {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "\"ssl_handshake_timeout\" is over %ds: clients that "
                      "say nothing keep their places for that long, "
                      "server in %s:%ui",
                      NGX_STREAM_BUILDKIT_CHECK_HANDSHAKE / 1000,
                      cscf->file_name, cscf->line);
    }

    return NGX_OK;
}


/*
 * The proxy's conf is private, its command table is not: that has the offset
 * of each value.  NULL if there is no such directive, or it is of another
 * type than set stands for.
 */

static void *
ngx_stream_buildkit_check_value(ngx_stream_core_srv_conf_t *cscf, char *name,
    char *(*set)(ngx_conf_t *cf, ngx_command_t *cmd, void *conf))
{
    char           *conf;
    size_t          len;
    ngx_command_t  *cmd;

    conf = cscf->ctx->srv_conf[ngx_stream_proxy_module.ctx_index];
    len = ngx_strlen(name);

    for (cmd = ngx_stream_proxy_module.commands; cmd->name.len; cmd++) {

        if (cmd->name.len == len
            && ngx_strncmp(cmd->name.data, name, len) == 0
            && cmd->set == set)
        {
            return conf + cmd->offset;
        }
    }

    return NULL;
}


/* how many CA certificates an SSL_CTX trusts, from whichever directive */

static ngx_uint_t
ngx_stream_buildkit_check_trust(SSL_CTX *ssl_ctx)
{
    int                     i;
    ngx_uint_t              n;
    STACK_OF(X509_OBJECT)  *objects;

    n = 0;
    objects = X509_STORE_get0_objects(SSL_CTX_get_cert_store(ssl_ctx));

    for (i = 0; i < sk_X509_OBJECT_num(objects); i++) {
        if (X509_OBJECT_get_type(sk_X509_OBJECT_value(objects, i))
            == X509_LU_X509)
        {
            n++;
        }
    }

    return n;
}
