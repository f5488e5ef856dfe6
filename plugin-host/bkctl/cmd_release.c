/*
 * bkctl release: an allocation is given back, by its own token; or by its id,
 * which its owner and operators may do.
 */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bkctl.h"


static int bk_release_id(const bk_args_t *args, const char *id);
static int bk_release_done(const bk_args_t *args, bk_api_reply_t *r,
    const char *id);


int
bk_cmd_release(const bk_args_t *args)
{
    int              rc;
    bk_token_t       t;
    bk_api_reply_t   r;

    /* a file of that name is the file */

    if (args->argc && bk_id_like(args->argv[0])
        && access(args->argv[0], F_OK) != 0)
    {
        return bk_release_id(args, args->argv[0]);
    }

    rc = bk_token_read(args, &t);

    if (rc != BK_EXIT_OK) {
        return rc;
    }

    bk_alloc_release(args, t.token, 0, &r);
    rc = bk_release_done(args, &r, t.id);
    bk_token_free(&t);

    return rc;
}


static int
bk_release_id(const bk_args_t *args, const char *id)
{
    char              *path;
    json_t            *body;
    bk_args_t          with;
    bk_api_reply_t     r;
    bk_api_request_t   req = { .method = "POST", .fd = -1 };

    /* no allocation's token, then: that of the caller */

    with = *args;
    with.api_token_file = args->token_file;

    if (asprintf(&path, "/api/v1/allocations/%s/release", id) < 0) {
        abort();
    }

    req.path = path;
    req.body = body = json_object();
    bk_api_call(&with, &req, &r);
    json_decref(body);
    free(path);

    return bk_release_done(args, &r, id);
}


static int
bk_release_done(const bk_args_t *args, bk_api_reply_t *r, const char *id)
{
    int  rc;

    rc = r->exit;

    if (rc != BK_EXIT_OK) {
        bk_reply_complain(r);

    } else if (args->json) {
        rc = bk_out_json(r->json);

    } else {
        printf("released %.12s\n", id);
    }

    bk_reply_free(r);

    return rc;
}
