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
    uint64_t            started_ms;
    unsigned            stopping:1;
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
