/*
 * FUZZ_SOURCES: plugin-host/plugins/kubernetes/ct_cron.c plugin-host/src/err.c
 * FUZZ_CFLAGS: -Iplugin-host/plugins/kubernetes
 */

/*
 * Schedules: one that is read has its times on both sides of now, and they are
 * times of it; one that is not has a reason.
 */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ct_cron.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char           *s = malloc(size + 1);
    uint64_t        last, next, now = UINT64_C(1795255200000);
    bk_err_t        err;
    ct_cron_t       c;

    if (s == NULL) {
        abort();
    }

    memcpy(s, data, size);
    s[size] = '\0';
    memset(&err, 0, sizeof(err));

    if (ct_cron_read(s, &c, &err) != 0) {
        assert(err.code == 400 && err.reason[0] != '\0');

    } else {
        assert(c.minutes != 0 && c.hours != 0 && c.days != 0 && c.months != 0
               && c.weekdays != 0);
        assert((c.minutes >> 60) == 0 && (c.hours >> 24) == 0
               && (c.weekdays >> 7) == 0);
        last = ct_cron_last(&c, now);
        next = ct_cron_next(&c, now);
        assert(last <= now && (next == 0 || next > now));
        assert(last == 0 || ct_cron_last(&c, last) == last);
        assert(next == 0 || ct_cron_last(&c, next) == next);
    }

    free(s);

    return 0;
}
