
/*
 * What hold.c and hold_client.c share: a session that waits for its worker.
 */


#ifndef _NGX_STREAM_BUILDKIT_HOLD_H_INCLUDED_
#define _NGX_STREAM_BUILDKIT_HOLD_H_INCLUDED_


#include "ngx_stream_buildkit_module.h"


/* which of the directives limits a wait */
typedef enum {
    ngx_stream_buildkit_hold_none_e = 0,
    ngx_stream_buildkit_hold_grace_e,
    ngx_stream_buildkit_hold_wait_e,
    ngx_stream_buildkit_hold_lookup_e,
    ngx_stream_buildkit_hold_retry_e
} ngx_stream_buildkit_hold_e;


struct ngx_stream_buildkit_hold_s {
    ngx_event_t                    timer;   /* whatever is due first */
    ngx_msec_t                     start;
    ngx_msec_t                     since;   /* the limit counts from */
    ngx_msec_t                     failing; /* that of retry, amid lookup */
    ngx_msec_t                     again;   /* backoff: the next try */
    ngx_uint_t                     tries;   /* of the worker, in vain */
    ngx_stream_buildkit_hold_e     limit;

    ngx_stream_buildkit_h2_t       h2;
    size_t                         parsed;  /* bytes of c->buffer */

    /* what the client has not taken yet */
    u_char                        *pos;
    u_char                        *last;
    u_char                        *answer;  /* of a look: to be freed */

    unsigned                       parked:1;    /* is held, in a list */
    unsigned                       backoff:1;
    unsigned                       due:1;   /* once all of it is sent */
    unsigned                       heard:1; /* a request has come */
    unsigned                       look:1;  /* ... and only looks */
    unsigned                       opaque:1;    /* does not speak HTTP/2 */
};


/* hold.c: puts it in the list, with a deadline for what ctx->waits says */
void ngx_stream_buildkit_hold_park(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
/* the next deadline of all that there are */
void ngx_stream_buildkit_hold_timer(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
/*
 * hold_wake.c: looks again.  NGX_AGAIN: it is still held; NGX_DONE: it is not,
 * and the session need not even be there.
 */
ngx_int_t ngx_stream_buildkit_hold_again(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
/* hold.c: ends the hold, with what route() returned */
void ngx_stream_buildkit_hold_end(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_int_t rc);

/*
 * hold_client.c: a request that will not wait is told what there is to wait
 * for.  NGX_OK: it is held; NGX_ERROR: the client is gone; NGX_DONE: it is not
 * held any more, and the session need not even be there.
 */
ngx_int_t ngx_stream_buildkit_hold_looked(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
/* what the client does meanwhile */
void ngx_stream_buildkit_hold_handler(ngx_event_t *ev);
/* SETTINGS, as far as they go; NGX_ERROR: the client is gone */
ngx_int_t ngx_stream_buildkit_hold_settings(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);


#endif /* _NGX_STREAM_BUILDKIT_HOLD_H_INCLUDED_ */
