
/*
 * TLS sessions towards workers: resuming saves a third of a connection.
 *
 * A session is offered to the worker that issued it and nobody else, and
 * under the identity that it was made with: the key is worker slot and
 * generation, address, TLS name, SSL_CTX and our own certificate.  Of
 * bounded size, least recently used out first.  Per process and cycle.
 */


#include "ngx_stream_buildkit_module.h"


#define NGX_STREAM_BUILDKIT_SESSIONS          2048
#define NGX_STREAM_BUILDKIT_SESSIONS_BUCKETS  1024    /* power of two */


typedef struct ngx_stream_buildkit_tls_s  ngx_stream_buildkit_tls_t;

struct ngx_stream_buildkit_tls_s {
    ngx_queue_t                 queue;
    ngx_stream_buildkit_tls_t  *next;       /* in the bucket */
    ngx_uint_t                  bucket;

    ngx_ssl_session_t          *session;

    bk_table_ref_t              worker;
    SSL_CTX                    *ssl_ctx;
    X509                       *cert;       /* ours; counted; may be NULL */
    ngx_sockaddr_t              sockaddr;
    socklen_t                   socklen;
    size_t                      name_len;
    u_char                      name[BK_TABLE_TLS_NAME_LEN];
};


struct ngx_stream_buildkit_sessions_s {
    ngx_queue_t                 used;       /* latest first */
    ngx_queue_t                 free;
    ngx_uint_t                  n;
    ngx_pool_t                 *pool;
    ngx_stream_buildkit_tls_t  *bucket[NGX_STREAM_BUILDKIT_SESSIONS_BUCKETS];
};


static void ngx_stream_buildkit_sessions_cleanup(void *data);
static ngx_uint_t ngx_stream_buildkit_sessions_bucket(
    ngx_stream_buildkit_ctx_t *ctx, ngx_ssl_conn_t *ssl_conn);
static ngx_stream_buildkit_tls_t *ngx_stream_buildkit_sessions_find(
    ngx_stream_buildkit_sessions_t *sessions, ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_ssl_conn_t *ssl_conn);
static ngx_uint_t ngx_stream_buildkit_sessions_same(X509 *one, X509 *two);
static ngx_stream_buildkit_tls_t *ngx_stream_buildkit_sessions_new(
    ngx_stream_buildkit_sessions_t *sessions, ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_ssl_conn_t *ssl_conn);
static void ngx_stream_buildkit_sessions_drop(
    ngx_stream_buildkit_sessions_t *sessions, ngx_stream_buildkit_tls_t *tls);


ngx_stream_buildkit_sessions_t *
ngx_stream_buildkit_sessions_create(ngx_conf_t *cf)
{
    ngx_pool_cleanup_t              *cln;
    ngx_stream_buildkit_sessions_t  *sessions;

    cln = ngx_pool_cleanup_add(cf->pool,
                               sizeof(ngx_stream_buildkit_sessions_t));
    if (cln == NULL) {
        return NULL;
    }

    sessions = cln->data;
    ngx_memzero(sessions, sizeof(ngx_stream_buildkit_sessions_t));

    ngx_queue_init(&sessions->used);
    ngx_queue_init(&sessions->free);
    sessions->pool = cf->pool;

    cln->handler = ngx_stream_buildkit_sessions_cleanup;

    return sessions;
}


static void
ngx_stream_buildkit_sessions_cleanup(void *data)
{
    ngx_stream_buildkit_sessions_t  *sessions = data;

    ngx_queue_t  *q;

    while (!ngx_queue_empty(&sessions->used)) {
        q = ngx_queue_head(&sessions->used);

        ngx_stream_buildkit_sessions_drop(sessions,
                       ngx_queue_data(q, ngx_stream_buildkit_tls_t, queue));
    }
}


/* before the handshake: offers what there is; NGX_OK also if there is none */

ngx_int_t
ngx_stream_buildkit_sessions_set(ngx_stream_buildkit_sessions_t *sessions,
    ngx_stream_session_t *s, ngx_stream_buildkit_ctx_t *ctx,
    ngx_connection_t *pc)
{
    ngx_int_t                   rc;
    ngx_ssl_session_t          *session;
    ngx_stream_buildkit_tls_t  *tls;

    tls = ngx_stream_buildkit_sessions_find(sessions, s, ctx,
                                            pc->ssl->connection);

    if (tls == NULL) {
        return NGX_OK;
    }

    if (!SSL_SESSION_is_resumable(tls->session)) {
        ngx_stream_buildkit_sessions_drop(sessions, tls);
        return NGX_OK;
    }

    ngx_queue_remove(&tls->queue);
    ngx_queue_insert_head(&sessions->used, &tls->queue);

    /*
     * OpenSSL marks a TLS 1.3 session as used up when the handshake that
     * uses it ends, so connections made at the same time need their own.
     */

    session = SSL_SESSION_dup(tls->session);
    if (session == NULL) {
        ERR_clear_error();
        return NGX_OK;
    }

    rc = ngx_ssl_set_session(pc, session);

    ngx_ssl_free_session(session);

    return rc;
}


void
ngx_stream_buildkit_sessions_save(ngx_stream_buildkit_sessions_t *sessions,
    ngx_stream_session_t *s, ngx_stream_buildkit_ctx_t *ctx,
    ngx_connection_t *pc)
{
    ngx_ssl_session_t          *session;
    ngx_stream_buildkit_tls_t  *tls;

    session = ngx_ssl_get_session(pc);
    if (session == NULL) {
        return;
    }

    tls = ngx_stream_buildkit_sessions_find(sessions, s, ctx,
                                            pc->ssl->connection);

    if (tls) {
        ngx_ssl_free_session(tls->session);
        tls->session = session;
        return;
    }

    tls = ngx_stream_buildkit_sessions_new(sessions, s, ctx,
                                           pc->ssl->connection);
    if (tls == NULL) {
        ngx_ssl_free_session(session);
        return;
    }

    tls->session = session;
}


static ngx_uint_t
ngx_stream_buildkit_sessions_bucket(ngx_stream_buildkit_ctx_t *ctx,
    ngx_ssl_conn_t *ssl_conn)
{
    uint64_t  h;

    h = ((uint64_t) ctx->worker_ref.gen << 32) | ctx->worker_ref.index;
    h ^= (uint64_t) (uintptr_t) SSL_get_SSL_CTX(ssl_conn);
    h *= 0x9e3779b97f4a7c15ULL;

    return (h >> 32) & (NGX_STREAM_BUILDKIT_SESSIONS_BUCKETS - 1);
}


static ngx_stream_buildkit_tls_t *
ngx_stream_buildkit_sessions_find(ngx_stream_buildkit_sessions_t *sessions,
    ngx_stream_session_t *s, ngx_stream_buildkit_ctx_t *ctx,
    ngx_ssl_conn_t *ssl_conn)
{
    ngx_str_t                  *name;
    ngx_stream_buildkit_tls_t  *tls;

    name = &s->upstream->ssl_name;

    tls = sessions->bucket[ngx_stream_buildkit_sessions_bucket(ctx,
                                                               ssl_conn)];

    for ( /* void */ ; tls; tls = tls->next) {

        if (tls->worker.index == ctx->worker_ref.index
            && tls->worker.gen == ctx->worker_ref.gen
            && tls->ssl_ctx == SSL_get_SSL_CTX(ssl_conn)
            && tls->name_len == name->len
            && ngx_memcmp(tls->name, name->data, name->len) == 0
            && ngx_cmp_sockaddr(&tls->sockaddr.sockaddr, tls->socklen,
                                &ctx->sockaddr.sockaddr, ctx->socklen, 1)
               == NGX_OK
            && ngx_stream_buildkit_sessions_same(tls->cert,
                                             SSL_get_certificate(ssl_conn)))
        {
            return tls;
        }
    }

    return NULL;
}


/* with variables in proxy_ssl_certificate each connection loads its own */

static ngx_uint_t
ngx_stream_buildkit_sessions_same(X509 *one, X509 *two)
{
    if (one == two) {
        return 1;
    }

    return one && two && X509_cmp(one, two) == 0;
}


static ngx_stream_buildkit_tls_t *
ngx_stream_buildkit_sessions_new(ngx_stream_buildkit_sessions_t *sessions,
    ngx_stream_session_t *s, ngx_stream_buildkit_ctx_t *ctx,
    ngx_ssl_conn_t *ssl_conn)
{
    ngx_str_t                  *name;
    ngx_queue_t                *q;
    ngx_stream_buildkit_tls_t  *tls;

    name = &s->upstream->ssl_name;

    if (name->len > sizeof(tls->name)) {
        return NULL;
    }

    if (ngx_queue_empty(&sessions->free)
        && sessions->n == NGX_STREAM_BUILDKIT_SESSIONS)
    {
        q = ngx_queue_last(&sessions->used);

        ngx_stream_buildkit_sessions_drop(sessions,
                       ngx_queue_data(q, ngx_stream_buildkit_tls_t, queue));
    }

    if (ngx_queue_empty(&sessions->free)) {
        tls = ngx_palloc(sessions->pool, sizeof(ngx_stream_buildkit_tls_t));
        if (tls == NULL) {
            return NULL;
        }

        sessions->n++;

    } else {
        q = ngx_queue_head(&sessions->free);
        ngx_queue_remove(q);
        tls = ngx_queue_data(q, ngx_stream_buildkit_tls_t, queue);
    }

    ngx_memzero(tls, sizeof(ngx_stream_buildkit_tls_t));

    tls->worker = ctx->worker_ref;
    tls->ssl_ctx = SSL_get_SSL_CTX(ssl_conn);
    tls->cert = SSL_get_certificate(ssl_conn);
    tls->sockaddr = ctx->sockaddr;
    tls->socklen = ctx->socklen;
    tls->name_len = name->len;
    ngx_memcpy(tls->name, name->data, name->len);

    if (tls->cert) {
        X509_up_ref(tls->cert);
    }

    tls->bucket = ngx_stream_buildkit_sessions_bucket(ctx, ssl_conn);
    tls->next = sessions->bucket[tls->bucket];
    sessions->bucket[tls->bucket] = tls;

    ngx_queue_insert_head(&sessions->used, &tls->queue);

    return tls;
}


static void
ngx_stream_buildkit_sessions_drop(ngx_stream_buildkit_sessions_t *sessions,
    ngx_stream_buildkit_tls_t *tls)
{
    ngx_stream_buildkit_tls_t  **tp;

    for (tp = &sessions->bucket[tls->bucket]; *tp; tp = &(*tp)->next) {
        if (*tp == tls) {
            *tp = tls->next;
            break;
        }
    }

    ngx_ssl_free_session(tls->session);
    X509_free(tls->cert);

    ngx_queue_remove(&tls->queue);
    ngx_queue_insert_head(&sessions->free, &tls->queue);
}
