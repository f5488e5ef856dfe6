/*
 * What a pool's spec says, as numbers (ct.h).  The API server has checked it
 * by k8s/base/crds; an object from before those rules is no reason to do
 * something that nobody has asked for.
 */

#include <stdio.h>
#include <string.h>

#include "bk_duration.h"
#include "ct_pool.h"


#define CT_MAX_DEFAULT    10
#define CT_MAX            10000
#define CT_DELAY_DEFAULT  (15 * 60000)


static int ct_spec_number(json_t *pool, const char *key, int otherwise);
static char *ct_spec_cache(json_t *pool);


void
ct_pool_spec(ct_pool_t *p)
{
    json_t      *pool = p->o->obj;
    const char  *s;

    if (pool == NULL) {
        p->min = 0;
        p->max = 0;
        free(p->read);
        p->read = NULL;
        return;
    }

    if (p->read != NULL && strcmp(p->read, ct_version(p->o)) == 0) {
        return;
    }

    free(p->read);
    free(p->arch);
    free(p->cache_size);

    p->read = ct_pool_strdup(ct_version(p->o));
    p->max = ct_spec_number(pool, "max", CT_MAX_DEFAULT);
    p->min = ct_spec_number(pool, "min", 0);
    p->min = p->min < p->max ? p->min : p->max;
    p->manual = strcmp(mk_spec_text(pool, "auto", "scaling", "mode", NULL),
                       "manual") == 0;

    s = mk_spec_text(pool, "", "scaling", "scaleDownDelay", NULL);

    if (bk_duration_parse(s, strlen(s), &p->delay_ms) != 0) {
        p->delay_ms = CT_DELAY_DEFAULT;
    }

    p->arch = ct_pool_strdup(mk_spec_text(pool, "", "arch", NULL));
    p->cache_size = ct_spec_cache(pool);
    p->tls = !json_is_false(mk_spec(pool, "tls", "enabled", NULL));
}


static int
ct_spec_number(json_t *pool, const char *key, int otherwise)
{
    json_t      *n = mk_spec(pool, "scaling", key, NULL);
    json_int_t   value = json_integer_value(n);

    if (!json_is_integer(n) || value < 0) {
        return otherwise;
    }

    return value < CT_MAX ? (int) value : CT_MAX;
}


/* of the first backend on this machine */

static char *
ct_spec_cache(json_t *pool)
{
    size_t   n;
    json_t  *b, *size;

    json_array_foreach(mk_spec(pool, "cache", "backends", NULL), n, b) {
        size = json_object_get(json_object_get(b, "local"), "size");

        if (strcmp(obj_text(b, "type"), "local") != 0) {
            continue;
        }

        if (json_is_integer(size)) {
            return ct_pool_printf("%lld",
                                  (long long) json_integer_value(size));
        }

        if (json_is_string(size)) {
            return ct_pool_strdup(json_string_value(size));
        }
    }

    return NULL;
}
