/*
 * FUZZ_SOURCES: plugin-host/plugins/kubernetes/k8s_conf.c
 *     plugin-host/plugins/kubernetes/k8s_conf_file.c
 *     plugin-host/plugins/kubernetes/k8s_conf_pod.c
 *     plugin-host/src/yaml.c plugin-host/src/yaml_check.c
 *     plugin-host/src/yaml_options.c plugin-host/src/duration.c
 *     plugin-host/src/err.c plugin-host/src/slurp.c
 * FUZZ_CFLAGS: -Iplugin-host/plugins/kubernetes
 * FUZZ_LIBS: -lcurl -lcyaml -lyaml -ljansson -lcrypto
 */

/*
 * A kubeconfig, whatever it holds: it is taken or refused with the file's
 * name and a reason.  What is taken has an https server, verifies it, and is
 * one user at most.
 */

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "k8s_int.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_check(const k8s_conf_t *c);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bk_err_t     err;
    k8s_conf_t  *c;

    if (size > 65536) {
        return 0;
    }

    memset(&err, 0, sizeof(err));

    if (k8s_conf_parse(&c, "/x/conf", (const char *) data, size, NULL, &err)
        == 0)
    {
        fuzz_check(c);
        k8s_conf_free(&c);
        assert(c == NULL);
        return 0;
    }

    assert(c == NULL);
    assert(strncmp(err.text, "/x/conf:", 8) == 0);
    assert(strlen(err.text) > 9);

    return 0;
}


static void
fuzz_check(const k8s_conf_t *c)
{
    bk_fetch_req_t  req;
    const char     *server = k8s_conf_server(c);

    memset(&req, 0, sizeof(req));
    k8s_conf_fill(c, &req);

    assert(strncasecmp(server, "https:", 6) == 0);
    assert(server[strlen(server) - 1] != '/');
    assert(strpbrk(server, "?# \r\n") == NULL);
    assert(k8s_conf_namespace(c)[0] != '\0');
    assert(!req.insecure);
    assert(req.bearer == NULL || req.bearer_file == NULL);
    assert(req.ca_file == NULL || req.ca.len == 0);
    assert(req.bearer == NULL || strpbrk(req.bearer, "\r\n") == NULL);
    assert((req.cert_file != NULL || req.cert.len > 0)
           == (req.key_file != NULL || req.key.len > 0));
}
