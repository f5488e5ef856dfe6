/*
 * Bytes into objects: see k8s.h.
 *
 * A scanner that knows strings and brackets finds where an object ends and
 * copies it; jansson reads the copy (k8s_split_read.c).  So memory is that of
 * one object, not of a list, and nothing is read twice.
 *
 * Two things need not be read at all.  metadata.managedFields, often half of
 * an object, is of use to nobody here: it becomes null.  And of a list that
 * is read again nearly all objects are as they were: whoever knows that by
 * their metadata (k8s_split_same()) is spared the rest, which is why a list
 * of tens of thousands costs little more than its bytes.
 */

#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "k8s_split_int.h"


#define K8S_STOP_OUT     1      /* ends what is alike outside of a string ... */
#define K8S_STOP_STRING  2      /* ... in one ... */
#define K8S_STOP_KEYS    4      /* ... and where keys count */


static const char *k8s_split_step(k8s_split_t *s, const char *p,
    const char *end, bk_err_t *err);
static const char *k8s_split_alike(k8s_split_t *s, const char *p,
    const char *end, bk_err_t *err);
static const char *k8s_split_string(k8s_split_t *s, const char *p,
    const char *end, bk_err_t *err);
static int k8s_split_escaped(k8s_split_t *s, char c);
static const char *k8s_split_open(k8s_split_t *s, const char *p,
    bk_err_t *err);
static const char *k8s_split_close(k8s_split_t *s, const char *p,
    bk_err_t *err);
static const char *k8s_split_between(k8s_split_t *s, const char *p,
    bk_err_t *err);
static const char *k8s_split_outside(k8s_split_t *s, const char *p,
    bk_err_t *err);
static int k8s_split_keys(const k8s_split_t *s);
static int k8s_split_is(const k8s_split_t *s, const char *name);
static const char *const *k8s_split_path(const k8s_split_t *s);
static const char *k8s_split_fail(bk_err_t *err, const char *what);


static const uint8_t  k8s_stops[256] = {
    [0] = K8S_STOP_OUT|K8S_STOP_STRING|K8S_STOP_KEYS,
    ['"'] = K8S_STOP_OUT|K8S_STOP_STRING|K8S_STOP_KEYS,
    ['\\'] = K8S_STOP_STRING,
    ['{'] = K8S_STOP_OUT|K8S_STOP_KEYS,
    ['['] = K8S_STOP_OUT|K8S_STOP_KEYS,
    ['}'] = K8S_STOP_OUT|K8S_STOP_KEYS,
    [']'] = K8S_STOP_OUT|K8S_STOP_KEYS,
    [':'] = K8S_STOP_KEYS,
    [','] = K8S_STOP_KEYS
};

/* where the metadata of an object are, and what is not wanted of them */
static const char *const  k8s_list_path[] = {
    "metadata", "managedFields", NULL
};
static const char *const  k8s_stream_path[] = {
    "object", "metadata", "managedFields", NULL
};


int
k8s_split_feed(k8s_split_t *s, const char *p, size_t n, bk_err_t *err)
{
    const char  *end = p + n;

    if (s->failed) {
        return bk_err_set(err, 502, "BadAnswer", "it was not well before");
    }

    while (p != NULL && p < end) {
        p = k8s_split_step(s, p, end, err);
    }

    if (n > 0 && p == NULL) {
        s->failed = 1;
        return -1;
    }

    return 0;
}


/* One step: what is alike, or one character that means something.  Returns
 * where to go on, NULL: it is over. */

static const char *
k8s_split_step(k8s_split_t *s, const char *p, const char *end, bk_err_t *err)
{
    int          keys;
    const char  *q;

    if (s->depth == 0) {
        return k8s_split_outside(s, p, err);
    }

    if (s->items > K8S_ITEMS_BEFORE && s->items < K8S_ITEMS_AFTER && !s->in) {
        return k8s_split_between(s, p, err);
    }

    keys = k8s_split_keys(s);

    if (!keys && !s->escape && !s->hex) {
        q = k8s_split_alike(s, p, end, err);

        if (q != p) {
            return q;
        }
    }

    if (s->string) {
        return k8s_split_string(s, p, end, err);
    }

    if (keys) {
        for (q = p; q < end && !(k8s_stops[(uint8_t) *q] & K8S_STOP_KEYS);
             q++)
        {
            /* void */
        }

        if (q > p) {
            return k8s_split_add(s, p, (size_t) (q - p), err) == 0 ? q : NULL;
        }
    }

    switch (*p) {

    case '"':
        s->string = 1;

        if (keys && !s->value) {
            s->nkey = 0;
        }

        break;

    case '{':
    case '[':
        return k8s_split_open(s, p, err);

    case '}':
    case ']':
        return k8s_split_close(s, p, err);

    case '\0':
        return k8s_split_fail(err, "a NUL byte");

    default:
        s->value = (*p == ':');
    }

    return k8s_split_add(s, p, 1, err) == 0 ? p + 1 : NULL;
}


/* Most of it: up to the next bracket, escape or NUL, through whole strings. */

static const char *
k8s_split_alike(k8s_split_t *s, const char *p, const char *end, bk_err_t *err)
{
    uint8_t      stop;
    const char  *q = p;

    for ( ;; ) {
        stop = s->string ? K8S_STOP_STRING : K8S_STOP_OUT;

        while (q < end && !(k8s_stops[(uint8_t) *q] & stop)) {
            q++;
        }

        if (q == end || *q != '"') {
            break;
        }

        s->string = !s->string;
        q++;
    }

    return q == p || k8s_split_add(s, p, (size_t) (q - p), err) == 0 ? q
                                                                     : NULL;
}


static const char *
k8s_split_string(k8s_split_t *s, const char *p, const char *end,
    bk_err_t *err)
{
    int               key = k8s_split_keys(s) && !s->value, nul = 0;
    const char       *q;
    k8s_split_buf_t  *b = s->in ? &s->one : &s->rest;

    for (q = p; q < end && s->string && !nul; q++) {
        if (*q == '\0') {
            return k8s_split_fail(err, "a NUL byte");
        }

        if (s->escape || s->hex) {
            nul = k8s_split_escaped(s, *q);

        } else if (*q == '\\') {
            s->escape = 1;

        } else if (*q == '"') {
            s->string = 0;
            continue;
        }

        /* longer ones only have to differ from those that are looked for */
        if (key && s->nkey < sizeof(s->key)) {
            s->key[s->nkey++] = *q;
        }
    }

    if (k8s_split_add(s, p, (size_t) (q - p), err) != 0) {
        return NULL;
    }

    /*
     * An annotation may hold U+0000, a key in a free-form object too; jansson
     * takes none in keys, and who reads a string as C does would see half.
     */
    if (nul && s->cut == 0) {
        memcpy(b->text + b->len - 4, "fffd", 4);
        b->nul = 1;
    }

    return q;
}


/* 1: that was the last digit of \u0000 */

static int
k8s_split_escaped(k8s_split_t *s, char c)
{
    if (s->escape) {
        s->escape = 0;
        s->hex = (c == 'u') ? 4 : 0;
        s->zero = 1;
        return 0;
    }

    s->zero = s->zero && c == '0';
    s->hex--;

    if (c == '"' || c == '\\') {
        /* no JSON; jansson is going to say so */
        s->hex = 0;
        s->escape = (c == '\\');
        s->string = (c != '"');
        return 0;
    }

    return s->hex == 0 && s->zero;
}


static const char *
k8s_split_open(k8s_split_t *s, const char *p, bk_err_t *err)
{
    int                 met = 0, cut = 0;
    const char *const  *path = k8s_split_path(s);

    if (s->list && s->depth == 1 && *p == '[' && s->value
        && k8s_split_is(s, "items"))
    {
        if (s->items != K8S_ITEMS_BEFORE) {
            return k8s_split_fail(err, "two arrays of items");
        }

        s->items = K8S_ITEMS_FIRST;
    }

    if (s->in && s->value && k8s_split_keys(s)
        && k8s_split_is(s, path[s->met]))
    {
        cut = (path[s->met + 1] == NULL);
        met = (!cut && *p == '{');
    }

    /* not wanted, or deeper than anybody needs: null, for whoever looks */
    if (s->cut == 0
        && (cut || s->depth - (s->in && s->list ? 2 : 0) == K8S_DEPTH))
    {
        if (k8s_split_add(s, "null", 4, err) != 0) {
            return NULL;
        }

        s->cut = s->depth + 1;
    }

    if (met) {
        s->met++;
        s->value = 0;
        s->nkey = 0;
        s->head = s->one.len;
    }

    if (k8s_split_add(s, p, 1, err) != 0) {
        return NULL;
    }

    if (s->depth == INT32_MAX) {
        return k8s_split_fail(err, "brackets without end");
    }

    s->depth++;

    return p + 1;
}


static const char *
k8s_split_close(k8s_split_t *s, const char *p, bk_err_t *err)
{
    if (k8s_split_add(s, p, 1, err) != 0) {
        return NULL;
    }

    if (s->cut == s->depth) {
        s->cut = 0;
    }

    if (s->met > 0 && k8s_split_keys(s)) {
        s->met--;
        s->value = 1;

        if (s->same != NULL && s->cut == 0 && k8s_split_known(s)) {
            s->skip = 1;
            s->cut = s->depth - 1;
        }
    }

    s->depth--;

    if (s->in && s->depth == (s->list ? 2 : 0)) {
        s->in = 0;

        if (k8s_split_object(s, err) != 0) {
            return NULL;
        }
    }

    if (s->list && s->depth == 0) {
        s->over = 1;
    }

    return p + 1;
}


/* Between the items of a list: of the array only its brackets are kept. */

static const char *
k8s_split_between(k8s_split_t *s, const char *p, bk_err_t *err)
{
    switch (*p) {

    case ' ':
    case '\t':
    case '\r':
    case '\n':
        return p + 1;

    case ',':
        if (s->items == K8S_ITEMS_NEXT) {
            s->items = K8S_ITEMS_COMMA;
            return p + 1;
        }

        break;

    case '{':
        if (s->items != K8S_ITEMS_NEXT) {
            s->items = K8S_ITEMS_NEXT;
            s->in = 1;
            s->value = 0;
            s->nkey = 0;
            s->depth++;
            return k8s_split_add(s, p, 1, err) == 0 ? p + 1 : NULL;
        }

        break;

    case ']':
        if (s->items != K8S_ITEMS_COMMA) {
            s->items = K8S_ITEMS_AFTER;
            s->value = 1;
            s->depth--;
            return k8s_split_add(s, p, 1, err) == 0 ? p + 1 : NULL;
        }

        break;
    }

    return k8s_split_fail(err, "items that are no objects, or not apart");
}


static const char *
k8s_split_outside(k8s_split_t *s, const char *p, bk_err_t *err)
{
    switch (*p) {

    case ' ':
    case '\t':
    case '\r':
    case '\n':
        return p + 1;

    case '{':
        if (!s->over) {
            s->in = !s->list;
            s->value = 0;
            s->nkey = 0;
            s->depth = 1;
            return k8s_split_add(s, p, 1, err) == 0 ? p + 1 : NULL;
        }

        return k8s_split_fail(err, "something behind the end");
    }

    return k8s_split_fail(err, s->over ? "something behind the end"
                                       : "something that is no object");
}


/* Is this an object whose keys are looked at?  Of a list: itself; of one that
 * is handed out: itself, and what is on the way to its metadata. */

static int
k8s_split_keys(const k8s_split_t *s)
{
    if (!s->in) {
        return s->list && s->depth == 1;
    }

    return s->depth - (s->list ? 2 : 0) == s->met + 1 && !s->skip;
}


static int
k8s_split_is(const k8s_split_t *s, const char *name)
{
    size_t  n = strlen(name);

    return s->nkey == n && memcmp(s->key, name, n) == 0;
}


static const char *const *
k8s_split_path(const k8s_split_t *s)
{
    return s->list ? k8s_list_path : k8s_stream_path;
}


static const char *
k8s_split_fail(bk_err_t *err, const char *what)
{
    bk_err_set(err, 502, "BadAnswer", "%s", what);

    return NULL;
}
