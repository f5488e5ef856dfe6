
/*
 * Which leaf certificates have been verified before: skipping the chain
 * saves about a tenth of a connection's CPU.
 *
 * One cache per SSL_CTX and cycle, so it knows one set of CAs and CRLs only.
 * An entry is the SHA-256 of the leaf's DER and the moment from which some
 * link of its chain, or a CRL, is out of date.  Fixed size: a newcomer takes
 * the place of whoever was there.  Per process, like all of its memory.
 */


#include "ngx_stream_buildkit_module.h"


#define NGX_STREAM_BUILDKIT_CHAINS  1024    /* power of two */


typedef struct {
    u_char   hash[NGX_STREAM_BUILDKIT_HASH_LEN];
    time_t   since;
    time_t   until;                         /* 0: empty */
} ngx_stream_buildkit_chain_t;


struct ngx_stream_buildkit_chains_s {
    time_t                       crl_until; /* of the first CRL to expire */
    ngx_stream_buildkit_chain_t  chain[NGX_STREAM_BUILDKIT_CHAINS];
};


static ngx_stream_buildkit_chain_t *ngx_stream_buildkit_chains_place(
    ngx_stream_buildkit_chains_t *chains, const u_char *hash);


ngx_stream_buildkit_chains_t *
ngx_stream_buildkit_chains_create(ngx_conf_t *cf, SSL_CTX *ssl_ctx)
{
    int                            i;
    time_t                         until;
    X509_CRL                      *crl;
    const ASN1_TIME               *next;
    STACK_OF(X509_OBJECT)         *objects;
    ngx_stream_buildkit_chains_t  *chains;

    chains = ngx_pcalloc(cf->pool, sizeof(ngx_stream_buildkit_chains_t));
    if (chains == NULL) {
        return NULL;
    }

    chains->crl_until = NGX_MAX_TIME_T_VALUE;

    objects = X509_STORE_get0_objects(SSL_CTX_get_cert_store(ssl_ctx));

    for (i = 0; i < sk_X509_OBJECT_num(objects); i++) {
        crl = X509_OBJECT_get0_X509_CRL(sk_X509_OBJECT_value(objects, i));
        next = crl ? X509_CRL_get0_nextUpdate(crl) : NULL;

        if (next == NULL) {
            continue;
        }

        until = ngx_stream_buildkit_asn1_time(next);
        chains->crl_until = ngx_min(chains->crl_until, until);
    }

    return chains;
}


ngx_int_t
ngx_stream_buildkit_chains_find(ngx_stream_buildkit_chains_t *chains,
    const u_char *hash)
{
    time_t                        now;
    ngx_stream_buildkit_chain_t  *chain;

    chain = ngx_stream_buildkit_chains_place(chains, hash);
    now = ngx_time();

    if (now < chain->since || now >= chain->until
        || ngx_memcmp(chain->hash, hash, NGX_STREAM_BUILDKIT_HASH_LEN) != 0)
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


void
ngx_stream_buildkit_chains_add(ngx_stream_buildkit_chains_t *chains,
    const u_char *hash, X509_STORE_CTX *store)
{
    int                           i;
    X509                         *cert;
    time_t                        since, until;
    STACK_OF(X509)               *certs;
    ngx_stream_buildkit_chain_t  *chain;

    certs = X509_STORE_CTX_get0_chain(store);

    since = 0;
    until = chains->crl_until;

    for (i = 0; i < sk_X509_num(certs); i++) {
        cert = sk_X509_value(certs, i);

        since = ngx_max(since, ngx_stream_buildkit_asn1_time(
                                                 X509_get0_notBefore(cert)));
        until = ngx_min(until, ngx_stream_buildkit_asn1_time(
                                                 X509_get0_notAfter(cert)));
    }

    chain = ngx_stream_buildkit_chains_place(chains, hash);

    ngx_memcpy(chain->hash, hash, NGX_STREAM_BUILDKIT_HASH_LEN);
    chain->since = since;
    chain->until = until;
}


static ngx_stream_buildkit_chain_t *
ngx_stream_buildkit_chains_place(ngx_stream_buildkit_chains_t *chains,
    const u_char *hash)
{
    uint32_t  n;

    ngx_memcpy(&n, hash, sizeof(uint32_t));

    return &chains->chain[n % NGX_STREAM_BUILDKIT_CHAINS];
}


/* Unix time, or 0 ("long ago") for what cannot be read */

time_t
ngx_stream_buildkit_asn1_time(const ASN1_TIME *at)
{
    struct tm  tm;

    if (ASN1_TIME_to_tm(at, &tm) != 1) {
        return 0;
    }

    return timegm(&tm);
}
