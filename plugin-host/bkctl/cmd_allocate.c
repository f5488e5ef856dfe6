/*
 * bkctl allocate: a worker and the credentials for it.
 *
 * Machine output is the API's own JSON, token and key included: it is what
 * was asked for.  People get a few lines without secrets.
 */

#include <string.h>

#include "bkctl.h"


static int bk_allocate_print(const json_t *answer, const char *dir);


int
bk_cmd_allocate(const bk_args_t *args)
{
    int              rc, human;
    char             dir[PATH_MAX];
    json_t          *answer;
    bk_api_reply_t   r;

    /* on a terminal nobody wants a key, so there it needs a folder */

    human = bk_out_tty() && !args->json;

    if (human && args->out == NULL) {
        return bk_args_usage(args->verb, "where to? --out DIR writes the "
                             "credentials there, --json prints them");
    }

    rc = bk_alloc_guarded(args, &answer);

    if (rc != BK_EXIT_OK) {
        return rc > 128 ? bk_signals_die(rc - 128) : rc;
    }

    if (args->out && (bk_creds_write(args->out, answer) != 0
                      || bk_creds_absolute(args->out, dir) != 0))
    {
        /* nobody will use it: let others have the worker */

        bk_alloc_release(args, bk_out_string(answer, "token"), 0, &r);
        bk_reply_free(&r);
        json_decref(answer);
        return BK_EXIT_FAILED;
    }

    bk_alloc_warn(answer);
    rc = human ? bk_allocate_print(answer, dir) : bk_out_json(answer);
    json_decref(answer);

    return rc;
}


static int
bk_allocate_print(const json_t *answer, const char *dir)
{
    char  id[13], when[64];

    bk_time_relative(bk_out_string(answer, "expiresAt"), when, sizeof(when));

    printf("allocation %s\n", bk_alloc_id(answer, id));
    printf("worker     %s\n", bk_out_text(answer, "workerName"));

    printf("gateway    %s\n", bk_alloc_endpoint(answer));
    printf("expires    %s\n", when);
    printf("files      %s/{ca,cert,key}.pem\n\n", dir);
    printf("  buildctl --addr %s --tlsdir %s ...\n",
           bk_alloc_endpoint(answer), dir);
    printf("  bkctl release %s/alloc.json\n", dir);

    return bk_out_flush();
}
