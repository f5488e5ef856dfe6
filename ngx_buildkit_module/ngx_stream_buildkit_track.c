
/*
 * Follows the frames of a live connection, both ways: where the next frame
 * begins towards the client, which streams the client opened, which of them
 * have not ended yet, and whether a build is among them.
 *
 * Called by the filter with every byte that it hands on, in whichever pieces.
 * Reads only.  A side that does not keep to the protocol turns it off for
 * good: nothing that was concluded before is believed then.
 */


#include "ngx_stream_buildkit_parse.h"

#include <string.h>


#define NGX_STREAM_BUILDKIT_TRACK_BIT(i)  ((uint64_t) 1 << ((i) & 63))


static uint64_t *ngx_stream_buildkit_track_word(uint64_t *words, uint32_t i);
static void ngx_stream_buildkit_track_open(ngx_stream_buildkit_track_t *t,
    uint32_t before, uint32_t stream);
static void ngx_stream_buildkit_track_end(ngx_stream_buildkit_track_t *t,
    uint32_t stream);
static void ngx_stream_buildkit_track_said(ngx_stream_buildkit_track_t *t,
    const ngx_stream_buildkit_h2_t *h2);


void
ngx_stream_buildkit_track_init(ngx_stream_buildkit_track_t *t)
{
    memset(t, 0, sizeof(ngx_stream_buildkit_track_t));

    t->up.every = 1;

    t->down.every = 1;
    t->down.preface = NGX_STREAM_BUILDKIT_H2_PREFACE_LEN;
}


void
ngx_stream_buildkit_track_up(ngx_stream_buildkit_track_t *t,
    unsigned char *p, unsigned char *last)
{
    uint32_t                   before;
    ngx_stream_buildkit_h2_t  *h2;

    h2 = &t->up;

    while (p < last && !t->off) {
        before = h2->last;

        switch (ngx_stream_buildkit_h2_parse(h2, &p, last)) {

        case ngx_stream_buildkit_h2_again:
            return;

        case ngx_stream_buildkit_h2_headers:
            ngx_stream_buildkit_track_open(t, before, h2->stream);
            ngx_stream_buildkit_track_said(t, h2);

            if (!t->asked) {
                t->asked = 1;
                t->timeout = (h2->block & NGX_STREAM_BUILDKIT_H2_TIMEOUT) != 0;
            }

            if (h2->block & NGX_STREAM_BUILDKIT_H2_SESSION) {
                t->session = 1;
            }

            break;

        case ngx_stream_buildkit_h2_frame_end:
            if (h2->type == NGX_STREAM_BUILDKIT_H2_RST_STREAM) {
                ngx_stream_buildkit_track_end(t, h2->stream);
            }

            ngx_stream_buildkit_track_said(t, h2);

            break;

        case ngx_stream_buildkit_h2_ping:
            break;

        default: /* ngx_stream_buildkit_h2_error */
            t->off = 1;
        }
    }
}


unsigned char *
ngx_stream_buildkit_track_down(ngx_stream_buildkit_track_t *t,
    unsigned char *p, unsigned char *last, int stop)
{
    ngx_stream_buildkit_h2_t  *h2;

    h2 = &t->down;

    while (p < last && !t->off) {

        switch (ngx_stream_buildkit_h2_parse(h2, &p, last)) {

        case ngx_stream_buildkit_h2_again:
            return p;

        case ngx_stream_buildkit_h2_error:
            t->off = 1;
            return last;

        default:
            t->answered = 1;
        }

        switch (h2->type) {

        case NGX_STREAM_BUILDKIT_H2_DATA:
        case NGX_STREAM_BUILDKIT_H2_HEADERS:
            if (h2->flags & NGX_STREAM_BUILDKIT_H2_END_STREAM) {
                ngx_stream_buildkit_track_end(t, h2->stream);
            }

            break;

        case NGX_STREAM_BUILDKIT_H2_RST_STREAM:
            ngx_stream_buildkit_track_end(t, h2->stream);
            break;
        }

        if (stop && ngx_stream_buildkit_h2_boundary(h2)) {
            return p;
        }
    }

    return last;
}


/* by the number of the odd stream: 1, 3, 5 ... are 0, 1, 2 ... */

static uint64_t *
ngx_stream_buildkit_track_word(uint64_t *words, uint32_t i)
{
    return &words[i % NGX_STREAM_BUILDKIT_TRACK_STREAMS / 64];
}


static void
ngx_stream_buildkit_track_open(ngx_stream_buildkit_track_t *t,
    uint32_t before, uint32_t stream)
{
    uint32_t   i, n, top;
    uint64_t  *word;

    top = stream / 2;

    /* makes room: who was there before is older than what is kept */

    i = before ? before / 2 + 1 : 0;

    if (top - i >= NGX_STREAM_BUILDKIT_TRACK_STREAMS) {
        i = top - NGX_STREAM_BUILDKIT_TRACK_STREAMS + 1;
    }

    for (n = top - i + 1; n; n--, i++) {
        word = ngx_stream_buildkit_track_word(t->open, i);

        if (*word & NGX_STREAM_BUILDKIT_TRACK_BIT(i)) {
            *word &= ~NGX_STREAM_BUILDKIT_TRACK_BIT(i);
            t->nolder++;
        }
    }

    *ngx_stream_buildkit_track_word(t->open, top) |=
                                          NGX_STREAM_BUILDKIT_TRACK_BIT(top);
    *ngx_stream_buildkit_track_word(t->talk, top) |=
                                          NGX_STREAM_BUILDKIT_TRACK_BIT(top);
    t->nopen++;
}


/* a frame of the client's: is it the last one of its stream? */

static void
ngx_stream_buildkit_track_said(ngx_stream_buildkit_track_t *t,
    const ngx_stream_buildkit_h2_t *h2)
{
    uint32_t  i;

    if ((h2->type != NGX_STREAM_BUILDKIT_H2_DATA
         && h2->type != NGX_STREAM_BUILDKIT_H2_HEADERS)
        || !(h2->flags & NGX_STREAM_BUILDKIT_H2_END_STREAM)
        || !(h2->stream & 1) || h2->stream > h2->last)
    {
        return;
    }

    i = h2->stream / 2;

    if (h2->last / 2 - i < NGX_STREAM_BUILDKIT_TRACK_STREAMS) {
        *ngx_stream_buildkit_track_word(t->talk, i) &=
                                           ~NGX_STREAM_BUILDKIT_TRACK_BIT(i);
    }
}


int
ngx_stream_buildkit_track_talks(const ngx_stream_buildkit_track_t *t)
{
    uint32_t  n;

    for (n = 0; n < NGX_STREAM_BUILDKIT_TRACK_STREAMS / 64; n++) {
        if (t->open[n] & t->talk[n]) {
            return 1;
        }
    }

    return 0;
}


static void
ngx_stream_buildkit_track_end(ngx_stream_buildkit_track_t *t, uint32_t stream)
{
    uint32_t   i, top;
    uint64_t  *word;

    if (!(stream & 1) || stream > t->up.last) {
        return;
    }

    i = stream / 2;
    top = t->up.last / 2;

    if (top - i >= NGX_STREAM_BUILDKIT_TRACK_STREAMS) {

        if (t->nolder) {
            t->nolder--;
            t->nopen--;
        }

        return;
    }

    word = ngx_stream_buildkit_track_word(t->open, i);

    if (*word & NGX_STREAM_BUILDKIT_TRACK_BIT(i)) {
        *word &= ~NGX_STREAM_BUILDKIT_TRACK_BIT(i);
        t->nopen--;
    }
}
