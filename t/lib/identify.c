/*
 * A host for plugins that know identities, and nothing else: loads one, asks
 * it whose a token is, says what it answered.  Commands by lines on stdin:
 *
 *     identify PLUGIN.so [OPTION=VALUE]...
 *
 *     ask ID TOKEN      one line, now or later (see below)
 *     clock MS          both clocks and all timers, this much ahead from now on
 *     clock stop        from now on the monotonic one goes only by that; "clock
 *                       go" ends it.  Timers fire when their time is over
 *     clock still       and the one of the day, by which tokens expire, as well
 *     ping              "pong", by way of the loop
 *     stats             "stats NAME{LABELS}=VALUE ..."
 *     quit              or the end of the input
 *
 * "ready" when it has started, or the error and exit status 1.  Answers:
 *
 *     ID ok NAME SOURCE UNTIL_MS CLAIMS
 *     ID CODE REASON TEXT (HINT)
 *     ID none           it is not of this plugin
 *
 * Its log is stderr.
 */

#include <dlfcn.h>
#include <event2/event.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bk_plugin.h"


struct bk_timer_s {
    struct event  *event;
    bk_timer_pt    fire;
    void          *data;
    uint64_t       due_ms;          /* of the clock that goes ahead */
    bk_timer_t    *next, **at;
};

struct bk_watch_s {
    struct event  *event;
    bk_watch_pt    ready;
    void          *data;
    int            fd;
};

struct bk_query_s {
    char  id[32];
};


static const bk_plugin_t  *plugin;
static void               *ctx;
static struct event_base  *base;
static struct event       *input;
static bk_host_t           host;
static uint64_t            ahead_ms;
static uint64_t            still_ms;        /* monotonic; 0 when it goes */
static uint64_t            still_day_ms;
static bk_timer_t         *timers;
static int                 stopped;
static char               *line;
static size_t              line_len;


static void
fail(const char *what, const bk_err_t *err)
{
    printf("%s: %s%s%s%s\n", what, err->text, err->hint[0] ? " (" : "",
           err->hint, err->hint[0] ? ")" : "");
    exit(1);
}


static void __attribute__((format(printf, 3, 4)))
host_log(const bk_host_t *h, int level, const char *fmt, ...)
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
clock_real(clockid_t id)
{
    struct timespec  ts;

    clock_gettime(id, &ts);

    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}


static uint64_t
clock_ms(clockid_t id)
{
    uint64_t  still = id == CLOCK_MONOTONIC ? still_ms : still_day_ms;

    return (still != 0 ? still : clock_real(id)) + ahead_ms;
}


static uint64_t
host_now(const bk_host_t *h)
{
    (void) h;

    return clock_ms(CLOCK_REALTIME);
}


static uint64_t
host_monotonic(const bk_host_t *h)
{
    (void) h;

    return clock_ms(CLOCK_MONOTONIC);
}


/* What the host warns of: a callback that keeps all others waiting. */

static void
slow(const char *what, const struct timespec *since)
{
    double           ms;
    struct timespec  ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    ms = (double) (ts.tv_sec - since->tv_sec) * 1e3
         + (double) (ts.tv_nsec - since->tv_nsec) / 1e6;

    if (ms > 50) {
        fprintf(stderr, "slow: %s took %.0f ms of CPU\n", what, ms);
    }
}


static void
timer_fired(evutil_socket_t fd, short what, void *data)
{
    bk_timer_t       *t = data;
    struct timespec   since;

    (void) fd;
    (void) what;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &since);
    t->fire(t->data);
    slow("a timer", &since);
}


static bk_timer_t *
host_timer_new(const bk_host_t *h, bk_timer_pt fire, void *data)
{
    bk_timer_t  *t = calloc(1, sizeof(bk_timer_t));

    (void) h;

    t->event = evtimer_new(base, timer_fired, t);
    t->fire = fire;
    t->data = data;
    t->next = timers;
    t->at = &timers;
    timers = t;

    if (t->next != NULL) {
        t->next->at = &t->next;
    }

    return t;
}


static void
host_timer_set(bk_timer_t *t, uint64_t ms)
{
    struct timeval  tv = { (time_t) (ms / 1000), (long) (ms % 1000 * 1000) };

    t->due_ms = clock_ms(CLOCK_MONOTONIC) + ms;
    evtimer_add(t->event, &tv);
}


static void
host_timer_clear(bk_timer_t *t)
{
    evtimer_del(t->event);
}


static void
host_timer_free(bk_timer_t **t)
{
    if (*t != NULL) {
        *(*t)->at = (*t)->next;

        if ((*t)->next != NULL) {
            (*t)->next->at = (*t)->at;
        }

        event_free((*t)->event);
        free(*t);
        *t = NULL;
    }
}


/* Timers go ahead with the clock. */

static void
go_ahead(uint64_t ms)
{
    uint64_t     now;
    bk_timer_t  *t;

    ahead_ms += ms;
    now = clock_ms(CLOCK_MONOTONIC);

    for (t = timers; t != NULL; t = t->next) {
        if (evtimer_pending(t->event, NULL)) {
            host_timer_set(t, t->due_ms > now ? t->due_ms - now : 0);
        }
    }
}


static void
watch_ready(evutil_socket_t fd, short what, void *data)
{
    bk_watch_t       *w = data;
    struct timespec   since;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &since);
    w->ready(fd, ((what & EV_READ) ? BK_READ : 0)
                 | ((what & EV_WRITE) ? BK_WRITE : 0), w->data);
    slow("a watch", &since);
}


static void
host_watch_set(bk_watch_t *w, int events)
{
    event_del(w->event);

    if (events != 0) {
        event_assign(w->event, base, w->fd, (short)
                     (EV_PERSIST | ((events & BK_READ) ? EV_READ : 0)
                      | ((events & BK_WRITE) ? EV_WRITE : 0)),
                     watch_ready, w);
        event_add(w->event, NULL);
    }
}


static bk_watch_t *
host_watch_new(const bk_host_t *h, int fd, int events, bk_watch_pt ready,
    void *data)
{
    bk_watch_t  *w = calloc(1, sizeof(bk_watch_t));

    (void) h;

    w->event = event_new(base, fd, EV_READ | EV_PERSIST, watch_ready, w);
    w->ready = ready;
    w->data = data;
    w->fd = fd;
    host_watch_set(w, events);

    return w;
}


static void
host_watch_free(bk_watch_t **w)
{
    if (*w != NULL) {
        event_free((*w)->event);
        free(*w);
        *w = NULL;
    }
}


static void
host_stopped(const bk_host_t *h)
{
    (void) h;

    stopped = 1;
    event_base_loopbreak(base);
}


static void
host_answer(bk_query_t *q, const bk_identity_t *id, const bk_err_t *err)
{
    if (id != NULL) {
        printf("%s ok %.*s %.*s %llu %.*s\n", q->id, (int) id->name.len,
               id->name.data, (int) id->source.len, id->source.data,
               (unsigned long long) id->until_ms, (int) id->claims.len,
               id->claims.data);

    } else if (err != NULL) {
        printf("%s %d %s %s (%s)\n", q->id, err->code, err->reason,
               err->text, err->hint);

    } else {
        printf("%s none\n", q->id);
    }

    fflush(stdout);
    free(q);
}


static void
say_stat(const bk_stat_t *stat, void *data)
{
    (void) data;

    printf(" %s{%s}=%g", stat->name, stat->labels, stat->value);
}


static void
command(char *text)
{
    char              *word, *id, *token;
    bk_query_t        *q;
    bk_credentials_t   c;

    word = strsep(&text, " ");

    if (strcmp(word, "ask") == 0 && text != NULL) {
        id = strsep(&text, " ");
        token = text != NULL ? text : "";
        q = calloc(1, sizeof(bk_query_t));
        snprintf(q->id, sizeof(q->id), "%s", id);
        c.bearer = (bk_str_t) { token, strlen(token) };
        c.client = BK_STR("127.0.0.1:1");
        plugin->identify(ctx, q, &c);

    } else if (strcmp(word, "clock") == 0 && text != NULL) {

        if (strcmp(text, "stop") == 0) {
            still_ms = clock_real(CLOCK_MONOTONIC);

        } else if (strcmp(text, "still") == 0) {
            still_ms = clock_real(CLOCK_MONOTONIC);
            still_day_ms = clock_real(CLOCK_REALTIME);

        } else if (strcmp(text, "go") == 0) {
            still_ms = 0;
            still_day_ms = 0;

        } else {
            go_ahead(strtoull(text, NULL, 10));
        }

        printf("ok\n");

    } else if (strcmp(word, "ping") == 0) {
        printf("pong\n");

    } else if (strcmp(word, "stats") == 0) {
        printf("stats");
        plugin->stats(ctx, say_stat, NULL);
        printf("\n");

    } else if (strcmp(word, "quit") == 0) {
        event_del(input);
        plugin->stop(ctx);

    } else {
        printf("error: %s\n", word);
    }

    fflush(stdout);
}


static void
readable(evutil_socket_t fd, short what, void *data)
{
    char     *end;
    size_t    len;
    ssize_t   n;

    (void) what;
    (void) data;

    line = realloc(line, line_len + 65536 + 1);
    n = read(fd, line + line_len, 65536);

    if (n <= 0) {
        event_del(input);
        plugin->stop(ctx);
        return;
    }

    line_len += (size_t) n;
    line[line_len] = '\0';

    while (!stopped && (end = memchr(line, '\n', line_len)) != NULL) {
        *end = '\0';
        len = (size_t) (end - line) + 1;
        command(line);
        line_len -= len;
        memmove(line, line + len, line_len + 1);
    }
}


static void
configure(int argc, char **argv)
{
    int                  i;
    char                *value;
    bk_err_t             err;
    const char          *given;
    const bk_option_t   *o;

    memset(&err, 0, sizeof(err));

    for (o = plugin->options; o->key != NULL; o++) {
        given = o->value;

        for (i = 2; i < argc; i++) {
            value = strchr(argv[i], '=');

            if (value != NULL && strlen(o->key) == (size_t) (value - argv[i])
                && strncmp(argv[i], o->key, strlen(o->key)) == 0)
            {
                given = value + 1;
            }
        }

        if (given != NULL
            && plugin->configure(ctx, o->key, given, &err) != 0)
        {
            fail("configure", &err);
        }
    }

    if (plugin->check != NULL && plugin->check(ctx, &err) != 0) {
        fail("check", &err);
    }
}


int
main(int argc, char **argv)
{
    void                *lib;
    bk_err_t             err;
    bk_plugin_entry_pt   entry;

    memset(&err, 0, sizeof(err));
    lib = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;

    if (lib == NULL) {
        fprintf(stderr, "usage: identify PLUGIN.so [OPTION=VALUE]... (%s)\n",
                argc > 1 ? dlerror() : "");
        return 2;
    }

    *(void **) &entry = dlsym(lib, BK_PLUGIN_ENTRY);
    plugin = entry();
    base = event_base_new();

    host.abi_major = BK_ABI_MAJOR;
    host.abi_minor = BK_ABI_MINOR;
    host.struct_size = sizeof(host);
    host.log = host_log;
    host.now_ms = host_now;
    host.monotonic_ms = host_monotonic;
    host.timer_new = host_timer_new;
    host.timer_set = host_timer_set;
    host.timer_clear = host_timer_clear;
    host.timer_free = host_timer_free;
    host.watch_new = host_watch_new;
    host.watch_set = host_watch_set;
    host.watch_free = host_watch_free;
    host.stopped = host_stopped;
    host.identity_answer = host_answer;

    if (plugin->create(&host, &ctx, &err) != 0) {
        fail("create", &err);
    }

    configure(argc, argv);

    if (plugin->start(ctx, &err) != 0) {
        fail("start", &err);
    }

    input = event_new(base, 0, EV_READ | EV_PERSIST, readable, NULL);
    event_add(input, NULL);
    printf("ready\n");
    fflush(stdout);

    while (!stopped) {
        event_base_loop(base, EVLOOP_ONCE);
    }

    plugin->destroy(ctx);
    event_free(input);
    event_base_free(base);
    free(line);

    return 0;
}
