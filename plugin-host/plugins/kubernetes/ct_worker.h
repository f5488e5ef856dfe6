/*
 * What the files of a controller's worker share: see ct.h.
 *
 *   ct_worker.c       looks at one; what others ask of them
 *   ct_worker_facts.c what is, and whether it should run
 *   ct_worker_show.c  it -> model: its state, who is lost with its Pod
 *   ct_worker_pod.c   its Pod: made, kept while somebody is on it, deleted
 *   ct_worker_obj.c   its BuildKitWorker
 *   ct_worker_claim.c the claim with its cache, and its budget
 *   ct_worker_say.c   status and conditions of the BuildKitWorker
 *   ct_worker_lie.c   what somebody else has written into that status
 *   ct_scale.c        the slots of a pool, and which idle ones are kept
 *
 * Each look begins with the same facts (ct_look_t) and does one step: what is
 * written comes back by a watch or an answer, and then it is looked at again.
 */

#ifndef CT_WORKER_H_INCLUDED
#define CT_WORKER_H_INCLUDED

#include "ct.h"
#include "mk.h"


#define CT_CRASHES_MAX  5               /* in a row: then it has failed */
#define CT_BACK_OFF_MS  1000            /* after the first; doubled */
#define CT_BACK_OFF_MAX (5 * 60 * 1000)
#define CT_STEADY_MS    (60 * 1000)     /* forgives earlier ones */
#define CT_YOUNG_MS     2000            /* on it only since: never was on it */
#define CT_ENDED_MS     (15 * 60 * 1000)
#define CT_ASK_MS       1000            /* until gateways have said something */
#define CT_NODE_MS      (60 * 1000)     /* should have ended: no node there */
#define CT_TAKEN_MS     (20 * 1000)     /* a name that somebody else has */
#define CT_UID_MAX      40

#define CT_LABEL_TRUST  OBJ_GROUP "/trust"      /* of a claim */


/* What is remembered of a slot; all of it may be forgotten. */
struct ct_worker_own_s {
    int        state;               /* BK_WORKER_* as the model has it */
    uint64_t   on_ms;               /* monotonic: since when somebody is on
                                       it; 0: nobody */
    uint64_t   used_ms;             /* it was wanted, or the last one left */
    uint64_t   ready_ms;            /* monotonic, of the Pod that is shown */
    uint64_t   retry_ms;            /* monotonic: no Pod is made before */
    uint64_t   orphan_ms;           /* monotonic: since when */
    uint64_t   taken_ms;            /* monotonic: it was looked whether its
                                       claim's name is still another's */
    unsigned   crashes;             /* in a row */
    json_t    *status;              /* as it should be */
    uint64_t   late_ms;             /* monotonic: since when it is to be
                                       written, or 0 */
    int        summed;              /* all that its pool counts */
    unsigned   looked:1;
    unsigned   put:1;               /* the model has it */
    unsigned   unput:1;             /* it does not take it: was said */
    unsigned   live:1;              /* somebody is on it */
    unsigned   holds:1;             /* and he will end: ct_worker_holds() */
    unsigned   drained:1;
    unsigned   runs:1;              /* its Pod is not over, or will be made */
    unsigned   warm:1;              /* kept although idle: ct_scale.c */
    unsigned   stopping:1;          /* we have its Pod deleted */
    unsigned   replaced:1;          /* that, since the pool has changed */
    unsigned   failed:1;            /* lost; until nothing is left of it */
    unsigned   telling:1;           /* its status is being written */
    char       shown[OBJ_ADDRESS_MAX];      /* its endpoint, or "" */
    char       shown_uid[CT_UID_MAX];       /* of the Pod */
    char       said[OBJ_ADDRESS_MAX];       /* in its status: the address */
    char       before[OBJ_ADDRESS_MAX];     /* and the one before */
    char       stop_uid[CT_UID_MAX];
    char       crash_uid[CT_UID_MAX];       /* that crash is counted */
    char       free_uid[CT_UID_MAX];        /* over, and nobody's: or "" */
    char       orphan_uid[CT_UID_MAX];      /* nobody's, as far as is known */
    char       going[OBJ_TEXT_MAX];         /* what the shown Pod said last */
    char       why[OBJ_TEXT_MAX];           /* it crashed */
    char       stop[OBJ_TEXT_MAX];          /* why it is stopping */
    char       hash_of[64];                 /* what hash is of */
    char       hash[64];                    /* a Pod of now has it */
};

struct ct_scale_s {
    int        slots;               /* that were made */
    uint64_t   asleep_ms;           /* it was to scale to zero then; or 0 */
    uint64_t   next_ms;             /* and then again */
    char      *schedule;            /* that these are of */
    bk_err_t   bad;                 /* of that; code 0: nothing */
    unsigned   put:1;               /* as the pool was last */
};

typedef struct {
    ct_t                    *ct;
    const bk_host_t         *host;
    ct_worker_t             *w;
    struct ct_worker_own_s  *own;
    uint64_t                 now, mono;
    uint32_t                 allocations;   /* of it in the model, live */
    uint64_t                 used_ms;       /* somebody was connected; or 0 */
    int                      wanted;        /* it should run */
    uint64_t                 idle_ms;       /* in so long it has idled enough;
                                               0: it has, or does not idle */
    unsigned                 pool:1;        /* its pool is there */
    unsigned                 held:1;        /* spec.allocation is there */
    unsigned                 foreign:1;     /* nobody of ours made it */
    unsigned                 live:1;        /* that, or in the model */
    unsigned                 connected:1;   /* somebody is, or may be */
    unsigned                 beyond:1;      /* the pool has fewer slots now */
    unsigned                 drained:1;
    unsigned                 has:1;         /* a Pod of its name is there */
    unsigned                 mine:1;        /* and is of this BuildKitWorker */
    unsigned                 stale:1;       /* of an earlier one */
    unsigned                 over:1;        /* mine, and cannot be used again */
    unsigned                 hung:1;        /* over, and does not go */
    unsigned                 usable:1;      /* mine and not over */
    obj_pod_t                pod;           /* where mine */
    bk_err_t                 bad;           /* why the Pod is not one */
    bk_err_t                 refused;       /* why the object is not one */
} ct_look_t;


/* ct_worker.c */
extern const char  ct_worker_beyond[];
extern const char  ct_worker_foreign[];
int ct_worker_slots(const ct_pool_t *p);            /* how many there are */
int ct_worker_busy(const ct_worker_t *w);           /* now, whatever was */
int ct_worker_held(const ct_worker_t *w);           /* by its object alone */
int ct_worker_holds(const ct_worker_t *w);
int ct_worker_is(const ct_obj_t *o);                /* it is there */
uint32_t ct_worker_allocations(const ct_worker_t *w);
void ct_worker_crash(ct_look_t *l, const char *uid, const char *why);

/* ct_worker_facts.c */
void ct_facts(ct_look_t *l, ct_worker_t *w);

/* ct_worker_show.c */
void ct_show(ct_look_t *l);
void ct_show_hide(ct_worker_t *w);

/* ct_worker_pod.c */
void ct_pod_look(ct_look_t *l);
int ct_pod_old(ct_look_t *l);       /* another one would be made now */
void ct_pod_orphan(ct_worker_t *w); /* its BuildKitWorker is gone */

/* ct_worker_obj.c */
int ct_object_look(ct_look_t *l);   /* 1: it is there and ours */
int ct_object_check(ct_look_t *l);  /* -1: refused says why */
ct_obj_t *ct_object_get(ct_worker_t *w, ct_kind_t kind, const char *name);
/* its controller's uid, or "" */
const char *ct_object_owner(const ct_obj_t *o, const char **kind);
void ct_object_fill(ct_worker_t *w, mk_worker_t *mk);
void ct_object_taken(ct_worker_t *w, ct_obj_t *o);  /* somebody else's */
/* the ends of writes */
void ct_object_made(void *data, ct_obj_t *o, const bk_err_t *err);
void ct_object_done(void *data, ct_obj_t *o, const bk_err_t *err);

/* ct_worker_claim.c */
void ct_claim_look(ct_look_t *l);
int ct_claim_check(ct_look_t *l);   /* -1: it is another's, refused says so */
int ct_claim_mine(const ct_worker_t *w);
int ct_claim_ready(const ct_worker_t *w);
int ct_claim_told(const ct_worker_t *w);    /* its label says its trust */
void ct_claim_end(ct_worker_t *w);  /* nobody will use it */
void ct_budget_look(ct_look_t *l);

/* ct_worker_say.c */
void ct_say(ct_look_t *l);
void ct_say_other(ct_worker_t *w);  /* of one that is no slot */

/* ct_worker_lie.c */
/* addresses that no worker has */
const char *const *ct_avoid(ct_t *ct);
/* -1: its status has an address that it must not have */
int ct_lie(ct_worker_t *w, bk_err_t *err);
void ct_lie_said(struct ct_worker_own_s *own);
/* borrowed: what was said of that, while it is young; or NULL */
json_t *ct_lie_kept(json_t *conditions, uint64_t now_ms);

#endif /* CT_WORKER_H_INCLUDED */
