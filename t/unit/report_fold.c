/*
 * The counters of processes that are gone: plugin-host is killed at each of
 * its system calls while it adds them up, and the next one goes on.  Nothing
 * is lost, nothing is counted twice.
 *
 * The calls that change something are interposed: the child of each round
 * ends just before or just after the one whose turn it is.
 */

#include <sys/syscall.h>
#include <sys/wait.h>

#include "report_test.h"


#define DEAD    3       /* processes; their counters are 1, 2 and 4 */
#define ROUNDS  200


int renameat(int from, const char *a, int to, const char *b);
int unlinkat(int fd, const char *name, int flags);
ssize_t write(int fd, const void *buf, size_t size);
int openat(int fd, const char *name, int flags, ...);

static int  turn = -1;      /* the call to die at; -1: none */
static int  after;          /* ... when it has been done */
static int  calls;


static void
before(void)
{
    if (turn == calls && !after) {
        _exit(9);
    }
}


static void
behind(void)
{
    if (turn == calls && after) {
        _exit(9);
    }

    calls++;
}


int
renameat(int from, const char *a, int to, const char *b)
{
    int  rc;

    before();
    rc = (int) syscall(SYS_renameat2, from, a, to, b, 0);
    behind();

    return rc;
}


int
unlinkat(int fd, const char *name, int flags)
{
    int  rc;

    before();
    rc = (int) syscall(SYS_unlinkat, fd, name, flags);
    behind();

    return rc;
}


ssize_t
write(int fd, const void *buf, size_t size)
{
    ssize_t  n;

    before();
    n = syscall(SYS_write, fd, buf, size);
    behind();

    return n;
}


int
openat(int fd, const char *name, int flags, ...)
{
    int  rc;

    before();
    rc = (int) syscall(SYS_openat, fd, name, flags, 0640);
    behind();

    return rc;
}


static void
files(void)
{
    int  i;

    rt_clean();

    for (i = 0; i < DEAD; i++) {
        rt_make(0x7ffffff0u + (uint64_t) i, (uint64_t) 1 << i);
        rt_write();
    }
}


/* A plugin-host that looks once; 1: it was killed. */

static int
once(int at, int when)
{
    int            status;
    pid_t          pid;
    bk_reports_t  *r;

    fflush(stdout);
    pid = fork();

    if (pid == 0) {
        turn = at;
        after = when;
        calls = 0;
        r = rt_reports(NULL, NULL);
        bk_reports_free(&r);
        _exit(0);
    }

    if (pid == -1 || waitpid(pid, &status, 0) == -1 || !WIFEXITED(status)) {
        printf("Bail out! no child\n");
        exit(1);
    }

    return WEXITSTATUS(status) == 9;
}


static void
test_killed(int when)
{
    int            at, bad, killed;
    bk_reports_t  *r;

    bad = 0;
    killed = 0;

    for (at = 0; at < ROUNDS; at++) {
        files();

        if (!once(at, when)) {
            break;
        }

        killed++;

        /* the next one dies as well, somewhere else */
        once((at * 7 + 3) % 11, when);

        r = rt_reports(NULL, NULL);

        if (!rt_sum_is(r, 7)) {
            printf("# killed at call %d\n", at);
            bad++;
        }

        bk_reports_free(&r);

        /* and all is well from then on */
        r = rt_reports(NULL, NULL);
        bad += !rt_sum_is(r, 7);
        bk_reports_free(&r);
    }

    ok(killed > 10 && at < ROUNDS, "killed %s each of %d calls",
       when ? "after" : "before", killed);
    ok(bad == 0, "nothing is lost, nothing counted twice");
}


/* One that cannot be removed holds up the others, and is counted once. */

static void
test_blocked(void)
{
    bk_reports_t  *r;

    files();
    r = rt_reports(NULL, NULL);
    ok(rt_sum_is(r, 7), "the dead are counted");
    ok(!rt_exists("nginx-2147483632-1-1.report"), "their files are gone");
    bk_reports_free(&r);

    /* the last one that was added comes back, beside another one */
    {
        bk_report_copy_t  totals;
        int               fd = open(rt_dir, O_RDONLY | O_DIRECTORY);

        memset(&totals, 0, sizeof(totals));
        ok(bk_report_read(fd, BK_REPORT_TOTALS, &totals, NULL) == 0,
           "the totals are a report");
        close(fd);

        rt_make(totals.head.folded_pid,
                (uint64_t) 1 << (totals.head.folded_pid - 0x7ffffff0u));
        rt_write();
        bk_report_copy_free(&totals);
    }

    rt_make(0x7fffff00u, 8);
    rt_write();

    r = rt_reports(NULL, NULL);
    ok(rt_sum_is(r, 15), "one that is in the totals is only removed");
    bk_reports_free(&r);

    rt_make(0x7fffff00u, 8);
    rt_head.boot[0] ^= 1;
    rt_write();
    r = rt_reports(NULL, NULL);
    ok(rt_sum_is(r, 23), "the same pid of another boot is another process");
    bk_reports_free(&r);
}


/* Totals that are not ours are none. */

static void
test_totals(void)
{
    int            fd;
    char           path[600];
    bk_reports_t  *r;

    files();
    fd = open(rt_path(path, BK_REPORT_TOTALS), O_WRONLY | O_CREAT, 0640);
    ok(fd != -1 && ftruncate(fd, 100) == 0, "totals that are cut short");
    close(fd);

    r = rt_reports(NULL, NULL);
    ok(rt_sum_is(r, 7), "are begun anew");
    ok(rt_exists(BK_REPORT_TOTALS BK_REPORT_BAD), "and set aside");
    bk_reports_free(&r);

    if (geteuid() == 0) {
        ok(chown(path, 65534, 65534) == 0, "totals of somebody else");
        r = rt_reports(NULL, NULL);
        ok(rt_sum_is(r, 0), "are not believed");
        bk_reports_free(&r);
    }
}


/* More pools than there are rows: the rest counts in row 0. */

static void
test_rows(void)
{
    int                i, n;
    uint64_t           all = 0;
    bk_reports_t      *r;
    bk_reports_sum_t  *s;

    rt_clean();

    for (n = 0; n < 2; n++) {
        rt_make(0x7ffffff0u + (uint64_t) n, 1);

        for (i = 3; i < 200; i++) {
            rt_pools[i].used = 1;
            snprintf(rt_pools[i].name, sizeof(rt_pools[i].name),
                     "many/p%d-%d", n, i);
            rt_pools[i].accepted = 1;
        }

        rt_write();
    }

    r = rt_reports(NULL, NULL);
    s = bk_reports_sum(r);

    for (i = 0; i < BK_REPORT_POOLS; i++) {
        all += s->pools[i].accepted;
    }

    ok(s->npools == BK_REPORT_POOLS, "every row is in use");
    ok(all == 2 * (1 + 10 + 100 + 197), "no connection is missing");

    free(s);
    bk_reports_free(&r);
}


int
main(void)
{
    rt_begin();
    test_killed(0);
    test_killed(1);
    test_blocked();
    test_totals();
    test_rows();

    return rt_end();
}
