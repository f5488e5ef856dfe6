/*
 * A drained worker: it takes nobody new, and who is on it may finish.
 *
 * The worker's owner goes on saying what it sees, which is kept beside what
 * the table shows; a READY one is shown as DRAINING.  Its READY allocations
 * are DRAINING until it is taken back.  Those that wait for it could never
 * get in any more: they fail, so that whoever asked can have another worker.
 */

#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "model_int.h"


static void bk_model_drain_on(bk_model_t *m, bk_worker_t *w, char *text);
static void bk_model_drain_off(bk_model_t *m, bk_worker_t *w);
static void bk_model_drain_alloc(bk_model_t *m, bk_alloc_t *a, int state,
    const char *reason);
static char *bk_model_drain_text(const bk_worker_t *w, bk_str_t reason);
static void bk_model_drain_want(bk_model_t *m, bk_worker_t *w, int wanted);


int
bk_model_worker_drain(bk_model_t *m, bk_str_t pool, bk_str_t name,
    int drained, bk_str_t reason, bk_err_t *err)
{
    int                      rc, was;
    bk_pool_t               *p = bk_model_pool_get(m, pool);
    bk_worker_t             *w = p != NULL ? bk_model_worker_get(p, name)
                                           : NULL;
    bk_table_worker_data_t   said;

    if (w == NULL) {
        return bk_err_set(err, 404, "WorkerNotFound",
                          "there is no worker %.*s in pool %.*s",
                          (int) name.len, name.data, (int) pool.len,
                          pool.data);
    }

    was = w->drained;

    if (!was && !drained) {
        return 0;
    }

    w->refs++;
    bk_model_enter(m);

    if (drained) {
        bk_model_drain_on(m, w, bk_model_drain_text(w, reason));

    } else {
        bk_model_drain_off(m, w);
    }

    said = *bk_model_worker_said(w);
    rc = bk_model_worker_say(m, w, &said, err);

    bk_model_leave(m);

    if (rc == 0 && was != drained) {
        bk_model_drain_want(m, w, !drained);
    }

    bk_model_worker_unref(w);

    return rc;
}


/* text becomes the worker's. */

static void
bk_model_drain_on(bk_model_t *m, bk_worker_t *w, char *text)
{
    int          news;
    bk_alloc_t  *a, *tmp;

    news = w->drain_text == NULL || strcmp(w->drain_text, text) != 0;

    free(w->drain_text);
    w->drain_text = text;
    w->drained = 1;

    DL_FOREACH_SAFE(w->allocs, a, tmp) {

        if (a->state == BK_ALLOC_READY || (a->drained && news)) {
            a->drained = 1;
            bk_model_drain_alloc(m, a, BK_ALLOC_DRAINING, text);

        } else if (a->state != BK_ALLOC_DRAINING) {
            bk_model_alloc_finish(m, a, BK_ALLOC_FAILED, text);
        }
    }
}


static void
bk_model_drain_off(bk_model_t *m, bk_worker_t *w)
{
    int          state;
    bk_alloc_t  *a, *tmp;

    w->drained = 0;
    free(w->drain_text);
    w->drain_text = NULL;

    state = bk_model_worker_said(w)->state;
    state = state == BK_WORKER_STARTING || state == BK_WORKER_STOPPED
            ? BK_ALLOC_STARTING : BK_ALLOC_READY;

    DL_FOREACH_SAFE(w->allocs, a, tmp) {
        if (a->drained) {
            a->drained = 0;
            bk_model_drain_alloc(m, a, state, NULL);
        }
    }
}


static char *
bk_model_drain_text(const bk_worker_t *w, bk_str_t reason)
{
    char  *text, *clean;

    clean = bk_model_alloc_text(reason);

    if (asprintf(&text, "worker %s is drained%s%s", w->data.name,
                 clean != NULL ? ": " : "", clean != NULL ? clean : "")
        < 0)
    {
        abort();
    }

    free(clean);

    return text;
}


static void
bk_model_drain_alloc(bk_model_t *m, bk_alloc_t *a, int state,
    const char *reason)
{
    char  *text = NULL;

    if (reason != NULL) {
        text = bk_model_alloc_text((bk_str_t) { reason, strlen(reason) });
    }

    free(a->reason);
    a->reason = text;
    bk_model_alloc_state(m, a, state);
}


/* What is shown in place of what its owner says. */

void
bk_model_drain_show(const bk_worker_t *w, bk_table_worker_data_t *data)
{
    size_t       len;
    const char  *why;

    if (!w->drained
        || (data->state != BK_WORKER_READY
            && data->state != BK_WORKER_STOPPED))
    {
        return;
    }

    if (data->state == BK_WORKER_READY) {
        data->state = BK_WORKER_DRAINING;
    }

    /* "drained: kernel update", without its name, which stands beside it */
    why = w->drain_text + strlen("worker  is ") + data->name_len;
    len = strlen(why);

    if (len >= BK_TABLE_MESSAGE_LEN) {
        for (len = BK_TABLE_MESSAGE_LEN - 1;
             len > 0 && ((unsigned char) why[len] & 0xc0) == 0x80; len--)
        {
            /* void */
        }
    }

    memset(data->message, 0, sizeof(data->message));
    memcpy(data->message, why, len);
    data->message_len = (uint16_t) len;
}


/* Why it is in its state: what was said, or what its drained worker says. */

bk_str_t
bk_model_drain_why(const bk_alloc_info_t *info, const bk_worker_t *w,
    int state, uint8_t *drained)
{
    *drained = w != NULL && w->drained && state == BK_ALLOC_DRAINING
               && info->state != BK_ALLOC_DRAINING;

    return *drained ? (bk_str_t) { w->drain_text, strlen(w->drain_text) }
                    : info->reason;
}


/* A restart: it was drained before its owner came to say that it is its. */

void
bk_model_drain_claimed(bk_model_t *m, bk_worker_t *w)
{
    if (w->drained) {
        bk_model_drain_want(m, w, 0);
    }
}


int
bk_model_drain_refuse(const bk_worker_t *w, bk_err_t *err)
{
    bk_err_set(err, 409, "WorkerDrained", "%s", w->drain_text);

    return bk_err_hint(err, "bkctl drain --undo %s takes it back",
                       w->data.name);
}


/*
 * Its owner lets it go, or has it as before; one that does not run stays so
 * until somebody needs it.  Owners that cannot do this need not.
 */

static void
bk_model_drain_want(bk_model_t *m, bk_worker_t *w, int wanted)
{
    int       state = bk_model_worker_said(w)->state;
    bk_str_t  pool = { w->pool->name, w->pool->name_len };
    bk_str_t  name = { w->data.name, w->data.name_len };
    bk_err_t  err;

    if (w->owner == NULL || m->conf.want == NULL || w->gone
        || (wanted && (state == BK_WORKER_STOPPED
                       || state == BK_WORKER_FAILED)))
    {
        return;
    }

    if (m->conf.want(w->owner->id, pool, name, wanted, &err, m->conf.data)
        == 0)
    {
        w->wanted = (uint8_t) wanted;
    }
}


int
bk_model_worker_drained(bk_model_t *m, bk_str_t pool, bk_str_t name)
{
    bk_pool_t    *p = bk_model_pool_get(m, pool);
    bk_worker_t  *w = p != NULL ? bk_model_worker_get(p, name) : NULL;

    return w != NULL && w->drained;
}
