/*
 * buildkit-plugin-host: signals, and the order in which its parts start and
 * stop.  Everything else is in the parts; host.h lists them.
 *
 * SIGTERM and SIGINT end this program and touch no build: the route table
 * stays, workers that are to outlive us do.
 */

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "args.h"
#include "bk_err.h"
#include "gate.h"
#include "host.h"
#include "log.h"


#define BK_STOP_S     10
#define BK_CA_LOOK_S  (12 * 3600)

static const int  bk_signals[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1 };

#define BK_SIGNALS  (sizeof(bk_signals) / sizeof(bk_signals[0]))


static int bk_main_check(bk_core_t *core, bk_err_t *err);
static int bk_main_run(bk_core_t *core);
static int bk_main_start(bk_core_t *core, bk_err_t *err);
static int bk_main_authorities(bk_core_t *core, bk_err_t *err);
static void bk_main_ca_changed(void *data);
static void bk_main_ca_reloaded(void *data);
static int bk_main_state(const char *dir, bk_err_t *err);
static int bk_main_listen(bk_core_t *core, bk_err_t *err);
static void bk_main_signal(evutil_socket_t sig, short what, void *data);
static void bk_main_ca(evutil_socket_t fd, short what, void *data);
static void bk_main_stop(bk_core_t *core);
static void bk_main_stopped(void *data);
static void bk_main_event(const bk_event_t *event, void *data);
static int bk_main_want(const void *owner, bk_str_t pool, bk_str_t name,
    int wanted, bk_err_t *err, void *data);
static void bk_main_libevent(int severity, const char *msg);


int
main(int argc, char **argv)
{
    int             rc;
    char            dir[PATH_MAX];
    bk_err_t        err;
    bk_core_t       core;
    bk_args_t       args;

    memset(&core, 0, sizeof(core));
    memset(&err, 0, sizeof(err));
    memset(&args, 0, sizeof(args));

    rc = bk_args(argc, argv, &args);
    if (rc != -1) {
        return rc;
    }

    umask(077);
    signal(SIGPIPE, SIG_IGN);
    bk_more_descriptors();

    if (bk_plugins_dir(dir, sizeof(dir), &err) != 0) {
        fprintf(stderr, "buildkit-plugin-host: %s\n", err.text);
        return 1;
    }

    core.plugins = bk_plugins_new(&core, dir);

    if (args.list) {
        rc = bk_plugins_list(core.plugins) == 0 ? 0 : 1;
        bk_plugins_free(&core.plugins);
        return rc;
    }

    event_set_log_callback(bk_main_libevent);
    core.base = event_base_new();
    if (core.base == NULL) {
        abort();
    }

    core.httpd = bk_httpd_new(core.base);

    if (bk_conf_new(&core.conf, args.path, &err) != 0
        || bk_main_check(&core, &err) != 0)
    {
        fprintf(stderr, "buildkit-plugin-host: %s%s%s%s\n", err.text,
                err.hint[0] ? " (" : "", err.hint, err.hint[0] ? ")" : "");
        rc = 1;

    } else if (args.test) {
        bk_again_doubts(core.access, stderr);
        printf("buildkit-plugin-host: %s is good\n", args.path);
        rc = 0;

    } else {
        rc = bk_main_run(&core);
    }

    bk_httpd_drop(core.httpd);
    bk_plugins_free(&core.plugins);
    bk_httpd_free(&core.httpd);
    bk_gate_free(&core);
    bk_access_free(&core.access);
    bk_audit_free(&core.audit);
    bk_reports_free(&core.reports);
    bk_model_free(&core.model);
    bk_ca_free(&core.ca);
    bk_reload_free(&core.reload);
    bk_conf_free(&core.conf);
    event_base_free(core.base);
    libevent_global_shutdown();

    return rc;
}


/* Plugins get their options: all of -t, and the first part of a start. */

static int
bk_main_check(bk_core_t *core, bk_err_t *err)
{
    char        path[40];
    unsigned    i;
    bk_conf_t  *c = core->conf;

    if (bk_access_new(&core->access, c, err) != 0) {
        return -1;
    }

    for (i = 0; i < c->file->plugins_count; i++) {
        snprintf(path, sizeof(path), "plugins.%u", i);

        if (bk_plugins_add(core->plugins, c->yaml, c->file->plugins[i].name,
                           path, err)
            != 0)
        {
            return -1;
        }
    }

    return 0;
}


static int
bk_main_run(bk_core_t *core)
{
    int            rc = 0;
    size_t         i;
    bk_err_t       err;
    struct event  *signals[BK_SIGNALS], *look;
    struct timeval  often = { BK_CA_LOOK_S, 0 };

    memset(&err, 0, sizeof(err));
    bk_log_set(core->conf->log.level, core->conf->log.format);

    if (bk_log_open(core->conf->log.file, &err) != 0) {
        bk_log_err(BK_LOG_ERROR, "host", &err);
        return 1;
    }

    bk_log(BK_LOG_INFO, "host", "buildkit-plugin-host %s starts, pid %d",
           BK_VERSION, (int) getpid());

    for (i = 0; i < BK_SIGNALS; i++) {
        signals[i] = evsignal_new(core->base, bk_signals[i], bk_main_signal,
                                  core);
        if (signals[i] == NULL || event_add(signals[i], NULL) != 0) {
            abort();
        }
    }

    look = event_new(core->base, -1, EV_PERSIST, bk_main_ca, core);
    if (look == NULL || event_add(look, &often) != 0) {
        abort();
    }

    if (bk_main_start(core, &err) == 0) {
        bk_notify("READY=1");
        bk_log(BK_LOG_INFO, "host", "ready");
        event_base_dispatch(core->base);
        bk_log(BK_LOG_INFO, "host", "stopped; routes stay in the table");

    } else {
        rc = 1;
        bk_log_err(BK_LOG_ERROR, "host", &err);
        bk_main_stop(core);
        event_base_dispatch(core->base);
    }

    event_free(look);

    for (i = 0; i < BK_SIGNALS; i++) {
        event_free(signals[i]);
    }

    return rc;
}


static void
bk_main_ca(evutil_socket_t fd, short what, void *data)
{
    bk_core_t *core = data;

    (void) fd;
    (void) what;

    if (core->ca != NULL) {
        bk_ca_look(core->ca);
    }
}


/*
 * The table first: its lock says that we are the only one.  Listeners last:
 * who can connect is served.
 */

static int
bk_main_start(bk_core_t *core, bk_err_t *err)
{
    bk_conf_t          *c = core->conf;
    bk_model_conf_t     m;
    bk_reports_conf_t   reports;

    core->started_ms = bk_model_now_ms();

    if (bk_main_state(c->state, err) != 0
        || (c->audit != NULL && bk_audit_new(&core->audit, c->audit, err) != 0))
    {
        return -1;
    }

    bk_again_doubts(core->access, NULL);
    bk_gate_new(core);

    memset(&m, 0, sizeof(m));
    m.table.path = c->table.path;
    m.table.allocations = c->table.allocations;
    m.table.workers = c->table.workers;
    m.table.pools = c->table.pools;
    m.table.group = c->table.group;
    m.keep_ended_ms = c->keep_ended_ms;
    m.event = bk_main_event;
    m.want = bk_main_want;
    m.data = core;

    if (bk_model_new(&core->model, core->base, &m, err) != 0) {
        return -1;
    }

    reports.dir = c->reports;
    reports.group = c->table.group;
    reports.use = bk_plugins_use;
    reports.data = core;
    core->reports = bk_reports_new(core->base, &reports);

    if (bk_main_authorities(core, err) != 0
        || bk_api_routes(core, err) != 0
        || bk_plugins_start(core->plugins, err) != 0)
    {
        return -1;
    }

    bk_model_started(core->model);

    return bk_main_listen(core, err);
}


static int
bk_main_authorities(bk_core_t *core, bk_err_t *err)
{
    bk_ca_conf_t   ca;
    bk_conf_t     *c = core->conf;

    memset(&ca, 0, sizeof(ca));
    ca.state = c->state;
    ca.names = c->names;

    if (c->file->issuer != NULL) {
        ca.gateway = c->file->issuer->gateway;
        ca.worker = c->file->issuer->worker;
    }

    if (c->reload[0] != NULL) {
        core->reload = bk_reload_new(core->base, c->reload,
                                     c->reload_timeout_ms,
                                     bk_main_ca_reloaded, core);
        ca.reloads = 1;
        ca.changed = bk_main_ca_changed;
        ca.data = core;
    }

    return bk_ca_new(&core->ca, core->base, &ca, err);
}


static void
bk_main_ca_changed(void *data)
{
    bk_reload_want(((bk_core_t *) data)->reload);
}


static void
bk_main_ca_reloaded(void *data)
{
    bk_ca_reloaded(((bk_core_t *) data)->ca);
}


/* The folder of keys and journal is ours alone, while we run. */

static int
bk_main_state(const char *dir, bk_err_t *err)
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
bk_main_listen(bk_core_t *core, bk_err_t *err)
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
bk_main_signal(evutil_socket_t sig, short what, void *data)
{
    bk_err_t    err;
    bk_core_t  *core = data;

    (void) what;

    switch (sig) {

    case SIGHUP:
        bk_again(core);
        break;

    case SIGUSR1:
        if (bk_log_reopen(&err) != 0) {
            bk_log_err(BK_LOG_ERROR, "host", &err);
        }

        if (core->audit != NULL && bk_audit_reopen(core->audit, &err) != 0) {
            bk_log_err(BK_LOG_ERROR, "host", &err);
        }

        break;

    default:
        if (core->stopping) {
            bk_log(BK_LOG_WARN, "host", "stopped at once");
            event_base_loopbreak(core->base);
            break;
        }

        bk_log(BK_LOG_INFO, "host", "stopping on signal %d", (int) sig);
        bk_main_stop(core);
    }
}


static void
bk_main_stop(bk_core_t *core)
{
    struct timeval  tv = { BK_STOP_S, 0 };

    core->stopping = 1;
    bk_notify("STOPPING=1");
    bk_httpd_close(core->httpd);

    if (core->reload != NULL) {
        bk_reload_stop(core->reload);
    }


    event_base_loopexit(core->base, &tv);
    bk_plugins_stop(core->plugins, bk_main_stopped, core);
}


static void
bk_main_stopped(void *data)
{
    bk_core_t       *core = data;
    struct timeval   tv = { 0, 50000 };

    /* the last answers go out */
    event_base_loopexit(core->base, bk_httpd_connections(core->httpd) ? &tv
                                                                      : NULL);
}


static void
bk_main_event(const bk_event_t *event, void *data)
{
    bk_plugins_event(((bk_core_t *) data)->plugins, event);
}


static int
bk_main_want(const void *owner, bk_str_t pool, bk_str_t name, int wanted,
    bk_err_t *err, void *data)
{
    (void) data;

    return bk_plugins_want(owner, pool, name, wanted, err);
}


static void
bk_main_libevent(int severity, const char *msg)
{
    if (severity >= EVENT_LOG_WARN) {
        bk_log(BK_LOG_WARN, "libevent", "%s", msg);
    }
}
