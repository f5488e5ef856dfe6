/*
 * Where the API server is, and who we are (plugins/kubernetes/k8s_conf*.c):
 * good kubeconfigs, bad ones, what is refused by name, what a Pod is given.
 * What is secret is in no error.
 */

#include <assert.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../plugin-host/plugins/kubernetes/k8s_conf.c"
#include "../../plugin-host/plugins/kubernetes/k8s_conf_file.c"
#include "../../plugin-host/plugins/kubernetes/k8s_conf_pod.c"


#define HEAD    "current-context: a\n"                                        \
                "contexts: [{name: a, context: {cluster: c, user: u}}]\n"
#define CLUSTER "clusters: [{name: c, cluster: {server: \"https://kube\"}}]\n"
#define SECRET  "c2VjcmV0c2VjcmV0c2VjcmV0"


typedef struct {
    const char  *what;
    const char  *text;          /* @C@, @K@: certificate and key in base64 */
    const char  *error;         /* a part of it */
} case_t;


static const case_t  bad[] = {
    { "nothing", "", "f:1: is empty" },
    { "no mapping", "[]", "must be a mapping" },
    { "another file", "a: 1\n", "f:1: unknown key \"a\"" },
    { "half of it", "clusters: [", "f:2: did not find expected node" },
    { "no clusters", "contexts: []\n", "\"clusters\" is missing" },
    { "no current context", "contexts: []\n" CLUSTER, "no current-context" },
    { "a context that is not there", "current-context: x\ncontexts: []\n"
      CLUSTER, "no context \"x\"" },
    { "a cluster that is not there", HEAD "clusters: []\n",
      "no cluster \"c\"" },
    { "a user that is not there", HEAD CLUSTER "users: []\n",
      "no user \"u\"" },
    { "no users at all", HEAD CLUSTER, "no user \"u\"" },
    { "a key of nobody's", HEAD CLUSTER
      "users: [{name: u, user: {tokn: " SECRET "}}]\n",
      "f:4: users[0].user: unknown key \"tokn\", did you mean \"token\"?" },
    { "a token that is none", HEAD CLUSTER
      "users: [{name: u, user: {token: [" SECRET "]}}]\n",
      "f:4: users[0].user.token: must be a single value" },
    { "a token of two lines", HEAD CLUSTER
      "users: [{name: u, user: {token: \"" SECRET "\\n" SECRET "\"}}]\n",
      "has a control character" },
    { "http", HEAD "clusters: [{name: c, cluster: {server: \"http://k\"}}]\n",
      "f:3: clusters.0.cluster.server: must be https" },
    { "no URL", HEAD "clusters: [{name: c, cluster: {server: \"k\"}}]\n",
      "f:3: clusters.0.cluster.server: must be a URL" },
    { "a URL with a blank", HEAD
      "clusters: [{name: c, cluster: {server: \"https://a b\"}}]\n",
      "server: must be a URL" },
    { "a URL with a password", HEAD
      "clusters: [{name: c, cluster: {server: \"https://a:" SECRET "@k\"}}]\n",
      "server: must have no user" },
    { "a URL with a query", HEAD
      "clusters: [{name: c, cluster: {server: \"https://k/?a\"}}]\n",
      "server: must have no user, query" },
    { "no verification", HEAD
      "clusters: [{name: c, cluster: {server: \"https://k\",\n"
      "  insecure-skip-tls-verify: true}}]\n",
      "f:4: clusters.0.cluster.insecure-skip-tls-verify: is refused" },
    { "a proxy", HEAD
      "clusters: [{name: c, cluster: {server: \"https://k\",\n"
      "  proxy-url: \"http://p\"}}]\n",
      "f:4: clusters.0.cluster.proxy-url: is not supported here" },
    { "an authority that is no base64", HEAD
      "clusters: [{name: c, cluster: {server: \"https://k\",\n"
      "  certificate-authority-data: \"!!!!\"}}]\n",
      "f:4: clusters.0.cluster.certificate-authority-data: is no base64" },
    { "an authority that is no PEM", HEAD
      "clusters: [{name: c, cluster: {server: \"https://k\",\n"
      "  certificate-authority-data: aGVsbG8=}}]\n",
      "certificate-authority-data: has no certificate in it" },
    { "a key for an authority", HEAD
      "clusters: [{name: c, cluster: {server: \"https://k\",\n"
      "  certificate-authority-data: \"@K@\"}}]\n",
      "certificate-authority-data: has no certificate in it" },
    { "a program", HEAD CLUSTER "users:\n- name: u\n  user:\n    exec:\n"
      "      command: aws\n      args: [eks, " SECRET "]\n",
      "f:7: users.0.user.exec: is not supported here" },
    { "a provider", HEAD CLUSTER
      "users: [{name: u, user: {auth-provider: {name: gcp}}}]\n",
      "f:4: users.0.user.auth-provider: is not supported here" },
    { "a user name", HEAD CLUSTER
      "users: [{name: u, user: {username: a, password: " SECRET "}}]\n",
      "f:4: users.0.user.username: is not supported here" },
    { "a password", HEAD CLUSTER
      "users: [{name: u, user: {password: " SECRET "}}]\n",
      "f:4: users.0.user.password: is not supported here" },
    { "somebody else", HEAD CLUSTER
      "users: [{name: u, user: {token: " SECRET ", as: root}}]\n",
      "f:4: users.0.user.as: is not supported here" },
    { "somebody else's groups", HEAD CLUSTER
      "users: [{name: u, user: {token: " SECRET ", as-groups: [a]}}]\n",
      "f:4: users.0.user.as-groups: is not supported here" },
    { "a certificate without its key", HEAD CLUSTER
      "users: [{name: u, user: {client-certificate-data: \"@C@\"}}]\n",
      "f:4: users.0.user: a client certificate needs its key" },
    { "a key without its certificate", HEAD CLUSTER
      "users: [{name: u, user: {client-key: /key}}]\n",
      "f:4: users.0.user: a client certificate needs its key" },
    { "a key that is a certificate", HEAD CLUSTER
      "users: [{name: u, user: {client-certificate-data: \"@C@\",\n"
      "  client-key-data: \"@C@\"}}]\n",
      "f:5: users.0.user.client-key-data: has no private key in it" },
    { "an alias", "current-context: &a a\ncontexts: [{name: *a, context: "
      "{cluster: c}}]\n" CLUSTER, "aliases are not allowed" },
    { "two documents", HEAD CLUSTER "---\n{}\n", "a second document" }
};


static int    checks;
static char  *cert, *key;
static char   dir[] = "/tmp/bk-k8s-XXXXXX";


static void
ok(int good, const char *what)
{
    printf("%sok %d - %s\n", good ? "" : "not ", ++checks, what);
}


static char *
base64(BIO *bio)
{
    char  *data, *text;
    long   n = BIO_get_mem_data(bio, &data);

    text = malloc((size_t) n * 2 + 4);
    EVP_EncodeBlock((unsigned char *) text, (unsigned char *) data, (int) n);
    BIO_free(bio);

    return text;
}


static void
make_pair(void)
{
    BIO       *bio;
    X509      *x = X509_new();
    EVP_PKEY  *k = EVP_EC_gen("P-256");

    X509_set_pubkey(x, k);
    X509_gmtime_adj(X509_getm_notBefore(x), 0);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_sign(x, k, EVP_sha256());

    bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, x);
    cert = base64(bio);
    bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, k, NULL, NULL, 0, NULL, NULL);
    key = base64(bio);
    X509_free(x);
    EVP_PKEY_free(k);
}


static char *
filled(const char *text)
{
    char    *out;
    FILE    *f;
    size_t   len;

    f = open_memstream(&out, &len);

    for ( /* void */ ; *text != '\0'; text++) {
        if (strncmp(text, "@C@", 3) == 0 || strncmp(text, "@K@", 3) == 0) {
            fputs(text[1] == 'C' ? cert : key, f);
            text += 2;

        } else {
            fputc(*text, f);
        }
    }

    fclose(f);

    return out;
}


static int
parse(k8s_conf_t **c, const char *file, const char *text,
    const char *context, bk_err_t *err)
{
    int    rc;
    char  *out = filled(text);

    memset(err, 0, sizeof(bk_err_t));
    rc = k8s_conf_parse(c, file, out, strlen(out), context, err);
    free(out);

    return rc;
}


static void
test_bad(void)
{
    int            good;
    size_t         i;
    bk_err_t       err;
    k8s_conf_t    *c;
    const case_t  *b;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        b = &bad[i];
        good = parse(&c, "f", b->text, NULL, &err) == -1 && c == NULL
               && strncmp(err.text, "f:", 2) == 0
               && strstr(err.text, b->error) != NULL
               && strstr(err.text, SECRET) == NULL
               && strstr(err.hint, SECRET) == NULL;
        ok(good, b->what);

        if (!good) {
            printf("# %s (%s)\n", err.text, err.hint);
        }
    }
}


static int
same(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}


static void
test_good(void)
{
    char            *big;
    bk_err_t         err;
    k8s_conf_t      *c;
    bk_fetch_req_t   req;

    static const char  text[] =
        "apiVersion: v1\nkind: Config\npreferences: {}\nextensions: []\n"
        "current-context: data\n"
        "clusters:\n"
        "- name: files\n"
        "  cluster: {server: \"https://[::1]:6443/k8s/c-1//\",\n"
        "            certificate-authority: ca.crt,\n"
        "            tls-server-name: kubernetes, disable-compression: true,\n"
        "            insecure-skip-tls-verify: false, extensions: [{a: 1}]}\n"
        "- name: data\n"
        "  cluster: {server: https://kube.example:443,\n"
        "            certificate-authority: /not/used,\n"
        "            certificate-authority-data: \"@C@\"}\n"
        "- name: unused\n"
        "  cluster: {server: \"http://x\", insecure-skip-tls-verify: true,\n"
        "            proxy-url: \"http://p\"}\n"
        "users:\n"
        "- {name: unused, user: {exec: {command: aws}, as: root}}\n"
        "- {name: files, user: {client-certificate: tls/c.crt,\n"
        "                       client-key: /abs/c.key}}\n"
        "- {name: data, user: {client-certificate-data: \"@C@\",\n"
        "                      client-key-data: \"@K@\", client-key: /no}}\n"
        "- {name: token, user: {token: abc, tokenFile: \"\"}}\n"
        "- {name: both, user: {token: abc, tokenFile: run/token}}\n"
        "contexts:\n"
        "- {name: files, context: {cluster: files, user: files,\n"
        "                          namespace: team}}\n"
        "- {name: data, context: {cluster: data, user: data, namespace: ''}}\n"
        "- {name: token, context: {cluster: data, user: token}}\n"
        "- {name: both, context: {cluster: data, user: both}}\n"
        "- {name: nobody, context: {cluster: data}}\n"
        "- {name: unused, context: {cluster: unused, user: unused}}\n";

    ok(parse(&c, "/etc/kube/config", text, NULL, &err) == 0, "a kubeconfig");
    ok(same(k8s_conf_server(c), "https://kube.example:443"), "its server");
    ok(same(k8s_conf_namespace(c), "default"), "its namespace is default");
    memset(&req, 0, sizeof(req));
    k8s_conf_fill(c, &req);
    ok(req.ca.len > 100 && req.ca_file == NULL
       && strncmp(req.ca.data, "-----BEGIN CERTIFICATE-----\n", 28) == 0
       && req.ca.data[req.ca.len] == '\0' && req.ca.data[req.ca.len - 1]
       == '\n', "its authority, of data");
    ok(req.cert.len == req.ca.len && req.key.len > 100
       && req.key_file == NULL && req.cert_file == NULL
       && strncmp(req.key.data, "-----BEGIN PRIVATE KEY-----\n", 28) == 0,
       "the client certificate and its key, of data");
    ok(req.bearer == NULL && req.bearer_file == NULL
       && req.server_name == NULL, "and nothing else");
    k8s_conf_free(&c);
    ok(c == NULL, "which is freed");

    ok(parse(&c, "/etc/kube/config", text, "files", &err) == 0,
       "another context");
    memset(&req, 0, sizeof(req));
    k8s_conf_fill(c, &req);
    ok(same(k8s_conf_server(c), "https://[::1]:6443/k8s/c-1"),
       "a server below a path, without slashes at its end");
    ok(same(k8s_conf_namespace(c), "team"), "its namespace");
    ok(same(req.server_name, "kubernetes"), "the name to verify");
    ok(same(req.ca_file, "/etc/kube/ca.crt")
       && same(req.cert_file, "/etc/kube/tls/c.crt")
       && same(req.key_file, "/abs/c.key"),
       "files are in the kubeconfig's folder");
    k8s_conf_free(&c);

    ok(parse(&c, "config", text, "token", &err) == 0 && same(c->token, "abc")
       && c->token_file == NULL && c->cert.len == 0, "a token");
    k8s_conf_free(&c);
    ok(parse(&c, "config", text, "both", &err) == 0 && c->token == NULL
       && same(c->token_file, "run/token"), "a token's file comes first");
    k8s_conf_free(&c);
    ok(parse(&c, "config", text, "nobody", &err) == 0 && c->token == NULL,
       "nobody in particular");
    k8s_conf_free(&c);
    ok(parse(&c, "f", text, "unused", &err) == -1
       && strstr(err.text, "proxy-url") != NULL,
       "what is refused is, in the context that is used");

    big = calloc(1, K8S_FILE_MAX + 2);
    memset(big, ' ', K8S_FILE_MAX + 1);
    ok(parse(&c, "f", big, NULL, &err) == -1 && err.code == 413,
       "too large a file");
    free(big);
}


static void
put(const char *name, const char *text)
{
    char   path[128], *out = filled(text);
    FILE  *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "w");
    assert(f != NULL);
    fputs(out, f);
    fclose(f);
    free(out);
}


static void
put_pem(const char *name, const char *data)
{
    int    n;
    char  *pem = calloc(1, strlen(data) + 1);

    n = EVP_DecodeBlock((unsigned char *) pem, (const unsigned char *) data,
                        (int) strlen(data));
    assert(n > 0);
    put(name, pem);
    free(pem);
}


static void
test_pod(void)
{
    char             path[128];
    bk_err_t         err;
    k8s_conf_t      *c;
    bk_fetch_req_t   req;

    ok(k8s_conf_pod(&c, dir, "10.0.0.1", "443", &err) == -1
       && strstr(err.text, "/namespace: No such file") != NULL
       && strstr(err.hint, "automountServiceAccountToken") != NULL,
       "a Pod without an account");
    put("namespace", "team\n");
    ok(k8s_conf_pod(&c, dir, "10.0.0.1", "443", &err) == -1
       && strstr(err.text, "/ca.crt: No such file") != NULL,
       "without an authority");
    put("ca.crt", "hello\n");
    ok(k8s_conf_pod(&c, dir, "10.0.0.1", "443", &err) == -1
       && strstr(err.text, "no certificate (PEM) in it") != NULL,
       "with another file for it");
    put_pem("ca.crt", cert);
    ok(k8s_conf_pod(&c, dir, "10.0.0.1", "443", &err) == -1
       && strstr(err.text, "/token: No such file") != NULL,
       "without a token");
    put("token", "abc");
    ok(k8s_conf_pod(&c, dir, "10.0.0.1", "4 3", &err) == -1
       && strstr(err.text, "KUBERNETES_SERVICE_PORT") != NULL,
       "with a port that is none");

    ok(k8s_conf_pod(&c, dir, "10.0.0.1", "443", &err) == 0, "all it needs");
    ok(same(k8s_conf_server(c), "https://10.0.0.1:443")
       && same(k8s_conf_namespace(c), "team"), "server and namespace");
    memset(&req, 0, sizeof(req));
    k8s_conf_fill(c, &req);
    snprintf(path, sizeof(path), "%s/token", dir);
    ok(same(req.bearer_file, path) && req.bearer == NULL,
       "the token is read when it is needed");
    snprintf(path, sizeof(path), "%s/ca.crt", dir);
    ok(same(req.ca_file, path), "and the authority");
    k8s_conf_free(&c);

    ok(k8s_conf_pod(&c, dir, "fd00::1", "6443", &err) == 0
       && same(k8s_conf_server(c), "https://[fd00::1]:6443"), "IPv6");
    k8s_conf_free(&c);
}


static void
test_load(void)
{
    char         path[128], list[300];
    bk_err_t     err;
    k8s_conf_t  *c;

    unsetenv("KUBECONFIG");
    unsetenv("KUBERNETES_SERVICE_HOST");
    ok(k8s_conf_load(&c, NULL, NULL, &err) == -1 && err.code == 404
       && strcmp(err.reason, "NoKubernetes") == 0, "no Kubernetes at all");

    snprintf(path, sizeof(path), "%s/config", dir);
    ok(k8s_conf_load(&c, path, NULL, &err) == -1 && err.code == 404
       && strstr(err.text, "No such file") != NULL, "no such file");

    put("config", HEAD
        "clusters: [{name: c, cluster: {server: \"https://k\", "
        "certificate-authority: ca.crt}}]\n"
        "users: [{name: u, user: {tokenFile: token}}]\n");
    ok(k8s_conf_load(&c, path, NULL, &err) == 0
       && same(c->ca_file + strlen(c->ca_file) - 6, "ca.crt"), "a file");
    k8s_conf_free(&c);

    snprintf(list, sizeof(list), ":%s:/nothing", path);
    setenv("KUBECONFIG", list, 1);
    ok(k8s_conf_load(&c, NULL, NULL, &err) == 0, "the first of $KUBECONFIG");
    k8s_conf_free(&c);

    put("config", HEAD
        "clusters: [{name: c, cluster: {server: \"https://k\"}}]\n"
        "users: [{name: u, user: {client-certificate: ca.crt, "
        "client-key: ca.crt}}]\n");
    ok(k8s_conf_load(&c, path, NULL, &err) == -1
       && strstr(err.text, "/ca.crt: there is no private key (PEM) in it")
       != NULL, "a key's file that has none");
}


int
main(void)
{
    size_t                    i;
    char                      path[128];
    static const char *const  files[] = {
        "namespace", "ca.crt", "token", "config"
    };

    assert(mkdtemp(dir) != NULL);
    make_pair();

    test_bad();
    test_good();
    test_pod();
    test_load();

    for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
        unlink(path);
    }

    rmdir(dir);
    free(cert);
    free(key);
    printf("1..%d\n", checks);

    return 0;
}
