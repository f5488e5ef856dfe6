
/*
 * A client that is cut in the middle of a Session reads first what it was
 * sent: it gets a PING, and the reason when it has answered that and had a
 * moment.
 *
 * One that hears of the end before it has read all of its Session closes
 * that, and BuildKit's Close() takes what was not read together with bytes of
 * older messages (session/grpchijack/dial.go of 0.12 to 0.33: the whole
 * buffer), so that a person reads of a PROTOCOL_ERROR before our text.
 *
 * Nobody is told later for it than he could have read it, but for that
 * moment: the text comes behind those bytes anyway.
 */


#include "ngx_stream_buildkit_cut.h"


/* for a client to answer a PING, and to do something about what it read */
#define NGX_STREAM_BUILDKIT_SETTLE_ANSWER  500
#define NGX_STREAM_BUILDKIT_SETTLE_MOMENT  20
/* so many at a time; where hundreds are cut all are told at once */
#define NGX_STREAM_BUILDKIT_SETTLE_MAX     16


/* when a reply to one that was live is begun: has it to wait? */

void
ngx_stream_buildkit_settle(ngx_stream_buildkit_reply_t *r,
    const ngx_stream_buildkit_track_t *t)
{
    ngx_stream_buildkit_main_conf_t  *bmcf;

    bmcf = ngx_stream_get_module_main_conf(r->session,
                                           ngx_stream_buildkit_module);

    /* c->close: nginx is out of time, there is no later */

    if (r->session->connection->close
        || bmcf->settling >= NGX_STREAM_BUILDKIT_SETTLE_MAX
        || !ngx_stream_buildkit_track_talks(t))
    {
        return;
    }

    r->settle = 1;
    bmcf->settling++;
}


/* the PING is sent */

void
ngx_stream_buildkit_settle_wait(ngx_stream_buildkit_reply_t *r)
{
    if (r->pause) {
        return;
    }

    r->pause = 1;

    ngx_add_timer(&r->timer, NGX_STREAM_BUILDKIT_SETTLE_ANSWER);
}


/* something was read, perhaps before the session was ours */

void
ngx_stream_buildkit_settle_look(ngx_stream_buildkit_reply_t *r)
{
    if (!r->pause || r->moment || !r->h2.marked) {
        return;
    }

    r->moment = 1;

    /* a timer is not moved by so little */

    ngx_del_timer(&r->timer);
    ngx_add_timer(&r->timer, NGX_STREAM_BUILDKIT_SETTLE_MOMENT);
}


void
ngx_stream_buildkit_settle_done(ngx_stream_buildkit_reply_t *r)
{
    ngx_stream_buildkit_main_conf_t  *bmcf;

    r->pause = 0;

    if (r->settle) {
        r->settle = 0;

        bmcf = ngx_stream_get_module_main_conf(r->session,
                                               ngx_stream_buildkit_module);
        bmcf->settling--;
    }
}
