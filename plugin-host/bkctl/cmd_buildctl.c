/* bkctl buildctl: buildctl on a worker of the pool. */

#include <stdlib.h>

#include "bkctl.h"


int
bk_cmd_buildctl(const bk_args_t *args)
{
    int           i, rc;
    char         *program;
    bk_argv_t     argv = { NULL, 0 };
    bk_session_t  s;

    /* before a worker is taken */
    program = bk_program_find("BKCTL_BUILDCTL", "buildctl");

    if (program == NULL) {
        bk_out_error("buildctl is not to be found");
        bk_out_hint("install it into PATH, or set BKCTL_BUILDCTL to where "
                    "it is");
        return BK_EXIT_NOT_STARTED;
    }

    rc = BK_EXIT_NOT_STARTED;

    if (bk_session_open(&s, args) == 0) {
        bk_argv_add(&argv, "%s", program);
        bk_argv_add(&argv, "--addr");
        bk_argv_add(&argv, "%s", bk_alloc_endpoint(s.nodes[0]->answer));
        bk_argv_add(&argv, "--tlscacert");
        bk_argv_add(&argv, "%s/ca.pem", s.nodes[0]->dir);
        bk_argv_add(&argv, "--tlscert");
        bk_argv_add(&argv, "%s/cert.pem", s.nodes[0]->dir);
        bk_argv_add(&argv, "--tlskey");
        bk_argv_add(&argv, "%s/key.pem", s.nodes[0]->dir);

        for (i = 0; i < args->argc; i++) {
            bk_argv_add(&argv, "%s", args->argv[i]);
        }

        rc = bk_session_run(&s, argv.v);
        bk_argv_free(&argv);
    }

    bk_session_close(&s);
    free(program);

    return rc;
}
