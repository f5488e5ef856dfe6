/*
 * HTTP requests on the host's loop: see fetch.h.
 *
 * curl tells which sockets to watch and when to be called; nothing here
 * waits.  Names are resolved in a thread of curl's; one that hangs is left
 * to itself (QUICK_EXIT) and not waited for.
 */

#include <curl/curl.h>
#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fetch.h"
#include "file.h"
#include "jwt.h"


#define OIDC_HOST_CONNECTIONS  16L
#define OIDC_IDLE_CONNECTIONS  32L
#define OIDC_CONNECT_MS        5000L


struct oidc_fetch_s {
    oidc_fetcher_t     *owner;
    oidc_fetch_t       *next;
    CURL               *easy;
    struct curl_slist  *headers;
    oidc_fetch_pt       done;
    void               *data;
    char               *body;
    size_t              len;
    int                 too_long;
    char                error[CURL_ERROR_SIZE];     /* curl's */
    char                refused[CURL_ERROR_SIZE];   /* ours */
};

struct oidc_fetcher_s {
    const bk_host_t    *host;
    CURLM              *multi;
    bk_timer_t         *timer;
    oidc_fetch_t       *first;
};


static int oidc_fetch_set(oidc_fetch_t *e, const oidc_fetch_req_t *req);
static int oidc_fetch_ca(oidc_fetch_t *e, const char *ca_file);
static int oidc_fetch_headers(oidc_fetch_t *e, const oidc_fetch_req_t *req);
static int oidc_fetch_socket(CURL *easy, curl_socket_t fd, int what,
    void *data, void *socket);
static int oidc_fetch_timer(CURLM *multi, long ms, void *data);
static size_t oidc_fetch_write(char *text, size_t size, size_t n,
    void *data);
static void oidc_fetch_ready(int fd, int events, void *data);
static void oidc_fetch_fired(void *data);
static void oidc_fetch_ended(oidc_fetcher_t *f);
static void oidc_fetch_finish(oidc_fetch_t *e, CURLcode rc);
static void oidc_fetch_free(oidc_fetch_t *e);


oidc_fetcher_t *
oidc_fetcher_new(const bk_host_t *host)
{
    oidc_fetcher_t  *f;

    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        return NULL;
    }

    f = calloc(1, sizeof(oidc_fetcher_t));
    if (f == NULL) {
        abort();
    }

    f->host = host;
    f->timer = host->timer_new(host, oidc_fetch_fired, f);
    f->multi = curl_multi_init();

    if (f->multi == NULL) {
        abort();
    }

    curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, oidc_fetch_socket);
    curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f);
    curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, oidc_fetch_timer);
    curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f);
    curl_multi_setopt(f->multi, CURLMOPT_MAX_HOST_CONNECTIONS,
                      OIDC_HOST_CONNECTIONS);
    curl_multi_setopt(f->multi, CURLMOPT_MAXCONNECTS, OIDC_IDLE_CONNECTIONS);

    return f;
}


void
oidc_fetcher_free(oidc_fetcher_t **fp)
{
    oidc_fetch_t    *e;
    oidc_fetcher_t  *f = *fp;

    if (f == NULL) {
        return;
    }

    *fp = NULL;

    while (f->first != NULL) {
        e = f->first;
        oidc_fetch_cancel(&e);
    }

    curl_multi_cleanup(f->multi);
    f->host->timer_free(&f->timer);
    free(f);
    curl_global_cleanup();
    ERR_clear_error();
}


oidc_fetch_t *
oidc_fetch(oidc_fetcher_t *f, const oidc_fetch_req_t *req,
    oidc_fetch_pt done, void *data)
{
    oidc_fetch_t  *e;

    e = calloc(1, sizeof(oidc_fetch_t));
    if (e == NULL) {
        abort();
    }

    e->owner = f;
    e->done = done;
    e->data = data;
    e->easy = curl_easy_init();

    if (e->easy == NULL) {
        abort();
    }

    e->next = f->first;
    f->first = e;

    /* an end that comes at once comes by the loop as well: a request
       without a URL fails in the first turn */
    if (oidc_fetch_set(e, req) != 0) {
        curl_easy_setopt(e->easy, CURLOPT_URL, NULL);
    }

    if (curl_multi_add_handle(f->multi, e->easy) != CURLM_OK) {
        abort();
    }

    return e;
}


static int
oidc_fetch_set(oidc_fetch_t *e, const oidc_fetch_req_t *req)
{
    int        rc = 0;
    CURL      *c = e->easy;

    rc |= curl_easy_setopt(c, CURLOPT_URL, req->url);
    rc |= curl_easy_setopt(c, CURLOPT_PRIVATE, e);
    rc |= curl_easy_setopt(c, CURLOPT_ERRORBUFFER, e->error);
    rc |= curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, oidc_fetch_write);
    rc |= curl_easy_setopt(c, CURLOPT_WRITEDATA, e);
    rc |= curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    rc |= curl_easy_setopt(c, CURLOPT_QUICK_EXIT, 1L);
    rc |= curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    rc |= curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR,
                           req->insecure ? "https,http" : "https");
    rc |= curl_easy_setopt(c, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    rc |= curl_easy_setopt(c, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
    rc |= curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, OIDC_CONNECT_MS);
    rc |= curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long) req->timeout_ms);
    rc |= curl_easy_setopt(c, CURLOPT_USERAGENT,
                           "buildkit-plugin-host/" BK_VERSION);
    /* a .netrc is nobody's business here */
    rc |= curl_easy_setopt(c, CURLOPT_NETRC, CURL_NETRC_IGNORED);

    if (strncmp(req->url, "http:", 5) == 0) {
        rc |= curl_easy_setopt(c, CURLOPT_PROXY, "");
    }

    if (req->post != NULL) {
        rc |= curl_easy_setopt(c, CURLOPT_COPYPOSTFIELDS, req->post);
    }

    if (rc != 0) {
        snprintf(e->refused, sizeof(e->refused), "libcurl lacks an option");
        return -1;
    }

    if (oidc_fetch_headers(e, req) != 0) {
        return -1;
    }

    return req->ca_file != NULL ? oidc_fetch_ca(e, req->ca_file) : 0;
}


/* Read for each request: a renewed authority is used without a restart. */

static int
oidc_fetch_ca(oidc_fetch_t *e, const char *ca_file)
{
    char              *pem;
    size_t             len;
    struct curl_blob   blob;

    pem = oidc_slurp(ca_file, OIDC_JWKS_MAX, &len);

    if (pem == NULL) {
        snprintf(e->refused, sizeof(e->refused), "%.180s: %s", ca_file,
                 strerror(errno));
        return -1;
    }

    blob.data = pem;
    blob.len = len;
    blob.flags = CURL_BLOB_COPY;

    /* these and no others: curl would go on to trust the system's folder */
    if (curl_easy_setopt(e->easy, CURLOPT_CAINFO_BLOB, &blob) != CURLE_OK
        || curl_easy_setopt(e->easy, CURLOPT_CAPATH, NULL) != CURLE_OK)
    {
        snprintf(e->refused, sizeof(e->refused), "libcurl lacks an option");
        free(pem);
        return -1;
    }

    free(pem);

    return 0;
}


static int
oidc_fetch_headers(oidc_fetch_t *e, const oidc_fetch_req_t *req)
{
    int                 n;
    char               *line;
    struct curl_slist  *list;

    /* kube-apiserver has its key set as nothing else than jwk-set */
    list = curl_slist_append(NULL, "Accept: application/json, "
                                   "application/jwk-set+json, */*;q=0.5");

    if (req->post != NULL) {
        list = curl_slist_append(list, "Content-Type: application/json");
        /* curl would wait for 100-continue with larger ones */
        list = curl_slist_append(list, "Expect:");
    }

    if (req->bearer != NULL) {
        n = asprintf(&line, "Authorization: Bearer %s", req->bearer);
        if (n < 0) {
            abort();
        }

        list = curl_slist_append(list, line);
        explicit_bzero(line, (size_t) n);
        free(line);
    }

    e->headers = list;

    return curl_easy_setopt(e->easy, CURLOPT_HTTPHEADER, list) == CURLE_OK
           ? 0 : -1;
}


void
oidc_fetch_cancel(oidc_fetch_t **ep)
{
    oidc_fetch_t  *e = *ep;

    if (e != NULL) {
        *ep = NULL;
        oidc_fetch_free(e);
    }
}


static void
oidc_fetch_free(oidc_fetch_t *e)
{
    oidc_fetch_t        **at;
    struct curl_slist    *h;

    for (at = &e->owner->first; *at != e; at = &(*at)->next) {
        /* void */
    }

    *at = e->next;

    curl_multi_remove_handle(e->owner->multi, e->easy);
    curl_easy_cleanup(e->easy);
    ERR_clear_error();

    for (h = e->headers; h != NULL; h = h->next) {
        explicit_bzero(h->data, strlen(h->data));
    }

    curl_slist_free_all(e->headers);
    free(e->body);
    free(e);
}


static int
oidc_fetch_socket(CURL *easy, curl_socket_t fd, int what, void *data,
    void *socket)
{
    int              events;
    bk_watch_t      *w = socket;
    oidc_fetcher_t  *f = data;

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

    w = f->host->watch_new(f->host, fd, events, oidc_fetch_ready, f);
    curl_multi_assign(f->multi, fd, w);

    return 0;
}


static int
oidc_fetch_timer(CURLM *multi, long ms, void *data)
{
    oidc_fetcher_t  *f = data;

    (void) multi;

    if (ms < 0) {
        f->host->timer_clear(f->timer);

    } else {
        f->host->timer_set(f->timer, (uint64_t) ms);
    }

    return 0;
}


static size_t
oidc_fetch_write(char *text, size_t size, size_t n, void *data)
{
    oidc_fetch_t  *e = data;

    n *= size;

    if (n > OIDC_JWKS_MAX - e->len) {
        e->too_long = 1;
        return 0;
    }

    e->body = realloc(e->body, e->len + n + 1);
    if (e->body == NULL) {
        abort();
    }

    memcpy(e->body + e->len, text, n);
    e->len += n;
    e->body[e->len] = '\0';

    return n;
}


static void
oidc_fetch_ready(int fd, int events, void *data)
{
    int              running, what;
    oidc_fetcher_t  *f = data;

    what = ((events & BK_READ) ? CURL_CSELECT_IN : 0)
           | ((events & BK_WRITE) ? CURL_CSELECT_OUT : 0);

    curl_multi_socket_action(f->multi, fd, what, &running);
    oidc_fetch_ended(f);
}


static void
oidc_fetch_fired(void *data)
{
    int              running;
    oidc_fetcher_t  *f = data;

    curl_multi_socket_action(f->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    oidc_fetch_ended(f);
}


static void
oidc_fetch_ended(oidc_fetcher_t *f)
{
    int            left;
    char          *e;
    CURLMsg       *msg;

    /* what OpenSSL left behind is not for the next TLS connection */
    ERR_clear_error();

    while ((msg = curl_multi_info_read(f->multi, &left)) != NULL) {
        if (msg->msg == CURLMSG_DONE) {
            curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &e);
            oidc_fetch_finish((oidc_fetch_t *) (void *) e, msg->data.result);
        }
    }
}


static void
oidc_fetch_finish(oidc_fetch_t *e, CURLcode rc)
{
    long  status = 0;
    char  error[CURL_ERROR_SIZE];

    error[0] = '\0';

    if (e->too_long) {
        snprintf(error, sizeof(error), "its answer has more than %d bytes",
                 OIDC_JWKS_MAX);

    } else if (e->refused[0] != '\0') {
        memcpy(error, e->refused, sizeof(error));

    } else if (rc != CURLE_OK) {
        snprintf(error, sizeof(error), "%s", e->error[0] ? e->error
                                       : curl_easy_strerror(rc));

    } else {
        curl_easy_getinfo(e->easy, CURLINFO_RESPONSE_CODE, &status);
    }

    e->done(e->data, status, e->body != NULL ? e->body : "", e->len, error);
    oidc_fetch_free(e);
}
