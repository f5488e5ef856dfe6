/* What is issued: by the host's authorities, and by those that plugins bring
 * with them.  See ca.h. */

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ca_int.h"
#include "bk_err.h"
#include "log.h"


static int bk_issue_sign(bk_ca_t *ca, const bk_signer_t *by,
    const char *chain, const bk_cert_request_t *req, bk_authority_t *a,
    bk_cert_t *out, bk_err_t *err);
static void bk_issue_lend(bk_ca_t *ca, X509 *cert, const char *chain,
    EVP_PKEY *key, int with_key, bk_cert_t *out);
static const bk_signer_t *bk_ca_signer(bk_ca_t *ca, bk_authority_t *a,
    bk_err_t *err);
static void bk_ca_issued(bk_ca_t *ca, bk_authority_t *a, const X509 *cert);
static EVP_PKEY *bk_issue_key(bk_str_t pem, bk_err_t *err);


int
bk_ca_issue(bk_ca_t *ca, const bk_cert_request_t *req, bk_cert_t *out,
    bk_err_t *err)
{
    return bk_ca_make(ca, req, 0, out, err);
}


int
bk_ca_make(bk_ca_t *ca, const bk_cert_request_t *req, int own,
    bk_cert_t *out, bk_err_t *err)
{
    bk_authority_t     *a = bk_ca_of(ca, req->kind);
    const bk_signer_t  *by;

    memset(out, 0, sizeof(bk_cert_t));

    if (a == NULL) {
        return bk_err_set(err, 400, "BadKind",
                          "%d is no kind of certificate", req->kind);
    }

    by = own ? &a->now : bk_ca_signer(ca, a, err);

    if (by == NULL
        || bk_issue_sign(ca, by, by == &a->now ? a->chain : by->chain, req,
                         own ? NULL : a, out, err)
           != 0)
    {
        return -1;
    }

    /* a peer trusts the authority that signed this one, and those whose
     * certificates nginx or a worker may still show */
    out->ca = (bk_str_t) { a->trust, strlen(a->trust) };

    return 0;
}


/* a: is to know how long it may be in use; or NULL */

static int
bk_issue_sign(bk_ca_t *ca, const bk_signer_t *by, const char *chain,
    const bk_cert_request_t *req, bk_authority_t *a, bk_cert_t *out,
    bk_err_t *err)
{
    X509      *cert;
    EVP_PKEY  *key = bk_ca_requested(req, err);

    if (key == NULL) {
        return -1;
    }

    cert = bk_ca_sign(by, req, key, err);
    if (cert == NULL) {
        EVP_PKEY_free(key);
        return -1;
    }

    if (a != NULL) {
        bk_ca_issued(ca, a, cert);
    }

    bk_issue_lend(ca, cert, chain, key,
                  req->csr.len == 0 && req->spki.len == 0, out);
    X509_free(cert);
    EVP_PKEY_free(key);

    return 0;
}


/* As texts, until the next one. */

static void
bk_issue_lend(bk_ca_t *ca, X509 *cert, const char *chain, EVP_PKEY *key,
    int with_key, bk_cert_t *out)
{
    int    len;
    char  *leaf;

    bk_ca_burn(ca->key_pem);
    free(ca->cert_pem);
    free(ca->spki);
    ca->key_pem = NULL;
    ca->cert_pem = NULL;
    ca->spki = NULL;

    leaf = bk_ca_cert_pem(cert);
    len = bk_ca_key_spki(key, &ca->spki);

    if (leaf == NULL || len <= 0
        || asprintf(&ca->cert_pem, "%s%s", leaf, chain) < 0)
    {
        abort();
    }

    free(leaf);

    if (with_key) {
        ca->key_pem = bk_ca_key_pem(key, &ca->key_len);
        if (ca->key_pem == NULL) {
            abort();
        }

        out->key = (bk_str_t) { ca->key_pem, ca->key_len };
    }

    out->cert = (bk_str_t) { ca->cert_pem, strlen(ca->cert_pem) };
    out->spki = (bk_str_t) { (char *) ca->spki, (size_t) len };
    SHA256(ca->spki, (size_t) len, out->key_hash);
}


static const bk_signer_t *
bk_ca_signer(bk_ca_t *ca, bk_authority_t *a, bk_err_t *err)
{
    const bk_signer_t  *s = a->late.cert != NULL ? &a->late : &a->now;

    if (bk_ca_end_ms(s->cert) > bk_ca_now_ms(ca)) {
        return s;
    }

    bk_err_set(err, 503, "AuthorityExpired", "the certificate of the %s "
               "authority has expired", a->name);
    bk_err_hint(err, "bkctl ca shows it; bkctl ca rotate makes a new one, "
                "unless it is issued from outside");

    return NULL;
}


/*
 * How long may something of it be in use?  Written down a day ahead, so that
 * this costs a small file a day, without waiting for the disk.
 */

static void
bk_ca_issued(bk_ca_t *ca, bk_authority_t *a, const X509 *cert)
{
    bk_err_t   err;
    uint64_t   end = bk_ca_end_ms(cert);
    uint64_t  *until = &a->until_ms;

    if (a->late.cert != NULL) {
        until = &a->old[a->nold - 1].until_ms;
    }

    if (end <= *until) {
        return;
    }

    *until = end + BK_CA_DAY_MS;

    if (bk_authority_save(ca, a, 0, &err) != 0) {
        *until = end;
        bk_log_err(BK_LOG_ERROR, "ca", &err);
    }
}


bk_authority_t *
bk_ca_of(bk_ca_t *ca, int kind)
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


/* --- of a plugin's own ---------------------------------------------------- */

int
bk_ca_authority(bk_ca_t *ca, bk_str_t cn, bk_str_t key_pem, bk_cert_t *out,
    bk_err_t *err)
{
    X509      *cert;
    EVP_PKEY  *key;

    memset(out, 0, sizeof(bk_cert_t));

    if (cn.len == 0 || cn.len > 64 || memchr(cn.data, '\0', cn.len) != NULL) {
        return bk_err_set(err, 400, "BadName", "an authority's name has 1 to "
                          "64 bytes");
    }

    if (key_pem.len == 0) {
        key = bk_ca_key();
        if (key == NULL) {
            return bk_ca_fail(err, "cannot make a key");
        }

    } else {
        key = bk_issue_key(key_pem, err);
        if (key == NULL) {
            return -1;
        }
    }

    /* nothing but what is used stands below it */
    cert = bk_ca_root(cn, "critical,CA:TRUE,pathlen:0", key, err);

    if (cert != NULL) {
        bk_issue_lend(ca, cert, "", key, 1, out);
        X509_free(cert);
    }

    EVP_PKEY_free(key);

    return cert != NULL ? 0 : -1;
}


int
bk_ca_issue_by(bk_ca_t *ca, bk_str_t cert_pem, bk_str_t key_pem,
    const bk_cert_request_t *req, bk_cert_t *out, bk_err_t *err)
{
    int          rc = -1;
    char        *text;
    bk_signer_t  by;

    static const bk_ca_files_t  what = { "the authority's certificate",
                                         "the authority's key", NULL };

    memset(out, 0, sizeof(bk_cert_t));
    memset(&by, 0, sizeof(by));

    if (bk_ca_of(ca, req->kind) == NULL) {
        return bk_err_set(err, 400, "BadKind",
                          "%d is no kind of certificate", req->kind);
    }

    by.key = bk_issue_key(key_pem, err);
    if (by.key == NULL) {
        return -1;
    }

    text = strndup(cert_pem.data, cert_pem.len);
    if (text == NULL) {
        abort();
    }

    by.cert = bk_ca_pem_cert(text);
    free(text);

    if (by.cert == NULL) {
        bk_err_set(err, 422, "BadAuthority", "%s is no PEM of a certificate",
                   what.cert);

    } else if (bk_signer_check(&what, &by, err) != 0) {
        if (err != NULL) {
            err->code = 422;
        }

    } else {
        rc = bk_issue_sign(ca, &by, "", req, NULL, out, err);
    }

    bk_signer_clear(&by);

    return rc;
}


static EVP_PKEY *
bk_issue_key(bk_str_t pem, bk_err_t *err)
{
    char      *text = strndup(pem.data, pem.len);
    EVP_PKEY  *key;

    if (text == NULL) {
        abort();
    }

    key = bk_ca_pem_key(text);
    bk_ca_burn(text);

    if (key == NULL || !bk_ca_key_ok(key)) {
        EVP_PKEY_free(key);
        bk_err_set(err, 422, "BadAuthority", "the authority's key is no PEM of "
                   "a key that is good enough, without a pass phrase");
        return NULL;
    }

    return key;
}
