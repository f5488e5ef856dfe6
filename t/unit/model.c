/*
 * The model from within: who may say what, what a worker's state means for
 * its allocations, snapshots, what is inherited, the queue of events.
 */

#include <event2/event.h>

#include "table_test.h"

#include "model.h"


static struct event_base  *base;
static bk_model_t         *m;
static bk_model_conf_t     conf;
static bk_err_t            err;

/* events, as one letter each: p w a, capital when gone */
static char                heard[64];
static int                 again;       /* the observer changes the model */
static int                 wants;

/* two owners */
static int                 one, two;


static void
hear(const bk_event_t *event, void *data)
{
    size_t  len = strlen(heard);

    (void) data;

    if (len < sizeof(heard) - 1) {
        heard[len] = " pwa"[event->what];
        heard[len] = (char) (heard[len] - (event->gone ? 32 : 0));
        heard[len + 1] = '\0';
    }

    if (again && event->what == BK_EVENT_WORKER
        && event->worker->state == BK_WORKER_FAILED)
    {
        again = 0;
        (void) bk_model_worker_delete(m, &one, event->worker->pool,
                                      event->worker->name, &err);
    }
}


static int
want(const void *owner, bk_str_t pool, bk_str_t name, int wanted,
    bk_err_t *e, void *data)
{
    (void) pool;
    (void) name;
    (void) e;
    (void) data;

    wants += wanted && owner == &one;

    return 0;
}


static bk_str_t
str(const char *s)
{
    return (bk_str_t) { s, strlen(s) };
}


static int
pool(const void *owner, const char *name)
{
    bk_pool_info_t  p;

    memset(&p, 0, sizeof(p));
    memset(&err, 0, sizeof(err));
    p.name = str(name);

    return bk_model_pool_put(m, owner, &p, &err);
}


static int
worker(const void *owner, const char *name, int state, const char *endpoint,
    const char *message)
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

    return bk_model_worker_put(m, owner, &w, &err);
}


static int
alloc(const void *owner, int n, const char *name, int state,
    uint64_t expires_ms)
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
    a.expires_ms = expires_ms;

    return bk_model_alloc_put(m, owner, &a, &err);
}


/* The state of an allocation, 0 for none. */

static int
state(int n)
{
    uint8_t          hash[32];
    bk_alloc_info_t  a;

    memset(hash, n, sizeof(hash));

    return bk_model_alloc_find(m, hash, &a) == 0 ? a.state : 0;
}


static int
reason(int n, const char *text)
{
    uint8_t          hash[32];
    bk_alloc_info_t  a;

    memset(hash, n, sizeof(hash));

    return bk_model_alloc_find(m, hash, &a) == 0 && a.reason.data != NULL
           && strcmp(a.reason.data, text) == 0;
}


static int
fails(int rc, const char *why)
{
    return rc == -1 && strcmp(err.reason, why) == 0;
}


static void
start(void)
{
    if (bk_model_new(&m, base, &conf, &err) != 0) {
        printf("Bail out! %s\n", err.text);
        exit(1);
    }
}


static void
checks_refused(void)
{
    ok(fails(pool(&one, "nospace"), "BadPoolName"), "a pool without /");
    ok(fails(pool(&one, "a/b/c"), "BadPoolName"), "a pool with two");
    ok(fails(pool(&one, "a/"), "BadPoolName"), "a pool without a name");
    ok(fails(worker(&one, "w", BK_WORKER_READY, "1.2.3.4:5", ""),
             "PoolNotFound"), "a worker of no pool");
    ok(pool(&one, "a/b") == 0, "a pool");
    ok(fails(pool(&two, "a/b"), "NotOwner"), "which is another's");
    ok(fails(worker(&one, "w", BK_WORKER_READY, "", ""), "NoEndpoint"),
       "up without an endpoint");
    ok(fails(worker(&one, "w", BK_WORKER_READY, "host:5", ""),
             "BadEndpoint"), "a name for an address");
    ok(fails(worker(&one, "w", BK_WORKER_READY, "1.2.3.4:0", ""),
             "BadEndpoint"), "port 0");
    ok(fails(worker(&one, "w", BK_WORKER_READY, "[1.2.3.4]:7", ""),
             "BadEndpoint"), "IPv4 in brackets");
    ok(fails(worker(&one, "w", 9, "1.2.3.4:5", ""), "BadState"),
       "a state that is none");
    ok(fails(worker(&one, "w w", BK_WORKER_READY, "1.2.3.4:5", ""),
             "BadWorkerName"), "a blank in a name");
    ok(fails(alloc(&one, 1, "w", BK_ALLOC_READY, 0), "WorkerNotFound"),
       "an allocation of no worker");
    ok(fails(alloc(&one, 1, "", BK_ALLOC_READY, 0), "NoWorker"),
       "ready without a worker");
    ok(strcmp(heard, "p") == 0, "and only the pool was heard of: %s", heard);
}


static void
checks_carry(void)
{
    ok(worker(&one, "w", BK_WORKER_STOPPED, "", "") == 0, "a stopped worker");
    ok(alloc(&two, 1, "w", BK_ALLOC_READY, 0) == 0
       && state(1) == BK_ALLOC_STARTING, "ready on it: starting");
    ok(fails(alloc(&one, 1, "w", BK_ALLOC_READY, 0), "NotOwner"),
       "an allocation of another's");
    ok(bk_model_worker_want(m, str("a/b"), str("w"), 1, &err) == 0
       && wants == 1, "its owner is asked");

    heard[0] = '\0';
    (void) worker(&one, "w", BK_WORKER_READY, "127.0.0.1:7001", "");
    ok(state(1) == BK_ALLOC_READY && strcmp(heard, "wa") == 0,
       "ready with its worker, told in order: %s", heard);

    heard[0] = '\0';
    (void) worker(&one, "w", BK_WORKER_READY, "127.0.0.1:7001", "");
    ok(heard[0] == '\0', "said again, nothing is heard");

    (void) worker(&one, "w", BK_WORKER_STARTING, "127.0.0.1:7001", "");
    ok(state(1) == BK_ALLOC_STARTING, "back to starting");
    (void) worker(&one, "w", BK_WORKER_READY, "127.0.0.1:7002", "");
    ok(state(1) == BK_ALLOC_READY, "and ready, elsewhere: it had waited");

    (void) worker(&one, "w", BK_WORKER_READY, "127.0.0.1:7003", "");
    ok(state(1) == BK_ALLOC_FAILED
       && reason(1, "its worker was replaced by another one"),
       "another address while it is up: failed");
    ok(fails(alloc(&two, 1, "w", BK_ALLOC_READY, 0), "Ended"),
       "and cannot be brought back");
    ok(alloc(&two, 1, "w", BK_ALLOC_REVOKED, 0) == 0
       && state(1) == BK_ALLOC_FAILED, "another end changes nothing");

    (void) alloc(&two, 2, "w", BK_ALLOC_STARTING, 0);
    ok(state(2) == BK_ALLOC_READY, "starting on a ready worker: ready");
    (void) alloc(&two, 3, "w", BK_ALLOC_READY, 1000);
    ok(state(3) == BK_ALLOC_EXPIRED, "whose time is over: expired");

    heard[0] = '\0';
    again = 1;
    (void) worker(&one, "w", BK_WORKER_FAILED, "", "out of disk\nspace");
    ok(state(2) == BK_ALLOC_FAILED && reason(2, "out of disk space"),
       "a worker's message is the reason");
    ok(strcmp(heard, "waW") == 0, "an observer may remove it: %s", heard);
    ok(fails(alloc(&two, 4, "w", BK_ALLOC_READY, 0), "WorkerNotFound"),
       "then it is gone");

    (void) worker(&one, "w", BK_WORKER_READY, "127.0.0.1:7001", "");
    (void) alloc(&two, 5, "w", BK_ALLOC_READY, 0);
    ok(state(2) == BK_ALLOC_FAILED && state(5) == BK_ALLOC_READY,
       "a worker of the same name is a new one");
}


static void
checks_snapshot(void)
{
    bk_model_snapshot_begin(m, &two);
    (void) alloc(&two, 6, "w", BK_ALLOC_READY, 0);
    bk_model_snapshot_commit(m, &two);
    ok(state(5) == BK_ALLOC_RELEASED && reason(5, "no longer listed"),
       "not said again: released");
    ok(state(6) == BK_ALLOC_READY, "said: stays");

    bk_model_snapshot_begin(m, &one);
    (void) pool(&one, "a/b");
    bk_model_snapshot_commit(m, &one);
    ok(state(6) == BK_ALLOC_FAILED && reason(6, "its worker was removed"),
       "a worker that is not said again takes them along");

    bk_model_snapshot_begin(m, &one);
    bk_model_snapshot_commit(m, &one);
    ok(fails(worker(&one, "w", BK_WORKER_READY, "1.2.3.4:5", ""),
             "PoolNotFound"), "and so with a pool");
}


static void
checks_room(void)
{
    int  n, good = 0;

    (void) pool(&one, "a/b");
    (void) worker(&one, "w", BK_WORKER_READY, "127.0.0.1:7001", "");

    for (n = 10; n < 10 + 16; n++) {
        good += alloc(&two, n, "w", BK_ALLOC_READY, 0) == 0;
    }

    ok(good == 16, "ended ones make room: %d of 16", good);
    ok(state(1) == 0, "the oldest was forgotten");
    ok(fails(alloc(&two, 99, "w", BK_ALLOC_READY, 0), "TableFull"),
       "live ones do not");
    ok(state(99) == 0, "and nothing has changed");
}


static void
checks_inherit(void)
{
    bk_model_stats_t  s;

    (void) bk_model_alloc_end(m, (const uint8_t *)
                              "\31\31\31\31\31\31\31\31\31\31\31\31\31\31\31"
                              "\31\31\31\31\31\31\31\31\31\31\31\31\31\31\31"
                              "\31\31", BK_ALLOC_REVOKED, str("leaked"), &err);
    ok(state(25) == BK_ALLOC_REVOKED, "one is revoked by somebody");

    bk_model_free(&m);
    start();
    bk_model_stats(m, &s);
    ok(state(10) == BK_ALLOC_READY && s.inherited == 18,
       "a new host has all of it: %u", s.inherited);
    ok(state(25) == BK_ALLOC_REVOKED && reason(25, "leaked"),
       "ended ones with their reason");

    bk_model_expect(m, &one);
    bk_model_expect(m, &two);
    bk_model_started(m);

    bk_model_snapshot_begin(m, &one);
    (void) pool(&one, "a/b");
    (void) worker(&one, "w", BK_WORKER_READY, "127.0.0.1:7001", "");
    bk_model_snapshot_commit(m, &one);
    ok(state(10) == BK_ALLOC_READY && !bk_model_settled(m),
       "while one is waited for, nothing ends");
    ok(bk_model_missing(m, &two) && !bk_model_missing(m, &one),
       "it is known who");

    bk_model_snapshot_begin(m, &two);
    (void) alloc(&two, 11, "w", BK_ALLOC_READY, 0);
    bk_model_snapshot_commit(m, &two);
    ok(state(11) == BK_ALLOC_READY && bk_model_settled(m), "then it is over");
    ok(state(10) == BK_ALLOC_RELEASED, "what nobody claimed has ended");
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
    conf.event = hear;
    conf.want = want;

    start();
    checks_refused();
    checks_carry();
    checks_snapshot();
    checks_room();
    checks_inherit();
    bk_model_free(&m);
    event_base_free(base);

    return tt_end();
}
