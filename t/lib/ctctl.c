/*
 * The controller's core (plugins/kubernetes/ct*.c: objects as they are known,
 * writes, leader, Events) in a program of its own, without what it makes of
 * pools and workers.  t/kubernetes_core.t talks to it.
 *
 *     ctctl KUBECONFIG NAMESPACE LEASE_SECONDS [NAMESPACE_OF_THE_LEASE]
 *
 * It says "ready 1" when it leads and all is known, "ready 0" and "quit
 * REASON" when it does not any more, and "gap NAME" when the store would miss
 * a change.  Commands, by lines; NAME is a BuildKitWorker's but for map:
 *
 *     make NAME         creates it
 *     bad NAME          the same, as it may not be
 *     inc NAME          its annotation "count" and one, by a patch
 *     phase NAME PHASE  its status, by a patch
 *     drop NAME         deletes it
 *     map NAME VALUE    applies a ConfigMap
 *     read NAME         the ConfigMap; "read NAME VALUE" when it is known
 *     event NAME REASON TEXT
 *     value NAME        "value NAME COUNT", or none
 *     stats             writes=N ... objects=N workers=N
 *     stop              "stopped"; then only quit
 *     quit              or the end of the input
 *
 * Each of the first six is answered when it is over, by "COMMAND NAME ok" or
 * "COMMAND NAME CODE REASON".
 */

#include <unistd.h>

#include "../../plugin-host/plugins/kubernetes/ct.h"
#include "loop_host.h"


typedef struct {
    char   what[16];
    char   name[256];
    char   value[256];
} op_t;


static ct_t      *ct;
static ct_obj_t  *asked;            /* to be read */
static char       line[65536];
static size_t     line_len;


static void __attribute__((format(printf, 1, 2)))
say(const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");
    fflush(stdout);
}


/* --- what the core asks of the other parts -------------------------------- */

void
ct_pool_spec(ct_pool_t *p)
{
    (void) p;
}


void
ct_pool_look(ct_pool_t *p)
{
    (void) p;

    if (asked != NULL && !asked->reads && asked->req == NULL) {
        say("read %s %s", asked->name, asked->obj == NULL ? "none"
            : obj_text(ct_at(asked, "data", NULL), "v"));
        asked = NULL;
    }
}


void
ct_pool_free(ct_pool_t *p)
{
    (void) p;
}


void
ct_pool_common_free(ct_t *c)
{
    (void) c;
}


void
ct_scale_look(ct_pool_t *p)
{
    (void) p;
}


void
ct_scale_free(ct_pool_t *p)
{
    (void) p;
}


/* own: the version that was told last */

void
ct_worker_look(ct_worker_t *w)
{
    if (w->o->obj == NULL) {
        ct_worker_drop(w);
    }
}


void
ct_worker_free(ct_worker_t *w)
{
    free(w->own);
}


ct_store_t *
ct_store_new(ct_t *c)
{
    (void) c;

    return NULL;
}


void
ct_store_free(ct_store_t **s)
{
    (void) s;
}


void
ct_store_look(ct_worker_t *w, json_t *was)
{
    const char  *before;

    before = obj_text(json_object_get(was, "metadata"), "resourceVersion");

    if (strcmp(w->own != NULL ? (char *) w->own : "", before) != 0) {
        say("gap %s", w->name);
    }

    free(w->own);
    w->own = (void *) ct_strdup(ct_version(w->o));
}


void
ct_store_is(ct_t *c, int ready)
{
    (void) c;

    say("ready %d", ready);
}


void
ct_state_look(ct_state_t *s)
{
    (void) s;
}


/* --- the host ------------------------------------------------------------- */

static void
snapshot(const bk_host_t *h)
{
    (void) h;
}


static void
quit(const bk_host_t *h, const bk_err_t *why)
{
    (void) h;

    say("quit %s", why->reason);
}


/* --- commands ------------------------------------------------------------- */

static json_t *
op_make(void *data, ct_obj_t *o, bk_err_t *err)
{
    op_t         *op = data;
    char          count[32];
    json_t       *body = NULL;
    const char   *at;

    (void) err;

    if (strcmp(op->what, "make") == 0) {
        body = json_pack("{s:{s:{s:s}}}", "spec", "poolRef", "name", "demo");

    } else if (strcmp(op->what, "bad") == 0) {
        body = json_pack("{s:{s:{s:s}}}", "spec", "poolRef", "name", "A B");

    } else if (strcmp(op->what, "inc") == 0) {
        at = obj_text(ct_at(o, "metadata", "annotations", NULL), "count");
        snprintf(count, sizeof(count), "%d", atoi(at) + 1);
        body = json_pack("{s:{s:{s:s}}}", "metadata", "annotations", "count",
                         count);

    } else if (strcmp(op->what, "phase") == 0) {
        body = json_pack("{s:{s:s}}", "status", "phase", op->value);

    } else if (strcmp(op->what, "map") == 0) {
        body = json_pack("{s:{s:s}}", "data", "v", op->value);

    } else {
        body = json_object();
    }

    return body;
}


static void
op_done(void *data, ct_obj_t *o, const bk_err_t *err)
{
    op_t  *op = data;

    (void) o;

    if (err != NULL) {
        say("%s %s %d %s", op->what, op->name, err->code, err->reason);

    } else {
        say("%s %s ok", op->what, op->name);
    }

    free(op);
}


static void
write_one(const char *what, const char *name, const char *value)
{
    op_t       *op = calloc(1, sizeof(op_t));
    int         how = strcmp(what, "make") == 0 || strcmp(what, "bad") == 0
                      ? CT_CREATE : strcmp(what, "inc") == 0 ? CT_PATCH
                      : strcmp(what, "phase") == 0 ? CT_STATUS
                      : strcmp(what, "map") == 0 ? CT_APPLY : CT_DELETE;
    ct_obj_t   *o;

    snprintf(op->what, sizeof(op->what), "%s", what);
    snprintf(op->name, sizeof(op->name), "%s", name);
    snprintf(op->value, sizeof(op->value), "%s", value);
    o = ct_obj_get(ct, how == CT_APPLY ? CT_CONFIGMAP : CT_WORKER,
                   ct->nss[0].name, name);
    ct_write(o, how, op_make, op_done, op);
}


static void
stopped(void *data)
{
    (void) data;

    say("stopped");
}


static void
stats(void)
{
    uint64_t  made, dropped;

    ct_events_stats(ct, &made, &dropped);
    say("writes=%llu conflicts=%llu refusals=%llu unknown=%llu events=%llu "
        "objects=%u workers=%u pools=%u running=%u",
        (unsigned long long) ct->writes, (unsigned long long) ct->conflicts,
        (unsigned long long) ct->refusals, (unsigned long long) ct->unknown,
        (unsigned long long) made, HASH_COUNT(ct->objs[CT_WORKER]),
        HASH_COUNT(ct->workers), HASH_COUNT(ct->pools), ct->running);
}


static void
command(char *text)
{
    char       *what = strtok(text, " ");
    char       *name = strtok(NULL, " ");
    char       *value = strtok(NULL, " ");
    char       *rest = strtok(NULL, "");
    ct_obj_t   *o;

    name = name != NULL ? name : "";

    if (strcmp(what, "stats") == 0) {
        stats();

    } else if (strcmp(what, "stop") == 0) {
        ct_stop(ct, stopped, NULL);

    } else if (strcmp(what, "quit") == 0) {
        event_base_loopbreak(loop_base);

    } else if (strcmp(what, "event") == 0) {
        o = ct_obj_get(ct, CT_WORKER, ct->nss[0].name, name);
        ct_event(o, "Warning", value, "%s", rest != NULL ? rest : "");

    } else if (strcmp(what, "value") == 0) {
        o = ct_obj_get(ct, CT_WORKER, ct->nss[0].name, name);
        say("value %s %s", name, o->obj == NULL ? "none"
            : obj_text(ct_at(o, "metadata", "annotations", NULL), "count"));
        ct_obj_drop(o);

    } else if (strcmp(what, "read") == 0) {
        o = ct_obj_get(ct, CT_CONFIGMAP, ct->nss[0].name, name);
        o->pool = ct_pool_get(ct, ct->nss[0].name, "maps");
        asked = o;
        ct_obj_read(o);

    } else {
        write_one(what, name, value != NULL ? value : "");
    }
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
    char             *namespaces[1];
    k8s_t            *k8s;
    bk_err_t          err;
    ct_conf_t         conf;
    k8s_conf_t       *where;
    struct event     *input;
    const bk_host_t  *host = loop_host_new();

    memset(&err, 0, sizeof(err));
    memset(&conf, 0, sizeof(conf));

    if (argc < 4 || argc > 5 || k8s_conf_load(&where, argv[1], NULL, &err) != 0) {
        fprintf(stderr, "usage: ctctl KUBECONFIG NAMESPACE LEASE %s\n",
                err.text);
        return 2;
    }

    loop_host.snapshot_begin = snapshot;
    loop_host.snapshot_commit = snapshot;
    loop_host.quit = quit;
    conf.namespace = argv[argc - 1 == 4 ? 4 : 2];
    conf.pod = (char *) "";
    conf.lease_ms = strtoull(argv[3], NULL, 10) * 1000;
    namespaces[0] = argv[2];

    k8s = k8s_new(host, where);
    ct = ct_new(host, k8s, &conf, namespaces, 1);
    input = event_new(loop_base, 0, EV_READ | EV_PERSIST, readable, NULL);
    event_add(input, NULL);

    event_base_dispatch(loop_base);

    ct_free(&ct);
    event_free(input);
    k8s_free(&k8s);
    event_base_free(loop_base);

    return 0;
}
