/*
 * One worker of the companion, to the model: which Pod it is, and what state
 * that makes.  See gw.h.
 *
 * A Pod that is ready is the worker's address.  From then on it stays so as
 * long as it runs: one that is not ready for a while, or is being deleted, may
 * have a build on it.  When it is gone, who was on it fails with its reason.
 */

#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "gw.h"


static void gw_show_inherit(gw_t *gw, gw_worker_t *w);
static gw_pod_t *gw_show_pod(const gw_worker_t *w);
static int gw_show_better(const gw_worker_t *w, const gw_pod_t *p,
    const gw_pod_t *than);
static gw_pod_t *gw_show_word(const gw_worker_t *w);
static int gw_show_keeps(const gw_worker_t *w, const gw_pod_t *p);
static void gw_show_lost(gw_t *gw, gw_worker_t *w, const gw_pool_t *p);
static int gw_show_state(gw_t *gw, gw_worker_t *w, const gw_pod_t *pod,
    const char **message);
static void gw_show_drain(gw_t *gw, gw_worker_t *w, const gw_pod_t *pod);
static int gw_show_put(gw_t *gw, gw_worker_t *w, const gw_pool_t *p,
    int state, const char *message);
static int gw_show_mine(const gw_worker_t *w, const gw_pod_t *p);


void
gw_show(gw_t *gw, gw_worker_t *w, const gw_pool_t *p)
{
    int          state;
    gw_pod_t    *pod;
    const char  *message;

    if (!w->put) {
        gw_show_inherit(gw, w);
    }

    pod = gw_show_pod(w);

    if (w->shown[0] != '\0'
        && (pod == NULL || strcmp(pod->uid, w->shown_uid) != 0
            || strcmp(pod->address, w->shown) != 0))
    {
        gw_show_lost(gw, w, p);
    }

    w->fresh = 0;

    /* only one that is ready is begun with */
    if (pod != NULL && w->shown[0] == '\0' && pod->ready && !pod->terminating)
    {
        memcpy(w->shown, pod->address, sizeof(w->shown));
        memcpy(w->shown_uid, pod->uid, sizeof(w->shown_uid));
        w->fresh = 1;
    }

    state = gw_show_state(gw, w, pod, &message);

    if (gw_show_put(gw, w, p, state, message) == 0) {
        gw_show_drain(gw, w, pod);
        gw_set(&w->lost, NULL);
    }
}


/* After a restart: the model has what an earlier run has left. */

static void
gw_show_inherit(gw_t *gw, gw_worker_t *w)
{
    gw_pod_t          *p;
    bk_alloc_info_t    alloc;
    bk_worker_info_t   info;

    if (gw->host->worker_find(gw->host, GW_STR(w->pool), GW_STR(w->name),
                              &info) != 0
        || info.endpoint.len == 0 || info.endpoint.len >= sizeof(w->shown)
        || info.state == BK_WORKER_STOPPED || info.state == BK_WORKER_FAILED)
    {
        return;
    }

    memcpy(w->shown, info.endpoint.data, info.endpoint.len);
    w->shown[info.endpoint.len] = '\0';
    w->shown_uid[0] = '\0';

    DL_FOREACH(w->pods, p) {
        if (gw_show_mine(w, p) && !p->finished
            && strcmp(p->address, w->shown) == 0)
        {
            memcpy(w->shown_uid, p->uid, sizeof(w->shown_uid));
        }
    }

    if (w->claim != NULL
        && gw->host->alloc_find(gw->host, w->claim->hash, &alloc) == 0
        && !bk_alloc_ended(alloc.state) && alloc.worker.len == strlen(w->name)
        && memcmp(alloc.worker.data, w->name, alloc.worker.len) == 0)
    {
        memcpy(w->on, w->claim->hash, OBJ_HASH_LEN);
        w->was_on = 1;
        w->on_ms = 0;
    }
}


/* --- which Pod ------------------------------------------------------------ */

/* The one that it is now or will be: NULL: none that lives on. */

static gw_pod_t *
gw_show_pod(const gw_worker_t *w)
{
    gw_pod_t  *p, *best = NULL;

    DL_FOREACH(w->pods, p) {
        if (!gw_show_mine(w, p) || p->finished) {
            continue;
        }

        if (gw_show_keeps(w, p)) {
            return p;
        }

        if (!p->terminating && (best == NULL || gw_show_better(w, p, best))) {
            best = p;
        }
    }

    return best;
}


/* A Pod that goes is kept for who is on it, and for nobody else. */

static int
gw_show_keeps(const gw_worker_t *w, const gw_pod_t *p)
{
    if (w->shown[0] == '\0' || strcmp(w->shown_uid, p->uid) != 0) {
        return 0;
    }

    return !p->terminating
           || (w->claim != NULL && w->was_on
               && memcmp(w->claim->hash, w->on, OBJ_HASH_LEN) == 0);
}


/* Pods may be made by others than who makes workers; status is not. */

static int
gw_show_better(const gw_worker_t *w, const gw_pod_t *p, const gw_pod_t *than)
{
    int  mine, its;

    mine = strcmp(p->name, w->pod) == 0 ? 2 : strcmp(p->name, w->name) == 0;
    its = strcmp(than->name, w->pod) == 0 ? 2
          : strcmp(than->name, w->name) == 0;

    if (mine != its) {
        return mine > its;
    }

    return strcmp(p->created, than->created) < 0;
}


/* Of those that are over, one that says why. */

static gw_pod_t *
gw_show_word(const gw_worker_t *w)
{
    gw_pod_t  *p, *word = NULL;

    DL_FOREACH(w->pods, p) {
        if (gw_show_mine(w, p)
            && (word == NULL || (word->why[0] == '\0' && p->why[0] != '\0')))
        {
            word = p;
        }
    }

    return word;
}


static int
gw_show_mine(const gw_worker_t *w, const gw_pod_t *p)
{
    return strcmp(p->owner, w->uid) == 0;
}


/* --- what that means ------------------------------------------------------ */

/* The Pod that it was is not there, or is over. */

static void
gw_show_lost(gw_t *gw, gw_worker_t *w, const gw_pool_t *p)
{
    gw_pod_t    *pod;
    const char  *why = w->lost;

    DL_FOREACH(w->pods, pod) {
        if (strcmp(pod->uid, w->shown_uid) == 0 && pod->why[0] != '\0') {
            why = pod->why;
        }
    }

    w->shown[0] = '\0';
    w->shown_uid[0] = '\0';

    if (w->was_on && w->claim != NULL
        && memcmp(w->claim->hash, w->on, OBJ_HASH_LEN) == 0)
    {
        gw->lost++;

        if (!gw_alloc_loses(gw, w)) {
            (void) gw_show_put(gw, w, p, BK_WORKER_FAILED, why != NULL ? why
                               : "its Pod has ended");
        }
    }

    w->was_on = 0;
}


static int
gw_show_state(gw_t *gw, gw_worker_t *w, const gw_pod_t *pod,
    const char **message)
{
    int              live;
    const gw_pod_t  *word = pod != NULL ? pod : gw_show_word(w);

    *message = word != NULL && word->why[0] != '\0' ? word->why : w->message;

    if (w->shown[0] != '\0') {
        if (pod->ready && !pod->terminating) {
            *message = "";
        }

        return pod->ready || pod->terminating ? BK_WORKER_READY
                                              : BK_WORKER_STARTING;
    }

    live = gw_alloc_live(gw, w);

    if (w->phase == OBJ_PHASE_FAILED) {
        return BK_WORKER_FAILED;
    }

    if (pod != NULL || live || w->phase == OBJ_PHASE_PROVISIONING) {
        return BK_WORKER_STARTING;
    }

    if (word != NULL && word->finished) {
        return BK_WORKER_FAILED;
    }

    return BK_WORKER_STOPPED;
}


/* Only what is new: an operator of this host may have drained it, too. */

static void
gw_show_drain(gw_t *gw, gw_worker_t *w, const gw_pod_t *pod)
{
    bk_err_t     err;
    const char  *why = w->drained;

    if (why == NULL && w->shown[0] != '\0' && pod != NULL && pod->terminating)
    {
        why = pod->why[0] != '\0' ? pod->why : "its Pod is being deleted";
    }

    if ((why == NULL && w->drain_said == NULL)
        || (why != NULL && w->drain_said != NULL
            && strcmp(why, w->drain_said) == 0))
    {
        return;
    }

    if (gw->host->worker_drain(gw->host, GW_STR(w->pool), GW_STR(w->name),
                               why != NULL, GW_STR(why != NULL ? why : ""),
                               &err) != 0)
    {
        gw->host->log(gw->host, BK_LOG_WARN, "worker %s: %s", w->key,
                      err.text);
        return;
    }

    gw_set(&w->drain_said, why);
}


/* Its name in certificates is its own: whoever has its address later is
 * another one. */

static int
gw_show_put(gw_t *gw, gw_worker_t *w, const gw_pool_t *p, int state,
    const char *message)
{
    char              tls[2 * BK_TABLE_NAME_LEN + BK_TABLE_POOL_LEN];
    size_t            ns = (size_t) (strchr(w->key, '/') - w->key);
    bk_err_t          err;
    bk_worker_info_t  info;

    snprintf(tls, sizeof(tls), "%s.%s.%.*s.workers.buildkit.internal",
             w->name, p->key + ns + 1, (int) ns, w->key);

    memset(&info, 0, sizeof(info));
    info.pool = GW_STR(p->key);
    info.name = GW_STR(w->name);
    info.endpoint = GW_STR(w->shown);
    info.tls_name = GW_STR(tls);
    info.arch = GW_STR(p->arch);
    info.message = GW_STR(message);
    info.state = state;

    if (gw->host->worker_put(gw->host, &info, &err) != 0) {
        gw_refuse(gw, "the worker of BuildKitWorker", w->key, &err);

        if (strcmp(err.reason, "TableFull") == 0) {
            w->waiting = 1;
            gw_again_in(gw, GW_RETRY_MS);
        }

        return -1;
    }

    gw_refuse_not(gw, "the worker of BuildKitWorker", w->key);
    gw_set(&w->put_pool, p->key);
    w->put = 1;
    w->state = state;

    return 0;
}


void
gw_hide(gw_t *gw, gw_worker_t *w)
{
    bk_err_t  err;

    if (!w->put) {
        return;
    }

    if (gw->host->worker_delete(gw->host, GW_STR(w->put_pool),
                                GW_STR(w->name), &err) != 0
        && err.code != 404)
    {
        gw->host->log(gw->host, BK_LOG_WARN, "worker %s: %s", w->key,
                      err.text);
    }

    gw_forget(w);
}


void
gw_forget(gw_worker_t *w)
{
    w->put = 0;
    w->was_on = 0;
    w->shown[0] = '\0';
    w->shown_uid[0] = '\0';
    gw_set(&w->drain_said, NULL);
    gw_set(&w->lost, NULL);
}
