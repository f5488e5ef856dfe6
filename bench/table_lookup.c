/*
 * The route table at size: nanoseconds per look-up, hit and miss, with and
 * without a writer that changes it all the time, and the memory that it
 * takes.  Called by tools/bench.
 *
 *     table_lookup [-n ENTRIES] [-r ROUNDS] [-p PATH]
 *
 * The reader is what nginx is: another process with a read-only mapping that
 * knows nothing but keys, picked at random from all.  Two kinds of figures:
 * look-ups in a row, as a busy worker process makes them, and "alone": a
 * fence after each, so that it pays for its memory all by itself.  "load" is
 * one dependent load from the table on this machine.  One key in eight comes
 * and goes while we look; the others must be found every time, and the
 * program fails if one is not.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bk_table_read.h"
#include "table.h"


#define BENCH_ROUNDS_MAX  99
#define BENCH_LOOKS       500000


typedef struct {
    volatile uint64_t  stop;
    volatile uint64_t  changes;
} bench_shared_t;


static void bench_key(uint64_t n, uint8_t *key);
static uint64_t bench_mix(uint64_t x);
static void bench_alloc(bk_table_alloc_t *a, uint64_t n);
static void bench_fill(bk_table_t *t, uint32_t n);
static void bench_churn(bk_table_t *t, uint32_t n, bench_shared_t *shared);
static const char *bench_map(const char *path, bk_table_view_t *v);
static double bench_look(const bk_table_view_t *v, const uint8_t *keys,
    uint32_t looks, int miss, int alone);
static uint8_t *bench_keys(uint32_t n, int miss);
static double bench_chase(const bk_table_view_t *v, const uint8_t *keys);
static int bench_reader(const char *path, uint32_t n, int rounds,
    bench_shared_t *shared);
static void bench_wait(void);
static double bench_now(clockid_t clock);
static int bench_compare(const void *a, const void *b);

static uint32_t  *bench_index;


int
main(int argc, char **argv)
{
    int                opt, rounds, status;
    char               path[4096];
    pid_t              pid;
    uint32_t           n;
    bk_err_t           err;
    bk_table_t        *t;
    bench_shared_t    *shared;
    bk_table_conf_t    conf;
    bk_table_stats_t   stats;
    bk_table_opened_t  opened;

    n = 1000000;
    rounds = 5;
    snprintf(path, sizeof(path), "/dev/shm/bk-bench-%ld.table",
             (long) getpid());

    while ((opt = getopt(argc, argv, "n:r:p:")) != -1) {
        switch (opt) {

        case 'n':
            n = (uint32_t) strtoul(optarg, NULL, 10);
            break;

        case 'r':
            rounds = atoi(optarg);
            break;

        case 'p':
            snprintf(path, sizeof(path), "%s", optarg);
            break;

        default:
            fprintf(stderr, "usage: table_lookup [-n ENTRIES] [-r ROUNDS] "
                    "[-p PATH]\n");
            return 2;
        }
    }

    if (n < 1000 || rounds < 1 || rounds > BENCH_ROUNDS_MAX) {
        fprintf(stderr, "table_lookup: 1000 entries and 1 to %d rounds\n",
                BENCH_ROUNDS_MAX);
        return 2;
    }

    memset(&conf, 0, sizeof(bk_table_conf_t));
    conf.path = path;
    conf.allocations = n;
    conf.workers = 4096;
    conf.pools = 256;

    if (bk_table_open(&t, &conf, &opened, &err) != 0) {
        fprintf(stderr, "table_lookup: %s\n", err.text);
        return 1;
    }

    shared = mmap(NULL, sizeof(bench_shared_t), PROT_READ|PROT_WRITE,
                  MAP_SHARED|MAP_ANONYMOUS, -1, 0);
    bench_index = calloc(n, sizeof(uint32_t));

    if (shared == MAP_FAILED || bench_index == NULL) {
        return 1;
    }

    bench_fill(t, n);
    bk_table_live(t);

    bk_table_stats(t, &stats);
    printf("table entries %u\n", stats.entries_used);
    printf("table memory %.1f MiB\n", (double) stats.bytes / (1 << 20));
    fflush(stdout);

    pid = fork();

    if (pid == 0) {
        _exit(bench_reader(path, n, rounds, shared));
    }

    bench_churn(t, n, shared);

    if (pid == -1 || waitpid(pid, &status, 0) != pid) {
        status = 1;
    }

    bk_table_close(&t);
    free(bench_index);
    unlink(path);
    strncat(path, ".lock", sizeof(path) - strlen(path) - 1);
    unlink(path);

    return status != 0;
}


/* Spread like SHA-256, far cheaper to make. */
static void
bench_key(uint64_t n, uint8_t *key)
{
    int       i;
    uint64_t  word;

    for (i = 0; i < 4; i++) {
        word = bench_mix(n * 4 + (uint64_t) i);
        memcpy(key + i * 8, &word, 8);
    }
}


/* splitmix64 */
static uint64_t
bench_mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);

    return x ^ (x >> 31);
}


static void
bench_alloc(bk_table_alloc_t *a, uint64_t n)
{
    memset(a, 0, sizeof(bk_table_alloc_t));
    a->state = BK_ALLOC_READY;
    a->expires_ms = n;
    a->worker.index = (uint32_t) n % 4096;
    a->text.index = BK_TABLE_NONE;
}


/* Keys 0 to n - 1; in an order of their own, as they would come. */
static void
bench_fill(bk_table_t *t, uint32_t n)
{
    uint8_t           key[BK_TABLE_HASH_LEN];
    uint32_t          i;
    bk_err_t          err;
    bk_table_alloc_t  a;

    for (i = 0; i < n; i++) {
        bench_key(i, key);
        bench_alloc(&a, i);

        if (bk_table_alloc_insert(t, key, key, &a, NULL, &bench_index[i],
                                  &err) != 0)
        {
            fprintf(stderr, "table_lookup: %s\n", err.text);
            exit(1);
        }
    }
}


/*
 * Until told to stop: renews any entry, ends and removes one in eight and
 * puts another in its place.  At the full speed of a core.
 */
static void
bench_churn(bk_table_t *t, uint32_t n, bench_shared_t *shared)
{
    uint8_t           key[BK_TABLE_HASH_LEN];
    uint32_t          i;
    uint64_t          k;
    bk_err_t          err;
    bk_table_alloc_t  a;

    for (k = 0; shared->stop == 0; k++) {

        if (shared->changes == 0) {
            usleep(1000);
            k = 0;
            continue;
        }

        i = (uint32_t) (bench_mix(k) % n);
        bench_alloc(&a, k);

        if (i % 8 != 0) {
            bk_table_alloc_update(t, bench_index[i], &a, NULL);

        } else {
            a.state = BK_ALLOC_RELEASED;
            bk_table_alloc_update(t, bench_index[i], &a, "released by its "
                                  "owner");
            bk_table_alloc_remove(t, bench_index[i]);

            a.state = BK_ALLOC_READY;
            bench_key(i, key);

            if (bk_table_alloc_insert(t, key, key, &a, NULL, &bench_index[i],
                                      &err) != 0)
            {
                fprintf(stderr, "table_lookup: %s\n", err.text);
                exit(1);
            }
        }

        shared->changes++;
    }
}


static int
bench_reader(const char *path, uint32_t n, int rounds,
    bench_shared_t *shared)
{
    int              alone, churn, i, miss;
    double           ns[2][2][2][BENCH_ROUNDS_MAX], took;
    uint8_t         *keys[2];
    uint64_t         before;
    const char      *bad;
    bk_table_view_t  v;

    bad = bench_map(path, &v);

    if (bad != NULL) {
        fprintf(stderr, "table_lookup: %s %s\n", path, bad);
        shared->stop = 1;
        return 1;
    }

    keys[0] = bench_keys(n, 0);
    keys[1] = bench_keys(n, 1);

    /* page tables and caches as in a process that runs for some time */

    for (i = 0; i < 4; i++) {
        (void) bench_look(&v, keys[i & 1], BENCH_LOOKS, i & 1, 0);
    }

    printf("table load %.0f ns\n", bench_chase(&v, keys[0]));

    took = 0;
    before = 0;

    for (churn = 0; churn < 2; churn++) {

        if (churn == 1) {
            shared->changes = 1;
            before = shared->changes;
            took = bench_now(CLOCK_MONOTONIC);
        }

        for (i = 0; i < rounds * 4; i++) {
            alone = i >> 1 & 1;
            miss = i & 1;

            ns[churn][alone][miss][i / 4] = bench_look(&v, keys[miss],
                                                       BENCH_LOOKS, miss,
                                                       alone);

            if (ns[churn][alone][miss][i / 4] < 0) {
                fprintf(stderr, "table_lookup: a live entry was not found, "
                        "or one that never was there\n");
                shared->stop = 1;
                return 1;
            }
        }
    }

    took = bench_now(CLOCK_MONOTONIC) - took;
    printf("table churn %.0f changes/s\n",
           (double) (shared->changes - before) / took);
    shared->stop = 1;

    for (i = 0; i < 8; i++) {
        churn = i >> 2 & 1;
        alone = i >> 1 & 1;
        miss = i & 1;

        qsort(ns[churn][alone][miss], (size_t) rounds, sizeof(double),
              bench_compare);
        printf("table %s%s%s %.0f ns\n", miss ? "miss" : "hit",
               alone ? "-alone" : "", churn ? "-churn" : "",
               ns[churn][alone][miss][rounds / 2]);
    }

    fflush(stdout);
    free(keys[0]);
    free(keys[1]);

    return 0;
}


/* BENCH_LOOKS keys at random: all live, or none that ever was there. */
static uint8_t *
bench_keys(uint32_t n, int miss)
{
    uint8_t   *keys;
    uint32_t   i;
    uint64_t   pick;

    keys = calloc(BENCH_LOOKS, BK_TABLE_HASH_LEN);

    if (keys == NULL) {
        abort();
    }

    for (i = 0; i < BENCH_LOOKS; i++) {
        pick = bench_mix((UINT64_C(1) << 50) + i) % n;

        if (miss) {
            pick += UINT64_C(1) << 40;

        } else if (pick % 8 == 0) {
            pick++;     /* those come and go */
        }

        bench_key(pick < n || miss ? pick : 1, keys + (size_t) i * 32);
    }

    return keys;
}


/*
 * What one load from the entries costs on this machine, each at a place that
 * depends on the one before: the floor that the other figures stand on.
 */
static double
bench_chase(const bk_table_view_t *v, const uint8_t *keys)
{
    double    since;
    uint32_t  i, place;
    uint64_t  at, sum;

    since = bench_now(CLOCK_THREAD_CPUTIME_ID);
    sum = 0;

    for (i = 0; i < BENCH_LOOKS; i++) {
        memcpy(&place, keys + (size_t) i * BK_TABLE_HASH_LEN, sizeof(place));
        at = ((uint64_t) place * v->nentries) >> 32;
        sum = bk_table_load(&v->entries[(at + sum) % v->nentries].seq) & 1;
    }

    return (bench_now(CLOCK_THREAD_CPUTIME_ID) - since) * 1e9 / BENCH_LOOKS;
}


static const char *
bench_map(const char *path, bk_table_view_t *v)
{
    int          fd;
    void        *base;
    struct stat  st;

    fd = open(path, O_RDONLY|O_CLOEXEC);

    if (fd == -1 || fstat(fd, &st) == -1) {
        return "cannot be opened";
    }

    base = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);

    if (base == MAP_FAILED) {
        return "cannot be mapped";
    }

    return bk_table_view_init(v, base, (uint64_t) st.st_size);
}


/* Nanoseconds of CPU for one look-up; -1: a wrong answer. */
static double
bench_look(const bk_table_view_t *v, const uint8_t *keys, uint32_t looks,
    int miss, int alone)
{
    int               rc, want;
    double            since;
    uint32_t          i;
    bk_table_found_t  f;

    want = miss ? BK_TABLE_MISS : BK_TABLE_OK;
    since = bench_now(CLOCK_THREAD_CPUTIME_ID);

    for (i = 0; i < looks; i++) {
        rc = bk_table_lookup(v, keys + (size_t) i * BK_TABLE_HASH_LEN, &f);

        if (rc != want && rc != BK_TABLE_BUSY) {
            return -1;
        }

        if (alone) {
            bench_wait();
        }
    }

    return (bench_now(CLOCK_THREAD_CPUTIME_ID) - since) * 1e9 / looks;
}


/* Until all that was begun is done. */
static void
bench_wait(void)
{
#if defined(__x86_64__)
    __builtin_ia32_lfence();
#else
    __sync_synchronize();
#endif
}


static double
bench_now(clockid_t clock)
{
    struct timespec  ts;

    clock_gettime(clock, &ts);

    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}


static int
bench_compare(const void *a, const void *b)
{
    double  x = *(const double *) a, y = *(const double *) b;

    return (x > y) - (x < y);
}
