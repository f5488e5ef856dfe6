/*
 * A host for the requests of allocate.c: it finds or refuses as the input
 * says, checks what it is given, and counts answers.
 */

#ifndef BK_FUZZ_ALLOCATE_HOST_H_INCLUDED
#define BK_FUZZ_ALLOCATE_HOST_H_INCLUDED

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocator.h"


#define FUZZ_ROUTES  6              /* those of a body alone */
#define FUZZ_NOW_MS  UINT64_C(1800000000000)

/* the second byte: what is so */
#define FUZZ_WAITS    1     /* bk_make() says yes; then the caller goes */
#define FUZZ_RULE     2     /* with a limit of its own */
#define FUZZ_FULL     4     /* the queue; the journal cannot write */
#define FUZZ_NOBODY   8     /* no identity; no allocation in the model */
#define FUZZ_NONE    16     /* no pool; none in the journal */
#define FUZZ_OVER    32     /* has ended */
#define FUZZ_GONE    64     /* the caller, before the journal is done */
#define FUZZ_QUEUED 128     /* has no worker */


static struct {
    int             how;
    int             answers;
    int             pooled;         /* the pool's name is in the error */
    int             gone_called;
    bk_str_t        claims;
    bk_err_t        said;
    void          (*gone)(bk_request_t *r, void *data);
    void           *gone_data;
    bk_journal_pt   done;
    void           *done_data;
} fuzz;

static bk_host_t        fuzz_h;
static bk_allocator_t   fuzz_a;
static bk_http_pt       fuzz_routes[32];
static size_t           fuzz_nroutes;
static bk_home_t       *fuzz_home;
static bk_timer_t      *fuzz_timer = (bk_timer_t *) &fuzz;
static bk_request_t    *fuzz_r = (bk_request_t *) &fuzz;


static void
fuzz_reset(int how)
{
    memset(&fuzz, 0, sizeof(fuzz));
    fuzz.how = how;
    fuzz.claims = BK_STR("");
}


/* The journal is done, or the caller goes first. */

static void
fuzz_after(void)
{
    bk_err_t  err;

    if (fuzz.answers == 0 && fuzz.gone != NULL
        && (fuzz.done == NULL || (fuzz.how & FUZZ_GONE)))
    {
        fuzz.gone_called = 1;
        fuzz.gone(fuzz_r, fuzz.gone_data);
    }

    if (fuzz.done != NULL) {
        memset(&err, 0, sizeof(err));
        (void) bk_fail(&err, 503, "JournalFailed", "try again", "no space");
        fuzz.done(fuzz.done_data, fuzz.how & FUZZ_FULL ? &err : NULL);
    }
}


static void
fuzz_later(bk_journal_pt done, void *data)
{
    assert(fuzz.done == NULL && done != NULL);
    fuzz.done = done;
    fuzz.done_data = data;
}


/* The host. */

static void __attribute__((format(printf, 3, 4)))
fuzz_log(const bk_host_t *h, int level, const char *fmt, ...)
{
    char     line[4096];
    va_list  args;

    (void) h;
    (void) level;

    va_start(args, fmt);
    (void) vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
}


static uint64_t
fuzz_now(const bk_host_t *h)
{
    (void) h;

    return FUZZ_NOW_MS;
}


static bk_timer_t *
fuzz_timer_new(const bk_host_t *h, bk_timer_pt fire, void *data)
{
    (void) h;
    (void) data;
    assert(fire != NULL);

    return fuzz_timer;
}


static void
fuzz_timer_set(bk_timer_t *t, uint64_t ms)
{
    assert(t == fuzz_timer && ms <= fuzz_a.max_wait_ms);
}


static void
fuzz_timer_free(bk_timer_t **t)
{
    assert(*t == fuzz_timer);
    *t = NULL;
}


static int
fuzz_route(const bk_host_t *h, const char *method, const char *pattern,
    int verb, bk_http_pt handler, void *data, bk_err_t *err)
{
    (void) h;
    (void) method;
    (void) pattern;
    (void) verb;
    (void) err;
    assert(data == &fuzz_a);
    assert(fuzz_nroutes < sizeof(fuzz_routes) / sizeof(fuzz_routes[0]));
    assert(fuzz_nroutes >= FUZZ_ROUTES || strchr(pattern, '*') == NULL);
    fuzz_routes[fuzz_nroutes++] = handler;

    return 0;
}


static void
fuzz_reply(bk_request_t *r, int status, const char *type, bk_str_t body)
{
    json_t  *json;

    assert(r == fuzz_r && !fuzz.gone_called);
    assert(status == 200 && strcmp(type, "application/json") == 0);

    json = json_loadb(body.data, body.len, JSON_REJECT_DUPLICATES, NULL);
    assert(json_is_object(json));
    json_decref(json);
    fuzz.answers++;
}


static void
fuzz_fail(bk_request_t *r, const bk_err_t *err)
{
    size_t   i;
    json_t  *said;

    assert(r == fuzz_r && !fuzz.gone_called);
    assert(err->code >= 400 && err->code < 600);
    assert(err->reason[0] >= 'A' && err->reason[0] <= 'Z');
    assert(err->text[0] != '\0');

    for (i = 0; err->text[i] != '\0'; i++) {
        assert((unsigned char) err->text[i] >= 0x20);
    }

    /* good for JSON */
    said = json_pack("[sss]", err->reason, err->text, err->hint);
    assert(said != NULL);
    json_decref(said);

    fuzz.said = *err;
    fuzz.answers++;
}


static void
fuzz_on_gone(bk_request_t *r, void (*gone)(bk_request_t *r, void *data),
    void *data)
{
    assert(r == fuzz_r && !fuzz.gone_called);
    fuzz.gone = gone;
    fuzz.gone_data = data;
}


static int
fuzz_query(bk_request_t *r, const char *name, char *buf, size_t size)
{
    (void) r;
    (void) name;
    (void) snprintf(buf, size, "1");

    return fuzz.how & FUZZ_RULE ? 0 : -1;
}


static void
fuzz_header(bk_request_t *r, const char *name, const char *value)
{
    (void) r;
    assert(name[0] != '\0' && value[0] != '\0');
}


static int
fuzz_identity(bk_request_t *r, bk_identity_t *out)
{
    (void) r;

    if (fuzz.how & FUZZ_NOBODY) {
        return -1;
    }

    *out = (bk_identity_t) {
        .name = BK_STR("main:octo"),
        .source = BK_STR("main"),
        .claims = fuzz.claims
    };

    return 0;
}


static int
fuzz_allowed(bk_request_t *r, int verb, bk_str_t pool, bk_decision_t *out,
    size_t size, bk_err_t *err)
{
    (void) r;
    (void) err;
    assert(verb == BK_VERB_ALLOCATE || verb == BK_VERB_CERTS);
    assert(pool.len > 0 && pool.len < BK_TABLE_POOL_LEN);
    assert(size == sizeof(bk_decision_t));

    *out = (bk_decision_t) { .rule = BK_STR("main-builds") };
    out->max_ttl_ms = fuzz.how & FUZZ_RULE ? 60 * BK_SECOND : 0;

    return 0;
}


static int
fuzz_pool_find(const bk_host_t *h, bk_str_t name, bk_pool_info_t *out)
{
    (void) h;
    *out = (bk_pool_info_t) { .name = name };
    fuzz.pooled = 1;

    return fuzz.how & FUZZ_NONE ? -1 : 0;
}


static int
fuzz_pool_each(const bk_host_t *h, bk_pool_pt fn, void *data)
{
    bk_pool_info_t  one = { .name = BK_STR("default/demo") };
    bk_pool_info_t  other = { .name = BK_STR("team/demo") };

    (void) h;

    return fn(&other, data) != 0 ? -1 : fn(&one, data);
}


static bk_str_t
fuzz_labels_of(const bk_host_t *h, bk_str_t pool)
{
    (void) h;

    return pool.len > sizeof("team/demo") - 1
           ? BK_STR("{\"tier\":\"big\"}") : BK_STR("");
}


static int
fuzz_worker_find(const bk_host_t *h, bk_str_t pool, bk_str_t name,
    bk_worker_info_t *out)
{
    (void) h;
    *out = (bk_worker_info_t) {
        .pool = pool, .name = name, .endpoint = BK_STR("127.0.0.1:7001"),
        .tls_name = BK_STR("w1"), .message = BK_STR("said \"this\"\n"),
        .state = BK_WORKER_READY
    };

    return fuzz.how & FUZZ_NONE ? -1 : 0;
}


static int
fuzz_alloc_find(const bk_host_t *h, const uint8_t *hash,
    bk_alloc_info_t *out)
{
    (void) h;

    if (fuzz.how & FUZZ_NOBODY) {
        return -1;
    }

    *out = (bk_alloc_info_t) {
        .hash = hash, .pool = BK_STR("default/demo"),
        .worker = BK_STR("w1"), .reason = BK_STR(""),
        .expires_ms = FUZZ_NOW_MS + BK_HOUR, .changed_ms = FUZZ_NOW_MS,
        .state = BK_ALLOC_READY
    };

    if (fuzz.how & FUZZ_OVER) {
        out->state = BK_ALLOC_FAILED;
        out->reason = BK_STR("its worker \"w1\" stopped");

    } else if (fuzz.how & FUZZ_QUEUED) {
        out->state = BK_ALLOC_QUEUED;
        out->worker = BK_STR("");
    }

    return 0;
}


static int
fuzz_alloc_put(const bk_host_t *h, const bk_alloc_info_t *info,
    bk_err_t *err)
{
    (void) h;
    (void) err;
    assert(info->expires_ms >= FUZZ_NOW_MS + BK_SECOND);

    return 0;
}


static int
fuzz_cert(const bk_host_t *h, const bk_cert_request_t *req, bk_cert_t *out,
    bk_err_t *err)
{
    (void) h;
    (void) err;
    assert(req->kind == BK_CERT_CLIENT);
    assert(req->cn.len > 6 && req->cn.len <= 6 + BK_TOKEN_MAX);
    assert(memcmp(req->cn.data, "alloc:", 6) == 0);
    assert(bk_token_valid(req->cn.data + 6, req->cn.len - 6));
    assert(req->not_after_ms > FUZZ_NOW_MS);

    *out = (bk_cert_t) { .cert = BK_STR("cert"), .ca = BK_STR("ca") };

    return 0;
}


static void
fuzz_audit(const bk_host_t *h, bk_request_t *r, const char *what,
    const char *outcome, bk_str_t members)
{
    char    *text;
    json_t  *json;

    (void) h;
    (void) r;
    assert(what[0] != '\0' && outcome[0] != '\0');

    text = malloc(members.len + 3);
    assert(text != NULL);
    (void) snprintf(text, members.len + 3, "{%.*s}", (int) members.len,
                    members.data);
    json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert(json_is_object(json));
    json_decref(json);
    free(text);
}


static void
fuzz_host_init(void)
{
    fuzz_h = (bk_host_t) {
        .log = fuzz_log, .now_ms = fuzz_now, .monotonic_ms = fuzz_now,
        .timer_new = fuzz_timer_new, .timer_set = fuzz_timer_set,
        .timer_free = fuzz_timer_free, .http_route_for = fuzz_route,
        .http_reply = fuzz_reply, .http_fail = fuzz_fail,
        .http_on_gone = fuzz_on_gone, .http_query = fuzz_query,
        .http_header = fuzz_header, .http_identity = fuzz_identity,
        .http_allowed = fuzz_allowed, .pool_find = fuzz_pool_find,
        .pool_each = fuzz_pool_each, .pool_labels_of = fuzz_labels_of,
        .worker_find = fuzz_worker_find, .alloc_find = fuzz_alloc_find,
        .alloc_put = fuzz_alloc_put, .cert_issue = fuzz_cert,
        .audit = fuzz_audit
    };

    fuzz_a.host = &fuzz_h;
    fuzz_a.default_ttl_ms = BK_HOUR;
    fuzz_a.max_ttl_ms = 24 * BK_HOUR;
    fuzz_a.default_wait_ms = 300 * BK_SECOND;
    fuzz_a.max_wait_ms = BK_HOUR;
    fuzz_a.max_queued = 10;
    TAILQ_INIT(&fuzz_a.calls);
    TAILQ_INIT(&fuzz_a.retries);

    fuzz_home = calloc(1, sizeof(bk_home_t) + 16);
    assert(fuzz_home != NULL);
}

#endif /* BK_FUZZ_ALLOCATE_HOST_H_INCLUDED */
