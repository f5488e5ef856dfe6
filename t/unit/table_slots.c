/*
 * Pools and workers in the route table: slots, generations, what is refused,
 * and that a reference to something that is gone never leads to what took
 * its place.  Prints TAP.
 */

#include "table_test.h"


static void tt_pools(bk_table_t *t, const bk_table_view_t *v);
static void tt_workers(bk_table_t *t, const bk_table_view_t *v);
static void tt_refused(bk_table_t *t);
static int tt_count_pool(bk_table_ref_t ref,
    const bk_table_pool_data_t *pool, void *data);
static int tt_count_worker(bk_table_ref_t ref,
    const bk_table_worker_data_t *worker, void *data);


int
main(void)
{
    bk_table_t       *t;
    bk_table_view_t   v;

    tt_begin();
    t = tt_new(10, 4, 3);

    ok(tt_map(&v) == NULL, "a reader accepts the table");

    tt_pools(t, &v);
    tt_workers(t, &v);
    tt_refused(t);

    tt_unmap(&v);
    bk_table_close(&t);

    return tt_end();
}


static void
tt_pools(bk_table_t *t, const bk_table_view_t *v)
{
    int                   i, n;
    char                  name[BK_TABLE_POOL_LEN + 8];
    bk_err_t              err;
    uint64_t              revision;
    bk_table_ref_t        ref[3], more, old;
    bk_table_stats_t      s;
    bk_table_pool_data_t  p;

    for (i = 0; i < 3; i++) {
        ref[i].index = BK_TABLE_NONE;
        ref[i].gen = 0;
        snprintf(name, sizeof(name), "default/p%d", i);
        ok(bk_table_pool_put(t, name, i == 1 ? BK_POOL_SHARED : 0, &ref[i],
                             &err) == 0
           && bk_table_read_pool(v, ref[i], &p) == BK_TABLE_OK
           && strcmp(p.name, name) == 0
           && p.flags == (i == 1 ? BK_POOL_SHARED : 0), "pool %s", name);
    }

    more.index = BK_TABLE_NONE;
    more.gen = 0;
    ok(bk_table_pool_put(t, "default/p3", 0, &more, &err) == -1
       && err.code == 503 && strcmp(err.reason, "TableFull") == 0
       && more.index == BK_TABLE_NONE, "one too many: 503 TableFull");

    revision = bk_table_revision(v);
    ok(bk_table_pool_put(t, "default/p1", BK_POOL_SHARED, &ref[1], &err) == 0
       && bk_table_revision(v) == revision,
       "an update that changes nothing is no change");
    old = ref[1];
    ok(bk_table_pool_put(t, "default/p1", 0, &ref[1], &err) == 0
       && bk_table_revision(v) == revision + 1
       && memcmp(&old, &ref[1], sizeof(old)) == 0
       && bk_table_read_pool(v, ref[1], &p) == BK_TABLE_OK && p.flags == 0,
       "an update in place");

    n = 0;
    bk_table_pool_each(t, tt_count_pool, &n);
    ok(n == 3, "each: three");

    bk_table_pool_delete(t, ref[1]);
    ok(bk_table_read_pool(v, old, &p) == BK_TABLE_MISS,
       "deleted: its reference is stale");
    bk_table_pool_delete(t, ref[1]);
    bk_table_stats(t, &s);
    ok(s.pools_used == 2, "deleting it again does nothing");
    ok(bk_table_pool_put(t, "default/p1", 0, &ref[1], &err) == -1
       && err.code == 404, "an update by a stale reference: 404");

    ok(bk_table_pool_put(t, "default/new", 0, &more, &err) == 0
       && more.index == old.index && more.gen != old.gen
       && bk_table_read_pool(v, old, &p) == BK_TABLE_MISS
       && bk_table_read_pool(v, more, &p) == BK_TABLE_OK,
       "its slot is used again, with another generation");

    more.index = 3;
    ok(bk_table_read_pool(v, more, &p) == BK_TABLE_BAD,
       "an index out of range is a broken table");

    memset(name, 'x', sizeof(name));
    name[BK_TABLE_POOL_LEN - 1] = '\0';
    bk_table_pool_delete(t, ref[0]);
    ref[0].index = BK_TABLE_NONE;
    ok(bk_table_pool_put(t, name, 0, &ref[0], &err) == 0
       && bk_table_read_pool(v, ref[0], &p) == BK_TABLE_OK
       && strcmp(p.name, name) == 0, "the longest name");

    name[BK_TABLE_POOL_LEN - 1] = 'x';
    name[BK_TABLE_POOL_LEN] = '\0';
    ok(bk_table_pool_put(t, name, 0, &ref[0], &err) == -1 && err.code == 400,
       "a longer one is refused");
    ok(bk_table_pool_put(t, "", 0, &ref[0], &err) == -1 && err.code == 400,
       "an empty one is refused");
}


static void
tt_workers(bk_table_t *t, const bk_table_view_t *v)
{
    int                     i, n;
    char                    name[16];
    bk_err_t                err;
    uint64_t                revision;
    bk_table_ref_t          ref[4], old;
    bk_table_worker_data_t  w, got;

    for (i = 0; i < 4; i++) {
        ref[i].index = BK_TABLE_NONE;
        ref[i].gen = 0;
        snprintf(name, sizeof(name), "w%d", i);
        tt_worker(&w, name, BK_WORKER_READY, 1234 + i);
        ok(bk_table_worker_put(t, &w, &ref[i], &err) == 0
           && bk_table_read_worker(v, ref[i], &got) == BK_TABLE_OK
           && strcmp(got.name, name) == 0 && got.port == 1234 + i
           && got.addr[0] == 127 && got.gen == ref[i].gen, "worker %s", name);
    }

    old.index = BK_TABLE_NONE;
    old.gen = 0;
    tt_worker(&w, "w4", BK_WORKER_READY, 1);
    ok(bk_table_worker_put(t, &w, &old, &err) == -1 && err.code == 503
       && strcmp(err.reason, "TableFull") == 0, "one too many: 503");

    revision = bk_table_revision(v);
    tt_worker(&w, "w0", BK_WORKER_READY, 1234);
    memset(w.name + 3, 'j', 20);
    ok(bk_table_worker_put(t, &w, &ref[0], &err) == 0
       && bk_table_revision(v) == revision,
       "an update that changes nothing, bytes after the name aside");

    tt_worker(&w, "w0", BK_WORKER_FAILED, 0);
    w.message_len = (uint16_t) snprintf(w.message, sizeof(w.message), "gone");
    ok(bk_table_worker_put(t, &w, &ref[0], &err) == 0
       && bk_table_revision(v) == revision + 1
       && bk_table_read_worker(v, ref[0], &got) == BK_TABLE_OK
       && got.state == BK_WORKER_FAILED && strcmp(got.message, "gone") == 0,
       "an update in place");

    w.family = 0;
    ok(bk_table_worker_put(t, &w, &ref[0], &err) == 0
       && bk_table_read_worker(v, ref[0], &got) == BK_TABLE_OK,
       "without an address the family may be open");

    n = 0;
    bk_table_worker_each(t, tt_count_worker, &n);
    ok(n == 4, "each: four");

    old = ref[2];
    bk_table_worker_delete(t, ref[2]);
    ok(bk_table_read_worker(v, old, &got) == BK_TABLE_MISS,
       "deleted: its reference is stale");

    for (i = 0; i < 1000; i++) {
        ref[2].index = BK_TABLE_NONE;
        tt_worker(&w, "again", BK_WORKER_READY, 99);

        if (bk_table_worker_put(t, &w, &ref[2], &err) != 0
            || bk_table_read_worker(v, old, &got) != BK_TABLE_MISS)
        {
            break;
        }

        bk_table_worker_delete(t, ref[2]);
    }

    ok(i == 1000, "and stays so while its slot is used a thousand times");
}


/* What a reader would call corrupt is never stored. */
static void
tt_refused(bk_table_t *t)
{
    size_t                  i;
    bk_err_t                err;
    bk_table_ref_t          ref;
    bk_table_worker_data_t  w[9];

    static const char *why[] = {
        "no state", "a state that is none", "no name", "a name too long",
        "a TLS name too long", "a message too long",
        "an architecture too long", "ready without a port",
        "an unknown address family"
    };

    for (i = 0; i < 9; i++) {
        tt_worker(&w[i], "x", BK_WORKER_READY, 80);
    }

    w[0].state = BK_WORKER_FREE;
    w[1].state = BK_WORKER_STATES;
    w[2].name_len = 0;
    w[3].name_len = BK_TABLE_NAME_LEN;
    w[4].tls_name_len = BK_TABLE_TLS_NAME_LEN;
    w[5].message_len = BK_TABLE_MESSAGE_LEN;
    w[6].arch_len = BK_TABLE_ARCH_LEN;
    w[7].port = 0;
    w[8].family = 10;

    for (i = 0; i < 9; i++) {
        ref.index = BK_TABLE_NONE;
        ok(bk_table_worker_put(t, &w[i], &ref, &err) == -1 && err.code == 400,
           "refused: %s", why[i]);
    }
}


static int
tt_count_pool(bk_table_ref_t ref, const bk_table_pool_data_t *pool,
    void *data)
{
    (void) ref;
    *(int *) data += pool->name_len > 0;

    return 0;
}


static int
tt_count_worker(bk_table_ref_t ref, const bk_table_worker_data_t *worker,
    void *data)
{
    (void) ref;
    *(int *) data += worker->name_len > 0;

    return 0;
}
