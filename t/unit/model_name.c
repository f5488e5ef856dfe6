/*
 * Whose an allocation is: said, changed, taken away, kept once for all that
 * are the same one's; nobody's where its pool's plugin does not say so.
 */

#include <event2/event.h>

#include "table_test.h"

#include "model.h"


static bk_model_t  *m;
static bk_err_t     err;
static int          one, two;       /* owners of facts */


static bk_str_t
str(const char *s)
{
    return (bk_str_t) { s, strlen(s) };
}


static int
put(int n)
{
    uint8_t          hash[32];
    bk_alloc_info_t  a;

    memset(hash, n, sizeof(hash));
    memset(&a, 0, sizeof(a));
    a.hash = hash;
    a.pool = str("a/b");
    a.state = BK_ALLOC_QUEUED;

    return bk_model_alloc_put(m, &one, &a, &err);
}


static int
say(const void *who, int n, const char *name)
{
    uint8_t  hash[32];

    memset(hash, n, sizeof(hash));

    /* odd ones are a fork's */
    return bk_model_alloc_owner(m, who, hash, str(name), n % 2);
}


static const char *
whose(int n)
{
    uint8_t  hash[32];

    memset(hash, n, sizeof(hash));

    return bk_model_alloc_whose(m, hash, NULL);
}


static int
untrusted(int n)
{
    int      yes = -1;
    uint8_t  hash[32];

    memset(hash, n, sizeof(hash));
    (void) bk_model_alloc_whose(m, hash, &yes);

    return yes;
}


int
main(void)
{
    int                 i, good;
    char                name[300];
    bk_pool_info_t      pool;
    bk_model_conf_t     conf;
    struct event_base  *base;

    tt_begin();
    base = event_base_new();

    memset(&conf, 0, sizeof(conf));
    conf.table.path = tt_path;
    conf.table.allocations = 100;
    conf.table.workers = 4;
    conf.table.pools = 4;
    conf.keep_ended_ms = 1000;

    memset(&pool, 0, sizeof(pool));
    pool.name = str("a/b");

    ok(base != NULL && bk_model_new(&m, base, &conf, &err) == 0
       && bk_model_pool_put(m, &one, &pool, &err) == 0, "a model");

    good = 1;
    for (i = 1; i <= 60; i++) {
        snprintf(name, sizeof(name), "s:u%d", i % 3);
        good &= put(i) == 0 && say(&one, i, name) == 0;
    }

    ok(good, "sixty allocations of three");
    ok(strcmp(whose(1), "s:u1") == 0 && strcmp(whose(60), "s:u0") == 0
       && whose(1) == whose(4), "whose they are, each name once");

    ok(untrusted(1) == 1 && untrusted(2) == 0 && untrusted(61) == 0,
       "which are a fork's");
    ok(say(&two, 1, "s:evil") == -1 && strcmp(whose(1), "s:u1") == 0,
       "another plugin does not say so");
    ok(say(&one, 61, "s:u1") == -1 && strcmp(whose(61), "") == 0,
       "of none that is not there");
    ok(say(&one, 1, "s:u1") == 0 && strcmp(whose(1), "s:u1") == 0,
       "the same again");
    ok(say(&one, 1, "s:u2") == 0 && strcmp(whose(1), "s:u2") == 0, "another");
    ok(say(&one, 1, "") == 0 && strcmp(whose(1), "") == 0, "nobody's");

    memset(name, 'x', 256);
    name[256] = '\0';
    ok(say(&one, 1, name) == 0 && strcmp(whose(1), name) == 0, "a long name");
    ok(put(1) == 0 && strcmp(whose(1), name) == 0 && untrusted(1) == 1,
       "it stays over a put");

    good = 1;
    for (i = 1; i <= 60; i++) {
        good &= say(&one, i, "") == 0;
    }

    ok(good && strcmp(whose(60), "") == 0, "all are let go");
    ok(say(&one, 2, "s:u1") == 0 && strcmp(whose(2), "s:u1") == 0,
       "and may be somebody's again");

    bk_model_free(&m);
    event_base_free(base);

    return tt_end();
}
