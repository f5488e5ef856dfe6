/*
 * Facts about allocations: see model.h.  What is asked for is checked in
 * model_check.c, and their time runs out in model_due.c.
 */

#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "log.h"
#include "model_int.h"


/* A full bucket does not always hold an ended one: do not empty the table. */
#define BK_MODEL_EVICT_MAX  8


static int bk_model_alloc_make(bk_model_t *m, bk_owner_t *o,
    const bk_alloc_info_t *info, bk_pool_t *p, bk_worker_t *w, int state,
    bk_err_t *err);
static int bk_model_alloc_change(bk_model_t *m, bk_owner_t *o, bk_alloc_t *a,
    const bk_alloc_info_t *info, bk_pool_t *p, bk_worker_t *w, int state,
    bk_err_t *err);
static int bk_model_alloc_insert(bk_model_t *m, bk_alloc_t *a, bk_err_t *err);
static void bk_model_alloc_table(const bk_alloc_t *a, bk_table_alloc_t *out);
static void bk_model_alloc_update(bk_model_t *m, bk_alloc_t *a);
static void bk_model_alloc_detach(bk_model_t *m, bk_alloc_t *a);


int
bk_model_alloc_put(bk_model_t *m, const void *owner,
    const bk_alloc_info_t *info, bk_err_t *err)
{
    int           state, rc;
    bk_pool_t    *p = NULL;
    bk_alloc_t   *a;
    bk_owner_t   *o = bk_model_owner(m, owner);
    bk_worker_t  *w = NULL;

    if (info->hash == NULL) {
        return bk_err_set(err, 400, "BadAllocation", "it has no hash");
    }

    HASH_FIND(hh, m->allocs, info->hash, BK_TABLE_HASH_LEN, a);

    if (a != NULL) {
        if (bk_model_may(o, a->owner, "the allocation", err) != 0) {
            return -1;
        }

        if (bk_alloc_ended(a->state)) {
            a->owner = o;
            a->mark = o->mark;

            if (bk_alloc_ended(info->state)) {
                return 0;
            }

            bk_err_set(err, 409, "Ended", "allocation %02x%02x%02x%02x%02x%02x "
                       "has ended (%s)", a->hash[0], a->hash[1], a->hash[2],
                       a->hash[3], a->hash[4], a->hash[5],
                       bk_alloc_state_name(a->state));
            return bk_err_hint(err, "it cannot be brought back; make another");
        }
    }

    if (bk_model_alloc_check(m, info, a, &p, &w, err) != 0) {
        return -1;
    }

    state = bk_model_alloc_fit(info, w, bk_model_now_ms());

    bk_model_enter(m);

    if (a == NULL) {
        rc = bk_model_alloc_make(m, o, info, p, w, state, err);

    } else {
        rc = bk_model_alloc_change(m, o, a, info, p, w, state, err);
    }

    bk_model_leave(m);

    return rc;
}


int
bk_model_alloc_end(bk_model_t *m, const uint8_t *hash, int state,
    bk_str_t reason, bk_err_t *err)
{
    char        *text;
    bk_alloc_t  *a;

    if (!bk_alloc_ended(state) || state >= BK_ALLOC_STATES) {
        return bk_err_set(err, 400, "BadState", "%d does not end an "
                          "allocation", state);
    }

    HASH_FIND(hh, m->allocs, hash, BK_TABLE_HASH_LEN, a);

    if (a == NULL) {
        return bk_err_set(err, 404, "AllocationNotFound",
                          "there is no such allocation");
    }

    if (bk_alloc_ended(a->state)) {
        return 0;
    }

    text = bk_model_alloc_text(reason);

    bk_model_enter(m);
    bk_model_alloc_finish(m, a, state, text);
    bk_model_leave(m);

    free(text);

    return 0;
}


static int
bk_model_alloc_make(bk_model_t *m, bk_owner_t *o, const bk_alloc_info_t *info,
    bk_pool_t *p, bk_worker_t *w, int state, bk_err_t *err)
{
    bk_alloc_t  *a;

    a = calloc(1, sizeof(bk_alloc_t));
    if (a == NULL) {
        abort();
    }

    memcpy(a->hash, info->hash, BK_TABLE_HASH_LEN);

    if (info->key_hash != NULL) {
        memcpy(a->key_hash, info->key_hash, BK_TABLE_HASH_LEN);
        a->bound = 1;
    }

    a->refs = 1;
    a->owner = o;
    a->mark = o->mark;
    a->state = (uint8_t) state;
    a->expires_ms = info->expires_ms;
    a->changed_ms = bk_model_now_ms();
    a->reason = bk_model_alloc_text(bk_model_drain_why(info, w, state,
                                                       &a->drained));
    a->pool = p;
    p->refs++;

    if (w != NULL) {
        a->worker = w;
        w->refs++;
    }

    if (bk_model_alloc_insert(m, a, err) != 0) {
        bk_model_alloc_unref(a);
        return -1;
    }

    HASH_ADD(hh, m->allocs, hash, BK_TABLE_HASH_LEN, a);
    bk_model_alloc_attach(m, a);
    m->stats.made++;

    if (bk_alloc_ended(state)) {
        m->stats.ended[state]++;
    }

    bk_model_note(m, NULL, NULL, a, 0, 0);

    return 0;
}


static int
bk_model_alloc_change(bk_model_t *m, bk_owner_t *o, bk_alloc_t *a,
    const bk_alloc_info_t *info, bk_pool_t *p, bk_worker_t *w, int state,
    bk_err_t *err)
{
    int           same, rekeyed, old_state = a->state;
    char         *reason;
    bk_pool_t    *old_pool = a->pool;
    bk_worker_t  *old_worker = a->worker;

    if ((info->key_hash != NULL) != a->bound) {
        bk_err_set(err, 409, "KeyBound", "allocation "
                   "%02x%02x%02x%02x%02x%02x is bound to a key or is not",
                   a->hash[0], a->hash[1], a->hash[2], a->hash[3], a->hash[4],
                   a->hash[5]);
        return bk_err_hint(err, "end it and make another");
    }

    rekeyed = a->bound
              && memcmp(info->key_hash, a->key_hash, BK_TABLE_HASH_LEN) != 0;

    if (rekeyed) {
        /* its owner gave it to the same caller once more */
        memcpy(a->key_hash, info->key_hash, BK_TABLE_HASH_LEN);
        bk_table_alloc_rekey(m->table, a->index, a->key_hash);
    }

    a->owner = o;
    a->mark = o->mark;

    if (bk_alloc_ended(state)) {
        reason = bk_model_alloc_text(info->reason);
        bk_model_alloc_finish(m, a, state, reason);
        free(reason);
        return 0;
    }

    reason = bk_model_alloc_text(bk_model_drain_why(info, w, state,
                                                    &a->drained));
    same = strcmp(reason != NULL ? reason : "",
                  a->reason != NULL ? a->reason : "")
           == 0;
    free(a->reason);
    a->reason = reason;

    if (old_pool == p && old_worker == w && old_state == state && same
        && !rekeyed && a->expires_ms == info->expires_ms)
    {
        return 0;
    }

    bk_model_alloc_detach(m, a);

    p->refs++;
    a->pool = p;

    if (w != NULL) {
        w->refs++;
    }

    a->worker = w;
    a->state = (uint8_t) state;
    a->expires_ms = info->expires_ms;

    if (old_state != state) {
        a->changed_ms = bk_model_now_ms();
    }

    bk_model_alloc_update(m, a);

    bk_model_alloc_attach(m, a);

    /* only now: they are compared above */
    if (old_worker != NULL) {
        bk_model_worker_unref(old_worker);
    }

    if (old_pool != NULL) {
        bk_model_pool_unref(old_pool);
    }

    bk_model_note(m, NULL, NULL, a, old_state, 0);

    return 0;
}


/* Puts it on the lists that it belongs to by its state. */

void
bk_model_alloc_attach(bk_model_t *m, bk_alloc_t *a)
{
    if (a->pool != NULL) {
        a->pool->counts[a->state]++;
    }

    if (bk_alloc_ended(a->state)) {
        DL_APPEND(m->ended, a);
        bk_heap_set(&m->due, &a->due, a->changed_ms + m->conf.keep_ended_ms);

    } else {
        if (a->worker != NULL) {
            DL_APPEND(a->worker->allocs, a);
            a->worker->live++;
        }

        if (a->expires_ms != 0) {
            bk_heap_set(&m->due, &a->due, a->expires_ms);
        }
    }

    bk_model_arm(m);
}


static void
bk_model_alloc_detach(bk_model_t *m, bk_alloc_t *a)
{
    bk_heap_clear(&m->due, &a->due);

    if (a->pool != NULL) {
        a->pool->counts[a->state]--;
    }

    if (bk_alloc_ended(a->state)) {
        DL_DELETE(m->ended, a);

    } else if (a->worker != NULL) {
        DL_DELETE(a->worker->allocs, a);
        a->worker->live--;
    }
}


/* Ends a live one.  reason may be NULL or empty, and is copied. */

void
bk_model_alloc_finish(bk_model_t *m, bk_alloc_t *a, int state,
    const char *reason)
{
    int  old_state = a->state;

    bk_model_alloc_detach(m, a);

    free(a->reason);
    a->reason = reason != NULL
                ? bk_model_alloc_text((bk_str_t) { reason, strlen(reason) })
                : NULL;
    a->state = (uint8_t) state;
    a->changed_ms = bk_model_now_ms();

    bk_model_alloc_update(m, a);
    bk_model_alloc_attach(m, a);

    m->stats.ended[state]++;
    bk_model_note(m, NULL, NULL, a, old_state, 0);
}


void
bk_model_alloc_state(bk_model_t *m, bk_alloc_t *a, int state)
{
    int  old_state = a->state;

    a->pool->counts[old_state]--;
    a->pool->counts[state]++;
    a->state = (uint8_t) state;
    a->changed_ms = bk_model_now_ms();

    bk_model_alloc_update(m, a);
    bk_model_note(m, NULL, NULL, a, old_state, 0);
}


/* Forgets one that has ended. */

void
bk_model_alloc_remove(bk_model_t *m, bk_alloc_t *a)
{
    bk_model_alloc_detach(m, a);
    bk_table_alloc_remove(m->table, a->index);
    bk_model_note(m, NULL, NULL, a, a->state, 1);
    bk_model_walk_aside(m, a);
    HASH_DEL(m->allocs, a);
    a->gone = 1;
    bk_model_alloc_unref(a);
}


void
bk_model_alloc_unref(bk_alloc_t *a)
{
    if (--a->refs > 0) {
        return;
    }

    if (a->worker != NULL) {
        bk_model_worker_unref(a->worker);
    }

    if (a->pool != NULL) {
        bk_model_pool_unref(a->pool);
    }

    bk_model_name_unref(&a->whose);
    free(a->reason);
    free(a);
}


void
bk_model_alloc_info(const bk_alloc_t *a, bk_alloc_info_t *out)
{
    memset(out, 0, sizeof(bk_alloc_info_t));
    out->hash = a->hash;
    out->key_hash = a->bound ? a->key_hash : NULL;
    out->expires_ms = a->expires_ms;
    out->changed_ms = a->changed_ms;
    out->state = a->state;

    if (a->pool != NULL) {
        out->pool = (bk_str_t) { a->pool->name, a->pool->name_len };
    }

    if (a->worker != NULL) {
        out->worker = (bk_str_t) { a->worker->data.name,
                                   a->worker->data.name_len };
    }

    if (a->reason != NULL) {
        out->reason = (bk_str_t) { a->reason, strlen(a->reason) };
    }
}


static int
bk_model_alloc_insert(bk_model_t *m, bk_alloc_t *a, bk_err_t *err)
{
    int               n;
    bk_err_t          local;
    bk_table_alloc_t  entry;

    bk_model_alloc_table(a, &entry);

    for (n = 0; /* void */ ; n++) {
        if (bk_table_alloc_insert(m->table, a->hash,
                                  a->bound ? a->key_hash : NULL, &entry,
                                  a->reason, &a->index, &local)
            == 0)
        {
            return 0;
        }

        if (m->ended == NULL || n == BK_MODEL_EVICT_MAX
            || strcmp(local.reason, "TableFull") != 0)
        {
            if (err != NULL) {
                *err = local;
            }

            return -1;
        }

        m->stats.evicted++;
        bk_model_alloc_remove(m, m->ended);
    }
}


static void
bk_model_alloc_table(const bk_alloc_t *a, bk_table_alloc_t *out)
{
    memset(out, 0, sizeof(bk_table_alloc_t));
    out->expires_ms = a->expires_ms;
    out->changed_ms = a->changed_ms;
    out->state = a->state;
    out->flags = a->bound ? BK_ALLOC_KEY_BOUND : 0;
    out->pool.index = BK_TABLE_NONE;
    out->worker.index = BK_TABLE_NONE;
    out->text.index = BK_TABLE_NONE;

    if (a->pool != NULL) {
        out->pool = a->pool->ref;
    }

    if (a->worker != NULL) {
        out->worker = a->worker->ref;
    }
}


static void
bk_model_alloc_update(bk_model_t *m, bk_alloc_t *a)
{
    bk_table_alloc_t  entry;

    bk_model_alloc_table(a, &entry);
    bk_table_alloc_update(m->table, a->index, &entry, a->reason);
}


char *
bk_model_alloc_text(bk_str_t s)
{
    char    *text;
    size_t   i, len = s.len < 1024 ? s.len : 1024;

    if (len == 0) {
        return NULL;
    }

    text = malloc(len + 1);
    if (text == NULL) {
        abort();
    }

    for (i = 0; i < len; i++) {
        text[i] = (unsigned char) s.data[i] < 0x20 || s.data[i] == 0x7f
                  ? ' ' : s.data[i];
    }

    text[len] = '\0';

    return text;
}
