/*
 * A pool's status, as it should be; what of it is otherwise is written.  Not
 * more often than twice a second, whatever its workers do.
 */

#include <stdio.h>
#include <string.h>

#include "ct_pool.h"


#define CT_STATUS_MS  500
#define CT_MINUTE_MS  60000         /* times of use are no finer */


static const char *const  ct_cond_types[CT_CONDS] = {
    "Accepted", "CertificatesReady", "GatewayReady", "EndpointReady",
    "ScalingReady", "Ready"
};


static json_t *ct_status_make(ct_pool_t *p);
static const char *ct_status_phase(const ct_pool_t *p,
    const ct_counts_t *counts);
static json_t *ct_status_gateway(ct_pool_t *p);
static json_t *ct_status_workers(const ct_counts_t *counts);
static void ct_status_times(ct_pool_t *p, const ct_counts_t *counts,
    json_t *status);
static json_t *ct_status_cert(const ct_pool_t *p);
static json_t *ct_status_conditions(ct_pool_t *p);
static json_t *ct_status_was(const ct_pool_t *p, const char *type);
static void ct_status_event(ct_pool_t *p, int i);
static json_t *ct_status_diff(json_t *was, json_t *is);
static int ct_status_same(json_t *was, json_t *is);
static json_t *ct_status_text(const char *s);


void
ct_pool_status(ct_pool_t *p)
{
    int        i;
    json_t    *status, *diff;
    uint64_t   now = p->ct->host->monotonic_ms(p->ct->host);

    /* its end is looked at */
    if (ct_deleting(p->o) || ct_writing(p->o)) {
        return;
    }

    status = ct_status_make(p);
    diff = ct_status_diff(ct_at(p->o, "status", NULL), status);
    json_decref(status);

    if (diff == NULL) {
        return;
    }

    if (p->own->status_ms != 0 && now - p->own->status_ms < CT_STATUS_MS) {
        ct_pool_later(p, CT_STATUS_MS - (now - p->own->status_ms));
        json_decref(diff);
        return;
    }

    for (i = 0; i < CT_CONDS; i++) {
        ct_status_event(p, i);
    }

    p->own->status_ms = now;
    ct_write_body(p->o, CT_STATUS, json_pack("{s:o}", "status", diff), NULL,
                  NULL);
}


static json_t *
ct_status_make(ct_pool_t *p)
{
    json_t       *s = json_object();
    ct_counts_t   counts;

    memset(&counts, 0, sizeof(counts));
    ct_worker_counts(p, &counts);

    json_object_set_new(s, "phase",
                        json_string(ct_status_phase(p, &counts)));
    json_object_set_new(s, "endpoint", ct_status_text(p->own->endpoint));
    json_object_set_new(s, "gateway", ct_status_gateway(p));
    json_object_set_new(s, "workers", ct_status_workers(&counts));
    json_object_set_new(s, "queued", json_integer(counts.queued));
    ct_status_times(p, &counts, s);
    json_object_set_new(s, "serverCert", ct_status_cert(p));
    json_object_set_new(s, "tlsSecretName", !ct_part_needed(p, CT_SERVER)
                        ? json_null()
                        : json_sprintf("%s-%s", mk_name(p->o->obj),
                                       ct_pool_part_name(CT_SERVER)));
    json_object_set_new(s, "workerTLSSecretName",
                        ct_status_text(p->own->secret));
    json_object_set(s, "observedGeneration",
                    ct_at(p->o, "metadata", "generation", NULL));
    json_object_set_new(s, "conditions", ct_status_conditions(p));

    return s;
}


static const char *
ct_status_phase(const ct_pool_t *p, const ct_counts_t *c)
{
    int  i;

    for (i = 0; i < CT_CONDS; i++) {
        if (p->own->conds[i].is == 0 && p->own->conds[i].wrong) {
            return "Failed";
        }
    }

    if (p->own->conds[CT_COND_READY].is != 1) {
        return "Pending";
    }

    return c->ready + c->provisioning + c->failed == 0 && c->desired == 0
           ? "ScaledToZero" : "Running";
}


static json_t *
ct_status_gateway(ct_pool_t *p)
{
    json_t    *pool = p->o->obj;
    ct_obj_t  *o;

    if (!ct_pool_has_gateway(p)) {
        return json_null();
    }

    o = ct_item(p, CT_GW_DEPLOYMENT, "%s-gateway", mk_name(pool));

    return json_pack("{s:b,s:I,s:I,s:o,s:s}",
        "ready", p->own->gateway_up,
        "replicas", o == NULL ? (json_int_t) 0
            : json_integer_value(ct_at(o, "status", "replicas", NULL)),
        "readyReplicas", o == NULL ? (json_int_t) 0
            : json_integer_value(ct_at(o, "status", "readyReplicas", NULL)),
        "deploymentName", json_sprintf("%s-gateway", mk_name(pool)),
        "serviceName", mk_name(pool));
}


static json_t *
ct_status_workers(const ct_counts_t *c)
{
    return json_pack("{s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i}",
                     "total", c->total, "ready", c->ready, "idle", c->idle,
                     "allocated", c->allocated,
                     "provisioning", c->provisioning, "failed", c->failed,
                     "desired", c->desired, "needed", c->needed);
}


static void
ct_status_times(ct_pool_t *p, const ct_counts_t *c, json_t *status)
{
    char         at[32];
    json_t      *was = ct_at(p->o, "status", "workers", "total", NULL);
    json_t      *time = NULL, *use;
    uint64_t     now = p->ct->host->now_ms(p->ct->host), used;

    /* of those that have come or gone; none at first is no change */
    if (json_is_integer(was) && json_integer_value(was) != c->total) {
        time = json_string(ct_pool_time(now, at));

    } else {
        time = json_incref(ct_at(p->o, "status", "lastScaleTime", NULL));
    }

    json_object_set_new(status, "lastScaleTime",
                        time != NULL ? time : json_null());

    used = c->allocated > 0 ? now : c->last_used_ms;
    used = used / CT_MINUTE_MS * CT_MINUTE_MS;

    if (used != 0) {
        time = json_string(ct_pool_time(used, at));

    } else {
        time = json_incref(ct_at(p->o, "status", "lastActivityTime", NULL));
    }

    json_object_set_new(status, "lastActivityTime",
                        time != NULL ? time : json_null());

    use = json_pack("{s:I}", "active", (json_int_t) c->connections);

    if (c->connections > 0) {
        json_object_set_new(use, "lastConnectionTime",
                            json_string(ct_pool_time(now / CT_MINUTE_MS
                                                     * CT_MINUTE_MS, at)));
    }

    json_object_set_new(status, "connections", use);
}


static json_t *
ct_status_cert(const ct_pool_t *p)
{
    char              at[32];
    json_t           *cert;
    const ct_part_t  *part = &p->own->parts[CT_SERVER];

    if (part->info.not_after_ms == 0) {
        return json_null();
    }

    cert = json_object();
    json_object_set_new(cert, "notBefore", json_string(
        ct_pool_time(part->info.not_before_ms, at)));
    json_object_set_new(cert, "notAfter", json_string(
        ct_pool_time(part->info.not_after_ms, at)));
    json_object_set_new(cert, "renewalTime", part->renew_ms == 0 ? json_null()
        : json_string(ct_pool_time(part->renew_ms, at)));

    return cert;
}


/* --- conditions ----------------------------------------------------------- */

static json_t *
ct_status_conditions(ct_pool_t *p)
{
    int           i, same;
    char          at[32];
    size_t        n;
    json_t       *all = json_array(), *was, *c, *time;
    ct_cond_t    *cond;
    const char   *status;

    for (i = 0; i < CT_CONDS; i++) {
        cond = &p->own->conds[i];

        if (cond->is < 0) {
            continue;
        }

        status = cond->is ? "True" : "False";
        was = ct_status_was(p, ct_cond_types[i]);
        same = was != NULL && strcmp(obj_text(was, "status"), status) == 0;

        c = json_pack("{s:s,s:s,s:s,s:s}", "type", ct_cond_types[i],
                      "status", status, "reason",
                      cond->reason[0] != '\0' ? cond->reason : "Unknown",
                      "message", cond->message);

        if (c == NULL) {
            /* no UTF-8: not worth the lives of all other pools */
            continue;
        }

        time = same ? json_object_get(was, "lastTransitionTime") : NULL;
        json_object_set_new(c, "lastTransitionTime", time != NULL
            ? json_incref(time)
            : json_string(ct_pool_time(p->ct->host->now_ms(p->ct->host), at)));
        json_object_set(c, "observedGeneration",
                        ct_at(p->o, "metadata", "generation", NULL));
        json_array_append_new(all, c);
    }

    /* others may say something, too */
    json_array_foreach(ct_at(p->o, "status", "conditions", NULL), n, c) {
        for (i = 0; i < CT_CONDS; i++) {
            if (strcmp(obj_text(c, "type"), ct_cond_types[i]) == 0) {
                break;
            }
        }

        if (i == CT_CONDS) {
            json_array_append(all, c);
        }
    }

    return all;
}


static json_t *
ct_status_was(const ct_pool_t *p, const char *type)
{
    size_t   n;
    json_t  *c;

    json_array_foreach(ct_at(p->o, "status", "conditions", NULL), n, c) {
        if (strcmp(obj_text(c, "type"), type) == 0) {
            return c;
        }
    }

    return NULL;
}


/* Ready sums up the others. */

static void
ct_status_event(ct_pool_t *p, int i)
{
    json_t     *was = ct_status_was(p, ct_cond_types[i]);
    ct_cond_t  *c = &p->own->conds[i];

    if (strcmp(obj_text(was, "reason"), c->reason) == 0
        && strcmp(obj_text(was, "status"), c->is ? "True" : "False") == 0)
    {
        return;
    }

    if (i == CT_COND_READY && c->is == 1) {
        ct_event(p->o, "Normal", "Ready", "%s%s%s", c->message,
                 p->own->endpoint != NULL ? ": " : "",
                 p->own->endpoint != NULL ? p->own->endpoint : "");

    } else if (i != CT_COND_READY && c->is == 0
               && (c->wrong || i == CT_COND_SCALING))
    {
        ct_event(p->o, "Warning", c->reason, "%s", c->message);
    }
}


/* --- what is to be written ------------------------------------------------ */

/* NULL: nothing.  Only members of is; those that are null are to go. */

static json_t *
ct_status_diff(json_t *was, json_t *is)
{
    json_t      *diff = NULL, *value;
    const char  *key;

    json_object_foreach(is, key, value) {
        if (ct_status_same(json_object_get(was, key), value)) {
            continue;
        }

        if (diff == NULL) {
            diff = json_object();
        }

        json_object_set(diff, key, value);
    }

    return diff;
}


static int
ct_status_same(json_t *was, json_t *is)
{
    json_t      *value;
    const char  *key;

    if (json_is_null(is)) {
        return was == NULL || json_is_null(was);
    }

    if (!json_is_object(is) || !json_is_object(was)) {
        return json_equal(was, is);
    }

    json_object_foreach(is, key, value) {
        if (!ct_status_same(json_object_get(was, key), value)) {
            return 0;
        }
    }

    return 1;
}


static json_t *
ct_status_text(const char *s)
{
    return s != NULL ? json_string(s) : json_null();
}
