/*
 * Answers of the HTTP server, and what a handler may ask of a request.  See
 * httpd.h.
 */

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "bk_err.h"
#include "httpd_int.h"
#include "log.h"


static const char *bk_http_phrase(int status);
static void bk_http_count(bk_request_t *r, int status);
static int bk_http_printable(const char *s);


const double  bk_httpd_le[BK_HTTP_BUCKETS] = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30, 120
};


void
bk_httpd_reply(bk_request_t *r, int status, const char *type, bk_str_t body)
{
    bk_conn_t  *c = r->conn;

    bk_request_head(r, status, type, (long long) body.len);

    if (c == NULL) {
        bk_request_free(r);
        return;
    }

    if (!r->silent) {
        evbuffer_add(bufferevent_get_output(c->bev), body.data, body.len);
    }

    bk_request_free(r);
    bk_conn_answered(c);
}


/* Counts, logs, and writes the head where there is somebody to read it. */

void
bk_request_head(bk_request_t *r, int status, const char *type, long long len)
{
    char              date[64];
    time_t            now = time(NULL);
    struct tm         tm;
    bk_conn_t        *c = r->conn;
    struct evbuffer  *out;

    bk_http_count(r, status);

    bk_log(BK_LOG_DEBUG, "http", "%s %s %s: %d", c ? c->client : "gone",
           r->h.method ? r->h.method : "-", r->path ? r->path : "-", status);

    if (r->caller != NULL) {
        r->caller_ops->answered(r->caller, status, r->reason);
    }

    if (c == NULL) {
        return;
    }

    r->silent = r->h.method != NULL && strcmp(r->h.method, "HEAD") == 0;

    if (len == -1 && r->h.minor == 0) {
        /* its end is that of the connection */
        c->close = 1;
    }

    gmtime_r(&now, &tm);
    strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);

    out = bufferevent_get_output(c->bev);
    evbuffer_add_printf(out, "HTTP/1.1 %d %s\r\n"
                        "Date: %s\r\n"
                        "Content-Type: %s\r\n"
                        "Cache-Control: no-store\r\n"
                        "X-Content-Type-Options: nosniff\r\n",
                        status, bk_http_phrase(status), date, type);

    if (len != -1) {
        evbuffer_add_printf(out, "Content-Length: %lld\r\n", len);

    } else if (r->h.minor > 0) {
        r->chunked = 1;
        evbuffer_add_printf(out, "Transfer-Encoding: chunked\r\n");
    }

    evbuffer_add_buffer(out, r->headers);
    evbuffer_add_printf(out, "Connection: %s\r\n\r\n",
                        c->close ? "close" : "keep-alive");
}


void
bk_httpd_fail(bk_request_t *r, const bk_err_t *err)
{
    int      code = err->code >= 400 && err->code < 600 ? err->code : 500;
    char    *text;
    json_t  *json;

    r->reason = err->reason;

    if ((code == 503 || code == 429) && !r->retry) {
        bk_httpd_header(r, "Retry-After", code == 503 ? "5" : "10");
    }

    json = json_pack("{s:s, s:s, s:s}", "error", err->text, "reason",
                     err->reason[0] ? err->reason : "Error", "hint",
                     err->hint);

    text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;

    /* it was cut within a UTF-8 character */
    if (text == NULL) {
        bk_httpd_reply(r, code, "application/json",
                       BK_STR("{\"error\":\"an error whose text cannot be "
                              "shown\",\"reason\":\"Error\",\"hint\":\"\"}\n"));

    } else {
        bk_httpd_reply(r, code, "application/json",
                       (bk_str_t) { text, strlen(text) });
    }

    free(text);
    json_decref(json);
}


void
bk_httpd_on_gone(bk_request_t *r, void (*gone)(bk_request_t *r, void *data),
    void *data)
{
    r->gone = gone;
    r->gone_data = data;
}


int
bk_httpd_query(bk_request_t *r, const char *name, char *buf, size_t size)
{
    size_t       len, nlen = strlen(name);
    const char  *p, *end, *eq;

    for (p = r->h.query; p != NULL && *p != '\0'; p = *end ? end + 1 : end) {
        end = strchrnul(p, '&');
        eq = memchr(p, '=', (size_t) (end - p));

        if (eq == NULL) {
            eq = end;
        }

        if ((size_t) (eq - p) != nlen || memcmp(p, name, nlen) != 0) {
            continue;
        }

        len = eq < end ? (size_t) (end - eq - 1) : 0;
        if (len >= size) {
            return -1;
        }

        memcpy(buf, eq + 1, len);
        buf[len] = '\0';

        return bk_http_decode(buf, 1);
    }

    return -1;
}


void
bk_httpd_header(bk_request_t *r, const char *name, const char *value)
{
    r->retry |= strcasecmp(name, "Retry-After") == 0;

    if (bk_http_printable(name) && bk_http_printable(value)) {
        evbuffer_add_printf(r->headers, "%s: %s\r\n", name, value);
    }
}


void
bk_request_free(bk_request_t *r)
{
    if (r->body != NULL) {
        /* it may hold a token */
        explicit_bzero(r->body, (size_t) r->h.length);
    }

    if (r->head != NULL) {
        explicit_bzero(r->head, r->head_len);
    }

    if (r->caller != NULL) {
        r->caller_ops->forget(r->caller);
    }

    free(r->body);
    free(r->head);
    free(r->client);
    free(r->path);
    free(r->param);
    evbuffer_free(r->headers);
    free(r);
}


static int
bk_http_printable(const char *s)
{
    for ( /* void */ ; *s != '\0'; s++) {
        if ((unsigned char) *s < 0x20 || *s == 0x7f) {
            return 0;
        }
    }

    return 1;
}


static void
bk_http_count(bk_request_t *r, int status)
{
    size_t       i;
    double       seconds;
    bk_route_t  *route = r->route;

    if (r->since_us != 0) {
        seconds = (double) (bk_http_now_us() - r->since_us) / 1e6;
        route->times.n++;
        route->times.sum += seconds;

        for (i = 0; i < BK_HTTP_BUCKETS && seconds > bk_httpd_le[i]; i++) {
            /* void */
        }

        if (i < BK_HTTP_BUCKETS) {
            route->times.bucket[i]++;
        }
    }

    for (i = 0; i < BK_HTTP_STATUSES; i++) {
        if (route->status[i] == 0) {
            route->status[i] = status;
        }

        if (route->status[i] == status) {
            route->count[i]++;
            return;
        }
    }
}


static const char *
bk_http_phrase(int status)
{
    size_t  i;

    static const struct {
        int          status;
        const char  *phrase;
    } phrases[] = {
        { 200, "OK" },
        { 201, "Created" },
        { 202, "Accepted" },
        { 204, "No Content" },
        { 400, "Bad Request" },
        { 401, "Unauthorized" },
        { 403, "Forbidden" },
        { 404, "Not Found" },
        { 405, "Method Not Allowed" },
        { 408, "Request Timeout" },
        { 409, "Conflict" },
        { 410, "Gone" },
        { 411, "Length Required" },
        { 413, "Content Too Large" },
        { 415, "Unsupported Media Type" },
        { 429, "Too Many Requests" },
        { 431, "Request Header Fields Too Large" },
        { 500, "Internal Server Error" },
        { 503, "Service Unavailable" },
        { 504, "Gateway Timeout" },
        { 505, "HTTP Version Not Supported" }
    };

    for (i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++) {
        if (phrases[i].status == status) {
            return phrases[i].phrase;
        }
    }

    return "Unknown";
}
