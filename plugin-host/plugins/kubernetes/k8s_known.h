/*
 * The objects that a watch has told of, by name: so that a new list shows
 * what is gone, and what is as it was.  Of each its name, which one it is (the
 * uid), its resourceVersion and the number of the list that had it last; the
 * objects themselves are the consumer's.
 */

#ifndef K8S_KNOWN_H_INCLUDED
#define K8S_KNOWN_H_INCLUDED

#include "k8s.h"


#define K8S_UID_MAX      40     /* a UUID has 36 */
#define K8S_KNOWN_VER    23     /* etcd's have 19; a longer one is no one's */


typedef struct k8s_known_s  k8s_known_t;

/* ns: "" for kinds without */
typedef void (*k8s_known_pt)(void *data, const char *ns, const char *name);

k8s_known_t *k8s_known_new(void);
void k8s_known_free(k8s_known_t **k);
size_t k8s_known_count(const k8s_known_t *k);

/* 1: one of that name was known, but with another uid: it has been replaced
 * and is of this uid now; else 0.  A uid beyond K8S_UID_MAX is cut. */
int k8s_known_put(k8s_known_t *k, const char *ns, const char *name,
    const char *uid, const char *version, uint64_t list);
/* 1: it is known with this uid and version, and so is in this list */
int k8s_known_same(k8s_known_t *k, const char *ns, const char *name,
    const char *uid, const char *version, uint64_t list);
void k8s_known_delete(k8s_known_t *k, const char *ns, const char *name);
/* forgets all that are of another list than this one, and tells of each; gone
 * may not touch k */
void k8s_known_sweep(k8s_known_t *k, uint64_t list, k8s_known_pt gone,
    void *data);

#endif /* K8S_KNOWN_H_INCLUDED */
