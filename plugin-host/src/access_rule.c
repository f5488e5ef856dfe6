/* Rules from the configuration: see access.h.  What is wrong has a place. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access_int.h"
#include "bk_duration.h"
#include "bk_err.h"


#define BK_RULE_PRIORITY_MAX  1000


typedef struct {
    bk_access_t      *access;
    const bk_conf_t  *conf;
    const char      **names;            /* that were there before */
    char            **places;
    unsigned          n;
    bk_err_t         *err;
} bk_rules_maker_t;


static int bk_rules_list(bk_rules_maker_t *m, bk_rules_t *rules,
    const bk_conf_rule_t *conf, unsigned n, const char *pool,
    const char *path);
static int bk_rule_make(bk_rules_maker_t *m, bk_rule_t *r,
    const bk_conf_rule_t *c, const char *pool, const char *path);
static int bk_rule_name(bk_rules_maker_t *m, const bk_conf_rule_t *c,
    const char *path);
static int bk_rule_pools(bk_rules_maker_t *m, const bk_conf_rule_t *c,
    const char *path);
static int bk_rule_verbs(bk_rules_maker_t *m, bk_rule_t *r,
    const bk_conf_rule_t *c, const char *path);
static int bk_rule_limits(bk_rules_maker_t *m, bk_rule_t *r,
    const bk_conf_rule_t *c, const char *path);
static int bk_rule_cond(bk_rules_maker_t *m, bk_cond_t *cond,
    const bk_conf_match_t *c, const char *path);
static int bk_rule_pattern(bk_rules_maker_t *m, bk_cond_t *cond,
    const char *path);


int
bk_rules_make(bk_access_t *a, const bk_conf_t *conf, bk_err_t *err)
{
    int                      rc;
    char                     path[40];
    unsigned                 i, j, all;
    bk_rules_maker_t         m = { a, conf, NULL, NULL, 0, err };
    const bk_conf_access_t  *c = conf->file->access;

    all = c->rules_count;
    for (i = 0; i < c->pools_count; i++) {
        all += c->pools[i].rules_count;
    }

    m.names = calloc(all + 1, sizeof(char *));
    m.places = calloc(all + 1, sizeof(char *));
    a->pools = calloc(c->pools_count + 1, sizeof(bk_rules_t));

    if (m.names == NULL || m.places == NULL || a->pools == NULL) {
        abort();
    }

    rc = bk_rules_list(&m, &a->general, c->rules, c->rules_count, NULL,
                       "access.rules");

    for (i = 0; rc == 0 && i < c->pools_count; i++) {
        snprintf(path, sizeof(path), "access.pools.%u.name", i);

        for (j = 0; j < i; j++) {
            if (strcmp(c->pools[i].name, c->pools[j].name) == 0) {
                rc = bk_yaml_err(conf->yaml, err, path, "the pool \"%s\" is "
                                 "there twice; put its rules together",
                                 c->pools[i].name);
            }
        }

        if (rc == 0 && (strchr(c->pools[i].name, '*') != NULL
                        || strchr(c->pools[i].name, '/') == NULL))
        {
            rc = bk_yaml_err(conf->yaml, err, path, "must be the name of one "
                             "pool, namespace/name; rules for several belong "
                             "into access.rules");
        }

        if (rc == 0) {
            a->npools = i + 1;
            a->pools[i].name = c->pools[i].name;
            snprintf(path, sizeof(path), "access.pools.%u.rules", i);
            rc = bk_rules_list(&m, &a->pools[i], c->pools[i].rules,
                               c->pools[i].rules_count, c->pools[i].name,
                               path);
        }
    }

    for (i = 0; i < m.n; i++) {
        free(m.places[i]);
    }

    free(m.places);
    free(m.names);

    return rc;
}


void
bk_rules_free(bk_rules_t *rules)
{
    unsigned  i, j;

    for (i = 0; i < rules->n; i++) {
        for (j = 0; j < rules->rules[i].nconds; j++) {
            pcre2_code_free(rules->rules[i].conds[j].code);
        }

        free(rules->rules[i].conds);
    }

    free(rules->rules);
    rules->rules = NULL;
    rules->n = 0;
}


static int
bk_rules_list(bk_rules_maker_t *m, bk_rules_t *rules,
    const bk_conf_rule_t *conf, unsigned n, const char *pool,
    const char *path)
{
    char      at[64];
    unsigned  i;

    rules->rules = calloc(n + 1, sizeof(bk_rule_t));
    if (rules->rules == NULL) {
        abort();
    }

    for (i = 0; i < n; i++) {
        snprintf(at, sizeof(at), "%s.%u", path, i);
        rules->n = i + 1;
        rules->rules[i].index = m->access->nrules++;

        if (bk_rule_make(m, &rules->rules[i], &conf[i], pool, at) != 0) {
            return -1;
        }
    }

    return 0;
}


static int
bk_rule_make(bk_rules_maker_t *m, bk_rule_t *r, const bk_conf_rule_t *c,
    const char *pool, const char *path)
{
    char      at[96];
    unsigned  i;

    r->name = c->name;
    r->pool = pool;
    r->sources = (const char *const *) c->sources;
    r->nsources = c->sources_count;
    r->pools = (const char *const *) c->pools;
    r->npools = c->pools_count;
    r->untrusted = c->untrusted;
    r->deny = c->deny;

    r->conds = calloc(c->match_count + 1, sizeof(bk_cond_t));
    if (r->conds == NULL) {
        abort();
    }

    if (bk_rule_name(m, c, path) != 0) {
        return -1;
    }

    if (pool != NULL && c->pools_count > 0) {
        snprintf(at, sizeof(at), "%s.pools", path);
        return bk_yaml_err(m->conf->yaml, m->err, at, "this is a rule of the "
                           "pool \"%s\" and has no pools of its own", pool);
    }

    if (bk_rule_pools(m, c, path) != 0 || bk_rule_verbs(m, r, c, path) != 0
        || bk_rule_limits(m, r, c, path) != 0)
    {
        return -1;
    }

    for (i = 0; i < c->match_count; i++) {
        snprintf(at, sizeof(at), "%s.match.%u", path, i);
        r->nconds = i + 1;

        if (bk_rule_cond(m, &r->conds[i], &c->match[i], at) != 0) {
            return -1;
        }
    }

    return 0;
}


/* It is in the audit log, in metrics and in errors. */

static int
bk_rule_name(bk_rules_maker_t *m, const bk_conf_rule_t *c, const char *path)
{
    char      at[80];
    unsigned  i;

    snprintf(at, sizeof(at), "%s.name", path);

    if (strspn(c->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                        "0123456789._-")
        != strlen(c->name))
    {
        return bk_yaml_err(m->conf->yaml, m->err, at, "must be of letters, "
                           "digits, '.', '_' and '-'");
    }

    if (strcmp(c->name, BK_ACCESS_OPERATORS) == 0
        || strcmp(c->name, BK_ACCESS_PEERS) == 0
        || strcmp(c->name, BK_ACCESS_NONE) == 0)
    {
        return bk_yaml_err(m->conf->yaml, m->err, at, "\"%s\" is the name of "
                           "a built-in rule", c->name);
    }

    for (i = 0; i < m->n; i++) {
        if (strcmp(m->names[i], c->name) == 0) {
            return bk_yaml_err(m->conf->yaml, m->err, at, "there is a rule "
                               "\"%s\" already, at %s", c->name,
                               m->places[i]);
        }
    }

    m->names[m->n] = c->name;
    m->places[m->n] = strdup(path);
    if (m->places[m->n++] == NULL) {
        abort();
    }

    return 0;
}


static int
bk_rule_pools(bk_rules_maker_t *m, const bk_conf_rule_t *c, const char *path)
{
    char         at[96];
    unsigned     i;
    const char  *star;

    for (i = 0; i < c->pools_count; i++) {
        star = strchr(c->pools[i], '*');

        if ((star == NULL && strchr(c->pools[i], '/') == NULL)
            || (star != NULL && star[1] != '\0'))
        {
            snprintf(at, sizeof(at), "%s.pools.%u", path, i);
            return bk_yaml_err(m->conf->yaml, m->err, at, "must be "
                               "namespace/name, or the beginning of it with "
                               "a '*' at the end");
        }
    }

    return 0;
}


static int
bk_rule_verbs(bk_rules_maker_t *m, bk_rule_t *r, const bk_conf_rule_t *c,
    const char *path)
{
    int       n;
    char      at[96];
    unsigned  i;

    if (c->verbs_count == 0) {
        r->verbs = 1u << BK_VERB_ALLOCATE | 1u << BK_VERB_WAKE;
        return 0;
    }

    for (i = 0; i < c->verbs_count; i++) {
        n = bk_verb_number(c->verbs[i]);

        if (n == -1) {
            snprintf(at, sizeof(at), "%s.verbs.%u", path, i);
            return bk_yaml_err(m->conf->yaml, m->err, at, "must be one of: "
                               "allocate, wake, release, revoke, drain, list, "
                               "certs, admin");
        }

        r->verbs |= 1u << n;
    }

    return 0;
}


static int
bk_rule_limits(bk_rules_maker_t *m, bk_rule_t *r, const bk_conf_rule_t *c,
    const char *path)
{
    char  at[96];

    if (c->max_ttl != NULL
        && (bk_duration_parse(c->max_ttl, strlen(c->max_ttl), &r->max_ttl_ms)
            != 0 || r->max_ttl_ms < 1000))
    {
        snprintf(at, sizeof(at), "%s.maxTtl", path);
        return bk_yaml_err(m->conf->yaml, m->err, at, "must be a duration of "
                           "at least 1s, like 90s or 1h30m");
    }

    if (c->priority > BK_RULE_PRIORITY_MAX
        || c->priority < -BK_RULE_PRIORITY_MAX)
    {
        snprintf(at, sizeof(at), "%s.priority", path);
        return bk_yaml_err(m->conf->yaml, m->err, at, "must be from %d to %d",
                           -BK_RULE_PRIORITY_MAX, BK_RULE_PRIORITY_MAX);
    }

    if (c->deny && (c->max_ttl != NULL || c->concurrency != 0
                    || c->priority != 0 || c->untrusted))
    {
        snprintf(at, sizeof(at), "%s.deny", path);
        return bk_yaml_err(m->conf->yaml, m->err, at, "a rule that refuses "
                           "has no maxTtl, concurrency, priority or "
                           "untrusted");
    }

    r->concurrency = c->concurrency;
    r->priority = c->priority;

    return 0;
}


static int
bk_rule_cond(bk_rules_maker_t *m, bk_cond_t *cond, const bk_conf_match_t *c,
    const char *path)
{
    if ((c->values_count > 0) == (c->pattern != NULL)) {
        return bk_yaml_err(m->conf->yaml, m->err, path, "needs either values "
                           "or a pattern");
    }

    cond->claim = c->claim;
    cond->values = (const char *const *) c->values;
    cond->nvalues = c->values_count;
    cond->pattern = c->pattern;

    return c->pattern != NULL ? bk_rule_pattern(m, cond, path) : 0;
}


/* The whole value must match: anchors are ours, nobody forgets them. */

static int
bk_rule_pattern(bk_rules_maker_t *m, bk_cond_t *cond, const char *path)
{
    int          e;
    char         at[112];
    PCRE2_SIZE   where;
    PCRE2_UCHAR  text[128];

    cond->code = pcre2_compile((PCRE2_SPTR) cond->pattern,
                               PCRE2_ZERO_TERMINATED,
                               PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_UTF
                               | PCRE2_DOLLAR_ENDONLY | PCRE2_DOTALL
                               | PCRE2_NEVER_BACKSLASH_C, &e, &where, NULL);
    if (cond->code != NULL) {
        return 0;
    }

    if (pcre2_get_error_message(e, text, sizeof(text)) < 0) {
        text[0] = '\0';
    }

    snprintf(at, sizeof(at), "%s.pattern", path);

    return bk_yaml_err(m->conf->yaml, m->err, at, "is no regular expression "
                       "(PCRE2): %s, at character %zu", (char *) text,
                       (size_t) where + 1);
}
