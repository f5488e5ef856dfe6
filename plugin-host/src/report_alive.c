/*
 * Does the process that wrote a report still live?
 *
 * Where its pid means the same to us (same boot, same pid namespace) the
 * kernel is asked: the pid with that start time is there, or it is not.
 * Where it does not (nginx in another container), or where /proc hides it,
 * its heartbeat counts, in looks of ours and not by any clock: clocks jump.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report_int.h"


/* once a second: a process that hangs for so long counts as gone */
#define BK_REPORT_STILL  30


static int bk_report_process(const bk_report_header_t *h);


void
bk_report_here(bk_reports_t *r)
{
    int          fd;
    ssize_t      n;
    struct stat  st;

    r->pid_ns = stat("/proc/self/ns/pid", &st) == 0 ? st.st_ino : 0;

    fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

    if (fd != -1) {
        n = read(fd, r->boot, 36);
        r->boot[n == 36 ? 36 : 0] = '\0';
        close(fd);
    }
}


int
bk_report_alive(bk_reports_t *r, bk_report_file_t *f)
{
    int                        known;
    const bk_report_header_t  *h = &f->copy.head;

    if (h->heartbeat_ms != f->heartbeat_ms) {
        f->heartbeat_ms = h->heartbeat_ms;
        f->still = 0;

    } else {
        f->still++;
    }

    if (r->boot[0] != '\0' && h->boot[0] != '\0'
        && strcmp(r->boot, h->boot) != 0)
    {
        return 0;
    }

    if (h->pid_ns != 0 && h->pid_ns == r->pid_ns && h->start_ticks != 0) {
        known = bk_report_process(h);

        if (known != -1) {
            return known;
        }
    }

    return f->still < BK_REPORT_STILL;
}


/* 1: lives, 0: is gone, -1: cannot be told. */

static int
bk_report_process(const bk_report_header_t *h)
{
    int                  fd, i;
    char                 buf[1024], *p, state;
    ssize_t              n;
    unsigned long long   ticks;

    if (h->pid == 0 || h->pid > INT32_MAX) {
        return 0;
    }

    snprintf(buf, sizeof(buf), "/proc/%d/stat", (int) h->pid);
    fd = open(buf, O_RDONLY | O_CLOEXEC);

    if (fd == -1) {
        /* /proc may be hiding it */
        return kill((pid_t) h->pid, 0) == -1 && errno == ESRCH ? 0 : -1;
    }

    n = read(fd, buf, sizeof(buf) - 1);
    close(fd);

    if (n <= 0) {
        /* it has gone since the open */
        return kill((pid_t) h->pid, 0) == -1 && errno == ESRCH ? 0 : -1;
    }

    buf[n] = '\0';

    /* field 2 is a name in parentheses, and may hold anything */
    p = strrchr(buf, ')');

    if (p == NULL || p[1] != ' ') {
        return -1;
    }

    state = p[2];

    for (i = 3; p != NULL && i <= 22; i++) {
        p = strchr(p + 1, ' ');
    }

    if (p == NULL || sscanf(p, "%llu", &ticks) != 1) {
        return -1;
    }

    /* a zombie writes nothing any more */
    return ticks == h->start_ticks && state != 'Z' && state != 'X';
}
