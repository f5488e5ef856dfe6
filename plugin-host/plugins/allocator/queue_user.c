/*
 * Identities under their rules: how many allocations each has, and what it
 * has waiting beyond that, parked in lanes, one for each class.
 */

#include <stdlib.h>
#include <string.h>

#include "queue_int.h"


static bk_queue_user_t *bk_queue_user_named(const char *owner,
    const char *rule);
static bk_queue_lane_t *bk_queue_lane(bk_queue_user_t *u,
    bk_queue_class_t *class, int make);


bk_queue_user_t *
bk_queue_user(bk_queue_t *q, const char *owner, const char *rule,
    uint32_t limit)
{
    bk_queue_user_t  *u, *made;

    made = bk_queue_user_named(owner, rule);
    HASH_FIND(hh, q->users, made->key, made->len, u);

    if (u != NULL) {
        free(made);

    } else {
        u = made;
        u->q = q;
        HASH_ADD_KEYPTR(hh, q->users, u->key, u->len, u);
    }

    u->refs++;

    if (u->limit != limit) {
        u->limit = limit;
        bk_queue_unpark(u);
    }

    return u;
}


static bk_queue_user_t *
bk_queue_user_named(const char *owner, const char *rule)
{
    size_t            len, split;
    bk_queue_user_t  *u;

    split = strlen(owner) + 1;
    len = split + strlen(rule) + 1;

    u = bk_queue_alloc(sizeof(bk_queue_user_t) + len);
    memcpy(u->key, owner, split);
    memcpy(u->key + split, rule, len - split);
    u->rule = u->key + split;
    u->len = len;

    return u;
}


int
bk_queue_user_waits(bk_queue_t *q, const char *owner, const char *rule)
{
    bk_queue_user_t  *u, *named;

    named = bk_queue_user_named(owner, rule);
    HASH_FIND(hh, q->users, named->key, named->len, u);
    free(named);

    return u != NULL && u->queued > 0;
}


void
bk_queue_user_ref(bk_queue_user_t *u)
{
    u->refs++;
}


void
bk_queue_user_unref(bk_queue_user_t **u)
{
    bk_queue_lane_t  *lane, *next;
    bk_queue_user_t  *user;

    user = *u;
    *u = NULL;

    if (--user->refs > 0) {
        return;
    }

    LL_FOREACH_SAFE(user->lanes, lane, next) {
        free(lane);
    }

    HASH_DEL(user->q->users, user);
    free(user);
}


int
bk_queue_user_full(const bk_queue_user_t *u)
{
    return u->limit > 0 && u->live >= u->limit;
}


void
bk_queue_user_take(bk_queue_user_t *u)
{
    u->live++;
}


void
bk_queue_user_give(bk_queue_user_t *u)
{
    u->live--;
    bk_queue_unpark(u);
}


const char *
bk_queue_user_owner(const bk_queue_user_t *u)
{
    return u->key;
}


const char *
bk_queue_user_rule(const bk_queue_user_t *u)
{
    return u->rule;
}


uint32_t
bk_queue_user_live(const bk_queue_user_t *u)
{
    return u->live;
}


uint32_t
bk_queue_user_limit(const bk_queue_user_t *u)
{
    return u->limit;
}


static bk_queue_lane_t *
bk_queue_lane(bk_queue_user_t *u, bk_queue_class_t *class, int make)
{
    bk_queue_lane_t  *lane;

    LL_FOREACH(u->lanes, lane) {
        if (lane->class == class) {
            return lane;
        }
    }

    if (make) {
        lane = bk_queue_alloc(sizeof(bk_queue_lane_t));
        lane->class = class;
        LL_PREPEND(u->lanes, lane);
    }

    return lane;
}


/* The tree that holds e, which is parked. */

bk_queue_entry_t **
bk_queue_parked(bk_queue_entry_t *e)
{
    return &bk_queue_lane(e->user, e->class, 0)->parked;
}


void
bk_queue_park(bk_queue_entry_t *e)
{
    bk_queue_lane_t  *lane;

    lane = bk_queue_lane(e->user, e->class, 1);

    bk_tree_remove(&e->class->root, e);
    bk_tree_insert(&lane->parked, e);
    e->parked = 1;
}


/* An empty lane goes, since its class may. */

void
bk_queue_let_go(bk_queue_entry_t *e)
{
    bk_queue_lane_t  *lane;

    lane = bk_queue_lane(e->user, e->class, 0);

    bk_tree_remove(&lane->parked, e);
    e->parked = 0;

    if (lane->parked == NULL) {
        LL_DELETE(e->user->lanes, lane);
        free(lane);
    }
}


void
bk_queue_unpark(bk_queue_user_t *u)
{
    int                last;
    bk_queue_lane_t   *lane, *next;
    bk_queue_class_t  *class;
    bk_queue_entry_t  *e;

    if (bk_queue_user_full(u)) {
        return;
    }

    LL_FOREACH_SAFE(u->lanes, lane, next) {
        class = lane->class;

        /* one of each class where there is a limit, else all */

        do {
            last = lane->parked->size == 1;
            e = bk_tree_first(lane->parked);

            bk_queue_let_go(e);
            bk_tree_insert(&class->root, e);
            bk_queue_stir(class->pool);

        } while (!last && u->limit == 0);
    }
}


void
bk_queue_users_free(bk_queue_t *q)
{
    bk_queue_lane_t  *lane, *next;
    bk_queue_user_t  *user, *tmp;

    HASH_ITER(hh, q->users, user, tmp) {
        HASH_DEL(q->users, user);

        LL_FOREACH_SAFE(user->lanes, lane, next) {
            free(lane);
        }

        free(user);
    }
}
