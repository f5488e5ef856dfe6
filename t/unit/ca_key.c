/* Keys as bytes: what is written by hand for P-256 is what OpenSSL writes, and
 * every other key goes its way.  Prints TAP. */

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/pem.h>

#include "ca_test.h"


static void
compare(const char *name, EVP_PKEY *key)
{
    int             len, theirs;
    BIO            *bio = BIO_new(BIO_s_mem());
    X509           *cert = X509_new(), *again;
    char           *data, *pem, what[80];
    long            n;
    size_t          pem_len;
    unsigned char  *der, *want = NULL, *out = NULL;

    const unsigned char  *p;

    len = bk_ca_key_spki(key, &der);
    theirs = i2d_PUBKEY(key, &want);
    snprintf(what, sizeof(what), "%s: SubjectPublicKeyInfo", name);
    ok(len > 0 && len == theirs && memcmp(der, want, (size_t) len) == 0,
       what);

    pem = bk_ca_key_pem(key, &pem_len);
    PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
    n = BIO_get_mem_data(bio, &data);
    snprintf(what, sizeof(what), "%s: PKCS#8", name);
    ok(pem != NULL && pem_len == (size_t) n
       && memcmp(pem, data, (size_t) n) == 0, what);

    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 60);

    snprintf(what, sizeof(what), "%s: in a certificate", name);
    ok(bk_ca_key_into(cert, key) == 1
       && X509_sign(cert, key, EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519
                               ? NULL : EVP_sha256()) > 0, what);

    n = i2d_X509(cert, &out);
    p = out;
    again = d2i_X509(NULL, &p, n);
    snprintf(what, sizeof(what), "%s: and out of it again", name);
    ok(again != NULL && X509_verify(again, key) == 1
       && EVP_PKEY_eq(X509_get0_pubkey(again), key) == 1, what);

    OPENSSL_free(der);
    OPENSSL_free(want);
    OPENSSL_free(out);
    free(pem);
    X509_free(cert);
    X509_free(again);
    BIO_free(bio);
    EVP_PKEY_free(key);
}


static void
allowed(const char *name, EVP_PKEY *key, int want)
{
    char  what[80];

    snprintf(what, sizeof(what), "%s: %s", name, want ? "taken" : "not taken");
    ok(key != NULL && bk_ca_key_ok(key) == want, what);
    EVP_PKEY_free(key);
}


/* The public half is as it was, the private one is not. */

static void
damaged(const char *name, EVP_PKEY *key)
{
    int             n, type = EVP_PKEY_get_base_id(key);
    X509           *cert = X509_new();
    char            what[80];
    EVP_PKEY       *bad;
    unsigned char  *der = NULL;

    const unsigned char  *p;

    X509_set_pubkey(cert, key);
    snprintf(what, sizeof(what), "%s: belongs to its certificate", name);
    ok(bk_ca_key_fits(cert, key) == 1, what);

    n = i2d_PrivateKey(key, &der);
    der[type == EVP_PKEY_EC ? 12 : n / 2] ^= 1;
    p = der;
    bad = d2i_PrivateKey(type, NULL, &p, n);
    snprintf(what, sizeof(what), "%s: a damaged one does not", name);
    ok(bad != NULL && bk_ca_key_fits(cert, bad) == 0, what);

    OPENSSL_free(der);
    X509_free(cert);
    EVP_PKEY_free(bad);
    EVP_PKEY_free(key);
}


int
main(void)
{
    int        i, bad;
    size_t     len;
    EVP_PKEY  *key;

    compare("P-256", EVP_EC_gen("P-256"));
    compare("P-384", EVP_EC_gen("P-384"));
    compare("secp256k1", EVP_EC_gen("secp256k1"));
    compare("RSA", EVP_RSA_gen(2048));
    compare("Ed25519", EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));

    key = EVP_EC_gen("P-256");
    EVP_PKEY_set_utf8_string_param(key,
        OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "compressed");
    compare("P-256, compressed", key);

    /* of callers and issuers */
    allowed("P-256", EVP_EC_gen("P-256"), 1);
    allowed("P-384", EVP_EC_gen("P-384"), 1);
    allowed("P-521", EVP_EC_gen("P-521"), 0);
    allowed("secp256k1", EVP_EC_gen("secp256k1"), 0);
    allowed("brainpoolP384r1", EVP_EC_gen("brainpoolP384r1"), 0);
    allowed("RSA of 1024", EVP_RSA_gen(1024), 0);

    damaged("P-256", EVP_EC_gen("P-256"));
    damaged("P-384", EVP_EC_gen("P-384"));

    /* numbers with leading zeroes are one in 256 */
    for (bad = i = 0; i < 1000; i++) {
        unsigned char  *der, *want = NULL;

        key = EVP_EC_gen("P-256");
        len = (size_t) bk_ca_key_spki(key, &der);
        bad += i2d_PUBKEY(key, &want) != (int) len
               || memcmp(der, want, len) != 0;
        OPENSSL_free(der);
        OPENSSL_free(want);

        if (i % 4 == 0) {
            BIO   *bio = BIO_new(BIO_s_mem());
            char  *pem = bk_ca_key_pem(key, &len), *data;

            PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL,
                                          NULL);
            bad += BIO_get_mem_data(bio, &data) != (long) len
                   || memcmp(pem, data, len) != 0;
            BIO_free(bio);
            free(pem);
        }

        EVP_PKEY_free(key);
    }

    ok(bad == 0, "1000 keys of P-256");

    printf("1..%d\n", ca_test_n);

    return 0;
}
