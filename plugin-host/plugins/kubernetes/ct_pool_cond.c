/*
 * The conditions of a pool's status, from what the other files have found: see
 * ct_pool.h.  That of its endpoint is made where that is.
 */

#include <stdio.h>
#include <string.h>

#include "ct_pool.h"


static void ct_cond_set(ct_cond_t *c, int is, int wrong, const char *reason,
    const char *text, const char *hint);
static void ct_cond_err(ct_cond_t *c, const bk_err_t *err);
static void ct_cond_accepted(ct_pool_t *p);
static void ct_cond_certificates(ct_pool_t *p);
static void ct_cond_gateway(ct_pool_t *p);
static void ct_cond_deployment(ct_pool_t *p, ct_cond_t *c);
static int ct_cond_pod(const ct_pool_t *p, char *why, size_t size);
static void ct_cond_scaling(ct_pool_t *p);
static void ct_cond_ready(ct_pool_t *p);


void
ct_pool_conditions(ct_pool_t *p)
{
    int  i;

    ct_cond_accepted(p);

    if (p->refused) {
        /* nothing was done of which there is anything to be said */
        for (i = CT_COND_ACCEPTED + 1; i < CT_COND_READY; i++) {
            ct_cond_set(&p->own->conds[i], -1, 0, "", "", "");
        }

    } else {
        ct_cond_certificates(p);
        ct_cond_gateway(p);
        ct_cond_scaling(p);
    }

    ct_cond_ready(p);
}


static void
ct_cond_set(ct_cond_t *c, int is, int wrong, const char *reason,
    const char *text, const char *hint)
{
    memset(c, 0, sizeof(ct_cond_t));
    c->is = is;
    c->wrong = wrong;
    snprintf(c->reason, sizeof(c->reason), "%s", reason);
    snprintf(c->message, sizeof(c->message), "%s%s%s", text,
             hint[0] != '\0' ? "; " : "", hint);

    /* what is cut may be cut within a character, and some is of strangers */
    bk_err_clean(c->reason);
    bk_err_clean(c->message);
}


/* 5xx passes by itself */

static void
ct_cond_err(ct_cond_t *c, const bk_err_t *err)
{
    ct_cond_set(c, 0, err->code >= 400 && err->code < 500, err->reason,
                err->text, err->hint);
}


static void
ct_cond_accepted(ct_pool_t *p)
{
    char        notes[768];
    ct_cond_t  *c = &p->own->conds[CT_COND_ACCEPTED];

    if (p->own->bad.code != 0) {
        ct_cond_err(c, &p->own->bad);

    } else if (p->own->unput.code != 0) {
        ct_cond_err(c, &p->own->unput);

    } else if (p->own->pods_bad.code != 0) {
        ct_cond_err(c, &p->own->pods_bad);

    } else {
        (void) mk_notes(p->o->obj, p->ct->conf, notes, sizeof(notes));
        ct_cond_set(c, 1, 0, "Accepted", "all that it asks for can be made",
                    notes);
    }
}


static void
ct_cond_certificates(ct_pool_t *p)
{
    int          i, needed = 0, missing = 0;
    char         end[32], text[128], note[512];
    uint64_t     first = 0;
    ct_cond_t   *c = &p->own->conds[CT_COND_CERTIFICATES];
    ct_part_t   *part;

    for (i = 0; i < CT_PARTS; i++) {
        part = &p->own->parts[i];

        if (!ct_part_needed(p, i)) {
            continue;
        }

        needed++;
        missing += !part->good;

        if (part->err.code != 0) {
            ct_cond_err(c, &part->err);
            return;
        }

        if (first == 0 || first > part->info.not_after_ms) {
            first = part->info.not_after_ms;
        }
    }

    if (needed == 0) {
        ct_cond_set(c, 1, 0, "NotNeeded", "its workers speak no TLS", "");

    } else if (missing != 0) {
        ct_cond_set(c, 0, 0, "Pending", "they are being made", "");

    } else {
        snprintf(text, sizeof(text), "all are valid until %s",
                 ct_pool_time(first, end));
        ct_cond_set(c, 1, 0, "Valid", text,
                    ct_pool_gateways_unknown(p, note, sizeof(note)) ? note
                                                                    : "");
    }
}


static void
ct_cond_gateway(ct_pool_t *p)
{
    int         shared;
    char        text[320];
    ct_cond_t  *c = &p->own->conds[CT_COND_GATEWAY];
    ct_pool_t  *other = ct_pool_shared(p, &shared);

    if (shared) {
        snprintf(text, sizeof(text), "it is that of the pool %s%s",
                 mk_spec_text(p->o->obj, "", "gateway", "poolRef", "name",
                              NULL),
                 other == NULL ? ", which is not there"
                 : p->own->gateway_up ? "" : ", which is not ready");
        ct_cond_set(c, other != NULL && p->own->gateway_up, 0,
                    other != NULL && p->own->gateway_up ? "Shared"
                                                        : "SharedNotReady",
                    text, "");

    } else if (!ct_pool_has_gateway(p)) {
        ct_cond_set(c, -1, 0, "", "", "");

    } else if (p->own->gateway_bad.code != 0) {
        ct_cond_err(c, &p->own->gateway_bad);

    } else {
        ct_cond_deployment(p, c);
    }
}


/* in its Pods' own words, or the Deployment's */

static void
ct_cond_deployment(ct_pool_t *p, ct_cond_t *c)
{
    int          ready, replicas;
    char         text[96], why[OBJ_TEXT_MAX];
    size_t       n;
    json_t      *d;
    ct_obj_t    *o;
    const char  *type, *status;

    o = ct_item(p, CT_GW_DEPLOYMENT, "%s-gateway", mk_name(p->o->obj));

    if (o == NULL || o->obj == NULL) {
        ct_cond_set(c, 0, 0, "Pending", "its Deployment is made when its "
                    "certificates are there", "");
        return;
    }

    ready = (int) json_integer_value(ct_at(o, "status", "readyReplicas",
                                           NULL));
    replicas = (int) json_integer_value(ct_at(o, "spec", "replicas", NULL));
    snprintf(text, sizeof(text), "%d of %d Pods are ready", ready, replicas);

    if (ready > 0) {
        ct_cond_set(c, 1, 0, "GatewayReady", text, "");
        return;
    }

    if (ct_cond_pod(p, why, sizeof(why))) {
        ct_cond_set(c, 0, 0, "GatewayNotReady", text, why);
        return;
    }

    ct_cond_set(c, 0, 0, "GatewayNotReady", text, "");

    json_array_foreach(ct_at(o, "status", "conditions", NULL), n, d) {
        type = obj_text(d, "type");
        status = obj_text(d, "status");

        if ((strcmp(type, "ReplicaFailure") == 0
             && strcmp(status, "True") == 0)
            || (strcmp(type, "Progressing") == 0
                && strcmp(status, "False") == 0))
        {
            ct_cond_set(c, 0, 0, "GatewayNotReady", text,
                        obj_text(d, "message"));
        }
    }
}


/* 1: one of them says why it is not ready */

static int
ct_cond_pod(const ct_pool_t *p, char *why, size_t size)
{
    ct_obj_t  *o;

    for (o = ct_obj_first(p->ct, CT_FRONT); o != NULL; o = o->hh.next) {
        if (o->pool == p && o->obj != NULL && !ct_deleting(o)) {
            obj_pod_why(o->obj, why, size);

            if (why[0] != '\0') {
                return 1;
            }
        }
    }

    return 0;
}


/* It may be ready for all that; but not for so many, or not as it says. */

static void
ct_cond_scaling(ct_pool_t *p)
{
    int          none = ct_worker_unput(p), asks = ct_limit_asks(p);
    char         text[256];
    bk_err_t     bad;
    ct_cond_t   *c = &p->own->conds[CT_COND_SCALING];

    if (p->slots < asks) {
        snprintf(text, sizeof(text), "%d of %d workers: its namespace may "
                 "have %u in all, and older pools come first", p->slots, asks,
                 p->ct->conf->max_workers);
        ct_cond_set(c, 0, p->slots == 0, "TooManyWorkers", text,
                    "option namespaceWorkers of the controller");

    } else if (none > 0) {
        snprintf(text, sizeof(text), "%d of its workers have no room in the "
                 "controller's table", none);
        ct_cond_set(c, 0, 0, "TableFull", text, "table.workers of its "
                    "configuration");

    } else if (ct_scale_bad(p, &bad)) {
        ct_cond_set(c, 0, 0, bad.reason, bad.text, bad.hint);

    } else {
        ct_cond_set(c, 1, 0, "AsAsked", "it has as many workers as it asks "
                    "for", "");
    }
}


/* The first that is not. */

static void
ct_cond_ready(ct_pool_t *p)
{
    int         i;
    ct_cond_t  *c = &p->own->conds[CT_COND_READY], *other;

    for (i = 0; i < CT_COND_READY; i++) {
        other = &p->own->conds[i];

        if (other->is == 0 && !(i == CT_COND_ENDPOINT && !p->tls)
            && !(i == CT_COND_SCALING && !other->wrong))
        {
            *c = *other;
            return;
        }
    }

    if (p->own->conds[CT_COND_GATEWAY].is == 1) {
        ct_cond_set(c, 1, 0, "GatewayReady", "clients may connect", "");

    } else {
        ct_cond_set(c, 1, 0, "NoGateway", "workers may run; no gateway of "
                    "this pool leads to them", "");
    }
}
