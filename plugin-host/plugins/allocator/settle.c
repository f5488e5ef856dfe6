/*
 * What the journal has written goes into the model, and so into the table;
 * then whoever waits for it is answered.
 *
 * bk_settle() may be called at any time and as often as one likes: it looks
 * at how far a record is and does what can be done next.  The steps are in
 * this order, and each but the first two waits for the disk: reserved,
 * written, in the model, answered.
 */

#include <stdlib.h>
#include <string.h>

#include "allocator.h"


#define BK_BACK_MAX     3       /* workers that fail under one */
#define BK_BACK_RETRY   BK_SECOND
#define BK_TAKEN        (2 * BK_SECOND)


static int bk_settle_put(bk_allocator_t *a, bk_record_t *rec);
static int bk_settle_state(bk_allocator_t *a, const bk_record_t *rec,
    char *why, size_t size);
static void bk_settle_back(bk_allocator_t *a, bk_record_t *rec,
    const char *why);
static int bk_settle_taken(bk_allocator_t *a, bk_record_t *rec,
    const bk_err_t *err);
static void bk_settle_unplaced(void *data, const bk_err_t *err);
static void bk_settle_refused(bk_allocator_t *a, bk_record_t *rec,
    const bk_err_t *err);
static void bk_settle_look(bk_allocator_t *a, bk_record_t *rec);
static void bk_settle_answered(void *data, const bk_err_t *err);


/* The row is in the journal, or could not be written. */

void
bk_settle_written(void *data, const bk_err_t *err)
{
    bk_step_t *step = data;

    bk_call_t  *c;

    if (err == NULL) {
        step->rec->stored = 1;
        bk_settle(step->a, step->rec);

    } else if (!step->rec->ended && !step->rec->ending
               && bk_settle_taken(step->a, step->rec, err)
               && step->rec->ask->call != NULL)
    {
        /* nothing was written: once more, and from the queue */
        bk_record_rise(step->rec);
        bk_queue_user_give(step->rec->user);
        step->rec->expires_ms = step->rec->created_ms + BK_QUEUE_MAX;
        bk_queue_push(step->rec->home->queue, &step->rec->ask->entry,
                      step->rec->ask->arch, step->rec->untrusted);
        bk_make_insert(step->rec->ask->call);
        bk_allocator_kick(step->a);

    } else if (!step->rec->ended) {
        c = step->rec->ask == NULL ? NULL : step->rec->ask->call;
        bk_settle_over(step->a, step->rec, BK_ALLOC_FREE, NULL);

        if (c != NULL) {
            bk_call_fail(&c, err);
        }
    }

    bk_step_free(step);
}


/* So is its worker. */

void
bk_settle_placed(void *data, const bk_err_t *err)
{
    bk_step_t *step = data;

    bk_record_t     *rec;
    bk_allocator_t  *a;

    a = step->a;
    rec = step->rec;
    rec->placing = 0;

    if (rec->ended || rec->ending || rec->seat == NULL) {
        bk_step_free(step);
        return;
    }

    if (err == NULL) {
        bk_settle(a, rec);

    } else {
        if (!bk_settle_taken(a, rec, err)) {
            a->host->log(a->host, BK_LOG_ERROR, "%s; trying again",
                         err->text);
        }

        bk_settle_back(a, rec, NULL);

        if (!a->stopping) {
            a->host->timer_set(a->kick, BK_BACK_RETRY);
        }
    }

    bk_step_free(step);
}


/* Of two controllers the other one was first, or that one's row is refused:
 * not that worker, for now. */

static int
bk_settle_taken(bk_allocator_t *a, bk_record_t *rec, const bk_err_t *err)
{
    char  id[BK_ID_LEN + 1];

    if (err->code >= 500 || rec->seat == NULL) {
        return 0;
    }

    rec->seat->taken_ms = a->host->monotonic_ms(a->host) + BK_TAKEN;

    if (strcmp(err->reason, "WorkerTaken") != 0) {
        return 0;
    }

    a->host->log(a->host, BK_LOG_INFO, "allocation %s: %s; in the queue again",
                 bk_token_id(rec->hash, id), err->text);

    return 1;
}


void
bk_settle(bk_allocator_t *a, bk_record_t *rec)
{
    if (rec->ended || rec->ending || !rec->stored) {
        return;
    }

    bk_record_ref(rec);

    if (rec->pending != NULL || bk_settle_put(a, rec) == 0) {
        bk_settle_look(a, rec);
    }

    bk_record_unref(&rec);
}


/* -1: that did not work, and has been dealt with. */

static int
bk_settle_put(bk_allocator_t *a, bk_record_t *rec)
{
    int               placed, found;
    char              why[BK_TABLE_MESSAGE_LEN];
    uint8_t           key_hash[BK_TABLE_HASH_LEN];
    bk_err_t          err;
    bk_alloc_info_t   info;
    const bk_host_t  *h;

    h = a->host;
    placed = rec->seat != NULL && !rec->placing;
    found = h->alloc_find(h, rec->hash, &info) == 0;

    if (found && info.state >= BK_ALLOC_EXPIRED) {
        return -1;
    }

    /* one that the table still had is put again: the snapshot counts it */

    if (found && rec->modelled && (!placed || info.worker.len > 0)) {
        return 0;
    }

    if (found && rec->modelled) {
        memcpy(key_hash, info.key_hash, sizeof(key_hash));

    } else {
        memcpy(key_hash, rec->ask->key_hash, sizeof(key_hash));
    }

    info = (bk_alloc_info_t) {
        .hash = rec->hash,
        .key_hash = key_hash,
        .pool = bk_str(rec->home->name),
        .worker = placed ? bk_str(rec->seat->name) : BK_STR(""),
        .expires_ms = placed ? rec->expires_ms
                             : rec->created_ms + BK_QUEUE_MAX,
        .state = placed ? bk_settle_state(a, rec, why, sizeof(why))
                        : BK_ALLOC_QUEUED
    };

    if (info.state == BK_ALLOC_FREE) {
        bk_settle_back(a, rec, why[0] == '\0' ? NULL : why);
        return -1;
    }

    if (h->alloc_put(h, &info, &err) != 0) {
        if (!placed && err.code == 404 && rec->ask->call == NULL) {
            /* restored before its pool is there: see bk_lease_sweep() */
            return 0;
        }

        if (placed && err.code != 503) {
            bk_settle_back(a, rec, err.text);

        } else {
            bk_settle_refused(a, rec, &err);
        }

        return -1;
    }

    if (rec->ended) {
        return -1;
    }

    if (!rec->modelled) {
        bk_allocator_owner(a, rec);
    }

    rec->modelled = 1;

    if (placed) {
        bk_record_modelled(rec);
    }

    bk_watch_changed(a, rec);

    return 0;
}


/* FREE: its worker cannot have it any more; why: for it failed. */

static int
bk_settle_state(bk_allocator_t *a, const bk_record_t *rec, char *why,
    size_t size)
{
    bk_worker_info_t  worker;

    why[0] = '\0';

    if (rec->seat->drained
        || a->host->worker_find(a->host, bk_str(rec->home->name),
                                bk_str(rec->seat->name), &worker) != 0)
    {
        return BK_ALLOC_FREE;
    }

    if (worker.state == BK_WORKER_FAILED) {
        bk_str_copy(why, size, worker.message);
        return BK_ALLOC_FREE;
    }

    return worker.state == BK_WORKER_READY ? BK_ALLOC_READY
                                           : BK_ALLOC_STARTING;
}


/*
 * Its worker went away, or failed, before it was there: in the queue again,
 * in its place.
 */

static void
bk_settle_back(bk_allocator_t *a, bk_record_t *rec, const char *why)
{
    bk_err_t   err;
    bk_ask_t  *ask;

    ask = rec->ask;

    if (why != NULL && ++ask->backs >= BK_BACK_MAX) {
        (void) bk_fail(&err, 503, "WorkerFailed",
                       "look at the worker's log; bkctl workers shows its "
                       "state",
                       "no worker of pool %s could be used: %s",
                       rec->home->name, why);
        bk_settle_refused(a, rec, &err);
        return;
    }

    bk_record_rise(rec);
    bk_queue_user_give(rec->user);

    rec->expires_ms = rec->created_ms + BK_QUEUE_MAX;
    bk_settle_unplace(a, rec);

    bk_queue_push(rec->home->queue, &ask->entry, ask->arch, rec->untrusted);
    bk_allocator_kick(a);
}


/* Else a restart would put it on that worker, which may be another's. */

void
bk_settle_unplace(bk_allocator_t *a, bk_record_t *rec)
{
    bk_journal_place(a->journal, rec->hash, "", rec->expires_ms,
                     a->host->now_ms(a->host), bk_settle_unplaced,
                     bk_step_new(a, rec));
}


static void
bk_settle_unplaced(void *data, const bk_err_t *err)
{
    bk_step_t *step = data;

    bk_allocator_t  *a;

    a = step->a;

    if (err == NULL || a->stopping) {
        bk_step_free(step);
        return;
    }

    TAILQ_INSERT_TAIL(&a->astray, step, link);

    /* else when it is */
    if (bk_journal_is_ready(a->journal)) {
        a->host->log(a->host, BK_LOG_ERROR, "%s; trying again", err->text);
        a->host->timer_set(a->flush, BK_BACK_RETRY);
    }
}


/* It is in the journal, and cannot be anywhere else. */

static void
bk_settle_refused(bk_allocator_t *a, bk_record_t *rec, const bk_err_t *err)
{
    bk_ask_t   *ask;
    bk_call_t  *c;

    ask = rec->ask;
    c = ask == NULL ? NULL : ask->call;

    bk_journal_end(a->journal, rec->hash, BK_ALLOC_FAILED, err->text,
                   a->host->now_ms(a->host), NULL, NULL);

    if (rec->modelled) {
        a->quiet++;
        (void) a->host->alloc_end(a->host, rec->hash, BK_ALLOC_FAILED,
                                  bk_str(err->text), NULL);
        a->quiet--;
        return;
    }

    bk_settle_over(a, rec, BK_ALLOC_FREE, NULL);

    if (c != NULL) {
        bk_call_fail(&c, err);
    }
}


/* Can somebody be answered? */

static void
bk_settle_look(bk_allocator_t *a, bk_record_t *rec)
{
    bk_err_t          err;
    bk_call_t        *c;
    bk_alloc_info_t   info;

    if (rec->ask == NULL) {
        return;
    }

    c = rec->ask->call;

    if (c == NULL) {
        bk_settle_rest(a, rec);
        return;
    }

    if (a->host->alloc_find(a->host, rec->hash, &info) != 0) {
        /* it waits for its worker to be announced */
        info = (bk_alloc_info_t) { .state = BK_ALLOC_STARTING };
    }

    if (rec->placing || c->rekey != NULL
        || (info.state != BK_ALLOC_READY && info.state != BK_ALLOC_DRAINING
            && !c->due))
    {
        /* a worker that is being written down is worth a moment */
        return;
    }

    if (rec->answered) {
        bk_answer(c, info.state);
        return;
    }

    if (rec->seat == NULL && bk_pick_broken(a, rec, &err) != 0) {
        bk_call_fail(&c, &err);
        bk_allocator_end(a, rec->hash, BK_ALLOC_RELEASED,
                         strcmp(err.reason, "GatewayNotReady") == 0
                             ? "its gateway was not ready" : "no worker works",
                         NULL, NULL);
        return;
    }

    if (!rec->answering) {
        rec->answering = 1;
        bk_journal_answered(a->journal, rec->hash, bk_settle_answered,
                            bk_step_new(a, rec));
    }
}


static void
bk_settle_answered(void *data, const bk_err_t *err)
{
    bk_step_t *step = data;

    bk_call_t       *c;
    bk_record_t     *rec;
    bk_allocator_t  *a;

    a = step->a;
    rec = step->rec;
    rec->answering = 0;

    if (err == NULL) {
        rec->answered = 1;
        bk_settle(a, rec);

    } else if (!rec->ended && !rec->ending) {
        c = rec->ask == NULL ? NULL : rec->ask->call;

        if (c != NULL) {
            bk_call_fail(&c, err);
        }

        bk_allocator_end(a, rec->hash, BK_ALLOC_RELEASED,
                         "it could not be journalled", NULL, NULL);
    }

    bk_step_free(step);
}


/* Nobody waits in a call: what is kept of what was asked for? */

void
bk_settle_rest(bk_allocator_t *a, bk_record_t *rec)
{
    bk_ask_t  *ask;

    ask = rec->ask;

    if (ask == NULL || ask->call != NULL || rec->ended || rec->ending) {
        return;
    }

    if (rec->told && rec->seat != NULL && !rec->placing
        && (rec->modelled || rec->pending != NULL) && !rec->reserved)
    {
        bk_lease_busy(a, ask);
        rec->ask = NULL;
        bk_ask_free(&ask);
        return;
    }

    if (!ask->idle) {
        bk_lease_idle(a, ask);
    }
}


/* Everything that it held is free.  FREE: it never began. */

void
bk_settle_over(bk_allocator_t *a, bk_record_t *rec, int state,
    const char *why)
{
    bk_ask_t   *ask;
    bk_call_t  *c;

    if (rec->ended) {
        return;
    }

    bk_record_ref(rec);
    ask = rec->ask;

    if (ask != NULL) {
        c = ask->call;
        ask->call = NULL;

        bk_queue_drop(&ask->entry);
        bk_lease_busy(a, ask);
        rec->ask = NULL;
        bk_ask_free(&ask);

        if (c != NULL) {
            bk_record_unref(&c->rec);

            if (state != BK_ALLOC_FREE) {
                bk_call_over(c, state, why);
            }
        }
    }

    if (rec->pending != NULL) {
        bk_restore_drop(a, rec);
    }

    if (rec->seat != NULL) {
        bk_queue_released(rec->home->queue, a->host->now_ms(a->host));
        bk_record_rise(rec);
        bk_queue_user_give(rec->user);
    }

    bk_queue_wet(rec->home->queue);

    if (state != BK_ALLOC_FREE) {
        bk_watch_changed(a, rec);
    }

    bk_record_remove(a->records, rec);
    bk_record_unref(&rec);

    bk_allocator_kick(a);
}
