/*
 * A writer that dies while it opens the table: taking one over that needs
 * repair, and replacing one by another size.  It is single-stepped (ptrace);
 * whenever files or table have changed, a reader that opens the path must
 * find a live table with every route, one that has the old file mapped must
 * find them too or be told, and the next writer must get through on a copy of
 * what lies there and leave nobody behind.  Prints TAP.
 */

#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "table_test.h"


#define TT_LIVE   20
#define TT_SMALL  30
#define TT_LARGE  40


/* What the child may have changed. */
typedef struct {
    ino_t     table;
    ino_t     new;
    off_t     new_size;
    uint64_t  state;
    uint64_t  sum;
} tt_mark_t;


static void tt_run(const char *what, uint32_t entries);
static void tt_damage(void);
static void tt_mark(const bk_table_view_t *old, tt_mark_t *m);
static int tt_reader(void);
static int tt_routes(const bk_table_view_t *v);
static int tt_successor(uint32_t entries);
static void tt_copy(const char *from, const char *to);
static int tt_go(pid_t pid, enum __ptrace_request how);


int
main(void)
{
    tt_begin();

    tt_run("take-over", TT_SMALL);
    tt_run("another size", TT_LARGE);

    return tt_end();
}


static void
tt_run(const char *what, uint32_t entries)
{
    int               sig;
    pid_t             pid;
    bk_err_t          err;
    uint32_t          bad_old, bad_path, bad_next, frames, i;
    uint64_t          steps;
    tt_mark_t         last, now;
    bk_table_t       *t;
    bk_table_view_t   old;

    tt_remove();
    t = tt_new(TT_SMALL, 2, 2);

    for (i = 0; i < TT_LIVE + 2; i++) {
        (void) tt_insert(t, i, BK_ALLOC_READY, NULL, &err);
    }

    bk_table_live(t);
    bk_table_close(&t);

    tt_damage();

    (void) tt_map(&old);
    tt_mark(&old, &last);

    pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        t = tt_new(entries, 2, 2);
        raise(SIGSTOP);
        _exit(0);
    }

    sig = tt_go(pid, 0);

    bad_old = 0;
    bad_path = 0;
    bad_next = 0;
    frames = 0;
    steps = 0;

    while (sig == (steps ? SIGTRAP : SIGSTOP)) {
        sig = tt_go(pid, PTRACE_SINGLESTEP);
        steps++;

        /* between two of its system calls lie more instructions than these */

        if (steps % 8 != 0 && sig == SIGTRAP) {
            continue;
        }

        tt_mark(&old, &now);

        if (memcmp(&now, &last, sizeof(tt_mark_t)) == 0) {
            continue;
        }

        last = now;
        frames++;

        bad_path += !tt_reader();
        bad_old += !tt_routes(&old);
        bad_next += !tt_successor(entries);
    }

    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);

    ok(sig == SIGSTOP && frames > 3, "%s: %llu instructions, %u changes",
       what, (unsigned long long) steps, frames);
    ok(bad_path == 0, "%s: who opens the path finds all routes, live", what);
    ok(bad_old == 0, "%s: who has the old file finds all routes", what);
    ok(bad_next == 0, "%s: the next writer gets through", what);
    ok(bk_table_state(&old) == (entries == TT_SMALL ? BK_TABLE_LIVE
                                                    : BK_TABLE_RETIRED),
       "%s: in the end readers know what holds", what);

    tt_unmap(&old);
}


/* Two entries that cannot be found, as of a writer that died. */
static void
tt_damage(void)
{
    int                 fd;
    uint32_t            b, i;
    uint8_t            *base;
    bk_table_view_t     v;
    bk_table_bucket_t  *bucket;

    (void) tt_map(&v);
    fd = open(tt_path, O_RDWR);
    base = mmap(NULL, v.size, PROT_READ|PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);

    bucket = (bk_table_bucket_t *) (base + v.header->buckets_offset);

    for (b = 0; b < v.nbuckets; b++) {
        for (i = 0; i < BK_TABLE_BUCKET_SLOTS; i++) {
            if ((uint32_t) bucket[b].slot[i] > TT_LIVE) {
                bucket[b].slot[i] = 0;
            }
        }
    }

    munmap(base, v.size);
    tt_unmap(&v);
}


static void
tt_mark(const bk_table_view_t *old, tt_mark_t *m)
{
    size_t           i, n;
    struct stat      st;
    const uint64_t  *word;

    memset(m, 0, sizeof(tt_mark_t));

    if (stat(tt_path, &st) == 0) {
        m->table = st.st_ino;
    }

    if (stat(tt_file(".new"), &st) == 0) {
        m->new = st.st_ino;
        m->new_size = st.st_size;
    }

    m->state = bk_table_state(old);

    word = (const uint64_t *) (const void *) old->base;
    n = old->header->workers_offset / 8;

    for (i = 0; i < n; i++) {
        m->sum = m->sum * 31 + word[i];
    }
}


static int
tt_reader(void)
{
    int              good;
    bk_table_view_t  v;

    good = tt_map(&v) == NULL && bk_table_state(&v) == BK_TABLE_LIVE
           && tt_routes(&v);
    tt_unmap(&v);

    return good;
}


static int
tt_routes(const bk_table_view_t *v)
{
    uint32_t  i;

    for (i = 0; i < TT_LIVE; i++) {
        if (tt_state(v, i) != BK_ALLOC_READY) {
            return 0;
        }
    }

    return 1;
}


/* On a copy of what lies there; entries is what it is configured for. */
static int
tt_successor(uint32_t entries)
{
    int                good;
    char               path[sizeof(tt_path)], new[320];
    bk_err_t           err;
    bk_table_t        *t;
    bk_table_view_t    left;
    bk_table_opened_t  opened;

    memcpy(path, tt_path, sizeof(path));
    snprintf(new, sizeof(new), "%s", tt_file(".new"));
    snprintf(tt_path, sizeof(tt_path), "%s/copy", tt_dir);

    /* who still has the file that is called PATH.new now */

    tt_copy(new, tt_path);
    (void) tt_map(&left);
    rename(tt_path, tt_file(".new"));
    tt_copy(path, tt_path);

    good = tt_open(&t, entries, 2, 2, &opened, &err) == 0
           && opened.taken_over != 0
           && access(tt_file(".new"), F_OK) == -1
           && tt_reader()
           && (left.base == NULL
               || bk_table_state(&left) == BK_TABLE_RETIRED);

    if (!good) {
        note("open: %s, taken over %d", err.text, opened.taken_over);
    }

    bk_table_close(&t);

    tt_unmap(&left);
    tt_remove();
    memcpy(tt_path, path, sizeof(path));

    return good;
}


/* Whatever there is, holes and all; nothing if it is not there. */
static void
tt_copy(const char *from, const char *to)
{
    int      in, out;
    char     buf[65536];
    ssize_t  n;

    in = open(from, O_RDONLY);

    if (in == -1) {
        unlink(to);
        return;
    }

    out = open(to, O_RDWR|O_CREAT|O_TRUNC, 0600);

    while ((n = read(in, buf, sizeof(buf))) > 0) {
        if (write(out, buf, (size_t) n) != n) {
            abort();
        }
    }

    close(in);
    close(out);
}


/* Lets the child go on; returns the signal that it stopped with, or -1. */
static int
tt_go(pid_t pid, enum __ptrace_request how)
{
    int  status;

    if (how != 0 && ptrace(how, pid, NULL, NULL) == -1) {
        return -1;
    }

    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) {
        return -1;
    }

    return WSTOPSIG(status);
}
