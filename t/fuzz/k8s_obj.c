/*
 * FUZZ_SOURCES: plugin-host/plugins/kubernetes/obj.c
 *     plugin-host/plugins/kubernetes/obj_pod.c
 *     plugin-host/plugins/kubernetes/obj_why.c
 *     plugin-host/plugins/kubernetes/obj_worker.c
 *     plugin-host/src/err.c
 * FUZZ_CFLAGS: -Iplugin-host/plugins/kubernetes
 * FUZZ_LIBS: -ljansson -lcrypto
 */

/*
 * Objects of Kubernetes, whatever is in them, as a worker and as a Pod: what
 * is taken of them is whole and in range, what is refused has a reason, and no
 * text has control bytes.
 */

#include <arpa/inet.h>
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "bk_table.h"
#include "obj.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_worker(json_t *obj);
static void fuzz_pod(json_t *obj);
static void fuzz_text(const char *s, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t  *obj;

    /* as the client reads them */
    obj = json_loadb((const char *) data, size, JSON_REJECT_DUPLICATES, NULL);

    if (obj != NULL) {
        fuzz_worker(obj);
        fuzz_pod(obj);
        json_decref(obj);
    }

    return 0;
}


static void
fuzz_worker(json_t *obj)
{
    size_t        i;
    bk_err_t      bad, err;
    obj_ended_t   ended[OBJ_ENDED_MAX];
    obj_worker_t  o = { .ended = ended };

    if (obj_worker_read(obj, &o, &bad, &err) != 0) {
        assert(err.reason[0] != '\0');
        fuzz_text(err.text, sizeof(err.text));
        return;
    }

    assert(o.ns[0] != '\0' && o.name[0] != '\0' && o.uid[0] != '\0');
    assert(o.pool[0] != '\0' && strchr(o.pool, '/') == NULL);
    assert(o.phase >= OBJ_PHASE_PENDING && o.phase <= OBJ_PHASE_FAILED);
    assert(o.nended <= OBJ_ENDED_MAX);

    if (o.has_alloc) {
        assert(o.alloc.state >= BK_ALLOC_QUEUED
               && o.alloc.state <= BK_ALLOC_DRAINING);
    }

    for (i = 0; i < o.nended; i++) {
        assert(bk_alloc_ended(ended[i].state)
               && ended[i].state < BK_ALLOC_STATES);
        fuzz_text(ended[i].reason, sizeof(ended[i].reason));
    }

    if (bad.code != 0) {
        assert(bad.reason[0] != '\0');
        fuzz_text(bad.text, sizeof(bad.text));
    }
}


static void
fuzz_pod(json_t *obj)
{
    char              text[OBJ_ADDRESS_MAX], *port;
    bk_err_t          err;
    obj_pod_t         o;
    struct in_addr    in;
    struct in6_addr   in6;

    static const char *const  avoid[] = { "10.0.0.1", "fd00::1", NULL };

    if (obj_pod_read(obj, avoid, &o, &err) != 0) {
        assert(err.reason[0] != '\0');
        fuzz_text(err.text, sizeof(err.text));
        return;
    }

    assert(o.worker[0] != '\0' && o.worker_uid[0] != '\0');
    assert(!o.ready || o.address[0] != '\0');
    fuzz_text(o.why, sizeof(o.why));

    if (o.address[0] == '\0') {
        return;
    }

    strcpy(text, o.address);
    port = strrchr(text, ':');
    assert(strcmp(port, ":1234") == 0);
    *port = '\0';

    if (text[0] == '[') {
        text[strlen(text) - 1] = '\0';
        assert(inet_pton(AF_INET6, text + 1, &in6) == 1);
        assert(strcmp(text + 1, "::1") != 0
               && strcmp(text + 1, "fd00::1") != 0);
        return;
    }

    assert(inet_pton(AF_INET, text, &in) == 1);
    assert(strncmp(text, "127.", 4) != 0 && strncmp(text, "169.254.", 8) != 0
           && strcmp(text, "10.0.0.1") != 0);
}


static void
fuzz_text(const char *s, size_t size)
{
    assert(strnlen(s, size) < size);

    for ( /* void */ ; *s != '\0'; s++) {
        assert((unsigned char) *s >= 0x20 && *s != 0x7f);
    }
}
