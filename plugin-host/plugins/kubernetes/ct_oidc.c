/*
 * Issuers of OpenID Connect that are objects: see ct_oidc.h.
 *
 * Whatever changes is looked at again as a whole, soon: which objects are good,
 * the file of those, and what each status should say.
 */

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bk_err.h"
#include "ct_oidc.h"


#define CT_OIDC_SOON_MS   50
#define CT_OIDC_LOOK_MS   5000      /* keys come and go */


struct ct_oidc_s {
    ct_t            *ct;
    char            *dir;
    k8s_watch_t     *watch;
    k8s_req_t       *req;           /* one status at a time */
    bk_timer_t      *timer;
    ct_oidc_obj_t   *objs;          /* by name */
    char            *text;          /* of the file, as it was written */
    int              synced;
};


static const k8s_kind_t  ct_oidc_kind = {
    OBJ_GROUP, "v1alpha1", "buildkitoidcconfigs", "BuildKitOIDCConfig"
};


static void ct_oidc_put(void *data, json_t *obj, int again);
static void ct_oidc_gone(void *data, const char *ns, const char *name,
    json_t *obj);
static void ct_oidc_synced(void *data, int first);
static void ct_oidc_state(void *data, int connected, const char *why);
static void ct_oidc_drop(ct_oidc_t *o, ct_oidc_obj_t *c);
static void ct_oidc_look(void *data);
static int ct_oidc_order(ct_oidc_obj_t *a, ct_oidc_obj_t *b);
static void ct_oidc_files(ct_oidc_t *o);
static void ct_oidc_sweep(ct_oidc_t *o);
static void ct_oidc_stat(const bk_stat_t *stat, void *data);
static void ct_oidc_say(ct_oidc_t *o);
static void ct_oidc_said(void *data, const k8s_answer_t *a);


static const k8s_watch_ops_t  ct_oidc_ops = {
    ct_oidc_put, ct_oidc_gone, ct_oidc_synced, ct_oidc_state
};


ct_oidc_t *
ct_oidc_new(ct_t *ct)
{
    bk_str_t    dir = ct->host->state_dir(ct->host);
    ct_oidc_t  *o = calloc(1, sizeof(ct_oidc_t));

    if (o == NULL || (o->dir = strndup(dir.data, dir.len)) == NULL) {
        abort();
    }

    o->ct = ct;
    o->timer = ct->host->timer_new(ct->host, ct_oidc_look, o);
    o->watch = k8s_watch(ct->k8s, &ct_oidc_kind, ct->conf->namespace, NULL,
                         &ct_oidc_ops, o);

    return o;
}


void
ct_oidc_free(ct_oidc_t **op)
{
    ct_oidc_t      *o = *op;
    ct_oidc_obj_t  *c, *tmp;

    if (o == NULL) {
        return;
    }

    *op = NULL;
    k8s_watch_free(&o->watch);

    if (o->req != NULL) {
        k8s_cancel(&o->req);
    }

    HASH_ITER(hh, o->objs, c, tmp) {
        ct_oidc_drop(o, c);
    }

    o->ct->host->timer_free(&o->timer);
    free(o->text);
    free(o->dir);
    free(o);
}


/* --- what is there -------------------------------------------------------- */

static void
ct_oidc_put(void *data, json_t *obj, int again)
{
    ct_oidc_t *o = data;

    size_t          len;
    const char     *name;
    ct_oidc_obj_t  *c;

    (void) again;

    name = obj_text(json_object_get(obj, "metadata"), "name");
    len = strlen(name);
    HASH_FIND(hh, o->objs, name, len, c);

    if (c == NULL) {
        c = calloc(1, sizeof(ct_oidc_obj_t) + len + 1);

        if (c == NULL) {
            abort();
        }

        memcpy(c->name, name, len);
        HASH_ADD_KEYPTR(hh, o->objs, c->name, len, c);
    }

    json_decref(c->obj);
    c->obj = json_incref(obj);
    o->ct->host->timer_set(o->timer, CT_OIDC_SOON_MS);
}


static void
ct_oidc_gone(void *data, const char *ns, const char *name, json_t *obj)
{
    ct_oidc_t *o = data;

    ct_oidc_obj_t  *c;

    (void) ns;
    (void) obj;

    HASH_FIND(hh, o->objs, name, strlen(name), c);

    if (c != NULL) {
        ct_oidc_drop(o, c);
        o->ct->host->timer_set(o->timer, CT_OIDC_SOON_MS);
    }
}


static void
ct_oidc_drop(ct_oidc_t *o, ct_oidc_obj_t *c)
{
    HASH_DEL(o->objs, c);
    json_decref(c->obj);
    free(c);
}


static void
ct_oidc_synced(void *data, int first)
{
    ct_oidc_t *o = data;

    (void) first;

    o->synced = 1;
    o->ct->host->timer_set(o->timer, CT_OIDC_SOON_MS);
}


/* The API server's being away others say; but this right may be missing. */

static void
ct_oidc_state(void *data, int connected, const char *why)
{
    ct_oidc_t *o = data;

    if (!connected && !o->synced) {
        o->ct->host->log(o->ct->host, BK_LOG_WARN, "issuers of OpenID Connect "
                         "(BuildKitOIDCConfig) are not known: %s", why);
    }
}


/* --- what follows from it ------------------------------------------------- */

static void
ct_oidc_look(void *data)
{
    ct_oidc_t *o = data;

    /* until all are known what was written last is good */
    if (o->synced) {
        HASH_SORT(o->objs, ct_oidc_order);
        ct_oidc_files(o);
        ct_oidc_say(o);
    }

    if (o->objs != NULL) {
        o->ct->host->timer_set(o->timer, CT_OIDC_LOOK_MS);
    }
}


static int
ct_oidc_order(ct_oidc_obj_t *a, ct_oidc_obj_t *b)
{
    return strcmp(a->name, b->name);
}


static void
ct_oidc_files(ct_oidc_t *o)
{
    char            name[CT_OIDC_NAME + 32], *text;
    json_t         *issuers, *one, *enabled, *spec;
    bk_err_t        err;
    ct_oidc_obj_t  *c;

    issuers = json_array();

    for (c = o->objs; c != NULL; c = c->hh.next) {
        spec = json_object_get(c->obj, "spec");
        enabled = json_object_get(spec, "enabled");
        c->disabled = enabled != NULL && !json_is_true(enabled);
        one = ct_oidc_issuer(c->obj, o->dir, &c->bad);

        if (one == NULL || c->disabled) {
            json_decref(one);
            continue;
        }

        if (json_array_size(issuers) == CT_OIDC_MAX) {
            bk_err_set(&c->bad, 400, "TooMany", "there are more than %d, and "
                       "this is not one of the first by name", CT_OIDC_MAX);
            json_decref(one);
            continue;
        }

        /* what the file names is there before it */
        if (json_object_get(one, "caFile") != NULL) {
            snprintf(name, sizeof(name), CT_OIDC_CA "%s.pem", c->name);

            if (ct_oidc_write(o->dir, name, obj_text(spec, "caBundle"), &c->bad)
                != 0)
            {
                json_decref(one);
                continue;
            }
        }

        json_array_append_new(issuers, one);
    }

    text = ct_oidc_text(issuers);

    if (o->text != NULL && strcmp(o->text, text) == 0) {
        free(text);

    } else if (ct_oidc_write(o->dir, CT_OIDC_FILE, text, &err) != 0) {
        o->ct->host->log(o->ct->host, BK_LOG_ERROR, "%s", err.text);
        free(text);

    } else {
        free(o->text);
        o->text = text;
        o->ct->host->log(o->ct->host, BK_LOG_INFO, "%s/" CT_OIDC_FILE ": %zu "
                         "issuers of OpenID Connect, of %u objects", o->dir,
                         json_array_size(issuers), HASH_COUNT(o->objs));
    }

    ct_oidc_sweep(o);
    json_decref(issuers);
}


/* Authorities that nobody names any more. */

static void
ct_oidc_sweep(ct_oidc_t *o)
{
    DIR            *dir = opendir(o->dir);
    char            name[CT_OIDC_NAME + 1];
    size_t          len;
    const size_t    head = sizeof(CT_OIDC_CA) - 1, tail = sizeof(".pem") - 1;
    struct dirent  *e;
    ct_oidc_obj_t  *c;

    while (dir != NULL && (e = readdir(dir)) != NULL) {
        len = strlen(e->d_name);

        if (len <= head + tail || len - head - tail > CT_OIDC_NAME
            || strncmp(e->d_name, CT_OIDC_CA, head) != 0
            || strcmp(e->d_name + len - tail, ".pem") != 0)
        {
            continue;
        }

        snprintf(name, sizeof(name), "%.*s", (int) (len - head - tail),
                 e->d_name + head);
        HASH_FIND(hh, o->objs, name, strlen(name), c);

        if (c == NULL || c->disabled || c->bad.code != 0
            || obj_text(json_object_get(c->obj, "spec"), "caBundle")[0]
               == '\0')
        {
            (void) unlinkat(dirfd(dir), e->d_name, 0);
        }
    }

    if (dir != NULL) {
        closedir(dir);
    }
}


/* --- what is said of it --------------------------------------------------- */

/* What plugin oidc counts of each of its issuers. */

static void
ct_oidc_stat(const bk_stat_t *stat, void *data)
{
    ct_oidc_t *o = data;

    int             keys;
    size_t          len;
    const char     *name;
    ct_oidc_obj_t  *c;

    keys = strcmp(stat->name, "oidc_keys_age_seconds") == 0;
    name = stat->labels + sizeof("issuer=\"") - 1;

    if ((!keys && strcmp(stat->name, "oidc_key_fetches_total") != 0)
        || strncmp(stat->labels, "issuer=\"", sizeof("issuer=\"") - 1) != 0)
    {
        return;
    }

    len = strcspn(name, "\"");
    HASH_FIND(hh, o->objs, name, len, c);

    if (c != NULL) {
        c->used = 1;
        c->keys |= keys;
        c->failed |= !keys && stat->value > 0
                     && strstr(name + len, "failed") != NULL;
    }
}


static void
ct_oidc_say(ct_oidc_t *o)
{
    json_t         *status, *body;
    ct_oidc_obj_t  *c;

    for (c = o->objs; c != NULL; c = c->hh.next) {
        c->used = 0;
        c->keys = 0;
        c->failed = 0;

        if (c->bad.code != 0 && strcmp(c->said, c->bad.reason) != 0) {
            o->ct->host->log(o->ct->host, BK_LOG_WARN, "BuildKitOIDCConfig "
                             "%s: %s: not used", c->name, c->bad.text);
        }

        snprintf(c->said, sizeof(c->said), "%s", c->bad.reason);
    }

    if (o->objs == NULL || o->req != NULL || !ct_leads(o->ct)) {
        return;
    }

    o->ct->host->stats(o->ct->host, ct_oidc_stat, o);

    for (c = o->objs; c != NULL; c = c->hh.next) {
        status = ct_oidc_status(c, o->dir);

        if (ct_oidc_is(c, status)) {
            json_decref(status);
            continue;
        }

        body = json_pack("{s:{s:s}, s:o}", "metadata", "resourceVersion",
                         obj_text(json_object_get(c->obj, "metadata"),
                                  "resourceVersion"), "status", status);
        o->req = k8s_patch(o->ct->k8s, &ct_oidc_kind, o->ct->conf->namespace,
                           c->name, "status", body, ct_oidc_said, o);
        json_decref(body);
        return;
    }
}


/* Its watch says what it is now; the next one then. */

static void
ct_oidc_said(void *data, const k8s_answer_t *a)
{
    ct_oidc_t *o = data;

    o->req = NULL;

    if (K8S_OK(a) && a->obj != NULL) {
        ct_oidc_put(o, a->obj, 0);

    } else if (a->status != 409 && a->status != 404) {
        o->ct->host->log(o->ct->host, BK_LOG_WARN, "the status of a "
                         "BuildKitOIDCConfig was not written: %s", a->text);
    }
}
