/*
 * The files of the host's state folder that replicas have in common, read and
 * written: see ct_state.h.  Whole or not at all, and on the disk when a
 * function returns.
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bk_err.h"
#include "bk_slurp.h"
#include "ct_state.h"


#define CT_STATE_MARK      "ca/kubernetes-secret"
#define CT_STATE_MARK_MAX  512


/* what a killed rotation has left: of an authority that was */
static const char *const  ct_state_left[] = {
    "ca/gateway-next.pem", "ca/gateway-next-key.pem", "ca/worker-next.pem",
    "ca/worker-next-key.pem"
};

#define CT_STATE_LEFT  (sizeof(ct_state_left) / sizeof(ct_state_left[0]))


static void ct_state_path(const char *dir, const char *name, char *path);
static int ct_state_write(const char *dir, const char *name,
    const void *text, size_t len, bk_err_t *err);
static int ct_state_remove(const char *dir, const char *name, bk_err_t *err);
static int ct_state_sync(const char *dir, const char *name);


static void
ct_state_path(const char *dir, const char *name, char *path)
{
    snprintf(path, PATH_MAX, "%s/%s", dir, name);
}


json_t *
ct_state_local(const char *dir, bk_err_t *err)
{
    char    path[PATH_MAX], *text, *coded;
    size_t  i, len;
    json_t *data;

    data = json_object();

    for (i = 0; i < CT_STATE_FILES; i++) {
        ct_state_path(dir, ct_state_files[i].path, path);
        text = bk_slurp(path, CT_STATE_FILE_MAX, &len);

        if (text == NULL) {
            if (errno == ENOENT || errno == ENOTDIR) {
                continue;
            }

            bk_err_set(err, 500, "StateFolder", "%s: %s", path,
                       strerror(errno));
            json_decref(data);
            return NULL;
        }

        coded = ct_state_encode(text, len);
        json_object_set_new(data, ct_state_files[i].key, json_string(coded));
        ct_state_wipe(coded, strlen(coded));
        ct_state_wipe(text, len);
    }

    return data;
}


int
ct_state_take(const char *dir, json_t *data, bk_err_t *err)
{
    int             rc = 0;
    char            path[PATH_MAX];
    size_t          i, len;
    json_t         *value;
    unsigned char  *text;

    ct_state_path(dir, "ca", path);

    if (mkdir(path, 0700) == -1 && errno != EEXIST) {
        return bk_err_set(err, 500, "StateFolder", "cannot make %s: %s", path,
                          strerror(errno));
    }

    /* killed in between, we begin anew */
    if (ct_state_remove(dir, CT_STATE_MARK, err) != 0
        || ct_state_sync(dir, CT_STATE_MARK) != 0)
    {
        return -1;
    }

    for (i = 0; i < CT_STATE_LEFT && rc == 0; i++) {
        rc = ct_state_remove(dir, ct_state_left[i], err);
    }

    for (i = 0; i < CT_STATE_FILES && rc == 0; i++) {
        value = json_object_get(data, ct_state_files[i].key);

        if (value == NULL) {
            rc = ct_state_remove(dir, ct_state_files[i].path, err);
            continue;
        }

        text = ct_state_decode(value, &len);

        if (text == NULL) {
            return bk_err_set(err, 400, "BadState", "its %s is no base64",
                              ct_state_files[i].key);
        }

        rc = ct_state_write(dir, ct_state_files[i].path, text, len, err);
        ct_state_wipe(text, len);
    }

    return rc;
}


int
ct_state_take_issued(const char *dir, json_t *data, bk_err_t *err)
{
    int             rc = 0;
    size_t          i, len;
    unsigned char  *text;

    for (i = 0; i < CT_STATE_FILES && rc == 0; i++) {
        if (!ct_state_files[i].trust
            || !ct_state_own(data, ct_state_files[i].key))
        {
            continue;
        }

        text = ct_state_decode(json_object_get(data, ct_state_files[i].key),
                               &len);

        if (text != NULL) {
            rc = ct_state_write(dir, ct_state_files[i].path, text, len, err);
            ct_state_wipe(text, len);
        }
    }

    return rc;
}


static int
ct_state_write(const char *dir, const char *name, const void *text,
    size_t len, bk_err_t *err)
{
    int   fd, bad;
    char  path[PATH_MAX], made[PATH_MAX + 4];

    ct_state_path(dir, name, path);
    snprintf(made, sizeof(made), "%s.tmp", path);
    (void) unlink(made);

    fd = open(made, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
              0600);

    if (fd == -1) {
        return bk_err_set(err, 500, "StateFolder", "cannot write %s: %s", path,
                          strerror(errno));
    }

    errno = ENOSPC;
    bad = write(fd, text, len) != (ssize_t) len || fsync(fd) != 0;

    if (close(fd) != 0 || bad || rename(made, path) != 0
        || ct_state_sync(dir, name) != 0)
    {
        bk_err_set(err, 500, "StateFolder", "cannot write %s: %s", path,
                   strerror(errno));
        (void) unlink(made);
        return -1;
    }

    return 0;
}


static int
ct_state_remove(const char *dir, const char *name, bk_err_t *err)
{
    char  path[PATH_MAX];

    ct_state_path(dir, name, path);

    if (unlink(path) != 0 && errno != ENOENT) {
        return bk_err_set(err, 500, "StateFolder", "cannot remove %s: %s",
                          path, strerror(errno));
    }

    return 0;
}


static int
ct_state_sync(const char *dir, const char *name)
{
    int   fd, rc;
    char  path[PATH_MAX];

    ct_state_path(dir, name, path);
    *strrchr(path, '/') = '\0';
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd == -1) {
        return -1;
    }

    rc = fsync(fd);
    (void) close(fd);

    return rc;
}


int
ct_state_secret(const char *dir, bk_err_t *err)
{
    int            rc;
    char           path[PATH_MAX];
    unsigned char  secret[CT_STATE_SECRET_LEN];

    ct_state_path(dir, CT_STATE_SECRET, path);

    if (access(path, F_OK) == 0) {
        return 0;
    }

    if (RAND_bytes(secret, sizeof(secret)) != 1) {
        return bk_err_set(err, 500, "NoRandom", "there are no random bytes");
    }

    rc = ct_state_write(dir, CT_STATE_SECRET, secret, sizeof(secret), err);
    explicit_bzero(secret, sizeof(secret));

    return rc;
}


int
ct_state_mark(const char *dir, const char *uid, const char *version,
    bk_err_t *err)
{
    int   n;
    char  text[CT_STATE_MARK_MAX];

    n = snprintf(text, sizeof(text), "%s %s\n", uid, version);

    return ct_state_write(dir, CT_STATE_MARK, text, (size_t) n, err);
}


int
ct_state_marked(const char *dir, const char *uid, const char *version)
{
    int     same;
    char    path[PATH_MAX], text[CT_STATE_MARK_MAX], *was;
    size_t  len;

    ct_state_path(dir, CT_STATE_MARK, path);
    was = bk_slurp(path, sizeof(text) - 1, &len);

    if (was == NULL) {
        return 0;
    }

    snprintf(text, sizeof(text), "%s %s\n", uid, version);
    same = strcmp(was, text) == 0;
    free(was);

    return same;
}


void
ct_state_unmark(const char *dir)
{
    (void) ct_state_remove(dir, CT_STATE_MARK, NULL);
}
