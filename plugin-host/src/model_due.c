/*
 * Time of allocations: a live one expires, an ended one is forgotten after it
 * was kept for a time.  One heap, one timer, and the heartbeat of each second
 * for what is further away.
 */

#include <string.h>

#include "model_int.h"


/* At one go of the timer, so that a mass expiry does not hold up the loop. */
#define BK_MODEL_DUE_BATCH  2000


void
bk_model_due(bk_model_t *m)
{
    unsigned         n;
    uint64_t         now = bk_model_now_ms();
    bk_alloc_t      *a;
    bk_heap_item_t  *top;

    bk_model_enter(m);

    for (n = 0; n < BK_MODEL_DUE_BATCH; n++) {
        top = bk_heap_top(&m->due);
        if (top == NULL || top->due_ms > now) {
            break;
        }

        a = (bk_alloc_t *) ((char *) top - offsetof(bk_alloc_t, due));

        if (bk_alloc_ended(a->state)) {
            bk_model_alloc_remove(m, a);

        } else {
            bk_model_alloc_finish(m, a, BK_ALLOC_EXPIRED, NULL);
        }
    }

    bk_model_arm(m);
    bk_model_leave(m);
}


void
bk_model_arm(bk_model_t *m)
{
    uint64_t         now, ms;
    struct timeval   tv;
    bk_heap_item_t  *top = bk_heap_top(&m->due);

    /* what is further away is found by the heartbeat of each second */
    now = bk_model_now_ms();
    if (top == NULL || top->due_ms > now + 1500) {
        return;
    }

    ms = top->due_ms > now ? top->due_ms - now : 0;
    tv.tv_sec = (time_t) (ms / 1000);
    tv.tv_usec = (suseconds_t) (ms % 1000 * 1000);
    evtimer_add(m->due_timer, &tv);
}
