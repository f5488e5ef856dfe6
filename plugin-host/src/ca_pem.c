/* Certificates and keys as text.  See ca_int.h. */

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "ca_int.h"
#include "bk_err.h"


char *
bk_ca_cert_pem(X509 *cert)
{
    BIO   *bio = BIO_new(BIO_s_mem());
    char  *data, *pem = NULL;
    long   len;

    if (bio != NULL && PEM_write_bio_X509(bio, cert)) {
        len = BIO_get_mem_data(bio, &data);
        pem = strndup(data, (size_t) len);
    }

    BIO_free(bio);

    return pem;
}


/* Those from the given one on, "" when there are none. */

char *
bk_ca_certs_pem(const STACK_OF(X509) *certs, int from)
{
    int    i, ok = 1;
    BIO   *bio = BIO_new(BIO_s_mem());
    char  *data, *pem = NULL;
    long   len;

    for (i = from; bio != NULL && i < sk_X509_num(certs); i++) {
        ok = ok && PEM_write_bio_X509(bio, sk_X509_value(certs, i));
    }

    if (bio != NULL && ok) {
        len = BIO_get_mem_data(bio, &data);
        pem = strndup(len > 0 ? data : "", (size_t) len);
    }

    BIO_free(bio);

    return pem;
}


/* The first one of the text. */

X509 *
bk_ca_pem_cert(const char *text)
{
    BIO   *bio = BIO_new_mem_buf(text, -1);
    X509  *cert = bio != NULL
                  ? PEM_read_bio_X509(bio, NULL, NULL, (void *) "") : NULL;

    BIO_free(bio);
    ERR_clear_error();

    return cert;
}


/* All of them; NULL when there is none, too many, or a damaged one. */

STACK_OF(X509) *
bk_ca_pem_certs(const char *text)
{
    int              end;
    BIO             *bio = BIO_new_mem_buf(text, -1);
    X509            *cert;
    STACK_OF(X509)  *certs = sk_X509_new_null();

    if (bio == NULL || certs == NULL) {
        abort();
    }

    while ((cert = PEM_read_bio_X509(bio, NULL, NULL, (void *) "")) != NULL
           && sk_X509_num(certs) < BK_CA_CERTS_MAX)
    {
        if (!sk_X509_push(certs, cert)) {
            abort();
        }
    }

    /* how a text ends that has no more */
    end = cert == NULL
          && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;

    X509_free(cert);
    BIO_free(bio);
    ERR_clear_error();

    if (!end || sk_X509_num(certs) == 0) {
        sk_X509_pop_free(certs, X509_free);
        return NULL;
    }

    return certs;
}


EVP_PKEY *
bk_ca_pem_key(const char *text)
{
    BIO       *bio = BIO_new_mem_buf(text, -1);
    /* an empty pass phrase: never ask on a terminal */
    EVP_PKEY  *key = bio != NULL
                     ? PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *) "")
                     : NULL;

    BIO_free(bio);
    ERR_clear_error();

    return key;
}


uint64_t
bk_ca_end_ms(const X509 *cert)
{
    struct tm  tm;
    time_t     t;

    if (ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) != 1) {
        return 0;
    }

    t = timegm(&tm);

    return t > 0 ? (uint64_t) t * 1000 : 0;
}


int
bk_ca_fail(bk_err_t *err, const char *what)
{
    char           text[160];
    unsigned long  e = ERR_get_error();

    ERR_error_string_n(e, text, sizeof(text));
    ERR_clear_error();

    return bk_err_set(err, 500, "Certificate", "%s: %s", what,
                      e ? text : "out of memory");
}


void
bk_ca_burn(char *text)
{
    if (text != NULL) {
        explicit_bzero(text, strlen(text));
        free(text);
    }
}
