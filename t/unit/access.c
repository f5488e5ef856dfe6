/*
 * The engine of access rules: matching, order, limits, what is explained, and
 * rules that can never match.  Configurations as text, identities as claims.
 */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "identity.h"


static const cyaml_schema_value_t  schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, bk_conf_access_t,
                        bk_conf_access_fields)
};

static int             n, bad;
static bk_access_t    *access_rules;
static bk_conf_t       conf;
static bk_conf_file_t  file;
static bk_err_t        err;
static char            dead[1000];


static void __attribute__((format(printf, 2, 3)))
ok(int good, const char *fmt, ...)
{
    va_list  args;

    bad += !good;
    printf("%sok %d - ", good ? "" : "not ", ++n);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");
}


static void
drop(void)
{
    bk_access_free(&access_rules);
    bk_yaml_free(&conf.yaml, &schema, file.access);
    file.access = NULL;
}


/* 0, or -1 with err */

static int
load(const char *yaml)
{
    void  *out;

    drop();
    conf.file = &file;
    memset(&err, 0, sizeof(err));

    if (bk_yaml_parse(&conf.yaml, "t.yaml", yaml, strlen(yaml), &schema, &out,
                      &err)
        != 0)
    {
        return -1;
    }

    file.access = out;

    return bk_access_new(&access_rules, &conf, &err);
}


static bk_who_t *
who(const char *source, const char *claims)
{
    char           name[64];
    bk_who_t      *w;
    bk_identity_t  id;

    snprintf(name, sizeof(name), "%s:x", source);
    memset(&id, 0, sizeof(id));
    id.name = (bk_str_t) { name, strlen(name) };
    id.source = (bk_str_t) { source, strlen(source) };
    id.claims = (bk_str_t) { claims, strlen(claims) };
    w = bk_who_new(&id, &err);

    if (w == NULL) {
        printf("Bail out! %s: %s\n", claims, err.text);
        exit(1);
    }

    return w;
}


/* The name of the rule that decides; "-" before it: it refuses. */

static const char *
decide(const char *source, const char *claims, int verb, const char *pool)
{
    int             rc;
    bk_who_t       *w = who(source, claims);
    static char     text[80];
    bk_decision_t   d;

    memset(&err, 0, sizeof(err));
    rc = bk_access_decide(access_rules, w, verb,
                          (bk_str_t) { pool, strlen(pool) }, &d, &err);
    snprintf(text, sizeof(text), "%s%.*s", rc == 0 ? "" : "-",
             (int) d.rule.len, d.rule.len ? d.rule.data : "");
    bk_who_unref(&w);

    return text;
}


static void
is(const char *want, const char *source, const char *claims, int verb,
    const char *pool, const char *what)
{
    const char  *got = decide(source, claims, verb, pool);

    ok(strcmp(got, want) == 0, "%s: \"%s\"", what, got);
}


static int
any(const char *source, const char *claims, int verb)
{
    int        rc;
    bk_who_t  *w = who(source, claims);

    rc = bk_access_any(access_rules, w, verb, &err) == 0;
    bk_who_unref(&w);

    return rc;
}


static void
note_dead(const char *rule, const char *what, void *data)
{
    size_t  len = strlen(dead);

    (void) data;

    if (strncmp(what, "can never match", 15) == 0) {
        snprintf(dead + len, sizeof(dead) - len, "%s(%s) ", rule, what);
    }
}


#define A  BK_VERB_ALLOCATE
#define P  "default/demo"


static void
test_match(void)
{
    ok(load("rules:\n"
            "- {name: exact, match: [{claim: a, values: [x, 'y z']}]}\n"
            "- {name: pattern, match: [{claim: b, pattern: 'r/(m|n/.*)'}]}\n"
            "- {name: both, match: [{claim: c, values: [x]},"
            " {claim: d, values: [y]}]}\n"
            "- {name: pointer, match: [{claim: /k/a~1b/1, values: [v]}]}\n"
            "- {name: dots, match: [{claim: k.n, values: [v]}]}\n"
            "- {name: number, match: [{claim: i, values: ['12', 'true']}]}\n")
       == 0, "rules: %s", err.text);

    is("exact", "s", "{\"a\":\"x\"}", A, P, "a value");
    is("exact", "s", "{\"a\":\"y z\"}", A, P, "another");
    is("-", "s", "{\"a\":\"X\"}", A, P, "case counts");
    is("-", "s", "{\"a\":\"xx\"}", A, P, "the whole of it");
    is("-", "s", "{\"a\":\"\"}", A, P, "empty");
    is("-", "s", "{}", A, P, "absent");
    is("-", "s", "{\"a\":null}", A, P, "null");
    is("-", "s", "{\"a\":{\"x\":\"x\"}}", A, P, "an object");
    is("exact", "s", "{\"a\":[\"q\",\"x\"]}", A, P, "one of a list");
    is("-", "s", "{\"a\":[\"q\"]}", A, P, "none of a list");
    is("-", "s", "{\"a\":[[\"x\"]]}", A, P, "no list in a list");
    is("-", "s", "{\"a\":[]}", A, P, "an empty list");

    is("pattern", "s", "{\"b\":\"r/m\"}", A, P, "a pattern");
    is("pattern", "s", "{\"b\":\"r/n/q\"}", A, P, "its other half");
    is("-", "s", "{\"b\":\"r/mx\"}", A, P, "anchored at the end");
    is("-", "s", "{\"b\":\"xr/m\"}", A, P, "and at the beginning");
    is("-", "s", "{\"b\":\"r/m\\n\"}", A, P, "a newline is no end");
    is("pattern", "s", "{\"b\":\"r/n/\\u00e4\"}", A, P, "UTF-8");
    is("-", "s", "{\"b\":7}", A, P, "a number");

    is("both", "s", "{\"c\":\"x\",\"d\":\"y\"}", A, P, "all must hold");
    is("-", "s", "{\"c\":\"x\"}", A, P, "not one of two");
    is("pointer", "s", "{\"k\":{\"a/b\":[\"u\",\"v\"]}}", A, P, "a pointer");
    is("-", "s", "{\"k\":{\"a/b\":[\"v\"]}}", A, P, "past the end");
    is("-", "s", "{\"k\":\"v\"}", A, P, "into a string");
    is("dots", "s", "{\"k.n\":\"v\"}", A, P, "a name with dots");
    is("-", "s", "{\"k\":{\"n\":\"v\"}}", A, P, "is no path");
    is("number", "s", "{\"i\":12}", A, P, "a number as JSON writes it");
    is("-", "s", "{\"i\":12.0}", A, P, "but no other");
    is("number", "s", "{\"i\":true}", A, P, "a boolean");
    is("number", "s", "{\"i\":\"12\"}", A, P, "or the string");
}


static void
test_order(void)
{
    bk_who_t       *w;
    bk_decision_t   d;

    ok(load("rules:\n"
            "- {name: no-forks, sources: [gh],"
            " match: [{claim: f, values: [y]}], deny: true, pools: ['prod/*']}\n"
            "- {name: first, sources: [gh], pools: ['ci/*', one/x],"
            " maxTtl: 2h, concurrency: 20, priority: -7, untrusted: true}\n"
            "- {name: second, verbs: [allocate, drain]}\n"
            "pools:\n"
            "- {name: ci/own, rules: [{name: mine, sources: [gl]}]}\n") == 0,
       "rules: %s", err.text);

    is("first", "gh", "{}", A, "ci/a", "the first that matches");
    is("first", "gh", "{}", A, "one/x", "an exact pool");
    is("second", "gh", "{}", A, "one/xy", "is exact");
    is("second", "gh", "{}", A, "c", "a beginning is one");
    is("first", "gh", "{}", BK_VERB_WAKE, "ci/a", "verbs by default: wake");
    is("-", "gh", "{}", BK_VERB_LIST, "ci/a", "and not list");
    is("second", "other", "{}", BK_VERB_DRAIN, "ci/a", "others by verb");
    is("mine", "gl", "{}", A, "ci/own", "a pool's own rules come first");
    is("second", "gl", "{}", A, "ci/other", "and are its own");
    is("first", "gh", "{}", A, "ci/own", "then the general ones");
    is("-no-forks", "gh", "{\"f\":\"y\"}", A, "prod/a", "a refusal");
    ok(strstr(err.text, "rule no-forks refuses it") != NULL, "says which: %s",
       err.text);
    is("first", "gh", "{\"f\":\"y\"}", A, "ci/a", "only in its pools");
    is("second", "gh", "{}", A, "", "no pool: a rule for all");
    is("-", "gh", "{}", BK_VERB_WAKE, "", "one for some is none");

    w = who("gh", "{}");
    ok(bk_access_decide(access_rules, w, A, BK_STR("ci/a"), &d, NULL) == 0
       && d.max_ttl_ms == 7200000 && d.concurrency == 20 && d.priority == -7
       && d.untrusted == 1, "what comes with it");

    /* who is no peer is no operator, whatever he calls himself */
    w->operator = 1;
    ok(bk_access_decide(access_rules, w, BK_VERB_ADMIN, BK_STR("x/y"), &d,
                        NULL) == 0 && strcmp(d.rule.data, "operators") == 0,
       "operators may do everything");
    bk_who_unref(&w);
    is("-", "unixx", "{\"uid\":0}", BK_VERB_ADMIN, P, "claims make none");

    ok(any("gh", "{}", A), "any: allocate");
    ok(any("gh", "{}", BK_VERB_DRAIN), "any: drain");
    ok(!any("gh", "{}", BK_VERB_CERTS), "any: not certs");
    ok(any("gh", "{}", BK_VERB_LIST), "any: list, of one's own");
    ok(any("gl", "{}", BK_VERB_WAKE), "any: by a pool's rule");
    ok(!any("xx", "{}", BK_VERB_WAKE), "any: not by that of others");
}


static void
test_strangers(void)
{
    ok(load("rules:\n"
            "- {name: out, match: [{claim: f, values: [y]}], deny: true}\n"
            "- {name: in, match: [{claim: r, pattern: 'octo/.*'}]}\n"
            "- {name: look, sources: [ops], verbs: [list]}\n") == 0,
       "rules: %s", err.text);

    ok(!any("s", "{\"r\":\"evil/x\"}", BK_VERB_LIST),
       "whom no rule knows may not even look");
    ok(strstr(err.text, "s:x may not list: no rule allows it; claims seen: "
              "r=\"evil/x\"") != NULL, "which says: %s", err.text);
    ok(!any("s", "{\"r\":\"octo/x\",\"f\":\"y\"}", A), "nor who is refused");
    ok(!any("s", "{\"r\":\"octo/x\",\"f\":\"y\"}", BK_VERB_LIST),
       "not even to look");
    ok(any("s", "{\"r\":\"octo/x\"}", BK_VERB_RELEASE), "the others may");
    ok(any("ops", "{}", BK_VERB_REVOKE), "one who may only list, too");

    is("-", "s", "{\"r\":\"evil\\u001b[31m\\u009b\\u00e4\"}", A, P,
       "strange claims");
    ok(strstr(err.text, "r=\"evil\\u001B[31m\\u009B\\u00E4\"") != NULL,
       "are shown in ASCII: %s", err.text);
}


static void
test_limits(void)
{
    char    *claims;
    size_t   i, len;

    claims = malloc(60000);
    if (claims == NULL) {
        abort();
    }

    ok(load("rules:\n"
            "- {name: slow, match: [{claim: a, pattern: '(x+x+)+[yz]'}]}\n"
            "- {name: all}\n") == 0, "rules: %s", err.text);

    is("slow", "s", "{\"a\":\"xxxy\"}", A, P, "a clumsy pattern");
    is("all", "s", "{\"a\":\"z\"}", A, P, "or the next");

    memset(claims, 'x', 200);
    memcpy(claims, "{\"a\":\"", 6);
    strcpy(claims + 200, "\"}");
    is("-slow", "s", claims, A, P, "one that takes too long is a refusal");
    ok(strstr(err.text, "a claim is too much for rule slow to match") != NULL,
       "which says so: %s", err.text);
    ok(!any("s", claims, A), "everywhere");

    memset(claims, 'q', 5000);
    memcpy(claims, "{\"a\":\"", 6);
    strcpy(claims + 5000, "\"}");
    is("-slow", "s", claims, A, P, "so is a value that is too long");

    len = (size_t) sprintf(claims, "{\"a\":[");
    for (i = 0; i < 300; i++) {
        len += (size_t) sprintf(claims + len, "\"q\",");
    }
    strcpy(claims + len - 1, "]}");
    is("-slow", "s", claims, A, P, "so is a list that is too long");

    ok(load("rules:\n"
            "- {name: deep, match: [{claim: a,"
            " pattern: '((a|b)*[cd])*[ef]'}]}\n")
       == 0, "rules: %s", err.text);
    memset(claims, 'a', 4000);
    memcpy(claims, "{\"a\":\"", 6);
    strcpy(claims + 4000, "\"}");
    is("-deep", "s", claims, A, P, "nesting is bounded");

    free(claims);
}


static void
wrong(const char *yaml, const char *want)
{
    int  rc = load(yaml);

    ok(rc == -1 && strstr(err.text, want) != NULL, "wrong: %s", err.text);
}


static void
test_wrong(void)
{
    wrong("rules:\n- {name: a}\n- {name: a}\n",
          "there is a rule \"a\" already");
    wrong("rules:\n- {name: 'a b'}\n", "must be of letters");
    wrong("rules:\n- {name: operators}\n", "is the name of a built-in rule");
    wrong("rules:\n- {name: a, verbs: [build]}\n", "must be one of: allocate");
    wrong("rules:\n- {name: a, pools: ['*x']}\n", "a '*' at the end");
    wrong("rules:\n- {name: a, pools: [demo]}\n", "namespace/name");
    wrong("rules:\n- {name: a, match: [{claim: x}]}\n", "either values or");
    wrong("rules:\n- {name: a, match: [{claim: x, values: [a], pattern: b}]}\n",
          "either values or");
    wrong("rules:\n- {name: a}\n- {name: b, match: [{claim: x, pattern: 'a('}]}"
          "\n", "t.yaml:");
    wrong("rules:\n- {name: a, match: [{claim: x, pattern: 'a('}]}\n",
          "no regular expression (PCRE2): missing closing parenthesis, at "
          "character 3");
    wrong("rules:\n- {name: a, match: [{claim: x, pattern: '\\C'}]}\n",
          "no regular expression");
    wrong("rules:\n- {name: a, maxTtl: soon}\n", "must be a duration");
    wrong("rules:\n- {name: a, priority: 1001}\n", "from -1000 to 1000");
    wrong("rules:\n- {name: a, deny: true, maxTtl: 1h}\n",
          "a rule that refuses");
    wrong("pools:\n- {name: a/*, rules: [{name: x}]}\n",
          "the name of one pool");
    wrong("pools:\n- {name: a/b, rules: [{name: x, pools: [c/d]}]}\n",
          "has no pools of its own");
    wrong("pools:\n- {name: a/b, rules: [{name: x}]}\n"
          "- {name: a/b, rules: [{name: y}]}\n", "is there twice");
    wrong("rules:\n- {name: a, matches: []}\n", "did you mean \"match\"");
}


static void
dies(const char *yaml, const char *want)
{
    dead[0] = '\0';

    if (load(yaml) == 0) {
        bk_access_doubts(access_rules, note_dead, NULL);
    }

    ok(strcmp(dead, want) == 0, "dead: %s%s", dead, err.text);
}


#define BY(rule)  "can never match: rule " rule " comes before it and " \
                  "matches all that it would"

static void
test_dead(void)
{
    dies("rules:\n- {name: a}\n- {name: b, sources: [s]}\n", "b(" BY("a") ") ");
    dies("rules:\n- {name: a, sources: [s]}\n- {name: b}\n", "");
    dies("rules:\n- {name: a, verbs: [list]}\n- {name: b}\n", "");
    dies("rules:\n- {name: a, pools: ['ci/*']}\n- {name: b, pools: [ci/x]}\n",
         "b(" BY("a") ") ");
    dies("rules:\n- {name: a, pools: ['ci/*']}\n- {name: b, pools: ['c*']}\n",
         "");
    dies("rules:\n- {name: a, pools: [ci/x]}\n- {name: b, pools: [ci/y]}\n"
         "- {name: c, pools: [ci/x, ci/y]}\n", "c(" BY("b") ") ");
    dies("rules:\n- {name: a, match: [{claim: x, values: [p, q]}]}\n"
         "- {name: b, match: [{claim: y, values: [r]},"
         " {claim: x, values: [q]}]}\n", "b(" BY("a") ") ");
    dies("rules:\n- {name: a, match: [{claim: x, values: [p]}]}\n"
         "- {name: b, match: [{claim: x, values: [p, q]}]}\n", "");
    dies("rules:\n- {name: a, match: [{claim: x, pattern: 'p.*'}]}\n"
         "- {name: b, match: [{claim: x, values: [pa, pb]}]}\n"
         "- {name: c, match: [{claim: x, pattern: 'p.*'}]}\n"
         "- {name: d, match: [{claim: x, pattern: 'pp.*'}]}\n",
         "b(" BY("a") ") c(" BY("a") ") ");
    dies("rules:\n- {name: a, pools: [ci/x]}\n- {name: b, pools: ['ci/*']}\n"
         "pools:\n- {name: ci/x, rules: [{name: c, verbs: [allocate, wake,"
         " list]}, {name: d}]}\n", "d(" BY("c") ") a(" BY("c") ") ");
    dies("rules:\n- {name: a, deny: true}\n- {name: b}\n", "b(" BY("a") ") ");
}


/* Somebody who stays while the rules change: a peer of the unix socket. */

static void
test_change(void)
{
    bk_who_t       *w;
    bk_decision_t   d;

    ok(load("rules:\n- {name: old, match: [{claim: a, values: [x]}]}\n") == 0,
       "rules: %s", err.text);
    w = who("s", "{\"a\":\"x\"}");
    ok(bk_access_decide(access_rules, w, A, BK_STR(P), &d, NULL) == 0
       && strcmp(d.rule.data, "old") == 0, "the old rules");

    ok(load("rules:\n- {name: new, match: [{claim: a, values: [y]}]}\n") == 0
       && bk_access_decide(access_rules, w, A, BK_STR(P), &d, NULL) == -1,
       "others say something else");
    ok(load("rules:\n- {name: y}\n- {name: z, deny: true}\n") == 0
       && bk_access_decide(access_rules, w, A, BK_STR(P), &d, NULL) == 0
       && strcmp(d.rule.data, "y") == 0, "and again");
    bk_who_unref(&w);
}


static void
test_explain(void)
{
    char      *text;
    json_t    *json;
    bk_who_t  *w;

    ok(load("rules:\n"
            "- {name: gl, sources: [gl]}\n"
            "- {name: main, pools: ['ci/*'], match: [{claim: ref,"
            " pattern: 'refs/heads/main'}]}\n"
            "- {name: late, match: [{claim: ref, values: [v]}]}\n"
            "- {name: last, verbs: [list]}\n") == 0, "rules: %s", err.text);

    w = who("gh", "{\"ref\":\"v\"}");
    json = bk_access_explain(access_rules, w, A, BK_STR("ci/x"), 0);
    text = json_dumps(json, JSON_COMPACT);
    ok(strcmp(text, "{\"allowed\":true,\"rule\":\"late\",\"error\":\"\","
              "\"verb\":\"allocate\",\"pool\":\"ci/x\",\"identity\":\"gh:x\","
              "\"source\":\"gh\",\"claims\":{\"ref\":\"v\"},\"rules\":["
              "{\"rule\":\"gl\",\"matches\":false,\"decides\":false,"
              "\"why\":\"it is not for the source \\\"gh\\\"\"},"
              "{\"rule\":\"main\",\"matches\":false,\"decides\":false,"
              "\"why\":\"claim \\\"ref\\\" is \\\"v\\\", which does not match\""
              "},{\"rule\":\"late\",\"matches\":true,\"decides\":true,"
              "\"why\":\"it matches\"},{\"rule\":\"last\",\"matches\":false,"
              "\"decides\":false,\"why\":\"it is not for the verb allocate\"}"
              "]}") == 0, "explain: %s", text);
    free(text);
    json_decref(json);

    json = bk_access_explain(access_rules, w, A, BK_STR("ci/x"), 1);
    text = json_dumps(json, JSON_COMPACT);
    ok(strstr(text, "wanted: refs/heads/main") != NULL,
       "an operator hears what was wanted");
    free(text);
    json_decref(json);
    bk_who_unref(&w);

    w = who("gh", "{}");
    json = bk_access_explain(access_rules, w, A, BK_STR("de/x"), 0);
    text = json_dumps(json, JSON_COMPACT);
    ok(strstr(text, "\"allowed\":false,\"rule\":\"\",\"error\":\"gh:x may not "
              "allocate in de/x: no rule allows it; claims seen: no claim that "
              "a rule looks at\"") != NULL
       && strstr(text, "it is not for this pool") != NULL
       && strstr(text, "there is no claim \\\"ref\\\"") != NULL,
       "a refusal: %s", text);
    free(text);
    json_decref(json);
    bk_who_unref(&w);
}


int
main(void)
{
    test_match();
    test_order();
    test_strangers();
    test_limits();
    test_wrong();
    test_dead();
    test_change();
    test_explain();
    drop();

    printf("1..%d\n", n);

    return bad ? 1 : 0;
}
