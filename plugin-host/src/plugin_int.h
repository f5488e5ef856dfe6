/* What plugin.c and plugin_run.c share; nobody else includes this. */

#ifndef BK_PLUGIN_INT_H_INCLUDED
#define BK_PLUGIN_INT_H_INCLUDED

#include "plugin.h"


typedef struct bk_plugin_lib_s  bk_plugin_lib_t;

struct bk_plugin_lib_s {
    bk_plugin_lib_t  *next;
    char             *name;
    bk_plugin_t       p;
};

struct bk_plugins_s {
    bk_core_t         *core;
    char              *dir;
    bk_plugin_lib_t   *libs;
    bk_plugin_inst_t  *first;       /* in the order of the configuration */
    void             (*done)(void *data);
    void              *data;
    unsigned           stopping:1;
};

#endif /* BK_PLUGIN_INT_H_INCLUDED */
