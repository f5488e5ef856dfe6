/* bkctl pools: what can be allocated from. */

#include <stdlib.h>

#include "bkctl.h"


int
bk_cmd_pools(const bk_args_t *args)
{
    return bk_list(args, "/api/v1/pools", bk_list_pools);
}
