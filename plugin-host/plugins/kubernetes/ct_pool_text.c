/* Texts: times, and what a Secret has.  See ct_pool.h. */

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ct_pool.h"


#define CT_SECRET_MAX  (1024 * 1024)        /* the API server's limit */


/*
 * One line of base64, as the API server writes it.  A NUL in it, and it is no
 * text.
 */

char *
ct_secret_get(const json_t *secret, const char *key)
{
    int          n;
    char        *out;
    size_t       len, pad;
    const char  *s = obj_text(json_object_get(secret, "data"), key);

    len = strnlen(s, CT_SECRET_MAX + 1);

    if (len == 0 || len > CT_SECRET_MAX || len % 4 != 0) {
        return NULL;
    }

    out = calloc(1, len / 4 * 3 + 1);
    if (out == NULL) {
        abort();
    }

    pad = (size_t) (s[len - 1] == '=') + (size_t) (s[len - 2] == '=');
    n = EVP_DecodeBlock((unsigned char *) out, (const unsigned char *) s,
                        (int) len);

    if (n < 0 || (size_t) n < pad
        || memchr(out, '\0', (size_t) n - pad) != NULL)
    {
        OPENSSL_cleanse(out, len / 4 * 3);
        free(out);
        return NULL;
    }

    out[(size_t) n - pad] = '\0';

    return out;
}


void
ct_secret_free(char *s)
{
    if (s != NULL) {
        OPENSSL_cleanse(s, strlen(s));
        free(s);
    }
}


char *
ct_pool_time(uint64_t ms, char buf[32])
{
    time_t     t = (time_t) (ms / 1000);
    struct tm  tm;

    if (gmtime_r(&t, &tm) == NULL
        || strftime(buf, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
    {
        strcpy(buf, "1970-01-01T00:00:00Z");
    }

    return buf;
}


char *
ct_pool_strdup(const char *s)
{
    char  *copy;

    if (s == NULL) {
        return NULL;
    }

    copy = strdup(s);
    if (copy == NULL) {
        abort();
    }

    return copy;
}


char *
ct_pool_printf(const char *fmt, ...)
{
    int      n;
    char    *s;
    va_list  args;

    va_start(args, fmt);
    n = vasprintf(&s, fmt, args);
    va_end(args);

    if (n < 0) {
        abort();
    }

    return s;
}
