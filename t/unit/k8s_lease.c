/*
 * One leader (plugins/kubernetes/k8s_lease.c): two that compete for a lease
 * that this file keeps, with a clock of its own, so that answers can be late,
 * lost, or come while somebody is paused.  t/k8s_lease.t has the real API
 * server and real processes.
 */

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

static int fake_gettime(clockid_t id, struct timespec *ts);

#define clock_gettime  fake_gettime

#include "../../plugin-host/plugins/kubernetes/k8s_lease.c"
#include "../../plugin-host/plugins/kubernetes/k8s_text.c"


struct bk_timer_s {
    bk_timer_pt   fire;
    void         *data;
    uint64_t      due_ms;           /* 0: not set */
    bk_timer_t   *next;
};

struct k8s_s {
    const char  *identity;
    int          mute;              /* answers are lost */
    int          deaf;              /* requests, too */
    uint64_t     slow_ms;           /* answers come that late */
    int          fail;              /* a status for all requests */
    int          paused;
};

struct k8s_req_s {
    k8s_t        *k;
    k8s_done_pt   done;
    void         *data;
    uint64_t      due_ms;
    k8s_answer_t  a;
    k8s_req_t    *next;
};


static int          checks;
static char         said[65536];
static uint64_t     now_ms;
static bk_timer_t  *timers;
static k8s_req_t   *reqs;
static bk_host_t    host;
static json_t      *object;         /* the lease */
static int          version;
static int          asks;
static k8s_lease_t *a, *b;
static k8s_t        ka = { .identity = "a" }, kb = { .identity = "b" };


static int
fake_gettime(clockid_t id, struct timespec *ts)
{
    (void) id;

    ts->tv_sec = (time_t) (now_ms / 1000);
    ts->tv_nsec = (long) (now_ms % 1000 * 1000000);

    return 0;
}


static uint64_t
fake_now(const bk_host_t *h)
{
    (void) h;

    return 1000000000000 + now_ms;
}


static void __attribute__((format(printf, 1, 2)))
say(const char *fmt, ...)
{
    size_t   n = strlen(said);
    va_list  args;

    va_start(args, fmt);
    vsnprintf(said + n, sizeof(said) - n, fmt, args);
    va_end(args);
}


static void __attribute__((format(printf, 3, 4)))
fake_log(const bk_host_t *h, int level, const char *fmt, ...)
{
    (void) h;
    (void) level;
    (void) fmt;

    say("logged ");
}


static bk_timer_t *
fake_timer_new(const bk_host_t *h, bk_timer_pt fire, void *data)
{
    bk_timer_t  *t = calloc(1, sizeof(bk_timer_t));

    (void) h;

    t->fire = fire;
    t->data = data;
    t->next = timers;
    timers = t;

    return t;
}


static void
fake_timer_set(bk_timer_t *t, uint64_t ms)
{
    t->due_ms = now_ms + ms;
}


static void
fake_timer_free(bk_timer_t **t)
{
    bk_timer_t  **at;

    for (at = &timers; *at != *t; at = &(*at)->next) {
        /* void */
    }

    *at = (*t)->next;
    free(*t);
    *t = NULL;
}


const bk_host_t *
k8s_host(const k8s_t *k)
{
    (void) k;

    return &host;
}


/* --- the API server ------------------------------------------------------- */

static void
stored(json_t *body)
{
    char     text[32];
    json_t  *old = object;

    object = json_deep_copy(body);
    snprintf(text, sizeof(text), "%d", ++version);
    json_object_set_new(json_object_get(object, "metadata"),
                        "resourceVersion", json_string(text));
    json_decref(old);
}


/* body NULL: a look; made: it is to be a new one */

static k8s_req_t *
asked(k8s_t *k, json_t *body, int made, k8s_done_pt done, void *data)
{
    k8s_req_t   *r = calloc(1, sizeof(k8s_req_t));
    const char  *had, *has;

    asks++;
    r->k = k;
    r->done = done;
    r->data = data;
    r->due_ms = now_ms + k->slow_ms;
    r->next = reqs;
    reqs = r;

    if (k->fail != 0) {
        r->a.status = k->fail == 1 ? 0 : k->fail;
        snprintf(r->a.text, sizeof(r->a.text), "failed");
        return r;
    }

    r->a.status = 200;

    if (k->deaf) {
        return r;
    }

    if (object == NULL && !made) {
        r->a.status = 404;

    } else if (object != NULL && made) {
        r->a.status = 409;

    } else if (body != NULL) {
        had = k8s_text(json_object_get(body, "metadata"), "resourceVersion");
        has = k8s_text(json_object_get(object, "metadata"),
                       "resourceVersion");

        if (strcmp(had, has) == 0) {
            stored(body);

        } else {
            r->a.status = 409;
        }
    }

    if (r->a.status == 200) {
        r->a.obj = json_deep_copy(object);
    }

    return r;
}


k8s_req_t *
k8s_get(k8s_t *k, const k8s_kind_t *kind, const char *ns, const char *name,
    k8s_done_pt done, void *data)
{
    (void) kind;
    (void) ns;
    (void) name;

    return asked(k, NULL, 0, done, data);
}


k8s_req_t *
k8s_create(k8s_t *k, const k8s_kind_t *kind, const char *ns, json_t *body,
    k8s_done_pt done, void *data)
{
    (void) kind;
    (void) ns;

    return asked(k, body, 1, done, data);
}


k8s_req_t *
k8s_replace(k8s_t *k, const k8s_kind_t *kind, const char *ns,
    const char *name, const char *sub, json_t *body, k8s_done_pt done,
    void *data)
{
    (void) kind;
    (void) ns;
    (void) name;
    (void) sub;

    return asked(k, body, 0, done, data);
}


static void
unlink_req(k8s_req_t *r)
{
    k8s_req_t  **at;

    for (at = &reqs; *at != r; at = &(*at)->next) {
        /* void */
    }

    *at = r->next;
    json_decref(r->a.obj);
}


void
k8s_cancel(k8s_req_t **r)
{
    if (*r != NULL) {
        unlink_req(*r);
        free(*r);
        *r = NULL;
    }
}


/* --- time ----------------------------------------------------------------- */

static k8s_t *
whose(const bk_timer_t *t)
{
    return ((k8s_lease_t *) t->data)->k8s;
}


/* One that was due; 1: there was. */

static int
one(void)
{
    bk_timer_t  *t;
    k8s_req_t   *r;

    for (r = reqs; r != NULL; r = r->next) {
        if (!r->k->paused && !r->k->mute && r->due_ms <= now_ms) {
            json_incref(r->a.obj);
            unlink_req(r);
            r->done(r->data, &r->a);
            json_decref(r->a.obj);
            free(r);
            return 1;
        }
    }

    for (t = timers; t != NULL; t = t->next) {
        if (t->due_ms != 0 && t->due_ms <= now_ms && !whose(t)->paused) {
            t->due_ms = 0;
            t->fire(t->data);
            return 1;
        }
    }

    return 0;
}


static int  both;

static void
pass(uint64_t ms)
{
    int       n = 0;
    uint64_t  until;

    for (until = now_ms + ms; now_ms < until; now_ms += 10) {
        for (n = 0; one(); n++) {
            if (n == 1000) {
                printf("Bail out! it does not come to rest\n");
                exit(1);
            }
        }

        both |= (a != NULL && b != NULL && k8s_lease_valid(a)
                 && k8s_lease_valid(b));
    }

    while (one()) {
        /* void */
    }
}


static void
changed(void *data, int leader, const char *who)
{
    say("%s%s(%s) ", ((k8s_t *) data)->identity, leader ? "+" : "-", who);
}


static void
released(void *data)
{
    say("%s-released ", ((k8s_t *) data)->identity);
}


static void
released_free(void *data)
{
    released(data);
    k8s_lease_free(data == &ka ? &a : &b);
}


static k8s_lease_t *
begin(k8s_t *k)
{
    return k8s_lease(k, "n", "l", k->identity, changed, k);
}


static void
over(void)
{
    k8s_lease_free(&a);
    k8s_lease_free(&b);
    json_decref(object);
    object = NULL;
    said[0] = '\0';
    ka = (k8s_t) { .identity = "a" };
    kb = (k8s_t) { .identity = "b" };
}


/* --- checks --------------------------------------------------------------- */

static void
ok(int good, const char *what)
{
    printf("%sok %d - %s\n", good ? "" : "not ", ++checks, what);
}


static void
is(const char *expected, const char *what)
{
    ok(strcmp(said, expected) == 0, what);

    if (strcmp(said, expected) != 0) {
        printf("# %s\n", said);
    }

    said[0] = '\0';
}


static const char *
spec(const char *key)
{
    return k8s_text(json_object_get(object, "spec"), key);
}


static json_int_t
number(const char *key)
{
    return json_integer_value(json_object_get(json_object_get(object, "spec"),
                                              key));
}


/* a leads, b looks on */

static void
settled(void)
{
    a = begin(&ka);
    pass(100);
    b = begin(&kb);
    pass(3000);
    said[0] = '\0';
}


static void
plain(void)
{
    int   n;
    char  first[40];

    a = begin(&ka);
    is("", "nothing from within");
    ok(!k8s_lease_valid(a), "not yet");
    pass(100);
    is("a+(a) ", "the first one leads");
    ok(k8s_lease_valid(a), "and may write");
    ok(strcmp(spec("holderIdentity"), "a") == 0
       && number("leaseDurationSeconds") == 15
       && number("leaseTransitions") == 0, "as the object says");
    ok(strncmp(spec("renewTime"), "2001-09-09T01:46:", 17) == 0
       && strlen(spec("renewTime")) == 27, "times are MicroTime");
    snprintf(first, sizeof(first), "%s", spec("acquireTime"));

    b = begin(&kb);
    pass(1000);
    is("b-(a) ", "the second one knows who does");
    n = version;
    pass(60000);
    is("", "and that stays");
    ok(version - n >= 29 && version - n <= 31, "renewed every 2 s");
    ok(strcmp(spec("acquireTime"), first) == 0
       && strcmp(spec("renewTime"), first) > 0, "acquired once");

    k8s_lease_free(&a);
    pass(10000);
    is("", "the leader is gone: nothing yet");
    ok(!k8s_lease_valid(b), "nor");
    pass(9000);
    is("b+(b) ", "taken over after its duration");
    ok(number("leaseTransitions") == 1
       && strcmp(spec("acquireTime"), first) > 0, "which is counted");
    over();
}


static void
give_back(void)
{
    settled();
    k8s_lease_release(a, released, &ka);
    is("", "done is not called from within");
    ok(!k8s_lease_valid(a), "over at once");
    pass(100);
    is("a-released ", "given back");
    ok(spec("holderIdentity")[0] == '\0'
       && number("leaseDurationSeconds") == 1, "nobody has it");
    pass(3000);
    is("b+(b) ", "taken without waiting");
    over();

    settled();
    k8s_lease_release(b, released_free, &kb);
    pass(10);
    is("b-released ", "who has nothing gives nothing back");
    ok(b == NULL && strcmp(spec("holderIdentity"), "a") == 0, "nor takes it");
    over();

    /* amid a renewal */
    settled();
    ka.slow_ms = 1000;
    pass(1300);
    ok(reqs != NULL, "a renewal is under way");
    kb.paused = 1;
    k8s_lease_release(a, released_free, &ka);
    pass(2500);
    is("a-released ", "released behind it");
    ok(a == NULL && spec("holderIdentity")[0] == '\0', "and it is free");
    over();

    /* somebody annotates it */
    settled();
    stored(object);
    k8s_lease_release(a, released_free, &ka);
    pass(100);
    is("a-released ", "another version of it: looked at, and released");
    ok(spec("holderIdentity")[0] == '\0', "it is free");
    over();

    settled();
    ka.mute = ka.deaf = 1;
    k8s_lease_release(a, released_free, &ka);
    pass(4500);
    is("", "no answer");
    pass(600);
    is("a-released ", "is not waited for any longer");
    pass(20000);
    is("b+(b) ", "it runs out as any other");
    over();

    a = begin(&ka);
    k8s_lease_release(a, released_free, &ka);
    pass(100);
    is("a-released ", "released before it began");
    ok(object == NULL, "nothing was written");
    over();
}


static void
paused(void)
{
    settled();
    ka.paused = 1;
    pass(9000);
    ok(!k8s_lease_valid(b), "9 s");
    pass(1010);
    ok(!k8s_lease_valid(a), "10 s: the paused one would know");
    pass(8500);
    is("b+(b) ", "another leads");
    ok(!k8s_lease_valid(a), "it knows without asking");
    ka.paused = 0;
    pass(10);
    is("a-() a-(b) ", "then it is told, and who does");
    ok(strcmp(spec("holderIdentity"), "b") == 0, "who goes on to");
    over();

    /* nobody else was there */
    a = begin(&ka);
    pass(100);
    said[0] = '\0';
    ka.paused = 1;
    pass(60000);
    ka.paused = 0;
    ok(!k8s_lease_valid(a), "alone, and too late all the same");
    pass(100);
    is("a-() a+(a) ", "lost, and got again");
    over();

    /* paused with an answer on its way */
    settled();
    ka.slow_ms = 1000;
    pass(1300);
    ok(reqs != NULL, "a renewal is under way");
    ka.paused = 1;
    pass(19000);
    ok(!k8s_lease_valid(a), "paused: not valid");
    ka.paused = 0;
    ka.slow_ms = 0;
    both = 0;
    pass(3000);
    ok(!both && strcmp(spec("holderIdentity"), "b") == 0
       && k8s_lease_valid(b) && !k8s_lease_valid(a),
       "an answer that is too late is none");
    over();

    a = begin(&ka);
    ka.slow_ms = 500;
    pass(600);
    ka.paused = 1;
    pass(12000);
    ka.paused = 0;
    ka.slow_ms = 0;
    said[0] = '\0';
    pass(100);
    is("a+(a) ", "nor to who did not lead yet");
    over();

    /* a renewal counts from when it was sent */
    settled();
    ka.slow_ms = 1000;
    pass(1300);
    ok(reqs != NULL, "a renewal is under way");
    ka.paused = 1;
    pass(8000);
    ka.paused = 0;
    ka.slow_ms = 100000;
    pass(500);
    ok(k8s_lease_valid(a), "a late answer");
    pass(1500);
    is("a-() ", "is no longer good than one in time");
    over();
}


static void
trouble(void)
{
    int  i, n;

    /* the server is away for 8 s: no change */
    settled();
    ka.fail = kb.fail = 1;
    pass(7000);
    ka.fail = kb.fail = 0;
    pass(3000);
    ok(strchr(said, '+') == NULL && strchr(said, '-') == NULL
       && k8s_lease_valid(a), "an API server that is away for 7 s");
    said[0] = '\0';

    /* for 30 s: nobody leads, then one does */
    ka.fail = kb.fail = 503;
    pass(30000);
    ok(strstr(said, "a-() ") != NULL && !k8s_lease_valid(a)
       && !k8s_lease_valid(b), "for 30 s: nobody leads");
    said[0] = '\0';
    ka.fail = kb.fail = 0;
    pass(5000);
    ok(k8s_lease_valid(a) != k8s_lease_valid(b), "then one does");
    over();

    /* writes arrive, answers do not */
    settled();
    ka.mute = 1;
    both = 0;
    pass(4500);
    ok(k8s_lease_valid(a), "a request that hangs is given up");
    ka.mute = 0;
    pass(2000);
    is("", "and looked at what became of it: nobody noticed");
    ok(!both && k8s_lease_valid(a), "it leads on");
    ka.mute = 1;
    pass(11000);
    is("a-() ", "no answer for 10 s");
    ok(!both, "never two");
    over();

    settled();
    ka.mute = 1;
    k8s_lease_times(a, 15, 2000, 9000);

    while (k8s_lease_valid(a)) {
        pass(10);
    }

    is("a-() ", "told when the time is over, not later");
    over();

    /* the object is deleted, or another writes itself in */
    settled();
    json_decref(object);
    object = NULL;
    both = 0;
    pass(5000);
    is("", "a lease that is deleted");
    ok(object != NULL && !both && k8s_lease_valid(a), "is made again");
    ka.paused = 1;
    json_decref(object);
    object = NULL;
    pass(8000);
    ok(!k8s_lease_valid(b), "one that is deleted while its holder is paused");
    pass(11000);
    ok(!both && k8s_lease_valid(b), "is as if it were there");
    over();

    settled();
    json_object_set_new(json_object_get(object, "spec"), "holderIdentity",
                        json_string("c"));
    stored(object);
    pass(2500);
    is("a-(c) b-(c) ", "a third one, by force");
    ok(!k8s_lease_valid(a), "is the leader");
    over();

    /* odd objects */
    for (i = 0; i < 4; i++) {
        static const char  *const texts[] = {
            "{\"metadata\":{}}", "{\"metadata\":{},\"spec\":null}",
            "{\"metadata\":{},\"spec\":{\"holderIdentity\":7,"
                "\"leaseTransitions\":\"x\"}}",
            "{\"metadata\":{},\"spec\":{\"holderIdentity\":\"c\","
                "\"leaseDurationSeconds\":-5}}"
        };

        object = json_loads(texts[i], 0, NULL);
        stored(object);
        a = begin(&ka);
        pass(i < 3 ? 100 : 18000);
        ok(k8s_lease_valid(a), texts[i]);
        over();
    }

    /* that of another kind of program, for longer */
    object = json_loads("{\"metadata\":{\"labels\":{\"x\":\"y\"}},\"spec\":{"
                        "\"holderIdentity\":\"c\",\"leaseDurationSeconds\":"
                        "60,\"leaseTransitions\":3,\"strategy\":\"s\"}}", 0,
                        NULL);
    stored(object);
    a = begin(&ka);
    pass(59000);
    is("a-(c) ", "its duration is what counts");
    pass(4000);
    is("a+(a) ", "to the end");
    ok(number("leaseTransitions") == 4 && strcmp(spec("strategy"), "s") == 0
       && json_object_get(json_object_get(object, "metadata"), "labels")
          != NULL, "what else there is stays");
    over();

    /* there is no such namespace */
    ka.fail = 404;
    a = begin(&ka);
    pass(10);
    n = asks;
    pass(60000);
    ok(asks - n < 70, "what cannot be made is not asked for all the time");
    is("logged ", "and logged once");
    over();

    /* forbidden: said once */
    ka.fail = 403;
    a = begin(&ka);
    pass(30000);
    is("logged ", "an error is logged once");
    over();
}


/* Whatever happens to whom: never two. */

static void
random_faults(void)
{
    int       i, changes = 0, had = 0;
    unsigned  seed = 7;
    k8s_t    *k;

    both = 0;
    settled();

    for (i = 0; i < 3000; i++) {
        seed = seed * 1103515245 + 12345;
        k = (seed >> 8) % 2 ? &ka : &kb;

        switch ((seed >> 16) % 8) {
        case 0: k->paused = 1; break;
        case 1: k->mute = 1; break;
        case 2: k->mute = k->deaf = 1; break;
        case 3: k->fail = 1; break;
        case 4: k->slow_ms = (seed >> 9) % 12000; break;
        default: *k = (k8s_t) { .identity = k->identity };
        }

        pass((seed >> 10) % 6000);
        changes += had != k8s_lease_valid(a);
        had = k8s_lease_valid(a);
        said[0] = '\0';
    }

    ok(!both, "faults of all kinds: never two leaders");
    ok(changes > 100, "though there were many changes");
    printf("# %d changes\n", changes);
    over();
}


int
main(void)
{
    host.now_ms = fake_now;
    host.log = fake_log;
    host.timer_new = fake_timer_new;
    host.timer_set = fake_timer_set;
    host.timer_free = fake_timer_free;
    now_ms = 1000;

    plain();
    give_back();
    paused();
    trouble();
    random_faults();

    printf("1..%d\n", checks);

    return 0;
}
