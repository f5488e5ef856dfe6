/*
 * Ending an allocation here: revoke and release, by id for those whom a rule
 * lets, by its token for whoever has that.  The model is told, which cuts the
 * connections; controller.c hears of it and gives the allocation back.
 *
 * Where the allocator runs beside, these routes are its own, and do the same.
 */

#include <stdio.h>
#include <string.h>

#include <jansson.h>
#include <openssl/evp.h>

#include "controller.h"


#define CTL_REASON_MAX  200


/* looked for by its id */
typedef struct {
    bk_str_t  id;
    uint8_t   hash[BK_LOOKUP_HASH_LEN];
} ctl_http_seek_t;


static void ctl_http_revoke(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static void ctl_http_release(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static void ctl_http_token(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static void ctl_http_id(ctl_t *ctl, bk_request_t *r,
    const bk_request_info_t *info, int verb, int state, const char *otherwise);
static int ctl_http_field(const bk_request_info_t *info, const char *key,
    char *buf, size_t size, bk_err_t *err);
static int ctl_http_find(ctl_t *ctl, bk_str_t id, uint8_t *hash);
static int ctl_http_is(const bk_alloc_info_t *alloc, void *data);
static int ctl_http_there(ctl_t *ctl, const uint8_t *hash);
static void ctl_http_spell(const uint8_t *hash, char id[CTL_ID_LEN + 1]);
static int ctl_http_unknown(bk_err_t *err);
static void ctl_http_end(ctl_t *ctl, bk_request_t *r, const uint8_t *hash,
    int state, const char *reason);


int
ctl_http_open(ctl_t *ctl, bk_err_t *err)
{
    size_t    i;
    bk_err_t  local;

    static const struct {
        const char  *method;
        const char  *pattern;
        int          verb;
        bk_http_pt   handler;
    } routes[] = {
        { "DELETE", "/api/v1/allocations/*", BK_VERB_REVOKE,
          ctl_http_revoke },
        { "POST", "/api/v1/allocations/*/release", BK_VERB_RELEASE,
          ctl_http_release },
        { "POST", "/api/v1/workers/release", BK_VERB_NONE, ctl_http_token }
    };

    for (i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        if (ctl->host->http_route_for(ctl->host, routes[i].method,
                                      routes[i].pattern, routes[i].verb,
                                      routes[i].handler, ctl, &local) != 0
            && strcmp(local.reason, "RouteTaken") != 0)
        {
            *err = local;
            return -1;
        }
    }

    return 0;
}


static void
ctl_http_revoke(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    ctl_http_id(data, r, info, BK_VERB_REVOKE, BK_ALLOC_REVOKED,
                "revoked by an operator");
}


static void
ctl_http_release(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    ctl_http_id(data, r, info, BK_VERB_RELEASE, BK_ALLOC_RELEASED, "");
}


static void
ctl_http_id(ctl_t *ctl, bk_request_t *r, const bk_request_info_t *info,
    int verb, int state, const char *otherwise)
{
    char            reason[CTL_REASON_MAX + 1];
    uint8_t         hash[BK_LOOKUP_HASH_LEN];
    bk_err_t        err;
    bk_decision_t   d;

    if (ctl_http_field(info, "reason", reason, sizeof(reason), &err) != 0) {
        ctl->host->http_fail(r, &err);
        return;
    }

    if (reason[0] == '\0') {
        (void) ctl->host->http_query(r, "reason", reason, sizeof(reason));
        bk_err_clean(reason);
    }

    /* who may not end it is not told that it is there */

    if (ctl_http_find(ctl, info->param, hash) != 0
        || ctl->host->http_allowed(r, verb, ctl_pool(ctl), &d, sizeof(d),
                                   NULL) != 0)
    {
        (void) ctl_http_unknown(&err);
        ctl->host->http_fail(r, &err);
        return;
    }

    ctl_http_end(ctl, r, hash, state, reason[0] != '\0' ? reason : otherwise);
}


/* Its token says that it is his. */

static void
ctl_http_token(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    int        there;
    char       token[BK_LOOKUP_TOKEN_LEN + 1];
    ctl_t     *ctl = data;
    uint8_t    hash[BK_LOOKUP_HASH_LEN];
    bk_err_t   err;

    if (ctl_http_field(info, "token", token, sizeof(token), &err) != 0) {
        ctl->host->http_fail(r, &err);
        return;
    }

    there = EVP_Digest(token, strlen(token), hash, NULL, EVP_sha256(), NULL)
            == 1
            && ctl_http_there(ctl, hash);
    explicit_bzero(token, sizeof(token));

    if (!there) {
        (void) ctl_http_unknown(&err);
        ctl->host->http_fail(r, &err);
        return;
    }

    ctl_http_end(ctl, r, hash, BK_ALLOC_RELEASED, "");
}


/* "" where there is none */

static int
ctl_http_field(const bk_request_info_t *info, const char *key, char *buf,
    size_t size, bk_err_t *err)
{
    int          rc = 0;
    size_t       len;
    json_t      *obj, *v;
    const char  *s;

    buf[0] = '\0';

    if (info->body.len == 0) {
        return 0;
    }

    obj = json_loadb(info->body.data, info->body.len, JSON_REJECT_DUPLICATES,
                     NULL);
    v = json_object_get(obj, key);

    if (!json_is_object(obj)) {
        rc = bk_err_set(err, 400, "BadJson", "the body must be a JSON object");

    } else if (v != NULL && !json_is_null(v)) {
        s = json_string_value(v);
        len = s != NULL ? json_string_length(v) : 0;

        if (s == NULL || strlen(s) != len || len >= size) {
            rc = bk_err_set(err, 400, "BadValue", "\"%s\" must be a string of "
                            "at most %zu bytes", key, size - 1);

        } else {
            memcpy(buf, s, len + 1);
            bk_err_clean(buf);
        }
    }

    json_decref(obj);

    return rc;
}


static int
ctl_http_find(ctl_t *ctl, bk_str_t id, uint8_t *hash)
{
    ctl_http_seek_t  seek;

    seek.id = id;

    if (ctl->host->alloc_each(ctl->host, ctl_pool(ctl), ctl_http_is, &seek)
        == 0
        || !ctl_http_there(ctl, seek.hash))
    {
        return -1;
    }

    memcpy(hash, seek.hash, sizeof(seek.hash));

    return 0;
}


static int
ctl_http_is(const bk_alloc_info_t *alloc, void *data)
{
    char              id[CTL_ID_LEN + 1];
    ctl_http_seek_t  *seek = data;

    ctl_http_spell(alloc->hash, id);

    if (seek->id.len != CTL_ID_LEN
        || memcmp(seek->id.data, id, CTL_ID_LEN) != 0)
    {
        return 0;
    }

    memcpy(seek->hash, alloc->hash, sizeof(seek->hash));

    return 1;
}


/* One that is over is forgotten here soon, but for as long as the table has it
 * that is what is said of it. */

static int
ctl_http_there(ctl_t *ctl, const uint8_t *hash)
{
    ctl_row_t        *row = ctl_row_find(ctl, hash);
    bk_alloc_info_t   alloc;

    if (row != NULL && row->in_model) {
        return 1;
    }

    return ctl->host->alloc_find(ctl->host, hash, &alloc) == 0
           && bk_alloc_ended(alloc.state);
}


static void
ctl_http_spell(const uint8_t *hash, char id[CTL_ID_LEN + 1])
{
    size_t  i;

    for (i = 0; i < CTL_ID_LEN / 2; i++) {
        snprintf(id + 2 * i, 3, "%02x", hash[i]);
    }
}


static int
ctl_http_unknown(bk_err_t *err)
{
    return bk_fail(err, 404, "AllocationNotFound",
                   "bkctl allocations lists them",
                   "there is no such allocation of the controller's here");
}


static void
ctl_http_end(ctl_t *ctl, bk_request_t *r, const uint8_t *hash, int state,
    const char *reason)
{
    char              id[CTL_ID_LEN + 1], *text;
    json_t           *obj;
    bk_err_t          err;
    const char       *name = state == BK_ALLOC_REVOKED ? "revoked"
                                                       : "released";
    bk_alloc_info_t   alloc;

    ctl_http_spell(hash, id);

    if (ctl->host->alloc_find(ctl->host, hash, &alloc) == 0
        && bk_alloc_ended(alloc.state) && alloc.state != state)
    {
        (void) bk_err_set(&err, 410, "AllocationEnded", "allocation %s has "
                          "ended already", id);
        ctl->host->http_fail(r, &err);
        return;
    }

    if (ctl->host->alloc_end(ctl->host, hash, state, CTL_STR(reason),
                             &err) != 0)
    {
        ctl->host->http_fail(r, &err);
        return;
    }

    obj = json_pack("{s:s, s:s, s:s}", "id", id, "reason", reason, "state",
                    name);
    text = json_dumps(obj, JSON_COMPACT);
    if (text == NULL) {
        abort();
    }

    ctl->host->audit(ctl->host, r, state == BK_ALLOC_REVOKED ? "revoke"
                                                             : "release",
                     name, (bk_str_t) { text + 1, strlen(text) - 2 });
    ctl->host->http_reply(r, 200, "application/json", CTL_STR(text));

    free(text);
    json_decref(obj);
}
