/* Files of the authorities: read whole, written whole.  See ca_int.h. */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ca_int.h"
#include "bk_err.h"


#define BK_CA_FILE_MAX  1048576


static int bk_ca_sync_dir(const char *path);


int
bk_ca_dir(const char *path, bk_err_t *err)
{
    struct stat  st;

    if (mkdir(path, 0700) == 0) {
        return 0;
    }

    if (errno != EEXIST || stat(path, &st) == -1) {
        return bk_err_set(err, 500, "StateFolder", "cannot make %s: %s", path,
                          strerror(errno));
    }

    if (!S_ISDIR(st.st_mode)) {
        return bk_err_set(err, 500, "StateFolder", "%s is no folder", path);
    }

    if ((st.st_mode & 022) != 0 || st.st_uid != geteuid()) {
        bk_err_set(err, 500, "StateFolder", "%s holds keys, but others may "
                   "write to it or own it", path);
        return bk_err_hint(err, "chown it to this user and chmod 0700 %s",
                           path);
    }

    return 0;
}


int
bk_ca_read(const char *path, int follow, char **text, bk_err_t *err)
{
    int      fd, e;
    char    *buf;
    size_t   len = 0;
    ssize_t  n;

    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK
                    | (follow ? 0 : O_NOFOLLOW));
    if (fd == -1) {
        return bk_err_set(err, errno == ENOENT ? 404 : 500, "NoFile",
                          "%s: %s", path, strerror(errno));
    }

    buf = malloc(BK_CA_FILE_MAX + 1);
    if (buf == NULL) {
        abort();
    }

    while ((n = read(fd, buf + len, BK_CA_FILE_MAX + 1 - len)) > 0) {
        len += (size_t) n;

        if (len > BK_CA_FILE_MAX) {
            errno = EFBIG;
            n = -1;
            break;
        }
    }

    e = errno;
    close(fd);

    if (n == -1) {
        explicit_bzero(buf, len);
        free(buf);
        return bk_err_set(err, 500, "NoFile", "%s: %s", path, strerror(e));
    }

    buf[len] = '\0';
    *text = buf;

    return 0;
}


int
bk_ca_write(const char *path, const char *text, unsigned mode,
    unsigned flags, bk_err_t *err)
{
    int      fd, e;
    char     tmp[PATH_MAX];
    size_t   len = strlen(text);
    ssize_t  n = 0;

    snprintf(tmp, sizeof(tmp), "%s.tmp", path);
    (void) unlink(tmp);

    fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
              mode);
    if (fd == -1) {
        goto failed;
    }

    n = write(fd, text, len);

    if (n != (ssize_t) len || fchmod(fd, mode) == -1
        || ((flags & BK_CA_SYNC) && fsync(fd) == -1))
    {
        if (n >= 0 && n < (ssize_t) len) {
            errno = ENOSPC;
        }

        e = errno;
        close(fd);
        errno = e;
        goto failed;
    }

    close(fd);

    if ((flags & BK_CA_REPLACE) ? rename(tmp, path) : link(tmp, path)) {
        goto failed;
    }

    (void) unlink(tmp);

    if ((flags & BK_CA_SYNC_DIR) && bk_ca_sync_dir(path) == -1) {
        goto failed;
    }

    return 0;

failed:

    e = errno;
    (void) unlink(tmp);

    return bk_err_set(err, e == EEXIST ? 409 : 500, "CannotWrite",
                      "cannot write %s: %s", path, strerror(e));
}


/* Over what is there.  Not waited for: who moves can do so again. */

int
bk_ca_move(const char *from, const char *to, bk_err_t *err)
{
    if (rename(from, to) == -1) {
        return bk_err_set(err, 500, "CannotWrite", "cannot rename %s to %s: "
                          "%s", from, to, strerror(errno));
    }

    return 0;
}


static int
bk_ca_sync_dir(const char *path)
{
    int   fd, rc;
    char  dir[PATH_MAX], *slash;

    snprintf(dir, sizeof(dir), "%s", path);
    slash = strrchr(dir, '/');
    *(slash != NULL ? slash : dir) = '\0';

    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd == -1) {
        return -1;
    }

    rc = fsync(fd);
    close(fd);

    return rc;
}
