/*
 * Certificates and keys as PEM, which somebody has put into a Secret.
 */

#ifndef TLS_READ_H_INCLUDED
#define TLS_READ_H_INCLUDED

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdint.h>


#define TLS_READ_MAX  131072        /* bytes of PEM, with its end */


/* All certificates of it, at least one and not more than max, to be freed; what
 * is between them is ignored, as everywhere, but one that cannot be read is
 * not.  NULL: it is not that, or pem is NULL. */
STACK_OF(X509) *tls_read_certs(const char *pem, int max);
/* The first key, without a pass phrase; to be freed.  NULL: there is none, or
 * pem is NULL. */
EVP_PKEY *tls_read_key(const char *pem);
/* 0: before 1970, or no time */
uint64_t tls_read_ms(const ASN1_TIME *at);


#endif /* TLS_READ_H_INCLUDED */
