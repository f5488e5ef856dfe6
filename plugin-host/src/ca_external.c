/*
 * A key pair of an issuer from outside: read from files as cert-manager
 * writes them (tls.crt, tls.key, ca.crt), and checked before anything is
 * signed with it.  Its files are read only; its key stays in memory.
 */

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ca_int.h"
#include "bk_err.h"
#include "log.h"


#define BK_EXTERNAL_MAX  16         /* certificates in a file */


static int bk_external_read(const char *name, const bk_ca_files_t *files,
    bk_signer_t *out, STACK_OF(X509) **certs, STACK_OF(X509) **roots,
    bk_err_t *err);
static int bk_external_roots(const bk_ca_files_t *files,
    STACK_OF(X509) *certs, STACK_OF(X509) **roots, bk_err_t *err);
static int bk_external_leads(const bk_ca_files_t *files,
    STACK_OF(X509) *certs, STACK_OF(X509) *roots, bk_err_t *err);
static int bk_external_chain(bk_signer_t *out, STACK_OF(X509) *certs,
    STACK_OF(X509) *roots);
static int bk_external_bad(const char *path, const char *why, bk_err_t *err);


int
bk_ca_external(bk_ca_t *ca, const char *name, const bk_ca_files_t *files,
    bk_signer_t *out, bk_err_t *err)
{
    int              rc = -1;
    STACK_OF(X509)  *certs = NULL, *roots = NULL;

    (void) ca;

    if (bk_external_read(name, files, out, &certs, &roots, err) != 0
        || bk_signer_check(files, out, err) != 0
        || bk_external_leads(files, certs, roots, err) != 0)
    {
        goto done;
    }

    if (bk_external_chain(out, certs, roots) != 0) {
        bk_ca_fail(err, files->cert);
        goto done;
    }

    rc = 0;

done:

    sk_X509_pop_free(certs, X509_free);
    sk_X509_pop_free(roots, X509_free);
    ERR_clear_error();

    if (rc != 0) {
        bk_signer_clear(out);
        bk_err_prefix(err, "the %s authority's issuer", name);
    }

    return rc;
}


static int
bk_external_read(const char *name, const bk_ca_files_t *files,
    bk_signer_t *out, STACK_OF(X509) **certs, STACK_OF(X509) **roots,
    bk_err_t *err)
{
    char  *text;

    (void) name;

    if (bk_ca_read(files->cert, 1, &text, err) != 0) {
        return -1;
    }

    *certs = bk_ca_pem_certs(text);
    free(text);

    if (*certs == NULL || sk_X509_num(*certs) > BK_EXTERNAL_MAX) {
        return bk_external_bad(files->cert, "holds no certificate, a damaged "
                               "one, or too many", err);
    }

    out->cert = sk_X509_value(*certs, 0);
    X509_up_ref(out->cert);

    if (bk_ca_read(files->key, 1, &text, err) != 0) {
        return -1;
    }

    out->key = bk_ca_pem_key(text);
    bk_ca_burn(text);

    if (out->key == NULL) {
        return bk_external_bad(files->key, "holds no private key, or one with "
                               "a pass phrase", err);
    }

    return bk_external_roots(files, *certs, roots, err);
}


/* ca.crt; or the last of tls.crt, when that is a root. */

static int
bk_external_roots(const bk_ca_files_t *files, STACK_OF(X509) *certs,
    STACK_OF(X509) **roots, bk_err_t *err)
{
    char  *text;
    X509  *last;

    if (files->ca != NULL) {
        if (bk_ca_read(files->ca, 1, &text, err) != 0) {
            return -1;
        }

        *roots = bk_ca_pem_certs(text);
        free(text);

        return *roots != NULL && sk_X509_num(*roots) <= BK_EXTERNAL_MAX
               ? 0
               : bk_external_bad(files->ca, "holds no certificate, a damaged "
                                 "one, or too many", err);
    }

    last = sk_X509_value(certs, sk_X509_num(certs) - 1);

    if (X509_self_signed(last, 1) != 1) {
        bk_external_bad(files->cert, "is an intermediate's certificate, and "
                        "its root is not known", err);
        return bk_err_hint(err, "name the file of the root (ca.crt) as ca of "
                           "this issuer");
    }

    *roots = sk_X509_new_null();
    X509_up_ref(last);

    if (*roots == NULL || !sk_X509_push(*roots, last)) {
        abort();
    }

    return 0;
}


int
bk_signer_check(const bk_ca_files_t *files, bk_signer_t *s, bk_err_t *err)
{
    uint32_t  usage;

    if (X509_check_ca(s->cert) != 1) {
        bk_external_bad(files->cert, "is no authority's certificate "
                        "(CA:TRUE)", err);
        return bk_err_hint(err, "in cert-manager: isCA: true");
    }

    usage = X509_get_key_usage(s->cert);

    if ((usage & KU_KEY_CERT_SIGN) == 0) {
        return bk_external_bad(files->cert, "may not sign certificates (key "
                               "usage)", err);
    }

    if (!bk_ca_key_ok(s->key)) {
        bk_external_bad(files->key, "is no key that is good enough", err);
        return bk_err_hint(err, "use P-256, P-384, Ed25519, or RSA of 2048 to "
                           "4096 bits");
    }

    if (!bk_ca_key_fits(s->cert, s->key)) {
        bk_external_bad(files->key, "does not belong to the certificate", err);
        return bk_err_hint(err, "both are read again when either changes");
    }

    if (X509_cmp_current_time(X509_get0_notAfter(s->cert)) <= 0) {
        return bk_external_bad(files->cert, "has expired", err);
    }

    if (X509_cmp_current_time(X509_get0_notBefore(s->cert)) > 0) {
        return bk_external_bad(files->cert, "is not valid yet", err);
    }

    return 0;
}


/*
 * Does it lead to the root, and may it issue?  Seen from an end certificate
 * below it: with what every peer has, and the path length that Go counts.
 */

static int
bk_external_leads(const bk_ca_files_t *files, STACK_OF(X509) *certs,
    STACK_OF(X509) *roots, bk_err_t *err)
{
    int              i, n, rc = -1;
    long             len;
    char             why[160];
    X509_STORE      *store = X509_STORE_new();
    X509_STORE_CTX  *ctx = X509_STORE_CTX_new();
    STACK_OF(X509)  *chain;

    if (store == NULL || ctx == NULL) {
        abort();
    }

    for (i = 0; i < sk_X509_num(roots); i++) {
        (void) X509_STORE_add_cert(store, sk_X509_value(roots, i));
    }

    if (X509_STORE_CTX_init(ctx, store, sk_X509_value(certs, 0), certs) != 1) {
        abort();
    }

    if (X509_verify_cert(ctx) != 1) {
        snprintf(why, sizeof(why), "does not lead to a root that is known: %s",
                 X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
        bk_external_bad(files->cert, why, err);
        goto done;
    }

    chain = X509_STORE_CTX_get0_chain(ctx);
    n = sk_X509_num(chain);

    for (i = 0; i < n; i++) {
        len = X509_get_pathlen(sk_X509_value(chain, i));

        if (len != -1 && len < i) {
            snprintf(why, sizeof(why), "is too far from its root: a "
                     "certificate above it has the path length %ld", len);
            bk_external_bad(files->cert, why, err);
            goto done;
        }
    }

    rc = 0;

done:

    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);

    return rc;
}


/* An intermediate is handed on below each certificate, roots never are. */

static int
bk_external_chain(bk_signer_t *out, STACK_OF(X509) *certs,
    STACK_OF(X509) *roots)
{
    int              i;
    X509            *cert;
    STACK_OF(X509)  *above = sk_X509_new_null();

    if (above == NULL) {
        abort();
    }

    for (i = 0; i < sk_X509_num(certs); i++) {
        cert = sk_X509_value(certs, i);

        if (X509_self_signed(cert, 0) != 1 && !sk_X509_push(above, cert)) {
            abort();
        }
    }

    out->chain = bk_ca_certs_pem(above, 0);
    out->trust = bk_ca_certs_pem(roots, 0);
    sk_X509_free(above);

    return out->chain != NULL && out->trust != NULL ? 0 : -1;
}


/*
 * With one root for both, a client's certificate would open workers, and a
 * worker could pose as the gateway.
 */

int
bk_ca_apart(const char *trust, const char *other, bk_err_t *err)
{
    int              i, j, same = 0;
    STACK_OF(X509)  *one, *two;

    one = bk_ca_pem_certs(trust);
    two = bk_ca_pem_certs(other);

    if (one == NULL || two == NULL) {
        abort();
    }

    for (i = 0; i < sk_X509_num(one); i++) {
        for (j = 0; j < sk_X509_num(two); j++) {
            if (EVP_PKEY_eq(X509_get0_pubkey(sk_X509_value(one, i)),
                            X509_get0_pubkey(sk_X509_value(two, j)))
                == 1)
            {
                same = 1;
            }
        }
    }

    sk_X509_pop_free(one, X509_free);
    sk_X509_pop_free(two, X509_free);
    ERR_clear_error();

    if (!same) {
        return 0;
    }

    bk_err_set(err, 500, "OneAuthority", "the gateway authority and the worker "
               "authority have a root in common: a client's certificate would "
               "open workers without the gateway");
    return bk_err_hint(err, "issue them from two roots; an issuer may have "
                       "one of them, and this program the other");
}


static int
bk_external_bad(const char *path, const char *why, bk_err_t *err)
{
    return bk_err_set(err, 500, "BadAuthority", "%s %s", path, why);
}
