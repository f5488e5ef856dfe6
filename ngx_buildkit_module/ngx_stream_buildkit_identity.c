
/*
 * Who a client is, by its verified certificate: the token in it says which
 * allocation, the key whether it is whom that was issued for.
 *
 * The token is forgotten as soon as its hash is known.
 */


#include "ngx_stream_buildkit_module.h"


#define NGX_STREAM_BUILDKIT_SPKI_MAX  4096


ngx_int_t
ngx_stream_buildkit_identity_token(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    X509                            *cert;
    size_t                           len;
    u_char                           token[NGX_STREAM_BUILDKIT_TOKEN_LEN];
    ngx_stream_buildkit_token_e      rc;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    cert = SSL_get0_peer_certificate(s->connection->ssl->connection);

    rc = ngx_stream_buildkit_token_parse(cert, token, &len);

    switch (rc) {

    case ngx_stream_buildkit_token_ok:
        break;

    case ngx_stream_buildkit_token_none:
        return ngx_stream_buildkit_refuse(s, ctx,
                   BK_REFUSED_NO_TOKEN,
                   "this certificate carries no allocation; "
                   "run bkctl allocate");

    case ngx_stream_buildkit_token_many:
        return ngx_stream_buildkit_refuse(s, ctx,
                   BK_REFUSED_NO_TOKEN,
                   "this certificate carries more than one allocation; "
                   "run bkctl allocate to get one with exactly one");

    case ngx_stream_buildkit_token_names:
        return ngx_stream_buildkit_refuse(s, ctx,
                   BK_REFUSED_NO_TOKEN,
                   "this certificate has more than one common name, which "
                   "is ambiguous; run bkctl allocate to get a plain one");

    case ngx_stream_buildkit_token_length:
        return ngx_stream_buildkit_refuse(s, ctx,
                   BK_REFUSED_NO_TOKEN,
                   "the allocation token in this certificate is empty or "
                   "longer than %d characters; run bkctl allocate",
                   NGX_STREAM_BUILDKIT_TOKEN_LEN);

    default: /* ngx_stream_buildkit_token_invalid */
        return ngx_stream_buildkit_refuse(s, ctx,
                   BK_REFUSED_NO_TOKEN,
                   "the allocation token in this certificate has characters "
                   "that no token has; run bkctl allocate");
    }

    ngx_stream_buildkit_sha256(bscf->main, token, len, ctx->key);
    ngx_memzero(token, len);

    (void) ngx_hex_dump(ctx->id, ctx->key, NGX_STREAM_BUILDKIT_ID_LEN / 2);
    ctx->id_set = 1;

    return NGX_OK;
}


/* a token alone is worth nothing where the allocation names its key */

ngx_int_t
ngx_stream_buildkit_identity_key(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_stream_buildkit_route_t *route)
{
    int                              len;
    X509                            *cert;
    u_char                           der[NGX_STREAM_BUILDKIT_SPKI_MAX], *p;
    u_char                           hash[NGX_STREAM_BUILDKIT_HASH_LEN];
    X509_PUBKEY                     *spki;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    if (!(route->found.alloc.flags & BK_ALLOC_KEY_BOUND)) {
        return NGX_OK;
    }

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    cert = SSL_get0_peer_certificate(s->connection->ssl->connection);
    spki = X509_get_X509_PUBKEY(cert);

    len = i2d_X509_PUBKEY(spki, NULL);

    if (len > 0 && len <= NGX_STREAM_BUILDKIT_SPKI_MAX) {
        p = der;
        (void) i2d_X509_PUBKEY(spki, &p);

        ngx_stream_buildkit_sha256(bscf->main, der, len, hash);

        if (CRYPTO_memcmp(hash, route->found.key_hash, sizeof(hash)) == 0) {
            return NGX_OK;
        }
    }

    ngx_log_error(NGX_LOG_WARN, s->connection->log, 0,
                  "buildkit: attack: the token of allocation %*s came with "
                  "another key than the one it was issued for",
                  (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id);

    return ngx_stream_buildkit_refuse(s, ctx,
               BK_REFUSED_KEY,
               "this certificate's key is not the one that allocation %*s "
               "was issued for; use the certificate and key that bkctl "
               "allocate wrote",
               (size_t) NGX_STREAM_BUILDKIT_ID_LEN, ctx->id);
}
