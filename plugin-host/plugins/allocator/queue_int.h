/* What the files queue*.c share: the insides of the queue. */

#ifndef BK_QUEUE_INT_H_INCLUDED
#define BK_QUEUE_INT_H_INCLUDED

#include <uthash.h>
#include <utlist.h>

#include "queue.h"


#define BK_RELEASES  32
#define BK_ARCH_MAX  64


typedef struct bk_level_s  bk_level_t;


/* An identity's turns within a level. */
struct bk_queue_flow_s {
    UT_hash_handle          hh;
    bk_level_t             *level;
    TAILQ_ENTRY(bk_queue_flow_s)  link; /* when nothing of it is queued */
    uint64_t                last;       /* the tag that was given last */
    size_t                  queued;
    char                    owner[];
};

struct bk_level_s {
    bk_level_t             *next;
    bk_queue_flow_t        *flows;
    TAILQ_HEAD(, bk_queue_flow_s)  idle;    /* the first came first */
    size_t                  nidle;
    uint64_t                now;        /* virtual */
    size_t                  queued;
    int                     priority;
};


/* What a user has waiting in a class beyond what it may have. */
struct bk_queue_lane_s {
    bk_queue_lane_t        *next;       /* of its user */
    bk_queue_class_t       *class;
    bk_queue_entry_t       *parked;
};

struct bk_queue_class_s {
    bk_queue_class_t       *next;       /* of its pool */
    bk_queue_pool_t        *pool;
    bk_queue_entry_t       *root;
    TAILQ_HEAD(, bk_queue_entry_s)  arrivals;
    size_t                  queued;
    int                     untrusted;
    int                     dry;
    char                    arch[BK_ARCH_MAX];
};

struct bk_queue_pool_s {
    bk_queue_pool_t        *next;
    bk_queue_pool_t        *next_stirred;
    bk_queue_t             *q;
    void                   *data;
    bk_queue_class_t       *classes;
    bk_level_t             *levels;
    size_t                  queued;
    int                     stirred;
    uint64_t                released[BK_RELEASES];
    size_t                  nreleased;
};

struct bk_queue_user_s {
    UT_hash_handle          hh;
    bk_queue_t             *q;
    bk_queue_lane_t        *lanes;
    uint32_t                live;
    uint32_t                queued;
    uint32_t                limit;
    uint32_t                refs;
    const char             *rule;       /* within key, after the owner */
    size_t                  len;
    char                    key[];
};

struct bk_queue_s {
    bk_queue_pool_t        *pools;
    bk_queue_pool_t        *stirred;
    bk_queue_user_t        *users;
    uint64_t                aging_ms;
    uint64_t                seq;
    size_t                  queued;
};


void *bk_queue_alloc(size_t size);

/* queue_user.c */
bk_queue_entry_t **bk_queue_parked(bk_queue_entry_t *e);
void bk_queue_park(bk_queue_entry_t *e);
void bk_queue_let_go(bk_queue_entry_t *e);      /* not parked any more */
/* the first one of each class may try again, if the rule allows another */
void bk_queue_unpark(bk_queue_user_t *u);
int bk_queue_user_full(const bk_queue_user_t *u);
void bk_queue_users_free(bk_queue_t *q);

/* queue_fair.c: e gets its turn, is done with it, had it */
void bk_queue_tag(bk_queue_entry_t *e);
void bk_queue_untag(bk_queue_entry_t *e);
void bk_queue_turn(const bk_queue_entry_t *e);
void bk_queue_levels_free(bk_queue_pool_t *p);

#endif /* BK_QUEUE_INT_H_INCLUDED */
