/*
 * A row is put: the store's objects are changed, one write after the other,
 * until they say what they should.  After each write it is looked at what is
 * there now, so it does not matter which of them was lost, or who else wrote.
 *
 * A new place comes before the old one goes: whoever dies in between leaves
 * the row in both, and whoever leads next goes on (ct_op_tidy).  What the one
 * before him has sent may arrive as late as it likes: before he empties one
 * place he writes the other, if only an annotation, so that what was sent is
 * of an old resourceVersion and refused, or has been done and is seen.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "ct_store.h"


#define CT_OP_TRIES  12


static void ct_op_step(ct_op_t *op);
static int ct_op_live(ct_op_t *op);
static int ct_op_end(ct_op_t *op);
static int ct_op_empty(ct_op_t *op, ct_place_t *kept, ct_place_t *p);
static ct_obj_t *ct_op_object(ct_op_t *op, const char *key);
static void ct_op_write(ct_op_t *op, const char *key, int how,
    ct_make_pt make);
static void ct_op_wrote(void *data, ct_obj_t *o, const bk_err_t *err);
static void ct_op_over(ct_op_t *op, const bk_err_t *err);
static void ct_op_lapse(ct_store_t *s, const ct_place_t *p, uint64_t now);
static char *ct_op_strdup(const char *s);


void
ct_op_ask(ct_store_t *s, ct_row_t *r, json_t *json, int state,
    const char *pool, const char *key, bk_store_pt done, void *data)
{
    ct_op_t  *op = calloc(1, sizeof(ct_op_t));

    if (op == NULL) {
        abort();
    }

    op->store = s;
    op->row = r;
    op->done = done;
    op->data = data;
    op->json = json;
    op->state = state;
    op->pool = ct_op_strdup(pool);
    op->key = ct_op_strdup(key);
    op->changes = r->changes;
    ct_row_bind(r, pool);
    DL_APPEND(r->ops, op);

    if (r->ops == op) {
        ct_op_step(op);
    }
}


void
ct_op_free(ct_op_t *op)
{
    DL_DELETE(op->row->ops, op);
    json_decref(op->json);
    free(op->pool);
    free(op->key);
    free(op);
}


int
ct_op_wants(const ct_op_t *op, const ct_place_t *p)
{
    if (p == NULL) {
        /* of one that never had a worker nothing is left to be said */
        return op->state == BK_ALLOC_RELEASED;
    }

    if (bk_alloc_ended(op->state)) {
        return p->state == op->state && ct_stored_same(p->json, op->json);
    }

    return !bk_alloc_ended(p->state) && strcmp(p->seen->key, op->key) == 0
           && ct_stored_same(p->json, op->json);
}


/* What is to be written next?  Each way ends in a write, or in its end. */

static void
ct_op_step(ct_op_t *op)
{
    bk_err_t     err;
    ct_place_t  *p;

    if (op->tries++ >= CT_OP_TRIES) {
        (void) bk_fail(&err, 503, "StoreBusy", "try again in a moment",
                       "the BuildKitWorker of an allocation does not stay "
                       "as it is written");
        ct_op_over(op, &err);
        return;
    }

    if (bk_alloc_ended(op->state) ? ct_op_end(op) : ct_op_live(op)) {
        return;
    }

    p = ct_row_best(op->row);

    if (p == NULL ? !bk_alloc_ended(op->state) : !ct_op_wants(op, p)) {
        /* by now it is another again */
        (void) bk_err_set(&err, 409, "RowChanged", "somebody else has changed "
                          "this allocation");
        ct_op_over(op, &err);
        return;
    }

    ct_op_over(op, NULL);
}


/* 1: something is being written. */

static int
ct_op_live(ct_op_t *op)
{
    ct_place_t  *there, *other;

    there = ct_row_at(op->row, op->key);

    if (!op->written) {
        if (ct_op_object(op, op->key)->obj == NULL) {
            ct_op_write(op, op->key, CT_PLACE, ct_op_make_new);

        } else {
            ct_op_write(op, op->key, CT_PATCH, ct_op_make_live);
        }

        return 1;
    }

    other = there == NULL ? NULL : ct_row_other(op->row, there);

    /* from the queue: it goes when there is time */
    if (other == NULL
        || (other->state == BK_ALLOC_QUEUED && op->done != NULL
            && there->state != BK_ALLOC_QUEUED))
    {
        return 0;
    }

    return ct_op_empty(op, there, other);
}


static int
ct_op_end(ct_op_t *op)
{
    ct_place_t  *best = ct_row_best(op->row), *live;

    live = ct_row_other(op->row, NULL);

    if (live == NULL && op->tries == 1) {
        /* nobody is told from within */
        ct_op_write(op, op->key, CT_PATCH, ct_op_make_nothing);
        return 1;
    }

    if (live == NULL) {
        return 0;
    }

    if (bk_alloc_ended(best->state)) {
        return ct_op_empty(op, best, live);
    }

    if (live->state == BK_ALLOC_QUEUED && op->state == BK_ALLOC_RELEASED) {
        return ct_op_empty(op, NULL, live);
    }

    ct_op_write(op, live->seen->key, CT_PATCH, ct_op_make_end);

    return 1;
}


/* kept: where it is then, or NULL.  An object that was made for the row alone
 * goes with it. */

static int
ct_op_empty(ct_op_t *op, ct_place_t *kept, ct_place_t *p)
{
    if (kept != NULL && !kept->seen->ours) {
        ct_op_write(op, kept->seen->key, CT_PATCH, ct_op_make_kept);

    } else if (p->seen->queued && p->also == NULL && p->seen->places == p) {
        ct_op_write(op, p->seen->key, CT_DELETE, ct_op_make_delete);

    } else {
        ct_op_write(op, p->seen->key, CT_PATCH, ct_op_make_empty);
    }

    return 1;
}


static ct_obj_t *
ct_op_object(ct_op_t *op, const char *key)
{
    char         ns[CT_KEY_MAX];
    const char  *name = strchr(key, '/') + 1;

    snprintf(ns, sizeof(ns), "%.*s", (int) (name - 1 - key), key);

    return ct_obj_get(op->store->ct, CT_WORKER, ns, name);
}


static void
ct_op_write(ct_op_t *op, const char *key, int how, ct_make_pt make)
{
    op->sent = 0;
    op->makes = (how == CT_PLACE);
    ct_write(ct_op_object(op, key), how, make, ct_op_wrote, op);
}


/* --- what came of it ------------------------------------------------------ */

static void
ct_op_wrote(void *data, ct_obj_t *o, const bk_err_t *err)
{
    ct_op_t     *op = data;
    bk_err_t     other;
    ct_seen_t   *x;
    ct_place_t  *p;

    ct_seen_take(op->store, o);
    x = ct_seen_find(op->store, o->key);

    /* what may still arrive is of ours, then */
    if (x != NULL && (err != NULL || op->sent)) {
        x->ours = (err == NULL);
    }

    if (op->done != NULL) {
        o->stored_ms = o->ct->host->monotonic_ms(o->ct->host);
    }

    p = bk_alloc_ended(op->state) ? ct_row_best(op->row)
                                  : ct_row_at(op->row, op->key);

    if (!bk_alloc_ended(op->state) && !op->written) {
        op->written = p != NULL && ct_op_wants(op, p);
    }

    /* it was read again, and is so; it went, and is to be made: but where it
       was to be made, it is its namespace that is not there */
    if (err != NULL
        && ((strcmp(err->reason, "Unknown") == 0 && ct_op_wants(op, p))
            || (strcmp(err->reason, "NotFound") == 0 && o->obj == NULL
                && !op->makes)))
    {
        err = NULL;
    }

    if (err == NULL) {
        ct_op_step(op);
        return;
    }

    if (strcmp(err->reason, "Conflict") == 0) {
        (void) bk_fail(&other, 503, "StoreBusy", "try again in a moment",
                       "%s", err->text);
        err = &other;

    } else if (err->code == 422 && !ct_queued(o->name)) {
        /* this one cannot have it: it is another's for good; see trust */
        (void) bk_err_set(&other, 409, "WorkerTaken", "%s", err->text);
        err = &other;
    }

    ct_op_over(op, err);
}


static void
ct_op_over(ct_op_t *op, const bk_err_t *err)
{
    int          changed;
    void        *opener = op->data;
    ct_row_t    *r = op->row;
    ct_store_t  *s = op->store;
    bk_store_pt  done = op->done;

    r->held++;
    ct_op_free(op);

    if (done != NULL) {
        changed = err != NULL && strcmp(err->reason, "RowChanged") == 0;

        if (changed) {
            /* it is asked for again at once, of what is there */
            ct_row_tell(s, r);
        }

        done(opener, err);

        if (err != NULL && !changed) {
            ct_row_tell(s, r);
        }
    }

    if (r->ops != NULL && r->ops->tries == 0) {
        ct_op_step(r->ops);

    } else if (err == NULL) {
        ct_op_tidy(s, r);
    }

    r->held--;
    ct_row_drop(s, r);
}


/* --- nobody asked for it -------------------------------------------------- */

void
ct_op_tidy(ct_store_t *s, ct_row_t *r)
{
    ct_op_t     *op;
    ct_place_t  *best;

    best = ct_row_best(r);

    if (!s->ready || r->ops != NULL || best == NULL || best->foreign
        || ct_row_other(r, best) == NULL)
    {
        return;
    }

    op = calloc(1, sizeof(ct_op_t));

    if (op == NULL) {
        abort();
    }

    op->store = s;
    op->row = r;
    op->json = json_incref(best->json);
    op->state = best->state;
    op->pool = ct_op_strdup(best->seen->pool);
    op->key = ct_op_strdup(best->seen->key);
    op->written = 1;
    DL_APPEND(r->ops, op);
    ct_op_step(op);
}


/*
 * An allocation of which no allocator says that it is over, as it could not
 * be read, or was another program's; what is left of the queue.
 */

void
ct_op_sweep(ct_store_t *s, ct_seen_t *x)
{
    uint64_t          now;
    ct_obj_t         *o;
    ct_row_t         *r;
    bk_err_t          err;
    ct_place_t       *p;
    bk_stored_t       end;
    const bk_host_t  *h = s->ct->host;

    now = h->now_ms(h);

    if (x->queued && !x->odd && ct_op_ended(x, now)) {
        o = ct_obj_find(s->ct, CT_WORKER, x->key);

        /* one that is refused is tried again by itself */
        if (!ct_writing(o)) {
            ct_write(o, CT_DELETE, ct_op_make_sweep, NULL, s);
        }

        return;
    }

    for (p = x->places; p != NULL && bk_alloc_ended(p->state); p = p->also) {
        /* void */
    }

    if (p == NULL) {
        return;
    }

    r = p->row;

    if (!ct_row_its(r, p)) {
        ct_op_lapse(s, p, now);
        return;
    }

    if (r->ops != NULL) {
        return;
    }

    if (p->expires_ms == 0 || p->expires_ms + CT_OP_LATE > now) {
        ct_op_tidy(s, r);
        return;
    }

    end = (bk_stored_t) {
        .hash = r->hash,
        .expires_ms = p->expires_ms,
        .changed_ms = now,
        .state = BK_ALLOC_EXPIRED
    };

    ct_op_ask(s, r, ct_stored_json(&end, &err), end.state, x->pool, x->key,
              NULL, NULL);
}


/* Nobody's: its worker is free again when it would have ended. */

static void
ct_op_lapse(ct_store_t *s, const ct_place_t *p, uint64_t now)
{
    ct_obj_t  *o = ct_obj_find(s->ct, CT_WORKER, p->seen->key);

    if (p->expires_ms != 0 && p->expires_ms + CT_OP_LATE <= now
        && !ct_writing(o))
    {
        ct_write(o, CT_TEND, ct_op_make_lapsed, NULL, s);
    }
}


static char *
ct_op_strdup(const char *s)
{
    char  *copy = strdup(s);

    if (copy == NULL) {
        abort();
    }

    return copy;
}
