/*
 * Arguments: "--name value", "--name=value", also with one dash, as the
 * gateway whose place the image can take has them.
 *
 * What they say is put into configuration files, so each has its characters.
 */

#include <arpa/inet.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "entry.h"


#define ARGS_VALUE_MAX  1000


static const char *args_value(const char *name, int *i, int argc,
    char **argv);
static int args_name(const char *s);
static int args_address(const char *s);
static int args_url(const char *s);
static int args_path(const char *s);
static int args_host(const char *s);


static const char  args_lower[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
static const char  args_file[] = "abcdefghijklmnopqrstuvwxyz0123456789-"
                                 "ABCDEFGHIJKLMNOPQRSTUVWXYZ/._+@";
static const char  args_in_url[] = "abcdefghijklmnopqrstuvwxyz0123456789-"
                                   "ABCDEFGHIJKLMNOPQRSTUVWXYZ/._~:@!&()*+,=[]";

static const struct {
    const char  *name;
    size_t       offset;
    int        (*good)(const char *s);
    const char  *initial;               /* NULL: must be given */
    const char  *is;
} args_table[] = {

    { "pool-name", offsetof(entry_args_t, pool_name), args_name, NULL,
      "the pool's name" },

    { "pool-namespace", offsetof(entry_args_t, pool_namespace), args_name,
      "default", "its namespace" },

    { "listen-addr", offsetof(entry_args_t, listen_addr), args_address,
      "0.0.0.0:1235", "ADDRESS:PORT for clients" },

    { "metrics-addr", offsetof(entry_args_t, metrics_addr), args_address,
      "0.0.0.0:9090", "ADDRESS:PORT for /metrics, /healthz, /readyz" },

    { "controller-endpoint", offsetof(entry_args_t, controller_endpoint),
      args_url, "http://buildkit-controller.buildkit-system.svc:8082",
      "the controller's API, an http(s) URL" },

    { "server-cert", offsetof(entry_args_t, server_cert), args_path,
      "/etc/gateway/tls/tls.crt", "what clients see" },

    { "server-key", offsetof(entry_args_t, server_key), args_path,
      "/etc/gateway/tls/tls.key", "its key" },

    { "ca-cert", offsetof(entry_args_t, ca_cert), args_path,
      "/etc/gateway/tls/ca.crt", "whose clients are let in" },

    { "worker-tls", offsetof(entry_args_t, worker_tls), args_path,
      "/etc/gateway/worker-tls",
      "folder with client.crt, client.key, ca.crt towards workers" },
};

#define ARGS_N  (sizeof(args_table) / sizeof(args_table[0]))


static void
args_help(void)
{
    size_t  i;

    printf("The gateway of a pool: plugin-host, which asks a controller whose "
           "token it is,\nand nginx.  With BUILDKIT_GATEWAY_CONF=FILE only "
           "nginx, with that configuration.\n\n");

    for (i = 0; i < ARGS_N; i++) {
        printf("  --%-20s %s%s%s%s\n", args_table[i].name, args_table[i].is,
               args_table[i].initial ? " (" : "",
               args_table[i].initial ? args_table[i].initial : "",
               args_table[i].initial ? ")" : "");
    }

    printf("\nBUILDKIT_WORKER_TLS_NAME=NAME in the environment: workers' "
           "certificates must have\nthis name; without it only their chain is "
           "verified.\n");
}


int
entry_args(entry_args_t *args, int argc, char **argv)
{
    int           n;
    char         *base;
    size_t        i, len;
    const char   *s, *value;
    const char  **field;

    base = (char *) args;

    for (i = 0; i < ARGS_N; i++) {
        field = (const char **) (void *) (base + args_table[i].offset);
        *field = args_table[i].initial;
    }

    for (n = 1; n < argc; n++) {
        s = argv[n];

        if (strcmp(s, "-h") == 0 || strcmp(s, "-help") == 0
            || strcmp(s, "--help") == 0)
        {
            args_help();
            return 1;
        }

        if (s[0] != '-') {
            entry_log("\"%s\" is no option; another program of this image "
                      "is run with --entrypoint or \"command\"", s);
            return -1;
        }

        s += s[1] == '-' ? 2 : 1;
        len = strcspn(s, "=");

        for (i = 0; i < ARGS_N; i++) {
            if (strlen(args_table[i].name) == len
                && memcmp(args_table[i].name, s, len) == 0)
            {
                break;
            }
        }

        if (i == ARGS_N) {
            entry_log("unknown option %s; --help prints those that there are",
                      argv[n]);
            return -1;
        }

        value = args_value(s + len, &n, argc, argv);

        if (value == NULL) {
            entry_log("option --%s needs a value", args_table[i].name);
            return -1;
        }

        if (strlen(value) > ARGS_VALUE_MAX || !args_table[i].good(value)) {
            entry_log("option --%s is %s, and \"%.200s\" cannot be that",
                      args_table[i].name, args_table[i].is, value);
            return -1;
        }

        field = (const char **) (void *) (base + args_table[i].offset);
        *field = value;
    }

    /* not among the arguments, as whoever starts this image knows none of it */

    args->worker_tls_name = getenv("BUILDKIT_WORKER_TLS_NAME");

    if (args->worker_tls_name && !args_host(args->worker_tls_name)) {
        entry_log("BUILDKIT_WORKER_TLS_NAME must be a DNS name");
        return -1;
    }

    for (i = 0; i < ARGS_N; i++) {
        field = (const char **) (void *) (base + args_table[i].offset);

        if (*field == NULL) {
            entry_log("option --%s is needed: %s; or "
                      "BUILDKIT_GATEWAY_CONF=FILE in the environment",
                      args_table[i].name, args_table[i].is);
            return -1;
        }
    }

    return 0;
}


/* s: what is behind the option's name */

static const char *
args_value(const char *s, int *i, int argc, char **argv)
{
    if (*s == '=') {
        return s + 1;
    }

    if (*i + 1 >= argc) {
        return NULL;
    }

    return argv[++*i];
}


/* a pool or namespace of Kubernetes */

static int
args_name(const char *s)
{
    size_t  len;

    len = strlen(s);

    return len > 0 && len <= 63 && strspn(s, args_lower) == len && s[0] != '-'
           && s[len - 1] != '-';
}


/* numeric: nothing is to be resolved before the gateway can start */

static int
args_address(const char *s)
{
    char            host[64], *end;
    size_t          len;
    long            port;
    const char     *colon;
    struct in_addr   v4;
    struct in6_addr  v6;

    colon = strrchr(s, ':');

    if (colon == NULL || (size_t) (colon - s) >= sizeof(host)
        || colon[1] < '0' || colon[1] > '9')
    {
        return 0;
    }

    port = strtol(colon + 1, &end, 10);

    if (*end != '\0' || port < 1 || port > 65535) {
        return 0;
    }

    len = (size_t) (colon - s);
    memcpy(host, s, len);
    host[len] = '\0';

    if (host[0] == '[' && len > 2 && host[len - 1] == ']') {
        host[len - 1] = '\0';
        return inet_pton(AF_INET6, host + 1, &v6) == 1;
    }

    return inet_pton(AF_INET, host, &v4) == 1;
}


static int
args_url(const char *s)
{
    if (strncmp(s, "http://", 7) == 0) {
        s += 7;

    } else if (strncmp(s, "https://", 8) == 0) {
        s += 8;

    } else {
        return 0;
    }

    return *s != '\0' && *s != '/' && strspn(s, args_in_url) == strlen(s);
}


static int
args_path(const char *s)
{
    return s[0] == '/' && strlen(s) < ENTRY_PATH
           && strspn(s, args_file) == strlen(s);
}


/* or a pattern of one, of what the plugin fills in: {namespace} */

static int
args_host(const char *s)
{
    size_t  len;

    static const char  in_host[] = "abcdefghijklmnopqrstuvwxyz0123456789-.{}";

    len = strlen(s);

    return len > 0 && len < ENTRY_PATH && strspn(s, in_host) == len;
}
