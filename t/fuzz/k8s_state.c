/*
 * FUZZ_SOURCES: plugin-host/plugins/kubernetes/ct_state_data.c
 *     plugin-host/src/err.c
 * FUZZ_CFLAGS: -Iplugin-host/plugins/kubernetes
 * FUZZ_LIBS: -ljansson -lcrypto
 */

/*
 * The data of the Secret that controllers share, whatever is in it: what is
 * found good has all that is needed, each as long as it may be, and is the same
 * as itself.
 */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "ct_state.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_good(json_t *data);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t    *obj, *other;
    bk_err_t   err;

    obj = json_loadb((const char *) data, size, JSON_REJECT_DUPLICATES, NULL);

    if (obj == NULL) {
        return 0;
    }

    if (ct_state_check(obj, &err) == 0) {
        fuzz_good(obj);

    } else {
        assert(strcmp(err.reason, "BadState") == 0 && err.text[0] != '\0');
    }

    /* neither of them has to be good for that */
    other = json_object();
    (void) ct_state_compare(obj, other);
    (void) ct_state_compare(other, obj);
    (void) ct_state_has(other, obj);
    assert(ct_state_compare(obj, obj) == CT_STATE_SAME);
    assert(ct_state_has(obj, obj));

    json_decref(other);
    json_decref(obj);

    return 0;
}


static void
fuzz_good(json_t *data)
{
    char           *coded;
    size_t          i, len;
    json_t         *value, *again;
    unsigned char  *text;

    assert(json_object_get(data, CT_STATE_SECRET) != NULL);

    again = json_object();

    for (i = 0; i < CT_STATE_FILES; i++) {
        value = json_object_get(data, ct_state_files[i].key);

        if (value == NULL) {
            assert(!ct_state_files[i].trust);
            continue;
        }

        text = ct_state_decode(value, &len);
        assert(text != NULL && len > 0 && len <= CT_STATE_FILE_MAX);
        coded = ct_state_encode((char *) text, len);
        json_object_set_new(again, ct_state_files[i].key, json_string(coded));
        ct_state_wipe(coded, strlen(coded));
        ct_state_wipe(text, len);
    }

    /* what is written is what is read */
    assert(ct_state_check(again, &(bk_err_t) { 0 }) == 0);
    json_decref(again);
}
