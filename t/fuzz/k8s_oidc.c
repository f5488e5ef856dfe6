/*
 * FUZZ_SOURCES: plugin-host/plugins/kubernetes/ct_oidc_file.c
 *     plugin-host/plugins/kubernetes/obj.c
 *     plugin-host/plugins/oidc/file.c plugin-host/plugins/oidc/file_check.c
 *     plugin-host/plugins/oidc/text.c plugin-host/src/duration.c
 *     plugin-host/src/err.c plugin-host/src/slurp.c plugin-host/src/yaml.c
 *     plugin-host/src/yaml_check.c plugin-host/src/yaml_options.c
 * FUZZ_CFLAGS: -Iplugin-host/plugins/kubernetes -Iplugin-host/plugins/oidc
 * FUZZ_LIBS: -lcurl -lcyaml -lyaml -ljansson -lcrypto
 */

/*
 * An object that says which issuer's tokens are taken, whatever is in it: what
 * the controller makes of it plugin oidc takes, as one of several, since one
 * that it refused would cost all the others; what is refused has a reason.
 */

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ct_oidc.h"
#include "file.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_taken(json_t *issuer);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t    *obj, *issuer;
    bk_err_t   err;

    obj = json_loadb((const char *) data, size, JSON_REJECT_DUPLICATES, NULL);

    if (obj == NULL) {
        return 0;
    }

    issuer = ct_oidc_issuer(obj, "/nowhere", &err);

    if (issuer == NULL) {
        assert(err.code == 400 && err.reason[0] != '\0');
        assert(err.text[0] != '\0');

    } else {
        assert(err.code == 0);
        fuzz_taken(issuer);
        json_decref(issuer);
    }

    json_decref(obj);

    return 0;
}


static void
fuzz_taken(json_t *issuer)
{
    char         *text;
    json_t       *list, *first;
    bk_err_t      err;
    oidc_file_t   f;

    /* its files are written by whoever makes the text */
    json_object_del(issuer, "caFile");

    first = json_pack("{s:s, s:s, s:[s]}", "name", "0", "issuer",
                      "https://a.example", "audience", "b");

    if (strcmp(obj_text(issuer, "name"), "0") == 0) {
        json_object_set_new(first, "name", json_string("1"));
    }

    list = json_pack("[o, O]", first, issuer);
    text = ct_oidc_text(list);

    if (oidc_file_parse(&f, "oidc.yaml", text, strlen(text), 0, &err) != 0) {
        abort();
    }

    assert(f.doc->issuers_count == 2);
    assert(strcmp(f.doc->issuers[1].name, obj_text(issuer, "name")) == 0);
    assert(strcmp(f.doc->issuers[1].url, obj_text(issuer, "issuer")) == 0);

    oidc_file_free(&f);
    free(text);
    json_decref(list);
}
