/*
 * The host's two certificate authorities and what they issue.
 *
 * The gateway authority signs the clients of the gateway (allocations) and
 * its server certificate; the worker authority signs buildkitds' server
 * certificates and the gateway's client certificate towards them.  So a
 * client's certificate never opens a worker directly.
 *
 * Files below the state folder, made at the first start and never
 * overwritten: ca/{gateway,worker}-ca.pem and -ca-key.pem (0600).  Made, and
 * made again 30 days before they expire, at every start: tls/gateway.pem,
 * tls/upstream.pem and their keys; copies of both authorities beside them.
 * Keys are P-256.  Nothing here is ever logged but file names.
 */

#ifndef BK_CA_H_INCLUDED
#define BK_CA_H_INCLUDED

#include "bk_plugin.h"


typedef struct bk_ca_s  bk_ca_t;

/* names: comma-separated, for the gateway's server certificate. */
int bk_ca_new(bk_ca_t **ca, const char *state, const char *names,
    bk_err_t *err);
void bk_ca_free(bk_ca_t **ca);

/*
 * Warns in the log of a certificate that nginx uses and that expires within
 * 30 days: the next start renews it.  Reads four small files, writes none.
 */
void bk_ca_look(bk_ca_t *ca);

/* See bk_plugin.h, cert_issue(); 400 for a bad request. */
int bk_ca_issue(bk_ca_t *ca, const bk_cert_request_t *req, bk_cert_t *out,
    bk_err_t *err);

#endif /* BK_CA_H_INCLUDED */
