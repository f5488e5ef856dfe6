/*
 * What the controller does to a worker's Pod, claim and budget
 * (plugins/kubernetes/ct_worker_{claim,obj,pod}.c): what is somebody else's,
 * and what is refused.  Others' parts only say that they were called; with a
 * real API server all of it is in t/kubernetes_workers.t.
 */

#include <stdarg.h>

#include "../../plugin-host/plugins/kubernetes/obj.c"
#include "../../plugin-host/plugins/kubernetes/obj_pod.c"
#include "../../plugin-host/plugins/kubernetes/obj_why.c"
#include "../../plugin-host/plugins/kubernetes/obj_worker.c"
#include "../../plugin-host/plugins/kubernetes/k8s_text.c"
#include "../../plugin-host/plugins/kubernetes/ct_obj.c"
#include "../../plugin-host/plugins/kubernetes/ct_obj_trim.c"
#include "../../plugin-host/plugins/kubernetes/ct_worker_obj.c"
#include "../../plugin-host/plugins/kubernetes/ct_worker_claim.c"
#include "../../plugin-host/plugins/kubernetes/ct_worker_pod.c"


static int                      checks;
static int                      busy;       /* somebody is on it */
static uint64_t                 now_ms = 1000000;
static char                     said[4096];
static ct_done_pt               written;    /* of the last write */
static bk_host_t                host;
static ct_t                     ct;
static ct_obj_t                *pool_o;
static ct_pool_t               *pool;
static ct_worker_t             *worker;
static struct ct_worker_own_s   own;
static ct_look_t                look;


static void __attribute__((format(printf, 1, 2)))
say(const char *fmt, ...)
{
    size_t   n = strlen(said);
    va_list  args;

    va_start(args, fmt);
    vsnprintf(said + n, sizeof(said) - n, fmt, args);
    va_end(args);
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
number(int got, int want, const char *name)
{
    said[0] = '\0';
    say("%d", got);
    is(got == want ? said : "another number", name);
}


/* --- the other parts ------------------------------------------------------ */

/* What is written is made at once, and is what the real ones do with it. */

void
ct_write(ct_obj_t *o, int how, ct_make_pt make, ct_done_pt done, void *data)
{
    json_t              *body;
    bk_err_t             err;
    static const char   *names[] = { "", "create", "patch", "status", "apply",
                                     "delete", "tend" };

    written = done;
    memset(&err, 0, sizeof(err));
    body = make(data, o, &err);
    say("%s:%s%s ", names[how], o->name, body == NULL ? "(nothing)" : "");
    json_decref(body);
}


int
ct_writing(const ct_obj_t *o)
{
    return o->jobs != NULL;
}


int
ct_changing(const ct_obj_t *o)
{
    return o->jobs != NULL;
}


char *
ct_strdup(const char *s)
{
    return strdup(s);
}


void
ct_write_free(ct_obj_t *o)
{
    (void) o;
}


void
ct_obj_read(ct_obj_t *o)
{
    say("read:%s ", o->name);
}


void
ct_index_link(ct_obj_t *o)
{
    (void) o;
}


void
ct_store_look(ct_worker_t *w, json_t *was)
{
    (void) w;
    (void) was;
}


void
ct_dirty_worker(ct_worker_t *w)
{
    (void) w;
    say("look ");
}


void
ct_dirty_pool(ct_pool_t *p)
{
    (void) p;
}


void
ct_dirty_worker_in(ct_worker_t *w, uint64_t ms)
{
    (void) w;
    (void) ms;
}


void
ct_event(ct_obj_t *o, const char *type, const char *reason, const char *fmt,
    ...)
{
    (void) type;
    (void) fmt;
    say("event:%s:%s ", o->name, reason);
}


int
ct_leads(const ct_t *c)
{
    (void) c;

    return 1;
}


int
ct_may(const ct_t *c, const char *key)
{
    (void) c;
    (void) key;

    return 1;
}


int
ct_worker_busy(const ct_worker_t *w)
{
    (void) w;

    return busy;
}


int
ct_worker_is(const ct_obj_t *o)
{
    return o != NULL && o->obj != NULL;
}


/* it may have none; how many it asks for is its own */

int
ct_worker_slots(const ct_pool_t *p)
{
    (void) p;

    return 0;
}


int
ct_limit_asks(const ct_pool_t *p)
{
    return p->max;
}


const char *
ct_worker_trust(const ct_worker_t *w)
{
    (void) w;

    return "trusted";
}


void
ct_worker_crash(ct_look_t *l, const char *uid, const char *why)
{
    (void) l;
    (void) uid;
    (void) why;
}


const char  ct_worker_beyond[] = "beyond";


void
ct_say(ct_look_t *l)
{
    (void) l;
}


void
ct_show(ct_look_t *l)
{
    (void) l;
}


int
ct_pool_ready(const ct_pool_t *p)
{
    (void) p;

    return 1;
}


const char *
ct_pool_worker_secret(const ct_pool_t *p)
{
    (void) p;

    return "s";
}


const char *
ct_pool_worker_config(const ct_pool_t *p)
{
    (void) p;

    return "c";
}


const char *
ct_pool_worker_hash(const ct_pool_t *p)
{
    (void) p;

    return "";
}


void
ct_pool_pods_bad(ct_pool_t *p, const bk_err_t *err)
{
    (void) p;
    (void) err;
}


/* --- how objects look ----------------------------------------------------- */

json_t *
mk_worker(json_t *p, const mk_worker_t *w)
{
    (void) p;
    (void) w;

    return json_object();
}


json_t *
mk_claim(json_t *p, const mk_worker_t *w, bk_err_t *err)
{
    (void) p;
    (void) w;
    (void) err;

    return json_pack("{s:{s:{}}}", "metadata", "labels");
}


json_t *
mk_budget(json_t *p, const mk_worker_t *w)
{
    return mk_worker(p, w);
}


json_t *
mk_pod(json_t *p, const ct_conf_t *conf, const mk_worker_t *w, bk_err_t *err)
{
    (void) conf;
    (void) err;

    return mk_worker(p, w);
}


int
mk_allowed(json_t *p, const ct_conf_t *conf, bk_err_t *err)
{
    (void) p;
    (void) conf;
    (void) err;

    return 0;
}


void
mk_hash(json_t *pod, char buf[17])
{
    (void) pod;
    buf[0] = '\0';
}


void
mk_owned(json_t *obj, const char *api, const char *kind, const char *name,
    const char *uid, int controller)
{
    (void) obj;
    (void) api;
    (void) kind;
    (void) name;
    (void) uid;
    (void) controller;
}


const char *
mk_ns(json_t *p)
{
    (void) p;

    return "n";
}


const char *
mk_name(json_t *p)
{
    (void) p;

    return "p";
}


/* --- a world -------------------------------------------------------------- */

static uint64_t
fake_now(const bk_host_t *h)
{
    (void) h;

    return now_ms;
}


/* kind of the owner, or NULL: it has none; name is always p-0 */
static json_t *
thing(const char *name, const char *kind, const char *uid, const char *uid_of)
{
    json_t  *obj, *refs = json_array();

    if (kind != NULL) {
        json_array_append_new(refs, json_pack("{s:s, s:s, s:s, s:s, s:b}",
            "apiVersion", OBJ_GROUP "/v1alpha1", "kind", kind, "name", "p-0",
            "uid", uid_of, "controller", 1));
    }

    obj = json_pack("{s:{s:s, s:s, s:s, s:s, s:{s:s, s:s, s:s}, s:o}, s:{s:s}"
                    "}", "metadata", "namespace", "n", "name", name, "uid",
                    uid, "resourceVersion", "5", "labels",
                    OBJ_LABEL_PURPOSE, "worker", OBJ_LABEL_POOL, "p",
                    OBJ_LABEL_WORKER, "p-0", "ownerReferences", refs,
                    "status", "phase", "Running");

    return obj;
}


static void
set(ct_obj_t *o, json_t *obj)
{
    json_decref(o->obj);
    o->obj = obj;
}


static void
world(void)
{
    host.monotonic_ms = fake_now;
    host.now_ms = fake_now;
    ct.host = &host;

    pool = calloc(1, sizeof(ct_pool_t) + 8);
    worker = calloc(1, sizeof(ct_worker_t) + 8);
    pool_o = ct_obj_get(&ct, CT_POOL, "n", "p");
    set(pool_o, thing("p", NULL, "pool-uid", NULL));
    strcpy(pool->key, "n/p");
    pool->ct = &ct;
    pool->o = pool_o;
    pool->cache_size = strdup("1Gi");
    strcpy(worker->key, "n/p-0");
    worker->name = worker->key + 2;
    worker->pool = pool;
    worker->own = &own;
    worker->o = ct_obj_get(&ct, CT_WORKER, "n", "p-0");
    look.ct = &ct;
    look.host = &host;
    look.w = worker;
    look.own = &own;
    look.pool = 1;
    look.wanted = 1;
}


/* --- claims --------------------------------------------------------------- */

static void
test_claim(void)
{
    size_t  i;

    ct_claim_look(&look);
    is("create:cache-p-0", "a claim is made");

    set(worker->claim, thing("cache-p-0", "BuildKitPool", "c", "pool-uid"));
    number(ct_claim_check(&look) == 0 && !ct_claim_ready(worker), 1,
           "its own does not say yet whose builds it sees: no Pod");
    ct_claim_look(&look);
    is("tend:cache-p-0", "is labelled");

    /* the API server refuses it, and nobody needs the object any more */
    look.wanted = 0;
    set(worker->o, thing("p-0", "BuildKitPool", "worker-uid", "pool-uid"));
    (void) ct_object_look(&look);
    is("", "its object stays, which alone says it");
    ct_write(worker->o, CT_DELETE, ct_object_delete, NULL, worker);
    is("delete:p-0(nothing)", "also where it was decided before");
    json_object_set_new(json_object_get(json_object_get(worker->claim->obj,
        "metadata"), "labels"), CT_LABEL_TRUST, json_string("trusted"));
    number(ct_claim_ready(worker), 1, "the label is there: a Pod may come");
    (void) ct_object_look(&look);
    is("delete:p-0", "and the object may go");
    look.wanted = 1;
    set(worker->o, NULL);
    pool->max = 1;
    ct_claim_end(worker);
    is("", "its namespace has no room for it: the cache stays");
    ct_write(worker->claim, CT_DELETE, ct_claim_delete, NULL, worker);
    is("delete:cache-p-0(nothing)", "also where it was decided before");
    pool->max = 0;
    pool->refused = 1;
    ct_claim_end(worker);
    is("", "nor does one go of a pool that is one too many");
    pool->refused = 0;
    ct_claim_end(worker);
    is("delete:cache-p-0", "it goes when the pool has become smaller");

    struct {
        const char  *kind, *uid, *name;
    } others[] = {
        { NULL, NULL, "of nobody: a StatefulSet's volume" },
        { "BuildKitPool", "uid-before", "of a pool of this name before" },
        { "StatefulSet", "pool-uid", "of another kind" },
    };

    for (i = 0; i < 3; i++) {
        set(worker->claim, thing("cache-p-0", others[i].kind, "c",
                                 others[i].uid));
        memset(&look.refused, 0, sizeof(look.refused));
        own.taken_ms = 0;
        said[0] = '\0';
        (void) ct_claim_check(&look);
        say("%s", look.refused.reason);
        is("event:p:NameTaken read:cache-p-0 NameTaken", others[i].name);
        memset(&look.refused, 0, sizeof(look.refused));
        (void) ct_claim_check(&look);
        is("", "it is not read all the time");
        number(ct_claim_ready(worker), 0, "no Pod mounts it");
        ct_claim_look(&look);
        ct_claim_end(worker);
        is("", "it is neither labelled nor deleted");
        ct_write(worker->claim, CT_DELETE, ct_claim_delete, NULL, worker);
        ct_write(worker->claim, CT_TEND, ct_claim_trust, NULL, worker);
        is("delete:cache-p-0(nothing) tend:cache-p-0(nothing)",
           "nor where that was decided of the one before");
    }

    look.has = 1;
    memset(&look.refused, 0, sizeof(look.refused));
    number(ct_claim_check(&look), 0, "a Pod that is there stays");
    look.has = 0;
    set(worker->claim, NULL);
    number(ct_claim_check(&look), 0, "it is gone");
    free(pool->cache_size);
    pool->cache_size = NULL;
    set(worker->claim, thing("cache-p-0", NULL, "c", NULL));
    number(ct_claim_check(&look) == 0 && ct_claim_ready(worker), 1,
           "who needs none does not care");
    said[0] = '\0';
}


static void
test_budget(void)
{
    size_t     i;
    ct_obj_t  *o;

    look.live = 1;
    look.usable = 1;
    busy = 1;
    ct_budget_look(&look);
    is("create:p-0", "somebody is on it: a budget");
    o = ct_obj_find(&ct, CT_BUDGET, "n/p-0");

    set(o, thing("p-0", "BuildKitWorker", "b", "before"));
    ct_budget_look(&look);
    is("", "once");
    look.live = 0;
    busy = 0;
    ct_budget_look(&look);
    is("delete:p-0", "nobody: it goes, also that of the one before");

    for (i = 0; i < 2; i++) {
        set(o, thing("p-0", i == 0 ? NULL : "Deployment", "b", "d"));
        ct_budget_look(&look);
        is("", "one that is somebody else's does not");
        ct_write(o, CT_DELETE, ct_budget_delete, NULL, worker);
        is("delete:p-0(nothing)", "nor where that was decided before");
        look.live = 1;
        own.taken_ms = 0;
        ct_budget_look(&look);
        is("event:p:NameTaken read:p-0", "that it is in the way, is said");
        look.live = 0;
    }

    set(o, NULL);
}


/* --- what is refused ------------------------------------------------------ */

static void
refused(const char *want, const char *name)
{
    bk_err_t  err;

    is(want, name);
    bk_err_set(&err, 403, "Forbidden", "a webhook says no");
    written(worker, worker->pod, &err);
    is("", "refused: it is not looked at again at once");
    written(worker, worker->pod, NULL);
    is("look", "written: it is");
}


static void
test_refused(void)
{
    json_t  *list;

    worker->pod = ct_obj_get(&ct, CT_POD, "n", "p-0");
    set(worker->pod, thing("p-0", "BuildKitWorker", "pod-uid", "worker-uid"));
    set(worker->o, thing("p-0", "BuildKitPool", "worker-uid", "pool-uid"));
    look.has = look.mine = look.usable = look.live = 1;
    busy = 1;
    ct_pod_look(&look);
    refused("tend:p-0", "somebody is on it: it is kept");

    list = json_pack("[s]", CT_FINALIZER);
    json_object_set_new(json_object_get(worker->pod->obj, "metadata"),
                        "finalizers", list);
    look.live = 0;
    busy = 0;
    look.own->stopping = 1;
    ct_pod_look(&look);
    refused("tend:p-0", "nobody: it is not");
    json_array_clear(list);

    look.own->stopping = 0;
    look.wanted = 0;
    look.pod.uid = "pod-uid";
    ct_pod_look(&look);
    refused("event:p-0:Stopping delete:p-0", "idle for long: deleted");

    set(worker->o, thing("p-0", NULL, "worker-uid", NULL));
    look.wanted = 1;
    (void) ct_object_look(&look);
    refused("tend:p-0", "an object of nobody's: it is the pool's");
    look.has = look.mine = look.usable = 0;
}


/* --- whose BuildKitWorker is not there ------------------------------------ */

static void
test_orphan(void)
{
    set(worker->o, NULL);
    ct_pod_orphan(worker);
    is("read:p-0", "a Pod without an object: is that so?");
    worker->o->reads = 1;
    ct_pod_orphan(worker);
    is("", "not before it is known");
    worker->o->reads = 0;
    now_ms += 1000;
    ct_pod_orphan(worker);
    is("read:p-0", "it could not be read: asked again");
    worker->o->read_ms = now_ms;
    ct_pod_orphan(worker);
    is("delete:p-0", "there is none: it goes");

    set(worker->pod, thing("p-0", "BuildKitWorker", "next", "worker-uid"));
    ct_pod_orphan(worker);
    is("read:p-0", "that says nothing of another Pod");

    set(worker->o, thing("p-0", "BuildKitPool", "worker-uid", "pool-uid"));
    set(pool_o, NULL);
    now_ms += 1000;
    worker->o->read_ms = now_ms;
    ct_pod_orphan(worker);
    is("read:p", "its pool is gone, but it is not: is that so?");
    pool_o->read_ms = now_ms;
    ct_pod_orphan(worker);
    is("delete:p-0", "it is");
}


int
main(void)
{
    world();
    test_claim();
    test_budget();
    test_refused();
    test_orphan();

    set(pool_o, NULL);
    pool_o->pool = NULL;
    ct_obj_free_all(&ct);
    free(pool->cache_size);
    free(pool);
    free(worker);
    printf("1..%d\n", checks);

    return 0;
}
