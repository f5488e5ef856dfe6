/* bkctl workers: the buildkitds and how they are. */

#include "bkctl.h"


int
bk_cmd_workers(const bk_args_t *args)
{
    return bk_list(args, "/api/v1/workers", bk_list_workers);
}
