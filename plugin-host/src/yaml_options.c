/*
 * A plugin's options: the mapping in the YAML document against the plugin's
 * own table.  See bk_yaml.h.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_duration.h"
#include "bk_err.h"
#include "yaml_int.h"


#define BK_OPTION_MAX  4096


static int bk_option_known(const bk_yaml_t *y, const char *path,
    const char *owner, const bk_option_t *options, const char *key,
    bk_err_t *err);
static int bk_option_set(const bk_yaml_t *y, const char *path,
    const bk_option_t *option, const yaml_node_t *node, bk_yaml_set_pt set,
    void *data, bk_err_t *err);
static int bk_option_one(const bk_yaml_t *y, const char *path,
    const bk_option_t *option, const yaml_node_t *node, bk_yaml_set_pt set,
    void *data, bk_err_t *err);
static int bk_option_convert(const bk_option_t *option, const char *value,
    char *buf, size_t size, const char **out);
static const char *bk_option_kind(int type);


int
bk_yaml_options(const bk_yaml_t *y, const char *path, const char *owner,
    const bk_option_t *options, bk_yaml_set_pt set, void *data, bk_err_t *err)
{
    char                    at[256], buf[32];
    size_t                  line;
    const char             *value, *name;
    yaml_node_t            *map, *key, *node;
    const bk_option_t      *o;
    yaml_node_pair_t       *pair, *other;
    static bk_option_t      none;

    if (options == NULL) {
        options = &none;
    }

    map = bk_yaml_at(y, path, &line);

    if (map != NULL && map->type != YAML_MAPPING_NODE) {
        return bk_yaml_err(y, err, path, "must be a mapping (key: value)");
    }

    for (pair = map ? map->data.mapping.pairs.start : NULL;
         map != NULL && pair < map->data.mapping.pairs.top; pair++)
    {
        key = yaml_document_get_node((yaml_document_t *) &y->doc, pair->key);

        if (key->type != YAML_SCALAR_NODE) {
            return bk_yaml_err(y, err, path, "a key must be a single word");
        }

        name = (const char *) key->data.scalar.value;
        snprintf(at, sizeof(at), "%.150s.%.60s", path, name);

        if (bk_option_known(y, at, owner, options, name, err) != 0) {
            return -1;
        }

        for (other = map->data.mapping.pairs.start; other < pair; other++) {
            node = yaml_document_get_node((yaml_document_t *) &y->doc,
                                          other->key);

            if (strcmp((const char *) node->data.scalar.value, name) == 0) {
                return bk_yaml_err(y, err, at, "is given twice");
            }
        }
    }

    for (o = options; o->key != NULL; o++) {
        snprintf(at, sizeof(at), "%.150s.%.60s", path, o->key);
        node = map != NULL ? bk_yaml_at(y, at, &line) : NULL;

        if (node != NULL) {
            if (bk_option_set(y, at, o, node, set, data, err) != 0) {
                return -1;
            }

            continue;
        }

        if (o->value == NULL) {
            if (o->type == BK_OPTION_LIST) {
                continue;
            }

            bk_yaml_err(y, err, path, "%s needs the option \"%s\"", owner,
                        o->key);
            return bk_err_hint(err, "%s", o->help);
        }

        if (bk_option_convert(o, o->value, buf, sizeof(buf), &value) != 0
            || set(data, o->key, value, err) != 0)
        {
            return bk_err_prefix(err, "default of %s", at);
        }
    }

    return 0;
}


static int
bk_option_known(const bk_yaml_t *y, const char *path, const char *owner,
    const bk_option_t *options, const char *key, bk_err_t *err)
{
    char                known[240], suggestion[64];
    size_t              used = 0;
    const bk_option_t  *o;

    known[0] = '\0';

    for (o = options; o->key != NULL; o++) {
        if (strcmp(o->key, key) == 0) {
            return 0;
        }

        if (used < sizeof(known)) {
            used += (size_t) snprintf(known + used, sizeof(known) - used,
                                      "%s%s", used ? ", " : "", o->key);
        }
    }

    bk_yaml_suggest(key, &options[0].key, sizeof(bk_option_t), suggestion,
                    sizeof(suggestion));
    bk_yaml_err(y, err, path, "%s has no such option%s", owner, suggestion);

    return bk_err_hint(err, "its options: %s", used ? known : "none");
}


static int
bk_option_set(const bk_yaml_t *y, const char *path, const bk_option_t *option,
    const yaml_node_t *node, bk_yaml_set_pt set, void *data, bk_err_t *err)
{
    char                     at[300];
    yaml_node_t             *item;
    const yaml_node_item_t  *i, *start;

    if (option->type != BK_OPTION_LIST) {
        return bk_option_one(y, path, option, node, set, data, err);
    }

    if (node->type != YAML_SEQUENCE_NODE) {
        return bk_yaml_err(y, err, path, "must be a list of strings");
    }

    start = node->data.sequence.items.start;

    for (i = start; i < node->data.sequence.items.top; i++) {
        item = yaml_document_get_node((yaml_document_t *) &y->doc, *i);
        snprintf(at, sizeof(at), "%s.%zu", path, (size_t) (i - start));

        if (bk_option_one(y, at, option, item, set, data, err) != 0) {
            return -1;
        }
    }

    return 0;
}


static int
bk_option_one(const bk_yaml_t *y, const char *path, const bk_option_t *option,
    const yaml_node_t *node, bk_yaml_set_pt set, void *data, bk_err_t *err)
{
    char         buf[32], text[sizeof(err->text)];
    bk_err_t     local;
    const char  *value, *p;

    if (node->type != YAML_SCALAR_NODE) {
        return bk_yaml_err(y, err, path, "must be %s",
                           bk_option_kind(option->type));
    }

    p = (const char *) node->data.scalar.value;

    if (node->data.scalar.length > BK_OPTION_MAX
        || strlen(p) != node->data.scalar.length)
    {
        return bk_yaml_err(y, err, path, "is longer than %d bytes or has a "
                           "NUL", BK_OPTION_MAX);
    }

    if (bk_option_convert(option, p, buf, sizeof(buf), &value) != 0) {
        return bk_yaml_err(y, err, path, "must be %s",
                           bk_option_kind(option->type));
    }

    memset(&local, 0, sizeof(local));

    if (set(data, option->key, value, &local) != 0) {
        memcpy(text, local.text, sizeof(text));
        bk_yaml_err(y, err, path, "%.300s",
                    text[0] ? text : "the plugin refused the value");
        return bk_err_hint(err, "%s", local.hint);
    }

    return 0;
}


static int
bk_option_convert(const bk_option_t *option, const char *value, char *buf,
    size_t size, const char **out)
{
    int        b;
    char      *end;
    uint64_t   ms;

    *out = value;

    switch (option->type) {

    case BK_OPTION_INTEGER:
        errno = 0;
        (void) strtoll(value, &end, 10);
        return *value == '\0' || *end != '\0' || errno != 0 ? -1 : 0;

    case BK_OPTION_BOOL:
        b = bk_yaml_bool(value);
        *out = b == 1 ? "true" : "false";
        return b == -1 ? -1 : 0;

    case BK_OPTION_DURATION:
        if (bk_duration_parse(value, strlen(value), &ms) != 0) {
            return -1;
        }

        snprintf(buf, size, "%llu", (unsigned long long) ms);
        *out = buf;
        return 0;

    default:
        return 0;
    }
}


static const char *
bk_option_kind(int type)
{
    switch (type) {

    case BK_OPTION_INTEGER:
        return "a whole number";

    case BK_OPTION_BOOL:
        return "true or false";

    case BK_OPTION_DURATION:
        return "a duration like 90s or 1h30m";

    case BK_OPTION_LIST:
        return "a list of strings";

    default:
        return "a string";
    }
}
