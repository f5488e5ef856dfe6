
/*
 * What filter.c, live.c, cut.c, reply.c, settle.c and answer.c share: a
 * session that has its worker, and its end.
 */


#ifndef _NGX_STREAM_BUILDKIT_CUT_H_INCLUDED_
#define _NGX_STREAM_BUILDKIT_CUT_H_INCLUDED_


#include "ngx_stream_buildkit_module.h"


struct ngx_stream_buildkit_live_s {
    ngx_stream_buildkit_track_t    track;
    ngx_event_t                    event;   /* live.c's, then cut.c's */
    ngx_msec_t                     start;
    ngx_msec_t                     last;    /* a byte, in any direction */
    ngx_msec_t                     lost_at;
    ngx_msec_t                     warn;    /* so long before the expiry */
    uint64_t                       warn_for;    /* expires_ms it is of */

    unsigned                       lost:1;  /* the worker hung up */
    unsigned                       client_eof:1;
    unsigned                       worker_eof:1;
    unsigned                       worker_notified:1;   /* of the other's */
    unsigned                       client_notified:1;
    unsigned                       warned:1;
};


struct ngx_stream_buildkit_cut_s {
    ngx_str_t                      message;
    ngx_uint_t                     code;
    ngx_uint_t                     status;
    ngx_msec_t                     start;
    ngx_msec_t                     last;    /* live->last when looked at */

    unsigned                       waiting:1;   /* for a frame's end */
    unsigned                       mute:1;      /* is closed without text */
};


typedef struct {
    uint32_t                       stream;  /* 0: an answer to a PING */
    u_char                         ping[8];
} ngx_stream_buildkit_answer_t;


#define NGX_STREAM_BUILDKIT_PENDING  64


struct ngx_stream_buildkit_reply_s {
    ngx_stream_session_t          *session;
    ngx_uint_t                     status;  /* of the session, at the end */
    ngx_event_t                    timer;
    ngx_msec_t                     start;
    ngx_stream_buildkit_h2_t       h2;
    size_t                         received;
    size_t                         limit;   /* of received */

    ngx_str_t                      block;   /* HPACK, the same every time */
    ngx_str_t                      message;

    /* frames that are being sent: pos, last inside of out */
    u_char                        *out;
    u_char                        *pos;
    u_char                        *last;
    u_char                        *end;

    /* streams that were open already: each one of these is answered */
    uint32_t                       next;
    uint32_t                       upto;

    /* answers that wait for their turn: a ring */
    ngx_stream_buildkit_answer_t   answer[NGX_STREAM_BUILDKIT_PENDING];
    ngx_uint_t                     first;
    ngx_uint_t                     n;

    unsigned                       answered:1;
    unsigned                       draining:1;
    unsigned                       cut:1;   /* was live before */
    unsigned                       settle:1;    /* ... and reads on first */
    unsigned                       pinged:1;
    unsigned                       pause:1; /* for its answer, or a timer */
    unsigned                       moment:1;    /* ... and it was answered */
    unsigned                       flushed:1;   /* ... and all is sent */
};


/* filter.c: what the write filter holds for the client; as a filter does */
ngx_int_t ngx_stream_buildkit_filter_flush(ngx_stream_session_t *s);

/* live.c: something is to be looked at soon, outside of the filters */
void ngx_stream_buildkit_live_post(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
/* looks at each session whose entry has changed; goes on where it stopped */
void ngx_stream_buildkit_live_walk(ngx_stream_buildkit_main_conf_t *bmcf);

/*
 * change.c: the entry has changed, or may have.  NGX_OK: that is no reason to
 * cut; NGX_BUSY: will be looked at again; NGX_DONE: was cut.
 */
ngx_int_t ngx_stream_buildkit_change_look(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
/* the allocation has ended: NGX_DONE */
ngx_int_t ngx_stream_buildkit_change_ended(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_stream_buildkit_route_t *route,
    ngx_uint_t state);
/* Unix time in milliseconds */
uint64_t ngx_stream_buildkit_change_now(void);

/* cut.c: there is more to be done, in the next round of the event loop */
void ngx_stream_buildkit_cut_post(ngx_stream_buildkit_main_conf_t *bmcf);
/* the frame that was waited for has ended, or never will: mute */
void ngx_stream_buildkit_cut_go(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_uint_t mute);

/*
 * reply.c: says it at once, while the proxy has the session still; NGX_ERROR:
 * cannot.  Only when nothing is buffered for the client.
 */
ngx_int_t ngx_stream_buildkit_reply_speak(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);
/* the same for a session that was taken over, and all that is left to do;
 * may finalize it */
void ngx_stream_buildkit_reply_cut(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx);

/* settle.c: before it is told, a client that is cut reads what it was sent */
void ngx_stream_buildkit_settle(ngx_stream_buildkit_reply_t *r,
    const ngx_stream_buildkit_track_t *t);
void ngx_stream_buildkit_settle_wait(ngx_stream_buildkit_reply_t *r);
void ngx_stream_buildkit_settle_look(ngx_stream_buildkit_reply_t *r);
void ngx_stream_buildkit_settle_done(ngx_stream_buildkit_reply_t *r);

/* answer.c: the frames of a reply */
ngx_int_t ngx_stream_buildkit_answer_init(ngx_stream_buildkit_reply_t *r,
    ngx_uint_t code, ngx_str_t *message, ngx_uint_t frames);
/* NGX_ERROR: there are too many already */
ngx_int_t ngx_stream_buildkit_answer_add(ngx_stream_buildkit_reply_t *r,
    uint32_t stream, u_char *ping);
/* NGX_OK: all is sent; NGX_AGAIN: as much as went; NGX_ERROR */
ngx_int_t ngx_stream_buildkit_answer_send(ngx_stream_buildkit_reply_t *r);
ngx_int_t ngx_stream_buildkit_answer_goaway(ngx_stream_buildkit_reply_t *r);


#endif /* _NGX_STREAM_BUILDKIT_CUT_H_INCLUDED_ */
