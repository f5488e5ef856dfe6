/*
 * How the objects look that the controller makes: a BuildKitPool (its JSON)
 * and few facts in, a manifest out, which the caller owns.  Nothing here knows
 * the host, the API server or what is there already.
 *
 * apiVersion and kind are filled in by whoever sends them (k8s.h).  Every
 * object has our labels, and what a pool or worker owns its ownerReference.
 * Names that others rely on: k8s/README.md.
 */

#ifndef MK_H_INCLUDED
#define MK_H_INCLUDED

#include <jansson.h>

#include "bk_plugin.h"
#include "ct.h"


/* of what is made: mk_hash(), or whatever its maker compares */
#define MK_ANNOTATION_HASH  OBJ_GROUP "/spec-hash"

/* NULL with *err: the pool asks for what cannot be (its condition says so). */

/* --- a worker (mk_pod.c, mk_toml.c) --------------------------------------- */

typedef struct {
    const char  *pool_ns;
    const char  *name;          /* POOL-N; of object and Pod */
    const char  *uid;           /* of its BuildKitWorker */
    const char  *secret;        /* TLS of buildkitd; NULL: none (no TLS) */
    const char  *config;        /* ConfigMap with buildkitd.toml, or NULL */
    const char  *claim;         /* its cache, or NULL: emptyDir */
    const char  *hash;          /* of what the Pod depends on, MK_ANNOTATION_
                                   HASH, by which one that is out of date is
                                   seen; NULL or "": none */
} mk_worker_t;

/* spec without allocation: create */
json_t *mk_worker(json_t *pool, const mk_worker_t *w);
json_t *mk_pod(json_t *pool, const ct_conf_t *conf, const mk_worker_t *w,
    bk_err_t *err);
json_t *mk_claim(json_t *pool, const mk_worker_t *w, bk_err_t *err);
/* while it is busy */
json_t *mk_budget(json_t *pool, const mk_worker_t *w);
/* buildkitd.toml; to be freed.  It says nothing of TLS, which is in the Pod's
 * arguments */
char *mk_toml(json_t *pool, const ct_conf_t *conf, bk_err_t *err);
json_t *mk_toml_map(json_t *pool, const char *toml);
/* SHA-256 (first 16 hex) of the Pod as it is now asked for: labels,
 * annotations (without that hash) and spec */
void mk_hash(json_t *pod, char buf[17]);

/* --- a gateway (mk_gateway.c, mk_service.c, mk_front.c) ------------------- */

/* names: POOL-gateway, POOL (Service), POOL-tls, POOL-client-certs,
 * POOL-worker-tls, POOL-buildkitd (ConfigMap), buildkit-gateway (account,
 * RoleBinding, ConfigMap buildkit-gateway-config) */
json_t *mk_deployment(json_t *pool, const ct_conf_t *conf, const char *hash,
    bk_err_t *err);
json_t *mk_service(json_t *pool, const ct_conf_t *conf, bk_err_t *err);
/* ClusterIP, NodePort or LoadBalancer; and its port */
const char *mk_service_type(json_t *pool);
int mk_port(json_t *pool);
/* the name that its gateway has outside; "" where there is none, or it is
 * switched off */
const char *mk_external(json_t *pool);
json_t *mk_gateway_budget(json_t *pool);
json_t *mk_account(const char *ns);
json_t *mk_rolebinding(const char *ns);
json_t *mk_gateway_config(const char *ns, const char *nginx_conf,
    const char *gateway_yaml);
/* TLS passed through; NULL with err->code 0: not asked for */
typedef json_t *(*mk_front_pt)(json_t *pool, const ct_conf_t *conf,
    bk_err_t *err);
json_t *mk_ingress(json_t *pool, const ct_conf_t *conf, bk_err_t *err);
/* the Gateway, of gatewayAPI.gatewayName or POOL-gateway; not asked for where
 * the pool names one that is there (gatewayRef) */
json_t *mk_gateway_api(json_t *pool, const ct_conf_t *conf, bk_err_t *err);
json_t *mk_tlsroute(json_t *pool, const ct_conf_t *conf, bk_err_t *err);

/* --- what it says (mk_notes.c) -------------------------------------------- */

/* what of a pool has no effect, as a text for people ("a; b"); how many */
int mk_notes(json_t *pool, const ct_conf_t *conf, char *buf, size_t size);

/* --- what it may have (mk_policy.c) --------------------------------------- */

/* 403 PrivilegedNotAllowed: by the controller's options.  mk_pod() asks, too. */
int mk_allowed(json_t *pool, const ct_conf_t *conf, bk_err_t *err);

/* --- certificates (mk_secret.c) ------------------------------------------- */

/* tls.crt, tls.key, ca.crt; prefix: "tls" or "client" (.crt, .key) */
json_t *mk_tls_secret(json_t *pool, const char *name, const char *prefix,
    bk_str_t cert, bk_str_t key, bk_str_t ca);
/* its authority: ca.crt, and ca.key (empty: not that) */
json_t *mk_authority_secret(json_t *pool, const char *name, bk_str_t cert,
    bk_str_t key);
/* the host names that it asks for: of ingress, gatewayAPI, external; "" where
 * that is switched off or has none */
#define MK_HOSTS  3
void mk_hosts(json_t *pool, const char *hosts[MK_HOSTS]);
/* is that a name of something else inside of the cluster, which no pool may
 * have in its certificate?  Names of Services of the pool's own namespace are
 * none */
int mk_host_inside(json_t *pool, const char *host);
/* DNS names and addresses of its gateway, comma-separated; to be freed:
 * POOL, POOL.NS, POOL.NS.svc, POOL.NS.svc.cluster.local, localhost,
 * 127.0.0.1, hosts of ingress, gatewayAPI and external, and extra (load
 * balancers' addresses, comma-separated, or NULL) */
char *mk_gateway_names(json_t *pool, const char *extra);
/* "WORKER.POOL.NS.workers.buildkit.internal"; worker "*": of all */
char *mk_worker_tls_name(const char *ns, const char *pool,
    const char *worker);
/* cert-manager: a Certificate that fills the Secret of that name; usage
 * "server" or "client" */
json_t *mk_certificate(json_t *pool, const char *secret, const char *names,
    const char *usage, bk_err_t *err);

/* --- parts (mk.c) --------------------------------------------------------- */

/* metadata with labels app.kubernetes.io/..., pool and purpose (NULL: none) */
json_t *mk_meta(json_t *pool, const char *name, const char *purpose);
/* controller: 1: its controller, and blockOwnerDeletion */
void mk_owned(json_t *obj, const char *api, const char *kind,
    const char *name, const char *uid, int controller);
const char *mk_ns(json_t *pool);
const char *mk_name(json_t *pool);
/* spec.A.B..., or NULL */
json_t *mk_spec(json_t *pool, ...) __attribute__((sentinel));
const char *mk_spec_text(json_t *pool, const char *otherwise, ...)
    __attribute__((sentinel));
/* a quantity as "500m", "1Gi" or 2; -1: it is none, or too large */
double mk_quantity(json_t *value);

#endif /* MK_H_INCLUDED */
