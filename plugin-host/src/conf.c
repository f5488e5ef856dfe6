/* The configuration file: schema, defaults, what must fit.  See conf.h. */

#include <arpa/inet.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bk_duration.h"
#include "bk_err.h"
#include "bk_table.h"
#include "conf.h"
#include "log.h"


#define BK_CONF_MAX  (1024 * 1024)

#define BK_OPT       (CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL)


static int bk_conf_defaults(bk_conf_t *c, bk_err_t *err);
static int bk_conf_table(bk_conf_t *c, bk_err_t *err);
static int bk_conf_gateway(bk_conf_t *c, bk_err_t *err);
static int bk_conf_listen(bk_conf_t *c, const char *key,
    const bk_conf_http_t *http, bk_err_t *err);
static int bk_conf_listen_ok(const char *s);
static int bk_conf_absolute(bk_conf_t *c, const char *key, const char *path,
    bk_err_t *err);


static const cyaml_strval_t  bk_conf_levels[] = {
    { "error", BK_LOG_ERROR },
    { "warn", BK_LOG_WARN },
    { "info", BK_LOG_INFO },
    { "debug", BK_LOG_DEBUG }
};

static const cyaml_strval_t  bk_conf_formats[] = {
    { "text", BK_LOG_TEXT },
    { "json", BK_LOG_JSON }
};

static const cyaml_schema_value_t  bk_conf_string = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 1, 255)
};

static const cyaml_schema_field_t  bk_conf_table_fields[] = {
    CYAML_FIELD_STRING_PTR("path", BK_OPT, bk_conf_table_t, path, 1, 255),
    CYAML_FIELD_UINT("allocations", CYAML_FLAG_OPTIONAL, bk_conf_table_t,
                     allocations),
    CYAML_FIELD_UINT("workers", CYAML_FLAG_OPTIONAL, bk_conf_table_t,
                     workers),
    CYAML_FIELD_UINT("pools", CYAML_FLAG_OPTIONAL, bk_conf_table_t, pools),
    CYAML_FIELD_STRING_PTR("group", BK_OPT, bk_conf_table_t, group, 1, 64),
    CYAML_FIELD_STRING_PTR("keepEnded", BK_OPT, bk_conf_table_t, keep_ended,
                           1, 32),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t  bk_conf_http_fields[] = {
    CYAML_FIELD_SEQUENCE("listen", CYAML_FLAG_POINTER, bk_conf_http_t, listen,
                         &bk_conf_string, 0, 16),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t  bk_conf_gateway_fields[] = {
    CYAML_FIELD_STRING_PTR("endpoint", CYAML_FLAG_POINTER, bk_conf_gateway_t,
                           endpoint, 1, 300),
    CYAML_FIELD_SEQUENCE("names", BK_OPT, bk_conf_gateway_t, names,
                         &bk_conf_string, 0, 16),
    CYAML_FIELD_SEQUENCE("reload", BK_OPT, bk_conf_gateway_t, reload,
                         &bk_conf_string, 1, BK_CONF_RELOAD_MAX),
    CYAML_FIELD_STRING_PTR("reloadTimeout", BK_OPT, bk_conf_gateway_t,
                           reload_timeout, 1, 32),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t  bk_conf_log_fields[] = {
    CYAML_FIELD_ENUM("level", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT,
                     bk_conf_log_t, level, bk_conf_levels,
                     CYAML_ARRAY_LEN(bk_conf_levels)),
    CYAML_FIELD_ENUM("format", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT,
                     bk_conf_log_t, format, bk_conf_formats,
                     CYAML_ARRAY_LEN(bk_conf_formats)),
    CYAML_FIELD_STRING_PTR("file", BK_OPT, bk_conf_log_t, file, 1, 255),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t  bk_conf_audit_fields[] = {
    CYAML_FIELD_STRING_PTR("file", CYAML_FLAG_POINTER, bk_conf_audit_t, file,
                           1, 255),
    CYAML_FIELD_END
};

static const cyaml_schema_field_t  bk_conf_plugin_fields[] = {
    CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER, bk_conf_plugin_t,
                           name, 1, 64),
    /* checked against the plugin's own table: bk_yaml_options() */
    CYAML_FIELD_IGNORE("options", CYAML_FLAG_OPTIONAL),
    CYAML_FIELD_END
};

static const cyaml_schema_value_t  bk_conf_plugin = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, bk_conf_plugin_t,
                        bk_conf_plugin_fields)
};

static const cyaml_schema_field_t  bk_conf_fields[] = {
    CYAML_FIELD_STRING_PTR("state", BK_OPT, bk_conf_file_t, state, 1, 200),
    CYAML_FIELD_STRING_PTR("reports", BK_OPT, bk_conf_file_t, reports, 1,
                           200),
    CYAML_FIELD_MAPPING_PTR("table", BK_OPT, bk_conf_file_t, table,
                            bk_conf_table_fields),
    CYAML_FIELD_MAPPING_PTR("api", BK_OPT, bk_conf_file_t, api,
                            bk_conf_http_fields),
    CYAML_FIELD_MAPPING_PTR("metrics", BK_OPT, bk_conf_file_t, metrics,
                            bk_conf_http_fields),
    CYAML_FIELD_MAPPING_PTR("gateway", BK_OPT, bk_conf_file_t, gateway,
                            bk_conf_gateway_fields),
    CYAML_FIELD_MAPPING_PTR("issuer", BK_OPT, bk_conf_file_t, issuer,
                            bk_conf_issuer_fields),
    CYAML_FIELD_MAPPING_PTR("log", BK_OPT, bk_conf_file_t, log,
                            bk_conf_log_fields),
    CYAML_FIELD_MAPPING_PTR("access", BK_OPT, bk_conf_file_t, access,
                            bk_conf_access_fields),
    CYAML_FIELD_MAPPING_PTR("audit", BK_OPT, bk_conf_file_t, audit,
                            bk_conf_audit_fields),
    CYAML_FIELD_SEQUENCE("plugins", CYAML_FLAG_POINTER, bk_conf_file_t,
                         plugins, &bk_conf_plugin, 1, 64),
    CYAML_FIELD_END
};

static const cyaml_schema_value_t  bk_conf_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, bk_conf_file_t, bk_conf_fields)
};

static const char *const  bk_conf_api_default[] = {
    "unix:/run/buildkit-gateway/api.sock"
};


int
bk_conf_new(bk_conf_t **out, const char *path, bk_err_t *err)
{
    void       *file;
    bk_conf_t  *c;

    c = calloc(1, sizeof(bk_conf_t));
    if (c == NULL) {
        abort();
    }

    c->path = path;

    if (bk_yaml_read(&c->yaml, path, BK_CONF_MAX, &bk_conf_schema, &file, err)
        != 0)
    {
        free(c);
        return -1;
    }

    c->file = file;

    if (bk_conf_defaults(c, err) != 0) {
        bk_conf_free(&c);
        return -1;
    }

    *out = c;

    return 0;
}


void
bk_conf_free(bk_conf_t **cp)
{
    bk_conf_t  *c = *cp;

    if (c == NULL) {
        return;
    }

    *cp = NULL;
    bk_yaml_free(&c->yaml, &bk_conf_schema, c->file);
    free(c);
}


static int
bk_conf_defaults(bk_conf_t *c, bk_err_t *err)
{
    bk_conf_file_t  *f = c->file;

    c->state = f->state ? f->state : "/var/lib/buildkit-gateway";
    c->reports = f->reports ? f->reports : "/run/buildkit-gateway/reports";

    c->log.level = BK_LOG_INFO;
    c->log.format = BK_LOG_TEXT;

    if (f->log != NULL) {
        c->log = *f->log;

        if (c->log.level == 0) {
            c->log.level = BK_LOG_INFO;
        }
    }

    c->api = bk_conf_api_default;
    c->api_count = 1;

    if (f->api != NULL) {
        c->api = (const char *const *) f->api->listen;
        c->api_count = f->api->listen_count;
    }

    if (f->metrics != NULL) {
        c->metrics = (const char *const *) f->metrics->listen;
        c->metrics_count = f->metrics->listen_count;
    }

    if (f->audit != NULL) {
        c->audit = f->audit->file;
    }

    if (bk_conf_absolute(c, "state", c->state, err) != 0
        || bk_conf_absolute(c, "reports", c->reports, err) != 0
        || bk_conf_absolute(c, "log.file", c->log.file, err) != 0
        || bk_conf_absolute(c, "audit.file", c->audit, err) != 0
        || bk_conf_listen(c, "api.listen", f->api, err) != 0
        || bk_conf_listen(c, "metrics.listen", f->metrics, err) != 0
        || bk_conf_table(c, err) != 0
        || bk_conf_ca(c, err) != 0)
    {
        return -1;
    }

    return bk_conf_gateway(c, err);
}


static int
bk_conf_table(bk_conf_t *c, bk_err_t *err)
{
    bk_conf_table_t  *t = &c->table;

    if (c->file->table != NULL) {
        *t = *c->file->table;
    }

    c->keep_ended_ms = 3600 * 1000;

    if (t->keep_ended != NULL
        && bk_duration_parse(t->keep_ended, strlen(t->keep_ended),
                             &c->keep_ended_ms)
           != 0)
    {
        return bk_yaml_err(c->yaml, err, "table.keepEnded",
                           "must be a duration like 90s or 1h30m");
    }

    if (t->path == NULL) {
        t->path = (char *) "/dev/shm/buildkit.table";
    }

    if (t->allocations == 0) {
        t->allocations = 100000;
    }

    if (t->workers == 0) {
        t->workers = 4096;
    }

    if (t->pools == 0) {
        t->pools = 256;
    }

    if (t->allocations > BK_TABLE_MAX_ENTRIES) {
        return bk_yaml_err(c->yaml, err, "table.allocations",
                           "must not be more than %u", BK_TABLE_MAX_ENTRIES);
    }

    if (t->workers > BK_TABLE_MAX_WORKERS) {
        return bk_yaml_err(c->yaml, err, "table.workers",
                           "must not be more than %u", BK_TABLE_MAX_WORKERS);
    }

    if (t->pools > BK_TABLE_MAX_POOLS) {
        return bk_yaml_err(c->yaml, err, "table.pools",
                           "must not be more than %u", BK_TABLE_MAX_POOLS);
    }

    if (t->group != NULL && getgrnam(t->group) == NULL) {
        return bk_yaml_err(c->yaml, err, "table.group",
                           "there is no group \"%s\"", t->group);
    }

    /* nginx' workers of Debian are www-data, and read the table */
    if (t->group == NULL && geteuid() == 0 && getgrnam("www-data") != NULL) {
        t->group = (char *) "www-data";
    }

    return bk_conf_absolute(c, "table.path", t->path, err);
}


/* The endpoint is tcp://HOST:PORT; HOST is a name of the certificate. */

static int
bk_conf_gateway(bk_conf_t *c, bk_err_t *err)
{
    int          n;
    char         host[256], at[40];
    size_t       len, used;
    unsigned     i;
    const char  *s, *port;

    c->endpoint = c->file->gateway ? c->file->gateway->endpoint
                                   : "tcp://localhost:1235";
    s = c->endpoint;

    if (strncmp(s, "tcp://", 6) != 0) {
        goto bad;
    }

    s += 6;
    port = strrchr(s, ':');
    if (port == NULL || port == s || atoi(port + 1) < 1
        || atoi(port + 1) > 65535
        || strspn(port + 1, "0123456789") != strlen(port + 1))
    {
        goto bad;
    }

    len = (size_t) (port - s);

    if (*s == '[' && s[len - 1] == ']') {
        s++;
        len -= 2;
    }

    if (len == 0 || len >= sizeof(host)) {
        goto bad;
    }

    memcpy(host, s, len);
    host[len] = '\0';

    if (strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                     "0123456789.-:_") != len)
    {
        goto bad;
    }

    used = (size_t) snprintf(c->names, sizeof(c->names),
                             "%s,localhost,127.0.0.1,::1", host);

    for (i = 0; c->file->gateway && i < c->file->gateway->names_count; i++) {
        s = c->file->gateway->names[i];
        n = snprintf(c->names + used, sizeof(c->names) - used, ",%s", s);
        used += (size_t) n;

        if (used >= sizeof(c->names) || strchr(s, ',') != NULL) {
            snprintf(at, sizeof(at), "gateway.names.%u", i);
            return bk_yaml_err(c->yaml, err, at, "has a comma, or all names "
                               "are longer than %zu bytes", sizeof(c->names));
        }
    }

    return 0;

bad:

    return bk_yaml_err(c->yaml, err, "gateway.endpoint",
                       "must be tcp://HOST:PORT");
}


static int
bk_conf_listen(bk_conf_t *c, const char *key, const bk_conf_http_t *http,
    bk_err_t *err)
{
    char      at[40];
    unsigned  i;

    for (i = 0; http != NULL && i < http->listen_count; i++) {
        if (!bk_conf_listen_ok(http->listen[i])) {
            snprintf(at, sizeof(at), "%s.%u", key, i);
            bk_yaml_err(c->yaml, err, at, "must be unix:/PATH or a loopback "
                        "ADDRESS:PORT");
            return bk_err_hint(err, "this server speaks no TLS, and bearer "
                               "tokens are secrets: put a TLS server in "
                               "front");
        }
    }

    return 0;
}


static int
bk_conf_listen_ok(const char *s)
{
    char             host[64];
    size_t           len;
    const char      *port;
    struct in_addr   in;
    struct in6_addr  in6;

    if (strncmp(s, "unix:", 5) == 0) {
        return s[5] == '/' && strlen(s + 5) < 108;
    }

    port = strrchr(s, ':');
    if (port == NULL || atoi(port + 1) < 0 || atoi(port + 1) > 65535
        || port[1] == '\0'
        || strspn(port + 1, "0123456789") != strlen(port + 1))
    {
        return 0;
    }

    len = (size_t) (port - s);

    if (*s == '[') {
        if (len < 3 || len >= sizeof(host) || s[len - 1] != ']') {
            return 0;
        }

        memcpy(host, s + 1, len - 2);
        host[len - 2] = '\0';

        return inet_pton(AF_INET6, host, &in6) == 1
               && IN6_IS_ADDR_LOOPBACK(&in6);
    }

    if (len >= sizeof(host)) {
        return 0;
    }

    memcpy(host, s, len);
    host[len] = '\0';

    return inet_pton(AF_INET, host, &in) == 1
           && (ntohl(in.s_addr) >> 24) == 127;
}


static int
bk_conf_absolute(bk_conf_t *c, const char *key, const char *path,
    bk_err_t *err)
{
    if (path == NULL || path[0] == '/') {
        return 0;
    }

    return bk_yaml_err(c->yaml, err, key, "must be an absolute path");
}
