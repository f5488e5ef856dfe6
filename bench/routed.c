/*
 * When is an allocation routable?
 *
 *     routed TABLE...
 *
 * Maps the route tables, as gateways do.  Then each line of standard input is
 * a token's SHA-256 (64 hex digits), answered when that allocation is ready in
 * all of them, or was not for a minute: a line with CLOCK_MONOTONIC, in ns, of
 * each table (0: never).
 */

#include <sys/mman.h>
#include <sys/stat.h>

#include "bench.h"
#include "bk_table_read.h"


#define ROUTED_TABLES    16
#define ROUTED_PATIENCE  UINT64_C(60000000000)
#define ROUTED_STEP      200                    /* us */


static void routed_open(const char *path, bk_table_view_t *view);
static int routed_is(const bk_table_view_t *view, const uint8_t *hash);
static void routed_wait(const uint8_t *hash);


static bk_table_view_t  routed[ROUTED_TABLES];
static int              routed_n;


static void
routed_open(const char *path, bk_table_view_t *view)
{
    int           fd;
    void         *map;
    const char   *bad;
    struct stat   st;

    fd = open(path, O_RDONLY|O_CLOEXEC);

    if (fd == -1 || fstat(fd, &st) == -1) {
        bench_die(errno, "%s", path);
    }

    map = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_SHARED, fd, 0);

    if (map == MAP_FAILED) {
        bench_die(errno, "%s", path);
    }

    close(fd);
    bad = bk_table_view_init(view, map, (size_t) st.st_size);

    if (bad != NULL) {
        bench_die(0, "%s: %s", path, bad);
    }
}


static int
routed_is(const bk_table_view_t *view, const uint8_t *hash)
{
    bk_table_found_t  found;

    return bk_table_lookup(view, hash, &found) == BK_TABLE_OK
           && found.alloc.state == BK_ALLOC_READY;
}


static void
routed_wait(const uint8_t *hash)
{
    int        i, left = routed_n;
    uint64_t   at[ROUTED_TABLES] = { 0 }, end = bench_now_ns();

    end += ROUTED_PATIENCE;

    while (left > 0 && bench_now_ns() < end) {
        for (i = 0; i < routed_n; i++) {
            if (at[i] == 0 && routed_is(&routed[i], hash)) {
                at[i] = bench_now_ns();
                left--;
            }
        }

        usleep(ROUTED_STEP);
    }

    for (i = 0; i < routed_n; i++) {
        printf("%s%llu", i > 0 ? " " : "", (unsigned long long) at[i]);
    }

    printf("\n");
    fflush(stdout);
}


int
main(int argc, char **argv)
{
    int        i;
    char       line[256];
    uint8_t    hash[BK_TABLE_HASH_LEN];
    unsigned   byte;

    if (argc < 2 || argc > ROUTED_TABLES + 1) {
        bench_die(0, "usage: routed TABLE...");
    }

    for (i = 1; i < argc; i++) {
        routed_open(argv[i], &routed[routed_n++]);
    }

    printf("ready\n");
    fflush(stdout);

    while (fgets(line, sizeof(line), stdin) != NULL) {
        for (i = 0; i < BK_TABLE_HASH_LEN; i++) {
            if (sscanf(line + 2 * i, "%2x", &byte) != 1) {
                bench_die(0, "%s is no hash", line);
            }

            hash[i] = (uint8_t) byte;
        }

        routed_wait(hash);
    }

    return 0;
}
