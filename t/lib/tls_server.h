/*
 * What the stand-in workers share: a TLS server that demands a client
 * certificate of its CA, one thread with epoll, that ends when standard input
 * does, so it never outlives its test.
 *
 * A program's connection begins with server_conn_t.
 */

#ifndef TLS_SERVER_H_INCLUDED
#define TLS_SERVER_H_INCLUDED

#include "tls_peer.h"


#define SERVER_EVENTS  256

typedef struct {
    SSL         *ssl;
    int          fd;
    int          established;
} server_conn_t;

typedef struct server_s  server_t;

struct server_s {
    const char  *name, *listen, *cert, *key, *ca;
    SSL_CTX     *ctx;
    int          epoll, fd;

    void       (*accept)(server_t *s);
    void       (*command)(server_t *s);
    void       (*handle)(server_t *s, void *conn);
};


static void server_tls(server_t *s);
static void server_alpn(server_t *s);
static int server_select_alpn(SSL *ssl, const unsigned char **out,
    unsigned char *outlen, const unsigned char *in, unsigned int inlen,
    void *data);
static int server_listen(server_t *s);
static void server_run(server_t *s) __attribute__((noreturn));
static void *server_accept(server_t *s, size_t size);
static void server_close(void *conn);


static void
server_tls(server_t *s)
{
    static const unsigned char  sid[] = "worker";

    s->ctx = SSL_CTX_new(TLS_server_method());
    if (s->ctx == NULL
        || SSL_CTX_use_certificate_chain_file(s->ctx, s->cert) != 1
        || SSL_CTX_use_PrivateKey_file(s->ctx, s->key, SSL_FILETYPE_PEM) != 1
        || SSL_CTX_load_verify_locations(s->ctx, s->ca, NULL) != 1)
    {
        tls_die("TLS");
    }

    SSL_CTX_set_verify(s->ctx,
                       SSL_VERIFY_PEER|SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_session_id_context(s->ctx, sid, sizeof(sid));
    tls_modes(s->ctx);
}


static void
server_alpn(server_t *s)
{
    SSL_CTX_set_alpn_select_cb(s->ctx, server_select_alpn, NULL);
}


static int
server_select_alpn(SSL *ssl, const unsigned char **out, unsigned char *outlen,
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


/* Returns the port. */

static int
server_listen(server_t *s)
{
    int                 one;
    socklen_t           len;
    struct sockaddr_in  sin;

    tls_address(s->listen, "--listen ADDR:PORT", &sin);

    one = 1;
    len = sizeof(sin);
    s->fd = socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);
    setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));

    if (bind(s->fd, (struct sockaddr *) &sin, sizeof(sin)) != 0
        || listen(s->fd, 4096) != 0
        || getsockname(s->fd, (struct sockaddr *) &sin, &len) != 0)
    {
        tls_die(s->listen);
    }

    return ntohs(sin.sin_port);
}


/* Listens, prints "ready PORT", and serves until command() exits. */

static void
server_run(server_t *s)
{
    int                 i, n, port;
    struct epoll_event  ev, events[SERVER_EVENTS];

    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    port = server_listen(s);
    tls_watch(s->epoll, EPOLL_CTL_ADD, s->fd, EPOLLIN, &s->fd);

    ev.events = EPOLLIN;
    ev.data.ptr = s;

    /* EPERM: standard input may be a file */
    if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &ev) != 0
        && errno != EPERM)
    {
        tls_die("epoll_ctl");
    }

    printf("ready %d\n", port);
    fflush(stdout);

    for ( ;; ) {
        n = epoll_wait(s->epoll, events, SERVER_EVENTS, -1);

        for (i = 0; i < n; i++) {
            if (events[i].data.ptr == &s->fd) {
                s->accept(s);

            } else if (events[i].data.ptr == s) {
                s->command(s);

            } else {
                s->handle(s, events[i].data.ptr);
            }
        }
    }
}


/* The next connection, of that size; NULL when nobody waits. */

static void *
server_accept(server_t *s, size_t size)
{
    int             fd;
    server_conn_t  *c;

    fd = accept4(s->fd, NULL, NULL, SOCK_NONBLOCK|SOCK_CLOEXEC);
    if (fd == -1) {
        return NULL;
    }

    tls_nodelay(fd);

    c = calloc(1, size);
    if (c == NULL) {
        abort();
    }

    c->fd = fd;
    c->ssl = SSL_new(s->ctx);
    if (c->ssl == NULL || SSL_set_fd(c->ssl, fd) != 1) {
        tls_die("SSL_new");
    }

    SSL_set_accept_state(c->ssl);
    tls_watch(s->epoll, EPOLL_CTL_ADD, fd, EPOLLIN, c);

    return c;
}


static void
server_close(void *conn)
{
    server_conn_t  *c;

    c = conn;

    /* without this the session could not be resumed */
    SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN|SSL_RECEIVED_SHUTDOWN);
    SSL_free(c->ssl);
    close(c->fd);
    free(c);
}

#endif /* TLS_SERVER_H_INCLUDED */
