/*
 * FUZZ_SOURCES: plugin-host/plugins/kubernetes/ct_pool_text.c
 *     plugin-host/plugins/kubernetes/ing_cert.c
 *     plugin-host/plugins/kubernetes/ing_kept.c
 *     plugin-host/plugins/kubernetes/ing_names.c
 *     plugin-host/plugins/kubernetes/ing_read.c
 *     plugin-host/plugins/kubernetes/obj.c
 *     plugin-host/plugins/kubernetes/tls_read.c
 *     plugin-host/src/err.c
 * FUZZ_CFLAGS: -Iplugin-host/plugins/kubernetes
 * FUZZ_LIBS: -ljansson -lcrypto
 */

/*
 * Ingress objects and Secrets, whatever is in them: what is taken of them are
 * names, what is refused has a reason, and nginx can read what comes of two of
 * them.
 */

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "bk_names.h"
#include "ing.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_ingress(json_t *obj);
static void fuzz_lines(json_t *obj);
static void fuzz_secret(json_t *obj);
static uint64_t fuzz_now(const bk_host_t *h);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t  *obj;

    /* as the client reads them */
    obj = json_loadb((const char *) data, size, JSON_REJECT_DUPLICATES, NULL);

    if (obj != NULL) {
        (void) ing_class_is(obj, "buildkit");
        (void) ing_read_workers(obj);
        fuzz_ingress(obj);
        fuzz_lines(obj);
        fuzz_secret(obj);
        json_decref(obj);
    }

    return 0;
}


static void
fuzz_ingress(json_t *obj)
{
    size_t      i, j;
    ing_read_t  r;

    ing_read(obj, &r);
    assert(r.nrules <= ING_RULES && r.faults.n <= ING_FAULTS);
    assert(r.nrules > 0 || r.faults.n > 0);

    for (i = 0; i < r.nrules; i++) {
        assert(bk_names_host_ok(r.rules[i].host, strlen(r.rules[i].host), 1));
        assert(bk_names_pool_ok(r.rules[i].pool, strlen(r.rules[i].pool)));
        assert(r.rules[i].secret == NULL
               || strchr(r.rules[i].secret, '/') != NULL);

        for (j = 0; j < i; j++) {
            assert(strcmp(r.rules[i].host, r.rules[j].host) != 0);
        }
    }

    for (i = 0; i < r.faults.n; i++) {
        assert(r.faults.all[i].reason[0] != '\0'
               && r.faults.all[i].text[0] != '\0');
    }

    ing_read_free(&r);
}


/* It and its twin, to which nothing is left. */

static void
fuzz_lines(json_t *obj)
{
    int          rc;
    char        *text;
    ing_t        ing;
    bk_host_t    host;
    bk_name_t    name;
    ing_obj_t    o[2];
    bk_names_t   r;

    memset(&ing, 0, sizeof(ing));
    memset(&host, 0, sizeof(host));
    memset(o, 0, sizeof(o));
    host.now_ms = fuzz_now;
    ing.host = &host;
    o[0].key = o[0].uid = o[0].ns = "a/one";
    o[1].key = o[1].uid = o[1].ns = "b/two";

    for (rc = 0; rc < 2; rc++) {
        o[rc].name = o[rc].key + 2;
        ing_read(obj, &o[rc].read);
        HASH_ADD_KEYPTR(hh, ing.objs, o[rc].key, strlen(o[rc].key), &o[rc]);
    }

    ing_names(&ing);
    assert(ing.nhosts == o[0].read.nrules && ing.nlines <= 3 * ing.nhosts);
    assert(o[1].faults.n >= (o[1].read.nrules > 0));

    text = ing_names_text(&ing, "buildkit");
    assert(bk_names_open(&r, text, strlen(text)) == 0);

    while ((rc = bk_names_next(&r, &name)) == 1) {
        /* void */
    }

    assert(rc == 0);
    free(text);
    ing_names_free(&ing);
    HASH_CLEAR(hh, ing.objs);

    for (rc = 0; rc < 2; rc++) {
        ing_read_free(&o[rc].read);
        free(o[rc].faults.all);
    }
}


static void
fuzz_secret(json_t *obj)
{
    ing_cert_t  c;

    ing_cert_read(obj, &c);

    if (c.err.code == 0) {
        assert(bk_names_cert_ok(c.file, strlen(c.file)));
        assert(c.len > 0 && c.len <= BK_NAMES_CERT_MAX && c.cert != NULL);
        (void) ing_cert_covers(&c, "*.example.com");

    } else {
        assert(c.file[0] == '\0' && c.pem == NULL && c.cert == NULL);
        assert(c.err.reason[0] != '\0' && c.err.text[0] != '\0');
    }

    ing_cert_free(&c);
}


static uint64_t
fuzz_now(const bk_host_t *h)
{
    (void) h;

    return 1800000000000;
}


/* of gw_index.c */

char *
gw_key(const char *ns, const char *name)
{
    char  *key;

    if (asprintf(&key, "%s/%s", ns, name) < 0) {
        abort();
    }

    return key;
}


char *
gw_strdup(const char *s)
{
    char  *copy = strdup(s);

    if (copy == NULL) {
        abort();
    }

    return copy;
}
