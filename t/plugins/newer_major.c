/* A plugin of a later, different interface. */

#include "broken.h"


static bk_plugin_t  broken_plugin = {
    .name = "newer_major",
    .version = "1",
    .summary = "broken on purpose",
    .create = broken_create,
    .start = broken_start,
    .stop = broken_stop,
    .destroy = broken_stop
};

BROKEN_PLUGIN(broken_plugin, BK_ABI_MAJOR + 1, 0, sizeof(bk_plugin_t))
