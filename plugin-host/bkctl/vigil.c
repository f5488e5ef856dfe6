/*
 * What becomes of the allocation while a command runs in it.
 *
 * buildctl and buildx say nothing while the gateway holds their connection,
 * and when an allocation ends they may say more than a person wants to know.
 * So it is looked up, by its own token: each second as long as its worker is
 * not ready or no connection has got through, seldom after that.  A line is
 * written only while a connection waits.  An API that does not answer is none
 * of our business here: builds go on without it.
 */

#include <stdlib.h>
#include <string.h>

#include "bk_duration.h"
#include "bkctl.h"


#define BK_VIGIL_FIRST   1000       /* most commands are over by then */
#define BK_VIGIL_OFTEN   1000
#define BK_VIGIL_SELDOM  10000
#define BK_VIGIL_NEW     60000      /* it may still be about to connect */
#define BK_VIGIL_AGAIN   10000      /* the same line again */
#define BK_VIGIL_LAST    10000      /* the reason is worth a longer wait */


static int bk_vigil_ready(const json_t *look);
static void bk_vigil_held(bk_node_t *node, const json_t *look);
static void bk_vigil_through(bk_node_t *node, const json_t *look);
static int bk_vigil_idle(void *data);


void
bk_vigil_begin(bk_node_t *node)
{
    node->look_at = node->s->born_ms + BK_VIGIL_FIRST;
}


void
bk_vigil_look(bk_node_t *node)
{
    int             rc, watch;
    uint64_t        now;
    bk_api_reply_t  r;

    node->look_at = 0;
    rc = bk_alloc_lookup(&node->args, bk_out_string(node->answer, "token"), 0,
                         node->s->sigfd, bk_session_busy, node->s, &r);
    now = bk_now_ms();

    if (r.status == 410 || r.status == 404) {
        /* that is for ever, and said at the end */
        bk_reply_free(&r);
        return;
    }

    watch = 0;

    if (rc == BK_EXIT_OK) {
        if (bk_out_number(r.json, "held") > 0) {
            bk_vigil_held(node, r.json);

        } else {
            bk_vigil_through(node, r.json);
        }

        watch = node->held_ms || !bk_vigil_ready(r.json)
                || (bk_out_number(r.json, "live") == 0
                    && now - node->s->born_ms < BK_VIGIL_NEW);
    }

    node->look_at = now + (watch ? BK_VIGIL_OFTEN : BK_VIGIL_SELDOM);
    bk_reply_free(&r);
}


static int
bk_vigil_ready(const json_t *look)
{
    const char  *state;

    state = bk_out_string(look, "state");

    return strcmp(state, "queued") != 0 && strcmp(state, "starting") != 0;
}


/* "bkctl: waiting for worker w1: starting: pulling the image (12s)" */

static void
bk_vigil_held(bk_node_t *node, const json_t *look)
{
    char         text[sizeof(node->said)], took[32];
    uint64_t     now;
    const char  *message, *state;

    now = bk_now_ms();

    if (!node->held_ms) {
        node->held_ms = now;
    }

    state = bk_out_string(look, "workerState");
    state = *state ? state : bk_out_string(look, "state");
    message = bk_out_string(look, "workerMessage");

    if (strcmp(state, "ready") == 0
        && now - node->held_ms < BK_VIGIL_OFTEN / 2)
    {
        /* it may just be connecting */
        return;
    }

    /* a ready one that lets people wait does not answer the gateway */
    snprintf(text, sizeof(text), "waiting for worker %s: %s%s%s",
             bk_out_string(look, "workerName"),
             strcmp(state, "ready") == 0 ? "it does not answer" : state,
             *message && strcmp(message, state) != 0 ? ": " : "",
             strcmp(message, state) != 0 ? message : "");

    if (strcmp(text, node->said) == 0 && now < node->say_at) {
        return;
    }

    memcpy(node->said, text, sizeof(text));
    node->say_at = now + BK_VIGIL_AGAIN;
    bk_duration_format((now - node->held_ms) / 1000 * 1000, took,
                       sizeof(took));
    bk_out_note("bkctl: %s (%s)", text, took);
}


static void
bk_vigil_through(bk_node_t *node, const json_t *look)
{
    char  took[32];

    if (!node->held_ms) {
        return;
    }

    bk_duration_format((bk_now_ms() - node->held_ms) / 1000 * 1000, took,
                       sizeof(took));

    if (node->said[0] && bk_vigil_ready(look)
        && bk_out_number(look, "live") > 0)
    {
        bk_out_note("bkctl: worker %s is there after %s",
                    bk_out_text(look, "workerName"), took);
    }

    node->held_ms = 0;
    node->said[0] = '\0';
}


/* The command is over; what it said may not be the reason. */

void
bk_vigil_end(bk_node_t *node, int rc)
{
    bk_api_reply_t  r;

    node->look_at = 0;

    if (rc == 0) {
        return;
    }

    if (bk_alloc_lookup(&node->args, bk_out_string(node->answer, "token"),
                        BK_VIGIL_LAST, node->s->sigfd, bk_vigil_idle,
                        node->s, &r)
        == BK_EXIT_OK)
    {
        if (strcmp(bk_out_string(r.json, "state"), "draining") == 0) {
            snprintf(node->epitaph, sizeof(node->epitaph), "allocation %s "
                     "takes no new connections: %s", node->id,
                     bk_out_string(r.json, "reason"));
        }

    } else if (r.status == 410) {
        snprintf(node->epitaph, sizeof(node->epitaph), "%s", r.error);

    } else if (bk_renewal_left(node) == 0) {
        /* the gateway needs nobody to know that */
        snprintf(node->epitaph, sizeof(node->epitaph), "allocation %s expired "
                 "at %s and could not be renewed: %s", node->id,
                 bk_out_string(node->answer, "expiresAt"),
                 *node->renew_error ? node->renew_error : r.error);
    }

    bk_reply_free(&r);
}


/* Nothing runs any more: only a signal ends this before its time. */

static int
bk_vigil_idle(void *data)
{
    bk_session_t  *s = data;

    (void) bk_session_busy(s);

    return s->interrupted;
}
