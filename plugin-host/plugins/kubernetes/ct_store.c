/*
 * The host's store (bk_plugin.h) in BuildKitWorkers: an allocation is
 * spec.allocation of its worker, or of an object queued-ID while it has none;
 * when it has ended it is in spec.ended for a time, so that every gateway can
 * say why.  See ct_store.h for who does what.
 *
 * Two controllers that both believe to lead can write here, and still no
 * worker is two callers': each write carries the resourceVersion of an object
 * in which nobody else was.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "ct_store.h"
#include "mk.h"


#define CT_STORE_SWEEP  (30 * 1000)


static void ct_store_sweep(void *data);


ct_store_t *
ct_store_new(ct_t *ct)
{
    ct_store_t  *s = calloc(1, sizeof(ct_store_t));

    if (s == NULL) {
        abort();
    }

    s->ct = ct;
    s->sweep = ct->host->timer_new(ct->host, ct_store_sweep, s);

    return s;
}


void
ct_store_free(ct_store_t **sp)
{
    ct_store_t  *s = *sp;

    if (s == NULL) {
        return;
    }

    *sp = NULL;
    s->ready = 0;
    s->ct->host->timer_free(&s->sweep);
    ct_seen_free(s);
    free(s);
}


/* --- rows ----------------------------------------------------------------- */

void
ct_store_put(ct_t *ct, const bk_stored_t *row, bk_store_pt done, void *data)
{
    char         key[CT_KEY_MAX], name[CT_KEY_MAX];
    json_t      *json;
    bk_err_t     err;
    ct_store_t  *s = ct->store;

    if (row->worker.len > 0) {
        snprintf(name, sizeof(name), "%.*s", (int) row->worker.len,
                 row->worker.data);

    } else {
        snprintf(name, sizeof(name), CT_QUEUED "%02x%02x%02x%02x%02x%02x",
                 row->hash[0], row->hash[1], row->hash[2], row->hash[3],
                 row->hash[4], row->hash[5]);
    }

    json = ct_stored_json(row, &err);

    if (json == NULL || ct_store_key(row->pool, name, key, sizeof(key)) != 0) {
        json_decref(json);

        if (json != NULL) {
            (void) bk_err_set(&err, 400, "BadRow", "an allocation that is to "
                              "be kept is of no pool, or its name is too "
                              "long");
        }

        /* the host says it later */
        done(data, &err);
        return;
    }

    /* its pool, with an end */
    snprintf(name, sizeof(name), "%.*s", (int) row->pool.len, row->pool.data);
    ct_op_ask(s, ct_row_get(s, row->hash), json, row->state, name, key, done,
              data);
}


int
ct_store_key(bk_str_t pool, const char *name, char *key, size_t size)
{
    int          n;
    const char  *slash = memchr(pool.data, '/', pool.len);

    if (slash == NULL || slash == pool.data || pool.len > CT_KEY_MAX - 1
        || memchr(pool.data, '\0', pool.len) != NULL
        || strchr(name, '/') != NULL || name[0] == '\0')
    {
        return -1;
    }

    n = snprintf(key, size, "%.*s/%s", (int) (slash - pool.data), pool.data,
                 name);

    return n > 0 && (size_t) n < size ? 0 : -1;
}


json_t *
ct_store_object(ct_store_t *s, const char *key, ct_obj_t *o,
    json_t *allocation, bk_err_t *err)
{
    json_t     *obj;
    ct_pool_t  *pool = ct_pool_find(s->ct, key);

    mk_worker_t  w = { .name = o->name };

    if (pool == NULL || pool->o == NULL || pool->o->obj == NULL
        || ct_deleting(pool->o))
    {
        (void) bk_err_set(err, 404, "PoolNotFound", "BuildKitPool %s is gone",
                          key);
        return NULL;
    }

    w.pool_ns = json_string_value(ct_at(pool->o, "metadata", "namespace",
                                        NULL));
    obj = mk_worker(pool->o->obj, &w);

    if (allocation != NULL) {
        json_object_set(json_object_get(obj, "spec"), "allocation",
                        allocation);
    }

    ct_store_trust(o, allocation, json_object_get(obj, "spec"));

    return obj;
}


/* What is on its disk outlives the object, and the claim says whose that is;
 * else it is from now on whose the allocation is. */

void
ct_store_trust(ct_obj_t *o, json_t *allocation, json_t *spec)
{
    const char   *trust;
    ct_worker_t  *w = ct_worker_find(o->ct, o->key);

    if (ct_queued(o->name) || ct_at(o, "spec", "trust", NULL) != NULL) {
        return;
    }

    trust = w == NULL ? "" : ct_worker_trust(w);

    if (trust[0] == '\0' && allocation != NULL) {
        trust = json_is_true(json_object_get(allocation, "untrusted"))
                ? "untrusted" : "trusted";
    }

    if (trust[0] != '\0') {
        json_object_set_new(spec, "trust", json_string(trust));
    }
}


int
ct_store_each(ct_t *ct, bk_stored_pt fn, void *data)
{
    int           over, rc = 0;
    ct_row_t     *r, *next;
    ct_stored_t   out;

    for (over = 0; over < 2; over++) {
        HASH_ITER(hh, ct->store->rows, r, next) {
            if (r->known_json == NULL || r->known_foreign
                || bk_alloc_ended(r->known_state) != over
                || ct_stored_read(r->known_json, r->known_state,
                                  r->known_pool, ct_row_worker(r), &out) != 0)
            {
                continue;
            }

            rc = fn(&out.stored, data);
            ct_stored_clear(&out);

            if (rc != 0) {
                return rc;
            }
        }
    }

    return rc;
}


void
ct_store_look(ct_worker_t *w, json_t *was)
{
    ct_seen_t   *x;
    ct_store_t  *s;

    (void) was;

    if (w->o == NULL) {
        return;
    }

    s = w->o->ct->store;
    ct_seen_take(s, w->o);
    x = ct_seen_find(s, w->o->key);

    if (x != NULL && s->ready) {
        ct_op_sweep(s, x);
    }
}


int
ct_store_has(const ct_worker_t *w, uint8_t *hash)
{
    ct_seen_t   *x;
    ct_place_t  *p;

    x = w->o == NULL ? NULL : ct_seen_find(w->o->ct->store, w->o->key);

    if (x == NULL) {
        return 0;
    }

    for (p = x->places; p != NULL; p = p->also) {
        if (!bk_alloc_ended(p->state)) {
            if (hash != NULL) {
                memcpy(hash, p->row->hash, OBJ_HASH_LEN);
            }

            return p->foreign || !ct_row_its(p->row, p) ? 2 : 1;
        }
    }

    return x->odd ? 2 : 0;
}


void
ct_store_is(ct_t *ct, int ready)
{
    ct_row_t    *r, *rnext;
    ct_seen_t   *x, *next;
    ct_store_t  *s = ct->store;

    if (s->ready == ready) {
        return;
    }

    HASH_ITER(hh, s->seen, x, next) {
        x->ours = 0;
    }

    HASH_ITER(hh, s->rows, r, rnext) {
        ct_row_bind(r, NULL);
    }

    s->ready = ready;
    ct->host->store_is(ct->host, ready);

    if (ready) {
        /* what the last leader was in the middle of */
        ct->host->timer_set(s->sweep, 0);

    } else {
        ct->host->timer_clear(s->sweep);
    }
}


static void
ct_store_sweep(void *data)
{
    ct_seen_t   *x, *next;
    ct_store_t  *s = data;

    HASH_ITER(hh, s->seen, x, next) {
        ct_op_sweep(s, x);
    }

    s->ct->host->timer_set(s->sweep, CT_STORE_SWEEP);
}
