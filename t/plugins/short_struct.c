/* A plugin whose description ends too early. */

#include "broken.h"


static bk_plugin_t  broken_plugin = {
    .name = "short_struct",
    .version = "1",
    .summary = "broken on purpose",
    .create = broken_create,
    .start = broken_start,
    .stop = broken_stop,
    .destroy = broken_stop
};

BROKEN_PLUGIN(broken_plugin, BK_ABI_MAJOR, 0, BK_PLUGIN_SIZE_1_0 - 8)
