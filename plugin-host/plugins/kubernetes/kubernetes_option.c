/*
 * Plugin kubernetes: its options.  What role has no use for one does not read
 * it, so that both may have one configuration.
 */

#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "kubernetes.h"
#include "mk.h"


#define KUBERNETES_SIZE_MAX    32           /* of a quantity */
#define KUBERNETES_NUMBER_MAX  1000000
#define KUBERNETES_LEASE_MIN   3000         /* ms */
#define KUBERNETES_LEASE_MAX   300000


static char **kubernetes_text(kubernetes_t *k, const char *key);
static char ***kubernetes_list(kubernetes_t *k, const char *key);
static unsigned *kubernetes_number(kubernetes_t *k, const char *key);
static int kubernetes_count(unsigned *at, const char *value, bk_err_t *err);
static int kubernetes_lease(kubernetes_t *k, const char *value,
    bk_err_t *err);
static int kubernetes_role(const char *value, bk_err_t *err);
static int kubernetes_size(const char *value, bk_err_t *err);


const bk_option_t  kubernetes_options[] = {
    { "role", BK_OPTION_STRING, "gateway",
      "gateway: beside nginx, only reads; controller: runs the pools" },
    { "kubeconfig", BK_OPTION_STRING, "",
      "a kubeconfig, absolute; empty: $KUBECONFIG, or this Pod's account" },
    { "context", BK_OPTION_STRING, "",
      "a context of that file; empty: its current one" },
    { "namespaces", BK_OPTION_LIST, NULL,
      "the namespaces served, or \"*\" alone: all; none: that of the "
      "configuration" },
    { "ingressClass", BK_OPTION_STRING, "",
      "gateway: Ingress objects of this class say which host is which pool's; "
      "empty: none are read" },
    { "names", BK_OPTION_STRING, "/run/buildkit-gateway/names",
      "gateway: the folder that nginx reads them from (buildkit_names)" },
    { "ingressService", BK_OPTION_STRING, "",
      "gateway: NAMESPACE/NAME of the Service whose address Ingress objects "
      "get as theirs; empty: none" },
    { "leaseDuration", BK_OPTION_DURATION, "15s",
      "controller, ingressClass: how long another leads on who is not heard "
      "of" },
    { "gatewayImage", BK_OPTION_STRING, "",
      "controller: the image of gateways, where a pool names none; empty: that "
      "of the container front in this Pod" },
    { "companionImage", BK_OPTION_STRING, "",
      "controller: the image of gateways' companions; empty: that of the "
      "container controller in this Pod" },
    { "buildkitImage", BK_OPTION_STRING, "moby/buildkit:v0.33.0",
      "controller: the image of workers, where a pool names none" },
    { "buildkitRootlessImage", BK_OPTION_STRING, "",
      "controller: that of rootless ones; empty: buildkitImage with "
      "\"-rootless\" behind its tag" },
    { "gatewayTemplate", BK_OPTION_STRING, "/etc/buildkit-gateway-template",
      "controller: the folder of gateway.yaml and nginx.conf for gateways" },
    { "controllerURL", BK_OPTION_STRING, "",
      "controller: its API, as gateways are told; empty: that of the Service "
      "buildkit-controller-api" },
    { "externalHost", BK_OPTION_STRING, "",
      "controller: the DNS name (or address) that clients are told for "
      "NodePorts; empty: that of the pool's Service inside of the cluster" },
    { "privileged", BK_OPTION_LIST, NULL,
      "controller: the namespaces whose pools may have security.mode "
      "privileged, or \"*\" alone: all; none: nobody's" },
    { "annotations", BK_OPTION_LIST, NULL,
      "controller: which annotations pools may put onto what is made for them: "
      "names, or prefixes that end in /; \"*\" alone: all, \"none\" alone: "
      "none with a prefix; not given: those of load balancers and a few more "
      "(doc/kubernetes.md)" },
    { "labels", BK_OPTION_LIST, NULL,
      "controller: which labels pools may put onto their Pods, in the same "
      "way; not given: none" },
    { "gateways", BK_OPTION_LIST, NULL,
      "controller: NAMESPACE/NAME of pools whose gateway may lead to the "
      "workers of all pools, as an ingress controller's does; none: each to "
      "its own" },
    { "apiTLS", BK_OPTION_STRING, "",
      "controller: the folder into which a certificate for the API is written "
      "(tls.pem), for nginx before it; empty: none" },
    { "apiNames", BK_OPTION_LIST, NULL,
      "controller: DNS names and addresses in that certificate, besides those "
      "of the Service buildkit-controller-api" },
    { "scratchSize", BK_OPTION_STRING, "50Gi",
      "controller: what a worker without a claim may have of its node's disk; "
      "empty: all that there is" },
    { "namespacePools", BK_OPTION_INTEGER, "128",
      "controller: so many pools a namespace may have; 0: any number" },
    { "namespaceWorkers", BK_OPTION_INTEGER, "1024",
      "controller: so many workers its pools may have; 0: any number" },
    { NULL, 0, NULL, NULL }
};


int
kubernetes_configure(void *ctx, const char *key, const char *value,
    bk_err_t *err)
{
    char          **at;
    char         ***list;
    unsigned       *number;
    kubernetes_t   *k = ctx;

    if (strcmp(key, "namespaces") == 0) {
        return kubernetes_namespace(k, value, err);
    }

    if (strcmp(key, "leaseDuration") == 0) {
        return kubernetes_lease(k, value, err);
    }

    list = kubernetes_list(k, key);

    if (list == &k->conf.gateways) {
        return kubernetes_list_pool(list, value, err);
    }

    if (list == &k->conf.api_names) {
        return kubernetes_list_name(list, value, err);
    }

    if (list != NULL) {
        return kubernetes_list_allow(list, key, value, err);
    }

    number = kubernetes_number(k, key);

    if (number != NULL) {
        return kubernetes_count(number, value, err);
    }

    if (strcmp(key, "apiTLS") == 0 && value[0] != '\0' && value[0] != '/') {
        return bk_err_set(err, 400, "BadOption", "must be an absolute path");
    }

    if ((strcmp(key, "role") == 0 && kubernetes_role(value, err) != 0)
        || (strcmp(key, "scratchSize") == 0
            && kubernetes_size(value, err) != 0))
    {
        return -1;
    }

    at = kubernetes_text(k, key);
    free(*at);
    *at = kubernetes_strdup(value);

    return 0;
}


void
kubernetes_options_free(kubernetes_t *k)
{
    size_t              i;
    const bk_option_t  *o;

    for (o = kubernetes_options; o->key != NULL; o++) {
        if (o->type == BK_OPTION_STRING) {
            free(*kubernetes_text(k, o->key));

        } else if (kubernetes_list(k, o->key) != NULL) {
            kubernetes_list_free(kubernetes_list(k, o->key));
        }
    }

    for (i = 0; i < k->nnamespaces; i++) {
        free(k->namespaces[i]);
    }

    free(k->namespaces);
    free(k->conf.namespace);
    free(k->conf.pod);
}


/* --- where each of them is kept ------------------------------------------- */

static char **
kubernetes_text(kubernetes_t *k, const char *key)
{
    size_t  i;
    struct {
        const char   *key;
        char        **at;
    } all[] = {
        { "role", &k->role },
        { "kubeconfig", &k->kubeconfig },
        { "context", &k->context },
        { "gatewayImage", &k->conf.gateway_image },
        { "companionImage", &k->conf.companion_image },
        { "buildkitImage", &k->conf.buildkit_image },
        { "buildkitRootlessImage", &k->conf.rootless_image },
        { "gatewayTemplate", &k->conf.template_dir },
        { "controllerURL", &k->conf.controller_url },
        { "externalHost", &k->conf.external_host },
        { "apiTLS", &k->conf.api_tls },
        { "scratchSize", &k->conf.scratch_size },
        { "ingressClass", &k->ing_conf.class_name },
        { "names", &k->ing_conf.dir },
        { "ingressService", &k->ing_conf.service }
    };

    for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        if (strcmp(all[i].key, key) == 0) {
            return all[i].at;
        }
    }

    abort();
}


/* NULL: it is no list, or that of the namespaces */

static char ***
kubernetes_list(kubernetes_t *k, const char *key)
{
    return strcmp(key, "privileged") == 0 ? &k->conf.privileged
           : strcmp(key, "annotations") == 0 ? &k->conf.annotations
           : strcmp(key, "labels") == 0 ? &k->conf.labels
           : strcmp(key, "gateways") == 0 ? &k->conf.gateways
           : strcmp(key, "apiNames") == 0 ? &k->conf.api_names
           : NULL;
}


static unsigned *
kubernetes_number(kubernetes_t *k, const char *key)
{
    return strcmp(key, "namespaceWorkers") == 0 ? &k->conf.max_workers
           : strcmp(key, "namespacePools") == 0 ? &k->conf.max_pools
           : NULL;
}


/* --- what they may be ----------------------------------------------------- */

static int
kubernetes_count(unsigned *at, const char *value, bk_err_t *err)
{
    long long  n = strtoll(value, NULL, 10);

    if (n < 0 || n > KUBERNETES_NUMBER_MAX) {
        return bk_err_set(err, 400, "BadOption", "must be from 0 to %d",
                          KUBERNETES_NUMBER_MAX);
    }

    *at = (unsigned) n;

    return 0;
}


static int
kubernetes_lease(kubernetes_t *k, const char *value, bk_err_t *err)
{
    uint64_t  ms = strtoull(value, NULL, 10);

    if (ms < KUBERNETES_LEASE_MIN || ms > KUBERNETES_LEASE_MAX) {
        return bk_err_set(err, 400, "BadOption", "must be from 3s to 5m");
    }

    k->conf.lease_ms = ms;
    k->ing_conf.lease_ms = ms;

    return 0;
}


static int
kubernetes_role(const char *value, bk_err_t *err)
{
    if (strcmp(value, "gateway") != 0 && strcmp(value, "controller") != 0) {
        return bk_err_set(err, 400, "BadOption", "must be gateway or "
                          "controller");
    }

    return 0;
}


/* 1 MiB: less is a mistake, and no build is done in it */

static int
kubernetes_size(const char *value, bk_err_t *err)
{
    double   n;
    json_t  *text;

    if (value[0] == '\0') {
        return 0;
    }

    text = json_string(value);
    n = mk_quantity(text);
    json_decref(text);

    if (strlen(value) > KUBERNETES_SIZE_MAX || n < 1048576) {
        return bk_err_set(err, 400, "BadOption", "is no size as 50Gi, of 1Mi "
                          "at least");
    }

    return 0;
}


int
kubernetes_namespace(kubernetes_t *k, const char *value, bk_err_t *err)
{
    int  rc;

    if (strcmp(value, "*") == 0) {
        value = "";

    } else if (!kubernetes_is_namespace(value)) {
        return bk_err_set(err, 400, "BadOption", "is no name of a namespace");
    }

    rc = kubernetes_list_add(&k->namespaces, value, "", err);

    if (rc == 0) {
        k->nnamespaces++;
    }

    return rc;
}


char *
kubernetes_strdup(const char *s)
{
    char  *copy = strdup(s);

    if (copy == NULL) {
        abort();
    }

    return copy;
}
