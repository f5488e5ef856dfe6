/*
 * How a request of the API is put together: address, body, certificates and
 * who asks.  The request itself is api.c's.
 */

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api_int.h"


#define BK_API_TIMEOUT_MS   30000
#define BK_API_CONNECT_MS   10000


static int bk_api_url(bk_api_t *a);
static int bk_api_unix(bk_api_t *a, const char *sock);
static int bk_api_body(bk_api_t *a);
static int bk_api_auth(bk_api_t *a);
static void bk_api_tls(bk_api_t *a);


int
bk_api_setup(bk_api_t *a)
{
    CURL                    *e = a->easy;
    unsigned                 timeout;
    const bk_api_request_t  *req = a->req;

    if (bk_api_url(a) != 0 || bk_api_body(a) != 0 || bk_api_auth(a) != 0) {
        return -1;
    }

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
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, a->headers);

    /* what is set for the API is not for those who know who we are */

    if (req->url == NULL) {
        bk_api_tls(a);
    }

    return 0;
}


static int
bk_api_url(bk_api_t *a)
{
    int          n;
    size_t       len;
    const char  *base;

    base = a->endpoint;

    if (a->req->url) {
        n = asprintf(&a->url, "%s", a->req->url);
        goto done;
    }

    if (strncasecmp(base, "unix:", 5) == 0) {
        if (bk_api_unix(a, base + 5) != 0) {
            return -1;
        }

        base = "http://localhost";      /* of no meaning */

    } else if (strncasecmp(base, "http://", 7) != 0
               && strncasecmp(base, "https://", 8) != 0)
    {
        return bk_reply_fail(a->reply, BK_EXIT_USAGE,
                             "BKCTL_ENDPOINT is written unix:/PATH, "
                             "http://HOST:PORT or https://HOST",
                             "\"%s\" is no address of an API", base);
    }

    len = strlen(base);

    while (len && base[len - 1] == '/') {
        len--;
    }

    n = asprintf(&a->url, "%.*s%s", (int) len, base, a->req->path);

done:

    if (n < 0) {
        abort();
    }

    /* a proxy of the environment knows nothing of our loopback */

    if (strncasecmp(a->url, "http://127.", 11) == 0
        || strncasecmp(a->url, "http://localhost", 16) == 0
        || strncasecmp(a->url, "http://[::1]", 12) == 0)
    {
        curl_easy_setopt(a->easy, CURLOPT_PROXY, "");
    }

    return 0;
}


static int
bk_api_unix(bk_api_t *a, const char *sock)
{
    while (sock[0] == '/' && sock[1] == '/') {
        sock++;
    }

    if (*sock != '/' || strlen(sock) > 107) {
        return bk_reply_fail(a->reply, BK_EXIT_USAGE,
                             "BKCTL_ENDPOINT is written unix:/PATH, at "
                             "most 107 bytes of it",
                             "\"%s\" is no path of a socket", a->endpoint);
    }

    curl_easy_setopt(a->easy, CURLOPT_UNIX_SOCKET_PATH, sock);

    return 0;
}


static int
bk_api_body(bk_api_t *a)
{
    a->headers = curl_slist_append(a->headers, "Accept: application/json");

    if (a->req->body == NULL) {
        return 0;
    }

    a->body = json_dumps(a->req->body, JSON_COMPACT);

    if (a->body == NULL) {
        return bk_reply_fail(a->reply, BK_EXIT_USAGE, "",
                             "the request is not valid UTF-8");
    }

    a->headers = curl_slist_append(a->headers,
                                   "Content-Type: application/json");
    /* no round trip for a body of a few hundred bytes */
    a->headers = curl_slist_append(a->headers, "Expect:");
    curl_easy_setopt(a->easy, CURLOPT_POSTFIELDS, a->body);

    return 0;
}


/* Who asks: the token of the environment, a file or the CI system. */

static int
bk_api_auth(bk_api_t *a)
{
    char  *bearer, *header;

    if (a->req->bearer) {
        bearer = strdup(a->req->bearer);

    } else if (bk_auth_bearer(a->args, a->req->own, a->reply, &bearer) != 0) {
        return -1;
    }

    if (bearer == NULL) {
        return 0;
    }

    if (asprintf(&header, "Authorization: Bearer %s", bearer) < 0) {
        abort();
    }

    a->headers = curl_slist_append(a->headers, header);
    a->reply->bearer = 1;

    explicit_bzero(header, strlen(header));
    explicit_bzero(bearer, strlen(bearer));
    free(header);
    free(bearer);

    return 0;
}


static void
bk_api_tls(bk_api_t *a)
{
    const char  *ca, *skip;

    ca = getenv("BKCTL_TLS_CA_CERT");

    if (ca && *ca) {
        /* it and no other: not what is in the system's folder as well */
        curl_easy_setopt(a->easy, CURLOPT_CAINFO, ca);
        curl_easy_setopt(a->easy, CURLOPT_CAPATH, NULL);
    }

    skip = getenv("BKCTL_TLS_SKIP_VERIFY");

    if (skip && *skip && strcmp(skip, "0") != 0
        && strcasecmp(skip, "false") != 0)
    {
        curl_easy_setopt(a->easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(a->easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}
