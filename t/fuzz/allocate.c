/*
 * FUZZ_SOURCES: plugin-host/plugins/allocator/allocate.c
 *     plugin-host/plugins/allocator/buf.c plugin-host/plugins/allocator/json.c
 *     plugin-host/plugins/allocator/old.c
 *     plugin-host/plugins/allocator/renew.c
 *     plugin-host/plugins/allocator/request.c
 *     plugin-host/plugins/allocator/routes.c
 *     plugin-host/plugins/allocator/select.c
 *     plugin-host/plugins/allocator/token.c
 *     plugin-host/src/duration.c plugin-host/src/err.c
 * FUZZ_CFLAGS: -Iplugin-host/plugins/allocator
 * FUZZ_LIBS: -ljansson -lcrypto
 */

/*
 * The body of a request to the allocator: allocate, the two old endpoints,
 * lookup, release, renew, as routes.c has them.  The first byte says which,
 * the second how host and journal (allocate_host.h and allocate_rest.h stand
 * in for them) find things; then come the claims of whoever asks, up to a
 * NUL, and the body.
 *
 * Whatever it is, it is answered once, with JSON or with a whole error that
 * has no token in it; what gets as far as an allocation keeps to all limits.
 */

#include "allocate_host.h"
#include "allocate_rest.h"


int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_short(const char *s, size_t max);
static void fuzz_secret(bk_str_t body);


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    bk_err_t  err;

    (void) argc;
    (void) argv;

    fuzz_host_init();

    if (bk_routes_add(&fuzz_a, &err) != 0 || fuzz_nroutes < FUZZ_ROUTES) {
        abort();
    }

    return 0;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char               *body;
    const uint8_t      *nul;
    bk_request_info_t   info;

    if (size < 2 || size > 140000) {
        return 0;
    }

    fuzz_reset(data[1]);

    info = (bk_request_info_t) { .client = BK_STR("127.0.0.1:1234") };
    nul = memchr(data + 2, '\0', size - 2);

    if (nul != NULL) {
        fuzz.claims = (bk_str_t) { (const char *) data + 2,
                                   (size_t) (nul - data) - 2 };
        info.body.len = size - (size_t) (nul - data) - 1;

    } else {
        info.body.len = size - 2;
    }

    /* nothing is behind it */
    body = malloc(info.body.len + (info.body.len == 0));
    assert(body != NULL);
    memcpy(body, data + size - info.body.len, info.body.len);
    info.body.data = body;

    fuzz_routes[data[0] % FUZZ_ROUTES](fuzz_r, &info, &fuzz_a);
    fuzz_after();

    fuzz_secret(info.body);
    free(body);

    assert(TAILQ_EMPTY(&fuzz_a.calls));
    assert(fuzz.answers == 1 || (fuzz.gone_called && fuzz.answers == 0));

    return 0;
}


/* What is to become an allocation: in place of make.c. */

int
bk_make(bk_call_t *c, bk_err_t *err)
{
    json_t    *metadata;
    uint64_t   max;

    max = fuzz_a.max_ttl_ms;

    if (c->rule.max_ttl_ms > 0 && c->rule.max_ttl_ms < max) {
        max = c->rule.max_ttl_ms;
    }

    assert(c->ttl_ms >= BK_SECOND && c->ttl_ms <= max);
    assert(c->wait_ms <= fuzz_a.max_wait_ms);
    assert(strchr(c->pool, '/') != NULL);
    assert(c->owner != NULL && strlen(c->owner) <= BK_OWNER_MAX);
    assert(c->csr == NULL || (c->csr[0] != '\0' && strlen(c->csr) <= 16384));

    fuzz_short(c->pool, BK_TABLE_POOL_LEN - 1);
    fuzz_short(c->arch, BK_TABLE_ARCH_LEN - 1);
    fuzz_short(c->job_id, BK_JOB_ID_MAX);
    fuzz_short(c->idempotency, BK_JOB_ID_MAX);
    fuzz_short(c->cache_key, BK_CACHE_KEY_MAX);

    if (c->metadata != NULL) {
        assert(strlen(c->metadata) <= BK_METADATA_MAX);
        metadata = json_loads(c->metadata, JSON_REJECT_DUPLICATES, NULL);
        assert(json_is_object(metadata));
        json_decref(metadata);
    }

    if (fuzz.how & FUZZ_WAITS) {
        return 0;
    }

    return bk_fail(err, 503, "Made", NULL, "as far as this");
}


static void
fuzz_short(const char *s, size_t max)
{
    size_t   i;
    json_t  *text;

    if (s == NULL) {
        return;
    }

    for (i = 0; s[i] != '\0'; i++) {
        assert(i < max && (unsigned char) s[i] >= 0x20 && s[i] != 0x7f);
    }

    /* it is UTF-8, or there is none */
    text = json_string(s);
    assert(text != NULL);
    json_decref(text);
}


/* An error never says which token it was; so long a word is none of ours. */

static void
fuzz_secret(bk_str_t body)
{
    json_t      *root;
    const char  *token;

    root = json_loadb(body.data, body.len, 0, NULL);
    token = json_string_value(json_object_get(root, "token"));

    if (token != NULL && strlen(token) >= 24 && strchr(token, ' ') == NULL) {
        assert(strstr(fuzz.said.text, token) == NULL || fuzz.pooled);
        assert(strstr(fuzz.said.hint, token) == NULL);
    }

    json_decref(root);
}
