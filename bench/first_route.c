/*
 * From the start of plugin-host to its first route.
 *
 *     first_route TABLE TOKEN-HASH LOG PROGRAM [ARGUMENT...]
 *
 * Starts the program with its output in LOG, and maps the route table until the allocation with this
 * hash (64 hex digits) is ready in it, as a gateway would.  Prints one line of
 * key=value, and stops the program: route_ms (start to that), live_ms (start to
 * the whole table being in force), rss_kb (of the program then).
 */

#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "bench.h"
#include "bk_table_read.h"


#define FIRST_PATIENCE  UINT64_C(120000000000)
#define FIRST_STEP      500                     /* us */


static int first_map(const char *path, bk_table_view_t *view, void **map,
    size_t *size);
static int first_found(const char *path, const uint8_t *hash);
static int first_live(const char *path);
static long first_rss(pid_t pid);
static void first_exec(const char *log, char **argv)
    __attribute__((noreturn));
static void first_stop(pid_t pid);


/* Anew each time: a starting host may put another file in its place. */

static int
first_map(const char *path, bk_table_view_t *view, void **map, size_t *size)
{
    int          fd;
    struct stat  st;

    fd = open(path, O_RDONLY|O_CLOEXEC);

    if (fd == -1) {
        return -1;
    }

    *map = MAP_FAILED;

    if (fstat(fd, &st) == 0 && st.st_size > 0) {
        *size = (size_t) st.st_size;
        *map = mmap(NULL, *size, PROT_READ, MAP_SHARED, fd, 0);
    }

    close(fd);

    if (*map == MAP_FAILED) {
        return -1;
    }

    if (bk_table_view_init(view, *map, *size) != NULL) {
        munmap(*map, *size);
        return -1;
    }

    return 0;
}


static int
first_found(const char *path, const uint8_t *hash)
{
    int                rc;
    void              *map;
    size_t             size;
    bk_table_view_t    view;
    bk_table_found_t   found;

    if (first_map(path, &view, &map, &size) != 0) {
        return 0;
    }

    rc = bk_table_lookup(&view, hash, &found) == BK_TABLE_OK
         && found.alloc.state == BK_ALLOC_READY;
    munmap(map, size);

    return rc;
}


static int
first_live(const char *path)
{
    int               rc;
    void             *map;
    size_t            size;
    bk_table_view_t   view;

    if (first_map(path, &view, &map, &size) != 0) {
        return 0;
    }

    rc = ((const bk_table_header_t *) map)->state == BK_TABLE_LIVE;
    munmap(map, size);

    return rc;
}


static long
first_rss(pid_t pid)
{
    long   kb = 0;
    char   path[64], line[256];
    FILE  *f;

    snprintf(path, sizeof(path), "/proc/%d/status", (int) pid);
    f = fopen(path, "r");

    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "VmRSS: %ld", &kb) == 1) {
            break;
        }
    }

    if (f != NULL) {
        fclose(f);
    }

    return kb;
}


static void
first_exec(const char *log, char **argv)
{
    int  fd;

    fd = open(log, O_WRONLY|O_CREAT|O_APPEND, 0600);

    if (fd == -1 || dup2(fd, 1) == -1 || dup2(fd, 2) == -1) {
        bench_die(errno, "%s", log);
    }

    execvp(argv[0], argv);
    bench_die(errno, "%s", argv[0]);
}


static void
first_stop(pid_t pid)
{
    int  status;

    (void) kill(pid, SIGTERM);

    if (waitpid(pid, &status, 0) == -1) {
        bench_die(errno, "waitpid");
    }
}


int
main(int argc, char **argv)
{
    int        status;
    pid_t      pid;
    uint64_t   live, route, start;
    uint8_t    hash[BK_TABLE_HASH_LEN];
    unsigned   byte, i;

    if (argc < 5 || strlen(argv[2]) != 2 * BK_TABLE_HASH_LEN) {
        bench_die(0, "usage: first_route TABLE HASH LOG PROGRAM [ARGUMENT...]");
    }

    for (i = 0; i < BK_TABLE_HASH_LEN; i++) {
        if (sscanf(argv[2] + 2 * i, "%2x", &byte) != 1) {
            bench_die(0, "%s is no hash", argv[2]);
        }

        hash[i] = (uint8_t) byte;
    }

    start = bench_now_ns();
    pid = fork();

    if (pid == -1) {
        bench_die(errno, "fork");
    }

    if (pid == 0) {
        first_exec(argv[3], argv + 4);
    }

    route = 0;
    live = 0;

    while (route == 0 || live == 0) {
        usleep(FIRST_STEP);

        if (route == 0 && first_found(argv[1], hash)) {
            route = bench_now_ns() - start;
        }

        if (live == 0 && first_live(argv[1])) {
            live = bench_now_ns() - start;
        }

        if (waitpid(pid, &status, WNOHANG) != 0) {
            bench_die(0, "%s ended: %x", argv[4], status);
        }

        if (bench_now_ns() - start > FIRST_PATIENCE) {
            first_stop(pid);
            bench_die(0, "no route after %d s (live: %d)",
                      (int) (FIRST_PATIENCE / 1000000000), live != 0);
        }
    }

    printf("route_ms=%.0f live_ms=%.0f rss_kb=%ld\n", (double) route / 1e6,
           (double) live / 1e6, first_rss(pid));
    first_stop(pid);

    return 0;
}
