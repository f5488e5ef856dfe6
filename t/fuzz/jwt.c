/*
 * FUZZ_SOURCES: plugin-host/plugins/oidc/jwt.c
 *     plugin-host/plugins/oidc/jwks.c plugin-host/plugins/oidc/claims.c
 *     plugin-host/plugins/oidc/text.c plugin-host/src/err.c
 * FUZZ_CFLAGS: -Iplugin-host/plugins/oidc
 * FUZZ_LIBS: -ljose -ljansson -lcyaml -lcrypto
 */

/*
 * A bearer token, whatever it is: it is another's, refused with a reason
 * that holds none of it, or read.  Nothing that the fuzzer can make is
 * signed by the keys, so nothing may ever be accepted.  The first byte says
 * whether the rest is a token, or header and payload (divided by a NUL) to be
 * encoded, so that JSON is reached as well.
 */

#include <assert.h>
#include <jose/b64.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "claims.h"


#define FUZZ_NOW_MS  UINT64_C(1800000000000)


int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *fuzz_token(const uint8_t *data, size_t size, size_t *len);
static void fuzz_judge(const oidc_jwt_t *jwt);
static void fuzz_refused(const bk_err_t *err);


/* RFC 7515 A.2 (RSA 2048) and A.3 (P-256), and a key that both may find */
static const char  fuzz_keys[] =
    "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"rsa\",\"e\":\"AQAB\",\"n\":\""
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qP"
    "CJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47s"
    "oMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2"
    "R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoud"
    "F8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\"},"
    "{\"kty\":\"EC\",\"kid\":\"ec\",\"crv\":\"P-256\","
    "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}";

static oidc_keys_t         *keys;
static char                *audiences[] = { "builds", "other" };
static oidc_issuer_conf_t   issuer = {
    .name = "main",
    .url = "https://issuer.example",
    .audience = audiences,
    .audience_count = 2,
    .user = "sub",
    .algs = OIDC_ALGS_ALL,
    .leeway_ms = 60000
};


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    bk_err_t  err;

    (void) argc;
    (void) argv;

    keys = oidc_keys_parse(fuzz_keys, sizeof(fuzz_keys) - 1, &err);
    assert(keys != NULL && keys->n == 2);

    return 0;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int          rc;
    char        *text;
    size_t       len;
    bk_err_t     err;
    oidc_jwt_t   jwt;

    if (size < 1) {
        return 0;
    }

    text = fuzz_token(data, size, &len);
    memset(&err, 0, sizeof(err));
    rc = oidc_jwt_parse(&jwt, (bk_str_t) { text, len }, &err);

    if (rc == -1) {
        fuzz_refused(&err);

    } else if (rc == 0) {
        assert(len <= OIDC_TOKEN_MAX);
        assert(json_is_object(jwt.head) && json_is_object(jwt.claims));
        fuzz_judge(&jwt);
        oidc_jwt_free(&jwt);
    }

    free(text);

    return 0;
}


static char *
fuzz_token(const uint8_t *data, size_t size, size_t *len)
{
    char           *text, *p;
    size_t          n, head, rest;
    const uint8_t  *nul;

    if (data[0] & 1) {
        text = malloc(size);
        assert(text != NULL);
        memcpy(text, data + 1, size - 1);
        *len = size - 1;
        return text;
    }

    data++;
    size--;
    nul = memchr(data, '\0', size);
    head = nul != NULL ? (size_t) (nul - data) : 0;
    rest = nul != NULL ? head + 1 : 0;

    text = malloc(size * 2 + 32);
    assert(text != NULL);
    p = text;
    n = jose_b64_enc_buf(data, head, p, size * 2 + 16);
    p += n != SIZE_MAX ? n : 0;
    *p++ = '.';
    n = jose_b64_enc_buf(data + rest, size - rest, p, size * 2 + 16
                         - (size_t) (p - text));
    p += n != SIZE_MAX ? n : 0;
    *p++ = '.';
    memset(p, 'A', 12);
    *len = (size_t) (p + 12 - text);

    return text;
}


static void
fuzz_judge(const oidc_jwt_t *jwt)
{
    int                alg, rc;
    char               name[OIDC_NAME_MAX + 1];
    size_t             i;
    uint64_t           until;
    bk_err_t           err;
    const char        *kid;
    const oidc_key_t  *key;

    memset(&err, 0, sizeof(err));
    alg = oidc_jwt_alg(jwt, issuer.algs, &err);

    if (alg < 0) {
        fuzz_refused(&err);
        return;
    }

    if (oidc_claims_check(jwt, &issuer, FUZZ_NOW_MS, &until, &err) == 0) {
        assert(until > FUZZ_NOW_MS);
        assert(strcmp(oidc_jwt_claim(jwt, "iss"), issuer.url) == 0);

    } else {
        fuzz_refused(&err);
    }

    if (oidc_claims_name(jwt, "main", "sub", name, &err) == 0) {
        assert(strncmp(name, "main:", 5) == 0);
        assert(strlen(name) <= OIDC_NAME_MAX);

        for (i = 0; name[i] != '\0'; i++) {
            assert((unsigned char) name[i] >= 0x20 && name[i] != 0x7f);
        }
    }

    (void) oidc_claims_name(jwt, "main", "/a/b~1c", name, &err);
    (void) oidc_claims_exp(jwt);

    kid = oidc_jwt_kid(jwt);
    rc = oidc_keys_find(keys, kid, alg, &key, &err);

    if (rc == 0) {
        assert(key->algs & (1u << alg));
        rc = oidc_jwt_verify(jwt, alg, key, &err);
        assert(rc == -1);
        fuzz_refused(&err);
    }
}


static void
fuzz_refused(const bk_err_t *err)
{
    size_t  i;

    assert(err->code == 401);
    assert(err->reason[0] != '\0' && err->text[0] != '\0');

    for (i = 0; err->text[i] != '\0'; i++) {
        assert((unsigned char) err->text[i] >= 0x20);
    }
}
