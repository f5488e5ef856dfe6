/* What yaml.c and yaml_check.c share; nobody else includes this. */

#ifndef BK_YAML_INT_H_INCLUDED
#define BK_YAML_INT_H_INCLUDED

#include <yaml.h>

#include "bk_yaml.h"


struct bk_yaml_s {
    char             *file;
    yaml_document_t   doc;
    int               composed;
    unsigned char    *seen;     /* by node: a second visit is an alias */
    size_t            nodes;
};


int bk_yaml_check(bk_yaml_t *y, const cyaml_schema_value_t *schema,
    bk_err_t *err);

/* 1, 0, or -1 for anything but true, yes, false, no. */
int bk_yaml_bool(const char *s);

/* "" or ", did you mean "x"?"; keys end with NULL, stride bytes apart. */
void bk_yaml_suggest(const char *word, const void *keys, size_t stride,
    char *buf, size_t size);

yaml_node_t *bk_yaml_at(const bk_yaml_t *y, const char *path, size_t *line);

#endif /* BK_YAML_INT_H_INCLUDED */
