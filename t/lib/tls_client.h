/*
 * What the stand-in clients share: a TLS context that offers h2, a connection
 * that is begun without waiting for it.
 */

#ifndef TLS_CLIENT_H_INCLUDED
#define TLS_CLIENT_H_INCLUDED

#include <time.h>

#include "tls_peer.h"


static int64_t client_now(void);
static SSL_CTX *client_context(const char *ca);
static int client_socket(void);
static void client_connect(int fd, const struct sockaddr_in *sin);


/* Unix time in microseconds. */

static int64_t
client_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_REALTIME, &ts);

    return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}


/* No session is kept: BuildKit's clients keep none. */

static SSL_CTX *
client_context(const char *ca)
{
    SSL_CTX  *ctx;

    ctx = SSL_CTX_new(TLS_client_method());
    if (ctx == NULL
        || SSL_CTX_load_verify_locations(ctx, ca, NULL) != 1
        || SSL_CTX_set_alpn_protos(ctx, (const unsigned char *) "\x02h2", 3))
    {
        tls_die(ca);
    }

    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);

    return ctx;
}


static int
client_socket(void)
{
    int  fd;

    fd = socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);
    if (fd == -1) {
        tls_die("socket");
    }

    tls_nodelay(fd);

    return fd;
}


static void
client_connect(int fd, const struct sockaddr_in *sin)
{
    if (connect(fd, (const struct sockaddr *) sin, sizeof(*sin)) != 0
        && errno != EINPROGRESS)
    {
        tls_die("connect");
    }
}

#endif /* TLS_CLIENT_H_INCLUDED */
