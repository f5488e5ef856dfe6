/*
 * How an allocation ends: journal, then model and table; our own record
 * follows the model (event()).  And what the model ended by itself, because
 * its time ran out or its worker was lost, goes into the journal.
 */

#include <stdlib.h>
#include <string.h>

#include "allocator.h"


#define BK_FLUSH_RETRY  BK_SECOND


/* An end that is being written. */
typedef struct {
    bk_allocator_t  *a;
    bk_journal_pt    done;
    void            *data;
    int              state;
    uint8_t          hash[BK_TABLE_HASH_LEN];
    char             reason[BK_TABLE_TEXT_LEN];
} bk_over_t;


static void bk_over_written(void *data, const bk_err_t *err);
static void bk_over_write(bk_ended_t *e);
static void bk_over_noted(void *data, const bk_err_t *err);


void
bk_allocator_end(bk_allocator_t *a, const uint8_t *hash, int state,
    const char *reason, bk_journal_pt done, void *data)
{
    bk_over_t    *o;
    bk_record_t  *rec;

    rec = bk_record_find(a->records, hash);

    if (rec != NULL) {
        /* from now on nobody gets anything of it */
        rec->ending = 1;
        bk_record_unkey(a->records, rec);

        if (rec->ask != NULL) {
            bk_queue_drop(&rec->ask->entry);
        }
    }

    o = calloc(1, sizeof(bk_over_t));

    if (o == NULL) {
        abort();
    }

    o->a = a;
    o->done = done;
    o->data = data;
    o->state = state;
    memcpy(o->hash, hash, BK_TABLE_HASH_LEN);
    bk_str_copy(o->reason, sizeof(o->reason), bk_str(reason));

    bk_journal_end(a->journal, hash, state, o->reason,
                   a->host->now_ms(a->host), bk_over_written, o);
}


/*
 * The journal fails seldom (no space).  Then the gateway is told all the
 * same, for that is the safe side, the journal later, and the caller that
 * this was not written down.
 */

static void
bk_over_written(void *data, const bk_err_t *err)
{
    bk_over_t *o = data;

    bk_record_t      *rec;
    bk_allocator_t   *a;
    bk_alloc_info_t   info;
    const bk_host_t  *h;

    a = o->a;
    h = a->host;

    if (h->alloc_find(h, o->hash, &info) == 0
        && info.state < BK_ALLOC_EXPIRED)
    {
        a->quiet += err == NULL;
        (void) h->alloc_end(h, o->hash, o->state, bk_str(o->reason), NULL);
        a->quiet -= err == NULL;

    } else if (err != NULL) {
        bk_allocator_note(a, o->hash, o->state, bk_str(o->reason));
    }

    /* the model did not know it, or we stop and do not listen */
    rec = bk_record_find(a->records, o->hash);

    if (rec != NULL) {
        bk_settle_over(a, rec, o->state, o->reason);
    }

    if (o->done != NULL) {
        o->done(o->data, err);

    } else if (err != NULL && bk_journal_is_ready(a->journal)) {
        h->log(h, BK_LOG_ERROR, "%s", err->text);
    }

    free(o);
}


/* The model did it; also amid its change. */

void
bk_allocator_note(bk_allocator_t *a, const uint8_t *hash, int state,
    bk_str_t reason)
{
    bk_ended_t  *e;

    e = calloc(1, sizeof(bk_ended_t));

    if (e == NULL) {
        abort();
    }

    e->a = a;
    memcpy(e->hash, hash, BK_TABLE_HASH_LEN);
    e->state = state;
    e->when_ms = a->host->now_ms(a->host);
    bk_str_copy(e->reason, sizeof(e->reason), reason);

    bk_over_write(e);
}


int
bk_over_unwritten(const bk_allocator_t *a, const uint8_t *hash, bk_err_t *err)
{
    size_t                     i;
    bk_ended_t                *e;
    const struct bk_endeds_s  *lists[] = { &a->endeds, &a->noting };

    for (i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        TAILQ_FOREACH(e, lists[i], link) {
            if (memcmp(e->hash, hash, BK_TABLE_HASH_LEN) == 0) {
                (void) bk_fail(err, 503, "JournalUnwritable", "ask again",
                               "it has ended here, but that could not be "
                               "written down yet");
                return 1;
            }
        }
    }

    return 0;
}


static void
bk_over_write(bk_ended_t *e)
{
    TAILQ_INSERT_TAIL(&e->a->noting, e, link);
    bk_journal_end(e->a->journal, e->hash, e->state, e->reason, e->when_ms,
                   bk_over_noted, e);
}


static void
bk_over_noted(void *data, const bk_err_t *err)
{
    bk_ended_t *e = data;

    bk_allocator_t  *a;

    a = e->a;
    TAILQ_REMOVE(&a->noting, e, link);

    if (err == NULL) {
        free(e);
        return;
    }

    if (TAILQ_EMPTY(&a->endeds) && !a->stopping
        && bk_journal_is_ready(a->journal))
    {
        a->host->log(a->host, BK_LOG_ERROR, "%s; trying again", err->text);
        a->host->timer_set(a->flush, BK_FLUSH_RETRY);
    }

    TAILQ_INSERT_TAIL(&a->endeds, e, link);
}


void
bk_allocator_flush(void *data)
{
    bk_allocator_t *a = data;

    bk_step_t           *step;
    bk_ended_t          *e;
    struct bk_endeds_s   again;
    struct bk_steps_s    astray;

    TAILQ_INIT(&again);
    TAILQ_CONCAT(&again, &a->endeds, link);

    while ((e = TAILQ_FIRST(&again)) != NULL) {
        TAILQ_REMOVE(&again, e, link);
        bk_over_write(e);
    }

    TAILQ_INIT(&astray);
    TAILQ_CONCAT(&astray, &a->astray, link);

    while ((step = TAILQ_FIRST(&astray)) != NULL) {
        TAILQ_REMOVE(&astray, step, link);

        if (step->rec->seat == NULL && !step->rec->ending
            && !step->rec->ended)
        {
            bk_settle_unplace(a, step->rec);
        }

        bk_step_free(step);
    }
}
