/*
 * What of Ingress objects is not used, said once: in the log, as a number, and
 * by who leads among the replicas as an Event of the object.
 *
 * An Event has the name of what it says, so that it is there once, whoever
 * says it how often.
 *
 * Nothing is said that is over in a moment: of objects that are made together
 * those of one kind may be seen before those of another.
 */

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bk_err.h"
#include "ing.h"


#define ING_MOMENT_MS   1000
#define ING_LOG_MS      60000
#define ING_LOG_MAX     50
#define ING_EVENTS      16              /* under way at once */
#define ING_BURST       200             /* Events; then ... */
#define ING_EVERY_MS    200             /* ... one in so many ms */
#define ING_AGAIN_MS    60000           /* one that was refused */
#define ING_EVENT_NAME  230             /* of the object's, in the Event's */
#define ING_EVENT_BY    "buildkit-ingress"


struct ing_said_s {
    UT_hash_handle   hh;
    ing_obj_t       *obj;
    k8s_req_t       *req;
    uint64_t         since_ms;          /* monotonic */
    uint64_t         again_ms;          /* monotonic: not before */
    int              said;              /* in the log */
    int              told;              /* the Event is there */
    int              so;                /* and it is so still */
    char             reason[48];
    char            *text;
    char             key[];             /* reason and text */
};


static const k8s_kind_t  ing_event_kind = { "", "v1", "events", "Event" };

/* labels of a metric: no text of an object */
static const char *const  ing_reasons[] = {
    "NoHost", "BadHost", "HostTwice", "HostTaken", "NoBackend", "BadBackend",
    "BadPath", "TooManyRules", "TooManyHosts", "NoCertificate",
    "BadCertificate", "BadKey", "KeyMismatch", "Expired", "NotYetValid",
    "NameMissing", "NotAllowed", "NoPool", "TLSDisabled", "OtherIssuer",
    "Other"
};

#define ING_REASONS  (sizeof(ing_reasons) / sizeof(ing_reasons[0]))


static void ing_say_all(ing_obj_t *o, const ing_faults_t *f);
static void ing_say_one(ing_obj_t *o, const bk_err_t *err);
static void ing_say_turn(void *data);
static void ing_say_due(ing_said_t *s);
static void ing_say_log(ing_said_t *s);
static void ing_say_event(ing_said_t *s);
static int ing_say_pay(ing_t *ing);
static json_t *ing_say_body(ing_said_t *s);
static void ing_say_done(void *data, const k8s_answer_t *a);
static void ing_say_drop(ing_said_t *s);
static void ing_say_stat(bk_stat_pt fn, void *data, const char *name,
    const char *help, const char *labels, int counter, double value);


void
ing_say_init(ing_t *ing)
{
    ing->refusals = calloc(ING_REASONS, sizeof(uint64_t));
    if (ing->refusals == NULL) {
        abort();
    }

    ing->say = ing->host->timer_new(ing->host, ing_say_turn, ing);
}


void
ing_say(ing_t *ing)
{
    ing_obj_t   *o;
    ing_said_t  *s, *tmp;

    ing->bad = 0;

    for (o = ing->objs; o != NULL; o = o->hh.next) {
        for (s = o->said; s != NULL; s = s->hh.next) {
            s->so = 0;
        }

        ing_say_all(o, &o->read.faults);
        ing_say_all(o, &o->faults);
        ing->bad += o->read.faults.n + o->faults.n > 0;

        HASH_ITER(hh, o->said, s, tmp) {
            if (!s->so) {
                HASH_DEL(o->said, s);
                ing_say_drop(s);

            } else {
                ing_say_due(s);
            }
        }
    }
}


static void
ing_say_turn(void *data)
{
    ing_obj_t   *o;
    ing_said_t  *s;
    ing_t       *ing = data;

    for (o = ing->objs; o != NULL; o = o->hh.next) {
        for (s = o->said; s != NULL; s = s->hh.next) {
            ing_say_due(s);
        }
    }
}


static void
ing_say_due(ing_said_t *s)
{
    ing_t     *ing = s->obj->ing;
    uint64_t   now = ing->host->monotonic_ms(ing->host);

    if (now - s->since_ms < ING_MOMENT_MS) {
        ing->host->timer_set(ing->say, ING_MOMENT_MS);
        return;
    }

    if (!s->said) {
        s->said = 1;
        ing_say_log(s);
    }

    ing_say_event(s);
}


static void
ing_say_all(ing_obj_t *o, const ing_faults_t *f)
{
    size_t  i;

    for (i = 0; i < f->n; i++) {
        ing_say_one(o, &f->all[i]);
    }
}


static void
ing_say_one(ing_obj_t *o, const bk_err_t *err)
{
    char        *key;
    ing_said_t  *s;

    if (asprintf(&key, "%s %s", err->reason, err->text) < 0) {
        abort();
    }

    HASH_FIND_STR(o->said, key, s);

    if (s == NULL) {
        s = calloc(1, sizeof(ing_said_t) + strlen(key) + 1);
        if (s == NULL) {
            abort();
        }

        strcpy(s->key, key);
        strcpy(s->reason, err->reason);
        s->text = gw_strdup(err->text);
        s->obj = o;
        s->since_ms = o->ing->host->monotonic_ms(o->ing->host);
        HASH_ADD_STR(o->said, key, s);
    }

    s->so = 1;
    free(key);
}


static void
ing_say_log(ing_said_t *s)
{
    size_t     i;
    ing_t     *ing = s->obj->ing;
    uint64_t   now = ing->host->monotonic_ms(ing->host);

    for (i = 0; i < ING_REASONS - 1; i++) {
        if (strcmp(ing_reasons[i], s->reason) == 0) {
            break;
        }
    }

    ing->refusals[i]++;

    if (ing->log_ms == 0 || now - ing->log_ms > ING_LOG_MS) {
        ing->log_ms = now;
        ing->logged = 0;
    }

    if (ing->logged++ < ING_LOG_MAX) {
        ing->host->log(ing->host, BK_LOG_WARN, "Ingress %s: %s (%s)",
                       s->obj->key, s->text, s->reason);
    }
}


void
ing_say_again(ing_t *ing)
{
    ing_obj_t   *o;
    ing_said_t  *s;

    for (o = ing->objs; o != NULL; o = o->hh.next) {
        for (s = o->said; s != NULL; s = s->hh.next) {
            s->again_ms = 0;
            ing_say_due(s);
        }
    }
}


/* --- Events ----------------------------------------------------------------- */

static void
ing_say_event(ing_said_t *s)
{
    ing_t   *ing = s->obj->ing;
    json_t  *body;

    if (s->told || s->req != NULL || !ing_leads(ing)
        || ing->nevents >= ING_EVENTS
        || s->again_ms > ing->host->monotonic_ms(ing->host)
        || !ing_say_pay(ing))
    {
        return;
    }

    body = ing_say_body(s);
    ing->nevents++;
    s->req = k8s_create(ing->k8s, &ing_event_kind, s->obj->ns, body,
                        ing_say_done, s);
    json_decref(body);
}


/* A bucket, of time: who cannot pay is asked again. */

static int
ing_say_pay(ing_t *ing)
{
    uint64_t  now = ing->host->monotonic_ms(ing->host), least;

    least = now > ING_BURST * ING_EVERY_MS ? now - ING_BURST * ING_EVERY_MS
                                           : 0;
    ing->credit_ms = ing->credit_ms > least ? ing->credit_ms : least;

    if (ing->credit_ms + ING_EVERY_MS > now) {
        return 0;
    }

    ing->credit_ms += ING_EVERY_MS;

    return 1;
}


static json_t *
ing_say_body(ing_said_t *s)
{
    int          n;
    char         at[32], *name, *what;
    json_t      *body;
    time_t       now;
    uint8_t      hash[OBJ_HASH_LEN];
    ing_t       *ing = s->obj->ing;
    struct tm    tm;
    const char  *object = s->obj->name;

    if (asprintf(&what, "%s %s", s->obj->uid, s->key) < 0) {
        abort();
    }

    obj_hash(what, hash);
    free(what);
    n = (int) strnlen(object, ING_EVENT_NAME);

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

    now = (time_t) (ing->host->now_ms(ing->host) / 1000);
    gmtime_r(&now, &tm);
    strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%SZ", &tm);

    body = json_pack("{s:{s:s}, s:{s:s, s:s, s:s, s:s, s:s, s:s}, s:s, s:s, "
                     "s:s, s:s, s:s, s:i, s:{s:s}, s:s}", "metadata", "name",
                     name, "involvedObject", "apiVersion",
                     "networking.k8s.io/v1", "kind", "Ingress", "namespace",
                     s->obj->ns, "name", object, "uid", s->obj->uid,
                     "resourceVersion", s->obj->version, "type", "Warning",
                     "reason", s->reason, "message", s->text,
                     "firstTimestamp", at, "lastTimestamp", at, "count", 1,
                     "source", "component", ING_EVENT_BY,
                     "reportingComponent", ING_EVENT_BY);
    free(name);

    if (body == NULL) {
        abort();
    }

    return body;
}


static void
ing_say_done(void *data, const k8s_answer_t *a)
{
    ing_said_t  *s = data;
    ing_t       *ing = s->obj->ing;

    s->req = NULL;
    ing->nevents--;

    if (K8S_OK(a) || strcmp(a->reason, "AlreadyExists") == 0) {
        s->told = 1;

        /* more wait for their turn */
        if (ing->nevents == 0) {
            ing_dirty(ing);
        }

        return;
    }

    ing->dropped++;
    s->again_ms = ing->host->monotonic_ms(ing->host) + ING_AGAIN_MS;
    ing->host->log(ing->host, BK_LOG_INFO, "Event of Ingress %s: %s",
                   s->obj->key, a->text);
}


static void
ing_say_drop(ing_said_t *s)
{
    if (s->req != NULL) {
        k8s_cancel(&s->req);
        s->obj->ing->nevents--;
    }

    free(s->text);
    free(s);
}


void
ing_say_forget(ing_obj_t *o)
{
    ing_said_t  *s, *tmp;

    HASH_ITER(hh, o->said, s, tmp) {
        HASH_DEL(o->said, s);
        ing_say_drop(s);
    }
}


void
ing_say_free(ing_t *ing)
{
    ing->host->timer_free(&ing->say);
    free(ing->refusals);
}


/* --- numbers ----------------------------------------------------------------- */

void
ing_say_stats(ing_t *ing, bk_stat_pt fn, void *data)
{
    char    labels[64];
    size_t  i;

    for (i = 0; i < ING_REASONS; i++) {
        snprintf(labels, sizeof(labels), "reason=\"%s\"", ing_reasons[i]);
        ing_say_stat(fn, data, "kubernetes_ingress_refusals_total", "What of "
                     "Ingress objects was found to be of no use", labels, 1,
                     (double) ing->refusals[i]);
    }

    ing_say_stat(fn, data, "kubernetes_ingress_objects", "Ingress objects of "
                 "our class", "", 0, HASH_COUNT(ing->objs));
    ing_say_stat(fn, data, "kubernetes_ingress_refused_objects", "Ingress "
                 "objects of our class with something that is not used", "",
                 0, (double) ing->bad);
    ing_say_stat(fn, data, "kubernetes_ingress_names", "Names that nginx is "
                 "told", "", 0, (double) ing->nlines);
    ing_say_stat(fn, data, "kubernetes_ingress_secrets", "Secrets that are "
                 "named", "", 0, HASH_COUNT(ing->secrets));
    ing_say_stat(fn, data, "kubernetes_ingress_leader", "This one writes "
                 "Events and addresses", "", 0, ing_leads(ing));
    ing_say_stat(fn, data, "kubernetes_ingress_status_writes_total",
                 "Addresses that were written", "", 1, (double) ing->written);
    ing_say_stat(fn, data, "kubernetes_ingress_failed_writes_total", "Events "
                 "and addresses that could not be written", "", 1,
                 (double) ing->dropped);
}


static void
ing_say_stat(bk_stat_pt fn, void *data, const char *name, const char *help,
    const char *labels, int counter, double value)
{
    bk_stat_t  stat = { name, help, labels, counter, value, NULL };

    fn(&stat, data);
}
