/*
 * Plugin metrics: the numbers of this host as Prometheus text, at /metrics on
 * the metrics listeners.  Built anew for each scrape, from what the host
 * says; keeps nothing.  Labels are names of pools, states and routes, never
 * tokens or allocations.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_plugin.h"


#define METRICS_PREFIX  "buildkit_gateway_"
#define METRICS_TYPE    "text/plain; version=0.0.4; charset=utf-8"


typedef struct {
    FILE         *out;
    const char   *last;         /* name of the number before */
} metrics_out_t;

typedef struct {
    const bk_host_t  *host;
} metrics_t;


static int metrics_create(const bk_host_t *host, void **ctx, bk_err_t *err);
static int metrics_start(void *ctx, bk_err_t *err);
static void metrics_stop(void *ctx);
static void metrics_destroy(void *ctx);
static void metrics_serve(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static void metrics_stat(const bk_stat_t *stat, void *data);


static bk_plugin_t  metrics_plugin = {
    .name = "metrics",
    .version = BK_VERSION,
    .summary = "Prometheus text at /metrics on the metrics listeners",
    .create = metrics_create,
    .start = metrics_start,
    .stop = metrics_stop,
    .destroy = metrics_destroy
};

BK_PLUGIN(metrics_plugin)


static int
metrics_create(const bk_host_t *host, void **ctx, bk_err_t *err)
{
    metrics_t  *m;

    (void) err;

    m = calloc(1, sizeof(metrics_t));
    if (m == NULL) {
        abort();
    }

    m->host = host;
    *ctx = m;

    return 0;
}


static int
metrics_start(void *ctx, bk_err_t *err)
{
    metrics_t  *m = ctx;

    return m->host->http_route(m->host, 1, "GET", "/metrics", metrics_serve,
                               m, err);
}


static void
metrics_stop(void *ctx)
{
    metrics_t  *m = ctx;

    m->host->stopped(m->host);
}


static void
metrics_destroy(void *ctx)
{
    free(ctx);
}


static void
metrics_serve(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    char           *text;
    size_t          len;
    metrics_t      *m = data;
    metrics_out_t   out;

    (void) info;

    out.last = "";
    out.out = open_memstream(&text, &len);
    if (out.out == NULL) {
        abort();
    }

    m->host->stats(m->host, metrics_stat, &out);

    if (fclose(out.out) != 0) {
        abort();
    }

    m->host->http_reply(r, 200, METRICS_TYPE, (bk_str_t) { text, len });
    free(text);
}


static void
metrics_stat(const bk_stat_t *stat, void *data)
{
    const char     *family = stat->family != NULL ? stat->family : stat->name;
    metrics_out_t  *out = data;

    /* names are literals of the host */
    if (strcmp(out->last, family) != 0) {
        fprintf(out->out, "# HELP " METRICS_PREFIX "%s %s\n"
                "# TYPE " METRICS_PREFIX "%s %s\n", family, stat->help,
                family, stat->family != NULL ? "histogram"
                        : stat->counter ? "counter" : "gauge");
        out->last = family;
    }

    fprintf(out->out, METRICS_PREFIX "%s%s%s%s %.17g\n", stat->name,
            stat->labels[0] ? "{" : "", stat->labels,
            stat->labels[0] ? "}" : "", stat->value);
}
