/*
 * A command that runs inside an allocation: run, buildctl, build.
 *
 * One poll() on a signalfd and the times of the next renewal and of the next
 * look at the allocation (renewal.c, vigil.c); nothing else waits.  Signals
 * are passed on to the command, but not those that the terminal sent: it sent
 * them to the command as well, and build tools take a second Ctrl-C for "now
 * at once".  Whatever happens, the allocation is
 * released and the files are removed at the end.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bkctl.h"


#define BK_SESSION_RELEASE_MS  5000
#define BK_SESSION_OUTPUT_MAX  8192


static int bk_session_block(bk_session_t *s);
static int bk_session_signals(void *data);
static int bk_session_spawn(bk_session_t *s, char *const *argv, int out);
static void bk_session_exec(bk_session_t *s, char *const *argv, int out,
    int report);
static int bk_session_wait(bk_session_t *s, unsigned timeout_ms);


int
bk_session_open(bk_session_t *s, const bk_args_t *args)
{
    char  pool[700];

    memset(s, 0, sizeof(bk_session_t));
    s->args = args;
    s->sigfd = -1;

    if (bk_session_block(s) != 0
        || bk_creds_tempdir(s->dir, sizeof(s->dir)) != 0
        || bk_alloc_new(args, s->sigfd, bk_session_signals, s, &s->answer,
                        &s->skew_ms)
           != BK_EXIT_OK)
    {
        return -1;
    }

    bk_alloc_id(s->answer, s->id);
    bk_renewal_schedule(s);

    if (!bk_alloc_ready(s->answer)) {
        bk_out_note("bkctl: worker %s of pool %s is still %s; the gateway "
                    "holds connections until it is ready",
                    bk_out_text(s->answer, "workerName"),
                    bk_alloc_pool(args, pool, sizeof(pool)),
                    bk_out_string(s->answer, "state"));
    }

    if (bk_creds_write(s->dir, s->answer) != 0) {
        return -1;
    }

    setenv("BUILDKIT_HOST", bk_alloc_endpoint(s->answer), 1);
    setenv("BKCTL_TLS_DIR", s->dir, 1);

    return s->interrupted ? -1 : 0;
}


/* Signals that are ignored already (nohup) stay so. */

static int
bk_session_block(bk_session_t *s)
{
    size_t            i;
    sigset_t          mask;
    struct sigaction  sa;
    static const int  signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT,
                                    SIGUSR1, SIGUSR2 };

    sigemptyset(&mask);
    signal(SIGCHLD, SIG_DFL);
    sigaddset(&mask, SIGCHLD);

    for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        if (sigaction(signals[i], NULL, &sa) == 0
            && sa.sa_handler != SIG_IGN)
        {
            sigaddset(&mask, signals[i]);
        }
    }

    sigprocmask(SIG_BLOCK, &mask, &s->oldmask);
    s->sigfd = signalfd(-1, &mask, SFD_CLOEXEC|SFD_NONBLOCK);

    if (s->sigfd == -1) {
        bk_out_error("cannot watch for signals: %s", strerror(errno));
        return -1;
    }

    return 0;
}


/*
 * Takes what the signalfd has: reaps the command, passes signals on.  While
 * no command runs a signal is the wish to end: not 0 then.
 */

static int
bk_session_signals(void *data)
{
    bk_session_t             *s = data;
    struct signalfd_siginfo   si;

    while (read(s->sigfd, &si, sizeof(si)) == sizeof(si)) {

        if (si.ssi_signo == SIGCHLD) {
            continue;
        }

        if (s->child == 0) {
            s->interrupted = (int) si.ssi_signo;

        } else if (si.ssi_code <= 0) {
            kill(s->child, (int) si.ssi_signo);
        }
    }

    if (s->child && waitpid(s->child, &s->status, WNOHANG) == s->child) {
        s->child = 0;
    }

    return s->interrupted != 0;
}


int
bk_session_run(bk_session_t *s, char *const *argv)
{
    int  rc;

    if (bk_session_spawn(s, argv, -1) != 0) {
        return BK_EXIT_NOT_STARTED;
    }

    bk_vigil_begin(s);
    rc = bk_session_wait(s, 0);
    bk_vigil_end(s, rc);

    return rc;
}


int
bk_session_quiet(bk_session_t *s, char *const *argv, const char *what,
    unsigned timeout_ms)
{
    int       out, rc;
    char      text[BK_SESSION_OUTPUT_MAX];
    uint64_t  renew_at;
    ssize_t   n;

    out = memfd_create("output", MFD_CLOEXEC);

    if (out == -1) {
        bk_out_error("cannot keep a program's output: %s", strerror(errno));
        return -1;
    }

    rc = -1;
    renew_at = s->renew_at;
    s->renew_at = 0;

    if (bk_session_spawn(s, argv, out) == 0) {
        rc = bk_session_wait(s, timeout_ms);
    }

    s->renew_at = renew_at;

    if (rc > 0) {
        n = pread(out, text, sizeof(text), 0);

        if (n > 0) {
            fwrite(text, 1, (size_t) n, stderr);
        }

        bk_out_error("%s failed with status %d", what, rc);
    }

    close(out);

    return rc;
}


/* The child reports through a pipe why it could not become argv. */

static int
bk_session_spawn(bk_session_t *s, char *const *argv, int out)
{
    int      pipes[2], error;
    ssize_t  n;

    if (pipe2(pipes, O_CLOEXEC) != 0) {
        bk_out_error("cannot start %s: %s", argv[0], strerror(errno));
        return -1;
    }

    fflush(NULL);
    s->interrupted = 0;
    s->child = fork();

    if (s->child == 0) {
        bk_session_exec(s, argv, out, pipes[1]);
    }

    close(pipes[1]);

    if (s->child == -1) {
        s->child = 0;
        close(pipes[0]);
        bk_out_error("cannot start %s: %s", argv[0], strerror(errno));
        return -1;
    }

    do {
        n = read(pipes[0], &error, sizeof(error));
    } while (n == -1 && errno == EINTR);

    close(pipes[0]);

    if (n == sizeof(error)) {
        waitpid(s->child, NULL, 0);
        s->child = 0;
        bk_out_error("cannot start %s: %s", argv[0], strerror(error));
        return -1;
    }

    return 0;
}


static void
bk_session_exec(bk_session_t *s, char *const *argv, int out, int report)
{
    int  error, null;

    if (out != -1) {
        null = open("/dev/null", O_RDONLY);
        dup2(null, STDIN_FILENO);
        dup2(out, STDOUT_FILENO);
        dup2(out, STDERR_FILENO);
    }

    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &s->oldmask, NULL);
    execvp(argv[0], argv);

    error = errno;

    if (write(report, &error, sizeof(error)) != sizeof(error)) {
        _exit(BK_EXIT_NOT_STARTED);
    }

    _exit(BK_EXIT_NOT_STARTED);
}


/* timeout_ms 0: for ever.  One that does not end in time is killed. */

static int
bk_session_wait(bk_session_t *s, unsigned timeout_ms)
{
    int            ms;
    uint64_t       now, end, next;
    struct pollfd  pfd = { .fd = s->sigfd, .events = POLLIN };

    end = timeout_ms ? bk_now_ms() + timeout_ms : UINT64_MAX;

    for ( ;; ) {
        bk_session_signals(s);

        if (s->child == 0) {
            break;
        }

        now = bk_now_ms();

        if (now >= end) {
            kill(s->child, SIGKILL);
            end = UINT64_MAX;
        }

        if (s->renew_at && now >= s->renew_at) {
            bk_renewal_run(s);
            continue;
        }

        if (s->look_at && now >= s->look_at) {
            bk_vigil_look(s);
            continue;
        }

        next = s->renew_at && s->renew_at < end ? s->renew_at : end;
        next = s->look_at && s->look_at < next ? s->look_at : next;
        ms = next == UINT64_MAX ? -1
             : next - now < 60000 ? (int) (next - now) : 60000;

        poll(&pfd, 1, ms);
    }

    return WIFSIGNALED(s->status) ? 128 + WTERMSIG(s->status)
                                  : WEXITSTATUS(s->status);
}


int
bk_session_busy(void *data)
{
    bk_session_t  *s = data;

    bk_session_signals(s);

    return s->child == 0;       /* it ended: nothing to ask for any more */
}


void
bk_session_close(bk_session_t *s)
{
    bk_api_reply_t  r;

    if (s->answer) {
        if (bk_alloc_release(s->args, bk_out_string(s->answer, "token"),
                             BK_SESSION_RELEASE_MS, &r)
            != BK_EXIT_OK && r.status != 410 && r.status != 404
            && bk_renewal_left(s) != 0)
        {
            bk_out_note("bkctl: warning: the allocation %s was not released: "
                        "%s; it expires at %s", s->id, r.error,
                        bk_out_text(s->answer, "expiresAt"));
        }

        bk_reply_free(&r);
        json_decref(s->answer);
    }

    if (s->dir[0]) {
        bk_creds_remove(s->dir);
    }

    if (s->sigfd != -1) {
        close(s->sigfd);
    }

    /* last, so that it is what they read */
    if (s->epitaph[0]) {
        bk_out_error("%s", s->epitaph);
    }
}


char *
bk_session_program(const char *env, const char *name)
{
    char        *path, *copy, *dir, *save;
    const char  *value;

    value = env ? getenv(env) : NULL;

    if (value && *value) {
        if (strchr(value, '/')) {
            return access(value, X_OK) == 0 ? strdup(value) : NULL;
        }

        name = value;
    }

    value = getenv("PATH");
    copy = strdup(value ? value : "/usr/local/bin:/usr/bin:/bin");
    path = NULL;

    for (dir = strtok_r(copy, ":", &save); dir && path == NULL;
         dir = strtok_r(NULL, ":", &save))
    {
        struct stat  st;

        if (asprintf(&path, "%s/%s", dir, name) < 0) {
            abort();
        }

        if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)
            || access(path, X_OK) != 0)
        {
            free(path);
            path = NULL;
        }
    }

    free(copy);

    return path;
}


void
bk_argv_add(bk_argv_t *a, const char *fmt, ...)
{
    va_list  ap;

    a->v = realloc(a->v, (a->n + 2) * sizeof(char *));

    if (a->v == NULL) {
        abort();
    }

    va_start(ap, fmt);

    if (vasprintf(&a->v[a->n++], fmt, ap) < 0) {
        abort();
    }

    va_end(ap);

    a->v[a->n] = NULL;
}


void
bk_argv_free(bk_argv_t *a)
{
    size_t  i;

    for (i = 0; i < a->n; i++) {
        free(a->v[i]);
    }

    free(a->v);
}
