/*
 * Which request goes where; lookup and release.
 *
 * release, renew and lookup are authorised by the allocation's own token.
 * Of the others the host knows who asks, and that a rule lets him do it
 * somewhere; the handlers ask for the pool.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocator.h"


/* A release that is being written. */
typedef struct {
    bk_allocator_t  *a;
    bk_request_t    *r;
    bk_buf_t         line;      /* for the audit log */
} bk_going_t;


static void bk_routes_lookup(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static void bk_routes_lookup_answer(bk_allocator_t *a, bk_request_t *r, const
    bk_row_t *row, const bk_worker_info_t *worker);
static void bk_routes_connections(bk_allocator_t *a, bk_request_t *r,
    const char *id, bk_buf_t *b);
static void bk_routes_release(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static void bk_routes_released(void *data, const bk_err_t *err);


int
bk_routes_add(bk_allocator_t *a, bk_err_t *err)
{
    size_t  i;

    static const struct {
        const char  *method;
        const char  *pattern;
        int          verb;
        bk_http_pt   handler;
    } routes[] = {
        { "POST", "/api/v1/workers/allocate", BK_VERB_ALLOCATE,
          bk_allocate_http },
        { "POST", "/api/v1/allocate", BK_VERB_ALLOCATE,
          bk_old_allocate_http },
        { "POST", "/api/v1/certs/request", BK_VERB_CERTS,
          bk_old_certs_http },
        { "POST", "/api/v1/workers/lookup", BK_VERB_NONE, bk_routes_lookup },
        { "POST", "/api/v1/workers/release", BK_VERB_NONE,
          bk_routes_release },
        { "POST", "/api/v1/workers/renew", BK_VERB_NONE, bk_renew_http },
        { "GET", "/api/v1/allocations/*", BK_VERB_LIST, bk_show_http },
        { "DELETE", "/api/v1/allocations/*", BK_VERB_REVOKE,
          bk_revoke_http },
        { "POST", "/api/v1/allocations/*/release", BK_VERB_RELEASE,
          bk_release_other_http },
        { "POST", "/api/v1/pools/*/wake", BK_VERB_WAKE, bk_wake_http },
        { "POST", "/api/v1/workers/*/drain", BK_VERB_DRAIN, bk_drain_http },
        { "GET", "/api/v1/workers/*/drain", BK_VERB_LIST,
          bk_drain_look_http }
    };

    for (i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        if (a->host->http_route_for(a->host, routes[i].method,
                                    routes[i].pattern, routes[i].verb,
                                    routes[i].handler, a, err)
            != 0)
        {
            return -1;
        }
    }

    return 0;
}


/* token: BK_TOKEN_MAX + 1 bytes or NULL; ttl_ms: NULL where there is none */

int
bk_routes_token(bk_str_t body, char *token, uint8_t *hash, uint64_t *ttl_ms,
    bk_err_t *err)
{
    int      rc;
    char     text[BK_TOKEN_MAX + 1];
    json_t  *root;

    root = bk_json_read(body, err);

    if (root == NULL) {
        return -1;
    }

    rc = bk_json_string(root, "token", BK_TOKEN_MAX, text, err);

    if (rc == 0) {
        rc = bk_fail(err, 400, "MissingField", NULL, "\"token\" is missing");

    } else if (rc == 1 && !bk_token_valid(text, strlen(text))) {
        rc = bk_fail(err, 400, "BadToken", NULL,
                     "\"token\" is not a token: base64url, at most %d "
                     "characters", BK_TOKEN_MAX);
    }

    if (rc == 1 && ttl_ms != NULL
        && bk_json_duration(root, "ttl", ttl_ms, err) == -1)
    {
        rc = -1;
    }

    if (rc == 1) {
        bk_token_hash(text, strlen(text), hash);

        if (token != NULL) {
            memcpy(token, text, sizeof(text));
        }
    }

    bk_wipe(text, sizeof(text));
    bk_json_wipe(&root);

    return rc == 1 ? 0 : -1;
}


int
bk_routes_unknown(bk_err_t *err)
{
    return bk_fail(err, 404, "AllocationNotFound",
                   "allocate again; ended allocations are forgotten after "
                   "a time", "there is no such allocation");
}


void
bk_routes_fail(bk_allocator_t *a, bk_request_t *r, const char *what,
    const bk_row_t *row, const bk_err_t *err)
{
    bk_buf_t  b;

    b = (bk_buf_t) { NULL, 0, 0 };

    if (row != NULL && row->pool[0] != '\0') {
        bk_buf_allocation(&b, row->hash, row->pool);
    }

    bk_buf_audit(a, r, what, "failed", err, &b);
    a->host->http_fail(r, err);
}


int
bk_routes_over(const bk_row_t *row, bk_err_t *err)
{
    char  when[32], id[BK_ID_LEN + 1];

    /* "expired at", "failed at", but "was revoked at" */
    (void) bk_fail(err, 410, "AllocationEnded", "allocate again",
                   "allocation %s %s%s at %s%s%s",
                   bk_token_id(row->hash, id),
                   row->state == BK_ALLOC_RELEASED
                   || row->state == BK_ALLOC_REVOKED ? "was " : "",
                   bk_state_name(row->state),
                   bk_time_format(row->changed_ms, when, sizeof(when)),
                   row->reason[0] == '\0' ? "" : ": ", row->reason);

    return -1;
}


/*
 * From the model, which is the truth for what lives, and from the journal
 * for what ended long ago or is about to be put back.  0, or -1 with 404.
 */

int
bk_routes_known(bk_allocator_t *a, const uint8_t *hash, bk_row_t *row,
    bk_err_t *err)
{
    int               n;
    bk_alloc_info_t   info;
    const bk_host_t  *h;

    h = a->host;

    if (h->alloc_find(h, hash, &info) == 0) {
        memset(row, 0, sizeof(bk_row_t));
        memcpy(row->hash, hash, BK_TABLE_HASH_LEN);
        bk_str_copy(row->pool, sizeof(row->pool), info.pool);
        bk_str_copy(row->worker, sizeof(row->worker), info.worker);
        bk_str_copy(row->reason, sizeof(row->reason), info.reason);
        row->expires_ms = info.expires_ms;
        row->changed_ms = info.changed_ms;
        row->state = info.state;
        return 0;
    }

    n = bk_journal_find(a->journal, hash, row, err);

    if (n == 1) {
        if (row->state < BK_ALLOC_EXPIRED) {
            row->state = BK_ALLOC_STARTING;
        }

        return 0;
    }

    return n == 0 ? bk_routes_unknown(err) : -1;
}


static void
bk_routes_lookup(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    bk_allocator_t *a = data;

    uint8_t           hash[BK_TABLE_HASH_LEN];
    bk_err_t          err;
    bk_row_t          row;
    bk_record_t      *rec;
    const bk_host_t  *h;
    bk_worker_info_t  worker;

    h = a->host;
    err = (bk_err_t) { 0 };

    if (bk_routes_token(info->body, NULL, hash, NULL, &err) != 0
        || bk_routes_known(a, hash, &row, &err) != 0)
    {
        h->http_fail(r, &err);
        return;
    }

    if (row.state >= BK_ALLOC_EXPIRED) {
        (void) bk_routes_over(&row, &err);
        h->http_fail(r, &err);
        return;
    }

    rec = bk_record_find(a->records, hash);

    if (rec != NULL) {
        bk_lease_touch(a, rec);
    }

    if (row.worker[0] == '\0'
        || h->worker_find(h, bk_str(row.pool), bk_str(row.worker), &worker)
           != 0)
    {
        worker = (bk_worker_info_t) { .state = BK_WORKER_FREE };
    }

    bk_routes_lookup_answer(a, r, &row, &worker);
}


static void
bk_routes_lookup_answer(bk_allocator_t *a, bk_request_t *r,
    const bk_row_t *row, const bk_worker_info_t *worker)
{
    char          id[BK_ID_LEN + 1], text[BK_TABLE_TLS_NAME_LEN];
    bk_buf_t      b;
    bk_str_t      endpoint;
    bk_record_t  *rec;

    b = (bk_buf_t) { NULL, 0, 0 };
    endpoint = worker->endpoint;
    rec = bk_record_find(a->records, row->hash);

    bk_buf_str(&b, "id", bk_token_id(row->hash, id));
    bk_buf_str(&b, "state", bk_state_name(row->state));

    if (rec != NULL) {
        bk_answer_queue(a, rec, &b);
    }

    bk_buf_str(&b, "reason", row->reason);
    bk_buf_str(&b, "poolName", row->pool);
    bk_buf_str(&b, "workerName", row->worker);

    (void) snprintf(text, sizeof(text), "%s%.*s",
                    endpoint.len > 0 ? "tcp://" : "", (int) endpoint.len,
                    endpoint.len > 0 ? endpoint.data : "");
    bk_buf_str(&b, "workerEndpoint", text);

    bk_str_copy(text, sizeof(text), worker->tls_name);
    bk_buf_str(&b, "tlsServerName", text);
    bk_buf_str(&b, "workerState", bk_worker_state(worker->state));
    bk_str_copy(text, sizeof(text), worker->message);
    bk_buf_str(&b, "workerMessage", text);
    bk_buf_time(&b, "expiresAt", row->expires_ms);
    bk_buf_time(&b, "changedAt", row->changed_ms);
    bk_routes_connections(a, r, id, &b);
    bk_buf_add(&b, "}\n", 2);

    a->host->http_reply(r, 200, "application/json",
                        (bk_str_t) { b.data, b.len });
    bk_buf_free(&b);
}


/* Only where it is asked for: it is a look at all connections there are. */

static void
bk_routes_connections(bk_allocator_t *a, bk_request_t *r, const char *id,
    bk_buf_t *b)
{
    char        text[8];
    bk_count_t  n;

    if (a->host->http_query(r, "connections", text, sizeof(text)) == 0) {
        bk_ending_count(a, id, &n);
        bk_buf_number(b, "held", n.held);
        bk_buf_number(b, "live", n.live);
    }
}


static void
bk_routes_release(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    bk_allocator_t *a = data;

    char              id[BK_ID_LEN + 1];
    uint8_t           hash[BK_TABLE_HASH_LEN];
    bk_err_t          err;
    bk_row_t          row;
    bk_going_t       *g;
    bk_record_t      *rec;
    const bk_host_t  *h;

    h = a->host;
    err = (bk_err_t) { 0 };

    if (bk_routes_token(info->body, NULL, hash, NULL, &err) != 0
        || bk_routes_known(a, hash, &row, &err) != 0
        || bk_over_unwritten(a, hash, &err))
    {
        bk_routes_fail(a, r, "release", NULL, &err);
        return;
    }

    if (row.state >= BK_ALLOC_EXPIRED) {
        h->http_reply(r, 200, "application/json", BK_STR("{}\n"));
        return;
    }

    g = calloc(1, sizeof(bk_going_t));

    if (g == NULL) {
        abort();
    }

    g->a = a;
    g->r = r;

    bk_buf_allocation(&g->line, hash, row.pool);
    rec = bk_record_find(a->records, hash);

    if (rec != NULL) {
        bk_buf_str(&g->line, "owner", bk_queue_user_owner(rec->user));
    }

    h->log(h, BK_LOG_INFO, "allocation %s: released", bk_token_id(hash, id));

    /* it is released all the same when the caller goes away meanwhile */
    bk_allocator_end(a, hash, BK_ALLOC_RELEASED, "", bk_routes_released, g);
}


static void
bk_routes_released(void *data, const bk_err_t *err)
{
    bk_going_t *g = data;

    if (err != NULL) {
        /* for the gateways it has (over.c) */
        bk_buf_bool(&g->line, "ended", 1);
    }

    bk_buf_audit(g->a, g->r, "release", "released", err, &g->line);

    if (err == NULL) {
        g->a->host->http_reply(g->r, 200, "application/json",
                               BK_STR("{}\n"));

    } else {
        g->a->host->http_fail(g->r, err);
    }

    free(g);
}
