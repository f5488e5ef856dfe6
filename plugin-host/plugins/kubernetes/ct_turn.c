/*
 * Whose turn it is to be written: see ct.h.  Not too many at once, workers
 * before all others, as somebody waits for an allocation, and those that
 * failed not before their time.
 */

#include "ct_job.h"


#define CT_RUNNING_MAX  64          /* requests at once */
#define CT_TURN_MAX     256         /* without letting others have a turn */


static void ct_turn_queue(ct_obj_t *o);
static void ct_turn_run(void *data);
static ct_obj_t *ct_turn_first(ct_t *ct);
static void ct_turn_retry(void *data);


void
ct_turn_start(ct_t *ct)
{
    ct->turn = ct->host->timer_new(ct->host, ct_turn_run, ct);
    ct->retry = ct->host->timer_new(ct->host, ct_turn_retry, ct);
}


void
ct_turn(ct_obj_t *o)
{
    ct_turn_queue(o);

    if (o->queued) {
        o->ct->host->timer_set(o->ct->turn, 0);
    }
}


static void
ct_turn_queue(ct_obj_t *o)
{
    int  i = (o->kind != CT_WORKER);

    if (o->queued || o->req != NULL || (o->jobs == NULL && !o->reads)) {
        return;
    }

    o->queued = 1;
    DL_APPEND2(o->ct->turns[i], o, qprev, qnext);
}


/* Also who may not write is told so here. */

static void
ct_turn_run(void *data)
{
    int        n;
    ct_t      *ct = data;
    ct_obj_t  *o;

    for (n = 0; ct->running < CT_RUNNING_MAX; n++) {
        if (n == CT_TURN_MAX) {
            ct->host->timer_set(ct->turn, 0);
            return;
        }

        o = ct_turn_first(ct);

        if (o == NULL) {
            ct_idle(ct);
            return;
        }

        o->held++;
        ct_write_step(o);
        o->held--;
        ct_obj_drop(o);
    }
}


static ct_obj_t *
ct_turn_first(ct_t *ct)
{
    int        i;
    ct_obj_t  *o;

    for (i = 0; i < 2; i++) {
        o = ct->turns[i];

        if (o != NULL) {
            DL_DELETE2(ct->turns[i], o, qprev, qnext);
            o->queued = 0;
            return o;
        }
    }

    return NULL;
}


void
ct_turn_later(ct_obj_t *o)
{
    ct_t  *ct = o->ct;

    if (!o->late) {
        o->late = 1;
        DL_APPEND2(ct->lates, o, lprev, lnext);
    }

    ct->host->timer_set(ct->retry, 0);
}


static void
ct_turn_retry(void *data)
{
    ct_t      *ct = data;
    ct_obj_t  *o, *tmp;
    uint64_t   now = ct->host->monotonic_ms(ct->host), next = 0;

    DL_FOREACH_SAFE2(ct->lates, o, tmp, lnext) {
        if (o->retry_ms > now) {
            next = next == 0 || o->retry_ms < next ? o->retry_ms : next;
            continue;
        }

        o->late = 0;
        DL_DELETE2(ct->lates, o, lprev, lnext);
        ct_turn(o);

        /* or it goes on by itself */
        if (o->failed != 0 || o->jobs == NULL) {
            ct_obj_dirty(o);
        }
    }

    if (next != 0) {
        ct->host->timer_set(ct->retry, next - now);
    }
}


void
ct_turn_stop(ct_t *ct)
{
    /* ct_leads() says no: they end in their turn */
    ct->host->timer_set(ct->turn, 0);
}
