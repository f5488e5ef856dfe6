/*
 * Waiting for a worker: from the first request to an allocation whose worker
 * is ready.
 *
 * The first call is a short one: whoever has to queue is told so, with the
 * token, and follows the allocation from then on (watch, and a look by its
 * token now and then, which keeps the place).  An API that goes away is asked
 * again as long as the wait lasts; every request of one wait has the same
 * idempotencyKey, so that none of them takes a second worker.  Whoever stops
 * waiting gives back what it has.
 */

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "bk_duration.h"
#include "wait_int.h"


#define BK_WAIT_SLACK    15000      /* for an answer, after the wait */
#define BK_WAIT_FIRST    2000       /* of the first call */
#define BK_WAIT_WHY      2000       /* between questions what is up */
#define BK_WAIT_PAUSE    250        /* after a failure; doubles ... */
#define BK_WAIT_LONG     2000       /* ... up to this */
#define BK_WAIT_GIVE     3000       /* for giving it back */
#define BK_WAIT_TRIES    3          /* workers that may fail under it */


static int bk_wait_ask(bk_wait_t *w);
static void bk_wait_key(bk_wait_t *w);
static int bk_wait_failed(bk_wait_t *w);
static int bk_wait_again(const bk_wait_t *w, int rc);
static int bk_wait_end(bk_wait_t *w, int rc);
static void bk_wait_vain(bk_wait_t *w);
static void bk_wait_give(bk_wait_t *w);
static void bk_wait_why(bk_wait_t *w);
static void bk_wait_waited(const bk_wait_t *w);


int
bk_alloc_new(const bk_args_t *args, int fd, int (*stop)(void *data),
    void *data, json_t **answer, int64_t *skew_ms)
{
    int        rc;
    uint64_t   wait;
    bk_wait_t  w;

    wait = BK_WAIT_DEFAULT_MS;

    if (args->wait) {
        bk_duration_parse(args->wait, strlen(args->wait), &wait);
    }

    memset(&w, 0, sizeof(bk_wait_t));
    w.args = args;
    w.fd = fd;
    w.stop = stop;
    w.data = data;
    w.why_at = bk_now_ms() + 1000;
    w.end = bk_now_ms() + wait;
    w.body = bk_alloc_body(args);
    bk_progress_start(&w.progress, "waiting for a worker of pool %s",
                      bk_alloc_pool(args, w.pool, sizeof(w.pool)));

    do {
        bk_wait_key(&w);
        rc = bk_wait_ask(&w);

        if (rc == BK_EXIT_OK) {
            rc = bk_follow(&w);
        }

    } while (bk_wait_again(&w, rc) && ++w.tries < BK_WAIT_TRIES);

    rc = bk_wait_end(&w, rc);

    *answer = w.answer;
    *skew_ms = w.skew_ms;
    bk_reply_free(&w.r);
    json_decref(w.body);

    return rc;
}


static void
bk_wait_key(bk_wait_t *w)
{
    int            i;
    unsigned char  bytes[16];

    if (w->args->idempotency_key) {
        json_object_set_new(w->body, "idempotencyKey",
                            json_string(w->args->idempotency_key));
        return;
    }

    if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes)) {
        abort();
    }

    strcpy(w->key, "bkctl-");

    srand(bytes[0] | (unsigned) bytes[1] << 8 | (unsigned) bytes[2] << 16);

    for (i = 0; i < 16; i++) {
        snprintf(w->key + 6 + i * 2, 3, "%02x", bytes[i]);
    }

    json_object_set_new(w->body, "idempotencyKey", json_string(w->key));
}


/* Until there is an allocation, queued or better. */

static int
bk_wait_ask(bk_wait_t *w)
{
    int               rc;
    char              text[32];
    uint64_t          wait;
    bk_api_request_t  req = { .method = "POST", .fd = w->fd,
                              .path = "/api/v1/workers/allocate",
                              .body = w->body, .tick = bk_wait_tick,
                              .data = w };

    w->over = 0;

    for ( ;; ) {
        wait = bk_wait_left(w);

        if (!w->patient && wait > BK_WAIT_FIRST) {
            wait = BK_WAIT_FIRST;
        }

        bk_duration_format(wait, text, sizeof(text));
        json_object_set_new(w->body, "wait", json_string(text));
        req.timeout_ms = (unsigned) (wait < INT_MAX / 2 ? wait : INT_MAX / 2)
                         + BK_WAIT_SLACK;

        bk_reply_free(&w->r);
        rc = bk_api_call(w->args, &req, &w->r);

        if (rc == BK_EXIT_OK) {
            break;
        }

        if (rc == BK_EXIT_CAPACITY && !w->patient && bk_wait_left(w) > 0) {
            /* it has no queue but its calls */
            w->patient = 1;
            bk_wait_back(w);
            continue;
        }

        if (w->r.aborted || bk_wait_failed(w) != 0) {
            return w->r.exit;
        }
    }

    bk_wait_back(w);
    w->skew_ms = w->r.skew_ms;

    if (*bk_out_string(w->r.json, "token") == '\0') {
        bk_reply_fail(&w->r, BK_EXIT_FAILED,
                      "is BKCTL_ENDPOINT the gateway's API?",
                      "the API at %s answered without a token",
                      w->args->endpoint);
        return BK_EXIT_FAILED;
    }

    json_decref(w->answer);
    w->answer = w->r.json;
    w->r.json = NULL;

    return BK_EXIT_OK;
}


/* After a failure: 0 when it is time to try again, -1 when it is final. */

static int
bk_wait_failed(bk_wait_t *w)
{
    uint64_t  left, pause;

    if (w->r.again == BK_AGAIN_NEVER
        || (w->r.again == BK_AGAIN_KNOWN && !w->met))
    {
        return -1;
    }

    w->met = w->met || w->r.sent;
    left = bk_wait_left(w);
    pause = w->r.retry_after > 0 ? (uint64_t) w->r.retry_after * 1000
                                 : bk_wait_pause(w);

    if (left == 0 || (w->r.retry_after > 0 && pause >= left)) {
        return -1;
    }

    bk_wait_away(w, &w->r);

    if (bk_wait_sleep(w, pause) == 0) {
        return 0;
    }

    bk_reply_fail(&w->r, BK_EXIT_FAILED, "", "interrupted");

    return -1;
}


/* Not all at once, when it was the API that went away. */

uint64_t
bk_wait_pause(bk_wait_t *w)
{
    w->pause = w->pause ? w->pause * 2 : BK_WAIT_PAUSE;
    w->pause = w->pause < BK_WAIT_LONG ? w->pause : BK_WAIT_LONG;

    return w->pause / 2 + (uint64_t) rand() % w->pause;
}


void
bk_wait_away(bk_wait_t *w, const bk_api_reply_t *r)
{
    if (r->status == 429 || (r->status == 503 && r->reason[0])) {
        bk_progress_why(&w->progress, "%s, trying again", r->error);

    } else {
        bk_progress_why(&w->progress, "the API does not answer (%s), trying "
                        "again", r->why);
    }

    if (!w->away) {
        w->away = 1;
        bk_progress_now(&w->progress);
    }
}


void
bk_wait_back(bk_wait_t *w)
{
    w->met = 1;
    w->pause = 0;

    if (w->away) {
        w->away = 0;
        w->why_at = bk_now_ms();
        bk_progress_why(&w->progress, "%s", "");
    }
}


/* Its worker failed under it: another one, if there is time. */

static int
bk_wait_again(const bk_wait_t *w, int rc)
{
    return rc == BK_EXIT_FAILED && w->over && bk_wait_left(w) > 0
           && strstr(w->r.error, " failed") != NULL;
}


/* What is said at the end, and given back. */

static int
bk_wait_end(bk_wait_t *w, int rc)
{
    bk_progress_end(&w->progress);

    if (rc == BK_EXIT_OK) {
        bk_wait_waited(w);
        return rc;
    }

    if (!w->over && (w->answer || bk_wait_stop(w))) {
        bk_wait_give(w);
    }

    if (rc == BK_EXIT_CAPACITY && w->answer && !w->away) {
        bk_wait_vain(w);

    } else {
        rc = bk_reply_complain(&w->r);
    }

    json_decref(w->answer);
    w->answer = NULL;

    return rc;
}


/* It had a place, to the end: what it waited for, or how the workers are. */

static void
bk_wait_vain(bk_wait_t *w)
{
    char  took[32], place[200];

    bk_why_place(w->answer, place, sizeof(place));
    bk_progress_took(&w->progress, took, sizeof(took));
    bk_progress_why(&w->progress, "%s", "");

    if (*bk_out_string(w->answer, "waitsFor") == '\0') {
        json_object_del(w->answer, "position");
        bk_wait_why(w);
    }

    bk_out_error("no worker of pool %s became free within %s%s%s%s%s",
                 w->pool, took, *place ? ": " : "", place,
                 w->progress.why[0] ? *place ? "; " : ": " : "",
                 w->progress.why);
    bk_out_hint("the place is given back; wait longer with --wait, or look "
                "who has them: bkctl pools, bkctl allocations");
}


/*
 * Gives back what there is.  A call that was broken off may have got a
 * place: its key finds it.
 */

static void
bk_wait_give(bk_wait_t *w)
{
    bk_api_reply_t    r;
    bk_api_request_t  req = { .method = "POST", .fd = -1,
                              .path = "/api/v1/workers/allocate",
                              .body = w->body, .timeout_ms = BK_WAIT_GIVE };

    if (w->answer == NULL) {
        json_object_set_new(w->body, "wait", json_string("0s"));

        if (bk_api_call(w->args, &req, &r) == BK_EXIT_OK
            && *bk_out_string(r.json, "token") != '\0')
        {
            w->answer = r.json;
            r.json = NULL;
        }

        bk_reply_free(&r);
    }

    if (w->answer) {
        bk_alloc_release(w->args, bk_out_string(w->answer, "token"),
                         BK_WAIT_GIVE, &r);
        bk_reply_free(&r);
    }
}


int
bk_wait_tick(void *data)
{
    bk_wait_t  *w = data;

    if (bk_now_ms() >= w->why_at) {
        bk_wait_why(w);
    }

    bk_progress_tick(&w->progress);

    return bk_wait_stop(w);
}


int
bk_wait_sleep(bk_wait_t *w, uint64_t ms)
{
    uint64_t       now, end;
    struct pollfd  pfd = { .fd = w->fd, .events = POLLIN };

    now = bk_now_ms();
    end = (int64_t) ms < 0 ? now : now + ms;
    end = end < w->end ? end : w->end;

    for ( /* void */ ; now < end; now = bk_now_ms()) {
        poll(&pfd, 1, (int) (end - now < 1000 ? end - now : 1000));
        bk_progress_tick(&w->progress);

        if (bk_wait_stop(w) != 0) {
            return -1;
        }
    }

    return 0;
}


int
bk_wait_stop(void *data)
{
    bk_wait_t  *w = data;

    return w->stop ? w->stop(w->data) : 0;
}


/*
 * What it waits for, where the queue does not say: from the list of the
 * pool's workers.  Who may not see it waits without being told.
 */

static void
bk_wait_why(bk_wait_t *w)
{
    char              *path, *name;
    bk_api_reply_t     r;
    bk_api_request_t   req = { .method = "GET", .fd = w->fd,
                               .tick = bk_wait_stop, .data = w,
                               .timeout_ms = BK_WAIT_WHY };

    w->why_at = UINT64_MAX;

    if (bk_out_number(w->answer, "position") > 0) {
        return;
    }

    name = bk_api_escape(w->pool);

    if (asprintf(&path, "/api/v1/workers?pool=%s", name) < 0) {
        abort();
    }

    req.path = path;

    if (bk_api_call(w->args, &req, &r) == BK_EXIT_OK
        && json_is_array(r.json))
    {
        bk_why_workers(&w->progress, r.json);
        w->why_at = bk_now_ms() + BK_WAIT_WHY;

    } else if (r.exit == BK_EXIT_UNREACHABLE) {
        /* it may only stand still for a while */
        w->why_at = bk_now_ms() + BK_WAIT_WHY;
    }

    bk_reply_free(&r);
    free(name);
    free(path);
}


/* Said when there was something to wait for, and when it was long. */

static void
bk_wait_waited(const bk_wait_t *w)
{
    char         took[32];
    const char  *name;

    if (bk_now_ms() - w->progress.start_ms < 1000) {
        return;
    }

    name = bk_out_text(w->answer, "workerName");
    bk_progress_took(&w->progress, took, sizeof(took));
    bk_out_note("bkctl: waited %s for %sworker%s%s of pool %s%s%s", took,
                *name ? "" : "a ", *name ? " " : "", name, w->pool,
                w->progress.why[0] ? ": " : "", w->progress.why);
}


uint64_t
bk_wait_left(const bk_wait_t *w)
{
    uint64_t  now;

    now = bk_now_ms();

    return now < w->end ? w->end - now : 0;
}
