/*
 * Who asks?  A bearer token is put to the plugins that know identities, one
 * after the other in the configuration's order; the first that does not say
 * "not mine" decides.  Called by gate.c for each request, on the loop's
 * thread; never blocks, never logs a token.
 */

#ifndef BK_IDENTITY_H_INCLUDED
#define BK_IDENTITY_H_INCLUDED

#include "access.h"
#include "plugin.h"


#define BK_IDENTITY_NAME_MAX    256
#define BK_IDENTITY_SOURCE_MAX  64
#define BK_IDENTITY_CLAIMS_MAX  65536   /* bytes of JSON */
#define BK_IDENTITY_WAIT_S      10      /* for all plugins together */
#define BK_IDENTITY_QUERIES     4096    /* that a plugin may have open */


/*
 * From what a plugin said; 500 BadIdentity when that cannot be: no source or
 * name, a name that does not begin with "SOURCE:", the source "unix", which
 * is ours, claims that are no object or too large.
 */
bk_who_t *bk_who_new(const bk_identity_t *id, bk_err_t *err);
/* takes claims, an object; for peers (peer.c) and tests */
bk_who_t *bk_who_make(const char *name, const char *source, json_t *claims);
bk_who_t *bk_who_ref(bk_who_t *who);
void bk_who_unref(bk_who_t **who);

/*
 * Asks the plugins.  done() is called exactly once: before this returns, and
 * then that is NULL, or later.  who is to be kept with bk_who_ref(); it is
 * NULL with *err of 401, 403 or 503.  bk_identity_drop(): done() is not to be
 * called any more.
 */
typedef void (*bk_identity_pt)(bk_who_t *who, const bk_err_t *err,
    void *data);
bk_query_t *bk_identity_ask(bk_plugins_t *ps, bk_str_t bearer,
    bk_str_t client, bk_identity_pt done, void *data);
void bk_identity_drop(bk_query_t *q);

/* bk_host_t's identity_answer() */
void bk_identity_answer(bk_query_t *q, const bk_identity_t *id,
    const bk_err_t *err);

/* The plugin has stopped and answers nothing any more: 503 for the rest. */
void bk_identity_stopped(bk_plugin_inst_t *p);

#endif /* BK_IDENTITY_H_INCLUDED */
