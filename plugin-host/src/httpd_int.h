/* What the files of the HTTP server share; nobody else includes this. */

#ifndef BK_HTTPD_INT_H_INCLUDED
#define BK_HTTPD_INT_H_INCLUDED

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "httpd.h"


#define BK_HTTP_STATUSES  24
#define BK_HTTP_ADDRESS_MAX  64
#define BK_HTTP_CONNS_MAX 16384     /* where there are descriptors for them */
#define BK_HTTP_CONNS_FEW 1024
#define BK_HTTP_CONNS_KEPT 64       /* of them, for unix sockets alone */

/* Seconds: a whole request, between requests, without progress of an
 * answer, and for a client to read an answer that it did not wait for. */
#define BK_HTTP_READ_S    10
#define BK_HTTP_IDLE_S    60
#define BK_HTTP_WRITE_S   30
#define BK_HTTP_LINGER_S  2


typedef struct bk_conn_s      bk_conn_t;
typedef struct bk_route_s     bk_route_t;
typedef struct bk_listener_s  bk_listener_t;

/* The head of a request, parsed; all strings are within the head's text. */
typedef struct {
    const char  *method;
    char        *target;
    char        *query;             /* after '?', or "" */
    char        *bearer;            /* a secret; NULL with authorization:
                                       one that cannot be used */
    const char  *forwarded;         /* whom a proxy has seen, or NULL */
    int          minor;             /* of HTTP/1.x */
    long long    length;            /* of the body */
    unsigned     close:1;
    unsigned     expect:1;
    unsigned     json:1;            /* Content-Type: application/json */
    unsigned     origin:1;          /* a browser's cross-site request */
    unsigned     authorization:1;   /* there is one */
} bk_http_head_t;

struct bk_request_s {
    bk_conn_t      *conn;           /* NULL: the client went away */
    char           *client;         /* then: who it was */
    bk_route_t     *route;
    char           *head;           /* text that the strings point into */
    char           *path;           /* decoded */
    char           *param;          /* decoded, or NULL */
    char           *body;
    struct evbuffer *headers;       /* extra ones of the answer */
    bk_http_head_t  h;
    void          (*gone)(bk_request_t *r, void *data);
    void           *gone_data;
    void           *caller;         /* the gate's */
    const bk_httpd_caller_ops_t  *caller_ops;
    const char     *reason;         /* of the error that is answered */
    uint64_t        since_us;       /* its head was complete */
    size_t          head_len;
    unsigned        handed:1;       /* the handler has it */
    unsigned        chunked:1;
    unsigned        silent:1;       /* HEAD: no body */
    unsigned        slow:1;         /* a part was not taken */
    unsigned        retry:1;        /* it was said when to come again */
};

enum {
    BK_CONN_HEAD = 0,
    BK_CONN_BODY,
    BK_CONN_WORK,                   /* a handler has it */
    BK_CONN_WRITE,
    BK_CONN_LINGER                  /* answered, thrown away what comes */
};

struct bk_conn_s {
    bk_conn_t          *prev, *next;
    bk_httpd_t         *httpd;
    struct bufferevent *bev;
    struct event       *timer;
    bk_request_t       *request;
    size_t              scanned;    /* of a head that is not complete */
    int                 which;
    int                 state;
    unsigned            close:1;    /* after the answer */
    unsigned            linger:1;   /* it was not read to its end */
    unsigned            idle:1;     /* between requests */
    unsigned            dead:1;
    unsigned            busy:1;     /* within bk_conn_run() */
    char                client[80];
};

struct bk_route_s {
    bk_route_t  *next;
    int          which;
    int          verb;
    bk_http_pt   handler;
    void        *data;
    char        *method;
    char        *pattern;
    char        *owner;
    int          status[BK_HTTP_STATUSES];
    uint64_t     count[BK_HTTP_STATUSES];
    bk_httpd_times_t  times;
};

struct bk_listener_s {
    bk_listener_t           *next;
    bk_httpd_t              *httpd;
    struct evconnlistener   *listener;
    struct event            *resume;    /* after descriptors ran out */
    char                    *path;      /* of a unix socket */
    int                      which;
};

struct bk_httpd_s {
    struct event_base  *base;
    bk_listener_t      *listeners;
    bk_route_t         *routes;
    bk_route_t          none;           /* counts what no route fitted */
    bk_conn_t          *conns;
    bk_httpd_gate_pt    gate;
    void               *gate_data;
    unsigned            nconns;
    unsigned            max;            /* of them */
};


/* http_parse.c: pure functions */

/* Length of the head with its empty line; 0: not complete; -1: too large.
 * from: there is no end in what comes before. */
long bk_http_head_end(const char *text, size_t from, size_t len);
/* Parses a complete, NUL-terminated head in place; -1 with *err. */
int bk_http_parse(char *head, size_t len, bk_http_head_t *h, bk_err_t *err);
/* Decodes %XX in place; -1 for a bad or control character. */
int bk_http_decode(char *s, int plus);

/* http_socket.c: a bound socket, or -1 with *err */
int bk_http_unix(const char *path, bk_err_t *err);
int bk_http_tcp(const char *spec, bk_err_t *err);

/* http_conn.c */
void bk_conn_new(bk_httpd_t *h, int which, int fd, const char *client);
void bk_conn_close(bk_conn_t *c);
void bk_conn_answered(bk_conn_t *c);

/* httpd.c */
bk_route_t *bk_httpd_find(bk_httpd_t *h, int which, const char *method,
    const char *target, char **param, char *allow, size_t size);

/* http_reply.c */
void bk_request_free(bk_request_t *r);
void bk_request_head(bk_request_t *r, int status, const char *type,
    long long len);     /* -1: in parts */
uint64_t bk_http_now_us(void);

#endif /* BK_HTTPD_INT_H_INCLUDED */
