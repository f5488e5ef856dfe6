/*
 * FUZZ_SOURCES: plugin-host/plugins/controller/answer.c plugin-host/src/err.c
 * FUZZ_CFLAGS: -Iplugin-host/plugins/controller
 * FUZZ_LIBS: -ljansson
 */

/*
 * What a controller answers to a look-up, whatever is in it: what is taken of
 * it is whole and in range, an address is one that the table's writer takes
 * and no forbidden one, and every trouble has words without control bytes.
 *
 * The first byte chooses the status.
 */

#include <arpa/inet.h>
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "controller.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_good(const ctl_answer_t *a, int local);
static void fuzz_endpoint(const char *s, int local);
static void fuzz_text(const char *s, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int           local;
    ctl_answer_t  a;

    static const long  statuses[] = { 200, 200, 200, 404, 410, 0, 503, 401 };

    if (size == 0) {
        return 0;
    }

    local = data[0] >> 7;
    ctl_answer_read(statuses[data[0] & 7], (const char *) data + 1, size - 1,
                    "no answer", local, &a);

    assert(a.said < ctl_said_n);
    fuzz_text(a.text, sizeof(a.text));
    fuzz_text(a.worker, sizeof(a.worker));
    fuzz_text(a.pool, sizeof(a.pool));
    fuzz_text(a.tls_name, sizeof(a.tls_name));
    fuzz_text(a.endpoint, sizeof(a.endpoint));

    switch (a.said) {

    case ctl_said_known_e:
        assert(!bk_alloc_ended(a.state));
        fuzz_good(&a, local);
        break;

    case ctl_said_ended_e:
        assert(bk_alloc_ended(a.state) && a.state < BK_ALLOC_STATES);
        break;

    case ctl_said_trouble_e:
        assert(a.text[0] != '\0' && a.worker[0] == '\0');
        break;

    case ctl_said_unknown_e:
        assert(a.worker[0] == '\0' && a.endpoint[0] == '\0');
        break;

    default:
        assert(0);
    }

    return 0;
}


static void
fuzz_good(const ctl_answer_t *a, int local)
{
    assert(a->state > BK_ALLOC_FREE);
    assert(a->worker[0] != '\0' || a->state == BK_ALLOC_QUEUED);
    assert(strchr(a->worker, '/') == NULL && strchr(a->tls_name, '/') == NULL);

    if (a->endpoint[0] != '\0') {
        fuzz_endpoint(a->endpoint, local);

    } else {
        assert(a->state == BK_ALLOC_QUEUED || a->state == BK_ALLOC_STARTING);
    }
}


static void
fuzz_endpoint(const char *s, int local)
{
    char             host[64];
    size_t           len;
    uint32_t         a;
    const char      *colon = strrchr(s, ':');
    struct in_addr   in;
    struct in6_addr  in6;

    assert(colon != NULL && atoi(colon + 1) > 0 && atoi(colon + 1) < 65536);

    if (s[0] == '[') {
        assert(colon[-1] == ']');
        len = (size_t) (colon - s) - 2;
        memcpy(host, s + 1, len);
        host[len] = '\0';
        assert(inet_pton(AF_INET6, host, &in6) == 1);
        assert(!IN6_IS_ADDR_LINKLOCAL(&in6) && !IN6_IS_ADDR_V4MAPPED(&in6)
               && !IN6_IS_ADDR_MULTICAST(&in6)
               && (local || !IN6_IS_ADDR_LOOPBACK(&in6)));
        return;
    }

    len = (size_t) (colon - s);
    memcpy(host, s, len);
    host[len] = '\0';
    assert(inet_pton(AF_INET, host, &in) == 1);

    a = ntohl(in.s_addr);
    assert(a >> 24 != 0 && a >> 28 < 0xe && a >> 16 != 0xa9fe
           && (local || a >> 24 != 127));
}


static void
fuzz_text(const char *s, size_t size)
{
    size_t  i, len = strnlen(s, size);

    assert(len < size);

    for (i = 0; i < len; i++) {
        assert((unsigned char) s[i] >= 0x20 && s[i] != 0x7f);
    }
}
