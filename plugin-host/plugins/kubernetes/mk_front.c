/*
 * What brings TLS through to a gateway by its host name: an Ingress, or a
 * Gateway and a TLSRoute.  The gateway itself must see the client's
 * certificate, so TLS is never ended before it.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "mk_int.h"


static int mk_front_api(json_t *pool, bk_err_t *err);
static json_t *mk_front_meta(json_t *pool, const char *suffix);


/* how controllers are told to pass TLS through; a pool's own annotations win */
static const char  *mk_front_passed[][2] = {
    { "nginx.ingress.kubernetes.io/ssl-passthrough", "true" },
    { "nginx.ingress.kubernetes.io/backend-protocol", "HTTPS" },
    { "haproxy.org/ssl-passthrough", "true" },
    { "haproxy-ingress.github.io/ssl-passthrough", "true" },
};


json_t *
mk_ingress(json_t *pool, const ct_conf_t *conf, bk_err_t *err)
{
    size_t       i;
    json_t      *obj, *meta, *spec, *notes, *tls;
    json_t      *in = mk_spec(pool, "gateway", "ingress", NULL);
    const char  *host = obj_text(in, "hostname");
    const char  *class = obj_text(in, "ingressClassName");

    memset(err, 0, sizeof(bk_err_t));

    if (!json_is_true(json_object_get(in, "enabled"))) {
        return NULL;
    }

    if (host[0] == '\0') {
        bk_err_set(err, 422, "NoHostname", "gateway.ingress needs a hostname: "
                   "it is what TLS is routed by");
        return NULL;
    }

    meta = mk_front_meta(pool, "ingress");
    mk_annotate(meta, conf, json_object_get(in, "annotations"));
    notes = json_object_get(meta, "annotations");

    if (notes == NULL) {
        notes = json_object();
        mk_set(meta, "annotations", notes);
    }

    for (i = 0; i < sizeof(mk_front_passed) / sizeof(mk_front_passed[0]); i++) {
        if (json_object_get(notes, mk_front_passed[i][0]) == NULL) {
            mk_set(notes, mk_front_passed[i][0],
                   mk_text("%s", mk_front_passed[i][1]));
        }
    }

    obj = mk_pack("{s:o, s:{s:[{s:s, s:{s:[{s:s, s:s, s:{s:{s:s, s:{s:i}}}}]}"
                  "}]}}",
                  "metadata", meta,
                  "spec", "rules", "host", host,
                  "http", "paths", "path", "/", "pathType", "Prefix",
                  "backend", "service", "name", mk_name(pool),
                  "port", "number", mk_port(pool));
    spec = json_object_get(obj, "spec");

    if (class[0] != '\0') {
        mk_set(spec, "ingressClassName", mk_text("%s", class));
    }

    /* some controllers pass nothing through without it; none reads the Secret
     * then */
    tls = json_object_get(in, "tls");

    if (json_is_true(json_object_get(tls, "enabled"))) {
        mk_set(spec, "tls", mk_pack("[{s:[s]}]", "hosts", host));

        if (obj_text(tls, "secretName")[0] != '\0') {
            mk_set(json_array_get(json_object_get(spec, "tls"), 0),
                   "secretName", mk_text("%s", obj_text(tls, "secretName")));
        }
    }

    mk_owned_by_pool(obj, pool);

    return obj;
}


json_t *
mk_gateway_api(json_t *pool, const ct_conf_t *conf, bk_err_t *err)
{
    json_t      *obj, *meta;
    json_t      *api = mk_spec(pool, "gateway", "gatewayAPI", NULL);
    const char  *class = obj_text(api, "gatewayClassName");

    if (mk_front_api(pool, err) != 0
        || obj_text(json_object_get(api, "gatewayRef"), "name")[0] != '\0')
    {
        return NULL;
    }

    if (class[0] == '\0') {
        class = "envoy";                /* as users of this API have it */
    }

    meta = mk_front_meta(pool, "gateway");
    mk_annotate(meta, conf, json_object_get(api, "annotations"));

    if (obj_text(api, "gatewayName")[0] != '\0') {
        mk_set(meta, "name", mk_text("%s", obj_text(api, "gatewayName")));
    }

    obj = mk_pack("{s:o, s:{s:s, s:[{s:s, s:s, s:i, s:s, s:{s:s}}]}}",
                  "metadata", meta,
                  "spec", "gatewayClassName", class,
                  "listeners",
                  "name", "buildkit",
                  "protocol", "TLS",
                  "port", mk_port(pool),
                  "hostname", obj_text(api, "hostname"),
                  "tls", "mode", "Passthrough");
    mk_owned_by_pool(obj, pool);

    return obj;
}


json_t *
mk_tlsroute(json_t *pool, const ct_conf_t *conf, bk_err_t *err)
{
    json_t      *obj, *parent;
    json_t      *api = mk_spec(pool, "gateway", "gatewayAPI", NULL);
    json_t      *ref = json_object_get(api, "gatewayRef");
    const char  *name = obj_text(ref, "name");
    const char  *ns = obj_text(ref, "namespace");

    (void) conf;                /* of the same type as the others */

    if (mk_front_api(pool, err) != 0) {
        return NULL;
    }

    /* the one that mk_gateway_api() makes, otherwise */
    if (name[0] == '\0') {
        ns = "";
        name = obj_text(api, "gatewayName");
    }

    parent = mk_pack("{s:o, s:s}", "name",
                     name[0] != '\0' ? mk_text("%s", name)
                                     : mk_text("%s-gateway", mk_name(pool)),
                     "namespace", ns[0] != '\0' ? ns : mk_ns(pool));

    obj = mk_pack("{s:o, s:{s:[o], s:[s], s:[{s:[{s:s, s:i}]}]}}",
                  "metadata", mk_front_meta(pool, "tlsroute"),
                  "spec",
                  "parentRefs", parent,
                  "hostnames", obj_text(api, "hostname"),
                  "rules", "backendRefs", "name", mk_name(pool),
                  "port", mk_port(pool));
    mk_owned_by_pool(obj, pool);

    return obj;
}


/* -1 with err->code 0: not asked for */

static int
mk_front_api(json_t *pool, bk_err_t *err)
{
    json_t  *api = mk_spec(pool, "gateway", "gatewayAPI", NULL);

    memset(err, 0, sizeof(bk_err_t));

    if (!json_is_true(json_object_get(api, "enabled"))) {
        return -1;
    }

    if (strcmp(obj_text(json_object_get(api, "tls"), "mode"), "terminate")
        == 0)
    {
        return bk_fail(err, 422, "TLSTerminate", "set gateway.gatewayAPI.tls."
                       "mode to passthrough", "the pool's gateway must see "
                       "the client's certificate, so TLS cannot end before "
                       "it");
    }

    if (obj_text(api, "hostname")[0] == '\0') {
        return bk_err_set(err, 422, "NoHostname", "gateway.gatewayAPI needs a "
                          "hostname: it is what TLS is routed by");
    }

    return 0;
}


static json_t *
mk_front_meta(json_t *pool, const char *suffix)
{
    json_t  *meta = mk_meta(pool, mk_name(pool), "gateway");

    mk_set(meta, "name", mk_text("%s-%s", mk_name(pool), suffix));

    return meta;
}
