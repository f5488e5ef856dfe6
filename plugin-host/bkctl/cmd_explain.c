/*
 * bkctl explain: who the API takes the caller for, and which of its rules
 * decides what that one may do in a pool.
 */

#include <stdlib.h>
#include <string.h>

#include "bkctl.h"


static void bk_explain_print(const json_t *json, const char *pool,
    const char *verb);
static void bk_explain_claims(const json_t *claims);
static void bk_explain_rules(const json_t *rules);


int
bk_cmd_explain(const bk_args_t *args)
{
    int          rc;
    char         pool[700], *path, *value, *about;
    json_t      *json;
    const char  *verb;

    verb = args->about ? args->about : "allocate";
    value = bk_api_escape(bk_alloc_pool(args, pool, sizeof(pool)));
    about = bk_api_escape(verb);

    if (asprintf(&path, "/api/v1/explain?pool=%s&verb=%s", value, about) < 0) {
        abort();
    }

    rc = bk_list_get(args, path, &json);
    free(value);
    free(about);
    free(path);

    if (rc != BK_EXIT_OK) {
        return rc;
    }

    if (!json_is_boolean(json_object_get(json, "allowed"))) {
        bk_out_error("the API at %s did not say whether it is allowed",
                     args->endpoint);
        bk_out_hint("is BKCTL_ENDPOINT the gateway's API?");
        json_decref(json);
        return BK_EXIT_FAILED;
    }

    if (args->json) {
        rc = bk_out_json(json);

    } else {
        bk_explain_print(json, pool, verb);
        rc = bk_out_flush();
    }

    if (rc == BK_EXIT_OK
        && !json_is_true(json_object_get(json, "allowed")))
    {
        rc = BK_EXIT_DENIED;
    }

    json_decref(json);

    return rc;
}


static void
bk_explain_print(const json_t *json, const char *pool, const char *verb)
{
    printf("identity  %s\n", bk_out_text(json, "identity"));
    bk_explain_claims(json_object_get(json, "claims"));
    bk_explain_rules(json_object_get(json, "rules"));

    if (!json_is_true(json_object_get(json, "allowed"))) {
        printf("\nmay not %s in %s: ", verb, pool);

        if (*bk_out_string(json, "error")) {
            printf("%s\n", bk_out_text(json, "error"));

        } else if (*bk_out_string(json, "rule")) {
            printf("rule %s refuses it\n", bk_out_text(json, "rule"));

        } else {
            printf("no rule allows it\n");
        }

        return;
    }

    printf("\nmay %s in %s", verb, pool);

    if (*bk_out_string(json, "rule")) {
        printf(", by rule %s", bk_out_text(json, "rule"));
    }

    if (*bk_out_string(json, "maxTtl")) {
        printf(", for %s at most", bk_out_text(json, "maxTtl"));
    }

    if (bk_out_number(json, "concurrency") > 0) {
        printf(", %lld at once", bk_out_number(json, "concurrency"));
    }

    if (bk_out_number(json, "priority") != 0) {
        printf(", priority %lld", bk_out_number(json, "priority"));
    }

    if (json_is_true(json_object_get(json, "untrusted"))) {
        printf(", untrusted");
    }

    putchar('\n');
}


/* What is no string is shown as the JSON that it is. */

static void
bk_explain_claims(const json_t *claims)
{
    char        *text;
    json_t      *value;
    bk_rows_t   *rows;
    const char  *key;

    rows = bk_rows_new(2);

    json_object_foreach((json_t *) claims, key, value) {
        text = json_is_string(value)
               ? strdup(json_string_value(value))
               : json_dumps(value, JSON_ENCODE_ANY|JSON_COMPACT);

        if (text == NULL) {
            abort();
        }

        bk_rows_add(rows, (const char *[]) { key, text });
        free(text);
    }

    printf("claims%s\n", json_object_size(claims) ? "" : "    none");
    bk_rows_print(rows);
    bk_rows_free(&rows);
    putchar('\n');
}


static void
bk_explain_rules(const json_t *list)
{
    size_t       i;
    json_t      *rule;
    bk_rows_t   *rows;
    const char  *header[] = { "RULE", "MATCHES", "WHY" };

    if (json_array_size(list) == 0) {
        printf("there are no rules\n");
        return;
    }

    rows = bk_rows_new(3);
    bk_rows_add(rows, header);

    json_array_foreach(list, i, rule) {
        bk_rows_add(rows, (const char *[]) {
            bk_out_string(rule, "rule"),
            json_is_true(json_object_get(rule, "decides"))
            ? "decides" : json_is_true(json_object_get(rule, "matches"))
            ? "yes" : "no",
            bk_out_string(rule, "why") });
    }

    bk_rows_print(rows);
    bk_rows_free(&rows);
}
