/* Gateways' Pods and what they say: shared by ct_use.c, ct_use_find.c and
 * ct_use_turn.c. */

#ifndef CT_USE_H_INCLUDED
#define CT_USE_H_INCLUDED

#include "bk_fetch.h"
#include "ct.h"


#define CT_USE_FRONTS  100      /* of a namespace */

typedef struct ct_front_s      ct_front_t;
typedef struct ct_used_s       ct_used_t;
typedef struct ct_use_space_s  ct_use_space_t;

/* What is known of a worker. */
struct ct_used_s {
    UT_hash_handle   hh;
    uint64_t         connections;
    uint64_t         builds;
    uint64_t         used_ms;       /* Unix, by our clock; 0: never */
    uint64_t         told;          /* connections, to who decides by it */
    unsigned         refs;          /* of fronts */
    int              changed;
    char             key[];         /* "namespace/worker" */
};

/* What one Pod has said of it. */
typedef struct {
    ct_used_t  *used;
    uint32_t    connections;
    uint32_t    builds;
} ct_said_t;

/* A gateway's Pod. */
struct ct_front_s {
    UT_hash_handle   hh;
    ct_uses_t       *uses;
    ct_use_space_t  *space;
    ct_front_t      *qprev, *qnext; /* of those to be asked */
    bk_fetch_t      *fetch;
    ct_said_t       *said;
    size_t           nsaid, room;
    uint64_t         said_ms;       /* monotonic; 0: never */
    uint64_t         next_ms;       /* when it is asked again */
    int              queued;
    int              asked;         /* and answered, or not reached */
    int              bad;           /* it was said so */
    int              seen;          /* its Pod is there */
    int              deleting;
    int              wide;          /* of all namespaces' workers */
    size_t           ns;            /* length of the namespace in key */
    char             address[OBJ_ADDRESS_MAX];
    char             key[];         /* "namespace/name uid" */
};

/* Those of one namespace: whatever they do, others get their turn. */
struct ct_use_space_s {
    UT_hash_handle   hh;
    ct_use_space_t  *prev, *next;   /* the first has the next turn */
    ct_front_t      *queue;
    unsigned         fronts;
    unsigned         unasked;       /* of them */
    unsigned         running;
    unsigned         workers;       /* that we know; now and then */
    int              many;          /* there are more: not asked */
    int              told;          /* that was said */
    char             name[];
};

struct ct_uses_s {
    ct_t            *ct;
    bk_fetcher_t    *fetcher;
    bk_timer_t      *timer;
    ct_front_t      *fronts;
    ct_use_space_t  *spaces;
    ct_use_space_t  *turns;
    ct_used_t       *used;
    unsigned         running;
    unsigned         unasked;       /* of those for all namespaces */
    unsigned         workers;       /* in all; now and then */
    uint64_t         count_ms;      /* when workers are counted again */
    int              looked;        /* all Pods are known */
};


/* ct_use_find.c: who is there is seen */
void ct_use_find(ct_uses_t *u);

/* ct_use_turn.c */

/* of "namespace/..."; NULL: no Pod of a gateway is there */
ct_use_space_t *ct_use_space(const ct_uses_t *u, const char *key);
/* 0: one more of its namespace, which has a place for it */
int ct_use_enter(ct_front_t *f);
void ct_use_leave(ct_front_t *f);
void ct_use_queue(ct_front_t *f);
/* whose turn it is; NULL: nobody's */
ct_front_t *ct_use_next(ct_uses_t *u);
/* how much it may say */
size_t ct_use_limit(const ct_front_t *f);
/* all Pods are about to be entered; they are */
void ct_use_begin(ct_uses_t *u);
void ct_use_end(ct_uses_t *u);

#endif /* CT_USE_H_INCLUDED */
