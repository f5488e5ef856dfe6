/*
 * FUZZ_SOURCES: plugin-host/plugins/kubernetes/ct_store_known.c
 *     plugin-host/plugins/kubernetes/ct_store_row.c
 *     plugin-host/plugins/kubernetes/ct_store_seen.c
 *     plugin-host/plugins/kubernetes/obj.c
 *     plugin-host/plugins/kubernetes/obj_worker.c
 *     plugin-host/src/err.c
 * FUZZ_CFLAGS: -Iplugin-host/plugins/kubernetes
 * FUZZ_LIBS: -ljansson -lcrypto
 */

/*
 * BuildKitWorkers, whatever is in them, as the store of allocations reads
 * them: a JSON array of objects, each a later one of its name, or null: those
 * that are there are gone.  What the opener is told is whole and in range, is
 * written and read again as the same, and when all are gone nothing is left.
 */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ct_store.h"


#define FUZZ_OBJECTS  4


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_put(ct_store_t *s, json_t *obj);
static void fuzz_told(const bk_host_t *h, const bk_stored_t *row);
static uint64_t fuzz_now(const bk_host_t *h);
static void fuzz_text(bk_str_t s);


static ct_obj_t  *objects[FUZZ_OBJECTS];


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t       i, n;
    json_t      *list, *obj;
    bk_host_t    host = { .store_told = fuzz_told, .now_ms = fuzz_now };
    ct_t         ct = { .host = &host };
    ct_store_t   s = { .ct = &ct, .ready = 1 };

    list = json_loadb((const char *) data, size, JSON_REJECT_DUPLICATES,
                      NULL);

    json_array_foreach(list, i, obj) {
        fuzz_put(&s, obj);
    }

    for (n = 0; n < FUZZ_OBJECTS && objects[n] != NULL; n++) {
        json_decref(objects[n]->obj);
        objects[n]->obj = NULL;
        ct_seen_take(&s, objects[n]);
        free(objects[n]);
        objects[n] = NULL;
    }

    assert(s.rows == NULL && s.seen == NULL);
    json_decref(list);

    return 0;
}


/* Its name is a key as the client makes it: no slash is in either part. */

static void
fuzz_put(ct_store_t *s, json_t *obj)
{
    char         key[CT_KEY_MAX];
    size_t       n;
    json_t      *meta = json_object_get(obj, "metadata");
    const char  *ns = obj_text(meta, "namespace");
    const char  *name = obj_text(meta, "name");

    if (strlen(ns) > 63 || strlen(name) > K8S_NAME_MAX || ns[0] == '\0'
        || strchr(ns, '/') != NULL || strchr(name, '/') != NULL)
    {
        return;
    }

    snprintf(key, sizeof(key), "%s/%s", ns, name);

    for (n = 0; n < FUZZ_OBJECTS && objects[n] != NULL; n++) {
        if (strcmp(objects[n]->key, key) == 0) {
            break;
        }
    }

    if (n == FUZZ_OBJECTS) {
        return;
    }

    if (objects[n] == NULL) {
        objects[n] = calloc(1, sizeof(ct_obj_t) + strlen(key) + 1);
        strcpy(objects[n]->key, key);
        objects[n]->name = strchr(objects[n]->key, '/') + 1;
    }

    json_decref(objects[n]->obj);
    objects[n]->obj = json_is_object(json_object_get(obj, "spec"))
                      ? json_incref(obj) : NULL;
    ct_seen_take(s, objects[n]);
}


static void
fuzz_told(const bk_host_t *h, const bk_stored_t *row)
{
    char          pool[CT_KEY_MAX], worker[CT_KEY_MAX];
    json_t       *json;
    bk_err_t      err;
    ct_stored_t   again;

    (void) h;

    assert(row->state > 0 && row->state < BK_ALLOC_STATES);
    assert(row->pool.len > 2 && row->pool.len < sizeof(pool));
    assert(row->worker.len < sizeof(worker));
    assert(row->record.len <= BK_STORE_RECORD_MAX);
    fuzz_text(row->owner);
    fuzz_text(row->job);
    fuzz_text(row->reason);

    if (row->state != BK_ALLOC_READY && row->state != BK_ALLOC_QUEUED) {
        return;
    }

    /* as it would be put */
    json = ct_stored_json(row, &err);
    assert(json != NULL);
    memcpy(pool, row->pool.data, row->pool.len);
    memcpy(worker, row->worker.data, row->worker.len);
    pool[row->pool.len] = '\0';
    worker[row->worker.len] = '\0';

    assert(ct_stored_read(json, row->state, pool, worker, &again) == 0);
    assert(memcmp(again.hash, row->hash, sizeof(again.hash)) == 0);
    assert((again.stored.key_hash == NULL) == (row->key_hash == NULL));
    assert(again.stored.owner.len == row->owner.len
           && again.stored.job.len == row->job.len);
    assert(again.stored.created_ms == row->created_ms
           && (again.stored.expires_ms == row->expires_ms
               || row->expires_ms > 253402300799999ULL));
    ct_stored_clear(&again);
    json_decref(json);
}


static uint64_t
fuzz_now(const bk_host_t *h)
{
    (void) h;

    return 1800000000000ULL;
}


static void
fuzz_text(bk_str_t s)
{
    size_t  i;

    for (i = 0; i < s.len; i++) {
        assert((unsigned char) s.data[i] >= 0x20 && s.data[i] != 0x7f);
    }
}


/* --- nothing is written --------------------------------------------------- */

int
ct_op_wants(const ct_op_t *op, const ct_place_t *p)
{
    (void) op;
    (void) p;

    return 0;
}


void
ct_op_tidy(ct_store_t *s, ct_row_t *r)
{
    (void) s;
    (void) r;
}


void
ct_op_free(ct_op_t *op)
{
    (void) op;
}
