/* Facts about pools: see model.h. */

#include <string.h>

#include "bk_err.h"
#include "model_int.h"


static int bk_model_pool_name_ok(bk_str_t name);
static int bk_model_pool_text(char **at, bk_str_t text);
static bk_str_t bk_model_pool_said(const char *text);


int
bk_model_pool_put(bk_model_t *m, const void *owner,
    const bk_pool_info_t *info, bk_err_t *err)
{
    int          is_new;
    uint32_t     shared = info->shared > 0 ? (uint32_t) info->shared : 0;
    bk_pool_t   *p;
    bk_owner_t  *o = bk_model_owner(m, owner);

    p = bk_model_pool_get(m, info->name);
    is_new = (p == NULL);

    if (is_new) {
        if (!bk_model_pool_name_ok(info->name)) {
            return bk_err_set(err, 400, "BadPoolName",
                              "a pool's name is namespace/name of letters, "
                              "digits, '-', '_' and '.'");
        }

        p = bk_model_pool_make(m, info->name);

    } else if (bk_model_may(o, p->owner, "the pool", err) != 0) {
        return -1;
    }

    if (is_new || p->shared != shared) {
        if (bk_table_pool_put(m->table, p->name, shared ? BK_POOL_SHARED : 0,
                              &p->ref, err)
            != 0)
        {
            if (is_new) {
                HASH_DEL(m->pools, p);
                bk_model_pool_unref(p);
            }

            return -1;
        }

        bk_model_enter(m);
        p->shared = shared;
        bk_model_note(m, p, NULL, NULL, is_new ? 0 : BK_POOL_USED, 0);
        p->owner = o;
        p->mark = o->mark;
        bk_model_leave(m);

        return 0;
    }

    p->owner = o;
    p->mark = o->mark;

    return 0;
}


int
bk_model_pool_delete(bk_model_t *m, const void *owner, bk_str_t name,
    bk_err_t *err)
{
    bk_pool_t  *p = bk_model_pool_get(m, name);

    if (p == NULL) {
        return bk_err_set(err, 404, "PoolNotFound", "there is no pool %.*s",
                          (int) name.len, name.data);
    }

    if (bk_model_may(bk_model_owner(m, owner), p->owner, "the pool", err)
        != 0)
    {
        return -1;
    }

    bk_model_enter(m);
    bk_model_pool_remove(m, p, "its pool was removed");
    bk_model_leave(m);

    return 0;
}


int
bk_model_pool_gateway(bk_model_t *m, const void *owner, bk_str_t name,
    const bk_pool_gateway_t *gateway)
{
    int         changed;
    bk_pool_t  *p = bk_model_pool_get(m, name);

    if (p == NULL || p->owner != bk_model_owner(m, owner)) {
        return -1;
    }

    changed = bk_model_pool_text(&p->endpoint, gateway->endpoint)
              | bk_model_pool_text(&p->ca, gateway->ca)
              | bk_model_pool_text(&p->why, gateway->why);

    if (changed) {
        bk_model_enter(m);
        bk_model_note(m, p, NULL, NULL, BK_POOL_USED, 0);
        bk_model_leave(m);
    }

    return 0;
}


/* 1: it was another one */

static int
bk_model_pool_text(char **at, bk_str_t text)
{
    const char  *old = *at != NULL ? *at : "";

    if (strlen(old) == text.len && memcmp(old, text.data, text.len) == 0) {
        return 0;
    }

    free(*at);
    *at = NULL;

    if (text.len != 0 && (*at = strndup(text.data, text.len)) == NULL) {
        abort();
    }

    return 1;
}


void
bk_model_pool_gateway_of(bk_model_t *m, bk_str_t name, bk_pool_gateway_t *out)
{
    bk_pool_t  *p = bk_model_pool_get(m, name);

    memset(out, 0, sizeof(*out));

    if (p != NULL) {
        out->endpoint = bk_model_pool_said(p->endpoint);
        out->ca = bk_model_pool_said(p->ca);
        out->why = bk_model_pool_said(p->why);
    }
}


int
bk_model_pool_labels(bk_model_t *m, const void *owner, bk_str_t name,
    bk_str_t labels)
{
    bk_pool_t  *p = bk_model_pool_get(m, name);

    if (p == NULL || p->owner != bk_model_owner(m, owner)) {
        return -1;
    }

    (void) bk_model_pool_text(&p->labels, labels);

    return 0;
}


bk_str_t
bk_model_pool_labels_of(bk_model_t *m, bk_str_t name)
{
    bk_pool_t  *p = bk_model_pool_get(m, name);

    return bk_model_pool_said(p != NULL ? p->labels : NULL);
}


static bk_str_t
bk_model_pool_said(const char *text)
{
    return (bk_str_t) { text, text != NULL ? strlen(text) : 0 };
}


bk_pool_t *
bk_model_pool_get(bk_model_t *m, bk_str_t name)
{
    bk_pool_t  *p;

    if (name.len == 0) {
        return NULL;
    }

    HASH_FIND(hh, m->pools, name.data, name.len, p);

    return p;
}


bk_pool_t *
bk_model_pool_make(bk_model_t *m, bk_str_t name)
{
    bk_pool_t  *p;

    p = calloc(1, sizeof(bk_pool_t) + name.len + 1);
    if (p == NULL) {
        abort();
    }

    memcpy(p->name, name.data, name.len);
    p->name_len = (uint16_t) name.len;
    p->ref.index = BK_TABLE_NONE;
    p->refs = 1;

    HASH_ADD_KEYPTR(hh, m->pools, p->name, p->name_len, p);

    return p;
}


/* Allocations first, workers next: nothing ever refers to what is gone. */

void
bk_model_pool_remove(bk_model_t *m, bk_pool_t *p, const char *why)
{
    bk_alloc_t   *a, *atmp;
    bk_worker_t  *w, *wtmp;

    HASH_ITER(hh, m->allocs, a, atmp) {
        if (a->pool == p && !bk_alloc_ended(a->state)) {
            bk_model_alloc_finish(m, a, BK_ALLOC_FAILED, why);
        }
    }

    HASH_ITER(hh, p->workers, w, wtmp) {
        bk_model_worker_remove(m, w, why);
    }

    bk_table_pool_delete(m->table, p->ref);
    bk_model_note(m, p, NULL, NULL, BK_POOL_USED, 1);

    HASH_DEL(m->pools, p);
    p->gone = 1;
    bk_model_pool_unref(p);
}


void
bk_model_pool_unref(bk_pool_t *p)
{
    if (--p->refs == 0) {
        free(p->endpoint);
        free(p->ca);
        free(p->why);
        free(p->labels);
        free(p);
    }
}


void
bk_model_pool_info(const bk_pool_t *p, bk_pool_info_t *out)
{
    memset(out, 0, sizeof(bk_pool_info_t));
    out->name.data = p->name;
    out->name.len = p->name_len;
    out->shared = (int) p->shared;
}


static int
bk_model_pool_name_ok(bk_str_t name)
{
    size_t         i, slash = 0;
    unsigned char  c;

    if (name.len < 3 || name.len > 317) {
        return 0;
    }

    for (i = 0; i < name.len; i++) {
        c = (unsigned char) name.data[i];

        if (c == '/') {
            if (slash != 0 || i == 0 || i == name.len - 1) {
                return 0;
            }

            slash = i;
            continue;
        }

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
              || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.'))
        {
            return 0;
        }
    }

    return slash != 0;
}
