/*
 * Each pool has an authority of its own, in its Secret POOL-authority (ca.crt,
 * ca.key): it signs the certificate that its gateway shows to clients, and the
 * one with which the gateway comes to the pool's workers.
 *
 * Who reads the Secrets of one namespace has all that its gateways have, and
 * who edits pools there says for which names they are.  With one authority for
 * all that would open the workers of every other namespace, and stand in for
 * every other gateway.  So a pool's clients trust its authority alone, and so
 * do its workers; besides those of the gateways that the administrator names
 * (option gateways), which come to all pools.  Workers' own certificates have
 * their namespace in their names, and nobody there chooses those: they are by
 * the host's worker authority.
 *
 * It is made once, where there is none, and what is there is never written
 * over: two leaders cannot make two of it.  Before it ends it gets a new
 * certificate of the same key.  Who wants a new key deletes the Secret: then
 * all that it has signed is made again.
 */

#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "ct_pool.h"


#define CT_AUTHORITY_RENEW_MS  (2ull * 8760 * 3600000)


static void ct_authority_forget(ct_pool_t *p);
static void ct_authority_make(ct_pool_t *p, ct_obj_t *o);
static void ct_authority_made(ct_pool_t *p, ct_obj_t *o);
static void ct_authority_read(ct_pool_t *p, ct_obj_t *o);
static void ct_authority_renew(ct_pool_t *p, ct_obj_t *o);
static int ct_authority_new(ct_pool_t *p, const char *key, bk_cert_t *out,
    bk_err_t *err);
static int ct_authority_check(ct_pool_t *p, const char *cert, const char *key,
    ct_x509_t *out, bk_err_t *err);
static void ct_authority_said(ct_pool_t *p, const char *before);


int
ct_pool_signs(const ct_pool_t *p)
{
    return ct_part_needed(p, CT_CLIENT) && !ct_pool_issuer_alone(p);
}


void
ct_pool_authority(ct_pool_t *p)
{
    char            *before, digest[65];
    bk_err_t         err;
    ct_obj_t        *o;
    const char      *texts[2];
    ct_authority_t  *a = &p->own->authority;

    before = ct_pool_strdup(a->cert);

    if (!ct_pool_signs(p)) {
        ct_authority_forget(p);
        ct_item_free(&p->own->items[CT_AUTHORITY]);
        goto done;
    }

    o = ct_item(p, CT_AUTHORITY, "%s-authority", mk_name(p->o->obj));

    if (o == NULL || !ct_item_may(p, CT_AUTHORITY, o)) {
        goto done;
    }

    memset(&err, 0, sizeof(err));

    if (ct_item_mine(p, o, &err) != 0) {
        ct_authority_forget(p);
        a->err = err;
        goto done;
    }

    if (o->obj == NULL && ct_deleting(p->o)) {
        ct_authority_forget(p);
        bk_err_set(&a->err, 404, "PoolDeleted", "it is being deleted, and the "
                   "Secret %s is gone", o->name);
        goto done;
    }

    if (o->obj == NULL) {
        ct_authority_make(p, o);
        goto done;
    }

    texts[0] = ct_uid(o);
    texts[1] = ct_version(o);
    ct_pool_digest(texts, 2, digest);

    if (strcmp(digest, a->seen) != 0) {
        ct_authority_forget(p);
        memcpy(a->seen, digest, sizeof(digest));
        ct_authority_read(p, o);
        ct_authority_made(p, o);
    }

    if (a->cert != NULL && !ct_deleting(p->o)) {
        ct_authority_renew(p, o);
    }

done:

    ct_authority_said(p, before);
    free(before);
}


/* ... with its pool */

void
ct_pool_authority_gone(ct_pool_t *p)
{
    char  *before = ct_pool_strdup(p->own->authority.cert);

    ct_authority_forget(p);
    ct_authority_said(p, before);
    free(before);
}


void
ct_pool_authority_free(ct_pool_own_t *own)
{
    free(own->authority.cert);
    ct_secret_free(own->authority.key);
    memset(&own->authority, 0, sizeof(ct_authority_t));
}


static void
ct_authority_forget(ct_pool_t *p)
{
    ct_pool_authority_free(p->own);
}


/* --- the Secret ----------------------------------------------------------- */

static void
ct_authority_make(ct_pool_t *p, ct_obj_t *o)
{
    int              again = p->own->authority.cert != NULL;
    json_t          *body;
    bk_err_t         err;
    bk_cert_t        made;
    ct_item_t       *i = p->own->items[CT_AUTHORITY];
    ct_authority_t  *a = &p->own->authority;

    /* what the other one has signed is worth nothing from now on */
    ct_authority_forget(p);
    a->err = i->err;

    memset(&err, 0, sizeof(err));

    if (ct_authority_new(p, "", &made, &err) != 0) {
        a->err = err;
        return;
    }

    body = mk_authority_secret(p->o->obj, o->name, made.cert, made.key);

    p->own->authority_made = again || p->own->authority_made == 2 ? 2 : 1;
    ct_item_create(p, CT_AUTHORITY, o, body);
}


/* It was not there, and is by now. */

static void
ct_authority_made(ct_pool_t *p, ct_obj_t *o)
{
    if (p->own->authority_made == 0 || p->own->authority.cert == NULL
        || !ct_x509_alone(p->own->authority.cert, p->key))
    {
        p->own->authority_made = 0;     /* somebody else was there */
        return;
    }

    ct_event(p->o, "Normal", "AuthorityMade", "Secret %s: %s", o->name,
             p->own->authority_made == 2 ? "it was deleted; there is a new "
             "authority, by which all certificates of this pool are issued "
             "again" : "the authority of this pool's gateway");
    p->own->authority_made = 0;
}


static void
ct_authority_read(ct_pool_t *p, ct_obj_t *o)
{
    char            *cert, *key;
    bk_err_t         err;
    ct_x509_t        info;
    ct_authority_t  *a = &p->own->authority;

    memset(&err, 0, sizeof(err));
    cert = ct_secret_get(o->obj, "ca.crt");
    key = ct_secret_get(o->obj, "ca.key");

    if (cert == NULL || key == NULL) {
        bk_err_set(&err, 422, "BadAuthority", "it has no %s",
                   cert == NULL ? "ca.crt" : "ca.key");

    } else if (ct_authority_check(p, cert, key, &info, &err) == 0) {
        /* all that is in ca.crt is trusted; the first of it signs */
        a->cert = ct_x509_bundle(cert, &err);
    }

    if (a->cert != NULL) {
        a->key = key;
        a->ends_ms = info.not_after_ms;
        key = NULL;

    } else {
        a->err = err;
        bk_err_prefix(&a->err, "Secret %s", o->name);
        bk_err_hint(&a->err, "delete it: then there is a new one");
    }

    free(cert);
    ct_secret_free(key);
}


/* The same key: whoever trusts the certificate that was, trusts what is signed
 * from now on, as long as that one is valid. */

static void
ct_authority_renew(ct_pool_t *p, ct_obj_t *o)
{
    json_t          *body;
    bk_err_t         err;
    uint64_t         now = p->ct->host->now_ms(p->ct->host);
    bk_cert_t        made;
    ct_authority_t  *a = &p->own->authority;

    if (!ct_x509_alone(a->cert, p->key)) {
        return;                         /* somebody's own: he sees to it */
    }

    if (a->ends_ms > now + CT_AUTHORITY_RENEW_MS) {
        ct_pool_later(p, a->ends_ms - now - CT_AUTHORITY_RENEW_MS);
        return;
    }

    memset(&err, 0, sizeof(err));

    if (ct_authority_new(p, a->key, &made, &err) != 0) {
        a->err = err;
        return;
    }

    body = mk_authority_secret(p->o->obj, o->name, made.cert, BK_STR(""));
    json_object_del(body, "metadata");
    json_object_del(body, "type");

    ct_event(p->o, "Normal", "AuthorityRenewed", "Secret %s: a new "
             "certificate of the same key", o->name);
    ct_item_patch(p, CT_AUTHORITY, o, body);
}


static int
ct_authority_new(ct_pool_t *p, const char *key, bk_cert_t *out, bk_err_t *err)
{
    char              cn[65];
    const bk_host_t  *h = p->ct->host;

    /* for people (and ct_authority_renew()): authorities of one name are told
     * apart by their keys */
    snprintf(cn, sizeof(cn), "%s", p->key);

    return h->authority_make(h, CT_STR(cn), CT_STR(key), out, err);
}


/* Somebody may have written anything there: what it signs must be good. */

static int
ct_authority_check(ct_pool_t *p, const char *cert, const char *key,
    ct_x509_t *out, bk_err_t *err)
{
    int                 rc;
    char               *leaf, *leaf_key;
    uint64_t            now = p->ct->host->now_ms(p->ct->host);
    bk_cert_t           made;
    ct_pair_t           pair;
    const bk_host_t    *h = p->ct->host;
    bk_cert_request_t   req;

    memset(&req, 0, sizeof(req));
    req.kind = BK_CERT_UPSTREAM;
    req.cn = BK_STR("nobody");

    /* as long as it may: to the end of the authority */
    if (h->cert_issue_by(h, CT_STR(cert), CT_STR(key), &req, &made, err) != 0)
    {
        return -1;
    }

    leaf = ct_pool_printf("%.*s", (int) made.cert.len, made.cert.data);
    leaf_key = ct_pool_printf("%.*s", (int) made.key.len, made.key.data);

    memset(&pair, 0, sizeof(pair));
    pair.cert = leaf;
    pair.key = leaf_key;
    pair.ca = cert;
    rc = ct_x509_check(&pair, now, out, err);

    if (rc != 0) {
        snprintf(err->reason, sizeof(err->reason), "BadAuthority");
    }

    free(leaf);
    ct_secret_free(leaf_key);

    return rc;
}


/* --- who goes by it ------------------------------------------------------- */

/* It is another one: pools that share the gateway wait for it, and where it is
 * a gateway of all pools they all do. */

static void
ct_authority_said(ct_pool_t *p, const char *before)
{
    int          all, shared;
    ct_pool_t   *q, *tmp;
    const char  *now = p->own->authority.cert;

    if (strcmp(before != NULL ? before : "", now != NULL ? now : "") == 0) {
        return;
    }

    all = ct_pool_named(p);

    HASH_ITER(hh, p->ct->pools, q, tmp) {
        if (q != p && q->o != NULL && q->o->obj != NULL
            && (all || ct_pool_shared(q, &shared) == p))
        {
            ct_dirty_pool(q);
        }
    }
}
