/*
 * A plugin that has rows kept by a store, for tests of the host's part:
 *
 *     POST /api/v1/opener/put?byte=7&worker=w1[&record=N]   answered when done
 *     POST /api/v1/opener/worker?worker=w1                  the same
 *     GET  /api/v1/opener/look    what it heard and what is kept
 *
 * When it is asked to stop it writes one more row, and is done with it.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_plugin.h"
#include "bk_table.h"


typedef struct {
    const bk_host_t  *host;
    unsigned          ready;        /* how often it was said */
    unsigned          unready;
    unsigned          changed;
    unsigned          within;       /* done() came before the call was over */
    int               calling;
    int               open;
} opener_t;

typedef struct {
    opener_t      *o;
    bk_request_t  *r;               /* NULL: the last one */
} opener_op_t;


static int opener_create(const bk_host_t *host, void **ctx, bk_err_t *err);
static int opener_configure(void *ctx, const char *key, const char *value,
    bk_err_t *err);
static int opener_start(void *ctx, bk_err_t *err);
static void opener_stop(void *ctx);
static void opener_destroy(void *ctx);
static void opener_ready(void *ctx, int ready);
static void opener_changed(void *ctx, const bk_stored_t *row);
static void opener_http(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static void opener_put(opener_t *o, bk_request_t *r, int byte,
    const char *worker, size_t record);
static void opener_done(void *data, const bk_err_t *err);
static int opener_row(const bk_stored_t *row, void *data);
static int opener_worker(const bk_stored_worker_t *w, void *data);


static const bk_option_t  opener_options[] = {
    { "open", BK_OPTION_BOOL, "true", "ask for the store" },
    { NULL, 0, NULL, NULL }
};

static bk_plugin_t  opener_plugin = {
    .name = "opener",
    .version = "1",
    .summary = "has rows kept by a store",
    .options = opener_options,
    .create = opener_create,
    .configure = opener_configure,
    .start = opener_start,
    .stop = opener_stop,
    .destroy = opener_destroy,
    .store_ready = opener_ready,
    .store_changed = opener_changed
};

BK_PLUGIN(opener_plugin)


static int
opener_create(const bk_host_t *host, void **ctx, bk_err_t *err)
{
    opener_t  *o = calloc(1, sizeof(opener_t));

    (void) err;

    if (o == NULL) {
        abort();
    }

    o->host = host;
    *ctx = o;

    return 0;
}


static int
opener_configure(void *ctx, const char *key, const char *value,
    bk_err_t *err)
{
    opener_t  *o = ctx;

    (void) key;
    (void) err;

    o->open = strcmp(value, "true") == 0;

    return 0;
}


static int
opener_start(void *ctx, bk_err_t *err)
{
    opener_t  *o = ctx;

    if (o->open && o->host->store_open(o->host, err) != 0) {
        return -1;
    }

    if (o->host->http_route_for(o->host, "GET", "/api/v1/opener/*",
                                BK_VERB_NONE, opener_http, o, err) != 0)
    {
        return -1;
    }

    return o->host->http_route_for(o->host, "POST", "/api/v1/opener/*",
                                   BK_VERB_NONE, opener_http, o, err);
}


static void
opener_stop(void *ctx)
{
    opener_put(ctx, NULL, 255, "last", 2);
}


static void
opener_destroy(void *ctx)
{
    free(ctx);
}


static void
opener_ready(void *ctx, int ready)
{
    opener_t  *o = ctx;

    if (ready) {
        o->ready++;

    } else {
        o->unready++;
    }
}


static void
opener_changed(void *ctx, const bk_stored_t *row)
{
    opener_t  *o = ctx;

    (void) row;

    o->changed++;
}


static void
opener_http(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    int                  n;
    char                 what[16], byte[8], worker[32], record[8], text[4096];
    opener_t            *o = data;
    opener_op_t         *op;
    bk_stored_worker_t   w;

    snprintf(what, sizeof(what), "%.*s", (int) info->param.len,
             info->param.data);

    if (o->host->http_query(r, "worker", worker, sizeof(worker)) != 0) {
        worker[0] = '\0';
    }

    if (strcmp(what, "put") == 0
        && o->host->http_query(r, "byte", byte, sizeof(byte)) == 0)
    {
        opener_put(o, r, atoi(byte), worker,
                   o->host->http_query(r, "record", record, sizeof(record))
                   == 0 ? (size_t) atoi(record) : 2);
        return;
    }

    if (strcmp(what, "worker") == 0) {
        op = calloc(1, sizeof(opener_op_t));

        if (op == NULL) {
            abort();
        }

        op->o = o;
        op->r = r;
        w = (bk_stored_worker_t) { BK_STR("test/p"),
                                   { worker, strlen(worker) },
                                   BK_STR("disk"), 5, 2 };
        o->calling = 1;
        o->host->store_worker(o->host, &w, opener_done, op);
        o->calling = 0;
        return;
    }

    n = snprintf(text, sizeof(text), "{\"ready\":%u,\"unready\":%u,"
                 "\"changed\":%u,\"within\":%u,\"kept\":\"", o->ready,
                 o->unready, o->changed, o->within);
    (void) o->host->store_each(o->host, opener_row, text);
    (void) o->host->store_workers(o->host, opener_worker, text);
    n = (int) strlen(text);
    n += snprintf(text + n, sizeof(text) - (size_t) n, "\"}\n");
    o->host->http_reply(r, 200, "application/json",
                        (bk_str_t) { text, (size_t) n });
}


static void
opener_put(opener_t *o, bk_request_t *r, int byte, const char *worker,
    size_t record)
{
    char         *text;
    uint8_t       hash[32];
    bk_stored_t   row;
    opener_op_t  *op = calloc(1, sizeof(opener_op_t));

    text = malloc(record + 1);

    if (op == NULL || text == NULL) {
        abort();
    }

    op->o = o;
    op->r = r;
    memset(hash, byte, sizeof(hash));
    memset(text, ' ', record);
    text[0] = '{';
    text[record - 1] = '}';

    row = (bk_stored_t) {
        .hash = hash,
        .pool = BK_STR("test/p"),
        .worker = { worker, strlen(worker) },
        .record = { text, record },
        .state = worker[0] == '\0' ? BK_ALLOC_QUEUED : BK_ALLOC_READY
    };

    o->calling = 1;
    o->host->store_put(o->host, &row, opener_done, op);
    o->calling = 0;
    free(text);
}


static void
opener_done(void *data, const bk_err_t *err)
{
    opener_op_t *op = data;

    int        n;
    char       text[128];
    opener_t  *o = op->o;

    o->within += o->calling != 0;

    if (op->r == NULL) {
        o->host->log(o->host, BK_LOG_INFO, "the last one: %s",
                     err == NULL ? "kept" : err->text);
        o->host->stopped(o->host);

    } else if (err == NULL) {
        n = snprintf(text, sizeof(text), "{}\n");
        o->host->http_reply(op->r, 200, "application/json",
                            (bk_str_t) { text, (size_t) n });

    } else {
        o->host->http_fail(op->r, err);
    }

    free(op);
}


static int
opener_row(const bk_stored_t *row, void *data)
{
    char *text = data;

    snprintf(text + strlen(text), 64, "%d:%.*s:%d ", row->hash[0],
             (int) row->worker.len, row->worker.data, row->state);

    return 0;
}


static int
opener_worker(const bk_stored_worker_t *w, void *data)
{
    char *text = data;

    snprintf(text + strlen(text), 64, "%.*s/%.*s/%d ", (int) w->worker.len,
             w->worker.data, (int) w->drained.len, w->drained.data, w->trust);

    return 0;
}
