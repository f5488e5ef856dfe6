/*
 * At start: the allocations of the journal go back into the model, within
 * one snapshot, so that what the route table holds beyond them is ended.
 *
 * A worker may be announced later than we start (its plugin comes after us,
 * or has to ask somebody first).  Rows of such workers are kept aside, count
 * as holding their worker, and are put as soon as it appears.
 */

#include <stdlib.h>
#include <string.h>

#include "allocator.h"
#include "journal_wait.h"


#define BK_RESTORE_SNAPSHOT  (10 * BK_SECOND)
#define BK_RESTORE_WORKERS   (300 * BK_SECOND)
#define BK_RESTORE_ENDED     BK_HOUR


static int bk_restore_row(const bk_row_t *row, void *data);
static int bk_restore_place(bk_allocator_t *a, const bk_row_t *row,
    bk_err_t *err);
static int bk_restore_put(bk_allocator_t *a, const bk_row_t *row,
    bk_err_t *err);
static void bk_restore_ended(bk_allocator_t *a, const bk_row_t *row);
static int bk_restore_one(bk_allocator_t *a, bk_pending_t *p);
static int bk_restore_fail(bk_allocator_t *a, bk_pending_t *p,
    const char *why);


int
bk_restore_start(bk_allocator_t *a, bk_err_t *err)
{
    int               rc;
    uint64_t          now;
    const bk_host_t  *h;

    h = a->host;
    now = h->now_ms(h);

    h->snapshot_begin(h);
    a->snapshot = 1;

    a->restoring = h->timer_new(h, bk_restore_give_up, a);
    h->timer_set(a->restoring, BK_RESTORE_SNAPSHOT);

    a->quiet++;
    rc = bk_journal_each(a->journal, now > BK_RESTORE_ENDED
                                     ? now - BK_RESTORE_ENDED : 0,
                         bk_restore_row, a, err);
    a->quiet--;

    if (rc != 0) {
        return -1;
    }

    if (a->nrestored > 0) {
        h->log(h, BK_LOG_INFO, "the journal holds %u live allocations",
               a->nrestored);
    }

    bk_restore_run(a);

    return 0;
}


/*
 * Most rows need nothing but to be put.  The others are kept for when the
 * journal can be written: it is being read just now.
 */

static int
bk_restore_row(const bk_row_t *row, void *data)
{
    bk_allocator_t *a = data;

    bk_err_t       err;
    bk_pending_t  *p;

    if (row->state >= BK_ALLOC_EXPIRED) {
        bk_restore_ended(a, row);
        return 0;
    }

    a->nrestored++;

    if (row->answered && row->expires_ms > a->host->now_ms(a->host)
        && bk_restore_place(a, row, &err) == 0)
    {
        return 0;
    }

    p = malloc(sizeof(bk_pending_t));

    if (p == NULL) {
        abort();
    }

    p->row = *row;
    TAILQ_INSERT_TAIL(&a->pendings, p, link);

    return 0;
}


/* On its worker, which is started if need be.  -1: 404: not there so far. */

static int
bk_restore_place(bk_allocator_t *a, const bk_row_t *row, bk_err_t *err)
{
    bk_row_t           live;
    const bk_host_t   *h;
    bk_worker_info_t   worker;

    h = a->host;

    if (h->worker_find(h, bk_str(row->pool), bk_str(row->worker), &worker)
        != 0)
    {
        return bk_fail(err, 404, "WorkerNotFound", NULL,
                       "its worker is not known so far");
    }

    live = *row;
    live.state = worker.state == BK_WORKER_READY ? BK_ALLOC_READY
                                                 : BK_ALLOC_STARTING;

    if (worker.state == BK_WORKER_DRAINING
        && bk_drain_find(a, bk_str(row->pool), bk_str(row->worker)) != NULL)
    {
        /* it was ready, and its builds go on */
        live.state = BK_ALLOC_READY;
    }

    if (bk_restore_put(a, &live, err) != 0) {
        return -1;
    }

    if (worker.state == BK_WORKER_STOPPED) {
        /* or its owner sees for itself, when it comes */
        (void) h->worker_want(h, bk_str(row->pool), bk_str(row->worker), 1,
                              NULL);
    }

    return 0;
}


static int
bk_restore_put(bk_allocator_t *a, const bk_row_t *row, bk_err_t *err)
{
    uint8_t          key_hash[32];
    bk_alloc_info_t  info;

    bk_sha256(row->spki, row->spki_len, key_hash);

    info = (bk_alloc_info_t) {
        .hash = row->hash,
        .key_hash = key_hash,
        .pool = bk_str(row->pool),
        .worker = bk_str(row->worker),
        .reason = bk_str(row->reason),
        .expires_ms = row->expires_ms,
        .state = row->state
    };

    return a->host->alloc_put(a->host, &info, err);
}


/*
 * The table may still say that it lives (we died between journal and table),
 * or know nothing of it (it is new): then the gateway could not say why.
 */

static void
bk_restore_ended(bk_allocator_t *a, const bk_row_t *row)
{
    bk_alloc_info_t   info;
    const bk_host_t  *h;

    h = a->host;

    if (h->alloc_find(h, row->hash, &info) != 0) {
        (void) bk_restore_put(a, row, NULL);
        return;
    }

    if (info.state < BK_ALLOC_EXPIRED) {
        (void) h->alloc_end(h, row->hash, row->state, bk_str(row->reason),
                            NULL);
    }
}


/* 1: done with, one way or the other. */

static int
bk_restore_one(bk_allocator_t *a, bk_pending_t *p)
{
    char              id[BK_ID_LEN + 1], reason[BK_TABLE_TEXT_LEN];
    uint64_t          now;
    bk_err_t          err;
    const bk_host_t  *h;
    bk_alloc_info_t   info;

    h = a->host;
    now = h->now_ms(h);
    err = (bk_err_t) { 0 };

    if (p->row.expires_ms <= now) {
        p->row.state = BK_ALLOC_EXPIRED;

        if (bk_wait_end(a->journal, p->row.hash, BK_ALLOC_EXPIRED, "",
                           now, &err) != 0)
        {
            h->log(h, BK_LOG_ERROR, "%s", err.text);
            return 0;
        }

        bk_restore_ended(a, &p->row);
        return 1;
    }

    if (!p->row.answered) {
        /* its caller was left without a word, and asks again */
        p->row.state = BK_ALLOC_RELEASED;
        bk_str_copy(p->row.reason, sizeof(p->row.reason),
                    BK_STR("it was never answered"));

        if (bk_wait_end(a->journal, p->row.hash, BK_ALLOC_RELEASED,
                           p->row.reason, now, &err) != 0)
        {
            h->log(h, BK_LOG_ERROR, "%s", err.text);
            return 0;
        }

        bk_restore_ended(a, &p->row);
        return 1;
    }

    if (h->alloc_find(h, p->row.hash, &info) == 0
        && info.state >= BK_ALLOC_EXPIRED)
    {
        /* it ended in the table and we died before the journal heard */
        bk_str_copy(reason, sizeof(reason), info.reason);

        return bk_wait_end(a->journal, p->row.hash, info.state, reason,
                              now, &err) == 0;
    }

    if (bk_restore_place(a, &p->row, &err) == 0) {
        return 1;
    }

    if (err.code < 500 && err.code != 404) {
        /* its worker failed meanwhile: that will not change */
        return bk_restore_fail(a, p, err.text);
    }

    if (err.code != 404) {
        h->log(h, BK_LOG_WARN, "allocation %s: cannot be put back yet: %s",
               bk_token_id(p->row.hash, id), err.text);
    }

    return 0;
}


/* Journal, then model and table: the gateway can say why.  1: done. */

static int
bk_restore_fail(bk_allocator_t *a, bk_pending_t *p, const char *why)
{
    char              id[BK_ID_LEN + 1];
    bk_err_t          err;
    const bk_host_t  *h;

    h = a->host;

    p->row.state = BK_ALLOC_FAILED;
    bk_str_copy(p->row.reason, sizeof(p->row.reason), bk_str(why));

    h->log(h, BK_LOG_WARN, "allocation %s: cannot be put back: %s",
           bk_token_id(p->row.hash, id), why);

    if (bk_wait_end(a->journal, p->row.hash, BK_ALLOC_FAILED,
                       p->row.reason, h->now_ms(h), &err) != 0)
    {
        h->log(h, BK_LOG_ERROR, "%s", err.text);
        return 0;
    }

    bk_restore_ended(a, &p->row);
    return 1;
}


void
bk_restore_run(bk_allocator_t *a)
{
    bk_pending_t     *p, *next;
    const bk_host_t  *h;

    h = a->host;

    /* who has appeared may be drained */
    bk_drain_run(a);

    for (p = TAILQ_FIRST(&a->pendings); p != NULL; p = next) {
        next = TAILQ_NEXT(p, link);

        if (bk_restore_one(a, p)) {
            bk_restore_drop(a, &p);
        }
    }

    if (a->snapshot && TAILQ_EMPTY(&a->pendings)) {
        a->snapshot = 0;
        h->snapshot_commit(h);
        h->timer_clear(a->restoring);
    }
}


/* First: our list is complete but for these.  Then: they are lost. */

void
bk_restore_give_up(void *data)
{
    bk_allocator_t *a = data;

    char              id[BK_ID_LEN + 1];
    bk_pending_t     *p, *next;
    const bk_host_t  *h;

    static const char  why[] = "its worker does not exist any more";

    h = a->host;

    if (a->snapshot) {
        a->snapshot = 0;
        h->snapshot_commit(h);
        h->timer_set(a->restoring, BK_RESTORE_WORKERS);

        TAILQ_FOREACH(p, &a->pendings, link) {
            h->log(h, BK_LOG_WARN, "allocation %s: waits for worker %s/%s, "
                   "which nobody has announced yet",
                   bk_token_id(p->row.hash, id), p->row.pool, p->row.worker);
        }

        return;
    }

    for (p = TAILQ_FIRST(&a->pendings); p != NULL; p = next) {
        next = TAILQ_NEXT(p, link);

        if (bk_restore_fail(a, p, why)) {
            bk_restore_drop(a, &p);
        }
    }
}


bk_pending_t *
bk_restore_find(bk_allocator_t *a, const uint8_t *hash)
{
    bk_pending_t  *p;

    TAILQ_FOREACH(p, &a->pendings, link) {
        if (memcmp(p->row.hash, hash, BK_TABLE_HASH_LEN) == 0) {
            return p;
        }
    }

    return NULL;
}


int
bk_restore_holds(bk_allocator_t *a, bk_str_t pool, bk_str_t worker)
{
    bk_pending_t  *p;

    TAILQ_FOREACH(p, &a->pendings, link) {
        if (strlen(p->row.worker) == worker.len
            && strlen(p->row.pool) == pool.len
            && memcmp(p->row.worker, worker.data, worker.len) == 0
            && memcmp(p->row.pool, pool.data, pool.len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


void
bk_restore_drop(bk_allocator_t *a, bk_pending_t **p)
{
    TAILQ_REMOVE(&a->pendings, *p, link);
    free(*p);
    *p = NULL;
}
