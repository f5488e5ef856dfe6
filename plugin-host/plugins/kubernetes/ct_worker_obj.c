/* A worker's BuildKitWorker, and what is common to all that it has beside its
 * Pod: see ct_worker.h. */

#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "ct_worker.h"


static json_t *ct_object_new(void *data, ct_obj_t *o, bk_err_t *err);
static int ct_object_needed(const ct_look_t *l);
static json_t *ct_object_delete(void *data, ct_obj_t *o, bk_err_t *err);
static json_t *ct_object_adopt(void *data, ct_obj_t *o, bk_err_t *err);


/* --- its BuildKitWorker --------------------------------------------------- */

int
ct_object_look(ct_look_t *l)
{
    ct_worker_t  *w = l->w;
    const char   *kind;

    if (w->o == NULL) {
        w->o = ct_object_get(w, CT_WORKER, w->name);
    }

    if (w->o->obj == NULL) {
        if (l->wanted && !l->beyond && !ct_writing(w->o)) {
            ct_write(w->o, CT_CREATE, ct_object_new, ct_object_made, w);
        }

        return 0;
    }

    if (l->refused.code != 0) {
        ct_say(l);
        return 0;
    }

    if (ct_deleting(w->o)) {
        return 1;
    }

    if (!ct_object_needed(l)) {
        if (!ct_changing(w->o)) {
            ct_write(w->o, CT_DELETE, ct_object_delete, ct_object_done, w);
        }

        return 1;
    }

    if (ct_object_owner(w->o, &kind)[0] == '\0' && !ct_writing(w->o)) {
        ct_write(w->o, CT_TEND, ct_object_adopt, ct_object_done, w);
    }

    return 1;
}


/* Somebody may have made one of this name for something else. */

int
ct_object_check(ct_look_t *l)
{
    bk_err_t       bad;
    obj_ended_t    ended[OBJ_ENDED_MAX];
    const char    *kind, *uid;
    obj_worker_t   o;
    ct_worker_t   *w = l->w;

    o.ended = ended;

    if (obj_worker_read(w->o->obj, &o, &bad, &l->refused) != 0) {
        return -1;
    }

    uid = ct_object_owner(w->o, &kind);

    if (uid[0] != '\0' && l->pool
        && (strcmp(kind, "BuildKitPool") != 0
            || strcmp(uid, ct_uid(w->pool->o)) != 0))
    {
        return bk_err_set(&l->refused, 409, "NotOurWorker", "a "
                          "BuildKitWorker of its name belongs to another "
                          "%.60s", kind);
    }

    return 0;
}


static json_t *
ct_object_new(void *data, ct_obj_t *o, bk_err_t *err)
{
    json_t       *body, *spec;
    const char   *trust;
    ct_worker_t  *w = data;
    mk_worker_t   mk;

    (void) o;
    (void) err;

    if (w->pool->o == NULL || w->pool->o->obj == NULL
        || ct_deleting(w->pool->o))
    {
        return NULL;
    }

    ct_object_fill(w, &mk);
    body = mk_worker(w->pool->o->obj, &mk);
    trust = ct_worker_trust(w);

    if (trust[0] != '\0') {
        spec = json_object_get(body, "spec");
        json_object_set_new(spec, "trust", json_string(trust));
    }

    return body;
}


/* As long as it runs, or says of whom it was and why that is over. */

static int
ct_object_needed(const ct_look_t *l)
{
    size_t    i;
    json_t   *e;
    uint64_t  ms;

    /* its claim is to say first whose builds it has seen */
    if (l->wanted || l->live || l->has || !ct_claim_told(l->w)
        || (l->drained && !l->beyond))
    {
        return 1;
    }

    json_array_foreach(ct_at(l->w->o, "spec", "ended", NULL), i, e) {
        if (obj_time(obj_text(e, "at"), &ms) == 0
            && ms + CT_ENDED_MS > l->now)
        {
            ct_dirty_worker_in(l->w, ms + CT_ENDED_MS - l->now);
            return 1;
        }
    }

    return 0;
}


static json_t *
ct_object_delete(void *data, ct_obj_t *o, bk_err_t *err)
{
    ct_worker_t  *w = data;

    (void) err;

    return ct_worker_busy(w) || w->wanted || ct_deleting(o)
           || !ct_claim_told(w) || ct_worker_is(w->pod)
           ? NULL : json_object();
}


/* Nobody's: it goes with the pool from now on. */

static json_t *
ct_object_adopt(void *data, ct_obj_t *o, bk_err_t *err)
{
    size_t        i;
    json_t       *body, *ref, *list;
    const char   *kind;
    ct_worker_t  *w = data;

    (void) err;

    if (ct_object_owner(o, &kind)[0] != '\0' || w->pool->o == NULL
        || w->pool->o->obj == NULL)
    {
        return NULL;
    }

    body = json_pack("{s:{}}", "metadata");
    mk_owned(body, OBJ_GROUP "/v1alpha1", "BuildKitPool",
             mk_name(w->pool->o->obj), ct_uid(w->pool->o), 1);
    list = json_object_get(json_object_get(body, "metadata"),
                           "ownerReferences");

    json_array_foreach(ct_at(o, "metadata", "ownerReferences", NULL), i, ref) {
        json_array_append(list, ref);
    }

    return body;
}


/* Its controller's uid, or "" */

const char *
ct_object_owner(const ct_obj_t *o, const char **kind)
{
    size_t   i;
    json_t  *ref;

    *kind = "";

    json_array_foreach(ct_at(o, "metadata", "ownerReferences", NULL), i, ref) {
        if (json_is_true(json_object_get(ref, "controller"))) {
            *kind = obj_text(ref, "kind");
            return obj_text(ref, "uid");
        }
    }

    return "";
}


/* --- parts ---------------------------------------------------------------- */

ct_obj_t *
ct_object_get(ct_worker_t *w, ct_kind_t kind, const char *name)
{
    char       ns[64];
    ct_obj_t  *o;

    snprintf(ns, sizeof(ns), "%.*s", (int) strcspn(w->key, "/"), w->key);
    o = ct_obj_get(w->pool->ct, kind, ns, name);
    o->worker = w;
    o->pool = w->pool;

    return o;
}


/* What is not labelled as ours is not watched: is it still there? */

void
ct_object_taken(ct_worker_t *w, ct_obj_t *o)
{
    ct_t      *ct = w->pool->ct;
    uint64_t   now = ct->host->monotonic_ms(ct->host);

    if (w->own->taken_ms == 0 || now - w->own->taken_ms >= CT_TAKEN_MS) {
        w->own->taken_ms = now;
        ct_event(w->pool->o, "Warning", "NameTaken", "there is a %s %s "
                 "already, which is not this pool's",
                 ct_kinds[o->kind].kind, o->name);
        ct_obj_read(o);
    }
}


void
ct_object_fill(ct_worker_t *w, mk_worker_t *mk)
{
    memset(mk, 0, sizeof(mk_worker_t));
    mk->pool_ns = mk_ns(w->pool->o->obj);
    mk->name = w->name;
    mk->uid = w->o != NULL ? ct_uid(w->o) : "";
    mk->hash = "";
}


/* Without it there is no Pod: who looks at the pool is to know why. */

void
ct_object_made(void *data, ct_obj_t *o, const bk_err_t *err)
{
    ct_worker_t  *w = data;

    if (err != NULL && err->code >= 400 && err->code < 500
        && w->pool->o->obj != NULL)
    {
        ct_event(w->pool->o, "Warning", "FailedCreate", "%s %s: %s",
                 ct_kinds[o->kind].kind, o->name, err->text);
    }

    ct_object_done(w, o, err);
}


void
ct_object_done(void *data, ct_obj_t *o, const bk_err_t *err)
{
    (void) o;

    /* what failed is looked at again in time: ct_write() */
    if (err == NULL) {
        ct_dirty_worker(data);
    }
}
