/*
 * The HTTP/1.1 server of plugin-host: unix sockets and loopback TCP, on
 * libevent's bufferevents.
 *
 * Not libevent's evhttp: in 2.1 it answers what it refuses itself in HTML,
 * has no limit on the time of a whole request (a client that sends a byte a
 * second stays for ever), and does not read while a request is worked on, so
 * that a client who went away in a queue is never noticed.  What is kept is
 * small: GET, HEAD, POST, PUT, DELETE; Content-Length bodies up to 64 KiB
 * (chunked ones get 411); keep-alive; one request at a time; answers at once
 * or in parts.  Who asks, and what they may, is not known here: the gate
 * (gate.c) stands between a complete request and its handler.
 *
 * Every answer is JSON but for what a handler says itself.  Called by
 * host_api.c, api.c and main.c, on the loop's thread.
 */

#ifndef BK_HTTPD_H_INCLUDED
#define BK_HTTPD_H_INCLUDED

#include "bk_plugin.h"


typedef struct bk_httpd_s  bk_httpd_t;

struct event_base;

#define BK_HTTP_API      0
#define BK_HTTP_METRICS  1
#define BK_HTTP_WHICH    2

#define BK_HTTP_HEAD_MAX    32768
#define BK_HTTP_BEARER_MAX  16384
#define BK_HTTP_BODY_MAX    65536
#define BK_HTTP_STREAM_MAX  1048576     /* not read by the client so far */


bk_httpd_t *bk_httpd_new(struct event_base *base);

/* spec: "unix:/PATH" or "ADDRESS:PORT".  A socket file that nobody listens
 * on is replaced; 409 InUse otherwise. */
int bk_httpd_listen(bk_httpd_t *h, int which, const char *spec,
    bk_err_t *err);
/* No new connections; what is under way goes on. */
void bk_httpd_close(bk_httpd_t *h);
/* Ends every connection as well; before those who answer are gone. */
void bk_httpd_drop(bk_httpd_t *h);
void bk_httpd_free(bk_httpd_t **h);

/* A connection that was made otherwise (tests, fuzzing); takes fd. */
void bk_httpd_accept(bk_httpd_t *h, int which, int fd, const char *client);

/*
 * pattern: a path in which one segment may be '*'; the exact one wins.
 * 409 RouteTaken when the method and pattern are there already, unless with
 * the owner BK_HTTP_DEFAULT: these are the host's for as long as no plugin
 * does better.
 */
#define BK_HTTP_HOST     "host"
#define BK_HTTP_DEFAULT  "host, by default"

int bk_httpd_route(bk_httpd_t *h, int which, const char *method,
    const char *pattern, bk_http_pt handler, void *data, const char *owner,
    bk_err_t *err);

/*
 * The same, for callers who may do verb: the gate stands before the handler.
 * BK_VERB_NONE: open to all, which is what bk_httpd_route() makes.
 */
int bk_httpd_route_for(bk_httpd_t *h, int which, const char *method,
    const char *pattern, int verb, bk_http_pt handler, void *data,
    const char *owner, bk_err_t *err);

/*
 * ask() is called once for a complete request and calls bk_httpd_pass() or
 * bk_httpd_fail(), at once or later.  What it keeps with the request is told
 * of the answer (reason: of an error, or NULL), and then forgotten; when the
 * client goes away first it is only forgotten, and neither of the two may be
 * called any more.
 */
typedef void (*bk_httpd_gate_pt)(bk_request_t *r, int verb, void *data);

typedef struct {
    void (*answered)(void *caller, int status, const char *reason);
    void (*forget)(void *caller);
} bk_httpd_caller_ops_t;

void bk_httpd_gate(bk_httpd_t *h, bk_httpd_gate_pt ask, void *data);
void bk_httpd_pass(bk_request_t *r);
void bk_httpd_caller_set(bk_request_t *r, void *caller,
    const bk_httpd_caller_ops_t *ops);
void *bk_httpd_caller(const bk_request_t *r);
/* 0: no credential; 1: *bearer, until the handler is called; -1: one that
 * cannot be used */
int bk_httpd_bearer(const bk_request_t *r, bk_str_t *bearer);
/* "unix:uid=0,pid=12", "127.0.0.1:1234"; "gone": amid bk_httpd_on_gone() */
const char *bk_httpd_client(const bk_request_t *r);
/* the address of whom the nearest proxy has seen, if it says so, or NULL */
const char *bk_httpd_forwarded(const bk_request_t *r);
const char *bk_httpd_method(const bk_request_t *r);
const char *bk_httpd_pattern(const bk_request_t *r);     /* of its route */
int bk_httpd_fd(const bk_request_t *r);     /* -1: gone */

/* See bk_plugin.h. */
void bk_httpd_reply(bk_request_t *r, int status, const char *type,
    bk_str_t body);
/* 429 and 503 with Retry-After, where none was set */
void bk_httpd_fail(bk_request_t *r, const bk_err_t *err);
void bk_httpd_on_gone(bk_request_t *r, void (*gone)(bk_request_t *r,
    void *data), void *data);
int bk_httpd_query(bk_request_t *r, const char *name, char *buf, size_t size);
void bk_httpd_header(bk_request_t *r, const char *name, const char *value);
void bk_httpd_stream_begin(bk_request_t *r, int status, const char *type);
int bk_httpd_stream_write(bk_request_t *r, bk_str_t part);
/* bytes of it that the client has not taken so far */
size_t bk_httpd_stream_waiting(const bk_request_t *r);
void bk_httpd_stream_end(bk_request_t *r);

/* Answered requests, by route ("" where none fitted) and status. */
typedef void (*bk_httpd_count_pt)(const char *method, const char *route,
    int status, uint64_t n, void *data);
void bk_httpd_counts(bk_httpd_t *h, bk_httpd_count_pt fn, void *data);

/* How long answers took, by route: cumulative, in the buckets of le[] */
#define BK_HTTP_BUCKETS  12

typedef struct {
    const char  *method;
    const char  *route;
    uint64_t     bucket[BK_HTTP_BUCKETS];   /* not cumulative */
    uint64_t     n;
    double       sum;                       /* seconds */
} bk_httpd_times_t;

extern const double  bk_httpd_le[BK_HTTP_BUCKETS];

typedef void (*bk_httpd_times_pt)(const bk_httpd_times_t *t, void *data);
void bk_httpd_times(bk_httpd_t *h, bk_httpd_times_pt fn, void *data);

unsigned bk_httpd_connections(const bk_httpd_t *h);

#endif /* BK_HTTPD_H_INCLUDED */
