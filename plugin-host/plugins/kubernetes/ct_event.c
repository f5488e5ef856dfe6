/*
 * Events: see ct.h.  One object of the API for a reason and text of an object
 * in ten minutes, and how often it happened is counted in it, some seconds
 * later.  That they are written is not relied on: none is tried twice, and
 * what is too much is dropped and counted.
 */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bk_err.h"
#include "ct.h"


#define CT_EVENT_MS     600000  /* of one series */
#define CT_EVENT_SEND   2000    /* ms, until a count is written */
#define CT_EVENT_MAX    2048    /* series that are known */
#define CT_EVENT_BURST  500     /* requests; then ... */
#define CT_EVENT_EVERY  200     /* ... one in so many ms */
#define CT_EVENT_TEXT   1024    /* the API server's limit */
#define CT_EVENT_NAME   230     /* of the object's, in the event's */
#define CT_EVENT_BY     "buildkit-controller"

typedef struct ct_event_s  ct_event_t;

struct ct_event_s {
    UT_hash_handle   hh;
    ct_events_t     *e;
    k8s_req_t       *req;
    json_t          *body;
    char            *ns;
    char            *name;
    uint64_t         first_ms;      /* monotonic */
    unsigned         count;
    unsigned         sent;          /* the count that the API server has */
    unsigned         asked;
    char             key[];
};

struct ct_events_s {
    ct_t         *ct;
    ct_event_t   *all;              /* the oldest first */
    bk_timer_t   *timer;
    int           set;              /* it is */
    uint64_t      credit_ms;        /* requests are paid with that */
    uint64_t      made;
    uint64_t      dropped;
};


static const k8s_kind_t  ct_event_kind = { "", "v1", "events", "Event" };


static void ct_event_say(ct_t *ct, json_t *ref, const char *type,
    const char *reason, const char *fmt, va_list args);
static ct_events_t *ct_events_get(ct_t *ct);
static ct_event_t *ct_event_find(ct_events_t *e, const char *key);
static ct_event_t *ct_event_new(ct_events_t *e, const char *key, json_t *ref,
    const char *type, const char *reason, const char *text);
static char *ct_event_name(const char *object, const char *key, uint64_t ms);
static void ct_event_time(ct_events_t *e, char out[32]);
static void ct_event_flush(void *data);
static void ct_event_send(ct_event_t *v);
static int ct_event_pay(ct_events_t *e);
static void ct_event_sent(void *data, const k8s_answer_t *a);
static void ct_event_free(ct_event_t *v);


void
ct_event(ct_obj_t *o, const char *type, const char *reason, const char *fmt,
    ...)
{
    char               version[128];
    json_t            *ref;
    va_list            args;
    const k8s_kind_t  *kind = &ct_kinds[o->kind];

    snprintf(version, sizeof(version), "%s%s%s", kind->group,
             kind->group[0] != '\0' ? "/" : "", kind->version);
    ref = json_pack("{s:s, s:s, s:s%, s:s, s:s, s:s}", "apiVersion", version,
                    "kind", kind->kind, "namespace", o->key,
                    (size_t) (o->name - o->key) - 1, "name", o->name,
                    "uid", ct_uid(o), "resourceVersion", ct_version(o));
    if (ref == NULL) {
        abort();
    }

    va_start(args, fmt);
    ct_event_say(o->ct, ref, type, reason, fmt, args);
    va_end(args);
    json_decref(ref);
}


void
ct_event_of(ct_t *ct, json_t *ref, const char *type, const char *reason,
    const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    ct_event_say(ct, ref, type, reason, fmt, args);
    va_end(args);
}


static void
ct_event_say(ct_t *ct, json_t *ref, const char *type, const char *reason,
    const char *fmt, va_list args)
{
    char          text[CT_EVENT_TEXT], *key;
    ct_event_t   *v;
    ct_events_t  *e;

    if (!ct_leads(ct)) {
        return;
    }

    vsnprintf(text, sizeof(text), fmt, args);
    bk_err_clean(text);

    if (asprintf(&key, "%s/%s/%s/%s/%s %s", obj_text(ref, "kind"),
                 obj_text(ref, "namespace"), obj_text(ref, "name"),
                 obj_text(ref, "uid"), reason, text)
        < 0)
    {
        abort();
    }

    e = ct_events_get(ct);
    v = ct_event_find(e, key);

    if (v == NULL) {
        v = ct_event_new(e, key, ref, type, reason, text);
    }

    free(key);
    v->count++;

    if (v->sent == 0 && v->req == NULL) {
        ct_event_send(v);

    } else if (!e->set) {
        e->set = 1;
        ct->host->timer_set(e->timer, CT_EVENT_SEND);
    }
}


static ct_events_t *
ct_events_get(ct_t *ct)
{
    ct_events_t  *e = ct->events;

    if (e == NULL) {
        e = calloc(1, sizeof(ct_events_t));
        if (e == NULL) {
            abort();
        }

        e->ct = ct;
        e->timer = ct->host->timer_new(ct->host, ct_event_flush, e);
        ct->events = e;
    }

    return e;
}


/* An old one is not gone on with, but for what of it is not told yet. */

static ct_event_t *
ct_event_find(ct_events_t *e, const char *key)
{
    uint64_t     now = e->ct->host->monotonic_ms(e->ct->host);
    ct_event_t  *v;

    HASH_FIND_STR(e->all, key, v);

    if (v == NULL || v->first_ms + CT_EVENT_MS > now) {
        return v;
    }

    HASH_DEL(e->all, v);
    ct_event_free(v);

    return NULL;
}


static ct_event_t *
ct_event_new(ct_events_t *e, const char *key, json_t *ref, const char *type,
    const char *reason, const char *text)
{
    char         at[32];
    ct_event_t  *v;

    if (HASH_COUNT(e->all) >= CT_EVENT_MAX) {
        v = e->all;
        HASH_DEL(e->all, v);
        ct_event_free(v);
    }

    v = calloc(1, sizeof(ct_event_t) + strlen(key) + 1);
    if (v == NULL) {
        abort();
    }

    strcpy(v->key, key);
    v->e = e;
    v->ns = ct_strdup(obj_text(ref, "namespace"));
    v->first_ms = e->ct->host->monotonic_ms(e->ct->host);
    v->name = ct_event_name(obj_text(ref, "name"), key,
                            e->ct->host->now_ms(e->ct->host));
    ct_event_time(e, at);
    v->body = json_pack("{s:{s:s}, s:O, s:s, s:s, s:s, s:s, s:{s:s}, s:s, "
                        "s:s}", "metadata", "name", v->name, "involvedObject",
                        ref, "type", type, "reason", reason, "message", text,
                        "firstTimestamp", at, "source", "component",
                        CT_EVENT_BY, "reportingComponent", CT_EVENT_BY,
                        "reportingInstance", e->ct->conf->pod);
    if (v->body == NULL) {
        abort();
    }

    HASH_ADD_STR(e->all, key, v);

    return v;
}


/* Another one for each series. */

static char *
ct_event_name(const char *object, const char *key, uint64_t ms)
{
    int      n = (int) strnlen(object, CT_EVENT_NAME);
    char    *name, *text;
    uint8_t  hash[OBJ_HASH_LEN];

    if (asprintf(&text, "%llu %s", (unsigned long long) ms, key) < 0) {
        abort();
    }

    obj_hash(text, hash);
    free(text);

    while (n > 0 && (object[n - 1] == '.' || object[n - 1] == '-')) {
        n--;
    }

    if (asprintf(&name, "%.*s.%02x%02x%02x%02x%02x%02x%02x%02x", n, object,
                 hash[0], hash[1], hash[2], hash[3], hash[4], hash[5],
                 hash[6], hash[7])
        < 0)
    {
        abort();
    }

    return name;
}


static void
ct_event_time(ct_events_t *e, char out[32])
{
    time_t     now = (time_t) (e->ct->host->now_ms(e->ct->host) / 1000);
    struct tm  tm;

    gmtime_r(&now, &tm);
    strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}


/* --- to the API server ---------------------------------------------------- */

static void
ct_event_flush(void *data)
{
    ct_event_t   *v, *tmp;
    ct_events_t  *e = data;

    e->set = 0;

    HASH_ITER(hh, e->all, v, tmp) {
        if (v->count != v->sent && v->req == NULL) {
            ct_event_send(v);
        }
    }
}


static void
ct_event_send(ct_event_t *v)
{
    char          at[32];
    json_t       *body;
    ct_events_t  *e = v->e;
    ct_t         *ct = e->ct;

    if (!ct_leads(ct) || !ct_event_pay(e)) {
        e->dropped++;
        v->sent = v->count;
        return;
    }

    ct_event_time(e, at);
    v->asked = v->count;

    if (v->sent == 0) {
        json_object_set_new(v->body, "count", json_integer(v->count));
        json_object_set_new(v->body, "lastTimestamp", json_string(at));
        v->req = k8s_create(ct->k8s, &ct_event_kind, v->ns, v->body,
                            ct_event_sent, v);
        return;
    }

    body = json_pack("{s:i, s:s}", "count", (int) v->count, "lastTimestamp",
                     at);
    v->req = k8s_patch(ct->k8s, &ct_event_kind, v->ns, v->name, NULL, body,
                       ct_event_sent, v);
    json_decref(body);
}


/* A bucket, of time. */

static int
ct_event_pay(ct_events_t *e)
{
    uint64_t  now = e->ct->host->monotonic_ms(e->ct->host);
    uint64_t  least;

    least = now > CT_EVENT_BURST * CT_EVENT_EVERY
            ? now - CT_EVENT_BURST * CT_EVENT_EVERY : 0;
    e->credit_ms = e->credit_ms > least ? e->credit_ms : least;

    if (e->credit_ms + CT_EVENT_EVERY > now) {
        return 0;
    }

    e->credit_ms += CT_EVENT_EVERY;

    return 1;
}


static void
ct_event_sent(void *data, const k8s_answer_t *a)
{
    ct_event_t   *v = data;
    ct_events_t  *e = v->e;
    ct_t         *ct = e->ct;

    v->req = NULL;

    if (K8S_OK(a)) {
        e->made += v->sent == 0;
        v->sent = v->asked;

    } else {
        e->dropped++;
        ct->host->log(ct->host, BK_LOG_DEBUG, "Event %s/%s: %s", v->ns,
                      v->name, a->text);
        /* the API server forgets them: another one then */
        v->sent = a->status == 404 && v->sent != 0 ? 0 : v->asked;
    }

    if (v->count != v->sent && !e->set) {
        e->set = 1;
        ct->host->timer_set(e->timer, CT_EVENT_SEND);
    }
}


/* --- */

void
ct_events_stats(const ct_t *ct, uint64_t *made, uint64_t *dropped)
{
    *made = ct->events != NULL ? ct->events->made : 0;
    *dropped = ct->events != NULL ? ct->events->dropped : 0;
}


static void
ct_event_free(ct_event_t *v)
{
    k8s_cancel(&v->req);
    json_decref(v->body);
    free(v->ns);
    free(v->name);
    free(v);
}


void
ct_events_free(ct_events_t **ep)
{
    ct_event_t   *v, *tmp;
    ct_events_t  *e = *ep;

    if (e == NULL) {
        return;
    }

    *ep = NULL;

    HASH_ITER(hh, e->all, v, tmp) {
        HASH_DEL(e->all, v);
        ct_event_free(v);
    }

    e->ct->host->timer_free(&e->timer);
    free(e);
}
