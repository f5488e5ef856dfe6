/*
 * A stand-in for buildkitd: answers, sinks and sources bytes behind mutual
 * TLS with session tickets and ALPN h2, and says in each answer who it is and
 * whether the gateway resumed a session (bench.h).
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
    uint64_t         left;      /* bulk bytes */
    size_t           done;      /* of the command or the reply */
    bench_command_t  command;
    bench_reply_t    reply;
} worker_conn_t;


static int worker_alpn(SSL *ssl, const u_char **out, u_char *outlen,
    const u_char *in, unsigned inlen, void *arg);
static SSL_CTX *worker_ctx(const char *dir, unsigned number);
static void worker_add(worker_conn_t *c, uint32_t mask);
static void worker_listen(const char *port, SSL_CTX *ctx, unsigned number);
static void worker_accept(worker_conn_t *l);
static int worker_command(worker_conn_t *c);
static int worker_bulk(worker_conn_t *c);
static int worker_step(worker_conn_t *c);
static void worker_run(worker_conn_t *c);


static int   worker_epoll;
static char  worker_buf[BENCH_CHUNK];


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


/* Reads a command and sets the state that it asks for. */
static int
worker_command(worker_conn_t *c)
{
    int  n;

    n = bench_read(c->fd, c->ssl, (char *) &c->command + c->done,
                   sizeof(bench_command_t) - c->done);

    if (n <= 0) {
        return n == 0 ? BENCH_ERROR : n;
    }

    c->done += (size_t) n;

    if (c->done < sizeof(bench_command_t)) {
        return 0;
    }

    c->done = 0;
    c->left = c->command.length;
    c->reply.worker = c->number;
    c->reply.handshake = c->ssl == NULL ? BENCH_PLAIN
                         : SSL_session_reused(c->ssl) ? BENCH_RESUMED
                         : BENCH_FULL;

    switch (c->command.op) {

    case BENCH_PING:
        c->state = WORKER_REPLY;
        return 0;

    case BENCH_SINK:
        c->state = WORKER_READ;
        return 0;

    case BENCH_SOURCE:
        c->state = WORKER_SEND;
        return 0;

    default:
        return BENCH_ERROR;
    }
}


static int
worker_bulk(worker_conn_t *c)
{
    int     n;
    size_t  len;

    len = c->left < BENCH_CHUNK ? (size_t) c->left : BENCH_CHUNK;

    if (len == 0) {
        c->state = c->state == WORKER_READ ? WORKER_REPLY : WORKER_COMMAND;
        return 0;
    }

    n = c->state == WORKER_READ
        ? bench_read(c->fd, c->ssl, worker_buf, len)
        : bench_write(c->fd, c->ssl, worker_buf, len);

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
        n = bench_write(c->fd, c->ssl, (char *) &c->reply + c->done,
                        sizeof(bench_reply_t) - c->done);

        if (n <= 0) {
            return n == 0 ? BENCH_ERROR : n;
        }

        c->done += (size_t) n;

        if (c->done == sizeof(bench_reply_t)) {
            c->done = 0;
            c->state = WORKER_COMMAND;
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
