/*
 * What all pools have in common: see ct_pool.h.  The authorities are the
 * host's (bk_plugin.h, cert_issue()); what is found out about them is kept
 * for a minute.
 */

#include <errno.h>
#include <string.h>

#include "bk_err.h"
#include "bk_slurp.h"
#include "ct_pool.h"


#define CT_TRUST_MS     60000
#define CT_TEMPLATE_MS  30000
#define CT_TEMPLATE_MAX (256 * 1024)


static void ct_pool_due(void *data);
static int ct_trust_look(ct_common_t *c, int by, bk_err_t *err);
static char *ct_template_read(const ct_common_t *c, const char *name,
    bk_err_t *err);


ct_common_t *
ct_pool_common(ct_t *ct)
{
    ct_common_t  *c = ct->common;

    if (c == NULL) {
        c = calloc(1, sizeof(ct_common_t));
        if (c == NULL) {
            abort();
        }

        c->ct = ct;
        c->timer = ct->host->timer_new(ct->host, ct_pool_due, c);
        ct->common = c;
    }

    return c;
}


void
ct_pool_common_free(ct_t *ct)
{
    ct_item_t    *i, *tmp;
    ct_common_t  *c = ct->common;

    if (c == NULL) {
        return;
    }

    ct->common = NULL;
    ct->host->timer_free(&c->timer);

    DL_FOREACH_SAFE(c->items, i, tmp) {
        json_decref(i->body);
        free(i);
    }

    free(c->trust[CT_BY_GATEWAY].ca);
    free(c->trust[CT_BY_WORKER].ca);
    free(c->nginx_conf);
    free(c->gateway_yaml);
    free(c);
}


/* --- pools that wait for a time ------------------------------------------- */

void
ct_pool_later(ct_pool_t *p, uint64_t ms)
{
    uint64_t      at;
    ct_common_t  *c = ct_pool_common(p->ct);

    /* a renewal in a year: it is looked at before that, anyhow */
    ms = ms < 3600000 ? ms : 3600000;
    at = p->ct->host->monotonic_ms(p->ct->host) + ms;

    if (p->own->due_ms == 0 || p->own->due_ms > at) {
        p->own->due_ms = at;
    }

    if (c->timer_ms == 0 || c->timer_ms > at) {
        c->timer_ms = at;
        p->ct->host->timer_set(c->timer, ms);
    }
}


static void
ct_pool_due(void *data)
{
    uint64_t      now, next = 0;
    ct_pool_t    *p, *tmp;
    ct_common_t  *c = data;

    now = c->ct->host->monotonic_ms(c->ct->host);
    c->timer_ms = 0;

    HASH_ITER(hh, c->ct->pools, p, tmp) {
        if (p->own == NULL || p->own->due_ms == 0) {
            continue;
        }

        if (p->own->due_ms <= now) {
            p->own->due_ms = 0;
            ct_dirty_pool(p);

        } else if (next == 0 || next > p->own->due_ms) {
            next = p->own->due_ms;
        }
    }

    if (next != 0) {
        c->timer_ms = next;
        c->ct->host->timer_set(c->timer, next - now);
    }
}


/* --- authorities ---------------------------------------------------------- */

void
ct_pool_trust_changed(ct_t *ct)
{
    ct_pool_t  *p, *tmp;

    if (ct->common != NULL) {
        ct->common->trust_ms = 0;
    }

    HASH_ITER(hh, ct->pools, p, tmp) {
        ct_dirty_pool(p);
    }
}


const ct_trust_t *
ct_pool_trust(ct_t *ct, int by, bk_err_t *err)
{
    uint64_t      now = ct->host->monotonic_ms(ct->host);
    ct_common_t  *c = ct_pool_common(ct);

    if (c->trust_ms == 0 || now - c->trust_ms > CT_TRUST_MS) {
        c->trust_ms = 0;

        if (ct_trust_look(c, CT_BY_GATEWAY, err) != 0
            || ct_trust_look(c, CT_BY_WORKER, err) != 0)
        {
            return NULL;
        }

        c->trust_ms = now;
    }

    return &c->trust[by];
}


/* They show themselves by what they issue: a certificate that nobody gets. */

static int
ct_trust_look(ct_common_t *c, int by, bk_err_t *err)
{
    char               *cert, *key;
    uint64_t            now = c->ct->host->now_ms(c->ct->host);
    bk_cert_t           made;
    ct_pair_t           pair;
    ct_x509_t           info;
    ct_trust_t         *t = &c->trust[by];
    bk_cert_request_t   req;

    memset(&req, 0, sizeof(req));
    req.kind = by == CT_BY_GATEWAY ? BK_CERT_GATEWAY : BK_CERT_WORKER;
    req.cn = BK_STR("nobody");
    req.not_after_ms = now + 60000;

    if (c->ct->host->cert_issue(c->ct->host, &req, &made, err) != 0) {
        return -1;
    }

    cert = ct_pool_printf("%.*s", (int) made.cert.len, made.cert.data);
    key = ct_pool_printf("%.*s", (int) made.key.len, made.key.data);
    free(t->ca);
    t->ca = ct_pool_printf("%.*s", (int) made.ca.len, made.ca.data);

    memset(&pair, 0, sizeof(pair));
    pair.cert = cert;
    pair.key = key;
    pair.ca = t->ca;
    pair.server = 1;

    /* whether it is good is not the question: who has signed it */
    (void) ct_x509_check(&pair, now, &info, NULL);
    memcpy(t->issuer, info.issuer, sizeof(t->issuer));

    free(cert);
    ct_secret_free(key);

    return 0;
}


/* --- what gateways are configured with ------------------------------------ */

int
ct_pool_template(ct_t *ct, const char **nginx_conf, const char **gateway_yaml,
    bk_err_t *err)
{
    char         *nginx, *yaml;
    uint64_t      now = ct->host->monotonic_ms(ct->host);
    ct_common_t  *c = ct_pool_common(ct);

    if (c->template_ms == 0 || now - c->template_ms > CT_TEMPLATE_MS) {
        memset(&c->template_err, 0, sizeof(bk_err_t));
        nginx = ct_template_read(c, "nginx.conf", &c->template_err);
        yaml = nginx != NULL
               ? ct_template_read(c, "gateway.yaml", &c->template_err) : NULL;

        if (yaml != NULL) {
            free(c->nginx_conf);
            free(c->gateway_yaml);
            c->nginx_conf = nginx;
            c->gateway_yaml = yaml;
            nginx = NULL;
        }

        free(nginx);
        c->template_ms = now;
    }

    /* files that are away for a while are no reason to stop */
    if (c->nginx_conf == NULL) {
        *err = c->template_err;
        return -1;
    }

    *nginx_conf = c->nginx_conf;
    *gateway_yaml = c->gateway_yaml;

    return 0;
}


static char *
ct_template_read(const ct_common_t *c, const char *name, bk_err_t *err)
{
    char        *path, *text;
    size_t       len;
    const char  *dir = c->ct->conf->template_dir;

    path = ct_pool_printf("%s/%s", dir, name);
    text = bk_slurp(path, CT_TEMPLATE_MAX, &len);

    if (text == NULL) {
        bk_err_set(err, 500, "NoTemplate", "the gateways' configuration "
                   "cannot be read from %s: %s", path, strerror(errno));
        bk_err_hint(err, "the controller's option gatewayTemplate names the "
                    "folder");
    }

    free(path);

    return text;
}
