/*
 * FUZZ_SOURCES: plugin-host/plugins/kubernetes/ct_pool_text.c
 *     plugin-host/plugins/kubernetes/ct_x509.c
 *     plugin-host/plugins/kubernetes/obj.c
 *     plugin-host/plugins/kubernetes/tls_read.c
 *     plugin-host/src/err.c
 * FUZZ_CFLAGS: -Iplugin-host/plugins/kubernetes
 * FUZZ_LIBS: -ljansson -lcrypto
 */

/*
 * What somebody has put into a Secret, as certificate, key and authorities
 * (with a form feed between them), and as base64: it is good, or there is a
 * reason; and what is handed on has nothing but certificates.
 */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ct_pool.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_pair(char *text);
static void fuzz_secret(const char *text, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char  *text = malloc(size + 1);

    if (text == NULL) {
        abort();
    }

    memcpy(text, data, size);
    text[size] = '\0';

    fuzz_secret(text, size);
    fuzz_pair(text);
    free(text);

    return 0;
}


static void
fuzz_pair(char *text)
{
    char       *at[3] = { text, NULL, NULL }, *out;
    bk_err_t    err;
    ct_pair_t   pair;
    ct_x509_t   info;

    at[1] = strchr(text, '\f');

    if (at[1] != NULL) {
        *at[1]++ = '\0';
        at[2] = strchr(at[1], '\f');
    }

    if (at[2] != NULL) {
        *at[2]++ = '\0';
    }

    memset(&err, 0, sizeof(err));
    memset(&pair, 0, sizeof(pair));
    pair.cert = at[0];
    pair.key = at[1];
    pair.ca = at[2] != NULL ? at[2] : at[0];
    pair.names = "gw.team.svc,10.1.2.3,*.gw.team.internal";
    pair.server = 1;
    pair.exact = 1;

    if (ct_x509_check(&pair, 1798761600000, &info, &err) == 0) {
        assert(info.not_before_ms < info.not_after_ms);
        assert(strlen(info.issuer) == 16);

    } else {
        assert(err.reason[0] != '\0' && err.text[0] != '\0');
        assert(strstr(err.text, "PRIVATE KEY") == NULL);
    }

    out = ct_x509_bundle(at[0], &err);

    if (out != NULL) {
        assert(strstr(out, "PRIVATE KEY") == NULL);
        free(out);
    }
}


static void
fuzz_secret(const char *text, size_t size)
{
    char    *s;
    json_t  *o = json_pack("{s:{s:o}}", "data", "k",
                           json_stringn_nocheck(text, size));

    s = ct_secret_get(o, "k");

    if (s != NULL) {
        assert(strlen(s) <= size / 4 * 3);
        ct_secret_free(s);
    }

    json_decref(o);
}
