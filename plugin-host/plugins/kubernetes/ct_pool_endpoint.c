/*
 * Where a pool's clients are sent: the address of its Service, or what stands
 * before it (Ingress, TLSRoute), or the address of the pool whose gateway it
 * shares.  The host hands it out with allocations (bk_pool_gateway_t).
 */

#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "ct_pool.h"


#define CT_GOES        "GatewayGoes"
#define CT_PORT_HTTPS  443          /* of whatever serves Ingresses */
#define CT_WAITS_MS    1000


static void ct_endpoint_of(ct_pool_t *p, bk_err_t *why);
static void ct_endpoint_anybody(ct_pool_t *p, bk_err_t *why);
static void ct_endpoint_shared(ct_pool_t *p, ct_pool_t *other, bk_err_t *why);
static int ct_endpoint_alike(const ct_pool_t *p, const ct_pool_t *other);
static void ct_endpoint_own(ct_pool_t *p, bk_err_t *why);
static int ct_endpoint_front(ct_pool_t *p, int item, const char *name,
    const char *suffix, mk_front_pt make, bk_err_t *why);
static void ct_endpoint_said(const ct_pool_t *p, int item, const ct_obj_t *o,
    bk_err_t *err);
static void ct_endpoint_service(ct_pool_t *p, bk_err_t *why);
static void ct_endpoint_balancer(ct_pool_t *p, ct_obj_t *o, int port,
    bk_err_t *why);
static void ct_endpoint_node(ct_pool_t *p, ct_obj_t *o, bk_err_t *why);
static void ct_endpoint_set(ct_pool_t *p, const char *host, int port);
static const char *ct_endpoint_unusable(const ct_pool_t *p,
    const bk_err_t *why);
static void ct_endpoint_tell(ct_pool_t *p);


void
ct_pool_endpoint(ct_pool_t *p)
{
    bk_err_t         why;
    ct_cond_t       *c = &p->own->conds[CT_COND_ENDPOINT];
    ct_pool_own_t   *own = p->own;

    memset(&why, 0, sizeof(why));
    ct_endpoint_of(p, &why);

    memset(c, 0, sizeof(ct_cond_t));
    c->is = why.code == 0;
    c->wrong = why.code >= 400 && why.code < 500;
    snprintf(c->reason, sizeof(c->reason), "%s", !c->is ? why.reason
             : own->endpoint != NULL ? "Known" : "GatewayDisabled");
    snprintf(c->message, sizeof(c->message), "%s", !c->is ? why.text
             : own->endpoint != NULL ? own->endpoint
             : "it has no gateway of its own: clients are told what the "
               "controller's configuration says");
    bk_err_clean(c->reason);
    bk_err_clean(c->message);

    free(own->why);
    own->why = ct_pool_strdup(ct_endpoint_unusable(p, &why));

    ct_endpoint_tell(p);
}


static void
ct_endpoint_of(ct_pool_t *p, bk_err_t *why)
{
    int         shared;
    ct_pool_t  *other = ct_pool_shared(p, &shared);

    if (!p->tls) {
        bk_err_set(why, 503, "TLSDisabled", "its workers speak no TLS: they "
                   "are for kubectl port-forward, and no gateway leads to "
                   "them");

    } else if (shared && other == NULL) {
        bk_err_set(why, 404, "PoolNotFound", "gateway.poolRef: there is no "
                   "pool %s in this namespace",
                   mk_spec_text(p->o->obj, "", "gateway", "poolRef", "name",
                                NULL));

    } else if (shared) {
        ct_endpoint_shared(p, other, why);

    } else if (ct_pool_has_gateway(p)) {
        ct_endpoint_own(p, why);

    } else if (ct_pool_fronted(p)) {
        ct_endpoint_set(p, mk_external(p->o->obj), mk_port(p->o->obj));
    }

    /* without a gateway it is anybody's; through one that goes nobody new
       comes, but who has a worker does */
    if ((why->code != 0 && strcmp(why->reason, CT_GOES) != 0)
        || (!shared && !ct_pool_has_gateway(p) && !ct_pool_fronted(p)))
    {
        free(p->own->endpoint);
        p->own->endpoint = NULL;
    }

    if (!shared && !ct_part_needed(p, CT_SERVER)) {
        ct_endpoint_anybody(p, why);
    }
}


/* Clients come by the gateway of the controller's configuration, or by one that
 * leads to all pools. */

static void
ct_endpoint_anybody(ct_pool_t *p, bk_err_t *why)
{
    char              *ca = NULL;
    bk_err_t           err;
    const ct_trust_t  *t;

    memset(&err, 0, sizeof(err));

    if (p->tls && p->ct->conf->gateways != NULL) {
        t = ct_pool_trust(p->ct, CT_BY_GATEWAY, &err);
        ca = t == NULL ? NULL
             : ct_pool_and_gateways(p, ct_pool_strdup(t->ca), 1, &err);

        if (ca == NULL) {
            ct_pool_later(p, CT_WAITS_MS);
        }
    }

    free(p->own->server_ca);
    p->own->server_ca = ca;

    if (why->code == 0) {
        *why = err;
    }
}


/* --- another pool's ------------------------------------------------------- */

static void
ct_endpoint_shared(ct_pool_t *p, ct_pool_t *other, bk_err_t *why)
{
    const char      *name = other->o->name;
    ct_pool_own_t   *own = p->own, *theirs = ct_pool_own(other);

    ct_pool_spec(other);

    if (!ct_pool_has_gateway(other)) {
        bk_err_set(why, 422, "NoGateway", "gateway.poolRef: the pool %s has "
                   "no gateway of its own", name);

    } else if (!ct_endpoint_alike(p, other)) {
        bk_err_set(why, 422, "OtherIssuer", "gateway.poolRef: the gateway of "
                   "the pool %s trusts other workers' certificates: both "
                   "pools need the same tls.certManager, or none", name);

    } else if (theirs->endpoint == NULL) {
        bk_err_set(why, 503, "Pending", "the gateway of the pool %s has no "
                   "address yet", name);

    } else {
        if (ct_deleting(other->o)) {
            bk_err_set(why, 503, CT_GOES, "the gateway of the pool %s goes, "
                       "as that is being deleted", name);
        }

        free(own->endpoint);
        free(own->server_ca);
        own->endpoint = ct_pool_strdup(theirs->endpoint);
        own->server_ca = ct_pool_strdup(theirs->server_ca);
        own->gateway_up = theirs->gateway_up;
    }
}


/* The one gateway must be able to verify the workers of both. */

static int
ct_endpoint_alike(const ct_pool_t *p, const ct_pool_t *other)
{
    int       a, b;
    json_t   *one = p->o->obj, *two = other->o->obj;

    a = strcmp(mk_spec_text(one, "", "tls", "mode", NULL), "certManager") == 0;
    b = strcmp(mk_spec_text(two, "", "tls", "mode", NULL), "certManager") == 0;

    return a == b
           && (!a || json_equal(mk_spec(one, "tls", "certManager", NULL),
                                mk_spec(two, "tls", "certManager", NULL)));
}


/* --- its own -------------------------------------------------------------- */

static void
ct_endpoint_own(ct_pool_t *p, bk_err_t *why)
{
    int          ingress, route;
    json_t      *pool = p->o->obj;
    const char  *host, *named;

    ingress = ct_endpoint_front(p, CT_GW_INGRESS, mk_name(pool), "-ingress",
                                mk_ingress, why);
    route = ct_endpoint_front(p, CT_GW_ROUTE, mk_name(pool), "-tlsroute",
                              mk_tlsroute, why);

    named = mk_spec_text(pool, "", "gateway", "gatewayAPI", "gatewayName",
                         NULL);
    (void) ct_endpoint_front(p, CT_GW_API,
                             named[0] != '\0' ? named : mk_name(pool),
                             named[0] != '\0' ? "" : "-gateway",
                             mk_gateway_api, why);

    if (why->code != 0) {
        return;
    }

    host = mk_external(pool);

    /* a wildcard is a name of its certificate, and nowhere to go */
    if (host[0] != '\0' && host[0] != '*') {
        ct_endpoint_set(p, host, mk_port(p->o->obj));

    } else if (route) {
        ct_endpoint_set(p, mk_spec_text(pool, "", "gateway", "gatewayAPI",
                                        "hostname", NULL),
                        mk_port(p->o->obj));

    } else if (ingress) {
        ct_endpoint_set(p, mk_spec_text(pool, "", "gateway", "ingress",
                                        "hostname", NULL), CT_PORT_HTTPS);

    } else {
        ct_endpoint_service(p, why);
    }
}


/* 1: it is asked for.  What was asked for once goes; a pool that has never
 * been changed has had none. */

static int
ct_endpoint_front(ct_pool_t *p, int item, const char *name,
    const char *suffix, mk_front_pt make, bk_err_t *why)
{
    int         asked;
    json_t     *body;
    bk_err_t    err;
    ct_obj_t   *o = NULL;

    memset(&err, 0, sizeof(err));
    body = make(p->o->obj, p->ct->conf, &err);
    asked = body != NULL || err.code != 0;

    if (body != NULL
        || json_integer_value(ct_at(p->o, "metadata", "generation", NULL)) > 1)
    {
        o = ct_item(p, item, "%s%s", name, suffix);
    }

    if (!asked) {
        ct_item_remove(p, item, o);

    } else if (body != NULL && o != NULL && ct_item_mine(p, o, &err) == 0) {
        ct_item_apply(p, item, o, json_incref(body));
        ct_endpoint_said(p, item, o, &err);
    }

    if (why->code == 0) {
        *why = err;
    }

    json_decref(body);

    return asked;
}


static void
ct_endpoint_said(const ct_pool_t *p, int item, const ct_obj_t *o,
    bk_err_t *err)
{
    *err = p->own->items[item]->err;

    if (err->code == 404) {
        bk_err_set(err, 404, "NotInstalled", "there are no %ss in this "
                   "cluster: their kind is not installed",
                   ct_kinds[o->kind].kind);
    }
}


/* --- its Service ---------------------------------------------------------- */

static void
ct_endpoint_service(ct_pool_t *p, bk_err_t *why)
{
    int          port = mk_port(p->o->obj);
    char        *host;
    json_t      *pool = p->o->obj;
    ct_obj_t    *o;
    const char  *type;

    o = ct_item(p, CT_GW_SERVICE, "%s", mk_name(pool));

    if (o == NULL || o->obj == NULL || ct_item_mine(p, o, NULL) != 0) {
        bk_err_set(why, 503, "Pending", "there is no Service %s yet",
                   mk_name(pool));
        return;
    }

    type = obj_text(ct_at(o, "spec", NULL), "type");

    if (strcmp(type, "LoadBalancer") == 0) {
        ct_endpoint_balancer(p, o, port, why);
        return;
    }

    if (strcmp(type, "NodePort") == 0 && p->ct->conf->external_host[0] != '\0')
    {
        ct_endpoint_node(p, o, why);
        return;
    }

    host = ct_pool_printf("%s.%s.svc", mk_name(pool), mk_ns(pool));
    ct_endpoint_set(p, host, port);
    free(host);
}


static void
ct_endpoint_balancer(ct_pool_t *p, ct_obj_t *o, int port, bk_err_t *why)
{
    size_t       n;
    json_t      *in;
    const char  *host;

    json_array_foreach(ct_at(o, "status", "loadBalancer", "ingress", NULL), n,
                       in)
    {
        host = obj_text(in, "hostname");
        host = host[0] != '\0' ? host : obj_text(in, "ip");

        if (host[0] != '\0') {
            ct_endpoint_set(p, host, port);
            return;
        }
    }

    bk_err_set(why, 503, "LoadBalancerPending", "the load balancer has given "
               "the Service %s no address yet", o->name);
}


static void
ct_endpoint_node(ct_pool_t *p, ct_obj_t *o, bk_err_t *why)
{
    size_t   n;
    json_t  *port;

    json_array_foreach(ct_at(o, "spec", "ports", NULL), n, port) {
        if (strcmp(obj_text(port, "name"), "gateway") == 0
            && json_integer_value(json_object_get(port, "nodePort")) > 0)
        {
            ct_endpoint_set(p, p->ct->conf->external_host, (int)
                json_integer_value(json_object_get(port, "nodePort")));
            return;
        }
    }

    bk_err_set(why, 503, "Pending", "the Service %s has no port of the nodes "
               "yet", o->name);
}


char *
ct_pool_addresses(ct_pool_t *p)
{
    char        *all, *more;
    size_t       n;
    json_t      *in;
    ct_obj_t    *o = ct_item(p, CT_GW_SERVICE, "%s", mk_name(p->o->obj));
    const char  *key, *s;

    s = mk_external(p->o->obj);
    /* an ingress controller has those of its architectures, too (ing.h) */
    all = ct_pool_fronted(p) ? ct_pool_printf("%s,amd64.%s,arm64.%s", s, s, s)
                             : ct_pool_strdup(s);

    s = o != NULL && o->obj != NULL
        ? obj_text(ct_at(o, "spec", NULL), "type") : "";

    if (strcmp(s, "NodePort") == 0 && p->ct->conf->external_host[0] != '\0') {
        more = ct_pool_printf("%s%s%s", all, all[0] != '\0' ? "," : "",
                              p->ct->conf->external_host);
        free(all);
        all = more;
    }

    json_array_foreach(strcmp(s, "LoadBalancer") != 0 ? NULL
                       : ct_at(o, "status", "loadBalancer", "ingress", NULL),
                       n, in)
    {
        for (key = "hostname"; key != NULL;
             key = key[0] == 'h' ? "ip" : NULL)
        {
            s = obj_text(in, key);

            if (s[0] != '\0') {
                more = ct_pool_printf("%s%s%s", all, all[0] != '\0' ? "," : "",
                                      s);
                free(all);
                all = more;
            }
        }
    }

    return all;
}


static void
ct_endpoint_set(ct_pool_t *p, const char *host, int port)
{
    free(p->own->endpoint);
    p->own->endpoint = strchr(host, ':') != NULL
                       ? ct_pool_printf("tcp://[%s]:%d", host, port)
                       : ct_pool_printf("tcp://%s:%d", host, port);
}


/* --- the host ------------------------------------------------------------- */

/* For whom an allocation waits, in a sentence; NULL: it can be used. */

static const char *
ct_endpoint_unusable(const ct_pool_t *p, const bk_err_t *why)
{
    const ct_pool_own_t  *own = p->own;

    if (why->code != 0) {
        return why->text;
    }

    if (own->bad.code != 0) {
        return own->bad.text;
    }

    if (own->endpoint == NULL) {
        return NULL;
    }

    if (ct_part_needed(p, CT_SERVER) && !own->parts[CT_SERVER].good) {
        return own->parts[CT_SERVER].err.code != 0
               ? own->parts[CT_SERVER].err.text
               : "its gateway has no certificate yet";
    }

    /* whether that one runs is not known here */
    if (!own->gateway_up && !ct_pool_fronted(p)) {
        return own->gateway_bad.code != 0 ? own->gateway_bad.text
               : "no Pod of its gateway is ready yet";
    }

    return NULL;
}


static void
ct_endpoint_tell(ct_pool_t *p)
{
    int                 shared;
    char               *told;
    ct_pool_t          *q, *tmp;
    ct_pool_own_t      *own = p->own;
    bk_pool_gateway_t   g;

    told = ct_pool_printf("%s\n%s\n%s\n%d", own->endpoint ? own->endpoint : "",
                          own->server_ca ? own->server_ca : "",
                          own->why ? own->why : "", ct_deleting(p->o));

    if (own->told != NULL && strcmp(own->told, told) == 0) {
        free(told);
        return;
    }

    free(own->told);
    own->told = told;

    memset(&g, 0, sizeof(g));
    g.endpoint = CT_STR(own->endpoint ? own->endpoint : "");
    g.ca = CT_STR(own->server_ca ? own->server_ca : "");
    g.why = CT_STR(own->why ? own->why : "");
    (void) p->ct->host->pool_gateway(p->ct->host, CT_STR(p->key), &g);

    /* those that share it */
    HASH_ITER(hh, p->ct->pools, q, tmp) {
        if (q != p && q->o != NULL && q->o->obj != NULL
            && ct_pool_shared(q, &shared) == p)
        {
            ct_dirty_pool(q);
        }
    }
}
