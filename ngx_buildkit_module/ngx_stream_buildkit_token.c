
/*
 * The allocation token in a client's certificate.
 *
 * Called once per connection, for a certificate whose chain has been
 * verified.  Exactly one source: the only CN, "alloc:<token>", or one URI
 * SAN, "buildkit://allocation/<token>".  Reads the names as OpenSSL decoded
 * them, by length; never as text of a DN, whose escaping and order can be
 * chosen by whoever asked for the certificate.  Logs nothing.
 */


#include "ngx_stream_buildkit_parse.h"

#include <string.h>

#include <openssl/objects.h>
#include <openssl/x509v3.h>


#define NGX_STREAM_BUILDKIT_CN   "alloc:"
#define NGX_STREAM_BUILDKIT_URI  "buildkit://allocation/"


static ngx_stream_buildkit_token_e ngx_stream_buildkit_token_copy(
    const ASN1_STRING *str, size_t prefix, unsigned char *buf, size_t *len);
static ngx_stream_buildkit_token_e ngx_stream_buildkit_token_cn(X509 *cert,
    unsigned char *buf, size_t *len);
static ngx_stream_buildkit_token_e ngx_stream_buildkit_token_san(X509 *cert,
    unsigned char *buf, size_t *len);
static int ngx_stream_buildkit_token_prefix(const ASN1_STRING *str,
    const char *prefix, size_t len);


ngx_stream_buildkit_token_e
ngx_stream_buildkit_token_parse(X509 *cert, unsigned char *buf, size_t *len)
{
    size_t                       san_len;
    unsigned char                san[NGX_STREAM_BUILDKIT_TOKEN_LEN];
    ngx_stream_buildkit_token_e  rc, src;

    rc = ngx_stream_buildkit_token_cn(cert, buf, len);

    if (rc == ngx_stream_buildkit_token_names) {
        return rc;
    }

    src = ngx_stream_buildkit_token_san(cert, san, &san_len);

    if (src == ngx_stream_buildkit_token_none) {
        return rc;
    }

    if (rc != ngx_stream_buildkit_token_none) {
        return ngx_stream_buildkit_token_many;
    }

    if (src == ngx_stream_buildkit_token_ok) {
        memcpy(buf, san, san_len);
        *len = san_len;
    }

    return src;
}


static ngx_stream_buildkit_token_e
ngx_stream_buildkit_token_cn(X509 *cert, unsigned char *buf, size_t *len)
{
    int                 i, next;
    X509_NAME          *name;
    const ASN1_STRING  *str;

    name = X509_get_subject_name(cert);
    if (name == NULL) {
        return ngx_stream_buildkit_token_none;
    }

    i = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    if (i < 0) {
        return ngx_stream_buildkit_token_none;
    }

    /* programs differ in whether the first or the last one counts */

    next = X509_NAME_get_index_by_NID(name, NID_commonName, i);
    if (next >= 0) {
        return ngx_stream_buildkit_token_names;
    }

    str = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, i));

    if (str == NULL
        || !ngx_stream_buildkit_token_prefix(str, NGX_STREAM_BUILDKIT_CN,
                                     sizeof(NGX_STREAM_BUILDKIT_CN) - 1))
    {
        return ngx_stream_buildkit_token_none;
    }

    return ngx_stream_buildkit_token_copy(str,
                                  sizeof(NGX_STREAM_BUILDKIT_CN) - 1,
                                  buf, len);
}


static ngx_stream_buildkit_token_e
ngx_stream_buildkit_token_san(X509 *cert, unsigned char *buf, size_t *len)
{
    int                          i, n, crit;
    GENERAL_NAME                *gn;
    GENERAL_NAMES               *names;
    ngx_stream_buildkit_token_e  rc;

    /* decoding costs: most certificates here have no alternative name */

    if (X509_get_ext_by_NID(cert, NID_subject_alt_name, -1) < 0) {
        return ngx_stream_buildkit_token_none;
    }

    names = X509_get_ext_d2i(cert, NID_subject_alt_name, &crit, NULL);
    if (names == NULL) {
        /* does not decode, or is there twice */
        return ngx_stream_buildkit_token_invalid;
    }

    rc = ngx_stream_buildkit_token_none;
    n = sk_GENERAL_NAME_num(names);

    for (i = 0; i < n; i++) {
        gn = sk_GENERAL_NAME_value(names, i);

        if (gn->type != GEN_URI
            || !ngx_stream_buildkit_token_prefix(
                                     gn->d.uniformResourceIdentifier,
                                     NGX_STREAM_BUILDKIT_URI,
                                     sizeof(NGX_STREAM_BUILDKIT_URI) - 1))
        {
            continue;
        }

        if (rc != ngx_stream_buildkit_token_none) {
            rc = ngx_stream_buildkit_token_many;
            break;
        }

        rc = ngx_stream_buildkit_token_copy(gn->d.uniformResourceIdentifier,
                                    sizeof(NGX_STREAM_BUILDKIT_URI) - 1,
                                    buf, len);
    }

    GENERAL_NAMES_free(names);

    return rc;
}


static int
ngx_stream_buildkit_token_prefix(const ASN1_STRING *str, const char *prefix,
    size_t len)
{
    int  n;

    n = ASN1_STRING_length(str);

    return n >= 0 && (size_t) n >= len
           && memcmp(ASN1_STRING_get0_data(str), prefix, len) == 0;
}


static ngx_stream_buildkit_token_e
ngx_stream_buildkit_token_copy(const ASN1_STRING *str, size_t prefix,
    unsigned char *buf, size_t *len)
{
    size_t                i, n;
    unsigned char         ch;
    const unsigned char  *p;

    p = ASN1_STRING_get0_data(str) + prefix;
    n = (size_t) ASN1_STRING_length(str) - prefix;

    if (n == 0 || n > NGX_STREAM_BUILDKIT_TOKEN_LEN) {
        return ngx_stream_buildkit_token_length;
    }

    /* the alphabet of base64url has no NUL, so that is refused with it */

    for (i = 0; i < n; i++) {
        ch = p[i];

        if (!((ch >= 'A' && ch <= 'Z') || (ch >= 'a' && ch <= 'z')
              || (ch >= '0' && ch <= '9') || ch == '-' || ch == '_'))
        {
            return ngx_stream_buildkit_token_invalid;
        }
    }

    memcpy(buf, p, n);
    *len = n;

    return ngx_stream_buildkit_token_ok;
}
