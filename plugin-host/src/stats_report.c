/*
 * The numbers of the gateways, from their reports: by pool, and by reasons
 * of which there is a fixed list.  See stats.h.
 */

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"
#include "stats.h"


#define BK_LABELS  (BK_REPORT_POOL_LEN + 80)


typedef struct {
    bk_stat_pt         fn;
    void              *data;
    bk_reports_sum_t  *sum;
} bk_sum_out_t;

/* one counter of a row, as it is shown */
typedef struct {
    const char  *name;
    const char  *help;
    const char  *label;         /* beside the pool, or NULL */
    size_t       offset;
} bk_sum_field_t;


static void bk_sum_one(const bk_sum_out_t *out, const char *name,
    const char *help, const char *labels, double value);
static void bk_sum_gauge(const bk_sum_out_t *out, const char *name,
    const char *help, const char *labels, double value);
static void bk_sum_fields(const bk_sum_out_t *out, const char *name);
static void bk_sum_reasons(const bk_sum_out_t *out, const char *name,
    const char *help, size_t offset, const char *const *reasons, int n);
static void bk_sum_hist(const bk_sum_out_t *out, const char *family,
    const char *bucket, const char *sum, const char *count, const char *help,
    size_t offset);
static void bk_sum_buckets(const bk_sum_out_t *out, bk_stat_t *stat,
    const bk_report_pool_t *pool, size_t offset);
static void bk_sum_whole(const bk_sum_out_t *out, bk_stat_t *stat,
    const bk_report_pool_t *pool, size_t offset);
static void bk_sum_gateways(const bk_sum_out_t *out);


static const char *const  bk_sum_refused[] = BK_REFUSED_NAMES;
static const char *const  bk_sum_cut[] = BK_CUT_NAMES;
static const char *const  bk_sum_handshake[] = BK_HANDSHAKE_NAMES;
static const unsigned     bk_sum_bounds[] = BK_REPORT_BOUNDS;

#define bk_sum_at(field)  offsetof(bk_report_pool_t, field)

static const bk_sum_field_t  bk_sum_table[] = {
    { "accepted_total", "Connections with a good TLS handshake.", NULL,
      bk_sum_at(accepted) },
    { "connections_total", "Connections by outcome; gone: the client left.",
      "outcome=\"routed\"", bk_sum_at(routed) },
    { "connections_total", "", "outcome=\"refused\"", 0 },
    { "connections_total", "", "outcome=\"gone\"", bk_sum_at(gone) },
    { "held_total", "Connections that had to wait for their worker.", NULL,
      bk_sum_at(held) },
    { "looks_total", "Requests that only looked, answered while held.", NULL,
      bk_sum_at(looks) },
    { "retries_total", "Attempts to reach a worker after the first.", NULL,
      bk_sum_at(retries) },
    { "bytes_total", "Bytes passed on, inside of TLS; up: to the worker.",
      "direction=\"up\"", bk_sum_at(bytes_up) },
    { "bytes_total", "", "direction=\"down\"", bk_sum_at(bytes_down) },
    { NULL, NULL, NULL, 0 }
};


void
bk_stats_reports(bk_core_t *core, bk_stat_pt fn, void *data)
{
    bk_sum_out_t  out = { fn, data, NULL };

    bk_sum_gauge(&out, "reports_readable", "1 when the folder of reports can "
                 "be read.", "", bk_reports_readable(core->reports));

    if (!bk_reports_readable(core->reports)) {
        /* a counter that falls to 0 and comes back is counted twice */
        return;
    }

    out.sum = bk_reports_sum(core->reports);

    bk_sum_fields(&out, "accepted_total");
    bk_sum_fields(&out, "connections_total");
    bk_sum_reasons(&out, "refused_total", "Refused connections by reason.",
                   bk_sum_at(refused), bk_sum_refused, BK_REFUSED);
    bk_sum_reasons(&out, "cut_total",
                   "Connections that were cut after they had been routed.",
                   bk_sum_at(cut), bk_sum_cut, BK_CUT);
    bk_sum_fields(&out, "held_total");
    bk_sum_fields(&out, "looks_total");
    bk_sum_fields(&out, "retries_total");
    bk_sum_fields(&out, "bytes_total");
    bk_sum_hist(&out, "hold_seconds", "hold_seconds_bucket",
                "hold_seconds_sum", "hold_seconds_count",
                "How long connections that had to wait waited.",
                bk_sum_at(hold));
    bk_sum_hist(&out, "connect_seconds", "connect_seconds_bucket",
                "connect_seconds_sum", "connect_seconds_count",
                "TCP and TLS towards the worker.", bk_sum_at(connect));
    bk_sum_gateways(&out);

    free(out.sum);
}


static void
bk_sum_gateways(const bk_sum_out_t *out)
{
    int                      i;
    char                     labels[64];
    const bk_reports_sum_t  *s = out->sum;

    for (i = 1; i < BK_HANDSHAKE; i++) {
        snprintf(labels, sizeof(labels), "reason=\"%s\"",
                 bk_sum_handshake[i]);
        bk_sum_one(out, "handshake_failures_total",
                   "TLS handshakes with clients that did not end well.",
                   labels, (double) s->handshake[i]);
    }

    bk_sum_one(out, "dead_peers_total",
               "Connections whose other end was found dead.",
               "side=\"client\"", (double) s->dead_clients);
    bk_sum_one(out, "dead_peers_total", "", "side=\"worker\"",
               (double) s->dead_workers);
    bk_sum_one(out, "unlisted_total", "Connections that were counted, but "
               "found no room to be listed.", "", (double) s->lost);

    bk_sum_gauge(out, "sessions", "Connections at the gateways now.",
                 "phase=\"held\"", (double) s->held);
    bk_sum_gauge(out, "sessions", "", "phase=\"live\"", (double) s->live);
    bk_sum_gauge(out, "gateways", "Processes of nginx that report.",
                 "state=\"serving\"", (double) (s->gateways - s->exiting));
    bk_sum_gauge(out, "gateways", "", "state=\"exiting\"",
                 (double) s->exiting);

    bk_sum_one(out, "reports_folded_total", "Processes of nginx that are "
               "gone, since this plugin-host started.", "",
               (double) s->folded);
    bk_sum_one(out, "reports_bad_total", "Files that were set aside, since "
               "this plugin-host started.", "", (double) s->bad);
}


static void
bk_sum_fields(const bk_sum_out_t *out, const char *name)
{
    int                      why;
    char                     labels[BK_LABELS];
    double                   value;
    unsigned                 i;
    const bk_sum_field_t    *f;
    const bk_report_pool_t  *p;

    for (i = 0; i < out->sum->npools; i++) {
        p = &out->sum->pools[i];

        for (f = bk_sum_table; f->name != NULL; f++) {
            if (strcmp(f->name, name) != 0) {
                continue;
            }

            value = 0;

            if (f->offset != 0) {
                value = (double) *(const uint64_t *)
                            ((const char *) p + f->offset);

            } else {
                for (why = 0; why < BK_REFUSED; why++) {
                    value += (double) p->refused[why];
                }
            }

            snprintf(labels, sizeof(labels), "pool=\"%s\"%s%s", p->name,
                     f->label != NULL ? "," : "",
                     f->label != NULL ? f->label : "");
            bk_sum_one(out, name, f->help, labels, value);
        }
    }
}


static void
bk_sum_reasons(const bk_sum_out_t *out, const char *name, const char *help,
    size_t offset, const char *const *reasons, int n)
{
    int                      i;
    char                     labels[BK_LABELS];
    unsigned                 row;
    const uint64_t          *value;
    const bk_report_pool_t  *p;

    for (row = 0; row < out->sum->npools; row++) {
        p = &out->sum->pools[row];
        value = (const uint64_t *) ((const char *) p + offset);

        for (i = 1; i < n; i++) {
            snprintf(labels, sizeof(labels), "pool=\"%s\",reason=\"%s\"",
                     p->name, reasons[i]);
            bk_sum_one(out, name, help, labels, (double) value[i]);
        }
    }
}


/* All of one name together: who does not know families needs that. */

static void
bk_sum_hist(const bk_sum_out_t *out, const char *family, const char *bucket,
    const char *sum, const char *count, const char *help, size_t offset)
{
    unsigned   i;
    bk_stat_t  stat = { bucket, help, "", 1, 0, family };

    for (i = 0; i < out->sum->npools; i++) {
        bk_sum_buckets(out, &stat, &out->sum->pools[i], offset);
    }

    for (i = 0; i < out->sum->npools; i++) {
        stat.name = sum;
        bk_sum_whole(out, &stat, &out->sum->pools[i], offset);
    }

    for (i = 0; i < out->sum->npools; i++) {
        stat.name = count;
        bk_sum_whole(out, &stat, &out->sum->pools[i], offset);
    }
}


static void
bk_sum_buckets(const bk_sum_out_t *out, bk_stat_t *stat,
    const bk_report_pool_t *pool, size_t offset)
{
    int                      i;
    char                     labels[BK_LABELS], le[24];
    uint64_t                 n = 0;
    const bk_report_hist_t  *h;

    h = (const bk_report_hist_t *) ((const char *) pool + offset);

    for (i = 0; i < BK_REPORT_BUCKETS; i++) {
        n += h->bucket[i];
        snprintf(le, sizeof(le), "+Inf");

        if (i < BK_REPORT_BUCKETS - 1) {
            snprintf(le, sizeof(le), "%g", bk_sum_bounds[i] / 1000.0);
        }

        snprintf(labels, sizeof(labels), "pool=\"%s\",le=\"%s\"",
                 pool->name, le);
        stat->labels = labels;
        stat->value = (double) n;
        out->fn(stat, out->data);
    }
}


/* The sum, or how many there are. */

static void
bk_sum_whole(const bk_sum_out_t *out, bk_stat_t *stat,
    const bk_report_pool_t *pool, size_t offset)
{
    int                      i;
    char                     labels[BK_LABELS];
    const bk_report_hist_t  *h;

    h = (const bk_report_hist_t *) ((const char *) pool + offset);
    stat->value = 0;

    if (strstr(stat->name, "_sum") != NULL) {
        stat->value = (double) h->sum_ms / 1000;

    } else {
        for (i = 0; i < BK_REPORT_BUCKETS; i++) {
            stat->value += (double) h->bucket[i];
        }
    }

    snprintf(labels, sizeof(labels), "pool=\"%s\"", pool->name);
    stat->labels = labels;
    out->fn(stat, out->data);
}


static void
bk_sum_one(const bk_sum_out_t *out, const char *name, const char *help,
    const char *labels, double value)
{
    bk_stat_t  stat = { name, help, labels, 1, value, NULL };

    out->fn(&stat, out->data);
}


static void
bk_sum_gauge(const bk_sum_out_t *out, const char *name, const char *help,
    const char *labels, double value)
{
    bk_stat_t  stat = { name, help, labels, 0, value, NULL };

    out->fn(&stat, out->data);
}
