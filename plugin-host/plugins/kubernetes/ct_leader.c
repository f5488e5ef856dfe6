/*
 * Who leads: see ct.h.  The Lease says it; the label on the leader's Pod is
 * for the API's Service, which sends all that ask to him.
 *
 * The label is put on when all is known and taken off at the end, and also at
 * the beginning: a process before this one in the same Pod may have had it.
 * Whoever leads looks now and then who else has it, e.g. one that was killed.
 */

#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "bk_err.h"
#include "ct.h"


#define CT_GATEWAY    "front"       /* containers of our Pod: their images */
#define CT_COMPANION  "controller"
#define CT_LABEL_MS   1000          /* until the label is tried again */
#define CT_LABEL_END  2000          /* for taking it off at the end */

struct ct_leader_s {
    ct_t          *ct;
    k8s_lease_t   *lease;
    int            holds;           /* the Lease is ours */
    int            quits;           /* it was */
    char          *who;

    bk_timer_t    *timer;
    k8s_req_t     *req;             /* of our label */
    k8s_req_t     *list;
    int            label;           /* how it should be */
    int            is;              /* how it is; -1: not known */
    int            asked;           /* how it will be after req */
    int            fails;
    int            seen;            /* our Pod was, or cannot be */
    int            released;

    void         (*done)(void *data);
    void          *data;
};


static const k8s_kind_t  ct_leader_pod = { "", "v1", "pods", "Pod" };


static void ct_leader_changed(void *data, int leader, const char *who);
static void ct_leader_turn(void *data);
static json_t *ct_leader_body(int on);
static void ct_leader_images(ct_t *ct, json_t *pod);
static void ct_leader_labelled(void *data, const k8s_answer_t *a);
static void ct_leader_listed(void *data, const k8s_answer_t *a);
static void ct_leader_taken(void *data, const k8s_answer_t *a);
static void ct_leader_release(ct_leader_t *l);
static void ct_leader_says(ct_t *ct, const char *reason, const char *text);


void
ct_leader_start(ct_t *ct)
{
    char          host[65], *identity;
    uint64_t      random = 0;
    ct_leader_t  *l;

    l = calloc(1, sizeof(ct_leader_t));
    if (l == NULL) {
        abort();
    }

    host[0] = '\0';
    (void) gethostname(host, sizeof(host));
    host[sizeof(host) - 1] = '\0';

    while (getrandom(&random, sizeof(random), 0) != sizeof(random)) {
        /* void */
    }

    if (asprintf(&identity, "%.128s_%016llx",
                 ct->conf->pod[0] != '\0' ? ct->conf->pod : host,
                 (unsigned long long) random)
        < 0)
    {
        abort();
    }

    ct->lead = l;
    l->ct = ct;
    l->who = ct_strdup("");
    l->is = -1;
    l->timer = ct->host->timer_new(ct->host, ct_leader_turn, l);
    l->lease = k8s_lease(ct->k8s, ct->conf->namespace, CT_LEASE, identity,
                         ct_leader_changed, l);

    if (ct->conf->lease_ms != 0) {
        k8s_lease_times(l->lease, (unsigned) (ct->conf->lease_ms / 1000),
                        (unsigned) (ct->conf->lease_ms * 2 / 15),
                        (unsigned) (ct->conf->lease_ms * 2 / 3));
    }

    free(identity);
    ct->host->timer_set(l->timer, 0);
}


int
ct_leader_is(const ct_t *ct)
{
    return ct->lead != NULL && ct->lead->holds
           && k8s_lease_valid(ct->lead->lease);
}


int
ct_leader_seen(const ct_t *ct)
{
    return ct->conf->pod[0] == '\0' || ct->lead->seen;
}


const char *
ct_leader_who(const ct_t *ct)
{
    return ct->lead->who;
}


/* Whoever has had it and lost it knows too much that is not so any more: he
 * begins anew, as another process. */

static void
ct_leader_changed(void *data, int leader, const char *who)
{
    bk_err_t      err;
    ct_leader_t  *l = data;
    ct_t         *ct = l->ct;

    free(l->who);
    l->who = ct_strdup(who);

    if (ct->stopping || l->quits) {
        return;
    }

    if (leader && !l->holds) {
        l->holds = 1;
        ct->host->log(ct->host, BK_LOG_INFO, "leads, as %s; what others have "
                      "written is read", who);
        ct_won(ct);

    } else if (!leader && l->holds) {
        l->holds = 0;
        l->quits = 1;
        ct_lost(ct);
        (void) bk_fail(&err, 503, "LeaseLost", "it is started again, and "
                       "waits for its turn", "lost the Lease %s/%s: %s%s leads"
                       " now", ct->conf->namespace, CT_LEASE,
                       who[0] != '\0' ? who : "perhaps ",
                       who[0] != '\0' ? "" : "another");
        ct->host->quit(ct->host, &err);

    } else if (!leader && who[0] != '\0') {
        ct->host->log(ct->host, BK_LOG_INFO, "%s leads", who);
    }
}


/* --- the label ------------------------------------------------------------ */

void
ct_leader_label(ct_t *ct, int on)
{
    ct_leader_t  *l = ct->lead;

    if (l == NULL || ct->conf->pod[0] == '\0') {
        return;
    }

    if (on && !l->label) {
        ct_leader_says(ct, "Leading", "leads from now on");
    }

    l->label = on;
    ct->host->timer_set(l->timer, 0);

    /* and it is not somebody else's */
    if (on && l->list == NULL && ct_leads(ct)) {
        l->list = k8s_list(ct->k8s, &ct_leader_pod, ct->conf->namespace,
                           CT_LABEL_LEADER "=true", ct_leader_listed, l);
    }
}


static void
ct_leader_turn(void *data)
{
    json_t       *body;
    ct_leader_t  *l = data;
    ct_t         *ct = l->ct;

    if (l->done != NULL && (l->is <= 0 || l->req != NULL)) {
        k8s_cancel(&l->req);
        ct_leader_release(l);
        return;
    }

    if (l->req != NULL || ct->conf->pod[0] == '\0' || l->is == l->label) {
        return;
    }

    l->asked = l->label;
    body = ct_leader_body(l->label);
    l->req = k8s_patch(ct->k8s, &ct_leader_pod, ct->conf->namespace,
                       ct->conf->pod, NULL, body, ct_leader_labelled, l);
    json_decref(body);

    if (l->done != NULL) {
        ct->host->timer_set(l->timer, CT_LABEL_END);
    }
}


static json_t *
ct_leader_body(int on)
{
    json_t  *body;

    body = json_pack("{s:{s:{s:s?}}}", "metadata", "labels", CT_LABEL_LEADER,
                     on ? "true" : NULL);
    if (body == NULL) {
        abort();
    }

    return body;
}


static void
ct_leader_labelled(void *data, const k8s_answer_t *a)
{
    ct_leader_t  *l = data;
    ct_t         *ct = l->ct;

    l->req = NULL;

    l->seen = 1;

    if (K8S_OK(a)) {
        l->is = l->asked;
        l->fails = 0;
        ct_leader_images(ct, a->obj);

    } else {
        ct->host->log(ct->host, l->fails++ == 0 ? BK_LOG_WARN : BK_LOG_DEBUG,
                      "label " CT_LABEL_LEADER " of Pod %s/%s: %s",
                      ct->conf->namespace, ct->conf->pod, a->text);
    }

    ct_sync(ct);

    if (l->done != NULL) {
        ct_leader_release(l);

    } else if (l->is != l->label) {
        ct->host->timer_set(l->timer, K8S_OK(a) ? 0 : CT_LABEL_MS
                                                      * (l->fails < 30
                                                         ? (unsigned) l->fails
                                                         : 30u));
    }
}


/* What gateways are made of is what this Pod is made of, if nothing else was
 * said: images are named in one place then. */

static void
ct_leader_images(ct_t *ct, json_t *pod)
{
    char        **at;
    size_t        i;
    json_t       *c;
    const char   *image, *name;

    json_array_foreach(json_object_get(json_object_get(pod, "spec"),
                                       "containers"), i, c)
    {
        name = obj_text(c, "name");
        image = obj_text(c, "image");
        at = strcmp(name, CT_GATEWAY) == 0 ? &ct->conf->gateway_image
             : strcmp(name, CT_COMPANION) == 0 ? &ct->conf->companion_image
             : NULL;

        if (at != NULL && (*at)[0] == '\0' && image[0] != '\0') {
            free(*at);
            *at = ct_strdup(image);
            ct_dirty_all(ct, NULL);
        }
    }
}


static void
ct_leader_listed(void *data, const k8s_answer_t *a)
{
    int           ours = 0;
    size_t        i;
    json_t       *pod, *body, *meta;
    const char   *name;
    ct_leader_t  *l = data;
    ct_t         *ct = l->ct;

    l->list = NULL;

    if (!K8S_OK(a) || !ct_leads(ct)) {
        return;
    }

    json_array_foreach(json_object_get(a->obj, "items"), i, pod) {
        name = obj_text(json_object_get(pod, "metadata"), "name");

        if (strcmp(name, ct->conf->pod) == 0) {
            ours = 1;
            continue;
        }

        ct->host->log(ct->host, BK_LOG_INFO, "Pod %s has the label "
                      CT_LABEL_LEADER ", and does not lead", name);
        body = ct_leader_body(0);
        meta = json_object_get(pod, "metadata");
        json_object_set(json_object_get(body, "metadata"), "uid",
                        json_object_get(meta, "uid"));
        (void) k8s_patch(ct->k8s, &ct_leader_pod, ct->conf->namespace, name,
                         NULL, body, ct_leader_taken, l);
        json_decref(body);
    }

    /* somebody took it off */
    if (!ours && l->req == NULL && l->is == 1) {
        l->is = 0;
        ct->host->timer_set(l->timer, 0);
    }
}


/* Else it is seen next time. */

static void
ct_leader_taken(void *data, const k8s_answer_t *a)
{
    ct_leader_t  *l = data;

    if (!K8S_OK(a)) {
        l->ct->host->log(l->ct->host, BK_LOG_WARN, "label " CT_LABEL_LEADER
                         " of another Pod: %s", a->text);
    }
}


/* --- the end -------------------------------------------------------------- */

/* No clients any more, then nobody's Lease: whoever is next has both at
 * once. */

void
ct_leader_stop(ct_t *ct, void (*done)(void *data), void *data)
{
    ct_leader_t  *l = ct->lead;

    k8s_cancel(&l->list);
    l->done = done;
    l->data = data;
    l->label = 0;

    if (l->req != NULL) {
        ct->host->timer_set(l->timer, CT_LABEL_END);
        return;
    }

    ct->host->timer_set(l->timer, 0);
}


static void
ct_leader_release(ct_leader_t *l)
{
    l->ct->host->timer_clear(l->timer);

    if (!l->released) {
        l->released = 1;
        k8s_lease_release(l->lease, l->done, l->data);
    }
}


void
ct_leader_free(ct_t *ct)
{
    ct_leader_t  *l = ct->lead;

    if (l == NULL) {
        return;
    }

    ct->lead = NULL;
    k8s_cancel(&l->req);
    k8s_cancel(&l->list);
    k8s_lease_free(&l->lease);
    ct->host->timer_free(&l->timer);
    free(l->who);
    free(l);
}


/* On the Lease, where who looks for that looks. */

static void
ct_leader_says(ct_t *ct, const char *reason, const char *text)
{
    json_t  *ref;

    ref = json_pack("{s:s, s:s, s:s, s:s}", "apiVersion",
                    "coordination.k8s.io/v1", "kind", "Lease", "namespace",
                    ct->conf->namespace, "name", CT_LEASE);
    if (ref == NULL) {
        abort();
    }

    ct_event_of(ct, ref, "Normal", reason, "%s %s", ct->conf->pod, text);
    json_decref(ref);
}
