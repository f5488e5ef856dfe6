/*
 * FUZZ_SOURCES: plugin-host/plugins/kubernetes/ct_use_read.c
 *     plugin-host/plugins/kubernetes/obj.c
 *     plugin-host/src/err.c
 * FUZZ_CFLAGS: -Iplugin-host/plugins/kubernetes
 * FUZZ_LIBS: -ljansson -lcrypto
 */

/*
 * What a gateway's Pod says of connections, whatever it is: what is taken of
 * it are names that objects may have, and numbers in range.
 */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "ct.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_one(void *data, const ct_use_one_t *use);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bk_err_t  err;

    memset(&err, 0, sizeof(err));

    if (ct_use_read((const char *) data, size, fuzz_one, NULL, &err) != 0) {
        assert(err.code == 502 && err.text[0] != '\0');
    }

    return 0;
}


static void
fuzz_one(void *data, const ct_use_one_t *use)
{
    const char  *slash = strchr(use->pool, '/');

    (void) data;

    assert(slash != NULL && slash > use->pool && slash[1] != '\0');
    assert(strchr(slash + 1, '/') == NULL);
    assert(strlen(use->pool) <= 2 * K8S_NAME_MAX + 1);
    assert(use->worker[0] != '\0' && strlen(use->worker) <= K8S_NAME_MAX);
    assert(strchr(use->worker, '/') == NULL);
    assert(use->idle_ms <= CT_USE_IDLE_MAX);
}
