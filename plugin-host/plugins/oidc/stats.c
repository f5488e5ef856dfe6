/* Numbers of the plugin oidc: what became of tokens, and of key sets. */

#include <stdio.h>
#include <string.h>

#include "oidc.h"


typedef struct {
    const char  *label;
    const char  *reason;        /* of bk_err_t */
} oidc_result_t;

typedef struct {
    bk_stat_pt   fn;
    void        *data;
} oidc_out_t;


static void oidc_stat(const oidc_out_t *out, const char *name,
    const char *help, const char *labels, int counter, double value);
static void oidc_stats_tokens(const oidc_out_t *out, const char *source,
    const oidc_count_t *count);


static const oidc_result_t  oidc_results[OIDC_RESULTS] = {
    { "accepted", NULL },
    { "cached", NULL },
    { "refused", "TokenRefused" },
    { "expired", "TokenExpired" },
    { "not_yet_valid", "TokenNotYetValid" },
    { "wrong_audience", "WrongAudience" },
    { "wrong_issuer", "WrongIssuer" },
    { "bad_signature", "BadSignature" },
    { "bad_algorithm", "BadAlgorithm" },
    { "unknown_key", "UnknownKey" },
    { "malformed", "TokenMalformed" },
    { "too_long", "TokenTooLong" },
    { "unreachable", "IssuerUnreachable" }
};


void
oidc_count(oidc_count_t *count, const bk_err_t *err)
{
    int  i;

    for (i = OIDC_FIRST_REFUSAL; i < OIDC_RESULTS; i++) {
        if (strcmp(oidc_results[i].reason, err->reason) == 0) {
            count->n[i]++;
            return;
        }
    }

    count->n[OIDC_FIRST_REFUSAL]++;
}


void
oidc_stats(void *ctx, bk_stat_pt fn, void *data)
{
    char            labels[128];
    oidc_t         *o = ctx;
    uint64_t        now = o->host->monotonic_ms(o->host);
    oidc_out_t      out = { fn, data };
    oidc_issuer_t  *i;

    for (i = o->issuers; i != NULL; i = i->next) {
        oidc_stats_tokens(&out, i->conf->name, &i->count);
    }

    oidc_stats_tokens(&out, OIDC_SOURCE_TOKEN, &o->token_count);

    if (o->file.doc->review != NULL) {
        oidc_stats_tokens(&out, o->file.doc->review->name, &o->review_count);
    }

    oidc_stats_tokens(&out, "", &o->other_count);

    for (i = o->issuers; i != NULL; i = i->next) {
        snprintf(labels, sizeof(labels), "issuer=\"%s\",result=\"ok\"",
                 i->conf->name);
        oidc_stat(&out, "oidc_key_fetches_total", "Key sets that were "
                  "fetched from issuers", labels, 1, (double) i->good);
        snprintf(labels, sizeof(labels), "issuer=\"%s\",result=\"failed\"",
                 i->conf->name);
        oidc_stat(&out, "oidc_key_fetches_total", "Key sets that were "
                  "fetched from issuers", labels, 1, (double) i->bad);
    }

    for (i = o->issuers; i != NULL; i = i->next) {
        if (i->keys != NULL) {
            snprintf(labels, sizeof(labels), "issuer=\"%s\"", i->conf->name);
            oidc_stat(&out, "oidc_keys_age_seconds", "Time since the keys of "
                      "an issuer were fetched", labels, 0,
                      (double) (now - i->fetched_ms) / 1000);
        }
    }

    if (o->file.doc->review != NULL) {
        oidc_stat(&out, "oidc_reviews_total", "TokenReviews that were "
                  "asked for", "result=\"ok\"", 1, (double) o->reviews_good);
        oidc_stat(&out, "oidc_reviews_total", "TokenReviews that were "
                  "asked for", "result=\"failed\"", 1,
                  (double) o->reviews_bad);
    }

    oidc_stat(&out, "oidc_cached_tokens", "Verified tokens that are "
              "remembered", "", 0, (double) oidc_cache_count(o->cache));
}


static void
oidc_stats_tokens(const oidc_out_t *out, const char *source,
    const oidc_count_t *count)
{
    int   i;
    char  labels[160];

    for (i = 0; i < OIDC_RESULTS; i++) {
        snprintf(labels, sizeof(labels), "source=\"%s\",result=\"%s\"",
                 source, oidc_results[i].label);
        oidc_stat(out, "oidc_tokens_total", "Bearer tokens by what became of "
                  "them", labels, 1, (double) count->n[i]);
    }
}


static void
oidc_stat(const oidc_out_t *out, const char *name, const char *help,
    const char *labels, int counter, double value)
{
    bk_stat_t  stat = { name, help, labels, counter, value, NULL };

    out->fn(&stat, out->data);
}
