/* Checked YAML: the document and its places.  See bk_yaml.h. */

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bk_err.h"
#include "yaml_int.h"


static int bk_yaml_slurp(const char *file, size_t max, char **text,
    size_t *len, bk_err_t *err);
static int bk_yaml_compose(bk_yaml_t *y, const char *text, size_t len,
    bk_err_t *err);
static void bk_yaml_log(cyaml_log_t level, void *ctx, const char *fmt,
    va_list args);


int
bk_yaml_read(bk_yaml_t **y, const char *file, size_t max,
    const cyaml_schema_value_t *schema, void **out, bk_err_t *err)
{
    int      rc;
    char    *text = NULL;
    size_t   len = 0;

    if (bk_yaml_slurp(file, max, &text, &len, err) != 0) {
        return -1;
    }

    rc = bk_yaml_parse(y, file, text, len, schema, out, err);

    /* it may hold tokens */
    explicit_bzero(text, len);
    free(text);

    return rc;
}


int
bk_yaml_parse(bk_yaml_t **out_y, const char *file, const char *text,
    size_t len, const cyaml_schema_value_t *schema, void **out, bk_err_t *err)
{
    bk_yaml_t       *y;
    cyaml_err_t      rc;
    cyaml_config_t   config;

    *out = NULL;
    *out_y = NULL;

    y = calloc(1, sizeof(bk_yaml_t));
    if (y == NULL || (y->file = strdup(file)) == NULL) {
        abort();
    }

    if (bk_yaml_compose(y, text, len, err) != 0
        || bk_yaml_check(y, schema, err) != 0)
    {
        bk_yaml_free(&y, NULL, NULL);
        return -1;
    }

    memset(&config, 0, sizeof(config));
    config.log_fn = bk_yaml_log;
    config.log_ctx = y;
    config.log_level = CYAML_LOG_ERROR;
    config.mem_fn = cyaml_mem;
    config.flags = CYAML_CFG_NO_ALIAS;

    rc = cyaml_load_data((const uint8_t *) text, len, &config, schema, out,
                         NULL);
    if (rc != CYAML_OK) {
        *out = NULL;
        bk_err_set(err, 400, "BadYaml", "%s: %s", y->file,
                   cyaml_strerror(rc));
        bk_yaml_free(&y, NULL, NULL);
        return -1;
    }

    *out_y = y;

    return 0;
}


void
bk_yaml_free(bk_yaml_t **yp, const cyaml_schema_value_t *schema, void *out)
{
    size_t           i;
    bk_yaml_t       *y = *yp;
    yaml_node_t     *node;
    cyaml_config_t   config;

    if (out != NULL) {
        memset(&config, 0, sizeof(config));
        config.log_fn = bk_yaml_log;
        config.log_level = CYAML_LOG_ERROR;
        config.mem_fn = cyaml_mem;
        config.flags = CYAML_CFG_NO_ALIAS;
        cyaml_free(&config, schema, out, 0);
    }

    if (y == NULL) {
        return;
    }

    *yp = NULL;

    if (y->composed) {
        for (i = 1; (node = yaml_document_get_node(&y->doc, (int) i)) != NULL;
             i++)
        {
            if (node->type == YAML_SCALAR_NODE) {
                explicit_bzero(node->data.scalar.value,
                               node->data.scalar.length);
            }
        }

        yaml_document_delete(&y->doc);
    }

    free(y->seen);
    free(y->file);
    free(y);
}


static int
bk_yaml_slurp(const char *file, size_t max, char **text, size_t *len,
    bk_err_t *err)
{
    int           fd;
    char         *buf;
    size_t        got = 0;
    ssize_t       n;
    struct stat   st;

    fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd == -1) {
        return bk_err_set(err, 404, "NoFile", "%s: %s", file,
                          strerror(errno));
    }

    if (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode)) {
        close(fd);
        return bk_err_set(err, 404, "NoFile", "%s: is not a regular file",
                          file);
    }

    if ((uint64_t) st.st_size > max) {
        close(fd);
        return bk_err_set(err, 413, "TooLarge", "%s: is larger than %zu bytes",
                          file, max);
    }

    buf = malloc((size_t) st.st_size + 1);
    if (buf == NULL) {
        abort();
    }

    while (got < (size_t) st.st_size) {
        n = read(fd, buf + got, (size_t) st.st_size - got);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n <= 0) {
            break;
        }

        got += (size_t) n;
    }

    close(fd);
    *text = buf;
    *len = got;

    return 0;
}


/* Parses the only document; aliases never get past this. */

static int
bk_yaml_compose(bk_yaml_t *y, const char *text, size_t len, bk_err_t *err)
{
    int              rc;
    yaml_node_t     *root;
    yaml_parser_t    parser;
    yaml_document_t  next;

    if (!yaml_parser_initialize(&parser)) {
        abort();
    }

    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *) text, len);

    if (!yaml_parser_load(&parser, &y->doc)) {
        bk_err_set(err, 400, "BadYaml", "%s:%zu: %s", y->file,
                   (parser.problem_mark.line ? parser.problem_mark.line
                                             : parser.context_mark.line) + 1,
                   parser.problem ? parser.problem : "is no YAML");
        yaml_parser_delete(&parser);
        return -1;
    }

    y->composed = 1;

    root = yaml_document_get_root_node(&y->doc);
    if (root == NULL) {
        yaml_parser_delete(&parser);
        return bk_err_set(err, 400, "BadYaml", "%s:1: is empty", y->file);
    }

    rc = yaml_parser_load(&parser, &next);

    if (rc && yaml_document_get_root_node(&next) != NULL) {
        root = yaml_document_get_root_node(&next);
        bk_err_set(err, 400, "BadYaml", "%s:%zu: a second document begins "
                   "here; one is allowed", y->file, root->start_mark.line + 1);
        yaml_document_delete(&next);
        yaml_parser_delete(&parser);
        return -1;
    }

    if (rc) {
        yaml_document_delete(&next);

    } else {
        bk_err_set(err, 400, "BadYaml", "%s:%zu: %s", y->file,
                   parser.problem_mark.line + 1,
                   parser.problem ? parser.problem : "is no YAML");
        yaml_parser_delete(&parser);
        return -1;
    }

    yaml_parser_delete(&parser);

    y->nodes = (size_t) (y->doc.nodes.top - y->doc.nodes.start);
    y->seen = calloc(y->nodes + 1, 1);
    if (y->seen == NULL) {
        abort();
    }

    return 0;
}


int
bk_yaml_err(const bk_yaml_t *y, bk_err_t *err, const char *path,
    const char *fmt, ...)
{
    char          text[400];
    size_t        line;
    va_list       args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    (void) bk_yaml_at(y, path, &line);

    return bk_err_set(err, 400, "BadConfiguration", "%s:%zu: %s: %s", y->file,
                      line, path, text);
}


int
bk_yaml_has(const bk_yaml_t *y, const char *path)
{
    size_t  line;

    return bk_yaml_at(y, path, &line) != NULL;
}


/* The node at a path, or NULL; *line is that of the nearest one. */

yaml_node_t *
bk_yaml_at(const bk_yaml_t *y, const char *path, size_t *line)
{
    char             *end;
    size_t            len, n;
    const char       *dot;
    yaml_node_t      *node, *key, *found;
    yaml_node_pair_t *pair;
    yaml_document_t  *doc = (yaml_document_t *) &y->doc;

    node = yaml_document_get_root_node(doc);
    *line = node->start_mark.line + 1;

    for ( /* void */ ; *path != '\0'; path = *dot ? dot + 1 : dot) {
        dot = strchrnul(path, '.');
        len = (size_t) (dot - path);
        found = NULL;

        if (node->type == YAML_SEQUENCE_NODE) {
            n = strtoul(path, &end, 10);

            if (end == dot && node->data.sequence.items.start + n
                              < node->data.sequence.items.top)
            {
                found = yaml_document_get_node(doc,
                                        node->data.sequence.items.start[n]);
                *line = found->start_mark.line + 1;
            }

        } else if (node->type == YAML_MAPPING_NODE) {
            for (pair = node->data.mapping.pairs.start;
                 pair < node->data.mapping.pairs.top; pair++)
            {
                key = yaml_document_get_node(doc, pair->key);

                if (key->type == YAML_SCALAR_NODE
                    && key->data.scalar.length == len
                    && memcmp(key->data.scalar.value, path, len) == 0)
                {
                    found = yaml_document_get_node(doc, pair->value);
                    *line = key->start_mark.line + 1;
                    break;
                }
            }
        }

        if (found == NULL) {
            return NULL;
        }

        node = found;
    }

    return node;
}


/* The walk found everything before: its words would only repeat a value. */

static void
bk_yaml_log(cyaml_log_t level, void *ctx, const char *fmt, va_list args)
{
    (void) level;
    (void) ctx;
    (void) fmt;
    (void) args;
}
