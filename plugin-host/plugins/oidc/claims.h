/*
 * What a token's claims must be for an issuer, and the name that they make.
 * Pure; called before and after the signature is verified.
 */

#ifndef BK_OIDC_CLAIMS_H_INCLUDED
#define BK_OIDC_CLAIMS_H_INCLUDED

#include "file.h"
#include "jwt.h"


#define OIDC_NAME_MAX  256


/* iss, aud, exp, nbf, iat and sub: 0 and the time (ms) from which on it is
 * not good any more, or -1 and 401 that says exactly what is wrong. */
int oidc_claims_check(const oidc_jwt_t *jwt, const oidc_issuer_conf_t *c,
    uint64_t now_ms, uint64_t *until_ms, bk_err_t *err);

/* Is one of the issuer's audiences among the token's? */
int oidc_claims_audience(const oidc_jwt_t *jwt, char *const *want,
    unsigned n);

/*
 * "SOURCE:USER" into name.  One that is too long ends in '~' and a part of
 * its SHA-256, so that two of them stay two.  -1: 401, no such claim.
 */
int oidc_claims_name(const oidc_jwt_t *jwt, const char *source,
    const char *claim, char name[OIDC_NAME_MAX + 1], bk_err_t *err);
void oidc_name(const char *source, const char *user,
    char name[OIDC_NAME_MAX + 1]);

/* exp; 0: has none that can be read */
uint64_t oidc_claims_exp(const oidc_jwt_t *jwt);

#endif /* BK_OIDC_CLAIMS_H_INCLUDED */
