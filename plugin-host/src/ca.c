/* The authorities, and what is asked of them.  See ca.h. */

#include <dirent.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ca_int.h"
#include "bk_err.h"
#include "log.h"


static int bk_ca_folder(bk_ca_t *ca, const char *name, bk_err_t *err);
static int bk_ca_rotate_one(bk_ca_t *ca, bk_authority_t *a, bk_err_t *err);
static int bk_ca_may_rotate(const bk_ca_t *ca, const bk_authority_t *a,
    bk_err_t *err);
static int bk_ca_needed(const bk_ca_t *ca, const bk_authority_t *a,
    bk_err_t *err);
static int bk_ca_named(bk_ca_t *ca, const char *name, bk_authority_t *out[2],
    bk_err_t *err);


int
bk_ca_new(bk_ca_t **out, struct event_base *base, const bk_ca_conf_t *conf,
    bk_err_t *err)
{
    bk_ca_t  *ca;

    ca = calloc(1, sizeof(bk_ca_t));
    if (ca == NULL || (ca->dir = strdup(conf->state)) == NULL
        || (ca->names = strdup(conf->names)) == NULL)
    {
        abort();
    }

    ca->conf = *conf;
    ca->gateway.issuer = conf->gateway;
    ca->worker.issuer = conf->worker;

    if (bk_ca_dir(ca->dir, err) != 0
        || bk_ca_folder(ca, "ca", err) != 0
        || bk_ca_folder(ca, "tls", err) != 0
        || bk_authority_open(ca, &ca->gateway, "gateway", err) != 0
        || bk_authority_open(ca, &ca->worker, "worker", err) != 0
        || bk_ca_apart(ca->gateway.now.trust, ca->worker.now.trust, err) != 0
        || bk_ca_tls(ca, err) != 0)
    {
        bk_ca_free(&ca);
        return -1;
    }

    if (base != NULL && (conf->gateway != NULL || conf->worker != NULL)) {
        ca->watch = bk_ca_watch_new(ca, base);
    }

    ca->steady = 1;
    *out = ca;
    bk_ca_tell(ca);

    return 0;
}


/* Made, and free of what a killed one left half written. */

static int
bk_ca_folder(bk_ca_t *ca, const char *name, bk_err_t *err)
{
    DIR            *dir;
    char            path[PATH_MAX];
    size_t          len;
    struct dirent  *e;

    snprintf(path, sizeof(path), "%s/%s", ca->dir, name);

    if (bk_ca_dir(path, err) != 0) {
        return -1;
    }

    dir = opendir(path);

    while (dir != NULL && (e = readdir(dir)) != NULL) {
        len = strlen(e->d_name);

        if (len > 4 && strcmp(e->d_name + len - 4, ".tmp") == 0) {
            (void) unlinkat(dirfd(dir), e->d_name, 0);
        }
    }

    if (dir != NULL) {
        closedir(dir);
    }

    return 0;
}


void
bk_ca_free(bk_ca_t **cap)
{
    bk_ca_t  *ca = *cap;

    if (ca == NULL) {
        return;
    }

    *cap = NULL;

    bk_ca_watch_free(&ca->watch);
    bk_authority_free(&ca->gateway);
    bk_authority_free(&ca->worker);
    bk_ca_burn(ca->key_pem);
    free(ca->cert_pem);
    free(ca->spki);
    free(ca->dir);
    free(ca->names);
    free(ca);
}


uint64_t
bk_ca_now_ms(const bk_ca_t *ca)
{
    return (uint64_t) (time(NULL) + ca->ahead_s) * 1000;
}


int
bk_ca_rotate(bk_ca_t *ca, const char *name, bk_err_t *err)
{
    int              i;
    bk_authority_t  *which[2];

    if (bk_ca_named(ca, name, which, err) != 0) {
        return -1;
    }

    /* both or none, as far as can be known before */
    for (i = 0; i < 2; i++) {
        if (which[i] != NULL && bk_ca_may_rotate(ca, which[i], err) != 0) {
            return -1;
        }
    }

    for (i = 0; i < 2; i++) {
        if (which[i] != NULL && bk_ca_rotate_one(ca, which[i], err) != 0) {
            break;
        }
    }

    /* what was rotated is served, even if the other one failed */
    if (bk_ca_tls(ca, i < 2 ? NULL : err) != 0) {
        i = 0;
    }

    bk_ca_tell(ca);

    return i < 2 ? -1 : 0;
}


static int
bk_ca_may_rotate(const bk_ca_t *ca, const bk_authority_t *a, bk_err_t *err)
{
    if (a->issuer != NULL) {
        bk_err_set(err, 409, "ExternalIssuer", "the %s authority is issued "
                   "from outside, in %s", a->name, a->issuer->cert);
        return bk_err_hint(err, "have its issuer renew it; what is written "
                           "there is taken at once");
    }

    if (bk_authority_late(a, err) != 0) {
        return -1;
    }

    if (a->nold >= BK_CA_VOUCH_MAX) {
        bk_err_set(err, 409, "TooManyAuthorities", "the %s authority has %d "
                   "old ones that are still in use", a->name, (int) a->nold);
        return bk_err_hint(err, "bkctl ca shows until when; bkctl ca retire "
                           "drops them, and cuts off who still needs them");
    }

    if (!bk_signer_may_vouch(&a->now) && !ca->conf.reloads) {
        bk_err_set(err, 409, "CannotVouch", "the certificate of the %s "
                   "authority cannot vouch for a successor (path length 0), "
                   "so nginx must know the new one first", a->name);
        return bk_err_hint(err, "set gateway.reload in the configuration, so "
                           "that nginx is reloaded from here, and restart");
    }

    return 0;
}


static int
bk_ca_rotate_one(bk_ca_t *ca, bk_authority_t *a, bk_err_t *err)
{
    int          rc;
    bk_err_t     late;
    bk_signer_t  next;

    memset(&next, 0, sizeof(next));

    if (bk_own_new_pair(a->name, &next, err) != 0
        || bk_own_prepare(ca, a, &next, err) != 0)
    {
        rc = -1;

    } else {
        rc = bk_authority_switch(ca, a, &next, err);
    }

    bk_signer_clear(&next);

    if (rc != 0) {
        bk_own_forget(ca, a);
        return -1;
    }

    /* it is so, whatever happens to the names of the files */
    if (bk_own_install(ca, a, &late) != 0) {
        bk_log_err(BK_LOG_ERROR, "ca", &late);
        bk_log(BK_LOG_WARN, "ca", "the next start puts it into place");
    }

    bk_log(BK_LOG_INFO, "ca", "the %s authority was rotated%s", a->name,
           a->late.cert != NULL ? "; the old one signs until nginx is reloaded"
                                : "");

    return 0;
}


int
bk_ca_retire(bk_ca_t *ca, const char *name, int force, bk_err_t *err)
{
    int              i, n = 0;
    unsigned         j;
    bk_authority_t  *which[2], *a;

    if (bk_ca_named(ca, name, which, err) != 0) {
        return -1;
    }

    for (i = 0; i < 2; i++) {
        n += which[i] != NULL ? (int) which[i]->nold : 0;
    }

    if (n == 0) {
        bk_err_set(err, 409, "NothingOld", "there is no old authority");
        return bk_err_hint(err, "bkctl ca rotate makes the present one old");
    }

    for (i = 0; i < 2; i++) {
        if (which[i] != NULL
            && (bk_authority_late(which[i], err) != 0
                || (!force && bk_ca_needed(ca, which[i], err))))
        {
            return -1;
        }
    }

    for (i = 0; i < 2; i++) {
        a = which[i];

        for (j = 0; a != NULL && j < a->nold; j++) {
            a->old[j].until_ms = 0;
        }

        if (a != NULL && a->nold > 0
            && bk_authority_save(ca, a, 1, err) != 0)
        {
            return -1;
        }
    }

    bk_ca_look(ca);

    return 0;
}


/* Who is cut off when the old ones go now? */

static int
bk_ca_needed(const bk_ca_t *ca, const bk_authority_t *a, bk_err_t *err)
{
    char      when[32];
    unsigned  i;
    uint64_t  until = 0;

    for (i = 0; i < a->nold; i++) {
        if (a->old[i].until_ms > until) {
            until = a->old[i].until_ms;
        }
    }

    if (until <= bk_ca_now_ms(ca)) {
        return 0;
    }

    bk_err_set(err, 409, "StillNeeded", "an old %s authority is needed until "
               "%s: %s", a->name, bk_log_time(until, when, sizeof(when)),
               a == &ca->gateway
               ? "clients that were allocated a worker before the rotation "
                 "would be refused, and would not trust the gateway"
               : "workers that were started before the rotation could not be "
                 "reached until they are started again");
    bk_err_hint(err, "it retires by itself when nothing needs it; with force "
                "(bkctl ca retire --force) it goes now");

    return 1;
}


static int
bk_ca_named(bk_ca_t *ca, const char *name, bk_authority_t *out[2],
    bk_err_t *err)
{
    out[0] = name == NULL || strcmp(name, "gateway") == 0 ? &ca->gateway
                                                          : NULL;
    out[1] = name == NULL || strcmp(name, "worker") == 0 ? &ca->worker : NULL;

    if (out[0] == NULL && out[1] == NULL) {
        bk_err_set(err, 404, "NoAuthority", "there is no such authority");
        return bk_err_hint(err, "it is \"gateway\" or \"worker\"; without a "
                           "name it is both");
    }

    return 0;
}
