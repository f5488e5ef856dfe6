/* Addresses that no worker has: see obj.h. */

#include <arpa/inet.h>
#include <string.h>

#include "obj.h"


/* A name is not resolved: a Pod's address is none that Services have. */

void
obj_avoid(obj_avoid_t *a, const char *host)
{
    char             text[INET6_ADDRSTRLEN];
    size_t           i, n;
    struct in_addr   in;
    struct in6_addr  in6;

    a->set = 1;

    if (host == NULL) {
        return;
    }

    host += (*host == '[');
    n = strchr(host, ']') != NULL ? strcspn(host, "]")
        : strchr(host, ':') != strrchr(host, ':') ? strlen(host)
        : strcspn(host, ":/");

    if (n >= sizeof(text)) {
        return;
    }

    memcpy(text, host, n);
    text[n] = '\0';

    if (inet_pton(AF_INET6, text, &in6) == 1) {
        inet_ntop(AF_INET6, &in6, text, sizeof(text));

    } else if (inet_pton(AF_INET, text, &in) != 1) {
        return;
    }

    for (i = 0; i < OBJ_AVOID_MAX && a->list[i] != NULL; i++) {
        if (strcmp(a->list[i], text) == 0) {
            return;
        }
    }

    if (i < OBJ_AVOID_MAX) {
        memcpy(a->text[i], text, sizeof(text));
        a->list[i] = a->text[i];
    }
}
