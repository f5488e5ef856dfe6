/*
 * Rows of the store as JSON: spec.allocation and spec.ended of a
 * BuildKitWorker.  See ct_store.h.
 *
 * What only the allocator understands (its record) has members of its own
 * there, beside those that everybody knows.  The token itself is in none.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bk_err.h"
#include "ct_store.h"


#define CT_TIME_MAX  253402300799999ULL     /* year 9999 */
#define CT_DEPTH     16
#define CT_METADATA  64     /* members; k8s/base/crds */


static json_t *ct_stored_live(const bk_stored_t *row, bk_err_t *err);
static json_t *ct_stored_over(const bk_stored_t *row, bk_err_t *err);
static int ct_stored_set(json_t *obj, const char *key, bk_str_t s);
static int ct_stored_hex(json_t *obj, const char *key, const uint8_t *bytes,
    size_t len);
static void ct_stored_when(json_t *obj, const char *key, uint64_t ms);
static json_t *ct_stored_metadata(bk_str_t text);
static int ct_stored_ours(const char *key);
static json_t *ct_stored_rest(json_t *json);
static int ct_stored_text(json_t *json, const char *key, bk_str_t *out);
static json_t *ct_stored_deep(json_t *is, json_t *should, int depth);


/* Members of spec.allocation that are not of the record. */

static const char *const  ct_stored_keys[] = {
    "token", "tokenHash", "id", "clientKeyHash", "jobId", "requestedBy",
    "allocatedAt", "expiresAt", "metadata", "state", NULL
};

static const struct {
    int          state;
    const char  *name;
} ct_stored_states[] = {
    { BK_ALLOC_EXPIRED, "expired" },
    { BK_ALLOC_RELEASED, "released" },
    { BK_ALLOC_REVOKED, "revoked" },
    { BK_ALLOC_FAILED, "failed" }
};


json_t *
ct_stored_json(const bk_stored_t *row, bk_err_t *err)
{
    return bk_alloc_ended(row->state) ? ct_stored_over(row, err)
                                      : ct_stored_live(row, err);
}


static json_t *
ct_stored_live(const bk_stored_t *row, bk_err_t *err)
{
    json_t  *obj, *record, *metadata = NULL;

    record = row->record.len == 0 ? json_object()
             : json_loadb(row->record.data, row->record.len,
                          JSON_REJECT_DUPLICATES, NULL);

    if (row->metadata.len > 0) {
        metadata = ct_stored_metadata(row->metadata);
    }

    if (json_object_size(metadata) > CT_METADATA) {
        json_decref(record);
        json_decref(metadata);
        (void) bk_err_set(err, 400, "BadRow", "\"metadata\" has more than %d "
                          "members", CT_METADATA);
        return NULL;
    }

    obj = json_object();

    if (!json_is_object(record)
        || (row->metadata.len > 0 && metadata == NULL)
        || json_object_update(obj, record) != 0
        || ct_stored_hex(obj, "tokenHash", row->hash, OBJ_HASH_LEN) != 0
        || ct_stored_hex(obj, "id", row->hash, 6) != 0
        || (row->key_hash != NULL
            && ct_stored_hex(obj, "clientKeyHash", row->key_hash,
                             OBJ_HASH_LEN) != 0)
        || ct_stored_set(obj, "jobId", row->job) != 0
        || ct_stored_set(obj, "requestedBy", row->owner) != 0
        || json_object_set_new(obj, "state",
               json_string(row->worker.len == 0 ? "queued" : "ready")) != 0)
    {
        json_decref(record);
        json_decref(metadata);
        json_decref(obj);
        (void) bk_err_set(err, 400, "BadRow", "an allocation that is to be "
                          "kept has a text that is no JSON or UTF-8");
        return NULL;
    }

    if (metadata != NULL) {
        json_object_set_new(obj, "metadata", metadata);
    }

    ct_stored_when(obj, "allocatedAt", row->created_ms);
    ct_stored_when(obj, "expiresAt", row->expires_ms);
    json_decref(record);

    return obj;
}


static json_t *
ct_stored_over(const bk_stored_t *row, bk_err_t *err)
{
    size_t   i;
    json_t  *obj = json_object();

    for (i = 0; ct_stored_states[i].state != row->state; i++) {
        /* void */
    }

    if (ct_stored_hex(obj, "tokenHash", row->hash, OBJ_HASH_LEN) != 0
        || ct_stored_hex(obj, "id", row->hash, 6) != 0
        || json_object_set_new(obj, "state",
                               json_string(ct_stored_states[i].name)) != 0
        || ct_stored_set(obj, "reason", row->reason) != 0
        || ct_stored_set(obj, "jobId", row->job) != 0
        || ct_stored_set(obj, "requestedBy", row->owner) != 0)
    {
        json_decref(obj);
        (void) bk_err_set(err, 400, "BadRow", "the end of an allocation that "
                          "is to be kept has a text that is no UTF-8");
        return NULL;
    }

    ct_stored_when(obj, "at", row->changed_ms);
    ct_stored_when(obj, "allocatedAt", row->created_ms);
    ct_stored_when(obj, "expiresAt", row->expires_ms);

    return obj;
}


/* What is empty is not there. */

static int
ct_stored_set(json_t *obj, const char *key, bk_str_t s)
{
    if (s.len == 0) {
        return 0;
    }

    return json_object_set_new(obj, key, json_stringn(s.data, s.len));
}


static int
ct_stored_hex(json_t *obj, const char *key, const uint8_t *bytes, size_t len)
{
    char    hex[2 * OBJ_HASH_LEN + 1];
    size_t  i;

    for (i = 0; i < len; i++) {
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
    }

    return json_object_set_new(obj, key, json_string(hex));
}


static void
ct_stored_when(json_t *obj, const char *key, uint64_t ms)
{
    char  text[32];

    ct_stored_time(ms, text);

    if (text[0] != '\0') {
        json_object_set_new(obj, key, json_string(text));
    }
}


void
ct_stored_time(uint64_t ms, char buf[32])
{
    size_t     n;
    time_t     s = (time_t) (ms / 1000);
    struct tm  tm;

    buf[0] = '\0';

    if (ms < 1000 || ms > CT_TIME_MAX) {
        return;
    }

    gmtime_r(&s, &tm);
    n = strftime(buf, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(buf + n, 32 - n, ".%03uZ", (unsigned) (ms % 1000));
}


/* The kind has strings there; whatever else it is, is one of JSON. */

static json_t *
ct_stored_metadata(bk_str_t text)
{
    char        *s;
    json_t      *obj, *value;
    void        *tmp;
    const char  *key;

    obj = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, NULL);

    if (!json_is_object(obj)) {
        json_decref(obj);
        return NULL;
    }

    json_object_foreach_safe(obj, tmp, key, value) {
        if (json_is_string(value)) {
            continue;
        }

        s = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

        if (s == NULL) {
            abort();
        }

        json_object_set_new(obj, key, json_string(s));
        free(s);
    }

    return obj;
}


static int
ct_stored_ours(const char *key)
{
    int  i;

    for (i = 0; ct_stored_keys[i] != NULL; i++) {
        if (strcmp(ct_stored_keys[i], key) == 0) {
            return 1;
        }
    }

    return 0;
}


/* The record. */

static json_t *
ct_stored_rest(json_t *json)
{
    json_t      *rest = json_object(), *value;
    const char  *key;

    json_object_foreach(json, key, value) {
        if (!ct_stored_ours(key)) {
            json_object_set(rest, key, value);
        }
    }

    return rest;
}


int
ct_stored_read(json_t *json, int state, const char *pool, const char *worker,
    ct_stored_t *out)
{
    int           over = bk_alloc_ended(state);
    json_t       *rest, *metadata;
    bk_stored_t  *r = &out->stored;

    memset(out, 0, sizeof(ct_stored_t));

    if (obj_hex(obj_text(json, "tokenHash"), out->hash, OBJ_HASH_LEN) != 0
        || ct_stored_text(json, "jobId", &r->job) != 0
        || ct_stored_text(json, "requestedBy", &r->owner) != 0)
    {
        return -1;
    }

    r->hash = out->hash;
    r->pool = CT_STR(pool);
    r->worker = CT_STR(worker);
    r->state = state;

    if (obj_hex(obj_text(json, "clientKeyHash"), out->key_hash, OBJ_HASH_LEN)
        == 0)
    {
        r->key_hash = out->key_hash;
    }

    if (obj_time(obj_text(json, "allocatedAt"), &r->created_ms) != 0) {
        r->created_ms = 0;
    }

    if (obj_time(obj_text(json, "expiresAt"), &r->expires_ms) != 0) {
        r->expires_ms = 0;
    }

    r->changed_ms = r->created_ms;

    if (over) {
        if (obj_time(obj_text(json, "at"), &r->changed_ms) != 0) {
            return -1;
        }

        if (r->created_ms == 0) {
            r->created_ms = r->changed_ms;
        }

        obj_copy(out->reason, sizeof(out->reason), obj_text(json, "reason"));
        r->reason = CT_STR(out->reason);

        return 0;
    }

    metadata = json_object_get(json, "metadata");

    if (json_is_object(metadata)) {
        out->metadata = json_dumps(metadata, JSON_COMPACT);
    }

    rest = ct_stored_rest(json);
    out->record = json_dumps(rest, JSON_COMPACT);
    json_decref(rest);

    r->metadata = CT_STR(out->metadata == NULL ? "" : out->metadata);
    r->record = CT_STR(out->record == NULL ? "" : out->record);

    if (r->created_ms == 0 || r->record.len > BK_STORE_RECORD_MAX) {
        ct_stored_clear(out);
        return -1;
    }

    return 0;
}


/* It goes into logs and answers: a text with control bytes is not ours. */

static int
ct_stored_text(json_t *json, const char *key, bk_str_t *out)
{
    size_t   i;
    json_t  *value = json_object_get(json, key);

    *out = (bk_str_t) { "", 0 };

    if (value == NULL || json_is_null(value)) {
        return 0;
    }

    if (!json_is_string(value)) {
        return -1;
    }

    *out = (bk_str_t) { json_string_value(value), json_string_length(value) };

    for (i = 0; i < out->len; i++) {
        if ((unsigned char) out->data[i] < 0x20 || out->data[i] == 0x7f) {
            return -1;
        }
    }

    return 0;
}


void
ct_stored_clear(ct_stored_t *s)
{
    free(s->metadata);
    free(s->record);
    s->metadata = NULL;
    s->record = NULL;
}


int
ct_stored_same(json_t *a, json_t *b)
{
    int  i;

    static const char *const  keys[] = {
        "tokenHash", "state", "expiresAt", "clientKeyHash", "answered", "at",
        NULL
    };

    for (i = 0; keys[i] != NULL; i++) {
        json_t  *x = json_object_get(a, keys[i]);
        json_t  *y = json_object_get(b, keys[i]);

        if ((x == NULL) != (y == NULL) || (x != NULL && !json_equal(x, y))) {
            return 0;
        }
    }

    return 1;
}


json_t *
ct_stored_patch(json_t *is, json_t *should)
{
    return ct_stored_deep(is, should, 0);
}


/* RFC 7386: what is not named stays, null takes away, objects merge. */

static json_t *
ct_stored_deep(json_t *is, json_t *should, int depth)
{
    json_t      *patch, *value, *old;
    const char  *key;

    if (!json_is_object(should) || depth > CT_DEPTH) {
        return json_incref(should);
    }

    patch = json_object();

    json_object_foreach(is, key, value) {
        if (json_object_get(should, key) == NULL) {
            json_object_set_new(patch, key, json_null());
        }
    }

    json_object_foreach(should, key, value) {
        old = json_object_get(is, key);

        if (old == NULL || !json_equal(old, value)) {
            json_object_set_new(patch, key,
                                ct_stored_deep(json_is_object(old) ? old
                                               : NULL, value, depth + 1));
        }
    }

    return patch;
}


json_t *
ct_stored_ended(json_t *list, json_t *more, uint64_t now_ms)
{
    size_t    i;
    json_t   *all = json_array(), *e;
    uint64_t  at;

    json_array_foreach(list, i, e) {
        if (obj_time(obj_text(e, "at"), &at) == 0
            && at + CT_ENDED_KEEP > now_ms
            && (more == NULL
                || strcmp(obj_text(e, "tokenHash"),
                          obj_text(more, "tokenHash")) != 0))
        {
            json_array_append(all, e);
        }
    }

    if (more != NULL) {
        json_array_append(all, more);
    }

    while (json_array_size(all) > OBJ_ENDED_MAX) {
        json_array_remove(all, 0);
    }

    return all;
}
