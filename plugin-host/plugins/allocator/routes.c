/*
 * All requests but allocate: lookup, release, renew, revoke, wake.
 *
 * release, renew and lookup are authorised by the allocation's own token;
 * who may call the others is decided before they get here.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocator.h"


/* What an id or its longer forms matched in the model. */
typedef struct {
    const char  *id;
    size_t       len;
    int          found;
    uint8_t      hash[BK_TABLE_HASH_LEN];
} bk_match_t;

/* The worker of a pool that is nearest to being ready. */
typedef struct {
    int   state;
    char  name[BK_TABLE_NAME_LEN];
} bk_best_t;


static void bk_routes_lookup(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static void bk_routes_lookup_answer(bk_allocator_t *a, bk_request_t *r,
    const bk_row_t *row, bk_str_t endpoint, bk_str_t tls_name);
static void bk_routes_release(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static void bk_routes_renew(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static int bk_routes_renewable(bk_allocator_t *a, const uint8_t *hash,
    bk_row_t *row, bk_err_t *err);
static int bk_routes_extend(bk_allocator_t *a, bk_row_t *row, char *token,
    bk_buf_t *b, bk_err_t *err);
static void bk_routes_revoke(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static int bk_routes_reason(bk_allocator_t *a, bk_request_t *r,
    const bk_request_info_t *info, char *reason, bk_err_t *err);
static int bk_routes_find_id(bk_allocator_t *a, bk_str_t id, uint8_t *hash,
    bk_err_t *err);
static int bk_routes_match(const bk_alloc_info_t *alloc, void *data);
static void bk_routes_wake(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static int bk_routes_wakeable(const bk_worker_info_t *worker, void *data);
static int bk_routes_token(bk_str_t body, char *token, uint8_t *hash,
    uint64_t *ttl_ms, bk_err_t *err);
static int bk_routes_known(bk_allocator_t *a, const uint8_t *hash,
    bk_row_t *row, bk_err_t *err);
static int bk_routes_unknown(bk_err_t *err);
static int bk_routes_over(const bk_row_t *row, bk_err_t *err);


int
bk_routes_add(bk_allocator_t *a, bk_err_t *err)
{
    size_t  i;

    static const struct {
        const char  *method;
        const char  *pattern;
        bk_http_pt   handler;
    } routes[] = {
        { "POST", "/api/v1/workers/allocate", bk_allocate_http },
        { "POST", "/api/v1/workers/lookup", bk_routes_lookup },
        { "POST", "/api/v1/workers/release", bk_routes_release },
        { "POST", "/api/v1/workers/renew", bk_routes_renew },
        { "DELETE", "/api/v1/allocations/*", bk_routes_revoke },
        { "POST", "/api/v1/pools/*/wake", bk_routes_wake }
    };

    for (i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        if (a->host->http_route(a->host, 0, routes[i].method,
                                routes[i].pattern, routes[i].handler, a, err)
            != 0)
        {
            return -1;
        }
    }

    return 0;
}


/* "demo" in "default", or a name with a slash as it is. */

int
bk_routes_pool_name(json_t *root, char pool[BK_TABLE_POOL_LEN],
    bk_err_t *err)
{
    int   n;
    char  name[BK_TABLE_POOL_LEN], space[BK_TABLE_POOL_LEN];

    if (bk_json_string(root, "poolName", BK_TABLE_POOL_LEN - 1, name, err)
        == -1
        || bk_json_string(root, "namespace", 63, space, err) == -1)
    {
        return -1;
    }

    if (name[0] == '\0') {
        return bk_fail(err, 400, "MissingField", "bkctl pools lists the pools",
                       "\"poolName\" is missing");
    }

    if (strchr(name, '/') != NULL) {
        n = snprintf(pool, BK_TABLE_POOL_LEN, "%s", name);

    } else {
        n = snprintf(pool, BK_TABLE_POOL_LEN, "%s/%s",
                     space[0] == '\0' ? "default" : space, name);
    }

    if (n < 0 || n >= BK_TABLE_POOL_LEN) {
        return bk_fail(err, 400, "TooLong", NULL,
                       "the name of the pool is too long");
    }

    return 0;
}


/* token: BK_TOKEN_MAX + 1 bytes or NULL; ttl_ms: NULL where there is none */

static int
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


static int
bk_routes_unknown(bk_err_t *err)
{
    return bk_fail(err, 404, "AllocationNotFound",
                   "allocate again; ended allocations are forgotten after "
                   "a time", "there is no such allocation");
}


static int
bk_routes_over(const bk_row_t *row, bk_err_t *err)
{
    char  when[32], id[BK_ID_LEN + 1];

    (void) bk_fail(err, 410, "AllocationEnded", "allocate again",
                   "allocation %s is %s since %s%s%s",
                   bk_token_id(row->hash, id), bk_state_name(row->state),
                   bk_time_format(row->changed_ms, when, sizeof(when)),
                   row->reason[0] == '\0' ? "" : ": ", row->reason);

    return -1;
}


/*
 * From the model, which is the truth for what lives, and from the journal
 * for what ended long ago or is about to be put back.  0, or -1 with 404.
 */

static int
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

    if (row.worker[0] == '\0'
        || h->worker_find(h, bk_str(row.pool), bk_str(row.worker), &worker)
           != 0)
    {
        worker = (bk_worker_info_t) {
            .endpoint = BK_STR(""), .tls_name = BK_STR("")
        };
    }

    bk_routes_lookup_answer(a, r, &row, worker.endpoint, worker.tls_name);
}


static void
bk_routes_lookup_answer(bk_allocator_t *a, bk_request_t *r,
    const bk_row_t *row, bk_str_t endpoint, bk_str_t tls_name)
{
    char      id[BK_ID_LEN + 1], text[BK_TABLE_TLS_NAME_LEN];
    bk_buf_t  b;

    b = (bk_buf_t) { NULL, 0, 0 };

    bk_buf_str(&b, "id", bk_token_id(row->hash, id));
    bk_buf_str(&b, "state", bk_state_name(row->state));
    bk_buf_str(&b, "reason", row->reason);
    bk_buf_str(&b, "poolName", row->pool);
    bk_buf_str(&b, "workerName", row->worker);

    (void) snprintf(text, sizeof(text), "%s%.*s",
                    endpoint.len > 0 ? "tcp://" : "", (int) endpoint.len,
                    endpoint.len > 0 ? endpoint.data : "");
    bk_buf_str(&b, "workerEndpoint", text);

    bk_str_copy(text, sizeof(text), tls_name);
    bk_buf_str(&b, "tlsServerName", text);
    bk_buf_time(&b, "expiresAt", row->expires_ms);
    bk_buf_add(&b, "}\n", 2);

    a->host->http_reply(r, 200, "application/json",
                        (bk_str_t) { b.data, b.len });
    bk_buf_free(&b);
}


static void
bk_routes_release(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    bk_allocator_t *a = data;

    char              id[BK_ID_LEN + 1];
    uint8_t           hash[BK_TABLE_HASH_LEN];
    bk_err_t          err;
    bk_row_t          row;
    const bk_host_t  *h;

    h = a->host;
    err = (bk_err_t) { 0 };

    if (bk_routes_token(info->body, NULL, hash, NULL, &err) != 0
        || bk_routes_known(a, hash, &row, &err) != 0)
    {
        h->http_fail(r, &err);
        return;
    }

    if (row.state < BK_ALLOC_EXPIRED) {
        if (bk_allocator_end(a, hash, BK_ALLOC_RELEASED, "", &err) != 0) {
            h->http_fail(r, &err);
            return;
        }

        h->log(h, BK_LOG_INFO, "allocation %s: released",
               bk_token_id(hash, id));
    }

    h->http_reply(r, 200, "application/json", BK_STR("{}\n"));
}


static void
bk_routes_renew(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    bk_allocator_t *a = data;

    char              token[BK_TOKEN_MAX + 1];
    char              id[BK_ID_LEN + 1], when[32];
    uint8_t           hash[BK_TABLE_HASH_LEN];
    uint64_t          ttl, until;
    bk_buf_t          b;
    bk_err_t          err;
    bk_row_t          row;
    const bk_host_t  *h;

    h = a->host;
    b = (bk_buf_t) { NULL, 0, 0 };
    err = (bk_err_t) { 0 };
    ttl = a->default_ttl_ms;

    memset(token, 0, sizeof(token));

    if (bk_routes_token(info->body, token, hash, &ttl, &err) != 0
        || bk_routes_renewable(a, hash, &row, &err) != 0)
    {
        goto failed;
    }

    if (ttl < BK_SECOND || ttl > a->max_ttl_ms) {
        (void) bk_fail(&err, 400, "BadTtl", NULL,
                       "\"ttl\" must be between 1s and %llus",
                       (unsigned long long) (a->max_ttl_ms / BK_SECOND));
        goto failed;
    }

    until = (h->now_ms(h) + ttl + BK_SECOND - 1) / BK_SECOND * BK_SECOND;

    /* to renew never shortens */
    if (until > row.expires_ms) {
        row.expires_ms = until;
    }

    if (bk_routes_extend(a, &row, token, &b, &err) != 0) {
        goto failed;
    }

    h->log(h, BK_LOG_INFO, "allocation %s: renewed until %s",
           bk_token_id(hash, id),
           bk_time_format(row.expires_ms, when, sizeof(when)));

    h->http_reply(r, 200, "application/json",
                  (bk_str_t) { b.data, b.len });

    bk_buf_free(&b);
    bk_wipe(token, sizeof(token));
    return;

failed:

    h->http_fail(r, &err);
    bk_buf_free(&b);
    bk_wipe(token, sizeof(token));
}


/* *row comes from the journal, its state from the model. */

static int
bk_routes_renewable(bk_allocator_t *a, const uint8_t *hash, bk_row_t *row,
    bk_err_t *err)
{
    int       n;
    bk_row_t  known;

    if (bk_routes_known(a, hash, &known, err) != 0) {
        return -1;
    }

    if (known.state >= BK_ALLOC_EXPIRED) {
        return bk_routes_over(&known, err);
    }

    n = bk_journal_find(a->journal, hash, row, err);

    if (n == 0) {
        return bk_fail(err, 409, "NotOurs",
                       "renew it where it was made",
                       "this allocation was not made by this API");
    }

    if (n == -1) {
        return -1;
    }

    row->state = known.state;
    return 0;
}


static int
bk_routes_extend(bk_allocator_t *a, bk_row_t *row, char *token, bk_buf_t *b,
    bk_err_t *err)
{
    int                rc;
    char               cn[sizeof("alloc:") + BK_TOKEN_MAX];
    char               id[BK_ID_LEN + 1];
    uint8_t            key_hash[32];
    bk_cert_t          cert;
    bk_pending_t      *p;
    const bk_host_t   *h;
    bk_alloc_info_t    info;
    bk_cert_request_t  req;

    h = a->host;

    (void) snprintf(cn, sizeof(cn), "alloc:%s", token);

    req = (bk_cert_request_t) {
        .kind = BK_CERT_CLIENT,
        .cn = bk_str(cn),
        .names = BK_STR(""),
        .csr = BK_STR(""),
        .spki = { (const char *) row->spki, row->spki_len },
        .not_after_ms = row->expires_ms + BK_GRACE
    };

    rc = h->cert_issue(h, &req, &cert, err);
    bk_wipe(cn, sizeof(cn));

    if (rc != 0) {
        return -1;
    }

    memcpy(key_hash, cert.key_hash, sizeof(key_hash));

    bk_buf_str(b, "id", bk_token_id(row->hash, id));
    bk_buf_str(b, "state", bk_state_name(row->state));
    bk_buf_time(b, "expiresAt", row->expires_ms);
    bk_buf_base64(b, "caCert", cert.ca);
    bk_buf_base64(b, "clientCert", cert.cert);
    bk_buf_add(b, "}\n", 2);

    if (bk_journal_extend(a->journal, row->hash, row->expires_ms,
                          h->now_ms(h), err) != 0)
    {
        return -1;
    }

    p = bk_restore_find(a, row->hash);

    if (p != NULL) {
        /* it is put when its worker appears, with the new time */
        p->row.expires_ms = row->expires_ms;
        return 0;
    }

    info = (bk_alloc_info_t) {
        .hash = row->hash,
        .key_hash = key_hash,
        .pool = bk_str(row->pool),
        .worker = bk_str(row->worker),
        .expires_ms = row->expires_ms,
        .state = row->state
    };

    return h->alloc_put(h, &info, err);
}


static void
bk_routes_revoke(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    bk_allocator_t *a = data;

    char              id[BK_ID_LEN + 1], reason[BK_TABLE_TEXT_LEN];
    uint8_t           hash[BK_TABLE_HASH_LEN];
    bk_buf_t          b;
    bk_err_t          err;
    bk_row_t          row;
    const bk_host_t  *h;

    h = a->host;
    err = (bk_err_t) { 0 };

    if (bk_routes_reason(a, r, info, reason, &err) != 0
        || bk_routes_find_id(a, info->param, hash, &err) != 0
        || bk_routes_known(a, hash, &row, &err) != 0)
    {
        h->http_fail(r, &err);
        return;
    }

    if (row.state >= BK_ALLOC_EXPIRED) {
        if (row.state != BK_ALLOC_REVOKED) {
            (void) bk_routes_over(&row, &err);
            err.hint[0] = '\0';
            h->http_fail(r, &err);
            return;
        }

        /* twice is once */
        memcpy(reason, row.reason, sizeof(reason));

    } else if (bk_allocator_end(a, hash, BK_ALLOC_REVOKED, reason, &err)
               != 0)
    {
        h->http_fail(r, &err);
        return;
    }

    h->log(h, BK_LOG_INFO, "allocation %s: revoked by %.*s: %s",
           bk_token_id(hash, id), (int) info->client.len, info->client.data,
           reason);

    b = (bk_buf_t) { NULL, 0, 0 };
    bk_buf_str(&b, "id", id);
    bk_buf_str(&b, "state", "revoked");
    bk_buf_str(&b, "reason", reason);
    bk_buf_add(&b, "}\n", 2);

    h->http_reply(r, 200, "application/json",
                  (bk_str_t) { b.data, b.len });
    bk_buf_free(&b);
}


static int
bk_routes_reason(bk_allocator_t *a, bk_request_t *r,
    const bk_request_info_t *info, char *reason, bk_err_t *err)
{
    int      rc;
    char     query[4 * BK_TABLE_TEXT_LEN];
    json_t  *root;

    reason[0] = '\0';

    if (info->body.len > 0) {
        root = bk_json_read(info->body, err);

        if (root == NULL) {
            return -1;
        }

        rc = bk_json_string(root, "reason", BK_REASON_MAX, reason, err);
        json_decref(root);

        if (rc == -1) {
            return -1;
        }
    }

    if (reason[0] == '\0'
        && a->host->http_query(r, "reason", query, sizeof(query)) == 0)
    {
        if (strlen(query) > BK_REASON_MAX || !bk_text_valid(query)) {
            return bk_fail(err, 400, "BadValue", NULL,
                           "\"reason\" must have at most %d bytes and no "
                           "control characters", BK_REASON_MAX);
        }

        memcpy(reason, query, strlen(query) + 1);
    }

    if (reason[0] == '\0') {
        bk_str_copy(reason, BK_TABLE_TEXT_LEN,
                    BK_STR("revoked by an operator"));
    }

    return 0;
}


static int
bk_routes_match(const bk_alloc_info_t *alloc, void *data)
{
    bk_match_t *m = data;

    char    hex[2 * BK_TABLE_HASH_LEN + 1];
    size_t  i;

    for (i = 0; i < (m->len + 1) / 2; i++) {
        (void) snprintf(hex + 2 * i, 3, "%02x", alloc->hash[i]);
    }

    if (memcmp(hex, m->id, m->len) == 0) {
        memcpy(m->hash, alloc->hash, BK_TABLE_HASH_LEN);
        m->found++;
    }

    return m->found > 1;
}


/* The journal has an index; the model also knows those of other plugins. */

static int
bk_routes_find_id(bk_allocator_t *a, bk_str_t id, uint8_t *hash,
    bk_err_t *err)
{
    int         n;
    char        text[2 * BK_TABLE_HASH_LEN + 1];
    uint8_t     prefix[BK_ID_LEN / 2];
    size_t      i;
    unsigned    byte;
    bk_row_t    row;
    bk_match_t  m;

    bk_str_copy(text, sizeof(text), id);

    if (id.len < BK_ID_LEN || id.len >= sizeof(text)
        || strspn(text, "0123456789abcdef") != id.len)
    {
        return bk_fail(err, 400, "BadId", "bkctl allocations lists them",
                       "an allocation's id is %d lower-case hex digits",
                       BK_ID_LEN);
    }

    for (i = 0; i < sizeof(prefix); i++) {
        (void) sscanf(text + 2 * i, "%2x", &byte);
        prefix[i] = (uint8_t) byte;
    }

    m = (bk_match_t) { .id = text, .len = id.len };

    n = bk_journal_prefix(a->journal, prefix, sizeof(prefix), &row, err);

    if (n == -1) {
        return -1;
    }

    if (n == 1 && id.len == BK_ID_LEN) {
        m.found = 1;
        memcpy(m.hash, row.hash, BK_TABLE_HASH_LEN);

    } else {
        (void) a->host->alloc_each(a->host, BK_STR(""), bk_routes_match, &m);
    }

    if (m.found == 0) {
        return bk_routes_unknown(err);
    }

    if (m.found > 1) {
        return bk_fail(err, 409, "Ambiguous",
                       "give more digits of the token's SHA-256",
                       "several allocations have the id %s", text);
    }

    memcpy(hash, m.hash, BK_TABLE_HASH_LEN);
    return 0;
}


/* Finds the worker to wake: a ready one is the best, then a stopped one. */

static int
bk_routes_wakeable(const bk_worker_info_t *worker, void *data)
{
    bk_best_t *best = data;

    static const int  rank[BK_WORKER_STATES] = {
        [BK_WORKER_FAILED] = 1, [BK_WORKER_STOPPED] = 2,
        [BK_WORKER_STARTING] = 3, [BK_WORKER_READY] = 4
    };

    if (rank[worker->state] > rank[best->state]) {
        best->state = worker->state;
        bk_str_copy(best->name, sizeof(best->name), worker->name);
    }

    return 0;
}


static void
bk_routes_wake(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    bk_allocator_t *a = data;

    char              name[BK_TABLE_POOL_LEN], space[64];
    char              pool[BK_TABLE_POOL_LEN + 64];
    bk_buf_t          b;
    bk_err_t          err;
    bk_best_t         best;
    bk_pool_info_t    found;
    const bk_host_t  *h;

    h = a->host;
    err = (bk_err_t) { 0 };

    bk_str_copy(name, sizeof(name), info->param);

    if (h->http_query(r, "namespace", space, sizeof(space)) != 0
        || space[0] == '\0')
    {
        bk_str_copy(space, sizeof(space), BK_STR("default"));
    }

    if (strchr(name, '/') != NULL) {
        (void) snprintf(pool, sizeof(pool), "%s", name);

    } else {
        (void) snprintf(pool, sizeof(pool), "%s/%s", space, name);
    }

    if (!bk_text_valid(pool) || h->pool_find(h, bk_str(pool), &found) != 0) {
        (void) bk_fail(&err, 404, "PoolNotFound",
                       "bkctl pools lists them", "there is no pool %s",
                       pool);
        goto failed;
    }

    best = (bk_best_t) { .state = BK_WORKER_FREE };

    (void) h->worker_each(h, bk_str(pool), bk_routes_wakeable, &best);

    if (best.state == BK_WORKER_FREE) {
        (void) bk_fail(&err, 503, "NoCapacity",
                       "look at bkctl workers and the configuration",
                       "pool %s has no worker that could be started", pool);
        h->http_header(r, "Retry-After", "5");
        goto failed;
    }

    if (h->worker_want(h, bk_str(pool), bk_str(best.name), 1, &err) != 0
        && best.state != BK_WORKER_READY)
    {
        goto failed;
    }

    b = (bk_buf_t) { NULL, 0, 0 };
    bk_str_copy(name, sizeof(name), h->gateway_endpoint(h));
    bk_buf_str(&b, "endpoint", name);
    bk_buf_str(&b, "poolName", pool);
    bk_buf_str(&b, "workerName", best.name);
    bk_buf_add(&b, ",\"ready\":", 9);

    if (best.state == BK_WORKER_READY) {
        bk_buf_add(&b, "true}\n", 6);

    } else {
        bk_buf_add(&b, "false}\n", 7);
    }

    h->http_reply(r, 200, "application/json",
                  (bk_str_t) { b.data, b.len });
    bk_buf_free(&b);
    return;

failed:

    h->http_fail(r, &err);
}
