/*
 * A client of the Kubernetes API: what any controller needs, and nothing of
 * BuildKit's.  k8s_conf.c finds the server and who we are, k8s_client.c asks
 * it, k8s_split.c cuts what it says into objects, k8s_watch.c keeps up with a
 * collection, k8s_lease.c is the leader or is not.
 *
 * https://kubernetes.io/docs/reference/using-api/api-concepts/ is where the
 * facts are from: pages (limit, continue), watches (bookmarks, 410 Gone),
 * server-side apply, resourceVersion as precondition.
 *
 * Everything is on the host's loop; nothing blocks.  Objects are json_t *,
 * borrowed for the duration of a callback unless said otherwise.
 */

#ifndef K8S_H_INCLUDED
#define K8S_H_INCLUDED

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "bk_plugin.h"
#include "bk_fetch.h"


#define K8S_NAME_MAX    253     /* RFC 1123 subdomain */
#define K8S_OBJECT_MAX  (16 * 1024 * 1024)  /* etcd takes 1.5 MiB, of which
                                               "<" is six bytes of JSON */
#define K8S_PAGE        500
#define K8S_DEPTH       64      /* of JSON */


/* --- where the server is, and who we are (k8s_conf.c) ------------------- */

typedef struct k8s_conf_s  k8s_conf_t;

/*
 * kubeconfig: a file, or NULL: $KUBECONFIG's first, or in a Pod its service
 * account.  context: of the file, or NULL: its current one.  Understood are
 * server, certificate-authority(-data), tls-server-name, client-certificate
 * and client-key(-data), token, tokenFile, namespace.  exec, auth-provider,
 * username and insecure-skip-tls-verify are refused by name (400).
 */
int k8s_conf_load(k8s_conf_t **conf, const char *kubeconfig,
    const char *context, bk_err_t *err);
void k8s_conf_free(k8s_conf_t **conf);
const char *k8s_conf_server(const k8s_conf_t *c);       /* "https://..." */
const char *k8s_conf_namespace(const k8s_conf_t *c);    /* never NULL */


/* --- asking it (k8s_client.c) ------------------------------------------- */

typedef struct k8s_s      k8s_t;
typedef struct k8s_req_s  k8s_req_t;

/* owns conf from here on */
k8s_t *k8s_new(const bk_host_t *host, k8s_conf_t *conf);
/* cancels all; its watches and leases are freed before */
void k8s_free(k8s_t **k);
const k8s_conf_t *k8s_conf(const k8s_t *k);

/* One kind of objects. */
typedef struct {
    const char  *group;         /* "" for the core group */
    const char  *version;       /* "v1" */
    const char  *plural;        /* "pods" */
    const char  *kind;          /* "Pod" */
} k8s_kind_t;

/*
 * How it ended.  status: HTTP's, 0: it was not reached, or its answer was
 * lost: of a write it is not known then whether it was done.  reason: of the
 * Status object ("NotFound", "AlreadyExists", "Conflict", "Invalid",
 * "Forbidden", ...), empty where there was none.  text: a sentence for logs
 * and users.  obj: what it answered, NULL on failure.
 */
typedef struct {
    int          status;
    char         reason[64];
    char         text[512];
    unsigned     retry_after;   /* seconds; 0: it did not say */
    json_t      *obj;           /* borrowed: json_incref() to keep */
} k8s_answer_t;

typedef void (*k8s_done_pt)(void *data, const k8s_answer_t *a);

#define K8S_OK(a)  ((a)->status >= 200 && (a)->status < 300)

/*
 * All of them: done is never called from within, exactly once, and not after
 * k8s_cancel(); it may begin and cancel others, but not free k.  ns NULL: a
 * kind without namespaces.  body is borrowed during the call; apiVersion and
 * kind are filled in.  Each request has 10 s; no write is ever sent twice: who
 * asks knows whether it may be.
 */
k8s_req_t *k8s_get(k8s_t *k, const k8s_kind_t *kind, const char *ns,
    const char *name, k8s_done_pt done, void *data);
/* all that labels select, in one answer (items), for kinds of which there are
 * few; selector NULL: all */
k8s_req_t *k8s_list(k8s_t *k, const k8s_kind_t *kind, const char *ns,
    const char *selector, k8s_done_pt done, void *data);
k8s_req_t *k8s_create(k8s_t *k, const k8s_kind_t *kind, const char *ns,
    json_t *body, k8s_done_pt done, void *data);
/* PUT: body carries metadata.resourceVersion; sub: "status" or NULL */
k8s_req_t *k8s_replace(k8s_t *k, const k8s_kind_t *kind, const char *ns,
    const char *name, const char *sub, json_t *body, k8s_done_pt done,
    void *data);
/* merge patch (RFC 7386); a resourceVersion in it is a precondition */
k8s_req_t *k8s_patch(k8s_t *k, const k8s_kind_t *kind, const char *ns,
    const char *name, const char *sub, json_t *body, k8s_done_pt done,
    void *data);
/* server-side apply as field manager "buildkit-gateway", forced */
k8s_req_t *k8s_apply(k8s_t *k, const k8s_kind_t *kind, const char *ns,
    const char *name, json_t *body, k8s_done_pt done, void *data);
/* uid, version: preconditions or NULL; grace: seconds or -1; 404 is K8S_OK:
 * status 200, obj NULL */
k8s_req_t *k8s_delete(k8s_t *k, const k8s_kind_t *kind, const char *ns,
    const char *name, const char *uid, const char *version, int grace,
    k8s_done_pt done, void *data);
void k8s_cancel(k8s_req_t **r);


/* --- cutting into objects (k8s_split.c) --------------------------------- */

/*
 * Bytes in, objects out: of a stream of objects, one behind the other (a
 * watch), or of the array "items" of one object (a page of a list), whose
 * other members are given at its end.  An object of more than K8S_OBJECT_MAX
 * or that is no JSON is an error; so is a NUL byte, a key that is there twice,
 * and anything behind the end.
 *
 * Nobody may keep all objects from being read by writing an odd one, so what
 * an API server does hand out is read: what is deeper than K8S_DEPTH is null,
 * U+0000 in strings is U+FFFD, and where a number is beyond 64 bits all
 * numbers of that object are reals.  metadata.managedFields, of no use to
 * anybody here, is null.
 */
typedef struct k8s_split_s  k8s_split_t;

/* -1: stop; may not free the splitter */
typedef int (*k8s_object_pt)(void *data, json_t *obj);

k8s_split_t *k8s_split_stream(k8s_object_pt fn, void *data);
k8s_split_t *k8s_split_list(k8s_object_pt item, void *data);
/* of a list, right behind k8s_split_list(): told of each item's metadata before
 * the rest of it is read; 1: it is as it was, and is not handed out */
typedef int (*k8s_same_pt)(void *data, json_t *meta);
void k8s_split_same(k8s_split_t *s, k8s_same_pt same);
void k8s_split_free(k8s_split_t **s);
/* -1: err says why (or fn said stop: err.reason "Stopped"); not to be fed
 * again */
int k8s_split_feed(k8s_split_t *s, const char *p, size_t n, bk_err_t *err);
/* the end of input; of a list: the object without its items, to be freed by
 * the caller; of a stream: NULL with *err untouched when between objects */
json_t *k8s_split_end(k8s_split_t *s, bk_err_t *err);


/* --- keeping up with a collection (k8s_watch.c) ------------------------- */

/*
 * Lists in pages, then watches with bookmarks from there on; lists again
 * after 410 Gone, without a gap: objects that are new or changed in the new
 * list are put, those that are not any more are gone once the list is
 * complete, and until then nothing is taken away.  Such a list is not older
 * than what is known, and is asked for in one piece, which the API server
 * has in its memory; any other is the newest that etcd has.  Errors: the same
 * page or watch again after a back-off (0.5 s to 30 s, with jitter, Retry-After
 * respected up to 2 min).
 *
 * A server that hangs is found out by its silence of 45 s: watches are asked
 * for 30 to 40 s only, as bookmarks do not come for sure.
 */
typedef struct k8s_watch_s  k8s_watch_t;

/* None of them may free the watch or its k8s_t. */
typedef struct {
    /* a new or changed object; again: it is of a list, so perhaps the same:
     * of one that k8s_watch_again() has asked for */
    void (*put)(void *data, json_t *obj, int again);
    /* it is gone; obj as it was last where known (a DELETED event), or NULL:
     * ns and name say which.  Also before put() of another one of that name
     * (metadata.uid) that came in its place while nobody was watching. */
    void (*gone)(void *data, const char *ns, const char *name, json_t *obj);
    /* a list is complete (first: the first one); all is known */
    void (*synced)(void *data, int first);
    /* connected: 1 keeps up, 0 does not since now: why says it.  0 once more
     * when it is for another reason: at once where that is who we are (401,
     * 403), else ten minutes later at the earliest. */
    void (*state)(void *data, int connected, const char *why);
} k8s_watch_ops_t;

#define K8S_WHY_MAX  512

/* the same reason but for numbers, as of how long something took? */
int k8s_alike(const char *one, const char *two);

/* ns NULL or "": all namespaces; selector: of labels, or NULL */
k8s_watch_t *k8s_watch(k8s_t *k, const k8s_kind_t *kind, const char *ns,
    const char *selector, const k8s_watch_ops_t *ops, void *data);
/* only those whose fields are so ("type=kubernetes.io/tls"), right behind
 * k8s_watch() */
void k8s_watch_fields(k8s_watch_t *w, const char *selector);
void k8s_watch_free(k8s_watch_t **w);
/* lists now, and all of it is put; for tests and for who doubts */
void k8s_watch_again(k8s_watch_t *w);

typedef struct {
    uint64_t  lists, pages, watches, events, bookmarks, gones, errors;
    size_t    objects;          /* known */
    uint64_t  synced_ms;        /* monotonic, of the last list or event */
    uint64_t  list_ms;          /* that the last list took */
    uint64_t  same;             /* objects that lists had as they were */
    int       connected;
} k8s_watch_stats_t;

void k8s_watch_stats(const k8s_watch_t *w, k8s_watch_stats_t *out);


/* --- one leader (k8s_lease.c) ------------------------------------------- */

/*
 * coordination.k8s.io/v1 Lease, as client-go's leader election does it (and
 * together with it): duration 15 s, renewed every 2 s, given up by ourselves
 * 10 s after the last renewal that was answered was sent (by CLOCK_BOOTTIME,
 * so that a paused or suspended process knows at once), taken over when
 * another's was not seen to change for its duration by our own clock.
 *
 * Between two leaders there is time, but not for a request that was sent
 * before: what a leader writes carries a resourceVersion as precondition.
 */
typedef struct k8s_lease_s  k8s_lease_t;

/* leader: 1 from now on, 0 not (any more); who: the holder, "" nobody or not
 * known.  Called for each change of either, never from within a call of ours.
 * May free the lease, as done() of a release may. */
typedef void (*k8s_lease_pt)(void *data, int leader, const char *who);

/* identity: of this process and of no other, so with something random in it:
 * whoever has the holder's identity is the holder; up to K8S_NAME_MAX bytes */
k8s_lease_t *k8s_lease(k8s_t *k, const char *ns, const char *name,
    const char *identity, k8s_lease_pt changed, void *data);
/* other times than those, right behind k8s_lease(): renewal < limit <
 * duration.  All that compete should agree. */
void k8s_lease_times(k8s_lease_t *l, unsigned duration_s,
    unsigned renewal_ms, unsigned limit_ms);
/* may we write now?  To be asked before each write that only a leader may
 * do; looks at the clock. */
int k8s_lease_valid(const k8s_lease_t *l);
/* Not leader from now on (changed() is not called any more); gives it back
 * where we have it, then done(), within 5 s. */
void k8s_lease_release(k8s_lease_t *l, void (*done)(void *data), void *data);
/* as it is: another one takes over after the duration */
void k8s_lease_free(k8s_lease_t **l);

#endif /* K8S_H_INCLUDED */
