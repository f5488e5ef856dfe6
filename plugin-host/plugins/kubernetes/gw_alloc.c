/* Allocations of a worker's object, to the model: see gw.h. */

#include <string.h>

#include "bk_err.h"
#include "gw.h"


#define GW_ALLOC  "the allocation of BuildKitWorker"


static void gw_alloc_append(gw_worker_t *w, const obj_ended_t *e);
static int gw_alloc_end(gw_t *gw, gw_worker_t *w, const obj_ended_t *e);
static void gw_alloc_not_its(gw_t *gw, const gw_worker_t *w);
static int gw_alloc_moved(gw_t *gw, const gw_worker_t *w,
    const uint8_t *hash);
static int gw_alloc_over(gw_t *gw, gw_worker_t *w, const obj_ended_t *e);
static uint64_t gw_alloc_short(const uint8_t *hash);
static int gw_alloc_mine(gw_t *gw, gw_worker_t *w);
static int gw_alloc_early(const gw_worker_t *w);
static void gw_alloc_fill(const gw_worker_t *w, bk_alloc_info_t *info);
static void gw_alloc_put(gw_t *gw, gw_worker_t *w,
    const bk_alloc_info_t *info);


/* --- ends ----------------------------------------------------------------- */

/* The object does not have it any more, and so far nobody said why.  At once:
 * who says that it is his gets it from nobody's hand. */

void
gw_alloc_gone(gw_t *gw, gw_worker_t *w, const char *reason)
{
    gw_pool_t    *p = gw_pool_find(gw, w->pool);
    obj_ended_t   e;

    memset(&e, 0, sizeof(e));
    memcpy(e.hash, w->claim->hash, OBJ_HASH_LEN);
    e.expires_ms = w->alloc.expires_ms;

    /* other controllers end one by deleting its worker */
    if (reason[0] == '\0' || w->alloc.foreign) {
        e.state = -BK_ALLOC_RELEASED;

    } else {
        e.state = -BK_ALLOC_FAILED;
        obj_copy(e.reason, sizeof(e.reason), reason);
    }

    gw_alloc_append(w, &e);

    if (w->ns->synced && p != NULL && p->put) {
        gw_alloc_ends(gw, w);
    }
}


/* What the object says has ended, as far as it is new. */

void
gw_alloc_ended(gw_worker_t *w, const obj_ended_t *ended, size_t n)
{
    size_t     i, k;
    uint64_t  *known = NULL;

    if (n > 0) {
        known = calloc(n, sizeof(uint64_t));
        if (known == NULL) {
            abort();
        }
    }

    for (i = 0; i < n; i++) {
        known[i] = gw_alloc_short(ended[i].hash);

        for (k = 0; k < w->nknown && w->known[k] != known[i]; k++) {
            /* void */
        }

        if (k == w->nknown) {
            gw_alloc_append(w, &ended[i]);
        }
    }

    free(w->known);
    w->known = known;
    w->nknown = n;
}


static void
gw_alloc_append(gw_worker_t *w, const obj_ended_t *e)
{
    if (w->nends == GW_ENDS_MAX) {
        return;
    }

    w->ends = realloc(w->ends, (w->nends + 1) * sizeof(obj_ended_t));
    if (w->ends == NULL) {
        abort();
    }

    w->ends[w->nends++] = *e;
}


void
gw_alloc_ends(gw_t *gw, gw_worker_t *w)
{
    size_t  i, kept = 0;

    for (i = 0; i < w->nends; i++) {
        if (gw_alloc_end(gw, w, &w->ends[i])) {
            w->ends[kept++] = w->ends[i];
        }
    }

    w->nends = kept;

    if (kept == 0) {
        free(w->ends);
        w->ends = NULL;
    }
}


/* 1: later. */

static int
gw_alloc_end(gw_t *gw, gw_worker_t *w, const obj_ended_t *e)
{
    int               state = e->state < 0 ? -e->state : e->state;
    bk_err_t          err;
    bk_alloc_info_t   info;

    if (gw->host->alloc_find(gw->host, e->hash, &info) != 0) {
        return gw_alloc_over(gw, w, e);
    }

    /* whoever may write here may end what is here, and nothing else */
    if (info.pool.len != strlen(w->pool)
        || memcmp(info.pool.data, w->pool, info.pool.len) != 0)
    {
        gw_alloc_not_its(gw, w);
        return 0;
    }

    if (e->state < 0) {
        if (gw_alloc_moved(gw, w, e->hash)) {
            return 0;
        }

        if (e->expires_ms != 0
            && e->expires_ms <= gw->host->now_ms(gw->host))
        {
            state = BK_ALLOC_EXPIRED;
        }
    }

    if (gw->host->alloc_end(gw->host, e->hash, state, GW_STR(e->reason), &err)
        != 0)
    {
        gw_refuse(gw, GW_ALLOC, w->key, &err);
    }

    return 0;
}


static void
gw_alloc_not_its(gw_t *gw, const gw_worker_t *w)
{
    bk_err_t  err;

    bk_err_set(&err, 403, "NotItsPool", "it would end an allocation of "
               "another pool");
    gw_refuse(gw, GW_ALLOC, w->key, &err);
}


/* From the queue, or back, or to one that has it already; never from worker to
 * worker. */

static int
gw_alloc_moved(gw_t *gw, const gw_worker_t *w, const uint8_t *hash)
{
    gw_claim_t   *c;
    gw_worker_t  *other;

    HASH_FIND(hh, gw->claims, hash, OBJ_HASH_LEN, c);

    if (c == NULL) {
        return 0;
    }

    DL_FOREACH2(c->workers, other, cnext) {
        if (other != w && (w->queued || other->queued || c->holder == other)) {
            return 1;
        }
    }

    return 0;
}


/*
 * One that was never live here: so that the gateway can say why it is not.
 * Once all is known, so that nobody's who is alive is among them.
 */

static int
gw_alloc_over(gw_t *gw, gw_worker_t *w, const obj_ended_t *e)
{
    gw_claim_t        *c;
    bk_alloc_info_t    info;
    bk_worker_info_t   worker;

    if (e->state < 0
        || e->at_ms + GW_ENDED_MS < gw->host->now_ms(gw->host))
    {
        return 0;
    }

    if (!gw->committed) {
        return 1;
    }

    HASH_FIND(hh, gw->claims, e->hash, OBJ_HASH_LEN, c);

    if (c != NULL && strcmp(c->workers->pool, w->pool) != 0) {
        gw_alloc_not_its(gw, w);
        return 0;
    }

    memset(&info, 0, sizeof(info));
    info.hash = e->hash;
    info.pool = GW_STR(w->pool);
    info.reason = GW_STR(e->reason);
    info.expires_ms = e->expires_ms;
    info.state = e->state;

    if (gw->host->worker_find(gw->host, info.pool, GW_STR(w->name), &worker)
        == 0)
    {
        info.worker = GW_STR(w->name);
    }

    /* where there is no room for it there is none: it is only a text */
    (void) gw->host->alloc_put(gw->host, &info, NULL);

    return 0;
}


static uint64_t
gw_alloc_short(const uint8_t *hash)
{
    uint64_t  n;

    memcpy(&n, hash, sizeof(n));

    return n;
}


/* --- the one that lives --------------------------------------------------- */

void
gw_alloc_show(gw_t *gw, gw_worker_t *w)
{
    bk_alloc_info_t  info;

    if (w->claim == NULL) {
        w->was_on = 0;
        gw_refuse_not(gw, GW_ALLOC, w->key);
        return;
    }

    if (!gw_alloc_mine(gw, w)) {
        return;
    }

    gw_alloc_fill(w, &info);

    if (w->queued || !w->put) {
        info.worker.len = 0;
        info.state = BK_ALLOC_QUEUED;

    } else if (w->state == BK_WORKER_FAILED) {
        info.state = BK_ALLOC_FAILED;
        info.reason = GW_STR(w->message != NULL && w->message[0] != '\0'
                             ? w->message : "its worker has failed");

    } else if (gw_alloc_early(w)) {
        w->waiting = 1;     /* until its Pods are known again */
        info.worker.len = 0;
        info.state = BK_ALLOC_QUEUED;
    }

    gw_alloc_put(gw, w, &info);
}


/*
 * One token, one worker.  Where two say that it is theirs, it stays with the
 * one that has it; if none has, nobody gets it, since every gateway must say
 * the same.  One in the queue gives way.
 */

static int
gw_alloc_mine(gw_t *gw, gw_worker_t *w)
{
    int           alien, others = 0;
    bk_err_t      err;
    gw_claim_t   *c = w->claim;
    gw_worker_t  *other;

    DL_FOREACH2(c->workers, other, cnext) {
        alien = (strcmp(other->pool, w->pool) != 0);

        if (w->queued && !other->queued && !alien) {
            return 0;
        }

        others += other != w && (!other->queued || alien);
    }

    if (w->queued && others == 0) {
        return 1;
    }

    if (c->holder == w || (c->holder == NULL && others == 0)) {
        c->holder = w;
        return 1;
    }

    bk_err_set(&err, 409, "TokenTwice", "another worker has the same token");
    gw_refuse(gw, GW_ALLOC, w->key, &err);

    return 0;
}


/* Is its Pod one of before the watch of Pods broke? */

static int
gw_alloc_early(const gw_worker_t *w)
{
    return w->shown[0] != '\0' && !w->fresh && !gw_ns_fresh(w->ns)
           && (!w->was_on
               || memcmp(w->on, w->claim->hash, OBJ_HASH_LEN) != 0);
}


static void
gw_alloc_fill(const gw_worker_t *w, bk_alloc_info_t *info)
{
    memset(info, 0, sizeof(bk_alloc_info_t));
    info->hash = w->claim->hash;
    info->key_hash = w->alloc.bound ? w->alloc.key_hash : NULL;
    info->pool = GW_STR(w->pool);
    info->worker = GW_STR(w->name);
    info->expires_ms = w->alloc.expires_ms;
    info->state = w->alloc.state;
}


static void
gw_alloc_put(gw_t *gw, gw_worker_t *w, const bk_alloc_info_t *info)
{
    bk_err_t  err;

    if (gw->host->alloc_put(gw->host, info, &err) != 0) {

        /* of this host's own knowledge: its object will follow */
        if (strcmp(err.reason, "Ended") == 0) {
            return;
        }

        gw_refuse(gw, GW_ALLOC, w->key, &err);

        if (strcmp(err.reason, "TableFull") == 0) {
            w->waiting = 1;
            gw_again_in(gw, GW_RETRY_MS);
        }

        return;
    }

    gw_refuse_not(gw, GW_ALLOC, w->key);

    if (w->shown[0] == '\0' || info->worker.len == 0) {
        w->was_on = 0;

    } else if (!w->was_on || memcmp(w->on, info->hash, OBJ_HASH_LEN) != 0) {
        memcpy(w->on, info->hash, OBJ_HASH_LEN);
        w->was_on = 1;
        w->on_ms = gw->host->monotonic_ms(gw->host);
    }
}


/*
 * Its Pod is lost.  Soon after it got it: then it was given a worker whose Pod
 * went before, and we heard of that later.  It waits for the next one.
 */

int
gw_alloc_loses(gw_t *gw, gw_worker_t *w)
{
    uint64_t          now = gw->host->monotonic_ms(gw->host);
    bk_alloc_info_t   info;

    if (w->on_ms == 0 || now - w->on_ms >= GW_YOUNG_MS) {
        return 0;
    }

    gw->young++;
    gw_alloc_fill(w, &info);
    info.worker.len = 0;
    info.state = BK_ALLOC_QUEUED;

    return gw->host->alloc_put(gw->host, &info, NULL) == 0;
}


int
gw_alloc_live(gw_t *gw, const gw_worker_t *w)
{
    bk_alloc_info_t  info;

    return w->claim != NULL
           && (gw->host->alloc_find(gw->host, w->claim->hash, &info) != 0
               || !bk_alloc_ended(info.state));
}
