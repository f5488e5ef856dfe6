/*
 * A process that changes its records as the module does, and a reader that
 * looks at them all the time: what the reader takes is never half of one and
 * half of another, and counters never go back.
 */

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "report_test.h"


#define SECONDS  3
#define PATIENCE 60     /* until both have had a processor, and met */


/* as ngx_stream_buildkit_report.c does it */

static void
change(bk_report_session_t *s, unsigned n)
{
    __atomic_store_n(&s->seq, s->seq | 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);

    s->phase = n % 2 ? BK_PHASE_LIVE : BK_PHASE_HELD;
    s->start_ms = n;
    s->phase_ms = n;
    s->expires_ms = n;
    snprintf(s->allocation, BK_REPORT_ID_LEN, "%012u", n);
    snprintf(s->client, BK_REPORT_CLIENT_LEN, "%060u", n);
    snprintf(s->worker, BK_REPORT_NAME_LEN, "%0250u", n);

    __atomic_store_n(&s->seq, (s->seq | 1) + 1, __ATOMIC_RELEASE);
}


static void
writer(const char *path)
{
    int                   fd;
    unsigned              n;
    uint8_t              *base;
    bk_report_pool_t     *pool;
    bk_report_session_t  *s;

    fd = open(path, O_RDWR);
    base = mmap(NULL, rt_head.total_size, PROT_READ | PROT_WRITE, MAP_SHARED,
                fd, 0);
    pool = (bk_report_pool_t *) (base + rt_head.pools_offset);
    s = (bk_report_session_t *) (base + rt_head.sessions_offset);

    for (n = 0; /* void */ ; n++) {
        change(&s[n % 8], n);
        __atomic_store_n(&pool[1].accepted, pool[1].accepted + 1,
                         __ATOMIC_RELAXED);
    }
}


static int
whole(const bk_report_session_t *s)
{
    unsigned  n = (unsigned) s->start_ms;

    return s->phase_ms == n && s->expires_ms == n
           && strtoul(s->allocation, NULL, 10) == n
           && strtoul(s->client, NULL, 10) == n
           && strtoul(s->worker, NULL, 10) == n
           && s->phase == (n % 2 ? BK_PHASE_LIVE : BK_PHASE_HELD);
}


int
main(void)
{
    int               dir;
    char              path[600];
    time_t            end, last_end;
    pid_t             pid;
    uint64_t          last = 0;
    unsigned          i, looks = 0, taken = 0, missed = 0, torn = 0, back = 0;
    bk_report_copy_t  copy;

    rt_begin();
    rt_make(1, 1);

    for (i = 0; i < 8; i++) {
        rt_session((int) i, BK_PHASE_HELD, BK_KIND_OTHER);
        change(&rt_sessions[i], 0);
    }

    rt_write();
    rt_name(path);
    fflush(stdout);
    pid = fork();

    if (pid == 0) {
        writer(path);
    }

    dir = open(rt_dir, O_RDONLY | O_DIRECTORY);
    memset(&copy, 0, sizeof(copy));
    end = time(NULL) + SECONDS;
    last_end = end - SECONDS + PATIENCE;

    while (time(NULL) < end
           || ((looks <= 100 || taken <= 100 || missed == 0)
               && time(NULL) < last_end))
    {
        if (bk_report_read(dir, strrchr(path, '/') + 1, &copy, NULL) != 0) {
            printf("Bail out! it cannot be read\n");
            break;
        }

        looks++;
        missed += 8 - copy.nsessions;
        back += copy.pools[1].accepted < last;
        last = copy.pools[1].accepted;

        for (i = 0; i < copy.nsessions; i++) {
            taken++;
            torn += !whole(&copy.sessions[i]);
        }
    }

    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(dir);
    bk_report_copy_free(&copy);

    printf("# %u looks, %u records taken, %u left out\n", looks, taken,
           missed);
    ok(looks > 100 && taken > 100, "the reader had something to read");
    ok(missed > 0, "and some that were just being changed");
    ok(torn == 0, "no record is half of one and half of another");
    ok(back == 0, "no counter goes back");

    return rt_end();
}
