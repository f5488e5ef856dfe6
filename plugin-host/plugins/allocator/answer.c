/*
 * The answer of allocate: the one place where a token and a key leave us.
 */

#include <stdio.h>
#include <string.h>

#include "allocator.h"


static void bk_answer_audit(bk_call_t *c, int state);
static void bk_answer_ca(bk_call_t *c, bk_buf_t *b);
static void bk_answer_endpoints(bk_call_t *c, bk_buf_t *b);
static void bk_answer_new(bk_call_t *c, int state, bk_buf_t *b);
static void bk_answer_old(bk_call_t *c, int state, bk_buf_t *b);
static void bk_answer_count(char *text, size_t size, unsigned n,
    const char *what);
static void bk_answer_certs(bk_call_t *c, int state, bk_buf_t *b);


/* Frees c. */

void
bk_answer(bk_call_t *c, int state)
{
    uint64_t          expires;
    bk_buf_t          b;
    bk_err_t          err;
    bk_record_t      *rec;
    bk_allocator_t   *a;
    const bk_host_t  *h;

    a = c->a;
    h = a->host;
    rec = c->rec;
    b = (bk_buf_t) { NULL, 0, 0 };
    expires = rec->expires_ms;

    if (rec->seat == NULL) {
        /* its time begins when it has a worker */
        expires = rec->created_ms + BK_QUEUE_MAX + rec->ttl_ms;
    }

    bk_record_ref(rec);

    if ((c->cert.len == 0 || expires != c->cert_ms)
        && bk_make_cert(c, expires, &err) != 0)
    {
        bk_call_fail(&c, &err);
        bk_settle_rest(a, rec);
        bk_record_unref(&rec);
        return;
    }

    switch (c->format) {
    case BK_ANSWER_OLD:
        bk_answer_old(c, state, &b);
        break;

    case BK_ANSWER_CERTS:
        bk_answer_certs(c, state, &b);
        break;

    default:
        bk_answer_new(c, state, &b);
    }

    bk_buf_add(&b, "}\n", 2);
    bk_answer_audit(c, state);

    h->http_reply(c->r, 200, "application/json",
                  (bk_str_t) { b.data, b.len });
    bk_buf_free(&b);

    rec->told = 1;
    bk_call_free(&c);
    bk_settle_rest(a, rec);
    bk_record_unref(&rec);
}


static void
bk_answer_audit(bk_call_t *c, int state)
{
    bk_buf_t      b;
    bk_record_t  *rec;

    rec = c->rec;
    b = (bk_buf_t) { NULL, 0, 0 };

    bk_buf_allocation(&b, rec->hash, c->pool);
    bk_buf_str(&b, "worker", rec->seat == NULL ? "" : rec->seat->name);
    bk_buf_bool(&b, "untrusted", rec->untrusted);
    bk_buf_str(&b, "state", bk_state_name(state));

    bk_buf_audit(c->a, c->r, "allocate",
                 rec->seat == NULL ? "queued" : "allocated", NULL, &b);
}


static void
bk_answer_new(bk_call_t *c, int state, bk_buf_t *b)
{
    char              id[BK_ID_LEN + 1];
    char              text[BK_TABLE_NAME_LEN];
    uint64_t          expires, now;
    bk_record_t      *rec;
    const bk_host_t  *h;
    bk_worker_info_t  worker;

    h = c->a->host;
    rec = c->rec;
    now = h->now_ms(h);

    bk_buf_str(b, "id", bk_token_id(rec->hash, id));
    bk_buf_str(b, "state", bk_state_name(state));

    if (rec->seat == NULL) {
        bk_answer_queue(c->a, rec, b);
        bk_answer_waits(c->a, rec, b);
    }

    bk_buf_str(b, "poolName", c->pool);
    bk_buf_str(b, "workerName", rec->seat == NULL ? "" : rec->seat->name);
    bk_buf_str(b, "token", c->token);

    text[0] = '\0';

    if (rec->seat != NULL
        && h->worker_find(h, bk_str(c->pool), bk_str(rec->seat->name),
                          &worker) == 0
        && worker.endpoint.len > 0)
    {
        (void) snprintf(text, sizeof(text), "tcp://%.*s",
                        (int) worker.endpoint.len, worker.endpoint.data);
    }

    bk_buf_str(b, "endpoint", text);
    bk_answer_endpoints(c, b);

    /* of one that is queued: not before that */
    expires = rec->seat != NULL ? rec->expires_ms
              : (now + rec->ttl_ms + BK_SECOND - 1) / BK_SECOND * BK_SECOND;
    bk_buf_time(b, "expiresAt", expires);

    bk_answer_ca(c, b);
    bk_buf_base64(b, "clientCert", (bk_str_t) { c->cert.data, c->cert.len });

    if (c->csr == NULL) {
        bk_buf_base64(b, "clientKey", (bk_str_t) { c->key.data, c->key.len });
    }
}


static void
bk_answer_endpoints(bk_call_t *c, bk_buf_t *b)
{
    char  text[BK_TABLE_NAME_LEN], *p;

    (void) bk_answer_gateway(c->a, c->pool, BK_STR(""), text);
    bk_buf_str(b, "gatewayEndpoint", text);

    /* the host part of tcp://host:port or tcp://[address]:port */
    p = strstr(text, "://");
    p = p == NULL ? text : p + 3;

    if (*p == '[') {
        p++;
        p[strcspn(p, "]")] = '\0';

    } else if (strrchr(p, ':') != NULL) {
        *strrchr(p, ':') = '\0';
    }

    bk_buf_str(b, "tlsServerName", p);
}


bk_str_t
bk_answer_gateway(bk_allocator_t *a, const char *pool, bk_str_t ca, char *buf)
{
    bk_pool_gateway_t  gateway;

    a->host->pool_gateway_of(a->host, bk_str(pool), &gateway);
    bk_str_copy(buf, BK_TABLE_NAME_LEN, gateway.endpoint);

    /* it may be another one than ours */
    if (gateway.ca.len == 0 && gateway.why.len > 0) {
        return BK_STR("");
    }

    return gateway.ca.len > 0 ? gateway.ca : ca;
}


static void
bk_answer_ca(bk_call_t *c, bk_buf_t *b)
{
    char      endpoint[BK_TABLE_NAME_LEN];
    bk_str_t  ca = { c->ca.data, c->ca.len };

    ca = bk_answer_gateway(c->a, c->pool, ca, endpoint);

    if (ca.len > 0) {
        bk_buf_base64(b, "caCert", ca);
    }
}


/* Where it is in the queue; when it may be its turn, if that is known. */

void
bk_answer_queue(bk_allocator_t *a, bk_record_t *rec, bk_buf_t *b)
{
    size_t    position;
    uint64_t  now, seconds;

    if (rec->ask == NULL || rec->ask->entry.class == NULL) {
        return;
    }

    now = a->host->now_ms(a->host);
    position = bk_queue_position(&rec->ask->entry, now);
    seconds = bk_queue_estimate(rec->home->queue, position, now);

    bk_buf_number(b, "position", position);

    if (seconds > 0) {
        bk_buf_number(b, "estimate", seconds);
    }

}


/* What would have to happen for it to get a worker. */

void
bk_answer_waits(bk_allocator_t *a, bk_record_t *rec, bk_buf_t *b)
{
    char              text[BK_TABLE_MESSAGE_LEN + BK_TABLE_NAME_LEN + 256];
    bk_ask_t         *ask;
    bk_pick_t         p;
    bk_queue_user_t  *u;

    ask = rec->ask;
    u = rec->user;

    if (ask == NULL || ask->entry.class == NULL) {
        return;
    }

    if (bk_queue_user_limit(u) > 0
        && bk_queue_user_live(u) >= bk_queue_user_limit(u))
    {
        (void) snprintf(text, sizeof(text), "rule %s allows %u at a time",
                        bk_queue_user_rule(u), bk_queue_user_limit(u));
        bk_buf_str(b, "waitsFor", text);
        return;
    }

    bk_pick(a, rec->home, ask->arch, ask->cache_key, rec->untrusted, &p);

    if (p.gateway) {
        (void) snprintf(text, sizeof(text), "the pool's gateway: %s",
                        p.message);
        bk_buf_str(b, "waitsFor", text);
        return;
    }

    (void) snprintf(text, sizeof(text), "a worker: %u of %u allocated",
                    p.why.busy, p.why.total);
    bk_answer_count(text, sizeof(text), p.why.other_arch, "of another arch");
    bk_answer_count(text, sizeof(text), p.why.trust, "of the other trust");
    bk_answer_count(text, sizeof(text), p.why.drained, "drained");
    bk_answer_count(text, sizeof(text), p.why.full, "with a full disk");
    bk_answer_count(text, sizeof(text), p.why.failed, "failed");

    if (p.why.failed > 0 && p.failed[0] != '\0') {
        (void) snprintf(text + strlen(text), sizeof(text) - strlen(text),
                        " (%s: %s)", p.failed, p.message);
    }

    bk_buf_str(b, "waitsFor", text);
}


static void
bk_answer_count(char *text, size_t size, unsigned n, const char *what)
{
    size_t  len;

    if (n > 0) {
        len = strlen(text);
        (void) snprintf(text + len, size - len, ", %u %s", n, what);
    }
}


/* POST /api/v1/allocate: clients know no other endpoint than the gateway. */

static void
bk_answer_old(bk_call_t *c, int state, bk_buf_t *b)
{
    char              id[BK_ID_LEN + 1], text[BK_TABLE_NAME_LEN];
    bk_record_t      *rec;

    rec = c->rec;

    (void) bk_answer_gateway(c->a, c->pool, BK_STR(""), text);
    bk_buf_str(b, "endpoint", text);
    bk_buf_str(b, "poolName", c->pool);
    bk_buf_bool(b, "ready", state == BK_ALLOC_READY);
    bk_buf_str(b, "workerName", rec->seat == NULL ? "" : rec->seat->name);
    bk_buf_str(b, "allocationToken", c->token);
    bk_answer_ca(c, b);
    bk_buf_base64(b, "clientCert", (bk_str_t) { c->cert.data, c->cert.len });
    bk_buf_base64(b, "clientKey", (bk_str_t) { c->key.data, c->key.len });
    bk_buf_str(b, "id", bk_token_id(rec->hash, id));
    bk_buf_str(b, "state", bk_state_name(state));

    if (rec->seat == NULL) {
        bk_answer_queue(c->a, rec, b);
        bk_answer_waits(c->a, rec, b);

    } else {
        bk_buf_time(b, "expiresAt", rec->expires_ms);
    }
}


/* POST /api/v1/certs/request: the certificate is the allocation. */

static void
bk_answer_certs(bk_call_t *c, int state, bk_buf_t *b)
{
    char              id[BK_ID_LEN + 1], text[BK_TABLE_NAME_LEN];
    bk_buf_t          e;

    bk_answer_ca(c, b);
    bk_buf_base64(b, "clientCert", (bk_str_t) { c->cert.data, c->cert.len });
    bk_buf_base64(b, "clientKey", (bk_str_t) { c->key.data, c->key.len });

    e = (bk_buf_t) { NULL, 0, 0 };
    (void) bk_answer_gateway(c->a, c->pool, BK_STR(""), text);
    bk_buf_str(&e, c->asked == NULL ? c->pool : c->asked, text);
    bk_buf_add(&e, "}", 1);

    bk_buf_key(b, "endpoints");
    bk_buf_add(b, e.data, e.len);
    bk_buf_free(&e);

    /* ours: how to look it up and to release it */
    bk_buf_str(b, "id", bk_token_id(c->rec->hash, id));
    bk_buf_str(b, "state", bk_state_name(state));
    bk_buf_str(b, "token", c->token);

    if (c->rec->seat == NULL) {
        bk_answer_queue(c->a, c->rec, b);
        bk_answer_waits(c->a, c->rec, b);

    } else {
        bk_buf_time(b, "expiresAt", c->rec->expires_ms);
    }
}
