/*
 * At start: the allocations of the journal go back into our records, the
 * queue and the model, within one snapshot, so that what the route table
 * holds beyond them is ended.
 *
 * A worker may be announced later than we start (its plugin comes after us,
 * or has to ask somebody first).  Records of such workers are kept aside,
 * count as holding their worker, and are put as soon as it appears.
 */

#include <stdlib.h>
#include <string.h>

#include "allocator.h"


#define BK_RESTORE_SNAPSHOT  (10 * BK_SECOND)
#define BK_RESTORE_WORKERS   (300 * BK_SECOND)
#define BK_RESTORE_ENDED     BK_HOUR
#define BK_RESTORE_ENDED_MAX 10000          /* of a million of a busy hour */


static int bk_restore_each(const bk_row_t *row, void *data);
static int bk_restore_over(bk_allocator_t *a, const bk_row_t *row);
static bk_record_t *bk_restore_record(bk_allocator_t *a,
    const bk_row_t *row);
static void bk_restore_queue(bk_allocator_t *a, bk_record_t *rec,
    const bk_row_t *row);
static void bk_restore_seat(bk_allocator_t *a, bk_record_t *rec,
    const bk_row_t *row);
static int bk_restore_place(bk_allocator_t *a, bk_record_t *rec,
    const uint8_t *key_hash, bk_err_t *err);
static int bk_restore_put(bk_allocator_t *a, const bk_row_t *row);
static int bk_restore_one(bk_allocator_t *a, bk_pending_t *p);
static void bk_restore_fail(bk_allocator_t *a, bk_record_t *rec, int state,
    const char *why);


int
bk_restore_start(bk_allocator_t *a, bk_err_t *err)
{
    const bk_host_t  *h;

    h = a->host;

    /* what the table has stays until the journal was read */
    h->snapshot_begin(h);
    a->snapshot = 1;

    return bk_journal_is_ready(a->journal) ? bk_restore_begin(a, err) : 0;
}


int
bk_restore_begin(bk_allocator_t *a, bk_err_t *err)
{
    int               rc;
    uint64_t          now;
    const bk_host_t  *h;

    h = a->host;
    now = h->now_ms(h);

    a->restored = 1;
    a->restoring = h->timer_new(h, bk_restore_give_up, a);
    h->timer_set(a->restoring, BK_RESTORE_SNAPSHOT);

    a->quiet++;
    a->reading = 1;
    rc = bk_journal_each(a->journal, now - BK_RESTORE_ENDED,
                         BK_RESTORE_ENDED_MAX, bk_restore_each, a, err);
    a->reading = 0;
    a->quiet--;

    if (rc != 0) {
        return -1;
    }

    if (a->nrestored > 0) {
        h->log(h, BK_LOG_INFO, "the journal holds %u live allocations, %zu "
               "of them in the queue", a->nrestored,
               bk_queue_total(a->queue));
    }

    a->appeared = 1;
    bk_restore_run(a);
    bk_allocator_kick(a);

    return 0;
}


static int
bk_restore_each(const bk_row_t *row, void *data)
{
    bk_restore_row(data, row);

    return 0;
}


void
bk_restore_row(bk_allocator_t *a, const bk_row_t *row)
{
    bk_record_t  *rec;

    if (row->state >= BK_ALLOC_EXPIRED) {
        bk_restore_ended(a, row);
        return;
    }

    a->nrestored++;

    if (bk_restore_over(a, row)) {
        return;
    }

    rec = bk_restore_record(a, row);

    if (row->worker[0] == '\0') {
        bk_restore_queue(a, rec, row);

    } else {
        bk_restore_seat(a, rec, row);
    }
}


/* 1: its time ran out, or nobody has its token, or the table knows better. */

static int
bk_restore_over(bk_allocator_t *a, const bk_row_t *row)
{
    uint64_t          now;
    bk_row_t          over;
    bk_alloc_info_t   info;
    const bk_host_t  *h;

    h = a->host;
    now = h->now_ms(h);
    over = *row;
    over.changed_ms = now;

    if (row->expires_ms <= now) {
        over.state = BK_ALLOC_EXPIRED;
        over.reason[0] = '\0';

    } else if (a->reading && !row->answered
               && row->idempotency[0] == '\0')
    {
        /* its caller was left without a word, and asks again */
        over.state = BK_ALLOC_RELEASED;
        bk_str_copy(over.reason, sizeof(over.reason),
                    BK_STR("it was never answered"));

    } else if (h->alloc_find(h, row->hash, &info) == 0
               && info.state >= BK_ALLOC_EXPIRED)
    {
        /* it ended in the table and we died before the journal heard */
        over.state = info.state;
        bk_str_copy(over.reason, sizeof(over.reason), info.reason);

    } else {
        return 0;
    }

    bk_journal_end(a->journal, row->hash, over.state, over.reason, now, NULL,
                   NULL);
    bk_restore_ended(a, &over);

    return 1;
}


static bk_record_t *
bk_restore_record(bk_allocator_t *a, const bk_row_t *row)
{
    bk_home_t        *home;
    bk_record_t      *rec;
    bk_queue_user_t  *user;

    home = bk_record_home(a->records, row->pool);
    user = bk_queue_user(a->queue, row->owner, row->rule, row->concurrency);
    rec = bk_record_new(a->records, row->hash, home, user);

    memcpy(rec->nonce, row->nonce, BK_NONCE_LEN);
    rec->created_ms = row->created_ms;
    rec->expires_ms = row->expires_ms;
    rec->ttl_ms = row->ttl_ms;
    rec->max_ttl_ms = row->max_ttl_ms;
    rec->untrusted = row->untrusted != 0;
    rec->answered = row->answered != 0;
    rec->told = rec->answered;
    rec->written = 1;
    rec->stored = 1;

    if (row->idempotency[0] != '\0'
        && bk_record_again(a->records, row->owner, row->pool,
                           row->idempotency) == NULL)
    {
        bk_record_key(a->records, rec, row->idempotency);
    }

    return rec;
}


/* In the order of the journal, which is that of their coming. */

static void
bk_restore_queue(bk_allocator_t *a, bk_record_t *rec, const bk_row_t *row)
{
    bk_ask_t  *ask;

    ask = bk_ask_new(rec);

    bk_sha256(row->spki, row->spki_len, ask->key_hash);
    bk_str_copy(ask->arch, sizeof(ask->arch), bk_str(row->arch));

    if (row->cache_key[0] != '\0') {
        ask->cache_key = bk_strdup(row->cache_key);
    }

    ask->entry.user = rec->user;
    ask->entry.priority = row->priority;
    ask->entry.since_ms = row->created_ms;

    bk_queue_push(rec->home->queue, &ask->entry, ask->arch, rec->untrusted);
    bk_lease_idle(a, ask);

    bk_settle(a, rec);
}


static void
bk_restore_seat(bk_allocator_t *a, bk_record_t *rec, const bk_row_t *row)
{
    uint8_t        key_hash[BK_TABLE_HASH_LEN];
    bk_err_t       err;
    bk_pending_t  *p;

    bk_sha256(row->spki, row->spki_len, key_hash);
    bk_record_sit(rec, bk_record_seat(rec->home, row->worker));
    bk_queue_user_take(rec->user);

    if (!rec->answered) {
        /* its caller comes back, with his idempotencyKey */
        memcpy(bk_ask_new(rec)->key_hash, key_hash, sizeof(key_hash));
        bk_lease_idle(a, rec->ask);
    }

    if (bk_restore_place(a, rec, key_hash, &err) == 0) {
        return;
    }

    p = calloc(1, sizeof(bk_pending_t));

    if (p == NULL) {
        abort();
    }

    p->rec = rec;
    rec->pending = p;
    memcpy(p->key_hash, key_hash, sizeof(key_hash));

    TAILQ_INSERT_TAIL(&rec->seat->pendings, p, link);
    TAILQ_INSERT_TAIL(&a->pendings, p, all);

    if (!a->snapshot) {
        /* somebody else made it while we were running */
        a->host->timer_set(a->restoring, BK_RESTORE_WORKERS);
    }
}


/* On its worker, which is started if need be.  -1: 404: not there so far. */

static int
bk_restore_place(bk_allocator_t *a, bk_record_t *rec,
    const uint8_t *key_hash, bk_err_t *err)
{
    bk_str_t           pool, name;
    const bk_host_t   *h;
    bk_alloc_info_t    info;
    bk_worker_info_t   worker;

    h = a->host;
    pool = bk_str(rec->home->name);
    name = bk_str(rec->seat->name);

    if (h->worker_find(h, pool, name, &worker) != 0) {
        return bk_fail(err, 404, "WorkerNotFound", NULL,
                       "its worker is not known so far");
    }

    info = (bk_alloc_info_t) {
        .hash = rec->hash,
        .key_hash = key_hash,
        .pool = pool,
        .worker = name,
        .expires_ms = rec->expires_ms,
        .state = worker.state == BK_WORKER_READY
                 /* it was ready, and its builds go on */
                 || (worker.state == BK_WORKER_DRAINING
                     && rec->seat->drained)
                 ? BK_ALLOC_READY : BK_ALLOC_STARTING
    };

    if (h->alloc_put(h, &info, err) != 0) {
        return -1;
    }

    if (rec->ended) {
        return 0;
    }

    rec->modelled = 1;
    bk_record_modelled(rec);
    bk_allocator_owner(a, rec);

    if (h->worker_find(h, pool, name, &worker) == 0
        && worker.state == BK_WORKER_STOPPED)
    {
        /* or its owner sees for itself, when it comes */
        (void) h->worker_want(h, pool, name, 1, NULL);
    }

    return 0;
}


static int
bk_restore_put(bk_allocator_t *a, const bk_row_t *row)
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

    return a->host->alloc_put(a->host, &info, NULL);
}


/*
 * The table may still say that it lives (we died between journal and table),
 * or know nothing of it (it is new): then the gateway could not say why.
 */

void
bk_restore_ended(bk_allocator_t *a, const bk_row_t *row)
{
    bk_alloc_info_t   info;
    const bk_host_t  *h;

    h = a->host;

    if (h->alloc_find(h, row->hash, &info) != 0) {
        (void) bk_restore_put(a, row);
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
    char              id[BK_ID_LEN + 1];
    uint8_t           key_hash[BK_TABLE_HASH_LEN];
    bk_err_t          err;
    bk_record_t      *rec;
    const bk_host_t  *h;

    h = a->host;
    rec = p->rec;
    err = (bk_err_t) { 0 };

    if (rec->expires_ms <= h->now_ms(h)) {
        bk_restore_fail(a, rec, BK_ALLOC_EXPIRED, "");
        return 1;
    }

    memcpy(key_hash, p->key_hash, sizeof(key_hash));

    if (bk_restore_place(a, rec, key_hash, &err) == 0) {
        bk_restore_drop(a, rec);
        bk_settle(a, rec);
        return 1;
    }

    if (err.code < 500 && err.code != 404) {
        /* its worker failed meanwhile: that will not change */
        bk_restore_fail(a, rec, BK_ALLOC_FAILED, err.text);
        return 1;
    }

    if (err.code != 404) {
        h->log(h, BK_LOG_WARN, "allocation %s: cannot be put back yet: %s",
               bk_token_id(rec->hash, id), err.text);
    }

    return 0;
}


/* Journal, then model and table: the gateway can say why. */

static void
bk_restore_fail(bk_allocator_t *a, bk_record_t *rec, int state,
    const char *why)
{
    char      id[BK_ID_LEN + 1];
    bk_row_t  row;

    a->host->log(a->host, BK_LOG_WARN, "allocation %s: cannot be put back: "
                 "%s", bk_token_id(rec->hash, id),
                 state == BK_ALLOC_EXPIRED ? "it has expired" : why);

    memset(&row, 0, sizeof(bk_row_t));
    memcpy(row.hash, rec->hash, BK_TABLE_HASH_LEN);
    bk_str_copy(row.pool, sizeof(row.pool), bk_str(rec->home->name));
    bk_str_copy(row.worker, sizeof(row.worker), bk_str(rec->seat->name));
    bk_str_copy(row.reason, sizeof(row.reason), bk_str(why));
    row.expires_ms = rec->expires_ms;
    row.state = state;

    bk_allocator_end(a, rec->hash, state, why, NULL, NULL);
    bk_restore_drop(a, rec);

    a->quiet++;
    bk_restore_ended(a, &row);
    a->quiet--;
}


void
bk_restore_run(bk_allocator_t *a)
{
    bk_pending_t     *p, *next;
    const bk_host_t  *h;

    h = a->host;

    if (a->appeared) {
        a->appeared = 0;

        /* who has appeared may be drained */
        bk_drain_run(a);

        for (p = TAILQ_FIRST(&a->pendings); p != NULL; p = next) {
            next = TAILQ_NEXT(p, all);
            (void) bk_restore_one(a, p);
        }
    }

    if (a->snapshot && a->restored && TAILQ_EMPTY(&a->pendings)) {
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
    bk_pending_t     *p;
    const bk_host_t  *h;

    h = a->host;

    if (a->snapshot) {
        a->snapshot = 0;
        h->snapshot_commit(h);
        h->timer_set(a->restoring, BK_RESTORE_WORKERS);

        TAILQ_FOREACH(p, &a->pendings, all) {
            h->log(h, BK_LOG_WARN, "allocation %s: waits for worker %s/%s, "
                   "which nobody has announced yet",
                   bk_token_id(p->rec->hash, id), p->rec->home->name,
                   p->rec->seat->name);
        }

        return;
    }

    while ((p = TAILQ_FIRST(&a->pendings)) != NULL) {
        bk_restore_fail(a, p->rec, BK_ALLOC_FAILED,
                        "its worker does not exist any more");
    }
}


void
bk_restore_drop(bk_allocator_t *a, bk_record_t *rec)
{
    bk_pending_t  *p;

    p = rec->pending;
    rec->pending = NULL;

    TAILQ_REMOVE(&rec->seat->pendings, p, link);
    TAILQ_REMOVE(&a->pendings, p, all);
    free(p);
}
