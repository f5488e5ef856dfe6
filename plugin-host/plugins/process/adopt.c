/*
 * Knowing a process again: the run file, the pidfd, how it ended.
 *
 * A worker outlives us.  The run file says which process it is; pid, start
 * time and boot together name one process for ever, so a recycled pid is
 * never taken for ours.  The child writes the file itself before it becomes
 * buildkitd, so that there is no moment in which it runs unnoted.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process.h"


#define BK_ADOPT_FILE  "run"


static ssize_t bk_adopt_read(const char *path, char *buf, size_t size);
static int bk_adopt_parse(const char *text, bk_run_t *run);


static ssize_t
bk_adopt_read(const char *path, char *buf, size_t size)
{
    int      fd;
    ssize_t  n;

    fd = open(path, O_RDONLY|O_CLOEXEC);

    if (fd == -1) {
        return -1;
    }

    n = read(fd, buf, size - 1);
    (void) close(fd);

    buf[n > 0 ? n : 0] = '\0';

    return n;
}


int
bk_adopt_start_time(pid_t pid, uint64_t *started)
{
    int    i;
    char   path[64], text[1024];
    char  *p;

    if (pid == 0) {
        (void) snprintf(path, sizeof(path), "/proc/self/stat");

    } else {
        (void) snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
    }

    if (bk_adopt_read(path, text, sizeof(text)) <= 0) {
        return -1;
    }

    /* the second field is the name and may hold blanks and brackets */
    p = strrchr(text, ')');

    if (p == NULL || p[1] == '\0' || p[2] == 'Z' || p[2] == 'X') {
        /* what waits to be reaped does not run any more */
        return -1;
    }

    for (i = 2; p != NULL && i < 22; i++) {
        p = strchr(p + 1, ' ');
    }

    if (p == NULL) {
        return -1;
    }

    *started = strtoull(p + 1, NULL, 10);
    return 0;
}


void
bk_adopt_boot(char boot[64])
{
    ssize_t  n;

    n = bk_adopt_read("/proc/sys/kernel/random/boot_id", boot, 64);

    if (n <= 0) {
        (void) snprintf(boot, 64, "unknown");
        return;
    }

    boot[strcspn(boot, "\n ")] = '\0';
}


size_t
bk_adopt_format(const bk_run_t *run, char *text, size_t size)
{
    int  n;

    n = snprintf(text, size, "%d %" PRIu64 " %u %d %s\n", (int) run->pid,
                 run->started, run->port, run->ready, run->boot);

    return n > 0 && (size_t) n < size ? (size_t) n : 0;
}


static int
bk_adopt_parse(const char *text, bk_run_t *run)
{
    int       pid;
    unsigned  port;

    if (sscanf(text, "%d %" SCNu64 " %u %d %63s", &pid, &run->started, &port,
               &run->ready, run->boot) != 5
        || pid <= 1 || port == 0 || port > 65535)
    {
        return -1;
    }

    run->pid = pid;
    run->port = (uint16_t) port;

    return 0;
}


void
bk_adopt_note(bk_worker_t *w, int ready)
{
    char      text[256];
    size_t    n;
    bk_err_t  err;
    bk_run_t  run;

    run = (bk_run_t) {
        .pid = w->pid, .started = w->started, .port = w->port, .ready = ready
    };
    bk_adopt_boot(run.boot);

    n = bk_adopt_format(&run, text, sizeof(text));

    if (bk_text_write(w->dir, BK_ADOPT_FILE, (bk_str_t) { text, n }, &err)
        != 0)
    {
        w->p->host->log(w->p->host, BK_LOG_ERROR, "%s", err.text);
    }
}


void
bk_adopt_forget(bk_worker_t *w)
{
    char  path[BK_PATH_MAX];

    (void) unlink(bk_text_path(path, w->dir, BK_ADOPT_FILE));
}


int
bk_adopt(bk_worker_t *w, int *ready)
{
    int       fd;
    char      boot[64], path[BK_PATH_MAX], text[256];
    bk_run_t  run;
    uint64_t  started;

    (void) bk_text_path(path, w->dir, BK_ADOPT_FILE);

    if (bk_adopt_read(path, text, sizeof(text)) <= 0) {
        return 0;
    }

    if (bk_adopt_parse(text, &run) != 0) {
        w->p->host->log(w->p->host, BK_LOG_WARN, "%s is not readable: a "
                        "process that runs there is not found again", path);
        return 0;
    }

    bk_adopt_boot(boot);

    if (strcmp(boot, run.boot) != 0) {
        return -1;
    }

    /* first the handle, then the look: it cannot change in between */
    fd = pidfd_open(run.pid, 0);

    if (fd == -1) {
        return -1;
    }

    if (bk_adopt_start_time(run.pid, &started) != 0
        || started != run.started)
    {
        (void) close(fd);
        return -1;
    }

    w->pid = run.pid;
    w->started = run.started;
    w->pidfd = fd;
    w->port = run.port;
    w->child = 0;

    *ready = run.ready;

    return 1;
}


/*
 * A worker that the configuration has no more (fewer of them than in our
 * last run) may finish its builds and ends then.
 */

void
bk_adopt_retire(bk_worker_t *w)
{
    int               ready;
    char              path[BK_PATH_MAX];
    const bk_host_t  *h;

    h = w->p->host;

    if (access(bk_text_path(path, w->dir, BK_ADOPT_FILE), F_OK) != 0) {
        return;
    }

    if (bk_adopt(w, &ready) == 1) {
        h->log(h, BK_LOG_INFO, "worker %s/%s: is not configured any more, "
               "told to stop (pid %d)", w->p->pool, w->name, (int) w->pid);
        (void) pidfd_send_signal(w->pidfd, SIGTERM, NULL, 0);
    }

    bk_adopt_forget(w);
}


void
bk_adopt_ended(bk_worker_t *w, char *text, size_t size, int *taken)
{
    int          rc;
    char         line[BK_TABLE_MESSAGE_LEN];
    siginfo_t    si;
    const char  *program;

    program = bk_worker_program(w);
    memset(&si, 0, sizeof(si));
    rc = -1;

    if (w->child) {
        /*
         * What it left in its session goes as well; not reaped yet, so the
         * number is still its own.
         */
        (void) kill(-w->pid, SIGKILL);
        rc = waitid(P_PIDFD, (id_t) w->pidfd, &si, WEXITED|WNOHANG);
    }

    bk_output_last(w, line, sizeof(line));

    *taken = strstr(line, "address already in use") != NULL;

    if (rc != 0 || si.si_pid == 0) {
        bk_text_clean(text, size, "%s (pid %d) is gone%s%s", program,
                      (int) w->pid, line[0] == '\0' ? "" : ": ", line);

    } else if (si.si_code == CLD_EXITED) {
        bk_text_clean(text, size, "%s exited with status %d%s%s", program,
                      si.si_status, line[0] == '\0' ? "" : ": ", line);

    } else {
        bk_text_clean(text, size, "%s was killed by signal %d (%s)", program,
                      si.si_status, strsignal(si.si_status));
    }
}
