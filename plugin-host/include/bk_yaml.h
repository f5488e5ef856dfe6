/*
 * Checked YAML: src/yaml.c, for the host's configuration and for plugins that
 * read YAML files (the Makefile links it to them; SHARED_name there).
 *
 * libcyaml turns a document into C structures by a schema, but its messages
 * name the line of the mapping and not of the key, take any word for true,
 * print the value (which may be a token), and 1.3.1 crashes when the first
 * key is missing.  So a document is walked along the same schema first, with
 * messages "FILE:LINE: KEY: what is wrong" that never hold a value of a
 * string, and libcyaml sees only what is right.
 *
 * Flags and limits of the schema are those of libcyaml.  Aliases, several
 * documents in a file, duplicate keys and control bytes are refused.
 */

#ifndef BK_YAML_H_INCLUDED
#define BK_YAML_H_INCLUDED

#include <stddef.h>

#include <cyaml/cyaml.h>

#include "bk_plugin.h"


typedef struct bk_yaml_s  bk_yaml_t;

/*
 * Reads (at most max bytes of) a file, or takes a buffer under the name
 * file, checks it, and loads it: *out is to be freed with bk_yaml_free(),
 * which frees what it holds.  400 BadYaml with file, line and key in the
 * text otherwise; 404 NoFile when it cannot be read.
 */
int bk_yaml_read(bk_yaml_t **y, const char *file, size_t max,
    const cyaml_schema_value_t *schema, void **out, bk_err_t *err);
int bk_yaml_parse(bk_yaml_t **y, const char *file, const char *text,
    size_t len, const cyaml_schema_value_t *schema, void **out,
    bk_err_t *err);
void bk_yaml_free(bk_yaml_t **y, const cyaml_schema_value_t *schema,
    void *out);

/*
 * An error at a place: path is "plugins.0.options.file"; where it is not in
 * the document, the line is that of the nearest thing that is.  Returns -1.
 */
int bk_yaml_err(const bk_yaml_t *y, bk_err_t *err, const char *path,
    const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Is there anything at this path, if only null? */
int bk_yaml_has(const bk_yaml_t *y, const char *path);

/*
 * Hands each option that is given in the mapping at path, and each default
 * of the table, to set(), after checking names and kinds: durations in
 * milliseconds, booleans as "true" or "false".  owner is for messages:
 * "plugin static".
 */
typedef int (*bk_yaml_set_pt)(void *data, const char *key, const char *value,
    bk_err_t *err);

int bk_yaml_options(const bk_yaml_t *y, const char *path, const char *owner,
    const bk_option_t *options, bk_yaml_set_pt set, void *data,
    bk_err_t *err);

#endif /* BK_YAML_H_INCLUDED */
