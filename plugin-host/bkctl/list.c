/*
 * Lists: pools, workers, allocations.
 *
 * Fields that an answer lacks are shown as "-": an older or newer API is
 * still worth looking at.
 */

#include <stdlib.h>
#include <string.h>

#include "bkctl.h"


static char *bk_list_path(const bk_args_t *args, const char *path);
static int bk_list_match(const bk_args_t *args, const json_t *item,
    const char *key);
static const char *bk_list_shared(const json_t *pool, char *buf,
    size_t size);
static const char *bk_list_disk(const json_t *worker, char *buf,
    size_t size);
static int bk_list_has(const json_t *array, const char *key);
static char *bk_list_count(const json_t *item, const char *key, char *buf,
    size_t size);


int
bk_list(const bk_args_t *args, const char *path,
    void (*print)(const bk_args_t *args, const json_t *array))
{
    int            rc;
    char          *full;
    json_t        *json;
    const json_t  *array;

    full = bk_list_path(args, path);
    rc = bk_list_get(args, full, &json);
    free(full);

    if (rc != BK_EXIT_OK) {
        return rc;
    }

    array = bk_list_array(json);

    if (array == NULL) {
        bk_out_error("the API at %s answered with something that is not a "
                     "list", args->endpoint);
        bk_out_hint("is BKCTL_ENDPOINT the gateway's API?");
        rc = BK_EXIT_FAILED;

    } else if (args->json) {
        rc = bk_out_json(json);

    } else {
        print(args, array);
        rc = bk_out_flush();
    }

    json_decref(json);

    return rc;
}


int
bk_list_get(const bk_args_t *args, const char *path, json_t **json)
{
    int               rc;
    bk_api_reply_t    r;
    bk_api_request_t  req = { .method = "GET", .path = path, .fd = -1 };

    rc = bk_api_call(args, &req, &r);

    if (rc != 0) {
        bk_reply_complain(&r);
        bk_reply_free(&r);
        return rc;
    }

    *json = r.json;

    return 0;
}


/* "?pool=..." with the namespace; the caller frees. */

static char *
bk_list_path(const bk_args_t *args, const char *path)
{
    char  pool[700], *value, *out;
    int   n;

    if (args->pool == NULL) {
        out = strdup(path);

        if (out == NULL) {
            abort();
        }

        return out;
    }

    value = bk_api_escape(bk_alloc_pool(args, pool, sizeof(pool)));
    n = asprintf(&out, "%s?pool=%s", path, value);

    if (n < 0) {
        abort();
    }

    free(value);

    return out;
}


const json_t *
bk_list_array(const json_t *json)
{
    json_t      *value;
    const char  *key;

    if (json_is_array(json)) {
        return json;
    }

    json_object_foreach((json_t *) json, key, value) {
        if (json_is_array(value)) {
            return value;
        }
    }

    return NULL;
}


void
bk_list_pools(const bk_args_t *args, const json_t *array)
{
    char         n[7][24];
    size_t       i;
    json_t      *pool, *w;
    bk_rows_t   *rows;
    const char  *header[] = { "POOL", "STATUS", "WORKERS", "READY", "STARTING",
                              "FAILED", "ALLOCATED", "QUEUE", "SHARED",
                              "ENDPOINT" };

    rows = bk_rows_new(10);
    bk_rows_add(rows, header);

    json_array_foreach(array, i, pool) {
        if (!bk_list_match(args, pool, "name")) {
            continue;
        }

        if (args->names) {
            puts(bk_out_text(pool, "name"));
            continue;
        }

        w = json_object_get(pool, "workers");

        bk_rows_add(rows, (const char *[]) {
            bk_out_string(pool, "name"), bk_out_string(pool, "status"),
            bk_list_count(pool, "workers", n[0], sizeof(n[0])),
            bk_list_count(w, "ready", n[1], sizeof(n[1])),
            bk_list_count(w, "starting", n[2], sizeof(n[2])),
            bk_list_count(w, "failed", n[3], sizeof(n[3])),
            bk_list_count(pool, "allocations", n[4], sizeof(n[4])),
            bk_list_count(pool, "queue", n[5], sizeof(n[5])),
            bk_list_shared(pool, n[6], sizeof(n[6])),
            bk_out_string(pool, "endpoint") });
    }

    if (!args->names) {
        bk_rows_print(rows);
    }

    bk_rows_free(&rows);
}


/* "no", "yes" or how many allocations a worker takes. */

static const char *
bk_list_shared(const json_t *pool, char *buf, size_t size)
{
    if (!json_is_true(json_object_get(pool, "shared"))) {
        return "no";
    }

    bk_list_count(pool, "allocationsPerWorker", buf, size);

    return buf[0] != '\0' ? buf : "yes";
}


void
bk_list_workers(const bk_args_t *args, const json_t *array)
{
    char         n[2][32];
    size_t       i;
    json_t      *worker;
    bk_rows_t   *rows;
    const char  *header[] = { "WORKER", "POOL", "STATE", "ENDPOINT", "ARCH",
                              "ALLOCATED", "DISK", "MESSAGE" };

    rows = bk_rows_new(8);
    bk_rows_add(rows, header);

    json_array_foreach(array, i, worker) {
        if (!bk_list_match(args, worker, "pool")) {
            continue;
        }

        if (args->names) {
            puts(bk_out_text(worker, "name"));
            continue;
        }

        bk_rows_add(rows, (const char *[]) {
            bk_out_string(worker, "name"), bk_out_string(worker, "pool"),
            bk_out_string(worker, "state"),
            bk_out_string(worker, "endpoint"),
            bk_out_string(worker, "arch"),
            bk_list_count(worker, "allocations", n[0], sizeof(n[0])),
            bk_list_disk(worker, n[1], sizeof(n[1])),
            bk_out_string(worker, "message") });
    }

    if (!args->names) {
        bk_rows_print(rows);
    }

    bk_rows_free(&rows);
}


/* "73%"; of space and inodes what is nearer to its end. */

static const char *
bk_list_disk(const json_t *worker, char *buf, size_t size)
{
    json_int_t  inodes, percent;

    percent = json_integer_value(json_object_get(worker, "diskUsed"));
    inodes = json_integer_value(json_object_get(worker, "inodesUsed"));

    if (percent == 0 && inodes == 0) {
        return "";
    }

    if (inodes > percent) {
        snprintf(buf, size, "%lld%% inodes", (long long) inodes);

    } else {
        snprintf(buf, size, "%lld%%", (long long) percent);
    }

    return buf;
}


/* Columns that no allocation has anything for are left out. */

void
bk_list_allocations(const bk_args_t *args, const json_t *array)
{
    int          c, n, used[10];
    char         expires[64], changed[64], place[24];
    size_t       i;
    json_t      *a;
    bk_rows_t   *rows;
    const char  *cells[10], *shown[10];
    const char  *header[] = { "ID", "POOL", "WORKER", "STATE", "EXPIRES",
                              "CHANGED", "POSITION", "OWNER", "RULE",
                              "REASON" };
    const char  *extra[] = { "position", "owner", "rule" };

    for (n = 0, c = 0; c < 10; c++) {
        used[c] = c < 6 || c > 8 || bk_list_has(array, extra[c - 6]);
        shown[n] = header[c];
        n += used[c];
    }

    rows = bk_rows_new(n);
    bk_rows_add(rows, shown);

    json_array_foreach(array, i, a) {
        if (!bk_list_match(args, a, "pool")) {
            continue;
        }

        if (args->names) {
            puts(bk_out_text(a, "id"));
            continue;
        }

        cells[0] = bk_out_string(a, "id");
        cells[1] = bk_out_string(a, "pool");
        cells[2] = bk_out_string(a, "worker");
        cells[3] = bk_out_string(a, "state");
        cells[4] = bk_time_short(bk_out_string(a, "expiresAt"), expires,
                                 sizeof(expires));
        cells[5] = *bk_out_string(a, "changedAt")
                   ? bk_time_short(bk_out_string(a, "changedAt"), changed,
                                   sizeof(changed)) : "";
        cells[6] = bk_list_count(a, "position", place, sizeof(place));
        cells[7] = bk_out_string(a, "owner");
        cells[8] = bk_out_string(a, "rule");
        cells[9] = bk_out_string(a, "reason");

        for (n = 0, c = 0; c < 10; c++) {
            shown[n] = cells[c];
            n += used[c];
        }

        bk_rows_add(rows, shown);
    }

    if (!args->names) {
        bk_rows_print(rows);
    }

    bk_rows_free(&rows);
}


/* Whether any of them says something about key. */

static int
bk_list_has(const json_t *array, const char *key)
{
    size_t   i;
    json_t  *item, *value;

    json_array_foreach(array, i, item) {
        value = json_object_get(item, key);

        if (json_integer_value(value) > 0
            || (json_is_string(value) && *json_string_value(value)))
        {
            return 1;
        }
    }

    return 0;
}


/* The API filters too, but not every version of it does for every list. */

static int
bk_list_match(const bk_args_t *args, const json_t *item, const char *key)
{
    char         pool[700];
    const char  *value;

    value = bk_out_string(item, key);

    if (args->pool == NULL || strchr(value, '/') == NULL) {
        return 1;
    }

    return strcmp(value, bk_alloc_pool(args, pool, sizeof(pool))) == 0;
}


/* A number, how long a list is, or what an object has in all. */

static char *
bk_list_count(const json_t *item, const char *key, char *buf, size_t size)
{
    json_t  *total, *value;

    value = json_object_get(item, key);

    if (json_is_object(value)) {
        total = json_object_get(value, "live");
        value = total ? total : json_object_get(value, "total");
    }

    if (json_is_integer(value)) {
        snprintf(buf, size, "%lld", (long long) json_integer_value(value));

    } else if (json_is_array(value)) {
        snprintf(buf, size, "%zu", json_array_size(value));

    } else {
        buf[0] = '\0';
    }

    return buf;
}
