/*
 * Who asks?  Between the HTTP server and a route's handler: a bearer token
 * is put to the plugins that know identities, one after the other; a peer of
 * a unix socket without one is its uid; anybody else is refused with 401.
 * Then the access rules are asked whether the route's verb is allowed to it
 * anywhere; the handler asks for the pool.
 */

#ifndef BK_IDENTITY_H_INCLUDED
#define BK_IDENTITY_H_INCLUDED

#include "access.h"
#include "plugin.h"


/* A peer of a unix socket: name "unix:root", claims {"uid", "gid", "user",
 * "groups"}.  The caller unrefs. */
bk_who_t *bk_identity_peer(uint32_t uid, uint32_t gid);

bk_who_t *bk_who_new(const bk_identity_t *id, bk_err_t *err);
bk_who_t *bk_who_ref(bk_who_t *who);
void bk_who_unref(bk_who_t **who);

/*
 * Asks the plugins.  done() is called exactly once, perhaps before this
 * returns: who (to be kept with bk_who_ref()), or NULL and *err with 401,
 * 403 or 503.  bk_identity_drop(): done() is not to be called any more.
 */
typedef void (*bk_identity_pt)(bk_who_t *who, const bk_err_t *err,
    void *data);
bk_query_t *bk_identity_ask(bk_plugins_t *ps, bk_str_t bearer,
    bk_str_t client, bk_identity_pt done, void *data);
void bk_identity_drop(bk_query_t *q);

/* bk_host_t's identity_answer() */
void bk_identity_answer(bk_query_t *q, const bk_identity_t *id,
    const bk_err_t *err);

#endif /* BK_IDENTITY_H_INCLUDED */
