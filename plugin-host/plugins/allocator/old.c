/*
 * The endpoints of older callers: POST /api/v1/allocate and
 * /api/v1/certs/request.  Both make an allocation like any other; what they
 * know and we do not is refused, since whoever asks for it relies on it.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocator.h"


static int bk_old_ttl(json_t *root, bk_call_t *c, bk_err_t *err);
static int bk_old_selector(json_t *root, bk_call_t *c, bk_err_t *err);
static int bk_old_read(bk_allocator_t *a, json_t *root, bk_call_t *c,
    bk_err_t *err);
static int bk_old_pools(bk_allocator_t *a, json_t *root, bk_call_t *c,
    bk_err_t *err);


void
bk_old_allocate_http(bk_request_t *r, const bk_request_info_t *info,
    void *data)
{
    bk_allocator_t *a = data;

    json_t     *root;
    bk_err_t    err;
    bk_call_t  *c;

    err = (bk_err_t) { 0 };
    c = bk_call_new(a, r, info, BK_ANSWER_OLD);
    root = bk_json_read(info->body, &err);

    if (root == NULL || bk_old_read(a, root, c, &err) != 0) {
        bk_json_wipe(&root);
        bk_call_fail(&c, &err);
        return;
    }

    bk_json_wipe(&root);
    bk_call_begin(c, BK_VERB_ALLOCATE);
}


static int
bk_old_read(bk_allocator_t *a, json_t *root, bk_call_t *c, bk_err_t *err)
{
    char     name[BK_TABLE_POOL_LEN];
    json_t  *value;

    value = json_object_get(root, "useExistingCerts");

    if (value != NULL && !json_is_null(value) && !json_is_boolean(value)) {
        return bk_fail(err, 400, "WrongType", NULL,
                       "\"useExistingCerts\" must be a boolean");
    }

    if (json_is_true(value)) {
        return bk_fail(err, 400, "Unsupported",
                       "leave it out: the answer has a certificate, made for "
                       "this allocation alone",
                       "\"useExistingCerts\": a certificate belongs to one "
                       "allocation here");
    }

    switch (bk_json_string(root, "certSecretName", sizeof(name) - 1, name,
                           err))
    {
    case -1:
        return -1;

    case 1:
        return bk_fail(err, 400, "Unsupported",
                       "leave it out, and write what is answered into the "
                       "secret",
                       "\"certSecretName\": this gateway writes no secrets");
    }

    if (bk_old_selector(root, c, err) != 0) {
        return -1;
    }

    /* the rest has the same names, but for this one */
    return bk_request_read(a, root, c, err) != 0
           || bk_old_ttl(root, c, err) != 0 ? -1 : 0;
}


/* In place of poolName, which goes before it. */

static int
bk_old_selector(json_t *root, bk_call_t *c, bk_err_t *err)
{
    char     name[BK_TABLE_POOL_LEN], space[BK_TABLE_POOL_LEN];
    json_t  *value;

    value = json_object_get(root, "poolSelector");

    if (value == NULL || json_is_null(value)
        || (json_is_object(value) && json_object_size(value) == 0)
        || (json_is_string(value) && json_string_length(value) == 0))
    {
        return 0;
    }

    if (!json_is_object(value)) {
        return bk_fail(err, 400, "WrongType", NULL,
                       "\"poolSelector\" must be an object of labels");
    }

    if (bk_json_string(root, "poolName", sizeof(name) - 1, name, err) == -1
        || bk_json_string(root, "namespace", 63, space, err) == -1)
    {
        return -1;
    }

    if (name[0] != '\0') {
        return 0;
    }

    if (bk_select_by_labels(c, BK_VERB_ALLOCATE, value,
                            space[0] == '\0' ? "default" : space, err)
        != 0)
    {
        return -1;
    }

    json_object_set_new(root, "poolName", json_string(c->pool));

    return 0;
}


static int
bk_old_ttl(json_t *root, bk_call_t *c, bk_err_t *err)
{
    uint64_t  ms;

    ms = 0;

    switch (bk_json_duration(root, "duration", &ms, err)) {
    case -1:
        return -1;

    case 0:
        return 0;
    }

    if (ms < BK_SECOND || ms > c->a->max_ttl_ms) {
        return bk_fail(err, 400, "BadTtl",
                       "renew an allocation that is needed longer",
                       "\"duration\" must be between 1s and %llus",
                       (unsigned long long) (c->a->max_ttl_ms / BK_SECOND));
    }

    c->ttl_ms = ms;

    return 0;
}


void
bk_old_certs_http(bk_request_t *r, const bk_request_info_t *info,
    void *data)
{
    bk_allocator_t *a = data;

    json_t     *root;
    bk_err_t    err;
    bk_call_t  *c;

    err = (bk_err_t) { 0 };
    c = bk_call_new(a, r, info, BK_ANSWER_CERTS);
    c->wait_ms = a->default_wait_ms;
    root = bk_json_read(info->body, &err);

    if (root == NULL || bk_old_pools(a, root, c, &err) != 0
        || bk_old_ttl(root, c, &err) != 0)
    {
        bk_json_wipe(&root);
        bk_call_fail(&c, &err);
        return;
    }

    bk_json_wipe(&root);
    bk_call_begin(c, BK_VERB_CERTS);
}


/* A certificate carries one token, and so is good for one pool. */

static int
bk_old_pools(bk_allocator_t *a, json_t *root, bk_call_t *c, bk_err_t *err)
{
    char     space[64];
    size_t   n;
    json_t  *pools, *name, *one;

    (void) a;

    pools = json_object_get(root, "pools");

    if (pools == NULL || json_is_null(pools)) {
        return bk_fail(err, 400, "MissingField", "bkctl pools lists the pools",
                       "\"pools\" is missing");
    }

    if (!json_is_array(pools)) {
        return bk_fail(err, 400, "WrongType", NULL,
                       "\"pools\" must be a list of strings");
    }

    n = json_array_size(pools);

    if (n != 1) {
        return bk_fail(err, 400, "OnePool",
                       "ask once for each pool: a certificate carries one "
                       "allocation's token", "\"pools\" names %zu pools, and "
                       "a certificate is for one", n);
    }

    name = json_array_get(pools, 0);

    if (!json_is_string(name)) {
        return bk_fail(err, 400, "WrongType", NULL,
                       "\"pools\" must be a list of strings");
    }

    if (bk_json_string(root, "namespace", sizeof(space) - 1, space, err)
        == -1)
    {
        return -1;
    }

    one = json_pack("{s:O, s:s}", "poolName", name, "namespace", space);

    if (one == NULL || bk_request_pool_name(one, c->pool, err) != 0) {
        json_decref(one);
        return -1;
    }

    json_decref(one);
    c->asked = bk_strdup(json_string_value(name));

    return space[0] == '\0' && strchr(c->asked, '/') == NULL
           ? bk_select_by_name(c, BK_VERB_CERTS, c->asked, err) : 0;
}
