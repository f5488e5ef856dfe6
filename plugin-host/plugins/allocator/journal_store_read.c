/*
 * What the host's store has: read as a whole when it becomes ready, kept up
 * to date by what it tells of others' changes, and found here.
 *
 * News of a row amid a change of ours wait for its outcome: what the store
 * has then is the change itself, or what we are told now.
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "journal_store.h"


static int bk_store_read(const bk_stored_t *stored, void *data);
static void bk_store_take(bk_store_hand_t *s, const bk_stored_t *stored);
static void bk_store_gone(bk_store_hand_t *s);
static void bk_store_news(bk_store_row_t *r, bk_kept_t *kept);
static void bk_store_orphan(bk_store_row_t *r);
static int bk_store_older(const void *a, const void *b);
static int bk_store_unread(const bk_store_hand_t *s, bk_err_t *err);
static char *bk_store_made(const bk_store_row_t *r, const bk_row_t *row);


void
bk_store_ready(void *back, int ready)
{
    bk_store_hand_t *s = back;

    s->ready = ready;

    if (!ready) {
        return;
    }

    s->reading++;
    bk_store_worker_load(s);
    (void) s->host->store_each(s->host, bk_store_read, s);
    bk_store_gone(s);
    s->loaded = 1;
}


static int
bk_store_read(const bk_stored_t *stored, void *data)
{
    bk_store_take(data, stored);

    return 0;
}


void
bk_store_told(void *back, const bk_stored_t *stored)
{
    bk_store_take(back, stored);
}


static void
bk_store_take(bk_store_hand_t *s, const bk_stored_t *stored)
{
    char             id[BK_ID_LEN + 1];
    bk_err_t         err;
    bk_kept_t       *kept;
    bk_store_row_t  *r;

    r = bk_store_row_find(s, stored->hash);
    kept = bk_kept_read(stored, &err);

    if (kept == NULL) {
        s->host->log(s->host, BK_LOG_WARN, "allocation %s: what the store "
                     "has of it is not used: %s",
                     bk_token_id(stored->hash, id), err.text);

        if (r != NULL) {
            r->seen = s->reading;
        }

        return;
    }

    if (r == NULL) {
        r = bk_store_row(s, stored->hash);
    }

    r->seen = s->reading;
    bk_store_news(r, kept);
}


/* Takes over kept. */

static void
bk_store_news(bk_store_row_t *r, bk_kept_t *kept)
{
    int               news;
    bk_row_t          row;
    bk_store_hand_t  *s;

    s = r->k.store;
    news = r->kept == NULL || bk_kept_news(r->kept, kept);
    free(r->kept);
    r->kept = kept;

    if (!STAILQ_EMPTY(&r->k.changes)) {
        r->told |= news;
        return;
    }

    news |= r->unsure || r->told;
    r->unsure = 0;
    r->told = 0;

    if (r->doubtful && kept->state < BK_ALLOC_EXPIRED) {
        bk_store_orphan(r);
        return;
    }

    r->doubtful = 0;

    if (news && s->loaded) {
        bk_kept_row(r->kept, r->hash, &row);
        s->changed(&row, s->data);
    }
}


/* Its caller was told that it could not be made, and it is there. */

static void
bk_store_orphan(bk_store_row_t *r)
{
    bk_change_t      *c;
    bk_store_hand_t  *s;

    s = r->k.store;
    c = bk_store_change(BK_STORE_END, NULL, NULL);
    c->text = bk_strdup("it could not be journalled");
    c->number = BK_ALLOC_RELEASED;
    c->when_ms = s->host->now_ms(s->host);
    bk_store_ask(&r->k, c);
}


void
bk_store_settled(bk_store_row_t *r)
{
    bk_row_t          row;
    bk_store_hand_t  *s;

    s = r->k.store;

    if (r->kept == NULL) {
        if (!r->doubtful) {
            bk_store_row_drop(r);
        }

        return;
    }

    if (!r->told) {
        return;
    }

    r->told = 0;
    r->unsure = 0;

    if (r->doubtful && r->kept->state < BK_ALLOC_EXPIRED) {
        bk_store_orphan(r);
        return;
    }

    bk_kept_row(r->kept, r->hash, &row);
    s->changed(&row, s->data);
}


/* All was read, and these were not there. */

static void
bk_store_gone(bk_store_hand_t *s)
{
    bk_row_t         row;
    bk_store_row_t  *r, *next;

    HASH_ITER(hh, s->rows, r, next) {
        if (r->seen == s->reading || !STAILQ_EMPTY(&r->k.changes)) {
            continue;
        }

        if (r->kept == NULL) {
            bk_store_row_drop(r);

        } else if (r->kept->state < BK_ALLOC_EXPIRED) {
            bk_kept_row(r->kept, r->hash, &row);
            row.state = BK_ALLOC_FAILED;
            row.changed_ms = s->host->now_ms(s->host);
            bk_str_copy(row.reason, sizeof(row.reason),
                        BK_STR("its record is gone"));
            bk_store_news(r, bk_kept_new(&row));
        }
    }
}


void
bk_store_line(bk_store_row_t *r, const char *what, const char *who,
    const char *text, uint64_t when_ms)
{
    bk_line_t  *line;

    line = calloc(1, sizeof(bk_line_t));

    if (line == NULL) {
        abort();
    }

    line->when_ms = when_ms;
    line->what = bk_strdup(what);
    line->who = bk_strdup(who);
    line->text = bk_strdup(text);
    STAILQ_INSERT_TAIL(&r->lines, line, link);

    if (++r->nlines <= BK_STORE_LINES) {
        return;
    }

    line = STAILQ_FIRST(&r->lines);
    STAILQ_REMOVE_HEAD(&r->lines, link);
    free(line->what);
    free(line->who);
    free(line->text);
    free(line);
    r->nlines--;
}


/* Before that we cannot say that there is none. */

static int
bk_store_unread(const bk_store_hand_t *s, bk_err_t *err)
{
    if (s->loaded) {
        return 0;
    }

    bk_store_not_ready(err);

    return -1;
}


int
bk_store_find(void *back, const uint8_t *hash, bk_row_t *row, bk_err_t *err)
{
    bk_store_row_t  *r;

    if (bk_store_unread(back, err) != 0) {
        return -1;
    }

    r = bk_store_row_find(back, hash);

    if (r == NULL || r->kept == NULL || r->doubtful) {
        return 0;
    }

    bk_kept_row(r->kept, r->hash, row);
    row->metadata = NULL;

    return 1;
}


int
bk_store_prefix(void *back, const uint8_t *prefix, size_t len, bk_row_t *row,
    bk_err_t *err)
{
    int               n;
    bk_store_row_t   *r, *next;
    bk_store_hand_t  *s = back;

    assert(len <= BK_TABLE_HASH_LEN);

    if (bk_store_unread(s, err) != 0) {
        return -1;
    }

    n = 0;

    HASH_ITER(hh, s->rows, r, next) {
        if (r->kept == NULL || r->doubtful
            || memcmp(r->hash, prefix, len) != 0)
        {
            continue;
        }

        if (n++ == 0) {
            bk_kept_row(r->kept, r->hash, row);
            row->metadata = NULL;

        } else {
            break;
        }
    }

    return n;
}


/* Live ones by their making, ended ones, which come after, by their end. */

static int
bk_store_older(const void *a, const void *b)
{
    int               x_over, y_over;
    uint64_t          x_ms, y_ms;
    const bk_kept_t  *x, *y;

    x = (*(bk_store_row_t *const *) a)->kept;
    y = (*(bk_store_row_t *const *) b)->kept;
    x_over = x->state >= BK_ALLOC_EXPIRED;
    y_over = y->state >= BK_ALLOC_EXPIRED;

    if (x_over != y_over) {
        return x_over - y_over;
    }

    x_ms = x_over ? x->changed_ms : x->created_ms;
    y_ms = x_over ? y->changed_ms : y->created_ms;

    return x_ms < y_ms ? -1 : x_ms > y_ms;
}


int
bk_store_each(void *back, uint64_t since_ms, unsigned nended, bk_row_pt fn,
    void *data, bk_err_t *err)
{
    size_t            i, n, nover;
    bk_row_t          row;
    bk_store_row_t   *r, *next, **all;
    bk_store_hand_t  *s = back;

    if (bk_store_unread(s, err) != 0) {
        return -1;
    }

    all = calloc(HASH_COUNT(s->rows) + 1, sizeof(bk_store_row_t *));

    if (all == NULL) {
        abort();
    }

    n = 0;
    nover = 0;

    HASH_ITER(hh, s->rows, r, next) {
        if (r->kept == NULL || r->doubtful
            || (r->kept->state >= BK_ALLOC_EXPIRED
                && r->kept->changed_ms < since_ms))
        {
            continue;
        }

        nover += r->kept->state >= BK_ALLOC_EXPIRED;
        all[n++] = r;
    }

    qsort(all, n, sizeof(bk_store_row_t *), bk_store_older);

    for (i = 0; i < n; i++) {
        if (i >= n - nover && n - i > nended) {
            continue;
        }

        /* fn may ask for changes, of which none is made at once */
        bk_kept_row(all[i]->kept, all[i]->hash, &row);
        row.metadata = NULL;

        if (fn(&row, data) != 0) {
            break;
        }
    }

    free(all);

    return 0;
}


/* What happened before we were there is not known: only what came of it. */

int
bk_store_history(void *back, const uint8_t *hash, bk_history_pt fn,
    void *data, bk_err_t *err)
{
    int              rc;
    char            *made;
    bk_row_t         row;
    bk_line_t       *line;
    bk_history_t     h;
    bk_store_row_t  *r;

    rc = bk_store_find(back, hash, &row, err);

    if (rc != 1) {
        return rc;
    }

    r = bk_store_row_find(back, hash);
    made = bk_store_made(r, &row);
    h = (bk_history_t) { row.created_ms, "made", row.owner, made };
    rc = fn(&h, data);
    free(made);

    STAILQ_FOREACH(line, &r->lines, link) {
        if (rc == 0) {
            h = (bk_history_t) { line->when_ms, line->what, line->who,
                                 line->text };
            rc = fn(&h, data);
        }
    }

    if (rc == 0 && row.state >= BK_ALLOC_EXPIRED) {
        h = (bk_history_t) { row.changed_ms, bk_state_name(row.state), "",
                             row.reason };
        (void) fn(&h, data);
    }

    return 0;
}


static char *
bk_store_made(const bk_store_row_t *r, const bk_row_t *row)
{
    int         queued;
    char       *text;
    bk_line_t  *line;

    queued = row->worker[0] == '\0';

    STAILQ_FOREACH(line, &r->lines, link) {
        queued |= strcmp(line->what, "placed") == 0;
    }

    if (asprintf(&text, "%s%s%s%s%s%s", queued ? "in the queue of " : "on ",
                 row->pool, queued ? "" : "/", queued ? "" : row->worker,
                 row->rule[0] == '\0' ? "" : ", by rule ", row->rule)
        == -1)
    {
        abort();
    }

    return text;
}


/* The store forgets by itself; we need not remember it for longer. */

void
bk_store_prune(void *back, uint64_t before_ms)
{
    uint64_t          now;
    bk_store_row_t   *r, *next;
    bk_store_hand_t  *s = back;

    now = s->host->now_ms(s->host);

    if (before_ms < now - BK_STORE_ENDED) {
        before_ms = now - BK_STORE_ENDED;
    }

    HASH_ITER(hh, s->rows, r, next) {
        if (!STAILQ_EMPTY(&r->k.changes)) {
            continue;
        }

        if (r->kept == NULL ? r->since_ms < before_ms
                            : r->kept->state >= BK_ALLOC_EXPIRED
                              && r->kept->changed_ms < before_ms)
        {
            bk_store_row_drop(r);
        }
    }
}
