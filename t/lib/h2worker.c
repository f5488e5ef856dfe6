/*
 * A stand-in worker that speaks HTTP/2: answers each request with HEADERS and
 * DATA "worker NAME\n", sends each later DATA frame (8 KiB at most) back once
 * it is whole, answers PINGs.  What it sends is cut into TLS records of random
 * length, so frames end anywhere in them.
 *
 *   h2worker --name N --listen ADDR:PORT --cert F --key F --ca F
 *
 * Prints "ready PORT" on stdout and ends when stdin does, so it never
 * outlives its test.  One thread, epoll.
 */

#include <getopt.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tls_server.h"


#define H2_PREFACE_LEN  24
#define H2_HEAD         9
#define H2_BUFFER       16384
#define H2_ROOM         1024            /* the most that one step adds */

#define H2_DATA         0
#define H2_HEADERS      1
#define H2_SETTINGS     4
#define H2_PING         6

#define H2_ACK          1
#define H2_END_HEADERS  4


typedef struct {
    server_conn_t  io;
    size_t         preface;             /* bytes seen */
    size_t         head;
    size_t         rest;                /* of the frame's payload */
    uint8_t        frame[H2_HEAD];
    size_t         in_pos, in_len;
    size_t         out_pos, out_ready, out_len;     /* ready: whole frames */
    uint8_t        in[H2_BUFFER];
    uint8_t        out[H2_BUFFER];
} h2_conn_t;


static void h2_accept(server_t *s);
static void h2_command(server_t *s);
static void h2_put(h2_conn_t *c, unsigned type, unsigned flags,
    const uint8_t *stream, const void *payload, size_t len);
static void h2_begin(server_t *s, h2_conn_t *c);
static int h2_parse(server_t *s, h2_conn_t *c);
static int h2_io(server_t *s, h2_conn_t *c);
static void h2_handle(server_t *s, void *conn);


static const struct option  h2_options[] = {
    { "name",   required_argument, NULL, 'n' },
    { "listen", required_argument, NULL, 'l' },
    { "cert",   required_argument, NULL, 'c' },
    { "key",    required_argument, NULL, 'k' },
    { "ca",     required_argument, NULL, 'a' },
    { NULL, 0, NULL, 0 }
};


int
main(int argc, char **argv)
{
    int       c;
    server_t  s;

    memset(&s, 0, sizeof(s));

    while ((c = getopt_long(argc, argv, "", h2_options, NULL)) != -1) {
        switch (c) {
        case 'n': s.name = optarg; break;
        case 'l': s.listen = optarg; break;
        case 'c': s.cert = optarg; break;
        case 'k': s.key = optarg; break;
        case 'a': s.ca = optarg; break;
        default: return 2;
        }
    }

    if (!s.name || !s.listen || !s.cert || !s.key || !s.ca
        || strlen(s.name) > 255)
    {
        fprintf(stderr, "h2worker: --name --listen --cert --key --ca\n");
        return 2;
    }

    signal(SIGPIPE, SIG_IGN);

    tls_raise_nofile();

    server_tls(&s);
    server_alpn(&s);
    SSL_CTX_set_num_tickets(s.ctx, 1);

    s.accept = h2_accept;
    s.command = h2_command;
    s.handle = h2_handle;
    server_run(&s);
}


static void
h2_accept(server_t *s)
{
    while (server_accept(s, sizeof(h2_conn_t)) != NULL) {
        /* void */
    }
}


static void
h2_command(server_t *s)
{
    char  byte;

    (void) s;

    if (read(STDIN_FILENO, &byte, 1) <= 0) {
        exit(0);
    }
}


static void
h2_put(h2_conn_t *c, unsigned type, unsigned flags, const uint8_t *stream,
    const void *payload, size_t len)
{
    uint8_t  *p;

    p = c->out + c->out_len;

    p[0] = (uint8_t) (len >> 16);
    p[1] = (uint8_t) (len >> 8);
    p[2] = (uint8_t) len;
    p[3] = (uint8_t) type;
    p[4] = (uint8_t) flags;
    memset(&p[5], 0, 4);

    if (stream != NULL) {
        memcpy(&p[5], stream, 4);
    }

    c->out_len += H2_HEAD;

    /* NULL: it follows */

    if (payload != NULL) {
        memcpy(p + H2_HEAD, payload, len);
        c->out_len += len;
    }
}


/* The head of a frame is complete. */

static void
h2_begin(server_t *s, h2_conn_t *c)
{
    int             n;
    char            text[300];
    const uint8_t  *stream;

    c->rest = (size_t) c->frame[0] << 16 | (size_t) c->frame[1] << 8
              | c->frame[2];
    stream = &c->frame[5];

    switch (c->frame[3]) {

    case H2_HEADERS:
        n = snprintf(text, sizeof(text), "worker %s\n", s->name);
        h2_put(c, H2_HEADERS, H2_END_HEADERS, stream, "\x88", 1);
        h2_put(c, H2_DATA, 0, stream, text, (size_t) n);
        break;

    case H2_DATA:
        h2_put(c, H2_DATA, 0, stream, NULL, c->rest);
        break;

    case H2_PING:
        h2_put(c, H2_PING, H2_ACK, NULL, NULL, c->rest);
        break;
    }
}


/* From in to out; -1: that was no client of HTTP/2. */

static int
h2_parse(server_t *s, h2_conn_t *c)
{
    int             echo;
    size_t          n;

    static const char  preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    while (c->in_pos < c->in_len && c->out_len + H2_ROOM < H2_BUFFER) {

        if (c->preface < H2_PREFACE_LEN) {
            if (c->in[c->in_pos++] != (uint8_t) preface[c->preface++]) {
                return -1;
            }

            if (c->preface == H2_PREFACE_LEN) {
                h2_put(c, H2_SETTINGS, 0, NULL, "", 0);
                c->out_ready = c->out_len;
            }

            continue;
        }

        if (c->head < H2_HEAD) {
            c->frame[c->head++] = c->in[c->in_pos++];

            if (c->head == H2_HEAD) {
                h2_begin(s, c);
            }

        } else {
            echo = c->frame[3] == H2_DATA || c->frame[3] == H2_PING;
            n = c->in_len - c->in_pos;
            n = n < c->rest ? n : c->rest;

            if (echo) {
                n = n < H2_ROOM ? n : H2_ROOM;
                memcpy(c->out + c->out_len, c->in + c->in_pos, n);
                c->out_len += n;
            }

            c->in_pos += n;
            c->rest -= n;
        }

        if (c->head == H2_HEAD && c->rest == 0) {
            c->head = 0;
        }

        if (c->head == 0) {
            c->out_ready = c->out_len;
        }
    }

    return 0;
}


/* Returns 0 when there is nothing to do now, -1: the connection is over. */

static int
h2_io(server_t *s, h2_conn_t *c)
{
    int     n;
    size_t  len;

    for ( ;; ) {
        if (h2_parse(s, c) != 0) {
            return -1;
        }

        while (c->out_pos < c->out_ready) {
            len = c->out_ready - c->out_pos;

            if (random() % 2) {
                len = 1 + (size_t) random() % len;
            }

            n = SSL_write(c->io.ssl, c->out + c->out_pos, (int) len);
            if (n <= 0) {
                return tls_again(s->epoll, c->io.ssl, n, c);
            }

            c->out_pos += (size_t) n;
        }

        memmove(c->out, c->out + c->out_pos, c->out_len - c->out_pos);
        c->out_len -= c->out_pos;
        c->out_pos = c->out_ready = 0;

        if (c->in_pos < c->in_len) {
            continue;
        }

        c->in_pos = c->in_len = 0;

        n = SSL_read(c->io.ssl, c->in, H2_BUFFER);
        if (n <= 0) {
            return tls_again(s->epoll, c->io.ssl, n, c);
        }

        c->in_len = (size_t) n;
    }
}


static void
h2_handle(server_t *s, void *conn)
{
    int         rc;
    h2_conn_t  *c;

    c = conn;

    if (!c->io.established) {
        rc = SSL_do_handshake(c->io.ssl);

        if (rc == 1) {
            c->io.established = 1;

        } else if (tls_again(s->epoll, c->io.ssl, rc, c) == 0) {
            return;
        }
    }

    if (c->io.established && h2_io(s, c) == 0) {
        return;
    }

    server_close(c);
}
