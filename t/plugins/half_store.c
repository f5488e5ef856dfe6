/* A store that cannot say what it keeps. */

#include "broken.h"


static void
broken_put(void *ctx, const bk_stored_t *row, bk_store_pt done, void *data)
{
    (void) ctx;
    (void) row;
    (void) done;
    (void) data;
}


static void
broken_worker(void *ctx, const bk_stored_worker_t *w, bk_store_pt done,
    void *data)
{
    (void) ctx;
    (void) w;
    (void) done;
    (void) data;
}


static bk_plugin_t  broken_plugin = {
    .name = "half_store",
    .version = "1",
    .summary = "broken on purpose",
    .create = broken_create,
    .start = broken_start,
    .stop = broken_stop,
    .destroy = broken_stop,
    .store_put = broken_put,
    .store_worker = broken_worker
};

BROKEN_PLUGIN(broken_plugin, BK_ABI_MAJOR, BK_ABI_MINOR, sizeof(bk_plugin_t))
