/*
 * A plugin as it was built for version 1.0 of the interface: compiled against
 * the frozen header, it must go on being loaded and run (style: nbdkit's old
 * plugins).  It answers one route.
 */

#include <stdlib.h>

#include "bk_plugin_1_0.h"


static const bk_host_t  *old_host;


static int old_create(const bk_host_t *host, void **ctx, bk_err_t *err);
static int old_start(void *ctx, bk_err_t *err);
static void old_stop(void *ctx);
static void old_destroy(void *ctx);
static void old_serve(bk_request_t *r, const bk_request_info_t *info,
    void *data);


static bk_plugin_t  old_plugin = {
    .name = "old_1_0",
    .version = "1",
    .summary = "built for interface 1.0",
    .create = old_create,
    .start = old_start,
    .stop = old_stop,
    .destroy = old_destroy
};

BK_PLUGIN(old_plugin)


static int
old_create(const bk_host_t *host, void **ctx, bk_err_t *err)
{
    (void) err;

    old_host = host;
    *ctx = NULL;

    return 0;
}


static int
old_start(void *ctx, bk_err_t *err)
{
    (void) ctx;

    return old_host->http_route(old_host, 0, "GET", "/api/v1/old", old_serve,
                                NULL, err);
}


static void
old_stop(void *ctx)
{
    (void) ctx;

    old_host->stopped(old_host);
}


static void
old_destroy(void *ctx)
{
    (void) ctx;
}


static void
old_serve(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    (void) info;
    (void) data;

    old_host->http_reply(r, 200, "application/json",
                         BK_STR("{\"abi\":\"1.0\"}"));
}
