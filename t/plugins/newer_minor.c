/* A plugin that was built for a newer host. */

#include "broken.h"


static bk_plugin_t  broken_plugin = {
    .name = "newer_minor",
    .version = "1",
    .summary = "broken on purpose",
    .create = broken_create,
    .start = broken_start,
    .stop = broken_stop,
    .destroy = broken_stop
};

BROKEN_PLUGIN(broken_plugin, BK_ABI_MAJOR, BK_ABI_MINOR + 1,
              sizeof(bk_plugin_t) + 8)
