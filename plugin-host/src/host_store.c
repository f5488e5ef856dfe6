/*
 * What plugins may call, of stores: the part of bk_host_t that brings one who
 * has allocations to be kept (the opener) together with one who keeps them.
 *
 * Neither can rely on the other's being there: what is asked for is counted
 * until it is answered, nothing is answered from within, and whoever has
 * stopped is not called any more.  The store is asked to stop when its opener
 * has, so that what ends last is still written.
 */

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "bk_err.h"
#include "host.h"
#include "log.h"
#include "slow.h"


/* Something asked of the store. */
typedef struct bk_store_op_s  bk_store_op_t;

struct bk_store_op_s {
    TAILQ_ENTRY(bk_store_op_s)  link;
    bk_store_t                 *store;
    bk_plugin_inst_t           *owner;      /* who asked */
    bk_store_pt                 done;
    void                       *data;
    bk_err_t                   *err;        /* of one that is answered */
    int                         answered;   /* is on the other list */
};

TAILQ_HEAD(bk_store_ops_s, bk_store_op_s);

struct bk_store_s {
    bk_core_t              *core;
    bk_plugin_inst_t       *keeper;     /* the store itself; NULL: not open */
    bk_plugin_inst_t       *opener;
    struct event           *turn;       /* the end of this turn of the loop */
    struct bk_store_ops_s   asked;      /* of the keeper */
    struct bk_store_ops_s   answered;   /* to be told when the turn is over */
    bk_store_op_t          *within;     /* it is being asked for just now */
    int                     told;       /* what the opener knows: ready? */
};


static bk_store_t *bk_store_get(bk_core_t *core);
static int bk_store_runs(const bk_plugin_inst_t *p);
static int bk_store_is_ready(const bk_store_t *s);
static bk_store_op_t *bk_store_op(const bk_host_t *h, bk_store_pt done,
    void *data);
static void bk_store_refuse(bk_store_op_t *op);
static void bk_store_later(bk_store_op_t *op, const bk_err_t *err);
static void bk_store_done(void *data, const bk_err_t *err);
static void bk_store_tell(bk_store_t *s);
static void bk_store_turn(evutil_socket_t fd, short what, void *data);
static void bk_store_drop(struct bk_store_ops_s *ops);


static bk_store_t *
bk_store_get(bk_core_t *core)
{
    bk_store_t  *s;

    if (core->store != NULL) {
        return core->store;
    }

    s = calloc(1, sizeof(bk_store_t));

    if (s == NULL) {
        abort();
    }

    s->core = core;
    TAILQ_INIT(&s->asked);
    TAILQ_INIT(&s->answered);
    s->turn = evtimer_new(core->base, bk_store_turn, s);

    if (s->turn == NULL) {
        abort();
    }

    core->store = s;

    return s;
}


static int
bk_store_runs(const bk_plugin_inst_t *p)
{
    return p != NULL && p->started && !p->stopped;
}


static int
bk_store_is_ready(const bk_store_t *s)
{
    return bk_store_runs(s->keeper) && s->keeper->store_ready;
}


int
bk_host_store_open(const bk_host_t *h, bk_err_t *err)
{
    bk_store_t        *s;
    struct timeval     now = { 0, 0 };
    bk_plugin_inst_t  *p, *keeper;

    s = bk_store_get(bk_inst(h)->core);

    if (s->opener != NULL) {
        return bk_fail(err, 409, "StoreTaken",
                       "let one plugin alone have its allocations kept",
                       "the store has the allocations of plugin %s already",
                       s->opener->label);
    }

    keeper = NULL;

    for (p = bk_plugins_first(s->core->plugins); p != NULL; p = p->next) {
        if (p->p.store_put == NULL) {
            continue;
        }

        if (keeper != NULL) {
            return bk_fail(err, 409, "TwoStores", "name one of them",
                           "plugins %s and %s are both stores",
                           keeper->label, p->label);
        }

        keeper = p;
    }

    if (keeper == NULL) {
        return bk_fail(err, 404, "NoStore",
                       "name a plugin that is one, e.g. kubernetes",
                       "no plugin of this configuration keeps allocations");
    }

    s->keeper = keeper;
    s->opener = bk_inst(h);

    /* it may have been ready for long */
    evtimer_add(s->turn, &now);

    return 0;
}


void
bk_host_store_put(const bk_host_t *h, const bk_stored_t *row,
    bk_store_pt done, void *data)
{
    bk_err_t        err;
    uint64_t        since;
    bk_store_t     *s;
    bk_store_op_t  *op, *outer;

    op = bk_store_op(h, done, data);
    s = op->store;

    if (row->record.len > BK_STORE_RECORD_MAX) {
        (void) bk_fail(&err, 400, "RecordTooLarge", NULL,
                       "a record has at most %d bytes, and this one %zu",
                       BK_STORE_RECORD_MAX, row->record.len);
        bk_store_later(op, &err);
        return;
    }

    if (s->opener != bk_inst(h) || !bk_store_is_ready(s)) {
        bk_store_refuse(op);
        return;
    }

    outer = s->within;
    s->within = op;
    since = bk_host_monotonic_ms();
    s->keeper->p.store_put(s->keeper->ctx, row, bk_store_done, op);
    bk_host_slow(s->keeper->label, "store_put", since);
    s->within = outer;
}


void
bk_host_store_worker(const bk_host_t *h, const bk_stored_worker_t *w,
    bk_store_pt done, void *data)
{
    uint64_t        since;
    bk_store_t     *s;
    bk_store_op_t  *op, *outer;

    op = bk_store_op(h, done, data);
    s = op->store;

    if (s->opener != bk_inst(h) || !bk_store_is_ready(s)) {
        bk_store_refuse(op);
        return;
    }

    outer = s->within;
    s->within = op;
    since = bk_host_monotonic_ms();
    s->keeper->p.store_worker(s->keeper->ctx, w, bk_store_done, op);
    bk_host_slow(s->keeper->label, "store_worker", since);
    s->within = outer;
}


static bk_store_op_t *
bk_store_op(const bk_host_t *h, bk_store_pt done, void *data)
{
    bk_store_op_t  *op;

    op = calloc(1, sizeof(bk_store_op_t));

    if (op == NULL) {
        abort();
    }

    op->owner = bk_inst(h);
    op->store = bk_store_get(op->owner->core);
    op->done = done;
    op->data = data;
    TAILQ_INSERT_TAIL(&op->store->asked, op, link);

    return op;
}


static void
bk_store_refuse(bk_store_op_t *op)
{
    bk_err_t  err;

    (void) bk_fail(&err, 503, "StoreNotReady", "try again in a moment",
                   "the store of allocations is not ready");
    bk_store_later(op, &err);
}


/* Its done() is called when the loop is free. */

static void
bk_store_later(bk_store_op_t *op, const bk_err_t *err)
{
    bk_store_t      *s;
    struct timeval   now = { 0, 0 };

    s = op->store;

    if (err != NULL) {
        op->err = malloc(sizeof(bk_err_t));

        if (op->err == NULL) {
            abort();
        }

        *op->err = *err;
    }

    op->answered = 1;
    TAILQ_REMOVE(&s->asked, op, link);
    TAILQ_INSERT_TAIL(&s->answered, op, link);
    evtimer_add(s->turn, &now);
}


/* The store's answer. */

static void
bk_store_done(void *data, const bk_err_t *err)
{
    bk_store_op_t *op = data;

    bk_store_t  *s;

    s = op->store;

    if (op->answered) {
        bk_log(BK_LOG_ERROR, s->keeper->label, "answered twice");
        return;
    }

    /* what was refused before it comes first */
    if (op == s->within || !TAILQ_EMPTY(&s->answered)) {
        bk_store_later(op, err);
        return;
    }

    TAILQ_REMOVE(&s->asked, op, link);

    if (bk_store_runs(op->owner) && op->done != NULL) {
        op->done(op->data, err);
    }

    free(op);
}


static void
bk_store_turn(evutil_socket_t fd, short what, void *data)
{
    bk_store_t *s = data;

    bk_store_op_t          *op;
    struct bk_store_ops_s   ops;

    (void) fd;
    (void) what;

    TAILQ_INIT(&ops);
    TAILQ_CONCAT(&ops, &s->answered, link);

    while ((op = TAILQ_FIRST(&ops)) != NULL) {
        TAILQ_REMOVE(&ops, op, link);

        if (bk_store_runs(op->owner) && op->done != NULL) {
            op->done(op->data, op->err);
        }

        free(op->err);
        free(op);
    }

    bk_store_tell(s);
}


int
bk_host_store_each(const bk_host_t *h, bk_stored_pt fn, void *data)
{
    bk_store_t  *s;

    s = bk_store_get(bk_inst(h)->core);

    if (s->opener != bk_inst(h) || !bk_store_is_ready(s)) {
        return 0;
    }

    return s->keeper->p.store_each(s->keeper->ctx, fn, data);
}


int
bk_host_store_workers(const bk_host_t *h, bk_stored_worker_pt fn, void *data)
{
    bk_store_t  *s;

    s = bk_store_get(bk_inst(h)->core);

    if (s->opener != bk_inst(h) || !bk_store_is_ready(s)) {
        return 0;
    }

    return s->keeper->p.store_workers(s->keeper->ctx, fn, data);
}


void
bk_host_store_is(const bk_host_t *h, int ready)
{
    bk_store_t        *s;
    bk_plugin_inst_t  *p;

    p = bk_inst(h);
    s = p->core->store;
    p->store_ready = ready != 0;

    /* while it is opened, or just was, the end of the turn tells it */
    if (s != NULL && s->keeper == p && !s->opener->starting
        && !evtimer_pending(s->turn, NULL))
    {
        bk_store_tell(s);
    }
}


void
bk_host_store_told(const bk_host_t *h, const bk_stored_t *row)
{
    uint64_t     since;
    bk_store_t  *s;

    s = bk_inst(h)->core->store;

    /* who has not heard that it is ready reads all of it then */
    if (s == NULL || s->keeper != bk_inst(h) || !s->told
        || !bk_store_runs(s->opener) || s->opener->p.store_changed == NULL)
    {
        return;
    }

    since = bk_host_monotonic_ms();
    s->opener->p.store_changed(s->opener->ctx, row);
    bk_host_slow(s->opener->label, "store_changed", since);
}


static void
bk_store_tell(bk_store_t *s)
{
    int       ready;
    uint64_t  since;

    ready = bk_store_is_ready(s);

    if (s->told == ready || !bk_store_runs(s->opener)) {
        return;
    }

    s->told = ready;

    if (s->opener->p.store_ready != NULL) {
        since = bk_host_monotonic_ms();
        s->opener->p.store_ready(s->opener->ctx, ready);
        bk_host_slow(s->opener->label, "store_ready", since);
    }
}


int
bk_store_needed(const bk_plugin_inst_t *p)
{
    bk_store_t  *s;

    s = p->core->store;

    return s != NULL && s->keeper == p && bk_store_runs(s->opener);
}


bk_plugin_inst_t *
bk_store_stopped(bk_plugin_inst_t *p)
{
    bk_store_t     *s;
    bk_store_op_t  *op;

    s = p->core->store;

    if (s == NULL || s->keeper == NULL) {
        return NULL;
    }

    if (s->keeper == p) {
        while ((op = TAILQ_FIRST(&s->asked)) != NULL) {
            bk_store_refuse(op);
        }

        bk_store_tell(s);
        return NULL;
    }

    return s->opener == p && bk_store_runs(s->keeper) ? s->keeper : NULL;
}


void
bk_store_free(bk_core_t *core)
{
    bk_store_t  *s;

    s = core->store;

    if (s == NULL) {
        return;
    }

    core->store = NULL;
    event_free(s->turn);

    if (!bk_store_runs(s->keeper)) {
        bk_store_drop(&s->asked);
        bk_store_drop(&s->answered);
        free(s);
    }

    /* else it did not stop in time, and may still answer */
}


static void
bk_store_drop(struct bk_store_ops_s *ops)
{
    bk_store_op_t  *op;

    while ((op = TAILQ_FIRST(ops)) != NULL) {
        TAILQ_REMOVE(ops, op, link);
        free(op->err);
        free(op);
    }
}
