/*
 * Who is to be looked at again: see ct.h.  Without holding up the loop, and
 * not before all of a namespace is known.
 */

#include <string.h>

#include "ct.h"


#define CT_FLUSH_MS  20         /* pools at a go, and as much for workers */
#define CT_POOL_MS   50         /* between two looks at a pool */
#define CT_AGAIN_MS  30000      /* all, whatever has happened */
#define CT_DUE_MS    250        /* between two looks at who is due */


static void ct_dirty_timer(ct_t *ct);
static void ct_dirty_due(ct_t *ct, uint64_t now);
static void ct_flush_pools(ct_t *ct, uint64_t *wait);
static void ct_flush_workers(ct_t *ct);


void
ct_dirty_pool(ct_pool_t *p)
{
    ct_t  *ct;

    if (p == NULL || p->dirty || !ct_synced(p->ct, p->key)) {
        return;
    }

    ct = p->ct;
    p->dirty = 1;
    DL_APPEND2(ct->dirty_pools, p, dprev, dnext);
    ct->host->timer_set(ct->flush, 0);
}


void
ct_dirty_worker(ct_worker_t *w)
{
    ct_t  *ct;

    if (w == NULL || w->dirty || !ct_synced(w->pool->ct, w->key)) {
        return;
    }

    ct = w->pool->ct;
    w->dirty = 1;
    DL_APPEND2(ct->dirty_workers, w, dprev, dnext);
    ct->host->timer_set(ct->flush, 0);
}


void
ct_dirty_all(ct_t *ct, const char *ns)
{
    size_t        n = ns != NULL ? strlen(ns) : 0;
    ct_pool_t    *p, *ptmp;
    ct_worker_t  *w, *wtmp;

    HASH_ITER(hh, ct->pools, p, ptmp) {
        if (n == 0 || (strncmp(p->key, ns, n) == 0 && p->key[n] == '/')) {
            ct_dirty_pool(p);
        }
    }

    HASH_ITER(hh, ct->workers, w, wtmp) {
        if (n == 0 || (strncmp(w->key, ns, n) == 0 && w->key[n] == '/')) {
            ct_dirty_worker(w);
        }
    }
}


void
ct_dirty_in(ct_t *ct, uint64_t ms)
{
    uint64_t  at = ct->host->monotonic_ms(ct->host) + ms;

    if (ct->again_ms == 0 || ct->again_ms > at) {
        ct->again_ms = at;
        ct_dirty_timer(ct);
    }
}


void
ct_dirty_worker_in(ct_worker_t *w, uint64_t ms)
{
    ct_t      *ct = w->pool->ct;
    uint64_t   at = ct->host->monotonic_ms(ct->host) + ms;

    if (w->due_ms == 0 || w->due_ms > at) {
        w->due_ms = at;
    }

    if (ct->due_ms == 0 || ct->due_ms > at) {
        ct->due_ms = at;
        ct_dirty_timer(ct);
    }
}


/* Whichever is first; who is due is looked for by walking over all of them,
 * so not for each of them. */

static void
ct_dirty_timer(ct_t *ct)
{
    uint64_t  now = ct->host->monotonic_ms(ct->host), at = ct->due_ms;

    if (at != 0 && at < ct->walked_ms + CT_DUE_MS) {
        at = ct->walked_ms + CT_DUE_MS;
    }

    if (at == 0 || (ct->again_ms != 0 && ct->again_ms < at)) {
        at = ct->again_ms;
    }

    if (at != 0) {
        ct->host->timer_set(ct->again, at > now ? at - now : 0);
    }
}


void
ct_again(void *data)
{
    ct_t      *ct = data;
    uint64_t   now = ct->host->monotonic_ms(ct->host);

    if (ct->due_ms != 0 && ct->due_ms <= now) {
        ct_dirty_due(ct, now);
    }

    if (ct->again_ms != 0 && ct->again_ms <= now) {
        ct->again_ms = now + CT_AGAIN_MS;
        ct_dirty_all(ct, NULL);
        ct_obj_strays(ct);

        if (ct->leads) {
            ct_leader_label(ct, 1);
        }
    }

    ct_dirty_timer(ct);
}


static void
ct_dirty_due(ct_t *ct, uint64_t now)
{
    ct_worker_t  *w;

    ct->walked_ms = now;
    ct->due_ms = 0;

    for (w = ct->workers; w != NULL; w = w->hh.next) {
        if (w->due_ms != 0 && w->due_ms <= now) {
            w->due_ms = 0;
            ct_dirty_worker(w);
            ct_dirty_pool(w->pool);

        } else if (w->due_ms != 0
                   && (ct->due_ms == 0 || w->due_ms < ct->due_ms))
        {
            ct->due_ms = w->due_ms;
        }
    }
}


/* Pools first: their workers need what is read of them. */

void
ct_flush(void *data)
{
    ct_t      *ct = data;
    uint64_t   wait = 0;

    if (ct->stopping) {
        return;
    }

    ct_flush_pools(ct, &wait);
    ct_flush_workers(ct);

    if (ct->dirty_workers != NULL) {
        ct->host->timer_set(ct->flush, 0);

    } else if (ct->dirty_pools != NULL) {
        ct->host->timer_set(ct->flush, wait);
    }

    ct_sync(ct);
}


/* Each that is dirty now; wait: until the first of the others may be looked
 * at, 0: somebody was not reached. */

static void
ct_flush_pools(ct_t *ct, uint64_t *wait)
{
    uint64_t    now, due, first = UINT64_MAX;
    uint64_t    end = ct->host->monotonic_ms(ct->host) + CT_FLUSH_MS;
    ct_pool_t  *p, *again = NULL;

    while ((p = ct->dirty_pools) != NULL) {
        now = ct->host->monotonic_ms(ct->host);

        if (now > end) {
            first = now;
            break;
        }

        DL_DELETE2(ct->dirty_pools, p, dprev, dnext);
        ct_pool_spec(p);

        if (p->looked_ms != 0 && p->looked_ms + CT_POOL_MS > now
            && p->o->obj != NULL)
        {
            due = p->looked_ms + CT_POOL_MS;
            first = due < first ? due : first;
            DL_APPEND2(again, p, dprev, dnext);
            continue;
        }

        p->looked_ms = now;
        p->dirty = 0;
        ct_pool_look(p);
        ct_scale_look(p);
        ct_index_pool(p);
    }

    DL_CONCAT2(ct->dirty_pools, again, dprev, dnext);
    now = ct->host->monotonic_ms(ct->host);
    *wait = first > now && first != UINT64_MAX ? first - now : 0;
}


static void
ct_flush_workers(ct_t *ct)
{
    uint64_t      end = ct->host->monotonic_ms(ct->host) + CT_FLUSH_MS;
    ct_worker_t  *w;

    while ((w = ct->dirty_workers) != NULL) {
        if (ct->host->monotonic_ms(ct->host) > end) {
            return;
        }

        DL_DELETE2(ct->dirty_workers, w, dprev, dnext);
        w->dirty = 0;
        w->due_ms = 0;
        ct_worker_look(w);
    }
}
