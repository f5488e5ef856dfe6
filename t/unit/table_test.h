/*
 * What the table's unit tests share: TAP, a temporary table, a reader that
 * maps it as nginx does, keys and entries made from numbers.
 */

#ifndef TABLE_TEST_H_INCLUDED
#define TABLE_TEST_H_INCLUDED

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bk_table_read.h"
#include "table.h"


static int   tt_n, tt_bad;
static char  tt_dir[256];
static char  tt_path[300];


static inline int __attribute__((format(printf, 2, 3)))
ok(int good, const char *fmt, ...)
{
    va_list  args;

    tt_n++;
    tt_bad += !good;

    printf("%sok %d - ", good ? "" : "not ", tt_n);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");
    fflush(stdout);

    return good;
}


static inline void __attribute__((format(printf, 1, 2)))
note(const char *fmt, ...)
{
    va_list  args;

    printf("# ");
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");
}


/* A folder of our own, on tmpfs where there is one. */
static inline void
tt_begin(void)
{
    const char  *tmp;

    tmp = getenv("BK_TABLE_TEST_DIR");

    if (tmp == NULL) {
        tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR");
    }

    snprintf(tt_dir, sizeof(tt_dir), "%s/bk-table-XXXXXX",
             tmp ? tmp : "/tmp");

    if (mkdtemp(tt_dir) == NULL) {
        printf("Bail out! mkdtemp: %s\n", strerror(errno));
        exit(1);
    }

    snprintf(tt_path, sizeof(tt_path), "%s/table", tt_dir);
}


static inline const char *
tt_file(const char *suffix)
{
    static char  name[320];

    snprintf(name, sizeof(name), "%s%s", tt_path, suffix);

    return name;
}


static inline void
tt_remove(void)
{
    rmdir(tt_path);
    unlink(tt_path);
    unlink(tt_file(".lock"));
    unlink(tt_file(".new"));
}


static inline int
tt_end(void)
{
    tt_remove();
    ok(rmdir(tt_dir) == 0, "nothing is left in the folder");
    printf("1..%d\n", tt_n);

    return tt_bad != 0;
}


static inline int
tt_open(bk_table_t **t, uint32_t allocations, uint32_t workers,
    uint32_t pools, bk_table_opened_t *opened, bk_err_t *err)
{
    bk_table_conf_t  conf;

    memset(&conf, 0, sizeof(bk_table_conf_t));
    memset(err, 0, sizeof(bk_err_t));
    conf.path = tt_path;
    conf.allocations = allocations;
    conf.workers = workers;
    conf.pools = pools;

    return bk_table_open(t, &conf, opened, err);
}


/* A table that must open. */
static inline bk_table_t *
tt_new(uint32_t allocations, uint32_t workers, uint32_t pools)
{
    bk_err_t           err;
    bk_table_t        *t;
    bk_table_opened_t  opened;

    if (tt_open(&t, allocations, workers, pools, &opened, &err) != 0) {
        printf("Bail out! open: %s\n", err.text);
        exit(1);
    }

    return t;
}


/* As a reader: read-only.  Returns what is wrong with it, or NULL. */
static inline const char *
tt_map(bk_table_view_t *v)
{
    int          fd;
    void        *base;
    struct stat  st;

    memset(v, 0, sizeof(bk_table_view_t));
    fd = open(tt_path, O_RDONLY|O_CLOEXEC);

    if (fd == -1 || fstat(fd, &st) == -1) {
        return "cannot be opened";
    }

    if (st.st_size == 0) {
        close(fd);
        return bk_table_view_init(v, NULL, 0);
    }

    base = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);

    if (base == MAP_FAILED) {
        return "cannot be mapped";
    }

    return bk_table_view_init(v, base, (uint64_t) st.st_size);
}


static inline void
tt_unmap(bk_table_view_t *v)
{
    if (v->base != NULL) {
        munmap((void *) (uintptr_t) v->base, v->size);
        v->base = NULL;
    }
}


static inline uint64_t
tt_mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);

    return x ^ (x >> 31);
}


/* Key number n: spread like a SHA-256. */
static inline const uint8_t *
tt_key(uint64_t n)
{
    int              i;
    uint64_t         word;
    static uint8_t   key[BK_TABLE_HASH_LEN];

    for (i = 0; i < 4; i++) {
        word = tt_mix(n * 4 + (uint64_t) i);
        memcpy(key + i * 8, &word, 8);
    }

    return key;
}


static inline bk_table_alloc_t
tt_alloc(int state, uint64_t n)
{
    bk_table_alloc_t  a;

    memset(&a, 0, sizeof(bk_table_alloc_t));
    a.state = (uint8_t) state;
    a.expires_ms = 1000 + n;
    a.changed_ms = 2000 + n;
    a.pool.index = BK_TABLE_NONE;
    a.worker.index = BK_TABLE_NONE;
    a.text.index = BK_TABLE_NONE;

    return a;
}


/* The index, or BK_TABLE_NONE when it was refused. */
static inline uint32_t
tt_insert(bk_table_t *t, uint64_t n, int state, const char *reason,
    bk_err_t *err)
{
    uint32_t          index;
    bk_table_alloc_t  a;

    a = tt_alloc(state, n);

    if (bk_table_alloc_insert(t, tt_key(n), NULL, &a, reason, &index, err)
        != 0)
    {
        return BK_TABLE_NONE;
    }

    return index;
}


/* The state of key n as a reader sees it, or a negative BK_TABLE_*. */
static inline int
tt_state(const bk_table_view_t *v, uint64_t n)
{
    int               rc;
    bk_table_found_t  f;

    rc = bk_table_lookup(v, tt_key(n), &f);

    return rc == BK_TABLE_OK ? f.alloc.state : rc;
}


/* The reason of key n as a reader sees it. */
static inline const char *
tt_reason(const bk_table_view_t *v, uint64_t n)
{
    static char       text[BK_TABLE_TEXT_LEN];
    bk_table_found_t  f;

    if (bk_table_lookup(v, tt_key(n), &f) != BK_TABLE_OK
        || bk_table_read_text(v, f.alloc.text, text) != BK_TABLE_OK)
    {
        return "";
    }

    return text;
}


static inline void
tt_worker(bk_table_worker_data_t *w, const char *name, int state, int port)
{
    memset(w, 0, sizeof(bk_table_worker_data_t));
    w->state = (uint8_t) state;
    w->family = BK_TABLE_INET;
    w->port = (uint16_t) port;
    w->addr[0] = 127;
    w->addr[3] = 1;
    w->pool.index = BK_TABLE_NONE;
    w->name_len = (uint16_t) snprintf(w->name, sizeof(w->name), "%s", name);
    w->tls_name_len = (uint16_t) snprintf(w->tls_name, sizeof(w->tls_name),
                                          "%.100s.workers", name);
}

#endif /* TABLE_TEST_H_INCLUDED */
