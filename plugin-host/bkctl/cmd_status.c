/*
 * bkctl status: how the gateway is, on one page.
 *
 * Health from the API, pools from the API, the route table from its file.
 * A check that fails is exit 1, an API that cannot be reached exit 5.  Where
 * bkctl runs on another machine there is no table: that is no fault.
 *
 * --live is for who ends what hangs (Kubernetes' livenessProbe): a plugin-host
 * that still prepares, for as long as that takes, listens nowhere; one that is
 * dead is its process' business.
 */

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "bkctl.h"


#define BK_LIVE_MS  5000        /* to answer in */


typedef struct {
    json_t  *health;
    json_t  *pools;
    json_t  *table;         /* NULL: see table_error */
    char     table_error[400];
    int      failed;        /* a check did */
} bk_status_t;


static int bk_status_live(const bk_args_t *args);
static int bk_status_health(const bk_args_t *args, bk_status_t *st);
static int bk_status_checks(const json_t *checks, const char *prefix,
    int print);
static void bk_status_json(const bk_args_t *args, const bk_status_t *st);
static void bk_status_print(const bk_args_t *args, bk_status_t *st);
static void bk_status_table(const bk_status_t *st);


int
bk_cmd_status(const bk_args_t *args)
{
    int          rc;
    bk_status_t  st;

    memset(&st, 0, sizeof(bk_status_t));

    if (args->live) {
        return bk_status_live(args);
    }

    if (access(args->table, F_OK) != 0 && errno == ENOENT) {
        snprintf(st.table_error, sizeof(st.table_error),
                 "the route table %s does not exist here", args->table);

    } else {
        bk_routes_read(args, 0, &st.table, st.table_error,
                       sizeof(st.table_error));
    }

    rc = bk_status_health(args, &st);

    if (rc == BK_EXIT_OK) {
        rc = bk_list_get(args, "/api/v1/pools", &st.pools);
    }

    if (rc == BK_EXIT_OK) {
        st.failed |= bk_status_checks(json_object_get(st.health, "checks"),
                                      "", 0);

        if (args->json) {
            bk_status_json(args, &st);

        } else {
            bk_status_print(args, &st);
        }

        rc = st.failed ? BK_EXIT_FAILED : BK_EXIT_OK;

    } else if (rc == BK_EXIT_UNREACHABLE && !args->json) {
        bk_status_table(&st);       /* builds may go on all the same */
    }

    json_decref(st.health);
    json_decref(st.pools);
    json_decref(st.table);

    return rc;
}


/* Any answer will do. */

static int
bk_status_live(const bk_args_t *args)
{
    bk_api_reply_t    r;
    bk_api_request_t  req = { .method = "GET", .path = "/healthz", .own = 1,
                              .timeout_ms = BK_LIVE_MS, .fd = -1 };

    (void) bk_api_call(args, &req, &r);

    if (r.status == 0 && !r.nobody) {
        bk_reply_complain(&r);
        bk_reply_free(&r);
        return BK_EXIT_FAILED;
    }

    bk_reply_free(&r);

    return BK_EXIT_OK;
}


/* 503 with checks is an answer, not a failure to answer. */

static int
bk_status_health(const bk_args_t *args, bk_status_t *st)
{
    int               rc;
    bk_api_reply_t    r;
    bk_api_request_t  req = { .method = "GET", .path = "/api/v1/health",
                              .fd = -1 };

    rc = bk_api_call(args, &req, &r);

    if (rc != BK_EXIT_OK && !(r.status == 503 && json_is_object(r.json))) {
        bk_reply_complain(&r);
        bk_reply_free(&r);
        return rc;
    }

    st->failed = r.status != 200;
    st->health = r.json;

    return BK_EXIT_OK;
}


/*
 * Walks {"table": "ok", "plugins": {"static": "ok", ...}}: anything but "ok"
 * is a failure.  Returns whether there is one.
 */

static int
bk_status_checks(const json_t *checks, const char *prefix, int print)
{
    int          failed;
    char         label[200], text[400];
    json_t      *check;
    const char  *name;

    failed = 0;

    json_object_foreach((json_t *) checks, name, check) {
        snprintf(label, sizeof(label), "%s%s", prefix, name);
        bk_out_clean(label);

        if (json_is_object(check)) {
            snprintf(label, sizeof(label), "%s%s ", prefix, name);
            failed |= bk_status_checks(check, label, print);
            continue;
        }

        snprintf(text, sizeof(text), "%s", json_string_value(check)
                                           ? json_string_value(check) : "?");
        failed |= strcmp(text, "ok") != 0;

        if (print) {
            printf("check %s: %s\n", label, bk_out_clean(text));
        }
    }

    return failed;
}


static void
bk_status_json(const bk_args_t *args, const bk_status_t *st)
{
    json_t  *json;

    json = json_pack("{s:s, s:b, s:O, s:O, s:O*}",
                     "api", args->endpoint, "healthy", !st->failed,
                     "health", st->health, "pools", st->pools,
                     "table", st->table);

    if (st->table == NULL) {
        json_object_set_new(json, "tableError",
                            json_string(st->table_error));
    }

    bk_out_json(json);
    json_decref(json);
}


static void
bk_status_print(const bk_args_t *args, bk_status_t *st)
{
    size_t       i;
    json_t      *pool;
    const char  *gateway;

    gateway = bk_out_text(st->health, "gatewayEndpoint");

    /* every pool has the same one */

    json_array_foreach(st->pools, i, pool) {
        if (*gateway) {
            break;
        }

        gateway = bk_out_text(pool, "endpoint");
    }

    printf("api %s: %s\n", args->endpoint,
           st->failed ? "a check fails" : "healthy");

    if (*gateway) {
        printf("gateway %s\n", gateway);
    }

    bk_status_checks(json_object_get(st->health, "checks"), "", 1);
    bk_status_table(st);
    putchar('\n');
    bk_list_pools(args, st->pools);
}


static void
bk_status_table(const bk_status_t *st)
{
    if (st->table) {
        bk_routes_line(st->table);

    } else {
        printf("%s\n", st->table_error);
    }
}
