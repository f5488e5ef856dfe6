/* The HTTP server's listeners and routes.  See httpd.h. */

#include <arpa/inet.h>
#include <errno.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <utlist.h>

#include "err.h"
#include "httpd_int.h"
#include "log.h"


static int bk_httpd_unix(const char *path, bk_err_t *err);
static int bk_httpd_stale(const struct sockaddr_un *sun, bk_err_t *err);
static int bk_httpd_tcp(const char *spec, bk_err_t *err);
static void bk_httpd_accepted(struct evconnlistener *l, evutil_socket_t fd,
    struct sockaddr *sa, int len, void *data);
static void bk_httpd_client(int fd, const struct sockaddr *sa, char *buf,
    size_t size);
static int bk_httpd_match(const char *pattern, const char *target,
    const char **param, size_t *len);
static void bk_route_free(bk_route_t *r);


bk_httpd_t *
bk_httpd_new(struct event_base *base)
{
    bk_httpd_t  *h;

    h = calloc(1, sizeof(bk_httpd_t));
    if (h == NULL) {
        abort();
    }

    h->base = base;

    return h;
}


int
bk_httpd_listen(bk_httpd_t *h, int which, const char *spec, bk_err_t *err)
{
    int             fd;
    bk_listener_t  *l;

    fd = strncmp(spec, "unix:", 5) == 0 ? bk_httpd_unix(spec + 5, err)
                                        : bk_httpd_tcp(spec, err);
    if (fd == -1) {
        return -1;
    }

    l = calloc(1, sizeof(bk_listener_t));
    if (l == NULL) {
        abort();
    }

    l->httpd = h;
    l->which = which;
    l->listener = evconnlistener_new(h->base, bk_httpd_accepted, l,
                                     LEV_OPT_CLOSE_ON_FREE
                                     | LEV_OPT_CLOSE_ON_EXEC, 511, fd);
    if (l->listener == NULL) {
        abort();
    }

    if (spec[0] == 'u') {
        l->path = strdup(spec + 5);
    }

    l->next = h->listeners;
    h->listeners = l;

    bk_log(BK_LOG_INFO, "http", "%s listens on %s",
           which == BK_HTTP_API ? "API" : "metrics", spec);

    return 0;
}


static int
bk_httpd_unix(const char *path, bk_err_t *err)
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

    if (bk_httpd_stale(&sun, err) != 0) {
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
bk_httpd_stale(const struct sockaddr_un *sun, bk_err_t *err)
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


static int
bk_httpd_tcp(const char *spec, bk_err_t *err)
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


void
bk_httpd_close(bk_httpd_t *h)
{
    bk_listener_t  *l;

    while ((l = h->listeners) != NULL) {
        h->listeners = l->next;
        evconnlistener_free(l->listener);

        if (l->path != NULL) {
            (void) unlink(l->path);
        }

        free(l->path);
        free(l);
    }
}


void
bk_httpd_drop(bk_httpd_t *h)
{
    bk_httpd_close(h);

    while (h->conns != NULL) {
        bk_conn_close(h->conns);
    }
}


void
bk_httpd_free(bk_httpd_t **hp)
{
    bk_httpd_t  *h = *hp;
    bk_route_t  *r;

    if (h == NULL) {
        return;
    }

    *hp = NULL;
    bk_httpd_drop(h);

    while ((r = h->routes) != NULL) {
        h->routes = r->next;
        bk_route_free(r);
    }

    free(h);
}


static void
bk_httpd_accepted(struct evconnlistener *l, evutil_socket_t fd,
    struct sockaddr *sa, int len, void *data)
{
    char            client[80];
    bk_listener_t  *listener = data;

    (void) l;
    (void) len;

    bk_httpd_client(fd, sa, client, sizeof(client));
    bk_httpd_accept(listener->httpd, listener->which, fd, client);
}


void
bk_httpd_accept(bk_httpd_t *h, int which, int fd, const char *client)
{
    if (h->nconns >= BK_HTTP_CONNS_MAX) {
        close(fd);
        return;
    }

    bk_conn_new(h, which, fd, client);
}


static void
bk_httpd_client(int fd, const struct sockaddr *sa, char *buf, size_t size)
{
    char                        addr[INET6_ADDRSTRLEN];
    socklen_t                   len;
    struct ucred                cred;
    const struct sockaddr_in   *in;
    const struct sockaddr_in6  *in6;

    switch (sa->sa_family) {

    case AF_UNIX:
        len = sizeof(cred);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0) {
            snprintf(buf, size, "unix:uid=%u,pid=%d", (unsigned) cred.uid,
                     (int) cred.pid);
            return;
        }

        snprintf(buf, size, "unix:");
        return;

    case AF_INET6:
        in6 = (const struct sockaddr_in6 *) sa;
        inet_ntop(AF_INET6, &in6->sin6_addr, addr, sizeof(addr));
        snprintf(buf, size, "[%s]:%u", addr, ntohs(in6->sin6_port));
        return;

    default:
        in = (const struct sockaddr_in *) sa;
        inet_ntop(AF_INET, &in->sin_addr, addr, sizeof(addr));
        snprintf(buf, size, "%s:%u", addr, ntohs(in->sin_port));
    }
}


int
bk_httpd_route(bk_httpd_t *h, int which, const char *method,
    const char *pattern, bk_http_pt handler, void *data, const char *owner,
    bk_err_t *err)
{
    bk_route_t  *r;

    if (which < 0 || which >= BK_HTTP_WHICH || pattern[0] != '/') {
        return bk_err_set(err, 400, "BadRoute", "%s is no route", pattern);
    }

    LL_FOREACH(h->routes, r) {
        if (r->which == which && strcmp(r->pattern, pattern) == 0
            && strcmp(r->method, method) == 0)
        {
            return bk_err_set(err, 409, "RouteTaken",
                              "%s %s is answered by %s already", method,
                              pattern, r->owner);
        }
    }

    r = calloc(1, sizeof(bk_route_t));
    if (r == NULL) {
        abort();
    }

    r->which = which;
    r->handler = handler;
    r->data = data;
    r->method = strdup(method);
    r->pattern = strdup(pattern);
    r->owner = strdup(owner);

    if (r->method == NULL || r->pattern == NULL || r->owner == NULL) {
        abort();
    }

    LL_PREPEND(h->routes, r);

    return 0;
}


static void
bk_route_free(bk_route_t *r)
{
    free(r->method);
    free(r->pattern);
    free(r->owner);
    free(r);
}


/* allow: the methods of the path, when the method does not fit. */

bk_route_t *
bk_httpd_find(bk_httpd_t *h, int which, const char *method,
    const char *target, char **param, char *allow, size_t size)
{
    size_t       len, best_len = 0, used = 0;
    const char  *p, *best_param = NULL;
    bk_route_t  *r, *best = NULL;

    allow[0] = '\0';

    LL_FOREACH(h->routes, r) {
        if (r->which != which || !bk_httpd_match(r->pattern, target, &p, &len))
        {
            continue;
        }

        if (strcmp(r->method, method) != 0
            && !(strcmp(method, "HEAD") == 0 && strcmp(r->method, "GET") == 0))
        {
            if (used + strlen(r->method) + 3 < size) {
                used += (size_t) sprintf(allow + used, "%s%s",
                                         used ? ", " : "", r->method);
            }

            continue;
        }

        if (best == NULL || p == NULL) {
            best = r;
            best_param = p;
            best_len = len;
        }
    }

    if (best != NULL) {
        allow[0] = '\0';

        if (best_param != NULL) {
            *param = strndup(best_param, best_len);
            if (*param == NULL) {
                abort();
            }

            if (bk_http_decode(*param, 0) != 0) {
                free(*param);
                *param = NULL;
                return NULL;
            }
        }
    }

    return best;
}


/* '*' stands for one segment that is not empty. */

static int
bk_httpd_match(const char *pattern, const char *target, const char **param,
    size_t *len)
{
    *param = NULL;
    *len = 0;

    for ( /* void */ ; *pattern != '\0'; pattern++) {
        if (*pattern == '*') {
            *param = target;
            *len = strcspn(target, "/");

            if (*len == 0) {
                return 0;
            }

            target += *len;
            continue;
        }

        if (*pattern != *target) {
            return 0;
        }

        target++;
    }

    return *target == '\0';
}


void
bk_httpd_counts(bk_httpd_t *h, bk_httpd_count_pt fn, void *data)
{
    int          i;
    bk_route_t  *r;

    LL_FOREACH(h->routes, r) {
        for (i = 0; i < BK_HTTP_STATUSES && r->status[i] != 0; i++) {
            fn(r->method, r->pattern, r->status[i], r->count[i], data);
        }
    }

    for (i = 0; i < BK_HTTP_STATUSES && h->none.status[i] != 0; i++) {
        fn("", "", h->none.status[i], h->none.count[i], data);
    }
}


unsigned
bk_httpd_connections(const bk_httpd_t *h)
{
    return h->nconns;
}
