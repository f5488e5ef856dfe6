/*
 * What objects of this API and Pods say, as facts: JSON in, checked values
 * out.  Nothing here knows the host, a watch or other objects, and nothing is
 * taken on trust: whoever may write objects may write anything into them.
 *
 * Strings are borrowed from the JSON.  Names of fields: k8s/base/crds.
 */

#ifndef OBJ_H_INCLUDED
#define OBJ_H_INCLUDED

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "bk_plugin.h"


#define OBJ_GROUP       "buildkit.smrt-devops.net"
#define OBJ_PORT        1234    /* of every worker's buildkitd */

#define OBJ_LABEL_POOL     OBJ_GROUP "/pool"
#define OBJ_LABEL_WORKER   OBJ_GROUP "/worker"
#define OBJ_LABEL_PURPOSE  OBJ_GROUP "/purpose"

#define OBJ_HASH_LEN    32
#define OBJ_TOKEN_MIN   32      /* what the gateway takes from certificates */
#define OBJ_TOKEN_MAX   256
#define OBJ_ENDED_MAX   32      /* of a worker; more are not looked at */
#define OBJ_TEXT_MAX    200     /* of a text for people, with its NUL */
#define OBJ_POOL_MAX    253
#define OBJ_ADDRESS_MAX 64      /* "[ADDRESS]:PORT" */


/* --- BuildKitWorker (obj_worker.c) --------------------------------------- */

/* spec.allocation */
typedef struct {
    uint8_t   hash[OBJ_HASH_LEN];
    uint8_t   key_hash[OBJ_HASH_LEN];
    uint64_t  expires_ms;       /* 0: never */
    int       bound;            /* key_hash is there */
    int       foreign;          /* the token itself is in the object */
    int       state;            /* BK_ALLOC_QUEUED .. BK_ALLOC_DRAINING */
} obj_alloc_t;

/* one of spec.ended */
typedef struct {
    uint8_t   hash[OBJ_HASH_LEN];
    uint64_t  at_ms;
    uint64_t  expires_ms;
    int       state;            /* BK_ALLOC_EXPIRED .. BK_ALLOC_FAILED */
    char      reason[OBJ_TEXT_MAX];
} obj_ended_t;

#define OBJ_PHASE_PENDING       1   /* or none */
#define OBJ_PHASE_PROVISIONING  2
#define OBJ_PHASE_UP            3   /* Running, Idle, Allocated */
#define OBJ_PHASE_TERMINATING   4
#define OBJ_PHASE_FAILED        5

typedef struct {
    const char   *ns;
    const char   *name;
    const char   *uid;
    const char   *version;      /* metadata.resourceVersion */
    const char   *pool;         /* name of a pool in the same namespace */
    const char   *pod;          /* status.podName, or "" */
    const char   *drained;      /* NULL: it is not; else why, or "" */
    const char   *message;      /* status.message, or "" */
    int           phase;        /* as far as it is of this spec */
    int           queued;       /* no worker: an allocation without one */
    int           has_alloc;
    obj_alloc_t   alloc;
    obj_ended_t  *ended;        /* of the caller, room for OBJ_ENDED_MAX */
    size_t        nended;
} obj_worker_t;

/*
 * -1: nothing of it is to be used (BadObject, BadPoolRef).  bad->code is not 0
 * when an allocation in it is none (BadAllocation, BadEnded): without that one
 * the rest is good.  ended of *out is set by the caller before.
 */
int obj_worker_read(json_t *obj, obj_worker_t *out, bk_err_t *bad,
    bk_err_t *err);


/* --- Pod (obj_pod.c) ------------------------------------------------------ */

typedef struct {
    const char  *ns;
    const char  *name;
    const char  *uid;
    const char  *version;
    const char  *worker;        /* whose it is: the BuildKitWorker's name */
    const char  *worker_uid;
    const char  *created;       /* RFC 3339, UTC: may be compared */
    int          ready;
    int          finished;      /* none of its containers runs any more */
    int          terminating;   /* it has a deletionTimestamp */
    char         address[OBJ_ADDRESS_MAX];  /* "IP:1234" or "" */
    char         why[OBJ_TEXT_MAX];         /* it is not ready, or ended */
} obj_pod_t;

/* avoid: addresses that no worker has, e.g. the API server's: NULL-terminated,
 * or NULL.  -1: it is no worker's Pod (NotOurPod, HostNetwork, BadAddress). */
int obj_pod_read(json_t *pod, const char *const *avoid, obj_pod_t *out,
    bk_err_t *err);

/* Addresses that no worker has, e.g. the API server's: list is NULL-terminated.
 * To be zeroed before.  obj_avoid.c. */
#define OBJ_AVOID_MAX  2

typedef struct {
    int          set;                       /* something was added */
    char         text[OBJ_AVOID_MAX][48];
    const char  *list[OBJ_AVOID_MAX + 1];
} obj_avoid_t;

/* "ADDRESS", "ADDRESS:PORT/...", "[ADDRESS]:PORT", or NULL; a name is not one */
void obj_avoid(obj_avoid_t *a, const char *host);

/* What a Pod's status says about why it is not ready or has ended; "" where it
 * says nothing.  obj_why.c. */
void obj_pod_why(json_t *pod, char *buf, size_t size);


/* --- parts of both (obj.c) ------------------------------------------------ */

const char *obj_text(const json_t *obj, const char *key);   /* "": none */
/* RFC 3339 with "Z" or an offset; -1: it is none */
int obj_time(const char *s, uint64_t *ms);
int obj_hex(const char *s, uint8_t *out, size_t len);       /* lower case */
void obj_hash(const char *token, uint8_t *hash);            /* SHA-256 */
/* "ADDRESS:port" of a numeric unicast address that may be another machine's;
 * BadAddress otherwise */
int obj_address(const char *ip, unsigned port, const char *const *avoid,
    char *buf, size_t size, bk_err_t *err);
/* copies, cut at a character, what people write */
void obj_copy(char *buf, size_t size, const char *s);

#endif /* OBJ_H_INCLUDED */
