/* What the journal counts of itself: the writer's thread, under the lock. */

#include "journal_int.h"


const double  bk_journal_sizes[BK_JOURNAL_BUCKETS] = {
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1000
};

const double  bk_journal_times[BK_JOURNAL_BUCKETS] = {
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2
};


void
bk_journal_count(bk_sqlite_t *j, const bk_ops_t *batch, double seconds)
{
    uint64_t             n;
    const bk_op_t       *op;
    bk_journal_stats_t  *s;

    s = &j->stats;
    n = 0;

    STAILQ_FOREACH(op, batch, link) {
        n += op->kind < BK_OP_STATEMENTS && op->err == NULL;
        s->failures += op->kind < BK_OP_STATEMENTS && op->err != NULL;
    }

    if (n == 0) {
        return;
    }

    s->batches++;
    s->changes += n;
    s->seconds += seconds;
    s->sizes[bk_journal_bucket(bk_journal_sizes, (double) n)]++;
    s->times[bk_journal_bucket(bk_journal_times, seconds)]++;
}


unsigned
bk_journal_bucket(const double *limits, double value)
{
    unsigned  i;

    for (i = 0; i < BK_JOURNAL_BUCKETS && value > limits[i]; i++) {
        /* void */
    }

    return i;
}


void
bk_sqlite_stats(void *back, bk_journal_stats_t *out)
{
    bk_sqlite_t *j = back;

    (void) pthread_mutex_lock(&j->lock);
    *out = j->stats;
    (void) pthread_mutex_unlock(&j->lock);

    out->waiting = j->nops;
    out->damaged = __atomic_load_n(&j->damaged, __ATOMIC_RELAXED);
}
