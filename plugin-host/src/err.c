/* Filling bk_err_t: see err.h. */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "err.h"


static void bk_err_clean(char *text);


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


static void
bk_err_clean(char *text)
{
    for ( /* void */ ; *text != '\0'; text++) {
        if ((unsigned char) *text < 0x20 || *text == 0x7f) {
            *text = ' ';
        }
    }
}
