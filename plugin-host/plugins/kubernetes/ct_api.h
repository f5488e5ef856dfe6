/*
 * TLS of the controller's API: a certificate of the host's gateway authority,
 * for nginx before it, and that authority for who asks there.
 *
 * The certificate is in the file tls.pem (with its key) of the folder of
 * option apiTLS, which nginx reads for each connection, so nobody is told when
 * it is a new one.  The authority is in the ConfigMap buildkit-controller-ca
 * of the controller's namespace, key ca.crt.  Every controller writes its
 * file, the leader the ConfigMap.
 */

#ifndef CT_API_H_INCLUDED
#define CT_API_H_INCLUDED

#include "ct.h"


#define CT_API_FILE  "tls.pem"
#define CT_API_CA    "buildkit-controller-ca"


typedef struct ct_api_s  ct_api_t;

/* ct lives longer; NULL: the option is not set */
ct_api_t *ct_api_new(ct_t *ct);
/* the host's authorities are others, or may be; NULL is taken */
void ct_api_changed(ct_api_t *a);
void ct_api_free(ct_api_t **a);

#endif /* CT_API_H_INCLUDED */
