/*
 * Calls of plugin-host's API, many at a time, and how long they take.
 *
 *     calls SOCKET [ISSUER-URL]
 *
 * Each call is a connection of its own, as bkctl makes it.  With an issuer's
 * URL every allocate has a bearer token of its own, signed by a key whose JWKS
 * is printed first.  Then a line of standard input is a command, answered with
 * a line of key=value:
 *
 *     pairs POOL RATE SECONDS     allocate, then release with what came; at
 *                                 fixed times, from which a call counts, so
 *                                 that one that is late is not forgotten
 *     fill POOL COUNT CONCURRENCY allocates as fast as it goes, and keeps them
 *     call NAME POOL COUNT        one after the other: allocate, queue, lookup,
 *                                 renew, get, release (of what was made last),
 *                                 revoke, handover (release of what was made
 *                                 first, for which others wait), wake, drain
 *                                 (of w1, and back), pools, workers, list,
 *                                 sessions, explain, metrics (of a socket that
 *                                 has them)
 *
 * Tokens go nowhere else.
 */

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "jwt.h"


#define CALLS_MAX      2000         /* at a time */
#define CALLS_TOKEN    48
#define CALLS_ID       16
#define CALLS_POOL     128
#define CALLS_LATE     60000        /* ms without any answer: given up */


enum { ALLOCATE = 0, RELEASE, QUEUE, LOOKUP, RENEW, GET, HANDOVER, REVOKE,
       WAKE, DRAIN, POOLS, WORKERS, LIST, SESSIONS, EXPLAIN, METRICS, KINDS };

typedef struct {
    char      token[CALLS_TOKEN];
    char      id[CALLS_ID];
    int       queued;
} made_t;

typedef struct {
    int       fd;
    int       kind;
    uint64_t  start;        /* when it should have begun */
    made_t    made;         /* what it is about, or made */
    size_t    len, size;
    char     *buf;
} call_t;

typedef struct {
    uint64_t  *ns;
    size_t     n, size;
} times_t;


static void calls_begin(int kind, const char *pool, const made_t *made,
    uint64_t start);
static char *calls_request(int kind, const char *pool, const made_t *made);
static void calls_wait(int ms, const char *pool, int pairs);
static int calls_read(call_t *c);
static void calls_answered(call_t *c, const char *pool, int pairs);
static int calls_string(const char *text, const char *key, char *out,
    size_t size);
static void calls_keep(const made_t *made);
static void calls_print(int kind);
static void calls_pairs(const char *pool, unsigned rate, unsigned seconds);
static void calls_fill(const char *pool, size_t count, size_t concurrency);
static void calls_one_by_one(int kind, const char *pool, size_t count);


static const char    *calls_names[KINDS] = {
    "allocate", "release", "queue", "lookup", "renew", "get", "handover",
    "revoke", "wake", "drain", "pools", "workers", "list", "sessions",
    "explain", "metrics"
};

static const char    *calls_socket;
static jwt_issuer_t   calls_issuer;
static char         **calls_jwt;
static size_t         calls_njwt, calls_jwt_next;
static call_t         calls[CALLS_MAX];
static size_t         calls_n;
static times_t        calls_times[KINDS];
static made_t        *calls_made;
static size_t         calls_nmade;
static unsigned       calls_bad;


static void
calls_begin(int kind, const char *pool, const made_t *made, uint64_t start)
{
    char                *text;
    call_t              *c = &calls[calls_n];
    struct sockaddr_un   sun;

    if (calls_n == CALLS_MAX) {
        bench_die(0, "%d calls are not answered", CALLS_MAX);
    }

    text = calls_request(kind, pool, made);

    memset(&sun, 0, sizeof(sun));
    sun.sun_family = AF_UNIX;
    snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", calls_socket);

    c->fd = socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0);

    if (c->fd == -1
        || connect(c->fd, (struct sockaddr *) &sun, sizeof(sun)) == -1
        || write(c->fd, text, strlen(text)) != (ssize_t) strlen(text))
    {
        bench_die(errno, "%s", calls_socket);
    }

    free(text);
    bench_nonblocking(c->fd);

    c->kind = kind;
    c->start = start;
    c->len = 0;

    if (made != NULL) {
        c->made = *made;
    }

    calls_n++;
}


static char *
calls_request(int kind, const char *pool, const made_t *made)
{
    int          rc;
    char        *text, body[256], path[128], *auth;
    const char  *method = "POST", *api = "/api/v1/";

    static unsigned  drains;

    path[0] = '\0';
    body[0] = '\0';
    auth = NULL;

    switch (kind) {

    case ALLOCATE:
    case QUEUE:
        snprintf(path, sizeof(path), "workers/allocate");
        snprintf(body, sizeof(body), "{\"poolName\":\"%s\",\"jobId\":"
                 "\"bench\"%s}", pool,
                 kind == QUEUE ? ",\"wait\":\"0s\"" : "");
        break;

    case RELEASE:
    case HANDOVER:
    case LOOKUP:
    case RENEW:
        snprintf(path, sizeof(path), "workers/%s",
                 calls_names[kind == HANDOVER ? RELEASE : kind]);
        snprintf(body, sizeof(body), "{\"token\":\"%s\"%s}", made->token,
                 kind == RENEW ? ",\"ttl\":\"1h\"" : "");
        break;

    case WAKE:
        snprintf(path, sizeof(path), "pools/%.*s%%2F%s/wake",
                 (int) strcspn(pool, "/"), pool, strchr(pool, '/') + 1);
        snprintf(body, sizeof(body), "{}");
        break;

    case GET:
    case REVOKE:
        method = kind == GET ? "GET" : "DELETE";
        snprintf(path, sizeof(path), "allocations/%s", made->id);
        break;

    case DRAIN:
        snprintf(path, sizeof(path), "workers/w1/drain");
        snprintf(body, sizeof(body), "{\"poolName\":\"%s\",\"undo\":%s}",
                 pool, drains++ % 2 ? "true" : "false");
        break;

    case EXPLAIN:
        method = "GET";
        snprintf(path, sizeof(path), "explain?pool=%s&verb=allocate", pool);
        break;

    case METRICS:
        method = "GET";
        api = "/metrics";
        break;

    default:
        method = "GET";
        snprintf(path, sizeof(path), "%s", kind == POOLS ? "pools"
                 : kind == WORKERS ? "workers"
                 : kind == SESSIONS ? "sessions" : "allocations");
    }

    if (calls_njwt > 0 && (kind == ALLOCATE || kind == QUEUE)) {
        auth = calls_jwt[calls_jwt_next++ % calls_njwt];
    }

    rc = asprintf(&text, "%s %s%s HTTP/1.1\r\nHost: localhost\r\n"
                  "%s%s%sContent-Type: application/json\r\nContent-Length: "
                  "%zu\r\nConnection: close\r\n\r\n%s", method, api, path,
                  auth ? "Authorization: Bearer " : "", auth ? auth : "",
                  auth ? "\r\n" : "", strlen(body), body);

    if (rc == -1) {
        bench_die(errno, "out of memory");
    }

    return text;
}


/* Answers that come within the time; in pairs each allocation is released. */

static void
calls_wait(int ms, const char *pool, int pairs)
{
    int            rc;
    call_t         done;
    size_t         i;
    struct pollfd  fds[CALLS_MAX];

    for (i = 0; i < calls_n; i++) {
        fds[i] = (struct pollfd) { .fd = calls[i].fd, .events = POLLIN };
    }

    rc = poll(fds, calls_n, ms);

    if (rc == -1) {
        bench_die(errno, "poll");
    }

    for (i = calls_n; rc > 0 && i-- > 0; /* void */ ) {
        if (fds[i].revents == 0 || !calls_read(&calls[i])) {
            continue;
        }

        /* its place is taken by the last one, which was looked at */
        done = calls[i];
        calls[i] = calls[--calls_n];
        calls[calls_n] = done;
        done.buf = strdup(done.len ? done.buf : "");

        if (done.buf == NULL) {
            bench_die(errno, "out of memory");
        }

        calls_answered(&done, pool, pairs);
        free(done.buf);
    }
}


/* 1: all of the answer is there. */

static int
calls_read(call_t *c)
{
    ssize_t  n;

    for ( ;; ) {
        if (c->size - c->len < 65536) {
            c->size = c->size ? 2 * c->size : 131072;
            c->buf = realloc(c->buf, c->size);

            if (c->buf == NULL) {
                bench_die(errno, "out of memory");
            }
        }

        n = read(c->fd, c->buf + c->len, c->size - c->len - 1);

        if (n == -1 && errno == EAGAIN) {
            return 0;
        }

        if (n <= 0) {
            close(c->fd);
            c->buf[c->len] = '\0';
            return 1;
        }

        c->len += (size_t) n;
    }
}


static void
calls_answered(call_t *c, const char *pool, int pairs)
{
    char       state[16];
    times_t   *t = &calls_times[c->kind];
    uint64_t   now = bench_now_ns();

    if (strncmp(c->buf, "HTTP/1.1 200", 12) != 0) {
        if (calls_bad++ == 0) {
            fprintf(stderr, "%s: %.300s\n", calls_names[c->kind],
                    c->len ? c->buf : "no answer");
        }

        return;
    }

    if (t->n == t->size) {
        t->size = t->size ? 2 * t->size : 4096;
        t->ns = realloc(t->ns, t->size * sizeof(uint64_t));

        if (t->ns == NULL) {
            bench_die(errno, "out of memory");
        }
    }

    t->ns[t->n++] = now - c->start;

    if (c->kind != ALLOCATE && c->kind != QUEUE) {
        return;
    }

    if (calls_string(c->buf, "token", c->made.token, CALLS_TOKEN) != 0
        || calls_string(c->buf, "id", c->made.id, CALLS_ID) != 0)
    {
        bench_die(0, "allocate was answered without a token");
    }

    c->made.queued = calls_string(c->buf, "state", state, sizeof(state)) == 0
                     && strcmp(state, "queued") == 0;

    if (pairs) {
        calls_begin(RELEASE, pool, &c->made, now);

    } else {
        calls_keep(&c->made);
    }
}


static int
calls_string(const char *text, const char *key, char *out, size_t size)
{
    char         name[32];
    size_t       n;
    const char  *p;

    snprintf(name, sizeof(name), "\"%s\":", key);
    p = strstr(text, name);

    if (p == NULL) {
        return -1;
    }

    p += strlen(name);
    p += strspn(p, " \"");
    n = strcspn(p, "\"");

    if (n >= size) {
        return -1;
    }

    memcpy(out, p, n);
    out[n] = '\0';

    return 0;
}


static void
calls_keep(const made_t *made)
{
    if (calls_nmade % 4096 == 0) {
        calls_made = realloc(calls_made,
                             (calls_nmade + 4096) * sizeof(made_t));

        if (calls_made == NULL) {
            bench_die(errno, "out of memory");
        }
    }

    calls_made[calls_nmade++] = *made;
}


static void
calls_print(int kind)
{
    times_t  *t = &calls_times[kind];

    if (t->n == 0) {
        return;
    }

    qsort(t->ns, t->n, sizeof(uint64_t), bench_compare_ns);
    printf("%s=%zu %s_p50_ms=%.2f %s_p99_ms=%.2f %s_max_ms=%.2f ",
           calls_names[kind], t->n,
           calls_names[kind], (double) t->ns[t->n / 2] / 1e6,
           calls_names[kind],
           (double) t->ns[(size_t) (0.99 * (double) (t->n - 1))] / 1e6,
           calls_names[kind], (double) t->ns[t->n - 1] / 1e6);
    t->n = 0;
}


static void
calls_pairs(const char *pool, unsigned rate, unsigned seconds)
{
    size_t    i, n = (size_t) rate * seconds;
    uint64_t  begin, due, last, now;

    /* made before the clock runs: an issuer is another machine */
    if (calls_issuer.key != NULL && calls_njwt < n) {
        calls_jwt = realloc(calls_jwt, n * sizeof(char *));

        for (i = calls_njwt; i < n && calls_jwt != NULL; i++) {
            calls_jwt[i] = jwt_new(&calls_issuer, (unsigned) i);
        }

        calls_njwt = n;
        calls_jwt_next = 0;
    }

    begin = bench_now_ns();
    last = begin;

    for (i = 0; i < n || calls_n > 0; /* void */ ) {
        now = bench_now_ns();
        due = begin + i * 1000000000u / rate;

        if (i < n && due <= now) {
            calls_begin(ALLOCATE, pool, NULL, due);
            i++;
            last = now;
            continue;
        }

        calls_wait(i < n ? (int) ((due - now) / 1000000 + 1) : 100, pool, 1);

        if (now - last > CALLS_LATE * UINT64_C(1000000)) {
            bench_die(0, "%zu calls are not answered", calls_n);
        }
    }

    calls_print(ALLOCATE);
    calls_print(RELEASE);
    printf("seconds=%.1f", (double) (bench_now_ns() - begin) / 1e9);
}


static void
calls_fill(const char *pool, size_t count, size_t concurrency)
{
    size_t    i = 0, had = calls_nmade, queued = 0;
    uint64_t  begin = bench_now_ns(), last = begin;

    concurrency = concurrency < CALLS_MAX ? concurrency : CALLS_MAX;

    while (i < count || calls_n > 0) {
        while (i < count && calls_n < concurrency) {
            calls_begin(QUEUE, pool, NULL, bench_now_ns());
            i++;
            last = bench_now_ns();
        }

        calls_wait(100, pool, 0);

        if (bench_now_ns() - last > CALLS_LATE * UINT64_C(1000000)) {
            bench_die(0, "%zu calls are not answered", calls_n);
        }
    }

    for (i = had; i < calls_nmade; i++) {
        queued += (size_t) calls_made[i].queued;
    }

    calls_times[QUEUE].n = 0;
    printf("made=%zu queued=%zu seconds=%.1f", calls_nmade - had, queued,
           (double) (bench_now_ns() - begin) / 1e9);
}


static void
calls_one_by_one(int kind, const char *pool, size_t count)
{
    size_t         i;
    const made_t  *made;

    for (i = 0; i < count; i++) {
        made = NULL;

        if (calls_nmade == 0 && kind != ALLOCATE && kind != QUEUE
            && kind < WAKE)
        {
            break;
        }

        if (kind == HANDOVER) {
            made = &calls_made[i % calls_nmade];

        } else if (kind < WAKE && kind != ALLOCATE && kind != QUEUE) {
            made = &calls_made[calls_nmade - 1 - i % calls_nmade];
        }

        calls_begin(kind, pool, made, bench_now_ns());

        while (calls_n > 0) {
            calls_wait(-1, pool, 0);
        }
    }

    if (kind == RELEASE || kind == REVOKE) {
        calls_nmade -= i < calls_nmade ? i : calls_nmade;
    }

    calls_print(kind);
}


int
main(int argc, char **argv)
{
    int       kind;
    char      line[512], name[16], pool[CALLS_POOL];
    unsigned  one, two;

    if (argc < 2) {
        bench_die(0, "usage: calls SOCKET [ISSUER-URL] < COMMANDS");
    }

    calls_socket = argv[1];
    bench_raise_nofile();

    if (argc > 2) {
        jwt_issuer(&calls_issuer, argv[2]);
        jwt_print_jwks(&calls_issuer);
    }

    while (fgets(line, sizeof(line), stdin) != NULL) {
        if (sscanf(line, "pairs %127s %u %u", pool, &one, &two) == 3
            && one > 0)
        {
            calls_pairs(pool, one, two);

        } else if (sscanf(line, "fill %127s %u %u", pool, &one, &two) == 3) {
            calls_fill(pool, one, two);

        } else if (sscanf(line, "call %15s %127s %u", name, pool, &one) == 3) {
            for (kind = 0; kind < KINDS; kind++) {
                if (strcmp(calls_names[kind], name) == 0) {
                    calls_one_by_one(kind, pool, one);
                    break;
                }
            }

        } else {
            bench_die(0, "unknown command: %s", line);
        }

        printf(" bad=%u\n", calls_bad);
        fflush(stdout);
        calls_bad = 0;
    }

    return 0;
}
