/*
 * The controller's life, its watches, and when all is synchronised: see ct.h.
 *
 * Everybody keeps up; who gets the Lease reads all of it again before he
 * begins, as what he knows may be from before the last writes of the one
 * before him.
 */

#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "ct.h"


#define CT_LATE_MS  15000       /* a namespace that cannot be read */
#define CT_STOP_MS  5000        /* for what is under way */


static const char *ct_selector(int kind);
static void ct_put(void *data, json_t *obj, int again);
static void ct_gone(void *data, const char *ns, const char *name, json_t *obj);
static ct_obj_t *ct_named(ct_t *ct, ct_kind_t kind, const char *ns,
    const char *name);
static void ct_listed(void *data, int first);
static void ct_check(ct_ns_t *ns, int kind);
static void ct_state(void *data, int connected, const char *why);
static void ct_down(ct_watch_t *w, const char *why);
static void ct_late(void *data);
static int ct_all(const ct_t *ct, int fresh);
static void ct_begin(ct_t *ct);
static void ct_released(void *data);


static const k8s_watch_ops_t  ct_ops = {
    ct_put, ct_gone, ct_listed, ct_state
};


ct_t *
ct_new(const bk_host_t *host, k8s_t *k8s, ct_conf_t *conf,
    char *const *namespaces, size_t n)
{
    int      kind;
    ct_t    *ct;
    size_t   i;

    ct = calloc(1, sizeof(ct_t));
    if (ct == NULL) {
        abort();
    }

    ct->host = host;
    ct->k8s = k8s;
    ct->conf = conf;
    ct->nnss = n;
    ct->nss = calloc(n, sizeof(ct_ns_t));
    if (ct->nss == NULL) {
        abort();
    }

    ct->flush = host->timer_new(host, ct_flush, ct);
    ct->again = host->timer_new(host, ct_again, ct);
    ct->late = host->timer_new(host, ct_late, ct);
    host->timer_set(ct->late, CT_LATE_MS);
    ct_turn_start(ct);
    ct->store = ct_store_new(ct);

    /* what an earlier run has left in the table is so until we know better */
    host->snapshot_begin(host);

    for (i = 0; i < n; i++) {
        ct->nss[i].ct = ct;
        ct->nss[i].name = namespaces[i];

        for (kind = 0; kind < CT_WATCHED; kind++) {
            ct->nss[i].watches[kind].ns = &ct->nss[i];
            ct->nss[i].watches[kind].kind = (ct_kind_t) kind;
            ct->nss[i].watches[kind].up = 1;
            ct->nss[i].watches[kind].watch
                = k8s_watch(k8s, &ct_kinds[kind], namespaces[i],
                            ct_selector(kind), &ct_ops,
                            &ct->nss[i].watches[kind]);
        }
    }

    ct_leader_start(ct);
    ct_dirty_in(ct, 1000);

    return ct;
}


static const char *
ct_selector(int kind)
{
    switch (kind) {

    case CT_POD:
    case CT_CLAIM:
    case CT_BUDGET:
        return OBJ_LABEL_PURPOSE "=worker";

    case CT_DEPLOYMENT:
    case CT_FRONT:
        return OBJ_LABEL_PURPOSE "=gateway";

    case CT_SERVICE:
        return OBJ_LABEL_POOL;

    default:
        return NULL;
    }
}


char *
ct_strdup(const char *s)
{
    char  *copy = strdup(s);

    if (copy == NULL) {
        abort();
    }

    return copy;
}


/* --- watches -------------------------------------------------------------- */

static void
ct_put(void *data, json_t *obj, int again)
{
    json_t      *meta = json_object_get(obj, "metadata");
    ct_watch_t  *w = data;

    (void) again;

    ct_obj_put(ct_obj_get(w->ns->ct, w->kind, obj_text(meta, "namespace"),
                          obj_text(meta, "name")), obj, 1);
}


static void
ct_gone(void *data, const char *ns, const char *name, json_t *obj)
{
    ct_watch_t  *w = data;
    ct_obj_t    *o = ct_named(w->ns->ct, w->kind, ns, name);

    if (o != NULL) {
        ct_obj_left(o, obj);
    }
}


static ct_obj_t *
ct_named(ct_t *ct, ct_kind_t kind, const char *ns, const char *name)
{
    char  key[2 * K8S_NAME_MAX + 2];

    return snprintf(key, sizeof(key), "%s/%s", ns, name) < (int) sizeof(key)
           ? ct_obj_find(ct, kind, key) : NULL;
}


static void
ct_listed(void *data, int first)
{
    int                kind, begins, fresh = 1;
    ct_watch_t        *w = data;
    ct_ns_t           *ns = w->ns;
    ct_t              *ct = ns->ct;
    k8s_watch_stats_t  stats;

    k8s_watch_stats(w->watch, &stats);
    w->synced = 1;
    w->fresh = stats.lists > w->lists;

    if (!first) {
        ct_check(ns, (int) w->kind);
    }

    for (kind = 0; kind < CT_WATCHED; kind++) {
        if (!ns->watches[kind].synced) {
            return;
        }

        fresh &= ns->watches[kind].fresh;
    }

    begins = fresh && !ns->fresh && ct->leads;
    ns->fresh = fresh;

    if (begins) {
        ct_dirty_all(ct, ns->name);
    }

    if (!ns->synced) {
        ns->synced = 1;
        ct->host->log(ct->host, BK_LOG_INFO, "namespace %s: %u pools, %u "
                      "workers, %u Pods known in all", ns->name[0] != '\0'
                      ? ns->name : "*",
                      HASH_COUNT(ct->objs[CT_POOL]),
                      HASH_COUNT(ct->objs[CT_WORKER]),
                      HASH_COUNT(ct->objs[CT_POD]));
        ct_dirty_all(ct, ns->name);
    }

    /* it also looks whether that was all */
    ct->host->timer_set(ct->flush, 0);
}


/* What we have made while nobody was watching, and somebody has deleted then,
 * is in no list and was in none. */

static void
ct_check(ct_ns_t *ns, int kind)
{
    ct_t      *ct = ns->ct;
    ct_obj_t  *o;

    for (o = ct->objs[kind]; o != NULL; o = o->hh.next) {
        if (o->answered && ct_ns_of(ct, o->key) == ns) {
            ct_obj_read(o);
        }
    }
}


static void
ct_state(void *data, int connected, const char *why)
{
    ct_watch_t  *w = data;
    ct_t        *ct = w->ns->ct;

    if (!connected) {
        ct_down(w, why);

    } else if (!w->up) {
        w->up = 1;

        if (--ct->down == 0) {
            ct->host->log(ct->host, BK_LOG_INFO, "all that is watched is "
                          "known again");
        }
    }
}


/* The API server away, or still away for another reason: once, not for each of
 * them. */

static void
ct_down(ct_watch_t *w, const char *why)
{
    int    loud;
    ct_t  *ct = w->ns->ct;

    if (w->up) {
        w->up = 0;
        loud = ++ct->down <= 1 || !w->synced;

    } else {
        loud = !k8s_alike(ct->why, why);
    }

    obj_copy(ct->why, sizeof(ct->why), why);
    ct->host->log(ct->host, loud ? BK_LOG_WARN : BK_LOG_DEBUG,
                  "%s of namespace %s: %s", ct_kinds[w->kind].plural,
                  w->ns->name[0] != '\0' ? w->ns->name : "*", why);
}


ct_ns_t *
ct_ns_of(const ct_t *ct, const char *key)
{
    size_t  i, n;

    for (i = 0; i < ct->nnss; i++) {
        n = strlen(ct->nss[i].name);

        if (n == 0 || (strncmp(key, ct->nss[i].name, n) == 0
                       && key[n] == '/'))
        {
            return &ct->nss[i];
        }
    }

    return NULL;
}


int
ct_synced(const ct_t *ct, const char *key)
{
    const ct_ns_t  *ns = ct_ns_of(ct, key);

    return ns != NULL && ns->synced;
}


/* --- when it is complete -------------------------------------------------- */

int
ct_leads(const ct_t *ct)
{
    return ct->leads && ct_leader_is(ct);
}


/* We may have begun without a namespace that cannot be read: what is known of
 * it is from before the last writes of the one before us. */

int
ct_may(const ct_t *ct, const char *key)
{
    const ct_ns_t  *ns = ct_ns_of(ct, key);

    return ct_leads(ct) && (ns == NULL || ns->fresh);
}


/* Nobody may write before all is known as it is since he may. */

void
ct_won(ct_t *ct)
{
    int                kind;
    size_t             i;
    ct_watch_t        *w;
    k8s_watch_stats_t  stats;

    for (i = 0; i < ct->nnss; i++) {
        ct->nss[i].fresh = 0;

        for (kind = 0; kind < CT_WATCHED; kind++) {
            w = &ct->nss[i].watches[kind];
            k8s_watch_stats(w->watch, &stats);
            w->lists = stats.lists;
            w->fresh = 0;
            k8s_watch_again(w->watch);
        }
    }

    if (ct->late == NULL) {
        ct->late = ct->host->timer_new(ct->host, ct_late, ct);
    }

    ct->host->timer_set(ct->late, CT_LATE_MS);
    ct_state_look(ct->state);
}


void
ct_lost(ct_t *ct)
{
    if (ct->leads) {
        ct->leads = 0;
        ct_store_is(ct, 0);
    }

    ct_turn_stop(ct);
}


/* A namespace that cannot be read does not hold up the others for ever, nor
 * does a write our end. */

static void
ct_late(void *data)
{
    ct_t  *ct = data;

    ct->host->timer_free(&ct->late);

    if (ct->stopping == 1) {
        ct->leads = 0;
        ct->stopping = 2;
        ct_leader_stop(ct, ct_released, ct);

    } else if (!ct->stopping) {
        ct_sync(ct);
    }
}


static int
ct_all(const ct_t *ct, int fresh)
{
    size_t  i, n = 0;

    for (i = 0; i < ct->nnss; i++) {
        n += fresh ? ct->nss[i].fresh != 0 : ct->nss[i].synced != 0;
    }

    return n == ct->nnss || (n > 0 && ct->late == NULL);
}


void
ct_sync(ct_t *ct)
{
    ct_pool_t  *p;

    if (ct->stopping || ct->dirty_workers != NULL) {
        return;
    }

    /* those that were looked at lately wait for their turn */
    DL_FOREACH2(ct->dirty_pools, p, dnext) {
        if (p->looked_ms == 0) {
            return;
        }
    }

    if (!ct->committed && ct_all(ct, 0)) {
        ct->committed = 1;
        ct->host->snapshot_commit(ct->host);
    }

    if (!ct->leads && ct->committed && ct_leader_is(ct) && ct_all(ct, 1)
        && (ct_leader_seen(ct) || ct->late == NULL))
    {
        ct_begin(ct);
    }
}


/* The model has all pools and workers by now: allocations are put on them. */

static void
ct_begin(ct_t *ct)
{
    ct->leads = 1;
    ct->begun_ms = ct->host->monotonic_ms(ct->host);
    ct->host->timer_free(&ct->late);
    ct->host->log(ct->host, BK_LOG_INFO, "all is known: %u pools, %u workers, "
                  "%u Pods; begins", HASH_COUNT(ct->objs[CT_POOL]),
                  HASH_COUNT(ct->objs[CT_WORKER]),
                  HASH_COUNT(ct->objs[CT_POD]));
    ct_leader_label(ct, 1);
    ct_store_is(ct, 1);
    ct_use_start(ct);
    ct_dirty_all(ct, NULL);
}


/* --- the end -------------------------------------------------------------- */

/* What has been asked for is written, where that is soon: allocations that
 * ended last are among it. */

void
ct_stop(ct_t *ct, void (*done)(void *data), void *data)
{
    ct->stopped = done;
    ct->stopped_data = data;
    ct->stopping = 1;

    if (ct->leads) {
        ct_store_is(ct, 0);
    }

    ct->host->timer_clear(ct->flush);
    ct->host->timer_clear(ct->again);

    if (ct->late == NULL) {
        ct->late = ct->host->timer_new(ct->host, ct_late, ct);
    }

    ct->host->timer_set(ct->late, CT_STOP_MS);
    ct_idle(ct);
}


void
ct_idle(ct_t *ct)
{
    if (ct->stopping == 1 && ct->running == 0 && ct->turns[0] == NULL
        && ct->turns[1] == NULL)
    {
        ct->stopping = 2;
        ct->leads = 0;
        ct_turn_stop(ct);
        ct_leader_stop(ct, ct_released, ct);
    }
}


static void
ct_released(void *data)
{
    ct_t   *ct = data;
    void  (*done)(void *data) = ct->stopped;

    ct->stopped = NULL;

    if (done != NULL) {
        done(ct->stopped_data);
    }
}


void
ct_free(ct_t **ctp)
{
    int      kind;
    ct_t    *ct = *ctp;
    size_t   i;

    if (ct == NULL) {
        return;
    }

    *ctp = NULL;
    ct->stopping = 1;

    for (i = 0; i < ct->nnss; i++) {
        for (kind = 0; kind < CT_WATCHED; kind++) {
            k8s_watch_free(&ct->nss[i].watches[kind].watch);
        }
    }

    ct_leader_free(ct);
    ct_use_free(ct);
    ct_store_free(&ct->store);
    ct_index_free(ct);
    ct_pool_common_free(ct);
    ct_obj_free_all(ct);
    ct_events_free(&ct->events);
    ct->host->timer_free(&ct->flush);
    ct->host->timer_free(&ct->again);
    ct->host->timer_free(&ct->late);
    ct->host->timer_free(&ct->turn);
    ct->host->timer_free(&ct->retry);
    free(ct->nss);
    free(ct);
}
