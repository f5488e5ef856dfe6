/*
 * The HTTP/1.1 server of plugin-host: unix sockets and loopback TCP, on
 * libevent's bufferevents.
 *
 * Not libevent's evhttp: in 2.1 it answers what it refuses itself in HTML,
 * has no limit on the time of a whole request (a client that sends a byte a
 * second stays for ever), and does not read while a request is worked on, so
 * that a client who went away in a queue is never noticed.  What is kept is
 * small: GET, HEAD, POST, PUT, DELETE; Content-Length bodies up to 64 KiB
 * (chunked ones get 411); keep-alive; one request at a time.
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

#define BK_HTTP_HEAD_MAX  16384
#define BK_HTTP_BODY_MAX  65536


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
 * 409 RouteTaken when the method and pattern are there already.
 */
int bk_httpd_route(bk_httpd_t *h, int which, const char *method,
    const char *pattern, bk_http_pt handler, void *data, const char *owner,
    bk_err_t *err);

/* See bk_plugin.h. */
void bk_httpd_reply(bk_request_t *r, int status, const char *type,
    bk_str_t body);
void bk_httpd_fail(bk_request_t *r, const bk_err_t *err);
void bk_httpd_on_gone(bk_request_t *r, void (*gone)(bk_request_t *r,
    void *data), void *data);
int bk_httpd_query(bk_request_t *r, const char *name, char *buf, size_t size);
void bk_httpd_header(bk_request_t *r, const char *name, const char *value);

/* Answered requests, by route ("" where none fitted) and status. */
typedef void (*bk_httpd_count_pt)(const char *method, const char *route,
    int status, uint64_t n, void *data);
void bk_httpd_counts(bk_httpd_t *h, bk_httpd_count_pt fn, void *data);
unsigned bk_httpd_connections(const bk_httpd_t *h);

#endif /* BK_HTTPD_H_INCLUDED */
