/*
 * FUZZ_SOURCES: ngx_buildkit_module/ngx_stream_buildkit_token.c
 * FUZZ_CFLAGS: -Ingx_buildkit_module
 * FUZZ_LIBS: -lcrypto
 */

/*
 * The token parser on certificates: names put together by the fuzzer (mode by
 * the first byte), or DER that is what it is.  A token that is accepted has
 * the length and the alphabet of one, and was in the certificate.
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "ngx_stream_buildkit_parse.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static X509 *fuzz_names(const uint8_t *data, size_t size);
static void fuzz_uri(X509 *cert, const uint8_t *data, size_t size);
static void fuzz_check(X509 *cert, const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    X509           *cert;
    const uint8_t  *p;

    if (size < 1) {
        return 0;
    }

    p = data + 1;
    cert = (data[0] & 1) ? d2i_X509(NULL, &p, (long) (size - 1))
                         : fuzz_names(data + 1, size - 1);

    if (cert) {
        fuzz_check(cert, data, size);
        X509_free(cert);
    }

    ERR_clear_error();

    return 0;
}


/* records: kind, length, bytes; a certificate with these CNs and URIs */

static X509 *
fuzz_names(const uint8_t *data, size_t size)
{
    X509       *cert;
    size_t      n;
    uint8_t     kind;
    X509_NAME  *name;

    cert = X509_new();
    assert(cert != NULL);

    name = X509_get_subject_name(cert);

    while (size >= 2) {
        kind = data[0];
        n = data[1];
        data += 2;
        size -= 2;

        /* tokens of 256 characters need more than a byte says */
        if (kind & 0x80) {
            n += 256;
        }

        n = (n < size) ? n : size;

        if (kind & 1) {
            fuzz_uri(cert, data, n);

        } else {
            (void) X509_NAME_add_entry_by_NID(name,
                       (kind & 2) ? NID_organizationName : NID_commonName,
                       V_ASN1_UTF8STRING, data, (int) n, -1, 0);
        }

        data += n;
        size -= n;
    }

    return cert;
}


static void
fuzz_uri(X509 *cert, const uint8_t *data, size_t size)
{
    ASN1_IA5STRING  *uri;
    GENERAL_NAME    *gn;
    GENERAL_NAMES   *names;

    names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    if (names == NULL) {
        names = GENERAL_NAMES_new();
    }

    gn = GENERAL_NAME_new();
    uri = ASN1_IA5STRING_new();
    assert(names != NULL && gn != NULL && uri != NULL);

    ASN1_STRING_set(uri, data, (int) size);
    GENERAL_NAME_set0_value(gn, GEN_URI, uri);
    sk_GENERAL_NAME_push(names, gn);

    X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0,
                      X509V3_ADD_REPLACE);
    GENERAL_NAMES_free(names);
}


static void
fuzz_check(X509 *cert, const uint8_t *data, size_t size)
{
    size_t                        i, len;
    unsigned char                *buf;
    static const char             alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    ngx_stream_buildkit_token_e   rc;

    buf = malloc(NGX_STREAM_BUILDKIT_TOKEN_LEN);
    assert(buf != NULL);

    rc = ngx_stream_buildkit_token_parse(cert, buf, &len);

    assert(rc <= ngx_stream_buildkit_token_length);

    if (rc == ngx_stream_buildkit_token_ok) {
        assert(len >= 1 && len <= NGX_STREAM_BUILDKIT_TOKEN_LEN);

        for (i = 0; i < len; i++) {
            assert(buf[i] != '\0' && strchr(alphabet, buf[i]) != NULL);
        }

        assert(memmem(data, size, buf, len) != NULL);
    }

    free(buf);
}
