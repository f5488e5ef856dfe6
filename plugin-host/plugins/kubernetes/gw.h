/*
 * The companion of a gateway (role gateway): objects and Pods of the
 * namespaces served become the host's model, and nothing is written anywhere.
 *
 *   gw.c         its life, its watches, when which facts are complete
 *   gw_take.c    what watches tell -> records
 *   gw_index.c   the records: pools, workers, Pods, whose token is whose
 *   gw_flush.c   the records that changed, some at a time -> model
 *   gw_show.c    one worker -> model: which Pod it is, and what that makes
 *   gw_alloc.c   its allocations -> model
 *   gw_use.c     tells the controller who is connected
 *   gw_refuse.c  what is not used, and why; numbers
 *
 * A worker's address is that of its Pod, whatever its object says: obj.h says
 * which Pod that is.  A worker whose Pod is lost fails who was on it, with the
 * Pod's own reason.
 *
 * Watches of different kinds know nothing of each other.  So nothing is told
 * before all three of a namespace have been listed, an allocation is not
 * given a Pod that is known from before the watch of Pods broke, and one that
 * loses its Pod as soon as it had got it waits for the next one: it was meant
 * for that, and we heard of it too early.
 *
 * Who moves an allocation (from the queue to a worker) writes the new object
 * before it takes it out of the old one: one that no object has is over.
 */

#ifndef GW_H_INCLUDED
#define GW_H_INCLUDED

#define uthash_fatal(msg)  abort()
#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

#include "bk_table.h"
#include "k8s.h"
#include "obj.h"


#define GW_POOLS    0
#define GW_WORKERS  1
#define GW_PODS     2
#define GW_KINDS    3

#define GW_SETTLE_MS    200     /* Pods are known again so long after a break */
#define GW_YOUNG_MS     2000    /* lost so soon: it was never its Pod */
#define GW_RETRY_MS     1000
#define GW_LATE_MS      5000    /* a namespace that cannot be read */
#define GW_ENDED_MS     (15 * 60 * 1000)    /* ended before: not told anew */
#define GW_ENDS_MAX     64      /* ends of a worker that wait to be told */
#define GW_UID_MAX      40


typedef struct gw_s          gw_t;
typedef struct gw_ns_s       gw_ns_t;
typedef struct gw_watch_s    gw_watch_t;
typedef struct gw_pool_s     gw_pool_t;
typedef struct gw_worker_s   gw_worker_t;
typedef struct gw_pod_s      gw_pod_t;
typedef struct gw_claim_s    gw_claim_t;
typedef struct gw_refused_s  gw_refused_t;


struct gw_watch_s {
    gw_ns_t      *ns;
    int           kind;         /* GW_* */
    k8s_watch_t  *watch;
    int           synced;
    int           up;
};

/* What is watched together: a namespace, or all of them. */
struct gw_ns_s {
    gw_t        *gw;
    const char  *name;          /* "": all */
    gw_watch_t   watches[GW_KINDS];
    int          synced;        /* all three */
    uint64_t     fresh_ms;      /* from then on Pods are as we know them; 0:
                                   not known when */
};

struct gw_pool_s {
    UT_hash_handle   hh;
    gw_ns_t         *ns;
    char            *key;       /* namespace/name */
    char             arch[BK_TABLE_ARCH_LEN];
    int              put;
    int              waiting;   /* to be put again soon */
};

struct gw_pod_s {
    UT_hash_handle   hh;
    gw_pod_t        *prev, *next;       /* of its worker */
    gw_worker_t     *worker;
    char            *key;
    const char      *name;              /* in key */
    char            *created;
    char            *why;
    char             uid[GW_UID_MAX];
    char             owner[GW_UID_MAX]; /* the worker's uid, as it says */
    char             address[OBJ_ADDRESS_MAX];
    unsigned         ready:1;
    unsigned         finished:1;
    unsigned         terminating:1;
};

/* Who says that he has this token. */
struct gw_claim_s {
    UT_hash_handle   hh;
    gw_worker_t     *workers;
    gw_worker_t     *holder;            /* whose it is for the model */
    uint8_t          hash[OBJ_HASH_LEN];
};

/* A BuildKitWorker; or only the name of one, which a Pod says. */
struct gw_worker_s {
    UT_hash_handle   hh;
    gw_worker_t     *dprev, *dnext;     /* of those that changed */
    gw_worker_t     *cprev, *cnext;     /* of its claim */
    gw_ns_t         *ns;
    gw_pod_t        *pods;
    char            *key;
    const char      *name;              /* in key */

    /* the object */
    char            *pool;              /* namespace/name */
    char            *pod;               /* status.podName */
    char            *message;
    char            *drained;           /* NULL: it is not */
    gw_claim_t      *claim;             /* NULL: no allocation */
    obj_alloc_t      alloc;
    obj_ended_t     *ends;              /* to be told; state below 0: it is
                                           only not there any more */
    size_t           nends;
    uint64_t        *known;             /* ended ones that were told */
    size_t           nknown;
    char             uid[GW_UID_MAX];
    int              phase;
    unsigned         present:1;
    unsigned         queued:1;

    /* the model */
    unsigned         dirty:1;
    unsigned         waiting:1;         /* to be shown again soon */
    unsigned         put:1;
    unsigned         fresh:1;           /* this Pod is new */
    unsigned         was_on:1;          /* on[] is one */
    char            *put_pool;
    char            *drain_said;        /* NULL: it is not drained there */
    char            *lost;              /* why the Pod shown is not there */
    uint64_t         on_ms;             /* monotonic; 0: from before */
    uint8_t          on[OBJ_HASH_LEN];  /* who got the Pod shown */
    char             shown_uid[GW_UID_MAX];
    char             shown[OBJ_ADDRESS_MAX];    /* its endpoint, or "" */
    int              state;             /* BK_WORKER_* as it was put */
};

/* An object that is not used, by "KIND namespace/name". */
struct gw_refused_s {
    UT_hash_handle   hh;
    char             reason[48];
    char             key[];
};

struct gw_s {
    const bk_host_t   *host;
    gw_ns_t           *nss;
    size_t             nnss;
    obj_avoid_t        avoid;

    gw_pool_t         *pools;           /* hashes by key */
    gw_worker_t       *workers;
    gw_pod_t          *pods;
    gw_claim_t        *claims;          /* by SHA-256(token) */
    gw_refused_t      *refused;
    obj_ended_t       *ended;           /* room for one object's */

    gw_worker_t       *dirty;
    bk_timer_t        *flush;
    bk_timer_t        *again;           /* for those that wait */
    uint64_t           again_ms;        /* when it fires; 0: it is not set */
    bk_timer_t        *late;
    int                committed;
    int                waits;       /* for somebody else's facts */
    unsigned           down;            /* watches */
    char               why[K8S_WHY_MAX];    /* the last one said */

    uint64_t           log_ms;          /* of the first one of these: */
    unsigned           logged;
    uint64_t          *refusals;        /* by reason: gw_refuse.c */
    uint64_t           lost;            /* Pods with somebody on them */
    uint64_t           young;
};


/* gw.c: namespaces are borrowed; "" is all of them.  It owns nothing of k8s,
 * and is freed before it. */
gw_t *gw_new(const bk_host_t *host, k8s_t *k8s, char *const *namespaces,
    size_t n);
void gw_free(gw_t **gw);

/* gw_take.c */
extern const k8s_watch_ops_t  gw_take_ops[GW_KINDS];

void gw_synced(void *data, int first);                          /* gw.c */
void gw_state(void *data, int connected, const char *why);
int gw_ns_fresh(const gw_ns_t *ns);
void gw_commit(gw_t *gw);               /* if all is there that will be */
void gw_wait(gw_t *gw, int waits);      /* 1: and not before it is 0 */

/* gw_index.c: "namespace/name", to be freed; find: NULL; get: makes it */
char *gw_key(const char *ns, const char *name);
char *gw_strdup(const char *s);
void gw_set(char **at, const char *s);
gw_pool_t *gw_pool_find(gw_t *gw, const char *key);
gw_pool_t *gw_pool_get(gw_ns_t *ns, const char *key);
void gw_pool_drop(gw_t *gw, gw_pool_t *p);
gw_worker_t *gw_worker_find(gw_t *gw, const char *key);
gw_worker_t *gw_worker_get(gw_ns_t *ns, const char *key);
void gw_worker_drop(gw_t *gw, gw_worker_t *w);  /* only without Pods */
gw_pod_t *gw_pod_find(gw_t *gw, const char *key);
gw_pod_t *gw_pod_get(gw_t *gw, const char *key, gw_worker_t *w);
void gw_pod_drop(gw_t *gw, gw_pod_t *p);
void gw_claim_set(gw_t *gw, gw_worker_t *w, const uint8_t *hash);
void gw_claim_drop(gw_t *gw, gw_worker_t *w);   /* others may have it now */
void gw_index_free(gw_t *gw);

/* gw_flush.c */
void gw_dirty(gw_t *gw, gw_worker_t *w);
void gw_dirty_pool(gw_t *gw, const char *pool);
void gw_dirty_ns(gw_ns_t *ns);
void gw_flush(void *data);
void gw_again(void *data);
void gw_again_in(gw_t *gw, uint64_t ms);
void gw_pool_show(gw_t *gw, gw_pool_t *p);
void gw_pool_hide(gw_t *gw, gw_pool_t *p);

/* gw_show.c */
void gw_show(gw_t *gw, gw_worker_t *w, const gw_pool_t *p);
void gw_hide(gw_t *gw, gw_worker_t *w);
void gw_forget(gw_worker_t *w);         /* the model has lost it */

/* gw_alloc.c */
void gw_alloc_gone(gw_t *gw, gw_worker_t *w, const char *reason);
void gw_alloc_ended(gw_worker_t *w, const obj_ended_t *ended, size_t n);
void gw_alloc_ends(gw_t *gw, gw_worker_t *w);
void gw_alloc_show(gw_t *gw, gw_worker_t *w);
int gw_alloc_loses(gw_t *gw, gw_worker_t *w);   /* 1: it waits, 0: it fails */
int gw_alloc_live(gw_t *gw, const gw_worker_t *w);

/* gw_use.c */
void gw_use_start(gw_t *gw);

/* gw_refuse.c */
void gw_refuse(gw_t *gw, const char *kind, const char *key,
    const bk_err_t *err);
void gw_refuse_not(gw_t *gw, const char *kind, const char *key);
void gw_refuse_init(gw_t *gw);
void gw_refuse_free(gw_t *gw);
void gw_stats(gw_t *gw, bk_stat_pt fn, void *data);

#define GW_STR(s)  ((bk_str_t) { (s), strlen(s) })

#endif /* GW_H_INCLUDED */
