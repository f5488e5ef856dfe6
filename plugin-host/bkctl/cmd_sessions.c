/*
 * bkctl sessions: the connections at all gateways, as their reports say.
 *
 * --watch asks again each second.  On a terminal the list is drawn anew, as
 * far as there is room; elsewhere each change is a line, which is never
 * changed again: that is for logs and for other programs.  An API that goes
 * away meanwhile is waited for.  SIGINT and SIGTERM are the end, status 0.
 */

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "bkctl.h"


#define BK_SESSIONS_EVERY  1000

typedef struct {
    const bk_args_t  *args;
    char             *path;
    json_t           *known;    /* by bk_sessions_key(); of the last look */
    int               sigfd;
    int               over;     /* a signal came */
    int               silent;   /* the API does not answer, which was said */
} bk_sessions_t;


static char *bk_sessions_path(const bk_args_t *args);
static char *bk_sessions_filter(char *path, const char *name,
    const char *value);
static int bk_sessions_watch(const bk_args_t *args, char *path);
static int bk_sessions_look(bk_sessions_t *w, json_t **array);
static int bk_sessions_signals(void *data);
static void bk_sessions_draw(const json_t *array);
static void bk_sessions_changes(bk_sessions_t *w, const json_t *array);
static void bk_sessions_change(const bk_sessions_t *w, const char *what,
    const json_t *s);
static json_t *bk_sessions_mine(const bk_args_t *args, const json_t *all);
static int bk_sessions_fits(const json_t *s, const char *key,
    const char *value);
static char *bk_sessions_key(const json_t *s, char *buf, size_t size);
static char *bk_sessions_phase(const json_t *s, char *buf, size_t size);
static void bk_sessions_print(const json_t *array, size_t max);


int
bk_cmd_sessions(const bk_args_t *args)
{
    int      rc;
    char    *path;
    json_t  *json, *array;

    path = bk_sessions_path(args);

    if (args->watch) {
        rc = bk_sessions_watch(args, path);
        free(path);
        return rc;
    }

    rc = bk_list_get(args, path, &json);
    free(path);

    if (rc != BK_EXIT_OK) {
        return rc;
    }

    array = bk_sessions_mine(args, json);
    json_decref(json);

    if (array == NULL) {
        return BK_EXIT_FAILED;
    }

    if (args->json) {
        rc = bk_out_json(array);

    } else {
        bk_sessions_print(array, json_array_size(array));
        rc = bk_out_flush();
    }

    json_decref(array);

    return rc;
}


static char *
bk_sessions_path(const bk_args_t *args)
{
    char  pool[700], *path;

    path = strdup("/api/v1/sessions");

    if (path == NULL) {
        abort();
    }

    path = bk_sessions_filter(path, "pool", args->pool == NULL ? NULL
                              : bk_alloc_pool(args, pool, sizeof(pool)));
    path = bk_sessions_filter(path, "allocation", args->allocation);

    return bk_sessions_filter(path, "worker", args->worker);
}


static char *
bk_sessions_filter(char *path, const char *name, const char *value)
{
    char  *out, *escaped;

    if (value == NULL) {
        return path;
    }

    escaped = bk_api_escape(value);

    if (asprintf(&out, "%s%c%s=%s", path, strchr(path, '?') ? '&' : '?', name,
                 escaped) < 0)
    {
        abort();
    }

    free(escaped);
    free(path);

    return out;
}


static int
bk_sessions_watch(const bk_args_t *args, char *path)
{
    int            rc;
    json_t        *array;
    sigset_t       mask;
    bk_sessions_t  w;
    struct pollfd  pfd;

    memset(&w, 0, sizeof(bk_sessions_t));
    w.args = args;
    w.path = path;

    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGTERM);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    w.sigfd = signalfd(-1, &mask, SFD_CLOEXEC|SFD_NONBLOCK);
    pfd = (struct pollfd) { .fd = w.sigfd, .events = POLLIN };

    for ( ;; ) {
        rc = bk_sessions_look(&w, &array);

        if (w.over || rc != BK_EXIT_OK) {
            break;
        }

        if (array != NULL) {
            if (bk_out_tty() && !args->json) {
                bk_sessions_draw(array);

            } else {
                bk_sessions_changes(&w, array);
            }

            json_decref(array);
        }

        if (bk_out_flush() != BK_EXIT_OK) {
            rc = BK_EXIT_FAILED;
            break;
        }

        (void) poll(&pfd, 1, BK_SESSIONS_EVERY);

        if (bk_sessions_signals(&w)) {
            break;
        }
    }

    json_decref(w.known);
    close(w.sigfd);

    return w.over ? BK_EXIT_OK : rc;
}


/* NULL and 0: no answer this time.  Not 0: it makes no sense to go on. */

static int
bk_sessions_look(bk_sessions_t *w, json_t **array)
{
    int               rc;
    bk_api_reply_t    r;
    bk_api_request_t  req = { .method = "GET", .path = w->path,
                              .fd = w->sigfd, .tick = bk_sessions_signals,
                              .data = w };

    *array = NULL;
    rc = bk_api_call(w->args, &req, &r);

    if (w->over) {
        bk_reply_free(&r);
        return BK_EXIT_OK;
    }

    if (rc == BK_EXIT_OK) {
        w->silent = 0;
        *array = bk_sessions_mine(w->args, r.json);
        rc = *array == NULL ? BK_EXIT_FAILED : BK_EXIT_OK;

    } else if (w->known == NULL
               || (rc != BK_EXIT_UNREACHABLE && r.status < 500))
    {
        bk_reply_complain(&r);

    } else {
        if (!w->silent) {
            bk_out_note("bkctl: %s; trying again", r.error);
        }

        w->silent = 1;
        rc = BK_EXIT_OK;
    }

    if (*array != NULL && w->known == NULL) {
        w->known = json_object();
    }

    bk_reply_free(&r);

    return rc;
}


static int
bk_sessions_signals(void *data)
{
    bk_sessions_t            *w = data;
    struct signalfd_siginfo   si;

    while (read(w->sigfd, &si, sizeof(si)) == sizeof(si)) {
        w->over = 1;
    }

    return w->over;
}


static void
bk_sessions_draw(const json_t *array)
{
    char            now[32];
    size_t          n, room;
    struct winsize  ws;

    room = 20;
    n = json_array_size(array);

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_row > 6) {
        room = (size_t) ws.ws_row - 5;
    }

    /* home, and what is below is wiped: no flicker, no scrolling */
    printf("\033[H\033[J%s  %zu connection%s\n\n",
           bk_time_format(bk_unix_ms(), now, sizeof(now)), n,
           n == 1 ? "" : "s");
    bk_sessions_print(array, room);

    if (n > room) {
        printf("... and %zu more\n", n - room);
    }
}


static void
bk_sessions_changes(bk_sessions_t *w, const json_t *array)
{
    char         key[400], was[80], is[80];
    size_t       i;
    json_t      *s, *old, *seen;
    const char  *name;

    seen = json_object();

    json_array_foreach(array, i, s) {
        bk_sessions_key(s, key, sizeof(key));
        old = json_object_get(w->known, key);

        if (old == NULL) {
            bk_sessions_change(w, "new", s);

        } else if (strcmp(bk_sessions_phase(old, was, sizeof(was)),
                          bk_sessions_phase(s, is, sizeof(is))) != 0
                   || strcmp(bk_out_string(old, "kind"),
                             bk_out_string(s, "kind")) != 0
                   || strcmp(bk_out_string(old, "worker"),
                             bk_out_string(s, "worker")) != 0)
        {
            bk_sessions_change(w, "changed", s);
        }

        json_object_set(seen, key, s);
    }

    json_object_foreach(w->known, name, old) {
        if (json_object_get(seen, name) == NULL) {
            bk_sessions_change(w, "gone", old);
        }
    }

    json_decref(w->known);
    w->known = seen;
}


static void
bk_sessions_change(const bk_sessions_t *w, const char *what, const json_t *s)
{
    char         now[32], phase[80], text[700];
    json_t      *line;
    const char  *worker;

    bk_time_format(bk_unix_ms(), now, sizeof(now));

    if (w->args->json) {
        line = json_pack("{s:s, s:s, s:O}", "time", now, "event", what,
                         "session", s);
        json_dumpf(line, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(line);
        return;
    }

    worker = bk_out_string(s, "worker");
    snprintf(text, sizeof(text), "%s %-7s %s %s %s %s %s %s", now, what,
             *bk_out_string(s, "allocation") ? bk_out_string(s, "allocation")
                                             : "-",
             *bk_out_string(s, "pool") ? bk_out_string(s, "pool") : "-",
             *worker ? worker : "-", bk_out_string(s, "client"),
             bk_sessions_phase(s, phase, sizeof(phase)),
             bk_out_string(s, "kind"));
    puts(bk_out_clean(text));
}


/* Those that the flags ask for, whatever the API makes of them; NULL: said. */

static json_t *
bk_sessions_mine(const bk_args_t *args, const json_t *all)
{
    char          pool[700];
    size_t        i;
    json_t       *s, *mine;
    const json_t *array;

    array = bk_list_array(all);

    if (array == NULL) {
        bk_out_error("the API at %s answered with something that is not a "
                     "list", args->endpoint);
        bk_out_hint("is BKCTL_ENDPOINT the gateway's API?");
        return NULL;
    }

    mine = json_array();

    json_array_foreach(array, i, s) {
        if (bk_sessions_fits(s, "allocation", args->allocation)
            && bk_sessions_fits(s, "worker", args->worker)
            && bk_sessions_fits(s, "pool", args->pool == NULL ? NULL
                                : bk_alloc_pool(args, pool, sizeof(pool))))
        {
            json_array_append(mine, s);
        }
    }

    return mine;
}


static int
bk_sessions_fits(const json_t *s, const char *key, const char *value)
{
    return value == NULL || strcmp(bk_out_string(s, key), value) == 0;
}


/* What does not change as long as it is the same connection. */

static char *
bk_sessions_key(const json_t *s, char *buf, size_t size)
{
    snprintf(buf, size, "%lld %s %s", bk_out_number(s, "gateway"),
             bk_out_string(s, "client"), bk_out_string(s, "startedAt"));

    return buf;
}


/* "live", "cut:revoked" */

static char *
bk_sessions_phase(const json_t *s, char *buf, size_t size)
{
    const char  *phase, *reason;

    phase = bk_out_string(s, "phase");
    reason = bk_out_string(s, "reason");

    snprintf(buf, size, "%s%s%s", phase,
             *reason && strcmp(reason, "none") != 0 ? ":" : "",
             strcmp(reason, "none") != 0 ? reason : "");

    return buf;
}


static void
bk_sessions_print(const json_t *array, size_t max)
{
    char         phase[80], since[64], up[16], down[16], expires[64];
    size_t       i;
    json_t      *s;
    bk_rows_t   *rows;
    const char  *header[] = { "ALLOCATION", "POOL", "WORKER", "CLIENT",
                              "PHASE", "KIND", "SINCE", "UP", "DOWN",
                              "EXPIRES" };

    rows = bk_rows_new(10);
    bk_rows_add(rows, header);

    json_array_foreach(array, i, s) {
        if (i == max) {
            break;
        }

        bk_time_short(bk_out_string(s, "phaseAt"), since, sizeof(since));
        bk_time_short(bk_out_string(s, "expiresAt"), expires,
                      sizeof(expires));

        bk_rows_add(rows, (const char *[]) {
            bk_out_string(s, "allocation"), bk_out_string(s, "pool"),
            bk_out_string(s, "worker"), bk_out_string(s, "client"),
            bk_sessions_phase(s, phase, sizeof(phase)),
            bk_out_string(s, "kind"), since,
            bk_bytes_short(bk_out_number(s, "bytesUp"), up, sizeof(up)),
            bk_bytes_short(bk_out_number(s, "bytesDown"), down, sizeof(down)),
            expires });
    }

    bk_rows_print(rows);
    bk_rows_free(&rows);
}
