/*
 * Where the API server is, and who we are, by a kubeconfig.  See k8s.h.
 *
 * https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/ has the
 * fields; of two that mean the same, the one wins that does with kubectl:
 * data before files, tokenFile before token, and files are relative to the
 * kubeconfig's folder.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "k8s_conf.h"


#define K8S_POD_DIR  "/var/run/secrets/kubernetes.io/serviceaccount"


static char *k8s_conf_first(void);
static int k8s_conf_choose(k8s_conf_t *c, const k8s_file_t *f,
    const char *context, bk_err_t *err);
static int k8s_conf_cluster(k8s_conf_t *c, const k8s_file_t *f,
    const char *name, bk_err_t *err);
static int k8s_conf_user(k8s_conf_t *c, const k8s_file_t *f,
    const char *name, bk_err_t *err);
static char *k8s_conf_path(const k8s_file_t *f, const char *path);
static char *k8s_conf_strdup(const char *s);
static void k8s_conf_wipe(bk_str_t *s);


int
k8s_conf_load(k8s_conf_t **conf, const char *kubeconfig, const char *context,
    bk_err_t *err)
{
    int          rc;
    char        *found = NULL;
    const char  *host, *port;
    k8s_file_t   f;

    *conf = NULL;

    if (kubeconfig == NULL) {
        kubeconfig = found = k8s_conf_first();
    }

    if (kubeconfig == NULL) {
        host = getenv("KUBERNETES_SERVICE_HOST");
        port = getenv("KUBERNETES_SERVICE_PORT");

        if (host == NULL || port == NULL) {
            return bk_fail(err, 404, "NoKubernetes", "set the option "
                           "kubeconfig, or run it in a Pod", "there is no "
                           "kubeconfig, and this is no Pod");
        }

        return k8s_conf_pod(conf, K8S_POD_DIR, host, port, err);
    }

    rc = k8s_file_read(&f, kubeconfig, err);

    if (rc == 0) {
        *conf = k8s_conf_new();
        rc = k8s_conf_choose(*conf, &f, context, err);
        k8s_file_free(&f);
    }

    if (rc == 0) {
        rc = k8s_conf_check(*conf, err);
    }

    if (rc != 0) {
        k8s_conf_free(conf);
    }

    free(found);

    return rc;
}


int
k8s_conf_parse(k8s_conf_t **conf, const char *file, const char *text,
    size_t len, const char *context, bk_err_t *err)
{
    int         rc;
    k8s_file_t  f;

    *conf = NULL;

    if (k8s_file_parse(&f, file, text, len, err) != 0) {
        return -1;
    }

    *conf = k8s_conf_new();
    rc = k8s_conf_choose(*conf, &f, context, err);
    k8s_file_free(&f);

    if (rc != 0) {
        k8s_conf_free(conf);
    }

    return rc;
}


/* $KUBECONFIG is a list like $PATH.  To be freed; NULL: none. */

static char *
k8s_conf_first(void)
{
    char        *path;
    size_t       len;
    const char  *list = getenv("KUBECONFIG");

    if (list == NULL) {
        return NULL;
    }

    list += strspn(list, ":");
    len = strcspn(list, ":");

    if (len == 0) {
        return NULL;
    }

    path = strndup(list, len);
    if (path == NULL) {
        abort();
    }

    return path;
}


static int
k8s_conf_choose(k8s_conf_t *c, const k8s_file_t *f, const char *context,
    bk_err_t *err)
{
    unsigned            i;
    const k8s_doc_t    *doc = f->doc;
    const k8s_which_t  *w;

    if (context == NULL) {
        context = doc->current;
    }

    if (context == NULL || context[0] == '\0') {
        bk_err_set(err, 400, "BadKubeconfig", "%s: it has no "
                   "current-context", f->path);
        return bk_err_hint(err, "set the option context");
    }

    for (i = 0; i < doc->contexts_count; i++) {
        if (strcmp(doc->contexts[i].name, context) == 0) {
            break;
        }
    }

    if (i == doc->contexts_count) {
        return bk_err_set(err, 404, "NoContext", "%s: there is no context "
                          "\"%.200s\"", f->path, context);
    }

    w = &doc->contexts[i].context;

    c->namespace = k8s_conf_strdup(w->namespace != NULL && w->namespace[0]
                                   ? w->namespace : "default");

    if (k8s_conf_cluster(c, f, w->cluster, err) != 0) {
        return -1;
    }

    if (w->user != NULL && w->user[0] != '\0') {
        return k8s_conf_user(c, f, w->user, err);
    }

    return 0;
}


static int
k8s_conf_cluster(k8s_conf_t *c, const k8s_file_t *f, const char *name,
    bk_err_t *err)
{
    char                  at[64];
    unsigned              i;
    const char           *bad;
    const k8s_doc_t      *doc = f->doc;
    const k8s_cluster_t  *cluster;

    for (i = 0; i < doc->clusters_count; i++) {
        if (strcmp(doc->clusters[i].name, name) == 0) {
            break;
        }
    }

    if (i == doc->clusters_count) {
        return bk_err_set(err, 404, "NoCluster", "%s: there is no cluster "
                          "\"%.200s\"", f->path, name);
    }

    cluster = &doc->clusters[i].cluster;

    snprintf(at, sizeof(at), "clusters.%u.cluster", i);

    if (k8s_file_refused(f, at, "proxy-url", err) != 0) {
        return -1;
    }

    if (cluster->insecure) {
        snprintf(at, sizeof(at), "clusters.%u.cluster."
                 "insecure-skip-tls-verify", i);
        bk_yaml_err(f->yaml, err, at, "is refused: who can answer in the API "
                    "server's place would decide who gets which worker");
        return bk_err_hint(err, "give its authority in "
                           "certificate-authority-data");
    }

    bad = k8s_conf_url(cluster->server, &c->server);

    if (bad != NULL) {
        snprintf(at, sizeof(at), "clusters.%u.cluster.server", i);
        return bk_yaml_err(f->yaml, err, at, "%s", bad);
    }

    if (cluster->server_name != NULL && cluster->server_name[0] != '\0') {
        c->server_name = k8s_conf_strdup(cluster->server_name);
    }

    if (cluster->ca_data != NULL && cluster->ca_data[0] != '\0') {
        snprintf(at, sizeof(at), "clusters.%u.cluster."
                 "certificate-authority-data", i);
        return k8s_conf_data(f, at, cluster->ca_data, &c->ca, err);
    }

    c->ca_file = k8s_conf_path(f, cluster->ca);

    return 0;
}


static int
k8s_conf_user(k8s_conf_t *c, const k8s_file_t *f, const char *name,
    bk_err_t *err)
{
    char               at[64];
    size_t             n;
    unsigned           i;
    const char *const *key;
    const k8s_doc_t   *doc = f->doc;
    const k8s_user_t  *user;

    static const char *const  refused[] = {
        "exec", "auth-provider", "username", "password", "as", "as-uid",
        "as-groups", "as-user-extra", NULL
    };

    for (i = 0; i < doc->users_count; i++) {
        if (strcmp(doc->users[i].name, name) == 0) {
            break;
        }
    }

    if (i == doc->users_count) {
        return bk_err_set(err, 404, "NoUser", "%s: there is no user "
                          "\"%.200s\"", f->path, name);
    }

    user = &doc->users[i].user;
    n = (size_t) snprintf(at, sizeof(at), "users.%u.user", i);

    for (key = refused; *key != NULL; key++) {
        if (k8s_file_refused(f, at, *key, err) != 0) {
            return -1;
        }
    }

    if (user->cert_data != NULL && user->cert_data[0] != '\0') {
        strcpy(at + n, ".client-certificate-data");

        if (k8s_conf_data(f, at, user->cert_data, &c->cert, err) != 0) {
            return -1;
        }

    } else {
        c->cert_file = k8s_conf_path(f, user->cert);
    }

    if (user->key_data != NULL && user->key_data[0] != '\0') {
        strcpy(at + n, ".client-key-data");

        if (k8s_conf_data(f, at, user->key_data, &c->key, err) != 0) {
            return -1;
        }

    } else {
        c->key_file = k8s_conf_path(f, user->key);
    }

    at[n] = '\0';

    if ((c->cert.len > 0 || c->cert_file != NULL)
        != (c->key.len > 0 || c->key_file != NULL))
    {
        return bk_yaml_err(f->yaml, err, at, "a client certificate needs its "
                           "key, and a key its certificate");
    }

    c->token_file = k8s_conf_path(f, user->token_file);

    if (c->token_file == NULL && user->token != NULL
        && user->token[0] != '\0')
    {
        c->token = k8s_conf_strdup(user->token);
    }

    return 0;
}


/* NULL: none; else to be freed */

static char *
k8s_conf_path(const k8s_file_t *f, const char *path)
{
    int          n;
    char        *full;
    const char  *slash = strrchr(f->path, '/');

    if (path == NULL || path[0] == '\0') {
        return NULL;
    }

    if (path[0] == '/' || slash == NULL) {
        return k8s_conf_strdup(path);
    }

    n = asprintf(&full, "%.*s%s", (int) (slash - f->path) + 1, f->path, path);
    if (n < 0) {
        abort();
    }

    return full;
}


void
k8s_conf_fill(const k8s_conf_t *c, bk_fetch_req_t *req)
{
    req->server_name = c->server_name;
    req->ca_file = c->ca_file;
    req->ca = c->ca;
    req->cert_file = c->cert_file;
    req->key_file = c->key_file;
    req->cert = c->cert;
    req->key = c->key;
    req->bearer_file = c->token_file;
    req->bearer = c->token;
}


const char *
k8s_conf_server(const k8s_conf_t *c)
{
    return c->server;
}


const char *
k8s_conf_namespace(const k8s_conf_t *c)
{
    return c->namespace;
}


k8s_conf_t *
k8s_conf_new(void)
{
    k8s_conf_t  *c = calloc(1, sizeof(k8s_conf_t));

    if (c == NULL) {
        abort();
    }

    return c;
}


void
k8s_conf_free(k8s_conf_t **conf)
{
    k8s_conf_t  *c = *conf;

    if (c == NULL) {
        return;
    }

    *conf = NULL;

    if (c->token != NULL) {
        explicit_bzero(c->token, strlen(c->token));
    }

    k8s_conf_wipe(&c->ca);
    k8s_conf_wipe(&c->cert);
    k8s_conf_wipe(&c->key);
    free(c->server);
    free(c->namespace);
    free(c->server_name);
    free(c->ca_file);
    free(c->cert_file);
    free(c->key_file);
    free(c->token_file);
    free(c->token);
    free(c);
}


static void
k8s_conf_wipe(bk_str_t *s)
{
    if (s->data != NULL) {
        explicit_bzero((char *) s->data, s->len);
        free((char *) s->data);
    }
}


static char *
k8s_conf_strdup(const char *s)
{
    char  *copy = strdup(s);

    if (copy == NULL) {
        abort();
    }

    return copy;
}
