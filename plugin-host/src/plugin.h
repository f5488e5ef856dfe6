/*
 * Plugins: finding, the ABI gate, instances and their life.
 *
 * A shared object is loaded once and never unloaded; each entry of the
 * configuration's list is an instance of it.  Driven by main.c; the only
 * file that knows dlopen.  What plugins may call is in host_api.c.
 */

#ifndef BK_PLUGIN_LOADER_H_INCLUDED
#define BK_PLUGIN_LOADER_H_INCLUDED

#include "bk_plugin.h"
#include "bk_yaml.h"


typedef struct bk_core_s         bk_core_t;
typedef struct bk_plugins_s      bk_plugins_t;
typedef struct bk_plugin_inst_s  bk_plugin_inst_t;

struct bk_plugin_inst_s {
    bk_plugin_inst_t  *next;
    bk_core_t         *core;
    bk_plugin_t        p;           /* our copy: what both sides know */
    bk_host_t          host;
    void              *ctx;
    char               label[80];   /* "process", "process#2" */
    bk_query_t        *queries;     /* that it has not answered (identity.c) */
    unsigned           nqueries;
    unsigned           created:1;
    unsigned           prepared:1;  /* it was asked to */
    unsigned           preparing:1; /* and has not answered */
    unsigned           starting:1;
    unsigned           started:1;
    unsigned           stopping:1;
    unsigned           stopped:1;
    unsigned           store_ready:1;   /* as a store: it says so */
};


bk_plugins_t *bk_plugins_new(bk_core_t *core, const char *dir);
/* The folder where this program's plugins are, for _new(). */
int bk_plugins_dir(char *buf, size_t size, bk_err_t *err);

/*
 * Loads one by name and checks it: 500 with both versions in the text when
 * the ABI does not fit.  The copy belongs to bk_plugins_t.
 */
int bk_plugins_load(bk_plugins_t *ps, const char *name,
    const bk_plugin_t **p, bk_err_t *err);

/* Makes an instance: create, configure, check.  path: in the document. */
int bk_plugins_add(bk_plugins_t *ps, const bk_yaml_t *y, const char *name,
    const char *path, bk_err_t *err);
/* Asks the next one to prepare: 1: it was asked; 0: there is none. */
int bk_plugins_prepare(bk_plugins_t *ps, bk_err_t *err);
int bk_plugins_start(bk_plugins_t *ps, bk_err_t *err);
/* files of the authorities were written */
void bk_plugins_state_changed(bk_plugins_t *ps);
/* Asks all to stop, the last started first; done() when all have. */
void bk_plugins_stop(bk_plugins_t *ps, void (*done)(void *data), void *data);
/* From host_api.c: this one has. */
void bk_plugins_stopped(bk_plugin_inst_t *p);
void bk_plugins_free(bk_plugins_t **ps);

bk_plugin_inst_t *bk_plugins_first(bk_plugins_t *ps);

/* For the model. */
void bk_plugins_event(bk_plugins_t *ps, const bk_event_t *event);
/* BK_EVENT_USE of a worker, where the model has it; data: bk_core_t */
void bk_plugins_use(bk_str_t pool, bk_str_t worker, void *data);
/* the numbers that plugins have of their own */
void bk_plugins_stats(bk_plugins_t *ps, bk_stat_pt fn, void *data);
int bk_plugins_want(const void *owner, bk_str_t pool, bk_str_t name,
    int wanted, bk_err_t *err);

/* --list-plugins: everything in the folder, to stdout; -1 if one is bad. */
int bk_plugins_list(bk_plugins_t *ps);

#endif /* BK_PLUGIN_LOADER_H_INCLUDED */
