/*
 * A watch or a lease of the Kubernetes API (plugins/kubernetes/k8s_watch.c,
 * k8s_lease.c) in a program of its own, which says what it is told.
 *
 *     k8sctl KUBECONFIG watch GROUP VERSION PLURAL NAMESPACE [SELECTOR [STOP]]
 *     k8sctl KUBECONFIG lease NAMESPACE NAME IDENTITY
 *
 * GROUP and NAMESPACE may be empty.  STOP: a number of put(), in which it
 * stops itself with SIGSTOP.  Lines of a watch:
 *
 *     put NS/NAME VERSION | again NS/NAME VERSION     the latter of a list
 *     gone NS/NAME (seen|missed)
 *     synced (first|again) OBJECTS
 *     up | down WHY
 *
 * and of a lease: "leader WHO", "follower WHO".  Commands, by lines:
 *
 *     stats       lists=N pages=N ... of a watch
 *     list        of a watch: now; no answer
 *     valid       "valid" or "invalid"
 *     release     "released"
 *     quit        or the end of the input
 */

#include <signal.h>
#include <unistd.h>

#include "../../plugin-host/plugins/kubernetes/k8s_int.h"
#include "loop_host.h"


static k8s_t        *k8s;
static k8s_watch_t  *watch;
static k8s_lease_t  *lease;
static char          line[4096];
static size_t        line_len;
static long          stop_at;
static long          puts_seen;


static void
put(void *data, json_t *obj, int again)
{
    json_t  *meta = json_object_get(obj, "metadata");

    (void) data;

    printf("%s %s/%s %s\n", again ? "again" : "put",
           k8s_text(meta, "namespace"), k8s_text(meta, "name"),
           k8s_text(meta, "resourceVersion"));

    puts_seen++;

    if (!again || puts_seen == stop_at) {
        fflush(stdout);
    }

    if (puts_seen == stop_at) {
        raise(SIGSTOP);
    }
}


static void
gone(void *data, const char *ns, const char *name, json_t *obj)
{
    (void) data;

    printf("gone %s/%s %s\n", ns, name, obj != NULL ? "seen" : "missed");
    fflush(stdout);
}


static void
synced(void *data, int first)
{
    k8s_watch_stats_t  s;

    (void) data;

    k8s_watch_stats(watch, &s);
    printf("synced %s %zu\n", first ? "first" : "again", s.objects);
    fflush(stdout);
}


static void
state(void *data, int connected, const char *why)
{
    (void) data;

    printf("%s%s\n", connected ? "up" : "down ", why);
    fflush(stdout);
}


static void
changed(void *data, int leader, const char *who)
{
    (void) data;

    printf("%s %s\n", leader ? "leader" : "follower", who);
    fflush(stdout);
}


static void
released(void *data)
{
    (void) data;

    printf("released\n");
    fflush(stdout);
}


static void
command(const char *text)
{
    k8s_watch_stats_t  s;

    if (strcmp(text, "stats") == 0) {
        k8s_watch_stats(watch, &s);
        printf("lists=%llu pages=%llu watches=%llu events=%llu bookmarks=%llu"
               " gones=%llu errors=%llu objects=%zu connected=%d\n",
               (unsigned long long) s.lists, (unsigned long long) s.pages,
               (unsigned long long) s.watches, (unsigned long long) s.events,
               (unsigned long long) s.bookmarks, (unsigned long long) s.gones,
               (unsigned long long) s.errors, s.objects, s.connected);

    } else if (strcmp(text, "list") == 0) {
        k8s_watch_again(watch);

    } else if (strcmp(text, "valid") == 0) {
        printf("%s\n", k8s_lease_valid(lease) ? "valid" : "invalid");

    } else if (strcmp(text, "release") == 0) {
        k8s_lease_release(lease, released, NULL);

    } else if (strcmp(text, "quit") == 0) {
        event_base_loopbreak(loop_base);

    } else {
        printf("error: %s\n", text);
    }

    fflush(stdout);
}


static void
readable(evutil_socket_t fd, short what, void *data)
{
    char     *end;
    size_t    len;
    ssize_t   n;

    (void) what;
    (void) data;

    n = read(fd, line + line_len, sizeof(line) - line_len);

    if (n <= 0) {
        event_base_loopbreak(loop_base);
        return;
    }

    line_len += (size_t) n;

    while ((end = memchr(line, '\n', line_len)) != NULL) {
        *end = '\0';
        len = (size_t) (end - line) + 1;
        command(line);
        line_len -= len;
        memmove(line, line + len, line_len);
    }
}


int
main(int argc, char **argv)
{
    bk_err_t          err;
    k8s_conf_t       *conf;
    k8s_kind_t        kind;
    struct event     *input;
    const bk_host_t  *host = loop_host_new();

    static const k8s_watch_ops_t  ops = { put, gone, synced, state };

    memset(&err, 0, sizeof(err));

    if (argc < 6 || k8s_conf_load(&conf, argv[1], NULL, &err) != 0) {
        fprintf(stderr, "usage: k8sctl KUBECONFIG watch|lease ... %s\n",
                err.text);
        return 2;
    }

    k8s = k8s_new(host, conf);
    input = event_new(loop_base, 0, EV_READ | EV_PERSIST, readable, NULL);
    event_add(input, NULL);

    if (strcmp(argv[2], "watch") == 0 && argc >= 7) {
        kind = (k8s_kind_t) { argv[3], argv[4], argv[5], "" };
        stop_at = argc > 8 ? atol(argv[8]) : 0;
        watch = k8s_watch(k8s, &kind, argv[6], argc > 7 && argv[7][0] != '\0'
                          ? argv[7] : NULL, &ops, NULL);

    } else {
        lease = k8s_lease(k8s, argv[3], argv[4], argv[5], changed, NULL);
    }

    event_base_dispatch(loop_base);

    k8s_watch_free(&watch);
    k8s_lease_free(&lease);
    event_free(input);
    k8s_free(&k8s);
    event_base_free(loop_base);

    return 0;
}
