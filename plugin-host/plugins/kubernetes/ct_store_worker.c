/*
 * What is kept of a worker beside its allocations: whether it is drained, and
 * whose it is.  See ct_store.h.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "ct_store.h"


#define CT_MARK_TRIES  8


typedef struct {
    ct_store_t   *store;
    bk_store_pt   done;
    void         *data;
    json_t       *drained;          /* null: it is not */
    char         *pool;
    const char   *trust;            /* "": nobody's */
    int           makes;            /* a new object is written */
    int           tries;
} ct_mark_t;


static void ct_mark_write(ct_mark_t *m, ct_obj_t *o);
static json_t *ct_mark_new(void *data, ct_obj_t *o, bk_err_t *err);
static json_t *ct_mark_make(void *data, ct_obj_t *o, bk_err_t *err);
static void ct_mark_set(const ct_mark_t *m, json_t *is, json_t *spec);
static void ct_mark_wrote(void *data, ct_obj_t *o, const bk_err_t *err);


void
ct_store_worker(ct_t *ct, const bk_stored_worker_t *w, bk_store_pt done,
    void *data)
{
    char        since[32], key[CT_KEY_MAX], name[CT_KEY_MAX];
    bk_err_t    err;
    ct_mark_t  *m;

    snprintf(name, sizeof(name), "%.*s", (int) w->worker.len, w->worker.data);

    if (ct_store_key(w->pool, name, key, sizeof(key)) != 0) {
        (void) bk_err_set(&err, 400, "BadRow", "a worker that is to be marked "
                          "is of no pool, or its name is too long");
        done(data, &err);
        return;
    }

    m = calloc(1, sizeof(ct_mark_t));

    if (m == NULL) {
        abort();
    }

    m->store = ct->store;
    m->done = done;
    m->data = data;
    m->trust = w->trust == 0 ? "" : w->trust == 1 ? "trusted" : "untrusted";
    m->pool = strndup(w->pool.data, w->pool.len);
    m->drained = json_null();

    if (m->pool == NULL) {
        abort();
    }

    if (w->drained_ms != 0) {
        ct_stored_time(w->drained_ms, since);
        m->drained = json_pack("{s:s}", "since", since);

        if (w->drained.len > 0) {
            json_object_set_new(m->drained, "reason",
                json_stringn(w->drained.data, w->drained.len));
        }
    }

    *strchr(key, '/') = '\0';
    ct_mark_write(m, ct_obj_get(ct, CT_WORKER, key, name));
}


static void
ct_mark_write(ct_mark_t *m, ct_obj_t *o)
{
    m->makes = (o->obj == NULL);

    if (m->makes) {
        ct_write(o, CT_PLACE, ct_mark_new, ct_mark_wrote, m);

    } else {
        ct_write(o, CT_PATCH, ct_mark_make, ct_mark_wrote, m);
    }
}


/* It need not be there for nothing. */

static json_t *
ct_mark_new(void *data, ct_obj_t *o, bk_err_t *err)
{
    json_t     *obj;
    ct_mark_t  *m = data;

    if (m->trust[0] == '\0' && json_is_null(m->drained)) {
        return NULL;
    }

    obj = ct_store_object(m->store, m->pool, o, NULL, err);

    if (obj != NULL) {
        ct_mark_set(m, NULL, json_object_get(obj, "spec"));
    }

    return obj;
}


static json_t *
ct_mark_make(void *data, ct_obj_t *o, bk_err_t *err)
{
    json_t     *spec = json_object(), *patch;
    ct_mark_t  *m = data;

    (void) err;

    ct_mark_set(m, ct_at(o, "spec", NULL), spec);

    if (json_object_size(spec) == 0) {
        json_decref(spec);
        return NULL;
    }

    patch = json_object();
    json_object_set_new(patch, "spec", spec);

    return patch;
}


/* Whose it is once, it is for good: the API server refuses another. */

static void
ct_mark_set(const ct_mark_t *m, json_t *is, json_t *spec)
{
    json_t  *drained = json_object_get(is, "drained");

    if (m->trust[0] != '\0' && strcmp(obj_text(is, "trust"), m->trust) != 0) {
        json_object_set_new(spec, "trust", json_string(m->trust));
    }

    if (json_is_null(m->drained) ? drained != NULL
                                 : !json_equal(drained, m->drained))
    {
        json_object_set(spec, "drained", m->drained);
    }
}


static void
ct_mark_wrote(void *data, ct_obj_t *o, const bk_err_t *err)
{
    int         left;
    json_t     *spec = json_object();
    bk_err_t    other;
    ct_mark_t  *m = data;

    ct_seen_take(m->store, o);

    ct_mark_set(m, ct_at(o, "spec", NULL), spec);
    left = json_object_size(spec) > 0;
    json_decref(spec);

    /* it went, and is to be made; it was read again, and is so */
    if (err != NULL
        && ((strcmp(err->reason, "NotFound") == 0 && o->obj == NULL
             && !m->makes)
            || (strcmp(err->reason, "Unknown") == 0 && !left)))
    {
        err = NULL;
    }

    if (err == NULL && left && m->tries++ < CT_MARK_TRIES) {
        /* it went, or came, while it was written */
        ct_mark_write(m, o);
        return;
    }

    if (err == NULL && left) {
        (void) bk_fail(&other, 503, "StoreBusy", "try again in a moment",
                       "BuildKitWorker %s does not stay as it is written",
                       o->key);
        err = &other;
    }

    if (err != NULL && err->code == 422) {
        /* whose it is is for good */
        (void) bk_err_set(&other, 409, "WorkerTaken", "%s", err->text);
        err = &other;
    }

    m->done(m->data, err);
    json_decref(m->drained);
    free(m->pool);
    free(m);
}


int
ct_store_workers(ct_t *ct, bk_stored_worker_pt fn, void *data)
{
    int                  rc;
    char                 reason[OBJ_TEXT_MAX];
    json_t              *drained;
    const char          *trust;
    ct_worker_t         *w, *next;
    bk_stored_worker_t   out;

    HASH_ITER(hh, ct->workers, w, next) {
        if (ct_queued(w->name) || w->pool == NULL) {
            continue;
        }

        trust = ct_worker_trust(w);
        out = (bk_stored_worker_t) {
            .pool = CT_STR(w->pool->key),
            .worker = CT_STR(w->name),
            .trust = strcmp(trust, "trusted") == 0 ? 1
                     : strcmp(trust, "untrusted") == 0 ? 2 : 0
        };
        drained = w->o == NULL ? NULL : ct_at(w->o, "spec", "drained", NULL);

        if (json_is_object(drained)) {
            obj_copy(reason, sizeof(reason), obj_text(drained, "reason"));
            out.drained = CT_STR(reason);

            if (obj_time(obj_text(drained, "since"), &out.drained_ms) != 0) {
                out.drained_ms = ct->host->now_ms(ct->host);
            }
        }

        if (out.trust == 0 && out.drained_ms == 0) {
            continue;
        }

        rc = fn(&out, data);

        if (rc != 0) {
            return rc;
        }
    }

    return 0;
}
