/*
 * Requests to the HTTP API: the only user of libcurl.
 *
 * A request is driven by curl_multi_poll() so that a caller can watch a
 * descriptor of its own meanwhile (signals, progress).  Answers are bounded,
 * and whatever comes back, an exit code and a sentence fit for a terminal are
 * made here, once.  Redirects are not followed: a token goes to whom it was
 * meant for.
 */

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "bkctl.h"


#define BK_API_TIMEOUT_MS   30000
#define BK_API_CONNECT_MS   10000
#define BK_API_ANSWER_MAX   (64u * 1024 * 1024)


typedef struct {
    char                    *data;
    size_t                   len, alloc;
    int                      too_large;
    CURL                    *easy;
    struct curl_slist       *headers;
    char                    *body;
    char                    *url;
    char                     error[CURL_ERROR_SIZE];
    const char              *endpoint;
    bk_api_reply_t          *reply;
} bk_api_t;


static int bk_api_url(bk_api_t *a, const char *path);
static int bk_api_setup(bk_api_t *a, const bk_api_request_t *req);
static int bk_api_auth(bk_api_t *a);
static void bk_api_tls(bk_api_t *a);
static CURLcode bk_api_perform(bk_api_t *a, const bk_api_request_t *req);
static void bk_api_broken(bk_api_t *a, CURLcode rc);
static void bk_api_answered(bk_api_t *a);
static size_t bk_api_write(char *data, size_t size, size_t n, void *arg);
static size_t bk_api_header(char *data, size_t size, size_t n, void *arg);


int
bk_api_call(const bk_args_t *args, const bk_api_request_t *req,
    bk_api_reply_t *r)
{
    bk_api_t  a;
    CURLcode  rc;

    memset(r, 0, sizeof(bk_api_reply_t));
    memset(&a, 0, sizeof(bk_api_t));
    r->retry_after = -1;
    a.reply = r;
    a.endpoint = args->endpoint;
    a.easy = curl_easy_init();

    if (a.easy == NULL) {
        abort();
    }

    if (bk_api_url(&a, req->path) == 0 && bk_api_setup(&a, req) == 0) {
        rc = bk_api_perform(&a, req);

        if (r->aborted) {
            bk_reply_fail(a.reply, BK_EXIT_FAILED, "", "interrupted");

        } else if (rc != CURLE_OK) {
            bk_api_broken(&a, rc);

        } else {
            bk_api_answered(&a);
        }
    }

    curl_easy_cleanup(a.easy);
    curl_slist_free_all(a.headers);
    free(a.data);
    free(a.url);

    if (a.body) {
        explicit_bzero(a.body, strlen(a.body));     /* holds a token */
        free(a.body);
    }

    return r->exit;
}


/* Makes the URL; a unix socket's has a host of no meaning. */

static int
bk_api_url(bk_api_t *a, const char *path)
{
    int          n;
    size_t       len;
    const char  *base, *sock;

    sock = NULL;
    base = a->endpoint;

    if (strncasecmp(base, "unix:", 5) == 0) {
        sock = base + 5;

        while (sock[0] == '/' && sock[1] == '/') {
            sock++;
        }

        if (*sock != '/' || strlen(sock) > 107) {
            return bk_reply_fail(a->reply, BK_EXIT_USAGE,
                                 "BKCTL_ENDPOINT is written unix:/PATH, at "
                                 "most 107 bytes of it",
                                 "\"%s\" is no path of a socket", base);
        }

        curl_easy_setopt(a->easy, CURLOPT_UNIX_SOCKET_PATH, sock);
        curl_easy_setopt(a->easy, CURLOPT_PROXY, "");
        base = "http://localhost";

    } else if (strncasecmp(base, "http://", 7) != 0
               && strncasecmp(base, "https://", 8) != 0)
    {
        return bk_reply_fail(a->reply, BK_EXIT_USAGE,
                             "BKCTL_ENDPOINT is written unix:/PATH, "
                             "http://HOST:PORT or https://HOST",
                             "\"%s\" is no address of an API", base);
    }

    /* a proxy of the environment knows nothing of our loopback */

    if (strncasecmp(base, "http://127.", 11) == 0
        || strncasecmp(base, "http://localhost", 16) == 0
        || strncasecmp(base, "http://[::1]", 12) == 0)
    {
        curl_easy_setopt(a->easy, CURLOPT_PROXY, "");
    }

    len = strlen(base);

    while (len && base[len - 1] == '/') {
        len--;
    }

    n = asprintf(&a->url, "%.*s%s", (int) len, base, path);

    if (n < 0) {
        abort();
    }

    return 0;
}


static int
bk_api_setup(bk_api_t *a, const bk_api_request_t *req)
{
    CURL     *e = a->easy;
    unsigned  timeout;

    timeout = req->timeout_ms ? req->timeout_ms : BK_API_TIMEOUT_MS;

    curl_easy_setopt(e, CURLOPT_URL, a->url);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, a->error);
    curl_easy_setopt(e, CURLOPT_USERAGENT, "bkctl/" BK_VERSION);
    curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, req->method);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, bk_api_write);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, a);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, bk_api_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, a);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long) timeout);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS,
                     (long) (timeout < BK_API_CONNECT_MS
                             ? timeout : BK_API_CONNECT_MS));
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);

    a->headers = curl_slist_append(a->headers, "Accept: application/json");

    if (req->body) {
        a->body = json_dumps(req->body, JSON_COMPACT);

        if (a->body == NULL) {
            return bk_reply_fail(a->reply, BK_EXIT_USAGE, "",
                                 "the request is not valid UTF-8");
        }

        a->headers = curl_slist_append(a->headers,
                                       "Content-Type: application/json");
        /* no round trip for a body of a few hundred bytes */
        a->headers = curl_slist_append(a->headers, "Expect:");
        curl_easy_setopt(e, CURLOPT_POSTFIELDS, a->body);
    }

    bk_api_tls(a);

    if (bk_api_auth(a) != 0) {
        return -1;
    }

    curl_easy_setopt(e, CURLOPT_HTTPHEADER, a->headers);

    return 0;
}


static int
bk_api_auth(bk_api_t *a)
{
    char        *header;
    size_t       i;
    const char  *token;

    token = getenv("BKCTL_TOKEN");

    if (token == NULL || *token == '\0') {
        return 0;
    }

    for (i = 0; token[i]; i++) {
        if (token[i] <= ' ' || token[i] >= 0x7f) {
            return bk_reply_fail(a->reply, BK_EXIT_USAGE,
                                 "is there a line end too many in it?",
                                 "BKCTL_TOKEN has a character that no token "
                                 "has");
        }
    }

    if (asprintf(&header, "Authorization: Bearer %s", token) < 0) {
        abort();
    }

    a->headers = curl_slist_append(a->headers, header);
    free(header);

    return 0;
}


static void
bk_api_tls(bk_api_t *a)
{
    const char  *ca, *skip;

    ca = getenv("BKCTL_TLS_CA_CERT");

    if (ca && *ca) {
        curl_easy_setopt(a->easy, CURLOPT_CAINFO, ca);
    }

    skip = getenv("BKCTL_TLS_SKIP_VERIFY");

    if (skip && *skip && strcmp(skip, "0") != 0
        && strcasecmp(skip, "false") != 0)
    {
        curl_easy_setopt(a->easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(a->easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}


static CURLcode
bk_api_perform(bk_api_t *a, const bk_api_request_t *req)
{
    int                  running, left, numfds;
    CURLM               *multi;
    CURLMsg             *msg;
    CURLcode             rc;
    struct curl_waitfd   fd;

    multi = curl_multi_init();

    if (multi == NULL) {
        abort();
    }

    curl_multi_add_handle(multi, a->easy);
    rc = CURLE_OK;
    fd.fd = req->tick ? req->fd : -1;
    fd.events = CURL_WAIT_POLLIN;

    for ( ;; ) {
        curl_multi_perform(multi, &running);

        if (running == 0) {
            break;
        }

        fd.revents = 0;
        curl_multi_poll(multi, fd.fd == -1 ? NULL : &fd, fd.fd != -1, 1000,
                        &numfds);

        if (req->tick && req->tick(req->data) != 0) {
            a->reply->aborted = 1;
            break;
        }
    }

    while ((msg = curl_multi_info_read(multi, &left)) != NULL) {
        if (msg->msg == CURLMSG_DONE) {
            rc = msg->data.result;
        }
    }

    curl_multi_remove_handle(multi, a->easy);
    curl_multi_cleanup(multi);

    return rc;
}


static void
bk_api_broken(bk_api_t *a, CURLcode rc)
{
    long         os;
    double       connect;
    curl_off_t   us;
    const char  *e = a->endpoint;

    connect = 0;
    os = 0;
    curl_easy_getinfo(a->easy, CURLINFO_CONNECT_TIME, &connect);
    curl_easy_getinfo(a->easy, CURLINFO_OS_ERRNO, &os);
    a->reply->sent = connect > 0;

    if (a->too_large) {
        bk_reply_fail(a->reply, BK_EXIT_FAILED, "narrow the list with --pool",
                      "the API at %s answered with more than %u MiB", e,
                      BK_API_ANSWER_MAX >> 20);
        return;
    }

    switch (rc) {

    case CURLE_OPERATION_TIMEDOUT:
        us = 0;
        curl_easy_getinfo(a->easy, CURLINFO_TOTAL_TIME_T, &us);
        bk_reply_fail(a->reply, BK_EXIT_UNREACHABLE,
                      "is buildkit-plugin-host well? its log says what it does",
                      "the API at %s did not answer within %lds", e,
                      (long) ((us + 500000) / 1000000));
        return;

    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        bk_reply_fail(a->reply, BK_EXIT_UNREACHABLE,
                      "name the authority's file in BKCTL_TLS_CA_CERT",
                      "the certificate of %s is not trusted: %s", e, a->error);
        return;

    case CURLE_COULDNT_CONNECT:
        if (os == EACCES || os == EPERM) {
            bk_reply_fail(a->reply, BK_EXIT_UNREACHABLE,
                          "you must be in the group that owns the socket, or "
                          "root",
                          "no permission to talk to the API at %s", e);
            return;
        }

        bk_reply_fail(a->reply, BK_EXIT_UNREACHABLE,
                      "start it with: buildkit-plugin-host -c FILE; or set "
                      "BKCTL_ENDPOINT to where it is",
                      "the API at %s cannot be reached: %s", e,
                      os ? strerror((int) os) : a->error);
        return;

    default:
        bk_reply_fail(a->reply, BK_EXIT_UNREACHABLE,
                      "is buildkit-plugin-host running, and BKCTL_ENDPOINT "
                      "right?",
                      "the API at %s cannot be reached: %s", e,
                      a->error[0] ? a->error : curl_easy_strerror(rc));
    }
}


static void
bk_api_answered(bk_api_t *a)
{
    json_error_t     je;
    bk_api_reply_t  *r = a->reply;

    r->sent = 1;
    curl_easy_getinfo(a->easy, CURLINFO_RESPONSE_CODE, &r->status);

    if (a->len) {
        r->json = json_loadb(a->data, a->len, JSON_REJECT_DUPLICATES, &je);
    }

    if (r->status >= 200 && r->status < 300) {
        if (r->json == NULL) {
            bk_reply_fail(a->reply, BK_EXIT_FAILED,
                          "is BKCTL_ENDPOINT the gateway's API?",
                          "the API at %s answered with something that is not "
                          "JSON", a->endpoint);
        }

        return;
    }

    bk_reply_refused(r, a->endpoint);
}


static size_t
bk_api_write(char *data, size_t size, size_t n, void *arg)
{
    char      *p;
    size_t     len;
    bk_api_t  *a = arg;

    len = size * n;

    if (len > BK_API_ANSWER_MAX - a->len) {
        a->too_large = 1;
        return 0;
    }

    if (a->len + len > a->alloc) {
        a->alloc = (a->len + len) * 2;
        p = realloc(a->data, a->alloc);

        if (p == NULL) {
            abort();
        }

        a->data = p;
    }

    memcpy(a->data + a->len, data, len);
    a->len += len;

    return len;
}


static size_t
bk_api_header(char *data, size_t size, size_t n, void *arg)
{
    char       value[64];
    size_t     len;
    time_t     date;
    bk_api_t  *a = arg;

    len = size * n;

    if (len > 12 && strncasecmp(data, "Retry-After:", 12) == 0) {
        snprintf(value, sizeof(value), "%.*s", (int) (len - 12), data + 12);
        a->reply->retry_after = strtol(value, NULL, 10);

        if (a->reply->retry_after < 0) {
            a->reply->retry_after = -1;
        }

    } else if (len > 5 && strncasecmp(data, "Date:", 5) == 0) {
        snprintf(value, sizeof(value), "%.*s", (int) (len - 5), data + 5);
        date = curl_getdate(value, NULL);

        if (date > 0) {
            a->reply->skew_ms = (int64_t) date * 1000
                                - bk_unix_ms() / 1000 * 1000;
        }
    }

    return len;
}


char *
bk_api_escape(const char *s)
{
    char  *out, *copy;

    out = curl_easy_escape(NULL, s, 0);
    copy = out ? strdup(out) : NULL;

    if (copy == NULL) {
        abort();
    }

    curl_free(out);

    return copy;
}
