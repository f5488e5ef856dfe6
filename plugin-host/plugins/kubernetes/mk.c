/* Parts of every object that is made: see mk.h. */

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mk_int.h"


static json_t *mk_walk(json_t *spec, va_list ap);


json_t *
mk_pack(const char *fmt, ...)
{
    json_t   *obj;
    va_list   ap;

    va_start(ap, fmt);
    obj = json_vpack_ex(NULL, 0, fmt, ap);
    va_end(ap);

    if (obj == NULL) {
        abort();
    }

    return obj;
}


void
mk_set(json_t *obj, const char *key, json_t *value)
{
    if (json_object_set_new(obj, key, value) != 0) {
        abort();
    }
}


void
mk_append(json_t *list, json_t *more)
{
    if (json_array_extend(list, more) != 0) {
        abort();
    }

    json_decref(more);
}


json_t *
mk_text(const char *fmt, ...)
{
    char     *buf;
    va_list   ap;
    json_t   *text;

    /* of any length: what is cut may be cut amid a character */
    va_start(ap, fmt);

    if (vasprintf(&buf, fmt, ap) < 0) {
        abort();
    }

    va_end(ap);
    text = json_string(buf);
    free(buf);

    if (text == NULL) {
        abort();
    }

    return text;
}


json_t *
mk_label(const char *text)
{
    size_t  n = strnlen(text, MK_LABEL_MAX);

    while (n > 0 && !isalnum((unsigned char) text[n - 1])) {
        n--;
    }

    return mk_pack("s%", text, n);
}


int
mk_int(json_t *value, int otherwise, int min, int max)
{
    json_int_t  n = json_integer_value(value);

    if (!json_is_integer(value) || n < min || n > max) {
        return otherwise;
    }

    return (int) n;
}


/* purpose says whose it is: what app.kubernetes.io/name is made of */

json_t *
mk_meta(json_t *pool, const char *name, const char *purpose)
{
    json_t  *meta, *labels;

    labels = mk_pack("{s:s, s:o, s:s, s:o}",
                     "app.kubernetes.io/name",
                     purpose == NULL ? "buildkit-pool"
                     : strcmp(purpose, "worker") == 0 ? "buildkit-worker"
                                                      : "buildkit-gateway",
                     "app.kubernetes.io/instance", mk_label(mk_name(pool)),
                     "app.kubernetes.io/managed-by", MK_CONTROLLER,
                     OBJ_LABEL_POOL, mk_label(mk_name(pool)));

    if (purpose != NULL) {
        mk_set(labels, OBJ_LABEL_PURPOSE, mk_text("%s", purpose));
    }

    meta = mk_pack("{s:s, s:o}", "name", name, "labels", labels);

    if (mk_ns(pool)[0] != '\0') {
        mk_set(meta, "namespace", mk_text("%s", mk_ns(pool)));
    }

    return meta;
}


json_t *
mk_labels(json_t *obj)
{
    return json_object_get(json_object_get(obj, "metadata"), "labels");
}


void
mk_owned(json_t *obj, const char *api, const char *kind, const char *name,
    const char *uid, int controller)
{
    json_t  *meta = json_object_get(obj, "metadata");
    json_t  *owners = json_object_get(meta, "ownerReferences");
    json_t  *owner;

    if (owners == NULL) {
        owners = json_array();
        mk_set(meta, "ownerReferences", owners);
    }

    owner = mk_pack("{s:s, s:s, s:s, s:s}", "apiVersion", api, "kind", kind,
                    "name", name, "uid", uid);

    if (controller) {
        mk_set(owner, "controller", json_true());
        mk_set(owner, "blockOwnerDeletion", json_true());
    }

    json_array_append_new(owners, owner);
}


void
mk_owned_by_pool(json_t *obj, json_t *pool)
{
    mk_owned(obj, OBJ_GROUP "/v1alpha1", "BuildKitPool", mk_name(pool),
             obj_text(json_object_get(pool, "metadata"), "uid"), 1);
}


const char *
mk_ns(json_t *pool)
{
    return obj_text(json_object_get(pool, "metadata"), "namespace");
}


const char *
mk_name(json_t *pool)
{
    return obj_text(json_object_get(pool, "metadata"), "name");
}


static json_t *
mk_walk(json_t *spec, va_list ap)
{
    const char  *key;

    while (spec != NULL) {
        key = va_arg(ap, const char *);

        if (key == NULL) {
            break;
        }

        spec = json_object_get(spec, key);
    }

    return json_is_null(spec) ? NULL : spec;
}


json_t *
mk_spec(json_t *pool, ...)
{
    json_t   *value;
    va_list   ap;

    va_start(ap, pool);
    value = mk_walk(json_object_get(pool, "spec"), ap);
    va_end(ap);

    return value;
}


/* what is empty is as if it were not there: so users of this API write it */

const char *
mk_spec_text(json_t *pool, const char *otherwise, ...)
{
    va_list      ap;
    const char  *text;

    va_start(ap, otherwise);
    text = json_string_value(mk_walk(json_object_get(pool, "spec"), ap));
    va_end(ap);

    return text == NULL || text[0] == '\0' ? otherwise : text;
}


json_t *
mk_backend(json_t *pool, const char *type)
{
    size_t   i;
    json_t  *backend, *settings;

    json_array_foreach(mk_spec(pool, "cache", "backends", NULL), i, backend) {
        settings = json_object_get(backend, type);

        if (strcmp(obj_text(backend, "type"), type) == 0
            && json_is_object(settings))
        {
            return settings;
        }
    }

    return NULL;
}
