/* A BuildKitWorker: see obj.h. */

#include <string.h>

#include "bk_err.h"
#include "bk_table.h"
#include "obj.h"


#define OBJ_QUEUED  "queued-"   /* and the id of its allocation */


static int obj_worker_pool(json_t *spec, obj_worker_t *out, bk_err_t *err);
static int obj_worker_alloc(json_t *a, obj_alloc_t *out, bk_err_t *err);
static int obj_worker_token(json_t *a, obj_alloc_t *out, bk_err_t *err);
static int obj_worker_state(const char *name);
static void obj_worker_ended(json_t *list, obj_worker_t *out, bk_err_t *bad);
static int obj_worker_end(json_t *e, obj_ended_t *out, bk_err_t *err);
static void obj_worker_status(json_t *obj, obj_worker_t *out);
static int obj_worker_queued(const char *name);


static const struct {
    const char  *name;
    int          phase;
} obj_phases[] = {
    { "Pending", OBJ_PHASE_PENDING },
    { "Provisioning", OBJ_PHASE_PROVISIONING },
    { "Running", OBJ_PHASE_UP },
    { "Idle", OBJ_PHASE_UP },
    { "Allocated", OBJ_PHASE_UP },
    { "Terminating", OBJ_PHASE_TERMINATING },
    { "Failed", OBJ_PHASE_FAILED },
    { NULL, 0 }
};


static const struct {
    const char  *name;
    int          state;
} obj_states[] = {
    { "", BK_ALLOC_READY },
    { "queued", BK_ALLOC_QUEUED },
    { "starting", BK_ALLOC_STARTING },
    { "ready", BK_ALLOC_READY },
    { "draining", BK_ALLOC_DRAINING },
    { "expired", BK_ALLOC_EXPIRED },
    { "released", BK_ALLOC_RELEASED },
    { "revoked", BK_ALLOC_REVOKED },
    { "failed", BK_ALLOC_FAILED },
    { NULL, 0 }
};


int
obj_worker_read(json_t *obj, obj_worker_t *out, bk_err_t *bad, bk_err_t *err)
{
    json_t       *meta = json_object_get(obj, "metadata");
    json_t       *spec = json_object_get(obj, "spec");
    json_t       *alloc, *drained;
    obj_ended_t  *ended = out->ended;

    memset(out, 0, sizeof(obj_worker_t));
    memset(bad, 0, sizeof(bk_err_t));
    out->ended = ended;
    out->ns = obj_text(meta, "namespace");
    out->name = obj_text(meta, "name");
    out->uid = obj_text(meta, "uid");
    out->version = obj_text(meta, "resourceVersion");

    if (out->ns[0] == '\0' || out->name[0] == '\0' || out->uid[0] == '\0'
        || !json_is_object(spec))
    {
        return bk_err_set(err, 400, "BadObject", "it has no spec, name or "
                          "uid");
    }

    if (obj_worker_pool(spec, out, err) != 0) {
        return -1;
    }

    obj_worker_status(obj, out);
    obj_worker_ended(json_object_get(spec, "ended"), out, bad);

    drained = json_object_get(spec, "drained");
    out->drained = json_is_object(drained) ? obj_text(drained, "reason")
                                           : NULL;

    alloc = json_object_get(spec, "allocation");

    if (alloc != NULL && !json_is_null(alloc)) {
        out->has_alloc = (obj_worker_alloc(alloc, &out->alloc, bad) == 0);
    }

    out->queued = obj_worker_queued(out->name)
                  || (out->has_alloc && out->alloc.state == BK_ALLOC_QUEUED);

    if (out->queued) {
        out->alloc.state = BK_ALLOC_QUEUED;
    }

    return 0;
}


/* A pool's allocations are for who may use it: of no other namespace. */

static int
obj_worker_pool(json_t *spec, obj_worker_t *out, bk_err_t *err)
{
    json_t      *ref = json_object_get(spec, "poolRef");
    const char  *ns = obj_text(ref, "namespace");

    out->pool = obj_text(ref, "name");

    if (out->pool[0] == '\0' || strlen(out->pool) > OBJ_POOL_MAX
        || strchr(out->pool, '/') != NULL)
    {
        return bk_err_set(err, 400, "BadPoolRef", "spec.poolRef names no "
                          "pool");
    }

    if (ns[0] != '\0' && strcmp(ns, out->ns) != 0) {
        return bk_err_set(err, 403, "BadPoolRef", "spec.poolRef is of another "
                          "namespace, %.63s", ns);
    }

    return 0;
}


static int
obj_worker_alloc(json_t *a, obj_alloc_t *out, bk_err_t *err)
{
    json_t      *expires = json_object_get(a, "expiresAt");
    json_t      *key = json_object_get(a, "clientKeyHash");
    const char  *id = obj_text(a, "id");

    memset(out, 0, sizeof(obj_alloc_t));

    if (obj_worker_token(a, out, err) != 0) {
        return -1;
    }

    if (id[0] != '\0' && strncmp(id, obj_text(a, "tokenHash"), 12) != 0) {
        return bk_err_set(err, 400, "BadAllocation", "spec.allocation.id is "
                          "not that of its tokenHash");
    }

    /* a key that cannot be read is not the same as none */
    if (key != NULL && !json_is_null(key)) {
        out->bound = 1;

        if (!json_is_string(key)
            || obj_hex(json_string_value(key), out->key_hash, OBJ_HASH_LEN)
               != 0)
        {
            return bk_err_set(err, 400, "BadAllocation",
                              "spec.allocation.clientKeyHash is not 64 hex "
                              "digits");
        }
    }

    if (expires != NULL && !json_is_null(expires)
        && (!json_is_string(expires)
            || obj_time(json_string_value(expires), &out->expires_ms) != 0))
    {
        return bk_err_set(err, 400, "BadAllocation",
                          "spec.allocation.expiresAt is no time");
    }

    out->state = obj_worker_state(obj_text(a, "state"));

    if (out->state == 0 || out->state >= BK_ALLOC_EXPIRED) {
        return bk_err_set(err, 400, "BadAllocation", "spec.allocation.state "
                          "is none");
    }

    return 0;
}


/* Exactly one of the two; never in a text. */

static int
obj_worker_token(json_t *a, obj_alloc_t *out, bk_err_t *err)
{
    size_t       len;
    json_t      *hash = json_object_get(a, "tokenHash");
    const char  *token = obj_text(a, "token");

    if (token[0] == '\0') {
        if (!json_is_string(hash)
            || obj_hex(json_string_value(hash), out->hash, OBJ_HASH_LEN) != 0)
        {
            return bk_err_set(err, 400, "BadAllocation",
                              "spec.allocation.tokenHash is not 64 hex "
                              "digits");
        }

        return 0;
    }

    len = strlen(token);

    if (hash != NULL && !json_is_null(hash)) {
        return bk_err_set(err, 400, "BadAllocation", "spec.allocation has "
                          "token and tokenHash");
    }

    if (len < OBJ_TOKEN_MIN || len > OBJ_TOKEN_MAX
        || strspn(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                         "0123456789-_=") != len)
    {
        return bk_err_set(err, 400, "BadAllocation", "spec.allocation.token "
                          "is none: %d to %d characters of base64url",
                          OBJ_TOKEN_MIN, OBJ_TOKEN_MAX);
    }

    out->foreign = 1;
    obj_hash(token, out->hash);

    return 0;
}


static int
obj_worker_state(const char *name)
{
    int  i;

    for (i = 0; obj_states[i].name != NULL; i++) {
        if (strcmp(obj_states[i].name, name) == 0) {
            return obj_states[i].state;
        }
    }

    return 0;
}


static void
obj_worker_ended(json_t *list, obj_worker_t *out, bk_err_t *bad)
{
    size_t   i;
    json_t  *e;

    json_array_foreach(list, i, e) {
        if (out->nended == OBJ_ENDED_MAX) {
            bk_err_set(bad, 400, "BadEnded", "spec.ended has more than %d",
                       OBJ_ENDED_MAX);
            return;
        }

        if (obj_worker_end(e, &out->ended[out->nended], bad) == 0) {
            out->nended++;
        }
    }
}


static int
obj_worker_end(json_t *e, obj_ended_t *out, bk_err_t *err)
{
    memset(out, 0, sizeof(obj_ended_t));
    out->state = obj_worker_state(obj_text(e, "state"));

    if (obj_hex(obj_text(e, "tokenHash"), out->hash, OBJ_HASH_LEN) != 0
        || out->state < BK_ALLOC_EXPIRED
        || obj_time(obj_text(e, "at"), &out->at_ms) != 0)
    {
        return bk_err_set(err, 400, "BadEnded", "an element of spec.ended "
                          "has no tokenHash, state or time");
    }

    if (obj_time(obj_text(e, "expiresAt"), &out->expires_ms) != 0) {
        out->expires_ms = 0;
    }

    obj_copy(out->reason, sizeof(out->reason), obj_text(e, "reason"));

    return 0;
}


/* Who writes it says of which spec it is, or does not: then of this one. */

static void
obj_worker_status(json_t *obj, obj_worker_t *out)
{
    int         i;
    json_t     *status = json_object_get(obj, "status"), *of, *is;
    const char *phase = obj_text(status, "phase");

    out->pod = obj_text(status, "podName");
    out->message = obj_text(status, "message");
    out->phase = OBJ_PHASE_PENDING;

    for (i = 0; obj_phases[i].name != NULL; i++) {
        if (strcmp(obj_phases[i].name, phase) == 0) {
            out->phase = obj_phases[i].phase;
        }
    }

    of = json_object_get(status, "observedGeneration");
    is = json_object_get(json_object_get(obj, "metadata"), "generation");

    if (out->phase == OBJ_PHASE_FAILED && json_integer_value(of) != 0
        && json_integer_value(of) < json_integer_value(is))
    {
        out->phase = OBJ_PHASE_PENDING;
    }
}


static int
obj_worker_queued(const char *name)
{
    const char  *id = name + strlen(OBJ_QUEUED);

    return strncmp(name, OBJ_QUEUED, strlen(OBJ_QUEUED)) == 0
           && strlen(id) == 12 && strspn(id, "0123456789abcdef") == 12;
}
