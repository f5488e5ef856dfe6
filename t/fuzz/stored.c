/*
 * FUZZ_SOURCES: plugin-host/plugins/allocator/journal_store_row.c
 *     plugin-host/plugins/allocator/json.c
 *     plugin-host/plugins/allocator/token.c
 *     plugin-host/src/duration.c plugin-host/src/err.c
 * FUZZ_CFLAGS: -Iplugin-host/plugins/allocator
 * FUZZ_LIBS: -ljansson -lcrypto
 */

/*
 * The record of a row in a store, which anybody may have edited who may edit
 * the objects that it is in: it is taken or refused, and what is taken is
 * written and read again as the same.
 */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "journal_store.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_again(const bk_kept_t *kept, const uint8_t *hash);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t       hash[BK_TABLE_HASH_LEN], key_hash[BK_TABLE_HASH_LEN];
    bk_err_t      err;
    bk_kept_t    *kept;
    bk_stored_t   stored;

    if (size > 2 * BK_STORE_RECORD_MAX) {
        return 0;
    }

    memset(&err, 0, sizeof(err));
    memset(hash, 7, sizeof(hash));

    /* of the key in the seeds, or what comes has to be an ended one */
    bk_sha256("\0\0\0", 3, key_hash);

    stored = (bk_stored_t) {
        .hash = hash,
        .key_hash = key_hash,
        .pool = BK_STR("default/demo"),
        .worker = BK_STR("w1"),
        .record = { (const char *) data, size },
        .created_ms = 1000,
        .expires_ms = 2000,
        .state = size % 4 == 3 ? BK_ALLOC_EXPIRED : BK_ALLOC_READY
    };

    kept = bk_kept_read(&stored, &err);

    if (kept == NULL) {
        assert(strcmp(err.reason, "BadRow") == 0);
        return 0;
    }

    assert(kept->spki_len <= BK_SPKI_MAX);

    if (kept->state < BK_ALLOC_EXPIRED) {
        fuzz_again(kept, hash);
    }

    free(kept);

    return 0;
}


static void
fuzz_again(const bk_kept_t *kept, const uint8_t *hash)
{
    char         *record;
    uint8_t       key_hash[BK_TABLE_HASH_LEN];
    bk_err_t      err;
    bk_row_t      row, same;
    bk_kept_t    *again;
    bk_stored_t   stored;

    bk_kept_row(kept, hash, &row);
    record = bk_kept_record(&row);
    assert(strlen(record) <= BK_STORE_RECORD_MAX);
    bk_sha256(row.spki, row.spki_len, key_hash);
    bk_kept_stored(&row, key_hash, record, &stored);
    again = bk_kept_read(&stored, &err);
    assert(again != NULL);
    bk_kept_row(again, hash, &same);
    assert(same.metadata == NULL);
    assert(memcmp(&row, &same, sizeof(row)) == 0);
    free(again);
    free(record);
}
