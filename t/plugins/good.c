/*
 * A plugin that takes part in everything: options of each kind, facts, a
 * route, a request that is answered later, a timer, events.  For tests of the
 * host: it does what the request asks for, and counts what it hears.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bk_plugin.h"
#include "bk_table.h"


typedef struct {
    const bk_host_t  *host;
    char              seen[1024];       /* options, as they came */
    char              pool[64];
    char              route[64];
    unsigned          events;
    unsigned          gone;
    unsigned          wants;
    bk_timer_t       *timer;
    bk_request_t     *waiting;
} good_t;


static int good_create(const bk_host_t *host, void **ctx, bk_err_t *err);
static int good_configure(void *ctx, const char *key, const char *value,
    bk_err_t *err);
static int good_check(void *ctx, bk_err_t *err);
static int good_start(void *ctx, bk_err_t *err);
static void good_stop(void *ctx);
static void good_destroy(void *ctx);
static int good_want(void *ctx, bk_str_t pool, bk_str_t name, int wanted,
    bk_err_t *err);
static void good_event(void *ctx, const bk_event_t *event);
static void good_serve(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static void good_gone(bk_request_t *r, void *data);
static void good_later(void *data);
static void good_say(good_t *g, bk_request_t *r);
static bk_str_t good_str(const char *s);


static const bk_option_t  good_options[] = {
    { "pool", BK_OPTION_STRING, "test/good", "pool that it puts" },
    { "count", BK_OPTION_INTEGER, "3", "a number" },
    { "flag", BK_OPTION_BOOL, "false", "yes or no" },
    { "pause", BK_OPTION_DURATION, "1m30s", "a time" },
    { "words", BK_OPTION_LIST, NULL, "some strings" },
    { "needed", BK_OPTION_STRING, NULL, "must be given" },
    { "route", BK_OPTION_STRING, "/api/v1/good/*", "what it answers" },
    { NULL, 0, NULL, NULL }
};

static bk_plugin_t  good_plugin = {
    .name = "good",
    .version = "1",
    .summary = "takes part in everything",
    .options = good_options,
    .create = good_create,
    .configure = good_configure,
    .start = good_start,
    .stop = good_stop,
    .destroy = good_destroy,
    .worker_want = good_want,
    .event = good_event,
    .check = good_check
};

BK_PLUGIN(good_plugin)


static int
good_create(const bk_host_t *host, void **ctx, bk_err_t *err)
{
    good_t  *g = calloc(1, sizeof(good_t));

    (void) err;

    if (g == NULL) {
        abort();
    }

    g->host = host;
    *ctx = g;

    return 0;
}


static int
good_configure(void *ctx, const char *key, const char *value, bk_err_t *err)
{
    good_t  *g = ctx;
    size_t   len = strlen(g->seen);

    snprintf(g->seen + len, sizeof(g->seen) - len, "%s=%s;", key, value);

    if (strcmp(key, "pool") == 0) {
        snprintf(g->pool, sizeof(g->pool), "%s", value);

    } else if (strcmp(key, "route") == 0) {
        snprintf(g->route, sizeof(g->route), "%s", value);

    } else if (strcmp(key, "count") == 0 && atoi(value) > 100) {
        snprintf(err->text, sizeof(err->text), "is more than 100");
        return -1;
    }

    return 0;
}


static int
good_check(void *ctx, bk_err_t *err)
{
    good_t  *g = ctx;

    if (strstr(g->seen, "flag=true") && strstr(g->seen, "count=13")) {
        snprintf(err->text, sizeof(err->text), "flag and count 13 do not go "
                 "together");
        return -1;
    }

    return 0;
}


static int
good_start(void *ctx, bk_err_t *err)
{
    uint8_t           hash[32];
    good_t           *g = ctx;
    bk_pool_info_t    pool;
    bk_alloc_info_t   alloc;
    bk_worker_info_t  worker;

    g->timer = g->host->timer_new(g->host, good_later, g);
    g->host->snapshot_begin(g->host);

    memset(&pool, 0, sizeof(pool));
    pool.name = good_str(g->pool);

    memset(&worker, 0, sizeof(worker));
    worker.pool = pool.name;
    worker.name = good_str("w1");
    worker.endpoint = good_str("127.0.0.1:7001");
    worker.tls_name = good_str("localhost");
    worker.state = BK_WORKER_STARTING;

    memset(hash, 'g', sizeof(hash));
    memset(&alloc, 0, sizeof(alloc));
    alloc.hash = hash;
    alloc.pool = pool.name;
    alloc.worker = worker.name;
    alloc.state = BK_ALLOC_STARTING;

    if (g->host->pool_put(g->host, &pool, err) != 0
        || g->host->worker_put(g->host, &worker, err) != 0
        || g->host->alloc_put(g->host, &alloc, err) != 0
        || g->host->http_route(g->host, 0, "GET", g->route, good_serve, g,
                               err) != 0)
    {
        g->host->timer_free(&g->timer);
        return -1;
    }

    worker.state = BK_WORKER_READY;

    if (g->host->worker_put(g->host, &worker, err) != 0) {
        g->host->timer_free(&g->timer);
        return -1;
    }

    g->host->snapshot_commit(g->host);

    return 0;
}


static void
good_stop(void *ctx)
{
    good_t  *g = ctx;

    if (g->waiting != NULL) {
        good_say(g, g->waiting);
        g->waiting = NULL;
    }

    g->host->timer_free(&g->timer);
    g->host->stopped(g->host);
}


static void
good_destroy(void *ctx)
{
    free(ctx);
}


static int
good_want(void *ctx, bk_str_t pool, bk_str_t name, int wanted, bk_err_t *err)
{
    good_t  *g = ctx;

    (void) pool;
    (void) name;
    (void) wanted;
    (void) err;

    g->wants++;

    return 0;
}


static void
good_event(void *ctx, const bk_event_t *event)
{
    good_t  *g = ctx;

    g->events += event->what == BK_EVENT_POOL
                 ? 1 : event->what == BK_EVENT_WORKER ? 10 : 100;
}


static void
good_serve(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    char       word[32];
    good_t    *g = data;
    bk_err_t   err;

    snprintf(word, sizeof(word), "%.*s", (int) info->param.len,
             info->param.data);

    if (strcmp(word, "later") == 0) {
        g->waiting = r;
        g->host->http_on_gone(r, good_gone, g);
        g->host->timer_set(g->timer, 200);
        return;
    }

    if (strcmp(word, "never") == 0) {
        g->waiting = r;
        g->host->http_on_gone(r, good_gone, g);
        return;
    }

    if (strcmp(word, "slow") == 0) {
        usleep(120000);
    }

    if (strcmp(word, "want") == 0) {
        (void) g->host->worker_want(g->host, good_str(g->pool),
                                    good_str("w1"), 1, &err);
    }

    if (strcmp(word, "steal") == 0) {
        if (g->host->pool_delete(g->host, good_str("test/other"), &err) != 0) {
            g->host->http_fail(r, &err);
            return;
        }
    }

    good_say(g, r);
}


static void
good_gone(bk_request_t *r, void *data)
{
    good_t  *g = data;

    (void) r;

    g->gone++;
    g->waiting = NULL;
}


static void
good_later(void *data)
{
    good_t  *g = data;

    if (g->waiting != NULL) {
        good_say(g, g->waiting);
        g->waiting = NULL;
    }
}


static void
good_say(good_t *g, bk_request_t *r)
{
    int              n;
    char             text[1500], q[32];
    uint8_t          hash[32];
    bk_alloc_info_t  alloc;

    memset(hash, 'g', sizeof(hash));

    if (g->host->alloc_find(g->host, hash, &alloc) != 0) {
        alloc.state = 0;
    }

    if (g->host->http_query(r, "q", q, sizeof(q)) != 0) {
        q[0] = '\0';
    }

    n = snprintf(text, sizeof(text), "{\"seen\":\"%s\",\"events\":%u,"
                 "\"gone\":%u,\"wants\":%u,\"state\":%d,\"q\":\"%s\"}",
                 g->seen, g->events, g->gone, g->wants, alloc.state, q);

    g->host->http_header(r, "X-Good", "yes");
    g->host->http_reply(r, 200, "application/json",
                        (bk_str_t) { text, (size_t) n });
}


static bk_str_t
good_str(const char *s)
{
    return (bk_str_t) { s, strlen(s) };
}
