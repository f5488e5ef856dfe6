/*
 * The allocator's journal, records and queue for the requests of allocate.c,
 * as allocate_host.h is a host for them.  What no request can reach aborts.
 */

#ifndef BK_FUZZ_ALLOCATE_REST_H_INCLUDED
#define BK_FUZZ_ALLOCATE_REST_H_INCLUDED

#include "allocate_host.h"
#include "metrics.h"


/* The journal. */

int
bk_journal_is_ready(bk_journal_t *j)
{
    (void) j;

    return 1;
}


int
bk_journal_find(bk_journal_t *j, const uint8_t *hash, bk_row_t *row,
    bk_err_t *err)
{
    (void) j;

    if (fuzz.how & FUZZ_NONE) {
        return fuzz.how & FUZZ_FULL
               ? bk_fail(err, 500, "JournalUnreadable", NULL, "no")
               : 0;
    }

    memset(row, 0, sizeof(bk_row_t));
    memcpy(row->hash, hash, BK_TABLE_HASH_LEN);
    strcpy(row->pool, "default/demo");
    strcpy(row->rule, "main-builds");
    row->created_ms = FUZZ_NOW_MS - BK_HOUR;
    row->changed_ms = row->created_ms;
    row->expires_ms = FUZZ_NOW_MS + BK_HOUR;
    row->ttl_ms = BK_HOUR;
    row->max_ttl_ms = fuzz.how & FUZZ_RULE ? 60 * BK_SECOND : 0;
    row->state = fuzz.how & FUZZ_OVER ? BK_ALLOC_EXPIRED : BK_ALLOC_READY;

    return 1;
}


void
bk_journal_extend(bk_journal_t *j, const uint8_t *hash, uint64_t expires_ms,
    uint64_t now_ms, bk_journal_pt done, void *data)
{
    (void) j;
    (void) hash;
    assert(expires_ms >= now_ms + BK_SECOND);
    assert(expires_ms <= now_ms + fuzz_a.max_ttl_ms + BK_SECOND);
    fuzz_later(done, data);
}


void
bk_allocator_end(bk_allocator_t *a, const uint8_t *hash, int state,
    const char *reason, bk_journal_pt done, void *data)
{
    (void) a;
    (void) hash;
    assert(state == BK_ALLOC_RELEASED && reason != NULL);
    fuzz_later(done, data);
}


int
bk_over_unwritten(const bk_allocator_t *a, const uint8_t *hash, bk_err_t *err)
{
    (void) a;
    (void) hash;

    /* a row that is over may be one whose end is not written */
    if ((fuzz.how & (FUZZ_OVER|FUZZ_FULL)) == (FUZZ_OVER|FUZZ_FULL)) {
        (void) bk_fail(err, 503, "JournalUnwritable", "ask again", "no");
        return 1;
    }

    return 0;
}


/* Records and queue: there is nothing in them. */

bk_record_t *
bk_record_find(bk_records_t *rs, const uint8_t *hash)
{
    (void) rs;
    (void) hash;

    return NULL;
}


bk_record_t *
bk_record_again(bk_records_t *rs, const char *owner, const char *pool,
    const char *key)
{
    (void) rs;
    assert(owner != NULL && pool[0] != '\0' && key[0] != '\0');

    return NULL;
}


bk_home_t *
bk_record_home(bk_records_t *rs, const char *pool)
{
    (void) rs;
    assert(pool[0] != '\0');

    return fuzz_home;
}


size_t
bk_queue_length(const bk_queue_pool_t *p)
{
    (void) p;

    return fuzz.how & FUZZ_FULL ? 10 : 0;
}


int
bk_queue_user_waits(bk_queue_t *q, const char *owner, const char *rule)
{
    (void) q;
    assert(owner != NULL && rule[0] != '\0');

    return fuzz.how & FUZZ_RULE;
}


void
bk_metrics_refused(bk_metrics_t *m, const char *reason)
{
    (void) m;
    assert(reason[0] != '\0');
}


unsigned
bk_ending_count(bk_allocator_t *a, const char *id, bk_count_t *count)
{
    (void) a;
    assert(strlen(id) == BK_ID_LEN);
    *count = (bk_count_t) { .id = id, .held = 1 };

    return 1;
}


/* With a record only, or on other routes. */

#define FUZZ_NEVER(name, ...)                                                 \
    __attribute__((noreturn)) void name(__VA_ARGS__) { abort(); }
#define FUZZ_HANDLER(name)                                                    \
    FUZZ_NEVER(name, bk_request_t *r __attribute__((unused)),                 \
               const bk_request_info_t *info __attribute__((unused)),         \
               void *data __attribute__((unused)))
#define FUZZ_UNUSED  __attribute__((unused))

FUZZ_HANDLER(bk_show_http)
FUZZ_HANDLER(bk_revoke_http)
FUZZ_HANDLER(bk_release_other_http)
FUZZ_HANDLER(bk_wake_http)
FUZZ_HANDLER(bk_drain_http)
FUZZ_HANDLER(bk_drain_look_http)

FUZZ_NEVER(bk_again, bk_call_t *c FUZZ_UNUSED, bk_record_t *rec FUZZ_UNUSED)
FUZZ_NEVER(bk_again_forget, bk_rekey_t *k FUZZ_UNUSED)
__attribute__((noreturn)) const char *
bk_queue_user_owner(const bk_queue_user_t *u)
{
    (void) u;
    abort();
}


FUZZ_NEVER(bk_allocator_kick, bk_allocator_t *a FUZZ_UNUSED)
FUZZ_NEVER(bk_answer_queue, bk_allocator_t *a FUZZ_UNUSED,
           bk_record_t *rec FUZZ_UNUSED, bk_buf_t *b FUZZ_UNUSED)
FUZZ_NEVER(bk_lease_busy, bk_allocator_t *a FUZZ_UNUSED,
           bk_ask_t *ask FUZZ_UNUSED)
FUZZ_NEVER(bk_lease_touch, bk_allocator_t *a FUZZ_UNUSED,
           bk_record_t *rec FUZZ_UNUSED)
FUZZ_NEVER(bk_record_ref, bk_record_t *rec FUZZ_UNUSED)
FUZZ_NEVER(bk_record_unref, bk_record_t **rec FUZZ_UNUSED)
FUZZ_NEVER(bk_settle, bk_allocator_t *a FUZZ_UNUSED,
           bk_record_t *rec FUZZ_UNUSED)
FUZZ_NEVER(bk_settle_rest, bk_allocator_t *a FUZZ_UNUSED,
           bk_record_t *rec FUZZ_UNUSED)


bk_str_t
bk_answer_gateway(bk_allocator_t *a, const char *pool, bk_str_t ca, char *buf)
{
    (void) a;
    assert(strlen(pool) < BK_TABLE_POOL_LEN);
    (void) snprintf(buf, BK_TABLE_NAME_LEN, "tcp://localhost:1235");

    return fuzz.how & FUZZ_RULE ? BK_STR("theirs") : ca;
}


bk_ask_t *
bk_ask_new(bk_record_t *rec)
{
    (void) rec;
    abort();
}

#endif /* BK_FUZZ_ALLOCATE_REST_H_INCLUDED */
