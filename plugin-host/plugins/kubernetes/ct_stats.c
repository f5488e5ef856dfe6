/* The controller's numbers: see ct.h. */

#include <stdio.h>
#include <string.h>

#include "ct_pool.h"


typedef struct {
    bk_stat_pt   fn;
    void        *data;
} ct_out_t;


static void ct_stats_kinds(const ct_t *ct, const ct_out_t *out);
static void ct_stat(const ct_out_t *out, const char *name, const char *help,
    const char *labels, int counter, double value);


void
ct_stats(ct_t *ct, bk_stat_pt fn, void *data)
{
    uint64_t   made, dropped;
    ct_out_t   out = { fn, data };

    ct_stats_kinds(ct, &out);
    ct_events_stats(ct, &made, &dropped);

    ct_stat(&out, "kubernetes_controller_leads", "1 where this controller "
            "leads and knows all", "", 0, ct_leads(ct));
    ct_stat(&out, "kubernetes_controller_lease", "1 where this controller has "
            "the Lease", "", 0, ct_leader_is(ct));
    ct_stat(&out, "kubernetes_controller_requests", "Requests to the API "
            "server that are under way", "", 0, ct->running);
    ct_stat(&out, "kubernetes_controller_writes_total", "Writes that were "
            "sent", "", 1, (double) ct->writes);
    ct_stat(&out, "kubernetes_controller_conflicts_total", "Writes that "
            "somebody else was faster in", "", 1, (double) ct->conflicts);
    ct_stat(&out, "kubernetes_controller_refusals_total", "Writes that the "
            "API server refused", "", 1, (double) ct->refusals);
    ct_stat(&out, "kubernetes_controller_unknown_total", "Writes of which it "
            "was not known whether they were done", "", 1,
            (double) ct->unknown);
    ct_stat(&out, "kubernetes_controller_pool_looks_total", "How often a pool "
            "was compared with what it should be", "", 1,
            ct->common != NULL ? (double) ct->common->looks : 0);
    ct_stat(&out, "kubernetes_controller_events_total", "Events that were "
            "written", "", 1, (double) made);
    ct_stat(&out, "kubernetes_controller_events_dropped_total", "Events that "
            "were too many", "", 1, (double) dropped);
}


static void
ct_stats_kinds(const ct_t *ct, const ct_out_t *out)
{
    int                i, kind;
    char               labels[64];
    size_t             n;
    double             values[CT_WATCHED][4];
    k8s_watch_stats_t  s;

    static const struct {
        const char  *name;
        const char  *help;
        int          counter;
    } what[4] = {
        { "kubernetes_controller_objects", "Objects that are known", 0 },
        { "kubernetes_controller_watches_up", "Watches that keep up", 0 },
        { "kubernetes_controller_watch_events_total",
          "Changes that watches told of", 1 },
        { "kubernetes_controller_watch_errors_total",
          "Lists and watches that broke", 1 }
    };

    memset(values, 0, sizeof(values));

    for (kind = 0; kind < CT_WATCHED; kind++) {
        for (n = 0; n < ct->nnss; n++) {
            k8s_watch_stats(ct->nss[n].watches[kind].watch, &s);
            values[kind][0] += (double) s.objects;
            values[kind][1] += s.connected != 0;
            values[kind][2] += (double) s.events;
            values[kind][3] += (double) s.errors;
        }
    }

    for (i = 0; i < 4; i++) {
        for (kind = 0; kind < CT_WATCHED; kind++) {
            snprintf(labels, sizeof(labels), "kind=\"%s%s\"",
                     kind == CT_FRONT ? "Gateway" : "",
                     ct_kinds[kind].kind);
            ct_stat(out, what[i].name, what[i].help, labels, what[i].counter,
                    values[kind][i]);
        }
    }
}


static void
ct_stat(const ct_out_t *out, const char *name, const char *help,
    const char *labels, int counter, double value)
{
    bk_stat_t  stat = { name, help, labels, counter, value, NULL };

    out->fn(&stat, out->data);
}
