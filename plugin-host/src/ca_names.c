/* The names in a certificate: DNS names and addresses.  See ca_int.h. */

#include <arpa/inet.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "ca_int.h"
#include "bk_err.h"


/* a name has 253 bytes at most: a dozen of the longest */
#define BK_CA_NAMES_MAX  4096


static int bk_names_add(GENERAL_NAMES *list, const char *name);


/* Built by hand: a name never becomes a part of OpenSSL's little language. */

int
bk_ca_names(X509 *cert, bk_str_t names, bk_err_t *err)
{
    int             rc = -1;
    char            buf[BK_CA_NAMES_MAX], *name, *save;
    GENERAL_NAMES  *list;

    if (names.len >= sizeof(buf)) {
        return bk_err_set(err, 400, "BadName", "the names of a certificate "
                          "have more than %d bytes", BK_CA_NAMES_MAX - 1);
    }

    memcpy(buf, names.data, names.len);
    buf[names.len] = '\0';

    list = GENERAL_NAMES_new();
    if (list == NULL) {
        return bk_ca_fail(err, "cannot make a certificate");
    }

    for (name = strtok_r(buf, ",", &save); name != NULL;
         name = strtok_r(NULL, ",", &save))
    {
        if (!bk_names_add(list, name)) {
            bk_err_set(err, 400, "BadName", "\"%.100s\" is no DNS name and no "
                       "address", name);
            goto done;
        }
    }

    if (X509_add1_ext_i2d(cert, NID_subject_alt_name, list, 0, 0) != 1) {
        bk_ca_fail(err, "cannot make a certificate");
        goto done;
    }

    rc = 0;

done:

    GENERAL_NAMES_free(list);

    return rc;
}


static int
bk_names_add(GENERAL_NAMES *list, const char *name)
{
    int             type, len;
    GENERAL_NAME   *gn;
    ASN1_STRING    *s;
    unsigned char   addr[16];

    if (inet_pton(AF_INET, name, addr) == 1) {
        type = GEN_IPADD;
        len = 4;

    } else if (inet_pton(AF_INET6, name, addr) == 1) {
        type = GEN_IPADD;
        len = 16;

    } else {
        type = GEN_DNS;
        len = (int) strlen(name);

        if (len > 253
            || strspn(name, "abcdefghijklmnopqrstuvwxyz-.*_"
                            "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
               != (size_t) len)
        {
            return 0;
        }
    }

    gn = GENERAL_NAME_new();
    s = type == GEN_DNS ? (ASN1_STRING *) ASN1_IA5STRING_new()
                        : (ASN1_STRING *) ASN1_OCTET_STRING_new();

    if (gn == NULL || s == NULL
        || !ASN1_STRING_set(s, type == GEN_DNS ? (const void *) name : addr,
                            len))
    {
        abort();
    }

    GENERAL_NAME_set0_value(gn, type, s);

    return sk_GENERAL_NAME_push(list, gn) > 0;
}
