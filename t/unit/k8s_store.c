/*
 * The store of allocations (plugins/kubernetes/ct_store*.c) with all that can
 * go wrong, at random and the same every time: two controllers that both
 * believe to lead, answers that are lost, watches that are late, objects that
 * somebody else changes or deletes.  What may never be: a worker that is taken
 * from one allocation and given to another, an allocation that was kept and
 * is nowhere.  With a real API server: t/kubernetes_store.t.
 */

#include "k8s_store_world.h"


/* --- the host and an allocator -------------------------------------------- */

static uint64_t
fake_now(const bk_host_t *h)
{
    (void) h;

    return now_ms;
}


static bk_timer_t *
fake_timer_new(const bk_host_t *h, bk_timer_pt fire, void *data)
{
    (void) h;
    (void) fire;

    return data;
}


static void
fake_timer_set(bk_timer_t *timer, uint64_t ms)
{
    (void) timer;
    (void) ms;
}


static void
fake_timer_clear(bk_timer_t *timer)
{
    (void) timer;
}


static void
fake_timer_free(bk_timer_t **timer)
{
    *timer = NULL;
}


static void
fake_store_is(const bk_host_t *h, int ready)
{
    (void) h;
    (void) ready;
}


static replica_t *
by_host(const bk_host_t *h)
{
    int  i;

    for (i = 0; &replicas[i].host != h; i++) {
        /* void */
    }

    return &replicas[i];
}


static kept_t
kept_of(const bk_stored_t *row)
{
    kept_t  k = { .state = row->state, .worker = -1 };

    if (row->worker.len > 0) {
        k.worker = atoi(row->worker.data + strlen("demo-"));
    }

    k.ttl = (int) (row->expires_ms - NOW);

    return k;
}


static void
fake_store_told(const bk_host_t *h, const bk_stored_t *row)
{
    if (trace) {
        printf("# %d is told of row %d: %d on \"%.*s\"\n",
               (int) (by_host(h) - replicas), row->hash[0] - 0x10, row->state,
               (int) row->worker.len, row->worker.data);
    }

    by_host(h)->rows[row->hash[0] - 0x10].kept = kept_of(row);
}


static int
read_row(const bk_stored_t *row, void *data)
{
    replica_t  *r = data;

    r->rows[row->hash[0] - 0x10].kept = kept_of(row);

    return 0;
}


static void
asked_done(void *data, const bk_err_t *err)
{
    entry_t  *e = data;

    if (trace) {
        printf("# %d row %d: %s\n", (int) (e->r - replicas), e->row,
               err == NULL ? "ok" : err->reason);
    }

    e->answered++;
    e->busy = 0;

    if (e->answered > e->asked) {
        wrong("answered twice");
    }

    if (err == NULL) {
        e->kept = e->next;
        acked[e->row] |= e->kept.state < BK_ALLOC_EXPIRED;

    } else if (strcmp(err->reason, "Unknown") == 0) {
        lied++;

    } else if (strcmp(err->reason, "StoreBusy") == 0) {
        busy++;
    }
}


static void
ask(entry_t *e, int state, int worker, int ttl)
{
    char         name[16];
    uint8_t      hash[OBJ_HASH_LEN];
    bk_stored_t  row;

    hash_of(e->row, hash);
    snprintf(name, sizeof(name), "demo-%d", worker);

    row = (bk_stored_t) {
        .hash = hash,
        .key_hash = hash,
        .pool = BK_STR("team/demo"),
        .worker = worker < 0 ? BK_STR("") : CT_STR(name),
        .owner = BK_STR("ci:octo"),
        .metadata = BK_STR("{\"ref\":\"main\"}"),
        .reason = BK_STR("over"),
        .record = BK_STR("{\"nonce\":\"00\"}"),
        .created_ms = NOW,
        .expires_ms = NOW + (uint64_t) ttl,
        .changed_ms = now_ms,
        .state = state
    };

    if (trace) {
        printf("# %d asks row %d: %d on %d, was %d on %d\n",
               (int) (e->r - replicas), e->row, state, worker, e->kept.state,
               e->kept.worker);
    }

    e->next = (kept_t) { state, worker, ttl };
    e->busy = 1;
    e->asked++;
    ct_store_put(&e->r->ct, &row, asked_done, e);

    if (!e->busy) {
        wrong("answered from within");
    }
}


/* Something that an allocator would ask for. */

static void
ask_some(replica_t *r)
{
    int       row = roll(ROWS), ttl;
    entry_t  *e = &r->rows[row];

    if (e->busy || !r->ct.store->ready) {
        return;
    }

    ttl = 1000000 + 1000 * roll(1000);

    switch (e->kept.state) {
    case 0:
        /* whoever makes it: one of them */
        if (row % REPLICAS == (int) (r - replicas) && e->asked == 0) {
            if (roll(2)) {
                ask(e, BK_ALLOC_QUEUED, -1, ttl);

            } else {
                ask(e, BK_ALLOC_READY, roll(WORKERS), ttl);
            }
        }

        return;

    case BK_ALLOC_QUEUED:
        if (roll(4)) {
            ask(e, BK_ALLOC_READY, roll(WORKERS), ttl);
        }

        break;

    case BK_ALLOC_READY:
        if (roll(2)) {
            ask(e, BK_ALLOC_READY, e->kept.worker, ttl);

        } else if (roll(2)) {
            ask(e, BK_ALLOC_QUEUED, -1, ttl);
        }

        break;

    default:
        return;
    }

    if (!e->busy && roll(4) == 0) {
        ask(e, roll(2) ? BK_ALLOC_RELEASED : BK_ALLOC_REVOKED,
            e->kept.worker, e->kept.ttl);
    }
}


/* --- a round -------------------------------------------------------------- */

static int
hear(replica_t *r)
{
    int  i;

    if (r->event == nevents) {
        return 0;
    }

    i = r->event++;
    put(ct_obj_get(&r->ct, CT_WORKER, "team",
                   things[events[i].thing].key + 5), events[i].obj,
        events[i].obj == NULL ? things[events[i].thing].version
        : atol(obj_text(json_object_get(events[i].obj, "metadata"),
                        "resourceVersion")));

    return 1;
}


static int
work(replica_t *r)
{
    int        n = 0;
    ct_obj_t  *o, *next, *chosen = NULL;

    HASH_ITER(hh, r->ct.objs[CT_WORKER], o, next) {
        if (o->jobs != NULL && roll(++n) == 0) {
            chosen = o;
        }
    }

    if (chosen != NULL) {
        job_step(chosen);
    }

    return n;
}


static int
look(replica_t *r)
{
    ct_obj_t     *o, *next;
    ct_worker_t   w = { .o = NULL };

    if (!r->late) {
        return 0;
    }

    r->late = 0;

    HASH_ITER(hh, r->ct.objs[CT_WORKER], o, next) {
        w.o = o;
        ct_store_look(&w, NULL);
    }

    return 1;
}


/* Somebody with kubectl. */

static void
meddle(void)
{
    int      i = roll(KEYS);
    json_t  *obj = things[i].obj, *copy;

    if (obj == NULL) {
        return;
    }

    if (roll(8) == 0) {
        set_thing(i, NULL, 1);
        return;
    }

    copy = json_deep_copy(obj);
    json_object_set_new(copy, "status", json_pack("{s:i}", "n", revision));
    set_thing(i, copy, 1);
}


/* Its process ends; what it has sent may come as late as it likes. */

static void
end(replica_t *r)
{
    int        k;
    ct_job_t  *j;
    ct_obj_t  *o, *next;

    ct_store_free(&r->ct.store);
    free(r->pool);

    for (k = 0; k < CT_KINDS; k++) {
        HASH_ITER(hh, r->ct.objs[k], o, next) {
            HASH_DEL(r->ct.objs[k], o);

            while ((j = o->jobs) != NULL) {
                o->jobs = j->next;

                if (j->body != NULL) {
                    lates[nlates].thing = thing_of(o->key);
                    lates[nlates].how = j->how;
                    lates[nlates].body = j->body;
                    lates[nlates++].seen = j->seen;
                }

                free(j);
            }

            json_decref(o->obj);
            free(o);
        }
    }
}


static void
arrive(void)
{
    int  i;

    if (nlates > 0) {
        i = roll(nlates--);
        (void) apply(lates[i].thing, lates[i].how, lates[i].body,
                     lates[i].seen);
        json_decref(lates[i].body);
        json_decref(lates[i].seen);
        lates[i] = lates[nlates];
    }
}


static void
start(replica_t *r)
{
    int        i, asked;
    ct_obj_t  *pool;

    memset(&r->ct, 0, sizeof(ct_t));
    r->late = 0;
    r->event = 0;
    r->host.now_ms = fake_now;
    r->host.monotonic_ms = fake_now;
    r->host.timer_new = fake_timer_new;
    r->host.timer_set = fake_timer_set;
    r->host.timer_clear = fake_timer_clear;
    r->host.timer_free = fake_timer_free;
    r->host.store_is = fake_store_is;
    r->host.store_told = fake_store_told;
    r->ct.host = &r->host;
    r->ct.store = ct_store_new(&r->ct);
    r->pool = calloc(1, sizeof(ct_pool_t) + 16);
    pool = ct_obj_get(&r->ct, CT_POOL, "team", "demo");
    pool->obj = json_pack("{s:{s:s}}", "metadata", "namespace", "team");
    r->pool->o = pool;

    for (i = 0; i < ROWS; i++) {
        asked = r->rows[i].asked;
        acked[i] &= !(r->rows[i].busy
                      && r->rows[i].next.state == BK_ALLOC_RELEASED);
        r->rows[i] = (entry_t) { .r = r, .row = i, .kept = { .worker = -1 },
                                 .asked = asked, .answered = asked };
    }
}


/* Who begins has read all of it again; who has led ends, and begins anew. */

static void
lead(replica_t *r, int leads)
{
    if (r->leads && !leads) {
        r->leads = 0;
        ct_store_is(&r->ct, 0);
        end(r);
        start(r);
    }

    if (leads && !r->leads) {
        while (hear(r) || look(r)) {
            /* void */
        }

        r->leads = 1;
        ct_store_is(&r->ct, 1);
        (void) ct_store_each(&r->ct, read_row, r);
    }
}


static void
begin(void)
{
    int   i, j;
    char  hex[13];

    revision = 1;
    now_ms = NOW;
    nevents = 0;
    calm = 0;
    memset(acked, 0, sizeof(acked));
    memset(things, 0, sizeof(things));
    memset(replicas, 0, sizeof(replicas));

    for (i = 0; i < KEYS; i++) {
        for (j = 0; j < 6; j++) {
            snprintf(hex + 2 * j, 3, "%02x", 0x10 + i - WORKERS);
        }

        if (i < WORKERS) {
            snprintf(things[i].key, sizeof(things[i].key), "team/demo-%d", i);

        } else {
            snprintf(things[i].key, sizeof(things[i].key), "team/queued-%s",
                     hex);
        }
    }

    for (i = 0; i < REPLICAS; i++) {
        start(&replicas[i]);
        lead(&replicas[i], 1);
    }
}


static void
finish(void)
{
    int  i;

    for (i = 0; i < REPLICAS; i++) {
        end(&replicas[i]);
    }

    while (nlates > 0) {
        nlates--;
        json_decref(lates[nlates].body);
        json_decref(lates[nlates].seen);
    }

    for (i = 0; i < nevents; i++) {
        json_decref(events[i].obj);
    }

    for (i = 0; i < KEYS; i++) {
        json_decref(things[i].obj);
    }
}


/* One leads, all is heard and written. */

static void
settle(void)
{
    int  i, n;

    calm = 1;
    lead(&replicas[1], 0);

    lead(&replicas[0], 1);

    while (nlates > 0) {
        arrive();
    }

    for (n = 0, i = 0; i < 3; i++) {
        ct_store_sweep(replicas[0].ct.store);

        while (hear(&replicas[0]) || hear(&replicas[1])
               || look(&replicas[0]) || look(&replicas[1])
               || work(&replicas[0]) || work(&replicas[1]))
        {
            if (++n > 20000) {
                wrong("it does not come to rest");
                return;
            }
        }
    }
}


static void
judge(void)
{
    int      i, live, n;
    entry_t *e;

    for (i = 0; i < ROWS; i++) {
        e = &replicas[0].rows[i];
        n = somewhere(i, &live);

        if (live > 1 || n > 1) {
            wrong("row %d is in %d places, %d of them live", i, n, live);
        }

        if (e->busy || replicas[1].rows[i].busy) {
            wrong("row %d: no answer", i);
        }

        if (live != (e->kept.state != 0 && e->kept.state < BK_ALLOC_EXPIRED))
        {
            wrong("row %d: state %d, and %d live", i, e->kept.state, live);
        }

        if (e->kept.state == BK_ALLOC_READY
            && live_in(things[e->kept.worker].obj) != i)
        {
            wrong("row %d is not on %d", i, e->kept.worker);
        }
    }
}


static int
round_of(unsigned n, int both, int meddled)
{
    int         i, k;
    replica_t  *r;

    seed = n;
    strict = both != BOTH;
    trouble[0] = '\0';
    begin();

    if (both != BOTH) {
        lead(&replicas[1], 0);
    }

    for (i = 0; i < STEPS && trouble[0] == '\0' && nevents < EVENTS - 999; i++)
    {
        r = &replicas[roll(REPLICAS)];
        now_ms += 100;

        switch (roll(8)) {
        case 0:
            ask_some(r);
            break;
        case 1:
        case 2:
            (void) (hear(r) || look(r));
            break;
        case 3:
            if (meddled) {
                meddle();
            }
            break;
        case 4:
            arrive();

            if (both == HAND_OVER && roll(20) == 0) {
                k = replicas[0].leads;
                lead(&replicas[!k], 0);
                lead(&replicas[k], 1);
            }
            break;
        default:
            (void) work(r);
        }
    }

    settle();

    if (strict) {
        judge();
    }

    finish();

    if (trouble[0] != '\0') {
        printf("# seed %u: %s\n", n, trouble);
    }

    return trouble[0] == '\0';
}


static void
rounds(const char *what, int both, int meddled)
{
    int       good = 1;
    unsigned  i;

    for (i = 1; i <= ROUNDS && good; i++) {
        good = round_of(i, both, meddled);
    }

    ok(good, what);
}


/* --- somebody else's objects, with the hash of a row of ours -------------- */

/* An object of another namespace as the first replica hears of it; NULL: it
 * is gone.  Takes over spec. */

static ct_obj_t *
elsewhere(json_t *spec)
{
    ct_obj_t     *o = ct_obj_get(&replicas[0].ct, CT_WORKER, "evil", "demo-0");
    ct_worker_t   w = { .o = o };

    json_decref(o->obj);
    o->obj = NULL;

    if (spec != NULL) {
        o->obj = json_deep_copy(things[0].obj);
        json_object_set_new(json_object_get(o->obj, "metadata"), "namespace",
                            json_string("evil"));
        json_object_del(json_object_get(o->obj, "spec"), "allocation");
        json_object_update(json_object_get(o->obj, "spec"), spec);
        json_decref(spec);
    }

    ct_store_look(&w, NULL);

    return o;
}


/* What it is as if it were ours, until later than ours is. */

static json_t *
stolen(void)
{
    json_t  *a = json_deep_copy(json_object_get(json_object_get(things[0].obj,
                                "spec"), "allocation"));

    json_object_set_new(a, "expiresAt", json_string("2027-01-15T09:00:00Z"));

    return json_pack("{s:o}", "allocation", a);
}


static json_t *
ending(void)
{
    json_t  *a = json_object_get(json_object_get(things[0].obj, "spec"),
                                 "allocation");

    return json_pack("{s:[{s:O, s:s, s:s}]}", "ended", "tokenHash",
                     json_object_get(a, "tokenHash"), "state", "revoked",
                     "at", "2027-01-15T08:00:00Z");
}


/* Is it told as it was, and does nobody write anything? */

static int
untouched(int state)
{
    int        jobs = 0;
    ct_obj_t  *o, *next;
    kept_t    *k = &replicas[0].rows[0].kept;

    HASH_ITER(hh, replicas[0].ct.objs[CT_WORKER], o, next) {
        jobs += o->jobs != NULL;
    }

    return k->state == state && jobs == 0 && live_in(things[0].obj) == 0;
}


/* Who leads next; what is elsewhere he reads first. */

static void
next_leader(json_t *spec)
{
    lead(&replicas[0], 0);
    (void) elsewhere(spec);
    lead(&replicas[0], 1);
}


static void
test_elsewhere(void)
{
    ct_obj_t     *o;
    ct_worker_t   w = { .o = NULL };

    seed = 1;
    begin();
    lead(&replicas[1], 0);
    calm = 1;
    ask(&replicas[0].rows[0], BK_ALLOC_READY, 0, 1000000);

    while (work(&replicas[0]) || hear(&replicas[0]) || look(&replicas[0])) {
        /* void */
    }

    ok(untouched(BK_ALLOC_READY), "a row of ours");

    (void) elsewhere(ending());
    ok(untouched(BK_ALLOC_READY), "another namespace ends nothing of it");

    o = elsewhere(stolen());
    w.o = o;
    ok(untouched(BK_ALLOC_READY) && ct_store_has(&w, NULL) == 2,
       "and gets nothing of it: what is there is nobody's");
    w.o = ct_obj_get(&replicas[0].ct, CT_WORKER, "team", "demo-0");
    ok(ct_store_has(&w, NULL) == 1, "ours is ours");

    set_thing(0, NULL, 1);
    while (hear(&replicas[0]) || look(&replicas[0])) {
        /* void */
    }

    ok(replicas[0].rows[0].kept.state == BK_ALLOC_FAILED,
       "a row whose object is gone has failed, wherever else it is said");
    finish();

    begin();
    lead(&replicas[1], 0);
    ask(&replicas[0].rows[0], BK_ALLOC_READY, 0, 1000000);

    while (work(&replicas[0]) || hear(&replicas[0]) || look(&replicas[0])) {
        /* void */
    }

    next_leader(ending());
    ok(untouched(BK_ALLOC_READY), "who leads next believes no such end");

    next_leader(stolen());
    ok(untouched(0), "of two pools he believes none");

    (void) elsewhere(NULL);
    ok(untouched(BK_ALLOC_READY), "until one is alone");

    o = elsewhere(stolen());
    now_ms = NOW + 2 * 3600 * 1000;
    w.o = o;
    ct_store_look(&w, NULL);
    ct_store_look(&w, NULL);
    ok(o->jobs != NULL && o->jobs->next == NULL
       && o->jobs->make == ct_op_make_lapsed,
       "an end that is past is an end there, asked for once");
    finish();
}


/* What is left of the queue; the API server refuses to delete it. */

static void
test_sweep(void)
{
    ct_obj_t     *o;
    replica_t    *r = &replicas[0];
    ct_worker_t   w;

    seed = 1;
    begin();
    lead(&replicas[1], 0);
    set_thing(WORKERS, json_pack("{s:{s:s, s:s, s:s}, s:{s:{s:s}}}",
                                 "metadata", "namespace", "team", "name",
                                 things[WORKERS].key + 5, "uid", "u", "spec",
                                 "poolRef", "name", "demo"), 1);

    while (hear(r) || look(r)) {
        /* void */
    }

    o = ct_obj_find(&r->ct, CT_WORKER, things[WORKERS].key);
    w.o = o;
    ct_store_sweep(r->ct.store);
    ct_store_look(&w, NULL);
    ct_store_sweep(r->ct.store);
    ok(o->jobs != NULL && o->jobs->how == CT_DELETE && o->jobs->next == NULL,
       "what is left of the queue is deleted by one write");
    finish();
}


/* --- what is kept of a worker --------------------------------------------- */

static void
marked(void *data, const bk_err_t *err)
{
    *(int *) data = err == NULL ? 0 : err->code;
}


/* Drains worker 0, and the answer gets lost: 0 or the code of what is said. */

static int
drain(int arrives)
{
    int                 code = -1;
    bk_err_t            err;
    ct_obj_t           *o;
    replica_t          *r = &replicas[0];
    bk_stored_worker_t  w = {
        .pool = BK_STR("team/demo"),
        .worker = BK_STR("demo-0"),
        .drained_ms = NOW
    };

    begin();
    lead(&replicas[1], 0);
    ct_store_worker(&r->ct, &w, marked, &code);
    o = ct_obj_find(&r->ct, CT_WORKER, "team/demo-0");
    (void) job_make(o, &err);

    if (arrives) {
        (void) apply(0, o->jobs->how, o->jobs->body, o->jobs->seen);
        put(o, things[0].obj, things[0].version);
    }

    (void) bk_err_set(&err, 503, "Unknown", "no answer");
    job_over(o, &err);
    finish();

    return code;
}


static int
seen_worker(const bk_stored_worker_t *w, void *data)
{
    *(int *) data += w->drained_ms == NOW;

    return 0;
}


/* The first worker of a pool of that name is none that waits. */

static void
test_slot(void)
{
    int           n = 0;
    ct_obj_t     *o;
    ct_pool_t    *pool = calloc(1, sizeof(ct_pool_t) + 16);
    replica_t    *r = &replicas[0];
    ct_worker_t  *w = calloc(1, sizeof(ct_worker_t) + 32);

    begin();
    o = ct_obj_get(&r->ct, CT_WORKER, "team", "queued-0");
    o->obj = json_pack("{s:{s:{s:s}}}", "spec", "drained", "since",
                       "2027-01-15T08:00:00Z");
    strcpy(pool->key, "team/queued");
    strcpy(w->key, o->key);
    w->name = w->key + 5;
    w->o = o;
    w->pool = pool;
    w->queued = 1;
    HASH_ADD_STR(r->ct.workers, key, w);
    (void) ct_store_workers(&r->ct, seen_worker, &n);
    ok(n == 1, "a slot of a pool called queued stays drained");
    HASH_DEL(r->ct.workers, w);
    free(w);
    free(pool);
    finish();
}


int
main(int argc, char **argv)
{
    if (argc == 4) {
        /* one of them, with all that happens: SEED WHO-LEADS OTHERS */
        trace = 1;
        return !round_of((unsigned) atoi(argv[1]), atoi(argv[2]),
                         atoi(argv[3]));
    }

    rounds("one leader, lost answers", ONE, 0);
    rounds("others change and delete objects", ONE, 1);
    rounds("the leader changes, and its last writes come late", HAND_OVER, 0);
    rounds("the same, and others", HAND_OVER, 1);
    rounds("two who lead for long: no worker is two rows'", BOTH, 1);
    test_elsewhere();
    test_sweep();
    ok(drain(0) == 503, "a drain that did not arrive is not kept");
    ok(drain(1) == 0, "one that did is, whatever became of the answer");
    test_slot();
    ok(lied > 0, "answers were lost");
    ok(busy == 0, "and what can be written is");
    printf("1..%d\n", checks);

    return bad > 0;
}
