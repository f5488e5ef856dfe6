/*
 * What rules say, for people: GET /api/v1/explain, and rules that are likely a
 * mistake.  See access.h.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access_int.h"
#include "bk_duration.h"
#include "bk_err.h"


static void bk_explain_grant(json_t *o, const bk_decision_t *d);
static void bk_explain_one(const bk_access_t *a, const bk_rule_t *r,
    const bk_who_t *who, int verb, bk_str_t pool, const bk_rule_t **decides,
    int full, json_t *list);
static void bk_doubts_list(const bk_access_t *a, const bk_rules_t *rules,
    bk_access_doubt_pt fn, void *data);
static const bk_rule_t *bk_dead_by(const bk_access_t *a,
    const bk_rules_t *rules, unsigned i);
static const bk_rule_t *bk_dead_pool(const bk_access_t *a,
    const bk_rules_t *rules, unsigned i, const char *pool);
static int bk_rule_covers(const bk_access_t *a, const bk_rule_t *r,
    const bk_rule_t *other);
static int bk_cond_implied(const bk_access_t *a, const bk_cond_t *c,
    const bk_rule_t *other);
static int bk_cond_covers(const bk_access_t *a, const bk_cond_t *c,
    const bk_cond_t *other);
static int bk_rule_open(const bk_rule_t *r, char *buf, size_t size);
static int bk_has(const char *const *list, unsigned n, const char *word);


json_t *
bk_access_explain(const bk_access_t *a, const bk_who_t *who, int verb,
    bk_str_t pool, int full)
{
    int                rc, builtin;
    json_t            *o, *list = json_array();
    bk_err_t           err;
    unsigned           i;
    bk_decision_t      d;
    const bk_rule_t   *decides = NULL;
    const bk_rules_t  *own;

    memset(&err, 0, sizeof(err));
    rc = bk_access_decide(a, who, verb, pool, &d, &err);

    /* what is built in decides before all */
    builtin = rc == 0 && (strcmp(d.rule.data, BK_ACCESS_OPERATORS) == 0
                          || strcmp(d.rule.data, BK_ACCESS_PEERS) == 0);

    if (builtin) {
        json_array_append_new(list,
            json_pack("{s:s, s:b, s:b, s:s}", "rule", d.rule.data, "matches",
                      1, "decides", 1, "why",
                      a->configured ? "a peer of the unix socket who is root "
                                      "or runs plugin-host may do everything"
                                    : "there are no access rules: every peer "
                                      "of the unix socket may do everything"));
    }

    own = bk_access_own(a, pool);

    for (i = 0; own != NULL && i < own->n; i++) {
        bk_explain_one(a, &own->rules[i], who, verb, pool,
                       builtin ? NULL : &decides, full, list);
    }

    for (i = 0; i < a->general.n; i++) {
        bk_explain_one(a, &a->general.rules[i], who, verb, pool,
                       builtin ? NULL : &decides, full, list);
    }

    o = json_pack("{s:b, s:s%, s:s, s:s, s:s%, s:s, s:s, s:O, s:o}",
                  "allowed", rc == 0, "rule",
                  d.rule.data != NULL ? d.rule.data : "", d.rule.len, "error",
                  err.text, "verb", bk_verb_name(verb), "pool",
                  pool.len > 0 ? pool.data : "", pool.len, "identity",
                  who->name, "source", who->source, "claims", who->claims,
                  "rules", list);

    if (o != NULL && rc == 0) {
        bk_explain_grant(o, &d);
    }

    return o;
}


/* What comes with it, where it is not as usual. */

static void
bk_explain_grant(json_t *o, const bk_decision_t *d)
{
    char  ttl[48];

    if (d->max_ttl_ms != 0) {
        bk_duration_format(d->max_ttl_ms, ttl, sizeof(ttl));
        json_object_set_new(o, "maxTtl", json_string(ttl));
    }

    if (d->concurrency != 0) {
        json_object_set_new(o, "concurrency", json_integer(d->concurrency));
    }

    if (d->priority != 0) {
        json_object_set_new(o, "priority", json_integer(d->priority));
    }

    if (d->untrusted) {
        json_object_set_new(o, "untrusted", json_true());
    }
}


static void
bk_explain_one(const bk_access_t *a, const bk_rule_t *r, const bk_who_t *who,
    int verb, bk_str_t pool, const bk_rule_t **decides, int full,
    json_t *list)
{
    int        rc;
    char       text[400];
    json_t    *o;
    bk_why_t   why = { text, sizeof(text), full };

    text[0] = '\0';

    if (!(r->verbs & (1u << verb))) {
        snprintf(text, sizeof(text), "it is not for the verb %s",
                 bk_verb_name(verb));
        rc = BK_MATCH_NO;

    } else if (!bk_rule_pool(r, pool)) {
        snprintf(text, sizeof(text), "it is not for this pool");
        rc = BK_MATCH_NO;

    } else {
        rc = bk_rule_why(a, r, who, &why);
    }

    if (rc == BK_MATCH_YES) {
        snprintf(text, sizeof(text), r->deny ? "it matches, and refuses"
                                             : "it matches");
    }

    bk_err_clean(text);
    o = json_pack("{s:s, s:b, s:b, s:s}", "rule", r->name, "matches",
                  rc == BK_MATCH_YES, "decides",
                  rc != BK_MATCH_NO && decides != NULL && *decides == NULL,
                  "why", text);

    if (o == NULL) {
        return;
    }

    if (r->pool != NULL) {
        json_object_set_new(o, "pool", json_string(r->pool));
    }

    if (rc != BK_MATCH_NO && decides != NULL && *decides == NULL) {
        *decides = r;
    }

    json_array_append_new(list, o);
}


void
bk_access_doubts(const bk_access_t *a, bk_access_doubt_pt fn, void *data)
{
    unsigned  i;

    for (i = 0; i < a->npools; i++) {
        bk_doubts_list(a, &a->pools[i], fn, data);
    }

    bk_doubts_list(a, &a->general, fn, data);
}


static void
bk_doubts_list(const bk_access_t *a, const bk_rules_t *rules,
    bk_access_doubt_pt fn, void *data)
{
    char              of[120], what[200];
    unsigned          i;
    const bk_rule_t  *by;

    for (i = 0; i < rules->n; i++) {
        by = bk_dead_by(a, rules, i);

        if (by != NULL) {
            snprintf(what, sizeof(what), "can never match: rule %s comes "
                     "before it and matches all that it would", by->name);

        } else if (bk_rule_open(&rules->rules[i], of, sizeof(of))) {
            snprintf(what, sizeof(what), "has no match: it is for everybody "
                     "with a valid token%s", of);

        } else {
            continue;
        }

        fn(rules->rules[i].name, what, data);
    }
}


/* Each of its pools must be taken by a rule that comes before it. */

static const bk_rule_t *
bk_dead_by(const bk_access_t *a, const bk_rules_t *rules, unsigned i)
{
    unsigned          p;
    const bk_rule_t  *by = NULL, *r = &rules->rules[i];

    if (r->npools == 0) {
        return bk_dead_pool(a, rules, i, r->pool != NULL ? r->pool : "*");
    }

    for (p = 0; p < r->npools; p++) {
        by = bk_dead_pool(a, rules, i, r->pools[p]);

        if (by == NULL) {
            return NULL;
        }
    }

    return by;
}


static const bk_rule_t *
bk_dead_pool(const bk_access_t *a, const bk_rules_t *rules, unsigned i,
    const char *pool)
{
    unsigned           j, k, p;
    const bk_rule_t   *r = &rules->rules[i], *by;
    const bk_rules_t  *own;

    for (j = 0; j < i; j++) {
        by = &rules->rules[j];

        if (!bk_rule_covers(a, by, r)) {
            continue;
        }

        if (by->npools == 0) {
            return by;
        }

        for (p = 0; p < by->npools; p++) {
            if (bk_pool_covers(by->pools[p], pool)) {
                return by;
            }
        }
    }

    /* a general rule for a pool that has its own ones, which come before */
    for (k = 0; rules == &a->general && k < a->npools; k++) {
        own = &a->pools[k];

        for (j = 0; strcmp(own->name, pool) == 0 && j < own->n; j++) {
            if (bk_rule_covers(a, &own->rules[j], r)) {
                return &own->rules[j];
            }
        }
    }

    return NULL;
}


/* Does it match whatever other does?  Pools are not looked at. */

static int
bk_rule_covers(const bk_access_t *a, const bk_rule_t *r,
    const bk_rule_t *other)
{
    unsigned  i;

    if ((other->verbs & ~r->verbs) != 0
        || (r->nsources > 0 && other->nsources == 0))
    {
        return 0;
    }

    for (i = 0; r->nsources > 0 && i < other->nsources; i++) {
        if (!bk_has(r->sources, r->nsources, other->sources[i])) {
            return 0;
        }
    }

    for (i = 0; i < r->nconds; i++) {
        if (!bk_cond_implied(a, &r->conds[i], other)) {
            return 0;
        }
    }

    return 1;
}


static int
bk_cond_implied(const bk_access_t *a, const bk_cond_t *c,
    const bk_rule_t *other)
{
    unsigned  i;

    for (i = 0; i < other->nconds; i++) {
        if (strcmp(c->claim, other->conds[i].claim) == 0
            && bk_cond_covers(a, c, &other->conds[i]))
        {
            return 1;
        }
    }

    return 0;
}


static int
bk_cond_covers(const bk_access_t *a, const bk_cond_t *c,
    const bk_cond_t *other)
{
    unsigned  i;

    if (other->pattern != NULL) {
        return c->pattern != NULL
               && (strcmp(c->pattern, other->pattern) == 0
                   || strcmp(c->pattern, ".*") == 0);
    }

    for (i = 0; i < other->nvalues; i++) {
        if (bk_cond_value(a, c, other->values[i], strlen(other->values[i]))
            != BK_MATCH_YES)
        {
            return 0;
        }
    }

    return 1;
}


/*
 * Is it for anybody at all who has a token?  Says of which sources (" of a or
 * b"); for peers of the unix socket alone is what the socket's mode says.
 */

static int
bk_rule_open(const bk_rule_t *r, char *buf, size_t size)
{
    int       n;
    size_t    used = 0;
    unsigned  i;

    buf[0] = '\0';

    if (r->nconds > 0 || r->deny) {
        return 0;
    }

    for (i = 0; i < r->nsources; i++) {
        if (strcmp(r->sources[i], "unix") == 0) {
            continue;
        }

        n = snprintf(buf + used, size - used, used ? " or %s" : " of %s",
                     r->sources[i]);

        if (n < 0 || (size_t) n >= size - used) {
            snprintf(buf, size, " of its sources");
            return 1;
        }

        used += (size_t) n;
    }

    return r->nsources == 0 || used > 0;
}


static int
bk_has(const char *const *list, unsigned n, const char *word)
{
    unsigned  i;

    for (i = 0; i < n; i++) {
        if (strcmp(list[i], word) == 0) {
            return 1;
        }
    }

    return 0;
}
