/*
 * The schema of the configuration's section access, for conf.c.  What libcyaml
 * cannot say (names, patterns, what fits together) is checked where rules are
 * made of it, in access_rule.c.
 */

#include "conf.h"


#define BK_OPT  (CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL)


static const cyaml_schema_value_t  bk_conf_access_string = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 1, 400)
};

static const cyaml_schema_field_t  bk_conf_match_fields[] = {
    CYAML_FIELD_STRING_PTR("claim", CYAML_FLAG_POINTER, bk_conf_match_t,
                           claim, 1, 200),
    CYAML_FIELD_SEQUENCE("values", BK_OPT, bk_conf_match_t, values,
                         &bk_conf_access_string, 1, 1000),
    CYAML_FIELD_STRING_PTR("pattern", BK_OPT, bk_conf_match_t, pattern, 1,
                           1000),
    CYAML_FIELD_END
};

static const cyaml_schema_value_t  bk_conf_match = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, bk_conf_match_t,
                        bk_conf_match_fields)
};

static const cyaml_schema_field_t  bk_conf_rule_fields[] = {
    CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER, bk_conf_rule_t, name,
                           1, 63),
    CYAML_FIELD_SEQUENCE("sources", BK_OPT, bk_conf_rule_t, sources,
                         &bk_conf_access_string, 0, 32),
    CYAML_FIELD_SEQUENCE("match", BK_OPT, bk_conf_rule_t, match,
                         &bk_conf_match, 0, 16),
    CYAML_FIELD_SEQUENCE("pools", BK_OPT, bk_conf_rule_t, pools,
                         &bk_conf_access_string, 1, 256),
    CYAML_FIELD_SEQUENCE("verbs", BK_OPT, bk_conf_rule_t, verbs,
                         &bk_conf_access_string, 1, 16),
    CYAML_FIELD_STRING_PTR("maxTtl", BK_OPT, bk_conf_rule_t, max_ttl, 1, 32),
    CYAML_FIELD_UINT("concurrency", CYAML_FLAG_OPTIONAL, bk_conf_rule_t,
                     concurrency),
    CYAML_FIELD_INT("priority", CYAML_FLAG_OPTIONAL, bk_conf_rule_t,
                    priority),
    CYAML_FIELD_BOOL("untrusted", CYAML_FLAG_OPTIONAL, bk_conf_rule_t,
                     untrusted),
    CYAML_FIELD_BOOL("deny", CYAML_FLAG_OPTIONAL, bk_conf_rule_t, deny),
    CYAML_FIELD_END
};

static const cyaml_schema_value_t  bk_conf_rule = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, bk_conf_rule_t,
                        bk_conf_rule_fields)
};

static const cyaml_schema_field_t  bk_conf_access_pool_fields[] = {
    CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER, bk_conf_access_pool_t,
                           name, 1, 200),
    CYAML_FIELD_SEQUENCE("rules", CYAML_FLAG_POINTER, bk_conf_access_pool_t,
                         rules, &bk_conf_rule, 1, 100),
    CYAML_FIELD_END
};

static const cyaml_schema_value_t  bk_conf_access_pool = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, bk_conf_access_pool_t,
                        bk_conf_access_pool_fields)
};

const cyaml_schema_field_t  bk_conf_access_fields[] = {
    CYAML_FIELD_SEQUENCE("rules", BK_OPT, bk_conf_access_t, rules,
                         &bk_conf_rule, 0, 500),
    CYAML_FIELD_SEQUENCE("pools", BK_OPT, bk_conf_access_t, pools,
                         &bk_conf_access_pool, 0, 256),
    CYAML_FIELD_END
};
