/*
 * What is fair: start-time fair queueing.  An identity's entries get tags
 * that grow by one each, and start at the virtual time of its level (the tag
 * of who was served last), so one that queues a thousand has every second
 * turn, not a thousand turns.  Levels are priorities: tags of different ones
 * are never compared.
 *
 * And what to expect, from how often the pool gave back a worker.
 */

#include <stdlib.h>
#include <string.h>

#include "queue_int.h"


#define BK_IDLE_MAX   1000              /* flows that have nothing queued */
#define BK_RATE_SPAN  UINT64_C(3600000)     /* older releases say nothing */


static bk_level_t *bk_queue_level(bk_queue_pool_t *p, int priority);
static void bk_queue_forget(bk_queue_flow_t *f);


static bk_level_t *
bk_queue_level(bk_queue_pool_t *p, int priority)
{
    bk_level_t  *l;

    LL_FOREACH(p->levels, l) {
        if (l->priority == priority) {
            return l;
        }
    }

    l = bk_queue_alloc(sizeof(bk_level_t));
    l->priority = priority;
    TAILQ_INIT(&l->idle);
    LL_PREPEND(p->levels, l);

    return l;
}


void
bk_queue_tag(bk_queue_entry_t *e)
{
    size_t            len;
    const char       *owner;
    bk_level_t       *l;
    bk_queue_flow_t  *f;

    owner = bk_queue_user_owner(e->user);
    len = strlen(owner);
    l = bk_queue_level(e->class->pool, e->priority);

    HASH_FIND(hh, l->flows, owner, len, f);

    if (f == NULL) {
        f = bk_queue_alloc(sizeof(bk_queue_flow_t) + len + 1);
        f->level = l;
        memcpy(f->owner, owner, len + 1);
        HASH_ADD_KEYPTR(hh, l->flows, f->owner, len, f);

    } else if (f->queued == 0) {
        TAILQ_REMOVE(&l->idle, f, link);
        l->nidle--;
    }

    if (!e->tagged) {
        e->tag = f->last + 1 > l->now ? f->last + 1 : l->now;
        e->tagged = 1;
    }

    if (e->tag > f->last) {
        f->last = e->tag;
    }

    e->flow = f;
    f->queued++;
    l->queued++;
}


void
bk_queue_untag(bk_queue_entry_t *e)
{
    bk_level_t       *l;
    bk_queue_flow_t  *f;

    f = e->flow;
    l = f->level;
    e->flow = NULL;
    f->queued--;
    l->queued--;

    if (f->queued > 0) {
        return;
    }

    TAILQ_INSERT_TAIL(&l->idle, f, link);
    l->nidle++;

    if (f->last < l->now) {
        /* its next one would start at now anyway */
        bk_queue_forget(f);
    }

    /*
     * Nobody waits: all begin anew, but for the time itself, since one that
     * was served in vain comes back with its tag.  And identities are many.
     */
    while (l->nidle > 0 && (l->queued == 0 || l->nidle > BK_IDLE_MAX)) {
        bk_queue_forget(TAILQ_FIRST(&l->idle));
    }
}


static void
bk_queue_forget(bk_queue_flow_t *f)
{
    TAILQ_REMOVE(&f->level->idle, f, link);
    f->level->nidle--;

    HASH_DEL(f->level->flows, f);
    free(f);
}


/* Time has come to e. */

void
bk_queue_turn(const bk_queue_entry_t *e)
{
    bk_level_t  *l;

    l = e->flow->level;

    if (e->tag > l->now) {
        l->now = e->tag;
    }
}


void
bk_queue_levels_free(bk_queue_pool_t *p)
{
    bk_level_t       *level, *next;
    bk_queue_flow_t  *flow, *tmp;

    LL_FOREACH_SAFE(p->levels, level, next) {
        HASH_ITER(hh, level->flows, flow, tmp) {
            HASH_DEL(level->flows, flow);
            free(flow);
        }

        free(level);
    }
}


void
bk_queue_released(bk_queue_pool_t *p, uint64_t now_ms)
{
    p->released[p->nreleased++ % BK_RELEASES] = now_ms;
}


uint64_t
bk_queue_estimate(const bk_queue_pool_t *p, size_t position, uint64_t now_ms)
{
    size_t    i, n;
    uint64_t  oldest, seconds, when;

    oldest = now_ms;
    n = 0;

    for (i = 0; i < BK_RELEASES && i < p->nreleased; i++) {
        when = p->released[i];

        if (when <= now_ms && now_ms - when < BK_RATE_SPAN) {
            oldest = when < oldest ? when : oldest;
            n++;
        }
    }

    /* one release is no rate */
    if (n < 2) {
        return 0;
    }

    seconds = (now_ms - oldest) * position / n / 1000;

    return seconds > 0 ? seconds : 1;
}
