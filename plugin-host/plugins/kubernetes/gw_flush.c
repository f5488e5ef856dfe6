/* Records that changed, to the model, without holding up the loop: see
 * gw.h. */

#include <string.h>

#include "bk_err.h"
#include "gw.h"


#define GW_FLUSH_MS  20         /* at a go */


static void gw_flush_worker(gw_t *gw, gw_worker_t *w);


/* What is not known in full yet is told when it is. */

void
gw_dirty(gw_t *gw, gw_worker_t *w)
{
    if (w->dirty || !w->ns->synced) {
        return;
    }

    if (gw->dirty == NULL) {
        gw->host->timer_set(gw->flush, 0);
    }

    w->dirty = 1;
    DL_APPEND2(gw->dirty, w, dprev, dnext);
}


void
gw_dirty_pool(gw_t *gw, const char *pool)
{
    gw_worker_t  *w, *tmp;

    HASH_ITER(hh, gw->workers, w, tmp) {
        if (w->present && strcmp(w->pool, pool) == 0) {
            gw_dirty(gw, w);
        }
    }
}


void
gw_dirty_ns(gw_ns_t *ns)
{
    gw_worker_t  *w, *tmp;

    HASH_ITER(hh, ns->gw->workers, w, tmp) {
        if (w->ns == ns) {
            gw_dirty(ns->gw, w);
        }
    }
}


/* Who waits is looked at again, so soon or sooner. */

void
gw_again_in(gw_t *gw, uint64_t ms)
{
    uint64_t  at = gw->host->monotonic_ms(gw->host) + ms;

    if (gw->again_ms == 0 || gw->again_ms > at) {
        gw->again_ms = at;
        gw->host->timer_set(gw->again, ms);
    }
}


void
gw_again(void *data)
{
    gw_t         *gw = data;
    size_t        i;
    gw_pool_t    *p, *ptmp;
    gw_worker_t  *w, *tmp;

    gw->again_ms = 0;

    HASH_ITER(hh, gw->pools, p, ptmp) {
        if (p->waiting) {
            gw_pool_show(gw, p);
        }
    }

    HASH_ITER(hh, gw->workers, w, tmp) {
        if (w->waiting) {
            w->waiting = 0;
            gw_dirty(gw, w);
        }
    }

    for (i = 0; i < gw->nnss; i++) {
        if (gw->nss[i].fresh_ms != 0 && !gw_ns_fresh(&gw->nss[i])) {
            gw_again_in(gw, GW_SETTLE_MS);
        }
    }
}


void
gw_flush(void *data)
{
    gw_t         *gw = data;
    uint64_t      end = gw->host->monotonic_ms(gw->host) + GW_FLUSH_MS;
    gw_worker_t  *w;

    while ((w = gw->dirty) != NULL) {
        if (gw->host->monotonic_ms(gw->host) > end) {
            gw->host->timer_set(gw->flush, 0);
            return;
        }

        DL_DELETE2(gw->dirty, w, dprev, dnext);
        w->dirty = 0;
        gw_flush_worker(gw, w);
    }

    gw_commit(gw);
}


/* In this order: who was on it is off before anything of it changes, and
 * nobody gets it before it is what it says. */

static void
gw_flush_worker(gw_t *gw, gw_worker_t *w)
{
    gw_pool_t  *p = w->pool != NULL ? gw_pool_find(gw, w->pool) : NULL;

    if (p == NULL || !p->put) {
        gw_hide(gw, w);

    } else {
        gw_alloc_ends(gw, w);

        if (!w->present || w->queued
            || (w->put && strcmp(w->put_pool, w->pool) != 0))
        {
            gw_hide(gw, w);
        }

        if (w->present) {
            if (!w->queued) {
                gw_show(gw, w, p);
            }

            gw_alloc_show(gw, w);
        }
    }

    if (!w->present && w->pods == NULL) {
        gw_worker_drop(gw, w);
    }
}


void
gw_pool_show(gw_t *gw, gw_pool_t *p)
{
    bk_err_t        err;
    bk_pool_info_t  info;

    memset(&info, 0, sizeof(info));
    info.name = GW_STR(p->key);
    p->waiting = 0;

    if (gw->host->pool_put(gw->host, &info, &err) != 0) {
        gw_refuse(gw, "BuildKitPool", p->key, &err);

        /* nobody tells of it again, and there may be room later */
        if (strcmp(err.reason, "TableFull") == 0) {
            p->waiting = 1;
            gw_again_in(gw, GW_RETRY_MS);
        }

        return;
    }

    gw_refuse_not(gw, "BuildKitPool", p->key);
    p->put = 1;
    gw_dirty_pool(gw, p->key);
}


/* With its workers, and who is on them fails. */

void
gw_pool_hide(gw_t *gw, gw_pool_t *p)
{
    bk_err_t      err;
    gw_worker_t  *w, *tmp;

    if (!p->put) {
        return;
    }

    p->put = 0;

    if (gw->host->pool_delete(gw->host, GW_STR(p->key), &err) != 0) {
        gw->host->log(gw->host, BK_LOG_WARN, "pool %s: %s", p->key, err.text);
    }

    HASH_ITER(hh, gw->workers, w, tmp) {
        if (w->put && strcmp(w->put_pool, p->key) == 0) {
            gw_forget(w);
            gw_dirty(gw, w);
        }
    }
}
