/*
 * The client of the Kubernetes API (plugins/kubernetes/k8s_client.c) and what
 * it is made of (src/fetch.c), by lines of JSON.
 *
 *     k8sask [KUBECONFIG [CONTEXT]]       without: only "fetch" can be done
 *
 * "ready SERVER NAMESPACE", or "error CODE REASON TEXT (HINT)" and exit status
 * 1.  Then, with "id" in each:
 *
 *     {"do": "get|create|replace|patch|apply|delete", "kind": [GROUP, VERSION,
 *      PLURAL, KIND], "ns", "name", "sub", "body", "uid", "version", "grace"}
 *     {"do": "stream", "path", "silence"}
 *     {"do": "fetch", "url", "method", "body", "type", "ca_file", "ca", "cert",
 *      "key", "server_name", "bearer", "bearer_file", "limit", "timeout",
 *      "stream": true, "silence", "once": true, "insecure": true}
 *     {"do": "cancel"}                    of that id
 *     {"do": "quit"}
 *
 * A stream may have "stop": N, which ends it when N bytes came, or "begin",
 * what is done when the first bytes came, e.g. its own cancel.  Answers, a
 * line each:
 *
 *     {"id", "status", "reason", "text", "retry", "obj"}
 *     {"id", "status", "text", "retry", "body"}       of fetch
 *     {"id", "part"}
 */

#include <unistd.h>

#include "../../plugin-host/plugins/kubernetes/k8s_int.h"
#include "loop_host.h"


typedef struct ask_s  ask_t;

struct ask_s {
    ask_t         *next;
    char          *id;
    k8s_req_t     *req;
    bk_fetch_t    *fetch;
    json_t        *begin;
    json_int_t     stop;            /* 0: never */
    json_int_t     seen;
};


static const bk_host_t  *host;
static k8s_t            *k8s;
static bk_fetcher_t     *fetcher;
static ask_t            *asks;
static char             *line;
static size_t            line_len;


static void command(json_t *c);


static void
say(json_t *answer)
{
    char  *text = json_dumps(answer, JSON_COMPACT | JSON_SORT_KEYS);

    printf("%s\n", text);
    fflush(stdout);
    free(text);
    json_decref(answer);
}


static ask_t *
ask_new(const json_t *c)
{
    ask_t  *a = calloc(1, sizeof(ask_t));

    a->id = strdup(json_string_value(json_object_get(c, "id")));
    a->begin = json_incref(json_object_get(c, "begin"));
    a->stop = json_integer_value(json_object_get(c, "stop"));
    a->next = asks;
    asks = a;

    return a;
}


static void
ask_free(ask_t *a)
{
    ask_t  **at;

    for (at = &asks; *at != a; at = &(*at)->next) {
        /* void */
    }

    *at = a->next;
    k8s_cancel(&a->req);
    bk_fetch_cancel(&a->fetch);
    json_decref(a->begin);
    free(a->id);
    free(a);
}


static void
answered(void *data, const k8s_answer_t *answer)
{
    ask_t  *a = data;

    a->req = NULL;
    say(json_pack("{s:s, s:i, s:s, s:s, s:i, s:O*}", "id", a->id, "status",
                  answer->status, "reason", answer->reason, "text",
                  answer->text, "retry", (int) answer->retry_after, "obj",
                  answer->obj));
    ask_free(a);
}


static void
fetched(void *data, long status, const char *body, size_t len,
    const char *error)
{
    ask_t  *a = data;

    a->fetch = NULL;
    say(json_pack("{s:s, s:i, s:s, s:i, s:s%}", "id", a->id, "status",
                  (int) status, "text", error, "retry",
                  (int) bk_fetch_retry_after(fetcher), "body", body, len));
    ask_free(a);
}


static int
part(void *data, const char *text, size_t len)
{
    ask_t       *a = data;
    json_t      *begin = a->begin;
    json_int_t   stop = a->stop, seen = a->seen += (json_int_t) len;

    say(json_pack("{s:s, s:s%}", "id", a->id, "part", text, len));

    if (begin != NULL && len > 0) {
        a->begin = NULL;
        command(begin);             /* a may be gone now */
        json_decref(begin);
    }

    return stop > 0 && seen >= stop ? -1 : 0;
}


static const char *
word(const json_t *c, const char *key)
{
    return json_string_value(json_object_get(c, key));
}


static bk_str_t
pem(const json_t *c, const char *key)
{
    const char  *s = word(c, key);

    return (bk_str_t) { s, s != NULL ? strlen(s) : 0 };
}


static uint64_t
number(const json_t *c, const char *key)
{
    return (uint64_t) json_integer_value(json_object_get(c, key));
}


static void
do_fetch(const json_t *c)
{
    ask_t           *a = ask_new(c);
    bk_fetch_req_t   req;

    memset(&req, 0, sizeof(req));
    req.url = word(c, "url");
    req.method = word(c, "method");
    req.body = word(c, "body");
    req.body_len = req.body != NULL ? strlen(req.body) : 0;
    req.content_type = word(c, "type");
    req.ca_file = word(c, "ca_file");
    req.ca = pem(c, "ca");
    req.cert = pem(c, "cert");
    req.key = pem(c, "key");
    req.server_name = word(c, "server_name");
    req.bearer = word(c, "bearer");
    req.bearer_file = word(c, "bearer_file");
    req.insecure = json_is_true(json_object_get(c, "insecure"));
    req.once = json_is_true(json_object_get(c, "once"));
    req.limit = number(c, "limit");
    req.timeout_ms = number(c, "timeout");
    req.silence_ms = number(c, "silence");

    a->fetch = json_is_true(json_object_get(c, "stream"))
               ? bk_fetch_stream(fetcher, &req, part, fetched, a)
               : bk_fetch(fetcher, &req, fetched, a);
}


static void
do_k8s(const json_t *c, const char *what)
{
    ask_t       *a = ask_new(c);
    json_t      *body = json_object_get(c, "body");
    json_t      *kind = json_object_get(c, "kind");
    json_t      *grace = json_object_get(c, "grace");
    const char  *ns = word(c, "ns"), *name = word(c, "name");
    const char  *sub = word(c, "sub");
    k8s_kind_t   k = {
        json_string_value(json_array_get(kind, 0)),
        json_string_value(json_array_get(kind, 1)),
        json_string_value(json_array_get(kind, 2)),
        json_string_value(json_array_get(kind, 3))
    };

    if (strcmp(what, "get") == 0) {
        a->req = k8s_get(k8s, &k, ns, name, answered, a);

    } else if (strcmp(what, "create") == 0) {
        a->req = k8s_create(k8s, &k, ns, body, answered, a);

    } else if (strcmp(what, "replace") == 0) {
        a->req = k8s_replace(k8s, &k, ns, name, sub, body, answered, a);

    } else if (strcmp(what, "patch") == 0) {
        a->req = k8s_patch(k8s, &k, ns, name, sub, body, answered, a);

    } else if (strcmp(what, "apply") == 0) {
        a->req = k8s_apply(k8s, &k, ns, name, body, answered, a);

    } else if (strcmp(what, "delete") == 0) {
        a->req = k8s_delete(k8s, &k, ns, name, word(c, "uid"),
                            word(c, "version"), grace != NULL
                            ? (int) json_integer_value(grace) : -1,
                            answered, a);

    } else {
        a->req = k8s_stream(k8s, word(c, "path"), number(c, "silence"), part,
                            answered, a);
    }
}


static void
command(json_t *c)
{
    ask_t       *a;
    const char  *what = word(c, "do");

    if (strcmp(what, "quit") == 0) {
        event_base_loopbreak(loop_base);

    } else if (strcmp(what, "cancel") == 0) {
        for (a = asks; a != NULL; a = a->next) {
            if (strcmp(a->id, word(c, "id")) == 0) {
                ask_free(a);
                break;
            }
        }

        say(json_pack("{s:O, s:b}", "id", json_object_get(c, "id"),
                      "cancelled", a != NULL));

    } else if (strcmp(what, "fetch") == 0) {
        do_fetch(c);

    } else {
        do_k8s(c, what);
    }
}


static void
readable(evutil_socket_t fd, short what, void *data)
{
    char     *end;
    size_t    len;
    json_t   *c;
    ssize_t   n;

    (void) what;
    (void) data;

    line = realloc(line, line_len + 65536);
    n = read(fd, line + line_len, 65536);

    if (n <= 0) {
        event_base_loopbreak(loop_base);
        return;
    }

    line_len += (size_t) n;

    while ((end = memchr(line, '\n', line_len)) != NULL) {
        len = (size_t) (end - line) + 1;
        c = json_loadb(line, len, 0, NULL);

        if (c == NULL) {
            printf("error: no JSON\n");
            exit(1);
        }

        command(c);
        json_decref(c);
        line_len -= len;
        memmove(line, line + len, line_len);
    }
}


int
main(int argc, char **argv)
{
    bk_err_t       err;
    k8s_conf_t    *conf;
    struct event  *input;

    memset(&err, 0, sizeof(err));
    host = loop_host_new();

    if (argc > 1) {
        if (k8s_conf_load(&conf, argv[1], argc > 2 ? argv[2] : NULL, &err)
            != 0)
        {
            printf("error %d %s %s (%s)\n", err.code, err.reason, err.text,
                   err.hint);
            return 1;
        }

        k8s = k8s_new(host, conf);
    }

    fetcher = bk_fetcher_new(host);
    input = event_new(loop_base, 0, EV_READ | EV_PERSIST, readable, NULL);
    event_add(input, NULL);

    printf("ready %s %s\n", argc > 1 ? k8s_conf_server(k8s_conf(k8s)) : "-",
           argc > 1 ? k8s_conf_namespace(k8s_conf(k8s)) : "-");
    fflush(stdout);
    event_base_dispatch(loop_base);

    while (asks != NULL) {
        ask_free(asks);
    }

    event_free(input);
    k8s_free(&k8s);
    bk_fetcher_free(&fetcher);
    event_base_free(loop_base);
    free(line);

    return 0;
}
