/*
 * The parts of the host, in the order in which they start and stop.
 *
 * First the state folder is ours, then plugins may prepare it, one after the
 * other; only then authorities, model and API are made of what is there.  See
 * host.h.
 */

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "bk_err.h"
#include "gate.h"
#include "host.h"
#include "log.h"


#define BK_STOP_S  15           /* what plugins take at most, and some more */


static int bk_start_state(const char *dir, bk_err_t *err);
static int bk_start_parts(bk_core_t *core, bk_err_t *err);
static int bk_start_model(bk_core_t *core, bk_err_t *err);
static int bk_start_listen(bk_core_t *core, bk_err_t *err);
static void bk_start_ca_changed(void *data);
static void bk_start_ca_reloaded(void *data);
static void bk_start_event(const bk_event_t *event, void *data);
static int bk_start_want(const void *owner, bk_str_t pool, bk_str_t name,
    int wanted, bk_err_t *err, void *data);
static void bk_stop_done(void *data);


int
bk_start(bk_core_t *core, bk_err_t *err)
{
    bk_conf_t  *c = core->conf;

    core->started_ms = bk_model_now_ms();
    bk_host_turn_new(core);

    if (bk_start_state(c->state, err) != 0
        || (c->audit != NULL && bk_audit_new(&core->audit, c->audit, err) != 0))
    {
        return -1;
    }

    bk_again_doubts(core->access, NULL);

    return bk_start_go(core, err);
}


int
bk_start_go(bk_core_t *core, bk_err_t *err)
{
    int  rc;

    rc = bk_plugins_prepare(core->plugins, err);

    return rc == 0 ? bk_start_parts(core, err) : rc == 1 ? 0 : -1;
}


/*
 * The table first: its lock says that we are the only one.  Listeners last:
 * who can connect is served.
 */

static int
bk_start_parts(bk_core_t *core, bk_err_t *err)
{
    bk_gate_new(core);

    if (bk_start_model(core, err) != 0
        || bk_start_authorities(core, err) != 0
        || bk_api_routes(core, err) != 0
        || bk_plugins_start(core->plugins, err) != 0)
    {
        return -1;
    }

    bk_model_started(core->model);

    if (bk_start_listen(core, err) != 0) {
        return -1;
    }

    core->started = 1;
    bk_host_turn(core);

    bk_notify("READY=1");
    bk_log(BK_LOG_INFO, "host", "ready");

    return 0;
}


static int
bk_start_model(bk_core_t *core, bk_err_t *err)
{
    bk_conf_t          *c = core->conf;
    bk_model_conf_t     m;
    bk_reports_conf_t   reports;

    memset(&m, 0, sizeof(m));
    m.table.path = c->table.path;
    m.table.allocations = c->table.allocations;
    m.table.workers = c->table.workers;
    m.table.pools = c->table.pools;
    m.table.group = c->table.group;
    m.keep_ended_ms = c->keep_ended_ms;
    m.event = bk_start_event;
    m.want = bk_start_want;
    m.data = core;

    if (bk_model_new(&core->model, core->base, &m, err) != 0) {
        return -1;
    }

    reports.dir = c->reports;
    reports.group = c->table.group;
    reports.use = bk_plugins_use;
    reports.data = core;
    core->reports = bk_reports_new(core->base, &reports);

    return 0;
}


int
bk_start_authorities(bk_core_t *core, bk_err_t *err)
{
    bk_ca_conf_t   ca;
    bk_conf_t     *c = core->conf;

    memset(&ca, 0, sizeof(ca));
    ca.state = c->state;
    ca.names = c->names;
    ca.stored = bk_host_state_changed;
    ca.data = core;

    if (c->file->issuer != NULL) {
        ca.gateway = c->file->issuer->gateway;
        ca.worker = c->file->issuer->worker;
    }

    if (c->reload[0] != NULL) {
        core->reload = bk_reload_new(core->base, c->reload,
                                     c->reload_timeout_ms,
                                     bk_start_ca_reloaded, core);
        ca.reloads = 1;
        ca.changed = bk_start_ca_changed;
    }

    return bk_ca_new(&core->ca, core->base, &ca, err);
}


static void
bk_start_ca_changed(void *data)
{
    bk_reload_want(((bk_core_t *) data)->reload);
}


static void
bk_start_ca_reloaded(void *data)
{
    bk_ca_reloaded(((bk_core_t *) data)->ca);
}


/* The folder of keys and journal is ours alone, while we run. */

static int
bk_start_state(const char *dir, bk_err_t *err)
{
    int   fd;
    char  path[PATH_MAX];

    if (mkdir(dir, 0700) == -1 && errno != EEXIST) {
        bk_err_set(err, 500, "StateFolder", "cannot make %s: %s", dir,
                   strerror(errno));
        return bk_err_hint(err, "the key state of the configuration names it");
    }

    snprintf(path, sizeof(path), "%s/lock", dir);

    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd == -1) {
        return bk_err_set(err, 500, "StateFolder", "cannot open %s: %s", path,
                          strerror(errno));
    }

    /* never closed: it dies with us */
    if (flock(fd, LOCK_EX | LOCK_NB) == -1) {
        bk_err_set(err, 409, "InUse", "another buildkit-plugin-host uses %s",
                   dir);
        return bk_err_hint(err, "stop it first, or give this one a state "
                           "folder of its own");
    }

    return 0;
}


static int
bk_start_listen(bk_core_t *core, bk_err_t *err)
{
    unsigned  i;

    for (i = 0; i < core->conf->api_count; i++) {
        if (bk_httpd_listen(core->httpd, BK_HTTP_API, core->conf->api[i], err)
            != 0)
        {
            return -1;
        }
    }

    for (i = 0; i < core->conf->metrics_count; i++) {
        if (bk_httpd_listen(core->httpd, BK_HTTP_METRICS,
                            core->conf->metrics[i], err)
            != 0)
        {
            return -1;
        }
    }

    return 0;
}


static void
bk_start_event(const bk_event_t *event, void *data)
{
    bk_plugins_event(((bk_core_t *) data)->plugins, event);
}


static int
bk_start_want(const void *owner, bk_str_t pool, bk_str_t name, int wanted,
    bk_err_t *err, void *data)
{
    (void) data;

    return bk_plugins_want(owner, pool, name, wanted, err);
}


void
bk_stop(bk_core_t *core)
{
    struct timeval  tv = { BK_STOP_S, 0 };

    if (core->stopping) {
        return;
    }

    core->stopping = 1;
    bk_notify("STOPPING=1");
    bk_httpd_close(core->httpd);

    if (core->reload != NULL) {
        bk_reload_stop(core->reload);
    }

    event_base_loopexit(core->base, &tv);
    bk_plugins_stop(core->plugins, bk_stop_done, core);
}


void
bk_stop_done(void *data)
{
    bk_core_t       *core = data;
    struct timeval   tv = { 0, 50000 };

    /* the last answers go out */
    event_base_loopexit(core->base, bk_httpd_connections(core->httpd) ? &tv
                                                                      : NULL);
}
