/*
 * FUZZ_CFLAGS: -Iplugin-host/include
 */

/*
 * The text that says which names there are: whatever is in it, nothing is
 * read beyond it, a mistake has words and a line, and of a good text each
 * name is found, in the place that a plain walk says.
 */

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "bk_names.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_find(const bk_name_t *names, size_t n, const char *host,
    size_t len);
static void fuzz_good(const bk_names_t *r, const bk_name_t *names, size_t n,
    const char *text, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int         rc;
    char       *text;
    size_t      n = 0;
    bk_name_t  *names, name;
    bk_names_t  r;

    /* of its own size: what is read beyond it is seen */

    text = malloc(size + (size == 0));
    assert(text != NULL);
    memcpy(text, data, size);

    rc = bk_names_open(&r, text, size);
    assert((rc != 0) == (r.why != NULL));

    names = calloc(size + 1, sizeof(bk_name_t));
    assert(names != NULL);

    while (rc == 0 && (rc = bk_names_next(&r, &name)) == 1) {
        assert(n < size && n < BK_NAMES_MAX);
        names[n++] = name;
        rc = 0;
    }

    if (r.why != NULL) {
        assert(bk_names_next(&r, &name) == -1);
    } else {
        fuzz_good(&r, names, n, text, size);
    }

    /* anything may be asked for, of any text */

    fuzz_find(names, n, text, size);

    free(names);
    free(text);

    return 0;
}


/* what is read is what was written: put together again it is the same */

static void
fuzz_good(const bk_names_t *r, const bk_name_t *names, size_t n,
    const char *text, size_t size)
{
    char    line[1024];
    int     len;
    size_t  i, at;

    assert(r->count == n);

    len = snprintf(line, sizeof(line), BK_NAMES_MAGIC "%zu %.*s\n", n,
                   r->class_name.len ? (int) r->class_name.len : 1,
                   r->class_name.len ? r->class_name.data : "-");
    assert((size_t) len <= size && memcmp(text, line, (size_t) len) == 0);
    at = (size_t) len;

    for (i = 0; i < n; i++) {
        len = snprintf(line, sizeof(line), "%.*s %.*s %.*s %.*s\n",
                       (int) names[i].host.len, names[i].host.data,
                       (int) names[i].pool.len, names[i].pool.data,
                       names[i].arch.len ? (int) names[i].arch.len : 1,
                       names[i].arch.len ? names[i].arch.data : "-",
                       names[i].cert.len ? (int) names[i].cert.len : 1,
                       names[i].cert.len ? names[i].cert.data : "-");
        assert(len < (int) sizeof(line) && at + (size_t) len <= size
               && memcmp(text + at, line, (size_t) len) == 0);
        at += (size_t) len;

        if (i) {
            assert(bk_names_cmp(&names[i - 1].host, &names[i].host) < 0);
        }

        /* a client asks for no name with a star in it */

        fuzz_find(names, n, names[i].host.data, names[i].host.len);

        if (names[i].host.data[0] == '*') {
            len = snprintf(line, sizeof(line), "any%.*s",
                           (int) names[i].host.len - 1,
                           names[i].host.data + 1);
            fuzz_find(names, n, line, (size_t) len);
        }
    }

    assert(at == size);
}


static void
fuzz_find(const bk_name_t *names, size_t n, const char *host, size_t len)
{
    size_t            i;
    const char       *dot;
    const bk_name_t  *want = NULL, *got;

    got = bk_names_find(names, n, host, len);
    dot = len ? memchr(host, '.', len) : NULL;

    for (i = 0; i < n && len && host[0] != '*'; i++) {

        if (names[i].host.len == len
            && memcmp(names[i].host.data, host, len) == 0)
        {
            want = &names[i];
            break;
        }

        if (dot && names[i].host.data[0] == '*'
            && names[i].host.len - 1 == len - (size_t) (dot - host)
            && memcmp(names[i].host.data + 1, dot, names[i].host.len - 1) == 0)
        {
            want = &names[i];
        }
    }

    assert(got == want || (got == NULL && !bk_names_host_ok(host, len, 0)));
}
