/*
 * Follows an allocation from its place in the queue to a worker that is
 * ready.
 *
 * The API's stream of changes (watch) says when something has changed; what
 * it is now is looked up by the allocation's token.  That is done now and
 * then in any case: it keeps the place, it needs no identity that could grow
 * old meanwhile, and it is what is left where there is no stream.
 */

#include <stdlib.h>
#include <string.h>

#include "bk_duration.h"
#include "wait_int.h"


#define BK_FOLLOW_FIRST  1000
#define BK_FOLLOW_OFTEN  1000
#define BK_FOLLOW_LOOK   15000      /* while it is watched as well */


static void bk_follow_watch(bk_wait_t *w);
static int bk_follow_line(void *data, const char *line, size_t len);
static void bk_follow_place(bk_wait_t *w, const json_t *line);
static int bk_follow_tick(void *data);
static void bk_follow_look(bk_wait_t *w);
static void bk_follow_merge(bk_wait_t *w, const json_t *look);
static void bk_follow_why(bk_wait_t *w, const json_t *look);
static int bk_follow_settled(const bk_wait_t *w);


int
bk_follow(bk_wait_t *w)
{
    const char  *state;

    bk_reply_free(&w->r);
    memset(&w->r, 0, sizeof(bk_api_reply_t));
    bk_why_queued(&w->progress, w->answer);
    w->look_at = bk_now_ms() + BK_FOLLOW_FIRST;

    while (!bk_follow_settled(w)) {
        state = bk_out_string(w->answer, "state");

        if (bk_wait_left(w) == 0) {
            return strcmp(state, "queued") == 0 ? BK_EXIT_CAPACITY
                                                : BK_EXIT_OK;
        }

        if (!w->blind) {
            bk_follow_watch(w);

        } else {
            bk_wait_sleep(w, w->look_at - bk_now_ms());
        }

        if (bk_wait_stop(w) != 0) {
            bk_reply_fail(&w->r, BK_EXIT_FAILED, "", "interrupted");
            return BK_EXIT_FAILED;
        }

        if (!bk_follow_settled(w) && bk_wait_left(w) > 0) {
            bk_follow_look(w);
        }
    }

    return w->over ? BK_EXIT_FAILED : BK_EXIT_OK;
}


/* Stays until something has changed, or it is no use. */

static void
bk_follow_watch(bk_wait_t *w)
{
    char              id[13], *path;
    uint64_t          left, began;
    bk_api_reply_t    r;
    bk_api_request_t  req = { .method = "GET", .fd = w->fd,
                              .tick = bk_follow_tick,
                              .line = bk_follow_line, .data = w };

    began = bk_now_ms();
    left = bk_wait_left(w);
    req.timeout_ms = (unsigned) (left < INT_MAX ? left : INT_MAX);
    w->lines = 0;
    w->changed = 0;

    if (asprintf(&path, "/api/v1/allocations/%s?watch=1",
                 bk_alloc_id(w->answer, id)) < 0)
    {
        abort();
    }

    req.path = path;
    bk_api_call(w->args, &req, &r);
    free(path);

    if (r.aborted || bk_follow_settled(w)) {
        bk_reply_free(&r);
        return;
    }

    w->look_at = 0;

    if (r.exit == BK_EXIT_UNREACHABLE) {
        /* a look says whether it is the API or only the stream */

        bk_wait_sleep(w, bk_wait_pause(w));
        bk_follow_look(w);
        w->blind = w->lines == 0 && w->r.exit == BK_EXIT_OK;

    } else if (r.exit != BK_EXIT_OK
               || (!w->changed && bk_now_ms() - began < BK_FOLLOW_FIRST))
    {
        w->blind = 1;       /* refused, or it knows no stream */
    }

    bk_reply_free(&r);
}


static int
bk_follow_line(void *data, const char *line, size_t len)
{
    json_t      *json;
    bk_wait_t   *w = data;
    const char  *state;

    json = json_loadb(line, len, 0, NULL);
    state = bk_out_string(json, "state");
    w->changed = *state != '\0'
                 && strcmp(state, bk_out_string(w->answer, "state")) != 0;

    if (json_is_object(json) && w->lines++ == 0) {
        /* it says what there is at once */
        w->look_at = bk_now_ms() + BK_FOLLOW_LOOK;
    }

    if (!w->changed && bk_out_number(json, "position") > 0) {
        bk_follow_place(w, json);
    }

    json_decref(json);

    return w->changed;
}


/* What it waits for is said by a look alone, and stays until the next one. */

static void
bk_follow_place(bk_wait_t *w, const json_t *line)
{
    if (bk_out_number(line, "position")
        != bk_out_number(w->answer, "position"))
    {
        json_object_del(w->answer, "estimate");
    }

    json_object_set(w->answer, "position",
                    json_object_get(line, "position"));

    if (json_object_get(line, "estimate")) {
        json_object_set(w->answer, "estimate",
                        json_object_get(line, "estimate"));
    }

    bk_why_queued(&w->progress, w->answer);
    bk_progress_tick(&w->progress);
}


static int
bk_follow_tick(void *data)
{
    bk_wait_t  *w = data;

    bk_follow_look(w);

    return bk_wait_tick(w) || bk_follow_settled(w);
}


static void
bk_follow_look(bk_wait_t *w)
{
    long long       place;
    bk_api_reply_t  r;

    if (bk_now_ms() < w->look_at) {
        return;
    }

    bk_alloc_lookup(w->args, bk_out_string(w->answer, "token"), 0, w->fd,
                    bk_wait_stop, w, &r);

    if (r.exit == BK_EXIT_OK) {
        bk_wait_back(w);
        bk_follow_merge(w, r.json);
        bk_follow_why(w, r.json);

    } else if (r.status == 410 || r.status == 404) {
        w->over = 1;

    } else if (!r.aborted) {
        bk_wait_away(w, &r);
    }

    /* who is far behind need not ask every second */

    place = bk_out_number(w->answer, "position") / 10;
    place = place < 1 ? 1 : place > 10 ? 10 : place;
    w->look_at = bk_now_ms()
                 + (w->blind || r.exit != BK_EXIT_OK
                    ? (uint64_t) place * BK_FOLLOW_OFTEN : BK_FOLLOW_LOOK);

    bk_reply_free(&w->r);
    bk_reply_free(&r);
    w->r = r;
}


/* What a lookup says about it, in the words of the answer. */

static void
bk_follow_merge(bk_wait_t *w, const json_t *look)
{
    size_t       i;
    json_t      *value;
    const char  *keys[][2] = { { "state", "state" },
                               { "workerName", "workerName" },
                               { "workerEndpoint", "endpoint" },
                               { "expiresAt", "expiresAt" },
                               { "position", "position" },
                               { "estimate", "estimate" },
                               { "waitsFor", "waitsFor" } };

    for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        value = json_object_get(look, keys[i][0]);

        if (value) {
            json_object_set(w->answer, keys[i][1], value);
        }
    }

    if (strcmp(bk_out_string(look, "state"), "queued") != 0
        && json_object_get(w->answer, "position"))
    {
        json_object_del(w->answer, "position");
        json_object_del(w->answer, "estimate");
        json_object_del(w->answer, "waitsFor");
        bk_progress_why(&w->progress, "%s", "");
    }
}


static void
bk_follow_why(bk_wait_t *w, const json_t *look)
{
    const char  *message;

    if (bk_why_queued(&w->progress, w->answer)) {
        return;
    }

    if (strcmp(bk_out_string(look, "state"), "starting") == 0) {
        message = bk_out_string(look, "workerMessage");
        bk_progress_why(&w->progress, "worker %s is starting%s%s",
                        bk_out_string(look, "workerName"),
                        *message && strcmp(message, "starting") != 0
                        ? ": " : "",
                        strcmp(message, "starting") != 0 ? message : "");
        w->why_at = UINT64_MAX;
    }
}


/* An API that says nothing about a state means that it is ready. */

static int
bk_follow_settled(const bk_wait_t *w)
{
    const char  *state;

    state = bk_out_string(w->answer, "state");

    return w->over || (strcmp(state, "queued") != 0
                       && strcmp(state, "starting") != 0);
}
