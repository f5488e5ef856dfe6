/*
 * One allocation of a session: asked for, its files written, given back.
 */

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "bk_duration.h"
#include "bkctl.h"


#define BK_NODE_RELEASE_MS  5000
#define BK_NODE_PATIENCE    15000   /* for an API that is not there */
#define BK_NODE_PAUSE       300


static void bk_node_ask(bk_node_t *node, const char *arch);
static void bk_node_release(bk_node_t *node, bk_api_reply_t *r);


bk_node_t *
bk_session_add(bk_session_t *s, const char *arch)
{
    char        pool[700];
    bk_node_t  *node;

    node = calloc(1, sizeof(bk_node_t));

    if (node == NULL) {
        abort();
    }

    node->s = s;
    node->args = *s->args;
    bk_node_ask(node, arch);
    s->nodes[s->n++] = node;

    if (bk_creds_tempdir(node->dir, sizeof(node->dir)) != 0
        || bk_alloc_new(&node->args, s->sigfd, bk_session_adding, s,
                        &node->answer, &node->skew_ms)
           != BK_EXIT_OK)
    {
        return NULL;
    }

    bk_alloc_id(node->answer, node->id);
    bk_renewal_schedule(node);

    if (!bk_alloc_ready(node->answer)) {
        bk_out_note("bkctl: worker %s of pool %s is still %s; the gateway "
                    "holds connections until it is ready",
                    bk_out_text(node->answer, "workerName"),
                    bk_alloc_pool(s->args, pool, sizeof(pool)),
                    bk_out_string(node->answer, "state"));
    }

    if (bk_creds_write(node->dir, node->answer) != 0) {
        return NULL;
    }

    if (s->n == 1) {
        setenv("BUILDKIT_HOST", bk_alloc_endpoint(node->answer), 1);
        setenv("BKCTL_TLS_DIR", node->dir, 1);
    }

    return s->interrupted ? NULL : node;
}


/* What it asks for that the others do not. */

static void
bk_node_ask(bk_node_t *node, const char *arch)
{
    uint64_t  now;

    now = bk_now_ms();

    if (node->s->n > 0) {
        bk_duration_format(now < node->s->wait_end ? node->s->wait_end - now
                                                   : 0,
                           node->wait, sizeof(node->wait));
        node->args.wait = node->wait;
    }

    if (arch == NULL) {
        return;
    }

    node->args.arch = arch;

    /* several of one command are several to the API as well */

    if (node->args.idempotency_key) {
        snprintf(node->key, sizeof(node->key), "%s/%s",
                 node->args.idempotency_key, arch);
        node->args.idempotency_key = node->key;
    }
}


void
bk_node_end(bk_node_t *node)
{
    bk_api_reply_t  r;

    if (node->answer) {
        bk_node_release(node, &r);

        if (r.exit != BK_EXIT_OK && r.status != 410 && r.status != 404
            && bk_renewal_left(node) != 0)
        {
            bk_out_note("bkctl: warning: the allocation %s was not released: "
                        "%s; it expires at %s", node->id, r.error,
                        bk_out_text(node->answer, "expiresAt"));
        }

        bk_reply_free(&r);
        json_decref(node->answer);
    }

    if (node->dir[0]) {
        bk_creds_remove(node->dir);
    }
}


/*
 * An API that restarts just now gets some time: others wait for the worker.
 * A signal ends that.
 */

static void
bk_node_release(bk_node_t *node, bk_api_reply_t *r)
{
    int            said;
    uint64_t       end;
    bk_session_t  *s = node->s;
    struct pollfd  pfd = { .fd = s->sigfd, .events = POLLIN };

    said = 0;
    end = bk_now_ms() + BK_NODE_PATIENCE;

    for ( ;; ) {
        bk_alloc_release(&node->args, bk_out_string(node->answer, "token"),
                         BK_NODE_RELEASE_MS, r);

        if (r->exit == BK_EXIT_OK || r->again == BK_AGAIN_NEVER
            || bk_now_ms() >= end)
        {
            return;
        }

        if (!said) {
            said = 1;
            bk_out_note("bkctl: the API does not answer (%s), trying again "
                        "to release the allocation %s", r->why, node->id);
        }

        if (poll(&pfd, 1, BK_NODE_PAUSE) > 0
            && bk_signals_take(s->sigfd) != 0)
        {
            return;
        }

        bk_reply_free(r);
    }
}
