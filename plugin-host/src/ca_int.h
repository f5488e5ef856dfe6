/* What ca.c and ca_cert.c share; nobody else includes this. */

#ifndef BK_CA_INT_H_INCLUDED
#define BK_CA_INT_H_INCLUDED

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "ca.h"


typedef struct {
    const char  *name;          /* "gateway" or "worker" */
    X509        *cert;
    EVP_PKEY    *key;
    char        *pem;           /* of cert */
} bk_authority_t;

struct bk_ca_s {
    bk_authority_t   gateway;
    bk_authority_t   worker;
    char            *dir;       /* the state folder */
    char            *names;     /* of the gateway, comma-separated */

    /* of the last bk_ca_issue(): what bk_cert_t borrows */
    char            *cert_pem;
    char            *key_pem;
    size_t           key_len;
    unsigned char   *spki;
};


/* ca_cert.c */
EVP_PKEY *bk_ca_key(void);
X509 *bk_ca_self(const char *name, EVP_PKEY *key, bk_err_t *err);
X509 *bk_ca_sign(const bk_authority_t *by, const bk_cert_request_t *req,
    EVP_PKEY *key, bk_err_t *err);
EVP_PKEY *bk_ca_requested(const bk_cert_request_t *req, bk_err_t *err);
/* NULL for what is none. */
X509 *bk_ca_pem_cert(const char *text);
EVP_PKEY *bk_ca_pem_key(const char *text);
char *bk_ca_cert_pem(X509 *cert);
char *bk_ca_key_pem(EVP_PKEY *key, size_t *len);
/* "...: what OpenSSL says", for a 500. */
int bk_ca_fail(bk_err_t *err, const char *what);

/* ca_file.c: 0, or -1 with *err; _read() gives 404 NoFile */
int bk_ca_dir(const char *path, bk_err_t *err);
int bk_ca_read(const char *path, char **text, bk_err_t *err);
/* Whole or not at all; an existing file is kept (409) unless replace. */
int bk_ca_write(const char *path, const char *text, unsigned mode,
    int replace, bk_err_t *err);

#endif /* BK_CA_INT_H_INCLUDED */
