/*
 * Plugin static: pools, workers and allocations from a file, watched.
 *
 * The file is read at start and whenever it changes; each good reading is a
 * full snapshot.  A bad one changes nothing and says why in the log, with
 * file, line and key.  Workers are taken to be up.  Tokens become hashes
 * while the file is read (static_file.c) and are not kept.
 */

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bk_plugin.h"
#include "bk_table.h"
#include "static_file.h"


/* An editor makes several changes at once; and what inotify cannot see
 * (a link's far end, NFS) is found by looking from time to time. */
#define STATIC_SETTLE_MS  50
#define STATIC_LOOK_MS    5000

#define STATIC_EVENTS  (IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE  \
                        | IN_MOVED_FROM | IN_ATTRIB)


typedef struct {
    const bk_host_t  *host;
    char             *file;
    bk_watch_t       *watch;
    bk_timer_t       *settle;
    bk_timer_t       *look;
    int               fd;           /* inotify */
    struct stat       seen;         /* of the last reading, good or bad */
    int               missing;      /* and it was not there */
} static_t;


static int static_create(const bk_host_t *host, void **ctx, bk_err_t *err);
static int static_configure(void *ctx, const char *key, const char *value,
    bk_err_t *err);
static int static_check(void *ctx, bk_err_t *err);
static int static_start(void *ctx, bk_err_t *err);
static void static_stop(void *ctx);
static void static_destroy(void *ctx);
static int static_watch(static_t *s);
static void static_changed(int fd, int events, void *data);
static void static_settled(void *data);
static void static_look(void *data);
static void static_load(static_t *s, int first);
static void static_take(static_t *s, static_file_t *f);
static void static_take_pool(static_t *s, const static_pool_t *p);
static int static_take_alloc(static_t *s, const static_alloc_t *a,
    const static_entry_t *e, int again);
static void static_problem(static_t *s, const char *what,
    const bk_err_t *err);
static bk_str_t static_str(const char *s);


static const bk_option_t  static_options[] = {
    { "file", BK_OPTION_STRING, NULL,
      "the YAML file with pools, workers and allocations; absolute" },
    { NULL, 0, NULL, NULL }
};


static bk_plugin_t  static_plugin = {
    .name = "static",
    .version = BK_VERSION,
    .summary = "pools, workers and allocations from a watched file",
    .options = static_options,
    .create = static_create,
    .configure = static_configure,
    .check = static_check,
    .start = static_start,
    .stop = static_stop,
    .destroy = static_destroy
};

BK_PLUGIN(static_plugin)


static int
static_create(const bk_host_t *host, void **ctx, bk_err_t *err)
{
    static_t  *s;

    (void) err;

    s = calloc(1, sizeof(static_t));
    if (s == NULL) {
        abort();
    }

    s->host = host;
    s->fd = -1;
    *ctx = s;

    return 0;
}


static int
static_configure(void *ctx, const char *key, const char *value, bk_err_t *err)
{
    static_t  *s = ctx;

    (void) key;
    (void) err;

    free(s->file);
    s->file = strdup(value);
    if (s->file == NULL) {
        abort();
    }

    return 0;
}


static int
static_check(void *ctx, bk_err_t *err)
{
    static_t  *s = ctx;

    if (s->file[0] == '/' && strlen(s->file) < 4000) {
        return 0;
    }

    snprintf(err->text, sizeof(err->text), "plugin static: the option "
             "\"file\" must be an absolute path");
    err->code = 400;

    return -1;
}


static int
static_start(void *ctx, bk_err_t *err)
{
    static_t  *s = ctx;

    s->settle = s->host->timer_new(s->host, static_settled, s);
    s->look = s->host->timer_new(s->host, static_look, s);

    /* before the first reading: no change falls between */
    if (static_watch(s) != 0) {
        snprintf(err->text, sizeof(err->text), "cannot watch the folder of "
                 "%.300s: %s", s->file, strerror(errno));
        err->code = 500;
        s->host->timer_free(&s->settle);
        s->host->timer_free(&s->look);
        return -1;
    }

    s->host->snapshot_begin(s->host);
    static_load(s, 1);
    s->host->timer_set(s->look, STATIC_LOOK_MS);

    return 0;
}


static void
static_stop(void *ctx)
{
    static_t  *s = ctx;

    s->host->watch_free(&s->watch);
    s->host->timer_free(&s->settle);
    s->host->timer_free(&s->look);
    close(s->fd);
    s->fd = -1;
    s->host->stopped(s->host);
}


static void
static_destroy(void *ctx)
{
    static_t  *s = ctx;

    free(s->file);
    free(s);
}


/* The folder, not the file: editors put a new file in its place. */

static int
static_watch(static_t *s)
{
    char  *slash, *dir;

    dir = strdup(s->file);
    if (dir == NULL) {
        abort();
    }

    slash = strrchr(dir, '/');
    slash[slash == dir ? 1 : 0] = '\0';

    s->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);

    if (s->fd == -1
        || inotify_add_watch(s->fd, dir, STATIC_EVENTS | IN_ONLYDIR) == -1)
    {
        free(dir);

        if (s->fd != -1) {
            close(s->fd);
            s->fd = -1;
        }

        return -1;
    }

    free(dir);
    s->watch = s->host->watch_new(s->host, s->fd, BK_READ, static_changed, s);

    return 0;
}


static void
static_changed(int fd, int events, void *data)
{
    char       buf[4096];
    static_t  *s = data;

    (void) events;

    while (read(fd, buf, sizeof(buf)) > 0) {
        /* what changed is found by looking at the file itself */
    }

    s->host->timer_set(s->settle, STATIC_SETTLE_MS);
}


static void
static_settled(void *data)
{
    static_load(data, 0);
}


static void
static_look(void *data)
{
    static_t  *s = data;

    static_load(s, 0);
    s->host->timer_set(s->look, STATIC_LOOK_MS);
}


static void
static_load(static_t *s, int first)
{
    bk_err_t       err;
    struct stat    st;
    static_file_t  f;

    memset(&err, 0, sizeof(err));

    if (stat(s->file, &st) == -1) {
        if (!s->missing) {
            s->host->log(s->host, BK_LOG_ERROR, "%s: %s; nothing was changed",
                         s->file, strerror(errno));
        }

        s->missing = 1;
        return;
    }

    if (!first && !s->missing && st.st_ino == s->seen.st_ino
        && st.st_dev == s->seen.st_dev && st.st_size == s->seen.st_size
        && st.st_mtim.tv_sec == s->seen.st_mtim.tv_sec
        && st.st_mtim.tv_nsec == s->seen.st_mtim.tv_nsec)
    {
        return;
    }

    s->seen = st;
    s->missing = 0;

    if (static_file_read(&f, s->file, &err) != 0) {
        s->host->log(s->host, BK_LOG_ERROR, "%s%s%s%s; nothing was changed",
                     err.text, err.hint[0] ? " (" : "", err.hint,
                     err.hint[0] ? ")" : "");
        return;
    }

    if ((st.st_mode & 077) != 0) {
        s->host->log(s->host, BK_LOG_WARN, "%s can be read by others (mode "
                     "%03o); with tokens in it, it should be 0600", s->file,
                     st.st_mode & 0777);
    }

    static_take(s, &f);
    s->host->log(s->host, BK_LOG_INFO, "%s: %u pools, %u allocations",
                 s->file, f.doc->pools_count, f.doc->allocations_count);
    static_file_free(&f);

    /* a large file leaves holes that glibc would keep for ever */
    (void) malloc_trim(0);
}


static void
static_take(static_t *s, static_file_t *f)
{
    unsigned             i, full = 0;
    const static_doc_t  *d = f->doc;

    s->host->snapshot_begin(s->host);

    for (i = 0; i < d->pools_count; i++) {
        static_take_pool(s, &d->pools[i]);
    }

    for (i = 0; i < d->allocations_count; i++) {
        f->entries[i].full = static_take_alloc(s, &d->allocations[i],
                                               &f->entries[i], 0);
        full |= f->entries[i].full;
    }

    s->host->snapshot_commit(s->host);

    /* what was no longer listed has ended just now, and makes room */
    for (i = 0; full && i < d->allocations_count; i++) {
        if (f->entries[i].full) {
            (void) static_take_alloc(s, &d->allocations[i], &f->entries[i],
                                     1);
        }
    }
}


static void
static_take_pool(static_t *s, const static_pool_t *p)
{
    unsigned          i;
    bk_err_t          err;
    bk_pool_info_t    pool;
    bk_worker_info_t  w;

    memset(&pool, 0, sizeof(pool));
    pool.name = static_str(p->name);
    pool.shared = p->shared;

    if (s->host->pool_put(s->host, &pool, &err) != 0) {
        static_problem(s, p->name, &err);
        return;
    }

    for (i = 0; i < p->workers_count; i++) {
        memset(&w, 0, sizeof(w));
        w.pool = pool.name;
        w.name = static_str(p->workers[i].name);
        w.endpoint = static_str(p->workers[i].endpoint);
        w.tls_name = static_str(p->workers[i].tls_name);
        w.arch = static_str(p->workers[i].arch);
        w.state = BK_WORKER_READY;

        if (s->host->worker_put(s->host, &w, &err) != 0) {
            static_problem(s, p->workers[i].name, &err);
        }
    }
}


/* 1 when the table is full, and it may be tried again. */

static int
static_take_alloc(static_t *s, const static_alloc_t *a,
    const static_entry_t *e, int again)
{
    char             what[40];
    bk_err_t         err;
    bk_alloc_info_t  info;

    memset(&info, 0, sizeof(info));
    info.hash = e->hash;
    info.key_hash = e->bound ? e->key_hash : NULL;
    info.pool = static_str(a->pool);
    info.worker = static_str(a->worker);
    info.reason = static_str(a->reason);
    info.expires_ms = e->expires_ms;
    info.state = a->state;

    if (s->host->alloc_put(s->host, &info, &err) != 0) {
        if (!again && strcmp(err.reason, "TableFull") == 0) {
            return 1;
        }

        snprintf(what, sizeof(what), "allocation %02x%02x%02x%02x%02x%02x",
                 e->hash[0], e->hash[1], e->hash[2], e->hash[3], e->hash[4],
                 e->hash[5]);
        static_problem(s, what, &err);
    }

    return 0;
}


static void
static_problem(static_t *s, const char *what, const bk_err_t *err)
{
    s->host->log(s->host, BK_LOG_WARN, "%s: %s%s%s%s", what, err->text,
                 err->hint[0] ? " (" : "", err->hint,
                 err->hint[0] ? ")" : "");
}


static bk_str_t
static_str(const char *s)
{
    bk_str_t  str = { s, s != NULL ? strlen(s) : 0 };

    return str;
}
