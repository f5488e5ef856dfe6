/*
 * An allocation that a command runs in is renewed in time: an honest job
 * never meets its end.
 *
 * After half of its time, or a minute before its end if that is earlier (but
 * not before a third), so that there is time for several attempts.  A failure
 * is tried again after 1, 2, 4 ... seconds, more often near the end.
 */

#include <stdlib.h>
#include <string.h>

#include "bkctl.h"


#define BK_RENEWAL_EARLY    60000
#define BK_RENEWAL_PAUSE    1000
#define BK_RENEWAL_TIMEOUT  30000


static void bk_renewal_failed(bk_node_t *node, const bk_api_reply_t *r);


void
bk_renewal_schedule(bk_node_t *node)
{
    int64_t  left, ms;

    node->renew_at = 0;
    node->renew_pause = 0;
    left = bk_renewal_left(node);

    if (left < 0) {
        return;         /* for ever */
    }

    ms = left - BK_RENEWAL_EARLY;
    ms = ms > left / 3 ? ms : left / 3;
    ms = ms < left / 2 ? ms : left / 2;

    node->renew_at = bk_now_ms() + (uint64_t) ms;
}


/* By the API's clock, whose answer may be up to a second old. */

int64_t
bk_renewal_left(const bk_node_t *node)
{
    int64_t  at, left;

    at = bk_time_parse(bk_out_string(node->answer, "expiresAt"));

    if (at <= 0) {
        return -1;
    }

    left = at - bk_unix_ms() - node->skew_ms;

    return left > 0 ? left : 0;
}


void
bk_renewal_run(bk_node_t *node, int (*stop)(void *data))
{
    int64_t         left;
    unsigned        timeout;
    bk_api_reply_t  r;

    node->renew_at = 0;

    /* an API that hangs is given up while there is time to ask again */
    left = bk_renewal_left(node) / 3;
    timeout = left < BK_RENEWAL_PAUSE ? BK_RENEWAL_PAUSE
              : left > BK_RENEWAL_TIMEOUT ? BK_RENEWAL_TIMEOUT
                                          : (unsigned) left;

    if (bk_alloc_renew(&node->args, bk_out_string(node->answer, "token"),
                       timeout, node->s->sigfd, stop, node->s, &r)
        == BK_EXIT_OK)
    {
        node->skew_ms = r.skew_ms;
        json_object_update(node->answer, r.json);

        if (node->renew_pause) {
            bk_out_note("bkctl: the allocation %s is renewed after all",
                        node->id);
        }

        bk_renewal_schedule(node);
        bk_creds_write(node->dir, node->answer);

    } else if (!r.aborted) {
        bk_renewal_failed(node, &r);
    }

    bk_reply_free(&r);
}


/* One that has ended stays so: the gateway tells the build, we the person. */

static void
bk_renewal_failed(bk_node_t *node, const bk_api_reply_t *r)
{
    int64_t      left;
    uint64_t     pause;
    const char  *hint;

    left = bk_renewal_left(node);
    hint = r->status == 410 || r->status == 404 ? ""
           : left > 0 ? "; trying again" : "; its time is over";

    /* the same trouble is said once, and at the end */
    if (strcmp(node->renew_error, r->error) != 0 || left <= 0) {
        bk_out_note("bkctl: warning: cannot renew the allocation %s: %s%s",
                    node->id, r->error, hint);
        snprintf(node->renew_error, sizeof(node->renew_error), "%s",
                 r->error);
    }

    if (r->status == 410 || r->status == 404 || left <= 0) {
        return;
    }

    pause = node->renew_pause ? node->renew_pause * 2 : BK_RENEWAL_PAUSE;
    node->renew_pause = pause < BK_RENEWAL_TIMEOUT ? pause
                                                   : BK_RENEWAL_TIMEOUT;

    if ((int64_t) node->renew_pause > left / 3) {
        node->renew_pause = left / 3 > BK_RENEWAL_PAUSE ? (uint64_t) left / 3
                                                        : BK_RENEWAL_PAUSE;
    }

    node->renew_at = bk_now_ms() + node->renew_pause;
}
