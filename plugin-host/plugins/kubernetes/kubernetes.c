/*
 * Plugin kubernetes: pools, workers and allocations that are objects of a
 * Kubernetes cluster.
 *
 * role gateway: objects and Pods of the namespaces served become routes;
 * nothing is written (but by an ingress controller, ing.h).  role controller:
 * pools become Pods, too.
 *
 * This file: the plugin's life; kubernetes_option.c: its options.
 */

#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "kubernetes.h"


static int kubernetes_create(const bk_host_t *host, void **ctx,
    bk_err_t *err);
static int kubernetes_check(void *ctx, bk_err_t *err);
static int kubernetes_conf(const kubernetes_t *k, k8s_conf_t **conf,
    bk_err_t *err);
static int kubernetes_controller(const kubernetes_t *k);
static int kubernetes_open(kubernetes_t *k, bk_err_t *err);
static void kubernetes_fill(kubernetes_t *k);
static void kubernetes_image(char **at, const char *image);
static int kubernetes_prepare(void *ctx, bk_err_t *err);
static int kubernetes_start(void *ctx, bk_err_t *err);
static void kubernetes_stop(void *ctx);
static void kubernetes_names(void *data);
static void kubernetes_end(void *data);
static void kubernetes_stopped(void *data);
static void kubernetes_destroy(void *ctx);
static void kubernetes_stats(void *ctx, bk_stat_pt fn, void *data);


static bk_plugin_t  kubernetes_plugin = {
    .name = "kubernetes",
    .version = BK_VERSION,
    .summary = "pools, workers and allocations of a Kubernetes cluster",
    .options = kubernetes_options,
    .create = kubernetes_create,
    .configure = kubernetes_configure,
    .check = kubernetes_check,
    .prepare = kubernetes_prepare,
    .start = kubernetes_start,
    .stop = kubernetes_stop,
    .destroy = kubernetes_destroy,
    .worker_want = kubernetes_want,
    .event = kubernetes_event,
    .stats = kubernetes_stats,
    .state_changed = kubernetes_state_changed,
    .store_put = kubernetes_put,
    .store_worker = kubernetes_put_worker,
    .store_each = kubernetes_each,
    .store_workers = kubernetes_workers
};

BK_PLUGIN(kubernetes_plugin)


static int
kubernetes_create(const bk_host_t *host, void **ctx, bk_err_t *err)
{
    kubernetes_t  *k;

    (void) err;

    k = calloc(1, sizeof(kubernetes_t));
    if (k == NULL) {
        abort();
    }

    k->host = host;
    *ctx = k;

    return 0;
}


/* What a Pod is given is not there where its configuration is checked. */

static int
kubernetes_check(void *ctx, bk_err_t *err)
{
    k8s_conf_t    *conf;
    kubernetes_t  *k = ctx;

    if (ing_conf_check(&k->ing_conf, err) != 0) {
        return -1;
    }

    if (k->kubeconfig[0] == '\0') {
        return 0;
    }

    if (k->kubeconfig[0] != '/') {
        return bk_err_set(err, 400, "BadOption", "plugin kubernetes: the "
                          "option \"kubeconfig\" must be an absolute path");
    }

    if (kubernetes_conf(k, &conf, err) != 0) {
        return -1;
    }

    k8s_conf_free(&conf);

    return 0;
}


static int
kubernetes_conf(const kubernetes_t *k, k8s_conf_t **conf, bk_err_t *err)
{
    return k8s_conf_load(conf, k->kubeconfig[0] ? k->kubeconfig : NULL,
                         k->context[0] ? k->context : NULL, err);
}


static int
kubernetes_controller(const kubernetes_t *k)
{
    return strcmp(k->role, "controller") == 0;
}


/* --- its life ------------------------------------------------------------- */

static int
kubernetes_open(kubernetes_t *k, bk_err_t *err)
{
    k8s_conf_t  *conf;

    if (k->k8s != NULL) {
        return 0;
    }

    if (kubernetes_conf(k, &conf, err) != 0) {
        return -1;
    }

    k->k8s = k8s_new(k->host, conf);

    if (k->nnamespaces == 0
        && kubernetes_namespace(k, k8s_conf_namespace(conf), err) != 0)
    {
        k8s_free(&k->k8s);
        return bk_err_prefix(err, "namespace of the kubeconfig");
    }

    if (kubernetes_controller(k)) {
        kubernetes_fill(k);
    }

    return 0;
}


/* What was left empty. */

static void
kubernetes_fill(kubernetes_t *k)
{
    const char  *pod = getenv("POD_NAME");
    ct_conf_t   *c = &k->conf;

    c->namespace = kubernetes_strdup(k8s_conf_namespace(k8s_conf(k->k8s)));
    c->pod = kubernetes_strdup(pod != NULL ? pod : "");

    /* nobody to take them from */
    if (c->pod[0] == '\0') {
        kubernetes_image(&c->gateway_image, "buildkit-gateway/gateway");
        kubernetes_image(&c->companion_image, "buildkit-gateway/controller");
    }

    if (c->controller_url[0] == '\0') {
        free(c->controller_url);

        if (asprintf(&c->controller_url, "http://buildkit-controller-api."
                     "%s.svc:8082", c->namespace)
            < 0)
        {
            abort();
        }
    }
}


static void
kubernetes_image(char **at, const char *image)
{
    if ((*at)[0] == '\0') {
        free(*at);
        *at = kubernetes_strdup(image);
    }
}


static int
kubernetes_prepare(void *ctx, bk_err_t *err)
{
    kubernetes_t  *k = ctx;

    if (!kubernetes_controller(k)) {
        k->host->prepared(k->host, NULL);
        return 0;
    }

    if (kubernetes_open(k, err) != 0) {
        return -1;
    }

    return ct_state_prepare(k->host, k->k8s, &k->conf, &k->state);
}


static int
kubernetes_start(void *ctx, bk_err_t *err)
{
    kubernetes_t  *k = ctx;

    if (kubernetes_open(k, err) != 0) {
        return -1;
    }

    k->host->log(k->host, BK_LOG_INFO, "API server %s, as %s",
                 k8s_conf_server(k8s_conf(k->k8s)), k->role);

    if (!kubernetes_controller(k)) {
        k->gw = gw_new(k->host, k->k8s, k->namespaces, k->nnamespaces);

        if (k->ing_conf.class_name[0] != '\0') {
            gw_wait(k->gw, 1);
            k->ing = ing_new(k->host, k->k8s, &k->ing_conf, k->namespaces,
                             k->nnamespaces, kubernetes_names, k);
        }

        return 0;
    }

    k->ct = ct_new(k->host, k->k8s, &k->conf, k->namespaces, k->nnamespaces);
    k->ct->state = k->state;
    ct_state_run(k->state, k->ct);
    k->oidc = ct_oidc_new(k->ct);
    k->api = ct_api_new(k->ct);

    return 0;
}


static void
kubernetes_stop(void *ctx)
{
    kubernetes_t  *k = ctx;

    if (k->ct != NULL) {
        ct_stop(k->ct, kubernetes_end, k);

    } else if (k->ing != NULL) {
        ing_stop(k->ing, kubernetes_end, k);

    } else {
        kubernetes_end(k);
    }
}


static void
kubernetes_names(void *data)
{
    gw_wait(((kubernetes_t *) data)->gw, 0);
}


/* Whoever says so may have been called by the client, which goes, too. */

static void
kubernetes_end(void *data)
{
    kubernetes_t  *k = data;

    if (k->end == NULL) {
        k->end = k->host->timer_new(k->host, kubernetes_stopped, k);
    }

    k->host->timer_set(k->end, 0);
}


static void
kubernetes_stopped(void *data)
{
    kubernetes_t  *k = data;

    k->host->timer_free(&k->end);
    ing_free(&k->ing);
    gw_free(&k->gw);
    ct_api_free(&k->api);
    ct_oidc_free(&k->oidc);
    ct_free(&k->ct);
    ct_state_free(&k->state);
    k8s_free(&k->k8s);
    k->host->stopped(k->host);
}


static void
kubernetes_destroy(void *ctx)
{
    kubernetes_t  *k = ctx;

    ing_free(&k->ing);
    gw_free(&k->gw);
    ct_api_free(&k->api);
    ct_oidc_free(&k->oidc);
    ct_free(&k->ct);
    ct_state_free(&k->state);
    k8s_free(&k->k8s);

    if (k->end != NULL) {
        k->host->timer_free(&k->end);
    }

    kubernetes_options_free(k);
    free(k);
}


static void
kubernetes_stats(void *ctx, bk_stat_pt fn, void *data)
{
    kubernetes_t  *k = ctx;

    if (k->gw != NULL) {
        gw_stats(k->gw, fn, data);

        if (k->ing != NULL) {
            ing_stats(k->ing, fn, data);
        }

    } else if (k->ct != NULL) {
        ct_stats(k->ct, fn, data);
    }
}
