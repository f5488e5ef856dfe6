
/*
 * buildkit_worker_ca: workers whose certificates carry no name of theirs, as
 * those of other controllers.  nginx cannot verify a chain without a name, so
 * OpenSSL does it in the handshake: nothing is sent to a worker whose
 * certificate is not a server's of this authority.
 *
 * An address may be another worker's by now.  Where certificates have the name
 * of a namespace (buildkit-worker.NAMESPACE.svc.cluster.local), one of another
 * namespace is refused all the same: it has a name of the kind that the table
 * has for this worker, but for the second label, and not that one.
 */


#include "ngx_stream_buildkit_module.h"


static void ngx_stream_buildkit_worker_ca_cleanup(void *data);
static int ngx_stream_buildkit_worker_ca_verify(int ok, X509_STORE_CTX *store);
static ngx_uint_t ngx_stream_buildkit_worker_ca_other(X509 *cert,
    ngx_str_t *name);
static ngx_uint_t ngx_stream_buildkit_worker_ca_kind(ngx_str_t *one,
    ngx_str_t *two);


char *
ngx_stream_buildkit_worker_ca(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_stream_buildkit_srv_conf_t  *bscf = conf;

    ngx_str_t           *value;
    X509_STORE          *store;
    ngx_pool_cleanup_t  *cln;

    if (bscf->worker_ca != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "needs a path";
    }

    if (ngx_conf_full_name(cf->cycle, &value[1], 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        return NGX_CONF_ERROR;
    }

    store = X509_STORE_new();
    if (store == NULL) {
        ngx_ssl_error(NGX_LOG_EMERG, cf->log, 0, "X509_STORE_new() failed");
        return NGX_CONF_ERROR;
    }

    cln->handler = ngx_stream_buildkit_worker_ca_cleanup;
    cln->data = store;

    /* a file without any certificate is an error as well */

    if (X509_STORE_load_locations(store, (char *) value[1].data, NULL) != 1) {
        ngx_ssl_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"buildkit_worker_ca\": no certificates can be read "
                      "from \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    bscf->worker_ca = store;

    return NGX_CONF_OK;
}


static void
ngx_stream_buildkit_worker_ca_cleanup(void *data)
{
    X509_STORE_free(data);
}


/*
 * Before the handshake.  A session that is resumed was verified when it was
 * made: it is kept for this SSL_CTX alone, which is this server's.
 */

ngx_int_t
ngx_stream_buildkit_worker_ca_set(ngx_stream_session_t *s,
    ngx_connection_t *c)
{
    ngx_stream_buildkit_srv_conf_t  *bscf;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    if (bscf->worker_ca == NULL) {
        return NGX_OK;
    }

    if (SSL_set1_verify_cert_store(c->ssl->connection, bscf->worker_ca) != 1) {
        ngx_ssl_error(NGX_LOG_ERR, c->log, 0,
                      "SSL_set1_verify_cert_store() failed");
        return NGX_ERROR;
    }

    SSL_set_verify(c->ssl->connection, SSL_VERIFY_PEER,
                   ngx_stream_buildkit_worker_ca_verify);

    return NGX_OK;
}


static int
ngx_stream_buildkit_worker_ca_verify(int ok, X509_STORE_CTX *store)
{
    ngx_connection_t           *c;
    ngx_ssl_conn_t             *ssl_conn;
    ngx_stream_session_t       *s;
    ngx_stream_buildkit_ctx_t  *ctx;

    if (!ok || X509_STORE_CTX_get_error_depth(store) != 0) {
        return ok;
    }

    ssl_conn = X509_STORE_CTX_get_ex_data(store,
                                         SSL_get_ex_data_X509_STORE_CTX_idx());

    c = ngx_ssl_get_connection(ssl_conn);
    s = c->data;
    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);

    if (ngx_stream_buildkit_worker_ca_other(
                          X509_STORE_CTX_get_current_cert(store),
                          &ctx->tls_name))
    {
        X509_STORE_CTX_set_error(store, X509_V_ERR_HOSTNAME_MISMATCH);
        return 0;
    }

    return 1;
}


/* 1: it has names of that kind, and this one is not among them */

static ngx_uint_t
ngx_stream_buildkit_worker_ca_other(X509 *cert, ngx_str_t *name)
{
    int             i;
    ngx_str_t       dns;
    ngx_uint_t      other;
    GENERAL_NAME   *gn;
    GENERAL_NAMES  *names;

    other = 0;

    /* one that cannot be read is none */

    names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);

    for (i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        gn = sk_GENERAL_NAME_value(names, i);

        if (gn->type != GEN_DNS) {
            continue;
        }

        dns.data = (u_char *) ASN1_STRING_get0_data(gn->d.dNSName);
        dns.len = ASN1_STRING_length(gn->d.dNSName);

        if (dns.len == name->len
            && ngx_strncasecmp(dns.data, name->data, dns.len) == 0)
        {
            other = 0;
            break;
        }

        if (ngx_stream_buildkit_worker_ca_kind(&dns, name)) {
            other = 1;
        }
    }

    GENERAL_NAMES_free(names);

    return other;
}


/* the same but for the second label, of three or more */

static ngx_uint_t
ngx_stream_buildkit_worker_ca_kind(ngx_str_t *one, ngx_str_t *two)
{
    size_t   first, len;
    u_char  *p, *q, *last, *end;

    last = one->data + one->len;
    end = two->data + two->len;

    p = ngx_strlchr(one->data, last, '.');
    q = ngx_strlchr(two->data, end, '.');

    if (p == NULL || q == NULL) {
        return 0;
    }

    first = p - one->data;

    if (first != (size_t) (q - two->data)
        || ngx_strncasecmp(one->data, two->data, first) != 0)
    {
        return 0;
    }

    p = ngx_strlchr(p + 1, last, '.');
    q = ngx_strlchr(q + 1, end, '.');

    if (p == NULL || q == NULL) {
        return 0;
    }

    len = last - p;

    return len == (size_t) (end - q) && ngx_strncasecmp(p, q, len) == 0;
}
