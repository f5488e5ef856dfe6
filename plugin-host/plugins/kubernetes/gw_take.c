/* What watches tell the companion becomes records: see gw.h. */

#include <string.h>

#include "bk_err.h"
#include "gw.h"


static void gw_take_pool(void *data, json_t *obj, int again);
static void gw_take_pool_gone(void *data, const char *ns, const char *name,
    json_t *obj);
static void gw_take_worker(void *data, json_t *obj, int again);
static void gw_take_facts(gw_t *gw, gw_worker_t *w, const obj_worker_t *o);
static void gw_take_worker_gone(void *data, const char *ns, const char *name,
    json_t *obj);
static void gw_take_no_worker(gw_t *gw, const char *key);
static void gw_take_pod(void *data, json_t *obj, int again);
static void gw_take_pod_gone(void *data, const char *ns, const char *name,
    json_t *obj);
static void gw_take_no_pod(gw_t *gw, const char *key, const char *why);
static char *gw_take_key(json_t *obj);
static void gw_take_uid(char *buf, const char *uid);


const k8s_watch_ops_t  gw_take_ops[GW_KINDS] = {
    { gw_take_pool, gw_take_pool_gone, gw_synced, gw_state },
    { gw_take_worker, gw_take_worker_gone, gw_synced, gw_state },
    { gw_take_pod, gw_take_pod_gone, gw_synced, gw_state }
};


/* --- pools ---------------------------------------------------------------- */

static void
gw_take_pool(void *data, json_t *obj, int again)
{
    gw_ns_t     *ns = ((gw_watch_t *) data)->ns;
    char        *key = gw_take_key(obj), arch[BK_TABLE_ARCH_LEN];
    gw_pool_t   *p;

    (void) again;

    p = gw_pool_get(ns, key);
    free(key);
    obj_copy(arch, sizeof(arch), obj_text(json_object_get(obj, "spec"),
                                          "arch"));

    if (strcmp(arch, p->arch) != 0) {
        memcpy(p->arch, arch, sizeof(arch));

        if (p->put) {
            gw_dirty_pool(ns->gw, p->key);
        }
    }

    if (ns->synced && !p->put) {
        gw_pool_show(ns->gw, p);
    }
}


static void
gw_take_pool_gone(void *data, const char *ns, const char *name, json_t *obj)
{
    gw_t       *gw = ((gw_watch_t *) data)->ns->gw;
    char       *key = gw_key(ns, name);
    gw_pool_t  *p = gw_pool_find(gw, key);

    (void) obj;

    gw_refuse_not(gw, "BuildKitPool", key);

    if (p != NULL) {
        gw_pool_hide(gw, p);
        gw_pool_drop(gw, p);
    }

    free(key);
}


/* --- workers -------------------------------------------------------------- */

static void
gw_take_worker(void *data, json_t *obj, int again)
{
    gw_ns_t       *ns = ((gw_watch_t *) data)->ns;
    gw_t          *gw = ns->gw;
    char          *key = gw_take_key(obj);
    bk_err_t       bad, err;
    gw_worker_t   *w;
    obj_worker_t   o;

    (void) again;
    o.ended = gw->ended;

    if (obj_worker_read(obj, &o, &bad, &err) != 0) {
        gw_refuse(gw, "BuildKitWorker", key, &err);
        gw_take_no_worker(gw, key);
        free(key);
        return;
    }

    if (bad.code != 0) {
        gw_refuse(gw, "BuildKitWorker", key, &bad);

    } else {
        gw_refuse_not(gw, "BuildKitWorker", key);
    }

    w = gw_worker_get(ns, key);
    free(key);
    gw_take_facts(gw, w, &o);
    gw_dirty(gw, w);
}


static void
gw_take_facts(gw_t *gw, gw_worker_t *w, const obj_worker_t *o)
{
    char  *pool = gw_key(o->ns, o->pool), message[OBJ_TEXT_MAX];

    gw_set(&w->pool, pool);
    gw_set(&w->pod, o->pod);
    gw_set(&w->drained, o->drained);
    free(pool);

    obj_copy(message, sizeof(message), o->message);
    gw_set(&w->message, message);
    gw_take_uid(w->uid, o->uid);
    w->present = 1;
    w->queued = o->queued ? 1 : 0;
    w->phase = o->phase;
    gw_alloc_ended(w, o->ended, o->nended);

    if (w->claim != NULL
        && (!o->has_alloc
            || memcmp(w->claim->hash, o->alloc.hash, OBJ_HASH_LEN) != 0))
    {
        gw_alloc_gone(gw, w, "");
        gw_claim_drop(gw, w);
    }

    if (o->has_alloc) {
        w->alloc = o->alloc;
        gw_claim_set(gw, w, o->alloc.hash);
    }
}


/* As it was last it may say how its allocation ended. */

static void
gw_take_worker_gone(void *data, const char *ns, const char *name, json_t *obj)
{
    gw_t          *gw = ((gw_watch_t *) data)->ns->gw;
    char          *key = gw_key(ns, name);
    bk_err_t       bad, err;
    gw_worker_t   *w = gw_worker_find(gw, key);
    obj_worker_t   o;

    gw_refuse_not(gw, "BuildKitWorker", key);
    gw_refuse_not(gw, "the allocation of BuildKitWorker", key);
    o.ended = gw->ended;

    if (w != NULL && w->present && obj != NULL
        && obj_worker_read(obj, &o, &bad, &err) == 0)
    {
        gw_take_facts(gw, w, &o);
    }

    gw_take_no_worker(gw, key);
    free(key);
}


static void
gw_take_no_worker(gw_t *gw, const char *key)
{
    gw_worker_t  *w = gw_worker_find(gw, key);

    if (w == NULL || !w->present) {
        return;
    }

    if (w->claim != NULL) {
        gw_alloc_gone(gw, w, "its worker was deleted");
        gw_claim_drop(gw, w);
    }

    w->present = 0;
    gw_dirty(gw, w);

    /* nobody has been told of it */
    if (!w->ns->synced && w->pods == NULL) {
        gw_worker_drop(gw, w);
    }
}


/* --- Pods ----------------------------------------------------------------- */

static void
gw_take_pod(void *data, json_t *obj, int again)
{
    gw_ns_t      *ns = ((gw_watch_t *) data)->ns;
    gw_t         *gw = ns->gw;
    char         *key = gw_take_key(obj), *worker;
    bk_err_t      err;
    gw_pod_t     *p;
    obj_pod_t     o;

    (void) again;

    if (obj_pod_read(obj, gw->avoid.list, &o, &err) != 0) {
        gw_refuse(gw, "Pod", key, &err);
        gw_take_no_pod(gw, key, err.text);
        free(key);
        return;
    }

    gw_refuse_not(gw, "Pod", key);
    worker = gw_key(o.ns, o.worker);
    p = gw_pod_get(gw, key, gw_worker_get(ns, worker));
    free(worker);
    free(key);

    gw_set(&p->created, o.created);
    gw_set(&p->why, o.why);
    gw_take_uid(p->uid, o.uid);
    gw_take_uid(p->owner, o.worker_uid);
    memcpy(p->address, o.address, sizeof(p->address));
    p->ready = o.ready ? 1 : 0;
    p->finished = o.finished ? 1 : 0;
    p->terminating = o.terminating ? 1 : 0;
    gw_dirty(gw, p->worker);
}


/* How it was last says why it went. */

static void
gw_take_pod_gone(void *data, const char *ns, const char *name, json_t *obj)
{
    gw_t       *gw = ((gw_watch_t *) data)->ns->gw;
    char       *key = gw_key(ns, name), why[OBJ_TEXT_MAX];

    why[0] = '\0';

    if (obj != NULL) {
        obj_pod_why(obj, why, sizeof(why));
    }

    gw_refuse_not(gw, "Pod", key);
    gw_take_no_pod(gw, key, why[0] != '\0' ? why : "its Pod was deleted");
    free(key);
}


/* The worker says it, as long as it has no other. */

static void
gw_take_no_pod(gw_t *gw, const char *key, const char *why)
{
    gw_pod_t     *p = gw_pod_find(gw, key);
    gw_worker_t  *w;

    if (p == NULL) {
        return;
    }

    w = p->worker;

    if (w->shown[0] != '\0' && strcmp(w->shown_uid, p->uid) == 0) {
        gw_set(&w->lost, why);
    }

    gw_pod_drop(gw, p);

    if (!w->present && w->pods == NULL && !w->put && w->nends == 0) {
        gw_worker_drop(gw, w);
        return;
    }

    gw_dirty(gw, w);
}


static char *
gw_take_key(json_t *obj)
{
    json_t  *meta = json_object_get(obj, "metadata");

    return gw_key(obj_text(meta, "namespace"), obj_text(meta, "name"));
}


static void
gw_take_uid(char *buf, const char *uid)
{
    size_t  n = strnlen(uid, GW_UID_MAX - 1);

    memcpy(buf, uid, n);
    buf[n] = '\0';
}
