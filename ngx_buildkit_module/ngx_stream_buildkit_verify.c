
/*
 * Who the client is: the module's own check of the certificate.
 *
 * nginx's directives may forgive a broken chain, forget the first error for
 * the last, or drop the client without a word.  So the SSL_CTX gets a verify
 * callback of ours, which records the true result in the session, and the
 * preread handler demands it, whatever nginx made of it.  A session without
 * such a record (resumed, another server's context) is refused.
 */


#include "ngx_stream_buildkit_module.h"


#define NGX_STREAM_BUILDKIT_CERT_MAX  16384

#define NGX_STREAM_BUILDKIT_AGAIN  "run bkctl allocate to get a new one"


static int ngx_stream_buildkit_verify_cert(X509_STORE_CTX *store, void *data);
static int ngx_stream_buildkit_verify_error(int ok, X509_STORE_CTX *store);
static ngx_int_t ngx_stream_buildkit_verify_hash(
    ngx_stream_buildkit_main_conf_t *bmcf, X509 *cert, u_char *hash);
static int ngx_stream_buildkit_verify_alpn(ngx_ssl_conn_t *ssl_conn,
    const unsigned char **out, unsigned char *outlen, const unsigned char *in,
    unsigned int inlen, void *arg);
static ngx_int_t ngx_stream_buildkit_verify_refuse(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, X509 *cert);


ngx_int_t
ngx_stream_buildkit_verify_init(ngx_conf_t *cf,
    ngx_stream_buildkit_srv_conf_t *bscf, ngx_stream_buildkit_ssl_conf_t *sslcf)
{
    SSL_CTX              *ssl_ctx;
    ngx_uint_t            ocsp;
    STACK_OF(X509_NAME)  *list;

    ssl_ctx = sslcf->ssl.ctx;

    bscf->verify = sslcf->verify;

#if (nginx_version >= 1027002)
    /* needs the verified chain of every connection */
    ocsp = sslcf->ocsp;
#else
    ocsp = 0;
#endif

    if (!ocsp) {
        bscf->chains = ngx_stream_buildkit_chains_create(cf, ssl_ctx);
        if (bscf->chains == NULL) {
            return NGX_ERROR;
        }
    }

    SSL_CTX_set_cert_verify_callback(ssl_ctx, ngx_stream_buildkit_verify_cert,
                                     bscf);

    SSL_CTX_set_alpn_select_cb(ssl_ctx, ngx_stream_buildkit_verify_alpn, NULL);

    /*
     * No client of ours resumes, and a resumed session would prove neither
     * the key nor that the chain is still good.
     */

    SSL_CTX_set_options(ssl_ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(ssl_ctx, SSL_SESS_CACHE_OFF);

    if (SSL_CTX_set_num_tickets(ssl_ctx, 0) != 1) {
        ngx_ssl_error(NGX_LOG_EMERG, cf->log, 0,
                      "SSL_CTX_set_num_tickets() failed");
        return NGX_ERROR;
    }

    if (sslcf->verify == 3) {

        /* Go sends no certificate at all if its issuer is not in the list */

        list = sk_X509_NAME_new_null();
        if (list == NULL) {
            return NGX_ERROR;
        }

        SSL_CTX_set_client_CA_list(ssl_ctx, list);
    }

    return NGX_OK;
}


/* called by OpenSSL in place of X509_verify_cert(); 1: handshake goes on */

static int
ngx_stream_buildkit_verify_cert(X509_STORE_CTX *store, void *data)
{
    ngx_stream_buildkit_srv_conf_t  *bscf = data;

    X509                       *cert;
    u_char                      hash[NGX_STREAM_BUILDKIT_HASH_LEN];
    ngx_int_t                   known;
    ngx_ssl_conn_t             *ssl_conn;
    ngx_connection_t           *c;
    ngx_stream_buildkit_ctx_t  *ctx;

    ssl_conn = X509_STORE_CTX_get_ex_data(store,
                                        SSL_get_ex_data_X509_STORE_CTX_idx());
    c = ngx_ssl_get_connection(ssl_conn);
    cert = X509_STORE_CTX_get0_cert(store);

    ctx = ngx_stream_buildkit_get_ctx(c->data);

    if (ctx == NULL || cert == NULL) {
        X509_STORE_CTX_set_error(store, X509_V_ERR_OUT_OF_MEM);
        return 0;
    }

    /* the default server of the address may be another one, with tickets */

    if (SSL_get_num_tickets(ssl_conn)) {
        (void) SSL_set_num_tickets(ssl_conn, 0);
    }

    ctx->verified = bscf;
    ctx->verify_error = X509_V_ERR_UNSPECIFIED;

    known = bscf->chains ? ngx_stream_buildkit_verify_hash(bscf->main, cert,
                                                           hash)
                         : NGX_DECLINED;

    if (known == NGX_OK
        && ngx_stream_buildkit_chains_find(bscf->chains, hash) == NGX_OK)
    {
        ctx->verify_error = X509_V_OK;
        X509_STORE_CTX_set_error(store, X509_V_OK);
        return 1;
    }

    X509_STORE_CTX_set_verify_cb(store, ngx_stream_buildkit_verify_error);

    if (X509_verify_cert(store) > 0
        && X509_STORE_CTX_get_error(store) == X509_V_OK)
    {
        ctx->verify_error = X509_V_OK;

        if (known == NGX_OK) {
            ngx_stream_buildkit_chains_add(bscf->chains, hash, store);
        }

        return 1;
    }

    ctx->verify_error = X509_STORE_CTX_get_error(store);
    ctx->verify_depth = X509_STORE_CTX_get_error_depth(store);

    if (ctx->verify_error == X509_V_OK) {
        ctx->verify_error = X509_V_ERR_UNSPECIFIED;
    }

    ERR_clear_error();

    if (bscf->verify == 3) {

        /* the one error that optional_no_ca lets through to preread */

        X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_UNTRUSTED);

    } else {
        /* nginx drops the client after the handshake and logs this */
        X509_STORE_CTX_set_error(store, (int) ctx->verify_error);
    }

    return 1;
}


/* without a callback of ours nginx's would go on and lose the first error */

static int
ngx_stream_buildkit_verify_error(int ok, X509_STORE_CTX *store)
{
    return ok;
}


static ngx_int_t
ngx_stream_buildkit_verify_hash(ngx_stream_buildkit_main_conf_t *bmcf,
    X509 *cert, u_char *hash)
{
    int     len;
    u_char  der[NGX_STREAM_BUILDKIT_CERT_MAX], *p;

    len = i2d_X509(cert, NULL);

    if (len <= 0 || len > NGX_STREAM_BUILDKIT_CERT_MAX) {
        return NGX_DECLINED;
    }

    p = der;
    (void) i2d_X509(cert, &p);

    ngx_stream_buildkit_sha256(bmcf, der, len, hash);

    return NGX_OK;
}


/* h2 if it is offered; a client that offers none or others goes on without */

static int
ngx_stream_buildkit_verify_alpn(ngx_ssl_conn_t *ssl_conn,
    const unsigned char **out, unsigned char *outlen, const unsigned char *in,
    unsigned int inlen, void *arg)
{
    unsigned int  i;

    for (i = 0; i < inlen; i += in[i] + 1) {
        if (in[i] == 2 && inlen - i > 2 && in[i + 1] == 'h' && in[i + 2] == '2')
        {
            *out = &in[i + 1];
            *outlen = 2;
            return SSL_TLSEXT_ERR_OK;
        }
    }

    return SSL_TLSEXT_ERR_NOACK;
}


ngx_int_t
ngx_stream_buildkit_verify_peer(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    X509                            *cert;
    const char                      *status;
    ngx_connection_t                *c;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    c = s->connection;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    cert = SSL_get0_peer_certificate(c->ssl->connection);

    if (cert == NULL) {
        return ngx_stream_buildkit_refuse(s, ctx,
                   BK_REFUSED_CERTIFICATE,
                   "no client certificate was sent; run bkctl allocate and "
                   "pass its certificate and key to the client");
    }

    if (ctx->verified != bscf) {
        return ngx_stream_buildkit_refuse(s, ctx,
                   BK_REFUSED_CERTIFICATE,
                   "the client certificate was not verified on this "
                   "connection; connect again without resuming a session");
    }

    if (ctx->verify_error != X509_V_OK) {
        return ngx_stream_buildkit_verify_refuse(s, ctx, cert);
    }

    if (SSL_get_verify_result(c->ssl->connection) != X509_V_OK) {
        ctx->verify_error = SSL_get_verify_result(c->ssl->connection);
        return ngx_stream_buildkit_verify_refuse(s, ctx, cert);
    }

    if (ngx_ssl_ocsp_get_status(c, &status) != NGX_OK) {
        return ngx_stream_buildkit_refuse(s, ctx,
                   BK_REFUSED_CERTIFICATE,
                   "the authority's OCSP service does not vouch for the "
                   "client certificate (%s); "
                   NGX_STREAM_BUILDKIT_AGAIN, status);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_stream_buildkit_verify_refuse(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, X509 *cert)
{
    u_char       buf[128], *last;
    time_t       sec;
    const char  *text;

    text = X509_verify_cert_error_string(ctx->verify_error);

    switch (ctx->verify_error) {

    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:

        if (ctx->verify_depth != 0) {
            return ngx_stream_buildkit_refuse(s, ctx,
                       BK_REFUSED_CERTIFICATE,
                       "the authority that issued the client certificate is "
                       "out of date (%s); ask the gateway's operator to "
                       "renew it", text);
        }

        if (ctx->verify_error == X509_V_ERR_CERT_HAS_EXPIRED) {
            sec = ngx_stream_buildkit_asn1_time(X509_get0_notAfter(cert));
            last = ngx_stream_buildkit_when(buf, buf + sizeof(buf), sec);

            return ngx_stream_buildkit_refuse(s, ctx,
                       BK_REFUSED_CERTIFICATE,
                       "the client certificate expired at %*s; "
                       NGX_STREAM_BUILDKIT_AGAIN, last - buf, buf);
        }

        sec = ngx_stream_buildkit_asn1_time(X509_get0_notBefore(cert));
        last = ngx_stream_buildkit_time(buf, sec);

        return ngx_stream_buildkit_refuse(s, ctx,
                   BK_REFUSED_CERTIFICATE,
                   "the client certificate is not valid before %*s; "
                   "compare the clocks of its issuer and of the gateway",
                   last - buf, buf);

    case X509_V_ERR_INVALID_PURPOSE:
        return ngx_stream_buildkit_refuse(s, ctx,
                   BK_REFUSED_CERTIFICATE,
                   "the certificate was not issued for clients (%s); "
                   "use the client certificate that bkctl allocate wrote",
                   text);

    case X509_V_ERR_CERT_REVOKED:
        return ngx_stream_buildkit_refuse(s, ctx,
                   BK_REFUSED_CERTIFICATE,
                   "the client certificate was revoked by its authority; "
                   NGX_STREAM_BUILDKIT_AGAIN);

    case X509_V_ERR_UNABLE_TO_GET_CRL:
    case X509_V_ERR_CRL_HAS_EXPIRED:
    case X509_V_ERR_CRL_NOT_YET_VALID:
    case X509_V_ERR_CRL_SIGNATURE_FAILURE:
        return ngx_stream_buildkit_refuse(s, ctx,
                   BK_REFUSED_CERTIFICATE,
                   "the gateway cannot tell whether the client certificate "
                   "was revoked (%s); ask its operator for a new CRL", text);

    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        return ngx_stream_buildkit_refuse(s, ctx,
                   BK_REFUSED_CERTIFICATE,
                   "the client certificate is not from an authority that "
                   "this gateway trusts (%s); use the certificate that "
                   "bkctl allocate wrote for this gateway", text);

    default:
        return ngx_stream_buildkit_refuse(s, ctx,
                   BK_REFUSED_CERTIFICATE,
                   "the client certificate does not verify (%s); "
                   NGX_STREAM_BUILDKIT_AGAIN, text);
    }
}
