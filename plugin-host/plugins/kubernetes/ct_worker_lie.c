/*
 * Addresses that a BuildKitWorker's status has and that are not of us: see
 * ct_worker.h.
 *
 * Nobody goes by them: a worker is where its own Pod is.  But who wrote them
 * wanted somebody to, so what was refused, and why, is said: in the condition
 * AddressRefused, for an hour, and an Event.  Over it the truth is put, where
 * the object is a worker.
 */

#include <stdio.h>
#include <string.h>

#include "bk_err.h"
#include "ct_worker.h"
#include "k8s_conf.h"


#define CT_LIE_MS    (60 * 60 * 1000)
#define CT_LIE_TYPE  "AddressRefused"


static int ct_lie_judge(ct_worker_t *w, const char *key, bk_err_t *err);
static void ct_lie_host(const char *endpoint, char *buf, size_t size);
static int ct_lie_ours(const ct_worker_t *w, const char *host);
static int ct_lie_others(ct_worker_t *w, const char *ip, bk_err_t *err);
static int ct_lie_near(const ct_worker_t *w, const ct_obj_t *pod);
static int ct_lie_has(const ct_obj_t *pod, const char *ip);


const char *const *
ct_avoid(ct_t *ct)
{
    if (!ct->avoid.set) {
        obj_avoid(&ct->avoid, k8s_conf_server(k8s_conf(ct->k8s))
                              + strlen("https://"));
        obj_avoid(&ct->avoid, getenv("KUBERNETES_SERVICE_HOST"));
    }

    return ct->avoid.list;
}


/* What is in its status by now, before it is written anew. */

int
ct_lie(ct_worker_t *w, bk_err_t *err)
{
    memset(err, 0, sizeof(bk_err_t));

    if (ct_lie_judge(w, "podIP", err) == 0
        && ct_lie_judge(w, "endpoint", err) == 0)
    {
        return 0;
    }

    ct_event(w->o, "Warning", err->reason, "%s", err->text);

    return -1;
}


/* We have written it, or write it now: endpoint as it is shown. */

void
ct_lie_said(struct ct_worker_own_s *own)
{
    char  host[OBJ_ADDRESS_MAX];

    ct_lie_host(own->shown, host, sizeof(host));

    if (strcmp(host, own->said) != 0) {
        memcpy(own->before, own->said, sizeof(own->before));
        memcpy(own->said, host, sizeof(own->said));
    }
}


/* The condition as it was, while it is young; NULL: none. */

json_t *
ct_lie_kept(json_t *conditions, uint64_t now_ms)
{
    size_t    i;
    json_t   *c;
    uint64_t  ms;

    json_array_foreach(conditions, i, c) {
        if (strcmp(obj_text(c, "type"), CT_LIE_TYPE) == 0
            && obj_time(obj_text(c, "lastTransitionTime"), &ms) == 0
            && ms <= now_ms + CT_LIE_MS && now_ms < ms + CT_LIE_MS)
        {
            return c;
        }
    }

    return NULL;
}


static int
ct_lie_judge(ct_worker_t *w, const char *key, bk_err_t *err)
{
    char         host[OBJ_ADDRESS_MAX], endpoint[OBJ_ADDRESS_MAX];
    bk_err_t     bad;
    const char  *is = obj_text(ct_at(w->o, "status", NULL), key);

    ct_lie_host(is, host, sizeof(host));

    if (is[0] == '\0' || ct_lie_ours(w, host)) {
        return 0;
    }

    if (obj_address(host, OBJ_PORT, ct_avoid(w->pool->ct), endpoint,
                    sizeof(endpoint), &bad) == 0
        && ct_lie_others(w, host, &bad) == 0)
    {
        return 0;                       /* nobody's: it was its own once */
    }

    return bk_err_set(err, 403, bad.reason, "status.%s was \"%.60s\": %.200s; "
                      "a worker is where its own Pod is, so nobody was sent "
                      "there", key, is, bad.text);
}


/* "tcp://ADDRESS:PORT", "[ADDRESS]:PORT", "ADDRESS" */

static void
ct_lie_host(const char *endpoint, char *buf, size_t size)
{
    size_t       n;
    const char  *s = strstr(endpoint, "://");

    s = s != NULL ? s + strlen("://") : endpoint;

    if (*s == '[') {
        n = strcspn(++s, "]");

    } else {
        n = strchr(s, ':') == strrchr(s, ':') ? strcspn(s, ":") : strlen(s);
    }

    snprintf(buf, size, "%.*s", (int) (n < size ? n : size - 1), s);
}


/* what we have written: the last time, or before, if that was refused */

static int
ct_lie_ours(const ct_worker_t *w, const char *host)
{
    char  shown[OBJ_ADDRESS_MAX];

    if (w->own == NULL) {
        return 0;
    }

    ct_lie_host(w->own->shown, shown, sizeof(shown));

    return strcmp(host, shown) == 0 || strcmp(host, w->own->said) == 0
           || strcmp(host, w->own->before) == 0;
}


/*
 * -1: a Pod that is not its own has that address.  Only who has looked at it
 * before knows that it was not its own once: addresses are used again.
 */

static int
ct_lie_others(ct_worker_t *w, const char *ip, bk_err_t *err)
{
    size_t            i;
    ct_obj_t         *o;
    const ct_kind_t   kinds[] = { CT_POD, CT_FRONT };

    if (w->slot >= 0 && (w->own == NULL || !w->own->looked)) {
        return 0;
    }

    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        for (o = ct_obj_first(w->pool->ct, kinds[i]); o != NULL;
             o = o->hh.next)
        {
            if (o != w->pod && o->obj != NULL && ct_lie_has(o, ip)) {
                /* who may write here need not learn who is where elsewhere */
                return bk_err_set(err, 403, "OthersAddress", "%.60s is the "
                                  "address of %s%.120s", ip,
                                  ct_lie_near(w, o) ? "the Pod "
                                  : "a Pod of another namespace",
                                  ct_lie_near(w, o) ? o->name : "");
            }
        }
    }

    return 0;
}


/* Is it in the same namespace? */

static int
ct_lie_near(const ct_worker_t *w, const ct_obj_t *pod)
{
    size_t  n = strcspn(w->key, "/") + 1;

    return strncmp(w->key, pod->key, n) == 0;
}


/* one that has ended keeps its address in its status, and has it no more */

static int
ct_lie_has(const ct_obj_t *pod, const char *ip)
{
    json_t      *status = ct_at(pod, "status", NULL);
    const char  *phase = obj_text(status, "phase");

    return strcmp(obj_text(status, "podIP"), ip) == 0
           && strcmp(phase, "Failed") != 0 && strcmp(phase, "Succeeded") != 0;
}
