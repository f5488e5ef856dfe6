/* Filling bk_err_t: see bk_err.h. */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bk_err.h"


static size_t bk_err_char(const char *text);


int
bk_err_set(bk_err_t *err, int code, const char *reason, const char *fmt, ...)
{
    va_list  args;

    if (err == NULL) {
        return -1;
    }

    memset(err, 0, sizeof(bk_err_t));
    err->code = code;
    snprintf(err->reason, sizeof(err->reason), "%s", reason);

    va_start(args, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);

    bk_err_clean(err->text);

    return -1;
}


int
bk_err_hint(bk_err_t *err, const char *fmt, ...)
{
    va_list  args;

    if (err == NULL) {
        return -1;
    }

    va_start(args, fmt);
    vsnprintf(err->hint, sizeof(err->hint), fmt, args);
    va_end(args);

    bk_err_clean(err->hint);

    return -1;
}


int
bk_fail(bk_err_t *err, int code, const char *reason, const char *hint,
    const char *fmt, ...)
{
    char     text[sizeof(err->text)], next[sizeof(err->hint)];
    va_list  args;

    if (err == NULL) {
        return -1;
    }

    /* what is told may be in *err so far */

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    snprintf(next, sizeof(next), "%s", hint == NULL ? "" : hint);

    bk_err_set(err, code, reason, "%s", text);

    return bk_err_hint(err, "%s", next);
}


int
bk_err_prefix(bk_err_t *err, const char *fmt, ...)
{
    char     prefix[sizeof(err->text)], text[sizeof(err->text)];
    va_list  args;

    if (err == NULL) {
        return -1;
    }

    va_start(args, fmt);
    vsnprintf(prefix, sizeof(prefix), fmt, args);
    va_end(args);

    memcpy(text, err->text, sizeof(text));
    snprintf(err->text, sizeof(err->text), "%.200s: %.300s", prefix, text);

    bk_err_clean(err->text);

    return -1;
}


/* What is cut may be cut within a character, and what strangers say need not
 * be UTF-8 at all; but all of this goes into JSON. */

void
bk_err_clean(char *text)
{
    size_t  n;

    for ( /* void */ ; *text != '\0'; text += n) {
        n = bk_err_char(text);

        if (n == 0) {
            *text = '?';
            n = 1;

        } else if ((unsigned char) *text < 0x20 || *text == 0x7f) {
            *text = ' ';
        }
    }
}


/* Bytes of the character that begins here; 0: none does. */

static size_t
bk_err_char(const char *text)
{
    size_t                i, n;
    const unsigned char  *s = (const unsigned char *) text;

    if (s[0] < 0x80) {
        return 1;
    }

    n = s[0] < 0xc2 || s[0] > 0xf4 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;

    for (i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) {
            return 0;
        }
    }

    /* too long a form, surrogates, and beyond the last one */
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f)
        || (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
    {
        return 0;
    }

    return n;
}
