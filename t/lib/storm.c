/*
 * Many connections to the gateway with many certificates, each of which asks
 * "who are you": the test compares what came back with what the route table
 * said at that time.
 *
 *   storm --addr ADDR:PORT --ca F --certs LIST --connections N --parallel C
 *
 * LIST has a line "CERT KEY" for each token.  Connection number I uses line
 * I modulo their number.  Each sends what a gRPC client sends first and is
 * printed as a line "TOKEN BEGAN ENDED RESULT": the line's number, Unix times
 * in microseconds, and "worker NAME", "refused STATUS", "closed" or "failed".
 * One thread, epoll; ends by itself.  After SIGUSR1 no more are begun.
 */

#include <getopt.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls_client.h"


#define STORM_MAX_CERTS   1024
#define STORM_PATH_LEN    1024
#define STORM_EVENTS      128
#define STORM_BUFFER      4096
#define STORM_TIMEOUT_US  30000000

typedef struct {
    int       fd;
    int       used;
    int       established;
    int       token;
    SSL      *ssl;
    int64_t   began;
    size_t    len;
    uint8_t   in[STORM_BUFFER];
} storm_conn_t;

typedef struct {
    const char          *addr, *ca, *certs;
    int                  connections, parallel;

    struct sockaddr_in   sin;
    SSL_CTX             *ctx[STORM_MAX_CERTS];
    int                  nctx;
    int                  epoll;
    int                  begun, live;
    storm_conn_t        *conns;
} storm_t;


static volatile sig_atomic_t  storm_enough;


static void storm_signal(int signo);
static void storm_certs(storm_t *s);
static SSL_CTX *storm_context(const storm_t *s, const char *cert,
    const char *key);
static void storm_begin(storm_t *s, storm_conn_t *c);
static void storm_end(storm_t *s, storm_conn_t *c, const char *result);
static void storm_handle(storm_t *s, storm_conn_t *c);
static int storm_parse(storm_conn_t *c, char *result, size_t size);
static void storm_status(const uint8_t *block, size_t len, char *result,
    size_t size);
static void storm_expire(storm_t *s);


static const struct option  storm_options[] = {
    { "addr",        required_argument, NULL, 'a' },
    { "ca",          required_argument, NULL, 'A' },
    { "certs",       required_argument, NULL, 'c' },
    { "connections", required_argument, NULL, 'n' },
    { "parallel",    required_argument, NULL, 'p' },
    { NULL, 0, NULL, 0 }
};

/* The preface, an empty SETTINGS frame, and stream 1 with a HEADERS frame. */
static const char  storm_hello[] =
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    "\x00\x00\x03\x01\x04\x00\x00\x00\x01\x83\x86\x84";


int
main(int argc, char **argv)
{
    int                 c, i, n;
    storm_t             s;
    struct epoll_event  events[STORM_EVENTS];

    memset(&s, 0, sizeof(s));

    while ((c = getopt_long(argc, argv, "", storm_options, NULL)) != -1) {
        switch (c) {
        case 'a': s.addr = optarg; break;
        case 'A': s.ca = optarg; break;
        case 'c': s.certs = optarg; break;
        case 'n': s.connections = atoi(optarg); break;
        case 'p': s.parallel = atoi(optarg); break;
        default: return 2;
        }
    }

    if (!s.addr || !s.ca || !s.certs || s.connections < 1 || s.parallel < 1) {
        fprintf(stderr, "storm: --addr --ca --certs --connections"
                        " --parallel\n");
        return 2;
    }

    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR1, storm_signal);
    tls_address(s.addr, "--addr ADDR:PORT", &s.sin);
    storm_certs(&s);

    s.epoll = epoll_create1(EPOLL_CLOEXEC);
    s.conns = calloc((size_t) s.parallel, sizeof(storm_conn_t));
    if (s.conns == NULL) {
        tls_die("memory");
    }

    for (i = 0; i < s.parallel && s.begun < s.connections; i++) {
        storm_begin(&s, &s.conns[i]);
    }

    while (s.live != 0) {
        n = epoll_wait(s.epoll, events, STORM_EVENTS, 1000);

        for (i = 0; i < n; i++) {
            storm_handle(&s, events[i].data.ptr);
        }

        storm_expire(&s);
    }

    for (i = 0; i < s.nctx; i++) {
        SSL_CTX_free(s.ctx[i]);
    }

    free(s.conns);
    close(s.epoll);

    return 0;
}


static void
storm_signal(int signo)
{
    (void) signo;
    storm_enough = 1;
}


static void
storm_certs(storm_t *s)
{
    FILE  *f;
    char   line[2 * STORM_PATH_LEN], cert[STORM_PATH_LEN], key[STORM_PATH_LEN];

    f = fopen(s->certs, "r");
    if (f == NULL) {
        tls_die(s->certs);
    }

    while (s->nctx < STORM_MAX_CERTS && fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "%1023s %1023s", cert, key) == 2) {
            s->ctx[s->nctx++] = storm_context(s, cert, key);
        }
    }

    fclose(f);

    if (s->nctx == 0) {
        tls_die("no certificates");
    }
}


static SSL_CTX *
storm_context(const storm_t *s, const char *cert, const char *key)
{
    SSL_CTX  *ctx;

    ctx = client_context(s->ca);

    if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1
        || SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
    {
        tls_die(cert);
    }

    return ctx;
}


static void
storm_begin(storm_t *s, storm_conn_t *c)
{
    memset(c, 0, sizeof(*c));
    c->used = 1;
    c->began = client_now();
    c->token = s->begun++ % s->nctx;
    s->live++;

    c->fd = client_socket();
    client_connect(c->fd, &s->sin);

    c->ssl = SSL_new(s->ctx[c->token]);
    if (c->ssl == NULL || SSL_set_fd(c->ssl, c->fd) != 1) {
        tls_die("SSL_new");
    }

    SSL_set_connect_state(c->ssl);

    tls_watch(s->epoll, EPOLL_CTL_ADD, c->fd, EPOLLOUT, c);
}


static void
storm_end(storm_t *s, storm_conn_t *c, const char *result)
{
    printf("%d %lld %lld %s\n", c->token, (long long) c->began,
           (long long) client_now(), result);

    SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN|SSL_RECEIVED_SHUTDOWN);
    SSL_free(c->ssl);
    close(c->fd);
    c->used = 0;
    s->live--;

    if (s->begun < s->connections && !storm_enough) {
        storm_begin(s, c);
    }
}


static void
storm_handle(storm_t *s, storm_conn_t *c)
{
    int   rc;
    char  result[300];

    if (!c->used) {
        return;
    }

    if (!c->established) {
        rc = SSL_do_handshake(c->ssl);
        if (rc != 1) {
            if (tls_again(s->epoll, c->ssl, rc, c) != 0) {
                storm_end(s, c, "failed");
            }

            return;
        }

        c->established = 1;

        /* a new connection always has room for so few bytes */
        if (SSL_write(c->ssl, storm_hello, sizeof(storm_hello) - 1) <= 0) {
            storm_end(s, c, "closed");
            return;
        }
    }

    for ( ;; ) {
        rc = SSL_read(c->ssl, c->in + c->len, (int) (STORM_BUFFER - c->len));
        if (rc <= 0) {
            if (tls_again(s->epoll, c->ssl, rc, c) != 0) {
                storm_end(s, c, "closed");
            }

            return;
        }

        c->len += (size_t) rc;

        if (storm_parse(c, result, sizeof(result))) {
            storm_end(s, c, result);
            return;
        }

        if (c->len == STORM_BUFFER) {
            storm_end(s, c, "failed");
            return;
        }
    }
}


/* Returns 1 when the answer is whole. */

static int
storm_parse(storm_conn_t *c, char *result, size_t size)
{
    size_t          pos, len;
    const uint8_t  *p, *end;

    if (c->len >= 7 && memcmp(c->in, "worker ", 7) == 0) {
        end = memchr(c->in, '\n', c->len);
        if (end == NULL) {
            return 0;
        }

        snprintf(result, size, "%.*s", (int) (end - c->in), c->in);
        return 1;
    }

    for (pos = 0; c->len - pos >= 9; pos += 9 + len) {
        p = c->in + pos;
        len = (size_t) p[0] << 16 | (size_t) p[1] << 8 | p[2];
        if (c->len - pos < 9 + len) {
            return 0;
        }

        if (p[3] == 1) {
            storm_status(p + 9, len, result, size);
            return 1;
        }
    }

    return 0;
}


static void
storm_status(const uint8_t *block, size_t len, char *result, size_t size)
{
    size_t          n;
    const uint8_t  *p;

    p = memmem(block, len, "grpc-status", 11);
    n = p != NULL ? len - (size_t) (p - block) : 0;

    if (n < 13 || p[11] > 2 || n < 12u + p[11]) {
        snprintf(result, size, "failed");
        return;
    }

    snprintf(result, size, "refused %.*s", p[11], p + 12);
}


static void
storm_expire(storm_t *s)
{
    int      i;
    int64_t  now;

    now = client_now();

    for (i = 0; i < s->parallel; i++) {
        if (s->conns[i].used && now - s->conns[i].began > STORM_TIMEOUT_US) {
            storm_end(s, &s->conns[i], "failed");
        }
    }
}
