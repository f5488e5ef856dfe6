/*
 * Instances of plugins and their life: create, configure, check, prepare,
 * start, events, stop, destroy.  See plugin.h; the diagram is in doc/plugin.md.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "host.h"
#include "identity.h"
#include "log.h"
#include "plugin_int.h"
#include "slow.h"


static int bk_plugin_configure(void *data, const char *key,
    const char *value, bk_err_t *err);
static void bk_plugins_check_done(bk_plugins_t *ps);
static void bk_plugins_stop_from(bk_plugin_inst_t *p);
static void bk_plugins_stop_one(bk_plugin_inst_t *p);
static int bk_plugin_used(const bk_plugin_inst_t *p);


int
bk_plugins_add(bk_plugins_t *ps, const bk_yaml_t *y, const char *name,
    const char *path, bk_err_t *err)
{
    char                at[128], owner[80];
    bk_err_t            local;
    unsigned            n = 1;
    bk_plugin_inst_t   *p, **last;
    const bk_plugin_t  *lib;

    snprintf(at, sizeof(at), "%s.name", path);
    memset(&local, 0, sizeof(local));

    if (bk_plugins_load(ps, name, &lib, &local) != 0) {
        bk_yaml_err(y, err, at, "%.380s", local.text);
        return bk_err_hint(err, "%s", local.hint);
    }

    p = calloc(1, sizeof(bk_plugin_inst_t));
    if (p == NULL) {
        abort();
    }

    for (last = &ps->first; *last != NULL; last = &(*last)->next) {
        n += strcmp((*last)->p.name, name) == 0;
    }

    p->core = ps->core;
    p->p = *lib;
    bk_host_api(&p->host, p);
    snprintf(p->label, sizeof(p->label), n > 1 ? "%s#%u" : "%s", name, n);

    *last = p;

    if (p->p.create(&p->host, &p->ctx, &local) != 0) {
        return bk_yaml_err(y, err, at, "plugin %s: %.300s", name, local.text);
    }

    p->created = 1;

    snprintf(at, sizeof(at), "%s.options", path);
    snprintf(owner, sizeof(owner), "plugin %s", name);

    if (bk_yaml_options(y, at, owner, p->p.options, bk_plugin_configure, p,
                        err)
        != 0)
    {
        return -1;
    }

    if (p->p.check != NULL && p->p.check(p->ctx, &local) != 0) {
        bk_yaml_err(y, err, at, "%.380s", local.text);
        return bk_err_hint(err, "%s", local.hint);
    }

    return 0;
}


static int
bk_plugin_configure(void *data, const char *key, const char *value,
    bk_err_t *err)
{
    bk_plugin_inst_t  *p = data;

    return p->p.configure(p->ctx, key, value, err);
}


int
bk_plugins_prepare(bk_plugins_t *ps, bk_err_t *err)
{
    int                rc;
    uint64_t           since;
    bk_plugin_inst_t  *p;

    for (p = ps->first; p != NULL; p = p->next) {
        if (p->p.prepare != NULL && !p->prepared) {
            break;
        }
    }

    if (p == NULL) {
        return 0;
    }

    since = bk_host_monotonic_ms();
    p->prepared = 1;
    p->preparing = 1;
    rc = p->p.prepare(p->ctx, err);
    bk_host_slow(p->label, "prepare", since);

    if (rc != 0) {
        p->prepared = 0;
        p->preparing = 0;
        return bk_err_prefix(err, "plugin %s", p->label);
    }

    return 1;
}


int
bk_plugins_start(bk_plugins_t *ps, bk_err_t *err)
{
    int                rc;
    uint64_t           since;
    bk_plugin_inst_t  *p;

    for (p = ps->first; p != NULL; p = p->next) {
        since = bk_host_monotonic_ms();
        p->starting = 1;
        p->started = 1;
        rc = p->p.start(p->ctx, err);
        p->starting = 0;
        bk_host_slow(p->label, "start", since);

        if (rc != 0) {
            p->started = 0;
            return bk_err_prefix(err, "plugin %s", p->label);
        }

        bk_log(BK_LOG_INFO, p->label, "started, version %s", p->p.version);
    }

    return 0;
}


void
bk_plugins_stop(bk_plugins_t *ps, void (*done)(void *data), void *data)
{
    ps->done = done;
    ps->data = data;

    /* none is done before all were asked */
    ps->stopping = 0;
    bk_plugins_stop_from(ps->first);
    ps->stopping = 1;

    bk_plugins_check_done(ps);
}


/* The last one first: it may need those before it to come to an end. */

static void
bk_plugins_stop_from(bk_plugin_inst_t *p)
{
    if (p == NULL) {
        return;
    }

    bk_plugins_stop_from(p->next);

    if (!bk_store_needed(p)) {
        bk_plugins_stop_one(p);
    }
}


static void
bk_plugins_stop_one(bk_plugin_inst_t *p)
{
    uint64_t  since;

    if (bk_plugin_used(p) && !p->stopping) {
        p->stopping = 1;
        since = bk_host_monotonic_ms();
        p->p.stop(p->ctx);
        bk_host_slow(p->label, "stop", since);
    }
}


void
bk_plugins_stopped(bk_plugin_inst_t *p)
{
    bk_plugin_inst_t  *next;

    p->stopped = 1;
    bk_identity_stopped(p);
    next = bk_store_stopped(p);

    if (next != NULL && p->stopping) {
        bk_plugins_stop_one(next);
    }

    bk_plugins_check_done(p->core->plugins);
}


static void
bk_plugins_check_done(bk_plugins_t *ps)
{
    bk_plugin_inst_t  *p;

    if (!ps->stopping || ps->done == NULL) {
        return;
    }

    for (p = ps->first; p != NULL; p = p->next) {
        if (bk_plugin_used(p) && !p->stopped) {
            return;
        }
    }

    ps->done(ps->data);
}


/* Has it been asked for anything that must come to an end? */

static int
bk_plugin_used(const bk_plugin_inst_t *p)
{
    return p->prepared || p->started;
}


void
bk_plugins_free(bk_plugins_t **psp)
{
    bk_plugins_t      *ps = *psp;
    bk_plugin_lib_t   *lib;
    bk_plugin_inst_t  *p;

    if (ps == NULL) {
        return;
    }

    *psp = NULL;
    bk_store_free(ps->core);

    while ((p = ps->first) != NULL) {
        ps->first = p->next;
        bk_identity_stopped(p);

        /* one that did not come to an end may still be called: leave it */
        if (p->created && (!bk_plugin_used(p) || p->stopped)) {
            p->p.destroy(p->ctx);

        } else if (bk_plugin_used(p)) {
            bk_log(BK_LOG_WARN, p->label, "did not stop in time");
            continue;
        }

        free(p);
    }

    while ((lib = ps->libs) != NULL) {
        ps->libs = lib->next;
        free(lib->name);
        free(lib);
    }

    free(ps->dir);
    free(ps);
}


bk_plugin_inst_t *
bk_plugins_first(bk_plugins_t *ps)
{
    return ps->first;
}


void
bk_plugins_event(bk_plugins_t *ps, const bk_event_t *event)
{
    uint64_t           since;
    bk_plugin_inst_t  *p;

    for (p = ps->first; p != NULL; p = p->next) {
        /* older ones have not been told that there is such an event */
        if (event->what == BK_EVENT_USE && p->p.abi_minor < 2) {
            continue;
        }

        if (p->started && !p->stopped && p->p.event != NULL) {
            since = bk_host_monotonic_ms();
            p->p.event(p->ctx, event);
            bk_host_slow(p->label, "event", since);
        }
    }
}


void
bk_plugins_use(bk_str_t pool, bk_str_t worker, void *data)
{
    bk_core_t         *core = data;
    bk_event_t         event;
    bk_worker_info_t   info;

    if (bk_model_worker_find(core->model, pool, worker, &info) != 0) {
        return;
    }

    /* who hears of it first may change the model that the rest borrows from;
       these two are not the model's */
    info.pool = pool;
    info.name = worker;
    info.endpoint = (bk_str_t) { NULL, 0 };
    info.tls_name = info.endpoint;
    info.arch = info.endpoint;
    info.message = info.endpoint;

    memset(&event, 0, sizeof(event));
    event.what = BK_EVENT_USE;
    event.worker = &info;
    bk_plugins_event(core->plugins, &event);
}


void
bk_plugins_state_changed(bk_plugins_t *ps)
{
    uint64_t           since;
    bk_plugin_inst_t  *p;

    for (p = ps->first; p != NULL; p = p->next) {
        if (p->started && !p->stopped && p->p.state_changed != NULL) {
            since = bk_host_monotonic_ms();
            p->p.state_changed(p->ctx);
            bk_host_slow(p->label, "state_changed", since);
        }
    }
}


void
bk_plugins_stats(bk_plugins_t *ps, bk_stat_pt fn, void *data)
{
    uint64_t           since;
    bk_plugin_inst_t  *p;

    for (p = ps->first; p != NULL; p = p->next) {
        if (p->started && !p->stopped && p->p.stats != NULL) {
            since = bk_host_monotonic_ms();
            p->p.stats(p->ctx, fn, data);
            bk_host_slow(p->label, "stats", since);
        }
    }
}


int
bk_plugins_want(const void *owner, bk_str_t pool, bk_str_t name, int wanted,
    bk_err_t *err)
{
    int                rc;
    uint64_t           since;
    bk_plugin_inst_t  *p = (bk_plugin_inst_t *) owner;

    /* always-on workers (static) need no such callback */
    if (p->p.worker_want == NULL) {
        return 0;
    }

    since = bk_host_monotonic_ms();
    rc = p->p.worker_want(p->ctx, pool, name, wanted, err);
    bk_host_slow(p->label, "worker_want", since);

    return rc;
}
