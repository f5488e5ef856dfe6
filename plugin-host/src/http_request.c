/*
 * What a request is asked and told by the gate and by handlers that answer in
 * parts.  See httpd.h.  A part that the client does not read is held up to
 * BK_HTTP_STREAM_MAX, then the answer is broken off.
 */

#include <string.h>
#include <time.h>

#include "httpd_int.h"


uint64_t
bk_http_now_us(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}


void
bk_httpd_caller_set(bk_request_t *r, void *caller,
    const bk_httpd_caller_ops_t *ops)
{
    r->caller = caller;
    r->caller_ops = ops;
}


void *
bk_httpd_caller(const bk_request_t *r)
{
    return r->caller;
}


int
bk_httpd_bearer(const bk_request_t *r, bk_str_t *bearer)
{
    if (r->h.bearer == NULL) {
        return r->h.authorization ? -1 : 0;
    }

    *bearer = (bk_str_t) { r->h.bearer, strlen(r->h.bearer) };

    return 1;
}


const char *
bk_httpd_client(const bk_request_t *r)
{
    return r->conn != NULL ? r->conn->client
           : r->client != NULL ? r->client : "gone";
}


const char *
bk_httpd_forwarded(const bk_request_t *r)
{
    return r->h.forwarded;
}


const char *
bk_httpd_method(const bk_request_t *r)
{
    return r->h.method != NULL ? r->h.method : "";
}


const char *
bk_httpd_pattern(const bk_request_t *r)
{
    return r->route->pattern != NULL ? r->route->pattern : "";
}


int
bk_httpd_fd(const bk_request_t *r)
{
    return r->conn != NULL ? bufferevent_getfd(r->conn->bev) : -1;
}


void
bk_httpd_stream_begin(bk_request_t *r, int status, const char *type)
{
    bk_request_head(r, status, type, -1);
}


int
bk_httpd_stream_write(bk_request_t *r, bk_str_t part)
{
    struct evbuffer  *out;

    if (r->conn == NULL || r->slow) {
        return -1;
    }

    if (part.len == 0 || r->silent) {
        return 0;
    }

    out = bufferevent_get_output(r->conn->bev);

    if (part.len > BK_HTTP_STREAM_MAX
        || evbuffer_get_length(out) > BK_HTTP_STREAM_MAX - part.len)
    {
        r->slow = 1;
        return -1;
    }

    if (r->chunked) {
        evbuffer_add_printf(out, "%zx\r\n", part.len);
    }

    evbuffer_add(out, part.data, part.len);

    if (r->chunked) {
        evbuffer_add(out, "\r\n", 2);
    }

    return 0;
}


size_t
bk_httpd_stream_waiting(const bk_request_t *r)
{
    return r->conn == NULL ? 0
           : evbuffer_get_length(bufferevent_get_output(r->conn->bev));
}


/* One that was broken off has no last part: its reader must see that. */

void
bk_httpd_stream_end(bk_request_t *r)
{
    int         chunked = r->chunked && !r->silent, slow = r->slow;
    bk_conn_t  *c = r->conn;

    bk_request_free(r);

    if (c == NULL) {
        return;
    }

    c->request = NULL;

    if (slow) {
        bk_conn_close(c);
        return;
    }

    if (chunked) {
        evbuffer_add(bufferevent_get_output(c->bev), "0\r\n\r\n", 5);
    }

    bk_conn_answered(c);
}
