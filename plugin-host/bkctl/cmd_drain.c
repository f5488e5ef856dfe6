/*
 * bkctl drain: a worker is taken out of service, and no build is ended.
 *
 * With --wait it is done when nothing runs on the worker any more; an API
 * that goes away meanwhile is waited for, since builds go on without it.
 */

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "bk_duration.h"
#include "bkctl.h"


/* A gateway's process that has just begun is in the reports within a second,
 * so nothing is nothing when it is that twice. */
#define BK_DRAIN_EVERY  1200
#define BK_DRAIN_CALM   2


static int bk_drain_ask(const bk_args_t *args, json_t **json);
static int bk_drain_wait(const bk_args_t *args, json_t **json);
static int bk_drain_look(const bk_args_t *args, const json_t *json,
    bk_api_reply_t *r);
static void bk_drain_count(const json_t *json, char *buf, size_t size);
static void bk_drain_print(const bk_args_t *args, const json_t *json);


int
bk_cmd_drain(const bk_args_t *args)
{
    int      rc;
    json_t  *json;

    if (args->undo && (args->patient || args->reason)) {
        return bk_args_usage(args->verb, "\"--undo\" goes without \"--%s\"",
                             args->reason ? "reason" : "wait");
    }

    rc = bk_drain_ask(args, &json);

    if (rc != BK_EXIT_OK) {
        return rc;
    }

    if (args->patient) {
        rc = bk_drain_wait(args, &json);
    }

    if (args->json) {
        bk_out_json(json);

    } else if (rc == BK_EXIT_OK) {
        bk_drain_print(args, json);
    }

    json_decref(json);

    return rc != BK_EXIT_OK ? rc : bk_out_flush();
}


static int
bk_drain_ask(const bk_args_t *args, json_t **json)
{
    int               rc;
    char             *path, *name;
    json_t           *body;
    bk_api_reply_t    r;
    bk_api_request_t  req = { .method = "POST", .fd = -1 };

    body = json_pack("{s:s*, s:s*, s:s*}", "poolName", args->pool,
                     "namespace", args->pool ? args->nspace : NULL,
                     "reason", args->reason);

    if (body == NULL) {
        return bk_args_usage(args->verb, "a flag's value is not valid UTF-8");
    }

    if (args->undo) {
        json_object_set_new(body, "undo", json_true());
    }

    name = bk_api_escape(args->argv[0]);

    if (asprintf(&path, "/api/v1/workers/%s/drain", name) < 0) {
        abort();
    }

    req.path = path;
    req.body = body;
    rc = bk_api_call(args, &req, &r);

    if (rc != BK_EXIT_OK) {
        bk_reply_complain(&r);
        bk_reply_free(&r);

    } else {
        *json = r.json;
    }

    json_decref(body);
    free(name);
    free(path);

    return rc;
}


/* *json becomes what was last said of the worker. */

static int
bk_drain_wait(const bk_args_t *args, json_t **json)
{
    int             calm, rc, silent;
    char            text[120];
    uint64_t        limit, end, late, now;
    bk_api_reply_t  r;
    bk_progress_t   progress;

    limit = 0;
    silent = 0;
    end = UINT64_MAX;

    if (args->wait) {
        bk_duration_parse(args->wait, strlen(args->wait), &limit);
        end = bk_now_ms() + limit;
    }

    bk_progress_start(&progress, "waiting for worker %s", args->argv[0]);

    for (calm = 0; /* void */ ; /* void */ ) {

        if (bk_out_number(*json, "connections") > 0) {
            calm = 0;

        } else if (!silent && ++calm == BK_DRAIN_CALM) {
            break;
        }

        bk_drain_count(*json, text, sizeof(text));
        now = bk_now_ms();
        late = calm == 0 || silent ? end : UINT64_MAX;

        if (now >= late) {
            bk_progress_end(&progress);
            bk_out_error("worker %s after %s: %s%s", args->argv[0],
                         args->wait, text,
                         silent ? ", when the API still answered" : "");
            bk_out_hint("it stays drained; see bkctl sessions --worker %s",
                        args->argv[0]);
            return BK_EXIT_FAILED;
        }

        bk_progress_why(&progress, "%s", text);
        bk_progress_tick(&progress);
        (void) poll(NULL, 0, late - now < BK_DRAIN_EVERY
                             ? (int) (late - now) : BK_DRAIN_EVERY);

        rc = bk_drain_look(args, *json, &r);

        if (rc == BK_EXIT_OK) {
            silent = 0;
            json_decref(*json);
            *json = r.json;
            r.json = NULL;

            if (!json_is_true(json_object_get(*json, "drained"))) {
                bk_progress_end(&progress);
                bk_out_error("worker %s was taken back by somebody",
                             args->argv[0]);
                return BK_EXIT_FAILED;
            }

        } else if (rc != BK_EXIT_UNREACHABLE && r.status < 500) {
            bk_progress_end(&progress);
            bk_reply_complain(&r);
            bk_reply_free(&r);
            return rc;

        } else {
            if (!silent) {
                bk_progress_end(&progress);
                bk_out_note("bkctl: %s; trying again", r.error);
            }

            silent = 1;
        }

        bk_reply_free(&r);
    }

    bk_progress_end(&progress);

    return BK_EXIT_OK;
}


static int
bk_drain_look(const bk_args_t *args, const json_t *json, bk_api_reply_t *r)
{
    int               rc;
    char             *path, *name, *pool;
    bk_api_request_t  req = { .method = "GET", .fd = -1 };

    name = bk_api_escape(args->argv[0]);
    pool = bk_api_escape(bk_out_string(json, "pool"));

    if (asprintf(&path, "/api/v1/workers/%s/drain?pool=%s", name, pool) < 0) {
        abort();
    }

    req.path = path;
    rc = bk_api_call(args, &req, r);

    free(name);
    free(pool);
    free(path);

    return rc;
}


/* What runs on it. */

static void
bk_drain_count(const json_t *json, char *buf, size_t size)
{
    long long  builds, rest;

    builds = bk_out_number(json, "builds");
    rest = bk_out_number(json, "connections") - builds;

    if (builds == 0 && rest <= 0) {
        snprintf(buf, size, "nothing runs on it");

    } else if (builds == 0) {
        snprintf(buf, size, "no build, but %lld connection%s", rest,
                 rest == 1 ? "" : "s");

    } else if (rest <= 0) {
        snprintf(buf, size, "%lld build%s still run%s", builds,
                 builds == 1 ? "" : "s", builds == 1 ? "s" : "");

    } else {
        snprintf(buf, size, "%lld build%s still run%s, and %lld other "
                 "connection%s", builds, builds == 1 ? "" : "s",
                 builds == 1 ? "s" : "", rest, rest == 1 ? "" : "s");
    }
}


static void
bk_drain_print(const bk_args_t *args, const json_t *json)
{
    char       text[120];
    long long  allocations;

    printf(args->undo ? "took back worker %s" : "drained worker %s",
           bk_out_text(json, "worker"));
    printf(" of pool %s: ", bk_out_text(json, "pool"));

    if (args->undo) {
        printf("it is %s\n", bk_out_text(json, "state"));
        return;
    }

    bk_drain_count(json, text, sizeof(text));
    allocations = bk_out_number(json, "allocations");
    printf("%s; %lld allocation%s\n", text, allocations,
           allocations == 1 ? "" : "s");
}
