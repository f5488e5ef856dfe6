/* static.yaml: schema and checks.  See static_file.h. */

#include <arpa/inet.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bk_table.h"
#include "static_file.h"


#define STATIC_MAX        (32 * 1024 * 1024)
#define STATIC_TOKEN_MIN  32
#define STATIC_SHARED_MAX 100000

#define STATIC_NAME_CHARS                                                     \
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
#define STATIC_TOKEN_CHARS                                                    \
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

#define STATIC_OPT  (CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL)


static int static_check(static_file_t *f, bk_err_t *err);
static int static_check_pool(static_file_t *f, unsigned i, bk_err_t *err);
static int static_check_shared(static_pool_t *p);
static int static_check_worker(static_file_t *f, unsigned i, unsigned j,
    bk_err_t *err);
static int static_check_alloc(static_file_t *f, unsigned i, bk_err_t *err);
static int static_check_where(static_file_t *f, unsigned i, bk_err_t *err);
static int static_check_token(static_file_t *f, unsigned i, bk_err_t *err);
static int static_check_twice(static_file_t *f, bk_err_t *err);
static int static_by_hash(const void *a, const void *b);
static int static_endpoint_ok(const char *s);
static int static_hex(const char *s, uint8_t *out);
static int static_time(const char *s, uint64_t *ms);
static int static_fail(static_file_t *f, bk_err_t *err, unsigned i,
    const char *key, const char *text);


static const cyaml_strval_t  static_states[] = {
    { "queued", BK_ALLOC_QUEUED },
    { "starting", BK_ALLOC_STARTING },
    { "ready", BK_ALLOC_READY },
    { "draining", BK_ALLOC_DRAINING },
    { "expired", BK_ALLOC_EXPIRED },
    { "released", BK_ALLOC_RELEASED },
    { "revoked", BK_ALLOC_REVOKED },
    { "failed", BK_ALLOC_FAILED }
};

static const cyaml_schema_field_t  static_worker_fields[] = {
    CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER, static_worker_t, name,
                           1, 253),
    CYAML_FIELD_STRING_PTR("endpoint", CYAML_FLAG_POINTER, static_worker_t,
                           endpoint, 1, 63),
    CYAML_FIELD_STRING_PTR("tlsName", CYAML_FLAG_POINTER, static_worker_t,
                           tls_name, 1, 253),
    CYAML_FIELD_STRING_PTR("arch", STATIC_OPT, static_worker_t, arch, 1, 15),
    CYAML_FIELD_END
};

static const cyaml_schema_value_t  static_worker_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, static_worker_t,
                        static_worker_fields)
};

static const cyaml_schema_field_t  static_pool_fields[] = {
    CYAML_FIELD_STRING_PTR("name", CYAML_FLAG_POINTER, static_pool_t, name,
                           3, 317),
    CYAML_FIELD_STRING_PTR("shared", STATIC_OPT, static_pool_t, sharing, 1,
                           10),
    CYAML_FIELD_SEQUENCE("workers", STATIC_OPT, static_pool_t, workers,
                         &static_worker_value, 0, BK_TABLE_MAX_WORKERS),
    CYAML_FIELD_END
};

static const cyaml_schema_value_t  static_pool_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, static_pool_t,
                        static_pool_fields)
};

static const cyaml_schema_field_t  static_alloc_fields[] = {
    CYAML_FIELD_STRING_PTR("token", STATIC_OPT, static_alloc_t, token,
                           STATIC_TOKEN_MIN, 256),
    CYAML_FIELD_STRING_PTR("tokenHash", STATIC_OPT, static_alloc_t,
                           token_hash, 64, 64),
    CYAML_FIELD_STRING_PTR("clientKeyHash", STATIC_OPT, static_alloc_t,
                           key_hash, 64, 64),
    CYAML_FIELD_STRING_PTR("pool", CYAML_FLAG_POINTER, static_alloc_t, pool,
                           3, 317),
    CYAML_FIELD_STRING_PTR("worker", STATIC_OPT, static_alloc_t, worker, 1,
                           253),
    CYAML_FIELD_STRING_PTR("expires", STATIC_OPT, static_alloc_t, expires, 1,
                           40),
    CYAML_FIELD_STRING_PTR("reason", STATIC_OPT, static_alloc_t, reason, 0,
                           180),
    CYAML_FIELD_ENUM("state", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT,
                     static_alloc_t, state, static_states,
                     CYAML_ARRAY_LEN(static_states)),
    CYAML_FIELD_END
};

static const cyaml_schema_value_t  static_alloc_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, static_alloc_t,
                        static_alloc_fields)
};

static const cyaml_schema_field_t  static_fields[] = {
    CYAML_FIELD_SEQUENCE("pools", STATIC_OPT, static_doc_t, pools,
                         &static_pool_value, 0, BK_TABLE_MAX_POOLS),
    CYAML_FIELD_SEQUENCE("allocations", STATIC_OPT, static_doc_t,
                         allocations, &static_alloc_value, 0,
                         BK_TABLE_MAX_ENTRIES),
    CYAML_FIELD_END
};

static const cyaml_schema_value_t  static_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, static_doc_t, static_fields)
};


int
static_file_read(static_file_t *out, const char *path, bk_err_t *err)
{
    void           *doc;
    static_file_t   f;

    memset(&f, 0, sizeof(f));

    if (bk_yaml_read(&f.yaml, path, STATIC_MAX, &static_schema, &doc, err)
        != 0)
    {
        return -1;
    }

    f.doc = doc;

    if (static_check(&f, err) != 0) {
        static_file_free(&f);
        return -1;
    }

    *out = f;

    return 0;
}


int
static_file_parse(static_file_t *out, const char *path, const char *text,
    size_t len, bk_err_t *err)
{
    void           *doc;
    static_file_t   f;

    memset(&f, 0, sizeof(f));

    if (bk_yaml_parse(&f.yaml, path, text, len, &static_schema, &doc, err)
        != 0)
    {
        return -1;
    }

    f.doc = doc;

    if (static_check(&f, err) != 0) {
        static_file_free(&f);
        return -1;
    }

    *out = f;

    return 0;
}


void
static_file_free(static_file_t *f)
{
    unsigned  i;

    for (i = 0; i < f->doc->allocations_count; i++) {
        if (f->doc->allocations[i].token != NULL) {
            explicit_bzero(f->doc->allocations[i].token,
                           strlen(f->doc->allocations[i].token));
        }
    }

    bk_yaml_free(&f->yaml, &static_schema, f->doc);
    free(f->entries);
    memset(f, 0, sizeof(static_file_t));
}


static int
static_check(static_file_t *f, bk_err_t *err)
{
    unsigned       i;
    static_doc_t  *d = f->doc;

    f->entries = calloc(d->allocations_count + 1, sizeof(static_entry_t));
    if (f->entries == NULL) {
        abort();
    }

    for (i = 0; i < d->pools_count; i++) {
        if (static_check_pool(f, i, err) != 0) {
            return -1;
        }
    }

    for (i = 0; i < d->allocations_count; i++) {
        f->entries[i].line = i;

        if (static_check_alloc(f, i, err) != 0) {
            return -1;
        }
    }

    return static_check_twice(f, err);
}


static int
static_check_pool(static_file_t *f, unsigned i, bk_err_t *err)
{
    char            at[64];
    size_t          len;
    unsigned        j;
    const char     *slash;
    static_pool_t  *p = &f->doc->pools[i];

    snprintf(at, sizeof(at), "pools.%u.name", i);
    slash = strchr(p->name, '/');
    len = strlen(p->name);

    if (slash == NULL || slash == p->name || slash == p->name + len - 1
        || strspn(p->name, STATIC_NAME_CHARS) != (size_t) (slash - p->name)
        || strspn(slash + 1, STATIC_NAME_CHARS) != strlen(slash + 1))
    {
        return bk_yaml_err(f->yaml, err, at, "must be namespace/name of "
                           "letters, digits, '-', '_' and '.'");
    }

    for (j = 0; j < i; j++) {
        if (strcmp(f->doc->pools[j].name, p->name) == 0) {
            return bk_yaml_err(f->yaml, err, at, "pool %s is given twice",
                               p->name);
        }
    }

    if (static_check_shared(p) != 0) {
        snprintf(at, sizeof(at), "pools.%u.shared", i);
        return bk_yaml_err(f->yaml, err, at, "must be true, false or how "
                           "many allocations a worker takes: 2 to 100000");
    }

    for (j = 0; j < p->workers_count; j++) {
        if (static_check_worker(f, i, j, err) != 0) {
            return -1;
        }
    }

    return 0;
}


static int
static_check_shared(static_pool_t *p)
{
    char           *end;
    const char     *s = p->sharing;
    unsigned long   n;

    if (s == NULL || strcmp(s, "false") == 0 || strcmp(s, "no") == 0) {
        p->shared = 0;
        return 0;
    }

    if (strcmp(s, "true") == 0 || strcmp(s, "yes") == 0) {
        p->shared = 1;
        return 0;
    }

    /* 1 would be read as "is shared", and meant as "one each" */
    n = strtoul(s, &end, 10);
    p->shared = (int) n;

    return s[0] >= '1' && s[0] <= '9' && *end == '\0' && n >= 2
           && n <= STATIC_SHARED_MAX ? 0 : -1;
}


static int
static_check_worker(static_file_t *f, unsigned i, unsigned j, bk_err_t *err)
{
    char              at[80];
    unsigned          k;
    static_pool_t    *p = &f->doc->pools[i];
    static_worker_t  *w = &p->workers[j];

    snprintf(at, sizeof(at), "pools.%u.workers.%u.name", i, j);

    if (strspn(w->name, STATIC_NAME_CHARS) != strlen(w->name)) {
        return bk_yaml_err(f->yaml, err, at, "must be of letters, digits, "
                           "'-', '_' and '.'");
    }

    for (k = 0; k < j; k++) {
        if (strcmp(p->workers[k].name, w->name) == 0) {
            return bk_yaml_err(f->yaml, err, at, "worker %s is given twice",
                               w->name);
        }
    }

    if (!static_endpoint_ok(w->endpoint)) {
        snprintf(at, sizeof(at), "pools.%u.workers.%u.endpoint", i, j);
        return bk_yaml_err(f->yaml, err, at, "must be a numeric ADDRESS:PORT "
                           "or [ADDRESS]:PORT");
    }

    if (strspn(w->tls_name, STATIC_NAME_CHARS ":") != strlen(w->tls_name)) {
        snprintf(at, sizeof(at), "pools.%u.workers.%u.tlsName", i, j);
        return bk_yaml_err(f->yaml, err, at, "must be a host name or an "
                           "address");
    }

    return 0;
}


static int
static_check_alloc(static_file_t *f, unsigned i, bk_err_t *err)
{
    static_entry_t  *e = &f->entries[i];
    static_alloc_t  *a = &f->doc->allocations[i];

    if (a->state == 0) {
        a->state = BK_ALLOC_READY;
    }

    if (static_check_token(f, i, err) != 0
        || static_check_where(f, i, err) != 0)
    {
        return -1;
    }

    if (a->key_hash != NULL) {
        e->bound = 1;

        if (static_hex(a->key_hash, e->key_hash) != 0) {
            return static_fail(f, err, i, "clientKeyHash",
                               "must be 64 hex digits");
        }
    }

    if (a->expires != NULL && static_time(a->expires, &e->expires_ms) != 0) {
        return static_fail(f, err, i, "expires", "must be a time like "
                           "2027-01-01T00:00:00Z");
    }

    return 0;
}


/* The token becomes its hash at once, and is gone. */

static int
static_check_token(static_file_t *f, unsigned i, bk_err_t *err)
{
    size_t           len;
    static_entry_t  *e = &f->entries[i];
    static_alloc_t  *a = &f->doc->allocations[i];

    if ((a->token != NULL) == (a->token_hash != NULL)) {
        return static_fail(f, err, i, NULL,
                           "needs either a token or a tokenHash");
    }

    if (a->token_hash != NULL) {
        if (static_hex(a->token_hash, e->hash) != 0) {
            return static_fail(f, err, i, "tokenHash",
                               "must be 64 hex digits");
        }

        return 0;
    }

    len = strlen(a->token);

    if (strspn(a->token, STATIC_TOKEN_CHARS) != len) {
        return static_fail(f, err, i, "token", "must be of letters, digits, "
                           "'-' and '_'");
    }

    SHA256((const unsigned char *) a->token, len, e->hash);
    explicit_bzero(a->token, len);

    return 0;
}


static int
static_check_where(static_file_t *f, unsigned i, bk_err_t *err)
{
    unsigned         j;
    static_pool_t   *p = NULL;
    static_alloc_t  *a = &f->doc->allocations[i];

    for (j = 0; j < f->doc->pools_count; j++) {
        if (strcmp(f->doc->pools[j].name, a->pool) == 0) {
            p = &f->doc->pools[j];
            break;
        }
    }

    if (p == NULL) {
        return static_fail(f, err, i, "pool",
                           "is no pool of this file");
    }

    if (bk_alloc_ended(a->state)) {
        return 0;
    }

    if (a->worker == NULL) {
        return a->state == BK_ALLOC_QUEUED
               ? 0 : static_fail(f, err, i, NULL, "needs a worker");
    }

    for (j = 0; j < p->workers_count; j++) {
        if (strcmp(p->workers[j].name, a->worker) == 0) {
            return 0;
        }
    }

    return static_fail(f, err, i, "worker", "is no worker of its pool");
}


static int
static_check_twice(static_file_t *f, bk_err_t *err)
{
    int               rc = 0;
    unsigned          i, n = f->doc->allocations_count;
    static_entry_t  **sorted;

    sorted = calloc(n + 1, sizeof(static_entry_t *));
    if (sorted == NULL) {
        abort();
    }

    for (i = 0; i < n; i++) {
        sorted[i] = &f->entries[i];
    }

    qsort(sorted, n, sizeof(static_entry_t *), static_by_hash);

    for (i = 1; i < n && rc == 0; i++) {
        if (memcmp(sorted[i]->hash, sorted[i - 1]->hash, 32) == 0) {
            rc = static_fail(f, err, sorted[i]->line, NULL,
                             "is given twice: its token is in the list "
                             "already");
        }
    }

    free(sorted);

    return rc;
}


static int
static_by_hash(const void *a, const void *b)
{
    int                    rc;
    const static_entry_t  *x = *(static_entry_t *const *) a;
    const static_entry_t  *y = *(static_entry_t *const *) b;

    rc = memcmp(x->hash, y->hash, 32);

    return rc != 0 ? rc : x->line < y->line ? -1 : 1;
}


static int
static_endpoint_ok(const char *s)
{
    char             host[64], *end;
    size_t           len;
    const char      *port;
    struct in_addr   in;
    struct in6_addr  in6;

    port = strrchr(s, ':');
    len = port != NULL ? (size_t) (port - s) : 0;

    if (len == 0 || len >= sizeof(host) || port[1] < '1' || port[1] > '9'
        || strtoul(port + 1, &end, 10) > 65535 || *end != '\0')
    {
        return 0;
    }

    if (*s == '[') {
        if (len < 3 || s[len - 1] != ']') {
            return 0;
        }

        memcpy(host, s + 1, len - 2);
        host[len - 2] = '\0';

        return inet_pton(AF_INET6, host, &in6) == 1;
    }

    memcpy(host, s, len);
    host[len] = '\0';

    return inet_pton(AF_INET, host, &in) == 1;
}


static int
static_hex(const char *s, uint8_t *out)
{
    char      pair[3] = { 0, 0, 0 };
    unsigned  i;

    if (strspn(s, "0123456789abcdefABCDEF") != 64 || s[64] != '\0') {
        return -1;
    }

    for (i = 0; i < 32; i++) {
        pair[0] = s[i * 2];
        pair[1] = s[i * 2 + 1];
        out[i] = (uint8_t) strtoul(pair, NULL, 16);
    }

    return 0;
}


/* RFC 3339: 2027-01-01T00:00:00Z, fractions and offsets as well. */

static int
static_time(const char *s, uint64_t *ms)
{
    int          h, m;
    long         offset = 0, frac = 0, scale = 100;
    char         sign;
    time_t       t;
    struct tm    tm;
    const char  *p;

    memset(&tm, 0, sizeof(tm));

    p = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);
    if (p == NULL) {
        return -1;
    }

    if (*p == '.') {
        if (p[1] < '0' || p[1] > '9') {
            return -1;
        }

        for (p++; *p >= '0' && *p <= '9'; p++) {
            frac += (*p - '0') * scale;
            scale /= 10;
        }
    }

    if (*p == '+' || *p == '-') {
        if (strlen(p) != 6 || p[3] != ':'
            || sscanf(p, "%c%2d:%2d", &sign, &h, &m) != 3
            || h < 0 || h > 23 || m < 0 || m > 59)
        {
            return -1;
        }

        offset = (h * 60 + m) * 60 * (sign == '-' ? -1 : 1);

    } else if (strcmp(p, "Z") != 0 && strcmp(p, "z") != 0) {
        return -1;
    }

    t = timegm(&tm) - offset;
    if (t <= 0) {
        return -1;
    }

    *ms = (uint64_t) t * 1000 + (uint64_t) frac;

    return 0;
}


static int
static_fail(static_file_t *f, bk_err_t *err, unsigned i, const char *key,
    const char *text)
{
    char  at[64];

    snprintf(at, sizeof(at), "allocations.%u%s%s", i, key ? "." : "",
             key ? key : "");

    return bk_yaml_err(f->yaml, err, at, "%s", text);
}
