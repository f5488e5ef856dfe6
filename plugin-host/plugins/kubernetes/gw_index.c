/* The companion's records: see gw.h.  They know of each other here, and what
 * that means for the model is none of this file's business. */

#include <stdio.h>
#include <string.h>

#include "gw.h"


char *
gw_key(const char *ns, const char *name)
{
    char  *key;

    if (asprintf(&key, "%s/%s", ns, name) < 0) {
        abort();
    }

    return key;
}


char *
gw_strdup(const char *s)
{
    char  *copy = strdup(s);

    if (copy == NULL) {
        abort();
    }

    return copy;
}


void
gw_set(char **at, const char *s)
{
    if (*at != NULL && s != NULL && strcmp(*at, s) == 0) {
        return;
    }

    free(*at);
    *at = s != NULL ? gw_strdup(s) : NULL;
}


/* --- pools ---------------------------------------------------------------- */

gw_pool_t *
gw_pool_find(gw_t *gw, const char *key)
{
    gw_pool_t  *p;

    HASH_FIND_STR(gw->pools, key, p);

    return p;
}


gw_pool_t *
gw_pool_get(gw_ns_t *ns, const char *key)
{
    gw_pool_t  *p = gw_pool_find(ns->gw, key);

    if (p != NULL) {
        return p;
    }

    p = calloc(1, sizeof(gw_pool_t));
    if (p == NULL) {
        abort();
    }

    p->ns = ns;
    p->key = gw_strdup(key);
    HASH_ADD_KEYPTR(hh, ns->gw->pools, p->key, strlen(p->key), p);

    return p;
}


void
gw_pool_drop(gw_t *gw, gw_pool_t *p)
{
    HASH_DEL(gw->pools, p);
    free(p->key);
    free(p);
}


/* --- workers -------------------------------------------------------------- */

gw_worker_t *
gw_worker_find(gw_t *gw, const char *key)
{
    gw_worker_t  *w;

    HASH_FIND_STR(gw->workers, key, w);

    return w;
}


gw_worker_t *
gw_worker_get(gw_ns_t *ns, const char *key)
{
    gw_worker_t  *w = gw_worker_find(ns->gw, key);

    if (w != NULL) {
        return w;
    }

    w = calloc(1, sizeof(gw_worker_t));
    if (w == NULL) {
        abort();
    }

    w->ns = ns;
    w->key = gw_strdup(key);
    w->name = strchr(w->key, '/') + 1;
    HASH_ADD_KEYPTR(hh, ns->gw->workers, w->key, strlen(w->key), w);

    return w;
}


void
gw_worker_drop(gw_t *gw, gw_worker_t *w)
{
    gw_claim_drop(gw, w);

    if (w->dirty) {
        DL_DELETE2(gw->dirty, w, dprev, dnext);
    }

    HASH_DEL(gw->workers, w);
    free(w->key);
    free(w->pool);
    free(w->pod);
    free(w->message);
    free(w->drained);
    free(w->ends);
    free(w->known);
    free(w->put_pool);
    free(w->drain_said);
    free(w->lost);
    free(w);
}


/* --- Pods ----------------------------------------------------------------- */

gw_pod_t *
gw_pod_find(gw_t *gw, const char *key)
{
    gw_pod_t  *p;

    HASH_FIND_STR(gw->pods, key, p);

    return p;
}


gw_pod_t *
gw_pod_get(gw_t *gw, const char *key, gw_worker_t *w)
{
    gw_pod_t  *p = gw_pod_find(gw, key);

    if (p != NULL && p->worker == w) {
        return p;
    }

    /* it says that it is another's now */
    if (p != NULL) {
        gw_dirty(gw, p->worker);
        gw_pod_drop(gw, p);
    }

    p = calloc(1, sizeof(gw_pod_t));
    if (p == NULL) {
        abort();
    }

    p->key = gw_strdup(key);
    p->name = strchr(p->key, '/') + 1;
    p->worker = w;
    DL_APPEND(w->pods, p);
    HASH_ADD_KEYPTR(hh, gw->pods, p->key, strlen(p->key), p);

    return p;
}


/* Its worker is to be looked at by whoever calls this. */

void
gw_pod_drop(gw_t *gw, gw_pod_t *p)
{
    DL_DELETE(p->worker->pods, p);
    HASH_DEL(gw->pods, p);
    free(p->key);
    free(p->created);
    free(p->why);
    free(p);
}


/* --- whose a token is ----------------------------------------------------- */

void
gw_claim_set(gw_t *gw, gw_worker_t *w, const uint8_t *hash)
{
    gw_claim_t  *c;

    if (w->claim != NULL && memcmp(w->claim->hash, hash, OBJ_HASH_LEN) == 0) {
        return;
    }

    gw_claim_drop(gw, w);
    HASH_FIND(hh, gw->claims, hash, OBJ_HASH_LEN, c);

    if (c == NULL) {
        c = calloc(1, sizeof(gw_claim_t));
        if (c == NULL) {
            abort();
        }

        memcpy(c->hash, hash, OBJ_HASH_LEN);
        HASH_ADD(hh, gw->claims, hash, OBJ_HASH_LEN, c);
    }

    DL_APPEND2(c->workers, w, cprev, cnext);
    w->claim = c;
}


void
gw_claim_drop(gw_t *gw, gw_worker_t *w)
{
    gw_claim_t   *c = w->claim;
    gw_worker_t  *other;

    if (c == NULL) {
        return;
    }

    w->claim = NULL;
    DL_DELETE2(c->workers, w, cprev, cnext);

    if (c->holder == w) {
        c->holder = NULL;
    }

    if (c->workers == NULL) {
        HASH_DEL(gw->claims, c);
        free(c);
        return;
    }

    DL_FOREACH2(c->workers, other, cnext) {
        gw_dirty(gw, other);
    }
}


void
gw_index_free(gw_t *gw)
{
    gw_pod_t     *pod, *podtmp;
    gw_pool_t    *pool, *pooltmp;
    gw_worker_t  *w, *wtmp;

    HASH_ITER(hh, gw->pods, pod, podtmp) {
        gw_pod_drop(gw, pod);
    }

    /* they would tell each other */
    HASH_ITER(hh, gw->workers, w, wtmp) {
        w->ns->synced = 0;
    }

    HASH_ITER(hh, gw->workers, w, wtmp) {
        gw_worker_drop(gw, w);
    }

    HASH_ITER(hh, gw->pools, pool, pooltmp) {
        gw_pool_drop(gw, pool);
    }
}
