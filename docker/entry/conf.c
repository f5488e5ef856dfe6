/*
 * The configurations of nginx and plugin-host: templates, in which @WORDS@ are
 * replaced.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "entry.h"


#define CONF_MAX  65536

/* of the Pod's account, where it has one */
#define CONF_BEARER  "/var/run/secrets/kubernetes.io/serviceaccount/token"


typedef struct {
    const char  *word;
    const char  *value;
} conf_word_t;


static int conf_file(const char *from, const char *to,
    const conf_word_t *words, const char *name);
static int conf_write(FILE *out, const char *text, const conf_word_t *words,
    const char *name);


int
entry_conf(const entry_args_t *args, const char *templates,
    const char *folder)
{
    char         verify[ENTRY_PATH * 2], tls_name[ENTRY_PATH + 32];
    const char  *user;

    /* as root nginx would change to a user that the image has not */
    user = geteuid() == 0 ? "user root;" : "";

    if (args->worker_tls_name) {
        snprintf(verify, sizeof(verify), "proxy_ssl_verify on; "
                 "proxy_ssl_verify_depth 8; "
                 "proxy_ssl_name $buildkit_worker_tls_name; "
                 "proxy_ssl_trusted_certificate %s/ca.crt;",
                 args->worker_tls);
        snprintf(tls_name, sizeof(tls_name), "tlsName: \"%s\"",
                 args->worker_tls_name);

    } else {
        snprintf(verify, sizeof(verify), "buildkit_worker_ca %s/ca.crt;",
                 args->worker_tls);
        tls_name[0] = '\0';
    }

    const conf_word_t  words[] = {
        { "RUN", folder },
        { "USER", user },
        { "POOL", args->pool_name },
        { "NAMESPACE", args->pool_namespace },
        { "LISTEN", args->listen_addr },
        { "METRICS", args->metrics_addr },
        { "CONTROLLER", args->controller_endpoint },
        { "SERVER_CERT", args->server_cert },
        { "SERVER_KEY", args->server_key },
        { "CA_CERT", args->ca_cert },
        { "WORKER_TLS", args->worker_tls },
        { "VERIFY", verify },
        { "TLS_NAME", tls_name },
        { "BEARER", access(CONF_BEARER, R_OK) == 0
                    ? "bearerFile: " CONF_BEARER : "" },
        { NULL, NULL }
    };

    return conf_file(templates, folder, words, "gateway.yaml") == 0
           && conf_file(templates, folder, words, "nginx.conf") == 0
           ? 0 : -1;
}


static int
conf_file(const char *from, const char *to, const conf_word_t *words,
    const char *name)
{
    int      rc;
    char     path[ENTRY_PATH * 2], *text;
    FILE    *in, *out;
    size_t   len;

    snprintf(path, sizeof(path), "%s/%s", from, name);
    in = fopen(path, "re");

    if (in == NULL) {
        entry_log("cannot read %s: %s", path, strerror(errno));
        return -1;
    }

    text = malloc(CONF_MAX);
    if (text == NULL) {
        abort();
    }

    len = fread(text, 1, CONF_MAX - 1, in);
    text[len] = '\0';
    fclose(in);

    snprintf(path, sizeof(path), "%s/%s", to, name);
    unlink(path);
    out = fopen(path, "wxe");

    if (out == NULL) {
        entry_log("cannot write %s: %s", path, strerror(errno));
        free(text);
        return -1;
    }

    rc = conf_write(out, text, words, name);
    free(text);

    if (fclose(out) != 0) {
        entry_log("cannot write %s: %s", path, strerror(errno));
        rc = -1;
    }

    return rc;
}


static int
conf_write(FILE *out, const char *text, const conf_word_t *words,
    const char *name)
{
    size_t              len;
    const char         *at;
    const conf_word_t  *w;

    for ( ;; ) {
        at = strchr(text, '@');

        if (at == NULL) {
            fputs(text, out);
            return 0;
        }

        fwrite(text, 1, (size_t) (at - text), out);
        at++;

        len = strcspn(at, "@");

        for (w = words; w->word; w++) {
            if (strlen(w->word) == len && memcmp(w->word, at, len) == 0) {
                break;
            }
        }

        if (w->word == NULL || at[len] != '@') {
            entry_log("%s: what is @%.20s?", name, at);
            return -1;
        }

        fputs(w->value, out);
        text = at + len + 1;
    }
}
