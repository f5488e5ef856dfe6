/*
 * What plugins may call, of pools' gateways, and of the host's own life: its
 * preparation, its state, its end.
 *
 * Nothing of that life happens from within a plugin's call: it waits until
 * the loop turns.
 */

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "bk_err.h"
#include "host.h"
#include "log.h"


static void bk_host_turned(evutil_socket_t fd, short what, void *data);


void
bk_host_turn_new(bk_core_t *core)
{
    core->turn = event_new(core->base, -1, 0, bk_host_turned, core);

    if (core->turn == NULL) {
        abort();
    }
}


void
bk_host_turn_free(bk_core_t *core)
{
    if (core->turn != NULL) {
        event_free(core->turn);
        core->turn = NULL;
    }
}


void
bk_host_turn(bk_core_t *core)
{
    if (core->quit || core->prepared || core->stored) {
        event_active(core->turn, EV_TIMEOUT, 0);
    }
}


static void
bk_host_turned(evutil_socket_t fd, short what, void *data)
{
    bk_core_t *core = data;

    (void) fd;
    (void) what;

    if (core->stopping) {
        return;
    }

    if (core->prepared && !core->quit) {
        core->prepared = 0;

        if (bk_start_go(core, &core->why) != 0) {
            core->quit = 1;
        }
    }

    if (core->quit) {
        core->failed = 1;
        core->ended = core->started;
        bk_log_err(BK_LOG_ERROR, "host", &core->why);
        bk_stop(core);
        return;
    }

    if (core->stored && core->started) {
        core->stored = 0;
        bk_plugins_state_changed(core->plugins);
    }
}


void
bk_host_prepared(const bk_host_t *h, const bk_err_t *err)
{
    bk_core_t         *core;
    bk_plugin_inst_t  *p;

    p = bk_inst(h);
    core = p->core;

    if (!p->preparing) {
        bk_log(BK_LOG_ERROR, p->label, "was not asked to prepare, or said "
               "before that it is prepared");
        return;
    }

    p->preparing = 0;

    if (err != NULL) {
        bk_host_quit(h, err);
        return;
    }

    core->prepared = 1;
    bk_host_turn(core);
}


void
bk_host_quit(const bk_host_t *h, const bk_err_t *why)
{
    bk_core_t  *core;

    core = bk_inst(h)->core;

    /* the first of them is the cause */
    if (core->quit || core->stopping) {
        return;
    }

    core->quit = 1;
    core->why = *why;
    (void) bk_err_prefix(&core->why, "plugin %s", bk_inst(h)->label);
    bk_host_turn(core);
}


int
bk_host_state_make(const bk_host_t *h, bk_err_t *err)
{
    bk_core_t  *core;

    core = bk_inst(h)->core;

    /* a start has made them */
    if (core->ca != NULL) {
        return 0;
    }

    if (bk_start_authorities(core, err) != 0) {
        bk_reload_free(&core->reload);
        return -1;
    }

    /* what is there when all have prepared is opened then */
    bk_ca_free(&core->ca);
    bk_reload_free(&core->reload);

    return 0;
}


int
bk_host_state_read(const bk_host_t *h, bk_err_t *err)
{
    bk_core_t  *core;

    core = bk_inst(h)->core;

    return core->ca != NULL ? bk_ca_read_issued(core->ca, err) : 0;
}


void
bk_host_state_changed(void *data)
{
    bk_core_t *core = data;

    core->stored = 1;
    bk_host_turn(core);
}


int
bk_host_pool_gateway(const bk_host_t *h, bk_str_t pool,
    const bk_pool_gateway_t *gateway)
{
    return bk_model_pool_gateway(bk_inst(h)->core->model, bk_inst(h), pool,
                                 gateway);
}


void
bk_host_pool_gateway_of(const bk_host_t *h, bk_str_t pool,
    bk_pool_gateway_t *out)
{
    bk_model_pool_gateway_of(bk_inst(h)->core->model, pool, out);

    if (out->endpoint.len == 0 && out->why.len == 0) {
        out->endpoint = h->gateway_endpoint(h);
    }
}


int
bk_host_pool_labels(const bk_host_t *h, bk_str_t pool, bk_str_t labels)
{
    return bk_model_pool_labels(bk_inst(h)->core->model, bk_inst(h), pool,
                                labels);
}


bk_str_t
bk_host_pool_labels_of(const bk_host_t *h, bk_str_t pool)
{
    return bk_model_pool_labels_of(bk_inst(h)->core->model, pool);
}
