/*
 * How long a connection that has ended keeps a worker of the process plugin,
 * also when the clock is set meanwhile.  Prints TAP.
 */

#include <stdio.h>

#include "../../plugin-host/plugins/process/worker_timer.c"

/* the rest of the plugin, which is not called here */
#pragma weak bk_adopt_note
#pragma weak bk_keep_measure
#pragma weak bk_keep_needed
#pragma weak bk_keep_prune
#pragma weak bk_output_trim
#pragma weak bk_probe_free
#pragma weak bk_probe_start
#pragma weak bk_text_clean
#pragma weak bk_worker_failed
#pragma weak bk_worker_kill
#pragma weak bk_worker_program
#pragma weak bk_worker_put
#pragma weak bk_worker_retry
#pragma weak bk_worker_start
#pragma weak bk_worker_stop


static int       n, bad;
static uint64_t  now, last, delay;


bk_str_t
bk_str(const char *s)
{
    return (bk_str_t) { s, strlen(s) };
}


static uint64_t
now_ms(const bk_host_t *h)
{
    (void) h;

    return now;
}


static int
worker_find(const bk_host_t *h, bk_str_t pool, bk_str_t name,
    bk_worker_info_t *out)
{
    (void) h;
    (void) pool;
    (void) name;
    memset(out, 0, sizeof(*out));

    return 0;
}


static int
worker_use(const bk_host_t *h, bk_str_t pool, bk_str_t name,
    bk_worker_use_t *out, size_t size)
{
    (void) h;
    (void) pool;
    (void) name;
    memset(out, 0, size);
    out->last_used_ms = last;

    return 0;
}


static void
timer_set(bk_timer_t *t, uint64_t ms)
{
    (void) t;
    delay = ms;
}


static void
idles_after(uint64_t at, uint64_t used, uint64_t ms, const char *what)
{
    bk_host_t     h;
    bk_worker_t   w;
    bk_process_t  p;

    memset(&h, 0, sizeof(h));
    memset(&p, 0, sizeof(p));
    memset(&w, 0, sizeof(w));

    h.now_ms = now_ms;
    h.worker_find = worker_find;
    h.worker_use = worker_use;
    h.timer_set = timer_set;
    p.host = &h;
    p.idle_ms = 1000;
    p.linger_ms = 60000;
    w.p = &p;
    w.phase = BK_PHASE_UP;
    w.wanted = 1;

    now = at;
    last = used;
    delay = 0;
    bk_worker_used(&w);

    n++;
    bad += delay != ms;
    printf("%sok %d - %s\n", delay == ms ? "" : "not ", n, what);
}


int
main(void)
{
    idles_after(5000000, 0, 1000, "nobody ever came");
    idles_after(5000000, 5000000, 61000, "somebody has just left");
    idles_after(5000000, 4990000, 51000, "a while ago");
    idles_after(5000000, 4000000, 1000, "long ago");
    idles_after(5000000, 8600000, 61000, "the clock went back an hour");

    printf("1..%d\n", n);

    return bad != 0;
}
