/*
 * What the gateway does with connections that wait or are cut: this program
 * is their clients and, at the same time, the writer of the route table, so
 * that the time of a change and of what came of it are on one clock.
 *
 *     sessions hold PORT PKI-DIR TABLE WORKER-PORTS CLIENTS
 *     sessions cut  PORT PKI-DIR TABLE WORKER-PORTS CLIENTS SINGLES
 *     sessions held PORT PKI-DIR TABLE WORKER-PORTS CLIENTS TOKENS
 *
 * hold: each client has an allocation of its own, queued or starting; once
 * all are held they become ready one after the other, at random moments.
 * Prints the time from the change to the first byte at the worker.  cut: all
 * live, of allocations of their own; SINGLES are revoked one by one; prints
 * "live"; when a line comes from standard input, or its end, the rest are
 * revoked at once.  Prints the time from the change to the client's status.
 * held: as many as it says with a few queued allocations; prints "held", then
 * reads commands from standard input ("churn RATE": so many changes of other
 * allocations a second) and answers "ok", until it ends.
 *
 * WORKER-PORTS: those of worker.c, with commas.  Prints one line of
 * key=value.  Gives up, with status 3, after SESSIONS_DEADLINE seconds.
 */

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "bench.h"
#include "routes.h"


#define SESSIONS_EVENTS    256
#define SESSIONS_DEADLINE  180
#define SESSIONS_INFLIGHT  32
#define SESSIONS_LEAVE     4

/* one change after the other: 4 to 20 ms, so at any phase of a tick */
#define SESSIONS_PAUSE_NS  4000000u
#define SESSIONS_RANDOM_NS 16000000u


typedef enum {
    SESSIONS_HANDSHAKE = 0,
    SESSIONS_HELLO,
    SESSIONS_LIVE,
    SESSIONS_TOLD,              /* will close when there is time */
    SESSIONS_CLOSE,
    SESSIONS_DONE
} sessions_state_e;


typedef struct {
    int                fd;
    SSL               *ssl;
    uint32_t           mask;
    uint32_t           token;
    sessions_state_e   state;
    int                settled;     /* SETTINGS came, or the reply */
    uint64_t           change_ns;   /* of the table */
    uint64_t           took_ns;     /* until it showed; 0: has not yet */
    size_t             done;
    size_t             len;
    u_char             in[2048];
} sessions_conn_t;


static void sessions_deadline(int sig);
static uint32_t sessions_random(uint32_t below);
static void sessions_start(void);
static int sessions_read(sessions_conn_t *c);
static void sessions_frame(sessions_conn_t *c, const u_char *frame,
    size_t len);
static void sessions_settled_one(sessions_conn_t *c);
static int sessions_step(sessions_conn_t *c);
static void sessions_run(sessions_conn_t *c);
static void sessions_wait(uint64_t until);
static void sessions_leave(void);
static void sessions_open(void);
static void sessions_pause(void);
static void sessions_finish(uint32_t until);
static void sessions_print(const char *name, uint32_t first, uint32_t last);
static void sessions_hold(void);
static void sessions_cut(uint32_t singles);
static void sessions_held(void);
static void sessions_close(void);


static int                sessions_epoll;
static char               sessions_mode;    /* hold, cut or (q) held */
static char               sessions_hello[BENCH_HELLO_LEN
                                         + sizeof(bench_command_t)];
static uint16_t           sessions_port;
static uint32_t           sessions_total;
static uint32_t           sessions_started, sessions_settled, sessions_shown;
static uint32_t           sessions_finished, sessions_errors;
static uint32_t           sessions_misrouted;
static uint32_t           sessions_ntold;
static SSL_CTX           *sessions_ctx;
static sessions_conn_t  **sessions_told;
static sessions_conn_t   *sessions_conns;


static void
sessions_deadline(int sig)
{
    static const char  text[] = "sessions: gave up, connections are stuck\n";

    (void) sig;

    if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0) {
        _exit(4);
    }

    _exit(3);
}


static uint32_t
sessions_random(uint32_t below)
{
    return (uint32_t) ((double) random() / ((double) RAND_MAX + 1) * below);
}


/* Opens the next connection. */
static void
sessions_start(void)
{
    int                  on;
    sessions_conn_t     *c;
    routes_token_t      *t;
    struct sockaddr_in   sin;
    struct epoll_event   ev;

    c = &sessions_conns[sessions_started];
    c->token = sessions_started % routes_ntokens;
    sessions_started++;

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_port = htons(sessions_port);
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    c->fd = socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0);

    if (c->fd == -1
        || connect(c->fd, (struct sockaddr *) &sin, sizeof(sin)) == -1)
    {
        bench_die(errno, "connect to port %u", sessions_port);
    }

    on = 1;
    (void) setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    bench_nonblocking(c->fd);

    t = &routes_token[c->token];
    c->ssl = SSL_new(sessions_ctx);

    if (c->ssl == NULL || SSL_set_fd(c->ssl, c->fd) != 1
        || SSL_set1_host(c->ssl, "localhost") != 1
        || SSL_use_certificate(c->ssl, t->cert) != 1
        || SSL_use_PrivateKey(c->ssl, t->key) != 1)
    {
        bench_die(0, "out of memory");
    }

    SSL_set_connect_state(c->ssl);

    c->mask = EPOLLIN;
    ev.events = c->mask;
    ev.data.ptr = c;

    if (epoll_ctl(sessions_epoll, EPOLL_CTL_ADD, c->fd, &ev) == -1) {
        bench_die(errno, "epoll_ctl");
    }

    sessions_run(c);
}


/* All frames here are small; what is larger is an error. */
static int
sessions_read(sessions_conn_t *c)
{
    int     n;
    size_t  len, pos;

    n = bench_read(c->fd, c->ssl, c->in + c->len, sizeof(c->in) - c->len);

    if (n <= 0) {
        return n == 0 ? BENCH_ERROR : n;
    }

    c->len += (size_t) n;

    for (pos = 0; c->len - pos >= BENCH_HEAD; pos += len) {
        len = BENCH_HEAD + ((size_t) c->in[pos] << 16
                            | (size_t) c->in[pos + 1] << 8 | c->in[pos + 2]);

        if (len > sizeof(c->in)) {
            return BENCH_ERROR;
        }

        if (c->len - pos < len) {
            break;
        }

        sessions_frame(c, c->in + pos, len);
    }

    memmove(c->in, c->in + pos, c->len - pos);
    c->len -= pos;

    return 0;
}


static void
sessions_frame(sessions_conn_t *c, const u_char *frame, size_t len)
{
    u_char         pong[BENCH_PONG];
    bench_reply_t  reply;

    switch (frame[3]) {

    case 0:                     /* DATA: the worker's reply */
        if (len != BENCH_HEAD + sizeof(bench_reply_t)) {
            sessions_errors++;
            return;
        }

        memcpy(&reply, frame + BENCH_HEAD, sizeof(bench_reply_t));

        if (reply.worker != c->token % routes_nworkers) {
            sessions_misrouted++;
        }

        if (sessions_mode == 'h') {
            c->took_ns = reply.seen_ns > c->change_ns
                         ? reply.seen_ns - c->change_ns : 1;
            sessions_shown++;
        }

        sessions_settled_one(c);
        return;

    case 1:                     /* HEADERS: :status 200, or our status */
        if (!(frame[4] & 1)) {
            return;
        }

        if (c->change_ns == 0
            || memmem(frame, len, "revoked", sizeof("revoked") - 1) == NULL)
        {
            sessions_errors++;
        }

        c->took_ns = bench_now_ns() - c->change_ns;
        sessions_shown++;
        c->state = SESSIONS_TOLD;
        sessions_told[sessions_ntold++] = c;
        return;

    case 4:                     /* SETTINGS: it is held */
        if (sessions_mode != 'c') {
            sessions_settled_one(c);
        }

        return;

    case 6:                     /* PING: answered as every client does */
        memcpy(pong, frame, BENCH_PONG);
        pong[4] = 1;

        if (len != BENCH_PONG
            || bench_write(c->fd, c->ssl, pong, BENCH_PONG) != BENCH_PONG)
        {
            sessions_errors++;
        }

        return;

    default:
        return;
    }
}


static void
sessions_settled_one(sessions_conn_t *c)
{
    if (!c->settled) {
        c->settled = 1;
        sessions_settled++;
    }
}


/* 0: go on at once. */
static int
sessions_step(sessions_conn_t *c)
{
    int  n;

    switch (c->state) {

    case SESSIONS_HANDSHAKE:
        n = SSL_do_handshake(c->ssl);

        if (n != 1) {
            n = bench_ssl_result(c->ssl, n);
            return n == 0 ? BENCH_ERROR : n;
        }

        c->state = SESSIONS_HELLO;
        return 0;

    case SESSIONS_HELLO:
        n = bench_write(c->fd, c->ssl, sessions_hello + c->done,
                        sizeof(sessions_hello) - c->done);

        if (n <= 0) {
            return n == 0 ? BENCH_ERROR : n;
        }

        c->done += (size_t) n;

        if (c->done == sizeof(sessions_hello)) {
            c->done = 0;
            c->state = SESSIONS_LIVE;
        }

        return 0;

    case SESSIONS_LIVE:
        return sessions_read(c);

    case SESSIONS_TOLD:
        return BENCH_WANT_READ;

    case SESSIONS_CLOSE:
        if (c->done == 0) {
            c->done = 1;

            if (SSL_shutdown(c->ssl) < 0) {
                ERR_clear_error();
            }

            shutdown(c->fd, SHUT_WR);
        }

        n = bench_read(c->fd, c->ssl, c->in, sizeof(c->in));

        if (n == 0 || n == BENCH_ERROR) {
            c->state = SESSIONS_DONE;
            return 0;
        }

        return n > 0 ? 0 : n;

    default:
        return BENCH_ERROR;
    }
}


static void
sessions_run(sessions_conn_t *c)
{
    int                 rc;
    uint32_t            mask;
    struct epoll_event  ev;

    rc = 0;

    while (rc == 0 && c->state != SESSIONS_DONE) {
        rc = sessions_step(c);
    }

    if (rc == BENCH_ERROR || c->state == SESSIONS_DONE) {

        if (rc == BENCH_ERROR) {
            sessions_errors++;
        }

        SSL_free(c->ssl);
        close(c->fd);
        c->ssl = NULL;
        c->state = SESSIONS_DONE;
        sessions_settled_one(c);
        sessions_finished++;
        return;
    }

    mask = rc == BENCH_WANT_WRITE ? EPOLLOUT : EPOLLIN;

    if (mask != c->mask) {
        ev.events = mask;
        ev.data.ptr = c;
        c->mask = mask;

        if (epoll_ctl(sessions_epoll, EPOLL_CTL_MOD, c->fd, &ev) == -1) {
            bench_die(errno, "epoll_ctl");
        }
    }
}


/* What happens until then; 0: whatever is there, at least one event. */
static void
sessions_wait(uint64_t until)
{
    int                 i, n;
    int64_t             left;
    uint32_t            shown;
    struct epoll_event  events[SESSIONS_EVENTS];

    do {
        shown = sessions_shown;
        left = until ? (int64_t) (until - bench_now_ns()) : 0;

        if (left < 0) {
            return;
        }

        n = epoll_wait(sessions_epoll, events, SESSIONS_EVENTS,
                       sessions_ntold ? 0
                       : until ? (int) ((left + 999999) / 1000000) : -1);

        for (i = 0; i < n; i++) {
            sessions_run(events[i].data.ptr);
        }

        if (sessions_shown == shown) {
            sessions_leave();
        }

    } while (until);
}


/*
 * Clients are many machines, and here but one process: a few close at a time,
 * and only when nobody else has been told meanwhile.
 */
static void
sessions_leave(void)
{
    uint32_t          i;
    sessions_conn_t  *c;

    for (i = 0; i < SESSIONS_LEAVE && sessions_ntold; i++) {
        c = sessions_told[--sessions_ntold];
        c->state = SESSIONS_CLOSE;
        c->done = 0;
        sessions_run(c);
    }
}


/* All of them, until each is held or has its worker. */
static void
sessions_open(void)
{
    while (sessions_settled < sessions_total) {

        while (sessions_started < sessions_total
               && sessions_started - sessions_settled < SESSIONS_INFLIGHT)
        {
            sessions_start();
        }

        if (sessions_settled < sessions_started) {
            sessions_wait(0);
        }
    }

    if (sessions_finished) {
        bench_die(0, "%u of %u connections were not to be had",
                  sessions_finished, sessions_total);
    }
}


static void
sessions_pause(void)
{
    sessions_wait(bench_now_ns() + SESSIONS_PAUSE_NS
                  + sessions_random(SESSIONS_RANDOM_NS));
}


/* Until so many have shown what became of their change. */
static void
sessions_finish(uint32_t until)
{
    while (sessions_shown < until && sessions_finished < sessions_total) {
        sessions_wait(0);
    }
}


static void
sessions_print(const char *name, uint32_t first, uint32_t last)
{
    uint32_t   i, n;
    uint64_t  *ns;

    ns = calloc(last - first, sizeof(uint64_t));

    if (ns == NULL) {
        bench_die(errno, "out of memory");
    }

    for (i = first, n = 0; i < last; i++) {

        if (sessions_conns[i].took_ns) {
            ns[n++] = sessions_conns[i].took_ns;
        }
    }

    qsort(ns, n, sizeof(uint64_t), bench_compare_ns);

    if (n) {
        printf("%s=%u %s_p50_ms=%.3f %s_p99_ms=%.3f %s_max_ms=%.3f ",
               name, n, name, (double) ns[(n - 1) / 2] / 1e6, name,
               (double) ns[(uint32_t) (0.99 * (n - 1))] / 1e6, name,
               (double) ns[n - 1] / 1e6);
    }

    free(ns);
}


static void
sessions_hold(void)
{
    uint32_t          i;
    sessions_conn_t  *c;

    for (i = 0; i < sessions_total; i++) {
        sessions_pause();

        c = &sessions_conns[i];
        c->change_ns = bench_now_ns();
        routes_set(routes_token[c->token].index, BK_ALLOC_READY,
                   c->token % routes_nworkers, NULL);
    }

    sessions_finish(sessions_total);
    sessions_print("hold", 0, sessions_total);
}


static void
sessions_cut(uint32_t singles)
{
    char              line[64];
    uint32_t          i;
    sessions_conn_t  *c;

    for (i = 0; i < sessions_total; i++) {
        c = &sessions_conns[i];

        if (i == singles) {
            sessions_finish(i);
            printf("live\n");
            fflush(stdout);

            if (read(STDIN_FILENO, line, sizeof(line)) < 0) {
                bench_die(errno, "standard input");
            }
        }

        if (i <= singles) {
            sessions_pause();
        }

        c->change_ns = bench_now_ns();
        routes_set(routes_token[c->token].index, BK_ALLOC_REVOKED,
                   c->token % routes_nworkers, "revoked by the benchmark");
    }

    sessions_finish(sessions_total);

    if (singles) {
        sessions_print("one", 0, singles);
    }

    if (singles < sessions_total) {
        sessions_print("all", singles, sessions_total);
    }
}


static void
sessions_held(void)
{
    int            n;
    char           line[128];
    uint64_t       due, made, rate, start;
    struct pollfd  pfd;

    printf("held\n");

    rate = 0;
    made = 0;
    start = 0;

    for ( ;; ) {
        fflush(stdout);

        pfd.fd = STDIN_FILENO;
        pfd.events = POLLIN;

        if (poll(&pfd, 1, rate ? 1 : -1) == 1) {
            n = (int) read(STDIN_FILENO, line, sizeof(line) - 1);

            if (n <= 0) {
                return;
            }

            line[n] = '\0';

            if (sscanf(line, "churn %lu", &rate) == 1) {
                start = bench_now_ns();
                made = 0;
                printf("ok\n");

            } else {
                printf("error unknown command\n");
            }

            continue;
        }

        for (due = (bench_now_ns() - start) * rate / 1000000000u; made < due;
             made++)
        {
            routes_set(routes_other[made % ROUTES_OTHERS],
                       made / ROUTES_OTHERS % 2 ? BK_ALLOC_READY
                                                : BK_ALLOC_DRAINING,
                       0, NULL);
        }
    }
}


static void
sessions_close(void)
{
    uint32_t          i;
    sessions_conn_t  *c;

    for (i = 0; i < sessions_started; i++) {
        c = &sessions_conns[i];

        if (c->state == SESSIONS_LIVE) {
            c->state = SESSIONS_CLOSE;
            c->done = 0;
            sessions_run(c);
        }
    }

    while (sessions_finished < sessions_started) {
        sessions_wait(0);
    }
}


int
main(int argc, char **argv)
{
    uint32_t          number;
    bench_command_t   command;

    if (argc < 7 || argc > 8) {
        bench_die(0, "usage: sessions hold|cut|held PORT PKI-DIR TABLE"
                " WORKER-PORTS CLIENTS [SINGLES|TOKENS]");
    }

    sessions_mode = strcmp(argv[1], "hold") == 0 ? 'h'
                    : strcmp(argv[1], "cut") == 0 ? 'c' : 'q';
    sessions_port = (uint16_t) atoi(argv[2]);
    sessions_total = (uint32_t) atoi(argv[6]);
    number = argc == 8 ? (uint32_t) atoi(argv[7]) : 0;
    routes_ntokens = sessions_mode == 'q' ? number : sessions_total;

    if (sessions_total == 0 || routes_ntokens == 0
        || number > sessions_total)
    {
        bench_die(0, "CLIENTS and TOKENS are 1 at least");
    }

    signal(SIGPIPE, SIG_IGN);
    signal(SIGALRM, sessions_deadline);
    alarm(SESSIONS_DEADLINE);
    bench_raise_nofile();
    srandom((unsigned) bench_now_ns());

    memset(&command, 0, sizeof(bench_command_t));
    command.op = BENCH_PING;
    memcpy(sessions_hello, BENCH_HELLO, BENCH_HELLO_LEN);
    memcpy(sessions_hello + BENCH_HELLO_LEN, &command,
           sizeof(bench_command_t));

    routes_tokens(argv[3]);
    routes_table(argv[4], argv[5], sessions_mode == 'c' ? BK_ALLOC_READY
                                                        : BK_ALLOC_QUEUED);

    sessions_ctx = bench_ssl_ctx(TLS_client_method(), argv[3], NULL,
                                 "gateway-ca");
    sessions_epoll = epoll_create1(EPOLL_CLOEXEC);
    sessions_conns = calloc(sessions_total, sizeof(sessions_conn_t));
    sessions_told = calloc(sessions_total, sizeof(sessions_conn_t *));

    if (sessions_epoll == -1 || sessions_conns == NULL
        || sessions_told == NULL
        || SSL_CTX_set_alpn_protos(sessions_ctx, (const u_char *) "\002h2", 3)
           != 0)
    {
        bench_die(errno, "out of memory");
    }

    sessions_open();

    if (sessions_mode == 'h') {
        sessions_hold();

    } else if (sessions_mode == 'c') {
        sessions_cut(number);

    } else {
        sessions_held();
    }

    sessions_close();

    printf("clients=%u errors=%u misrouted=%u\n", sessions_total,
           sessions_errors, sessions_misrouted);

    routes_forget();

    return sessions_errors || sessions_misrouted ? 1 : 0;
}
