/*
 * A pool's gateway: Deployment, Service, disruption budget, and what its Pods
 * need in their namespace: an account that may read there, and the
 * configuration of its two programs.
 */

#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "ct_pool.h"


#define CT_MANAGED_BY  "app.kubernetes.io/managed-by"
#define CT_CONTROLLER  "buildkit-controller"

#define CT_BALANCER_MS  60000


static void ct_gateway_none(ct_pool_t *p);
static ct_obj_t *ct_gateway_config(ct_pool_t *p, bk_err_t *err);
static void ct_gateway_service(ct_pool_t *p, bk_err_t *err);
static void ct_gateway_deployment(ct_pool_t *p, const ct_obj_t *config,
    bk_err_t *err);
static int ct_gateway_begins(ct_pool_t *p, bk_err_t *err);
static int ct_gateway_balanced(ct_pool_t *p);
static void ct_gateway_hash(const ct_pool_t *p, const ct_obj_t *config,
    char buf[65]);
static void ct_gateway_put(ct_pool_t *p, int item, ct_obj_t *o, json_t *body,
    bk_err_t *err);
static void ct_gateway_said(const ct_pool_t *p, int item, bk_err_t *err);


int
ct_pool_has_gateway(const ct_pool_t *p)
{
    json_t  *pool = p->o->obj;

    return p->tls
           && !json_is_false(mk_spec(pool, "gateway", "enabled", NULL))
           && mk_spec(pool, "gateway", "poolRef", NULL) == NULL;
}


int
ct_pool_fronted(const ct_pool_t *p)
{
    json_t      *pool = p->o->obj;
    const char  *host;

    host = mk_external(pool);

    return p->tls && !ct_pool_has_gateway(p)
           && mk_spec(pool, "gateway", "poolRef", NULL) == NULL
           && host[0] != '\0' && host[0] != '*';
}


ct_pool_t *
ct_pool_shared(const ct_pool_t *p, int *shared)
{
    char        *key;
    ct_pool_t   *other;
    const char  *name;

    name = mk_spec_text(p->o->obj, "", "gateway", "poolRef", "name", NULL);
    *shared = name[0] != '\0';

    if (!*shared) {
        return NULL;
    }

    key = ct_pool_printf("%s/%s", mk_ns(p->o->obj), name);
    other = ct_pool_find(p->ct, key);
    free(key);

    return other != NULL && other->o != NULL && other->o->obj != NULL
           ? other : NULL;
}


void
ct_pool_gateway(ct_pool_t *p)
{
    bk_err_t   *err = &p->own->gateway_bad;
    ct_obj_t   *config;

    memset(err, 0, sizeof(bk_err_t));
    p->own->gateway_up = 0;

    if (!ct_pool_has_gateway(p)) {
        ct_gateway_none(p);
        return;
    }

    /* its address takes the longest, and belongs into the certificate */
    ct_gateway_service(p, err);

    config = ct_gateway_config(p, err);

    if (config != NULL) {
        ct_gateway_deployment(p, config, err);
    }
}


/* What has been there goes; what is nobody's any more is little. */

static void
ct_gateway_none(ct_pool_t *p)
{
    ct_obj_t    *o;
    const char  *name = mk_name(p->o->obj);

    o = ct_item(p, CT_GW_DEPLOYMENT, "%s-gateway", name);

    if (o != NULL && o->obj != NULL && ct_item_mine(p, o, NULL) == 0) {
        ct_item_remove(p, CT_GW_BUDGET,
                       ct_item(p, CT_GW_BUDGET, "%s-gateway", name));
        ct_item_remove(p, CT_GW_DEPLOYMENT, o);
    }

    ct_item_remove(p, CT_GW_SERVICE, ct_item(p, CT_GW_SERVICE, "%s", name));
}


/*
 * Account and configuration are all pools' of the namespace.  A configuration
 * that is not marked as the controller's is somebody's own, and so is the one
 * beside the controller: that is where the others are copied from.
 */

static ct_obj_t *
ct_gateway_config(ct_pool_t *p, bk_err_t *err)
{
    ct_obj_t    *config, *o;
    const char  *nginx, *yaml, *ns = mk_ns(p->o->obj);

    o = ct_item(p, CT_GW_ACCOUNT, "buildkit-gateway");

    if (o != NULL) {
        ct_item_apply(p, CT_GW_ACCOUNT, o, mk_account(ns));
    }

    o = ct_item(p, CT_GW_BINDING, "buildkit-gateway");

    if (o != NULL) {
        ct_item_apply(p, CT_GW_BINDING, o, mk_rolebinding(ns));
    }

    ct_gateway_said(p, CT_GW_ACCOUNT, err);
    ct_gateway_said(p, CT_GW_BINDING, err);

    config = ct_item(p, CT_GW_CONFIG, "buildkit-gateway-config");

    if (config == NULL) {
        return NULL;
    }

    if (config->obj != NULL
        && (strcmp(ns, p->ct->conf->namespace) == 0
            || strcmp(ct_label(config, CT_MANAGED_BY), CT_CONTROLLER) != 0))
    {
        return config;
    }

    if (ct_pool_template(p->ct, &nginx, &yaml, err) != 0) {
        return config->obj != NULL ? config : NULL;
    }

    ct_item_apply(p, CT_GW_CONFIG, config,
                  mk_gateway_config(ns, nginx, yaml));
    ct_gateway_said(p, CT_GW_CONFIG, err);

    return config->obj != NULL ? config : NULL;
}


static void
ct_gateway_service(ct_pool_t *p, bk_err_t *err)
{
    bk_err_t   bad;
    json_t    *pool = p->o->obj, *body;
    ct_obj_t  *o = ct_item(p, CT_GW_SERVICE, "%s", mk_name(pool));

    memset(&bad, 0, sizeof(bad));
    body = mk_service(pool, p->ct->conf, &bad);

    if (body == NULL) {
        p->own->bad = bad;
        return;
    }

    ct_gateway_put(p, CT_GW_SERVICE, o, body, err);
}


static void
ct_gateway_deployment(ct_pool_t *p, const ct_obj_t *config, bk_err_t *err)
{
    char        hash[65];
    bk_err_t    bad;
    json_t     *pool = p->o->obj, *body;
    ct_obj_t   *o;

    o = ct_item(p, CT_GW_DEPLOYMENT, "%s-gateway", mk_name(pool));

    if (o == NULL || (o->obj == NULL && !ct_gateway_begins(p, err))) {
        return;
    }

    memset(&bad, 0, sizeof(bad));
    ct_gateway_hash(p, config, hash);
    body = mk_deployment(pool, p->ct->conf, hash, &bad);

    if (body == NULL) {
        p->own->bad = bad;
        return;
    }

    /* it is for good; another controller's has more labels, ours among them */
    if (ct_at(o, "spec", "selector", NULL) != NULL) {
        json_object_set(json_object_get(body, "spec"), "selector",
                        ct_at(o, "spec", "selector", NULL));
    }

    ct_gateway_put(p, CT_GW_DEPLOYMENT, o, body, err);

    if (o->obj != NULL && ct_item_mine(p, o, NULL) == 0) {
        p->own->gateway_up =
            json_integer_value(ct_at(o, "status", "readyReplicas", NULL)) > 0;
    }

    o = ct_item(p, CT_GW_BUDGET, "%s-gateway", mk_name(pool));

    if (o != NULL) {
        ct_gateway_put(p, CT_GW_BUDGET, o, mk_gateway_budget(pool), err);
    }
}


/* Its Pods would wait for what they mount, longer than it takes. */

static int
ct_gateway_begins(ct_pool_t *p, bk_err_t *err)
{
    const ct_pool_own_t  *own = p->own;

    if (!ct_gateway_balanced(p)) {
        if (err->code == 0) {
            bk_err_set(err, 503, "LoadBalancerPending", "it begins when the "
                       "load balancer has an address, which belongs into its "
                       "certificate, or after %d s without", CT_BALANCER_MS
                       / 1000);
        }

        return 0;
    }

    return own->parts[CT_SERVER].good && own->parts[CT_CLIENT].good;
}


/*
 * What its Pods have mounted a kubelet looks at only each minute: were they
 * there before the load balancer's address is, nobody would trust them for that
 * long after.  But some load balancers give an address only when there is
 * somebody to lead to.
 */

static int
ct_gateway_balanced(ct_pool_t *p)
{
    uint64_t              made, now;
    const char           *reason;
    const ct_obj_t       *o;
    const ct_pool_own_t  *own = p->own;

    /* of the look before: none, and no Service yet, are the same */
    reason = own->conds[CT_COND_ENDPOINT].reason;

    if (own->endpoint != NULL
        || strcmp(mk_service_type(p->o->obj), "LoadBalancer") != 0
        || (reason[0] != '\0' && strcmp(reason, "Pending") != 0
            && strcmp(reason, "LoadBalancerPending") != 0))
    {
        return 1;
    }

    o = ct_item(p, CT_GW_SERVICE, "%s", mk_name(p->o->obj));

    if (o == NULL || o->obj == NULL
        || obj_time(obj_text(ct_at(o, "metadata", NULL), "creationTimestamp"),
                    &made) != 0)
    {
        return 0;
    }

    now = p->ct->host->now_ms(p->ct->host);

    if (now >= made + CT_BALANCER_MS) {
        return 1;
    }

    ct_pool_later(p, made + CT_BALANCER_MS - now);

    return 0;
}


/*
 * Other Pods are made when it changes.  Our image reads its certificates again
 * by itself; another one, which a pool names, may not.
 */

static void
ct_gateway_hash(const ct_pool_t *p, const ct_obj_t *config, char buf[65])
{
    char        *data;
    const char  *image, *texts[3];

    image = mk_spec_text(p->o->obj, "", "gatewayImage", NULL);
    data = json_dumps(ct_at(config, "data", NULL), JSON_SORT_KEYS
                      | JSON_COMPACT | JSON_ENCODE_ANY);

    memset(texts, 0, sizeof(texts));
    texts[0] = data;

    if (image[0] != '\0' && strcmp(image, p->ct->conf->gateway_image) != 0) {
        texts[1] = p->own->parts[CT_SERVER].print;
        texts[2] = p->own->parts[CT_CLIENT].print;
    }

    ct_pool_digest(texts, 3, buf);
    buf[16] = '\0';
    free(data);
}


/* takes over body */

static void
ct_gateway_put(ct_pool_t *p, int item, ct_obj_t *o, json_t *body,
    bk_err_t *err)
{
    bk_err_t  taken;

    if (o == NULL || ct_item_mine(p, o, &taken) != 0) {
        json_decref(body);

        if (o != NULL && err->code == 0) {
            *err = taken;
        }

        return;
    }

    ct_item_apply(p, item, o, body);
    ct_gateway_said(p, item, err);
}


/* the first of them is told */

static void
ct_gateway_said(const ct_pool_t *p, int item, bk_err_t *err)
{
    const ct_item_t  *i = p->own->items[item];

    if (err->code == 0 && i != NULL && i->err.code != 0) {
        *err = i->err;
    }
}
