/*
 * Who may connect to a pool's workers, and whom its clients trust: the
 * authority of its gateway (ct_pool_ca.c), and of those that lead to all pools
 * (option gateways).
 *
 * Of the latter it may not be known for long whether they are there: their
 * namespace, or their Secret, cannot be read.  Then nothing of them is taken
 * away from anybody, and nobody waits for it: what all had of them is known by
 * its name, which is the pool's (ct_pool_ca.c).
 */

#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "ct_pool.h"


#define CT_CALLER_MS  10000     /* since who leads began: they are read soon */


static ct_pool_t *ct_caller(const ct_t *ct, const char *key, int *unknown);
static int ct_caller_soon(const ct_t *ct, const char *key);
static char *ct_caller_kept(const ct_pool_t *p, char *text, const char *key,
    int told);
static char *ct_join(char *text, const char *more);


char *
ct_pool_callers(ct_pool_t *p, const char *issuer, bk_err_t *err)
{
    int                shared;
    char              *text;
    ct_pool_t         *by = p;
    const bk_err_t    *bad;
    const ct_trust_t  *t;

    if (!ct_part_needed(p, CT_CLIENT)) {
        by = ct_pool_shared(p, &shared);

        if (shared && by == NULL) {
            bk_err_set(err, 503, "Pending", "there is no pool with its "
                       "gateway");
            return NULL;
        }
    }

    if (issuer != NULL) {
        text = ct_pool_strdup(issuer);

    } else if (by == NULL) {
        /* no gateway of the cluster's: the one of the host's own
           configuration, which has its certificate from there and shares it
           with nobody */
        t = ct_pool_trust(p->ct, CT_BY_WORKER, err);
        if (t == NULL) {
            return NULL;
        }

        text = ct_pool_strdup(t->ca);

    } else if (by->own == NULL || by->own->authority.cert == NULL) {
        bad = by->own != NULL && by->own->authority.err.code != 0
              ? &by->own->authority.err : NULL;

        if (bad != NULL) {
            *err = *bad;

        } else {
            bk_err_set(err, 503, "Pending", "the authority of the pool %s is "
                       "not known yet", by->o->name);
        }

        return NULL;

    } else {
        text = ct_pool_strdup(by->own->authority.cert);
    }

    return ct_pool_and_gateways(p, text, 0, err);
}


char *
ct_pool_and_gateways(const ct_pool_t *p, char *text, int told, bk_err_t *err)
{
    int          unknown;
    char       **name = p->ct->conf->gateways;
    ct_pool_t   *g;

    for ( ; name != NULL && *name != NULL; name++) {
        g = ct_caller(p->ct, *name, &unknown);

        if (unknown && ct_caller_soon(p->ct, *name)) {
            bk_err_set(err, 503, "Pending", "the authority of the gateway %s, "
                       "which comes to all pools, is not known yet", *name);
            free(text);
            return NULL;
        }

        if (unknown) {
            text = ct_caller_kept(p, text, *name, told);

        } else if (g != NULL) {
            text = ct_join(text, g->own->authority.cert);
        }
    }

    return text;
}


int
ct_pool_gateways_unknown(const ct_pool_t *p, char *buf, size_t size)
{
    int     unknown;
    char  **name = p->ct->conf->gateways;

    for ( ; name != NULL && *name != NULL; name++) {
        (void) ct_caller(p->ct, *name, &unknown);

        if (unknown) {
            snprintf(buf, size, "the authority of the gateway %.300s (option "
                     "gateways) is not known, as its Secret or its namespace "
                     "cannot be read: what it opened it still opens, and no "
                     "more", *name);
            return 1;
        }
    }

    return 0;
}


/* One that is not there opens nothing: NULL, and nothing is unknown of it. */

static ct_pool_t *
ct_caller(const ct_t *ct, const char *key, int *unknown)
{
    ct_pool_t       *g = ct_pool_find((ct_t *) ct, key);
    ct_authority_t  *a;

    *unknown = 0;

    if (g == NULL || g->o == NULL || g->o->obj == NULL) {
        *unknown = ct_ns_of(ct, key) != NULL && !ct_synced(ct, key);
        return NULL;
    }

    ct_pool_spec(g);

    if (!ct_pool_signs(g)) {
        return NULL;
    }

    if (g->own == NULL) {
        *unknown = 1;
        return NULL;
    }

    a = &g->own->authority;

    if (a->cert == NULL) {
        /* what somebody has to put right may take days */
        *unknown = a->err.code < 400 || a->err.code >= 500;
        return NULL;
    }

    return g;
}


/* Who has just begun to lead may only not have read them yet; for namespaces he
 * has waited before: ct_late(). */

static int
ct_caller_soon(const ct_t *ct, const char *key)
{
    return ct_synced(ct, key)
           && ct->host->monotonic_ms(ct->host) - ct->begun_ms
              < CT_CALLER_MS;
}


/* And what the pool has of that gateway: what clients were told, or what its
 * workers go by. */

static char *
ct_caller_kept(const ct_pool_t *p, char *text, const char *key, int told)
{
    char      *name, *had, *of;
    size_t     i;
    ct_obj_t  *o;

    name = ct_pool_printf("%s-%s", p->key, ct_pool_part_name(CT_BUILDKITD));
    o = ct_obj_find(p->ct, CT_SECRET, name);
    free(name);

    for (i = 0; i < 2; i++) {
        had = i == 0 ? ct_pool_strdup(told ? p->own->server_ca : NULL)
              : o != NULL && o->obj != NULL && ct_item_mine(p, o, NULL) == 0
              ? ct_secret_get(o->obj, "ca.crt") : NULL;
        of = had == NULL ? NULL : ct_x509_named_so(had, key);

        if (of != NULL) {
            text = ct_join(text, of);
        }

        free(had);
        free(of);
    }

    return text;
}


/* Takes over text, which gets the certificates that it has not. */

static char *
ct_join(char *text, const char *more)
{
    char              *one, *all;
    const char        *end;
    static const char  last[] = "-----END CERTIFICATE-----\n";

    while ((end = strstr(more, last)) != NULL) {
        end += sizeof(last) - 1;
        one = ct_pool_printf("%.*s", (int) (end - more), more);

        if (strstr(text, one) == NULL) {
            all = ct_pool_printf("%s%s", text, one);
            free(text);
            text = all;
        }

        free(one);
        more = end;
    }

    return text;
}
