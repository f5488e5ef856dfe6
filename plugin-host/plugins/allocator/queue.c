/*
 * The queue: pools, their classes, who is next.  See queue.h.
 */

#include <stdlib.h>
#include <string.h>

#include "queue_int.h"


static bk_queue_class_t *bk_queue_class(bk_queue_pool_t *p, const char *arch,
    int untrusted);
static void bk_queue_leave(bk_queue_entry_t *e);
static void bk_queue_age(bk_queue_class_t *class, uint64_t now_ms);
static bk_queue_entry_t *bk_queue_head(bk_queue_class_t *class);


void *
bk_queue_alloc(size_t size)
{
    void  *p;

    p = calloc(1, size);

    if (p == NULL) {
        abort();
    }

    return p;
}


bk_queue_t *
bk_queue_new(uint64_t aging_ms)
{
    bk_queue_t  *q;

    q = bk_queue_alloc(sizeof(bk_queue_t));
    q->aging_ms = aging_ms;

    return q;
}


/* The entries are the caller's, and gone. */

void
bk_queue_free(bk_queue_t **q)
{
    bk_queue_pool_t   *pool, *next_pool;
    bk_queue_class_t  *class, *next_class;

    if (*q == NULL) {
        return;
    }

    LL_FOREACH_SAFE((*q)->pools, pool, next_pool) {
        bk_queue_levels_free(pool);

        LL_FOREACH_SAFE(pool->classes, class, next_class) {
            free(class);
        }

        free(pool);
    }

    bk_queue_users_free(*q);

    free(*q);
    *q = NULL;
}


bk_queue_pool_t *
bk_queue_pool(bk_queue_t *q, void *data)
{
    bk_queue_pool_t  *p;

    p = bk_queue_alloc(sizeof(bk_queue_pool_t));
    p->q = q;
    p->data = data;
    LL_PREPEND(q->pools, p);

    return p;
}


void *
bk_queue_pool_data(const bk_queue_pool_t *p)
{
    return p->data;
}


size_t
bk_queue_length(const bk_queue_pool_t *p)
{
    return p->queued;
}


size_t
bk_queue_total(const bk_queue_t *q)
{
    return q->queued;
}


static bk_queue_class_t *
bk_queue_class(bk_queue_pool_t *p, const char *arch, int untrusted)
{
    bk_queue_class_t  *c;

    LL_FOREACH(p->classes, c) {
        if (c->untrusted == untrusted
            && strncmp(c->arch, arch, BK_ARCH_MAX - 1) == 0)
        {
            return c;
        }
    }

    c = bk_queue_alloc(sizeof(bk_queue_class_t));
    c->pool = p;
    c->untrusted = untrusted;
    strncpy(c->arch, arch, BK_ARCH_MAX - 1);
    TAILQ_INIT(&c->arrivals);
    LL_PREPEND(p->classes, c);

    return c;
}


void
bk_queue_push(bk_queue_pool_t *p, bk_queue_entry_t *e, const char *arch,
    int untrusted)
{
    int  back;

    e->class = bk_queue_class(p, arch, untrusted);

    back = e->seq != 0;

    if (!back) {
        e->seq = ++p->q->seq;
    }

    /* splitmix64: no caller can choose it */
    e->dice = (uint32_t) (((e->seq + UINT64_C(0x9e3779b97f4a7c15))
                           * UINT64_C(0xbf58476d1ce4e5b9)) >> 32);
    e->aged = 0;
    e->parked = 0;

    bk_queue_tag(e);
    bk_tree_insert(&e->class->root, e);

    if (back) {
        TAILQ_INSERT_HEAD(&e->class->arrivals, e, link);

    } else {
        TAILQ_INSERT_TAIL(&e->class->arrivals, e, link);
    }

    e->class->queued++;
    e->user->queued++;
    p->queued++;
    p->q->queued++;

    bk_queue_stir(p);
}


static void
bk_queue_leave(bk_queue_entry_t *e)
{
    bk_queue_class_t  *c;

    c = e->class;

    if (!e->aged) {
        TAILQ_REMOVE(&c->arrivals, e, link);
    }

    if (e->parked) {
        bk_queue_let_go(e);

    } else {
        bk_tree_remove(&c->root, e);
    }

    bk_queue_untag(e);

    c->queued--;
    e->user->queued--;
    c->pool->queued--;
    c->pool->q->queued--;
    e->class = NULL;

    if (c->queued == 0) {
        /* callers choose its name: there must not be any number of them */
        LL_DELETE(c->pool->classes, c);
        free(c);
    }
}


void
bk_queue_drop(bk_queue_entry_t *e)
{
    if (e->class != NULL) {
        bk_queue_leave(e);
        bk_queue_unpark(e->user);
    }
}


void
bk_queue_served(bk_queue_entry_t *e)
{
    bk_queue_turn(e);
    bk_queue_leave(e);
    bk_queue_user_take(e->user);
    bk_queue_unpark(e->user);
}


bk_queue_pool_t *
bk_queue_stirred(bk_queue_t *q)
{
    bk_queue_pool_t  *p;

    p = q->stirred;

    if (p != NULL) {
        q->stirred = p->next_stirred;
        p->next_stirred = NULL;
        p->stirred = 0;
    }

    return p;
}


void
bk_queue_stir(bk_queue_pool_t *p)
{
    if (!p->stirred) {
        p->stirred = 1;
        p->next_stirred = p->q->stirred;
        p->q->stirred = p;
    }
}


void
bk_queue_wet(bk_queue_pool_t *p)
{
    bk_queue_class_t  *c;

    LL_FOREACH(p->classes, c) {
        c->dry = 0;
    }

    bk_queue_stir(p);
}


static void
bk_queue_age(bk_queue_class_t *class, uint64_t now_ms)
{
    bk_queue_entry_t   *e, **root;

    while ((e = TAILQ_FIRST(&class->arrivals)) != NULL
           && now_ms >= e->since_ms
           && now_ms - e->since_ms >= class->pool->q->aging_ms)
    {
        root = e->parked ? bk_queue_parked(e) : &class->root;

        bk_tree_remove(root, e);
        e->aged = 1;
        bk_tree_insert(root, e);

        TAILQ_REMOVE(&class->arrivals, e, link);
    }
}


/* The first that may have one. */

static bk_queue_entry_t *
bk_queue_head(bk_queue_class_t *class)
{
    bk_queue_entry_t  *e;

    while ((e = bk_tree_first(class->root)) != NULL
           && bk_queue_user_full(e->user))
    {
        bk_queue_park(e);
    }

    return e;
}


bk_queue_entry_t *
bk_queue_next(bk_queue_pool_t *p, uint64_t now_ms)
{
    bk_queue_class_t  *c;
    bk_queue_entry_t  *e, *best;

    best = NULL;

    LL_FOREACH(p->classes, c) {
        if (c->dry || c->queued == 0) {
            continue;
        }

        bk_queue_age(c, now_ms);
        e = bk_queue_head(c);

        if (e != NULL && (best == NULL || bk_tree_before(e, best))) {
            best = e;
        }
    }

    return best;
}


void
bk_queue_dry(bk_queue_entry_t *e)
{
    e->class->dry = 1;
}


int
bk_queue_alone(const bk_queue_entry_t *e)
{
    return e->class->queued == 1;
}


/* All of the pool that could take the worker that e waits for. */

size_t
bk_queue_position(bk_queue_entry_t *e, uint64_t now_ms)
{
    size_t             n;
    bk_queue_class_t  *c;

    n = 1;

    LL_FOREACH(e->class->pool->classes, c) {
        if (c->arch[0] != '\0' && e->class->arch[0] != '\0'
            && strcmp(c->arch, e->class->arch) != 0)
        {
            continue;
        }

        bk_queue_age(c, now_ms);
        n += bk_tree_rank(c->root, e);
    }

    if (e->parked) {
        n += bk_tree_rank(*bk_queue_parked(e), e);
    }

    return n;
}


