/* Access rules: who may do what, where.  See access.h. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access_int.h"
#include "bk_err.h"


#define BK_ACCESS_SEEN  240     /* bytes of claims in an error */


typedef struct {
    const bk_rule_t  *rule;     /* that decides, NULL: none */
    int               limit;    /* it could not be told whether it matches */
} bk_verdict_t;


static int bk_access_builtin(const bk_access_t *a, const bk_who_t *who,
    bk_decision_t *d);
static void bk_access_chain(const bk_access_t *a, const bk_who_t *who,
    int verb, bk_str_t pool, bk_verdict_t *v);
static int bk_access_first(const bk_access_t *a, const bk_rules_t *rules,
    const bk_who_t *who, int verb, bk_str_t pool, bk_verdict_t *v);
static int bk_access_somewhere(const bk_access_t *a, const bk_rules_t *rules,
    const bk_who_t *who, unsigned verbs);
static int bk_access_refuse(const bk_access_t *a, const bk_who_t *who,
    int verb, bk_str_t pool, const bk_verdict_t *v, bk_err_t *err);


static const char *const  bk_verb_names[BK_VERBS] = {
    "none", "allocate", "wake", "release", "revoke", "drain", "list", "certs",
    "admin"
};


int
bk_access_new(bk_access_t **out, const bk_conf_t *conf, bk_err_t *err)
{
    bk_access_t  *a;

    a = calloc(1, sizeof(bk_access_t));
    if (a == NULL) {
        abort();
    }

    a->refs = 1;

    if (conf->file != NULL && conf->file->access != NULL) {
        a->configured = 1;
        a->data = pcre2_match_data_create(1, NULL);
        a->context = pcre2_match_context_create(NULL);

        if (a->data == NULL || a->context == NULL) {
            abort();
        }

        pcre2_set_match_limit(a->context, BK_ACCESS_STEPS_MAX);
        pcre2_set_depth_limit(a->context, BK_ACCESS_DEPTH_MAX);
        pcre2_set_heap_limit(a->context, BK_ACCESS_HEAP_KIB);

        if (bk_rules_make(a, conf, err) != 0) {
            bk_access_free(&a);
            return -1;
        }
    }

    *out = a;

    return 0;
}


void
bk_access_free(bk_access_t **ap)
{
    unsigned      i;
    bk_access_t  *a = *ap;

    *ap = NULL;

    if (a == NULL || --a->refs > 0) {
        return;
    }

    bk_rules_free(&a->general);

    for (i = 0; i < a->npools; i++) {
        bk_rules_free(&a->pools[i]);
    }

    pcre2_match_data_free(a->data);
    pcre2_match_context_free(a->context);
    free(a->pools);
    bk_conf_free(&a->conf);
    free(a);
}


bk_access_t *
bk_access_ref(bk_access_t *a)
{
    a->refs++;

    return a;
}


void
bk_access_keep(bk_access_t *a, bk_conf_t *conf)
{
    a->conf = conf;
}


int
bk_access_configured(const bk_access_t *a)
{
    return a->configured;
}


int
bk_access_decide(const bk_access_t *a, const bk_who_t *who, int verb,
    bk_str_t pool, bk_decision_t *d, bk_err_t *err)
{
    bk_verdict_t      v;
    const bk_rule_t  *r;

    memset(d, 0, sizeof(bk_decision_t));

    if (bk_access_builtin(a, who, d) == 0) {
        return 0;
    }

    bk_access_chain(a, who, verb, pool, &v);
    r = v.rule;

    if (r != NULL) {
        d->rule = (bk_str_t) { r->name, strlen(r->name) };
    }

    if (r == NULL || r->deny || v.limit) {
        return bk_access_refuse(a, who, verb, pool, &v, err);
    }

    d->max_ttl_ms = r->max_ttl_ms;
    d->concurrency = r->concurrency;
    d->priority = r->priority;
    d->untrusted = r->untrusted;

    return 0;
}


/* What is not written in the configuration. */

static int
bk_access_builtin(const bk_access_t *a, const bk_who_t *who, bk_decision_t *d)
{
    if (a->configured && who->operator) {
        d->rule = BK_STR(BK_ACCESS_OPERATORS);
        return 0;
    }

    if (!a->configured && who->peer) {
        d->rule = BK_STR(BK_ACCESS_PEERS);
        return 0;
    }

    return -1;
}


static void
bk_access_chain(const bk_access_t *a, const bk_who_t *who, int verb,
    bk_str_t pool, bk_verdict_t *v)
{
    const bk_rules_t  *own = bk_access_own(a, pool);

    v->rule = NULL;
    v->limit = 0;

    if (own == NULL || bk_access_first(a, own, who, verb, pool, v) != 0) {
        (void) bk_access_first(a, &a->general, who, verb, pool, v);
    }
}


static int
bk_access_first(const bk_access_t *a, const bk_rules_t *rules,
    const bk_who_t *who, int verb, bk_str_t pool, bk_verdict_t *v)
{
    int               rc;
    unsigned          i;
    const bk_rule_t  *r;

    for (i = 0; i < rules->n; i++) {
        r = &rules->rules[i];

        if (!(r->verbs & (1u << verb)) || !bk_rule_pool(r, pool)) {
            continue;
        }

        rc = bk_rule_match(a, r, who);

        if (rc != BK_MATCH_NO) {
            v->rule = r;
            v->limit = rc == BK_MATCH_LIMIT;
            return 0;
        }
    }

    return -1;
}


const bk_rules_t *
bk_access_own(const bk_access_t *a, bk_str_t pool)
{
    unsigned  i;

    for (i = 0; pool.len > 0 && i < a->npools; i++) {
        if (strncmp(a->pools[i].name, pool.data, pool.len) == 0
            && a->pools[i].name[pool.len] == '\0')
        {
            return &a->pools[i];
        }
    }

    return NULL;
}


int
bk_access_any(const bk_access_t *a, const bk_who_t *who, int verb,
    bk_err_t *err)
{
    bk_str_t        none = { "", 0 };
    unsigned        i, verbs = 1u << verb;
    bk_verdict_t    v = { NULL, 0 };
    bk_decision_t   d;

    if (bk_access_builtin(a, who, &d) == 0) {
        return 0;
    }

    /* its handlers ask no more: what they do is of all pools */
    if (verb == BK_VERB_ADMIN) {
        return bk_access_decide(a, who, verb, none, &d, err);
    }

    /* what is one's own needs no rule for the verb, but there must be one */
    if (verb == BK_VERB_LIST || verb == BK_VERB_RELEASE
        || verb == BK_VERB_REVOKE)
    {
        verbs = ~0u;
    }

    if (bk_access_somewhere(a, &a->general, who, verbs)) {
        return 0;
    }

    /* after a pool's own rules come the general ones, which let it nowhere */
    for (i = 0; i < a->npools; i++) {
        if (bk_access_somewhere(a, &a->pools[i], who, verbs)) {
            return 0;
        }
    }

    if (verbs != ~0u) {
        /* says which rule, where it is one for all pools */
        bk_access_chain(a, who, verb, none, &v);
    }

    return bk_access_refuse(a, who, verb, none, &v, err);
}


/*
 * Is there a pool in which these let it do one of these verbs?  A refusal for
 * some pools says nothing of the others; the handler asks for the one that it
 * is about.
 */

static int
bk_access_somewhere(const bk_access_t *a, const bk_rules_t *rules,
    const bk_who_t *who, unsigned verbs)
{
    int               rc;
    unsigned          i;
    const bk_rule_t  *r;

    for (i = 0; i < rules->n && verbs != 0; i++) {
        r = &rules->rules[i];
        rc = (r->verbs & verbs) ? bk_rule_match(a, r, who) : BK_MATCH_NO;

        if (rc == BK_MATCH_YES && !r->deny) {
            return 1;
        }

        if (rc != BK_MATCH_NO && r->npools == 0) {
            verbs &= ~r->verbs;
        }
    }

    return 0;
}


static int
bk_access_refuse(const bk_access_t *a, const bk_who_t *who, int verb,
    bk_str_t pool, const bk_verdict_t *v, bk_err_t *err)
{
    char         why[128], seen[BK_ACCESS_SEEN], name[128];
    const char  *what = bk_verb_names[verb];

    if (err == NULL) {
        return -1;
    }

    bk_access_name(who, name, sizeof(name));

    if (!a->configured) {
        bk_err_set(err, 403, "Forbidden", "%s may not %s: there are no access "
                   "rules", name, what);
        return bk_err_hint(err, "an operator adds the section access to the "
                           "configuration of plugin-host");
    }

    if (v->rule == NULL) {
        snprintf(why, sizeof(why), "no rule allows it");

    } else {
        snprintf(why, sizeof(why), v->limit
                 ? "a claim is too much for rule %s to match"
                 : "rule %s refuses it", v->rule->name);
    }

    bk_access_seen(a, who, seen, sizeof(seen));
    bk_err_set(err, 403, "Forbidden", "%s may not %s%s%.*s: %s; claims seen: "
               "%s", name, what, pool.len ? " in " : "",
               pool.len > 60 ? 60 : (int) pool.len, pool.data, why, seen);

    return bk_err_hint(err, "bkctl explain --verb %s says what each rule "
                       "wants; an operator changes them in the configuration "
                       "of plugin-host", what);
}


/* In ASCII, and cut: for errors, which go to terminals. */

void
bk_access_name(const bk_who_t *who, char *buf, size_t size)
{
    size_t  i;

    snprintf(buf, size, "%s", who->name);

    for (i = 0; buf[i] != '\0'; i++) {
        if ((unsigned char) buf[i] > 0x7e || (unsigned char) buf[i] < 0x20) {
            buf[i] = '?';
        }
    }
}


const char *
bk_verb_name(int verb)
{
    return verb >= 0 && verb < BK_VERBS ? bk_verb_names[verb] : "none";
}


int
bk_verb_number(const char *name)
{
    int  i;

    for (i = BK_VERB_ALLOCATE; i < BK_VERBS; i++) {
        if (strcmp(bk_verb_names[i], name) == 0) {
            return i;
        }
    }

    return -1;
}
