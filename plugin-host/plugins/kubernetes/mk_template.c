/*
 * What a pool's author may choose of the Pods that are made: podTemplate and
 * resources.  By the names of fields, so that nobody gets another Pod by it
 * than the controller's: no account, no volume, no host's network, whatever
 * the API server has let through.
 */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mk_int.h"


#define MK_QUANTITY_MAX  64

typedef int (*mk_may_pt)(const ct_conf_t *conf, const char *name);


static void mk_template_map(json_t *to, const char *key, json_t *from,
    const ct_conf_t *conf, mk_may_pt may);
static int mk_template_suffix(const char *s, double *scale);


void
mk_template(json_t *template, const ct_conf_t *conf, json_t *meta,
    json_t *spec)
{
    size_t   i;
    json_t  *from = json_object_get(template, "metadata");
    json_t  *value;

    static const struct {
        const char  *key;
        json_type    type;
    } fields[] = {
        { "tolerations", JSON_ARRAY },
        { "affinity", JSON_OBJECT },
        { "topologySpreadConstraints", JSON_ARRAY },
        { "priorityClassName", JSON_STRING },
        { "runtimeClassName", JSON_STRING },
        { "schedulerName", JSON_STRING },
        { "imagePullSecrets", JSON_ARRAY },
    };

    mk_template_map(meta, "labels", json_object_get(from, "labels"), conf,
                    mk_may_label);
    mk_template_map(meta, "annotations", json_object_get(from, "annotations"),
                    conf, mk_may_annotate);

    from = json_object_get(template, "spec");
    mk_template_map(spec, "nodeSelector", json_object_get(from,
                    "nodeSelector"), conf, NULL);

    for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        value = json_object_get(from, fields[i].key);

        if (value != NULL && json_typeof(value) == fields[i].type
            && (fields[i].type != JSON_STRING
                || json_string_length(value) > 0))
        {
            json_object_set(spec, fields[i].key, value);
        }
    }
}


void
mk_annotate(json_t *meta, const ct_conf_t *conf, json_t *annotations)
{
    mk_template_map(meta, "annotations", annotations, conf, mk_may_annotate);
}


/* strings by name, those that may be (NULL: all); what is there already
 * stays */

static void
mk_template_map(json_t *to, const char *key, json_t *from,
    const ct_conf_t *conf, mk_may_pt may)
{
    json_t      *value, *map = json_object_get(to, key);
    const char  *name;

    json_object_foreach(from, name, value) {
        if (!json_is_string(value) || (may != NULL && !may(conf, name))) {
            continue;
        }

        if (map == NULL) {
            map = json_object();
            mk_set(to, key, map);
        }

        if (json_object_get(map, name) == NULL) {
            json_object_set(map, name, value);
        }
    }
}


json_t *
mk_resources(json_t *resources, json_t *otherwise)
{
    size_t       i;
    json_t      *map, *out = json_object();
    const char  *keys[] = { "requests", "limits" };

    for (i = 0; i < 2; i++) {
        map = json_object_get(resources, keys[i]);

        if (json_is_object(map) && json_object_size(map) > 0) {
            json_object_set(out, keys[i], map);
        }
    }

    if (json_object_size(out) == 0) {
        json_decref(out);
        return otherwise;
    }

    json_decref(otherwise);

    return out;
}


double
mk_quantity(json_t *value)
{
    char         buf[MK_QUANTITY_MAX + 1];
    char        *end;
    double       n, scale;
    const char  *s = json_string_value(value);

    if (json_is_integer(value)) {
        return json_integer_value(value) < 0 ? -1
               : (double) json_integer_value(value);
    }

    if (s == NULL || strlen(s) > MK_QUANTITY_MAX) {
        return -1;
    }

    /* strtod() knows more: hexadecimal, infinite, none at all */
    strcpy(buf, s[0] == '+' ? s + 1 : s);

    if (buf[strspn(buf, "0123456789.")] == 'x'
        || buf[strspn(buf, "0123456789.")] == 'X'
        || strspn(buf, "0123456789.") == 0)
    {
        return -1;
    }

    /* "1E" is 10^18, "1E3" is 1000 */
    n = strtod(buf, &end);

    if (end == buf || mk_template_suffix(end, &scale) != 0
        || !isfinite(n * scale))
    {
        return -1;
    }

    return n * scale;
}


static int
mk_template_suffix(const char *s, double *scale)
{
    size_t  i;

    static const struct {
        const char  *suffix;
        double       scale;
    } suffixes[] = {
        { "", 1 }, { "n", 1e-9 }, { "u", 1e-6 }, { "m", 1e-3 }, { "k", 1e3 },
        { "M", 1e6 }, { "G", 1e9 }, { "T", 1e12 }, { "P", 1e15 },
        { "E", 1e18 }, { "Ki", 1024.0 }, { "Mi", 1048576.0 },
        { "Gi", 1073741824.0 }, { "Ti", 1099511627776.0 },
        { "Pi", 1125899906842624.0 }, { "Ei", 1152921504606846976.0 },
    };

    for (i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        if (strcmp(s, suffixes[i].suffix) == 0) {
            *scale = suffixes[i].scale;
            return 0;
        }
    }

    return -1;
}
