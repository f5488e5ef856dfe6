/*
 * Parsing of an HTTP/1.x request's head: strict, in place, no allocation.
 * See httpd_int.h.  What is ambiguous (two lengths, folded lines, bare CR,
 * blanks before the colon) is refused: a proxy in front may see it otherwise.
 */

#include <string.h>
#include <strings.h>

#include "bk_err.h"
#include "httpd_int.h"


static char *bk_http_line(char **text);
static int bk_http_request_line(char *line, bk_http_head_t *h,
    bk_err_t *err);
static int bk_http_field(char *line, bk_http_head_t *h, bk_err_t *err);
static int bk_http_length(const char *value, bk_http_head_t *h,
    bk_err_t *err);
static int bk_http_bearer(char *value, bk_http_head_t *h, bk_err_t *err);
static const char *bk_http_forwarded(const char *value);
static int bk_http_token(const char *s, size_t len);
static int bk_http_has(const char *value, const char *word);
static int bk_http_hex(char c);


long
bk_http_head_end(const char *text, size_t from, size_t len)
{
    size_t       max = len < BK_HTTP_HEAD_MAX ? len : BK_HTTP_HEAD_MAX;
    const char  *end;

    /* the end may have begun before */
    from = from > 3 ? from - 3 : 0;

    end = from < max ? memmem(text + from, max - from, "\r\n\r\n", 4) : NULL;
    if (end != NULL) {
        return end - text + 4;
    }

    return len >= BK_HTTP_HEAD_MAX ? -1 : 0;
}


int
bk_http_parse(char *head, size_t len, bk_http_head_t *h, bk_err_t *err)
{
    char  *line;

    memset(h, 0, sizeof(bk_http_head_t));
    h->length = -1;

    if (strlen(head) != len) {
        return bk_err_set(err, 400, "BadRequest", "the request has a NUL");
    }

    line = bk_http_line(&head);
    if (line == NULL || bk_http_request_line(line, h, err) != 0) {
        return line ? -1 : bk_err_set(err, 400, "BadRequest",
                                      "this is no HTTP request");
    }

    while ((line = bk_http_line(&head)) != NULL && *line != '\0') {
        if (bk_http_field(line, h, err) != 0) {
            return -1;
        }
    }

    if (line == NULL) {
        return bk_err_set(err, 400, "BadRequest", "a line of the request's "
                          "head does not end with CR LF");
    }

    if (h->length == -1) {
        h->length = 0;
    }

    return 0;
}


/* Cuts the next line off; NULL where it is not ended by CR LF alone. */

static char *
bk_http_line(char **text)
{
    char  *line = *text, *p;

    for (p = line; *p != '\0' && *p != '\r' && *p != '\n'; p++) {
        /* void */
    }

    if (p[0] != '\r' || p[1] != '\n') {
        return NULL;
    }

    *p = '\0';
    *text = p + 2;

    return line;
}


static int
bk_http_request_line(char *line, bk_http_head_t *h, bk_err_t *err)
{
    char  *target, *version, *p;

    target = strchr(line, ' ');
    version = target != NULL ? strchr(target + 1, ' ') : NULL;

    if (version == NULL || !bk_http_token(line, (size_t) (target - line))
        || target - line > 16)
    {
        return bk_err_set(err, 400, "BadRequest", "this is no HTTP request");
    }

    *target++ = '\0';
    *version++ = '\0';

    if (strcmp(version, "HTTP/1.1") == 0) {
        h->minor = 1;

    } else if (strcmp(version, "HTTP/1.0") == 0) {
        h->close = 1;

    } else {
        return bk_err_set(err, 505, "BadVersion",
                          "this server speaks HTTP/1.1");
    }

    if (*target != '/') {
        return bk_err_set(err, 400, "BadRequest",
                          "the request's path must begin with /");
    }

    for (p = target; *p != '\0'; p++) {
        if ((unsigned char) *p <= 0x20 || *p == 0x7f || *p == '#') {
            return bk_err_set(err, 400, "BadRequest", "the request's path "
                              "has a character that must be encoded");
        }
    }

    h->method = line;
    h->target = target;
    h->query = strchr(target, '?');

    if (h->query != NULL) {
        *h->query++ = '\0';

    } else {
        h->query = p;
    }

    return 0;
}


static int
bk_http_field(char *line, bk_http_head_t *h, bk_err_t *err)
{
    char    *value, *end;
    size_t   len;

    value = strchr(line, ':');

    if (value == NULL || !bk_http_token(line, (size_t) (value - line))) {
        return bk_err_set(err, 400, "BadRequest",
                          "a header of the request is malformed");
    }

    *value++ = '\0';
    value += strspn(value, " \t");

    for (end = value + strlen(value);
         end > value && (end[-1] == ' ' || end[-1] == '\t'); end--)
    {
        end[-1] = '\0';
    }

    for (end = value; *end != '\0'; end++) {
        if (((unsigned char) *end < 0x20 && *end != '\t') || *end == 0x7f) {
            return bk_err_set(err, 400, "BadRequest", "a header of the "
                              "request has a control character");
        }
    }

    if (strcasecmp(line, "Content-Length") == 0) {
        return bk_http_length(value, h, err);
    }

    if (strcasecmp(line, "Transfer-Encoding") == 0) {
        bk_err_set(err, 411, "LengthRequired",
                   "a request with a body needs Content-Length");
        return bk_err_hint(err, "chunked requests are not read");
    }

    if (strcasecmp(line, "Authorization") == 0) {
        return bk_http_bearer(value, h, err);
    }

    if (strcasecmp(line, "Connection") == 0) {
        h->close |= bk_http_has(value, "close");

    } else if (strcasecmp(line, "Expect") == 0) {
        h->expect = strcasecmp(value, "100-continue") == 0;

    } else if (strcasecmp(line, "Origin") == 0) {
        h->origin = 1;

    } else if (strcasecmp(line, "X-Forwarded-For") == 0) {
        h->forwarded = bk_http_forwarded(value);

    } else if (strcasecmp(line, "Content-Type") == 0) {
        len = strcspn(value, "; \t");
        h->json = len == 16 && strncasecmp(value, "application/json", 16) == 0;
    }

    return 0;
}


static int
bk_http_length(const char *value, bk_http_head_t *h, bk_err_t *err)
{
    size_t       i, len = strlen(value);
    long long    n = 0;

    if (len == 0 || strspn(value, "0123456789") != len) {
        return bk_err_set(err, 400, "BadRequest",
                          "Content-Length must be a number");
    }

    if (h->length != -1) {
        return bk_err_set(err, 400, "BadRequest",
                          "Content-Length is given twice");
    }

    for (i = 0; i < len; i++) {
        if (n <= (1ll << 40)) {
            n = n * 10 + (value[i] - '0');
        }
    }

    h->length = n;

    return 0;
}


/*
 * "Bearer TOKEN", RFC 6750.  What is not that is remembered and no error yet:
 * open routes do not look at it.
 */

static int
bk_http_bearer(char *value, bk_http_head_t *h, bk_err_t *err)
{
    size_t  len;

    if (h->authorization) {
        return bk_err_set(err, 400, "BadRequest",
                          "Authorization is given twice");
    }

    h->authorization = 1;

    if (strncasecmp(value, "Bearer ", 7) != 0) {
        return 0;
    }

    value += 7;
    value += strspn(value, " ");

    len = strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                        "0123456789-._~+/");

    if (len > 0 && len + strspn(value + len, "=") == strlen(value)
        && strlen(value) <= BK_HTTP_BEARER_MAX)
    {
        h->bearer = value;
    }

    return 0;
}


/* The last one of the list: those before it are what the client said. */

static const char *
bk_http_forwarded(const char *value)
{
    size_t       len;
    const char  *comma;

    comma = strrchr(value, ',');
    value = comma != NULL ? comma + 1 : value;
    value += strspn(value, " \t");
    len = strspn(value, "0123456789abcdefABCDEF.:[]");

    return len > 0 && len <= BK_HTTP_ADDRESS_MAX && value[len] == '\0'
           ? value : NULL;
}


int
bk_http_decode(char *s, int plus)
{
    int    hi, lo, c;
    char  *d;

    for (d = s; *s != '\0'; s++) {
        c = (unsigned char) *s;

        if (c == '+' && plus) {
            c = ' ';

        } else if (c == '%') {
            hi = bk_http_hex(s[1]);
            lo = hi == -1 ? -1 : bk_http_hex(s[2]);

            if (lo == -1) {
                return -1;
            }

            c = hi * 16 + lo;
            s += 2;
        }

        if (c < 0x20 || c == 0x7f) {
            return -1;
        }

        *d++ = (char) c;
    }

    *d = '\0';

    return 0;
}


static int
bk_http_hex(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }

    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }

    return -1;
}


static int
bk_http_token(const char *s, size_t len)
{
    size_t         i;
    unsigned char  c;

    for (i = 0; i < len; i++) {
        c = (unsigned char) s[i];

        if (c <= 0x20 || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c)) {
            return 0;
        }
    }

    return len > 0;
}


/* Is the word in a comma-separated list? */

static int
bk_http_has(const char *value, const char *word)
{
    size_t  n, len = strlen(word);

    while (*value != '\0') {
        value += strspn(value, ", \t");
        n = strcspn(value, ", \t");

        if (n == len && strncasecmp(value, word, n) == 0) {
            return 1;
        }

        value += n;
    }

    return 0;
}
