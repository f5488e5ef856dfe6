/* Making certificates with OpenSSL.  See ca_int.h; PEM is in ca_pem.c. */

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ca_int.h"
#include "bk_err.h"


#define BK_CA_YEARS      10
/* Of our own authorities: each old one that is still in use puts one more
 * certificate between the oldest and what is issued now. */
#define BK_CA_PATHLEN    "critical,CA:TRUE,pathlen:4"
#define BK_CA_SKEW       300        /* clocks of clients that are behind */
#define BK_CA_CSR_MAX    16384


static X509 *bk_cert_new(EVP_PKEY *key,
    int (*set)(X509 *cert, EVP_PKEY *key));
static int bk_cert_times(X509 *cert, const X509 *ca, uint64_t not_after_ms);
static int bk_cert_name(X509_NAME *name, bk_str_t cn);
static int bk_cert_add(X509 *cert, X509 *ca, int nid, const char *value);
static int bk_cert_issuer(X509 *cert, X509 *ca);
static int bk_cert_sign(X509 *cert, EVP_PKEY *key);
static int bk_cert_curve_ok(const EVP_PKEY *key);


EVP_PKEY *
bk_ca_key(void)
{
    return EVP_EC_gen("P-256");
}


X509 *
bk_ca_self(const char *name, EVP_PKEY *key, bk_err_t *err)
{
    int             ok;
    char            cn[64];
    X509           *cert;
    unsigned        len;
    unsigned char   id[EVP_MAX_MD_SIZE];

    cert = bk_cert_new(key, X509_set_pubkey);
    ok = cert != NULL && X509_pubkey_digest(cert, EVP_sha256(), id, &len);
    X509_free(cert);

    if (!ok) {
        bk_ca_fail(err, "cannot make an authority");
        return NULL;
    }

    /* two installations must not have authorities of one name; but one that
     * is made again from its key is the same */
    snprintf(cn, sizeof(cn), "BuildKit %s authority %02x%02x%02x%02x", name,
             id[0], id[1], id[2], id[3]);

    return bk_ca_root((bk_str_t) { cn, strlen(cn) }, BK_CA_PATHLEN, key, err);
}


X509 *
bk_ca_root(bk_str_t cn, const char *constraints, EVP_PKEY *key, bk_err_t *err)
{
    X509       *cert = bk_cert_new(key, X509_set_pubkey);
    X509_NAME  *subject;

    if (cert == NULL) {
        goto failed;
    }

    subject = X509_get_subject_name(cert);

    if (!bk_cert_name(subject, cn)
        || !X509_set_issuer_name(cert, subject)
        || X509_gmtime_adj(X509_getm_notBefore(cert), -BK_CA_SKEW) == NULL
        || X509_time_adj_ex(X509_getm_notAfter(cert), BK_CA_YEARS * 365, 0,
                            NULL) == NULL
        || !bk_cert_add(cert, cert, NID_basic_constraints, constraints)
        || !bk_cert_add(cert, cert, NID_key_usage,
                        "critical,keyCertSign,cRLSign")
        || !bk_cert_add(cert, cert, NID_subject_key_identifier, "hash")
        || !bk_cert_sign(cert, key))
    {
        goto failed;
    }

    return cert;

failed:

    X509_free(cert);
    bk_ca_fail(err, "cannot make an authority");

    return NULL;
}


/*
 * What a peer that knows only the one before needs to verify what this one
 * issues.  Its name, its key and its key identifier are of's: it stands
 * wherever of stands.
 */

X509 *
bk_ca_cross(const bk_signer_t *by, X509 *of, bk_err_t *err)
{
    int              n;
    X509            *cert;
    const X509      *ends;
    X509_EXTENSION  *ext;

    ends = bk_ca_end_ms(of) < bk_ca_end_ms(by->cert) ? of : by->cert;
    cert = bk_cert_new(X509_get0_pubkey(of), X509_set_pubkey);

    if (cert == NULL
        || !X509_set_subject_name(cert, X509_get_subject_name(of))
        || !X509_set_issuer_name(cert, X509_get_subject_name(by->cert))
        || X509_gmtime_adj(X509_getm_notBefore(cert), -BK_CA_SKEW) == NULL
        || !X509_set1_notAfter(cert, X509_get0_notAfter(ends))
        || !bk_cert_add(cert, by->cert, NID_basic_constraints, BK_CA_PATHLEN)
        || !bk_cert_add(cert, by->cert, NID_key_usage,
                        "critical,keyCertSign,cRLSign"))
    {
        goto failed;
    }

    n = X509_get_ext_by_NID(of, NID_subject_key_identifier, -1);
    ext = n >= 0 ? X509_get_ext(of, n) : NULL;

    if ((ext != NULL && X509_add_ext(cert, ext, -1) != 1)
        || !bk_cert_issuer(cert, by->cert)
        || !bk_cert_sign(cert, by->key))
    {
        goto failed;
    }

    return cert;

failed:

    X509_free(cert);
    bk_ca_fail(err, "cannot make a cross certificate");

    return NULL;
}


X509 *
bk_ca_sign(const bk_signer_t *by, const bk_cert_request_t *req,
    EVP_PKEY *key, bk_err_t *err)
{
    int    server = req->kind == BK_CERT_GATEWAY
                    || req->kind == BK_CERT_WORKER;
    X509  *cert;

    if (req->cn.len == 0 || req->cn.len > 64
        || memchr(req->cn.data, '\0', req->cn.len) != NULL)
    {
        bk_err_set(err, 400, "BadName",
                   "a certificate's name has 1 to 64 bytes");
        return NULL;
    }

    /* nobody asks this one for its key: the quick way will do */
    cert = bk_cert_new(key, bk_ca_key_into);

    if (cert == NULL || !bk_cert_name(X509_get_subject_name(cert), req->cn)
        || !X509_set_issuer_name(cert, X509_get_subject_name(by->cert))
        || !bk_cert_times(cert, by->cert, req->not_after_ms)
        || !bk_cert_add(cert, by->cert, NID_basic_constraints,
                        "critical,CA:FALSE")
        || !bk_cert_add(cert, by->cert, NID_key_usage,
                        "critical,digitalSignature")
        || !bk_cert_add(cert, by->cert, NID_ext_key_usage,
                        server ? "serverAuth" : "clientAuth")
        || !bk_cert_add(cert, by->cert, NID_subject_key_identifier, "hash")
        || !bk_cert_issuer(cert, by->cert))
    {
        bk_ca_fail(err, "cannot make a certificate");
        goto failed;
    }

    if (req->names.len != 0 && bk_ca_names(cert, req->names, err) != 0) {
        goto failed;
    }

    if (!bk_cert_sign(cert, by->key)) {
        bk_ca_fail(err, "cannot sign a certificate");
        goto failed;
    }

    return cert;

failed:

    X509_free(cert);

    return NULL;
}


/* Whose key is it to be?  Of a CSR only the key is used, once its signature
 * shows that whoever sent it has the private one. */

EVP_PKEY *
bk_ca_requested(const bk_cert_request_t *req, bk_err_t *err)
{
    BIO                  *bio;
    EVP_PKEY             *key;
    X509_REQ             *csr;
    const unsigned char  *p;

    if (req->spki.len != 0) {
        p = (const unsigned char *) req->spki.data;
        key = d2i_PUBKEY(NULL, &p, (long) req->spki.len);

    } else if (req->csr.len != 0) {
        if (req->csr.len > BK_CA_CSR_MAX) {
            bk_err_set(err, 400, "BadCsr", "the csr is larger than %d bytes",
                       BK_CA_CSR_MAX);
            return NULL;
        }

        bio = BIO_new_mem_buf(req->csr.data, (int) req->csr.len);
        /* with a pass phrase, or else OpenSSL asks the terminal for one and
         * waits */
        csr = bio != NULL
              ? PEM_read_bio_X509_REQ(bio, NULL, NULL, (void *) "") : NULL;
        BIO_free(bio);

        key = csr != NULL ? X509_REQ_get_pubkey(csr) : NULL;

        if (key != NULL && X509_REQ_verify(csr, key) != 1) {
            EVP_PKEY_free(key);
            key = NULL;
        }

        X509_REQ_free(csr);

    } else {
        key = bk_ca_key();
        if (key == NULL) {
            bk_ca_fail(err, "cannot make a key");
        }

        return key;
    }

    ERR_clear_error();

    if (key == NULL || !bk_ca_key_ok(key)) {
        EVP_PKEY_free(key);
        bk_err_set(err, 400, "BadCsr", "the csr is no signed PEM certificate "
                   "request with a key that is strong enough");
        bk_err_hint(err, "use P-256, P-384, Ed25519, or RSA of 2048 to 4096 "
                    "bits");
        return NULL;
    }

    return key;
}


int
bk_ca_key_ok(const EVP_PKEY *key)
{
    int  bits = EVP_PKEY_get_bits(key);

    switch (EVP_PKEY_get_base_id(key)) {

    case EVP_PKEY_EC:
        return bk_cert_curve_ok(key);

    case EVP_PKEY_RSA:
        return bits >= 2048 && bits <= 4096;

    case EVP_PKEY_ED25519:
        return 1;

    default:
        return 0;
    }
}


/* Other curves have as many bits: no TLS of ours does those, and one may be
 * of somebody's own making. */

static int
bk_cert_curve_ok(const EVP_PKEY *key)
{
    int     ok;
    char    name[32];
    size_t  len;

    ok = EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, name,
                                        sizeof(name), &len)
         == 1
         && (strcmp(name, "prime256v1") == 0
             || strcmp(name, "secp384r1") == 0);
    ERR_clear_error();

    return ok;
}


static X509 *
bk_cert_new(EVP_PKEY *key, int (*set)(X509 *cert, EVP_PKEY *key))
{
    X509           *cert;
    BIGNUM         *bn;
    unsigned char   serial[16];

    cert = X509_new();
    if (cert == NULL || RAND_bytes(serial, sizeof(serial)) != 1) {
        X509_free(cert);
        return NULL;
    }

    /* positive, and never shorter than 15 bytes */
    serial[0] = (unsigned char) ((serial[0] & 0x7f) | 0x40);
    bn = BN_bin2bn(serial, sizeof(serial), NULL);

    if (bn == NULL
        || BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(cert)) == NULL
        || !X509_set_version(cert, 2)
        || !set(cert, key))
    {
        X509_free(cert);
        cert = NULL;
    }

    BN_free(bn);

    return cert;
}


static int
bk_cert_times(X509 *cert, const X509 *ca, uint64_t not_after_ms)
{
    time_t  after = (time_t) (not_after_ms / 1000);

    if (X509_gmtime_adj(X509_getm_notBefore(cert), -BK_CA_SKEW) == NULL) {
        return 0;
    }

    /* none outlives its authority */
    if (not_after_ms == 0
        || ASN1_TIME_cmp_time_t(X509_get0_notAfter(ca), after) < 0)
    {
        return X509_set1_notAfter(cert, X509_get0_notAfter(ca));
    }

    return ASN1_TIME_set(X509_getm_notAfter(cert), after) != NULL;
}


static int
bk_cert_name(X509_NAME *name, bk_str_t cn)
{
    return X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
                                      (const unsigned char *) cn.data,
                                      (int) cn.len, -1, 0);
}


static int
bk_cert_add(X509 *cert, X509 *ca, int nid, const char *value)
{
    int              rc;
    X509V3_CTX       ctx;
    X509_EXTENSION  *ext;

    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, ca, cert, NULL, NULL, 0);

    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    if (ext == NULL) {
        return 0;
    }

    rc = X509_add_ext(cert, ext, -1);
    X509_EXTENSION_free(ext);

    return rc;
}


/* Which key signed it, for those who know several; one without an identifier
 * is found by its name. */

static int
bk_cert_issuer(X509 *cert, X509 *ca)
{
    return X509_get0_subject_key_id(ca) == NULL
           || bk_cert_add(cert, ca, NID_authority_key_identifier,
                          "keyid:always");
}


/* Ed25519 has its own digest. */

static int
bk_cert_sign(X509 *cert, EVP_PKEY *key)
{
    return X509_sign(cert, key, EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519
                                ? NULL : EVP_sha256())
           > 0;
}
