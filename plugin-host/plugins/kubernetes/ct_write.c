/*
 * Writes: see ct.h.  For each object one after the other (ct_turn.c).
 *
 * Nothing is begun from within ct_write(): what is to be written is made in a
 * turn of its own, of what is known by then.  ct_answer.c is told how it
 * ended.
 */

#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "ct_job.h"


#define CT_APPLY_MS     600000      /* applied again, for what others change */


static void ct_write_add(ct_obj_t *o, ct_job_t *job);
static int ct_write_waits(const ct_obj_t *o);
static ct_job_t *ct_write_job(const ct_obj_t *o);
static void ct_write_read(ct_obj_t *o);
static void ct_write_begin(ct_obj_t *o, ct_job_t *job);
static json_t *ct_write_make(ct_obj_t *o, ct_job_t *job, bk_err_t *err);
static void ct_write_send(ct_obj_t *o, ct_job_t *job, json_t *body);
static void ct_write_only(ct_obj_t *o, json_t *body);
static int ct_write_applied(ct_obj_t *o, ct_job_t *job, json_t *body);
static char *ct_write_ns(const ct_obj_t *o);


/* --- what is asked for ---------------------------------------------------- */

void
ct_write(ct_obj_t *o, int how, ct_make_pt make, ct_done_pt done, void *data)
{
    ct_job_t  *job;

    job = calloc(1, sizeof(ct_job_t));
    if (job == NULL) {
        abort();
    }

    job->how = how;
    job->make = make;
    job->done = done;
    job->data = data;
    ct_write_add(o, job);
}


void
ct_write_body(ct_obj_t *o, int how, json_t *body, ct_done_pt done, void *data)
{
    ct_job_t  *job;

    job = calloc(1, sizeof(ct_job_t));
    if (job == NULL) {
        abort();
    }

    job->how = how;
    job->body = body;
    job->done = done;
    job->data = data;
    ct_write_add(o, job);
}


static void
ct_write_add(ct_obj_t *o, ct_job_t *job)
{
    job->asked = (job->how == CT_PLACE || job->how == CT_PATCH);
    job->how = job->how == CT_PLACE ? CT_CREATE
               : job->how == CT_TEND ? CT_PATCH : job->how;
    job->behind = (o->jobs != NULL);
    DL_APPEND(o->jobs, job);
    ct_turn(o);
}


int
ct_writing(const ct_obj_t *o)
{
    return o->jobs != NULL;
}


int
ct_changing(const ct_obj_t *o)
{
    ct_job_t  *job;

    DL_FOREACH(o->jobs, job) {
        if (job->how != CT_STATUS || job->running) {
            return 1;
        }
    }

    return 0;
}


void
ct_obj_read(ct_obj_t *o)
{
    o->reads = 1;
    ct_turn(o);
}


/* --- one of them ---------------------------------------------------------- */

void
ct_write_step(ct_obj_t *o)
{
    bk_err_t   err;
    ct_job_t  *job;

    if (o->req != NULL || (o->failed == 0 && ct_write_waits(o))) {
        return;
    }

    job = ct_write_job(o);

    /* of what is not watched, how it is must be known before */
    if (o->reads || (job != NULL && o->kind >= CT_WATCHED && !o->known
                     && job->how != CT_APPLY))
    {
        ct_write_read(o);
        return;
    }

    if (job == NULL) {
        return;
    }

    if (!ct_may(o->ct, o->key)) {
        (void) bk_fail(&err, 503, "NotLeader", "try again in a moment",
                       ct_leads(o->ct) ? "its namespace is being read"
                       : "another controller leads");
        ct_write_end(o, job, &err);
        return;
    }

    ct_write_begin(o, job);
}


/* Who may not write at all need not wait for that. */

static int
ct_write_waits(const ct_obj_t *o)
{
    const ct_t  *ct = o->ct;

    return o->retry_ms > ct->host->monotonic_ms(ct->host) && ct_may(ct, o->key);
}


/* The first one that need not wait: what failed is not asked for again too
 * soon. */

static ct_job_t *
ct_write_job(const ct_obj_t *o)
{
    int        waits = ct_write_waits(o);
    ct_job_t  *job;

    DL_FOREACH(o->jobs, job) {
        if (!waits || (o->failed & 1 << job->how) == 0
            || job->asked)
        {
            return job;
        }
    }

    return NULL;
}


static void
ct_write_read(ct_obj_t *o)
{
    char  *ns = ct_write_ns(o);

    o->reads = 0;
    o->reading = 1;
    o->ct->running++;
    o->req = k8s_get(o->ct->k8s, &ct_kinds[o->kind], ns, o->name,
                     ct_answer_read, o);
    free(ns);
}


static void
ct_write_begin(ct_obj_t *o, ct_job_t *job)
{
    json_t    *body;
    bk_err_t   err;

    memset(&err, 0, sizeof(err));

    if (o->obj == NULL && (job->how == CT_PATCH || job->how == CT_STATUS)) {
        (void) bk_err_set(&err, 404, "NotFound", "there is no %s %s",
                          ct_kinds[o->kind].kind, o->key);
        ct_write_end(o, job, &err);
        return;
    }

    if ((o->obj != NULL && job->how == CT_CREATE)
        || (o->obj == NULL && job->how == CT_DELETE))
    {
        ct_write_end(o, job, NULL);
        return;
    }

    body = ct_write_make(o, job, &err);

    if (body == NULL) {
        ct_write_end(o, job, err.code != 0 ? &err : NULL);
        return;
    }

    if (job->how == CT_APPLY && ct_write_applied(o, job, body)) {
        json_decref(body);
        ct_write_end(o, job, NULL);
        return;
    }

    ct_write_send(o, job, body);
    json_decref(body);
}


/* A copy as deep as what is put into it. */

static json_t *
ct_write_make(ct_obj_t *o, ct_job_t *job, bk_err_t *err)
{
    json_t  *body, *meta, *mine;

    body = job->body != NULL ? json_incref(job->body)
           : job->make(job->data, o, err);

    if (body == NULL || job->how == CT_DELETE) {
        return body;
    }

    meta = json_object_get(body, "metadata");
    mine = json_copy(body);
    json_decref(body);
    meta = json_is_object(meta) ? json_copy(meta) : json_object();

    if (mine == NULL || meta == NULL) {
        abort();
    }

    json_object_set_new(mine, "metadata", meta);

    return mine;
}


static void
ct_write_send(ct_obj_t *o, ct_job_t *job, json_t *body)
{
    int                grace = -1;
    char              *ns = ct_write_ns(o);
    k8s_t             *k = o->ct->k8s;
    json_t            *seconds;
    const k8s_kind_t  *kind = &ct_kinds[o->kind];

    job->running = 1;
    job->sent = 1;
    o->reading = 0;
    o->ct->running++;
    o->ct->writes++;

    switch (job->how) {

    case CT_CREATE:
        json_object_set_new(json_object_get(body, "metadata"), "name",
                            json_string(o->name));
        o->req = k8s_create(k, kind, ns, body, ct_answer, o);
        break;

    case CT_APPLY:
        ct_write_only(o, body);
        json_object_set_new(json_object_get(body, "metadata"), "name",
                            json_string(o->name));
        o->req = k8s_apply(k, kind, ns, o->name, body, ct_answer, o);
        break;

    case CT_DELETE:
        seconds = json_object_get(body, "gracePeriodSeconds");
        grace = json_is_integer(seconds) ? (int) json_integer_value(seconds)
                                         : -1;
        o->req = k8s_delete(k, kind, ns, o->name, ct_uid(o), ct_version(o),
                            grace, ct_answer, o);
        break;

    default:
        ct_write_only(o, body);
        o->req = k8s_patch(k, kind, ns, o->name,
                           job->how == CT_STATUS ? "status" : NULL, body,
                           ct_answer, o);
        break;
    }

    free(ns);
}


/* Of this object, as it was when this was decided. */

static void
ct_write_only(ct_obj_t *o, json_t *body)
{
    json_t  *meta = json_object_get(body, "metadata");

    /* only where there is none: no object has this version, and of one that is
       being made none is looked at */
    if (o->obj == NULL) {
        json_object_set_new(meta, "resourceVersion", json_string("1"));
        return;
    }

    json_object_set_new(meta, "uid", json_string(ct_uid(o)));
    json_object_set_new(meta, "resourceVersion",
                        json_string(ct_version(o)));
}


/* Is it as it was applied last?  What of it others have changed shows in its
 * generation, where it has one, else in its version. */

static int
ct_write_applied(ct_obj_t *o, ct_job_t *job, json_t *body)
{
    int             i;
    char           *text;
    uint8_t         hash[OBJ_HASH_LEN];
    json_int_t      generation;
    ct_applied_t   *a = o->applied;

    text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS);
    if (text == NULL) {
        abort();
    }

    obj_hash(text, hash);
    OPENSSL_cleanse(text, strlen(text));
    free(text);

    for (i = 0; i < OBJ_HASH_LEN; i++) {
        snprintf(job->hash + 2 * i, 3, "%02x", hash[i]);
    }

    generation = json_integer_value(ct_at(o, "metadata", "generation", NULL));

    return a != NULL && o->obj != NULL && strcmp(a->hash, job->hash) == 0
           && strcmp(a->uid, ct_uid(o)) == 0
           && (generation != 0 ? a->generation == generation
                               : strcmp(a->version, ct_version(o)) == 0)
           && a->at_ms + CT_APPLY_MS > o->ct->host->monotonic_ms(o->ct->host);
}


/* --- the end of one ------------------------------------------------------- */

void
ct_write_end(ct_obj_t *o, ct_job_t *job, const bk_err_t *err)
{
    bk_err_t  copy;

    if (err != NULL) {
        copy = *err;        /* may be the job's own */
    }

    DL_DELETE(o->jobs, job);
    o->held++;
    o->moved |= job->sent ? 1 : 0;

    if (job->done != NULL) {
        job->done(job->data, o, err != NULL ? &copy : NULL);
    }

    /* who looked meanwhile may have left it for later */
    if (o->jobs == NULL) {
        if (job->behind && o->moved) {
            ct_obj_dirty(o);
        }

        o->moved = 0;
    }

    json_decref(job->body);
    free(job);
    ct_turn(o);
    o->held--;
    ct_obj_drop(o);
}


/* Whoever wanted it is not told: he is gone. */

void
ct_write_free(ct_obj_t *o)
{
    ct_job_t  *job, *tmp;

    k8s_cancel(&o->req);

    if (o->queued) {
        DL_DELETE2(o->ct->turns[o->kind != CT_WORKER], o, qprev, qnext);
    }

    if (o->late) {
        DL_DELETE2(o->ct->lates, o, lprev, lnext);
    }

    DL_FOREACH_SAFE(o->jobs, job, tmp) {
        json_decref(job->body);
        free(job);
    }

    o->jobs = NULL;
    free(o->applied);
}


static char *
ct_write_ns(const ct_obj_t *o)
{
    char  *ns = strndup(o->key, (size_t) (o->name - o->key) - 1);

    if (ns == NULL) {
        abort();
    }

    return ns;
}
