/*
 * The store's rows, as they are in the objects: an index that is kept up with
 * every change of one, and word to the opener of what others have changed.
 *
 * What we write ourselves comes back in two ways, as the answer and from the
 * watch: it is what is being written, or what is known already, and no news.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "ct_store.h"


static ct_seen_t *ct_seen_get(ct_store_t *s, const char *key);
static void ct_seen_read(ct_store_t *s, ct_seen_t *x);
static void ct_seen_place(ct_store_t *s, ct_seen_t *x, const uint8_t *hash,
    json_t *json, int state, uint64_t expires_ms, int foreign);
static json_t *ct_seen_end(json_t *list, const uint8_t *hash);
static void ct_seen_unplace(ct_place_t *p);
static void ct_seen_hold(ct_place_t *places, ct_row_t **rows, size_t *n);


ct_seen_t *
ct_seen_find(ct_store_t *s, const char *key)
{
    ct_seen_t  *x;

    HASH_FIND_STR(s->seen, key, x);

    return x;
}


static ct_seen_t *
ct_seen_get(ct_store_t *s, const char *key)
{
    size_t      n = strlen(key);
    ct_seen_t  *x;

    x = ct_seen_find(s, key);

    if (x != NULL) {
        return x;
    }

    x = calloc(1, sizeof(ct_seen_t) + n + 1);

    if (x == NULL) {
        abort();
    }

    memcpy(x->key, key, n + 1);
    x->name = strchr(x->key, '/') + 1;
    x->queued = ct_queued(x->name);
    HASH_ADD_KEYPTR(hh, s->seen, x->key, n, x);

    return x;
}


void
ct_seen_take(ct_store_t *s, ct_obj_t *o)
{
    size_t       n = 0;
    ct_row_t   **rows;
    ct_seen_t   *x;
    ct_place_t  *old, *p;

    x = o->obj == NULL ? ct_seen_find(s, o->key) : ct_seen_get(s, o->key);

    if (x == NULL || x->obj == o->obj) {
        return;
    }

    json_decref(x->obj);
    x->obj = json_incref(o->obj);

    /* they stay until the new ones are there: no row is forgotten */
    old = x->places;
    x->places = NULL;
    ct_seen_read(s, x);

    rows = calloc(2 * (OBJ_ENDED_MAX + 1), sizeof(ct_row_t *));

    if (rows == NULL) {
        abort();
    }

    ct_seen_hold(old, rows, &n);
    ct_seen_hold(x->places, rows, &n);

    while ((p = old) != NULL) {
        old = p->also;
        ct_seen_unplace(p);
    }

    if (x->obj == NULL) {
        HASH_DEL(s->seen, x);
        free(x->pool);
        free(x);
    }

    /* who is told may ask for more at once */
    while (n > 0) {
        n--;
        ct_row_look(s, rows[n]);
        rows[n]->held--;
        ct_op_tidy(s, rows[n]);
        ct_row_drop(s, rows[n]);
    }

    free(rows);
}


static void
ct_seen_hold(ct_place_t *places, ct_row_t **rows, size_t *n)
{
    size_t       i;
    ct_place_t  *p;

    for (p = places; p != NULL; p = p->also) {
        for (i = 0; i < *n && rows[i] != p->row; i++) {
            /* void */
        }

        if (i == *n) {
            rows[(*n)++] = p->row;
            p->row->held++;
        }
    }
}


static void
ct_seen_read(ct_store_t *s, ct_seen_t *x)
{
    int           live;
    char          pool[CT_KEY_MAX];
    size_t        i;
    json_t       *spec = json_object_get(x->obj, "spec"), *alloc;
    bk_err_t      bad, err;
    obj_ended_t   ended[OBJ_ENDED_MAX];
    obj_worker_t  o = { .ended = ended };

    alloc = json_object_get(spec, "allocation");
    live = alloc != NULL && !json_is_null(alloc);
    x->odd = live;
    ct_seen_set(&x->pool, "");

    if (x->obj == NULL || obj_worker_read(x->obj, &o, &bad, &err) != 0) {
        return;
    }

    snprintf(pool, sizeof(pool), "%s/%s", o.ns, o.pool);
    ct_seen_set(&x->pool, pool);
    x->odd = live && !o.has_alloc;

    for (i = 0; i < o.nended; i++) {
        ct_seen_place(s, x, ended[i].hash,
                      ct_seen_end(json_object_get(spec, "ended"),
                                  ended[i].hash),
                      ended[i].state, ended[i].expires_ms, 0);
    }

    if (o.has_alloc) {
        ct_seen_place(s, x, o.alloc.hash, alloc,
                      o.queued ? BK_ALLOC_QUEUED : BK_ALLOC_READY,
                      o.alloc.expires_ms,
                      o.alloc.foreign
                      || json_object_get(alloc, "nonce") == NULL);
    }
}


/* One that is there twice in an object is there once. */

static void
ct_seen_place(ct_store_t *s, ct_seen_t *x, const uint8_t *hash, json_t *json,
    int state, uint64_t expires_ms, int foreign)
{
    ct_place_t  *p;

    for (p = x->places; p != NULL; p = p->also) {
        if (memcmp(p->row->hash, hash, OBJ_HASH_LEN) == 0) {
            return;
        }
    }

    p = calloc(1, sizeof(ct_place_t));

    if (p == NULL) {
        abort();
    }

    p->row = ct_row_get(s, hash);
    p->seen = x;
    p->json = json_incref(json);
    p->state = state;
    p->expires_ms = expires_ms;
    p->foreign = foreign;
    p->also = x->places;
    x->places = p;
    DL_APPEND(p->row->places, p);
}


static json_t *
ct_seen_end(json_t *list, const uint8_t *hash)
{
    size_t    i;
    json_t   *e;
    uint8_t   of[OBJ_HASH_LEN];

    json_array_foreach(list, i, e) {
        if (obj_hex(obj_text(e, "tokenHash"), of, OBJ_HASH_LEN) == 0
            && memcmp(of, hash, OBJ_HASH_LEN) == 0)
        {
            return e;
        }
    }

    return NULL;
}


static void
ct_seen_unplace(ct_place_t *p)
{
    DL_DELETE(p->row->places, p);
    json_decref(p->json);
    free(p);
}


void
ct_seen_set(char **at, const char *text)
{
    free(*at);
    *at = strdup(text);

    if (*at == NULL) {
        abort();
    }
}


void
ct_seen_free(ct_store_t *s)
{
    ct_row_t    *r, *rnext;
    ct_seen_t   *x, *next;
    ct_place_t  *p;

    HASH_ITER(hh, s->seen, x, next) {
        HASH_DEL(s->seen, x);

        while ((p = x->places) != NULL) {
            x->places = p->also;
            ct_seen_unplace(p);
        }

        json_decref(x->obj);
        free(x->pool);
        free(x);
    }

    HASH_ITER(hh, s->rows, r, rnext) {
        while (r->ops != NULL) {
            ct_op_free(r->ops);
        }

        r->held = 0;
        ct_row_know(r, NULL);
        ct_row_drop(s, r);
    }
}
