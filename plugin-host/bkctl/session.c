/*
 * A command that runs inside an allocation, or several: run, buildctl, build.
 *
 * One poll() on a signalfd and the times of the next renewal and of the next
 * look at each allocation (renewal.c, vigil.c); nothing else waits.  Signals
 * are passed on to the command, but not those that the terminal sent: it sent
 * them to the command as well, and build tools take a second Ctrl-C for "now
 * at once".  Whatever happens, the allocations are released and their files
 * are removed at the end.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bk_duration.h"
#include "bkctl.h"


#define BK_SESSION_OUTPUT_MAX  8192


static int bk_session_signals(void *data);
static int bk_session_spawn(bk_session_t *s, char *const *argv, int out);
static void bk_session_exec(bk_session_t *s, char *const *argv, int out,
    int report);
static int bk_session_wait(bk_session_t *s, unsigned timeout_ms);
static int bk_session_due(bk_session_t *s, uint64_t *next);


int
bk_session_begin(bk_session_t *s, const bk_args_t *args)
{
    uint64_t  wait;

    memset(s, 0, sizeof(bk_session_t));
    s->args = args;
    wait = BK_WAIT_DEFAULT_MS;

    if (args->wait) {
        bk_duration_parse(args->wait, strlen(args->wait), &wait);
    }

    s->wait_end = bk_now_ms() + wait;
    s->sigfd = bk_signals_open(&s->oldmask);

    return s->sigfd == -1 ? -1 : 0;
}


int
bk_session_open(bk_session_t *s, const bk_args_t *args)
{
    return bk_session_begin(s, args) == 0 && bk_session_add(s, NULL)
           ? 0 : -1;
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


/* While one is waited for, those that are there already do not run out. */

int
bk_session_adding(void *data)
{
    int            i;
    bk_session_t  *s = data;

    for (i = 0; i < s->n; i++) {
        if (s->nodes[i]->renew_at && bk_now_ms() >= s->nodes[i]->renew_at) {
            bk_renewal_run(s->nodes[i], bk_session_signals);
        }
    }

    return bk_session_signals(s);
}


int
bk_session_run(bk_session_t *s, char *const *argv)
{
    int  i, rc;

    if (bk_session_spawn(s, argv, -1) != 0) {
        return BK_EXIT_NOT_STARTED;
    }

    s->born_ms = bk_now_ms();

    for (i = 0; i < s->n; i++) {
        bk_vigil_begin(s->nodes[i]);
    }

    rc = bk_session_wait(s, 0);

    for (i = 0; i < s->n; i++) {
        bk_vigil_end(s->nodes[i], rc);
    }

    return rc;
}


int
bk_session_quiet(bk_session_t *s, char *const *argv, const char *what,
    unsigned timeout_ms)
{
    int      out, rc;
    char     text[BK_SESSION_OUTPUT_MAX];
    ssize_t  n;

    out = memfd_create("output", MFD_CLOEXEC);

    if (out == -1) {
        bk_out_error("cannot keep a program's output: %s", strerror(errno));
        return -1;
    }

    rc = -1;
    s->still = 1;

    if (bk_session_spawn(s, argv, out) == 0) {
        rc = bk_session_wait(s, timeout_ms);
    }

    s->still = 0;

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

        next = end;

        if (!s->still && bk_session_due(s, &next)) {
            continue;
        }

        ms = next == UINT64_MAX ? -1
             : next <= now ? 0
             : next - now < 60000 ? (int) (next - now) : 60000;

        poll(&pfd, 1, ms);
    }

    return WIFSIGNALED(s->status) ? 128 + WTERMSIG(s->status)
                                  : WEXITSTATUS(s->status);
}


/* Does one thing that is due, or lowers *next to when one will be. */

static int
bk_session_due(bk_session_t *s, uint64_t *next)
{
    int         i;
    uint64_t    now;
    bk_node_t  *node;

    now = bk_now_ms();

    for (i = 0; i < s->n; i++) {
        node = s->nodes[i];

        if (node->renew_at && now >= node->renew_at) {
            bk_renewal_run(node, bk_session_busy);
            return 1;
        }

        if (node->look_at && now >= node->look_at) {
            bk_vigil_look(node);
            return 1;
        }

        if (node->renew_at && node->renew_at < *next) {
            *next = node->renew_at;
        }

        if (node->look_at && node->look_at < *next) {
            *next = node->look_at;
        }
    }

    return 0;
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
    int  i;

    for (i = 0; i < s->n; i++) {
        bk_node_end(s->nodes[i]);
    }

    if (s->sigfd != -1) {
        close(s->sigfd);
    }

    for (i = 0; i < s->n; i++) {
        /* last, so that it is what they read */
        if (s->nodes[i]->epitaph[0]) {
            bk_out_error("%s", s->nodes[i]->epitaph);
        }

        free(s->nodes[i]);
    }
}
