/*
 * The writer's thread: takes all that has been asked for, writes it in one
 * transaction, and wakes the loop, which calls done() in the order of the
 * calls.  Checkpoints are made here as well, between two transactions, by
 * the connection that writes: a reader's would hold up the loop, and SQLite
 * before 3.51.3 may damage the file when another connection makes one at
 * the moment in which this one begins its log anew.
 */

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "journal_int.h"


#define BK_JOURNAL_BATCH_MAX    2000
#define BK_JOURNAL_WAL_PAGES    1000
#define BK_JOURNAL_PRUNE_MS     20
#define BK_JOURNAL_PRUNE_GAP    8       /* batches, when it is never idle */
#define BK_JOURNAL_LAST_ROUNDS  16


static void *bk_journal_main(void *data);
static void bk_journal_idle(bk_sqlite_t *j);
static void bk_journal_take(bk_sqlite_t *j, bk_ops_t *batch);
static void bk_journal_run(bk_sqlite_t *j, bk_ops_t *batch);
static void bk_journal_refuse_all(bk_ops_t *batch);
static void bk_journal_housekeeping(bk_sqlite_t *j, unsigned *since);
static int bk_journal_wal(void *data, sqlite3 *db, const char *name,
    int pages);
static void bk_journal_wake(bk_sqlite_t *j);
static void bk_journal_turn(void *data);
static void bk_journal_ready(int fd, int events, void *data);
static double bk_journal_clock(void);


int
bk_journal_thread_start(bk_sqlite_t *j, bk_err_t *err)
{
    const bk_host_t  *h;

    h = j->host;

    j->wake = eventfd(0, EFD_CLOEXEC|EFD_NONBLOCK);

    if (j->wake == -1) {
        return bk_fail(err, 500, "NoDescriptor", NULL, "eventfd: %s",
                       strerror(errno));
    }

    j->turn = h->timer_new(h, bk_journal_turn, j);
    j->watch = h->watch_new(h, j->wake, BK_READ, bk_journal_ready, j);

    (void) sqlite3_wal_hook(j->db, bk_journal_wal, j);

    if (bk_journal_thread_new(&j->thread, bk_journal_main, j, err) != 0) {
        return -1;
    }

    j->started = 1;
    return 0;
}


/* Signals are for the loop's thread. */

int
bk_journal_thread_new(pthread_t *thread, void *(*fn)(void *), void *data,
    bk_err_t *err)
{
    int       rc;
    sigset_t  all, old;

    (void) sigfillset(&all);
    (void) pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(thread, NULL, fn, data);
    (void) pthread_sigmask(SIG_SETMASK, &old, NULL);

    if (rc != 0) {
        return bk_fail(err, 500, "NoThread", NULL,
                       "cannot start the journal's thread: %s",
                       strerror(rc));
    }

    return 0;
}


/*
 * All that was asked for is written, and what done() asks for as well, as
 * long as that comes to an end.  Those who only read are interrupted.
 */

void
bk_journal_thread_stop(bk_sqlite_t *j)
{
    int       i;
    bk_ops_t  batch;

    bk_journal_hand_over(j);

    (void) pthread_mutex_lock(&j->lock);
    __atomic_store_n(&j->stop, 1, __ATOMIC_RELAXED);
    (void) pthread_cond_signal(&j->work);
    (void) pthread_mutex_unlock(&j->lock);

    if (j->started) {
        (void) pthread_join(j->thread, NULL);
    }

    /* done() does the rest */
    bk_journal_side_wait(&j->check);
    bk_journal_side_wait(&j->backup);
    bk_journal_deliver(j);

    for (i = 0; i < BK_JOURNAL_LAST_ROUNDS && !STAILQ_EMPTY(&j->asked); i++) {
        bk_journal_hand_over(j);
        bk_journal_take(j, &batch);
        bk_journal_run(j, &batch);
        bk_journal_deliver(j);
    }

    if (j->watch != NULL) {
        j->host->watch_free(&j->watch);
    }

    if (j->turn != NULL) {
        j->host->timer_free(&j->turn);
    }

    if (j->wake != -1) {
        (void) close(j->wake);
    }
}


static void *
bk_journal_main(void *data)
{
    bk_sqlite_t *j = data;

    unsigned  since;
    bk_ops_t  batch;

    since = 0;

    (void) pthread_mutex_lock(&j->lock);

    for ( ;; ) {

        if (STAILQ_EMPTY(&j->queue)) {
            if (j->stop) {
                break;
            }

            bk_journal_idle(j);
        }

        bk_journal_take(j, &batch);

        (void) pthread_mutex_unlock(&j->lock);

        if (!STAILQ_EMPTY(&batch)) {
            bk_journal_run(j, &batch);
            since++;
        }

        bk_journal_housekeeping(j, &since);

        (void) pthread_mutex_lock(&j->lock);
    }

    (void) pthread_mutex_unlock(&j->lock);

    return NULL;
}


/* Old rows go a hundred at a time, and leave the disk to others meanwhile. */

static void
bk_journal_idle(bk_sqlite_t *j)
{
    struct timespec  until;

    if (!j->pruning) {
        (void) pthread_cond_wait(&j->work, &j->lock);
        return;
    }

    (void) clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += BK_JOURNAL_PRUNE_MS * 1000000;

    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }

    (void) pthread_cond_clockwait(&j->work, &j->lock, CLOCK_MONOTONIC,
                                  &until);
}


/*
 * A line of history stays with what it is about (see BK_OP_LINE), and a
 * worker's trust with the row behind it that is the first of its kind.
 */

static void
bk_journal_take(bk_sqlite_t *j, bk_ops_t *batch)
{
    int        last;
    unsigned   n;
    bk_op_t   *op;

    STAILQ_INIT(batch);
    last = BK_OP_SYNC;

    for (n = 0; (op = STAILQ_FIRST(&j->queue)) != NULL; n++) {
        if (n >= BK_JOURNAL_BATCH_MAX && op->kind != BK_OP_LINE
            && last != BK_OP_TRUST)
        {
            break;
        }

        last = op->kind;
        STAILQ_REMOVE_HEAD(&j->queue, link);
        STAILQ_INSERT_TAIL(batch, op, link);
    }
}


static void
bk_journal_run(bk_sqlite_t *j, bk_ops_t *batch)
{
    double  began;

    began = bk_journal_clock();

    if (__atomic_load_n(&j->damaged, __ATOMIC_RELAXED)) {
        bk_journal_refuse_all(batch);

    } else {
        (void) bk_journal_batch(j, batch);
    }

    (void) pthread_mutex_lock(&j->lock);
    bk_journal_count(j, batch, bk_journal_clock() - began);
    STAILQ_CONCAT(&j->finished, batch);
    (void) pthread_mutex_unlock(&j->lock);

    bk_journal_wake(j);
}


/* What is written to a damaged file may be lost, and more with it. */

static void
bk_journal_refuse_all(bk_ops_t *batch)
{
    bk_op_t   *op;
    bk_err_t   err;

    (void) bk_fail(&err, 503, "JournalDamaged", BK_JOURNAL_DAMAGED,
                   "the journal is damaged, see the log");

    STAILQ_FOREACH(op, batch, link) {
        bk_op_fail(op, &err);
    }
}


/*
 * The log goes back into the file when it is long enough; old rows go some
 * at a time, when nobody waits, or now and then if somebody always does.
 */

static void
bk_journal_housekeeping(bk_sqlite_t *j, unsigned *since)
{
    int       idle, n, pruning;
    uint64_t  before;

    if (j->wal_pages >= BK_JOURNAL_WAL_PAGES) {
        j->wal_pages = 0;
        /* what a reader needs still stays for the next one */
        (void) sqlite3_wal_checkpoint_v2(j->db, NULL,
                                         SQLITE_CHECKPOINT_PASSIVE, NULL,
                                         NULL);
    }

    (void) pthread_mutex_lock(&j->lock);

    if (j->stop || __atomic_load_n(&j->damaged, __ATOMIC_RELAXED)) {
        j->pruning = 0;
    }

    idle = STAILQ_EMPTY(&j->queue);
    pruning = j->pruning;
    before = j->prune_ms;

    (void) pthread_mutex_unlock(&j->lock);

    if (!pruning || (!idle && *since < BK_JOURNAL_PRUNE_GAP)) {
        return;
    }

    *since = 0;
    n = bk_journal_prune_some(j, before);

    (void) pthread_mutex_lock(&j->lock);

    if (n <= 0 && j->prune_ms == before) {
        /* done; or a fault, which shows when somebody writes */
        j->pruning = 0;
    }

    (void) pthread_mutex_unlock(&j->lock);
}


static int
bk_journal_wal(void *data, sqlite3 *db, const char *name, int pages)
{
    bk_sqlite_t *j = data;

    (void) db;
    (void) name;

    j->wal_pages = pages;

    return SQLITE_OK;
}


void
bk_op_fail(bk_op_t *op, const bk_err_t *err)
{
    if (op->err != NULL) {
        return;
    }

    op->err = malloc(sizeof(bk_err_t));

    if (op->err == NULL) {
        abort();
    }

    *op->err = *err;
}


void
bk_journal_finish(bk_sqlite_t *j, bk_op_t *op)
{
    (void) pthread_mutex_lock(&j->lock);
    STAILQ_INSERT_TAIL(&j->finished, op, link);
    (void) pthread_mutex_unlock(&j->lock);

    bk_journal_wake(j);
}


static void
bk_journal_wake(bk_sqlite_t *j)
{
    uint64_t  one;

    one = 1;

    /* it can fail only when it is full, and then the loop is awake */
    if (write(j->wake, &one, sizeof(one)) == -1) {
        return;
    }
}


static void
bk_journal_turn(void *data)
{
    bk_journal_hand_over(data);
}


void
bk_journal_hand_over(bk_sqlite_t *j)
{
    if (STAILQ_EMPTY(&j->asked)) {
        return;
    }

    (void) pthread_mutex_lock(&j->lock);
    STAILQ_CONCAT(&j->queue, &j->asked);
    (void) pthread_cond_signal(&j->work);
    (void) pthread_mutex_unlock(&j->lock);
}


static void
bk_journal_ready(int fd, int events, void *data)
{
    uint64_t  n;

    (void) events;

    while (read(fd, &n, sizeof(n)) == -1 && errno == EINTR) {
        /* void */
    }

    bk_journal_deliver(data);
}


/* done() may ask for more, which is delivered another time. */

void
bk_journal_deliver(bk_sqlite_t *j)
{
    size_t     lost;
    bk_op_t   *op;
    bk_err_t   first;
    bk_ops_t   ops;

    STAILQ_INIT(&ops);
    lost = 0;

    (void) pthread_mutex_lock(&j->lock);
    STAILQ_CONCAT(&ops, &j->finished);
    (void) pthread_mutex_unlock(&j->lock);

    while ((op = STAILQ_FIRST(&ops)) != NULL) {
        STAILQ_REMOVE_HEAD(&ops, link);

        j->bytes -= op->size;
        j->nops--;

        if (op->done != NULL) {
            op->done(op->data, op->err);

        } else if (op->err != NULL && lost++ == 0) {
            first = *op->err;
        }

        free(op->err);
        free(op);
    }

    if (lost > 0) {
        j->host->log(j->host, BK_LOG_ERROR, "%s; %zu change%s not written",
                     first.text, lost, lost > 1 ? "s" : "");
    }
}


static double
bk_journal_clock(void)
{
    struct timespec  now;

    (void) clock_gettime(CLOCK_MONOTONIC, &now);

    return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}
