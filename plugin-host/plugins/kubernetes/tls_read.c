/*
 * Reading PEM: see tls_read.h.
 */

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tls_read.h"


static BIO *tls_read_open(const char *pem);
static int tls_read_no_phrase(char *buf, int size, int rw, void *u);


STACK_OF(X509) *
tls_read_certs(const char *pem, int max)
{
    BIO             *in = tls_read_open(pem);
    X509            *cert;
    unsigned long    e;
    STACK_OF(X509)  *certs;

    if (in == NULL) {
        return NULL;
    }

    certs = sk_X509_new_null();
    if (certs == NULL) {
        abort();
    }

    ERR_clear_error();

    while ((cert = PEM_read_bio_X509(in, NULL, tls_read_no_phrase, NULL))
           != NULL)
    {
        if (sk_X509_push(certs, cert) == 0) {
            abort();
        }

        if (sk_X509_num(certs) > max) {
            break;
        }
    }

    e = ERR_peek_last_error();
    BIO_free(in);

    if (cert != NULL || sk_X509_num(certs) == 0
        || ERR_GET_LIB(e) != ERR_LIB_PEM
        || ERR_GET_REASON(e) != PEM_R_NO_START_LINE)
    {
        sk_X509_pop_free(certs, X509_free);
        certs = NULL;
    }

    ERR_clear_error();

    return certs;
}


EVP_PKEY *
tls_read_key(const char *pem)
{
    BIO       *in = tls_read_open(pem);
    EVP_PKEY  *key;

    if (in == NULL) {
        return NULL;
    }

    key = PEM_read_bio_PrivateKey(in, NULL, tls_read_no_phrase, NULL);
    BIO_free(in);
    ERR_clear_error();

    return key;
}


/* NULL: there is nothing, or too much of it */

static BIO *
tls_read_open(const char *pem)
{
    BIO     *in;
    size_t   n = pem != NULL ? strnlen(pem, TLS_READ_MAX) : 0;

    if (n == 0 || n == TLS_READ_MAX) {
        return NULL;
    }

    in = BIO_new_mem_buf(pem, (int) n);
    if (in == NULL) {
        abort();
    }

    return in;
}


/* Or else OpenSSL asks the terminal for one, and waits. */

static int
tls_read_no_phrase(char *buf, int size, int rw, void *u)
{
    (void) buf;
    (void) size;
    (void) rw;
    (void) u;

    return -1;
}


uint64_t
tls_read_ms(const ASN1_TIME *at)
{
    time_t     t;
    struct tm  tm;

    if (ASN1_TIME_to_tm(at, &tm) != 1) {
        return 0;
    }

    t = timegm(&tm);

    return t > 0 ? (uint64_t) t * 1000 : 0;
}
