/*
 * The journal in the host's store: what is asked for, with copies of what it
 * needs, and what that makes of a row.
 */

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "journal_store.h"


void
bk_store_insert(void *back, const bk_row_t *row, bk_journal_pt done,
    void *data)
{
    bk_change_t  *c;

    c = bk_store_change(BK_STORE_INSERT, done, data);
    c->row = bk_kept_new(row);
    bk_store_ask(&bk_store_row(back, row->hash)->k, c);
}


void
bk_store_place(void *back, const uint8_t *hash, const char *worker,
    uint64_t expires_ms, uint64_t now_ms, bk_journal_pt done, void *data)
{
    bk_change_t  *c;

    c = bk_store_change(BK_STORE_PLACE, done, data);
    c->text = bk_strdup(worker);
    c->expires_ms = expires_ms;
    c->when_ms = now_ms;
    bk_store_ask(&bk_store_row(back, hash)->k, c);
}


void
bk_store_answered(void *back, const uint8_t *hash, bk_journal_pt done,
    void *data)
{
    bk_store_ask(&bk_store_row(back, hash)->k,
                 bk_store_change(BK_STORE_ANSWERED, done, data));
}


void
bk_store_rekey(void *back, const uint8_t *hash, const uint8_t *spki,
    size_t len, bk_journal_pt done, void *data)
{
    bk_change_t      *c;
    bk_store_hand_t  *s = back;

    c = bk_store_change(BK_STORE_REKEY, done, data);
    assert(len <= BK_SPKI_MAX);
    c->spki = malloc(len);

    if (c->spki == NULL) {
        abort();
    }

    memcpy(c->spki, spki, len);
    c->spki_len = len;
    c->when_ms = s->host->now_ms(s->host);
    bk_store_ask(&bk_store_row(back, hash)->k, c);
}


void
bk_store_extend(void *back, const uint8_t *hash, uint64_t expires_ms,
    uint64_t now_ms, bk_journal_pt done, void *data)
{
    bk_change_t  *c;

    c = bk_store_change(BK_STORE_EXTEND, done, data);
    c->expires_ms = expires_ms;
    c->when_ms = now_ms;
    bk_store_ask(&bk_store_row(back, hash)->k, c);
}


void
bk_store_end(void *back, const uint8_t *hash, int state, const char *reason,
    uint64_t now_ms, bk_journal_pt done, void *data)
{
    bk_change_t  *c;

    c = bk_store_change(BK_STORE_END, done, data);
    c->text = bk_strdup(reason);
    c->number = state;
    c->when_ms = now_ms;
    bk_store_ask(&bk_store_row(back, hash)->k, c);
}


void
bk_store_note(void *back, const uint8_t *hash, const char *what,
    const char *who, const char *text, uint64_t now_ms)
{
    bk_store_row_t  *r;

    r = bk_store_row_find(back, hash);

    if (r != NULL && r->kept != NULL) {
        bk_store_line(r, what, who, text, now_ms);
    }
}


int
bk_store_apply(bk_store_row_t *r, const bk_change_t *c, bk_row_t *row,
    bk_err_t *err)
{
    if (c->kind == BK_STORE_INSERT) {
        if (r->kept != NULL) {
            return bk_fail(err, 409, "JournalConflict", NULL,
                           "the journal has this allocation already");
        }

        bk_kept_row(c->row, r->hash, row);
        return 1;
    }

    /* not ours, or over: as with SQLite */
    if (r->kept == NULL || r->kept->state >= BK_ALLOC_EXPIRED) {
        return 0;
    }

    bk_kept_row(r->kept, r->hash, row);

    switch (c->kind) {
    case BK_STORE_PLACE:
        if (!r->unsure && strcmp(row->worker, c->text) == 0
            && row->expires_ms == c->expires_ms)
        {
            return 0;
        }

        bk_str_copy(row->worker, sizeof(row->worker), bk_str(c->text));
        row->state = row->worker[0] == '\0' ? BK_ALLOC_QUEUED
                                            : BK_ALLOC_READY;
        row->expires_ms = c->expires_ms;
        row->changed_ms = c->when_ms;
        return 1;

    case BK_STORE_ANSWERED:
        row->answered = 1;
        return 1;

    case BK_STORE_REKEY:
        memcpy(row->spki, c->spki, c->spki_len);
        row->spki_len = c->spki_len;
        return 1;

    case BK_STORE_EXTEND:
        row->expires_ms = c->expires_ms;
        row->changed_ms = c->when_ms;
        return 1;

    default:
        row->state = c->number;
        row->changed_ms = c->when_ms;
        bk_str_copy(row->reason, sizeof(row->reason), bk_str(c->text));
        return 1;
    }
}


void
bk_store_kept_line(bk_store_row_t *r, const bk_change_t *c)
{
    char  until[32], text[48];

    switch (c->kind) {
    case BK_STORE_PLACE:
        bk_store_line(r, c->text[0] != '\0' ? "placed" : "queued", "",
                      c->text, c->when_ms);
        return;

    case BK_STORE_REKEY:
        bk_store_line(r, "rekeyed", "", "answered again, with a new key",
                      c->when_ms);
        return;

    case BK_STORE_EXTEND:
        (void) snprintf(text, sizeof(text), "until %s",
                        bk_time_format(c->expires_ms, until, sizeof(until)));
        bk_store_line(r, "renewed", "", text, c->when_ms);
        return;
    }
}
