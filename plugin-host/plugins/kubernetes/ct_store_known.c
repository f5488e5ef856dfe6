/*
 * Rows of the store: which of their places is the one that counts, and what
 * the opener knows of them: see ct_store_seen.c.
 */

#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "ct_store.h"


static const char *ct_row_pool(const ct_row_t *r);
static int ct_row_better(const ct_row_t *r, const ct_place_t *a,
    const ct_place_t *b);
static void ct_row_gone(ct_store_t *s, ct_row_t *r);


ct_row_t *
ct_row_find(ct_store_t *s, const uint8_t *hash)
{
    ct_row_t  *r;

    HASH_FIND(hh, s->rows, hash, OBJ_HASH_LEN, r);

    return r;
}


ct_row_t *
ct_row_get(ct_store_t *s, const uint8_t *hash)
{
    ct_row_t  *r;

    r = ct_row_find(s, hash);

    if (r != NULL) {
        return r;
    }

    r = calloc(1, sizeof(ct_row_t));

    if (r == NULL) {
        abort();
    }

    memcpy(r->hash, hash, OBJ_HASH_LEN);
    HASH_ADD(hh, s->rows, hash, OBJ_HASH_LEN, r);

    return r;
}


void
ct_row_drop(ct_store_t *s, ct_row_t *r)
{
    if (r->places != NULL || r->ops != NULL || r->held > 0
        || r->known_json != NULL)
    {
        return;
    }

    HASH_DEL(s->rows, r);
    free(r->pool);
    free(r);
}


/* --- which of its places are its ------------------------------------------- */

int
ct_row_its(const ct_row_t *r, const ct_place_t *p)
{
    return strcmp(ct_row_pool(r), p->seen->pool) == 0;
}


/*
 * Who begins to lead has only the objects: where it is live, and where it was
 * if it is nowhere.  Of two pools in which it is live none can be believed.
 */

static const char *
ct_row_pool(const ct_row_t *r)
{
    ct_place_t  *p;
    const char  *live = NULL;

    if (r->pool != NULL) {
        return r->pool;
    }

    DL_FOREACH(r->places, p) {
        if (bk_alloc_ended(p->state)) {
            continue;
        }

        if (live != NULL && strcmp(live, p->seen->pool) != 0) {
            return "";
        }

        live = p->seen->pool;
    }

    return live != NULL ? live
           : r->places != NULL ? r->places->seen->pool : "";
}


void
ct_row_bind(ct_row_t *r, const char *pool)
{
    pool = pool == NULL ? r->known_pool : pool;

    if (r->pool == NULL && pool != NULL) {
        ct_seen_set(&r->pool, pool);
    }
}


ct_place_t *
ct_row_best(const ct_row_t *r)
{
    ct_place_t  *best = NULL, *p;

    DL_FOREACH(r->places, p) {
        if (ct_row_its(r, p) && (best == NULL || ct_row_better(r, p, best))) {
            best = p;
        }
    }

    return best;
}


/*
 * Of two workers that both say that it is theirs the one that we know, else
 * the one that got it last: that has the later end.
 */

static int
ct_row_better(const ct_row_t *r, const ct_place_t *a, const ct_place_t *b)
{
    int  x, y;

    x = bk_alloc_ended(a->state) ? 3 : a->state == BK_ALLOC_QUEUED ? 1 : 2;
    y = bk_alloc_ended(b->state) ? 3 : b->state == BK_ALLOC_QUEUED ? 1 : 2;

    if (x != y) {
        return x > y;
    }

    x = r->known_json != NULL && strcmp(r->known_key, a->seen->key) == 0;
    y = r->known_json != NULL && strcmp(r->known_key, b->seen->key) == 0;

    if (x != y) {
        return x;
    }

    if (a->expires_ms != b->expires_ms) {
        return a->expires_ms > b->expires_ms;
    }

    return strcmp(a->seen->key, b->seen->key) < 0;
}


ct_place_t *
ct_row_other(const ct_row_t *r, const ct_place_t *not_this)
{
    ct_place_t  *found = NULL, *p;

    DL_FOREACH(r->places, p) {
        if (p != not_this && !bk_alloc_ended(p->state) && ct_row_its(r, p)
            && (found == NULL || found->state == BK_ALLOC_QUEUED))
        {
            found = p;
        }
    }

    return found;
}


ct_place_t *
ct_row_at(const ct_row_t *r, const char *key)
{
    ct_place_t  *p;

    DL_FOREACH(r->places, p) {
        if (strcmp(p->seen->key, key) == 0 && ct_row_its(r, p)) {
            return p;
        }
    }

    return NULL;
}


void
ct_row_look(ct_store_t *s, ct_row_t *r)
{
    int          mine;
    ct_place_t  *p = ct_row_best(r);

    if (p == NULL) {
        if (r->known_json != NULL) {
            ct_row_gone(s, r);
        }

        return;
    }

    if (r->known_json != NULL && strcmp(r->known_key, p->seen->key) == 0
        && json_equal(r->known_json, p->json))
    {
        return;
    }

    mine = r->ops != NULL && ct_op_wants(r->ops, p);
    ct_row_know(r, p);

    if (s->ready) {
        ct_row_bind(r, NULL);
    }

    if (!mine) {
        r->changes++;
        ct_row_tell(s, r);
    }
}


void
ct_row_know(ct_row_t *r, const ct_place_t *p)
{
    json_decref(r->known_json);
    r->known_json = NULL;
    free(r->known_key);
    free(r->known_pool);
    r->known_key = NULL;
    r->known_pool = NULL;

    if (p != NULL) {
        r->known_json = json_incref(p->json);
        ct_seen_set(&r->known_key, p->seen->key);
        ct_seen_set(&r->known_pool, p->seen->pool);
        r->known_state = p->state;
        r->known_foreign = p->foreign;
    }
}


void
ct_row_tell(ct_store_t *s, ct_row_t *r)
{
    ct_stored_t  out;

    if (!s->ready || r->known_json == NULL || r->known_foreign
        || ct_stored_read(r->known_json, r->known_state, r->known_pool,
                          ct_row_worker(r), &out) != 0)
    {
        return;
    }

    s->ct->host->store_told(s->ct->host, &out.stored);
    ct_stored_clear(&out);
}


const char *
ct_row_worker(const ct_row_t *r)
{
    const char  *name = strchr(r->known_key, '/') + 1;

    return ct_queued(name) || r->known_state == BK_ALLOC_QUEUED ? "" : name;
}


/* No object has it any more; that of ended ones is the way of things. */

static void
ct_row_gone(ct_store_t *s, ct_row_t *r)
{
    int          news;
    char        *pool = r->known_pool, *key = r->known_key;
    json_t      *json = r->known_json;
    ct_stored_t  out;

    news = s->ready && !r->known_foreign && !bk_alloc_ended(r->known_state)
           && !(r->ops != NULL && ct_op_wants(r->ops, NULL))
           && ct_stored_read(json, r->known_state, pool, ct_row_worker(r),
                             &out) == 0;

    /* who is told may put it again */
    r->known_json = NULL;
    r->known_pool = NULL;
    r->known_key = NULL;

    if (news) {
        r->changes++;
        out.stored.state = BK_ALLOC_FAILED;
        out.stored.changed_ms = s->ct->host->now_ms(s->ct->host);
        out.stored.reason = BK_STR("its BuildKitWorker was deleted");
        s->ct->host->store_told(s->ct->host, &out.stored);
        ct_stored_clear(&out);
    }

    json_decref(json);
    free(pool);
    free(key);
}


/* "queued-" and the id of its allocation, as obj_worker.c has it. */

int
ct_queued(const char *name)
{
    const char  *id = name + strlen(CT_QUEUED);

    return strncmp(name, CT_QUEUED, strlen(CT_QUEUED)) == 0
           && strlen(id) == 12 && strspn(id, "0123456789abcdef") == 12;
}
