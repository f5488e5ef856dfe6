/*
 * The Pod of a worker: made, kept while somebody is on it, deleted.  See
 * ct_worker.h.
 *
 * While somebody is on it it has a finalizer: whoever deletes it, what is
 * known of it stays until the allocation has ended.  That also changes its
 * resourceVersion, by which a deletion that somebody decided before (one who
 * led then) is refused.
 */

#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "ct_worker.h"
#include "mk.h"


static int ct_pod_used(const ct_look_t *l);
static void ct_pod_keep(ct_look_t *l);
static void ct_pod_make(ct_look_t *l);
static json_t *ct_pod_new(void *data, ct_obj_t *o, bk_err_t *err);
static json_t *ct_pod_body(ct_worker_t *w, bk_err_t *err);
static void ct_pod_made(void *data, ct_obj_t *o, const bk_err_t *err);
static void ct_pod_end(ct_look_t *l);
static void ct_pod_stop(ct_look_t *l, const char *why);
static int ct_pod_alone(ct_worker_t *w);
static json_t *ct_pod_delete(void *data, ct_obj_t *o, bk_err_t *err);
static json_t *ct_pod_clear(void *data, ct_obj_t *o, bk_err_t *err);
static void ct_pod_deleted(void *data, ct_obj_t *o, const bk_err_t *err);
static json_t *ct_pod_hold(void *data, ct_obj_t *o, bk_err_t *err);
static json_t *ct_pod_free(void *data, ct_obj_t *o, bk_err_t *err);
static void ct_pod_done(void *data, ct_obj_t *o, const bk_err_t *err);


void
ct_pod_look(ct_look_t *l)
{
    ct_worker_t  *w = l->w;

    if (!l->has) {
        if (l->wanted) {
            ct_pod_make(l);
        }

        return;
    }

    if (ct_writing(w->pod)) {
        return;
    }

    if (l->stale) {
        /* its BuildKitWorker is gone, and so is whoever was on it */
        ct_pod_orphan(w);
        return;
    }

    if (!l->mine) {
        return;
    }

    ct_pod_keep(l);

    if (!ct_pod_used(l) && !l->pod.terminating) {
        ct_pod_end(l);
    }
}


/* Somebody is on this Pod, or was when it was lost and has not been told so
 * far.  Who waits for the next one is not on the last. */

static int
ct_pod_used(const ct_look_t *l)
{
    return l->live && (l->usable || l->own->failed);
}


/* --- it is made ----------------------------------------------------------- */

static void
ct_pod_make(ct_look_t *l)
{
    ct_t         *ct = l->ct;
    ct_worker_t  *w = l->w;
    char          ns[64];

    if (l->mono < l->own->retry_ms) {
        ct_dirty_worker_in(w, l->own->retry_ms - l->mono);
        return;
    }

    if (!ct_pool_ready(w->pool) || !ct_claim_ready(w)) {
        return;
    }

    if (w->pod == NULL) {
        snprintf(ns, sizeof(ns), "%.*s", (int) strcspn(w->key, "/"), w->key);
        w->pod = ct_obj_get(ct, CT_POD, ns, w->name);
        w->pod->worker = w;
        w->pod->pool = w->pool;
    }

    if (!ct_writing(w->pod)) {
        ct_write(w->pod, CT_CREATE, ct_pod_new, ct_pod_made, w);
    }
}


static json_t *
ct_pod_new(void *data, ct_obj_t *o, bk_err_t *err)
{
    ct_worker_t  *w = data;

    (void) o;

    if (w->o == NULL || w->o->obj == NULL || ct_deleting(w->o)
        || w->pool->o == NULL || w->pool->o->obj == NULL)
    {
        return NULL;
    }

    return ct_pod_body(w, err);
}


/* Two times: its hash is of all but itself, and of what it mounts. */

static json_t *
ct_pod_body(ct_worker_t *w, bk_err_t *err)
{
    char         claim[K8S_NAME_MAX + 1], hash[17], all[64];
    json_t      *body;
    mk_worker_t  mk;

    snprintf(claim, sizeof(claim), "cache-%s", w->name);

    memset(&mk, 0, sizeof(mk));
    mk.pool_ns = mk_ns(w->pool->o->obj);
    mk.name = w->name;
    mk.uid = w->o != NULL ? ct_uid(w->o) : "";
    mk.secret = ct_pool_worker_secret(w->pool);
    mk.config = ct_pool_worker_config(w->pool);
    mk.claim = w->pool->cache_size != NULL ? claim : NULL;
    mk.hash = "";

    body = mk_pod(w->pool->o->obj, w->pool->ct->conf, &mk, err);
    if (body == NULL) {
        return NULL;
    }

    mk_hash(body, hash);
    json_decref(body);

    snprintf(all, sizeof(all), "%s%s%.40s", hash,
             ct_pool_worker_hash(w->pool)[0] != '\0' ? "-" : "",
             ct_pool_worker_hash(w->pool));
    mk.hash = all;

    return mk_pod(w->pool->o->obj, w->pool->ct->conf, &mk, err);
}


/* One that the API server does not take is like one that ends at once. */

static void
ct_pod_made(void *data, ct_obj_t *o, const bk_err_t *err)
{
    char          why[OBJ_TEXT_MAX];
    ct_look_t     l;
    ct_worker_t  *w = data;

    (void) o;
    ct_dirty_worker(w);

    if (w->own == NULL) {
        return;
    }

    if (err == NULL) {
        if (w->pod->obj != NULL && w->o != NULL && w->o->obj != NULL) {
            ct_pool_pods_bad(w->pool, NULL);
            ct_event(w->o, "Normal", "Started", "its Pod was made");
        }

        return;
    }

    if (err->code == 400 || err->code == 422) {
        ct_pool_pods_bad(w->pool, err);
    }

    if (err->code >= 500 || strcmp(err->reason, "Conflict") == 0) {
        /* nobody has refused it */
        return;
    }

    snprintf(why, sizeof(why), "its Pod cannot be made: %.160s", err->text);
    memset(&l, 0, sizeof(l));
    l.ct = w->pool->ct;
    l.host = l.ct->host;
    l.w = w;
    l.own = w->own;
    l.mono = l.host->monotonic_ms(l.host);
    ct_worker_crash(&l, "", why);
}


/* --- it is deleted -------------------------------------------------------- */

static void
ct_pod_end(ct_look_t *l)
{
    ct_worker_t  *n;

    if (l->over) {
        ct_write(l->w->pod, CT_DELETE, ct_pod_clear, ct_pod_done, l->w);
        return;
    }

    /* somebody may be about to get it, or to notice that his time is up */
    if (l->own->stopping || l->connected
        || (l->w->o != NULL && ct_changing(l->w->o)))
    {
        return;
    }

    if (!l->wanted) {
        ct_pod_stop(l, l->beyond ? ct_worker_beyond
                       : l->drained ? "it is drained"
                       : "nobody has used it for the pool's scaleDownDelay");
        return;
    }

    if (!ct_pod_old(l)) {
        return;
    }

    /* one after the other: the rest is there for who comes */
    DL_FOREACH(l->w->pool->workers, n) {
        if (n->own != NULL && n != l->w
            && (n->own->replaced
                || (n->own->runs && !n->own->live && n->slot >= 0
                    && n->own->state == BK_WORKER_STARTING)))
        {
            return;
        }
    }

    l->own->replaced = 1;
    ct_pod_stop(l, "it is replaced: its pool has changed");
}


/* First nobody gets it any more, then it is deleted. */

static void
ct_pod_stop(ct_look_t *l, const char *why)
{
    struct ct_worker_own_s  *own = l->own;

    own->stopping = 1;
    obj_copy(own->stop_uid, sizeof(own->stop_uid), l->pod.uid);
    obj_copy(own->stop, sizeof(own->stop), why);

    if (own->put) {
        ct_show(l);
    }

    if (l->w->o != NULL && l->w->o->obj != NULL) {
        ct_event(l->w->o, "Normal", "Stopping", "%s", why);
    }

    ct_write(l->w->pod, CT_DELETE, ct_pod_delete, ct_pod_deleted, l->w);
}


/* When it is this write's turn somebody may have got it after all. */

static json_t *
ct_pod_delete(void *data, ct_obj_t *o, bk_err_t *err)
{
    ct_worker_t  *w = data;

    (void) err;

    if (ct_worker_busy(w) || ct_deleting(o)
        || strncmp(ct_uid(o), w->own->stop_uid, CT_UID_MAX - 1) != 0)
    {
        return NULL;
    }

    return json_object();
}


static json_t *
ct_pod_clear(void *data, ct_obj_t *o, bk_err_t *err)
{
    (void) data;
    (void) err;

    return ct_deleting(o) ? NULL : json_object();
}


static void
ct_pod_deleted(void *data, ct_obj_t *o, const bk_err_t *err)
{
    ct_worker_t  *w = data;

    /* it was not: somebody has it, or it is decided anew */
    if (w->own != NULL && o->obj != NULL && !ct_deleting(o)) {
        w->own->stopping = 0;
        w->own->replaced = 0;
    }

    ct_pod_done(w, o, err);
}


/* Nothing holds what nobody has; whoever deletes the rest, need not wait.  But
 * not a Pod that is somebody else's. */

void
ct_pod_orphan(ct_worker_t *w)
{
    bk_err_t   err;
    obj_pod_t  pod;

    if (w->pod == NULL || w->pod->obj == NULL
        || !ct_may(w->pool->ct, w->key) || ct_writing(w->pod))
    {
        return;
    }

    memset(&err, 0, sizeof(err));
    (void) obj_pod_read(w->pod->obj, NULL, &pod, &err);

    if (pod.worker == NULL || strcmp(pod.worker, w->name) != 0
        || strcmp(err.reason, "NotOurPod") == 0 || !ct_pod_alone(w))
    {
        return;
    }

    if (ct_finalizer(w->pod, CT_FINALIZER)) {
        ct_write(w->pod, CT_TEND, ct_pod_free, ct_pod_done, w);
    }

    if (!ct_deleting(w->pod)) {
        ct_write(w->pod, CT_DELETE, ct_pod_clear, ct_pod_done, w);
    }
}


/* Watches come late, and that of the Pods need not be the last: whose it is,
 * is asked before a build in it ends for that.  1: it was, since. */

static int
ct_pod_alone(ct_worker_t *w)
{
    ct_t                    *ct = w->pool->ct;
    ct_obj_t                *o = ct_worker_is(w->o) && !ct_worker_is(w->pool->o)
                                 ? w->pool->o : w->o;
    struct ct_worker_own_s  *own = w->own;

    /* what is under way may have been asked before */
    if (o == NULL || o->req != NULL || o->reads) {
        return 0;
    }

    if (strncmp(ct_uid(w->pod), own->orphan_uid, CT_UID_MAX - 1) != 0) {
        obj_copy(own->orphan_uid, sizeof(own->orphan_uid), ct_uid(w->pod));
        own->orphan_ms = ct->host->monotonic_ms(ct->host);

    } else if (o->read_ms > own->orphan_ms) {
        return 1;
    }

    ct_obj_read(o);

    return 0;
}


/* Is it of a pool, of certificates, as they are not any more? */

int
ct_pod_old(ct_look_t *l)
{
    char                     of[sizeof(l->own->hash_of)];
    json_t                  *body;
    bk_err_t                 err;
    const char              *is;
    ct_worker_t             *w = l->w;
    struct ct_worker_own_s  *own = l->own;

    snprintf(of, sizeof(of), "%lld %.16s %.20s", (long long)
             json_integer_value(ct_at(w->pool->o, "metadata", "generation",
                                      NULL)),
             ct_pool_worker_hash(w->pool), ct_uid(w->o));

    /* and none is made instead */
    if (mk_allowed(w->pool->o->obj, l->ct->conf, &err) != 0) {
        return 1;
    }

    if (!ct_pool_ready(w->pool)) {
        return 0;
    }

    if (strcmp(of, own->hash_of) != 0) {
        body = ct_pod_body(w, &err);

        if (body == NULL) {
            return 0;
        }

        obj_copy(own->hash, sizeof(own->hash),
                 obj_text(json_object_get(json_object_get(body, "metadata"),
                                          "annotations"), MK_ANNOTATION_HASH));
        memcpy(own->hash_of, of, sizeof(of));
        json_decref(body);
    }

    is = json_string_value(ct_at(w->pod, "metadata", "annotations",
                                 MK_ANNOTATION_HASH, NULL));

    return strcmp(is != NULL ? is : "", own->hash) != 0;
}


/* --- it is kept ----------------------------------------------------------- */

static void
ct_pod_keep(ct_look_t *l)
{
    int  held = ct_finalizer(l->w->pod, CT_FINALIZER);

    if (l->live && l->usable && !held && !l->pod.terminating) {
        ct_write(l->w->pod, CT_TEND, ct_pod_hold, ct_pod_done, l->w);

    } else if (!ct_pod_used(l) && held) {
        obj_copy(l->own->free_uid, sizeof(l->own->free_uid),
                 l->over ? l->pod.uid : "");
        ct_write(l->w->pod, CT_TEND, ct_pod_free, ct_pod_done, l->w);
    }
}


static json_t *
ct_pod_hold(void *data, ct_obj_t *o, bk_err_t *err)
{
    (void) err;

    return ct_worker_busy(data) && !ct_deleting(o)
           && !ct_finalizer(o, CT_FINALIZER)
           ? ct_finalizers(o, CT_FINALIZER, 1) : NULL;
}


static json_t *
ct_pod_free(void *data, ct_obj_t *o, bk_err_t *err)
{
    ct_worker_t  *w = data;

    (void) err;

    if (!ct_finalizer(o, CT_FINALIZER)) {
        return NULL;
    }

    /* unless it is over, and whoever has the worker by now waits */
    if (w->o != NULL && w->o->obj != NULL && ct_worker_busy(w)
        && (w->own == NULL
            || strncmp(ct_uid(o), w->own->free_uid, CT_UID_MAX - 1) != 0))
    {
        return NULL;
    }

    return ct_finalizers(o, CT_FINALIZER, 0);
}


static void
ct_pod_done(void *data, ct_obj_t *o, const bk_err_t *err)
{
    (void) o;

    /* what failed is looked at again in time: ct_write() */
    if (err == NULL) {
        ct_dirty_worker(data);
    }
}
