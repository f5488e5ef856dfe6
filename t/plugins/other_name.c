/* A plugin whose file was renamed. */

#include "broken.h"


static bk_plugin_t  broken_plugin = {
    .name = "someone_else",
    .version = "1",
    .summary = "broken on purpose",
    .create = broken_create,
    .start = broken_start,
    .stop = broken_stop,
    .destroy = broken_stop
};

BK_PLUGIN(broken_plugin)
