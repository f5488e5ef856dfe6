/*
 * Keys as bytes.  OpenSSL 3.0 looks through all of its encoders each time a
 * key is written, which takes longer than making the key and signing the
 * certificate together; and every allocation needs that three times.  The
 * bytes around a P-256 key are always the same, so they are written here.
 * Any other key goes OpenSSL's way, with the same result.
 */

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "ca_int.h"


#define BK_P256_POINT     65        /* 04 X Y */
#define BK_P256_NUMBER    32
#define BK_SIGNATURE_MAX  1024      /* RSA of 8192 bits */


/* SubjectPublicKeyInfo of RFC 5480, up to the point */
static const unsigned char  bk_p256_spki[] = {
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
    0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03,
    0x42, 0x00
};

/* PrivateKeyInfo of RFC 5208 around ECPrivateKey of RFC 5915, up to the
   number; then what is between that and the point */
static const unsigned char  bk_p256_private[] = {
    0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
    0x03, 0x01, 0x07, 0x04, 0x6d, 0x30, 0x6b, 0x02, 0x01, 0x01, 0x04, 0x20
};

static const unsigned char  bk_p256_public[] = {
    0xa1, 0x44, 0x03, 0x42, 0x00
};

#define BK_P256_PEM  (sizeof(bk_p256_private) + BK_P256_NUMBER                \
                      + sizeof(bk_p256_public) + BK_P256_POINT)


static int bk_p256_point(const EVP_PKEY *key, unsigned char *point);
static int bk_p256_der(const EVP_PKEY *key, unsigned char *der);


/* 1: it is a P-256 key whose point is written in full. */

static int
bk_p256_point(const EVP_PKEY *key, unsigned char *point)
{
    char           name[32];
    size_t         len;
    unsigned char  data[BK_P256_POINT + 1];

    if (EVP_PKEY_get_base_id(key) != EVP_PKEY_EC
        || EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME,
                                          name, sizeof(name), &len) != 1
        || strcmp(name, "prime256v1") != 0
        || EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY,
                                           data, sizeof(data), &len) != 1
        || len != BK_P256_POINT || data[0] != POINT_CONVERSION_UNCOMPRESSED)
    {
        return 0;
    }

    memcpy(point, data, BK_P256_POINT);

    return 1;
}


/* der: BK_P256_PEM bytes, secret. */

static int
bk_p256_der(const EVP_PKEY *key, unsigned char *der)
{
    BIGNUM         *n = NULL;
    unsigned char  *p = der;

    if (!bk_p256_point(key, der + BK_P256_PEM - BK_P256_POINT)
        || EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_PRIV_KEY, &n) != 1)
    {
        return 0;
    }

    memcpy(p, bk_p256_private, sizeof(bk_p256_private));
    p += sizeof(bk_p256_private);

    if (BN_bn2binpad(n, p, BK_P256_NUMBER) != BK_P256_NUMBER) {
        BN_clear_free(n);
        return 0;
    }

    memcpy(p + BK_P256_NUMBER, bk_p256_public, sizeof(bk_p256_public));
    BN_clear_free(n);

    return 1;
}


int
bk_ca_key_spki(EVP_PKEY *key, unsigned char **der)
{
    unsigned char  point[BK_P256_POINT];

    *der = NULL;

    if (!bk_p256_point(key, point)) {
        ERR_clear_error();
        return i2d_PUBKEY(key, der);
    }

    *der = OPENSSL_malloc(sizeof(bk_p256_spki) + sizeof(point));
    if (*der == NULL) {
        abort();
    }

    memcpy(*der, bk_p256_spki, sizeof(bk_p256_spki));
    memcpy(*der + sizeof(bk_p256_spki), point, sizeof(point));

    return (int) (sizeof(bk_p256_spki) + sizeof(point));
}


/* OpenSSL compares the public halves alone, and a private one may be damaged:
 * what it signs, nobody could verify. */

int
bk_ca_key_fits(X509 *cert, EVP_PKEY *key)
{
    int             ok;
    size_t          len = BK_SIGNATURE_MAX;
    EVP_MD_CTX     *ctx = EVP_MD_CTX_new();
    const EVP_MD   *md;
    unsigned char   sig[BK_SIGNATURE_MAX];

    static const unsigned char  text[] = "buildkit-plugin-host";

    if (ctx == NULL) {
        abort();
    }

    md = EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? NULL : EVP_sha256();

    ok = X509_check_private_key(cert, key) == 1
         && EVP_DigestSignInit(ctx, NULL, md, NULL, key) == 1
         && EVP_DigestSign(ctx, sig, &len, text, sizeof(text)) == 1
         && EVP_MD_CTX_reset(ctx) == 1
         && EVP_DigestVerifyInit(ctx, NULL, md, NULL, X509_get0_pubkey(cert))
            == 1
         && EVP_DigestVerify(ctx, sig, len, text, sizeof(text)) == 1;

    EVP_MD_CTX_free(ctx);
    ERR_clear_error();

    return ok;
}


int
bk_ca_key_into(X509 *cert, EVP_PKEY *key)
{
    unsigned char  *data, point[BK_P256_POINT];

    if (!bk_p256_point(key, point)) {
        ERR_clear_error();
        return X509_set_pubkey(cert, key);
    }

    data = OPENSSL_memdup(point, sizeof(point));

    /* data is the certificate's then */
    if (data != NULL
        && X509_PUBKEY_set0_param(X509_get_X509_PUBKEY(cert),
                                  OBJ_nid2obj(NID_X9_62_id_ecPublicKey),
                                  V_ASN1_OBJECT,
                                  OBJ_nid2obj(NID_X9_62_prime256v1), data,
                                  sizeof(point)))
    {
        return 1;
    }

    OPENSSL_free(data);

    return 0;
}


char *
bk_ca_key_pem(EVP_PKEY *key, size_t *out_len)
{
    int             ok;
    BIO            *bio = BIO_new(BIO_s_secmem());
    char           *data, *pem = NULL;
    long            len;
    unsigned char   der[BK_P256_PEM];

    if (bio == NULL) {
        return NULL;
    }

    if (bk_p256_der(key, der)) {
        ok = PEM_write_bio(bio, PEM_STRING_PKCS8INF, "", der, sizeof(der));

    } else {
        ERR_clear_error();
        ok = PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL,
                                           NULL);
    }

    OPENSSL_cleanse(der, sizeof(der));

    if (ok) {
        len = BIO_get_mem_data(bio, &data);
        pem = strndup(data, (size_t) len);
        *out_len = (size_t) len;
    }

    BIO_free(bio);

    return pem;
}
