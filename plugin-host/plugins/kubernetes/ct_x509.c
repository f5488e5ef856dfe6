/*
 * Reading certificates of Secrets, which anybody may have filled with
 * anything: see ct_pool.h.  A key is looked at here only, and is never a part
 * of what is said.
 */

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bk_err.h"
#include "ct_pool.h"
#include "tls_read.h"


#define CT_X509_CERTS  64           /* in one PEM */


static void ct_x509_info(X509 *cert, ct_x509_t *out);
static int ct_x509_pair(const ct_pair_t *p, STACK_OF(X509) *certs,
    STACK_OF(X509) *roots, uint64_t now_ms, ct_x509_t *out, bk_err_t *err);
static int ct_x509_leads(STACK_OF(X509) *certs, STACK_OF(X509) *roots,
    int server, uint64_t now_ms, bk_err_t *err);
static int ct_x509_names(X509 *cert, const char *names, bk_err_t *err);
static int ct_x509_extra(X509 *cert, const char *names, bk_err_t *err);
static int ct_x509_is(const GENERAL_NAME *gn, const char *name, size_t n);
static int ct_x509_named(X509 *cert, const char *name, size_t len);
static char *ct_x509_pem(STACK_OF(X509) *certs, const char *cn);
static int ct_x509_cn(X509 *cert, const char *cn);


int
ct_x509_check(const ct_pair_t *p, uint64_t now_ms, ct_x509_t *out,
    bk_err_t *err)
{
    int              rc = -1;
    STACK_OF(X509)  *certs, *roots;

    memset(out, 0, sizeof(ct_x509_t));
    certs = tls_read_certs(p->cert, CT_X509_CERTS);
    roots = tls_read_certs(p->ca, CT_X509_CERTS);

    if (certs == NULL) {
        bk_err_set(err, 422, "BadCertificate", "the certificate is no PEM of "
                   "1 to %d certificates", CT_X509_CERTS);

    } else if (roots == NULL) {
        bk_err_set(err, 422, "BadCertificate", "ca.crt is no PEM of 1 to %d "
                   "certificates", CT_X509_CERTS);

    } else {
        rc = ct_x509_pair(p, certs, roots, now_ms, out, err);
    }

    sk_X509_pop_free(certs, X509_free);
    sk_X509_pop_free(roots, X509_free);
    ERR_clear_error();

    return rc;
}


static int
ct_x509_pair(const ct_pair_t *p, STACK_OF(X509) *certs,
    STACK_OF(X509) *roots, uint64_t now_ms, ct_x509_t *out, bk_err_t *err)
{
    int        same;
    X509      *cert = sk_X509_value(certs, 0);
    char       at[32];
    EVP_PKEY  *key = tls_read_key(p->key);

    if (key == NULL) {
        return bk_err_set(err, 422, "BadKey", "the key is no PEM of a private "
                          "key without a pass phrase");
    }

    same = X509_check_private_key(cert, key) == 1;
    EVP_PKEY_free(key);

    ct_x509_info(cert, out);

    if (!same) {
        return bk_err_set(err, 422, "KeyMismatch", "the key is another "
                          "certificate's");
    }

    if (out->not_before_ms > now_ms) {
        return bk_err_set(err, 422, "NotYetValid", "the certificate is valid "
                          "from %s on",
                          ct_pool_time(out->not_before_ms, at));
    }

    if (out->not_after_ms <= now_ms) {
        return bk_err_set(err, 422, "Expired", "the certificate has expired, "
                          "at %s", ct_pool_time(out->not_after_ms, at));
    }

    if (ct_x509_leads(certs, roots, p->server, now_ms, err) != 0) {
        return -1;
    }

    if (p->names != NULL && ct_x509_names(cert, p->names, err) != 0) {
        return -1;
    }

    return p->names != NULL && p->exact ? ct_x509_extra(cert, p->names, err)
                                        : 0;
}


/* As Go and nginx verify it: whoever is in ca.crt need not be a root. */

static int
ct_x509_leads(STACK_OF(X509) *certs, STACK_OF(X509) *roots, int server,
    uint64_t now_ms, bk_err_t *err)
{
    int              i, why;
    X509_STORE      *store = X509_STORE_new();
    X509_STORE_CTX  *ctx = X509_STORE_CTX_new();

    if (store == NULL || ctx == NULL) {
        abort();
    }

    for (i = 0; i < sk_X509_num(roots); i++) {
        X509_STORE_add_cert(store, sk_X509_value(roots, i));
    }

    if (X509_STORE_CTX_init(ctx, store, sk_X509_value(certs, 0), certs) != 1) {
        abort();
    }

    X509_STORE_CTX_set_purpose(ctx, server ? X509_PURPOSE_SSL_SERVER
                                           : X509_PURPOSE_SSL_CLIENT);
    X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_PARTIAL_CHAIN);
    X509_STORE_CTX_set_time(ctx, 0, (time_t) (now_ms / 1000));

    why = X509_verify_cert(ctx) == 1 ? X509_V_OK
                                     : X509_STORE_CTX_get_error(ctx);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);

    if (why != X509_V_OK) {
        return bk_err_set(err, 422, "NotTrusted", "the certificate does not "
                          "lead to ca.crt as a %s's: %s",
                          server ? "server" : "client",
                          X509_verify_cert_error_string(why));
    }

    return 0;
}


static int
ct_x509_names(X509 *cert, const char *names, bk_err_t *err)
{
    size_t       n;
    const char  *at;

    for (at = names; *at != '\0'; at += n + (at[n] == ',')) {
        n = strcspn(at, ",");

        if (n != 0 && !ct_x509_named(cert, at, n)) {
            return bk_err_set(err, 422, "NameMissing", "the certificate is "
                              "not for %.*s", (int) n, at);
        }
    }

    return 0;
}


static int
ct_x509_named(X509 *cert, const char *name, size_t len)
{
    char           host[256];
    unsigned       flags;
    unsigned char  addr[16];

    if (len >= sizeof(host)) {
        return 0;
    }

    memcpy(host, name, len);
    host[len] = '\0';

    if (inet_pton(AF_INET, host, addr) == 1
        || inet_pton(AF_INET6, host, addr) == 1)
    {
        return X509_check_ip_asc(cert, host, 0) == 1;
    }

    /* who asks for all of them asks for that very name */
    flags = host[0] == '*' ? X509_CHECK_FLAG_NO_WILDCARDS : 0;

    return X509_check_host(cert, host, len, flags, NULL) == 1;
}


/* A name that was asked for once opens doors for as long as it is in it. */

static int
ct_x509_extra(X509 *cert, const char *names, bk_err_t *err)
{
    int             i, found = 1;
    size_t          n;
    const char     *at;
    GENERAL_NAMES  *list;

    list = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);

    for (i = 0; found && i < sk_GENERAL_NAME_num(list); i++) {
        found = 0;

        for (at = names; *at != '\0' && !found; at += n + (at[n] == ',')) {
            n = strcspn(at, ",");
            found = ct_x509_is(sk_GENERAL_NAME_value(list, i), at, n);
        }
    }

    GENERAL_NAMES_free(list);

    return found ? 0 : bk_err_set(err, 409, "NameExtra", "the certificate has "
                                  "a name that is not asked for any more");
}


/* An address may be written in more than one way. */

static int
ct_x509_is(const GENERAL_NAME *gn, const char *name, size_t n)
{
    int                   type, len, want;
    char                  text[256];
    unsigned char         addr[16];
    const ASN1_STRING    *s = GENERAL_NAME_get0_value(gn, &type);
    const unsigned char  *data;

    if ((type != GEN_DNS && type != GEN_IPADD) || n >= sizeof(text)) {
        return 0;
    }

    memcpy(text, name, n);
    text[n] = '\0';
    data = ASN1_STRING_get0_data(s);
    len = ASN1_STRING_length(s);

    if (type == GEN_DNS) {
        return len == (int) n
               && strncasecmp((const char *) data, text, n) == 0;
    }

    want = inet_pton(AF_INET, text, addr) == 1 ? 4
           : inet_pton(AF_INET6, text, addr) == 1 ? 16 : 0;

    return want != 0 && len == want && memcmp(data, addr, (size_t) len) == 0;
}


char *
ct_x509_bundle(const char *pem, bk_err_t *err)
{
    char            *copy;
    STACK_OF(X509)  *certs = tls_read_certs(pem, CT_X509_CERTS);

    if (certs == NULL) {
        bk_err_set(err, 422, "BadCertificate", "is no PEM of 1 to %d "
                   "certificates", CT_X509_CERTS);
        return NULL;
    }

    copy = ct_x509_pem(certs, NULL);
    sk_X509_pop_free(certs, X509_free);

    return copy;
}


char *
ct_x509_named_so(const char *pem, const char *cn)
{
    char            *copy;
    STACK_OF(X509)  *certs = tls_read_certs(pem, CT_X509_CERTS);

    copy = certs != NULL ? ct_x509_pem(certs, cn) : NULL;
    sk_X509_pop_free(certs, X509_free);
    ERR_clear_error();

    return copy;
}


int
ct_x509_alone(const char *pem, const char *cn)
{
    int              is;
    X509            *cert;
    STACK_OF(X509)  *certs = tls_read_certs(pem, CT_X509_CERTS);

    is = certs != NULL && sk_X509_num(certs) == 1;

    if (is) {
        cert = sk_X509_value(certs, 0);
        is = ct_x509_cn(cert, cn)
             && X509_NAME_cmp(X509_get_subject_name(cert),
                              X509_get_issuer_name(cert)) == 0;
    }

    sk_X509_pop_free(certs, X509_free);
    ERR_clear_error();

    return is;
}


/* those of that CN; NULL: all */

static char *
ct_x509_pem(STACK_OF(X509) *certs, const char *cn)
{
    int    i;
    BIO   *out = BIO_new(BIO_s_mem());
    char  *text, *copy;
    long   n;

    if (out == NULL) {
        abort();
    }

    for (i = 0; i < sk_X509_num(certs); i++) {
        if ((cn == NULL || ct_x509_cn(sk_X509_value(certs, i), cn))
            && PEM_write_bio_X509(out, sk_X509_value(certs, i)) != 1)
        {
            abort();
        }
    }

    n = BIO_get_mem_data(out, &text);
    copy = ct_pool_printf("%.*s", (int) n, text);
    BIO_free(out);

    return copy;
}


/* A CN has 64 bytes at most. */

static int
ct_x509_cn(X509 *cert, const char *cn)
{
    char  name[65];

    return X509_NAME_get_text_by_NID(X509_get_subject_name(cert),
                                     NID_commonName, name, sizeof(name)) > 0
           && strncmp(name, cn, sizeof(name) - 1) == 0;
}


/* Two authorities of one name are told apart by their keys' identifiers. */

static void
ct_x509_info(X509 *cert, ct_x509_t *out)
{
    int                       i, n;
    unsigned char            *der = NULL, md[EVP_MAX_MD_SIZE];
    EVP_MD_CTX               *ctx = EVP_MD_CTX_new();
    const ASN1_OCTET_STRING  *id = X509_get0_authority_key_id(cert);

    out->not_before_ms = tls_read_ms(X509_get0_notBefore(cert));
    out->not_after_ms = tls_read_ms(X509_get0_notAfter(cert));

    n = i2d_X509_NAME(X509_get_issuer_name(cert), &der);

    if (ctx == NULL || n <= 0 || EVP_DigestInit(ctx, EVP_sha256()) != 1
        || EVP_DigestUpdate(ctx, der, (size_t) n) != 1
        || (id != NULL
            && EVP_DigestUpdate(ctx, ASN1_STRING_get0_data(id),
                                (size_t) ASN1_STRING_length(id)) != 1)
        || EVP_DigestFinal(ctx, md, NULL) != 1)
    {
        abort();
    }

    for (i = 0; i < 8; i++) {
        snprintf(out->issuer + 2 * i, 3, "%02x", md[i]);
    }

    OPENSSL_free(der);
    EVP_MD_CTX_free(ctx);
}
