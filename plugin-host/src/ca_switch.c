/*
 * From one authority to the next, with both in use meanwhile.
 *
 * What signed before stays in the trust that everybody is handed, until
 * nothing that it issued can be in use; and it signs a cross certificate of
 * its successor's name and key, so that a peer that knows only the old one
 * verifies what the new one issues.  That chain is linear: each old one
 * vouches for the one after it, so no old key has to be kept.
 */

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ca_int.h"
#include "bk_err.h"
#include "log.h"


static int bk_switch_same(const bk_authority_t *a, const bk_signer_t *next);
static int bk_switch_key(const bk_signer_t *a, const bk_signer_t *b);
static int bk_switch_cross(bk_authority_t *a, const bk_signer_t *next,
    char **cross, bk_err_t *err);
static void bk_old_shift(bk_authority_t *a);
static void bk_old_clear(bk_ca_old_t *old);
static int bk_trust_add(STACK_OF(X509) *all, const char *pem);
static int bk_trust_within(const char *some, const char *all);


/*
 * An issuer renews its certificate and keeps its key: nothing becomes old,
 * since what was issued verifies with either.  Else the one before does.
 * next is taken, whatever is returned.
 */

int
bk_authority_switch(bk_ca_t *ca, bk_authority_t *a, bk_signer_t *next,
    bk_err_t *err)
{
    int            rc;
    char          *cross = NULL;
    uint64_t       until;
    bk_signer_t    before;
    bk_ca_old_t   *old;

    if (a->now.cert == NULL || bk_switch_same(a, next)) {
        bk_signer_clear(&a->now);
        a->now = *next;
        memset(next, 0, sizeof(bk_signer_t));

        return bk_authority_compile(a) == 0 ? bk_authority_save(ca, a, 1, err)
                                            : bk_ca_fail(err, a->name);
    }

    if (a->nold == BK_CA_OLD_MAX) {
        /* of an issuer that makes a new key all the time */
        bk_log(BK_LOG_ERROR, "ca", "there are %d old %s authorities: the "
               "oldest is dropped, what it issued is refused", BK_CA_OLD_MAX,
               a->name);
        bk_old_shift(a);
    }

    if (bk_switch_cross(a, next, &cross, err) != 0) {
        bk_signer_clear(next);
        return -1;
    }

    old = &a->old[a->nold++];
    memset(old, 0, sizeof(bk_ca_old_t));
    before = a->now;
    until = a->until_ms;

    old->signer = before;
    old->signer.key = NULL;
    old->cross = cross;
    old->replaced_ms = bk_ca_now_ms(ca);
    old->until_ms = until;
    a->now = *next;
    a->until_ms = 0;

    rc = bk_authority_compile(a) == 0 ? bk_authority_save(ca, a, 1, err)
                                      : bk_ca_fail(err, a->name);

    if (rc != 0) {
        a->now = before;
        a->until_ms = until;
        a->nold--;
        memset(&old->signer, 0, sizeof(bk_signer_t));
        bk_old_clear(old);
        (void) bk_authority_compile(a);
        bk_signer_clear(next);

        return -1;
    }

    memset(next, 0, sizeof(bk_signer_t));
    bk_signer_clear(&a->late);

    if (cross == NULL && before.key != NULL && ca->conf.reloads) {
        /* its own files go on being good for what it signs until then */
        a->late = before;
        a->late.trust = strdup(before.trust);
        a->late.chain = strdup(before.chain);
        X509_up_ref(a->late.cert);

        if (a->late.trust == NULL || a->late.chain == NULL) {
            abort();
        }

    } else {
        EVP_PKEY_free(before.key);
    }

    return 0;
}


/* One name and key, or no other roots: who verifies certificates of one does
 * so with those of the other.  Those before led to this very key, though. */

static int
bk_switch_same(const bk_authority_t *a, const bk_signer_t *next)
{
    const bk_signer_t  *now = &a->now;

    if (bk_switch_key(now, next) && *now->chain == '\0'
        && *next->chain == '\0')
    {
        return 1;
    }

    return (a->nold == 0 || bk_switch_key(now, next))
           && bk_trust_within(now->trust, next->trust);
}


static int
bk_switch_key(const bk_signer_t *a, const bk_signer_t *b)
{
    return EVP_PKEY_eq(X509_get0_pubkey(a->cert), X509_get0_pubkey(b->cert))
           == 1
           && X509_NAME_cmp(X509_get_subject_name(a->cert),
                            X509_get_subject_name(b->cert))
              == 0;
}


static int
bk_switch_cross(bk_authority_t *a, const bk_signer_t *next, char **cross,
    bk_err_t *err)
{
    X509  *cert;

    if (bk_switch_key(&a->now, next)) {
        /* an intermediate below another root: its former certificate, which
         * is in its chain, is what leads to the former root */
        *cross = strdup("");
        return *cross != NULL ? 0 : bk_ca_fail(err, a->name);
    }

    if (!bk_signer_may_vouch(&a->now)) {
        bk_log(BK_LOG_WARN, "ca", "the former %s authority cannot vouch for "
               "the new one (%s): what the new one issues is good once nginx "
               "is reloaded", a->name,
               a->now.key == NULL ? "its key is gone" : "its path length");
        return 0;
    }

    cert = bk_ca_cross(&a->now, next->cert, err);
    if (cert == NULL) {
        return -1;
    }

    *cross = bk_ca_cert_pem(cert);
    X509_free(cert);

    return *cross != NULL ? 0 : bk_ca_fail(err, "cannot write a certificate");
}


/*
 * Its key is here, and neither it nor what is above it limits the length of
 * a path too much: Go counts every intermediate.
 */

int
bk_signer_may_vouch(const bk_signer_t *s)
{
    int              i, n, ok;
    long             len;
    STACK_OF(X509)  *all;

    if (s->key == NULL
        || X509_cmp_current_time(X509_get0_notAfter(s->cert)) <= 0)
    {
        return 0;
    }

    all = sk_X509_new_null();
    if (all == NULL) {
        abort();
    }

    len = X509_get_pathlen(s->cert);
    ok = (len == -1 || len >= 1)
         && bk_trust_add(all, s->chain) == 0
         && bk_trust_add(all, s->trust) == 0;
    n = sk_X509_num(all);

    for (i = 0; i < n && ok; i++) {
        len = X509_get_pathlen(sk_X509_value(all, i));

        if (X509_cmp(sk_X509_value(all, i), s->cert) != 0
            && len != -1 && len < i + 2)
        {
            ok = 0;
        }
    }

    sk_X509_pop_free(all, X509_free);

    return ok;
}


/* What is handed on, put together again. */

int
bk_authority_compile(bk_authority_t *a)
{
    FILE            *f;
    int              rc = -1;
    char            *chain = NULL, *trust;
    size_t           len;
    unsigned         i;
    STACK_OF(X509)  *all = sk_X509_new_null();

    f = open_memstream(&chain, &len);
    if (f == NULL || all == NULL) {
        abort();
    }

    fputs(a->now.chain, f);

    for (i = a->nold;
         i > 0 && a->old[i - 1].cross != NULL
         && a->nold - i < BK_CA_VOUCH_MAX;
         i--)
    {
        fputs(a->old[i - 1].cross, f);
        fputs(a->old[i - 1].signer.chain, f);
    }

    fclose(f);

    if (bk_trust_add(all, a->now.trust) != 0) {
        goto done;
    }

    for (i = a->nold; i > 0; i--) {
        if (bk_trust_add(all, a->old[i - 1].signer.trust) != 0) {
            goto done;
        }
    }

    trust = bk_ca_certs_pem(all, 0);

    if (trust != NULL) {
        free(a->trust);
        free(a->chain);
        a->trust = trust;
        a->chain = chain;
        chain = NULL;
        rc = 0;
    }

done:

    sk_X509_pop_free(all, X509_free);
    free(chain);

    return rc;
}


/* Each one once: issuers of one root are common. */

static int
bk_trust_add(STACK_OF(X509) *all, const char *pem)
{
    int              i, j, n;
    X509            *cert;
    STACK_OF(X509)  *some;

    if (*pem == '\0') {
        return 0;
    }

    some = bk_ca_pem_certs(pem);
    if (some == NULL) {
        return -1;
    }

    n = sk_X509_num(some);

    for (i = 0; i < n; i++) {
        cert = sk_X509_value(some, i);

        for (j = 0; j < sk_X509_num(all); j++) {
            if (X509_cmp(sk_X509_value(all, j), cert) == 0) {
                break;
            }
        }

        if (j == sk_X509_num(all)) {
            X509_up_ref(cert);

            if (!sk_X509_push(all, cert)) {
                abort();
            }
        }
    }

    sk_X509_pop_free(some, X509_free);

    return 0;
}


/* Is each of some in all? */

static int
bk_trust_within(const char *some, const char *all)
{
    int              n, within;
    STACK_OF(X509)  *certs = sk_X509_new_null();

    if (certs == NULL || bk_trust_add(certs, all) != 0) {
        abort();
    }

    n = sk_X509_num(certs);
    within = bk_trust_add(certs, some) == 0 && sk_X509_num(certs) == n;
    sk_X509_pop_free(certs, X509_free);

    return within;
}


int
bk_authority_late(const bk_authority_t *a, bk_err_t *err)
{
    if (a->late.cert == NULL) {
        return 0;
    }

    bk_err_set(err, 409, "Rotating", "the %s authority is being rotated: "
               "nginx is not reloaded yet", a->name);

    return bk_err_hint(err, "bkctl ca says how the reload goes");
}


int
bk_authority_held(const bk_ca_t *ca, const bk_authority_t *a)
{
    const bk_ca_old_t  *o = &a->old[a->nold > 0 ? a->nold - 1 : 0];

    return a->nold > 0 && o->cross == NULL && o->until_ms > bk_ca_now_ms(ca);
}


/* The oldest first: a newer one is what leads from it to what signs now. */

int
bk_authority_drop(bk_ca_t *ca, bk_authority_t *a)
{
    int       dropped = 0;
    bk_err_t  err;

    while (a->nold > 0 && a->old[0].until_ms <= bk_ca_now_ms(ca)) {
        bk_log(BK_LOG_INFO, "ca", "an old %s authority is dropped: what it "
               "issued is not good any more", a->name);
        bk_old_shift(a);
        dropped = 1;
    }

    if (dropped
        && (bk_authority_compile(a) != 0
            || bk_authority_save(ca, a, 1, &err) != 0))
    {
        bk_log(BK_LOG_ERROR, "ca", "that an old %s authority was dropped is "
               "not written down", a->name);
    }

    return dropped;
}


void
bk_authority_free(bk_authority_t *a)
{
    while (a->nold > 0) {
        bk_old_clear(&a->old[--a->nold]);
    }

    bk_signer_clear(&a->now);
    bk_signer_clear(&a->late);
    free(a->trust);
    free(a->chain);
}


static void
bk_old_shift(bk_authority_t *a)
{
    bk_old_clear(&a->old[0]);
    a->nold--;
    memmove(&a->old[0], &a->old[1], a->nold * sizeof(bk_ca_old_t));
    memset(&a->old[a->nold], 0, sizeof(bk_ca_old_t));
}


static void
bk_old_clear(bk_ca_old_t *old)
{
    bk_signer_clear(&old->signer);
    free(old->cross);
    memset(old, 0, sizeof(bk_ca_old_t));
}


void
bk_signer_clear(bk_signer_t *s)
{
    X509_free(s->cert);
    EVP_PKEY_free(s->key);
    free(s->trust);
    free(s->chain);
    memset(s, 0, sizeof(bk_signer_t));
}
