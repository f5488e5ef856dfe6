/* What of an object is kept: see ct.h. */

#include <stdio.h>
#include <string.h>

#include "ct.h"


static void ct_obj_digest(json_t *map);
static void ct_obj_ours(json_t *map);


/* Most of what there is of it nobody reads: of ten thousand workers that is
 * more than all the rest.  obj_pod.c asks for what stays. */

void
ct_obj_trim(const ct_obj_t *o, json_t *obj)
{
    json_t  *spec, *is, *meta = json_object_get(obj, "metadata");

    json_object_del(meta, "managedFields");

    /* what others write there may be much, and is not limited by a quota */
    if (o->kind != CT_POOL && o->kind != CT_WORKER && o->kind < CT_WATCHED) {
        ct_obj_ours(json_object_get(meta, "annotations"));
        ct_obj_ours(json_object_get(meta, "labels"));
    }

    if (o->kind == CT_POOL) {
        ct_obj_digest(json_object_get(meta, "annotations"));
    }

    if (o->kind == CT_BUDGET) {
        json_object_del(obj, "spec");
        json_object_del(obj, "status");

    } else if (o->kind == CT_DEPLOYMENT) {
        json_object_del(json_object_get(obj, "spec"), "template");

    } else if (o->kind == CT_POD || o->kind == CT_FRONT) {
        is = json_object_get(json_object_get(obj, "spec"), "hostNetwork");
        spec = json_pack("{s:O*}", "hostNetwork", is);

        if (spec == NULL) {
            abort();
        }

        json_object_set_new(obj, "spec", spec);
    }
}


/* Of a pool's nobody wants to know but whether they are others. */

static void
ct_obj_digest(json_t *map)
{
    char            hex[2 * OBJ_HASH_LEN + 1];
    char           *text = json_dumps(map, JSON_SORT_KEYS | JSON_COMPACT);
    size_t          i;
    unsigned char   hash[OBJ_HASH_LEN];

    if (text == NULL) {
        return;
    }

    obj_hash(text, hash);
    free(text);

    for (i = 0; i < sizeof(hash); i++) {
        snprintf(hex + 2 * i, 3, "%02x", hash[i]);
    }

    json_object_clear(map);
    json_object_set_new(map, OBJ_GROUP "/digest", json_string(hex));
}


static void
ct_obj_ours(json_t *map)
{
    void        *tmp;
    json_t      *value;
    const char  *key;

    json_object_foreach_safe(map, tmp, key, value) {
        if (strncmp(key, OBJ_GROUP "/", strlen(OBJ_GROUP "/")) != 0) {
            json_object_del(map, key);
        }
    }
}
