/*
 * FUZZ_SOURCES: plugin-host/plugins/kubernetes/k8s_split.c
 *     plugin-host/plugins/kubernetes/k8s_split_read.c
 *     plugin-host/src/err.c
 * FUZZ_CFLAGS: -Iplugin-host/plugins/kubernetes
 * FUZZ_LIBS: -ljansson
 */

/*
 * Bytes into objects: the first byte says list or stream, whether some objects
 * are known already, and how the rest is cut.  However it is cut, the objects
 * are the same; and they are those that jansson sees who is given all of it.
 */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "k8s.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static json_t *fuzz_cut(int how, const char *p, size_t n, unsigned seed);
static json_t *fuzz_list(const char *p, size_t n);
static json_t *fuzz_stream(const char *p, size_t n);
static int fuzz_odd(const char *p, size_t n);
static int fuzz_take(void *data, json_t *obj);
static int fuzz_same(void *data, json_t *meta);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int          list;
    json_t      *whole, *cut, *known;
    const char  *p = (const char *) data + 1;

    if (size < 1) {
        return 0;
    }

    list = data[0] & 1;
    size--;

    whole = fuzz_cut(data[0], p, size, 0);
    cut = fuzz_cut(data[0], p, size, data[0]);
    assert((whole == NULL) == (cut == NULL));
    assert(whole == NULL || json_equal(whole, cut));

    known = list ? fuzz_list(p, size) : fuzz_stream(p, size);

    if (!fuzz_odd(p, size) && !(data[0] & 2)) {
        assert((whole == NULL) == (known == NULL));
        assert(whole == NULL || json_equal(whole, known));
    }

    json_decref(whole);
    json_decref(cut);
    json_decref(known);

    return 0;
}


/* An array of the objects and, of a list, the rest; NULL: it is no such. */

static json_t *
fuzz_cut(int how, const char *p, size_t n, unsigned seed)
{
    int           list = how & 1, rc = 0;
    char         *piece;
    json_t       *all = json_array(), *rest;
    size_t        part;
    bk_err_t      err;
    k8s_split_t  *s;

    memset(&err, 0, sizeof(err));
    s = list ? k8s_split_list(fuzz_take, all)
             : k8s_split_stream(fuzz_take, all);

    if (list && (how & 2)) {
        k8s_split_same(s, fuzz_same);
    }

    while (n > 0 && rc == 0) {
        part = seed == 0 ? n : (seed = seed * 37 + 11) % 7 + 1;
        part = part < n ? part : n;

        piece = malloc(part);
        assert(piece != NULL);
        memcpy(piece, p, part);
        rc = k8s_split_feed(s, piece, part, &err);
        free(piece);
        p += part;
        n -= part;
    }

    rest = rc == 0 ? k8s_split_end(s, &err) : NULL;
    assert((rc == 0 && (rest != NULL || !list)) || err.code != 0);
    assert(rest == NULL || (list && json_object_get(rest, "items") == NULL));

    if (rest != NULL) {
        json_array_append_new(all, rest);
    }

    k8s_split_free(&s);

    if (err.code != 0) {
        json_decref(all);
        return NULL;
    }

    return all;
}


static int
fuzz_take(void *data, json_t *obj)
{
    assert(json_is_object(obj));
    json_array_append(data, obj);

    return 0;
}


/* Those with a name of even length. */

static int
fuzz_same(void *data, json_t *meta)
{
    json_t  *name = json_object_get(meta, "name");

    (void) data;
    assert(json_is_object(meta));

    return json_is_string(name) && json_string_length(name) % 2 == 0;
}


static json_t *
fuzz_list(const char *p, size_t n)
{
    json_t        *all, *list, *items, *item;
    size_t         i;
    json_error_t   e;

    list = json_loadb(p, n, JSON_REJECT_DUPLICATES, &e);
    items = json_object_get(list, "items");
    all = json_array();

    if (!json_is_array(items) && !json_is_null(items)) {
        goto failed;
    }

    json_array_foreach(items, i, item) {
        if (!json_is_object(item)) {
            goto failed;
        }

        json_array_append(all, item);
    }

    json_object_del(list, "items");
    json_array_append_new(all, list);

    return all;

failed:

    json_decref(all);
    json_decref(list);

    return NULL;
}


static json_t *
fuzz_stream(const char *p, size_t n)
{
    json_t        *all = json_array(), *obj;
    json_error_t   e;

    for ( ;; ) {
        while (n > 0 && strchr(" \t\r\n", *p) != NULL && *p != '\0') {
            p++;
            n--;
        }

        if (n == 0) {
            return all;
        }

        obj = *p == '{' ? json_loadb(p, n, JSON_DISABLE_EOF_CHECK
                                           | JSON_REJECT_DUPLICATES, &e)
                        : NULL;

        if (obj == NULL) {
            json_decref(all);
            return NULL;
        }

        json_array_append_new(all, obj);
        p += e.position;
        n -= (size_t) e.position;
    }
}


/* What the two see differently: depth, U+0000 and names with escapes, numbers
 * beyond 64 bits, and what is not wanted of metadata. */

static int
fuzz_odd(const char *p, size_t n)
{
    int     deep = 0, digits = 0;
    size_t  i;

    if (memmem(p, n, "managedFields", strlen("managedFields")) != NULL) {
        return 1;
    }

    for (i = 0; i < n; i++) {
        deep += (p[i] == '{' || p[i] == '[');
        digits = (p[i] >= '0' && p[i] <= '9') ? digits + 1 : 0;

        if (deep > K8S_DEPTH || digits > 18
            || (p[i] == 'u' && i > 0 && p[i - 1] == '\\'))
        {
            return 1;
        }
    }

    return 0;
}
