/*
 * A splitter's life, and what it has cut out is read: see k8s_split.c.
 *
 * Whoever may write one object must not be able to stop the news of all
 * others.  What the API server hands out for odd but legal objects and
 * jansson does not take is therefore made digestible, each where it is said:
 * U+0000, depth, large numbers.
 */

#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "k8s_split_int.h"


static k8s_split_t *k8s_split_new(k8s_object_pt fn, void *data, int list);
static json_t *k8s_split_read(const k8s_split_buf_t *b, size_t from,
    bk_err_t *err);


k8s_split_t *
k8s_split_stream(k8s_object_pt fn, void *data)
{
    return k8s_split_new(fn, data, 0);
}


k8s_split_t *
k8s_split_list(k8s_object_pt item, void *data)
{
    return k8s_split_new(item, data, 1);
}


void
k8s_split_same(k8s_split_t *s, k8s_same_pt same)
{
    s->same = same;
}


static k8s_split_t *
k8s_split_new(k8s_object_pt fn, void *data, int list)
{
    k8s_split_t  *s;

    s = calloc(1, sizeof(k8s_split_t));
    if (s == NULL) {
        abort();
    }

    s->fn = fn;
    s->data = data;
    s->list = list;

    return s;
}


void
k8s_split_free(k8s_split_t **sp)
{
    k8s_split_t  *s = *sp;

    if (s != NULL) {
        *sp = NULL;
        free(s->one.text);
        free(s->rest.text);
        free(s);
    }
}


json_t *
k8s_split_end(k8s_split_t *s, bk_err_t *err)
{
    json_t  *rest, *items;

    if (s->failed) {
        bk_err_set(err, 502, "BadAnswer", "it was not well before");
        return NULL;
    }

    if (s->depth != 0 || (s->list && !s->over)) {
        s->failed = 1;
        bk_err_set(err, 502, "CutShort", "the answer ends amid an object");
        return NULL;
    }

    if (!s->list) {
        return NULL;
    }

    rest = k8s_split_read(&s->rest, 0, err);
    s->failed = 1;

    if (rest == NULL) {
        return NULL;
    }

    /* a nil slice of Go's is null; a name with escapes was not seen as one */
    items = json_object_get(rest, "items");

    if (!json_is_null(items)
        && (!json_is_array(items) || json_array_size(items) != 0))
    {
        bk_err_set(err, 502, "BadAnswer", "no array of items");
        json_decref(rest);
        return NULL;
    }

    json_object_del(rest, "items");

    return rest;
}


int
k8s_split_add(k8s_split_t *s, const char *p, size_t n, bk_err_t *err)
{
    size_t            room;
    k8s_split_buf_t  *b = s->in ? &s->one : &s->rest;

    if (s->cut != 0) {
        return 0;
    }

    if (n > K8S_OBJECT_MAX - b->len) {
        return bk_err_set(err, 502, "ObjectTooLarge",
                          "an object of more than %d bytes", K8S_OBJECT_MAX);
    }

    if (b->len + n > b->room) {
        for (room = b->room > 0 ? b->room : 4096; room < b->len + n; ) {
            room *= 2;
        }

        b->text = realloc(b->text, room);
        if (b->text == NULL) {
            abort();
        }

        b->room = room;
    }

    memcpy(b->text + b->len, p, n);
    b->len += n;

    return 0;
}


int
k8s_split_object(k8s_split_t *s, bk_err_t *err)
{
    int      rc;
    json_t  *obj = NULL;

    if (!s->skip) {
        obj = k8s_split_read(&s->one, 0, err);

        if (obj == NULL) {
            return -1;
        }
    }

    s->skip = 0;
    s->one.len = 0;
    s->one.nul = 0;

    if (s->one.room > K8S_SPLIT_KEEP) {
        free(s->one.text);
        memset(&s->one, 0, sizeof(k8s_split_buf_t));
    }

    if (obj == NULL) {
        return 0;
    }

    rc = s->fn(s->data, obj);
    json_decref(obj);

    return rc == 0 ? 0 : bk_err_set(err, 499, "Stopped", "stopped");
}


/* What is no JSON is found when all of it is read. */

int
k8s_split_known(const k8s_split_t *s)
{
    int        rc;
    json_t    *meta;
    bk_err_t   err;

    meta = k8s_split_read(&s->one, s->head, &err);
    rc = meta != NULL && s->same(s->data, meta);
    json_decref(meta);

    return rc;
}


static json_t *
k8s_split_read(const k8s_split_buf_t *b, size_t from, bk_err_t *err)
{
    size_t         flags;
    json_t        *obj;
    json_error_t   e;

    /* two keys may have become one when U+0000 was replaced */
    flags = b->nul ? 0 : JSON_REJECT_DUPLICATES;
    obj = json_loadb(b->text + from, b->len - from, flags, &e);

    /*
     * The API server keeps what is beyond 64 bits as a float and writes
     * 1e20 as 100000000000000000000.  Then no number of this object is an
     * integer: whoever wants one of it refuses the object.
     */
    if (obj == NULL && json_error_code(&e) == json_error_numeric_overflow) {
        obj = json_loadb(b->text + from, b->len - from,
                         flags | JSON_DECODE_INT_AS_REAL, &e);
    }

    if (obj == NULL) {
        bk_err_set(err, 502, "BadAnswer", "no JSON: %.150s", e.text);
    }

    return obj;
}
