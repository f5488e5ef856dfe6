/*
 * Renew: a longer life, a new certificate for the same public key.  The
 * order is that of allocate: journal, model, table, answer.
 *
 * One that is queued has not begun to live: it gets its certificate, and its
 * place in the queue is kept, for somebody wants it.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocator.h"


/* A renewal that is being written. */
typedef struct {
    bk_allocator_t  *a;
    bk_request_t    *r;
    uint8_t          hash[BK_TABLE_HASH_LEN];
    uint64_t         until_ms;
    bk_buf_t         answer;
    bk_buf_t         line;      /* for the audit log */
} bk_renewal_t;


static int bk_renew_allowed(bk_allocator_t *a, const uint8_t *hash,
    bk_row_t *row, bk_err_t *err);
static int bk_renew_until(bk_allocator_t *a, const bk_row_t *row,
    uint64_t ttl, uint64_t *until, bk_err_t *err);
static int bk_renew_cert(bk_allocator_t *a, const bk_row_t *row,
    const char *token, uint64_t until, bk_buf_t *b, bk_err_t *err);
static void bk_renew_write(bk_allocator_t *a, bk_request_t *r,
    const bk_row_t *row, uint64_t until, bk_buf_t *b);
static void bk_renew_line(bk_buf_t *b, const bk_row_t *row, uint64_t until);
static void bk_renew_written(void *data, const bk_err_t *err);
static int bk_renew_model(const bk_renewal_t *n, bk_err_t *err);


void
bk_renew_http(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    bk_allocator_t *a = data;

    char              token[BK_TOKEN_MAX + 1];
    uint8_t           hash[BK_TABLE_HASH_LEN];
    uint64_t          ttl, until;
    bk_buf_t          b, line;
    bk_err_t          err;
    bk_row_t          row;
    bk_record_t      *rec;
    const bk_host_t  *h;

    h = a->host;
    b = (bk_buf_t) { NULL, 0, 0 };
    err = (bk_err_t) { 0 };
    ttl = 0;
    until = 0;

    memset(token, 0, sizeof(token));
    memset(&row, 0, sizeof(row));

    if (bk_routes_token(info->body, token, hash, &ttl, &err) != 0
        || bk_renew_allowed(a, hash, &row, &err) != 0
        || bk_renew_until(a, &row, ttl, &until, &err) != 0
        || bk_renew_cert(a, &row, token, until, &b, &err) != 0)
    {
        bk_routes_fail(a, r, "renew", &row, &err);
        bk_buf_free(&b);
        bk_wipe(token, sizeof(token));
        return;
    }

    bk_wipe(token, sizeof(token));

    rec = bk_record_find(a->records, hash);

    if (rec != NULL) {
        bk_lease_touch(a, rec);
    }

    if (row.state == BK_ALLOC_QUEUED) {
        line = (bk_buf_t) { NULL, 0, 0 };
        bk_renew_line(&line, &row, until);
        bk_buf_audit(a, r, "renew", "renewed", NULL, &line);
        h->http_reply(r, 200, "application/json",
                      (bk_str_t) { b.data, b.len });
        bk_buf_free(&b);
        return;
    }

    bk_renew_write(a, r, &row, until, &b);
}


/* *row comes from the journal, its state from the model. */

static int
bk_renew_allowed(bk_allocator_t *a, const uint8_t *hash, bk_row_t *row,
    bk_err_t *err)
{
    int           n;
    bk_row_t      known;
    bk_record_t  *rec;

    if (bk_routes_known(a, hash, &known, err) != 0) {
        return -1;
    }

    *row = known;

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

    rec = bk_record_find(a->records, hash);

    if (rec != NULL && rec->ending) {
        return bk_fail(err, 410, "AllocationEnded", "allocate again",
                       "this allocation is ending");
    }

    row->state = known.state;

    if (rec != NULL) {
        row->expires_ms = rec->expires_ms;

        if (rec->seat != NULL && row->state == BK_ALLOC_QUEUED) {
            /* it has a worker, of which the model does not know yet */
            row->state = BK_ALLOC_STARTING;
        }
    }

    return 0;
}


static int
bk_renew_until(bk_allocator_t *a, const bk_row_t *row, uint64_t ttl,
    uint64_t *until, bk_err_t *err)
{
    uint64_t  max;

    max = a->max_ttl_ms;

    if (row->max_ttl_ms > 0 && row->max_ttl_ms < max) {
        max = row->max_ttl_ms;
    }

    if (ttl == 0) {
        ttl = a->default_ttl_ms < max ? a->default_ttl_ms : max;
    }

    if (ttl < BK_SECOND || ttl > max) {
        return bk_fail(err, 400, "BadTtl", NULL,
                       "\"ttl\" must be between 1s and %llus%s%s",
                       (unsigned long long) (max / BK_SECOND),
                       max < a->max_ttl_ms ? ", by rule " : "",
                       max < a->max_ttl_ms ? row->rule : "");
    }

    if (row->state == BK_ALLOC_QUEUED) {
        *until = row->created_ms + BK_QUEUE_MAX + row->ttl_ms;
        return 0;
    }

    *until = (a->host->now_ms(a->host) + ttl + BK_SECOND - 1) / BK_SECOND
             * BK_SECOND;

    /* to renew never shortens */
    if (*until < row->expires_ms) {
        *until = row->expires_ms;
    }

    return 0;
}


static int
bk_renew_cert(bk_allocator_t *a, const bk_row_t *row, const char *token,
    uint64_t until, bk_buf_t *b, bk_err_t *err)
{
    int                rc;
    char               cn[sizeof("alloc:") + BK_TOKEN_MAX];
    char               id[BK_ID_LEN + 1], endpoint[BK_TABLE_NAME_LEN];
    uint64_t           shown;
    bk_cert_t          cert;
    const bk_host_t   *h;
    bk_str_t           ca;
    bk_cert_request_t  req;

    h = a->host;

    (void) snprintf(cn, sizeof(cn), "alloc:%s", token);

    req = (bk_cert_request_t) {
        .kind = BK_CERT_CLIENT,
        .cn = bk_str(cn),
        .names = BK_STR(""),
        .csr = BK_STR(""),
        .spki = { (const char *) row->spki, row->spki_len },
        .not_after_ms = until + BK_GRACE
    };

    rc = h->cert_issue(h, &req, &cert, err);
    bk_wipe(cn, sizeof(cn));

    if (rc != 0) {
        return -1;
    }

    shown = row->state != BK_ALLOC_QUEUED ? until
            : (h->now_ms(h) + row->ttl_ms + BK_SECOND - 1) / BK_SECOND
              * BK_SECOND;

    bk_buf_str(b, "id", bk_token_id(row->hash, id));
    bk_buf_str(b, "state", bk_state_name(row->state));
    bk_buf_time(b, "expiresAt", shown);
    ca = bk_answer_gateway(a, row->pool, cert.ca, endpoint);

    /* not known just now: what he has is good */
    if (ca.len > 0) {
        bk_buf_base64(b, "caCert", ca);
    }

    bk_buf_base64(b, "clientCert", cert.cert);
    bk_buf_add(b, "}\n", 2);

    return 0;
}


static void
bk_renew_write(bk_allocator_t *a, bk_request_t *r, const bk_row_t *row,
    uint64_t until, bk_buf_t *b)
{
    bk_renewal_t  *n;

    n = calloc(1, sizeof(bk_renewal_t));

    if (n == NULL) {
        abort();
    }

    n->a = a;
    n->r = r;
    n->until_ms = until;
    n->answer = *b;
    memcpy(n->hash, row->hash, BK_TABLE_HASH_LEN);

    bk_renew_line(&n->line, row, until);

    /* it is renewed all the same when the caller goes away meanwhile */
    bk_journal_extend(a->journal, row->hash, until, a->host->now_ms(a->host),
                      bk_renew_written, n);
}


static void
bk_renew_line(bk_buf_t *b, const bk_row_t *row, uint64_t until)
{
    bk_buf_allocation(b, row->hash, row->pool);
    bk_buf_str(b, "owner", row->owner);
    bk_buf_time(b, "expiresAt", until);
}


static void
bk_renew_written(void *data, const bk_err_t *err)
{
    bk_renewal_t *n = data;

    char              id[BK_ID_LEN + 1], when[32];
    bk_err_t          e;
    const bk_host_t  *h;

    h = n->a->host;

    if (err == NULL && bk_renew_model(n, &e) != 0) {
        err = &e;
    }

    if (err == NULL) {
        h->log(h, BK_LOG_INFO, "allocation %s: renewed until %s",
               bk_token_id(n->hash, id),
               bk_time_format(n->until_ms, when, sizeof(when)));
    }

    bk_buf_audit(n->a, n->r, "renew", "renewed", err, &n->line);

    if (err == NULL) {
        h->http_reply(n->r, 200, "application/json",
                      (bk_str_t) { n->answer.data, n->answer.len });

    } else {
        h->http_fail(n->r, err);
    }

    bk_buf_free(&n->answer);
    free(n);
}


void
bk_renew_adopt(bk_allocator_t *a, bk_record_t *rec, uint64_t until_ms)
{
    bk_err_t      err;
    bk_renewal_t  n;

    n = (bk_renewal_t) { .a = a, .until_ms = until_ms };
    memcpy(n.hash, rec->hash, BK_TABLE_HASH_LEN);
    rec->expires_ms = until_ms;

    if (bk_renew_model(&n, &err) != 0) {
        a->host->log(a->host, BK_LOG_WARN, "%s", err.text);
    }
}


static int
bk_renew_model(const bk_renewal_t *n, bk_err_t *err)
{
    char              pool[BK_TABLE_POOL_LEN], worker[BK_TABLE_NAME_LEN];
    uint8_t           key_hash[BK_TABLE_HASH_LEN];
    bk_row_t          over;
    bk_record_t      *rec;
    const bk_host_t  *h;
    bk_alloc_info_t   info;

    h = n->a->host;
    rec = bk_record_find(n->a->records, n->hash);

    if (rec != NULL && rec->expires_ms < n->until_ms) {
        rec->expires_ms = n->until_ms;
    }

    if (rec != NULL && (rec->pending != NULL || rec->placing)) {
        /* it is put when its worker appears, with the new time */
        return 0;
    }

    if (h->alloc_find(h, n->hash, &info) != 0) {
        return bk_routes_unknown(err);
    }

    if (info.state >= BK_ALLOC_EXPIRED) {
        /* meanwhile */
        return bk_routes_known(n->a, n->hash, &over, err) == 0
               ? bk_routes_over(&over, err) : -1;
    }

    /* what is handed out is the model's, and about to change */
    bk_str_copy(pool, sizeof(pool), info.pool);
    bk_str_copy(worker, sizeof(worker), info.worker);

    if (info.key_hash != NULL) {
        memcpy(key_hash, info.key_hash, sizeof(key_hash));
        info.key_hash = key_hash;
    }

    info.hash = n->hash;
    info.pool = bk_str(pool);
    info.worker = bk_str(worker);
    info.reason = BK_STR("");
    info.expires_ms = n->until_ms;

    /* drained or not is not ours to say: it would stay so */
    if (info.state == BK_ALLOC_DRAINING) {
        info.state = BK_ALLOC_READY;
    }

    return h->alloc_put(h, &info, err);
}
