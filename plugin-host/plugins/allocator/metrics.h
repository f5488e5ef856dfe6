/*
 * The allocator's numbers, for bk_plugin_t.stats: what an autoscaler and
 * whoever is on call need.  Labels are names of pools and fixed words, never
 * identities, keys or ids.
 */

#ifndef BK_METRICS_H_INCLUDED
#define BK_METRICS_H_INCLUDED

#include "allocator.h"


typedef struct bk_metrics_s  bk_metrics_t;

bk_metrics_t *bk_metrics_new(void);
void bk_metrics_free(bk_metrics_t **m);

/* an allocation got a worker, after so long in the queue */
void bk_metrics_waited(bk_metrics_t *m, const char *pool, uint64_t ms);
/* a call of allocate is answered with this error; reason: a word of ours */
void bk_metrics_refused(bk_metrics_t *m, const char *reason);

void bk_metrics_stats(void *ctx, bk_stat_pt fn, void *data);

#endif /* BK_METRICS_H_INCLUDED */
