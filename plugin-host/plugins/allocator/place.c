/*
 * Placement (place.h says what it does, doc/placement.md why).
 *
 * The method: rendezvous hashing, D. Thaler and C. Ravishankar, "Using
 * name-based mappings to increase hit rates", IEEE/ACM Transactions on
 * Networking 6(1), 1998; with bounded loads as in V. Mirrokni, M. Thorup and
 * M. Zadimoghaddam, "Consistent hashing with bounded loads", SODA 2018.  The
 * score is FNV-1a (64 bits) of key and of name, joined by the finaliser of
 * A. Appleby's MurmurHash3, which lets each bit change every other.
 *
 * A score must never change: all caches would move.  Nobody gains from keys
 * that collide: who wants another's worker names that one's key.
 */

#include <string.h>

#include "place.h"


#define BK_FNV_BASIS  UINT64_C(0xcbf29ce484222325)
#define BK_FNV_PRIME  UINT64_C(0x00000100000001b3)


/* One look at the workers. */
typedef struct {
    const bk_place_ask_t     *ask;
    const bk_place_worker_t  *workers;
    size_t                    n;
    uint64_t                  key;
    uint64_t                  limit;    /* of a worker's load, exclusive */
    int                       keyed;
    int                       marked;   /* only those that had untrusted
                                           ones */
} bk_place_look_t;


static uint64_t bk_place_fnv(const char *s);
static uint64_t bk_place_mix(uint64_t x);
static uint64_t bk_place_score(uint64_t key, const char *name);
static int bk_place_other_arch(const bk_place_ask_t *ask,
    const bk_place_worker_t *w);
static int bk_place_other_trust(const bk_place_ask_t *ask,
    const bk_place_worker_t *w);
static unsigned *bk_place_unfit(const bk_place_ask_t *ask,
    const bk_place_worker_t *w, bk_place_why_t *why);
static int bk_place_rank(int state);
static uint64_t bk_place_limit(const bk_place_ask_t *ask, uint64_t total,
    uint64_t n);
static int bk_place_by_key(const bk_place_look_t *look, int *home);
static int bk_place_by_load(const bk_place_look_t *look);
static int bk_place_lighter(const bk_place_worker_t *w,
    const bk_place_worker_t *than);
static int bk_place_skips(const bk_place_look_t *look,
    const bk_place_worker_t *w);


static uint64_t
bk_place_fnv(const char *s)
{
    uint64_t  h;

    for (h = BK_FNV_BASIS; *s != '\0'; s++) {
        h = (h ^ (unsigned char) *s) * BK_FNV_PRIME;
    }

    return h;
}


static uint64_t
bk_place_mix(uint64_t x)
{
    x ^= x >> 33;
    x *= UINT64_C(0xff51afd7ed558ccd);
    x ^= x >> 33;
    x *= UINT64_C(0xc4ceb9fe1a85ec53);
    x ^= x >> 33;

    return x;
}


/* The name is mixed first: "w1" and "w2" differ in two bits of their FNV. */

static uint64_t
bk_place_score(uint64_t key, const char *name)
{
    return bk_place_mix(key ^ bk_place_mix(bk_place_fnv(name)));
}


static int
bk_place_other_arch(const bk_place_ask_t *ask, const bk_place_worker_t *w)
{
    return ask->arch != NULL && ask->arch[0] != '\0'
           && (w->arch == NULL || strcmp(ask->arch, w->arch) != 0);
}


static int
bk_place_other_trust(const bk_place_ask_t *ask, const bk_place_worker_t *w)
{
    return ask->untrusted ? w->trusted : w->untrusted;
}


/* What it is passed over for, however little there is on it; NULL: nothing. */

static unsigned *
bk_place_unfit(const bk_place_ask_t *ask, const bk_place_worker_t *w,
    bk_place_why_t *why)
{
    if (bk_place_other_arch(ask, w)) {
        return &why->other_arch;
    }

    if (bk_place_other_trust(ask, w)) {
        return &why->trust;
    }

    if (w->drained || w->state == BK_WORKER_DRAINING) {
        return &why->drained;
    }

    if (bk_place_rank(w->state) == 0) {
        return &why->failed;
    }

    if ((ask->disk_max != 0 && w->disk_permille > ask->disk_max)
        || (ask->inode_max != 0 && w->inode_permille > ask->inode_max))
    {
        return &why->full;
    }

    return NULL;
}


static int
bk_place_rank(int state)
{
    switch (state) {
    case BK_WORKER_READY:
        return 3;
    case BK_WORKER_STARTING:
        return 2;
    case BK_WORKER_STOPPED:
        return 1;
    default:
        return 0;
    }
}


/*
 * What a worker may have at most before it gets one more: its capacity, and,
 * where it takes several, its share of all with a margin.  The least loaded
 * one is always below its share, so the bound alone never refuses anybody.
 */

static uint64_t
bk_place_limit(const bk_place_ask_t *ask, uint64_t total, uint64_t n)
{
    uint64_t  bound, percent;

    if (n == 0) {
        return 0;
    }

    /* below the mean some workers would have to have none */
    percent = ask->load_percent < 100 ? 100 : ask->load_percent;
    bound = (percent * (total + 1) + 100 * n - 1) / (100 * n);

    return ask->capacity != 0 && ask->capacity < bound ? ask->capacity
                                                       : bound;
}


static int
bk_place_skips(const bk_place_look_t *look, const bk_place_worker_t *w)
{
    bk_place_why_t  ignored;

    return bk_place_unfit(look->ask, w, &ignored) != NULL
           || (look->marked && !w->untrusted);
}


/*
 * The highest score that may take it.  Its home is the highest of all that
 * ever may: one that is drained, failed or full today still has its cache.
 */

static int
bk_place_by_key(const bk_place_look_t *look, int *home)
{
    int                       best, first;
    size_t                    i;
    uint64_t                  score, best_score, first_score;
    const bk_place_worker_t  *w;

    best = -1;
    first = -1;
    best_score = 0;
    first_score = 0;

    for (i = 0; i < look->n; i++) {
        w = &look->workers[i];

        if (bk_place_other_arch(look->ask, w)
            || bk_place_other_trust(look->ask, w)
            || (look->marked && !w->untrusted))
        {
            continue;
        }

        score = bk_place_score(look->key, w->name);

        if (first == -1 || score > first_score) {
            first = (int) i;
            first_score = score;
        }

        if (bk_place_skips(look, w) || w->load >= look->limit) {
            continue;
        }

        if (best == -1 || score > best_score) {
            best = (int) i;
            best_score = score;
        }
    }

    *home = best != -1 && best == first;
    return best;
}


static int
bk_place_by_load(const bk_place_look_t *look)
{
    int                       best;
    size_t                    i;
    const bk_place_worker_t  *w;

    best = -1;

    for (i = 0; i < look->n; i++) {
        w = &look->workers[i];

        if (bk_place_skips(look, w) || w->load >= look->limit) {
            continue;
        }

        if (best == -1 || bk_place_lighter(w, &look->workers[best])) {
            best = (int) i;
        }
    }

    return best;
}


/* Of two alike the one that was trusted before: others stay for whoever. */

static int
bk_place_lighter(const bk_place_worker_t *w, const bk_place_worker_t *than)
{
    if (w->load != than->load) {
        return w->load < than->load;
    }

    if (w->state != than->state) {
        return bk_place_rank(w->state) > bk_place_rank(than->state);
    }

    return w->trusted && !than->trusted;
}


int
bk_place(const bk_place_ask_t *ask, const bk_place_worker_t *workers,
    size_t n, bk_place_why_t *why, int *home)
{
    int              found;
    size_t           i;
    uint64_t         fit, total;
    unsigned        *unfit;
    bk_place_look_t  look;

    memset(why, 0, sizeof(bk_place_why_t));
    why->total = (unsigned) n;
    *home = 0;

    fit = 0;
    total = 0;

    for (i = 0; i < n; i++) {
        unfit = bk_place_unfit(ask, &workers[i], why);

        if (unfit != NULL) {
            (*unfit)++;
            continue;
        }

        fit++;
        total += workers[i].load;
    }

    look = (bk_place_look_t) {
        .ask = ask,
        .workers = workers,
        .n = n,
        .limit = bk_place_limit(ask, total, fit),
        .keyed = ask->key != NULL && ask->key[0] != '\0'
    };

    if (look.keyed) {
        look.key = bk_place_fnv(ask->key);
    }

    for (i = 0; i < n; i++) {
        if (!bk_place_skips(&look, &workers[i])
            && workers[i].load >= look.limit)
        {
            why->busy++;
        }
    }

    /*
     * An untrusted one makes a worker useless for trusted ones for good: it
     * first looks at those that are so already, a stopped one too.
     */
    look.marked = ask->untrusted;

    for ( ;; ) {
        found = look.keyed ? bk_place_by_key(&look, home)
                           : bk_place_by_load(&look);

        if (found != -1 || !look.marked) {
            return found;
        }

        look.marked = 0;
    }
}
