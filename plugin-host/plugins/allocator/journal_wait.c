/*
 * See journal_wait.h: holds up the loop, and goes when nobody needs it.
 */

#include <string.h>

#include "journal_int.h"
#include "journal_wait.h"


typedef struct {
    int        done;
    int        rc;
    bk_err_t  *err;
} bk_wait_t;

typedef struct {
    int          n;
    const char  *pool;
    const char  *key;
    bk_row_t    *row;
} bk_wait_key_t;


static void bk_wait_done(void *data, const bk_err_t *err);
static int bk_wait(bk_journal_t *j, bk_wait_t *w);
static int bk_wait_row(const bk_row_t *row, void *data);


static void
bk_wait_done(void *data, const bk_err_t *err)
{
    bk_wait_t *w = data;

    w->done = 1;

    if (err != NULL) {
        w->rc = -1;

        if (w->err != NULL) {
            *w->err = *err;
        }
    }
}


static int
bk_wait(bk_journal_t *j, bk_wait_t *w)
{
    bk_journal_hand_over(j);

    while (!w->done) {
        (void) pthread_mutex_lock(&j->lock);

        while (STAILQ_EMPTY(&j->finished)
               && (j->busy || !STAILQ_EMPTY(&j->queue)))
        {
            (void) pthread_cond_wait(&j->rest, &j->lock);
        }

        (void) pthread_mutex_unlock(&j->lock);
        bk_journal_deliver(j);
    }

    return w->rc;
}


int
bk_wait_insert(bk_journal_t *j, const bk_row_t *row, bk_err_t *err)
{
    bk_wait_t  w = { 0, 0, err };

    bk_journal_insert(j, row, bk_wait_done, &w);
    return bk_wait(j, &w);
}


int
bk_wait_end(bk_journal_t *j, const uint8_t *hash, int state,
    const char *reason, uint64_t now_ms, bk_err_t *err)
{
    bk_wait_t  w = { 0, 0, err };

    bk_journal_end(j, hash, state, reason, now_ms, bk_wait_done, &w);
    return bk_wait(j, &w);
}


int
bk_wait_extend(bk_journal_t *j, const uint8_t *hash, uint64_t expires_ms,
    uint64_t now_ms, bk_err_t *err)
{
    bk_wait_t  w = { 0, 0, err };

    bk_journal_extend(j, hash, expires_ms, now_ms, bk_wait_done, &w);
    return bk_wait(j, &w);
}


int
bk_wait_answered(bk_journal_t *j, const uint8_t *hash, bk_err_t *err)
{
    bk_wait_t  w = { 0, 0, err };

    bk_journal_answered(j, hash, bk_wait_done, &w);
    return bk_wait(j, &w);
}


static int
bk_wait_row(const bk_row_t *row, void *data)
{
    bk_wait_key_t *k = data;

    if (row->state >= BK_ALLOC_EXPIRED) {
        return 1;
    }

    if (strcmp(row->pool, k->pool) == 0
        && strcmp(row->idempotency, k->key) == 0)
    {
        *k->row = *row;
        k->n = 1;
        return 1;
    }

    return 0;
}


int
bk_wait_idempotent(bk_journal_t *j, const char *pool, const char *key,
    bk_row_t *row, bk_err_t *err)
{
    bk_wait_key_t  k = { 0, pool, key, row };

    return bk_journal_each(j, UINT64_MAX >> 1, bk_wait_row, &k, err) != 0
           ? -1 : k.n;
}


int
bk_wait_drain(bk_journal_t *j, const bk_drain_t *d, bk_err_t *err)
{
    bk_wait_t  w = { 0, 0, err };

    bk_journal_drain(j, d->pool, d->worker, d->reason, d->since_ms,
                     bk_wait_done, &w);
    return bk_wait(j, &w);
}


int
bk_wait_undrain(bk_journal_t *j, const char *pool, const char *worker,
    bk_err_t *err)
{
    bk_wait_t  w = { 0, 0, err };

    bk_journal_undrain(j, pool, worker, bk_wait_done, &w);
    return bk_wait(j, &w);
}
