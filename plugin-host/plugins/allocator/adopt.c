/*
 * The journal in the host's store: it becomes ready, or not any more, and
 * others write into it.
 *
 * While it is not ready nobody is given anything: who waits is sent away, and
 * what ends is written later.  What others have written is taken over as it
 * is, since the store is what all of us agree upon.
 */

#include <string.h>

#include "allocator.h"


static void bk_adopt_ready(bk_allocator_t *a);
static void bk_adopt_new(bk_allocator_t *a, const bk_row_t *row);
static void bk_adopt_ended(bk_allocator_t *a, bk_record_t *rec,
    const bk_row_t *row);
static void bk_adopt_worker(bk_allocator_t *a, bk_record_t *rec,
    const bk_row_t *row);


void
bk_adopt_store(void *ctx, int ready)
{
    bk_allocator_t *a = ctx;

    bk_err_t  err;

    if (a->journal == NULL || a->stopping) {
        return;
    }

    /* what others changed comes to bk_adopt_changed() from within */
    bk_journal_store_is(a->journal, ready);

    if (ready) {
        bk_adopt_ready(a);
        return;
    }

    a->host->log(a->host, BK_LOG_WARN, "the store of allocations is not "
                 "ready any more: who waits is sent away");

    (void) bk_fail(&err, 503, "StoreNotReady", "try again in a moment",
                   "the store of allocations is not ready any more");
    bk_call_drop_all(a, &err);
}


static void
bk_adopt_ready(bk_allocator_t *a)
{
    bk_err_t  err;

    /* somebody else may have added to both */
    if (bk_allocator_load(a, &err) != 0
        || (!a->restored && bk_restore_begin(a, &err) != 0))
    {
        /* of a store there is nothing that can fail */
        a->host->log(a->host, BK_LOG_ERROR, "%s", err.text);
        return;
    }

    a->host->log(a->host, BK_LOG_INFO, "the store of allocations is ready");
    bk_allocator_flush(a);
    bk_lease_arm(a);
    bk_allocator_kick(a);
}


void
bk_adopt_told(void *ctx, const bk_stored_t *row)
{
    bk_allocator_t *a = ctx;

    if (a->journal != NULL && !a->stopping) {
        bk_journal_store_told(a->journal, row);
    }
}


/* Somebody else wrote this row. */

void
bk_adopt_changed(const bk_row_t *row, void *data)
{
    bk_allocator_t *a = data;

    char          id[BK_ID_LEN + 1];
    bk_record_t  *rec;

    rec = bk_record_find(a->records, row->hash);

    a->host->log(a->host, BK_LOG_INFO, "allocation %s: somebody else says "
                 "that it is %s%s%s", bk_token_id(row->hash, id),
                 bk_state_name(row->state),
                 row->worker[0] == '\0' ? "" : " on ", row->worker);

    if (row->state >= BK_ALLOC_EXPIRED) {
        bk_adopt_ended(a, rec, row);
        return;
    }

    if (rec == NULL) {
        bk_adopt_new(a, row);
        return;
    }

    if (rec->ending || rec->ended || !rec->stored) {
        /* ours goes after it */
        return;
    }

    if (row->answered) {
        rec->answered = 1;
    }

    if (strcmp(row->worker, rec->seat == NULL ? "" : rec->seat->name) != 0) {
        bk_adopt_worker(a, rec, row);
        return;
    }

    if (rec->seat != NULL && rec->expires_ms != row->expires_ms) {
        bk_renew_adopt(a, rec, row->expires_ms);
    }
}


/*
 * Its caller waits at another controller, which sees to it: here it must not
 * be let go because nobody asks for it.
 */

static void
bk_adopt_new(bk_allocator_t *a, const bk_row_t *row)
{
    bk_row_t  copy;

    if (row->worker[0] == '\0' && !row->answered) {
        return;
    }

    copy = *row;
    copy.answered = 1;
    bk_restore_row(a, &copy);
    bk_allocator_kick(a);
}


static void
bk_adopt_ended(bk_allocator_t *a, bk_record_t *rec, const bk_row_t *row)
{
    a->quiet++;
    bk_restore_ended(a, row);
    a->quiet--;

    /* unless the model has told us */
    rec = rec == NULL ? NULL : bk_record_find(a->records, row->hash);

    if (rec != NULL) {
        bk_settle_over(a, rec, row->state, row->reason);
    }
}


/*
 * One that waits has got a worker: another controller gave it, or a change
 * of ours was kept of which we were told that it failed.  One that has a
 * worker never gets another.
 */

static void
bk_adopt_worker(bk_allocator_t *a, bk_record_t *rec, const bk_row_t *row)
{
    if (rec->seat != NULL || row->worker[0] == '\0') {
        bk_allocator_end(a, rec->hash, BK_ALLOC_FAILED,
                         "somebody else changed its worker", NULL, NULL);
        return;
    }

    if (rec->ask != NULL) {
        bk_queue_drop(&rec->ask->entry);
    }

    bk_queue_user_take(rec->user);
    bk_record_sit(rec, bk_record_seat(rec->home, row->worker));
    rec->expires_ms = row->expires_ms;
    bk_allocator_later(a, rec);
}
