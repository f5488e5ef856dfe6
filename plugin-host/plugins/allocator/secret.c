/*
 * The secret of the state folder: with the nonce of a row, and only so, an
 * allocation's token can be made again.  Made once, 0600, on the disk before
 * it is used.
 */

#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "allocator.h"


static int bk_secret_read(const char *path, int fd, uint8_t *secret,
    bk_err_t *err);
static int bk_secret_make(const char *dir, const char *path, uint8_t *secret,
    bk_err_t *err);
static int bk_secret_sync(const char *dir);


int
bk_token_secret(const char *dir, uint8_t *secret, bk_err_t *err)
{
    int   fd, rc;
    char  path[4200];

    (void) snprintf(path, sizeof(path), "%s/allocator.secret", dir);

    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd == -1 && errno == ENOENT) {
        return bk_secret_make(dir, path, secret, err);
    }

    if (fd == -1) {
        return bk_fail(err, 500, "SecretUnreadable", NULL,
                       "%s cannot be read: %s", path, strerror(errno));
    }

    rc = bk_secret_read(path, fd, secret, err);
    (void) close(fd);

    return rc;
}


static int
bk_secret_read(const char *path, int fd, uint8_t *secret, bk_err_t *err)
{
    ssize_t  n;
    uint8_t  raw[BK_SECRET_LEN + 1];

    /* whoever made it readable for others: it ends here */
    if (fchmod(fd, 0600) != 0) {
        return bk_fail(err, 500, "SecretUnreadable", NULL,
                       "%s cannot be made private: %s", path,
                       strerror(errno));
    }

    n = read(fd, raw, sizeof(raw));

    if (n != BK_SECRET_LEN) {
        return bk_fail(err, 500, "SecretDamaged",
                       "put a good copy back, or move it away: then "
                       "allocations that live cannot be answered again by "
                       "their idempotencyKey",
                       "%s is damaged: it must have %d bytes", path,
                       BK_SECRET_LEN);
    }

    memcpy(secret, raw, BK_SECRET_LEN);
    bk_wipe(raw, sizeof(raw));

    return 0;
}


/* Whole or not at all, however it ends. */

static int
bk_secret_make(const char *dir, const char *path, uint8_t *secret,
    bk_err_t *err)
{
    int   fd;
    char  made[4300];

    (void) snprintf(made, sizeof(made), "%s.new", path);
    (void) unlink(made);

    fd = open(made, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd == -1) {
        return bk_fail(err, 500, "SecretUnwritable", NULL,
                       "%s cannot be made: %s", made, strerror(errno));
    }

    if (RAND_bytes(secret, BK_SECRET_LEN) != 1
        || write(fd, secret, BK_SECRET_LEN) != BK_SECRET_LEN
        || fsync(fd) != 0)
    {
        (void) bk_fail(err, 500, "SecretUnwritable", NULL,
                       "%s cannot be written: %s", made, strerror(errno));
        (void) close(fd);
        (void) unlink(made);
        return -1;
    }

    (void) close(fd);

    if (rename(made, path) != 0 || bk_secret_sync(dir) != 0) {
        return bk_fail(err, 500, "SecretUnwritable", NULL,
                       "%s cannot be made: %s", path, strerror(errno));
    }

    return 0;
}


static int
bk_secret_sync(const char *dir)
{
    int  fd, rc;

    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd == -1) {
        return -1;
    }

    rc = fsync(fd);
    (void) close(fd);

    return rc;
}
