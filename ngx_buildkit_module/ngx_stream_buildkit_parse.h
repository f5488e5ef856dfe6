
/*
 * The two parsers of the module that read what strangers send: the token in
 * a client's certificate and the HTTP/2 frames of a client that is refused.
 *
 * They know neither nginx nor each other, allocate nothing and do no I/O, so
 * that t/fuzz/ can run them alone.  Hence a header of their own.
 */


#ifndef _NGX_STREAM_BUILDKIT_PARSE_H_INCLUDED_
#define _NGX_STREAM_BUILDKIT_PARSE_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include <openssl/x509.h>


/* the longest token that is read; ours have 43 characters */
#define NGX_STREAM_BUILDKIT_TOKEN_LEN  256


typedef enum {
    ngx_stream_buildkit_token_ok = 0,
    ngx_stream_buildkit_token_none,      /* carries no allocation */
    ngx_stream_buildkit_token_many,      /* more than one source */
    ngx_stream_buildkit_token_names,     /* more than one common name */
    ngx_stream_buildkit_token_invalid,   /* NUL, alphabet, unreadable SAN */
    ngx_stream_buildkit_token_length     /* empty or over the limit */
} ngx_stream_buildkit_token_e;


/*
 * Copies the only token of the certificate to buf, which has room for
 * NGX_STREAM_BUILDKIT_TOKEN_LEN bytes, and its length to *len.  There is no
 * terminating zero.  Both are unspecified for any result but ok.
 */
ngx_stream_buildkit_token_e ngx_stream_buildkit_token_parse(X509 *cert,
    unsigned char *buf, size_t *len);


#define NGX_STREAM_BUILDKIT_H2_HEAD          9   /* of a frame */

#define NGX_STREAM_BUILDKIT_H2_HEADERS       0x01
#define NGX_STREAM_BUILDKIT_H2_SETTINGS      0x04
#define NGX_STREAM_BUILDKIT_H2_PING          0x06
#define NGX_STREAM_BUILDKIT_H2_CONTINUATION  0x09

#define NGX_STREAM_BUILDKIT_H2_ACK           0x01
#define NGX_STREAM_BUILDKIT_H2_END_STREAM    0x01
#define NGX_STREAM_BUILDKIT_H2_END_HEADERS   0x04


typedef enum {
    ngx_stream_buildkit_h2_again = 0,    /* all input consumed */
    ngx_stream_buildkit_h2_headers,      /* a new stream waits: h2->stream */
    ngx_stream_buildkit_h2_ping,         /* to be answered: h2->ping */
    ngx_stream_buildkit_h2_error         /* not HTTP/2, or not in order */
} ngx_stream_buildkit_h2_e;


/* zeroed by the caller before the first call */
typedef struct {
    uint32_t       preface;      /* bytes of the preface that were seen */
    uint32_t       head;         /* bytes of the frame header in frame[] */
    uint32_t       rest;         /* bytes of the payload to come */
    uint32_t       stream;       /* of the frame; then of the event */
    uint32_t       last;         /* highest stream that was opened */
    uint32_t       open;         /* header block without its end: stream */
    uint32_t       fresh;        /* ... and whether it opens the stream */
    uint32_t       npayload;     /* bytes in ping[] */
    unsigned char  type;
    unsigned char  flags;
    unsigned char  frame[NGX_STREAM_BUILDKIT_H2_HEAD];
    unsigned char  ping[8];
} ngx_stream_buildkit_h2_t;


/*
 * Reads client bytes from *pos up to last, stops after each event with *pos
 * behind what was consumed.  After an error it must not be called again.
 */
ngx_stream_buildkit_h2_e ngx_stream_buildkit_h2_parse(
    ngx_stream_buildkit_h2_t *h2, unsigned char **pos, unsigned char *last);

/* write a frame, a literal header field, to p; both return its end */
unsigned char *ngx_stream_buildkit_h2_frame(unsigned char *p, unsigned type,
    unsigned flags, uint32_t stream, const unsigned char *payload, size_t len);
unsigned char *ngx_stream_buildkit_h2_literal(unsigned char *p,
    const char *name, const unsigned char *value, size_t len);


#endif /* _NGX_STREAM_BUILDKIT_PARSE_H_INCLUDED_ */
