/*
 * The route table's files: the lock (PATH.lock), the old table (PATH), the
 * new one while it is made (PATH.new).  Called by table_open.c alone.
 *
 * The folder may be one that everybody can write to (/dev/shm): no symbolic
 * link is followed, nothing that another user could have written is believed,
 * and no file is ever truncated or grown, since readers have it mapped.
 */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bk_err.h"
#include "table_priv.h"


#define BK_TABLE_PATH_MAX  4096
#define BK_TABLE_MODE      0640


static int bk_table_path(char *buf, const char *path, const char *suffix,
    bk_err_t *err);
static const char *bk_table_old_check(bk_table_old_t *old,
    const struct stat *st);
static int bk_table_reserve(int fd, uint64_t size);
static void bk_table_retire(int fd);


int
bk_table_lock(bk_table_t *t, const char *path, bk_err_t *err)
{
    int          fd, len;
    char         name[BK_TABLE_PATH_MAX], pid[32];
    ssize_t      n;
    struct stat  st, now;

    if (bk_table_path(name, path, ".lock", err) != 0) {
        return -1;
    }

    for ( ;; ) {
        fd = open(name, O_RDWR|O_CREAT|O_CLOEXEC|O_NOFOLLOW|O_NONBLOCK,
                  BK_TABLE_MODE);

        if (fd == -1) {
            return bk_err_set(err, 500, "TablePath",
                              "cannot open %s: %s", name,
                              errno == ELOOP ? "it is a symbolic link"
                                             : strerror(errno));
        }

        if (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode)) {
            close(fd);
            return bk_err_set(err, 500, "TablePath",
                              "%s is not a regular file", name);
        }

        if (flock(fd, LOCK_EX|LOCK_NB) == -1) {
            n = pread(fd, pid, sizeof(pid) - 1, 0);
            pid[n > 0 ? n : 0] = '\0';
            close(fd);

            bk_err_set(err, 409, "TableLocked",
                       "the route table %s has a writer already: process %ld",
                       path, strtol(pid, NULL, 10));
            return bk_err_hint(err, "two plugin-hosts cannot write one "
                               "table: stop the other one or set another "
                               "table.path");
        }

        /* a lock on a file that was removed meanwhile locks nothing */

        if (stat(name, &now) == 0 && now.st_ino == st.st_ino
            && now.st_dev == st.st_dev)
        {
            break;
        }

        close(fd);
    }

    len = snprintf(pid, sizeof(pid), "%ld\n", (long) getpid());

    if (ftruncate(fd, 0) == -1 || pwrite(fd, pid, len, 0) != len) {
        bk_err_set(err, 503, "NoSpace", "cannot write %s: %s", name,
                   strerror(errno));
        close(fd);
        return -1;
    }

    t->lock_fd = fd;

    return 0;
}


int
bk_table_old_open(bk_table_old_t *old, const char *path, bk_err_t *err)
{
    struct stat  st;

    memset(old, 0, sizeof(bk_table_old_t));

    old->fd = open(path, O_RDWR|O_CLOEXEC|O_NOFOLLOW|O_NONBLOCK);

    if (old->fd == -1) {

        if (errno == ENOENT) {
            return 0;
        }

        return bk_err_set(err, 500, "TablePath", "cannot open %s: %s", path,
                          errno == ELOOP ? "it is a symbolic link"
                                         : strerror(errno));
    }

    if (fstat(old->fd, &st) == -1 || !S_ISREG(st.st_mode)) {
        bk_table_old_close(old);
        return bk_err_set(err, 500, "TablePath",
                          "%s is not a regular file", path);
    }

    old->exists = 1;
    old->size = (uint64_t) st.st_size;
    old->bad = bk_table_old_check(old, &st);

    return 0;
}


/* Maps the old file if it can be taken over, else says why not. */
static const char *
bk_table_old_check(bk_table_old_t *old, const struct stat *st)
{
    void                 *base;
    const char           *bad;
    _Alignas(64) uint8_t  head[BK_TABLE_HEADER_SIZE];

    if (st->st_uid != geteuid()) {
        return "belongs to another user";
    }

    if (st->st_mode & (S_IWGRP|S_IWOTH)) {
        return "could be written by others";
    }

    old->ours = 1;

    memset(head, 0, sizeof(head));

    if (old->size >= sizeof(head)
        && pread(old->fd, head, sizeof(head), 0) != sizeof(head))
    {
        return "cannot be read";
    }

    bad = bk_table_view_init(&old->view, head, old->size);

    if (bad != NULL) {
        return bad;
    }

    /* a hole in it would be a SIGBUS when the file system is full */

    if (bk_table_reserve(old->fd, old->size) != 0) {
        return "has holes and there is no room to fill them";
    }

    base = mmap(NULL, old->size, PROT_READ|PROT_WRITE, MAP_SHARED, old->fd, 0);

    if (base == MAP_FAILED) {
        return "cannot be mapped";
    }

    old->base = base;

    bad = bk_table_view_init(&old->view, base, old->size);

    if (bad != NULL) {
        return bad;
    }

    switch (bk_table_state(&old->view)) {

    case BK_TABLE_BUILDING:
    case BK_TABLE_LIVE:
    case BK_TABLE_RETIRED:
        return NULL;
    }

    return "is in no known state";
}


void
bk_table_old_close(bk_table_old_t *old)
{
    if (old->base != NULL) {
        munmap(old->base, old->size);
        old->base = NULL;
    }

    if (old->fd != -1) {
        close(old->fd);
    }

    old->fd = -1;
}


int
bk_table_access(int fd, const bk_table_conf_t *conf, bk_err_t *err)
{
    struct group  *gr;

    if (fchmod(fd, BK_TABLE_MODE) == -1) {
        return bk_err_set(err, 500, "TablePath",
                          "cannot set the mode of %s: %s", conf->path,
                          strerror(errno));
    }

    if (conf->group == NULL) {
        return 0;
    }

    gr = getgrnam(conf->group);

    if (gr == NULL) {
        return bk_err_set(err, 500, "TableGroup",
                          "there is no group \"%s\" (table.group)",
                          conf->group);
    }

    if (fchown(fd, (uid_t) -1, gr->gr_gid) == -1) {
        bk_err_set(err, 500, "TableGroup",
                   "cannot give %s to group \"%s\": %s", conf->path,
                   conf->group, strerror(errno));
        return bk_err_hint(err, "run as root or as a member of that group");
    }

    return 0;
}


/*
 * A PATH.new from a writer that died while it replaced the table: either a
 * file that was never in place, or, if it died after the exchange, the old
 * table, whose readers have not been told yet.
 */
int
bk_table_sweep(const char *path, bk_err_t *err)
{
    int          fd;
    char         name[BK_TABLE_PATH_MAX];
    struct stat  st;

    if (bk_table_path(name, path, ".new", err) != 0) {
        return -1;
    }

    fd = open(name, O_RDWR|O_CLOEXEC|O_NOFOLLOW|O_NONBLOCK);

    if (fd != -1) {

        if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)
            && st.st_uid == geteuid())
        {
            bk_table_retire(fd);
        }

        close(fd);
    }

    if (unlink(name) == -1 && errno != ENOENT) {
        return bk_err_set(err, 500, "TablePath", "cannot remove %s: %s", name,
                          strerror(errno));
    }

    return 0;
}


int
bk_table_create(const bk_table_conf_t *conf, uint64_t size, uint8_t **base,
    bk_err_t *err)
{
    int    fd, rc;
    char   name[BK_TABLE_PATH_MAX];
    void  *p;

    if (bk_table_path(name, conf->path, ".new", err) != 0) {
        return -1;
    }

    fd = open(name, O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC|O_NOFOLLOW, 0600);

    if (fd == -1) {
        return bk_err_set(err, 500, "TablePath", "cannot create %s: %s", name,
                          strerror(errno));
    }

    rc = bk_table_reserve(fd, size);

    if (rc != 0) {
        bk_err_set(err, 503, "NoSpace",
                   "cannot reserve %llu MiB for the route table %s: %s",
                   (unsigned long long) ((size + (1 << 20) - 1) >> 20),
                   conf->path, strerror(rc));
        bk_err_hint(err, "make room there or lower table.allocations");
        goto failed;
    }

    if (bk_table_access(fd, conf, err) != 0) {
        goto failed;
    }

    p = mmap(NULL, size, PROT_READ|PROT_WRITE, MAP_SHARED, fd, 0);

    if (p == MAP_FAILED) {
        bk_err_set(err, 503, "NoSpace", "cannot map %s: %s", name,
                   strerror(errno));
        goto failed;
    }

    close(fd);
    *base = p;

    return 0;

failed:

    close(fd);
    unlink(name);

    return -1;
}


int
bk_table_publish(const char *path, const bk_table_old_t *old, bk_err_t *err)
{
    int   rc;
    char  name[BK_TABLE_PATH_MAX];

    if (bk_table_path(name, path, ".new", err) != 0) {
        return -1;
    }

    rc = -1;

    /*
     * Exchanged, so that a writer that dies right here leaves the old file
     * where its successor finds and retires it.
     */

    if (old->exists) {
        rc = renameat2(AT_FDCWD, name, AT_FDCWD, path, RENAME_EXCHANGE);
    }

    if (rc == 0) {

        if (old->ours) {
            bk_table_retire(old->fd);
        }

        unlink(name);

        return 0;
    }

    if (rename(name, path) == -1) {
        bk_err_set(err, 500, "TablePath", "cannot rename %s to %s: %s", name,
                   path, strerror(errno));
        unlink(name);
        return -1;
    }

    if (old->exists && old->ours) {
        bk_table_retire(old->fd);
    }

    return 0;
}


/* An errno value.  A signal is no reason to think badly of a file. */
static int
bk_table_reserve(int fd, uint64_t size)
{
    int  rc;

    do {
        rc = posix_fallocate(fd, 0, (off_t) size);
    } while (rc == EINTR);

    return rc;
}


void
bk_table_discard(const char *path)
{
    char  name[BK_TABLE_PATH_MAX];

    if (bk_table_path(name, path, ".new", NULL) == 0) {
        unlink(name);
    }
}


static int
bk_table_path(char *buf, const char *path, const char *suffix, bk_err_t *err)
{
    int  n;

    n = snprintf(buf, BK_TABLE_PATH_MAX, "%s%s", path, suffix);

    if (n < 0 || n >= BK_TABLE_PATH_MAX) {
        return bk_err_set(err, 500, "TablePath",
                          "the route table's path is too long");
    }

    return 0;
}


/*
 * Tells those who still have a replaced file mapped.  By pwrite(): the file
 * may be too short for a mapping.  Magic and state are where they are in
 * every layout version.
 */
static void
bk_table_retire(int fd)
{
    char         magic[BK_TABLE_MAGIC_LEN];
    uint64_t     state;
    struct stat  st;

    if (fstat(fd, &st) == -1
        || st.st_size < BK_TABLE_HEADER_SIZE
        || pread(fd, magic, sizeof(magic), 0) != sizeof(magic)
        || memcmp(magic, BK_TABLE_MAGIC, BK_TABLE_MAGIC_LEN - 1) != 0)
    {
        return;
    }

    state = BK_TABLE_RETIRED;

    if (pwrite(fd, &state, sizeof(state), offsetof(bk_table_header_t, state))
        != sizeof(state))
    {
        /* readers find out when they look at the path again */
        return;
    }
}
