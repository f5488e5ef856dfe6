/*
 * JSON Web Tokens and key sets, as far as bearer tokens of an issuer need
 * them: compact JWS, RS256, PS256, ES256, ES384.  Pure functions of bytes:
 * no clock, no network, no host.  libjose decodes base64url and makes keys of
 * JWK; every check is ours, in jwt.c and jwks.c (why: doc/oidc.md).
 */

#ifndef BK_OIDC_JWT_H_INCLUDED
#define BK_OIDC_JWT_H_INCLUDED

#include <jansson.h>
#include <openssl/evp.h>

#include "bk_plugin.h"
#include "text.h"


#define OIDC_TOKEN_MAX   16384
#define OIDC_HEAD_MAX    4096       /* encoded */
#define OIDC_JSON_DEPTH  32
#define OIDC_KID_MAX     255
#define OIDC_KEYS_MAX    64
#define OIDC_JWKS_MAX    (256 * 1024)

/* Algorithms; a set of them is a sum of (1 << number). */
#define OIDC_RS256  0
#define OIDC_PS256  1
#define OIDC_ES256  2
#define OIDC_ES384  3
#define OIDC_ALGS   4

#define OIDC_ALGS_ALL  ((1u << OIDC_ALGS) - 1)


typedef struct {
    bk_str_t   text;            /* all of it; borrowed */
    size_t     signed_len;      /* HEADER.PAYLOAD */
    json_t    *head;
    json_t    *claims;
    char      *payload;         /* the claims as they came */
    size_t     payload_len;
} oidc_jwt_t;

typedef struct {
    EVP_PKEY  *pkey;
    unsigned   algs;            /* by its type, curve and "alg" */
    unsigned   width;           /* of a coordinate; 0: RSA */
    char      *kid;             /* NULL: has none */
    uint8_t    print[32];       /* SHA-256 of what it is made of */
} oidc_key_t;

typedef struct {
    unsigned    n;
    unsigned    skipped;
    char        why[96];        /* the first that was skipped */
    oidc_key_t  keys[OIDC_KEYS_MAX];
} oidc_keys_t;


/*
 * 1: no JWT at all, so it is another's; 0: *jwt is filled, nothing of it is
 * verified; -1: 401 TokenMalformed.
 */
int oidc_jwt_parse(oidc_jwt_t *jwt, bk_str_t text, bk_err_t *err);
void oidc_jwt_free(oidc_jwt_t *jwt);

/* The header: alg is one of algs, no crit, no b64, a sane kid.  Returns the
 * algorithm, or -1 and 401. */
int oidc_jwt_alg(const oidc_jwt_t *jwt, unsigned algs, bk_err_t *err);
/* NULL: it names no key */
const char *oidc_jwt_kid(const oidc_jwt_t *jwt);
/* A string member of the claims, without NUL inside; NULL: none such. */
const char *oidc_jwt_claim(const oidc_jwt_t *jwt, const char *name);

/* 0, or -1 and 401 BadSignature. */
int oidc_jwt_verify(const oidc_jwt_t *jwt, int alg, const oidc_key_t *key,
    bk_err_t *err);

/* -1: not one of ours */
int oidc_alg_number(const json_t *name);
const char *oidc_alg_name(int alg);
/* "RS256, ES256" */
char *oidc_alg_names(unsigned algs, char *buf, size_t size);

/* JSON of others: no duplicate keys, no deep nesting.  NULL: *why is set. */
json_t *oidc_json(const char *text, size_t len, const char **why);


/* A key set.  Keys that are of no use are skipped, not the set; NULL and *err
 * when none is left. */
oidc_keys_t *oidc_keys_parse(const char *text, size_t len, bk_err_t *err);
void oidc_keys_free(oidc_keys_t **keys);
/*
 * The key for a token: by kid, or the only one of the algorithm when the
 * token names none.  1: no such kid, the set may be old; -1: 401.
 */
int oidc_keys_find(const oidc_keys_t *keys, const char *kid, int alg,
    const oidc_key_t **key, bk_err_t *err);
/* Is every key of the old set in the new one? */
int oidc_keys_kept(const oidc_keys_t *old, const oidc_keys_t *keys);

#endif /* BK_OIDC_JWT_H_INCLUDED */
