
/*
 * What is wrong with a worker that does not answer, in plain words: for the
 * person whose build it is, who cannot see the gateway's log.
 *
 * The words stay in ctx->trouble until the next try fails.  Reasons that a
 * worker gives itself are TLS alerts, which are listened for.
 */


#include "ngx_stream_buildkit_retry.h"


/* TLS 1.3 (RFC 8446, 6.2); not every OpenSSL has words for it */
#define NGX_STREAM_BUILDKIT_TROUBLE_CERT  116


static void ngx_stream_buildkit_trouble_message(int write, int version,
    int type, const void *buf, size_t len, SSL *ssl, void *arg);


void
ngx_stream_buildkit_trouble(ngx_stream_buildkit_ctx_t *ctx,
    const char *fmt, ...)
{
    va_list                       args;
    ngx_stream_buildkit_retry_t  *r;

    r = ctx->retry;

    va_start(args, fmt);
    ctx->trouble.len = ngx_vslprintf(r->text, r->text + sizeof(r->text), fmt,
                                     args)
                       - r->text;
    va_end(args);

    ctx->trouble.data = r->text;
}


void
ngx_stream_buildkit_trouble_errno(ngx_stream_buildkit_ctx_t *ctx, ngx_err_t err)
{
    switch (err) {

    case 0:
        ngx_stream_buildkit_trouble(ctx, "the connection failed");
        break;

    case NGX_ECONNREFUSED:
        ngx_stream_buildkit_trouble(ctx, "connection refused");
        break;

    case NGX_ETIMEDOUT:
        ngx_stream_buildkit_trouble(ctx, "it did not answer");
        break;

    default:
        ngx_stream_buildkit_trouble(ctx, "%s", strerror(err));
    }
}


void
ngx_stream_buildkit_trouble_tls(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_connection_t *pc)
{
    long  rc;

    rc = SSL_get_verify_result(pc->ssl->connection);

    if (!pc->ssl->handshaked) {

        /* with buildkit_worker_ca it is the handshake that fails */

        if (rc != X509_V_OK
            && SSL_get_verify_mode(pc->ssl->connection) == SSL_VERIFY_PEER)
        {
            ngx_stream_buildkit_trouble(ctx,
                          "its certificate is not trusted: %s",
                          X509_verify_cert_error_string(rc));
            return;
        }

        if (ngx_stream_buildkit_trouble_alert(ctx)) {
            return;
        }

        if (pc->write->timedout || pc->read->timedout) {
            ngx_stream_buildkit_trouble(ctx,
                          "it did not finish the TLS handshake in %Ms",
                          (ngx_current_msec - s->upstream->start_time) / 1000);

        } else if (pc->read->error) {
            ngx_stream_buildkit_trouble(ctx,
                          "the TLS handshake failed; is that port TLS?");

        } else {
            ngx_stream_buildkit_trouble(ctx,
                          "it closed the connection in the TLS handshake");
        }

        return;
    }

    if (rc != X509_V_OK) {
        ngx_stream_buildkit_trouble(ctx,
                          "its certificate is not trusted: %s",
                          X509_verify_cert_error_string(rc));
        return;
    }

    ngx_stream_buildkit_trouble(ctx,
                          "its certificate is not valid for \"%V\"",
                          &s->upstream->ssl_name);
}


void
ngx_stream_buildkit_trouble_watch(ngx_stream_buildkit_ctx_t *ctx, SSL *ssl)
{
    SSL_set_msg_callback(ssl, ngx_stream_buildkit_trouble_message);
    SSL_set_msg_callback_arg(ssl, ctx->retry);
}


/* called from inside of OpenSSL for each record; nginx only logs alerts */

static void
ngx_stream_buildkit_trouble_message(int write, int version, int type,
    const void *buf, size_t len, SSL *ssl, void *arg)
{
    ngx_stream_buildkit_retry_t  *r = arg;

    const u_char  *p;

    p = buf;

    if (!write && type == SSL3_RT_ALERT && len == 2
        && p[1] != SSL_AD_CLOSE_NOTIFY)
    {
        r->alert = p[1];
    }
}


ngx_uint_t
ngx_stream_buildkit_trouble_alert(ngx_stream_buildkit_ctx_t *ctx)
{
    const char  *text;

    switch (ctx->retry->alert) {

    case 0:
        return 0;

    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_ACCESS_DENIED:
    case NGX_STREAM_BUILDKIT_TROUBLE_CERT:
        text = "it does not accept the gateway's certificate: %s";
        break;

    default:
        text = "the TLS handshake failed, as it says: %s";
    }

    ngx_stream_buildkit_trouble(ctx, text,
                      ctx->retry->alert == NGX_STREAM_BUILDKIT_TROUBLE_CERT
                      ? "certificate required"
                      : SSL_alert_desc_string_long((int) ctx->retry->alert));

    return 1;
}
