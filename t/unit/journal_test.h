/*
 * For the tests of the allocator's journal: a host of timers, watches and
 * log on libevent, and a disk that fails or ends us at a chosen moment.  The
 * program's own pwrite64() and fdatasync() come before the C library's, also
 * for SQLite.
 */

#ifndef JOURNAL_TEST_H_INCLUDED
#define JOURNAL_TEST_H_INCLUDED

#include <dlfcn.h>
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../plugin-host/plugins/allocator/journal.h"
#include "journal_power.h"


typedef struct {
    struct event  *event;
    bk_timer_pt    fire;
    bk_watch_pt    ready;
    void          *data;
} thing_t;


static int                 checks, bad;
static struct event_base  *base;
static bk_host_t           host;
static char                logged[1024];
static char                dir[64];


/* The disk: what its next calls do. */
enum { DISK_GOOD, DISK_FULL, DISK_BROKEN };

static int  disk;               /* DISK_* */
static int  disk_calls;         /* since the count was begun */
static int  disk_die;           /* at this call, when it is not 0 */
static int  disk_how;           /* DISK_* */

/* before the call, in its middle; the power fails before it, and nothing or
   some of what was not synced is there */
enum { DISK_BEFORE, DISK_HALF, DISK_POWER, DISK_POWER_SOME };


__attribute__((visibility("default")))
ssize_t pwrite64(int fd, const void *buf, size_t n, off64_t offset);
__attribute__((visibility("default"))) int fdatasync(int fd);


static int
disk_is(void)
{
    return __atomic_load_n(&disk, __ATOMIC_RELAXED);
}


static void __attribute__((unused))
disk_set(int state)
{
    __atomic_store_n(&disk, state, __ATOMIC_RELAXED);
}


/* 1: now is the time */

static int
disk_turn(void)
{
    return __atomic_add_fetch(&disk_calls, 1, __ATOMIC_RELAXED) == disk_die;
}


static power_pwrite_pt
disk_write(void)
{
    static power_pwrite_pt  real;

    if (real == NULL) {
        real = (power_pwrite_pt) dlsym(RTLD_NEXT, "pwrite64");
    }

    return real;
}


ssize_t
pwrite64(int fd, const void *buf, size_t n, off64_t offset)
{
    power_pwrite_pt  real = disk_write();

    if (disk_is() == DISK_FULL) {
        errno = ENOSPC;
        return -1;
    }

    if (disk_turn()) {
        if (disk_how >= DISK_POWER) {
            power_cut(real, disk_how == DISK_POWER_SOME);
        }

        if (disk_how == DISK_HALF && real(fd, buf, n / 2, offset) == -1) {
            abort();
        }

        (void) raise(SIGKILL);
    }

    if (disk_how >= DISK_POWER) {
        power_wrote(fd, buf, n, offset);
    }

    return real(fd, buf, n, offset);
}


int
fdatasync(int fd)
{
    static int (*real)(int);

    if (real == NULL) {
        real = (int (*)(int)) dlsym(RTLD_NEXT, "fdatasync");
    }

    if (disk_is() == DISK_BROKEN) {
        errno = EIO;
        return -1;
    }

    if (disk_turn()) {
        if (disk_how >= DISK_POWER) {
            power_cut(disk_write(), disk_how == DISK_POWER_SOME);
        }

        if (disk_how == DISK_HALF) {
            (void) real(fd);
        }

        (void) raise(SIGKILL);
    }

    if (disk_how >= DISK_POWER) {
        power_synced(fd);
    }

    /* what is written outlives us all the same, and time is short */
    return 0;
}


static void __attribute__((unused))
ok(int good, const char *what)
{
    checks++;
    bad += !good;
    printf("%sok %d - %s\n", good ? "" : "not ", checks, what);
}


static void __attribute__((format(printf, 3, 4)))
host_log(const bk_host_t *h, int level, const char *fmt, ...)
{
    va_list  args;

    (void) h;
    (void) level;

    va_start(args, fmt);
    (void) vsnprintf(logged, sizeof(logged), fmt, args);
    va_end(args);
}


static uint64_t
host_now(const bk_host_t *h)
{
    struct timespec  now;

    (void) h;
    (void) clock_gettime(CLOCK_REALTIME, &now);

    return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}


static void
host_fired(evutil_socket_t fd, short what, void *data)
{
    thing_t *t = data;

    (void) what;

    if (t->fire != NULL) {
        t->fire(t->data);

    } else {
        t->ready((int) fd, BK_READ, t->data);
    }
}


static bk_timer_t *
host_timer_new(const bk_host_t *h, bk_timer_pt fire, void *data)
{
    thing_t  *t = calloc(1, sizeof(thing_t));

    (void) h;
    t->fire = fire;
    t->data = data;
    t->event = event_new(base, -1, 0, host_fired, t);

    return (bk_timer_t *) t;
}


static void
host_timer_set(bk_timer_t *timer, uint64_t ms)
{
    struct timeval  tv = { (time_t) (ms / 1000), (long) (ms % 1000) * 1000 };

    (void) event_add(((thing_t *) timer)->event, &tv);
}


static void
host_timer_free(bk_timer_t **timer)
{
    event_free(((thing_t *) *timer)->event);
    free(*timer);
    *timer = NULL;
}


static bk_watch_t *
host_watch_new(const bk_host_t *h, int fd, int events, bk_watch_pt ready,
    void *data)
{
    thing_t  *t = calloc(1, sizeof(thing_t));

    (void) h;
    (void) events;
    t->ready = ready;
    t->data = data;
    t->event = event_new(base, fd, EV_READ|EV_PERSIST, host_fired, t);
    (void) event_add(t->event, NULL);

    return (bk_watch_t *) t;
}


static void
host_watch_free(bk_watch_t **w)
{
    host_timer_free((bk_timer_t **) w);
}


static void
host_start(void)
{
    base = event_base_new();

    host = (bk_host_t) {
        .abi_major = BK_ABI_MAJOR, .abi_minor = BK_ABI_MINOR,
        .struct_size = sizeof(bk_host_t),
        .log = host_log, .now_ms = host_now, .monotonic_ms = host_now,
        .timer_new = host_timer_new, .timer_set = host_timer_set,
        .timer_free = host_timer_free, .watch_new = host_watch_new,
        .watch_free = host_watch_free
    };
}


static void
host_end(void)
{
    event_base_free(base);
}


/* The loop runs until *flag is n, for at most a minute. */

static int __attribute__((unused))
until(const int *flag, int n)
{
    time_t  end = time(NULL) + 60;

    while (*flag != n && time(NULL) < end) {
        (void) event_base_loop(base, EVLOOP_ONCE);
    }

    return *flag == n;
}


static void
folder(void)
{
    const char  *tmp = getenv("TMPDIR");

    (void) snprintf(dir, sizeof(dir), "%s/bk-journal-XXXXXX",
                    tmp != NULL ? tmp : "/tmp");

    if (mkdtemp(dir) == NULL) {
        perror("mkdtemp");
        exit(1);
    }
}


static void
folder_remove(void)
{
    char  command[96];

    (void) snprintf(command, sizeof(command), "rm -rf %s", dir);

    if (system(command) != 0) {
        perror("rm");
    }
}


static bk_journal_t *
opened(void)
{
    bk_err_t       err;
    bk_journal_t  *j;

    if (bk_journal_open(&j, &host, dir, &err) != 0) {
        printf("# %s\n", err.text);
        return NULL;
    }

    return j;
}


/* The n-th allocation. */

static __attribute__((unused)) const bk_row_t *
row(unsigned n)
{
    static bk_row_t  r;

    memset(&r, 0, sizeof(r));
    memset(r.hash, 0xb0, sizeof(r.hash));
    memcpy(r.hash, &n, sizeof(n));
    memset(r.spki, 'k', 91);
    r.spki_len = 91;
    memset(r.nonce, (int) (n & 255), sizeof(r.nonce));
    (void) snprintf(r.pool, sizeof(r.pool), "default/demo");
    (void) snprintf(r.worker, sizeof(r.worker), "w%u", n);
    (void) snprintf(r.owner, sizeof(r.owner), "github:octo");
    (void) snprintf(r.rule, sizeof(r.rule), "main");
    r.created_ms = 1000000 + n;
    r.expires_ms = 2000000 + n;
    r.changed_ms = r.created_ms;
    r.ttl_ms = 1000000;
    r.state = BK_ALLOC_READY;
    r.answered = 1;

    return &r;
}

#endif /* JOURNAL_TEST_H_INCLUDED */
