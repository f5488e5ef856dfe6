
/*
 * The pool gateway for BuildKit: what the files of this module share.
 *
 * A connection's way: verify.c (certificate, inside the handshake), route.c
 * (preread: token, look-up in zone.c), decide.c (what that means), then
 * either upstream.c (balancer) or refuse.c and reply.c (a gRPC status and
 * our text).
 */


#ifndef _NGX_STREAM_BUILDKIT_MODULE_H_INCLUDED_
#define _NGX_STREAM_BUILDKIT_MODULE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include <signal.h>

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

/* a refusal's text is shorter than this as it is sent */
#define NGX_STREAM_BUILDKIT_TEXT_MAX  1000


typedef struct ngx_stream_buildkit_zone_s      ngx_stream_buildkit_zone_t;
typedef struct ngx_stream_buildkit_sessions_s  ngx_stream_buildkit_sessions_t;
typedef struct ngx_stream_buildkit_chains_s    ngx_stream_buildkit_chains_t;
typedef struct ngx_stream_buildkit_reply_s     ngx_stream_buildkit_reply_t;


typedef struct {
    ngx_str_t                        table;
    ngx_msec_t                       check;

    ngx_stream_buildkit_zone_t      *zone;      /* NULL: no buildkit_table */
    ngx_stream_buildkit_sessions_t  *sessions;  /* towards workers */

    ngx_uint_t                       balancers; /* upstreams with buildkit; */

    EVP_MD                          *sha256;    /* fetching is slow: once */
    EVP_MD_CTX                      *md;
} ngx_stream_buildkit_main_conf_t;


typedef struct {
    ngx_flag_t                       enable;
    ngx_array_t                     *pools;
                                          /* of ngx_stream_complex_value_t */
    ngx_uint_t                       balancer;  /* an upstream's: buildkit; */

    /* set by ngx_stream_buildkit_verify_init() */
    ngx_stream_buildkit_main_conf_t *main;
    ngx_uint_t                       verify;    /* ssl_verify_client */
    ngx_stream_buildkit_chains_t    *chains;    /* NULL: verify each time */
} ngx_stream_buildkit_srv_conf_t;


typedef struct {
    /* what the handshake left behind: whose certificate check, its result */
    ngx_stream_buildkit_srv_conf_t  *verified;
    long                             verify_error;
    int                              verify_depth;  /* of the error; 0: leaf */

    /* the route; all memory is the session's */
    u_char                           id[NGX_STREAM_BUILDKIT_ID_LEN];
    ngx_str_t                        pool;
    ngx_str_t                        worker;
    ngx_str_t                        tls_name;
    ngx_str_t                        reason;
    uint64_t                         expires_ms;
    bk_table_ref_t                   worker_ref;

    ngx_sockaddr_t                   sockaddr;
    socklen_t                        socklen;
    ngx_str_t                        addr;

    ngx_stream_buildkit_reply_t     *reply;     /* of a refused session */

    unsigned                         state:4;   /* BK_ALLOC_*, 0: unknown */
    unsigned                         id_set:1;
    unsigned                         routed:1;  /* may reach its worker */
    unsigned                         balanced:1;  /* through our balancer */
    unsigned                         session_set:1;
} ngx_stream_buildkit_ctx_t;


/* a mapping whose file may be cut short: fault.c */
typedef struct ngx_stream_buildkit_range_s  ngx_stream_buildkit_range_t;

struct ngx_stream_buildkit_range_s {
    u_char                          *base;
    size_t                           size;
    volatile sig_atomic_t            bad;   /* pages are not the file's */
    ngx_stream_buildkit_range_t     *next;
};


/* what one look-up found: consistent copies */
typedef struct {
    bk_table_found_t                 found;
    bk_table_pool_data_t             pool;
    bk_table_worker_data_t           worker;
    char                             text[BK_TABLE_TEXT_LEN];
    int                              worker_rc;  /* BK_TABLE_OK, _MISS */
} ngx_stream_buildkit_route_t;


/* route.c: the session's ctx, made when it is first asked for; NULL: memory */
ngx_stream_buildkit_ctx_t *ngx_stream_buildkit_get_ctx(
    ngx_stream_session_t *s);
ngx_int_t ngx_stream_buildkit_preread_handler(ngx_stream_session_t *s);

/* decide.c: NGX_OK, or what refusing the client returned */
ngx_int_t ngx_stream_buildkit_decide(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_stream_buildkit_route_t *route);
ngx_str_t *ngx_stream_buildkit_state_name(ngx_uint_t state);

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

/* fault.c: catches SIGBUS in ranges that are watched */
void ngx_stream_buildkit_fault_catch(ngx_log_t *log);
void ngx_stream_buildkit_fault_watch(ngx_stream_buildkit_range_t *range);
void ngx_stream_buildkit_fault_forget(ngx_stream_buildkit_range_t *range);

/*
 * refuse.c: sets the reason, logs it and begins to answer.  fmt is that of
 * ngx_sprintf(), without prefix.  Returns what the phase handler must: DONE,
 * ERROR or a status, never anything that lets the session go on.
 */
ngx_int_t ngx_stream_buildkit_refuse(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_uint_t code, const char *fmt, ...);
u_char *ngx_stream_buildkit_time(u_char *buf, time_t sec);
u_char *ngx_stream_buildkit_when(u_char *buf, u_char *last, time_t sec);

/* reply.c: HTTP/2 to a refused client until it goes; owns the session then */
ngx_int_t ngx_stream_buildkit_reply(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_uint_t code, ngx_uint_t status,
    ngx_str_t *message);
ngx_int_t ngx_stream_buildkit_log_handler(ngx_stream_session_t *s);

/* upstream.c: the balancer, and the filter behind which nothing gets by it */
char *ngx_stream_buildkit_upstream(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_stream_buildkit_upstream_check(ngx_conf_t *cf);
ngx_int_t ngx_stream_buildkit_filter_init(ngx_conf_t *cf);

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


#endif /* _NGX_STREAM_BUILDKIT_MODULE_H_INCLUDED_ */
