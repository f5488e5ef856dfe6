/*
 * What the controller answers: see controller.h.  Other programs' JSON: each
 * field is checked, and nothing of a broken answer is used.  The look-up of
 * smrt-devops/buildkit-controller says endpoint, worker and pool and nothing
 * else, and "Token not found or expired" with 404 in plain text.
 */

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "controller.h"


static void ctl_answer_good(json_t *obj, int local, ctl_answer_t *out);
static const char *ctl_answer_string(json_t *obj, const char *key,
    const char **bad);
static int ctl_answer_state(const char *s);
static int ctl_answer_time(const char *s, uint64_t *ms);
static int ctl_answer_endpoint(const char *s, int local, char *buf,
    size_t size);
static int ctl_answer_address(const char *s, int local, int *six);
static int ctl_answer_inet(uint32_t a, int local);
static int ctl_answer_inet6(const struct in6_addr *in, int local);
static int ctl_answer_name(const char *s, size_t max);
static void ctl_answer_gone(const char *text, ctl_answer_t *out);
static void ctl_answer_missing(const char *body, size_t len,
    ctl_answer_t *out);
static void ctl_answer_refused(long status, const char *body, size_t len,
    ctl_answer_t *out);
static int ctl_answer_error(const char *body, size_t len, char *buf,
    size_t size, char *reason, size_t reason_size);
static void ctl_answer_trouble(ctl_answer_t *out, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));


static const struct {
    const char  *name;
    const char  *verb;          /* as a text of ours says it */
    int          state;
} ctl_states[] = {
    { "queued", NULL, BK_ALLOC_QUEUED },
    { "starting", NULL, BK_ALLOC_STARTING },
    { "ready", NULL, BK_ALLOC_READY },
    { "draining", NULL, BK_ALLOC_DRAINING },
    { "expired", " expired at ", BK_ALLOC_EXPIRED },
    { "released", " was released at ", BK_ALLOC_RELEASED },
    { "revoked", " was revoked at ", BK_ALLOC_REVOKED },
    { "failed", " failed at ", BK_ALLOC_FAILED }
};

#define CTL_STATES  (sizeof(ctl_states) / sizeof(ctl_states[0]))


void
ctl_answer_read(long status, const char *body, size_t len, const char *error,
    int local, ctl_answer_t *out)
{
    char     text[BK_LOOKUP_TEXT_LEN];
    json_t  *obj;

    memset(out, 0, sizeof(ctl_answer_t));

    switch (status) {

    case 0:
        ctl_answer_trouble(out, "%.150s", error);
        return;

    case 200:
        obj = json_loadb(body, len, JSON_REJECT_DUPLICATES, NULL);

        if (json_is_object(obj)) {
            ctl_answer_good(obj, local, out);

        } else {
            ctl_answer_trouble(out, "its answer is no JSON object");
        }

        json_decref(obj);
        return;

    case 404:
        ctl_answer_missing(body, len, out);
        return;

    case 410:
        (void) ctl_answer_error(body, len, text, sizeof(text), NULL, 0);
        ctl_answer_gone(text, out);
        return;

    default:
        ctl_answer_refused(status, body, len, out);
    }
}


static void
ctl_answer_good(json_t *obj, int local, ctl_answer_t *out)
{
    const char  *bad = NULL, *endpoint, *worker, *pool, *tls, *state, *until,
                *reason;

    endpoint = ctl_answer_string(obj, "workerEndpoint", &bad);
    worker = ctl_answer_string(obj, "workerName", &bad);
    pool = ctl_answer_string(obj, "poolName", &bad);
    tls = ctl_answer_string(obj, "tlsServerName", &bad);
    state = ctl_answer_string(obj, "state", &bad);
    until = ctl_answer_string(obj, "expiresAt", &bad);
    reason = ctl_answer_string(obj, "reason", &bad);

    out->state = state[0] == '\0' ? BK_ALLOC_READY : ctl_answer_state(state);

    if (out->state == 0) {
        bad = "state";
    }

    if (!ctl_answer_name(pool, sizeof(out->pool) - 1)) {
        bad = "poolName";
    }

    if (until[0] != '\0' && ctl_answer_time(until, &out->expires_ms) != 0) {
        bad = "expiresAt";
    }

    if (!ctl_answer_name(worker, CTL_NAME_MAX) || strchr(worker, '/') != NULL
        || (worker[0] == '\0' && out->state != BK_ALLOC_QUEUED
            && !bk_alloc_ended(out->state)))
    {
        bad = "workerName";
    }

    if (!ctl_answer_name(tls, CTL_NAME_MAX) || strchr(tls, '/') != NULL) {
        bad = "tlsServerName";
    }

    if (endpoint[0] != '\0'
        ? ctl_answer_endpoint(endpoint, local, out->endpoint,
                              sizeof(out->endpoint)) != 0
        : out->state == BK_ALLOC_READY || out->state == BK_ALLOC_DRAINING)
    {
        bad = "workerEndpoint";
    }

    if (bad != NULL) {
        ctl_answer_trouble(out, "its answer's %s is no good", bad);
        return;
    }

    out->said = bk_alloc_ended(out->state) ? ctl_said_ended_e
                                           : ctl_said_known_e;
    snprintf(out->worker, sizeof(out->worker), "%s", worker);
    snprintf(out->pool, sizeof(out->pool), "%s", pool);
    snprintf(out->tls_name, sizeof(out->tls_name), "%s", tls);
    snprintf(out->text, sizeof(out->text), "%s", reason);
    bk_err_clean(out->text);
}


/* "" for what is absent or null */

static const char *
ctl_answer_string(json_t *obj, const char *key, const char **bad)
{
    json_t  *v = json_object_get(obj, key);

    if (v == NULL || json_is_null(v)) {
        return "";
    }

    if (!json_is_string(v)
        || strlen(json_string_value(v)) != json_string_length(v))
    {
        *bad = key;
        return "";
    }

    return json_string_value(v);
}


static int
ctl_answer_state(const char *s)
{
    size_t  i;

    for (i = 0; i < CTL_STATES; i++) {
        if (strcmp(s, ctl_states[i].name) == 0) {
            return ctl_states[i].state;
        }
    }

    return 0;
}


/* RFC 3339 in UTC, with any fraction. */

static int
ctl_answer_time(const char *s, uint64_t *ms)
{
    int         n = 0;
    time_t      t;
    struct tm   tm;

    memset(&tm, 0, sizeof(tm));

    if (strlen(s) > 40
        || sscanf(s, "%4d-%2d-%2dT%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon,
                  &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &n) != 6
        || n != 19)
    {
        return -1;
    }

    s += n;

    if (*s == '.') {
        s += 1 + strspn(s + 1, "0123456789");
    }

    if (strcmp(s, "Z") != 0) {
        return -1;
    }

    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    t = timegm(&tm);

    if (t <= 0) {
        return -1;
    }

    *ms = (uint64_t) t * 1000;

    return 0;
}


/* [tcp://]ADDRESS:PORT as the table's writer wants it; the Go project forgets
 * the brackets of an IPv6 address, and always writes the port. */

static int
ctl_answer_endpoint(const char *s, int local, char *buf, size_t size)
{
    int            brackets, six;
    char           address[INET6_ADDRSTRLEN + 2], *end;
    size_t         len;
    const char    *colon;
    unsigned long  port;

    if (strncmp(s, "tcp://", 6) == 0) {
        s += 6;
    }

    colon = strrchr(s, ':');

    if (colon == NULL || colon[1] < '0' || colon[1] > '9'
        || strlen(colon + 1) > 5)
    {
        return -1;
    }

    port = strtoul(colon + 1, &end, 10);
    len = (size_t) (colon - s);

    if (*end != '\0' || port == 0 || port > 65535 || len == 0
        || len >= sizeof(address))
    {
        return -1;
    }

    brackets = s[0] == '[' && s[len - 1] == ']';

    if (brackets) {
        s++;
        len -= 2;
    }

    memcpy(address, s, len);
    address[len] = '\0';

    if (!ctl_answer_address(address, local, &six) || (brackets && !six)) {
        return -1;
    }

    return (size_t) snprintf(buf, size, six ? "[%s]:%lu" : "%s:%lu", address,
                             port) < size ? 0 : -1;
}


static int
ctl_answer_address(const char *s, int local, int *six)
{
    struct in_addr   in;
    struct in6_addr  in6;

    *six = inet_pton(AF_INET6, s, &in6) == 1;

    if (*six) {
        return ctl_answer_inet6(&in6, local);
    }

    return inet_pton(AF_INET, s, &in) == 1
           && ctl_answer_inet(ntohl(in.s_addr), local);
}


static int
ctl_answer_inet(uint32_t a, int local)
{
    return a >> 24 != 0                         /* this network */
           && (local || a >> 24 != 127)
           && a >> 16 != 0xa9fe                 /* link-local, metadata */
           && a >> 28 < 0xe;                    /* multicast, reserved */
}


/* One that means an IPv4 address is another spelling of it. */

static int
ctl_answer_inet6(const struct in6_addr *in, int local)
{
    return !IN6_IS_ADDR_UNSPECIFIED(in)
           && (local || !IN6_IS_ADDR_LOOPBACK(in))
           && !IN6_IS_ADDR_LINKLOCAL(in) && !IN6_IS_ADDR_MULTICAST(in)
           && !IN6_IS_ADDR_V4MAPPED(in)
           && (IN6_IS_ADDR_LOOPBACK(in) || !IN6_IS_ADDR_V4COMPAT(in));
}


/* of a worker, a pool, a host */

static int
ctl_answer_name(const char *s, size_t max)
{
    return strlen(s) <= max
           && strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                        "0123456789-_./") == strlen(s);
}


/*
 * It has ended; our own controller says how, when and why in one sentence:
 * "allocation ID was revoked at TIME: REASON".
 */

static void
ctl_answer_gone(const char *text, ctl_answer_t *out)
{
    size_t       i;
    const char  *verb, *why;

    out->said = ctl_said_ended_e;
    out->state = BK_ALLOC_RELEASED;
    snprintf(out->text, sizeof(out->text), "%s", text);

    for (i = 0; i < CTL_STATES; i++) {
        if (ctl_states[i].verb == NULL) {
            continue;
        }

        verb = strstr(text, ctl_states[i].verb);

        if (verb != NULL) {
            out->state = ctl_states[i].state;
            why = strstr(verb, "Z: ");
            snprintf(out->text, sizeof(out->text), "%s",
                     why != NULL ? why + 3 : "");
            return;
        }
    }
}


/* There is no such token, or there is no such API. */

static void
ctl_answer_missing(const char *body, size_t len, ctl_answer_t *out)
{
    char  text[BK_LOOKUP_TEXT_LEN], reason[48];

    if (ctl_answer_error(body, len, text, sizeof(text), reason,
                         sizeof(reason)) == 0
        ? strcmp(reason, "AllocationNotFound") != 0 && reason[0] != '\0'
        : text[0] == '<' || strstr(text, "page not found") != NULL)
    {
        ctl_answer_trouble(out, "404 %.150s; is the endpoint that of a "
                           "controller?", text);
        return;
    }

    out->said = ctl_said_unknown_e;
}


static void
ctl_answer_refused(long status, const char *body, size_t len,
    ctl_answer_t *out)
{
    char  text[BK_LOOKUP_TEXT_LEN];

    (void) ctl_answer_error(body, len, text, sizeof(text), NULL, 0);
    ctl_answer_trouble(out, "it answers %ld%s%.150s", status,
                       text[0] != '\0' ? ": " : "", text);
}


/* 0: it is an error as ours are; -1: it is text. */

static int
ctl_answer_error(const char *body, size_t len, char *buf, size_t size,
    char *reason, size_t reason_size)
{
    int          rc;
    size_t       n;
    json_t      *obj;
    const char  *bad = NULL, *s;

    obj = json_loadb(body, len, JSON_REJECT_DUPLICATES, NULL);
    s = ctl_answer_string(obj, "error", &bad);

    rc = s[0] != '\0' ? 0 : -1;

    if (rc == 0) {
        snprintf(buf, size, "%s", s);

        if (reason != NULL) {
            s = ctl_answer_string(obj, "reason", &bad);
            snprintf(reason, reason_size, "%s", s);
        }

    } else {
        n = len < size ? len : size - 1;
        memcpy(buf, body, n);
        buf[n] = '\0';
        buf[strcspn(buf, "\r\n")] = '\0';
    }

    json_decref(obj);
    bk_err_clean(buf);

    return rc;
}


static void
ctl_answer_trouble(ctl_answer_t *out, const char *fmt, ...)
{
    va_list  args;

    memset(out, 0, sizeof(ctl_answer_t));
    out->said = ctl_said_trouble_e;

    va_start(args, fmt);
    vsnprintf(out->text, sizeof(out->text), fmt, args);
    va_end(args);

    bk_err_clean(out->text);
}
