/*
 * The configuration file of plugin-host, typed (the formats are in the
 * project's README and conf/plugin-host.yaml).  Read once, at start, by
 * main.c; plugins see their own options only, through configure().
 */

#ifndef BK_CONF_H_INCLUDED
#define BK_CONF_H_INCLUDED

#include <stdbool.h>

#include "bk_plugin.h"
#include "bk_yaml.h"
#include "ca.h"


typedef struct {
    char      *path;
    char      *group;
    char      *keep_ended;
    uint32_t   allocations;
    uint32_t   workers;
    uint32_t   pools;
} bk_conf_table_t;

typedef struct {
    char     **listen;
    unsigned   listen_count;
} bk_conf_http_t;

typedef struct {
    char      *endpoint;
    char     **names;
    unsigned   names_count;
    char     **reload;          /* a command that has nginx read its files */
    unsigned   reload_count;
    char      *reload_timeout;
} bk_conf_gateway_t;

#define BK_CONF_RELOAD_MAX  32      /* words of it */

typedef struct {
    bk_ca_files_t  *gateway;
    bk_ca_files_t  *worker;
} bk_conf_issuer_t;

typedef struct {
    int        level;
    int        format;
    char      *file;
} bk_conf_log_t;

typedef struct {
    char      *name;
} bk_conf_plugin_t;

/* access (access.h): as written */

typedef struct {
    char      *claim;
    char     **values;
    unsigned   values_count;
    char      *pattern;
} bk_conf_match_t;

typedef struct {
    char             *name;
    char            **sources;
    unsigned          sources_count;
    bk_conf_match_t  *match;
    unsigned          match_count;
    char            **pools;
    unsigned          pools_count;
    char            **verbs;
    unsigned          verbs_count;
    char             *max_ttl;
    uint32_t          concurrency;
    int32_t           priority;
    bool              untrusted;
    bool              deny;
} bk_conf_rule_t;

typedef struct {
    char             *name;
    bk_conf_rule_t   *rules;
    unsigned          rules_count;
} bk_conf_access_pool_t;

typedef struct {
    bk_conf_rule_t         *rules;
    unsigned                rules_count;
    bk_conf_access_pool_t  *pools;
    unsigned                pools_count;
} bk_conf_access_t;

typedef struct {
    char      *file;
} bk_conf_audit_t;

typedef struct {
    char              *state;
    char              *reports;
    bk_conf_table_t   *table;
    bk_conf_http_t    *api;
    bk_conf_http_t    *metrics;
    bk_conf_gateway_t *gateway;
    bk_conf_issuer_t  *issuer;
    bk_conf_log_t     *log;
    bk_conf_access_t  *access;
    bk_conf_audit_t   *audit;
    bk_conf_plugin_t  *plugins;
    unsigned           plugins_count;
} bk_conf_file_t;

/* What the rest of the host reads: defaults are in. */
typedef struct {
    bk_conf_file_t    *file;        /* as given */
    bk_yaml_t         *yaml;

    const char        *path;        /* of the file */
    const char        *state;
    const char        *reports;
    const char        *endpoint;
    char               names[1024]; /* of the gateway's certificate */
    const char        *reload[BK_CONF_RELOAD_MAX + 1];  /* NULL-terminated;
                                       empty: nobody reloads nginx from here */
    uint64_t           reload_timeout_ms;
    bk_conf_table_t    table;
    uint64_t           keep_ended_ms;
    const char *const *api;
    unsigned           api_count;
    const char *const *metrics;
    unsigned           metrics_count;
    bk_conf_log_t      log;
    const char        *audit;       /* file, or NULL */
} bk_conf_t;


/* conf_access.c */
extern const cyaml_schema_field_t  bk_conf_access_fields[];


/* Reads and checks the file; an error names file, line and key. */
int bk_conf_new(bk_conf_t **conf, const char *path, bk_err_t *err);
void bk_conf_free(bk_conf_t **conf);

/* conf_ca.c; called by it */
extern const cyaml_schema_field_t  bk_conf_issuer_fields[];
int bk_conf_ca(bk_conf_t *conf, bk_err_t *err);

#endif /* BK_CONF_H_INCLUDED */
