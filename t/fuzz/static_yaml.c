/*
 * FUZZ_SOURCES: plugin-host/plugins/static/static_file.c
 *     plugin-host/src/yaml.c plugin-host/src/yaml_check.c
 *     plugin-host/src/yaml_options.c plugin-host/src/duration.c
 *     plugin-host/src/err.c
 * FUZZ_CFLAGS: -Iplugin-host/plugins/static
 * FUZZ_LIBS: -lcyaml -lyaml -lcrypto
 */

/*
 * static.yaml, whatever it holds: it is taken whole or refused with a place
 * and a reason, the reason never holds a token, and of what was taken every
 * reference can be followed.
 */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "bk_table.h"
#include "static_file.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_check(const static_file_t *f);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bk_err_t       err;
    static_file_t  f;

    if (size > 65536) {
        return 0;
    }

    memset(&err, 0, sizeof(err));

    if (static_file_parse(&f, "x.yaml", (const char *) data, size, &err)
        == 0)
    {
        fuzz_check(&f);
        static_file_free(&f);
        return 0;
    }

    assert(strncmp(err.text, "x.yaml:", 7) == 0);
    assert(strlen(err.text) > 8);
    assert(strstr(err.text, "SECRETSECRETSECRETSECRETSECRETSECRETSECRETSEC")
           == NULL);

    return 0;
}


static void
fuzz_check(const static_file_t *f)
{
    unsigned               i, j;
    const static_alloc_t  *a;

    for (i = 0; i < f->doc->allocations_count; i++) {
        a = &f->doc->allocations[i];

        assert(a->pool != NULL);
        assert(a->state > 0 && a->state < BK_ALLOC_STATES);
        assert(a->token == NULL || a->token[0] == '\0');

        for (j = 0; j < f->doc->pools_count; j++) {
            if (strcmp(f->doc->pools[j].name, a->pool) == 0) {
                break;
            }
        }

        assert(j < f->doc->pools_count);
    }
}
