/*
 * What is written of a row into an object, made when it is that write's turn,
 * of the object as it is then: see ct_store_put.c.
 */

#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "ct_store.h"


static int ct_op_may(ct_op_t *op, ct_obj_t *o, bk_err_t *err);
static int ct_op_changed(ct_op_t *op, ct_obj_t *o, bk_err_t *err);
static int ct_op_has(ct_op_t *op, ct_obj_t *o);
static int ct_op_spare(ct_op_t *op, ct_obj_t *o);
static json_t *ct_op_spec(json_t *allocation);


json_t *
ct_op_make_new(void *data, ct_obj_t *o, bk_err_t *err)
{
    json_t   *obj;
    ct_op_t  *op = data;

    if (ct_op_changed(op, o, err)) {
        return NULL;
    }

    obj = ct_store_object(op->store, op->pool, o, op->json, err);
    op->sent = (obj != NULL);

    return obj;
}


json_t *
ct_op_make_live(void *data, ct_obj_t *o, bk_err_t *err)
{
    json_t   *is, *patch;
    ct_op_t  *op = data;

    if (ct_op_changed(op, o, err) || ct_op_may(op, o, err) != 0) {
        return NULL;
    }

    is = ct_at(o, "spec", "allocation", NULL);
    patch = ct_stored_patch(is, op->json);

    if (json_object_size(patch) == 0) {
        json_decref(patch);
        return NULL;
    }

    patch = ct_op_spec(patch);
    ct_store_trust(o, op->json, json_object_get(patch, "spec"));
    op->sent = 1;

    return patch;
}


/* Nobody else's, and there to stay. */

static int
ct_op_may(ct_op_t *op, ct_obj_t *o, bk_err_t *err)
{
    ct_seen_t  *x = ct_seen_find(op->store, o->key);
    json_t     *is = ct_at(o, "spec", "allocation", NULL);

    if (is != NULL && !json_is_null(is) && !ct_op_has(op, o)) {
        return bk_err_set(err, 409, "WorkerTaken", "worker %s has another "
                          "allocation", o->name);
    }

    if (x == NULL || strcmp(x->pool, op->pool) != 0) {
        return bk_err_set(err, 409, "WorkerTaken", "worker %s is not of pool "
                          "%s", o->name, op->pool);
    }

    if (ct_deleting(o)) {
        return bk_err_set(err, 409, "WorkerTaken", "worker %s is being "
                          "deleted", o->name);
    }

    return 0;
}


json_t *
ct_op_make_end(void *data, ct_obj_t *o, bk_err_t *err)
{
    json_t           *patch;
    ct_op_t          *op = data;
    const bk_host_t  *h = op->store->ct->host;

    if (ct_op_changed(op, o, err) || !ct_op_has(op, o)) {
        return NULL;
    }

    patch = ct_op_spec(json_null());
    json_object_set_new(json_object_get(patch, "spec"), "ended",
                        ct_stored_ended(ct_at(o, "spec", "ended", NULL),
                                        op->json, h->now_ms(h)));
    op->sent = 1;

    return patch;
}


json_t *
ct_op_make_empty(void *data, ct_obj_t *o, bk_err_t *err)
{
    (void) err;

    return ct_op_spare(data, o) ? ct_op_spec(json_null()) : NULL;
}


json_t *
ct_op_make_delete(void *data, ct_obj_t *o, bk_err_t *err)
{
    (void) err;

    return ct_op_spare(data, o) ? json_object() : NULL;
}


/* It is here, and has another place, or need not be anywhere. */

static int
ct_op_spare(ct_op_t *op, ct_obj_t *o)
{
    ct_place_t  *best;

    if (!ct_op_has(op, o)) {
        return 0;
    }

    best = ct_row_best(op->row);

    if (bk_alloc_ended(op->state)) {
        return bk_alloc_ended(best->state)
               || (op->state == BK_ALLOC_RELEASED
                   && best->state == BK_ALLOC_QUEUED);
    }

    return strcmp(op->key, o->key) != 0
           && ct_row_at(op->row, op->key) != NULL;
}


/* Nothing of it changes but its resourceVersion. */

json_t *
ct_op_make_kept(void *data, ct_obj_t *o, bk_err_t *err)
{
    char              text[48];
    ct_op_t          *op = data;
    const bk_host_t  *h = op->store->ct->host;

    (void) err;

    ct_seen_take(op->store, o);

    if (ct_row_at(op->row, o->key) == NULL) {
        return NULL;
    }

    snprintf(text, sizeof(text), "%llu.%d",
             (unsigned long long) h->now_ms(h), op->tries);
    op->sent = 1;

    return json_pack("{s:{s:{s:s}}}", "metadata", "annotations", CT_KEPT,
                     text);
}


json_t *
ct_op_make_nothing(void *data, ct_obj_t *o, bk_err_t *err)
{
    (void) data;
    (void) o;
    (void) err;

    return NULL;
}


static json_t *
ct_op_spec(json_t *allocation)
{
    json_t  *spec = json_object(), *patch = json_object();

    json_object_set_new(spec, "allocation", allocation);
    json_object_set_new(patch, "spec", spec);

    return patch;
}


/* Since it was asked for, by somebody else?  He was told of it. */

static int
ct_op_changed(ct_op_t *op, ct_obj_t *o, bk_err_t *err)
{
    ct_seen_take(op->store, o);

    if (op->done == NULL || op->written
        || op->changes == op->row->changes)
    {
        return 0;
    }

    (void) bk_err_set(err, 409, "RowChanged", "somebody else has changed this "
                      "allocation");

    return 1;
}


static int
ct_op_has(ct_op_t *op, ct_obj_t *o)
{
    ct_place_t  *p;

    ct_seen_take(op->store, o);
    p = ct_row_at(op->row, o->key);

    return p != NULL && !bk_alloc_ended(p->state);
}


/* Nothing is in it but ends that nobody asks about any more. */

int
ct_op_ended(const ct_seen_t *x, uint64_t now)
{
    uint64_t     at;
    ct_place_t  *p;

    for (p = x->places; p != NULL; p = p->also) {
        if (!bk_alloc_ended(p->state)
            || obj_time(obj_text(p->json, "at"), &at) != 0
            || at + CT_ENDED_KEEP > now)
        {
            return 0;
        }
    }

    return 1;
}


json_t *
ct_op_make_sweep(void *data, ct_obj_t *o, bk_err_t *err)
{
    ct_seen_t        *x;
    ct_store_t       *s = data;
    const bk_host_t  *h = s->ct->host;

    (void) err;

    ct_seen_take(s, o);
    x = ct_seen_find(s, o->key);

    return x != NULL && !x->odd && ct_op_ended(x, h->now_ms(h))
           ? json_object() : NULL;
}


/* A row's that is of another pool, and over by now. */

json_t *
ct_op_make_lapsed(void *data, ct_obj_t *o, bk_err_t *err)
{
    uint64_t     now;
    ct_seen_t   *x;
    ct_place_t  *p;
    ct_store_t  *s = data;

    (void) err;

    ct_seen_take(s, o);
    x = ct_seen_find(s, o->key);
    now = s->ct->host->now_ms(s->ct->host);

    for (p = x == NULL ? NULL : x->places; p != NULL; p = p->also) {
        if (!bk_alloc_ended(p->state)) {
            return !ct_row_its(p->row, p) && p->expires_ms != 0
                   && p->expires_ms + CT_OP_LATE <= now
                   ? ct_op_spec(json_null()) : NULL;
        }
    }

    return NULL;
}
