/* Durations and strings of others: see text.h. */

#include <stdio.h>
#include <string.h>

#include "text.h"


#define OIDC_CENTURY_MS  UINT64_C(3153600000000)


static int oidc_unit(const char **s, uint64_t *ms);


int
oidc_duration_parse(const char *s, uint64_t *ms)
{
    uint64_t  n, unit;

    *ms = 0;

    if (strcmp(s, "0") == 0) {
        return 0;
    }

    do {
        if (*s < '0' || *s > '9') {
            return -1;
        }

        for (n = 0; *s >= '0' && *s <= '9'; s++) {
            n = n * 10 + (uint64_t) (*s - '0');

            if (n > OIDC_CENTURY_MS) {
                return -1;
            }
        }

        if (oidc_unit(&s, &unit) != 0 || n > OIDC_CENTURY_MS / unit) {
            return -1;
        }

        *ms += n * unit;

    } while (*s != '\0' && *ms <= OIDC_CENTURY_MS);

    return *ms <= OIDC_CENTURY_MS ? 0 : -1;
}


static int
oidc_unit(const char **s, uint64_t *ms)
{
    unsigned  i;

    static const struct {
        const char  *name;
        uint64_t     ms;
    } units[] = {
        { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 },
        { "d", 86400000 }
    };

    for (i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strncmp(*s, units[i].name, strlen(units[i].name)) == 0) {
            *s += strlen(units[i].name);
            *ms = units[i].ms;
            return 0;
        }
    }

    return -1;
}


char *
oidc_duration(uint64_t ms, char buf[OIDC_DURATION])
{
    size_t    n = 0;
    uint64_t  s = ms / 1000 + (ms > 0 && ms < 1000);

    if (s >= 86400) {
        n += (size_t) snprintf(buf, OIDC_DURATION, "%llud",
                               (unsigned long long) (s / 86400));
        s %= 86400;
    }

    if (s >= 3600) {
        n += (size_t) snprintf(buf + n, OIDC_DURATION - n, "%uh",
                               (unsigned) (s / 3600));
        s %= 3600;
    }

    if (s >= 60) {
        n += (size_t) snprintf(buf + n, OIDC_DURATION - n, "%um",
                               (unsigned) (s / 60));
        s %= 60;
    }

    if (s > 0 || n == 0) {
        (void) snprintf(buf + n, OIDC_DURATION - n, "%us", (unsigned) s);
    }

    return buf;
}


char *
oidc_show(const char *s, char buf[OIDC_SHOW])
{
    size_t  i;

    for (i = 0; s[i] != '\0' && i < OIDC_SHOW - 4; i++) {
        buf[i] = s[i] >= 0x20 && s[i] < 0x7f ? s[i] : '?';
    }

    strcpy(buf + i, s[i] != '\0' ? "..." : "");

    return buf;
}
