/*
 * The state folder before the host opens it: what the Secret says, or what is
 * there, is what the host gets.  See ct_state.h.
 *
 * The folder is newer than the Secret when the host has changed it and was
 * killed before that was written: the mark says which version it was of.
 */

#include <string.h>

#include "bk_err.h"
#include "ct_state.h"


static const k8s_kind_t  ct_state_lease = {
    "coordination.k8s.io", "v1", "leases", "Lease"
};


static void ct_state_leader(void *data, const k8s_answer_t *a);
static int ct_state_newer(ct_state_t *s, json_t *obj, bk_err_t *err);


/* All that is to be shared is there after it. */

int
ct_state_fill(ct_state_t *s, bk_err_t *err)
{
    if (s->host->state_make(s->host, err) != 0) {
        return -1;
    }

    return ct_state_secret(s->dir, err);
}


/*
 * Somebody may lead, with authorities that clients and workers know, and put
 * the Secret back in a moment: others would end all that they have issued.  He
 * is there as long as his Lease is renewed, whatever its clock says.
 */

void
ct_state_first(ct_state_t *s)
{
    s->req = k8s_get(s->k8s, &ct_state_lease, s->ns, CT_LEASE,
                     ct_state_leader, s);
}


static void
ct_state_leader(void *data, const k8s_answer_t *a)
{
    char         text[256];
    json_t      *spec, *local;
    uint64_t     now, seconds;
    bk_err_t     err;
    const char  *version;
    ct_state_t  *s = data;

    s->req = NULL;

    if (!K8S_OK(a) && a->status != 404) {
        ct_state_again(s, a->text);
        return;
    }

    spec = K8S_OK(a) ? json_object_get(a->obj, "spec") : NULL;
    version = K8S_OK(a) ? ct_state_meta(a->obj, "resourceVersion") : "";
    now = s->host->monotonic_ms(s->host);

    if (strcmp(s->lease, version) != 0) {
        snprintf(s->lease, sizeof(s->lease), "%s", version);
        s->lease_ms = now;
    }

    seconds = (uint64_t) json_integer_value(
                  json_object_get(spec, "leaseDurationSeconds"));

    if (obj_text(spec, "holderIdentity")[0] != '\0'
        && now - s->lease_ms < seconds * 1000)
    {
        snprintf(text, sizeof(text), "it is gone, but %.100s leads, who makes "
                 "it again", obj_text(spec, "holderIdentity"));
        ct_state_again(s, text);
        return;
    }

    if (ct_state_fill(s, &err) != 0
        || (local = ct_state_local(s->dir, &err)) == NULL)
    {
        ct_state_fail(s, &err);
        return;
    }

    ct_state_create(s, local);
    json_decref(local);
}


/* The host waits for what is in it. */

void
ct_state_open(ct_state_t *s, json_t *obj)
{
    int        newer;
    json_t    *data = ct_state_data(obj), *local;
    bk_err_t   err;

    /* somebody made it for us to fill */
    if (json_object_size(data) == 0) {
        if (ct_state_fill(s, &err) != 0
            || (local = ct_state_local(s->dir, &err)) == NULL)
        {
            ct_state_fail(s, &err);
            return;
        }

        ct_state_replace(s, obj, local);
        json_decref(local);
        return;
    }

    if (ct_state_check(data, &err) != 0) {
        bk_err_prefix(&err, "the Secret %s/%s is damaged", s->ns, CT_STATE);
        bk_err_hint(&err, "put it back from a backup; or delete it: then "
                    "there are new authorities, and what the old ones issued "
                    "is refused");
        ct_state_fail(s, &err);
        return;
    }

    newer = ct_state_newer(s, obj, &err);

    if (newer == 1) {
        return;
    }

    if (newer == 0
        && (ct_state_take(s->dir, data, &err) != 0
            || ct_state_mark(s->dir, ct_state_meta(obj, "uid"),
                             ct_state_meta(obj, "resourceVersion"), &err)
               != 0))
    {
        ct_state_fail(s, &err);
        return;
    }

    json_decref(s->obj);
    s->obj = json_incref(obj);
    ct_state_ready(s);
}


/*
 * Are the folder's files what the host made of this very version?  1: they
 * differ, and are being written; 2: they are the same; 0: they are not.
 */

static int
ct_state_newer(ct_state_t *s, json_t *obj, bk_err_t *err)
{
    int      rc = 0;
    json_t  *local, *data = ct_state_data(obj);

    if (!ct_state_marked(s->dir, ct_state_meta(obj, "uid"),
                         ct_state_meta(obj, "resourceVersion")))
    {
        return 0;
    }

    local = ct_state_local(s->dir, err);

    /* what is not whole is not newer; state_make() finishes a rotation */
    if (local == NULL || !ct_state_has(local, data)
        || ct_state_check(local, err) != 0
        || s->host->state_make(s->host, err) != 0)
    {
        json_decref(local);
        return 0;
    }

    json_decref(local);
    local = ct_state_local(s->dir, err);

    if (local != NULL && ct_state_compare(local, data) == CT_STATE_SAME) {
        rc = 2;

    } else if (local != NULL) {
        s->host->log(s->host, BK_LOG_WARN, "the authorities were changed here "
                     "and not written to the Secret %s/%s: that is done now",
                     s->ns, CT_STATE);
        ct_state_replace(s, obj, local);
        rc = 1;
    }

    json_decref(local);

    return rc;
}
