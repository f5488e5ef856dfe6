/*
 * FUZZ_SOURCES: plugin-host/plugins/oidc/file.c
 *     plugin-host/plugins/oidc/file_check.c plugin-host/plugins/oidc/text.c
 *     plugin-host/src/yaml.c plugin-host/src/yaml_check.c
 *     plugin-host/src/yaml_options.c plugin-host/src/duration.c
 *     plugin-host/src/err.c plugin-host/src/slurp.c
 * FUZZ_CFLAGS: -Iplugin-host/plugins/oidc
 * FUZZ_LIBS: -lcurl -ljansson -lcyaml -lyaml -lcrypto
 */

/*
 * oidc.yaml, whatever it holds: it is taken whole or refused with a place and
 * a reason, and what was taken can be used: every issuer has a sound URL, an
 * audience, algorithms and a claim that names the caller.
 */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "file.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_check(const oidc_doc_t *d, int insecure);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int          insecure;
    bk_err_t     err;
    oidc_file_t  f;

    if (size > 65536) {
        return 0;
    }

    for (insecure = 0; insecure < 2; insecure++) {
        memset(&err, 0, sizeof(err));
        memset(&f, 0, sizeof(f));

        if (oidc_file_parse(&f, "x.yaml", (const char *) data, size,
                            insecure, &err)
            == 0)
        {
            fuzz_check(f.doc, insecure);
            oidc_file_free(&f);
            continue;
        }

        assert(f.doc == NULL && f.yaml == NULL);
        assert(strncmp(err.text, "x.yaml", 6) == 0);
        assert(strlen(err.text) > 8);
    }

    return 0;
}


static void
fuzz_check(const oidc_doc_t *d, int insecure)
{
    unsigned                   i;
    const oidc_issuer_conf_t  *c;

    for (i = 0; i < d->issuers_count; i++) {
        c = &d->issuers[i];

        assert(c->name != NULL && c->user != NULL && c->user[0] != '\0');
        assert(oidc_url_bad(c->url, insecure, 0) == NULL);
        assert(c->audience_count > 0 && c->algs != 0);
    }

    for (i = 0; i < d->tokens_count; i++) {
        assert(d->tokens[i].name != NULL && d->tokens[i].text != NULL);
    }
}
