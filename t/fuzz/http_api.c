/*
 * FUZZ_SOURCES: plugin-host/src/[!m]*.c plugin-host/src/mo*.c
 * FUZZ_LIBS: -levent_core -levent_extra -lcyaml -lyaml -ljansson -lcrypto
 *     -lpcre2-8 -lcurl -ldl
 */

/*
 * Bytes into the HTTP server and its routes, in process: a socketpair in
 * place of a client, a real model and table behind it.  The first byte says
 * which listener and how large the pieces are.  Whatever comes, an answer
 * begins like one, and no connection is left when the client has gone.
 */

#include <assert.h>
#include <event2/event.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gate.h"
#include "host.h"
#include "log.h"


int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_facts(void);
static void fuzz_remove(void);
static void fuzz_echo(bk_request_t *r, const bk_request_info_t *info,
    void *data);
static void fuzz_turn(int fd, char *first, size_t *got);


static bk_core_t  core;
static bk_conf_t  conf;
static char       table[64];
static char       lock[80];


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    bk_err_t         err;
    bk_model_conf_t  m;

    (void) argc;
    (void) argv;

    snprintf(table, sizeof(table), "/dev/shm/bk-fuzz-%d.table",
             (int) getpid());
    snprintf(lock, sizeof(lock), "%s.lock", table);
    atexit(fuzz_remove);

    bk_log_set(0, BK_LOG_TEXT);
    conf.endpoint = "tcp://localhost:1235";
    core.conf = &conf;
    core.base = event_base_new();
    core.httpd = bk_httpd_new(core.base);
    core.plugins = bk_plugins_new(&core, "/");

    memset(&m, 0, sizeof(m));
    m.table.path = table;
    m.table.allocations = 64;
    m.table.workers = 8;
    m.table.pools = 4;
    m.keep_ended_ms = 1000;

    /* the peer of a socketpair is ourselves, who may do everything; a bearer
       token is nobody's */
    if (bk_access_new(&core.access, &conf, &err) != 0) {
        abort();
    }

    bk_gate_new(&core);

    if (core.httpd == NULL
        || bk_model_new(&core.model, core.base, &m, &err) != 0
        || bk_api_routes(&core, &err) != 0
        || bk_httpd_route_for(core.httpd, BK_HTTP_API, "POST",
                              "/api/v1/pools/*/wake", BK_VERB_WAKE, fuzz_echo,
                              NULL, "fuzz", &err) != 0)
    {
        abort();
    }

    fuzz_facts();

    return 0;
}


static void
fuzz_facts(void)
{
    uint8_t           hash[32];
    bk_err_t          err;
    bk_pool_info_t    pool;
    bk_alloc_info_t   alloc;
    bk_worker_info_t  worker;

    memset(&pool, 0, sizeof(pool));
    pool.name = BK_STR("a/b");

    memset(&worker, 0, sizeof(worker));
    worker.pool = pool.name;
    worker.name = BK_STR("w1");
    worker.endpoint = BK_STR("127.0.0.1:7001");
    worker.tls_name = BK_STR("w1");
    worker.message = BK_STR("\xc3\xa4\xff said \"this\"");
    worker.state = BK_WORKER_READY;

    memset(hash, 1, sizeof(hash));
    memset(&alloc, 0, sizeof(alloc));
    alloc.hash = hash;
    alloc.pool = pool.name;
    alloc.worker = worker.name;
    alloc.state = BK_ALLOC_READY;

    if (bk_model_pool_put(core.model, &core, &pool, &err) != 0
        || bk_model_worker_put(core.model, &core, &worker, &err) != 0
        || bk_model_alloc_put(core.model, &core, &alloc, &err) != 0)
    {
        abort();
    }
}


static void
fuzz_remove(void)
{
    (void) unlink(table);
    (void) unlink(lock);
}


/* What a plugin does with a request: its body as JSON, and a query. */

static void
fuzz_echo(bk_request_t *r, const bk_request_info_t *info, void *data)
{
    char      q[16];
    json_t   *json;
    bk_err_t  err;

    (void) data;

    assert(info->param.len > 0);
    assert(info->body.len <= BK_HTTP_BODY_MAX);

    json = json_loadb(info->body.data, info->body.len, 0, NULL);

    if (json == NULL) {
        memset(&err, 0, sizeof(err));
        err.code = 400;
        snprintf(err.text, sizeof(err.text), "no JSON for %.*s",
                 (int) info->param.len, info->param.data);
        bk_httpd_fail(r, &err);
        return;
    }

    json_decref(json);

    if (bk_httpd_query(r, "namespace", q, sizeof(q)) == 0) {
        bk_httpd_header(r, "X-Namespace", q);
    }

    bk_httpd_reply(r, 200, "application/json", info->path);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int      pair[2], i;
    char     first[16];
    size_t   got = 0, at, n, piece;
    ssize_t  w;

    if (size < 2 || size > 200000) {
        return 0;
    }

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
                   pair) == -1)
    {
        abort();
    }

    memset(first, 0, sizeof(first));
    bk_httpd_accept(core.httpd, data[0] & 1, pair[1], "fuzz");

    piece = (data[0] >> 1) ? (size_t) (data[0] >> 1) * 16 : size;
    data++;
    size--;

    for (at = 0; at < size; at += n) {
        n = size - at < piece ? size - at : piece;
        w = send(pair[0], data + at, n, MSG_NOSIGNAL);

        if (w <= 0) {
            break;
        }

        n = (size_t) w;
        fuzz_turn(pair[0], first, &got);
    }

    shutdown(pair[0], SHUT_WR);

    for (i = 0; i < 4; i++) {
        fuzz_turn(pair[0], first, &got);
    }

    if (got >= 12) {
        assert(memcmp(first, "HTTP/1.1 ", 9) == 0);
    }

    close(pair[0]);
    bk_httpd_drop(core.httpd);
    assert(bk_httpd_connections(core.httpd) == 0);

    return 0;
}


static void
fuzz_turn(int fd, char *first, size_t *got)
{
    char     buf[65536];
    ssize_t  n;

    event_base_loop(core.base, EVLOOP_NONBLOCK);

    while ((n = recv(fd, buf, sizeof(buf), 0)) > 0) {
        if (*got < 12) {
            memcpy(first + *got, buf,
                   (size_t) n < 12 - *got ? (size_t) n : 12 - *got);
        }

        *got += (size_t) n;
    }
}
