/* The allocator's journal as its callers see it.  Prints TAP. */

#include <pthread.h>
#include <sqlite3.h>

#include "journal_test.h"


static int            done, failed, order, expected;
static char           reason[48];
static bk_journal_t  *j;


static void
count(void *data, const bk_err_t *err)
{
    (void) data;
    done++;

    if (err != NULL) {
        failed++;
        (void) snprintf(reason, sizeof(reason), "%s", err->reason);
    }
}


static void
in_order(void *data, const bk_err_t *err)
{
    order += (int) (intptr_t) data != expected++;
    count(data, err);
}


static int
settle(int n)
{
    int  good;

    good = until(&done, n);
    done = 0;

    return good;
}


/* What the journal says of the n-th; NULL: it does not know it. */

static const bk_row_t *
found(unsigned n)
{
    bk_err_t         err;
    static bk_row_t  r;

    return bk_journal_find(j, row(n)->hash, &r, &err) == 1 ? &r : NULL;
}


static void
test_row(void)
{
    bk_row_t         in;
    const bk_row_t  *out;

    in = *row(1);
    memset(in.worker, 0, sizeof(in.worker));
    in.state = BK_ALLOC_QUEUED;
    (void) snprintf(in.job_id, sizeof(in.job_id), "job");
    (void) snprintf(in.client, sizeof(in.client), "127.0.0.1:1");
    (void) snprintf(in.cache_key, sizeof(in.cache_key), "octo/app");
    (void) snprintf(in.arch, sizeof(in.arch), "arm64");
    (void) snprintf(in.idempotency, sizeof(in.idempotency), "key");
    in.concurrency = 20;
    in.priority = -5;
    in.untrusted = 1;
    in.answered = 0;
    in.max_ttl_ms = 7200000;
    in.metadata = "{\"a\":1}";

    bk_journal_insert(j, &in, count, NULL);
    ok(found(1) == NULL && done == 0, "nothing happens within the call");
    ok(settle(1) && failed == 0, "done");

    in.metadata = NULL;
    out = found(1);
    ok(out != NULL && memcmp(&in, out, sizeof(in)) == 0,
       "the row is as it was, queued");
    ok(found(2) == NULL, "another one is not known");
}


static int
keep_last(const bk_row_t *r, void *data)
{
    *(bk_row_t *) data = *r;
    return 0;
}


static void
test_order(void)
{
    int                 i;
    bk_err_t            err;
    bk_row_t            last;
    bk_journal_stats_t  before, after;

    bk_journal_stats(j, &before);

    for (i = 0; i < 5000; i++) {
        bk_journal_insert(j, row(100 + (unsigned) i), in_order,
                          (void *) (intptr_t) i);
    }

    bk_journal_stats(j, &after);
    ok(after.waiting == 5000, "5000 changes wait");

    ok(settle(5000) && failed == 0, "5000 changes");
    ok(order == 0, "in the order of the calls");

    bk_journal_stats(j, &after);
    ok(after.changes - before.changes == 5000 && after.waiting == 0,
       "all are counted");
    ok(after.batches - before.batches == 3, "as three transactions");

    ok(bk_journal_each(j, UINT64_MAX >> 1, 1, keep_last, &last, &err) == 0
       && memcmp(last.hash, row(5099)->hash, sizeof(last.hash)) == 0,
       "read in the order of their making");
}


static int
remember(const bk_history_t *h, void *data)
{
    strcat(data, h->what);
    strcat(data, "(");
    strcat(data, h->text);
    strcat(data, ") ");
    return 0;
}


static void
test_life(void)
{
    char             text[1024] = "";
    bk_err_t         err;
    uint8_t          key[91];
    const bk_row_t  *r;

    memset(key, 'n', sizeof(key));

    bk_journal_place(j, row(1)->hash, "w7", 3000000, 1000500, count, NULL);
    bk_journal_answered(j, row(1)->hash, count, NULL);
    bk_journal_extend(j, row(1)->hash, 4000000, 1000600, count, NULL);
    bk_journal_note(j, row(1)->hash, "watched", "octo", "by hand", 1000700);
    bk_journal_note(j, row(9)->hash, "watched", "octo", "is not", 1000700);
    bk_journal_sync(j, count, NULL);
    ok(settle(4) && failed == 0, "placed, answered, renewed");

    r = found(1);
    ok(r != NULL && r->state == BK_ALLOC_READY && r->answered
       && strcmp(r->worker, "w7") == 0 && r->expires_ms == 4000000,
       "the row says so");

    bk_journal_rekey(j, row(1)->hash, key, sizeof(key), count, NULL);
    ok(settle(1) && memcmp(found(1)->spki, key, sizeof(key)) == 0,
       "it has another key");

    bk_journal_end(j, row(1)->hash, BK_ALLOC_REVOKED, "leaked", 9000000000000,
                   count, NULL);
    bk_journal_end(j, row(1)->hash, BK_ALLOC_RELEASED, "", 9000000000001,
                   count, NULL);
    bk_journal_extend(j, row(1)->hash, 5000000, 9000000000002, count, NULL);
    ok(settle(3) && failed == 0, "ended, twice");

    r = found(1);
    ok(r->state == BK_ALLOC_REVOKED && strcmp(r->reason, "leaked") == 0
       && r->changed_ms == 9000000000000 && r->expires_ms == 4000000,
       "the first end counts, and nothing after it");

    (void) bk_journal_history(j, row(1)->hash, remember, text, &err);
    ok(strcmp(text, "made(in the queue of default/demo, by rule main) "
              "placed(w7) renewed(until 1970-01-01T01:06:40Z) "
              "watched(by hand) rekeyed(answered again, with a new key) "
              "revoked(leaked) ") == 0, "its history");
    printf("# %s\n", text);

    text[0] = '\0';
    (void) bk_journal_history(j, row(9)->hash, remember, text, &err);
    ok(text[0] == '\0', "what is not known has none");
}


static void
again(void *data, const bk_err_t *err)
{
    bk_journal_insert(j, row((unsigned) (intptr_t) data), count, NULL);
    count(data, err);
}


static void
test_conflict(void)
{
    bk_journal_insert(j, row(6000), count, NULL);
    bk_journal_insert(j, row(100), count, NULL);
    bk_journal_insert(j, row(6001), count, NULL);
    ok(settle(3) && failed == 1 && strcmp(reason, "JournalConflict") == 0,
       "one that exists is refused");
    ok(found(6000) != NULL && found(6001) != NULL, "alone");
    failed = 0;

    bk_journal_insert(j, row(6002), again, (void *) 8000);
    ok(settle(2) && found(8000) != NULL, "done() may ask for more");
}


static void
note_worker(const char *pool, const char *worker, int untrusted, void *data)
{
    sprintf((char *) data + strlen(data), "%s/%s:%d ", pool, worker,
            untrusted);
}


static void
note_drain(const char *pool, const char *worker, const char *why,
    uint64_t since_ms, void *data)
{
    sprintf((char *) data + strlen(data), "%s/%s:%s:%d ", pool, worker, why,
            (int) since_ms);
}


static void
test_workers(void)
{
    char      text[256] = "";
    bk_err_t  err;

    bk_journal_trust(j, "p", "a", 1, NULL, NULL);
    bk_journal_trust(j, "p", "b", 0, NULL, NULL);
    bk_journal_trust(j, "p", "a", 0, NULL, NULL);
    bk_journal_drain(j, "p", "a", "old", 5, NULL, NULL);
    bk_journal_drain(j, "p", "a", "disk", 6, NULL, NULL);
    bk_journal_drain(j, "p", "c", "", 7, NULL, NULL);
    bk_journal_undrain(j, "p", "c", NULL, NULL);
    bk_journal_sync(j, count, NULL);
    ok(settle(1), "workers");

    ok(bk_journal_trusted(j, note_worker, text, &err) == 0
       && strcmp(text, "p/a:1 p/b:0 ") == 0,
       "whose a worker is stays for good");

    text[0] = '\0';
    ok(bk_journal_drained(j, note_drain, text, &err) == 0
       && strcmp(text, "p/a:disk:5 ") == 0, "drained workers");
}


static void
test_disk(void)
{
    disk_set(DISK_FULL);
    bk_journal_end(j, row(100)->hash, BK_ALLOC_RELEASED, "", 1, count, NULL);
    bk_journal_insert(j, row(7000), count, NULL);
    ok(settle(2) && failed == 2
       && strcmp(reason, "JournalUnwritable") == 0,
       "no space: all of the transaction fails");
    ok(found(7000) == NULL && found(100)->state == BK_ALLOC_READY,
       "and nothing of it is there");

    bk_journal_end(j, row(100)->hash, BK_ALLOC_RELEASED, "", 1, NULL, NULL);
    bk_journal_sync(j, count, NULL);
    (void) settle(1);
    ok(strstr(logged, "1 change not written") != NULL,
       "what nobody waits for is logged");

    failed = 0;
    disk_set(DISK_GOOD);
    bk_journal_insert(j, row(7000), count, NULL);
    ok(settle(1) && failed == 0 && found(7000) != NULL,
       "space again: the next one works");

    disk_set(DISK_BROKEN);
    bk_journal_insert(j, row(7001), count, NULL);
    ok(settle(1) && failed == 1 && found(7001) == NULL,
       "it cannot be synced: not written");
    disk_set(DISK_GOOD);
    failed = 0;
    bk_journal_insert(j, row(7001), count, NULL);
    ok(settle(1) && failed == 0 && found(7001) != NULL, "and then it is");
}


static void
test_bounded(void)
{
    int       i;
    char      metadata[8000];
    bk_row_t  r;

    memset(metadata, 'm', sizeof(metadata) - 1);
    metadata[sizeof(metadata) - 1] = '\0';
    expected = order = 0;

    for (i = 0; i < 3000; i++) {
        r = *row(20000 + (unsigned) i);
        r.metadata = metadata;
        bk_journal_insert(j, &r, in_order, (void *) (intptr_t) i);
    }

    ok(settle(3000) && failed > 500 && failed < 1500
       && strcmp(reason, "JournalBusy") == 0,
       "what waits has a limit, and the rest is refused");
    ok(order == 0, "in its turn");
    failed = 0;
}


static void
test_prune(void)
{
    unsigned  i;

    for (i = 0; i < 500; i++) {
        bk_journal_end(j, row(100 + i)->hash, BK_ALLOC_EXPIRED, "",
                       i < 450 ? 10 : 20, NULL, NULL);
    }

    bk_journal_sync(j, count, NULL);
    (void) settle(1);
    bk_journal_prune(j, 20);

    for (i = 0; i < 10000 && found(549) != NULL; i++) {
        bk_journal_sync(j, count, NULL);
        (void) settle(1);
    }

    ok(found(100) == NULL && found(549) == NULL, "old ones are forgotten");
    ok(found(550) != NULL && found(600) != NULL,
       "newer and live ones are not");
}


static void
test_close(void)
{
    bk_journal_insert(j, row(30000), again, (void *) 30001);
    bk_journal_close(&j);
    ok(done == 2 && failed == 0, "what was asked for is done when it closes");
    done = 0;

    j = opened();
    ok(j != NULL && found(30000) != NULL && found(30001) != NULL,
       "and there when it opens");
    bk_journal_close(&j);
}


static void *
let_go(void *data)
{
    const struct timespec  ts = { 0, 300000000 };

    (void) nanosleep(&ts, NULL);
    (void) sqlite3_close(data);

    return NULL;
}


/* for a moment, as it is read or copied */

static void
test_other(void)
{
    char        path[128];
    sqlite3    *db;
    pthread_t   thread;

    (void) snprintf(path, sizeof(path), "%s/journal.db", dir);

    ok(sqlite3_open(path, &db) == SQLITE_OK
       && sqlite3_exec(db, "PRAGMA locking_mode = EXCLUSIVE;"
                           "BEGIN EXCLUSIVE; PRAGMA user_version", NULL, NULL,
                       NULL)
          == SQLITE_OK
       && pthread_create(&thread, NULL, let_go, db) == 0,
       "another program has it");

    j = opened();
    ok(j != NULL && found(30000) != NULL, "and is waited for");
    (void) pthread_join(thread, NULL);
    bk_journal_close(&j);
}


int
main(void)
{
    folder();
    host_start();

    j = opened();
    ok(j != NULL, "a new journal");

    test_row();
    test_order();
    test_life();
    test_conflict();
    test_workers();
    test_disk();
    test_bounded();
    test_prune();
    test_close();
    test_other();

    host_end();
    folder_remove();
    printf("1..%d\n", checks);

    return bad != 0;
}
