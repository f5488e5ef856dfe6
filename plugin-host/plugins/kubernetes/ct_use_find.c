/* Which Pods are gateways', and which of them may be asked: see ct_use.h. */

#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "ct_use.h"


#define CT_USE_PORT  9090           /* nginx.conf of gateways */


static ct_front_t *ct_use_front(ct_uses_t *u, ct_obj_t *o);
static int ct_use_wide(ct_t *ct, const ct_obj_t *o, size_t ns);
static int ct_use_address(ct_t *ct, json_t *pod, char *buf, size_t size);


void
ct_use_find(ct_uses_t *u)
{
    ct_obj_t    *o;
    ct_front_t  *f;

    for (f = u->fronts; f != NULL; f = f->hh.next) {
        f->seen = 0;
    }

    for (o = ct_obj_first(u->ct, CT_FRONT); o != NULL; o = o->hh.next) {
        if (o->obj == NULL) {
            continue;
        }

        f = ct_use_front(u, o);

        if (f != NULL) {
            f->seen = 1;
            f->deleting = ct_deleting(o);
        }
    }
}


/* NULL: it has no address, never had one, or one that nobody may have; or
 * there are too many. */

static ct_front_t *
ct_use_front(ct_uses_t *u, ct_obj_t *o)
{
    int          n;
    char         key[2 * K8S_NAME_MAX + 64], address[OBJ_ADDRESS_MAX];
    ct_front_t  *f;

    n = snprintf(key, sizeof(key), "%s %.40s", o->key, ct_uid(o));

    if (n >= (int) sizeof(key)) {
        return NULL;
    }

    HASH_FIND_STR(u->fronts, key, f);

    if (ct_use_address(u->ct, o->obj, address, sizeof(address)) != 0) {
        return f != NULL && ct_deleting(o) ? f : NULL;
    }

    if (f == NULL) {
        f = calloc(1, sizeof(ct_front_t) + strlen(key) + 1);
        if (f == NULL) {
            abort();
        }

        strcpy(f->key, key);
        f->uses = u;
        f->ns = (size_t) (o->name - o->key) - 1;
        f->wide = ct_use_wide(u->ct, o, f->ns);

        if (ct_use_enter(f) != 0) {
            free(f);
            return NULL;
        }

        HASH_ADD_STR(u->fronts, key, f);
    }

    memcpy(f->address, address, sizeof(address));

    return f;
}


/* Is it of a pool whose gateway all pools trust? */

static int
ct_use_wide(ct_t *ct, const ct_obj_t *o, size_t ns)
{
    char        **at = ct->conf->gateways;
    const char   *pool = ct_label(o, OBJ_LABEL_POOL);

    for ( /* void */ ; at != NULL && *at != NULL; at++) {
        if (strncmp(*at, o->key, ns + 1) == 0
            && strcmp(*at + ns + 1, pool) == 0)
        {
            return 1;
        }
    }

    return 0;
}


/* Whoever may make Pods may make one that looks like a gateway's: it is asked
 * only as itself, never as its node, this one or the API server. */

static int
ct_use_address(ct_t *ct, json_t *pod, char *buf, size_t size)
{
    size_t       i;
    json_t      *status = json_object_get(pod, "status"), *host;
    const char  *ip = obj_text(status, "podIP");
    const char  *phase = obj_text(status, "phase");

    if (ip[0] == '\0' || strcmp(phase, "Running") != 0
        || json_is_true(json_object_get(json_object_get(pod, "spec"),
                                        "hostNetwork"))
        || strcmp(obj_text(status, "hostIP"), ip) == 0)
    {
        return -1;
    }

    json_array_foreach(json_object_get(status, "hostIPs"), i, host) {
        if (strcmp(obj_text(host, "ip"), ip) == 0) {
            return -1;
        }
    }

    if (!ct->avoid.set) {
        obj_avoid(&ct->avoid, k8s_conf_server(k8s_conf(ct->k8s))
                              + strlen("https://"));
        obj_avoid(&ct->avoid, getenv("KUBERNETES_SERVICE_HOST"));
    }

    return obj_address(ip, CT_USE_PORT, ct->avoid.list, buf, size, NULL);
}
