/*
 * Renew: a longer life, a new certificate for the same public key.  The
 * order is that of allocate: journal, model, table, answer.
 */

#include <stdio.h>
#include <string.h>

#include "allocator.h"
#include "journal_wait.h"


static int bk_renew_allowed(bk_allocator_t *a, const uint8_t *hash,
    bk_row_t *row, bk_err_t *err);
static int bk_renew_extend(bk_allocator_t *a, bk_row_t *row, char *token,
    bk_buf_t *b, bk_err_t *err);


void
bk_renew_http(bk_request_t *r, const bk_request_info_t *info, void *data)
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
        || bk_renew_allowed(a, hash, &row, &err) != 0)
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

    if (bk_renew_extend(a, &row, token, &b, &err) != 0) {
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
bk_renew_allowed(bk_allocator_t *a, const uint8_t *hash, bk_row_t *row,
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
bk_renew_extend(bk_allocator_t *a, bk_row_t *row, char *token, bk_buf_t *b,
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

    if (bk_wait_extend(a->journal, row->hash, row->expires_ms,
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
        /* drained or not is not ours to say: it would stay so */
        .state = row->state == BK_ALLOC_DRAINING ? BK_ALLOC_READY
                                                 : row->state
    };

    return h->alloc_put(h, &info, err);
}
