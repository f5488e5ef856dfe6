/*
 * How many workers of a pool there are, and which of those that nobody has are
 * kept: see ct_worker.h.
 *
 * scaling.min is of idle ones: so many are ready for who comes, beside those
 * that somebody has.  Kept are those that run already, then those of low
 * numbers, whose caches are the fullest; one that fails all the time is the
 * last.  With scaleDownSchedule none is kept from its time on until somebody
 * asks for one.
 */

#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "ct_cron.h"
#include "ct_worker.h"


static void ct_scale_slots(ct_pool_t *p);
static void ct_scale_sleep(ct_pool_t *p);
static int ct_scale_awake(const ct_pool_t *p);
static void ct_scale_warm(ct_pool_t *p);
static int ct_scale_rank(const ct_worker_t *w);


void
ct_scale_look(ct_pool_t *p)
{
    ct_worker_t  *w;

    if (p->scale == NULL) {
        p->scale = calloc(1, sizeof(struct ct_scale_s));
        if (p->scale == NULL) {
            abort();
        }
    }

    if (p->o != NULL && p->o->obj != NULL) {
        ct_pool_spec(p);
    }

    ct_scale_slots(p);
    ct_scale_sleep(p);
    ct_scale_warm(p);

    /* what they may be put into is there, or is not any more */
    if (p->put != p->scale->put) {
        p->scale->put = p->put;

        DL_FOREACH(p->workers, w) {
            if (!p->put && w->own != NULL) {
                w->own->put = 0;
            }

            ct_dirty_worker(w);
        }
    }
}


void
ct_scale_free(ct_pool_t *p)
{
    if (p->scale != NULL) {
        free(p->scale->schedule);
        free(p->scale);
        p->scale = NULL;
    }
}


int
ct_scale_bad(const ct_pool_t *p, bk_err_t *err)
{
    if (p->scale == NULL || p->scale->bad.code == 0) {
        return 0;
    }

    *err = p->scale->bad;

    return 1;
}


/* --- slots ---------------------------------------------------------------- */

/* All that there may be are in the model, whether they run or not: a cache has
 * its worker for good. */

static void
ct_scale_slots(ct_pool_t *p)
{
    int           i, n = ct_worker_slots(p);
    char          name[K8S_NAME_MAX + 16];
    ct_worker_t  *w;

    if (n == p->scale->slots) {
        return;
    }

    for (i = p->scale->slots; i < n; i++) {
        snprintf(name, sizeof(name), "%s-%d", strchr(p->key, '/') + 1, i);
        ct_dirty_worker(ct_worker_get(p->ct, p, name));
    }

    DL_FOREACH(p->workers, w) {
        if (w->slot >= n) {
            ct_dirty_worker(w);
        }
    }

    p->scale->slots = n;
}


/* --- those that are kept -------------------------------------------------- */

static void
ct_scale_warm(ct_pool_t *p)
{
    int           rank, n, warm;
    ct_worker_t  *w;

    n = p->manual ? ct_worker_slots(p) : ct_scale_awake(p) ? p->min : 0;

    if (ct_worker_slots(p) == 0) {
        n = 0;
    }

    /* they run already; they can be started; they have failed */
    for (rank = 0; rank < 3; rank++) {
        DL_FOREACH(p->workers, w) {
            if (w->slot < 0 || ct_scale_rank(w) != rank) {
                continue;
            }

            warm = n > 0;
            n -= warm;

            if (w->own == NULL ? warm : (int) w->own->warm != warm) {
                if (w->own != NULL) {
                    w->own->warm = warm ? 1 : 0;
                }

                ct_dirty_worker(w);
            }
        }
    }

    DL_FOREACH(p->workers, w) {
        if (w->own != NULL && ct_scale_rank(w) == 3 && w->own->warm) {
            w->own->warm = 0;
            ct_dirty_worker(w);
        }
    }
}


/* 3: it is not one that could be kept. */

static int
ct_scale_rank(const ct_worker_t *w)
{
    const struct ct_worker_own_s  *own = w->own;

    if (w->slot < 0 || w->slot >= ct_worker_slots(w->pool)
        || (w->o != NULL && w->o->obj != NULL
            && json_is_object(ct_at(w->o, "spec", "drained", NULL))))
    {
        return 3;
    }

    if (own == NULL) {
        return 1;
    }

    if (own->live) {
        return 3;
    }

    if (own->put && own->state == BK_WORKER_FAILED) {
        return 2;
    }

    return w->pod != NULL && w->pod->obj != NULL && own->runs
           && !own->stopping ? 0 : 1;
}


/* --- sleep ---------------------------------------------------------------- */

/* When was it to scale to zero last? */

static void
ct_scale_sleep(ct_pool_t *p)
{
    uint64_t            now = p->ct->host->now_ms(p->ct->host);
    const char         *s = "";
    ct_worker_t        *w;
    struct ct_scale_s  *scale = p->scale;
    uint64_t            made = 0;
    bk_err_t            err;
    ct_cron_t           cron;
    int                 first = scale->schedule == NULL;

    if (p->o != NULL && p->o->obj != NULL) {
        s = json_string_value(ct_at(p->o, "spec", "scaling",
                                    "scaleDownSchedule", NULL));
        s = s != NULL ? s : "";
    }

    if (scale->schedule != NULL && strcmp(scale->schedule, s) == 0
        && (scale->next_ms == 0 || now < scale->next_ms))
    {
        return;
    }

    if (first || strcmp(scale->schedule, s) != 0) {
        free(scale->schedule);
        scale->schedule = ct_strdup(s);
        scale->asleep_ms = 0;
        scale->next_ms = 0;

        if (scale->bad.code != 0) {
            memset(&scale->bad, 0, sizeof(bk_err_t));
            ct_dirty_pool(p);
        }
    }

    if (s[0] == '\0') {
        return;
    }

    if (ct_cron_read(s, &cron, &err) != 0) {
        (void) bk_err_prefix(&err, "scaleDownSchedule");
        scale->bad = err;
        ct_dirty_pool(p);
        return;
    }

    /* not one that was before there was this schedule, as far as we know */
    (void) obj_time(obj_text(json_object_get(p->o->obj, "metadata"),
                             "creationTimestamp"), &made);

    if (scale->next_ms != 0 || first) {
        scale->asleep_ms = ct_cron_last(&cron, now);
    }

    if (scale->asleep_ms < made) {
        scale->asleep_ms = 0;
    }

    scale->next_ms = ct_cron_next(&cron, now);

    if (scale->next_ms != 0) {
        ct_dirty_in(p->ct, scale->next_ms - now);
    }

    DL_FOREACH(p->workers, w) {
        ct_dirty_worker(w);
    }
}


/* Somebody has had one, or asked for one, since: as far as we have seen it, and
 * as whoever led before us has made Pods for it. */

static int
ct_scale_awake(const ct_pool_t *p)
{
    uint64_t      made;
    ct_worker_t  *w;

    if (p->scale->asleep_ms == 0) {
        return 1;
    }

    DL_FOREACH(p->workers, w) {
        if (w->own != NULL && w->slot >= 0
            && (w->own->live || w->own->used_ms >= p->scale->asleep_ms))
        {
            return 1;
        }

        if (w->slot >= 0 && w->pod != NULL && w->pod->obj != NULL
            && obj_time(obj_text(json_object_get(w->pod->obj, "metadata"),
                                 "creationTimestamp"), &made) == 0
            && made >= p->scale->asleep_ms)
        {
            return 1;
        }
    }

    return 0;
}
