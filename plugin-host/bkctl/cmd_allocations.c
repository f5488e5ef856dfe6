/* bkctl allocations: who has which worker; ids, never tokens. */

#include "bkctl.h"


int
bk_cmd_allocations(const bk_args_t *args)
{
    return bk_list(args, "/api/v1/allocations", bk_list_allocations);
}
