/*
 * What is in the route table, as JSON: for routes and status.
 *
 * Takes a copy of every entry that is in use through bk_table_read.h, so a
 * writer at work is not disturbed and a broken table is only an error.
 */

#include <arpa/inet.h>
#include <string.h>

#include "bk_table_read.h"
#include "bkctl.h"


#define BK_ROUTES_BAD_MAX  1000     /* then it is no table any more */


typedef struct {
    json_t                 *json;
    char                   *error;
    size_t                  size;
    int                     entries;    /* wanted: else only the summary */
    const char             *pool;       /* filter, or NULL */
    const bk_table_view_t  *view;
    json_t                 *routes;
    json_int_t              bad;
} bk_routes_t;


static int bk_routes_map(const bk_map_t *m, void *data);
static int bk_routes_fail(bk_routes_t *r, const bk_map_t *m,
    const char *what);
static void bk_routes_summary(bk_routes_t *r, const bk_map_t *m);
static void bk_routes_entry(bk_routes_t *r, uint32_t index);
static void bk_routes_worker(bk_routes_t *r, json_t *route,
    bk_table_ref_t ref);
static json_t *bk_routes_text(const char *text);
static const char *bk_routes_state(uint64_t state);


static const char *const  bk_alloc_names[BK_ALLOC_STATES] = {
    "free", "queued", "starting", "ready", "draining", "expired", "released",
    "revoked", "failed"
};


int
bk_routes_read(const bk_args_t *args, int entries, json_t **json, char *error,
    size_t size)
{
    char         pool[700];
    bk_routes_t  r;

    memset(&r, 0, sizeof(bk_routes_t));
    r.error = error;
    r.size = size;
    r.entries = entries;
    r.json = json_object();

    if (entries && args->pool) {
        r.pool = bk_alloc_pool(args, pool, sizeof(pool));
    }

    if (bk_map_read(args->table, bk_routes_map, &r, error, size) != 0) {
        json_decref(r.json);
        *json = NULL;
        return -1;
    }

    *json = r.json;

    return 0;
}


static int
bk_routes_map(const bk_map_t *m, void *data)
{
    uint32_t          i;
    const char       *wrong;
    bk_routes_t      *r = data;
    bk_table_view_t   view;

    wrong = bk_table_view_init(&view, m->base, m->size);

    if (wrong) {
        return bk_routes_fail(r, m, wrong);
    }

    r->view = &view;

    if (bk_routes_state(bk_table_state(&view)) == NULL) {
        return bk_routes_fail(r, m, "is in a state that no writer sets");
    }

    bk_routes_summary(r, m);

    if (!r->entries) {
        return 0;
    }

    r->routes = json_array();
    json_object_set_new(r->json, "routes", r->routes);

    for (i = 0; i < view.nentries; i++) {
        bk_routes_entry(r, i);

        if (r->bad > BK_ROUTES_BAD_MAX) {
            return bk_routes_fail(r, m, "is damaged: its entries hold values "
                                  "that no writer stores");
        }
    }

    json_object_set_new(r->json, "damaged", json_integer(r->bad));

    return 0;
}


static int
bk_routes_fail(bk_routes_t *r, const bk_map_t *m, const char *what)
{
    snprintf(r->error, r->size, "the route table %s %s", m->path, what);

    return -1;
}


static void
bk_routes_summary(bk_routes_t *r, const bk_map_t *m)
{
    int64_t                   now;
    const bk_table_header_t  *h = r->view->header;

#define bk_routes_word(field)                                                 \
    ((json_int_t) bk_table_load((const bk_table_word_t *) &h->field))

    now = bk_unix_ms();

    json_object_update_new(r->json, json_pack(
        "{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
        "table", m->path,
        "state", bk_routes_state(bk_table_state(r->view)),
        "generation", bk_routes_word(generation),
        "writerPid", bk_routes_word(writer_pid),
        "heartbeatAgeMs", now - bk_routes_word(heartbeat_ms),
        "revision", bk_routes_word(revision),
        "live", bk_routes_word(live),
        "ended", bk_routes_word(ended),
        "capacity", (json_int_t) r->view->nentries,
        "workerCapacity", (json_int_t) r->view->nworkers,
        "bytes", (json_int_t) m->size));
}


static void
bk_routes_entry(bk_routes_t *r, uint32_t index)
{
    int                   i, rc;
    char                  id[13], text[BK_TABLE_TEXT_LEN], when[32];
    json_t               *route;
    bk_table_found_t      f;
    bk_table_pool_data_t  pool;

    rc = bk_table_read_entry(r->view, index, &f);

    if (rc == BK_TABLE_BAD) {
        r->bad++;
        return;
    }

    if (rc != BK_TABLE_OK || f.alloc.state == BK_ALLOC_FREE) {
        return;
    }

    rc = bk_table_read_pool(r->view, f.alloc.pool, &pool);

    if (rc == BK_TABLE_BAD) {
        r->bad++;
    }

    if (r->pool && (rc != BK_TABLE_OK || strcmp(pool.name, r->pool) != 0)) {
        return;
    }

    for (i = 0; i < 6; i++) {
        snprintf(id + i * 2, 3, "%02x", f.key[i]);
    }

    if (bk_table_read_text(r->view, f.alloc.text, text) == BK_TABLE_BAD) {
        r->bad++;
    }

    route = json_object();
    json_object_set_new(route, "id", json_string(id));
    json_object_set_new(route, "pool",
                        bk_routes_text(rc == BK_TABLE_OK ? pool.name : ""));
    bk_routes_worker(r, route, f.alloc.worker);
    json_object_set_new(route, "state",
                        json_string(bk_alloc_names[f.alloc.state]));

    if (f.alloc.expires_ms) {
        bk_time_format((int64_t) f.alloc.expires_ms, when, sizeof(when));
        json_object_set_new(route, "expiresAt", json_string(when));
    }

    bk_time_format((int64_t) f.alloc.changed_ms, when, sizeof(when));
    json_object_set_new(route, "changedAt", json_string(when));
    json_object_set_new(route, "keyBound",
                        json_boolean(f.alloc.flags & BK_ALLOC_KEY_BOUND));
    json_object_set_new(route, "reason", bk_routes_text(text));
    json_array_append_new(r->routes, route);
}


static void
bk_routes_worker(bk_routes_t *r, json_t *route, bk_table_ref_t ref)
{
    int                     rc;
    char                    addr[INET6_ADDRSTRLEN], endpoint[80];
    bk_table_worker_data_t  w;

    rc = bk_table_read_worker(r->view, ref, &w);

    if (rc == BK_TABLE_BAD) {
        r->bad++;
    }

    if (rc != BK_TABLE_OK) {
        return;
    }

    json_object_set_new(route, "worker", bk_routes_text(w.name));
    json_object_set_new(route, "tlsName", bk_routes_text(w.tls_name));

    if (w.port == 0) {
        return;
    }

    inet_ntop(w.family == BK_TABLE_INET ? AF_INET : AF_INET6, w.addr, addr,
              sizeof(addr));
    snprintf(endpoint, sizeof(endpoint),
             w.family == BK_TABLE_INET ? "%s:%u" : "[%s]:%u", addr, w.port);
    json_object_set_new(route, "endpoint", json_string(endpoint));
}


/* The file is not trusted to hold UTF-8, without which there is no JSON. */

static json_t *
bk_routes_text(const char *text)
{
    json_t  *json;

    json = json_string(text);

    return json ? json : json_string("(not UTF-8)");
}


static const char *
bk_routes_state(uint64_t state)
{
    switch (state) {
    case BK_TABLE_BUILDING:
        return "building";
    case BK_TABLE_LIVE:
        return "live";
    case BK_TABLE_RETIRED:
        return "retired";
    default:
        return NULL;
    }
}
