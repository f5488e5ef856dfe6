/*
 * FUZZ_SOURCES: plugin-host/src/duration.c plugin-host/plugins/oidc/text.c
 * FUZZ_CFLAGS: -Iplugin-host/plugins
 * FUZZ_LIBS: -ljansson
 */

/*
 * A duration: what is taken is within its limits, and means what its parts
 * mean together.  What is formatted, by the host or by oidc, is read as what
 * it was.
 */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bk_duration.h"
#include "oidc/text.h"


#define FUZZ_LONGEST  UINT64_C(3162240000000)   /* 100 years of 366 days */
#define FUZZ_LEN      32                        /* no more is taken */


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_text(const char *s, size_t size);
static int fuzz_parse(const char *s, size_t size, uint64_t *ms);
static void fuzz_format(uint64_t ms, size_t size);
static void fuzz_same(const char *s, uint64_t ms);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t  ms;

    if (size > 256) {
        return 0;
    }

    fuzz_text((const char *) data, size);

    if (size >= 9) {
        memcpy(&ms, data, sizeof(ms));
        fuzz_format(ms >> (data[8] & 63), data[8] >> 2);
    }

    return 0;
}


static void
fuzz_text(const char *s, size_t size)
{
    int       all, first, rest;
    size_t    n;
    uint64_t  a, b, c;

    all = fuzz_parse(s, size, &a);
    assert(all == 0 || all == -1);

    if (all == 0) {
        assert(a <= FUZZ_LONGEST && size > 0 && size <= FUZZ_LEN);
        fuzz_format(a, FUZZ_LEN);
    }

    /* cut in two where a part ends: each half is rounded */
    for (n = 1; n < size && size <= FUZZ_LEN; n++) {
        if (strchr("smhd", s[n - 1]) == NULL || s[n] < '0' || s[n] > '9') {
            continue;
        }

        first = fuzz_parse(s, n, &b);
        rest = fuzz_parse(s + n, size - n, &c);

        if (all == 0) {
            assert(first == 0 && rest == 0 && a <= b + c + 1 && b + c <= a + 1);

        } else {
            assert(first == -1 || rest == -1 || b + c + 1 > FUZZ_LONGEST
                   || (size - n == 1 && s[n] == '0'));
        }
    }
}


/* It takes a length: there is nothing behind it. */

static int
fuzz_parse(const char *s, size_t size, uint64_t *ms)
{
    int    rc;
    char  *copy;

    copy = malloc(size + (size == 0));
    assert(copy != NULL);
    memcpy(copy, s, size);

    rc = bk_duration_parse(copy, size, ms);
    free(copy);

    return rc;
}


static void
fuzz_format(uint64_t ms, size_t size)
{
    char  *buf, text[OIDC_DURATION];

    /* too small a buffer: cut, and never more than there is */
    size = size > 0 ? size : 1;
    buf = malloc(size);
    assert(buf != NULL);
    assert(bk_duration_format(ms, buf, size) == buf);
    assert(memchr(buf, '\0', size) != NULL);

    assert(oidc_duration(ms, text) == text);
    assert(memchr(text, '\0', sizeof(text)) != NULL);

    if (ms <= FUZZ_LONGEST) {
        fuzz_same(text, ms > 0 && ms < 1000 ? 1000 : ms / 1000 * 1000);
    }

    if (ms <= FUZZ_LONGEST && size >= FUZZ_LEN) {
        fuzz_same(buf, ms < 1000 ? ms : ms / 1000 * 1000);
    }

    free(buf);
}


static void
fuzz_same(const char *s, uint64_t ms)
{
    uint64_t  read;

    assert(fuzz_parse(s, strlen(s), &read) == 0 && read == ms);
}
