/*
 * Rows of the journal as they are kept in memory and in the host's store:
 * what only the allocator understands is a JSON object, whose members are
 * those of BuildKitWorker.spec.allocation (k8s/), so that a store may keep
 * them as they are.
 */

#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_duration.h"
#include "journal_store.h"


#define BK_KEPT_TEXTS  11
#define BK_BASE64_MAX  ((BK_SPKI_MAX + 2) / 3 * 4)


static void bk_kept_texts(bk_row_t *row, char **texts, size_t *sizes);
static int bk_kept_object(json_t *root, bk_row_t *row, bk_err_t *err);
static int bk_kept_text(json_t *root, const char *key, char *buf, size_t size);
static int bk_kept_time(json_t *root, const char *key, uint64_t *ms);
static int bk_kept_number(json_t *root, const char *key, int64_t min,
    int64_t max, int64_t *n);
static int bk_kept_bool(json_t *root, const char *key, int *value);
static int bk_kept_hex(const char *text, uint8_t *out, size_t len);
static int bk_kept_key(json_t *root, bk_row_t *row);
static int bk_kept_copy(char *dst, size_t size, bk_str_t s);


/* In the order in which they are in data; the last one is metadata. */

static void
bk_kept_texts(bk_row_t *row, char **texts, size_t *sizes)
{
    size_t  i;

    char    *all[BK_KEPT_TEXTS - 1] = {
        row->pool, row->worker, row->job_id, row->client, row->owner,
        row->rule, row->cache_key, row->arch, row->idempotency, row->reason
    };
    size_t   room[BK_KEPT_TEXTS - 1] = {
        sizeof(row->pool), sizeof(row->worker), sizeof(row->job_id),
        sizeof(row->client), sizeof(row->owner), sizeof(row->rule),
        sizeof(row->cache_key), sizeof(row->arch), sizeof(row->idempotency),
        sizeof(row->reason)
    };

    for (i = 0; i < BK_KEPT_TEXTS - 1; i++) {
        texts[i] = all[i];
        sizes[i] = room[i];
    }
}


bk_kept_t *
bk_kept_new(const bk_row_t *in)
{
    char       *texts[BK_KEPT_TEXTS], *p;
    size_t      i, size, sizes[BK_KEPT_TEXTS];
    bk_row_t    row;
    bk_kept_t  *kept;

    row = *in;
    bk_kept_texts(&row, texts, sizes);
    texts[BK_KEPT_TEXTS - 1] = (char *) (row.metadata == NULL
                                         ? "" : row.metadata);
    size = sizeof(bk_kept_t) + row.spki_len;

    for (i = 0; i < BK_KEPT_TEXTS; i++) {
        size += strlen(texts[i]) + 1;
    }

    kept = calloc(1, size);

    if (kept == NULL) {
        abort();
    }

    kept->created_ms = row.created_ms;
    kept->expires_ms = row.expires_ms;
    kept->changed_ms = row.changed_ms;
    kept->ttl_ms = row.ttl_ms;
    kept->max_ttl_ms = row.max_ttl_ms;
    kept->concurrency = row.concurrency;
    kept->priority = row.priority;
    kept->untrusted = row.untrusted != 0;
    kept->state = row.state;
    kept->answered = row.answered != 0;
    kept->spki_len = row.spki_len;
    memcpy(kept->nonce, row.nonce, BK_NONCE_LEN);
    memcpy(kept->data, row.spki, row.spki_len);

    p = kept->data + row.spki_len;

    for (i = 0; i < BK_KEPT_TEXTS; i++) {
        size = strlen(texts[i]) + 1;
        memcpy(p, texts[i], size);
        p += size;
    }

    return kept;
}


void
bk_kept_row(const bk_kept_t *kept, const uint8_t *hash, bk_row_t *row)
{
    char        *texts[BK_KEPT_TEXTS];
    size_t       i, sizes[BK_KEPT_TEXTS];
    const char  *p;

    memset(row, 0, sizeof(bk_row_t));
    memcpy(row->hash, hash, BK_TABLE_HASH_LEN);
    bk_kept_texts(row, texts, sizes);

    row->created_ms = kept->created_ms;
    row->expires_ms = kept->expires_ms;
    row->changed_ms = kept->changed_ms;
    row->ttl_ms = kept->ttl_ms;
    row->max_ttl_ms = kept->max_ttl_ms;
    row->concurrency = kept->concurrency;
    row->priority = kept->priority;
    row->untrusted = kept->untrusted;
    row->state = kept->state;
    row->answered = kept->answered;
    row->spki_len = kept->spki_len;
    memcpy(row->nonce, kept->nonce, BK_NONCE_LEN);
    memcpy(row->spki, kept->data, kept->spki_len);

    p = kept->data + kept->spki_len;

    for (i = 0; i < BK_KEPT_TEXTS - 1; i++) {
        bk_str_copy(texts[i], sizes[i], bk_str(p));
        p += strlen(p) + 1;
    }

    row->metadata = p[0] == '\0' ? NULL : p;
}


int
bk_kept_news(const bk_kept_t *a, const bk_kept_t *b)
{
    const char  *x, *y;

    /* the pool, then the worker; stores may keep whole seconds */
    x = a->data + a->spki_len;
    y = b->data + b->spki_len;
    x += strlen(x) + 1;
    y += strlen(y) + 1;

    return a->state != b->state || a->answered != b->answered
           || a->expires_ms / BK_SECOND != b->expires_ms / BK_SECOND
           || strcmp(x, y) != 0;
}


char *
bk_kept_record(const bk_row_t *row)
{
    char     nonce[2 * BK_NONCE_LEN + 1], key[BK_BASE64_MAX + 1];
    char     ttl[32], max_ttl[32], *text;
    size_t   i;
    json_t  *root;

    for (i = 0; i < BK_NONCE_LEN; i++) {
        (void) snprintf(nonce + 2 * i, 3, "%02x", row->nonce[i]);
    }

    (void) EVP_EncodeBlock((unsigned char *) key, row->spki,
                           (int) row->spki_len);
    (void) snprintf(ttl, sizeof(ttl), "%llums",
                    (unsigned long long) row->ttl_ms);
    (void) snprintf(max_ttl, sizeof(max_ttl), "%llums",
                    (unsigned long long) row->max_ttl_ms);

    root = json_pack("{s:s, s:s, s:s, s:s, s:i, s:b, s:s, s:I, s:b}",
                     "nonce", nonce, "clientKey", key, "client", row->client,
                     "rule", row->rule, "priority", row->priority,
                     "untrusted", row->untrusted, "ttl", ttl,
                     "concurrency", (json_int_t) row->concurrency,
                     "answered", row->answered);

    if (root == NULL) {
        /* a text that is no UTF-8: requests with such are refused */
        return bk_strdup("{}");
    }

    if ((row->max_ttl_ms > 0
         && json_object_set_new(root, "maxTtl", json_string(max_ttl)) != 0)
        || (row->cache_key[0] != '\0'
            && json_object_set_new(root, "cacheKey",
                                   json_string(row->cache_key)) != 0)
        || (row->arch[0] != '\0'
            && json_object_set_new(root, "arch", json_string(row->arch)) != 0)
        || (row->idempotency[0] != '\0'
            && json_object_set_new(root, "idempotencyKey",
                                   json_string(row->idempotency)) != 0))
    {
        abort();
    }

    text = json_dumps(root, JSON_COMPACT);

    if (text == NULL) {
        abort();
    }

    json_decref(root);

    return text;
}


void
bk_kept_stored(const bk_row_t *row, const uint8_t *key_hash, char *record,
    bk_stored_t *out)
{
    *out = (bk_stored_t) {
        .hash = row->hash,
        .key_hash = key_hash,
        .pool = bk_str(row->pool),
        .worker = bk_str(row->worker),
        .owner = bk_str(row->owner),
        .job = bk_str(row->job_id),
        .metadata = bk_str(row->metadata == NULL ? "" : row->metadata),
        .reason = bk_str(row->reason),
        .record = bk_str(record),
        .created_ms = row->created_ms,
        .expires_ms = row->expires_ms,
        .changed_ms = row->changed_ms,
        .state = row->state
    };
}


/*
 * Somebody may have edited it by hand.  An ended one needs no record; one
 * that lives must be ours, whole, and bound to the key that it says.
 */

bk_kept_t *
bk_kept_read(const bk_stored_t *in, bk_err_t *err)
{
    int         rc;
    char       *metadata;
    json_t     *root;
    uint8_t     key_hash[BK_TABLE_HASH_LEN];
    bk_row_t    row;
    bk_kept_t  *kept;

    memset(&row, 0, sizeof(row));
    memcpy(row.hash, in->hash, BK_TABLE_HASH_LEN);
    row.created_ms = in->created_ms;
    row.expires_ms = in->expires_ms;
    row.changed_ms = in->changed_ms;
    row.state = in->state;

    bk_str_copy(row.reason, sizeof(row.reason), in->reason);

    if (bk_kept_copy(row.pool, sizeof(row.pool), in->pool) != 0
        || row.pool[0] == '\0'
        || bk_kept_copy(row.worker, sizeof(row.worker), in->worker) != 0
        || bk_kept_copy(row.owner, sizeof(row.owner), in->owner) != 0
        || bk_kept_copy(row.job_id, sizeof(row.job_id), in->job) != 0
        || in->metadata.len > BK_METADATA_MAX)
    {
        (void) bk_fail(err, 400, "BadRow", NULL, "a name in it is too long");
        return NULL;
    }

    if (in->state < BK_ALLOC_QUEUED || in->state >= BK_ALLOC_STATES) {
        (void) bk_fail(err, 400, "BadRow", NULL, "it has no known state");
        return NULL;
    }

    root = in->record.len == 0 || in->record.len > BK_STORE_RECORD_MAX ? NULL
           : json_loadb(in->record.data, in->record.len,
                        JSON_REJECT_DUPLICATES, NULL);
    rc = bk_kept_object(root, &row, err);
    json_decref(root);

    if (row.state >= BK_ALLOC_EXPIRED) {
        rc = 0;

    } else if (rc == 0) {
        row.state = row.worker[0] == '\0' ? BK_ALLOC_QUEUED : BK_ALLOC_READY;
        bk_sha256(row.spki, row.spki_len, key_hash);

        if (in->key_hash == NULL
            || memcmp(in->key_hash, key_hash, sizeof(key_hash)) != 0)
        {
            rc = bk_fail(err, 400, "BadRow", NULL,
                         "its key is not the one of its hash");
        }
    }

    if (rc != 0) {
        return NULL;
    }

    metadata = in->metadata.len == 0 ? NULL
               : strndup(in->metadata.data, in->metadata.len);
    row.metadata = metadata;
    kept = bk_kept_new(&row);
    free(metadata);

    return kept;
}


static int
bk_kept_object(json_t *root, bk_row_t *row, bk_err_t *err)
{
    char     nonce[2 * BK_NONCE_LEN + 2];
    int64_t  priority, concurrency;

    priority = 0;
    concurrency = 0;

    if (!json_is_object(root)
        || bk_kept_text(root, "nonce", nonce, sizeof(nonce)) != 0
        || bk_kept_hex(nonce, row->nonce, BK_NONCE_LEN) != 0
        || bk_kept_key(root, row) != 0
        || bk_kept_text(root, "client", row->client, sizeof(row->client)) != 0
        || bk_kept_text(root, "rule", row->rule, sizeof(row->rule)) != 0
        || bk_kept_text(root, "cacheKey", row->cache_key,
                        sizeof(row->cache_key)) != 0
        || bk_kept_text(root, "arch", row->arch, sizeof(row->arch)) != 0
        || bk_kept_text(root, "idempotencyKey", row->idempotency,
                        sizeof(row->idempotency)) != 0
        || bk_kept_time(root, "ttl", &row->ttl_ms) != 0
        || bk_kept_time(root, "maxTtl", &row->max_ttl_ms) != 0
        || bk_kept_number(root, "priority", INT32_MIN, INT32_MAX, &priority)
           != 0
        || bk_kept_number(root, "concurrency", 0, UINT32_MAX, &concurrency)
           != 0
        || bk_kept_bool(root, "untrusted", &row->untrusted) != 0
        || bk_kept_bool(root, "answered", &row->answered) != 0)
    {
        return bk_fail(err, 400, "BadRow", NULL,
                       "its record is not what the allocator writes");
    }

    row->priority = (int) priority;
    row->concurrency = (uint32_t) concurrency;

    return 0;
}


/* What is not there is empty; what is too long, or another type, is bad. */

static int
bk_kept_text(json_t *root, const char *key, char *buf, size_t size)
{
    json_t  *value;

    value = json_object_get(root, key);
    buf[0] = '\0';

    if (value == NULL) {
        return 0;
    }

    if (!json_is_string(value) || !bk_text_valid(json_string_value(value))) {
        return -1;
    }

    return bk_kept_copy(buf, size, (bk_str_t) {
        json_string_value(value), json_string_length(value)
    });
}


static int
bk_kept_time(json_t *root, const char *key, uint64_t *ms)
{
    char  text[40];

    if (bk_kept_text(root, key, text, sizeof(text)) != 0) {
        return -1;
    }

    return text[0] == '\0' ? 0 : bk_duration_parse(text, strlen(text), ms);
}


static int
bk_kept_number(json_t *root, const char *key, int64_t min, int64_t max,
    int64_t *n)
{
    json_t  *value;

    value = json_object_get(root, key);

    if (value == NULL) {
        return 0;
    }

    *n = (int64_t) json_integer_value(value);

    return json_is_integer(value) && *n >= min && *n <= max ? 0 : -1;
}


static int
bk_kept_bool(json_t *root, const char *key, int *out)
{
    json_t  *value;

    value = json_object_get(root, key);
    *out = json_is_true(value);

    return value == NULL || json_is_boolean(value) ? 0 : -1;
}


static int
bk_kept_hex(const char *text, uint8_t *out, size_t len)
{
    size_t    i;
    unsigned  byte;

    if (strlen(text) != 2 * len
        || strspn(text, "0123456789abcdef") != 2 * len)
    {
        return -1;
    }

    for (i = 0; i < len; i++) {
        (void) sscanf(text + 2 * i, "%2x", &byte);
        out[i] = (uint8_t) byte;
    }

    return 0;
}


static int
bk_kept_key(json_t *root, bk_row_t *row)
{
    int            n;
    char           text[BK_BASE64_MAX + 1];
    size_t         len;
    unsigned char  raw[BK_BASE64_MAX];

    if (bk_kept_text(root, "clientKey", text, sizeof(text)) != 0) {
        return -1;
    }

    len = strlen(text);

    if (len == 0 || len % 4 != 0) {
        return -1;
    }

    n = EVP_DecodeBlock(raw, (const unsigned char *) text, (int) len);

    /* it counts the padding */
    n -= text[len - 1] == '=';
    n -= text[len - 2] == '=';

    if (n <= 0 || n > BK_SPKI_MAX) {
        return -1;
    }

    memcpy(row->spki, raw, (size_t) n);
    row->spki_len = (size_t) n;

    return 0;
}


static int
bk_kept_copy(char *dst, size_t size, bk_str_t s)
{
    if (s.len >= size || (s.len > 0 && memchr(s.data, '\0', s.len) != NULL)) {
        return -1;
    }

    bk_str_copy(dst, size, s);

    return 0;
}
