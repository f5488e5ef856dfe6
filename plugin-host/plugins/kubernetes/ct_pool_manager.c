/*
 * tls.mode certManager: Certificates that cert-manager is asked for, and the
 * Secrets that it fills; and Secrets of somebody else's in general.
 */

#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "ct_pool.h"


#define CT_WAIT_MS    3000          /* for cert-manager */
#define CT_MISSES_MS  5000          /* for people */


static void ct_manager_waits(const ct_obj_t *asked, const char *secret,
    bk_err_t *err);


int
ct_pool_managed(const ct_pool_t *p)
{
    return strcmp(mk_spec_text(p->o->obj, "auto", "tls", "mode", NULL),
                  "certManager") == 0;
}


int
ct_pool_issuer_alone(const ct_pool_t *p)
{
    json_t      *ref = mk_spec(p->o->obj, "tls", "certManager", "issuerRef",
                               NULL);
    const char  *kind = obj_text(ref, "kind"), *group = obj_text(ref, "group");

    /* of another group it may be anything */
    return ct_pool_managed(p)
           && (kind[0] == '\0' || strcmp(kind, "Issuer") == 0)
           && (group[0] == '\0' || strcmp(group, "cert-manager.io") == 0);
}


int
ct_pool_manager(ct_pool_t *p, int part, ct_wanted_t *out, bk_err_t *err)
{
    int          item = CT_FROM_SERVER + part;
    char         secret[K8S_NAME_MAX + 1], *names, *ca;
    json_t      *body, *pool = p->o->obj;
    ct_obj_t    *asked;
    ct_item_t   *i;

    if (snprintf(secret, sizeof(secret), "%s-%s", mk_name(pool),
                 ct_pool_part_issued(part)) >= (int) sizeof(secret))
    {
        return bk_err_set(err, 422, "BadName", "the pool's name is too long");
    }

    asked = ct_item(p, CT_ASK_SERVER + part, "%s", secret);

    if (asked == NULL) {
        out->waits = 1;
        return bk_err_set(err, 503, "Pending", "the Certificate %s is not "
                          "known yet", secret);
    }

    if (ct_item_mine(p, asked, err) != 0) {
        return -1;
    }

    /* one that is a client has a name as well: an issuer wants one */
    names = out->names != NULL
            ? ct_pool_strdup(out->names)
            : mk_worker_tls_name(mk_ns(pool), mk_name(pool), "gateway");
    body = mk_certificate(pool, secret, names,
                          part == CT_CLIENT ? "client" : "server", err);
    free(names);

    if (body == NULL) {
        return -1;
    }

    ct_item_apply(p, CT_ASK_SERVER + part, asked, body);

    i = p->own->items[CT_ASK_SERVER + part];

    if (i->err.code != 0 && asked->obj == NULL) {
        *err = i->err;

        if (err->code == 404) {
            bk_err_set(err, 404, "NotInstalled", "there are no Certificates "
                       "in this cluster: cert-manager is not installed");
        }

        return -1;
    }

    out->cert = ct_pool_from(p, item, secret, "tls.crt", err);
    out->key = out->cert != NULL
               ? ct_pool_from(p, item, secret, "tls.key", err) : NULL;
    ca = out->key != NULL
         ? ct_pool_from(p, item, secret, "ca.crt", err) : NULL;

    if (ca == NULL) {
        ct_item_again(p, item, CT_WAIT_MS);
        ct_item_again(p, CT_ASK_SERVER + part, CT_WAIT_MS);

        if (out->key == NULL) {
            out->waits = 1;
            ct_manager_waits(asked, secret, err);
        }

        return -1;
    }

    out->signer = ct_x509_bundle(ca, err);
    free(ca);

    if (out->signer == NULL) {
        return bk_err_prefix(err, "ca.crt of Secret %s", secret);
    }

    /* it signs both sides of the way to the workers */
    if (part == CT_SERVER || !ct_pool_issuer_alone(p)) {
        return 0;
    }

    free(out->ca);
    out->ca = part == CT_CLIENT ? ct_pool_strdup(out->signer)
              : ct_pool_callers(p, out->signer, err);
    out->waits |= out->ca == NULL;

    return out->ca != NULL ? 0 : -1;
}


/* ca is whoever signs that part. */

int
ct_pool_manager_ca(ct_pool_t *p, int part, ct_wanted_t *out, bk_err_t *err)
{
    char  *ca, *secret;

    secret = ct_pool_printf("%s-%s", mk_name(p->o->obj),
                            ct_pool_part_issued(part));
    ca = ct_pool_from(p, CT_FROM_SERVER + part, secret, "ca.crt", err);
    free(out->ca);
    out->ca = ca != NULL ? ct_x509_bundle(ca, err) : NULL;

    if (ca == NULL) {
        bk_err_set(err, 503, "CertificatePending", "cert-manager has not "
                   "filled the Secret %s yet", secret);

    } else if (out->ca == NULL) {
        bk_err_prefix(err, "ca.crt of Secret %s", secret);
    }

    free(ca);
    free(secret);

    return out->ca != NULL ? 0 : -1;
}


/* What cert-manager itself says is better than that there is nothing. */

static void
ct_manager_waits(const ct_obj_t *asked, const char *secret, bk_err_t *err)
{
    size_t   n;
    json_t  *c;

    bk_err_set(err, 503, "CertificatePending", "cert-manager has not filled "
               "the Secret %s yet", secret);

    json_array_foreach(ct_at(asked, "status", "conditions", NULL), n, c) {
        if (strcmp(obj_text(c, "type"), "Ready") == 0
            && strcmp(obj_text(c, "status"), "True") != 0)
        {
            bk_err_set(err, 503, "CertificatePending", "the Certificate %s is "
                       "not ready: %s", secret, obj_text(c, "message"));
        }
    }
}


/* --- Secrets of others ---------------------------------------------------- */

char *
ct_pool_from(ct_pool_t *p, int item, const char *secret, const char *key,
    bk_err_t *err)
{
    char      *s;
    ct_obj_t  *o = ct_item(p, item, "%s", secret);

    if (o == NULL) {
        bk_err_set(err, 503, "Pending", "the Secret %s is not known yet",
                   secret);
        return NULL;
    }

    if (o->obj == NULL) {
        ct_item_again(p, item, CT_MISSES_MS);
        bk_err_set(err, 404, "SecretMissing", "there is no Secret %s", secret);
        return NULL;
    }

    s = ct_secret_get(o->obj, key);

    if (s == NULL) {
        ct_item_again(p, item, CT_MISSES_MS);
        bk_err_set(err, 422, "SecretMissing", "the Secret %s has no %s",
                   secret, key);
    }

    return s;
}
