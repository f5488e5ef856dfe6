/*
 * What is found at the table's path when it is opened: anything but a good
 * table of ours is replaced, and the reason is said; what is not a regular
 * file is an error and is left alone.  Prints TAP.
 */

#include <signal.h>
#include <sys/resource.h>

#include "table_test.h"


typedef struct {
    const char  *what;
    size_t       offset;
    uint64_t     value;
    size_t       len;
    const char  *reader;    /* what bk_table_view_init() says, a part of it */
} tt_damage_t;


static void tt_header(void);
static void tt_sizes(void);
static void tt_owner(void);
static void tt_no_file(void);
static void tt_no_room(void);
static void tt_make(void);
static void tt_write(size_t offset, const void *data, size_t len);
static int tt_replaced(const char *why);


static const tt_damage_t  tt_damages[] = {
    { "another magic", 0, 0x58585858, 4, "wrong magic" },
    { "another version", 7, '9', 1, "another layout version" },
    { "the other byte order", 12, 0x04030201, 4, "byte order" },
    { "an unknown feature", 28, 0x80, 4, "features" },
    { "an entry size", 36, 200, 4, "other sizes" },
    { "a header size", 8, 1024, 4, "other sizes" },
    { "a larger total", 16, 1 << 30, 8, "truncated" },
    { "a smaller total", 16, 4096, 8, "longer" },
    { "no buckets", 56, 0, 4, "geometry" },
    { "no entries", 60, 0, 4, "geometry" },
    { "too many entries", 60, 0xffffffff, 4, "geometry" },
    { "too many buckets for the file", 56, 1 << 26, 4, "outside" },
    { "too many texts for the file", 72, 1 << 26, 4, "outside" },
    { "an odd offset", 80, 513, 8, "outside" },
    { "an offset in the header", 88, 0, 8, "outside" },
    { "an offset behind the end", 96, UINT64_MAX - 63, 8, "outside" },
    { "a state that is none", 192, 77, 8, NULL },
};


int
main(void)
{
    tt_begin();

    tt_header();
    tt_sizes();
    tt_owner();
    tt_no_file();
    tt_no_room();

    return tt_end();
}


static void
tt_header(void)
{
    size_t           i;
    const char      *bad;
    bk_table_view_t  v;

    for (i = 0; i < sizeof(tt_damages) / sizeof(tt_damages[0]); i++) {
        tt_make();
        tt_write(tt_damages[i].offset, &tt_damages[i].value,
                 tt_damages[i].len);

        bad = tt_map(&v);
        ok(tt_damages[i].reader == NULL
           ? bad == NULL
           : bad != NULL && strstr(bad, tt_damages[i].reader) != NULL,
           "%s: a reader says \"%s\"", tt_damages[i].what, bad ? bad : "");
        tt_unmap(&v);

        ok(tt_replaced(tt_damages[i].reader ? tt_damages[i].reader
                                            : "no known state"),
           "%s: replaced", tt_damages[i].what);
    }

    /* readers of a table that became another's are told */

    tt_make();
    (void) tt_map(&v);
    tt_write(7, "9", 1);
    ok(tt_replaced("version") && bk_table_state(&v) == BK_TABLE_RETIRED,
       "a table of another version is retired");
    tt_unmap(&v);
}


static void
tt_sizes(void)
{
    int              i, fd;
    char             junk[8192];
    size_t           j;
    struct stat      st;

    static const int  cut[] = { 0, 1, 7, 511, 512, 4096, -1 };

    for (i = 0; i < 7; i++) {
        tt_make();

        if (stat(tt_path, &st) == -1
            || truncate(tt_path, cut[i] == -1 ? st.st_size - 1 : cut[i])
            == -1)
        {
            abort();
        }

        ok(tt_replaced(cut[i] == 0 ? "empty" : cut[i] > 0 && cut[i] < 512
                       ? "shorter" : "truncated"), "cut to %d: replaced",
           cut[i]);
    }

    tt_make();

    if (stat(tt_path, &st) == -1 || truncate(tt_path, st.st_size + 1) == -1) {
        abort();
    }

    ok(tt_replaced("longer"), "a byte too long: replaced");

    for (i = 0; i < 20; i++) {
        unlink(tt_path);
        fd = open(tt_path, O_RDWR|O_CREAT, 0600);

        for (j = 0; j < sizeof(junk); j++) {
            junk[j] = (char) tt_mix((uint64_t) i << 32 | j);
        }

        if (write(fd, junk, sizeof(junk)) != (ssize_t) sizeof(junk)) {
            abort();
        }

        close(fd);

        if (!tt_replaced("wrong magic")) {
            break;
        }
    }

    ok(i == 20, "random bytes: replaced");

    /* a huge hole must not be filled, nor mapped */

    unlink(tt_path);
    fd = open(tt_path, O_RDWR|O_CREAT, 0600);
    ok(ftruncate(fd, (off_t) 1 << 42) == 0 && tt_replaced("wrong magic"),
       "a hole of 4 TiB: replaced");
    close(fd);

    /* holes in a good table: filled, taken over */

    tt_make();
    fd = open(tt_path, O_RDWR);
    ok(fallocate(fd, FALLOC_FL_PUNCH_HOLE|FALLOC_FL_KEEP_SIZE, 8192, 8192)
       == 0, "holes in a good table");
    ok(tt_replaced(NULL) && fstat(fd, &st) == 0
       && (uint64_t) st.st_blocks * 512 >= (uint64_t) st.st_size,
       "are filled before it is used");
    close(fd);
}


/* Others could have put anything in there. */
static void
tt_owner(void)
{
    tt_make();
    chmod(tt_path, 0660);
    ok(tt_replaced("written by others"), "group-writable: replaced");

    tt_make();
    chmod(tt_path, 0602);
    ok(tt_replaced("written by others"), "world-writable: replaced");

    if (geteuid() == 0) {
        tt_make();

        if (chown(tt_path, 65534, (gid_t) -1) == -1) {
            abort();
        }

        ok(tt_replaced("another user"), "another user's: replaced");

    } else {
        ok(1, "another user's # SKIP needs root");
    }
}


static void
tt_no_file(void)
{
    char               target[320];
    bk_err_t           err;
    bk_table_t        *t;
    struct stat        st;
    bk_table_opened_t  opened;

    unlink(tt_path);
    snprintf(target, sizeof(target), "%s/target", tt_dir);
    close(open(target, O_RDWR|O_CREAT, 0600));

    ok(symlink("target", tt_path) == 0
       && tt_open(&t, 10, 1, 1, &opened, &err) == -1
       && strstr(err.text, "symbolic link") != NULL && t == NULL,
       "a symbolic link: an error");
    ok(stat(target, &st) == 0 && st.st_size == 0, "its target is untouched");
    unlink(tt_path);

    ok(symlink("target", tt_file(".new")) == 0
       && tt_open(&t, 10, 1, 1, &opened, &err) == 0
       && stat(target, &st) == 0 && st.st_size == 0,
       "a symbolic link where the new file is made: removed");
    bk_table_close(&t);
    unlink(tt_path);
    unlink(target);

    ok(mkdir(tt_path, 0700) == 0
       && tt_open(&t, 10, 1, 1, &opened, &err) == -1, "a folder: an error");
    rmdir(tt_path);

    ok(mkfifo(tt_path, 0600) == 0
       && tt_open(&t, 10, 1, 1, &opened, &err) == -1
       && strstr(err.text, "not a regular file") != NULL, "a FIFO: an error");
    unlink(tt_path);

    snprintf(target, sizeof(target), "%s", tt_path);
    snprintf(tt_path, sizeof(tt_path), "%s/no/where/table", tt_dir);
    ok(tt_open(&t, 10, 1, 1, &opened, &err) == -1 && t == NULL
       && strstr(err.text, "No such file") != NULL, "no folder: an error");
    snprintf(tt_path, sizeof(tt_path), "%.290s", target);
}


static void
tt_no_room(void)
{
    bk_err_t           err;
    bk_table_t        *t;
    struct rlimit      full, limit;
    bk_table_conf_t    conf;
    bk_table_opened_t  opened;

    memset(&conf, 0, sizeof(bk_table_conf_t));
    conf.path = tt_path;
    conf.allocations = 10;
    conf.workers = 1;
    conf.pools = 1;
    conf.group = "no-such-group-here";

    ok(bk_table_open(&t, &conf, &opened, &err) == -1
       && strcmp(err.reason, "TableGroup") == 0
       && access(tt_path, F_OK) == -1 && access(tt_file(".new"), F_OK) == -1,
       "an unknown group: an error, and no file");

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    full = limit;
    full.rlim_cur = 65536;
    setrlimit(RLIMIT_FSIZE, &full);
    conf.group = NULL;

    ok(bk_table_open(&t, &conf, &opened, &err) == -1 && err.code == 503
       && strcmp(err.reason, "NoSpace") == 0 && err.hint[0] != '\0'
       && access(tt_path, F_OK) == -1 && access(tt_file(".new"), F_OK) == -1,
       "no room: 503 NoSpace, and no file");
    setrlimit(RLIMIT_FSIZE, &limit);
}


/* A good table with one route, closed. */
static void
tt_make(void)
{
    bk_err_t     err;
    bk_table_t  *t;

    unlink(tt_path);
    t = tt_new(10, 1, 1);
    (void) tt_insert(t, 1, BK_ALLOC_READY, NULL, &err);
    bk_table_live(t);
    bk_table_close(&t);
}


static void
tt_write(size_t offset, const void *data, size_t len)
{
    int  fd;

    fd = open(tt_path, O_RDWR);

    if (pwrite(fd, data, len, (off_t) offset) != (ssize_t) len) {
        abort();
    }

    close(fd);
}


/*
 * Opens: it must have been replaced for that reason (NULL: taken over) and
 * work.
 */
static int
tt_replaced(const char *why)
{
    int                good;
    bk_err_t           err;
    bk_table_t        *t;
    bk_table_view_t    v;
    bk_table_opened_t  opened;

    v.base = NULL;

    if (tt_open(&t, 10, 1, 1, &opened, &err) != 0) {
        note("open: %s", err.text);
        return 0;
    }

    if (why == NULL) {
        good = opened.replaced == NULL && opened.taken_over == 1;

    } else {
        good = opened.replaced != NULL && opened.taken_over == 0
               && strstr(opened.replaced, why) != NULL;
    }

    if (!good) {
        note("replaced: %s", opened.replaced ? opened.replaced : "not");
    }

    good = good && tt_map(&v) == NULL
           && tt_state(&v, 1) == (why ? BK_TABLE_MISS : BK_ALLOC_READY)
           && tt_insert(t, 2, BK_ALLOC_READY, NULL, &err) != BK_TABLE_NONE
           && tt_state(&v, 2) == BK_ALLOC_READY;

    tt_unmap(&v);
    bk_table_close(&t);

    return good;
}
