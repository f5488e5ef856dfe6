/*
 * FUZZ_SOURCES: plugin-host/src/ca_cert.c plugin-host/src/ca_pem.c
 *     plugin-host/src/ca_key.c plugin-host/src/ca_external.c
 *     plugin-host/src/ca_names.c
 *     plugin-host/src/err.c
 * FUZZ_LIBS: -ljansson -lcrypto
 */

/*
 * Certificate requests of callers, keys of the journal, and the files of an
 * issuer.  The first byte says what the rest is.  Of what is taken: the key
 * is one of those that the documents name, a certificate for it can be signed
 * and read again, and holds the bytes that the allocation is bound to; an
 * issuer's pair can sign, and what it hands on can be read again.
 */

#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "ca_int.h"


#define FUZZ_PARTS  3               /* cert, key, ca */

enum { FUZZ_CSR = 0, FUZZ_CSR_DER, FUZZ_SPKI, FUZZ_FILES, FUZZ_CERT_DER,
       FUZZ_WHATS };


int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_request(const bk_cert_request_t *req);
static void fuzz_issued(const bk_signer_t *by, EVP_PKEY *key);
static void fuzz_files(const uint8_t *data, size_t size);
static void fuzz_external(int with_ca);
static void fuzz_texts(const char *text);
static char *fuzz_pem(const char *what, const uint8_t *data, size_t size);


static char         *fuzz_text[FUZZ_PARTS];     /* of each file */
static bk_signer_t   fuzz_ca;
static char         *fuzz_ca_cert, *fuzz_ca_key;


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    size_t    len;
    bk_err_t  err;

    (void) argc;
    (void) argv;

    fuzz_ca.key = bk_ca_key();
    fuzz_ca.cert = bk_ca_self("fuzz", fuzz_ca.key, &err);
    fuzz_ca_cert = bk_ca_cert_pem(fuzz_ca.cert);
    fuzz_ca_key = bk_ca_key_pem(fuzz_ca.key, &len);
    assert(fuzz_ca.cert != NULL && fuzz_ca_key != NULL);

    return 0;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int                 what;
    char               *pem = NULL;
    bk_cert_request_t   req;

    if (size < 2 || size > 65536) {
        return 0;
    }

    what = data[0] % FUZZ_WHATS;
    data++;
    size--;
    memset(&req, 0, sizeof(req));

    switch (what) {

    case FUZZ_SPKI:
        req.spki = (bk_str_t) { (const char *) data, size };
        break;

    case FUZZ_CSR:
        req.csr = (bk_str_t) { (const char *) data, size };
        break;

    case FUZZ_CSR_DER:
        pem = fuzz_pem(PEM_STRING_X509_REQ, data, size);
        req.csr = (bk_str_t) { pem, strlen(pem) };
        break;

    case FUZZ_CERT_DER:
        /* alone, and as the root of a good one */
        fuzz_text[0] = fuzz_pem(PEM_STRING_X509, data, size);
        fuzz_text[1] = fuzz_ca_key;
        fuzz_external(0);

        fuzz_text[2] = fuzz_text[0];
        fuzz_text[0] = fuzz_ca_cert;
        fuzz_external(1);
        free(fuzz_text[2]);
        return 0;

    default:
        fuzz_files(data, size);
        return 0;
    }

    fuzz_request(&req);
    free(pem);

    return 0;
}


/* Instead of ca_file.c. */

int
bk_ca_read(const char *path, int follow, char **text, bk_err_t *err)
{
    unsigned  i = (unsigned) (path[0] - '0');

    assert(follow && i < FUZZ_PARTS);

    if (fuzz_text[i] == NULL) {
        return bk_err_set(err, 404, "NoFile", "%s", path);
    }

    *text = strdup(fuzz_text[i]);
    assert(*text != NULL);

    return 0;
}


/* As ca_switch.c has it. */

void
bk_signer_clear(bk_signer_t *s)
{
    X509_free(s->cert);
    EVP_PKEY_free(s->key);
    free(s->trust);
    free(s->chain);
    memset(s, 0, sizeof(bk_signer_t));
}


static void
fuzz_request(const bk_cert_request_t *req)
{
    char       name[64];
    size_t     n;
    bk_err_t   err;
    EVP_PKEY  *key;

    memset(&err, 0, sizeof(err));
    key = bk_ca_requested(req, &err);
    assert(ERR_peek_error() == 0);

    if (key == NULL) {
        assert(err.code == 400 && strcmp(err.reason, "BadCsr") == 0);
        return;
    }

    assert(bk_ca_key_ok(key));

    if (EVP_PKEY_get_base_id(key) == EVP_PKEY_EC) {
        assert(EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME,
                                              name, sizeof(name), &n) == 1);
        assert(strcmp(name, "prime256v1") == 0
               || strcmp(name, "secp384r1") == 0);
    }

    fuzz_issued(&fuzz_ca, key);
    EVP_PKEY_free(key);
}


/* A certificate of this key, as its owner reads it; and what an allocation is
 * bound to is what a gateway finds in it. */

static void
fuzz_issued(const bk_signer_t *by, EVP_PKEY *key)
{
    int                 len;
    char               *pem;
    X509               *cert, *again;
    bk_err_t            err;
    unsigned char      *spki = NULL, *bound;
    bk_cert_request_t   req = { .cn = BK_STR("0123456789ab"),
                                .not_after_ms = UINT64_C(4000000000000) };

    cert = bk_ca_sign(by, &req, key, &err);
    assert(cert != NULL);
    pem = bk_ca_cert_pem(cert);
    assert(pem != NULL);
    again = bk_ca_pem_cert(pem);
    assert(again != NULL);
    assert(EVP_PKEY_eq(X509_get0_pubkey(again), key) == 1);
    assert(X509_verify(again, by->key) == 1);
    assert(bk_ca_end_ms(again) <= bk_ca_end_ms(by->cert));

    len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(again), &spki);
    assert(len > 0 && bk_ca_key_spki(key, &bound) == len);
    assert(memcmp(spki, bound, (size_t) len) == 0);

    OPENSSL_free(spki);
    OPENSSL_free(bound);
    X509_free(cert);
    X509_free(again);
    free(pem);
}


/* tls.crt, tls.key and ca.crt, divided by NULs. */

static void
fuzz_files(const uint8_t *data, size_t size)
{
    int             i;
    char           *all, *p;
    const uint8_t  *nul;

    all = malloc(size + FUZZ_PARTS);
    assert(all != NULL);

    for (i = 0, p = all; i < FUZZ_PARTS; i++) {
        nul = memchr(data, '\0', size);
        fuzz_text[i] = p;
        p = mempcpy(p, data, nul != NULL ? (size_t) (nul - data) : size);
        *p++ = '\0';
        size -= nul != NULL ? (size_t) (nul + 1 - data) : size;
        data = nul != NULL ? nul + 1 : data;
    }

    /* without a ca.crt it may be one text alone */
    if (fuzz_text[1][0] == '\0') {
        fuzz_texts(fuzz_text[0]);

    } else {
        fuzz_external(fuzz_text[2][0] != '\0');
    }

    free(all);
}


static void
fuzz_external(int with_ca)
{
    bk_err_t         err;
    bk_signer_t      s;
    bk_ca_files_t    files = { "0", "1", with_ca ? "2" : NULL };
    STACK_OF(X509)  *certs;

    memset(&s, 0, sizeof(s));
    memset(&err, 0, sizeof(err));

    if (bk_ca_external(NULL, "gateway", &files, &s, &err) != 0) {
        assert(err.text[0] != '\0' && s.cert == NULL && s.key == NULL);
        assert(ERR_peek_error() == 0);
        return;
    }

    assert(bk_ca_key_ok(s.key));
    certs = bk_ca_pem_certs(s.trust);
    assert(certs != NULL);
    sk_X509_pop_free(certs, X509_free);

    if (s.chain[0] != '\0') {
        certs = bk_ca_pem_certs(s.chain);
        assert(certs != NULL);
        sk_X509_pop_free(certs, X509_free);
    }

    (void) bk_ca_apart(s.trust, s.trust, &err);
    fuzz_issued(&s, fuzz_ca.key);
    bk_signer_clear(&s);
}


/* Each reader by itself. */

static void
fuzz_texts(const char *text)
{
    char            *pem;
    X509            *cert;
    EVP_PKEY        *key;
    STACK_OF(X509)  *certs, *again;

    cert = bk_ca_pem_cert(text);

    if (cert != NULL) {
        (void) bk_ca_end_ms(cert);
        X509_free(cert);
    }

    certs = bk_ca_pem_certs(text);

    if (certs != NULL) {
        assert(cert != NULL);
        pem = bk_ca_certs_pem(certs, 0);
        assert(pem != NULL);
        again = bk_ca_pem_certs(pem);
        assert(again != NULL && sk_X509_num(again) == sk_X509_num(certs));
        sk_X509_pop_free(again, X509_free);
        sk_X509_pop_free(certs, X509_free);
        free(pem);
    }

    key = bk_ca_pem_key(text);
    EVP_PKEY_free(key);
    assert(ERR_peek_error() == 0);
}


static char *
fuzz_pem(const char *what, const uint8_t *data, size_t size)
{
    BIO   *bio = BIO_new(BIO_s_mem());
    char  *at, *pem;
    long   len;

    assert(bio != NULL && PEM_write_bio(bio, what, "", data, (long) size) > 0);
    len = BIO_get_mem_data(bio, &at);
    pem = strndup(at, (size_t) len);
    assert(pem != NULL);
    BIO_free(bio);

    return pem;
}
