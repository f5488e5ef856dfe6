/* The companion's life and its watches: see gw.h. */

#include <stdio.h>
#include <string.h>

#include "gw.h"


static const k8s_kind_t  gw_kinds[GW_KINDS] = {
    { OBJ_GROUP, "v1alpha1", "buildkitpools", "BuildKitPool" },
    { OBJ_GROUP, "v1alpha1", "buildkitworkers", "BuildKitWorker" },
    { "", "v1", "pods", "Pod" }
};


static void gw_ns_live(gw_ns_t *ns);
static void gw_late(void *data);
static int gw_known(const bk_pool_info_t *pool, void *data);
static void gw_down(gw_watch_t *w, const char *why);


gw_t *
gw_new(const bk_host_t *host, k8s_t *k8s, char *const *namespaces, size_t n)
{
    int          kind;
    gw_t        *gw;
    size_t       i;
    gw_watch_t  *w;

    gw = calloc(1, sizeof(gw_t));
    if (gw == NULL) {
        abort();
    }

    gw->host = host;
    gw->nnss = n;
    gw->nss = calloc(n, sizeof(gw_ns_t));
    gw->ended = calloc(OBJ_ENDED_MAX, sizeof(obj_ended_t));
    if (gw->nss == NULL || gw->ended == NULL) {
        abort();
    }

    gw_refuse_init(gw);
    obj_avoid(&gw->avoid, k8s_conf_server(k8s_conf(k8s))
                          + strlen("https://"));
    obj_avoid(&gw->avoid, getenv("KUBERNETES_SERVICE_HOST"));
    gw->flush = host->timer_new(host, gw_flush, gw);
    gw->again = host->timer_new(host, gw_again, gw);
    gw->late = host->timer_new(host, gw_late, gw);
    host->timer_set(gw->late, GW_LATE_MS);

    gw_use_start(gw);

    /* what an earlier run has left is routed until we know better */
    host->snapshot_begin(host);

    for (i = 0; i < n; i++) {
        gw->nss[i].gw = gw;
        gw->nss[i].name = namespaces[i];

        for (kind = 0; kind < GW_KINDS; kind++) {
            w = &gw->nss[i].watches[kind];
            w->ns = &gw->nss[i];
            w->kind = kind;
            w->up = 1;      /* so that its first failure is told */
            w->watch = k8s_watch(k8s, &gw_kinds[kind], namespaces[i],
                                 kind == GW_PODS ? OBJ_LABEL_WORKER : NULL,
                                 &gw_take_ops[kind], w);
        }
    }

    return gw;
}


void
gw_free(gw_t **gwp)
{
    int      kind;
    gw_t    *gw = *gwp;
    size_t   i;

    if (gw == NULL) {
        return;
    }

    *gwp = NULL;

    for (i = 0; i < gw->nnss; i++) {
        for (kind = 0; kind < GW_KINDS; kind++) {
            k8s_watch_free(&gw->nss[i].watches[kind].watch);
        }
    }

    gw->host->timer_free(&gw->flush);
    gw->host->timer_free(&gw->again);
    gw->host->timer_free(&gw->late);
    gw_index_free(gw);
    gw_refuse_free(gw);

    free(gw->ended);
    free(gw->nss);
    free(gw);
}


/* --- when it is complete -------------------------------------------------- */

void
gw_synced(void *data, int first)
{
    int          kind;
    gw_watch_t  *w = data;

    if (!first) {
        return;
    }

    w->synced = 1;

    for (kind = 0; kind < GW_KINDS; kind++) {
        if (!w->ns->watches[kind].synced) {
            return;
        }
    }

    gw_ns_live(w->ns);
}


static void
gw_ns_live(gw_ns_t *ns)
{
    gw_t       *gw = ns->gw;
    gw_pool_t  *p, *tmp;

    ns->synced = 1;

    HASH_ITER(hh, gw->pools, p, tmp) {
        if (p->ns == ns) {
            gw_pool_show(gw, p);
        }
    }

    gw_dirty_ns(ns);
    gw->host->log(gw->host, BK_LOG_INFO, "namespace %s: %u pools, %u "
                  "workers, %u Pods known in all", ns->name[0] != '\0'
                  ? ns->name : "*", HASH_COUNT(gw->pools),
                  HASH_COUNT(gw->workers), HASH_COUNT(gw->pods));

    /* it also looks whether that was all */
    gw->host->timer_set(gw->flush, 0);
}


/*
 * The first time that nothing is left to be told: what an earlier run has left
 * and nobody has said again is over.  A namespace that cannot be read holds
 * this up only as long as there is something of it.
 */

void
gw_commit(gw_t *gw)
{
    size_t        i, synced = 0;
    gw_worker_t  *w, *tmp;

    if (gw->committed || gw->dirty != NULL || gw->waits) {
        return;
    }

    for (i = 0; i < gw->nnss; i++) {
        synced += gw->nss[i].synced != 0;
    }

    if (synced == 0 || (synced < gw->nnss && gw->late != NULL)) {
        return;
    }

    for (i = 0; i < gw->nnss; i++) {
        if (!gw->nss[i].synced
            && gw->host->pool_each(gw->host, gw_known, &gw->nss[i]) != 0)
        {
            return;
        }
    }

    gw->committed = 1;
    gw->host->timer_free(&gw->late);
    gw->host->snapshot_commit(gw->host);

    HASH_ITER(hh, gw->workers, w, tmp) {
        if (w->nends > 0) {
            gw_dirty(gw, w);
        }
    }
}


/* Also for names, where there are such: nginx begins when all is there. */

void
gw_wait(gw_t *gw, int waits)
{
    gw->waits = waits;

    if (!waits) {
        gw->host->timer_set(gw->flush, 0);
    }
}


static int
gw_known(const bk_pool_info_t *pool, void *data)
{
    size_t    n;
    gw_ns_t  *ns = data;

    n = strlen(ns->name);

    return pool->name.len > n && memcmp(pool->name.data, ns->name, n) == 0
           && (n == 0 || pool->name.data[n] == '/');
}


static void
gw_late(void *data)
{
    gw_t        *gw = data;
    size_t       i, missing = 0;
    const char  *first = NULL;

    for (i = gw->nnss; i > 0; i--) {
        if (!gw->nss[i - 1].synced) {
            first = gw->nss[i - 1].name;
            missing++;
        }
    }

    /* a server that does not answer at all is heard of much later */
    if (missing > 0) {
        gw->host->log(gw->host, BK_LOG_WARN, "after %d s namespace %s is not "
                      "known in full (of %zu: %zu)", GW_LATE_MS / 1000,
                      first[0] != '\0' ? first : "*", gw->nnss, missing);
    }

    gw->host->timer_free(&gw->late);
    gw_commit(gw);
}


/* --- who keeps up --------------------------------------------------------- */

void
gw_state(void *data, int connected, const char *why)
{
    gw_watch_t  *w = data;
    gw_ns_t     *ns = w->ns;
    gw_t        *gw = ns->gw;

    if (w->kind == GW_PODS) {
        ns->fresh_ms = 0;

        if (connected) {
            ns->fresh_ms = gw->host->monotonic_ms(gw->host) + GW_SETTLE_MS;
            gw_again_in(gw, GW_SETTLE_MS);
        }
    }

    if (!connected) {
        gw_down(w, why);

    } else if (!w->up) {
        w->up = 1;

        if (--gw->down == 0) {
            gw->host->log(gw->host, BK_LOG_INFO, "all that is watched is "
                          "known again");
        }
    }
}


/* The API server away, or still away for another reason: once, not for each of
 * them. */

static void
gw_down(gw_watch_t *w, const char *why)
{
    int    loud;
    gw_t  *gw = w->ns->gw;

    if (w->up) {
        w->up = 0;
        loud = ++gw->down <= GW_KINDS;

    } else {
        loud = !k8s_alike(gw->why, why);
    }

    obj_copy(gw->why, sizeof(gw->why), why);
    gw->host->log(gw->host, loud ? BK_LOG_WARN : BK_LOG_DEBUG,
                  "%s of namespace %s: %s; routes stay as they are",
                  gw_kinds[w->kind].plural,
                  w->ns->name[0] != '\0' ? w->ns->name : "*", why);
}


/* Do we know its Pods as they are, and not as they were? */

int
gw_ns_fresh(const gw_ns_t *ns)
{
    return ns->fresh_ms != 0
           && ns->fresh_ms <= ns->gw->host->monotonic_ms(ns->gw->host);
}
