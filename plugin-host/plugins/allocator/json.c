/*
 * JSON of the allocation API, as it comes in: strict about the types of the
 * fields that are known, silent about unknown ones (older and newer callers),
 * and bounded in depth and length before the parser sees it.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocator.h"
#include "bk_duration.h"


#define BK_JSON_BODY_MAX   65536
#define BK_JSON_DEPTH_MAX  8
#define BK_JSON_KEYS_MAX   64


static int bk_json_depth(bk_str_t body);
static const char *bk_json_type(const json_t *value);
static const char *bk_json_trouble(int code);
static int bk_json_value(json_t *root, const char *key, int type,
    json_t **value, bk_err_t *err);
static void bk_json_wipe_string(json_t *root, const char *key);


static int
bk_json_depth(bk_str_t body)
{
    int     depth, max, quoted;
    size_t  i;

    depth = 0;
    max = 0;
    quoted = 0;

    for (i = 0; i < body.len; i++) {
        switch (body.data[i]) {
        case '"':
            quoted = !quoted;
            break;

        case '\\':
            /* outside of a string it is an error anyway */
            i++;
            break;

        case '{':
        case '[':
            if (!quoted && ++depth > max) {
                max = depth;
            }
            break;

        case '}':
        case ']':
            depth -= !quoted;
            break;
        }
    }

    return max;
}


static const char *
bk_json_type(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    default:
        return "null";
    }
}


static const char *
bk_json_trouble(int code)
{
    switch (code) {
    case json_error_duplicate_key:
        return "a key is given twice";
    case json_error_invalid_utf8:
        return "it is not UTF-8";
    case json_error_premature_end_of_input:
        return "it ends too early";
    case json_error_null_character:
        return "it holds a NUL";
    default:
        return "syntax error";
    }
}


json_t *
bk_json_read(bk_str_t body, bk_err_t *err)
{
    json_t        *root;
    json_error_t   e;

    if (body.len > BK_JSON_BODY_MAX) {
        (void) bk_fail(err, 413, "TooLarge", NULL,
                       "the request has more than 64 KiB");
        return NULL;
    }

    if (bk_json_depth(body) > BK_JSON_DEPTH_MAX) {
        (void) bk_fail(err, 400, "BadJson", NULL,
                       "the request is nested deeper than %d levels",
                       BK_JSON_DEPTH_MAX);
        return NULL;
    }

    root = json_loadb(body.len > 0 ? body.data : "", body.len,
                      JSON_REJECT_DUPLICATES, &e);

    if (root == NULL) {
        /*
         * The library quotes what it stumbled over, and that may be a part
         * of a token: only its class is passed on.
         */
        (void) bk_fail(err, 400, "BadJson", "send one JSON object",
                       "the request is not valid JSON (line %d, column %d: "
                       "%s)", e.line, e.column,
                       bk_json_trouble(json_error_code(&e)));
        return NULL;
    }

    if (!json_is_object(root)) {
        (void) bk_fail(err, 400, "BadJson", "send one JSON object",
                       "the request is %s, not an object",
                       bk_json_type(root));
        json_decref(root);
        return NULL;
    }

    return root;
}


static int
bk_json_value(json_t *root, const char *key, int type, json_t **value,
    bk_err_t *err)
{
    *value = json_object_get(root, key);

    if (*value == NULL || json_is_null(*value)) {
        return 0;
    }

    if ((int) json_typeof(*value) != type) {
        return bk_fail(err, 400, "WrongType", NULL, "\"%s\" is %s, not %s",
                       key, bk_json_type(*value),
                       type == JSON_STRING ? "a string" : "an object");
    }

    return 1;
}


int
bk_text_valid(const char *s)
{
    for ( /* void */ ; *s != '\0'; s++) {
        if ((unsigned char) *s < 0x20 || *s == 0x7f) {
            return 0;
        }
    }

    return 1;
}


int
bk_json_string(json_t *root, const char *key, size_t max, char *out,
    bk_err_t *err)
{
    int      rc;
    json_t  *value;

    out[0] = '\0';

    rc = bk_json_value(root, key, JSON_STRING, &value, err);

    if (rc != 1) {
        return rc;
    }

    if (json_string_length(value) > max) {
        return bk_fail(err, 400, "TooLong", NULL,
                       "\"%s\" has %zu bytes, and %zu are allowed", key,
                       json_string_length(value), max);
    }

    if (!bk_text_valid(json_string_value(value))) {
        return bk_fail(err, 400, "BadValue", NULL,
                       "\"%s\" holds control characters", key);
    }

    memcpy(out, json_string_value(value), json_string_length(value) + 1);

    return out[0] == '\0' ? 0 : 1;
}


int
bk_json_duration(json_t *root, const char *key, uint64_t *ms, bk_err_t *err)
{
    int   rc;
    char  text[65];

    rc = bk_json_string(root, key, sizeof(text) - 1, text, err);

    if (rc != 1) {
        return rc;
    }

    if (bk_duration_parse(text, strlen(text), ms) != 0) {
        return bk_fail(err, 400, "BadDuration", "write it like 90s or 1h30m",
                       "\"%s\" is not a duration", key);
    }

    return 1;
}


int
bk_json_text(json_t *root, const char *key, size_t max, char **out,
    bk_err_t *err)
{
    int      rc;
    json_t  *value;

    *out = NULL;

    rc = bk_json_value(root, key, JSON_STRING, &value, err);

    if (rc != 1 || json_string_length(value) == 0) {
        return rc == -1 ? -1 : 0;
    }

    if (json_string_length(value) > max) {
        return bk_fail(err, 400, "TooLong", NULL,
                       "\"%s\" has %zu bytes, and %zu are allowed", key,
                       json_string_length(value), max);
    }

    *out = strdup(json_string_value(value));

    if (*out == NULL) {
        abort();
    }

    return 1;
}


int
bk_json_metadata(json_t *root, const char *key, char **out, bk_err_t *err)
{
    int          rc;
    json_t      *object, *value;
    const char  *name;

    *out = NULL;

    rc = bk_json_value(root, key, JSON_OBJECT, &object, err);

    if (rc != 1) {
        return rc;
    }

    if (json_object_size(object) > BK_JSON_KEYS_MAX) {
        return bk_fail(err, 400, "TooLong", NULL,
                       "\"%s\" has more than %d keys", key,
                       BK_JSON_KEYS_MAX);
    }

    json_object_foreach(object, name, value) {
        if (!json_is_string(value)) {
            return bk_fail(err, 400, "WrongType", NULL,
                           "a value in \"%s\" is %s, not a string", key,
                           bk_json_type(value));
        }
    }

    *out = json_dumps(object, JSON_COMPACT);

    if (*out == NULL) {
        abort();
    }

    if (strlen(*out) > BK_METADATA_MAX) {
        free(*out);
        *out = NULL;
        return bk_fail(err, 400, "TooLong", NULL,
                       "\"%s\" has more than %d bytes", key,
                       BK_METADATA_MAX);
    }

    return 1;
}


static void
bk_json_wipe_string(json_t *root, const char *key)
{
    json_t  *value;

    value = json_object_get(root, key);

    if (json_is_string(value)) {
        /* the only way: the library offers no writable access */
        bk_wipe((char *) (uintptr_t) json_string_value(value),
                json_string_length(value));
    }
}


void
bk_json_wipe(json_t **root)
{
    if (*root != NULL) {
        bk_json_wipe_string(*root, "token");
        json_decref(*root);
        *root = NULL;
    }
}
