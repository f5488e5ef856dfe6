/* bkctl release: an allocation is given back, by its own token. */

#include "bkctl.h"


int
bk_cmd_release(const bk_args_t *args)
{
    int              rc;
    bk_token_t       t;
    bk_api_reply_t   r;

    rc = bk_token_read(args, &t);

    if (rc != BK_EXIT_OK) {
        return rc;
    }

    rc = bk_alloc_release(args, t.token, 0, &r);

    if (rc != BK_EXIT_OK) {
        bk_reply_complain(&r);

    } else if (args->json) {
        bk_out_json(r.json);

    } else {
        printf("released %s\n", t.id);
    }

    bk_reply_free(&r);
    bk_token_free(&t);

    return rc;
}
