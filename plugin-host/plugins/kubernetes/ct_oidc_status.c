/* The status of a BuildKitOIDCConfig: see ct_oidc.h. */

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ct_oidc.h"


static json_t *ct_oidc_cond(const ct_oidc_obj_t *c, const char *type, int is,
    const char *reason, const char *text);


json_t *
ct_oidc_status(const ct_oidc_obj_t *c, const char *dir)
{
    int          ready = 0;
    char         text[600];
    json_t      *conds, *gen;
    const char  *reason;

    if (c->bad.code != 0) {
        reason = c->bad.reason;
        snprintf(text, sizeof(text), "%s", c->bad.text);

    } else if (c->disabled) {
        reason = "Disabled";
        snprintf(text, sizeof(text), "enabled is false: its tokens are not "
                 "taken");

    } else if (!c->used) {
        reason = "NotRead";
        snprintf(text, sizeof(text), "no plugin oidc of the controller reads "
                 "%s/" CT_OIDC_FILE, dir);

    } else if (!c->keys) {
        reason = c->failed ? "IssuerUnreachable" : "NoKeysYet";
        snprintf(text, sizeof(text), "%s", c->failed
                 ? "its keys cannot be had: the controller's log says why"
                 : "its keys are not there yet");

    } else {
        ready = 1;
        reason = "KeysKnown";
        snprintf(text, sizeof(text), "its tokens are taken; what their owners "
                 "may do is for the access rules, source %s", c->name);
    }

    gen = json_object_get(json_object_get(c->obj, "metadata"), "generation");

    conds = json_pack("[o, o]",
                      ct_oidc_cond(c, "Accepted", c->bad.code == 0,
                                   c->bad.code == 0 ? "Accepted"
                                                    : c->bad.reason,
                                   c->bad.code == 0 ? "" : c->bad.text),
                      ct_oidc_cond(c, "Ready", ready, reason, text));

    return json_pack("{s:b, s:s, s:I, s:o}", "ready", ready, "message", text,
                     "observedGeneration", json_integer_value(gen),
                     "conditions", conds);
}


static json_t *
ct_oidc_cond(const ct_oidc_obj_t *c, const char *type, int is,
    const char *reason, const char *text)
{
    char         now[40];
    size_t       i;
    time_t       t = time(NULL);
    json_t      *old;
    struct tm    tm;
    const char  *since = NULL, *status = is ? "True" : "False";

    json_array_foreach(json_object_get(json_object_get(c->obj, "status"),
                                       "conditions"), i, old)
    {
        if (strcmp(obj_text(old, "type"), type) == 0
            && strcmp(obj_text(old, "status"), status) == 0)
        {
            since = obj_text(old, "lastTransitionTime");
        }
    }

    if (since == NULL || since[0] == '\0') {
        gmtime_r(&t, &tm);
        strftime(now, sizeof(now), "%Y-%m-%dT%H:%M:%SZ", &tm);
        since = now;
    }

    return json_pack("{s:s, s:s, s:s, s:s, s:s}", "type", type,
                     "status", status, "reason", reason, "message", text,
                     "lastTransitionTime", since);
}


/* Is that what it says?  What others put there besides is theirs. */

int
ct_oidc_is(const ct_oidc_obj_t *c, json_t *status)
{
    json_t      *value, *was = json_object_get(c->obj, "status");
    const char  *key;

    json_object_foreach(status, key, value) {
        if (!json_equal(value, json_object_get(was, key))) {
            return 0;
        }
    }

    return 1;
}
