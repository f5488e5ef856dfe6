/*
 * A worker of the controller, to the model: see ct_worker.h.
 *
 * As the companions do it (gw_show.c): a Pod that is ready is its address, and
 * stays so as long as it runs, for it may have a build on it.  When it is lost
 * who was on it fails, with the Pod's own reason; what follows from that for
 * its object is the allocator's, by the store.
 *
 * Nobody new gets one that is to go: DRAINING, in which who is on it stays
 * ready.
 */

#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "ct_worker.h"
#include "mk.h"


static void ct_show_inherit(ct_look_t *l);
static void ct_show_begin(ct_look_t *l);
static void ct_show_lost(ct_look_t *l);
static const char *ct_show_why(const ct_look_t *l);
static int ct_show_waits(const ct_look_t *l);
static void ct_show_state(ct_look_t *l);
static void ct_show_up(ct_look_t *l);
static void ct_show_down(ct_look_t *l);
static void ct_show_drained(const ct_look_t *l, char *buf, size_t size);
static int ct_show_knows(const ct_look_t *l);
static void ct_show_text(const ct_look_t *l, char *buf, size_t size);
static void ct_show_put(ct_look_t *l, int state, const char *endpoint,
    const char *message);


void
ct_show(ct_look_t *l)
{
    struct ct_worker_own_s  *own = l->own;

    if (!own->looked) {
        ct_show_inherit(l);
    }

    if (own->shown[0] != '\0'
        && (!l->usable
            || strncmp(l->pod.uid, own->shown_uid, CT_UID_MAX - 1) != 0
            || strcmp(l->pod.address, own->shown) != 0))
    {
        ct_show_lost(l);
    }

    if (own->shown[0] == '\0' && l->usable && l->pod.ready
        && !l->pod.terminating)
    {
        ct_show_begin(l);
    }

    /* one that ended before it was of use to anybody */
    if (l->over && !own->stopping && !l->pod.terminating) {
        ct_worker_crash(l, l->pod.uid, l->pod.why);
    }

    if (own->failed && !l->held && !l->has) {
        own->failed = 0;
    }

    if (own->shown[0] != '\0' && l->pod.terminating) {
        obj_copy(own->going, sizeof(own->going), l->pod.why);
    }

    ct_show_state(l);
}


void
ct_show_hide(ct_worker_t *w)
{
    bk_err_t                 err;
    const bk_host_t         *h = w->pool->ct->host;
    struct ct_worker_own_s  *own = w->own;

    if (own == NULL || !own->put) {
        return;
    }

    own->put = 0;
    own->shown[0] = '\0';

    if (h->worker_delete(h, CT_STR(w->pool->key), CT_STR(w->name), &err) != 0
        && err.code != 404)
    {
        h->log(h, BK_LOG_WARN, "worker %s: %s", w->key, err.text);
    }
}


/* --- which Pod ------------------------------------------------------------ */

/* Somebody led before us, and gave it to who is on it: has it the same Pod? */

static void
ct_show_inherit(ct_look_t *l)
{
    json_t                  *status;
    bk_err_t                 err;
    const char              *ip;
    struct ct_worker_own_s  *own = l->own;

    if (!l->held || l->w->o == NULL) {
        return;
    }

    status = ct_at(l->w->o, "status", NULL);
    ip = obj_text(status, "podIP");

    if (strcmp(obj_text(status, "phase"), "Allocated") != 0 || ip[0] == '\0'
        || obj_address(ip, OBJ_PORT, ct_avoid(l->ct), own->shown,
                       sizeof(own->shown), &err) != 0)
    {
        own->shown[0] = '\0';
        return;
    }

    own->shown_uid[0] = '\0';

    if (l->mine && (l->over || strcmp(l->pod.address, own->shown) == 0)) {
        obj_copy(own->shown_uid, sizeof(own->shown_uid), l->pod.uid);
    }
}


static void
ct_show_begin(ct_look_t *l)
{
    struct ct_worker_own_s  *own = l->own;

    obj_copy(own->shown, sizeof(own->shown), l->pod.address);
    obj_copy(own->shown_uid, sizeof(own->shown_uid), l->pod.uid);
    own->going[0] = '\0';
    own->ready_ms = l->mono;
    own->failed = 0;

    if (own->looked && ct_leads(l->ct)) {
        ct_event(l->w->o, "Normal", "Ready", "its Pod is ready, at %s",
                 own->shown);
    }
}


/* The Pod that it was is not there, or cannot be used any more. */

static void
ct_show_lost(ct_look_t *l)
{
    char                     endpoint[OBJ_ADDRESS_MAX], why[OBJ_TEXT_MAX];
    struct ct_worker_own_s  *own = l->own;

    memcpy(endpoint, own->shown, sizeof(endpoint));
    obj_copy(why, sizeof(why), ct_show_why(l));
    own->shown[0] = '\0';

    if (own->put && l->allocations > 0 && ct_show_waits(l)) {
        /* in two steps: who is ready would fail with the address */
        ct_show_put(l, BK_WORKER_STARTING, endpoint, why);
        ct_show_put(l, BK_WORKER_STARTING, "", why);
        return;
    }

    if (l->live) {
        own->failed = 1;

        if (!l->over || own->stopping || l->pod.terminating) {
            /* else it is said when it is counted */
            l->host->log(l->host, BK_LOG_WARN, "worker %s is lost, with "
                         "somebody on it: %s", l->w->key, why);

            if (l->w->o != NULL && l->w->o->obj != NULL) {
                ct_event(l->w->o, "Warning", "Lost", "%s", why);
            }
        }

        obj_copy(own->why, sizeof(own->why), why);
    }
}


/* In the words of who knows. */

static const char *
ct_show_why(const ct_look_t *l)
{
    if (l->mine && strncmp(l->pod.uid, l->own->shown_uid, CT_UID_MAX - 1) == 0
        && l->pod.why[0] != '\0')
    {
        return l->pod.why;
    }

    if (l->w->o == NULL || l->w->o->obj == NULL) {
        return "its BuildKitWorker was deleted";
    }

    return l->own->going[0] != '\0' ? l->own->going : "its Pod was deleted";
}


/*
 * It was given to somebody when the Pod was already gone, or going because
 * nobody had it: he waits for the next one.
 */

static int
ct_show_waits(const ct_look_t *l)
{
    return l->w->o != NULL && l->w->o->obj != NULL
           && (l->own->stopping
               || (l->own->on_ms != 0
                   && l->mono - l->own->on_ms < CT_YOUNG_MS));
}


/* --- what that means ------------------------------------------------------ */

static void
ct_show_state(ct_look_t *l)
{
    if (l->own->shown[0] != '\0') {
        ct_show_up(l);

    } else {
        ct_show_down(l);
    }
}


static void
ct_show_up(ct_look_t *l)
{
    char                     text[OBJ_TEXT_MAX];
    struct ct_worker_own_s  *own = l->own;

    if (l->pod.terminating) {
        ct_show_put(l, BK_WORKER_DRAINING, own->shown,
                    own->stopping && !l->live ? own->stop
                    : l->pod.why[0] != '\0' ? l->pod.why
                    : "its Pod is being deleted");

    } else if (own->stopping) {
        ct_show_put(l, BK_WORKER_DRAINING, own->shown, own->stop);

    } else if (!l->pod.ready) {
        ct_show_put(l, BK_WORKER_STARTING, own->shown, l->pod.why);

    } else if (l->beyond || l->foreign || l->drained) {
        ct_show_drained(l, text, sizeof(text));
        ct_show_put(l, BK_WORKER_DRAINING, own->shown, l->foreign
                    ? ct_worker_foreign : l->beyond ? ct_worker_beyond
                    : text);

    } else {
        ct_show_put(l, BK_WORKER_READY, own->shown, "");
    }
}


static void
ct_show_down(ct_look_t *l)
{
    int                      state = BK_WORKER_STOPPED;
    char                     text[OBJ_TEXT_MAX];
    struct ct_worker_own_s  *own = l->own;

    ct_show_text(l, text, sizeof(text));

    if (own->failed || l->refused.code != 0 || l->foreign || l->hung
        || (l->has && !l->mine && !l->stale))
    {
        state = BK_WORKER_FAILED;

    } else if (own->crashes >= CT_CRASHES_MAX
               && (l->wanted || l->has || l->mono < own->retry_ms))
    {
        state = BK_WORKER_FAILED;

    } else if (l->live || l->wanted) {
        state = BK_WORKER_STARTING;
    }

    ct_show_put(l, state, "", text);

    if (state == BK_WORKER_STOPPED && l->drained && !ct_show_knows(l)) {
        ct_show_drained(l, text, sizeof(text));
        ct_show_put(l, BK_WORKER_FAILED, "", text);
    }
}


static void
ct_show_drained(const ct_look_t *l, char *buf, size_t size)
{
    char         text[2 * OBJ_TEXT_MAX];
    const char  *why;

    why = obj_text(ct_at(l->w->o, "spec", "drained", NULL), "reason");
    snprintf(text, sizeof(text), "drained%s%.*s", why[0] != '\0' ? ": " : "",
             OBJ_TEXT_MAX, why);
    obj_copy(buf, size, text);
}


/* Who drains a worker with bkctl tells the host, who says so then; who writes
 * it into the object does not, and the allocator would have it started. */

static int
ct_show_knows(const ct_look_t *l)
{
    bk_worker_info_t  info;

    return l->host->worker_find(l->host, CT_STR(l->w->pool->key),
                                CT_STR(l->w->name), &info) == 0
           && info.message.len >= strlen("drained")
           && memcmp(info.message.data, "drained", strlen("drained")) == 0;
}


/* What somebody who waits for it is told. */

static void
ct_show_text(const ct_look_t *l, char *buf, size_t size)
{
    char                           text[2 * OBJ_TEXT_MAX];
    const char                    *s = "";
    const struct ct_worker_own_s  *own = l->own;

    text[0] = '\0';

    if (own->failed) {
        s = own->why;

    } else if (l->refused.code != 0) {
        s = l->refused.text;

    } else if (l->hung) {
        s = l->pod.why;

    } else if (l->has && !l->mine && !l->stale) {
        snprintf(text, sizeof(text), "a Pod of its name is not its own: "
                 "%.120s", l->bad.text);
        s = text;

    } else if (own->crashes > 0 && (!l->usable || own->crashes
                                                  >= CT_CRASHES_MAX))
    {
        s = own->why;

    } else if (l->foreign) {
        s = ct_worker_foreign;

    } else if (l->usable && !l->pod.terminating) {
        s = l->pod.why[0] != '\0' ? l->pod.why : "its Pod is starting";

    } else if (l->has) {
        s = "its last Pod is still ending";

    } else if (l->wanted && !ct_pool_ready(l->w->pool)) {
        s = ct_pool_why(l->w->pool);
    }

    obj_copy(buf, size, s);
}


static void
ct_show_put(ct_look_t *l, int state, const char *endpoint,
    const char *message)
{
    char                    *tls, ns[64];
    bk_err_t                 err;
    bk_worker_info_t         info;
    ct_pool_t               *p = l->w->pool;
    struct ct_worker_own_s  *own = l->own;

    snprintf(ns, sizeof(ns), "%.*s", (int) strcspn(p->key, "/"), p->key);
    tls = mk_worker_tls_name(ns, strchr(p->key, '/') + 1, l->w->name);

    memset(&info, 0, sizeof(info));
    info.pool = CT_STR(p->key);
    info.name = CT_STR(l->w->name);
    info.endpoint = CT_STR(endpoint);
    info.tls_name = CT_STR(tls);
    info.arch = CT_STR(p->arch);
    info.message = CT_STR(message);
    info.state = state;

    /* before: what it makes others do may ask for it */
    own->put = 1;
    own->state = state;

    if (l->host->worker_put(l->host, &info, &err) == 0) {
        own->unput = 0;

    } else {
        own->put = 0;

        if (!own->unput) {
            own->unput = 1;
            l->host->log(l->host, BK_LOG_WARN, "worker %s: %s", l->w->key,
                         err.text);
        }
    }

    free(tls);
}
