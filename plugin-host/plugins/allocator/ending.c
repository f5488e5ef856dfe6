/*
 * Ending an allocation by its id: the answer waits a moment, since whoever
 * revokes wants to know that the builds have stopped, and how many there
 * were.
 *
 * It ends in the journal first, then for the gateways, which cut its
 * connections by themselves; we only look at their reports until none is
 * left, and not for long.  Nothing of this depends on the caller, who may go
 * away meanwhile.
 */

#include <stdlib.h>
#include <string.h>

#include "allocator.h"
#include "bk_report.h"


#define BK_ENDING_LOOK  50
#define BK_ENDING_WAIT  (2 * BK_SECOND)


static bk_ending_t *bk_ending_new(bk_allocator_t *a, bk_request_t *r,
    const uint8_t *hash, int state, const char *reason);
static int bk_ending_session(const bk_session_info_t *session, void *data);
static void bk_ending_written(void *data, const bk_err_t *err);
static void bk_ending_watch(bk_ending_t *e);
static void bk_ending_look(void *data);
static void bk_ending_gone(bk_request_t *r, void *data);
static void bk_ending_answer(const bk_ending_t *e, unsigned left);
static void bk_ending_free(bk_ending_t *e);


unsigned
bk_ending_count(bk_allocator_t *a, const char *id, bk_count_t *count)
{
    *count = (bk_count_t) { .id = id };
    (void) a->host->session_each(a->host, bk_ending_session, count);

    return count->held + count->live;
}


static int
bk_ending_session(const bk_session_info_t *session, void *data)
{
    bk_count_t *count = data;

    if (session->allocation.len == BK_ID_LEN
        && memcmp(session->allocation.data, count->id, BK_ID_LEN) == 0)
    {
        count->live += session->phase == BK_PHASE_LIVE;
        count->held += session->phase == BK_PHASE_HELD
                       || session->phase == BK_PHASE_CONNECTING;
    }

    return 0;
}


static bk_ending_t *
bk_ending_new(bk_allocator_t *a, bk_request_t *r, const uint8_t *hash,
    int state, const char *reason)
{
    bk_count_t    count;
    bk_ending_t  *e;

    e = calloc(1, sizeof(bk_ending_t));

    if (e == NULL) {
        abort();
    }

    e->a = a;
    e->r = r;
    e->state = state;
    (void) bk_token_id(hash, e->id);
    bk_str_copy(e->reason, sizeof(e->reason), bk_str(reason));
    e->before = bk_ending_count(a, e->id, &count);
    e->timer = a->host->timer_new(a->host, bk_ending_look, e);

    TAILQ_INSERT_TAIL(&a->endings, e, link);

    return e;
}


void
bk_ending_begin(bk_allocator_t *a, bk_request_t *r, const uint8_t *hash,
    const char *pool, int state, const char *reason)
{
    bk_ending_t  *e;

    e = bk_ending_new(a, r, hash, state, reason);
    bk_buf_allocation(&e->line, hash, pool);

    bk_allocator_end(a, hash, state, reason, bk_ending_written, e);
}


void
bk_ending_again(bk_allocator_t *a, bk_request_t *r, const uint8_t *hash,
    int state, const char *reason)
{
    bk_ending_t  *e;

    e = bk_ending_new(a, r, hash, state, reason);
    e->written = 1;
    bk_ending_watch(e);
}


static void
bk_ending_written(void *data, const bk_err_t *err)
{
    bk_ending_t *e = data;

    e->written = 1;

    if (err == NULL) {
        bk_buf_str(&e->line, "reason", e->reason);

    } else {
        /* for the gateways it has (over.c) */
        bk_buf_bool(&e->line, "ended", 1);
    }

    bk_buf_audit(e->a, e->r,
                 e->state == BK_ALLOC_REVOKED ? "revoke" : "release",
                 bk_state_name(e->state), err, &e->line);

    if (err != NULL) {
        e->a->host->http_fail(e->r, err);
        bk_ending_free(e);
        return;
    }

    bk_ending_watch(e);
}


static void
bk_ending_watch(bk_ending_t *e)
{
    const bk_host_t  *h;

    h = e->a->host;

    if (e->before == 0) {
        bk_ending_answer(e, 0);
        bk_ending_free(e);
        return;
    }

    h->http_on_gone(e->r, bk_ending_gone, e);
    e->deadline = h->monotonic_ms(h) + BK_ENDING_WAIT;
    h->timer_set(e->timer, BK_ENDING_LOOK);
}


static void
bk_ending_look(void *data)
{
    bk_ending_t *e = data;

    unsigned          left;
    bk_count_t        count;
    const bk_host_t  *h;

    h = e->a->host;
    left = bk_ending_count(e->a, e->id, &count);

    if (left > 0 && h->monotonic_ms(h) < e->deadline) {
        h->timer_set(e->timer, BK_ENDING_LOOK);
        return;
    }

    bk_ending_answer(e, left);
    bk_ending_free(e);
}


static void
bk_ending_gone(bk_request_t *r, void *data)
{
    bk_ending_t *e = data;

    (void) r;

    bk_ending_free(e);
}


static void
bk_ending_answer(const bk_ending_t *e, unsigned left)
{
    bk_buf_t  b;

    b = (bk_buf_t) { NULL, 0, 0 };

    bk_buf_str(&b, "id", e->id);
    bk_buf_str(&b, "state", bk_state_name(e->state));
    bk_buf_str(&b, "reason", e->reason);
    bk_buf_number(&b, "connectionsCut",
                  e->before > left ? e->before - left : 0);
    bk_buf_number(&b, "connectionsLeft", left);
    bk_buf_add(&b, "}\n", 2);

    e->a->host->http_reply(e->r, 200, "application/json",
                           (bk_str_t) { b.data, b.len });
    bk_buf_free(&b);
}


static void
bk_ending_free(bk_ending_t *e)
{
    TAILQ_REMOVE(&e->a->endings, e, link);
    e->a->host->timer_free(&e->timer);
    free(e);
}


/* Those that are being written are answered when they are. */

void
bk_ending_drop_all(bk_allocator_t *a)
{
    bk_count_t    count;
    bk_ending_t  *e, *next;

    for (e = TAILQ_FIRST(&a->endings); e != NULL; e = next) {
        next = TAILQ_NEXT(e, link);

        if (e->written) {
            bk_ending_answer(e, bk_ending_count(a, e->id, &count));
            bk_ending_free(e);

        } else {
            e->before = 0;
        }
    }
}
