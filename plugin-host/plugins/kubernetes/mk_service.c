/* How a gateway is reached: its Service. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "mk_int.h"


#define MK_PORT     1235
#define MK_METRICS  9090


static json_t *mk_service_ports(json_t *pool, const char *type,
    bk_err_t *err);
static void mk_service_balancer(json_t *pool, json_t *spec);


int
mk_port(json_t *pool)
{
    int  port;

    port = mk_int(mk_spec(pool, "networking", "port", NULL), MK_PORT, 1,
                  65535);

    return mk_int(mk_spec(pool, "gateway", "port", NULL), port, 1, 65535);
}


const char *
mk_external(json_t *pool)
{
    if (!json_is_true(mk_spec(pool, "networking", "external", "enabled",
                              NULL)))
    {
        return "";
    }

    return mk_spec_text(pool, "", "networking", "external", "hostname", NULL);
}


/* networking.serviceType is the older one, which users of this API have at
 * its default; so only where gateway's says nothing else */

const char *
mk_service_type(json_t *pool)
{
    const char  *type;

    type = mk_spec_text(pool, "ClusterIP", "gateway", "serviceType", NULL);

    if (strcmp(type, "ClusterIP") == 0) {
        type = mk_spec_text(pool, type, "networking", "serviceType", NULL);
    }

    return type;
}


json_t *
mk_service(json_t *pool, const ct_conf_t *conf, bk_err_t *err)
{
    json_t      *obj, *meta, *ports, *spec;
    const char  *type = mk_service_type(pool);

    if (strcmp(type, "ClusterIP") != 0 && strcmp(type, "NodePort") != 0
        && strcmp(type, "LoadBalancer") != 0)
    {
        bk_err_set(err, 422, "BadServiceType", "\"%.40s\" is no type of a "
                   "Service: ClusterIP, NodePort or LoadBalancer", type);
        return NULL;
    }

    ports = mk_service_ports(pool, type, err);

    if (ports == NULL) {
        return NULL;
    }

    meta = mk_meta(pool, mk_name(pool), "gateway");
    mk_annotate(meta, conf, mk_spec(pool, "networking", "annotations", NULL));

    if (json_is_true(mk_spec(pool, "networking", "external", "enabled",
                             NULL)))
    {
        mk_annotate(meta, conf, mk_spec(pool, "networking", "external",
                                        "annotations", NULL));
    }

    obj = mk_pack("{s:o, s:{s:s, s:{s:o, s:s}, s:o}}",
                  "metadata", meta,
                  "spec", "type", type,
                  "selector",
                  OBJ_LABEL_POOL, mk_label(mk_name(pool)),
                  OBJ_LABEL_PURPOSE, "gateway",
                  "ports", ports);
    spec = json_object_get(obj, "spec");

    if (strcmp(type, "LoadBalancer") == 0) {
        mk_service_balancer(pool, spec);
    }

    mk_owned_by_pool(obj, pool);

    return obj;
}


static json_t *
mk_service_ports(json_t *pool, const char *type, bk_err_t *err)
{
    int      port = mk_port(pool), metrics, node;
    json_t  *ports;

    /* with what server-side apply knows a port by: number and protocol */
    ports = mk_pack("[{s:s, s:i, s:s, s:s}]", "name", "gateway", "port", port,
                    "targetPort", "gateway", "protocol", "TCP");

    node = mk_int(mk_spec(pool, "gateway", "nodePort", NULL), 0, 1, 65535);

    if (node != 0 && strcmp(type, "NodePort") == 0) {
        mk_set(json_array_get(ports, 0), "nodePort", json_integer(node));
    }

    /* nobody is asked who he is there, and /connections tells of workers and
     * builds: a Service that leads out of the cluster does not have it, and
     * who collects metrics asks the Pods (their port "metrics") */

    if (strcmp(type, "ClusterIP") != 0
        || json_is_false(mk_spec(pool, "observability", "metrics", "enabled",
                                 NULL)))
    {
        return ports;
    }

    metrics = mk_int(mk_spec(pool, "observability", "metrics", "port", NULL),
                     MK_METRICS, 1, 65535);

    if (metrics == port) {
        json_decref(ports);
        bk_fail(err, 422, "SamePort", "change observability.metrics.port, or "
                "switch metrics off", "port %d of the Service would be both "
                "the gateway's and the metrics'", port);
        return NULL;
    }

    json_array_append_new(ports, mk_pack("{s:s, s:i, s:s, s:s}",
                          "name", "metrics", "port", metrics,
                          "targetPort", "metrics", "protocol", "TCP"));

    return ports;
}


static void
mk_service_balancer(json_t *pool, json_t *spec)
{
    json_t      *cidrs = mk_spec(pool, "networking", "allowedCIDRs", NULL);
    const char  *class = mk_spec_text(pool, "", "gateway",
                                      "loadBalancerClass", NULL);

    if (class[0] != '\0') {
        mk_set(spec, "loadBalancerClass", mk_text("%s", class));
    }

    if (json_is_array(cidrs) && json_array_size(cidrs) > 0) {
        json_object_set(spec, "loadBalancerSourceRanges", cidrs);
    }
}
