
/*
 * The socket at which plugin-host is asked, one connection for each process,
 * made when it is needed and again when it broke.
 *
 * A question names the token itself, so it goes to nobody but the user whose
 * file the route table is: who decides where clients go anyway.  The token is
 * taken from the certificate when it is sent, and kept nowhere.
 */


#include "ngx_stream_buildkit_lookup.h"


/* how often a socket that nobody answers at is tried, and complained about */
#define NGX_STREAM_BUILDKIT_LOOKUP_TRY    500
#define NGX_STREAM_BUILDKIT_LOOKUP_QUIET  10


static ngx_int_t ngx_stream_buildkit_lookup_fill(
    ngx_stream_buildkit_ask_t *ask, bk_lookup_ask_t *message);
static ngx_int_t ngx_stream_buildkit_lookup_trust(
    ngx_stream_buildkit_lookup_t *lookup, ngx_socket_t fd);
static void ngx_stream_buildkit_lookup_complain(
    ngx_stream_buildkit_lookup_t *lookup, ngx_err_t err, const char *what);
static void ngx_stream_buildkit_lookup_read(ngx_event_t *rev);
static void ngx_stream_buildkit_lookup_write(ngx_event_t *wev);
static ngx_int_t ngx_stream_buildkit_lookup_answer(
    ngx_stream_buildkit_lookup_t *lookup, bk_lookup_answer_t *answer);
static void ngx_stream_buildkit_lookup_say(ngx_stream_buildkit_ctx_t *ctx,
    bk_lookup_answer_t *answer);


ngx_int_t
ngx_stream_buildkit_lookup_send(ngx_stream_buildkit_ask_t *ask)
{
    ssize_t                        n;
    ngx_err_t                      err;
    bk_lookup_ask_t                message;
    ngx_stream_buildkit_lookup_t  *lookup;

    lookup = ask->lookup;

    if (ngx_stream_buildkit_lookup_fill(ask, &message) != NGX_OK) {

        /* nothing to ask about; its time passes */

        return NGX_OK;
    }

    n = send(lookup->connection->fd, &message, sizeof(message),
             MSG_DONTWAIT|MSG_NOSIGNAL);

    err = (n == -1) ? ngx_socket_errno : 0;

    ngx_explicit_memzero(&message, sizeof(message));

    if (n == (ssize_t) sizeof(message)) {
        return NGX_OK;
    }

    if (err == NGX_EAGAIN || err == NGX_EINTR) {
        return NGX_AGAIN;
    }

    ngx_stream_buildkit_lookup_complain(lookup, err, "is gone");
    ngx_stream_buildkit_lookup_close(lookup);

    return NGX_ERROR;
}


static ngx_int_t
ngx_stream_buildkit_lookup_fill(ngx_stream_buildkit_ask_t *ask,
    bk_lookup_ask_t *message)
{
    X509                       *cert;
    size_t                      len;
    u_char                      token[NGX_STREAM_BUILDKIT_TOKEN_LEN];
    ngx_queue_t                *q;
    ngx_stream_session_t       *s;
    ngx_stream_buildkit_ctx_t  *ctx;

    q = ngx_queue_head(&ask->sessions);
    ctx = ngx_queue_data(q, ngx_stream_buildkit_ctx_t, asking);
    s = ctx->session;

    cert = SSL_get0_peer_certificate(s->connection->ssl->connection);

    if (cert == NULL
        || ngx_stream_buildkit_token_parse(cert, token, &len)
           != ngx_stream_buildkit_token_ok)
    {
        return NGX_ERROR;
    }

    ngx_memzero(message, sizeof(bk_lookup_ask_t));
    ngx_memcpy(message->magic, BK_LOOKUP_MAGIC, BK_LOOKUP_MAGIC_LEN);
    ngx_memcpy(message->token, token, len);

    message->token_len = (uint32_t) len;
    message->not_after_ms = (uint64_t) ngx_stream_buildkit_asn1_time(
                                            X509_get0_notAfter(cert)) * 1000;

    ngx_explicit_memzero(token, sizeof(token));

    return NGX_OK;
}


/* a unix socket is connected at once, or not at all */

ngx_int_t
ngx_stream_buildkit_lookup_connect(ngx_stream_buildkit_lookup_t *lookup)
{
    ngx_socket_t       fd;
    ngx_connection_t  *c;

    if (lookup->connection) {
        return NGX_OK;
    }

    if (lookup->was_tried
        && ngx_current_msec - lookup->tried < NGX_STREAM_BUILDKIT_LOOKUP_TRY)
    {
        return NGX_DECLINED;
    }

    lookup->was_tried = 1;
    lookup->tried = ngx_current_msec;

    fd = socket(AF_UNIX, SOCK_SEQPACKET|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);

    if (fd == (ngx_socket_t) -1) {
        ngx_stream_buildkit_lookup_complain(lookup, ngx_socket_errno,
                                            "cannot be had");
        return NGX_ERROR;
    }

    if (connect(fd, (struct sockaddr *) &lookup->sun, sizeof(lookup->sun))
        == -1)
    {
        ngx_stream_buildkit_lookup_complain(lookup, ngx_socket_errno,
                                            "cannot be connected to");
        goto failed;
    }

    if (ngx_stream_buildkit_lookup_trust(lookup, fd) != NGX_OK) {
        goto failed;
    }

    c = ngx_get_connection(fd, lookup->log);
    if (c == NULL) {
        goto failed;
    }

    c->data = lookup;
    c->log = lookup->log;
    c->read->log = c->log;
    c->write->log = c->log;
    c->read->handler = ngx_stream_buildkit_lookup_read;
    c->write->handler = ngx_stream_buildkit_lookup_write;

    lookup->connection = c;

    if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        ngx_stream_buildkit_lookup_close(lookup);
        return NGX_ERROR;
    }

    if (lookup->complained) {
        lookup->complained = 0;

        ngx_log_error(NGX_LOG_NOTICE, lookup->log, 0,
                      "buildkit: \"%s\" is there to be asked again",
                      lookup->sun.sun_path);
    }

    return NGX_OK;

failed:

    if (ngx_close_socket(fd) == -1) {
        ngx_log_error(NGX_LOG_ALERT, lookup->log, ngx_socket_errno,
                      ngx_close_socket_n " failed");
    }

    return NGX_ERROR;
}


/* NGX_OK: who listens there is whose word on routes is taken anyway */

static ngx_int_t
ngx_stream_buildkit_lookup_trust(ngx_stream_buildkit_lookup_t *lookup,
    ngx_socket_t fd)
{
    uid_t         owner;
    socklen_t     len;
    struct ucred  peer;

    len = sizeof(struct ucred);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == -1) {
        ngx_stream_buildkit_lookup_complain(lookup, ngx_socket_errno,
                                            "does not say whose it is");
        return NGX_ERROR;
    }

    if (ngx_stream_buildkit_zone_owner(lookup->bmcf->zone, &owner) != NGX_OK) {

        /* the table's own complaint says why */

        return NGX_DECLINED;
    }

    if (peer.uid != owner) {
        ngx_stream_buildkit_lookup_complain(lookup, 0,
                              "is not of the user whose the route table is");
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_stream_buildkit_lookup_complain(ngx_stream_buildkit_lookup_t *lookup,
    ngx_err_t err, const char *what)
{
    if (lookup->complained
        && ngx_time() - lookup->complained < NGX_STREAM_BUILDKIT_LOOKUP_QUIET)
    {
        return;
    }

    lookup->complained = ngx_time();

    ngx_log_error(NGX_LOG_ERR, lookup->log, err,
                  "buildkit: \"%s\" %s: nobody to ask about allocations that "
                  "the route table does not have; is buildkit-plugin-host "
                  "running, with the plugin controller?",
                  lookup->sun.sun_path, what);
}


/* whatever was not answered is asked again, with the next connection */

void
ngx_stream_buildkit_lookup_close(ngx_stream_buildkit_lookup_t *lookup)
{
    ngx_queue_t                *q;
    ngx_stream_buildkit_ask_t  *ask;

    if (lookup->connection == NULL) {
        return;
    }

    ngx_close_connection(lookup->connection);
    lookup->connection = NULL;

    for (q = ngx_queue_head(&lookup->asks);
         q != ngx_queue_sentinel(&lookup->asks);
         q = ngx_queue_next(q))
    {
        ask = ngx_queue_data(q, ngx_stream_buildkit_ask_t, queue);
        ask->due = ngx_current_msec;
    }
}


static void
ngx_stream_buildkit_lookup_read(ngx_event_t *rev)
{
    ssize_t                        n;
    ngx_err_t                      err;
    ngx_connection_t              *c;
    bk_lookup_answer_t             answer;
    ngx_stream_buildkit_lookup_t  *lookup;

    c = rev->data;
    lookup = c->data;

    for ( ;; ) {

        /* MSG_TRUNC: how long it was, and not how much of it there is */

        n = recv(c->fd, &answer, sizeof(answer), MSG_DONTWAIT|MSG_TRUNC);

        if (n == -1) {
            err = ngx_socket_errno;

            if (err == NGX_EINTR) {
                continue;
            }

            if (err == NGX_EAGAIN) {
                rev->ready = 0;

                if (ngx_handle_read_event(rev, 0) != NGX_OK) {
                    ngx_stream_buildkit_lookup_close(lookup);
                }

                return;
            }
        }

        if (n <= 0) {

            /* plugin-host ended: it may be started again */

            ngx_stream_buildkit_lookup_close(lookup);
            return;
        }

        if (n != (ssize_t) sizeof(answer)
            || ngx_stream_buildkit_lookup_answer(lookup, &answer) != NGX_OK)
        {
            ngx_stream_buildkit_lookup_complain(lookup, 0,
                              "answers what no plugin-host of ours does");
            ngx_stream_buildkit_lookup_close(lookup);
            return;
        }
    }
}


static void
ngx_stream_buildkit_lookup_write(ngx_event_t *wev)
{
    /* what could not be sent is sent by the next tick */
}


static ngx_int_t
ngx_stream_buildkit_lookup_answer(ngx_stream_buildkit_lookup_t *lookup,
    bk_lookup_answer_t *answer)
{
    ngx_queue_t                *q;
    ngx_stream_buildkit_ask_t  *ask;
    ngx_stream_buildkit_ctx_t  *ctx;

    if (ngx_memcmp(answer->magic, BK_LOOKUP_MAGIC, BK_LOOKUP_MAGIC_LEN) != 0
        || answer->verdict == 0 || answer->verdict >= BK_LOOKUP_VERDICTS
        || answer->text_len > BK_LOOKUP_TEXT_LEN)
    {
        return NGX_ERROR;
    }

    ask = ngx_stream_buildkit_lookup_find(lookup, answer->hash);

    if (ask == NULL) {

        /* nobody waits any more */

        return NGX_OK;
    }

    for (q = ngx_queue_head(&ask->sessions);
         q != ngx_queue_sentinel(&ask->sessions);
         q = ngx_queue_next(q))
    {
        ctx = ngx_queue_data(q, ngx_stream_buildkit_ctx_t, asking);

        ngx_stream_buildkit_lookup_say(ctx, answer);

        if (answer->verdict != BK_LOOKUP_TROUBLE || ctx->peeking) {

            /* later, one after the other: they leave this queue */

            ngx_stream_buildkit_hold_wake(lookup->bmcf, ctx);
        }
    }

    return NGX_OK;
}


static void
ngx_stream_buildkit_lookup_say(ngx_stream_buildkit_ctx_t *ctx,
    bk_lookup_answer_t *answer)
{
    ctx->verdict = answer->verdict;
    ctx->said.len = 0;

    if (answer->text_len == 0) {
        return;
    }

    if (ctx->said.data == NULL) {
        ctx->said.data = ngx_pnalloc(ctx->session->connection->pool,
                                     BK_LOOKUP_TEXT_LEN);
        if (ctx->said.data == NULL) {
            return;
        }
    }

    ngx_memcpy(ctx->said.data, answer->text, answer->text_len);
    ctx->said.len = answer->text_len;
}
