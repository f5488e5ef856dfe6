/*
 * The log of plugin-host: one line to stderr (or a file) per fact, as text or
 * JSON.  Called from everywhere in the host; plugins come through host_api.c.
 * Never given a token, key or certificate: log the allocation's id.
 */

#ifndef BK_LOG_H_INCLUDED
#define BK_LOG_H_INCLUDED

#include <stdarg.h>

#include "bk_plugin.h"


#define BK_LOG_TEXT  0
#define BK_LOG_JSON  1

/* Lines above this level are not written. */
void bk_log_set(int level, int format);
int bk_log_level(void);

/* Writes to a file from now on; NULL: stderr. */
int bk_log_open(const char *path, bk_err_t *err);
/* Opens the file again (SIGUSR1); 0 when there is none. */
int bk_log_reopen(bk_err_t *err);

/* who: "model", "http", a plugin's label ... */
void bk_log(int level, const char *who, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void bk_log_v(int level, const char *who, const char *fmt, va_list args);

/* "text (hint)" of an error, at ERROR. */
void bk_log_err(int level, const char *who, const bk_err_t *err);

/* RFC 3339 with milliseconds, UTC; buf of at least 32 bytes; returns buf. */
char *bk_log_time(uint64_t ms, char *buf, size_t size);

#endif /* BK_LOG_H_INCLUDED */
