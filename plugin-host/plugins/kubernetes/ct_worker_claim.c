/*
 * What a worker has beside its Pod and its object: the claim with its cache, a
 * budget while somebody is on it.  See ct_worker.h.
 */

#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "ct_worker.h"


static int ct_claim_over(const ct_worker_t *w);
static json_t *ct_claim_new(void *data, ct_obj_t *o, bk_err_t *err);
static json_t *ct_claim_trust(void *data, ct_obj_t *o, bk_err_t *err);
static json_t *ct_claim_delete(void *data, ct_obj_t *o, bk_err_t *err);
static int ct_budget_mine(const ct_worker_t *w, const ct_obj_t *o);
static json_t *ct_budget_new(void *data, ct_obj_t *o, bk_err_t *err);
static json_t *ct_budget_delete(void *data, ct_obj_t *o, bk_err_t *err);


/* --- its cache ------------------------------------------------------------ */

void
ct_claim_look(ct_look_t *l)
{
    char          name[K8S_NAME_MAX + 1];
    ct_worker_t  *w = l->w;

    if (w->claim != NULL && ct_writing(w->claim)) {
        return;
    }

    if (w->claim != NULL && w->claim->obj != NULL) {
        if (!ct_claim_told(w)) {
            ct_write(w->claim, CT_TEND, ct_claim_trust, ct_object_made, w);
        }

        return;
    }

    if (!l->wanted || w->pool->cache_size == NULL) {
        return;
    }

    if (w->claim == NULL) {
        snprintf(name, sizeof(name), "cache-%s", w->name);
        w->claim = ct_object_get(w, CT_CLAIM, name);
    }

    ct_write(w->claim, CT_CREATE, ct_claim_new, ct_object_made, w);
}


int
ct_claim_ready(const ct_worker_t *w)
{
    return w->pool->cache_size == NULL
           || (ct_claim_mine(w) && !ct_deleting(w->claim)
               && ct_claim_told(w));
}


/* Whose builds it has seen is known of the object, which may go: somebody
 * deletes it, or this one here does.  Else who is next gets the other's
 * cache. */

int
ct_claim_told(const ct_worker_t *w)
{
    const char  *trust;

    if (!ct_claim_mine(w) || ct_deleting(w->claim)) {
        return 1;
    }

    trust = ct_worker_trust(w);

    return trust[0] == '\0'
           || strcmp(ct_label(w->claim, CT_LABEL_TRUST), trust) == 0;
}


/* Others call theirs so, too: the StatefulSet POOL whose volume is "cache".
 * Nothing of it is read or written, whoever made it: what is ours was made for
 * this very pool. */

int
ct_claim_mine(const ct_worker_t *w)
{
    const char  *kind;

    return w->claim != NULL && w->claim->obj != NULL
           && w->pool->o != NULL && w->pool->o->obj != NULL
           && strcmp(ct_object_owner(w->claim, &kind), ct_uid(w->pool->o)) == 0
           && strcmp(kind, "BuildKitPool") == 0;
}


/* A Pod that has it already keeps it, as somebody may be on it. */

int
ct_claim_check(ct_look_t *l)
{
    ct_worker_t  *w = l->w;

    if (l->has || l->refused.code != 0 || w->pool->cache_size == NULL
        || w->claim == NULL || w->claim->obj == NULL || ct_claim_mine(w))
    {
        return 0;
    }

    if (ct_may(l->ct, w->key)) {
        ct_object_taken(w, w->claim);
    }

    return bk_err_set(&l->refused, 409, "NameTaken", "there is a "
                      "PersistentVolumeClaim %.100s already, which is not "
                      "this pool's", w->claim->name);
}


/* A cache that no worker has costs as much. */

void
ct_claim_end(ct_worker_t *w)
{
    if (w->claim == NULL || w->claim->obj == NULL || ct_deleting(w->claim)
        || ct_writing(w->claim) || !ct_claim_mine(w)
        || (w->pod != NULL && w->pod->obj != NULL)
        || (w->o != NULL && w->o->obj != NULL)
        || w->pool->o == NULL || w->pool->o->obj == NULL
        || ct_deleting(w->pool->o) || !ct_claim_over(w))
    {
        return;
    }

    ct_write(w->claim, CT_DELETE, ct_claim_delete, ct_object_done, w);
}


/* The pool has become smaller by its own word: for what a limit of its
 * namespace leaves no room there may be room again, and nothing brings a cache
 * back. */

static int
ct_claim_over(const ct_worker_t *w)
{
    return w->slot >= ct_worker_slots(w->pool) && !w->pool->refused
           && w->slot >= ct_limit_asks(w->pool);
}


static json_t *
ct_claim_new(void *data, ct_obj_t *o, bk_err_t *err)
{
    json_t       *body;
    const char   *trust;
    ct_worker_t  *w = data;
    mk_worker_t   mk;

    if (w->pool->o == NULL || w->pool->o->obj == NULL) {
        return NULL;
    }

    ct_object_fill(w, &mk);
    mk.claim = o->name;
    body = mk_claim(w->pool->o->obj, &mk, err);
    trust = ct_worker_trust(w);

    if (body != NULL && trust[0] != '\0') {
        json_object_set_new(json_object_get(json_object_get(body, "metadata"),
                                            "labels"),
                            CT_LABEL_TRUST, json_string(trust));
    }

    return body;
}


static json_t *
ct_claim_trust(void *data, ct_obj_t *o, bk_err_t *err)
{
    const char  *trust = ct_worker_trust(data);

    (void) err;

    return trust[0] == '\0' || !ct_claim_mine(data)
           || strcmp(ct_label(o, CT_LABEL_TRUST), trust) == 0
           ? NULL : json_pack("{s:{s:{s:s}}}", "metadata", "labels",
                              CT_LABEL_TRUST, trust);
}


static json_t *
ct_claim_delete(void *data, ct_obj_t *o, bk_err_t *err)
{
    ct_worker_t  *w = data;

    (void) err;

    return ct_deleting(o) || !ct_claim_mine(w)
           || !ct_claim_over(w) ? NULL : json_object();
}


/* --- its budget ----------------------------------------------------------- */

/* No eviction that can wait, as long as somebody is on it. */

void
ct_budget_look(ct_look_t *l)
{
    int           wants = l->live && l->usable;
    ct_obj_t     *o = ct_obj_find(l->ct, CT_BUDGET, l->w->key);
    ct_worker_t  *w = l->w;

    if (o == NULL) {
        if (!wants) {
            return;
        }

        o = ct_object_get(w, CT_BUDGET, w->name);
    }

    if (ct_writing(o)) {
        return;
    }

    if (o->obj != NULL && !ct_budget_mine(w, o)) {
        if (wants) {
            ct_object_taken(w, o);
        }

        return;
    }

    if (wants && o->obj == NULL) {
        ct_write(o, CT_CREATE, ct_budget_new, ct_object_done, w);

    } else if (!wants && o->obj != NULL && !ct_deleting(o)) {
        ct_write(o, CT_DELETE, ct_budget_delete, ct_object_done, w);
    }
}


/* Of this worker, or of one of its name before; whose Pods somebody else's is
 * for, we do not know. */

static int
ct_budget_mine(const ct_worker_t *w, const ct_obj_t *o)
{
    size_t   i;
    json_t  *ref;

    json_array_foreach(ct_at(o, "metadata", "ownerReferences", NULL), i, ref) {
        if (json_is_true(json_object_get(ref, "controller"))) {
            return strcmp(obj_text(ref, "kind"), "BuildKitWorker") == 0
                   && strcmp(obj_text(ref, "name"), w->name) == 0;
        }
    }

    return 0;
}


static json_t *
ct_budget_new(void *data, ct_obj_t *o, bk_err_t *err)
{
    ct_worker_t  *w = data;
    mk_worker_t   mk;

    (void) o;
    (void) err;

    if (!ct_worker_busy(w) || w->pool->o == NULL || w->pool->o->obj == NULL) {
        return NULL;
    }

    ct_object_fill(w, &mk);

    return mk_budget(w->pool->o->obj, &mk);
}


static json_t *
ct_budget_delete(void *data, ct_obj_t *o, bk_err_t *err)
{
    ct_worker_t  *w = data;

    (void) err;

    return ct_deleting(o) || !ct_budget_mine(w, o)
           || (ct_worker_busy(w) && w->pod != NULL && w->pod->obj != NULL)
           ? NULL : json_object();
}
