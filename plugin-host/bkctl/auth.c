/*
 * Who asks: the bearer token of a request.
 *
 * It comes from --token-file, from the CI system (--oidc), from BKCTL_TOKEN,
 * or from BKCTL_TOKEN_FILE, in this order; without one the API goes by the
 * peer of its unix socket.  A file is read for every request, since whoever
 * writes it replaces it in time (Kubernetes); a token of the CI system is
 * asked for again when it is not fresh.  None of them is ever printed.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bkctl.h"


#define BK_BEARER_MAX     (32 * 1024)
#define BK_BEARER_FRESH   60000         /* GitHub's live for some minutes */
#define BK_BEARER_FETCH   10000


static const char *bk_auth_env(const char *name);
static int bk_auth_check(const char *token, const char *from,
    bk_api_reply_t *r);
static int bk_auth_file(const char *path, bk_api_reply_t *r, char **bearer);
static int bk_auth_github(const bk_args_t *args, bk_api_reply_t *r,
    char **bearer);
static int bk_auth_fetch(const bk_args_t *args, bk_api_reply_t *r,
    char **bearer);
static char *bk_auth_copy(const char *s);


int
bk_auth_bearer(const bk_args_t *args, int own, bk_api_reply_t *r,
    char **bearer)
{
    int          rc;
    const char  *token, *file;

    *bearer = NULL;
    token = bk_auth_env("BKCTL_TOKEN");
    file = args->api_token_file;

    if (file == NULL && args->oidc == NULL && token == NULL) {
        file = bk_auth_env("BKCTL_TOKEN_FILE");
    }

    if (file) {
        rc = bk_auth_file(file, r, bearer);

    } else if (args->oidc && own) {
        return 0;       /* nobody is asked who we are for that */

    } else if (args->oidc) {
        rc = bk_auth_github(args, r, bearer);

    } else if (token) {
        rc = bk_auth_check(token, "BKCTL_TOKEN", r);
        *bearer = rc == 0 ? bk_auth_copy(token) : NULL;

    } else {
        return 0;
    }

    if (rc != 0 && own) {
        /* the token in the request is what counts */
        memset(r, 0, sizeof(bk_api_reply_t));
        r->retry_after = -1;
        return 0;
    }

    return rc;
}


static const char *
bk_auth_env(const char *name)
{
    const char  *value;

    value = getenv(name);

    return value && *value ? value : NULL;
}


static int
bk_auth_check(const char *token, const char *from, bk_api_reply_t *r)
{
    size_t  i;

    for (i = 0; token[i]; i++) {
        if (token[i] <= ' ' || token[i] >= 0x7f) {
            return bk_reply_fail(r, BK_EXIT_USAGE,
                                 "is there a line end too many in it?",
                                 "%s has a character that no token has", from);
        }
    }

    return 0;
}


static int
bk_auth_file(const char *path, bk_api_reply_t *r, char **bearer)
{
    int      fd;
    char    *buf;
    size_t   len;
    ssize_t  n;

    fd = strcmp(path, "-") == 0 ? -1 : open(path, O_RDONLY|O_CLOEXEC);

    if (fd == -1) {
        return bk_reply_fail(r, BK_EXIT_USAGE,
                             "name a file with a bearer token in it",
                             "cannot read the token file %s: %s", path,
                             strcmp(path, "-") == 0 ? "it must be a file"
                                                    : strerror(errno));
    }

    buf = malloc(BK_BEARER_MAX + 1);

    if (buf == NULL) {
        abort();
    }

    len = 0;

    do {
        n = read(fd, buf + len, BK_BEARER_MAX + 1 - len);
        len += n > 0 ? (size_t) n : 0;
    } while (n > 0 || (n == -1 && errno == EINTR));

    close(fd);

    while (len && strchr(" \t\r\n", buf[len - 1])) {
        len--;
    }

    if (len == 0 || len > BK_BEARER_MAX || memchr(buf, '\0', len)) {
        bk_reply_fail(r, BK_EXIT_USAGE, "name a file with a bearer token "
                      "in it, at most 32 KiB", "there is no token in %s",
                      path);
        goto failed;
    }

    buf[len] = '\0';

    if (bk_auth_check(buf, path, r) != 0) {
        goto failed;
    }

    *bearer = buf;

    return 0;

failed:

    explicit_bzero(buf, BK_BEARER_MAX);
    free(buf);

    return -1;
}


/* The one that was fetched last serves while it is fresh, or if need be. */

static int
bk_auth_github(const bk_args_t *args, bk_api_reply_t *r, char **bearer)
{
    char             *token;
    static char      *last;
    static uint64_t   last_ms;

    if (last == NULL || bk_now_ms() - last_ms >= BK_BEARER_FRESH) {

        if (bk_auth_fetch(args, r, &token) == 0) {
            free(last);
            last = token;
            last_ms = bk_now_ms();

        } else if (last == NULL) {
            return -1;
        }
    }

    memset(r, 0, sizeof(bk_api_reply_t));
    r->retry_after = -1;
    *bearer = bk_auth_copy(last);

    return 0;
}


/*
 * A job that may have one is given the address and a token for it: in a
 * workflow with "permissions: id-token: write".
 */

static int
bk_auth_fetch(const bk_args_t *args, bk_api_reply_t *r, char **bearer)
{
    int               rc;
    char             *full, *audience;
    const char       *url, *token;
    bk_api_reply_t    got;
    bk_api_request_t  req = { .method = "GET", .fd = -1,
                              .timeout_ms = BK_BEARER_FETCH };

    url = bk_auth_env("ACTIONS_ID_TOKEN_REQUEST_URL");
    token = bk_auth_env("ACTIONS_ID_TOKEN_REQUEST_TOKEN");

    if (url == NULL || token == NULL) {
        return bk_reply_fail(r, BK_EXIT_DENIED,
                             "in a GitHub workflow the job needs "
                             "\"permissions: id-token: write\"; elsewhere "
                             "set BKCTL_TOKEN",
                             "--oidc github: %s is not set", url
                             ? "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
                             : "ACTIONS_ID_TOKEN_REQUEST_URL");
    }

    if (bk_auth_check(token, "ACTIONS_ID_TOKEN_REQUEST_TOKEN", r) != 0) {
        return -1;
    }

    audience = args->audience ? bk_api_escape(args->audience) : NULL;

    if (asprintf(&full, "%s%s%s", url,
                 audience ? strchr(url, '?') ? "&audience=" : "?audience="
                          : "", audience ? audience : "") < 0)
    {
        abort();
    }

    req.url = full;
    req.bearer = token;
    rc = bk_api_call(args, &req, &got);

    if (rc == BK_EXIT_OK && *bk_out_string(got.json, "value") != '\0'
        && bk_auth_check(bk_out_string(got.json, "value"), "it", r) == 0)
    {
        *bearer = bk_auth_copy(bk_out_string(got.json, "value"));
        rc = 0;

    } else {
        rc = bk_reply_fail(r, BK_EXIT_DENIED,
                           "does the job have \"permissions: id-token: "
                           "write\"?",
                           "GitHub gave no id token: %s",
                           rc == BK_EXIT_OK ? "there is none in its answer"
                           : *got.why ? got.why : got.error);
        r->again = got.again;
    }

    bk_reply_free(&got);
    free(audience);
    free(full);

    return rc;
}


static char *
bk_auth_copy(const char *s)
{
    char  *copy;

    copy = strdup(s);

    if (copy == NULL) {
        abort();
    }

    return copy;
}
