/*
 * The files that nginx reads, in tls/ of the state folder: the gateway's own
 * two certificates and what it trusts.
 *
 * A file is replaced by rename, and a certificate is renewed for the key that
 * is there: no moment shows a certificate beside another one's key.  A
 * marker says that nginx has not read all of it yet; it outlives us.
 */

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ca_int.h"
#include "bk_err.h"
#include "log.h"


#define BK_TLS_DAYS        365
#define BK_TLS_RENEW_DAYS  30
#define BK_CA_WARN_DAYS    60


static const struct {
    const char  *name;
    const char  *cn;
    int          kind;
} bk_tls_files[] = {
    { "gateway", "buildkit-gateway", BK_CERT_GATEWAY },
    { "upstream", "buildkit-gateway", BK_CERT_UPSTREAM }
};


static int bk_tls_trust(bk_ca_t *ca, const bk_authority_t *a, bk_err_t *err);
static int bk_tls_renew(bk_ca_t *ca, int which, bk_err_t *err);
static int bk_tls_issue(bk_ca_t *ca, int which, const char *path,
    const char *key_path, EVP_PKEY *key, bk_err_t *err);
static int bk_tls_good(bk_ca_t *ca, int which, const char *text, X509 *cert,
    EVP_PKEY *key);
static int bk_tls_lasts(const bk_ca_t *ca, const bk_authority_t *a,
    const X509 *cert);
static int bk_tls_named(X509 *cert, const char *names);
static int bk_tls_write(bk_ca_t *ca, const char *path, const char *text,
    unsigned mode, bk_err_t *err);
static void bk_tls_marker(const bk_ca_t *ca, char *path);
static void bk_tls_warn(const bk_ca_t *ca, const bk_authority_t *a);


int
bk_ca_tls(bk_ca_t *ca, bk_err_t *err)
{
    char  path[PATH_MAX];

    bk_tls_marker(ca, path);

    if (ca->conf.reloads && !ca->pending && access(path, F_OK) == 0) {
        /* we were killed before nginx had read them */
        ca->pending = 1;
        ca->changed = 1;
    }

    /* what to trust goes first: with it, either certificate is good */
    if (bk_tls_trust(ca, &ca->gateway, err) != 0
        || bk_tls_trust(ca, &ca->worker, err) != 0
        || bk_tls_renew(ca, 0, err) != 0)
    {
        return -1;
    }

    return bk_tls_renew(ca, 1, err);
}


static int
bk_tls_trust(bk_ca_t *ca, const bk_authority_t *a, bk_err_t *err)
{
    char  path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/tls/%s-ca.pem", ca->dir, a->name);

    return bk_tls_write(ca, path, a->trust, 0644, err);
}


static int
bk_tls_renew(bk_ca_t *ca, int which, bk_err_t *err)
{
    int        rc = 0;
    char       path[PATH_MAX], key_path[PATH_MAX];
    char      *text = NULL, *key_text = NULL;
    X509      *cert;
    EVP_PKEY  *key;

    snprintf(path, sizeof(path), "%s/tls/%s.pem", ca->dir,
             bk_tls_files[which].name);
    snprintf(key_path, sizeof(key_path), "%s/tls/%s-key.pem", ca->dir,
             bk_tls_files[which].name);

    (void) bk_ca_read(path, 0, &text, NULL);
    (void) bk_ca_read(key_path, 0, &key_text, NULL);

    cert = text != NULL ? bk_ca_pem_cert(text) : NULL;
    key = key_text != NULL ? bk_ca_pem_key(key_text) : NULL;

    if (key != NULL && !bk_ca_key_ok(key)) {
        EVP_PKEY_free(key);
        key = NULL;
    }

    if (cert != NULL && key != NULL
        && bk_tls_good(ca, which, text, cert, key))
    {
        ca->ends_ms[which] = bk_ca_end_ms(cert);

    } else {
        rc = bk_tls_issue(ca, which, path, key_path, key, err);
    }

    ERR_clear_error();
    X509_free(cert);
    EVP_PKEY_free(key);
    bk_ca_burn(key_text);
    free(text);

    return rc;
}


static int
bk_tls_issue(bk_ca_t *ca, int which, const char *path, const char *key_path,
    EVP_PKEY *key, bk_err_t *err)
{
    int                rc, len = 0;
    bk_cert_t          cert;
    unsigned char     *spki = NULL;
    const char        *cn = bk_tls_files[which].cn;
    const char        *names = which == 0 ? ca->names : "";
    bk_cert_request_t  req;

    memset(&req, 0, sizeof(req));
    req.kind = bk_tls_files[which].kind;
    req.cn = (bk_str_t) { cn, strlen(cn) };
    req.names = (bk_str_t) { names, strlen(names) };
    req.not_after_ms = bk_ca_now_ms(ca) + BK_TLS_DAYS * BK_CA_DAY_MS;

    if (key != NULL) {
        len = i2d_PUBKEY(key, &spki);
        if (len <= 0) {
            return bk_ca_fail(err, key_path);
        }

        req.spki = (bk_str_t) { (char *) spki, (size_t) len };
    }

    rc = bk_ca_make(ca, &req, 1, &cert, err);
    OPENSSL_free(spki);

    if (rc == 0 && key == NULL) {
        rc = bk_tls_write(ca, key_path, ca->key_pem, 0600, err);
    }

    if (rc != 0 || bk_tls_write(ca, path, ca->cert_pem, 0644, err) != 0) {
        return bk_err_prefix(err, "%s", path);
    }

    ca->ends_ms[which] = req.not_after_ms;

    if (bk_ca_end_ms(bk_ca_of(ca, req.kind)->now.cert) < req.not_after_ms) {
        ca->ends_ms[which] = bk_ca_end_ms(bk_ca_of(ca, req.kind)->now.cert);
    }

    bk_log(BK_LOG_INFO, "ca", "%s was issued; nginx reads it when it is "
           "reloaded", path);

    return 0;
}


/*
 * For these names, of our authority, with what leads to those before it, and
 * good for a month more?  Where the one before could not vouch for it, its
 * certificate is shown as long as somebody may know that one alone.
 */

static int
bk_tls_good(bk_ca_t *ca, int which, const char *text, X509 *cert,
    EVP_PKEY *key)
{
    int              good;
    char            *pem;
    size_t           len;
    bk_authority_t  *a = bk_ca_of(ca, bk_tls_files[which].kind);

    if (!bk_ca_key_fits(cert, key)
        || !bk_tls_named(cert, which == 0 ? ca->names : "")
        || !bk_tls_lasts(ca, a, cert))
    {
        return 0;
    }

    if (X509_verify(cert, X509_get0_pubkey(a->now.cert)) != 1) {
        return bk_authority_held(ca, a)
               && X509_verify(cert, X509_get0_pubkey(
                                        a->old[a->nold - 1].signer.cert))
                  == 1;
    }

    pem = bk_ca_cert_pem(cert);
    if (pem == NULL) {
        abort();
    }

    len = strlen(pem);
    good = strncmp(text, pem, len) == 0 && strcmp(text + len, a->chain) == 0;
    free(pem);

    return good;
}


/* One that ends with its authority gains nothing from being made again. */

static int
bk_tls_lasts(const bk_ca_t *ca, const bk_authority_t *a, const X509 *cert)
{
    uint64_t  now = bk_ca_now_ms(ca), end = bk_ca_end_ms(cert);

    return end > now + BK_TLS_RENEW_DAYS * BK_CA_DAY_MS
           || (end > now && end == bk_ca_end_ms(a->now.cert));
}


static int
bk_tls_named(X509 *cert, const char *names)
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


/* Nothing when it is so already.  A file that was not there was read by no
 * nginx: that one has nothing to reload. */

static int
bk_tls_write(bk_ca_t *ca, const char *path, const char *text, unsigned mode,
    bk_err_t *err)
{
    int    same, there;
    char   marker[PATH_MAX], *old = NULL;

    there = bk_ca_read(path, 0, &old, NULL) == 0;
    same = there && strcmp(old, text) == 0;
    bk_ca_burn(old);

    if (same) {
        return 0;
    }

    if (there) {
        ca->changed = 1;

        if (ca->conf.reloads && !ca->pending) {
            bk_tls_marker(ca, marker);

            if (bk_ca_write(marker, "", 0600, BK_CA_REPLACE, err) != 0) {
                return -1;
            }

            ca->pending = 1;
        }
    }

    return bk_ca_write(path, text, mode,
                       BK_CA_REPLACE | (ca->steady ? 0 : BK_CA_SYNC), err);
}


void
bk_ca_tell(bk_ca_t *ca)
{
    if (!ca->changed) {
        return;
    }

    ca->changed = 0;

    if (ca->conf.changed != NULL) {
        ca->conf.changed(ca->conf.data);
    }

    if (!ca->conf.reloads) {
        ca->due = 1;
        bk_log(BK_LOG_WARN, "ca", "files of %s/tls have changed: reload nginx "
               "(nginx -s reload), which touches no build; gateway.reload in "
               "the configuration does it from here", ca->dir);
    }
}


void
bk_ca_reloaded(bk_ca_t *ca)
{
    char  path[PATH_MAX];

    bk_tls_marker(ca, path);
    (void) unlink(path);
    ca->pending = 0;

    bk_signer_clear(&ca->gateway.late);
    bk_signer_clear(&ca->worker.late);

    bk_ca_look(ca);
}


void
bk_ca_look(bk_ca_t *ca)
{
    bk_err_t  err;

    bk_ca_reread(ca);

    if (bk_ca_tls(ca, &err) != 0) {
        bk_log_err(BK_LOG_ERROR, "ca", &err);
    }

    /* not while nginx may show what an old one signed */
    if (!ca->pending
        && (bk_authority_drop(ca, &ca->gateway)
            | bk_authority_drop(ca, &ca->worker))
        && bk_ca_tls(ca, &err) != 0)
    {
        bk_log_err(BK_LOG_ERROR, "ca", &err);
    }

    bk_ca_tell(ca);

    bk_tls_warn(ca, &ca->gateway);
    bk_tls_warn(ca, &ca->worker);
}


static void
bk_tls_warn(const bk_ca_t *ca, const bk_authority_t *a)
{
    if (bk_ca_end_ms(a->now.cert)
        > bk_ca_now_ms(ca) + BK_CA_WARN_DAYS * BK_CA_DAY_MS)
    {
        return;
    }

    if (a->issuer == NULL) {
        bk_log(BK_LOG_WARN, "ca", "the %s authority ends within %d days: "
               "bkctl ca rotate --authority %s makes the next one, and cuts "
               "nobody", a->name, BK_CA_WARN_DAYS, a->name);
    }
}


static void
bk_tls_marker(const bk_ca_t *ca, char *path)
{
    snprintf(path, PATH_MAX, "%s/ca/nginx-reload-pending", ca->dir);
}
