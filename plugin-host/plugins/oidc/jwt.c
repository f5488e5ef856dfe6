/*
 * A token's form, header and signature.  See jwt.h.
 *
 * Nothing that the token says chooses what is trusted: the algorithm must be
 * of the issuer's and of the key's own set, jwk, jku, x5u and x5c are never
 * looked at, kid is a name in our table and nothing else.
 */

#include <jose/b64.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jwt.h"


#define OIDC_SIG_MAX  1024


static int oidc_jwt_part(const char *s, size_t len, const char *what,
    char **text, size_t *text_len, json_t **json, bk_err_t *err);
static int oidc_json_shallow(const char *text, size_t len);
static size_t oidc_sig_der(const uint8_t *sig, unsigned width, uint8_t *der,
    size_t size);
static int oidc_digest_verify(const oidc_jwt_t *jwt, int alg,
    const oidc_key_t *key, const uint8_t *sig, size_t len);


static const char *const  oidc_algs[OIDC_ALGS] = {
    "RS256", "PS256", "ES256", "ES384"
};


int
oidc_jwt_parse(oidc_jwt_t *jwt, bk_str_t text, bk_err_t *err)
{
    char        *head;
    size_t       n;
    const char  *dot, *dot2, *end = text.data + text.len;

    memset(jwt, 0, sizeof(oidc_jwt_t));

    /* base64url of '{' and '"' or a blank; "ew" with a newline */
    dot = text.len > 2 && text.data[0] == 'e'
          && (text.data[1] == 'y' || text.data[1] == 'w')
          ? memchr(text.data, '.', text.len) : NULL;
    dot2 = dot != NULL ? memchr(dot + 1, '.', (size_t) (end - dot - 1))
                       : NULL;

    if (dot2 == NULL
        || memchr(dot2 + 1, '.', (size_t) (end - dot2 - 1)) != NULL)
    {
        return 1;
    }

    if (text.len > OIDC_TOKEN_MAX) {
        return bk_err_set(err, 401, "TokenTooLong", "the token has %zu bytes;"
                          " at most %d are read", text.len, OIDC_TOKEN_MAX);
    }

    n = (size_t) (dot - text.data);

    if (n > OIDC_HEAD_MAX) {
        return bk_err_set(err, 401, "TokenTooLong", "the token's header has "
                          "%zu bytes; at most %d are read", n,
                          OIDC_HEAD_MAX);
    }

    jwt->text = text;
    jwt->signed_len = (size_t) (dot2 - text.data);

    if (oidc_jwt_part(text.data, n, "header", &head, &n, &jwt->head, err)
        != 0)
    {
        return -1;
    }

    free(head);

    if (oidc_jwt_part(dot + 1, (size_t) (dot2 - dot - 1), "payload",
                      &jwt->payload, &jwt->payload_len, &jwt->claims, err)
        != 0)
    {
        oidc_jwt_free(jwt);
        return -1;
    }

    return 0;
}


void
oidc_jwt_free(oidc_jwt_t *jwt)
{
    json_decref(jwt->head);
    json_decref(jwt->claims);
    free(jwt->payload);
    memset(jwt, 0, sizeof(oidc_jwt_t));
}


static int
oidc_jwt_part(const char *s, size_t len, const char *what, char **text,
    size_t *text_len, json_t **json, bk_err_t *err)
{
    char        *buf;
    size_t       n;
    const char  *why;

    buf = malloc(len + 1);
    if (buf == NULL) {
        abort();
    }

    /* strict: no padding, no trailing bits, no other alphabet */
    n = len > 0 ? jose_b64_dec_buf(s, len, buf, len) : SIZE_MAX;

    if (n == SIZE_MAX) {
        free(buf);
        return bk_err_set(err, 401, "TokenMalformed", "the token's %s is no "
                          "base64url", what);
    }

    *json = oidc_json(buf, n, &why);

    if (!json_is_object(*json)) {
        why = *json != NULL ? "it is no object" : why;
        json_decref(*json);
        *json = NULL;
        free(buf);
        return bk_err_set(err, 401, "TokenMalformed", "the token's %s cannot "
                          "be read: %s", what, why);
    }

    *text = buf;
    *text_len = n;

    return 0;
}


json_t *
oidc_json(const char *text, size_t len, const char **why)
{
    json_t        *json;
    json_error_t   error;

    if (!oidc_json_shallow(text, len)) {
        *why = "it is nested too deeply";
        return NULL;
    }

    json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);

    if (json == NULL) {
        /* its own text would quote the input */
        *why = json_error_code(&error) == json_error_duplicate_key
               ? "a key is there twice" : "it is no JSON";
    }

    return json;
}


/* Before a parser recurses, and for all who read it after us. */

static int
oidc_json_shallow(const char *text, size_t len)
{
    int       quoted = 0;
    size_t    i;
    unsigned  depth = 0;

    for (i = 0; i < len; i++) {
        switch (text[i]) {

        case '\\':
            i += (size_t) quoted;
            break;

        case '"':
            quoted = !quoted;
            break;

        case '[':
        case '{':
            depth += !quoted;
            break;

        case ']':
        case '}':
            depth -= !quoted && depth > 0;
            break;
        }

        if (depth > OIDC_JSON_DEPTH) {
            return 0;
        }
    }

    return 1;
}


int
oidc_jwt_alg(const oidc_jwt_t *jwt, unsigned algs, bk_err_t *err)
{
    int            alg;
    char           seen[OIDC_SHOW], names[48];
    const json_t  *name, *kid;

    name = json_object_get(jwt->head, "alg");
    kid = json_object_get(jwt->head, "kid");
    alg = oidc_alg_number(name);

    if (alg < 0 || !(algs & (1u << alg))) {
        return bk_err_set(err, 401, "BadAlgorithm", "the token is signed "
                          "with %s; accepted: %s", json_is_string(name)
                          ? oidc_show(json_string_value(name), seen)
                          : "no algorithm",
                          oidc_alg_names(algs, names, sizeof(names)));
    }

    if (json_object_get(jwt->head, "crit") != NULL
        || json_object_get(jwt->head, "b64") != NULL)
    {
        return bk_err_set(err, 401, "TokenMalformed", "the token's header "
                          "asks for extensions (crit, b64) that are not "
                          "supported");
    }

    if (kid != NULL
        && (!json_is_string(kid) || json_string_length(kid) > OIDC_KID_MAX
            || strlen(json_string_value(kid)) != json_string_length(kid)))
    {
        return bk_err_set(err, 401, "TokenMalformed", "the token's key id is "
                          "no string of at most %d bytes", OIDC_KID_MAX);
    }

    return alg;
}


const char *
oidc_jwt_kid(const oidc_jwt_t *jwt)
{
    return json_string_value(json_object_get(jwt->head, "kid"));
}


const char *
oidc_jwt_claim(const oidc_jwt_t *jwt, const char *name)
{
    const char    *s;
    const json_t  *json;

    json = json_object_get(jwt->claims, name);
    s = json_string_value(json);

    return s != NULL && strlen(s) == json_string_length(json) ? s : NULL;
}


int
oidc_jwt_verify(const oidc_jwt_t *jwt, int alg, const oidc_key_t *key,
    bk_err_t *err)
{
    size_t       len, want;
    uint8_t      sig[OIDC_SIG_MAX], der[128];
    const char  *s = jwt->text.data + jwt->signed_len + 1;

    len = jwt->text.len - jwt->signed_len - 1;
    len = len > 0 ? jose_b64_dec_buf(s, len, sig, sizeof(sig)) : 0;
    want = key->width != 0 ? 2 * (size_t) key->width
                           : (size_t) EVP_PKEY_get_size(key->pkey);

    if (len != want) {
        return bk_err_set(err, 401, "BadSignature", "the token's signature "
                          "is no %s signature", oidc_alg_name(alg));
    }

    if (key->width != 0) {
        len = oidc_sig_der(sig, key->width, der, sizeof(der));
    }

    if (len == 0 || !oidc_digest_verify(jwt, alg, key,
                                        key->width != 0 ? der : sig, len))
    {
        return bk_err_set(err, 401, "BadSignature", "the token's signature "
                          "is wrong");
    }

    return 0;
}


/* R and S as JWS has them, to the form that OpenSSL wants; 0: cannot be. */

static size_t
oidc_sig_der(const uint8_t *sig, unsigned width, uint8_t *der, size_t size)
{
    int         n;
    BIGNUM     *r, *s;
    uint8_t    *p = der;
    ECDSA_SIG  *both;

    both = ECDSA_SIG_new();
    r = BN_bin2bn(sig, (int) width, NULL);
    s = BN_bin2bn(sig + width, (int) width, NULL);

    if (both == NULL || ECDSA_SIG_set0(both, r, s) != 1) {
        abort();
    }

    n = i2d_ECDSA_SIG(both, NULL);

    if (n <= 0 || (size_t) n > size || i2d_ECDSA_SIG(both, &p) != n) {
        n = 0;
    }

    ECDSA_SIG_free(both);

    return (size_t) n;
}


static int
oidc_digest_verify(const oidc_jwt_t *jwt, int alg, const oidc_key_t *key,
    const uint8_t *sig, size_t len)
{
    int            ok;
    EVP_MD_CTX    *ctx;
    EVP_PKEY_CTX  *pctx;

    ctx = EVP_MD_CTX_new();
    if (ctx == NULL) {
        abort();
    }

    ok = EVP_DigestVerifyInit(ctx, &pctx, alg == OIDC_ES384 ? EVP_sha384()
                              : EVP_sha256(), NULL, key->pkey)
         == 1;

    /* the salt's length is fixed: AUTO takes any */
    if (ok && alg == OIDC_PS256) {
        ok = EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) == 1
             && EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx,
                                                 RSA_PSS_SALTLEN_DIGEST)
                == 1;
    }

    /* below 0 is no yes */
    ok = ok && EVP_DigestVerify(ctx, sig, len,
                                (const uint8_t *) jwt->text.data,
                                jwt->signed_len)
               == 1;

    EVP_MD_CTX_free(ctx);

    /* what it left would be taken for an error of somebody's TLS */
    ERR_clear_error();

    return ok;
}


int
oidc_alg_number(const json_t *name)
{
    int  i;

    for (i = 0; i < OIDC_ALGS; i++) {
        if (json_is_string(name) && json_string_length(name) == 5
            && strcmp(json_string_value(name), oidc_algs[i]) == 0)
        {
            return i;
        }
    }

    return -1;
}


const char *
oidc_alg_name(int alg)
{
    return oidc_algs[alg];
}


char *
oidc_alg_names(unsigned algs, char *buf, size_t size)
{
    int     i;
    size_t  n = 0;

    buf[0] = '\0';

    for (i = 0; i < OIDC_ALGS && n < size; i++) {
        if (algs & (1u << i)) {
            n += (size_t) snprintf(buf + n, size - n, "%s%s", n ? ", " : "",
                                   oidc_algs[i]);
        }
    }

    return buf;
}
