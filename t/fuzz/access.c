/*
 * FUZZ_SOURCES: plugin-host/src/access.c plugin-host/src/access_explain.c
 *     plugin-host/src/access_match.c plugin-host/src/access_rule.c
 *     plugin-host/src/conf.c plugin-host/src/conf_access.c
 *     plugin-host/src/conf_ca.c
 *     plugin-host/src/duration.c
 *     plugin-host/src/err.c plugin-host/src/yaml.c
 *     plugin-host/src/yaml_check.c plugin-host/src/yaml_options.c
 * FUZZ_LIBS: -lcyaml -lyaml -ljansson -lpcre2-8
 */

/*
 * Rules and claims: the section access as YAML, a line "---", claims as JSON.
 * Whatever they are, every verb is decided, explained the same way, and no
 * refusal is without its text.
 */

#include <assert.h>
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "access.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_ask(const bk_access_t *a, const bk_who_t *who);
static void fuzz_doubt(const char *rule, const char *why, void *data);


static const cyaml_schema_value_t  fuzz_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, bk_conf_access_t,
                        bk_conf_access_fields)
};


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void            *out;
    bk_err_t         err;
    bk_who_t         who;
    bk_conf_t        conf;
    const char      *text = (const char *) data, *cut;
    bk_access_t     *a;
    bk_conf_file_t   file;

    cut = size < 20000 ? memmem(text, size, "\n---\n", 5) : NULL;

    if (cut == NULL) {
        return 0;
    }

    memset(&conf, 0, sizeof(conf));
    memset(&file, 0, sizeof(file));
    memset(&who, 0, sizeof(who));
    conf.file = &file;

    who.claims = json_loadb(cut + 5, size - (size_t) (cut + 5 - text),
                            JSON_REJECT_DUPLICATES, NULL);
    who.name = (char *) "s:x";
    who.source = (char *) "s";

    if (json_is_object(who.claims)
        && bk_yaml_parse(&conf.yaml, "fuzz", text, (size_t) (cut - text) + 1,
                         &fuzz_schema, &out, &err)
           == 0)
    {
        file.access = out;

        if (bk_access_new(&a, &conf, &err) == 0) {
            fuzz_ask(a, &who);
            bk_access_doubts(a, fuzz_doubt, NULL);
            bk_access_free(&a);

        } else {
            assert(err.text[0] != '\0');
        }

        bk_yaml_free(&conf.yaml, &fuzz_schema, out);
    }

    json_decref(who.claims);
    bk_access_forget(who.memo);

    return 0;
}


static void
fuzz_ask(const bk_access_t *a, const bk_who_t *who)
{
    int             rc, verb;
    json_t         *json;
    size_t          i;
    bk_err_t        err;
    bk_decision_t   d;

    static const char *const  pools[] = { "", "a/b", "default/demo" };

    for (verb = 1; verb < BK_VERBS; verb++) {
        for (i = 0; i < 3; i++) {
            memset(&err, 0, sizeof(err));
            rc = bk_access_decide(a, who, verb,
                                  (bk_str_t) { pools[i], strlen(pools[i]) },
                                  &d, &err);
            assert((rc == 0) == (err.text[0] == '\0'));
            assert(rc == 0 ? d.rule.len > 0 : err.code == 403);

            /* what is allowed in a pool is allowed somewhere; admin takes a
               rule for all pools */
            assert(rc != 0 || i == 0 || verb == BK_VERB_ADMIN
                   || bk_access_any(a, who, verb, &err) == 0);

            json = bk_access_explain(a, who, verb,
                                     (bk_str_t) { pools[i],
                                                  strlen(pools[i]) }, i == 1);
            assert(json != NULL);
            assert(json_is_true(json_object_get(json, "allowed"))
                   == (rc == 0));
            json_decref(json);
        }
    }
}


static void
fuzz_doubt(const char *rule, const char *why, void *data)
{
    (void) data;

    assert(rule[0] != '\0' && why[0] != '\0');
}
