/*
 * Plugin oidc: who is the owner of a bearer token?  Issuers of OpenID
 * Connect, static API tokens, service accounts of a Kubernetes cluster.
 *
 * This file: the plugin's life and oidc.yaml, which is read at start and
 * whenever it changes.  A bad file stops the start, and changes nothing
 * later; what goes on to be the same keeps its keys.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oidc.h"


/* An editor makes several changes at once; and what inotify cannot see
 * (a link's far end, NFS) is found by looking from time to time. */
#define OIDC_SETTLE_MS  50
#define OIDC_LOOK_MS    5000

#define OIDC_CACHE_BYTES  (16 * 1024 * 1024)

#define OIDC_EVENTS  (IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE    \
                      | IN_MOVED_FROM | IN_ATTRIB)


typedef struct oidc_look_s {
    bk_watch_t   *watch;
    bk_timer_t   *settle;
    bk_timer_t   *timer;
    int           fd;           /* inotify */
    struct stat   seen;         /* of the last reading, good or bad */
    int           missing;      /* and it was not there */
} oidc_look_t;


static int oidc_create(const bk_host_t *host, void **ctx, bk_err_t *err);
static int oidc_configure(void *ctx, const char *key, const char *value,
    bk_err_t *err);
static int oidc_check(void *ctx, bk_err_t *err);
static int oidc_first(oidc_t *o, oidc_file_t *f, bk_err_t *err);
static int oidc_start(void *ctx, bk_err_t *err);
static void oidc_stop(void *ctx);
static void oidc_destroy(void *ctx);
static int oidc_watch(oidc_t *o);
static void oidc_changed(int fd, int events, void *data);
static void oidc_settled(void *data);
static void oidc_looked(void *data);
static void oidc_load(oidc_t *o);
static void oidc_take(oidc_t *o, oidc_file_t *f);
static oidc_issuer_t *oidc_take_issuer(oidc_t *o, oidc_issuer_conf_t *c);


static const bk_option_t  oidc_options[] = {
    { "file", BK_OPTION_STRING, NULL,
      "the YAML file with issuers, tokens and the TokenReview; absolute" },
    { "tokenCache", BK_OPTION_INTEGER, "4096",
      "verified tokens that are remembered until they expire; 0: none" },
    { "insecureLoopback", BK_OPTION_BOOL, "false",
      "http is fine for loopback addresses: for trying it out" },
    { "optional", BK_OPTION_BOOL, "false",
      "there may be no file at first: then nobody is known until there is" },
    { NULL, 0, NULL, NULL }
};


static bk_plugin_t  oidc_plugin = {
    .name = "oidc",
    .version = BK_VERSION,
    .summary = "bearer tokens: OpenID Connect, API tokens, Kubernetes",
    .options = oidc_options,
    .create = oidc_create,
    .configure = oidc_configure,
    .check = oidc_check,
    .start = oidc_start,
    .stop = oidc_stop,
    .destroy = oidc_destroy,
    .identify = oidc_identify,
    .stats = oidc_stats
};

BK_PLUGIN(oidc_plugin)


static int
oidc_create(const bk_host_t *host, void **ctx, bk_err_t *err)
{
    oidc_t  *o;

    (void) err;

    o = calloc(1, sizeof(oidc_t));
    if (o == NULL) {
        abort();
    }

    o->look = calloc(1, sizeof(oidc_look_t));
    if (o->look == NULL) {
        abort();
    }

    o->host = host;
    o->look->fd = -1;
    *ctx = o;

    return 0;
}


static int
oidc_configure(void *ctx, const char *key, const char *value, bk_err_t *err)
{
    char    *end;
    oidc_t  *o = ctx;

    if (strcmp(key, "insecureLoopback") == 0) {
        o->insecure = strcmp(value, "true") == 0;
        return 0;
    }

    if (strcmp(key, "optional") == 0) {
        o->optional = strcmp(value, "true") == 0;
        return 0;
    }

    if (strcmp(key, "tokenCache") == 0) {
        o->cache_max = strtoul(value, &end, 10);

        if (*end != '\0' || value[0] == '-' || o->cache_max > 1000000) {
            return bk_err_set(err, 400, "BadOption", "tokenCache must be "
                              "from 0 to 1000000");
        }

        return 0;
    }

    free(o->path);
    o->path = strdup(value);
    if (o->path == NULL) {
        abort();
    }

    return 0;
}


static int
oidc_check(void *ctx, bk_err_t *err)
{
    oidc_t       *o = ctx;
    oidc_file_t   f;

    if (o->path[0] != '/' || strlen(o->path) >= 4000) {
        return bk_err_set(err, 400, "BadOption", "plugin oidc: the option "
                          "\"file\" must be an absolute path");
    }

    if (oidc_first(o, &f, err) != 0) {
        return -1;
    }

    oidc_file_free(&f);

    return 0;
}


/* The file as it is at first, or one that says nothing. */

static int
oidc_first(oidc_t *o, oidc_file_t *f, bk_err_t *err)
{
    struct stat  st;

    if (o->optional && stat(o->path, &st) != 0 && errno == ENOENT) {
        return oidc_file_parse(f, o->path, "{}", 2, o->insecure, err);
    }

    return oidc_file_read(f, o->path, o->insecure, err);
}


static int
oidc_start(void *ctx, bk_err_t *err)
{
    oidc_t       *o = ctx;
    oidc_file_t   f;

    if (oidc_watch(o) != 0) {
        return bk_err_set(err, 500, "WatchFailed", "cannot watch the folder "
                          "of %.300s: %s", o->path, strerror(errno));
    }

    o->look->settle = o->host->timer_new(o->host, oidc_settled, o);
    o->look->timer = o->host->timer_new(o->host, oidc_looked, o);
    o->cache = oidc_cache_new(o->cache_max, OIDC_CACHE_BYTES);
    o->fetcher = bk_fetcher_new(o->host);

    o->look->missing = stat(o->path, &o->look->seen) != 0;

    if (o->fetcher == NULL || oidc_first(o, &f, err) != 0) {
        o->host->watch_free(&o->look->watch);
        o->host->timer_free(&o->look->settle);
        o->host->timer_free(&o->look->timer);
        bk_fetcher_free(&o->fetcher);
        oidc_cache_free(&o->cache);
        close(o->look->fd);
        o->look->fd = -1;

        return -1;
    }

    oidc_take(o, &f);
    o->host->timer_set(o->look->timer, OIDC_LOOK_MS);

    return 0;
}


static void
oidc_stop(void *ctx)
{
    oidc_t         *o = ctx;
    oidc_issuer_t  *i;

    o->host->watch_free(&o->look->watch);
    o->host->timer_free(&o->look->settle);
    o->host->timer_free(&o->look->timer);
    close(o->look->fd);
    o->look->fd = -1;

    o->stopping = 1;
    oidc_review_end(o);

    while ((i = o->issuers) != NULL) {
        o->issuers = i->next;
        oidc_issuer_free(&i);
    }

    bk_fetcher_free(&o->fetcher);
    o->host->stopped(o->host);
}


static void
oidc_destroy(void *ctx)
{
    oidc_t  *o = ctx;

    oidc_cache_free(&o->cache);
    oidc_file_free(&o->file);
    free(o->look);
    free(o->path);
    free(o);
}


/* The folder, not the file: editors put a new file in its place. */

static int
oidc_watch(oidc_t *o)
{
    int           saved;
    char         *slash, *dir;
    oidc_look_t  *look = o->look;

    dir = strdup(o->path);
    if (dir == NULL) {
        abort();
    }

    slash = strrchr(dir, '/');
    slash[slash == dir ? 1 : 0] = '\0';

    look->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

    if (look->fd == -1
        || inotify_add_watch(look->fd, dir, OIDC_EVENTS | IN_ONLYDIR) == -1)
    {
        saved = errno;
        free(dir);

        if (look->fd != -1) {
            close(look->fd);
            look->fd = -1;
        }

        errno = saved;

        return -1;
    }

    free(dir);
    look->watch = o->host->watch_new(o->host, look->fd, BK_READ,
                                     oidc_changed, o);

    return 0;
}


static void
oidc_changed(int fd, int events, void *data)
{
    char     buf[4096];
    oidc_t  *o = data;

    (void) events;

    while (read(fd, buf, sizeof(buf)) > 0) {
        /* what changed is found by looking at the file itself */
    }

    o->host->timer_set(o->look->settle, OIDC_SETTLE_MS);
}


static void
oidc_settled(void *data)
{
    oidc_load(data);
}


static void
oidc_looked(void *data)
{
    oidc_t  *o = data;

    oidc_load(o);
    o->host->timer_set(o->look->timer, OIDC_LOOK_MS);
}


static void
oidc_load(oidc_t *o)
{
    bk_err_t      err;
    struct stat   st;
    oidc_file_t   f;
    oidc_look_t  *look = o->look;

    if (stat(o->path, &st) == -1) {
        if (!look->missing) {
            o->host->log(o->host, BK_LOG_ERROR, "%s: %s; nothing was changed",
                         o->path, strerror(errno));
        }

        look->missing = 1;
        return;
    }

    if (!look->missing && st.st_ino == look->seen.st_ino
        && st.st_dev == look->seen.st_dev && st.st_size == look->seen.st_size
        && st.st_mtim.tv_sec == look->seen.st_mtim.tv_sec
        && st.st_mtim.tv_nsec == look->seen.st_mtim.tv_nsec)
    {
        return;
    }

    look->seen = st;
    look->missing = 0;

    if (oidc_file_read(&f, o->path, o->insecure, &err) != 0) {
        o->host->log(o->host, BK_LOG_ERROR, "%s%s%s%s; nothing was changed",
                     err.text, err.hint[0] ? " (" : "", err.hint,
                     err.hint[0] ? ")" : "");
        return;
    }

    oidc_take(o, &f);
}


/* From one file to the next; who waits for a changed issuer is told so. */

static void
oidc_take(oidc_t *o, oidc_file_t *f)
{
    unsigned        n;
    oidc_file_t     old = o->file;
    oidc_issuer_t  *i, *list = NULL, **last = &list;

    if (old.doc != NULL) {
        oidc_review_end(o);

        /* another leeway or audience: nothing that was judged is kept */
        oidc_cache_forget(o->cache, NULL);
    }

    for (n = 0; n < f->doc->issuers_count; n++) {
        *last = oidc_take_issuer(o, &f->doc->issuers[n]);
        last = &(*last)->next;
    }

    while ((i = o->issuers) != NULL) {
        o->issuers = i->next;
        oidc_issuer_free(&i);
    }

    o->issuers = list;
    o->file = *f;

    for (i = list; i != NULL; i = i->next) {
        if (oidc_issuer_keys(i) != 0) {
            oidc_issuer_fetch(i);

        } else if (i->failures == 0) {
            oidc_issuer_due(i);
        }
    }

    if (old.doc != NULL) {
        oidc_file_free(&old);
    }

    o->host->log(o->host, BK_LOG_INFO, "%s: %u issuers, %u tokens%s", o->path,
                 f->doc->issuers_count, f->doc->tokens_count,
                 f->doc->review != NULL ? ", TokenReview" : "");
}


/* The one that is there already, out of the old list, or a new one. */

static oidc_issuer_t *
oidc_take_issuer(oidc_t *o, oidc_issuer_conf_t *c)
{
    oidc_issuer_t  *i, **at;

    for (at = &o->issuers; *at != NULL; at = &(*at)->next) {
        i = *at;

        if (oidc_issuer_same(i, c)) {
            *at = i->next;
            i->next = NULL;
            i->conf = c;
            return i;
        }
    }

    return oidc_issuer_new(o, c);
}
