/*
 * Our own key pair of an authority: two files of the state folder.
 *
 * A switch to a new pair is killed nowhere in between: the pair is written
 * beside the old one, then NAME-trust.json names it (ca_store.c), then it is
 * renamed into place.  A start finishes what was named, and forgets what was
 * not.
 */

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ca_int.h"
#include "bk_err.h"
#include "log.h"


#define BK_OWN_CERT      "-ca.pem"
#define BK_OWN_KEY       "-ca-key.pem"
#define BK_OWN_NEXT      "-next.pem"
#define BK_OWN_NEXT_KEY  "-next-key.pem"


static int bk_own_pair(bk_ca_t *ca, const bk_authority_t *a,
    const char *cert_path, const char *key_path, const char *cert,
    const char *key, bk_signer_t *out, bk_err_t *err);
static int bk_own_write_cert(const char *path, bk_signer_t *s,
    bk_err_t *err);
static int bk_own_write_key(const char *path, const bk_signer_t *s,
    bk_err_t *err);
static int bk_own_damaged(bk_ca_t *ca, const char *path, const char *why,
    bk_err_t *err);


/* What a killed rotation left. */

int
bk_own_recover(bk_ca_t *ca, bk_authority_t *a, bk_err_t *err)
{
    int          named = 0;
    char         next[PATH_MAX], *text;
    X509        *cert;

    bk_ca_path(ca, a, BK_OWN_NEXT, next);

    if (bk_ca_read(next, 0, &text, err) != 0) {
        if (err->code != 404) {
            return -1;
        }

        /* a key alone was not named either */
        bk_own_forget(ca, a);
        return 0;
    }

    cert = bk_ca_pem_cert(text);
    free(text);

    if (cert != NULL) {
        named = a->now.cert != NULL && X509_cmp(cert, a->now.cert) == 0;
        X509_free(cert);
    }

    if (!named) {
        bk_own_forget(ca, a);
        return 0;
    }

    bk_log(BK_LOG_WARN, "ca", "finishing a rotation of the %s authority that "
           "was cut off", a->name);

    return bk_own_install(ca, a, err);
}


int
bk_own_prepare(bk_ca_t *ca, bk_authority_t *a, const bk_signer_t *next,
    bk_err_t *err)
{
    char         path[PATH_MAX];
    bk_signer_t  copy = *next;

    bk_own_forget(ca, a);

    /* the certificate last: with it there is a key */
    if (bk_own_write_key(bk_ca_path(ca, a, BK_OWN_NEXT_KEY, path), next, err)
        != 0)
    {
        return -1;
    }

    return bk_own_write_cert(bk_ca_path(ca, a, BK_OWN_NEXT, path), &copy, err);
}


/* The key first: as long as the certificate is here, this can be done. */

int
bk_own_install(bk_ca_t *ca, bk_authority_t *a, bk_err_t *err)
{
    char  from[PATH_MAX], to[PATH_MAX];

    bk_ca_path(ca, a, BK_OWN_NEXT_KEY, from);
    bk_ca_path(ca, a, BK_OWN_KEY, to);

    if (access(from, F_OK) == 0 && bk_ca_move(from, to, err) != 0) {
        return -1;
    }

    bk_ca_path(ca, a, BK_OWN_NEXT, from);
    bk_ca_path(ca, a, BK_OWN_CERT, to);

    if (bk_ca_move(from, to, err) != 0) {
        return -1;
    }

    bk_authority_stored(ca);

    return 0;
}


void
bk_own_forget(bk_ca_t *ca, bk_authority_t *a)
{
    char  path[PATH_MAX];

    (void) unlink(bk_ca_path(ca, a, BK_OWN_NEXT, path));
    (void) unlink(bk_ca_path(ca, a, BK_OWN_NEXT_KEY, path));
}


/* Our own pair, as it is in its files; made at the first start. */

int
bk_own_read(bk_ca_t *ca, bk_authority_t *a, bk_signer_t *out, bk_err_t *err)
{
    int    has_cert, has_key, rc = -1;
    char   cert_path[PATH_MAX], key_path[PATH_MAX];
    char  *cert = NULL, *key = NULL;

    bk_ca_path(ca, a, BK_OWN_CERT, cert_path);
    bk_ca_path(ca, a, BK_OWN_KEY, key_path);

    has_cert = bk_ca_read(cert_path, 0, &cert, err) == 0;
    if (!has_cert && err->code != 404) {
        return -1;
    }

    has_key = bk_ca_read(key_path, 0, &key, err) == 0;
    if (!has_key && err->code != 404) {
        goto done;
    }

    if (!has_key && (has_cert || (a->seen && a->own))) {
        bk_own_damaged(ca, key_path, "is missing", err);
        goto done;
    }

    if (has_key) {
        if (!a->known) {
            /* made by a version that did not write down what it issued */
            a->until_ms = bk_ca_now_ms(ca) + BK_CA_UNKNOWN_MS;
        }

        rc = bk_own_pair(ca, a, cert_path, key_path, cert, key, out, err);
        goto done;
    }

    bk_log(BK_LOG_INFO, "ca", "making the %s authority", a->name);

    /* known from the start; its name follows when it is there */
    a->own = 1;

    if ((!a->known && bk_authority_save(ca, a, 1, err) != 0)
        || bk_own_new_pair(a->name, out, err) != 0
        || bk_own_write_key(key_path, out, err) != 0)
    {
        goto done;
    }

    rc = bk_own_write_cert(cert_path, out, err);
    bk_authority_stored(ca);

done:

    bk_ca_burn(key);
    free(cert);

    return rc;
}


static int
bk_own_pair(bk_ca_t *ca, const bk_authority_t *a, const char *cert_path,
    const char *key_path, const char *cert, const char *key, bk_signer_t *out,
    bk_err_t *err)
{
    struct stat  st;

    out->key = bk_ca_pem_key(key);
    if (out->key == NULL) {
        return bk_own_damaged(ca, key_path, "holds no private key", err);
    }

    if (stat(key_path, &st) == 0 && (st.st_mode & 077) != 0) {
        bk_log(BK_LOG_WARN, "ca", "%s could be read by others (mode %03o): "
               "made 0600", key_path, st.st_mode & 0777);
        (void) chmod(key_path, 0600);
    }

    if (cert == NULL) {
        /* a first start that was cut off between the two files */
        bk_log(BK_LOG_WARN, "ca", "%s was missing: made again from its key",
               cert_path);
        out->cert = bk_ca_self(a->name, out->key, err);

        return out->cert != NULL ? bk_own_write_cert(cert_path, out, err)
                                 : -1;
    }

    out->cert = bk_ca_pem_cert(cert);
    if (out->cert == NULL) {
        return bk_own_damaged(ca, cert_path, "holds no certificate", err);
    }

    if (X509_check_ca(out->cert) != 1) {
        return bk_own_damaged(ca, cert_path, "is no authority's "
                                "certificate", err);
    }

    if (!bk_ca_key_fits(out->cert, out->key)) {
        ERR_clear_error();
        return bk_own_damaged(ca, cert_path, "does not belong to its key",
                                err);
    }

    if (X509_cmp_current_time(X509_get0_notAfter(out->cert)) <= 0) {
        return bk_own_damaged(ca, cert_path, "has expired", err);
    }

    out->trust = bk_ca_cert_pem(out->cert);
    out->chain = strdup("");

    return out->trust != NULL && out->chain != NULL
           ? 0 : bk_ca_fail(err, cert_path);
}


int
bk_own_new_pair(const char *name, bk_signer_t *out, bk_err_t *err)
{
    out->key = bk_ca_key();
    if (out->key == NULL) {
        return bk_ca_fail(err, "cannot make a key");
    }

    out->cert = bk_ca_self(name, out->key, err);
    if (out->cert == NULL) {
        return -1;
    }

    out->trust = bk_ca_cert_pem(out->cert);
    out->chain = strdup("");

    return out->trust != NULL && out->chain != NULL
           ? 0 : bk_ca_fail(err, "cannot write a certificate");
}


static int
bk_own_write_cert(const char *path, bk_signer_t *s, bk_err_t *err)
{
    if (s->trust == NULL) {
        s->trust = bk_ca_cert_pem(s->cert);
        s->chain = strdup("");

        if (s->trust == NULL || s->chain == NULL) {
            return bk_ca_fail(err, "cannot write a certificate");
        }
    }

    return bk_ca_write(path, s->trust, 0644, BK_CA_SYNC, err);
}


static int
bk_own_write_key(const char *path, const bk_signer_t *s, bk_err_t *err)
{
    int      rc;
    char    *pem;
    size_t   len;

    pem = bk_ca_key_pem(s->key, &len);
    if (pem == NULL) {
        return bk_ca_fail(err, "cannot write a key");
    }

    rc = bk_ca_write(path, pem, 0600, BK_CA_SYNC, err);
    bk_ca_burn(pem);

    return rc;
}


static int
bk_own_damaged(bk_ca_t *ca, const char *path, const char *why,
    bk_err_t *err)
{
    bk_err_set(err, 500, "BadAuthority", "%s %s", path, why);

    return bk_err_hint(err, "put it back from a backup; or move %s/ca away to "
                       "make new authorities, then no certificate issued so "
                       "far is good any more", ca->dir);
}
