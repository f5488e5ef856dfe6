/* Both authorities as JSON: GET /api/v1/ca.  See ca.h. */

#include <openssl/bio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ca_int.h"
#include "log.h"


static json_t *bk_show_authority(const bk_ca_t *ca, const bk_authority_t *a);
static json_t *bk_show_signer(const bk_ca_t *ca, const bk_signer_t *s,
    const char *state);
static json_t *bk_show_file(const bk_ca_t *ca, int which);
static json_t *bk_show_time(uint64_t ms);
static json_t *bk_show_days(const bk_ca_t *ca, uint64_t ms);
static json_t *bk_show_subject(const X509 *cert);
static json_t *bk_show_hash(const X509 *cert);


json_t *
bk_ca_show(bk_ca_t *ca)
{
    return json_pack("{s:[o,o], s:[o,o], s:b}",
                     "authorities", bk_show_authority(ca, &ca->gateway),
                     bk_show_authority(ca, &ca->worker),
                     "files", bk_show_file(ca, 0), bk_show_file(ca, 1),
                     "reloadDue", (int) (ca->pending || ca->due));
}


static json_t *
bk_show_authority(const bk_ca_t *ca, const bk_authority_t *a)
{
    json_t       *list = json_array(), *one;
    unsigned      i;
    const char   *state = a->late.cert != NULL ? "next" : "current";

    json_array_append_new(list, bk_show_signer(ca, &a->now, state));

    for (i = a->nold; i > 0; i--) {
        one = bk_show_signer(ca, &a->old[i - 1].signer,
                             i == a->nold && a->late.cert != NULL ? "current"
                                                                  : "old");
        json_object_set_new(one, "replacedAt",
                            bk_show_time(a->old[i - 1].replaced_ms));
        json_object_set_new(one, "neededUntil",
                            bk_show_time(a->old[i - 1].until_ms));
        json_array_append_new(list, one);
    }

    return json_pack("{s:s, s:s, s:s?, s:o, s:o}", "name", a->name,
                     "issuer", a->issuer != NULL ? "external" : "own",
                     "error", a->trouble[0] ? a->trouble : NULL,
                     "issuedUntil", bk_show_time(a->until_ms),
                     "certificates", list);
}


static json_t *
bk_show_signer(const bk_ca_t *ca, const bk_signer_t *s, const char *state)
{
    uint64_t  end = bk_ca_end_ms(s->cert);

    return json_pack("{s:s, s:o, s:o, s:o, s:o}", "state", state,
                     "subject", bk_show_subject(s->cert),
                     "sha256", bk_show_hash(s->cert),
                     "notAfter", bk_show_time(end),
                     "days", bk_show_days(ca, end));
}


static json_t *
bk_show_file(const bk_ca_t *ca, int which)
{
    char  name[32];

    snprintf(name, sizeof(name), "tls/%s.pem",
             which == 0 ? "gateway" : "upstream");

    return json_pack("{s:s, s:o, s:o}", "file", name,
                     "notAfter", bk_show_time(ca->ends_ms[which]),
                     "days", bk_show_days(ca, ca->ends_ms[which]));
}


static json_t *
bk_show_time(uint64_t ms)
{
    char  buf[32];

    return ms == 0 ? json_null()
                   : json_string(bk_log_time(ms, buf, sizeof(buf)));
}


static json_t *
bk_show_days(const bk_ca_t *ca, uint64_t ms)
{
    uint64_t  now = bk_ca_now_ms(ca);

    return json_integer(ms > now ? (json_int_t) ((ms - now) / BK_CA_DAY_MS)
                                 : 0);
}


/* As openssl writes it; what is not UTF-8 comes out escaped. */

static json_t *
bk_show_subject(const X509 *cert)
{
    BIO     *bio = BIO_new(BIO_s_mem());
    char    *text;
    long     len;
    json_t  *json = NULL;

    if (bio != NULL
        && X509_NAME_print_ex(bio, X509_get_subject_name(cert), 0,
                              XN_FLAG_RFC2253)
           >= 0)
    {
        len = BIO_get_mem_data(bio, &text);
        json = json_stringn(text, len > 512 ? 512 : (size_t) len);
    }

    BIO_free(bio);

    return json != NULL ? json : json_string("");
}


static json_t *
bk_show_hash(const X509 *cert)
{
    char           hex[2 * EVP_MAX_MD_SIZE + 1];
    unsigned       i, len = 0;
    unsigned char  md[EVP_MAX_MD_SIZE];

    if (X509_digest(cert, EVP_sha256(), md, &len) != 1) {
        return json_null();
    }

    for (i = 0; i < len; i++) {
        snprintf(hex + 2 * i, 3, "%02x", md[i]);
    }

    return json_stringn(hex, 2 * len);
}
