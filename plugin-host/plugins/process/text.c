/*
 * Texts for people, and files that are written whole or not at all.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "process.h"


bk_str_t
bk_str(const char *s)
{
    return (bk_str_t) { s, strlen(s) };
}


void
bk_text_clean(char *dst, size_t size, const char *fmt, ...)
{
    int      n;
    char    *p;
    size_t   len;
    va_list  args;

    va_start(args, fmt);
    n = vsnprintf(dst, size, fmt, args);
    va_end(args);

    if (n > 0 && (size_t) n >= size) {
        len = size - 1;

        /* not in the middle of a character: back to its first byte */
        while (len > 0 && ((unsigned char) dst[len] & 0xc0) == 0x80) {
            len--;
        }

        /* dst[size - 1] is the NUL: was the last character whole? */
        p = dst + size - 1;

        while (p > dst && ((unsigned char) p[-1] & 0xc0) == 0x80) {
            p--;
        }

        if (p > dst && ((unsigned char) p[-1] & 0xc0) == 0xc0) {
            p[-1] = '\0';
        }
    }

    for (p = dst; *p != '\0'; p++) {
        if ((unsigned char) *p < 0x20 || *p == 0x7f) {
            *p = ' ';
        }
    }
}


const char *
bk_text_path(char *path, const char *dir, const char *name)
{
    /* dir leaves room for all our names: bk_worker_init() looks */
    (void) snprintf(path, BK_PATH_MAX, "%s/%s", dir, name);

    return path;
}


/* Beside it and renamed, 0600. */

int
bk_text_write(const char *dir, const char *name, bk_str_t data,
    bk_err_t *err)
{
    int      fd, saved;
    char     path[BK_PATH_MAX], tmp[BK_PATH_MAX], tmp_name[64];
    ssize_t  n;

    (void) snprintf(tmp_name, sizeof(tmp_name), "%s.new", name);
    (void) bk_text_path(path, dir, name);
    (void) bk_text_path(tmp, dir, tmp_name);

    (void) unlink(tmp);
    fd = open(tmp, O_CREAT|O_EXCL|O_WRONLY|O_CLOEXEC|O_NOFOLLOW, 0600);

    if (fd == -1) {
        return bk_fail(err, 500, "CannotWrite", NULL, "%s: %s", tmp,
                       strerror(errno));
    }

    n = write(fd, data.data, data.len);
    saved = n == -1 ? errno : ENOSPC;
    (void) close(fd);

    if (n != (ssize_t) data.len || rename(tmp, path) != 0) {
        saved = n != (ssize_t) data.len ? saved : errno;
        (void) unlink(tmp);
        return bk_fail(err, 500, "CannotWrite", NULL, "%s: %s", path,
                       strerror(saved));
    }

    return 0;
}
