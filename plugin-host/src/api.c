/*
 * The read-only endpoints that need no plugin: pools, workers, allocations,
 * health.  Formats: plugin-host/doc/api.md.  Ids only: a token is not known
 * here, and its hash is shown to nobody in full.
 */

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "api_text.h"
#include "bk_err.h"
#include "host.h"


typedef struct {
    bk_core_t      *core;
    json_t         *list;
    json_t         *used;       /* pools: how many connections */
    bk_str_t        only;       /* one pool alone; or empty */
    bk_text_t       text;       /* workers, which may be very many */
    bk_api_view_t   view;
} bk_api_walk_t;


static void bk_api_pools(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static void bk_api_pool(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static void bk_api_workers(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static void bk_api_alive(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static void bk_api_ready(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static int bk_api_add_pool(const bk_pool_info_t *pool, void *data);
static int bk_api_add_worker(const bk_worker_info_t *worker, void *data);
static void bk_api_bool(bk_text_t *t, const char *key, int value);
static void bk_api_percent(bk_text_t *t, const char *key, uint32_t permille);


static const struct {
    const char  *pattern;
    int          verb;
    bk_http_pt   handler;
    const char  *owner;
} bk_api_table[] = {
    { "/api/v1/pools", BK_VERB_LIST, bk_api_pools, BK_HTTP_HOST },
    { "/api/v1/pools/*", BK_VERB_LIST, bk_api_pool, BK_HTTP_HOST },
    { "/api/v1/workers", BK_VERB_LIST, bk_api_workers, BK_HTTP_HOST },
    { "/api/v1/health", BK_VERB_NONE, bk_api_ready, BK_HTTP_HOST },
    { "/healthz", BK_VERB_NONE, bk_api_alive, BK_HTTP_HOST },
    { "/readyz", BK_VERB_NONE, bk_api_ready, BK_HTTP_HOST }
};


int
bk_api_routes(bk_core_t *core, bk_err_t *err)
{
    size_t  i;

    for (i = 0; i < sizeof(bk_api_table) / sizeof(bk_api_table[0]); i++) {
        if (bk_httpd_route_for(core->httpd, BK_HTTP_API, "GET",
                               bk_api_table[i].pattern, bk_api_table[i].verb,
                               bk_api_table[i].handler, core,
                               bk_api_table[i].owner, err)
            != 0)
        {
            return -1;
        }
    }

    if (bk_api_alloc_routes(core, err) != 0
        || bk_api_session_routes(core, err) != 0
        || bk_api_explain_routes(core, err) != 0
        || bk_api_ca_routes(core, err) != 0)
    {
        return -1;
    }

    if (bk_httpd_route(core->httpd, BK_HTTP_METRICS, "GET", "/healthz",
                       bk_api_alive, core, BK_HTTP_HOST, err)
        != 0)
    {
        return -1;
    }

    return bk_httpd_route(core->httpd, BK_HTTP_METRICS, "GET", "/readyz",
                          bk_api_ready, core, BK_HTTP_HOST, err);
}


static void
bk_api_pools(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    bk_core_t      *core = data;
    bk_api_walk_t   w = { .core = core };

    (void) info;

    w.list = json_array();
    w.used = json_object();
    bk_api_view(&w.view, core, r);
    bk_reports_each(core->reports, bk_api_count_session, w.used);
    bk_model_pool_each(core->model, bk_api_add_pool, &w);
    bk_api_view_done(&w.view);
    json_decref(w.used);
    bk_api_send(r, 200, w.list);
}


/* NAME of ?namespace, or "default"; or NAMESPACE%2FNAME */

static void
bk_api_pool(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    int             n;
    char            space[64], name[400];
    bk_err_t        err;
    bk_core_t      *core = data;
    bk_api_walk_t   w = { .core = core };

    if (bk_httpd_query(r, "namespace", space, sizeof(space)) != 0
        || space[0] == '\0')
    {
        snprintf(space, sizeof(space), "default");
    }

    n = memchr(info->param.data, '/', info->param.len) != NULL
        ? snprintf(name, sizeof(name), "%.*s", (int) info->param.len,
                   info->param.data)
        : snprintf(name, sizeof(name), "%s/%.*s", space,
                   (int) info->param.len, info->param.data);

    w.list = json_array();
    w.used = json_object();
    w.only = (bk_str_t) { name, strlen(name) };
    bk_api_view(&w.view, core, r);
    bk_reports_each(core->reports, bk_api_count_session, w.used);

    if (n > 0 && (size_t) n < sizeof(name)) {
        bk_model_pool_each(core->model, bk_api_add_pool, &w);
    }

    bk_api_view_done(&w.view);
    json_decref(w.used);

    if (json_array_size(w.list) == 1) {
        bk_api_send(r, 200, json_incref(json_array_get(w.list, 0)));

    } else {
        bk_err_set(&err, 404, "PoolNotFound", "there is no pool %s", name);
        bk_err_hint(&err, "bkctl pools lists them; namespace is \"default\" "
                    "unless it is given");
        bk_httpd_fail(r, &err);
    }

    json_decref(w.list);
}


static int
bk_api_add_pool(const bk_pool_info_t *pool, void *data)
{
    int                 i;
    json_t             *workers, *allocs, *o;
    uint32_t            total = 0, live = 0;
    const char         *status;
    bk_api_walk_t      *w = data;
    bk_model_counts_t   n;
    bk_pool_gateway_t   gateway;

    if ((w->only.len > 0
         && (w->only.len != pool->name.len
             || memcmp(w->only.data, pool->name.data, w->only.len) != 0))
        || !bk_api_sees_pool(&w->view, pool->name))
    {
        return 0;
    }

    bk_model_counts(w->core->model, pool->name, &n);

    workers = json_object();
    allocs = json_object();

    for (i = 1; i < BK_WORKER_STATES; i++) {
        json_object_set_new(workers, bk_worker_state_name(i),
                            json_integer(n.workers[i]));
        total += n.workers[i];
    }

    json_object_set_new(workers, "total", json_integer(total));

    for (i = 1; i < BK_ALLOC_STATES; i++) {
        json_object_set_new(allocs, bk_alloc_state_name(i),
                            json_integer(n.allocations[i]));

        if (!bk_alloc_ended(i)) {
            live += n.allocations[i];
        }
    }

    json_object_set_new(allocs, "live", json_integer(live));

    if (n.workers[BK_WORKER_READY] != 0) {
        status = "ready";

    } else if (n.workers[BK_WORKER_STARTING] != 0) {
        status = "starting";

    } else if (n.workers[BK_WORKER_DRAINING] != 0) {
        status = "draining";

    } else if (total == 0 || n.workers[BK_WORKER_FAILED] == total) {
        status = "failed";

    } else {
        status = "stopped";
    }

    bk_model_pool_gateway_of(w->core->model, pool->name, &gateway);

    if (gateway.endpoint.len == 0 && gateway.why.len == 0) {
        gateway.endpoint = (bk_str_t) { w->core->conf->endpoint,
                                        strlen(w->core->conf->endpoint) };
    }

    o = json_pack("{s:o, s:o, s:s, s:b, s:o, s:o, s:o, s:i, s:o}",
                  "name", bk_api_str(pool->name),
                  "endpoint", bk_api_str(gateway.endpoint), "status", status,
                  "shared", pool->shared, "allocationsPerWorker",
                  pool->shared == 1 ? json_null()
                                    : json_integer(pool->shared > 1
                                                   ? pool->shared : 1),
                  "workers", workers,
                  "allocations", allocs, "queue",
                  (int) n.allocations[BK_ALLOC_QUEUED],
                  "connections", bk_api_connections(w->used, pool->name));

    if (gateway.why.len > 0) {
        json_object_set_new(o, "waitsFor", bk_api_str(gateway.why));
    }

    json_array_append_new(w->list, o);

    return 0;
}


static void
bk_api_workers(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    char            buf[400];
    bk_str_t        pool;
    bk_core_t      *core = data;
    bk_api_walk_t   w = { .core = core };

    (void) info;

    bk_api_view(&w.view, core, r);

    if (bk_api_filter(&w.view, r, buf, sizeof(buf), &pool) == 0) {
        bk_model_worker_each(core->model, pool, bk_api_add_worker, &w);
        bk_text_room(&w.text, 4);
        bk_text_put(&w.text, w.text.len == 0 ? "[]" : "]");
        bk_httpd_reply(r, 200, "application/json",
                       (bk_str_t) { w.text.data, w.text.len });
        bk_text_free(&w.text);
    }

    bk_api_view_done(&w.view);
}


static int
bk_api_add_worker(const bk_worker_info_t *i, void *data)
{
    bk_text_t        *t;
    const char       *state;
    bk_model_t       *m;
    bk_api_walk_t    *w = data;
    bk_worker_use_t   use;

    if (!bk_api_sees_all(&w->view, i->pool)) {
        return 0;
    }

    t = &w->text;
    m = w->core->model;
    state = bk_worker_state_name(i->state);

    bk_reports_use(w->core->reports, i->pool, i->name, &use);
    bk_model_worker_full(m, i->pool, i->name, &use.disk_permille,
                         &use.inode_permille);

    /* with each byte of its strings escaped */
    bk_text_room(t, 1024 + 6 * (i->name.len + i->pool.len + i->endpoint.len
                                + i->tls_name.len + i->arch.len
                                + i->message.len));

    bk_text_put(t, t->len == 0 ? "[{" : ",{");
    bk_text_utf8(t, "\"name\":", i->name);
    bk_text_utf8(t, ",\"pool\":", i->pool);
    bk_text_utf8(t, ",\"endpoint\":", i->endpoint);
    bk_text_utf8(t, ",\"tlsServerName\":", i->tls_name);
    bk_text_utf8(t, ",\"arch\":", i->arch);
    bk_text_str(t, ",\"state\":", (bk_str_t) { state, strlen(state) });
    bk_text_utf8(t, ",\"message\":", i->message);
    bk_text_int(t, ",\"allocations\":", i->allocations);
    bk_api_bool(t, ",\"wanted\":", i->wanted);
    bk_api_bool(t, ",\"drained\":",
                bk_model_worker_drained(m, i->pool, i->name));
    bk_text_int(t, ",\"connections\":", use.connections);
    bk_text_int(t, ",\"builds\":", use.builds);
    bk_text_time(t, ",\"lastUsedAt\":", use.last_used_ms);
    bk_api_percent(t, ",\"diskUsed\":", use.disk_permille);
    bk_api_percent(t, ",\"inodesUsed\":", use.inode_permille);
    bk_text_put(t, "}");

    return 0;
}


static void
bk_api_bool(bk_text_t *t, const char *key, int value)
{
    bk_text_put(t, key);
    bk_text_put(t, value ? "true" : "false");
}


/* Rounded up: what is over a limit is shown so; null: nobody said. */

static void
bk_api_percent(bk_text_t *t, const char *key, uint32_t permille)
{
    if (permille == 0) {
        bk_text_put(t, key);
        bk_text_put(t, "null");
        return;
    }

    bk_text_int(t, key, (permille + 9) / 10);
}


static void
bk_api_alive(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    (void) info;
    (void) data;

    bk_api_send(r, 200, json_pack("{s:s}", "status", "ok"));
}


/* Everything that must be there to serve, by name. */

static void
bk_api_ready(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    int                ready;
    json_t            *checks, *plugins;
    bk_core_t         *core = data;
    bk_plugin_inst_t  *p;

    (void) info;

    checks = json_object();
    plugins = json_object();
    ready = bk_model_settled(core->model) && !core->stopping;

    json_object_set_new(checks, "table",
                        json_string(bk_model_settled(core->model)
                                        ? "ok" : "waits for first facts"));
    json_object_set_new(checks, "host",
                        json_string(core->stopping ? "is stopping" : "ok"));

    if (core->reload != NULL) {
        json_object_set_new(checks, "nginx",
                            json_string(bk_reload_health(core->reload)));
    }

    for (p = bk_plugins_first(core->plugins); p != NULL; p = p->next) {
        json_object_set_new(plugins, p->label,
            json_string(!p->started ? "not started"
                        : bk_model_missing(core->model, p)
                              ? "its first facts are not in; see the log"
                              : "ok"));
    }

    json_object_set_new(checks, "plugins", plugins);

    if (!ready) {
        bk_httpd_header(r, "Retry-After", "1");
    }

    bk_api_send(r, ready ? 200 : 503,
                json_pack("{s:s, s:s, s:o}", "status",
                          ready ? "ok" : "not ready", "version", BK_VERSION,
                          "checks", checks));
}


/* Never fails: what is not UTF-8 is shown as nothing. */

json_t *
bk_api_str(bk_str_t s)
{
    json_t  *json = s.data != NULL ? json_stringn(s.data, s.len)
                                   : json_string("");

    return json != NULL ? json : json_string("");
}


void
bk_api_send(bk_request_t *r, int status, json_t *json)
{
    char      *text;
    bk_err_t   err;

    text = json_dumps(json, JSON_COMPACT);
    json_decref(json);

    if (text == NULL) {
        bk_err_set(&err, 500, "Encoding", "the answer cannot be written");
        bk_httpd_fail(r, &err);
        return;
    }

    bk_httpd_reply(r, status, "application/json",
                   (bk_str_t) { text, strlen(text) });
    free(text);
}
