/*
 * What is known about an authority and those before it: NAME-trust.json of
 * the state folder.  Its key pair is in ca_own.c or ca_external.c.
 */

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ca_int.h"
#include "bk_err.h"
#include "log.h"


#define BK_STORE_TRUST  "-trust.json"


static int bk_store_load(bk_ca_t *ca, bk_authority_t *a, bk_err_t *err);
static int bk_store_parse(bk_authority_t *a, json_t *json);
static int bk_store_old(bk_authority_t *a, json_t *json);
static int bk_store_signer(bk_signer_t *s, json_t *json);
static json_t *bk_store_signer_json(const bk_signer_t *s);
static int bk_store_same(const bk_ca_t *ca, const bk_authority_t *a,
    const bk_authority_t *b);
static int bk_store_olds(const bk_ca_t *ca, const bk_authority_t *a,
    const bk_authority_t *b);
static unsigned bk_store_find(const bk_authority_t *a, const X509 *cert);
static void bk_store_later(bk_ca_t *ca, bk_authority_t *a,
    const bk_authority_t *from);


int
bk_authority_open(bk_ca_t *ca, bk_authority_t *a, const char *name,
    bk_err_t *err)
{
    int          rc;
    bk_signer_t  next;

    a->name = name;
    memset(&next, 0, sizeof(next));

    if (bk_store_load(ca, a, err) != 0) {
        return -1;
    }

    if (a->issuer != NULL) {
        rc = bk_ca_external(ca, name, a->issuer, &next, err);

    } else {
        rc = bk_own_recover(ca, a, err) == 0
             ? bk_own_read(ca, a, &next, err) : -1;
    }

    if (rc != 0) {
        bk_signer_clear(&next);
        return -1;
    }

    a->own = a->issuer == NULL;

    return bk_authority_switch(ca, a, &next, err);
}


static int
bk_store_load(bk_ca_t *ca, bk_authority_t *a, bk_err_t *err)
{
    int      rc;
    char     path[PATH_MAX], *text;
    json_t  *json;

    bk_ca_path(ca, a, BK_STORE_TRUST, path);

    if (bk_ca_read(path, 0, &text, err) != 0) {
        return err->code == 404 ? 0 : -1;
    }

    json = json_loads(text, 0, NULL);
    free(text);

    rc = bk_store_parse(a, json);
    json_decref(json);

    if (rc != 0) {
        bk_err_set(err, 500, "BadAuthority", "%s is damaged", path);
        return bk_err_hint(err, "put it back from a backup; or move it away: "
                           "then old authorities are trusted no more, and "
                           "what they issued is refused");
    }

    return 0;
}


static int
bk_store_parse(bk_authority_t *a, json_t *json)
{
    json_t   *signer, *old, *one;
    size_t    i;

    if (json_integer_value(json_object_get(json, "version")) != 1) {
        return -1;
    }

    a->known = 1;
    a->own = json_is_true(json_object_get(json, "own"));
    a->until_ms = (uint64_t)
                  json_integer_value(json_object_get(json, "until"));
    a->saved_ms = a->until_ms;

    signer = json_object_get(json, "signer");
    old = json_object_get(json, "old");

    if (json_is_object(signer)) {
        a->seen = 1;

        if (bk_store_signer(&a->now, signer) != 0) {
            return -1;
        }
    }

    if (!json_is_array(old) || json_array_size(old) > BK_CA_OLD_MAX) {
        return -1;
    }

    json_array_foreach(old, i, one) {
        if (bk_store_old(a, one) != 0) {
            return -1;
        }
    }

    return 0;
}


static int
bk_store_old(bk_authority_t *a, json_t *json)
{
    json_t       *cross = json_object_get(json, "cross");
    bk_ca_old_t  *old = &a->old[a->nold++];

    old->replaced_ms = (uint64_t)
                       json_integer_value(json_object_get(json, "replaced"));
    old->until_ms = (uint64_t)
                    json_integer_value(json_object_get(json, "until"));

    if (json_is_string(cross)) {
        old->cross = strdup(json_string_value(cross));
    }

    return bk_store_signer(&old->signer, json_object_get(json, "signer"));
}


static int
bk_store_signer(bk_signer_t *s, json_t *json)
{
    const char  *cert, *trust, *chain;

    cert = json_string_value(json_object_get(json, "certificate"));
    trust = json_string_value(json_object_get(json, "trust"));
    chain = json_string_value(json_object_get(json, "chain"));

    if (cert == NULL || trust == NULL || chain == NULL) {
        return -1;
    }

    s->cert = bk_ca_pem_cert(cert);
    s->trust = strdup(trust);
    s->chain = strdup(chain);

    return s->cert != NULL && s->trust != NULL && s->chain != NULL ? 0 : -1;
}


int
bk_authority_save(bk_ca_t *ca, bk_authority_t *a, int sync, bk_err_t *err)
{
    int           rc;
    char          path[PATH_MAX], *text;
    json_t       *json, *old, *one;
    unsigned      i;
    bk_ca_old_t  *o;

    old = json_array();

    for (i = 0; i < a->nold; i++) {
        o = &a->old[i];
        one = json_pack("{s:o, s:s?, s:I, s:I}",
                        "signer", bk_store_signer_json(&o->signer),
                        "cross", o->cross,
                        "replaced", (json_int_t) o->replaced_ms,
                        "until", (json_int_t) o->until_ms);
        json_array_append_new(old, one);
    }

    json = json_pack("{s:i, s:b, s:I, s:o, s:o}", "version", 1, "own", a->own,
                     "until", (json_int_t) a->until_ms,
                     "signer", bk_store_signer_json(&a->now), "old", old);

    text = json_dumps(json, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    json_decref(json);

    if (text == NULL) {
        abort();
    }

    bk_ca_path(ca, a, BK_STORE_TRUST, path);
    rc = bk_ca_write(path, text, 0600,
                     BK_CA_REPLACE | (sync ? BK_CA_SYNC | BK_CA_SYNC_DIR
                                           : 0), err);
    free(text);

    if (rc == 0) {
        a->saved_ms = a->until_ms;
        bk_authority_stored(ca);
    }

    return rc;
}


void
bk_authority_stored(const bk_ca_t *ca)
{
    if (ca->conf.stored != NULL) {
        ca->conf.stored(ca->conf.data);
    }
}


int
bk_ca_read_issued(bk_ca_t *ca, bk_err_t *err)
{
    int              i, rc = 0;
    bk_authority_t   fresh[2], *a[2] = { &ca->gateway, &ca->worker };

    memset(fresh, 0, sizeof(fresh));

    for (i = 0; i < 2 && rc == 0; i++) {
        fresh[i].name = a[i]->name;
        rc = bk_store_load(ca, &fresh[i], err);

        if (rc == 0 && !bk_store_same(ca, a[i], &fresh[i])) {
            rc = bk_err_set(err, 409, "OtherAuthority", "the %s authority is "
                            "another one by now", a[i]->name);
        }
    }

    for (i = 0; i < 2; i++) {
        if (rc == 0) {
            bk_store_later(ca, a[i], &fresh[i]);
        }

        bk_authority_free(&fresh[i]);
    }

    return rc;
}


/* Old ones whose time is over are dropped by each host when it sees it. */

static int
bk_store_same(const bk_ca_t *ca, const bk_authority_t *a,
    const bk_authority_t *b)
{
    return b->now.cert != NULL && X509_cmp(a->now.cert, b->now.cert) == 0
           && bk_store_olds(ca, a, b) && bk_store_olds(ca, b, a);
}


/* Has b all old ones of a that still matter? */

static int
bk_store_olds(const bk_ca_t *ca, const bk_authority_t *a,
    const bk_authority_t *b)
{
    unsigned  i;

    for (i = 0; i < a->nold; i++) {
        if (a->old[i].until_ms > bk_ca_now_ms(ca)
            && bk_store_find(b, a->old[i].signer.cert) == b->nold)
        {
            return 0;
        }
    }

    return 1;
}


static unsigned
bk_store_find(const bk_authority_t *a, const X509 *cert)
{
    unsigned  i;

    for (i = 0; i < a->nold; i++) {
        if (X509_cmp(a->old[i].signer.cert, cert) == 0) {
            break;
        }
    }

    return i;
}


static void
bk_store_later(bk_ca_t *ca, bk_authority_t *a, const bk_authority_t *from)
{
    int        ours = a->until_ms > from->until_ms;
    unsigned   i, j;
    bk_err_t   err;

    if (!ours) {
        a->until_ms = from->until_ms;
    }

    for (i = 0; i < a->nold; i++) {
        j = bk_store_find(from, a->old[i].signer.cert);

        if (j == from->nold) {
            continue;
        }

        if (a->old[i].until_ms > from->old[j].until_ms) {
            ours = 1;

        } else {
            a->old[i].until_ms = from->old[j].until_ms;
        }
    }

    /* what was written there is less than the truth */
    if (ours && bk_authority_save(ca, a, 0, &err) != 0) {
        bk_log_err(BK_LOG_ERROR, "ca", &err);
    }
}


static json_t *
bk_store_signer_json(const bk_signer_t *s)
{
    char    *pem;
    json_t  *json;

    if (s->cert == NULL) {
        return json_null();
    }

    pem = bk_ca_cert_pem(s->cert);
    json = json_pack("{s:s, s:s, s:s}", "certificate", pem != NULL ? pem : "",
                     "trust", s->trust, "chain", s->chain);
    free(pem);

    return json;
}


char *
bk_ca_path(const bk_ca_t *ca, const bk_authority_t *a, const char *end,
    char *buf)
{
    snprintf(buf, PATH_MAX, "%s/ca/%s%s", ca->dir, a->name, end);

    return buf;
}
