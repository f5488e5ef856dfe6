/*
 * Whose allocations are: names of identities.  See model.h.  A name is kept
 * once, since a hundred thousand allocations are those of a few hundred.
 */

#include <string.h>

#include "model_int.h"


int
bk_model_alloc_owner(bk_model_t *m, const void *owner, const uint8_t *hash,
    bk_str_t name, int untrusted)
{
    bk_name_t   *n = NULL;
    bk_alloc_t  *a;

    HASH_FIND(hh, m->allocs, hash, BK_TABLE_HASH_LEN, a);

    if (a == NULL || a->owner == NULL || a->owner->id != owner) {
        return -1;
    }

    if (name.len > 0) {
        HASH_FIND(hh, m->names, name.data, name.len, n);

        if (n == NULL) {
            n = calloc(1, sizeof(bk_name_t) + name.len + 1);
            if (n == NULL) {
                abort();
            }

            memcpy(n->text, name.data, name.len);
            n->names = &m->names;
            HASH_ADD(hh, m->names, text, name.len, n);
        }

        n->refs++;
    }

    bk_model_name_unref(&a->whose);
    a->whose = n;
    a->untrusted = untrusted != 0;

    return 0;
}


const char *
bk_model_alloc_whose(bk_model_t *m, const uint8_t *hash, int *untrusted)
{
    bk_alloc_t  *a;

    HASH_FIND(hh, m->allocs, hash, BK_TABLE_HASH_LEN, a);

    if (untrusted != NULL) {
        *untrusted = a != NULL && a->untrusted;
    }

    return a != NULL && a->whose != NULL ? a->whose->text : "";
}


void
bk_model_name_unref(bk_name_t **np)
{
    bk_name_t  *n = *np;

    *np = NULL;

    if (n != NULL && --n->refs == 0) {
        HASH_DELETE(hh, *n->names, n);
        free(n);
    }
}
