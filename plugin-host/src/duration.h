/* Go-style durations ("90s", "1h30m", "250ms"): configuration, API, bkctl. */

#ifndef BK_DURATION_H_INCLUDED
#define BK_DURATION_H_INCLUDED

#include <stddef.h>
#include <stdint.h>

/*
 * Parses len bytes at s into milliseconds.  Units: ms, s, m, h, d (24 h);
 * decimals are allowed ("1.5h"); "0" needs no unit.  0, or -1 for anything
 * else, for negative values and for more than 100 years.
 */
int bk_duration_parse(const char *s, size_t len, uint64_t *ms);

/* Writes ms as "1h30m", "45s", "250ms"; returns buf. */
char *bk_duration_format(uint64_t ms, char *buf, size_t size);

#endif /* BK_DURATION_H_INCLUDED */
