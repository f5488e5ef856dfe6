
/*
 * What the worker processes count together, in a zone of nginx's: one array
 * that is allocated once and survives a reload.  limit.c is its only user.
 *
 * A record belongs to the process that made it, and changes under the zone's
 * mutex only; the rest (buckets, free list) follows from the records.  A
 * process may be killed anywhere, also with the mutex, which the master then
 * unlocks: "changing" tells who comes next to make buckets and free list
 * anew.
 */


#include "ngx_stream_buildkit_module.h"


#define NGX_STREAM_BUILDKIT_SHARED_KEY      16  /* of the allocation's hash */
#define NGX_STREAM_BUILDKIT_SHARED_RECORDS  131072
#define NGX_STREAM_BUILDKIT_SHARED_CUTS     4096
#define NGX_STREAM_BUILDKIT_SHARED_PIDS     64

/* milliseconds after a cut: at once, and while the table is as it was */
#define NGX_STREAM_BUILDKIT_SHARED_JUST     2000
#define NGX_STREAM_BUILDKIT_SHARED_RECENT   30000
#define NGX_STREAM_BUILDKIT_SHARED_QUIET    60      /* log, seconds */


/* connections of one allocation in one process */
typedef struct {
    u_char                             key[NGX_STREAM_BUILDKIT_SHARED_KEY];
    int32_t                            pid;     /* 0: free */
    uint32_t                           count;
    uint32_t                           next;    /* index + 1; 0: none */
    uint32_t                           reserved;
} ngx_stream_buildkit_record_t;


/* an allocation whose connections were cut; a newer one may replace it */
typedef struct {
    u_char                             key[NGX_STREAM_BUILDKIT_SHARED_KEY];
    uint64_t                           seq;     /* of its entry, when cut */
    uint64_t                           worker_seq;
    uint32_t                           index;
    uint32_t                           why;
    ngx_msec_t                         time;
} ngx_stream_buildkit_recent_t;


typedef struct {
    ngx_atomic_t                       recent;  /* time of the last cut */
    ngx_atomic_t                       changing;
    uint32_t                           used;    /* records from here: unused */
    uint32_t                           free;    /* index + 1 */
    uint32_t                           buckets[
                                           NGX_STREAM_BUILDKIT_SHARED_RECORDS];
    ngx_stream_buildkit_record_t       records[
                                           NGX_STREAM_BUILDKIT_SHARED_RECORDS];
    ngx_stream_buildkit_recent_t       cuts[NGX_STREAM_BUILDKIT_SHARED_CUTS];
} ngx_stream_buildkit_shared_t;


struct ngx_stream_buildkit_limit_s {
    ngx_stream_buildkit_shared_t      *sh;
    ngx_slab_pool_t                   *shpool;
    time_t                             logged;
};


/* who is dead, asked once for each process */
typedef struct {
    ngx_pid_t                          self;    /* take it for dead; 0 */
    ngx_pid_t                          pid[NGX_STREAM_BUILDKIT_SHARED_PIDS];
    u_char                             dead[NGX_STREAM_BUILDKIT_SHARED_PIDS];
} ngx_stream_buildkit_pids_t;


static ngx_int_t ngx_stream_buildkit_shared_init_zone(ngx_shm_zone_t *zone,
    void *data);
static ngx_stream_buildkit_shared_t *ngx_stream_buildkit_shared_lock(
    ngx_stream_buildkit_limit_t *limit);
static void ngx_stream_buildkit_shared_order(ngx_stream_buildkit_shared_t *sh,
    ngx_pid_t self);
static ngx_uint_t ngx_stream_buildkit_shared_dead(
    ngx_stream_buildkit_pids_t *pids, ngx_pid_t pid);
static ngx_uint_t ngx_stream_buildkit_shared_count(
    ngx_stream_buildkit_shared_t *sh, const u_char *key,
    ngx_stream_buildkit_record_t **own);
static ngx_uint_t ngx_stream_buildkit_shared_stale(
    ngx_stream_buildkit_shared_t *sh, const u_char *key);
static ngx_int_t ngx_stream_buildkit_shared_add(
    ngx_stream_buildkit_shared_t *sh, const u_char *key);
static void ngx_stream_buildkit_shared_drop(ngx_stream_buildkit_shared_t *sh,
    ngx_stream_buildkit_record_t *r);
static uint32_t ngx_stream_buildkit_shared_hash(const u_char *key);



ngx_stream_buildkit_limit_t *
ngx_stream_buildkit_shared_create(ngx_conf_t *cf)
{
    size_t                        size;
    ngx_str_t                     name;
    ngx_shm_zone_t               *zone;
    ngx_stream_buildkit_limit_t  *limit;

    limit = ngx_pcalloc(cf->pool, sizeof(ngx_stream_buildkit_limit_t));
    if (limit == NULL) {
        return NULL;
    }

    /* and what the slab allocator needs for itself */

    size = sizeof(ngx_stream_buildkit_shared_t);
    size = ngx_align(size + size / 64 + 16 * ngx_pagesize, ngx_pagesize);

    ngx_str_set(&name, "buildkit");

    zone = ngx_shared_memory_add(cf, &name, size,
                                 &ngx_stream_buildkit_module);
    if (zone == NULL) {
        return NULL;
    }

    zone->init = ngx_stream_buildkit_shared_init_zone;
    zone->data = limit;

    return limit;
}


/* data: of the cycle before this one */

static ngx_int_t
ngx_stream_buildkit_shared_init_zone(ngx_shm_zone_t *zone, void *data)
{
    ngx_stream_buildkit_limit_t  *old = data;

    ngx_stream_buildkit_limit_t   *limit;
    ngx_stream_buildkit_shared_t  *sh;

    limit = zone->data;

    if (old) {
        limit->sh = old->sh;
        limit->shpool = old->shpool;

        return NGX_OK;
    }

    limit->shpool = (ngx_slab_pool_t *) zone->shm.addr;

    if (zone->shm.exists) {
        limit->sh = limit->shpool->data;

        return NGX_OK;
    }

    sh = ngx_slab_alloc(limit->shpool, sizeof(ngx_stream_buildkit_shared_t));
    if (sh == NULL) {
        return NGX_ERROR;
    }

    /* records are written before they are read: their pages can wait */

    ngx_memzero(sh, offsetof(ngx_stream_buildkit_shared_t, records));
    ngx_memzero(sh->cuts, sizeof(sh->cuts));

    limit->sh = sh;
    limit->shpool->data = sh;

    return NGX_OK;
}


/* a new process: whoever had its pid is dead */

void
ngx_stream_buildkit_shared_start(ngx_stream_buildkit_limit_t *limit)
{
    ngx_stream_buildkit_shared_t  *sh;

    sh = ngx_stream_buildkit_shared_lock(limit);

    if (sh->used) {
        ngx_stream_buildkit_shared_order(sh, ngx_pid);
    }

    ngx_shmtx_unlock(&limit->shpool->mutex);
}


ngx_int_t
ngx_stream_buildkit_shared_take(ngx_stream_buildkit_limit_t *limit,
    const u_char *key, ngx_uint_t max, ngx_log_t *log)
{
    ngx_int_t                      rc;
    ngx_uint_t                     n;
    ngx_stream_buildkit_record_t  *own;
    ngx_stream_buildkit_shared_t  *sh;

    rc = NGX_OK;

    sh = ngx_stream_buildkit_shared_lock(limit);

    n = ngx_stream_buildkit_shared_count(sh, key, &own);

    if (n >= max && ngx_stream_buildkit_shared_stale(sh, key)) {
        ngx_stream_buildkit_shared_order(sh, 0);
        n = ngx_stream_buildkit_shared_count(sh, key, &own);
    }

    if (n >= max) {
        rc = NGX_BUSY;

    } else if (own) {
        own->count++;

    } else {
        rc = ngx_stream_buildkit_shared_add(sh, key);
    }

    ngx_shmtx_unlock(&limit->shpool->mutex);

    if (rc == NGX_DECLINED
        && (limit->logged == 0
            || ngx_time() - limit->logged > NGX_STREAM_BUILDKIT_SHARED_QUIET))
    {
        limit->logged = ngx_time();

        ngx_log_error(NGX_LOG_ERR, log, 0,
                      "buildkit: no room to count the connections of another "
                      "allocation: %d have some already, refusing",
                      NGX_STREAM_BUILDKIT_SHARED_RECORDS);
    }

    return rc;
}


void
ngx_stream_buildkit_shared_give(ngx_stream_buildkit_limit_t *limit,
    const u_char *key)
{
    ngx_stream_buildkit_record_t  *own;
    ngx_stream_buildkit_shared_t  *sh;

    sh = ngx_stream_buildkit_shared_lock(limit);

    (void) ngx_stream_buildkit_shared_count(sh, key, &own);

    if (own && own->count > 1) {
        own->count--;

    } else if (own) {
        ngx_stream_buildkit_shared_drop(sh, own);
    }

    ngx_shmtx_unlock(&limit->shpool->mutex);
}


void
ngx_stream_buildkit_shared_cut(ngx_stream_buildkit_limit_t *limit,
    const u_char *key, ngx_stream_buildkit_mark_t *mark, ngx_uint_t why)
{
    ngx_msec_t                     now;
    ngx_stream_buildkit_recent_t  *r;
    ngx_stream_buildkit_shared_t  *sh;

    /* zero is "never" */
    now = ngx_max(ngx_current_msec, 1);

    sh = ngx_stream_buildkit_shared_lock(limit);

    r = &sh->cuts[ngx_stream_buildkit_shared_hash(key)
                  % NGX_STREAM_BUILDKIT_SHARED_CUTS];

    /* one that is written half-way counts as old */

    r->time = now - NGX_STREAM_BUILDKIT_SHARED_RECENT - 1;
    ngx_memory_barrier();

    ngx_memcpy(r->key, key, NGX_STREAM_BUILDKIT_SHARED_KEY);
    r->seq = mark->seq;
    r->worker_seq = mark->worker_seq;
    r->index = mark->index;
    r->why = why;

    ngx_memory_barrier();
    r->time = now;
    sh->recent = now;

    ngx_shmtx_unlock(&limit->shpool->mutex);
}


ngx_uint_t
ngx_stream_buildkit_shared_was_cut(ngx_stream_buildkit_limit_t *limit,
    const u_char *key, ngx_stream_buildkit_mark_t *mark, ngx_uint_t ready)
{
    ngx_msec_t                     now, recent;
    ngx_uint_t                     same, why;
    ngx_msec_int_t                 age;
    ngx_stream_buildkit_recent_t  *r;
    ngx_stream_buildkit_shared_t  *sh;

    now = ngx_current_msec;
    recent = limit->sh->recent;
    why = BK_CUT_NONE;

    /* where nothing was cut lately this is all */

    if (recent == 0
        || (ngx_msec_int_t) (now - recent) > NGX_STREAM_BUILDKIT_SHARED_RECENT)
    {
        return BK_CUT_NONE;
    }

    sh = ngx_stream_buildkit_shared_lock(limit);

    r = &sh->cuts[ngx_stream_buildkit_shared_hash(key)
                  % NGX_STREAM_BUILDKIT_SHARED_CUTS];

    age = now - r->time;

    same = r->index == mark->index
           && (r->index == BK_TABLE_NONE
               || (r->seq == mark->seq && r->worker_seq == mark->worker_seq));

    if (ngx_memcmp(r->key, key, NGX_STREAM_BUILDKIT_SHARED_KEY) != 0
        || age > NGX_STREAM_BUILDKIT_SHARED_RECENT)
    {
        why = BK_CUT_NONE;

    } else if (age <= NGX_STREAM_BUILDKIT_SHARED_JUST && (same || !ready)) {

        /*
         * What comes now is the client's last trace, which must not wait;
         * where another worker is ready it need not.
         */

        why = r->why;

    } else if (r->why != BK_CUT_WORKER && same) {
        why = r->why;
    }

    ngx_shmtx_unlock(&limit->shpool->mutex);

    return why;
}


static ngx_stream_buildkit_shared_t *
ngx_stream_buildkit_shared_lock(ngx_stream_buildkit_limit_t *limit)
{
    ngx_shmtx_lock(&limit->shpool->mutex);

    if (limit->sh->changing) {

        /* who changed it last was killed while doing so */

        ngx_stream_buildkit_shared_order(limit->sh, 0);
    }

    return limit->sh;
}


/* drops what the dead have left; buckets and free list follow from the rest */

static void
ngx_stream_buildkit_shared_order(ngx_stream_buildkit_shared_t *sh,
    ngx_pid_t self)
{
    uint32_t                       hash;
    ngx_uint_t                     i;
    ngx_stream_buildkit_pids_t     pids;
    ngx_stream_buildkit_record_t  *r;

    ngx_memzero(&pids, sizeof(ngx_stream_buildkit_pids_t));
    pids.self = self;

    sh->changing = 1;
    ngx_memory_barrier();

    ngx_memzero(sh->buckets, sizeof(sh->buckets));
    sh->free = 0;

    for (i = sh->used; i-- > 0; /* void */) {
        r = &sh->records[i];

        if (r->pid && ngx_stream_buildkit_shared_dead(&pids, r->pid)) {
            r->pid = 0;
        }

        if (r->pid == 0) {
            r->next = sh->free;
            sh->free = i + 1;
            continue;
        }

        hash = ngx_stream_buildkit_shared_hash(r->key);
        r->next = sh->buckets[hash];
        sh->buckets[hash] = i + 1;
    }

    ngx_memory_barrier();
    sh->changing = 0;
}


static ngx_uint_t
ngx_stream_buildkit_shared_dead(ngx_stream_buildkit_pids_t *pids, ngx_pid_t pid)
{
    ngx_uint_t  i;

    if (pid == pids->self) {
        return 1;
    }

    i = pid % NGX_STREAM_BUILDKIT_SHARED_PIDS;

    if (pids->pid[i] != pid) {
        pids->pid[i] = pid;
        pids->dead[i] = (kill(pid, 0) == -1 && ngx_errno == NGX_ESRCH);
    }

    return pids->dead[i];
}


/* all connections of an allocation; own: the record of this process or NULL */

static ngx_uint_t
ngx_stream_buildkit_shared_count(ngx_stream_buildkit_shared_t *sh,
    const u_char *key, ngx_stream_buildkit_record_t **own)
{
    uint32_t                       i;
    ngx_uint_t                     n;
    ngx_stream_buildkit_record_t  *r;

    n = 0;
    *own = NULL;

    i = sh->buckets[ngx_stream_buildkit_shared_hash(key)];

    for ( /* void */ ; i; i = r->next) {
        r = &sh->records[i - 1];

        if (ngx_memcmp(r->key, key, NGX_STREAM_BUILDKIT_SHARED_KEY) != 0) {
            continue;
        }

        n += r->count;

        if (r->pid == ngx_pid) {
            *own = r;
        }
    }

    return n;
}


/* does a dead process have connections of this allocation? */

static ngx_uint_t
ngx_stream_buildkit_shared_stale(ngx_stream_buildkit_shared_t *sh,
    const u_char *key)
{
    uint32_t                       i;
    ngx_stream_buildkit_pids_t     pids;
    ngx_stream_buildkit_record_t  *r;

    ngx_memzero(&pids, sizeof(ngx_stream_buildkit_pids_t));

    i = sh->buckets[ngx_stream_buildkit_shared_hash(key)];

    for ( /* void */ ; i; i = r->next) {
        r = &sh->records[i - 1];

        if (ngx_memcmp(r->key, key, NGX_STREAM_BUILDKIT_SHARED_KEY) == 0
            && ngx_stream_buildkit_shared_dead(&pids, r->pid))
        {
            return 1;
        }
    }

    return 0;
}


/* NGX_DECLINED: no room */

static ngx_int_t
ngx_stream_buildkit_shared_add(ngx_stream_buildkit_shared_t *sh,
    const u_char *key)
{
    uint32_t                       hash, i;
    ngx_stream_buildkit_record_t  *r;

    if (sh->free == 0 && sh->used == NGX_STREAM_BUILDKIT_SHARED_RECORDS) {
        return NGX_DECLINED;
    }

    sh->changing = 1;
    ngx_memory_barrier();

    if (sh->free) {
        i = sh->free;
        r = &sh->records[i - 1];
        sh->free = r->next;

    } else {
        i = sh->used + 1;
        r = &sh->records[i - 1];
        r->pid = 0;
        ngx_memory_barrier();
        sh->used = i;
    }

    hash = ngx_stream_buildkit_shared_hash(key);

    ngx_memcpy(r->key, key, NGX_STREAM_BUILDKIT_SHARED_KEY);
    r->count = 1;
    r->next = sh->buckets[hash];
    r->pid = ngx_pid;
    sh->buckets[hash] = i;

    ngx_memory_barrier();
    sh->changing = 0;

    return NGX_OK;
}


static void
ngx_stream_buildkit_shared_drop(ngx_stream_buildkit_shared_t *sh,
    ngx_stream_buildkit_record_t *r)
{
    uint32_t  *p, i;

    i = r - sh->records + 1;
    p = &sh->buckets[ngx_stream_buildkit_shared_hash(r->key)];

    while (*p != i) {
        p = &sh->records[*p - 1].next;
    }

    sh->changing = 1;
    ngx_memory_barrier();

    *p = r->next;
    r->pid = 0;
    r->next = sh->free;
    sh->free = i;

    ngx_memory_barrier();
    sh->changing = 0;
}


/* keys are SHA-256: as random as can be */

static uint32_t
ngx_stream_buildkit_shared_hash(const u_char *key)
{
    uint32_t  hash;

    ngx_memcpy(&hash, key, sizeof(hash));

    return hash % NGX_STREAM_BUILDKIT_SHARED_RECORDS;
}
