/* What oidc.yaml says must make sense before any of it is taken. */

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bk_duration.h"
#include "bk_slurp.h"
#include "file_int.h"
#include "jwt.h"


#define OIDC_LEEWAY_MS   UINT64_C(60000)
#define OIDC_REFRESH_MS  UINT64_C(900000)
#define OIDC_STALE_MS    UINT64_C(86400000)

#define OIDC_LEEWAY_MAX   UINT64_C(600000)
#define OIDC_REFRESH_MIN  UINT64_C(10000)
#define OIDC_REFRESH_MAX  UINT64_C(86400000)

#define OIDC_NAME_CHARS  "abcdefghijklmnopqrstuvwxyz0123456789-_."


static int oidc_check_issuer(oidc_file_t *f, unsigned i, bk_err_t *err);
static int oidc_check_times(oidc_file_t *f, unsigned i, bk_err_t *err);
static int oidc_check_static(oidc_file_t *f, unsigned i, bk_err_t *err);
static int oidc_check_claims(oidc_file_t *f, unsigned i, bk_err_t *err);
static int oidc_check_review(oidc_file_t *f, bk_err_t *err);
static int oidc_check_name(oidc_file_t *f, const char *at, const char *name,
    bk_err_t *err);
static int oidc_check_ca(oidc_file_t *f, const char *at, const char *path,
    bk_err_t *err);
static int oidc_check_duration(oidc_file_t *f, const char *at, const char *s,
    uint64_t standard, uint64_t min, uint64_t max, uint64_t *ms,
    bk_err_t *err);
static int oidc_loopback(const char *host);
static int oidc_hex(const char *s, uint8_t *out);


int
oidc_file_check(oidc_file_t *f, bk_err_t *err)
{
    unsigned     i;
    oidc_doc_t  *d = f->doc;

    for (i = 0; i < d->issuers_count; i++) {
        if (oidc_check_issuer(f, i, err) != 0) {
            return -1;
        }
    }

    for (i = 0; i < d->tokens_count; i++) {
        if (oidc_check_static(f, i, err) != 0) {
            return -1;
        }
    }

    return d->review != NULL ? oidc_check_review(f, err) : 0;
}


static int
oidc_check_issuer(oidc_file_t *f, unsigned i, bk_err_t *err)
{
    char                 at[64];
    unsigned             j;
    const char          *bad;
    oidc_issuer_conf_t  *c = &f->doc->issuers[i];

    snprintf(at, sizeof(at), "issuers.%u.name", i);

    if (oidc_check_name(f, at, c->name, err) != 0) {
        return -1;
    }

    for (j = 0; j < i; j++) {
        if (strcmp(f->doc->issuers[j].name, c->name) == 0) {
            return bk_yaml_err(f->yaml, err, at, "issuer %s is given twice",
                               c->name);
        }
    }

    snprintf(at, sizeof(at), "issuers.%u.issuer", i);
    bad = oidc_url_bad(c->url, f->insecure, 0);

    if (bad != NULL) {
        return bk_yaml_err(f->yaml, err, at, "%s", bad);
    }

    snprintf(at, sizeof(at), "issuers.%u.caFile", i);

    if (oidc_check_ca(f, at, c->ca_file, err) != 0) {
        return -1;
    }

    for (j = 0; j < c->algorithms_count; j++) {
        c->algs |= 1u << (c->algorithms[j] - 1);
    }

    if (c->algs == 0) {
        c->algs = OIDC_ALGS_ALL;
    }

    c->user = c->claims != NULL && c->claims->user != NULL
              ? c->claims->user : "sub";

    return oidc_check_times(f, i, err);
}


static int
oidc_check_times(oidc_file_t *f, unsigned i, bk_err_t *err)
{
    char                 at[64];
    oidc_issuer_conf_t  *c = &f->doc->issuers[i];

    snprintf(at, sizeof(at), "issuers.%u.leeway", i);

    if (oidc_check_duration(f, at, c->leeway, OIDC_LEEWAY_MS, 0,
                            OIDC_LEEWAY_MAX, &c->leeway_ms, err)
        != 0)
    {
        return -1;
    }

    snprintf(at, sizeof(at), "issuers.%u.jwksRefresh", i);

    if (oidc_check_duration(f, at, c->refresh, OIDC_REFRESH_MS,
                            OIDC_REFRESH_MIN, OIDC_REFRESH_MAX,
                            &c->refresh_ms, err)
        != 0)
    {
        return -1;
    }

    snprintf(at, sizeof(at), "issuers.%u.staleFor", i);

    return oidc_check_duration(f, at, c->stale, OIDC_STALE_MS, 0, UINT64_MAX,
                               &c->stale_ms, err);
}


static int
oidc_check_static(oidc_file_t *f, unsigned i, bk_err_t *err)
{
    char            at[64];
    unsigned        j;
    struct tm       tm;
    const char     *end;
    oidc_static_t  *s = &f->doc->tokens[i];

    snprintf(at, sizeof(at), "tokens.%u.name", i);

    if (strspn(s->name, OIDC_NAME_CHARS) != strlen(s->name)) {
        return bk_yaml_err(f->yaml, err, at, "must be of lower-case letters, "
                           "digits, '-', '_' and '.'");
    }

    if (oidc_hex(s->sha256, s->hash) != 0) {
        snprintf(at, sizeof(at), "tokens.%u.sha256", i);
        return bk_yaml_err(f->yaml, err, at, "must be 64 hex digits: "
                           "printf %%s \"$TOKEN\" | sha256sum");
    }

    for (j = 0; j < i; j++) {
        if (strcmp(f->doc->tokens[j].name, s->name) == 0) {
            return bk_yaml_err(f->yaml, err, at, "token %s is given twice",
                               s->name);
        }

        if (memcmp(f->doc->tokens[j].hash, s->hash, 32) == 0) {
            snprintf(at, sizeof(at), "tokens.%u.sha256", i);
            return bk_yaml_err(f->yaml, err, at, "is that of token %s",
                               f->doc->tokens[j].name);
        }
    }

    if (s->expires != NULL) {
        memset(&tm, 0, sizeof(tm));
        end = strptime(s->expires, "%Y-%m-%dT%H:%M:%SZ", &tm);

        if (end == NULL || *end != '\0' || timegm(&tm) <= 0) {
            snprintf(at, sizeof(at), "tokens.%u.expires", i);
            return bk_yaml_err(f->yaml, err, at, "must be a time like "
                               "2027-01-01T00:00:00Z");
        }

        s->expires_ms = (uint64_t) timegm(&tm) * 1000;
    }

    return oidc_check_claims(f, i, err);
}


/* The claims of a static token become JSON once; "sub" is its name. */

static int
oidc_check_claims(oidc_file_t *f, unsigned i, bk_err_t *err)
{
    char                at[96];
    json_t             *claims, *list;
    unsigned            j, k;
    oidc_static_t      *s = &f->doc->tokens[i];
    oidc_claim_conf_t  *c;

    claims = json_object();
    json_object_set_new(claims, "sub", json_string(s->name));

    for (j = 0; j < s->claims_count; j++) {
        c = &s->claims[j];
        snprintf(at, sizeof(at), "tokens.%u.claims.%u", i, j);

        if ((c->value != NULL) == (c->values != NULL)) {
            json_decref(claims);
            return bk_yaml_err(f->yaml, err, at, "needs either a value or "
                               "values");
        }

        for (k = 0; k < j; k++) {
            if (strcmp(s->claims[k].name, c->name) == 0) {
                json_decref(claims);
                return bk_yaml_err(f->yaml, err, at, "claim %s is given "
                                   "twice", c->name);
            }
        }

        if (c->value != NULL) {
            json_object_set_new(claims, c->name, json_string(c->value));
            continue;
        }

        list = json_array();

        for (k = 0; k < c->values_count; k++) {
            json_array_append_new(list, json_string(c->values[k]));
        }

        json_object_set_new(claims, c->name, list);
    }

    s->text = json_dumps(claims, JSON_COMPACT);
    json_decref(claims);

    if (s->text == NULL) {
        abort();
    }

    return 0;
}


static int
oidc_check_review(oidc_file_t *f, bk_err_t *err)
{
    unsigned             i;
    const char          *bad;
    oidc_review_conf_t  *c = f->doc->review;

    if (oidc_check_name(f, "tokenReview.name", c->name, err) != 0) {
        return -1;
    }

    for (i = 0; i < f->doc->issuers_count; i++) {
        if (strcmp(f->doc->issuers[i].name, c->name) == 0) {
            return bk_yaml_err(f->yaml, err, "tokenReview.name", "%s is the "
                               "name of an issuer", c->name);
        }
    }

    bad = oidc_url_bad(c->server, f->insecure, 0);

    if (bad != NULL) {
        return bk_yaml_err(f->yaml, err, "tokenReview.server", "%s", bad);
    }

    if (c->token_file[0] != '/') {
        return bk_yaml_err(f->yaml, err, "tokenReview.tokenFile", "must be "
                           "an absolute path");
    }

    return oidc_check_ca(f, "tokenReview.caFile", c->ca_file, err);
}


static int
oidc_check_name(oidc_file_t *f, const char *at, const char *name,
    bk_err_t *err)
{
    if (strspn(name, OIDC_NAME_CHARS) != strlen(name)) {
        return bk_yaml_err(f->yaml, err, at, "must be of lower-case letters, "
                           "digits, '-', '_' and '.'");
    }

    if (strcmp(name, "unix") == 0 || strcmp(name, OIDC_SOURCE_TOKEN) == 0) {
        return bk_yaml_err(f->yaml, err, at, "%s is the name of a source "
                           "that is always there", name);
    }

    return 0;
}


static int
oidc_check_ca(oidc_file_t *f, const char *at, const char *path,
    bk_err_t *err)
{
    BIO     *bio;
    X509    *x;
    char    *pem;
    size_t   len;

    if (path == NULL) {
        return 0;
    }

    if (path[0] != '/') {
        return bk_yaml_err(f->yaml, err, at, "must be an absolute path");
    }

    pem = bk_slurp(path, OIDC_JWKS_MAX, &len);

    if (pem == NULL) {
        return bk_yaml_err(f->yaml, err, at, "%.200s: %s", path,
                           strerror(errno));
    }

    bio = BIO_new_mem_buf(pem, (int) len);
    x = PEM_read_bio_X509(bio, NULL, NULL, (void *) "");
    BIO_free(bio);
    X509_free(x);
    free(pem);
    ERR_clear_error();

    return x != NULL ? 0 : bk_yaml_err(f->yaml, err, at, "%.200s: there is "
                                       "no certificate (PEM) in it", path);
}


static int
oidc_check_duration(oidc_file_t *f, const char *at, const char *s,
    uint64_t standard, uint64_t min, uint64_t max, uint64_t *ms,
    bk_err_t *err)
{
    char  least[OIDC_DURATION], most[OIDC_DURATION];

    *ms = standard;

    if (s == NULL) {
        return 0;
    }

    if (bk_duration_parse(s, strlen(s), ms) != 0) {
        return bk_yaml_err(f->yaml, err, at, "must be a duration like 90s or "
                           "1h30m");
    }

    if (*ms >= min && *ms <= max) {
        return 0;
    }

    return bk_yaml_err(f->yaml, err, at, "must be from %s to %s",
                       oidc_duration(min, least),
                       oidc_duration(max, most));
}


const char *
oidc_url_bad(const char *url, int insecure, int query)
{
    int          loopback;
    char        *scheme = NULL, *host = NULL, *part = NULL;
    CURLU       *u;
    const char  *bad = NULL;

    u = curl_url();
    if (u == NULL) {
        abort();
    }

    if (strlen(url) > 2048
        || strspn(url, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                       "0123456789-._~:/?#[]@!$&'()*+,;=%") != strlen(url)
        || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK
        || curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK
        || curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK
        || host[0] == '\0')
    {
        bad = "must be a URL";

    } else {
        loopback = oidc_loopback(host);

        if (strcmp(scheme, "https") != 0
            && (strcmp(scheme, "http") != 0 || !insecure || !loopback))
        {
            bad = strcmp(scheme, "http") == 0 && loopback
                  ? "must be https (insecureLoopback allows http to a "
                    "loopback address)" : "must be https";

        } else if (curl_url_get(u, CURLUPART_USER, &part, 0) == CURLUE_OK
                   || curl_url_get(u, CURLUPART_FRAGMENT, &part, 0)
                      == CURLUE_OK
                   || (!query
                       && curl_url_get(u, CURLUPART_QUERY, &part, 0)
                          == CURLUE_OK))
        {
            bad = query ? "must have no user and no fragment"
                        : "must have no user, query or fragment";
        }
    }

    curl_free(scheme);
    curl_free(host);
    curl_free(part);
    curl_url_cleanup(u);

    return bad;
}


/* Of addresses only: where a name leads to, others decide. */

static int
oidc_loopback(const char *host)
{
    struct in_addr  in;

    if (inet_pton(AF_INET, host, &in) == 1) {
        return ntohl(in.s_addr) >> 24 == 127;
    }

    return strcmp(host, "[::1]") == 0 || strcmp(host, "::1") == 0;
}


static int
oidc_hex(const char *s, uint8_t *out)
{
    char      pair[3] = { 0, 0, 0 };
    unsigned  i;

    if (strspn(s, "0123456789abcdefABCDEF") != 64 || s[64] != '\0') {
        return -1;
    }

    for (i = 0; i < 32; i++) {
        pair[0] = s[i * 2];
        pair[1] = s[i * 2 + 1];
        out[i] = (uint8_t) strtoul(pair, NULL, 16);
    }

    return 0;
}
