/* Go-style durations: see bk_duration.h. */

#include <stdio.h>
#include <string.h>

#include "bk_duration.h"


#define BK_DURATION_MAX_LEN  32
#define BK_DURATION_MAX_MS   (100ull * 366 * 86400 * 1000)


static const struct {
    const char  *name;
    size_t       len;
    double       ms;
} bk_duration_units[] = {       /* "ms" before "m" */
    { "ns", 2, 1e-6 },
    { "us", 2, 1e-3 },
    { "ms", 2, 1 },
    { "s", 1, 1000 },
    { "m", 1, 60000 },
    { "h", 1, 3600000 },
    { "d", 1, 86400000 }
};

#define BK_DURATION_UNITS                                                     \
    (sizeof(bk_duration_units) / sizeof(bk_duration_units[0]))


int
bk_duration_parse(const char *s, size_t len, uint64_t *ms)
{
    size_t       i;
    double       value, scale, total;
    const char  *end = s + len;

    if (len == 0 || len > BK_DURATION_MAX_LEN) {
        return -1;
    }

    if (len == 1 && *s == '0') {
        *ms = 0;
        return 0;
    }

    total = 0;

    while (s < end) {
        if (*s < '0' || *s > '9') {
            return -1;
        }

        for (value = 0; s < end && *s >= '0' && *s <= '9'; s++) {
            value = value * 10 + (*s - '0');
        }

        if (s < end && *s == '.') {
            s++;

            if (s == end || *s < '0' || *s > '9') {
                return -1;
            }

            for (scale = 0.1; s < end && *s >= '0' && *s <= '9'; s++) {
                value += scale * (*s - '0');
                scale /= 10;
            }
        }

        for (i = 0; i < BK_DURATION_UNITS; i++) {
            if ((size_t) (end - s) >= bk_duration_units[i].len
                && memcmp(s, bk_duration_units[i].name,
                          bk_duration_units[i].len) == 0)
            {
                break;
            }
        }

        if (i == BK_DURATION_UNITS) {
            return -1;
        }

        s += bk_duration_units[i].len;
        total += value * bk_duration_units[i].ms;
    }

    if (total > (double) BK_DURATION_MAX_MS) {
        return -1;
    }

    *ms = (uint64_t) (total + 0.5);

    return 0;
}


char *
bk_duration_format(uint64_t ms, char *buf, size_t size)
{
    int       n;
    size_t    len;
    uint64_t  h, m, s;

    if (ms < 1000 && ms > 0) {
        snprintf(buf, size, "%ums", (unsigned) ms);
        return buf;
    }

    s = ms / 1000;
    h = s / 3600;
    m = s / 60 % 60;
    s = s % 60;
    len = 0;
    buf[0] = '\0';

    if (h) {
        n = snprintf(buf, size, "%lluh", (unsigned long long) h);
        len = (size_t) n < size ? (size_t) n : size - 1;
    }

    if (m) {
        n = snprintf(buf + len, size - len, "%um", (unsigned) m);
        len += (size_t) n < size - len ? (size_t) n : size - len - 1;
    }

    if (s || len == 0) {
        snprintf(buf + len, size - len, "%us", (unsigned) s);
    }

    return buf;
}
