/*
 * What the report's unit tests share: TAP, a folder, files as a gateway
 * writes them, made from numbers.
 */

#ifndef REPORT_TEST_H_INCLUDED
#define REPORT_TEST_H_INCLUDED

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "report_int.h"


static int                    rt_n, rt_bad;
static char                   rt_dir[256];
static struct event_base     *rt_base;

/* a file in the making */
static bk_report_header_t     rt_head;
static bk_report_pool_t       rt_pools[BK_REPORT_POOLS];
static bk_report_session_t    rt_sessions[8];


static inline int __attribute__((format(printf, 2, 3)))
ok(int good, const char *fmt, ...)
{
    va_list  args;

    rt_n++;
    rt_bad += !good;

    printf("%sok %d - ", good ? "" : "not ", rt_n);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");
    fflush(stdout);

    return good;
}


static inline void
rt_begin(void)
{
    const char  *tmp = getenv("TMPDIR");

    snprintf(rt_dir, sizeof(rt_dir), "%s/bk-report-XXXXXX",
             tmp ? tmp : "/tmp");

    if (mkdtemp(rt_dir) == NULL) {
        printf("Bail out! mkdtemp: %s\n", strerror(errno));
        exit(1);
    }

    bk_log_set(0, BK_LOG_TEXT);
    rt_base = event_base_new();
}


static inline void
rt_clean(void)
{
    char  cmd[600];

    snprintf(cmd, sizeof(cmd), "find '%s' -mindepth 1 -delete", rt_dir);

    if (system(cmd) != 0) {
        printf("Bail out! %s\n", cmd);
        exit(1);
    }
}


static inline int
rt_end(void)
{
    rt_clean();
    rmdir(rt_dir);
    event_base_free(rt_base);
    libevent_global_shutdown();
    printf("1..%d\n", rt_n);

    return rt_bad != 0;
}


static inline bk_reports_t *
rt_reports(bk_reports_use_pt use, void *data)
{
    bk_reports_conf_t  conf = { rt_dir, NULL, use, data };

    return bk_reports_new(rt_base, &conf);
}


/* of a process that has been gone for long; n makes its counters */
static inline void
rt_make(uint64_t pid, uint64_t n)
{
    bk_reports_t  here;

    memset(&here, 0, sizeof(here));
    bk_report_here(&here);

    memset(&rt_head, 0, sizeof(rt_head));
    memset(rt_pools, 0, sizeof(rt_pools));
    memset(rt_sessions, 0, sizeof(rt_sessions));

    memcpy(rt_head.magic, BK_REPORT_MAGIC, BK_REPORT_MAGIC_LEN);
    memcpy(rt_head.boot, here.boot, sizeof(here.boot));
    rt_head.header_size = sizeof(rt_head);
    rt_head.endian = BK_REPORT_ENDIAN;
    rt_head.total_size = sizeof(rt_head) + sizeof(rt_pools)
                         + sizeof(rt_sessions);
    rt_head.pool_size = sizeof(bk_report_pool_t);
    rt_head.session_size = sizeof(bk_report_session_t);
    rt_head.npools = BK_REPORT_POOLS;
    rt_head.nsessions = 8;
    rt_head.pools_offset = sizeof(rt_head);
    rt_head.sessions_offset = sizeof(rt_head) + sizeof(rt_pools);
    rt_head.pid = pid;
    rt_head.start_ticks = 1;
    rt_head.pid_ns = here.pid_ns;
    rt_head.generation = 1;
    rt_head.heartbeat_ms = 1;
    rt_head.handshake[BK_HANDSHAKE_TLS] = n;
    rt_head.dead_clients = n;
    rt_head.lost = n;

    rt_pools[0].used = 1;
    rt_pools[0].accepted = n;
    rt_pools[1].used = 1;
    strcpy(rt_pools[1].name, "default/demo");
    rt_pools[1].accepted = 10 * n;
    rt_pools[1].refused[BK_REFUSED_KEY] = n;
    rt_pools[1].cut[BK_CUT_MOVED] = n;
    rt_pools[1].connect.sum_ms = n;
    rt_pools[2].used = 1;
    snprintf(rt_pools[2].name, sizeof(rt_pools[2].name), "own/p%d",
             (int) pid);
    rt_pools[2].accepted = 100 * n;
}


/* a session of it: at i, of pool 1 */
static inline bk_report_session_t *
rt_session(int i, int phase, int kind)
{
    bk_report_session_t  *s = &rt_sessions[i];

    if (rt_head.nused <= (uint64_t) i) {
        rt_head.nused = (uint64_t) i + 1;
    }

    s->seq = 2;
    s->pool = 1;
    s->phase = (uint8_t) phase;
    s->kind = (uint8_t) kind;
    strcpy(s->allocation, "0123456789ab");
    strcpy(s->client, "192.0.2.1:4711");
    strcpy(s->worker, "w1");

    return s;
}


static inline char *
rt_path(char *path, const char *name)
{
    sprintf(path, "%s/%s", rt_dir, name);

    return path;
}


static inline char *
rt_name(char *path)
{
    char  name[200];

    snprintf(name, sizeof(name),
             BK_REPORT_PREFIX "%llu-%llu-%llu" BK_REPORT_SUFFIX,
             (unsigned long long) rt_head.pid,
             (unsigned long long) rt_head.start_ticks,
             (unsigned long long) rt_head.generation);

    return rt_path(path, name);
}


static inline void
rt_write_to(const char *path)
{
    int  fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640);

    if (fd == -1
        || write(fd, &rt_head, sizeof(rt_head)) != sizeof(rt_head)
        || write(fd, rt_pools, sizeof(rt_pools)) != sizeof(rt_pools)
        || write(fd, rt_sessions, sizeof(rt_sessions))
           != sizeof(rt_sessions)
        || close(fd) == -1)
    {
        printf("Bail out! %s: %s\n", path, strerror(errno));
        exit(1);
    }
}


static inline void
rt_write(void)
{
    char  path[600];

    rt_write_to(rt_name(path));
}


static inline int
rt_exists(const char *name)
{
    char  path[600];

    return access(rt_path(path, name), F_OK) == 0;
}


/* 1: what is served is n times what rt_make() gives for 1 */
static inline int
rt_sum_is(bk_reports_t *r, uint64_t n)
{
    int                good;
    unsigned           i;
    uint64_t           own = 0;
    bk_reports_sum_t  *s = bk_reports_sum(r);

    for (i = 2; i < s->npools; i++) {
        own += s->pools[i].accepted;
    }

    good = s->handshake[BK_HANDSHAKE_TLS] == n && s->dead_clients == n
           && s->lost == n && s->pools[0].accepted == n
           && (n == 0
               || (strcmp(s->pools[1].name, "default/demo") == 0
                   && s->pools[1].accepted == 10 * n
                   && s->pools[1].refused[BK_REFUSED_KEY] == n
                   && s->pools[1].cut[BK_CUT_MOVED] == n
                   && s->pools[1].connect.sum_ms == n))
           && own == 100 * n;

    if (!good) {
        printf("# %llu is not %llu\n",
               (unsigned long long) s->pools[0].accepted,
               (unsigned long long) n);
    }

    free(s);

    return good;
}

#endif /* REPORT_TEST_H_INCLUDED */
