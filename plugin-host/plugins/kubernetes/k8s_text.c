/* What k8s_watch.c and k8s_lease.c both need: see k8s_int.h. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "k8s_int.h"


const char *
k8s_text(const json_t *obj, const char *key)
{
    const char  *s = json_string_value(json_object_get(obj, key));

    return s != NULL ? s : "";
}


char *
k8s_query(const char *s)
{
    char    *out;
    size_t   n = 0;

    out = malloc(strlen(s) * 3 + 1);
    if (out == NULL) {
        abort();
    }

    for ( /* void */ ; *s != '\0'; s++) {
        if ((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z')
            || (*s >= '0' && *s <= '9') || *s == '-' || *s == '.'
            || *s == '_' || *s == '~')
        {
            out[n++] = *s;

        } else {
            n += (size_t) sprintf(out + n, "%%%02X", (unsigned char) *s);
        }
    }

    out[n] = '\0';

    return out;
}


unsigned
k8s_random(unsigned n)
{
    unsigned  r = 0;

    /* 0 where there is none: that is no reason to fail */
    if (getrandom(&r, sizeof(r), GRND_NONBLOCK) != sizeof(r)) {
        return 0;
    }

    return r % n;
}


int
k8s_alike(const char *one, const char *two)
{
    for ( ;; ) {
        one += strspn(one, "0123456789");
        two += strspn(two, "0123456789");

        if (*one != *two) {
            return 0;
        }

        if (*one == '\0') {
            return 1;
        }

        one++;
        two++;
    }
}
