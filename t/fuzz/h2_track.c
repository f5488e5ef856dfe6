/*
 * FUZZ_SOURCES: ngx_buildkit_module/ngx_stream_buildkit_track.c
 *               ngx_buildkit_module/ngx_stream_buildkit_h2.c
 * FUZZ_CFLAGS: -Ingx_buildkit_module
 * FUZZ_LIBS: -lcrypto
 */

/*
 * The tracker of live connections: whatever passes, in whichever pieces, it
 * stays inside of what it is given, concludes the same as from whole pieces,
 * and its boundaries are where a plain reader of frames finds them.
 *
 * The input is a capture: records of a byte (0: the client's, else the
 * worker's), a length in two bytes, and so many bytes.
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ngx_stream_buildkit_parse.h"


#define FUZZ_BOUNDARIES  4096


typedef struct {
    ngx_stream_buildkit_track_t  t;
    size_t                       down;      /* bytes of the worker so far */
    size_t                       n;
    size_t                       at[FUZZ_BOUNDARIES];
} fuzz_pass_t;


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_feed(const uint8_t *data, size_t size, unsigned seed,
    fuzz_pass_t *pass);
static void fuzz_down(fuzz_pass_t *pass, unsigned char *p, size_t n);
static void fuzz_check(fuzz_pass_t *pass);
static void fuzz_plain(const uint8_t *data, size_t size, fuzz_pass_t *pass);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned            i;
    static fuzz_pass_t  whole, pieces;

    fuzz_feed(data, size, 0, &whole);
    fuzz_plain(data, size, &whole);

    /* byte by byte takes its time */

    for (i = (size < 3000) ? 1 : 2; i < 4; i++) {
        fuzz_feed(data, size, i, &pieces);

        assert(whole.t.off == pieces.t.off);

        if (whole.t.off) {
            continue;
        }

        assert(memcmp(&whole.t, &pieces.t, sizeof(whole.t)) == 0);
        assert(whole.n == pieces.n);
        assert(memcmp(whole.at, pieces.at, whole.n * sizeof(size_t)) == 0);
    }

    return 0;
}


/* seed 0: records as they are, 1: byte by byte, else random pieces */

static void
fuzz_feed(const uint8_t *data, size_t size, unsigned seed, fuzz_pass_t *pass)
{
    size_t          n, done, len;
    unsigned        random;
    const uint8_t  *p;
    unsigned char  *copy;

    pass->down = 0;
    pass->n = 0;
    ngx_stream_buildkit_track_init(&pass->t);

    random = seed;

    while (size > 3) {
        p = data + 3;
        len = (size_t) data[1] << 8 | data[2];
        len = (len < size - 3) ? len : size - 3;

        for (done = 0; done < len; done += n) {
            random = random * 1103515245 + 12345;
            n = seed == 0 ? len : seed == 1 ? 1 : (random >> 16) % 700 + 1;
            n = (n < len - done) ? n : len - done;

            /* a copy of its own: the sanitizer sees each byte too far */

            copy = malloc(n);
            assert(copy != NULL);
            memcpy(copy, p + done, n);

            if (data[0]) {
                fuzz_down(pass, copy, n);

            } else {
                ngx_stream_buildkit_track_up(&pass->t, copy, copy + n);
            }

            assert(memcmp(copy, p + done, n) == 0);
            free(copy);
        }

        fuzz_check(pass);

        data += 3 + len;
        size -= 3 + len;
    }
}


static void
fuzz_down(fuzz_pass_t *pass, unsigned char *p, size_t n)
{
    unsigned char  *next, *last;

    for (last = p + n; p < last; p = next) {
        next = ngx_stream_buildkit_track_down(&pass->t, p, last, 1);

        assert(next > p && next <= last);

        pass->down += next - p;

        if (pass->t.off) {
            return;
        }

        if (ngx_stream_buildkit_h2_boundary(&pass->t.down)
            && pass->n < FUZZ_BOUNDARIES)
        {
            pass->at[pass->n++] = pass->down;
        }

        assert(next == last
               || ngx_stream_buildkit_h2_boundary(&pass->t.down));
    }
}


static void
fuzz_check(fuzz_pass_t *pass)
{
    uint32_t  i, n;

    for (n = 0, i = 0; i < NGX_STREAM_BUILDKIT_TRACK_STREAMS / 64; i++) {
        n += (uint32_t) __builtin_popcountll(pass->t.open[i]);
    }

    assert(pass->t.nopen == n + pass->t.nolder);
    assert(pass->t.up.last == 0 || (pass->t.up.last & 1));
    assert(pass->t.nopen <= pass->t.up.last / 2 + 1);
    assert(pass->t.asked || pass->t.nopen == 0);
}


/* the same boundaries, found the simple way */

static void
fuzz_plain(const uint8_t *data, size_t size, fuzz_pass_t *pass)
{
    int             block;
    size_t          n, len, at;
    uint8_t        *all, *f;

    all = malloc(size + 1);
    assert(all != NULL);

    for (n = 0; size > 3; data += 3 + len, size -= 3 + len) {
        len = (size_t) data[1] << 8 | data[2];
        len = (len < size - 3) ? len : size - 3;

        if (data[0]) {
            memcpy(all + n, data + 3, len);
            n += len;
        }
    }

    block = 0;
    at = 0;

    for (len = 0; len < pass->n; len++) {

        do {
            assert(at + 9 <= n);

            f = all + at;
            at += 9 + ((size_t) f[0] << 16 | (size_t) f[1] << 8 | f[2]);

            if (f[3] == 1 || f[3] == 9) {
                block = !(f[4] & 4);
            }

        } while (block);

        assert(at == pass->at[len]);
    }

    free(all);
}
