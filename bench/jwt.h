/*
 * Bearer tokens of calls.c: what an issuer's ES256 key signs, and its JWKS.
 * One token for each caller, as CI jobs have them.
 */

#ifndef BENCH_JWT_H_INCLUDED
#define BENCH_JWT_H_INCLUDED

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>

#include "bench.h"


#define JWT_COORDINATE  32      /* bytes, P-256 */
#define JWT_MAX         1024


typedef struct {
    EVP_PKEY    *key;
    const char  *issuer;
} jwt_issuer_t;


/* base64url of len bytes, without padding; returns its length. */
static inline size_t
jwt_base64url(const void *data, size_t len, char *out)
{
    size_t  i, n;

    n = (size_t) EVP_EncodeBlock((unsigned char *) out, data, (int) len);

    while (n > 0 && out[n - 1] == '=') {
        n--;
    }

    out[n] = '\0';

    for (i = 0; i < n; i++) {
        out[i] = out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i];
    }

    return n;
}


static inline void
jwt_issuer(jwt_issuer_t *j, const char *issuer)
{
    j->issuer = issuer;
    j->key = EVP_EC_gen("P-256");

    if (j->key == NULL) {
        bench_die(0, "no P-256 key");
    }
}


static inline void
jwt_coordinate(const jwt_issuer_t *j, const char *name, char *out)
{
    BIGNUM         *n = NULL;
    unsigned char   data[JWT_COORDINATE];

    if (EVP_PKEY_get_bn_param(j->key, name, &n) != 1
        || BN_bn2binpad(n, data, sizeof(data)) != JWT_COORDINATE)
    {
        bench_die(0, "a key without %s", name);
    }

    (void) jwt_base64url(data, sizeof(data), out);
    BN_free(n);
}


static inline void
jwt_print_jwks(const jwt_issuer_t *j)
{
    char  x[2 * JWT_COORDINATE], y[2 * JWT_COORDINATE];

    jwt_coordinate(j, OSSL_PKEY_PARAM_EC_PUB_X, x);
    jwt_coordinate(j, OSSL_PKEY_PARAM_EC_PUB_Y, y);

    printf("{\"keys\": [{\"kty\": \"EC\", \"crv\": \"P-256\", \"use\": "
           "\"sig\", \"alg\": \"ES256\", \"kid\": \"bench\", \"x\": \"%s\", "
           "\"y\": \"%s\"}]}\n", x, y);
    fflush(stdout);
}


/* Claims as GitHub Actions has them; number makes it one of its own. */
static inline char *
jwt_new(const jwt_issuer_t *j, unsigned number)
{
    int                    n;
    char                  *out, *text;
    size_t                 len, der_len;
    ECDSA_SIG             *sig;
    EVP_MD_CTX            *ctx;
    unsigned char          der[128], raw[2 * JWT_COORDINATE];
    const unsigned char   *p;

    static const char      head[] = "{\"alg\":\"ES256\",\"kid\":\"bench\","
                                    "\"typ\":\"JWT\"}";

    n = asprintf(&text, "{\"iss\":\"%s\",\"aud\":\"bench\",\"sub\":"
                 "\"repo:octo/app-%u:ref:refs/heads/main\",\"repository\":"
                 "\"octo/app-%u\",\"ref\":\"refs/heads/main\",\"run_id\":"
                 "\"%u\",\"iat\":%lld,\"exp\":%lld}", j->issuer, number % 500,
                 number % 500, number, (long long) time(NULL) - 5,
                 (long long) time(NULL) + 3600);
    out = malloc(JWT_MAX);

    if (n == -1 || out == NULL || n > JWT_MAX / 2) {
        bench_die(0, "out of memory");
    }

    len = jwt_base64url(head, sizeof(head) - 1, out);
    out[len++] = '.';
    len += jwt_base64url(text, (size_t) n, out + len);
    free(text);

    ctx = EVP_MD_CTX_new();
    der_len = sizeof(der);

    if (ctx == NULL
        || EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, j->key) != 1
        || EVP_DigestSign(ctx, der, &der_len, (unsigned char *) out, len)
           != 1)
    {
        bench_die(0, "cannot sign");
    }

    EVP_MD_CTX_free(ctx);

    p = der;
    sig = d2i_ECDSA_SIG(NULL, &p, (long) der_len);

    if (sig == NULL
        || BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, JWT_COORDINATE) == -1
        || BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + JWT_COORDINATE,
                        JWT_COORDINATE) == -1)
    {
        bench_die(0, "cannot sign");
    }

    ECDSA_SIG_free(sig);

    out[len++] = '.';
    (void) jwt_base64url(raw, sizeof(raw), out + len);

    return out;
}

#endif /* BENCH_JWT_H_INCLUDED */
