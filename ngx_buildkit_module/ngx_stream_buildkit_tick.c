
/*
 * The clock of this module: every buildkit_check it looks whether the table
 * changed (or the names: names.c), and only then at who holds on to it; and,
 * when this process is to end, whether its time is nearly up (quit.c).
 *
 * One for each worker process and cycle.  Cancelable, so that it does not
 * hold up a graceful exit; while sessions live it goes on firing.
 */


#include "ngx_stream_buildkit_module.h"


static void ngx_stream_buildkit_tick_handler(ngx_event_t *ev);


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

    changed = ngx_stream_buildkit_zone_check(bmcf->zone)
              ? NGX_STREAM_BUILDKIT_TABLE : 0;

    if (ngx_stream_buildkit_names_tick(bmcf)) {
        changed |= NGX_STREAM_BUILDKIT_NAMES;
    }

    bmcf->ending = ngx_stream_buildkit_quit_tick(bmcf);

    ngx_stream_buildkit_live_tick(bmcf, changed & NGX_STREAM_BUILDKIT_TABLE);
    ngx_stream_buildkit_hold_tick(bmcf, changed);
    ngx_stream_buildkit_report_tick(bmcf);

    if (bmcf->lookup) {
        ngx_stream_buildkit_lookup_tick(bmcf->lookup);
    }

    ngx_add_timer(ev, bmcf->check);
}
