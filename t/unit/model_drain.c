/*
 * A drained worker in the model: what becomes of its allocations, what its
 * owner may go on saying, what is refused, and how it is taken back.
 */

#include <event2/event.h>

#include "table_test.h"

#include "model.h"


static struct event_base  *base;
static bk_model_t         *m;
static bk_model_conf_t     conf;
static bk_err_t            err;
static int                 wanted = -1;     /* what the owner was asked last */
static int                 asked;
static int                 one;


static int
want(const void *owner, bk_str_t pool, bk_str_t name, int on, bk_err_t *e,
    void *data)
{
    (void) owner;
    (void) pool;
    (void) name;
    (void) e;
    (void) data;

    wanted = on;
    asked++;

    return 0;
}


static bk_str_t
str(const char *s)
{
    return (bk_str_t) { s, strlen(s) };
}


static int
worker(const char *name, int state, const char *endpoint, const char *message)
{
    bk_worker_info_t  w;

    memset(&w, 0, sizeof(w));
    memset(&err, 0, sizeof(err));
    w.pool = str("a/b");
    w.name = str(name);
    w.endpoint = str(endpoint);
    w.tls_name = str("x");
    w.message = str(message);
    w.state = state;

    return bk_model_worker_put(m, &one, &w, &err);
}


static int
shows(const char *name, int state, const char *message)
{
    bk_worker_info_t  w;

    return bk_model_worker_find(m, str("a/b"), str(name), &w) == 0
           && w.state == state && w.message.len == strlen(message)
           && memcmp(w.message.data, message, w.message.len) == 0;
}


static int
drain(const char *name, int on, const char *why)
{
    memset(&err, 0, sizeof(err));

    return bk_model_worker_drain(m, str("a/b"), str(name), on, str(why), &err);
}


static int
alloc(int n, const char *name, int state, const char *why)
{
    uint8_t          hash[32];
    bk_alloc_info_t  a;

    memset(hash, n, sizeof(hash));
    memset(&a, 0, sizeof(a));
    memset(&err, 0, sizeof(err));
    a.hash = hash;
    a.pool = str("a/b");
    a.worker = str(name);
    a.state = state;
    a.reason = str(why);

    return bk_model_alloc_put(m, &one, &a, &err);
}


static int
is(int n, int state, const char *why)
{
    uint8_t          hash[32];
    bk_alloc_info_t  a;

    memset(hash, n, sizeof(hash));

    return bk_model_alloc_find(m, hash, &a) == 0 && a.state == state
           && strcmp(a.reason.data != NULL ? a.reason.data : "", why) == 0;
}


static void
start(void)
{
    bk_pool_info_t  p;

    if (bk_model_new(&m, base, &conf, &err) != 0) {
        printf("Bail out! %s\n", err.text);
        exit(1);
    }

    memset(&p, 0, sizeof(p));
    p.name = str("a/b");
    (void) bk_model_pool_put(m, &one, &p, &err);
}


static void
checks_drained(void)
{
    ok(drain("w", 1, "x") == -1 && err.code == 404, "no such worker");

    (void) worker("w", BK_WORKER_READY, "127.0.0.1:7001", "");
    (void) alloc(1, "w", BK_ALLOC_READY, "");
    (void) alloc(2, "w", BK_ALLOC_DRAINING, "by hand");

    ok(drain("w", 1, "new\nkernel") == 0, "drained");
    ok(shows("w", BK_WORKER_DRAINING, "drained: new kernel"), "it shows");
    ok(is(1, BK_ALLOC_DRAINING, "worker w is drained: new kernel"),
       "a ready one drains, with the reason");
    ok(is(2, BK_ALLOC_DRAINING, "by hand"), "one that drained already stays");
    ok(wanted == 0 && asked == 1, "its owner may let it go");
    ok(bk_model_worker_drained(m, str("a/b"), str("w")), "it can be seen");

    ok(alloc(1, "w", BK_ALLOC_READY, "") == 0
       && is(1, BK_ALLOC_DRAINING, "worker w is drained: new kernel"),
       "said again as ready (renewed): it drains");
    ok(alloc(3, "w", BK_ALLOC_STARTING, "") == -1 && err.code == 409
       && strcmp(err.reason, "WorkerDrained") == 0
       && strcmp(err.text, "worker w is drained: new kernel") == 0,
       "one that would wait for it is refused");
    ok(alloc(4, "w", BK_ALLOC_READY, "") == 0
       && is(4, BK_ALLOC_DRAINING, "worker w is drained: new kernel"),
       "one that was ready before a restart drains");
    ok(alloc(1, "w", BK_ALLOC_STARTING, "") == 0
       && is(1, BK_ALLOC_DRAINING, "worker w is drained: new kernel"),
       "one that is on it, said again as in a file: it drains, and lives");
    ok(bk_model_worker_want(m, str("a/b"), str("w"), 1, &err) == -1
       && err.code == 409, "it is not started again");

    (void) worker("w", BK_WORKER_READY, "127.0.0.1:7001", "all is well");
    ok(shows("w", BK_WORKER_DRAINING, "drained: new kernel"),
       "its owner goes on saying ready");

    ok(drain("w", 1, "disk") == 0 && asked == 1
       && is(1, BK_ALLOC_DRAINING, "worker w is drained: disk")
       && shows("w", BK_WORKER_DRAINING, "drained: disk"), "another reason");
    ok(drain("w", 1, "") == 0 && is(1, BK_ALLOC_DRAINING,
       "worker w is drained") && shows("w", BK_WORKER_DRAINING, "drained"),
       "none");
}


static void
checks_undo(void)
{
    ok(drain("w", 0, "") == 0 && wanted == 1, "taken back");
    ok(shows("w", BK_WORKER_READY, "all is well"), "as its owner says");
    ok(is(1, BK_ALLOC_READY, "") && is(4, BK_ALLOC_READY, ""),
       "ready again, no reason");
    ok(is(2, BK_ALLOC_DRAINING, "by hand"), "not the one that was told to");
    ok(drain("w", 0, "") == 0 && asked == 2, "twice is once");

    (void) drain("w", 1, "x");
    (void) worker("w", BK_WORKER_STOPPED, "127.0.0.1:7001", "stopped: idle");
    ok(shows("w", BK_WORKER_STOPPED, "drained: x")
       && is(1, BK_ALLOC_DRAINING, "worker w is drained: x"),
       "it stops, and what is on it does not wait for it");
    (void) drain("w", 0, "");
    ok(shows("w", BK_WORKER_STOPPED, "stopped: idle")
       && is(1, BK_ALLOC_STARTING, "") && wanted == 0,
       "taken back when it does not run: they wait for it");
    ok(bk_model_worker_want(m, str("a/b"), str("w"), 1, &err) == 0,
       "and it may be started");
}


static void
checks_states(void)
{
    (void) worker("v", BK_WORKER_STARTING, "", "pulling");
    (void) alloc(5, "v", BK_ALLOC_READY, "");
    (void) alloc(6, "v", BK_ALLOC_QUEUED, "");
    ok(is(5, BK_ALLOC_STARTING, ""), "one that waits");
    (void) drain("v", 1, "x");
    ok(is(5, BK_ALLOC_FAILED, "worker v is drained: x")
       && is(6, BK_ALLOC_FAILED, "worker v is drained: x"),
       "fails: it would never get in");
    ok(shows("v", BK_WORKER_STARTING, "pulling"), "its own state shows");
    (void) worker("v", BK_WORKER_READY, "127.0.0.1:7002", "");
    ok(shows("v", BK_WORKER_DRAINING, "drained: x"), "until it is ready");

    (void) alloc(7, "v", BK_ALLOC_READY, "");
    (void) worker("v", BK_WORKER_READY, "127.0.0.1:7003", "");
    ok(is(7, BK_ALLOC_FAILED, "its worker was replaced by another one"),
       "another address is another worker, drained or not");
    (void) alloc(8, "v", BK_ALLOC_READY, "");
    (void) worker("v", BK_WORKER_FAILED, "", "out of disk");
    ok(is(8, BK_ALLOC_FAILED, "out of disk")
       && shows("v", BK_WORKER_FAILED, "out of disk"), "it fails as any");
    (void) drain("v", 0, "");
    ok(shows("v", BK_WORKER_FAILED, "out of disk") && wanted == 0,
       "taken back, a failed one is not started");
}


static void
checks_restart(void)
{
    (void) worker("w", BK_WORKER_READY, "127.0.0.1:7001", "");
    (void) drain("w", 1, "x");

    bk_model_free(&m);
    start();
    ok(shows("w", BK_WORKER_DRAINING, "drained: x")
       && is(1, BK_ALLOC_DRAINING, "worker w is drained: x"),
       "a new host finds it so");

    /* the allocator first, then who has the worker */
    asked = 0;
    ok(drain("w", 1, "x") == 0 && asked == 0, "drained before it is claimed");
    (void) worker("w", BK_WORKER_READY, "127.0.0.1:7001", "");
    ok(shows("w", BK_WORKER_DRAINING, "drained: x"), "claimed");
    ok(asked == 1 && wanted == 0, "its owner hears of it");
    (void) alloc(1, "w", BK_ALLOC_STARTING, "");
    ok(is(1, BK_ALLOC_DRAINING, "worker w is drained: x"), "and it drains");
    (void) alloc(1, "w", BK_ALLOC_READY, "");
    ok(is(1, BK_ALLOC_DRAINING, "worker w is drained: x"), "and goes on so");
    (void) drain("w", 0, "");
    ok(is(1, BK_ALLOC_READY, ""), "until it is taken back");
}


int
main(void)
{
    tt_begin();

    base = event_base_new();
    conf.table.path = tt_path;
    conf.table.allocations = 16;
    conf.table.workers = 4;
    conf.table.pools = 4;
    conf.keep_ended_ms = 3600000;
    conf.want = want;

    start();
    checks_drained();
    checks_undo();
    checks_states();
    checks_restart();
    bk_model_free(&m);
    event_base_free(base);

    return tt_end();
}
