/*
 * FUZZ_SOURCES: plugin-host/plugins/oidc/jwks.c
 *     plugin-host/plugins/oidc/jwt.c plugin-host/plugins/oidc/text.c
 *     plugin-host/src/err.c
 * FUZZ_CFLAGS: -Iplugin-host/plugins/oidc
 * FUZZ_LIBS: -ljose -ljansson -lcrypto
 */

/*
 * A key set, whatever it is: refused, or every key that is taken can do what
 * it is for, is strong enough, and is found by its name.
 */

#include <assert.h>
#include <openssl/err.h>
#include <stdint.h>
#include <string.h>

#include "jwt.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_key(const oidc_keys_t *set, const oidc_key_t *key);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned      i;
    bk_err_t      err;
    oidc_keys_t  *set;

    memset(&err, 0, sizeof(err));
    set = oidc_keys_parse((const char *) data, size, &err);
    assert(ERR_peek_error() == 0);

    if (set == NULL) {
        assert(err.text[0] != '\0');
        return 0;
    }

    assert(set->n >= 1 && set->n <= OIDC_KEYS_MAX);
    assert((set->skipped == 0) == (set->why[0] == '\0'));
    assert(oidc_keys_kept(set, set));

    for (i = 0; i < set->n; i++) {
        fuzz_key(set, &set->keys[i]);
    }

    oidc_keys_free(&set);
    assert(set == NULL);

    return 0;
}


static void
fuzz_key(const oidc_keys_t *set, const oidc_key_t *key)
{
    int                alg, bits = EVP_PKEY_get_bits(key->pkey);
    bk_err_t           err;
    const oidc_key_t  *found;

    assert(key->algs != 0 && (key->algs & ~OIDC_ALGS_ALL) == 0);
    assert(key->kid == NULL || strlen(key->kid) <= OIDC_KID_MAX);

    if (key->width == 0) {
        assert((key->algs & (1u << OIDC_ES256 | 1u << OIDC_ES384)) == 0);
        assert(bits >= 2048 && bits <= 4096);

    } else {
        assert(key->algs == 1u << (key->width == 32 ? OIDC_ES256
                                                    : OIDC_ES384));
        assert(bits == (int) key->width * 8);
    }

    for (alg = 0; alg < OIDC_ALGS && key->kid != NULL; alg++) {
        if (key->algs & (1u << alg)) {
            assert(oidc_keys_find(set, key->kid, alg, &found, &err) == 0);
            assert(strcmp(found->kid, key->kid) == 0);
        }
    }
}
