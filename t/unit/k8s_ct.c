/*
 * Objects as they are known, and writes of them (plugins/kubernetes/ct_obj.c,
 * ct_index.c, ct_dirty.c, ct_turn.c, ct_write.c, ct_answer.c), with an API
 * server that does what a real one cannot be made to: answers that get lost or
 * come late, versions that go back.  What it is asked and what others are told
 * is one text; the real one is in t/kubernetes_core.t.
 */

#include <stdarg.h>

#include "../../plugin-host/plugins/kubernetes/obj.c"
#include "../../plugin-host/plugins/kubernetes/k8s_text.c"
#include "../../plugin-host/plugins/kubernetes/ct_obj.c"
#include "../../plugin-host/plugins/kubernetes/ct_obj_trim.c"
#include "../../plugin-host/plugins/kubernetes/ct_index.c"
#include "../../plugin-host/plugins/kubernetes/ct_dirty.c"
#include "../../plugin-host/plugins/kubernetes/ct_turn.c"
#include "../../plugin-host/plugins/kubernetes/ct_write.c"
#include "../../plugin-host/plugins/kubernetes/ct_answer.c"


#define REQS  200


struct bk_timer_s {
    bk_timer_pt   fire;
    void         *data;
    uint64_t      due_ms;           /* 0: not set */
};

struct k8s_req_s {
    k8s_done_pt   done;
    void         *data;
};


static int          checks;
static char         said[65536];
static uint64_t     now_ms = 1000000;
static bk_timer_t   timers[8];
static size_t       ntimers;
static k8s_req_t   *reqs[REQS];     /* the oldest first */
static size_t       nreqs;
static bk_host_t    host;
static ct_t         ct;
static int          leads = 1;
static int          fresh = 1;      /* all is known since then */
static int          made;           /* calls of make() */
static int          slow;           /* pools that want too much */


static void __attribute__((format(printf, 1, 2)))
say(const char *fmt, ...)
{
    size_t   n = strlen(said);
    va_list  args;

    va_start(args, fmt);
    vsnprintf(said + n, sizeof(said) - n, fmt, args);
    va_end(args);
}


/* --- the host ------------------------------------------------------------- */

static uint64_t
fake_now(const bk_host_t *h)
{
    (void) h;

    return now_ms;
}


static void
fake_timer_set(bk_timer_t *t, uint64_t ms)
{
    t->due_ms = now_ms + ms;
}


static bk_timer_t *
fake_timer_new(const bk_host_t *h, bk_timer_pt fire, void *data)
{
    bk_timer_t  *t = &timers[ntimers++];

    (void) h;

    t->fire = fire;
    t->data = data;

    return t;
}


static void __attribute__((format(printf, 3, 4)))
fake_log(const bk_host_t *h, int level, const char *fmt, ...)
{
    (void) h;
    (void) level;
    (void) fmt;
}


/* All that is due within ms, in steps. */

static void
pass(uint64_t ms)
{
    int       again;
    size_t    i;
    uint64_t  end = now_ms + ms;

    for ( ;; ) {
        do {
            again = 0;

            for (i = 0; i < ntimers; i++) {
                if (timers[i].due_ms != 0 && timers[i].due_ms <= now_ms) {
                    timers[i].due_ms = 0;
                    timers[i].fire(timers[i].data);
                    again = 1;
                }
            }
        } while (again);

        if (now_ms >= end) {
            return;
        }

        now_ms += 10;
    }
}


/* --- the API server ------------------------------------------------------- */

static k8s_req_t *
asked(const char *what, const char *name, json_t *body, k8s_done_pt done,
    void *data)
{
    k8s_req_t   *r = calloc(1, sizeof(k8s_req_t));
    const char  *version;

    version = obj_text(json_object_get(body, "metadata"), "resourceVersion");
    say("%s:%s%s%s ", what, name, version[0] != '\0' ? "@" : "", version);
    r->done = done;
    r->data = data;
    reqs[nreqs++] = r;

    return r;
}


k8s_req_t *
k8s_get(k8s_t *k, const k8s_kind_t *kind, const char *ns, const char *name,
    k8s_done_pt done, void *data)
{
    (void) k;
    (void) kind;
    (void) ns;

    return asked("get", name, NULL, done, data);
}


k8s_req_t *
k8s_create(k8s_t *k, const k8s_kind_t *kind, const char *ns, json_t *body,
    k8s_done_pt done, void *data)
{
    (void) k;
    (void) kind;
    (void) ns;

    return asked("create", obj_text(json_object_get(body, "metadata"),
                                    "name"), body, done, data);
}


k8s_req_t *
k8s_patch(k8s_t *k, const k8s_kind_t *kind, const char *ns, const char *name,
    const char *sub, json_t *body, k8s_done_pt done, void *data)
{
    (void) k;
    (void) kind;
    (void) ns;

    return asked(sub != NULL ? sub : "patch", name, body, done, data);
}


k8s_req_t *
k8s_apply(k8s_t *k, const k8s_kind_t *kind, const char *ns, const char *name,
    json_t *body, k8s_done_pt done, void *data)
{
    (void) k;
    (void) kind;
    (void) ns;

    return asked("apply", name, body, done, data);
}


k8s_req_t *
k8s_delete(k8s_t *k, const k8s_kind_t *kind, const char *ns,
    const char *name, const char *uid, const char *version, int grace,
    k8s_done_pt done, void *data)
{
    k8s_req_t  *r;
    char        what[64];

    (void) k;
    (void) kind;
    (void) ns;

    snprintf(what, sizeof(what), "delete(%s,%s,%d)", uid, version, grace);
    r = asked(what, name, NULL, done, data);

    return r;
}


void
k8s_cancel(k8s_req_t **r)
{
    *r = NULL;
}


/* Answers the oldest request, and lets things run. */

static void
answer(int status, const char *reason, json_t *obj)
{
    k8s_req_t     *r = reqs[0];
    k8s_answer_t   a;

    if (nreqs == 0) {
        say("nothing-was-asked ");
        json_decref(obj);
        return;
    }

    memmove(&reqs[0], &reqs[1], --nreqs * sizeof(reqs[0]));
    memset(&a, 0, sizeof(a));
    a.status = status;
    snprintf(a.reason, sizeof(a.reason), "%s", reason);
    snprintf(a.text, sizeof(a.text), "text");
    a.retry_after = status == 429 ? 3 : 0;
    a.obj = obj;
    r->done(r->data, &a);
    json_decref(obj);
    free(r);
    pass(0);
}


/* --- the other parts ------------------------------------------------------ */

int
ct_leads(const ct_t *c)
{
    (void) c;

    return leads;
}


int
ct_may(const ct_t *c, const char *key)
{
    (void) c;
    (void) key;

    return leads && fresh;
}


char *
ct_strdup(const char *s)
{
    return strdup(s);
}


int
ct_synced(const ct_t *c, const char *key)
{
    (void) c;
    (void) key;

    return 1;
}


void
ct_sync(ct_t *c)
{
    (void) c;
}


void
ct_idle(ct_t *c)
{
    (void) c;
}


void
ct_leader_label(ct_t *c, int on)
{
    (void) c;
    (void) on;
}


void
ct_pool_spec(ct_pool_t *p)
{
    (void) p;
}


void
ct_pool_look(ct_pool_t *p)
{
    if (slow) {
        now_ms += 30;
        ct_dirty_pool(p);
    }
}


void
ct_pool_free(ct_pool_t *p)
{
    say("nopool:%s ", p->o->name);
}


void
ct_scale_look(ct_pool_t *p)
{
    (void) p;
}


void
ct_scale_free(ct_pool_t *p)
{
    (void) p;
}


void
ct_worker_look(ct_worker_t *w)
{
    say("look:%s ", w->name);
}


void
ct_worker_free(ct_worker_t *w)
{
    say("noworker:%s ", w->name);
}


void
ct_store_look(ct_worker_t *w, json_t *was)
{
    const char  *version;

    version = obj_text(json_object_get(was, "metadata"), "resourceVersion");
    say("store:%s:%s>%s ", w->name, version, ct_version(w->o));
}


/* --- objects and writes --------------------------------------------------- */

static json_t *
worker(const char *name, const char *uid, const char *version)
{
    return json_pack("{s:s, s:{s:s, s:s, s:s, s:s}, s:{s:{s:s}}}", "kind",
                     "BuildKitWorker", "metadata", "namespace", "n", "name",
                     name, "uid", uid, "resourceVersion", version, "spec",
                     "poolRef", "name", "p");
}


static json_t *
thing(const char *name, const char *uid, const char *version, int generation)
{
    return json_pack("{s:{s:s, s:s, s:s, s:s, s:i}}", "metadata", "namespace",
                     "n", "name", name, "uid", uid, "resourceVersion",
                     version, "generation", generation);
}


static void
watch(ct_obj_t *o, json_t *obj)
{
    ct_obj_put(o, obj, 1);
    json_decref(obj);
    pass(0);
}


static json_t *
make(void *data, ct_obj_t *o, bk_err_t *err)
{
    (void) o;

    made++;

    if (data != NULL && strcmp(data, "no") == 0) {
        (void) bk_err_set(err, 418, "Teapot", "no");
        return NULL;
    }

    return data != NULL && strcmp(data, "nothing") == 0 ? NULL
           : json_pack("{s:s}", "data", data != NULL ? (char *) data : "x");
}


static void
done(void *data, ct_obj_t *o, const bk_err_t *err)
{
    (void) data;

    if (err == NULL) {
        say("ok:%s ", o->name);

    } else {
        say("%d%s:%s ", err->code, err->reason, o->name);
    }
}


static void
put(ct_obj_t *o, int how)
{
    ct_write(o, how, make, done, NULL);
    pass(0);
}


static ct_obj_t *
new_worker(const char *name)
{
    ct_obj_t  *o = ct_obj_get(&ct, CT_WORKER, "n", name);

    watch(o, worker(name, "u", "10"));
    said[0] = '\0';

    return o;
}


static void
is(const char *want, const char *name)
{
    size_t  n = strlen(said);

    while (n > 0 && said[n - 1] == ' ') {
        said[--n] = '\0';
    }

    printf("%sok %d - %s\n", strcmp(said, want) == 0 ? "" : "not ", ++checks,
           name);

    if (strcmp(said, want) != 0) {
        printf("# got  %s\n# want %s\n", said, want);
    }

    said[0] = '\0';
}


static void
number(uint64_t got, uint64_t want, const char *name)
{
    snprintf(said, sizeof(said), "%llu", (unsigned long long) got);

    if (got == want) {
        is(said, name);

    } else {
        printf("# want %llu\n", (unsigned long long) want);
        is("another number", name);
    }

    said[0] = '\0';
}


/* --- what is known -------------------------------------------------------- */

static void
test_known(void)
{
    ct_obj_t  *o = ct_obj_get(&ct, CT_WORKER, "n", "p-0");

    watch(o, worker("p-0", "u", "9"));
    is("store:p-0:>9 look:p-0", "an object");
    watch(o, worker("p-0", "u", "9"));
    is("", "the same is nothing new");
    put(o, CT_PATCH);
    answer(200, "", worker("p-0", "u", "12"));
    is("patch:p-0@9 store:p-0:9>12 ok:p-0 look:p-0", "an answer");
    watch(o, worker("p-0", "u", "10"));
    is("", "the watch is behind it");
    watch(o, worker("p-0", "u", "12"));
    is("", "and comes to it");
    watch(o, worker("p-0", "u", "7"));
    is("store:p-0:12>7 look:p-0", "then it may go back: a restored etcd");
    put(o, CT_PATCH);
    answer(200, "", worker("p-0", "u", "8"));
    said[0] = '\0';
    watch(o, worker("p-0", "u", "10"));
    is("store:p-0:8>10 look:p-0", "numbers are compared as such");

    watch(o, worker("p-0", "v", "11"));
    is("store:p-0:10> store:p-0:>11 look:p-0", "another one of that name");
    watch(o, worker("p-0", "u", "12"));
    is("", "what comes late of the one before is not taken");
    ct_obj_gone(o, "u", NULL);
    is("", "nor its end");
    ct_obj_gone(o, "v", NULL);
    pass(0);
    is("store:p-0:11> look:p-0", "its own end is");
    watch(o, worker("p-0", "v", "13"));
    is("", "and final");
    number(ct.objs[CT_WORKER] == o, 1, "a worker keeps its object's place");
}


/* What nothing else holds goes with its end, but not in between. */

static void
test_alone(void)
{
    ct_obj_t  *o = ct_obj_get(&ct, CT_DEPLOYMENT, "n", "alone");

    watch(o, thing("alone", "u", "1", 1));
    watch(o, thing("alone", "v", "2", 1));
    number(ct_obj_find(&ct, CT_DEPLOYMENT, "n/alone") == o, 1,
           "another one of a name that is nobody's");
    ct_obj_gone(o, "v", NULL);
    pass(0);
    number(ct_obj_find(&ct, CT_DEPLOYMENT, "n/alone") == NULL, 1,
           "which goes with its end");
}


static json_t *
labelled(const char *name, const char *version, const char *purpose)
{
    json_t  *obj = thing(name, "u", version, 1);

    json_object_set_new(json_object_get(obj, "metadata"), "labels",
                        json_pack("{s:s, s:s}", OBJ_LABEL_POOL, "p",
                                  OBJ_LABEL_PURPOSE, purpose));

    return obj;
}


static void
left(ct_obj_t *o, json_t *obj)
{
    ct_obj_left(o, obj);
    json_decref(obj);
    pass(0);
}


/* The watch of a label says of what lost it that it is gone. */

static void
test_left(void)
{
    json_t       *obj;
    ct_obj_t     *o = ct_obj_get(&ct, CT_DEPLOYMENT, "n", "p-gateway");
    ct_worker_t  *w;

    watch(o, labelled("p-gateway", "20", "gateway"));
    o->held++;
    left(o, thing("p-gateway", "u", "22", 1));
    number(o->obj == NULL, 1, "it has lost its label");
    watch(o, labelled("p-gateway", "21", "gateway"));
    number(o->obj == NULL, 1, "what was before that comes late");
    watch(o, labelled("p-gateway", "23", "gateway"));
    number(o->obj != NULL, 1, "it has got it back");
    is("", "and is not asked for");
    left(o, thing("p-gateway", "u", "24", 1));
    put(o, CT_CREATE);
    answer(409, "AlreadyExists", NULL);
    answer(200, "", labelled("p-gateway", "24", "none"));
    is("create:p-gateway get:p-gateway get:p-gateway",
       "found by somebody who makes it");
    answer(200, "", labelled("p-gateway", "24", "none"));
    is("ok:p-gateway", "is there");
    left(o, NULL);
    is("get:p-gateway", "an answer may be newer than a list");
    answer(404, "NotFound", NULL);
    watch(o, labelled("p-gateway", "30", "gateway"));
    number(o->obj == NULL, 1, "who asked for it knows its end for sure");
    o->held--;
    ct_obj_drop(o);

    watch(ct_obj_get(&ct, CT_WORKER, "n", "p-8"), worker("p-8", "u", "1"));
    o = ct_obj_get(&ct, CT_POD, "n", "p-8");
    watch(o, labelled("p-8", "20", "worker"));
    w = ct_worker_find(&ct, "n/p-8");
    number(w != NULL && w->pod == o, 1, "a Pod");
    said[0] = '\0';
    left(o, thing("p-8", "u", "21", 1));
    is("get:p-8", "that has lost its label, or is gone: which of them?");
    answer(200, "", thing("p-8", "u", "21", 1));
    is("look:p-8", "it goes on");
    number(o->obj != NULL, 1, "and is known");
    ct_obj_strays(&ct);
    pass(0);
    is("get:p-8", "it is asked for again");
    answer(200, "", labelled("p-8", "22", "other"));
    said[0] = '\0';
    ct_obj_strays(&ct);
    pass(0);
    is("get:p-8", "also with another label of that name");
    answer(200, "", thing("p-8", "u", "21", 1));
    watch(o, labelled("p-8", "25", "worker"));
    pass(0);
    said[0] = '\0';
    ct_obj_strays(&ct);
    pass(0);
    is("", "until the watch has it");
    left(o, NULL);
    answer(404, "NotFound", NULL);
    is("get:p-8 look:p-8", "one that is in no list, and not there");
    watch(o, labelled("p-8", "26", "worker"));
    number(o->obj == NULL, 1, "has ended");

    obj = labelled("p-8", "31", "worker");
    json_object_set_new(json_object_get(obj, "metadata"), "uid",
                        json_string("v"));
    json_object_set_new(json_object_get(obj, "metadata"), "deletionTimestamp",
                        json_string("now"));
    watch(o, json_incref(obj));
    said[0] = '\0';
    left(o, obj);
    is("look:p-8", "one that was being deleted is gone");

    ct_obj_gone(w->o, NULL, NULL);
    ct_worker_drop(w);
    pass(100);
    said[0] = '\0';
}


static void
test_index(void)
{
    ct_obj_t     *o, *pod;
    ct_pool_t    *p, *q;
    ct_worker_t  *w;

    for (o = NULL; o == NULL || strcmp(o->name, "a") == 0; ) {
        o = ct_obj_get(&ct, CT_POOL, "n", o == NULL ? "a" : "a-1");
        watch(o, thing(o->name, "u", "1", 1));
    }

    p = ct_pool_find(&ct, "n/a");
    q = ct_pool_find(&ct, "n/a-1");
    number((uint64_t) ct_slot(p, "a-0"), 0, "a slot");
    number((uint64_t) (ct_slot(p, "a-01") + 1), 0, "no slot: a zero before");
    number((uint64_t) (ct_slot(p, "a-1-0") + 1), 0, "another pool's");
    number((uint64_t) (ct_slot(p, "a-1234567890") + 1), 0, "too many digits");

    o = ct_obj_get(&ct, CT_WORKER, "n", "a-0");
    watch(o, worker("a-0", "u", "1"));
    w = o->worker;
    number(w->slot == -1 && w->pool == ct_pool_find(&ct, "n/p"), 1,
           "an object of one pool with the name of another's slot");
    number(ct_worker_get(&ct, p, "a-0") == w && w->pool == p && w->slot == 0,
           1, "is that, when the other pool has it");
    ct_worker_get(&ct, ct_pool_find(&ct, "n/p"), "a-0");
    number(w->pool == p, 1, "and stays it");

    pod = ct_obj_get(&ct, CT_POD, "n", "a-1-0");
    watch(pod, json_pack("{s:{s:s, s:s, s:s, s:s, s:{s:s}, s:[]}, s:{s:b, s:[]"
                         "}}", "metadata", "namespace", "n", "name", "a-1-0",
                         "uid", "u", "resourceVersion", "1", "labels",
                         OBJ_LABEL_POOL, "a", "managedFields", "spec",
                         "hostNetwork", 1, "containers"));
    number(pod->worker == NULL, 1, "a Pod that says another pool");
    number(ct_at(pod, "spec", "containers", NULL) == NULL
           && ct_at(pod, "metadata", "managedFields", NULL) == NULL
           && json_is_true(ct_at(pod, "spec", "hostNetwork", NULL)), 1,
           "of which is kept what somebody reads");
    w = ct_worker_get(&ct, q, "a-1-0");
    number(w->pod == pod && pod->worker == w, 1, "is found by its name");
    ct_worker_drop(w);
    number(ct_worker_find(&ct, "n/a-1-0") == w, 1, "a worker with a Pod stays");
    said[0] = '\0';
    ct_obj_gone(pod, NULL, NULL);
    ct_worker_drop(w);
    is("noworker:a-1-0", "and goes without one");
    number(ct_obj_find(&ct, CT_POD, "n/a-1-0") == NULL
           && ct_worker_find(&ct, "n/a-1-0") == NULL, 1, "nothing is left");

    w = ct_worker_get(&ct, p, "a-1");
    put(w->o, CT_CREATE);
    ct_worker_drop(w);
    number(ct_worker_find(&ct, "n/a-1") == w, 1, "nor amid a write");
    said[0] = '\0';
    answer(403, "Forbidden", NULL);
    ct_worker_drop(w);
    is("403Forbidden:a-1 noworker:a-1", "but after it");
    pass(100);
    said[0] = '\0';
    ct_obj_gone(q->o, NULL, NULL);
    pass(100);
    is("nopool:a-1", "a pool that nobody has");

    /* what it had that no watch tells of: a gateway's budget, a Secret */
    o = ct_obj_get(&ct, CT_POOL, "n", "b");
    watch(o, thing("b", "u", "1", 1));
    p = ct_pool_find(&ct, "n/b");
    pod = ct_obj_get(&ct, CT_BUDGET, "n", "b-gateway");
    pod->pool = p;
    watch(pod, labelled("b-gateway", "2", "gateway"));
    pod = ct_obj_get(&ct, CT_SECRET, "n", "b-tls");
    pod->pool = p;
    watch(pod, thing("b-tls", "u", "3", 1));
    pass(100);
    number(ct_pool_find(&ct, "n/b") == p, 1, "a pool");
    said[0] = '\0';
    ct_obj_gone(o, NULL, NULL);
    pass(100);
    is("nopool:b", "is forgotten");
    number(ct_obj_find(&ct, CT_BUDGET, "n/b-gateway") == NULL
           && ct_obj_find(&ct, CT_SECRET, "n/b-tls") == NULL, 1,
           "with what no watch tells of");
}


/* --- writes --------------------------------------------------------------- */

static void
test_order(void)
{
    ct_obj_t  *o = new_worker("o");

    ct_write(o, CT_PATCH, make, done, NULL);
    is("", "nothing begins within the call");
    ct_write(o, CT_STATUS, make, done, NULL);
    ct_write(o, CT_DELETE, make, done, NULL);
    pass(0);
    is("patch:o@10", "one at a time");
    number((uint64_t) ct_writing(o), 1, "it is being written");
    answer(200, "", worker("o", "u", "11"));
    is("store:o:10>11 ok:o look:o status:o@11", "the next one, of that");
    answer(200, "", worker("o", "u", "12"));
    is("store:o:11>12 ok:o look:o delete(u,12,-1):o", "and the next");
    answer(200, "", json_pack("{s:s}", "kind", "Status"));
    is("store:o:12> ok:o look:o", "it is gone");
    put(o, CT_DELETE);
    is("ok:o", "no end of what is not there");
    put(o, CT_PATCH);
    is("404NotFound:o", "and no change");

    o = new_worker("s");
    ct_write(o, CT_PATCH, make, done, (void *) "nothing");
    ct_write(o, CT_PATCH, make, done, (void *) "nothing");
    pass(0);
    is("ok:s ok:s", "nothing was sent: nobody looks");
    ct_write(o, CT_PATCH, make, done, NULL);
    ct_write(o, CT_PATCH, make, done, (void *) "nothing");
    pass(0);
    answer(200, "", worker("s", "u", "10"));
    is("patch:s@10 ok:s ok:s look:s", "who left it for later does");

    o = new_worker("m");
    ct_write(o, CT_PATCH, make, done, (void *) "no");
    pass(0);
    is("418Teapot:m", "it may not be");
    ct_write(o, CT_PATCH, make, done, (void *) "nothing");
    pass(0);
    is("ok:m", "nothing to be done");
    put(o, CT_DELETE);
    answer(200, "", worker("m", "u", "11"));
    is("delete(u,10,-1):m store:m:10>11 ok:m look:m",
       "what is being deleted is there");
}


static void
test_conflict(void)
{
    int        i;
    ct_obj_t  *o = new_worker("c");

    put(o, CT_PATCH);
    made = 0;
    answer(409, "Conflict", NULL);
    is("patch:c@10 get:c", "another was faster: what is there now?");
    answer(200, "", worker("c", "u", "15"));
    is("store:c:10>15 look:c patch:c@15", "once more, of that");
    number((uint64_t) made, 1, "made anew");

    for (i = 0; i < 6; i++) {
        answer(409, "Conflict", NULL);
        answer(200, "", worker("c", "u", "15"));
    }

    said[0] = '\0';
    answer(409, "Conflict", NULL);
    is("409Conflict:c", "not for ever");
    put(o, CT_PATCH);
    answer(404, "NotFound", NULL);
    answer(404, "NotFound", NULL);
    is("patch:c@15 get:c store:c:15> look:c 404NotFound:c",
       "gone before we knew");

    made = 0;
    put(o, CT_CREATE);
    answer(409, "AlreadyExists", NULL);
    answer(200, "", worker("c", "w", "20"));
    is("create:c get:c store:c:>20 look:c ok:c",
       "one that is there is not touched");
    number((uint64_t) made, 1, "nor made twice");
    pass(10000);
    said[0] = '\0';
}


static void
test_unknown(void)
{
    int        i;
    ct_obj_t  *o = new_worker("u");

    ct_write(o, CT_PATCH, make, done, NULL);
    put(o, CT_PATCH);
    answer(0, "", NULL);
    is("patch:u@10 get:u", "was it written?");
    answer(200, "", worker("u", "u", "11"));
    is("store:u:10>11 503Unknown:u look:u patch:u@11",
       "it is read before that is said");
    answer(500, "InternalError", NULL);
    is("get:u", "etcd's timeouts are the same");
    ct_write(o, CT_PATCH, make, done, NULL);
    answer(0, "", NULL);
    pass(490);
    is("", "it cannot be read: not at once again");
    pass(10);
    is("get:u", "but soon");

    for (i = 0; i < 4; i++) {
        answer(0, "", NULL);
        pass(2000);
    }

    is("get:u get:u get:u get:u", "and for a while");
    answer(0, "", NULL);
    is("503Unknown:u patch:u@11", "who waits is not kept for ever");
    answer(0, "", NULL);
    said[0] = '\0';
    leads = 0;
    answer(0, "", NULL);
    is("503Unknown:u look:u", "nor when another leads");
    leads = 1;
    pass(600000);
    said[0] = '\0';
}


static void
test_refused(void)
{
    uint64_t   before;
    ct_obj_t  *o = ct_worker_get(&ct, ct_pool_get(&ct, "n", "p"), "p-7")->o;
    ct_obj_t  *placed = ct_worker_get(&ct, ct_pool_get(&ct, "n", "p"),
                                      "p-8")->o;

    pass(0);
    said[0] = '\0';
    put(placed, CT_CREATE);
    answer(422, "Invalid", NULL);
    put(placed, CT_PLACE);
    is("create:p-8 422Invalid:p-8 create:p-8",
       "refused; but somebody waits: he is told at once, too");
    answer(201, "", worker("p-8", "u", "10"));
    pass(10000);
    said[0] = '\0';
    put(o, CT_CREATE);
    answer(422, "Invalid", NULL);
    is("create:p-7 422Invalid:p-7", "refused");
    put(o, CT_CREATE);
    pass(200);
    is("", "not asked for again at once");
    before = now_ms;
    pass(600);
    is("look:p-7 create:p-7", "but after a moment, and its owner looks");
    answer(422, "Invalid", NULL);
    put(o, CT_CREATE);
    pass(400);
    is("422Invalid:p-7", "longer");
    number(now_ms - before < 2000, 1, "(by this clock)");
    pass(2000);
    is("look:p-7 create:p-7", "each time");
    answer(201, "", worker("p-7", "u", "10"));
    said[0] = '\0';

    put(o, CT_STATUS);
    answer(403, "Forbidden", NULL);
    said[0] = '\0';
    put(o, CT_STATUS);
    number(ct_writing(o) && !ct_changing(o), 1,
           "its status waits: that holds nothing else up");
    put(o, CT_PATCH);
    is("patch:p-7@10", "somebody waits for a patch: it goes before");
    number((uint64_t) ct_changing(o), 1, "that does");
    answer(200, "", worker("p-7", "u", "11"));
    pass(10000);
    said[0] = '\0';
    answer(200, "", worker("p-7", "u", "12"));
    said[0] = '\0';

    put(o, CT_TEND);
    answer(403, "Forbidden", NULL);
    said[0] = '\0';
    put(o, CT_TEND);
    is("", "nobody waits for this patch: it does");
    put(o, CT_DELETE);
    is("delete(u,12,-1):p-7", "what has not been refused need not");
    answer(403, "Forbidden", NULL);
    put(o, CT_DELETE);
    is("403Forbidden:p-7", "by then it does, and the patch still");
    put(o, CT_PATCH);
    is("patch:p-7@12", "but not who waits");
    answer(200, "", worker("p-7", "u", "12"));
    answer(200, "", worker("p-7", "u", "12"));
    answer(200, "", worker("p-7", "u", "12"));
    pass(10000);
    said[0] = '\0';

    put(o, CT_PATCH);
    answer(429, "TooManyRequests", NULL);
    put(o, CT_STATUS);
    pass(2900);
    is("patch:p-7@12", "too much: as long as it says");
    pass(200);
    is("patch:p-7@12", "then the same");
    answer(200, "", worker("p-7", "u", "13"));
    answer(200, "", worker("p-7", "u", "14"));
    pass(0);
    said[0] = '\0';

    leads = 0;
    put(o, CT_PATCH);
    is("503NotLeader:p-7", "another leads");
    leads = 1;
    fresh = 0;
    put(o, CT_PATCH);
    is("503NotLeader:p-7", "of what is old nothing is written");
    ct_obj_read(o);
    pass(0);
    is("get:p-7", "but read");
    answer(404, "NotFound", NULL);
    number(o->read_ms, now_ms, "it is known when");
    fresh = 1;
    pass(0);
    said[0] = '\0';
}


static void
test_apply(void)
{
    ct_obj_t  *o = ct_obj_get(&ct, CT_DEPLOYMENT, "n", "d");
    ct_obj_t  *m;

    put(o, CT_APPLY);
    answer(201, "", thing("d", "u", "5", 1));
    put(o, CT_APPLY);
    is("apply:d@1 ok:d ok:d", "what is as it was applied is not sent");
    watch(o, thing("d", "u", "6", 1));
    put(o, CT_APPLY);
    is("ok:d", "nor when its status changed");
    watch(o, thing("d", "u", "7", 2));
    put(o, CT_APPLY);
    answer(200, "", thing("d", "u", "8", 3));
    is("apply:d@7 ok:d", "but when somebody changed it: it is that version's");
    ct_write(o, CT_APPLY, make, done, (void *) "other");
    pass(0);
    answer(200, "", thing("d", "u", "9", 4));
    is("apply:d@8 ok:d", "or we");
    ct_write(o, CT_APPLY, make, done, (void *) "other");
    pass(0);
    pass(600000);
    ct_write(o, CT_APPLY, make, done, (void *) "other");
    pass(0);
    is("ok:d apply:d@9", "or now and then");
    answer(200, "", thing("d", "u", "9", 4));
    said[0] = '\0';

    m = ct_obj_get(&ct, CT_SECRET, "n", "s");
    put(m, CT_CREATE);
    is("get:s", "what is not watched is read first");
    answer(404, "NotFound", NULL);
    is("create:s", "then made");
    answer(201, "", thing("s", "u", "5", 0));
    put(m, CT_PATCH);
    answer(200, "", thing("s", "u", "3", 0));
    is("ok:s patch:s@5 ok:s", "and known from then on");
    number(strcmp(ct_version(m), "3") == 0, 1, "as the last answer says");

    /* of a kind without a generation */
    put(m, CT_APPLY);
    answer(200, "", thing("s", "u", "4", 0));
    put(m, CT_APPLY);
    is("apply:s@3 ok:s ok:s", "it is as it was applied");
    watch(m, thing("s", "u", "6", 0));
    put(m, CT_APPLY);
    is("apply:s@6", "somebody has changed something of it");
    answer(200, "", thing("s", "u", "6", 0));
    said[0] = '\0';
}


static void
test_slow(void)
{
    int        i;
    char       name[8];
    ct_obj_t  *o;

    for (i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "slow%d", i);
        o = ct_obj_get(&ct, CT_POOL, "n", name);
        watch(o, thing(name, "u", "1", 1));
    }

    slow = 1;
    said[0] = '\0';
    ct_dirty_all(&ct, NULL);
    ct_flush(&ct);
    number(strstr(said, "look:") != NULL, 1,
           "pools that want too much leave workers their time");
    slow = 0;
    pass(1000);
    said[0] = '\0';
}


/* Each has a time of its own: nobody else is looked at for it. */

static void
test_due(void)
{
    ct_worker_t  *a, *b;

    a = ct_worker_get(&ct, ct_pool_get(&ct, "n", "due"), "due-0");
    b = ct_worker_get(&ct, a->pool, "due-1");
    pass(100);
    said[0] = '\0';
    ct_dirty_in(&ct, 5000);
    ct_dirty_worker_in(a, 1000);
    ct_dirty_worker_in(b, 2000);
    ct_dirty_worker_in(a, 3000);
    pass(990);
    is("", "nobody is due");
    pass(10);
    is("look:due-0", "one is");
    pass(990);
    is("", "once");
    pass(10);
    is("look:due-1", "and the other");
    ct_dirty_worker_in(a, 10);
    pass(10);
    said[0] = '\0';
    ct_dirty_worker_in(a, 10);
    pass(100);
    is("", "not one after the other");
    pass(250);
    is("look:due-0", "but those of a moment together");
    ct_dirty_worker_in(a, 1000);
    ct_dirty_worker(a);
    pass(2000);
    is("look:due-0", "who was looked at says anew when");
    pass(800);
    number(strstr(said, "look:due-0") != NULL && strstr(said, "look:due-1")
           != NULL && strstr(said, "look:p-") != NULL, 1,
           "and all, now and then");
    ct.again_ms = 0;
    ct.again->due_ms = 0;
    ct_worker_drop(a);
    ct_worker_drop(b);
    pass(100);
    said[0] = '\0';
}


static void
test_many(void)
{
    int    i, n;
    char   name[16];
    char  *at;

    for (i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "x%d", i);
        ct_write(ct_obj_get(&ct, i < 90 ? CT_SERVICE : CT_WORKER, "n", name),
                 CT_CREATE, make, done, NULL);
    }

    pass(0);
    for (n = 0, at = said; strncmp(at, "create:x9", 9) == 0 && at[10] == ' ';
         at += 11)
    {
        n++;
    }

    number((uint64_t) n, 10, "workers first");
    number(nreqs, 64, "so many at once");
    said[0] = '\0';

    while (nreqs > 0) {
        answer(201, "", NULL);
    }

    for (n = 0, at = said; (at = strstr(at, "ok:")) != NULL; at++) {
        n++;
    }

    number((uint64_t) n, 100, "and all of them");
}


/* Whoever makes a Pod of ours writes what he wants onto it. */

static void
test_trim(void)
{
    int        i;
    char       digest[3][80];
    json_t    *obj;
    ct_obj_t  *o = ct_obj_get(&ct, CT_DEPLOYMENT, "n", "trim");

    obj = json_loads("{\"metadata\": {\"uid\": \"t\", \"resourceVersion\": "
                     "\"1\", \"annotations\": {\"a/b\": \"much\", \""
                     OBJ_GROUP "/c\": \"ours\", \"d\": \"more\"}, "
                     "\"labels\": {\"e\": \"f\"}}, \"spec\": {\"replicas\":"
                     " 2, \"template\": {\"spec\": {}}}}", 0, NULL);
    ct_obj_put(o, obj, 1);
    json_decref(obj);
    number(json_object_size(ct_at(o, "metadata", "annotations", NULL)), 1,
           "only annotations of ours are kept");
    number(strcmp(obj_text(ct_at(o, "metadata", "annotations", NULL),
                           OBJ_GROUP "/c"), "ours"), 0, "as they were");
    number(json_object_size(ct_at(o, "metadata", "labels", NULL)), 0,
           "and labels");
    number(json_object_size(ct_at(o, "spec", NULL)), 1,
           "and no template of Pods");
    ct_obj_gone(o, NULL, NULL);

    for (i = 0; i < 3; i++) {
        o = ct_obj_get(&ct, CT_BUDGET, "n", "trim");
        o->kind = CT_POOL;
        obj = json_pack("{s:{s:{s:s}}}", "metadata", "annotations", "a/b",
                        i < 2 ? "much" : "more");
        ct_obj_trim(o, obj);
        o->kind = CT_BUDGET;
        snprintf(digest[i], sizeof(digest[i]), "%s", obj_text(json_object_get(
            json_object_get(obj, "metadata"), "annotations"),
            OBJ_GROUP "/digest"));
        json_decref(obj);
    }

    number(strlen(digest[0]) == 64 && strcmp(digest[0], digest[1]) == 0
           && strcmp(digest[0], digest[2]) != 0, 1,
           "of a pool's it is known whether they are others");
    ct_obj_drop(o);
    said[0] = '\0';
}


int
main(void)
{
    host.monotonic_ms = fake_now;
    host.now_ms = fake_now;
    host.log = fake_log;
    host.timer_new = fake_timer_new;
    host.timer_set = fake_timer_set;
    ct.host = &host;
    ct.flush = fake_timer_new(&host, ct_flush, &ct);
    ct.again = fake_timer_new(&host, ct_again, &ct);
    ct_turn_start(&ct);

    test_known();
    test_trim();
    test_alone();
    test_left();
    test_index();
    test_order();
    test_conflict();
    test_unknown();
    test_refused();
    test_apply();
    test_slow();
    test_due();
    test_many();

    ct_index_free(&ct);
    ct_obj_free_all(&ct);
    number(ct.turns[0] == NULL && ct.turns[1] == NULL && ct.lates == NULL, 1,
           "nothing is left");
    printf("1..%d\n", checks);

    return 0;
}
