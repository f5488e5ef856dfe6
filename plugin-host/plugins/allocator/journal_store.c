/*
 * The journal in the host's store: changes, one after the other for each
 * allocation, each a whole row.  A change counts when the store has it; one
 * that the store refuses leaves the row as it was, and the changes behind it
 * are made to that.  What is asked for: journal_store_ask.c.
 *
 * A worker's trust comes before the rows that are on it: they wait, and fail
 * with it.
 */

#include <stdlib.h>
#include <string.h>

#define HASH_FUNCTION(key, len, hashv)  memcpy(&(hashv), key, sizeof(hashv))

#include "journal_store.h"


#define BK_STORE_ROUNDS  16
#define BK_STORE_TRIES   3


static void bk_store_close(void *back);
static int bk_store_is_ready(void *back);
static void bk_store_turn(void *data);
static int bk_store_refused(bk_store_hand_t *s, bk_change_t *c);
static void bk_store_begin(bk_store_row_t *r);
static void bk_store_write(bk_store_row_t *r, const bk_row_t *row);
static void bk_store_over(bk_keeper_t *k, const bk_err_t *err);
static int bk_store_again(bk_keeper_t *k, bk_change_t *c,
    const bk_err_t *err);
static void bk_store_row_over(bk_store_row_t *r, const bk_change_t *c,
    const bk_err_t *err);
static void bk_store_count(bk_store_hand_t *s, const bk_change_t *c,
    const bk_err_t *err);
static void bk_store_synced(bk_store_hand_t *s);
static void bk_change_free(bk_change_t *c);
static void bk_store_sync(void *back, bk_journal_pt done, void *data);
static void bk_store_backup(void *back, const char *path, bk_journal_pt done,
    void *data);
static void bk_store_stats(void *back, bk_journal_stats_t *out);


static const bk_err_t  bk_store_no_backup = {
    409, "NoBackup", "the journal is in a store that is not ours",
    "make copies of the objects that it is in, e.g. of etcd"
};

static const bk_journal_back_t  bk_store_back = {
    .close = bk_store_close,
    .insert = bk_store_insert,
    .place = bk_store_place,
    .answered = bk_store_answered,
    .rekey = bk_store_rekey,
    .extend = bk_store_extend,
    .end = bk_store_end,
    .note = bk_store_note,
    .sync = bk_store_sync,
    .backup = bk_store_backup,
    .prune = bk_store_prune,
    .trust = bk_store_trust,
    .trusted = bk_store_trusted,
    .drain = bk_store_drain,
    .undrain = bk_store_undrain,
    .drained = bk_store_drained,
    .stats = bk_store_stats,
    .find = bk_store_find,
    .prefix = bk_store_prefix,
    .each = bk_store_each,
    .history = bk_store_history,
    .is_ready = bk_store_is_ready,
    .ready = bk_store_ready,
    .told = bk_store_told
};


int
bk_journal_open_store(bk_journal_t **out, const bk_host_t *h,
    bk_changed_pt changed, void *data, bk_err_t *err)
{
    bk_store_hand_t  *s;

    if (h->store_open(h, err) != 0) {
        return -1;
    }

    s = calloc(1, sizeof(bk_store_hand_t));

    if (s == NULL) {
        abort();
    }

    s->host = h;
    s->changed = changed;
    s->data = data;
    TAILQ_INIT(&s->over);
    STAILQ_INIT(&s->syncs);
    s->turn = h->timer_new(h, bk_store_turn, s);

    *out = bk_journal_new(&bk_store_back, s);

    return 0;
}


/* The host tells us nothing any more: what is left is told by us. */

static void
bk_store_close(void *back)
{
    bk_store_hand_t *s = back;

    int                 i;
    bk_err_t            err;
    bk_store_row_t     *r, *next;
    bk_store_worker_t  *w, *next_worker;

    s->closing = 1;
    s->ready = 0;
    bk_store_not_ready(&err);

    /* done() may ask for more */
    for (i = 0; i < BK_STORE_ROUNDS && s->nchanges > 0; i++) {
        HASH_ITER(hh, s->workers, w, next_worker) {
            while (!STAILQ_EMPTY(&w->k.changes)) {
                bk_store_over(&w->k, &err);
            }
        }

        HASH_ITER(hh, s->rows, r, next) {
            while (!STAILQ_EMPTY(&r->k.changes)) {
                bk_store_over(&r->k, &err);
            }
        }
    }

    bk_store_synced(s);

    HASH_ITER(hh, s->rows, r, next) {
        bk_store_row_drop(r);
    }

    bk_store_workers_free(s);
    s->host->timer_free(&s->turn);
    free(s);
}


static int
bk_store_is_ready(void *back)
{
    return ((bk_store_hand_t *) back)->ready;
}


void
bk_store_not_ready(bk_err_t *err)
{
    (void) bk_fail(err, 503, "StoreNotReady",
                   "try again in a moment; another replica may be the one "
                   "that allocates",
                   "the store of allocations is not ready here");
}


bk_store_row_t *
bk_store_row_find(bk_store_hand_t *s, const uint8_t *hash)
{
    bk_store_row_t  *r;

    HASH_FIND(hh, s->rows, hash, BK_TABLE_HASH_LEN, r);

    return r;
}


bk_store_row_t *
bk_store_row(bk_store_hand_t *s, const uint8_t *hash)
{
    bk_store_row_t  *r;

    r = bk_store_row_find(s, hash);

    if (r != NULL) {
        return r;
    }

    r = calloc(1, sizeof(bk_store_row_t));

    if (r == NULL) {
        abort();
    }

    r->k.store = s;
    r->since_ms = s->host->now_ms(s->host);
    STAILQ_INIT(&r->k.changes);
    STAILQ_INIT(&r->lines);
    memcpy(r->hash, hash, BK_TABLE_HASH_LEN);
    HASH_ADD(hh, s->rows, hash, BK_TABLE_HASH_LEN, r);

    return r;
}


void
bk_store_row_drop(bk_store_row_t *r)
{
    bk_line_t  *line;

    HASH_DEL(r->k.store->rows, r);

    while ((line = STAILQ_FIRST(&r->lines)) != NULL) {
        STAILQ_REMOVE_HEAD(&r->lines, link);
        free(line->what);
        free(line->who);
        free(line->text);
        free(line);
    }

    free(r->k.err);
    free(r->kept);
    free(r->next);
    free(r);
}


bk_change_t *
bk_store_change(int kind, bk_journal_pt done, void *data)
{
    bk_change_t  *c;

    c = calloc(1, sizeof(bk_change_t));

    if (c == NULL) {
        abort();
    }

    c->kind = kind;
    c->done = done;
    c->data = data;

    return c;
}


static void
bk_change_free(bk_change_t *c)
{
    free(c->row);
    free(c->text);
    free(c->spki);
    free(c);
}


void
bk_store_ask(bk_keeper_t *k, bk_change_t *c)
{
    bk_store_hand_t  *s;

    s = k->store;
    c->began_ms = s->host->monotonic_ms(s->host);
    s->nchanges++;
    STAILQ_INSERT_TAIL(&k->changes, c, link);
    bk_store_start(k);
}


/* The first change, unless it is under way. */

void
bk_store_start(bk_keeper_t *k)
{
    bk_err_t      err;
    bk_change_t  *c;

    c = STAILQ_FIRST(&k->changes);

    if (c == NULL || k->busy || k->store->closing) {
        return;
    }

    k->busy = 1;

    if (!k->store->ready) {
        bk_store_not_ready(&err);
        bk_store_later(k, &err);
        return;
    }

    if (bk_store_refused(k->store, c)) {
        (void) bk_fail(&err, 503, "JournalBusy",
                       "the store of allocations does not keep up",
                       "%zu changes wait to be kept", k->store->nchanges);
        bk_store_later(k, &err);
        return;
    }

    if (k->worker) {
        bk_store_worker_put((bk_store_worker_t *) k);
        return;
    }

    bk_store_begin((bk_store_row_t *) k);
}


/* What makes something new; the end of something always has its place. */

static int
bk_store_refused(bk_store_hand_t *s, bk_change_t *c)
{
    return c->kind == BK_STORE_INSERT && s->nchanges > BK_STORE_WAITS;
}


static void
bk_store_begin(bk_store_row_t *r)
{
    int                 rc;
    bk_err_t            err;
    bk_row_t            row;
    bk_change_t        *c;
    bk_store_worker_t  *w;

    c = STAILQ_FIRST(&r->k.changes);
    rc = bk_store_apply(r, c, &row, &err);

    if (rc != 1) {
        bk_store_later(&r->k, rc == 0 ? NULL : &err);
        return;
    }

    w = row.worker[0] == '\0' || row.state >= BK_ALLOC_EXPIRED ? NULL
        : bk_store_worker_find(r->k.store, row.pool, row.worker);

    if (w != NULL && !STAILQ_EMPTY(&w->k.changes)) {
        TAILQ_INSERT_TAIL(&w->rows, &r->k, link);
        return;
    }

    bk_store_write(r, &row);
}


static void
bk_store_write(bk_store_row_t *r, const bk_row_t *row)
{
    char         *record;
    uint8_t       key_hash[BK_TABLE_HASH_LEN];
    bk_stored_t   out;

    record = bk_kept_record(row);
    bk_sha256(row->spki, row->spki_len, key_hash);
    bk_kept_stored(row, key_hash, record, &out);
    r->next = bk_kept_new(row);

    r->k.store->host->store_put(r->k.store->host, &out, bk_store_done, r);
    free(record);
}


/* From the host, of a row or a worker. */

void
bk_store_done(void *data, const bk_err_t *err)
{
    bk_store_over(data, err);
}


void
bk_store_later(bk_keeper_t *k, const bk_err_t *err)
{
    bk_store_hand_t  *s;

    s = k->store;

    if (err != NULL) {
        k->err = malloc(sizeof(bk_err_t));

        if (k->err == NULL) {
            abort();
        }

        *k->err = *err;
    }

    TAILQ_INSERT_TAIL(&s->over, k, link);
    s->host->timer_set(s->turn, 0);
}


static void
bk_store_turn(void *data)
{
    bk_store_hand_t *s = data;

    bk_err_t              *err;
    bk_keeper_t           *k;
    struct bk_keepers_s    over;

    /* what is asked for meanwhile is for the next turn */
    TAILQ_INIT(&over);
    TAILQ_CONCAT(&over, &s->over, link);

    while ((k = TAILQ_FIRST(&over)) != NULL) {
        TAILQ_REMOVE(&over, k, link);
        err = k->err;
        k->err = NULL;
        bk_store_over(k, err);
        free(err);
    }

    bk_store_synced(s);
}


/* The first change has its outcome. */

static void
bk_store_over(bk_keeper_t *k, const bk_err_t *err)
{
    bk_change_t      *c;
    bk_store_hand_t  *s;

    s = k->store;
    c = STAILQ_FIRST(&k->changes);

    if (bk_store_again(k, c, err)) {
        return;
    }

    STAILQ_REMOVE_HEAD(&k->changes, link);
    s->nchanges--;
    bk_store_count(s, c, err);

    if (k->worker) {
        bk_store_worker_over((bk_store_worker_t *) k, err);

    } else {
        bk_store_row_over((bk_store_row_t *) k, c, err);
    }

    if (c->done != NULL) {
        /* whatever it asks for of this one waits for us */
        c->done(c->data, err);

    } else if (err != NULL && !s->closing) {
        s->host->log(s->host, BK_LOG_ERROR, "%s; a change is not kept",
                     err->text);
    }

    bk_change_free(c);

    if (s->closing) {
        return;
    }

    k->busy = 0;

    if (!STAILQ_EMPTY(&k->changes)) {
        bk_store_start(k);

    } else if (!k->worker) {
        bk_store_settled((bk_store_row_t *) k);
    }

    bk_store_synced(s);
}


/*
 * Somebody else wrote the row, of which we have heard by now: an end or a
 * longer life is one of that row as well.  Its worker is another matter.
 */

static int
bk_store_again(bk_keeper_t *k, bk_change_t *c, const bk_err_t *err)
{
    bk_store_row_t  *r;

    if (err == NULL || k->worker || k->store->closing
        || strcmp(err->reason, "RowChanged") != 0
        || c->kind == BK_STORE_INSERT || c->kind == BK_STORE_PLACE
        || ++c->tries > BK_STORE_TRIES)
    {
        return 0;
    }

    r = (bk_store_row_t *) k;
    free(r->next);
    r->next = NULL;
    k->busy = 0;
    bk_store_start(k);

    return 1;
}


static void
bk_store_row_over(bk_store_row_t *r, const bk_change_t *c,
    const bk_err_t *err)
{
    if (err == NULL) {
        if (r->next != NULL) {
            free(r->kept);
            r->kept = r->next;
            r->next = NULL;
            r->unsure = 0;
            r->doubtful = 0;
            r->told = 0;
            bk_store_kept_line(r, c);
        }

        return;
    }

    if (r->next != NULL && err->code >= 500) {
        /* it may be there all the same: we are told if it is */
        r->unsure = 1;
        r->doubtful = c->kind == BK_STORE_INSERT;
    }

    free(r->next);
    r->next = NULL;
}


static void
bk_store_count(bk_store_hand_t *s, const bk_change_t *c, const bk_err_t *err)
{
    double               seconds;
    bk_journal_stats_t  *st;

    st = &s->stats;

    if (err != NULL) {
        st->failures++;
        return;
    }

    seconds = (double) (s->host->monotonic_ms(s->host) - c->began_ms) / 1000;
    st->batches++;
    st->changes++;
    st->seconds += seconds;
    st->sizes[bk_journal_bucket(bk_journal_sizes, 1)]++;
    st->times[bk_journal_bucket(bk_journal_times, seconds)]++;
}


static void
bk_store_stats(void *back, bk_journal_stats_t *out)
{
    bk_store_hand_t *s = back;

    *out = s->stats;
    out->waiting = s->nchanges;
}


static void
bk_store_sync(void *back, bk_journal_pt done, void *data)
{
    bk_change_t      *c;
    bk_store_hand_t  *s = back;

    c = bk_store_change(0, done, data);
    STAILQ_INSERT_TAIL(&s->syncs, c, link);
    s->host->timer_set(s->turn, 0);
}


static void
bk_store_synced(bk_store_hand_t *s)
{
    bk_change_t  *c;

    while (s->nchanges == 0 && (c = STAILQ_FIRST(&s->syncs)) != NULL) {
        STAILQ_REMOVE_HEAD(&s->syncs, link);
        c->done(c->data, c->number ? &bk_store_no_backup : NULL);
        free(c);
    }
}


static void
bk_store_backup(void *back, const char *path, bk_journal_pt done, void *data)
{
    bk_change_t      *c;
    bk_store_hand_t  *s = back;

    (void) path;

    c = bk_store_change(0, done, data);
    c->number = 1;
    STAILQ_INSERT_TAIL(&s->syncs, c, link);
    s->host->timer_set(s->turn, 0);
}
