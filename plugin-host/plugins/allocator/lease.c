/*
 * Who is still waited for?  A place in the queue lasts as long as somebody
 * shows interest: a call that waits, a connection that a gateway holds, a
 * lookup, a renewal, a watch.  What nobody wants any more is let go, so that
 * the next one gets its turn.
 *
 * Once a second: that is often enough for leases of a minute.
 */

#include <stdio.h>
#include <string.h>

#include "allocator.h"
#include "bk_report.h"


static int bk_lease_session(const bk_session_info_t *session, void *data);
static void bk_lease_end(bk_allocator_t *a, bk_ask_t *ask);


/* From now on nobody waits for it in a call. */

void
bk_lease_idle(bk_allocator_t *a, bk_ask_t *ask)
{
    bk_record_t  *rec;

    rec = ask->rec;

    if (!ask->idle) {
        ask->idle = 1;
        TAILQ_INSERT_TAIL(&a->idle, ask, link);
    }

    ask->until_ms = a->host->monotonic_ms(a->host)
                    + (rec->told ? a->queue_lease_ms : a->reconnect_ms);
    bk_lease_arm(a);
}


void
bk_lease_busy(bk_allocator_t *a, bk_ask_t *ask)
{
    if (ask->idle) {
        ask->idle = 0;
        TAILQ_REMOVE(&a->idle, ask, link);
    }
}


void
bk_lease_touch(bk_allocator_t *a, bk_record_t *rec)
{
    if (rec->ask != NULL && rec->ask->idle) {
        bk_lease_idle(a, rec->ask);
    }
}


void
bk_lease_arm(bk_allocator_t *a)
{
    if (!a->sweeping && !a->stopping) {
        a->sweeping = 1;
        a->host->timer_set(a->sweep, BK_SECOND);
    }
}


void
bk_lease_sweep(void *data)
{
    bk_allocator_t *a = data;

    unsigned    late;
    uint64_t    now;
    bk_ask_t   *ask, *next;
    bk_home_t  *home;

    a->sweeping = 0;

    if (!bk_journal_is_ready(a->journal)) {
        /* armed again when it is */
        return;
    }

    late = 0;
    now = a->host->monotonic_ms(a->host);

    TAILQ_FOREACH(ask, &a->idle, link) {
        ask->late = ask->until_ms <= now;

        if (ask->late && bk_watch_wanted(ask->rec)) {
            bk_lease_touch(a, ask->rec);
            ask->late = 0;
        }

        if (ask->rec->stored && !ask->rec->modelled) {
            /* its pool may be there now */
            bk_allocator_later(a, ask->rec);
        }

        late += ask->late;
    }

    if (late > 0) {
        /* once for all of them: it is a look at every connection */
        (void) a->host->session_each(a->host, bk_lease_session, a);
    }

    for (ask = TAILQ_FIRST(&a->idle); late > 0 && ask != NULL; ask = next) {
        next = TAILQ_NEXT(ask, link);

        if (ask->late) {
            bk_lease_end(a, ask);
        }
    }

    if (bk_queue_total(a->queue) > 0) {
        /* a disk may have got room meanwhile, and nobody told us */
        for (home = bk_record_homes(a->records); home != NULL;
             home = home->hh.next)
        {
            if (bk_queue_length(home->queue) > 0) {
                bk_queue_wet(home->queue);
            }
        }

        bk_allocator_kick(a);
        bk_lease_arm(a);

    } else if (!TAILQ_EMPTY(&a->idle)) {
        bk_lease_arm(a);
    }
}


/* Its client holds on at a gateway. */

static int
bk_lease_session(const bk_session_info_t *session, void *data)
{
    bk_allocator_t *a = data;

    char          text[BK_ID_LEN + 1];
    size_t        n;
    uint8_t       prefix[BK_ID_LEN / 2];
    bk_record_t  *rec;

    /* a look (buildx ls) waits for nothing */
    if (session->phase != BK_PHASE_HELD || session->kind == BK_KIND_LOOK
        || session->allocation.len != BK_ID_LEN)
    {
        return 0;
    }

    bk_str_copy(text, sizeof(text), session->allocation);

    if (bk_token_prefix(text, prefix) != 0) {
        return 0;
    }

    rec = bk_record_prefix(a->records, prefix, sizeof(prefix), &n);

    if (rec != NULL && rec->ask != NULL && rec->ask->idle
        && rec->ask->late)
    {
        rec->ask->late = 0;
        bk_lease_touch(a, rec);
    }

    return 0;
}


static void
bk_lease_end(bk_allocator_t *a, bk_ask_t *ask)
{
    char          id[BK_ID_LEN + 1];
    bk_record_t  *rec;

    rec = ask->rec;

    if (rec->ending || rec->placing || rec->answering) {
        /* something is on its way: look again in a second */
        return;
    }

    a->stats.gave_up++;
    a->host->log(a->host, BK_LOG_INFO, "allocation %s: nobody waits for it "
                 "any more", bk_token_id(rec->hash, id));

    bk_allocator_end(a, rec->hash, BK_ALLOC_RELEASED,
                     "nobody waited for it any more", NULL, NULL);
}
