/*
 * What happens to a worker as time goes by: probes, deadlines, idleness.
 */

#include <signal.h>
#include <string.h>

#include "process.h"


#define BK_PROBE_TIMEOUT     (5 * BK_SECOND)
#define BK_PROBE_AGAIN       (BK_SECOND / 10)   /* while it starts */
#define BK_PROBE_DOUBT       BK_SECOND          /* after a bad one */
#define BK_BAD_PROBES        3


static void bk_worker_probe(bk_worker_t *w);
static void bk_worker_probed(void *data, const char *error);
static uint32_t bk_worker_allocations(bk_worker_t *w);
static uint64_t bk_worker_lingers(bk_worker_t *w, uint32_t *connections);


void
bk_worker_tick(void *data)
{
    bk_worker_t *w = data;

    switch (w->phase) {
    case BK_PHASE_NONE:
        if (w->wanted && !w->p->stopping) {
            bk_worker_start(w);
        }

        break;

    case BK_PHASE_START:
    case BK_PHASE_UP:
        bk_worker_probe(w);
        break;

    default:
        break;
    }
}


void
bk_worker_deadline(void *data)
{
    bk_worker_t *w = data;

    char              text[BK_TABLE_MESSAGE_LEN];
    const bk_host_t  *h;

    h = w->p->host;

    if (w->phase == BK_PHASE_START) {
        bk_text_clean(text, sizeof(text),
                      "%s was not ready within %llu s: %s",
                      bk_worker_program(w),
                      (unsigned long long) (w->p->start_ms / BK_SECOND),
                      w->trouble[0] == '\0' ? "no answer" : w->trouble);
        bk_worker_failed(w, text);

    } else if (w->phase == BK_PHASE_DOWN) {
        h->log(h, BK_LOG_WARN, "worker %s/%s: does not stop, is killed",
               w->p->pool, w->name);
        bk_worker_kill(w, SIGKILL);
    }
}


static void
bk_worker_probe(bk_worker_t *w)
{
    uint64_t  timeout;

    if (w->probe != NULL) {
        return;
    }

    bk_output_trim(w);

    timeout = w->p->probe_ms < BK_PROBE_TIMEOUT ? w->p->probe_ms
                                                : BK_PROBE_TIMEOUT;
    w->probe = bk_probe_start(w->p, w->tls_name, w->port, timeout,
                              bk_worker_probed, w);
}


static void
bk_worker_probed(void *data, const char *error)
{
    bk_worker_t *w = data;

    char              text[BK_TABLE_MESSAGE_LEN];
    const bk_host_t  *h;

    h = w->p->host;

    if (error != NULL) {
        bk_text_clean(w->trouble, sizeof(w->trouble), "%s", error);
    }

    bk_probe_free(&w->probe);

    if (error == NULL) {
        w->bad_probes = 0;
        w->good++;

        if (w->phase == BK_PHASE_START) {
            w->phase = BK_PHASE_UP;
            w->up_since = h->monotonic_ms(h);
            w->port_tries = 0;
            h->timer_clear(w->deadline);

            bk_adopt_note(w, 1);
            h->log(h, BK_LOG_INFO, "worker %s/%s: ready", w->p->pool,
                   w->name);
            bk_worker_put(w, BK_WORKER_READY, "");
            (void) bk_keep_prune(w);

            /* idle from here on, if nobody has it */
            w->idling = 0;
            bk_worker_used(w);
        }

        h->timer_set(w->tick, w->p->probe_ms);
        return;
    }

    if (w->phase == BK_PHASE_START) {
        h->timer_set(w->tick, BK_PROBE_AGAIN);
        return;
    }

    if (++w->bad_probes < BK_BAD_PROBES) {
        h->log(h, BK_LOG_WARN, "worker %s/%s: a probe failed: %s",
               w->p->pool, w->name, w->trouble);
        h->timer_set(w->tick, w->p->probe_ms < BK_PROBE_DOUBT
                              ? w->p->probe_ms : BK_PROBE_DOUBT);
        return;
    }

    bk_text_clean(text, sizeof(text), "%s does not answer: %s",
                  bk_worker_program(w), w->trouble);
    bk_worker_failed(w, text);
}


static uint32_t
bk_worker_allocations(bk_worker_t *w)
{
    const bk_host_t   *h;
    bk_worker_info_t   info;

    h = w->p->host;

    if (h->worker_find(h, bk_str(w->p->pool), bk_str(w->name), &info) != 0) {
        return 0;
    }

    return info.allocations;
}


int
bk_worker_busy(bk_worker_t *w)
{
    uint32_t  connections;

    (void) bk_worker_lingers(w, &connections);

    return connections > 0 || bk_worker_allocations(w) > 0;
}


/* For how long its last connection still counts. */

static uint64_t
bk_worker_lingers(bk_worker_t *w, uint32_t *connections)
{
    uint64_t          now, until;
    const bk_host_t  *h;
    bk_worker_use_t   use;

    h = w->p->host;
    *connections = 0;

    if (h->worker_use(h, bk_str(w->p->pool), bk_str(w->name), &use,
                      sizeof(use))
        != 0)
    {
        return 0;
    }

    *connections = use.connections;

    now = h->now_ms(h);
    until = use.last_used_ms + w->p->linger_ms;

    if (use.last_used_ms == 0 || until <= now) {
        return 0;
    }

    /* after the clock went back its end would be that much further off */
    return until - now < w->p->linger_ms ? until - now : w->p->linger_ms;
}


/*
 * Sets or clears the idle timer, as its allocations and its connections are
 * now.  Idle begins when the last allocation has ended, and the last real
 * connection has, and has lingered.
 */

void
bk_worker_used(bk_worker_t *w)
{
    uint32_t          connections, live;
    uint64_t          delay, linger;
    const bk_host_t  *h;

    h = w->p->host;
    live = bk_worker_allocations(w);
    linger = bk_worker_lingers(w, &connections);

    if (live > 0 && w->phase == BK_PHASE_NONE && !w->wanted
        && w->state == BK_WORKER_STOPPED && !w->p->stopping)
    {
        /* it was allocated before we could be asked to start it */
        w->wanted = 1;
        bk_worker_retry(w);
    }

    if (live > 0 || connections > 0
        || (w->phase == BK_PHASE_NONE && !w->wanted)
        || (w->wanted && w->p->idle_ms == 0))
    {
        h->timer_clear(w->idle);
        w->idling = 0;
        return;
    }

    if (!w->idling || !w->wanted) {
        /* one that is let go is drained: nobody could come again */
        delay = w->wanted ? linger + w->p->idle_ms : 0;
        w->idling = 1;
        h->timer_set(w->idle, delay);
    }
}


void
bk_worker_idle(void *data)
{
    bk_worker_t *w = data;

    const bk_host_t  *h;

    h = w->p->host;
    w->idling = 0;

    /* whatever is in the way now will say when it ends */
    if (bk_worker_busy(w) || w->p->stopping) {
        return;
    }

    /* one that was woken, or is to prune its cache, is no use before it is
     * ready; startTimeout ends one that never is */
    if (bk_keep_needed(w) || (w->wanted && w->phase == BK_PHASE_START)) {
        w->idling = 1;
        h->timer_set(w->idle, w->p->idle_ms);
        return;
    }

    bk_keep_measure(w);

    /* not one that is let go: nobody could come again */
    if (w->wanted && bk_keep_prune(w)) {
        return;
    }

    w->wanted = 0;

    if (w->phase == BK_PHASE_START || w->phase == BK_PHASE_UP) {
        bk_worker_stop(w, "stopped: idle");

    } else if (w->phase == BK_PHASE_NONE) {
        /* it had failed, and nobody asks for it any more */
        h->timer_clear(w->tick);

        if (w->state != BK_WORKER_STOPPED) {
            bk_worker_put(w, BK_WORKER_STOPPED, w->message);
        }
    }
}
