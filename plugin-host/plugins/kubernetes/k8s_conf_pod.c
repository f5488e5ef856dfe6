/*
 * Where the API server is, and who we are, in a Pod: what the kubelet gives
 * it.  See k8s.h.
 *
 * https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "bk_slurp.h"
#include "k8s_conf.h"


static int k8s_conf_pod_namespace(k8s_conf_t *c, const char *dir,
    bk_err_t *err);


int
k8s_conf_pod(k8s_conf_t **conf, const char *dir, const char *host,
    const char *port, bk_err_t *err)
{
    int          n, v6 = strchr(host, ':') != NULL;
    char        *url;
    k8s_conf_t  *c;
    const char  *bad;

    *conf = c = k8s_conf_new();

    n = asprintf(&url, "https://%s%s%s:%s", v6 ? "[" : "", host,
                 v6 ? "]" : "", port);
    if (n < 0
        || asprintf(&c->ca_file, "%s/ca.crt", dir) < 0
        || asprintf(&c->token_file, "%s/token", dir) < 0)
    {
        abort();
    }

    bad = k8s_conf_url(url, &c->server);
    free(url);

    if (bad != NULL) {
        bk_err_set(err, 400, "NoKubernetes", "KUBERNETES_SERVICE_HOST and "
                   "KUBERNETES_SERVICE_PORT are no address: what they make "
                   "%s", bad);

    } else if (k8s_conf_pod_namespace(c, dir, err) == 0
               && k8s_conf_check(c, err) == 0)
    {
        return 0;
    }

    k8s_conf_free(conf);

    return -1;
}


static int
k8s_conf_pod_namespace(k8s_conf_t *c, const char *dir, bk_err_t *err)
{
    char    *path, *text;
    size_t   len;

    if (asprintf(&path, "%s/namespace", dir) < 0) {
        abort();
    }

    text = bk_slurp(path, K8S_NAME_MAX, &len);

    if (text == NULL) {
        bk_err_set(err, 404, "NoKubernetes", "%s: %s", path, strerror(errno));
        free(path);
        return bk_err_hint(err, "the Pod needs its service account: "
                           "automountServiceAccountToken");
    }

    free(path);
    text[strcspn(text, " \r\n")] = '\0';

    if (text[0] == '\0') {
        strcpy(text, "default");
    }

    c->namespace = text;

    return 0;
}
