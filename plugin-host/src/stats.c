/* The host's own numbers: see stats.h. */

#include <stdio.h>
#include <unistd.h>

#include "host.h"
#include "stats.h"


typedef struct {
    bk_stat_pt   fn;
    void        *data;
    bk_core_t   *core;
} bk_stats_out_t;


static void bk_stats_one(const bk_stats_out_t *out, const char *name,
    const char *help, const char *labels, int counter, double value);
static void bk_stats_model(bk_core_t *core, const bk_stats_out_t *out);
static int bk_stats_workers(const bk_pool_info_t *pool, void *data);
static int bk_stats_allocs(const bk_pool_info_t *pool, void *data);
static void bk_stats_request(const char *method, const char *route,
    int status, uint64_t n, void *data);
static double bk_stats_resident(void);


void
bk_stats_each(bk_core_t *core, bk_stat_pt fn, void *data)
{
    char            labels[64];
    bk_stats_out_t  out = { fn, data, core };

    snprintf(labels, sizeof(labels), "version=\"%s\",abi=\"%u.%u\"",
             BK_VERSION, BK_ABI_MAJOR, BK_ABI_MINOR);
    bk_stats_one(&out, "build_info", "Version of buildkit-plugin-host.",
                 labels, 0, 1);
    bk_stats_one(&out, "start_time_seconds",
                 "When this plugin-host started, Unix time.", "", 0,
                 (double) core->started_ms / 1000);
    bk_stats_one(&out, "resident_bytes", "Memory of this plugin-host.", "", 0,
                 bk_stats_resident());
    bk_stats_one(&out, "settled", "1 when all first facts are in.", "", 0,
                 bk_model_settled(core->model));

    bk_stats_model(core, &out);
    bk_model_pool_each(core->model, bk_stats_workers, &out);
    bk_model_pool_each(core->model, bk_stats_allocs, &out);

    bk_stats_reports(core, fn, data);

    bk_stats_one(&out, "http_connections", "Open connections of clients.", "",
                 0, bk_httpd_connections(core->httpd));
    bk_httpd_counts(core->httpd, bk_stats_request, &out);
    bk_stats_access(core, fn, data);
}


static void
bk_stats_model(bk_core_t *core, const bk_stats_out_t *out)
{
    int               i;
    char              labels[64];
    bk_model_stats_t  s;

    bk_model_stats(core->model, &s);

    bk_stats_one(out, "allocations_made_total",
                 "Allocations that were made.", "", 1, (double) s.made);

    for (i = BK_ALLOC_EXPIRED; i < BK_ALLOC_STATES; i++) {
        snprintf(labels, sizeof(labels), "state=\"%s\"",
                 bk_alloc_state_name(i));
        bk_stats_one(out, "allocations_ended_total",
                     "Allocations that ended, by how.", labels, 1,
                     (double) s.ended[i]);
    }

    bk_stats_one(out, "allocations_evicted_total", "Ended allocations that "
                 "were forgotten early to make room.", "", 1, s.evicted);

    bk_stats_one(out, "table_size", "Slots of the route table.",
                 "kind=\"allocation\"", 0, s.table.entries);
    bk_stats_one(out, "table_size", "", "kind=\"worker\"", 0,
                 s.table.workers);
    bk_stats_one(out, "table_size", "", "kind=\"pool\"", 0, s.table.pools);
    bk_stats_one(out, "table_size", "", "kind=\"reason\"", 0, s.table.texts);

    bk_stats_one(out, "table_used", "Slots of the route table in use.",
                 "kind=\"allocation\"", 0, s.table.entries_used);
    bk_stats_one(out, "table_used", "", "kind=\"worker\"", 0,
                 s.table.workers_used);
    bk_stats_one(out, "table_used", "", "kind=\"pool\"", 0,
                 s.table.pools_used);
    bk_stats_one(out, "table_used", "", "kind=\"reason\"", 0,
                 s.table.texts_used);

    bk_stats_one(out, "table_reasons_refused_total",
                 "Reasons that found no room in the table.", "", 1,
                 (double) s.table.texts_refused);
    bk_stats_one(out, "table_bytes", "Size of the route table.", "", 0,
                 (double) s.table.bytes);
}


static int
bk_stats_workers(const bk_pool_info_t *pool, void *data)
{
    int                 i;
    char                labels[400];
    bk_stats_out_t     *out = data;
    bk_model_counts_t   n;

    bk_model_counts(out->core->model, pool->name, &n);

    for (i = 1; i < BK_WORKER_STATES; i++) {
        snprintf(labels, sizeof(labels), "pool=\"%.*s\",state=\"%s\"",
                 (int) pool->name.len, pool->name.data,
                 bk_worker_state_name(i));
        bk_stats_one(out, "workers", "Workers by pool and state.", labels, 0,
                     n.workers[i]);
    }

    return 0;
}


static int
bk_stats_allocs(const bk_pool_info_t *pool, void *data)
{
    int                 i;
    char                labels[400];
    bk_stats_out_t     *out = data;
    bk_model_counts_t   n;

    bk_model_counts(out->core->model, pool->name, &n);

    for (i = 1; i < BK_ALLOC_STATES; i++) {
        snprintf(labels, sizeof(labels), "pool=\"%.*s\",state=\"%s\"",
                 (int) pool->name.len, pool->name.data,
                 bk_alloc_state_name(i));
        bk_stats_one(out, "allocations", "Allocations by pool and state, "
                     "ended ones while they are kept.", labels, 0,
                     n.allocations[i]);
    }

    return 0;
}


static void
bk_stats_request(const char *method, const char *route, int status,
    uint64_t n, void *data)
{
    char  labels[300];

    snprintf(labels, sizeof(labels),
             "method=\"%s\",route=\"%s\",status=\"%d\"", method, route,
             status);
    bk_stats_one(data, "http_requests_total", "Answered HTTP requests.",
                 labels, 1, (double) n);
}


static void
bk_stats_one(const bk_stats_out_t *out, const char *name, const char *help,
    const char *labels, int counter, double value)
{
    bk_stat_t  stat = { name, help, labels, counter, value, NULL };

    out->fn(&stat, out->data);
}


static double
bk_stats_resident(void)
{
    FILE           *f;
    unsigned long   pages = 0;

    f = fopen("/proc/self/statm", "re");
    if (f != NULL) {
        if (fscanf(f, "%*u %lu", &pages) != 1) {
            pages = 0;
        }

        fclose(f);
    }

    return (double) pages * (double) sysconf(_SC_PAGESIZE);
}
