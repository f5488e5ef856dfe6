/*
 * Who is connected to a worker, as gateways' Pods say
 * (plugins/kubernetes/ct_use.c, ct_use_read.c, ct_use_turn.c): Pods that lie,
 * hang, are too many, go and come again.  Real ones: t/e2e_kubernetes.t; what
 * a real one says: t/kubernetes_gateway.t.
 */

#include <stdarg.h>

#include "../../plugin-host/plugins/kubernetes/obj.c"
#include "../../plugin-host/plugins/kubernetes/obj_avoid.c"
#include "../../plugin-host/plugins/kubernetes/ct_use.c"
#include "../../plugin-host/plugins/kubernetes/ct_use_find.c"
#include "../../plugin-host/plugins/kubernetes/ct_use_read.c"
#include "../../plugin-host/plugins/kubernetes/ct_use_turn.c"


struct bk_timer_s {
    bk_timer_pt   fire;
    void         *data;
    uint64_t      due_ms;
};

struct bk_fetch_s {
    bk_fetch_pt   done;
    void         *data;
    char          url[128];
    size_t        limit;
    bk_fetch_t   *next;
};


static int           checks;
static uint64_t      now_ms = 1000000;
static bk_timer_t    timer;
static bk_fetch_t   *fetches;
static bk_host_t     host;
static ct_t          ct;
static ct_conf_t     conf;
static ct_obj_t     *pods;
static int           looks, leads = 1, logged;
static struct {
    ct_pool_t     pool;
    char          pool_key[32];
    ct_worker_t   worker;
    char          key[32];
} one;


/* --- what it stands on ---------------------------------------------------- */

static uint64_t
fake_mono(const bk_host_t *h)
{
    (void) h;

    return now_ms;
}


static uint64_t
fake_now(const bk_host_t *h)
{
    (void) h;

    return 5000000000 + now_ms;
}


static bk_timer_t *
fake_timer_new(const bk_host_t *h, bk_timer_pt fire, void *data)
{
    (void) h;

    timer.fire = fire;
    timer.data = data;

    return &timer;
}


static void
fake_timer_set(bk_timer_t *t, uint64_t ms)
{
    t->due_ms = now_ms + ms;
}


static void
fake_timer_free(bk_timer_t **t)
{
    *t = NULL;
}


static void __attribute__((format(printf, 3, 4)))
fake_log(const bk_host_t *h, int level, const char *fmt, ...)
{
    (void) h;
    (void) level;
    (void) fmt;

    logged++;
}


bk_fetcher_t *
bk_fetcher_new(const bk_host_t *h)
{
    return (bk_fetcher_t *) h;
}


void
bk_fetcher_free(bk_fetcher_t **f)
{
    *f = NULL;
}


bk_fetch_t *
bk_fetch(bk_fetcher_t *f, const bk_fetch_req_t *req, bk_fetch_pt done,
    void *data)
{
    bk_fetch_t  *e = calloc(1, sizeof(bk_fetch_t));

    (void) f;

    snprintf(e->url, sizeof(e->url), "%s", req->url);
    e->limit = req->limit;
    e->done = done;
    e->data = data;
    e->next = fetches;
    fetches = e;

    return e;
}


static void
take(bk_fetch_t *e)
{
    bk_fetch_t  **at;

    for (at = &fetches; *at != e; at = &(*at)->next) {
        /* void */
    }

    *at = e->next;
}


void
bk_fetch_cancel(bk_fetch_t **e)
{
    take(*e);
    free(*e);
    *e = NULL;
}


int
ct_leads(const ct_t *c)
{
    (void) c;

    return leads;
}


ct_obj_t *
ct_obj_first(ct_t *c, ct_kind_t kind)
{
    (void) c;
    (void) kind;

    return pods;
}


const char *
ct_uid(const ct_obj_t *o)
{
    return obj_text(json_object_get(o->obj, "metadata"), "uid");
}


const char *
ct_label(const ct_obj_t *o, const char *label)
{
    return obj_text(json_object_get(json_object_get(o->obj, "metadata"),
                                    "labels"), label);
}


int
ct_deleting(const ct_obj_t *o)
{
    return obj_text(json_object_get(o->obj, "metadata"),
                    "deletionTimestamp")[0] != '\0';
}


ct_worker_t *
ct_worker_find(ct_t *c, const char *key)
{
    (void) c;

    return strcmp(key, one.worker.key) == 0 ? &one.worker : NULL;
}


void
ct_dirty_worker(ct_worker_t *w)
{
    (void) w;

    looks++;
}


void
ct_dirty_pool(ct_pool_t *p)
{
    (void) p;
}


void
ct_dirty_all(ct_t *c, const char *ns)
{
    (void) c;
    (void) ns;

    looks++;
}


const k8s_conf_t *
k8s_conf(const k8s_t *k)
{
    return (const k8s_conf_t *) k;
}


const char *
k8s_conf_server(const k8s_conf_t *c)
{
    (void) c;

    return "https://10.9.9.9:6443";
}


/* --- Pods and their answers ----------------------------------------------- */

static ct_obj_t *
pod(const char *key, const char *uid, const char *ip)
{
    ct_obj_t  *o = calloc(1, sizeof(ct_obj_t) + strlen(key) + 1);

    strcpy(o->key, key);
    o->name = strchr(o->key, '/') + 1;
    o->ct = &ct;
    o->obj = json_pack("{s:{s:s}, s:{s:s, s:s, s:s}, s:{}}", "metadata", "uid",
                       uid, "status", "podIP", ip, "phase", "Running",
                       "hostIP", "10.0.0.1", "spec");
    HASH_ADD_STR(pods, key, o);

    return o;
}


static void
gone(ct_obj_t *o)
{
    HASH_DEL(pods, o);
    json_decref(o->obj);
    free(o);
}


static void
pass(uint64_t ms)
{
    uint64_t  end = now_ms + ms;

    for ( ;; ) {
        if (timer.due_ms <= now_ms) {
            timer.fire(timer.data);
        }

        if (now_ms >= end) {
            return;
        }

        now_ms += 100;
    }
}


static int
asked(const char *ip)
{
    bk_fetch_t  *e;

    for (e = fetches; e != NULL; e = e->next) {
        if (strstr(e->url, ip) != NULL) {
            return 1;
        }
    }

    return 0;
}


static void
answer(const char *ip, long status, const char *body)
{
    bk_fetch_t  *e;

    for (e = fetches; e != NULL; e = e->next) {
        if (strstr(e->url, ip) != NULL) {
            take(e);
            e->done(e->data, status, body, strlen(body), "timeout");
            free(e);
            return;
        }
    }

    printf("# %s was not asked\n", ip);
}


static void
says(const char *ip, const char *pool, int connections, int idle)
{
    char  body[256];

    snprintf(body, sizeof(body), "{\"workers\": [{\"pool\": \"%s\", "
             "\"worker\": \"demo-0\", \"connections\": %d, \"builds\": 0, "
             "\"idleMs\": %d}]}", pool, connections, idle);
    answer(ip, 200, body);
}


static void
ok(int good, const char *name)
{
    printf("%sok %d - %s\n", good ? "" : "not ", ++checks, name);
}


/* "CONNECTIONS used N ms ago", or "?" */

static void
is(const char *want, const char *name)
{
    char             got[64];
    bk_worker_use_t  use;

    if (ct_use(&one.worker, &use) != 0) {
        snprintf(got, sizeof(got), "?");

    } else if (use.last_used_ms == 0) {
        snprintf(got, sizeof(got), "%u never", use.connections);

    } else {
        snprintf(got, sizeof(got), "%u %llu", use.connections,
                 (unsigned long long) (fake_now(NULL) - use.last_used_ms));
    }

    ok(strcmp(got, want) == 0, name);

    if (strcmp(got, want) != 0) {
        printf("# got %s, want %s\n", got, want);
    }
}


/* --- --- */

static void
test_pods(void)
{
    ct_obj_t  *a, *b;

    is("?", "nobody has looked");
    ct_use_start(&ct);
    is("?", "nor now");
    pass(0);
    is("0 never", "no gateway, no connection");

    a = pod("team/gw-a", "a", "10.1.0.1");
    b = pod("team/gw-b", "b", "10.1.0.2");
    pass(1000);
    is("?", "two that were not asked");
    says("10.1.0.1", "team/demo", 2, 0);
    is("?", "one that was not");
    looks = 0;
    says("10.1.0.2", "team/demo", 1, 0);
    is("3 0", "both");
    ok(looks > 0, "and its worker is looked at");
    ok(!asked("10.1.0.1"), "they are not asked at once again");
    pass(5000);
    ok(asked("10.1.0.1") && asked("10.1.0.2"), "but soon");
    looks = 0;
    says("10.1.0.1", "team/demo", 2, 0);
    ok(looks == 0, "the same is no reason to look");
    says("10.1.0.2", "team/demo", 0, 3000);
    is("2 0", "one has gone");
    pass(5000);
    answer("10.1.0.1", 200, "{\"workers\": []}");
    is("0 5000", "all have: used when somebody was seen last");
    pass(5000);
    says("10.1.0.1", "team/demo", 1, 0);
    says("10.1.0.2", "team/demo", 0, 7000);
    pass(5000);

    /* one hangs */
    answer("10.1.0.1", 0, "");
    answer("10.1.0.2", 200, "{\"workers\": []}");
    is("1 0", "what it has said counts");
    ok(logged == 1, "that it hangs is said");

    while (now_ms % 1000 != 0) {
        pass(100);
    }

    for (looks = 0; looks == 0 && now_ms < 2000000; pass(1000)) {
        if (asked("10.1.0.1")) {
            answer("10.1.0.1", 0, "");
        }

        if (asked("10.1.0.2")) {
            answer("10.1.0.2", 200, "{\"workers\": []}");
        }
    }

    is("0 61000", "for a minute");
    ok(logged == 1, "and it is said once");

    /* deleted, with somebody on it */
    pass(5000);
    says("10.1.0.1", "team/demo", 1, 0);
    json_object_set_new(json_object_get(a->obj, "metadata"),
                        "deletionTimestamp", json_string("now"));

    pass(5000);
    answer("10.1.0.1", 0, "");
    pass(120000);
    is("1 0", "one that is being deleted has whom it had");
    gone(a);
    pass(1000);
    is("0 126000", "and nobody when it is gone");
    gone(b);
    pass(1000);
}


static void
test_lies(void)
{
    size_t     i;
    ct_obj_t  *o;
    int        before = logged;

    static const char  *const ips[] = {
        "127.0.0.1", "169.254.169.254", "10.9.9.9", "10.0.0.1", "", "x"
    };

    static const char  *const bad[] = {
        "", "[]", "{}", "{\"workers\": 1}", "{\"workers\": [1]}",
        "{\"workers\": [{\"pool\": \"team/demo\", \"worker\": \"demo-0\"}]}",
        "{\"workers\": [{\"pool\": \"team/demo\", \"worker\": \"demo-0\", "
        "\"connections\": -1, \"builds\": 0, \"idleMs\": 0}]}",
        "{\"workers\": [{\"pool\": \"team/demo\", \"worker\": \"demo-0\", "
        "\"connections\": 1.5, \"builds\": 0, \"idleMs\": 0}]}",
        "{\"workers\": [{\"pool\": \"team/demo\", \"worker\": \"a/b\", "
        "\"connections\": 1, \"builds\": 0, \"idleMs\": 0}]}",
        "{\"workers\": [{\"pool\": \"team\", \"worker\": \"demo-0\", "
        "\"connections\": 1, \"builds\": 0, \"idleMs\": 0}]}",
        "{\"workers\": [{\"pool\": \"team/a/b\", \"worker\": \"demo-0\", "
        "\"connections\": 1, \"builds\": 0, \"idleMs\": 0}]}",
        "{\"workers\": [], \"workers\": []}"
    };

    for (i = 0; i < sizeof(ips) / sizeof(ips[0]); i++) {
        o = pod("team/lie", "l", ips[i]);
        pass(1000);
        ok(fetches == NULL, ips[i]);
        gone(o);
        pass(1000);
    }

    o = pod("team/host", "h", "10.1.0.9");
    json_object_set_new(json_object_get(o->obj, "spec"), "hostNetwork",
                        json_true());
    pass(1000);
    ok(fetches == NULL, "its node's network");
    gone(o);

    o = pod("other/gw", "o", "10.2.0.1");
    pass(1000);
    is("0 141000", "another namespace's is not waited for");
    says("10.2.0.1", "team/demo", 7, 0);
    is("0 141000", "nor believed");
    pass(5000);
    says("10.2.0.1", "other/demo", 7, 0);
    is("0 146000", "of its own it says what it likes");
    gone(o);
    pass(1000);

    o = pod("team/gw", "g", "10.1.0.6");
    pass(1000);
    says("10.1.0.6", "other/demo", 7, 0);
    is("0 148000", "one of another's pools is not this worker");
    gone(o);
    pass(1000);

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        o = pod("team/bad", "b", "10.1.0.7");
        pass(1000);
        before = logged;
        answer("10.1.0.7", 200, bad[i]);
        ok(logged == before + 1, bad[i]);
        gone(o);
        pass(1000);
    }

    o = pod("team/old", "q", "10.1.0.8");
    pass(1000);
    answer("10.1.0.8", 404, "not found");
    is("0 174000", "a gateway that knows no such thing");

    leads = 0;
    pass(10000);
    ok(fetches == NULL, "who does not lead asks nobody");
    leads = 1;
    pass(1000);
    ok(asked("10.1.0.8"), "(who does, does)");
    gone(o);
}


static size_t
limit(const char *ip)
{
    bk_fetch_t  *e;

    for (e = fetches; e != NULL && strstr(e->url, ip) == NULL; e = e->next) {
        /* void */
    }

    return e != NULL ? e->limit : 0;
}


/* connections of a worker */

static uint64_t
one_of(const char *key)
{
    ct_used_t  *used;

    HASH_FIND_STR(ct.uses->used, key, used);

    return used != NULL ? used->connections : 0;
}


static int
running(void)
{
    int          n = 0;
    bk_fetch_t  *e;

    for (e = fetches; e != NULL; e = e->next) {
        n++;
    }

    return n;
}


/* One namespace has as many Pods as it likes. */

static void
test_many(void)
{
    int              i;
    char             name[32], ip[32];
    ct_obj_t        *o, *own;
    ct_used_t       *used;
    bk_worker_use_t  use;

    static ct_obj_t  *all[CT_USE_FRONTS + 1];

    one.worker.hh.next = NULL;
    ct.workers = &one.worker;

    o = pod("team/gw", "m", "10.1.0.1");
    own = pod("other/gw", "m", "10.2.0.1");
    pass(1000);
    ok(limit("10.1.0.1") == 65536 + 512 && limit("10.2.0.1") == 65536,
       "a Pod may say as much as its namespace has workers");
    says("10.2.0.1", "other/demo", 1, 0);
    HASH_FIND_STR(ct.uses->used, "other/demo-0", used);
    ok(used == NULL, "a worker that is none is not kept");
    says("10.1.0.1", "team/demo", 1, 0);
    HASH_FIND_STR(ct.uses->used, "team/demo-0", used);
    ok(used != NULL, "(one that is, is)");
    gone(own);
    pass(1000);

    for (i = 0; i < CT_USE_FRONTS + 1; i++) {
        snprintf(name, sizeof(name), "other/gw-%d", i);
        snprintf(ip, sizeof(ip), "10.3.0.%d", i + 1);
        all[i] = pod(name, "x", ip);
    }

    logged = 0;
    pass(5000);
    ok(running() == 9 && asked("10.1.0.1"),
       "a hundred that are silent take no turn of others");
    ok(logged == 1, "and one more is not asked, which is said");
    says("10.1.0.1", "team/demo", 1, 0);
    is("1 0", "who has nothing to do with them sees nothing of it");

    strcpy(one.worker.key, "other/demo-0");

    for (i = 0; i < CT_USE_FRONTS; i++) {
        answer(":9090/", 0, "");
    }

    pass(1000);
    is("?", "nothing is stopped where not all of them are asked");
    gone(all[CT_USE_FRONTS]);
    pass(1000);
    ok(ct_use(&one.worker, &use) == 0, "but where they are");

    for (i = 0; i < CT_USE_FRONTS; i++) {
        gone(all[i]);
    }

    gone(o);
    pass(1000);
    ok(ct.uses->spaces == NULL && ct.uses->turns == NULL && running() == 0,
       "and nothing is kept of it");
}


/* That of an ingress controller, which leads to workers of all namespaces. */

static void
test_wide(void)
{
    int        i;
    ct_obj_t  *o[3];

    static char       *gateways[] = { "sys/front", NULL };
    static const char  *const pools[] = { "other", "front", "front" };
    static const char  *const keys[] = { "sys/a", "syst/b", "sys/c" };

    conf.gateways = gateways;
    strcpy(one.worker.key, "team/demo-0");

    for (i = 0; i < 3; i++) {
        o[i] = pod(keys[i], "w", "10.4.0.1");
        json_object_set_new(json_object_get(o[i]->obj, "metadata"), "labels",
                            json_pack("{s:s}", OBJ_LABEL_POOL, pools[i]));
        pass(1000);

        if (i < 2) {
            says("10.4.0.1", "team/demo", 5, 0);
            ok(one_of("team/demo-0") != 5, "not one that is nobody's of all");
            gone(o[i]);
            pass(1000);
        }
    }

    is("?", "one of the configuration's was not asked");
    ok(limit("10.4.0.1") == 65536 + 512, "it may say as much as there are");
    looks = 0;
    says("10.4.0.1", "team/demo", 5, 0);
    is("5 0", "it is believed of all namespaces");
    ok(looks > 0, "and all are looked at");
    gone(o[2]);
    pass(1000);
    ok(one_of("team/demo-0") == 0, "it has gone");
}


int
main(void)
{
    host.monotonic_ms = fake_mono;
    host.now_ms = fake_now;
    host.log = fake_log;
    host.timer_new = fake_timer_new;
    host.timer_set = fake_timer_set;
    host.timer_free = fake_timer_free;
    ct.host = &host;
    ct.conf = &conf;
    strcpy(one.pool.key, "team/demo");
    strcpy(one.worker.key, "team/demo-0");
    one.pool.ct = &ct;
    one.worker.pool = &one.pool;

    test_pods();
    test_lies();
    pass(1000);
    test_many();
    test_wide();

    ct_use_free(&ct);
    ok(fetches == NULL, "nothing is left");
    printf("1..%d\n", checks);

    return 0;
}
