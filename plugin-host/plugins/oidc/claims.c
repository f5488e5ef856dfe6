/* A token's claims: see claims.h. */

#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "claims.h"


#define OIDC_SECONDS_MAX  9007199254740992.0    /* 2^53 */
#define OIDC_AUD_MAX      64


static int oidc_claims_times(const oidc_jwt_t *jwt, uint64_t leeway_ms,
    uint64_t now_ms, uint64_t *until_ms, bk_err_t *err);
static int oidc_claims_time(const oidc_jwt_t *jwt, const char *name,
    uint64_t *ms, bk_err_t *err);
static int oidc_wrong_audience(const oidc_jwt_t *jwt,
    const oidc_issuer_conf_t *c, bk_err_t *err);
static const json_t *oidc_claims_find(const oidc_jwt_t *jwt,
    const char *name);


int
oidc_claims_check(const oidc_jwt_t *jwt, const oidc_issuer_conf_t *c,
    uint64_t now_ms, uint64_t *until_ms, bk_err_t *err)
{
    char         seen[OIDC_SHOW];
    const char  *s;

    s = oidc_jwt_claim(jwt, "iss");

    if (s == NULL || strcmp(s, c->url) != 0) {
        return bk_err_set(err, 401, "WrongIssuer", "the token is of %s, not "
                          "of %.200s", s != NULL ? oidc_show(s, seen)
                          : "no issuer", c->url);
    }

    if (!oidc_claims_audience(jwt, c->audience, c->audience_count)) {
        return oidc_wrong_audience(jwt, c, err);
    }

    if (oidc_claims_times(jwt, c->leeway_ms, now_ms, until_ms, err) != 0) {
        return -1;
    }

    s = oidc_jwt_claim(jwt, "sub");

    if (s == NULL || s[0] == '\0') {
        return bk_err_set(err, 401, "TokenMalformed", "the token has no "
                          "subject (sub)");
    }

    return 0;
}


int
oidc_claims_audience(const oidc_jwt_t *jwt, char *const *want, unsigned n)
{
    size_t         i, len;
    unsigned       j;
    const json_t  *aud, *one;

    aud = json_object_get(jwt->claims, "aud");
    len = json_is_array(aud) ? json_array_size(aud) : 1;

    for (i = 0; i < len && i < OIDC_AUD_MAX; i++) {
        one = json_is_array(aud) ? json_array_get(aud, i) : aud;

        for (j = 0; j < n && json_is_string(one); j++) {
            if (json_string_length(one) == strlen(want[j])
                && strcmp(json_string_value(one), want[j]) == 0)
            {
                return 1;
            }
        }
    }

    return 0;
}


static int
oidc_wrong_audience(const oidc_jwt_t *jwt, const oidc_issuer_conf_t *c,
    bk_err_t *err)
{
    char           seen[OIDC_SHOW], want[OIDC_SHOW];
    const json_t  *aud;

    aud = json_object_get(jwt->claims, "aud");

    if (json_is_array(aud)) {
        aud = json_array_get(aud, 0);
    }

    (void) bk_err_set(err, 401, "WrongAudience", "wrong audience: saw %s, "
                      "want %s%s", json_is_string(aud)
                      ? oidc_show(json_string_value(aud), seen) : "none",
                      oidc_show(c->audience[0], want),
                      c->audience_count > 1 ? " (or another of the issuer's "
                                              "list)" : "");

    return bk_err_hint(err, "ask the issuer for a token with this audience");
}


static int
oidc_claims_times(const oidc_jwt_t *jwt, uint64_t leeway_ms, uint64_t now_ms,
    uint64_t *until_ms, bk_err_t *err)
{
    char      buf[OIDC_DURATION];
    uint64_t  exp, nbf, iat;

    if (oidc_claims_time(jwt, "exp", &exp, err) != 0
        || oidc_claims_time(jwt, "nbf", &nbf, err) != 0
        || oidc_claims_time(jwt, "iat", &iat, err) != 0)
    {
        return -1;
    }

    if (exp == 0) {
        return bk_err_set(err, 401, "TokenMalformed", "the token has no "
                          "expiry (exp)");
    }

    *until_ms = exp + leeway_ms;

    if (now_ms >= *until_ms) {
        (void) bk_err_set(err, 401, "TokenExpired", "the token expired %s "
                          "ago", oidc_duration(now_ms - exp, buf));
        return bk_err_hint(err, "get a new one from the issuer");
    }

    if (nbf > now_ms + leeway_ms) {
        (void) bk_err_set(err, 401, "TokenNotYetValid", "the token is not "
                          "valid for another %s (nbf)",
                          oidc_duration(nbf - now_ms, buf));
        return bk_err_hint(err, "is the clock right, here and there?");
    }

    if (iat > now_ms + leeway_ms) {
        (void) bk_err_set(err, 401, "TokenNotYetValid", "the token was "
                          "issued %s from now (iat)",
                          oidc_duration(iat - now_ms, buf));
        return bk_err_hint(err, "is the clock right, here and there?");
    }

    return 0;
}


/* Seconds, perhaps with a fraction; 0: not there. */

static int
oidc_claims_time(const oidc_jwt_t *jwt, const char *name, uint64_t *ms,
    bk_err_t *err)
{
    double         s;
    const json_t  *json;

    *ms = 0;
    json = json_object_get(jwt->claims, name);

    if (json == NULL) {
        return 0;
    }

    s = json_number_value(json);

    if (!json_is_number(json) || !(s >= 1 && s <= OIDC_SECONDS_MAX / 1000)) {
        return bk_err_set(err, 401, "TokenMalformed", "the token's %s is no "
                          "time", name);
    }

    *ms = (uint64_t) (s * 1000);

    return 0;
}


uint64_t
oidc_claims_exp(const oidc_jwt_t *jwt)
{
    uint64_t  ms;

    return oidc_claims_time(jwt, "exp", &ms, NULL) == 0 ? ms : 0;
}


int
oidc_claims_name(const oidc_jwt_t *jwt, const char *source,
    const char *claim, char name[OIDC_NAME_MAX + 1], bk_err_t *err)
{
    char           number[32], show[OIDC_SHOW];
    const char    *user;
    const json_t  *json;

    json = oidc_claims_find(jwt, claim);
    user = json_string_value(json);

    if (json_is_integer(json)) {
        snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT,
                 json_integer_value(json));
        user = number;

    } else if (user != NULL && strlen(user) != json_string_length(json)) {
        user = NULL;
    }

    if (user == NULL || user[0] == '\0') {
        return bk_err_set(err, 401, "TokenMalformed", "the token has no "
                          "claim %s (a text or a number), which names its "
                          "user here", oidc_show(claim, show));
    }

    oidc_name(source, user, name);

    return 0;
}


/* A top-level name (which may hold dots), or a JSON pointer. */

static const json_t *
oidc_claims_find(const oidc_jwt_t *jwt, const char *name)
{
    char           part[256];
    size_t         n;
    const json_t  *json = jwt->claims;

    if (name[0] != '/') {
        return json_object_get(json, name);
    }

    while (*name == '/' && json != NULL) {
        for (name++, n = 0; *name != '\0' && *name != '/'; name++) {
            if (name[0] == '~' && (name[1] == '0' || name[1] == '1')) {
                part[n++] = *++name == '0' ? '~' : '/';

            } else {
                part[n++] = *name;
            }

            if (n == sizeof(part)) {
                return NULL;
            }
        }

        part[n] = '\0';
        json = json_object_get(json, part);
    }

    return json;
}


void
oidc_name(const char *source, const char *user,
    char name[OIDC_NAME_MAX + 1])
{
    int            n;
    size_t         i, cut;
    unsigned char  hash[32];

    n = snprintf(name, OIDC_NAME_MAX + 1, "%s:%s", source, user);

    for (i = 0; user[i] != '\0'; i++) {
        if ((unsigned char) user[i] < 0x20 || user[i] == 0x7f) {
            break;
        }
    }

    if (user[i] == '\0' && n <= OIDC_NAME_MAX) {
        return;
    }

    /* not to be printed as it is: it must stay another than any other */
    SHA256((const unsigned char *) user, strlen(user), hash);
    cut = strlen(name) < OIDC_NAME_MAX - 33 ? strlen(name)
                                            : OIDC_NAME_MAX - 33;

    /* never within a character of several bytes */
    while (cut > 0 && ((unsigned char) name[cut] & 0xc0) == 0x80) {
        cut--;
    }

    for (i = 0; i < cut; i++) {
        if ((unsigned char) name[i] < 0x20 || name[i] == 0x7f) {
            name[i] = '?';
        }
    }

    name[cut++] = '~';

    for (i = 0; i < 16; i++) {
        cut += (size_t) sprintf(name + cut, "%02x", hash[i]);
    }
}
