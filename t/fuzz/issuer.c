/*
 * FUZZ_SOURCES: plugin-host/plugins/oidc/issuer.c
 *     plugin-host/plugins/oidc/review.c plugin-host/plugins/oidc/jwks.c
 *     plugin-host/plugins/oidc/jwt.c plugin-host/plugins/oidc/claims.c
 *     plugin-host/plugins/oidc/cache.c plugin-host/plugins/oidc/text.c
 *     plugin-host/plugins/oidc/file.c plugin-host/plugins/oidc/file_check.c
 *     plugin-host/src/yaml.c plugin-host/src/yaml_check.c
 *     plugin-host/src/yaml_options.c plugin-host/src/duration.c
 *     plugin-host/src/err.c plugin-host/src/slurp.c
 * FUZZ_CFLAGS: -Iplugin-host/plugins/oidc
 * FUZZ_LIBS: -lcurl -ljose -ljansson -lcyaml -lyaml -lcrypto
 */

/*
 * What an issuer and an API server answer, whatever it is.  The first byte
 * says which, and with what HTTP status; the rest is an openid-configuration
 * and a key set, divided by a NUL, or a TokenReview.  An issuer is asked
 * twice, the second time after a set that is good: keys are only taken of a
 * document that names this very issuer, from a URL that may be asked, who
 * waits is answered once, and a next try is set in any case.
 */

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oidc.h"


#define FUZZ_REVIEW     1           /* bits of the first byte */
#define FUZZ_STATUS(b)  (((b) >> 1) % 8)
#define FUZZ_WARM       16

#define FUZZ_URL        "https://issuer.example/a"
#define FUZZ_DOCUMENT   FUZZ_URL "/.well-known/openid-configuration"
#define FUZZ_NOW_MS     UINT64_C(1800000000000)
#define FUZZ_TOKEN      "eyJhIjoxfQ.e30.AAAAAAAAAAAAAAAAAAAA"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_issuer(int how, const char *text, size_t len);
static void fuzz_round(oidc_issuer_t *i, long status, const char *text,
    size_t len);
static void fuzz_good(oidc_issuer_t *i);
static void fuzz_answer(long status, const char *text, size_t len);
static void fuzz_review(int how, const char *text, size_t len);
static void fuzz_plain(const char *text);


/* a timer is the time that it is set to, UINT64_MAX: none */
struct bk_timer_s {
    bk_timer_pt   fire;
    void         *data;
    uint64_t      ms;
};

static const char  fuzz_document[] = "{\"issuer\":\"" FUZZ_URL "/\","
    "\"jwks_uri\":\"https://keys.example/?a=b\"}";
static const char  fuzz_keys[] =
    "{\"keys\":[{\"kty\":\"EC\",\"kid\":\"ec\",\"crv\":\"P-256\","
    "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}";
static const long  fuzz_status[] = { 200, 201, 0, 401, 403, 302, 500, 200 };

static char                *audiences[] = { "builds", "other" };
static oidc_issuer_conf_t   conf = {
    .name = "main",
    .url = FUZZ_URL "/",
    .refresh_ms = 900000,
    .stale_ms = 7200000
};
static oidc_review_conf_t   review = {
    .name = "kube",
    .server = "https://kube.example",
    .token_file = "/token",
    .audiences = audiences,
    .audiences_count = 2
};

static struct {
    char           *url;            /* what is asked for; NULL: nothing */
    bk_fetch_pt   done;
    void           *data;
    unsigned        answers;
} fuzz;


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char  *text;

    if (size < 1 || size > OIDC_JWKS_MAX) {
        return 0;
    }

    /* as fetch.c has it: with a NUL at the end */
    text = malloc(size);
    assert(text != NULL);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';

    if (data[0] & FUZZ_REVIEW) {
        fuzz_review(data[0], text, size - 1);

    } else {
        fuzz_issuer(data[0], text, size - 1);
    }

    free(text);

    return 0;
}


/* What the plugin has around them. */

static void __attribute__((format(printf, 3, 4)))
fuzz_log(const bk_host_t *h, int level, const char *fmt, ...)
{
    char     line[4096];
    va_list  args;

    (void) h;
    (void) level;

    va_start(args, fmt);
    (void) vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);

    fuzz_plain(line);
}


static uint64_t
fuzz_now(const bk_host_t *h)
{
    (void) h;

    return FUZZ_NOW_MS;
}


static bk_timer_t *
fuzz_timer_new(const bk_host_t *h, bk_timer_pt fire, void *data)
{
    bk_timer_t  *t = calloc(1, sizeof(bk_timer_t));

    (void) h;
    assert(t != NULL);
    t->fire = fire;
    t->data = data;
    t->ms = UINT64_MAX;

    return t;
}


static void
fuzz_timer_set(bk_timer_t *t, uint64_t ms)
{
    t->ms = ms;
}


static void
fuzz_timer_clear(bk_timer_t *t)
{
    t->ms = UINT64_MAX;
}


static void
fuzz_timer_free(bk_timer_t **t)
{
    free(*t);
    *t = NULL;
}


static const bk_host_t  fuzz_h = {
    .log = fuzz_log,
    .now_ms = fuzz_now,
    .monotonic_ms = fuzz_now,
    .timer_new = fuzz_timer_new,
    .timer_set = fuzz_timer_set,
    .timer_clear = fuzz_timer_clear,
    .timer_free = fuzz_timer_free
};


bk_fetch_t *
bk_fetch(bk_fetcher_t *f, const bk_fetch_req_t *req, bk_fetch_pt done,
    void *data)
{
    (void) f;
    assert(fuzz.url == NULL);
    assert(oidc_url_bad(req->url, 0, 1) == NULL);
    assert(req->bearer == NULL && req->body == NULL && !req->insecure);

    fuzz.url = strdup(req->url);
    assert(fuzz.url != NULL);
    fuzz.done = done;
    fuzz.data = data;

    return (bk_fetch_t *) &fuzz;
}


void
bk_fetch_cancel(bk_fetch_t **fetch)
{
    if (*fetch != NULL) {
        free(fuzz.url);
        fuzz.url = NULL;
        *fetch = NULL;
    }
}


void
oidc_accept(oidc_t *o, bk_query_t *q, oidc_count_t *count,
    const bk_identity_t *id, int cached)
{
    (void) o;
    (void) q;
    (void) count;
    (void) id;
    (void) cached;
    fuzz.answers++;
}


void
oidc_refuse(oidc_t *o, bk_query_t *q, oidc_count_t *count,
    const bk_err_t *err)
{
    (void) o;
    (void) q;
    (void) count;
    fuzz_plain(err->text);
    fuzz.answers++;
}


/* The token is nobody's: it is about the keys alone. */

int
oidc_judge(oidc_issuer_t *i, const oidc_jwt_t *jwt, int waited,
    char name[OIDC_NAME_MAX + 1], bk_identity_t *id, uint64_t *until_ms,
    bk_err_t *err)
{
    (void) jwt;
    (void) name;
    (void) id;
    (void) until_ms;
    assert(waited);

    return oidc_issuer_keys(i) == 0
           ? bk_err_set(err, 401, "BadSignature", "nobody's")
           : oidc_issuer_unreachable(i, err);
}


void
oidc_hash(bk_str_t token, uint8_t hash[32])
{
    (void) token;
    memset(hash, 0, 32);
}


void
oidc_given_up(const oidc_t *o, bk_err_t *err)
{
    (void) o;
    (void) bk_err_set(err, 503, "IssuerUnreachable", "the end");
}


/* An issuer. */

static void
fuzz_issuer(int how, const char *text, size_t len)
{
    oidc_t          o;
    oidc_issuer_t  *i;

    memset(&fuzz, 0, sizeof(fuzz));
    memset(&o, 0, sizeof(o));
    o.host = &fuzz_h;
    o.cache = oidc_cache_new(8, 4096);

    i = oidc_issuer_new(&o, &conf);

    if (how & FUZZ_WARM) {
        fuzz_good(i);
    }

    fuzz_round(i, fuzz_status[FUZZ_STATUS(how)], text, len);
    fuzz_good(i);
    fuzz_round(i, 200, text, len);

    oidc_issuer_wait(i, NULL, (bk_str_t) { FUZZ_TOKEN,
                                           sizeof(FUZZ_TOKEN) - 1 });
    oidc_issuer_free(&i);
    assert(fuzz.answers == 3 && fuzz.url == NULL);
    oidc_cache_free(&o.cache);
}


static void
fuzz_round(oidc_issuer_t *i, long status, const char *text, size_t len)
{
    json_t       *json;
    size_t        head;
    unsigned      answers = fuzz.answers;
    uint64_t      good = i->good, bad = i->bad;
    const char   *nul, *why;
    oidc_keys_t  *keys = i->keys;

    nul = memchr(text, '\0', len);
    head = nul != NULL ? (size_t) (nul - text) : len;

    oidc_issuer_fetch(i);
    oidc_issuer_wait(i, NULL, (bk_str_t) { FUZZ_TOKEN,
                                           sizeof(FUZZ_TOKEN) - 1 });
    fuzz_answer(status, text, head);

    if (fuzz.url != NULL) {
        json = oidc_json(text, head, &why);
        assert(status == 200);
        assert(strcmp(json_string_value(json_object_get(json, "issuer")),
                      conf.url) == 0);
        assert(strcmp(json_string_value(json_object_get(json, "jwks_uri")),
                      fuzz.url) == 0);
        json_decref(json);

        fuzz_answer(200, nul != NULL ? nul + 1 : text,
                    nul != NULL ? len - head - 1 : len);
    }

    assert(fuzz.url == NULL && i->fetch == NULL);
    assert(i->good + i->bad == good + bad + 1);

    if (i->good > good) {
        assert(i->failures == 0 && i->keys != NULL && i->keys->n > 0);
        assert(i->refresh->ms > conf.refresh_ms * 8 / 10
               && i->refresh->ms <= conf.refresh_ms);

    } else {
        assert(i->failures > 0 && i->error[0] != '\0' && i->keys == keys);
        assert(i->refresh->ms >= 1000 && i->refresh->ms <= 60000);
    }

    /* whoever waited */
    assert(i->work->ms == 0 && i->waiting == 1);
    i->work->fire(i->work->data);
    assert(i->waiting == 0 && i->work->ms == UINT64_MAX);
    assert(fuzz.answers == answers + 1);
}


static void
fuzz_good(oidc_issuer_t *i)
{
    oidc_issuer_fetch(i);
    assert(strcmp(fuzz.url, FUZZ_DOCUMENT) == 0);
    fuzz_answer(200, fuzz_document, sizeof(fuzz_document) - 1);
    assert(strcmp(fuzz.url, "https://keys.example/?a=b") == 0);
    fuzz_answer(200, fuzz_keys, sizeof(fuzz_keys) - 1);
    assert(oidc_issuer_keys(i) == 0 && i->failures == 0);
}


static void
fuzz_answer(long status, const char *text, size_t len)
{
    bk_fetch_pt  done = fuzz.done;

    free(fuzz.url);
    fuzz.url = NULL;
    done(fuzz.data, status, status != 0 ? text : NULL, status != 0 ? len : 0,
         status != 0 ? NULL : "it hangs");
}


/* A TokenReview. */

static void
fuzz_review(int how, const char *text, size_t len)
{
    int       rc;
    char     *user = NULL, *claims = NULL, name[OIDC_NAME_MAX + 1];
    long      status = fuzz_status[FUZZ_STATUS(how)];
    json_t   *json;
    bk_err_t  err;

    memset(&err, 0, sizeof(err));
    review.audiences_count = how & FUZZ_WARM ? 2 : 0;

    rc = oidc_review_read(&review, status, text, len,
                          (bk_str_t) { FUZZ_TOKEN, sizeof(FUZZ_TOKEN) - 1 },
                          &user, &claims, &err);

    if (rc != 0) {
        assert(err.code == 401 || err.code == 503);
        assert(err.code == 503 || status == 200 || status == 201);
        assert(err.reason[0] != '\0' && err.text[0] != '\0');
        assert(strstr(err.text, "AAAAAAAAAAAAAAAAAAAA") == NULL);
        fuzz_plain(err.text);
        return;
    }

    assert(status == 200 || status == 201);
    assert(user[0] != '\0');

    json = json_loads(claims, 0, NULL);
    assert(json_is_object(json));
    assert(strcmp(json_string_value(json_object_get(json, "username")), user)
           == 0);
    assert((json_object_get(json, "namespace") != NULL)
           == (json_object_get(json, "serviceaccount") != NULL));
    json_decref(json);

    oidc_name(review.name, user, name);
    assert(strncmp(name, "kube:", 5) == 0 && strlen(name) <= OIDC_NAME_MAX);
    fuzz_plain(name);

    free(user);
    free(claims);
}


/* Fit for a log. */

static void
fuzz_plain(const char *text)
{
    for ( /* void */ ; *text != '\0'; text++) {
        assert((unsigned char) *text >= 0x20 && *text != 0x7f);
    }
}
