/*
 * From a request to what curl is told: see fetch.c.  What is secret is in
 * memory of ours, which curl borrows and which is wiped.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bk_slurp.h"
#include "fetch_int.h"


#define BK_FETCH_CONNECT_MS  5000L
#define BK_FETCH_PEM_MAX     (256 * 1024)
#define BK_FETCH_BEARER_MAX  (16 * 1024)

/* kube-apiserver has its key set as nothing else than jwk-set */
#define BK_FETCH_ACCEPT  "application/json, application/jwk-set+json, "       \
                         "*/*;q=0.5"


static int bk_fetch_url(bk_fetch_t *e, const bk_fetch_req_t *req);
static int bk_fetch_method(bk_fetch_t *e, const bk_fetch_req_t *req);
static size_t bk_fetch_once(char *buf, size_t size, size_t n, void *data);
static int bk_fetch_headers(bk_fetch_t *e, const bk_fetch_req_t *req);
static int bk_fetch_bearer_file(bk_fetch_t *e, const char *file);
static int bk_fetch_bearer(bk_fetch_t *e, const char *bearer);
static void bk_fetch_header(bk_fetch_t *e, const char *name,
    const char *value);
static int bk_fetch_tls(bk_fetch_t *e, const bk_fetch_req_t *req);
static int bk_fetch_pem(bk_fetch_t *e, const char *file, bk_str_t text,
    bk_str_t *out);
static int bk_fetch_blob(bk_fetch_t *e, CURLoption option, bk_str_t pem);
static int bk_fetch_refuse(bk_fetch_t *e, const char *why);
static bk_str_t bk_fetch_copy(const char *data, size_t len);
static void bk_fetch_wipe(bk_str_t *s);


int
bk_fetch_set(bk_fetch_t *e, const bk_fetch_req_t *req)
{
    int    rc = 0;
    CURL  *c = e->easy;

    rc |= curl_easy_setopt(c, CURLOPT_ERRORBUFFER, e->error);
    rc |= curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    rc |= curl_easy_setopt(c, CURLOPT_QUICK_EXIT, 1L);
    rc |= curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    rc |= curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR,
                           req->insecure ? "https,http" : "https");
    rc |= curl_easy_setopt(c, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    rc |= curl_easy_setopt(c, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
    rc |= curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS,
                           BK_FETCH_CONNECT_MS);
    rc |= curl_easy_setopt(c, CURLOPT_USERAGENT,
                           "buildkit-plugin-host/" BK_VERSION);
    /* a .netrc is nobody's business here */
    rc |= curl_easy_setopt(c, CURLOPT_NETRC, CURL_NETRC_IGNORED);
    /* a peer that is gone without a word is noticed in a minute */
    rc |= curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
    rc |= curl_easy_setopt(c, CURLOPT_TCP_KEEPIDLE, 20L);
    rc |= curl_easy_setopt(c, CURLOPT_TCP_KEEPINTVL, 5L);

    if (strncmp(req->url, "http:", 5) == 0) {
        rc |= curl_easy_setopt(c, CURLOPT_PROXY, "");
    }

    if (rc != 0) {
        return bk_fetch_refuse(e, "libcurl lacks an option");
    }

    return bk_fetch_url(e, req) != 0 || bk_fetch_method(e, req) != 0
           || bk_fetch_headers(e, req) != 0 || bk_fetch_tls(e, req) != 0
           ? -1 : 0;
}


/* Another name than the URL's is one to connect to at the URL's place. */

static int
bk_fetch_url(bk_fetch_t *e, const bk_fetch_req_t *req)
{
    int     rc;
    char   *host = NULL, *port = NULL, *url = NULL, *line;
    CURLU  *u;

    if (req->server_name == NULL) {
        return curl_easy_setopt(e->easy, CURLOPT_URL, req->url) == CURLE_OK
               ? 0 : -1;
    }

    u = curl_url();
    if (u == NULL) {
        abort();
    }

    if (curl_url_set(u, CURLUPART_URL, req->url, 0) != CURLUE_OK
        || curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK
        || curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT)
           != CURLUE_OK
        || curl_url_set(u, CURLUPART_HOST, req->server_name, 0) != CURLUE_OK
        || curl_url_get(u, CURLUPART_URL, &url, 0) != CURLUE_OK)
    {
        rc = bk_fetch_refuse(e, "no URL, or no server name");

    } else {
        if (asprintf(&line, "::%s:%s", host, port) < 0) {
            abort();
        }

        e->connect = curl_slist_append(NULL, line);
        free(line);

        rc = curl_easy_setopt(e->easy, CURLOPT_URL, url) != CURLE_OK
             || curl_easy_setopt(e->easy, CURLOPT_CONNECT_TO, e->connect)
                != CURLE_OK ? -1 : 0;
    }

    curl_free(host);
    curl_free(port);
    curl_free(url);
    curl_url_cleanup(u);

    return rc;
}


static int
bk_fetch_method(bk_fetch_t *e, const bk_fetch_req_t *req)
{
    int    rc = 0;
    CURL  *c = e->easy;

    if (req->body != NULL) {
        e->post = bk_fetch_copy(req->body, req->body_len);
        rc |= curl_easy_setopt(c, CURLOPT_POST, 1L);

        if (req->once) {
            rc |= curl_easy_setopt(c, CURLOPT_READFUNCTION, bk_fetch_once);
            rc |= curl_easy_setopt(c, CURLOPT_READDATA, e);

        } else {
            rc |= curl_easy_setopt(c, CURLOPT_POSTFIELDS, e->post.data);
        }

        rc |= curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE,
                               (curl_off_t) e->post.len);
    }

    if (req->method != NULL) {
        rc |= curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, req->method);
    }

    return rc != 0 ? bk_fetch_refuse(e, "libcurl lacks an option") : 0;
}


/* What curl is given this way it cannot go back in, so it ends the request
 * where it would have to (CURLE_SEND_FAIL_REWIND).  A request of which not a
 * byte of the body was sent was not done, and may be sent again. */

static size_t
bk_fetch_once(char *buf, size_t size, size_t n, void *data)
{
    bk_fetch_t  *e = data;

    n *= size;

    if (n > e->post.len - e->sent) {
        n = e->post.len - e->sent;
    }

    memcpy(buf, e->post.data + e->sent, n);
    e->sent += n;

    return n;
}


static int
bk_fetch_headers(bk_fetch_t *e, const bk_fetch_req_t *req)
{
    bk_fetch_header(e, "Accept: ",
                    req->accept != NULL ? req->accept : BK_FETCH_ACCEPT);

    if (req->body != NULL) {
        bk_fetch_header(e, "Content-Type: ", req->content_type != NULL
                        ? req->content_type : "application/json");
        /* curl would wait for 100-continue with larger ones */
        bk_fetch_header(e, "Expect:", "");
    }

    if (req->bearer != NULL) {
        if (bk_fetch_bearer(e, req->bearer) != 0) {
            return -1;
        }

    } else if (req->bearer_file != NULL
               && bk_fetch_bearer_file(e, req->bearer_file) != 0)
    {
        return -1;
    }

    return curl_easy_setopt(e->easy, CURLOPT_HTTPHEADER, e->headers)
           == CURLE_OK ? 0 : -1;
}


static int
bk_fetch_bearer_file(bk_fetch_t *e, const char *file)
{
    int     rc;
    char   *text, *bearer;
    size_t  len, n;

    text = bk_slurp(file, BK_FETCH_BEARER_MAX, &len);

    if (text == NULL) {
        snprintf(e->refused, sizeof(e->refused), "%.180s: %s", file,
                 strerror(errno));
        return -1;
    }

    bearer = text + strspn(text, " \t\r\n");

    for (n = strlen(bearer); n > 0 && strchr(" \t\r\n", bearer[n - 1]) != NULL;
         n--)
    {
        bearer[n - 1] = '\0';
    }

    if (bearer[0] == '\0') {
        snprintf(e->refused, sizeof(e->refused), "%.180s: no token is in it",
                 file);
        rc = -1;

    } else {
        rc = bk_fetch_bearer(e, bearer);
    }

    explicit_bzero(text, len);
    free(text);

    return rc;
}


/* What is no token would be another header, or curl's errors would tell it. */

static int
bk_fetch_bearer(bk_fetch_t *e, const char *bearer)
{
    const unsigned char  *p;

    for (p = (const unsigned char *) bearer; *p != '\0'; p++) {
        if (*p <= 0x20 || *p >= 0x7f) {
            return bk_fetch_refuse(e, "the bearer token has a byte that no "
                                   "token has");
        }
    }

    bk_fetch_header(e, "Authorization: Bearer ", bearer);

    return 0;
}


static void
bk_fetch_header(bk_fetch_t *e, const char *name, const char *value)
{
    int                 n;
    char               *line;
    struct curl_slist  *list;

    n = asprintf(&line, "%s%s", name, value);
    if (n < 0) {
        abort();
    }

    list = curl_slist_append(e->headers, line);
    if (list == NULL) {
        abort();
    }

    e->headers = list;
    explicit_bzero(line, (size_t) n);
    free(line);
}


/* Files are read for each request: renewed ones are used without a restart. */

static int
bk_fetch_tls(bk_fetch_t *e, const bk_fetch_req_t *req)
{
    if (bk_fetch_pem(e, req->ca_file, req->ca, &e->ca) != 0
        || bk_fetch_pem(e, req->cert_file, req->cert, &e->cert) != 0
        || bk_fetch_pem(e, req->key_file, req->key, &e->key) != 0)
    {
        return -1;
    }

    if ((e->cert.len == 0) != (e->key.len == 0)) {
        return bk_fetch_refuse(e, "a client certificate needs its key, and a "
                               "key its certificate");
    }

    /* these authorities and no others: curl would go on to trust the
       system's folder */
    if (e->ca.len > 0
        && (bk_fetch_blob(e, CURLOPT_CAINFO_BLOB, e->ca) != 0
            || curl_easy_setopt(e->easy, CURLOPT_CAPATH, NULL) != CURLE_OK))
    {
        return bk_fetch_refuse(e, "libcurl lacks an option");
    }

    if (e->cert.len > 0
        && (bk_fetch_blob(e, CURLOPT_SSLCERT_BLOB, e->cert) != 0
            || bk_fetch_blob(e, CURLOPT_SSLKEY_BLOB, e->key) != 0))
    {
        return bk_fetch_refuse(e, "libcurl lacks an option");
    }

    return 0;
}


/* A file that is named must have something in it: nobody shall trust the
 * system's authorities because his own are lost. */

static int
bk_fetch_pem(bk_fetch_t *e, const char *file, bk_str_t text, bk_str_t *out)
{
    char    *pem;
    size_t   len;

    if (file == NULL) {
        if (text.len > 0) {
            *out = bk_fetch_copy(text.data, text.len);
        }

        return 0;
    }

    pem = bk_slurp(file, BK_FETCH_PEM_MAX, &len);

    if (pem == NULL || len == 0) {
        snprintf(e->refused, sizeof(e->refused), "%.180s: %s", file,
                 pem == NULL ? strerror(errno) : "is empty");
        free(pem);
        return -1;
    }

    *out = (bk_str_t) { pem, len };

    return 0;
}


static int
bk_fetch_blob(bk_fetch_t *e, CURLoption option, bk_str_t pem)
{
    struct curl_blob  blob;

    blob.data = (void *) pem.data;
    blob.len = pem.len;
    blob.flags = CURL_BLOB_NOCOPY;

    return curl_easy_setopt(e->easy, option, &blob) == CURLE_OK ? 0 : -1;
}


static int
bk_fetch_refuse(bk_fetch_t *e, const char *why)
{
    snprintf(e->refused, sizeof(e->refused), "%s", why);

    return -1;
}


void
bk_fetch_unset(bk_fetch_t *e)
{
    struct curl_slist  *h;

    for (h = e->headers; h != NULL; h = h->next) {
        explicit_bzero(h->data, strlen(h->data));
    }

    curl_slist_free_all(e->headers);
    curl_slist_free_all(e->connect);
    bk_fetch_wipe(&e->post);
    bk_fetch_wipe(&e->ca);
    bk_fetch_wipe(&e->cert);
    bk_fetch_wipe(&e->key);
}


static bk_str_t
bk_fetch_copy(const char *data, size_t len)
{
    char  *copy;

    copy = malloc(len + 1);
    if (copy == NULL) {
        abort();
    }

    memcpy(copy, data, len);
    copy[len] = '\0';

    return (bk_str_t) { copy, len };
}


static void
bk_fetch_wipe(bk_str_t *s)
{
    if (s->data != NULL) {
        explicit_bzero((char *) s->data, s->len);
        free((char *) s->data);
        *s = (bk_str_t) { NULL, 0 };
    }
}
