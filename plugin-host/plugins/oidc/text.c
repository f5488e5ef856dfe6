/* Durations and what strangers say, for messages: see text.h. */

#include <stdio.h>
#include <string.h>

#include "text.h"


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
