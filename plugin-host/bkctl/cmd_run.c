/* bkctl run: a command with an allocation of its own. */

#include "bkctl.h"


int
bk_cmd_run(const bk_args_t *args)
{
    int           rc;
    bk_session_t  s;

    rc = BK_EXIT_NOT_STARTED;

    if (bk_session_open(&s, args) == 0) {
        rc = bk_session_run(&s, args->argv);
    }

    bk_session_close(&s);

    return rc;
}
