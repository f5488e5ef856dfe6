/* How reads and writes ended: see ct.h. */

#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "ct_job.h"
#include "k8s_int.h"


#define CT_TRIES      8             /* of a write that others are faster in */
#define CT_AGAIN_MIN  500           /* ms */
#define CT_AGAIN_MAX  300000
#define CT_LOOK_MS    2000          /* what became of it?  Somebody waits */
#define CT_BUSY_MS    1000          /* the server has too much to do */


static ct_job_t *ct_answer_job(const ct_obj_t *o);
static void ct_answer_good(ct_obj_t *o, ct_job_t *job, const k8s_answer_t *a);
static void ct_answer_applied(ct_obj_t *o, const ct_job_t *job, json_t *obj);
static void ct_answer_bad(ct_obj_t *o, ct_job_t *job, const k8s_answer_t *a);
static int ct_answer_retry(ct_obj_t *o, ct_job_t *job, const k8s_answer_t *a);
static void ct_answer_wait(ct_obj_t *o, uint64_t ms);
static void ct_answer_none(ct_obj_t *o, ct_job_t *job, const k8s_answer_t *a);


/* --- of a write ----------------------------------------------------------- */

void
ct_answer(void *data, const k8s_answer_t *a)
{
    ct_obj_t  *o = data;
    ct_t      *ct = o->ct;
    ct_job_t  *job;

    o->req = NULL;
    ct->running--;
    o->held++;

    job = ct_answer_job(o);

    if (K8S_OK(a)) {
        ct_answer_good(o, job, a);

    } else {
        ct_answer_bad(o, job, a);
    }

    ct_turn(o);
    o->held--;
    ct_obj_drop(o);
    ct->host->timer_set(ct->turn, 0);
    ct_idle(ct);
}


/* One is under way, and only that was sent without having been ended. */

static ct_job_t *
ct_answer_job(const ct_obj_t *o)
{
    ct_job_t  *job;

    DL_FOREACH(o->jobs, job) {
        if (job->running) {
            job->running = 0;
            return job;
        }
    }

    abort();
}


static void
ct_answer_good(ct_obj_t *o, ct_job_t *job, const k8s_answer_t *a)
{
    o->fails = 0;
    o->retry_ms = 0;

    if (job->how == CT_DELETE
        && (a->obj == NULL
            || strcmp(obj_text(a->obj, "kind"), ct_kinds[o->kind].kind) != 0))
    {
        ct_obj_gone(o, ct_uid(o), NULL);

    } else if (a->obj != NULL) {
        ct_obj_put(o, a->obj, 0);
    }

    if (job->how == CT_APPLY) {
        ct_answer_applied(o, job, a->obj);
    }

    ct_write_end(o, job, NULL);
}


/* What the answer says: others may have changed it since. */

static void
ct_answer_applied(ct_obj_t *o, const ct_job_t *job, json_t *obj)
{
    json_t  *meta = json_object_get(obj, "metadata");

    if (o->applied == NULL) {
        o->applied = malloc(sizeof(ct_applied_t));
        if (o->applied == NULL) {
            abort();
        }
    }

    memcpy(o->applied->hash, job->hash, sizeof(job->hash));
    snprintf(o->applied->uid, sizeof(o->applied->uid), "%s",
             obj_text(meta, "uid"));
    snprintf(o->applied->version, sizeof(o->applied->version), "%s",
             obj_text(meta, "resourceVersion"));
    o->applied->generation = json_integer_value(json_object_get(meta,
                                                "generation"));
    o->applied->at_ms = o->ct->host->monotonic_ms(o->ct->host);
}


static void
ct_answer_bad(ct_obj_t *o, ct_job_t *job, const k8s_answer_t *a)
{
    ct_t      *ct = o->ct;
    bk_err_t   err;

    (void) bk_err_set(&err, a->status != 0 ? a->status : 503,
                      a->reason[0] != '\0' ? a->reason : "Refused",
                      "%s", a->text);

    /* done or not done, or to be done yet: an answer that got lost, and etcd's
       timeouts */
    if (a->status == 0 || a->status >= 500) {
        ct->unknown++;
        job->unknown = 1;
        job->err = err;
        job->err.code = 503;
        snprintf(job->err.reason, sizeof(job->err.reason), "Unknown");
        o->reads = 1;
        ct->host->log(ct->host, BK_LOG_WARN, "%s %s: it is not known whether "
                      "it was written: %s", ct_kinds[o->kind].kind, o->key,
                      a->text);
        return;
    }

    if (ct_answer_retry(o, job, a)) {
        return;
    }

    if (a->status == 409) {
        snprintf(err.reason, sizeof(err.reason), "Conflict");
    }

    ct->refusals++;
    ct->host->log(ct->host, BK_LOG_WARN, "%s %s: %s",
                  ct_kinds[o->kind].kind, o->key, a->text);
    ct_answer_fail(o, job, &err, a->retry_after);
}


/* 1: the same will be tried again. */

static int
ct_answer_retry(ct_obj_t *o, ct_job_t *job, const k8s_answer_t *a)
{
    int  there = (job->how != CT_CREATE && job->how != CT_APPLY);

    /* another was faster, or there is one, or there is none any more: what is
       there now? */
    if (a->status == 409 || (a->status == 404 && there)) {
        o->ct->conflicts++;

        if (++job->tries < CT_TRIES) {
            o->reads = 1;
            return 1;
        }

        return 0;
    }

    /* nothing was done */
    if (a->status == 429 && ++job->tries < CT_TRIES) {
        o->failed = 0;
        ct_answer_wait(o, a->retry_after != 0 ? a->retry_after * 1000u
                                              : CT_BUSY_MS);
        return 1;
    }

    return 0;
}


void
ct_answer_fail(ct_obj_t *o, ct_job_t *job, const bk_err_t *err,
    unsigned retry_after)
{
    uint64_t  ms = CT_AGAIN_MAX;

    if (o->fails < 10) {
        ms = CT_AGAIN_MIN << o->fails;
        o->fails++;
    }

    ms = ms < CT_AGAIN_MAX ? ms : CT_AGAIN_MAX;
    ms = ms / 2 + k8s_random((unsigned) ms / 2 + 1);
    ms = ms > retry_after * 1000u ? ms : retry_after * 1000u;
    o->failed = (o->fails > 1 ? o->failed : 0) | 1 << job->how;
    ct_answer_wait(o, ms);
    ct_write_end(o, job, err);
}


static void
ct_answer_wait(ct_obj_t *o, uint64_t ms)
{
    o->retry_ms = o->ct->host->monotonic_ms(o->ct->host) + ms;
    ct_turn_later(o);
}


/* --- of a look ------------------------------------------------------------ */

void
ct_answer_read(void *data, const k8s_answer_t *a)
{
    ct_obj_t  *o = data;
    ct_t      *ct = o->ct;
    ct_job_t  *job;

    o->req = NULL;
    ct->running--;
    o->held++;

    DL_FOREACH(o->jobs, job) {
        if (job->unknown) {
            break;
        }
    }

    if (K8S_OK(a) || a->status == 404) {
        o->read_ms = ct->host->monotonic_ms(ct->host);

        if (a->status == 404) {
            ct_obj_gone(o, NULL, NULL);

        } else {
            ct_obj_put(o, a->obj, 0);
        }

        ct_obj_dirty(o);

        if (job != NULL) {
            ct_answer_fail(o, job, &job->err, 0);
        }

    } else {
        ct_answer_none(o, job, a);
    }

    ct_turn(o);
    o->held--;
    ct_obj_drop(o);
    ct->host->timer_set(ct->turn, 0);
    ct_idle(ct);
}


/* It cannot be read: a write of it may have to be given up. */

static void
ct_answer_none(ct_obj_t *o, ct_job_t *job, const k8s_answer_t *a)
{
    bk_err_t   err;

    if (job != NULL) {
        if (++job->reads < CT_READ_TRIES && ct_leads(o->ct)) {
            o->reads = 1;
            o->failed = 0;
            ct_answer_wait(o, job->reads < 3 ? CT_AGAIN_MIN << (job->reads - 1)
                                             : CT_LOOK_MS);
            return;
        }

        ct_answer_fail(o, job, &job->err, a->retry_after);
        return;
    }

    (void) bk_err_set(&err, a->status >= 400 && a->status < 500 ? a->status
                      : 503, a->reason[0] != '\0' ? a->reason : "Unknown",
                      "%s", a->text);
    job = o->jobs;

    if (job != NULL) {
        ct_answer_fail(o, job, &err, a->retry_after);
        return;
    }

    /* who asked waits, and has nothing that he could say */
    if (o->fails == 0 && err.code < 500 && err.code != 429) {
        o->ct->host->log(o->ct->host, BK_LOG_WARN, "%s %s cannot be read: %s",
                         ct_kinds[o->kind].kind, o->key, err.text);
    }

    o->failed = 0;
    ct_answer_wait(o, CT_AGAIN_MIN << (o->fails < 8 ? o->fails : 8));
    o->fails += o->fails < 8;
}
