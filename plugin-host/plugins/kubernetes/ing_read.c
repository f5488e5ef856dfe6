/*
 * An Ingress object (networking.k8s.io/v1) as hosts and pools: see ing.h.
 * Whoever wrote it may have written anything.
 */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "bk_names.h"
#include "ing.h"


#define ING_CLASS_OLD  "kubernetes.io/ingress.class"


static void ing_read_rule(ing_read_t *r, json_t *rule, json_t *spec,
    const char *ns);
static char *ing_read_host(ing_read_t *r, json_t *rule);
static int ing_read_known(ing_read_t *r, const char *host, const char *pool);
static int ing_read_paths(ing_read_t *r, json_t *rule, const char *host,
    json_t **backend);
static char *ing_read_pool(ing_read_t *r, json_t *backend, const char *ns,
    const char *host);
static char *ing_read_secret(json_t *spec, const char *ns, const char *host);
static int ing_read_tls(const char *name, const char *host);
static char *ing_lower(const char *s);


int
ing_class_is(json_t *obj, const char *class_name)
{
    json_t  *meta = json_object_get(obj, "metadata");
    json_t  *spec = json_object_get(obj, "spec");
    json_t  *name = json_object_get(spec, "ingressClassName");

    /* the field counts, where both are there */
    if (json_is_string(name)) {
        return strcmp(json_string_value(name), class_name) == 0;
    }

    return strcmp(obj_text(json_object_get(meta, "annotations"),
                           ING_CLASS_OLD),
                  class_name)
           == 0;
}


void
ing_read(json_t *obj, ing_read_t *out)
{
    size_t       i;
    json_t      *spec = json_object_get(obj, "spec"), *rule, *rules;
    const char  *ns = obj_text(json_object_get(obj, "metadata"), "namespace");

    memset(out, 0, sizeof(ing_read_t));
    rules = json_object_get(spec, "rules");

    if (json_array_size(rules) == 0) {
        ing_fault(&out->faults, "NoHost", "it has no rules: a default "
                  "backend would be for every name, and no pool is that");
        return;
    }

    if (json_array_size(rules) > ING_RULES) {
        ing_fault(&out->faults, "TooManyRules", "%zu rules: those behind the "
                  "first %d are not used", json_array_size(rules), ING_RULES);
    }

    out->rules = calloc(ING_RULES, sizeof(ing_rule_t));
    if (out->rules == NULL) {
        abort();
    }

    json_array_foreach(rules, i, rule) {
        if (i == ING_RULES) {
            break;
        }

        ing_read_rule(out, rule, spec, ns);
    }
}


static void
ing_read_rule(ing_read_t *r, json_t *rule, json_t *spec, const char *ns)
{
    char        *host, *pool = NULL;
    json_t      *backend;
    ing_rule_t  *to;

    host = ing_read_host(r, rule);

    if (host != NULL && ing_read_paths(r, rule, host, &backend) == 0) {
        pool = ing_read_pool(r, backend, ns, host);
    }

    if (pool == NULL || ing_read_known(r, host, pool)) {
        free(host);
        free(pool);
        return;
    }

    to = &r->rules[r->nrules++];
    to->host = host;
    to->pool = pool;
    to->secret = ing_read_secret(spec, ns, host);
}


static char *
ing_read_host(ing_read_t *r, json_t *rule)
{
    char        *host;
    const char  *s = obj_text(rule, "host");

    if (s[0] == '\0') {
        ing_fault(&r->faults, "NoHost", "a rule without a host would be for "
                  "every name, and no pool is that");
        return NULL;
    }

    host = ing_lower(s);

    if (!bk_names_host_ok(host, strlen(host), 1)) {
        ing_fault(&r->faults, "BadHost", "%.300s is no name of a host", s);
        free(host);
        return NULL;
    }

    return host;
}


/* The same once more says nothing new. */

static int
ing_read_known(ing_read_t *r, const char *host, const char *pool)
{
    size_t  i;

    for (i = 0; i < r->nrules; i++) {
        if (strcmp(r->rules[i].host, host) == 0) {
            if (strcmp(r->rules[i].pool, pool) != 0) {
                ing_fault(&r->faults, "HostTwice", "%s is pool %s already, by "
                          "a rule of this object, and cannot be %s as well",
                          host, r->rules[i].pool, pool);
            }

            return 1;
        }
    }

    return 0;
}


/* What clients speak is one stream of calls: there is nothing to tell apart by
 * path. */

static int
ing_read_paths(ing_read_t *r, json_t *rule, const char *host,
    json_t **backend)
{
    json_t      *paths, *path;
    const char  *type, *text;

    paths = json_object_get(json_object_get(rule, "http"), "paths");

    if (json_array_size(paths) == 0) {
        ing_fault(&r->faults, "NoBackend", "%s: the rule has no path / with a "
                  "backend", host);
        return -1;
    }

    path = json_array_get(paths, 0);
    text = obj_text(path, "path");
    type = obj_text(path, "pathType");

    if (json_array_size(paths) != 1
        || (text[0] != '\0' && strcmp(text, "/") != 0)
        || strcmp(type, "Exact") == 0)
    {
        ing_fault(&r->faults, "BadPath", "%s: one path only, / with pathType "
                  "Prefix or ImplementationSpecific: a pool is all of a name",
                  host);
        return -1;
    }

    *backend = json_object_get(path, "backend");

    return 0;
}


static char *
ing_read_pool(ing_read_t *r, json_t *backend, const char *ns,
    const char *host)
{
    char        *pool;
    json_t      *resource, *service, *port;
    const char  *name;

    resource = json_object_get(backend, "resource");
    service = json_object_get(backend, "service");
    port = json_object_get(service, "port");

    if (json_is_object(resource)) {
        if (strcmp(obj_text(resource, "apiGroup"), OBJ_GROUP) != 0
            || strcmp(obj_text(resource, "kind"), "BuildKitPool") != 0)
        {
            ing_fault(&r->faults, "BadBackend", "%s: a resource as backend is "
                      "a BuildKitPool of the group " OBJ_GROUP, host);
            return NULL;
        }

        name = obj_text(resource, "name");

    } else {
        name = obj_text(service, "name");

        if (name[0] == '\0'
            || (json_integer_value(json_object_get(port, "number"))
                != ING_PORT
                && strcmp(obj_text(port, "name"), "gateway") != 0))
        {
            ing_fault(&r->faults, "BadBackend", "%s: the backend is a "
                      "BuildKitPool, or a pool's Service with its port "
                      "gateway (%d)", host, ING_PORT);
            return NULL;
        }
    }

    pool = gw_key(ns, name);

    if (!bk_names_pool_ok(pool, strlen(pool))) {
        ing_fault(&r->faults, "BadBackend", "%s: %.300s is no name of a pool",
                  host, name);
        free(pool);
        return NULL;
    }

    return pool;
}


/* Of the tls entry that has this very host, or else one that covers it; one
 * without hosts is for all of the object. */

static char *
ing_read_secret(json_t *spec, const char *ns, const char *host)
{
    int          rank, best = 0;
    size_t       i, j;
    json_t      *tls = json_object_get(spec, "tls"), *entry, *hosts, *name;
    const char  *secret = "", *s;

    json_array_foreach(tls, i, entry) {
        if (i == ING_RULES) {
            break;
        }

        s = obj_text(entry, "secretName");
        hosts = json_object_get(entry, "hosts");

        if (s[0] == '\0' || strlen(s) > K8S_NAME_MAX || strchr(s, '/')) {
            continue;
        }

        rank = json_array_size(hosts) == 0;

        json_array_foreach(hosts, j, name) {
            if (j == ING_RULES || rank == 3) {
                break;
            }

            if (json_is_string(name)
                && ing_read_tls(json_string_value(name), host) > rank)
            {
                rank = ing_read_tls(json_string_value(name), host);
            }
        }

        if (rank > best) {
            best = rank;
            secret = s;
        }
    }

    return best ? gw_key(ns, secret) : NULL;
}


static int
ing_read_tls(const char *name, const char *host)
{
    const char  *dot = strchr(host, '.');

    if (strcasecmp(name, host) == 0) {
        return 3;
    }

    return name[0] == '*' && name[1] == '.' && dot != NULL
           && strcasecmp(name + 1, dot) == 0 ? 2 : 0;
}


int
ing_read_workers(json_t *obj)
{
    json_t  *tls = json_object_get(json_object_get(obj, "spec"), "tls");

    if (json_is_false(json_object_get(tls, "enabled"))) {
        return ING_PLAIN;
    }

    return strcmp(obj_text(tls, "mode"), "certManager") == 0 ? ING_OTHER : 0;
}


void
ing_read_free(ing_read_t *r)
{
    size_t  i;

    for (i = 0; i < r->nrules; i++) {
        free(r->rules[i].host);
        free(r->rules[i].pool);
        free(r->rules[i].secret);
    }

    free(r->rules);
    free(r->faults.all);
    memset(r, 0, sizeof(ing_read_t));
}


/* What is behind the last one that is told is not told: somebody is to read
 * it. */

void
ing_fault(ing_faults_t *f, const char *reason, const char *fmt, ...)
{
    char       text[sizeof(((bk_err_t *) NULL)->text)];
    va_list    args;
    bk_err_t  *err;

    if (f->n == ING_FAULTS) {
        return;
    }

    if (f->all == NULL) {
        f->all = calloc(ING_FAULTS, sizeof(bk_err_t));
        if (f->all == NULL) {
            abort();
        }
    }

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    err = &f->all[f->n++];
    bk_err_set(err, 400, reason, "%s", text);
}


static char *
ing_lower(const char *s)
{
    char  *copy = gw_strdup(s), *p;

    for (p = copy; *p != '\0'; p++) {
        if (*p >= 'A' && *p <= 'Z') {
            *p = (char) (*p - 'A' + 'a');
        }
    }

    return copy;
}
