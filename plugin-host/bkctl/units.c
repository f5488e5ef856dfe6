/* Times and sizes: from and to the API's form, and as people read them. */

#include <string.h>
#include <time.h>

#include "bk_duration.h"
#include "bkctl.h"


uint64_t
bk_now_ms(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}


int64_t
bk_unix_ms(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_REALTIME, &ts);

    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


int64_t
bk_time_parse(const char *s)
{
    time_t       t;
    struct tm    tm;
    const char  *end;

    memset(&tm, 0, sizeof(tm));
    end = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);

    if (end == NULL) {
        return -1;
    }

    if (*end == '.') {
        end += 1 + strspn(end + 1, "0123456789");
    }

    if (strcmp(end, "Z") != 0 && strcmp(end, "+00:00") != 0) {
        return -1;
    }

    t = timegm(&tm);

    return t < 0 ? -1 : (int64_t) t * 1000;
}


char *
bk_time_format(int64_t unix_ms, char *buf, size_t size)
{
    time_t     t;
    struct tm  tm;

    t = (time_t) (unix_ms / 1000);

    if (gmtime_r(&t, &tm) == NULL
        || strftime(buf, size, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
    {
        snprintf(buf, size, "?");
    }

    return buf;
}


/* "in 59m": for tables, whose JSON has the exact time. */

char *
bk_time_short(const char *rfc3339, char *buf, size_t size)
{
    char     took[32];
    int64_t  at, left;

    at = bk_time_parse(rfc3339);

    if (at < 0) {
        snprintf(buf, size, "%s", *rfc3339 ? rfc3339 : "never");
        return bk_out_clean(buf);
    }

    left = at - bk_unix_ms();
    bk_duration_format((uint64_t) (left < 0 ? -left : left) / 1000 * 1000,
                       took, sizeof(took));
    snprintf(buf, size, left < 0 ? "%s ago" : "in %s", took);

    return buf;
}


char *
bk_time_relative(const char *rfc3339, char *buf, size_t size)
{
    char  left[48];

    bk_time_short(rfc3339, left, sizeof(left));

    if (bk_time_parse(rfc3339) < 0) {
        snprintf(buf, size, "%s", left);

    } else {
        snprintf(buf, size, "%s (%s)", rfc3339, left);
    }

    return bk_out_clean(buf);
}


char *
bk_bytes_short(long long n, char *buf, size_t size)
{
    size_t       unit;
    double       value = (double) n;
    static char  units[] = " kMGTP";

    for (unit = 0; value >= 999.5 && unit < sizeof(units) - 2; unit++) {
        value /= 1000;
    }

    if (unit == 0) {
        snprintf(buf, size, "%lld", n);

    } else {
        snprintf(buf, size, value < 9.95 ? "%.1f%c" : "%.0f%c", value,
                 units[unit]);
    }

    return buf;
}
