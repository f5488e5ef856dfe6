
/*
 * SHA-256, for tokens, keys and certificates.
 *
 * OpenSSL 3 looks an algorithm up by name each time it is asked for one that
 * was not fetched, which costs more than hashing a token: so it is fetched
 * once per cycle, with a context to work in.  nginx has one thread.
 */


#include "ngx_stream_buildkit_module.h"


static void ngx_stream_buildkit_digest_cleanup(void *data);


ngx_int_t
ngx_stream_buildkit_digest_init(ngx_conf_t *cf,
    ngx_stream_buildkit_main_conf_t *bmcf)
{
    ngx_pool_cleanup_t  *cln;

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_stream_buildkit_digest_cleanup;
    cln->data = bmcf;

    bmcf->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    bmcf->md = EVP_MD_CTX_new();

    if (bmcf->sha256 == NULL || bmcf->md == NULL
        || EVP_DigestInit_ex(bmcf->md, bmcf->sha256, NULL) != 1)
    {
        ngx_ssl_error(NGX_LOG_EMERG, cf->log, 0, "no SHA-256 in OpenSSL");
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_stream_buildkit_digest_cleanup(void *data)
{
    ngx_stream_buildkit_main_conf_t  *bmcf = data;

    EVP_MD_CTX_free(bmcf->md);
    EVP_MD_free(bmcf->sha256);
}


/* cannot fail: the context was made and tried when the cycle was */

void
ngx_stream_buildkit_sha256(ngx_stream_buildkit_main_conf_t *bmcf,
    const u_char *data, size_t len, u_char *hash)
{
    if (EVP_DigestInit_ex(bmcf->md, bmcf->sha256, NULL) != 1
        || EVP_DigestUpdate(bmcf->md, data, len) != 1
        || EVP_DigestFinal_ex(bmcf->md, hash, NULL) != 1)
    {
        /* a key that nothing has */
        ngx_memzero(hash, NGX_STREAM_BUILDKIT_HASH_LEN);
    }
}
