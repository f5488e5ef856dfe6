/*
 * The life of one worker: stopped, starting, ready, failed, and the timers
 * between them.
 *
 * A worker runs because somebody wanted it (allocate, wake) and until nobody
 * has had an allocation or a connection on it for the idle time.  When it
 * dies or does not answer it has failed, which ends its allocations with the
 * reason; it is started again, later each time, as long as it is wanted.
 */

#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "process.h"


#define BK_STOP_TIMEOUT      (30 * BK_SECOND)

/* plugin-host itself gives its plugins 10 seconds */
#define BK_STOP_TIMEOUT_END  (7 * BK_SECOND)

#define bk_worker_patience(w)                                                 \
    ((w)->p->stopping ? BK_STOP_TIMEOUT_END : BK_STOP_TIMEOUT)
#define BK_BACKOFF_FIRST     BK_SECOND
#define BK_BACKOFF_LAST      (60 * BK_SECOND)
#define BK_STEADY            (60 * BK_SECOND)   /* forgives earlier crashes */
#define BK_PORT_TRIES        5


static void bk_worker_watch(bk_worker_t *w);
static void bk_worker_exited(int fd, int events, void *data);
static void bk_worker_gone(bk_worker_t *w);


void
bk_worker_init(bk_process_t *p, bk_worker_t *w, unsigned number)
{
    int               n;
    char              space[BK_TABLE_POOL_LEN];
    char             *name;
    bk_str_t          state;
    const bk_host_t  *h;

    h = p->host;
    state = h->state_dir(h);

    w->p = p;
    w->pidfd = -1;
    w->state = BK_WORKER_STOPPED;
    w->tick = h->timer_new(h, bk_worker_tick, w);
    w->deadline = h->timer_new(h, bk_worker_deadline, w);
    w->idle = h->timer_new(h, bk_worker_idle, w);

    (void) snprintf(space, sizeof(space), "%s", p->pool);
    name = strchr(space, '/');
    *name++ = '\0';

    (void) snprintf(w->name, sizeof(w->name), "w%u", number);

    /*
     * The pool belongs into the name: a connection that reaches the w1 of
     * another pool, because it got this one's port, must not verify.
     */
    n = snprintf(w->tls_name, sizeof(w->tls_name),
                 "%s.%s.%s.workers.buildkit.internal", w->name, name, space);

    if (n < 0 || (size_t) n >= sizeof(w->tls_name)) {
        abort();    /* bk_process_check() has looked */
    }

    n = snprintf(w->dir, sizeof(w->dir), "%.*s/workers/%s_%s_%s",
                 (int) state.len, state.data, space, name, w->name);

    if (n < 0 || (size_t) n >= sizeof(w->dir) - 32) {
        abort();    /* longer than any path that the host could open */
    }
}


void
bk_worker_free(bk_worker_t *w)
{
    const bk_host_t  *h;

    h = w->p->host;

    bk_probe_free(&w->probe);
    bk_probe_free(&w->prune);

    if (w->exit != NULL) {
        h->watch_free(&w->exit);
    }

    if (w->tick != NULL) {
        h->timer_free(&w->tick);
        h->timer_free(&w->deadline);
        h->timer_free(&w->idle);
    }

    if (w->pidfd != -1) {
        (void) close(w->pidfd);
        w->pidfd = -1;
    }
}


const char *
bk_worker_program(const bk_worker_t *w)
{
    const char  *name, *slash;

    name = w->p->ncommand > 0 ? w->p->command[0] : "buildkitd";
    slash = strrchr(name, '/');

    return slash == NULL ? name : slash + 1;
}


void
bk_worker_put(bk_worker_t *w, int state, const char *message)
{
    char              endpoint[32];
    bk_err_t          err;
    const bk_host_t  *h;
    bk_worker_info_t  info;

    h = w->p->host;

    if (message != w->message) {
        bk_text_clean(w->message, sizeof(w->message), "%s", message);
    }

    w->state = state;
    endpoint[0] = '\0';

    if (state == BK_WORKER_READY || state == BK_WORKER_DRAINING) {
        (void) snprintf(endpoint, sizeof(endpoint), "127.0.0.1:%u", w->port);
    }

    info = (bk_worker_info_t) {
        .pool = bk_str(w->p->pool),
        .name = bk_str(w->name),
        .endpoint = bk_str(endpoint),
        .tls_name = bk_str(w->tls_name),
        .arch = bk_str(w->p->arch),
        .message = bk_str(w->message),
        .state = state
    };

    if (h->worker_put(h, &info, &err) != 0) {
        h->log(h, BK_LOG_ERROR, "worker %s/%s: %s", w->p->pool, w->name,
               err.text);
    }
}


/* At start: is the process of our last run still there? */

int
bk_worker_begin(bk_worker_t *w, bk_err_t *err)
{
    int               found, ready;
    char              line[BK_TABLE_MESSAGE_LEN], text[BK_TABLE_MESSAGE_LEN];
    const bk_host_t  *h;

    h = w->p->host;
    ready = 0;

    if (bk_spawn_folder(w, err) != 0) {
        return -1;
    }

    found = bk_adopt(w, &ready);

    if (found == 0) {
        bk_worker_put(w, BK_WORKER_STOPPED, "");
        bk_worker_used(w);
        return 0;
    }

    if (found == -1) {
        bk_adopt_forget(w);
        bk_output_last(w, line, sizeof(line));
        bk_text_clean(text, sizeof(text), "%s ended while the gateway's "
                      "control process was down%s%s", bk_worker_program(w),
                      line[0] == '\0' ? "" : ": ", line);
        h->log(h, BK_LOG_WARN, "worker %s/%s: %s", w->p->pool, w->name,
               text);
        bk_worker_put(w, BK_WORKER_FAILED, text);
        return 0;
    }

    h->log(h, BK_LOG_INFO, "worker %s/%s: found running (pid %d, port %u)",
           w->p->pool, w->name, (int) w->pid, w->port);

    w->wanted = 1;
    w->phase = ready ? BK_PHASE_UP : BK_PHASE_START;
    w->up_since = h->monotonic_ms(h);

    /* what was ready stays so until a probe says otherwise: builds run */
    bk_worker_put(w, ready ? BK_WORKER_READY : BK_WORKER_STARTING, "");
    bk_worker_watch(w);

    if (!ready) {
        h->timer_set(w->deadline, w->p->start_ms);
    }

    h->timer_set(w->tick, 0);
    bk_worker_used(w);

    return 0;
}


void
bk_worker_want(bk_worker_t *w, int wanted)
{
    const bk_host_t  *h;

    h = w->p->host;
    w->wanted = wanted;

    if (!wanted) {
        if (w->phase == BK_PHASE_NONE) {
            h->timer_clear(w->tick);
        }

        bk_worker_used(w);
        bk_keep_soon(w->p);
        return;
    }

    /* whoever asked needs some time to make use of it */
    w->idling = 0;
    bk_worker_used(w);

    if (w->phase == BK_PHASE_NONE) {
        bk_worker_retry(w);
    }
}


/* Starts it as soon as the back-off allows, never within this call. */

void
bk_worker_retry(bk_worker_t *w)
{
    uint64_t          now;
    const bk_host_t  *h;

    h = w->p->host;
    now = h->monotonic_ms(h);

    h->timer_set(w->tick, w->retry_at > now ? w->retry_at - now : 0);
}


void
bk_worker_start(bk_worker_t *w)
{
    bk_err_t          err;
    const bk_host_t  *h;

    h = w->p->host;

    bk_keep_measure(w);

    if (bk_spawn(w, &err) != 0) {
        bk_worker_failed(w, err.text);
        return;
    }

    h->log(h, BK_LOG_INFO, "worker %s/%s: started (pid %d, port %u)",
           w->p->pool, w->name, (int) w->pid, w->port);

    w->phase = BK_PHASE_START;
    w->good = 0;
    w->bad_probes = 0;
    w->trouble[0] = '\0';

    bk_worker_put(w, BK_WORKER_STARTING, "starting");
    bk_worker_watch(w);

    h->timer_set(w->deadline, w->p->start_ms);
    h->timer_set(w->tick, 0);
    bk_worker_used(w);
}


static void
bk_worker_watch(bk_worker_t *w)
{
    w->exit = w->p->host->watch_new(w->p->host, w->pidfd, BK_READ,
                                    bk_worker_exited, w);
}


static void
bk_worker_exited(int fd, int events, void *data)
{
    bk_worker_t *w = data;

    int               phase, state, taken;
    char              text[BK_TABLE_MESSAGE_LEN];
    const bk_host_t  *h;

    (void) fd;
    (void) events;

    h = w->p->host;
    phase = w->phase;
    state = w->state;

    bk_adopt_ended(w, text, sizeof(text), &taken);
    bk_worker_gone(w);

    if (phase == BK_PHASE_DOWN && state != BK_WORKER_FAILED) {
        h->log(h, BK_LOG_INFO, "worker %s/%s: stopped", w->p->pool, w->name);
        bk_worker_put(w, BK_WORKER_STOPPED, w->message);
    }

    if (phase == BK_PHASE_DOWN) {
        /* if it had failed before, that reason is the better one */
        if (w->p->stopping) {
            bk_process_stopped(w->p);

        } else if (w->wanted) {
            bk_worker_retry(w);

        } else {
            /* somebody may have got it when it was about to stop */
            bk_worker_used(w);
        }

        return;
    }

    if (phase == BK_PHASE_START && taken && w->child
        && ++w->port_tries < BK_PORT_TRIES)
    {
        /* somebody was faster: nothing is wrong with the worker */
        bk_worker_retry(w);
        return;
    }

    bk_worker_failed(w, text);
}


/* There is no process any more. */

static void
bk_worker_gone(bk_worker_t *w)
{
    const bk_host_t  *h;

    h = w->p->host;

    bk_probe_free(&w->probe);
    bk_probe_free(&w->prune);
    h->watch_free(&w->exit);
    h->timer_clear(w->tick);
    h->timer_clear(w->deadline);

    (void) close(w->pidfd);
    w->pidfd = -1;
    w->phase = BK_PHASE_NONE;

    bk_adopt_forget(w);
}


/* message may say why for the first time: the process may still run. */

void
bk_worker_failed(bk_worker_t *w, const char *message)
{
    uint32_t          jitter;
    uint64_t          delay, now;
    const bk_host_t  *h;

    h = w->p->host;
    now = h->monotonic_ms(h);

    h->log(h, BK_LOG_ERROR, "worker %s/%s: %s", w->p->pool, w->name,
           message);

    if (w->phase == BK_PHASE_UP && now - w->up_since >= BK_STEADY) {
        w->crashes = 0;
    }

    w->port_tries = 0;
    delay = BK_BACKOFF_FIRST << (w->crashes < 6 ? w->crashes : 6);
    delay = delay < BK_BACKOFF_LAST ? delay : BK_BACKOFF_LAST;
    w->crashes++;

    /* so that many that died together do not start together */
    if (RAND_bytes((unsigned char *) &jitter, sizeof(jitter)) != 1) {
        jitter = 0;
    }

    delay = delay * 3 / 4 + jitter % (delay / 2 + 1);
    w->retry_at = now + delay;

    if (w->pidfd != -1) {
        w->phase = BK_PHASE_DOWN;
        bk_probe_free(&w->probe);
        bk_probe_free(&w->prune);
        h->timer_clear(w->tick);
        bk_worker_kill(w, SIGTERM);
        h->timer_set(w->deadline, bk_worker_patience(w));

    } else {
        w->phase = BK_PHASE_NONE;
    }

    bk_worker_put(w, BK_WORKER_FAILED, message);

    if (w->phase == BK_PHASE_NONE && w->wanted && !w->p->stopping) {
        h->log(h, BK_LOG_INFO, "worker %s/%s: starts again in %llu ms",
               w->p->pool, w->name, (unsigned long long) delay);
        bk_worker_retry(w);
    }

    bk_keep_soon(w->p);
}


void
bk_worker_kill(bk_worker_t *w, int signal_number)
{
    if (pidfd_send_signal(w->pidfd, signal_number, NULL, 0) != 0
        && errno != ESRCH)
    {
        w->p->host->log(w->p->host, BK_LOG_ERROR,
                        "worker %s/%s: cannot send signal %d: %s",
                        w->p->pool, w->name, signal_number, strerror(errno));
    }
}


void
bk_worker_stop(bk_worker_t *w, const char *why)
{
    const bk_host_t  *h;

    h = w->p->host;

    if (w->phase == BK_PHASE_NONE || w->phase == BK_PHASE_DOWN) {
        h->timer_clear(w->tick);

        if (w->phase == BK_PHASE_DOWN && w->p->stopping) {
            h->timer_set(w->deadline, bk_worker_patience(w));
        }

        return;
    }

    h->log(h, BK_LOG_INFO, "worker %s/%s: %s", w->p->pool, w->name, why);

    bk_probe_free(&w->probe);
    bk_probe_free(&w->prune);
    h->timer_clear(w->tick);

    w->phase = BK_PHASE_DOWN;
    bk_worker_kill(w, SIGTERM);
    h->timer_set(w->deadline, bk_worker_patience(w));

    bk_worker_put(w, BK_WORKER_DRAINING, why);
}
