
/*
 * The clock of this module: every buildkit_check it looks whether the table
 * changed, and only then at who holds on to it; and, when this process is to
 * end, whether its time is nearly up.
 *
 * One for each worker process and cycle.  Cancelable, so that it does not
 * hold up a graceful exit; while sessions live it goes on firing.
 */


#include "ngx_stream_buildkit_module.h"


/* so long before worker_shutdown_timeout clients are told: it tells nobody */
#define NGX_STREAM_BUILDKIT_TICK_ENDING  1500


static void ngx_stream_buildkit_tick_handler(ngx_event_t *ev);
static ngx_uint_t ngx_stream_buildkit_tick_ending(
    ngx_stream_buildkit_main_conf_t *bmcf);


void
ngx_stream_buildkit_tick_start(ngx_stream_buildkit_main_conf_t *bmcf,
    ngx_cycle_t *cycle)
{
    static ngx_connection_t  dumb;

    dumb.fd = (ngx_socket_t) -1;

    ngx_queue_init(&bmcf->held);
    ngx_queue_init(&bmcf->waking);
    ngx_queue_init(&bmcf->live);
    ngx_queue_init(&bmcf->cutting);

    bmcf->tick.handler = ngx_stream_buildkit_tick_handler;
    bmcf->tick.data = &dumb;    /* what debug logs ask for its fd */
    bmcf->tick.log = cycle->log;
    bmcf->tick.cancelable = 1;

    ngx_add_timer(&bmcf->tick, bmcf->check);
}


static void
ngx_stream_buildkit_tick_handler(ngx_event_t *ev)
{
    ngx_uint_t                        changed;
    ngx_stream_buildkit_main_conf_t  *bmcf;

    bmcf = (ngx_stream_buildkit_main_conf_t *)
               ((u_char *) ev - offsetof(ngx_stream_buildkit_main_conf_t,
                                         tick));

    changed = ngx_stream_buildkit_zone_check(bmcf->zone);

    bmcf->ending = ngx_stream_buildkit_tick_ending(bmcf);

    ngx_stream_buildkit_live_tick(bmcf, changed);
    ngx_stream_buildkit_hold_tick(bmcf, changed);
    ngx_stream_buildkit_report_tick(bmcf);

    ngx_add_timer(ev, bmcf->check);
}


/* nginx itself drops what is left then, without a word */

static ngx_uint_t
ngx_stream_buildkit_tick_ending(ngx_stream_buildkit_main_conf_t *bmcf)
{
    ngx_core_conf_t  *ccf;

    if (!ngx_exiting) {
        return 0;
    }

    if (bmcf->exiting == 0) {
        bmcf->exiting = ngx_max(ngx_current_msec, 1);
    }

    ccf = (ngx_core_conf_t *) ngx_get_conf(ngx_cycle->conf_ctx,
                                           ngx_core_module);

    return ccf->shutdown_timeout
           && ngx_current_msec - bmcf->exiting
              + NGX_STREAM_BUILDKIT_TICK_ENDING >= ccf->shutdown_timeout;
}
