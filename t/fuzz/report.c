/*
 * FUZZ_SOURCES: plugin-host/src/report.c plugin-host/src/report_alive.c
 *     plugin-host/src/report_file.c plugin-host/src/report_fold.c
 *     plugin-host/src/report_serve.c plugin-host/src/report_use.c
 *     plugin-host/src/err.c
 * FUZZ_LIBS: -levent_core
 */

/*
 * A report file, whatever it holds: it is taken or refused with a reason, and
 * of what was taken every string ends, every index leads somewhere, and all
 * of it can be summed up, listed and folded.
 *
 * The first bytes say what to do to a good file; the rest lies over it.
 */

#include <assert.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log.h"
#include "model.h"
#include "report_int.h"
#include "slow.h"


#define ROWS      (sizeof(bk_report_header_t)                                 \
                   + BK_REPORT_POOLS * sizeof(bk_report_pool_t))
#define SESSIONS  4
#define SIZE      (ROWS + SESSIONS * sizeof(bk_report_session_t))


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_good(uint8_t *file);
static void fuzz_check(const bk_report_copy_t *copy);
static void fuzz_folder(const uint8_t *file, size_t size);
static int fuzz_session(const bk_session_info_t *s, void *data);


/* what the reader is otherwise linked with */

void
bk_log(int level, const char *who, const char *fmt, ...)
{
    (void) level;
    (void) who;
    (void) fmt;
}


uint64_t
bk_model_now_ms(void)
{
    return 1;
}


uint64_t
bk_host_monotonic_ms(void)
{
    static uint64_t  now;

    return now += 1000;
}


void
bk_host_slow(const char *who, const char *what, uint64_t since_ms)
{
    (void) who;
    (void) what;
    (void) since_ms;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int               fd;
    size_t            at, len, length = SIZE;
    bk_err_t          err;
    static uint8_t    file[SIZE];
    bk_report_copy_t  copy;

    fuzz_good(file);

    /* pieces: where (3 bytes), how long, what */
    while (size >= 4) {
        at = ((size_t) data[0] << 16 | (size_t) data[1] << 8 | data[2])
             % SIZE;
        len = data[3];
        data += 4;
        size -= 4;

        if (len == 255) {
            length = at;
            continue;
        }

        len = len < size ? len : size;
        len = len < SIZE - at ? len : SIZE - at;
        memcpy(file + at, data, len);
        data += len;
        size -= len;
    }

    fd = memfd_create("report", MFD_CLOEXEC);
    assert(fd != -1 && write(fd, file, length) == (ssize_t) length);

    memset(&copy, 0, sizeof(copy));
    memset(&err, 0, sizeof(err));

    if (bk_report_read_fd(fd, &copy, &err) == 0) {
        fuzz_check(&copy);

    } else {
        assert(err.text[0] != '\0' && copy.nsessions == 0);
    }

    close(fd);
    bk_report_copy_free(&copy);

    fuzz_folder(file, length);

    return 0;
}


static void
fuzz_good(uint8_t *file)
{
    unsigned              i;
    bk_report_pool_t     *p;
    bk_report_header_t   *h = (bk_report_header_t *) file;
    bk_report_session_t  *s;

    memset(file, 0, SIZE);
    memcpy(h->magic, BK_REPORT_MAGIC, BK_REPORT_MAGIC_LEN);
    h->header_size = sizeof(*h);
    h->endian = BK_REPORT_ENDIAN;
    h->total_size = SIZE;
    h->pool_size = sizeof(bk_report_pool_t);
    h->session_size = sizeof(bk_report_session_t);
    h->npools = BK_REPORT_POOLS;
    h->nsessions = SESSIONS;
    h->nused = SESSIONS;
    h->pools_offset = sizeof(*h);
    h->sessions_offset = ROWS;
    h->pid = 1;
    h->start_ticks = 2;
    h->generation = 3;

    p = (bk_report_pool_t *) (file + sizeof(*h));
    p[0].used = 1;
    p[1].used = 1;
    strcpy(p[1].name, "a/b");

    s = (bk_report_session_t *) (file + ROWS);

    for (i = 0; i < SESSIONS; i++) {
        s[i].pool = i % 2;
        s[i].phase = (uint8_t) (i + 1);
        s[i].kind = (uint8_t) i;
        strcpy(s[i].worker, "w");
    }
}


static void
fuzz_check(const bk_report_copy_t *copy)
{
    unsigned                    i;
    const bk_report_session_t  *s;

    assert(copy->nsessions <= SESSIONS);

    for (i = 0; i < BK_REPORT_POOLS; i++) {
        assert(strnlen(copy->pools[i].name, BK_REPORT_POOL_LEN)
               < BK_REPORT_POOL_LEN);
        assert(strpbrk(copy->pools[i].name, "\"\\\n") == NULL);
    }

    for (i = 0; i < copy->nsessions; i++) {
        s = &copy->sessions[i];

        assert(s->pool < BK_REPORT_POOLS);
        assert(s->phase > 0 && s->phase < BK_PHASES && s->kind < BK_KINDS);
        assert(strlen(s->allocation) < BK_REPORT_ID_LEN);
        assert(strlen(s->client) < BK_REPORT_CLIENT_LEN);
        assert(strlen(s->worker) < BK_REPORT_NAME_LEN);
    }
}


/* The same as a folder holds it; its process has never been. */

static void
fuzz_folder(const uint8_t *file, size_t size)
{
    int                         fd, n = 0;
    char                        dir[] = "/dev/shm/bk-fuzz-report-XXXXXX";
    char                        path[200];
    bk_reports_t               *r;
    struct event_base          *base;
    bk_reports_conf_t           conf = { dir, NULL, NULL, NULL };
    bk_reports_sum_t           *sum;
    static const char *const    names[] = {
        "nginx-1-2-3.report", "nginx-1-2-3.report.bad", "totals.report",
        "totals.report.bad", "lock"
    };
    size_t                      i;

    assert(mkdtemp(dir) != NULL);

    /* as a process's, or as the totals */
    snprintf(path, sizeof(path), "%s/%s", dir,
             names[size > 200 && file[200] ? 2 : 0]);
    fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert(fd != -1 && write(fd, file, size) == (ssize_t) size);
    close(fd);

    base = event_base_new();
    r = bk_reports_new(base, &conf);
    bk_reports_each(r, fuzz_session, &n);
    bk_reports_scan(r);
    sum = bk_reports_sum(r);
    assert(sum->npools >= 1 && sum->npools <= BK_REPORT_POOLS);
    free(sum);
    bk_reports_free(&r);
    event_base_free(base);

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        unlink(path);
    }

    assert(rmdir(dir) == 0);
}


static int
fuzz_session(const bk_session_info_t *s, void *data)
{
    (*(int *) data)++;

    return s->client.len > 1000;
}
