/*
 * For t/unit/k8s_store.c: an API server of a few objects, and what ct_store*.c
 * stand on, for two controllers: views of it that are late, writes one after
 * the other whose answers get lost, and what one has sent who has ended since.
 */

#ifndef K8S_STORE_WORLD_H_INCLUDED
#define K8S_STORE_WORLD_H_INCLUDED

#include <stdarg.h>
#include <stdio.h>

#include "../../plugin-host/plugins/kubernetes/ct_store.c"
#include "../../plugin-host/plugins/kubernetes/ct_store_known.c"
#include "../../plugin-host/plugins/kubernetes/ct_store_make.c"
#include "../../plugin-host/plugins/kubernetes/ct_store_put.c"
#include "../../plugin-host/plugins/kubernetes/ct_store_row.c"
#include "../../plugin-host/plugins/kubernetes/ct_store_seen.c"
#include "../../plugin-host/plugins/kubernetes/ct_store_worker.c"
#include "../../plugin-host/plugins/kubernetes/obj.c"
#include "../../plugin-host/plugins/kubernetes/obj_worker.c"


#define ROWS      6
#define WORKERS   3
#define REPLICAS  2
#define ROUNDS    300
#define STEPS     400
#define EVENTS    4096
#define NOW       1800000000000ULL
#define KEYS      (WORKERS + ROWS)      /* then those of the queue */


/* One object of the API server. */
typedef struct {
    char     key[64];
    json_t  *obj;               /* NULL: none */
    long     version;           /* of its last change */
} thing_t;

struct ct_job_s {
    ct_job_t     *next;
    ct_make_pt    make;
    ct_done_pt    done;
    void         *data;
    json_t       *body;         /* is sent */
    json_t       *seen;         /* of what it was made */
    int           how;
    int           tries;
};

/* What an allocator knows of a row, as journal_store.c does. */
typedef struct {
    int   state;                /* 0: nothing */
    int   worker;               /* -1: none */
    int   ttl;
} kept_t;

typedef struct replica_s  replica_t;

typedef struct {
    replica_t  *r;
    kept_t      kept, next;
    int         row;
    int         busy;
    int         asked;          /* puts, and answers to them */
    int         answered;
} entry_t;

struct replica_s {
    ct_t       ct;              /* must be first */
    bk_host_t  host;
    entry_t    rows[ROWS];
    int        event;           /* the next one that it hears of */
    int        leads;
    int        late;            /* objects that were not looked at yet */
    ct_pool_t *pool;
};


/* Who leads. */
enum { ONE, HAND_OVER, BOTH };

static int          checks, bad, calm, lied, busy, strict, trace;
static unsigned     seed;
static long         revision;
static uint64_t     now_ms;
static thing_t      things[KEYS];
static int          nevents;
static replica_t    replicas[REPLICAS];
static int          acked[ROWS];        /* it was kept, and must be somewhere */
static char         trouble[512];

static struct { int thing; json_t *obj; }  events[EVENTS];

/* What somebody has sent who has ended since. */
static struct { int thing, how; json_t *body, *seen; }  lates[EVENTS];
static int  nlates;


static int
roll(int n)
{
    seed = seed * 1103515245 + 12345;

    return (int) (seed / 65536 % (unsigned) n);
}


static void
ok(int good, const char *what)
{
    bad += !good;
    printf("%sok %d - %s\n", good ? "" : "not ", ++checks, what);
}


static void __attribute__((format(printf, 1, 2)))
wrong(const char *fmt, ...)
{
    va_list  args;

    if (trouble[0] == '\0') {
        va_start(args, fmt);
        vsnprintf(trouble, sizeof(trouble), fmt, args);
        va_end(args);
    }
}


/* --- the API server ------------------------------------------------------- */

static void
hash_of(int row, uint8_t *hash)
{
    memset(hash, 0x10 + row, OBJ_HASH_LEN);
}


static int
row_of(const char *hex)
{
    uint8_t  hash[OBJ_HASH_LEN];

    return obj_hex(hex, hash, OBJ_HASH_LEN) == 0 ? hash[0] - 0x10 : -1;
}


static int
thing_of(const char *key)
{
    int  i;

    for (i = 0; i < KEYS && strcmp(things[i].key, key) != 0; i++) {
        /* void */
    }

    return i < KEYS ? i : -1;
}


static int
live_in(json_t *obj)
{
    json_t  *a = json_object_get(json_object_get(obj, "spec"), "allocation");

    return json_is_object(a) ? row_of(obj_text(a, "tokenHash")) : -1;
}


static int
ended_in(json_t *obj, int row)
{
    size_t   i;
    json_t  *e, *list;

    list = json_object_get(json_object_get(obj, "spec"), "ended");

    json_array_foreach(list, i, e) {
        if (row_of(obj_text(e, "tokenHash")) == row) {
            return 1;
        }
    }

    return 0;
}


static int
somewhere(int row, int *live)
{
    int  i, n = 0;

    for (*live = i = 0; i < KEYS; i++) {
        *live += live_in(things[i].obj) == row;
        n += live_in(things[i].obj) == row || ended_in(things[i].obj, row);
    }

    return n;
}


/* As the API server would merge it (RFC 7386). */

static json_t *
merged(json_t *is, json_t *patch)
{
    void        *tmp;
    json_t      *out, *value;
    const char  *key;

    if (!json_is_object(patch)) {
        return json_incref(patch);
    }

    out = json_is_object(is) ? json_copy(is) : json_object();

    json_object_foreach_safe(patch, tmp, key, value) {
        if (json_is_null(value)) {
            json_object_del(out, key);

        } else {
            json_object_set_new(out, key,
                                merged(json_object_get(out, key), value));
        }
    }

    return out;
}


static int
released(int row)
{
    int  i;

    for (i = 0; i < REPLICAS; i++) {
        if (replicas[i].rows[row].busy
            && replicas[i].rows[row].next.state == BK_ALLOC_RELEASED)
        {
            return 1;
        }
    }

    return 0;
}


/* Takes over obj. */

static void
set_thing(int i, json_t *obj, int outside)
{
    int      was = live_in(things[i].obj), is = live_in(obj), live, n;
    char     text[24];
    json_t  *old = things[i].obj;

    things[i].obj = obj;
    things[i].version = ++revision;

    if (obj != NULL) {
        snprintf(text, sizeof(text), "%ld", revision);
        json_object_set_new(json_object_get(obj, "metadata"),
                            "resourceVersion", json_string(text));
    }

    if (trace) {
        char  *s = json_dumps(json_object_get(obj, "spec"), JSON_COMPACT);

        printf("# %ld%s %s: %s\n", revision, outside ? ", others," : "",
               things[i].key, s == NULL ? "gone" : s);
        free(s);
    }

    events[nevents].thing = i;
    events[nevents++].obj = json_incref(obj);

    for (n = 0; outside && obj == NULL && n < ROWS; n++) {
        acked[n] &= was != n && !ended_in(old, n);
    }

    n = was == -1 ? 0 : ended_in(obj, was);
    json_decref(old);

    if (was == -1 || was == is || outside) {
        return;
    }

    if (is != -1 && !n) {
        wrong("%s was %d's and is %d's", things[i].key, was, is);
    }

    if (strict && acked[was] && somewhere(was, &live) == 0 && !released(was)) {
        wrong("row %d is nowhere", was);
    }
}


/* --- what ct_store*.c stands on ------------------------------------------- */

static replica_t *
of(const ct_t *ct)
{
    return (replica_t *) (uintptr_t) ct;
}


ct_obj_t *
ct_obj_find(ct_t *ct, ct_kind_t kind, const char *key)
{
    ct_obj_t  *o;

    HASH_FIND_STR(ct->objs[kind], key, o);

    return o;
}


ct_obj_t *
ct_obj_get(ct_t *ct, ct_kind_t kind, const char *ns, const char *name)
{
    char       key[128];
    ct_obj_t  *o;

    snprintf(key, sizeof(key), "%s/%s", ns, name);
    o = ct_obj_find(ct, kind, key);

    if (o == NULL) {
        o = calloc(1, sizeof(ct_obj_t) + sizeof(key));
        o->ct = ct;
        o->kind = kind;
        strcpy(o->key, key);
        o->name = strchr(o->key, '/') + 1;
        HASH_ADD_STR(ct->objs[kind], key, o);
    }

    return o;
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
    return ct_at(o, "metadata", "deletionTimestamp", NULL) != NULL;
}


ct_pool_t *
ct_pool_find(ct_t *ct, const char *key)
{
    return strcmp(key, "team/demo") == 0 ? of(ct)->pool : NULL;
}


ct_worker_t *
ct_worker_find(ct_t *ct, const char *key)
{
    (void) ct;
    (void) key;

    return NULL;
}


const char *
ct_worker_trust(const ct_worker_t *w)
{
    (void) w;

    return "";
}


json_t *
mk_worker(json_t *pool, const mk_worker_t *w)
{
    (void) pool;

    return json_pack("{s:{s:s, s:s}, s:{s:{s:s}}}", "metadata", "namespace",
                     w->pool_ns, "name", w->name, "spec", "poolRef", "name",
                     "demo");
}


static void
put(ct_obj_t *o, json_t *obj, long version)
{
    ct_worker_t  w = { .o = o };
    const char  *known = obj_text(json_object_get(o->obj, "metadata"),
                                  "resourceVersion");

    if (atol(known) > version || (obj != NULL && atol(known) == version)) {
        return;
    }

    json_decref(o->obj);
    o->obj = json_incref(obj);

    /* at once or later, when who writes has looked for himself */
    if (roll(2)) {
        ct_store_look(&w, NULL);

    } else {
        of(o->ct)->late = 1;
    }
}


static void
job_over(ct_obj_t *o, const bk_err_t *err)
{
    ct_job_t  *j = o->jobs;

    o->jobs = j->next;
    json_decref(j->body);
    json_decref(j->seen);

    if (j->done != NULL) {
        j->done(j->data, o, err);
    }

    free(j);
}


/* 1: it is over, when the loop is free */

static int
job_make(ct_obj_t *o, bk_err_t *err)
{
    ct_job_t  *j = o->jobs;

    memset(err, 0, sizeof(bk_err_t));

    if (!of(o->ct)->leads) {
        (void) bk_err_set(err, 503, "NotLeader", "we do not lead");
        return 1;
    }

    if (j->how == CT_PATCH && o->obj == NULL) {
        (void) bk_err_set(err, 404, "NotFound", "there is none");
        return 1;
    }

    if ((j->how == CT_CREATE) != (o->obj == NULL)) {
        return 1;
    }

    j->seen = json_incref(o->obj);
    j->body = j->make(j->data, o, err);

    return j->body == NULL;
}


/* What the API server does with it; 0: it is not what was seen any more. */

static int
apply(int i, int how, json_t *body, json_t *seen)
{
    char         uid[24];
    json_t      *m;
    const char  *rv;

    rv = obj_text(json_object_get(seen, "metadata"), "resourceVersion");

    if (seen == NULL ? things[i].obj != NULL
                     : things[i].obj == NULL || atol(rv) != things[i].version)
    {
        return 0;
    }

    if (how == CT_CREATE) {
        snprintf(uid, sizeof(uid), "uid-%ld", revision);
        json_object_set_new(json_object_get(body, "metadata"), "uid",
                            json_string(uid));
        set_thing(i, json_deep_copy(body), 0);

    } else if (how == CT_DELETE) {
        set_thing(i, NULL, 0);

    } else {
        m = merged(things[i].obj, body);
        set_thing(i, json_deep_copy(m), 0);
        json_decref(m);
    }

    return 1;
}


static void
job_send(ct_obj_t *o)
{
    int        i = thing_of(o->key);
    ct_job_t  *j = o->jobs;
    bk_err_t   err;

    (void) bk_err_set(&err, 503, "Unknown", "no answer");

    /* it never arrives, or the answer does not */
    if (!calm && roll(8) == 0) {
        if (roll(2)) {
            (void) apply(i, j->how, j->body, j->seen);
        }

        if (roll(2)) {
            put(o, things[i].obj, things[i].version);
        }

        job_over(o, &err);
        return;
    }

    if (apply(i, j->how, j->body, j->seen)) {
        put(o, things[i].obj, things[i].version);
        job_over(o, NULL);
        return;
    }

    put(o, things[i].obj, things[i].version);
    json_decref(j->body);
    json_decref(j->seen);
    j->body = NULL;
    j->seen = NULL;

    if (++j->tries == 8) {
        (void) bk_err_set(&err, 409, "Conflict", "others write it");
        job_over(o, &err);
    }
}


static void
job_step(ct_obj_t *o)
{
    bk_err_t  err;

    if (o->jobs->body != NULL) {
        job_send(o);

    } else if (job_make(o, &err)) {
        job_over(o, err.code == 0 ? NULL : &err);
    }
}


void
ct_write(ct_obj_t *o, int how, ct_make_pt make, ct_done_pt done, void *data)
{
    ct_job_t  *j = calloc(1, sizeof(ct_job_t)), **at;

    *j = (ct_job_t) { .make = make, .done = done, .data = data };
    j->how = how == CT_PLACE ? CT_CREATE : how;

    for (at = &o->jobs; *at != NULL; at = &(*at)->next) {
        /* void */
    }

    *at = j;
}


int
ct_writing(const ct_obj_t *o)
{
    return o->jobs != NULL;
}

#endif /* K8S_STORE_WORLD_H_INCLUDED */
