
/*
 * The parsers of the module that read what strangers send: the token in a
 * client's certificate, and HTTP/2 frames: those of a client that is refused
 * or held, and those that pass by in both directions of a live connection.
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

#define NGX_STREAM_BUILDKIT_H2_PREFACE       "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define NGX_STREAM_BUILDKIT_H2_PREFACE_LEN   24

#define NGX_STREAM_BUILDKIT_H2_DATA          0x00
#define NGX_STREAM_BUILDKIT_H2_HEADERS       0x01
#define NGX_STREAM_BUILDKIT_H2_RST_STREAM    0x03
#define NGX_STREAM_BUILDKIT_H2_SETTINGS      0x04
#define NGX_STREAM_BUILDKIT_H2_PING          0x06
#define NGX_STREAM_BUILDKIT_H2_GOAWAY        0x07
#define NGX_STREAM_BUILDKIT_H2_CONTINUATION  0x09

#define NGX_STREAM_BUILDKIT_H2_ACK           0x01
#define NGX_STREAM_BUILDKIT_H2_END_STREAM    0x01
#define NGX_STREAM_BUILDKIT_H2_END_HEADERS   0x04

/* what a header block of the client holds: h2->block (wire.md) */
#define NGX_STREAM_BUILDKIT_H2_TIMEOUT       0x01    /* grpc-timeout */
#define NGX_STREAM_BUILDKIT_H2_SESSION       0x02    /* Control/Session */

/* what our own PING holds: 8 bytes that no library sends by itself */
#define NGX_STREAM_BUILDKIT_H2_MARK          "bkgw-cut"


typedef enum {
    ngx_stream_buildkit_h2_again = 0,    /* all input consumed */
    ngx_stream_buildkit_h2_headers,      /* a new stream waits: h2->stream */
    ngx_stream_buildkit_h2_ping,         /* to be answered: h2->ping */
    ngx_stream_buildkit_h2_frame_end,    /* any other, where h2->every */
    ngx_stream_buildkit_h2_error         /* not HTTP/2, or not in order */
} ngx_stream_buildkit_h2_e;


/*
 * Zeroed by the caller before the first call.  For the frames of a server,
 * which has no preface: preface is NGX_STREAM_BUILDKIT_H2_PREFACE_LEN.
 */
typedef struct {
    uint32_t       preface;      /* bytes of the preface that were seen */
    uint32_t       head;         /* bytes of the frame header in frame[] */
    uint32_t       rest;         /* bytes of the payload to come */
    uint32_t       stream;       /* of the frame; then of the event */
    uint32_t       last;         /* highest stream that was opened */
    uint32_t       open;         /* header block without its end: stream */
    uint32_t       fresh;        /* ... and whether it opens the stream */
    uint32_t       npayload;     /* bytes in ping[] */
    unsigned char  every;        /* by the caller: say each frame's end */
    unsigned char  block;        /* H2_TIMEOUT, H2_SESSION: header block */
    unsigned char  ntimeout;     /* bytes of what is looked for in it */
    unsigned char  nsession;
    unsigned char  marked;       /* our PING was answered */
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

/* whether another frame may be put in behind what was parsed */
int ngx_stream_buildkit_h2_boundary(const ngx_stream_buildkit_h2_t *h2);

/* the highest streams whose states are kept; of older ones there is a count */
#define NGX_STREAM_BUILDKIT_TRACK_STREAMS  1024


/* both sides of a live connection */
typedef struct {
    ngx_stream_buildkit_h2_t  up;           /* the client's bytes */
    ngx_stream_buildkit_h2_t  down;         /* the worker's */
    uint32_t                  nopen;        /* streams without an end */
    uint32_t                  nolder;       /* ... not in open[] any more */
    uint64_t                  open[NGX_STREAM_BUILDKIT_TRACK_STREAMS / 64];
    /* ... of which the client may say more */
    uint64_t                  talk[NGX_STREAM_BUILDKIT_TRACK_STREAMS / 64];
    unsigned char             off;          /* a side does not speak HTTP/2 */
    unsigned char             asked;        /* a first request is complete */
    unsigned char             timeout;      /* ... with grpc-timeout: a look */
    unsigned char             session;      /* a build's Session was opened */
    unsigned char             answered;     /* a frame of the worker ended */
} ngx_stream_buildkit_track_t;


void ngx_stream_buildkit_track_init(ngx_stream_buildkit_track_t *t);
void ngx_stream_buildkit_track_up(ngx_stream_buildkit_track_t *t,
    unsigned char *p, unsigned char *last);
/*
 * Returns where it stopped: at last, or, where stop is set, at the first
 * place where another frame may be put in.
 */
unsigned char *ngx_stream_buildkit_track_down(ngx_stream_buildkit_track_t *t,
    unsigned char *p, unsigned char *last, int stop);
/* whether there is a stream that both sides may say more on, as a build's
 * Session is; not known of those that are too old */
int ngx_stream_buildkit_track_talks(const ngx_stream_buildkit_track_t *t);

/* write a frame, a literal header field, to p; both return its end */
unsigned char *ngx_stream_buildkit_h2_frame(unsigned char *p, unsigned type,
    unsigned flags, uint32_t stream, const unsigned char *payload, size_t len);
unsigned char *ngx_stream_buildkit_h2_literal(unsigned char *p,
    const char *name, const unsigned char *value, size_t len);


#endif /* _NGX_STREAM_BUILDKIT_PARSE_H_INCLUDED_ */
