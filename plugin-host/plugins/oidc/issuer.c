/*
 * An issuer's keys: discovery, then its key set, before the ones that are
 * there are old.  Whatever fails, the old ones go on being used for a while,
 * and callers are told in time.
 */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oidc.h"


#define OIDC_RETRY_MS      UINT64_C(1000)
#define OIDC_RETRY_MAX_MS  UINT64_C(60000)
#define OIDC_WARN_MS       UINT64_C(60000)
#define OIDC_BATCH         16       /* tokens judged in one turn */


struct oidc_wait_s {
    oidc_wait_t  *next;
    bk_query_t   *q;
    uint64_t      until_ms;
    uint64_t      began;            /* decided by a fetch after this one */
    size_t        len;
    char          token[];
};


static void oidc_issuer_get(oidc_issuer_t *i, const char *url,
    bk_fetch_pt done);
static void oidc_issuer_document(void *data, long status, const char *body,
    size_t len, const char *error);
static void oidc_issuer_set(void *data, long status, const char *body,
    size_t len, const char *error);
static int oidc_issuer_answered(oidc_issuer_t *i, const char *what,
    long status, const char *error);
static void oidc_issuer_failed(oidc_issuer_t *i, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void oidc_issuer_refresh(void *data);
static void oidc_issuer_work(void *data);
static void oidc_issuer_again(oidc_issuer_t *i, oidc_wait_t *w);
static void oidc_issuer_next(oidc_issuer_t *i);


oidc_issuer_t *
oidc_issuer_new(oidc_t *o, oidc_issuer_conf_t *conf)
{
    oidc_issuer_t  *i;

    i = calloc(1, sizeof(oidc_issuer_t));
    if (i == NULL) {
        abort();
    }

    i->oidc = o;
    i->conf = conf;
    i->last = &i->first;
    i->refresh = o->host->timer_new(o->host, oidc_issuer_refresh, i);
    i->work = o->host->timer_new(o->host, oidc_issuer_work, i);

    return i;
}


void
oidc_issuer_free(oidc_issuer_t **ip)
{
    bk_err_t        err;
    oidc_wait_t    *w;
    oidc_issuer_t  *i = *ip;

    *ip = NULL;
    bk_fetch_cancel(&i->fetch);
    oidc_cache_forget(i->oidc->cache, i);
    oidc_given_up(i->oidc, &err);

    while ((w = i->first) != NULL) {
        i->first = w->next;
        oidc_refuse(i->oidc, w->q, &i->count, &err);
        explicit_bzero(w->token, w->len);
        free(w);
    }

    i->oidc->host->timer_free(&i->refresh);
    i->oidc->host->timer_free(&i->work);
    oidc_keys_free(&i->keys);
    free(i);
}


int
oidc_issuer_same(const oidc_issuer_t *i, const oidc_issuer_conf_t *c)
{
    const char  *a = i->conf->ca_file, *b = c->ca_file;

    return strcmp(i->conf->name, c->name) == 0
           && strcmp(i->conf->url, c->url) == 0
           && (a == NULL) == (b == NULL)
           && (a == NULL || strcmp(a, b) == 0);
}


int
oidc_issuer_keys(const oidc_issuer_t *i)
{
    const bk_host_t  *h = i->oidc->host;

    return i->keys != NULL
           && h->monotonic_ms(h) - i->fetched_ms
              <= i->conf->refresh_ms + i->conf->stale_ms
           ? 0 : -1;
}


int
oidc_issuer_unreachable(const oidc_issuer_t *i, bk_err_t *err)
{
    (void) bk_err_set(err, 503, "IssuerUnreachable", "the keys of issuer %s "
                      "(%.150s) cannot be read: %s", i->conf->name,
                      i->conf->url, i->fetch != NULL || i->failures == 0
                      ? "it does not answer in time" : i->error);

    return bk_err_hint(err, "try again; if it goes on: can plugin-host reach "
                       "this address?");
}


void
oidc_issuer_fetch(oidc_issuer_t *i)
{
    char    *url;
    size_t   len;

    if (i->fetch != NULL) {
        return;
    }

    i->began++;
    len = strlen(i->conf->url);
    len -= i->conf->url[len - 1] == '/';

    if (asprintf(&url, "%.*s/.well-known/openid-configuration", (int) len,
                 i->conf->url)
        < 0)
    {
        abort();
    }

    oidc_issuer_get(i, url, oidc_issuer_document);
    free(url);
}


static void
oidc_issuer_get(oidc_issuer_t *i, const char *url, bk_fetch_pt done)
{
    bk_fetch_req_t  req;

    memset(&req, 0, sizeof(req));
    req.url = url;
    req.ca_file = i->conf->ca_file;
    req.limit = OIDC_JWKS_MAX;
    req.insecure = i->oidc->insecure;
    req.timeout_ms = OIDC_FETCH_MS;

    i->fetch = bk_fetch(i->oidc->fetcher, &req, done, i);
}


static void
oidc_issuer_document(void *data, long status, const char *body, size_t len,
    const char *error)
{
    char            seen[OIDC_SHOW];
    json_t         *json;
    const char     *why, *iss, *uri;
    oidc_issuer_t  *i = data;

    i->fetch = NULL;

    if (oidc_issuer_answered(i, "openid-configuration", status, error) != 0) {
        return;
    }

    json = oidc_json(body, len, &why);
    iss = json_string_value(json_object_get(json, "issuer"));
    uri = json_string_value(json_object_get(json, "jwks_uri"));

    if (!json_is_object(json)) {
        oidc_issuer_failed(i, "its openid-configuration cannot be read: %s",
                           json == NULL ? why : "it is no object");

    } else if (iss == NULL || strcmp(iss, i->conf->url) != 0) {
        oidc_issuer_failed(i, "its openid-configuration is of %s; the two "
                           "must be the same to the letter",
                           iss != NULL ? oidc_show(iss, seen)
                                       : "no issuer");

    } else if (uri == NULL
               || (why = oidc_url_bad(uri, i->oidc->insecure, 1)) != NULL)
    {
        oidc_issuer_failed(i, "jwks_uri of its openid-configuration %s",
                           uri == NULL ? "is missing" : why);

    } else {
        oidc_issuer_get(i, uri, oidc_issuer_set);
    }

    json_decref(json);
}


static void
oidc_issuer_set(void *data, long status, const char *body, size_t len,
    const char *error)
{
    bk_err_t          err;
    oidc_keys_t      *keys;
    oidc_issuer_t    *i = data;
    const bk_host_t  *h = i->oidc->host;

    i->fetch = NULL;

    if (oidc_issuer_answered(i, "key set", status, error) != 0) {
        return;
    }

    keys = oidc_keys_parse(body, len, &err);

    if (keys == NULL) {
        oidc_issuer_failed(i, "its key set cannot be used: %s", err.text);
        return;
    }

    if (i->keys == NULL || i->failures > 0
        || !oidc_keys_kept(i->keys, keys) || keys->n != i->keys->n)
    {
        h->log(h, BK_LOG_INFO, "issuer %s: %u keys%s%s", i->conf->name,
               keys->n, keys->skipped ? "; others cannot be used, the first:"
                                        " " : "", keys->why);
    }

    /* a key that is gone may have been stolen: so are its tokens */
    if (i->keys != NULL && !oidc_keys_kept(i->keys, keys)) {
        oidc_cache_forget(i->oidc->cache, i);
    }

    oidc_keys_free(&i->keys);
    i->keys = keys;
    i->good++;
    i->failures = 0;
    i->warned_ms = 0;
    i->fetched_ms = h->monotonic_ms(h);

    oidc_issuer_due(i);
    oidc_issuer_next(i);
}


/* A little early, so that not all issuers and hosts do it together. */

void
oidc_issuer_due(oidc_issuer_t *i)
{
    uint64_t          ms, age;
    const bk_host_t  *h = i->oidc->host;

    ms = i->conf->refresh_ms;
    ms -= arc4random_uniform((uint32_t) (ms / 10));
    age = h->monotonic_ms(h) - i->fetched_ms;

    h->timer_set(i->refresh, age < ms ? ms - age : 0);
}


static int
oidc_issuer_answered(oidc_issuer_t *i, const char *what, long status,
    const char *error)
{
    if (status == 200) {
        return 0;
    }

    if (status == 0) {
        oidc_issuer_failed(i, "its %s: %s", what, error);

    } else {
        oidc_issuer_failed(i, "its %s: HTTP status %ld%s", what, status,
                           status >= 300 && status < 400
                           ? "; redirects are not followed" : "");
    }

    return -1;
}


static void
oidc_issuer_failed(oidc_issuer_t *i, const char *fmt, ...)
{
    char              age[OIDC_DURATION];
    va_list           args;
    uint64_t          ms, now;
    const bk_host_t  *h = i->oidc->host;

    va_start(args, fmt);
    vsnprintf(i->error, sizeof(i->error), fmt, args);
    va_end(args);

    now = h->monotonic_ms(h);
    i->bad++;
    i->failures++;
    i->failed_ms = now;

    if (i->warned_ms == 0 || now >= i->warned_ms + OIDC_WARN_MS) {
        i->warned_ms = now;
        ms = now - i->fetched_ms;
        h->log(h, BK_LOG_WARN, "issuer %s: %s; %s%s", i->conf->name, i->error,
               i->keys == NULL ? "its tokens cannot be verified"
               : "going on with its keys, as read before: ",
               i->keys == NULL ? ""
               : oidc_duration(ms, age));
    }

    ms = i->failures < 7 ? OIDC_RETRY_MS << (i->failures - 1)
                         : OIDC_RETRY_MAX_MS;
    h->timer_set(i->refresh, ms < OIDC_RETRY_MAX_MS ? ms
                                                    : OIDC_RETRY_MAX_MS);
    oidc_issuer_next(i);
}


static void
oidc_issuer_refresh(void *data)
{
    oidc_issuer_fetch(data);
}


void
oidc_issuer_wait(oidc_issuer_t *i, bk_query_t *q, bk_str_t token)
{
    bk_err_t          err;
    oidc_wait_t      *w;
    const bk_host_t  *h = i->oidc->host;

    if (i->waiting >= OIDC_WAITING_MAX) {
        (void) bk_err_set(&err, 503, "IssuerUnreachable", "%u callers wait "
                          "for the keys of issuer %s already", i->waiting,
                          i->conf->name);
        (void) bk_err_hint(&err, "try again in a few seconds");
        oidc_refuse(i->oidc, q, &i->count, &err);
        return;
    }

    w = malloc(sizeof(oidc_wait_t) + token.len);
    if (w == NULL) {
        abort();
    }

    w->next = NULL;
    w->q = q;
    w->until_ms = h->monotonic_ms(h) + OIDC_WAIT_MS;
    w->began = i->began;
    w->len = token.len;
    memcpy(w->token, token.data, token.len);

    *i->last = w;
    i->last = &w->next;
    i->waiting++;

    if (i->waiting == 1) {
        h->timer_set(i->work, OIDC_WAIT_MS);
    }
}


/* Those who wait are judged when a fetch has ended, or when it is too late;
 * a few in each turn, as a signature may take a millisecond. */

static void
oidc_issuer_work(void *data)
{
    unsigned          n;
    uint64_t          now;
    oidc_wait_t      *w;
    oidc_issuer_t    *i = data;
    const bk_host_t  *h = i->oidc->host;

    now = h->monotonic_ms(h);

    for (n = 0; n < OIDC_BATCH && (w = i->first) != NULL; n++) {
        if (now < w->until_ms && i->fetch != NULL && w->began == i->began) {
            break;
        }

        i->first = w->next;
        i->last = i->first != NULL ? i->last : &i->first;
        i->waiting--;

        oidc_issuer_again(i, w);
    }

    oidc_issuer_next(i);
}


static void
oidc_issuer_again(oidc_issuer_t *i, oidc_wait_t *w)
{
    char           name[OIDC_NAME_MAX + 1];
    uint8_t        hash[32];
    uint64_t       until_ms;
    bk_err_t       err;
    bk_str_t       token = { w->token, w->len };
    oidc_jwt_t     jwt;
    bk_identity_t  id;

    /* it could be parsed before */
    if (oidc_jwt_parse(&jwt, token, &err) != 0) {
        abort();
    }

    if (oidc_judge(i, &jwt, 1, name, &id, &until_ms, &err) == 0) {
        oidc_hash(token, hash);
        oidc_cache_put(i->oidc->cache, hash, &id, until_ms, i);
        oidc_accept(i->oidc, w->q, &i->count, &id, 0);

    } else {
        oidc_refuse(i->oidc, w->q, &i->count, &err);
    }

    oidc_jwt_free(&jwt);
    explicit_bzero(w->token, w->len);
    free(w);
}


static void
oidc_issuer_next(oidc_issuer_t *i)
{
    uint64_t          now;
    const bk_host_t  *h = i->oidc->host;

    if (i->first == NULL) {
        h->timer_clear(i->work);
        return;
    }

    now = h->monotonic_ms(h);

    if (i->fetch == NULL || i->first->began != i->began
        || i->first->until_ms <= now)
    {
        h->timer_set(i->work, 0);

    } else {
        h->timer_set(i->work, i->first->until_ms - now);
    }
}
