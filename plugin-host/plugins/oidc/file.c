/* oidc.yaml: its schema.  See file.h. */

#include <stdlib.h>
#include <string.h>

#include "file_int.h"
#include "jwt.h"


#define OIDC_FILE_MAX  (1024 * 1024)

#define OIDC_STR  CYAML_FLAG_POINTER
#define OIDC_OPT  (CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL)


static const cyaml_strval_t  oidc_file_algs[] = {
    { "RS256", OIDC_RS256 + 1 },
    { "PS256", OIDC_PS256 + 1 },
    { "ES256", OIDC_ES256 + 1 },
    { "ES384", OIDC_ES384 + 1 }
};

static const cyaml_schema_value_t  oidc_alg_value = {
    CYAML_VALUE_ENUM(CYAML_FLAG_STRICT, int, oidc_file_algs,
                     CYAML_ARRAY_LEN(oidc_file_algs))
};

static const cyaml_schema_value_t  oidc_string_value = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 1, 1024)
};

static const cyaml_schema_field_t  oidc_map_fields[] = {
    CYAML_FIELD_STRING_PTR("user", OIDC_OPT, oidc_map_t, user, 1, 255),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t  oidc_issuer_fields[] = {
    CYAML_FIELD_STRING_PTR("name", OIDC_STR, oidc_issuer_conf_t, name, 1,
                           63),
    CYAML_FIELD_STRING_PTR("issuer", OIDC_STR, oidc_issuer_conf_t, url, 1,
                           1024),
    CYAML_FIELD_SEQUENCE("audience", OIDC_STR, oidc_issuer_conf_t, audience,
                         &oidc_string_value, 1, 32),
    CYAML_FIELD_STRING_PTR("caFile", OIDC_OPT, oidc_issuer_conf_t, ca_file,
                           1, 4000),
    CYAML_FIELD_SEQUENCE("algorithms", OIDC_OPT, oidc_issuer_conf_t,
                         algorithms, &oidc_alg_value, 1, OIDC_ALGS),
    CYAML_FIELD_MAPPING_PTR("claims", OIDC_OPT, oidc_issuer_conf_t, claims,
                            oidc_map_fields),
    CYAML_FIELD_STRING_PTR("leeway", OIDC_OPT, oidc_issuer_conf_t, leeway, 1,
                           40),
    CYAML_FIELD_STRING_PTR("jwksRefresh", OIDC_OPT, oidc_issuer_conf_t,
                           refresh, 1, 40),
    CYAML_FIELD_STRING_PTR("staleFor", OIDC_OPT, oidc_issuer_conf_t, stale,
                           1, 40),
    CYAML_FIELD_END
};

static const cyaml_schema_value_t  oidc_issuer_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, oidc_issuer_conf_t,
                        oidc_issuer_fields)
};

static const cyaml_schema_field_t  oidc_claim_fields[] = {
    CYAML_FIELD_STRING_PTR("name", OIDC_STR, oidc_claim_conf_t, name, 1,
                           255),
    CYAML_FIELD_STRING_PTR("value", OIDC_OPT, oidc_claim_conf_t, value, 0,
                           1024),
    CYAML_FIELD_SEQUENCE("values", OIDC_OPT, oidc_claim_conf_t, values,
                         &oidc_string_value, 0, 64),
    CYAML_FIELD_END
};

static const cyaml_schema_value_t  oidc_claim_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, oidc_claim_conf_t,
                        oidc_claim_fields)
};

static const cyaml_schema_field_t  oidc_static_fields[] = {
    CYAML_FIELD_STRING_PTR("name", OIDC_STR, oidc_static_t, name, 1, 63),
    CYAML_FIELD_STRING_PTR("sha256", OIDC_STR, oidc_static_t, sha256, 64,
                           64),
    CYAML_FIELD_STRING_PTR("expires", OIDC_OPT, oidc_static_t, expires, 1,
                           40),
    CYAML_FIELD_SEQUENCE("claims", OIDC_OPT, oidc_static_t, claims,
                         &oidc_claim_value, 0, 64),
    CYAML_FIELD_END
};

static const cyaml_schema_value_t  oidc_static_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, oidc_static_t,
                        oidc_static_fields)
};

static const cyaml_schema_field_t  oidc_review_fields[] = {
    CYAML_FIELD_STRING_PTR("name", OIDC_STR, oidc_review_conf_t, name, 1,
                           63),
    CYAML_FIELD_STRING_PTR("server", OIDC_STR, oidc_review_conf_t, server, 1,
                           1024),
    CYAML_FIELD_STRING_PTR("caFile", OIDC_OPT, oidc_review_conf_t, ca_file,
                           1, 4000),
    CYAML_FIELD_STRING_PTR("tokenFile", OIDC_STR, oidc_review_conf_t,
                           token_file, 1, 4000),
    CYAML_FIELD_STRING_PTR("issuer", OIDC_OPT, oidc_review_conf_t, issuer, 1,
                           1024),
    CYAML_FIELD_SEQUENCE("audiences", OIDC_OPT, oidc_review_conf_t,
                         audiences, &oidc_string_value, 0, 32),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t  oidc_fields[] = {
    CYAML_FIELD_SEQUENCE("issuers", OIDC_OPT, oidc_doc_t, issuers,
                         &oidc_issuer_value, 0, OIDC_ISSUERS_MAX),
    CYAML_FIELD_SEQUENCE("tokens", OIDC_OPT, oidc_doc_t, tokens,
                         &oidc_static_value, 0, OIDC_STATICS_MAX),
    CYAML_FIELD_MAPPING_PTR("tokenReview", OIDC_OPT, oidc_doc_t, review,
                            oidc_review_fields),
    CYAML_FIELD_END
};

static const cyaml_schema_value_t  oidc_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, oidc_doc_t, oidc_fields)
};


int
oidc_file_read(oidc_file_t *out, const char *path, int insecure,
    bk_err_t *err)
{
    void         *doc;
    oidc_file_t   f;

    memset(&f, 0, sizeof(f));
    f.insecure = insecure;

    if (bk_yaml_read(&f.yaml, path, OIDC_FILE_MAX, &oidc_schema, &doc, err)
        != 0)
    {
        return -1;
    }

    f.doc = doc;

    if (oidc_file_check(&f, err) != 0) {
        oidc_file_free(&f);
        return -1;
    }

    *out = f;

    return 0;
}


int
oidc_file_parse(oidc_file_t *out, const char *path, const char *text,
    size_t len, int insecure, bk_err_t *err)
{
    void         *doc;
    oidc_file_t   f;

    memset(&f, 0, sizeof(f));
    f.insecure = insecure;

    if (bk_yaml_parse(&f.yaml, path, text, len, &oidc_schema, &doc, err)
        != 0)
    {
        return -1;
    }

    f.doc = doc;

    if (oidc_file_check(&f, err) != 0) {
        oidc_file_free(&f);
        return -1;
    }

    *out = f;

    return 0;
}


void
oidc_file_free(oidc_file_t *f)
{
    unsigned  i;

    for (i = 0; f->doc != NULL && i < f->doc->tokens_count; i++) {
        free(f->doc->tokens[i].text);
    }

    if (f->yaml != NULL) {
        bk_yaml_free(&f->yaml, &oidc_schema, f->doc);
    }

    memset(f, 0, sizeof(oidc_file_t));
}
