/*
 * buildkitd.toml: what the pool says itself, or made of its cache.  Addresses
 * and certificates are not in it: they are buildkitd's arguments (mk_pod.c),
 * which this file cannot undo.
 */

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "mk_int.h"


#define MK_TOML_MAX       65536
#define MK_TOML_SPACE     64        /* of keepStorage, with its NUL */
#define MK_TOML_HOST_MAX  255

#define MK_TOML_SHARED    2         /* of a disk that others have, too */


static int mk_toml_given(const char *text, bk_err_t *err);
static int mk_toml_gc(FILE *f, json_t *pool, const ct_conf_t *conf,
    bk_err_t *err);
static int mk_toml_space(json_t *pool, const ct_conf_t *conf, char *buf,
    size_t size, int *kept, bk_err_t *err);
static int mk_toml_is_space(const char *s);
static int mk_toml_is_duration(const char *s);
static int mk_toml_registries(FILE *f, json_t *pool, bk_err_t *err);
static int mk_toml_host(const char *endpoint, char *buf, size_t size);


char *
mk_toml(json_t *pool, const ct_conf_t *conf, bk_err_t *err)
{
    int          rc;
    char        *text = NULL;
    size_t       len;
    FILE        *f;
    const char  *given = mk_spec_text(pool, NULL, "buildkitConfig", NULL);

    if (given != NULL) {
        if (mk_toml_given(given, err) != 0) {
            return NULL;
        }

        text = strdup(given);

        if (text == NULL) {
            abort();
        }

        return text;
    }

    f = open_memstream(&text, &len);

    if (f == NULL) {
        abort();
    }

    fprintf(f, "# made of what the BuildKitPool says\n\n"
            "[worker.oci]\n  enabled = true\n");

    rc = mk_toml_gc(f, pool, conf, err);
    fprintf(f, "\n[worker.containerd]\n  enabled = false\n");

    if (rc == 0) {
        rc = mk_toml_registries(f, pool, err);
    }

    if (fclose(f) != 0) {
        abort();
    }

    if (rc != 0) {
        free(text);
        return NULL;
    }

    return text;
}


/* buildkitd reads it; that it is text is seen here */

static int
mk_toml_given(const char *text, bk_err_t *err)
{
    const char  *p;

    if (strnlen(text, MK_TOML_MAX + 1) > MK_TOML_MAX) {
        return bk_err_set(err, 422, "BadConfig", "buildkitConfig has more "
                          "than %d bytes", MK_TOML_MAX);
    }

    for (p = text; *p != '\0'; p++) {
        if (((unsigned char) *p < 0x20 && strchr("\t\r\n", *p) == NULL)
            || *p == 0x7f)
        {
            return bk_err_set(err, 422, "BadConfig", "buildkitConfig has the "
                              "control byte 0x%02x in it", *p);
        }
    }

    return 0;
}


/* --- garbage collection --------------------------------------------------- */

/*
 * Policies instead of worker.oci's own numbers: those are known from
 * BuildKit 0.17 on, and before that a policy without keepBytes keeps nothing.
 */

static int
mk_toml_gc(FILE *f, json_t *pool, const ct_conf_t *conf, bk_err_t *err)
{
    int          i, kept;
    char         space[MK_TOML_SPACE];
    const char  *keep;

    if (json_is_false(mk_spec(pool, "cache", "gc", "enabled", NULL))) {
        fprintf(f, "  gc = false\n");
        return 0;
    }

    fprintf(f, "  gc = true\n");
    keep = mk_spec_text(pool, "", "cache", "gc", "keepDuration", NULL);

    if (!mk_toml_is_duration(keep)) {
        return bk_err_set(err, 422, "BadKeepDuration", "cache.gc.keepDuration "
                          "\"%.40s\" is no duration as 168h", keep);
    }

    if (mk_toml_space(pool, conf, space, sizeof(space), &kept, err) != 0) {
        return -1;
    }

    if (!kept && keep[0] == '\0') {
        return 0;                       /* BuildKit's own */
    }

    /* as BuildKit's own: what is made anew at once */
    fprintf(f, "\n  [[worker.oci.gcpolicy]]\n"
            "    filters = [\"type==source.local\", "
            "\"type==exec.cachemount\", \"type==source.git.checkout\"]\n"
            "    keepDuration = \"48h\"\n    keepBytes = \"512MB\"\n"
            "    maxUsedSpace = \"512MB\"\n");

    if (keep[0] != '\0' && keep[strspn(keep, "0.hmsun")] != '\0') {
        fprintf(f, "\n  [[worker.oci.gcpolicy]]\n    keepDuration = \"%s\"\n",
                keep);
    }

    /* then what nothing else is made of, then everything */
    for (i = 0; i < 2; i++) {
        fprintf(f, "\n  [[worker.oci.gcpolicy]]\n%s",
                i == 1 ? "    all = true\n" : "");

        if (kept) {
            fprintf(f, "    keepBytes = \"%s\"\n    maxUsedSpace = \"%s\"\n%s",
                    space, space, kept != MK_TOML_SHARED ? ""
                    : "    minFreeSpace = \"20%\"\n");

        } else {
            fprintf(f, "    keepBytes = \"10%%\"\n"
                    "    maxUsedSpace = \"75%%\"\n"
                    "    minFreeSpace = \"20%%\"\n");
        }
    }

    return 0;
}


/* keepStorage, or what there is room for in a claim, or what a worker may have
 * of its node's disk: where volumes are folders of one disk, nothing else ends
 * it */

static int
mk_toml_space(json_t *pool, const ct_conf_t *conf, char *buf, size_t size,
    int *kept, bk_err_t *err)
{
    double       bytes;
    json_t      *scratch, *local = mk_backend(pool, "local");
    const char  *text = mk_spec_text(pool, "", "cache", "gc", "keepStorage",
                                     NULL);

    *kept = 1;

    if (text[0] != '\0') {
        if (!mk_toml_is_space(text)) {
            return bk_err_set(err, 422, "BadKeepStorage", "cache.gc."
                              "keepStorage \"%.40s\" is neither a size as "
                              "10GB nor a part as 20%%", text);
        }

        snprintf(buf, size, "%s", text);
        return 0;
    }

    bytes = mk_quantity(json_object_get(local, "size"));

    if (local == NULL && conf->scratch_size != NULL) {
        scratch = json_string(conf->scratch_size);
        bytes = mk_quantity(scratch);
        json_decref(scratch);
        *kept = MK_TOML_SHARED;
    }

    if (bytes < 1) {
        *kept = 0;
        return 0;
    }

    snprintf(buf, size, "%.0f", bytes * 0.8);

    return 0;
}


static int
mk_toml_is_space(const char *s)
{
    size_t  n = strspn(s, "0123456789");

    if (n == 0 || n > 18) {
        return 0;
    }

    if (strcmp(s + n, "%") == 0) {
        return n <= 3;
    }

    if (s[n] == '.') {
        s += n + 1;
        n = strspn(s, "0123456789");

        if (n == 0 || n > 18) {
            return 0;
        }
    }

    s += n;
    s += *s == ' ';
    s += *s != '\0' && strchr("kKmMgGtTpP", *s) != NULL;
    s += *s == 'i';
    s += *s == 'b' || *s == 'B';

    return *s == '\0';
}


/* Go's, none or "0" for none */

static int
mk_toml_is_duration(const char *s)
{
    size_t  i, n;

    static const char  *units[] = { "ns", "us", "ms", "s", "m", "h" };

    if (strcmp(s, "0") == 0) {
        return 1;
    }

    if (strlen(s) > 32) {
        return 0;
    }

    while (*s != '\0') {
        n = strspn(s, "0123456789");

        if (n == 0) {
            return 0;
        }

        s += n;

        if (*s == '.') {
            n = strspn(++s, "0123456789");

            if (n == 0) {
                return 0;
            }

            s += n;
        }

        for (i = 0; i < 6; i++) {
            n = strlen(units[i]);

            if (strncmp(s, units[i], n) == 0) {
                break;
            }
        }

        if (i == 6) {
            return 0;
        }

        s += n;
    }

    return 1;
}


/* --- registries ----------------------------------------------------------- */

/* insecure: HTTPS that is not verified, else HTTP; buildkitd takes a registry
 * that is there twice for an error */

static int
mk_toml_registries(FILE *f, json_t *pool, bk_err_t *err)
{
    int          rc = 0;
    char         host[MK_TOML_HOST_MAX + 1];
    size_t       i;
    json_t      *backend, *registry, *seen = json_object();
    const char  *endpoint;

    json_array_foreach(mk_spec(pool, "cache", "backends", NULL), i, backend) {
        registry = json_object_get(backend, "registry");
        endpoint = obj_text(registry, "endpoint");

        if (strcmp(obj_text(backend, "type"), "registry") != 0) {
            continue;
        }

        if (mk_toml_host(endpoint, host, sizeof(host)) != 0) {
            rc = bk_err_set(err, 422, "BadRegistry", "\"%.100s\" is no host "
                            "of a registry", endpoint);
            break;
        }

        if (!json_is_true(json_object_get(registry, "insecure"))
            || json_object_get(seen, host) != NULL)
        {
            continue;
        }

        mk_set(seen, host, json_true());
        fprintf(f, "\n[registry.\"%s\"]\n  http = true\n  insecure = true\n",
                host);
    }

    json_decref(seen);

    return rc;
}


/* "https://registry.example:5000/cache" */

static int
mk_toml_host(const char *endpoint, char *buf, size_t size)
{
    size_t       i, n;
    const char  *p = strstr(endpoint, "://");

    p = p != NULL ? p + 3 : endpoint;
    n = strcspn(p, "/");

    if (n == 0 || n >= size) {
        return -1;
    }

    for (i = 0; i < n; i++) {
        if (!isalnum((unsigned char) p[i]) && strchr(".-:[]", p[i]) == NULL) {
            return -1;
        }

        buf[i] = p[i];
    }

    buf[n] = '\0';

    return 0;
}


json_t *
mk_toml_map(json_t *pool, const char *toml)
{
    json_t  *obj, *meta;

    meta = mk_meta(pool, mk_name(pool), NULL);
    mk_set(meta, "name", mk_text("%s-buildkitd", mk_name(pool)));
    obj = mk_pack("{s:o, s:{s:s}}", "metadata", meta, "data",
                  "buildkitd.toml", toml);
    mk_owned_by_pool(obj, pool);

    return obj;
}
