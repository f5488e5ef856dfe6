/* Callbacks that hold up the loop: see slow.h. */

#include <time.h>

#include "log.h"
#include "slow.h"


#define BK_SLOW_MS  50


uint64_t
bk_host_monotonic_ms(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}


void
bk_host_slow(const char *who, const char *what, uint64_t since_ms)
{
    uint64_t  ms = bk_host_monotonic_ms() - since_ms;

    if (ms > BK_SLOW_MS) {
        bk_log(BK_LOG_WARN, who, "%s held everything up for %llu ms", what,
               (unsigned long long) ms);
    }
}
