/*
 * FUZZ_SOURCES: plugin-host/plugins/allocator/journal_wal.c
 * FUZZ_CFLAGS: -Iplugin-host/plugins/allocator
 * FUZZ_LIBS: -ljansson
 */

/*
 * A write-ahead log that somebody else wrote, or that broke.  The first byte
 * says what is mended of the rest before it becomes the file, since no fuzzer
 * hits a checksum: 1: the header's checksum, 2: the salts of the frames, and
 * the rest of the byte: of how many frames the checksums.
 *
 * What is said of it must be what a second reader makes of the format, which
 * is written here for itself: damaged when two or more transactions are from
 * the first broken frame on.
 */

#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "journal_int.h"


#define FUZZ_HEADER  32
#define FUZZ_FRAME   24
#define FUZZ_MAX     (1 << 20)


int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_remove(void);
static void fuzz_mend(uint8_t *p, size_t len, unsigned how);
static unsigned fuzz_behind(const uint8_t *p, size_t len);
static void fuzz_sum(const uint8_t *p, size_t len, int big, uint32_t *sum);
static uint32_t fuzz_get(const uint8_t *p, int big);
static void fuzz_put(uint8_t *p, uint32_t v);
static uint32_t fuzz_page(const uint8_t *p);


static char  path[64];
static char  wal[80];


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void) argc;
    (void) argv;

    snprintf(path, sizeof(path), "/dev/shm/bk-fuzz-%d.db", (int) getpid());
    snprintf(wal, sizeof(wal), "%s-wal", path);
    atexit(fuzz_remove);

    return 0;
}


static void
fuzz_remove(void)
{
    (void) unlink(wal);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int        fd, rc;
    size_t     len;
    uint8_t   *p;
    unsigned   behind;
    bk_err_t   err;

    if (size < 1 || size > FUZZ_MAX) {
        return 0;
    }

    len = size - 1;
    p = malloc(len + 1);
    assert(p != NULL);
    memcpy(p, data + 1, len);
    fuzz_mend(p, len, data[0]);

    fd = open(wal, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert(fd != -1 && write(fd, p, len) == (ssize_t) len);
    close(fd);

    memset(&err, 0, sizeof(err));
    behind = fuzz_behind(p, len);
    rc = bk_journal_wal_check(path, &err);

    assert(rc == (behind < 2 ? 0 : -1));
    assert((rc == 0) == (err.text[0] == '\0'));

    free(p);

    return 0;
}


/* As journal_check.c has it. */

int
bk_journal_refuse(bk_err_t *err, const char *name, const char *what)
{
    assert(strcmp(name, path) == 0);
    err->code = 500;
    snprintf(err->text, sizeof(err->text), "%s %s", name, what);

    return -1;
}


static void
fuzz_mend(uint8_t *p, size_t len, unsigned how)
{
    int        big;
    size_t     at, n;
    uint32_t   page, sum[2];

    if (len < FUZZ_HEADER) {
        return;
    }

    big = p[3] & 1;
    sum[0] = sum[1] = 0;
    fuzz_sum(p, FUZZ_HEADER - 8, big, sum);

    if (how & 1) {
        fuzz_put(p + 24, sum[0]);
        fuzz_put(p + 28, sum[1]);
    }

    page = fuzz_page(p);

    if (page == 0) {
        return;
    }

    n = how >> 2;

    for (at = FUZZ_HEADER; len - at >= FUZZ_FRAME + page;
         at += FUZZ_FRAME + page)
    {
        if (how & 2) {
            memcpy(p + at + 8, p + 16, 8);
        }

        if (n > 0) {
            n--;
            fuzz_sum(p + at, 8, big, sum);
            fuzz_sum(p + at + FUZZ_FRAME, page, big, sum);
            fuzz_put(p + at + 16, sum[0]);
            fuzz_put(p + at + 20, sum[1]);
        }
    }
}


/* Transactions from the first broken frame on. */

static unsigned
fuzz_behind(const uint8_t *p, size_t len)
{
    int        big, whole;
    size_t     at;
    uint32_t   page, sum[2];
    unsigned   n;

    if (len < FUZZ_HEADER) {
        return 0;
    }

    big = p[3] & 1;
    sum[0] = sum[1] = 0;
    fuzz_sum(p, FUZZ_HEADER - 8, big, sum);
    page = fuzz_page(p);

    if ((fuzz_get(p, 1) | 1) != 0x377f0683 || page == 0
        || fuzz_get(p + 24, 1) != sum[0] || fuzz_get(p + 28, 1) != sum[1])
    {
        return 0;
    }

    n = 0;
    whole = 1;

    for (at = FUZZ_HEADER; len - at >= FUZZ_FRAME + page
         && memcmp(p + at + 8, p + 16, 8) == 0; at += FUZZ_FRAME + page)
    {
        if (whole) {
            fuzz_sum(p + at, 8, big, sum);
            fuzz_sum(p + at + FUZZ_FRAME, page, big, sum);
            whole = fuzz_get(p + at + 16, 1) == sum[0]
                    && fuzz_get(p + at + 20, 1) == sum[1];
        }

        n += !whole && fuzz_get(p + at + 4, 1) != 0;
    }

    return n;
}


static void
fuzz_sum(const uint8_t *p, size_t len, int big, uint32_t *sum)
{
    size_t  i;

    for (i = 0; i + 8 <= len; i += 8) {
        sum[0] += fuzz_get(p + i, big) + sum[1];
        sum[1] += fuzz_get(p + i + 4, big) + sum[0];
    }
}


static uint32_t
fuzz_get(const uint8_t *p, int big)
{
    int       i;
    uint32_t  v;

    for (v = 0, i = 0; i < 4; i++) {
        v = v << 8 | p[big ? i : 3 - i];
    }

    return v;
}


static void
fuzz_put(uint8_t *p, uint32_t v)
{
    int  i;

    for (i = 3; i >= 0; i--) {
        p[i] = (uint8_t) v;
        v >>= 8;
    }
}


/* 0: no size that a page of SQLite's has */

static uint32_t
fuzz_page(const uint8_t *p)
{
    uint32_t  v, page;

    v = fuzz_get(p + 8, 1);

    for (page = 512; page <= 65536; page *= 2) {
        if (v == page) {
            return page;
        }
    }

    return 0;
}
