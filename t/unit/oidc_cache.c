/*
 * Plugin oidc's memory of verified tokens: bounds, order of use, the end of
 * an entry; and its durations.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../plugin-host/plugins/oidc/cache.c"
#include "../../plugin-host/plugins/oidc/text.c"


#define N  1000


static int  checks;


static void
ok(int good, const char *what)
{
    printf("%sok %d - %s\n", good ? "" : "not ", ++checks, what);
}


static void
put(oidc_cache_t *c, unsigned n, size_t claims, uint64_t until,
    const void *owner)
{
    char           name[32];
    char          *text = calloc(1, claims + 1);
    uint8_t        hash[32];
    bk_identity_t  id;

    memset(hash, (int) (n & 0xff), sizeof(hash));
    memcpy(hash, &n, sizeof(n));
    memset(text, 'x', claims);
    snprintf(name, sizeof(name), "a:%u", n);

    id.name = (bk_str_t) { name, strlen(name) };
    id.source = BK_STR("a");
    id.claims = (bk_str_t) { text, claims };
    id.until_ms = until + 1;

    oidc_cache_put(c, hash, &id, until, owner);
    free(text);
}


static int
has(oidc_cache_t *c, unsigned n, uint64_t now)
{
    char           name[32];
    uint8_t        hash[32];
    bk_identity_t  id;

    memset(hash, (int) (n & 0xff), sizeof(hash));
    memcpy(hash, &n, sizeof(n));
    snprintf(name, sizeof(name), "a:%u", n);

    return oidc_cache_get(c, hash, now, &id) == 0
           && id.name.len == strlen(name)
           && memcmp(id.name.data, name, id.name.len) == 0;
}


static void
durations(void)
{
    char      buf[OIDC_DURATION];
    unsigned  i;

    static const struct {
        uint64_t     ms;
        const char  *text;
    } cases[] = {
        { 0, "0s" }, { 1, "1s" }, { 90000, "1m30s" }, { 5400000, "1h30m" },
        { 604800000, "7d" }, { 3153600000000, "36500d" }
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ok(strcmp(oidc_duration(cases[i].ms, buf), cases[i].text) == 0,
           cases[i].text);
    }

    ok(strlen(oidc_duration(UINT64_MAX, buf)) < OIDC_DURATION, "the longest");
}


int
main(void)
{
    int            owner;
    unsigned       i, n;
    oidc_cache_t  *c;

    c = oidc_cache_new(10, 100000);

    for (i = 0; i < 10; i++) {
        put(c, i, 10, 100, NULL);
    }

    ok(oidc_cache_count(c) == 10 && has(c, 0, 99), "all are there");
    put(c, 10, 10, 100, &owner);
    ok(oidc_cache_count(c) == 10, "no more than that");
    ok(has(c, 0, 99) && !has(c, 1, 99), "the one not used for longest goes");
    ok(!has(c, 2, 100), "nothing beyond its time");
    ok(oidc_cache_count(c) == 9, "which is forgotten then");

    put(c, 3, 20, 300, NULL);
    ok(oidc_cache_count(c) == 9 && has(c, 3, 299), "one is replaced");
    oidc_cache_forget(c, &owner);
    ok(!has(c, 10, 0) && oidc_cache_count(c) == 8, "all of an owner");
    put(c, 20, 200000, 100, NULL);
    ok(!has(c, 20, 0) && oidc_cache_count(c) == 8, "one that is too large");
    put(c, 21, 99000, 100, NULL);
    ok(has(c, 21, 0) && oidc_cache_count(c) < 8, "bytes are counted");
    oidc_cache_forget(c, NULL);
    ok(oidc_cache_count(c) == 0 && c->bytes == 0 && c->newest == NULL
       && c->oldest == NULL, "all");
    oidc_cache_free(&c);
    ok(c == NULL, "freed");

    c = oidc_cache_new(0, 100000);
    put(c, 1, 10, 100, NULL);
    ok(!has(c, 1, 0), "none at all");
    oidc_cache_free(&c);

    /* against a plain model: use is by number */
    c = oidc_cache_new(N / 2, 1 << 30);

    for (i = 0; i < N; i++) {
        put(c, i, i % 50, 100, NULL);
    }

    for (i = 0, n = 0; i < N; i++) {
        n += (unsigned) (has(c, i, 0) == (i >= N / 2));
    }

    ok(n == N, "a thousand: the later half is there");
    oidc_cache_free(&c);

    durations();
    printf("1..%d\n", checks);

    return 0;
}
