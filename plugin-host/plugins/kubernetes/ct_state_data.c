/*
 * The files of the host's state folder as the data of a Secret: which they
 * are, base64, and what differs.  See ct_state.h.
 */

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bk_err.h"
#include "ct_state.h"


static json_t *ct_state_authority(json_t *data, const char *key);


/* names: doc/certificates.md, and the allocator's */
const ct_state_file_t  ct_state_files[CT_STATE_FILES] = {
    { "gateway-trust.json", "ca/gateway-trust.json", 1 },
    { "gateway-ca-key.pem", "ca/gateway-ca-key.pem", 0 },
    { "gateway-ca.pem", "ca/gateway-ca.pem", 0 },
    { "worker-trust.json", "ca/worker-trust.json", 1 },
    { "worker-ca-key.pem", "ca/worker-ca-key.pem", 0 },
    { "worker-ca.pem", "ca/worker-ca.pem", 0 },
    { CT_STATE_SECRET, CT_STATE_SECRET, 0 }
};


char *
ct_state_encode(const char *text, size_t len)
{
    char  *coded = malloc(len / 3 * 4 + 5);

    if (coded == NULL) {
        abort();
    }

    EVP_EncodeBlock((unsigned char *) coded, (const unsigned char *) text,
                    (int) len);

    return coded;
}


unsigned char *
ct_state_decode(json_t *value, size_t *len)
{
    int             n;
    size_t          size;
    const char     *coded;
    unsigned char  *text;

    if (!json_is_string(value)) {
        return NULL;
    }

    coded = json_string_value(value);
    size = json_string_length(value);

    if (size % 4 != 0 || size / 4 * 3 > CT_STATE_FILE_MAX
        || strspn(coded, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                         "0123456789+/=") != size)
    {
        return NULL;
    }

    text = malloc(size / 4 * 3 + 1);

    if (text == NULL) {
        abort();
    }

    n = EVP_DecodeBlock(text, (const unsigned char *) coded, (int) size);

    if (n < 0) {
        free(text);
        return NULL;
    }

    *len = (size_t) n;

    if (size > 0 && coded[size - 1] == '=') {
        *len -= coded[size - 2] == '=' ? 2 : 1;
    }

    return text;
}


void
ct_state_wipe(void *text, size_t len)
{
    if (text != NULL) {
        explicit_bzero(text, len);
        free(text);
    }
}


int
ct_state_check(json_t *data, bk_err_t *err)
{
    size_t          i, len;
    json_t         *value;
    const char     *key;
    unsigned char  *text;

    for (i = 0; i < CT_STATE_FILES; i++) {
        key = ct_state_files[i].key;
        value = json_object_get(data, key);

        /* an authority that comes from outside has no key there */
        if (value == NULL
            && (ct_state_files[i].trust
                || strcmp(key, CT_STATE_SECRET) == 0))
        {
            return bk_err_set(err, 400, "BadState", "it has no %s", key);
        }

        /* the key is what follows in the list */
        if (ct_state_files[i].trust && ct_state_own(data, key)
            && json_object_get(data, ct_state_files[i + 1].key) == NULL)
        {
            return bk_err_set(err, 400, "BadState", "it has no %s",
                              ct_state_files[i + 1].key);
        }

        if (value == NULL) {
            continue;
        }

        text = ct_state_decode(value, &len);

        if (text == NULL) {
            return bk_err_set(err, 400, "BadState", "its %s is no base64 of "
                              "at most %d bytes", key, CT_STATE_FILE_MAX);
        }

        ct_state_wipe(text, len);

        if (len == 0 || (strcmp(key, CT_STATE_SECRET) == 0
                         && len != CT_STATE_SECRET_LEN))
        {
            return bk_err_set(err, 400, "BadState", "its %s is damaged", key);
        }
    }

    return 0;
}


/*
 * An authority of our own, but for how long what it issued may be in use, and
 * without old ones whose time is over: each replica drops those by itself, at
 * some time.  NULL when it is none, or comes from outside: each reads that
 * one's files by itself.
 */

static json_t *
ct_state_authority(json_t *data, const char *key)
{
    size_t          i, len;
    json_t         *json, *old, *one;
    unsigned char  *text;

    text = ct_state_decode(json_object_get(data, key), &len);

    if (text == NULL) {
        return NULL;
    }

    json = json_loadb((char *) text, len, JSON_REJECT_DUPLICATES, NULL);
    ct_state_wipe(text, len);

    if (!json_is_true(json_object_get(json, "own"))) {
        json_decref(json);
        return NULL;
    }

    json_object_del(json, "until");
    old = json_object_get(json, "old");

    for (i = json_array_size(old); i-- > 0; /* void */ ) {
        one = json_array_get(old, i);

        if (json_integer_value(json_object_get(one, "until"))
            <= (json_int_t) time(NULL) * 1000)
        {
            json_array_remove(old, i);

        } else {
            json_object_del(one, "until");
        }
    }

    return json;
}


int
ct_state_own(json_t *data, const char *key)
{
    json_t  *json = ct_state_authority(data, key);
    int      own = json != NULL;

    json_decref(json);

    return own;
}


int
ct_state_compare(json_t *a, json_t *b)
{
    int          same = CT_STATE_SAME, equal;
    size_t       i;
    json_t      *x, *y;
    const char  *key;

    for (i = 0; i < CT_STATE_FILES; i++) {
        key = ct_state_files[i].key;
        x = json_object_get(a, key);
        y = json_object_get(b, key);

        if (x == y || (x != NULL && y != NULL && json_equal(x, y))) {
            continue;
        }

        if (!ct_state_files[i].trust) {
            return CT_STATE_OTHER;
        }

        x = ct_state_authority(a, key);
        y = ct_state_authority(b, key);
        equal = (x == NULL && y == NULL)
                || (x != NULL && y != NULL && json_equal(x, y));
        json_decref(x);
        json_decref(y);

        if (!equal) {
            return CT_STATE_OTHER;
        }

        same = CT_STATE_ISSUED;
    }

    return same;
}


int
ct_state_has(json_t *local, json_t *data)
{
    size_t  i;

    for (i = 0; i < CT_STATE_FILES; i++) {
        if (json_object_get(data, ct_state_files[i].key) != NULL
            && json_object_get(local, ct_state_files[i].key) == NULL)
        {
            return 0;
        }
    }

    return 1;
}
