
/*
 * The balancer "buildkit;": hands the session's worker to the stock proxy.
 *
 * The worker was chosen in preread; what happens when it does not answer is
 * up to retry.c.  Here is only the glue, and the two doors
 * that must not be left open: an upstream{} of ours used by a server without
 * "buildkit on" (no client was checked: refused before anything is dialled),
 * and a server with it whose proxy_pass leads elsewhere (a filter lets no
 * byte by in either direction).
 */


#include "ngx_stream_buildkit_module.h"


static ngx_int_t ngx_stream_buildkit_upstream_init(ngx_conf_t *cf,
    ngx_stream_upstream_srv_conf_t *us);
static ngx_int_t ngx_stream_buildkit_upstream_init_peer(
    ngx_stream_session_t *s, ngx_stream_upstream_srv_conf_t *us);
static ngx_int_t ngx_stream_buildkit_upstream_get_peer(
    ngx_peer_connection_t *pc, void *data);
static void ngx_stream_buildkit_upstream_free_peer(ngx_peer_connection_t *pc,
    void *data, ngx_uint_t state);
static void ngx_stream_buildkit_upstream_notify(ngx_peer_connection_t *pc,
    void *data, ngx_uint_t type);
static ngx_int_t ngx_stream_buildkit_upstream_set_session(
    ngx_peer_connection_t *pc, void *data);
static void ngx_stream_buildkit_upstream_save_session(
    ngx_peer_connection_t *pc, void *data);


static u_char  ngx_stream_buildkit_alpn[] = "\x02h2";


char *
ngx_stream_buildkit_upstream(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_stream_buildkit_srv_conf_t  *bscf = conf;

    ngx_stream_upstream_server_t     *us;
    ngx_stream_upstream_srv_conf_t   *uscf;
    ngx_stream_buildkit_main_conf_t  *bmcf;

    uscf = ngx_stream_conf_get_module_srv_conf(cf, ngx_stream_upstream_module);

    if (uscf->peer.init_upstream == ngx_stream_buildkit_upstream_init) {
        return "is duplicate";
    }

    if (uscf->peer.init_upstream) {
        ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                           "load balancing method redefined");
    }

    uscf->peer.init_upstream = ngx_stream_buildkit_upstream_init;
    uscf->flags = NGX_STREAM_UPSTREAM_CREATE;

    /* the core wants a server in each upstream{}; nothing looks at this one */

    us = ngx_array_push(uscf->servers);
    if (us == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(us, sizeof(ngx_stream_upstream_server_t));

    ngx_str_set(&us->name, "buildkit");
    us->down = 1;

    bmcf = ngx_stream_conf_get_module_main_conf(cf,
                                                ngx_stream_buildkit_module);
    bmcf->balancers++;

    bscf->balancer = 1;

    return NGX_CONF_OK;
}


/* a method named after ours replaces it without asking: say so at load */

ngx_int_t
ngx_stream_buildkit_upstream_check(ngx_conf_t *cf)
{
    ngx_uint_t                        i;
    ngx_stream_upstream_srv_conf_t  **uscfp;
    ngx_stream_buildkit_srv_conf_t   *bscf;
    ngx_stream_upstream_main_conf_t  *umcf;

    umcf = ngx_stream_conf_get_module_main_conf(cf, ngx_stream_upstream_module);

    uscfp = umcf->upstreams.elts;

    for (i = 0; i < umcf->upstreams.nelts; i++) {

        if (uscfp[i]->srv_conf == NULL) {
            continue;
        }

        bscf = ngx_stream_conf_upstream_srv_conf(uscfp[i],
                                                 ngx_stream_buildkit_module);

        if (bscf->balancer
            && uscfp[i]->peer.init != ngx_stream_buildkit_upstream_init_peer)
        {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "upstream \"%V\" has \"buildkit;\" and another "
                          "load balancing method, in %s:%ui",
                          &uscfp[i]->host, uscfp[i]->file_name,
                          uscfp[i]->line);
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* runs in the upstream module's init_main_conf, before any of ours */

static ngx_int_t
ngx_stream_buildkit_upstream_init(ngx_conf_t *cf,
    ngx_stream_upstream_srv_conf_t *us)
{
    if (us->servers->nelts > 1) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "upstream \"%V\" has \"buildkit;\" and \"server\": "
                      "its servers are those of the route table, in %s:%ui",
                      &us->host, us->file_name, us->line);
        return NGX_ERROR;
    }

#if (NGX_STREAM_UPSTREAM_ZONE)

    /* zones copy the peers of the core's own balancer: there are none */

    if (us->shm_zone) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "upstream \"%V\" has \"buildkit;\" and \"zone\": "
                      "its servers are those of the route table, in %s:%ui",
                      &us->host, us->file_name, us->line);
        return NGX_ERROR;
    }

#endif

    us->peer.init = ngx_stream_buildkit_upstream_init_peer;

    return NGX_OK;
}


static ngx_int_t
ngx_stream_buildkit_upstream_init_peer(ngx_stream_session_t *s,
    ngx_stream_upstream_srv_conf_t *us)
{
    ngx_peer_connection_t      *pc;
    ngx_stream_buildkit_ctx_t  *ctx;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);

    if (ctx == NULL || !ctx->routed) {
        ngx_log_error(NGX_LOG_ERR, s->connection->log, 0,
                      "buildkit: upstream \"%V\" is used by a server without "
                      "\"buildkit on\": no client of it is verified",
                      &us->host);
        return NGX_ERROR;
    }

    ctx->balanced = 1;

    pc = &s->upstream->peer;

    pc->data = s;
    pc->get = ngx_stream_buildkit_upstream_get_peer;
    pc->free = ngx_stream_buildkit_upstream_free_peer;
    pc->notify = ngx_stream_buildkit_upstream_notify;
    pc->set_session = ngx_stream_buildkit_upstream_set_session;
    pc->save_session = ngx_stream_buildkit_upstream_save_session;
    pc->tries = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_stream_buildkit_upstream_get_peer(ngx_peer_connection_t *pc, void *data)
{
    ngx_stream_session_t  *s = data;

    ngx_stream_buildkit_ctx_t  *ctx;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);

    pc->cached = 0;
    pc->connection = NULL;

    ctx->session_set = 0;

    if (ngx_stream_buildkit_retry_wanted(ctx)) {
        return ngx_stream_buildkit_retry_placeholder(s, ctx, pc);
    }

    if (ngx_stream_buildkit_retry_start(s, ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_stream_buildkit_report_phase(s, ctx, BK_PHASE_CONNECTING, 0);

    /* the session's memory: $upstream_addr is read when it is logged */

    pc->sockaddr = &ctx->sockaddr.sockaddr;
    pc->socklen = ctx->socklen;
    pc->name = &ctx->addr;

    return NGX_OK;
}


static void
ngx_stream_buildkit_upstream_free_peer(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t state)
{
    ngx_stream_session_t  *s = data;

    ngx_stream_buildkit_ctx_t  *ctx;

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);

    /* whoever ends the connection comes by here before it is closed */

    ngx_stream_buildkit_peer_check(s, ctx, pc->connection, 1);

    if (state & NGX_PEER_FAILED) {

        /* with a try left the proxy asks for another peer: for retry.c */

        ngx_stream_buildkit_retry_failed(s, ctx, pc->connection);
    }
}


static void
ngx_stream_buildkit_upstream_notify(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t type)
{
    ngx_stream_session_t  *s = data;

    ngx_connection_t                *c;
    ngx_stream_buildkit_ctx_t       *ctx;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    if (type != NGX_STREAM_UPSTREAM_NOTIFY_CONNECT) {
        return;
    }

    c = pc->connection;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);
    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);

    if (bscf->worker_ca && !ctx->session_set) {

        /* only a setting that the load-time check does not know can do it */

        ngx_log_error(NGX_LOG_ERR, s->connection->log, 0,
                      "buildkit: the certificate of worker %V was not "
                      "verified: nothing is passed on; is \"proxy_ssl\" or "
                      "\"proxy_ssl_session_reuse\" off?", &ctx->worker);

        ctx->unverified = 1;
    }

    ngx_stream_buildkit_replay_start(s, ctx);

    if (ngx_stream_buildkit_live_start(s, ctx) != NGX_OK) {

        /* the filter lets nothing by then */

        return;
    }

    if (c->ssl == NULL) {
        return;
    }

    /*
     * What comes from the client comes in pieces as large as a TLS record
     * can be: gathering it in another 16K first costs a copy of each byte
     * and those 16K for as long as the connection lives.
     */

    c->ssl->buffer = 0;

    if (!ctx->session_set) {

        /* only a setting that the load-time check does not know can do it */

        ngx_log_error(NGX_LOG_ERR, s->connection->log, 0,
                      "buildkit: worker %V was offered no ALPN: "
                      "is \"proxy_ssl_session_reuse\" off?", &ctx->worker);
    }
}


static ngx_int_t
ngx_stream_buildkit_upstream_set_session(ngx_peer_connection_t *pc,
    void *data)
{
    ngx_stream_session_t  *s = data;

    ngx_connection_t                *c;
    ngx_stream_buildkit_ctx_t       *ctx;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    c = pc->connection;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);
    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);

    /* returns 0 on success */

    if (SSL_set_alpn_protos(c->ssl->connection, ngx_stream_buildkit_alpn,
                            sizeof(ngx_stream_buildkit_alpn) - 1)
        != 0)
    {
        ngx_ssl_error(NGX_LOG_ERR, s->connection->log, 0,
                      "SSL_set_alpn_protos() failed");
        return NGX_ERROR;
    }

    ctx->session_set = 1;

    ngx_stream_buildkit_trouble_watch(ctx, c->ssl->connection);

    if (ngx_stream_buildkit_worker_ca_set(s, c) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_stream_buildkit_sessions_set(bscf->main->sessions, s, ctx, c);
}


/* called from inside of OpenSSL, for each ticket */

static void
ngx_stream_buildkit_upstream_save_session(ngx_peer_connection_t *pc,
    void *data)
{
    ngx_stream_session_t  *s = data;

    ngx_stream_buildkit_ctx_t       *ctx;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);
    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);

    ngx_stream_buildkit_sessions_save(bscf->main->sessions, s, ctx,
                                      pc->connection);
}
