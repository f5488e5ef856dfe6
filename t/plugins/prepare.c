/*
 * A plugin that prepares the host's state, for tests of the host's part.  What
 * it does then is option how:
 *
 *     now         is prepared from within
 *     file        when the file of option go is there: "ok", or an error
 *     refuse      prepare() fails
 *     twice       says so twice
 *     slow        at once; but stops when the file of option go is there
 *
 * Afterwards, of the pool test/prepared (option pool), which is its own:
 *
 *     GET  /api/v1/prepare/look       what it heard, and the pool's gateway
 *     POST /api/v1/prepare/gateway?endpoint=[&ca=][&why=][&pool=]
 *     POST /api/v1/prepare/again      the pool is put anew
 *     POST /api/v1/prepare/labels?json=
 *     POST /api/v1/prepare/read       state_read()
 *     POST /api/v1/prepare/quit
 *
 * With option worker the pool has one of this name, which is always ready.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_plugin.h"
#include "bk_table.h"


#define PREPARE_POLL  20    /* ms */


typedef struct {
    const bk_host_t  *host;
    char              how[16];
    char              go[512];
    char              pool[64];
    char              worker[64];
    int               make;
    unsigned          changed;      /* state_changed() */
    unsigned          events;       /* of the pool, but for its coming */
    bk_timer_t       *timer;
} prepare_t;


static int prepare_create(const bk_host_t *host, void **ctx, bk_err_t *err);
static int prepare_configure(void *ctx, const char *key, const char *value,
    bk_err_t *err);
static int prepare_prepare(void *ctx, bk_err_t *err);
static void prepare_look(void *data);
static void prepare_stops(void *data);
static int prepare_start(void *ctx, bk_err_t *err);
static int prepare_pool(prepare_t *p, bk_err_t *err);
static void prepare_stop(void *ctx);
static void prepare_destroy(void *ctx);
static void prepare_changed(void *ctx);
static void prepare_event(void *ctx, const bk_event_t *event);
static void prepare_http(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static void prepare_gateway(prepare_t *p, bk_request_t *r);
static void prepare_labels(prepare_t *p, bk_request_t *r);
static void prepare_say(prepare_t *p, bk_request_t *r);
static bk_str_t prepare_str(const char *s);


static const bk_option_t  prepare_options[] = {
    { "how", BK_OPTION_STRING, "now", "now, file, refuse, twice, slow" },
    { "go", BK_OPTION_STRING, "", "the file" },
    { "pool", BK_OPTION_STRING, "test/prepared", "its pool" },
    { "worker", BK_OPTION_STRING, "", "of its pool; or none" },
    { "make", BK_OPTION_BOOL, "false", "state_make()" },
    { NULL, 0, NULL, NULL }
};

static bk_plugin_t  prepare_plugin = {
    .name = "prepare",
    .version = "1",
    .summary = "prepares, for tests",
    .options = prepare_options,
    .create = prepare_create,
    .configure = prepare_configure,
    .start = prepare_start,
    .stop = prepare_stop,
    .destroy = prepare_destroy,
    .event = prepare_event,
    .prepare = prepare_prepare,
    .state_changed = prepare_changed
};

BK_PLUGIN(prepare_plugin)


static int
prepare_create(const bk_host_t *host, void **ctx, bk_err_t *err)
{
    prepare_t  *p = calloc(1, sizeof(prepare_t));

    (void) err;

    if (p == NULL) {
        abort();
    }

    p->host = host;
    *ctx = p;

    return 0;
}


static int
prepare_configure(void *ctx, const char *key, const char *value,
    bk_err_t *err)
{
    prepare_t  *p = ctx;

    (void) err;

    if (strcmp(key, "how") == 0) {
        snprintf(p->how, sizeof(p->how), "%s", value);

    } else if (strcmp(key, "go") == 0) {
        snprintf(p->go, sizeof(p->go), "%s", value);

    } else if (strcmp(key, "pool") == 0) {
        snprintf(p->pool, sizeof(p->pool), "%s", value);

    } else if (strcmp(key, "worker") == 0) {
        snprintf(p->worker, sizeof(p->worker), "%s", value);

    } else {
        p->make = strcmp(value, "true") == 0;
    }

    return 0;
}


static int
prepare_prepare(void *ctx, bk_err_t *err)
{
    prepare_t  *p = ctx;

    p->host->log(p->host, BK_LOG_INFO, "it prepares, in %.*s",
                 (int) p->host->state_dir(p->host).len,
                 p->host->state_dir(p->host).data);

    if (p->make) {
        if (p->host->state_make(p->host, err) != 0) {
            return -1;
        }

        p->host->log(p->host, BK_LOG_INFO, "it has made the state");
    }

    if (strcmp(p->how, "refuse") == 0) {
        err->code = 500;
        snprintf(err->reason, sizeof(err->reason), "TestFault");
        snprintf(err->text, sizeof(err->text), "it does not prepare");
        return -1;
    }

    if (strcmp(p->how, "file") == 0) {
        p->timer = p->host->timer_new(p->host, prepare_look, p);
        p->host->timer_set(p->timer, PREPARE_POLL);
        return 0;
    }

    p->host->prepared(p->host, NULL);

    if (strcmp(p->how, "twice") == 0) {
        p->host->prepared(p->host, NULL);
    }

    return 0;
}


static void
prepare_look(void *data)
{
    FILE       *f;
    bk_err_t    err;
    prepare_t  *p = data;

    f = fopen(p->go, "r");

    if (f == NULL) {
        p->host->timer_set(p->timer, PREPARE_POLL);
        return;
    }

    memset(&err, 0, sizeof(err));
    err.code = 500;
    snprintf(err.reason, sizeof(err.reason), "TestFault");

    if (fgets(err.text, sizeof(err.text), f) == NULL) {
        abort();
    }

    fclose(f);
    p->host->prepared(p->host, strcmp(err.text, "ok") == 0 ? NULL : &err);
}


static int
prepare_start(void *ctx, bk_err_t *err)
{
    char        path[128];
    prepare_t  *p = ctx;

    p->host->log(p->host, BK_LOG_INFO, "it starts");
    snprintf(path, sizeof(path), "/api/v1/%s/*",
             strcmp(p->pool, "test/prepared") == 0 ? "prepare" : "other");

    if (p->host->http_route_for(p->host, "GET", path, BK_VERB_NONE,
                                prepare_http, p, err) != 0
        || p->host->http_route_for(p->host, "POST", path, BK_VERB_NONE,
                                   prepare_http, p, err) != 0)
    {
        return -1;
    }

    return prepare_pool(p, err);
}


static int
prepare_pool(prepare_t *p, bk_err_t *err)
{
    bk_pool_info_t    info = { prepare_str(p->pool), 0 };
    bk_worker_info_t  worker;

    if (p->host->pool_put(p->host, &info, err) != 0) {
        return -1;
    }

    if (p->worker[0] == '\0') {
        return 0;
    }

    memset(&worker, 0, sizeof(worker));
    worker.pool = info.name;
    worker.name = prepare_str(p->worker);
    worker.endpoint = BK_STR("127.0.0.1:7001");
    worker.tls_name = worker.name;
    worker.state = BK_WORKER_READY;

    return p->host->worker_put(p->host, &worker, err);
}


static void
prepare_stop(void *ctx)
{
    prepare_t  *p = ctx;

    p->host->log(p->host, BK_LOG_INFO, "it stops");

    if (strcmp(p->how, "slow") == 0) {
        p->timer = p->host->timer_new(p->host, prepare_stops, p);
        p->host->timer_set(p->timer, PREPARE_POLL);
        return;
    }

    p->host->stopped(p->host);
}


static void
prepare_stops(void *data)
{
    FILE       *f;
    prepare_t  *p = data;

    f = fopen(p->go, "r");

    if (f == NULL) {
        p->host->timer_set(p->timer, PREPARE_POLL);
        return;
    }

    fclose(f);
    p->host->stopped(p->host);
}


static void
prepare_destroy(void *ctx)
{
    prepare_t  *p = ctx;

    p->host->timer_free(&p->timer);
    free(p);
}


static void
prepare_changed(void *ctx)
{
    ((prepare_t *) ctx)->changed++;
}


static void
prepare_event(void *ctx, const bk_event_t *event)
{
    prepare_t  *p = ctx;

    if (event->what == BK_EVENT_POOL && event->old_state != 0 && !event->gone
        && event->pool->name.len == strlen(p->pool)
        && memcmp(event->pool->name.data, p->pool, strlen(p->pool)) == 0)
    {
        p->events++;
    }
}


static void
prepare_http(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    bk_err_t    err;
    prepare_t  *p = data;

#define prepare_is(what)  (info->param.len == sizeof(what) - 1               \
                           && memcmp(info->param.data, what,                 \
                                     sizeof(what) - 1) == 0)

    memset(&err, 0, sizeof(err));

    if (prepare_is("gateway")) {
        prepare_gateway(p, r);
        return;
    }

    if (prepare_is("labels")) {
        prepare_labels(p, r);
        return;
    }

    if (prepare_is("again")
        && (p->host->pool_delete(p->host, prepare_str(p->pool), &err) != 0
            || prepare_pool(p, &err) != 0))
    {
        p->host->http_fail(r, &err);
        return;
    }

    if (prepare_is("read") && p->host->state_read(p->host, &err) != 0) {
        p->host->http_fail(r, &err);
        return;
    }

    if (prepare_is("quit")) {
        err.code = 500;
        snprintf(err.reason, sizeof(err.reason), "TestFault");
        snprintf(err.text, sizeof(err.text), "it was asked to quit");
        p->host->quit(p->host, &err);
        snprintf(err.text, sizeof(err.text), "and once more");
        p->host->quit(p->host, &err);
    }

    prepare_say(p, r);
}


static void
prepare_gateway(prepare_t *p, bk_request_t *r)
{
    int                rc;
    char               endpoint[128], ca[128], why[128], pool[64];
    bk_pool_gateway_t  g;

#define prepare_query(name)                                                   \
    if (p->host->http_query(r, #name, name, sizeof(name)) != 0) {             \
        name[0] = '\0';                                                       \
    }

    prepare_query(endpoint)
    prepare_query(ca)
    prepare_query(why)
    prepare_query(pool)

    g.endpoint = prepare_str(endpoint);
    g.ca = prepare_str(ca);
    g.why = prepare_str(why);

    rc = p->host->pool_gateway(p->host,
                               prepare_str(pool[0] ? pool : p->pool), &g);
    p->host->http_reply(r, rc == 0 ? 200 : 404, "application/json",
                        BK_STR("{}\n"));
}


static void
prepare_labels(prepare_t *p, bk_request_t *r)
{
    int   rc;
    char  json[512];

    if (p->host->http_query(r, "json", json, sizeof(json)) != 0) {
        json[0] = '\0';
    }

    rc = p->host->pool_labels(p->host, prepare_str(p->pool),
                              prepare_str(json));
    p->host->http_reply(r, rc == 0 ? 200 : 404, "application/json",
                        BK_STR("{}\n"));
}


static void
prepare_say(prepare_t *p, bk_request_t *r)
{
    int                n;
    char               text[1024];
    bk_pool_gateway_t  g;

    p->host->pool_gateway_of(p->host, prepare_str(p->pool), &g);

    n = snprintf(text, sizeof(text), "{\"changed\":%u,\"events\":%u,"
                 "\"endpoint\":\"%.*s\",\"ca\":\"%.*s\",\"why\":\"%.*s\"}\n",
                 p->changed, p->events, (int) g.endpoint.len, g.endpoint.data,
                 (int) g.ca.len, g.ca.data, (int) g.why.len, g.why.data);
    p->host->http_reply(r, 200, "application/json",
                        (bk_str_t) { text, (size_t) n });
}


static bk_str_t
prepare_str(const char *s)
{
    return (bk_str_t) { s, strlen(s) };
}
