
/*
 * Peers that are gone without a word: a host that lost its power or network
 * sends no FIN.  Keepalive finds them on an idle connection, TCP_USER_TIMEOUT
 * on one with data under way, both within buildkit_peer_timeout.
 *
 * The kernel then ends the connection, and for nginx that is an error among
 * others; check() tells afterwards, so that it is counted as what it was.
 */


#include "ngx_stream_buildkit_module.h"


static void ngx_stream_buildkit_peer_option(ngx_connection_t *c, int level,
    int name, const char *text, int value);


void
ngx_stream_buildkit_peer_set(ngx_stream_session_t *s, ngx_connection_t *c)
{
    int                              idle, interval;
    ngx_msec_t                       timeout;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    timeout = bscf->peer_timeout;

    /* nginx notes the address of a client only; a worker's is never a path */

    if (timeout == 0
        || (c->sockaddr && c->sockaddr->sa_family == AF_UNIX))
    {
        return;
    }

    /* in whole seconds, so rounded such that it is not over the time */

    idle = ngx_max(timeout / 2000, 1);
    interval = ngx_max(timeout / 10000, 1);

    ngx_stream_buildkit_peer_option(c, SOL_SOCKET, SO_KEEPALIVE,
                                    "SO_KEEPALIVE", 1);

    ngx_stream_buildkit_peer_option(c, IPPROTO_TCP, TCP_KEEPIDLE,
                                    "TCP_KEEPIDLE", idle);

    ngx_stream_buildkit_peer_option(c, IPPROTO_TCP, TCP_KEEPINTVL,
                                    "TCP_KEEPINTVL", interval);

    ngx_stream_buildkit_peer_option(c, IPPROTO_TCP, TCP_KEEPCNT,
                                    "TCP_KEEPCNT",
                                    ngx_max(((int) (timeout / 1000) - idle)
                                            / interval, 1));

    /*
     * Rules keepalive as well: the first probe after this time without an
     * answer is the last one.  A little early, so that that one is in time.
     */

    ngx_stream_buildkit_peer_option(c, IPPROTO_TCP, TCP_USER_TIMEOUT,
                                    "TCP_USER_TIMEOUT",
                                    timeout - timeout / 10);
}


void
ngx_stream_buildkit_peer_check(ngx_stream_session_t *s,
    ngx_stream_buildkit_ctx_t *ctx, ngx_connection_t *c, ngx_uint_t worker)
{
    int                              timeout;
    socklen_t                        len;
    struct tcp_info                  ti;
    ngx_stream_buildkit_srv_conf_t  *bscf;

    bscf = ngx_stream_get_module_srv_conf(s, ngx_stream_buildkit_module);

    if (bscf->peer_timeout == 0 || c == NULL || c->fd == (ngx_socket_t) -1) {
        return;
    }

    /* set by us, and only once it was connected */

    timeout = 0;
    len = sizeof(int);

    if (getsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (void *) &timeout,
                   &len)
        == -1
        || timeout == 0)
    {
        return;
    }

    len = sizeof(struct tcp_info);

    if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &ti, &len) == -1
        || ti.tcpi_state != TCP_CLOSE)
    {
        return;
    }

    /*
     * Ended, and not by us.  A reset is such an end as well, but a peer that
     * resets was alive: it acknowledged something, at the latest a probe of
     * keepalive, not long ago.
     */

    if (ti.tcpi_last_ack_recv < bscf->peer_timeout * 3 / 4) {
        return;
    }

    ngx_log_error(NGX_LOG_INFO, s->connection->log, 0,
                  "buildkit: %s is gone without a word: it acknowledged "
                  "nothing for %uDms",
                  worker ? "the worker" : "the client",
                  (uint32_t) ti.tcpi_last_ack_recv);

    ngx_stream_buildkit_report_dead(s, worker);
}


static void
ngx_stream_buildkit_peer_option(ngx_connection_t *c, int level, int name,
    const char *text, int value)
{
    if (setsockopt(c->fd, level, name, (const void *) &value, sizeof(int))
        == -1)
    {
        ngx_log_error(NGX_LOG_INFO, c->log, ngx_socket_errno,
                      "buildkit: setsockopt(%s, %d) failed", text, value);
    }
}
