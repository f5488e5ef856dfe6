/*
 * A plugin that knows identities, for tests of the host: a token says what is
 * to be answered, "PREFIX.HOW.USER.CLAIMS" with the claims' JSON in hex.
 *
 *     now, later   this is who it is, at once or by a timer
 *     hold, never  when /api/v1/who/release is asked for, or never
 *     refuse, busy, odd   an error of 401, 503, 418
 *     foreign, unix, control, list, twice, large, old   what cannot be
 *
 * Its routes say what it was asked, who asks, what that may, and stream.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_plugin.h"
#include "bk_table.h"


#define WHO_HELD  8


typedef struct {
    const bk_host_t  *host;
    char              prefix[32];
    char              how[16];
    char              user[64];
    char             *claims;
    unsigned          asked;
    unsigned          answered;
    unsigned          gone;
    bk_query_t       *held[WHO_HELD];
    bk_query_t       *later;
    bk_timer_t       *timer;
    bk_request_t     *stream;
    unsigned          parts;
    size_t            size;
} who_t;


static int who_create(const bk_host_t *host, void **ctx, bk_err_t *err);
static int who_configure(void *ctx, const char *key, const char *value,
    bk_err_t *err);
static int who_start(void *ctx, bk_err_t *err);
static int who_facts(who_t *w, bk_err_t *err);
static void who_stop(void *ctx);
static void who_destroy(void *ctx);
static void who_identify(void *ctx, bk_query_t *q, const bk_credentials_t *c);
static int who_parse(who_t *w, const bk_credentials_t *c);
static void who_answer(who_t *w, bk_query_t *q);
static void who_wrong(who_t *w, bk_query_t *q, bk_identity_t *id);
static void who_error(who_t *w, bk_query_t *q, int code, const char *text);
static void who_timer(void *data);
static void who_say(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static void who_may(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static void who_release(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static void who_stream(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static void who_stream_run(who_t *w);
static void who_gone(bk_request_t *r, void *data);
static bk_str_t who_str(const char *s);


static const bk_option_t  who_options[] = {
    { "prefix", BK_OPTION_STRING, "who", "tokens that are this one's" },
    { NULL, 0, NULL, NULL }
};

static bk_plugin_t  who_plugin = {
    .name = "who",
    .version = "1",
    .summary = "knows who asks, for tests",
    .options = who_options,
    .create = who_create,
    .configure = who_configure,
    .start = who_start,
    .stop = who_stop,
    .destroy = who_destroy,
    .identify = who_identify
};

BK_PLUGIN(who_plugin)


static int
who_create(const bk_host_t *host, void **ctx, bk_err_t *err)
{
    who_t  *w = calloc(1, sizeof(who_t));

    (void) err;

    if (w == NULL) {
        abort();
    }

    w->host = host;
    *ctx = w;

    return 0;
}


static int
who_configure(void *ctx, const char *key, const char *value, bk_err_t *err)
{
    who_t  *w = ctx;

    (void) key;
    (void) err;

    snprintf(w->prefix, sizeof(w->prefix), "%s", value);

    return 0;
}


static int
who_start(void *ctx, bk_err_t *err)
{
    char    path[80];
    who_t  *w = ctx;
    size_t  i;

    static const struct {
        const char  *method;
        const char  *path;
        int          verb;
        bk_http_pt   handler;
    } routes[] = {
        { "GET", "", BK_VERB_ANY, who_say },
        { "GET", "/open", BK_VERB_NONE, who_say },
        { "POST", "/admin", BK_VERB_ADMIN, who_say },
        { "POST", "/wake", BK_VERB_WAKE, who_say },
        { "GET", "/may", BK_VERB_ANY, who_may },
        { "POST", "/may", BK_VERB_ANY, who_may },
        { "GET", "/release", BK_VERB_NONE, who_release },
        { "GET", "/stream", BK_VERB_ANY, who_stream }
    };

    w->timer = w->host->timer_new(w->host, who_timer, w);

    for (i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        snprintf(path, sizeof(path), "/api/v1/%s%s", w->prefix,
                 routes[i].path);

        if (w->host->http_route_for(w->host, routes[i].method, path,
                                    routes[i].verb, routes[i].handler, w, err)
            != 0)
        {
            w->host->timer_free(&w->timer);
            return -1;
        }
    }

    return strcmp(w->prefix, "who") == 0 ? who_facts(w, err) : 0;
}


/* Two pools, with an allocation each: of who:ann, and of nobody. */

static int
who_facts(who_t *w, bk_err_t *err)
{
    int               i;
    uint8_t           hash[32];
    bk_pool_info_t    pool;
    bk_alloc_info_t   alloc;
    bk_worker_info_t  worker;

    w->host->snapshot_begin(w->host);

    for (i = 0; i < 2; i++) {
        memset(&pool, 0, sizeof(pool));
        pool.name = who_str(i ? "default/two" : "default/one");

        memset(&worker, 0, sizeof(worker));
        worker.pool = pool.name;
        worker.name = who_str("w1");
        worker.endpoint = who_str("127.0.0.1:7001");
        worker.tls_name = who_str("localhost");
        worker.state = BK_WORKER_READY;

        memset(hash, i ? 0x22 : 0x11, sizeof(hash));
        memset(&alloc, 0, sizeof(alloc));
        alloc.hash = hash;
        alloc.pool = pool.name;
        alloc.worker = worker.name;
        alloc.state = BK_ALLOC_READY;

        if (w->host->pool_put(w->host, &pool, err) != 0
            || w->host->worker_put(w->host, &worker, err) != 0
            || w->host->alloc_put(w->host, &alloc, err) != 0
            || w->host->alloc_owner(w->host, hash,
                                    who_str(i ? "" : "who:ann"), 0)
               != 0)
        {
            w->host->timer_free(&w->timer);
            return -1;
        }
    }

    w->host->snapshot_commit(w->host);

    return 0;
}


/* What it still holds it does not answer: the host must cope. */

static void
who_stop(void *ctx)
{
    who_t  *w = ctx;

    if (w->stream != NULL) {
        w->host->http_stream_end(w->stream);
        w->stream = NULL;
    }

    w->host->timer_free(&w->timer);
    w->host->stopped(w->host);
}


static void
who_destroy(void *ctx)
{
    who_t  *w = ctx;

    free(w->claims);
    free(w);
}


static void
who_identify(void *ctx, bk_query_t *q, const bk_credentials_t *c)
{
    who_t   *w = ctx;
    size_t   i;

    w->asked++;

    if (!who_parse(w, c)) {
        w->host->identity_answer(q, NULL, NULL);
        return;
    }

    if (strcmp(w->how, "later") == 0) {
        w->later = q;
        w->host->timer_set(w->timer, 20);
        return;
    }

    if (strcmp(w->how, "never") == 0) {
        return;
    }

    if (strcmp(w->how, "hold") == 0) {
        for (i = 0; i < WHO_HELD; i++) {
            if (w->held[i] == NULL) {
                w->held[i] = q;
                return;
            }
        }
    }

    who_answer(w, q);
}


/* Is it ours? */

static int
who_parse(who_t *w, const bk_credentials_t *c)
{
    char      *text, *how, *user, *hex, *save;
    size_t     i, n;
    unsigned   byte;

    text = strndup(c->bearer.data, c->bearer.len);
    if (text == NULL) {
        abort();
    }

    how = strcmp(strtok_r(text, ".", &save), w->prefix) == 0
          ? strtok_r(NULL, ".", &save) : NULL;
    user = strtok_r(NULL, ".", &save);
    hex = strtok_r(NULL, ".", &save);

    if (how == NULL) {
        free(text);
        return 0;
    }

    snprintf(w->how, sizeof(w->how), "%s", how);
    snprintf(w->user, sizeof(w->user), "%s", user ? user : "nobody");

    n = hex != NULL ? strlen(hex) / 2 : 0;
    free(w->claims);
    w->claims = calloc(1, n + 3);
    if (w->claims == NULL) {
        abort();
    }

    for (i = 0; i < n && sscanf(hex + 2 * i, "%2x", &byte) == 1; i++) {
        w->claims[i] = (char) byte;
    }

    if (n == 0) {
        strcpy(w->claims, "{}");
    }

    free(text);

    return 1;
}


static void
who_answer(who_t *w, bk_query_t *q)
{
    char           name[128];
    bk_identity_t  id;

    w->answered++;

    memset(&id, 0, sizeof(id));
    snprintf(name, sizeof(name), "%s:%s", w->prefix, w->user);
    id.name = who_str(name);
    id.source = who_str(w->prefix);
    id.claims = who_str(w->claims);

    who_wrong(w, q, &id);
}


static void
who_wrong(who_t *w, bk_query_t *q, bk_identity_t *id)
{
    char  *large = NULL;

    if (strcmp(w->how, "refuse") == 0) {
        who_error(w, q, 401, "the token has expired");
        return;
    }

    if (strcmp(w->how, "busy") == 0) {
        who_error(w, q, 503, "the issuer cannot be reached");
        return;
    }

    if (strcmp(w->how, "odd") == 0) {
        who_error(w, q, 418, "a teapot");
        return;
    }

    if (strcmp(w->how, "foreign") == 0) {
        id->name = who_str("own:ann");

    } else if (strcmp(w->how, "unix") == 0) {
        id->name = who_str("unix:root");
        id->source = who_str("unix");

    } else if (strcmp(w->how, "control") == 0) {
        id->name = who_str("who:a\nb");

    } else if (strcmp(w->how, "list") == 0) {
        id->claims = who_str("[]");

    } else if (strcmp(w->how, "twice") == 0) {
        id->claims = who_str("{\"a\":1,\"a\":2}");

    } else if (strcmp(w->how, "old") == 0) {
        id->until_ms = w->host->now_ms(w->host) - 1;

    } else if (strcmp(w->how, "large") == 0) {
        large = malloc(70000);
        if (large == NULL) {
            abort();
        }

        memset(large, ' ', 70000);
        large[0] = '{';
        large[69999] = '}';
        id->claims = (bk_str_t) { large, 70000 };
    }

    w->host->identity_answer(q, id, NULL);
    free(large);
}


static void
who_error(who_t *w, bk_query_t *q, int code, const char *text)
{
    bk_err_t  err;

    memset(&err, 0, sizeof(err));
    err.code = code;
    snprintf(err.reason, sizeof(err.reason), "BadToken");
    snprintf(err.text, sizeof(err.text), "%s", text);
    w->host->identity_answer(q, NULL, &err);
}


static void
who_timer(void *data)
{
    who_t       *w = data;
    bk_query_t  *q = w->later;

    if (q != NULL) {
        w->later = NULL;
        who_answer(w, q);
        return;
    }

    who_stream_run(w);
}


static void
who_say(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    int             n, known;
    char            text[2000];
    who_t          *w = data;
    bk_identity_t   id;

    (void) info;

    memset(&id, 0, sizeof(id));
    known = w->host->http_identity(r, &id) == 0;

    n = snprintf(text, sizeof(text), "{\"name\":\"%.*s\",\"source\":\"%.*s\","
                 "\"claims\":%.*s,\"asked\":%u,\"answered\":%u,\"gone\":%u}\n",
                 (int) id.name.len, id.name.len ? id.name.data : "",
                 (int) id.source.len, id.source.len ? id.source.data : "",
                 known ? (int) id.claims.len : 4,
                 known ? id.claims.data : "null", w->asked, w->answered,
                 w->gone);
    w->host->http_reply(r, 200, "application/json",
                        (bk_str_t) { text, (size_t) n });
}


/* ?verb=N&pool=P&say=MEMBERS: asks the rules, and writes an audit line. */

static void
who_may(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    int             n, rc;
    char            verb[8], pool[200], say[400], text[600];
    who_t          *w = data;
    bk_err_t        err;
    bk_decision_t   d;

    (void) info;

    if (w->host->http_query(r, "verb", verb, sizeof(verb)) != 0
        || w->host->http_query(r, "pool", pool, sizeof(pool)) != 0)
    {
        who_say(r, info, data);
        return;
    }

    rc = w->host->http_allowed(r, atoi(verb), who_str(pool), &d, sizeof(d),
                               &err);

    if (w->host->http_query(r, "say", say, sizeof(say)) == 0) {
        w->host->audit(w->host, r, "test", rc == 0 ? "allowed" : "refused",
                       who_str(say));
    }

    if (rc != 0) {
        w->host->http_fail(r, &err);
        return;
    }

    n = snprintf(text, sizeof(text), "{\"rule\":\"%.*s\",\"maxTtl\":%llu,"
                 "\"concurrency\":%u,\"priority\":%d,\"untrusted\":%d}\n",
                 (int) d.rule.len, d.rule.data,
                 (unsigned long long) d.max_ttl_ms, d.concurrency, d.priority,
                 d.untrusted);
    w->host->http_reply(r, 200, "application/json",
                        (bk_str_t) { text, (size_t) n });
}


static void
who_release(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    who_t       *w = data;
    size_t       i;
    bk_query_t  *q;

    for (i = 0; i < WHO_HELD; i++) {
        q = w->held[i];

        if (q != NULL) {
            w->held[i] = NULL;
            who_answer(w, q);
        }
    }

    who_say(r, info, data);
}


/* ?parts=N&size=BYTES; N 0: until the client goes away */

static void
who_stream(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    char    n[16];
    who_t  *w = data;

    (void) info;

    w->parts = w->host->http_query(r, "parts", n, sizeof(n)) == 0
               ? (unsigned) atoi(n) : 3;
    w->size = w->host->http_query(r, "size", n, sizeof(n)) == 0
              ? (size_t) atoi(n) : 10;

    w->host->http_on_gone(r, who_gone, w);
    w->host->http_header(r, "X-Stream", "yes");
    w->host->http_stream_begin(r, 200, "text/plain");
    w->stream = r;
    who_stream_run(w);
}


static void
who_stream_run(who_t *w)
{
    int       rc;
    char     *part;
    unsigned  endless = w->parts == 0;

    if (w->stream == NULL) {
        return;
    }

    part = malloc(w->size);
    if (part == NULL) {
        abort();
    }

    memset(part, 'x', w->size);
    part[w->size - 1] = '\n';
    rc = w->host->http_stream_write(w->stream, (bk_str_t) { part, w->size });
    free(part);

    if (rc != 0 || (!endless && --w->parts == 0)) {
        w->gone += rc != 0;
        w->host->http_stream_end(w->stream);
        w->stream = NULL;
        return;
    }

    w->host->timer_set(w->timer, 1);
}


static void
who_gone(bk_request_t *r, void *data)
{
    who_t  *w = data;

    (void) r;

    w->gone++;
    w->stream = NULL;
}


static bk_str_t
who_str(const char *s)
{
    return (bk_str_t) { s, strlen(s) };
}
