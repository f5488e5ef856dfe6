/* bkctl backup: a copy of the journal, made while everything goes on. */

#include "bkctl.h"


#define BK_BACKUP_MS  600000        /* a large journal on a slow disk */


int
bk_cmd_backup(const bk_args_t *args)
{
    int               rc;
    char              size[16];
    json_t           *body;
    bk_api_reply_t    r;
    bk_api_request_t  req = { .method = "POST", .fd = -1,
                              .path = "/api/v1/journal/backup",
                              .timeout_ms = BK_BACKUP_MS };

    req.body = body = json_pack("{s:s*}", "name",
                                args->argc ? args->argv[0] : NULL);

    if (body == NULL) {
        return bk_args_usage(args->verb, "the name is not valid UTF-8");
    }

    rc = bk_api_call(args, &req, &r);

    if (rc != BK_EXIT_OK) {
        bk_reply_complain(&r);

    } else if (args->json) {
        rc = bk_out_json(r.json);

    } else {
        printf("backup in %s", bk_out_text(r.json, "path"));
        printf(", %s bytes\n",
               bk_bytes_short(bk_out_number(r.json, "bytes"), size,
                              sizeof(size)));
    }

    bk_reply_free(&r);
    json_decref(body);

    return rc;
}
