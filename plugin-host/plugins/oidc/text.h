/* Durations, and what strangers say, for messages. */

#ifndef BK_OIDC_TEXT_H_INCLUDED
#define BK_OIDC_TEXT_H_INCLUDED

#include "bk_err.h"

/* In whole seconds, at least one unless it is 0: "5m", "1h30m", "7d". */
#define OIDC_DURATION  32
char *oidc_duration(uint64_t ms, char buf[OIDC_DURATION]);

/* A string of somebody else's for a message: printable ASCII, cut. */
#define OIDC_SHOW  96
char *oidc_show(const char *s, char buf[OIDC_SHOW]);

#endif /* BK_OIDC_TEXT_H_INCLUDED */
