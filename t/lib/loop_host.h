/*
 * The least of a host for code of plugins that runs on a loop: clocks, timers,
 * watches and a log on stderr; all else is NULL.  For one program, so there is
 * one of it.  loop_host_new() makes it, loop_base is libevent's.
 */

#ifndef LOOP_HOST_H_INCLUDED
#define LOOP_HOST_H_INCLUDED

#include <event2/event.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bk_plugin.h"


struct bk_timer_s {
    struct event  *event;
    bk_timer_pt    fire;
    void          *data;
};

struct bk_watch_s {
    struct event  *event;
    bk_watch_pt    ready;
    void          *data;
    int            fd;
};


static struct event_base  *loop_base;
static bk_host_t           loop_host;


static void __attribute__((format(printf, 3, 4)))
loop_log(const bk_host_t *h, int level, const char *fmt, ...)
{
    va_list  args;

    (void) h;

    fprintf(stderr, "%d: ", level);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fprintf(stderr, "\n");
}


static uint64_t
loop_clock(clockid_t id)
{
    struct timespec  ts;

    clock_gettime(id, &ts);

    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}


static uint64_t
loop_now(const bk_host_t *h)
{
    (void) h;

    return loop_clock(CLOCK_REALTIME);
}


static uint64_t
loop_monotonic(const bk_host_t *h)
{
    (void) h;

    return loop_clock(CLOCK_MONOTONIC);
}


static void
loop_fired(evutil_socket_t fd, short what, void *data)
{
    bk_timer_t  *t = data;

    (void) fd;
    (void) what;

    t->fire(t->data);
}


static bk_timer_t *
loop_timer_new(const bk_host_t *h, bk_timer_pt fire, void *data)
{
    bk_timer_t  *t = calloc(1, sizeof(bk_timer_t));

    (void) h;

    t->event = evtimer_new(loop_base, loop_fired, t);
    t->fire = fire;
    t->data = data;

    return t;
}


static void
loop_timer_set(bk_timer_t *t, uint64_t ms)
{
    struct timeval  tv = { (time_t) (ms / 1000), (long) (ms % 1000 * 1000) };

    evtimer_add(t->event, &tv);
}


static void
loop_timer_clear(bk_timer_t *t)
{
    evtimer_del(t->event);
}


static void
loop_timer_free(bk_timer_t **t)
{
    if (*t != NULL) {
        event_free((*t)->event);
        free(*t);
        *t = NULL;
    }
}


static void
loop_ready(evutil_socket_t fd, short what, void *data)
{
    bk_watch_t  *w = data;

    w->ready(fd, ((what & EV_READ) ? BK_READ : 0)
                 | ((what & EV_WRITE) ? BK_WRITE : 0), w->data);
}


static void
loop_watch_set(bk_watch_t *w, int events)
{
    event_del(w->event);

    if (events != 0) {
        event_assign(w->event, loop_base, w->fd, (short)
                     (EV_PERSIST | ((events & BK_READ) ? EV_READ : 0)
                      | ((events & BK_WRITE) ? EV_WRITE : 0)),
                     loop_ready, w);
        event_add(w->event, NULL);
    }
}


static bk_watch_t *
loop_watch_new(const bk_host_t *h, int fd, int events, bk_watch_pt ready,
    void *data)
{
    bk_watch_t  *w = calloc(1, sizeof(bk_watch_t));

    (void) h;

    w->event = event_new(loop_base, fd, EV_READ | EV_PERSIST, loop_ready, w);
    w->ready = ready;
    w->data = data;
    w->fd = fd;
    loop_watch_set(w, events);

    return w;
}


static void
loop_watch_free(bk_watch_t **w)
{
    if (*w != NULL) {
        event_free((*w)->event);
        free(*w);
        *w = NULL;
    }
}


static const bk_host_t *
loop_host_new(void)
{
    loop_base = event_base_new();

    loop_host.abi_major = BK_ABI_MAJOR;
    loop_host.abi_minor = BK_ABI_MINOR;
    loop_host.struct_size = sizeof(bk_host_t);
    loop_host.log = loop_log;
    loop_host.now_ms = loop_now;
    loop_host.monotonic_ms = loop_monotonic;
    loop_host.timer_new = loop_timer_new;
    loop_host.timer_set = loop_timer_set;
    loop_host.timer_clear = loop_timer_clear;
    loop_host.timer_free = loop_timer_free;
    loop_host.watch_new = loop_watch_new;
    loop_host.watch_set = loop_watch_set;
    loop_host.watch_free = loop_watch_free;

    return &loop_host;
}

#endif /* LOOP_HOST_H_INCLUDED */
