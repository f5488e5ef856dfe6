/* bkctl revoke: an operator ends somebody's allocation. */

#include <stdlib.h>
#include <string.h>

#include "bkctl.h"


static void bk_revoke_print(const char *id, const json_t *json);


int
bk_cmd_revoke(const bk_args_t *args)
{
    int               rc;
    char             *path, *reason;
    json_t           *body;
    const char       *id;
    bk_api_reply_t    r;
    bk_api_request_t  req = { .method = "DELETE", .fd = -1 };

    id = args->argv[0];

    if (bk_args_id(args->verb, id) != 0) {
        return BK_EXIT_USAGE;
    }

    body = json_pack("{s:s}", "reason", args->reason);

    if (body == NULL) {
        return bk_args_usage(args->verb, "the reason is not valid UTF-8");
    }

    reason = bk_api_escape(args->reason);

    if (asprintf(&path, "/api/v1/allocations/%s?reason=%s", id, reason) < 0) {
        abort();
    }

    req.path = path;
    rc = bk_api_call(args, &req, &r);

    if (rc != BK_EXIT_OK) {
        bk_reply_complain(&r);

    } else if (args->json) {
        bk_out_json(r.json);

    } else {
        bk_revoke_print(id, r.json);
    }

    bk_reply_free(&r);
    json_decref(body);
    free(reason);
    free(path);

    return rc;
}


static void
bk_revoke_print(const char *id, const json_t *json)
{
    long long  cut, left;

    /* an older API does not say */
    if (!json_is_integer(json_object_get(json, "connectionsCut"))) {
        printf("revoked %.12s\n", id);
        return;
    }

    cut = bk_out_number(json, "connectionsCut");
    left = bk_out_number(json, "connectionsLeft");

    printf("revoked %.12s: %lld connection%s cut\n", id, cut,
           cut == 1 ? "" : "s");

    if (left > 0) {
        bk_out_note("bkctl: warning: %lld connection%s not cut so far; look "
                    "again: bkctl sessions --allocation %.12s", left,
                    left == 1 ? " is" : "s are", id);
    }
}
