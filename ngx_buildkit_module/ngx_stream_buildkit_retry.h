
/*
 * What retry.c and trouble.c share: a session whose worker has not said
 * anything yet.
 */


#ifndef _NGX_STREAM_BUILDKIT_RETRY_H_INCLUDED_
#define _NGX_STREAM_BUILDKIT_RETRY_H_INCLUDED_


#include "ngx_stream_buildkit_module.h"


#define NGX_STREAM_BUILDKIT_TROUBLE_TEXT  256


struct ngx_stream_buildkit_retry_s {
    ngx_event_t                event;
    ngx_event_t                timer;       /* until it answers */
    ngx_msec_t                 connected;
    ngx_event_handler_pt       handler;     /* of the proxy */
    size_t                     skip;        /* c->buffer is on its way */
    ngx_uint_t                 alert;       /* of the worker; 0: none */
    u_char                     text[NGX_STREAM_BUILDKIT_TROUBLE_TEXT];

    unsigned                   failed:1;    /* what is dialled is nothing */
    unsigned                   own:1;       /* c->buffer: only ours */
};


/* trouble.c: all set ctx->trouble */
void ngx_stream_buildkit_trouble(ngx_stream_buildkit_ctx_t *ctx,
    const char *fmt, ...);
void ngx_stream_buildkit_trouble_errno(ngx_stream_buildkit_ctx_t *ctx,
    ngx_err_t err);
/* TLS towards the worker failed, or its certificate is no good */
void ngx_stream_buildkit_trouble_tls(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_connection_t *pc);
/* 0: the worker sent no alert */
ngx_uint_t ngx_stream_buildkit_trouble_alert(ngx_stream_buildkit_ctx_t *ctx);


#endif /* _NGX_STREAM_BUILDKIT_RETRY_H_INCLUDED_ */
