/*
 * What a worker has besides its Pod (mk_pod.c): its object, its claim, and the
 * budget that keeps the Pod while somebody builds there.
 */

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "mk_int.h"


json_t *
mk_worker(json_t *pool, const mk_worker_t *w)
{
    json_t  *obj;

    obj = mk_pack("{s:o, s:{s:{s:s, s:s}}}",
                  "metadata", mk_meta(pool, w->name, "worker"),
                  "spec", "poolRef", "name", mk_name(pool),
                  "namespace", mk_ns(pool));
    mk_worker_labels(obj, w, 1);
    mk_owned_by_pool(obj, pool);

    return obj;
}


/* Goes with the pool, not with the worker: the next one has it again. */

json_t *
mk_claim(json_t *pool, const mk_worker_t *w, bk_err_t *err)
{
    json_t      *obj, *local = mk_backend(pool, "local");
    const char  *class = obj_text(local, "storageClass");

    if (local == NULL || w->claim == NULL) {
        bk_err_set(err, 422, "NoCache", "the pool has no cache backend of "
                   "type local");
        return NULL;
    }

    if (mk_quantity(json_object_get(local, "size")) <= 0) {
        bk_err_set(err, 422, "BadCacheSize", "the size of the pool's local "
                   "cache is none");
        return NULL;
    }

    obj = mk_pack("{s:o, s:{s:[s], s:{s:{s:O}}}}",
                  "metadata", mk_meta(pool, w->claim, "worker"),
                  "spec", "accessModes", "ReadWriteOnce",
                  "resources", "requests", "storage",
                  json_object_get(local, "size"));

    if (class[0] != '\0') {
        mk_set(json_object_get(obj, "spec"), "storageClassName",
               mk_text("%s", class));
    }

    mk_worker_labels(obj, w, 0);
    mk_owned_by_pool(obj, pool);

    return obj;
}


/* minAvailable: of maxUnavailable the disruption controller asks the Pod's
 * owner for its scale, which a BuildKitWorker has not */

json_t *
mk_budget(json_t *pool, const mk_worker_t *w)
{
    json_t  *obj;

    obj = mk_pack("{s:o, s:{s:i, s:s, s:{s:{s:o, s:s}}}}",
                  "metadata", mk_meta(pool, w->name, "worker"),
                  "spec", "minAvailable", 1,
                  "unhealthyPodEvictionPolicy", "IfHealthyBudget",
                  "selector", "matchLabels",
                  OBJ_LABEL_WORKER, mk_label(w->name),
                  OBJ_LABEL_PURPOSE, "worker");
    mk_worker_labels(obj, w, 0);
    mk_owned(obj, OBJ_GROUP "/v1alpha1", "BuildKitWorker", w->name,
             w->uid != NULL ? w->uid : "", 1);

    return obj;
}


/* users of this API select the objects by worker=true, and the Pods by name */

void
mk_worker_labels(json_t *obj, const mk_worker_t *w, int is_object)
{
    mk_set(mk_labels(obj), "app.kubernetes.io/instance", mk_label(w->name));
    mk_set(mk_labels(obj), OBJ_LABEL_WORKER, is_object ? mk_text("true")
                                                       : mk_label(w->name));
}


void
mk_hash(json_t *pod, char buf[17])
{
    char      *text;
    size_t     i;
    json_t    *meta, *asked;
    uint8_t    hash[EVP_MAX_MD_SIZE];

    meta = json_object_get(pod, "metadata");
    asked = mk_pack("{s:O*, s:o*, s:O*}",
                    "labels", json_object_get(meta, "labels"),
                    "annotations", json_copy(json_object_get(meta,
                                                             "annotations")),
                    "spec", json_object_get(pod, "spec"));

    json_object_del(json_object_get(asked, "annotations"),
                    MK_ANNOTATION_HASH);

    if (json_object_size(json_object_get(asked, "annotations")) == 0) {
        json_object_del(asked, "annotations");
    }

    text = json_dumps(asked, JSON_SORT_KEYS | JSON_COMPACT);
    json_decref(asked);

    if (text == NULL
        || EVP_Digest(text, strlen(text), hash, NULL, EVP_sha256(), NULL) != 1)
    {
        abort();
    }

    free(text);

    for (i = 0; i < 8; i++) {
        snprintf(buf + 2 * i, 3, "%02x", hash[i]);
    }
}
