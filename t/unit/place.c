/* Which worker an allocation gets: plugins/allocator/place.c.  Prints TAP. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../plugin-host/plugins/allocator/place.c"


#define MAX   64
#define KEYS  10000


static int                n, bad;
static char               names[MAX][16];
static bk_place_worker_t  workers[MAX];
static bk_place_why_t     why;
static int                home;


static void
ok(int good, const char *what)
{
    n++;
    bad += !good;
    printf("%sok %d - %s\n", good ? "" : "not ", n, what);
}


static void
fleet(int count)
{
    int  i;

    memset(workers, 0, sizeof(workers));

    for (i = 0; i < count; i++) {
        (void) snprintf(names[i], sizeof(names[i]), "w%d", i + 1);
        workers[i].name = names[i];
        workers[i].arch = "amd64";
        workers[i].state = BK_WORKER_READY;
    }
}


static bk_place_ask_t
ask(const char *key, uint32_t capacity)
{
    return (bk_place_ask_t) { .key = key, .arch = "", .capacity = capacity,
                              .disk_max = 900, .inode_max = 900,
                              .load_percent = 125 };
}


static int
put(const char *key, uint32_t capacity, size_t count)
{
    bk_place_ask_t  a = ask(key, capacity);

    return bk_place(&a, workers, count, &why, &home);
}


/* Number i of the keys, as a cache key looks. */

static const char *
key(int i)
{
    static char  text[64];

    (void) snprintf(text, sizeof(text), "github.com/octo/app-%d|image|amd64",
                    i);
    return text;
}


static void
scores(void)
{
    ok(bk_place_score(bk_place_fnv("octo/app"), "w1")
       == UINT64_C(0xcb5bf985bd799fb1)
       && bk_place_score(bk_place_fnv("octo/app"), "w2")
          == UINT64_C(0xa74b486513c03b3f),
       "scores are what they were when the caches were filled");
}


static void
same_key(void)
{
    int  i, j, moved, first[100];

    fleet(20);

    for (i = 0; i < 100; i++) {
        first[i] = put(key(i), 1, 20);
    }

    /* the list in another order, names as they were */
    for (moved = 0, i = 0; i < 10; i++) {
        bk_place_worker_t  w = workers[i];

        workers[i] = workers[19 - i];
        workers[19 - i] = w;
    }

    for (i = 0; i < 100; i++) {
        j = put(key(i), 1, 20);
        moved += strcmp(workers[j].name, names[first[i]]) != 0 || !home;
    }

    ok(moved == 0, "the same key, the same worker, however they are listed");
}


static void
even(void)
{
    int  i, least, most, count[20] = { 0 };

    fleet(20);

    for (i = 0; i < KEYS; i++) {
        count[put(key(i), 1, 20)]++;
    }

    for (least = KEYS, most = 0, i = 0; i < 20; i++) {
        least = count[i] < least ? count[i] : least;
        most = count[i] > most ? count[i] : most;
    }

    printf("# of %d keys a worker of 20 has %d to %d\n", KEYS, least, most);
    ok(least > KEYS / 20 * 85 / 100 && most < KEYS / 20 * 115 / 100,
       "keys are spread evenly");
}


/* One more worker takes its share from all and moves nothing else; the same
   the other way round: one that goes leaves its share to the others. */

static void
moves(int count)
{
    int          i, moved, strayed, before, after, from[MAX] = { 0 };
    static char  what[96];

    fleet(count + 1);

    for (moved = strayed = i = 0; i < KEYS; i++) {
        before = put(key(i), 1, (size_t) count);
        after = put(key(i), 1, (size_t) count + 1);

        if (before != after) {
            moved++;
            strayed += after != count;
            from[before]++;
        }
    }

    for (i = 0; i < count; i++) {
        strayed += from[i] == 0;
    }

    printf("# %d workers and one more: %d of %d keys move\n", count, moved,
           KEYS);
    (void) snprintf(what, sizeof(what), "one more than %d workers: about its "
                    "share of the keys moves, to it, from each", count);
    ok(strayed == 0 && moved > KEYS / (count + 1) * 85 / 100
       && moved < KEYS / (count + 1) * 115 / 100, what);
}


/* Of those that have lost their home to a drain, all come back to it. */

static void
away(void)
{
    int  i, before, during, wrong, other = 0;

    fleet(10);

    for (wrong = i = 0; i < 1000; i++) {
        before = put(key(i), 1, 10);
        workers[3].drained = 1;
        during = put(key(i), 1, 10);
        wrong += before == 3 ? during == 3 || home : during != before;
        other |= before == 3 ? 1 << during : 0;
        workers[3].drained = 0;
        wrong += put(key(i), 1, 10) != before || !home;
    }

    ok(wrong == 0, "only the keys of a drained worker go elsewhere, and "
       "come back");
    ok(other == 0x3ff - (1 << 3), "to all the others");
}


static uint64_t
bound(uint64_t total, uint64_t count)
{
    return (125 * (total + 1) + 100 * count - 1) / (100 * count);
}


/* 1,000 allocations, every second one of the same key, 20 shared workers. */

static void
hot(uint32_t capacity, const char *what)
{
    int       i, w, over, homes, hits;
    uint64_t  total;

    fleet(20);

    for (over = homes = hits = i = 0, total = 0; i < 1000; i++) {
        w = put(i % 2 ? "hot" : key(i), capacity, 20);

        if (w == -1) {
            over++;
            continue;
        }

        workers[w].load++;
        total++;
        homes += home;
        hits += i % 2 ? home : 0;
        over += workers[w].load > bound(total - 1, 20)
                || (capacity != 0 && workers[w].load > capacity);
    }

    printf("# %d of 1000 at home, of those with the hot key %d\n", homes,
           hits);
    ok(over == 0, what);
    ok(homes > 250 && hits >= 25, "and many are at home all the same");
}


/* They come and go: the bound is kept at every arrival. */

static void
churn(void)
{
    int       i, w, at, over, on[400];
    uint64_t  total;

    fleet(16);
    srandom(11);

    for (i = 0; i < 400; i++) {
        on[i] = -1;
    }

    for (over = i = 0, total = 0; i < 20000; i++) {
        at = (int) (random() % 400);

        if (on[at] != -1) {
            workers[on[at]].load--;
            total--;
            on[at] = -1;
            continue;
        }

        w = put(random() % 3 ? key((int) (random() % 50)) : NULL, 0, 16);
        over += w == -1 || workers[w].load + 1 > bound(total, 16);

        if (w != -1) {
            on[at] = w;
            workers[w].load++;
            total++;
        }
    }

    ok(over == 0, "no worker gets over the bound as they come and go");
}


static void
capacity(void)
{
    int  i, wrong;

    fleet(5);

    for (wrong = i = 0; i < 5; i++) {
        int  w = put("k", 1, 5);

        wrong += w == -1 || workers[w].load != 0 || home != (i == 0);

        if (w != -1) {
            workers[w].load++;
        }
    }

    ok(wrong == 0, "one each: the key goes on to the next worker, each once");
    ok(put("k", 1, 5) == -1 && why.busy == 5 && why.total == 5 && !home,
       "then there is none, and why");
    ok(put(NULL, 1, 5) == -1 && why.busy == 5, "without a key neither");

    fleet(3);

    for (wrong = i = 0; i < 12; i++) {
        int  w = put(i % 3 ? "k" : NULL, 4, 3);

        wrong += w == -1;
        workers[w == -1 ? 0 : w].load++;
    }

    ok(wrong == 0 && workers[0].load == 4 && workers[1].load == 4
       && workers[2].load == 4 && put("k", 4, 3) == -1 && why.busy == 3,
       "four each: all places are used, and no more");

    fleet(1);
    workers[0].load = 100000;
    ok(put("k", 0, 1) == 0 && put(NULL, 0, 1) == 0,
       "any number: the only worker takes one more");
    ok(put("k", 1, 0) == -1 && why.total == 0, "no workers");
}


static void
unfit(void)
{
    bk_place_ask_t  a = ask(NULL, 1);

    fleet(7);
    workers[0].arch = "arm64";
    workers[1].drained = 1;
    workers[2].state = BK_WORKER_DRAINING;
    workers[3].state = BK_WORKER_FAILED;
    workers[4].disk_permille = 901;
    workers[5].inode_permille = 901;
    workers[6].load = 1;
    a.arch = "amd64";

    ok(bk_place(&a, workers, 7, &why, &home) == -1 && why.total == 7
       && why.other_arch == 1 && why.drained == 2 && why.failed == 1
       && why.full == 2 && why.busy == 1 && why.trust == 0,
       "each is passed over for its own reason");

    workers[4].disk_permille = 900;
    ok(bk_place(&a, workers, 7, &why, &home) == 4, "at the limit it may");

    workers[4].disk_permille = 1000;
    a.disk_max = 0;
    ok(bk_place(&a, workers, 7, &why, &home) == 4, "without a limit as well");

    a.arch = "arm64";
    ok(bk_place(&a, workers, 7, &why, &home) == 0 && why.other_arch == 6,
       "the other architecture");

    fleet(20);
    a = ask("k", 1);
    workers[put("k", 1, 20)].arch = "arm64";
    a.arch = "amd64";
    ok(bk_place(&a, workers, 20, &why, &home) != -1 && home,
       "the home of a key is one of its architecture");

    workers[3].arch = NULL;
    workers[3].state = 99;
    a.arch = NULL;
    ok(bk_place(&a, workers, 20, &why, &home) != 3 && why.failed == 1,
       "no architecture, an unknown state");
}


static void
order(void)
{
    int  w;

    fleet(4);
    workers[0].state = BK_WORKER_STOPPED;
    workers[1].state = BK_WORKER_STARTING;
    ok(put(NULL, 1, 4) == 2, "without a key: a ready one");
    workers[2].load = workers[3].load = 1;
    ok(put(NULL, 1, 4) == 1, "then one that starts");
    workers[1].load = 1;
    ok(put("", 1, 4) == 0, "then one that is stopped");

    fleet(4);
    workers[0].load = 3;
    workers[1].load = 1;
    workers[2].load = 2;
    workers[3].load = 1;
    workers[1].state = BK_WORKER_STARTING;
    ok(put(NULL, 0, 4) == 3, "the least loaded, of those a ready one");

    workers[3].load = 2;
    ok(put(NULL, 0, 4) == 1, "a ready one with more on it is left");

    fleet(4);
    w = put("k", 1, 4);
    workers[w].state = BK_WORKER_STOPPED;
    ok(put("k", 1, 4) == w && home, "with a key its home, stopped or not");
}


static void
trust(void)
{
    bk_place_ask_t  a = ask(NULL, 1), b;

    fleet(4);
    a.untrusted = 1;
    workers[0].trusted = 1;
    workers[1].untrusted = 1;
    workers[1].state = BK_WORKER_STOPPED;

    ok(bk_place(&a, workers, 4, &why, &home) == 1 && why.trust == 1,
       "untrusted: where untrusted ones were, even if it must be started");
    workers[1].load = 1;
    ok(bk_place(&a, workers, 4, &why, &home) == 2, "then a new one");
    workers[0].trusted = 0;
    workers[3].trusted = 1;
    ok(put(NULL, 1, 4) == 3 && why.trust == 1,
       "trusted: where trusted ones were");
    workers[3].load = 1;
    workers[0].load = 1;
    ok(put(NULL, 1, 4) == 2, "then a new one");
    workers[0].trusted = 1;

    workers[2].trusted = workers[3].trusted = 1;
    ok(bk_place(&a, workers, 4, &why, &home) == -1 && why.trust == 3
       && why.busy == 1, "never one of the others");

    b = ask("k", 0);
    b.untrusted = 1;
    ok(bk_place(&b, workers, 4, &why, &home) == 1 && home,
       "a key does not help");

    workers[1].trusted = 1;
    ok(bk_place(&b, workers, 4, &why, &home) == -1 && why.trust == 4,
       "one that was both is nobody's");
}


int
main(void)
{
    scores();
    same_key();
    even();
    moves(4);
    moves(9);
    moves(40);
    away();
    hot(0, "a hot key never loads a worker over the bound");
    hot(60, "nor over the capacity");
    churn();
    capacity();
    unfit();
    order();
    trust();

    printf("1..%d\n", n);
    return bad ? 1 : 0;
}
