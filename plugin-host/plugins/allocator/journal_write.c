/*
 * What is asked of the journal: each call becomes an operation with copies
 * of its parameters, and goes to the writer's thread at the end of this turn
 * of the loop.  Nothing here touches the disk.
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "journal_int.h"


/* a row with its metadata has at most 13 kB, and mostly less than one */
#define BK_JOURNAL_BYTES_MAX  (16 * 1024 * 1024)


static void bk_journal_line(bk_sqlite_t *j, int kind, const uint8_t *hash,
    const char *what, const char *who, const char *text, uint64_t now_ms);


bk_arg_t
bk_arg_text(const char *s)
{
    return (bk_arg_t) { SQLITE_TEXT, strlen(s), 0, s };
}


bk_arg_t
bk_arg_blob(const void *data, size_t len)
{
    return (bk_arg_t) { SQLITE_BLOB, len, 0, data };
}


bk_arg_t
bk_arg_number(uint64_t n)
{
    return (bk_arg_t) { SQLITE_INTEGER, 0, (int64_t) n, NULL };
}


bk_op_t *
bk_journal_op(int kind, const bk_arg_t *args, unsigned nargs,
    bk_journal_pt done, void *data)
{
    char      *p;
    size_t     size;
    bk_op_t   *op;
    unsigned   i;

    size = sizeof(bk_op_t) + nargs * sizeof(bk_arg_t);

    for (i = 0; i < nargs; i++) {
        size += args[i].len;
    }

    op = malloc(size);

    if (op == NULL) {
        abort();
    }

    *op = (bk_op_t) { .done = done, .data = data, .size = size,
                      .kind = kind, .nargs = nargs };

    p = (char *) &op->args[nargs];

    for (i = 0; i < nargs; i++) {
        op->args[i] = args[i];

        if (args[i].type == SQLITE_INTEGER) {
            continue;
        }

        /* not NULL when it is empty: that would be another value */
        op->args[i].data = p;

        if (args[i].len > 0) {
            memcpy(p, args[i].data, args[i].len);
            p += args[i].len;
        }
    }

    return op;
}


void
bk_journal_push(bk_sqlite_t *j, bk_op_t *op)
{
    if (STAILQ_EMPTY(&j->asked)) {
        j->host->timer_set(j->turn, 0);
    }

    j->bytes += op->size;
    j->nops++;
    STAILQ_INSERT_TAIL(&j->asked, op, link);
}


/*
 * A disk that has come to a halt must not cost all our memory: what is too
 * much is refused, in its turn.
 */

void
bk_journal_ask(bk_sqlite_t *j, int kind, const bk_arg_t *args,
    unsigned nargs, bk_journal_pt done, void *data)
{
    bk_op_t   *op;
    bk_err_t   err;

    if (j->bytes < BK_JOURNAL_BYTES_MAX) {
        bk_journal_push(j, bk_journal_op(kind, args, nargs, done, data));
        return;
    }

    (void) bk_fail(&err, 503, "JournalBusy",
                   "look at the disk of the state folder: it does not keep "
                   "up", "%zu changes wait to be written to the journal",
                   j->nops);

    op = bk_journal_op(kind, NULL, 0, done, data);
    bk_op_fail(op, &err);
    bk_journal_push(j, op);
}


void
bk_sqlite_insert(void *back, const bk_row_t *row, bk_journal_pt done,
    void *data)
{
    bk_sqlite_t *j = back;

    const bk_arg_t  args[] = {
        bk_arg_blob(row->hash, BK_TABLE_HASH_LEN),
        bk_arg_blob(row->spki, row->spki_len),
        bk_arg_blob(row->nonce, BK_NONCE_LEN),
        bk_arg_text(row->pool),
        bk_arg_text(row->worker),
        bk_arg_text(row->job_id),
        bk_arg_text(row->client),
        bk_arg_text(row->owner),
        bk_arg_text(row->rule),
        bk_arg_text(row->cache_key),
        bk_arg_text(row->arch),
        bk_arg_text(row->idempotency),
        bk_arg_text(row->metadata == NULL ? "" : row->metadata),
        bk_arg_number(row->created_ms),
        bk_arg_number(row->expires_ms),
        bk_arg_number(row->ttl_ms),
        bk_arg_number(row->concurrency),
        bk_arg_number((uint64_t) (int64_t) row->priority),
        bk_arg_number(row->untrusted != 0),
        bk_arg_number(row->answered != 0),
        bk_arg_number(row->max_ttl_ms)
    };

    bk_journal_ask(j, BK_OP_INSERT, args, sizeof(args) / sizeof(args[0]),
                   done, data);
}


void
bk_sqlite_place(void *back, const uint8_t *hash, const char *worker,
    uint64_t expires_ms, uint64_t now_ms, bk_journal_pt done, void *data)
{
    bk_sqlite_t *j = back;

    const bk_arg_t  args[] = {
        bk_arg_blob(hash, BK_TABLE_HASH_LEN),
        bk_arg_text(worker),
        bk_arg_number(expires_ms),
        bk_arg_number(now_ms)
    };

    bk_journal_ask(j, BK_OP_PLACE, args, 4, done, data);
    bk_journal_line(j, BK_OP_LINE, hash,
                    worker[0] != '\0' ? "placed" : "queued", "", worker,
                    now_ms);
}


void
bk_sqlite_answered(void *back, const uint8_t *hash, bk_journal_pt done,
    void *data)
{
    bk_sqlite_t *j = back;

    const bk_arg_t  arg = bk_arg_blob(hash, BK_TABLE_HASH_LEN);

    bk_journal_ask(j, BK_OP_ANSWERED, &arg, 1, done, data);
}


void
bk_sqlite_rekey(void *back, const uint8_t *hash, const uint8_t *spki,
    size_t len, bk_journal_pt done, void *data)
{
    bk_sqlite_t *j = back;

    const bk_arg_t  args[] = {
        bk_arg_blob(hash, BK_TABLE_HASH_LEN),
        bk_arg_blob(spki, len)
    };

    assert(len <= BK_SPKI_MAX);

    bk_journal_ask(j, BK_OP_REKEY, args, 2, done, data);
    bk_journal_line(j, BK_OP_LINE, hash, "rekeyed", "",
                    "answered again, with a new key",
                    j->host->now_ms(j->host));
}


void
bk_sqlite_extend(void *back, const uint8_t *hash, uint64_t expires_ms,
    uint64_t now_ms, bk_journal_pt done, void *data)
{
    bk_sqlite_t *j = back;

    char            until[32], text[48];

    const bk_arg_t  args[] = {
        bk_arg_blob(hash, BK_TABLE_HASH_LEN),
        bk_arg_number(expires_ms),
        bk_arg_number(now_ms)
    };

    (void) snprintf(text, sizeof(text), "until %s",
                    bk_time_format(expires_ms, until, sizeof(until)));

    bk_journal_ask(j, BK_OP_EXTEND, args, 3, done, data);
    bk_journal_line(j, BK_OP_LINE, hash, "renewed", "", text, now_ms);
}


void
bk_sqlite_end(void *back, const uint8_t *hash, int state,
    const char *reason, uint64_t now_ms, bk_journal_pt done, void *data)
{
    bk_sqlite_t *j = back;

    const bk_arg_t  args[] = {
        bk_arg_blob(hash, BK_TABLE_HASH_LEN),
        bk_arg_text(bk_state_name(state)),
        bk_arg_text(reason),
        bk_arg_number(now_ms)
    };

    assert(state >= BK_ALLOC_EXPIRED);

    bk_journal_ask(j, BK_OP_END, args, 4, done, data);
}


void
bk_sqlite_note(void *back, const uint8_t *hash, const char *what,
    const char *who, const char *text, uint64_t now_ms)
{
    bk_sqlite_t *j = back;

    bk_journal_line(j, BK_OP_NOTE, hash, what, who, text, now_ms);
}


/* Made and ended are in the row itself, and cost no line. */

static void
bk_journal_line(bk_sqlite_t *j, int kind, const uint8_t *hash,
    const char *what, const char *who, const char *text, uint64_t now_ms)
{
    const bk_arg_t  args[] = {
        bk_arg_blob(hash, BK_TABLE_HASH_LEN),
        bk_arg_number(now_ms),
        bk_arg_text(what),
        bk_arg_text(who),
        bk_arg_text(text)
    };

    bk_journal_ask(j, kind, args, 5, NULL, NULL);
}


void
bk_sqlite_sync(void *back, bk_journal_pt done, void *data)
{
    bk_sqlite_t *j = back;

    bk_journal_push(j, bk_journal_op(BK_OP_SYNC, NULL, 0, done, data));
}


void
bk_sqlite_prune(void *back, uint64_t before_ms)
{
    bk_sqlite_t *j = back;

    (void) pthread_mutex_lock(&j->lock);
    j->prune_ms = before_ms;
    j->pruning = 1;
    (void) pthread_cond_signal(&j->work);
    (void) pthread_mutex_unlock(&j->lock);
}
