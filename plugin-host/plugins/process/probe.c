/*
 * Does a worker work?  TCP, TLS with its certificate verified and its name
 * looked at, HTTP/2, and one real call that any buildkitd answers
 * (Control/ListWorkers) with grpc-status 0: what a build needs.
 *
 * A state machine on the host's loop: no call here waits, and the one
 * deadline of a probe covers all of it.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <nghttp2/nghttp2.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "process.h"


#define BK_PROBE_CERT_LIFE  (UINT64_C(7) * 24 * 3600 * BK_SECOND)
#define BK_PROBE_CERT_NEW   (UINT64_C(24) * 3600 * BK_SECOND)
#define BK_PROBE_MAX        65536       /* bytes of an answer */

enum {
    BK_PROBE_CONNECT = 0,
    BK_PROBE_TLS,
    BK_PROBE_CALL,
    BK_PROBE_OVER
};


struct bk_probe_s {
    bk_process_t     *p;
    bk_probe_pt       done;
    void             *data;
    int               fd;
    int               stage;
    int               write;        /* TLS wants to write */
    bk_watch_t       *watch;
    bk_timer_t       *timer;
    SSL              *ssl;
    nghttp2_session  *h2;
    char              name[BK_TABLE_TLS_NAME_LEN];
    char              status[8];    /* of HTTP */
    char              grpc[8];
    char              grpc_text[80];
    size_t            received;
    int               sent;         /* of the request's five bytes */
    char              error[BK_PROBE_TEXT];
};


static X509 *bk_probe_read_cert(bk_str_t pem);
static int bk_probe_use(SSL_CTX *ctx, const bk_cert_t *cert);
static int bk_probe_connect(bk_probe_t *b, uint16_t port);
static void bk_probe_ready(int fd, int events, void *data);
static void bk_probe_late(void *data);
static void bk_probe_over(bk_probe_t *b);
static int bk_probe_tls(bk_probe_t *b);
static void bk_probe_tls_error(bk_probe_t *b, const char *what, int rc);
static int bk_probe_request(bk_probe_t *b);
static int bk_probe_call(bk_probe_t *b);
static int bk_probe_verdict(bk_probe_t *b);
static ssize_t bk_probe_send(nghttp2_session *h2, const uint8_t *data,
    size_t len, int flags, void *user);
static ssize_t bk_probe_recv(nghttp2_session *h2, uint8_t *buf, size_t len,
    int flags, void *user);
static ssize_t bk_probe_body(nghttp2_session *h2, int32_t stream,
    uint8_t *buf, size_t len, uint32_t *flags, nghttp2_data_source *source,
    void *user);
static int bk_probe_header(nghttp2_session *h2, const nghttp2_frame *frame,
    const uint8_t *name, size_t name_len, const uint8_t *value,
    size_t value_len, uint8_t flags, void *user);
static int bk_probe_closed(nghttp2_session *h2, int32_t stream,
    uint32_t code, void *user);
static void bk_probe_keep(char *dst, size_t size, const uint8_t *value,
    size_t len);


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


static X509 *
bk_probe_read_cert(bk_str_t pem)
{
    BIO   *bio;
    X509  *x;

    bio = BIO_new_mem_buf(pem.data, (int) pem.len);

    if (bio == NULL) {
        return NULL;
    }

    x = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    BIO_free(bio);

    return x;
}


static int
bk_probe_use(SSL_CTX *ctx, const bk_cert_t *cert)
{
    int        rc;
    BIO       *bio;
    X509      *ca, *own;
    EVP_PKEY  *key;

    rc = -1;
    key = NULL;
    ca = bk_probe_read_cert(cert->ca);
    own = bk_probe_read_cert(cert->cert);
    bio = BIO_new_mem_buf(cert->key.data, (int) cert->key.len);

    if (bio != NULL) {
        key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
        BIO_free(bio);
    }

    if (ca != NULL && own != NULL && key != NULL
        && X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), ca) == 1
        && SSL_CTX_use_certificate(ctx, own) == 1
        && SSL_CTX_use_PrivateKey(ctx, key) == 1)
    {
        rc = 0;
    }

    X509_free(ca);
    X509_free(own);
    EVP_PKEY_free(key);

    return rc;
}


bk_probe_t *
bk_probe_start(bk_process_t *p, const char *tls_name, uint16_t port,
    uint64_t timeout_ms, bk_probe_pt done, void *data)
{
    bk_err_t     err;
    bk_probe_t  *b;

    b = calloc(1, sizeof(bk_probe_t));

    if (b == NULL) {
        abort();
    }

    b->p = p;
    b->done = done;
    b->data = data;
    b->fd = -1;
    b->timer = p->host->timer_new(p->host, bk_probe_late, b);
    (void) snprintf(b->name, sizeof(b->name), "%s", tls_name);

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


static void
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
}


#define BK_NV(name, value)                                                    \
    { (uint8_t *) (name), (uint8_t *) (value), sizeof(name) - 1,             \
      strlen(value), NGHTTP2_NV_FLAG_NONE }


static int
bk_probe_request(bk_probe_t *b)
{
    int                         rc;
    nghttp2_data_provider       body;
    nghttp2_session_callbacks  *cb;

    const nghttp2_nv  headers[] = {
        BK_NV(":method", "POST"),
        BK_NV(":scheme", "https"),
        BK_NV(":path", "/moby.buildkit.v1.Control/ListWorkers"),
        BK_NV(":authority", b->name),
        BK_NV("content-type", "application/grpc"),
        BK_NV("user-agent", "buildkit-gateway-probe"),
        BK_NV("te", "trailers")
    };

    if (nghttp2_session_callbacks_new(&cb) != 0) {
        abort();
    }

    nghttp2_session_callbacks_set_send_callback(cb, bk_probe_send);
    nghttp2_session_callbacks_set_recv_callback(cb, bk_probe_recv);
    nghttp2_session_callbacks_set_on_header_callback(cb, bk_probe_header);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb,
                                                           bk_probe_closed);

    rc = nghttp2_session_client_new(&b->h2, cb, b);
    nghttp2_session_callbacks_del(cb);

    if (rc != 0) {
        abort();
    }

    memset(&body, 0, sizeof(body));
    body.read_callback = bk_probe_body;

    rc = nghttp2_submit_settings(b->h2, NGHTTP2_FLAG_NONE, NULL, 0);

    if (rc == 0) {
        rc = nghttp2_submit_request(b->h2, NULL, headers,
                                    sizeof(headers) / sizeof(headers[0]),
                                    &body, NULL);
    }

    if (rc < 0) {
        bk_text_clean(b->error, sizeof(b->error), "HTTP/2: %s",
                      nghttp2_strerror(rc));
        return -1;
    }

    return 0;
}


/* An empty message of gRPC: not compressed, no bytes. */

static ssize_t
bk_probe_body(nghttp2_session *h2, int32_t stream, uint8_t *buf, size_t len,
    uint32_t *flags, nghttp2_data_source *source, void *user)
{
    (void) h2;
    (void) stream;
    (void) source;
    (void) user;

    if (len < 5) {
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }

    memset(buf, 0, 5);
    *flags |= NGHTTP2_DATA_FLAG_EOF;

    return 5;
}


static int
bk_probe_call(bk_probe_t *b)
{
    int  rc;

    rc = nghttp2_session_send(b->h2);

    if (rc == 0 && b->stage == BK_PROBE_CALL) {
        rc = nghttp2_session_recv(b->h2);
    }

    if (b->stage == BK_PROBE_OVER) {
        return bk_probe_verdict(b);
    }

    if (rc == 0) {
        /* answers to what came (SETTINGS) */
        rc = nghttp2_session_send(b->h2);
    }

    if (rc != 0) {
        if (b->error[0] == '\0') {
            bk_text_clean(b->error, sizeof(b->error), "%s",
                          rc == NGHTTP2_ERR_EOF ? "it closed the connection"
                          : rc == NGHTTP2_ERR_BAD_CLIENT_MAGIC
                            || rc == NGHTTP2_ERR_PROTO
                          ? "it does not speak HTTP/2"
                          : nghttp2_strerror(rc));
        }

        return -1;
    }

    if (!nghttp2_session_want_read(b->h2)
        && !nghttp2_session_want_write(b->h2))
    {
        bk_text_clean(b->error, sizeof(b->error), "it does not speak HTTP/2");
        return -1;
    }

    return 0;
}


/* Not 0 in any case: the probe is over, and b->error says how it went. */

static int
bk_probe_verdict(bk_probe_t *b)
{
    if (strcmp(b->grpc, "0") == 0 && strcmp(b->status, "200") == 0) {
        return 1;
    }

    if (b->grpc[0] == '\0') {
        bk_text_clean(b->error, sizeof(b->error),
                      "it answers with HTTP status %s and no gRPC status",
                      b->status[0] == '\0' ? "?" : b->status);

    } else {
        bk_text_clean(b->error, sizeof(b->error),
                      "it answers with gRPC status %s%s%s", b->grpc,
                      b->grpc_text[0] == '\0' ? "" : ": ", b->grpc_text);
    }

    return -1;
}


static ssize_t
bk_probe_send(nghttp2_session *h2, const uint8_t *data, size_t len,
    int flags, void *user)
{
    bk_probe_t *b = user;

    int  rc;

    (void) h2;
    (void) flags;

    ERR_clear_error();
    rc = SSL_write(b->ssl, data, (int) (len > 16384 ? 16384 : len));

    if (rc > 0) {
        return rc;
    }

    switch (SSL_get_error(b->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return NGHTTP2_ERR_WOULDBLOCK;

    case SSL_ERROR_WANT_WRITE:
        b->write = 1;
        return NGHTTP2_ERR_WOULDBLOCK;

    default:
        bk_probe_tls_error(b, "TLS", rc);
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
}


static ssize_t
bk_probe_recv(nghttp2_session *h2, uint8_t *buf, size_t len, int flags,
    void *user)
{
    bk_probe_t *b = user;

    int  rc;

    (void) h2;
    (void) flags;

    if (b->stage == BK_PROBE_OVER) {
        return NGHTTP2_ERR_WOULDBLOCK;
    }

    ERR_clear_error();
    rc = SSL_read(b->ssl, buf, (int) (len > 16384 ? 16384 : len));

    if (rc > 0) {
        b->received += (size_t) rc;

        if (b->received > BK_PROBE_MAX) {
            bk_text_clean(b->error, sizeof(b->error),
                          "its answer is too long");
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        }

        return rc;
    }

    switch (SSL_get_error(b->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return NGHTTP2_ERR_WOULDBLOCK;

    case SSL_ERROR_WANT_WRITE:
        b->write = 1;
        return NGHTTP2_ERR_WOULDBLOCK;

    case SSL_ERROR_ZERO_RETURN:
        return NGHTTP2_ERR_EOF;

    default:
        bk_probe_tls_error(b, "TLS", rc);
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
}


static void
bk_probe_keep(char *dst, size_t size, const uint8_t *value, size_t len)
{
    bk_text_clean(dst, size, "%.*s", (int) (len < size ? len : size),
                  (const char *) value);
}


static int
bk_probe_header(nghttp2_session *h2, const nghttp2_frame *frame,
    const uint8_t *name, size_t name_len, const uint8_t *value,
    size_t value_len, uint8_t flags, void *user)
{
    bk_probe_t *b = user;

    (void) h2;
    (void) frame;
    (void) flags;

#define BK_IS(text)                                                           \
    (name_len == sizeof(text) - 1 && memcmp(name, text, name_len) == 0)

    if (BK_IS(":status")) {
        bk_probe_keep(b->status, sizeof(b->status), value, value_len);

    } else if (BK_IS("grpc-status")) {
        bk_probe_keep(b->grpc, sizeof(b->grpc), value, value_len);

    } else if (BK_IS("grpc-message")) {
        bk_probe_keep(b->grpc_text, sizeof(b->grpc_text), value, value_len);
    }

#undef BK_IS

    return 0;
}


static int
bk_probe_closed(nghttp2_session *h2, int32_t stream, uint32_t code,
    void *user)
{
    bk_probe_t *b = user;

    (void) h2;
    (void) stream;
    (void) code;

    b->stage = BK_PROBE_OVER;

    return 0;
}
