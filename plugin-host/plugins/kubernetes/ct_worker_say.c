/*
 * What a worker's BuildKitWorker says of it: status and conditions.  See
 * ct_worker.h.
 *
 * Gateways do not go by it, but for phase Failed; who leads next does in one
 * thing: phase Allocated and podIP say with which Pod somebody had it.
 */

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bk_err.h"
#include "ct_worker.h"


#define CT_SAY_MS       150     /* after the end of an allocation */
#define CT_SAY_LATE_MS  1000    /* and no longer than that */


static const char *ct_say_phase(const ct_look_t *l);
static void ct_say_pod(const ct_look_t *l, json_t *s);
static void ct_say_use(const ct_look_t *l, json_t *s, const char *phase);
static void ct_say_conditions(const ct_look_t *l, json_t *s,
    const char *phase, const char *message);
static void ct_say_condition(json_t *list, json_t *was, const char *type,
    int is, const char *reason, const char *message);
static void ct_say_bad(json_t *obj, bk_err_t *bad);
static void ct_say_lie(ct_worker_t *w, json_t *list, uint64_t now);
static void ct_say_write(ct_worker_t *w, json_t *s);
static int ct_say_later(ct_worker_t *w);
static int ct_say_differs(json_t *was, json_t *s);
static json_t *ct_say_make(void *data, ct_obj_t *o, bk_err_t *err);
static void ct_say_time(json_t *s, const char *key, uint64_t ms);


void
ct_say(ct_look_t *l)
{
    json_t            *s;
    const char        *phase, *message = "";
    ct_worker_t       *w = l->w;
    bk_worker_info_t   info;
    char               text[BK_TABLE_MESSAGE_LEN];

    if (w->o == NULL || w->o->obj == NULL || ct_deleting(w->o)
        || ct_writing(w->o))
    {
        return;
    }

    if (l->refused.code != 0) {
        message = l->refused.text;

    } else if (l->own->put
               && l->host->worker_find(l->host, CT_STR(w->pool->key),
                                       CT_STR(w->name), &info) == 0)
    {
        snprintf(text, sizeof(text), "%.*s", (int) info.message.len,
                 info.message.data);
        message = text;
    }

    phase = ct_say_phase(l);
    s = json_pack("{s:s, s:o, s:I}", "phase", phase,
                  "message", message[0] ? json_string(message) : json_null(),
                  "observedGeneration",
                  json_integer_value(ct_at(w->o, "metadata", "generation",
                                           NULL)));
    ct_say_pod(l, s);
    ct_say_use(l, s, phase);
    ct_say_conditions(l, s, phase, message);
    ct_lie_said(l->own);
    ct_say_write(w, s);
}


/* Of one that is in the queue, or that is none of the pool's. */

void
ct_say_other(ct_worker_t *w)
{
    json_t    *s, *list, *was;
    bk_err_t   bad;

    if (w->o == NULL || w->o->obj == NULL || !ct_may(w->pool->ct, w->key)
        || ct_deleting(w->o) || ct_writing(w->o))
    {
        return;
    }

    was = ct_at(w->o, "status", "conditions", NULL);
    list = json_array();
    s = json_pack("{s:o}", "conditions", list);
    memset(&bad, 0, sizeof(bad));
    ct_say_bad(w->o->obj, &bad);

    if (bad.code == 0 && !w->queued) {
        bk_err_set(&bad, 409, "NotAWorker", "workers of pool %.63s are "
                   "called %.63s-0, %.63s-1, ...: this one is nobody's and "
                   "gets no allocation", strchr(w->pool->key, '/') + 1,
                   strchr(w->pool->key, '/') + 1,
                   strchr(w->pool->key, '/') + 1);
    }

    if (w->queued && bad.code == 0) {
        json_object_set_new(s, "phase", json_string("Pending"));
        json_object_set_new(s, "message",
                            json_string("it waits for a worker"));
        json_object_set_new(s, "observedGeneration",
                            json_integer(json_integer_value(
                                ct_at(w->o, "metadata", "generation",
                                      NULL))));
        ct_say_condition(list, was, "Ready", 0, "Queued",
                         "it waits for a worker");
    }

    ct_say_condition(list, was, "Accepted", bad.code == 0,
                     bad.code == 0 ? "Accepted" : bad.reason,
                     bad.code == 0 ? "" : bad.text);
    ct_say_lie(w, list, w->pool->ct->host->now_ms(w->pool->ct->host));
    ct_say_write(w, s);
}


/* --- parts of it ---------------------------------------------------------- */

static const char *
ct_say_phase(const ct_look_t *l)
{
    if (l->refused.code != 0
        || (l->own->put && l->own->state == BK_WORKER_FAILED && !l->foreign
            && !l->drained))
    {
        return "Failed";
    }

    if (l->own->shown[0] != '\0' && l->live) {
        return "Allocated";
    }

    if (l->has && (ct_deleting(l->w->pod) || l->own->stopping || !l->usable)) {
        return "Terminating";
    }

    if (l->own->shown[0] != '\0' && l->pod.ready) {
        return "Idle";
    }

    return l->has || l->wanted ? "Provisioning" : "Pending";
}


static void
ct_say_pod(const ct_look_t *l, json_t *s)
{
    size_t       i, n;
    json_t      *c, *list;
    const char  *shown = l->own->shown, *port, *at;

    if (!l->mine) {
        json_object_set_new(s, "podName", json_null());
        json_object_set_new(s, "createdAt", json_null());

    } else {
        json_object_set_new(s, "podName", json_string(l->pod.name));
        json_object_set_new(s, "createdAt", l->pod.created[0] != '\0'
                            ? json_string(l->pod.created) : json_null());
    }

    if (shown[0] == '\0') {
        json_object_set_new(s, "podIP", json_null());
        json_object_set_new(s, "endpoint", json_null());
        json_object_set_new(s, "readyAt", json_null());
        return;
    }

    /* "IP:1234" or "[IP]:1234" */
    port = strrchr(shown, ':');
    n = shown[0] == '[';
    json_object_set_new(s, "podIP", json_stringn(shown + n,
                            (size_t) (port - shown) - 2 * n));
    json_object_set_new(s, "endpoint", json_string(shown));
    list = ct_at(l->w->pod, "status", "conditions", NULL);

    json_array_foreach(list, i, c) {
        at = obj_text(c, "lastTransitionTime");

        if (strcmp(obj_text(c, "type"), "Ready") == 0
            && strcmp(obj_text(c, "status"), "True") == 0 && at[0] != '\0')
        {
            json_object_set_new(s, "readyAt", json_string(at));
        }
    }
}


/* Only what changes with its allocations: it is not written for less. */

static void
ct_say_use(const ct_look_t *l, json_t *s, const char *phase)
{
    int          is, was;
    json_t      *status = ct_at(l->w->o, "status", NULL);
    json_int_t   count;

    is = strcmp(phase, "Allocated") == 0;
    was = strcmp(obj_text(status, "phase"), "Allocated") == 0;

    if (is != was) {
        count = json_integer_value(json_object_get(status,
                                                   "allocationCount"));
        json_object_set_new(s, "allocationCount",
                            json_integer(count < INT32_MAX ? count + is
                                                           : count));
        ct_say_time(s, "lastActivityAt", l->now);
    }
}


static void
ct_say_conditions(const ct_look_t *l, json_t *s, const char *phase,
    const char *message)
{
    int          ready;
    json_t      *list = json_array();
    json_t      *was = ct_at(l->w->o, "status", "conditions", NULL);
    bk_err_t     bad = l->refused;

    ready = l->own->put && (l->own->state == BK_WORKER_READY
                            || l->own->state == BK_WORKER_DRAINING)
            && l->pod.ready;

    if (bad.code == 0) {
        ct_say_bad(l->w->o->obj, &bad);
    }

    ct_say_condition(list, was, "Ready", ready,
                     l->has && l->bad.code != 0 ? l->bad.reason : phase,
                     message);
    ct_say_condition(list, was, "Accepted", bad.code == 0,
                     bad.code == 0 ? "Accepted" : bad.reason,
                     bad.code == 0 ? "" : bad.text);
    ct_say_lie(l->w, list, l->now);
    json_object_set_new(s, "conditions", list);
}


/* What somebody else has written over what we have. */

static void
ct_say_lie(ct_worker_t *w, json_t *list, uint64_t now)
{
    json_t    *kept, *was = ct_at(w->o, "status", "conditions", NULL);
    bk_err_t   lie;

    if (ct_lie(w, &lie) != 0) {
        ct_say_condition(list, was, "AddressRefused", 1, lie.reason,
                         lie.text);
        return;
    }

    kept = ct_lie_kept(was, now);

    if (kept != NULL) {
        json_array_append(list, kept);
    }
}


static void
ct_say_condition(json_t *list, json_t *was, const char *type, int is,
    const char *reason, const char *message)
{
    size_t       i;
    json_t      *c, *n;
    const char  *since = NULL, *status = is ? "True" : "False";

    json_array_foreach(was, i, c) {
        if (strcmp(obj_text(c, "type"), type) == 0
            && strcmp(obj_text(c, "status"), status) == 0
            && obj_text(c, "lastTransitionTime")[0] != '\0')
        {
            since = obj_text(c, "lastTransitionTime");
        }
    }

    n = json_pack("{s:s, s:s, s:s, s:s}", "type", type, "status", status,
                  "reason", reason, "message", message);

    if (since != NULL) {
        json_object_set_new(n, "lastTransitionTime", json_string(since));

    } else {
        ct_say_time(n, "lastTransitionTime", (uint64_t) time(NULL) * 1000);
    }

    json_array_append_new(list, n);
}


/* What of the object cannot be used, and for companions is not there. */

static void
ct_say_bad(json_t *obj, bk_err_t *bad)
{
    bk_err_t      part, all;
    obj_ended_t   ended[OBJ_ENDED_MAX];
    obj_worker_t  o;

    memset(&all, 0, sizeof(all));
    o.ended = ended;

    if (obj_worker_read(obj, &o, &part, &all) != 0) {
        *bad = all;

    } else {
        *bad = part;
    }
}


/* --- it is written -------------------------------------------------------- */

static void
ct_say_write(ct_worker_t *w, json_t *s)
{
    if (!ct_say_differs(ct_at(w->o, "status", NULL), s)) {
        w->own->late_ms = 0;
        json_decref(s);
        return;
    }

    if (ct_say_later(w)) {
        ct_dirty_worker_in(w, CT_SAY_MS);
        json_decref(s);
        return;
    }

    w->own->late_ms = 0;
    json_decref(w->own->status);
    w->own->status = s;
    ct_write(w->o, CT_STATUS, ct_say_make, ct_object_done, w);
}


/*
 * That nobody has it any more: an object is written by one request at a time,
 * and who gets it next, perhaps at once, would wait for that.
 */

static int
ct_say_later(ct_worker_t *w)
{
    uint64_t  now = w->o->ct->host->monotonic_ms(w->o->ct->host);

    if (w->o->stored_ms == 0 || now - w->o->stored_ms >= CT_SAY_MS
        || ct_store_has(w, NULL))
    {
        return 0;
    }

    if (w->own->late_ms == 0) {
        w->own->late_ms = now;
    }

    return now - w->own->late_ms < CT_SAY_LATE_MS;
}


static int
ct_say_differs(json_t *was, json_t *s)
{
    json_t      *is, *v;
    const char  *key;

    json_object_foreach(s, key, v) {
        is = json_object_get(was, key);

        if (is == NULL ? !json_is_null(v) : !json_equal(is, v)) {
            return 1;
        }
    }

    return 0;
}


static json_t *
ct_say_make(void *data, ct_obj_t *o, bk_err_t *err)
{
    ct_worker_t  *w = data;

    (void) err;

    if (w->own == NULL || w->own->status == NULL
        || !ct_say_differs(ct_at(o, "status", NULL), w->own->status))
    {
        return NULL;
    }

    return json_pack("{s:O}", "status", w->own->status);
}


static void
ct_say_time(json_t *s, const char *key, uint64_t ms)
{
    char       text[32];
    time_t     t = (time_t) (ms / 1000);
    struct tm  tm;

    gmtime_r(&t, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    json_object_set_new(s, key, json_string(text));
}
