/*
 * A pool that is deleted while somebody builds in it, or in one that shares its
 * gateway, stays until he is done: with it all would go that his build needs.
 * So it has a finalizer while somebody is on such a worker, and for a while
 * longer, as the next one often comes soon.
 */

#include <string.h>

#include "ct_pool.h"
#include "ct_worker.h"


#define CT_HOLD_MS  60000


static const ct_worker_t *ct_hold_who(const ct_pool_t *p, int now);
static const ct_worker_t *ct_hold_of(const ct_pool_t *p, int now);
static void ct_hold_shared(const ct_pool_t *p);
static json_t *ct_hold_on(void *data, ct_obj_t *o, bk_err_t *err);
static json_t *ct_hold_off(void *data, ct_obj_t *o, bk_err_t *err);
static void ct_hold_done(void *data, ct_obj_t *o, const bk_err_t *err);


void
ct_pool_hold(ct_pool_t *p)
{
    int                 live, held = ct_finalizer(p->o, CT_FINALIZER);
    uint64_t            now = p->ct->host->monotonic_ms(p->ct->host);
    ct_pool_own_t      *own = p->own;
    const ct_worker_t  *w = ct_hold_who(p, 0);

    ct_hold_shared(p);
    live = w != NULL;

    if (live) {
        own->live_ms = now;

        if (held && ct_deleting(p->o) && !own->waits) {
            own->waits = 1;
            ct_event(p->o, "Normal", "Draining", "it goes when nobody is on "
                     "a worker of it any more, or comes through its "
                     "gateway, such as %s; nobody new gets one",
                     w->name);
        }
    }

    if (live == held || ct_changing(p->o)) {
        return;
    }

    if (live) {
        if (!ct_deleting(p->o)) {
            ct_write(p->o, CT_TEND, ct_hold_on, ct_hold_done, p);
        }

    } else if (ct_deleting(p->o) || own->live_ms == 0
               || now - own->live_ms >= CT_HOLD_MS)
    {
        ct_write(p->o, CT_TEND, ct_hold_off, ct_hold_done, p);

    } else {
        ct_pool_later(p, own->live_ms + CT_HOLD_MS - now);
    }
}


/* A worker on which somebody is: of it, or of a pool that has its gateway;
 * now, or as of the last look at that worker. */

static const ct_worker_t *
ct_hold_who(const ct_pool_t *p, int now)
{
    int                 shared;
    ct_pool_t          *q, *tmp;
    const ct_worker_t  *w = ct_hold_of(p, now);

    HASH_ITER(hh, p->ct->pools, q, tmp) {
        if (w != NULL) {
            break;
        }

        if (q != p && q->o != NULL && q->o->obj != NULL
            && ct_pool_shared(q, &shared) == p)
        {
            w = ct_hold_of(q, now);
        }
    }

    return w;
}


static const ct_worker_t *
ct_hold_of(const ct_pool_t *p, int now)
{
    ct_worker_t  *w;

    DL_FOREACH(p->workers, w) {
        if (now ? w->slot >= 0 && ct_worker_holds(w)
                : w->own != NULL && w->own->holds)
        {
            return w;
        }
    }

    return NULL;
}


/* Whose gateway it has is to know. */

static void
ct_hold_shared(const ct_pool_t *p)
{
    int  shared, live = ct_hold_of(p, 0) != NULL;

    if (p->own->live != live) {
        p->own->live = live;
        ct_dirty_pool(ct_pool_shared(p, &shared));
    }
}


static json_t *
ct_hold_on(void *data, ct_obj_t *o, bk_err_t *err)
{
    (void) err;

    return ct_hold_who(data, 1) != NULL && !ct_deleting(o)
           && !ct_finalizer(o, CT_FINALIZER)
           ? ct_finalizers(o, CT_FINALIZER, 1) : NULL;
}


static json_t *
ct_hold_off(void *data, ct_obj_t *o, bk_err_t *err)
{
    (void) err;

    return ct_hold_who(data, 1) == NULL && ct_finalizer(o, CT_FINALIZER)
           ? ct_finalizers(o, CT_FINALIZER, 0) : NULL;
}


/*
 * The whole pool is checked with it: one that was made before the API server
 * was as strict as now can neither be held nor let go until it is corrected.
 */

static void
ct_hold_done(void *data, ct_obj_t *o, const bk_err_t *err)
{
    /* what failed is looked at again in time: ct_write() */
    if (err == NULL) {
        ct_dirty_pool(data);

    } else if (err->code / 100 == 4 && err->code != 404 && err->code != 409
               && o->obj != NULL)
    {
        ct_event(o, "Warning", "NotHeld", "the finalizer %s cannot be %s: %s",
                 CT_FINALIZER, ct_deleting(o) ? "taken off" : "changed",
                 err->text);
    }
}
