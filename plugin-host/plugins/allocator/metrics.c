/* See metrics.h.  All of one name together, as bk_stat_t wants it. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metrics.h"


#define BK_WAIT_BUCKETS   10
#define BK_REASONS_MAX    32        /* the words of our own errors are fewer */
#define BK_LABELS         (BK_TABLE_POOL_LEN + 64)


/* How long those who got a worker have waited for it. */
typedef struct bk_waits_s  bk_waits_t;

struct bk_waits_s {
    UT_hash_handle  hh;
    uint64_t        buckets[BK_WAIT_BUCKETS + 1];
    double          seconds;
    char            pool[];
};

typedef struct {
    char      reason[sizeof(((bk_err_t *) NULL)->reason)];
    uint64_t  n;
} bk_reason_t;

struct bk_metrics_s {
    bk_waits_t   *waits;
    unsigned      nreasons;
    bk_reason_t   reasons[BK_REASONS_MAX];
    uint64_t      others;
};

/* A pool as an autoscaler sees it. */
typedef struct {
    size_t    queued;
    size_t    busy;
    uint64_t  capacity;     /* 0 where workers take any number */
    int       unlimited;
    uint32_t  each;         /* of a worker */
} bk_demand_t;

typedef struct {
    bk_allocator_t  *a;
    bk_stat_pt       fn;
    void            *data;
    int              what;  /* BK_POOL_* */
} bk_metrics_out_t;

enum { BK_POOL_QUEUED, BK_POOL_BUSY, BK_POOL_CAPACITY, BK_POOL_SATURATION };


static const double  bk_wait_limits[BK_WAIT_BUCKETS] = {
    0.1, 0.5, 1, 5, 15, 60, 300, 600, 1800, 3600
};


static void bk_metrics_one(const bk_metrics_out_t *out, const char *name,
    const char *help, const char *labels, int counter, double value);
static void bk_metrics_pools(bk_metrics_out_t *out);
static int bk_metrics_pool(const bk_pool_info_t *pool, void *data);
static int bk_metrics_worker(const bk_worker_info_t *worker, void *data);
static void bk_metrics_counters(const bk_metrics_out_t *out);
static void bk_metrics_waits(const bk_metrics_out_t *out);
static void bk_metrics_journal(const bk_metrics_out_t *out);
static void bk_metrics_buckets(const bk_metrics_out_t *out,
    const char *family, const char *help, const char *labels,
    const double *limits, const uint64_t *buckets, unsigned n);
static void bk_metrics_part(const bk_metrics_out_t *out, const char *family,
    const char *part, const char *help, const char *labels, double value);


bk_metrics_t *
bk_metrics_new(void)
{
    bk_metrics_t  *m;

    m = calloc(1, sizeof(bk_metrics_t));

    if (m == NULL) {
        abort();
    }

    return m;
}


void
bk_metrics_free(bk_metrics_t **mp)
{
    bk_waits_t    *w, *next;
    bk_metrics_t  *m;

    m = *mp;

    if (m == NULL) {
        return;
    }

    *mp = NULL;

    HASH_ITER(hh, m->waits, w, next) {
        HASH_DEL(m->waits, w);
        free(w);
    }

    free(m);
}


void
bk_metrics_waited(bk_metrics_t *m, const char *pool, uint64_t ms)
{
    size_t       len;
    double       seconds;
    unsigned     i;
    bk_waits_t  *w;

    len = strlen(pool);
    seconds = (double) ms / 1000;

    HASH_FIND(hh, m->waits, pool, len, w);

    if (w == NULL) {
        w = calloc(1, sizeof(bk_waits_t) + len + 1);

        if (w == NULL) {
            abort();
        }

        memcpy(w->pool, pool, len + 1);
        HASH_ADD_KEYPTR(hh, m->waits, w->pool, len, w);
    }

    for (i = 0; i < BK_WAIT_BUCKETS && seconds > bk_wait_limits[i]; i++) {
        /* void */
    }

    w->buckets[i]++;
    w->seconds += seconds;
}


void
bk_metrics_refused(bk_metrics_t *m, const char *reason)
{
    unsigned  i;

    for (i = 0; i < m->nreasons; i++) {
        if (strcmp(m->reasons[i].reason, reason) == 0) {
            m->reasons[i].n++;
            return;
        }
    }

    if (i == BK_REASONS_MAX) {
        m->others++;
        return;
    }

    (void) snprintf(m->reasons[i].reason, sizeof(m->reasons[i].reason), "%s",
                    reason);
    m->reasons[i].n = 1;
    m->nreasons++;
}


void
bk_metrics_stats(void *ctx, bk_stat_pt fn, void *data)
{
    bk_allocator_t *a = ctx;

    bk_metrics_out_t  out;

    if (a->journal == NULL) {
        /* it has not started, or is at its end */
        return;
    }

    out = (bk_metrics_out_t) { .a = a, .fn = fn, .data = data };

    bk_metrics_pools(&out);
    bk_metrics_counters(&out);
    bk_metrics_waits(&out);
    bk_metrics_journal(&out);
}


static void
bk_metrics_one(const bk_metrics_out_t *out, const char *name,
    const char *help, const char *labels, int counter, double value)
{
    bk_stat_t  stat = { name, help, labels, counter, value, NULL };

    out->fn(&stat, out->data);
}


static void
bk_metrics_pools(bk_metrics_out_t *out)
{
    int               what;
    const bk_host_t  *h;

    h = out->a->host;

    for (what = BK_POOL_QUEUED; what <= BK_POOL_SATURATION; what++) {
        out->what = what;
        (void) h->pool_each(h, bk_metrics_pool, out);
    }
}


/*
 * Saturation: what is wanted over what there can be.  1: all workers are
 * taken; above: so much more is waited for.
 */

static int
bk_metrics_pool(const bk_pool_info_t *pool, void *data)
{
    bk_metrics_out_t *out = data;

    char              labels[BK_LABELS];
    bk_home_t        *home;
    bk_demand_t       d;
    const bk_host_t  *h;

    h = out->a->host;
    d = (bk_demand_t) { .unlimited = pool->shared == 1 };
    d.each = pool->shared > 1 ? (uint32_t) pool->shared : 1;

    home = bk_record_home_find(out->a->records, pool->name);

    if (home != NULL) {
        d.queued = bk_queue_length(home->queue);
        d.busy = home->live > d.queued ? home->live - d.queued : 0;
    }

    (void) snprintf(labels, sizeof(labels), "pool=\"%.*s\"",
                    (int) pool->name.len, pool->name.data);

    if (out->what == BK_POOL_QUEUED) {
        bk_metrics_one(out, "queue_length",
                       "Allocations that wait for a worker.", labels, 0,
                       (double) d.queued);
        return 0;
    }

    if (out->what == BK_POOL_BUSY) {
        bk_metrics_one(out, "pool_allocated",
                       "Live allocations that have a worker.", labels, 0,
                       (double) d.busy);
        return 0;
    }

    if (d.unlimited) {
        /* there is always room */
        return 0;
    }

    (void) h->worker_each(h, pool->name, bk_metrics_worker, &d);

    if (out->what == BK_POOL_CAPACITY) {
        bk_metrics_one(out, "pool_capacity", "Allocations that the pool's "
                       "workers can take, those not counted that failed or "
                       "are drained.", labels, 0, (double) d.capacity);
        return 0;
    }

    bk_metrics_one(out, "pool_saturation", "Allocations that have a worker "
                   "or wait for one, over the pool's capacity (at least 1).",
                   labels, 0, (double) (d.busy + d.queued)
                              / (double) (d.capacity > 0 ? d.capacity : 1));

    return 0;
}


static int
bk_metrics_worker(const bk_worker_info_t *worker, void *data)
{
    bk_demand_t *d = data;

    if (worker->state == BK_WORKER_STOPPED
        || worker->state == BK_WORKER_STARTING
        || worker->state == BK_WORKER_READY)
    {
        d->capacity += d->each;
    }

    return 0;
}


static void
bk_metrics_counters(const bk_metrics_out_t *out)
{
    char                         labels[BK_LABELS];
    unsigned                     i;
    const bk_metrics_t          *m;
    const bk_allocator_stats_t  *s;

    s = &out->a->stats;
    m = out->a->metrics;

    bk_metrics_one(out, "placed_total", "Allocations that got a worker.", "",
                   1, (double) s->placed);
    bk_metrics_one(out, "affinity_total", "Allocations with a cache key that "
                   "got the worker of that key (hit), or another one (miss).",
                   "result=\"hit\"", 1, (double) s->affinity_hits);
    bk_metrics_one(out, "affinity_total", "", "result=\"miss\"", 1,
                   (double) s->affinity_misses);
    bk_metrics_one(out, "queue_abandoned_total", "Allocations that left the "
                   "queue because nobody waited for them any more.", "", 1,
                   (double) s->gave_up);

    for (i = 0; i < m->nreasons; i++) {
        (void) snprintf(labels, sizeof(labels), "reason=\"%s\"",
                        m->reasons[i].reason);
        bk_metrics_one(out, "allocate_refused_total",
                       "Calls of allocate that were answered with an error.",
                       labels, 1, (double) m->reasons[i].n);
    }

    if (m->others > 0) {
        bk_metrics_one(out, "allocate_refused_total", "", "reason=\"other\"",
                       1, (double) m->others);
    }
}


static void
bk_metrics_waits(const bk_metrics_out_t *out)
{
    int          part;
    char         labels[BK_LABELS];
    uint64_t     n;
    unsigned     i;
    bk_waits_t  *w;

    static const char  help[] = "Time in the queue until there was a worker.";

    for (part = 0; part < 3; part++) {
        for (w = out->a->metrics->waits; w != NULL; w = w->hh.next) {
            (void) snprintf(labels, sizeof(labels), "pool=\"%s\"", w->pool);

            if (part == 0) {
                bk_metrics_buckets(out, "queue_wait_seconds", help, labels,
                                   bk_wait_limits, w->buckets,
                                   BK_WAIT_BUCKETS);
                continue;
            }

            for (n = 0, i = 0; i <= BK_WAIT_BUCKETS; i++) {
                n += w->buckets[i];
            }

            bk_metrics_part(out, "queue_wait_seconds",
                            part == 1 ? "sum" : "count", help, labels,
                            part == 1 ? w->seconds : (double) n);
        }
    }
}


static void
bk_metrics_journal(const bk_metrics_out_t *out)
{
    bk_journal_stats_t  s;

    static const char  changes[] = "journal_batch_changes";
    static const char  seconds[] = "journal_commit_seconds";
    static const char  many[] = "Changes written in one transaction.";
    static const char  time[] = "Time of a transaction of the journal, until "
                                "it was on the disk.";

    bk_journal_stats(out->a->journal, &s);

    bk_metrics_buckets(out, changes, many, "", bk_journal_sizes, s.sizes,
                       BK_JOURNAL_BUCKETS);
    bk_metrics_part(out, changes, "sum", many, "", (double) s.changes);
    bk_metrics_part(out, changes, "count", many, "", (double) s.batches);

    bk_metrics_buckets(out, seconds, time, "", bk_journal_times, s.times,
                       BK_JOURNAL_BUCKETS);
    bk_metrics_part(out, seconds, "sum", time, "", s.seconds);
    bk_metrics_part(out, seconds, "count", time, "", (double) s.batches);

    bk_metrics_one(out, "journal_waiting",
                   "Changes that are not on the disk yet.", "", 0,
                   (double) s.waiting);
    bk_metrics_one(out, "journal_failures_total",
                   "Changes that could not be written.", "", 1,
                   (double) s.failures);
    bk_metrics_one(out, "journal_damaged", "1 when the journal was found "
                   "damaged, and is not written any more.", "", 0,
                   s.damaged);
}


static void
bk_metrics_buckets(const bk_metrics_out_t *out, const char *family,
    const char *help, const char *labels, const double *limits,
    const uint64_t *buckets, unsigned n)
{
    char      text[BK_LABELS + 32], le[24];
    uint64_t  sum;
    unsigned  i;

    sum = 0;

    for (i = 0; i <= n; i++) {
        sum += buckets[i];

        (void) snprintf(le, sizeof(le), "+Inf");

        if (i < n) {
            (void) snprintf(le, sizeof(le), "%g", limits[i]);
        }

        (void) snprintf(text, sizeof(text), "%s%sle=\"%s\"", labels,
                        labels[0] == '\0' ? "" : ",", le);
        bk_metrics_part(out, family, "bucket", help, text, (double) sum);
    }
}


static void
bk_metrics_part(const bk_metrics_out_t *out, const char *family,
    const char *part, const char *help, const char *labels, double value)
{
    char       name[64];
    bk_stat_t  stat;

    (void) snprintf(name, sizeof(name), "%s_%s", family, part);

    stat = (bk_stat_t) { name, help, labels, 1, value, family };
    out->fn(&stat, out->data);
}
