/*
 * Go-style durations ("90s", "1h30m", "250ms"): configuration, API, bkctl and
 * plugins, which the Makefile links with src/duration.c (SHARED_name there).
 */

#ifndef BK_DURATION_H_INCLUDED
#define BK_DURATION_H_INCLUDED

#include <stddef.h>
#include <stdint.h>

/*
 * Parses len bytes at s into milliseconds.  Units: ns, us, ms, s, m, h, and
 * d (24 h), which is ours; decimals are allowed ("1.5h"); "0" needs no unit.
 * 0, or -1 for anything else, for negative values, for more than 100 years and
 * for more than 32 bytes.
 */
int bk_duration_parse(const char *s, size_t len, uint64_t *ms);

/* Writes ms as "1h30m", "45s", "250ms"; returns buf. */
char *bk_duration_format(uint64_t ms, char *buf, size_t size);

#endif /* BK_DURATION_H_INCLUDED */
