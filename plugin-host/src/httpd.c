/* The HTTP server's listeners and routes.  See httpd.h. */

#include <arpa/inet.h>
#include <errno.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#include "bk_err.h"
#include "httpd_int.h"
#include "log.h"


static void bk_httpd_accepted(struct evconnlistener *l, evutil_socket_t fd,
    struct sockaddr *sa, int len, void *data);
static void bk_httpd_full(struct evconnlistener *l, void *data);
static void bk_httpd_resume(evutil_socket_t fd, short what, void *data);
static void bk_httpd_name(int fd, const struct sockaddr *sa, char *buf,
    size_t size);
static int bk_httpd_match(const char *pattern, const char *target,
    const char **param, size_t *len);
static void bk_route_free(bk_route_t *r);


bk_httpd_t *
bk_httpd_new(struct event_base *base)
{
    bk_httpd_t     *h;
    struct rlimit   rl;

    h = calloc(1, sizeof(bk_httpd_t));
    if (h == NULL) {
        abort();
    }

    h->base = base;
    h->max = BK_HTTP_CONNS_FEW;

    /* half of what we may have: others need some as well */
    if (getrlimit(RLIMIT_NOFILE, &rl) == 0
        && rl.rlim_cur / 2 > BK_HTTP_CONNS_FEW)
    {
        h->max = rl.rlim_cur / 2 < BK_HTTP_CONNS_MAX
                 ? (unsigned) rl.rlim_cur / 2 : BK_HTTP_CONNS_MAX;
    }

    return h;
}


int
bk_httpd_listen(bk_httpd_t *h, int which, const char *spec, bk_err_t *err)
{
    int             fd;
    bk_listener_t  *l;

    fd = strncmp(spec, "unix:", 5) == 0 ? bk_http_unix(spec + 5, err)
                                        : bk_http_tcp(spec, err);
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
    l->resume = evtimer_new(h->base, bk_httpd_resume, l);
    if (l->listener == NULL || l->resume == NULL) {
        abort();
    }

    evconnlistener_set_error_cb(l->listener, bk_httpd_full);

    if (spec[0] == 'u') {
        l->path = strdup(spec + 5);
    }

    l->next = h->listeners;
    h->listeners = l;

    bk_log(BK_LOG_INFO, "http", "%s listens on %s",
           which == BK_HTTP_API ? "API" : "metrics", spec);

    return 0;
}


void
bk_httpd_close(bk_httpd_t *h)
{
    bk_listener_t  *l;

    while ((l = h->listeners) != NULL) {
        h->listeners = l->next;
        evconnlistener_free(l->listener);
        event_free(l->resume);

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
    bk_httpd_t     *h = listener->httpd;

    (void) l;
    (void) len;

    /* whatever strangers do, operators get in */
    if (listener->path == NULL
        && h->nconns >= h->max - BK_HTTP_CONNS_KEPT)
    {
        close(fd);
        return;
    }

    bk_httpd_name(fd, sa, client, sizeof(client));
    bk_httpd_accept(h, listener->which, fd, client);
}


/* No descriptor is left: trying again at once would only turn the loop. */

static void
bk_httpd_full(struct evconnlistener *l, void *data)
{
    int              e = EVUTIL_SOCKET_ERROR();
    bk_listener_t   *listener = data;
    struct timeval   tv = { 0, 500000 };

    bk_log(BK_LOG_WARN, "http", "cannot accept a connection: %s",
           strerror(e));
    evconnlistener_disable(l);
    evtimer_add(listener->resume, &tv);
}


static void
bk_httpd_resume(evutil_socket_t fd, short what, void *data)
{
    bk_listener_t  *listener = data;

    (void) fd;
    (void) what;

    evconnlistener_enable(listener->listener);
}


void
bk_httpd_accept(bk_httpd_t *h, int which, int fd, const char *client)
{
    if (h->nconns >= h->max) {
        close(fd);
        return;
    }

    bk_conn_new(h, which, fd, client);
}


static void
bk_httpd_name(int fd, const struct sockaddr *sa, char *buf, size_t size)
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
    return bk_httpd_route_for(h, which, method, pattern, BK_VERB_NONE,
                              handler, data, owner, err);
}


int
bk_httpd_route_for(bk_httpd_t *h, int which, const char *method,
    const char *pattern, int verb, bk_http_pt handler, void *data,
    const char *owner, bk_err_t *err)
{
    bk_route_t  *r;

    if (which < 0 || which >= BK_HTTP_WHICH || pattern[0] != '/'
        || verb < BK_VERB_ANY || verb >= BK_VERBS)
    {
        return bk_err_set(err, 400, "BadRoute", "%s is no route", pattern);
    }

    LL_FOREACH(h->routes, r) {
        if (r->which == which && strcmp(r->pattern, pattern) == 0
            && strcmp(r->method, method) == 0
            && strcmp(r->owner, BK_HTTP_DEFAULT) != 0)
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
    r->verb = verb;
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

        /* the last one that came is the first here */
        if (best == NULL || (p == NULL && best_param != NULL)) {
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


void
bk_httpd_times(bk_httpd_t *h, bk_httpd_times_pt fn, void *data)
{
    bk_route_t        *r;
    bk_httpd_times_t   t;

    LL_FOREACH(h->routes, r) {
        if (r->times.n > 0) {
            t = r->times;
            t.method = r->method;
            t.route = r->pattern;
            fn(&t, data);
        }
    }
}


void
bk_httpd_gate(bk_httpd_t *h, bk_httpd_gate_pt ask, void *data)
{
    h->gate = ask;
    h->gate_data = data;
}


unsigned
bk_httpd_connections(const bk_httpd_t *h)
{
    return h->nconns;
}
