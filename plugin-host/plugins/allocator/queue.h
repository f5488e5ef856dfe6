/*
 * The queue: who is next (doc/api.md, "The queue").  Pure: knows no host, no
 * journal and no workers, and remembers nothing of who has been served but
 * what fairness needs.
 *
 * A pool's queue has a class for each architecture and kind of trust that is
 * waited for, because one may have to wait while another need not.  Order:
 * who has waited longer than the aging time, by arrival; then priority; then
 * start-time fair queueing between identities; then arrival.  An identity
 * that has as many allocations as its rule allows is parked: its entries
 * keep their place, and others go past them.
 *
 * Every call is O(log n), but for the number of classes, which is small.
 */

#ifndef BK_QUEUE_H_INCLUDED
#define BK_QUEUE_H_INCLUDED

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>


typedef struct bk_queue_s        bk_queue_t;
typedef struct bk_queue_pool_s   bk_queue_pool_t;
typedef struct bk_queue_class_s  bk_queue_class_t;
typedef struct bk_queue_user_s   bk_queue_user_t;
typedef struct bk_queue_lane_s   bk_queue_lane_t;
typedef struct bk_queue_flow_s   bk_queue_flow_t;
typedef struct bk_queue_entry_s  bk_queue_entry_t;


/* Within the allocation that waits; of the caller's memory, zeroed. */
struct bk_queue_entry_s {
    bk_queue_entry_t               *left;       /* of its tree */
    bk_queue_entry_t               *right;
    uint32_t                        size;
    uint32_t                        dice;

    TAILQ_ENTRY(bk_queue_entry_s)   link;       /* arrival, until aged */
    bk_queue_class_t               *class;      /* NULL: not queued */
    bk_queue_user_t                *user;
    bk_queue_flow_t                *flow;
    uint64_t                        since_ms;
    uint64_t                        tag;
    uint64_t                        seq;        /* 0: a new one */
    int                             priority;
    unsigned                        aged:1;
    unsigned                        parked:1;
    unsigned                        tagged:1;
};


bk_queue_t *bk_queue_new(uint64_t aging_ms);
void bk_queue_free(bk_queue_t **q);     /* and pools and users that are left */

/*
 * An identity under a rule; counted references.  take() and give(): one
 * allocation more, one less; limit 0: none.  The latest limit counts.
 */
bk_queue_user_t *bk_queue_user(bk_queue_t *q, const char *owner,
    const char *rule, uint32_t limit);
void bk_queue_user_ref(bk_queue_user_t *u);
void bk_queue_user_unref(bk_queue_user_t **u);
void bk_queue_user_take(bk_queue_user_t *u);
void bk_queue_user_give(bk_queue_user_t *u);
const char *bk_queue_user_owner(const bk_queue_user_t *u);
const char *bk_queue_user_rule(const bk_queue_user_t *u);
uint32_t bk_queue_user_live(const bk_queue_user_t *u);
/* does it wait for something?  One that was never heard of does not. */
int bk_queue_user_waits(bk_queue_t *q, const char *owner, const char *rule);
uint32_t bk_queue_user_limit(const bk_queue_user_t *u);

/* Made when it is asked for the first time; data is the caller's. */
bk_queue_pool_t *bk_queue_pool(bk_queue_t *q, void *data);
void *bk_queue_pool_data(const bk_queue_pool_t *p);
size_t bk_queue_length(const bk_queue_pool_t *p);
size_t bk_queue_total(const bk_queue_t *q);

/*
 * push: e has since_ms (of no earlier time than those before it), priority
 * and user; one that comes back after it was served in vain keeps its seq and
 * tag, and so its place.  The pool is stirred: it must be looked at.
 */
void bk_queue_push(bk_queue_pool_t *p, bk_queue_entry_t *e, const char *arch,
    int untrusted);
/* leaves without having got anything */
void bk_queue_drop(bk_queue_entry_t *e);
/* leaves with a worker: its user has one more */
void bk_queue_served(bk_queue_entry_t *e);

/* A pool that was stirred, and is not any more; NULL: none. */
bk_queue_pool_t *bk_queue_stirred(bk_queue_t *q);
void bk_queue_stir(bk_queue_pool_t *p);
/* something may have become free: stirs, and forgets which classes are dry */
void bk_queue_wet(bk_queue_pool_t *p);
/* who is next of the classes that are not dry; NULL: nobody */
bk_queue_entry_t *bk_queue_next(bk_queue_pool_t *p, uint64_t now_ms);
/* nothing there for the class of e, until something becomes free */
void bk_queue_dry(bk_queue_entry_t *e);

/* nobody else of its class waits */
int bk_queue_alone(const bk_queue_entry_t *e);

/* How many are before it, and one. */
size_t bk_queue_position(bk_queue_entry_t *e, uint64_t now_ms);

/*
 * Estimates: a pool gave back a worker; in how many seconds is the one at
 * this position served, going by that?  0: not known.
 */
void bk_queue_released(bk_queue_pool_t *p, uint64_t now_ms);
uint64_t bk_queue_estimate(const bk_queue_pool_t *p, size_t position,
    uint64_t now_ms);

/* queue_tree.c: ordered, with ranks */
void bk_tree_insert(bk_queue_entry_t **root, bk_queue_entry_t *e);
void bk_tree_remove(bk_queue_entry_t **root, bk_queue_entry_t *e);
bk_queue_entry_t *bk_tree_first(bk_queue_entry_t *root);
/* how many come before e, which need not be in it */
size_t bk_tree_rank(const bk_queue_entry_t *root, const bk_queue_entry_t *e);
int bk_tree_before(const bk_queue_entry_t *a, const bk_queue_entry_t *b);

#endif /* BK_QUEUE_H_INCLUDED */
