/*
 * What a pool may have by the administrator's word: the controller's options
 * privileged, annotations and labels.  Who may edit pools, and nothing else,
 * gets by one no more than this.
 *
 * Annotations are other programs' configuration: an ingress controller's
 * snippets, another network, an identity of the cloud.  So only those are let
 * through that are listed.  One without a prefix is nobody's but its author's
 * (so Kubernetes has it).
 *
 * Labels are how Services and NetworkPolicies find Pods: by a label of
 * somebody's choice a worker would get another Service's clients.
 */

#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "mk_int.h"


#define MK_LEFT_OUT_MAX  3      /* are named */


static int mk_policy_listed(const char *const *list, const char *name);
static int mk_policy_ours(const char *name, int label);
static void mk_policy_map(json_t *map, const ct_conf_t *conf, int labels,
    json_t *seen);


/* option annotations, where it is not given: of load balancers, DNS names,
 * numbers and autoscalers, and what passes TLS through */
static const char  *mk_policy_annotations[] = {
    "service.beta.kubernetes.io/",
    "service.kubernetes.io/",
    "cloud.google.com/load-balancer-type",
    "networking.gke.io/load-balancer-type",
    "load-balancer.hetzner.cloud/",
    "loadbalancer.openstack.org/",
    "metallb.io/",
    "metallb.universe.tf/",
    "external-dns.alpha.kubernetes.io/",
    "prometheus.io/",
    "cluster-autoscaler.kubernetes.io/",
    "karpenter.sh/do-not-disrupt",
    "sidecar.istio.io/inject",
    "traffic.sidecar.istio.io/",
    "linkerd.io/inject",
    "kubernetes.io/ingress.class",
    "nginx.ingress.kubernetes.io/ssl-passthrough",
    "nginx.ingress.kubernetes.io/backend-protocol",
    "haproxy.org/ssl-passthrough",
    "haproxy-ingress.github.io/ssl-passthrough",
    NULL
};


int
mk_allowed(json_t *pool, const ct_conf_t *conf, bk_err_t *err)
{
    if (strcmp(mk_spec_text(pool, "", "security", "mode", NULL), "privileged")
        != 0
        || (conf->privileged != NULL
            && mk_policy_listed((const char *const *) conf->privileged,
                                mk_ns(pool))))
    {
        return 0;
    }

    return bk_fail(err, 403, "PrivilegedNotAllowed", "security.mode rootless; "
                   "or the controller's option privileged with this namespace",
                   "pools of namespace %.63s may not be privileged: a build "
                   "that breaks out would be root on its node", mk_ns(pool));
}


int
mk_may_annotate(const ct_conf_t *conf, const char *name)
{
    const char *const  *list = mk_policy_annotations;

    if (mk_policy_ours(name, 0)) {
        return 0;
    }

    if (conf->annotations != NULL) {
        list = (const char *const *) conf->annotations;
    }

    return strchr(name, '/') == NULL || mk_policy_listed(list, name);
}


int
mk_may_label(const ct_conf_t *conf, const char *name)
{
    return !mk_policy_ours(name, 1) && conf->labels != NULL
           && mk_policy_listed((const char *const *) conf->labels, name);
}


/* the controller's own, whatever the options say */

static int
mk_policy_ours(const char *name, int label)
{
    return strncmp(name, OBJ_GROUP "/", strlen(OBJ_GROUP "/")) == 0
           || (label && strncmp(name, "app.kubernetes.io/",
                                strlen("app.kubernetes.io/")) == 0);
}


static int
mk_policy_listed(const char *const *list, const char *name)
{
    size_t  n;

    for ( /* void */ ; *list != NULL; list++) {
        n = strlen(*list);

        if (strcmp(*list, "*") == 0 || strcmp(*list, name) == 0
            || (n > 0 && (*list)[n - 1] == '/'
                && strncmp(*list, name, n) == 0))
        {
            return 1;
        }
    }

    return 0;
}


/* --- what is left out ----------------------------------------------------- */

int
mk_left_out(json_t *pool, const ct_conf_t *conf, int labels, char *buf,
    size_t size)
{
    int          n = 0;
    size_t       i, len;
    json_t      *v, *seen = json_object();
    const char  *name, *key = labels ? "labels" : "annotations";

    json_t  *maps[] = {
        mk_spec(pool, "podTemplate", "metadata", key, NULL),
        mk_spec(pool, "gateway", "podTemplate", "metadata", key, NULL),
        labels ? NULL : mk_spec(pool, "gateway", "ingress", key, NULL),
        labels ? NULL : mk_spec(pool, "gateway", "gatewayAPI", key, NULL),
        labels ? NULL : mk_spec(pool, "networking", key, NULL),
        labels ? NULL : mk_spec(pool, "networking", "external", key, NULL)
    };

    for (i = 0; i < sizeof(maps) / sizeof(maps[0]); i++) {
        mk_policy_map(maps[i], conf, labels, seen);
    }

    buf[0] = '\0';

    json_object_foreach(seen, name, v) {
        len = strlen(buf);

        if (n++ < MK_LEFT_OUT_MAX) {
            snprintf(buf + len, size - len, "%s%.100s", len > 0 ? ", " : "",
                     name);
        }
    }

    if (n > MK_LEFT_OUT_MAX) {
        len = strlen(buf);
        snprintf(buf + len, size - len, " and %d more", n - MK_LEFT_OUT_MAX);
    }

    json_decref(seen);

    return n;
}


static void
mk_policy_map(json_t *map, const ct_conf_t *conf, int labels, json_t *seen)
{
    json_t      *v;
    const char  *name;

    json_object_foreach(map, name, v) {
        if (!(labels ? mk_may_label(conf, name)
                     : mk_may_annotate(conf, name)))
        {
            mk_set(seen, name, json_true());
        }
    }
}
