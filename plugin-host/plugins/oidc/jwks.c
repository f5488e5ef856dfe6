/*
 * A key set: which of an issuer's keys may be used, and for what.  See jwt.h.
 *
 * Only public members are copied for libjose, with their lengths checked
 * before: it takes short exponents, odd moduli and megabytes.
 */

#include <jose/openssl.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jwt.h"


#define OIDC_RSA_BITS_MIN  2048
#define OIDC_RSA_BITS_MAX  4096
#define OIDC_N_MIN         342      /* base64url of those */
#define OIDC_N_MAX         686
#define OIDC_E_MAX         8


static const char *oidc_key_load(const json_t *jwk, oidc_key_t *key);
static const char *oidc_key_purpose(const json_t *jwk);
static json_t *oidc_key_rsa(const json_t *jwk, oidc_key_t *key);
static json_t *oidc_key_ec(const json_t *jwk, oidc_key_t *key);
static int oidc_key_rsa_good(const EVP_PKEY *pkey);
static int oidc_is(const json_t *object, const char *name, const char *want);
static size_t oidc_length(const json_t *object, const char *name);


oidc_keys_t *
oidc_keys_parse(const char *text, size_t len, bk_err_t *err)
{
    size_t        i;
    json_t       *json, *list, *jwk;
    const char   *why;
    oidc_keys_t  *set;

    if (len > OIDC_JWKS_MAX) {
        (void) bk_err_set(err, 502, "BadKeySet", "more than %d bytes",
                          OIDC_JWKS_MAX);
        return NULL;
    }

    json = oidc_json(text, len, &why);
    list = json_object_get(json, "keys");

    if (!json_is_array(list)) {
        (void) bk_err_set(err, 502, "BadKeySet", "%s", json == NULL ? why
                          : "there is no list \"keys\" in it");
        json_decref(json);
        return NULL;
    }

    set = calloc(1, sizeof(oidc_keys_t));
    if (set == NULL) {
        abort();
    }

    json_array_foreach(list, i, jwk) {
        why = set->n < OIDC_KEYS_MAX ? oidc_key_load(jwk, &set->keys[set->n])
                                     : "there are too many";
        if (why == NULL) {
            set->n++;
            continue;
        }

        if (set->skipped++ == 0) {
            snprintf(set->why, sizeof(set->why), "%s", why);
        }
    }

    json_decref(json);

    if (set->n == 0) {
        (void) bk_err_set(err, 502, "BadKeySet", "no key in it can be used%s"
                          "%s", set->skipped ? "; the first: " : "",
                          set->why);
        oidc_keys_free(&set);
    }

    return set;
}


void
oidc_keys_free(oidc_keys_t **keys)
{
    unsigned      i;
    oidc_keys_t  *set = *keys;

    *keys = NULL;

    for (i = 0; set != NULL && i < set->n; i++) {
        EVP_PKEY_free(set->keys[i].pkey);
        free(set->keys[i].kid);
    }

    free(set);
}


int
oidc_keys_find(const oidc_keys_t *keys, const char *kid, int alg,
    const oidc_key_t **key, bk_err_t *err)
{
    int                named = 0;
    char               show[OIDC_SHOW];
    unsigned           i, fit = 0;
    const oidc_key_t  *k;

    for (i = 0; i < keys->n; i++) {
        k = &keys->keys[i];

        if (kid != NULL && (k->kid == NULL || strcmp(k->kid, kid) != 0)) {
            continue;
        }

        named = 1;

        if (k->algs & (1u << alg)) {
            *key = k;
            fit++;

            if (kid != NULL) {
                return 0;
            }
        }
    }

    if (kid == NULL && fit == 1) {
        return 0;
    }

    if (kid != NULL && !named) {
        return 1;
    }

    if (kid != NULL) {
        return bk_err_set(err, 401, "BadAlgorithm", "the issuer's key \"%s\" "
                          "is not for %s", oidc_show(kid, show),
                          oidc_alg_name(alg));
    }

    return bk_err_set(err, 401, "UnknownKey", "the token names no key (kid), "
                      "and its issuer has %u for %s", fit,
                      oidc_alg_name(alg));
}


int
oidc_keys_kept(const oidc_keys_t *old, const oidc_keys_t *keys)
{
    unsigned  i, j;

    for (i = 0; i < old->n; i++) {
        for (j = 0; j < keys->n; j++) {
            if (memcmp(old->keys[i].print, keys->keys[j].print, 32) == 0) {
                break;
            }
        }

        if (j == keys->n) {
            return 0;
        }
    }

    return 1;
}


/* NULL, or why this one cannot be used. */

static const char *
oidc_key_load(const json_t *jwk, oidc_key_t *key)
{
    int            alg;
    char          *text;
    json_t        *pub;
    const char    *why;
    const json_t  *kid, *name;

    memset(key, 0, sizeof(oidc_key_t));

    why = oidc_key_purpose(jwk);
    if (why != NULL) {
        return why;
    }

    pub = oidc_is(jwk, "kty", "RSA") ? oidc_key_rsa(jwk, key)
                                     : oidc_key_ec(jwk, key);
    if (pub == NULL) {
        return "its type (kty, crv) or size is not supported";
    }

    name = json_object_get(jwk, "alg");
    alg = oidc_alg_number(name);

    if (name != NULL) {
        key->algs &= alg < 0 ? 0 : 1u << alg;
    }

    if (key->algs == 0) {
        json_decref(pub);
        return "its alg is not supported, or not for its type";
    }

    /* libjose keeps none of it */
    key->pkey = jose_openssl_jwk_to_EVP_PKEY(NULL, pub);
    ERR_clear_error();

    if (key->pkey != NULL && key->width == 0
        && !oidc_key_rsa_good(key->pkey))
    {
        EVP_PKEY_free(key->pkey);
        key->pkey = NULL;
    }

    if (key->pkey == NULL) {
        json_decref(pub);
        return "its numbers are no sound key (or padded with '=')";
    }

    kid = json_object_get(jwk, "kid");

    if (kid != NULL) {
        key->kid = strdup(json_string_value(kid));
        json_object_set(pub, "kid", (json_t *) kid);
    }

    json_object_set_new(pub, "algs", json_integer((int) key->algs));
    text = json_dumps(pub, JSON_SORT_KEYS | JSON_COMPACT);
    json_decref(pub);

    if (text == NULL || (kid != NULL && key->kid == NULL)) {
        abort();
    }

    SHA256((const unsigned char *) text, strlen(text), key->print);
    free(text);

    return NULL;
}


static const char *
oidc_key_purpose(const json_t *jwk)
{
    int            verify = 0;
    size_t         i;
    json_t        *op;
    const json_t  *kid, *ops;

    if (!json_is_object(jwk)) {
        return "it is no object";
    }

    if (json_object_get(jwk, "d") != NULL
        || json_object_get(jwk, "k") != NULL)
    {
        return "it is a private or symmetric key";
    }

    if (json_object_get(jwk, "use") != NULL && !oidc_is(jwk, "use", "sig")) {
        return "its use is not sig";
    }

    ops = json_object_get(jwk, "key_ops");

    json_array_foreach((json_t *) ops, i, op) {
        verify |= json_is_string(op)
                  && strcmp(json_string_value(op), "verify") == 0;
    }

    if (ops != NULL && !verify) {
        return "its key_ops have no verify";
    }

    kid = json_object_get(jwk, "kid");

    if (kid != NULL
        && (!json_is_string(kid) || json_string_length(kid) > OIDC_KID_MAX
            || strlen(json_string_value(kid)) != json_string_length(kid)))
    {
        return "its kid is no string, or too long";
    }

    return NULL;
}


static json_t *
oidc_key_rsa(const json_t *jwk, oidc_key_t *key)
{
    size_t  n = oidc_length(jwk, "n"), e = oidc_length(jwk, "e");

    if (n < OIDC_N_MIN || n > OIDC_N_MAX || e == 0 || e > OIDC_E_MAX) {
        return NULL;
    }

    key->algs = 1u << OIDC_RS256 | 1u << OIDC_PS256;

    return json_pack("{s:s, s:O, s:O}", "kty", "RSA",
                     "n", json_object_get(jwk, "n"),
                     "e", json_object_get(jwk, "e"));
}


static json_t *
oidc_key_ec(const json_t *jwk, oidc_key_t *key)
{
    int     p256 = oidc_is(jwk, "crv", "P-256");
    size_t  len = p256 ? 43 : 64;

    if (!oidc_is(jwk, "kty", "EC")
        || (!p256 && !oidc_is(jwk, "crv", "P-384"))
        || oidc_length(jwk, "x") != len || oidc_length(jwk, "y") != len)
    {
        return NULL;
    }

    key->width = p256 ? 32 : 48;
    key->algs = 1u << (p256 ? OIDC_ES256 : OIDC_ES384);

    return json_pack("{s:s, s:O, s:O, s:O}", "kty", "EC",
                     "crv", json_object_get(jwk, "crv"),
                     "x", json_object_get(jwk, "x"),
                     "y", json_object_get(jwk, "y"));
}


/* With an exponent of 1 anybody can sign; a huge one costs us milliseconds. */

static int
oidc_key_rsa_good(const EVP_PKEY *pkey)
{
    int      ok;
    BIGNUM  *n = NULL, *e = NULL;

    ok = EVP_PKEY_get_bits(pkey) >= OIDC_RSA_BITS_MIN
         && EVP_PKEY_get_bits(pkey) <= OIDC_RSA_BITS_MAX
         && EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &n) == 1
         && EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &e) == 1
         && BN_is_odd(n) && BN_is_odd(e)
         && BN_num_bits(e) >= 17 && BN_num_bits(e) <= 32;

    BN_free(n);
    BN_free(e);
    ERR_clear_error();

    return ok;
}


static int
oidc_is(const json_t *object, const char *name, const char *want)
{
    const json_t  *s = json_object_get(object, name);

    return json_string_length(s) == strlen(want)
           && strcmp(json_string_value(s), want) == 0;
}


static size_t
oidc_length(const json_t *object, const char *name)
{
    return json_string_length(json_object_get(object, name));
}
