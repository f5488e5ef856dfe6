/*
 * An allocation is made: token, record, place in the queue, certificate, row
 * of the journal.  Whether there is a worker for it is known by then, so a
 * warm one costs one write.
 */

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocator.h"


static bk_record_t *bk_make_record(bk_call_t *c, bk_err_t *err);
static void bk_make_row(const bk_call_t *c, bk_row_t *row);
static void bk_make_log(const bk_call_t *c);
static int bk_make_ready(bk_allocator_t *a, const bk_record_t *rec);


int
bk_make(bk_call_t *c, bk_err_t *err)
{
    bk_record_t     *rec;
    bk_allocator_t  *a;

    a = c->a;
    rec = bk_make_record(c, err);

    if (rec == NULL) {
        return -1;
    }

    bk_run(a);

    if (rec->seat == NULL && bk_queue_alone(&rec->ask->entry)
        && bk_pick_possible(a, c, err) != 0)
    {
        bk_settle_over(a, rec, BK_ALLOC_FREE, NULL);
        return -1;
    }

    if (bk_make_cert(c, rec->expires_ms, err) != 0) {
        bk_settle_over(a, rec, BK_ALLOC_FREE, NULL);
        return -1;
    }

    bk_sha256(c->spki, c->spki_len, rec->ask->key_hash);

    a->stats.made++;
    bk_make_log(c);
    bk_make_insert(c);

    return 0;
}


/* Why somebody waits, although there are workers: the log is where whoever runs
 * all this looks first. */

static void
bk_make_log(const bk_call_t *c)
{
    char                id[BK_ID_LEN + 1];
    const char         *seat;
    const bk_host_t    *h;
    bk_pool_gateway_t   gateway;

    h = c->a->host;
    seat = c->rec->seat != NULL ? c->rec->seat->name : NULL;
    memset(&gateway, 0, sizeof(gateway));

    if (seat == NULL) {
        h->pool_gateway_of(h, bk_str(c->pool), &gateway);
    }

    h->log(h, BK_LOG_INFO, "allocation %s: made for %s%s%s on %s%s%s%s%.*s%s",
           bk_token_id(c->rec->hash, id), c->owner,
           c->owner[0] == '\0' ? "" : ", ", c->client, c->pool,
           seat != NULL ? "/" : "", seat != NULL ? seat : " (queued",
           gateway.why.len > 0 ? ": " : "", (int) gateway.why.len,
           gateway.why.len > 0 ? gateway.why.data : "",
           seat != NULL ? "" : ")");
}


void
bk_make_insert(bk_call_t *c)
{
    bk_row_t     *row;
    bk_record_t  *rec;

    rec = c->rec;

    if (rec->seat == NULL) {
        /* it is made anew when it is known until when it lives */
        bk_buf_free(&c->cert);
        bk_buf_free(&c->ca);
    }

    row = calloc(1, sizeof(bk_row_t));

    if (row == NULL) {
        abort();
    }

    bk_make_row(c, row);
    rec->written = 1;
    rec->answered = row->answered != 0;

    bk_journal_insert(c->a->journal, row, bk_settle_written,
                      bk_step_new(c->a, rec));

    bk_wipe(row, sizeof(bk_row_t));
    free(row);
}


/* In the queue, like everybody. */

static bk_record_t *
bk_make_record(bk_call_t *c, bk_err_t *err)
{
    uint8_t           nonce[BK_NONCE_LEN], hash[BK_TABLE_HASH_LEN];
    uint64_t          now;
    bk_ask_t         *ask;
    bk_home_t        *home;
    bk_record_t      *rec;
    bk_allocator_t   *a;
    bk_queue_user_t  *user;

    a = c->a;
    now = a->host->now_ms(a->host);

    if (bk_token_nonce(nonce) != 0) {
        (void) bk_fail(err, 503, "NoRandomness", NULL,
                       "no random bytes for a token");
        return NULL;
    }

    bk_token_make(a->secret, nonce, c->token);
    bk_token_hash(c->token, BK_TOKEN_LEN, hash);

    home = bk_record_home(a->records, c->pool);
    user = bk_queue_user(a->queue, c->owner, c->rule_name,
                         c->rule.concurrency);
    rec = bk_record_new(a->records, hash, home, user);

    memcpy(rec->nonce, nonce, sizeof(nonce));
    rec->created_ms = now;
    rec->ttl_ms = c->ttl_ms;
    rec->max_ttl_ms = c->rule.max_ttl_ms;
    rec->untrusted = c->rule.untrusted != 0;
    rec->expires_ms = (now + BK_QUEUE_MAX) / BK_SECOND * BK_SECOND;

    if (c->idempotency != NULL) {
        bk_record_key(a->records, rec, c->idempotency);
    }

    bk_call_attach(c, rec);

    ask = rec->ask;
    memcpy(ask->arch, c->arch, sizeof(ask->arch));
    ask->cache_key = c->cache_key == NULL ? NULL : bk_strdup(c->cache_key);

    if (c->queued_ms == 0) {
        c->queued_ms = now;
    }

    ask->entry.user = user;
    ask->entry.priority = c->rule.priority;
    ask->entry.since_ms = c->queued_ms;
    ask->entry.seq = c->seq;
    ask->entry.tag = c->tag;
    ask->entry.tagged = c->seq != 0;

    bk_queue_push(home->queue, &ask->entry, ask->arch, rec->untrusted);
    bk_lease_arm(a);

    c->seq = ask->entry.seq;
    c->tag = ask->entry.tag;

    return rec;
}


static void
bk_make_row(const bk_call_t *c, bk_row_t *row)
{
    const bk_record_t  *rec;

    rec = c->rec;

    memcpy(row->hash, rec->hash, BK_TABLE_HASH_LEN);
    memcpy(row->nonce, rec->nonce, BK_NONCE_LEN);
    memcpy(row->spki, c->spki, c->spki_len);
    row->spki_len = c->spki_len;

    bk_str_copy(row->pool, sizeof(row->pool), bk_str(c->pool));
    bk_str_copy(row->job_id, sizeof(row->job_id),
                bk_str(c->job_id == NULL ? "" : c->job_id));
    bk_str_copy(row->client, sizeof(row->client), bk_str(c->client));
    bk_str_copy(row->owner, sizeof(row->owner), bk_str(c->owner));
    bk_str_copy(row->rule, sizeof(row->rule), bk_str(c->rule_name));
    bk_str_copy(row->cache_key, sizeof(row->cache_key),
                bk_str(c->cache_key == NULL ? "" : c->cache_key));
    bk_str_copy(row->arch, sizeof(row->arch), bk_str(c->arch));
    bk_str_copy(row->idempotency, sizeof(row->idempotency),
                bk_str(c->idempotency == NULL ? "" : c->idempotency));

    row->metadata = c->metadata;
    row->created_ms = rec->created_ms;
    row->changed_ms = rec->created_ms;
    row->expires_ms = rec->expires_ms;
    row->ttl_ms = rec->ttl_ms;
    row->max_ttl_ms = rec->max_ttl_ms;
    row->concurrency = c->rule.concurrency;
    row->priority = c->rule.priority;
    row->untrusted = rec->untrusted;
    row->state = BK_ALLOC_QUEUED;

    if (rec->seat != NULL) {
        bk_str_copy(row->worker, sizeof(row->worker),
                    bk_str(rec->seat->name));
        row->state = BK_ALLOC_READY;
        /* one write for a warm worker */
        row->answered = bk_make_ready(c->a, rec);
    }
}


static int
bk_make_ready(bk_allocator_t *a, const bk_record_t *rec)
{
    bk_worker_info_t  worker;

    return a->host->worker_find(a->host, bk_str(rec->home->name),
                                bk_str(rec->seat->name), &worker) == 0
           && worker.state == BK_WORKER_READY;
}


/* With the key that c has already, or one of its csr, or a new one. */

int
bk_make_cert(bk_call_t *c, uint64_t expires_ms, bk_err_t *err)
{
    int                rc;
    char               cn[sizeof("alloc:") + BK_TOKEN_LEN];
    bk_cert_t          cert;
    const bk_host_t   *h;
    bk_cert_request_t  req;

    h = c->a->host;

    (void) snprintf(cn, sizeof(cn), "alloc:%s", c->token);

    req = (bk_cert_request_t) {
        .kind = BK_CERT_CLIENT,
        .cn = bk_str(cn),
        .names = BK_STR(""),
        .csr = c->csr == NULL ? BK_STR("") : bk_str(c->csr),
        .spki = { (const char *) c->spki, c->spki_len },
        .not_after_ms = expires_ms + BK_GRACE
    };

    rc = h->cert_issue(h, &req, &cert, err);
    bk_wipe(cn, sizeof(cn));

    if (rc != 0) {
        return -1;
    }

    bk_buf_free(&c->cert);
    bk_buf_free(&c->ca);
    bk_buf_add(&c->cert, cert.cert.data, cert.cert.len);
    bk_buf_add(&c->ca, cert.ca.data, cert.ca.len);
    c->cert_ms = expires_ms;

    if (c->spki != NULL) {
        return 0;
    }

    if (cert.spki.len == 0 || cert.spki.len > BK_SPKI_MAX) {
        return bk_fail(err, 400, "BadCsr", "use a P-256 key",
                       "the public key has %zu bytes, and %d are allowed",
                       cert.spki.len, BK_SPKI_MAX);
    }

    bk_buf_add(&c->key, cert.key.data, cert.key.len);

    c->spki_len = cert.spki.len;
    c->spki = malloc(cert.spki.len);

    if (c->spki == NULL) {
        abort();
    }

    memcpy(c->spki, cert.spki.data, cert.spki.len);

    return 0;
}


bk_ask_t *
bk_ask_new(bk_record_t *rec)
{
    bk_ask_t  *ask;

    ask = calloc(1, sizeof(bk_ask_t));

    if (ask == NULL) {
        abort();
    }

    ask->rec = rec;
    rec->ask = ask;

    return ask;
}


void
bk_ask_free(bk_ask_t **ask)
{
    bk_ask_t  *gone;

    gone = *ask;
    *ask = NULL;

    assert(gone->call == NULL && !gone->idle && gone->entry.class == NULL);

    free(gone->cache_key);
    free(gone);
}
