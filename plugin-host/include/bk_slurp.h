/*
 * Small local files: src/slurp.c, for plugins that the Makefile links it to
 * (SHARED_name there).
 */

#ifndef BK_SLURP_H_INCLUDED
#define BK_SLURP_H_INCLUDED

#include <stddef.h>

/*
 * A regular file of at most max bytes, with a NUL behind it, to be freed by
 * the caller (who wipes what is secret); never waits, neither for a pipe's
 * writer nor for a terminal.  NULL: errno says why, EFBIG for a larger one,
 * EINVAL for what is no regular file.
 */
char *bk_slurp(const char *path, size_t max, size_t *len);

#endif /* BK_SLURP_H_INCLUDED */
