/* bkctl routes: the route table as nginx sees it; needs no plugin-host. */

#include <string.h>

#include "bkctl.h"


static int bk_routes_live(const json_t *json);
static void bk_routes_print(const json_t *json);


int
bk_cmd_routes(const bk_args_t *args)
{
    int      rc;
    char     error[400];
    json_t  *json;

    if (bk_routes_read(args, !args->live, &json, error, sizeof(error)) != 0) {
        bk_out_error("%s", error);
        bk_out_hint("--table or BKCTL_TABLE names it, as in plugin-host's "
                    "table.path; who may read it is its group");
        return BK_EXIT_FAILED;
    }

    rc = bk_out_number(json, "damaged") ? BK_EXIT_FAILED : BK_EXIT_OK;

    if (args->live) {
        rc = bk_routes_live(json);

    } else if (args->json) {
        bk_out_json(json);

    } else {
        bk_routes_print(json);
    }

    json_decref(json);

    return rc;
}


/* Not whether plugin-host runs: routes are good without it. */

static int
bk_routes_live(const json_t *json)
{
    const char  *state = bk_out_string(json, "state");

    if (strcmp(state, "live") == 0) {
        return BK_EXIT_OK;
    }

    bk_out_error("the route table %s is %s", bk_out_string(json, "table"),
                 state);

    return BK_EXIT_FAILED;
}


static void
bk_routes_print(const json_t *json)
{
    char         changed[64], expires[64];
    size_t       i;
    json_t      *route;
    bk_rows_t   *rows;
    const char  *header[] = { "ID", "POOL", "WORKER", "ENDPOINT", "STATE",
                              "EXPIRES", "CHANGED", "REASON" };

    rows = bk_rows_new(8);
    bk_rows_add(rows, header);

    json_array_foreach(json_object_get(json, "routes"), i, route) {
        bk_time_short(bk_out_string(route, "expiresAt"), expires,
                      sizeof(expires));
        bk_time_short(bk_out_string(route, "changedAt"), changed,
                      sizeof(changed));

        bk_rows_add(rows, (const char *[]) {
            bk_out_string(route, "id"), bk_out_string(route, "pool"),
            bk_out_string(route, "worker"), bk_out_string(route, "endpoint"),
            bk_out_string(route, "state"), expires, changed,
            bk_out_string(route, "reason") });
    }

    bk_rows_print(rows);
    bk_rows_free(&rows);

    bk_routes_line(json);

    if (bk_out_number(json, "damaged")) {
        fflush(stdout);
        bk_out_error("%lld values in %s are damaged",
                     bk_out_number(json, "damaged"),
                     bk_out_string(json, "table"));
        bk_out_hint("remove the file and restart buildkit-plugin-host: it "
                    "makes a new one");
    }
}


void
bk_routes_line(const json_t *json)
{
    long long  age;

    age = bk_out_number(json, "heartbeatAgeMs");

    printf("table %s: %s, generation %lld, heartbeat %lld.%llds ago%s, "
           "%lld live and %lld ended of %lld\n",
           bk_out_string(json, "table"), bk_out_string(json, "state"),
           bk_out_number(json, "generation"), age / 1000,
           (age < 0 ? -age : age) % 1000 / 100,
           age > 5000 ? " (plugin-host is not running)" : "",
           bk_out_number(json, "live"), bk_out_number(json, "ended"),
           bk_out_number(json, "capacity"));
}
