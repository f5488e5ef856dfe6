/*
 * The reports: what the processes of nginx write down (bk_report.h), read
 * once a second, summed, and kept when a process is gone.
 *
 * main.c makes it after the model; api_session.c, stats.c and host_api.c
 * serve from it.  On the loop's thread only; nothing here may fail a start,
 * and every function takes NULL for "no reports".
 */

#ifndef BK_REPORT_SRC_H_INCLUDED
#define BK_REPORT_SRC_H_INCLUDED

#include "bk_plugin.h"
#include "bk_report.h"


typedef struct bk_reports_s  bk_reports_t;

struct event_base;

/* told once a second about each worker whose real connections are more or
 * fewer than the last time */
typedef void (*bk_reports_use_pt)(bk_str_t pool, bk_str_t worker, void *data);

typedef struct {
    const char         *dir;
    const char         *group;      /* of a folder that has to be made; NULL */
    bk_reports_use_pt   use;
    void               *data;
} bk_reports_conf_t;


/* conf->dir and ->group must live as long. */
bk_reports_t *bk_reports_new(struct event_base *base,
    const bk_reports_conf_t *conf);
void bk_reports_free(bk_reports_t **r);

/* One look at the folder, as each second; for tests. */
void bk_reports_scan(bk_reports_t *r);

/* Every session there is now; the files are read again when they were not
 * just read.  What fn returns other than 0 ends it. */
int bk_reports_each(bk_reports_t *r, bk_session_pt fn, void *data);

/* As of the last look.  All zero for one that nobody connects to. */
void bk_reports_use(bk_reports_t *r, bk_str_t pool, bk_str_t worker,
    bk_worker_use_t *use);


/* All that was ever counted, by pool: of those that are gone and of those
 * that live.  Row 0 is that of no pool. */
typedef struct {
    uint64_t          gateways;     /* processes that report now */
    uint64_t          exiting;      /* ... that take no new connections */
    uint64_t          held;
    uint64_t          live;
    uint64_t          lost;
    uint64_t          handshake[BK_HANDSHAKE];
    uint64_t          dead_clients;
    uint64_t          dead_workers;
    uint64_t          folded;       /* processes, by this plugin-host */
    uint64_t          bad;          /* files that were set aside */
    unsigned          npools;
    bk_report_pool_t  pools[BK_REPORT_POOLS];
} bk_reports_sum_t;

/* To be freed; never NULL. */
bk_reports_sum_t *bk_reports_sum(bk_reports_t *r);

/* 0: nothing can be read there, so nothing is known about connections. */
int bk_reports_readable(const bk_reports_t *r);

#endif /* BK_REPORT_SRC_H_INCLUDED */
