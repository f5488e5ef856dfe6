/* Times, hashes, addresses and texts of objects: see obj.h. */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bk_err.h"
#include "obj.h"


#define OBJ_TIME_MAX  64


static int obj_digits(const char **p, int n, int *out);
static int obj_zone(const char *p, int *seconds);
static int obj_inet(const struct in_addr *in);
static int obj_inet6(const struct in6_addr *in);


const char *
obj_text(const json_t *obj, const char *key)
{
    const char  *s = json_string_value(json_object_get(obj, key));

    return s != NULL ? s : "";
}


int
obj_time(const char *s, uint64_t *ms)
{
    int          year, month, seconds, zone;
    int          scale = 100, frac = 0;
    time_t       t;
    struct tm    tm;

    memset(&tm, 0, sizeof(tm));

    if (strnlen(s, OBJ_TIME_MAX) == OBJ_TIME_MAX
        || obj_digits(&s, 4, &year) != 0 || *s++ != '-'
        || obj_digits(&s, 2, &month) != 0 || *s++ != '-'
        || obj_digits(&s, 2, &tm.tm_mday) != 0 || (*s != 'T' && *s != 't'))
    {
        return -1;
    }

    s++;

    if (obj_digits(&s, 2, &tm.tm_hour) != 0 || *s++ != ':'
        || obj_digits(&s, 2, &tm.tm_min) != 0 || *s++ != ':'
        || obj_digits(&s, 2, &seconds) != 0)
    {
        return -1;
    }

    if (*s == '.') {
        if (s[1] < '0' || s[1] > '9') {
            return -1;
        }

        for (s++; *s >= '0' && *s <= '9'; s++) {
            frac += (*s - '0') * scale;
            scale /= 10;
        }
    }

    if (obj_zone(s, &zone) != 0 || month < 1 || month > 12
        || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23
        || tm.tm_min > 59 || seconds > 60)
    {
        return -1;
    }

    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    tm.tm_sec = seconds;
    t = timegm(&tm) - zone;

    if (t <= 0) {
        return -1;
    }

    *ms = (uint64_t) t * 1000 + (uint64_t) frac;

    return 0;
}


static int
obj_digits(const char **p, int n, int *out)
{
    const char  *s = *p;

    for (*out = 0; n > 0; n--, s++) {
        if (*s < '0' || *s > '9') {
            return -1;
        }

        *out = *out * 10 + (*s - '0');
    }

    *p = s;

    return 0;
}


static int
obj_zone(const char *p, int *seconds)
{
    int   hours, minutes;
    char  sign = *p++;

    *seconds = 0;

    if (sign == 'Z' || sign == 'z') {
        return *p == '\0' ? 0 : -1;
    }

    if ((sign != '+' && sign != '-') || obj_digits(&p, 2, &hours) != 0
        || *p++ != ':' || obj_digits(&p, 2, &minutes) != 0 || *p != '\0'
        || hours > 23 || minutes > 59)
    {
        return -1;
    }

    *seconds = (hours * 60 + minutes) * 60 * (sign == '-' ? -1 : 1);

    return 0;
}


int
obj_hex(const char *s, uint8_t *out, size_t len)
{
    int     nibble;
    size_t  i;

    if (strnlen(s, 2 * len + 1) != 2 * len) {
        return -1;
    }

    for (i = 0; i < 2 * len; i++) {
        if (s[i] >= '0' && s[i] <= '9') {
            nibble = s[i] - '0';

        } else if (s[i] >= 'a' && s[i] <= 'f') {
            nibble = s[i] - 'a' + 10;

        } else {
            return -1;
        }

        out[i / 2] = (uint8_t) (i % 2 == 0 ? nibble << 4
                                           : out[i / 2] | nibble);
    }

    return 0;
}


void
obj_hash(const char *token, uint8_t *hash)
{
    if (EVP_Digest(token, strlen(token), hash, NULL, EVP_sha256(), NULL) != 1)
    {
        abort();
    }
}


int
obj_address(const char *ip, unsigned port, const char *const *avoid,
    char *buf, size_t size, bk_err_t *err)
{
    int               six, good;
    char              text[INET6_ADDRSTRLEN];
    struct in_addr    in;
    struct in6_addr   in6;

    six = (inet_pton(AF_INET6, ip, &in6) == 1);

    if (six) {
        good = obj_inet6(&in6);
        inet_ntop(AF_INET6, &in6, text, sizeof(text));

    } else if (inet_pton(AF_INET, ip, &in) == 1) {
        good = obj_inet(&in);
        inet_ntop(AF_INET, &in, text, sizeof(text));

    } else {
        return bk_err_set(err, 400, "BadAddress", "\"%.60s\" is no address",
                          ip);
    }

    if (!good) {
        return bk_err_set(err, 400, "BadAddress", "%s is not the address of a "
                          "Pod (loopback, link-local, multicast ...)", text);
    }

    for ( /* void */ ; avoid != NULL && *avoid != NULL; avoid++) {
        if (strcmp(*avoid, text) == 0) {
            return bk_err_set(err, 400, "BadAddress", "%s is the address of "
                              "the API server or of a node", text);
        }
    }

    snprintf(buf, size, six ? "[%s]:%u" : "%s:%u", text, port);

    return 0;
}


static int
obj_inet(const struct in_addr *in)
{
    uint32_t  a = ntohl(in->s_addr);

    return a >> 24 != 0 && a >> 24 != 127       /* this network, loopback */
           && a >> 16 != 0xa9fe                 /* link-local, metadata */
           && a >> 28 < 0xe;                    /* multicast, reserved */
}


/* One that means an IPv4 address is another spelling of it. */

static int
obj_inet6(const struct in6_addr *in)
{
    static const uint8_t  nat64[12] = { 0, 0x64, 0xff, 0x9b };

    return !IN6_IS_ADDR_UNSPECIFIED(in) && !IN6_IS_ADDR_LOOPBACK(in)
           && !IN6_IS_ADDR_LINKLOCAL(in) && !IN6_IS_ADDR_MULTICAST(in)
           && !IN6_IS_ADDR_V4MAPPED(in) && !IN6_IS_ADDR_V4COMPAT(in)
           && memcmp(in, nat64, sizeof(nat64)) != 0;
}


void
obj_copy(char *buf, size_t size, const char *s)
{
    size_t  n = strnlen(s, size);

    if (n == size) {
        for (n = size - 1; n > 0 && ((unsigned char) s[n] & 0xc0) == 0x80; n--)
        {
            /* void */
        }
    }

    memcpy(buf, s, n);
    buf[n] = '\0';
    bk_err_clean(buf);
}
