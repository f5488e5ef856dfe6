/*
 * kubeconfig as a file: its schema, and whether what it has is what it should
 * be.  See k8s_conf.c.
 *
 * What belongs to other contexts is not looked at: a file for kubectl may
 * have users whose credentials are made by programs.
 */

#include <curl/curl.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "bk_slurp.h"
#include "k8s_conf.h"


#define K8S_FILE_MAX     (1024 * 1024)
#define K8S_PEM_MAX      (256 * 1024)
#define K8S_DATA_MAX     (K8S_PEM_MAX / 3 * 4 + 4)
#define K8S_TOKEN_MAX    (16 * 1024)
#define K8S_ENTRIES_MAX  1024

#define K8S_STR  CYAML_FLAG_POINTER
#define K8S_OPT  (CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL)


static const char *k8s_conf_url_bad(const char *url);
static int k8s_conf_pem(const char *pem, size_t len, int key);
static int k8s_conf_check_file(const char *path, int key, bk_err_t *err);
static void k8s_file_wipe(char *s);


static const cyaml_schema_field_t  k8s_cluster_fields[] = {
    CYAML_FIELD_STRING_PTR("server", K8S_STR, k8s_cluster_t, server, 1, 2048),
    CYAML_FIELD_STRING_PTR("certificate-authority", K8S_OPT, k8s_cluster_t,
                           ca, 0, 4000),
    CYAML_FIELD_STRING_PTR("certificate-authority-data", K8S_OPT,
                           k8s_cluster_t, ca_data, 0, K8S_DATA_MAX),
    CYAML_FIELD_STRING_PTR("tls-server-name", K8S_OPT, k8s_cluster_t,
                           server_name, 0, K8S_NAME_MAX),
    CYAML_FIELD_BOOL("insecure-skip-tls-verify", CYAML_FLAG_OPTIONAL,
                     k8s_cluster_t, insecure),
    CYAML_FIELD_BOOL("disable-compression", CYAML_FLAG_OPTIONAL,
                     k8s_cluster_t, plain),
    CYAML_FIELD_IGNORE("proxy-url", CYAML_FLAG_OPTIONAL),
    CYAML_FIELD_IGNORE("extensions", CYAML_FLAG_OPTIONAL),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t  k8s_user_fields[] = {
    CYAML_FIELD_STRING_PTR("token", K8S_OPT, k8s_user_t, token, 0,
                           K8S_TOKEN_MAX),
    CYAML_FIELD_STRING_PTR("tokenFile", K8S_OPT, k8s_user_t, token_file, 0,
                           4000),
    CYAML_FIELD_STRING_PTR("client-certificate", K8S_OPT, k8s_user_t, cert,
                           0, 4000),
    CYAML_FIELD_STRING_PTR("client-certificate-data", K8S_OPT, k8s_user_t,
                           cert_data, 0, K8S_DATA_MAX),
    CYAML_FIELD_STRING_PTR("client-key", K8S_OPT, k8s_user_t, key, 0, 4000),
    CYAML_FIELD_STRING_PTR("client-key-data", K8S_OPT, k8s_user_t, key_data,
                           0, K8S_DATA_MAX),
    CYAML_FIELD_IGNORE("exec", CYAML_FLAG_OPTIONAL),
    CYAML_FIELD_IGNORE("auth-provider", CYAML_FLAG_OPTIONAL),
    CYAML_FIELD_IGNORE("username", CYAML_FLAG_OPTIONAL),
    CYAML_FIELD_IGNORE("password", CYAML_FLAG_OPTIONAL),
    CYAML_FIELD_IGNORE("as", CYAML_FLAG_OPTIONAL),
    CYAML_FIELD_IGNORE("as-uid", CYAML_FLAG_OPTIONAL),
    CYAML_FIELD_IGNORE("as-groups", CYAML_FLAG_OPTIONAL),
    CYAML_FIELD_IGNORE("as-user-extra", CYAML_FLAG_OPTIONAL),
    CYAML_FIELD_IGNORE("extensions", CYAML_FLAG_OPTIONAL),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t  k8s_which_fields[] = {
    CYAML_FIELD_STRING_PTR("cluster", K8S_STR, k8s_which_t, cluster, 1, 1024),
    CYAML_FIELD_STRING_PTR("user", K8S_OPT, k8s_which_t, user, 0, 1024),
    CYAML_FIELD_STRING_PTR("namespace", K8S_OPT, k8s_which_t, namespace, 0,
                           K8S_NAME_MAX),
    CYAML_FIELD_IGNORE("extensions", CYAML_FLAG_OPTIONAL),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t  k8s_named_cluster_fields[] = {
    CYAML_FIELD_STRING_PTR("name", K8S_STR, k8s_named_cluster_t, name, 1,
                           1024),
    CYAML_FIELD_MAPPING("cluster", CYAML_FLAG_DEFAULT, k8s_named_cluster_t,
                        cluster, k8s_cluster_fields),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t  k8s_named_user_fields[] = {
    CYAML_FIELD_STRING_PTR("name", K8S_STR, k8s_named_user_t, name, 1, 1024),
    CYAML_FIELD_MAPPING("user", CYAML_FLAG_DEFAULT, k8s_named_user_t, user,
                        k8s_user_fields),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t  k8s_named_context_fields[] = {
    CYAML_FIELD_STRING_PTR("name", K8S_STR, k8s_named_context_t, name, 1,
                           1024),
    CYAML_FIELD_MAPPING("context", CYAML_FLAG_DEFAULT, k8s_named_context_t,
                        context, k8s_which_fields),
    CYAML_FIELD_END
};

static const cyaml_schema_value_t  k8s_named_cluster_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, k8s_named_cluster_t,
                        k8s_named_cluster_fields)
};

static const cyaml_schema_value_t  k8s_named_user_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, k8s_named_user_t,
                        k8s_named_user_fields)
};

static const cyaml_schema_value_t  k8s_named_context_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, k8s_named_context_t,
                        k8s_named_context_fields)
};

static const cyaml_schema_field_t  k8s_doc_fields[] = {
    CYAML_FIELD_STRING_PTR("apiVersion", K8S_OPT, k8s_doc_t, api_version, 0,
                           64),
    CYAML_FIELD_STRING_PTR("kind", K8S_OPT, k8s_doc_t, kind, 0, 64),
    CYAML_FIELD_STRING_PTR("current-context", K8S_OPT, k8s_doc_t, current, 0,
                           1024),
    CYAML_FIELD_SEQUENCE("clusters", K8S_STR, k8s_doc_t, clusters,
                         &k8s_named_cluster_value, 0, K8S_ENTRIES_MAX),
    CYAML_FIELD_SEQUENCE("users", K8S_OPT, k8s_doc_t, users,
                         &k8s_named_user_value, 0, K8S_ENTRIES_MAX),
    CYAML_FIELD_SEQUENCE("contexts", K8S_STR, k8s_doc_t, contexts,
                         &k8s_named_context_value, 0, K8S_ENTRIES_MAX),
    CYAML_FIELD_IGNORE("preferences", CYAML_FLAG_OPTIONAL),
    CYAML_FIELD_IGNORE("extensions", CYAML_FLAG_OPTIONAL),
    CYAML_FIELD_END
};

static const cyaml_schema_value_t  k8s_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, k8s_doc_t, k8s_doc_fields)
};


int
k8s_file_read(k8s_file_t *f, const char *path, bk_err_t *err)
{
    void  *doc;

    f->path = path;

    if (bk_yaml_read(&f->yaml, path, K8S_FILE_MAX, &k8s_schema, &doc, err)
        != 0)
    {
        return -1;
    }

    f->doc = doc;

    return 0;
}


int
k8s_file_parse(k8s_file_t *f, const char *path, const char *text, size_t len,
    bk_err_t *err)
{
    void  *doc;

    f->path = path;

    if (len > K8S_FILE_MAX) {
        return bk_err_set(err, 413, "TooLarge", "%s: is larger than %d bytes",
                          path, K8S_FILE_MAX);
    }

    if (bk_yaml_parse(&f->yaml, path, text, len, &k8s_schema, &doc, err)
        != 0)
    {
        return -1;
    }

    f->doc = doc;

    return 0;
}


void
k8s_file_free(k8s_file_t *f)
{
    unsigned  i;

    for (i = 0; i < f->doc->users_count; i++) {
        k8s_file_wipe(f->doc->users[i].user.token);
        k8s_file_wipe(f->doc->users[i].user.key_data);
    }

    bk_yaml_free(&f->yaml, &k8s_schema, f->doc);
    f->doc = NULL;
}


static void
k8s_file_wipe(char *s)
{
    if (s != NULL) {
        explicit_bzero(s, strlen(s));
    }
}


int
k8s_file_refused(const k8s_file_t *f, const char *at, const char *key,
    bk_err_t *err)
{
    char  path[128];

    snprintf(path, sizeof(path), "%s.%s", at, key);

    if (!bk_yaml_has(f->yaml, path)) {
        return 0;
    }

    bk_yaml_err(f->yaml, err, path, "is not supported here");

    return bk_err_hint(err, "use a token, a tokenFile or a client "
                       "certificate; a proxy is taken from https_proxy");
}


const char *
k8s_conf_url(const char *url, char **out)
{
    size_t       n = strlen(url);
    const char  *bad;

    bad = k8s_conf_url_bad(url);
    if (bad != NULL) {
        return bad;
    }

    while (n > 0 && url[n - 1] == '/') {
        n--;
    }

    *out = strndup(url, n);
    if (*out == NULL) {
        abort();
    }

    return NULL;
}


static const char *
k8s_conf_url_bad(const char *url)
{
    char        *scheme = NULL, *host = NULL, *part = NULL;
    CURLU       *u;
    const char  *bad = NULL;

    u = curl_url();
    if (u == NULL) {
        abort();
    }

    if (strlen(url) > 2048
        || strspn(url, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                       "0123456789-._~:/?#[]@!$&'()*+,;=%") != strlen(url)
        || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK
        || curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK
        || curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK
        || host[0] == '\0')
    {
        bad = "must be a URL";

    } else if (strcmp(scheme, "https") != 0) {
        bad = "must be https";

    } else if (curl_url_get(u, CURLUPART_USER, &part, 0) == CURLUE_OK
               || curl_url_get(u, CURLUPART_QUERY, &part, 0) == CURLUE_OK
               || curl_url_get(u, CURLUPART_FRAGMENT, &part, 0) == CURLUE_OK)
    {
        bad = "must have no user, query or fragment";
    }

    curl_free(scheme);
    curl_free(host);
    curl_free(part);
    curl_url_cleanup(u);

    return bad;
}


int
k8s_conf_data(const k8s_file_t *f, const char *at, const char *data,
    bk_str_t *out, bk_err_t *err)
{
    int      n, key = strstr(at, "client-key") != NULL;
    char    *pem;
    size_t   len = strlen(data);

    pem = malloc(len + 4);
    if (pem == NULL) {
        abort();
    }

    n = EVP_DecodeBlock((unsigned char *) pem, (const unsigned char *) data,
                        (int) len);

    if (n >= 0) {
        /* it counts the padding */
        n -= (len > 0 && data[len - 1] == '=')
             + (len > 1 && data[len - 2] == '=');
        pem[n] = '\0';
    }

    if (n < 0 || k8s_conf_pem(pem, (size_t) n, key) != 0) {
        explicit_bzero(pem, len);
        free(pem);
        ERR_clear_error();
        return bk_yaml_err(f->yaml, err, at, n < 0 ? "is no base64"
                           : key ? "has no private key in it (PEM)"
                           : "has no certificate in it (PEM)");
    }

    *out = (bk_str_t) { pem, (size_t) n };

    return 0;
}


int
k8s_conf_check(const k8s_conf_t *c, bk_err_t *err)
{
    char    *token;
    size_t   len;

    if (k8s_conf_check_file(c->ca_file, 0, err) != 0
        || k8s_conf_check_file(c->cert_file, 0, err) != 0
        || k8s_conf_check_file(c->key_file, 1, err) != 0)
    {
        return -1;
    }

    if (c->token_file == NULL) {
        return 0;
    }

    token = bk_slurp(c->token_file, K8S_TOKEN_MAX, &len);

    if (token == NULL) {
        return bk_err_set(err, 404, "NoFile", "%.300s: %s", c->token_file,
                          strerror(errno));
    }

    explicit_bzero(token, len);
    free(token);

    return 0;
}


static int
k8s_conf_check_file(const char *path, int key, bk_err_t *err)
{
    int      rc;
    char    *pem;
    size_t   len;

    if (path == NULL) {
        return 0;
    }

    pem = bk_slurp(path, K8S_PEM_MAX, &len);

    if (pem == NULL) {
        return bk_err_set(err, 404, "NoFile", "%.300s: %s", path,
                          strerror(errno));
    }

    rc = k8s_conf_pem(pem, len, key);
    explicit_bzero(pem, len);
    free(pem);

    return rc == 0 ? 0 : bk_err_set(err, 400, "BadKubeconfig", "%.300s: there "
                                    "is no %s (PEM) in it", path, key
                                    ? "private key" : "certificate");
}


/* A key with a passphrase is none: there is nobody to ask. */

static int
k8s_conf_pem(const char *pem, size_t len, int key)
{
    int        good;
    BIO       *bio;
    X509      *x = NULL;
    EVP_PKEY  *k = NULL;

    bio = BIO_new_mem_buf(pem, (int) len);

    if (key) {
        k = PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *) "");

    } else {
        x = PEM_read_bio_X509(bio, NULL, NULL, (void *) "");
    }

    good = key ? k != NULL : x != NULL;

    BIO_free(bio);
    X509_free(x);
    EVP_PKEY_free(k);
    ERR_clear_error();

    return good ? 0 : -1;
}
