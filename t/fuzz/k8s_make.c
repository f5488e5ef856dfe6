/*
 * FUZZ_SOURCES: plugin-host/plugins/kubernetes/mk.c
 *     plugin-host/plugins/kubernetes/mk_front.c
 *     plugin-host/plugins/kubernetes/mk_gateway.c
 *     plugin-host/plugins/kubernetes/mk_notes.c
 *     plugin-host/plugins/kubernetes/mk_pod.c
 *     plugin-host/plugins/kubernetes/mk_policy.c
 *     plugin-host/plugins/kubernetes/mk_secret.c
 *     plugin-host/plugins/kubernetes/mk_service.c
 *     plugin-host/plugins/kubernetes/mk_template.c
 *     plugin-host/plugins/kubernetes/mk_toml.c
 *     plugin-host/plugins/kubernetes/mk_worker.c
 *     plugin-host/plugins/kubernetes/obj.c
 *     plugin-host/src/err.c
 * FUZZ_CFLAGS: -Iplugin-host/plugins/kubernetes
 * FUZZ_LIBS: -ljansson -lcrypto
 */

/*
 * Pools with anything in them: what is made is an object with a reason or a
 * name, a Pod has nothing that a pool's author may not give it, buildkitd.toml
 * has only the lines that are ours, and a list of names only names.
 */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mk.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_made(json_t *obj, const bk_err_t *err);
static void fuzz_pod(json_t *pod);
static void fuzz_policy(json_t *meta);
static void fuzz_only(json_t *obj, const char *const *keys);
static void fuzz_toml(const char *toml);
static void fuzz_worker(json_t *pool, const ct_conf_t *conf);
static void fuzz_gateway(json_t *pool, const ct_conf_t *conf);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t     *pool;
    ct_conf_t   conf = {
        .namespace = (char *) "system",
        .gateway_image = (char *) "gateway",
        .companion_image = (char *) "companion",
        .buildkit_image = (char *) "buildkit:1"
    };

    pool = json_loadb((const char *) data, size, JSON_REJECT_DUPLICATES, NULL);

    if (pool != NULL) {
        fuzz_worker(pool, &conf);
        fuzz_gateway(pool, &conf);
        json_decref(pool);
    }

    return 0;
}


static void
fuzz_worker(json_t *pool, const ct_conf_t *conf)
{
    char         *toml, hash[17];
    json_t       *pod, *map;
    bk_err_t      err = { .code = 0 };
    mk_worker_t   w = { .name = "a-0", .uid = "u", .claim = "cache-a-0",
                        .secret = "s", .config = "c", .hash = "h" };

    fuzz_made(mk_worker(pool, &w), &err);
    fuzz_made(mk_claim(pool, &w, &err), &err);
    fuzz_made(mk_budget(pool, &w), &err);

    toml = mk_toml(pool, conf, &err);

    if (toml != NULL && mk_spec_text(pool, NULL, "buildkitConfig", NULL)
        == NULL)
    {
        fuzz_toml(toml);
    }

    map = toml != NULL ? mk_toml_map(pool, toml) : NULL;
    free(toml);
    fuzz_made(map, &err);

    pod = mk_pod(pool, conf, &w, &err);

    if (pod != NULL) {
        mk_hash(pod, hash);
        assert(strlen(hash) == 16);
        fuzz_pod(json_object_get(pod, "spec"));
        assert(strcmp(obj_text(json_object_get(json_object_get(pod,
               "metadata"), "labels"), OBJ_LABEL_WORKER), "a-0") == 0);
        fuzz_policy(json_object_get(pod, "metadata"));
        assert(!json_is_true(json_object_get(json_object_get(json_array_get(
               json_object_get(json_object_get(pod, "spec"), "containers"), 0),
               "securityContext"), "privileged")));
    }

    fuzz_made(pod, &err);
}


static void
fuzz_gateway(json_t *pool, const ct_conf_t *conf)
{
    char      *names, notes[64];
    json_t    *obj;
    bk_err_t   err = { .code = 0 };

    assert((mk_notes(pool, conf, notes, sizeof(notes)) > 0)
           == (notes[0] != '\0'));
    obj = mk_deployment(pool, conf, "h", &err);

    if (obj != NULL) {
        fuzz_pod(json_object_get(json_object_get(json_object_get(obj, "spec"),
                                                 "template"), "spec"));
        fuzz_policy(json_object_get(json_object_get(json_object_get(obj,
                    "spec"), "template"), "metadata"));
    }

    fuzz_made(obj, &err);
    obj = mk_service(pool, conf, &err);
    fuzz_policy(json_object_get(obj, "metadata"));
    fuzz_made(obj, &err);
    fuzz_made(mk_gateway_budget(pool), &err);

    obj = mk_ingress(pool, conf, &err);
    fuzz_policy(json_object_get(obj, "metadata"));
    if (obj != NULL || err.code != 0) {
        fuzz_made(obj, &err);
    }

    obj = mk_gateway_api(pool, conf, &err);
    fuzz_policy(json_object_get(obj, "metadata"));
    if (obj != NULL || err.code != 0) {
        fuzz_made(obj, &err);
    }

    obj = mk_tlsroute(pool, conf, &err);
    if (obj != NULL || err.code != 0) {
        fuzz_made(obj, &err);
    }

    names = mk_gateway_names(pool, "10.0.0.1,x");
    assert(strspn(names, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                  "0123456789.-_:*,") == strlen(names));
    fuzz_made(mk_certificate(pool, "s", names, "server", &err), &err);
    free(names);
}


static void
fuzz_made(json_t *obj, const bk_err_t *err)
{
    char  *text;

    if (obj == NULL) {
        assert(err->code >= 400 && err->reason[0] != '\0'
               && err->text[0] != '\0');
        return;
    }

    text = json_dumps(obj, 0);
    assert(text != NULL);
    free(text);
    assert(json_is_object(json_object_get(obj, "metadata")));
    json_decref(obj);
}


static void
fuzz_pod(json_t *spec)
{
    size_t   i;
    json_t  *c;

    static const char *const  fields[] = { "restartPolicy",
        "automountServiceAccountToken", "enableServiceLinks",
        "terminationGracePeriodSeconds", "containers", "initContainers",
        "volumes", "securityContext", "nodeSelector", "tolerations",
        "affinity", "topologySpreadConstraints", "priorityClassName",
        "runtimeClassName", "schedulerName", "imagePullSecrets",
        "serviceAccountName", NULL };
    static const char *const  volumes[] = { "name", "emptyDir", "configMap",
        "secret", "persistentVolumeClaim", "projected", NULL };

    fuzz_only(spec, fields);
    assert(json_is_false(json_object_get(spec,
                                         "automountServiceAccountToken")));
    assert(obj_text(spec, "serviceAccountName")[0] == '\0'
           || strcmp(obj_text(spec, "serviceAccountName"), "buildkit-gateway")
              == 0);
    assert(json_array_size(json_object_get(spec, "containers")) == 1);

    json_array_foreach(json_object_get(spec, "volumes"), i, c) {
        fuzz_only(c, volumes);
    }
}


/* without options: labels are ours, and annotations with a prefix are of
 * programs that were thought of */

static void
fuzz_policy(json_t *meta)
{
    size_t       n;
    json_t      *value;
    const char  *key;

    static const char *const  others[] = { "service.beta.kubernetes.io",
        "service.kubernetes.io", "cloud.google.com", "networking.gke.io",
        "load-balancer.hetzner.cloud", "loadbalancer.openstack.org",
        "metallb.io", "metallb.universe.tf",
        "external-dns.alpha.kubernetes.io", "prometheus.io",
        "cluster-autoscaler.kubernetes.io", "karpenter.sh", "sidecar.istio.io",
        "traffic.sidecar.istio.io", "linkerd.io", "kubernetes.io",
        "nginx.ingress.kubernetes.io", "haproxy.org",
        "haproxy-ingress.github.io", OBJ_GROUP, NULL };

    json_object_foreach(json_object_get(meta, "labels"), key, value) {
        assert(strncmp(key, OBJ_GROUP "/", strlen(OBJ_GROUP "/")) == 0
               || strncmp(key, "app.kubernetes.io/", 18) == 0);
    }

    json_object_foreach(json_object_get(meta, "annotations"), key, value) {
        assert(strchr(key, '/') == NULL || strstr(key, "snippet") == NULL
               || strncmp(key, "nginx.", 6) != 0);

        for (n = 0; strchr(key, '/') != NULL; n++) {
            assert(others[n] != NULL);

            if (strlen(others[n]) == strcspn(key, "/")
                && strncmp(others[n], key, strlen(others[n])) == 0)
            {
                break;
            }
        }
    }
}


static void
fuzz_only(json_t *obj, const char *const *keys)
{
    size_t       i;
    json_t      *value;
    const char  *key;

    json_object_foreach(obj, key, value) {
        for (i = 0; keys[i] != NULL && strcmp(keys[i], key) != 0; i++) {
            /* void */
        }

        assert(keys[i] != NULL);
    }
}


static void
fuzz_toml(const char *toml)
{
    size_t  i;

    static const char *const  lines[] = { "\n", "[worker.oci]\n",
        "[worker.containerd]\n", "  enabled = ", "  gc = ",
        "  [[worker.oci.gcpolicy]]\n", "    all = true\n", "    filters = [",
        "    keepDuration = \"", "    keepBytes = \"", "    maxUsedSpace = \"",
        "    minFreeSpace = \"", "[registry.\"", "  http = true\n",
        "  insecure = true\n", NULL };

    assert(strncmp(toml, "# made of what the BuildKitPool says\n", 37) == 0);

    while ((toml = strchr(toml, '\n')) != NULL && *++toml != '\0') {
        for (i = 0; lines[i] != NULL
             && strncmp(toml, lines[i], strlen(lines[i])) != 0; i++)
        {
            /* void */
        }

        assert(lines[i] != NULL);
    }
}
