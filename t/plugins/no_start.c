/* A plugin without a callback that every plugin needs. */

#include "broken.h"


static bk_plugin_t  broken_plugin = {
    .name = "no_start",
    .version = "1",
    .summary = "broken on purpose",
    .create = broken_create,
    .stop = broken_stop,
    .destroy = broken_stop
};

BK_PLUGIN(broken_plugin)
