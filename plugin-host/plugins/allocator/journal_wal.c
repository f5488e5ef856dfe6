/*
 * Is the write-ahead log whole?  SQLite takes it as far as its checksums are
 * right and drops the rest without a word, as it must: power may fail in the
 * middle of a transaction.  But each transaction is synced before the next
 * one begins, so behind the first broken frame there can be the rest of one
 * transaction only.  Where there are more, something that was answered would
 * be lost: that is damage.
 *
 * The format is that of https://www.sqlite.org/fileformat2.html#walformat
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "journal_int.h"


#define BK_WAL_HEADER  32
#define BK_WAL_FRAME   24
#define BK_WAL_MAGIC   0x377f0682   /* and one more: big-endian checksums */


typedef struct {
    int       big;
    uint32_t  size;         /* of a page */
    uint32_t  salt[2];
    uint32_t  sum[2];       /* of all so far */
} bk_wal_t;


static int bk_wal_header(bk_wal_t *w, const uint8_t *p);
static int bk_wal_frame(bk_wal_t *w, const uint8_t *p);
static void bk_wal_sum(bk_wal_t *w, const uint8_t *p, size_t len);
static uint32_t bk_wal_word(const uint8_t *p, int big);


int
bk_journal_wal_check(const char *path, bk_err_t *err)
{
    int       broken;
    char      name[BK_JOURNAL_PATH_MAX + 8], text[96];
    FILE     *f;
    uint8_t   header[BK_WAL_HEADER], *frame;
    unsigned  behind;
    bk_wal_t  w;

    (void) snprintf(name, sizeof(name), "%s-wal", path);

    f = fopen(name, "re");

    if (f == NULL) {
        return 0;
    }

    if (fread(header, sizeof(header), 1, f) != 1
        || bk_wal_header(&w, header) != 0)
    {
        /* it was about to begin anew: all is in the file */
        (void) fclose(f);
        return 0;
    }

    frame = malloc(BK_WAL_FRAME + w.size);

    if (frame == NULL) {
        abort();
    }

    broken = 0;
    behind = 0;

    /* those of the last round have other salts */
    while (fread(frame, BK_WAL_FRAME + w.size, 1, f) == 1
           && bk_wal_word(frame + 8, 1) == w.salt[0]
           && bk_wal_word(frame + 12, 1) == w.salt[1])
    {
        broken = broken || bk_wal_frame(&w, frame) != 0;
        behind += broken && bk_wal_word(frame + 4, 1) != 0;
    }

    free(frame);
    (void) fclose(f);

    if (behind < 2) {
        return 0;
    }

    (void) snprintf(text, sizeof(text), "is damaged: %u transactions of "
                    "journal.db-wal cannot be read", behind);

    return bk_journal_refuse(err, path, text);
}


static int
bk_wal_header(bk_wal_t *w, const uint8_t *p)
{
    uint32_t  magic;

    magic = bk_wal_word(p, 1);

    w->big = magic & 1;
    w->size = bk_wal_word(p + 8, 1);
    w->salt[0] = bk_wal_word(p + 16, 1);
    w->salt[1] = bk_wal_word(p + 20, 1);
    w->sum[0] = 0;
    w->sum[1] = 0;

    bk_wal_sum(w, p, BK_WAL_HEADER - 8);

    /* a power of two, or SQLite reads none of it; sums go by 8 bytes */
    if ((magic & ~1u) != BK_WAL_MAGIC || w->size < 512 || w->size > 65536
        || (w->size & (w->size - 1)) != 0
        || bk_wal_word(p + 24, 1) != w->sum[0]
        || bk_wal_word(p + 28, 1) != w->sum[1])
    {
        return -1;
    }

    return 0;
}


static int
bk_wal_frame(bk_wal_t *w, const uint8_t *p)
{
    bk_wal_sum(w, p, 8);
    bk_wal_sum(w, p + BK_WAL_FRAME, w->size);

    return bk_wal_word(p + 16, 1) == w->sum[0]
           && bk_wal_word(p + 20, 1) == w->sum[1] ? 0 : -1;
}


static void
bk_wal_sum(bk_wal_t *w, const uint8_t *p, size_t len)
{
    const uint8_t  *end;

    for (end = p + len; p < end; p += 8) {
        w->sum[0] += bk_wal_word(p, w->big) + w->sum[1];
        w->sum[1] += bk_wal_word(p + 4, w->big) + w->sum[0];
    }
}


static uint32_t
bk_wal_word(const uint8_t *p, int big)
{
    return big ? (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16
                 | (uint32_t) p[2] << 8 | p[3]
               : (uint32_t) p[3] << 24 | (uint32_t) p[2] << 16
                 | (uint32_t) p[1] << 8 | p[0];
}
