/*
 * A stand-in for buildkitd: answers, sinks and sources bytes behind mutual
 * TLS with session tickets and ALPN h2, and says in each answer who it is,
 * whether the gateway resumed a session and when the first byte came
 * (bench.h).  A connection that begins with HTTP/2's preface gets frames.
 *
 *     worker PKI-DIR PLAIN-PORT PORT...
 *
 * Listens on loopback: the ports are those of workers w1, w2 ..., each with
 * its own certificate; PLAIN-PORT is the same without TLS.  One thread, runs
 * until it is killed or its standard input ends.  Prints "ready".
 */

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "bench.h"


#define WORKER_EVENTS   64
#define WORKER_CHUNKS   16      /* at once, then others have their turn */


typedef enum {
    WORKER_LISTEN = 0,
    WORKER_STDIN,
    WORKER_HANDSHAKE,
    WORKER_COMMAND,
    WORKER_READ,
    WORKER_SEND,
    WORKER_REPLY
} worker_state_e;


typedef struct {
    int              fd;
    SSL             *ssl;
    SSL_CTX         *ctx;       /* of a listener; NULL: plain */
    uint32_t         mask;
    uint8_t          number;
    worker_state_e   state;
    int              h2;        /* 1: speaks frames */
    int              welcomed;
    uint64_t         left;      /* bulk bytes */
    uint64_t         seen_ns;
    size_t           done;      /* of in or out */
    size_t           need;      /* of in */
    size_t           len;       /* of out */
    char             in[BENCH_HELLO_LEN + sizeof(bench_command_t)];
    char             out[BENCH_WELCOME_LEN + BENCH_HEAD
                         + sizeof(bench_reply_t)];
    bench_command_t  command;
} worker_conn_t;


static int worker_alpn(SSL *ssl, const u_char **out, u_char *outlen,
    const u_char *in, unsigned inlen, void *arg);
static SSL_CTX *worker_ctx(const char *dir, unsigned number);
static void worker_add(worker_conn_t *c, uint32_t mask);
static void worker_listen(const char *port, SSL_CTX *ctx, unsigned number);
static void worker_accept(worker_conn_t *l);
static int worker_command(worker_conn_t *c);
static int worker_begin(worker_conn_t *c);
static void worker_answer(worker_conn_t *c, int reply);
static const char *worker_pattern(uint32_t frame, uint64_t left, size_t *len);
static int worker_bulk(worker_conn_t *c);
static int worker_step(worker_conn_t *c);
static void worker_run(worker_conn_t *c);


static int     worker_epoll;
static char    worker_buf[BENCH_CHUNK];
static char   *worker_bulk_bytes;   /* of frames of worker_frame bytes */
static size_t  worker_period;
static uint32_t  worker_frame;


static int
worker_alpn(SSL *ssl, const u_char **out, u_char *outlen, const u_char *in,
    unsigned inlen, void *arg)
{
    unsigned  i;

    (void) ssl;
    (void) arg;

    for (i = 0; i + 2 < inlen; i += in[i] + 1u) {

        if (in[i] == 2 && memcmp(&in[i + 1], "h2", 2) == 0) {
            *out = &in[i + 1];
            *outlen = 2;
            return SSL_TLSEXT_ERR_OK;
        }
    }

    return SSL_TLSEXT_ERR_NOACK;
}


static SSL_CTX *
worker_ctx(const char *dir, unsigned number)
{
    char      name[32];
    SSL_CTX  *ctx;

    snprintf(name, sizeof(name), "w%u", number + 1);

    ctx = bench_ssl_ctx(TLS_server_method(), dir, name, "worker-ca");

    /* One ticket for each handshake, as Go's TLS and so buildkitd sends. */

    if (SSL_CTX_set_num_tickets(ctx, 1) != 1
        || SSL_CTX_set_session_id_context(ctx, (const u_char *) "bench", 5)
           != 1)
    {
        bench_die(0, "cannot set up tickets");
    }

    SSL_CTX_set_alpn_select_cb(ctx, worker_alpn, NULL);

    return ctx;
}


static void
worker_add(worker_conn_t *c, uint32_t mask)
{
    struct epoll_event  ev;

    ev.events = mask;
    ev.data.ptr = c;
    c->mask = mask;

    if (epoll_ctl(worker_epoll, EPOLL_CTL_ADD, c->fd, &ev) == -1) {
        bench_die(errno, "epoll_ctl");
    }
}


static void
worker_listen(const char *port, SSL_CTX *ctx, unsigned number)
{
    int                  on;
    worker_conn_t       *l;
    struct sockaddr_in   sin;

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_port = htons((uint16_t) atoi(port));
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    l = calloc(1, sizeof(worker_conn_t));

    if (l == NULL) {
        bench_die(errno, "out of memory");
    }

    on = 1;
    l->ctx = ctx;
    l->number = (uint8_t) number;
    l->fd = socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);

    if (l->fd == -1
        || setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1
        || bind(l->fd, (struct sockaddr *) &sin, sizeof(sin)) == -1
        || listen(l->fd, 4096) == -1)
    {
        bench_die(errno, "port %s", port);
    }

    worker_add(l, EPOLLIN);
}


static void
worker_accept(worker_conn_t *l)
{
    int             fd, on;
    worker_conn_t  *c;

    for ( ;; ) {
        fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK|SOCK_CLOEXEC);

        if (fd == -1) {
            return;
        }

        on = 1;
        (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));

        c = calloc(1, sizeof(worker_conn_t));

        if (c == NULL) {
            bench_die(errno, "out of memory");
        }

        c->fd = fd;
        c->number = l->number;
        c->state = WORKER_COMMAND;

        if (l->ctx != NULL) {
            c->state = WORKER_HANDSHAKE;
            c->ssl = SSL_new(l->ctx);

            if (c->ssl == NULL || SSL_set_fd(c->ssl, fd) != 1) {
                bench_die(0, "out of memory");
            }

            SSL_set_accept_state(c->ssl);
        }

        worker_add(c, EPOLLIN);
    }
}


/* Reads a command, behind HTTP/2's beginning where there is one. */
static int
worker_command(worker_conn_t *c)
{
    int  n;

    if (c->need == 0) {
        c->need = sizeof(bench_command_t);
    }

    n = bench_read(c->fd, c->ssl, c->in + c->done, c->need - c->done);

    if (n <= 0) {
        return n == 0 ? BENCH_ERROR : n;
    }

    if (c->seen_ns == 0) {
        c->seen_ns = bench_now_ns();
    }

    c->done += (size_t) n;

    if (c->done < c->need) {
        return 0;
    }

    if (c->need == sizeof(bench_command_t)) {

        if (memcmp(c->in, BENCH_HELLO, c->need) == 0) {
            c->h2 = 1;
            c->need = sizeof(c->in);
            return 0;
        }

    } else if (memcmp(c->in, BENCH_HELLO, BENCH_HELLO_LEN) != 0) {
        return BENCH_ERROR;
    }

    memcpy(&c->command, c->in + c->need - sizeof(bench_command_t),
           sizeof(bench_command_t));
    c->done = 0;
    c->need = 0;

    return worker_begin(c);
}


static int
worker_begin(worker_conn_t *c)
{
    c->left = c->command.length;

    switch (c->command.op) {

    case BENCH_PING:
        worker_answer(c, 1);
        return 0;

    case BENCH_SINK:
        c->state = WORKER_READ;
        return 0;

    case BENCH_SOURCE:
        worker_answer(c, 0);
        return 0;

    default:
        return BENCH_ERROR;
    }
}


/* Writes down what is to be said; reply: who we are, else bulk follows. */
static void
worker_answer(worker_conn_t *c, int reply)
{
    char           *p;
    bench_reply_t   r;

    p = c->out;

    if (c->h2 && !c->welcomed) {
        c->welcomed = 1;
        memcpy(p, BENCH_WELCOME, BENCH_WELCOME_LEN);
        p += BENCH_WELCOME_LEN;
    }

    if (reply) {

        if (c->h2) {
            memcpy(p, BENCH_REPLY_HEAD, BENCH_HEAD);
            p += BENCH_HEAD;
        }

        memset(&r, 0, sizeof(bench_reply_t));
        r.seen_ns = c->seen_ns;
        r.worker = c->number;
        r.handshake = c->ssl == NULL ? BENCH_PLAIN
                      : SSL_session_reused(c->ssl) ? BENCH_RESUMED
                      : BENCH_FULL;

        memcpy(p, &r, sizeof(bench_reply_t));
        p += sizeof(bench_reply_t);
    }

    c->done = 0;
    c->len = (size_t) (p - c->out);
    c->state = WORKER_REPLY;
}


/* The next bulk bytes; all that are at work at once have the same frames. */
static const char *
worker_pattern(uint32_t frame, uint64_t left, size_t *len)
{
    if (worker_bulk_bytes == NULL || worker_frame != frame) {
        free(worker_bulk_bytes);
        worker_bulk_bytes = bench_bulk(frame, &worker_period);
        worker_frame = frame;
    }

    *len = left < BENCH_CHUNK ? (size_t) left : BENCH_CHUNK;

    return worker_bulk_bytes;
}


static int
worker_bulk(worker_conn_t *c)
{
    int          n;
    size_t       len;
    const char  *p;

    p = worker_pattern(c->command.frame, c->left, &len);

    if (len == 0) {

        if (c->state == WORKER_READ) {
            worker_answer(c, 1);

        } else {
            c->state = WORKER_COMMAND;
        }

        return 0;
    }

    n = c->state == WORKER_READ
        ? bench_read(c->fd, c->ssl, worker_buf, len)
        : bench_write(c->fd, c->ssl,
                      p + (c->command.length - c->left) % worker_period, len);

    if (n <= 0) {
        return n == 0 ? BENCH_ERROR : n;
    }

    c->left -= (uint64_t) n;

    return 0;
}


/* 0: go on at once. */
static int
worker_step(worker_conn_t *c)
{
    int  n;

    switch (c->state) {

    case WORKER_HANDSHAKE:
        n = SSL_do_handshake(c->ssl);

        if (n != 1) {
            n = bench_ssl_result(c->ssl, n);
            return n == 0 ? BENCH_ERROR : n;
        }

        c->state = WORKER_COMMAND;
        return 0;

    case WORKER_COMMAND:
        return worker_command(c);

    case WORKER_READ:
    case WORKER_SEND:
        return worker_bulk(c);

    case WORKER_REPLY:
        if (c->done < c->len) {
            n = bench_write(c->fd, c->ssl, c->out + c->done,
                            c->len - c->done);

            if (n <= 0) {
                return n == 0 ? BENCH_ERROR : n;
            }

            c->done += (size_t) n;
        }

        if (c->done == c->len) {
            c->done = 0;
            c->state = c->command.op == BENCH_SOURCE ? WORKER_SEND
                                                     : WORKER_COMMAND;
        }

        return 0;

    default:
        return BENCH_ERROR;
    }
}


static void
worker_run(worker_conn_t *c)
{
    int                 n, rc;
    uint32_t            mask;
    struct epoll_event  ev;

    rc = 0;

    for (n = 0; rc == 0; n++) {

        /*
         * Others have their turn when this one is in mid-bulk; but bytes
         * that OpenSSL holds back raise no event: stay for them.
         */

        if (n >= WORKER_CHUNKS && c->left != 0
            && (c->state == WORKER_SEND
                || (c->state == WORKER_READ
                    && (c->ssl == NULL || !SSL_pending(c->ssl)))))
        {
            rc = c->state == WORKER_SEND ? BENCH_WANT_WRITE : BENCH_WANT_READ;
            break;
        }

        rc = worker_step(c);
    }

    if (rc == BENCH_ERROR) {

        if (c->ssl != NULL) {
            /* also keeps OpenSSL from marking the session as bad */
            (void) SSL_shutdown(c->ssl);
            ERR_clear_error();
            SSL_free(c->ssl);
        }

        close(c->fd);
        free(c);
        return;
    }

    mask = rc == BENCH_WANT_WRITE ? EPOLLOUT : EPOLLIN;

    if (mask != c->mask) {
        ev.events = mask;
        ev.data.ptr = c;
        c->mask = mask;

        if (epoll_ctl(worker_epoll, EPOLL_CTL_MOD, c->fd, &ev) == -1) {
            bench_die(errno, "epoll_ctl");
        }
    }
}


int
main(int argc, char **argv)
{
    int                 i, n;
    worker_conn_t      *c, in;
    struct epoll_event  events[WORKER_EVENTS];

    if (argc < 4) {
        bench_die(0, "usage: worker PKI-DIR PLAIN-PORT PORT...");
    }

    signal(SIGPIPE, SIG_IGN);
    bench_raise_nofile();

    worker_epoll = epoll_create1(EPOLL_CLOEXEC);

    if (worker_epoll == -1) {
        bench_die(errno, "epoll_create1");
    }

    worker_listen(argv[2], NULL, 0);

    for (i = 3; i < argc; i++) {
        worker_listen(argv[i], worker_ctx(argv[1], (unsigned) i - 3),
                      (unsigned) i - 3);
    }

    memset(&in, 0, sizeof(in));
    in.fd = STDIN_FILENO;
    in.state = WORKER_STDIN;
    worker_add(&in, EPOLLIN);

    printf("ready\n");
    fflush(stdout);

    for ( ;; ) {
        n = epoll_wait(worker_epoll, events, WORKER_EVENTS, -1);

        if (n == -1 && errno != EINTR) {
            bench_die(errno, "epoll_wait");
        }

        for (i = 0; i < n; i++) {
            c = events[i].data.ptr;

            switch (c->state) {

            case WORKER_STDIN:
                if (read(STDIN_FILENO, worker_buf, sizeof(worker_buf)) <= 0) {
                    return 0;
                }
                break;

            case WORKER_LISTEN:
                worker_accept(c);
                break;

            default:
                worker_run(c);
                break;
            }
        }
    }
}
