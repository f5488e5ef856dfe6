/*
 * What is started, what is done when it ends or files change, and signals.
 *
 * nginx is what clients need: when it ends, everything does, and whoever runs
 * the container starts it again.  plugin-host can be away for a while: it is
 * started again here, and builds do not notice.
 */

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "entry.h"


#define ENTRY_TEMPLATES  "/usr/share/buildkit-gateway"
#define ENTRY_TLS        "/etc/gateway/tls"
#define ENTRY_WORKER     "/etc/gateway/worker-tls"

#define ENTRY_LOOK_MS    1000   /* how often files are looked at */
#define ENTRY_START_MS   20000  /* how long nginx waits for plugin-host */
#define ENTRY_STOP_MS    10000  /* how long plugin-host may take to end */
#define ENTRY_AGAIN_MAX  16     /* seconds before it is started again */


typedef struct {
    const char  *conf;          /* nginx' configuration */
    const char  *folder;        /* RUN, or NULL: only nginx */
    char         nginx_conf[ENTRY_PATH + 16];
    char         host_conf[ENTRY_PATH + 16];
    char         conf_folder[ENTRY_PATH];

    const char  *folders[3];    /* of files that nginx has read */
    unsigned     nfolders;
    uint64_t     used, seen;    /* entry_seen(): when nginx read them; last */

    pid_t        nginx, host;   /* 0: does not run */
    uint64_t     host_at;       /* when it is started again */
    unsigned     host_again;    /* seconds to wait the next time */
    uint64_t     host_began;
    int          status;        /* of nginx, once it has ended */
    int          ended;
    int          stopping;      /* we were told to */
    sigset_t     signals;
} entry_t;


static int entry_prepare(entry_t *e, int argc, char **argv);
static pid_t entry_spawn(char *const *argv, const sigset_t *blocked);
static void entry_host_start(entry_t *e);
static int entry_host_wait(entry_t *e);
static int entry_nginx_start(entry_t *e);
static void entry_look(entry_t *e);
static int entry_next_signal(entry_t *e, uint64_t ms);
static void entry_signal(entry_t *e, int signo);
static void entry_reap(entry_t *e);
static void entry_host_end(entry_t *e);
static uint64_t entry_now(void);


int
main(int argc, char **argv)
{
    int      rc, asked;
    entry_t  e;

    memset(&e, 0, sizeof(e));

    rc = entry_prepare(&e, argc, argv);

    if (rc != 0) {
        return rc == 1 ? 0 : 2;
    }

    sigemptyset(&e.signals);
    sigaddset(&e.signals, SIGCHLD);
    sigaddset(&e.signals, SIGHUP);
    sigaddset(&e.signals, SIGINT);
    sigaddset(&e.signals, SIGQUIT);
    sigaddset(&e.signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &e.signals, NULL);

    if (e.folder) {
        entry_host_start(&e);

        if (entry_host_wait(&e) != 0) {
            entry_host_end(&e);
            return e.stopping ? 0 : 1;
        }
    }

    if (entry_nginx_start(&e) != 0) {
        entry_host_end(&e);
        return 1;
    }

    while (!e.ended) {
        entry_signal(&e, entry_next_signal(&e, ENTRY_LOOK_MS));

        if (e.folder && e.host == 0 && !e.stopping
            && entry_now() >= e.host_at)
        {
            entry_host_start(&e);
        }

        if (!e.stopping) {
            entry_look(&e);
        }
    }

    asked = e.stopping;
    entry_host_end(&e);

    if (WIFSIGNALED(e.status)) {
        entry_log("nginx was ended by signal %d", WTERMSIG(e.status));
        return 128 + WTERMSIG(e.status);
    }

    if (!asked) {
        entry_log("nginx ended with status %d", WEXITSTATUS(e.status));
        return WEXITSTATUS(e.status) ? WEXITSTATUS(e.status) : 1;
    }

    return WEXITSTATUS(e.status);
}


void
entry_log(const char *fmt, ...)
{
    char     line[1024];
    va_list  args;

    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);

    fprintf(stderr, "gateway: %s\n", line);
}


static int
entry_prepare(entry_t *e, int argc, char **argv)
{
    int           rc;
    char         *slash;
    const char   *templates;
    entry_args_t  args;

    e->conf = getenv("BUILDKIT_GATEWAY_CONF");

    if (e->conf && e->conf[0]) {

        /* the arguments are for images that know no such variable */

        if (e->conf[0] != '/' || strlen(e->conf) >= ENTRY_PATH) {
            entry_log("BUILDKIT_GATEWAY_CONF must be an absolute path");
            return -1;
        }

        strcpy(e->conf_folder, e->conf);
        slash = strrchr(e->conf_folder, '/');
        *slash = '\0';
        e->folders[e->nfolders++] = e->conf_folder;
        e->folders[e->nfolders++] = ENTRY_TLS;
        e->folders[e->nfolders++] = ENTRY_WORKER;

        return 0;
    }

    rc = entry_args(&args, argc, argv);

    if (rc != 0) {
        return rc;
    }

    templates = getenv("BUILDKIT_GATEWAY_TEMPLATES");

    e->folder = entry_folder();

    if (e->folder == NULL
        || entry_conf(&args, templates ? templates : ENTRY_TEMPLATES,
                      e->folder) != 0)
    {
        return -1;
    }

    snprintf(e->nginx_conf, sizeof(e->nginx_conf), "%s/nginx.conf",
             e->folder);
    snprintf(e->host_conf, sizeof(e->host_conf), "%s/gateway.yaml",
             e->folder);
    e->conf = e->nginx_conf;

    strcpy(e->conf_folder, args.server_cert);
    slash = strrchr(e->conf_folder, '/');
    *slash = '\0';
    e->folders[e->nfolders++] = e->conf_folder;
    e->folders[e->nfolders++] = args.worker_tls;

    return 0;
}


/* blocked: the signals that it finds when it is ready for them */

static pid_t
entry_spawn(char *const *argv, const sigset_t *blocked)
{
    pid_t  pid;

    pid = fork();

    if (pid == -1) {
        entry_log("fork: %s", strerror(errno));
        return 0;
    }

    if (pid) {
        return pid;
    }

    /* our end is theirs; in a container the kernel sees to that */
    prctl(PR_SET_PDEATHSIG, SIGTERM);

    sigprocmask(SIG_SETMASK, blocked, NULL);

    execvp(argv[0], argv);

    entry_log("cannot run %s: %s", argv[0], strerror(errno));
    _exit(127);
}


static void
entry_host_start(entry_t *e)
{
    sigset_t     none;
    char *const  argv[] = { "buildkit-plugin-host", "-c", e->host_conf,
                            NULL };

    sigemptyset(&none);
    e->host = entry_spawn(argv, &none);
    e->host_began = entry_now();
    e->host_at = e->host_began + 1000;
}


/* its first routes are to be there before the first client is; not for ever */

static int
entry_host_wait(entry_t *e)
{
    int                 fd, rc;
    uint64_t            end;
    struct sockaddr_un  un;

    memset(&un, 0, sizeof(un));
    un.sun_family = AF_UNIX;
    snprintf(un.sun_path, sizeof(un.sun_path), "%.90s/api.sock", e->folder);

    end = entry_now() + ENTRY_START_MS;

    while (entry_now() < end) {

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        rc = connect(fd, (struct sockaddr *) &un, sizeof(un));
        close(fd);

        if (rc == 0) {
            return 0;
        }

        entry_signal(e, entry_next_signal(e, 50));

        if (e->stopping) {
            return -1;
        }

        if (e->host == 0) {
            entry_log("plugin-host does not start");
            return -1;
        }
    }

    entry_log("plugin-host is not ready after %d s: starting nginx without",
              ENTRY_START_MS / 1000);

    return 0;
}


static int
entry_nginx_start(entry_t *e)
{
    /* what it says before it has read its configuration goes to stderr */
    char *const  argv[] = { "nginx", "-e", "stderr", "-c",
                            (char *) e->conf, NULL };

    e->used = entry_seen(e->folders, e->nfolders);
    e->seen = e->used;

    /* nginx's master lets them in (sigsuspend(2)) when its workers run: a HUP
     * for files that change meanwhile must not end it */

    e->nginx = entry_spawn(argv, &e->signals);

    return e->nginx ? 0 : -1;
}


/* files that are being written are left until they have been the same twice */

static void
entry_look(entry_t *e)
{
    uint64_t  now;

    now = entry_seen(e->folders, e->nfolders);

    if (now != e->used && now == e->seen && e->nginx) {
        entry_log("certificates or configuration have changed: "
                  "nginx reads them again");
        kill(e->nginx, SIGHUP);
        e->used = now;
    }

    e->seen = now;
}


/* 0: none came */

static int
entry_next_signal(entry_t *e, uint64_t ms)
{
    int              signo;
    struct timespec  ts;

    ts.tv_sec = (time_t) (ms / 1000);
    ts.tv_nsec = (long) (ms % 1000) * 1000000;

    signo = sigtimedwait(&e->signals, NULL, &ts);

    return signo < 0 ? 0 : signo;
}


static void
entry_signal(entry_t *e, int signo)
{
    switch (signo) {

    case SIGCHLD:
        entry_reap(e);
        break;

    case SIGHUP:
        if (e->nginx) {
            kill(e->nginx, SIGHUP);
        }

        if (e->host) {
            kill(e->host, SIGHUP);
        }

        break;

    case SIGINT:
    case SIGQUIT:
    case SIGTERM:

        /* QUIT: live builds finish, or are told why not; others: at once */

        e->stopping = 1;

        if (e->nginx) {
            kill(e->nginx, signo == SIGQUIT ? SIGQUIT : SIGTERM);
        }

        break;
    }
}


static void
entry_reap(entry_t *e)
{
    int    status;
    pid_t  pid;

    for ( ;; ) {
        pid = waitpid(-1, &status, WNOHANG);

        if (pid <= 0) {
            return;
        }

        if (pid == e->nginx) {
            e->nginx = 0;
            e->status = status;
            e->ended = 1;

        } else if (pid == e->host) {
            e->host = 0;

            if (e->stopping) {
                continue;
            }

            /* one that does not come up is not started every second */

            if (entry_now() - e->host_began > 60000) {
                e->host_again = 0;
            }

            e->host_again = e->host_again ? e->host_again * 2 : 1;

            if (e->host_again > ENTRY_AGAIN_MAX) {
                e->host_again = ENTRY_AGAIN_MAX;
            }

            e->host_at = entry_now() + e->host_again * 1000;

            entry_log("plugin-host ended with %s %d; it is started again in "
                      "%u s", WIFSIGNALED(status) ? "signal" : "status",
                      WIFSIGNALED(status) ? WTERMSIG(status)
                                          : WEXITSTATUS(status),
                      e->host_again);
        }

        /* others' children that are ours now need no more */
    }
}


static void
entry_host_end(entry_t *e)
{
    uint64_t  end;

    if (e->host == 0) {
        return;
    }

    e->stopping = 1;
    kill(e->host, SIGTERM);

    end = entry_now() + ENTRY_STOP_MS;

    while (e->host && entry_now() < end) {
        if (entry_next_signal(e, 100) == SIGCHLD) {
            entry_reap(e);
        }
    }

    if (e->host) {
        kill(e->host, SIGKILL);
    }
}


static uint64_t
entry_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}
