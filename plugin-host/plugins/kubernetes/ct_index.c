/* Pools and workers by name, and which objects are theirs: see ct.h. */

#include <stdio.h>
#include <string.h>

#include "ct.h"


#define CT_SLOT_MAX     9       /* digits */
#define CT_INDEX_CLAIM  "cache-"


static void ct_index_move(ct_worker_t *w, ct_pool_t *pool);
static void ct_index_insert(ct_worker_t *w, ct_pool_t *pool);
static int ct_index_order(ct_worker_t *a, ct_worker_t *b);
static void ct_index_find(ct_worker_t *w, const char *ns);
static ct_worker_t *ct_index_worker(ct_obj_t *o);
static ct_pool_t *ct_index_pool_of(ct_obj_t *o);
static ct_pool_t *ct_index_pool_named(ct_obj_t *o, const char *name);
static int ct_index_busy(const ct_obj_t *o);
static int ct_index_told(const ct_obj_t *o);
static char *ct_index_key(const char *ns, size_t n, const char *name);


/* --- pools ---------------------------------------------------------------- */

ct_pool_t *
ct_pool_find(ct_t *ct, const char *key)
{
    ct_pool_t  *p;

    HASH_FIND_STR(ct->pools, key, p);

    return p;
}


ct_pool_t *
ct_pool_get(ct_t *ct, const char *ns, const char *name)
{
    char       *key = ct_index_key(ns, strlen(ns), name);
    ct_pool_t  *p = ct_pool_find(ct, key);

    if (p == NULL) {
        p = calloc(1, sizeof(ct_pool_t) + strlen(key) + 1);
        if (p == NULL) {
            abort();
        }

        strcpy(p->key, key);
        p->ct = ct;
        p->o = ct_obj_get(ct, CT_POOL, ns, name);
        p->o->pool = p;
        HASH_ADD_STR(ct->pools, key, p);
        ct_dirty_pool(p);
    }

    free(key);

    return p;
}


/* With the objects of it that are not there, or are not watched. */

void
ct_index_pool(ct_pool_t *p)
{
    int        kind;
    ct_t      *ct = p->ct;
    ct_obj_t  *o, *tmp;

    if (p->o->obj != NULL || p->workers != NULL || p->dirty || p->put) {
        return;
    }

    for (kind = 0; kind < CT_KINDS; kind++) {
        HASH_ITER(hh, ct->objs[kind], o, tmp) {
            if (o->pool == p && (ct_index_busy(o)
                                 || (ct_index_told(o) && o->obj != NULL)))
            {
                return;
            }
        }
    }

    ct_pool_free(p);
    ct_scale_free(p);
    HASH_DEL(ct->pools, p);

    for (kind = 0; kind < CT_KINDS; kind++) {
        HASH_ITER(hh, ct->objs[kind], o, tmp) {
            if (o->pool == p) {
                o->pool = NULL;

                if (!ct_index_told(o)) {
                    json_decref(o->obj);
                    o->obj = NULL;
                }

                ct_obj_drop(o);
            }
        }
    }

    free(p);
}


/* --- workers -------------------------------------------------------------- */

int
ct_slot(const ct_pool_t *p, const char *name)
{
    size_t       digits;
    const char  *pool = p->o->name;
    size_t       n = strlen(pool);

    if (strncmp(name, pool, n) != 0 || name[n] != '-') {
        return -1;
    }

    name += n + 1;
    digits = strspn(name, "0123456789");

    if (digits == 0 || digits > CT_SLOT_MAX || name[digits] != '\0'
        || (name[0] == '0' && digits > 1))
    {
        return -1;
    }

    return atoi(name);
}


ct_worker_t *
ct_worker_find(ct_t *ct, const char *key)
{
    ct_worker_t  *w;

    HASH_FIND_STR(ct->workers, key, w);

    return w;
}


/* One whose name is a slot of its pool is that, whoever else has an object of
 * that name; it is in the way there, and that is to be said. */

ct_worker_t *
ct_worker_get(ct_t *ct, ct_pool_t *pool, const char *name)
{
    char         *key;
    size_t        n = (size_t) (pool->o->name - pool->o->key) - 1;
    ct_worker_t  *w;

    key = ct_index_key(pool->key, n, name);
    w = ct_worker_find(ct, key);

    if (w == NULL) {
        w = calloc(1, sizeof(ct_worker_t) + strlen(key) + 1);
        if (w == NULL) {
            abort();
        }

        strcpy(w->key, key);
        w->name = w->key + n + 1;
        w->slot = -1;
        HASH_ADD_STR(ct->workers, key, w);
        key[n] = '\0';
        w->o = ct_obj_get(ct, CT_WORKER, key, name);
        w->o->worker = w;
        ct_index_move(w, pool);
        ct_index_find(w, key);
        ct_dirty_worker(w);

    } else if (w->pool != pool
               && (w->slot < 0 || ct_slot(pool, name) >= 0))
    {
        ct_index_move(w, pool);
        ct_dirty_worker(w);
    }

    free(key);

    return w;
}


static void
ct_index_move(ct_worker_t *w, ct_pool_t *pool)
{
    if (w->pool != NULL) {
        DL_DELETE(w->pool->workers, w);
        ct_dirty_pool(w->pool);
    }

    w->pool = pool;
    w->slot = ct_slot(pool, w->name);
    w->o->pool = pool;
    ct_index_insert(w, pool);
    ct_dirty_pool(pool);
}


/* From the end, where the next slot is to be: there may be thousands. */

static void
ct_index_insert(ct_worker_t *w, ct_pool_t *pool)
{
    ct_worker_t  *at = pool->workers != NULL ? pool->workers->prev : NULL;

    while (at != NULL && ct_index_order(w, at) < 0) {
        at = at != pool->workers ? at->prev : NULL;
    }

    DL_APPEND_ELEM(pool->workers, at, w);       /* NULL: the first */
}


/* What of it is known already. */

static void
ct_index_find(ct_worker_t *w, const char *ns)
{
    int        i;
    char      *claim;
    ct_t      *ct = w->pool->ct;
    ct_obj_t  *objs[3];

    if (asprintf(&claim, "%s/" CT_INDEX_CLAIM "%s", ns, w->name) < 0) {
        abort();
    }

    objs[0] = ct_obj_find(ct, CT_POD, w->key);
    objs[1] = ct_obj_find(ct, CT_CLAIM, claim);
    objs[2] = ct_obj_find(ct, CT_BUDGET, w->key);
    free(claim);

    for (i = 0; i < 3; i++) {
        if (objs[i] != NULL) {
            ct_index_link(objs[i]);
        }
    }
}


/* Slots first. */

static int
ct_index_order(ct_worker_t *a, ct_worker_t *b)
{
    if (a->slot != b->slot) {
        return (unsigned) a->slot < (unsigned) b->slot ? -1 : 1;
    }

    return strcmp(a->name, b->name);
}


void
ct_worker_drop(ct_worker_t *w)
{
    int         i;
    ct_t       *ct = w->pool->ct;
    ct_obj_t   *objs[4];
    ct_pool_t  *pool = w->pool;

    objs[0] = w->o;
    objs[1] = w->pod;
    objs[2] = w->claim;
    objs[3] = ct_obj_find(ct, CT_BUDGET, w->key);

    for (i = 0; i < 4; i++) {
        if (objs[i] != NULL && (objs[i]->obj != NULL
                                || ct_index_busy(objs[i])))
        {
            return;
        }
    }

    ct_worker_free(w);

    if (w->dirty) {
        DL_DELETE2(ct->dirty_workers, w, dprev, dnext);
    }

    DL_DELETE(pool->workers, w);
    HASH_DEL(ct->workers, w);

    for (i = 0; i < 4; i++) {
        if (objs[i] != NULL && objs[i]->worker == w) {
            objs[i]->worker = NULL;
            objs[i]->pool = NULL;
            ct_obj_drop(objs[i]);
        }
    }

    free(w);
    ct_dirty_pool(pool);
}


/* --- objects -------------------------------------------------------------- */

void
ct_index_link(ct_obj_t *o)
{
    ct_pool_t    *pool;
    ct_worker_t  *w;

    switch ((int) o->kind) {

    case CT_POOL:
        if (o->pool == NULL && o->obj != NULL) {
            pool = ct_index_pool_named(o, o->name);
            pool->o = o;
        }

        return;

    case CT_WORKER:
    case CT_POD:
    case CT_CLAIM:
    case CT_BUDGET:
        w = ct_index_worker(o);
        break;

    case CT_DEPLOYMENT:
    case CT_SERVICE:
    case CT_FRONT:
        pool = ct_index_pool_of(o);
        o->pool = pool != NULL ? pool : o->pool;
        return;

    default:
        /* what is not watched is who asked's */
        return;
    }

    if (w == NULL) {
        return;
    }

    o->worker = w;
    o->pool = w->pool;

    if (o->kind == CT_POD) {
        w->pod = o;

    } else if (o->kind == CT_CLAIM) {
        w->claim = o;
    }
}


/*
 * By its name, which nobody else can have at the same time.  What a Pod, claim
 * or budget says of itself makes no worker that is not a slot: of others there
 * is an object first.
 */

static ct_worker_t *
ct_index_worker(ct_obj_t *o)
{
    char         *key;
    size_t        n = (size_t) (o->name - o->key) - 1;
    ct_pool_t    *pool;
    const char   *name = o->name;
    ct_worker_t  *w;

    if (o->kind == CT_CLAIM) {
        if (strncmp(name, CT_INDEX_CLAIM, strlen(CT_INDEX_CLAIM)) != 0) {
            return NULL;
        }

        name += strlen(CT_INDEX_CLAIM);
    }

    key = ct_index_key(o->key, n, name);
    w = ct_worker_find(o->ct, key);
    free(key);

    if (o->obj == NULL || (w != NULL && o->kind != CT_WORKER)) {
        return w;
    }

    pool = ct_index_pool_of(o);

    if (pool != NULL && (o->kind == CT_WORKER || ct_slot(pool, name) >= 0)) {
        w = ct_worker_get(o->ct, pool, name);
    }

    return w;
}


/* Whatever it says, it is a pool of its own namespace. */

static ct_pool_t *
ct_index_pool_of(ct_obj_t *o)
{
    const char  *name;

    name = o->kind == CT_WORKER ? obj_text(ct_at(o, "spec", "poolRef", NULL),
                                           "name")
                                : ct_label(o, OBJ_LABEL_POOL);

    if (name[0] == '\0' || strlen(name) > K8S_NAME_MAX) {
        return NULL;
    }

    return ct_index_pool_named(o, name);
}


static ct_pool_t *
ct_index_pool_named(ct_obj_t *o, const char *name)
{
    char       *ns;
    ct_pool_t  *pool;

    ns = strndup(o->key, (size_t) (o->name - o->key) - 1);
    if (ns == NULL) {
        abort();
    }

    pool = ct_pool_get(o->ct, ns, name);
    free(ns);

    return pool;
}


/* --- */

static int
ct_index_busy(const ct_obj_t *o)
{
    return o->jobs != NULL || o->req != NULL || o->reads || o->held > 0;
}


/* Does a watch tell when it goes?  A gateway's budget has not the label that
 * the watch of budgets looks for. */

static int
ct_index_told(const ct_obj_t *o)
{
    return o->kind < CT_WATCHED
           && (o->kind != CT_BUDGET || o->worker != NULL);
}


static char *
ct_index_key(const char *ns, size_t n, const char *name)
{
    char    *key;
    size_t   len = strlen(name);

    key = malloc(n + len + 2);
    if (key == NULL) {
        abort();
    }

    memcpy(key, ns, n);
    key[n] = '/';
    memcpy(key + n + 1, name, len + 1);

    return key;
}


/* Objects, which are freed next, do not ask whose they are. */

void
ct_index_free(ct_t *ct)
{
    ct_pool_t    *p, *ptmp;
    ct_worker_t  *w, *wtmp;

    HASH_ITER(hh, ct->workers, w, wtmp) {
        HASH_DEL(ct->workers, w);
        ct_worker_free(w);
        free(w);
    }

    HASH_ITER(hh, ct->pools, p, ptmp) {
        HASH_DEL(ct->pools, p);
        ct_pool_free(p);
        ct_scale_free(p);
        free(p);
    }
}
