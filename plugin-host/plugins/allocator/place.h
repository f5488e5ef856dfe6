/*
 * Placement: which worker an allocation gets (doc/placement.md).  Pure: looks
 * at the list of workers that it is given, remembers nothing.
 *
 * With a cache key: rendezvous hashing (every worker has a score for the key,
 * the highest that may take it gets it) with bounded load, so the same
 * repository finds its cache again, a hot one does not flatten its worker,
 * and a worker that comes or goes moves only its own share.  Without: the
 * least loaded, a ready one before one that must be started.
 */

#ifndef BK_PLACE_H_INCLUDED
#define BK_PLACE_H_INCLUDED

#include <stddef.h>
#include <stdint.h>

#include "bk_plugin.h"
#include "bk_table.h"


/* One worker as placement sees it. */
typedef struct {
    const char  *name;
    const char  *arch;
    uint32_t     load;          /* allocations on it, reserved ones too */
    uint32_t     disk_permille;
    uint32_t     inode_permille;
    int          state;         /* BK_WORKER_* */
    unsigned     drained:1;
    unsigned     trusted:1;     /* a trusted one was on it */
    unsigned     untrusted:1;   /* an untrusted one was on it */
} bk_place_worker_t;

typedef struct {
    const char  *key;           /* cache key, or NULL or "" */
    const char  *arch;          /* or "": any */
    int          untrusted;
    uint32_t     capacity;      /* allocations that a worker takes: 1 unless
                                   the pool is shared; 0: any number */
    uint32_t     disk_max;      /* permille; 0: no limit */
    uint32_t     inode_max;
    uint32_t     load_percent;  /* of the mean that a worker may have before
                                   a key goes to the next one, e.g. 125 */
} bk_place_ask_t;

/* Why not: how many workers were passed over for what. */
typedef struct {
    unsigned  total;
    unsigned  other_arch;
    unsigned  drained;
    unsigned  failed;
    unsigned  full;             /* disk or inodes */
    unsigned  trust;            /* of the other kind */
    unsigned  busy;
} bk_place_why_t;

/*
 * The index of the worker, or -1; *why is filled in both cases, *home is 1
 * when it is the first choice of the key.
 */
int bk_place(const bk_place_ask_t *ask, const bk_place_worker_t *workers,
    size_t n, bk_place_why_t *why, int *home);

#endif /* BK_PLACE_H_INCLUDED */
