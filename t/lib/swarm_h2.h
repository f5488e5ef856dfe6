/*
 * What a client of swarm.c says, and what it reads of the answer, frame by
 * frame and byte by byte.
 */

#ifndef SWARM_H2_H_INCLUDED
#define SWARM_H2_H_INCLUDED

#include "swarm.h"


static void swarm_hello(swarm_conn_t *c);
static void swarm_frame(swarm_conn_t *c, unsigned type, unsigned flags,
    uint32_t stream, const void *payload, size_t len);
static void swarm_talk(swarm_conn_t *c);
static int swarm_bytes(swarm_t *s, swarm_conn_t *c, const uint8_t *p,
    size_t n);
static int swarm_begins(swarm_conn_t *c);
static int swarm_whole(swarm_t *s, swarm_conn_t *c);
static int swarm_status(swarm_t *s, swarm_conn_t *c);
static int swarm_literal(const swarm_conn_t *c, const char *name,
    char *value, size_t size);


/* Preface, SETTINGS, a request: as far as this one goes. */

static void
swarm_hello(swarm_conn_t *c)
{
    size_t             n;
    uint8_t            block[128];

    /* a timeout, or the path of a Session, as gRPC puts them */
    static const char  common[] = "\x83\x86\x40\x02te\x08trailers";
    static const char  timeout[] = "\x84\x40\x89\x9a\xca\xc8\xb2\x4d\x49\x4f"
                                   "\x6a\x7f\x03" "19S";
    static const char  session[] = "\x44\x98\x62\x93\xc7\xe9\x78\xed\x35\x12"
                                   "\x75\x32\x57\xee\x15\xef\x1e\xa4\xd8\x7a"
                                   "\x18\xdc\x54\x20\xc7\xab";

    if (c->kind == SWARM_MUTE) {
        return;
    }

    n = sizeof(common) - 1;
    memcpy(block, common, n);

    if (c->kind == SWARM_LOOK) {
        memcpy(block + n, timeout, sizeof(timeout) - 1);
        n += sizeof(timeout) - 1;

    } else if (c->kind == SWARM_BUILD) {
        memcpy(block + n, session, sizeof(session) - 1);
        n += sizeof(session) - 1;

    } else {
        block[n++] = 0x84;
    }

    memcpy(c->out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    c->out_len = 24;
    swarm_frame(c, 4, 0, 0, "", 0);
    swarm_frame(c, SWARM_HEADERS, 4, 1, block, n);

    if (c->kind == SWARM_LEAVE && c->step == SWARM_AT_HELLO) {
        c->out_len = (size_t) swarm_below((int) c->out_len);
    }
}


static void
swarm_frame(swarm_conn_t *c, unsigned type, unsigned flags, uint32_t stream,
    const void *payload, size_t len)
{
    uint8_t  *p;

    p = c->out + c->out_len;

    p[0] = (uint8_t) (len >> 16);
    p[1] = (uint8_t) (len >> 8);
    p[2] = (uint8_t) len;
    p[3] = (uint8_t) type;
    p[4] = (uint8_t) flags;
    p[5] = p[6] = p[7] = 0;
    p[8] = (uint8_t) stream;

    memcpy(p + SWARM_HEAD, payload, len);
    c->out_len += SWARM_HEAD + len;
}


/* A frame that the worker is to send back. */

static void
swarm_talk(swarm_conn_t *c)
{
    size_t   i, len;
    uint8_t  payload[SWARM_PAYLOAD];

    c->next = client_now() + 20000 + swarm_below(200000);

    if (c->out_len != 0 || c->sent != c->echoed) {
        return;
    }

    len = 1 + (size_t) swarm_below(SWARM_PAYLOAD);

    for (i = 0; i < len; i++) {
        payload[i] = (uint8_t) ((c->sent + i) * 131 + (uint64_t) c->serial);
    }

    c->sent += len;
    swarm_frame(c, SWARM_DATA, 0, 1, payload, len);
}


static int
swarm_bytes(swarm_t *s, swarm_conn_t *c, const uint8_t *p, size_t n)
{
    int      plain;
    size_t   i, len;

    for (i = 0; i < n; i += len) {

        if (c->head < SWARM_HEAD) {
            c->frame[c->head++] = p[i];
            len = 1;

            if (c->head == SWARM_HEAD && swarm_begins(c) != 0) {
                swarm_end(s, c, "wrong", NULL, "frame");
                return 0;
            }

        } else {
            len = n - i < c->rest ? n - i : c->rest;
            plain = c->frame[3] == SWARM_DATA && c->named;

            for (size_t j = 0; j < len; j++) {

                if (!plain) {
                    if (c->text_len < SWARM_TEXT - 1) {
                        c->text[c->text_len++] = (char) p[i + j];
                    }

                } else if (c->echoed >= c->sent
                           || p[i + j] != (uint8_t) (c->echoed * 131
                                                     + (uint64_t) c->serial))
                {
                    swarm_end(s, c, "wrong", NULL, "echo");
                    return 0;

                } else {
                    c->echoed++;
                }
            }

            c->rest -= len;
        }

        if (c->head == SWARM_HEAD && c->rest == 0) {
            c->head = 0;

            if (swarm_whole(s, c) == 0) {
                return 0;
            }
        }
    }

    return 1;
}


/* The head of a frame is there; -1: nobody sends such a one. */

static int
swarm_begins(swarm_conn_t *c)
{
    const uint8_t  *f;

    f = c->frame;
    c->rest = (size_t) f[0] << 16 | (size_t) f[1] << 8 | f[2];
    c->text_len = 0;

    if (c->rest > 16384 || f[5] || f[6] || f[7] || f[8] > 1) {
        return -1;
    }

    switch (f[3]) {

    case SWARM_DATA:
    case SWARM_HEADERS:
        return f[8] == 1 ? 0 : -1;

    case 4:                     /* SETTINGS */
    case SWARM_PING:
    case 7:                     /* GOAWAY */
        return f[8] == 0 ? 0 : -1;

    default:
        return -1;
    }
}


/* 0: the connection is over. */

static int
swarm_whole(swarm_t *s, swarm_conn_t *c)
{
    c->text[c->text_len] = '\0';

    if (c->frame[3] == SWARM_HEADERS && (c->frame[4] & 1)) {
        return swarm_status(s, c);
    }

    if (c->frame[3] == SWARM_PING && !(c->frame[4] & 1)
        && c->out_len < SWARM_OUT - 64)
    {
        swarm_frame(c, SWARM_PING, 1, 0, c->text, 8);
        return 1;
    }

    if (c->frame[3] != SWARM_DATA || c->named) {
        return 1;
    }

    if (sscanf(c->text, "worker %63s", c->worker) != 1) {
        swarm_end(s, c, "wrong", NULL, "name");
        return 0;
    }

    c->named = client_now();

    switch (c->kind) {

    case SWARM_STAY:
    case SWARM_BUILD:
        c->leaves = c->named + 100000 + swarm_below(2500000);
        c->next = c->named;
        return 1;

    case SWARM_LEAVE:
        return 1;

    default:
        swarm_end(s, c, "served", NULL, NULL);
        return 0;
    }
}


/* Our status: the connection was refused, or cut. */

static int
swarm_status(swarm_t *s, swarm_conn_t *c)
{
    char  *p, status[8], text[1024], which[80];

    static const char  ours[] = "buildkit gateway: ";

    if (swarm_literal(c, "grpc-status", status, sizeof(status)) != 0
        || swarm_literal(c, "grpc-message", text, sizeof(text)) != 0
        || strncmp(text, ours, sizeof(ours) - 1) != 0)
    {
        swarm_end(s, c, "wrong", NULL, "status");
        return 0;
    }

    for (p = text; *p; p++) {
        *p = isgraph((unsigned char) *p) ? *p : '_';
    }

    snprintf(which, sizeof(which), "%s%s%s", status, c->named ? "@" : "",
             c->worker);
    swarm_end(s, c, c->named ? "cut" : "refused", which,
              text + sizeof(ours) - 1);

    return 0;
}


/* The value of a literal field that is not Huffman-coded. */

static int
swarm_literal(const swarm_conn_t *c, const char *name, char *value,
    size_t size)
{
    size_t       len, n;
    const char  *p, *end;

    end = c->text + c->text_len;
    n = strlen(name);
    p = memmem(c->text, c->text_len, name, n);

    if (p == NULL || end - p < (ptrdiff_t) n + 1) {
        return -1;
    }

    p += n;
    len = (uint8_t) *p++;

    if (len == 127) {
        for (n = 0; p < end; n += 7) {
            len += (size_t) (*p & 127) << n;

            if (!(*p++ & 128)) {
                break;
            }
        }
    }

    if ((size_t) (end - p) < len || len >= size) {
        return -1;
    }

    memcpy(value, p, len);
    value[len] = '\0';

    return 0;
}

#endif /* SWARM_H2_H_INCLUDED */
