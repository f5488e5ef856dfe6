/*
 * bkctl allocations: who has which worker; ids, never tokens.  With an id:
 * that one, with its history; --watch follows it until it has ended.
 */

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "bkctl.h"


#define BK_WATCH_AGAIN   1000       /* after the connection broke */
#define BK_WATCH_TRIES   60
#define BK_WATCH_MAX_MS  2000000000


static int bk_allocation_show(const bk_args_t *args, const char *path);
static int bk_allocation_print(const json_t *json);
static void bk_allocation_history(const json_t *history);
static int bk_allocation_watch(const bk_args_t *args, const char *path);
static int bk_allocation_line(void *data, const char *line, size_t len);
static int bk_allocation_over(const char *state);


typedef struct {
    unsigned   tries;
    int        over;
    json_t    *last;
} bk_allocation_watch_t;


int
bk_cmd_allocations(const bk_args_t *args)
{
    int    rc;
    char  *path;

    if (args->argc == 0) {
        if (args->watch) {
            return bk_args_usage(args->verb, "--watch needs the ID of one");
        }

        return bk_list(args, "/api/v1/allocations", bk_list_allocations);
    }

    if (bk_args_id(args->verb, args->argv[0]) != 0) {
        return BK_EXIT_USAGE;
    }

    if (asprintf(&path, "/api/v1/allocations/%s%s", args->argv[0],
                 args->watch ? "?watch=1" : "") < 0)
    {
        abort();
    }

    rc = args->watch ? bk_allocation_watch(args, path)
                     : bk_allocation_show(args, path);
    free(path);

    return rc;
}


static int
bk_allocation_show(const bk_args_t *args, const char *path)
{
    int      rc;
    json_t  *json;

    rc = bk_list_get(args, path, &json);

    if (rc == BK_EXIT_OK) {
        rc = args->json ? bk_out_json(json) : bk_allocation_print(json);
        json_decref(json);
    }

    return rc;
}


static int
bk_allocation_print(const json_t *json)
{
    char         text[80], place[200];
    size_t       i;
    bk_rows_t   *rows;
    const char  *value;
    static const struct {
        const char  *key, *label;
    } lines[] = {
        { "id", "allocation" }, { "pool", "pool" }, { "worker", "worker" },
        { "state", "state" }, { "reason", "reason" }, { "owner", "owner" },
        { "rule", "rule" }, { "jobId", "job" }, { "arch", "arch" },
        { "cacheKey", "cache key" }, { "createdAt", "made" },
        { "changedAt", "changed" }, { "expiresAt", "expires" }
    };

    rows = bk_rows_new(2);

    for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        value = bk_out_string(json, lines[i].key);

        if (*value && strcmp(lines[i].key + strlen(lines[i].key) - 2, "At")
                      == 0)
        {
            value = bk_time_relative(value, text, sizeof(text));
        }

        if (*value) {
            bk_rows_add(rows, (const char *[]) { lines[i].label, value });
        }
    }

    if (*bk_why_place(json, place, sizeof(place))) {
        bk_rows_add(rows, (const char *[]) { "queue", place });
    }

    bk_rows_print(rows);
    bk_rows_free(&rows);
    bk_allocation_history(json_object_get(json, "history"));

    return bk_out_flush();
}


static void
bk_allocation_history(const json_t *history)
{
    size_t       i;
    json_t      *line;
    bk_rows_t   *rows;
    const char  *header[] = { "TIME", "WHAT", "WHO", "TEXT" };

    if (json_array_size(history) == 0) {
        return;
    }

    rows = bk_rows_new(4);
    bk_rows_add(rows, header);

    json_array_foreach(history, i, line) {
        bk_rows_add(rows, (const char *[]) {
            bk_out_string(line, "at"), bk_out_string(line, "what"),
            bk_out_string(line, "who"), bk_out_string(line, "text") });
    }

    putchar('\n');
    bk_rows_print(rows);
    bk_rows_free(&rows);
}


/* Ctrl-C ends it as it ends any program: there is nothing to give back. */

static int
bk_allocation_watch(const bk_args_t *args, const char *path)
{
    int                    rc;
    bk_api_reply_t         r;
    bk_allocation_watch_t  w = { 0, 0, NULL };
    bk_api_request_t       req = { .method = "GET", .path = path, .fd = -1,
                                   .timeout_ms = BK_WATCH_MAX_MS,
                                   .line = bk_allocation_line, .data = &w };

    for ( ;; ) {
        rc = bk_api_call(args, &req, &r);

        if (w.over || w.tries == 0 || w.tries > BK_WATCH_TRIES
            || (rc != BK_EXIT_OK && r.again == BK_AGAIN_NEVER))
        {
            break;
        }

        /* it was there: whoever restarts it brings it back */

        w.tries++;
        poll(NULL, 0, BK_WATCH_AGAIN);
        bk_reply_free(&r);
    }

    if (rc != BK_EXIT_OK) {
        bk_reply_complain(&r);

    } else if (r.status != 0 && w.tries == 0) {
        bk_out_error("the API at %s does not stream changes",
                     args->endpoint);
        rc = BK_EXIT_FAILED;
    }

    bk_reply_free(&r);
    json_decref(w.last);

    return rc == BK_EXIT_OK ? bk_out_flush() : rc;
}


/* The first one after a break may be the last one before. */

static int
bk_allocation_line(void *data, const char *line, size_t len)
{
    json_t                 *json;
    bk_allocation_watch_t  *w = data;

    json = json_loadb(line, len, 0, NULL);

    if (!json_is_object(json)) {
        json_decref(json);      /* an empty one keeps the connection alive */
        return 0;
    }

    w->tries = 1;
    w->over = bk_allocation_over(bk_out_string(json, "state"));

    if (!json_equal(json, w->last)) {
        printf("%.*s\n", (int) len, line);
        fflush(stdout);
    }

    json_decref(w->last);
    w->last = json;

    return w->over || ferror(stdout);
}


static int
bk_allocation_over(const char *state)
{
    return strcmp(state, "expired") == 0 || strcmp(state, "released") == 0
           || strcmp(state, "revoked") == 0 || strcmp(state, "failed") == 0;
}
