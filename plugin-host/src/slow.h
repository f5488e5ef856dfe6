/* Callbacks that hold up the loop are named in the log. */

#ifndef BK_SLOW_H_INCLUDED
#define BK_SLOW_H_INCLUDED

#include <stdint.h>

uint64_t bk_host_monotonic_ms(void);

/* what of who was called at since_ms, and has returned now. */
void bk_host_slow(const char *who, const char *what, uint64_t since_ms);

#endif /* BK_SLOW_H_INCLUDED */
