
/*
 * Allocations that the table does not have: plugin-host is asked about them,
 * by a unix socket (lookup_socket.c, bk_lookup.h), while their clients are
 * held.
 *
 * One question for all clients of a process that bring the same token; it is
 * asked again every two seconds for as long as one of them waits.  Answers
 * wake them: the table has what there is to know by then.  Nothing of this is
 * on the way of a token that the table has.
 */


#include "ngx_stream_buildkit_lookup.h"


/* questions that a tick may repeat */
#define NGX_STREAM_BUILDKIT_LOOKUP_SLICE  200


static uint32_t ngx_stream_buildkit_lookup_key(const u_char *key);


ngx_stream_buildkit_lookup_t *
ngx_stream_buildkit_lookup_create(ngx_conf_t *cf, ngx_str_t *path,
    ngx_stream_buildkit_main_conf_t *bmcf)
{
    ngx_stream_buildkit_lookup_t  *lookup;

    lookup = ngx_pcalloc(cf->pool, sizeof(ngx_stream_buildkit_lookup_t));
    if (lookup == NULL) {
        return NULL;
    }

    if (path->len >= sizeof(lookup->sun.sun_path)) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"buildkit_lookup %V\": the path of a socket has at "
                      "most %uz characters", path,
                      sizeof(lookup->sun.sun_path) - 1);
        return NULL;
    }

    if (bmcf->reports.len == 0) {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "\"buildkit_lookup\" without \"buildkit_report\": "
                      "nobody knows which allocations are in use");
    }

    lookup->sun.sun_family = AF_UNIX;
    ngx_memcpy(lookup->sun.sun_path, path->data, path->len);

    lookup->bmcf = bmcf;
    lookup->pool = cf->pool;
    lookup->log = &cf->cycle->new_log;

    ngx_queue_init(&lookup->asks);
    ngx_rbtree_init(&lookup->tree, &lookup->sentinel,
                    ngx_str_rbtree_insert_value);

    return lookup;
}


void
ngx_stream_buildkit_lookup_start(ngx_stream_buildkit_lookup_t *lookup,
    ngx_log_t *log)
{
    lookup->log = log;
}


/* nginx would have a word to say about a socket that is left */

void
ngx_stream_buildkit_lookup_exit(ngx_stream_buildkit_lookup_t *lookup)
{
    ngx_stream_buildkit_lookup_close(lookup);
}


void
ngx_stream_buildkit_lookup_ask(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_stream_buildkit_ask_t        *ask;
    ngx_stream_buildkit_lookup_t     *lookup;
    ngx_stream_buildkit_main_conf_t  *bmcf;

    bmcf = ngx_stream_get_module_main_conf(s, ngx_stream_buildkit_module);

    lookup = bmcf->lookup;

    if (lookup == NULL || ctx->ask) {
        return;
    }

    ask = ngx_stream_buildkit_lookup_find(lookup, ctx->key);

    if (ask) {
        ngx_queue_insert_tail(&ask->sessions, &ctx->asking);
        ctx->ask = ask;
        return;
    }

    ask = lookup->free;

    if (ask) {
        lookup->free = (ngx_stream_buildkit_ask_t *) ask->node.node.parent;

    } else {
        ask = ngx_palloc(lookup->pool, sizeof(ngx_stream_buildkit_ask_t));
        if (ask == NULL) {
            return;
        }
    }

    ngx_memzero(ask, sizeof(ngx_stream_buildkit_ask_t));
    ngx_memcpy(ask->key, ctx->key, sizeof(ask->key));

    ask->lookup = lookup;
    ask->node.str.data = ask->key;
    ask->node.str.len = sizeof(ask->key);
    ask->node.node.key = ngx_stream_buildkit_lookup_key(ask->key);
    ngx_rbtree_insert(&lookup->tree, &ask->node.node);

    ngx_queue_init(&ask->sessions);
    ngx_queue_insert_tail(&ask->sessions, &ctx->asking);
    ctx->ask = ask;

    /* what cannot be sent is due, and goes before all the others */

    ask->due = ngx_current_msec;

    if (ngx_stream_buildkit_lookup_connect(lookup) == NGX_OK
        && ngx_stream_buildkit_lookup_send(ask) == NGX_OK)
    {
        ask->due += BK_LOOKUP_AGAIN_MS;
        ngx_queue_insert_tail(&lookup->asks, &ask->queue);
        return;
    }

    ngx_queue_insert_head(&lookup->asks, &ask->queue);
}


void
ngx_stream_buildkit_lookup_done(ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_stream_buildkit_ask_t     *ask;
    ngx_stream_buildkit_lookup_t  *lookup;

    ask = ctx->ask;

    ctx->verdict = 0;
    ctx->peeking = 0;

    if (ask == NULL) {
        return;
    }

    ctx->ask = NULL;
    ngx_queue_remove(&ctx->asking);

    if (!ngx_queue_empty(&ask->sessions)) {
        return;
    }

    lookup = ask->lookup;

    ngx_queue_remove(&ask->queue);
    ngx_rbtree_delete(&lookup->tree, &ask->node.node);

    ask->node.node.parent = (ngx_rbtree_node_t *) lookup->free;
    lookup->free = ask;
}


void
ngx_stream_buildkit_lookup_tick(ngx_stream_buildkit_lookup_t *lookup)
{
    ngx_uint_t                  n;
    ngx_queue_t                *q;
    ngx_stream_buildkit_ask_t  *ask;

    for (n = 0; n < NGX_STREAM_BUILDKIT_LOOKUP_SLICE; n++) {

        if (ngx_queue_empty(&lookup->asks)) {
            return;
        }

        q = ngx_queue_head(&lookup->asks);
        ask = ngx_queue_data(q, ngx_stream_buildkit_ask_t, queue);

        if ((ngx_msec_int_t) (ask->due - ngx_current_msec) > 0) {
            return;
        }

        if (ngx_stream_buildkit_lookup_connect(lookup) != NGX_OK
            || ngx_stream_buildkit_lookup_send(ask) != NGX_OK)
        {
            return;
        }

        ask->due = ngx_current_msec + BK_LOOKUP_AGAIN_MS;

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&lookup->asks, q);
    }
}


ngx_stream_buildkit_ask_t *
ngx_stream_buildkit_lookup_find(ngx_stream_buildkit_lookup_t *lookup,
    u_char *key)
{
    ngx_str_t  str;

    str.data = key;
    str.len = NGX_STREAM_BUILDKIT_HASH_LEN;

    return (ngx_stream_buildkit_ask_t *)
               ngx_str_rbtree_lookup(&lookup->tree, &str,
                                     ngx_stream_buildkit_lookup_key(key));
}


/* it is a SHA-256: any part of it will do */

static uint32_t
ngx_stream_buildkit_lookup_key(const u_char *key)
{
    uint32_t  hash;

    ngx_memcpy(&hash, key, sizeof(hash));

    return hash;
}
