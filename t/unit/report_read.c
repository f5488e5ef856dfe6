/*
 * Report files as they should not be: each is told from a good one, none is
 * believed, and the reader goes on.  And what is told about those that live.
 */

#include "report_test.h"


static int
count(const bk_session_info_t *s, void *data)
{
    (void) s;
    (*(int *) data)++;

    return 0;
}


static int
first(const bk_session_info_t *s, void *data)
{
    *(bk_session_info_t *) data = *s;

    return 1;
}


static int
sessions(bk_reports_t *r)
{
    int  n = 0;

    bk_reports_each(r, count, &n);

    return n;
}


/* The header of a file of this very process: it lives. */

static void
alive(uint64_t n)
{
    FILE                *f;
    char                 buf[1024], *p;
    int                  i;
    size_t               len;
    unsigned long long   ticks;

    rt_make((uint64_t) getpid(), n);

    f = fopen("/proc/self/stat", "re");
    len = fread(buf, 1, sizeof(buf) - 1, f);
    fclose(f);
    buf[len] = '\0';

    for (p = strrchr(buf, ')'), i = 3; i <= 22; i++) {
        p = strchr(p + 1, ' ');
    }

    sscanf(p, "%llu", &ticks);
    rt_head.start_ticks = ticks;
}


/* One change to a good file; 1: it was set aside, and nothing else happened */

static int
refused(void)
{
    int            bad;
    char           path[600], name[300];
    bk_reports_t  *r;

    rt_write();
    snprintf(name, sizeof(name), "%s%s",
             strrchr(rt_name(path), '/') + 1, BK_REPORT_BAD);

    r = rt_reports(NULL, NULL);
    bad = rt_exists(name) && access(path, F_OK) == -1 && rt_sum_is(r, 0)
          && sessions(r) == 0;
    bk_reports_free(&r);
    rt_clean();

    return bad;
}


#define spoil(what, text)                                                     \
    do {                                                                      \
        rt_clean();                                                           \
        alive(1);                                                             \
        rt_session(0, BK_PHASE_LIVE, BK_KIND_BUILD);                          \
        what;                                                                 \
        ok(refused(), text);                                                  \
    } while (0)


static void
test_bad(void)
{
    spoil(rt_head.magic[0] = 'X', "another magic");
    spoil(rt_head.endian = 0x04030201, "another byte order");
    spoil(rt_head.header_size++, "another header size");
    spoil(rt_head.pool_size = 0, "another row size");
    spoil(rt_head.session_size = 1, "another record size");
    spoil(rt_head.npools = 1u << 30, "too many rows");
    spoil(rt_head.nsessions = ~0u, "too many records");
    spoil(rt_head.nsessions = 9, "more records than there are");
    spoil(rt_head.nused = 9, "more records used than there are");
    spoil(rt_head.nused = ~UINT64_C(0), "very many used");
    spoil(rt_head.pools_offset = ~UINT64_C(0), "rows at another place");
    spoil(rt_head.sessions_offset = 8, "records at another place");
    spoil(rt_head.total_size++, "another size");
    spoil(memset(rt_head.boot, 'x', sizeof(rt_head.boot)),
          "a boot id without an end");
    spoil(rt_pools[1].used = 2, "a row that is used twice");
    spoil(memset(rt_pools[1].name, 'x', BK_REPORT_POOL_LEN),
          "a name without an end");
    spoil(strcpy(rt_pools[1].name, "a\"} 1\nb"), "a name that is a label");
    spoil(rt_pools[1].name[0] = '\0', "a row without a name");
    spoil(strcpy(rt_pools[0].name, "x/y"), "row 0 with a name");
}


/* These are left alone: nobody of ours would write them again. */

static void
test_left(void)
{
    int            fd;
    char           path[600], other[600];
    bk_reports_t  *r;

    rt_clean();
    alive(1);
    rt_head.magic[BK_REPORT_MAGIC_LEN - 1]++;
    rt_write();
    r = rt_reports(NULL, NULL);
    ok(access(rt_name(path), F_OK) == 0 && rt_sum_is(r, 0),
       "another version is left alone and not read");
    bk_reports_free(&r);

    rt_clean();
    alive(1);
    rt_write_to(rt_path(path, "nginx-1-2-3.report"));
    r = rt_reports(NULL, NULL);
    ok(rt_exists("nginx-1-2-3.report.bad") && rt_sum_is(r, 0),
       "a file under another's name");
    bk_reports_free(&r);

    rt_clean();
    alive(1);
    rt_write_to(rt_path(other, "elsewhere"));
    ok(symlink(other, rt_name(path)) == 0, "a link");
    r = rt_reports(NULL, NULL);
    ok(rt_sum_is(r, 0) && rt_exists("elsewhere"), "is not followed");
    bk_reports_free(&r);

    rt_clean();
    ok(mkfifo(rt_path(path, "nginx-1-1-1.report"), 0600) == 0
       && mkdir(rt_path(path, "nginx-2-1-1.report"), 0700) == 0
       && mkdir(rt_path(path, "nginx-2-1-2.report.bad"), 0700) == 0,
       "a FIFO and a folder");
    r = rt_reports(NULL, NULL);
    ok(rt_sum_is(r, 0), "are no files");
    bk_reports_free(&r);

    rt_clean();
    alive(1);
    rt_write();
    fd = open(rt_name(path), O_WRONLY);
    ok(ftruncate(fd, 600) == 0, "a file that is cut short");
    close(fd);
    r = rt_reports(NULL, NULL);
    ok(rt_sum_is(r, 0), "is not believed");
    bk_reports_free(&r);
}


static void
test_sessions(void)
{
    bk_reports_t        *r;
    bk_session_info_t    info;
    bk_report_session_t *s;

    rt_clean();
    alive(1);
    rt_session(0, BK_PHASE_FREE, 0);
    rt_session(1, BK_PHASE_LIVE, BK_KIND_BUILD)->seq = 3;
    rt_session(2, BK_PHASES, 0);
    rt_session(3, BK_PHASE_LIVE, BK_KINDS);
    rt_session(4, BK_PHASE_CUT, 0)->reason = BK_CUT;
    rt_session(5, BK_PHASE_LIVE, 0)->pool = BK_REPORT_POOLS;
    memset(rt_session(6, BK_PHASE_LIVE, 0)->client, 'x',
           BK_REPORT_CLIENT_LEN);
    s = rt_session(7, BK_PHASE_LIVE, BK_KIND_BUILD);
    s->bytes_up = 5;
    s->flags = BK_SESSION_EXPIRING;
    rt_write();

    r = rt_reports(NULL, NULL);
    ok(rt_sum_is(r, 1), "a file with strange records counts");
    ok(sessions(r) == 1, "of the records only the good one");
    bk_reports_each(r, first, &info);
    ok(info.bytes_up == 5 && info.expiring && info.phase == BK_PHASE_LIVE
       && info.kind == BK_KIND_BUILD && info.pool.len == 12
       && info.gateway == (uint64_t) getpid(),
       "and that one is as it was written");
    bk_reports_free(&r);
}


/* A file with a row and a record, and holes for the rest of what it claims. */

static void
sparse(uint64_t generation, uint32_t nsessions, uint64_t nused)
{
    int   fd;
    char  path[600];

    rt_head.generation = generation;
    rt_head.nsessions = nsessions;
    rt_head.nused = nused;
    rt_head.total_size = rt_head.sessions_offset
                         + nsessions * sizeof(bk_report_session_t);

    fd = open(rt_name(path), O_WRONLY | O_CREAT, 0640);

    if (fd == -1
        || write(fd, &rt_head, sizeof(rt_head)) != sizeof(rt_head)
        || write(fd, rt_pools, sizeof(rt_pools[0])) != sizeof(rt_pools[0])
        || pwrite(fd, rt_sessions, sizeof(rt_sessions[0]),
                  (off_t) rt_head.sessions_offset) != sizeof(rt_sessions[0])
        || ftruncate(fd, (off_t) rt_head.total_size) == -1
        || close(fd) == -1)
    {
        printf("Bail out! %s: %s\n", path, strerror(errno));
        exit(1);
    }
}


static uint64_t
room(bk_reports_t *r)
{
    uint64_t           n = 0;
    bk_report_file_t  *f;

    for (f = r->files; f != NULL; f = f->hh.next) {
        n += f->copy.room;
    }

    return n;
}


static uint64_t
accepted(bk_reports_t *r)
{
    uint64_t           n;
    bk_reports_sum_t  *s = bk_reports_sum(r);

    n = s->pools[0].accepted;
    free(s);

    return n;
}


static void
test_limits(void)
{
    uint64_t       i;
    bk_reports_t  *r;

    rt_clean();
    alive(1);
    rt_session(0, BK_PHASE_LIVE, BK_KIND_BUILD)->pool = 0;

    sparse(1, BK_REPORT_MAX_SESSIONS + 1, 1);
    r = rt_reports(NULL, NULL);
    ok(accepted(r) == 0 && r->bad == 1, "more records than one may have");
    bk_reports_free(&r);

    rt_clean();

    for (i = 1; i <= 6; i++) {
        sparse(i, 65536, 65536);
    }

    r = rt_reports(NULL, NULL);
    ok(sessions(r) == 4, "no more records are read than all may have");
    ok(accepted(r) == 6, "those that are not listed count");
    ok(r->limited && room(r) < 2 * BK_REPORTS_RECORDS, "memory has an end");

    for (i = 1; i <= 6; i++) {
        sparse(i, 65536, 1);
    }

    bk_reports_scan(r);
    ok(sessions(r) == 6 && !r->limited, "all are listed when there is room");
    ok(room(r) < 6 * 100, "which is given back");
    bk_reports_free(&r);

    rt_clean();

    for (i = 1; i <= BK_REPORTS_FILES + 2; i++) {
        sparse(i, 1, 1);
    }

    r = rt_reports(NULL, NULL);
    ok(sessions(r) == BK_REPORTS_FILES && r->limited, "files have an end");
    bk_reports_free(&r);
}


static int  told;

static void
use(bk_str_t pool, bk_str_t worker, void *data)
{
    (void) data;
    told += pool.len == 12 && worker.len == 2;
}


static void
test_use(void)
{
    bk_str_t          pool = BK_STR("default/demo"), w1 = BK_STR("w1");
    bk_reports_t     *r;
    bk_worker_use_t   u;

    rt_clean();
    alive(1);
    rt_session(0, BK_PHASE_LIVE, BK_KIND_LOOK);
    rt_session(1, BK_PHASE_HELD, BK_KIND_LOOK);
    rt_session(2, BK_PHASE_REFUSED, BK_KIND_BUILD);
    rt_session(3, BK_PHASE_CUT, BK_KIND_BUILD);
    rt_session(4, BK_PHASE_HELD, BK_KIND_BUILD)->worker[0] = '\0';
    rt_write();

    r = rt_reports(use, NULL);
    bk_reports_use(r, pool, w1, &u);
    ok(told == 0 && u.connections == 0 && u.last_used_ms == 0,
       "looks, refused, cut and queued ones are no use of a worker");

    rt_session(5, BK_PHASE_HELD, BK_KIND_OTHER);
    rt_session(6, BK_PHASE_CONNECTING, BK_KIND_OTHER);
    rt_session(7, BK_PHASE_LIVE, BK_KIND_BUILD);
    rt_write();
    bk_reports_scan(r);
    bk_reports_use(r, pool, w1, &u);
    ok(told == 1 && u.connections == 3 && u.builds == 1
       && u.last_used_ms != 0, "who waits, dials and is live is, told once");

    bk_reports_scan(r);
    ok(told == 1, "and not again");

    memset(rt_sessions, 0, sizeof(rt_sessions));
    rt_write();
    bk_reports_scan(r);
    bk_reports_use(r, pool, w1, &u);
    ok(told == 2 && u.connections == 0 && u.last_used_ms != 0,
       "its end is told, and when it was is known");

    bk_reports_free(&r);
}


/* nginx in another container: its pid says nothing. */

static void
test_heartbeat(void)
{
    int            i;
    char           path[600];
    bk_reports_t  *r;

    rt_clean();
    rt_make(0x7fffffff, 1);
    rt_head.pid_ns = 1;
    rt_write();

    r = rt_reports(NULL, NULL);

    for (i = 0; i < 50; i++) {
        rt_head.heartbeat_ms++;
        rt_write();
        bk_reports_scan(r);
    }

    ok(access(rt_name(path), F_OK) == 0, "its heart beats: it lives");

    for (i = 0; i < 29; i++) {
        bk_reports_scan(r);
    }

    ok(access(path, F_OK) == 0, "a pause is no death");
    bk_reports_scan(r);
    ok(access(path, F_OK) == -1 && rt_sum_is(r, 1), "a long one is");

    /* it had only been stopped, and begins another file */
    rt_make(0x7fffffff, 2);
    rt_head.pid_ns = 1;
    rt_head.generation = 2;
    rt_write();
    bk_reports_scan(r);
    ok(access(rt_name(path), F_OK) == 0 && rt_sum_is(r, 3),
       "and when it goes on, that counts as well");

    bk_reports_free(&r);

    /* of an earlier life of the machine */
    rt_clean();
    alive(1);
    rt_head.boot[0] ^= 1;
    rt_write();
    r = rt_reports(NULL, NULL);
    ok(access(rt_name(path), F_OK) == -1 && rt_sum_is(r, 1),
       "what is of another boot is gone, whatever its pid is now");
    bk_reports_free(&r);
}


int
main(void)
{
    rt_begin();
    test_bad();
    test_left();
    test_sessions();
    test_limits();
    test_use();
    test_heartbeat();

    return rt_end();
}
