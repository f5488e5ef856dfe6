/*
 * What the programs of the benchmark share: the few bytes that the load
 * generator and the stand-in worker say to each other, TLS contexts, and
 * reading and writing on a socket that may or may not be TLS.
 *
 * After the handshake the client sends one bench_command_t (both ends are on
 * one machine, so it goes as it lies in memory) and the worker answers
 *     BENCH_PING    with one bench_reply_t;
 *     BENCH_SINK    after length bytes were read, with one bench_reply_t;
 *     BENCH_SOURCE  with length bytes.
 * Then another command may follow, or the client closes.
 *
 * The same in HTTP/2, for a gateway that follows the frames: the client sends
 * BENCH_HELLO first, whose last frame is DATA with the command, the worker
 * begins with BENCH_WELCOME, and puts its reply into a DATA frame.  Bulk is
 * command.frame bytes to a DATA frame then; length counts all, heads too, so
 * the TLS records are those of plain bytes.
 */

#ifndef BENCH_H_INCLUDED
#define BENCH_H_INCLUDED

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/ssl.h>


#define BENCH_PING    'p'
#define BENCH_SINK    'u'
#define BENCH_SOURCE  'd'

/* bench_reply_t.handshake: how the worker was spoken to. */
#define BENCH_FULL     'F'
#define BENCH_RESUMED  'R'
#define BENCH_PLAIN    'P'

/* One TLS record of the largest size at a time, as bulk transfers do. */
#define BENCH_CHUNK   16384

/* A frame's head, and the largest frame that any peer may send. */
#define BENCH_HEAD    9
#define BENCH_FRAME   (BENCH_HEAD + 16384)
#define BENCH_PONG    (BENCH_HEAD + 8)

/* Preface, SETTINGS, HEADERS that opens stream 1, head of DATA (a command). */
#define BENCH_HELLO                                                           \
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"                                       \
    "\0\0\0\4\0\0\0\0\0"                                                      \
    "\0\0\20\1\4\0\0\0\1" "\203\206\204\100\2te\10trailers"                  \
    "\0\0\20\0\0\0\0\0\1"
#define BENCH_HELLO_LEN    (sizeof(BENCH_HELLO) - 1)

/* SETTINGS, HEADERS with :status 200; then what comes in front of a reply. */
#define BENCH_WELCOME                                                         \
    "\0\0\0\4\0\0\0\0\0"                                                      \
    "\0\0\1\1\4\0\0\0\1" "\210"
#define BENCH_WELCOME_LEN  (sizeof(BENCH_WELCOME) - 1)
#define BENCH_REPLY_HEAD   "\0\0\20\0\0\0\0\0\1"

/* The longest file name here: a folder and a short name. */
#define BENCH_PATH    1024

/* Results of bench_read() and bench_write() beside a length and 0. */
#define BENCH_WANT_READ   (-1)
#define BENCH_WANT_WRITE  (-2)
#define BENCH_ERROR       (-3)


typedef struct {
    uint64_t  length;
    uint32_t  frame;        /* payload of the DATA frames of bulk */
    char      op;
    char      pad[3];
} bench_command_t;


typedef struct {
    uint64_t  seen_ns;      /* when the worker saw the first byte */
    char      handshake;
    uint8_t   worker;       /* number of the worker, from 0 */
    char      pad[6];
} bench_reply_t;


_Static_assert(sizeof(bench_command_t) == 16, "BENCH_HELLO says so");
_Static_assert(sizeof(bench_reply_t) == 16, "BENCH_REPLY_HEAD says so");


/* Says why and ends the program; with errno's text where there is an errno. */
__attribute__((noreturn, format(printf, 2, 3)))
static inline void
bench_die(int errnum, const char *fmt, ...)
{
    va_list  args;

    fprintf(stderr, "%s: ", program_invocation_short_name);

    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);

    if (errnum) {
        fprintf(stderr, ": %s", strerror(errnum));
    }

    fputc('\n', stderr);

    exit(1);
}


static inline uint64_t
bench_now_ns(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000000u + (uint64_t) ts.tv_nsec;
}


/* As many descriptors as we are allowed: thousands of connections are held. */
static inline void
bench_raise_nofile(void)
{
    struct rlimit  rl;

    if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
        rl.rlim_cur = rl.rlim_max;
        (void) setrlimit(RLIMIT_NOFILE, &rl);
    }
}


static inline void
bench_nonblocking(int fd)
{
    int  flags;

    flags = fcntl(fd, F_GETFL);

    if (flags == -1 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == -1) {
        bench_die(errno, "fcntl");
    }
}


static inline int
bench_ssl_result(SSL *ssl, int n)
{
    switch (SSL_get_error(ssl, n)) {

    case SSL_ERROR_WANT_READ:
        return BENCH_WANT_READ;

    case SSL_ERROR_WANT_WRITE:
        return BENCH_WANT_WRITE;

    case SSL_ERROR_ZERO_RETURN:
        return 0;

    default:
        ERR_clear_error();
        return BENCH_ERROR;
    }
}


static inline int
bench_read(int fd, SSL *ssl, void *buf, size_t len)
{
    ssize_t  n;

    if (ssl != NULL) {
        n = SSL_read(ssl, buf, (int) len);
        return n > 0 ? (int) n : bench_ssl_result(ssl, (int) n);
    }

    n = read(fd, buf, len);

    if (n >= 0) {
        return (int) n;
    }

    return errno == EAGAIN ? BENCH_WANT_READ : BENCH_ERROR;
}


static inline int
bench_write(int fd, SSL *ssl, const void *buf, size_t len)
{
    ssize_t  n;

    if (ssl != NULL) {
        n = SSL_write(ssl, buf, (int) len);
        return n > 0 ? (int) n : bench_ssl_result(ssl, (int) n);
    }

    n = write(fd, buf, len);

    if (n >= 0) {
        return (int) n;
    }

    return errno == EAGAIN ? BENCH_WANT_WRITE : BENCH_ERROR;
}


/*
 * A TLS context of one end: name is that of its certificate and key in dir
 * (NULL: none), ca that of the authority of its peers.
 */
static inline SSL_CTX *
bench_ssl_ctx(const SSL_METHOD *method, const char *dir, const char *name,
    const char *ca)
{
    char      path[BENCH_PATH];
    SSL_CTX  *ctx;

    ctx = SSL_CTX_new(method);

    if (ctx == NULL) {
        goto failed;
    }

    snprintf(path, sizeof(path), "%s/%s.pem", dir, ca);

    if (SSL_CTX_load_verify_locations(ctx, path, NULL) != 1) {
        goto failed;
    }

    if (name != NULL) {
        snprintf(path, sizeof(path), "%s/%s-both.pem", dir, name);

        if (SSL_CTX_use_certificate_file(ctx, path, SSL_FILETYPE_PEM) != 1
            || SSL_CTX_use_PrivateKey_file(ctx, path, SSL_FILETYPE_PEM) != 1)
        {
            goto failed;
        }
    }

    SSL_CTX_set_verify(ctx,
                       SSL_VERIFY_PEER|SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE
                          |SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                          |SSL_MODE_RELEASE_BUFFERS
                          |SSL_MODE_NO_AUTO_CHAIN);

    return ctx;

failed:

    ERR_print_errors_fp(stderr);
    bench_die(0, "cannot set up TLS with %s/%s", dir, name ? name : ca);
}


/*
 * Bulk bytes: DATA frames of stream 1 with frame bytes each, one after the
 * other; 0: zeroes.  *period: from byte number N on is what follows N modulo
 * it; one chunk may be taken from anywhere below it.
 */
static inline char *
bench_bulk(uint32_t frame, size_t *period)
{
    char    *buf;
    size_t   i, size;

    if (frame > BENCH_FRAME - BENCH_HEAD) {
        bench_die(0, "a frame has %d bytes at most", BENCH_FRAME - BENCH_HEAD);
    }

    *period = frame ? BENCH_HEAD + frame : BENCH_CHUNK;
    size = *period + BENCH_CHUNK;
    buf = calloc(1, size + BENCH_FRAME);

    if (buf == NULL) {
        bench_die(errno, "out of memory");
    }

    for (i = 0; frame && i < size; i += *period) {
        buf[i + 1] = (char) (frame >> 8);
        buf[i + 2] = (char) frame;
        buf[i + 8] = 1;
    }

    return buf;
}


static inline int
bench_compare_ns(const void *one, const void *two)
{
    const uint64_t  *a = (const uint64_t *) one;
    const uint64_t  *b = (const uint64_t *) two;

    return *a < *b ? -1 : *a > *b;
}

#endif /* BENCH_H_INCLUDED */
