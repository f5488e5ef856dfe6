/*
 * The authorities over HTTP: shown, rotated, retired.  Formats:
 * plugin-host/doc/api.md; what happens: plugin-host/doc/certificates.md.
 */

#include <jansson.h>
#include <string.h>

#include "api.h"
#include "bk_err.h"
#include "gate.h"
#include "host.h"
#include "log.h"


static void bk_api_ca_show(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static void bk_api_ca_rotate(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static void bk_api_ca_retire(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static void bk_api_ca_do(bk_request_t *r, const bk_request_info_t *info,
    bk_core_t *core, int retire);
static int bk_api_ca_body(bk_str_t body, char *name, size_t size,
    int *force, bk_err_t *err);
static void bk_api_ca_send(bk_request_t *r, bk_core_t *core);


static const struct {
    const char  *method;
    const char  *pattern;
    int          verb;
    bk_http_pt   handler;
} bk_api_ca_table[] = {
    { "GET", "/api/v1/ca", BK_VERB_LIST, bk_api_ca_show },
    { "POST", "/api/v1/ca/rotate", BK_VERB_ADMIN, bk_api_ca_rotate },
    { "POST", "/api/v1/ca/retire", BK_VERB_ADMIN, bk_api_ca_retire }
};


int
bk_api_ca_routes(bk_core_t *core, bk_err_t *err)
{
    size_t  i;

    for (i = 0; i < sizeof(bk_api_ca_table) / sizeof(bk_api_ca_table[0]); i++)
    {
        if (bk_httpd_route_for(core->httpd, BK_HTTP_API,
                               bk_api_ca_table[i].method,
                               bk_api_ca_table[i].pattern,
                               bk_api_ca_table[i].verb,
                               bk_api_ca_table[i].handler, core,
                               BK_HTTP_HOST, err)
            != 0)
        {
            return -1;
        }
    }

    return 0;
}


static void
bk_api_ca_show(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    bk_err_t        err;
    bk_core_t      *core = data;
    bk_decision_t   d;

    (void) info;

    /* they are of no pool: the gate let in whoever may do anything at all */
    if (bk_gate_allowed(r, BK_VERB_LIST, (bk_str_t) { "", 0 }, &d, &err)
        != 0)
    {
        bk_httpd_fail(r, &err);
        return;
    }

    bk_api_ca_send(r, core);
}


static void
bk_api_ca_rotate(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    bk_api_ca_do(r, info, data, 0);
}


static void
bk_api_ca_retire(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    bk_api_ca_do(r, info, data, 1);
}


static void
bk_api_ca_do(bk_request_t *r, const bk_request_info_t *info, bk_core_t *core,
    int retire)
{
    int          rc, force;
    char         name[32];
    bk_err_t     err;
    const char  *which;

    if (bk_api_ca_body(info->body, name, sizeof(name), &force, &err) != 0) {
        bk_httpd_fail(r, &err);
        return;
    }

    which = name[0] != '\0' ? name : NULL;
    rc = retire ? bk_ca_retire(core->ca, which, force, &err)
                : bk_ca_rotate(core->ca, which, &err);

    if (rc != 0) {
        bk_httpd_fail(r, &err);
        return;
    }

    bk_api_ca_send(r, core);
}


/* {"authority": NAME, "force": true}; nothing, or no name: both. */

static int
bk_api_ca_body(bk_str_t body, char *name, size_t size, int *force,
    bk_err_t *err)
{
    int          rc = 0;
    json_t      *json, *value, *forced;
    const char  *s;

    name[0] = '\0';
    *force = 0;

    if (body.len == 0) {
        return 0;
    }

    json = json_loadb(body.data, body.len, JSON_REJECT_DUPLICATES, NULL);
    value = json_object_get(json, "authority");
    forced = json_object_get(json, "force");
    s = json_string_value(value);
    *force = json_is_true(forced);

    if (!json_is_object(json)
        || json_object_size(json)
           != (size_t) ((value != NULL) + (forced != NULL))
        || (forced != NULL && !json_is_boolean(forced))
        || (value != NULL && (s == NULL || *s == '\0' || strlen(s) >= size)))
    {
        bk_err_set(err, 400, "BadRequest", "the body is no JSON object with "
                   "\"authority\" and \"force\" alone");
        rc = bk_err_hint(err, "{\"authority\": \"gateway\"} or \"worker\"; {} "
                         "is both");

    } else if (s != NULL) {
        memcpy(name, s, strlen(s) + 1);
    }

    json_decref(json);

    return rc;
}


static void
bk_api_ca_send(bk_request_t *r, bk_core_t *core)
{
    json_t  *json = bk_ca_show(core->ca);

    json_object_set_new(json, "reload", bk_reload_show(core->reload));
    bk_api_send(r, 200, json);
}
