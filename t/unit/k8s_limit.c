/*
 * How many pools and workers a namespace may have
 * (plugins/kubernetes/ct_limit.c), and the list of a pool's workers
 * (ct_index.c), of which there may be many.  With a real API server:
 * t/kubernetes_workers.t.
 */

#include <stdarg.h>
#include <stdio.h>

#include "../../plugin-host/plugins/kubernetes/obj.c"
#include "../../plugin-host/plugins/kubernetes/k8s_text.c"
#include "../../plugin-host/plugins/kubernetes/ct_obj.c"
#include "../../plugin-host/plugins/kubernetes/ct_obj_trim.c"
#include "../../plugin-host/plugins/kubernetes/ct_index.c"
#include "../../plugin-host/plugins/kubernetes/ct_limit.c"


static int        checks, bad;
static ct_t       ct;
static ct_conf_t  conf;


/* --- the other parts ------------------------------------------------------ */

/* to be looked at: is not looked at again before */

void
ct_dirty_pool(ct_pool_t *p)
{
    p->dirty = 1;
}


void
ct_dirty_worker(ct_worker_t *w)
{
    w->dirty = 0;
}


void
ct_pool_spec(ct_pool_t *p)
{
    json_t  *s = ct_at(p->o, "spec", NULL);

    p->min = (int) json_integer_value(json_object_get(s, "min"));
    p->max = (int) json_integer_value(json_object_get(s, "max"));
    p->manual = json_is_true(json_object_get(s, "manual"));
}


void
ct_pool_free(ct_pool_t *p)
{
    (void) p;
}


void
ct_scale_free(ct_pool_t *p)
{
    (void) p;
}


void
ct_worker_free(ct_worker_t *w)
{
    (void) w;
}


void
ct_write_free(ct_obj_t *o)
{
    (void) o;
}


void
ct_obj_read(ct_obj_t *o)
{
    (void) o;
}


void
ct_store_look(ct_worker_t *w, json_t *was)
{
    (void) w;
    (void) was;
}


char *
ct_strdup(const char *s)
{
    return strdup(s);
}


/* --- the tests ------------------------------------------------------------ */

static void
ok(int good, const char *what)
{
    bad += !good;
    printf("%sok %d - %s\n", good ? "" : "not ", ++checks, what);
}


/* version: so that it is taken; at: the hour in which it was made */

static ct_pool_t *
put(const char *ns, const char *name, int version, int at, const char *spec)
{
    char       text[512];
    json_t    *obj;
    ct_obj_t  *o = ct_obj_get(&ct, CT_POOL, ns, name);

    snprintf(text, sizeof(text), "{\"metadata\": {\"namespace\": \"%s\", "
             "\"name\": \"%s\", \"uid\": \"%s\", \"resourceVersion\": \"%d\", "
             "\"generation\": %d, "
             "\"creationTimestamp\": \"2026-11-21T%02d:00:00Z\"%s}, "
             "\"spec\": {%s}}", ns, name, name, version, version, at,
             strcmp(spec, "deleted") == 0
             ? ", \"deletionTimestamp\": \"2026-11-21T23:00:00Z\"" : "",
             strcmp(spec, "deleted") == 0 ? "" : spec);
    obj = json_loads(text, 0, NULL);
    ct_obj_put(o, obj, 1);
    json_decref(obj);

    return o->pool;
}


/* "slots slots ...", "-" for one that is refused */

static void
are(const char *want, const char *what, ...)
{
    char        got[256] = "", one[32];
    va_list     args;
    ct_pool_t  *p;

    ct_limit(&ct);
    va_start(args, what);

    while ((p = va_arg(args, ct_pool_t *)) != NULL) {
        snprintf(one, sizeof(one), p->refused ? "%s-" : "%s%d",
                 got[0] != '\0' ? " " : "", p->slots);
        strcat(got, one);
    }

    va_end(args);
    ok(strcmp(got, want) == 0, what);

    if (strcmp(got, want) != 0) {
        printf("# got %s, not %s\n", got, want);
    }
}


static void
test_workers(void)
{
    ct_pool_t  *old, *young, *other, *hand;

    conf.max_workers = 100;
    young = put("a", "young", 1, 12, "\"max\": 90");
    old = put("a", "old", 2, 10, "\"max\": 60");
    other = put("aa", "other", 3, 1, "\"max\": 90");
    are("60 40 90", "an older one comes first, others are not theirs", old,
        young, other, NULL);
    ok(young->dirty, "who gets other ones is looked at");
    young->dirty = 0;
    old->dirty = 0;

    put("a", "old", 4, 10, "\"max\": 100");
    are("100 0 90", "the older one grows", old, young, other, NULL);
    ok(old->dirty && young->dirty && !young->refused, "both are looked at");
    put("a", "old", 5, 10, "\"max\": 5, \"min\": 2, \"manual\": true");
    are("2 90 90", "scaled by hand", old, young, other, NULL);
    hand = put("a", "hand", 6, 13, "\"max\": 90");
    are("2 90 8", "the youngest has what is left", old, young, hand, NULL);

    put("a", "young", 7, 12, "deleted");
    are("2 0 90", "one that goes makes room", old, young, hand, NULL);
    ct_obj_gone(young->o, "young", "8");
    conf.max_workers = 0;
    put("a", "old", 9, 10, "\"max\": 10000");
    are("10000 90 90", "without a limit", old, hand, other, NULL);
    ct_obj_gone(old->o, "old", "10");
    ct_obj_gone(hand->o, "hand", "10");
    ct_obj_gone(other->o, "other", "10");
}


static void
test_pools(void)
{
    bk_err_t    err;
    char       *named[] = { "b/none", "a/a", NULL };
    ct_pool_t  *one, *two, *three, *other;

    conf.max_pools = 2;
    conf.max_workers = 100;
    three = put("a", "a", 11, 10, "\"max\": 10");
    two = put("a", "c", 12, 9, "\"max\": 10");
    one = put("a", "b", 13, 9, "\"max\": 95");
    other = put("b", "x", 14, 12, "\"max\": 10");
    are("95 5 - 10", "of one second, by name; one too many has nothing",
        one, two, three, other, NULL);
    ok(ct_limit_pool(two, &err) == 0, "one of two");
    ok(ct_limit_pool(three, &err) == -1
       && strcmp(err.reason, "TooManyPools") == 0, "it is said of the third");
    put("a", "b", 15, 9, "deleted");
    ok(ct_limit_pool(three, &err) == 0, "until there is room");
    are("0 10 10 10", "as there is", one, two, three, other, NULL);
    put("a", "b", 16, 9, "\"max\": 95");
    are("95 5 - 10", "until there is not", one, two, three, other, NULL);
    conf.gateways = named;
    put("a", "b", 17, 9, "\"max\": 80");
    are("80 10 10 10", "one by whose gateway all go is none too many", one,
        two, three, other, NULL);
    conf.gateways = NULL;
    conf.max_pools = 0;
}


/* What the list of workers is, as numbers. */

static int
ordered(const ct_pool_t *p)
{
    int           slot = -1;
    ct_worker_t  *w;

    DL_FOREACH(p->workers, w) {
        if ((unsigned) w->slot < (unsigned) slot && slot != -1) {
            return 0;
        }

        slot = w->slot;
    }

    return 1;
}


static void
test_order(void)
{
    int           i, n = 0;
    char          name[32];
    ct_pool_t    *p = ct_pool_get(&ct, "a", "many");
    ct_worker_t  *w;

    (void) ct_worker_get(&ct, p, "queued-1");
    (void) ct_worker_get(&ct, p, "many-7");
    ok(p->workers->slot == 7, "slots first");
    (void) ct_worker_get(&ct, p, "many-3");
    ok(p->workers->slot == 3 && p->workers->prev->slot == -1, "in order");

    /* as a list of the API server has them, and more than anybody waits for */
    for (i = 100000; i > 50000; i--) {
        snprintf(name, sizeof(name), "many-%d", 150000 - i);
        (void) ct_worker_get(&ct, p, name);
    }

    DL_FOREACH(p->workers, w) {
        n++;
    }

    ok(n == 50003 && ordered(p), "many of them");
    ok(strcmp(p->workers->prev->name, "queued-1") == 0,
       "what is no slot is last");
}


int
main(void)
{
    ct.conf = &conf;

    test_workers();
    test_pools();
    test_order();

    ct_index_free(&ct);
    ct_obj_free_all(&ct);
    printf("1..%d\n", checks);

    return bad > 0;
}
