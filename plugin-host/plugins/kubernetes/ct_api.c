/* TLS of the controller's API: see ct_api.h. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "ct_api.h"
#include "ct_oidc.h"
#include "ct_pool.h"


#define CT_API_LOOK_MS     1000
#define CT_API_RETRY_MS    60000
#define CT_API_AGAIN_MS    600000           /* somebody may have changed it */
#define CT_API_DAY_MS      (24ull * 3600 * 1000)
#define CT_API_LIFE_MS     (31 * CT_API_DAY_MS)

#define CT_API_SERVICE  "buildkit-controller-api"


struct ct_api_s {
    ct_t        *ct;
    bk_timer_t  *timer;
    k8s_req_t   *req;
    char        *names;
    char        *ca;                /* PEM; NULL: no certificate so far */
    uint64_t     renew_ms;          /* Unix time; 0: now */
    uint64_t     told_ms;           /* monotonic: the ConfigMap is to be
                                       written then */
    char         said[256];         /* what went wrong, and is in the log */
};


static const k8s_kind_t  ct_api_kind = { "", "v1", "configmaps", "ConfigMap" };


static char *ct_api_names(const ct_conf_t *conf);
static void ct_api_look(void *data);
static int ct_api_issue(ct_api_t *a, bk_err_t *err);
static int ct_api_write(ct_api_t *a, const bk_cert_t *made, bk_err_t *err);
static void ct_api_tell(ct_api_t *a);
static void ct_api_told(void *data, const k8s_answer_t *answer);
static void ct_api_say(ct_api_t *a, const char *what, const char *text);


ct_api_t *
ct_api_new(ct_t *ct)
{
    ct_api_t  *a;

    if (ct->conf->api_tls == NULL || ct->conf->api_tls[0] == '\0') {
        return NULL;
    }

    a = calloc(1, sizeof(ct_api_t));
    if (a == NULL) {
        abort();
    }

    a->ct = ct;
    a->names = ct_api_names(ct->conf);
    a->timer = ct->host->timer_new(ct->host, ct_api_look, a);
    ct_api_look(a);

    return a;
}


void
ct_api_changed(ct_api_t *a)
{
    if (a != NULL) {
        a->renew_ms = 0;
        a->ct->host->timer_set(a->timer, 0);
    }
}


void
ct_api_free(ct_api_t **ap)
{
    ct_api_t  *a = *ap;

    if (a == NULL) {
        return;
    }

    *ap = NULL;

    if (a->req != NULL) {
        k8s_cancel(&a->req);
    }

    a->ct->host->timer_free(&a->timer);
    free(a->names);
    free(a->ca);
    free(a);
}


/* As Pods find the Service, as a port-forward does, and as the administrator
 * says. */

static char *
ct_api_names(const ct_conf_t *conf)
{
    char    *names, *more;
    size_t   i;

    names = ct_pool_printf("%s.%s.svc,%s.%s.svc.cluster.local,%s.%s,%s,"
                           "localhost,127.0.0.1", CT_API_SERVICE,
                           conf->namespace, CT_API_SERVICE, conf->namespace,
                           CT_API_SERVICE, conf->namespace, CT_API_SERVICE);

    for (i = 0; conf->api_names != NULL && conf->api_names[i] != NULL; i++) {
        more = ct_pool_printf("%s,%s", names, conf->api_names[i]);
        free(names);
        names = more;
    }

    return names;
}


static void
ct_api_look(void *data)
{
    ct_api_t  *a = data;
    uint64_t   wait = CT_API_LOOK_MS;
    bk_err_t   err;

    if (a->ct->host->now_ms(a->ct->host) >= a->renew_ms
        && ct_api_issue(a, &err) != 0)
    {
        ct_api_say(a, "the API's certificate", err.text);
        wait = CT_API_RETRY_MS;
    }

    if (a->ca != NULL && a->req == NULL && ct_leads(a->ct)
        && a->ct->host->monotonic_ms(a->ct->host) >= a->told_ms)
    {
        ct_api_tell(a);
    }

    a->ct->host->timer_set(a->timer, wait);
}


/* --- the certificate ------------------------------------------------------ */

static int
ct_api_issue(ct_api_t *a, bk_err_t *err)
{
    char                *ca;
    uint64_t             now = a->ct->host->now_ms(a->ct->host);
    bk_cert_t            made;
    bk_cert_request_t    req;

    memset(&req, 0, sizeof(req));
    req.kind = BK_CERT_GATEWAY;
    req.cn = BK_STR(CT_API_SERVICE);
    req.names = CT_STR(a->names);

    /* by the day: the authority notes until when it was used, and what is
     * noted there is a write of the Secret that replicas share */
    req.not_after_ms = (now + CT_API_LIFE_MS) / CT_API_DAY_MS * CT_API_DAY_MS;

    if (a->ct->host->cert_issue(a->ct->host, &req, &made, err) != 0
        || ct_api_write(a, &made, err) != 0)
    {
        return -1;
    }

    a->renew_ms = now + CT_API_LIFE_MS / 3 * 2;
    ca = ct_pool_printf("%.*s", (int) made.ca.len, made.ca.data);

    if (a->ca == NULL || strcmp(a->ca, ca) != 0) {
        a->told_ms = 0;
    }

    free(a->ca);
    a->ca = ca;

    return 0;
}


/* One file, so that nginx never has the key of another certificate. */

static int
ct_api_write(ct_api_t *a, const bk_cert_t *made, bk_err_t *err)
{
    int    rc;
    char  *text;

    text = ct_pool_printf("%.*s%.*s", (int) made->cert.len, made->cert.data,
                          (int) made->key.len, made->key.data);
    rc = ct_oidc_write(a->ct->conf->api_tls, CT_API_FILE, text, err);
    ct_secret_free(text);

    return rc;
}


/* --- whom to trust -------------------------------------------------------- */

static void
ct_api_tell(ct_api_t *a)
{
    json_t  *body;

    body = json_pack("{s:{s:s, s:{s:s, s:s}}, s:{s:s}}",
                     "metadata", "name", CT_API_CA, "labels",
                     "app.kubernetes.io/name", "buildkit-controller",
                     "app.kubernetes.io/managed-by", "buildkit-controller",
                     "data", "ca.crt", a->ca);
    a->req = k8s_apply(a->ct->k8s, &ct_api_kind, a->ct->conf->namespace,
                       CT_API_CA, body, ct_api_told, a);
    json_decref(body);
}


static void
ct_api_told(void *data, const k8s_answer_t *answer)
{
    ct_api_t  *a = data;
    uint64_t   now = a->ct->host->monotonic_ms(a->ct->host);

    a->req = NULL;

    if (K8S_OK(answer)) {
        a->said[0] = '\0';
        a->told_ms = now + CT_API_AGAIN_MS;
        return;
    }

    ct_api_say(a, "the ConfigMap " CT_API_CA, answer->text);
    a->told_ms = now + CT_API_RETRY_MS;
}


static void
ct_api_say(ct_api_t *a, const char *what, const char *text)
{
    if (strncmp(a->said, text, sizeof(a->said) - 1) != 0) {
        snprintf(a->said, sizeof(a->said), "%s", text);
        a->ct->host->log(a->ct->host, BK_LOG_WARN, "%s: %s", what, text);
    }
}
