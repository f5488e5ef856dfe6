/*
 * Does a worker work?  TCP, TLS with its certificate verified and its name
 * looked at, HTTP/2, and one real call that any buildkitd answers
 * (Control/ListWorkers) with grpc-status 0: what a build needs.  The same
 * way it is asked to prune its cache.
 *
 * A state machine on the host's loop: no call here waits, and the one
 * deadline of a probe covers all of it.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "probe_int.h"


#define BK_PROBE_CERT_LIFE  (UINT64_C(7) * 24 * 3600 * BK_SECOND)
#define BK_PROBE_CERT_NEW   (UINT64_C(24) * 3600 * BK_SECOND)
#define BK_GRPC_HEAD        5
#define BK_PRUNE_MAX        (64 << 20)  /* bytes: a record for each that goes */


static int bk_probe_use(SSL_CTX *ctx, const bk_cert_t *cert);
static bk_probe_t *bk_probe_new(bk_process_t *p, const char *tls_name,
    const char *path, bk_probe_pt done, void *data);
static bk_probe_t *bk_probe_begin(bk_probe_t *b, uint16_t port,
    uint64_t timeout_ms);
static int bk_probe_connect(bk_probe_t *b, uint16_t port);
static void bk_probe_late(void *data);
static void bk_probe_over(bk_probe_t *b);
static void bk_probe_ready(int fd, int events, void *data);
static int bk_probe_tls(bk_probe_t *b);


/* The certificate is made anew before it is too old, with all else. */

int
bk_probe_setup(bk_process_t *p, bk_err_t *err)
{
    uint64_t           now;
    SSL_CTX           *ctx;
    bk_cert_t          cert;
    const bk_host_t   *h;
    bk_cert_request_t  req;

    h = p->host;
    now = h->now_ms(h);

    if (p->tls != NULL && p->tls_until_ms > now + BK_PROBE_CERT_NEW) {
        return 0;
    }

    req = (bk_cert_request_t) {
        .kind = BK_CERT_UPSTREAM,
        .cn = BK_STR("buildkit-gateway-probe"),
        .names = BK_STR(""),
        .csr = BK_STR(""),
        .spki = BK_STR(""),
        .not_after_ms = now + BK_PROBE_CERT_LIFE
    };

    if (h->cert_issue(h, &req, &cert, err) != 0) {
        return -1;
    }

    ctx = SSL_CTX_new(TLS_client_method());

    if (ctx == NULL
        || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1
        || SSL_CTX_set_alpn_protos(ctx, (const unsigned char *) "\x02h2", 3)
           != 0
        || bk_probe_use(ctx, &cert) != 0)
    {
        SSL_CTX_free(ctx);
        return bk_fail(err, 500, "TlsFailed", NULL,
                       "the probes' certificate cannot be used: %s",
                       ERR_reason_error_string(ERR_peek_last_error()));
    }

    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    (void) SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);

    SSL_CTX_free(p->tls);
    p->tls = ctx;
    p->tls_until_ms = req.not_after_ms;

    return 0;
}


/* While an authority is being replaced there are two, and a certificate is
 * followed by what leads to the old one. */

static int
bk_probe_use(SSL_CTX *ctx, const bk_cert_t *cert)
{
    int        n, rc;
    BIO       *own, *ca, *bio;
    X509      *x;
    EVP_PKEY  *key;

    rc = -1;
    key = NULL;
    own = BIO_new_mem_buf(cert->cert.data, (int) cert->cert.len);
    ca = BIO_new_mem_buf(cert->ca.data, (int) cert->ca.len);
    bio = BIO_new_mem_buf(cert->key.data, (int) cert->key.len);

    if (own == NULL || ca == NULL || bio == NULL) {
        goto done;
    }

    key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);

    for (n = 0; (x = PEM_read_bio_X509(own, NULL, NULL, NULL)) != NULL; n++) {
        rc = n == 0 ? SSL_CTX_use_certificate(ctx, x)
                    : (int) SSL_CTX_add1_chain_cert(ctx, x);
        X509_free(x);

        if (rc != 1) {
            rc = -1;
            goto done;
        }
    }

    while ((x = PEM_read_bio_X509(ca, NULL, NULL, NULL)) != NULL) {
        (void) X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), x);
        X509_free(x);
    }

    rc = n > 0 && key != NULL && SSL_CTX_use_PrivateKey(ctx, key) == 1 ? 0
                                                                       : -1;

    if (rc == 0) {
        /* how a text ends that has no more */
        ERR_clear_error();
    }

done:

    BIO_free(own);
    BIO_free(ca);
    BIO_free(bio);
    EVP_PKEY_free(key);

    return rc;
}


bk_probe_t *
bk_probe_start(bk_process_t *p, const char *tls_name, uint16_t port,
    uint64_t timeout_ms, bk_probe_pt done, void *data)
{
    bk_probe_t  *b;

    b = bk_probe_new(p, tls_name, "/moby.buildkit.v1.Control/ListWorkers",
                     done, data);

    return bk_probe_begin(b, port, timeout_ms);
}


/*
 * PruneRequest.minFreeSpace, field 6, a varint; buildkitd before 0.17 does
 * not know it and removes all that is not in use.
 */

bk_probe_t *
bk_probe_prune(bk_process_t *p, const char *tls_name, uint16_t port,
    uint64_t free_bytes, uint64_t timeout_ms, bk_probe_pt done, void *data)
{
    uint8_t     *out;
    bk_probe_t  *b;

    b = bk_probe_new(p, tls_name, "/moby.buildkit.v1.Control/Prune", done,
                     data);
    b->max = BK_PRUNE_MAX;

    if (free_bytes != 0) {
        out = b->body + BK_GRPC_HEAD;
        *out++ = 6 << 3;

        for ( /* void */ ; free_bytes > 0x7f; free_bytes >>= 7) {
            *out++ = (uint8_t) (free_bytes | 0x80);
        }

        *out++ = (uint8_t) free_bytes;

        b->body_len = (size_t) (out - b->body);
        b->body[BK_GRPC_HEAD - 1] = (uint8_t) (b->body_len - BK_GRPC_HEAD);
    }

    return bk_probe_begin(b, port, timeout_ms);
}


/* With an empty message: not compressed, no bytes. */

static bk_probe_t *
bk_probe_new(bk_process_t *p, const char *tls_name, const char *path,
    bk_probe_pt done, void *data)
{
    bk_probe_t  *b;

    b = calloc(1, sizeof(bk_probe_t));

    if (b == NULL) {
        abort();
    }

    b->p = p;
    b->done = done;
    b->data = data;
    b->fd = -1;
    b->path = path;
    b->body_len = BK_GRPC_HEAD;
    b->max = BK_PROBE_MAX;
    b->timer = p->host->timer_new(p->host, bk_probe_late, b);
    (void) snprintf(b->name, sizeof(b->name), "%s", tls_name);

    return b;
}


static bk_probe_t *
bk_probe_begin(bk_probe_t *b, uint16_t port, uint64_t timeout_ms)
{
    bk_err_t       err;
    bk_process_t  *p;

    p = b->p;

    if (bk_probe_setup(p, &err) != 0) {
        bk_text_clean(b->error, sizeof(b->error), "%s", err.text);

    } else if (bk_probe_connect(b, port) == 0) {
        p->host->timer_set(b->timer, timeout_ms);
        return b;
    }

    /* the caller does not expect to be called from here */
    b->stage = BK_PROBE_OVER;
    p->host->timer_set(b->timer, 0);

    return b;
}


static int
bk_probe_connect(bk_probe_t *b, uint16_t port)
{
    int                 rc;
    struct sockaddr_in  sin;

    b->fd = socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);

    if (b->fd == -1) {
        bk_text_clean(b->error, sizeof(b->error), "socket: %s",
                      strerror(errno));
        return -1;
    }

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sin.sin_port = htons(port);

    rc = connect(b->fd, (struct sockaddr *) &sin, sizeof(sin));

    if (rc == -1 && errno != EINPROGRESS) {
        bk_text_clean(b->error, sizeof(b->error), "connect: %s",
                      strerror(errno));
        return -1;
    }

    b->watch = b->p->host->watch_new(b->p->host, b->fd, BK_WRITE,
                                     bk_probe_ready, b);

    return 0;
}


void
bk_probe_free(bk_probe_t **probe)
{
    bk_probe_t  *b;

    b = *probe;
    *probe = NULL;

    if (b == NULL) {
        return;
    }

    nghttp2_session_del(b->h2);

    if (b->watch != NULL) {
        b->p->host->watch_free(&b->watch);
    }

    b->p->host->timer_free(&b->timer);
    SSL_free(b->ssl);

    if (b->fd != -1) {
        (void) close(b->fd);
    }

    free(b);
}


static void
bk_probe_late(void *data)
{
    bk_probe_t *b = data;

    static const char  *what[] = {
        "it does not take connections", "the TLS handshake does not end",
        "a call is not answered"
    };

    if (b->stage != BK_PROBE_OVER) {
        bk_text_clean(b->error, sizeof(b->error), "%s", what[b->stage]);
    }

    bk_probe_over(b);
}


/* The owner frees the probe in done(): nothing is touched after it. */

static void
bk_probe_over(bk_probe_t *b)
{
    char  error[BK_PROBE_TEXT];

    b->stage = BK_PROBE_OVER;

    if (b->error[0] == '\0') {
        /* in order, so that the worker's log stays clean */
        (void) nghttp2_session_terminate_session(b->h2, NGHTTP2_NO_ERROR);
        (void) nghttp2_session_send(b->h2);
        (void) SSL_shutdown(b->ssl);
        ERR_clear_error();
        b->done(b->data, NULL);
        return;
    }

    (void) snprintf(error, sizeof(error), "%s", b->error);
    b->done(b->data, error);
}


static void
bk_probe_ready(int fd, int events, void *data)
{
    bk_probe_t *b = data;

    int        error, rc;
    socklen_t  len;

    (void) events;

    if (b->stage == BK_PROBE_CONNECT) {
        error = 0;
        len = sizeof(error);

        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0) {
            error = errno;
        }

        if (error != 0) {
            bk_text_clean(b->error, sizeof(b->error), "%s", strerror(error));
            bk_probe_over(b);
            return;
        }

        b->stage = BK_PROBE_TLS;
    }

    rc = 0;
    b->write = 0;

    if (b->stage == BK_PROBE_TLS) {
        rc = bk_probe_tls(b);
    }

    if (rc == 0 && b->stage == BK_PROBE_CALL) {
        rc = bk_probe_call(b);
    }

    if (rc != 0) {
        bk_probe_over(b);
        return;
    }

    b->p->host->watch_set(b->watch, BK_READ | (b->write ? BK_WRITE : 0));
}


/* 0: goes on, in the next stage or when the socket is ready. */

static int
bk_probe_tls(bk_probe_t *b)
{
    int                   rc;
    unsigned              len;
    const unsigned char  *alpn;

    if (b->ssl == NULL) {
        b->ssl = SSL_new(b->p->tls);

        if (b->ssl == NULL || SSL_set_fd(b->ssl, b->fd) != 1
            || SSL_set1_host(b->ssl, b->name) != 1
            || SSL_set_tlsext_host_name(b->ssl, b->name) != 1)
        {
            bk_probe_tls_error(b, "TLS", -1);
            return -1;
        }
    }

    ERR_clear_error();
    rc = SSL_connect(b->ssl);

    if (rc != 1) {
        switch (SSL_get_error(b->ssl, rc)) {
        case SSL_ERROR_WANT_READ:
            return 0;

        case SSL_ERROR_WANT_WRITE:
            b->write = 1;
            return 0;

        default:
            bk_probe_tls_error(b, "TLS handshake", rc);
            return -1;
        }
    }

    /* old buildkitds select nothing and speak h2 all the same */
    SSL_get0_alpn_selected(b->ssl, &alpn, &len);

    if (len != 0 && (len != 2 || memcmp(alpn, "h2", 2) != 0)) {
        bk_text_clean(b->error, sizeof(b->error), "it does not speak h2");
        return -1;
    }

    b->stage = BK_PROBE_CALL;

    return bk_probe_request(b);
}


void
bk_probe_tls_error(bk_probe_t *b, const char *what, int rc)
{
    int            saved;
    long           verify;
    const char    *text;
    unsigned long  code;

    saved = errno;
    code = ERR_peek_last_error();
    verify = b->ssl == NULL ? X509_V_OK : SSL_get_verify_result(b->ssl);

    if (verify != X509_V_OK) {
        text = X509_verify_cert_error_string(verify);

    } else if (code != 0) {
        text = ERR_reason_error_string(code);

    } else if (rc == 0 || saved == 0) {
        text = "the connection was closed";

    } else {
        text = strerror(saved);
    }

    bk_text_clean(b->error, sizeof(b->error), "%s: %s", what,
                  text == NULL ? "unknown error" : text);
    ERR_clear_error();

    /* the next one is made with the authorities of then */
    b->p->tls_until_ms = 0;
}
