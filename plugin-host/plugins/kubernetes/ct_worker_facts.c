/*
 * What is, of a worker of the controller, and whether it should run: see
 * ct_worker.h.
 */

#include <string.h>

#include "bk_err.h"
#include "ct_worker.h"


static void ct_facts_pod(ct_look_t *l);
static void ct_facts_over(ct_look_t *l, const char *why);
static int ct_facts_hung(const ct_look_t *l);
static void ct_facts_live(ct_look_t *l);
static void ct_facts_connected(ct_look_t *l);
static void ct_facts_wanted(ct_look_t *l);
static uint64_t ct_facts_used(const ct_look_t *l);
static void ct_facts_later(uint64_t *used, const char *time);


void
ct_facts(ct_look_t *l, ct_worker_t *w)
{
    ct_pool_t  *p = w->pool;

    memset(l, 0, sizeof(ct_look_t));
    l->ct = p->ct;
    l->host = p->ct->host;
    l->w = w;
    l->own = w->own;
    l->now = l->host->now_ms(l->host);
    l->mono = l->host->monotonic_ms(l->host);
    l->pool = p->o != NULL && p->o->obj != NULL;

    if (w->slot < 0 || !l->pool) {
        return;
    }

    ct_pool_spec(p);
    l->beyond = w->slot >= ct_worker_slots(p);
    l->drained = ct_worker_is(w->o)
                 && json_is_object(ct_at(w->o, "spec", "drained", NULL));

    if (ct_worker_is(w->o)) {
        (void) ct_object_check(l);
    }

    ct_facts_pod(l);
    (void) ct_claim_check(l);
    ct_facts_live(l);

    if (l->has) {
        ct_facts_connected(l);
    }

    ct_facts_wanted(l);
}


/* What its Pod is to it. */

static void
ct_facts_pod(ct_look_t *l)
{
    ct_worker_t  *w = l->w;

    l->has = ct_worker_is(w->pod);

    if (l->own->stopping
        && (!l->has || strcmp(ct_uid(w->pod), l->own->stop_uid) != 0))
    {
        l->own->stopping = 0;
        l->own->replaced = 0;
    }

    if (!l->has) {
        return;
    }

    (void) obj_pod_read(w->pod->obj, ct_avoid(l->ct), &l->pod, &l->bad);

    if (l->pod.worker == NULL || strcmp(l->bad.reason, "NotOurPod") == 0
        || strcmp(l->pod.worker, w->name) != 0)
    {
        if (l->bad.code == 0) {
            bk_err_set(&l->bad, 403, "NotOurPod", "it is another worker's");
        }

        return;
    }

    if (!ct_worker_is(w->o) || strcmp(l->pod.worker_uid, ct_uid(w->o)) != 0) {
        l->stale = 1;
        return;
    }

    l->mine = 1;

    if (l->bad.code != 0) {
        l->pod.terminating = ct_deleting(w->pod);
        ct_facts_over(l, l->bad.text);

    } else if (l->pod.finished) {
        ct_facts_over(l, "its Pod has ended");

    } else if (l->pod.terminating && ct_facts_hung(l)) {
        l->hung = 1;
        ct_facts_over(l, "its Pod does not end: nobody answers on its node");
    }

    l->usable = !l->over;
}


static void
ct_facts_over(ct_look_t *l, const char *why)
{
    l->over = 1;
    l->pod.ready = 0;

    if (l->pod.why[0] == '\0') {
        obj_copy(l->pod.why, sizeof(l->pod.why), why);
    }
}


/*
 * It was to have ended by its deletionTimestamp.  Where the cluster has given
 * up its node nobody need wait for that: an hour, in which builds may go on.
 * A node that is alive says that the Pod is ready until it ends.
 */

static int
ct_facts_hung(const ct_look_t *l)
{
    size_t       i;
    json_t      *c;
    uint64_t     ms;
    const char  *at = json_string_value(ct_at(l->w->pod, "metadata",
                                              "deletionTimestamp", NULL));

    if (l->pod.ready) {
        return 0;
    }

    json_array_foreach(ct_at(l->w->pod, "status", "conditions", NULL), i, c) {
        if (strcmp(obj_text(c, "type"), "DisruptionTarget") == 0
            && strcmp(obj_text(c, "status"), "True") == 0
            && strcmp(obj_text(c, "reason"), "DeletionByTaintManager") == 0)
        {
            return 1;
        }
    }

    return at != NULL && obj_time(at, &ms) == 0 && ms + CT_NODE_MS < l->now;
}


static void
ct_facts_live(ct_look_t *l)
{
    struct ct_worker_own_s  *own = l->own;

    l->allocations = ct_worker_allocations(l->w);
    l->held = ct_worker_held(l->w);
    l->foreign = ct_store_has(l->w, NULL) == 2;
    l->live = l->held || l->allocations > 0;

    if (!l->live) {
        if (own->live) {
            own->used_ms = l->now;
        }

        own->on_ms = 0;

    } else if (own->on_ms == 0) {
        /* since when, is not known of what was there before us */
        own->on_ms = own->looked ? l->mono : 1;
    }
}


/* As gateways say; until all have said it somebody may be. */

static void
ct_facts_connected(ct_look_t *l)
{
    bk_worker_use_t  use;

    if (!ct_leads(l->ct)) {
        return;
    }

    if (ct_use(l->w, &use) != 0) {
        l->connected = 1;
        ct_dirty_worker_in(l->w, CT_ASK_MS);
        return;
    }

    l->connected = use.connections > 0;
    l->used_ms = use.last_used_ms;
}


/*
 * Who is on it keeps it; else it goes when nobody was for the pool's delay,
 * but for those that are kept warm.  One that is drained, or one too many, is
 * not started for anybody.
 */

static void
ct_facts_wanted(ct_look_t *l)
{
    uint64_t      until, used;
    ct_pool_t    *p = l->w->pool;
    ct_worker_t  *w = l->w;

    if (l->live || l->refused.code != 0) {
        l->wanted = l->live && (l->has || !l->drained);
        return;
    }

    if (l->beyond || l->drained) {
        return;
    }

    if (l->own->warm) {
        l->wanted = 1;
        return;
    }

    if (!w->wanted && !l->has) {
        return;
    }

    if (l->connected) {
        l->wanted = 1;
        return;
    }

    used = ct_facts_used(l);
    until = used + p->delay_ms;

    if (until > l->now && (p->scale == NULL || used >= p->scale->asleep_ms)) {
        l->wanted = 1;
        l->idle_ms = until - l->now;
        ct_dirty_worker_in(l->w, l->idle_ms);
        return;
    }

    w->wanted = 0;
}


/* When it was of use last, as far as anybody remembers; Unix time. */

static uint64_t
ct_facts_used(const ct_look_t *l)
{
    size_t              i;
    json_t             *e, *list;
    uint64_t            used = l->own->used_ms;
    const ct_worker_t  *w = l->w;

    if (ct_worker_is(w->o)) {
        list = ct_at(w->o, "spec", "ended", NULL);

        json_array_foreach(list, i, e) {
            ct_facts_later(&used, obj_text(e, "at"));
        }
    }

    if (l->has) {
        ct_facts_later(&used, obj_text(json_object_get(w->pod->obj,
                                            "metadata"),
                                        "creationTimestamp"));
        list = ct_at(w->pod, "status", "conditions", NULL);

        json_array_foreach(list, i, e) {
            if (strcmp(obj_text(e, "type"), "Ready") == 0) {
                ct_facts_later(&used, obj_text(e, "lastTransitionTime"));
            }
        }
    }

    if (l->used_ms > used) {
        used = l->used_ms;
    }

    /* another's clock may be before ours */
    return used < l->now ? used : l->now;
}


static void
ct_facts_later(uint64_t *used, const char *time)
{
    uint64_t  ms;

    if (obj_time(time, &ms) == 0 && ms > *used) {
        *used = ms;
    }
}
