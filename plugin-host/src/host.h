/*
 * The parts of the running host, as main.c put them together.  One of these
 * exists; it is passed to whoever needs more than one part.
 */

#ifndef BK_HOST_H_INCLUDED
#define BK_HOST_H_INCLUDED

#include <stdio.h>

#include "access.h"
#include "audit.h"
#include "ca.h"
#include "conf.h"
#include "httpd.h"
#include "model.h"
#include "plugin.h"
#include "reload.h"
#include "report.h"


struct event_base;
typedef struct bk_store_s  bk_store_t;

struct bk_core_s {
    struct event_base  *base;
    bk_conf_t          *conf;
    bk_model_t         *model;
    bk_httpd_t         *httpd;
    bk_ca_t            *ca;
    bk_reload_t        *reload;     /* may be NULL: nobody reloads nginx */
    bk_plugins_t       *plugins;
    bk_reports_t       *reports;    /* may be NULL */
    bk_access_t        *access;
    bk_audit_t         *audit;      /* may be NULL: there is none */
    struct bk_gate_s   *gate;
    bk_store_t         *store;      /* NULL: nobody asked for one */
    struct event       *turn;       /* what waits for it: host_pool.c */
    bk_err_t            why;        /* somebody wants it to quit */
    uint64_t            started_ms;
    unsigned            stopping:1;
    unsigned            started:1;
    unsigned            failed:1;   /* ends with status 1 */
    unsigned            ended:1;    /* by a plugin, when it ran */
    /* what waits for the turn */
    unsigned            quit:1;
    unsigned            prepared:1; /* one plugin is */
    unsigned            stored:1;   /* files of the authorities were */
};

/* host_api.c: fills what a plugin may call; priv is the plugin's instance */
void bk_host_api(bk_host_t *host, bk_plugin_inst_t *p);

#define bk_inst(h)  ((bk_plugin_inst_t *) (h)->priv)

/* host_timer.c: its part for the loop */
bk_timer_t *bk_host_timer_new(const bk_host_t *h, bk_timer_pt fire,
    void *data);
void bk_host_timer_set(bk_timer_t *t, uint64_t ms);
void bk_host_timer_clear(bk_timer_t *t);
void bk_host_timer_free(bk_timer_t **t);
bk_watch_t *bk_host_watch_new(const bk_host_t *h, int fd, int events,
    bk_watch_pt ready, void *data);
void bk_host_watch_set(bk_watch_t *w, int events);
void bk_host_watch_free(bk_watch_t **w);

/* host_http.c: its part for HTTP */
int bk_host_http_route(const bk_host_t *h, int which, const char *method,
    const char *pattern, bk_http_pt handler, void *data, bk_err_t *err);
int bk_host_http_route_for(const bk_host_t *h, const char *method,
    const char *pattern, int verb, bk_http_pt handler, void *data,
    bk_err_t *err);
int bk_host_http_identity(bk_request_t *r, bk_identity_t *out);
int bk_host_http_allowed(bk_request_t *r, int verb, bk_str_t pool,
    bk_decision_t *out, size_t size, bk_err_t *err);
void bk_host_audit(const bk_host_t *h, bk_request_t *r, const char *what,
    const char *outcome, bk_str_t members);

/* host_store.c: its part for stores of allocations */
int bk_host_store_open(const bk_host_t *h, bk_err_t *err);
void bk_host_store_put(const bk_host_t *h, const bk_stored_t *row,
    bk_store_pt done, void *data);
void bk_host_store_worker(const bk_host_t *h, const bk_stored_worker_t *w,
    bk_store_pt done, void *data);
int bk_host_store_each(const bk_host_t *h, bk_stored_pt fn, void *data);
int bk_host_store_workers(const bk_host_t *h, bk_stored_worker_pt fn,
    void *data);
void bk_host_store_is(const bk_host_t *h, int ready);
void bk_host_store_told(const bk_host_t *h, const bk_stored_t *row);

/* plugin_run.c: it must not be asked to stop, since its opener still runs */
int bk_store_needed(const bk_plugin_inst_t *p);
/* one has stopped; whom to stop now, or NULL */
bk_plugin_inst_t *bk_store_stopped(bk_plugin_inst_t *p);
void bk_store_free(bk_core_t *core);

/* host_pool.c: its part for pools' gateways, and for the host's own life */
int bk_host_pool_gateway(const bk_host_t *h, bk_str_t pool,
    const bk_pool_gateway_t *gateway);
void bk_host_pool_gateway_of(const bk_host_t *h, bk_str_t pool,
    bk_pool_gateway_t *out);
int bk_host_pool_labels(const bk_host_t *h, bk_str_t pool, bk_str_t labels);
bk_str_t bk_host_pool_labels_of(const bk_host_t *h, bk_str_t pool);
void bk_host_prepared(const bk_host_t *h, const bk_err_t *err);
void bk_host_quit(const bk_host_t *h, const bk_err_t *why);
int bk_host_state_make(const bk_host_t *h, bk_err_t *err);
int bk_host_state_read(const bk_host_t *h, bk_err_t *err);
/* files of the authorities were written; data: bk_core_t */
void bk_host_state_changed(void *data);

/* what waits for the turn of the loop, if anything does */
void bk_host_turn_new(bk_core_t *core);
void bk_host_turn(bk_core_t *core);
void bk_host_turn_free(bk_core_t *core);

/*
 * start.c: the parts, in their order.  bk_start() begins; when the plugins are
 * prepared the rest follows by itself, at once or later, and what fails then
 * ends the host.  bk_start_go(): the next plugin that prepares, or the rest.
 */
int bk_start(bk_core_t *core, bk_err_t *err);
int bk_start_go(bk_core_t *core, bk_err_t *err);
int bk_start_authorities(bk_core_t *core, bk_err_t *err);
/* in good order; nothing when it is under way */
void bk_stop(bk_core_t *core);

/* again.c: reads the configuration again; and warns of rules that are likely
 * a mistake, in the log where out is NULL */
void bk_again(bk_core_t *core);
void bk_again_doubts(const bk_access_t *access, FILE *out);

/* system.c: one datagram to systemd, "READY=1", where it listens; and as many
 * descriptors as we may have, since each client that waits holds one */
void bk_notify(const char *text);
void bk_more_descriptors(void);

/* api.c: the endpoints that need no plugin */
int bk_api_routes(bk_core_t *core, bk_err_t *err);
/* api_ca.c: called by it */
int bk_api_ca_routes(bk_core_t *core, bk_err_t *err);
/* api_session.c: the same */
int bk_api_session_routes(bk_core_t *core, bk_err_t *err);

#endif /* BK_HOST_H_INCLUDED */
