/* Plugins: loading and the ABI gate.  See plugin.h; instances: plugin_run.c. */

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bk_err.h"
#include "plugin_int.h"


#define BK_PLUGIN_NAME_MAX  64


static int bk_plugin_safe(const char *path, bk_err_t *err);
static int bk_plugin_gate(const char *name, const bk_plugin_t *p,
    bk_plugin_t *copy, bk_err_t *err);
static int bk_plugin_complete(const char *name, const bk_plugin_t *p,
    bk_err_t *err);
static int bk_plugin_name_ok(const char *name);
static void bk_plugin_print(const bk_plugin_t *p);
static int bk_plugin_by_name(const void *a, const void *b);


static const char *const bk_option_names[] = {
    "", "string", "integer", "true|false", "duration", "list of strings"
};


bk_plugins_t *
bk_plugins_new(bk_core_t *core, const char *dir)
{
    bk_plugins_t  *ps;

    ps = calloc(1, sizeof(bk_plugins_t));
    if (ps == NULL || (ps->dir = strdup(dir)) == NULL) {
        abort();
    }

    ps->core = core;

    return ps;
}


int
bk_plugins_dir(char *buf, size_t size, bk_err_t *err)
{
    char         self[PATH_MAX], *slash;
    ssize_t      n;
    struct stat  st;

    n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n == -1) {
        return bk_err_set(err, 500, "NoPlugins", "cannot tell where this "
                          "program is: %s", strerror(errno));
    }

    self[n] = '\0';
    slash = strrchr(self, '/');
    *slash = '\0';

    snprintf(buf, size, "%s/plugins", self);
    if (stat(buf, &st) == 0 && S_ISDIR(st.st_mode)) {
        return 0;
    }

    /* PREFIX/bin or PREFIX/sbin beside PREFIX/lib */
    slash = strrchr(self, '/');
    if (slash != NULL) {
        *slash = '\0';
    }

    snprintf(buf, size, "%s/lib/buildkit-gateway/plugins", self);
    if (stat(buf, &st) == 0 && S_ISDIR(st.st_mode)) {
        return 0;
    }

    return bk_err_set(err, 500, "NoPlugins", "the folder of plugins is not "
                      "beside this program and not %s", buf);
}


int
bk_plugins_load(bk_plugins_t *ps, const char *name, const bk_plugin_t **out,
    bk_err_t *err)
{
    char                path[PATH_MAX];
    void               *handle;
    bk_plugin_lib_t    *lib;
    const bk_plugin_t  *p;
    bk_plugin_entry_pt  entry;

    for (lib = ps->libs; lib != NULL; lib = lib->next) {
        if (strcmp(lib->name, name) == 0) {
            *out = &lib->p;
            return 0;
        }
    }

    if (!bk_plugin_name_ok(name)) {
        return bk_err_set(err, 400, "BadPluginName",
                          "a plugin's name is of a-z, 0-9, '-' and '_'");
    }

    snprintf(path, sizeof(path), "%s/%s.so", ps->dir, name);

    if (access(path, F_OK) != 0) {
        bk_err_set(err, 404, "NoPlugin", "there is no plugin %s", name);
        return bk_err_hint(err, "%s does not exist; "
                           "buildkit-plugin-host --list-plugins lists what "
                           "is there", path);
    }

    if (bk_plugin_safe(ps->dir, err) != 0 || bk_plugin_safe(path, err) != 0) {
        return -1;
    }

    handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        return bk_err_set(err, 500, "BadPlugin", "plugin %s: %s", name,
                          dlerror());
    }

    *(void **) &entry = dlsym(handle, BK_PLUGIN_ENTRY);
    if (entry == NULL || (p = entry()) == NULL) {
        return bk_err_set(err, 500, "BadPlugin", "plugin %s: %s is no plugin: "
                          "it has no %s()", name, path, BK_PLUGIN_ENTRY);
    }

    lib = calloc(1, sizeof(bk_plugin_lib_t));
    if (lib == NULL || (lib->name = strdup(name)) == NULL) {
        abort();
    }

    if (bk_plugin_gate(name, p, &lib->p, err) != 0) {
        free(lib->name);
        free(lib);
        return -1;
    }

    lib->next = ps->libs;
    ps->libs = lib;
    *out = &lib->p;

    return 0;
}


/* As root we run only what root alone can have put there. */

static int
bk_plugin_safe(const char *path, bk_err_t *err)
{
    struct stat  st;

    if (geteuid() != 0) {
        return 0;
    }

    if (stat(path, &st) == -1) {
        return bk_err_set(err, 500, "BadPlugin", "%s: %s", path,
                          strerror(errno));
    }

    if (st.st_uid != 0 || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        bk_err_set(err, 500, "UnsafePlugin", "%s is not safe to load as root: "
                   "%s", path, st.st_uid != 0
                       ? "it is not owned by root"
                       : "others than its owner may write it");
        return bk_err_hint(err, "chown root %s; chmod go-w %s", path, path);
    }

    return 0;
}


/*
 * Same major, and nothing that is newer than we are: of the numbers we may
 * read these four before anything else.
 */

static int
bk_plugin_gate(const char *name, const bk_plugin_t *p, bk_plugin_t *copy,
    bk_err_t *err)
{
    size_t  size;

    if (p->abi_major != BK_ABI_MAJOR || p->abi_minor > BK_ABI_MINOR) {
        bk_err_set(err, 500, "PluginVersion", "plugin %s is made for version "
                   "%u.%u of the plugin interface, this host has %u.%u", name,
                   p->abi_major, p->abi_minor, BK_ABI_MAJOR, BK_ABI_MINOR);
        return bk_err_hint(err, p->abi_major < BK_ABI_MAJOR
                               ? "build the plugin again"
                               : "use a newer buildkit-plugin-host");
    }

    if (p->struct_size < BK_PLUGIN_SIZE_1_0) {
        return bk_err_set(err, 500, "BadPlugin", "plugin %s: its description "
                          "has %u bytes, version %u.0 has %zu", name,
                          p->struct_size, BK_ABI_MAJOR, BK_PLUGIN_SIZE_1_0);
    }

    size = p->struct_size < sizeof(bk_plugin_t) ? p->struct_size
                                                : sizeof(bk_plugin_t);
    memset(copy, 0, sizeof(bk_plugin_t));
    memcpy(copy, p, size);

    return bk_plugin_complete(name, copy, err);
}


static int
bk_plugin_complete(const char *name, const bk_plugin_t *p, bk_err_t *err)
{
    size_t              i;
    const char         *missing = NULL;
    const bk_option_t  *o;

    const struct {
        const char  *name;
        int          there;
    } needed[] = {
        { "name", p->name != NULL },
        { "version", p->version != NULL },
        { "summary", p->summary != NULL },
        { "create", p->create != NULL },
        { "start", p->start != NULL },
        { "stop", p->stop != NULL },
        { "destroy", p->destroy != NULL },
        { "configure", p->configure != NULL || p->options == NULL
                       || p->options[0].key == NULL },
        /* stores are whole ones */
        { "store_worker", p->store_put == NULL || p->store_worker != NULL },
        { "store_each", p->store_put == NULL || p->store_each != NULL },
        { "store_workers", p->store_put == NULL || p->store_workers != NULL }
    };

    for (i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
        if (!needed[i].there) {
            missing = needed[i].name;
            break;
        }
    }

    if (missing != NULL) {
        return bk_err_set(err, 500, "BadPlugin",
                          "plugin %s has no %s, which every %s needs", name,
                          missing, strncmp(missing, "store", 5) == 0
                              ? "store" : "plugin");
    }

    if (strcmp(p->name, name) != 0) {
        return bk_err_set(err, 500, "BadPlugin", "plugin %s calls itself "
                          "\"%.64s\"", name, p->name);
    }

    for (o = p->options; o != NULL && o->key != NULL; o++) {
        if (o->type < BK_OPTION_STRING || o->type > BK_OPTION_LIST
            || o->help == NULL)
        {
            return bk_err_set(err, 500, "BadPlugin", "plugin %s: option %.64s "
                              "has no known type or no help", name, o->key);
        }
    }

    return 0;
}


static int
bk_plugin_name_ok(const char *name)
{
    size_t  len = strlen(name);

    return len > 0 && len < BK_PLUGIN_NAME_MAX && *name >= 'a' && *name <= 'z'
           && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == len;
}


int
bk_plugins_list(bk_plugins_t *ps)
{
    int                 rc = 0;
    DIR                *dir;
    char               *names[64], *dot;
    size_t              n = 0, i;
    bk_err_t            err;
    struct dirent      *e;
    const bk_plugin_t  *p;

    dir = opendir(ps->dir);
    if (dir == NULL) {
        fprintf(stderr, "%s: %s\n", ps->dir, strerror(errno));
        return -1;
    }

    while (n < 64 && (e = readdir(dir)) != NULL) {
        dot = strrchr(e->d_name, '.');

        if (dot != NULL && strcmp(dot, ".so") == 0) {
            names[n] = strndup(e->d_name, (size_t) (dot - e->d_name));
            if (names[n++] == NULL) {
                abort();
            }
        }
    }

    closedir(dir);
    qsort(names, n, sizeof(char *), bk_plugin_by_name);

    for (i = 0; i < n; i++) {
        if (bk_plugins_load(ps, names[i], &p, &err) == 0) {
            bk_plugin_print(p);

        } else {
            fprintf(stderr, "%s\n", err.text);
            rc = -1;
        }

        free(names[i]);
    }

    return rc;
}


static void
bk_plugin_print(const bk_plugin_t *p)
{
    const bk_option_t  *o;

    printf("%s %s - %s\n", p->name, p->version, p->summary);

    for (o = p->options; o != NULL && o->key != NULL; o++) {
        printf("    %s: %s", o->key, bk_option_names[o->type]);

        if (o->value != NULL && o->type != BK_OPTION_LIST) {
            printf(", default \"%s\"\n", o->value);

        } else {
            printf(", %s\n", o->type == BK_OPTION_LIST ? "default none"
                                                       : "required");
        }

        printf("        %s\n", o->help);
    }
}


static int
bk_plugin_by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *) a, *(char *const *) b);
}
