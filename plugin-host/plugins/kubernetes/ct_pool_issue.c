/*
 * Where the certificates of a pool's programs are from: the pool's own
 * authority (the gateway's two) and the host's worker authority, Secrets that
 * somebody fills by hand (tls.mode manual: the gateways' server certificate
 * alone), or cert-manager's Certificates.
 *
 * Whoever signed the servers' certificates: clients of the gateway, with their
 * allocations, are the host's gateway authority's.
 *
 * A ClusterIssuer signs for every namespace that asks it.  Were it the one
 * whose clients a worker takes, anybody who may ask for a Certificate anywhere
 * could come to all of them: so what a gateway shows to workers is the pool's
 * own authority's there, too, and only an Issuer of the namespace signs that.
 */

#include <stdio.h>
#include <string.h>

#include "bk_duration.h"
#include "bk_err.h"
#include "ct_pool.h"


#define CT_HOUR_MS    3600000ull
#define CT_YEAR_MS    (8760 * CT_HOUR_MS)
#define CT_MONTH_MS   (720 * CT_HOUR_MS)


static const struct {
    const char  *name;              /* of the Secret, behind "POOL-" */
    const char  *prefix;            /* of its keys */
    const char  *issued;            /* what cert-manager fills */
    int          kind;
} ct_parts[CT_PARTS] = {
    [CT_SERVER] = { "tls", "tls", "server-issued", BK_CERT_GATEWAY },
    [CT_CLIENT] = { "client-certs", "client", "client-issued",
                    BK_CERT_UPSTREAM },
    [CT_BUILDKITD] = { "worker-tls", "tls", "worker-issued",
                       BK_CERT_WORKER }
};


static char *ct_wanted_names(ct_pool_t *p, int part);
static int ct_wanted_signer(ct_pool_t *p, int part, ct_wanted_t *out,
    bk_err_t *err);
static int ct_wanted_told(ct_pool_t *p, ct_wanted_t *out, bk_err_t *err);
static int ct_wanted_ca(ct_pool_t *p, int part, ct_wanted_t *out,
    bk_err_t *err);
static const char *ct_wanted_client_ca(const ct_pool_t *p);
static int ct_wanted_manual(ct_pool_t *p, ct_wanted_t *out, bk_err_t *err);
static char *ct_wanted_host(const ct_pool_t *p);
static uint64_t ct_issue_ms(const ct_pool_t *p, const char *key,
    uint64_t otherwise);


const char *
ct_pool_part_name(int part)
{
    return ct_parts[part].name;
}


const char *
ct_pool_part_prefix(int part)
{
    return ct_parts[part].prefix;
}


const char *
ct_pool_part_issued(int part)
{
    return ct_parts[part].issued;
}


int
ct_pool_wanted(ct_pool_t *p, int part, ct_wanted_t *out, bk_err_t *err)
{
    int          rc;
    const char  *mode;

    memset(out, 0, sizeof(ct_wanted_t));
    out->kind = ct_parts[part].kind;
    out->names = ct_wanted_names(p, part);
    mode = mk_spec_text(p->o->obj, "auto", "tls", "mode", NULL);

    rc = part == CT_SERVER && strcmp(mode, "manual") != 0
         ? ct_pool_hosts(p, err) : 0;
    rc = rc == 0 ? ct_wanted_ca(p, part, out, err) : rc;

    if (rc != 0) {
        out->waits = err->code == 503;

    } else if (strcmp(mode, "certManager") == 0
               && (part != CT_CLIENT || ct_pool_issuer_alone(p)))
    {
        rc = ct_pool_manager(p, part, out, err);

    } else if (strcmp(mode, "manual") == 0 && part == CT_SERVER) {
        rc = ct_wanted_manual(p, out, err);

    } else {
        rc = ct_wanted_signer(p, part, out, err);
    }

    if (rc == 0 && part == CT_SERVER) {
        rc = ct_wanted_told(p, out, err);
    }

    if (rc != 0) {
        rc = out->waits;
        ct_wanted_free(out);
        out->waits = rc;
        return -1;
    }

    return 0;
}


void
ct_wanted_free(ct_wanted_t *w)
{
    free(w->cert);
    ct_secret_free(w->key);
    free(w->signer);
    free(w->ca);
    free(w->told);
    free(w->names);
    memset(w, 0, sizeof(ct_wanted_t));
}


static char *
ct_wanted_names(ct_pool_t *p, int part)
{
    char    *names, *extra;
    json_t  *pool = p->o->obj;

    if (part == CT_BUILDKITD) {
        return mk_worker_tls_name(mk_ns(pool), mk_name(pool), "*");
    }

    if (part == CT_CLIENT) {
        return NULL;
    }

    extra = ct_pool_addresses(p);
    names = mk_gateway_names(pool, extra);
    free(extra);

    return names;
}


/* Whom the program trusts that has this certificate: for gateways' servers
 * their clients, and so on. */

static int
ct_wanted_ca(ct_pool_t *p, int part, ct_wanted_t *out, bk_err_t *err)
{
    char              *more, *clean;
    const char        *secret;
    const ct_trust_t  *t;

    if (part == CT_BUILDKITD) {
        /* an issuer of the namespace alone is known when it has issued */
        out->ca = ct_pool_issuer_alone(p) ? ct_pool_strdup("")
                  : ct_pool_callers(p, NULL, err);
        return out->ca != NULL ? 0 : -1;
    }

    t = ct_pool_trust(p->ct, part == CT_SERVER ? CT_BY_GATEWAY : CT_BY_WORKER,
                      err);
    if (t == NULL) {
        return -1;
    }

    out->ca = ct_pool_strdup(t->ca);

    /* its workers' are the issuer's */
    if (part == CT_CLIENT && ct_pool_managed(p) && !ct_pool_issuer_alone(p)) {
        return ct_pool_manager_ca(p, CT_BUILDKITD, out, err);
    }

    secret = part == CT_SERVER ? ct_wanted_client_ca(p) : NULL;

    if (secret == NULL) {
        return 0;
    }

    more = ct_pool_from(p, CT_FROM_CLIENT_CA, secret, "ca.crt", err);
    if (more == NULL) {
        return -1;
    }

    clean = ct_x509_bundle(more, err);
    free(more);

    if (clean == NULL) {
        return bk_err_prefix(err, "ca.crt of Secret %s", secret);
    }

    free(out->ca);
    out->ca = ct_pool_printf("%s%s", t->ca, clean);
    free(clean);

    return 0;
}


/* Who signs, where nobody else does. */

static int
ct_wanted_signer(ct_pool_t *p, int part, ct_wanted_t *out, bk_err_t *err)
{
    const ct_trust_t      *t;
    const ct_authority_t  *a = &p->own->authority;

    if (part == CT_BUILDKITD) {
        t = ct_pool_trust(p->ct, CT_BY_WORKER, err);
        if (t == NULL) {
            return -1;
        }

        out->signer = ct_pool_strdup(t->ca);

        return 0;
    }

    if (a->cert == NULL) {
        out->waits = a->err.code == 0;

        if (a->err.code != 0) {
            *err = a->err;
            return -1;
        }

        return bk_err_set(err, 503, "Pending", "the pool's authority is being "
                          "made");
    }

    out->own = 1;
    out->signer = ct_pool_strdup(a->cert);

    return 0;
}


/* Whom clients trust: whoever signed that, and gateways that lead to all
 * pools. */

static int
ct_wanted_told(ct_pool_t *p, ct_wanted_t *out, bk_err_t *err)
{
    out->told = ct_pool_and_gateways(p, ct_pool_strdup(out->signer), 1,
                                     err);
    out->waits |= out->told == NULL;

    return out->told != NULL ? 0 : -1;
}


/* auth.methods: clients of another authority, besides ours */

static const char *
ct_wanted_client_ca(const ct_pool_t *p)
{
    size_t       n;
    json_t      *m;
    const char  *secret;

    json_array_foreach(mk_spec(p->o->obj, "auth", "methods", NULL), n, m) {
        secret = obj_text(json_object_get(m, "mtls"), "clientCASecret");

        if (strcmp(obj_text(m, "type"), "mtls") == 0 && secret[0] != '\0') {
            return secret;
        }
    }

    return NULL;
}


/* --- tls.mode manual ------------------------------------------------------ */

static int
ct_wanted_manual(ct_pool_t *p, ct_wanted_t *out, bk_err_t *err)
{
    char        *ca;
    const char  *server, *by;

    server = mk_spec_text(p->o->obj, "", "tls", "manual", "serverCertSecret",
                          NULL);
    by = mk_spec_text(p->o->obj, "", "tls", "manual", "caSecret", NULL);

    if (server[0] == '\0' || by[0] == '\0') {
        return bk_err_set(err, 422, "BadSpec", "tls.mode manual needs "
                          "manual.serverCertSecret and manual.caSecret");
    }

    out->cert = ct_pool_from(p, CT_FROM_SERVER, server, "tls.crt", err);
    out->key = out->cert != NULL
               ? ct_pool_from(p, CT_FROM_SERVER, server, "tls.key", err)
               : NULL;
    ca = out->key != NULL
         ? ct_pool_from(p, CT_FROM_CA, by, "ca.crt", err) : NULL;

    if (ca == NULL) {
        return -1;
    }

    /* clients get it: nothing but certificates */
    out->signer = ct_x509_bundle(ca, err);
    free(ca);

    if (out->signer == NULL) {
        return bk_err_prefix(err, "ca.crt of Secret %s", by);
    }

    /* its other names are its maker's business */
    free(out->names);
    out->names = ct_wanted_host(p);

    return 0;
}


/* the name by which clients will look for it; NULL: not known yet */

static char *
ct_wanted_host(const ct_pool_t *p)
{
    char        *host;
    const char  *end, *s = p->own->endpoint;

    if (s == NULL || strncmp(s, "tcp://", 6) != 0) {
        return NULL;
    }

    s += 6;
    s += *s == '[';
    end = strrchr(s, ':');

    if (end == NULL) {
        return NULL;
    }

    end -= end > s && end[-1] == ']';
    host = ct_pool_printf("%.*s", (int) (end - s), s);

    return host;
}


/* --- our own ------------------------------------------------------------- */

json_t *
ct_pool_issue(ct_pool_t *p, int part, const ct_wanted_t *w, bk_err_t *err)
{
    char                cn[65], *secret;
    json_t             *body, *pool = p->o->obj;
    bk_cert_t           made;
    const bk_host_t    *h = p->ct->host;
    bk_cert_request_t   req;

    snprintf(cn, sizeof(cn), "%s", mk_name(pool));

    memset(&req, 0, sizeof(req));
    req.kind = w->kind;
    req.cn = CT_STR(cn);
    req.not_after_ms = h->now_ms(h)
                       + ct_issue_ms(p, "serverCertDuration", CT_YEAR_MS);

    if (w->names != NULL) {
        req.names = CT_STR(w->names);
    }

    if ((w->own ? h->cert_issue_by(h, CT_STR(p->own->authority.cert),
                                   CT_STR(p->own->authority.key), &req, &made,
                                   err)
                : h->cert_issue(h, &req, &made, err))
        != 0)
    {
        return NULL;
    }

    secret = ct_pool_printf("%s-%s", mk_name(pool), ct_parts[part].name);
    body = mk_tls_secret(pool, secret, ct_parts[part].prefix, made.cert,
                         made.key, CT_STR(w->ca));
    free(secret);

    return body;
}


/*
 * buildkitd reads its certificate once: so that no Pod is older than it, they
 * are made again at two thirds of their time, and so are those that would be
 * renewed before they are valid for long.
 */

uint64_t
ct_pool_renewal(const ct_pool_t *p, int part, const ct_x509_t *info)
{
    uint64_t  before, third;

    third = (info->not_after_ms - info->not_before_ms) / 3;
    before = ct_issue_ms(p, "rotateBeforeExpiry", CT_MONTH_MS);

    if (part != CT_SERVER || before > third) {
        before = third;
    }

    return info->not_after_ms - before;
}


static uint64_t
ct_issue_ms(const ct_pool_t *p, const char *key, uint64_t otherwise)
{
    uint64_t     ms;
    const char  *s = mk_spec_text(p->o->obj, "", "tls", "auto", key, NULL);

    if (bk_duration_parse(s, strlen(s), &ms) != 0 || ms == 0) {
        return otherwise;
    }

    /* with less it would do nothing else */
    return ms > CT_HOUR_MS ? ms : CT_HOUR_MS;
}
