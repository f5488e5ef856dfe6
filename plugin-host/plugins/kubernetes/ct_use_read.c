/*
 * What a gateway's companion says of connections (gw_use.c): see ct.h.  It
 * comes from a Pod of somebody's namespace, so whatever it is.
 */

#include <string.h>

#include "bk_err.h"
#include "ct.h"


static const char *ct_use_name(json_t *one, const char *key, size_t max,
    int slashes);
static int ct_use_number(json_t *one, const char *key, uint64_t max,
    uint64_t *out);


int
ct_use_read(const char *text, size_t len, ct_use_pt fn, void *data,
    bk_err_t *err)
{
    int            rc = 0;
    size_t         i;
    json_t        *all, *workers, *one;
    uint64_t       connections, builds;
    ct_use_one_t   use;

    if (len > CT_USE_MAX) {
        return bk_err_set(err, 502, "BadAnswer", "more than %d bytes",
                          CT_USE_MAX);
    }

    all = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    workers = json_object_get(all, "workers");

    if (!json_is_array(workers)) {
        json_decref(all);
        return bk_err_set(err, 502, "BadAnswer", "it says nothing of workers");
    }

    json_array_foreach(workers, i, one) {
        use.pool = ct_use_name(one, "pool", 2 * K8S_NAME_MAX + 1, 1);
        use.worker = ct_use_name(one, "worker", K8S_NAME_MAX, 0);

        if (use.pool == NULL || use.worker == NULL
            || ct_use_number(one, "connections", UINT32_MAX, &connections)
               != 0
            || ct_use_number(one, "builds", UINT32_MAX, &builds) != 0
            || ct_use_number(one, "idleMs", CT_USE_IDLE_MAX, &use.idle_ms)
               != 0)
        {
            rc = bk_err_set(err, 502, "BadAnswer", "entry %zu of workers is "
                            "none", i);
            break;
        }

        use.connections = (uint32_t) connections;
        use.builds = (uint32_t) builds;
        fn(data, &use);
    }

    json_decref(all);

    return rc;
}


/* Of letters that names of objects have. */

static const char *
ct_use_name(json_t *one, const char *key, size_t max, int slashes)
{
    size_t       n;
    const char  *s = obj_text(one, key), *slash = strchr(s, '/');

    n = strspn(s, slashes ? "abcdefghijklmnopqrstuvwxyz0123456789.-/"
                          : "abcdefghijklmnopqrstuvwxyz0123456789.-");

    if (n == 0 || s[n] != '\0' || n > max) {
        return NULL;
    }

    if (slashes && (slash == NULL || slash == s || slash[1] == '\0'
                    || strchr(slash + 1, '/') != NULL))
    {
        return NULL;
    }

    return s;
}


static int
ct_use_number(json_t *one, const char *key, uint64_t max, uint64_t *out)
{
    json_t      *n = json_object_get(one, key);
    json_int_t   value = json_integer_value(n);

    if (!json_is_integer(n) || value < 0 || (uint64_t) value > max) {
        return -1;
    }

    *out = (uint64_t) value;

    return 0;
}
