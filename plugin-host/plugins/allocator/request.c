/*
 * What a caller asks for: the fields of an allocate request, checked one by
 * one before anything is done about them; and what the access rules make of
 * it.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocator.h"


#define BK_CSR_MAX  16384


static int bk_request_text(json_t *root, const char *key, size_t max,
    char **out, bk_err_t *err);
static int bk_request_ttl(bk_call_t *c, bk_err_t *err);
static const char *bk_request_claim(json_t *claims, const char *name);


/* "demo" in "default", or a name with a slash as it is. */

int
bk_request_pool_name(json_t *root, char pool[BK_TABLE_POOL_LEN],
    bk_err_t *err)
{
    int   n;
    char  name[BK_TABLE_POOL_LEN], space[BK_TABLE_POOL_LEN];

    if (bk_json_string(root, "poolName", BK_TABLE_POOL_LEN - 1, name, err)
        == -1
        || bk_json_string(root, "namespace", 63, space, err) == -1)
    {
        return -1;
    }

    if (name[0] == '\0') {
        return bk_fail(err, 400, "MissingField", "bkctl pools lists the pools",
                       "\"poolName\" is missing");
    }

    if (strchr(name, '/') != NULL) {
        n = snprintf(pool, BK_TABLE_POOL_LEN, "%s", name);

    } else {
        n = snprintf(pool, BK_TABLE_POOL_LEN, "%s/%s",
                     space[0] == '\0' ? "default" : space, name);
    }

    if (n < 0 || n >= BK_TABLE_POOL_LEN) {
        return bk_fail(err, 400, "TooLong", NULL,
                       "the name of the pool is too long");
    }

    return 0;
}


static int
bk_request_text(json_t *root, const char *key, size_t max, char **out,
    bk_err_t *err)
{
    char  text[BK_CACHE_KEY_MAX + 1];

    if (bk_json_string(root, key, max, text, err) == -1) {
        return -1;
    }

    if (text[0] != '\0') {
        free(*out);
        *out = bk_strdup(text);
    }

    return 0;
}


int
bk_request_read(bk_allocator_t *a, json_t *root, bk_call_t *c,
    bk_err_t *err)
{
    c->wait_ms = a->default_wait_ms;

    if (bk_request_pool_name(root, c->pool, err) != 0
        || bk_request_text(root, "jobId", BK_JOB_ID_MAX, &c->job_id, err)
           != 0
        || bk_json_string(root, "arch", sizeof(c->arch) - 1, c->arch, err)
           == -1
        || bk_request_text(root, "idempotencyKey", BK_JOB_ID_MAX,
                           &c->idempotency, err) != 0
        || bk_request_text(root, "cacheKey", BK_CACHE_KEY_MAX, &c->cache_key,
                           err) != 0
        || bk_json_text(root, "csr", BK_CSR_MAX, &c->csr, err) == -1
        || bk_json_metadata(root, "metadata", &c->metadata, err) == -1
        || bk_json_duration(root, "wait", &c->wait_ms, err) == -1)
    {
        return -1;
    }

    if (c->wait_ms > a->max_wait_ms) {
        c->wait_ms = a->max_wait_ms;
    }

    switch (bk_json_duration(root, "ttl", &c->ttl_ms, err)) {
    case -1:
        return -1;

    case 0:
        return 0;

    default:
        return bk_request_ttl(c, err);
    }
}


static int
bk_request_ttl(bk_call_t *c, bk_err_t *err)
{
    if (c->ttl_ms < BK_SECOND || c->ttl_ms > c->a->max_ttl_ms) {
        return bk_fail(err, 400, "BadTtl",
                       "renew an allocation that is needed longer",
                       "\"ttl\" must be between 1s and %llus",
                       (unsigned long long) (c->a->max_ttl_ms / BK_SECOND));
    }

    return 0;
}


/* Of a pool that one may not use, one does not learn whether it exists. */

int
bk_request_rule(bk_call_t *c, int verb, bk_err_t *err)
{
    char              owner[BK_OWNER_MAX + 1];
    uint64_t          max;
    bk_identity_t     id;
    bk_pool_info_t    pool;
    const bk_host_t  *h;

    h = c->a->host;
    id = (bk_identity_t) { .until_ms = 0 };

    if (h->http_allowed(c->r, verb, bk_str(c->pool), &c->rule,
                        sizeof(bk_decision_t), err) != 0)
    {
        return -1;
    }

    bk_str_copy(c->rule_name, sizeof(c->rule_name), c->rule.rule);
    c->rule.rule = bk_str(c->rule_name);

    if (h->http_identity(c->r, &id) == 0) {
        bk_str_copy(owner, sizeof(owner), id.name);
        free(c->owner);
        c->owner = bk_strdup(owner);
    }

    if (h->pool_find(h, bk_str(c->pool), &pool) != 0) {
        return bk_fail(err, 404, "PoolNotFound",
                       "bkctl pools lists them; namespace is \"default\" "
                       "unless it is given", "there is no pool %s", c->pool);
    }

    max = c->rule.max_ttl_ms;

    if (c->ttl_ms == 0) {
        c->ttl_ms = c->a->default_ttl_ms;

        if (max > 0 && c->ttl_ms > max) {
            c->ttl_ms = max;
        }

    } else if (max > 0 && c->ttl_ms > max) {
        return bk_fail(err, 400, "BadTtl",
                       "ask for less, and renew when it is needed longer",
                       "\"ttl\" is longer than the %llus that rule %s allows",
                       (unsigned long long) (max / BK_SECOND), c->rule_name);
    }

    if (c->cache_key == NULL && id.claims.len > 0) {
        c->cache_key = bk_request_cache_key(c, id.claims);
    }

    return 0;
}


static const char *
bk_request_claim(json_t *claims, const char *name)
{
    return json_string_value(json_object_get(claims, name));
}


/* NULL: nobody said which repository it is. */

char *
bk_request_cache_key(const bk_call_t *c, bk_str_t claims)
{
    char         key[BK_CACHE_KEY_MAX + 1], *copy;
    json_t      *root, *metadata;
    const char  *repository, *target;

    root = json_loadb(claims.data, claims.len, 0, NULL);
    metadata = c->metadata == NULL ? NULL : json_loads(c->metadata, 0, NULL);
    copy = NULL;

    repository = bk_request_claim(root, "repository");

    if (repository == NULL) {
        repository = bk_request_claim(root, "project_path");
    }

    if (repository != NULL && repository[0] != '\0'
        && bk_text_valid(repository))
    {
        target = bk_request_claim(metadata, "target");

        if (target == NULL || !bk_text_valid(target)) {
            target = "";
        }

        /* when it is cut, then perhaps within a character */
        (void) snprintf(key, sizeof(key), "%s %s %s", repository, target,
                        c->arch);
        bk_err_clean(key);
        copy = bk_strdup(key);
    }

    json_decref(root);
    json_decref(metadata);

    return copy;
}
