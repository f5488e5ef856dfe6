/*
 * What is kept: so many workers running, and their disks from filling up.
 *
 * How full a worker's disk is is measured at start, before a worker starts
 * and every diskInterval.  statvfs() can hang where the state folder is on a
 * network file system whose server is gone; so would everything else that is
 * done there, and so it is not asked more often than that.
 */

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

#include "process.h"


#define BK_PRUNE_TIMEOUT  (600 * BK_SECOND)
#define BK_PRUNE_AGAIN    (600 * BK_SECOND)
#define BK_PRUNE_BELOW    10        /* percent below the limit */


static void bk_keep_look(void *data);
static void bk_keep_warm(void *data);
static int bk_keep_is_warm(const bk_worker_t *w);
static size_t bk_keep_count(const bk_process_t *p);
static int bk_keep_start(bk_worker_t *w);
static int bk_keep_full(const bk_worker_t *w);
static int bk_keep_due(const bk_worker_t *w);
static int bk_keep_empty(const bk_worker_t *w);
static void bk_keep_pruned(void *data, const char *error);
static uint32_t bk_keep_permille(double used, double free_);


void
bk_keep_begin(bk_process_t *p)
{
    p->look = p->host->timer_new(p->host, bk_keep_look, p);
    p->warm = p->host->timer_new(p->host, bk_keep_warm, p);

    p->host->timer_set(p->look, 0);
}


void
bk_keep_end(bk_process_t *p)
{
    if (p->look != NULL) {
        p->host->timer_free(&p->look);
        p->host->timer_free(&p->warm);
    }
}


/* A worker has gone, failed or was let go: another one may have to start. */

void
bk_keep_soon(bk_process_t *p)
{
    if (p->min_warm > 0 && p->warm != NULL && !p->stopping) {
        p->host->timer_set(p->warm, 0);
    }
}


static void
bk_keep_look(void *data)
{
    bk_process_t *p = data;

    int           started;
    size_t        i;
    bk_worker_t  *w;

    if (p->stopping) {
        return;
    }

    started = 0;

    for (i = 0; i < p->nworkers; i++) {
        w = &p->workers[i];
        bk_keep_measure(w);

        if (w->phase == BK_PHASE_UP) {
            (void) bk_keep_prune(w);

        } else if (!started && w->phase == BK_PHASE_NONE && !w->wanted
                   && w->state == BK_WORKER_STOPPED && bk_keep_due(w)
                   && !bk_keep_empty(w))
        {
            /* nobody is sent to it now, and only it can clean up */
            started = bk_keep_start(w) == 0;
            w->to_prune = started;
            w->pruned_at = p->host->monotonic_ms(p->host);
        }
    }

    bk_keep_warm(p);
    p->host->timer_set(p->look, p->disk_ms);
}


/* --- warm workers --------------------------------------------------------- */

/* Does it run, or will soon? */

static int
bk_keep_is_warm(const bk_worker_t *w)
{
    return w->wanted && w->state != BK_WORKER_FAILED
           && w->phase != BK_PHASE_DOWN;
}


static size_t
bk_keep_count(const bk_process_t *p)
{
    size_t  i, n;

    for (n = 0, i = 0; i < p->nworkers; i++) {
        n += bk_keep_is_warm(&p->workers[i]);
    }

    return n;
}


/* Those that have failed come last: something may be wrong with them. */

static void
bk_keep_warm(void *data)
{
    bk_process_t *p = data;

    int           state;
    size_t        i, n;
    bk_worker_t  *w;

    n = bk_keep_count(p);

    for (state = BK_WORKER_STOPPED; state != 0;
         state = state == BK_WORKER_STOPPED ? BK_WORKER_FAILED : 0)
    {
        for (i = 0; i < p->nworkers && n < p->min_warm; i++) {
            w = &p->workers[i];

            if (p->stopping || w->wanted || w->state != state
                || w->phase != BK_PHASE_NONE)
            {
                continue;
            }

            n += bk_keep_start(w) == 0;
        }
    }
}


/* Through the host, which knows whether it is drained. */

static int
bk_keep_start(bk_worker_t *w)
{
    bk_err_t  err;

    return w->p->host->worker_want(w->p->host, bk_str(w->p->pool),
                                   bk_str(w->name), 1, &err);
}


/* Is it one of those that run although nobody uses them? */

int
bk_keep_needed(const bk_worker_t *w)
{
    return bk_keep_is_warm(w) && bk_keep_count(w->p) <= w->p->min_warm;
}


/* --- disks ---------------------------------------------------------------- */

void
bk_keep_measure(bk_worker_t *w)
{
    char              path[BK_PATH_MAX];
    double            limit;
    uint32_t          disk, inodes;
    struct statvfs    fs;
    const bk_host_t  *h;

    h = w->p->host;

    if (statvfs(bk_text_path(path, w->dir, "root"), &fs) != 0) {
        h->log(h, BK_LOG_DEBUG, "worker %s/%s: %s: %s", w->p->pool, w->name,
               path, strerror(errno));
        return;
    }

    /* as df counts: what is kept back for root is used */
    disk = bk_keep_permille((double) (fs.f_blocks - fs.f_bfree),
                            (double) fs.f_bavail);
    inodes = bk_keep_permille((double) (fs.f_files - fs.f_ffree),
                              (double) fs.f_favail);

    /* what is to be free after pruning; buildkitd counts root's share in */
    limit = w->p->max_disk > BK_PRUNE_BELOW
            ? (double) (w->p->max_disk - BK_PRUNE_BELOW) / 100 : 0;
    limit *= (double) (fs.f_blocks - fs.f_bfree + fs.f_bavail);
    w->free_wanted = (uint64_t) (((double) fs.f_blocks - limit)
                                 * (double) fs.f_frsize);

    if (disk != w->disk || inodes != w->inodes) {
        w->disk = disk;
        w->inodes = inodes;
        (void) h->worker_disk(h, bk_str(w->p->pool), bk_str(w->name), disk,
                              inodes);
    }
}


/* 1 to 1000, as 0 says that it is not known: no disk, no count of inodes. */

static uint32_t
bk_keep_permille(double used, double free_)
{
    uint32_t  n;

    if (used + free_ <= 0) {
        return 0;
    }

    n = (uint32_t) (used * 1000 / (used + free_) + 0.5);

    return n == 0 ? 1 : n;
}


static int
bk_keep_full(const bk_worker_t *w)
{
    return w->p->max_disk != 0 && (w->disk > w->p->max_disk * 10
                                   || w->inodes > w->p->max_disk * 10);
}


/* Not again and again: perhaps it is not the cache that fills the disk. */

static int
bk_keep_due(const bk_worker_t *w)
{
    return bk_keep_full(w) && w->prune == NULL
           && (w->pruned_at == 0 || w->to_prune
               || w->p->host->monotonic_ms(w->p->host) - w->pruned_at
                  >= BK_PRUNE_AGAIN);
}


/* A worker that never ran has nothing to give. */

static int
bk_keep_empty(const bk_worker_t *w)
{
    int             n;
    DIR            *dir;
    char            path[BK_PATH_MAX];
    struct dirent  *entry;

    dir = opendir(bk_text_path(path, w->dir, "root"));

    if (dir == NULL) {
        return 1;
    }

    for (n = 0; n < 3; n++) {
        entry = readdir(dir);

        if (entry == NULL) {
            break;
        }
    }

    (void) closedir(dir);

    /* "." and ".." */
    return n < 3;
}


/*
 * When its disk is too full and nobody uses it: buildkitd removes what was
 * not used for longest, until there is enough room again.  Returns whether
 * it does so now; then it goes on when that is over.
 */

int
bk_keep_prune(bk_worker_t *w)
{
    const bk_host_t  *h;

    h = w->p->host;

    if (w->prune != NULL) {
        return 1;
    }

    if (w->phase != BK_PHASE_UP || w->p->stopping || !bk_keep_due(w)
        || bk_worker_busy(w))
    {
        return 0;
    }

    h->log(h, BK_LOG_INFO, "worker %s/%s: its disk is %u.%u%% full (inodes "
           "%u.%u%%), its cache is pruned", w->p->pool, w->name,
           w->disk / 10, w->disk % 10, w->inodes / 10, w->inodes % 10);

    w->to_prune = 0;
    w->pruned_at = h->monotonic_ms(h);
    w->disk_before = w->disk;
    w->prune = bk_probe_prune(w->p, w->tls_name, w->port,
                              w->disk > w->p->max_disk * 10 ? w->free_wanted
                                                            : 0,
                              BK_PRUNE_TIMEOUT, bk_keep_pruned, w);

    return 1;
}


static void
bk_keep_pruned(void *data, const char *error)
{
    bk_worker_t *w = data;

    char              text[BK_PROBE_TEXT];
    const bk_host_t  *h;

    h = w->p->host;

    bk_text_clean(text, sizeof(text), "%s", error == NULL ? "" : error);
    bk_probe_free(&w->prune);
    bk_keep_measure(w);

    if (error != NULL) {
        h->log(h, BK_LOG_WARN, "worker %s/%s: it could not be pruned: %s",
               w->p->pool, w->name, text);

    } else {
        h->log(h, bk_keep_full(w) ? BK_LOG_WARN : BK_LOG_INFO, "worker "
               "%s/%s: pruned, its disk was %u.%u%% full and is %u.%u%%",
               w->p->pool, w->name, w->disk_before / 10, w->disk_before % 10,
               w->disk / 10, w->disk % 10);
    }

    /* if it was about to stop, that waited */
    w->idling = 0;
    bk_worker_used(w);
}
