/*
 * The model's frame: life, the queue of events, owners.  The facts are in
 * model_pool.c, model_worker.c, model_alloc.c and model_snap.c; looking at
 * them in model_look.c.
 *
 * Observers are told when the outermost fact is complete, from a queue: an
 * observer may change the model, and must never see it half-changed.
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bk_err.h"
#include "log.h"
#include "model_int.h"


static void bk_model_tell(bk_model_t *m, const bk_note_t *n);
static void bk_model_beat(evutil_socket_t fd, short what, void *data);
static void bk_model_due_fired(evutil_socket_t fd, short what, void *data);


int
bk_model_new(bk_model_t **out, struct event_base *base,
    const bk_model_conf_t *conf, bk_err_t *err)
{
    bk_model_t         *m;
    struct timeval      second = { 1, 0 };
    bk_table_opened_t   opened;

    m = calloc(1, sizeof(bk_model_t));
    if (m == NULL) {
        abort();
    }

    m->conf = *conf;
    m->notes_tail = &m->notes;

    memset(&opened, 0, sizeof(opened));

    if (bk_table_open(&m->table, &conf->table, &opened, err) != 0) {
        free(m);
        return -1;
    }

    if (opened.replaced != NULL) {
        bk_log(BK_LOG_WARN, "table", "%s was replaced: %s", conf->table.path,
               opened.replaced);
    }

    m->due_timer = evtimer_new(base, bk_model_due_fired, m);
    m->beat_timer = event_new(base, -1, EV_PERSIST, bk_model_beat, m);
    if (m->due_timer == NULL || m->beat_timer == NULL) {
        abort();
    }

    event_add(m->beat_timer, &second);
    bk_table_heartbeat(m->table, bk_model_now_ms());

    if (bk_model_inherit(m, err) != 0) {
        bk_model_free(&m);
        return -1;
    }

    bk_log(BK_LOG_INFO, "table", "%s: %s, %u allocations, %u workers and %u "
           "pools taken over, %u repaired", conf->table.path,
           opened.taken_over == 0 ? "new"
               : opened.taken_over == 1 ? "taken over" : "copied",
           HASH_COUNT(m->allocs), m->stats.table.workers_used,
           HASH_COUNT(m->pools), opened.repaired);

    *out = m;

    return 0;
}


void
bk_model_free(bk_model_t **mp)
{
    bk_pool_t    *p, *ptmp;
    bk_note_t    *n;
    bk_alloc_t   *a, *atmp;
    bk_model_t   *m = *mp;
    bk_owner_t   *o;
    bk_worker_t  *w, *wtmp;

    if (m == NULL) {
        return;
    }

    *mp = NULL;

    event_free(m->due_timer);
    event_free(m->beat_timer);

    while ((n = m->notes) != NULL) {
        m->notes = n->next;
        free(n);
    }

    while (m->walks != NULL) {
        bk_model_walk_end(m->walks);
    }

    HASH_ITER(hh, m->allocs, a, atmp) {
        HASH_DEL(m->allocs, a);
        bk_model_name_unref(&a->whose);
        free(a->reason);

        if (a->worker != NULL) {
            bk_model_worker_unref(a->worker);
        }

        if (a->pool != NULL) {
            bk_model_pool_unref(a->pool);
        }

        free(a);
    }

    HASH_ITER(hh, m->pools, p, ptmp) {
        HASH_ITER(hh, p->workers, w, wtmp) {
            HASH_DEL(p->workers, w);
            bk_model_worker_unref(w);
        }

        HASH_DEL(m->pools, p);
        bk_model_pool_unref(p);
    }

    while ((o = m->owners) != NULL) {
        m->owners = o->next;
        free(o);
    }

    bk_heap_done(&m->due);
    bk_table_close(&m->table);
    free(m);
}


uint64_t
bk_model_now_ms(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_REALTIME, &ts);

    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}


void
bk_model_enter(bk_model_t *m)
{
    m->depth++;
}


void
bk_model_leave(bk_model_t *m)
{
    bk_note_t  *n;

    assert(m->depth > 0);

    if (--m->depth > 0 || m->telling) {
        return;
    }

    m->telling = 1;

    while ((n = m->notes) != NULL) {
        m->notes = n->next;
        if (m->notes == NULL) {
            m->notes_tail = &m->notes;
        }

        bk_model_tell(m, n);

        if (n->alloc != NULL) {
            bk_model_alloc_unref(n->alloc);
        }

        if (n->worker != NULL) {
            bk_model_worker_unref(n->worker);
        }

        if (n->pool != NULL) {
            bk_model_pool_unref(n->pool);
        }

        free(n);
    }

    m->telling = 0;
}


void
bk_model_note(bk_model_t *m, bk_pool_t *p, bk_worker_t *w, bk_alloc_t *a,
    int old_state, int gone)
{
    bk_note_t  *n;

    n = calloc(1, sizeof(bk_note_t));
    if (n == NULL) {
        abort();
    }

    n->old_state = (uint8_t) old_state;
    n->gone = gone ? 1 : 0;

    if (p != NULL) {
        n->pool = p;
        p->refs++;
    }

    if (w != NULL) {
        n->worker = w;
        n->state = w->data.state;
        w->refs++;
    }

    if (a != NULL) {
        n->alloc = a;
        n->state = a->state;
        a->refs++;
    }

    *m->notes_tail = n;
    m->notes_tail = &n->next;
}


static void
bk_model_tell(bk_model_t *m, const bk_note_t *n)
{
    bk_event_t        event;
    bk_pool_info_t    pool;
    bk_alloc_info_t   alloc;
    bk_worker_info_t  worker;

    if (m->conf.event == NULL) {
        return;
    }

    memset(&event, 0, sizeof(bk_event_t));
    event.gone = n->gone;
    event.old_state = n->old_state;

    if (n->alloc != NULL) {
        bk_model_alloc_info(n->alloc, &alloc);
        alloc.state = n->state;
        event.what = BK_EVENT_ALLOCATION;
        event.alloc = &alloc;

    } else if (n->worker != NULL) {
        bk_model_worker_info(n->worker, &worker);
        worker.state = n->state;
        event.what = BK_EVENT_WORKER;
        event.worker = &worker;

    } else {
        bk_model_pool_info(n->pool, &pool);
        event.what = BK_EVENT_POOL;
        event.pool = &pool;
    }

    m->conf.event(&event, m->conf.data);
}


bk_owner_t *
bk_model_owner(bk_model_t *m, const void *id)
{
    bk_owner_t  *o;

    for (o = m->owners; o != NULL; o = o->next) {
        if (o->id == id) {
            return o;
        }
    }

    o = calloc(1, sizeof(bk_owner_t));
    if (o == NULL) {
        abort();
    }

    o->id = id;
    o->next = m->owners;
    m->owners = o;

    return o;
}


int
bk_model_may(const bk_owner_t *mine, const bk_owner_t *theirs,
    const char *what, bk_err_t *err)
{
    if (theirs == NULL || theirs == mine) {
        return 0;
    }

    return bk_err_set(err, 409, "NotOwner",
                      "%s belongs to another plugin of this host", what);
}


static void
bk_model_beat(evutil_socket_t fd, short what, void *data)
{
    bk_model_t  *m = data;

    (void) fd;
    (void) what;

    /*
     * Nginx refuses everybody until there is a table again.  A new start is
     * the one way to make it that is tried all the time, and touches no build.
     */

    if (bk_table_lost(m->table)) {
        bk_log(BK_LOG_ERROR, "table", "%s was removed or replaced under us; "
               "stopping, so that the next start makes a new one",
               m->conf.table.path);
        _exit(EXIT_FAILURE);
    }

    bk_table_heartbeat(m->table, bk_model_now_ms());

    /* the clock may have been set: the timer alone would not notice */
    bk_model_due(m);
}


static void
bk_model_due_fired(evutil_socket_t fd, short what, void *data)
{
    (void) fd;
    (void) what;

    bk_model_due(data);
}
