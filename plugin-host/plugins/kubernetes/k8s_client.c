/*
 * What the API server is asked for: see k8s.h.  k8s_ask.c does the asking.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "k8s_int.h"


#define K8S_TIMEOUT_MS  10000
#define K8S_STREAM_MS   30000
#define K8S_MANAGER     "fieldManager=buildkit-gateway"


typedef struct {
    const char        *method;
    const char        *type;        /* of body; NULL: JSON */
    const k8s_kind_t  *kind;
    const char        *ns;
    const char        *name;        /* NULL: of the collection (POST) */
    const char        *sub;
    const char        *query;
    json_t            *body;
} k8s_call_t;


static json_t *k8s_whole(const k8s_kind_t *kind, json_t *body);
static k8s_req_t *k8s_call(k8s_t *k, const k8s_call_t *call,
    k8s_done_pt done, void *data);


k8s_req_t *
k8s_get(k8s_t *k, const k8s_kind_t *kind, const char *ns, const char *name,
    k8s_done_pt done, void *data)
{
    k8s_call_t  call = { "GET", NULL, kind, ns, name, NULL, NULL, NULL };

    return k8s_call(k, &call, done, data);
}


k8s_req_t *
k8s_list(k8s_t *k, const k8s_kind_t *kind, const char *ns,
    const char *selector, k8s_done_pt done, void *data)
{
    char        *value, *query = NULL;
    k8s_req_t   *r;
    k8s_call_t   call = { "GET", NULL, kind, ns, NULL, NULL, NULL, NULL };

    if (selector != NULL) {
        value = k8s_query(selector);

        if (asprintf(&query, "labelSelector=%s", value) < 0) {
            abort();
        }

        free(value);
        call.query = query;
    }

    r = k8s_call(k, &call, done, data);
    free(query);

    return r;
}


k8s_req_t *
k8s_create(k8s_t *k, const k8s_kind_t *kind, const char *ns, json_t *body,
    k8s_done_pt done, void *data)
{
    k8s_req_t   *r;
    k8s_call_t   call = { "POST", NULL, kind, ns, NULL, NULL, K8S_MANAGER,
                          k8s_whole(kind, body) };

    r = k8s_call(k, &call, done, data);
    json_decref(call.body);

    return r;
}


k8s_req_t *
k8s_replace(k8s_t *k, const k8s_kind_t *kind, const char *ns,
    const char *name, const char *sub, json_t *body, k8s_done_pt done,
    void *data)
{
    k8s_req_t   *r;
    k8s_call_t   call = { "PUT", NULL, kind, ns, name, sub, K8S_MANAGER,
                          k8s_whole(kind, body) };

    r = k8s_call(k, &call, done, data);
    json_decref(call.body);

    return r;
}


k8s_req_t *
k8s_patch(k8s_t *k, const k8s_kind_t *kind, const char *ns, const char *name,
    const char *sub, json_t *body, k8s_done_pt done, void *data)
{
    k8s_call_t  call = { "PATCH", "application/merge-patch+json", kind, ns,
                         name, sub, K8S_MANAGER, body };

    return k8s_call(k, &call, done, data);
}


/* JSON is YAML, and a type of its own for JSON is newer than some servers. */

k8s_req_t *
k8s_apply(k8s_t *k, const k8s_kind_t *kind, const char *ns, const char *name,
    json_t *body, k8s_done_pt done, void *data)
{
    k8s_req_t   *r;
    k8s_call_t   call = { "PATCH", "application/apply-patch+yaml", kind, ns,
                          name, NULL, K8S_MANAGER "&force=true",
                          k8s_whole(kind, body) };

    r = k8s_call(k, &call, done, data);
    json_decref(call.body);

    return r;
}


k8s_req_t *
k8s_delete(k8s_t *k, const k8s_kind_t *kind, const char *ns,
    const char *name, const char *uid, const char *version, int grace,
    k8s_done_pt done, void *data)
{
    json_t      *options, *only;
    k8s_req_t   *r;
    k8s_call_t   call = { "DELETE", NULL, kind, ns, name, NULL, NULL, NULL };

    options = json_pack("{s:s, s:s}", "apiVersion", "v1", "kind",
                        "DeleteOptions");
    only = json_pack("{s:s*, s:s*}", "uid", uid, "resourceVersion", version);

    if (options == NULL || only == NULL) {
        abort();
    }

    json_object_set_new(options, "preconditions", only);

    if (grace >= 0) {
        json_object_set_new(options, "gracePeriodSeconds",
                            json_integer(grace));
    }

    call.body = options;
    r = k8s_call(k, &call, done, data);
    json_decref(options);

    return r;
}


/* The object with what says what it is: a copy of the outermost level. */

static json_t *
k8s_whole(const k8s_kind_t *kind, json_t *body)
{
    char     version[320];
    json_t  *whole;

    whole = json_copy(body);
    if (whole == NULL) {
        abort();
    }

    snprintf(version, sizeof(version), "%s%s%s", kind->group,
             kind->group[0] ? "/" : "", kind->version);
    json_object_set_new(whole, "apiVersion", json_string(version));
    json_object_set_new(whole, "kind", json_string(kind->kind));

    return whole;
}


static k8s_req_t *
k8s_call(k8s_t *k, const k8s_call_t *call, k8s_done_pt done, void *data)
{
    char            *path, *body = NULL;
    k8s_req_t       *r;
    bk_fetch_req_t   req;

    memset(&req, 0, sizeof(req));
    req.method = call->method;
    req.content_type = call->type;
    req.once = 1;
    req.limit = K8S_OBJECT_MAX;
    req.timeout_ms = K8S_TIMEOUT_MS;

    if (call->body != NULL) {
        body = json_dumps(call->body, JSON_COMPACT);
        if (body == NULL) {
            abort();
        }

        req.body = body;
        req.body_len = strlen(body);
    }

    path = k8s_path(call->kind, call->ns, call->name, call->sub);
    r = k8s_ask(k, path, call->query, &req,
                strcmp(call->method, "DELETE") == 0 ? call->name : NULL,
                NULL, done, data);
    free(path);

    if (body != NULL) {
        explicit_bzero(body, req.body_len);
        free(body);
    }

    return r;
}


k8s_req_t *
k8s_stream(k8s_t *k, const char *path, uint64_t silence_ms,
    bk_fetch_part_pt part, k8s_done_pt done, void *data)
{
    bk_fetch_req_t  req;

    memset(&req, 0, sizeof(req));
    req.timeout_ms = K8S_STREAM_MS;
    req.silence_ms = silence_ms;

    return k8s_ask(k, path, NULL, &req, NULL, part, done, data);
}
