/* Running gateway.reload.  See reload.h. */

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"
#include "model.h"
#include "reload.h"


/* certificates come in twos; one reload does for both */
#define BK_RELOAD_SETTLE_MS  100
/* nginx -s reload is over before nginx' new processes are there */
#define BK_RELOAD_CALM_MS    3000
#define BK_RELOAD_BACK_MS    1000
#define BK_RELOAD_BACK_MAX   (5 * 60 * 1000)
#define BK_RELOAD_LINE       400

#define BK_RELOAD_IDLE     0
#define BK_RELOAD_SOON     1        /* wanted, or tried again later */
#define BK_RELOAD_RUNS     2
#define BK_RELOAD_CALM     3        /* it succeeded; nginx is at it */


extern char  **environ;

struct bk_reload_s {
    struct event_base   *base;
    const char *const   *argv;
    uint64_t             timeout_ms;
    void               (*done)(void *data);
    void                *data;

    int                  state;     /* BK_RELOAD_* */
    int                  again;     /* wanted since it was started */
    int                  late;      /* its deadline is over */
    unsigned             failures;  /* in a row, whoever wanted it */
    unsigned             tries;     /* those since it was wanted last */
    uint64_t             next_ms;   /* SOON: when */
    uint64_t             done_ms;   /* the last that succeeded */

    pid_t                pid;
    int                  pidfd;
    int                  out;
    struct event        *timer;
    struct event        *ended;
    struct event        *said;
    char                 line[BK_RELOAD_LINE];  /* what it is saying */
    size_t               len;
    char                 last[BK_RELOAD_LINE];  /* the last whole line */
    /* why the last one that ended failed: kept while it is tried again */
    char                 error[BK_RELOAD_LINE + 100];
};


static void bk_reload_timer(evutil_socket_t fd, short what, void *data);
static void bk_reload_set(bk_reload_t *r, uint64_t ms);
static void bk_reload_run(bk_reload_t *r);
static int bk_reload_spawn(bk_reload_t *r, int out);
static void bk_reload_output(evutil_socket_t fd, short what, void *data);
static void bk_reload_line(bk_reload_t *r);
static void bk_reload_ended(evutil_socket_t fd, short what, void *data);
static void bk_reload_over(bk_reload_t *r);
static void bk_reload_failed(bk_reload_t *r);


bk_reload_t *
bk_reload_new(struct event_base *base, const char *const *argv,
    uint64_t timeout_ms, void (*done)(void *data), void *data)
{
    bk_reload_t  *r;

    r = calloc(1, sizeof(bk_reload_t));
    if (r == NULL) {
        abort();
    }

    r->base = base;
    r->argv = argv;
    r->timeout_ms = timeout_ms;
    r->done = done;
    r->data = data;
    r->pidfd = -1;
    r->out = -1;
    r->timer = event_new(base, -1, 0, bk_reload_timer, r);

    if (r->timer == NULL) {
        abort();
    }

    return r;
}


void
bk_reload_free(bk_reload_t **rp)
{
    bk_reload_t  *r = *rp;

    if (r == NULL) {
        return;
    }

    *rp = NULL;
    bk_reload_stop(r);
    event_free(r->timer);
    free(r);
}


void
bk_reload_stop(bk_reload_t *r)
{
    event_del(r->timer);
    bk_reload_over(r);
    r->state = BK_RELOAD_IDLE;
}


void
bk_reload_want(bk_reload_t *r)
{
    if (r->state == BK_RELOAD_RUNS) {
        r->again = 1;
        return;
    }

    /* at once, and what was wrong is so until one succeeds */
    r->tries = 0;
    r->state = BK_RELOAD_SOON;
    bk_reload_set(r, BK_RELOAD_SETTLE_MS);
}


static void
bk_reload_set(bk_reload_t *r, uint64_t ms)
{
    struct timeval  tv;

    tv.tv_sec = (time_t) (ms / 1000);
    tv.tv_usec = (suseconds_t) (ms % 1000 * 1000);
    r->next_ms = bk_model_now_ms() + ms;

    event_add(r->timer, &tv);
}


static void
bk_reload_timer(evutil_socket_t fd, short what, void *data)
{
    bk_reload_t  *r = data;

    (void) fd;
    (void) what;

    switch (r->state) {

    case BK_RELOAD_SOON:
        bk_reload_run(r);
        break;

    case BK_RELOAD_RUNS:
        bk_log(BK_LOG_WARN, "reload", "%s takes more than %llu s: killed",
               r->argv[0], (unsigned long long) r->timeout_ms / 1000);
        r->late = 1;
        (void) kill(-r->pid, SIGKILL);
        break;

    case BK_RELOAD_CALM:
        r->state = BK_RELOAD_IDLE;
        r->done_ms = bk_model_now_ms();
        bk_log(BK_LOG_INFO, "reload", "nginx was reloaded");
        r->done(r->data);
        break;

    default:
        break;
    }
}


static void
bk_reload_run(bk_reload_t *r)
{
    int  out[2];

    r->again = 0;
    r->late = 0;
    r->len = 0;
    r->last[0] = '\0';

    if (pipe2(out, O_CLOEXEC | O_NONBLOCK) == -1) {
        snprintf(r->error, sizeof(r->error), "pipe: %s", strerror(errno));
        bk_reload_failed(r);
        return;
    }

    r->out = out[0];

    if (bk_reload_spawn(r, out[1]) != 0) {
        close(out[1]);
        bk_reload_over(r);
        bk_reload_failed(r);
        return;
    }

    close(out[1]);

    r->said = event_new(r->base, r->out, EV_READ | EV_PERSIST,
                        bk_reload_output, r);
    r->ended = event_new(r->base, r->pidfd, EV_READ, bk_reload_ended, r);

    if (r->said == NULL || r->ended == NULL
        || event_add(r->said, NULL) != 0 || event_add(r->ended, NULL) != 0)
    {
        abort();
    }

    r->state = BK_RELOAD_RUNS;
    bk_reload_set(r, r->timeout_ms);
}


/* A process group of its own, so that all of it can be ended; signals as any
 * program expects them. */

static int
bk_reload_spawn(bk_reload_t *r, int out)
{
    int                          rc;
    sigset_t                     none, all;
    posix_spawnattr_t            attr;
    posix_spawn_file_actions_t   files;

    sigemptyset(&none);
    sigfillset(&all);

    if (posix_spawnattr_init(&attr) != 0
        || posix_spawn_file_actions_init(&files) != 0)
    {
        abort();
    }

    (void) posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP
                                           | POSIX_SPAWN_SETSIGMASK
                                           | POSIX_SPAWN_SETSIGDEF);
    (void) posix_spawnattr_setpgroup(&attr, 0);
    (void) posix_spawnattr_setsigmask(&attr, &none);
    (void) posix_spawnattr_setsigdefault(&attr, &all);

    rc = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);

    if (rc == 0) {
        rc = posix_spawn_file_actions_adddup2(&files, out, 1);
    }

    if (rc == 0) {
        rc = posix_spawn_file_actions_adddup2(&files, out, 2);
    }

    if (rc == 0) {
        rc = posix_spawn(&r->pid, r->argv[0], &files, &attr,
                         (char *const *) r->argv, environ);
    }

    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attr);

    if (rc != 0) {
        r->pid = 0;
        snprintf(r->error, sizeof(r->error), "%.200s cannot be started: %s",
                 r->argv[0], strerror(rc));
        return -1;
    }

    r->pidfd = pidfd_open(r->pid, 0);

    if (r->pidfd == -1) {
        snprintf(r->error, sizeof(r->error), "pidfd_open: %s",
                 strerror(errno));
        (void) kill(-r->pid, SIGKILL);
        return -1;
    }

    return 0;
}


static void
bk_reload_output(evutil_socket_t fd, short what, void *data)
{
    char          buf[4096];
    ssize_t       i, n;
    bk_reload_t  *r = data;

    (void) what;

    /* once for each call: a command that never stops talking is not all
     * that this loop does */
    n = read(fd, buf, sizeof(buf));

    if (n == 0 || (n == -1 && errno != EAGAIN)) {
        event_del(r->said);
    }

    for (i = 0; i < n; i++) {
        if (buf[i] == '\n' || r->len == sizeof(r->line) - 1) {
            bk_reload_line(r);
        }

        if (buf[i] != '\n') {
            r->line[r->len++] = buf[i] >= 0x20 && buf[i] != 0x7f ? buf[i]
                                                                  : '?';
        }
    }
}


static void
bk_reload_line(bk_reload_t *r)
{
    if (r->len == 0) {
        return;
    }

    r->line[r->len] = '\0';
    r->len = 0;

    bk_log(BK_LOG_INFO, "reload", "%s", r->line);
    snprintf(r->last, sizeof(r->last), "%s", r->line);
}


static void
bk_reload_ended(evutil_socket_t fd, short what, void *data)
{
    int           i;
    char          why[80];
    siginfo_t     si;
    bk_reload_t  *r = data;

    (void) fd;
    (void) what;

    memset(&si, 0, sizeof(si));

    if (waitid(P_PIDFD, (id_t) r->pidfd, &si, WEXITED | WNOHANG) == -1
        || si.si_pid == 0)
    {
        event_add(r->ended, NULL);
        return;
    }

    r->pid = 0;

    /* what it said last, without waiting for whoever else holds the pipe */
    for (i = 0; i < 16; i++) {
        bk_reload_output(r->out, 0, r);
    }

    bk_reload_line(r);
    bk_reload_over(r);

    if (si.si_code == CLD_EXITED && si.si_status == 0) {
        r->failures = 0;
        r->tries = 0;
        r->error[0] = '\0';
        r->state = r->again ? BK_RELOAD_SOON : BK_RELOAD_CALM;
        bk_reload_set(r, r->again ? BK_RELOAD_SETTLE_MS : BK_RELOAD_CALM_MS);
        return;
    }

    if (r->late) {
        snprintf(why, sizeof(why), "it took too long");

    } else if (si.si_code == CLD_EXITED) {
        snprintf(why, sizeof(why), "exit status %d", si.si_status);

    } else {
        snprintf(why, sizeof(why), "killed by signal %d", si.si_status);
    }

    snprintf(r->error, sizeof(r->error), "%s%s%s", why,
             r->last[0] ? ": " : "", r->last);
    bk_reload_failed(r);
}


/* Nothing of it is left here; if it runs, it runs on. */

static void
bk_reload_over(bk_reload_t *r)
{
    event_del(r->timer);

    if (r->said != NULL) {
        event_free(r->said);
        r->said = NULL;
    }

    if (r->ended != NULL) {
        event_free(r->ended);
        r->ended = NULL;
    }

    if (r->out != -1) {
        close(r->out);
        r->out = -1;
    }

    if (r->pidfd != -1) {
        close(r->pidfd);
        r->pidfd = -1;
    }
}


static void
bk_reload_failed(bk_reload_t *r)
{
    uint64_t  back = BK_RELOAD_BACK_MS;

    back <<= r->tries < 10 ? r->tries : 10;

    if (back > BK_RELOAD_BACK_MAX) {
        back = BK_RELOAD_BACK_MAX;
    }

    r->failures++;
    r->tries++;
    r->state = BK_RELOAD_SOON;

    bk_log(BK_LOG_ERROR, "reload", "nginx was not reloaded, and uses its old "
           "files: %s: %s; tried again in %llu s", r->argv[0], r->error,
           (unsigned long long) back / 1000);
    bk_reload_set(r, back);
}


const char *
bk_reload_health(const bk_reload_t *r)
{
    static char  text[BK_RELOAD_LINE + 160];

    /* one that is under way is nothing to worry about */
    if (r == NULL || r->failures == 0) {
        return "ok";
    }

    snprintf(text, sizeof(text), "nginx was not reloaded: %s", r->error);

    return text;
}


json_t *
bk_reload_show(const bk_reload_t *r)
{
    char         next[32], done[32];
    const char  *state;

    if (r == NULL) {
        return json_pack("{s:s}", "state", "none");
    }

    if (r->failures > 0) {
        state = "failed";

    } else if (r->state == BK_RELOAD_IDLE) {
        state = "ok";

    } else {
        state = r->state == BK_RELOAD_SOON ? "pending" : "running";
    }

    return json_pack("{s:s, s:s?, s:s?, s:s?}", "state", state,
                     "error", r->failures > 0 ? r->error : NULL,
                     "retryAt", r->failures > 0 && r->state == BK_RELOAD_SOON
                                ? bk_log_time(r->next_ms, next, sizeof(next))
                                : NULL,
                     "reloadedAt", r->done_ms != 0
                                ? bk_log_time(r->done_ms, done, sizeof(done))
                                : NULL);
}
