/* Between the plugin's own files; nobody else includes this. */

#ifndef KUBERNETES_H_INCLUDED
#define KUBERNETES_H_INCLUDED

#include "ct.h"
#include "ct_api.h"
#include "ct_oidc.h"
#include "gw.h"
#include "ing.h"
#include "k8s.h"


typedef struct {
    const bk_host_t  *host;
    char             *role;
    char             *kubeconfig;       /* "": found by itself */
    char             *context;          /* "": the current one */
    char            **namespaces;       /* none: that of the configuration;
                                           "": all */
    size_t            nnamespaces;
    k8s_t            *k8s;
    gw_t             *gw;               /* role gateway */
    ing_t            *ing;              /* ... with an ingressClass */
    ing_conf_t        ing_conf;
    ct_t             *ct;               /* role controller */
    ct_conf_t         conf;
    ct_state_t       *state;
    ct_oidc_t        *oidc;
    ct_api_t         *api;              /* NULL: no apiTLS */
    bk_timer_t       *end;
} kubernetes_t;


/* kubernetes_option.c */
extern const bk_option_t  kubernetes_options[];

int kubernetes_configure(void *ctx, const char *key, const char *value,
    bk_err_t *err);
/* one more that is served */
int kubernetes_namespace(kubernetes_t *k, const char *value, bk_err_t *err);
void kubernetes_options_free(kubernetes_t *k);
char *kubernetes_strdup(const char *s);

/* kubernetes_list.c: one more of a list; key: the option */
int kubernetes_list_allow(char ***list, const char *key, const char *value,
    bk_err_t *err);
int kubernetes_list_pool(char ***list, const char *value, bk_err_t *err);
int kubernetes_list_name(char ***list, const char *value, bk_err_t *err);
/* all: that which means all of them, and is alone then */
int kubernetes_list_add(char ***list, const char *value, const char *all,
    bk_err_t *err);
void kubernetes_list_free(char ***list);
int kubernetes_is_namespace(const char *s);

/* kubernetes_controller.c: callbacks of bk_plugin.h, for role controller */
int kubernetes_want(void *ctx, bk_str_t pool, bk_str_t name, int wanted,
    bk_err_t *err);
void kubernetes_event(void *ctx, const bk_event_t *event);
void kubernetes_state_changed(void *ctx);
void kubernetes_put(void *ctx, const bk_stored_t *row,
    bk_store_pt done, void *data);
void kubernetes_put_worker(void *ctx, const bk_stored_worker_t *w,
    bk_store_pt done, void *data);
int kubernetes_each(void *ctx, bk_stored_pt fn, void *data);
int kubernetes_workers(void *ctx, bk_stored_worker_pt fn, void *data);

#endif /* KUBERNETES_H_INCLUDED */
