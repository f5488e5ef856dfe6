/* Numbers of the gate, the rules and the audit log, and how long answers took:
 * see stats.h. */

#include <stdio.h>

#include "gate.h"
#include "stats.h"


#define BK_TIMES_FAMILY  "http_request_seconds"
#define BK_TIMES_HELP    "Time from a request's head to its answer."


typedef struct {
    bk_stat_pt   fn;
    void        *data;
    int          part;          /* of a histogram: 0 buckets, 1 sum, 2 count */
} bk_access_out_t;


static void bk_stats_rule(const char *rule, uint64_t allowed,
    uint64_t refused, void *data);
static void bk_stats_times(const bk_httpd_times_t *t, void *data);
static void bk_stats_number(const bk_access_out_t *out, const char *name,
    const char *help, const char *labels, uint64_t value);


void
bk_stats_access(bk_core_t *core, bk_stat_pt fn, void *data)
{
    uint64_t          written, lost;
    bk_gate_stats_t   s = { 0 };
    bk_access_out_t   out = { fn, data, 0 };

    if (core->gate != NULL) {
        bk_gate_stats(core->gate, &s);
        bk_stats_number(&out, "identities_total", "Callers by whether somebody "
                        "knew them.", "outcome=\"known\"", s.known);
        bk_stats_number(&out, "identities_total", "", "outcome=\"unknown\"",
                        s.unknown);
        bk_stats_number(&out, "identities_total", "", "outcome=\"failed\"",
                        s.failed);
        bk_stats_number(&out, "identities_total", "", "outcome=\"gone\"",
                        s.gone);
        bk_gate_counts(core->gate, bk_stats_rule, &out);
    }

    if (core->audit != NULL) {
        bk_audit_stats(core->audit, &written, &lost);
        bk_stats_number(&out, "audit_lines_total", "Lines of the audit log.",
                        "outcome=\"written\"", written);
        bk_stats_number(&out, "audit_lines_total", "", "outcome=\"lost\"",
                        lost);
        bk_stats_number(&out, "audit_lines_total", "",
                        "outcome=\"left_out\"", s.left_out);
    }

    for (out.part = 0; out.part < 3; out.part++) {
        bk_httpd_times(core->httpd, bk_stats_times, &out);
    }
}


/* The rules' names are of letters, digits, '.', '_' and '-'. */

static void
bk_stats_rule(const char *rule, uint64_t allowed, uint64_t refused,
    void *data)
{
    char  labels[128];

    snprintf(labels, sizeof(labels), "rule=\"%s\",outcome=\"allowed\"", rule);
    bk_stats_number(data, "access_decisions_total", "What access rules said, "
                    "by rule; none: no rule matched.", labels, allowed);
    snprintf(labels, sizeof(labels), "rule=\"%s\",outcome=\"refused\"", rule);
    bk_stats_number(data, "access_decisions_total", "", labels, refused);
}


static void
bk_stats_times(const bk_httpd_times_t *t, void *data)
{
    int               i;
    char              labels[300];
    uint64_t          n = 0;
    bk_stat_t         stat = { BK_TIMES_FAMILY "_bucket", BK_TIMES_HELP, labels,
                               1, 0, BK_TIMES_FAMILY };
    bk_access_out_t  *out = data;

    for (i = 0; out->part == 0 && i < BK_HTTP_BUCKETS; i++) {
        n += t->bucket[i];
        snprintf(labels, sizeof(labels), "method=\"%s\",route=\"%s\","
                 "le=\"%g\"", t->method, t->route, bk_httpd_le[i]);
        stat.value = (double) n;
        out->fn(&stat, out->data);
    }

    snprintf(labels, sizeof(labels), "method=\"%s\",route=\"%s\"%s",
             t->method, t->route, out->part == 0 ? ",le=\"+Inf\"" : "");
    stat.value = out->part == 1 ? t->sum : (double) t->n;

    if (out->part > 0) {
        stat.name = out->part == 1 ? BK_TIMES_FAMILY "_sum"
                                   : BK_TIMES_FAMILY "_count";
    }

    out->fn(&stat, out->data);
}


static void
bk_stats_number(const bk_access_out_t *out, const char *name,
    const char *help, const char *labels, uint64_t value)
{
    bk_stat_t  stat = { name, help, labels, 1, (double) value, NULL };

    out->fn(&stat, out->data);
}
