/*
 * A stand-in worker: a TLS server that demands a client certificate of its
 * CA, says nothing until the client has sent something, then answers
 * "worker NAME\n" and echoes what it is sent.
 *
 *   worker --name N --listen ADDR:PORT --cert F --key F --ca F [--alpn no]
 *          [--mode echo|name|sink|mute|close]
 *
 * Prints "ready PORT" on stdout.  Reads commands from stdin, answers each
 * with a line: "stats" (counters as name=value), "peer" (the last client's
 * subject), "quit".  Ends when stdin does, so it never outlives its test.
 * One thread, epoll.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>


#define WORKER_BUFFER  16384
#define WORKER_EVENTS  256

typedef enum {
    WORKER_ECHO,                /* name, then everything back */
    WORKER_NAME,                /* name, then read and drop */
    WORKER_SINK,                /* read and drop */
    WORKER_MUTE,                /* handshake, then neither read nor write */
    WORKER_CLOSE                /* close at the client's first bytes */
} worker_mode_e;

typedef struct {
    SSL      *ssl;
    int       fd;
    int       greeted;
    int       established;
    size_t    pos, len;         /* what is still to be written of buffer */
    char      buffer[WORKER_BUFFER + 320];
} worker_conn_t;

typedef struct {
    const char     *name, *listen, *cert, *key, *ca;
    int             alpn;
    worker_mode_e   mode;

    SSL_CTX        *ctx;
    int             epoll, fd, port;
    char            peer[512];

    unsigned long   accepted, handshakes, resumed, failed, h2, no_alpn;
    unsigned long   read, written, closed;
} worker_t;


static void worker_die(const char *what);
static void worker_tls(worker_t *w);
static int worker_select_alpn(SSL *ssl, const unsigned char **out,
    unsigned char *outlen, const unsigned char *in, unsigned int inlen,
    void *data);
static void worker_listen(worker_t *w);
static void worker_watch(worker_t *w, int op, int fd, unsigned int events,
    void *data);
static void worker_accept(worker_t *w);
static void worker_command(worker_t *w);
static void worker_answer(worker_t *w, const char *command);
static void worker_established(worker_t *w, worker_conn_t *c);
static int worker_ssl_wait(worker_t *w, worker_conn_t *c, int rc);
static int worker_flush(worker_t *w, worker_conn_t *c);
static int worker_read(worker_t *w, worker_conn_t *c);
static void worker_handle(worker_t *w, worker_conn_t *c);
static void worker_close(worker_t *w, worker_conn_t *c);


static const struct option  worker_options[] = {
    { "name",   required_argument, NULL, 'n' },
    { "listen", required_argument, NULL, 'l' },
    { "cert",   required_argument, NULL, 'c' },
    { "key",    required_argument, NULL, 'k' },
    { "ca",     required_argument, NULL, 'a' },
    { "alpn",   required_argument, NULL, 'A' },
    { "mode",   required_argument, NULL, 'm' },
    { NULL, 0, NULL, 0 }
};

static const char  *worker_modes[] = {
    "echo", "name", "sink", "mute", "close"
};


int
main(int argc, char **argv)
{
    int                 c, i, n;
    worker_t            w;
    struct rlimit       rl;
    struct epoll_event  events[WORKER_EVENTS];

    memset(&w, 0, sizeof(w));
    w.alpn = 1;

    while ((c = getopt_long(argc, argv, "", worker_options, NULL)) != -1) {
        switch (c) {
        case 'n': w.name = optarg; break;
        case 'l': w.listen = optarg; break;
        case 'c': w.cert = optarg; break;
        case 'k': w.key = optarg; break;
        case 'a': w.ca = optarg; break;
        case 'A': w.alpn = strcmp(optarg, "no") != 0; break;
        case 'm':
            for (i = WORKER_ECHO; i <= WORKER_CLOSE; i++) {
                if (strcmp(optarg, worker_modes[i]) == 0) {
                    w.mode = (worker_mode_e) i;
                }
            }
            break;
        default: return 2;
        }
    }

    if (!w.name || !w.listen || !w.cert || !w.key || !w.ca
        || strlen(w.name) > 255)
    {
        fprintf(stderr, "worker: --name --listen --cert --key --ca\n");
        return 2;
    }

    signal(SIGPIPE, SIG_IGN);

    rl.rlim_cur = rl.rlim_max = 65536;
    setrlimit(RLIMIT_NOFILE, &rl);

    w.epoll = epoll_create1(EPOLL_CLOEXEC);
    worker_tls(&w);
    worker_listen(&w);
    worker_watch(&w, EPOLL_CTL_ADD, w.fd, EPOLLIN, &w.fd);
    worker_watch(&w, EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, &w);

    printf("ready %d\n", w.port);
    fflush(stdout);

    for ( ;; ) {
        n = epoll_wait(w.epoll, events, WORKER_EVENTS, -1);

        for (i = 0; i < n; i++) {
            if (events[i].data.ptr == &w.fd) {
                worker_accept(&w);

            } else if (events[i].data.ptr == &w) {
                worker_command(&w);

            } else {
                worker_handle(&w, events[i].data.ptr);
            }
        }
    }
}


static void
worker_die(const char *what)
{
    fprintf(stderr, "worker: %s: %s\n", what, strerror(errno));
    ERR_print_errors_fp(stderr);
    exit(1);
}


static void
worker_tls(worker_t *w)
{
    static const unsigned char  sid[] = "worker";

    w->ctx = SSL_CTX_new(TLS_server_method());
    if (w->ctx == NULL
        || SSL_CTX_use_certificate_chain_file(w->ctx, w->cert) != 1
        || SSL_CTX_use_PrivateKey_file(w->ctx, w->key, SSL_FILETYPE_PEM) != 1
        || SSL_CTX_load_verify_locations(w->ctx, w->ca, NULL) != 1)
    {
        worker_die("TLS");
    }

    SSL_CTX_set_verify(w->ctx,
                       SSL_VERIFY_PEER|SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_session_id_context(w->ctx, sid, sizeof(sid));
    SSL_CTX_set_mode(w->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE
                             |SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                             |SSL_MODE_NO_AUTO_CHAIN
                             |SSL_MODE_RELEASE_BUFFERS);

    if (w->alpn) {
        SSL_CTX_set_alpn_select_cb(w->ctx, worker_select_alpn, NULL);
    }
}


static int
worker_select_alpn(SSL *ssl, const unsigned char **out, unsigned char *outlen,
    const unsigned char *in, unsigned int inlen, void *data)
{
    (void) ssl;
    (void) data;

    if (SSL_select_next_proto((unsigned char **) out, outlen,
                              (const unsigned char *) "\x02h2", 3, in, inlen)
        != OPENSSL_NPN_NEGOTIATED)
    {
        return SSL_TLSEXT_ERR_NOACK;
    }

    return SSL_TLSEXT_ERR_OK;
}


static void
worker_listen(worker_t *w)
{
    int                 one;
    char               *colon, addr[64];
    socklen_t           len;
    struct sockaddr_in  sin;

    snprintf(addr, sizeof(addr), "%s", w->listen);

    colon = strrchr(addr, ':');
    if (colon == NULL) {
        worker_die("--listen ADDR:PORT");
    }

    *colon = '\0';

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_port = htons((uint16_t) atoi(colon + 1));
    if (inet_pton(AF_INET, addr, &sin.sin_addr) != 1) {
        worker_die(addr);
    }

    one = 1;
    len = sizeof(sin);
    w->fd = socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);
    setsockopt(w->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));

    if (bind(w->fd, (struct sockaddr *) &sin, sizeof(sin)) != 0
        || listen(w->fd, 4096) != 0
        || getsockname(w->fd, (struct sockaddr *) &sin, &len) != 0)
    {
        worker_die(w->listen);
    }

    w->port = ntohs(sin.sin_port);
}


static void
worker_watch(worker_t *w, int op, int fd, unsigned int events, void *data)
{
    struct epoll_event  ev;

    ev.events = events;
    ev.data.ptr = data;

    if (epoll_ctl(w->epoll, op, fd, &ev) != 0 && errno != EPERM) {
        worker_die("epoll_ctl");
    }
}


static void
worker_accept(worker_t *w)
{
    int             fd, one;
    worker_conn_t  *c;

    for ( ;; ) {
        fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK|SOCK_CLOEXEC);
        if (fd == -1) {
            return;
        }

        one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));

        w->accepted++;

        c = calloc(1, sizeof(worker_conn_t));
        if (c == NULL) {
            abort();
        }

        c->fd = fd;
        c->ssl = SSL_new(w->ctx);
        if (c->ssl == NULL || SSL_set_fd(c->ssl, fd) != 1) {
            worker_die("SSL_new");
        }

        SSL_set_accept_state(c->ssl);
        worker_watch(w, EPOLL_CTL_ADD, fd, EPOLLIN, c);
    }
}


static void
worker_command(worker_t *w)
{
    char        *line, *next;
    ssize_t      n;
    static char  text[256];

    n = read(STDIN_FILENO, text, sizeof(text) - 1);
    if (n <= 0) {
        exit(0);
    }

    text[n] = '\0';

    for (line = text; (next = strchr(line, '\n')) != NULL; line = next + 1) {
        *next = '\0';
        worker_answer(w, line);
    }

    fflush(stdout);
}


static void
worker_answer(worker_t *w, const char *command)
{
    if (strcmp(command, "quit") == 0) {
        exit(0);
    }

    if (strcmp(command, "peer") == 0) {
        printf("%s\n", w->peer);
        return;
    }

    if (strcmp(command, "stats") == 0) {
        printf("accepted=%lu handshakes=%lu resumed=%lu failed=%lu h2=%lu"
               " no_alpn=%lu read=%lu written=%lu closed=%lu\n",
               w->accepted, w->handshakes, w->resumed, w->failed, w->h2,
               w->no_alpn, w->read, w->written, w->closed);
        return;
    }

    printf("error unknown command\n");
}


static void
worker_established(worker_t *w, worker_conn_t *c)
{
    X509                 *cert;
    unsigned int          len;
    const unsigned char  *alpn;

    c->established = 1;
    w->handshakes++;

    if (SSL_session_reused(c->ssl)) {
        w->resumed++;
    }

    SSL_get0_alpn_selected(c->ssl, &alpn, &len);
    if (len == 2 && memcmp(alpn, "h2", 2) == 0) {
        w->h2++;

    } else {
        w->no_alpn++;
    }

    cert = SSL_get0_peer_certificate(c->ssl);
    if (cert != NULL) {
        X509_NAME_oneline(X509_get_subject_name(cert), w->peer,
                          sizeof(w->peer));
    }
}


/* Returns 0 when the call is to be tried again later, else -1. */

static int
worker_ssl_wait(worker_t *w, worker_conn_t *c, int rc)
{
    switch (SSL_get_error(c->ssl, rc)) {

    case SSL_ERROR_WANT_READ:
        worker_watch(w, EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
        return 0;

    case SSL_ERROR_WANT_WRITE:
        worker_watch(w, EPOLL_CTL_MOD, c->fd, EPOLLOUT, c);
        return 0;

    default:
        ERR_clear_error();
        return -1;
    }
}


/* 1: all is written, 0: later, -1: the connection is over. */

static int
worker_flush(worker_t *w, worker_conn_t *c)
{
    int  n;

    while (c->pos < c->len) {
        n = SSL_write(c->ssl, c->buffer + c->pos, (int) (c->len - c->pos));
        if (n <= 0) {
            return worker_ssl_wait(w, c, n);
        }

        w->written += (unsigned long) n;
        c->pos += (size_t) n;
    }

    c->pos = c->len = 0;

    return 1;
}


static int
worker_read(worker_t *w, worker_conn_t *c)
{
    int     n;
    size_t  room;

    /* the greeting goes before what is echoed */
    room = c->greeted ? 0 : 300;

    n = SSL_read(c->ssl, c->buffer + room, WORKER_BUFFER);
    if (n <= 0) {
        return worker_ssl_wait(w, c, n);
    }

    w->read += (unsigned long) n;

    if (w->mode == WORKER_SINK) {
        return 1;
    }

    if (w->mode == WORKER_CLOSE) {
        return -1;
    }

    if (!c->greeted) {
        c->greeted = 1;
        c->len = (size_t) snprintf(c->buffer, room, "worker %s\n", w->name);

        if (w->mode == WORKER_ECHO) {
            memmove(c->buffer + c->len, c->buffer + room, (size_t) n);
            c->len += (size_t) n;
        }

    } else if (w->mode == WORKER_ECHO) {
        c->len = (size_t) n;
    }

    return 1;
}


static void
worker_handle(worker_t *w, worker_conn_t *c)
{
    int  rc;

    if (!c->established) {
        rc = SSL_do_handshake(c->ssl);

        if (rc == 1) {
            worker_established(w, c);

        } else if (worker_ssl_wait(w, c, rc) == 0) {
            return;

        } else {
            w->failed++;
            worker_close(w, c);
            return;
        }
    }

    if (w->mode == WORKER_MUTE) {
        worker_watch(w, EPOLL_CTL_MOD, c->fd, EPOLLET, c);
        return;
    }

    do {
        rc = worker_flush(w, c);
        if (rc == 1) {
            rc = worker_read(w, c);
        }
    } while (rc == 1);

    if (rc == -1) {
        worker_close(w, c);
    }
}


static void
worker_close(worker_t *w, worker_conn_t *c)
{
    w->closed++;

    /* without this the session could not be resumed */
    SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN|SSL_RECEIVED_SHUTDOWN);
    SSL_free(c->ssl);
    close(c->fd);
    free(c);
}
