/*
 * A Secret of type kubernetes.io/tls as a file of bk_names.h: the certificate,
 * its chain, the key, and nothing else that was in it.
 */

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bk_err.h"
#include "bk_names.h"
#include "ct_pool.h"
#include "ing.h"
#include "tls_read.h"


#define ING_CERT_CHAIN  16


static int ing_cert_make(STACK_OF(X509) *certs, EVP_PKEY *key,
    ing_cert_t *out);


void
ing_cert_read(json_t *secret, ing_cert_t *out)
{
    char            *cert = ct_secret_get(secret, "tls.crt");
    char            *pem = ct_secret_get(secret, "tls.key");
    EVP_PKEY        *key = tls_read_key(pem);
    STACK_OF(X509)  *certs = tls_read_certs(cert, ING_CERT_CHAIN);

    memset(out, 0, sizeof(ing_cert_t));

    if (certs == NULL) {
        bk_err_set(&out->err, 422, "BadCertificate", "its tls.crt is no PEM "
                   "of 1 to %d certificates", ING_CERT_CHAIN);

    } else if (key == NULL) {
        bk_err_set(&out->err, 422, "BadKey", "its tls.key is no PEM of a "
                   "private key without a pass phrase");

    } else if (X509_check_private_key(sk_X509_value(certs, 0), key) != 1) {
        bk_err_set(&out->err, 422, "KeyMismatch", "its tls.key is another "
                   "certificate's than the first one of tls.crt");

    } else if (ing_cert_make(certs, key, out) != 0) {
        bk_err_set(&out->err, 422, "BadCertificate", "certificate and key "
                   "have more than %d bytes", BK_NAMES_CERT_MAX);
    }

    sk_X509_pop_free(certs, X509_free);
    EVP_PKEY_free(key);
    ct_secret_free(pem);
    free(cert);
    ERR_clear_error();
}


void
ing_cert_free(ing_cert_t *c)
{
    if (c->pem != NULL) {
        OPENSSL_cleanse(c->pem, c->len);
        free(c->pem);
    }

    X509_free(c->cert);
    memset(c, 0, sizeof(ing_cert_t));
}


int
ing_cert_covers(const ing_cert_t *c, const char *host)
{
    if (c->cert == NULL) {
        return 0;
    }

    /* all of a level are covered by the same "*." only */
    return X509_check_host(c->cert, host, strlen(host), host[0] == '*'
                           ? X509_CHECK_FLAG_NO_WILDCARDS : 0, NULL)
           == 1;
}


static int
ing_cert_make(STACK_OF(X509) *certs, EVP_PKEY *key, ing_cert_t *out)
{
    int      i, rc = -1;
    BIO     *bio = BIO_new(BIO_s_secmem());
    long     n;
    char    *text;
    X509    *first = sk_X509_value(certs, 0);
    uint8_t  hash[32];

    if (bio == NULL) {
        abort();
    }

    for (i = 0; i < sk_X509_num(certs); i++) {
        if (PEM_write_bio_X509(bio, sk_X509_value(certs, i)) != 1) {
            abort();
        }
    }

    if (PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1) {
        abort();
    }

    n = BIO_get_mem_data(bio, &text);

    if (n > 0 && n <= BK_NAMES_CERT_MAX) {
        out->len = (size_t) n;
        out->pem = malloc(out->len);
        if (out->pem == NULL) {
            abort();
        }

        memcpy(out->pem, text, out->len);

        if (EVP_Digest(text, out->len, hash, NULL, EVP_sha256(), NULL) != 1) {
            abort();
        }

        for (i = 0; i < 32; i++) {
            snprintf(out->file + 2 * i, 3, "%02x", hash[i]);
        }

        strcpy(out->file + 64, ".pem");
        out->from_ms = tls_read_ms(X509_get0_notBefore(first));
        out->until_ms = tls_read_ms(X509_get0_notAfter(first));
        X509_up_ref(first);
        out->cert = first;
        rc = 0;
    }

    BIO_free(bio);

    return rc;
}
