/*
 * A store of allocations for tests: in a file that several hosts may share,
 * with faults.  What Kubernetes' objects would do, and when it would go wrong:
 *
 *     GET  /api/v1/store/rows     what is kept, with the records
 *     POST /api/v1/store/ready, /unready   says so to the host
 *     POST /api/v1/store/hold, /go         answers nothing meanwhile
 *     POST /api/v1/store/step     ... but the next one
 *     POST /api/v1/store/fail?n=2&code=503[&keep=1][&after=1]
 *                                 the next n, or those after; kept or not
 *     POST /api/v1/store/edit?hash=[&worker=][&longer=][&state=][&gone=1]
 *                                 somebody else writes it
 *     POST /api/v1/store/twice    answers the next one twice, and from within
 *
 * Option file: what is shared.  A worker is one live row's (exclusive: false:
 * any number's).
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bk_plugin.h"
#include "bk_table.h"
#include "store_rows.h"


#define STORE_POLL    20    /* ms */


typedef struct store_op_s  store_op_t;

struct store_op_s {
    TAILQ_ENTRY(store_op_s)  link;
    store_row_t             *row;
    bk_store_pt              done;
    void                    *data;
};

typedef struct {
    const bk_host_t           *host;
    char                       file[512];
    int                        exclusive;
    int                        ready;
    int                        hold;
    int                        step;
    int                        twice;
    int                        fail;
    int                        code;
    int                        keep;
    int                        after;
    int                        stopping;
    unsigned                   puts;
    struct stat                seen;
    struct store_rows_s        rows;        /* as we read or wrote them last */
    TAILQ_HEAD(, store_op_s)   ops;
    bk_timer_t                *timer;
    bk_timer_t                *poll;
} store_t;


static int store_create(const bk_host_t *host, void **ctx, bk_err_t *err);
static int store_configure(void *ctx, const char *key, const char *value,
    bk_err_t *err);
static int store_start(void *ctx, bk_err_t *err);
static void store_stop(void *ctx);
static void store_destroy(void *ctx);
static void store_put(void *ctx, const bk_stored_t *row, bk_store_pt done,
    void *data);
static void store_worker(void *ctx, const bk_stored_worker_t *w,
    bk_store_pt done, void *data);
static int store_each(void *ctx, bk_stored_pt fn, void *data);
static int store_workers(void *ctx, bk_stored_worker_pt fn, void *data);
static void store_ask(store_t *s, store_row_t *row, bk_store_pt done,
    void *data);
static void store_run(void *data);
static int store_apply(store_t *s, store_row_t *row, bk_err_t *err);
static int store_refused(store_t *s, struct store_rows_s *rows,
    const store_row_t *row, bk_err_t *err);
static void store_adopt(store_t *s, struct store_rows_s *rows);
static void store_polled(void *data);
static void store_http(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static void store_edit(store_t *s, bk_request_t *r);
static void store_list(store_t *s, bk_request_t *r);
static void store_out(const store_row_t *row, bk_stored_t *out);
static int store_number(store_t *s, bk_request_t *r, const char *name,
    int otherwise);


static const bk_option_t  store_options[] = {
    { "file", BK_OPTION_STRING, NULL, "where it is" },
    { "ready", BK_OPTION_BOOL, "true", "from the beginning" },
    { "exclusive", BK_OPTION_BOOL, "true", "a worker is one row's" },
    { NULL, 0, NULL, NULL }
};

static bk_plugin_t  store_plugin = {
    .name = "store",
    .version = "1",
    .summary = "keeps allocations in a file, for tests",
    .options = store_options,
    .create = store_create,
    .configure = store_configure,
    .start = store_start,
    .stop = store_stop,
    .destroy = store_destroy,
    .store_put = store_put,
    .store_worker = store_worker,
    .store_each = store_each,
    .store_workers = store_workers
};

BK_PLUGIN(store_plugin)


static int
store_create(const bk_host_t *host, void **ctx, bk_err_t *err)
{
    store_t  *s = calloc(1, sizeof(store_t));

    (void) err;

    if (s == NULL) {
        abort();
    }

    s->host = host;
    TAILQ_INIT(&s->rows);
    TAILQ_INIT(&s->ops);
    *ctx = s;

    return 0;
}


static int
store_configure(void *ctx, const char *key, const char *value, bk_err_t *err)
{
    store_t  *s = ctx;

    (void) err;

    if (strcmp(key, "file") == 0) {
        snprintf(s->file, sizeof(s->file), "%s", value);

    } else if (strcmp(key, "ready") == 0) {
        s->ready = strcmp(value, "true") == 0;

    } else {
        s->exclusive = strcmp(value, "true") == 0;
    }

    return 0;
}


static int
store_start(void *ctx, bk_err_t *err)
{
    store_t  *s = ctx;

    s->timer = s->host->timer_new(s->host, store_run, s);
    s->poll = s->host->timer_new(s->host, store_polled, s);

    if (s->host->http_route_for(s->host, "GET", "/api/v1/store/*",
                                BK_VERB_NONE, store_http, s, err) != 0
        || s->host->http_route_for(s->host, "POST", "/api/v1/store/*",
                                   BK_VERB_NONE, store_http, s, err) != 0)
    {
        return -1;
    }

    store_polled(s);

    if (s->ready) {
        s->host->store_is(s->host, 1);
    }

    return 0;
}


static void
store_stop(void *ctx)
{
    store_t  *s = ctx;

    s->stopping = 1;
    s->hold = 0;
    s->host->log(s->host, BK_LOG_INFO, "the store stops");
    store_run(s);
    s->host->timer_free(&s->timer);
    s->host->timer_free(&s->poll);
    s->host->stopped(s->host);
}


static void
store_destroy(void *ctx)
{
    store_t  *s = ctx;

    store_clear(&s->rows);
    free(s);
}


static void
store_put(void *ctx, const bk_stored_t *row, bk_store_pt done, void *data)
{
    store_fixed_t  f;

    const bk_str_t  texts[STORE_TEXTS] = {
        row->pool, row->worker, row->owner, row->job, row->metadata,
        row->reason, row->record
    };

    memset(&f, 0, sizeof(f));
    memcpy(f.hash, row->hash, 32);

    if (row->key_hash != NULL) {
        memcpy(f.key_hash, row->key_hash, 32);
        f.has_key = 1;
    }

    f.created_ms = row->created_ms;
    f.expires_ms = row->expires_ms;
    f.changed_ms = row->changed_ms;
    f.state = row->state;

    store_ask(ctx, store_new(&f, texts), done, data);
}


static void
store_worker(void *ctx, const bk_stored_worker_t *w, bk_store_pt done,
    void *data)
{
    store_fixed_t  f;

    const bk_str_t  texts[STORE_TEXTS] = {
        w->pool, w->worker, { "", 0 }, { "", 0 }, { "", 0 }, w->drained,
        { "", 0 }
    };

    memset(&f, 0, sizeof(f));
    f.worker = 1;
    f.changed_ms = w->drained_ms;
    f.state = w->trust;

    store_ask(ctx, store_new(&f, texts), done, data);
}


static void
store_ask(store_t *s, store_row_t *row, bk_store_pt done, void *data)
{
    store_op_t  *op = calloc(1, sizeof(store_op_t));

    if (op == NULL) {
        abort();
    }

    op->row = row;
    op->done = done;
    op->data = data;
    s->puts++;

    if (s->twice) {
        /* what no store may do: the host sees to it */
        s->twice = 0;
        done(data, NULL);
        done(data, NULL);
        store_free(row);
        free(op);
        return;
    }

    TAILQ_INSERT_TAIL(&s->ops, op, link);
    s->host->timer_set(s->timer, 0);
}


static void
store_run(void *data)
{
    int          fail, rc, kept;
    store_t     *s = data;
    bk_err_t     err;
    store_op_t  *op;
    bk_stored_t  out;

    while ((!s->hold || s->step) && (op = TAILQ_FIRST(&s->ops)) != NULL) {
        s->step = 0;
        TAILQ_REMOVE(&s->ops, op, link);
        memset(&err, 0, sizeof(err));
        rc = 0;

        fail = s->fail > 0 && s->after-- <= 0;

        if (!fail || s->keep) {
            rc = store_apply(s, op->row, &err);
        }

        kept = rc == 0 && fail && s->keep && !op->row->f.worker;

        if (rc == 0 && fail) {
            s->fail--;
            err.code = s->code;
            snprintf(err.reason, sizeof(err.reason), "TestFault");
            snprintf(err.text, sizeof(err.text), "the store was told to fail");
            rc = -1;
        }

        op->done(op->data, rc == 0 ? NULL : &err);

        if (kept) {
            /* it was there all the same: so it turns out */
            store_out(op->row, &out);
            s->host->store_told(s->host, &out);
        }

        store_free(op->row);
        free(op);
    }
}


static int
store_apply(store_t *s, store_row_t *row, bk_err_t *err)
{
    int                   fd, rc;
    store_row_t          *old, *copy;
    struct store_rows_s   rows;

    fd = store_lock(s->file);
    store_load(s->file, &rows);
    rc = store_refused(s, &rows, row, err);

    if (rc == 0) {
        old = store_find(&rows, row);

        if (old != NULL) {
            TAILQ_REMOVE(&rows, old, link);
            store_free(old);
        }

        copy = store_copy(row);
        TAILQ_INSERT_TAIL(&rows, copy, link);
        store_save(s->file, &rows);

        /* of our own we need no word */
        old = store_find(&s->rows, row);

        if (old != NULL) {
            TAILQ_REMOVE(&s->rows, old, link);
            store_free(old);
        }

        copy = store_copy(row);
        TAILQ_INSERT_TAIL(&s->rows, copy, link);
    }

    close(fd);
    store_adopt(s, &rows);

    return rc;
}


static int
store_refused(store_t *s, struct store_rows_s *rows, const store_row_t *row,
    bk_err_t *err)
{
    store_row_t  *other, *mine;

    if (row->f.worker) {
        return 0;
    }

    err->code = 409;
    other = store_find(rows, row);

    if (other != NULL && other->f.state >= BK_ALLOC_EXPIRED
        && row->f.state < BK_ALLOC_EXPIRED)
    {
        snprintf(err->reason, sizeof(err->reason), "Ended");
        snprintf(err->text, sizeof(err->text), "it has ended");
        return -1;
    }

    mine = store_find(&s->rows, row);

    if (other != NULL && (mine == NULL || !store_same(other, mine))) {
        snprintf(err->reason, sizeof(err->reason), "RowChanged");
        snprintf(err->text, sizeof(err->text), "somebody else has written it");
        return -1;
    }

    if (!s->exclusive || row->text[1][0] == '\0'
        || row->f.state >= BK_ALLOC_EXPIRED)
    {
        return 0;
    }

    TAILQ_FOREACH(other, rows, link) {
        if (!other->f.worker && other->f.state < BK_ALLOC_EXPIRED
            && memcmp(other->f.hash, row->f.hash, 32) != 0
            && strcmp(other->text[0], row->text[0]) == 0
            && strcmp(other->text[1], row->text[1]) == 0)
        {
            snprintf(err->reason, sizeof(err->reason), "WorkerTaken");
            snprintf(err->text, sizeof(err->text), "worker %s/%s has another "
                     "allocation", row->text[0], row->text[1]);
            return -1;
        }
    }

    return 0;
}


/* What others wrote; takes rows. */

static void
store_adopt(store_t *s, struct store_rows_s *rows)
{
    store_row_t          *row, *old;
    bk_stored_t           out;
    struct store_rows_s   before;

    TAILQ_INIT(&before);
    TAILQ_CONCAT(&before, &s->rows, link);
    TAILQ_CONCAT(&s->rows, rows, link);

    TAILQ_FOREACH(row, &s->rows, link) {
        old = store_find(&before, row);

        if (!row->f.worker && (old == NULL || !store_same(old, row))) {
            store_out(row, &out);
            s->host->store_told(s->host, &out);
        }
    }

    TAILQ_FOREACH(old, &before, link) {
        if (!old->f.worker && old->f.state < BK_ALLOC_EXPIRED
            && store_find(&s->rows, old) == NULL)
        {
            store_out(old, &out);
            out.state = BK_ALLOC_FAILED;
            out.reason = store_str("it was removed");
            s->host->store_told(s->host, &out);
        }
    }

    store_clear(&before);
}


static void
store_polled(void *data)
{
    int                   fd;
    store_t              *s = data;
    struct stat           st;
    struct store_rows_s   rows;

    memset(&st, 0, sizeof(st));

    if (stat(s->file, &st) == 0 && (st.st_ino != s->seen.st_ino
        || st.st_mtim.tv_nsec != s->seen.st_mtim.tv_nsec
        || st.st_mtim.tv_sec != s->seen.st_mtim.tv_sec))
    {
        s->seen = st;
        fd = store_lock(s->file);
        store_load(s->file, &rows);
        close(fd);
        store_adopt(s, &rows);
    }

    if (!s->stopping) {
        s->host->timer_set(s->poll, STORE_POLL);
    }
}


static int
store_each(void *ctx, bk_stored_pt fn, void *data)
{
    int           rc, ended;
    store_t      *s = ctx;
    bk_stored_t   out;
    store_row_t  *row;

    for (ended = 0; ended < 2; ended++) {
        TAILQ_FOREACH(row, &s->rows, link) {
            if (row->f.worker || (row->f.state >= BK_ALLOC_EXPIRED) != ended) {
                continue;
            }

            store_out(row, &out);
            rc = fn(&out, data);

            if (rc != 0) {
                return rc;
            }
        }
    }

    return 0;
}


static int
store_workers(void *ctx, bk_stored_worker_pt fn, void *data)
{
    int                  rc;
    store_t             *s = ctx;
    store_row_t         *row;
    bk_stored_worker_t   w;

    TAILQ_FOREACH(row, &s->rows, link) {
        if (row->f.worker) {
            w = (bk_stored_worker_t) {
                .pool = store_str(row->text[0]),
                .worker = store_str(row->text[1]),
                .drained = store_str(row->text[5]),
                .drained_ms = row->f.changed_ms,
                .trust = row->f.state
            };
            rc = fn(&w, data);

            if (rc != 0) {
                return rc;
            }
        }
    }

    return 0;
}


static void
store_http(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    char      what[16];
    store_t  *s = data;

    snprintf(what, sizeof(what), "%.*s", (int) info->param.len,
             info->param.data);

    if (strcmp(what, "rows") == 0) {
        store_list(s, r);
        return;
    }

    if (strcmp(what, "ready") == 0 || strcmp(what, "unready") == 0) {
        s->ready = what[0] == 'r';
        s->host->store_is(s->host, s->ready);

    } else if (strcmp(what, "hold") == 0 || strcmp(what, "go") == 0) {
        s->hold = what[0] == 'h';
        s->host->timer_set(s->timer, 0);

    } else if (strcmp(what, "step") == 0) {
        s->step = 1;
        store_run(s);

    } else if (strcmp(what, "fail") == 0) {
        s->fail = store_number(s, r, "n", 1);
        s->code = store_number(s, r, "code", 503);
        s->keep = store_number(s, r, "keep", 0);
        s->after = store_number(s, r, "after", 0);

    } else if (strcmp(what, "twice") == 0) {
        s->twice = 1;

    } else if (strcmp(what, "edit") == 0) {
        store_edit(s, r);
    }

    s->host->http_reply(r, 200, "application/json", BK_STR("{}\n"));
}


/* As another program would: we read it like everybody. */

static void
store_edit(store_t *s, bk_request_t *r)
{
    int                   fd;
    char                  hash[80], hex[65], worker[64];
    size_t                i;
    store_row_t          *row, *next;
    struct store_rows_s   rows;

    if (s->host->http_query(r, "hash", hash, sizeof(hash)) != 0) {
        return;
    }

    fd = store_lock(s->file);
    store_load(s->file, &rows);

    for (row = TAILQ_FIRST(&rows); row != NULL; row = next) {
        next = TAILQ_NEXT(row, link);

        for (i = 0; i < 32; i++) {
            snprintf(hex + 2 * i, 3, "%02x", row->f.hash[i]);
        }

        if (row->f.worker || strncmp(hex, hash, strlen(hash)) != 0) {
            continue;
        }

        row->f.state = store_number(s, r, "state", row->f.state);
        row->f.expires_ms += (uint64_t) store_number(s, r, "longer", 0);

        if (s->host->http_query(r, "worker", worker, sizeof(worker)) == 0) {
            free(row->text[1]);
            row->text[1] = strdup(worker);
            row->f.len[1] = (uint32_t) strlen(worker);
        }

        if (store_number(s, r, "gone", 0)) {
            TAILQ_REMOVE(&rows, row, link);
            store_free(row);
        }
    }

    store_save(s->file, &rows);
    close(fd);
    store_clear(&rows);
}


static void
store_list(store_t *s, bk_request_t *r)
{
    FILE         *out;
    char         *text;
    size_t        i, len;
    unsigned      waits = 0;
    store_op_t   *op;
    store_row_t  *row;

    TAILQ_FOREACH(op, &s->ops, link) {
        waits++;
    }

    out = open_memstream(&text, &len);

    if (out == NULL) {
        abort();
    }

    fprintf(out, "{\"puts\":%u,\"waits\":%u,\"ready\":%d,\"rows\":[",
            s->puts, waits, s->ready);
    i = 0;

    TAILQ_FOREACH(row, &s->rows, link) {
        fprintf(out, "%s{\"pool\":\"%s\",\"worker\":\"%s\",\"owner\":\"%s\","
                "\"job\":\"%s\",\"metadata\":%s,\"reason\":\"%s\","
                "\"record\":%s,\"state\":%d,\"isWorker\":%d,\"expires\":%llu,"
                "\"id\":\"%02x%02x%02x%02x%02x%02x\"}", i++ ? "," : "",
                row->text[0], row->text[1], row->text[2], row->text[3],
                row->text[4][0] ? row->text[4] : "null", row->text[5],
                row->text[6][0] ? row->text[6] : "null", row->f.state,
                row->f.worker, (unsigned long long) row->f.expires_ms,
                row->f.hash[0], row->f.hash[1], row->f.hash[2],
                row->f.hash[3], row->f.hash[4], row->f.hash[5]);
    }

    fprintf(out, "]}\n");
    fclose(out);
    s->host->http_reply(r, 200, "application/json", (bk_str_t) { text, len });
    free(text);
}


static void
store_out(const store_row_t *row, bk_stored_t *out)
{
    *out = (bk_stored_t) {
        .hash = row->f.hash,
        .key_hash = row->f.has_key ? row->f.key_hash : NULL,
        .pool = store_str(row->text[0]),
        .worker = store_str(row->text[1]),
        .owner = store_str(row->text[2]),
        .job = store_str(row->text[3]),
        .metadata = store_str(row->text[4]),
        .reason = store_str(row->text[5]),
        .record = store_str(row->text[6]),
        .created_ms = row->f.created_ms,
        .expires_ms = row->f.expires_ms,
        .changed_ms = row->f.changed_ms,
        .state = row->f.state
    };
}


static int
store_number(store_t *s, bk_request_t *r, const char *name, int otherwise)
{
    char  text[24];

    return s->host->http_query(r, name, text, sizeof(text)) == 0
           ? atoi(text) : otherwise;
}
