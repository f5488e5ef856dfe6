/*
 * A connection of the HTTP server: reads one request at a time within a
 * limited time, hands it to its route, waits for the answer to be written.
 * See httpd_int.h.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#include "bk_err.h"
#include "httpd_int.h"
#include "slow.h"


static void bk_conn_read(struct bufferevent *bev, void *data);
static void bk_conn_written(struct bufferevent *bev, void *data);
static void bk_conn_event(struct bufferevent *bev, short what, void *data);
static void bk_conn_timeout(evutil_socket_t fd, short what, void *data);
static void bk_conn_timer(bk_conn_t *c, unsigned seconds);
static void bk_conn_run(bk_conn_t *c);
static int bk_conn_head(bk_conn_t *c);
static int bk_conn_accepts(bk_conn_t *c, bk_request_t *r, bk_err_t *err);
static int bk_conn_body(bk_conn_t *c);
static void bk_conn_dispatch(bk_conn_t *c);
static void bk_conn_refuse(bk_conn_t *c, const bk_err_t *err);
static void bk_conn_done(bk_conn_t *c);


void
bk_conn_new(bk_httpd_t *h, int which, int fd, const char *client)
{
    bk_conn_t       *c;
    struct timeval   tv = { BK_HTTP_WRITE_S, 0 };

    c = calloc(1, sizeof(bk_conn_t));
    if (c == NULL) {
        abort();
    }

    c->httpd = h;
    c->which = which;
    snprintf(c->client, sizeof(c->client), "%s", client);

    c->bev = bufferevent_socket_new(h->base, fd, BEV_OPT_CLOSE_ON_FREE);
    c->timer = evtimer_new(h->base, bk_conn_timeout, c);
    if (c->bev == NULL || c->timer == NULL) {
        abort();
    }

    DL_APPEND(h->conns, c);
    h->nconns++;

    bufferevent_setcb(c->bev, bk_conn_read, bk_conn_written, bk_conn_event,
                      c);
    bufferevent_set_timeouts(c->bev, NULL, &tv);
    /* a head and a body, and that is all that we hold for a client */
    bufferevent_setwatermark(c->bev, EV_READ, 0,
                             BK_HTTP_HEAD_MAX + BK_HTTP_BODY_MAX);
    bufferevent_enable(c->bev, EV_READ | EV_WRITE);
    bk_conn_timer(c, BK_HTTP_READ_S);
}


void
bk_conn_close(bk_conn_t *c)
{
    bk_request_t  *r = c->request;

    if (c->busy) {
        c->dead = 1;
        return;
    }

    DL_DELETE(c->httpd->conns, c);
    c->httpd->nconns--;
    bufferevent_free(c->bev);
    event_free(c->timer);

    c->request = NULL;

    if (r != NULL) {
        r->conn = NULL;

        if (c->state != BK_CONN_WORK || !r->handed) {
            bk_request_free(r);

        } else if (r->gone != NULL) {
            r->gone(r, r->gone_data);
            bk_request_free(r);

        } else {
            /* the handler still answers, and that frees it */
            r->client = strdup(c->client);
            if (r->client == NULL) {
                abort();
            }
        }
    }

    free(c);
}


static void
bk_conn_read(struct bufferevent *bev, void *data)
{
    bk_conn_t  *c = data;

    (void) bev;

    bk_conn_run(c);
}


static void
bk_conn_event(struct bufferevent *bev, short what, void *data)
{
    bk_conn_t  *c = data;

    (void) bev;

    /* a client that only says no more still gets its answer; but one whose
     * answer is being worked on is taken to have gone */
    if (c->state == BK_CONN_WRITE
        && what == (BEV_EVENT_READING | BEV_EVENT_EOF))
    {
        c->close = 1;
        c->linger = 0;
        return;
    }

    bk_conn_close(c);
}


static void
bk_conn_timeout(evutil_socket_t fd, short what, void *data)
{
    bk_err_t    err;
    bk_conn_t  *c = data;

    (void) fd;
    (void) what;

    if (c->state == BK_CONN_BODY
        || (c->state == BK_CONN_HEAD
            && evbuffer_get_length(bufferevent_get_input(c->bev)) > 0))
    {
        bk_err_set(&err, 408, "Timeout", "the request was not complete "
                   "within %d seconds", BK_HTTP_READ_S);
        bk_conn_refuse(c, &err);
        return;
    }

    bk_conn_close(c);
}


static void
bk_conn_timer(bk_conn_t *c, unsigned seconds)
{
    struct timeval  tv = { (time_t) seconds, 0 };

    evtimer_add(c->timer, &tv);
}


/* Goes on as far as what was read allows. */

static void
bk_conn_run(bk_conn_t *c)
{
    int               more = 1;
    struct evbuffer  *in = bufferevent_get_input(c->bev);

    if (c->busy) {
        return;
    }

    c->busy = 1;

    while (more && !c->dead) {
        switch (c->state) {

        case BK_CONN_HEAD:
            more = bk_conn_head(c);
            break;

        case BK_CONN_BODY:
            more = bk_conn_body(c);
            break;

        case BK_CONN_LINGER:
            evbuffer_drain(in, evbuffer_get_length(in));
            more = 0;
            break;

        default:
            more = 0;
        }
    }

    c->busy = 0;

    if (c->dead) {
        bk_conn_close(c);
    }
}


static int
bk_conn_head(bk_conn_t *c)
{
    long              end;
    size_t            len;
    bk_err_t          err;
    bk_request_t     *r;
    struct evbuffer  *in = bufferevent_get_input(c->bev);

    len = evbuffer_get_length(in);
    if (len == 0) {
        return 0;
    }

    if (len > BK_HTTP_HEAD_MAX) {
        len = BK_HTTP_HEAD_MAX;
    }

    end = bk_http_head_end((char *) evbuffer_pullup(in, (ev_ssize_t) len),
                           c->scanned, len);
    c->scanned = end == 0 ? len : 0;

    if (end == 0) {
        /* the first byte of a later request starts its clock */
        if (c->idle) {
            c->idle = 0;
            bk_conn_timer(c, BK_HTTP_READ_S);
        }

        return 0;
    }

    c->idle = 0;

    if (end == -1) {
        bk_err_set(&err, 431, "HeadTooLarge", "the head of the request is "
                   "larger than %d bytes", BK_HTTP_HEAD_MAX);
        bk_conn_refuse(c, &err);
        return 0;
    }

    r = calloc(1, sizeof(bk_request_t));
    if (r == NULL || (r->head = malloc((size_t) end + 1)) == NULL
        || (r->headers = evbuffer_new()) == NULL)
    {
        abort();
    }

    evbuffer_remove(in, r->head, (size_t) end);
    r->head[end] = '\0';
    r->head_len = (size_t) end;
    r->since_us = bk_http_now_us();
    r->conn = c;
    r->route = &c->httpd->none;
    c->request = r;
    c->state = BK_CONN_BODY;

    if (bk_http_parse(r->head, (size_t) end, &r->h, &err) != 0
        || bk_conn_accepts(c, r, &err) != 0)
    {
        bk_conn_refuse(c, &err);
        return 0;
    }

    c->close = r->h.close;
    bk_conn_timer(c, BK_HTTP_READ_S);

    if (r->h.expect && r->h.length > 0 && evbuffer_get_length(in) == 0) {
        bufferevent_write(c->bev, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    }

    return 1;
}


/* Everything that can be said before the body was read. */

static int
bk_conn_accepts(bk_conn_t *c, bk_request_t *r, bk_err_t *err)
{
    char         allow[64];
    bk_route_t  *route;

    route = bk_httpd_find(c->httpd, c->which, r->h.method, r->h.target,
                          &r->param, allow, sizeof(allow));

    if (route == NULL && allow[0] != '\0') {
        bk_httpd_header(r, "Allow", allow);
        return bk_err_set(err, 405, "MethodNotAllowed",
                          "%s is not possible here, only %s", r->h.method,
                          allow);
    }

    r->path = strdup(r->h.target);
    if (r->path == NULL) {
        abort();
    }

    if (bk_http_decode(r->path, 0) != 0) {
        return bk_err_set(err, 400, "BadRequest", "the request's path is "
                          "encoded wrongly");
    }

    if (route == NULL) {
        bk_err_set(err, 404, "NotFound", "there is no %.200s here", r->path);
        return bk_err_hint(err, "the API begins with /api/v1/");
    }

    r->route = route;

    if (r->h.length > BK_HTTP_BODY_MAX) {
        return bk_err_set(err, 413, "TooLarge", "the body of the request is "
                          "larger than %d bytes", BK_HTTP_BODY_MAX);
    }

    if (r->h.origin) {
        bk_err_set(err, 403, "CrossSite",
                   "requests of web pages are not taken");
        return bk_err_hint(err, "leave the Origin header out");
    }

    if (r->h.length > 0 && !r->h.json) {
        bk_err_set(err, 415, "UnsupportedMediaType",
                   "the body of a request must be application/json");
        return bk_err_hint(err, "add: Content-Type: application/json");
    }

    return 0;
}


static int
bk_conn_body(bk_conn_t *c)
{
    size_t            want = (size_t) c->request->h.length;
    bk_request_t     *r = c->request;
    struct evbuffer  *in = bufferevent_get_input(c->bev);

    if (evbuffer_get_length(in) < want) {
        return 0;
    }

    r->body = malloc(want + 1);
    if (r->body == NULL) {
        abort();
    }

    evbuffer_remove(in, r->body, want);
    r->body[want] = '\0';

    evtimer_del(c->timer);
    c->state = BK_CONN_WORK;
    bk_conn_dispatch(c);

    return 1;
}


/* The gate may answer, and so free the request; or pass it on later. */

static void
bk_conn_dispatch(bk_conn_t *c)
{
    bk_request_t  *r = c->request;

    if (r->route->verb != BK_VERB_NONE && c->httpd->gate != NULL) {
        c->httpd->gate(r, r->route->verb, c->httpd->gate_data);

    } else {
        bk_httpd_pass(r);
    }
}


void
bk_httpd_pass(bk_request_t *r)
{
    uint64_t            since = bk_host_monotonic_ms();
    bk_conn_t          *c = r->conn;
    bk_route_t         *route = r->route;
    bk_request_info_t   info;

    r->handed = 1;

    if (r->h.bearer != NULL) {
        /* nobody needs it from now on */
        explicit_bzero(r->h.bearer, strlen(r->h.bearer));
        r->h.bearer = NULL;
    }

    memset(&info, 0, sizeof(info));
    info.method = (bk_str_t) { r->h.method, strlen(r->h.method) };
    info.path = (bk_str_t) { r->path, strlen(r->path) };
    info.body = (bk_str_t) { r->body, (size_t) r->h.length };
    info.client = (bk_str_t) { c->client, strlen(c->client) };

    if (r->param != NULL) {
        info.param = (bk_str_t) { r->param, strlen(r->param) };
    }

    /* it may answer, and so free the request */
    route->handler(r, &info, route->data);
    bk_host_slow(route->owner, route->pattern, since);
}


/* An answer to what was not read to its end: the connection is closed, but
 * not before the client had a chance to read why. */

static void
bk_conn_refuse(bk_conn_t *c, const bk_err_t *err)
{
    bk_request_t  *r = c->request;

    if (r == NULL) {
        r = calloc(1, sizeof(bk_request_t));
        if (r == NULL || (r->headers = evbuffer_new()) == NULL) {
            abort();
        }

        r->conn = c;
        r->route = &c->httpd->none;
        c->request = r;
    }

    c->close = 1;
    c->linger = 1;
    c->state = BK_CONN_WORK;
    bk_httpd_fail(r, err);
}


/* The answer is in the output buffer (http_reply.c). */

void
bk_conn_answered(bk_conn_t *c)
{
    c->request = NULL;
    c->state = BK_CONN_WRITE;
    evtimer_del(c->timer);

    if (evbuffer_get_length(bufferevent_get_output(c->bev)) == 0) {
        bk_conn_done(c);
    }
}


static void
bk_conn_written(struct bufferevent *bev, void *data)
{
    bk_conn_t  *c = data;

    (void) bev;

    if (c->state == BK_CONN_WRITE) {
        bk_conn_done(c);
    }
}


static void
bk_conn_done(bk_conn_t *c)
{
    if (c->linger) {
        c->linger = 0;
        c->state = BK_CONN_LINGER;
        shutdown(bufferevent_getfd(c->bev), SHUT_WR);
        bk_conn_timer(c, BK_HTTP_LINGER_S);
        bk_conn_run(c);
        return;
    }

    if (c->close) {
        bk_conn_close(c);
        return;
    }

    c->state = BK_CONN_HEAD;
    /* idle from now on: bk_conn_head() starts the clock of a request */
    c->idle = 1;
    bk_conn_timer(c, BK_HTTP_IDLE_S);
    bk_conn_run(c);
}
