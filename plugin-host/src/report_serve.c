/*
 * What is served from the reports: every session, the sums.  See report.h.
 */

#include <string.h>

#include "log.h"
#include "report_int.h"
#include "slow.h"


/* how old a look may be to be good enough for somebody who asks, ms */
#define BK_REPORTS_FRESH  200


static void bk_reports_refresh(bk_reports_t *r);
static void bk_reports_session(const bk_report_file_t *f,
    const bk_report_session_t *s, bk_session_info_t *info);
static void bk_reports_sum_one(bk_reports_sum_t *sum,
    const bk_report_copy_t *c);


int
bk_reports_each(bk_reports_t *r, bk_session_pt fn, void *data)
{
    int                 rc = 0;
    uint32_t            i;
    bk_report_file_t   *f;
    bk_session_info_t   info;

    if (r == NULL) {
        return 0;
    }

    if (r->walking == 0
        && bk_host_monotonic_ms() - r->read_ms >= BK_REPORTS_FRESH)
    {
        bk_reports_refresh(r);
    }

    r->walking++;

    for (f = r->files; f != NULL && rc == 0; f = f->hh.next) {
        for (i = 0; i < f->copy.nsessions && rc == 0; i++) {
            bk_reports_session(f, &f->copy.sessions[i], &info);
            rc = fn(&info, data);
        }
    }

    r->walking--;

    return rc;
}


static void
bk_reports_refresh(bk_reports_t *r)
{
    bk_report_file_t  *f;

    r->left = BK_REPORTS_RECORDS;

    for (f = r->files; f != NULL; f = f->hh.next) {
        /* what is wrong with it comes out with the next look */
        if (f->read && !f->folded
            && bk_report_read(r->dir, f->name, &f->copy, NULL) != 0)
        {
            f->read = 0;
            f->copy.nsessions = 0;
        }
    }

    /* uses are counted by a look alone, which tells of what has changed: one
     * that was only seen here would end without a word */
    r->read_ms = bk_host_monotonic_ms();
}


static void
bk_reports_session(const bk_report_file_t *f, const bk_report_session_t *s,
    bk_session_info_t *info)
{
    const char  *pool = f->copy.pools[s->pool].name;

    info->allocation = (bk_str_t) { s->allocation, strlen(s->allocation) };
    info->pool = (bk_str_t) { pool, strlen(pool) };
    info->worker = (bk_str_t) { s->worker, strlen(s->worker) };
    info->client = (bk_str_t) { s->client, strlen(s->client) };
    info->phase = s->phase;
    info->kind = s->kind;
    info->expiring = (s->flags & BK_SESSION_EXPIRING) != 0;
    info->reason = s->reason;
    info->gateway = f->copy.head.pid;
    info->start_ms = s->start_ms;
    info->phase_ms = s->phase_ms;
    info->expires_ms = s->expires_ms;
    info->last_ms = s->last_ms;
    info->hold_ms = s->hold_ms;
    info->bytes_up = s->bytes_up;
    info->bytes_down = s->bytes_down;
}


bk_reports_sum_t *
bk_reports_sum(bk_reports_t *r)
{
    bk_reports_sum_t  *sum;
    bk_report_file_t  *f;

    sum = calloc(1, sizeof(bk_reports_sum_t));
    if (sum == NULL) {
        abort();
    }

    sum->pools[0].used = 1;
    sum->npools = 1;

    if (r == NULL || r->totals.pools == NULL) {
        return sum;
    }

    sum->folded = r->folded;
    sum->bad = r->bad;

    bk_reports_sum_one(sum, &r->totals);

    for (f = r->files; f != NULL; f = f->hh.next) {
        /* one that is in the totals already only waits for its removal */
        if (!f->read || f->folded) {
            continue;
        }

        bk_reports_sum_one(sum, &f->copy);

        sum->gateways++;
        sum->exiting += f->copy.head.exiting != 0;
        sum->held += f->copy.head.held;
        sum->live += f->copy.head.live;
    }

    while (sum->npools < BK_REPORT_POOLS && sum->pools[sum->npools].used) {
        sum->npools++;
    }

    return sum;
}


static void
bk_reports_sum_one(bk_reports_sum_t *sum, const bk_report_copy_t *c)
{
    unsigned  i;

    sum->lost += c->head.lost;
    sum->dead_clients += c->head.dead_clients;
    sum->dead_workers += c->head.dead_workers;

    for (i = 0; i < BK_HANDSHAKE; i++) {
        sum->handshake[i] += c->head.handshake[i];
    }

    for (i = 0; i < BK_REPORT_POOLS; i++) {
        bk_report_add(sum->pools, &c->pools[i]);
    }
}


/* Said again when it had been over. */

void
bk_reports_limited(bk_reports_t *r)
{
    int                limited = r->crowded;
    bk_report_file_t  *f;

    for (f = r->files; f != NULL; f = f->hh.next) {
        limited |= f->read && f->copy.unlisted;
    }

    if (limited && !r->limited) {
        bk_log(BK_LOG_ERROR, "reports", "%s: not all connections are listed: "
               "there are more than %d files, or more than %d records in "
               "them", r->conf.dir, BK_REPORTS_FILES, BK_REPORTS_RECORDS);
    }

    r->limited = limited;
}


int
bk_reports_readable(const bk_reports_t *r)
{
    return r != NULL && r->dir != -1;
}
