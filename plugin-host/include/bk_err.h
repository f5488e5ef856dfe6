/*
 * Filling bk_err_t (bk_plugin.h): where an error is detected, once.
 *
 * src/err.c, for the host and for plugins that the Makefile links it to
 * (SHARED_name there).
 */

#ifndef BK_ERR_H_INCLUDED
#define BK_ERR_H_INCLUDED

#include "bk_plugin.h"

/*
 * Fills *err and returns -1, so that "return bk_err_set(...)" ends a
 * function.  err may be NULL.  reason is a CamelCaseWord.  The text is
 * cleaned of control bytes and of what is no UTF-8, and cut to its field.
 */
int bk_err_set(bk_err_t *err, int code, const char *reason,
    const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Adds what to do next.  Returns -1 as well. */
int bk_err_hint(bk_err_t *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Both at once; hint may be NULL. */
int bk_fail(bk_err_t *err, int code, const char *reason, const char *hint,
    const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* Puts "prefix: " before the text, e.g. the file that was being read. */
int bk_err_prefix(bk_err_t *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* What the others do with a text: as long as it was, and good for JSON. */
void bk_err_clean(char *text);

#endif /* BK_ERR_H_INCLUDED */
