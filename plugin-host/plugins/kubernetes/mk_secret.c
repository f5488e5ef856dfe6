/* Certificates: the Secrets that Pods mount, the names in them, and the
 * Certificates that cert-manager is asked for. */

#include <arpa/inet.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "bk_err.h"
#include "mk_int.h"


#define MK_CN_MAX     64        /* X.520 */
#define MK_HOST_MAX   253


static void mk_secret_put(json_t *data, const char *key, bk_str_t value);
static int mk_host_ends(const char *host, const char *end);
static void mk_secret_name(FILE *f, json_t *seen, const char *name);
static void mk_secret_split(const char *names, json_t *dns, json_t *ips);


json_t *
mk_tls_secret(json_t *pool, const char *name, const char *prefix,
    bk_str_t cert, bk_str_t key, bk_str_t ca)
{
    char     text[64];
    json_t  *obj, *data;

    /* a Secret's type is for good; kubernetes.io/tls has those two keys */
    obj = mk_pack("{s:o, s:s, s:{}}", "metadata", mk_meta(pool, name, NULL),
                  "type", strcmp(prefix, "tls") == 0 ? "kubernetes.io/tls"
                                                     : "Opaque",
                  "data");
    data = json_object_get(obj, "data");

    snprintf(text, sizeof(text), "%s.crt", prefix);
    mk_secret_put(data, text, cert);
    snprintf(text, sizeof(text), "%s.key", prefix);
    mk_secret_put(data, text, key);
    mk_secret_put(data, "ca.crt", ca);

    mk_owned_by_pool(obj, pool);

    return obj;
}


json_t *
mk_authority_secret(json_t *pool, const char *name, bk_str_t cert,
    bk_str_t key)
{
    json_t  *obj, *data;

    obj = mk_pack("{s:o, s:s, s:{}}", "metadata", mk_meta(pool, name, NULL),
                  "type", "Opaque", "data");
    data = json_object_get(obj, "data");
    mk_secret_put(data, "ca.crt", cert);

    if (key.len != 0) {
        mk_secret_put(data, "ca.key", key);
    }

    mk_owned_by_pool(obj, pool);

    return obj;
}


static void
mk_secret_put(json_t *data, const char *key, bk_str_t value)
{
    int      n;
    char    *text = malloc(value.len / 3 * 4 + 5);

    if (text == NULL) {
        abort();
    }

    n = EVP_EncodeBlock((unsigned char *) text,
                        (const unsigned char *) value.data, (int) value.len);
    mk_set(data, key, mk_pack("s%", text, (size_t) n));
    OPENSSL_cleanse(text, (size_t) n);
    free(text);
}


char *
mk_gateway_names(json_t *pool, const char *extra)
{
    char        *text = NULL, *copy, *name, *save;
    char         buf[2 * MK_HOST_MAX];
    size_t       i, len;
    FILE        *f = open_memstream(&text, &len);
    json_t      *seen = json_object();
    const char  *pn = mk_name(pool), *ns = mk_ns(pool), *hosts[MK_HOSTS];

    const char  *ends[] = { "", ".svc", ".svc.cluster.local" };

    if (f == NULL) {
        abort();
    }

    mk_secret_name(f, seen, pn);

    for (i = 0; i < 3; i++) {
        snprintf(buf, sizeof(buf), "%.253s.%.63s%s", pn, ns, ends[i]);
        mk_secret_name(f, seen, buf);
    }

    mk_secret_name(f, seen, "localhost");
    mk_secret_name(f, seen, "127.0.0.1");   /* kubectl port-forward */

    mk_hosts(pool, hosts);

    for (i = 0; i < MK_HOSTS; i++) {
        mk_secret_name(f, seen, hosts[i]);
    }

    copy = strdup(extra != NULL ? extra : "");

    if (copy == NULL) {
        abort();
    }

    for (name = strtok_r(copy, ",", &save); name != NULL;
         name = strtok_r(NULL, ",", &save))
    {
        mk_secret_name(f, seen, name);
    }

    free(copy);
    json_decref(seen);

    if (fclose(f) != 0) {
        abort();
    }

    return text;
}


/* once, and not what could not be a name: a comma in it would be two */

static void
mk_secret_name(FILE *f, json_t *seen, const char *name)
{
    size_t  n = strlen(name);

    if (n == 0 || n > MK_HOST_MAX || json_object_get(seen, name) != NULL
        || strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                  "0123456789.-_:*") != n)
    {
        return;
    }

    fprintf(f, "%s%s", json_object_size(seen) > 0 ? "," : "", name);
    mk_set(seen, name, json_true());
}


/* --- host names ----------------------------------------------------------- */

void
mk_hosts(json_t *pool, const char *hosts[MK_HOSTS])
{
    size_t  i;

    static const char *const  fronts[] = { "ingress", "gatewayAPI" };

    for (i = 0; i < 2; i++) {
        hosts[i] = json_is_true(mk_spec(pool, "gateway", fronts[i], "enabled",
                                        NULL))
                   ? mk_spec_text(pool, "", "gateway", fronts[i], "hostname",
                                  NULL) : "";
    }

    hosts[i] = mk_external(pool);
}


/*
 * NAME.NAMESPACE.svc, with a cluster's domain behind it or without; a cluster's
 * domain that everybody has; workers' names; and a single label, which is
 * whatever a resolver makes of it.
 */

int
mk_host_inside(json_t *pool, const char *host)
{
    int          wild = strncmp(host, "*.", 2) == 0, ours = 0;
    size_t       i, n, len, before = 0;
    const char  *s, *ns = mk_ns(pool), *label = NULL;

    host += wild ? 2 : 0;

    /* in every certificate */
    if (!wild && (strcasecmp(host, mk_name(pool)) == 0
                  || strcasecmp(host, "localhost") == 0))
    {
        return 0;
    }

    if (strchr(host, '.') == NULL || mk_host_ends(host, "buildkit.internal"))
    {
        return host[0] != '\0';
    }

    len = strlen(ns);

    for (i = wild, s = host; *s != '\0'; i++) {
        n = strcspn(s, ".");

        if (n == 3 && strncasecmp(s, "svc", 3) == 0 && (i > 1 || s[n] == '\0'))
        {
            if (before != len || strncasecmp(label, ns, len) != 0) {
                return 1;
            }

            ours = 1;
        }

        label = s;
        before = n;
        s += n + (s[n] == '.');
    }

    return !ours && mk_host_ends(host, "cluster.local");
}


/* it is that, or something in it */

static int
mk_host_ends(const char *host, const char *end)
{
    size_t  n = strlen(host), m = strlen(end);

    return n >= m && strcasecmp(host + n - m, end) == 0
           && (n == m || host[n - m - 1] == '.');
}


char *
mk_worker_tls_name(const char *ns, const char *pool, const char *worker)
{
    char  *name;

    if (asprintf(&name, "%s.%s.%s.workers.buildkit.internal", worker, pool,
                 ns) < 0)
    {
        abort();
    }

    return name;
}


/* --- cert-manager --------------------------------------------------------- */

json_t *
mk_certificate(json_t *pool, const char *secret, const char *names,
    const char *usage, bk_err_t *err)
{
    json_t      *obj, *spec, *dns = json_array(), *ips = json_array();
    json_t      *ref = mk_spec(pool, "tls", "certManager", "issuerRef", NULL);
    const char  *kind = obj_text(ref, "kind");
    const char  *group = obj_text(ref, "group");
    const char  *text;

    if (obj_text(ref, "name")[0] == '\0') {
        json_decref(dns);
        json_decref(ips);
        bk_err_set(err, 422, "NoIssuer", "tls.mode certManager needs "
                   "tls.certManager.issuerRef");
        return NULL;
    }

    mk_secret_split(names, dns, ips);

    obj = mk_pack("{s:o, s:{s:s, s:{s:s, s:i, s:s}, s:[s, s], "
                  "s:{s:s, s:s, s:s}}}",
                  "metadata", mk_meta(pool, secret, NULL),
                  "spec", "secretName", secret,
                  "privateKey", "algorithm", "ECDSA", "size", 256,
                  "rotationPolicy", "Always",
                  "usages", "digital signature",
                  strcmp(usage, "client") == 0 ? "client auth"
                                               : "server auth",
                  "issuerRef", "name", obj_text(ref, "name"),
                  "kind", kind[0] != '\0' ? kind : "Issuer",
                  "group", group[0] != '\0' ? group : "cert-manager.io");
    spec = json_object_get(obj, "spec");

    mk_set(spec, "secretTemplate", mk_pack("{s:{s:o}}", "labels",
           OBJ_LABEL_POOL, mk_label(mk_name(pool))));

    text = json_string_value(json_array_get(dns, 0));

    if (text != NULL && strlen(text) <= MK_CN_MAX) {
        mk_set(spec, "commonName", mk_text("%s", text));
    }

    text = mk_spec_text(pool, "", "tls", "auto", "organization", NULL);

    if (text[0] != '\0') {
        mk_set(spec, "subject", mk_pack("{s:[s]}", "organizations", text));
    }

    text = mk_spec_text(pool, "", "tls", "auto", "serverCertDuration", NULL);

    if (text[0] != '\0') {
        mk_set(spec, "duration", mk_text("%s", text));
    }

    text = mk_spec_text(pool, "", "tls", "auto", "rotateBeforeExpiry", NULL);

    if (text[0] != '\0') {
        mk_set(spec, "renewBefore", mk_text("%s", text));
    }

    if (json_array_size(dns) > 0) {
        json_object_set(spec, "dnsNames", dns);
    }

    if (json_array_size(ips) > 0) {
        json_object_set(spec, "ipAddresses", ips);
    }

    json_decref(dns);
    json_decref(ips);
    mk_owned_by_pool(obj, pool);

    return obj;
}


static void
mk_secret_split(const char *names, json_t *dns, json_t *ips)
{
    char              *copy = strdup(names), *name, *save;
    struct in_addr     in;
    struct in6_addr    in6;

    if (copy == NULL) {
        abort();
    }

    for (name = strtok_r(copy, ",", &save); name != NULL;
         name = strtok_r(NULL, ",", &save))
    {
        json_array_append_new(inet_pton(AF_INET, name, &in) == 1
                              || inet_pton(AF_INET6, name, &in6) == 1
                              ? ips : dns, mk_text("%s", name));
    }

    free(copy);
}
