/*
 * HTTP requests on the host's loop: see bk_fetch.h.
 *
 * curl tells which sockets to watch and when to be called; nothing here
 * waits.  Names are resolved in a thread of curl's; one that hangs is left
 * to itself (QUICK_EXIT) and not waited for.
 */

#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fetch_int.h"


#define BK_FETCH_CONNECTIONS  16L       /* to one server, without streams */
#define BK_FETCH_IDLE         32L
#define BK_FETCH_LIMIT        (1024 * 1024)
#define BK_FETCH_TIMEOUT_MS   30000


static bk_fetch_t *bk_fetch_begin(bk_fetcher_t *f, const bk_fetch_req_t *req,
    bk_fetch_part_pt part, bk_fetch_pt done, void *data);
static void bk_fetch_allow(bk_fetcher_t *f);
static void bk_fetch_free(bk_fetch_t *e);
static int bk_fetch_socket(CURL *easy, curl_socket_t fd, int what,
    void *data, void *socket);
static int bk_fetch_timer(CURLM *multi, long ms, void *data);
static size_t bk_fetch_head(char *text, size_t size, size_t n, void *data);
static void bk_fetch_ready(int fd, int events, void *data);
static void bk_fetch_fired(void *data);
static void bk_fetch_ended(bk_fetcher_t *f);
static void bk_fetch_finish(bk_fetch_t *e, CURLcode rc);


bk_fetcher_t *
bk_fetcher_new(const bk_host_t *host)
{
    bk_fetcher_t  *f;

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return NULL;
    }

    f = calloc(1, sizeof(bk_fetcher_t));
    if (f == NULL) {
        abort();
    }

    f->host = host;
    f->timer = host->timer_new(host, bk_fetch_fired, f);
    f->multi = curl_multi_init();

    if (f->multi == NULL) {
        abort();
    }

    curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, bk_fetch_socket);
    curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f);
    curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, bk_fetch_timer);
    curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f);
    bk_fetch_allow(f);

    return f;
}


void
bk_fetcher_free(bk_fetcher_t **fp)
{
    bk_fetch_t    *e;
    bk_fetcher_t  *f = *fp;

    if (f == NULL) {
        return;
    }

    *fp = NULL;

    while (f->first != NULL) {
        e = f->first;
        bk_fetch_cancel(&e);
    }

    curl_multi_cleanup(f->multi);
    f->host->timer_free(&f->timer);
    free(f);
    curl_global_cleanup();
    ERR_clear_error();
}


bk_fetch_t *
bk_fetch(bk_fetcher_t *f, const bk_fetch_req_t *req, bk_fetch_pt done,
    void *data)
{
    return bk_fetch_begin(f, req, NULL, done, data);
}


bk_fetch_t *
bk_fetch_stream(bk_fetcher_t *f, const bk_fetch_req_t *req,
    bk_fetch_part_pt part, bk_fetch_pt done, void *data)
{
    return bk_fetch_begin(f, req, part, done, data);
}


static bk_fetch_t *
bk_fetch_begin(bk_fetcher_t *f, const bk_fetch_req_t *req,
    bk_fetch_part_pt part, bk_fetch_pt done, void *data)
{
    int          rc = 0;
    uint64_t     timeout_ms;
    bk_fetch_t  *e;

    e = calloc(1, sizeof(bk_fetch_t));
    if (e == NULL) {
        abort();
    }

    timeout_ms = req->timeout_ms ? req->timeout_ms : BK_FETCH_TIMEOUT_MS;

    e->owner = f;
    e->part = part;
    e->done = done;
    e->data = data;
    e->limit = req->limit ? req->limit : BK_FETCH_LIMIT;
    e->silence_ms = req->silence_ms;
    e->easy = curl_easy_init();

    if (e->easy == NULL) {
        abort();
    }

    e->next = f->first;
    f->first = e;

    rc |= curl_easy_setopt(e->easy, CURLOPT_PRIVATE, e);
    rc |= curl_easy_setopt(e->easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    rc |= curl_easy_setopt(e->easy, CURLOPT_HEADERFUNCTION, bk_fetch_head);
    rc |= curl_easy_setopt(e->easy, CURLOPT_HEADERDATA, e);
    rc |= curl_easy_setopt(e->easy, CURLOPT_WRITEFUNCTION, bk_fetch_write);
    rc |= curl_easy_setopt(e->easy, CURLOPT_WRITEDATA, e);

    if (part != NULL) {
        f->streams++;
        bk_fetch_allow(f);
        e->timer = f->host->timer_new(f->host, bk_fetch_silent, e);
        f->host->timer_set(e->timer, timeout_ms);

    } else {
        rc |= curl_easy_setopt(e->easy, CURLOPT_TIMEOUT_MS,
                               (long) timeout_ms);
    }

    /* an end that comes at once comes by the loop as well: a request
       without a URL fails in the first turn */
    if (bk_fetch_set(e, req) != 0 || rc != 0) {
        curl_easy_setopt(e->easy, CURLOPT_URL, NULL);
    }

    if (curl_multi_add_handle(f->multi, e->easy) != CURLM_OK) {
        abort();
    }

    return e;
}


/* A stream never takes the place of a request, nor of a connection that waits
 * for the next one: all of them count here. */

static void
bk_fetch_allow(bk_fetcher_t *f)
{
    curl_multi_setopt(f->multi, CURLMOPT_MAX_HOST_CONNECTIONS,
                      BK_FETCH_CONNECTIONS + (long) f->streams);
    curl_multi_setopt(f->multi, CURLMOPT_MAXCONNECTS,
                      BK_FETCH_IDLE + (long) f->streams);
}


void
bk_fetch_cancel(bk_fetch_t **ep)
{
    bk_fetch_t  *e = *ep;

    if (e != NULL) {
        *ep = NULL;
        bk_fetch_free(e);
    }
}


static void
bk_fetch_free(bk_fetch_t *e)
{
    bk_fetch_t    **at;
    bk_fetcher_t   *f = e->owner;

    for (at = &f->first; *at != e; at = &(*at)->next) {
        /* void */
    }

    *at = e->next;

    if (f->current == e) {
        f->current = NULL;
    }

    curl_multi_remove_handle(f->multi, e->easy);
    curl_easy_cleanup(e->easy);
    ERR_clear_error();

    if (e->part != NULL) {
        f->streams--;
        bk_fetch_allow(f);
        f->host->timer_free(&e->timer);
    }

    bk_fetch_unset(e);
    free(e->body);
    free(e);
}


unsigned
bk_fetch_retry_after(const bk_fetcher_t *f)
{
    return f->retry_after;
}


static int
bk_fetch_socket(CURL *easy, curl_socket_t fd, int what, void *data,
    void *socket)
{
    int            events;
    bk_watch_t    *w = socket;
    bk_fetcher_t  *f = data;

    (void) easy;

    if (what == CURL_POLL_REMOVE) {
        f->host->watch_free(&w);
        return 0;
    }

    events = ((what & CURL_POLL_IN) ? BK_READ : 0)
             | ((what & CURL_POLL_OUT) ? BK_WRITE : 0);

    if (w != NULL) {
        f->host->watch_set(w, events);
        return 0;
    }

    w = f->host->watch_new(f->host, fd, events, bk_fetch_ready, f);
    curl_multi_assign(f->multi, fd, w);

    return 0;
}


static int
bk_fetch_timer(CURLM *multi, long ms, void *data)
{
    bk_fetcher_t  *f = data;

    (void) multi;

    if (ms < 0) {
        f->host->timer_clear(f->timer);

    } else {
        f->host->timer_set(f->timer, (uint64_t) ms);
    }

    return 0;
}


static size_t
bk_fetch_head(char *text, size_t size, size_t n, void *data)
{
    long         status = 0;
    bk_fetch_t  *e = data;

    n *= size;
    bk_fetch_heard(e);

    /* its end: of the last one, if there were others (1xx) */
    if (e->part != NULL && !e->good && n > 0 && (text[0] == '\r'
                                                 || text[0] == '\n'))
    {
        curl_easy_getinfo(e->easy, CURLINFO_RESPONSE_CODE, &status);

        if (status == 200) {
            e->good = 1;
            e->begun = 1;
            e->owner->parts = 1;
        }
    }

    return n;
}


static void
bk_fetch_ready(int fd, int events, void *data)
{
    int            running, what;
    bk_fetcher_t  *f = data;

    what = ((events & BK_READ) ? CURL_CSELECT_IN : 0)
           | ((events & BK_WRITE) ? CURL_CSELECT_OUT : 0);

    curl_multi_socket_action(f->multi, fd, what, &running);
    bk_fetch_ended(f);
}


static void
bk_fetch_fired(void *data)
{
    int            running;
    bk_fetcher_t  *f = data;

    curl_multi_socket_action(f->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    bk_fetch_ended(f);
}


static void
bk_fetch_ended(bk_fetcher_t *f)
{
    int         left;
    char       *e;
    CURLMsg    *msg;

    /* what OpenSSL left behind is not for the next TLS connection */
    ERR_clear_error();

    bk_fetch_parts(f);

    while ((msg = curl_multi_info_read(f->multi, &left)) != NULL) {
        if (msg->msg == CURLMSG_DONE) {
            curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &e);
            bk_fetch_finish((bk_fetch_t *) (void *) e, msg->data.result);
        }
    }
}


static void
bk_fetch_finish(bk_fetch_t *e, CURLcode rc)
{
    long  status = 0;
    char  error[CURL_ERROR_SIZE];

    error[0] = '\0';

    if (e->too_long) {
        snprintf(error, sizeof(error), "its answer has more than %zu bytes",
                 e->limit);

    } else if (e->refused[0] != '\0') {
        memcpy(error, e->refused, sizeof(error));

    } else if (rc != CURLE_OK) {
        snprintf(error, sizeof(error), "%s", e->error[0] ? e->error
                                       : curl_easy_strerror(rc));

    } else {
        curl_easy_getinfo(e->easy, CURLINFO_RESPONSE_CODE, &status);
    }

    bk_fetch_tell(e, status, error);
}


void
bk_fetch_tell(bk_fetch_t *e, long status, const char *error)
{
    char          *body = e->body;
    size_t         len = e->len;
    curl_off_t     after = 0;
    bk_fetcher_t  *f = e->owner;

    if (status != 0) {
        curl_easy_getinfo(e->easy, CURLINFO_RETRY_AFTER, &after);
    }

    f->retry_after = after > 0 && after < 86400 ? (unsigned) after : 0;

    e->done(e->data, status, body != NULL ? body : "", len, error);

    f->retry_after = 0;
    bk_fetch_free(e);
}
