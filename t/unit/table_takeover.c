/*
 * A restarted writer: takes the same table over, or copies it to another
 * size, and readers lose nothing; a second writer is refused and the lock
 * dies with its holder.  Prints TAP.
 */

#include <signal.h>
#include <sys/wait.h>

#include "table_test.h"


typedef struct {
    uint32_t  n;
    uint32_t  good;
} tt_seen_t;


static void tt_same(void);
static void tt_other(void);
static void tt_too_small(void);
static void tt_died_exchanged(void);
static void tt_lock(void);
static void tt_fill(bk_table_t *t, bk_table_ref_t *pool, bk_table_ref_t *w);
static int tt_all(const bk_table_view_t *v);
static int tt_see(uint32_t index, const uint8_t *key,
    const uint8_t *key_hash, const bk_table_alloc_t *alloc,
    const char *reason, void *data);


int
main(void)
{
    tt_begin();

    tt_same();
    tt_remove();
    tt_other();
    tt_remove();
    tt_too_small();
    tt_remove();
    tt_died_exchanged();
    tt_remove();
    tt_lock();

    return tt_end();
}


static void
tt_same(void)
{
    bk_err_t                err;
    uint64_t                generation, revision;
    bk_table_t             *t;
    tt_seen_t               seen;
    bk_table_ref_t          pool, w;
    bk_table_view_t         v;
    bk_table_stats_t        s;
    bk_table_opened_t       opened;
    bk_table_pool_data_t    p;
    bk_table_worker_data_t  data;

    t = tt_new(100, 4, 2);
    bk_table_close(&t);
    t = tt_new(100, 4, 2);
    ok(tt_map(&v) == NULL && bk_table_state(&v) == BK_TABLE_BUILDING,
       "a table whose writer died while building is still being built");

    tt_fill(t, &pool, &w);
    bk_table_live(t);
    generation = v.header->generation;
    revision = bk_table_revision(&v);
    bk_table_close(&t);

    ok(tt_open(&t, 100, 4, 2, &opened, &err) == 0 && opened.taken_over == 1
       && opened.repaired == 0 && opened.replaced == NULL,
       "a live one is taken over, nothing to repair");
    ok(bk_table_state(&v) == BK_TABLE_LIVE && tt_all(&v),
       "the reader's mapping stays good");
    ok(v.header->generation == generation + 1
       && bk_table_revision(&v) > revision,
       "and it is told that the writer is another");
    ok(bk_table_read_pool(&v, pool, &p) == BK_TABLE_OK
       && bk_table_read_worker(&v, w, &data) == BK_TABLE_OK,
       "references stay good");

    memset(&seen, 0, sizeof(tt_seen_t));
    bk_table_alloc_each(t, tt_see, &seen);
    ok(seen.n == 60 && seen.good == 60,
       "the new writer knows them all, with reasons and keys");

    bk_table_stats(t, &s);
    ok(s.entries_used == 60 && s.entries_ended == 20 && s.texts_used == 2
       && s.workers_used == 1 && s.pools_used == 1, "and counts right");

    for (seen.n = 0; seen.n < 40; seen.n++) {
        if (tt_insert(t, 500 + seen.n, BK_ALLOC_READY, "worker died", &err)
            == BK_TABLE_NONE)
        {
            break;
        }
    }

    bk_table_stats(t, &s);
    ok(seen.n == 40 && s.texts_used == 2
       && tt_insert(t, 999, BK_ALLOC_READY, NULL, &err) == BK_TABLE_NONE,
       "it fills what was free, and no more");

    bk_table_close(&t);
    tt_unmap(&v);
}


static void
tt_other(void)
{
    bk_err_t                err;
    uint64_t                revision;
    bk_table_t             *t;
    tt_seen_t               seen;
    bk_table_ref_t          pool, w;
    bk_table_view_t         old, v;
    bk_table_opened_t       opened;
    bk_table_found_t        f;
    bk_table_pool_data_t    p;
    bk_table_worker_data_t  data;

    t = tt_new(100, 4, 2);
    (void) tt_map(&old);
    tt_fill(t, &pool, &w);
    bk_table_live(t);
    revision = bk_table_revision(&old);
    bk_table_close(&t);

    ok(tt_open(&t, 70, 9, 3, &opened, &err) == 0 && opened.taken_over == 2
       && opened.repaired == 0 && opened.replaced == NULL,
       "another geometry: copied");
    ok(bk_table_state(&old) == BK_TABLE_RETIRED,
       "readers of the old file are told");
    ok(tt_all(&old), "and find everything there until they have changed");
    ok(tt_map(&v) == NULL && bk_table_state(&v) == BK_TABLE_LIVE
       && v.nentries == 70 && v.nworkers == 9 && tt_all(&v),
       "the new file is live and has it all");
    ok(bk_table_revision(&v) > revision
       && v.header->generation == old.header->generation + 1,
       "revision and generation go on");

    ok(bk_table_lookup(&v, tt_key(1), &f) == BK_TABLE_OK
       && bk_table_read_worker(&v, f.alloc.worker, &data) == BK_TABLE_OK
       && strcmp(data.name, "w1") == 0
       && bk_table_read_pool(&v, f.alloc.pool, &p) == BK_TABLE_OK
       && strcmp(p.name, "default/p") == 0
       && memcmp(&data.pool, &f.alloc.pool, sizeof(data.pool)) == 0,
       "references lead to the same pool and worker");

    memset(&seen, 0, sizeof(tt_seen_t));
    bk_table_alloc_each(t, tt_see, &seen);
    ok(seen.n == 60 && seen.good == 60, "the writer knows them all");

    bk_table_close(&t);
    tt_unmap(&v);

    ok(tt_open(&t, 45, 4, 2, &opened, &err) == 0 && opened.taken_over == 2,
       "a smaller one that holds what is live");
    memset(&seen, 0, sizeof(tt_seen_t));
    bk_table_alloc_each(t, tt_see, &seen);
    ok(seen.n == 45 && seen.good == 45,
       "ended ones come along while there is room");

    bk_table_close(&t);
    tt_unmap(&old);
    ok(access(tt_file(".new"), F_OK) == -1, "no half-made file is left");
}


static void
tt_too_small(void)
{
    bk_err_t           err;
    bk_table_t        *t;
    bk_table_ref_t     pool, w;
    bk_table_view_t    v;
    bk_table_opened_t  opened;

    t = tt_new(100, 4, 2);
    (void) tt_map(&v);
    tt_fill(t, &pool, &w);
    bk_table_live(t);
    bk_table_close(&t);

    ok(tt_open(&t, 39, 4, 2, &opened, &err) == -1 && err.code == 503
       && err.hint[0] != '\0', "too small for what is live: an error");
    ok(t == NULL && bk_table_state(&v) == BK_TABLE_LIVE && tt_all(&v)
       && access(tt_file(".new"), F_OK) == -1,
       "and the old table is as it was");

    tt_unmap(&v);
}


/* Killed between putting the new file in place and retiring the old one. */
static void
tt_died_exchanged(void)
{
    int                fd;
    char               name[320];
    bk_err_t           err;
    uint64_t           state = BK_TABLE_RETIRED;
    bk_table_t        *t;
    bk_table_ref_t     pool, w;
    bk_table_view_t    old;
    bk_table_opened_t  opened;

    t = tt_new(100, 4, 2);
    (void) tt_map(&old);
    bk_table_live(t);
    bk_table_close(&t);

    snprintf(name, sizeof(name), "%s", tt_file(".new"));
    rename(tt_path, name);

    t = tt_new(60, 4, 2);
    ok(bk_table_state(&old) == BK_TABLE_RETIRED
       && access(name, F_OK) == -1,
       "an old file under the new one's name is retired and removed");

    tt_fill(t, &pool, &w);
    bk_table_live(t);
    bk_table_close(&t);
    tt_unmap(&old);

    /* a retired table in place: somebody put it back */

    (void) tt_map(&old);
    fd = open(tt_path, O_RDWR);
    ok(pwrite(fd, &state, 8, offsetof(bk_table_header_t, state)) == 8,
       "a retired table in place");
    close(fd);

    ok(tt_open(&t, 60, 4, 2, &opened, &err) == 0 && opened.taken_over == 1
       && bk_table_state(&old) == BK_TABLE_LIVE && tt_all(&old),
       "is taken over and live again");

    bk_table_close(&t);
    tt_unmap(&old);
}


static void
tt_lock(void)
{
    int                fd[2];
    char               c, pid_text[32];
    pid_t              pid;
    bk_err_t           err;
    bk_table_t        *t;
    bk_table_view_t    v;
    bk_table_opened_t  opened;

    if (pipe(fd) == -1) {
        abort();
    }

    pid = fork();

    if (pid == 0) {
        t = tt_new(10, 1, 1);
        (void) tt_insert(t, 1, BK_ALLOC_READY, NULL, &err);
        bk_table_live(t);
        c = 'x';

        if (write(fd[1], &c, 1) != 1) {
            _exit(1);
        }

        for ( ;; ) {
            pause();
        }
    }

    ok(read(fd[0], &c, 1) == 1, "another process writes");

    snprintf(pid_text, sizeof(pid_text), "process %ld", (long) pid);
    ok(tt_open(&t, 10, 1, 1, &opened, &err) == -1 && err.code == 409
       && strcmp(err.reason, "TableLocked") == 0
       && strstr(err.text, pid_text) != NULL && t == NULL,
       "a second writer is refused and told who has it");
    ok(tt_open(&t, 20, 1, 1, &opened, &err) == -1 && err.code == 409,
       "with another geometry too");
    (void) tt_map(&v);
    ok(tt_state(&v, 1) == BK_ALLOC_READY
       && bk_table_state(&v) == BK_TABLE_LIVE, "and the table is untouched");

    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);

    ok(tt_open(&t, 10, 1, 1, &opened, &err) == 0 && opened.taken_over == 1,
       "the lock dies with its holder (kill -9)");
    ok(tt_state(&v, 1) == BK_ALLOC_READY, "and the route lives on");

    bk_table_close(&t);
    tt_unmap(&v);
    close(fd[0]);
    close(fd[1]);

    unlink(tt_file(".lock"));
    ok(symlink("elsewhere", tt_file(".lock")) == 0
       && tt_open(&t, 10, 1, 1, &opened, &err) == -1
       && strstr(err.text, "symbolic link") != NULL,
       "a lock that is a symbolic link is refused");
}


/* 40 live ones and 20 ended; every second one bound to a key. */
static void
tt_fill(bk_table_t *t, bk_table_ref_t *pool, bk_table_ref_t *w)
{
    uint8_t                 key_hash[BK_TABLE_HASH_LEN];
    bk_err_t                err;
    uint32_t                i, index;
    bk_table_alloc_t        a;
    bk_table_worker_data_t  data;

    pool->index = BK_TABLE_NONE;
    w->index = BK_TABLE_NONE;
    bk_table_pool_put(t, "default/p", 0, pool, &err);
    tt_worker(&data, "w1", BK_WORKER_READY, 1234);
    data.pool = *pool;
    bk_table_worker_put(t, &data, w, &err);

    memset(key_hash, 7, sizeof(key_hash));

    for (i = 0; i < 60; i++) {
        a = tt_alloc(i < 40 ? BK_ALLOC_READY : BK_ALLOC_FAILED, i);
        a.pool = *pool;
        a.worker = *w;
        bk_table_alloc_insert(t, tt_key(i), i & 1 ? key_hash : NULL, &a,
                              i < 40 ? NULL
                                     : i < 50 ? "worker died" : "lost",
                              &index, &err);
    }
}


/* Whether a reader finds what tt_fill() put. */
static int
tt_all(const bk_table_view_t *v)
{
    uint32_t          i;
    bk_table_found_t  f;

    for (i = 0; i < 60; i++) {
        if (bk_table_lookup(v, tt_key(i), &f) != BK_TABLE_OK
            || f.alloc.state != (i < 40 ? BK_ALLOC_READY : BK_ALLOC_FAILED)
            || f.alloc.expires_ms != 1000 + i
            || f.alloc.flags != (i & 1 ? BK_ALLOC_KEY_BOUND : 0)
            || f.key_hash[5] != (i & 1 ? 7 : 0)
            || strcmp(tt_reason(v, i), i < 40 ? ""
                      : i < 50 ? "worker died" : "lost") != 0)
        {
            note("entry %u", i);
            return 0;
        }
    }

    return 1;
}


static int
tt_see(uint32_t index, const uint8_t *key, const uint8_t *key_hash,
    const bk_table_alloc_t *alloc, const char *reason, void *data)
{
    uint64_t    n;
    tt_seen_t  *seen = data;

    (void) index;

    n = alloc->expires_ms - 1000;
    seen->n++;
    seen->good += n < 60
                  && memcmp(key, tt_key(n), BK_TABLE_HASH_LEN) == 0
                  && (key_hash != NULL) == (n & 1)
                  && (alloc->state == BK_ALLOC_READY) == (n < 40)
                  && (n < 40 ? reason == NULL
                      : strcmp(reason, n < 50 ? "worker died" : "lost") == 0);

    return 0;
}
