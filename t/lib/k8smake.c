/*
 * Everything that the controller makes for a pool (plugins/kubernetes/mk*.c):
 * BuildKitPools on stdin, one JSON object after the other; for each a line of
 * JSON, {NAME: object or {"error": [code, reason, text]}, ...}.  The worker is
 * POOL-0; uids are made up.
 *
 *     k8smake NAMESPACE GATEWAY_IMAGE COMPANION_IMAGE BUILDKIT_IMAGE
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../plugin-host/plugins/kubernetes/mk.h"


#define MAKE_UID  "11111111-1111-4111-8111-111111111111"


static json_t  *out;


static void
made(const char *name, const char *api, const char *kind, json_t *obj,
    const bk_err_t *err)
{
    if (obj == NULL && err->code == 0) {
        return;                                 /* not asked for */
    }

    if (obj == NULL) {
        obj = json_pack("{s:[i, s, s]}", "error", err->code, err->reason,
                        err->text);

    } else {
        json_object_set_new(obj, "apiVersion", json_string(api));
        json_object_set_new(obj, "kind", json_string(kind));
    }

    if (obj == NULL || json_object_set_new(out, name, obj) != 0) {
        abort();
    }
}


static void
make_worker(json_t *pool, const ct_conf_t *conf)
{
    char         *toml, name[300], claim[320], secret[320], hash[17];
    json_t       *pod, *obj;
    bk_err_t      err = { .code = 0 };
    mk_worker_t   w = { .pool_ns = mk_ns(pool), .uid = MAKE_UID };

    snprintf(name, sizeof(name), "%s-0", mk_name(pool));
    snprintf(claim, sizeof(claim), "cache-%s", name);
    snprintf(secret, sizeof(secret), "%s-worker-tls", mk_name(pool));
    w.name = name;
    w.claim = claim;
    w.secret = json_is_false(mk_spec(pool, "tls", "enabled", NULL)) ? NULL
                                                                  : secret;

    obj = mk_claim(pool, &w, &err);
    made("claim", "v1", "PersistentVolumeClaim", obj, &err);
    w.claim = obj != NULL ? claim : NULL;

    toml = mk_toml(pool, conf, &err);
    obj = toml != NULL ? mk_toml_map(pool, toml) : NULL;
    made("toml", "v1", "ConfigMap", obj, &err);
    w.config = obj != NULL
               ? json_string_value(json_object_get(json_object_get(obj,
                                                   "metadata"), "name"))
               : NULL;
    free(toml);

    pod = mk_pod(pool, conf, &w, &err);

    if (pod != NULL) {
        mk_hash(pod, hash);
        json_decref(pod);
        w.hash = hash;
        pod = mk_pod(pool, conf, &w, &err);
    }

    made("pod", "v1", "Pod", pod, &err);
    made("budget", "policy/v1", "PodDisruptionBudget", mk_budget(pool, &w),
         NULL);
    made("worker", OBJ_GROUP "/v1alpha1", "BuildKitWorker",
         mk_worker(pool, &w), NULL);
}


static void
make_gateway(json_t *pool, const ct_conf_t *conf)
{
    char        *names;
    json_t      *obj;
    bk_err_t     err = { .code = 0 };
    bk_str_t     pem = BK_STR("none");
    const char  *ns = mk_ns(pool);

    obj = mk_deployment(pool, conf, "0123456789abcdef", &err);
    made("deployment", "apps/v1", "Deployment", obj, &err);
    obj = mk_service(pool, conf, &err);
    made("service", "v1", "Service", obj, &err);
    made("gatewayBudget", "policy/v1", "PodDisruptionBudget",
         mk_gateway_budget(pool), NULL);
    made("account", "v1", "ServiceAccount", mk_account(ns), NULL);
    made("rolebinding", "rbac.authorization.k8s.io/v1", "RoleBinding",
         mk_rolebinding(ns), NULL);
    made("config", "v1", "ConfigMap", mk_gateway_config(ns, "n", "y"), NULL);

    obj = mk_ingress(pool, conf, &err);
    made("ingress", "networking.k8s.io/v1", "Ingress", obj, &err);
    obj = mk_gateway_api(pool, conf, &err);
    made("gateway", "gateway.networking.k8s.io/v1", "Gateway", obj, &err);
    obj = mk_tlsroute(pool, conf, &err);
    made("tlsroute", "gateway.networking.k8s.io/v1alpha2", "TLSRoute", obj,
         &err);

    made("serverSecret", "v1", "Secret",
         mk_tls_secret(pool, "any-tls", "tls", pem, pem, pem), NULL);
    made("clientSecret", "v1", "Secret",
         mk_tls_secret(pool, "any-client-certs", "client", pem, pem, pem),
         NULL);

    if (mk_spec(pool, "tls", "certManager", NULL) != NULL) {
        names = mk_gateway_names(pool, "10.0.0.1");
        obj = mk_certificate(pool, "any-issued", names, "server", &err);
        made("certificate", "cert-manager.io/v1", "Certificate", obj, &err);
        free(names);
    }
}


int
main(int argc, char **argv)
{
    char          *all[] = { (char *) "*", NULL };
    json_t        *pool;
    ct_conf_t      conf;
    json_error_t   error;

    if (argc != 5) {
        fprintf(stderr, "usage: k8smake NAMESPACE GATEWAY COMPANION "
                "BUILDKIT\n");
        return 2;
    }

    memset(&conf, 0, sizeof(conf));
    conf.privileged = conf.labels = all;
    conf.scratch_size = (char *) "50Gi";
    conf.namespace = argv[1];
    conf.gateway_image = argv[2];
    conf.companion_image = argv[3];
    conf.buildkit_image = argv[4];

    for ( ;; ) {
        pool = json_loadf(stdin, JSON_DISABLE_EOF_CHECK, &error);

        if (pool == NULL) {
            if (feof(stdin)) {
                return 0;
            }

            fprintf(stderr, "%s\n", error.text);
            return 1;
        }

        out = json_object();
        make_worker(pool, &conf);
        make_gateway(pool, &conf);
        json_dumpf(out, stdout, JSON_SORT_KEYS | JSON_COMPACT);
        printf("\n");
        json_decref(out);
        json_decref(pool);
    }
}
