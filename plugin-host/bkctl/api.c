/*
 * Requests to the HTTP API: with api_setup.c the only user of libcurl.
 *
 * A request is driven by curl_multi_poll() so that a caller can watch a
 * descriptor of its own meanwhile (signals, progress).  Answers are bounded,
 * and whatever comes back, an exit code and a sentence fit for a terminal are
 * made here, once.  Redirects are not followed: a token goes to whom it was
 * meant for.
 */

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api_int.h"


#define BK_API_ANSWER_MAX   (64u * 1024 * 1024)
#define BK_API_LINE_MAX     (1024u * 1024)


static CURLcode bk_api_perform(bk_api_t *a);
static void bk_api_broken(bk_api_t *a, CURLcode rc);
static void bk_api_answered(bk_api_t *a);
static void bk_api_why(bk_api_t *a, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static int bk_api_lines(bk_api_t *a);
static int64_t bk_api_skew(const bk_api_t *a, int64_t date_ms);


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
    a.args = args;
    a.req = req;
    a.easy = curl_easy_init();

    if (a.easy == NULL) {
        abort();
    }

    if (bk_api_setup(&a) == 0) {
        rc = bk_api_perform(&a);

        if (r->aborted) {
            bk_reply_fail(a.reply, BK_EXIT_FAILED, "", "interrupted");

        } else if (rc != CURLE_OK && !a.ended) {
            bk_api_broken(&a, rc);

        } else {
            bk_api_answered(&a);
        }
    }

    curl_easy_cleanup(a.easy);
    curl_slist_free_all(a.headers);
    free(a.url);

    if (a.data) {
        explicit_bzero(a.data, a.alloc);                /* the same */
        free(a.data);
    }

    if (a.body) {
        explicit_bzero(a.body, strlen(a.body));     /* holds a token */
        free(a.body);
    }

    return r->exit;
}


static CURLcode
bk_api_perform(bk_api_t *a)
{
    int                      running, left, numfds;
    CURLM                   *multi;
    CURLMsg                 *msg;
    CURLcode                 rc;
    struct curl_waitfd       fd;
    const bk_api_request_t  *req = a->req;

    multi = curl_multi_init();

    if (multi == NULL) {
        abort();
    }

    curl_multi_add_handle(multi, a->easy);
    a->asked_ms = bk_unix_ms();
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
    long             os;
    double           connect;
    curl_off_t       us;
    const char      *e = a->req->url ? a->req->url : a->endpoint;
    bk_api_reply_t  *r = a->reply;

    connect = 0;
    os = 0;
    curl_easy_getinfo(a->easy, CURLINFO_CONNECT_TIME, &connect);
    curl_easy_getinfo(a->easy, CURLINFO_OS_ERRNO, &os);
    r->sent = connect > 0;
    r->again = r->sent ? BK_AGAIN_ALWAYS : BK_AGAIN_KNOWN;

    if (a->too_large) {
        r->again = BK_AGAIN_NEVER;
        bk_reply_fail(r, BK_EXIT_FAILED, "narrow the list with --pool",
                      "the API at %s answered with more than %u MiB", e,
                      BK_API_ANSWER_MAX >> 20);
        return;
    }

    switch (rc) {

    case CURLE_OPERATION_TIMEDOUT:
        us = 0;
        curl_easy_getinfo(a->easy, CURLINFO_TOTAL_TIME_T, &us);
        r->again = BK_AGAIN_ALWAYS;
        bk_api_why(a, "nothing within %lds", (long) ((us + 500000) / 1000000));
        bk_reply_fail(r, BK_EXIT_UNREACHABLE,
                      "is buildkit-plugin-host well? its log says what it does",
                      "the API at %s did not answer within %lds", e,
                      (long) ((us + 500000) / 1000000));
        return;

    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        r->again = BK_AGAIN_NEVER;
        bk_reply_fail(r, BK_EXIT_UNREACHABLE,
                      "name the authority's file in BKCTL_TLS_CA_CERT",
                      "the certificate of %s is not trusted: %s", e, a->error);
        return;

    case CURLE_COULDNT_CONNECT:
        if (os == EACCES || os == EPERM) {
            r->again = BK_AGAIN_NEVER;
            bk_reply_fail(r, BK_EXIT_UNREACHABLE,
                          "you must be in the group that owns the socket, or "
                          "root",
                          "no permission to talk to the API at %s", e);
            return;
        }

        r->again = BK_AGAIN_ALWAYS;
        r->nobody = (os == ENOENT || os == ECONNREFUSED);
        bk_api_why(a, "%s", os ? strerror((int) os) : a->error);
        bk_reply_fail(r, BK_EXIT_UNREACHABLE,
                      "start it with: buildkit-plugin-host -c FILE; or set "
                      "BKCTL_ENDPOINT to where it is",
                      "the API at %s cannot be reached: %s", e,
                      os ? strerror((int) os) : a->error);
        return;

    default:
        bk_api_why(a, "%s", r->sent ? "the connection broke"
                   : a->error[0] ? a->error : curl_easy_strerror(rc));
        bk_reply_fail(r, BK_EXIT_UNREACHABLE,
                      "is buildkit-plugin-host running, and BKCTL_ENDPOINT "
                      "right?",
                      "the API at %s cannot be reached: %s", e,
                      a->error[0] ? a->error : curl_easy_strerror(rc));
    }
}


/* A cause in a few words, for the middle of a sentence. */

static void
bk_api_why(bk_api_t *a, const char *fmt, ...)
{
    char     *why = a->reply->why;
    va_list   ap;

    va_start(ap, fmt);
    vsnprintf(why, sizeof(a->reply->why), fmt, ap);
    va_end(ap);

    bk_out_clean(why);

    if (isupper((unsigned char) why[0]) && islower((unsigned char) why[1])) {
        why[0] = (char) tolower((unsigned char) why[0]);
    }
}


static void
bk_api_answered(bk_api_t *a)
{
    json_error_t     je;
    bk_api_reply_t  *r = a->reply;

    r->sent = 1;
    curl_easy_getinfo(a->easy, CURLINFO_RESPONSE_CODE, &r->status);

    if (r->status >= 200 && r->status < 300 && a->req->line) {
        return;         /* line() had it all */
    }

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
    bk_api_why(a, "it answers %ld%s%s", r->status, *r->reason ? " " : "",
               r->reason);
}


size_t
bk_api_write(char *data, size_t size, size_t n, void *arg)
{
    char      *p;
    long       status;
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

    status = 0;
    curl_easy_getinfo(a->easy, CURLINFO_RESPONSE_CODE, &status);

    if (a->req->line && status >= 200 && status < 300
        && bk_api_lines(a) != 0)
    {
        return 0;
    }

    return len;
}


/* Hands on what is complete of an answer that comes line by line. */

static int
bk_api_lines(bk_api_t *a)
{
    char    *end;
    size_t   len, done;

    done = 0;

    while ((end = memchr(a->data + done, '\n', a->len - done)) != NULL) {
        len = (size_t) (end - (a->data + done));

        if (a->req->line(a->req->data, a->data + done, len) != 0) {
            a->ended = 1;
            return -1;
        }

        done += len + 1;
    }

    memmove(a->data, a->data + done, a->len - done);
    a->len -= done;

    if (a->len > BK_API_LINE_MAX) {
        a->too_large = 1;
        return -1;
    }

    return 0;
}


size_t
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
            a->reply->skew_ms = bk_api_skew(a, (int64_t) date * 1000);
        }
    }

    return len;
}


/*
 * The second that an answer is dated with is any between the question and
 * now: only what lies outside of them is another clock's.  Else a second that
 * begins just then would make an allocation live a second longer.
 */

static int64_t
bk_api_skew(const bk_api_t *a, int64_t date_ms)
{
    int64_t  least, most;

    least = date_ms - bk_unix_ms();
    most = date_ms + 1000 - a->asked_ms;

    return least > 0 ? least : most < 0 ? most : 0;
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
