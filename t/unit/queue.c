/*
 * The allocator's queue from within: priority, turns, aging, parking, classes,
 * positions, estimates; and against a plain list, at random.  Prints TAP.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../plugin-host/plugins/allocator/queue.c"
#include "../../plugin-host/plugins/allocator/queue_fair.c"
#include "../../plugin-host/plugins/allocator/queue_tree.c"
#include "../../plugin-host/plugins/allocator/queue_user.c"


#define BK_AGING  600000
#define BK_MANY   10000


static int               n, bad;
static bk_queue_t       *q;
static bk_queue_pool_t  *p;
static uint64_t          now = 1000000;


static void
ok(int good, const char *what)
{
    printf("%sok %d - %s\n", good ? "" : "not ", ++n, what);
    bad += !good;
}


static void
fresh(void)
{
    if (q != NULL) {
        bk_queue_free(&q);
    }

    q = bk_queue_new(BK_AGING);
    p = bk_queue_pool(q, NULL);
}


static void
push_at(bk_queue_entry_t *e, const char *owner, uint32_t limit, int priority,
    const char *arch, uint64_t since)
{
    memset(e, 0, sizeof(bk_queue_entry_t));
    e->user = bk_queue_user(q, owner, "rule", limit);
    e->priority = priority;
    e->since_ms = since;
    bk_queue_push(p, e, arch, 0);
}


static void
push(bk_queue_entry_t *e, const char *owner, int priority)
{
    push_at(e, owner, 0, priority, "", now);
}


/* The owners in the order in which they are served, which they all are. */

static const char *
order(void)
{
    size_t            i = 0;
    static char       text[256];
    bk_queue_entry_t  *e;

    while ((e = bk_queue_next(p, now)) != NULL && i < sizeof(text) - 1) {
        text[i++] = bk_queue_user_owner(e->user)[0];
        bk_queue_served(e);
    }

    text[i] = '\0';

    return text;
}


static void
test_order(void)
{
    int               i;
    bk_queue_entry_t  e[16];

    fresh();
    ok(bk_queue_next(p, now) == NULL, "an empty queue has nobody");

    push(&e[0], "a", 0);
    push(&e[1], "a", 0);
    push(&e[2], "b", 5);
    push(&e[3], "c", -5);
    ok(strcmp(order(), "baac") == 0, "priority, then arrival");
    ok(bk_queue_length(p) == 0 && bk_queue_total(q) == 0, "all are out");

    fresh();

    for (i = 0; i < 6; i++) {
        push(&e[i], "a", 0);
    }

    push(&e[6], "b", 0);
    push(&e[7], "c", 0);
    push(&e[8], "b", 0);
    ok(strcmp(order(), "abcabaaaa") == 0, "identities take turns");

    fresh();

    for (i = 0; i < 4; i++) {
        push(&e[i], "a", 0);
    }

    bk_queue_served(bk_queue_next(p, now));
    bk_queue_served(bk_queue_next(p, now));
    push(&e[4], "b", 0);
    ok(strcmp(order(), "baa") == 0,
       "who comes late begins at the present, not in the past");

    fresh();

    for (i = 0; i < 6; i++) {
        push(&e[i], "a", 0);
    }

    for (i = 0; i < 3; i++) {
        bk_queue_served(bk_queue_next(p, now));
    }

    for (i = 6; i < 9; i++) {
        push(&e[i], "b", 0);
    }

    ok(strcmp(order(), "bababa") == 0, "... and has every second turn");

    fresh();
    push_at(&e[3], "b", 0, 0, "", now - BK_AGING);
    push_at(&e[4], "c", 0, 0, "", now - BK_AGING + 1);

    for (i = 0; i < 3; i++) {
        push_at(&e[i], "a", 0, 9, "", now);
    }

    ok(strcmp(order(), "baaac") == 0, "who has waited too long goes first");

    fresh();
    push_at(&e[0], "a", 0, 0, "", now - BK_AGING - 5);
    push_at(&e[1], "b", 0, 7, "", now - BK_AGING - 3);
    ok(strcmp(order(), "ab") == 0, "... among those by arrival");
}


/* A worker fails under one that was the last: others have come meanwhile. */

static void
test_back(void)
{
    int               i;
    bk_queue_entry_t  e[8];

    fresh();

    for (i = 0; i < 5; i++) {
        push(&e[i], "a", 0);
    }

    (void) order();
    push(&e[5], "b", 0);
    push(&e[6], "c", 0);
    bk_queue_push(p, &e[4], "", 0);
    ok(strcmp(order(), "abc") == 0,
       "who comes back after all were served is before those who came since");
}


/* One is always left, so that nothing begins anew. */

static void
test_flows(void)
{
    int               i;
    char              owner[16];
    bk_queue_entry_t  last, e;

    fresh();
    push(&last, "last", 0);

    for (i = 0; i < 3 * BK_IDLE_MAX; i++) {
        (void) snprintf(owner, sizeof(owner), "u%d", i);
        push(&e, owner, 0);
        bk_queue_drop(&e);
        bk_queue_user_unref(&e.user);
    }

    ok(HASH_COUNT(p->levels->flows) <= BK_IDLE_MAX + 1,
       "identities that came and went are forgotten");
    push(&e, "u2999", 0);
    ok(e.tag == 2, "... but not those that were here just now");
    bk_queue_drop(&e);
    bk_queue_drop(&last);
    ok(p->levels->flows == NULL, "... and all when nobody waits");
}


static void
test_parked(void)
{
    bk_queue_user_t   *u;
    bk_queue_entry_t   e[8];

    fresh();
    push_at(&e[0], "a", 1, 0, "", now);
    push_at(&e[1], "a", 1, 0, "", now);
    push_at(&e[2], "a", 1, 0, "", now);
    push_at(&e[3], "b", 0, 0, "", now);
    push_at(&e[4], "b", 0, 0, "", now);
    ok(strcmp(order(), "abb") == 0, "a rule's concurrency parks the rest");
    ok(bk_queue_length(p) == 2, "... which stay in the queue");
    ok(bk_queue_position(&e[1], now) == 1
       && bk_queue_position(&e[2], now) == 2, "... in their places");

    u = e[0].user;
    ok(bk_queue_user_live(u) == 1, "what it has is counted");
    (void) bk_queue_stirred(q);
    bk_queue_user_give(u);
    ok(bk_queue_stirred(q) == p, "giving one back stirs the pool");
    ok(bk_queue_next(p, now) == &e[1], "... and the next one is let in");
    bk_queue_drop(&e[1]);
    ok(bk_queue_next(p, now) == &e[2], "one that leaves lets the next in");
    bk_queue_served(&e[2]);
    ok(u->lanes == NULL, "no lane is left when nobody is parked");

    push_at(&e[5], "a", 1, 0, "", now);
    ok(bk_queue_next(p, now) == NULL, "full again");
    push_at(&e[6], "a", 3, 0, "", now);
    ok(strcmp(order(), "aa") == 0, "a rule that allows more lets them in");

    fresh();
    push_at(&e[0], "a", 1, 0, "", now);
    bk_queue_served(bk_queue_next(p, now));
    push_at(&e[1], "a", 1, 0, "", now);
    ok(bk_queue_next(p, now) == NULL, "parked");
    now += BK_AGING + 1;
    push_at(&e[2], "b", 0, 5, "", now);
    ok(bk_queue_next(p, now) == &e[2], "age does not go past a rule");
    bk_queue_user_give(e[0].user);
    ok(bk_queue_next(p, now) == &e[1], "... but counts when it may");
}


static void
test_classes(void)
{
    int               i, ok_all = 1;
    char              arch[16];
    bk_queue_entry_t  e[8];

    fresh();
    push_at(&e[0], "a", 0, 0, "arm64", now);
    push_at(&e[1], "a", 0, 0, "amd64", now);
    push_at(&e[2], "a", 0, 0, "", now);
    ok(bk_queue_next(p, now) == &e[0], "the first of all classes");
    bk_queue_dry(&e[0]);
    ok(bk_queue_next(p, now) == &e[1], "a dry class is passed over");
    ok(bk_queue_position(&e[1], now) == 1, "others' archs are not before it");
    ok(bk_queue_position(&e[2], now) == 3, "but before one that takes any");
    ok(bk_queue_alone(&e[1]), "alone in its class");
    bk_queue_wet(p);
    ok(bk_queue_next(p, now) == &e[0], "until something becomes free");

    push_at(&e[3], "b", 0, 0, "arm64", now);
    bk_queue_served(&e[0]);
    bk_queue_push(p, &e[0], "arm64", 0);
    ok(bk_queue_next(p, now) == &e[0], "who comes back keeps its place");

    fresh();

    for (i = 0; i < 100; i++) {
        (void) snprintf(arch, sizeof(arch), "arch%d", i);
        push_at(&e[0], "a", 1, 0, arch, now);
        bk_queue_user_take(e[0].user);
        ok_all = ok_all && bk_queue_next(p, now) == NULL;
        bk_queue_drop(&e[0]);
    }

    ok(ok_all && p->classes == NULL && e[0].user->lanes == NULL,
       "names that callers choose leave nothing behind");
}


static void
test_estimate(void)
{
    int       i;
    uint64_t  t = 5000000;

    fresh();
    ok(bk_queue_estimate(p, 4, t) == 0, "no releases: nobody knows");
    bk_queue_released(p, t);
    ok(bk_queue_estimate(p, 4, t + 1000) == 0, "one is no rate");

    for (i = 1; i < 40; i++) {
        bk_queue_released(p, t + 1000 * (uint64_t) i);
    }

    ok(bk_queue_estimate(p, 10, t + 39000) == 9
       || bk_queue_estimate(p, 10, t + 39000) == 10, "one a second");
    ok(bk_queue_estimate(p, 10, t + 100000) > 20, "none lately: longer");
    ok(bk_queue_estimate(p, 1, t + 9000000) == 0, "long ago says nothing");
}


/* Positions and order against counting, with 10,000 of 50 identities. */

static void
test_many(void)
{
    int                i, j, wrong, before;
    char               owner[16];
    bk_queue_entry_t  *e, *all, *last;

    fresh();
    srand(7);
    wrong = 0;
    all = calloc(BK_MANY, sizeof(bk_queue_entry_t));

    for (i = 0; i < BK_MANY; i++) {
        (void) snprintf(owner, sizeof(owner), "u%d", rand() % 50);
        push_at(&all[i], owner, 0, rand() % 3, "",
                now - 700000 + (uint64_t) i * 70);
    }

    for (i = 0; i < BK_MANY; i += 3) {
        bk_queue_drop(&all[i]);
    }

    (void) bk_queue_next(p, now);

    for (i = 1; i < BK_MANY; i += 997) {
        if (all[i].class == NULL) {
            continue;
        }

        before = 1;

        for (j = 0; j < BK_MANY; j++) {
            before += all[j].class != NULL
                      && bk_tree_before(&all[j], &all[i]);
        }

        wrong += bk_queue_position(&all[i], now) != (size_t) before;
    }

    ok(wrong == 0, "positions are those that counting gives");

    last = NULL;
    i = 0;

    while ((e = bk_queue_next(p, now)) != NULL) {
        wrong += last != NULL && bk_tree_before(e, last);
        wrong += bk_queue_position(e, now) != 1;
        bk_queue_served(e);
        last = e;
        i++;
    }

    ok(wrong == 0 && i == BK_MANY - (BK_MANY + 2) / 3,
       "everybody is served once, in order");

    free(all);
}


int
main(void)
{
    test_order();
    test_back();
    test_flows();
    test_parked();
    test_classes();
    test_estimate();
    test_many();

    bk_queue_free(&q);

    printf("1..%d\n", n);

    return bad != 0;
}
