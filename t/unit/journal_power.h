/*
 * A power cut: of what was written and not synced since, nothing is there
 * afterwards, or any part of it, in sectors of 512 bytes.  Names of files are
 * kept: what is synced is under test, not the file system.
 */

#ifndef JOURNAL_POWER_H_INCLUDED
#define JOURNAL_POWER_H_INCLUDED

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>


#define POWER_SECTOR  512


/* A write that was not synced: how its place was before, and what came. */
typedef struct power_write_s  power_write_t;

struct power_write_s {
    TAILQ_ENTRY(power_write_s)  link;
    int                         fd;     /* our own: theirs may be closed */
    ino_t                       inode;
    off64_t                     offset;
    off64_t                     size;   /* of the file, before it */
    ssize_t                     n;
    char                       *was;
    char                       *is;
};


/* Written by the writer's thread alone, or by the only one there is. */
static TAILQ_HEAD(power_s, power_write_s)  power
    = TAILQ_HEAD_INITIALIZER(power);

typedef ssize_t (*power_pwrite_pt)(int, const void *, size_t, off64_t);


static ino_t
power_inode(int fd, off64_t *size)
{
    struct stat  st;

    if (fstat(fd, &st) != 0) {
        abort();
    }

    *size = st.st_size;
    return st.st_ino;
}


static void
power_wrote(int fd, const void *buf, size_t n, off64_t offset)
{
    power_write_t  *w = calloc(1, sizeof(power_write_t)), *other;

    w->inode = power_inode(fd, &w->size);
    w->offset = offset;
    w->n = (ssize_t) n;
    w->was = calloc(1, n);
    w->is = malloc(n);
    memcpy(w->is, buf, n);
    w->fd = -1;

    TAILQ_FOREACH(other, &power, link) {
        if (other->inode == w->inode) {
            w->fd = other->fd;
        }
    }

    if (w->fd == -1) {
        /* never closed: that would end the locks of the file */
        w->fd = dup(fd);
    }

    if (pread64(fd, w->was, n, offset) == -1) {
        abort();
    }

    TAILQ_INSERT_TAIL(&power, w, link);
}


static void
power_synced(int fd)
{
    ino_t           inode;
    off64_t         unused;
    power_write_t  *w, *next;

    inode = power_inode(fd, &unused);

    for (w = TAILQ_FIRST(&power); w != NULL; w = next) {
        next = TAILQ_NEXT(w, link);

        if (w->inode == inode) {
            TAILQ_REMOVE(&power, w, link);
            free(w->was);
            free(w->is);
            free(w);
        }
    }
}


/* some: each sector as a coin falls */

static void __attribute__((noreturn))
power_cut(power_pwrite_pt real, int some)
{
    ssize_t         at, n;
    power_write_t  *w;

    TAILQ_FOREACH_REVERSE(w, &power, power_s, link) {
        n = w->offset + w->n > w->size ? (ssize_t) (w->size - w->offset)
                                       : w->n;

        if ((n > 0 && real(w->fd, w->was, (size_t) n, w->offset) != n)
            || ftruncate(w->fd, w->size) != 0)
        {
            abort();
        }
    }

    TAILQ_FOREACH(w, &power, link) {
        for (at = 0; some && at < w->n; at += POWER_SECTOR) {
            n = w->n - at < POWER_SECTOR ? w->n - at : POWER_SECTOR;

            if (rand() % 2
                && real(w->fd, w->is + at, (size_t) n, w->offset + at) != n)
            {
                abort();
            }
        }
    }

    (void) raise(SIGKILL);
    abort();
}

#endif /* JOURNAL_POWER_H_INCLUDED */
