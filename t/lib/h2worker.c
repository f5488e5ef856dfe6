/*
 * A stand-in worker that speaks HTTP/2: answers each request with HEADERS and
 * DATA "worker NAME\n", sends each later DATA frame (8 KiB at most) back once
 * it is whole, answers PINGs.  What it sends is cut into TLS records of random
 * length, so frames end anywhere in them.
 *
 *   h2worker --name N --listen ADDR:PORT --cert F --key F --ca F
 *
 * Prints "ready PORT" on stdout and ends when stdin does, so it never
 * outlives its test.  One thread, epoll.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdint.h>
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


#define H2_PREFACE_LEN  24
#define H2_HEAD         9
#define H2_BUFFER       16384
#define H2_ROOM         1024            /* the most that one step adds */
#define H2_EVENTS       256

#define H2_DATA         0
#define H2_HEADERS      1
#define H2_SETTINGS     4
#define H2_PING         6

#define H2_ACK          1
#define H2_END_HEADERS  4


typedef struct {
    SSL      *ssl;
    int       fd;
    int       established;
    size_t    preface;                  /* bytes seen */
    size_t    head;
    size_t    rest;                     /* of the frame's payload */
    uint8_t   frame[H2_HEAD];
    size_t    in_pos, in_len;
    size_t    out_pos, out_ready, out_len;  /* ready: whole frames */
    uint8_t   in[H2_BUFFER];
    uint8_t   out[H2_BUFFER];
} h2_conn_t;


typedef struct {
    const char  *name, *listen, *cert, *key, *ca;
    SSL_CTX     *ctx;
    int          epoll, fd;
} h2_t;


static void h2_die(const char *what);
static void h2_tls(h2_t *w);
static int h2_select_alpn(SSL *ssl, const unsigned char **out,
    unsigned char *outlen, const unsigned char *in, unsigned int inlen,
    void *data);
static int h2_listen(h2_t *w);
static void h2_watch(h2_t *w, int op, int fd, unsigned int events,
    void *data);
static void h2_accept(h2_t *w);
static int h2_wait(h2_t *w, h2_conn_t *c, int rc);
static void h2_put(h2_conn_t *c, unsigned type, unsigned flags,
    const uint8_t *stream, const void *payload, size_t len);
static void h2_begin(h2_t *w, h2_conn_t *c);
static int h2_parse(h2_t *w, h2_conn_t *c);
static int h2_io(h2_t *w, h2_conn_t *c);
static void h2_handle(h2_t *w, h2_conn_t *c);


static const struct option  h2_options[] = {
    { "name",   required_argument, NULL, 'n' },
    { "listen", required_argument, NULL, 'l' },
    { "cert",   required_argument, NULL, 'c' },
    { "key",    required_argument, NULL, 'k' },
    { "ca",     required_argument, NULL, 'a' },
    { NULL, 0, NULL, 0 }
};


int
main(int argc, char **argv)
{
    int                 c, i, n;
    h2_t                w;
    char                byte;
    struct rlimit       rl;
    struct epoll_event  events[H2_EVENTS];

    memset(&w, 0, sizeof(w));

    while ((c = getopt_long(argc, argv, "", h2_options, NULL)) != -1) {
        switch (c) {
        case 'n': w.name = optarg; break;
        case 'l': w.listen = optarg; break;
        case 'c': w.cert = optarg; break;
        case 'k': w.key = optarg; break;
        case 'a': w.ca = optarg; break;
        default: return 2;
        }
    }

    if (!w.name || !w.listen || !w.cert || !w.key || !w.ca
        || strlen(w.name) > 255)
    {
        fprintf(stderr, "h2worker: --name --listen --cert --key --ca\n");
        return 2;
    }

    signal(SIGPIPE, SIG_IGN);

    if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
        rl.rlim_cur = rl.rlim_max;
        setrlimit(RLIMIT_NOFILE, &rl);
    }

    h2_tls(&w);
    w.epoll = epoll_create1(EPOLL_CLOEXEC);
    printf("ready %d\n", h2_listen(&w));
    fflush(stdout);

    h2_watch(&w, EPOLL_CTL_ADD, w.fd, EPOLLIN, &w.fd);
    h2_watch(&w, EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, &w);

    for ( ;; ) {
        n = epoll_wait(w.epoll, events, H2_EVENTS, -1);

        for (i = 0; i < n; i++) {
            if (events[i].data.ptr == &w.fd) {
                h2_accept(&w);

            } else if (events[i].data.ptr != &w) {
                h2_handle(&w, events[i].data.ptr);

            } else if (read(STDIN_FILENO, &byte, 1) <= 0) {
                return 0;
            }
        }
    }
}


static void
h2_die(const char *what)
{
    fprintf(stderr, "h2worker: %s: %s\n", what, strerror(errno));
    ERR_print_errors_fp(stderr);
    exit(1);
}


static void
h2_tls(h2_t *w)
{
    w->ctx = SSL_CTX_new(TLS_server_method());
    if (w->ctx == NULL
        || SSL_CTX_use_certificate_chain_file(w->ctx, w->cert) != 1
        || SSL_CTX_use_PrivateKey_file(w->ctx, w->key, SSL_FILETYPE_PEM) != 1
        || SSL_CTX_load_verify_locations(w->ctx, w->ca, NULL) != 1)
    {
        h2_die("TLS");
    }

    SSL_CTX_set_verify(w->ctx,
                       SSL_VERIFY_PEER|SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_session_id_context(w->ctx, (const unsigned char *) "h2", 2);
    SSL_CTX_set_num_tickets(w->ctx, 1);
    SSL_CTX_set_mode(w->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE
                             |SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                             |SSL_MODE_NO_AUTO_CHAIN
                             |SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(w->ctx, h2_select_alpn, NULL);
}


static int
h2_select_alpn(SSL *ssl, const unsigned char **out, unsigned char *outlen,
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


static int
h2_listen(h2_t *w)
{
    int                 one;
    char               *colon, addr[64];
    socklen_t           len;
    struct sockaddr_in  sin;

    snprintf(addr, sizeof(addr), "%s", w->listen);

    colon = strrchr(addr, ':');
    if (colon == NULL) {
        h2_die("--listen ADDR:PORT");
    }

    *colon = '\0';

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_port = htons((uint16_t) atoi(colon + 1));
    if (inet_pton(AF_INET, addr, &sin.sin_addr) != 1) {
        h2_die(addr);
    }

    one = 1;
    len = sizeof(sin);
    w->fd = socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);
    setsockopt(w->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));

    if (bind(w->fd, (struct sockaddr *) &sin, sizeof(sin)) != 0
        || listen(w->fd, 4096) != 0
        || getsockname(w->fd, (struct sockaddr *) &sin, &len) != 0)
    {
        h2_die(w->listen);
    }

    return ntohs(sin.sin_port);
}


static void
h2_watch(h2_t *w, int op, int fd, unsigned int events, void *data)
{
    struct epoll_event  ev;

    ev.events = events;
    ev.data.ptr = data;

    /* EPERM: standard input may be a file */
    if (epoll_ctl(w->epoll, op, fd, &ev) != 0 && errno != EPERM) {
        h2_die("epoll_ctl");
    }
}


static void
h2_accept(h2_t *w)
{
    int         fd, one;
    h2_conn_t  *c;

    for ( ;; ) {
        fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK|SOCK_CLOEXEC);
        if (fd == -1) {
            return;
        }

        one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));

        c = calloc(1, sizeof(h2_conn_t));
        if (c == NULL) {
            abort();
        }

        c->fd = fd;
        c->ssl = SSL_new(w->ctx);
        if (c->ssl == NULL || SSL_set_fd(c->ssl, fd) != 1) {
            h2_die("SSL_new");
        }

        SSL_set_accept_state(c->ssl);
        h2_watch(w, EPOLL_CTL_ADD, fd, EPOLLIN, c);
    }
}


/* Returns 0 when the call is to be tried again later, else -1. */

static int
h2_wait(h2_t *w, h2_conn_t *c, int rc)
{
    switch (SSL_get_error(c->ssl, rc)) {

    case SSL_ERROR_WANT_READ:
        h2_watch(w, EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
        return 0;

    case SSL_ERROR_WANT_WRITE:
        h2_watch(w, EPOLL_CTL_MOD, c->fd, EPOLLOUT, c);
        return 0;

    default:
        ERR_clear_error();
        return -1;
    }
}


static void
h2_put(h2_conn_t *c, unsigned type, unsigned flags, const uint8_t *stream,
    const void *payload, size_t len)
{
    uint8_t  *p;

    p = c->out + c->out_len;

    p[0] = (uint8_t) (len >> 16);
    p[1] = (uint8_t) (len >> 8);
    p[2] = (uint8_t) len;
    p[3] = (uint8_t) type;
    p[4] = (uint8_t) flags;
    memset(&p[5], 0, 4);

    if (stream != NULL) {
        memcpy(&p[5], stream, 4);
    }

    c->out_len += H2_HEAD;

    /* NULL: it follows */

    if (payload != NULL) {
        memcpy(p + H2_HEAD, payload, len);
        c->out_len += len;
    }
}


/* The head of a frame is complete. */

static void
h2_begin(h2_t *w, h2_conn_t *c)
{
    int             n;
    char            text[300];
    const uint8_t  *stream;

    c->rest = (size_t) c->frame[0] << 16 | (size_t) c->frame[1] << 8
              | c->frame[2];
    stream = &c->frame[5];

    switch (c->frame[3]) {

    case H2_HEADERS:
        n = snprintf(text, sizeof(text), "worker %s\n", w->name);
        h2_put(c, H2_HEADERS, H2_END_HEADERS, stream, "\x88", 1);
        h2_put(c, H2_DATA, 0, stream, text, (size_t) n);
        break;

    case H2_DATA:
        h2_put(c, H2_DATA, 0, stream, NULL, c->rest);
        break;

    case H2_PING:
        h2_put(c, H2_PING, H2_ACK, NULL, NULL, c->rest);
        break;
    }
}


/* From in to out; -1: that was no client of HTTP/2. */

static int
h2_parse(h2_t *w, h2_conn_t *c)
{
    int             echo;
    size_t          n;

    static const char  preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    while (c->in_pos < c->in_len && c->out_len + H2_ROOM < H2_BUFFER) {

        if (c->preface < H2_PREFACE_LEN) {
            if (c->in[c->in_pos++] != (uint8_t) preface[c->preface++]) {
                return -1;
            }

            if (c->preface == H2_PREFACE_LEN) {
                h2_put(c, H2_SETTINGS, 0, NULL, "", 0);
                c->out_ready = c->out_len;
            }

            continue;
        }

        if (c->head < H2_HEAD) {
            c->frame[c->head++] = c->in[c->in_pos++];

            if (c->head == H2_HEAD) {
                h2_begin(w, c);
            }

        } else {
            echo = c->frame[3] == H2_DATA || c->frame[3] == H2_PING;
            n = c->in_len - c->in_pos;
            n = n < c->rest ? n : c->rest;

            if (echo) {
                n = n < H2_ROOM ? n : H2_ROOM;
                memcpy(c->out + c->out_len, c->in + c->in_pos, n);
                c->out_len += n;
            }

            c->in_pos += n;
            c->rest -= n;
        }

        if (c->head == H2_HEAD && c->rest == 0) {
            c->head = 0;
        }

        if (c->head == 0) {
            c->out_ready = c->out_len;
        }
    }

    return 0;
}


/* Returns 0 when there is nothing to do now, -1: the connection is over. */

static int
h2_io(h2_t *w, h2_conn_t *c)
{
    int     n;
    size_t  len;

    for ( ;; ) {
        if (h2_parse(w, c) != 0) {
            return -1;
        }

        while (c->out_pos < c->out_ready) {
            len = c->out_ready - c->out_pos;

            if (random() % 2) {
                len = 1 + (size_t) random() % len;
            }

            n = SSL_write(c->ssl, c->out + c->out_pos, (int) len);
            if (n <= 0) {
                return h2_wait(w, c, n);
            }

            c->out_pos += (size_t) n;
        }

        memmove(c->out, c->out + c->out_pos, c->out_len - c->out_pos);
        c->out_len -= c->out_pos;
        c->out_pos = c->out_ready = 0;

        if (c->in_pos < c->in_len) {
            continue;
        }

        c->in_pos = c->in_len = 0;

        n = SSL_read(c->ssl, c->in, H2_BUFFER);
        if (n <= 0) {
            return h2_wait(w, c, n);
        }

        c->in_len = (size_t) n;
    }
}


static void
h2_handle(h2_t *w, h2_conn_t *c)
{
    int  rc;

    if (!c->established) {
        rc = SSL_do_handshake(c->ssl);

        if (rc == 1) {
            c->established = 1;

        } else if (h2_wait(w, c, rc) == 0) {
            return;
        }
    }

    if (c->established && h2_io(w, c) == 0) {
        return;
    }

    /* without this the session could not be resumed */
    SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN|SSL_RECEIVED_SHUTDOWN);
    SSL_free(c->ssl);
    close(c->fd);
    free(c);
}
