/*
 * The call of a probe, over HTTP/2, and what is made of the answer: its
 * status.  What else it says is not looked at.
 */

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "probe_int.h"


#define BK_NV(name, value)                                                    \
    { (uint8_t *) (name), (uint8_t *) (value), sizeof(name) - 1,             \
      strlen(value), NGHTTP2_NV_FLAG_NONE }


static ssize_t bk_probe_body(nghttp2_session *h2, int32_t stream,
    uint8_t *buf, size_t len, uint32_t *flags, nghttp2_data_source *source,
    void *user);
static int bk_probe_verdict(bk_probe_t *b);
static ssize_t bk_probe_send(nghttp2_session *h2, const uint8_t *data, size_t
    len, int flags, void *user);
static ssize_t bk_probe_recv(nghttp2_session *h2, uint8_t *buf, size_t len,
    int flags, void *user);
static void bk_probe_keep(char *dst, size_t size, const uint8_t *value, size_t
    len);
static int bk_probe_header(nghttp2_session *h2, const nghttp2_frame *frame,
    const uint8_t *name, size_t name_len, const uint8_t *value, size_t
    value_len, uint8_t flags, void *user);
static int bk_probe_closed(nghttp2_session *h2, int32_t stream, uint32_t code,
    void *user);


int
bk_probe_request(bk_probe_t *b)
{
    int                         rc;
    nghttp2_data_provider       body;
    nghttp2_session_callbacks  *cb;

    const nghttp2_nv  headers[] = {
        BK_NV(":method", "POST"),
        BK_NV(":scheme", "https"),
        BK_NV(":path", b->path),
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


static ssize_t
bk_probe_body(nghttp2_session *h2, int32_t stream, uint8_t *buf, size_t len,
    uint32_t *flags, nghttp2_data_source *source, void *user)
{
    bk_probe_t *b = user;

    (void) h2;
    (void) stream;
    (void) source;

    if (len < b->body_len) {
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }

    memcpy(buf, b->body, b->body_len);
    *flags |= NGHTTP2_DATA_FLAG_EOF;

    return (ssize_t) b->body_len;
}


int
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

        if (b->received > b->max) {
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
