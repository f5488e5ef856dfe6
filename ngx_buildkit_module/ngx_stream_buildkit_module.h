
/*
 * The pool gateway for BuildKit: what the files of this module share.
 *
 * A connection's way: handshake.c (its turn), verify.c (certificate,
 * inside the handshake), route.c (preread: token, look-up in zone.c),
 * decide.c (what that means), then one of
 *
 *     upstream.c  dialled by the stock proxy; live.c and filter.c from then
 *                 on; when it ends before its time: cut.c
 *     hold.c      waits (hold_client.c: what the client does meanwhile); goes
 *                 back to route.c when something changed (hold_wake.c)
 *     refuse.c    a gRPC status and our text, by reply.c
 *
 * takeover.c takes a session away from the stock proxy: back to hold.c when
 * the worker did not answer (retry.c; trouble.c says why, replay.c keeps what
 * it was told), on to cut.c when the connection must end.
 * tick.c looks every buildkit_check whether anything changed.  report.c
 * writes down all of it.  lookup.c asks about what the table does not have.
 * names.c has the pools' names, names_cert.c their certificates.
 */


#ifndef _NGX_STREAM_BUILDKIT_MODULE_H_INCLUDED_
#define _NGX_STREAM_BUILDKIT_MODULE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include <signal.h>

#include "bk_report.h"
#include "bk_table_read.h"

#include "ngx_stream_buildkit_parse.h"


#if (nginx_version < 1025005)
#define ngx_stream_buildkit_ssl_conf_t  ngx_stream_ssl_conf_t
#else
#define ngx_stream_buildkit_ssl_conf_t  ngx_stream_ssl_srv_conf_t
#endif


/* gRPC statuses that clients show with our text (wire.md) */
#define NGX_STREAM_BUILDKIT_PERMISSION_DENIED    7
#define NGX_STREAM_BUILDKIT_RESOURCE_EXHAUSTED   8
#define NGX_STREAM_BUILDKIT_FAILED_PRECONDITION  9
#define NGX_STREAM_BUILDKIT_UNAUTHENTICATED      16

#define NGX_STREAM_BUILDKIT_ID_LEN    12
#define NGX_STREAM_BUILDKIT_HASH_LEN  BK_TABLE_HASH_LEN
#define NGX_STREAM_BUILDKIT_TIME_LEN  (sizeof("1970-01-01T00:00:00Z") - 1)

/* of a source address: family, IPv4 or the /64 of IPv6 */
#define NGX_STREAM_BUILDKIT_PREFIX_LEN  9

/* a refusal's text is shorter than this as it is sent */
#define NGX_STREAM_BUILDKIT_TEXT_MAX  1000

/* what changed since the last tick */
#define NGX_STREAM_BUILDKIT_TABLE  1
#define NGX_STREAM_BUILDKIT_NAMES  2


typedef struct ngx_stream_buildkit_zone_s      ngx_stream_buildkit_zone_t;
typedef struct ngx_stream_buildkit_sessions_s  ngx_stream_buildkit_sessions_t;
typedef struct ngx_stream_buildkit_chains_s    ngx_stream_buildkit_chains_t;
typedef struct ngx_stream_buildkit_reply_s     ngx_stream_buildkit_reply_t;
typedef struct ngx_stream_buildkit_hold_s      ngx_stream_buildkit_hold_t;
typedef struct ngx_stream_buildkit_retry_s     ngx_stream_buildkit_retry_t;
typedef struct ngx_stream_buildkit_live_s      ngx_stream_buildkit_live_t;
typedef struct ngx_stream_buildkit_cut_s       ngx_stream_buildkit_cut_t;
typedef struct ngx_stream_buildkit_limit_s     ngx_stream_buildkit_limit_t;
typedef struct ngx_stream_buildkit_address_s   ngx_stream_buildkit_address_t;
typedef struct ngx_stream_buildkit_addresses_s ngx_stream_buildkit_addresses_t;
typedef struct ngx_stream_buildkit_report_s    ngx_stream_buildkit_report_t;
typedef struct ngx_stream_buildkit_lookup_s    ngx_stream_buildkit_lookup_t;
typedef struct ngx_stream_buildkit_ask_s       ngx_stream_buildkit_ask_t;
typedef struct ngx_stream_buildkit_names_s     ngx_stream_buildkit_names_t;


typedef struct {
    ngx_str_t                        table;
    ngx_str_t                        reports;   /* folder; empty: none */
    ngx_str_t                        socket;    /* of lookup; empty: none */
    ngx_msec_t                       check;

    ngx_stream_buildkit_zone_t      *zone;      /* NULL: no buildkit_table */
    ngx_stream_buildkit_limit_t     *limit;
    ngx_stream_buildkit_addresses_t *addresses; /* of clients */
    ngx_stream_buildkit_report_t    *report;    /* never NULL */
    ngx_stream_buildkit_lookup_t    *lookup;    /* NULL: nobody is asked */
    ngx_stream_buildkit_names_t     *names;     /* the first; NULL: none */

    ngx_event_t                      tick;
    ngx_msec_t                       shutdown_timeout;  /* 0: none */
    ngx_uint_t                       number;    /* quit.c; 0: not in use */
    ngx_uint_t                       ending;    /* quit.c: out of time */
    ngx_msec_t                       exiting;   /* since when it is seen */

    ngx_queue_t                      held;      /* ctx->queue: hold.c */
    ngx_queue_t                      waking;    /* ctx->queue: hold.c */
    ngx_event_t                      waker;
    ngx_queue_t                      live;      /* ctx->queue: live.c */
    ngx_uint_t                       walking;   /* live.c: is not through */
    ngx_queue_t                      cutting;   /* ctx->queue: cut.c */
    ngx_event_t                      cutter;
    ngx_uint_t                       settling;  /* settle.c: how many */

    ngx_stream_buildkit_sessions_t  *sessions;  /* towards workers */

    ngx_uint_t                       balancers; /* upstreams with buildkit; */

    EVP_MD                          *sha256;    /* fetching is slow: once */
    EVP_MD_CTX                      *md;
} ngx_stream_buildkit_main_conf_t;


typedef struct {
    ngx_flag_t                       enable;
    ngx_array_t                     *pools;
                                          /* of ngx_stream_complex_value_t */
    ngx_msec_t                       wait;
    ngx_msec_t                       grace;
    ngx_msec_t                       lookup_wait;
    ngx_msec_t                       retry;
    ngx_msec_t                       silence;       /* 0: no such rule */
    ngx_msec_t                       lost;
    ngx_msec_t                       header_timeout;
    ngx_msec_t                       peer_timeout;  /* 0: as it is */
    ngx_int_t                        max_connections;   /* 0: no limit */
    ngx_int_t                        max_held;          /* 0: no limit */
    ngx_int_t                        max_handshakes;    /* 0: no limit */

    X509_STORE                      *worker_ca; /* NULL: nginx verifies */
    ngx_stream_buildkit_names_t     *names;     /* NULL: any name will do */

    ngx_uint_t                       balancer;  /* an upstream's: buildkit; */

    /* set by ngx_stream_buildkit_verify_init() */
    ngx_stream_buildkit_main_conf_t *main;
    ngx_uint_t                       verify;    /* ssl_verify_client */
    ngx_stream_buildkit_chains_t    *chains;    /* NULL: verify each time */
} ngx_stream_buildkit_srv_conf_t;


/* an entry of the table, to see later whether it changed */
typedef struct {
    uint64_t                         serial;    /* of the mapping */
    uint64_t                         seq;
    uint32_t                         index;     /* BK_TABLE_NONE: none */
    uint32_t                         worker;    /* its worker, the same way */
    uint64_t                         worker_seq;
} ngx_stream_buildkit_mark_t;


typedef struct {
    /* what the handshake left behind: whose certificate check, its result */
    ngx_stream_buildkit_srv_conf_t  *verified;
    long                             verify_error;
    int                              verify_depth;  /* of the error; 0: leaf */

    ngx_stream_session_t            *session;

    /* the route; all memory is the session's */
    u_char                           key[NGX_STREAM_BUILDKIT_HASH_LEN];
    u_char                           id[NGX_STREAM_BUILDKIT_ID_LEN];
    ngx_str_t                        pool;
    ngx_str_t                        worker;
    ngx_str_t                        tls_name;
    ngx_str_t                        reason;    /* refused or cut: in words */
    uint64_t                         expires_ms;
    bk_table_ref_t                   worker_ref;
    ngx_stream_buildkit_mark_t       mark;

    ngx_sockaddr_t                   sockaddr;
    socklen_t                        socklen;
    ngx_str_t                        addr;

    ngx_queue_t                      queue;     /* bmcf->held or ->live;
                                                   before: limit.c's */
    ngx_stream_buildkit_hold_t      *hold;      /* once it was held */
    ngx_stream_buildkit_retry_t     *retry;     /* once it was dialled */
    ngx_stream_buildkit_live_t      *live;      /* once it was dialled */
    ngx_stream_buildkit_cut_t       *cut;
    ngx_stream_buildkit_reply_t     *reply;     /* of a refused session */
    ngx_stream_buildkit_address_t   *address;   /* limit.c: the client's */

    /* lookup.c: what is asked about it, and the text of the answer */
    ngx_stream_buildkit_ask_t       *ask;
    ngx_queue_t                      asking;    /* ask->sessions */
    ngx_str_t                        said;

    /* report.c; both always point to something that can be written */
    bk_report_session_t             *record;
    bk_report_pool_t                *row;

    ngx_msec_t                       started;   /* preread began */
    ngx_msec_t                       held_ms;   /* before this phase; both */
    ngx_msec_t                       phase_at;  /* are report.c's */

    /* why the worker could not be reached last, in words; upstream.c */
    ngx_str_t                        trouble;

    unsigned                         state:4;   /* BK_ALLOC_*, 0: unknown */
    unsigned                         phase:4;   /* BK_PHASE_* */
    unsigned                         why:6;     /* BK_REFUSED_*, BK_CUT_* */
    unsigned                         waits:6;   /* BK_REFUSED_* it would get */
    unsigned                         late:1;    /* must not wait any more */
    unsigned                         looking:1; /* wants words: hold_look() */
    unsigned                         peeking:1; /* the same, once it is known
                                                   what there is */
    unsigned                         verdict:3; /* BK_LOOKUP_*, 0: none yet */
    unsigned                         id_set:1;
    unsigned                         queued:1;  /* queue is in a list */
    unsigned                         routed:1;  /* may reach its worker */
    unsigned                         balanced:1;  /* through our balancer */
    unsigned                         session_set:1;
    unsigned                         unverified:1;  /* the worker: filter.c */
    unsigned                         settings:1;  /* SETTINGS was sent */
    unsigned                         replay:1;  /* c->buffer has all that the
                                                   worker got: replay.c */
    unsigned                         counted:1; /* limit.c: in its zone */
    unsigned                         holding:1; /* limit.c: counted as held */
    unsigned                         shaking:1; /* limit.c: in handshake */
    unsigned                         queuing:1; /* limit.c: for a handshake */

    /* report.c */
    unsigned                         kind:3;    /* BK_KIND_* */
    unsigned                         accepted:1;  /* counted, in its row */
    unsigned                         waited:1;  /* was held */
    unsigned                         dialled:1;
    unsigned                         ended:1;   /* its outcome is counted */
    unsigned                         closed:1;  /* has no record any more */
    unsigned                         failure:3; /* BK_HANDSHAKE_*, counted */
} ngx_stream_buildkit_ctx_t;


/* a source address, as long as a session of this process needs it */
struct ngx_stream_buildkit_address_s {
    ngx_rbtree_node_t                node;      /* key: of the prefix */
    u_char                           prefix[NGX_STREAM_BUILDKIT_PREFIX_LEN];

    ngx_uint_t                       users;     /* with ctx->address */
    ngx_uint_t                       held;
    ngx_uint_t                       shaking;
    ngx_uint_t                       nqueued;
    ngx_queue_t                      queued;    /* ctx->queue, by arrival */
};


/* a mapping whose file may be cut short: fault.c */
typedef struct ngx_stream_buildkit_range_s  ngx_stream_buildkit_range_t;

struct ngx_stream_buildkit_range_s {
    u_char                          *base;
    size_t                           size;
    volatile sig_atomic_t            bad;   /* pages are not the file's */
    ngx_uint_t                       writable;
    ngx_stream_buildkit_range_t     *next;
};


/*
 * What this process reports.  header, rows and sessions always point to
 * something that can be written: memory at first, the file's pages at the
 * same addresses once there is one.  Nothing of it is ever believed here:
 * whoever may write the file could have; what steers us is in this struct.
 */
struct ngx_stream_buildkit_report_s {
    bk_report_header_t              *header;
    bk_report_pool_t                *rows;
    bk_report_session_t             *sessions;

    ngx_str_t                       *names;     /* of the rows */
    ngx_uint_t                       nrows;
    ngx_uint_t                       nsessions; /* there are */
    ngx_uint_t                       nused;     /* were ever taken */
    ngx_uint_t                       nroom;     /* the file has room for */
    ngx_uint_t                       nfree;     /* in free */
    uint32_t                        *free;

    ngx_stream_buildkit_range_t      range;     /* base NULL: no report */
    ngx_str_t                        folder;
    u_char                          *path;
    u_char                          *fresh;     /* before it gets its name */
    ngx_fd_t                         fd;        /* -1: memory only */
    dev_t                            dev;
    ino_t                            ino;
    ngx_log_t                       *log;
    ngx_msec_t                       tried;
    ngx_msec_t                       beat;

    uint64_t                         ticks;     /* who we are: bk_report.h */
    uint64_t                         pid_ns;
    char                             boot[40];
    ngx_uint_t                       generation;

    unsigned                         complained:1;
    unsigned                         full:1;

    /* for those that have no record of their own, and without a file */
    bk_report_header_t               own_header;
    bk_report_pool_t                 own_row;
    bk_report_session_t              own_session;
};


/* there is one writer, and readers look at any time */

#define ngx_stream_buildkit_report_set(field, value)                          \
    __atomic_store_n(&(field), (uint64_t) (value), __ATOMIC_RELAXED)

#define ngx_stream_buildkit_report_add(field, n)                              \
    ngx_stream_buildkit_report_set(field, (field) + (uint64_t) (n))


/* what one look-up found: consistent copies */
typedef struct {
    bk_table_found_t                 found;
    bk_table_pool_data_t             pool;
    bk_table_worker_data_t           worker;
    char                             text[BK_TABLE_TEXT_LEN];
    int                              worker_rc;  /* BK_TABLE_OK, _MISS */
    ngx_stream_buildkit_mark_t       mark;
} ngx_stream_buildkit_route_t;


/* route.c: the session's ctx, made when it is first asked for; NULL: memory */
ngx_stream_buildkit_ctx_t *ngx_stream_buildkit_get_ctx(
    ngx_stream_session_t *s);
ngx_int_t ngx_stream_buildkit_preread_handler(ngx_stream_session_t *s);
/* the session is over: the one place where everything of ours ends */
ngx_int_t ngx_stream_buildkit_log_handler(ngx_stream_session_t *s);
/*
 * Ends a session, from outside of the phase handlers.  Nobody reads what its
 * client said last: the core must not wait for the client's close_notify, and
 * find that instead ("application data after close notify", a crit).
 */
void ngx_stream_buildkit_finalize(ngx_stream_session_t *s, ngx_uint_t rc);
/*
 * Looks the allocation up and decides, as often as it is asked to.
 * NGX_OK: may be dialled, address and names are those of its worker.
 * NGX_AGAIN: has to wait; ctx->waits says for what; hold_may() allowed it.
 * Else: what refusing the client returned (DONE, a status or ERROR).
 */
ngx_int_t ngx_stream_buildkit_route(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);

/* identity.c: NGX_OK, or what refusing the client returned */
ngx_int_t ngx_stream_buildkit_identity_token(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
ngx_int_t ngx_stream_buildkit_identity_key(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_stream_buildkit_route_t *route);

/* decide.c: the same results, from what was found */
ngx_int_t ngx_stream_buildkit_decide(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_stream_buildkit_route_t *route);
/* there is no entry to decide about: rc is zone_find()'s */
ngx_int_t ngx_stream_buildkit_decide_missing(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_int_t rc);
/* may be dialled, but that went wrong: ctx->trouble */
ngx_int_t ngx_stream_buildkit_decide_trouble(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
/* it asks for a name, and nobody has said yet which there are */
ngx_int_t ngx_stream_buildkit_decide_names(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
/* "allocation ... was revoked at ...": for a client that was cut */
u_char *ngx_stream_buildkit_decide_text(u_char *buf, u_char *last,
    ngx_stream_buildkit_ctx_t *ctx, ngx_stream_buildkit_route_t *route,
    ngx_uint_t state);
ngx_str_t *ngx_stream_buildkit_state_name(ngx_uint_t state);

/*
 * hold.c: parks the session until what it waits for happens; then it goes
 * through route() again.  Returns what a phase handler must, or the caller
 * finalizes with.  Takes the session's events over.  Also for a session that
 * takeover.c has just taken from the proxy: then waits for the next try.
 */
ngx_int_t ngx_stream_buildkit_hold(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
/* how long may it wait for why?  0: not at all */
ngx_msec_t ngx_stream_buildkit_hold_limit(ngx_stream_session_t *s,
    ngx_uint_t why);
/* may it begin to wait for why, or go on? */
ngx_uint_t ngx_stream_buildkit_hold_may(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_uint_t why);
/* what it waits for, where decide() was asked for it: answers a look */
void ngx_stream_buildkit_hold_look(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, const char *fmt, ...);
/* from takeover() on, after what is in ctx->trouble; does all of it */
void ngx_stream_buildkit_hold_retry(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
/* changed: NGX_STREAM_BUILDKIT_TABLE, _NAMES */
void ngx_stream_buildkit_hold_tick(ngx_stream_buildkit_main_conf_t *bmcf,
    ngx_uint_t changed);
void ngx_stream_buildkit_hold_done(ngx_stream_buildkit_ctx_t *ctx);
/* hold_wake.c: it is looked at again soon, where it is held */
void ngx_stream_buildkit_hold_wake(ngx_stream_buildkit_main_conf_t *bmcf,
    ngx_stream_buildkit_ctx_t *ctx);

/*
 * lookup.c: what plugin-host is asked about, where it is (buildkit_lookup).
 * ask(): for as long as this session waits; done(): not any more.  Answers set
 * ctx->verdict and ctx->said and wake the session.
 */
ngx_stream_buildkit_lookup_t *ngx_stream_buildkit_lookup_create(
    ngx_conf_t *cf, ngx_str_t *path, ngx_stream_buildkit_main_conf_t *bmcf);
void ngx_stream_buildkit_lookup_start(ngx_stream_buildkit_lookup_t *lookup,
    ngx_log_t *log);
void ngx_stream_buildkit_lookup_exit(ngx_stream_buildkit_lookup_t *lookup);
void ngx_stream_buildkit_lookup_ask(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
void ngx_stream_buildkit_lookup_done(ngx_stream_buildkit_ctx_t *ctx);
void ngx_stream_buildkit_lookup_tick(ngx_stream_buildkit_lookup_t *lookup);

/*
 * names.c: which names lead to which pool, where a server has buildkit_names.
 * check(): may the allocation be used under the name that its client asked
 * for?  NGX_OK, NGX_AGAIN: not known yet, or what refusing it returned.
 */
char *ngx_stream_buildkit_names(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_stream_buildkit_names_init(ngx_conf_t *cf,
    ngx_stream_core_srv_conf_t *cscf);
void ngx_stream_buildkit_names_start(ngx_stream_buildkit_main_conf_t *bmcf,
    ngx_log_t *log);
/* each tick; 1: there are others than before */
ngx_uint_t ngx_stream_buildkit_names_tick(
    ngx_stream_buildkit_main_conf_t *bmcf);
ngx_int_t ngx_stream_buildkit_names_check(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_stream_buildkit_route_t *route);

/* tick.c: every buildkit_check, for each worker process and cycle */
void ngx_stream_buildkit_tick_start(ngx_stream_buildkit_main_conf_t *bmcf,
    ngx_cycle_t *cycle);

/*
 * quit.c: create() with the configuration, init() in the master when it is
 * going to be used, start() and exit() in each process; tick() says whether
 * clients must be told now that nginx ends.
 */
ngx_int_t ngx_stream_buildkit_quit_create(ngx_conf_t *cf,
    ngx_stream_buildkit_main_conf_t *bmcf);
void ngx_stream_buildkit_quit_init(ngx_stream_buildkit_main_conf_t *bmcf,
    ngx_log_t *log);
void ngx_stream_buildkit_quit_start(ngx_stream_buildkit_main_conf_t *bmcf);
void ngx_stream_buildkit_quit_exit(ngx_stream_buildkit_main_conf_t *bmcf);
ngx_uint_t ngx_stream_buildkit_quit_tick(
    ngx_stream_buildkit_main_conf_t *bmcf);

/*
 * takeover.c: takes the session away from the stock proxy: the worker's side
 * is closed, the proxy's timers are gone, c->buffer holds the client's bytes
 * that were not passed on yet.  The caller sets new handlers at once.  Not
 * to be called from inside a filter or a callback of the proxy: from a
 * posted event or a timer only.
 */
ngx_int_t ngx_stream_buildkit_takeover(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);

/*
 * retry.c: a worker that did not answer is tried again for buildkit_retry
 * while the client is held.  For upstream.c, in the order in which it calls
 * them: a worker is dialled; that failed; 1: so the proxy wants another peer,
 * and gets a placeholder.
 */
ngx_int_t ngx_stream_buildkit_retry_start(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
void ngx_stream_buildkit_retry_failed(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_connection_t *pc);
ngx_uint_t ngx_stream_buildkit_retry_wanted(ngx_stream_buildkit_ctx_t *ctx);
ngx_int_t ngx_stream_buildkit_retry_placeholder(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_peer_connection_t *pc);
/*
 * The worker closed or broke the connection; from a posted event only.
 * NGX_OK: it had not answered yet, the session is held or refused or no more,
 * and not the caller's; NGX_DECLINED: it is a matter for cut.c.
 */
ngx_int_t ngx_stream_buildkit_retry_closed(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
void ngx_stream_buildkit_retry_done(ngx_stream_buildkit_ctx_t *ctx);

/*
 * replay.c: what a worker got that has said nothing yet.  start() when it is
 * connected; while ctx->replay: passed() before client bytes go on, end()
 * when the worker's first byte has come.
 */
void ngx_stream_buildkit_replay_start(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
ngx_int_t ngx_stream_buildkit_replay_passed(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_chain_t *chain);
void ngx_stream_buildkit_replay_end(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);

/* trouble.c: listens for what the worker says is wrong */
void ngx_stream_buildkit_trouble_watch(ngx_stream_buildkit_ctx_t *ctx,
    SSL *ssl);

/* live.c: sessions that have a worker: expiry, silence, changes */
ngx_int_t ngx_stream_buildkit_live_start(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
void ngx_stream_buildkit_live_tick(ngx_stream_buildkit_main_conf_t *bmcf,
    ngx_uint_t changed);
void ngx_stream_buildkit_live_done(ngx_stream_buildkit_ctx_t *ctx);

/* filter.c: behind it nothing gets by the balancer; follows the frames */
ngx_int_t ngx_stream_buildkit_filter_init(ngx_conf_t *cf);

/*
 * cut.c: turns a live session into a refused one, at the next boundary of a
 * frame.  fmt as for refuse().  Not from inside of a filter; does not
 * finalize the session in the call.
 */
void ngx_stream_buildkit_cut(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_uint_t why, const char *fmt, ...);
void ngx_stream_buildkit_cut_done(ngx_stream_buildkit_ctx_t *ctx);

/*
 * limit.c: what is counted across worker processes (connections of one
 * allocation) and per process (held connections and handshakes of one
 * address).  take() and hold() return NGX_OK or NGX_BUSY, take() also
 * NGX_DECLINED when there is no room to count; all may be called again.
 */
ngx_int_t ngx_stream_buildkit_limit_init(ngx_conf_t *cf);
void ngx_stream_buildkit_limit_start(ngx_stream_buildkit_limit_t *limit,
    ngx_log_t *log);
ngx_int_t ngx_stream_buildkit_limit_take(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
void ngx_stream_buildkit_limit_give(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
ngx_int_t ngx_stream_buildkit_limit_hold(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
void ngx_stream_buildkit_limit_unhold(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
/* the handshake is over, well or not */
void ngx_stream_buildkit_limit_handshake_done(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
/*
 * Remembers that connections of this allocation were cut here, for ctx->why:
 * for two seconds in any case, and for half a minute while its entry in the
 * table is as it was (ctx->mark) where that says nothing of it.  was_cut()
 * returns 0 or BK_CUT_*.
 */
void ngx_stream_buildkit_limit_cut(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
ngx_uint_t ngx_stream_buildkit_limit_was_cut(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);

/*
 * shared.c: what limit.c counts over all worker processes.  take() returns
 * NGX_OK, NGX_BUSY or NGX_DECLINED when there is no room to count.
 */
ngx_stream_buildkit_limit_t *ngx_stream_buildkit_shared_create(
    ngx_conf_t *cf);
void ngx_stream_buildkit_shared_start(ngx_stream_buildkit_limit_t *limit);
ngx_int_t ngx_stream_buildkit_shared_take(ngx_stream_buildkit_limit_t *limit,
    const u_char *key, ngx_uint_t max, ngx_log_t *log);
void ngx_stream_buildkit_shared_give(ngx_stream_buildkit_limit_t *limit,
    const u_char *key);
void ngx_stream_buildkit_shared_cut(ngx_stream_buildkit_limit_t *limit,
    const u_char *key, ngx_stream_buildkit_mark_t *mark, ngx_uint_t why);
ngx_uint_t ngx_stream_buildkit_shared_was_cut(
    ngx_stream_buildkit_limit_t *limit, const u_char *key,
    ngx_stream_buildkit_mark_t *mark, ngx_uint_t ready);

/* address.c: sets ctx->address; release() does when nothing counts there */
ngx_int_t ngx_stream_buildkit_address_get(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
void ngx_stream_buildkit_address_release(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
ngx_stream_buildkit_addresses_t *ngx_stream_buildkit_addresses_create(
    ngx_conf_t *cf);

/* handshake.c: waits for its turn in ACCESS, gives it up in done() */
ngx_int_t ngx_stream_buildkit_handshake_init(ngx_conf_t *cf);
void ngx_stream_buildkit_handshake_done(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);

/* peer.c: keepalive and TCP_USER_TIMEOUT; dead peers are counted */
void ngx_stream_buildkit_peer_set(ngx_stream_session_t *s,
    ngx_connection_t *c);
/* before c is closed; worker: on which side it is */
void ngx_stream_buildkit_peer_check(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_connection_t *c, ngx_uint_t worker);

/*
 * report.c.  open() gives the session its record, route() says which row it
 * counts for (as soon as its names are known, and when they change), phase()
 * counts and notes a change, close() ends it.  After open() they may be
 * called in any order and as often as one likes.
 *
 * Each connection is counted once as accepted and once as routed (its worker
 * has answered, or it ended LIVE), refused or gone; cut comes on top of
 * routed.  held_ms and the gauges follow from phase() alone.
 */
ngx_stream_buildkit_report_t *ngx_stream_buildkit_report_create(
    ngx_conf_t *cf);
void ngx_stream_buildkit_report_open(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
void ngx_stream_buildkit_report_route(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
void ngx_stream_buildkit_report_phase(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_uint_t phase, ngx_uint_t why);
/* LIVE, and it is not going to be tried with another worker any more */
void ngx_stream_buildkit_report_routed(ngx_stream_buildkit_ctx_t *ctx);
void ngx_stream_buildkit_report_kind(ngx_stream_buildkit_ctx_t *ctx,
    ngx_uint_t kind);
void ngx_stream_buildkit_report_expiring(ngx_stream_buildkit_ctx_t *ctx);
void ngx_stream_buildkit_report_close(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
/* in all, up to now */
ngx_msec_t ngx_stream_buildkit_report_held(ngx_stream_buildkit_ctx_t *ctx);

/* report_count.c: in the session's row, or for the whole process */
void ngx_stream_buildkit_report_connected(ngx_stream_buildkit_ctx_t *ctx,
    ngx_msec_t ms);
void ngx_stream_buildkit_report_dead(ngx_stream_session_t *s,
    ngx_uint_t worker);
void ngx_stream_buildkit_report_handshake(ngx_stream_session_t *s,
    ngx_uint_t why);
/* BK_HANDSHAKE_*: why a session never got to open(); LOG phase */
ngx_uint_t ngx_stream_buildkit_report_failure(ngx_stream_session_t *s);
bk_report_pool_t *ngx_stream_buildkit_report_row(
    ngx_stream_buildkit_report_t *report, ngx_str_t *pool);
void ngx_stream_buildkit_report_observe(bk_report_hist_t *hist,
    ngx_msec_t ms);

/* report_who.c: fills ticks, boot and pid_ns */
void ngx_stream_buildkit_report_identify(
    ngx_stream_buildkit_report_t *report);

/* report_file.c: the file behind it; without one nothing else is missing */
void ngx_stream_buildkit_report_start(ngx_stream_buildkit_main_conf_t *bmcf,
    ngx_cycle_t *cycle);
void ngx_stream_buildkit_report_tick(ngx_stream_buildkit_main_conf_t *bmcf);
/* NGX_OK: record number nused can be written */
ngx_int_t ngx_stream_buildkit_report_room(
    ngx_stream_buildkit_report_t *report);

/* digest.c */
ngx_int_t ngx_stream_buildkit_digest_init(ngx_conf_t *cf,
    ngx_stream_buildkit_main_conf_t *bmcf);
void ngx_stream_buildkit_sha256(ngx_stream_buildkit_main_conf_t *bmcf,
    const u_char *data, size_t len, u_char *hash);

/* check.c: configuration that could let somebody through does not load */
ngx_int_t ngx_stream_buildkit_check_servers(ngx_conf_t *cf);

/*
 * verify.c: takes over the client side of an SSL_CTX; later says what is
 * wrong with the peer's certificate: NGX_OK, or what refusing it returned.
 */
ngx_int_t ngx_stream_buildkit_verify_init(ngx_conf_t *cf,
    ngx_stream_buildkit_srv_conf_t *bscf,
    ngx_stream_buildkit_ssl_conf_t *sslcf);
ngx_int_t ngx_stream_buildkit_verify_peer(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);

/* worker_ca.c: workers' chains are verified, names hardly */
char *ngx_stream_buildkit_worker_ca(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_stream_buildkit_worker_ca_set(ngx_stream_session_t *s,
    ngx_connection_t *c);

/* chains.c: leaves whose chain was verified before, per SSL_CTX and cycle */
ngx_stream_buildkit_chains_t *ngx_stream_buildkit_chains_create(
    ngx_conf_t *cf, SSL_CTX *ssl_ctx);
ngx_int_t ngx_stream_buildkit_chains_find(
    ngx_stream_buildkit_chains_t *chains, const u_char *hash);
void ngx_stream_buildkit_chains_add(ngx_stream_buildkit_chains_t *chains,
    const u_char *hash, X509_STORE_CTX *store);
time_t ngx_stream_buildkit_asn1_time(const ASN1_TIME *at);

/*
 * zone.c: the mapped table.  find() returns NGX_OK, NGX_DECLINED for an
 * unknown key, NGX_BUSY when the writer was faster, NGX_ERROR when there is
 * no table to look at (one line a while in the log says why).
 */
ngx_stream_buildkit_zone_t *ngx_stream_buildkit_zone_create(ngx_conf_t *cf,
    ngx_str_t *path, ngx_msec_t check);
void ngx_stream_buildkit_zone_start(ngx_stream_buildkit_zone_t *zone,
    ngx_log_t *log);
ngx_int_t ngx_stream_buildkit_zone_find(ngx_stream_buildkit_zone_t *zone,
    const u_char *key, ngx_stream_buildkit_route_t *route);
/* each tick: is the file still the one?  1: something changed since then */
ngx_uint_t ngx_stream_buildkit_zone_check(ngx_stream_buildkit_zone_t *zone);
/* whose file it is; NGX_ERROR: there is none */
ngx_int_t ngx_stream_buildkit_zone_owner(ngx_stream_buildkit_zone_t *zone,
    uid_t *uid);
/* two loads: NGX_OK when the entry and its worker are as they were when mark
 * was made */
ngx_int_t ngx_stream_buildkit_zone_same(ngx_stream_buildkit_zone_t *zone,
    ngx_stream_buildkit_mark_t *mark);

/* fault.c: catches SIGBUS in ranges that are watched */
void ngx_stream_buildkit_fault_catch(ngx_log_t *log);
void ngx_stream_buildkit_fault_watch(ngx_stream_buildkit_range_t *range);
void ngx_stream_buildkit_fault_forget(ngx_stream_buildkit_range_t *range);

/*
 * refuse.c: sets the reason, logs it and begins to answer.  why is one of
 * BK_REFUSED_*, which has its gRPC status; fmt is that of ngx_sprintf(),
 * without prefix.  Returns what the phase handler must: DONE, ERROR or a
 * status, never anything that lets the session go on.  From elsewhere: for
 * anything but DONE the caller finalizes the session.
 */
ngx_int_t ngx_stream_buildkit_refuse(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_uint_t why, const char *fmt, ...);
/* the text as it is logged, in ctx->reason, and as it is sent, in message */
ngx_int_t ngx_stream_buildkit_refuse_text(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_str_t *message, const char *fmt,
    va_list args);
u_char *ngx_stream_buildkit_time(u_char *buf, time_t sec);
u_char *ngx_stream_buildkit_when(u_char *buf, u_char *last, time_t sec);

/* reply.c: HTTP/2 to a refused client until it goes; owns the session then */
void ngx_stream_buildkit_reply_done(ngx_stream_buildkit_ctx_t *ctx);
ngx_int_t ngx_stream_buildkit_reply(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_uint_t code, ngx_uint_t status,
    ngx_str_t *message);

/* answer.c: the header block that ends a stream with a status and a text */
ngx_int_t ngx_stream_buildkit_answer_block(ngx_pool_t *pool, ngx_str_t *block,
    ngx_uint_t code, ngx_str_t *message);

/* upstream.c: the balancer */
char *ngx_stream_buildkit_upstream(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_stream_buildkit_upstream_check(ngx_conf_t *cf);

/* sessions.c: TLS sessions, one per worker and identity of ours */
ngx_stream_buildkit_sessions_t *ngx_stream_buildkit_sessions_create(
    ngx_conf_t *cf);
ngx_int_t ngx_stream_buildkit_sessions_set(
    ngx_stream_buildkit_sessions_t *sessions, ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_connection_t *pc);
void ngx_stream_buildkit_sessions_save(
    ngx_stream_buildkit_sessions_t *sessions, ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_connection_t *pc);

/* variables.c */
ngx_int_t ngx_stream_buildkit_add_variables(ngx_conf_t *cf);


extern ngx_module_t  ngx_stream_buildkit_module;
extern ngx_module_t  ngx_stream_proxy_module;
extern ngx_module_t  ngx_stream_write_filter_module;


#endif /* _NGX_STREAM_BUILDKIT_MODULE_H_INCLUDED_ */
