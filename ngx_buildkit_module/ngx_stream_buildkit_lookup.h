
/*
 * What lookup.c and lookup_socket.c share: tokens that are asked about.
 */


#ifndef _NGX_STREAM_BUILDKIT_LOOKUP_H_INCLUDED_
#define _NGX_STREAM_BUILDKIT_LOOKUP_H_INCLUDED_


#include "ngx_stream_buildkit_module.h"

#include "bk_lookup.h"


/* a token that is asked about */
struct ngx_stream_buildkit_ask_s {
    ngx_str_node_t                    node;     /* first; of key */
    u_char                            key[NGX_STREAM_BUILDKIT_HASH_LEN];

    ngx_queue_t                       queue;    /* lookup->asks */
    ngx_queue_t                       sessions; /* ctx->asking */
    ngx_msec_t                        due;      /* to be sent, or again */
    ngx_stream_buildkit_lookup_t     *lookup;
};


struct ngx_stream_buildkit_lookup_s {
    ngx_rbtree_t                      tree;
    ngx_rbtree_node_t                 sentinel;
    ngx_queue_t                       asks;     /* by due */
    ngx_stream_buildkit_ask_t        *free;     /* by node.node.parent */
    ngx_pool_t                       *pool;

    ngx_connection_t                 *connection;
    ngx_msec_t                        tried;
    time_t                            complained;
    unsigned                          was_tried:1;

    ngx_stream_buildkit_main_conf_t  *bmcf;
    ngx_log_t                        *log;

    struct sockaddr_un                sun;
};


/* lookup.c; NULL: nobody waits for it */
ngx_stream_buildkit_ask_t *ngx_stream_buildkit_lookup_find(
    ngx_stream_buildkit_lookup_t *lookup, u_char *key);

/*
 * lookup_socket.c.  connect: NGX_OK, or there is nobody now.  send: NGX_AGAIN:
 * not now; NGX_ERROR: the connection is closed.
 */
ngx_int_t ngx_stream_buildkit_lookup_connect(
    ngx_stream_buildkit_lookup_t *lookup);
ngx_int_t ngx_stream_buildkit_lookup_send(ngx_stream_buildkit_ask_t *ask);
void ngx_stream_buildkit_lookup_close(ngx_stream_buildkit_lookup_t *lookup);


#endif /* _NGX_STREAM_BUILDKIT_LOOKUP_H_INCLUDED_ */
