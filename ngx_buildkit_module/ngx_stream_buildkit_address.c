
/*
 * Source addresses that this process has something to count for: IPv4, the
 * /64 of IPv6 (what one customer gets), one for all clients of unix sockets.
 *
 * An address is there as long as a session counts something in it; what was
 * given back is used again, so there are never more than connections.
 */


#include "ngx_stream_buildkit_module.h"


struct ngx_stream_buildkit_addresses_s {
    ngx_rbtree_t                     tree;
    ngx_rbtree_node_t                sentinel;
    ngx_pool_t                      *pool;
    ngx_stream_buildkit_address_t   *free;      /* by node.parent */
};


static void ngx_stream_buildkit_address_insert(ngx_rbtree_node_t *temp,
    ngx_rbtree_node_t *node, ngx_rbtree_node_t *sentinel);
static ngx_stream_buildkit_address_t *ngx_stream_buildkit_address_find(
    ngx_stream_buildkit_addresses_t *addresses, uint32_t hash,
    u_char *prefix);
static ngx_stream_buildkit_address_t *ngx_stream_buildkit_address_new(
    ngx_stream_buildkit_addresses_t *addresses);
static void ngx_stream_buildkit_address_prefix(struct sockaddr *sa,
    u_char *prefix);


ngx_stream_buildkit_addresses_t *
ngx_stream_buildkit_addresses_create(ngx_conf_t *cf)
{
    ngx_stream_buildkit_addresses_t  *addresses;

    addresses = ngx_pcalloc(cf->pool, sizeof(ngx_stream_buildkit_addresses_t));
    if (addresses == NULL) {
        return NULL;
    }

    /* the cycle's: each process fills its own copy */

    addresses->pool = cf->pool;

    ngx_rbtree_init(&addresses->tree, &addresses->sentinel,
                    ngx_stream_buildkit_address_insert);

    return addresses;
}


ngx_int_t
ngx_stream_buildkit_address_get(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    u_char                            prefix[NGX_STREAM_BUILDKIT_PREFIX_LEN];
    uint32_t                          hash;
    ngx_stream_buildkit_address_t    *address;
    ngx_stream_buildkit_main_conf_t  *bmcf;

    if (ctx->address) {
        return NGX_OK;
    }

    bmcf = ngx_stream_get_module_main_conf(s, ngx_stream_buildkit_module);

    ngx_stream_buildkit_address_prefix(s->connection->sockaddr, prefix);
    hash = ngx_crc32_short(prefix, sizeof(prefix));

    address = ngx_stream_buildkit_address_find(bmcf->addresses, hash, prefix);

    if (address == NULL) {
        address = ngx_stream_buildkit_address_new(bmcf->addresses);
        if (address == NULL) {
            return NGX_ERROR;
        }

        ngx_memzero(address, sizeof(ngx_stream_buildkit_address_t));
        ngx_memcpy(address->prefix, prefix, sizeof(prefix));
        ngx_queue_init(&address->queued);

        address->node.key = hash;
        ngx_rbtree_insert(&bmcf->addresses->tree, &address->node);
    }

    address->users++;
    ctx->address = address;

    return NGX_OK;
}


void
ngx_stream_buildkit_address_release(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx)
{
    ngx_stream_buildkit_address_t    *address;
    ngx_stream_buildkit_main_conf_t  *bmcf;

    if (ctx->address == NULL
        || ctx->holding || ctx->shaking || ctx->queuing)
    {
        return;
    }

    address = ctx->address;
    ctx->address = NULL;

    if (--address->users) {
        return;
    }

    bmcf = ngx_stream_get_module_main_conf(s, ngx_stream_buildkit_module);

    ngx_rbtree_delete(&bmcf->addresses->tree, &address->node);

    address->node.parent = (ngx_rbtree_node_t *) bmcf->addresses->free;
    bmcf->addresses->free = address;
}


static ngx_stream_buildkit_address_t *
ngx_stream_buildkit_address_find(ngx_stream_buildkit_addresses_t *addresses,
    uint32_t hash, u_char *prefix)
{
    ngx_int_t                       rc;
    ngx_rbtree_node_t              *node;
    ngx_stream_buildkit_address_t  *address;

    node = addresses->tree.root;

    while (node != &addresses->sentinel) {

        if (hash != node->key) {
            node = (hash < node->key) ? node->left : node->right;
            continue;
        }

        address = (ngx_stream_buildkit_address_t *) node;

        rc = ngx_memcmp(prefix, address->prefix, sizeof(address->prefix));

        if (rc == 0) {
            return address;
        }

        node = (rc < 0) ? node->left : node->right;
    }

    return NULL;
}


static void
ngx_stream_buildkit_address_insert(ngx_rbtree_node_t *temp,
    ngx_rbtree_node_t *node, ngx_rbtree_node_t *sentinel)
{
    ngx_rbtree_node_t              **p;
    ngx_stream_buildkit_address_t   *a, *b;

    a = (ngx_stream_buildkit_address_t *) node;

    for ( ;; ) {

        if (node->key != temp->key) {
            p = (node->key < temp->key) ? &temp->left : &temp->right;

        } else {
            b = (ngx_stream_buildkit_address_t *) temp;
            p = (ngx_memcmp(a->prefix, b->prefix, sizeof(a->prefix)) < 0)
                ? &temp->left : &temp->right;
        }

        if (*p == sentinel) {
            break;
        }

        temp = *p;
    }

    *p = node;
    node->parent = temp;
    node->left = sentinel;
    node->right = sentinel;
    ngx_rbt_red(node);
}


static ngx_stream_buildkit_address_t *
ngx_stream_buildkit_address_new(ngx_stream_buildkit_addresses_t *addresses)
{
    ngx_stream_buildkit_address_t  *address;

    address = addresses->free;

    if (address) {
        addresses->free = (ngx_stream_buildkit_address_t *)
                              address->node.parent;
        return address;
    }

    return ngx_palloc(addresses->pool, sizeof(ngx_stream_buildkit_address_t));
}


static void
ngx_stream_buildkit_address_prefix(struct sockaddr *sa, u_char *prefix)
{
    struct sockaddr_in   *sin;
#if (NGX_HAVE_INET6)
    struct sockaddr_in6  *sin6;
#endif

    ngx_memzero(prefix, NGX_STREAM_BUILDKIT_PREFIX_LEN);

    switch (sa->sa_family) {

#if (NGX_HAVE_INET6)
    case AF_INET6:
        sin6 = (struct sockaddr_in6 *) sa;

        if (IN6_IS_ADDR_V4MAPPED(&sin6->sin6_addr)) {
            prefix[0] = AF_INET;
            ngx_memcpy(&prefix[1], &sin6->sin6_addr.s6_addr[12], 4);
            break;
        }

        prefix[0] = AF_INET6;
        ngx_memcpy(&prefix[1], &sin6->sin6_addr, 8);
        break;
#endif

    case AF_INET:
        sin = (struct sockaddr_in *) sa;

        prefix[0] = AF_INET;
        ngx_memcpy(&prefix[1], &sin->sin_addr, 4);
        break;

    default: /* AF_UNIX */
        break;
    }
}
