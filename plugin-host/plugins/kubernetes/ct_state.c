/*
 * What the replicas of a controller share: the host's authorities and the
 * allocator's secret, as a Secret and as files of the state folder.
 *
 * Before the host opens its state the Secret's data become the folder's files;
 * where there is no Secret yet, whoever is first makes both.  Later the leader
 * writes what its host has changed.  The others look now and then: how long
 * something of an authority may be in use is taken over, another authority
 * only by a new start.
 */

#include <string.h>

#include "bk_err.h"
#include "ct.h"
#include "ct_state.h"


#define CT_STATE_LOOK_MS   3000
#define CT_STATE_RETRY_MS  1000     /* while the host waits for us, doubled */
#define CT_STATE_RETRY_MAX 30000


static const k8s_kind_t  ct_state_kind = { "", "v1", "secrets", "Secret" };


static void ct_state_get(void *data);
static void ct_state_got(void *data, const k8s_answer_t *a);
static void ct_state_found(ct_state_t *s, json_t *obj);
static void ct_state_missing(ct_state_t *s);
static void ct_state_others(ct_state_t *s, json_t *obj);
static void ct_state_adopt(ct_state_t *s, json_t *obj);
static void ct_state_save(ct_state_t *s);
static void ct_state_undo(ct_state_t *s);
static void ct_state_written(void *data, const k8s_answer_t *a);
static void ct_state_later(ct_state_t *s);


int
ct_state_prepare(const bk_host_t *host, k8s_t *k8s, const ct_conf_t *conf,
    ct_state_t **state)
{
    bk_str_t     dir = host->state_dir(host);
    ct_state_t  *s = calloc(1, sizeof(ct_state_t));

    if (s == NULL || (s->ns = strdup(conf->namespace)) == NULL
        || (s->dir = strndup(dir.data, dir.len)) == NULL)
    {
        abort();
    }

    s->host = host;
    s->k8s = k8s;
    s->preparing = 1;
    s->timer = host->timer_new(host, ct_state_get, s);
    *state = s;
    ct_state_get(s);

    return 0;
}


void
ct_state_run(ct_state_t *s, ct_t *ct)
{
    s->ct = ct;
    ct_state_later(s);
}


void
ct_state_look(ct_state_t *s)
{
    if (s->req == NULL && !s->preparing) {
        ct_state_get(s);
    }
}


void
ct_state_changed(ct_state_t *s, ct_t *ct)
{
    s->ct = ct;
    s->changed = 1;

    /* what is under way is followed by a look */
    if (s->req == NULL && !s->preparing) {
        ct_state_save(s);
    }
}


void
ct_state_free(ct_state_t **sp)
{
    ct_state_t  *s = *sp;

    if (s == NULL) {
        return;
    }

    *sp = NULL;

    if (s->req != NULL) {
        k8s_cancel(&s->req);
    }

    s->host->timer_free(&s->timer);
    json_decref(s->obj);
    free(s->ns);
    free(s->dir);
    free(s);
}


static void
ct_state_get(void *data)
{
    ct_state_t *s = data;

    if (s->req == NULL) {
        s->req = k8s_get(s->k8s, &ct_state_kind, s->ns, CT_STATE,
                         ct_state_got, s);
    }
}


static void
ct_state_got(void *data, const k8s_answer_t *a)
{
    ct_state_t *s = data;

    s->req = NULL;

    if (K8S_OK(a) && a->obj != NULL) {
        s->said[0] = '\0';
        ct_state_found(s, a->obj);

    } else if (a->status == 404) {
        s->said[0] = '\0';
        ct_state_missing(s);

    } else {
        ct_state_again(s, a->text);
    }
}


static void
ct_state_found(ct_state_t *s, json_t *obj)
{
    if (s->preparing) {
        ct_state_open(s, obj);
        return;
    }

    if (s->obj != NULL
        && strcmp(ct_state_meta(s->obj, "uid"), ct_state_meta(obj, "uid"))
           == 0
        && strcmp(ct_state_meta(s->obj, "resourceVersion"),
                  ct_state_meta(obj, "resourceVersion")) == 0)
    {
        ct_state_save(s);
        return;
    }

    ct_state_others(s, obj);
}


/* There is none: this replica is the first, or somebody has deleted it. */

static void
ct_state_missing(ct_state_t *s)
{
    json_t    *local;
    bk_err_t   err;

    if (s->preparing) {
        ct_state_first(s);
        return;
    }

    if (s->ct == NULL || !ct_leads(s->ct)) {
        ct_state_later(s);
        return;
    }

    s->host->log(s->host, BK_LOG_WARN, "the Secret %s/%s is gone: it is made "
                 "again", s->ns, CT_STATE);
    local = ct_state_local(s->dir, &err);

    if (local == NULL) {
        ct_state_fail(s, &err);
        return;
    }

    ct_state_create(s, local);
    json_decref(local);
}


/* Somebody else has written it since. */

static void
ct_state_others(ct_state_t *s, json_t *obj)
{
    int        rc = 0, same;
    json_t    *data = ct_state_data(obj), *local;
    bk_err_t   err;

    if (s->obj != NULL
        && ct_state_compare(ct_state_data(s->obj), data) == CT_STATE_SAME)
    {
        ct_state_adopt(s, obj);
        ct_state_save(s);
        return;
    }

    local = ct_state_local(s->dir, &err);

    if (local == NULL) {
        ct_state_fail(s, &err);
        return;
    }

    same = ct_state_compare(local, data);
    json_decref(local);

    if (same == CT_STATE_ISSUED) {
        rc = ct_state_take_issued(s->dir, data, &err);

        if (rc == 0) {
            rc = s->host->state_read(s->host, &err);
        }
    }

    if (same == CT_STATE_OTHER || rc != 0) {
        bk_err_set(&err, 409, "StateChanged", "the Secret %s/%s was changed "
                   "by another controller, or by hand: its authorities are "
                   "others now", s->ns, CT_STATE);
        bk_err_hint(&err, "the next start takes them over");
        s->host->quit(s->host, &err);
        return;
    }

    ct_state_adopt(s, obj);
    ct_state_later(s);
}


static void
ct_state_adopt(ct_state_t *s, json_t *obj)
{
    bk_err_t  err;

    json_decref(s->obj);
    s->obj = json_incref(obj);

    /* without it the next start takes the Secret's, which is as good */
    if (ct_state_mark(s->dir, ct_state_meta(obj, "uid"),
                      ct_state_meta(obj, "resourceVersion"), &err) != 0)
    {
        s->host->log(s->host, BK_LOG_WARN, "%s", err.text);
    }
}


/* What the host has changed, by who leads. */

static void
ct_state_save(ct_state_t *s)
{
    int        same;
    json_t    *local;
    bk_err_t   err;

    if (!s->changed || s->obj == NULL || s->ct == NULL) {
        ct_state_later(s);
        return;
    }

    local = ct_state_local(s->dir, &err);

    if (local == NULL) {
        ct_state_fail(s, &err);
        return;
    }

    same = ct_state_compare(local, ct_state_data(s->obj));

    if (same == CT_STATE_SAME) {
        s->changed = 0;
        ct_state_later(s);

    } else if (ct_leads(s->ct)) {
        s->changed = 0;
        ct_state_replace(s, s->obj, local);

    } else if (same == CT_STATE_ISSUED) {
        /* written when we lead */
        ct_state_later(s);

    } else {
        ct_state_undo(s);
    }

    json_decref(local);
}


/* A rotation here, while another one leads and signs. */

static void
ct_state_undo(ct_state_t *s)
{
    bk_err_t  err;

    ct_state_unmark(s->dir);
    bk_err_set(&err, 409, "NotLeader", "an authority was changed by a "
               "controller that does not lead: that is undone");
    bk_err_hint(&err, "rotate it at the one that leads: the Service finds it");
    s->host->quit(s->host, &err);
}


void
ct_state_create(ct_state_t *s, json_t *local)
{
    json_t  *body;

    body = json_pack("{s:{s:s, s:{s:s, s:s}}, s:s, s:O}",
                     "metadata", "name", CT_STATE, "labels",
                     "app.kubernetes.io/name", "buildkit-controller",
                     "app.kubernetes.io/managed-by", "buildkit-controller",
                     "type", "Opaque", "data", local);
    s->req = k8s_create(s->k8s, &ct_state_kind, s->ns, body, ct_state_written,
                        s);
    json_decref(body);
}


/* As it was read, with our files in it: that version, or not at all. */

void
ct_state_replace(ct_state_t *s, json_t *obj, json_t *local)
{
    size_t   i;
    json_t  *body = json_deep_copy(obj), *data, *value;

    json_object_del(json_object_get(body, "metadata"), "managedFields");

    if (!json_is_object(json_object_get(body, "data"))) {
        json_object_set_new(body, "data", json_object());
    }

    data = json_object_get(body, "data");

    for (i = 0; i < CT_STATE_FILES; i++) {
        value = json_object_get(local, ct_state_files[i].key);

        if (value != NULL) {
            json_object_set(data, ct_state_files[i].key, value);

        } else {
            json_object_del(data, ct_state_files[i].key);
        }
    }

    s->req = k8s_replace(s->k8s, &ct_state_kind, s->ns, CT_STATE, NULL, body,
                         ct_state_written, s);
    json_decref(body);
}


static void
ct_state_written(void *data, const k8s_answer_t *a)
{
    ct_state_t *s = data;

    s->req = NULL;

    if (K8S_OK(a) && a->obj != NULL) {
        s->said[0] = '\0';
        ct_state_adopt(s, a->obj);

        if (s->preparing) {
            s->host->log(s->host, BK_LOG_INFO, "the authorities are in the "
                         "Secret %s/%s", s->ns, CT_STATE);
            ct_state_ready(s);

        } else {
            ct_state_save(s);
        }

        return;
    }

    /* it may be there or not: what is there says it */
    s->changed = 1;

    if (a->status == 409) {
        ct_state_get(s);

    } else {
        ct_state_again(s, a->text);
    }
}


void
ct_state_ready(ct_state_t *s)
{
    s->preparing = 0;
    s->tries = 0;
    s->host->prepared(s->host, NULL);
}


/* Our own files: nothing is better later. */

void
ct_state_fail(ct_state_t *s, bk_err_t *err)
{
    if (s->preparing) {
        s->preparing = 0;
        s->host->prepared(s->host, err);
        return;
    }

    s->changed = 1;
    ct_state_again(s, err->text);
}


void
ct_state_again(ct_state_t *s, const char *why)
{
    uint64_t  ms = CT_STATE_RETRY_MS;

    if (strncmp(s->said, why, sizeof(s->said) - 1) != 0) {
        snprintf(s->said, sizeof(s->said), "%s", why);
        s->host->log(s->host, BK_LOG_WARN, "the Secret %s/%s: %s%s", s->ns,
                     CT_STATE, why, s->preparing
                         ? "; the start waits for it" : "");
    }

    if (!s->preparing) {
        ct_state_later(s);
        return;
    }

    ms <<= s->tries < 5 ? s->tries++ : 5;
    s->host->timer_set(s->timer, ms < CT_STATE_RETRY_MAX ? ms
                                                         : CT_STATE_RETRY_MAX);
}


static void
ct_state_later(ct_state_t *s)
{
    s->host->timer_set(s->timer, CT_STATE_LOOK_MS);
}


json_t *
ct_state_data(json_t *obj)
{
    return json_object_get(obj, "data");
}


const char *
ct_state_meta(json_t *obj, const char *key)
{
    return obj_text(json_object_get(obj, "metadata"), key);
}
