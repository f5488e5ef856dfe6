/*
 * Sockets that the HTTP server listens on: made, or taken from the dead, never
 * from the living.  See httpd_int.h.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "bk_err.h"
#include "httpd_int.h"


static int bk_http_stale(const struct sockaddr_un *sun, bk_err_t *err);


int
bk_http_unix(const char *path, bk_err_t *err)
{
    int                 fd;
    char               *slash;
    struct sockaddr_un  sun;

    memset(&sun, 0, sizeof(sun));
    sun.sun_family = AF_UNIX;

    if (strlen(path) >= sizeof(sun.sun_path)) {
        return bk_err_set(err, 400, "BadListen", "unix:%s: the path is too "
                          "long for a socket", path);
    }

    snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);

    slash = strrchr(sun.sun_path, '/');
    if (slash != NULL && slash != sun.sun_path) {
        /* others must get through to the socket; it has its own mode */
        *slash = '\0';
        if (mkdir(sun.sun_path, 0755) == 0) {
            (void) chmod(sun.sun_path, 0755);
        }
        *slash = '/';
    }

    if (bk_http_stale(&sun, err) != 0) {
        return -1;
    }

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd == -1 || bind(fd, (struct sockaddr *) &sun, sizeof(sun)) == -1
        || chmod(path, 0660) == -1)
    {
        bk_err_set(err, 500, "CannotListen", "unix:%s: %s", path,
                   strerror(errno));
        if (fd != -1) {
            close(fd);
        }

        return -1;
    }

    return fd;
}


/* A socket that its owner left behind is removed, a live one is not. */

static int
bk_http_stale(const struct sockaddr_un *sun, bk_err_t *err)
{
    int          fd, rc, e;
    struct stat  st;

    if (lstat(sun->sun_path, &st) == -1) {
        return 0;
    }

    if (!S_ISSOCK(st.st_mode)) {
        return bk_err_set(err, 409, "InUse", "unix:%s: something that is no "
                          "socket is there", sun->sun_path);
    }

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    rc = connect(fd, (const struct sockaddr *) sun, sizeof(*sun));
    e = errno;
    close(fd);

    if (rc == -1 && e == ECONNREFUSED) {
        (void) unlink(sun->sun_path);
        return 0;
    }

    return bk_err_set(err, 409, "InUse", "unix:%s: somebody listens there "
                      "already", sun->sun_path);
}


int
bk_http_tcp(const char *spec, bk_err_t *err)
{
    int                      fd, on = 1, len = sizeof(struct sockaddr_storage);
    struct sockaddr_storage  ss;

    memset(&ss, 0, sizeof(ss));

    if (evutil_parse_sockaddr_port(spec, (struct sockaddr *) &ss, &len)
        != 0)
    {
        return bk_err_set(err, 400, "BadListen", "%s is no ADDRESS:PORT",
                          spec);
    }

    fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd == -1
        || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1
        || bind(fd, (struct sockaddr *) &ss, (socklen_t) len) == -1)
    {
        bk_err_set(err, errno == EADDRINUSE ? 409 : 500, "CannotListen",
                   "cannot listen on %s: %s", spec, strerror(errno));
        if (fd != -1) {
            close(fd);
        }

        return -1;
    }

    return fd;
}
