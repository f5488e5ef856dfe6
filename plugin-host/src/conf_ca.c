/*
 * The configuration of certificates: issuer, and gateway.reload with its
 * deadline.  Checked here, used by ca.c and reload.c; see conf.h.
 */

#include <stdio.h>
#include <string.h>

#include "bk_duration.h"
#include "bk_err.h"
#include "conf.h"


#define BK_OPT               (CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL)
#define BK_CONF_RELOAD_MS    (30 * 1000)
#define BK_CONF_RELOAD_LATE  (10 * 60 * 1000)


static int bk_conf_issuer(bk_conf_t *c, const char *name,
    const bk_ca_files_t *files, bk_err_t *err);


static const cyaml_schema_field_t  bk_conf_files_fields[] = {
    CYAML_FIELD_STRING_PTR("cert", CYAML_FLAG_POINTER, bk_ca_files_t, cert, 1,
                           1024),
    CYAML_FIELD_STRING_PTR("key", CYAML_FLAG_POINTER, bk_ca_files_t, key, 1,
                           1024),
    CYAML_FIELD_STRING_PTR("ca", BK_OPT, bk_ca_files_t, ca, 1, 1024),
    CYAML_FIELD_END
};

const cyaml_schema_field_t  bk_conf_issuer_fields[] = {
    CYAML_FIELD_MAPPING_PTR("gateway", BK_OPT, bk_conf_issuer_t, gateway,
                            bk_conf_files_fields),
    CYAML_FIELD_MAPPING_PTR("worker", BK_OPT, bk_conf_issuer_t, worker,
                            bk_conf_files_fields),
    CYAML_FIELD_END
};


int
bk_conf_ca(bk_conf_t *c, bk_err_t *err)
{
    uint64_t                  ms = BK_CONF_RELOAD_MS;
    unsigned                  i;
    const bk_conf_issuer_t   *issuer = c->file->issuer;
    const bk_conf_gateway_t  *g = c->file->gateway;

    if (g != NULL && g->reload_count > 0) {

        if (g->reload[0][0] != '/') {
            bk_yaml_err(c->yaml, err, "gateway.reload.0",
                        "must be the absolute path of a program");
            return bk_err_hint(err, "no shell is used: write [/usr/sbin/nginx,"
                               " -s, reload]");
        }

        for (i = 0; i < g->reload_count; i++) {
            c->reload[i] = g->reload[i];
        }
    }

    if (g != NULL && g->reload_timeout != NULL
        && (bk_duration_parse(g->reload_timeout, strlen(g->reload_timeout),
                              &ms)
            != 0
            || ms < 1000 || ms > BK_CONF_RELOAD_LATE))
    {
        return bk_yaml_err(c->yaml, err, "gateway.reloadTimeout",
                           "must be a duration from 1s to 10m");
    }

    c->reload_timeout_ms = ms;

    if (issuer == NULL) {
        return 0;
    }

    if (bk_conf_issuer(c, "gateway", issuer->gateway, err) != 0) {
        return -1;
    }

    return bk_conf_issuer(c, "worker", issuer->worker, err);
}


static int
bk_conf_issuer(bk_conf_t *c, const char *name, const bk_ca_files_t *files,
    bk_err_t *err)
{
    char         at[40];
    size_t       i;

    const struct {
        const char  *key;
        const char  *path;
    } paths[] = {
        { "cert", files != NULL ? files->cert : NULL },
        { "key", files != NULL ? files->key : NULL },
        { "ca", files != NULL ? files->ca : NULL }
    };

    for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        if (paths[i].path != NULL && paths[i].path[0] != '/') {
            snprintf(at, sizeof(at), "issuer.%s.%s", name, paths[i].key);
            return bk_yaml_err(c->yaml, err, at, "must be an absolute path");
        }
    }

    return 0;
}
