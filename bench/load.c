/*
 * The load generator of the benchmark: TLS clients with one certificate for
 * each token, as buildctl is one, against a gateway with worker.c behind it.
 *
 *     load connect PORT PKI-DIR TOKENS WORKERS CONNECTIONS IN-FLIGHT [h2]
 *     load up|down PORT PKI-DIR TOKENS WORKERS CONNECTIONS BYTES [FRAME]
 *     load idle    PORT PKI-DIR TOKENS WORKERS CONNECTIONS [h2]
 *
 * connect: handshake, a command, the worker's first byte, a proper close;
 * every connection is a full handshake, since BuildKit's clients keep no TLS
 * sessions.  up, down: BYTES on each of CONNECTIONS at once.  idle: opens
 * all, prints "held", closes them when standard input ends.  h2, FRAME: the
 * same in HTTP/2, bulk in DATA frames of FRAME bytes (0: plain bytes).
 *
 * Token N must reach worker N modulo WORKERS (0: do not check).  Prints one
 * line of key=value.  Gives up, with status 3, after LOAD_DEADLINE seconds.
 */

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "bench.h"


#define LOAD_EVENTS    64
#define LOAD_CHUNKS    16       /* at once, then others have their turn */
#define LOAD_DEADLINE  120
#define LOAD_INFLIGHT  32       /* while idle connections are opened */


typedef enum {
    LOAD_HANDSHAKE = 0,
    LOAD_COMMAND,
    LOAD_SEND,
    LOAD_READ,
    LOAD_REPLY,
    LOAD_HELD,
    LOAD_CLOSE,
    LOAD_DONE
} load_state_e;


typedef struct {
    int              fd;
    SSL             *ssl;
    uint32_t         mask;
    uint32_t         client;
    uint64_t         start;     /* connect() was called, ns */
    uint64_t         left;
    size_t           done;
    load_state_e     state;
    char             in[BENCH_WELCOME_LEN + BENCH_HEAD
                        + sizeof(bench_reply_t)];
} load_conn_t;


static void load_deadline(int sig);
static SSL_CTX **load_contexts(const char *dir);
static void load_command(void);
static void load_start(void);
static void load_answered(load_conn_t *c);
static int load_bulk(load_conn_t *c);
static int load_message(load_conn_t *c);
static int load_close(load_conn_t *c);
static int load_step(load_conn_t *c);
static void load_finish(load_conn_t *c, int failed);
static void load_run(load_conn_t *c);
static void load_loop(uint32_t until);
static double load_quantile(double q);
static void load_report(uint64_t elapsed);
static void load_options(int argc, char **argv);
static void load_idle(void);


static int            load_epoll;
static char           load_op;
static int            load_hold;
static int            load_h2;
static char           load_buf[BENCH_CHUNK];
static char           load_out[BENCH_HELLO_LEN + sizeof(bench_command_t)];
static size_t         load_out_len, load_in_len;
static char          *load_bulk_bytes;
static size_t         load_period;
static uint32_t       load_frame;
static uint16_t       load_port;
static uint32_t       load_tokens, load_workers, load_total, load_inflight;
static uint32_t       load_started, load_answers, load_finished;
static uint32_t       load_errors, load_misrouted, load_resumed;
static uint64_t       load_bytes;
static uint64_t      *load_ns;      /* connect() to the worker's first byte */
static SSL_CTX      **load_ctx;
static load_conn_t   *load_conns;


static void
load_deadline(int sig)
{
    static const char  text[] = "load: gave up, connections are stuck\n";

    (void) sig;

    if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0) {
        _exit(4);
    }

    _exit(3);
}


static SSL_CTX **
load_contexts(const char *dir)
{
    char       name[32];
    SSL_CTX  **ctx;
    uint32_t   i;

    ctx = calloc(load_tokens, sizeof(SSL_CTX *));

    if (ctx == NULL) {
        bench_die(errno, "out of memory");
    }

    for (i = 0; i < load_tokens; i++) {
        snprintf(name, sizeof(name), "client-%03u", i);

        ctx[i] = bench_ssl_ctx(TLS_client_method(), dir, name, "gateway-ca");

        if (SSL_CTX_set_alpn_protos(ctx[i], (const u_char *) "\002h2", 3)
            != 0)
        {
            bench_die(0, "cannot offer h2");
        }
    }

    return ctx;
}


/* What each connection begins with, and how long the reply to it is. */
static void
load_command(void)
{
    bench_command_t  command;

    memset(&command, 0, sizeof(bench_command_t));
    command.op = load_op;
    command.length = load_bytes;
    command.frame = load_frame;

    load_in_len = sizeof(bench_reply_t);

    if (load_h2) {
        memcpy(load_out, BENCH_HELLO, BENCH_HELLO_LEN);
        load_out_len = BENCH_HELLO_LEN;
        load_in_len += BENCH_WELCOME_LEN + BENCH_HEAD;
    }

    memcpy(load_out + load_out_len, &command, sizeof(bench_command_t));
    load_out_len += sizeof(bench_command_t);

    load_bulk_bytes = bench_bulk(load_frame, &load_period);
}


/* Opens the next connection. */
static void
load_start(void)
{
    int                  on;
    load_conn_t         *c;
    struct sockaddr_in   sin;
    struct epoll_event   ev;

    c = &load_conns[load_started];
    c->client = load_started % load_tokens;
    c->left = load_bytes;

    if (load_h2 && load_op == BENCH_SOURCE) {
        c->left += BENCH_WELCOME_LEN;
    }

    load_started++;

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_port = htons(load_port);
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    c->start = bench_now_ns();
    c->fd = socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0);

    /* on loopback connect() is over at once */

    if (c->fd == -1
        || connect(c->fd, (struct sockaddr *) &sin, sizeof(sin)) == -1)
    {
        bench_die(errno, "connect to port %u", load_port);
    }

    on = 1;
    (void) setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    bench_nonblocking(c->fd);

    c->ssl = SSL_new(load_ctx[c->client]);

    if (c->ssl == NULL || SSL_set_fd(c->ssl, c->fd) != 1
        || SSL_set1_host(c->ssl, "localhost") != 1)
    {
        bench_die(0, "out of memory");
    }

    SSL_set_connect_state(c->ssl);

    c->mask = EPOLLIN;
    ev.events = c->mask;
    ev.data.ptr = c;

    if (epoll_ctl(load_epoll, EPOLL_CTL_ADD, c->fd, &ev) == -1) {
        bench_die(errno, "epoll_ctl");
    }

    load_run(c);
}


/* The worker's reply is complete. */
static void
load_answered(load_conn_t *c)
{
    bench_reply_t  reply;

    memcpy(&reply, c->in + load_in_len - sizeof(bench_reply_t),
           sizeof(bench_reply_t));

    if (load_workers && reply.worker != c->client % load_workers) {
        load_misrouted++;
    }

    if (reply.handshake == BENCH_RESUMED) {
        load_resumed++;
    }

    load_answers++;
    c->state = load_hold ? LOAD_HELD : LOAD_CLOSE;
    c->done = 0;
}


static int
load_bulk(load_conn_t *c)
{
    int     n;
    size_t  len;

    len = c->left < BENCH_CHUNK ? (size_t) c->left : BENCH_CHUNK;

    if (len == 0) {

        if (c->state == LOAD_SEND) {
            c->state = LOAD_REPLY;

        } else {
            load_answers++;
            c->state = LOAD_CLOSE;
        }

        return 0;
    }

    n = c->state == LOAD_SEND
        ? bench_write(c->fd, c->ssl,
                      load_bulk_bytes + (load_bytes - c->left) % load_period,
                      len)
        : bench_read(c->fd, c->ssl, load_buf, len);

    if (n <= 0) {
        return n == 0 ? BENCH_ERROR : n;
    }

    c->left -= (uint64_t) n;

    return 0;
}


/* The command or the reply, a piece at a time. */
static int
load_message(load_conn_t *c)
{
    int  n;

    if (c->state == LOAD_COMMAND) {
        n = bench_write(c->fd, c->ssl, load_out + c->done,
                        load_out_len - c->done);
    } else {
        n = bench_read(c->fd, c->ssl, c->in + c->done,
                       load_in_len - c->done);
    }

    if (n <= 0) {
        return n == 0 ? BENCH_ERROR : n;
    }

    c->done += (size_t) n;

    if (c->state == LOAD_COMMAND) {

        if (c->done == load_out_len) {
            c->done = 0;
            c->state = load_op == BENCH_SINK ? LOAD_SEND
                       : load_op == BENCH_SOURCE ? LOAD_READ : LOAD_REPLY;
        }

        return 0;
    }

    if (c->done == (size_t) n) {
        load_ns[c - load_conns] = bench_now_ns() - c->start;
    }

    if (c->done == load_in_len) {
        load_answered(c);
    }

    return 0;
}


/* As Go's clients do: close_notify, FIN; then wait for the gateway's end. */
static int
load_close(load_conn_t *c)
{
    int  n;

    if (c->done == 0) {
        c->done = 1;

        if (SSL_shutdown(c->ssl) < 0) {
            return BENCH_ERROR;
        }

        shutdown(c->fd, SHUT_WR);
    }

    n = bench_read(c->fd, c->ssl, load_buf, sizeof(load_buf));

    /* a gateway may end without close_notify: an error for OpenSSL only */

    if (n == 0 || n == BENCH_ERROR) {
        c->state = LOAD_DONE;
        return 0;
    }

    return n > 0 ? 0 : n;
}


/* 0: go on at once. */
static int
load_step(load_conn_t *c)
{
    int  n;

    switch (c->state) {

    case LOAD_HANDSHAKE:
        n = SSL_do_handshake(c->ssl);

        if (n != 1) {
            n = bench_ssl_result(c->ssl, n);
            return n == 0 ? BENCH_ERROR : n;
        }

        c->state = LOAD_COMMAND;
        return 0;

    case LOAD_COMMAND:
    case LOAD_REPLY:
        return load_message(c);

    case LOAD_SEND:
    case LOAD_READ:
        return load_bulk(c);

    case LOAD_HELD:
        /* nothing is due: an end or data is an error */
        n = bench_read(c->fd, c->ssl, load_buf, 1);
        return n >= 0 ? BENCH_ERROR : n;

    case LOAD_CLOSE:
        return load_close(c);

    default:
        return BENCH_ERROR;
    }
}


static void
load_finish(load_conn_t *c, int failed)
{
    if (failed) {
        load_errors++;
    }

    SSL_free(c->ssl);
    close(c->fd);

    c->ssl = NULL;
    c->state = LOAD_DONE;
    load_finished++;
}


static void
load_run(load_conn_t *c)
{
    int                 n, rc;
    uint32_t            mask;
    struct epoll_event  ev;

    rc = 0;

    for (n = 0; rc == 0 && c->state != LOAD_DONE; n++) {

        /*
         * Others have their turn when this one is in mid-bulk; but bytes
         * that OpenSSL holds back raise no event: stay for them.
         */

        if (n >= LOAD_CHUNKS && c->left != 0
            && (c->state == LOAD_SEND
                || (c->state == LOAD_READ
                    && !SSL_pending(c->ssl))))
        {
            rc = c->state == LOAD_SEND ? BENCH_WANT_WRITE : BENCH_WANT_READ;
            break;
        }

        rc = load_step(c);
    }

    if (rc == BENCH_ERROR || c->state == LOAD_DONE) {
        load_finish(c, rc == BENCH_ERROR);
        return;
    }

    mask = rc == BENCH_WANT_WRITE ? EPOLLOUT : EPOLLIN;

    if (mask != c->mask) {
        ev.events = mask;
        ev.data.ptr = c;
        c->mask = mask;

        if (epoll_ctl(load_epoll, EPOLL_CTL_MOD, c->fd, &ev) == -1) {
            bench_die(errno, "epoll_ctl");
        }
    }
}


/* Runs until that many connections were answered, or all are finished. */
static void
load_loop(uint32_t until)
{
    int                 i, n;
    uint32_t            held;
    struct epoll_event  events[LOAD_EVENTS];

    for ( ;; ) {
        held = load_hold ? load_answers : 0;

        while (load_started < load_total
               && load_started - load_finished - held < load_inflight)
        {
            load_start();
            held = load_hold ? load_answers : 0;
        }

        if (load_finished == load_total || load_answers + load_errors >= until)
        {
            return;
        }

        n = epoll_wait(load_epoll, events, LOAD_EVENTS, -1);

        for (i = 0; i < n; i++) {
            load_run(events[i].data.ptr);
        }
    }
}


/* In milliseconds; load_ns is sorted, those that failed are 0 and first. */
static double
load_quantile(double q)
{
    uint32_t  first, n;

    for (first = 0; first < load_total && load_ns[first] == 0; first++) {
        /* void */
    }

    n = load_total - first;

    return n ? (double) load_ns[first + (uint32_t) (q * (n - 1))] / 1e6 : 0;
}


static void
load_report(uint64_t elapsed)
{
    qsort(load_ns, load_total, sizeof(uint64_t), bench_compare_ns);

    printf("connections=%u answers=%u errors=%u misrouted=%u resumed=%u"
           " seconds=%.6f p50_ms=%.3f p99_ms=%.3f\n",
           load_total, load_answers, load_errors, load_misrouted,
           load_resumed, (double) elapsed / 1e9, load_quantile(0.50),
           load_quantile(0.99));
    fflush(stdout);
}


static void
load_options(int argc, char **argv)
{
    const char  *mode;

    if (argc < 7) {
        bench_die(0, "usage: load connect|up|down|idle PORT PKI-DIR TOKENS"
                " WORKERS CONNECTIONS [IN-FLIGHT [h2]|BYTES [FRAME]]");
    }

    mode = argv[1];
    load_port = (uint16_t) atoi(argv[2]);
    load_tokens = (uint32_t) atoi(argv[4]);
    load_workers = (uint32_t) atoi(argv[5]);
    load_total = (uint32_t) atoi(argv[6]);

    load_op = BENCH_PING;
    load_inflight = LOAD_INFLIGHT;

    if (strcmp(mode, "connect") == 0 && (argc == 8 || argc == 9)) {
        load_inflight = (uint32_t) atoi(argv[7]);
        load_h2 = argc == 9 && strcmp(argv[8], "h2") == 0;

    } else if (strcmp(mode, "up") == 0 && (argc == 8 || argc == 9)) {
        load_op = BENCH_SINK;
        load_inflight = load_total;
        load_bytes = strtoull(argv[7], NULL, 10);

    } else if (strcmp(mode, "down") == 0 && (argc == 8 || argc == 9)) {
        load_op = BENCH_SOURCE;
        load_inflight = load_total;
        load_bytes = strtoull(argv[7], NULL, 10);

    } else if (strcmp(mode, "idle") == 0 && (argc == 7 || argc == 8)) {
        load_hold = 1;
        load_h2 = argc == 8 && strcmp(argv[7], "h2") == 0;

    } else {
        bench_die(0, "unknown mode \"%s\" or wrong number of arguments", mode);
    }

    if (load_bytes && argc == 9) {
        load_frame = (uint32_t) atoi(argv[8]);
        load_h2 = load_frame != 0;
    }

    if (load_tokens == 0 || load_total == 0 || load_inflight == 0) {
        bench_die(0, "TOKENS, CONNECTIONS and IN-FLIGHT are 1 at least");
    }
}


/* Holds what was opened until standard input ends, then closes it. */
static void
load_idle(void)
{
    uint32_t  i;

    printf("held\n");
    fflush(stdout);

    while (read(STDIN_FILENO, load_buf, sizeof(load_buf)) > 0) {
        /* void */
    }

    load_hold = 0;

    for (i = 0; i < load_started; i++) {

        if (load_conns[i].state == LOAD_HELD) {
            load_conns[i].state = LOAD_CLOSE;
            load_run(&load_conns[i]);
        }
    }
}


int
main(int argc, char **argv)
{
    uint64_t  start;

    load_options(argc, argv);

    signal(SIGPIPE, SIG_IGN);
    signal(SIGALRM, load_deadline);
    alarm(LOAD_DEADLINE);
    bench_raise_nofile();

    load_command();
    load_ctx = load_contexts(argv[3]);
    load_epoll = epoll_create1(EPOLL_CLOEXEC);
    load_ns = calloc(load_total, sizeof(uint64_t));
    load_conns = calloc(load_total, sizeof(load_conn_t));

    if (load_epoll == -1 || load_ns == NULL || load_conns == NULL) {
        bench_die(errno, "out of memory");
    }

    start = bench_now_ns();

    if (load_hold) {
        load_loop(load_total);
        load_idle();
    }

    load_loop(UINT32_MAX);

    load_report(bench_now_ns() - start);

    return load_errors || load_misrouted ? 1 : 0;
}
