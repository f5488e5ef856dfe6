/*
 * The walk of a YAML document along a libcyaml schema.  See bk_yaml.h.  A
 * message never holds a string's value: it may be a token.  A key's name is
 * shown, cut to 40 bytes.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "yaml_int.h"


#define BK_YAML_PATH  512


typedef struct {
    bk_yaml_t  *y;
    bk_err_t   *err;
    size_t      len;            /* of path */
    char        path[BK_YAML_PATH];
} bk_yaml_walk_t;


static int bk_yaml_value(bk_yaml_walk_t *k, const yaml_node_t *key,
    int index, const cyaml_schema_value_t *schema);
static int bk_yaml_mapping(bk_yaml_walk_t *k, const yaml_node_t *node,
    const cyaml_schema_value_t *schema);
static int bk_yaml_unknown(bk_yaml_walk_t *k, const yaml_node_t *key,
    const cyaml_schema_field_t *fields);
static int bk_yaml_sequence(bk_yaml_walk_t *k, const yaml_node_t *node,
    const cyaml_schema_value_t *schema);
static int bk_yaml_scalar(bk_yaml_walk_t *k, const yaml_node_t *node,
    const cyaml_schema_value_t *schema);
static int bk_yaml_number(bk_yaml_walk_t *k, const yaml_node_t *node,
    const cyaml_schema_value_t *schema);
static int bk_yaml_fail(bk_yaml_walk_t *k, const yaml_node_t *at,
    const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static const char *bk_yaml_text(const yaml_node_t *node);
static unsigned bk_yaml_distance(const char *a, const char *b);


int
bk_yaml_check(bk_yaml_t *y, const cyaml_schema_value_t *schema, bk_err_t *err)
{
    yaml_node_t     *root = yaml_document_get_root_node(&y->doc);
    bk_yaml_walk_t   k;

    k.y = y;
    k.err = err;
    k.len = 0;
    k.path[0] = '\0';

    return bk_yaml_value(&k, root, (int) (root - y->doc.nodes.start) + 1,
                         schema);
}


/* key: where the value is said to be (its key in a mapping, or itself). */

static int
bk_yaml_value(bk_yaml_walk_t *k, const yaml_node_t *key, int index,
    const cyaml_schema_value_t *schema)
{
    const yaml_node_t  *node = yaml_document_get_node(&k->y->doc, index);

    if (k->y->seen[index - 1]++ != 0) {
        return bk_yaml_fail(k, key, "aliases are not allowed here");
    }

    switch (schema->type) {

    case CYAML_IGNORE:
        return 0;

    case CYAML_MAPPING:
        if (node->type != YAML_MAPPING_NODE) {
            return bk_yaml_fail(k, key, "must be a mapping (key: value)");
        }

        return bk_yaml_mapping(k, node, schema);

    case CYAML_SEQUENCE:
        if (node->type != YAML_SEQUENCE_NODE) {
            return bk_yaml_fail(k, key, "must be a list");
        }

        return bk_yaml_sequence(k, node, schema);

    default:
        if (node->type != YAML_SCALAR_NODE) {
            return bk_yaml_fail(k, key, "must be a single value");
        }

        return bk_yaml_scalar(k, node, schema);
    }
}


static int
bk_yaml_mapping(bk_yaml_walk_t *k, const yaml_node_t *node,
    const cyaml_schema_value_t *schema)
{
    int                          n;
    size_t                       len = k->len, i;
    uint64_t                     seen = 0;
    const yaml_node_t           *key;
    const yaml_node_pair_t      *pair;
    const cyaml_schema_field_t  *fields = schema->mapping.fields;

    for (pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++)
    {
        key = yaml_document_get_node(&k->y->doc, pair->key);

        if (key->type != YAML_SCALAR_NODE) {
            return bk_yaml_fail(k, key, "a key must be a single word");
        }

        for (i = 0; fields[i].key != NULL; i++) {
            if (strcmp(fields[i].key, bk_yaml_text(key)) == 0) {
                break;
            }
        }

        if (fields[i].key == NULL) {
            return bk_yaml_unknown(k, key, fields);
        }

        n = snprintf(k->path + len, sizeof(k->path) - len, "%s%s",
                     len ? "." : "", fields[i].key);
        if (n < 0 || (size_t) n >= sizeof(k->path) - len) {
            k->path[len] = '\0';
            return bk_yaml_fail(k, key, "is nested too deeply");
        }

        k->len = len + (size_t) n;

        if (seen & (1ull << i)) {
            return bk_yaml_fail(k, key, "is given twice");
        }

        seen |= 1ull << i;

        if (bk_yaml_value(k, key, pair->value, &fields[i].value) != 0) {
            return -1;
        }

        k->len = len;
        k->path[len] = '\0';
    }

    for (i = 0; fields[i].key != NULL; i++) {
        if (!(seen & (1ull << i))
            && !(fields[i].value.flags & CYAML_FLAG_OPTIONAL))
        {
            return bk_yaml_fail(k, node, "the key \"%s\" is missing",
                                fields[i].key);
        }
    }

    return 0;
}


static int
bk_yaml_unknown(bk_yaml_walk_t *k, const yaml_node_t *key,
    const cyaml_schema_field_t *fields)
{
    char    known[200], suggestion[64];
    size_t  i, used = 0;

    known[0] = '\0';

    for (i = 0; fields[i].key != NULL && used < sizeof(known); i++) {
        used += (size_t) snprintf(known + used, sizeof(known) - used, "%s%s",
                                  i ? ", " : "", fields[i].key);
    }

    bk_yaml_suggest(bk_yaml_text(key), &fields[0].key,
                    sizeof(cyaml_schema_field_t), suggestion,
                    sizeof(suggestion));

    bk_yaml_fail(k, key, "unknown key \"%.40s\"%s", bk_yaml_text(key),
                 suggestion);
    bk_err_hint(k->err, "known here: %s", known);

    return -1;
}


static int
bk_yaml_sequence(bk_yaml_walk_t *k, const yaml_node_t *node,
    const cyaml_schema_value_t *schema)
{
    int                       n;
    size_t                    i, count, len = k->len;
    const yaml_node_t        *item;
    const yaml_node_item_t   *start = node->data.sequence.items.start;

    count = (size_t) (node->data.sequence.items.top - start);

    if (count < schema->sequence.min) {
        return bk_yaml_fail(k, node, "must have at least %u entries",
                            (unsigned) schema->sequence.min);
    }

    if (count > schema->sequence.max) {
        return bk_yaml_fail(k, node, "has more than %u entries",
                            (unsigned) schema->sequence.max);
    }

    for (i = 0; i < count; i++) {
        item = yaml_document_get_node(&k->y->doc, start[i]);

        n = snprintf(k->path + len, sizeof(k->path) - len, "[%zu]", i);
        if (n < 0 || (size_t) n >= sizeof(k->path) - len) {
            k->path[len] = '\0';
            return bk_yaml_fail(k, item, "is nested too deeply");
        }

        k->len = len + (size_t) n;

        if (bk_yaml_value(k, item, start[i], schema->sequence.entry) != 0) {
            return -1;
        }

        k->len = len;
        k->path[len] = '\0';
    }

    return 0;
}


static int
bk_yaml_scalar(bk_yaml_walk_t *k, const yaml_node_t *node,
    const cyaml_schema_value_t *schema)
{
    size_t       i, len = node->data.scalar.length, used = 0;
    char         known[160];
    const char  *text = bk_yaml_text(node);

    for (i = 0; i < len; i++) {
        if ((unsigned char) text[i] < 0x20 || text[i] == 0x7f) {
            return bk_yaml_fail(k, node, "has a control character");
        }
    }

    switch (schema->type) {

    case CYAML_STRING:
        if (len < schema->string.min || len > schema->string.max) {
            return bk_yaml_fail(k, node, "must have %u to %u characters, not "
                                "%zu", (unsigned) schema->string.min,
                                (unsigned) schema->string.max, len);
        }

        return 0;

    case CYAML_BOOL:
        if (bk_yaml_bool(text) == -1) {
            return bk_yaml_fail(k, node, "must be true or false");
        }

        return 0;

    case CYAML_ENUM:
        known[0] = '\0';

        for (i = 0; i < schema->enumeration.count; i++) {
            if (strcmp(schema->enumeration.strings[i].str, text) == 0) {
                return 0;
            }

            if (used < sizeof(known)) {
                used += (size_t) snprintf(known + used, sizeof(known) - used,
                                          "%s%s", i ? ", " : "",
                                         schema->enumeration.strings[i].str);
            }
        }

        return bk_yaml_fail(k, node, "must be one of: %s", known);

    case CYAML_INT:
    case CYAML_UINT:
        return bk_yaml_number(k, node, schema);

    default:
        return bk_yaml_fail(k, node, "cannot be given in a file");
    }
}


static int
bk_yaml_number(bk_yaml_walk_t *k, const yaml_node_t *node,
    const cyaml_schema_value_t *schema)
{
    char                *end;
    const char          *text = bk_yaml_text(node), *digits = text;
    unsigned long long   n, max;

    if (schema->type == CYAML_INT && *digits == '-') {
        digits++;
    }

    /* no leading zero: libcyaml would read an octal number */
    if (*digits < '0' || *digits > '9' || (*digits == '0' && digits[1])) {
        return bk_yaml_fail(k, node, "must be a whole number");
    }

    max = schema->data_size >= 8 ? ~0ull
                                 : (1ull << (schema->data_size * 8)) - 1;
    if (schema->type == CYAML_INT) {
        max >>= 1;
    }

    errno = 0;
    n = strtoull(digits, &end, 10);

    if (*end != '\0') {
        return bk_yaml_fail(k, node, "must be a whole number");
    }

    if (errno != 0 || n > max) {
        return bk_yaml_fail(k, node, "must not be more than %llu", max);
    }

    return 0;
}


int
bk_yaml_bool(const char *s)
{
    /* not "on" and "off": libcyaml takes both for true */
    if (strcmp(s, "true") == 0 || strcmp(s, "yes") == 0) {
        return 1;
    }

    if (strcmp(s, "false") == 0 || strcmp(s, "no") == 0) {
        return 0;
    }

    return -1;
}


static int
bk_yaml_fail(bk_yaml_walk_t *k, const yaml_node_t *at, const char *fmt, ...)
{
    char     text[400];
    va_list  args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    return bk_err_set(k->err, 400, "BadConfiguration", "%s:%zu: %s%s%s",
                      k->y->file, at->start_mark.line + 1, k->path,
                      k->len ? ": " : "", text);
}


static const char *
bk_yaml_text(const yaml_node_t *node)
{
    return (const char *) node->data.scalar.value;
}


void
bk_yaml_suggest(const char *word, const void *keys, size_t stride, char *buf,
    size_t size)
{
    unsigned     d, best = 3;
    const char  *key, *p = keys;

    buf[0] = '\0';

    for ( /* void */ ; (key = *(const char *const *) p) != NULL; p += stride) {
        d = bk_yaml_distance(word, key);

        if (d < best) {
            best = d;
            snprintf(buf, size, ", did you mean \"%s\"?", key);
        }
    }
}


/* Levenshtein's, for short words. */

static unsigned
bk_yaml_distance(const char *a, const char *b)
{
    size_t    i, j, la = strlen(a), lb = strlen(b);
    unsigned  row[40], left, diag, up;

    if (la >= 40 || lb >= 40) {
        return 99;
    }

    for (j = 0; j <= lb; j++) {
        row[j] = (unsigned) j;
    }

    for (i = 1; i <= la; i++) {
        diag = row[0];
        row[0] = (unsigned) i;

        for (j = 1; j <= lb; j++) {
            up = row[j] + 1;
            left = row[j - 1] + 1;
            diag += a[i - 1] != b[j - 1];

            if (up < diag) {
                diag = up;
            }

            if (left < diag) {
                diag = left;
            }

            left = row[j];
            row[j] = diag;
            diag = left;
        }
    }

    return row[lb];
}
