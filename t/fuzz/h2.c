/*
 * FUZZ_SOURCES: ngx_buildkit_module/ngx_stream_buildkit_h2.c
 * FUZZ_CFLAGS: -Ingx_buildkit_module
 * FUZZ_LIBS: -lcrypto
 */

/*
 * The frame parser of refused clients: whatever comes, in whichever pieces,
 * it stays inside of its input and says the same as for one piece.
 *
 * The first byte of the input chooses the size of the pieces.
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "ngx_stream_buildkit_parse.h"


#define FUZZ_EVENTS  64


typedef struct {
    uint32_t                  n;
    uint32_t                  stream[FUZZ_EVENTS];
    ngx_stream_buildkit_h2_e  rc[FUZZ_EVENTS];
} fuzz_events_t;


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_feed(const uint8_t *data, size_t size, size_t piece,
    fuzz_events_t *e);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t         piece;
    fuzz_events_t  whole, pieces;

    if (size < 2) {
        return 0;
    }

    piece = (size_t) data[0] + 1;

    fuzz_feed(data + 1, size - 1, size - 1, &whole);
    fuzz_feed(data + 1, size - 1, piece, &pieces);

    assert(memcmp(&whole, &pieces, sizeof(whole)) == 0);

    return 0;
}


static void
fuzz_feed(const uint8_t *data, size_t size, size_t piece, fuzz_events_t *e)
{
    size_t                     n, done;
    unsigned char             *copy, *pos, *last;
    ngx_stream_buildkit_h2_e   rc;
    ngx_stream_buildkit_h2_t   h2;

    memset(e, 0, sizeof(fuzz_events_t));
    memset(&h2, 0, sizeof(h2));

    for (done = 0; done < size; done += n) {
        n = (size - done < piece) ? size - done : piece;

        /* a copy of its own: the sanitizer sees each byte too far */

        copy = malloc(n);
        assert(copy != NULL);
        memcpy(copy, data + done, n);

        pos = copy;
        last = copy + n;

        while (pos < last) {
            rc = ngx_stream_buildkit_h2_parse(&h2, &pos, last);

            assert(pos >= copy && pos <= last);

            if (rc == ngx_stream_buildkit_h2_again) {
                assert(pos == last);
                break;
            }

            if (rc == ngx_stream_buildkit_h2_headers) {
                assert(h2.stream & 1);
                assert(h2.stream == h2.last);
            }

            if (e->n < FUZZ_EVENTS) {
                e->rc[e->n] = rc;
                e->stream[e->n] = h2.stream;
                e->n++;
            }

            if (rc == ngx_stream_buildkit_h2_error) {
                free(copy);
                return;
            }
        }

        free(copy);
    }
}
