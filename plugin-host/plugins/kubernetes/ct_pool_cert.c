/*
 * The Secrets that a pool's programs mount: POOL-tls (a gateway, as server),
 * POOL-client-certs (a gateway, as client of workers) and POOL-worker-tls
 * (buildkitd).  What is in them is either good, or not there: what somebody
 * else has made is checked before it is copied into them.
 */

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "ct_pool.h"


#define CT_WAITS_MS  1000           /* for what somebody else is making */


/* What a Secret has. */
typedef struct {
    char  *cert;
    char  *key;
    char  *ca;
} ct_held_t;


static void ct_part_leave(ct_pool_t *p);
static void ct_part_look(ct_pool_t *p, int part);
static int ct_part_known(const ct_part_t *part, const char *digest,
    uint64_t now);
static void ct_part_own(ct_pool_t *p, int part, ct_obj_t *o,
    const ct_wanted_t *w, const ct_held_t *held);
static int ct_part_fits(ct_pool_t *p, int part, const ct_wanted_t *w,
    const ct_held_t *held, bk_err_t *why);
static void ct_part_given(ct_pool_t *p, int part, ct_obj_t *o,
    const ct_wanted_t *w, const ct_held_t *held);
static void ct_part_apply(ct_pool_t *p, int part, ct_obj_t *o, json_t *body);
static void ct_part_good(ct_pool_t *p, int part, const ct_wanted_t *w);
static void ct_part_print(ct_part_t *part, const ct_held_t *held);
static void ct_part_digest(const ct_obj_t *o, const ct_wanted_t *w,
    char buf[65]);
static int ct_same(const char *a, const char *b);


void
ct_pool_certs(ct_pool_t *p)
{
    int          i;
    ct_item_t   *item;
    ct_part_t   *part;

    ct_pool_authority(p);

    for (i = 0; i < CT_PARTS; i++) {
        part = &p->own->parts[i];

        if (!ct_part_needed(p, i)) {
            memset(part, 0, sizeof(ct_part_t));
            ct_item_free(&p->own->items[i]);
            continue;
        }

        ct_part_look(p, i);

        item = p->own->items[i];

        if (part->err.code == 0 && item != NULL && item->err.code != 0) {
            part->err = item->err;
        }
    }

    ct_part_leave(p);
}


/* Nobody needs what cert-manager was asked for before the spec was changed. */

static void
ct_part_leave(ct_pool_t *p)
{
    int  i;

    if (json_integer_value(ct_at(p->o, "metadata", "generation", NULL)) <= 1) {
        return;
    }

    for (i = 0; i < CT_PARTS; i++) {
        if (ct_pool_managed(p) && (i != CT_CLIENT || ct_pool_issuer_alone(p)))
        {
            continue;
        }

        ct_item_remove(p, CT_ASK_SERVER + i,
                       ct_item(p, CT_ASK_SERVER + i, "%s-%s",
                               mk_name(p->o->obj), ct_pool_part_issued(i)));
    }
}


int
ct_part_needed(const ct_pool_t *p, int part)
{
    return part == CT_BUILDKITD ? p->tls
           : ct_pool_has_gateway(p) || ct_pool_fronted(p);
}


static void
ct_part_look(ct_pool_t *p, int i)
{
    char          digest[65];
    bk_err_t      err;
    ct_obj_t     *o;
    uint64_t      now = p->ct->host->now_ms(p->ct->host);
    ct_held_t     held;
    ct_part_t    *part = &p->own->parts[i];
    ct_wanted_t   w;

    o = ct_item(p, i, "%s-%s", mk_name(p->o->obj), ct_pool_part_name(i));

    if (o == NULL || !ct_item_may(p, i, o)) {
        return;
    }

    memset(&err, 0, sizeof(err));

    if (ct_item_mine(p, o, &err) != 0) {
        part->good = 0;
        part->err = err;
        return;
    }

    if (ct_pool_wanted(p, i, &w, &err) != 0) {
        /* what is there is good for a while */
        part->good = part->good && part->info.not_after_ms > now
                     && o->obj != NULL;
        part->err = err;

        if (w.waits) {
            ct_pool_later(p, CT_WAITS_MS);
        }

        return;
    }

    ct_part_digest(o, &w, digest);

    if (!ct_part_known(part, digest, now)) {
        held.cert = ct_secret_get(o->obj, i == CT_CLIENT ? "client.crt"
                                                    : "tls.crt");
        held.key = ct_secret_get(o->obj, i == CT_CLIENT ? "client.key"
                                                   : "tls.key");
        held.ca = ct_secret_get(o->obj, "ca.crt");
        memcpy(part->seen, digest, sizeof(digest));
        memset(&part->err, 0, sizeof(bk_err_t));

        if (w.cert == NULL) {
            ct_part_own(p, i, o, &w, &held);

        } else {
            ct_part_given(p, i, o, &w, &held);
        }

        if (part->good) {
            ct_part_print(part, &held);
        }

        free(held.cert);
        ct_secret_free(held.key);
        free(held.ca);
    }

    ct_wanted_free(&w);

    if (part->renew_ms > now) {
        ct_pool_later(p, part->renew_ms - now);
    }
}


/* Nothing has changed, and the time has not come. */

static int
ct_part_known(const ct_part_t *part, const char *digest, uint64_t now)
{
    return strcmp(part->seen, digest) == 0 && part->good
           && part->info.not_after_ms > now
           && (part->renew_ms == 0 || part->renew_ms > now);
}


/* --- made by us ----------------------------------------------------------- */

static void
ct_part_own(ct_pool_t *p, int i, ct_obj_t *o, const ct_wanted_t *w,
    const ct_held_t *held)
{
    char         at[32];
    json_t      *body;
    bk_err_t     why, err;
    uint64_t     now = p->ct->host->now_ms(p->ct->host);
    ct_part_t   *part = &p->own->parts[i];

    memset(&why, 0, sizeof(why));
    memset(&err, 0, sizeof(err));

    if (ct_part_fits(p, i, w, held, &why)) {
        ct_part_good(p, i, w);

        if (ct_same(held->ca, w->ca)) {
            return;
        }

        /* the same certificate, others to be trusted */
        body = mk_tls_secret(p->o->obj, o->name, ct_pool_part_prefix(i),
                             CT_STR(held->cert), CT_STR(held->key),
                             CT_STR(w->ca));

    } else {
        /* it may be good all the same, e.g. when it is only to be renewed */
        part->good = part->info.not_after_ms > now
                     && (strcmp(why.reason, "Renewal") == 0
                         || strcmp(why.reason, "Rotation") == 0
                         || strcmp(why.reason, "NameMissing") == 0
                         || strcmp(why.reason, "NameExtra") == 0);

        if (ct_deleting(p->o)) {
            return;
        }

        body = ct_pool_issue(p, i, w, &err);

        if (body == NULL) {
            part->err = err;
            bk_err_prefix(&part->err, "Secret %s", o->name);
            return;
        }

        ct_event(p->o, "Normal", o->obj != NULL ? "CertificateRenewed"
                                                : "CertificateIssued",
                 "Secret %s: %s%s%s", o->name, o->obj != NULL ? why.text
                 : "a certificate was issued",
                 part->info.not_after_ms != 0 && o->obj != NULL
                 ? "; the one before was valid until " : "",
                 part->info.not_after_ms != 0 && o->obj != NULL
                 ? ct_pool_time(part->info.not_after_ms, at) : "");
    }

    ct_part_apply(p, i, o, body);
}


static int
ct_part_fits(ct_pool_t *p, int i, const ct_wanted_t *w, const ct_held_t *held,
    bk_err_t *why)
{
    uint64_t           now = p->ct->host->now_ms(p->ct->host);
    ct_pair_t          pair;
    ct_part_t         *part = &p->own->parts[i];
    const ct_trust_t  *t = NULL;

    memset(&part->info, 0, sizeof(ct_x509_t));
    part->renew_ms = 0;

    if (held->cert == NULL || held->key == NULL) {
        bk_err_set(why, 404, "None", "there was none");
        return 0;
    }

    memset(&pair, 0, sizeof(pair));
    pair.cert = held->cert;
    pair.key = held->key;
    pair.ca = w->signer;
    pair.names = w->names;
    pair.server = i != CT_CLIENT;
    pair.exact = 1;

    if (ct_x509_check(&pair, now, &part->info, why) != 0) {
        return 0;
    }

    /* the host's old authorities are trusted for as long as they are needed */
    if (!w->own) {
        t = ct_pool_trust(p->ct, CT_BY_WORKER, NULL);
    }

    if (t != NULL && strcmp(t->issuer, part->info.issuer) != 0) {
        bk_err_set(why, 409, "Rotation", "another authority signs now");
        return 0;
    }

    part->renew_ms = ct_pool_renewal(p, i, &part->info);

    if (part->renew_ms <= now) {
        bk_err_set(why, 409, "Renewal", "it was time to renew it");
        return 0;
    }

    return 1;
}


/* --- of somebody else ----------------------------------------------------- */

static void
ct_part_given(ct_pool_t *p, int i, ct_obj_t *o, const ct_wanted_t *w,
    const ct_held_t *held)
{
    bk_err_t     err;
    uint64_t     now = p->ct->host->now_ms(p->ct->host);
    ct_pair_t    pair;
    ct_x509_t    info;
    ct_part_t   *part = &p->own->parts[i];

    memset(&pair, 0, sizeof(pair));
    memset(&err, 0, sizeof(err));
    pair.cert = w->cert;
    pair.key = w->key;
    pair.ca = w->signer;
    pair.names = w->names;
    pair.server = i != CT_CLIENT;
    part->renew_ms = 0;

    if (ct_x509_check(&pair, now, &info, &err) != 0) {
        bk_err_hint(&err, "the Secret that it is from is to be corrected");
        part->err = err;
        part->good = part->good && part->info.not_after_ms > now;
        return;
    }

    if (ct_same(held->cert, w->cert) && ct_same(held->key, w->key)
        && ct_same(held->ca, w->ca))
    {
        part->info = info;
        ct_part_good(p, i, w);
        return;
    }

    if (ct_deleting(p->o)) {
        return;
    }

    ct_event(p->o, "Normal", "CertificateTaken", "Secret %s: another "
             "certificate was taken over", o->name);
    ct_part_apply(p, i, o,
                  mk_tls_secret(p->o->obj, o->name, ct_pool_part_prefix(i),
                                CT_STR(w->cert), CT_STR(w->key),
                                CT_STR(w->ca)));
}


/* --- parts ---------------------------------------------------------------- */

static void
ct_part_good(ct_pool_t *p, int i, const ct_wanted_t *w)
{
    p->own->parts[i].good = 1;

    if (i == CT_SERVER) {
        free(p->own->server_ca);
        p->own->server_ca = ct_pool_strdup(w->told);
    }
}


/* A Secret's type is for good: of one that another controller has made for
 * this pool it stays. */

static void
ct_part_apply(ct_pool_t *p, int i, ct_obj_t *o, json_t *body)
{
    json_t  *type = ct_at(o, "type", NULL);

    if (body != NULL && type != NULL) {
        json_object_set(body, "type", type);
    }

    ct_item_apply(p, i, o, body);
}


/* What a program that mounts it now goes by. */

static void
ct_part_print(ct_part_t *part, const ct_held_t *held)
{
    const char  *texts[2];

    texts[0] = held->cert;
    texts[1] = held->ca;

    ct_pool_digest(texts, 2, part->print);
}


/* What a look depends on, its time excepted. */

static void
ct_part_digest(const ct_obj_t *o, const ct_wanted_t *w, char buf[65])
{
    const char  *texts[8];

    texts[0] = ct_uid(o);
    texts[1] = ct_version(o);
    texts[2] = w->cert;
    texts[3] = w->key;
    texts[4] = w->signer;
    texts[5] = w->ca;
    texts[6] = w->names;
    texts[7] = w->told;

    ct_pool_digest(texts, 8, buf);
}


void
ct_pool_digest(const char *const *texts, size_t n, char buf[65])
{
    size_t          i, len;
    EVP_MD_CTX     *ctx = EVP_MD_CTX_new();
    unsigned char   md[EVP_MAX_MD_SIZE];

    if (ctx == NULL || EVP_DigestInit(ctx, EVP_sha256()) != 1) {
        abort();
    }

    for (i = 0; i < n; i++) {
        len = texts[i] != NULL ? strlen(texts[i]) : 0;
        (void) EVP_DigestUpdate(ctx, &len, sizeof(len));
        (void) EVP_DigestUpdate(ctx, texts[i] != NULL ? texts[i] : "", len);
    }

    if (EVP_DigestFinal(ctx, md, NULL) != 1) {
        abort();
    }

    EVP_MD_CTX_free(ctx);

    for (i = 0; i < 32; i++) {
        snprintf(buf + 2 * i, 3, "%02x", md[i]);
    }
}


static int
ct_same(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}
