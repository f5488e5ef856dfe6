/*
 * A pool's gateway: the Deployment that k8s/gateway/ shows, and what all
 * gateways of a namespace share.  t/kubernetes_make.t compares the two.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "mk_int.h"


#define MK_GATEWAY_UID    65532
#define MK_GATEWAY_GRACE  3600
#define MK_GATEWAY_CONF   "/etc/buildkit-gateway"
#define MK_GATEWAY_RUN    "/run/buildkit-gateway"
#define MK_GATEWAY_STATE  "/var/lib/buildkit-gateway"
#define MK_GATEWAY_URL    "http://buildkit-controller-api.%s.svc:8082"


static json_t *mk_gateway_pod(json_t *pool, const ct_conf_t *conf,
    const char *image);
static json_t *mk_gateway_nginx(json_t *pool, const ct_conf_t *conf,
    const char *image);
static json_t *mk_gateway_args(json_t *pool, const ct_conf_t *conf);
static json_t *mk_gateway_resources(json_t *pool);
static json_t *mk_gateway_limit(json_t *pool, const char *key,
    const char *otherwise, const char *request, json_t **requests);
static json_t *mk_gateway_companion(const ct_conf_t *conf);
static json_t *mk_gateway_security(void);
static json_t *mk_gateway_mount(const char *name, const char *path,
    int writable);
static json_t *mk_gateway_volumes(json_t *pool);
static json_t *mk_gateway_volume_account(void);
static json_t *mk_gateway_selector(json_t *pool);
static json_t *mk_gateway_shared(const char *ns, const char *name);


json_t *
mk_deployment(json_t *pool, const ct_conf_t *conf, const char *hash,
    bk_err_t *err)
{
    json_t      *obj, *meta, *template;
    const char  *image = mk_spec_text(pool, conf->gateway_image,
                                      "gatewayImage", NULL);

    if (image == NULL || image[0] == '\0' || conf->companion_image == NULL
        || conf->companion_image[0] == '\0')
    {
        bk_fail(err, 422, "NoImage", "set the controller's options "
                "gatewayImage and companionImage",
                "nothing says which images a gateway is of");
        return NULL;
    }

    meta = mk_meta(pool, mk_name(pool), "gateway");
    mk_set(meta, "name", mk_text("%s-gateway", mk_name(pool)));

    template = mk_pack("{s:{s:o}, s:o}", "metadata", "labels",
                       json_copy(json_object_get(meta, "labels")),
                       "spec", mk_gateway_pod(pool, conf, image));

    if (hash != NULL && hash[0] != '\0') {
        mk_set(json_object_get(template, "metadata"), "annotations",
               mk_pack("{s:s}", MK_ANNOTATION_HASH, hash));
    }

    mk_template(mk_spec(pool, "gateway", "podTemplate", NULL), conf,
                json_object_get(template, "metadata"),
                json_object_get(template, "spec"));

    obj = mk_pack("{s:o, s:{s:i, s:i, s:{s:s, s:{s:i, s:i}}, s:{s:o}, s:o}}",
                  "metadata", meta,
                  "spec",
                  "replicas", mk_int(mk_spec(pool, "gateway", "replicas",
                                             NULL), 1, 1, 1000),
                  "revisionHistoryLimit", 3,
                  "strategy", "type", "RollingUpdate",
                  "rollingUpdate", "maxSurge", 1, "maxUnavailable", 0,
                  "selector", "matchLabels", mk_gateway_selector(pool),
                  "template", template);
    mk_owned_by_pool(obj, pool);

    return obj;
}


static json_t *
mk_gateway_selector(json_t *pool)
{
    return mk_pack("{s:o, s:s}", OBJ_LABEL_POOL, mk_label(mk_name(pool)),
                   OBJ_LABEL_PURPOSE, "gateway");
}


static json_t *
mk_gateway_pod(json_t *pool, const ct_conf_t *conf, const char *image)
{
    return mk_pack("{s:s, s:b, s:b, s:i, s:{s:b, s:i, s:i, s:i, s:{s:s}}, "
                   "s:[{s:i, s:s, s:s, s:{s:o}}], s:[o], s:[o], s:o}",
                   "serviceAccountName", "buildkit-gateway",
                   /* only the companion has it */
                   "automountServiceAccountToken", 0,
                   "enableServiceLinks", 0,
                   "terminationGracePeriodSeconds", MK_GATEWAY_GRACE,
                   "securityContext",
                   "runAsNonRoot", 1,
                   "runAsUser", MK_GATEWAY_UID,
                   "runAsGroup", MK_GATEWAY_UID,
                   "fsGroup", MK_GATEWAY_UID,
                   "seccompProfile", "type", "RuntimeDefault",
                   "topologySpreadConstraints",
                   "maxSkew", 1,
                   "topologyKey", "kubernetes.io/hostname",
                   "whenUnsatisfiable", "ScheduleAnyway",
                   "labelSelector", "matchLabels", mk_gateway_selector(pool),
                   "initContainers", mk_gateway_companion(conf),
                   "containers", mk_gateway_nginx(pool, conf, image),
                   "volumes", mk_gateway_volumes(pool));
}


/* --- nginx ---------------------------------------------------------------- */

static json_t *
mk_gateway_nginx(json_t *pool, const ct_conf_t *conf, const char *image)
{
    json_t  *c;

    c = mk_pack("{s:s, s:s, s:o, s:[{s:s, s:i}, {s:s, s:i}]}",
                "name", "gateway",
                "image", image,
                "args", mk_gateway_args(pool, conf),
                "ports",
                "name", "gateway", "containerPort", 1235,
                "name", "metrics", "containerPort", 9090);

    mk_set(c, "env", mk_pack("[{s:s, s:{s:{s:s}}}, {s:s, s:s}]",
           "name", "POD_NAMESPACE", "valueFrom", "fieldRef", "fieldPath",
           "metadata.namespace",
           /* our image: the routes come from the companion */
           "name", "BUILDKIT_GATEWAY_CONF",
           "value", MK_GATEWAY_CONF "/nginx.conf"));

    /* not /readyz: the API server away is no reason to turn clients away */
    mk_set(c, "readinessProbe", mk_pack("{s:{s:s}, s:i, s:i}",
           "tcpSocket", "port", "gateway",
           "periodSeconds", 5, "timeoutSeconds", 3));
    mk_set(c, "livenessProbe", mk_pack("{s:{s:s}, s:i, s:i, s:i}",
           "tcpSocket", "port", "gateway", "initialDelaySeconds", 10,
           "periodSeconds", 15, "timeoutSeconds", 5));

    /* until no Service sends anybody here any more */
    mk_set(c, "lifecycle", mk_pack("{s:{s:{s:i}}}", "preStop", "sleep",
           "seconds", 5));
    mk_set(c, "resources", mk_gateway_resources(pool));
    mk_set(c, "securityContext", mk_gateway_security());
    mk_set(c, "volumeMounts", mk_pack("[o, o, o, o, o]",
           mk_gateway_mount("config", MK_GATEWAY_CONF, 0),
           mk_gateway_mount("server-tls", "/etc/gateway/tls", 0),
           mk_gateway_mount("worker-tls", "/etc/gateway/worker-tls", 0),
           mk_gateway_mount("run", MK_GATEWAY_RUN, 1),
           mk_gateway_mount("tmp", "/tmp", 1)));

    return c;
}


/* those that any gateway image of this API gets */

static json_t *
mk_gateway_args(json_t *pool, const ct_conf_t *conf)
{
    json_t  *url;

    url = conf->controller_url != NULL && conf->controller_url[0] != '\0'
          ? mk_text("%s", conf->controller_url)
          : mk_text(MK_GATEWAY_URL, conf->namespace);

    return mk_pack("[s, s, s, s, s, s, s, s, s, o]",
                   "--pool-name", mk_name(pool),
                   "--pool-namespace", "$(POD_NAMESPACE)",
                   "--listen-addr", "0.0.0.0:1235",
                   "--metrics-addr", "0.0.0.0:9090",
                   "--controller-endpoint", url);
}


static json_t *
mk_gateway_resources(json_t *pool)
{
    json_t  *limits, *requests = json_object();

    limits = mk_pack("{s:o, s:o}",
                     "cpu", mk_gateway_limit(pool, "cpu", "2", "50m",
                                             &requests),
                     "memory", mk_gateway_limit(pool, "memory", "512Mi",
                                                "64Mi", &requests));

    return mk_pack("{s:o, s:o}", "requests", requests, "limits", limits);
}


/* a limit below what is asked for otherwise is asked for as well */

static json_t *
mk_gateway_limit(json_t *pool, const char *key, const char *otherwise,
    const char *request, json_t **requests)
{
    json_t  *limit = mk_spec(pool, "gateway", "resources", key, NULL);
    json_t  *asked = mk_text("%s", request);
    double   n = mk_quantity(limit);

    if (n < 0 && json_is_string(limit) && json_string_length(limit) > 0) {
        limit = json_incref(limit);     /* the API server says what it is */

    } else if (n < 0) {
        limit = mk_text("%s", otherwise);

    } else {
        limit = json_incref(limit);

        if (n < mk_quantity(asked)) {
            json_decref(asked);
            asked = json_incref(limit);
        }
    }

    mk_set(*requests, key, asked);

    return limit;
}


/* --- beside it ------------------------------------------------------------ */

static json_t *
mk_gateway_companion(const ct_conf_t *conf)
{
    json_t  *c;

    c = mk_pack("{s:s, s:s, s:s, s:[s, s, s]}",
                "name", "companion",
                "restartPolicy", "Always",      /* before nginx, and after */
                "image", conf->companion_image,
                "command", "buildkit-plugin-host", "-c",
                MK_GATEWAY_CONF "/gateway.yaml");

    mk_set(c, "env", mk_pack("[{s:s, s:s}, {s:s, s:{s:{s:s}}}]",
           /* nginx has no part in it: its image is the pool's author's */
           "name", "BKCTL_ENDPOINT", "value", "unix:" MK_GATEWAY_STATE
           "/api.sock",
           "name", "POD_NAME", "valueFrom", "fieldRef", "fieldPath",
           "metadata.name"));
    /* nginx begins when the first routes are in; see k8s/gateway */
    mk_set(c, "startupProbe", mk_pack("{s:{s:[s, s, s, s, s]}, s:i, s:i, s:i}",
           "exec", "command", "bkctl", "routes", "--live", "--table",
           MK_GATEWAY_RUN "/buildkit.table",
           "periodSeconds", 1, "timeoutSeconds", 5,
           "failureThreshold", 3600));
    mk_set(c, "livenessProbe", mk_pack("{s:{s:[s, s, s]}, s:i, s:i, s:i}",
           "exec", "command", "bkctl", "pools", "--json",
           "periodSeconds", 30, "timeoutSeconds", 10, "failureThreshold", 4));
    mk_set(c, "resources", mk_pack("{s:{s:s, s:s}, s:{s:s}}",
           "requests", "cpu", "10m", "memory", "64Mi",
           /* the volume run counts for who writes it */
           "limits", "memory", "256Mi"));
    mk_set(c, "securityContext", mk_gateway_security());
    mk_set(c, "volumeMounts", mk_pack("[o, o, o, o]",
           mk_gateway_mount("config", MK_GATEWAY_CONF, 0),
           mk_gateway_mount("state", MK_GATEWAY_STATE, 1),
           mk_gateway_mount("run", MK_GATEWAY_RUN, 1),
           mk_gateway_mount("account",
                            "/var/run/secrets/kubernetes.io/serviceaccount",
                            0)));

    return c;
}


static json_t *
mk_gateway_security(void)
{
    return mk_pack("{s:b, s:b, s:b, s:{s:[s]}, s:{s:s}}",
                   "allowPrivilegeEscalation", 0,
                   "readOnlyRootFilesystem", 1,
                   "runAsNonRoot", 1,
                   "capabilities", "drop", "ALL",
                   "seccompProfile", "type", "RuntimeDefault");
}


static json_t *
mk_gateway_mount(const char *name, const char *path, int writable)
{
    json_t  *mount = mk_pack("{s:s, s:s}", "name", name, "mountPath", path);

    if (!writable) {
        mk_set(mount, "readOnly", json_true());
    }

    return mount;
}


static json_t *
mk_gateway_volumes(json_t *pool)
{
    return mk_pack("[{s:s, s:{s:s}}, {s:s, s:{s:o, s:i}}, "
                   "{s:s, s:{s:o, s:i}}, {s:s, s:{}}, {s:s, s:{s:s, s:s}}, "
                   "{s:s, s:{s:s}}, o]",
                   "name", "config",
                   "configMap", "name", "buildkit-gateway-config",
                   "name", "server-tls",
                   "secret", "secretName", mk_text("%s-tls", mk_name(pool)),
                   "defaultMode", 0440,
                   "name", "worker-tls",
                   "secret", "secretName", mk_text("%s-client-certs",
                                                   mk_name(pool)),
                   "defaultMode", 0440,
                   "name", "state", "emptyDir",
                   "name", "run",
                   "emptyDir", "medium", "Memory", "sizeLimit", "128Mi",
                   "name", "tmp",
                   "emptyDir", "sizeLimit", "64Mi",
                   mk_gateway_volume_account());
}


/* as the kubelet mounts it where it may, but into one container only */

static json_t *
mk_gateway_volume_account(void)
{
    return mk_pack("{s:s, s:{s:i, s:[{s:{s:s, s:i}}, "
                   "{s:{s:s, s:[{s:s, s:s}]}}, "
                   "{s:{s:[{s:s, s:{s:s}}]}}]}}",
                   "name", "account",
                   "projected", "defaultMode", 0440,
                   "sources",
                   "serviceAccountToken", "path", "token",
                   "expirationSeconds", 3607,
                   "configMap", "name", "kube-root-ca.crt",
                   "items", "key", "ca.crt", "path", "ca.crt",
                   "downwardAPI",
                   "items", "path", "namespace",
                   "fieldRef", "fieldPath", "metadata.namespace");
}


json_t *
mk_gateway_budget(json_t *pool)
{
    json_t  *obj, *meta = mk_meta(pool, mk_name(pool), "gateway");

    mk_set(meta, "name", mk_text("%s-gateway", mk_name(pool)));
    obj = mk_pack("{s:o, s:{s:i, s:s, s:{s:o}}}",
                  "metadata", meta,
                  "spec", "maxUnavailable", 1,
                  "unhealthyPodEvictionPolicy", "AlwaysAllow",
                  "selector", "matchLabels", mk_gateway_selector(pool));
    mk_owned_by_pool(obj, pool);

    return obj;
}


/* --- of all gateways in a namespace: nobody's, so they stay --------------- */

static json_t *
mk_gateway_shared(const char *ns, const char *name)
{
    return mk_pack("{s:{s:s, s:s, s:{s:s, s:s}}}", "metadata", "name", name,
                   "namespace", ns, "labels",
                   "app.kubernetes.io/name", "buildkit-gateway",
                   "app.kubernetes.io/managed-by", MK_CONTROLLER);
}


json_t *
mk_account(const char *ns)
{
    json_t  *obj = mk_gateway_shared(ns, "buildkit-gateway");

    mk_set(obj, "automountServiceAccountToken", json_false());

    return obj;
}


json_t *
mk_rolebinding(const char *ns)
{
    json_t  *obj = mk_gateway_shared(ns, "buildkit-gateway");

    mk_set(obj, "roleRef", mk_pack("{s:s, s:s, s:s}",
           "apiGroup", "rbac.authorization.k8s.io",
           "kind", "ClusterRole",
           "name", "buildkit-gateway"));
    mk_set(obj, "subjects", mk_pack("[{s:s, s:s, s:s}]",
           "kind", "ServiceAccount",
           "name", "buildkit-gateway",
           "namespace", ns));

    return obj;
}


json_t *
mk_gateway_config(const char *ns, const char *nginx_conf,
    const char *gateway_yaml)
{
    json_t  *obj = mk_gateway_shared(ns, "buildkit-gateway-config");

    mk_set(obj, "data", mk_pack("{s:s, s:s}", "nginx.conf", nginx_conf,
                                "gateway.yaml", gateway_yaml));

    return obj;
}
