/*
 * The controller (role controller): pools become workers, gateways, Secrets
 * and Services; allocations are in the workers' objects.
 *
 *   ct.c          its life: watches, what is synchronised when, numbers
 *   ct_leader.c   who leads: the Lease, and the label on the leader's Pod
 *   ct_dirty.c    who is looked at again, and when
 *   ct_index.c    pools and workers, and which objects are theirs
 *   ct_limit.c    how many of them a namespace may have
 *   ct_obj.c      the objects as they are known: from watches, and from the
 *                 answers to what we write
 *   ct_write.c    writes of one object, one after the other; ct_turn.c: when;
 *                 ct_answer.c: how they ended
 *   ct_event.c    Events
 *   ct_api.c      TLS of the controller's own API
 *   ct_use*.c     who is connected to a worker, as gateways say
 *   ct_state.c    what the replicas share: a Secret, files of the host
 *   ct_store*.c   the host's store: allocations in spec.allocation and .ended
 *   ct_worker*.c  a worker: its object, Pod and claim; host's model; scaling
 *   ct_pool*.c    a pool: certificates, gateway, Services; its status
 *   mk*.c         how the objects that we make look (mk.h): JSON in, JSON out
 *
 * It goes by what is, never by what has happened: a watch or an answer changes
 * a known object (ct_obj_t), whose pool and worker are looked at again soon
 * (ct_dirty), and whoever looks compares what is with what should be and
 * writes the difference.  So a write that is lost, doubled, or refused needs
 * no care but to look again, and a new leader goes on where the last one was.
 *
 * Everybody watches and tells the host's model; only the leader writes, and
 * every write carries the resourceVersion that it was decided by.
 */

#ifndef CT_H_INCLUDED
#define CT_H_INCLUDED

#define uthash_fatal(msg)  abort()
#include <stdlib.h>
#include <uthash.h>
#include <utlist.h>

#include "bk_err.h"
#include "bk_table.h"
#include "k8s.h"
#include "obj.h"


#define CT_LEASE        "buildkit-controller"
#define CT_STATE        "buildkit-controller-state"
#define CT_LABEL_LEADER OBJ_GROUP "/leader"
/* of a busy worker's Pod, and its pool */
#define CT_FINALIZER    OBJ_GROUP "/live-build"

#define CT_STR(s)  ((bk_str_t) { (s), strlen(s) })


/* Kinds that are watched, and those that are only written. */
typedef enum {
    CT_POOL = 0,
    CT_WORKER,
    CT_POD,                     /* with the label purpose worker */
    CT_CLAIM,                   /* PersistentVolumeClaim, the same */
    CT_BUDGET,                  /* PodDisruptionBudget, the same */
    CT_DEPLOYMENT,              /* with the label purpose gateway */
    CT_SERVICE,                 /* with the label pool */
    CT_FRONT,                   /* Pod with the label purpose gateway */
    CT_WATCHED,

    CT_SECRET = CT_WATCHED,     /* got by name: never listed (k8s/README.md) */
    CT_CONFIGMAP,
    CT_ACCOUNT,                 /* ServiceAccount */
    CT_ROLEBINDING,
    CT_INGRESS,
    CT_TLSROUTE,                /* gateway.networking.k8s.io */
    CT_GATEWAY,                 /* the same group */
    CT_CERTIFICATE,             /* cert-manager.io */
    CT_KINDS
} ct_kind_t;

extern const k8s_kind_t  ct_kinds[CT_KINDS];        /* ct_obj.c */


typedef struct ct_s         ct_t;
typedef struct ct_conf_s    ct_conf_t;
typedef struct ct_ns_s      ct_ns_t;
typedef struct ct_watch_s   ct_watch_t;
typedef struct ct_obj_s     ct_obj_t;
typedef struct ct_job_s     ct_job_t;
typedef struct ct_pool_s    ct_pool_t;
typedef struct ct_worker_s  ct_worker_t;
typedef struct ct_store_s   ct_store_t;
typedef struct ct_state_s   ct_state_t;
typedef struct ct_events_s  ct_events_t;
typedef struct ct_uses_s    ct_uses_t;
typedef struct ct_leader_s  ct_leader_t;
typedef struct ct_applied_s ct_applied_t;


/* The plugin's options of role controller; owned by kubernetes.c. */
struct ct_conf_s {
    char    *namespace;         /* of this controller: Lease, state, leader */
    char    *pod;               /* our Pod's name ($POD_NAME), or "" */
    char    *gateway_image;     /* option gatewayImage; "": that of the
                                   container front of our Pod */
    char    *companion_image;   /* option companionImage; "": controller's */
    char    *buildkit_image;    /* option buildkitImage */
    char    *rootless_image;    /* option buildkitRootlessImage; "": made of
                                   buildkitImage: "-rootless" behind its tag */
    char    *template_dir;      /* option gatewayTemplate: gateway.yaml and
                                   nginx.conf, copied to where gateways are */
    char    *controller_url;    /* option controllerURL: what gateways get as
                                   --controller-endpoint */
    char    *external_host;     /* option externalHost: what clients are told
                                   for NodePorts; "": the Service's name */
    char    *api_tls;           /* option apiTLS: a folder, or "": ct_api.h */
    char   **api_names;         /* option apiNames: the last one is NULL; NULL:
                                   none */
    char    *scratch_size;      /* option scratchSize: of a worker's emptyDir;
                                   "" or NULL: no limit */
    char   **privileged;        /* option privileged: namespaces, the last one
                                   is NULL; NULL: none, "*": all */
    char   **annotations;       /* options annotations and labels: see */
    char   **labels;            /* mk_policy.c */
    char   **gateways;          /* option gateways: "namespace/name" of pools
                                   whose gateway may come to the workers of
                                   all; the last one is NULL; NULL: none */
    uint64_t lease_ms;          /* option leaseDuration */
    unsigned max_pools;         /* option namespacePools; 0: any number */
    unsigned max_workers;       /* option namespaceWorkers; 0: any number */
};


/* --- objects (ct_obj.c) --------------------------------------------------- */

/*
 * An object as it is known, or only its key; without managedFields, a Pod
 * without its spec (but hostNetwork), a budget without spec and status, a
 * Deployment without its template, of a pool's annotations their hash, and but
 * for pools and workers with our own labels and annotations only.  obj is not
 * changed in place: json_incref() keeps it as it was.
 */
struct ct_obj_s {
    UT_hash_handle   hh;
    ct_t            *ct;
    ct_kind_t        kind;
    json_t          *obj;               /* NULL: there is none, as far as we
                                           know */
    ct_pool_t       *pool;              /* whose it is, or NULL */
    ct_worker_t     *worker;            /* whose it is, or NULL */
    ct_job_t        *jobs;              /* writes; the first is under way */
    char            *name;              /* in key */
    unsigned         known:1;           /* of a kind that is not watched: it
                                           was got (also: there is none), or
                                           written, at least once */

    uint64_t         stored_ms;         /* monotonic: when an allocation of it
                                           was written last, or 0 */

    /* ct_obj.c's */
    unsigned         answered:1;        /* of an answer: newer than what the
                                           watch has said */
    char            *gone_uid;          /* the last one that is gone */
    char            *gone_version;      /* when; NULL: for sure */

    /* ct_write.c's */
    unsigned         queued:1;          /* waits for its turn */
    unsigned         reads:1;           /* is to be read */
    unsigned         reading:1;         /* what is under way is that */
    unsigned         late:1;            /* is among those that failed */
    unsigned         moved:1;           /* something was sent, since nothing
                                           was waiting */
    unsigned         held;              /* is in use: not to be freed */
    unsigned         fails;             /* one behind the other */
    int              failed;            /* 1 << CT_*: writes that did; 0: any */
    uint64_t         retry_ms;          /* not before (monotonic) */
    uint64_t         read_ms;           /* it was got, or there was none, then:
                                           ct_obj_read(); monotonic */
    k8s_req_t       *req;
    ct_applied_t    *applied;
    ct_obj_t        *qprev, *qnext;     /* of those that wait for a turn */
    ct_obj_t        *lprev, *lnext;     /* of those that failed */

    char             key[];             /* "namespace/name" */
};

/* NULL: not known at all */
ct_obj_t *ct_obj_find(ct_t *ct, ct_kind_t kind, const char *key);
/* makes it; ns and name */
ct_obj_t *ct_obj_get(ct_t *ct, ct_kind_t kind, const char *ns,
    const char *name);
/* every one of a kind; del: may be dropped meanwhile */
ct_obj_t *ct_obj_first(ct_t *ct, ct_kind_t kind);       /* then o->hh.next */
/* what a watch (watched 1) or an answer says; an older version than is known
 * is not taken (resourceVersions of one object grow: etcd's revision) */
void ct_obj_put(ct_obj_t *o, json_t *obj, int watched);
/* takes off what nobody reads (ct_obj_trim.c) */
void ct_obj_trim(const ct_obj_t *o, json_t *obj);
/* uid NULL: whichever; nothing of it is taken that is older than version;
 * NULL: nothing at all, as it has ended for sure */
void ct_obj_gone(ct_obj_t *o, const char *uid, const char *version);
/* what a watch says: as it was last, or NULL: it is in no list any more */
void ct_obj_left(ct_obj_t *o, json_t *obj);
/* Pods that are there, but not where the watch looks: reads them */
void ct_obj_strays(ct_t *ct);
/* frees it when it is nothing to anybody: no object, no owner, no writes */
void ct_obj_drop(ct_obj_t *o);
void ct_obj_free_all(ct_t *ct);
/* its owners look at it */
void ct_obj_dirty(ct_obj_t *o);
/* GET now, for kinds that are not watched; then ct_dirty() of its owner */
void ct_obj_read(ct_obj_t *o);

/* of o->obj, "" or 0 where it is not there */
const char *ct_uid(const ct_obj_t *o);
const char *ct_version(const ct_obj_t *o);
const char *ct_label(const ct_obj_t *o, const char *label);
int ct_deleting(const ct_obj_t *o);                 /* deletionTimestamp */
int ct_finalizer(const ct_obj_t *o, const char *finalizer);
/* a patch with it or without it: a merge patch has the whole list */
json_t *ct_finalizers(const ct_obj_t *o, const char *finalizer, int on);
/* "a", "b", NULL: o->obj.a.b, or NULL */
json_t *ct_at(const ct_obj_t *o, ...) __attribute__((sentinel));


/* --- writes (ct_write.c) -------------------------------------------------- */

/*
 * What to write, made when it is this write's turn, of the object as it is
 * known then (o->obj; NULL: there is none).  Returns the body, or NULL: there
 * is nothing to be written any more (err->code 0), or it may not be.
 */
typedef json_t *(*ct_make_pt)(void *data, ct_obj_t *o, bk_err_t *err);

/* err NULL: it is so (or nothing was to be done).  503 NotLeader, Unknown (it
 * may be there or not, and o->obj was read again); 409 Conflict after tries;
 * 404 NotFound: CT_PATCH or CT_STATUS of what is not there; else the API
 * server's refusal.  May be NULL; never called from within. */
typedef void (*ct_done_pt)(void *data, ct_obj_t *o, const bk_err_t *err);

#define CT_CREATE  1    /* make is called only while there is none; one that is
                           there by then is not touched */
#define CT_PATCH   2    /* merge patch; 404 when there is none */
#define CT_STATUS  3    /* the same of the subresource status */
#define CT_APPLY   4    /* server-side apply: created or changed; not sent when
                           what was applied last is the same and it is still
                           there as it was, but now and then */
#define CT_DELETE  5    /* make: returns {"gracePeriodSeconds": N} or {} */
#define CT_TEND    6    /* CT_PATCH that nobody waits for */
#define CT_PLACE   7    /* CT_CREATE that somebody waits for */

/*
 * Writes of one object are done one after the other, each with uid and
 * resourceVersion of o->obj as precondition (or that there is none), only while
 * ct_may().  409: read and made again, eight times at most.  A write that fails
 * for another reason is not tried again: who looks next time asks again
 * (ct_dirty() with a back-off that this does).  What is asked for again before
 * that waits, but not a CT_PATCH or CT_PLACE: somebody waits for them, and can
 * take another worker; what is not for anybody's allocation is CT_TEND.  done()
 * makes nobody dirty when there is an err: that back-off does.  The answer is
 * put into o->obj.
 */
void ct_write(ct_obj_t *o, int how, ct_make_pt make, ct_done_pt done,
    void *data);
/* the same with a body that is there already (taken over); not CT_APPLY's
 * alone: any, where it depends on nothing */
void ct_write_body(ct_obj_t *o, int how, json_t *body, ct_done_pt done,
    void *data);
/* is a write of it waiting or under way? */
int ct_writing(const ct_obj_t *o);
/* the same, but of more than its status, which may have to wait for long */
int ct_changing(const ct_obj_t *o);
void ct_write_free(ct_obj_t *o);

/* ct_turn.c */
void ct_turn_start(ct_t *ct);
void ct_turn(ct_obj_t *o);          /* it has something to be done */
void ct_turn_stop(ct_t *ct);        /* what is not under way is not begun */


/* --- a pool and its workers ----------------------------------------------- */

/*
 * A BuildKitPool, or the name of one that workers, Pods or claims are of.
 * What its spec says is read once for each version: ct_pool_spec.c.
 */
struct ct_pool_s {
    UT_hash_handle   hh;
    ct_t            *ct;
    ct_obj_t        *o;                 /* its object; o->obj may be NULL */
    ct_worker_t     *workers;           /* by slot, then name: list */
    ct_pool_t       *dprev, *dnext;     /* of those to be looked at */
    char            *read;              /* resourceVersion that spec is of */

    /* the spec; defaults filled in */
    int              min, max;
    int              manual;            /* scaling.mode */
    int              slots;             /* workers that it may have, by
                                           ct_limit.c */
    uint64_t         delay_ms;          /* scaleDownDelay */
    char            *arch;              /* "": whatever */
    char            *cache_size;        /* local cache: its size, or NULL */
    int              tls;               /* towards the workers */

    /* who looks: own records */
    struct ct_pool_own_s   *own;        /* ct_pool*.c */
    struct ct_scale_s      *scale;      /* ct_scale.c */
    uint64_t         looked_ms;         /* monotonic */
    unsigned         dirty:1;
    unsigned         put:1;             /* the model has it */
    unsigned         refused:1;         /* its namespace has too many */
    char             key[];             /* "namespace/name" */
};

/*
 * A worker: the slot POOL-N, whether it has an object or not (0 <= N < max are
 * in the model), or an object of another name: "queued-ID", or what somebody
 * else has made.
 */
struct ct_worker_s {
    ct_worker_t     *prev, *next;       /* of its pool */
    UT_hash_handle   hh;                /* by key */
    ct_worker_t     *dprev, *dnext;     /* of those to be looked at */
    ct_pool_t       *pool;
    ct_obj_t        *o;                 /* BuildKitWorker */
    ct_obj_t        *pod;               /* NULL: none has been seen */
    ct_obj_t        *claim;             /* cache-POOL-N, or NULL */
    int              slot;              /* -1: none */
    int              queued;            /* it is only an allocation */
    int              wanted;            /* the host wants it to run */
    uint64_t         due_ms;            /* it is looked at then; 0: no matter */
    struct ct_worker_own_s  *own;       /* ct_worker*.c */
    unsigned         dirty:1;
    char            *name;              /* in key */
    char             key[];             /* "namespace/name" */
};

struct ct_watch_s {
    ct_ns_t      *ns;
    ct_kind_t     kind;
    k8s_watch_t  *watch;
    uint64_t      lists;                /* that were begun before we had it */
    int           synced;
    int           fresh;
    int           up;
};

/* What is watched together. */
struct ct_ns_s {
    ct_t         *ct;
    const char   *name;                 /* "": all */
    ct_watch_t    watches[CT_WATCHED];
    int           synced;               /* all is known */
    int           fresh;                /* as it is since we have the Lease */
};

struct ct_s {
    const bk_host_t  *host;
    k8s_t            *k8s;
    ct_conf_t        *conf;
    ct_ns_t          *nss;
    size_t            nnss;

    ct_obj_t         *objs[CT_KINDS];   /* by key */
    ct_pool_t        *pools;            /* by key */
    ct_worker_t      *workers;          /* by key */
    ct_pool_t        *dirty_pools;
    ct_worker_t      *dirty_workers;
    bk_timer_t       *flush;
    bk_timer_t       *again;            /* all are looked at, now and then */
    uint64_t          again_ms;         /* monotonic: when */
    uint64_t          due_ms;           /* the first worker's, or before; 0 */
    uint64_t          walked_ms;        /* it was looked who is due */
    bk_timer_t       *late;             /* a namespace that cannot be read */
    int               limits;           /* pools are to be counted anew */
    unsigned          down;             /* watches */
    char              why[K8S_WHY_MAX]; /* the last one said */
    int               committed;        /* the model has all */

    ct_leader_t      *lead;
    int               leads;            /* and all is synchronised */
    uint64_t          begun_ms;         /* since when; monotonic */
    int               stopping;
    void            (*stopped)(void *data);
    void             *stopped_data;

    bk_timer_t       *turn;             /* writes */
    bk_timer_t       *retry;
    ct_obj_t         *turns[2];         /* those that wait; the first: workers */
    ct_obj_t         *lates;            /* those that failed */
    unsigned          running;          /* requests */

    obj_avoid_t       avoid;            /* ct_worker.c */
    ct_store_t       *store;
    ct_state_t       *state;
    ct_events_t      *events;
    ct_uses_t        *uses;
    struct ct_common_s  *common;        /* of all pools: ct_pool_common.c */
    uint64_t          writes, conflicts, refusals, unknown;
};


/* ct.c */
ct_t *ct_new(const bk_host_t *host, k8s_t *k8s, ct_conf_t *conf,
    char *const *namespaces, size_t n);
void ct_stop(ct_t *ct, void (*done)(void *data), void *data);
void ct_free(ct_t **ct);
void ct_stats(ct_t *ct, bk_stat_pt fn, void *data);
/* may we write now?  Looks at the clock. */
int ct_leads(const ct_t *ct);
/* the same for what is in the namespace of key ("namespace/..."), which is
 * known as it is since we lead */
int ct_may(const ct_t *ct, const char *key);
/* it may be that all is synchronised now */
void ct_sync(ct_t *ct);
/* whose namespace is known in full?  key: "namespace/..." */
int ct_synced(const ct_t *ct, const char *key);
ct_ns_t *ct_ns_of(const ct_t *ct, const char *key);
/* the Lease is ours, or not any more (ct_leader.c) */
void ct_won(ct_t *ct);
void ct_lost(ct_t *ct);
/* a write has ended; stopping goes on when none is under way */
void ct_idle(ct_t *ct);
char *ct_strdup(const char *s);

/* ct_leader.c */
void ct_leader_start(ct_t *ct);
int ct_leader_is(const ct_t *ct);       /* we have the Lease; by the clock */
const char *ct_leader_who(const ct_t *ct);
int ct_leader_seen(const ct_t *ct);     /* its Pod, whose images are used */
void ct_leader_label(ct_t *ct, int on);
void ct_leader_stop(ct_t *ct, void (*done)(void *data), void *data);
void ct_leader_free(ct_t *ct);

/* ct_dirty.c */
void ct_dirty_all(ct_t *ct, const char *ns);    /* NULL: everywhere */
void ct_flush(void *data);
void ct_again(void *data);

/* to be looked at again, soon; NULL is nobody */
void ct_dirty_pool(ct_pool_t *p);
void ct_dirty_worker(ct_worker_t *w);
/* in ms, or a moment later, once: it and its pool; forgotten when it is looked
 * at before */
void ct_dirty_worker_in(ct_worker_t *w, uint64_t ms);
/* all, in ms, once */
void ct_dirty_in(ct_t *ct, uint64_t ms);
/* key: "namespace/name"; get: makes it */
ct_pool_t *ct_pool_find(ct_t *ct, const char *key);
ct_pool_t *ct_pool_get(ct_t *ct, const char *ns, const char *name);
ct_worker_t *ct_worker_find(ct_t *ct, const char *key);
ct_worker_t *ct_worker_get(ct_t *ct, ct_pool_t *pool, const char *name);
/* Nothing is known of it, so it goes; not while it has an object or a write
 * of one is under way: who looks then may try again. */
void ct_worker_drop(ct_worker_t *w);
/* N of "POOL-N", -1: it is no slot's name */
int ct_slot(const ct_pool_t *p, const char *name);
void ct_index_link(ct_obj_t *o);            /* o->obj says whose it is */
void ct_index_pool(ct_pool_t *p);           /* drops one that is nothing */
void ct_index_free(ct_t *ct);

/* What ct.c tells the others, of a pool or worker that is dirty. */

/* ct_pool.c: what a pool has: certificates, gateway, Services, status */
void ct_pool_spec(ct_pool_t *p);            /* reads its spec where it is new */

/* ct_limit.c */
void ct_limit(ct_t *ct);                    /* counts, where ct->limits */
int ct_limit_asks(const ct_pool_t *p);      /* for so many workers */
/* -1: 403 TooManyPools */
int ct_limit_pool(const ct_pool_t *p, bk_err_t *err);
void ct_pool_look(ct_pool_t *p);
void ct_pool_free(ct_pool_t *p);            /* its own */
/* are the Secrets there that a worker's Pod mounts? */
int ct_pool_ready(const ct_pool_t *p);
/* the name of what it mounts: Secret and ConfigMap; NULL: none */
const char *ct_pool_worker_secret(const ct_pool_t *p);
const char *ct_pool_worker_config(const ct_pool_t *p);
/* of what is in both, 16 hex digits: a Pod that was made of something else
 * (annotation) is to be replaced when it is idle; "": not ready */
const char *ct_pool_worker_hash(const ct_pool_t *p);
/* why there are no Pods for its workers yet, for people; "": they may be */
const char *ct_pool_why(const ct_pool_t *p);
/* what of its spec the workers' Pods cannot be made of (NULL: they can): its
 * condition says so */
void ct_pool_pods_bad(ct_pool_t *p, const bk_err_t *err);
/* the host's authorities are others, or may be: all pools are looked at */
void ct_pool_trust_changed(ct_t *ct);
/* what pools have in common, at the end */
void ct_pool_common_free(ct_t *ct);

/* ct_worker.c, ct_scale.c */
void ct_worker_look(ct_worker_t *w);
void ct_worker_free(ct_worker_t *w);        /* its own */
int ct_worker_want(ct_t *ct, bk_str_t pool, bk_str_t name, int wanted,
    bk_err_t *err);
void ct_worker_event(ct_t *ct, const bk_event_t *event);    /* the model's */
void ct_scale_look(ct_pool_t *p);           /* with its pool */
/* what of its scaling is of no effect (0: nothing) */
int ct_scale_bad(const ct_pool_t *p, bk_err_t *err);
/* workers that the model has no room for */
int ct_worker_unput(const ct_pool_t *p);
/* "trusted", "untrusted" or "": whose builds its disk has seen */
const char *ct_worker_trust(const ct_worker_t *w);
void ct_scale_free(ct_pool_t *p);
/* counts for a pool's status: CT_COUNT_* */
typedef struct {
    int       total, ready, idle, allocated, provisioning, failed;
    int       desired, needed, queued;
    uint32_t  connections;
    uint64_t  last_used_ms;
} ct_counts_t;
void ct_worker_counts(const ct_pool_t *p, ct_counts_t *out);

/* ct_store.c: the store's callbacks of bk_plugin.h, and what tells it */
ct_store_t *ct_store_new(ct_t *ct);
void ct_store_free(ct_store_t **s);
void ct_store_put(ct_t *ct, const bk_stored_t *row, bk_store_pt done,
    void *data);
void ct_store_worker(ct_t *ct, const bk_stored_worker_t *w, bk_store_pt done,
    void *data);
int ct_store_each(ct_t *ct, bk_stored_pt fn, void *data);
int ct_store_workers(ct_t *ct, bk_stored_worker_pt fn, void *data);
/* w->o has changed, or is gone (w->o->obj NULL; was: as it was last) */
void ct_store_look(ct_worker_t *w, json_t *was);
/* all is synchronised and we lead (1), or not any more (0) */
void ct_store_is(ct_t *ct, int ready);
/* whose is it?  0: nobody's; hash may be NULL */
int ct_store_has(const ct_worker_t *w, uint8_t *hash);

/*
 * ct_state.c: authorities and the allocator's secret, which replicas share.
 * _prepare(): as the plugin's prepare(); calls host->prepared() itself.
 * _run(): from start() on, as long as ct lives; writes what the host changes,
 * and hears what others do: takes it over, or quits.  _look(): now, since we
 * lead.
 */
int ct_state_prepare(const bk_host_t *host, k8s_t *k8s, const ct_conf_t *conf,
    ct_state_t **state);
void ct_state_run(ct_state_t *s, ct_t *ct);
void ct_state_look(ct_state_t *s);
void ct_state_changed(ct_state_t *s, ct_t *ct);     /* the host's files */
void ct_state_free(ct_state_t **s);

/* ct_event.c: type "Normal" or "Warning"; reason CamelCase; at most one of a
 * reason and text for an object in 10 minutes, then counted (series) */
void ct_event(ct_obj_t *o, const char *type, const char *reason,
    const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* of what is no object of ours: namespace, kind ... of it are in ref */
void ct_event_of(ct_t *ct, json_t *ref, const char *type, const char *reason,
    const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void ct_events_stats(const ct_t *ct, uint64_t *made, uint64_t *dropped);
void ct_events_free(ct_events_t **e);

/*
 * ct_use.c: who is connected to a worker, as the Pods of gateways say (all of
 * the namespace, and of the option gateways; GET /connections, gw_use.c).
 * last_used_ms by our clock: now while there is anybody; 0: never, as far as
 * they know.  -1: not all of them
 * were asked yet, so nothing is to be stopped.  Who is connected changes: the
 * worker and its pool are dirty.
 */
int ct_use(const ct_worker_t *w, bk_worker_use_t *out);
void ct_use_start(ct_t *ct);
void ct_use_free(ct_t *ct);

/* what one of them says, entry by entry; 502 BadAnswer, after those that were
 * good */
#define CT_USE_MAX       (4 * 1024 * 1024)
#define CT_USE_IDLE_MAX  (365ull * 24 * 3600 * 1000)

typedef struct {
    const char  *pool;          /* "namespace/name" */
    const char  *worker;
    uint32_t     connections;
    uint32_t     builds;
    uint64_t     idle_ms;       /* nobody was connected for so long */
} ct_use_one_t;

typedef void (*ct_use_pt)(void *data, const ct_use_one_t *use);

int ct_use_read(const char *text, size_t len, ct_use_pt fn, void *data,
    bk_err_t *err);

#endif /* CT_H_INCLUDED */
