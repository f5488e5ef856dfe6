/*
 * The host's two certificate authorities and what they issue.
 *
 * The gateway authority signs the clients of the gateway (allocations) and
 * its server certificate; the worker authority signs buildkitds' server
 * certificates and the gateway's client certificate towards them.  So a
 * client's certificate never opens a worker directly.
 *
 * An authority is our own (ca/{gateway,worker}-ca.pem and -ca-key.pem of the
 * state folder, made at the first start) or a key pair that somebody else
 * writes into files.  When it changes, what it was before stays trusted for
 * as long as something that it issued may be in use, and vouches for the new
 * one with a cross certificate: nobody has to know both at once
 * (doc/certificates.md).
 *
 * nginx reads tls/: gateway.pem, upstream.pem, their keys, and what to trust.
 * These are kept up to date while we run; changed() is called whenever nginx
 * must read them again.  Nothing here is ever logged but names of files,
 * names of authorities and what is wrong with them.  On the loop's thread;
 * fsync only when an authority changes.
 */

#ifndef BK_CA_H_INCLUDED
#define BK_CA_H_INCLUDED

#include <jansson.h>

#include "bk_plugin.h"


typedef struct bk_ca_s        bk_ca_t;
typedef struct bk_ca_watch_s  bk_ca_watch_t;

struct event_base;

/* A key pair of an issuer; ca may be NULL where cert is its own root. */
typedef struct {
    char  *cert;
    char  *key;
    char  *ca;
} bk_ca_files_t;

typedef struct {
    const char           *state;
    const char           *names;    /* of the gateway's server certificate,
                                       comma-separated */
    const bk_ca_files_t  *gateway;  /* NULL: our own authority */
    const bk_ca_files_t  *worker;
    int                   reloads;  /* nginx is told, and we hear how it went:
                                       bk_ca_reloaded() */
    void                (*changed)(void *data);     /* NULL: nobody */
    /* files of ca/ were written: keys, or what is known of them; or NULL */
    void                (*stored)(void *data);
    void                 *data;
} bk_ca_conf_t;

/* base may be NULL: the files of issuers are not watched. */
int bk_ca_new(bk_ca_t **ca, struct event_base *base, const bk_ca_conf_t *conf,
    bk_err_t *err);
void bk_ca_free(bk_ca_t **ca);

/*
 * Twice a day, and when the files of issuers may be others: makes nginx'
 * certificates again a month before they end, drops old authorities that
 * nobody needs any more.
 */
void bk_ca_look(bk_ca_t *ca);

/* nginx has read its files: the old certificates are shown to nobody. */
void bk_ca_reloaded(bk_ca_t *ca);

/* See bk_plugin.h, cert_issue(); 400 for a bad request. */
int bk_ca_issue(bk_ca_t *ca, const bk_cert_request_t *req, bk_cert_t *out,
    bk_err_t *err);
/* ... authority_make(), cert_issue_by(): nothing of it is kept here */
int bk_ca_authority(bk_ca_t *ca, bk_str_t cn, bk_str_t key_pem, bk_cert_t *out,
    bk_err_t *err);
int bk_ca_issue_by(bk_ca_t *ca, bk_str_t cert_pem, bk_str_t key_pem,
    const bk_cert_request_t *req, bk_cert_t *out, bk_err_t *err);

/*
 * name: "gateway", "worker" or NULL for both.  bk_ca_rotate(): a new key
 * signs from now on.  bk_ca_retire(): the old ones are not trusted from now
 * on; what they issued and is in use is refused, so one that is still needed
 * is dropped with force alone.  404, 409.
 */
int bk_ca_rotate(bk_ca_t *ca, const char *name, bk_err_t *err);
int bk_ca_retire(bk_ca_t *ca, const char *name, int force, bk_err_t *err);

/*
 * ca/NAME-trust.json were written by somebody else, who has the same
 * authorities: what he issued may be in use for as long as they say.  409:
 * they are others; nothing was taken.
 */
int bk_ca_read_issued(bk_ca_t *ca, bk_err_t *err);

/* Both authorities, for GET /api/v1/ca (doc/api.md); the caller frees. */
json_t *bk_ca_show(bk_ca_t *ca);

#endif /* BK_CA_H_INCLUDED */
