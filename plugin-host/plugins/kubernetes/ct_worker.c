/* A worker of the controller: what is, and what should be.  See ct_worker.h. */

#include <openssl/rand.h>
#include <string.h>

#include "bk_err.h"
#include "ct_store.h"
#include "ct_worker.h"


const char  ct_worker_beyond[] = "the pool has fewer workers by now";
const char  ct_worker_foreign[] = "an allocation that is not of this "
                                  "controller is on it";


static void ct_worker_write(ct_look_t *l);
static void ct_worker_sum(ct_look_t *l);
static ct_worker_t *ct_worker_named(ct_t *ct, bk_str_t pool, bk_str_t name);
static struct ct_worker_own_s *ct_worker_own(ct_worker_t *w);
static int ct_worker_nothing(const ct_worker_t *w);


void
ct_worker_look(ct_worker_t *w)
{
    ct_look_t  l;

    (void) ct_worker_own(w);
    w->queued = w->slot < 0 && ct_queued(w->name);
    ct_facts(&l, w);

    if (w->slot < 0) {
        ct_say_other(w);

    } else if (!l.pool) {
        ct_show_hide(w);
        ct_pod_orphan(w);

    } else {
        if (l.beyond && !l.live) {
            ct_show_hide(w);

        } else if (w->pool->put) {
            ct_show(&l);
        }

        ct_worker_write(&l);
        ct_worker_sum(&l);
    }

    l.own->looked = 1;

    if ((w->slot < 0 || !l.pool || l.beyond) && ct_worker_nothing(w)) {
        ct_worker_drop(w);
    }
}


void
ct_worker_free(ct_worker_t *w)
{
    if (w->own == NULL) {
        return;
    }

    json_decref(w->own->status);
    free(w->own);
    w->own = NULL;
}


/* --- what follows --------------------------------------------------------- */

static void
ct_worker_write(ct_look_t *l)
{
    if (!ct_may(l->ct, l->w->key)) {
        return;
    }

    if (ct_object_look(l)) {
        ct_claim_look(l);
        ct_pod_look(l);
        ct_budget_look(l);
        ct_say(l);

    } else if (!ct_worker_is(l->w->o)) {
        ct_pod_orphan(l->w);
    }

    if (l->beyond && !l->live) {
        ct_claim_end(l->w);
    }
}


/* Its pool counts them, and keeps some warm. */

static void
ct_worker_sum(ct_look_t *l)
{
    unsigned                 live = l->live;
    unsigned                 runs = l->wanted && !(l->has && !l->usable);
    struct ct_worker_own_s  *own = l->own;
    int                      was = own->looked ? own->summed : -1;

    own->live = live;
    own->holds = live && ct_worker_holds(l->w);
    own->drained = l->drained;
    own->runs = runs;
    own->summed = own->state | (int) live << 8 | (int) runs << 9
                  | (int) l->has << 10 | (int) own->stopping << 11
                  | (int) l->drained << 12 | (int) own->put << 13
                  | (int) own->holds << 14;

    if (own->summed != was) {
        ct_dirty_pool(l->w->pool);
    }
}


/* One more in a row, counted once for a Pod; "" is none. */

void
ct_worker_crash(ct_look_t *l, const char *uid, const char *why)
{
    uint32_t                 jitter;
    uint64_t                 delay;
    struct ct_worker_own_s  *own = l->own;

    if (uid[0] != '\0' && strncmp(own->crash_uid, uid, CT_UID_MAX - 1) == 0) {
        return;
    }

    obj_copy(own->crash_uid, sizeof(own->crash_uid), uid);
    obj_copy(own->why, sizeof(own->why), why);

    if (own->ready_ms != 0 && l->mono - own->ready_ms >= CT_STEADY_MS) {
        own->crashes = 0;
    }

    own->ready_ms = 0;
    delay = CT_BACK_OFF_MS << (own->crashes < 9 ? own->crashes : 9);
    delay = delay < CT_BACK_OFF_MAX ? delay : CT_BACK_OFF_MAX;
    own->crashes++;

    /* so that many that ended together do not start together */
    if (RAND_bytes((unsigned char *) &jitter, sizeof(jitter)) != 1) {
        jitter = 0;
    }

    delay = delay * 3 / 4 + jitter % (delay / 2 + 1);
    own->retry_ms = l->mono + delay;
    ct_dirty_worker_in(l->w, delay);

    l->host->log(l->host, BK_LOG_WARN, "worker %s: %s (%u in a row)",
                 l->w->key, own->why, own->crashes);

    if (ct_worker_is(l->w->o)) {
        ct_event(l->w->o, "Warning", "Failed", "%s", own->why);
    }

    if (own->crashes == CT_CRASHES_MAX && l->w->pool->o != NULL) {
        ct_event(l->w->pool->o, "Warning", "WorkerFailed", "%s: %d times in "
                 "a row, at last: %s", l->w->name, CT_CRASHES_MAX, own->why);
    }
}


/* --- what others ask ------------------------------------------------------ */

int
ct_worker_want(ct_t *ct, bk_str_t pool, bk_str_t name, int wanted,
    bk_err_t *err)
{
    ct_worker_t  *w = ct_worker_named(ct, pool, name);

    if (w == NULL) {
        return bk_err_set(err, 404, "WorkerNotFound", "there is no worker "
                          "%.*s in pool %.*s", (int) name.len, name.data,
                          (int) pool.len, pool.data);
    }

    w->wanted = wanted;

    if (wanted) {
        /* whoever asked needs some time to make use of it */
        ct_worker_own(w)->used_ms = ct->host->now_ms(ct->host);
    }

    ct_dirty_worker(w);

    return 0;
}


/* The model is in the middle of its change: later. */

void
ct_worker_event(ct_t *ct, const bk_event_t *event)
{
    if (event->what == BK_EVENT_ALLOCATION) {
        ct_dirty_worker(ct_worker_named(ct, event->alloc->pool,
                                        event->alloc->worker));

    } else if (event->what == BK_EVENT_USE) {
        ct_dirty_worker(ct_worker_named(ct, event->worker->pool,
                                        event->worker->name));
    }
}


/* A slot, by the model's names; NULL: none. */

static ct_worker_t *
ct_worker_named(ct_t *ct, bk_str_t pool, bk_str_t name)
{
    char          key[BK_TABLE_POOL_LEN + BK_TABLE_NAME_LEN];
    size_t        ns = 0;
    ct_worker_t  *w;

    while (ns < pool.len && pool.data[ns] != '/') {
        ns++;
    }

    if (name.len == 0 || ns + 1 + name.len >= sizeof(key)) {
        return NULL;
    }

    memcpy(key, pool.data, ns);
    key[ns] = '/';
    memcpy(key + ns + 1, name.data, name.len);
    key[ns + 1 + name.len] = '\0';
    w = ct_worker_find(ct, key);

    return w != NULL && w->slot >= 0 && strlen(w->pool->key) == pool.len
           && memcmp(w->pool->key, pool.data, pool.len) == 0 ? w : NULL;
}


void
ct_worker_counts(const ct_pool_t *p, ct_counts_t *out)
{
    int                     ready;
    uint64_t                used;
    ct_worker_t            *w;
    bk_worker_use_t         use;
    struct ct_worker_own_s  none, *own;

    memset(out, 0, sizeof(ct_counts_t));
    memset(&none, 0, sizeof(none));

    DL_FOREACH(p->workers, w) {
        own = w->own != NULL ? w->own : &none;

        if (w->slot < 0) {
            out->queued += w->queued && ct_worker_is(w->o);
            continue;
        }

        ready = own->put && own->state == BK_WORKER_READY;
        out->total += ct_worker_is(w->pod) || own->runs;
        out->ready += ready;
        out->allocated += own->live;
        out->idle += ready && !own->live;
        out->failed += own->put && own->state == BK_WORKER_FAILED
                       && !own->drained;
        out->provisioning += own->runs && own->put
                             && own->state == BK_WORKER_STARTING;

        if (own->put && ct_use(w, &use) == 0) {
            out->connections += use.connections;
            used = use.last_used_ms > own->used_ms ? use.last_used_ms
                                                   : own->used_ms;
            out->last_used_ms = used > out->last_used_ms ? used
                                                         : out->last_used_ms;
        }
    }

    out->desired = p->manual ? p->min : p->min + out->allocated;

    if (out->desired > ct_worker_slots(p)) {
        out->desired = ct_worker_slots(p);
    }

    out->needed = out->desired - out->ready - out->provisioning;
    out->needed = out->needed > 0 ? out->needed : 0;
}


int
ct_worker_unput(const ct_pool_t *p)
{
    int           n = 0;
    ct_worker_t  *w;

    DL_FOREACH(p->workers, w) {
        n += w->own != NULL && w->own->unput && w->slot >= 0
             && w->slot < p->slots;
    }

    return n;
}


const char *
ct_worker_trust(const ct_worker_t *w)
{
    const char  *trust = "";

    if (ct_worker_is(w->o)) {
        trust = json_string_value(ct_at(w->o, "spec", "trust", NULL));
    }

    if ((trust == NULL || trust[0] == '\0') && ct_claim_mine(w)) {
        trust = ct_label(w->claim, CT_LABEL_TRUST);
    }

    return trust != NULL && (strcmp(trust, "trusted") == 0
                             || strcmp(trust, "untrusted") == 0)
           ? trust : "";
}


/* mode manual: so many run, and no more, whoever asks */

int
ct_worker_slots(const ct_pool_t *p)
{
    ct_limit(p->ct);

    return p->slots;
}


int
ct_worker_busy(const ct_worker_t *w)
{
    return ct_worker_held(w) || ct_worker_allocations(w) > 0;
}


/*
 * Is somebody on it of whom we shall know that he has ended?  Of another
 * controller's allocation, and of one that cannot be read, nobody may ever say
 * so: nothing is to wait for that.
 */

int
ct_worker_holds(const ct_worker_t *w)
{
    return ct_worker_allocations(w) > 0
           || (ct_worker_held(w) && ct_store_has(w, NULL) != 2);
}


/* Live ones in the model. */

uint32_t
ct_worker_allocations(const ct_worker_t *w)
{
    const bk_host_t   *h = w->pool->ct->host;
    bk_worker_info_t   info;

    return h->worker_find(h, CT_STR(w->pool->key), CT_STR(w->name), &info)
           == 0 ? info.allocations : 0;
}


/* --- parts ---------------------------------------------------------------- */

static struct ct_worker_own_s *
ct_worker_own(ct_worker_t *w)
{
    if (w->own == NULL) {
        w->own = calloc(1, sizeof(struct ct_worker_own_s));
        if (w->own == NULL) {
            abort();
        }

        w->own->state = BK_WORKER_STOPPED;
    }

    return w->own;
}


/* Nobody has anything to say of it, nor will. */

static int
ct_worker_nothing(const ct_worker_t *w)
{
    size_t           i;
    const ct_obj_t  *all[] = { w->o, w->pod, w->claim,
                               ct_obj_find(w->pool->ct, CT_BUDGET, w->key) };

    for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (all[i] != NULL && (all[i]->obj != NULL || ct_writing(all[i]))) {
            return 0;
        }
    }

    return !w->own->put;
}


int
ct_worker_is(const ct_obj_t *o)
{
    return o != NULL && o->obj != NULL;
}


int
ct_worker_held(const ct_worker_t *w)
{
    return ct_store_has(w, NULL)
           || (ct_worker_is(w->o)
               && json_is_object(ct_at(w->o, "spec", "allocation", NULL)));
}
