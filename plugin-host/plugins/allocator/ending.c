/*
 * The answer to a revocation waits a moment: whoever revokes wants to know
 * that the builds have stopped, and how many there were.
 *
 * The allocation has ended when we come here, whatever becomes of the
 * caller.  The gateways cut its connections by themselves; we only look at
 * their reports until none is left, and not for long.
 */

#include <stdlib.h>
#include <string.h>

#include "allocator.h"
#include "bk_report.h"


#define BK_ENDING_LOOK  50
#define BK_ENDING_WAIT  (2 * BK_SECOND)


static int bk_ending_session(const bk_session_info_t *session, void *data);
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


/* before: how many there were before it ended */

void
bk_ending_begin(bk_allocator_t *a, bk_request_t *r, const char *id,
    const char *reason, unsigned before)
{
    bk_ending_t      *e;
    const bk_host_t  *h;

    h = a->host;
    e = calloc(1, sizeof(bk_ending_t));

    if (e == NULL) {
        abort();
    }

    e->a = a;
    e->r = r;
    e->before = before;
    e->deadline = h->monotonic_ms(h) + BK_ENDING_WAIT;
    bk_str_copy(e->id, sizeof(e->id), bk_str(id));
    bk_str_copy(e->reason, sizeof(e->reason), bk_str(reason));

    if (before == 0) {
        bk_ending_answer(e, 0);
        free(e);
        return;
    }

    TAILQ_INSERT_TAIL(&a->endings, e, link);
    h->http_on_gone(r, bk_ending_gone, e);
    e->timer = h->timer_new(h, bk_ending_look, e);
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
    (void) r;

    bk_ending_free(data);
}


static void
bk_ending_answer(const bk_ending_t *e, unsigned left)
{
    bk_buf_t  b;

    b = (bk_buf_t) { NULL, 0, 0 };

    bk_buf_str(&b, "id", e->id);
    bk_buf_str(&b, "state", "revoked");
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


void
bk_ending_drop_all(bk_allocator_t *a)
{
    bk_count_t    count;
    bk_ending_t  *e;

    while ((e = TAILQ_FIRST(&a->endings)) != NULL) {
        bk_ending_answer(e, bk_ending_count(a, e->id, &count));
        bk_ending_free(e);
    }
}
