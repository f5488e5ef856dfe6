
/*
 * What this process counts (bk_report.h): times, peers, handshakes that
 * failed, each in the row of its pool or in the header.
 */


#include "ngx_stream_buildkit_module.h"


static bk_report_header_t *ngx_stream_buildkit_report_header(
    ngx_stream_session_t *s);


static ngx_msec_t  ngx_stream_buildkit_report_bounds[] = BK_REPORT_BOUNDS;


void
ngx_stream_buildkit_report_connected(ngx_stream_buildkit_ctx_t *ctx,
    ngx_msec_t ms)
{
    ngx_stream_buildkit_report_observe(&ctx->row->connect, ms);
}


void
ngx_stream_buildkit_report_dead(ngx_stream_session_t *s, ngx_uint_t worker)
{
    bk_report_header_t  *h;

    h = ngx_stream_buildkit_report_header(s);

    if (worker) {
        ngx_stream_buildkit_report_add(h->dead_workers, 1);

    } else {
        ngx_stream_buildkit_report_add(h->dead_clients, 1);
    }
}


void
ngx_stream_buildkit_report_handshake(ngx_stream_session_t *s, ngx_uint_t why)
{
    bk_report_header_t         *h;
    ngx_stream_buildkit_ctx_t  *ctx;

    if (why == BK_HANDSHAKE_NONE || why >= BK_HANDSHAKE) {
        return;
    }

    h = ngx_stream_buildkit_report_header(s);

    ngx_stream_buildkit_report_add(h->handshake[why], 1);

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);

    if (ctx) {
        ctx->failure = why;
    }
}


ngx_uint_t
ngx_stream_buildkit_report_failure(ngx_stream_session_t *s)
{
    SSL                        *ssl;
    ngx_connection_t           *c;
    ngx_stream_buildkit_ctx_t  *ctx;

    c = s->connection;
    ctx = ngx_stream_get_module_ctx(s, ngx_stream_buildkit_module);

    /* refused by address, by a limit: no handshake had begun */

    if ((ctx && (ctx->record || ctx->failure)) || c->ssl == NULL || c->close)
    {
        return BK_HANDSHAKE_NONE;
    }

    if (c->ssl->handshaked) {

        /* what "ssl_verify_client on" drops without a word to the client */

        ssl = c->ssl->connection;

        return (SSL_get0_peer_certificate(ssl) == NULL
                || SSL_get_verify_result(ssl) != X509_V_OK)
               ? BK_HANDSHAKE_CERTIFICATE : BK_HANDSHAKE_NONE;
    }

    if (c->timedout || c->read->timedout) {
        return BK_HANDSHAKE_TIMEOUT;
    }

    /* set by ngx_ssl_handshake() where OpenSSL had something to say */

    return c->read->error ? BK_HANDSHAKE_TLS : BK_HANDSHAKE_CLOSED;
}


bk_report_pool_t *
ngx_stream_buildkit_report_row(ngx_stream_buildkit_report_t *report,
    ngx_str_t *pool)
{
    ngx_str_t         *name;
    ngx_uint_t         i;
    bk_report_pool_t  *row;

    for (i = 1; i < report->nrows; i++) {
        name = &report->names[i];

        if (name->len == pool->len
            && ngx_memcmp(name->data, pool->data, pool->len) == 0)
        {
            return &report->rows[i];
        }
    }

    if (report->range.base == NULL || i == BK_REPORT_POOLS
        || pool->len >= BK_REPORT_POOL_LEN)
    {
        return &report->rows[0];
    }

    name = &report->names[i];

    name->data = ngx_alloc(pool->len, report->log);
    if (name->data == NULL) {
        return &report->rows[0];
    }

    ngx_memcpy(name->data, pool->data, pool->len);
    name->len = pool->len;

    report->nrows++;

    row = &report->rows[i];

    ngx_memcpy(row->name, pool->data, pool->len);
    __atomic_store_n(&row->used, 1, __ATOMIC_RELEASE);

    return row;
}


void
ngx_stream_buildkit_report_observe(bk_report_hist_t *hist, ngx_msec_t ms)
{
    ngx_uint_t  i;

    for (i = 0; i < BK_REPORT_BUCKETS - 1; i++) {
        if (ms <= ngx_stream_buildkit_report_bounds[i]) {
            break;
        }
    }

    ngx_stream_buildkit_report_add(hist->bucket[i], 1);
    ngx_stream_buildkit_report_add(hist->sum_ms, ms);
}


static bk_report_header_t *
ngx_stream_buildkit_report_header(ngx_stream_session_t *s)
{
    ngx_stream_buildkit_srv_conf_t  *bscf;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    return bscf->main->report->header;
}
