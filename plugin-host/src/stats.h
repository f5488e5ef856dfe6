/* The host's own numbers, for plugins that show them (bk_plugin.h, stats). */

#ifndef BK_STATS_H_INCLUDED
#define BK_STATS_H_INCLUDED

#include "plugin.h"

void bk_stats_each(bk_core_t *core, bk_stat_pt fn, void *data);

/* stats_report.c: what the gateways count */
void bk_stats_reports(bk_core_t *core, bk_stat_pt fn, void *data);
/* stats_access.c: who was let do what, how long it took */
void bk_stats_access(bk_core_t *core, bk_stat_pt fn, void *data);

#endif /* BK_STATS_H_INCLUDED */
