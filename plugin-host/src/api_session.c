/*
 * GET /api/v1/sessions: every connection at the gateways, from their
 * reports; and how many there are, for the other lists.
 *
 * There may be very many: api_text.h.
 */

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "api_text.h"
#include "bk_err.h"


#define BK_API_FILTERS  3

/* more than one session takes, with each byte of its strings escaped */
#define BK_API_SESSION                                                        \
    (1024 + 6 * (BK_REPORT_ID_LEN + BK_REPORT_POOL_LEN + BK_REPORT_NAME_LEN   \
                 + BK_REPORT_CLIENT_LEN))


typedef struct {
    bk_text_t       text;
    uint64_t        now;
    bk_str_t        only[BK_API_FILTERS];   /* pool, allocation, worker */
    bk_api_view_t   view;
} bk_api_sessions_t;

typedef struct {
    bk_str_t   id;
    int        n;
} bk_api_connected_t;


static void bk_api_sessions(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static int bk_api_add_session(const bk_session_info_t *s, void *data);
static int bk_api_waits_or_lives(const bk_session_info_t *s);
static int bk_api_count_connected(const bk_session_info_t *s, void *data);
static const char *bk_api_reason(const bk_session_info_t *s);


static const char *const  bk_api_filters[BK_API_FILTERS] = {
    "pool", "allocation", "worker"
};

static const char *const  bk_api_phases[] = BK_PHASE_NAMES;
static const char *const  bk_api_kinds[] = BK_KIND_NAMES;
static const char *const  bk_api_refused[] = BK_REFUSED_NAMES;
static const char *const  bk_api_cut[] = BK_CUT_NAMES;


int
bk_api_session_routes(bk_core_t *core, bk_err_t *err)
{
    return bk_httpd_route_for(core->httpd, BK_HTTP_API, "GET",
                              "/api/v1/sessions", BK_VERB_LIST,
                              bk_api_sessions, core, BK_HTTP_HOST, err);
}


static void
bk_api_sessions(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    int                  i;
    char                 buf[BK_API_FILTERS][400];
    bk_err_t             err;
    bk_core_t           *core = data;
    bk_pool_info_t       pool;
    bk_api_sessions_t    w;

    (void) info;

    memset(&w, 0, sizeof(w));

    for (i = 0; i < BK_API_FILTERS; i++) {
        if (bk_httpd_query(r, bk_api_filters[i], buf[i], sizeof(buf[i])) == 0)
        {
            w.only[i] = (bk_str_t) { buf[i], strlen(buf[i]) };
        }
    }

    bk_api_view(&w.view, core, r);

    if (w.only[0].data != NULL
        && (bk_model_pool_find(core->model, w.only[0], &pool) != 0
            || !bk_api_sees_pool(&w.view, w.only[0])))
    {
        bk_api_view_done(&w.view);
        bk_err_set(&err, 404, "PoolNotFound", "there is no pool %s", buf[0]);
        bk_err_hint(&err, "bkctl pools lists them; a name is namespace/name");
        bk_httpd_fail(r, &err);
        return;
    }

    if (!bk_reports_readable(core->reports)) {
        bk_api_view_done(&w.view);
        bk_err_set(&err, 503, "NoReports",
                   "the gateways' reports cannot be read");
        bk_err_hint(&err, "the key reports of the configuration names their "
                    "folder; see plugin-host's log");
        bk_httpd_fail(r, &err);
        return;
    }

    w.now = bk_model_now_ms();

    bk_text_room(&w.text, BK_API_SESSION);
    bk_reports_each(core->reports, bk_api_add_session, &w);
    bk_text_room(&w.text, BK_API_SESSION);
    bk_api_view_done(&w.view);

    if (w.text.len == 0) {
        bk_text_put(&w.text, "[");
    }

    bk_text_put(&w.text, "]");
    bk_httpd_reply(r, 200, "application/json",
                   (bk_str_t) { w.text.data, w.text.len });
    bk_text_free(&w.text);
}


static int
bk_api_add_session(const bk_session_info_t *s, void *data)
{
    int                 i;
    uint64_t            hold, idle;
    bk_text_t          *t;
    const char         *phase, *kind, *reason;
    const bk_str_t     *is[BK_API_FILTERS];
    bk_api_sessions_t  *w = data;

    t = &w->text;

    is[0] = &s->pool;
    is[1] = &s->allocation;
    is[2] = &s->worker;

    for (i = 0; i < BK_API_FILTERS; i++) {
        if (w->only[i].data != NULL
            && (w->only[i].len != is[i]->len
                || memcmp(w->only[i].data, is[i]->data, is[i]->len) != 0))
        {
            return 0;
        }
    }

    if (!bk_api_sees_session(&w->view, s->pool, s->allocation)) {
        return 0;
    }

    idle = w->now > s->last_ms ? w->now - s->last_ms : 0;
    hold = s->hold_ms;

    if (s->phase == BK_PHASE_HELD && w->now > s->phase_ms) {
        hold += w->now - s->phase_ms;
    }

    phase = bk_api_phases[s->phase];
    kind = bk_api_kinds[s->kind];
    reason = bk_api_reason(s);

    bk_text_room(t, BK_API_SESSION);
    bk_text_put(t, t->len == 0 ? "[{" : ",{");
    bk_text_str(t, "\"allocation\":", s->allocation);
    bk_text_str(t, ",\"pool\":", s->pool);
    bk_text_str(t, ",\"worker\":", s->worker);
    bk_text_str(t, ",\"client\":", s->client);
    bk_text_str(t, ",\"phase\":", (bk_str_t) { phase, strlen(phase) });
    bk_text_str(t, ",\"kind\":", (bk_str_t) { kind, strlen(kind) });
    bk_text_str(t, ",\"reason\":", (bk_str_t) { reason, strlen(reason) });
    bk_text_time(t, ",\"startedAt\":", s->start_ms);
    bk_text_time(t, ",\"phaseAt\":", s->phase_ms);
    bk_text_time(t, ",\"lastAt\":", s->last_ms);
    bk_text_time(t, ",\"expiresAt\":", s->expires_ms);
    bk_text_put(t, s->expiring ? ",\"expiring\":true" : ",\"expiring\":false");
    bk_text_int(t, ",\"holdMs\":", hold);
    bk_text_int(t, ",\"idleMs\":", idle);
    bk_text_int(t, ",\"bytesUp\":", s->bytes_up);
    bk_text_int(t, ",\"bytesDown\":", s->bytes_down);
    bk_text_int(t, ",\"gateway\":", s->gateway);
    bk_text_put(t, "}");

    return 0;
}


static const char *
bk_api_reason(const bk_session_info_t *s)
{
    switch (s->phase) {

    case BK_PHASE_REFUSED:
        return bk_api_refused[s->reason];

    case BK_PHASE_CUT:
        return bk_api_cut[s->reason];

    default:
        return "";
    }
}


static int
bk_api_waits_or_lives(const bk_session_info_t *s)
{
    return s->phase == BK_PHASE_HELD || s->phase == BK_PHASE_CONNECTING
           || s->phase == BK_PHASE_LIVE;
}


int
bk_api_count_session(const bk_session_info_t *s, void *data)
{
    char         name[BK_REPORT_POOL_LEN];
    json_t      *used = data, *n;
    const char  *what;

    if (!bk_api_waits_or_lives(s)) {
        return 0;
    }

    snprintf(name, sizeof(name), "%.*s", (int) s->pool.len, s->pool.data);
    n = json_object_get(used, name);

    if (n == NULL) {
        n = json_pack("{s:i, s:i}", "held", 0, "live", 0);
        json_object_set_new(used, name, n);
    }

    what = s->phase == BK_PHASE_LIVE ? "live" : "held";
    json_object_set_new(n, what,
        json_integer(json_integer_value(json_object_get(n, what)) + 1));

    return 0;
}


json_t *
bk_api_connections(json_t *used, bk_str_t pool)
{
    char     name[BK_REPORT_POOL_LEN];
    json_t  *n;

    snprintf(name, sizeof(name), "%.*s", (int) pool.len, pool.data);
    n = json_object_get(used, name);

    return n != NULL ? json_incref(n)
                     : json_pack("{s:i, s:i}", "held", 0, "live", 0);
}


int
bk_api_connected(bk_core_t *core, const char *id)
{
    bk_api_connected_t  c = { { id, strlen(id) }, 0 };

    bk_reports_each(core->reports, bk_api_count_connected, &c);

    return c.n;
}


static int
bk_api_count_connected(const bk_session_info_t *s, void *data)
{
    bk_api_connected_t  *c = data;

    c->n += bk_api_waits_or_lives(s) && s->allocation.len == c->id.len
            && memcmp(s->allocation.data, c->id.data, c->id.len) == 0;

    return 0;
}
