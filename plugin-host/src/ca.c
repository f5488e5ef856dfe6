/* The authorities: made once, loaded at every start.  See ca.h. */

#include <limits.h>
#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "ca_int.h"
#include "err.h"
#include "log.h"


#define BK_TLS_DAYS        365
#define BK_TLS_RENEW_DAYS  30


static int bk_authority_open(bk_ca_t *ca, bk_authority_t *a,
    const char *name, bk_err_t *err);
static int bk_authority_make(bk_authority_t *a, EVP_PKEY *key,
    const char *cert_path, const char *key_path, bk_err_t *err);
static int bk_authority_check(const bk_authority_t *a, const char *path,
    bk_err_t *err);
static int bk_authority_damaged(bk_ca_t *ca, const char *path,
    const char *why, bk_err_t *err);
static int bk_ca_files(bk_ca_t *ca, const char *names, bk_err_t *err);
static void bk_ca_paths(const bk_ca_t *ca, const char *name, char *path,
    char *key_path);
static int bk_ca_renew(bk_ca_t *ca, const char *name, int kind,
    const char *cn, const char *names, bk_err_t *err);
static int bk_ca_good(bk_ca_t *ca, const char *path, const char *key_path,
    int kind, const char *names);
static int bk_ca_named(X509 *cert, const char *names);
static const bk_authority_t *bk_ca_of(const bk_ca_t *ca, int kind);


int
bk_ca_new(bk_ca_t **out, const char *state, const char *names, bk_err_t *err)
{
    char      dir[PATH_MAX];
    bk_ca_t  *ca;

    ca = calloc(1, sizeof(bk_ca_t));
    if (ca == NULL || (ca->dir = strdup(state)) == NULL
        || (ca->names = strdup(names)) == NULL)
    {
        abort();
    }

    snprintf(dir, sizeof(dir), "%s/ca", state);

    if (bk_ca_dir(state, err) != 0 || bk_ca_dir(dir, err) != 0) {
        goto failed;
    }

    snprintf(dir, sizeof(dir), "%s/tls", state);

    if (bk_ca_dir(dir, err) != 0
        || bk_authority_open(ca, &ca->gateway, "gateway", err) != 0
        || bk_authority_open(ca, &ca->worker, "worker", err) != 0
        || bk_ca_files(ca, names, err) != 0)
    {
        goto failed;
    }

    *out = ca;

    return 0;

failed:

    bk_ca_free(&ca);

    return -1;
}


void
bk_ca_free(bk_ca_t **cap)
{
    bk_ca_t  *ca = *cap;

    if (ca == NULL) {
        return;
    }

    *cap = NULL;

    X509_free(ca->gateway.cert);
    X509_free(ca->worker.cert);
    EVP_PKEY_free(ca->gateway.key);
    EVP_PKEY_free(ca->worker.key);
    free(ca->gateway.pem);
    free(ca->worker.pem);
    free(ca->cert_pem);
    free(ca->spki);
    free(ca->dir);
    free(ca->names);

    if (ca->key_pem != NULL) {
        explicit_bzero(ca->key_pem, ca->key_len);
        free(ca->key_pem);
    }

    free(ca);
}


int
bk_ca_issue(bk_ca_t *ca, const bk_cert_request_t *req, bk_cert_t *out,
    bk_err_t *err)
{
    int                    len;
    X509                  *cert;
    EVP_PKEY              *key;
    const bk_authority_t  *by = bk_ca_of(ca, req->kind);

    memset(out, 0, sizeof(bk_cert_t));

    if (by == NULL) {
        return bk_err_set(err, 400, "BadKind",
                          "%d is no kind of certificate", req->kind);
    }

    key = bk_ca_requested(req, err);
    if (key == NULL) {
        return -1;
    }

    cert = bk_ca_sign(by, req, key, err);
    if (cert == NULL) {
        EVP_PKEY_free(key);
        return -1;
    }

    if (ca->key_pem != NULL) {
        explicit_bzero(ca->key_pem, ca->key_len);
        free(ca->key_pem);
        ca->key_pem = NULL;
    }

    free(ca->cert_pem);
    free(ca->spki);
    ca->spki = NULL;

    ca->cert_pem = bk_ca_cert_pem(cert);
    len = i2d_PUBKEY(key, &ca->spki);

    if (req->csr.len == 0 && req->spki.len == 0) {
        ca->key_pem = bk_ca_key_pem(key, &ca->key_len);
        if (ca->key_pem == NULL) {
            abort();
        }

        out->key = (bk_str_t) { ca->key_pem, ca->key_len };
    }

    X509_free(cert);
    EVP_PKEY_free(key);

    if (ca->cert_pem == NULL || len <= 0) {
        abort();
    }

    out->cert = (bk_str_t) { ca->cert_pem, strlen(ca->cert_pem) };
    out->spki = (bk_str_t) { (char *) ca->spki, (size_t) len };
    SHA256(ca->spki, (size_t) len, out->key_hash);

    /* a peer trusts the authority that signed this one */
    out->ca = (bk_str_t) { by->pem, strlen(by->pem) };

    return 0;
}


static const bk_authority_t *
bk_ca_of(const bk_ca_t *ca, int kind)
{
    switch (kind) {

    case BK_CERT_CLIENT:
    case BK_CERT_GATEWAY:
        return &ca->gateway;

    case BK_CERT_WORKER:
    case BK_CERT_UPSTREAM:
        return &ca->worker;

    default:
        return NULL;
    }
}


static int
bk_authority_open(bk_ca_t *ca, bk_authority_t *a, const char *name,
    bk_err_t *err)
{
    int           has_cert, has_key, rc = -1;
    char          cert_path[PATH_MAX], key_path[PATH_MAX];
    char         *cert = NULL, *key = NULL;
    struct stat   st;

    a->name = name;
    snprintf(cert_path, sizeof(cert_path), "%s/ca/%s-ca.pem", ca->dir, name);
    snprintf(key_path, sizeof(key_path), "%s/ca/%s-ca-key.pem", ca->dir,
             name);

    has_cert = bk_ca_read(cert_path, &cert, err) == 0;
    if (!has_cert && err->code != 404) {
        return -1;
    }

    has_key = bk_ca_read(key_path, &key, err) == 0;
    if (!has_key && err->code != 404) {
        goto done;
    }

    if (!has_cert && !has_key) {
        bk_log(BK_LOG_INFO, "ca", "making the %s authority", name);
        rc = bk_authority_make(a, NULL, cert_path, key_path, err);
        goto done;
    }

    if (!has_key) {
        bk_authority_damaged(ca, key_path, "is missing", err);
        goto done;
    }

    a->key = bk_ca_pem_key(key);
    if (a->key == NULL) {
        bk_authority_damaged(ca, key_path, "holds no private key", err);
        goto done;
    }

    if (stat(key_path, &st) == 0 && (st.st_mode & 077) != 0) {
        bk_log(BK_LOG_WARN, "ca", "%s could be read by others (mode %03o): "
               "made 0600", key_path, st.st_mode & 0777);
        (void) chmod(key_path, 0600);
    }

    if (!has_cert) {
        /* a first start that was cut off between the two files */
        bk_log(BK_LOG_WARN, "ca", "%s was missing: made again from its key",
               cert_path);
        rc = bk_authority_make(a, a->key, cert_path, key_path, err);
        goto done;
    }

    a->cert = bk_ca_pem_cert(cert);
    if (a->cert == NULL) {
        bk_authority_damaged(ca, cert_path, "holds no certificate", err);
        goto done;
    }

    a->pem = bk_ca_cert_pem(a->cert);
    rc = bk_authority_check(a, cert_path, err);

    if (rc != 0) {
        bk_authority_damaged(ca, cert_path, err->text, err);
    }

done:

    if (key != NULL) {
        explicit_bzero(key, strlen(key));
    }

    free(key);
    free(cert);

    return rc;
}


static int
bk_authority_make(bk_authority_t *a, EVP_PKEY *key, const char *cert_path,
    const char *key_path, bk_err_t *err)
{
    int      rc;
    char    *pem;
    size_t   len;

    if (key == NULL) {
        a->key = bk_ca_key();
        if (a->key == NULL) {
            return bk_ca_fail(err, "cannot make a key");
        }

        pem = bk_ca_key_pem(a->key, &len);
        if (pem == NULL) {
            return bk_ca_fail(err, "cannot write a key");
        }

        rc = bk_ca_write(key_path, pem, 0600, 0, err);
        explicit_bzero(pem, len);
        free(pem);

        if (rc != 0) {
            return -1;
        }
    }

    a->cert = bk_ca_self(a->name, a->key, err);
    if (a->cert == NULL) {
        return -1;
    }

    a->pem = bk_ca_cert_pem(a->cert);
    if (a->pem == NULL) {
        return bk_ca_fail(err, "cannot write a certificate");
    }

    return bk_ca_write(cert_path, a->pem, 0644, 0, err);
}


static int
bk_authority_check(const bk_authority_t *a, const char *path, bk_err_t *err)
{
    if (X509_check_ca(a->cert) != 1) {
        return bk_err_set(err, 500, "", "is no authority's certificate");
    }

    if (X509_check_private_key(a->cert, a->key) != 1) {
        ERR_clear_error();
        return bk_err_set(err, 500, "", "does not belong to its key");
    }

    if (X509_cmp_current_time(X509_get0_notAfter(a->cert)) <= 0) {
        return bk_err_set(err, 500, "", "has expired");
    }

    (void) path;

    return 0;
}


static int
bk_authority_damaged(bk_ca_t *ca, const char *path, const char *why,
    bk_err_t *err)
{
    char  text[128];

    snprintf(text, sizeof(text), "%.100s", why);
    bk_err_set(err, 500, "BadAuthority", "%s %s", path, text);

    return bk_err_hint(err, "put it back from a backup; or move %s/ca away to "
                       "make new authorities, then no certificate issued so "
                       "far is good any more", ca->dir);
}


static int
bk_ca_files(bk_ca_t *ca, const char *names, bk_err_t *err)
{
    char  path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/tls/gateway-ca.pem", ca->dir);
    if (bk_ca_write(path, ca->gateway.pem, 0644, 1, err) != 0) {
        return -1;
    }

    snprintf(path, sizeof(path), "%s/tls/worker-ca.pem", ca->dir);
    if (bk_ca_write(path, ca->worker.pem, 0644, 1, err) != 0) {
        return -1;
    }

    if (bk_ca_renew(ca, "gateway", BK_CERT_GATEWAY, "buildkit-gateway", names,
                    err)
        != 0)
    {
        return -1;
    }

    return bk_ca_renew(ca, "upstream", BK_CERT_UPSTREAM, "buildkit-gateway",
                       "", err);
}


static int
bk_ca_renew(bk_ca_t *ca, const char *name, int kind, const char *cn,
    const char *names, bk_err_t *err)
{
    char               path[PATH_MAX], key_path[PATH_MAX];
    bk_cert_t          cert;
    bk_cert_request_t  req;

    bk_ca_paths(ca, name, path, key_path);

    if (bk_ca_good(ca, path, key_path, kind, names)) {
        return 0;
    }

    memset(&req, 0, sizeof(req));
    req.kind = kind;
    req.cn = (bk_str_t) { cn, strlen(cn) };
    req.names = (bk_str_t) { names, strlen(names) };
    req.not_after_ms = ((uint64_t) time(NULL) + BK_TLS_DAYS * 86400) * 1000;

    if (bk_ca_issue(ca, &req, &cert, err) != 0
        || bk_ca_write(key_path, ca->key_pem, 0600, 1, err) != 0
        || bk_ca_write(path, ca->cert_pem, 0644, 1, err) != 0)
    {
        return bk_err_prefix(err, "%s", path);
    }

    bk_log(BK_LOG_INFO, "ca", "%s was issued; nginx reads it when it is "
           "reloaded", path);

    return 0;
}


void
bk_ca_look(bk_ca_t *ca)
{
    char    path[PATH_MAX], key_path[PATH_MAX];
    size_t  i;

    static const struct {
        const char  *name;
        int          kind;
    } files[] = {
        { "gateway", BK_CERT_GATEWAY },
        { "upstream", BK_CERT_UPSTREAM }
    };

    for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        bk_ca_paths(ca, files[i].name, path, key_path);

        if (!bk_ca_good(ca, path, key_path, files[i].kind,
                        i == 0 ? ca->names : ""))
        {
            bk_log(BK_LOG_WARN, "ca", "%s expires within %d days, or is not "
                   "what it was: restart buildkit-plugin-host to renew it, "
                   "which touches no build, then reload nginx", path,
                   BK_TLS_RENEW_DAYS);
        }
    }
}


static void
bk_ca_paths(const bk_ca_t *ca, const char *name, char *path, char *key_path)
{
    snprintf(path, PATH_MAX, "%s/tls/%s.pem", ca->dir, name);
    snprintf(key_path, PATH_MAX, "%s/tls/%s-key.pem", ca->dir, name);
}


/* There, for these names, of our authority, and good for a month more? */

static int
bk_ca_good(bk_ca_t *ca, const char *path, const char *key_path, int kind,
    const char *names)
{
    int        good = 0;
    char      *text = NULL, *key_text = NULL;
    X509      *cert = NULL;
    time_t     soon = time(NULL) + BK_TLS_RENEW_DAYS * 86400;
    EVP_PKEY  *key = NULL;

    if (bk_ca_read(path, &text, NULL) == 0
        && bk_ca_read(key_path, &key_text, NULL) == 0
        && (cert = bk_ca_pem_cert(text)) != NULL
        && (key = bk_ca_pem_key(key_text)) != NULL)
    {
        good = X509_verify(cert, bk_ca_of(ca, kind)->key) == 1
               && X509_check_private_key(cert, key) == 1
               && X509_cmp_time(X509_get0_notAfter(cert), &soon) > 0
               && bk_ca_named(cert, names);
    }

    ERR_clear_error();

    if (key_text != NULL) {
        explicit_bzero(key_text, strlen(key_text));
    }

    free(text);
    free(key_text);
    X509_free(cert);
    EVP_PKEY_free(key);

    return good;
}


static int
bk_ca_named(X509 *cert, const char *names)
{
    char  buf[1024], *name, *save;

    snprintf(buf, sizeof(buf), "%s", names);

    for (name = strtok_r(buf, ",", &save); name != NULL;
         name = strtok_r(NULL, ",", &save))
    {
        if (X509_check_ip_asc(cert, name, 0) != 1
            && X509_check_host(cert, name, 0, 0, NULL) != 1)
        {
            return 0;
        }
    }

    return 1;
}
