/* What the unit tests of the authorities share: a state folder, a clock that
 * can be put forward, and verification as Go does it. */

#ifndef CA_TEST_H_INCLUDED
#define CA_TEST_H_INCLUDED

#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ca_int.h"
#include "bk_err.h"
#include "log.h"


static int   ca_test_n;
static char  ca_test_state[64];
static int   ca_test_told;


static inline void
ok(int good, const char *name)
{
    printf("%sok %d - %s\n", good ? "" : "not ", ++ca_test_n, name);
}


static inline void
ca_test_folder(void)
{
    snprintf(ca_test_state, sizeof(ca_test_state), "/tmp/bk-ca-XXXXXX");

    if (mkdtemp(ca_test_state) == NULL) {
        perror("mkdtemp");
        exit(1);
    }

    bk_log_set(BK_LOG_ERROR, BK_LOG_TEXT);
}


static inline void
ca_test_remove(void)
{
    char  command[100];

    snprintf(command, sizeof(command), "rm -rf %s", ca_test_state);

    if (system(command) != 0) {
        perror(command);
    }
}


static inline void
ca_test_changed(void *data)
{
    (void) data;

    ca_test_told++;
}


/* NULL: it does not start. */

static inline bk_ca_t *
ca_test_open(int reloads)
{
    bk_ca_t       *ca;
    bk_err_t       err;
    bk_ca_conf_t   conf;

    memset(&conf, 0, sizeof(conf));
    conf.state = ca_test_state;
    conf.names = "gw.example,127.0.0.1";
    conf.reloads = reloads;
    conf.changed = ca_test_changed;

    if (bk_ca_new(&ca, NULL, &conf, &err) != 0) {
        printf("# %s\n", err.text);
        return NULL;
    }

    return ca;
}


static inline char *
ca_test_read(const char *name)
{
    char   path[128], *text = NULL;

    snprintf(path, sizeof(path), "%s/%s", ca_test_state, name);
    (void) bk_ca_read(path, 0, &text, NULL);

    return text;
}


/*
 * Does the first certificate of pem verify with trust and with what follows
 * it?  strict: every path length counts self-issued ones too, as in Go.
 */

static inline int
ca_test_verify(const char *pem, const char *trust, int64_t ahead_s)
{
    int              i, good = 0;
    long             len;
    X509_STORE      *store = X509_STORE_new();
    X509_STORE_CTX  *ctx = X509_STORE_CTX_new();
    STACK_OF(X509)  *certs, *roots, *chain;

    certs = pem != NULL ? bk_ca_pem_certs(pem) : NULL;
    roots = trust != NULL ? bk_ca_pem_certs(trust) : NULL;

    if (certs != NULL && roots != NULL) {
        for (i = 0; i < sk_X509_num(roots); i++) {
            X509_STORE_add_cert(store, sk_X509_value(roots, i));
        }

        X509_STORE_CTX_init(ctx, store, sk_X509_value(certs, 0), certs);
        X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(ctx),
                                   time(NULL) + ahead_s);
        X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_X509_STRICT);
        good = X509_verify_cert(ctx) == 1;

        chain = X509_STORE_CTX_get0_chain(ctx);

        for (i = 1; good && i < sk_X509_num(chain); i++) {
            len = X509_get_pathlen(sk_X509_value(chain, i));
            good = len == -1 || len >= i - 1;
        }
    }

    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    sk_X509_pop_free(certs, X509_free);
    sk_X509_pop_free(roots, X509_free);

    return good;
}


/* A certificate of a kind, copied; *trust too, when wanted. */

static inline char *
ca_test_issue(bk_ca_t *ca, int kind, uint64_t days, char **trust)
{
    bk_err_t           err;
    bk_cert_t          cert;
    bk_cert_request_t  req;

    memset(&req, 0, sizeof(req));
    req.kind = kind;
    req.cn = BK_STR("someone");
    req.not_after_ms = bk_ca_now_ms(ca) + days * BK_CA_DAY_MS;

    if (bk_ca_issue(ca, &req, &cert, &err) != 0) {
        printf("# %s\n", err.text);
        return NULL;
    }

    if (trust != NULL) {
        *trust = strdup(cert.ca.data);
    }

    return strdup(cert.cert.data);
}

#endif /* CA_TEST_H_INCLUDED */
