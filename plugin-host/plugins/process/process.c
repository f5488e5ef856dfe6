/*
 * The process plugin: local buildkitd processes as the workers of one pool.
 * Options, life-cycle, and the host's calls handed to worker.c.
 *
 * It may be configured several times, once for each pool.
 */

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "process.h"


static int bk_process_create(const bk_host_t *host, void **ctx,
    bk_err_t *err);
static int bk_process_configure(void *ctx, const char *key,
    const char *value, bk_err_t *err);
static int bk_process_add(char **list, size_t *n, const char *key,
    const char *value, bk_err_t *err);
static int bk_process_shared(bk_process_t *p, const char *value,
    bk_err_t *err);
static int bk_process_check(void *ctx, bk_err_t *err);
static int bk_process_pool_valid(const char *pool);
static void bk_process_arch(bk_process_t *p);
static int bk_process_start(void *ctx, bk_err_t *err);
static void bk_process_retire(bk_process_t *p);
static void bk_process_stop(void *ctx);
static void bk_process_destroy(void *ctx);
static int bk_process_want(void *ctx, bk_str_t pool, bk_str_t name,
    int wanted, bk_err_t *err);
static void bk_process_event(void *ctx, const bk_event_t *event);
static bk_worker_t *bk_process_find(bk_process_t *p, bk_str_t pool,
    bk_str_t name);


static const bk_option_t  bk_process_options[] = {
    { "pool", BK_OPTION_STRING, "default/local",
      "the pool of these workers, namespace/name" },
    { "workers", BK_OPTION_INTEGER, "1", "how many there may be: w1, w2 ..." },
    { "command", BK_OPTION_LIST, NULL,
      "program and arguments; {port} {root} {cert} {key} {ca} {name} are "
      "filled in; default: buildkitd with what it needs" },
    { "args", BK_OPTION_LIST, NULL, "arguments after those of command" },
    { "arch", BK_OPTION_STRING, "",
      "what the workers build for; default: this machine's" },
    { "shared", BK_OPTION_STRING, "false",
      "allocations that a worker serves at a time: false: one, true: any "
      "number, or a number" },
    { "idle", BK_OPTION_DURATION, "10m",
      "stops a worker so long after its last use; 0: never" },
    { "linger", BK_OPTION_DURATION, "60s",
      "a connection counts as use for so long after its end" },
    { "startTimeout", BK_OPTION_DURATION, "60s",
      "a worker must answer within this time" },
    { "probeInterval", BK_OPTION_DURATION, "10s",
      "how often a ready worker is asked whether it works" },
    { "minWarm", BK_OPTION_INTEGER, "0",
      "so many workers run, used or not" },
    { "maxDisk", BK_OPTION_INTEGER, "90",
      "percent of its disk or inodes; an idle worker above it is pruned; "
      "0: never" },
    { "diskInterval", BK_OPTION_DURATION, "30s",
      "how often it is measured how full the workers' disks are" },
    { "onStop", BK_OPTION_STRING, "leave",
      "what happens to the workers when plugin-host stops: leave or stop" },
    { NULL, 0, NULL, NULL }
};


static bk_plugin_t  bk_process_plugin = {
    .name = "process",
    .version = BK_VERSION,
    .summary = "local buildkitd processes as workers, started on demand",
    .options = bk_process_options,
    .create = bk_process_create,
    .configure = bk_process_configure,
    .check = bk_process_check,
    .start = bk_process_start,
    .stop = bk_process_stop,
    .destroy = bk_process_destroy,
    .worker_want = bk_process_want,
    .event = bk_process_event
};

BK_PLUGIN(bk_process_plugin)


static int
bk_process_create(const bk_host_t *host, void **ctx, bk_err_t *err)
{
    bk_process_t  *p;

    (void) err;

    p = calloc(1, sizeof(bk_process_t));

    if (p == NULL) {
        abort();
    }

    p->host = host;

    *ctx = p;
    return 0;
}


static int
bk_process_add(char **list, size_t *n, const char *key, const char *value,
    bk_err_t *err)
{
    if (*n == BK_ARGS_MAX) {
        return bk_fail(err, 400, "BadOption", NULL,
                       "%s has more than %d entries", key, BK_ARGS_MAX);
    }

    list[*n] = strdup(value);

    if (list[*n] == NULL) {
        abort();
    }

    (*n)++;
    return 0;
}


static int
bk_process_configure(void *ctx, const char *key, const char *value,
    bk_err_t *err)
{
    bk_process_t *p = ctx;

    if (strcmp(key, "command") == 0) {
        return bk_process_add(p->command, &p->ncommand, key, value, err);
    }

    if (strcmp(key, "args") == 0) {
        return bk_process_add(p->args, &p->nargs, key, value, err);
    }

    if (strcmp(key, "pool") == 0) {
        if (!bk_process_pool_valid(value)) {
            return bk_fail(err, 400, "BadOption", "write it like default/ci",
                           "pool \"%s\" is not namespace/name of lower-case "
                           "letters, digits and \"-\"", value);
        }

        (void) snprintf(p->pool, sizeof(p->pool), "%s", value);

    } else if (strcmp(key, "arch") == 0) {
        if (strlen(value) >= sizeof(p->arch)) {
            return bk_fail(err, 400, "BadOption", NULL,
                           "arch \"%s\" is too long", value);
        }

        (void) snprintf(p->arch, sizeof(p->arch), "%s", value);

    } else if (strcmp(key, "onStop") == 0) {
        if (strcmp(value, "leave") != 0 && strcmp(value, "stop") != 0) {
            return bk_fail(err, 400, "BadOption", NULL,
                           "onStop is \"leave\" or \"stop\", not \"%s\"",
                           value);
        }

        p->stop_children = strcmp(value, "stop") == 0;

    } else if (strcmp(key, "shared") == 0) {
        return bk_process_shared(p, value, err);

    } else if (strcmp(key, "workers") == 0) {
        p->nworkers = value[0] == '-' ? 0 : strtoull(value, NULL, 10);

    } else if (strcmp(key, "idle") == 0) {
        p->idle_ms = strtoull(value, NULL, 10);

    } else if (strcmp(key, "linger") == 0) {
        p->linger_ms = strtoull(value, NULL, 10);

    } else if (strcmp(key, "startTimeout") == 0) {
        p->start_ms = strtoull(value, NULL, 10);

    } else if (strcmp(key, "probeInterval") == 0) {
        p->probe_ms = strtoull(value, NULL, 10);

    } else if (strcmp(key, "minWarm") == 0) {
        p->min_warm = strtoull(value, NULL, 10);

    } else if (strcmp(key, "maxDisk") == 0) {
        p->max_disk = strtoull(value, NULL, 10);

    } else if (strcmp(key, "diskInterval") == 0) {
        p->disk_ms = strtoull(value, NULL, 10);

    } else {
        return bk_fail(err, 400, "UnknownOption", NULL, "no option %s", key);
    }

    return 0;
}


static int
bk_process_shared(bk_process_t *p, const char *value, bk_err_t *err)
{
    char           *end;
    unsigned long   n;

    if (strcmp(value, "true") == 0 || strcmp(value, "yes") == 0) {
        p->shared = 1;
        return 0;
    }

    if (strcmp(value, "false") == 0 || strcmp(value, "no") == 0) {
        p->shared = 0;
        return 0;
    }

    n = strtoul(value, &end, 10);

    /* 1 would be read as "is shared", and meant as "one each" */
    if (value[0] < '1' || value[0] > '9' || *end != '\0' || n < 2
        || n > BK_SHARED_MAX)
    {
        return bk_fail(err, 400, "BadOption", NULL, "shared is true, false "
                       "or how many allocations a worker takes (2 to %d), "
                       "not \"%s\"", BK_SHARED_MAX, value);
    }

    p->shared = (int) n;
    return 0;
}


/*
 * One slash, and what a DNS name may hold: it becomes a part of the
 * worker's name in its certificate, and of a folder's name.
 */

static int
bk_process_pool_valid(const char *pool)
{
    size_t       len, slashes;
    const char  *s;

    len = 0;
    slashes = 0;

    for (s = pool; *s != '\0'; s++) {
        if (*s == '/') {
            if (len == 0) {
                return 0;
            }

            slashes++;
            len = 0;
            continue;
        }

        if (!islower((unsigned char) *s) && !isdigit((unsigned char) *s)
            && (*s != '-' || len == 0))
        {
            return 0;
        }

        if (++len > 63) {
            return 0;
        }
    }

    return slashes == 1 && len > 0;
}


static int
bk_process_check(void *ctx, bk_err_t *err)
{
    bk_process_t *p = ctx;

    if (p->nworkers == 0 || p->nworkers > BK_WORKERS_MAX) {
        return bk_fail(err, 400, "BadOption", NULL,
                       "workers must be between 1 and %d", BK_WORKERS_MAX);
    }

    if (p->start_ms < BK_SECOND) {
        return bk_fail(err, 400, "BadOption", NULL,
                       "startTimeout must be at least 1s");
    }

    if (p->probe_ms < BK_SECOND / 10) {
        return bk_fail(err, 400, "BadOption", NULL,
                       "probeInterval must be at least 100ms");
    }

    if (p->min_warm > p->nworkers) {
        return bk_fail(err, 400, "BadOption", NULL,
                       "minWarm is between 0 and the number of workers");
    }

    if (p->max_disk > 100) {
        return bk_fail(err, 400, "BadOption", NULL,
                       "maxDisk is a percentage, 0 to 100");
    }

    if (p->disk_ms < BK_SECOND / 10) {
        return bk_fail(err, 400, "BadOption", NULL,
                       "diskInterval must be at least 100ms");
    }

    if (p->arch[0] == '\0') {
        bk_process_arch(p);
    }

    return 0;
}


/* As images name it. */

static void
bk_process_arch(bk_process_t *p)
{
    size_t          i;
    const char     *name;
    struct utsname  uts;

    static const char  *names[][2] = {
        { "x86_64", "amd64" }, { "aarch64", "arm64" }, { "armv7l", "arm" },
        { "i686", "386" }
    };

    name = uname(&uts) == 0 ? uts.machine : "";

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(name, names[i][0]) == 0) {
            name = names[i][1];
            break;
        }
    }

    bk_text_clean(p->arch, sizeof(p->arch), "%s", name);
}


static int
bk_process_start(void *ctx, bk_err_t *err)
{
    bk_process_t *p = ctx;

    unsigned          i;
    bk_pool_info_t    pool;
    const bk_host_t  *h;

    h = p->host;

    if (bk_probe_setup(p, err) != 0) {
        return -1;
    }

    p->workers = calloc(p->nworkers, sizeof(bk_worker_t));

    if (p->workers == NULL) {
        abort();
    }

    for (i = 0; i < p->nworkers; i++) {
        bk_worker_init(p, &p->workers[i], i + 1);
    }

    pool = (bk_pool_info_t) { .name = bk_str(p->pool), .shared = p->shared };

    h->snapshot_begin(h);

    if (h->pool_put(h, &pool, err) != 0) {
        return -1;
    }

    for (i = 0; i < p->nworkers; i++) {
        if (bk_worker_begin(&p->workers[i], err) != 0) {
            return -1;
        }
    }

    h->snapshot_commit(h);
    bk_process_retire(p);
    bk_keep_begin(p);

    return 0;
}


/* After the commit, which has failed their allocations. */

static void
bk_process_retire(bk_process_t *p)
{
    unsigned      i;
    bk_worker_t   w;

    for (i = (unsigned) p->nworkers; i < BK_WORKERS_MAX; i++) {
        memset(&w, 0, sizeof(w));
        bk_worker_init(p, &w, i + 1);
        bk_adopt_retire(&w);
        bk_worker_free(&w);
    }
}


static void
bk_process_stop(void *ctx)
{
    bk_process_t *p = ctx;

    size_t  i;

    p->stopping = 1;

    for (i = 0; p->workers != NULL && i < p->nworkers; i++) {
        if (p->stop_children) {
            bk_worker_stop(&p->workers[i], "stopped with plugin-host");

        } else {
            bk_worker_free(&p->workers[i]);
        }
    }

    bk_process_stopped(p);
}


void
bk_process_stopped(bk_process_t *p)
{
    size_t  i;

    for (i = 0; p->workers != NULL && i < p->nworkers; i++) {
        if (p->workers[i].pidfd != -1) {
            return;
        }
    }

    p->host->stopped(p->host);
}


static void
bk_process_destroy(void *ctx)
{
    bk_process_t *p = ctx;

    size_t  i;

    bk_keep_end(p);

    for (i = 0; p->workers != NULL && i < p->nworkers; i++) {
        bk_worker_free(&p->workers[i]);
    }

    for (i = 0; i < p->ncommand; i++) {
        free(p->command[i]);
    }

    for (i = 0; i < p->nargs; i++) {
        free(p->args[i]);
    }

    SSL_CTX_free(p->tls);
    free(p->workers);
    free(p);
}


static bk_worker_t *
bk_process_find(bk_process_t *p, bk_str_t pool, bk_str_t name)
{
    size_t  i;

    if (p->workers == NULL || strlen(p->pool) != pool.len
        || memcmp(p->pool, pool.data, pool.len) != 0)
    {
        return NULL;
    }

    for (i = 0; i < p->nworkers; i++) {
        if (strlen(p->workers[i].name) == name.len
            && memcmp(p->workers[i].name, name.data, name.len) == 0)
        {
            return &p->workers[i];
        }
    }

    return NULL;
}


static int
bk_process_want(void *ctx, bk_str_t pool, bk_str_t name, int wanted,
    bk_err_t *err)
{
    bk_process_t *p = ctx;

    bk_worker_t  *w;

    w = bk_process_find(p, pool, name);

    if (w == NULL || p->stopping) {
        return bk_fail(err, 404, "WorkerNotFound", NULL,
                       "no worker %.*s/%.*s", (int) pool.len, pool.data,
                       (int) name.len, name.data);
    }

    bk_worker_want(w, wanted);

    return 0;
}


static void
bk_process_event(void *ctx, const bk_event_t *event)
{
    bk_process_t *p = ctx;

    bk_worker_t  *w;

    if (p->stopping) {
        return;
    }

    switch (event->what) {

    case BK_EVENT_ALLOCATION:
        w = bk_process_find(p, event->alloc->pool, event->alloc->worker);
        break;

    case BK_EVENT_USE:
        w = bk_process_find(p, event->worker->pool, event->worker->name);
        break;

    default:
        return;
    }

    /* timers only: the model is in the middle of its change */
    if (w != NULL && w->tick != NULL) {
        bk_worker_used(w);
    }
}
