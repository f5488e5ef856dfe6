/*
 * GET /connections of the metrics listener: who is connected to which worker
 * through this gateway, for the controller, which stops those that nobody
 * uses (ct_use.c).
 *
 *     {"workers": [{"pool": "team/demo", "worker": "demo-0",
 *                   "connections": 1, "builds": 1, "idleMs": 0}]}
 *
 * Only workers that are used, or were lately.  Times are by how long ago: the
 * clocks of two machines need not agree.
 */

#include <string.h>

#include "gw.h"


#define GW_USE_MS  (10 * 60 * 1000)     /* lately */


typedef struct {
    gw_t    *gw;
    json_t  *all;
} gw_use_t;


static void gw_use_serve(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static int gw_use_worker(const bk_worker_info_t *w, void *data);


void
gw_use_start(gw_t *gw)
{
    bk_err_t  err;

    if (gw->host->http_route(gw->host, 1, "GET", "/connections",
                             gw_use_serve, gw, &err)
        != 0)
    {
        gw->host->log(gw->host, BK_LOG_WARN, "/connections: %s", err.text);
    }
}


static void
gw_use_serve(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    char      *text;
    gw_t      *gw = data;
    json_t    *body;
    gw_use_t   use = { gw, json_array() };

    (void) info;

    gw->host->worker_each(gw->host, BK_STR(""), gw_use_worker, &use);
    body = json_pack("{s:o}", "workers", use.all);
    text = json_dumps(body, JSON_COMPACT);

    if (text == NULL) {
        abort();
    }

    gw->host->http_reply(r, 200, "application/json", GW_STR(text));
    json_decref(body);
    free(text);
}


static int
gw_use_worker(const bk_worker_info_t *w, void *data)
{
    json_t           *one;
    uint64_t          now, idle;
    gw_use_t         *use = data;
    const bk_host_t  *h = use->gw->host;
    bk_worker_use_t   is;

    if (h->worker_use(h, w->pool, w->name, &is, sizeof(is)) != 0
        || (is.connections == 0 && is.last_used_ms == 0))
    {
        return 0;
    }

    now = h->now_ms(h);
    idle = is.connections > 0 || is.last_used_ms > now
           ? 0 : now - is.last_used_ms;

    if (idle > GW_USE_MS) {
        return 0;
    }

    one = json_pack("{s:s%, s:s%, s:I, s:I, s:I}", "pool", w->pool.data,
                    w->pool.len, "worker", w->name.data, w->name.len,
                    "connections", (json_int_t) is.connections, "builds",
                    (json_int_t) is.builds, "idleMs", (json_int_t) idle);
    if (one == NULL) {
        abort();
    }

    json_array_append_new(use->all, one);

    return 0;
}
