/*
 * A walk over allocations, a few at a time: those that were there when it
 * began and are there still, each once, in the order of their coming.
 */

#include <event2/event.h>

#include "table_test.h"

#include "model.h"


static bk_model_t         *m;
static bk_err_t            err;
static struct event_base  *base;
static int                 one;         /* an owner */
static bk_alloc_walk_t     walk;
static char                seen[64];    /* a letter each */
static size_t              enough;      /* letters that end a part */


static bk_str_t
str(const char *s)
{
    return (bk_str_t) { s, strlen(s) };
}


/* of these letters */

static int
put(const char *names)
{
    int              good = 1;
    uint8_t          hash[32];
    bk_alloc_info_t  a;

    for ( /* void */ ; *names != '\0'; names++) {
        memset(hash, *names, sizeof(hash));
        memset(&a, 0, sizeof(a));
        a.hash = hash;
        a.pool = str("a/b");
        a.state = BK_ALLOC_QUEUED;
        good &= bk_model_alloc_put(m, &one, &a, &err) == 0;
    }

    return good;
}


/* Ends them, and sees them thrown away. */

static int
gone(const char *names)
{
    int              rc = 0;
    uint8_t          hash[32];
    bk_alloc_info_t  a;

    for ( /* void */ ; *names != '\0' && rc == 0; names++) {
        memset(hash, *names, sizeof(hash));
        rc = bk_model_alloc_end(m, hash, BK_ALLOC_RELEASED, str(""), &err);

        while (rc == 0 && bk_model_alloc_find(m, hash, &a) == 0) {
            rc = event_base_loop(base, EVLOOP_ONCE);
        }
    }

    return rc == 0;
}


static int
see(const bk_alloc_info_t *a, void *data)
{
    size_t  len = strlen(seen);

    (void) data;

    seen[len] = (char) a->hash[0];
    seen[len + 1] = '\0';

    return enough != 0 && len + 1 >= enough;
}


static int
go(size_t max)
{
    seen[0] = '\0';

    return bk_model_walk(&walk, max, see, NULL);
}


int
main(void)
{
    bk_pool_info_t    pool;
    bk_alloc_walk_t   other;
    bk_model_conf_t   conf;

    tt_begin();
    base = event_base_new();

    memset(&conf, 0, sizeof(conf));
    conf.table.path = tt_path;
    conf.table.allocations = 100;
    conf.table.workers = 4;
    conf.table.pools = 4;
    conf.keep_ended_ms = 1;

    memset(&pool, 0, sizeof(pool));
    pool.name = str("a/b");

    ok(base != NULL && bk_model_new(&m, base, &conf, &err) == 0
       && bk_model_pool_put(m, &one, &pool, &err) == 0, "a model");
    bk_model_started(m);

    bk_model_walk_begin(m, &walk);
    ok(go(9) == 0 && seen[0] == '\0', "a walk over nothing");

    ok(put("abcdefgh"), "eight");
    bk_model_walk_begin(m, &walk);
    ok(go(3) == 1 && strcmp(seen, "abc") == 0, "a part");
    ok(go(5) == 0 && strcmp(seen, "defgh") == 0, "the rest, and no more");
    ok(go(5) == 0 && seen[0] == '\0', "it is over");

    enough = 2;
    bk_model_walk_begin(m, &walk);
    ok(go(9) == 1 && strcmp(seen, "ab") == 0, "as much as was wanted");
    enough = 0;

    ok(put("ij") && gone("c"), "others come; the next one goes");
    ok(go(1) == 1 && strcmp(seen, "d") == 0, "the one after it");
    ok(gone("hg"), "the last ones go");
    ok(go(9) == 0 && strcmp(seen, "ef") == 0,
       "it ends where it would, without those that came");

    bk_model_walk_begin(m, &walk);
    bk_model_walk_begin(m, &other);
    ok(gone("abdefij"), "all go amid two walks");
    ok(go(9) == 0 && seen[0] == '\0'
       && bk_model_walk(&other, 9, see, NULL) == 0, "both are over");
    bk_model_walk_end(&other);

    ok(put("xy"), "two more");
    bk_model_walk_begin(m, &walk);
    bk_model_walk_begin(m, &other);
    bk_model_walk_end(&walk);
    ok(go(9) == 0 && seen[0] == '\0'
       && bk_model_walk(&other, 1, see, NULL) == 1, "one given up");
    bk_model_free(&m);
    ok(bk_model_walk(&other, 1, see, NULL) == 0, "none without a model");

    event_base_free(base);

    return tt_end();
}
