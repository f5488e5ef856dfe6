/*
 * The plugin ABI of buildkit-plugin-host: the only header that a plugin
 * includes, and the manual (plugin-host/doc/plugin.md tells the story).
 *
 * A plugin is a shared object with one exported symbol, made by BK_PLUGIN().
 * It fills one bk_plugin_t; what it is follows from the optional callbacks
 * that it sets.  Everything runs on one thread, on one event loop: no
 * callback may block (the host warns above 50 ms) and none is called after
 * destroy().
 *
 * Strings are bk_str_t: pointer and length, not NUL-terminated, borrowed for
 * the duration of the call in both directions.  Each side frees what it made.
 * No type of another library crosses.
 *
 * Times called *_ms are Unix time in milliseconds, durations are in
 * milliseconds as well.
 *
 * Changes (same major: old plugins go on working; the gate is in plugin.c):
 *   2026-11-21  1.0  first version: life-cycle and options
 *   2026-11-21  1.1  worker_want, event, check; host: stats
 *   2026-11-21  1.2  host: worker_use, session_each, worker_drain;
 *                    BK_EVENT_USE; bk_stat_t: family
 *   2026-11-21  1.3  identify, stats; host: identity_answer,
 *                    http_route_for, http_identity, http_allowed,
 *                    http_stream_begin, http_stream_write, http_stream_end,
 *                    audit, worker_disk, alloc_owner; bk_worker_use_t:
 *                    disk_permille, inode_permille, whose change is a BK_EVENT_USE, too;
 *                    bk_pool_info_t: shared may be a limit
 *   2026-11-21  1.4  store_put, store_worker, store_each, store_workers,
 *                    store_ready, store_changed; host: store_open, store_put,
 *                    store_worker, store_each, store_workers, store_is,
 *                    store_told; prepare, state_changed; host: prepared,
 *                    pool_gateway, pool_gateway_of, quit, state_make,
 *                    state_read, pool_labels, pool_labels_of,
 *                    authority_make, cert_issue_by
 */

#ifndef BK_PLUGIN_H_INCLUDED
#define BK_PLUGIN_H_INCLUDED

#include <stddef.h>
#include <stdint.h>


#define BK_ABI_MAJOR  1
#define BK_ABI_MINOR  4


typedef struct {
    const char  *data;
    size_t       len;
} bk_str_t;

#define BK_STR(literal)  ((bk_str_t) { (literal), sizeof(literal) - 1 })


/*
 * An error: filled where it is detected, logged once by whoever is on top.
 * text is one sentence without a final full stop; hint, when not empty, says
 * what to do next.  code is an HTTP status where one fits, else 500.
 */
typedef struct {
    int   code;
    char  reason[48];       /* CamelCaseWord for the API, e.g. PoolNotFound */
    char  text[512];
    char  hint[256];
} bk_err_t;


/* Options: one row of the table that drives checks, docs and --help. */
#define BK_OPTION_STRING    1
#define BK_OPTION_INTEGER   2
#define BK_OPTION_BOOL      3   /* configure() gets "true" or "false" */
#define BK_OPTION_DURATION  4   /* Go style; configure() gets milliseconds */
#define BK_OPTION_LIST      5   /* of strings: configure() once for each */

typedef struct {
    const char  *key;       /* lowerCamelCase; NULL ends the table */
    int          type;      /* BK_OPTION_* */
    const char  *value;     /* default, or NULL: must be given (LIST: empty) */
    const char  *help;
} bk_option_t;


/* Log levels. */
#define BK_LOG_ERROR  1
#define BK_LOG_WARN   2
#define BK_LOG_INFO   3
#define BK_LOG_DEBUG  4


/* States: the numbers of bk_table.h. */

typedef struct {
    bk_str_t  name;         /* namespace/name */
    int       shared;       /* allocations of a worker at a time: 0: one,
                               1: any number, N > 1: N (1.3; before that any
                               number other than 0 was 1) */
} bk_pool_info_t;


typedef struct {
    bk_str_t  pool;         /* namespace/name */
    bk_str_t  name;         /* unique within the pool */
    bk_str_t  endpoint;     /* "ADDRESS:PORT", numeric; may be empty unless
                               READY or DRAINING */
    bk_str_t  tls_name;
    bk_str_t  arch;
    bk_str_t  message;      /* what it said last; shown to users */
    int       state;        /* BK_WORKER_* */
    /* set by the host when it hands one out, ignored in worker_put(): */
    uint32_t  allocations;  /* live ones */
    int       wanted;       /* somebody asked for it to run */
} bk_worker_info_t;


typedef struct {
    const uint8_t *hash;      /* SHA-256(token), 32 bytes */
    const uint8_t *key_hash;  /* SHA-256(SubjectPublicKeyInfo) or NULL */
    bk_str_t       pool;
    bk_str_t       worker;    /* empty: none yet (queued) */
    bk_str_t       reason;    /* why it ended */
    uint64_t       expires_ms;    /* 0: never */
    uint64_t       changed_ms;    /* set by the host */
    int            state;         /* BK_ALLOC_* */
} bk_alloc_info_t;


/* What event() may be told about. */
#define BK_EVENT_POOL        1
#define BK_EVENT_WORKER      2
#define BK_EVENT_ALLOCATION  3
#define BK_EVENT_USE         4      /* 1.2: connections of a worker came or
                                       went (1.3: or its disk is fuller or
                                       emptier); worker is set: pool, name,
                                       state, allocations and wanted */

typedef struct {
    int                     what;       /* BK_EVENT_* */
    int                     gone;       /* it was removed from the model */
    int                     old_state;  /* 0: it is new */
    const bk_pool_info_t   *pool;       /* the one that fits, others NULL */
    const bk_worker_info_t *worker;
    const bk_alloc_info_t  *alloc;
} bk_event_t;


/*
 * 1.2: how a worker is used, from what the gateways report: real connections,
 * held ones too, without those that only look (buildx ls, inspect).
 */
typedef struct {
    uint32_t  connections;
    uint32_t  builds;
    uint64_t  last_used_ms; /* now while there are any; 0: none was seen */
    /* 1.3: how full the worker's disk is, 0 to 1000; 0: nobody said */
    uint32_t  disk_permille;
    uint32_t  inode_permille;
} bk_worker_use_t;


/* 1.2: one connection at a gateway; numbers and names: bk_report.h. */
typedef struct {
    bk_str_t  allocation;   /* the id, 12 hex digits */
    bk_str_t  pool;         /* namespace/name; empty: not known */
    bk_str_t  worker;       /* empty: none yet */
    bk_str_t  client;       /* "address:port" */
    int       phase;        /* BK_PHASE_* */
    int       kind;         /* BK_KIND_* */
    int       expiring;     /* its allocation ends soon */
    int       reason;       /* BK_REFUSED_* or BK_CUT_*, by phase */
    uint64_t  gateway;      /* pid of the nginx process */
    uint64_t  start_ms;
    uint64_t  phase_ms;     /* since when it is in this phase */
    uint64_t  expires_ms;   /* 0: never */
    uint64_t  last_ms;      /* last byte in either direction */
    uint64_t  hold_ms;
    uint64_t  bytes_up;
    uint64_t  bytes_down;
} bk_session_info_t;


typedef struct bk_timer_s    bk_timer_t;
typedef struct bk_watch_s    bk_watch_t;
typedef struct bk_request_s  bk_request_t;

typedef void (*bk_timer_pt)(void *data);

#define BK_READ   1
#define BK_WRITE  2

typedef void (*bk_watch_pt)(int fd, int events, void *data);


/*
 * HTTP.  A handler must answer with http_reply() exactly once, at once or
 * later.  gone, when set with http_on_gone(), is called when the client went
 * away first; the request must then not be used any more.
 */
typedef struct {
    bk_str_t  method;       /* "GET", "POST", "DELETE" */
    bk_str_t  path;         /* decoded, without query */
    bk_str_t  param;        /* the part that matched '*' in the pattern */
    bk_str_t  body;         /* at most 64 KiB */
    bk_str_t  client;       /* "unix:uid=0,pid=12" or "127.0.0.1:1234" */
} bk_request_info_t;

typedef void (*bk_http_pt)(bk_request_t *r, const bk_request_info_t *info,
    void *data);


/*
 * 1.3: who asks.  An identity is what a source made of a credential; access
 * rules (doc/access.md) match on its source and its claims.
 */
typedef struct {
    bk_str_t  name;         /* "SOURCE:USER", at most 256 bytes, no control
                               bytes; two callers with one name are one */
    bk_str_t  source;       /* "unix", "token", an issuer's name */
    bk_str_t  claims;       /* a JSON object */
    uint64_t  until_ms;     /* not to be used later than this; 0: no end */
} bk_identity_t;

typedef struct bk_query_s  bk_query_t;

/* Secret: never logged, never stored. */
typedef struct {
    bk_str_t  bearer;       /* Authorization: Bearer ...; never empty */
    bk_str_t  client;       /* as in bk_request_info_t */
} bk_credentials_t;

/* What a caller wants to do; the names are those of the access rules. */
#define BK_VERB_NONE      0     /* open: authorised by what is in it */
#define BK_VERB_ALLOCATE  1
#define BK_VERB_WAKE      2
#define BK_VERB_RELEASE   3     /* an allocation of somebody else's */
#define BK_VERB_REVOKE    4     /* the same */
#define BK_VERB_DRAIN     5
#define BK_VERB_LIST      6     /* what belongs to others */
#define BK_VERB_CERTS     7
#define BK_VERB_ADMIN     8     /* authorities, backup, other plugins' */
#define BK_VERBS          9
#define BK_VERB_ANY     (-1)    /* only of a route: anybody whose identity is
                                   known, since it is about what is his own;
                                   no rule is asked before the handler */

/* What the access rules say to it.  The strings live as long as the request. */
typedef struct {
    bk_str_t  rule;         /* the name of the one that decided */
    uint64_t  max_ttl_ms;   /* 0: no limit of the rule's */
    uint32_t  concurrency;  /* live allocations of one identity under this
                               rule; 0: no limit */
    int       priority;     /* the higher, the sooner; 0 is usual */
    int       untrusted;    /* never on a worker of trusted ones */
} bk_decision_t;


/*
 * Certificates, from the host's own authorities.  There are two, so that a
 * client's certificate opens the gateway and never a worker directly:
 * BK_CERT_CLIENT and BK_CERT_GATEWAY are signed by the gateway authority,
 * BK_CERT_WORKER and BK_CERT_UPSTREAM by the worker authority.
 */
#define BK_CERT_CLIENT    1     /* client of the gateway: an allocation */
#define BK_CERT_GATEWAY   2     /* the gateway's server certificate */
#define BK_CERT_WORKER    3     /* a buildkitd's server certificate */
#define BK_CERT_UPSTREAM  4     /* the gateway as client of workers */

typedef struct {
    int       kind;         /* BK_CERT_* */
    bk_str_t  cn;
    bk_str_t  names;        /* comma-separated DNS names and addresses */
    bk_str_t  csr;          /* PEM; empty: a P-256 key is made.  Only its
                               public key is used, after its signature */
    bk_str_t  spki;         /* DER; used in place of csr when not empty */
    uint64_t  not_after_ms;
} bk_cert_request_t;

/* Borrowed until the next call of cert_issue() by anyone. */
typedef struct {
    bk_str_t  cert;         /* PEM */
    bk_str_t  key;          /* PEM; empty with csr or spki */
    bk_str_t  ca;           /* PEM of the authority a peer must trust: the
                               gateway authority for CLIENT and GATEWAY, the
                               worker authority for WORKER and UPSTREAM */
    bk_str_t  spki;         /* DER SubjectPublicKeyInfo */
    uint8_t   key_hash[32]; /* SHA-256(spki) */
} bk_cert_t;


/*
 * A number of the host, in the terms of Prometheus: name without prefix,
 * labels as text (a="b",c="d") or empty.  Numbers of one name follow each
 * other; their values only grow where counter is 1.
 */
typedef struct {
    const char  *name;
    const char  *help;
    const char  *labels;
    int          counter;
    double       value;
    /* 1.2: of a histogram, whose numbers are NAME_bucket (with the label le),
       NAME_sum and NAME_count: NAME; else NULL */
    const char  *family;
} bk_stat_t;

typedef void (*bk_stat_pt)(const bk_stat_t *stat, void *data);


#define BK_STORE_RECORD_MAX  8192

/*
 * 1.4: a store keeps the allocations of another plugin (the allocator's) where
 * more than one process sees them: Kubernetes' objects.  There is at most one.
 *
 * A row is written whole.  state: BK_ALLOC_QUEUED without a worker,
 * BK_ALLOC_READY with one, or how it ended.
 */
typedef struct {
    const uint8_t *hash;        /* SHA-256(token) */
    const uint8_t *key_hash;    /* SHA-256(SubjectPublicKeyInfo) or NULL */
    bk_str_t       pool;
    bk_str_t       worker;      /* empty: queued */
    bk_str_t       owner;       /* the name of an identity; or empty */
    bk_str_t       job;
    bk_str_t       metadata;    /* a JSON object; or empty */
    bk_str_t       reason;      /* why it ended */
    bk_str_t       record;      /* a JSON object: what only whoever made it
                                   understands; no secrets; at most
                                   BK_STORE_RECORD_MAX bytes */
    uint64_t       created_ms;
    uint64_t       expires_ms;
    uint64_t       changed_ms;
    int            state;
} bk_stored_t;

/* 1.4: where clients of one pool are sent. */
typedef struct {
    bk_str_t  endpoint;         /* "tcp://HOST:PORT"; empty: what the
                                   configuration says for all pools, or not
                                   known yet where why is not empty */
    bk_str_t  ca;               /* PEM, of who signed its gateways' certificate;
                                   empty: the host's gateway authority */
    bk_str_t  why;              /* empty: it can be used; else a sentence that
                                   says why it cannot yet */
} bk_pool_gateway_t;

/* What is kept of a worker beside its allocations. */
typedef struct {
    bk_str_t  pool;
    bk_str_t  worker;
    bk_str_t  drained;          /* why */
    uint64_t  drained_ms;       /* since when; 0: it is not */
    int       trust;            /* 0: nobody's yet; 1: trusted allocations
                                   were on it; 2: untrusted: for good */
} bk_stored_worker_t;

/* err: NULL when it is kept, by more than this process */
typedef void (*bk_store_pt)(void *data, const bk_err_t *err);
typedef int (*bk_stored_pt)(const bk_stored_t *row, void *data);
typedef int (*bk_stored_worker_pt)(const bk_stored_worker_t *w, void *data);


/* Iteration: return 0 to go on, anything else ends it and is returned. */
typedef int (*bk_pool_pt)(const bk_pool_info_t *pool, void *data);
typedef int (*bk_worker_pt)(const bk_worker_info_t *worker, void *data);
typedef int (*bk_alloc_pt)(const bk_alloc_info_t *alloc, void *data);
typedef int (*bk_session_pt)(const bk_session_info_t *session, void *data);


/*
 * What a plugin may call.  One is made for each plugin and lives until
 * destroy() has returned; h is always the plugin's own.  Functions that
 * return int return 0, or -1 with *err filled (err may be NULL).
 */
typedef struct bk_host_s  bk_host_t;

struct bk_host_s {
    uint32_t     abi_major;
    uint32_t     abi_minor;
    uint32_t     struct_size;
    uint32_t     flags;
    void        *priv;          /* the host's; hands off */

    /* log; never a token, key or certificate */
    void (*log)(const bk_host_t *h, int level, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));

    /* time and loop */
    uint64_t (*now_ms)(const bk_host_t *h);         /* Unix time */
    uint64_t (*monotonic_ms)(const bk_host_t *h);
    bk_timer_t *(*timer_new)(const bk_host_t *h, bk_timer_pt fire,
        void *data);
    void (*timer_set)(bk_timer_t *t, uint64_t ms);  /* once; sets again */
    void (*timer_clear)(bk_timer_t *t);
    void (*timer_free)(bk_timer_t **t);
    bk_watch_t *(*watch_new)(const bk_host_t *h, int fd, int events,
        bk_watch_pt ready, void *data);
    void (*watch_set)(bk_watch_t *w, int events);   /* 0: none for now */
    void (*watch_free)(bk_watch_t **w);             /* does not close fd */

    /*
     * Facts.  The model changes in the call, then the table and the
     * observers.  Only the plugin that put a thing may change or delete it
     * (allocations: *_end() is open to all, for revocation).
     *
     * worker_put() and worker_delete() carry allocations along: starting
     * ones become ready with their worker; when it turns FAILED or is
     * deleted the live ones fail with its message.  A change of endpoint of
     * a READY worker is a new worker for its allocations: they fail too.
     *
     * alloc_put() of a new allocation fails with code 503 and reason
     * TableFull when the table has no room: nothing has changed then.
     * An ended allocation cannot be brought back (409 Ended).
     */
    int (*pool_put)(const bk_host_t *h, const bk_pool_info_t *p,
        bk_err_t *err);
    int (*pool_delete)(const bk_host_t *h, bk_str_t name, bk_err_t *err);
    int (*worker_put)(const bk_host_t *h, const bk_worker_info_t *w,
        bk_err_t *err);
    int (*worker_delete)(const bk_host_t *h, bk_str_t pool, bk_str_t name,
        bk_err_t *err);
    int (*alloc_put)(const bk_host_t *h, const bk_alloc_info_t *a,
        bk_err_t *err);
    int (*alloc_end)(const bk_host_t *h, const uint8_t *hash, int state,
        bk_str_t reason, bk_err_t *err);

    /*
     * A full resync: what this plugin put before and did not put again
     * between begin and commit is removed (pools, workers) or ended
     * (allocations: RELEASED, "no longer listed").  The first commit of a
     * plugin also ends what an earlier run left in the table for it.
     */
    void (*snapshot_begin)(const bk_host_t *h);
    void (*snapshot_commit)(const bk_host_t *h);

    /* looking; -1: none such */
    int (*pool_find)(const bk_host_t *h, bk_str_t name, bk_pool_info_t *out);
    int (*worker_find)(const bk_host_t *h, bk_str_t pool, bk_str_t name,
        bk_worker_info_t *out);
    int (*alloc_find)(const bk_host_t *h, const uint8_t *hash,
        bk_alloc_info_t *out);
    int (*pool_each)(const bk_host_t *h, bk_pool_pt fn, void *data);
    int (*worker_each)(const bk_host_t *h, bk_str_t pool, bk_worker_pt fn,
        void *data);                            /* empty pool: of all */
    int (*alloc_each)(const bk_host_t *h, bk_str_t pool, bk_alloc_pt fn,
        void *data);

    /* asks the owner of a worker to start it (1) or to let it go (0) */
    int (*worker_want)(const bk_host_t *h, bk_str_t pool, bk_str_t name,
        int wanted, bk_err_t *err);

    /*
     * HTTP on the API listeners.  A pattern is a path in which one segment
     * may be '*': "/api/v1/allocations/" "*"; a route without it goes first.
     * which: 0 API, 1 metrics listener.  409 RouteTaken.
     */
    int (*http_route)(const bk_host_t *h, int which, const char *method,
        const char *pattern, bk_http_pt handler, void *data, bk_err_t *err);
    void (*http_reply)(bk_request_t *r, int status, const char *content_type,
        bk_str_t body);
    /* a JSON error; 429 and 503 with Retry-After, where none was set */
    void (*http_fail)(bk_request_t *r, const bk_err_t *err);
    void (*http_on_gone)(bk_request_t *r, void (*gone)(bk_request_t *r,
        void *data), void *data);
    /* a value of the query, decoded, into buf; -1: absent or too long */
    int (*http_query)(bk_request_t *r, const char *name, char *buf,
        size_t size);
    /* an extra header of the answer, e.g. Retry-After; before the reply */
    void (*http_header)(bk_request_t *r, const char *name,
        const char *value);

    /* certificates and where the files of this installation are */
    int (*cert_issue)(const bk_host_t *h, const bk_cert_request_t *req,
        bk_cert_t *out, bk_err_t *err);
    bk_str_t (*state_dir)(const bk_host_t *h);      /* absolute */
    bk_str_t (*gateway_endpoint)(const bk_host_t *h);   /* "tcp://..." */

    /* stop() is over: nothing of this plugin is under way any more */
    void (*stopped)(const bk_host_t *h);

    /* 1.1 */

    /* the host's own numbers: table, HTTP, process */
    void (*stats)(const bk_host_t *h, bk_stat_pt fn, void *data);

    /* 1.2 */

    /* size: sizeof(bk_worker_use_t) of the plugin; -1: no such worker */
    int (*worker_use)(const bk_host_t *h, bk_str_t pool, bk_str_t name,
        bk_worker_use_t *out, size_t size);
    /* every connection of every gateway, as their reports are now */
    int (*session_each)(const bk_host_t *h, bk_session_pt fn, void *data);
    /*
     * Drains a worker (1) or takes it back (0): it gets no new allocations,
     * its ready ones become DRAINING with this reason, live connections go
     * on; those that wait for it fail.  Whoever put the worker goes on putting
     * its own states; the model shows READY as DRAINING meanwhile, and asks
     * it to let the worker go (worker_want 0).  404 WorkerNotFound.  It lasts
     * until it is undone or this host ends: who drains it keeps that.
     */
    int (*worker_drain)(const bk_host_t *h, bk_str_t pool, bk_str_t name,
        int drained, bk_str_t reason, bk_err_t *err);

    /* 1.3 */

    /*
     * The answer to identify(), exactly once for each query, at once or
     * later; q is gone then.  id: this is who it is; err: it is refused
     * (401, 403 or 503); both NULL: the credential is not of this source.
     */
    void (*identity_answer)(bk_query_t *q, const bk_identity_t *id,
        const bk_err_t *err);

    /*
     * As http_route(), on the API listeners, for callers who may do verb
     * (BK_VERB_*) somewhere: the handler is called when it is known who
     * asks, and asks http_allowed() for the pool that it is about.  Routes
     * of http_route() there are for BK_VERB_ADMIN.
     */
    int (*http_route_for)(const bk_host_t *h, const char *method,
        const char *pattern, int verb, bk_http_pt handler, void *data,
        bk_err_t *err);
    /* who asks, as long as the request lives; -1: nobody said (open route) */
    int (*http_identity)(bk_request_t *r, bk_identity_t *out);
    /* 0: the caller may do verb in this pool; -1: 403 with what was seen.  It
       is counted, and a refusal is audited, unless err is NULL: then it is
       only a look at what may be shown. */
    int (*http_allowed)(bk_request_t *r, int verb, bk_str_t pool,
        bk_decision_t *out, size_t size, bk_err_t *err);

    /*
     * An answer in parts, in place of http_reply(): begin once, write any
     * number of times, end once.  http_on_gone() works until the end; -1
     * from write: the client reads too slowly, call end.
     */
    void (*http_stream_begin)(bk_request_t *r, int status,
        const char *content_type);
    int (*http_stream_write)(bk_request_t *r, bk_str_t part);
    void (*http_stream_end)(bk_request_t *r);

    /*
     * One line of the audit log; members: a JSON object's inside, made with
     * json_dumps() or by hand, without secrets: "\"pool\":\"default/demo\"".
     * The host adds time, who, by which rule and from where, of r (which may
     * be NULL: nobody asked).
     */
    void (*audit)(const bk_host_t *h, bk_request_t *r, const char *what,
        const char *outcome, bk_str_t members);

    /* how full a worker's disk is, 0 to 1000; only whoever put it says so;
       -1: no such worker, or another's */
    int (*worker_disk)(const bk_host_t *h, bk_str_t pool, bk_str_t name,
        uint32_t disk_permille, uint32_t inode_permille);

    /*
     * Whose an allocation is, for the host's lists: the name of an identity;
     * empty: nobody's.  untrusted: as the rule's decision says; others of
     * that name see it only where a rule would give them such a one.  After
     * alloc_put(); -1: there is no such allocation, or it is another
     * plugin's.
     */
    int (*alloc_owner)(const bk_host_t *h, const uint8_t *hash,
        bk_str_t name, int untrusted);

    /* 1.4 */

    /*
     * For the plugin whose allocations are kept.  open: once, in start();
     * 404 NoStore: no plugin of this configuration is one; 409 StoreTaken,
     * TwoStores.  From then on its store_ready() and store_changed() are
     * called, after start().
     * put and worker: as the store's callbacks of that name; 503 StoreNotReady
     * by done(), soon, while it is not ready.  Nothing is called after
     * stopped(); the store is asked to stop only then.
     * each and workers: nothing while it is not ready.
     */
    int (*store_open)(const bk_host_t *h, bk_err_t *err);
    void (*store_put)(const bk_host_t *h, const bk_stored_t *row,
        bk_store_pt done, void *data);
    void (*store_worker)(const bk_host_t *h, const bk_stored_worker_t *w,
        bk_store_pt done, void *data);
    int (*store_each)(const bk_host_t *h, bk_stored_pt fn, void *data);
    int (*store_workers)(const bk_host_t *h, bk_stored_worker_pt fn,
        void *data);

    /*
     * For the store.  is: 1: all rows are known and may be written from now
     * on; 0: not any more.  told: somebody else has written this row; one that
     * is gone is told as FAILED, and why.  Both call the opener from within.
     */
    void (*store_is)(const bk_host_t *h, int ready);
    void (*store_told)(const bk_host_t *h, const bk_stored_t *row);

    /*
     * Ends prepare(), once: NULL: it is done; else the host does not start,
     * and says why.
     */
    void (*prepared)(const bk_host_t *h, const bk_err_t *err);

    /*
     * Where clients of a pool are sent.  pool_gateway: by whoever put the
     * pool, after pool_put(); it goes with it; -1: none such, or another's.
     * What it changes is a BK_EVENT_POOL.  pool_gateway_of: never fails;
     * borrowed until the loop turns.
     */
    int (*pool_gateway)(const bk_host_t *h, bk_str_t pool,
        const bk_pool_gateway_t *gateway);
    void (*pool_gateway_of)(const bk_host_t *h, bk_str_t pool,
        bk_pool_gateway_t *out);

    /* This process cannot go on: the host logs why, stops in good order when
     * the loop turns, and ends with status 1, so that whoever runs it starts
     * it again.  From prepare() on. */
    void (*quit)(const bk_host_t *h, const bk_err_t *why);

    /*
     * For whoever shares state_dir() with other hosts.  state_make: between
     * prepare() and prepared(): makes the authorities that are not there yet,
     * and finishes what a killed host left half done, as a start does.
     * state_read: another host of the same authorities has issued
     * certificates, and ca/NAME-trust.json was written again to say so: how
     * long something of each may be in use is taken from there.  -1: they are
     * not the same authorities, and nothing was taken.
     */
    int (*state_make)(const bk_host_t *h, bk_err_t *err);
    int (*state_read)(const bk_host_t *h, bk_err_t *err);

    /*
     * A JSON object of strings, by which callers may choose a pool instead of
     * by its name; as pool_gateway, but no event.  empty: it has none.
     */
    int (*pool_labels)(const bk_host_t *h, bk_str_t pool, bk_str_t labels);
    bk_str_t (*pool_labels_of)(const bk_host_t *h, bk_str_t pool);

    /*
     * Authorities of a plugin's own, for what is to be trusted by few: the
     * host keeps nothing of them.  authority_make: a certificate for ten years
     * and its key, borrowed as cert_issue()'s; key empty: a new one; else PEM:
     * whoever trusts a certificate of that cn and key trusts what any other
     * one of them signs.  cert_issue_by: as cert_issue(), signed by such a
     * pair (PEM); it does not outlive it, and out->ca is empty.  422
     * BadAuthority: the pair cannot sign.
     */
    int (*authority_make)(const bk_host_t *h, bk_str_t cn, bk_str_t key,
        bk_cert_t *out, bk_err_t *err);
    int (*cert_issue_by)(const bk_host_t *h, bk_str_t cert, bk_str_t key,
        const bk_cert_request_t *req, bk_cert_t *out, bk_err_t *err);

    /* minor 5 and later: add here, never above */
};


typedef struct {
    uint32_t            abi_major;     /* set by BK_PLUGIN() */
    uint32_t            abi_minor;
    uint32_t            struct_size;
    uint32_t            flags;         /* 0 */

    const char         *name;          /* [a-z][a-z0-9_-]* */
    const char         *version;
    const char         *summary;       /* one line */
    const bk_option_t  *options;

    /*
     * create -> configure, once for each option that was given and once for
     * each default -> check -> start -> (events) -> stop -> stopped() ->
     * destroy.  create, configure and check also run under -t: they must
     * not touch files that others use, nor talk to anybody.
     */
    int   (*create)(const bk_host_t *host, void **ctx, bk_err_t *err);
    int   (*configure)(void *ctx, const char *key, const char *value,
        bk_err_t *err);
    int   (*start)(void *ctx, bk_err_t *err);   /* the loop runs from here */
    void  (*stop)(void *ctx);       /* returns at once; then host->stopped() */
    void  (*destroy)(void *ctx);

    /* 1.1; all optional */

    /* start or let go a worker that this plugin put */
    int   (*worker_want)(void *ctx, bk_str_t pool, bk_str_t name, int wanted,
        bk_err_t *err);
    /* hears every change of the model, after the table */
    void  (*event)(void *ctx, const bk_event_t *event);
    /* all options are in: do they fit together? */
    int   (*check)(void *ctx, bk_err_t *err);

    /* 1.3; all optional */

    /* whose is this credential?  Answered with host->identity_answer() */
    void  (*identify)(void *ctx, bk_query_t *q, const bk_credentials_t *c);
    /* this plugin's numbers, in the order of bk_stat_t's comment */
    void  (*stats)(void *ctx, bk_stat_pt fn, void *data);

    /* 1.4; all optional */

    /*
     * A store.  done is called exactly once, never from within, and for one
     * allocation in the order of the calls.  409 WorkerTaken: the worker has
     * another allocation by now, somebody else was first, and the row is not
     * kept as it was given; 409 RowChanged: somebody else has written it, and
     * store_told() has said or says what is there; 503: not known whether it
     * is kept: it is read again, and store_told() says what is there.
     */
    void  (*store_put)(void *ctx, const bk_stored_t *row, bk_store_pt done,
        void *data);
    void  (*store_worker)(void *ctx, const bk_stored_worker_t *w,
        bk_store_pt done, void *data);
    /* what is kept, live rows before ended ones; borrowed during fn */
    int   (*store_each)(void *ctx, bk_stored_pt fn, void *data);
    int   (*store_workers)(void *ctx, bk_stored_worker_pt fn, void *data);

    /* Whoever has opened the store: may it be written? */
    void  (*store_ready)(void *ctx, int ready);
    void  (*store_changed)(void *ctx, const bk_stored_t *row);

    /*
     * Before the host opens its state (authorities, the API, anybody's
     * start): fetches what state_dir() is to hold.  Log, time, timers, watches
     * and state_*() work, nothing else does.  Ends with host->prepared(), at
     * once or later, however long it takes; then it is the next one's turn,
     * and at last start() is called as always.  Whoever was asked to prepare
     * is asked to stop, even where start() was not called or failed.
     */
    int   (*prepare)(void *ctx, bk_err_t *err);
    /* after start(): files of ca/ in state_dir() were written by the host,
       once for all that are written together */
    void  (*state_changed)(void *ctx);

    /* minor 5 and later: add here, never above */
} bk_plugin_t;


/* All that is needed to be loaded: everything up to destroy. */
#define BK_PLUGIN_SIZE_1_0  offsetof(bk_plugin_t, worker_want)


typedef const bk_plugin_t *(*bk_plugin_entry_pt)(void);

#define BK_PLUGIN_ENTRY  "bk_plugin_entry"

/*
 * BK_PLUGIN(my_plugin) registers "static bk_plugin_t my_plugin = {...}", in
 * which the first four fields are left out.
 */
#define BK_PLUGIN(p)                                                          \
    __attribute__((visibility("default")))                                   \
    const bk_plugin_t *bk_plugin_entry(void);                                \
                                                                             \
    const bk_plugin_t *                                                      \
    bk_plugin_entry(void)                                                    \
    {                                                                        \
        (p).abi_major = BK_ABI_MAJOR;                                        \
        (p).abi_minor = BK_ABI_MINOR;                                        \
        (p).struct_size = sizeof(bk_plugin_t);                               \
        return &(p);                                                         \
    }

#endif /* BK_PLUGIN_H_INCLUDED */
