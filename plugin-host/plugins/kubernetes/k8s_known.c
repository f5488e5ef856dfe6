/* The objects that a watch has told of: see k8s_known.h. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define uthash_fatal(msg)  abort()
#include <uthash.h>

#include "k8s_known.h"


#define K8S_KNOWN_KEY  (2 * K8S_NAME_MAX + 2)


typedef struct {
    uint64_t        list;
    char            uid[K8S_UID_MAX + 1];
    char            version[K8S_KNOWN_VER + 1];     /* "": not known */
    UT_hash_handle  hh;
    char            key[];      /* namespace/name */
} k8s_known_one_t;

struct k8s_known_s {
    k8s_known_one_t  *all;
};


static k8s_known_one_t *k8s_known_find(k8s_known_t *k, const char *ns,
    const char *name, char key[K8S_KNOWN_KEY]);


k8s_known_t *
k8s_known_new(void)
{
    k8s_known_t  *k;

    k = calloc(1, sizeof(k8s_known_t));
    if (k == NULL) {
        abort();
    }

    return k;
}


void
k8s_known_free(k8s_known_t **kp)
{
    k8s_known_t      *k = *kp;
    k8s_known_one_t  *one, *next;

    if (k == NULL) {
        return;
    }

    *kp = NULL;

    HASH_ITER(hh, k->all, one, next) {
        HASH_DEL(k->all, one);
        free(one);
    }

    free(k);
}


size_t
k8s_known_count(const k8s_known_t *k)
{
    return HASH_COUNT(k->all);
}


int
k8s_known_put(k8s_known_t *k, const char *ns, const char *name,
    const char *uid, const char *version, uint64_t list)
{
    int               other;
    char              key[K8S_KNOWN_KEY], id[K8S_UID_MAX + 1];
    size_t            len;
    k8s_known_one_t  *one;

    snprintf(id, sizeof(id), "%s", uid);
    one = k8s_known_find(k, ns, name, key);

    if (one != NULL) {
        other = strcmp(one->uid, id) != 0;

    } else {
        len = strlen(key);
        one = calloc(1, sizeof(k8s_known_one_t) + len + 1);
        if (one == NULL) {
            abort();
        }

        memcpy(one->key, key, len + 1);
        HASH_ADD_KEYPTR(hh, k->all, one->key, len, one);
        other = 0;
    }

    one->list = list;
    memcpy(one->uid, id, sizeof(id));
    snprintf(one->version, sizeof(one->version), "%s",
             strlen(version) <= K8S_KNOWN_VER ? version : "");

    return other;
}


int
k8s_known_same(k8s_known_t *k, const char *ns, const char *name,
    const char *uid, const char *version, uint64_t list)
{
    char              key[K8S_KNOWN_KEY];
    k8s_known_one_t  *one;

    one = k8s_known_find(k, ns, name, key);

    if (one == NULL || one->version[0] == '\0'
        || strcmp(one->version, version) != 0 || strcmp(one->uid, uid) != 0)
    {
        return 0;
    }

    one->list = list;

    return 1;
}


void
k8s_known_delete(k8s_known_t *k, const char *ns, const char *name)
{
    char              key[K8S_KNOWN_KEY];
    k8s_known_one_t  *one;

    one = k8s_known_find(k, ns, name, key);

    if (one != NULL) {
        HASH_DEL(k->all, one);
        free(one);
    }
}


static k8s_known_one_t *
k8s_known_find(k8s_known_t *k, const char *ns, const char *name,
    char key[K8S_KNOWN_KEY])
{
    k8s_known_one_t  *one;

    snprintf(key, K8S_KNOWN_KEY, "%s/%s", ns, name);
    HASH_FIND_STR(k->all, key, one);

    return one;
}


void
k8s_known_sweep(k8s_known_t *k, uint64_t list, k8s_known_pt gone, void *data)
{
    char             *slash;
    k8s_known_one_t  *one, *next;

    HASH_ITER(hh, k->all, one, next) {
        if (one->list == list) {
            continue;
        }

        HASH_DEL(k->all, one);
        slash = strchr(one->key, '/');
        *slash = '\0';
        gone(data, one->key, slash + 1);
        free(one);
    }
}
