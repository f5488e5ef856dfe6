/* The ingress controller's life and its watches: see ing.h. */

#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "bk_names.h"
#include "ing.h"


static const k8s_kind_t  ing_kinds[ING_KINDS] = {
    { "networking.k8s.io", "v1", "ingresses", "Ingress" },
    { OBJ_GROUP, "v1alpha1", "buildkitpools", "BuildKitPool" }
};


static void ing_take(void *data, json_t *obj, int again);
static void ing_take_gone(void *data, const char *ns, const char *name,
    json_t *obj);
static void ing_drop(ing_obj_t *o);
static void ing_pool(void *data, json_t *obj, int again);
static void ing_pool_gone(void *data, const char *ns, const char *name,
    json_t *obj);
static void ing_pool_drop(ing_t *ing, ing_pool_t *p);
static void ing_synced(void *data, int first);
static void ing_state(void *data, int connected, const char *why);
static void ing_turn(void *data);
static void ing_tick(void *data);
static void ing_ready(ing_t *ing);
static void ing_late(void *data);
static int ing_known(const ing_t *ing);
static char *ing_key(json_t *obj);


static const k8s_watch_ops_t  ing_ops[ING_KINDS] = {
    { ing_take, ing_take_gone, ing_synced, ing_state },
    { ing_pool, ing_pool_gone, ing_synced, ing_state }
};


int
ing_conf_check(const ing_conf_t *conf, bk_err_t *err)
{
    const char  *slash = strchr(conf->service, '/');

    if (conf->class_name[0] == '\0') {
        return 0;
    }

    if (!bk_names_word_ok(conf->class_name, strlen(conf->class_name),
                          BK_NAMES_CLASS_MAX))
    {
        return bk_err_set(err, 400, "BadOption", "plugin kubernetes: the "
                          "option \"ingressClass\" is no name of a class");
    }

    if (conf->dir[0] != '/') {
        return bk_err_set(err, 400, "BadOption", "plugin kubernetes: the "
                          "option \"names\" must be an absolute path");
    }

    if (conf->service[0] != '\0'
        && (slash == NULL || slash - conf->service > 63
            || !bk_names_pool_ok(conf->service, strlen(conf->service))))
    {
        return bk_err_set(err, 400, "BadOption", "plugin kubernetes: the "
                          "option \"ingressService\" must be "
                          "NAMESPACE/NAME");
    }

    return 0;
}


ing_t *
ing_new(const bk_host_t *host, k8s_t *k8s, const ing_conf_t *conf,
    char *const *namespaces, size_t n, void (*ready)(void *data), void *data)
{
    int           kind;
    ing_t        *ing;
    size_t        i;
    ing_watch_t  *w;

    ing = calloc(1, sizeof(ing_t));
    if (ing == NULL) {
        abort();
    }

    ing->host = host;
    ing->k8s = k8s;
    ing->conf = conf;
    ing->ready = ready;
    ing->data = data;
    ing->nnss = n;
    ing->nss = calloc(n, sizeof(ing_ns_t));
    if (ing->nss == NULL) {
        abort();
    }

    ing_say_init(ing);
    ing_file_start(ing);
    ing->turn = host->timer_new(host, ing_turn, ing);
    ing->tick = host->timer_new(host, ing_tick, ing);
    ing->late = host->timer_new(host, ing_late, ing);
    ing->again = host->timer_new(host, ing_secret_turn, ing);
    host->timer_set(ing->late, GW_LATE_MS);
    host->timer_set(ing->tick, ING_TICK_MS);

    for (i = 0; i < n; i++) {
        ing->nss[i].ing = ing;
        ing->nss[i].name = namespaces[i];

        for (kind = 0; kind < ING_KINDS; kind++) {
            w = &ing->nss[i].watches[kind];
            w->ns = &ing->nss[i];
            w->kind = kind;
            w->up = 1;      /* so that its first failure is told */
            w->watch = k8s_watch(k8s, &ing_kinds[kind], namespaces[i], NULL,
                                 &ing_ops[kind], w);
        }
    }

    ing_status_start(ing);

    return ing;
}


void
ing_stop(ing_t *ing, void (*done)(void *data), void *data)
{
    ing_status_stop(ing, done, data);
}


void
ing_free(ing_t **ingp)
{
    int          kind;
    ing_t       *ing = *ingp;
    size_t       i;
    ing_obj_t   *o, *otmp;
    ing_pool_t  *p, *ptmp;

    if (ing == NULL) {
        return;
    }

    *ingp = NULL;

    for (i = 0; i < ing->nnss; i++) {
        for (kind = 0; kind < ING_KINDS; kind++) {
            k8s_watch_free(&ing->nss[i].watches[kind].watch);
        }
    }

    ing_status_free(ing);
    ing_names_free(ing);
    ing_file_free(ing);

    HASH_ITER(hh, ing->objs, o, otmp) {
        ing_drop(o);
    }

    HASH_ITER(hh, ing->pools, p, ptmp) {
        ing_pool_drop(ing, p);
    }

    ing_secret_free(ing);
    ing_say_free(ing);
    ing->host->timer_free(&ing->turn);
    ing->host->timer_free(&ing->tick);
    ing->host->timer_free(&ing->late);
    ing->host->timer_free(&ing->again);
    free(ing->nss);
    free(ing);
}


/* --- objects ---------------------------------------------------------------- */

static void
ing_take(void *data, json_t *obj, int again)
{
    char        *key;
    ing_t       *ing = ((ing_watch_t *) data)->ns->ing;
    json_t      *meta = json_object_get(obj, "metadata");
    ing_obj_t   *o;
    const char  *version = obj_text(meta, "resourceVersion");

    (void) again;

    if (!ing_class_is(obj, ing->conf->class_name)) {
        ing_take_gone(data, obj_text(meta, "namespace"),
                      obj_text(meta, "name"), obj);
        return;
    }

    key = ing_key(obj);
    HASH_FIND_STR(ing->objs, key, o);

    if (o != NULL && strcmp(o->version, version) == 0) {
        free(key);
        return;
    }

    if (o == NULL) {
        o = calloc(1, sizeof(ing_obj_t));
        if (o == NULL) {
            abort();
        }

        o->ing = ing;
        o->key = gw_strdup(key);
        o->name = strchr(o->key, '/') + 1;
        o->ns = gw_strdup(obj_text(meta, "namespace"));
        HASH_ADD_KEYPTR(hh, ing->objs, o->key, strlen(o->key), o);
    }

    free(key);
    gw_set(&o->version, version);
    gw_set(&o->uid, obj_text(meta, "uid"));

    if (obj_time(obj_text(meta, "creationTimestamp"), &o->created_ms) != 0) {
        o->created_ms = UINT64_MAX;
    }

    /* lines are of it */
    ing_names_free(ing);
    ing_read_free(&o->read);
    ing_read(obj, &o->read);
    ing_secret_soon(o);
    ing_status_take(o, obj);
    ing_dirty(ing);
}


static void
ing_take_gone(void *data, const char *ns, const char *name, json_t *obj)
{
    char       *key = gw_key(ns, name);
    ing_t      *ing = ((ing_watch_t *) data)->ns->ing;
    ing_obj_t  *o;

    (void) obj;

    HASH_FIND_STR(ing->objs, key, o);
    free(key);

    if (o != NULL) {
        ing_names_free(ing);
        ing_drop(o);
        ing_dirty(ing);
    }
}


static void
ing_drop(ing_obj_t *o)
{
    HASH_DEL(o->ing->objs, o);
    ing_status_forget(o);
    ing_say_forget(o);
    ing_read_free(&o->read);
    free(o->faults.all);
    free(o->version);
    free(o->uid);
    free(o->ns);
    free(o->key);
    free(o);
}


/* --- pools ------------------------------------------------------------------ */

static void
ing_pool(void *data, json_t *obj, int again)
{
    int          workers = ing_read_workers(obj);
    char        *key = ing_key(obj);
    ing_t       *ing = ((ing_watch_t *) data)->ns->ing;
    ing_pool_t  *p;

    (void) again;

    HASH_FIND_STR(ing->pools, key, p);

    /* all that changes is of no interest */
    if (p != NULL && p->workers == workers) {
        free(key);
        return;
    }

    if (p == NULL) {
        p = calloc(1, sizeof(ing_pool_t));
        if (p == NULL) {
            abort();
        }

        p->key = gw_strdup(key);
        HASH_ADD_KEYPTR(hh, ing->pools, p->key, strlen(p->key), p);
    }

    free(key);
    p->workers = workers;
    ing_dirty(ing);
}


static void
ing_pool_gone(void *data, const char *ns, const char *name, json_t *obj)
{
    char        *key = gw_key(ns, name);
    ing_t       *ing = ((ing_watch_t *) data)->ns->ing;
    ing_pool_t  *p;

    (void) obj;

    HASH_FIND_STR(ing->pools, key, p);
    free(key);

    if (p != NULL) {
        ing_pool_drop(ing, p);
        ing_dirty(ing);
    }
}


static void
ing_pool_drop(ing_t *ing, ing_pool_t *p)
{
    HASH_DEL(ing->pools, p);
    free(p->key);
    free(p);
}


/* --- when ------------------------------------------------------------------- */

static void
ing_synced(void *data, int first)
{
    ing_watch_t  *w = data;

    if (first) {
        w->synced = 1;
        ing_dirty(w->ns->ing);
    }
}


static void
ing_state(void *data, int connected, const char *why)
{
    ing_t        *ing;
    ing_watch_t  *w = data;

    if (w->up == connected) {
        return;
    }

    ing = w->ns->ing;
    w->up = connected;

    if (!connected) {
        ing->host->log(ing->host, BK_LOG_WARN, "%s of namespace %s: %s; names "
                       "stay as they are", ing_kinds[w->kind].plural,
                       w->ns->name[0] != '\0' ? w->ns->name : "*", why);
    }
}


void
ing_dirty(ing_t *ing)
{
    if (!ing->set) {
        ing->set = 1;
        ing->host->timer_set(ing->turn, ing->took_ms * ING_BUSY > ING_AFTER_MS
                                        ? ing->took_ms * ING_BUSY
                                        : ING_AFTER_MS);
    }
}


static void
ing_turn(void *data)
{
    ing_t     *ing = data;
    uint64_t   began_ms = ing->host->monotonic_ms(ing->host);

    ing->set = 0;

    if (!ing->live && !ing_known(ing)) {
        return;
    }

    ing_names(ing);
    ing_secret_want(ing);

    if (!ing->live && ing->late != NULL && ing_secret_waits(ing)) {
        return;
    }

    ing->live = 1;
    ing_file_write(ing);
    ing_say(ing);
    ing_status(ing);
    ing_ready(ing);
    ing->took_ms = ing->host->monotonic_ms(ing->host) - began_ms;
}


static void
ing_ready(ing_t *ing)
{
    void  (*ready)(void *data) = ing->ready;

    if (ready != NULL) {
        ing->ready = NULL;
        ready(ing->data);
    }
}


static void
ing_tick(void *data)
{
    ing_t  *ing = data;

    ing->host->timer_set(ing->tick, ING_TICK_MS);
    ing_turn(ing);
}


static void
ing_late(void *data)
{
    ing_t  *ing = data;

    ing->host->timer_free(&ing->late);
    ing_turn(ing);
    ing_ready(ing);
}


/*
 * Nothing of what an earlier run has written is taken away before all is
 * known; a namespace that cannot be read holds up no other for long.
 */

static int
ing_known(const ing_t *ing)
{
    size_t              i, synced = 0;
    const ing_watch_t  *w;

    for (i = 0; i < ing->nnss; i++) {
        w = ing->nss[i].watches;

        if (w[ING_OBJECTS].synced && w[ING_POOLS].synced) {
            synced++;
            continue;
        }

        /* it is slow, and may come */
        if (ing->late != NULL || (w[ING_OBJECTS].up && w[ING_POOLS].up)) {
            return 0;
        }
    }

    return synced > 0;
}


static char *
ing_key(json_t *obj)
{
    json_t  *meta = json_object_get(obj, "metadata");

    return gw_key(obj_text(meta, "namespace"), obj_text(meta, "name"));
}


void
ing_stats(ing_t *ing, bk_stat_pt fn, void *data)
{
    ing_say_stats(ing, fn, data);
}
