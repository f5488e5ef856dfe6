/*
 * Whose token is it?  Static tokens by their hash, JWTs by their issuer,
 * service accounts by a TokenReview; all else is another plugin's.
 *
 * What is cheap comes first: a token that has expired or is for somebody
 * else costs no signature, and never makes us fetch keys.
 */

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <string.h>

#include "oidc.h"


#define OIDC_KID_MS    UINT64_C(10000)  /* between fetches for a key id */
#define OIDC_AGAIN_MS  UINT64_C(1000)   /* after a failure */


static const oidc_static_t *oidc_static_find(const oidc_t *o,
    const uint8_t hash[32]);
static void oidc_static_answer(oidc_t *o, bk_query_t *q,
    const oidc_static_t *s);
static void oidc_identify_jwt(oidc_t *o, bk_query_t *q,
    const oidc_jwt_t *jwt, const uint8_t hash[32]);
static oidc_issuer_t *oidc_issuer_of(const oidc_t *o, const oidc_jwt_t *jwt);
static oidc_issuer_t *oidc_issuer_named(const oidc_t *o, bk_str_t source);
static int oidc_unknown_key(oidc_issuer_t *i, const char *kid, int waited,
    bk_err_t *err);


void
oidc_identify(void *ctx, bk_query_t *q, const bk_credentials_t *c)
{
    int                   rc;
    oidc_t               *o = ctx;
    uint8_t               hash[32];
    bk_err_t              err;
    oidc_jwt_t            jwt;
    bk_identity_t         id;
    oidc_issuer_t        *i;
    const oidc_static_t  *s;

    oidc_hash(c->bearer, hash);

    if (oidc_cache_get(o->cache, hash, o->host->now_ms(o->host), &id) == 0) {
        i = oidc_issuer_named(o, id.source);

        /* by keys that are too old nobody is known, not even again */
        if (i == NULL || oidc_issuer_keys(i) == 0) {
            oidc_accept(o, q, i != NULL ? &i->count : &o->review_count, &id,
                        1);
            return;
        }
    }

    s = oidc_static_find(o, hash);

    if (s != NULL) {
        oidc_static_answer(o, q, s);
        return;
    }

    rc = oidc_jwt_parse(&jwt, c->bearer, &err);

    if (rc == -1) {
        oidc_refuse(o, q, &o->other_count, &err);
        return;
    }

    if (rc == 1) {
        o->host->identity_answer(q, NULL, NULL);
        return;
    }

    oidc_identify_jwt(o, q, &jwt, hash);
    oidc_jwt_free(&jwt);
}


/* All are looked at, whichever it is: the time says nothing. */

static const oidc_static_t *
oidc_static_find(const oidc_t *o, const uint8_t hash[32])
{
    unsigned              i;
    const oidc_doc_t     *d = o->file.doc;
    const oidc_static_t  *found = NULL;

    for (i = 0; i < d->tokens_count; i++) {
        if (CRYPTO_memcmp(d->tokens[i].hash, hash, 32) == 0) {
            found = &d->tokens[i];
        }
    }

    return found;
}


static void
oidc_static_answer(oidc_t *o, bk_query_t *q, const oidc_static_t *s)
{
    char           name[OIDC_NAME_MAX + 1], ago[OIDC_DURATION];
    uint64_t       now = o->host->now_ms(o->host), past;
    bk_err_t       err;
    bk_identity_t  id;

    if (s->expires_ms != 0 && now >= s->expires_ms) {
        past = now - s->expires_ms;
        (void) bk_err_set(&err, 401, "TokenExpired", "the token %s expired "
                          "%s ago", s->name,
                          oidc_duration(past, ago));
        oidc_refuse(o, q, &o->token_count, &err);
        return;
    }

    oidc_name(OIDC_SOURCE_TOKEN, s->name, name);
    id.name = (bk_str_t) { name, strlen(name) };
    id.source = BK_STR(OIDC_SOURCE_TOKEN);
    id.claims = (bk_str_t) { s->text, strlen(s->text) };
    id.until_ms = s->expires_ms;

    oidc_accept(o, q, &o->token_count, &id, 0);
}


static void
oidc_identify_jwt(oidc_t *o, bk_query_t *q, const oidc_jwt_t *jwt,
    const uint8_t hash[32])
{
    char            name[OIDC_NAME_MAX + 1];
    uint64_t        until_ms;
    bk_err_t        err;
    bk_identity_t   id;
    oidc_issuer_t  *i;

    i = oidc_issuer_of(o, jwt);

    if (i == NULL) {
        if (oidc_review_fits(o, jwt)) {
            oidc_review(o, q, jwt, hash);
            return;
        }

        o->host->identity_answer(q, NULL, NULL);
        return;
    }

    switch (oidc_judge(i, jwt, 0, name, &id, &until_ms, &err)) {

    case 0:
        oidc_cache_put(o->cache, hash, &id, until_ms, i);
        oidc_accept(o, q, &i->count, &id, 0);
        return;

    case 1:
        oidc_issuer_wait(i, q, jwt->text);
        return;

    default:
        oidc_refuse(o, q, &i->count, &err);
    }
}


/* Of several entries for one issuer, the one for the token's audience. */

static oidc_issuer_t *
oidc_issuer_of(const oidc_t *o, const oidc_jwt_t *jwt)
{
    const char     *iss;
    oidc_issuer_t  *i, *found = NULL;

    iss = oidc_jwt_claim(jwt, "iss");

    for (i = o->issuers; i != NULL && iss != NULL; i = i->next) {
        if (strcmp(i->conf->url, iss) != 0) {
            continue;
        }

        if (oidc_claims_audience(jwt, i->conf->audience,
                                 i->conf->audience_count))
        {
            return i;
        }

        found = found != NULL ? found : i;
    }

    return found;
}


int
oidc_judge(oidc_issuer_t *i, const oidc_jwt_t *jwt, int waited,
    char name[OIDC_NAME_MAX + 1], bk_identity_t *id, uint64_t *until_ms,
    bk_err_t *err)
{
    int                alg, rc;
    uint64_t           now = i->oidc->host->now_ms(i->oidc->host);
    const oidc_key_t  *key;

    alg = oidc_jwt_alg(jwt, i->conf->algs, err);

    if (alg < 0
        || oidc_claims_check(jwt, i->conf, now, until_ms, err) != 0
        || oidc_claims_name(jwt, i->conf->name, i->conf->user, name, err)
           != 0)
    {
        return -1;
    }

    if (oidc_issuer_keys(i) != 0) {
        /* not again and again while it is down: the timer does that */
        if (waited || (i->fetch == NULL && i->failures > 0
                       && i->oidc->host->monotonic_ms(i->oidc->host)
                          < i->failed_ms + OIDC_AGAIN_MS))
        {
            return oidc_issuer_unreachable(i, err);
        }

        oidc_issuer_fetch(i);
        return 1;
    }

    rc = oidc_keys_find(i->keys, oidc_jwt_kid(jwt), alg, &key, err);

    if (rc == 1) {
        return oidc_unknown_key(i, oidc_jwt_kid(jwt), waited, err);
    }

    if (rc != 0 || oidc_jwt_verify(jwt, alg, key, err) != 0) {
        return -1;
    }

    id->name = (bk_str_t) { name, strlen(name) };
    id->source = (bk_str_t) { i->conf->name, strlen(i->conf->name) };
    id->claims = (bk_str_t) { jwt->payload, jwt->payload_len };
    id->until_ms = *until_ms;

    return 0;
}


/* The issuer may have changed its keys; but anybody can make up an id. */

static int
oidc_unknown_key(oidc_issuer_t *i, const char *kid, int waited,
    bk_err_t *err)
{
    char      show[OIDC_SHOW], ago[OIDC_DURATION];
    uint64_t  now = i->oidc->host->monotonic_ms(i->oidc->host), age;

    if (!waited && i->fetch != NULL) {
        return 1;
    }

    if (!waited && (i->kid_ms == 0 || now >= i->kid_ms + OIDC_KID_MS)) {
        i->kid_ms = now;
        oidc_issuer_fetch(i);
        return 1;
    }

    if (i->failures > 0 || i->fetch != NULL) {
        return oidc_issuer_unreachable(i, err);
    }

    age = now - i->fetched_ms;
    (void) bk_err_set(err, 401, "UnknownKey", "issuer %s has no key \"%s\"; "
                      "its keys were read %s ago", i->conf->name,
                      oidc_show(kid, show),
                      oidc_duration(age, ago));

    return bk_err_hint(err, "if the issuer has just changed its keys, try "
                       "again in a few seconds");
}


void
oidc_accept(oidc_t *o, bk_query_t *q, oidc_count_t *count,
    const bk_identity_t *id, int cached)
{
    count->n[cached ? OIDC_CACHED : OIDC_ACCEPTED]++;
    o->host->identity_answer(q, id, NULL);
}


void
oidc_refuse(oidc_t *o, bk_query_t *q, oidc_count_t *count,
    const bk_err_t *err)
{
    oidc_count(count, err);
    o->host->identity_answer(q, NULL, err);
}


void
oidc_given_up(const oidc_t *o, bk_err_t *err)
{
    if (o->stopping) {
        (void) bk_err_set(err, 503, "ShuttingDown", "plugin-host is stopping");
        (void) bk_err_hint(err, "try again in a moment");
        return;
    }

    (void) bk_err_set(err, 503, "IssuerUnreachable", "the configuration of "
                      "issuers was changed while the token was looked at");
    (void) bk_err_hint(err, "try again");
}


/* NULL: the source is the TokenReview. */

static oidc_issuer_t *
oidc_issuer_named(const oidc_t *o, bk_str_t source)
{
    oidc_issuer_t  *i;

    for (i = o->issuers; i != NULL; i = i->next) {
        if (strlen(i->conf->name) == source.len
            && memcmp(i->conf->name, source.data, source.len) == 0)
        {
            break;
        }
    }

    return i;
}


void
oidc_hash(bk_str_t token, uint8_t hash[32])
{
    SHA256((const unsigned char *) token.data, token.len, hash);
}
