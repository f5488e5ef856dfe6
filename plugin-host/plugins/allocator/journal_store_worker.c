/*
 * Workers in the host's store: whether they are drained, and whose they are
 * for good.  What is put is both of it.
 */

#include <stdlib.h>
#include <string.h>

#include "journal_store.h"


static bk_store_worker_t *bk_store_worker(bk_store_hand_t *s,
    const char *pool, const char *worker);
static bk_store_worker_t *bk_store_worker_key(const char *pool,
    const char *worker);
static int bk_store_worker_row(const bk_stored_worker_t *in, void *data);


static bk_store_worker_t *
bk_store_worker_key(const char *pool, const char *worker)
{
    size_t              a, b;
    bk_store_worker_t  *w;

    a = strlen(pool) + 1;
    b = strlen(worker) + 1;
    w = calloc(1, sizeof(bk_store_worker_t) + a + b);

    if (w == NULL) {
        abort();
    }

    memcpy(w->key, pool, a);
    memcpy(w->key + a, worker, b);
    w->len = a + b;

    return w;
}


bk_store_worker_t *
bk_store_worker_find(bk_store_hand_t *s, const char *pool,
    const char *worker)
{
    bk_store_worker_t  *key, *w;

    key = bk_store_worker_key(pool, worker);
    HASH_FIND(hh, s->workers, key->key, key->len, w);
    free(key);

    return w;
}


static bk_store_worker_t *
bk_store_worker(bk_store_hand_t *s, const char *pool, const char *worker)
{
    bk_store_worker_t  *w;

    w = bk_store_worker_find(s, pool, worker);

    if (w == NULL) {
        w = bk_store_worker_key(pool, worker);
        w->k.store = s;
        w->k.worker = 1;
        STAILQ_INIT(&w->k.changes);
        TAILQ_INIT(&w->rows);
        HASH_ADD_KEYPTR(hh, s->workers, w->key, w->len, w);
    }

    return w;
}


/* Its first change, as a whole. */

void
bk_store_worker_put(bk_store_worker_t *w)
{
    bk_change_t         *c;
    bk_store_hand_t     *s;
    bk_stored_worker_t   out;

    s = w->k.store;
    c = STAILQ_FIRST(&w->k.changes);
    w->trust_next = w->trust;
    w->drained_next_ms = w->drained_ms;
    w->drained_next = w->drained == NULL ? NULL : bk_strdup(w->drained);

    if (c->kind == BK_STORE_TRUST) {
        if (w->trust != 0) {
            /* the first one counts */
            bk_store_later(&w->k, NULL);
            return;
        }

        w->trust_next = c->number ? 2 : 1;

    } else if (c->kind == BK_STORE_DRAIN) {
        free(w->drained_next);
        w->drained_next = bk_strdup(c->text);

        if (w->drained == NULL) {
            w->drained_next_ms = c->when_ms;
        }

    } else {
        free(w->drained_next);
        w->drained_next = NULL;
        w->drained_next_ms = 0;
    }

    out = (bk_stored_worker_t) {
        .pool = bk_str(w->key),
        .worker = bk_str(w->key + strlen(w->key) + 1),
        .drained = bk_str(w->drained_next == NULL ? "" : w->drained_next),
        .drained_ms = w->drained_next_ms,
        .trust = w->trust_next
    };

    s->host->store_worker(s->host, &out, bk_store_done, &w->k);
}


/* Rows that waited go on, or fail with it. */

void
bk_store_worker_over(bk_store_worker_t *w, const bk_err_t *err)
{
    bk_keeper_t  *k;

    if (err == NULL) {
        free(w->drained);
        w->drained = w->drained_next;
        w->drained_ms = w->drained_next_ms;
        w->trust = w->trust_next;

    } else {
        free(w->drained_next);
    }

    w->drained_next = NULL;

    if (err == NULL && !STAILQ_EMPTY(&w->k.changes)) {
        return;
    }

    while ((k = TAILQ_FIRST(&w->rows)) != NULL) {
        TAILQ_REMOVE(&w->rows, k, link);

        if (err != NULL) {
            if (!w->k.store->closing) {
                bk_store_later(k, err);
            }

        } else {
            k->busy = 0;
            bk_store_start(k);
        }
    }
}


void
bk_store_worker_load(bk_store_hand_t *s)
{
    (void) s->host->store_workers(s->host, bk_store_worker_row, s);
}


static int
bk_store_worker_row(const bk_stored_worker_t *in, void *data)
{
    char                pool[BK_TABLE_POOL_LEN], worker[BK_TABLE_NAME_LEN];
    char                reason[BK_TABLE_TEXT_LEN];
    bk_store_worker_t  *w;

    if (in->pool.len >= sizeof(pool) || in->worker.len >= sizeof(worker)) {
        return 0;
    }

    bk_str_copy(pool, sizeof(pool), in->pool);
    bk_str_copy(worker, sizeof(worker), in->worker);
    bk_str_copy(reason, sizeof(reason), in->drained);

    w = bk_store_worker(data, pool, worker);

    if (!STAILQ_EMPTY(&w->k.changes)) {
        return 0;
    }

    free(w->drained);
    w->drained = in->drained_ms == 0 ? NULL : bk_strdup(reason);
    w->drained_ms = in->drained_ms;
    w->trust = in->trust;

    return 0;
}


void
bk_store_workers_free(bk_store_hand_t *s)
{
    bk_store_worker_t  *w, *next;

    HASH_ITER(hh, s->workers, w, next) {
        HASH_DEL(s->workers, w);
        free(w->drained);
        free(w->drained_next);
        free(w->k.err);
        free(w);
    }
}


void
bk_store_trust(void *back, const char *pool, const char *worker,
    int untrusted, bk_journal_pt done, void *data)
{
    bk_change_t  *c;

    c = bk_store_change(BK_STORE_TRUST, done, data);
    c->number = untrusted != 0;
    bk_store_ask(&bk_store_worker(back, pool, worker)->k, c);
}


int
bk_store_trusted(void *back, bk_trust_pt fn, void *data, bk_err_t *err)
{
    bk_store_hand_t    *s = back;
    bk_store_worker_t  *w, *next;

    (void) err;

    HASH_ITER(hh, s->workers, w, next) {
        if (w->trust != 0) {
            fn(w->key, w->key + strlen(w->key) + 1, w->trust == 2, data);
        }
    }

    return 0;
}


void
bk_store_drain(void *back, const char *pool, const char *worker,
    const char *reason, uint64_t since_ms, bk_journal_pt done, void *data)
{
    bk_change_t  *c;

    c = bk_store_change(BK_STORE_DRAIN, done, data);
    c->text = bk_strdup(reason);
    c->when_ms = since_ms;
    bk_store_ask(&bk_store_worker(back, pool, worker)->k, c);
}


void
bk_store_undrain(void *back, const char *pool, const char *worker,
    bk_journal_pt done, void *data)
{
    bk_store_ask(&bk_store_worker(back, pool, worker)->k,
                 bk_store_change(BK_STORE_UNDRAIN, done, data));
}


int
bk_store_drained(void *back, bk_drained_pt fn, void *data, bk_err_t *err)
{
    bk_store_hand_t    *s = back;
    bk_store_worker_t  *w, *next;

    (void) err;

    HASH_ITER(hh, s->workers, w, next) {
        if (w->drained != NULL) {
            fn(w->key, w->key + strlen(w->key) + 1, w->drained,
               w->drained_ms, data);
        }
    }

    return 0;
}
