/*
 * buildkit-plugin-host: arguments and signals.  The order in which its parts
 * start and stop is in start.c, everything else in the parts; host.h lists
 * them.
 *
 * SIGTERM and SIGINT end this program and touch no build: the route table
 * stays, workers that are to outlive us do.
 */

#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "args.h"
#include "bk_err.h"
#include "gate.h"
#include "host.h"
#include "log.h"


#define BK_CA_LOOK_S  (12 * 3600)
#define BK_AGAIN      "BK_BEGAN_ANEW"   /* when: seconds of the monotonic clock */
#define BK_AGAIN_S    10                /* between two times */

static const int  bk_signals[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1 };

#define BK_SIGNALS  (sizeof(bk_signals) / sizeof(bk_signals[0]))


static void bk_main_again(char **argv);
static int bk_main_check(bk_core_t *core, bk_err_t *err);
static int bk_main_run(bk_core_t *core);
static void bk_main_signal(evutil_socket_t sig, short what, void *data);
static void bk_main_ca(evutil_socket_t fd, short what, void *data);
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
    bk_host_turn_free(&core);
    event_base_free(core.base);
    libevent_global_shutdown();

    if (rc == 1 && args.again && core.ended) {
        bk_main_again(argv);
    }

    return rc;
}


/*
 * Whoever has lost a Lease begins as one who knows nothing, and that is all:
 * what a container's end would cost besides, more and more each time, is for
 * those that cannot run.  Not in circles.
 */

static void
bk_main_again(char **argv)
{
    char             text[32];
    const char      *was = getenv(BK_AGAIN);
    struct timespec  now;

    clock_gettime(CLOCK_MONOTONIC, &now);

    if (was != NULL && now.tv_sec - atoll(was) < BK_AGAIN_S) {
        return;
    }

    snprintf(text, sizeof(text), "%lld", (long long) now.tv_sec);
    setenv(BK_AGAIN, text, 1);
    bk_log(BK_LOG_WARN, "host", "begins anew");
    (void) execv("/proc/self/exe", argv);
    bk_log(BK_LOG_ERROR, "host", "cannot begin anew: %s", strerror(errno));
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

    if (bk_start(core, &err) != 0) {
        core->failed = 1;
        bk_log_err(BK_LOG_ERROR, "host", &err);
        bk_stop(core);
    }

    event_base_dispatch(core->base);

    if (!core->failed) {
        bk_log(BK_LOG_INFO, "host", "stopped; routes stay in the table");
    }

    event_free(look);

    for (i = 0; i < BK_SIGNALS; i++) {
        event_free(signals[i]);

        /* it is over: who says so once more does not change how it ended */
        if (!core->ended) {
            signal(bk_signals[i], SIG_IGN);
        }
    }

    return core->failed ? 1 : 0;
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
        /* whoever is told to end does not begin anew */
        core->ended = 0;

        if (core->stopping) {
            bk_log(BK_LOG_WARN, "host", "stopped at once");
            event_base_loopbreak(core->base);
            break;
        }

        bk_log(BK_LOG_INFO, "host", "stopping on signal %d", (int) sig);
        bk_stop(core);
    }
}


static void
bk_main_libevent(int severity, const char *msg)
{
    if (severity >= EVENT_LOG_WARN) {
        bk_log(BK_LOG_WARN, "libevent", "%s", msg);
    }
}
