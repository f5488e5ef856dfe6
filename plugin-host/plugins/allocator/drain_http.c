/*
 * Drain, as it is asked for: which worker, in which pool, may he do that, and
 * how far it is.
 */

#include <stdlib.h>
#include <string.h>

#include "allocator.h"
#include "bk_report.h"


/* Where a worker of that name is. */
typedef struct {
    bk_allocator_t  *a;
    bk_request_t    *r;
    int              verb;
    bk_str_t         name;
    int              found;
    char             pool[BK_TABLE_POOL_LEN];
} bk_where_t;


/* A drain that is being written, or its end. */
typedef struct {
    bk_allocator_t  *a;
    bk_request_t    *r;
    int              undo;
    bk_drain_t       drain;
} bk_draining_t;


/* Who is on a worker now. */
typedef struct {
    const char  *pool;
    const char  *worker;
    unsigned     connections;
    unsigned     builds;
} bk_users_t;


static void bk_drain_audit(bk_draining_t *d, const bk_err_t *err);
static void bk_drain_written(void *data, const bk_err_t *err);
static int bk_drain_read(bk_str_t body, char *pool, char *reason, int *undo,
    bk_err_t *err);
static int bk_drain_whose(bk_allocator_t *a, bk_request_t *r, int verb,
    bk_str_t name, char *pool, bk_err_t *err);
static int bk_drain_known(bk_allocator_t *a, bk_str_t name, const char *pool,
    bk_err_t *err);
static int bk_drain_seen(const bk_worker_info_t *worker, void *data);
static void bk_drain_note(bk_where_t *where, bk_str_t pool);
static void bk_drain_answer(bk_allocator_t *a, bk_request_t *r,
    const char *pool, const char *worker);
static int bk_drain_session(const bk_session_info_t *session, void *data);


/* POST /api/v1/workers/NAME/drain */

void
bk_drain_http(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    bk_allocator_t *a = data;

    bk_err_t          err;
    bk_draining_t    *d;
    const bk_host_t  *h;

    h = a->host;
    err = (bk_err_t) { 0 };
    d = calloc(1, sizeof(bk_draining_t));

    if (d == NULL) {
        abort();
    }

    d->a = a;
    d->r = r;
    d->drain.since_ms = h->now_ms(h);

    if (bk_drain_read(info->body, d->drain.pool, d->drain.reason, &d->undo,
                      &err) != 0
        || bk_drain_whose(a, r, BK_VERB_DRAIN, info->param, d->drain.pool,
                          &err) != 0)
    {
        h->http_fail(r, &err);
        free(d);
        return;
    }

    bk_str_copy(d->drain.worker, sizeof(d->drain.worker), info->param);

    h->log(h, BK_LOG_INFO, "worker %s/%s: %s by %.*s%s%s", d->drain.pool,
           d->drain.worker, d->undo ? "taken back" : "drained",
           (int) info->client.len, info->client.data,
           !d->undo && d->drain.reason[0] != '\0' ? ": " : "",
           d->undo ? "" : d->drain.reason);

    /* it is drained all the same when the caller goes away meanwhile */
    if (d->undo) {
        bk_journal_undrain(a->journal, d->drain.pool, d->drain.worker,
                           bk_drain_written, d);

    } else {
        bk_journal_drain(a->journal, d->drain.pool, d->drain.worker,
                         d->drain.reason, d->drain.since_ms,
                         bk_drain_written, d);
    }
}


static void
bk_drain_audit(bk_draining_t *d, const bk_err_t *err)
{
    bk_buf_t  b;

    b = (bk_buf_t) { NULL, 0, 0 };
    bk_buf_str(&b, "pool", d->drain.pool);
    bk_buf_str(&b, "worker", d->drain.worker);

    if (err == NULL) {
        bk_buf_str(&b, "reason", d->drain.reason);
    }

    bk_buf_audit(d->a, d->r, "drain", d->undo ? "taken back" : "drained", err,
                 &b);
}


static void
bk_drain_written(void *data, const bk_err_t *err)
{
    bk_draining_t *d = data;

    bk_allocator_t  *a;

    a = d->a;
    bk_drain_audit(d, err);

    if (err != NULL) {
        a->host->http_fail(d->r, err);
        free(d);
        return;
    }

    if (d->undo) {
        bk_drain_undo(a, d->drain.pool, d->drain.worker);

    } else {
        bk_drain_add(a, &d->drain);
        bk_drain_run(a);
    }

    bk_drain_answer(a, d->r, d->drain.pool, d->drain.worker);
    free(d);
}


/* GET: how far it is. */

void
bk_drain_look_http(bk_request_t *r, const bk_request_info_t *info,
    void *data)
{
    bk_allocator_t *a = data;

    char              pool[BK_TABLE_POOL_LEN], worker[BK_TABLE_NAME_LEN];
    bk_err_t          err;

    err = (bk_err_t) { 0 };

    if (a->host->http_query(r, "pool", pool, sizeof(pool)) != 0) {
        pool[0] = '\0';
    }

    if (bk_drain_whose(a, r, BK_VERB_LIST, info->param, pool, &err) != 0) {
        a->host->http_fail(r, &err);
        return;
    }

    bk_str_copy(worker, sizeof(worker), info->param);
    bk_drain_answer(a, r, pool, worker);
}


static int
bk_drain_read(bk_str_t body, char *pool, char *reason, int *undo,
    bk_err_t *err)
{
    int      rc;
    json_t  *root, *value;

    root = bk_json_read(body, err);

    if (root == NULL) {
        return -1;
    }

    value = json_object_get(root, "undo");
    *undo = json_is_true(value);

    rc = bk_json_string(root, "poolName", BK_TABLE_POOL_LEN - 1, pool, err);

    if (rc == 1) {
        rc = bk_request_pool_name(root, pool, err);
    }

    if (rc == 0) {
        rc = bk_json_string(root, "reason", BK_REASON_MAX, reason, err);
    }

    if (rc != -1 && value != NULL && !json_is_boolean(value)
        && !json_is_null(value))
    {
        rc = bk_fail(err, 400, "WrongType", NULL,
                     "\"undo\" must be a boolean");
    }

    json_decref(root);

    return rc == -1 ? -1 : 0;
}


/*
 * In pool, or in the only one that has a worker of this name, of those in
 * which the caller may do verb.  One that is gone may still be drained: it
 * must be possible to undo that.
 */

static int
bk_drain_whose(bk_allocator_t *a, bk_request_t *r, int verb, bk_str_t name,
    char *pool, bk_err_t *err)
{
    bk_drain_t       *d;
    bk_where_t        where;
    bk_decision_t     rule;
    const bk_host_t  *h;

    h = a->host;

    if (pool[0] != '\0') {
        return h->http_allowed(r, verb, bk_str(pool), &rule, sizeof(rule),
                               err) == 0
               ? bk_drain_known(a, name, pool, err) : -1;
    }

    where = (bk_where_t) { .a = a, .r = r, .verb = verb, .name = name };

    (void) h->worker_each(h, BK_STR(""), bk_drain_seen, &where);

    TAILQ_FOREACH(d, &a->drains, link) {
        if (bk_drain_is(name, d->worker)) {
            bk_drain_note(&where, bk_str(d->pool));
        }
    }

    if (where.found == 0) {
        return bk_fail(err, 404, "WorkerNotFound", "bkctl workers lists them",
                       "there is no worker %.*s",
                       (int) (name.len < 253 ? name.len : 253), name.data);
    }

    if (where.found > 1) {
        return bk_fail(err, 409, "Ambiguous", "say which: poolName, or --pool",
                       "several pools have a worker %.*s", (int) name.len,
                       name.data);
    }

    memcpy(pool, where.pool, sizeof(where.pool));

    return 0;
}


static int
bk_drain_known(bk_allocator_t *a, bk_str_t name, const char *pool,
    bk_err_t *err)
{
    bk_pool_info_t     found;
    const bk_host_t   *h;
    bk_worker_info_t   worker;

    h = a->host;

    if (h->worker_find(h, bk_str(pool), name, &worker) == 0
        || bk_drain_find(a, bk_str(pool), name) != NULL)
    {
        return 0;
    }

    if (h->pool_find(h, bk_str(pool), &found) != 0) {
        return bk_fail(err, 404, "PoolNotFound", "bkctl pools lists them",
                       "there is no pool %s", pool);
    }

    return bk_fail(err, 404, "WorkerNotFound", "bkctl workers lists them",
                   "there is no worker %.*s in pool %s",
                   (int) (name.len < 253 ? name.len : 253), name.data, pool);
}


static int
bk_drain_seen(const bk_worker_info_t *worker, void *data)
{
    bk_where_t *where = data;

    if (worker->name.len == where->name.len
        && memcmp(worker->name.data, where->name.data, where->name.len) == 0)
    {
        bk_drain_note(where, worker->pool);
    }

    return 0;
}


static void
bk_drain_note(bk_where_t *where, bk_str_t pool)
{
    bk_decision_t  rule;

    if (where->a->host->http_allowed(where->r, where->verb, pool, &rule,
                                     sizeof(rule), NULL) != 0)
    {
        return;
    }

    if (where->found > 0 && strlen(where->pool) == pool.len
        && memcmp(where->pool, pool.data, pool.len) == 0)
    {
        return;
    }

    where->found++;
    bk_str_copy(where->pool, sizeof(where->pool), pool);
}


static void
bk_drain_answer(bk_allocator_t *a, bk_request_t *r, const char *pool,
    const char *worker)
{
    bk_buf_t          b;
    bk_drain_t       *d;
    bk_users_t        users;
    const bk_host_t  *h;
    bk_worker_info_t  info;

    h = a->host;
    b = (bk_buf_t) { NULL, 0, 0 };
    users = (bk_users_t) { .pool = pool, .worker = worker };
    info = (bk_worker_info_t) { .state = BK_WORKER_FREE };

    d = bk_drain_find(a, bk_str(pool), bk_str(worker));

    (void) h->worker_find(h, bk_str(pool), bk_str(worker), &info);
    /* not worker_use(), which is up to a second old: none must mean none */
    (void) h->session_each(h, bk_drain_session, &users);

    bk_buf_str(&b, "worker", worker);
    bk_buf_str(&b, "pool", pool);
    bk_buf_str(&b, "state", bk_worker_state(info.state));
    bk_buf_bool(&b, "drained", d != NULL);
    bk_buf_str(&b, "reason", d != NULL ? d->reason : "");
    bk_buf_number(&b, "allocations", info.allocations);
    bk_buf_number(&b, "connections", users.connections);
    bk_buf_number(&b, "builds", users.builds);
    bk_buf_add(&b, "}\n", 2);

    h->http_reply(r, 200, "application/json",
                  (bk_str_t) { b.data, b.len });
    bk_buf_free(&b);
}


/* Those that wait, are being connected or are live, but for mere looks. */

static int
bk_drain_session(const bk_session_info_t *session, void *data)
{
    bk_users_t *users = data;

    if (session->kind != BK_KIND_LOOK
        && (session->phase == BK_PHASE_HELD
            || session->phase == BK_PHASE_CONNECTING
            || session->phase == BK_PHASE_LIVE)
        && bk_drain_is(session->worker, users->worker)
        && bk_drain_is(session->pool, users->pool))
    {
        users->connections++;
        users->builds += session->kind == BK_KIND_BUILD;
    }

    return 0;
}
