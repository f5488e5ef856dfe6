/*
 * Feeds captures to the module's frame tracker: as they were recorded, byte
 * by byte, and in random pieces; all must conclude the same.
 *
 *     h2track SEED FILE...
 *
 * A capture is records of a byte (0: the client's, else the worker's), a
 * length in two bytes, and so many bytes.  Prints a line for each: what was
 * concluded, and the boundaries in the worker's bytes.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../ngx_buildkit_module/ngx_stream_buildkit_h2.c"
#include "../../ngx_buildkit_module/ngx_stream_buildkit_track.c"


#define PASSES      300
#define BOUNDARIES  65536
#define FILE_MAX    (1024 * 1024)


typedef struct {
    ngx_stream_buildkit_track_t  t;
    size_t                       down;
    size_t                       n;
    size_t                       at[BOUNDARIES];
} track_pass_t;


static size_t  track_read(const char *name, unsigned char *data);
static void    track_feed(unsigned char *data, size_t size, int mode,
    track_pass_t *pass);
static void    track_down(track_pass_t *pass, unsigned char *p, size_t n);
static void    track_print(track_pass_t *pass);


int
main(int argc, char **argv)
{
    int                   i, mode;
    size_t                size;
    static track_pass_t   whole, pieces;
    static unsigned char  data[FILE_MAX], copy[FILE_MAX];

    if (argc < 3) {
        fprintf(stderr, "usage: h2track SEED FILE...\n");
        return 2;
    }

    srandom((unsigned) strtoul(argv[1], NULL, 10));

    for (i = 2; i < argc; i++) {
        size = track_read(argv[i], data);
        memcpy(copy, data, size);

        track_feed(data, size, 0, &whole);

        for (mode = 1; mode < PASSES; mode++) {
            track_feed(data, size, mode, &pieces);

            if (whole.t.off != pieces.t.off
                || (!whole.t.off
                    && (memcmp(&whole.t, &pieces.t, sizeof(whole.t)) != 0
                        || whole.n != pieces.n
                        || memcmp(whole.at, pieces.at,
                                  whole.n * sizeof(size_t)) != 0)))
            {
                printf("%s: pass %d differs\n", argv[i], mode);
                return 1;
            }
        }

        if (memcmp(copy, data, size) != 0) {
            printf("%s: a byte was changed\n", argv[i]);
            return 1;
        }

        track_print(&whole);
    }

    return 0;
}


static size_t
track_read(const char *name, unsigned char *data)
{
    FILE    *f;
    size_t   size;

    f = fopen(name, "rb");
    if (f == NULL) {
        perror(name);
        exit(2);
    }

    size = fread(data, 1, FILE_MAX, f);
    fclose(f);

    return size;
}


/* mode 0: records as they are, 1: byte by byte, else random pieces */

static void
track_feed(unsigned char *data, size_t size, int mode, track_pass_t *pass)
{
    size_t          n, done, len;
    unsigned char  *p;

    pass->down = 0;
    pass->n = 0;
    ngx_stream_buildkit_track_init(&pass->t);

    while (size > 3) {
        p = data + 3;
        len = (size_t) data[1] << 8 | data[2];
        len = (len < size - 3) ? len : size - 3;

        for (done = 0; done < len; done += n) {
            n = mode == 0 ? len
                : mode == 1 ? 1 : (size_t) random() % (1u << mode % 15) + 1;
            n = (n < len - done) ? n : len - done;

            if (data[0]) {
                track_down(pass, p + done, n);

            } else {
                ngx_stream_buildkit_track_up(&pass->t, p + done, p + done + n);
            }
        }

        data += 3 + len;
        size -= 3 + len;
    }
}


static void
track_down(track_pass_t *pass, unsigned char *p, size_t n)
{
    unsigned char  *next, *last;

    for (last = p + n; p < last; p = next) {
        next = ngx_stream_buildkit_track_down(&pass->t, p, last, 1);
        pass->down += next - p;

        if (!pass->t.off && ngx_stream_buildkit_h2_boundary(&pass->t.down)
            && pass->n < BOUNDARIES)
        {
            pass->at[pass->n++] = pass->down;
        }
    }
}


static void
track_print(track_pass_t *pass)
{
    size_t                        i;
    ngx_stream_buildkit_track_t  *t;

    t = &pass->t;

    printf("off=%u last=%u open=%u asked=%u timeout=%u session=%u at=", t->off,
           t->up.last, t->nopen, t->asked, t->timeout, t->session);

    for (i = 0; i < pass->n; i++) {
        printf("%s%zu", i ? "," : "", pass->at[i]);
    }

    printf("\n");
}
