/*
 * What plugins may call, of the loop: timers and watched descriptors, the part
 * of bk_host_t that stands on libevent.  A callback that holds up the loop is
 * named in the log.
 */

#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>

#include "host.h"
#include "slow.h"


struct bk_timer_s {
    bk_plugin_inst_t  *owner;
    struct event      *event;
    bk_timer_pt        fire;
    void              *data;
};

struct bk_watch_s {
    bk_plugin_inst_t  *owner;
    struct event      *event;
    bk_watch_pt        ready;
    void              *data;
    int                fd;
};


static void
bk_timer_fired(evutil_socket_t fd, short what, void *data)
{
    uint64_t                 since = bk_host_monotonic_ms();
    bk_timer_t              *t = data;
    const bk_plugin_inst_t  *owner = t->owner;

    (void) fd;
    (void) what;

    /* it may free the timer */
    t->fire(t->data);
    bk_host_slow(owner->label, "timer", since);
}


bk_timer_t *
bk_host_timer_new(const bk_host_t *h, bk_timer_pt fire, void *data)
{
    bk_timer_t  *t;

    t = calloc(1, sizeof(bk_timer_t));
    if (t == NULL) {
        abort();
    }

    t->owner = bk_inst(h);
    t->fire = fire;
    t->data = data;
    t->event = evtimer_new(t->owner->core->base, bk_timer_fired, t);

    if (t->event == NULL) {
        abort();
    }

    return t;
}


void
bk_host_timer_set(bk_timer_t *t, uint64_t ms)
{
    struct timeval  tv;

    tv.tv_sec = (time_t) (ms / 1000);
    tv.tv_usec = (suseconds_t) (ms % 1000 * 1000);
    evtimer_add(t->event, &tv);
}


void
bk_host_timer_clear(bk_timer_t *t)
{
    evtimer_del(t->event);
}


void
bk_host_timer_free(bk_timer_t **tp)
{
    bk_timer_t  *t = *tp;

    if (t != NULL) {
        *tp = NULL;
        event_free(t->event);
        free(t);
    }
}


static void
bk_watch_ready(evutil_socket_t fd, short what, void *data)
{
    int                      events;
    uint64_t                 since = bk_host_monotonic_ms();
    bk_watch_t              *w = data;
    const bk_plugin_inst_t  *owner = w->owner;

    events = ((what & EV_READ) ? BK_READ : 0)
             | ((what & EV_WRITE) ? BK_WRITE : 0);

    /* it may free the watch */
    w->ready(fd, events, w->data);
    bk_host_slow(owner->label, "watch", since);
}


void
bk_host_watch_set(bk_watch_t *w, int events)
{
    short  what = EV_PERSIST;

    what |= (events & BK_READ) ? EV_READ : 0;
    what |= (events & BK_WRITE) ? EV_WRITE : 0;

    event_del(w->event);

    if (events != 0) {
        event_assign(w->event, w->owner->core->base, w->fd, what,
                     bk_watch_ready, w);
        event_add(w->event, NULL);
    }
}


bk_watch_t *
bk_host_watch_new(const bk_host_t *h, int fd, int events, bk_watch_pt ready,
    void *data)
{
    bk_watch_t  *w;

    w = calloc(1, sizeof(bk_watch_t));
    if (w == NULL) {
        abort();
    }

    w->owner = bk_inst(h);
    w->ready = ready;
    w->data = data;
    w->fd = fd;
    w->event = event_new(w->owner->core->base, fd, EV_READ | EV_PERSIST,
                         bk_watch_ready, w);
    if (w->event == NULL) {
        abort();
    }

    /* a plugin's file never leaks into what another plugin starts */
    (void) fcntl(fd, F_SETFD, FD_CLOEXEC);
    bk_host_watch_set(w, events);

    return w;
}


void
bk_host_watch_free(bk_watch_t **wp)
{
    bk_watch_t  *w = *wp;

    if (w != NULL) {
        *wp = NULL;
        event_free(w->event);
        free(w);
    }
}
