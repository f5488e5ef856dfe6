
/*
 * Just as much HTTP/2 as it takes to refuse a client, at once or amid a
 * build: the preface, frame headers, which stream a header block opens and
 * where the block ends; and frames and literal header fields to answer with.
 *
 * Called by the reply with the bytes of a client that is being refused, and
 * by the tracker with those of both sides of a live connection.  Decodes no
 * HPACK, keeps no stream states, skips payloads unread but for two strings
 * that header blocks are searched for.  Must survive anything: the client
 * may be verified, its program is not.
 */


#include "ngx_stream_buildkit_parse.h"

#include <string.h>


/* what every peer may send unless it was told otherwise */
#define NGX_STREAM_BUILDKIT_FRAME_MAX    16384


static int ngx_stream_buildkit_h2_begin(ngx_stream_buildkit_h2_t *h2);
static ngx_stream_buildkit_h2_e ngx_stream_buildkit_h2_end(
    ngx_stream_buildkit_h2_t *h2);
static void ngx_stream_buildkit_h2_search(ngx_stream_buildkit_h2_t *h2,
    const unsigned char *p, size_t n);


/*
 * Strings as HPACK has them, Huffman-coded, with their length in front: what
 * every gRPC library sends the first time, and after that an index that is
 * not followed here.  The first byte of neither comes again in it, so that a
 * search needs not step back.
 */

/* the name "grpc-timeout" */
static const unsigned char  ngx_stream_buildkit_h2_timeout[] = {
    0x89, 0x9a, 0xca, 0xc8, 0xb2, 0x4d, 0x49, 0x4f, 0x6a, 0x7f
};

/* the path "/moby.buildkit.v1.Control/Session" */
static const unsigned char  ngx_stream_buildkit_h2_session[] = {
    0x98, 0x62, 0x93, 0xc7, 0xe9, 0x78, 0xed, 0x35, 0x12, 0x75, 0x32, 0x57,
    0xee, 0x15, 0xef, 0x1e, 0xa4, 0xd8, 0x7a, 0x18, 0xdc, 0x54, 0x20, 0xc7,
    0xab
};


ngx_stream_buildkit_h2_e
ngx_stream_buildkit_h2_parse(ngx_stream_buildkit_h2_t *h2,
    unsigned char **pos, unsigned char *last)
{
    size_t                     n, left;
    unsigned char             *p;
    ngx_stream_buildkit_h2_e   rc;

    p = *pos;

    while (p < last) {
        left = (size_t) (last - p);

        if (h2->preface < NGX_STREAM_BUILDKIT_H2_PREFACE_LEN) {
            n = NGX_STREAM_BUILDKIT_H2_PREFACE_LEN - h2->preface;
            n = (n < left) ? n : left;

            if (memcmp(p, &NGX_STREAM_BUILDKIT_H2_PREFACE[h2->preface], n)
                != 0)
            {
                return ngx_stream_buildkit_h2_error;
            }

            h2->preface += (uint32_t) n;
            p += n;
            continue;
        }

        if (h2->head < sizeof(h2->frame)) {
            n = sizeof(h2->frame) - h2->head;
            n = (n < left) ? n : left;

            memcpy(&h2->frame[h2->head], p, n);
            h2->head += (uint32_t) n;
            p += n;

            if (h2->head < sizeof(h2->frame)) {
                break;
            }

            if (!ngx_stream_buildkit_h2_begin(h2)) {
                return ngx_stream_buildkit_h2_error;
            }

        } else {
            n = (h2->rest < left) ? h2->rest : left;

            if (h2->type == NGX_STREAM_BUILDKIT_H2_PING) {
                memcpy(&h2->ping[h2->npayload], p, n);
                h2->npayload += (uint32_t) n;

            } else if (h2->type == NGX_STREAM_BUILDKIT_H2_HEADERS
                       || h2->type == NGX_STREAM_BUILDKIT_H2_CONTINUATION)
            {
                ngx_stream_buildkit_h2_search(h2, p, n);
            }

            h2->rest -= (uint32_t) n;
            p += n;
        }

        if (h2->rest) {
            continue;
        }

        h2->head = 0;
        rc = ngx_stream_buildkit_h2_end(h2);

        if (rc == ngx_stream_buildkit_h2_again && h2->every) {
            rc = ngx_stream_buildkit_h2_frame_end;
        }

        if (rc != ngx_stream_buildkit_h2_again) {
            *pos = p;
            return rc;
        }
    }

    *pos = p;

    return ngx_stream_buildkit_h2_again;
}


/* a frame header is complete; 0: the client broke the protocol */

static int
ngx_stream_buildkit_h2_begin(ngx_stream_buildkit_h2_t *h2)
{
    unsigned char  *f;

    f = h2->frame;

    h2->rest = (uint32_t) f[0] << 16 | (uint32_t) f[1] << 8 | f[2];
    h2->type = f[3];
    h2->flags = f[4];
    h2->stream = (uint32_t) (f[5] & 0x7f) << 24 | (uint32_t) f[6] << 16
                 | (uint32_t) f[7] << 8 | f[8];
    h2->npayload = 0;

    if (h2->rest > NGX_STREAM_BUILDKIT_FRAME_MAX) {
        return 0;
    }

    /* nothing may come between a header block and its continuation */

    if ((h2->type == NGX_STREAM_BUILDKIT_H2_CONTINUATION) != (h2->open != 0)
        || (h2->open && h2->stream != h2->open))
    {
        return 0;
    }

    switch (h2->type) {

    case NGX_STREAM_BUILDKIT_H2_HEADERS:
        h2->block = 0;
        h2->ntimeout = 0;
        h2->nsession = 0;

        return (h2->stream & 1) != 0;

    case NGX_STREAM_BUILDKIT_H2_PING:
        return h2->stream == 0 && h2->rest == sizeof(h2->ping);

    case NGX_STREAM_BUILDKIT_H2_SETTINGS:
        return h2->stream == 0 && h2->rest % 6 == 0;

    default:
        return 1;
    }
}


/* a frame is complete */

static ngx_stream_buildkit_h2_e
ngx_stream_buildkit_h2_end(ngx_stream_buildkit_h2_t *h2)
{
    switch (h2->type) {

    case NGX_STREAM_BUILDKIT_H2_PING:
        if (!(h2->flags & NGX_STREAM_BUILDKIT_H2_ACK)) {
            return ngx_stream_buildkit_h2_ping;
        }

        if (memcmp(h2->ping, NGX_STREAM_BUILDKIT_H2_MARK, sizeof(h2->ping))
            == 0)
        {
            h2->marked = 1;
        }

        return ngx_stream_buildkit_h2_again;

    case NGX_STREAM_BUILDKIT_H2_HEADERS:
        /* a second block of a stream is its trailers: it was answered */
        h2->fresh = h2->stream > h2->last;

        if (h2->fresh) {
            h2->last = h2->stream;
        }

        h2->open = h2->stream;

        /* fall through */

    case NGX_STREAM_BUILDKIT_H2_CONTINUATION:
        if (!(h2->flags & NGX_STREAM_BUILDKIT_H2_END_HEADERS)) {
            return ngx_stream_buildkit_h2_again;
        }

        h2->open = 0;

        return h2->fresh ? ngx_stream_buildkit_h2_headers
                         : ngx_stream_buildkit_h2_again;

    default:
        return ngx_stream_buildkit_h2_again;
    }
}


/* a part of a header block, of any size */

static void
ngx_stream_buildkit_h2_search(ngx_stream_buildkit_h2_t *h2,
    const unsigned char *p, size_t n)
{
    const unsigned char  *last;

    for (last = p + n; p < last; p++) {

        if (*p != ngx_stream_buildkit_h2_timeout[h2->ntimeout]) {
            h2->ntimeout = 0;
        }

        if (*p == ngx_stream_buildkit_h2_timeout[h2->ntimeout]
            && ++h2->ntimeout == sizeof(ngx_stream_buildkit_h2_timeout))
        {
            h2->block |= NGX_STREAM_BUILDKIT_H2_TIMEOUT;
            h2->ntimeout = 0;
        }

        if (*p != ngx_stream_buildkit_h2_session[h2->nsession]) {
            h2->nsession = 0;
        }

        if (*p == ngx_stream_buildkit_h2_session[h2->nsession]
            && ++h2->nsession == sizeof(ngx_stream_buildkit_h2_session))
        {
            h2->block |= NGX_STREAM_BUILDKIT_H2_SESSION;
            h2->nsession = 0;
        }
    }
}


int
ngx_stream_buildkit_h2_boundary(const ngx_stream_buildkit_h2_t *h2)
{
    return h2->head == 0 && h2->rest == 0 && h2->open == 0
           && (h2->preface == 0
               || h2->preface == NGX_STREAM_BUILDKIT_H2_PREFACE_LEN);
}


unsigned char *
ngx_stream_buildkit_h2_frame(unsigned char *p, unsigned type, unsigned flags,
    uint32_t stream, const unsigned char *payload, size_t len)
{
    *p++ = (unsigned char) (len >> 16);
    *p++ = (unsigned char) (len >> 8);
    *p++ = (unsigned char) len;
    *p++ = (unsigned char) type;
    *p++ = (unsigned char) flags;
    *p++ = (unsigned char) (stream >> 24);
    *p++ = (unsigned char) (stream >> 16);
    *p++ = (unsigned char) (stream >> 8);
    *p++ = (unsigned char) stream;

    if (len) {
        memcpy(p, payload, len);
    }

    return p + len;
}


/* a literal field that nobody puts in a table (RFC 7541, 6.2.2) */

unsigned char *
ngx_stream_buildkit_h2_literal(unsigned char *p, const char *name,
    const unsigned char *value, size_t len)
{
    size_t  n;

    n = strlen(name);

    *p++ = 0;
    *p++ = (unsigned char) n;
    memcpy(p, name, n);
    p += n;

    /* an integer with a prefix of 7 bits (RFC 7541, 5.1) */

    if (len < 127) {
        *p++ = (unsigned char) len;

    } else {
        *p++ = 127;

        for (n = len - 127; n >= 128; n /= 128) {
            *p++ = (unsigned char) (n % 128 + 128);
        }

        *p++ = (unsigned char) n;
    }

    memcpy(p, value, len);

    return p + len;
}
