/*
 * FUZZ_SOURCES: plugin-host/src/duration.c plugin-host/plugins/oidc/text.c
 * FUZZ_CFLAGS: -Iplugin-host/plugins
 * FUZZ_LIBS: -ljansson -lcrypto
 */

/*
 * A duration, as the three parsers there are see it: the host's, the
 * allocator's (which knows "ns" and "us" too) and oidc's (whole numbers
 * only).  What two of them take means the same to both, and what is written
 * in the syntax that they share is taken by all or by none.  What is
 * formatted is read as what it was, by all of them.
 */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* the host's has the same name, and other parameters */
#define bk_duration_parse  bk_allocator_duration_parse
#include "allocator/token.c"
#undef bk_duration_parse

#include "duration.h"
#include "oidc/text.h"


#define FUZZ_DAY      UINT64_C(86400000)
#define FUZZ_CENTURY  (FUZZ_DAY * 365 * 100)    /* of the plugins */
#define FUZZ_LONGEST  (FUZZ_DAY * 366 * 100)    /* of the host */
#define FUZZ_LEN      32                        /* the host takes no more */
#define FUZZ_DIGITS   18                        /* nor the allocator */


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_text(const uint8_t *data, size_t size);
static int fuzz_host(const char *s, uint64_t *ms);
static int fuzz_shared(const char *s);
static void fuzz_format(uint64_t ms, size_t size);
static void fuzz_same(const char *s, uint64_t ms);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t  ms;

    if (size > 256) {
        return 0;
    }

    fuzz_text(data, size);

    if (size >= 9) {
        memcpy(&ms, data, sizeof(ms));
        fuzz_format(ms >> (data[8] & 63), data[8] >> 2);
    }

    return 0;
}


static void
fuzz_text(const uint8_t *data, size_t size)
{
    int       host, allocator, oidc;
    char     *s;
    uint64_t  a, b, c;

    s = malloc(size + 1);
    assert(s != NULL);
    memcpy(s, data, size);
    s[size] = '\0';

    a = b = c = 0;
    host = fuzz_host(s, &a);
    allocator = bk_allocator_duration_parse(s, &b);
    oidc = oidc_duration_parse(s, &c);

    assert(host == 0 || host == -1);
    assert(host == -1 || (a <= FUZZ_LONGEST && strlen(s) <= FUZZ_LEN));
    assert(allocator == -1 || b <= FUZZ_CENTURY);
    assert(oidc == -1 || c <= FUZZ_CENTURY);

    if (strchr(s, '.') == NULL) {
        assert(host != 0 || allocator != 0 || a == b
               || strpbrk(s, "nu") != NULL);
        assert(allocator != 0 || oidc != 0 || b == c);

    } else {
        /* one rounds, one cuts */
        assert(host != 0 || allocator != 0 || (a >= b && a - b <= 1));
        assert(oidc == -1);
    }

    assert(host != 0 || oidc != 0 || a == c);

    if (fuzz_shared(s)) {
        assert(host != 0 || a > FUZZ_CENTURY
               || (allocator == 0 && (oidc == 0 || strchr(s, '.') != NULL)));
        assert(host == 0 || (allocator == -1 && oidc == -1));
    }

    if (host == 0) {
        fuzz_format(a, FUZZ_LEN);
    }

    free(s);
}


/* It takes a length: there is nothing behind it. */

static int
fuzz_host(const char *s, uint64_t *ms)
{
    int      rc;
    char    *copy;
    size_t   len;

    len = strlen(s);
    copy = malloc(len + (len == 0));
    assert(copy != NULL);
    memcpy(copy, s, len);

    rc = bk_duration_parse(copy, len, ms);
    free(copy);

    return rc;
}


/* Short enough for all, and neither "ns", "us" nor a point at the end. */

static int
fuzz_shared(const char *s)
{
    size_t  n;

    if (strlen(s) > FUZZ_LEN || strpbrk(s, "nu") != NULL) {
        return 0;
    }

    while (*s != '\0') {
        n = strspn(s, "0123456789.");

        if (n > FUZZ_DIGITS || (n > 0 && s[n - 1] == '.')) {
            return 0;
        }

        s += n > 0 ? n : 1;
    }

    return 1;
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

    if (ms <= FUZZ_CENTURY) {
        fuzz_same(text, ms > 0 && ms < 1000 ? 1000 : ms / 1000 * 1000);
    }

    if (ms <= FUZZ_CENTURY && size >= FUZZ_LEN) {
        fuzz_same(buf, ms < 1000 ? ms : ms / 1000 * 1000);
    }

    free(buf);
}


static void
fuzz_same(const char *s, uint64_t ms)
{
    uint64_t  read;

    assert(fuzz_host(s, &read) == 0 && read == ms);
    assert(bk_allocator_duration_parse(s, &read) == 0 && read == ms);
    assert(oidc_duration_parse(s, &read) == 0 && read == ms);
}
