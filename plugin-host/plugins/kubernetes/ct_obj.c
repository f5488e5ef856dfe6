/*
 * Objects as they are known: see ct.h.
 *
 * Two sources say how one is, a watch and the answers to our own writes, and
 * either may be ahead of the other.  So an older version than is known is not
 * taken, nor is one of an object that is known to be gone.
 */

#include <stdarg.h>
#include <string.h>

#include "ct.h"


const k8s_kind_t  ct_kinds[CT_KINDS] = {
    { OBJ_GROUP, "v1alpha1", "buildkitpools", "BuildKitPool" },
    { OBJ_GROUP, "v1alpha1", "buildkitworkers", "BuildKitWorker" },
    { "", "v1", "pods", "Pod" },
    { "", "v1", "persistentvolumeclaims", "PersistentVolumeClaim" },
    { "policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget" },
    { "apps", "v1", "deployments", "Deployment" },
    { "", "v1", "services", "Service" },
    { "", "v1", "pods", "Pod" },
    { "", "v1", "secrets", "Secret" },
    { "", "v1", "configmaps", "ConfigMap" },
    { "", "v1", "serviceaccounts", "ServiceAccount" },
    { "rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding" },
    { "networking.k8s.io", "v1", "ingresses", "Ingress" },
    { "gateway.networking.k8s.io", "v1alpha2", "tlsroutes", "TLSRoute" },
    { "gateway.networking.k8s.io", "v1", "gateways", "Gateway" },
    { "cert-manager.io", "v1", "certificates", "Certificate" }
};


static json_t *ct_meta(const ct_obj_t *o);
static int ct_obj_is_new(const ct_obj_t *o, json_t *obj, int watched);
static int ct_obj_was_gone(ct_obj_t *o, json_t *obj);
static int ct_obj_older(const char *a, const char *b);
static void ct_obj_changed(ct_obj_t *o, json_t *was);
static int ct_obj_same_spec(json_t *a, json_t *b);
static int ct_obj_read_left(ct_obj_t *o, json_t *obj);
static void ct_obj_free(ct_obj_t *o);


ct_obj_t *
ct_obj_find(ct_t *ct, ct_kind_t kind, const char *key)
{
    ct_obj_t  *o;

    HASH_FIND_STR(ct->objs[kind], key, o);

    return o;
}


ct_obj_t *
ct_obj_get(ct_t *ct, ct_kind_t kind, const char *ns, const char *name)
{
    size_t     n = strlen(ns), len = strlen(name);
    ct_obj_t  *o, *found;

    o = calloc(1, sizeof(ct_obj_t) + n + len + 2);
    if (o == NULL) {
        abort();
    }

    memcpy(o->key, ns, n);
    o->key[n] = '/';
    memcpy(o->key + n + 1, name, len);

    found = ct_obj_find(ct, kind, o->key);

    if (found != NULL) {
        free(o);
        return found;
    }

    o->ct = ct;
    o->kind = kind;
    o->name = o->key + n + 1;
    HASH_ADD_STR(ct->objs[kind], key, o);
    ct_index_link(o);

    return o;
}


ct_obj_t *
ct_obj_first(ct_t *ct, ct_kind_t kind)
{
    return ct->objs[kind];
}


/* --- what is said of it --------------------------------------------------- */

void
ct_obj_put(ct_obj_t *o, json_t *obj, int watched)
{
    json_t  *was = o->obj;

    if (!ct_obj_is_new(o, obj, watched)) {
        return;
    }

    /* another one of that name */
    if (was != NULL
        && strcmp(ct_uid(o), obj_text(json_object_get(obj, "metadata"),
                                      "uid"))
           != 0)
    {
        o->held++;
        ct_obj_gone(o, NULL, NULL);
        o->held--;
        was = NULL;
    }

    ct_obj_trim(o, obj);
    o->obj = json_incref(obj);
    o->known = 1;
    o->answered = !watched;

    /* It had only left what is watched, or this is older than its end after
     * all: then there is none. */
    if (ct_obj_was_gone(o, obj) && !watched) {
        ct_obj_read(o);
    }

    ct_index_link(o);
    ct_obj_changed(o, was);
    json_decref(was);
}


static int
ct_obj_is_new(const ct_obj_t *o, json_t *obj, int watched)
{
    int          same;
    json_t      *meta = json_object_get(obj, "metadata");
    const char  *version = obj_text(meta, "resourceVersion");

    if (o->gone_uid != NULL && strcmp(o->gone_uid, obj_text(meta, "uid")) == 0
        && (o->gone_version == NULL
            || ct_obj_older(version, o->gone_version)))
    {
        return 0;
    }

    if (o->obj == NULL) {
        return 1;
    }

    same = (strcmp(version, ct_version(o)) == 0);

    if (same) {
        /* the watch has come as far as the answer */
        ((ct_obj_t *) o)->answered &= !watched;
        return 0;
    }

    /* What is not watched is asked for one after the other.  A watch tells
     * them in order, even where versions go back (a restored etcd). */
    if (o->kind >= CT_WATCHED || (watched && !o->answered)) {
        return 1;
    }

    return !ct_obj_older(version, ct_version(o));
}


/* 1: of the one that is held to be gone; that is forgotten. */

static int
ct_obj_was_gone(ct_obj_t *o, json_t *obj)
{
    if (o->gone_uid == NULL
        || strcmp(o->gone_uid, obj_text(json_object_get(obj, "metadata"),
                                        "uid"))
           != 0)
    {
        return 0;
    }

    free(o->gone_uid);
    free(o->gone_version);
    o->gone_uid = NULL;
    o->gone_version = NULL;

    return 1;
}


/* They are numbers, without leading zeros and of any length. */

static int
ct_obj_older(const char *a, const char *b)
{
    size_t  n = strlen(a), m = strlen(b);

    return n != m ? n < m : strcmp(a, b) < 0;
}


/* A watch by label says so too of what has another label now.  Nothing of one
 * that has ended is as new as its end. */

void
ct_obj_gone(ct_obj_t *o, const char *uid, const char *version)
{
    json_t  *was = o->obj;

    o->known = 1;

    if (was == NULL || (uid != NULL && strcmp(uid, ct_uid(o)) != 0)) {
        ct_obj_drop(o);
        return;
    }

    free(o->gone_uid);
    free(o->gone_version);
    o->gone_uid = ct_strdup(ct_uid(o));
    o->gone_version = version != NULL ? ct_strdup(version) : NULL;
    o->obj = NULL;
    o->answered = 0;
    o->held++;
    ct_obj_changed(o, was);
    json_decref(was);
    o->held--;
    ct_obj_drop(o);
}


/* Tells whose it is.  The store is told in the order of the changes: what was
 * between two of them may be all that says how an allocation ended. */

static void
ct_obj_changed(ct_obj_t *o, json_t *was)
{
    ct_worker_t  *w;

    ct_obj_dirty(o);

    if (o->kind == CT_POOL && o->pool != NULL
        && !ct_obj_same_spec(o->obj, was))
    {
        o->ct->limits = 1;

        DL_FOREACH(o->pool->workers, w) {
            ct_dirty_worker(w);
        }
    }

    if (o->kind == CT_WORKER && o->worker != NULL) {
        ct_store_look(o->worker, was);
    }
}


/* A Pod that somebody took the label off goes on: no watch tells of it, and
 * whoever builds in it is not to be failed for that. */

void
ct_obj_left(ct_obj_t *o, json_t *obj)
{
    json_t  *meta = json_object_get(obj, "metadata");

    if (o->obj != NULL && ct_obj_read_left(o, obj)) {
        return;
    }

    if (obj != NULL) {
        ct_obj_gone(o, obj_text(meta, "uid"),
                    obj_text(meta, "resourceVersion"));

    } else {
        ct_obj_gone(o, NULL, ct_version(o));
    }
}


static int
ct_obj_read_left(ct_obj_t *o, json_t *obj)
{
    json_t  *meta = json_object_get(obj, "metadata");

    /* one that is known only from an answer may be newer than a list */
    if ((obj != NULL || !o->answered)
        && (o->kind != CT_POD || o->worker == NULL || ct_deleting(o)
            || obj_text(meta, "deletionTimestamp")[0] != '\0'
            || (obj != NULL && strcmp(obj_text(meta, "uid"), ct_uid(o)) != 0)))
    {
        return 0;
    }

    ct_obj_read(o);

    return 1;
}


/* Now and then: those that no watch tells of any more. */

void
ct_obj_strays(ct_t *ct)
{
    ct_obj_t  *o;

    for (o = ct->objs[CT_POD]; o != NULL; o = o->hh.next) {
        if (o->answered && o->obj != NULL
            && strcmp(ct_label(o, OBJ_LABEL_PURPOSE), "worker") != 0)
        {
            ct_obj_read(o);
        }
    }
}


void
ct_obj_dirty(ct_obj_t *o)
{
    if (o->worker != NULL) {
        ct_dirty_worker(o->worker);
    }

    if (o->pool != NULL) {
        ct_dirty_pool(o->pool);
    }
}


/* generation grows with the spec alone, not with our status of it. */

static int
ct_obj_same_spec(json_t *a, json_t *b)
{
    json_t  *m = json_object_get(a, "metadata");
    json_t  *n = json_object_get(b, "metadata");

    return a != NULL && b != NULL
           && json_equal(json_object_get(m, "generation"),
                         json_object_get(n, "generation"))
           && strcmp(obj_text(m, "deletionTimestamp"),
                     obj_text(n, "deletionTimestamp"))
              == 0
           && strcmp(obj_text(m, "uid"), obj_text(n, "uid")) == 0;
}


/* --- its end -------------------------------------------------------------- */

void
ct_obj_drop(ct_obj_t *o)
{
    if (o->obj != NULL || o->pool != NULL || o->worker != NULL
        || o->jobs != NULL || o->req != NULL || o->held > 0 || o->reads)
    {
        return;
    }

    HASH_DEL(o->ct->objs[o->kind], o);
    ct_obj_free(o);
}


static void
ct_obj_free(ct_obj_t *o)
{
    ct_write_free(o);
    json_decref(o->obj);
    free(o->gone_uid);
    free(o->gone_version);
    free(o);
}


void
ct_obj_free_all(ct_t *ct)
{
    int        kind;
    ct_obj_t  *o, *tmp;

    for (kind = 0; kind < CT_KINDS; kind++) {
        HASH_ITER(hh, ct->objs[kind], o, tmp) {
            HASH_DEL(ct->objs[kind], o);
            ct_obj_free(o);
        }
    }
}


/* --- parts of it ---------------------------------------------------------- */

static json_t *
ct_meta(const ct_obj_t *o)
{
    return json_object_get(o->obj, "metadata");
}


const char *
ct_uid(const ct_obj_t *o)
{
    return obj_text(ct_meta(o), "uid");
}


const char *
ct_version(const ct_obj_t *o)
{
    return obj_text(ct_meta(o), "resourceVersion");
}


const char *
ct_label(const ct_obj_t *o, const char *label)
{
    return obj_text(json_object_get(ct_meta(o), "labels"), label);
}


int
ct_deleting(const ct_obj_t *o)
{
    return obj_text(ct_meta(o), "deletionTimestamp")[0] != '\0';
}


int
ct_finalizer(const ct_obj_t *o, const char *finalizer)
{
    size_t       i;
    json_t      *f;
    const char  *s;

    json_array_foreach(json_object_get(ct_meta(o), "finalizers"), i, f) {
        s = json_string_value(f);

        if (s != NULL && strcmp(s, finalizer) == 0) {
            return 1;
        }
    }

    return 0;
}


json_t *
ct_finalizers(const ct_obj_t *o, const char *finalizer, int on)
{
    size_t       i;
    json_t      *f, *list = json_array();
    const char  *s;

    json_array_foreach(json_object_get(ct_meta(o), "finalizers"), i, f) {
        s = json_string_value(f);

        if (s == NULL || strcmp(s, finalizer) != 0) {
            json_array_append(list, f);
        }
    }

    if (on) {
        json_array_append_new(list, json_string(finalizer));
    }

    return json_pack("{s:{s:o}}", "metadata", "finalizers", list);
}


json_t *
ct_at(const ct_obj_t *o, ...)
{
    json_t      *at = o->obj;
    va_list      args;
    const char  *key;

    va_start(args, o);

    while ((key = va_arg(args, const char *)) != NULL) {
        at = json_object_get(at, key);
    }

    va_end(args);

    return at;
}
