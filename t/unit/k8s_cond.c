/*
 * The conditions of a pool (plugins/kubernetes/ct_pool_cond.c and _status.c):
 * what others have said goes into them, and may be of any length and of any
 * bytes.  Conditions of real pools: t/kubernetes_pools.t.
 */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../plugin-host/plugins/kubernetes/ct_pool_cond.c"
#include "../../plugin-host/plugins/kubernetes/ct_pool_status.c"
#include "../../plugin-host/plugins/kubernetes/obj.c"


static int             checks, bad;
static const char     *unknown = "";
static bk_host_t       host;
static ct_t            ct;
static ct_pool_t       pool;
static ct_pool_own_t   own;
static ct_obj_t       *deployment;


/* --- what they stand on --------------------------------------------------- */

static uint64_t
fake_now(const bk_host_t *h)
{
    (void) h;

    return 1000000;
}


json_t *
ct_at(const ct_obj_t *o, ...)
{
    json_t      *at = o->obj;
    va_list      args;
    const char  *key;

    va_start(args, o);

    while ((key = va_arg(args, const char *)) != NULL) {
        at = json_object_get(at, key);
    }

    va_end(args);

    return at;
}


int
ct_deleting(const ct_obj_t *o)
{
    (void) o;

    return 0;
}


ct_obj_t *
ct_item(ct_pool_t *p, int item, const char *fmt, ...)
{
    (void) p;
    (void) fmt;

    return item == CT_GW_DEPLOYMENT ? deployment : NULL;
}


ct_obj_t *
ct_obj_first(ct_t *c, ct_kind_t kind)
{
    (void) c;
    (void) kind;

    return NULL;
}


int
ct_pool_has_gateway(const ct_pool_t *p)
{
    (void) p;

    return 1;
}


int
ct_part_needed(const ct_pool_t *p, int part)
{
    (void) p;
    (void) part;

    return 1;
}


ct_pool_t *
ct_pool_shared(const ct_pool_t *p, int *shared)
{
    (void) p;
    *shared = 0;

    return NULL;
}


int
ct_pool_gateways_unknown(const ct_pool_t *p, char *buf, size_t size)
{
    (void) p;
    snprintf(buf, size, "%s", unknown);

    return unknown[0] != '\0';
}


char *
ct_pool_time(uint64_t ms, char buf[32])
{
    snprintf(buf, 32, "%llu", (unsigned long long) ms);

    return buf;
}


const char *
ct_pool_part_name(int part)
{
    (void) part;

    return "tls";
}


void
ct_pool_later(ct_pool_t *p, uint64_t ms)
{
    (void) p;
    (void) ms;
}


void
ct_event(ct_obj_t *o, const char *type, const char *reason, const char *fmt,
    ...)
{
    (void) o;
    (void) type;
    (void) reason;
    (void) fmt;
}


void
ct_worker_counts(const ct_pool_t *p, ct_counts_t *out)
{
    (void) p;
    memset(out, 0, sizeof(ct_counts_t));
}


int
ct_limit_asks(const ct_pool_t *p)
{
    (void) p;

    return 0;
}


int
ct_scale_bad(const ct_pool_t *p, bk_err_t *err)
{
    (void) p;
    (void) err;

    return 0;
}


int
ct_worker_unput(const ct_pool_t *p)
{
    (void) p;

    return 0;
}


void
ct_write_body(ct_obj_t *o, int how, json_t *body, ct_done_pt done, void *data)
{
    (void) o;
    (void) how;
    (void) done;
    (void) data;
    json_decref(body);
}


int
ct_writing(const ct_obj_t *o)
{
    (void) o;

    return 0;
}


const char *
mk_name(json_t *of)
{
    (void) of;

    return "demo";
}


int
mk_notes(json_t *of, const ct_conf_t *conf, char *buf, size_t size)
{
    (void) of;
    (void) conf;
    snprintf(buf, size, "%s", "");

    return 0;
}


const char *
mk_spec_text(json_t *of, const char *otherwise, ...)
{
    (void) of;

    return otherwise;
}


void
obj_pod_why(json_t *pod, char *buf, size_t size)
{
    (void) pod;
    snprintf(buf, size, "%s", "");
}


/* --- the tests ------------------------------------------------------------ */

static void
ok(int good, const char *what)
{
    bad += !good;
    printf("%sok %d - %s\n", good ? "" : "not ", ++checks, what);
}


static ct_obj_t *
object(json_t *obj)
{
    ct_obj_t  *o = calloc(1, sizeof(ct_obj_t) + 16);

    o->obj = obj;

    return o;
}


/* What the Deployment says goes into the condition: NULL: none was made. */

static json_t *
said(const char *message)
{
    size_t   n;
    json_t  *all, *c, *found = NULL;

    deployment = object(json_pack("{s:{s:i}, s:{s:[{s:s, s:s, s:s}]}}",
                                  "spec", "replicas", 2, "status",
                                  "conditions", "type", "ReplicaFailure",
                                  "status", "True", "message", message));
    ct_cond_deployment(&pool, &own.conds[CT_COND_GATEWAY]);
    all = ct_status_conditions(&pool);

    json_array_foreach(all, n, c) {
        if (strcmp(obj_text(c, "type"), ct_cond_types[CT_COND_GATEWAY]) == 0)
        {
            found = json_incref(c);
        }
    }

    json_decref(all);
    json_decref(deployment->obj);
    free(deployment);

    return found;
}


static void
test_long(void)
{
    int      i, good = 1;
    char     text[4096];
    size_t   at;
    json_t  *c;

    /* of one of the three the last byte that fits is within a character */
    for (i = 0; i < 3; i++) {
        memset(text, 'x', (size_t) i);

        for (at = (size_t) i; at + 3 < sizeof(text); at += 3) {
            memcpy(text + at, "\xe2\x82\xac", 3);
        }

        text[at] = '\0';
        c = said(text);
        good &= c != NULL && strlen(obj_text(c, "message")) > 1000;
        json_decref(c);
    }

    ok(good, "a text that is too long is cut, and is a condition");
}


static void
test_lines(void)
{
    json_t  *c = said("denied:\n\tno \x1b[31mlabel");

    ok(strstr(obj_text(c, "message"), "denied:  no  [31mlabel") != NULL,
       "what is no text is not in it");
    json_decref(c);
}


/* Whoever else puts something there. */

static void
test_bytes(void)
{
    json_t  *all;

    snprintf(own.conds[CT_COND_READY].message, 8, "\xe2\x82");
    own.conds[CT_COND_READY].is = 0;
    all = ct_status_conditions(&pool);
    ok(json_array_size(all) == CT_CONDS - 1,
       "one that cannot be said is left out, the others are there");
    json_decref(all);
}


/* What is good may have more to be said of it. */

static void
test_note(void)
{
    int         i;
    ct_cond_t  *c = &own.conds[CT_COND_CERTIFICATES];

    for (i = 0; i < CT_PARTS; i++) {
        own.parts[i].good = 1;
    }

    ct_cond_certificates(&pool);
    ok(c->is == 1 && strstr(c->message, "not known") == NULL,
       "certificates are valid");
    unknown = "its authority is not known";
    ct_cond_certificates(&pool);
    ok(c->is == 1 && strstr(c->message, "; its authority is not known") != NULL,
       "also where a gateway of all pools is not known, which is said");
    unknown = "";
}


int
main(void)
{
    host.now_ms = fake_now;
    ct.host = &host;
    pool.ct = &ct;
    pool.own = &own;
    pool.o = object(json_pack("{s:{s:i}}", "metadata", "generation", 1));

    test_long();
    test_lines();
    test_bytes();
    test_note();

    json_decref(pool.o->obj);
    free(pool.o);

    printf("1..%d\n", checks);

    return bad > 0;
}
