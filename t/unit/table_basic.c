/*
 * One allocation's life in the route table: found when inserted, changed,
 * ended with its reason, gone when removed; what the counters and the file
 * say meanwhile.  Prints TAP.
 */

#include "table_test.h"


static uint64_t tt_additions(const bk_table_view_t *v);
static void tt_life(bk_table_t *t, const bk_table_view_t *v);
static void tt_binding(bk_table_t *t, const bk_table_view_t *v);
static void tt_geometry(void);
static void tt_trim(void);
static unsigned long tt_rss(void);


int
main(void)
{
    bk_err_t                  err;
    bk_table_t               *t;
    struct stat               st;
    bk_table_view_t           v;
    bk_table_opened_t         opened;
    const bk_table_header_t  *h;

    tt_begin();
    umask(077);

    ok(tt_open(&t, 100, 10, 5, &opened, &err) == 0
       && opened.taken_over == 0 && opened.replaced == NULL
       && opened.repaired == 0, "a new table");

    ok(tt_map(&v) == NULL, "a reader accepts it");
    ok(stat(tt_path, &st) == 0 && (st.st_mode & 07777) == 0640,
       "its mode is 0640 whatever the umask");
    ok((uint64_t) st.st_blocks * 512 >= (uint64_t) st.st_size,
       "all of its room is reserved");
    ok(bk_table_state(&v) == BK_TABLE_BUILDING, "it is being built");

    bk_table_live(t);
    ok(bk_table_state(&v) == BK_TABLE_LIVE, "then it is live");

    h = v.header;
    ok(h->writer_pid == (uint64_t) getpid() && h->generation == 1
       && h->writer_start_ms != 0, "it says who writes");

    bk_table_heartbeat(t, 12345);
    ok(h->heartbeat_ms == 12345, "heartbeat");

    tt_life(t, &v);
    tt_binding(t, &v);

    bk_table_close(&t);
    ok(t == NULL && access(tt_path, F_OK) == 0
       && bk_table_state(&v) == BK_TABLE_LIVE,
       "closing leaves the file, live");
    bk_table_close(&t);
    tt_unmap(&v);

    tt_geometry();
    tt_trim();

    return tt_end();
}


static void
tt_life(bk_table_t *t, const bk_table_view_t *v)
{
    bk_err_t                  err;
    uint32_t                  i, index;
    uint64_t                  additions, revision;
    bk_table_alloc_t          a;
    bk_table_found_t          f;
    bk_table_stats_t          s;
    const bk_table_header_t  *h = v->header;

    ok(tt_state(v, 1) == BK_TABLE_MISS, "an unknown key is a miss");

    revision = bk_table_revision(v);
    additions = tt_additions(v);
    index = tt_insert(t, 1, BK_ALLOC_STARTING, NULL, &err);

    ok(index != BK_TABLE_NONE, "insert");
    ok(bk_table_lookup(v, tt_key(1), &f) == BK_TABLE_OK && f.index == index
       && f.alloc.state == BK_ALLOC_STARTING && f.alloc.expires_ms == 1001
       && f.alloc.changed_ms == 2001, "the reader finds it");
    ok(f.alloc.text.index == BK_TABLE_NONE && f.alloc.flags == 0,
       "without reason and binding");
    ok(tt_additions(v) == additions + 1
       && bk_table_revision(v) == revision,
       "an addition, not a change");
    ok(h->live == 1 && h->ended == 0, "one is live");

    ok(tt_insert(t, 1, BK_ALLOC_READY, NULL, &err) == BK_TABLE_NONE
       && err.code == 409 && strcmp(err.reason, "Exists") == 0,
       "the same key again: 409 Exists");
    ok(tt_state(v, 1) == BK_ALLOC_STARTING && h->live == 1,
       "and nothing changed");

    a = tt_alloc(BK_ALLOC_READY, 7);
    bk_table_alloc_update(t, index, &a, NULL);
    ok(bk_table_lookup(v, tt_key(1), &f) == BK_TABLE_OK && f.index == index
       && f.alloc.state == BK_ALLOC_READY && f.alloc.expires_ms == 1007,
       "update");
    ok(bk_table_revision(v) == revision + 1, "a change");

    bk_table_alloc_update(t, index, &a, NULL);
    bk_table_alloc_update(t, index, &a, "");
    ok(bk_table_revision(v) == revision + 1,
       "an update that changes nothing is no change");

    a.state = BK_ALLOC_REVOKED;
    bk_table_alloc_update(t, index, &a, "revoked by an operator");
    ok(tt_state(v, 1) == BK_ALLOC_REVOKED
       && strcmp(tt_reason(v, 1), "revoked by an operator") == 0,
       "ended, with its reason");
    ok(h->live == 0 && h->ended == 1, "one is ended");

    bk_table_stats(t, &s);
    ok(s.entries == 100 && s.entries_used == 1 && s.entries_ended == 1
       && s.texts_used == 1 && s.workers == 10 && s.pools == 5,
       "stats say so");

    revision = bk_table_revision(v);
    bk_table_alloc_remove(t, index);
    ok(tt_state(v, 1) == BK_TABLE_MISS, "removed: a miss");
    ok(bk_table_read_entry(v, index, &f) == BK_TABLE_OK
       && f.alloc.state == BK_ALLOC_FREE, "its entry is free");
    ok(bk_table_revision(v) == revision + 1, "a change");

    bk_table_stats(t, &s);
    ok(s.entries_used == 0 && s.texts_used == 0 && h->ended == 0,
       "nothing is in use");

    for (i = BK_ALLOC_QUEUED; i < BK_ALLOC_STATES; i++) {
        index = tt_insert(t, 100 + i, (int) i, NULL, &err);
        ok(tt_state(v, 100 + i) == (int) i, "state %u", i);
        bk_table_alloc_remove(t, index);
    }
}


/* The key of the client is the entry's, whatever happens to it. */
static void
tt_binding(bk_table_t *t, const bk_table_view_t *v)
{
    uint8_t           key_hash[BK_TABLE_HASH_LEN];
    bk_err_t          err;
    uint32_t          index;
    bk_table_alloc_t  a;
    bk_table_found_t  f;

    memset(key_hash, 0x5a, sizeof(key_hash));
    a = tt_alloc(BK_ALLOC_READY, 1);

    ok(bk_table_alloc_insert(t, tt_key(1), key_hash, &a, NULL, &index, &err)
       == 0 && bk_table_lookup(v, tt_key(1), &f) == BK_TABLE_OK
       && f.alloc.flags == BK_ALLOC_KEY_BOUND
       && memcmp(f.key_hash, key_hash, BK_TABLE_HASH_LEN) == 0,
       "bound to a key");

    a.flags = 0;
    a.state = BK_ALLOC_DRAINING;
    bk_table_alloc_update(t, index, &a, NULL);
    ok(bk_table_lookup(v, tt_key(1), &f) == BK_TABLE_OK
       && f.alloc.state == BK_ALLOC_DRAINING
       && f.alloc.flags == BK_ALLOC_KEY_BOUND
       && memcmp(f.key_hash, key_hash, BK_TABLE_HASH_LEN) == 0,
       "an update cannot loosen it");

    bk_table_alloc_remove(t, index);
    a.flags = BK_ALLOC_KEY_BOUND;

    ok(bk_table_alloc_insert(t, tt_key(2), NULL, &a, NULL, &index, &err) == 0
       && bk_table_lookup(v, tt_key(2), &f) == BK_TABLE_OK
       && f.index == index && f.alloc.flags == 0 && f.key_hash[0] == 0,
       "the next one in that entry is not bound");

    bk_table_alloc_remove(t, index);
}


static void
tt_geometry(void)
{
    size_t             i;
    bk_err_t           err;
    bk_table_t        *t;
    bk_table_opened_t  opened;

    static const uint32_t  bad[][3] = {
        { 0, 1, 1 }, { 1, 0, 1 }, { 1, 1, 0 },
        { BK_TABLE_MAX_ENTRIES + 1, 1, 1 }, { 1, BK_TABLE_MAX_WORKERS + 1, 1 },
        { 1, 1, BK_TABLE_MAX_POOLS + 1 }
    };

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ok(tt_open(&t, bad[i][0], bad[i][1], bad[i][2], &opened, &err) == -1
           && err.code == 400 && t == NULL, "geometry %u/%u/%u is refused",
           bad[i][0], bad[i][1], bad[i][2]);
    }

    tt_remove();
    t = tt_new(1, 1, 1);
    ok(tt_insert(t, 1, BK_ALLOC_READY, NULL, &err) == 0
       && tt_insert(t, 2, BK_ALLOC_READY, NULL, &err) == BK_TABLE_NONE
       && err.code == 503, "the smallest table holds one");
    bk_table_close(&t);
}


static uint64_t
tt_additions(const bk_table_view_t *v)
{
    return bk_table_load(&v->header->additions);
}


/* A process that has a big table, but uses little of it, is small. */
static void
tt_trim(void)
{
    bk_err_t         err;
    uint32_t         index;
    bk_table_t      *t;
    unsigned long    before;
    bk_table_view_t  v;

    t = tt_new(100000, 1000, 10);
    index = tt_insert(t, 11, BK_ALLOC_READY, NULL, &err);
    before = tt_rss();
    bk_table_trim(t);

    ok(before > 10 * 1024, "a new table was read once: %lu kB", before);
    ok(tt_rss() < 64, "given back: %lu kB are left", tt_rss());

    ok(tt_map(&v) == NULL && tt_state(&v, 11) == BK_ALLOC_READY,
       "nothing is lost");
    bk_table_alloc_remove(t, index);
    ok(tt_insert(t, 12, BK_ALLOC_READY, NULL, &err) == index
       && tt_state(&v, 11) == BK_TABLE_MISS
       && tt_state(&v, 12) == BK_ALLOC_READY, "and it is written as before");

    tt_unmap(&v);
    bk_table_close(&t);
}


/* What is mapped of the table here, in kB. */
static unsigned long
tt_rss(void)
{
    int            ours;
    char           line[512];
    FILE          *f;
    unsigned long  kb, sum;

    f = fopen("/proc/self/smaps", "r");
    if (f == NULL) {
        return 0;
    }

    ours = 0;
    sum = 0;

    while (fgets(line, sizeof(line), f) != NULL) {
        if (strchr(line, '-') != NULL && strchr(line, '-') < line + 17) {
            ours = strstr(line, tt_path) != NULL;

        } else if (ours && sscanf(line, "Rss: %lu kB", &kb) == 1) {
            sum += kb;
        }
    }

    fclose(f);

    return sum;
}
