/*
 * What the TLS programs of the tests share, workers (tls_server.h) and
 * clients (tls_client.h) alike.
 */

#ifndef TLS_PEER_H_INCLUDED
#define TLS_PEER_H_INCLUDED

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>


static inline void
tls_die(const char *what)
{
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what,
            strerror(errno));
    ERR_print_errors_fp(stderr);
    exit(1);
}


/* ADDR:PORT; option: which one of the command line it is. */

static inline void
tls_address(const char *text, const char *option, struct sockaddr_in *sin)
{
    char  *colon, addr[64];

    snprintf(addr, sizeof(addr), "%s", text);

    colon = strrchr(addr, ':');
    if (colon == NULL) {
        tls_die(option);
    }

    *colon = '\0';

    memset(sin, 0, sizeof(struct sockaddr_in));
    sin->sin_family = AF_INET;
    sin->sin_port = htons((uint16_t) atoi(colon + 1));
    if (inet_pton(AF_INET, addr, &sin->sin_addr) != 1) {
        tls_die(addr);
    }
}


/* As many descriptors as we are allowed. */

static inline void
tls_raise_nofile(void)
{
    struct rlimit  rl;

    if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
        rl.rlim_cur = rl.rlim_max;
        setrlimit(RLIMIT_NOFILE, &rl);
    }
}


/* What many connections at once need: pieces, and little memory. */

static inline void
tls_modes(SSL_CTX *ctx)
{
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE
                          |SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                          |SSL_MODE_NO_AUTO_CHAIN
                          |SSL_MODE_RELEASE_BUFFERS);
}


static inline void
tls_nodelay(int fd)
{
    int  one;

    one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}


static inline void
tls_watch(int epoll, int op, int fd, uint32_t events, void *data)
{
    struct epoll_event  ev;

    ev.events = events;
    ev.data.ptr = data;

    if (epoll_ctl(epoll, op, fd, &ev) != 0) {
        tls_die("epoll_ctl");
    }
}


/* The event to wait for after a call that returned rc; 0: it is over. */

static inline uint32_t
tls_wants(SSL *ssl, int rc)
{
    switch (SSL_get_error(ssl, rc)) {

    case SSL_ERROR_WANT_READ:
        return EPOLLIN;

    case SSL_ERROR_WANT_WRITE:
        return EPOLLOUT;

    default:
        ERR_clear_error();
        return 0;
    }
}


/* Returns 0 when the call is to be tried again later, else -1. */

static inline int
tls_again(int epoll, SSL *ssl, int rc, void *data)
{
    uint32_t  events;

    events = tls_wants(ssl, rc);
    if (events == 0) {
        return -1;
    }

    tls_watch(epoll, EPOLL_CTL_MOD, SSL_get_fd(ssl), events, data);

    return 0;
}

#endif /* TLS_PEER_H_INCLUDED */
