/*
 * A writer that dies at any instruction.
 *
 * A child writes, one machine instruction at a time (ptrace).  Whenever the
 * table has changed we hold the child, which is what killing it there would
 * leave behind, and look: a reader must see every allocation, worker and pool
 * as it was before the call or as it is after it, nothing else; and a new
 * writer that takes a copy of the file over must find the same and must be
 * able to use every slot.  Prints TAP.
 */

#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "table_test.h"


#define TT_ENTRIES  8
#define TT_KEYS     14
#define TT_SLOTS    3
#define TT_FRAMES   4000


/* All that a reader can see. */
typedef struct {
    struct {
        int                      rc;
        bk_table_found_t         f;
        char                     text[BK_TABLE_TEXT_LEN];
    } key[TT_KEYS];

    struct {
        int                      rc;
        bk_table_worker_data_t   data;
    } worker[TT_SLOTS];

    struct {
        int                      rc;
        bk_table_pool_data_t     data;
    } pool[TT_SLOTS];
} tt_world_t;


typedef struct {
    const char  *what;
    void       (*run)(bk_table_t *t);
} tt_step_t;


static void tt_child(void);
static void tt_writes(pid_t pid, const tt_step_t *step,
    const bk_table_view_t *v);
static uint32_t tt_successor(const bk_table_view_t *v, tt_world_t *w);
static int tt_count(uint32_t index, const uint8_t *key,
    const uint8_t *key_hash, const bk_table_alloc_t *alloc,
    const char *reason, void *data);
static void tt_look(const bk_table_view_t *v, tt_world_t *w);
static int tt_between(const tt_world_t *w, const tt_world_t *before,
    const tt_world_t *after);
static int tt_texts(const bk_table_view_t *v, const bk_table_text_t *before);
static int tt_go(pid_t pid, enum __ptrace_request how);

static void tt_prepare(bk_table_t *t);
static void tt_insert_first(bk_table_t *t);
static void tt_renew(bk_table_t *t);
static void tt_fail(bk_table_t *t);
static void tt_revive(bk_table_t *t);
static void tt_remove_live(bk_table_t *t);
static void tt_remove_ended(bk_table_t *t);
static void tt_insert_reuse(bk_table_t *t);
static void tt_text_cycle(bk_table_t *t);
static void tt_text_reuse(bk_table_t *t);
static void tt_worker_change(bk_table_t *t);
static void tt_worker_new(bk_table_t *t);
static void tt_worker_gone(bk_table_t *t);
static void tt_worker_reuse(bk_table_t *t);
static void tt_pool_change(bk_table_t *t);
static void tt_pool_new(bk_table_t *t);
static void tt_pool_gone(bk_table_t *t);


static const tt_step_t  tt_steps[] = {
    { "insert", tt_insert_first },
    { "update", tt_renew },
    { "end with a reason", tt_fail },
    { "another reason", tt_revive },
    { "remove a live one", tt_remove_live },
    { "remove an ended one", tt_remove_ended },
    { "insert into a used entry", tt_insert_reuse },
    { NULL, tt_text_cycle },
    { "a reason in a used slot", tt_text_reuse },
    { "change a worker", tt_worker_change },
    { "a new worker", tt_worker_new },
    { "delete a worker", tt_worker_gone },
    { "a worker in a used slot", tt_worker_reuse },
    { "change a pool", tt_pool_change },
    { "a new pool", tt_pool_new },
    { "delete a pool", tt_pool_gone },
};

#define TT_STEPS  (sizeof(tt_steps) / sizeof(tt_steps[0]))


static bk_table_ref_t  tt_pool_ref, tt_worker_ref, tt_ref;
static uint32_t        tt_index[TT_KEYS];
static tt_world_t     *tt_frames;


int
main(void)
{
    pid_t             pid;
    size_t            i;
    bk_table_t       *t;
    bk_table_view_t   v;

    tt_begin();
    tt_frames = calloc(2 * TT_FRAMES, sizeof(tt_world_t));

    t = tt_new(TT_ENTRIES, TT_SLOTS, TT_SLOTS);
    tt_prepare(t);
    bk_table_live(t);
    bk_table_close(&t);

    if (tt_frames == NULL || tt_map(&v) != NULL) {
        abort();
    }

    pid = fork();

    if (pid == 0) {
        tt_child();
    }

    if (tt_go(pid, 0) != SIGSTOP) {
        ok(1, "ptrace is not allowed here # SKIP no ptrace");
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return tt_end();
    }

    for (i = 0; i < TT_STEPS; i++) {

        /* from stop to stop; the call is between the two */

        if (tt_steps[i].what == NULL) {
            (void) tt_go(pid, PTRACE_CONT);

        } else {
            tt_writes(pid, &tt_steps[i], &v);
        }
    }

    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    tt_unmap(&v);
    free(tt_frames);

    return tt_end();
}


/* Stops before the first call and after each. */
static void
tt_child(void)
{
    size_t       i;
    bk_table_t  *t;

    /* our parent may fail: do not stay behind, stopped */

    prctl(PR_SET_PDEATHSIG, SIGKILL);

    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == -1) {
        _exit(1);
    }

    t = tt_new(TT_ENTRIES, TT_SLOTS, TT_SLOTS);
    raise(SIGSTOP);

    for (i = 0; i < TT_STEPS; i++) {
        tt_steps[i].run(t);
        raise(SIGSTOP);
    }

    _exit(0);
}


static void
tt_writes(pid_t pid, const tt_step_t *step, const bk_table_view_t *v)
{
    int              sig;
    uint8_t         *first, *last;
    uint32_t         i, lost, mixed, n, room;
    uint64_t         instructions;
    tt_world_t      *after, *before;

    first = malloc(v->size);
    last = malloc(v->size);
    before = calloc(2, sizeof(tt_world_t));

    if (first == NULL || last == NULL || before == NULL) {
        abort();
    }

    after = before + 1;
    tt_look(v, before);
    memcpy(first, v->base, v->size);
    memcpy(last, v->base, v->size);

    instructions = 0;
    lost = 0;
    mixed = 0;
    n = 0;

    for ( ;; ) {
        sig = tt_go(pid, PTRACE_SINGLESTEP);

        if (sig != SIGTRAP) {
            break;
        }

        instructions++;

        if (memcmp(last, v->base, v->size) == 0) {
            continue;
        }

        memcpy(last, v->base, v->size);

        if (n == TT_FRAMES) {
            break;
        }

        tt_look(v, &tt_frames[2 * n]);
        room = tt_successor(v, &tt_frames[2 * n + 1]);
        lost += room != TT_ENTRIES;
        mixed += !tt_texts(v, (const void *) (first
                                              + v->header->texts_offset));
        n++;
    }

    tt_look(v, after);

    ok(sig == SIGSTOP && n > 0 && n < TT_FRAMES,
       "%s: %llu instructions, %u stores", step->what,
       (unsigned long long) instructions, n);

    for (i = 0; i < n; i++) {
        if (!tt_between(&tt_frames[2 * i], before, after)) {
            break;
        }
    }

    ok(i == n, "%s: a reader sees old or new after each", step->what);

    for (i = 0; i < n; i++) {
        if (!tt_between(&tt_frames[2 * i + 1], before, after)) {
            break;
        }
    }

    ok(i == n, "%s: so does the next writer", step->what);
    ok(lost == 0, "%s: which loses no slot", step->what);
    ok(mixed == 0, "%s: no old reference leads to new words", step->what);

    free(first);
    free(last);
    free(before);
}


/*
 * Takes a copy over.  Returns the number of entries that are used or can be,
 * which is all of them.
 */
static uint32_t
tt_successor(const bk_table_view_t *v, tt_world_t *w)
{
    int                fd;
    char               path[sizeof(tt_path)];
    uint32_t           n;
    bk_err_t           err;
    bk_table_t        *t;
    bk_table_view_t    copy;
    bk_table_opened_t  opened;

    memcpy(path, tt_path, sizeof(path));
    snprintf(tt_path, sizeof(tt_path), "%s/copy", tt_dir);

    fd = open(tt_path, O_RDWR|O_CREAT|O_TRUNC, 0600);

    if (fd == -1 || write(fd, v->base, v->size) != (ssize_t) v->size) {
        abort();
    }

    close(fd);
    n = 0;

    if (tt_open(&t, TT_ENTRIES, TT_SLOTS, TT_SLOTS, &opened, &err) == 0
        && opened.taken_over == 1 && tt_map(&copy) == NULL)
    {
        tt_look(&copy, w);

        bk_table_alloc_each(t, tt_count, &n);

        while (tt_insert(t, 1000 + n, BK_ALLOC_READY, NULL, &err)
               != BK_TABLE_NONE)
        {
            n++;
        }

        tt_unmap(&copy);
        bk_table_close(&t);
    }

    tt_remove();
    memcpy(tt_path, path, sizeof(path));

    return n;
}


static int
tt_count(uint32_t index, const uint8_t *key, const uint8_t *key_hash,
    const bk_table_alloc_t *alloc, const char *reason, void *data)
{
    (void) index;
    (void) key;
    (void) key_hash;
    (void) alloc;
    (void) reason;

    ++*(uint32_t *) data;

    return 0;
}


static void
tt_look(const bk_table_view_t *v, tt_world_t *w)
{
    uint32_t        i;
    bk_table_ref_t  ref;

    memset(w, 0, sizeof(tt_world_t));

    for (i = 0; i < TT_KEYS; i++) {
        w->key[i].rc = bk_table_lookup(v, tt_key(i), &w->key[i].f);

        if (w->key[i].rc != BK_TABLE_OK) {
            memset(&w->key[i].f, 0, sizeof(bk_table_found_t));
            continue;
        }

        /* the words count, not where they are */

        (void) bk_table_read_text(v, w->key[i].f.alloc.text, w->key[i].text);
        memset(&w->key[i].f.alloc.text, 0, sizeof(bk_table_ref_t));
    }

    for (i = 0; i < TT_SLOTS; i++) {
        ref.index = i;
        ref.gen = v->workers[i].copy[v->workers[i].seq & 1].gen;
        w->worker[i].rc = bk_table_read_worker(v, ref, &w->worker[i].data);

        if (w->worker[i].rc != BK_TABLE_OK) {
            memset(&w->worker[i].data, 0, sizeof(w->worker[i].data));
        }

        ref.gen = v->pools[i].copy[v->pools[i].seq & 1].gen;
        w->pool[i].rc = bk_table_read_pool(v, ref, &w->pool[i].data);

        if (w->pool[i].rc != BK_TABLE_OK) {
            memset(&w->pool[i].data, 0, sizeof(w->pool[i].data));
        }
    }
}


#define tt_either(field)                                                     \
    (memcmp(&w->field, &before->field, sizeof(w->field)) == 0                \
     || memcmp(&w->field, &after->field, sizeof(w->field)) == 0)

/* Each thing is what it was or what it will be. */
static int
tt_between(const tt_world_t *w, const tt_world_t *before,
    const tt_world_t *after)
{
    uint32_t  i;

    for (i = 0; i < TT_KEYS; i++) {
        if (!tt_either(key[i])) {
            note("key %u: rc %d state %u \"%s\"", i, w->key[i].rc,
                 w->key[i].f.alloc.state, w->key[i].text);
            return 0;
        }
    }

    for (i = 0; i < TT_SLOTS; i++) {
        if (!tt_either(worker[i]) || !tt_either(pool[i])) {
            note("worker or pool %u", i);
            return 0;
        }
    }

    return 1;
}


/*
 * Who still has a reference to a text, whatever became of it, reads the words
 * of then or none.
 */
static int
tt_texts(const bk_table_view_t *v, const bk_table_text_t *before)
{
    int             rc;
    char            text[BK_TABLE_TEXT_LEN];
    uint32_t        i;
    bk_table_ref_t  ref;

    for (i = 0; i < v->ntexts; i++) {
        ref.index = i;
        ref.gen = (uint32_t) before[i].gen;

        if (ref.gen == 0) {
            continue;
        }

        rc = bk_table_read_text(v, ref, text);

        if (rc != BK_TABLE_MISS
            && (rc != BK_TABLE_OK || strcmp(text, before[i].text) != 0))
        {
            note("text %u: \"%s\" was \"%s\"", i, text, before[i].text);
            return 0;
        }
    }

    return 1;
}


/* Lets the child go on; returns the signal that it stopped with, or -1. */
static int
tt_go(pid_t pid, enum __ptrace_request how)
{
    int  status;

    if (how != 0 && ptrace(how, pid, NULL, NULL) == -1) {
        return -1;
    }

    if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status)) {
        return -1;
    }

    return WSTOPSIG(status);
}


/* Keys 1 to 6 and 2 of 3 texts, one worker, one pool. */
static void
tt_prepare(bk_table_t *t)
{
    bk_err_t                err;
    uint32_t                i;
    bk_table_worker_data_t  w;

    tt_pool_ref.index = BK_TABLE_NONE;
    tt_worker_ref.index = BK_TABLE_NONE;
    bk_table_pool_put(t, "default/demo", 0, &tt_pool_ref, &err);
    tt_worker(&w, "w1", BK_WORKER_READY, 1234);
    w.pool = tt_pool_ref;
    bk_table_worker_put(t, &w, &tt_worker_ref, &err);

    for (i = 1; i <= 6; i++) {
        tt_index[i] = tt_insert(t, i, i < 4 ? BK_ALLOC_READY
                                            : BK_ALLOC_EXPIRED,
                                i < 4 ? NULL : "its time was over", &err);
    }
}


static void
tt_insert_first(bk_table_t *t)
{
    bk_err_t          err;
    bk_table_alloc_t  a;

    a = tt_alloc(BK_ALLOC_STARTING, 10);
    a.pool = tt_pool_ref;
    a.worker = tt_worker_ref;
    bk_table_alloc_insert(t, tt_key(10), tt_key(99), &a, "waits for w1",
                          &tt_index[10], &err);
}


static void
tt_renew(bk_table_t *t)
{
    bk_table_alloc_t  a;

    a = tt_alloc(BK_ALLOC_READY, UINT64_C(0xfffffffffff));
    a.worker = tt_worker_ref;
    bk_table_alloc_update(t, tt_index[1], &a, NULL);
}


static void
tt_fail(bk_table_t *t)
{
    bk_table_alloc_t  a;

    a = tt_alloc(BK_ALLOC_FAILED, 70);
    bk_table_alloc_update(t, tt_index[2], &a, "worker w1 died of signal 9");
}


static void
tt_revive(bk_table_t *t)
{
    bk_table_alloc_t  a;

    a = tt_alloc(BK_ALLOC_REVOKED, 71);
    bk_table_alloc_update(t, tt_index[2], &a, "revoked by an operator");
}


static void
tt_remove_live(bk_table_t *t)
{
    bk_table_alloc_remove(t, tt_index[3]);
}


static void
tt_remove_ended(bk_table_t *t)
{
    bk_table_alloc_remove(t, tt_index[4]);
}


static void
tt_insert_reuse(bk_table_t *t)
{
    bk_err_t  err;

    tt_index[11] = tt_insert(t, 11, BK_ALLOC_READY, "has one", &err);
}


/* Until the next text takes a slot that was used. */
static void
tt_text_cycle(bk_table_t *t)
{
    char              text[32];
    uint32_t          i;
    bk_table_alloc_t  a;

    a = tt_alloc(BK_ALLOC_REVOKED, 71);

    for (i = 0; i < 1024; i++) {
        snprintf(text, sizeof(text), "text %u", i);
        bk_table_alloc_update(t, tt_index[2], &a, text);
    }
}


static void
tt_text_reuse(bk_table_t *t)
{
    bk_table_alloc_t  a;

    a = tt_alloc(BK_ALLOC_REVOKED, 72);
    bk_table_alloc_update(t, tt_index[2], &a, "in a slot that was used");
}


static void
tt_worker_change(bk_table_t *t)
{
    bk_err_t                err;
    bk_table_worker_data_t  w;

    tt_worker(&w, "w1", BK_WORKER_DRAINING, 4321);
    w.message_len = (uint16_t) snprintf(w.message, sizeof(w.message), "%s",
                                        "is going to be replaced");
    bk_table_worker_put(t, &w, &tt_worker_ref, &err);
}


static void
tt_worker_new(bk_table_t *t)
{
    bk_err_t                err;
    bk_table_worker_data_t  w;

    tt_ref.index = BK_TABLE_NONE;
    tt_worker(&w, "w2", BK_WORKER_READY, 99);
    bk_table_worker_put(t, &w, &tt_ref, &err);
}


static void
tt_worker_gone(bk_table_t *t)
{
    bk_table_worker_delete(t, tt_ref);
}


static void
tt_worker_reuse(bk_table_t *t)
{
    bk_err_t                err;
    bk_table_worker_data_t  w;

    tt_ref.index = BK_TABLE_NONE;
    tt_worker(&w, "w3", BK_WORKER_STOPPED, 0);
    bk_table_worker_put(t, &w, &tt_ref, &err);
}


static void
tt_pool_change(bk_table_t *t)
{
    bk_err_t  err;

    bk_table_pool_put(t, "default/demo", BK_POOL_SHARED, &tt_pool_ref, &err);
}


static void
tt_pool_new(bk_table_t *t)
{
    bk_err_t  err;

    tt_ref.index = BK_TABLE_NONE;
    bk_table_pool_put(t, "default/other", 0, &tt_ref, &err);
}


static void
tt_pool_gone(bk_table_t *t)
{
    bk_table_pool_delete(t, tt_ref);
}
