/*
 * One leader: see k8s.h.
 *
 * One request at a time: the holder renews with the resourceVersion that its
 * last write got, all others look, and write when they may.  A write whose
 * outcome is not known (an error, no answer in time) is followed by a look.
 *
 * Whose clock says what: renewTime is for people only.  Another's lease has
 * run out when its object did not change for its duration by our clock; ours
 * counts from when the renewal was sent, which is before anybody saw it.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "k8s_int.h"


#define K8S_LEASE_DURATION_S    15
#define K8S_LEASE_RENEWAL_MS    2000
#define K8S_LEASE_LIMIT_MS      10000
#define K8S_LEASE_PATIENCE_MS   4000    /* with one request */
#define K8S_LEASE_RELEASE_MS    5000
#define K8S_LEASE_LONGEST_S     3600    /* that another may ask for */
#define K8S_LEASE_VERSION       128


struct k8s_lease_s {
    k8s_t            *k8s;
    const bk_host_t  *host;
    char             *ns;
    char             *name;
    char             *identity;
    k8s_lease_pt      changed;
    void             *data;

    uint64_t          duration_ms;
    uint64_t          renewal_ms;
    uint64_t          limit_ms;

    bk_timer_t       *timer;
    k8s_req_t        *req;
    int               writing;          /* it is a write */
    uint64_t          asked_ms;         /* when it was sent */

    json_t           *obj;              /* as we know it; NULL: to be looked
                                           at */
    char              holder[K8S_NAME_MAX + 1];
    char              version[K8S_LEASE_VERSION];
    uint64_t          seen_ms;          /* when that changed */

    int               leader;
    uint64_t          renewed_ms;       /* when that renewal was sent */

    int               told;             /* what changed() was told ... */
    char              told_who[K8S_NAME_MAX + 1];
    char              error[64];        /* ... and the log */

    void            (*released)(void *data);
    void             *released_data;
    uint64_t          release_ms;       /* until then */
};


static const k8s_kind_t  k8s_lease_kind = {
    "coordination.k8s.io", "v1", "leases", "Lease"
};


static void k8s_lease_turn(void *data);
static void k8s_lease_look(k8s_lease_t *l);
static void k8s_lease_write(k8s_lease_t *l);
static json_t *k8s_lease_body(const k8s_lease_t *l, int release);
static void k8s_lease_time(const k8s_lease_t *l, char out[40]);
static void k8s_lease_set_time(k8s_lease_t *l);
static void k8s_lease_looked(void *data, const k8s_answer_t *a);
static void k8s_lease_written(void *data, const k8s_answer_t *a);
static int k8s_lease_take(k8s_lease_t *l, json_t *obj);
static int k8s_lease_is_free(const k8s_lease_t *l);
static void k8s_lease_failed(k8s_lease_t *l, const k8s_answer_t *a);
static void k8s_lease_wait(k8s_lease_t *l, uint64_t ms);
static void k8s_lease_tell(k8s_lease_t *l, const char *who);
static void k8s_lease_give(k8s_lease_t *l);
static void k8s_lease_given(void *data, const k8s_answer_t *a);
static uint64_t k8s_lease_now(void);
static char *k8s_lease_strdup(const char *s);


k8s_lease_t *
k8s_lease(k8s_t *k, const char *ns, const char *name, const char *identity,
    k8s_lease_pt changed, void *data)
{
    k8s_lease_t  *l;

    l = calloc(1, sizeof(k8s_lease_t));
    if (l == NULL) {
        abort();
    }

    l->k8s = k;
    l->host = k8s_host(k);
    l->ns = k8s_lease_strdup(ns);
    l->name = k8s_lease_strdup(name);
    l->identity = k8s_lease_strdup(identity);
    l->changed = changed;
    l->data = data;
    l->told = -1;
    k8s_lease_times(l, K8S_LEASE_DURATION_S, K8S_LEASE_RENEWAL_MS,
                    K8S_LEASE_LIMIT_MS);

    l->timer = l->host->timer_new(l->host, k8s_lease_turn, l);
    l->host->timer_set(l->timer, 0);

    return l;
}


void
k8s_lease_times(k8s_lease_t *l, unsigned duration_s, unsigned renewal_ms,
    unsigned limit_ms)
{
    l->duration_ms = (uint64_t) duration_s * 1000;
    l->renewal_ms = renewal_ms;
    l->limit_ms = limit_ms;
}


void
k8s_lease_free(k8s_lease_t **lp)
{
    k8s_lease_t  *l = *lp;

    if (l == NULL) {
        return;
    }

    *lp = NULL;
    k8s_cancel(&l->req);
    l->host->timer_free(&l->timer);
    json_decref(l->obj);
    free(l->identity);
    free(l->name);
    free(l->ns);
    free(l);
}


int
k8s_lease_valid(const k8s_lease_t *l)
{
    return l->leader && k8s_lease_now() < l->renewed_ms + l->limit_ms;
}


/* The next request, the end of our patience with one, or our time is over. */

static void
k8s_lease_turn(void *data)
{
    int           lost;
    k8s_lease_t  *l = data;

    if (l->req != NULL && k8s_lease_now() >= l->asked_ms
                                             + K8S_LEASE_PATIENCE_MS)
    {
        k8s_cancel(&l->req);
        json_decref(l->obj);
        l->obj = NULL;
    }

    if (l->released != NULL) {
        k8s_lease_give(l);
        return;
    }

    /* then it is not renewed, either: another may lead soon */
    lost = l->leader && !k8s_lease_valid(l);
    l->leader = l->leader && !lost;

    if (l->req == NULL) {
        if (l->leader && l->obj != NULL) {
            k8s_lease_write(l);

        } else {
            k8s_lease_look(l);
        }

    } else {
        k8s_lease_set_time(l);
    }

    if (lost) {
        k8s_lease_tell(l, "");
    }
}


static void
k8s_lease_look(k8s_lease_t *l)
{
    l->writing = 0;
    l->asked_ms = k8s_lease_now();
    l->req = k8s_get(l->k8s, &k8s_lease_kind, l->ns, l->name,
                     k8s_lease_looked, l);
    k8s_lease_set_time(l);
}


/* The object is as l->obj says, or there is none. */

static void
k8s_lease_write(k8s_lease_t *l)
{
    json_t  *body = k8s_lease_body(l, 0);

    l->writing = 1;
    l->asked_ms = k8s_lease_now();

    if (l->obj != NULL) {
        l->req = k8s_replace(l->k8s, &k8s_lease_kind, l->ns, l->name, NULL,
                             body, k8s_lease_written, l);

    } else {
        l->req = k8s_create(l->k8s, &k8s_lease_kind, l->ns, body,
                            k8s_lease_written, l);
    }

    json_decref(body);
    k8s_lease_set_time(l);
}


/* What others put there stays. */

static json_t *
k8s_lease_body(const k8s_lease_t *l, int release)
{
    int          ours = l->obj != NULL && strcmp(l->holder, l->identity) == 0;
    char         now[40];
    json_t      *body, *spec;
    json_int_t   n;

    k8s_lease_time(l, now);

    if (l->obj != NULL) {
        body = json_copy(l->obj);
        spec = json_copy(json_object_get(l->obj, "spec"));
        spec = spec != NULL ? spec : json_object();

    } else {
        body = json_pack("{s:{s:s, s:s}}", "metadata", "name", l->name,
                         "namespace", l->ns);
        spec = json_object();
    }

    if (body == NULL || spec == NULL) {
        abort();
    }

    json_object_set_new(body, "spec", spec);
    json_object_set_new(spec, "renewTime", json_string(now));

    if (release) {
        json_object_del(spec, "holderIdentity");
        json_object_set_new(spec, "leaseDurationSeconds", json_integer(1));
        return body;
    }

    json_object_set_new(spec, "holderIdentity", json_string(l->identity));
    json_object_set_new(spec, "leaseDurationSeconds",
                        json_integer((json_int_t) (l->duration_ms / 1000)));

    if (!ours) {
        n = json_integer_value(json_object_get(spec, "leaseTransitions"));
        n = l->obj != NULL && n >= 0 && n < INT32_MAX ? n + 1 : 0;
        json_object_set_new(spec, "acquireTime", json_string(now));
        json_object_set_new(spec, "leaseTransitions", json_integer(n));
    }

    return body;
}


/* MicroTime, for people. */

static void
k8s_lease_time(const k8s_lease_t *l, char out[40])
{
    size_t     n;
    time_t     s;
    uint64_t   ms = l->host->now_ms(l->host);
    struct tm  tm;

    s = (time_t) (ms / 1000);
    gmtime_r(&s, &tm);
    n = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, 40 - n, ".%03u000Z", (unsigned) (ms % 1000));
}


/* A request is under way: when to do without it. */

static void
k8s_lease_set_time(k8s_lease_t *l)
{
    uint64_t  now = k8s_lease_now(), until;

    until = l->asked_ms + K8S_LEASE_PATIENCE_MS;

    if (k8s_lease_valid(l) && l->renewed_ms + l->limit_ms < until) {
        until = l->renewed_ms + l->limit_ms;
    }

    if (l->released != NULL && l->release_ms < until) {
        until = l->release_ms;
    }

    l->host->timer_set(l->timer, until > now ? until - now : 0);
}


static void
k8s_lease_looked(void *data, const k8s_answer_t *a)
{
    k8s_lease_t  *l = data;

    l->req = NULL;

    if (a->status == 404) {
        json_decref(l->obj);
        l->obj = NULL;

        /* deleted: whoever had it has not necessarily noticed */
        if (k8s_lease_is_free(l)) {
            k8s_lease_write(l);

        } else {
            k8s_lease_wait(l, l->renewal_ms);
        }

        return;
    }

    if (!K8S_OK(a) || k8s_lease_take(l, a->obj) != 0) {
        k8s_lease_failed(l, a);
        return;
    }

    l->error[0] = '\0';

    if (k8s_lease_is_free(l)) {
        k8s_lease_write(l);
        return;
    }

    l->leader = 0;
    k8s_lease_wait(l, l->renewal_ms);
    k8s_lease_tell(l, l->holder);
}


static void
k8s_lease_written(void *data, const k8s_answer_t *a)
{
    int           had;
    k8s_lease_t  *l = data;

    l->req = NULL;

    if (!K8S_OK(a) || k8s_lease_take(l, a->obj) != 0) {
        had = (l->obj != NULL);
        json_decref(l->obj);
        l->obj = NULL;

        /* somebody else was there before us: who?  Or it was deleted; but
           what cannot be made has no namespace */
        if (a->status == 409 || (a->status == 404 && had)) {
            k8s_lease_wait(l, k8s_random(100));
            return;
        }

        k8s_lease_failed(l, a);
        return;
    }

    l->error[0] = '\0';

    /* answered too late to be of any use: renewed at once */
    if (k8s_lease_now() >= l->asked_ms + l->limit_ms) {
        l->host->timer_set(l->timer, 0);
        return;
    }

    l->leader = (l->released == NULL);
    l->renewed_ms = l->asked_ms;
    k8s_lease_wait(l, l->renewal_ms);
    k8s_lease_tell(l, l->identity);
}


/* What the object says now; -1: it is no lease. */

static int
k8s_lease_take(k8s_lease_t *l, json_t *obj)
{
    json_t      *spec = json_object_get(obj, "spec");
    const char  *version, *holder;

    version = k8s_text(json_object_get(obj, "metadata"), "resourceVersion");
    holder = k8s_text(spec, "holderIdentity");

    if (version[0] == '\0' || strlen(version) >= K8S_LEASE_VERSION
        || strlen(holder) > K8S_NAME_MAX)
    {
        return -1;
    }

    if (strcmp(version, l->version) != 0) {
        snprintf(l->version, sizeof(l->version), "%s", version);
        l->seen_ms = k8s_lease_now();
    }

    snprintf(l->holder, sizeof(l->holder), "%s", holder);
    json_incref(obj);
    json_decref(l->obj);
    l->obj = obj;

    return 0;
}


/* As it was looked at just now (obj NULL: it is not there any more): may we
 * take it? */

static int
k8s_lease_is_free(const k8s_lease_t *l)
{
    uint64_t    ms = l->duration_ms;
    json_int_t  s;

    if (l->holder[0] == '\0' || strcmp(l->holder, l->identity) == 0) {
        return 1;
    }

    s = json_integer_value(json_object_get(json_object_get(l->obj, "spec"),
                                           "leaseDurationSeconds"));
    if (s > 0) {
        ms = (uint64_t) (s < K8S_LEASE_LONGEST_S ? s : K8S_LEASE_LONGEST_S)
             * 1000;
    }

    return k8s_lease_now() >= l->seen_ms + ms;
}


static void
k8s_lease_failed(k8s_lease_t *l, const k8s_answer_t *a)
{
    uint64_t     ms = l->renewal_ms;
    const char  *text = K8S_OK(a) ? "that is no lease" : a->text;

    /* once for each kind of trouble */
    if (strncmp(l->error, text, sizeof(l->error) - 1) != 0) {
        snprintf(l->error, sizeof(l->error), "%.63s", text);
        l->host->log(l->host, BK_LOG_WARN, "lease %s/%s: %s", l->ns, l->name,
                     text);
    }

    /* who leads has no time to wait for the server's convenience */
    if (l->leader) {
        ms /= 4;

    } else if (a->retry_after > 0) {
        ms = (a->retry_after < 30 ? a->retry_after : 30) * 1000;
    }

    k8s_lease_wait(l, ms);
}


/* Until the next request; a little longer where nobody waits for us. */

static void
k8s_lease_wait(k8s_lease_t *l, uint64_t ms)
{
    uint64_t  left, now = k8s_lease_now();

    if (l->released != NULL) {
        ms = 0;

    } else if (!l->leader) {
        ms += k8s_random((unsigned) (ms / 4) + 1);

    } else {
        left = l->renewed_ms + l->limit_ms;
        left = left > now ? left - now : 0;
        ms = ms < left ? ms : left;
    }

    l->host->timer_set(l->timer, ms);
}


/* The last thing that anybody does: l may be gone. */

static void
k8s_lease_tell(k8s_lease_t *l, const char *who)
{
    if (l->released != NULL
        || (l->told == l->leader && strcmp(l->told_who, who) == 0))
    {
        return;
    }

    l->told = l->leader;
    snprintf(l->told_who, sizeof(l->told_who), "%s", who);
    l->changed(l->data, l->leader, who);
}


/* --- giving it back ------------------------------------------------------- */

void
k8s_lease_release(k8s_lease_t *l, void (*done)(void *data), void *data)
{
    l->released = done;
    l->released_data = data;
    l->release_ms = k8s_lease_now() + K8S_LEASE_RELEASE_MS;

    /* a look is of no use any more; of a write we must know how it ended */
    if (l->req != NULL && !l->writing) {
        k8s_cancel(&l->req);
    }

    l->leader = 0;

    if (l->req != NULL) {
        k8s_lease_set_time(l);

    } else {
        l->host->timer_set(l->timer, 0);
    }
}


/* In place of any turn, from then on. */

static void
k8s_lease_give(k8s_lease_t *l)
{
    int       late = k8s_lease_now() >= l->release_ms;
    json_t   *body;

    l->leader = 0;

    if (l->req != NULL && !late) {
        k8s_lease_set_time(l);
        return;
    }

    if (late || (l->obj == NULL && l->holder[0] == '\0')
        || (l->obj != NULL && strcmp(l->holder, l->identity) != 0))
    {
        k8s_cancel(&l->req);
        l->released(l->released_data);
        return;
    }

    l->asked_ms = k8s_lease_now();
    l->writing = 1;

    if (l->obj == NULL) {
        l->req = k8s_get(l->k8s, &k8s_lease_kind, l->ns, l->name,
                         k8s_lease_given, l);

    } else {
        body = k8s_lease_body(l, 1);
        l->req = k8s_replace(l->k8s, &k8s_lease_kind, l->ns, l->name, NULL,
                             body, k8s_lease_given, l);
        json_decref(body);
    }

    k8s_lease_set_time(l);
}


/* A look or a write of ours: either says who has it now. */

static void
k8s_lease_given(void *data, const k8s_answer_t *a)
{
    k8s_lease_t  *l = data;

    l->req = NULL;

    if (K8S_OK(a) && k8s_lease_take(l, a->obj) == 0) {
        l->host->timer_set(l->timer, 0);
        return;
    }

    /* somebody wrote to it meanwhile, or the server has trouble: look */
    json_decref(l->obj);
    l->obj = NULL;

    if (a->status == 404) {
        l->holder[0] = '\0';
    }

    l->host->timer_set(l->timer, a->status == 409 || a->status == 404 ? 0
                                 : 500);
}


/* Goes on while the machine sleeps. */

static uint64_t
k8s_lease_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_BOOTTIME, &ts);

    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}


static char *
k8s_lease_strdup(const char *s)
{
    char  *copy = strdup(s);

    if (copy == NULL) {
        abort();
    }

    return copy;
}
