/*
 * Making the process: its folder, certificates, port and log, and the fork.
 *
 * The folder of a worker is 0700 and holds cert.pem, key.pem, ca.pem (made
 * anew at each start), root/ (buildkitd's own, kept), log and run.  Output
 * goes straight into the log file: a pipe would die with us.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "process.h"


#define BK_CERT_LIFE     (UINT64_C(730) * 24 * 3600 * BK_SECOND)
#define BK_SPAWN_TRIES   20


static int bk_spawn_certs(bk_worker_t *w, bk_err_t *err);
static int bk_spawn_port_used(const bk_worker_t *w, uint16_t port);
static int bk_spawn_port(bk_worker_t *w, bk_err_t *err);
static char *bk_spawn_fill(const bk_worker_t *w, const char *arg);
static char **bk_spawn_argv(const bk_worker_t *w);
static void bk_spawn_argv_free(char **argv);
static void bk_spawn_child(bk_worker_t *w, char **argv, int log);
static void bk_spawn_say(const char *what, const char *name);


int
bk_spawn_folder(bk_worker_t *w, bk_err_t *err)
{
    char         path[BK_PATH_MAX];
    size_t       i;
    struct stat  st;

    const char  *dirs[3];

    /* DIR is STATE/workers/NAME: the first one may be there for others */
    (void) snprintf(path, sizeof(path), "%s", w->dir);
    *strrchr(path, '/') = '\0';

    dirs[0] = path;
    dirs[1] = w->dir;
    dirs[2] = NULL;

    for (i = 0; dirs[i] != NULL; i++) {
        if (mkdir(dirs[i], 0700) != 0 && errno != EEXIST) {
            return bk_fail(err, 500, "CannotWrite", NULL, "%s: %s", dirs[i],
                           strerror(errno));
        }
    }

    if (lstat(w->dir, &st) != 0 || !S_ISDIR(st.st_mode)
        || st.st_uid != geteuid())
    {
        return bk_fail(err, 500, "CannotWrite", "remove it",
                       "%s is not a folder of ours", w->dir);
    }

    if ((st.st_mode & 077) != 0 && chmod(w->dir, 0700) != 0) {
        return bk_fail(err, 500, "CannotWrite", NULL, "%s: %s", w->dir,
                       strerror(errno));
    }

    (void) bk_text_path(path, w->dir, "root");

    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return bk_fail(err, 500, "CannotWrite", NULL, "%s: %s", path,
                       strerror(errno));
    }

    return 0;
}


static int
bk_spawn_certs(bk_worker_t *w, bk_err_t *err)
{
    bk_cert_t          cert;
    const bk_host_t   *h;
    bk_cert_request_t  req;

    h = w->p->host;

    req = (bk_cert_request_t) {
        .kind = BK_CERT_WORKER,
        .cn = bk_str(w->name),
        .names = bk_str(w->tls_name),
        .csr = BK_STR(""),
        .spki = BK_STR(""),
        .not_after_ms = h->now_ms(h) + BK_CERT_LIFE
    };

    if (h->cert_issue(h, &req, &cert, err) != 0) {
        return -1;
    }

    if (bk_text_write(w->dir, "key.pem", cert.key, err) != 0
        || bk_text_write(w->dir, "cert.pem", cert.cert, err) != 0
        || bk_text_write(w->dir, "ca.pem", cert.ca, err) != 0)
    {
        return -1;
    }

    return 0;
}


static int
bk_spawn_port_used(const bk_worker_t *w, uint16_t port)
{
    size_t  i;

    for (i = 0; i < w->p->nworkers; i++) {
        if (w->p->workers[i].pidfd != -1 && w->p->workers[i].port == port) {
            return 1;
        }
    }

    return 0;
}


/*
 * A port that is free just now.  Somebody else may take it before the
 * worker does: then that exits and is started again with another one.
 */

static int
bk_spawn_port(bk_worker_t *w, bk_err_t *err)
{
    int                 fd, i, rc;
    socklen_t           len;
    struct sockaddr_in  sin;

    for (i = 0; i < BK_SPAWN_TRIES; i++) {
        fd = socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0);

        if (fd == -1) {
            break;
        }

        memset(&sin, 0, sizeof(sin));
        sin.sin_family = AF_INET;
        sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        len = sizeof(sin);

        rc = bind(fd, (struct sockaddr *) &sin, len);

        if (rc == 0) {
            rc = getsockname(fd, (struct sockaddr *) &sin, &len);
        }

        (void) close(fd);

        if (rc == 0 && !bk_spawn_port_used(w, ntohs(sin.sin_port))) {
            w->port = ntohs(sin.sin_port);
            return 0;
        }
    }

    return bk_fail(err, 500, "NoPort", NULL, "no free port on 127.0.0.1: %s",
                   strerror(errno));
}


/* {port} {root} {cert} {key} {ca} {name}; anything else stays as it is */

static char *
bk_spawn_fill(const bk_worker_t *w, const char *arg)
{
    FILE    *f;
    char    *out;
    size_t   i, n, size;

    char  port[8], root[BK_PATH_MAX], cert[BK_PATH_MAX], key[BK_PATH_MAX];
    char  ca[BK_PATH_MAX];

    const struct {
        const char  *name;
        const char  *value;
    } places[] = {
        { "{port}", port },
        { "{root}", bk_text_path(root, w->dir, "root") },
        { "{cert}", bk_text_path(cert, w->dir, "cert.pem") },
        { "{key}", bk_text_path(key, w->dir, "key.pem") },
        { "{ca}", bk_text_path(ca, w->dir, "ca.pem") },
        { "{name}", w->name }
    };

    (void) snprintf(port, sizeof(port), "%u", w->port);

    f = open_memstream(&out, &size);

    if (f == NULL) {
        abort();
    }

    while (*arg != '\0') {
        n = 0;

        for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
            n = strlen(places[i].name);

            if (strncmp(arg, places[i].name, n) == 0) {
                (void) fputs(places[i].value, f);
                arg += n;
                break;
            }
        }

        if (i == sizeof(places) / sizeof(places[0])) {
            (void) fputc(*arg++, f);
        }
    }

    if (fclose(f) != 0) {
        abort();
    }

    return out;
}


static char **
bk_spawn_argv(const bk_worker_t *w)
{
    char    **argv;
    size_t    i, n;

    static const char  *buildkitd[] = {
        "buildkitd", "--addr", "tcp://127.0.0.1:{port}", "--root", "{root}",
        "--tlscert", "{cert}", "--tlskey", "{key}", "--tlscacert", "{ca}",
        "--containerd-worker=false", NULL
    };

    argv = calloc(2 * BK_ARGS_MAX + 16, sizeof(char *));

    if (argv == NULL) {
        abort();
    }

    n = 0;

    if (w->p->ncommand == 0) {
        for (i = 0; buildkitd[i] != NULL; i++) {
            argv[n++] = bk_spawn_fill(w, buildkitd[i]);
        }
    }

    for (i = 0; i < w->p->ncommand; i++) {
        argv[n++] = bk_spawn_fill(w, w->p->command[i]);
    }

    for (i = 0; i < w->p->nargs; i++) {
        argv[n++] = bk_spawn_fill(w, w->p->args[i]);
    }

    return argv;
}


static void
bk_spawn_argv_free(char **argv)
{
    size_t  i;

    for (i = 0; argv[i] != NULL; i++) {
        free(argv[i]);
    }

    free(argv);
}


int
bk_spawn(bk_worker_t *w, bk_err_t *err)
{
    int     fd, saved;
    char    path[BK_PATH_MAX];
    char  **argv;
    pid_t   pid;

    if (bk_spawn_folder(w, err) != 0 || bk_spawn_certs(w, err) != 0
        || bk_spawn_port(w, err) != 0)
    {
        return -1;
    }

    bk_output_trim(w);

    fd = open(bk_text_path(path, w->dir, BK_OUTPUT_FILE),
              O_CREAT|O_WRONLY|O_APPEND|O_CLOEXEC|O_NOFOLLOW, 0600);

    if (fd == -1) {
        return bk_fail(err, 500, "CannotWrite", NULL, "%s: %s", path,
                       strerror(errno));
    }

    /* what stands below this line is from this start: see last_line */
    if (write(fd, BK_OUTPUT_START "\n", sizeof(BK_OUTPUT_START)) == -1) {
        saved = errno;
        (void) close(fd);
        return bk_fail(err, 500, "CannotWrite", NULL, "%s: %s", path,
                       strerror(saved));
    }

    argv = bk_spawn_argv(w);

    pid = fork();
    saved = errno;

    if (pid == 0) {
        bk_spawn_child(w, argv, fd);
    }

    (void) close(fd);
    bk_spawn_argv_free(argv);

    if (pid == -1) {
        return bk_fail(err, 503, "CannotStart", NULL, "fork: %s",
                       strerror(saved));
    }

    w->pid = pid;
    w->child = 1;
    w->started = 0;
    (void) bk_adopt_start_time(pid, &w->started);

    /* not reaped yet, so the number is still its own */
    w->pidfd = pidfd_open(pid, 0);

    if (w->pidfd == -1) {
        saved = errno;
        (void) kill(pid, SIGKILL);
        return bk_fail(err, 500, "CannotStart", NULL, "pidfd_open: %s",
                       strerror(saved));
    }

    return 0;
}


/* Between fork and exec, where only we know it: it notes itself first. */

static void
bk_spawn_child(bk_worker_t *w, char **argv, int log)
{
    int       i, null;
    sigset_t  none;

    static const char  *ours[] = {
        "NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES",
        "WATCHDOG_PID", "WATCHDOG_USEC", NULL
    };

    (void) setsid();

    for (i = 1; i < NSIG; i++) {
        (void) signal(i, SIG_DFL);
    }

    (void) sigemptyset(&none);
    (void) sigprocmask(SIG_SETMASK, &none, NULL);

    w->pid = getpid();

    if (bk_adopt_start_time(0, &w->started) == 0) {
        bk_adopt_note(w, 0);
    }

    null = open("/dev/null", O_RDONLY);

    if (null == -1 || dup2(null, 0) == -1 || dup2(log, 1) == -1
        || dup2(log, 2) == -1)
    {
        _exit(126);
    }

    /* above all the route table's lock, which must die with plugin-host */
    (void) close_range(3, ~0U, 0);

    for (i = 0; ours[i] != NULL; i++) {
        (void) unsetenv(ours[i]);
    }

    /* ours keeps secrets; what a builder writes into images is its own */
    (void) umask(022);

    if (chdir("/") == 0) {
        (void) execvp(argv[0], argv);
    }

    bk_spawn_say(strerror(errno), argv[0]);
    _exit(127);
}


static void
bk_spawn_say(const char *what, const char *name)
{
    int   n;
    char  text[BK_PATH_MAX];

    n = snprintf(text, sizeof(text), "cannot run %s: %s\n", name, what);

    if (n > 0 && (size_t) n < sizeof(text)) {
        n = (int) write(2, text, (size_t) n);
    }
}
