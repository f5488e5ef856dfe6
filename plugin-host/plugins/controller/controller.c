/*
 * Plugin controller: routes come from somebody else's controller, one look-up
 * for each token that the table does not have.  Options, life and numbers;
 * controller.h says what is where, doc/controller.md what it is for.
 */

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "controller.h"


#define CTL_SWEEP_MS        1000
#define CTL_SOCKET_MAX      100     /* with ".new" it fits in an address */
#define CTL_ENDPOINT_URL    1000


typedef struct {
    bk_stat_pt   fn;
    void        *data;
} ctl_out_t;


static int ctl_create(const bk_host_t *host, void **ctx, bk_err_t *err);
static int ctl_configure(void *ctx, const char *key, const char *value,
    bk_err_t *err);
static int ctl_check(void *ctx, bk_err_t *err);
static int ctl_check_endpoint(ctl_t *ctl, bk_err_t *err);
static int ctl_check_local(const char *host);
static int ctl_check_times(const ctl_t *ctl, bk_err_t *err);
static int ctl_start(void *ctx, bk_err_t *err);
static void ctl_sweep(void *data);
static void ctl_event(void *ctx, const bk_event_t *event);
static void ctl_stats(void *ctx, bk_stat_pt fn, void *data);
static void ctl_stat(const ctl_out_t *out, const char *name, const char *help,
    const char *labels, int counter, double value);
static void ctl_stop(void *ctx);
static void ctl_clear(ctl_t *ctl);
static void ctl_destroy(void *ctx);


static const bk_option_t  ctl_options[] = {
    { "endpoint", BK_OPTION_STRING, NULL,
      "the controller's API, https://HOST:PORT or http://HOST:PORT" },
    { "pool", BK_OPTION_STRING, NULL,
      "the pool that is served, namespace/name; others are refused" },
    { "socket", BK_OPTION_STRING, "/run/buildkit-gateway/lookup/socket",
      "where nginx asks (buildkit_lookup); its folder is made, and must not be "
      "writable by others" },
    { "group", BK_OPTION_STRING, "",
      "whose processes may ask: nginx's group, when it is another user" },
    { "caFile", BK_OPTION_STRING, "",
      "whom to trust at an https endpoint, PEM; empty: the system's" },
    { "bearerFile", BK_OPTION_STRING, "",
      "a token to show there, read for each request: a service account's" },
    { "bearerOverHttp", BK_OPTION_BOOL, "false",
      "send it to another machine without TLS as well" },
    { "tlsName", BK_OPTION_STRING,
      "buildkit-worker.{namespace}.svc.cluster.local",
      "the name in a worker's certificate where the controller says none; "
      "{namespace}, {pool} and {worker} are filled in; with "
      "buildkit_worker_ca only another namespace's is refused" },
    { "timeout", BK_OPTION_DURATION, "10s", "for one look-up" },
    { "keep", BK_OPTION_DURATION, "5s",
      "how long an allocation without connections is routed before the "
      "controller is asked again" },
    { "refresh", BK_OPTION_DURATION, "30s",
      "how often it is asked about one that has connections" },
    { "unknownFor", BK_OPTION_DURATION, "2s",
      "how long it is believed that there is no such allocation" },
    { "release", BK_OPTION_BOOL, "true",
      "give back at the controller what is revoked or released here" },
    { NULL, 0, NULL, NULL }
};


static bk_plugin_t  ctl_plugin = {
    .name = "controller",
    .version = BK_VERSION,
    .summary = "routes of somebody else's controller, looked up by token",
    .options = ctl_options,
    .create = ctl_create,
    .configure = ctl_configure,
    .check = ctl_check,
    .start = ctl_start,
    .stop = ctl_stop,
    .destroy = ctl_destroy,
    .event = ctl_event,
    .stats = ctl_stats
};

BK_PLUGIN(ctl_plugin)


static int
ctl_create(const bk_host_t *host, void **ctx, bk_err_t *err)
{
    ctl_t  *ctl;

    (void) err;

    ctl = calloc(1, sizeof(ctl_t));
    if (ctl == NULL) {
        abort();
    }

    ctl->host = host;
    ctl->fd = -1;
    *ctx = ctl;

    return 0;
}


static int
ctl_configure(void *ctx, const char *key, const char *value, bk_err_t *err)
{
    size_t  i;
    ctl_t  *ctl = ctx;

    const struct {
        const char  *key;
        char       **string;
        uint64_t    *ms;
        int         *flag;
    } fields[] = {
        { "endpoint", &ctl->conf.endpoint, NULL, NULL },
        { "pool", &ctl->conf.pool, NULL, NULL },
        { "socket", &ctl->conf.socket, NULL, NULL },
        { "group", &ctl->conf.group, NULL, NULL },
        { "caFile", &ctl->conf.ca_file, NULL, NULL },
        { "bearerFile", &ctl->conf.bearer_file, NULL, NULL },
        { "bearerOverHttp", NULL, NULL, &ctl->conf.bearer_http },
        { "tlsName", &ctl->conf.tls_name, NULL, NULL },
        { "timeout", NULL, &ctl->conf.timeout_ms, NULL },
        { "keep", NULL, &ctl->conf.keep_ms, NULL },
        { "refresh", NULL, &ctl->conf.refresh_ms, NULL },
        { "unknownFor", NULL, &ctl->conf.unknown_ms, NULL },
        { "release", NULL, NULL, &ctl->conf.release }
    };

    (void) err;

    for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (strcmp(key, fields[i].key) != 0) {
            continue;
        }

        if (fields[i].string != NULL) {
            free(*fields[i].string);
            *fields[i].string = strdup(value);
            if (*fields[i].string == NULL) {
                abort();
            }

        } else if (fields[i].ms != NULL) {
            *fields[i].ms = strtoull(value, NULL, 10);

        } else {
            *fields[i].flag = strcmp(value, "true") == 0;
        }
    }

    return 0;
}


static int
ctl_check(void *ctx, bk_err_t *err)
{
    char         buf[CTL_NAME_MAX + 1];
    ctl_t       *ctl = ctx;
    const char  *slash = strchr(ctl->conf.pool, '/');

    if (slash == NULL || slash == ctl->conf.pool || slash[1] == '\0'
        || strchr(slash + 1, '/') != NULL || strlen(ctl->conf.pool) > 250)
    {
        return bk_err_set(err, 400, "BadOption", "plugin controller: pool must "
                          "be namespace/name");
    }

    ctl->name = slash + 1;

    if (ctl->conf.socket[0] != '/'
        || strlen(ctl->conf.socket) > CTL_SOCKET_MAX
        || strrchr(ctl->conf.socket, '/') == ctl->conf.socket
        || strrchr(ctl->conf.socket, '/')[1] == '\0')
    {
        return bk_err_set(err, 400, "BadOption", "plugin controller: socket "
                          "must be an absolute path in a folder of its own, "
                          "of at most %d characters", CTL_SOCKET_MAX);
    }

    if (ctl_model_tls_name(ctl->conf.tls_name, ctl->conf.pool, "", buf,
                           sizeof(buf)) != 0
        || buf[0] == '\0' || strpbrk(buf, "{}/: \t\r\n") != NULL)
    {
        return bk_err_set(err, 400, "BadOption", "plugin controller: tlsName "
                          "makes no name of a host");
    }

    if (ctl_check_endpoint(ctl, err) != 0) {
        return -1;
    }

    return ctl_check_times(ctl, err);
}


static int
ctl_check_endpoint(ctl_t *ctl, bk_err_t *err)
{
    char    *url = ctl->conf.endpoint, *host;
    size_t   len = strlen(url);

    host = strncmp(url, "http://", 7) == 0 ? url + 7
           : strncmp(url, "https://", 8) == 0 ? url + 8 : NULL;

    if (host == NULL || host[0] == '\0' || host[0] == '/'
        || len > CTL_ENDPOINT_URL || strpbrk(url, "@?#\"\\ \t\r\n") != NULL)
    {
        return bk_err_set(err, 400, "BadOption", "plugin controller: endpoint "
                          "must be https://HOST:PORT or http://HOST:PORT, "
                          "without user or query");
    }

    while (len > 0 && url[len - 1] == '/') {
        url[--len] = '\0';
    }

    ctl->local = ctl_check_local(host);

    return 0;
}


/* A name may begin as an address does. */

static int
ctl_check_local(const char *host)
{
    char             name[INET_ADDRSTRLEN];
    size_t           len = strcspn(host, ":/");
    struct in_addr   in;

    if (strncmp(host, "[::1]", 5) == 0) {
        return 1;
    }

    if (len >= sizeof(name)) {
        return 0;
    }

    memcpy(name, host, len);
    name[len] = '\0';

    return strcmp(name, "localhost") == 0
           || (inet_pton(AF_INET, name, &in) == 1
               && ntohl(in.s_addr) >> 24 == 127);
}


static int
ctl_check_times(const ctl_t *ctl, bk_err_t *err)
{
    size_t  i;

    const struct {
        const char  *key;
        uint64_t     ms;
        uint64_t     min;
        uint64_t     max;
        const char  *range;
    } times[] = {
        { "timeout", ctl->conf.timeout_ms, 100, 60000, "100ms and 1m" },
        { "keep", ctl->conf.keep_ms, 1000, 600000, "1s and 10m" },
        { "refresh", ctl->conf.refresh_ms, 1000, 3600000, "1s and 1h" },
        { "unknownFor", ctl->conf.unknown_ms, 0, 60000, "0s and 1m" }
    };

    for (i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        if (times[i].ms < times[i].min || times[i].ms > times[i].max) {
            return bk_err_set(err, 400, "BadOption", "plugin controller: %s "
                              "must be between %s", times[i].key,
                              times[i].range);
        }
    }

    return 0;
}


static int
ctl_start(void *ctx, bk_err_t *err)
{
    ctl_t  *ctl = ctx;

    ctl->fetcher = bk_fetcher_new(ctl->host);

    /* the facts first: nobody asks before there is a pool */

    if (ctl_model_start(ctl, err) != 0 || ctl_http_open(ctl, err) != 0
        || ctl_door_open(ctl, err) != 0)
    {
        ctl_clear(ctl);
        return -1;
    }

    if (ctl->conf.bearer_file[0] != '\0' && !ctl->local
        && !ctl->conf.bearer_http
        && strncmp(ctl->conf.endpoint, "http:", 5) == 0)
    {
        ctl->host->log(ctl->host, BK_LOG_WARN, "%s is not encrypted: the token "
                       "in %s is not sent there (bearerOverHttp)",
                       ctl->conf.endpoint, ctl->conf.bearer_file);
    }

    ctl->sweep = ctl->host->timer_new(ctl->host, ctl_sweep, ctl);
    ctl->host->timer_set(ctl->sweep, CTL_SWEEP_MS);

    return 0;
}


static void
ctl_sweep(void *data)
{
    ctl_t  *ctl = data;

    ctl_row_sweep(ctl);
    ctl->host->timer_set(ctl->sweep, CTL_SWEEP_MS);
}


/* Somebody here has ended one: its worker is free again over there. */

static void
ctl_event(void *ctx, const bk_event_t *event)
{
    ctl_t                  *ctl = ctx;
    ctl_row_t              *row;
    const bk_alloc_info_t  *a = event->alloc;

    if (event->what != BK_EVENT_ALLOCATION || event->gone
        || !ctl->conf.release
        || (a->state != BK_ALLOC_REVOKED && a->state != BK_ALLOC_RELEASED)
        || event->old_state == 0 || bk_alloc_ended(event->old_state))
    {
        return;
    }

    row = ctl_row_find(ctl, a->hash);

    if (row == NULL || row->own_end || row->token == NULL) {
        return;
    }

    row->own_end = 1;
    ctl_api_release(ctl, row);
}


static void
ctl_stats(void *ctx, bk_stat_pt fn, void *data)
{
    int         i;
    char        labels[64];
    ctl_t      *ctl = ctx;
    unsigned    fresh = 0;
    ctl_out_t   out = { fn, data };
    ctl_row_t  *row, *tmp;

    static const char  *said[ctl_said_n] = { "known", "unknown", "ended",
                                             "pool", "trouble" };

    HASH_ITER(hh, ctl->rows, row, tmp) {
        fresh += row->fresh;
    }

    ctl_stat(&out, "controller_up", "Whether the controller answered last.",
             "", 0, ctl->up);
    ctl_stat(&out, "controller_gateways", "nginx processes that may ask.", "",
             0, ctl->nclients);
    ctl_stat(&out, "controller_tokens", "Allocations that were asked about.",
             "state=\"routed\"", 0, fresh);
    ctl_stat(&out, "controller_tokens", "Allocations that were asked about.",
             "state=\"other\"", 0, HASH_COUNT(ctl->rows) - fresh);
    ctl_stat(&out, "controller_lookups_pending", "Look-ups under way.", "", 0,
             ctl->fetching);
    ctl_stat(&out, "controller_asks_total", "Questions of nginx processes.",
             "", 1, (double) ctl->asks);

    for (i = 0; i < ctl_said_n; i++) {
        snprintf(labels, sizeof(labels), "result=\"%s\"", said[i]);
        ctl_stat(&out, "controller_lookups_total", "Look-ups at the "
                 "controller.", labels, 1, (double) ctl->lookups[i]);
    }

    ctl_stat(&out, "controller_releases_total", "Allocations that were given "
             "back to the controller.", "result=\"ok\"", 1,
             (double) ctl->releases[0]);
    ctl_stat(&out, "controller_releases_total", "Allocations that were given "
             "back to the controller.", "result=\"failed\"", 1,
             (double) ctl->releases[1]);
}


static void
ctl_stat(const ctl_out_t *out, const char *name, const char *help,
    const char *labels, int counter, double value)
{
    bk_stat_t  stat = { name, help, labels, counter, value, NULL };

    out->fn(&stat, out->data);
}


static void
ctl_stop(void *ctx)
{
    ctl_t  *ctl = ctx;

    ctl_clear(ctl);
    ctl->host->stopped(ctl->host);
}


/* The host's facts stay: the table outlives all of this. */

static void
ctl_clear(ctl_t *ctl)
{
    ctl_row_t  *row, *tmp;

    ctl->host->timer_free(&ctl->sweep);
    ctl_door_free(ctl);

    HASH_ITER(hh, ctl->rows, row, tmp) {
        ctl_row_free(&row);
    }

    ctl_api_free(ctl);
}


static void
ctl_destroy(void *ctx)
{
    ctl_t  *ctl = ctx;

    free(ctl->conf.endpoint);
    free(ctl->conf.pool);
    free(ctl->conf.socket);
    free(ctl->conf.group);
    free(ctl->conf.ca_file);
    free(ctl->conf.bearer_file);
    free(ctl->conf.tls_name);
    free(ctl);
}


bk_str_t
ctl_pool(const ctl_t *ctl)
{
    return CTL_STR(ctl->conf.pool);
}
