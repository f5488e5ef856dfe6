/*
 * When it is said what of an Ingress is not used (plugins/kubernetes/
 * ing_say.c): not before it has been so for a moment, and once.
 */

#include <stdarg.h>
#include <stdio.h>

#include "../../plugin-host/plugins/kubernetes/obj.c"
#include "../../plugin-host/plugins/kubernetes/ing_say.c"


struct bk_timer_s {
    bk_timer_pt   fire;
    void         *data;
    uint64_t      at_ms;        /* 0: is not set */
};


static int           checks, logged, events, leads = 1;
static uint64_t      clock_ms = 5000;
static bk_timer_t    timer;
static k8s_done_pt   event_done;
static void         *event_data;
static bk_host_t     host;
static ing_t         ing;


/* --- the other parts -------------------------------------------------------- */

static uint64_t
now(const bk_host_t *h)
{
    (void) h;

    return clock_ms;
}


static bk_timer_t *
timer_new(const bk_host_t *h, bk_timer_pt fire, void *data)
{
    (void) h;
    timer.fire = fire;
    timer.data = data;

    return &timer;
}


static void
timer_set(bk_timer_t *t, uint64_t ms)
{
    t->at_ms = clock_ms + ms;
}


static void
timer_free(bk_timer_t **t)
{
    *t = NULL;
}


static void
log_count(const bk_host_t *h, int level, const char *fmt, ...)
{
    (void) h;
    (void) level;
    (void) fmt;
    logged++;
}


int
ing_leads(const ing_t *i)
{
    (void) i;

    return leads;
}


void
ing_dirty(ing_t *i)
{
    (void) i;
}


char *
gw_strdup(const char *s)
{
    return strdup(s);
}


k8s_req_t *
k8s_create(k8s_t *k, const k8s_kind_t *kind, const char *ns,
    json_t *body, k8s_done_pt done, void *data)
{
    (void) k;
    (void) kind;
    (void) ns;
    (void) body;
    events++;
    event_done = done;
    event_data = data;

    return (k8s_req_t *) &timer;
}


void
k8s_cancel(k8s_req_t **r)
{
    *r = NULL;
}


/* --- checks ------------------------------------------------------------------- */

static void
pass(uint64_t ms)
{
    clock_ms += ms;

    if (timer.at_ms != 0 && timer.at_ms <= clock_ms) {
        timer.at_ms = 0;
        timer.fire(timer.data);
    }
}


static void
is(int lines, int n, const char *what)
{
    int  good = logged == lines && events == n;

    printf("%sok %d - %s\n", good ? "" : "not ", ++checks, what);

    if (!good) {
        printf("# %d lines, %d Events\n", logged, events);
    }
}


int
main(void)
{
    char          ns[] = "a", key[] = "a/i", uid[] = "u", version[] = "7";
    bk_err_t      fault = { .reason = "NoPool" };
    ing_obj_t     o = { .ing = &ing, .key = key, .name = key + 2, .ns = ns,
                        .uid = uid, .version = version };
    k8s_answer_t  done = { .status = 201 };

    strcpy(fault.text, "b.example.com is that of the pool a/demo");
    host.now_ms = host.monotonic_ms = now;
    host.timer_new = timer_new;
    host.timer_set = timer_set;
    host.timer_free = timer_free;
    host.log = log_count;
    ing.host = &host;
    ing_say_init(&ing);
    HASH_ADD_KEYPTR(hh, ing.objs, o.key, strlen(o.key), &o);

    /* its pool is made with it, and seen a little later */

    o.faults.all = &fault;
    o.faults.n = 1;
    ing_say(&ing);
    pass(ING_MOMENT_MS - 1);
    is(0, 0, "not at once");
    o.faults.n = 0;
    ing_say(&ing);
    pass(ING_MOMENT_MS);
    is(0, 0, "nor ever, when it is over by then");

    /* there is none */

    o.faults.n = 1;
    ing_say(&ing);
    pass(ING_MOMENT_MS - 1);
    ing_say(&ing);
    is(0, 0, "another one has a moment of its own");
    pass(ING_MOMENT_MS);
    is(1, 1, "it is said, though nothing has changed since");
    event_done(event_data, &done);
    ing_say(&ing);
    pass(ING_MOMENT_MS);
    is(1, 1, "once");

    /* one that does not lead says it in its log, and is the leader later */

    ing_say_forget(&o);
    leads = 0;
    ing_say(&ing);
    pass(ING_MOMENT_MS);
    is(2, 1, "who does not lead makes no Event of it");
    leads = 1;
    ing_say_again(&ing);
    is(2, 2, "until he does");
    event_done(event_data, &done);

    ing_say_forget(&o);
    HASH_DELETE(hh, ing.objs, &o);
    ing_say_free(&ing);

    printf("1..%d\n", checks);

    return 0;
}
