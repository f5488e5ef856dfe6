/*
 * What the companion does not use, said once for each object and reason and
 * counted; and its numbers.  Whoever writes objects must not be able to fill
 * the log, so there is a limit to a minute's.
 */

#include <stdio.h>
#include <string.h>

#include "gw.h"


#define GW_LOG_MS   60000
#define GW_LOG_MAX  50
#define GW_STATS    8


typedef struct {
    bk_stat_pt   fn;
    void        *data;
} gw_out_t;


static int gw_refuse_reason(const char *reason);
static char *gw_refuse_key(const char *kind, const char *key);
static void gw_stat(const gw_out_t *out, const char *name, const char *help,
    const char *labels, int counter, double value);
static void gw_stats_watches(const gw_t *gw, const gw_out_t *out);
static void gw_stats_watch(const gw_t *gw, int kind, k8s_watch_stats_t *sum,
    size_t *up);


/* labels of a metric: no text of an object */
static const char  *gw_reasons[] = {
    "BadObject", "BadPoolRef", "BadAllocation", "BadEnded", "TokenTwice",
    "NotItsPool", "NotOurPod", "HostNetwork", "BadAddress", "TableFull",
    "KeyBound", "BadTlsName", "Other"
};

#define GW_REASONS  (int) (sizeof(gw_reasons) / sizeof(gw_reasons[0]))

static const char  *gw_kind_names[GW_KINDS] = {
    "buildkitpools", "buildkitworkers", "pods"
};


void
gw_refuse_init(gw_t *gw)
{
    gw->refusals = calloc(GW_REASONS, sizeof(uint64_t));
    if (gw->refusals == NULL) {
        abort();
    }
}


void
gw_refuse_free(gw_t *gw)
{
    gw_refused_t  *r, *tmp;

    HASH_ITER(hh, gw->refused, r, tmp) {
        HASH_DEL(gw->refused, r);
        free(r);
    }

    free(gw->refusals);
}


void
gw_refuse(gw_t *gw, const char *kind, const char *key, const bk_err_t *err)
{
    char          *name = gw_refuse_key(kind, key);
    uint64_t       now = gw->host->monotonic_ms(gw->host);
    gw_refused_t  *r;

    HASH_FIND_STR(gw->refused, name, r);

    if (r != NULL && strcmp(r->reason, err->reason) == 0) {
        free(name);
        return;
    }

    if (r == NULL) {
        r = calloc(1, sizeof(gw_refused_t) + strlen(name) + 1);
        if (r == NULL) {
            abort();
        }

        strcpy(r->key, name);
        HASH_ADD_STR(gw->refused, key, r);
    }

    snprintf(r->reason, sizeof(r->reason), "%s", err->reason);
    gw->refusals[gw_refuse_reason(err->reason)]++;

    if (gw->logged == 0 || now - gw->log_ms >= GW_LOG_MS) {
        gw->log_ms = now;
        gw->logged = 0;
    }

    if (gw->logged++ < GW_LOG_MAX) {
        gw->host->log(gw->host, BK_LOG_WARN, "%s is not used: %s (%s)", name,
                      err->text, err->reason);

    } else if (gw->logged == GW_LOG_MAX + 1) {
        gw->host->log(gw->host, BK_LOG_WARN, "more objects are not used; for "
                      "a minute they are only counted");
    }

    free(name);
}


void
gw_refuse_not(gw_t *gw, const char *kind, const char *key)
{
    char          *name;
    gw_refused_t  *r;

    if (gw->refused == NULL) {
        return;
    }

    name = gw_refuse_key(kind, key);
    HASH_FIND_STR(gw->refused, name, r);
    free(name);

    if (r != NULL) {
        HASH_DEL(gw->refused, r);
        free(r);
    }
}


static int
gw_refuse_reason(const char *reason)
{
    int  i;

    for (i = 0; i < GW_REASONS - 1; i++) {
        if (strcmp(gw_reasons[i], reason) == 0) {
            break;
        }
    }

    return i;
}


static char *
gw_refuse_key(const char *kind, const char *key)
{
    char  *name;

    if (asprintf(&name, "%s %s", kind, key) < 0) {
        abort();
    }

    return name;
}


/* --- numbers -------------------------------------------------------------- */

void
gw_stats(gw_t *gw, bk_stat_pt fn, void *data)
{
    int        i;
    char       labels[64];
    gw_out_t   out = { fn, data };

    gw_stats_watches(gw, &out);

    for (i = 0; i < GW_REASONS; i++) {
        snprintf(labels, sizeof(labels), "reason=\"%s\"", gw_reasons[i]);
        gw_stat(&out, "kubernetes_refusals_total", "Objects that were found "
                "to be of no use", labels, 1, (double) gw->refusals[i]);
    }

    gw_stat(&out, "kubernetes_refused_objects", "Objects that are not used",
            "", 0, HASH_COUNT(gw->refused));
    gw_stat(&out, "kubernetes_lost_pods_total", "Pods that were lost with an "
            "allocation on them", "", 1, (double) gw->lost);
    gw_stat(&out, "kubernetes_early_allocations_total", "Allocations that "
            "were seen before the end of the Pod before theirs", "", 1,
            (double) gw->young);
}


static void
gw_stats_watches(const gw_t *gw, const gw_out_t *out)
{
    int                i, kind;
    char               labels[64];
    size_t             up[GW_KINDS];
    double             values[GW_KINDS][GW_STATS];
    k8s_watch_stats_t  sum;

    static const struct {
        const char  *name;
        const char  *help;
        int          counter;
    } what[GW_STATS] = {
        { "kubernetes_objects", "Objects that are known", 0 },
        { "kubernetes_watches_up", "Watches that keep up", 0 },
        { "kubernetes_lists_total", "Lists that were begun", 1 },
        { "kubernetes_events_total", "Changes that watches told of", 1 },
        { "kubernetes_gone_total", "Watches whose version the server had "
          "forgotten", 1 },
        { "kubernetes_errors_total", "Lists and watches that broke", 1 },
        { "kubernetes_unchanged_total", "Objects that a list had as they "
          "were known", 1 },
        { "kubernetes_list_seconds", "How long the last list took, the "
          "longest of all namespaces", 0 }
    };

    for (kind = 0; kind < GW_KINDS; kind++) {
        gw_stats_watch(gw, kind, &sum, &up[kind]);
        values[kind][0] = (double) sum.objects;
        values[kind][1] = (double) up[kind];
        values[kind][2] = (double) sum.lists;
        values[kind][3] = (double) sum.events;
        values[kind][4] = (double) sum.gones;
        values[kind][5] = (double) sum.errors;
        values[kind][6] = (double) sum.same;
        values[kind][7] = (double) sum.list_ms / 1000;
    }

    for (i = 0; i < GW_STATS; i++) {
        for (kind = 0; kind < GW_KINDS; kind++) {
            snprintf(labels, sizeof(labels), "kind=\"%s\"",
                     gw_kind_names[kind]);
            gw_stat(out, what[i].name, what[i].help, labels, what[i].counter,
                    values[kind][i]);
        }
    }
}


/* Of all namespaces. */

static void
gw_stats_watch(const gw_t *gw, int kind, k8s_watch_stats_t *sum, size_t *up)
{
    size_t             i;
    k8s_watch_stats_t  s;

    memset(sum, 0, sizeof(k8s_watch_stats_t));
    *up = 0;

    for (i = 0; i < gw->nnss; i++) {
        k8s_watch_stats(gw->nss[i].watches[kind].watch, &s);
        sum->objects += s.objects;
        sum->lists += s.lists;
        sum->events += s.events;
        sum->gones += s.gones;
        sum->errors += s.errors;
        sum->same += s.same;
        sum->list_ms = s.list_ms > sum->list_ms ? s.list_ms : sum->list_ms;
        *up += s.connected != 0;
    }
}


static void
gw_stat(const gw_out_t *out, const char *name, const char *help,
    const char *labels, int counter, double value)
{
    bk_stat_t  stat = { name, help, labels, counter, value, NULL };

    out->fn(&stat, out->data);
}
